"""Trained defenses on scikit-learn's digits, with a network of seconds: for the tests of plugins that train one."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from benchmark import ArraySplit, Classifier, FitContext, PartAnnotations, Rng, Split, TrainOptions
from benchmark.gradient import ascend, classification_loss
from benchmark.plugins import validate_options
from benchmark.progress import Progress
from benchmark.training import train

CPU = torch.device("cpu")
RECIPE = TrainOptions(epochs=8, batch_size=64, lr=0.05)
EPS = 0.15


def digits(start: int, stop: int) -> ArraySplit:
    data = load_digits()
    images = (data.images[start:stop, None] / 16).astype(np.float32)
    return ArraySplit(images, data.target[start:stop], [str(digit) for digit in range(10)])


def new_classifier(rng: Rng) -> Classifier:
    with rng.seeded_globals():
        network = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(128, 32),
            nn.ReLU(),
            nn.Linear(32, 10),
        )
    return Classifier(network, 10, (1, 8, 8))


def fit_context(folder: Path, classifier: Classifier | None = None) -> FitContext:
    folder.mkdir(parents=True, exist_ok=True)
    return FitContext(
        classifier=classifier,
        new_classifier=new_classifier,
        recipe=RECIPE,
        train=digits(0, 1000),
        val=digits(1000, 1200),
        rng=Rng(3),
        device=CPU,
        progress=Progress(),
        checkpoint=folder,
    )


@lru_cache(maxsize=1)
def trained_without() -> Classifier:
    """The network that no defense has touched."""
    classifier = new_classifier(Rng(0))
    train(classifier, digits(0, 1000), digits(1000, 1200), RECIPE, rng=Rng(1), device=CPU, progress=Progress())
    return classifier.frozen()


def trained(folder: Path, defense: Any, options: Any, given: dict[str, Any]) -> Any:
    """Fit a defense that trains a network from the start."""
    made = defense(validate_options(options, given))
    made.device, made.class_names, made.shared = CPU, tuple(map(str, range(10))), {}
    made.recipe = RECIPE
    made.fit(fit_context(folder))
    return made


def held_out() -> tuple[Tensor, Tensor]:
    test = digits(1200, 1797)
    return test.images(range(len(test))), torch.from_numpy(test.labels)


def robust_accuracy(classifier: Classifier | None) -> float:
    """Accuracy under ten steps of BIM; of the undefended network for None."""
    x, y = held_out()
    attacked = classifier or trained_without()
    x_adv = ascend(classification_loss(attacked, y), x, norm="linf", eps=EPS, step=0.03, steps=10)
    return float((attacked(x_adv).argmax(1) == y).float().mean())


class OneUnannotated(ArraySplit):
    """The pictures of a split, of which the first lost its parts."""

    def __init__(self, split: Split) -> None:
        super().__init__(split.images(range(len(split))).numpy(), split.labels, split.class_names)
        annotations = split.part_annotations()
        assert annotations is not None
        data = annotations.data
        kept = [entry for entry in data["annotations"] if entry["image_id"] != data["images"][0]["id"]]
        self._annotations = PartAnnotations({**data, "annotations": kept})

    def part_annotations(self) -> PartAnnotations:
        return self._annotations
