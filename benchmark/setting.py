"""What a defense or an attack will meet, as far as it is known before any work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from benchmark.dataset import Split
from benchmark.model import Classifier
from benchmark.options import TrainOptions


@dataclass(frozen=True)
class DataFacts:
    """What is known of a data set.

    Attributes:
        class_names: name per class.
        image_shape: (C, H, W).
        counts: split → images per class, (num_classes,).
    """

    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    counts: Mapping[str, np.ndarray]

    def size(self, split: str) -> int:
        """Return how many images a split has."""
        return int(self.counts[split].sum())

    def few(self, split: str, least: int) -> str:
        """Return the classes with fewer than `least` images in a split, in words; "" where there are none."""
        found = [f"{name!r} {n}" for name, n in zip(self.class_names, self.counts[split], strict=True) if n < least]
        return ", ".join(found[:5]) + (f" and {len(found) - 5} more classes" if len(found) > 5 else "")


def facts_of(splits: Mapping[str, Split]) -> DataFacts:
    """Return what is known of a data set with these splits, which agree in classes and image shape."""
    any_split = next(iter(splits.values()))
    counts = {n: np.bincount(s.labels, minlength=len(any_split.class_names)) for n, s in splits.items()}
    return DataFacts(any_split.class_names, any_split.image_shape, counts)


@dataclass(frozen=True)
class Setting:
    """A data set, and the model on it that is attacked or defended.

    Attributes:
        data: the data set that it is attacked or defended on.
        datasets: label → what is known of it, of all data sets of the suite that are used.
        recipe: the model's own training recipe, None where it has none.
        classifier: the model's network, untrained; None where it is too large to be tried while planning.
    """

    data: DataFacts
    datasets: Mapping[str, DataFacts]
    recipe: TrainOptions | None
    classifier: Classifier | None

    def states(self, layers: Sequence[str]) -> dict[str, Tensor] | None:
        """Return the hidden states (2, ...) and logits of two black images; None where the network is not known."""
        if self.classifier is None:
            return None
        with torch.no_grad():
            return self.classifier.features(torch.zeros(2, *self.data.image_shape), layers)
