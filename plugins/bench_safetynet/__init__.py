"""SafetyNet: a support vector machine on quantised late activations (Lu, Issaranon, Forsyth, ICCV 2017)."""

from __future__ import annotations

from benchmark import Register, hookimpl

SAFETYNET = """@inproceedings{lu2017safetynet,
  title = {{SafetyNet}: Detecting and Rejecting Adversarial Examples Robustly},
  author = {Lu, Jiajun and Issaranon, Theerasit and Forsyth, David},
  booktitle = {IEEE International Conference on Computer Vision},
  year = {2017}
}"""
I_DEFENDER = """@inproceedings{zheng2018robust,
  title = {Robust Detection of Adversarial Attacks by Modeling the Intrinsic Properties of Deep Neural Networks},
  author = {Zheng, Zhihao and Hong, Pengyu},
  booktitle = {Advances in Neural Information Processing Systems},
  year = {2018}
}"""


@hookimpl
def register_defenses(register: Register) -> None:
    """Register the detector and its multi-class variant."""
    register(
        "safetynet",
        "bench_safetynet.detector:SafetyNet",
        options="bench_safetynet.options:SafetyNetOptions",
        version="1",
        summary="RBF-SVM on quantised late activations, natural against adversarial images (Lu et al. 2017)",
        cite=SAFETYNET,
    )
    register(
        "safetynet-msvm",
        "bench_safetynet.detector:SafetyNetMulticlass",
        options="bench_safetynet.options:SafetyNetOptions",
        version="1",
        summary="the same with a class per natural class and one for adversarial images (mSVM in I-defender's Table 6)",
        cite=SAFETYNET + "\n" + I_DEFENDER,
    )
