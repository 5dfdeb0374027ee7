"""unmask-bench: a plugin-based benchmark of adversarial defenses for image classifiers.

What authors of plugins need is imported from here, and from nowhere else: `PAGE` is the list, docs/authors.md shows it.
The rest of the host may change at any time. `__init__.pyi` beside this file tells type checkers the same, and is made
from the list (`nox -s generate`).
"""

import importlib
from typing import Any

PAGE: dict[str, dict[str, tuple[str, ...]]] = {
    "Registering": {"hookspecs": ("hookimpl", "Register")},
    "Options": {
        "options": (
            "Options",
            "Budget",
            "InputFile",
            "SuiteLabel",
            "AttackLabels",
            "Function",
            "DatasetOptions",
            "ModelOptions",
            "AttackOptions",
            "StateOptions",
            "TrainOptions",
            "HardenerOptions",
            "CraftingOptions",
            "AdversarialOptions",
            "read_by_host",
            "PACKAGE",
        ),
    },
    "Handed to everybody": {
        "randomness": ("Rng",),
        "progress": ("Progress",),
        "setting": ("Setting", "DataFacts"),
    },
    "Data sets": {
        "dataset": (
            "Dataset",
            "Split",
            "ArraySplit",
            "DecodedSplit",
            "Subset",
            "PartAnnotations",
            "is_ignored",
            "balanced_indices",
        ),
        "masks": ("mask_of", "decode_mask"),
        "options": ("SPLITS",),
        "images": (
            "read_image",
            "read_header",
            "ImageHeader",
            "Fit",
            "Place",
            "pixels_of",
            "image_files",
            "is_image",
            "begins_as_image",
            "is_called_image",
            "is_hidden",
            "FORMATS",
            "PassedOver",
        ),
        "converter": ("Converter",),
    },
    "Models": {
        "model": ("Model", "Classifier", "Passes", "passes", "capturing", "load_weights", "shape_text"),
        "weights": (
            "save_weights",
            "read_tensors",
            "Checkpoint",
        ),
        "pretrained": ("PackagedWeights", "WeightsFile", "packaged_weights"),
    },
    "Attacks": {
        "attack": ("Attack", "Victim", "ClassLikelihoods", "perturbation_size", "TOLERANCE"),
        "gradient": (
            "ascend",
            "classification_loss",
            "untargeted",
            "input_gradient",
            "random_start",
            "unit_step",
            "project",
            "Best",
            "per_image",
        ),
    },
    "Defenses": {
        "defense": (
            "Defense",
            "Hardener",
            "FitContext",
            "Batch",
            "Verdict",
            "NO_LABEL",
            "Family",
            "SharedArtifact",
            "ArtifactRequest",
            "Observation",
            "Measure",
        ),
        "states": ("StateDetector", "LOGITS", "STATES"),
        "published": ("PublishedAttack",),
    },
    "Training": {
        "training": ("train", "Objective", "batches", "MicroBatches"),
        "checkpoint": ("TrainingCheckpoint",),
        "hardening": ("TrainedHardener",),
        "crafting": ("CraftingObjective", "craft", "draw_eps", "unchanged"),
    },
    "Metrics": {
        "metrics.metric": ("Metric", "MetricValue"),
        "cells": ("Cell", "Answers", "successful", "near"),
        "statistics": ("rate",),
    },
    "Panels": {
        "panel": (
            "Panel",
            "GalleryImage",
            "ImageVerdict",
            "PanelPart",
            "Picture",
            "Box",
            "Bars",
            "Bar",
            "Facts",
            "Plot",
            "Series",
        ),
    },
    "Errors and words": {
        "errors": (
            "BenchError",
            "InputError",
            "MissingError",
            "TaskError",
            "StorageError",
            "ExecutorError",
            "Mistakes",
            "unknown_name",
            "near_match",
            "required",
            "first_line",
        ),
        "wording": ("percent",),
        "files": ("write_whole", "known_digest"),
        "store.artifact": ("digest",),
        "source": ("source_digest", "source_places"),
    },
    "Reports, and a run read back": {
        "reporter": ("Reporter",),
        "results.read": ("load_run", "Run"),
        "results.export": ("csv_text",),
        "builtin": ("measures",),
        "statistics": ("compare_paired", "compare_over_seeds", "PairedDifference", "holm"),
        "wording": ("seconds_text",),
        "results.gallery": ("strata", "on_sheet"),
        "names": (
            "BARE",
            "KNOWING",
            "CLEAN",
            "WORST_OF",
            "ALL_ATTACKS",
            "KNOWLEDGE",
            "IDENTITY",
            "SUMMARIES",
        ),
        "suite": ("SECTIONS", "Published"),
        "trust.alarms": ("ALARMS", "AlarmKind"),
        "trust.probe_kinds": ("PROBES", "ProbeKind"),
        "trust.marks": ("TRUST_MARKS", "Mark", "TRUST_RULES"),
        "taxonomy": ("TAGS", "Tag", "tags_of", "AttackTraits", "DefenseTraits", "HOLDING"),
    },
    "Executors": {
        "executors": ("Executor", "ExecutorOptions", "Setup", "Event"),
        "executors.serving": ("Server",),
        "plan.task": ("Task",),
    },
}
"""Title of a section → module of the host → the names that it gives to authors, in the order of docs/authors.md."""

_HOME = {name: module for section in PAGE.values() for module, names in section.items() for name in names}

__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    # Imported on first use: `bench --help` must not wait for torch, nor a Ctrl-C for anything.
    if name in _HOME:
        return getattr(importlib.import_module(f"benchmark.{_HOME[name]}"), name)
    raise AttributeError(f"module 'benchmark' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
