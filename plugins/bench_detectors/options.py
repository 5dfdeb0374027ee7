"""Options of the detectors; imports no torch, so that suites are validated fast."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from benchmark import AttackLabels, Options, StateOptions


class LayerwiseOptions(StateOptions):
    """What detectors that take one number per layer have in common."""

    attacks: AttackLabels = ()
    """Attacks of the suite, by label, whose successful examples on validation images teach a logistic regression how
    to weigh the layers, as the paper does. None: every layer counts the same, and no adversarial image is ever seen."""


class MahalanobisOptions(LayerwiseOptions):
    """Options of `mahalanobis`."""

    regularization: float = Field(1e-3, ge=0)
    """Added to the diagonal of every layer's covariance, as a share of its average variance per dimension."""

    magnitude: float = Field(0.0, ge=0, le=1)
    """Step of each pixel, in [0, 1], towards the nearest class mean before a layer is measured (input pre-processing,
    Eq. 4): 0.01 to 0.0005 in the released code, which chooses it on adversarial images; 0 for none. It takes two
    forward and one backward pass per layer and image judged."""


class LidOptions(LayerwiseOptions):
    """Options of `lid`."""

    positions: Literal["mean", "flatten"] = "flatten"
    """What becomes of a state with positions (C, H, W): its mean per channel, or all its values. States of other shapes
    are flattened."""

    neighbors: int = Field(20, ge=2)
    """Nearest training images that the estimate is made from."""

    references: int = Field(1000, ge=3)
    """Training images, drawn at random, among which the neighbours are sought: their states are kept."""

    @model_validator(mode="after")
    def _enough_references(self) -> LidOptions:
        if self.references <= self.neighbors:
            raise PydanticCustomError(
                "references",
                "references: {references} images have no {neighbors} nearest: set more than `neighbors`",
                {"references": self.references, "neighbors": self.neighbors},
            )
        return self


class KernelDensityOptions(StateOptions):
    """Options of `kernel-density`."""

    bandwidth: float | Literal["validation"] = "validation"
    """Standard deviation of the Gaussian kernel, in the units of the states, or `validation`: the one under which clean
    validation images are likeliest."""

    images_per_class: int | None = Field(5000, ge=1)
    """Most training images of a class, drawn at random, whose states are kept; null keeps all."""

    @field_validator("bandwidth")
    @classmethod
    def _positive(cls, bandwidth: float | str) -> float | str:
        if isinstance(bandwidth, float) and not 0 < bandwidth < float("inf"):
            raise PydanticCustomError(
                "bandwidth", "a finite number above 0 is needed, or `validation`, found {found}", {"found": bandwidth}
            )
        return bandwidth


class FeatureSqueezingDetectorOptions(Options):
    """Options of `feature-squeezing-detector`. The defaults are the paper's best for ImageNet; for CIFAR-10 its best
    has an `nlm_search` of 13 and an `nlm_strength` of 2, for MNIST a `bit_depth` of 1 and no non-local means."""

    bit_depth: int | None = Field(5, ge=1, le=8)
    """Bits per channel that one squeezer keeps (1 for images of strokes such as MNIST); null leaves it out."""

    median: int | None = Field(2, ge=2)
    """Side, in pixels, of the window whose median another squeezer takes; null leaves it out."""

    nlm_strength: float | None = Field(4.0, gt=0)
    """Filter strength of the non-local means squeezer, in steps of 1/255; null leaves it out (as the paper does for
    MNIST)."""

    nlm_search: int = Field(11, ge=3)
    """Side, in pixels, of the window in which non-local means looks for similar patches; odd."""

    nlm_patch: int = Field(3, ge=1)
    """Side, in pixels, of the patches that non-local means compares; odd."""

    @field_validator("nlm_search", "nlm_patch")
    @classmethod
    def _odd(cls, side: int) -> int:
        if side % 2 == 0:
            raise PydanticCustomError("odd", "a window around a pixel has an odd side, found {side}", {"side": side})
        return side

    @model_validator(mode="after")
    def _squeezes(self) -> FeatureSqueezingDetectorOptions:
        if self.bit_depth is None and self.median is None and self.nlm_strength is None:
            raise PydanticCustomError("squeezers", "name at least one of bit_depth, median and nlm_strength")
        return self
