"""The weights that UnMask's part extractor is offered: by their name, as suites ask for them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bench_partshapes.parts import CLASS_PARTS
from benchmark import Rng
from benchmark.defense import FitContext
from benchmark.errors import InputError
from benchmark.plugins import load_plugins
from benchmark.progress import Progress

OFFERED = {
    "network": "resnet10-half",
    "channels": 64,
    "masks": False,
    "size": 96,
    "anchors": [8, 16, 32, 48, 80],
    "proposals": 50,
    "min_score": 0.05,
    "weights": "partshapes",
    "stages": [],
}
SIX = list(CLASS_PARTS)


@pytest.fixture(scope="module")
def registry():
    return load_plugins()


def build(registry, shapes, folder):
    """Return the part extractor with the weights as they are offered."""
    extractor = registry.create("artifact", "part-extractor", OFFERED)
    assert extractor.fingerprint()
    extractor.device = torch.device("cpu")
    extractor.build(
        FitContext(
            classifier=None,
            new_classifier=lambda rng: None,
            recipe=None,
            train=shapes.split("train"),
            val=shapes.split("val"),
            rng=Rng(3),
            device=torch.device("cpu"),
            progress=Progress(lambda *message: None, every=0),
            checkpoint=folder,
        )
    )
    return extractor


def test_the_weights_tell_drawn_objects_by_their_parts(registry, tmp_path):
    shapes = registry.create("dataset", "partshapes", {"class_set": SIX, "size": 64, "train": 1, "val": 1, "test": 6})
    extractor = build(registry, shapes, tmp_path)
    test = shapes.split("test")
    shown = [i for i, label in enumerate(test.labels) if SIX[label] in ("car", "person", "train")]
    scores = extractor.observe(test.images(shown))["scores"].numpy()
    matrix = np.array([[part in CLASS_PARTS[name] for part in extractor.parts] for name in SIX[:3]])
    found = (scores >= 0.3) & matrix.any(0)
    similarity = (found[:, None] & matrix).sum(2) / (found[:, None] | matrix).sum(2).clip(1)
    assert np.mean(similarity.argmax(1) == test.labels[shown]) > 0.8


def test_the_weights_are_refused_for_other_parts(registry, tmp_path):
    two = {"class_set": ["car", "bottle"], "size": 32, "train": 1, "val": 1, "test": 1}
    with pytest.raises(InputError, match=r"knows 36 parts, the part data has \d+, and nothing is learned"):
        build(registry, registry.create("dataset", "partshapes", two), tmp_path)
