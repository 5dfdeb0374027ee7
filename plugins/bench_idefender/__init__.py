"""I-defender: adversarial inputs betray themselves by unlikely hidden states (Zheng and Hong, NeurIPS 2018)."""

from __future__ import annotations

from benchmark.hookspecs import Register, hookimpl


@hookimpl
def register_defenses(register: Register) -> None:
    """Register the detector."""
    register(
        "i-defender",
        "bench_idefender.detector:IDefender",
        options="bench_idefender.options:IDefenderOptions",
        version="1",
        summary="one Gaussian mixture per class over hidden states; rejects unlikely ones (Zheng and Hong 2018)",
    )
