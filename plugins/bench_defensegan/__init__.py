"""Defense-GAN: images far from everything that a generator can draw are suspicious (Samangouei et al., ICLR 2018)."""

from __future__ import annotations

from benchmark import Register, hookimpl

DEFENSE_GAN = """@inproceedings{samangouei2018defense,
  title = {Defense-{GAN}: Protecting Classifiers Against Adversarial Attacks Using Generative Models},
  author = {Samangouei, Pouya and Kabkab, Maya and Chellappa, Rama},
  booktitle = {International Conference on Learning Representations},
  year = {2018}
}"""


@hookimpl
def register_artifacts(register: Register) -> None:
    """Register the generator."""
    register(
        "natural-images",
        "bench_defensegan.gan:NaturalImages",
        options="bench_defensegan.options:GeneratorOptions",
        version="1",
        summary="a generator of natural images, trained as a Wasserstein GAN with gradient penalty",
        cite=DEFENSE_GAN,
    )


@hookimpl
def register_defenses(register: Register) -> None:
    """Register the detector and the rectifier."""
    register(
        "defense-gan",
        "bench_defensegan.detector:DefenseGan",
        options="bench_defensegan.options:DefenseGanOptions",
        version="1",
        summary="suspects what a generator of natural images cannot draw (Samangouei et al. 2018)",
        cite=DEFENSE_GAN,
    )
    register(
        "defense-gan-rectifier",
        "bench_defensegan.detector:DefenseGanRectifier",
        options="bench_defensegan.options:DefenseGanOptions",
        version="1",
        summary="classifies the nearest image of the generator, and detects by its distance (Samangouei et al. 2018)",
        cite=DEFENSE_GAN,
    )
