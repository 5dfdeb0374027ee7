"""Networks trained with a term beside the cross-entropy, without adversarial examples."""

from __future__ import annotations

from benchmark import Register, hookimpl

INPUT_GRADIENT = """@inproceedings{ross2018improving,
  title = {Improving the Adversarial Robustness and Interpretability of Deep Neural Networks by Regularizing Their Input
           Gradients},
  author = {Ross, Andrew Slavin and Doshi-Velez, Finale},
  booktitle = {AAAI Conference on Artificial Intelligence},
  year = {2018}
}"""
ADP = """@inproceedings{pang2019improving,
  title = {Improving Adversarial Robustness via Promoting Ensemble Diversity},
  author = {Pang, Tianyu and Xu, Kun and Du, Chao and Chen, Ning and Zhu, Jun},
  booktitle = {International Conference on Machine Learning},
  year = {2019}
}"""
DISTILLATION = """@inproceedings{papernot2016distillation,
  title = {Distillation as a Defense to Adversarial Perturbations against Deep Neural Networks},
  author = {Papernot, Nicolas and McDaniel, Patrick and Wu, Xi and Jha, Somesh and Swami, Ananthram},
  booktitle = {IEEE Symposium on Security and Privacy},
  year = {2016}
}"""


@hookimpl
def register_defenses(register: Register) -> None:
    """Register `input-gradient`, `adp` and `distillation`."""
    register(
        "input-gradient",
        "bench_regularizers.input_gradient:InputGradient",
        options="bench_regularizers.options:InputGradientOptions",
        version="1",
        summary="penalises the loss's gradient in the image (Ross and Doshi-Velez 2018)",
        cite=INPUT_GRADIENT,
    )
    register(
        "adp",
        "bench_regularizers.adp:Adp",
        options="bench_regularizers.options:AdpOptions",
        version="2",
        summary="an ensemble whose members' wrong answers differ (Pang et al. 2019)",
        cite=ADP,
    )
    register(
        "distillation",
        "bench_regularizers.distillation:Distillation",
        options="bench_regularizers.options:DistillationOptions",
        version="2",
        summary="learns from a teacher's softened answers; broken by Carlini and Wagner 2017 (Papernot et al. 2016)",
        cite=DISTILLATION,
    )
