"""Detectors that are commonly compared with: Mahalanobis, LID, kernel density, feature squeezing."""

from __future__ import annotations

from benchmark.hookspecs import Register, hookimpl


@hookimpl
def register_defenses(register: Register) -> None:
    """Register the detectors."""
    register(
        "mahalanobis",
        "bench_detectors.mahalanobis:Mahalanobis",
        options="bench_detectors.options:MahalanobisOptions",
        version="1",
        summary="distance of hidden states to the nearest class mean under one covariance per layer (Lee et al. 2018)",
    )
    register(
        "lid",
        "bench_detectors.lid:Lid",
        options="bench_detectors.options:LidOptions",
        version="1",
        summary="local intrinsic dimensionality of hidden states among training images (Ma et al. 2018)",
    )
    register(
        "kernel-density",
        "bench_detectors.kernel_density:KernelDensity",
        options="bench_detectors.options:KernelDensityOptions",
        version="1",
        summary="density of the last hidden state among the predicted class's training images (Feinman et al. 2017)",
    )
    register(
        "feature-squeezing-detector",
        "bench_detectors.feature_squeezing:FeatureSqueezingDetector",
        options="bench_detectors.options:FeatureSqueezingDetectorOptions",
        version="1",
        summary="how far the classifier's answer moves when the image is squeezed (Xu et al. 2018)",
    )
