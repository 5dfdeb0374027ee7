"""Measures of the images of one attack: labels, scores and flags, perturbations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np

from benchmark.cells import (
    Cell,
    attacked,
    rejected,
    right,
    score_pairs,
    scores,
    sizes_of,
    success_by_distance,
    successful,
    withstood,
)
from benchmark.metrics.metric import CellMetric, CellRate, MetricValue, Shares, exactly, share_of, success_of, value_of
from benchmark.statistics import (
    Estimate,
    auroc,
    auroc_influence,
    fpr_at_tpr,
    mean,
    median_ranks,
    rate,
    rate_at_fpr,
    tpr_at_fpr,
)


class RobustAccuracy(CellRate):
    """Share of all attacked images whose defended label is right."""

    title, scope, better = "Robust accuracy", "attack", "high"
    reads = ("label",)

    def _shares(self, cell: Cell) -> Shares | None:
        return share_of(right(attacked(cell), cell.y))


class BaseRobustAccuracy(CellRate):
    """Share of all attacked images that the deployed classifier alone classifies rightly."""

    title, scope = "Robust accuracy without the defense", "attack"
    reads = ("base_label",)

    def _shares(self, cell: Cell) -> Shares | None:
        return share_of(attacked(cell).base_label == cell.y)


class RobustAccuracyWorstRepeat(CellRate):
    """Share of all attacked images whose defended label is right in every repeat; for randomised defenses only."""

    title, scope, better = "Robust accuracy, worst repeat", "attack", "high"
    reads = ("label",)

    def _shares(self, cell: Cell) -> Shares | None:
        judged = right(attacked(cell), cell.y)
        return share_of(np.all(judged, axis=0, keepdims=True)) if len(judged) > 1 else None


class AttackSuccessRate(CellRate):
    """Share of the images with a right defended label on the clean image whose defended label is wrong under attack."""

    title, scope, better = "Attack success rate", "attack", "low"
    reads = ("label",)

    def _shares(self, cell: Cell) -> Shares | None:
        return success_of(right(cell.clean, cell.y), ~right(attacked(cell), cell.y))


class BaseAttackSuccessRate(CellRate):
    """As `AttackSuccessRate`, by the deployed classifier alone."""

    title, scope = "Attack success rate without the defense", "attack"
    reads = ("base_label",)

    def _shares(self, cell: Cell) -> Shares | None:
        initially = np.atleast_2d(cell.clean.base_label == cell.y)
        return success_of(initially, np.atleast_2d(attacked(cell).base_label != cell.y))


class Auroc(CellMetric):
    """Area under the ROC curve of the score: successful adversarial images against their clean versions."""

    title, scope, unit, better = "AUROC", "attack", "area", "high"
    reads: ClassVar[tuple[str, ...]] = ("base_label", "score", "success")
    all_attacks: ClassVar[bool] = False

    def _measure(self, cell: Cell) -> MetricValue | None:
        pairs = score_pairs(cell, all_attacks=self.all_attacks)
        return None if pairs is None else value_of(auroc(pairs.adversarial, pairs.clean, paired=True))

    def contributions(self, cells: Sequence[Cell]) -> np.ndarray | None:
        """Return the area plus, for the images in the pairs, the influence of both scores on it, (N,)."""
        (cell,) = cells
        pairs = score_pairs(cell, all_attacks=self.all_attacks)
        if pairs is None:
            return None
        chosen = np.ones(len(cell.y), dtype=bool) if self.all_attacks else successful(cell)
        area, influence = auroc_influence(pairs.adversarial, pairs.clean)
        spread = np.zeros(len(cell.y))
        spread[chosen] = influence * (len(cell.y) / chosen.sum())
        return area + spread


class AurocAll(Auroc):
    """As `Auroc`, with the attacks that failed counted as adversarial too."""

    title = "AUROC, failed attacks included"
    reads = ("base_label", "score")
    all_attacks = True


class Tpr(CellRate):
    """Share of the successful adversarial images that are flagged."""

    title, scope, better = "True-positive rate at the threshold", "attack", "high"
    reads = ("base_label", "flagged", "success")

    def _shares(self, cell: Cell) -> Shares | None:
        answers = attacked(cell)
        return None if answers.flagged is None else share_of(rejected(answers), among=successful(cell))


class Fpr(CellRate):
    """Share of the clean versions of the successfully attacked images that are flagged."""

    title, scope, better = "False-positive rate at the threshold", "attack", "low"
    reads = ("base_label", "flagged", "success")

    def _shares(self, cell: Cell) -> Shares | None:
        return None if cell.clean.flagged is None else share_of(rejected(cell.clean), among=successful(cell))


class TprAt5Fpr(CellMetric):
    """Share of the successful adversarial images above the threshold that flags 5 % of their clean versions."""

    title, scope, better = "TPR at 5 % FPR", "attack", "high"
    reads = ("base_label", "score", "success")

    def _measure(self, cell: Cell) -> MetricValue | None:
        pairs = score_pairs(cell)
        return None if pairs is None else value_of(tpr_at_fpr(pairs.adversarial, pairs.clean, 0.05))


class FprAt95Tpr(CellMetric):
    """Share of the clean versions flagged at the threshold that flags 95 % of the successful adversarial images."""

    title, scope, better = "FPR at 95 % TPR", "attack", "low"
    reads = ("base_label", "score", "success")

    def _measure(self, cell: Cell) -> MetricValue | None:
        pairs = score_pairs(cell)
        return None if pairs is None else value_of(fpr_at_tpr(pairs.adversarial, pairs.clean, 0.95))


class JointRobustAccuracy(CellRate):
    """Share of all attacked images whose defended label is right or which are flagged."""

    title, scope, better = "Joint robust accuracy", "attack", "high"
    reads = ("label", "flagged")

    def _shares(self, cell: Cell) -> Shares | None:
        attacked(cell)
        return share_of(withstood(cell))


class SuccessAt5Fpr(CellMetric):
    """Share of initially correct images that end wrong and not flagged, at 5 % false positives on clean images.

    SR@5 of Bryniarski et al. (2021, arXiv:2106.15023). The threshold flags at most 5 % of all clean test images.
    """

    title, scope, better = "Attack success at 5 % FPR", "attack", "low"
    reads = ("label", "score")
    target: ClassVar[float] = 0.05

    def _measure(self, cell: Cell) -> MetricValue | None:
        return success_at_fpr([cell], self.target)


def success_at_fpr(cells: Sequence[Cell], target: float) -> MetricValue | None:
    """Return the share of initially right images that some attack turns wrong without being flagged, at a target."""
    clean = cells[0].clean
    clean_scores, suspicion = scores(clean), [scores(attacked(cell)) for cell in cells]
    if clean_scores is None or any(one is None for one in suspicion):
        return None
    initially = right(clean, cells[0].y).mean(0)
    wrong = np.stack([~right(attacked(cell), cell.y) for cell in cells])
    score = np.stack([one for one in suspicion if one is not None])

    def success_at(threshold: float) -> Estimate | None:
        evades = (wrong & (score <= threshold)).mean(1).max(0)
        return rate(initially * evades, initially, repeats=wrong.shape[1])

    return value_of(rate_at_fpr(success_at, clean_scores, target))


class SuccessAt50Fpr(SuccessAt5Fpr):
    """As `SuccessAt5Fpr`, at 50 % false positives."""

    title = "Attack success at 50 % FPR"
    target = 0.5


class ImpliedRobustAccuracy(CellRate):
    """Robust accuracy at half the budget of the classifier that a detector as robust as it seems here would imply.

    Share of all images that are labelled rightly and not flagged when clean, and labelled rightly or flagged when
    attacked. From a detector whose share of other images is at most a under every perturbation of size eps, in any
    metric, a classifier without a detector can be built, inefficiently, that errs on at most a of the images under
    perturbations of size eps / 2: it answers as the detector does on some image within eps / 2 that is not flagged
    (Tramèr 2022, Detecting Adversarial Examples Is (Nearly) As Hard As Classifying Them, arXiv:2107.11630). Attacks
    bound that share from below, so this is what the claim implies, not what holds. Not defined without flags, without
    a budget, and for a randomised defense, of which the proof does not speak.
    """

    title, scope, better = "Implied robust accuracy at half the budget", "attack", None
    reads = ("label", "flagged")

    def _shares(self, cell: Cell) -> Shares | None:
        return implied([cell])


def implied(cells: Sequence[Cell]) -> Shares | None:
    """Return which images a detector gets right as one that is robust would; None where nothing follows from it.

    The largest budget of several attacks counts, since what lies within a smaller one lies within it too; of several
    norms there is no one ball that holds them all.
    """
    judged = [cells[0].clean, *map(attacked, cells)]
    if any(answers.flagged is None or answers.flagged.ndim > 1 for answers in judged):
        return None
    if len({cell.norm for cell in cells}) > 1 or any(cell.eps is None for cell in cells):
        return None
    held = [withstood(replace(cells[0], attacked=None)), *map(withstood, cells)]
    return share_of(np.logical_and.reduce(held))


class PerturbationMean(CellMetric):
    """Mean size of the perturbation in the attack's norm, over all attacked images."""

    title, scope, unit = "Mean perturbation", "attack", "distance"
    reads = ()

    def _measure(self, cell: Cell) -> MetricValue | None:
        sizes = sizes_of(cell)
        if sizes is None:
            return None
        estimate = mean(sizes)
        return MetricValue(estimate.value, max(0.0, estimate.low), estimate.high, estimate.n)

    def contributions(self, cells: Sequence[Cell]) -> np.ndarray | None:
        """Return the sizes themselves, (N,)."""
        (cell,) = cells
        sizes = sizes_of(cell)
        return None if sizes is None else sizes.astype(np.float64)


