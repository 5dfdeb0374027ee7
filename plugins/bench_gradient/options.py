"""Options of the gradient attacks; imports no torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from benchmark import AttackOptions, Budget


class FgsmOptions(AttackOptions):
    """Options of FGSM."""

    norm: Literal["linf", "l2"] = "linf"
    """Norm of the budget and of the step."""

    eps: Budget
    """Size of the one step, in pixel units of [0, 1], for example 8/255."""


class BimOptions(FgsmOptions):
    """Options of BIM."""

    eps: Budget
    """Largest perturbation in the norm, in pixel units of [0, 1], for example 8/255."""

    step: Budget | None = None
    """Size of one step in the norm; 2.5 * eps / steps unless given, at most eps. It may exceed eps: the result is
    projected."""

    steps: int = Field(10, ge=1)
    """Number of steps; each costs one forward and one backward pass."""

    keep: Literal["best", "last"] = "best"
    """Per image the best point on the way, for one more forward pass: one that is classified wrongly, of those the one
    with the highest loss. Or the last point, as the papers have it."""

    @property
    def step_size(self) -> float:
        """Size of one step in pixel units of [0, 1]."""
        return float(self.step) if self.step is not None else self.eps * min(1.0, 2.5 / self.steps)


class MiFgsmOptions(BimOptions):
    """Options of MI-FGSM."""

    decay: float = Field(1.0, ge=0)
    """Share of the accumulated gradient that is kept from one step to the next."""


class PgdOptions(BimOptions):
    """Options of PGD."""

    steps: int = Field(20, ge=1)
    """Number of steps of each start; each costs one forward and one backward pass."""

    random_start: bool = True
    """Start at a point drawn uniformly from the ball instead of the image itself."""

    restarts: int = Field(1, ge=1)
    """Number of starts. Images that a start has fooled are not attacked again; where none succeeds, `keep` says
    whether the best or the last start's result is returned."""

    @model_validator(mode="after")
    def _restarts_differ(self) -> PgdOptions:
        if self.restarts > 1 and not self.random_start:
            raise PydanticCustomError(
                "restarts",
                "restarts: {restarts} equal starts give one result; set random_start: true",
                {"restarts": self.restarts},
            )
        return self


class MinimumNormOptions(AttackOptions):
    """What the minimum-norm attacks share."""

    eps: Budget | None = None
    """Largest perturbation in the norm: an adversarial example beyond it counts as failed. Without it anything in
    [0, 1] will do."""


class DeepFoolOptions(MinimumNormOptions):
    """Options of DeepFool."""

    norm: Literal["l2"] = "l2"
    """Norm that is minimised."""

    steps: int = Field(50, ge=1)
    """Most steps; each costs two forward passes and `candidates` - 1 backward passes."""

    overshoot: float = Field(0.02, ge=0)
    """Share by which the perturbation goes beyond the boundary (the paper's eta)."""

    candidates: int = Field(10, ge=2)
    """Classes whose boundaries are considered: those the clean image scores highest, its own class included."""


class CarliniWagnerL2Options(MinimumNormOptions):
    """Options of the Carlini & Wagner l2 attack."""

    norm: Literal["l2"] = "l2"
    """Norm that is minimised."""

    confidence: float = Field(0.0, ge=0)
    """Logit margin by which a wrong class must win (the paper's kappa)."""

    learning_rate: float = Field(0.05, gt=0)
    """Step size of Adam in tanh space."""

    steps: int = Field(100, ge=1)
    """Adam steps for each weight of the margin."""

    binary_search_steps: int = Field(6, ge=1)
    """Weights of the margin that are tried."""

    initial_const: float = Field(1.0, gt=0)
    """First weight of the margin (the paper's c): times 10 while nothing is found, then bisected."""


class CarliniWagnerLinfOptions(MinimumNormOptions):
    """Options of the Carlini & Wagner linf attack."""

    norm: Literal["linf"] = "linf"
    """Norm that is minimised."""

    confidence: float = Field(0.0, ge=0)
    """Logit margin by which a wrong class must win (the paper's kappa)."""

    learning_rate: float = Field(0.02, gt=0)
    """Step size of Adam in tanh space, where black and white lie 7.3 from grey: `steps` times this should be as much on
    images with many such pixels."""

    steps: int = Field(100, ge=1)
    """Most Adam steps for each bound and weight."""

    initial_const: float = Field(0.01, gt=0)
    """Weight of the margin that is tried first (the paper's c)."""

    largest_const: float = Field(20.0, gt=0)
    """Largest weight that is tried."""

    const_factor: float = Field(10.0, gt=1)
    """Factor by which the weight grows where a bound could not be kept since the image was not fooled, and shrinks
    where it was fooled beyond the bound."""

    decrease_factor: float = Field(0.9, gt=0, lt=1)
    """Factor by which the bound shrinks when it was kept (the paper's 0.9)."""

    @model_validator(mode="after")
    def _first_weight_is_allowed(self) -> CarliniWagnerLinfOptions:
        if self.initial_const > self.largest_const:
            raise PydanticCustomError(
                "weights",
                "initial_const: {initial} is larger than largest_const: {largest}, so that no weight can be tried; "
                "lower the first or raise the second",
                {"initial": self.initial_const, "largest": self.largest_const},
            )
        return self
