"""Options of the regularised networks; imports no torch, so that suites are validated fast."""

from __future__ import annotations

from pydantic import Field

from benchmark import HardenerOptions


class InputGradientOptions(HardenerOptions):
    """Options of input-gradient regularisation."""

    weight: float = Field(10.0, gt=0)
    """Weight of the squared L2 norm of the gradient (the paper's lambda)."""


class AdpOptions(HardenerOptions):
    """Options of the adaptive diversity promoting regulariser."""

    members: int = Field(3, ge=2)
    """Networks in the ensemble, 3 in the paper."""

    entropy: float = Field(2.0, ge=0)
    """Weight of the entropy of the ensemble's answer (the paper's alpha)."""

    diversity: float = Field(0.5, ge=0)
    """Weight of the logarithm of the ensemble diversity (the paper's beta)."""


class DistillationOptions(HardenerOptions):
    """Options of defensive distillation."""

    temperature: float = Field(20.0, ge=1)
    """By which logits are divided while teacher and student learn; the student answers at temperature 1."""