class PerturbationMax(CellMetric):
    """Largest perturbation in the attack's norm over all attacked images: a fact about them, its own interval."""

    title, scope, unit = "Largest perturbation", "attack", "distance"
    reads = ()

    def _measure(self, cell: Cell) -> MetricValue | None:
        sizes = sizes_of(cell)
        return None if sizes is None else exactly(float(sizes.max()), sizes.size)


class MedianMinimalDistance(CellMetric):
    """Distance within which an attack without a budget turns half of the initially right images wrong.

    Infinite where it never does, and so is an end of the interval.
    """

    title, scope, unit, better = "Median minimal distance", "attack", "distance", "high"
    reads = ("label",)

    def _measure(self, cell: Cell) -> MetricValue | None:
        found = success_by_distance(cell) if cell.eps is None else None
        if found is None:
            return None
        distances, share = found
        n = int(np.count_nonzero(right(cell.clean, cell.y).any(axis=0)))

        def reached(part: float) -> float:
            place = int(np.searchsorted(share, part - 1e-9))
            return float(distances[place]) if place < len(distances) else np.inf

        low, high = (rank / n for rank in median_ranks(n))
        return MetricValue(reached(0.5), reached(low) if low > 0 else 0.0, reached(high), n)


class BudgetViolations(CellMetric):
    """Number of attacked images whose perturbation exceeds the budget; not defined without one. Its own interval."""

    title, scope, unit = "Budget violations", "attack", "count"
    reads = ()

    def _measure(self, cell: Cell) -> MetricValue | None:
        from benchmark.attack import TOLERANCE  # imports torch, which whoever reads tables need not wait for

        sizes = sizes_of(cell)
        if sizes is None or cell.eps is None:
            return None
        return exactly(float((sizes > cell.eps * (1 + TOLERANCE) + TOLERANCE).sum()), sizes.size)
