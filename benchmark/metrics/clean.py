"""Measures of clean images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmark.cells import Cell, rejected, right, withstood
from benchmark.metrics.metric import CellMetric, CellRate, MetricValue, Shares, share_of, value_of
from benchmark.statistics import positive_mean


class CleanAccuracy(CellRate):
    """Clean judged images whose label by the defended system is right, out of all clean judged images."""

    title, short = "Clean accuracy", "clean"
    scope, better = "clean", "high"
    reads = ("label",)

    def _shares(self, cell: Cell) -> Shares | None:
        return share_of(right(cell.clean, cell.y))


class BaseCleanAccuracy(CellRate):
    """Clean judged images that the deployed classifier alone, without the defense beside it, labels rightly, out of
    all clean judged images.
    """

    title, short = "Base clean accuracy", "clean"
    scope, better = "clean", "high"
    reads = ("base_label",)

    def _shares(self, cell: Cell) -> Shares | None:
        return share_of(cell.clean.base_label == cell.y)


class JointCleanAccuracy(CellRate):
    """Clean judged images whose label is right and which the defense does not reject, out of all clean judged
    images.
    """

    title, short = "Joint clean accuracy", "clean"
    scope, better = "clean", "high"
    reads = ("label", "flagged")

    def _shares(self, cell: Cell) -> Shares | None:
        return share_of(withstood(cell))


class CleanFpr(CellRate):
    """Clean judged images that the defense rejects, out of all clean judged images."""

    title, short = "Clean false-positive rate", "clean FPR"
    scope, better = "clean", "low"
    reads = ("flagged",)

    def _shares(self, cell: Cell) -> Shares | None:
        return None if cell.clean.flagged is None else share_of(rejected(cell.clean))


def separation_at(layer: str) -> str:
    """Return what tables call the separation of classes at a layer."""
    return "feature_separation" + ("" if layer == "penultimate" else f":{layer}")


class FeatureSeparation(CellMetric):
    """Mean distance between the centres of two classes over the mean distance of a feature to the centre of its class,
    in the classifier's last hidden states of clean judged images, or at the layer named.
    """

    title, short = "Feature separation", "separation"
    scope, unit = "clean", "ratio"
    interval = "jackknife"
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
