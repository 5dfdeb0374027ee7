"""Options of ART's attacks and preprocessors; imports neither torch nor ART."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from benchmark import AttackOptions, Budget, Options


class _BudgetOptions(AttackOptions):
    norm: Literal["linf", "l2"] = "linf"
    """Norm of the budget."""

    eps: Budget
    """Largest perturbation in the norm, in pixel units of [0, 1], for example 8/255."""


class ApgdOptions(_BudgetOptions):
    """Options of Auto-PGD."""

    loss: Literal["ce", "dlr"] = "ce"
    """Cross-entropy, or the difference of logits ratio (at least three classes)."""

    steps: int = Field(100, ge=1)
    """Steps of each start."""

    step: Budget | None = None
    """First step size in the norm; 2 * eps unless given."""

    restarts: int = Field(1, ge=1)
    """Random starts; images that are fooled are not attacked again."""

    keep: Literal["best", "last"] = "best"
    """Per image the best point on the way, as in the authors' code: one that is classified wrongly, of those the one
    with the highest loss. Or what ART returns: the last point of a start, or where it fooled nothing a random one."""

    @property
    def step_size(self) -> float:
        """First step size in pixel units of [0, 1]."""
        return float(self.step) if self.step is not None else 2.0 * self.eps


class AutoAttackOptions(_BudgetOptions):
    """Options of ART's AutoAttack."""

    step: Budget | None = None
    """First step size of both APGD attacks; 2 * eps unless given."""

    @property
    def step_size(self) -> float:
        """First step size in pixel units of [0, 1]."""
        return float(self.step) if self.step is not None else 2.0 * self.eps


class AnyArtOptions(AttackOptions):
    """Options of an ART attack given by its class."""

    attack: str
    """Class in art.attacks.evasion, for example ElasticNet."""

    norm: Literal["linf", "l2", "l1", "l0"]
    """Norm in which the perturbation is measured; handed to the class if it takes a norm."""

    eps: Budget | None = None
    """Largest perturbation in the norm: an adversarial example beyond it counts as failed. Handed to the class if it
    takes an eps."""

    arguments: dict[str, Any] = {}
    """Further arguments of the class, by the names of the library."""


class JpegOptions(Options):
    """Options of JPEG compression."""

    quality: int = Field(75, ge=1, le=100)
    """JPEG quality, 1 (worst) to 100."""


class FeatureSqueezingOptions(Options):
    """Options of feature squeezing."""

    bit_depth: int = Field(4, ge=1, le=8)
    """Bits per channel that are kept."""


class SpatialSmoothingOptions(Options):
    """Options of spatial smoothing."""

    window_size: int = Field(3, ge=1)
    """Side of the square window whose median replaces a pixel."""
