"""Attacks that know the defense: on classifier and detector at once."""

from __future__ import annotations

from benchmark import Register, hookimpl

ORTHOGONAL = """@inproceedings{bryniarski2022evading,
  title = {Evading Adversarial Example Detection Defenses with Orthogonal Projected Gradient Descent},
  author = {Bryniarski, Oliver and Hingun, Nabeel and Pachuca, Pedro and Wang, Vincent and Carlini, Nicholas},
  booktitle = {International Conference on Learning Representations},
  year = {2022}
}"""
BYPASSING = """@inproceedings{carlini2017adversarial,
  title = {Adversarial Examples Are Not Easily Detected: Bypassing Ten Detection Methods},
  author = {Carlini, Nicholas and Wagner, David},
  booktitle = {ACM Workshop on Artificial Intelligence and Security},
  year = {2017}
}"""


@hookimpl
def register_attacks(register: Register) -> None:
    """Register `joint-pgd`, `orthogonal-pgd` and `selective-pgd`."""
    register(
        "joint-pgd",
        "bench_adaptive.evasion:JointPgd",
        options="bench_adaptive.options:JointPgdOptions",
        version="2",
        summary="classifier and detector at once, weighed per image (Carlini & Wagner 2017); white-box rows",
        cite=BYPASSING,
    )
    register(
        "orthogonal-pgd",
        "bench_adaptive.evasion:OrthogonalPgd",
        options="bench_adaptive.options:OrthogonalPgdOptions",
        version="2",
        summary="evades the detector without undoing the wrong class (Bryniarski et al. 2022); white-box rows",
        cite=ORTHOGONAL,
    )
    register(
        "selective-pgd",
        "bench_adaptive.evasion:SelectivePgd",
        options="bench_adaptive.options:SelectivePgdOptions",
        version="2",
        summary="fools the classifier, then evades the detector, in turns (Bryniarski et al. 2022); white-box rows",
        cite=ORTHOGONAL,
    )
