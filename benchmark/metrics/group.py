"""Measures of several attacks together: the worst case, image by image."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar, Literal

import numpy as np

from benchmark.cells import Answers, Cell, attacked, right, scores, successful, withstood
from benchmark.metrics.attack import (
    Auroc,
    Fpr,
    FprAt95Tpr,
    SuccessAt5Fpr,
    SuccessAt50Fpr,
    Tpr,
    TprAt5Fpr,
    implied,
    success_at_fpr,
)
from benchmark.metrics.metric import Metric, MetricValue, Shares


class _WorstCase(Metric):
    """An image counts as far as it withstands the attack of the group that does worst by it."""

    scope = "group"
    better: ClassVar[Literal["high", "low"] | None] = "high"

    def compute(self, cells: Sequence[Cell]) -> MetricValue | None:
        return self._shares(cells).rate()

    def contributions(self, cells: Sequence[Cell]) -> np.ndarray | None:
        """Return per image (N,) how far it withstands the worst attack."""
        return self._shares(cells).contributions()

    def _shares(self, cells: Sequence[Cell]) -> Shares:
        judged = [self._holds(cell) for cell in cells]
        worst = np.stack([each.mean(0) for each in judged]).min(axis=0)
        return Shares(worst, np.ones(len(worst)), max(map(len, judged)))

    @abstractmethod
    def _holds(self, cell: Cell) -> np.ndarray:
        """Return which images withstand the attack of this cell: (R, N) bool."""


class WorstCaseRobustAccuracy(_WorstCase):
    """Share of all images whose defended label is right under every attack of the group."""

    title = "Worst-case robust accuracy"
    reads = ("label",)

    def _holds(self, cell: Cell) -> np.ndarray:
        return right(attacked(cell), cell.y)


class WorstCaseJointRobustAccuracy(_WorstCase):
    """Share of all images that are labelled rightly or flagged under every attack of the group."""

    title = "Worst-case joint robust accuracy"
    reads = ("label", "flagged")

    def _holds(self, cell: Cell) -> np.ndarray:
        attacked(cell)
        return withstood(cell)


class WorstCaseBaseRobustAccuracy(_WorstCase):
    """Share of all images that the deployed classifier alone classifies rightly under every attack of the group."""

    title, better = "Worst-case robust accuracy without the defense", None
    reads = ("base_label",)

    def _holds(self, cell: Cell) -> np.ndarray:
        return np.atleast_2d(attacked(cell).base_label == cell.y)


class WorstCaseImpliedRobustAccuracy(Metric):
    """As `ImpliedRobustAccuracy`, under every attack of the group: at half of its largest budget, of one norm."""

    title = "Worst-case implied robust accuracy at half the budget"
    scope = "group"
    reads = ("label", "flagged")

    def compute(self, cells: Sequence[Cell]) -> MetricValue | None:
        """Return the rate, or None where nothing follows."""
        shares = implied(cells)
        return None if shares is None else shares.rate()

    def contributions(self, cells: Sequence[Cell]) -> np.ndarray | None:
        """Return per image (N,) whether it counts."""
        shares = implied(cells)
        return None if shares is None else shares.contributions()


def _hardest_to_detect(cells: Sequence[Cell], *, flags: bool = False) -> Cell | None:
    """Return a cell that has, of each image, the successful attack of the group that is detected least.

    So counts MEAD (Granese et al. 2022, arXiv:2206.15415): an image that some attack turned wrong is detected where
    all of those are; attacks that failed on it do not count. Least detected is what has the lowest score, the mean
    over repeats of a randomised defense; with `flags`, what is flagged in the smallest share of repeats.

    Returns:
        None where there is no score, or no flag.
    """
    answers = list(map(attacked, cells))
    asked = [one.flagged if flags else scores(one) for one in (cells[0].clean, *answers)]
    given = [np.atleast_2d(one) for one in asked if one is not None]
    if len(given) < len(asked):
        return None
    succeeded = np.stack(list(map(successful, cells)))
    detected = np.stack(given[1:]).mean(1)
    # A score may be infinite: first those that succeeded, then the lowest of them.
    least, images = np.lexsort((detected, ~succeeded), axis=0)[0], np.arange(len(cells[0].y))

    def chosen(arrays: Sequence[np.ndarray]) -> np.ndarray:
        picked: np.ndarray = np.stack(arrays)[least, ..., images]  # images come first behind two lists of indices
        return picked.T if picked.ndim > 1 else picked

    return replace(
        cells[0],
        attacked=Answers(
            chosen([one.base_label for one in answers]),
            chosen([one.label for one in answers]),
            None if flags else chosen(given[1:]),
            chosen(given[1:]) if flags else None,
        ),
    )


class _WorstCaseDetection(Metric):
    """A measure of a single cell, taken of each image under the successful attack that is detected least."""

    scope = "group"
    flags: ClassVar[bool] = False
    single: ClassVar[type[Metric]]

    def compute(self, cells: Sequence[Cell]) -> MetricValue | None:
        cell = _hardest_to_detect(cells, flags=self.flags)
        return None if cell is None else self.single().compute([cell])

    def contributions(self, cells: Sequence[Cell]) -> np.ndarray | None:
        """Return what the measure of the single cell is the mean of, (N,)."""
        cell = _hardest_to_detect(cells, flags=self.flags)
        return None if cell is None else self.single().contributions([cell])


class WorstCaseAuroc(_WorstCaseDetection):
    """AUROC where each image that some attack of the group turns wrong has the lowest score under those that do."""

    title, unit, better = "Worst-case AUROC", "area", "high"
    reads = Auroc.reads
    single = Auroc


class WorstCaseTpr(_WorstCaseDetection):
    """Share of the images that some attack of the group turns wrong which are flagged under all attacks that do."""

    title, better = "Worst-case true-positive rate at the threshold", "high"
    reads = Tpr.reads
    flags, single = True, Tpr


class WorstCaseFpr(_WorstCaseDetection):
    """Share of the clean versions of the images that some attack of the group turns wrong which are flagged."""

    title, better = "False-positive rate of the worst case", "low"
    reads = Fpr.reads
    flags, single = True, Fpr


class WorstCaseTprAt5Fpr(_WorstCaseDetection):
    """As `WorstCaseTpr`, at the threshold that flags 5 % of the clean versions."""

    title, better = "Worst-case TPR at 5 % FPR", "high"
    reads = TprAt5Fpr.reads
    single = TprAt5Fpr


class WorstCaseFprAt95Tpr(_WorstCaseDetection):
    """Share of clean versions flagged at the threshold that flags 95 % of the images under all successful attacks."""

    title, better = "Worst-case FPR at 95 % TPR", "low"
    reads = FprAt95Tpr.reads
    single = FprAt95Tpr


class WorstCaseSuccessAt5Fpr(Metric):
    """Share of initially correct images that end wrong and not flagged under some attack, at 5 % false positives."""

    title, scope, better = "Worst-case attack success at 5 % FPR", "group", "low"
    reads = SuccessAt5Fpr.reads
    target: ClassVar[float] = SuccessAt5Fpr.target

    def compute(self, cells: Sequence[Cell]) -> MetricValue | None:
        """Return the rate, or None without scores."""
        return success_at_fpr(cells, self.target)


class WorstCaseSuccessAt50Fpr(WorstCaseSuccessAt5Fpr):
    """As `WorstCaseSuccessAt5Fpr`, at 50 % false positives."""

    title = "Worst-case attack success at 50 % FPR"
    target = SuccessAt50Fpr.target
