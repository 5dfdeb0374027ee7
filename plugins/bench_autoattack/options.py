"""Options of AutoAttack and its parts; imports no torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from benchmark import AttackOptions, Budget


class _BudgetOptions(AttackOptions):
    norm: Literal["linf", "l2"] = "linf"
    """Norm of the budget."""

    eps: Budget
    """Largest perturbation in the norm, in pixel units of [0, 1], for example 8/255."""


class AutoAttackOptions(_BudgetOptions):
    """Options of AutoAttack. Its parts have none here: their settings are fixed, so that numbers can be compared."""

    version: Literal["standard", "rand"] = "standard"
    """`standard`: APGD-CE, APGD-T on 9 classes, FAB-T on 9 classes, Square with 5,000 queries. `rand`, for randomised
    defenses: APGD-CE and APGD-DLR, whose gradients are means over 20 passes."""

    early_stop: bool = False
    """Whether APGD leaves an image alone once it is fooled. The authors' code goes on for all 100 steps, deeper into
    the wrong class. To stop saves passes, and changes no verdict only where the network that is attacked is not
    randomised and is itself what is judged. `rand` never stops: that a pass was fooled may be chance."""


class ApgdOptions(_BudgetOptions):
    """Options of Auto-PGD."""

    steps: int = Field(100, ge=1)
    """Steps of each start; each costs one forward and one backward pass."""

    restarts: int = Field(1, ge=1)
    """Random starts; images that are fooled are not attacked again."""

    draws: int = Field(1, ge=1)
    """Passes over whose gradients each step takes the mean, for randomised defenses (AutoAttack's `rand`: 20)."""

    early_stop: bool = False
    """Whether a search ends once its image is fooled. Otherwise its last point that fooled the network is kept."""


class TargetedApgdOptions(ApgdOptions):
    """Options of targeted Auto-PGD."""

    targets: int = Field(9, ge=1)
    """Wrong classes that are aimed at one after the other, the one that the network finds likeliest first."""


class MaltOptions(TargetedApgdOptions):
    """Options of MALT."""

    targets: int = Field(9, ge=1)
    """Wrong classes that are aimed at one after the other, the one whose boundary seems nearest first."""

    candidates: int = Field(100, ge=1)
    """Wrong classes, the likeliest ones, whose boundaries are compared: one backward pass for each."""


class FabOptions(AttackOptions):
    """Options of the targeted fast adaptive boundary attack."""

    norm: Literal["linf", "l2"] = "linf"
    """Norm that is minimised."""

    eps: Budget | None = None
    """Largest perturbation in the norm: an adversarial example beyond it counts as failed. Without it anything in
    [0, 1] will do."""

    steps: int = Field(100, ge=1)
    """Steps towards each class; each costs two forward passes and one backward pass."""

    targets: int = Field(9, ge=1)
    """Wrong classes that are aimed at one after the other, the one that the network finds likeliest first."""


class SquareOptions(_BudgetOptions):
    """Options of the Square attack."""

    steps: int = Field(1000, ge=1)
    """Queries of each start: one forward pass (the paper makes 10,000)."""

    restarts: int = Field(1, ge=1)
    """Searches from the start; images that are fooled are not searched again."""

    p_init: float = Field(0.8, gt=0, lt=1)
    """Share of the image that the first square covers: 0.8 as in AutoAttack. The paper has 0.05 (linf) and 0.1 (l2) for
    undefended networks, and more for robust ones."""

    horizon: int | None = Field(None, ge=1)
    """Queries over which the squares shrink to their smallest: `steps` unless given. AutoAttack makes the first 5,000
    of 10,000."""
