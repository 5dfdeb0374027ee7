"""Attacks and preprocessors of the Adversarial Robustness Toolbox (ART), called as the library wrote them."""

from __future__ import annotations

from benchmark import Register, hookimpl

ART = """@article{nicolae2018adversarial,
  title = {Adversarial Robustness Toolbox v1.0.0},
  author = {Nicolae, Maria-Irina and Sinn, Mathieu and Tran, Minh Ngoc and others},
  journal = {arXiv preprint arXiv:1807.01069},
  year = {2018}
}"""
AUTO_ATTACK = """@inproceedings{croce2020reliable,
  title = {Reliable Evaluation of Adversarial Robustness with an Ensemble of Diverse Parameter-Free Attacks},
  author = {Croce, Francesco and Hein, Matthias},
  booktitle = {International Conference on Machine Learning},
  year = {2020}
}"""
JPEG = """@article{dziugaite2016study,
  title = {A Study of the Effect of {JPG} Compression on Adversarial Images},
  author = {Dziugaite, Gintare Karolina and Ghahramani, Zoubin and Roy, Daniel M.},
  journal = {arXiv preprint arXiv:1608.00853},
  year = {2016}
}"""
FEATURE_SQUEEZING = """@inproceedings{xu2018feature,
  title = {Feature Squeezing: Detecting Adversarial Examples in Deep Neural Networks},
  author = {Xu, Weilin and Evans, David and Qi, Yanjun},
  booktitle = {Network and Distributed System Security Symposium},
  year = {2018}
}"""


@hookimpl
def register_attacks(register: Register) -> None:
    """Register ART's attacks."""
    register(
        "apgd",
        "bench_art.attacks:Apgd",
        options="bench_art.options:ApgdOptions",
        version="2",
        summary="PGD that chooses its step sizes (Croce & Hein 2020); ART's code; loss ce or dlr; linf or l2",
        cite=ART + "\n" + AUTO_ATTACK,
    )
    register(
        "autoattack-art",
        "bench_art.attacks:AutoAttackArt",
        options="bench_art.options:AutoAttackOptions",
        version="1",
        summary="ART's variant of AutoAttack: APGD-CE, untargeted APGD-DLR, DeepFool, Square; not the reference "
        "AutoAttack, which has targeted APGD-DLR and FAB",
        cite=ART + "\n" + AUTO_ATTACK,
    )
    register(
        "art",
        "bench_art.attacks:AnyArtAttack",
        options="bench_art.options:AnyArtOptions",
        version="1",
        summary="any evasion attack of ART on image classifiers, by class name",
        cite=ART,
    )


@hookimpl
def register_defenses(register: Register) -> None:
    """Register ART's preprocessors."""
    register(
        "jpeg",
        "bench_art.preprocessors:Jpeg",
        options="bench_art.options:JpegOptions",
        version="1",
        summary="JPEG compression before the classifier (Dziugaite et al. 2016); ART's code",
        cite=ART + "\n" + JPEG,
    )
    register(
        "feature-squeezing",
        "bench_art.preprocessors:FeatureSqueezing",
        options="bench_art.options:FeatureSqueezingOptions",
        version="1",
        summary="fewer grey levels before the classifier (Xu et al. 2018); ART's code",
        cite=ART + "\n" + FEATURE_SQUEEZING,
    )
    register(
        "spatial-smoothing",
        "bench_art.preprocessors:SpatialSmoothing",
        options="bench_art.options:SpatialSmoothingOptions",
        version="1",
        summary="median filter before the classifier (Xu et al. 2018); ART's code",
        cite=ART + "\n" + FEATURE_SQUEEZING,
    )
