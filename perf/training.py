"""Training beside torchvision's own loop: images per second, interleaved.

    python perf/training.py [rounds]

Two trainings on EfficientNet-Lite0, on pictures that the program draws: UnMask's part extractor, by its `train`, and
a classifier, by the host's. Beside each the loop of torchvision's references (`references/detection/engine.py` and
`references/classification/train.py`) without what it prints: the same network with the same initial weights, the same
images from a `DataLoader`, the same optimiser and batches; a detector is handed a list of images and resizes nothing.

Seconds are those of the process (one thread), so that other processes disturb them less.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import timm
import torch
from torch import nn
from torch.utils.data import DataLoader

from bench_unmask.extractor.backend import freeze
from bench_unmask.extractor.options import PartExtractorOptions
from bench_unmask.extractor.torchvision_backend import TorchvisionBackend
from bench_unmask.extractor.training import AnnotatedParts
from bench_unmask.extractor.training import train as train_extractor
from benchmark import Rng, Split, TrainOptions
from benchmark.model import Classifier
from benchmark.plugins import load_plugins
from benchmark.progress import Progress
from benchmark.training import train

IMAGES = 24
EPOCHS = 4  # of the classifier: beside one, what is done once per training would be a twentieth of it
BATCH = 8
SIDE = 160
NETWORK = "tf_efficientnet_lite0"
CPU = torch.device("cpu")


def main() -> None:
    torch.set_num_threads(1)
    arguments = argparse.ArgumentParser()
    arguments.add_argument("rounds", type=int, nargs="?", default=3)
    rounds = arguments.parse_args().rounds
    drawn = load_plugins().create(
        "dataset", "partshapes", {"class_set": "CS3a", "size": SIDE, "train": IMAGES // 3, "val": 1, "test": 1}
    )
    pictures, few = drawn.split("train"), drawn.split("val")
    pictures.images(range(IMAGES))  # drawn, before the clock starts
    print(f"{NETWORK}, {IMAGES} images of {SIDE} pixels in batches of {BATCH}")
    race("part extractor", extractors(pictures), rounds, IMAGES)
    race("classifier", classifiers(pictures, few), rounds, IMAGES * EPOCHS)


def race(what: str, contestants: dict[str, Callable[[], None]], rounds: int, images: int) -> None:
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds + 1):  # the first is not counted
        for name, learn in contestants.items():
            started = process_time()
            learn()
            seconds[name].append(process_time() - started)
    medians = {name: statistics.median(times[1:]) for name, times in seconds.items()}
    for name, median in medians.items():
        print(f"  {what:<15} {name:<14} {images / median:7.2f} images/s  {median / medians['benchmark']:5.2f} x")


def extractors(pictures: Split) -> dict[str, Callable[[], None]]:
    annotated = AnnotatedParts(pictures.part_annotations())
    options = PartExtractorOptions.model_validate(
        {
            "network": f"timm:{NETWORK}",
            "channels": 96,
            "masks": False,
            "anchors": (8, 16, 32, 64, 128),
            "proposals": 200,
            "rois": 64,
            "batch_size": BATCH,
            "optimizer": "adamw",
            "clip": None,
            "flip": False,
            "stages": ({"layers": "all", "epochs": 1, "lr": 1e-4},),
        }
    )
    with Rng(0).seeded_globals():
        ours = TorchvisionBackend(options, len(annotated.parts))
    theirs: Any = copy.deepcopy(ours.network).to(memory_format=torch.contiguous_format)
    theirs.transform.min_size, theirs.transform.max_size = (SIDE,), SIDE

    def product() -> None:
        with tempfile.TemporaryDirectory() as folder:
            train_extractor(
                ours, pictures, annotated, options, rng=Rng(0), device=CPU, progress=Progress(), checkpoint=Path(folder)
            )

    targets = [annotated.target(index, (SIDE, SIDE), False, False) for index in range(IMAGES)]
    items = [
        (pictures.images([index])[0], {"boxes": one.boxes, "labels": one.labels + 1})
        for index, one in enumerate(targets)
    ]

    def reference() -> None:
        optimizer = torch.optim.AdamW(theirs.parameters(), lr=1e-4)
        theirs.train()
        loader: DataLoader[Any] = DataLoader(items, BATCH, shuffle=True, collate_fn=lambda batch: tuple(zip(*batch)))
        for images, wanted in loader:
            losses = theirs(list(images), list(wanted))
            optimizer.zero_grad()
            sum(losses.values()).backward()
            optimizer.step()

    freeze(ours, "all")
    return {"benchmark": product, "torchvision's": reference}


def classifiers(pictures: Split, few: Split) -> dict[str, Callable[[], None]]:
    recipe = TrainOptions(epochs=EPOCHS, batch_size=BATCH, optimizer="adamw", lr=1e-4, select="last")
    torch.manual_seed(0)
    network: nn.Module = timm.create_model(NETWORK, num_classes=3)
    ours, theirs = Classifier(copy.deepcopy(network), 3, (3, SIDE, SIDE), None), network

    def product() -> None:
        train(ours, pictures, few, recipe, rng=Rng(0), device=CPU, progress=Progress())

    labels = np.asarray(pictures.labels)
    items = [(pictures.images([index])[0], int(labels[index])) for index in range(IMAGES)]

    def reference() -> None:
        optimizer = torch.optim.AdamW(theirs.parameters(), lr=1e-4)
        for _ in range(EPOCHS):
            theirs.train()
            for x, y in DataLoader(items, BATCH, shuffle=True):
                loss = nn.functional.cross_entropy(theirs(x), y)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            theirs.eval()
            with torch.inference_mode():  # as the host looks at its few validation images after an epoch
                theirs(few.images(range(len(few))))

    return {"benchmark": product, "torchvision's": reference}


if __name__ == "__main__":
    main()
