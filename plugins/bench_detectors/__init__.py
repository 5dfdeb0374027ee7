"""Detectors that are commonly compared with: Mahalanobis, LID, kernel density, feature squeezing."""

from __future__ import annotations

from benchmark import Register, hookimpl

MAHALANOBIS = """@inproceedings{lee2018simple,
  title = {A Simple Unified Framework for Detecting Out-of-Distribution Samples and Adversarial Attacks},
  author = {Lee, Kimin and Lee, Kibok and Lee, Honglak and Shin, Jinwoo},
  booktitle = {Advances in Neural Information Processing Systems},
  year = {2018}
}"""
LID = """@inproceedings{ma2018characterizing,
  title = {Characterizing Adversarial Subspaces Using Local Intrinsic Dimensionality},
  author = {Ma, Xingjun and Li, Bo and Wang, Yisen and Erfani, Sarah M. and Wijewickrema, Sudanthi
            and Schoenebeck, Grant and Song, Dawn and Houle, Michael E. and Bailey, James},
  booktitle = {International Conference on Learning Representations},
  year = {2018}
}"""
KERNEL_DENSITY = """@article{feinman2017detecting,
  title = {Detecting Adversarial Samples from Artifacts},
  author = {Feinman, Reuben and Curtin, Ryan R. and Shintre, Saurabh and Gardner, Andrew B.},
  journal = {arXiv preprint arXiv:1703.00410},
  year = {2017}
}"""
FEATURE_SQUEEZING = """@inproceedings{xu2018feature,
  title = {Feature Squeezing: Detecting Adversarial Examples in Deep Neural Networks},
  author = {Xu, Weilin and Evans, David and Qi, Yanjun},
  booktitle = {Network and Distributed System Security Symposium},
  year = {2018}
}"""


@hookimpl
def register_defenses(register: Register) -> None:
    """Register the detectors."""
    register(
        "mahalanobis",
        "bench_detectors.mahalanobis:Mahalanobis",
        options="bench_detectors.options:MahalanobisOptions",
        version="1",
        summary="distance of hidden states to the nearest class mean under one covariance per layer (Lee et al. 2018)",
        cite=MAHALANOBIS,
    )
    register(
        "lid",
        "bench_detectors.lid:Lid",
        options="bench_detectors.options:LidOptions",
        version="1",
        summary="local intrinsic dimensionality of hidden states among training images (Ma et al. 2018)",
        cite=LID,
    )
    register(
        "kernel-density",
        "bench_detectors.kernel_density:KernelDensity",
        options="bench_detectors.options:KernelDensityOptions",
        version="1",
        summary="density of the last hidden state among the predicted class's training images (Feinman et al. 2017)",
        cite=KERNEL_DENSITY,
    )
    register(
        "feature-squeezing-detector",
        "bench_detectors.feature_squeezing:FeatureSqueezingDetector",
        options="bench_detectors.options:FeatureSqueezingDetectorOptions",
        version="2",
        summary="how far the classifier's answer moves when the image is squeezed (Xu et al. 2018)",
        cite=FEATURE_SQUEEZING,
    )
