"""SafetyNet: a support vector machine on quantised late activations (Lu, Issaranon, Forsyth, ICCV 2017)."""

from __future__ import annotations

from benchmark.hookspecs import Register, hookimpl


@hookimpl
def register_defenses(register: Register) -> None:
    """Register the detector and its multi-class variant."""
    register(
        "safetynet",
        "bench_safetynet.detector:SafetyNet",
        options="bench_safetynet.options:SafetyNetOptions",
        version="1",
        summary="RBF-SVM on quantised late activations, natural against adversarial images (Lu et al. 2017)",
    )
    register(
        "safetynet-msvm",
        "bench_safetynet.detector:SafetyNetMulticlass",
        options="bench_safetynet.options:SafetyNetOptions",
        version="1",
        summary="the same with a class per natural class and one for adversarial images (mSVM in I-defender's Table 6)",
    )
