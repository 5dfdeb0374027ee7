"""Options of adversarial training; imports no torch, so that suites are validated fast."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from benchmark import AdversarialOptions, HardenerOptions


class AdversarialTrainingOptions(AdversarialOptions, HardenerOptions):
    """Options of adversarial training."""

    mix: float = Field(0.0, ge=0, le=1)
    """Share of the clean loss: 0 trains on adversarial examples alone, 0.5 on clean and adversarial alike."""

    crafting_mode: Literal["eval", "train"] = "eval"
    """Mode of the network while examples are crafted; neither moves the statistics of batch normalisation."""


class RegularizedTrainingOptions(AdversarialOptions, HardenerOptions):
    """What TRADES and MART share."""

    default_steps: ClassVar[int] = 10

    steps: int | None = Field(None, ge=1)
    """Steps of pgd, 10 unless given, as in both papers; fgsm takes one."""


class TradesOptions(RegularizedTrainingOptions):
    """Options of TRADES."""

    random_start: None = None
    """Always null: TRADES begins with a little normal noise around the image."""

    weight: float = Field(6.0, gt=0)
    """How much the network's answers around an image count against its answer on the image (the paper's 1/lambda)."""


class MartOptions(RegularizedTrainingOptions):
    """Options of MART."""

    weight: float = Field(5.0, gt=0)
    """Weight of the answers around images that the network gets wrong (the paper's lambda)."""


class AtdaOptions(AdversarialOptions, HardenerOptions):
    """Options of adversarial training with domain adaptation."""

    attack: Literal["pgd", "fgsm"] = "fgsm"
    """fgsm as in the paper, or pgd."""

    weight: float = Field(1 / 3, ge=0)
    """Weight of the terms that bring clean and adversarial images together (the paper's lambda)."""

    centre_rate: float = Field(0.1, gt=0, le=1)
    """How fast the centres of the classes follow (the paper's alpha)."""
