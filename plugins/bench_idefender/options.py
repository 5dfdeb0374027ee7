"""Options of I-defender; imports no torch, so that suites are validated fast."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from benchmark.options import Options


class IDefenderOptions(Options):
    """Options of `i-defender`."""

    layer: str | tuple[str, ...] = "penultimate"
    """Hidden state that is modelled, or a list of states that are joined into one vector. `penultimate` is the input of
    the last fully connected layer: the last fully connected hidden layer, or the pooled features of a network without
    one. `logits`, or the name of a module inside the network, means that one's output."""

    positions: Literal["mean", "flatten"] = "mean"
    """What becomes of a state with positions (C, H, W): its mean per channel, or all its values. States of other shapes
    are flattened."""

    pca: int | None = Field(None, ge=1)
    """Principal components of the training states that are modelled instead of the states; null takes the states."""

    components: int | Literal["bic"] = 3
    """Gaussians per class, or `bic`: per class the number up to `max_components` with the lowest Bayesian information
    criterion."""

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

    @property
    def layers(self) -> tuple[str, ...]:
        """The names of the modelled states."""
        return (self.layer,) if isinstance(self.layer, str) else self.layer

    @field_validator("layer")
    @classmethod
    def _layers_differ(cls, layer: str | tuple[str, ...]) -> str | tuple[str, ...]:
        if isinstance(layer, tuple) and (not layer or len(set(layer)) < len(layer)):
            raise PydanticCustomError(
                "layers", "name at least one layer and each once, found {found}", {"found": str(list(layer))}
            )
        return layer

    @field_validator("components")
    @classmethod
    def _at_least_one(cls, components: int | str) -> int | str:
        if isinstance(components, int) and components < 1:
            raise PydanticCustomError(
                "components", "at least 1 is needed, or `bic`, found {found}", {"found": components}
            )
        return components
