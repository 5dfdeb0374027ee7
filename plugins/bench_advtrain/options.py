"""Options of adversarial training; imports no torch, so that suites are validated fast."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from benchmark.options import CraftingOptions, HardenerOptions


class AdversarialTrainingOptions(CraftingOptions, HardenerOptions):
    """Options of adversarial training."""

    mix: float = Field(0.0, ge=0, le=1)
    """Share of the clean loss: 0 trains on adversarial examples alone, 0.5 on clean and adversarial alike."""

    crafting_mode: Literal["eval", "train"] = "eval"
    """Mode of the network while examples are crafted; neither moves the statistics of batch normalisation."""

    validation: CraftingOptions | None = None
    """Attack on the validation images where the recipe selects the best epoch; unless given it is the
    training attack, at the upper end of its interval."""
