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
    interval: ClassVar[str] = "Wilson"

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
    """Judged images whose label is right under every attack of the group, out of all judged images. It is never above
    the lowest robust accuracy in the group, and usually below it.
    """

    title, short = "Worst-case robust accuracy", "worst case"
    reads = ("label",)

    def _holds(self, cell: Cell) -> np.ndarray:
        return right(attacked(cell), cell.y)


class WorstCaseJointRobustAccuracy(_WorstCase):
    """Judged images that are withstood (right label or rejected) under every attack of the group, out of all judged
    images.
    """

    title, short = "Worst-case joint robust accuracy", "worst case"
    reads = ("label", "flagged")

    def _holds(self, cell: Cell) -> np.ndarray:
        attacked(cell)
        return withstood(cell)


class WorstCaseBaseRobustAccuracy(_WorstCase):
    """Judged images that the deployed classifier alone labels rightly under every attack of the group, out of all
    judged images.
    """

    title, short = "Worst-case base robust accuracy", "worst case"
    reads = ("base_label",)

    def _holds(self, cell: Cell) -> np.ndarray:
        return np.atleast_2d(attacked(cell).base_label == cell.y)


class WorstCaseImpliedRobustAccuracy(Metric):
    """Implied robust accuracy with images that are withstood under every attack of the group, at half of its largest
    budget."""

    title, short = "Worst-case implied robust accuracy at ε/2", "implied at ε/2"
    scope = "group"
    interval = "Wilson"
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
    """Area under the ROC curve where each image that some attack of the group turns wrong has the lowest score that it
    gets under those attacks (MEAD, Granese et al. 2022), against the clean versions of the same images.
    """

    title, short = "Worst-case AUROC", "worst AUROC"
    unit, better = "area", "high"
    reads, interval = Auroc.reads, Auroc.interval
    single = Auroc


class WorstCaseTpr(_WorstCaseDetection):
    """Images that are flagged, at the defense's threshold, under every attack of the group that turns them wrong, out
    of all images that some attack of the group turns wrong.
    """

    title, short = "Worst-case true-positive rate", "worst TPR"
    better = "high"
    reads, interval = Tpr.reads, Tpr.interval
    flags, single = True, Tpr


class WorstCaseFpr(_WorstCaseDetection):
    """Clean versions of the images that some attack of the group turns wrong, flagged at the threshold, out of all of
    them.
    """

    title, short = "False-positive rate of the worst case", "worst-case FPR"
    better = "low"
    reads, interval = Fpr.reads, Fpr.interval
    flags, single = True, Fpr


class WorstCaseTprAt5Fpr(_WorstCaseDetection):
    """Images that score above the threshold at which 5 % of the clean versions are flagged, under every attack of the
    group that turns them wrong.
    """

    title, short = "Worst-case TPR at 5 % FPR", "worst TPR @ 5 % FPR"
    better = "high"
    reads, interval = TprAt5Fpr.reads, TprAt5Fpr.interval
    single = TprAt5Fpr


class WorstCaseFprAt95Tpr(_WorstCaseDetection):
    """Clean versions that score above the threshold at which 95 % of those images are flagged under every attack of
    the group that turns them wrong.
    """

    title, short = "Worst-case FPR at 95 % TPR", "worst FPR @ 95 % TPR"
    better = "low"
    reads, interval = FprAt95Tpr.reads, FprAt95Tpr.interval
    single = FprAt95Tpr


class WorstCaseSuccessAt5Fpr(Metric):
    """Initially right images that end with a wrong label and are not rejected under at least one attack of the group,
    out of all initially right images, with the threshold that rejects at most 5 % of all clean judged images.
    """

    title, short = "Worst-case attack success at 5 % FPR", "worst success @ 5 % FPR"
    scope, better = "group", "low"
    reads, interval = SuccessAt5Fpr.reads, SuccessAt5Fpr.interval
    target: ClassVar[float] = SuccessAt5Fpr.target

    def compute(self, cells: Sequence[Cell]) -> MetricValue | None:
        """Return the rate, or None without scores."""
        return success_at_fpr(cells, self.target)


class WorstCaseSuccessAt50Fpr(WorstCaseSuccessAt5Fpr):
    """Worst-case attack success at the threshold that rejects half of the clean images."""

    title, short = "Worst-case attack success at 50 % FPR", "worst success @ 50 % FPR"
    target = SuccessAt50Fpr.target
