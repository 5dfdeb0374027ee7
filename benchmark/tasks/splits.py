"""Splits as plugins see them: copies of images and labels, and adversarial images under their true labels."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from benchmark.dataset import PartAnnotations, Split
from benchmark.store.arrays import ArrayReader


class HandedSplit(Split):
    """A split as plugins see it: images and labels are copies, the data set keeps its own."""

    def __init__(self, split: Split, what: str) -> None:
        self._split, self._what = split, what
        self.labels = split.labels.copy()
        self.class_names = split.class_names
        self.image_shape = split.image_shape
        self._parts: PartAnnotations | None = None

    def images(self, indices: Sequence[int]) -> Tensor:
        """Return a copy of the images of `indices`."""
        return self._split.images(indices).clone()

    def sample_ids(self, indices: Sequence[int]) -> list[str]:
        """Return the data set's names of the images."""
        return self._split.sample_ids(indices)

    def part_annotations(self) -> PartAnnotations | None:
        """Return a copy of the annotations."""
        if self._parts is None:
            self._parts = copy.deepcopy(self._split.part_annotations())
        return self._parts

    def changed(self) -> str:
        """Return what a plugin changed, in words; an empty text where all is as it was."""
        same = np.array_equal(self.labels, self._split.labels)
        same = same and (self.class_names, self.image_shape) == (self._split.class_names, self._split.image_shape)
        return "" if same else f"{self._what} that it was handed. Work on copies of labels and names."


class AttackedSplit(Split):
    """Adversarial examples of a split's images, under their true labels."""

    def __init__(self, clean: Split, crafted: ArrayReader) -> None:
        self._clean, self._crafted = clean, crafted
        self.labels = clean.labels
        self.class_names = clean.class_names
        self.image_shape = clean.image_shape

    def images(self, indices: Sequence[int]) -> Tensor:
        """Return the adversarial examples of `indices`."""
        return torch.from_numpy(self._crafted.take("x_adv", indices))

    def sample_ids(self, indices: Sequence[int]) -> list[str]:
        """Return the names of the clean images."""
        return self._clean.sample_ids(indices)
