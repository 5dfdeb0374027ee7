"""Attacks and preprocessors of the Adversarial Robustness Toolbox (ART), called as the library wrote them."""

from __future__ import annotations

from benchmark.hookspecs import Register, hookimpl


@hookimpl
def register_attacks(register: Register) -> None:
    """Register ART's attacks."""
    register(
        "square",
        "bench_art.attacks:Square",
        options="bench_art.options:SquareOptions",
        version="1",
        summary="random search with squares, needs scores only (Andriushchenko et al. 2020); ART's code; linf or l2",
    )
    register(
        "apgd",
        "bench_art.attacks:Apgd",
        options="bench_art.options:ApgdOptions",
        version="1",
        summary="PGD that chooses its step sizes (Croce & Hein 2020); ART's code; loss ce or dlr; linf or l2",
    )
    register(
        "autoattack-art",
        "bench_art.attacks:AutoAttackArt",
        options="bench_art.options:AutoAttackOptions",
        version="1",
        summary="ART's variant of AutoAttack: APGD-CE, untargeted APGD-DLR, DeepFool, Square; not the reference "
        "AutoAttack, which has targeted APGD-DLR and FAB",
    )
    register(
        "art",
        "bench_art.attacks:AnyArtAttack",
        options="bench_art.options:AnyArtOptions",
        version="1",
        summary="any evasion attack of ART on image classifiers, by class name",
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
    )
    register(
        "feature-squeezing",
        "bench_art.preprocessors:FeatureSqueezing",
        options="bench_art.options:FeatureSqueezingOptions",
        version="1",
        summary="fewer grey levels before the classifier (Xu et al. 2018); ART's code",
    )
    register(
        "spatial-smoothing",
        "bench_art.preprocessors:SpatialSmoothing",
        options="bench_art.options:SpatialSmoothingOptions",
        version="1",
        summary="median filter before the classifier (Xu et al. 2018); ART's code",
    )
