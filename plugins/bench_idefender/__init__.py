"""I-defender: adversarial inputs betray themselves by unlikely hidden states (Zheng and Hong, NeurIPS 2018)."""

from __future__ import annotations

from benchmark import Register, hookimpl

I_DEFENDER = """@inproceedings{zheng2018robust,
  title = {Robust Detection of Adversarial Attacks by Modeling the Intrinsic Properties of Deep Neural Networks},
  author = {Zheng, Zhihao and Hong, Pengyu},
  booktitle = {Advances in Neural Information Processing Systems},
  year = {2018}
}"""


@hookimpl
def register_defenses(register: Register) -> None:
    """Register the detector."""
    register(
        "i-defender",
        "bench_idefender.detector:IDefender",
        options="bench_idefender.options:IDefenderOptions",
        version="3",
        summary="one Gaussian mixture per class over hidden states; rejects unlikely ones (Zheng and Hong 2018)",
        cite=I_DEFENDER,
    )


@hookimpl
def register_attacks(register: Register) -> None:
    """Register the attack on the detector."""
    register(
        "idefender-graybox",
        "bench_idefender.attack:IDefenderGrayBox",
        options="bench_idefender.options:GrayBoxOptions",
        version="2",
        summary="climbs the loss and, while every other class rejects, the likeliest one's density (Zheng and Hong "
        "2018, Eq. 6); linf or l2",
        cite=I_DEFENDER,
    )


@hookimpl
def register_panels(register: Register) -> None:
    """Register what the report draws of hidden states."""
    register(
        "idefender-states",
        "bench_idefender.panel:StatesPanel",
        options="benchmark.options:Options",
        version="1",
        summary="hidden states of a cell's images in their plane, one unit's activations, likelihoods (I-defender's "
        "Figure 1)",
    )
