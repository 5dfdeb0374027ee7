"""Options of I-defender and of the attack on it; imports no torch, so that suites are validated fast."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from benchmark import AttackOptions, Budget, StateOptions


class IDefenderOptions(StateOptions):
    """Options of `i-defender`."""

    pca: int | None = Field(None, ge=1)
    """Principal components of the training states that are modelled instead of the states; null takes the states."""

    components: int | Literal["bic"] = 3
    """Gaussians per class, or `bic`: per class one more as long as the Bayesian information criterion falls, up to
    `max_components`."""

    max_components: int = Field(5, ge=1)
    """Most Gaussians that `components: bic` tries."""

    covariance: Literal["full", "tied", "diag", "spherical"] = "full"
    """Covariance of the Gaussians: a matrix each, one matrix per class, a variance per dimension, or one variance."""

    regularization: float = Field(1e-3, ge=0)
    """Added to the diagonal of every covariance, as a share of the class's average variance per dimension."""

    n_init: int = Field(1, ge=1)
    """Starts of the EM algorithm per mixture; the likeliest result is kept."""

    max_iter: int = Field(100, ge=1)
    """Most EM iterations per start."""

    fit_on: Literal["all", "correct"] = "all"
    """Training images that a class's mixture and threshold are learned from: all of the class, or those that the
    classifier gets right."""

    threshold: Literal["id-95", "id-99", "fpr"] = "id-95"
    """What is rejected: likelihoods below the class threshold that keeps 95 % (`id-95`) or 99 % (`id-99`) of the
    class's training images, or scores above the host's threshold on clean validation images (`fpr`)."""

    score: Literal["margin", "standardized"] = "margin"
    """How likelihoods become comparable over classes: log threshold minus log-likelihood, or that divided by the
    standard deviation of the class's training log-likelihoods. Both exceed 0 where Eq. 5 rejects."""

    @field_validator("components")
    @classmethod
    def _at_least_one(cls, components: int | str) -> int | str:
        if isinstance(components, int) and components < 1:
            raise PydanticCustomError(
                "components", "at least 1 is needed, or `bic`, found {found}", {"found": components}
            )
        return components


class GrayBoxOptions(AttackOptions):
    """Options of `idefender-graybox`."""

    norm: Literal["linf", "l2"] = "linf"
    """Norm of the budget and of the steps: signs of the gradient (Eq. 2), or the l2-normalised gradient (Eq. 3)."""

    eps: Budget
    """Largest perturbation in the norm, in pixel units of [0, 1], for example 0.013."""

    step: Budget | None = None
    """Size of one step in the norm; 2.5 * eps / steps unless given, at most eps. It may exceed eps: the result is
    projected."""

    steps: int = Field(10, ge=1)
    """Number of steps; 1 is the FGSM form. Each costs one forward and one backward pass."""

    keep: Literal["best", "last"] = "best"
    """Per image the best point on the way, for one more forward pass: one whose wrong class the detector accepts, of
    those the one with the highest objective. Or the last point, as the paper has it."""

    alpha: float = Field(1.0, ge=0)
    """Weight of the detector's term; 0 leaves the cross-entropy alone."""

    @property
    def step_size(self) -> float:
        """Size of one step in pixel units of [0, 1]."""
        return float(self.step) if self.step is not None else self.eps * min(1.0, 2.5 / self.steps)
