"""Options of the attacks on classifier and detector at once; imports no torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from benchmark import AttackOptions, Budget


class EvasionOptions(AttackOptions):
    """What the attacks share."""

    norm: Literal["linf", "l2"] = "linf"
    """Norm of the budget and of the steps."""

    eps: Budget
    """Largest perturbation in the norm, in pixel units of [0, 1], for example 8/255."""

    steps: int = Field(100, ge=1)
    """Steps of each search: of PGD on the class, and of the one on both that goes on from it."""

    step: Budget | None = None
    """Size of a step in the norm of the search on both; it may exceed eps, the result is projected. Unless given, what
    the attack says. PGD on the class begins with eps / 2, whatever this says."""

    confidence: float = Field(0.05, ge=0)
    """Difference of logits by which a wrong class must win before a step is spent on the detector alone: 0.05 as in the
    released code of Bryniarski et al."""

    targets: int = Field(0, ge=0)
    """Wrong classes that are aimed at after any wrong class, those first that the defense finds most promising, else
    that the system finds likeliest on the clean image. At most the number of wrong classes."""

    restarts: int = Field(1, ge=1)
    """Starts of each search: the image itself, then points drawn uniformly from the ball."""


class JointPgdOptions(EvasionOptions):
    """Options of `joint-pgd`."""

    steps: int = Field(40, ge=1)
    """Steps of each search: of PGD on the class, and of the one on both that goes on from it."""

    step: Budget | None = None
    """Size of the first step in the norm of the search on both, eps / 2 unless given; steps shrink to nothing along a
    cosine. It may exceed eps, the result is projected. PGD on the class begins with eps / 2, whatever this says."""

    targets: int = Field(3, ge=0)
    """Wrong classes that are aimed at, those first that the defense finds most promising, else that the system finds
    likeliest on the clean image: after any wrong class, or instead of it where the defense offers one loss of the whole
    system per class. At most the number of wrong classes."""

    weight: tuple[float, float] = (0.0, 1.0)
    """Least and largest weight of the detector against the classifier, between 0 (PGD on the class) and 1 (descent of
    the score alone): between them it is searched per image. Two equal ones fix it."""

    @field_validator("weight")
    @classmethod
    def _in_order(cls, weight: tuple[float, float]) -> tuple[float, float]:
        if not 0 <= weight[0] <= weight[1] <= 1:
            raise PydanticCustomError(
                "weight",
                "two weights from 0 to 1 are needed, the smaller one first, such as [0, 1], found {found}",
                {"found": str(list(weight))},
            )
        return weight


class OrthogonalPgdOptions(EvasionOptions):
    """Options of `orthogonal-pgd` and `selective-pgd`."""

    step: Budget | None = None
    """Size of a step in the norm of the search on both; eps / 8 unless given, as the released 1/255 for 8/255. PGD on
    the class begins with eps / 2, whatever this says."""

    project: Literal["both", "detector", "classifier", "neither"] = "both"
    """Whose gradient loses its component along the other's: both (the paper's orthogonal strategy), one of them, or
    neither (its selective strategy, the default of `selective-pgd`)."""


class SelectivePgdOptions(OrthogonalPgdOptions):
    """Options of `selective-pgd`."""

    project: Literal["both", "detector", "classifier", "neither"] = "neither"
    """As for `orthogonal-pgd`."""
