"""Part extractors small enough to be trained in a test."""

from __future__ import annotations

import torch

from bench_unmask.extractor.artifact import PartExtractor
from bench_unmask.extractor.options import PartExtractorOptions
from benchmark import Rng
from benchmark.defense import FitContext
from benchmark.progress import Progress

TINY = {
    "network": "resnet10",
    "channels": 16,
    "anchors": (4, 8, 16, 32, 64),
    "proposals": 30,
    "rois": 16,
    "batch_size": 4,
    "stages": ({"layers": "all", "epochs": 2, "lr": 0.01},),
    "min_score": 0.01,
}


def options_of(**changes) -> PartExtractorOptions:
    return PartExtractorOptions.model_validate({**TINY, **changes}, strict=False)


def extractor_of(**changes) -> PartExtractor:
    extractor = PartExtractor(options_of(**changes))
    extractor.device = torch.device("cpu")
    return extractor


def context(pictures, folder, send=lambda *message: None, **changes) -> FitContext:
    folder.mkdir(exist_ok=True)
    arguments = {
        "classifier": None,
        "new_classifier": lambda rng: None,
        "recipe": None,
        "train": pictures.split("train"),
        "val": pictures.split("val"),
        "rng": Rng(3),
        "device": torch.device("cpu"),
        "progress": Progress(send, every=0),
        "checkpoint": folder,
    }
    return FitContext(**{**arguments, **changes})


def loaded(folder, **changes) -> PartExtractor:
    extractor = extractor_of(**changes)
    extractor.load(folder)
    return extractor
