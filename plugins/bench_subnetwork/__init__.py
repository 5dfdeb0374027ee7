"""A detector subnetwork beside the classifier (Metzen, Genewein, Fischer, Bischoff, ICLR 2017)."""

from __future__ import annotations

from benchmark import Register, hookimpl

SUBNETWORK = """@inproceedings{metzen2017detecting,
  title = {On Detecting Adversarial Perturbations},
  author = {Metzen, Jan Hendrik and Genewein, Tim and Fischer, Volker and Bischoff, Bastian},
  booktitle = {International Conference on Learning Representations},
  year = {2017}
}"""


@hookimpl
def register_defenses(register: Register) -> None:
    """Register the detector."""
    register(
        "detector-subnetwork",
        "bench_subnetwork.detector:DetectorSubnetwork",
        options="bench_subnetwork.options:DetectorSubnetworkOptions",
        version="1",
        summary="small network on a hidden state, trained on clean against adversarial images (Metzen et al. 2017)",
        cite=SUBNETWORK,
    )
