"""unmask-bench: a plugin-based benchmark of adversarial defenses for image classifiers."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmark.attack import Attack, ClassLikelihoods, Victim
    from benchmark.cells import Cell
    from benchmark.converter import Converter
    from benchmark.dataset import ArraySplit, Dataset, DecodedSplit, PartAnnotations, Split
    from benchmark.defense import (
        ArtifactRequest,
        Batch,
        Defense,
        FitContext,
        Hardener,
        Measure,
        Observation,
        SharedArtifact,
        Verdict,
    )
    from benchmark.errors import BenchError, InputError, MissingError, TaskError
    from benchmark.executors import Executor
    from benchmark.hookspecs import hookimpl
    from benchmark.images import read_image
    from benchmark.metrics.metric import Metric, MetricValue
    from benchmark.model import Classifier, Model
    from benchmark.options import (
        AttackOptions,
        Budget,
        DatasetOptions,
        Function,
        InputFile,
        ModelOptions,
        Options,
        SuiteLabel,
        TrainOptions,
    )
    from benchmark.panel import GalleryImage, Panel
    from benchmark.pretrained import PackagedWeights
    from benchmark.progress import Progress
    from benchmark.published import PublishedAttack
    from benchmark.randomness import Rng
    from benchmark.reporter import Reporter
    from benchmark.results.read import Run, load_run
    from benchmark.setting import DataFacts, Setting

_HOME = {
    "hookimpl": "hookspecs",
    "Attack": "attack",
    "ClassLikelihoods": "attack",
    "Victim": "attack",
    "DataFacts": "setting",
    "Setting": "setting",
    "Converter": "converter",
    "ArraySplit": "dataset",
    "Dataset": "dataset",
    "DecodedSplit": "dataset",
    "PartAnnotations": "dataset",
    "Split": "dataset",
    "ArtifactRequest": "defense",
    "Batch": "defense",
    "Defense": "defense",
    "FitContext": "defense",
    "Hardener": "defense",
    "Measure": "defense",
    "Observation": "defense",
    "SharedArtifact": "defense",
    "Verdict": "defense",
    "BenchError": "errors",
    "InputError": "errors",
    "MissingError": "errors",
    "TaskError": "errors",
    "Executor": "executors",
    "Cell": "cells",
    "Metric": "metrics.metric",
    "MetricValue": "metrics.metric",
    "Classifier": "model",
    "Model": "model",
    "AttackOptions": "options",
    "Budget": "options",
    "DatasetOptions": "options",
    "Function": "options",
    "InputFile": "options",
    "ModelOptions": "options",
    "Options": "options",
    "SuiteLabel": "options",
    "TrainOptions": "options",
    "Rng": "randomness",
    "PackagedWeights": "pretrained",
    "Progress": "progress",
    "GalleryImage": "panel",
    "Panel": "panel",
    "Reporter": "reporter",
    "PublishedAttack": "published",
    "Run": "results.read",
    "load_run": "results.read",
    "read_image": "images",
}


__all__ = [
    "ArraySplit",
    "ArtifactRequest",
    "Attack",
    "AttackOptions",
    "Batch",
    "BenchError",
    "Budget",
    "Cell",
    "ClassLikelihoods",
    "Classifier",
    "Converter",
    "DataFacts",
    "Dataset",
    "DatasetOptions",
    "DecodedSplit",
    "Defense",
    "Executor",
    "FitContext",
    "Function",
    "GalleryImage",
    "Hardener",
    "InputError",
    "InputFile",
    "Measure",
    "Metric",
    "MetricValue",
    "MissingError",
    "Model",
    "ModelOptions",
    "Observation",
    "Options",
    "PackagedWeights",
    "Panel",
    "PartAnnotations",
    "Progress",
    "PublishedAttack",
    "Reporter",
    "Rng",
    "Run",
    "Setting",
    "SharedArtifact",
    "Split",
    "SuiteLabel",
    "TaskError",
    "TrainOptions",
    "Verdict",
    "Victim",
    "hookimpl",
    "load_run",
    "read_image",
]


def __getattr__(name: str) -> Any:
    # Imported on first use: `bench --help` must not wait for torch, nor a Ctrl-C for anything.
    if name in _HOME:
        return getattr(importlib.import_module(f"benchmark.{_HOME[name]}"), name)
    raise AttributeError(f"module 'benchmark' has no attribute {name!r}")
