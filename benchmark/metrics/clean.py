"""Measures of clean images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmark.cells import Cell, rejected, right, withstood
from benchmark.metrics.metric import CellMetric, CellRate, MetricValue, Shares, share_of, value_of
from benchmark.statistics import positive_mean


class CleanAccuracy(CellRate):
    """Share of all clean images whose defended label is right."""

    title, scope, better = "Clean accuracy", "clean", "high"
    reads = ("label",)

    def _shares(self, cell: Cell) -> Shares | None:
        return share_of(right(cell.clean, cell.y))


class BaseCleanAccuracy(CellRate):
    """Share of all clean images that the deployed classifier alone classifies rightly."""

    title, scope = "Clean accuracy without the defense", "clean"
    reads = ("base_label",)

    def _shares(self, cell: Cell) -> Shares | None:
        return share_of(cell.clean.base_label == cell.y)


class JointCleanAccuracy(CellRate):
    """Share of all clean images whose defended label is right and which are not flagged."""

    title, scope, better = "Joint clean accuracy", "clean", "high"
    reads = ("label", "flagged")

    def _shares(self, cell: Cell) -> Shares | None:
        return share_of(withstood(cell))


class CleanFpr(CellRate):
    """Share of all clean images that are flagged, at the threshold set on validation images."""

    title, scope, better = "Clean false-positive rate", "clean", "low"
    reads = ("flagged",)

    def _shares(self, cell: Cell) -> Shares | None:
        return None if cell.clean.flagged is None else share_of(rejected(cell.clean))


def separation_at(layer: str) -> str:
    """Return what tables call the separation of classes at a layer."""
    return "feature_separation" + ("" if layer == "penultimate" else f":{layer}")


class FeatureSeparation(CellMetric):
    """Mean distance between class centres over that of features to their own, at a layer that the suite names."""

    title, scope, unit, better = "Feature separation", "clean", "ratio", None
    reads = ()

    def __init__(self, layer: str = "penultimate") -> None:
        self.layer = layer

    def _measure(self, cell: Cell) -> MetricValue | None:
        found = cell.separation.get(self.layer)
        return None if found is None else value_of(positive_mean(found))

    def contributions(self, cells: Sequence[Cell]) -> np.ndarray | None:
        """Return the ratio plus its influence function at each image, (N,)."""
        (cell,) = cells
        return cell.separation.get(self.layer)
