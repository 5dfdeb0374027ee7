"""Options of SafetyNet; imports no torch, so that suites are validated fast."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from benchmark import AttackLabels, StateOptions


class SafetyNetOptions(StateOptions):
    """Options of `safetynet` and `safetynet-msvm`."""

    attacks: Annotated[AttackLabels, Field(min_length=1)]
    """Attacks of the suite, by label, that the detector learns from: their examples on the training images, crafted on
    the deployed classifier."""

    learn_from: Literal["successful", "all"] = "successful"
    """Adversarial training images: those that turned a right answer into a wrong one, or all."""

    positions: Literal["mean", "flatten"] = "flatten"
    """What becomes of a state with positions (C, H, W): its mean per channel, or all its values. States of other shapes
    are flattened."""

    levels: int = Field(4, ge=2, le=256)
    """Codes per unit: 2 for a binary code, 4 for a quaternary one. The thresholds between them cut the unit's natural
    training activations into equal shares."""

    thresholds: tuple[float, ...] | None = None
    """Activations between codes, the same for all units, instead of `levels`: [0.0] tells active units from silent
    ones."""

    c: float = Field(1.0, gt=0)
    """Cost of a training image on the wrong side."""

    gamma: Literal["scale"] | float = "scale"
    """Exponent of the kernel exp(-gamma d^2), or `scale`: 1 / (number of units * variance of the codes)."""

    images: int | None = Field(5000, ge=1)
    """At most this many natural, and as many adversarial images are learned from, drawn at random; null takes all. The
    time to learn grows with the square."""

    @field_validator("thresholds")
    @classmethod
    def _thresholds_rise(cls, thresholds: tuple[float, ...] | None) -> tuple[float, ...] | None:
        if thresholds is not None and (not thresholds or list(thresholds) != sorted(set(thresholds))):
            raise PydanticCustomError(
                "thresholds", "give at least one, each above the one before, found {found}", {"found": str(thresholds)}
            )
        return thresholds

    @field_validator("gamma")
    @classmethod
    def _gamma_is_positive(cls, gamma: float | str) -> float | str:
        if isinstance(gamma, float) and not gamma > 0:
            raise PydanticCustomError("gamma", "must be above 0, or `scale`, found {found}", {"found": gamma})
        return gamma
