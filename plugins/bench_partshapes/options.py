"""Options of `partshapes`; imports no torch, so that suites are validated fast."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from benchmark import DatasetOptions


class PartShapesOptions(DatasetOptions):
    """Options of `partshapes`."""

    class_set: (
        Literal["CS3a", "CS3b", "CS5a", "CS5b"] | tuple[Literal["car", "person", "train", "dog", "bird", "bottle"], ...]
    ) = "CS3a"
    """A class set of the paper, or a list of classes (car, person, train, dog, bird, bottle)."""

    size: int = Field(96, ge=32, le=512)
    """Height and width."""

    train: int = Field(500, ge=1, le=1_000_000)
    """Images per class in train. A larger number keeps the images of a smaller one."""

    val: int = Field(100, ge=1, le=1_000_000)
    """Images per class in val."""

    test: int = Field(200, ge=1, le=1_000_000)
    """Images per class in test."""

    seed: int = Field(0, ge=0, lt=2**63)
    """Another seed gives other images."""

    clutter: float = Field(0.5, ge=0, le=1)
    """How much stands around the object: 0 nothing, 1 crowded, with things that look like parts."""

    occlusion: float = Field(0.3, ge=0, le=1)
    """Probability that something stands in front of the object."""

    noise: float = Field(0.5, ge=0, le=1)
    """How far light, contrast, blur and sensor noise vary."""

    @model_validator(mode="after")
    def _classes_differ(self) -> PartShapesOptions:
        if isinstance(self.class_set, tuple) and (
            len(self.class_set) < 2 or len(set(self.class_set)) < len(self.class_set)
        ):
            raise PydanticCustomError(
                "class_set",
                "class_set needs at least two classes, all different, found {found}",
                {"found": self.class_set},
            )
        return self
