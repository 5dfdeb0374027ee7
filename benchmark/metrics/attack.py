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
    """Attacked judged images whose label by the defended system is right, out of all attacked judged images. Attacks
    that failed count too, so this is what the system gets right while it is under attack.
    """

    title, short = "Robust accuracy", "robust"
    scope, better = "attack", "high"
    reads = ("label",)

    def _shares(self, cell: Cell) -> Shares | None:
        return share_of(right(attacked(cell), cell.y))


class BaseRobustAccuracy(CellRate):
    """Attacked judged images that the deployed classifier alone labels rightly, out of all attacked judged images."""

    title, short = "Base robust accuracy", "base robust"
    scope, better = "attack", "high"
    reads = ("base_label",)

    def _shares(self, cell: Cell) -> Shares | None:
        return share_of(attacked(cell).base_label == cell.y)


class RobustAccuracyWorstRepeat(CellRate):
    """For defenses that judge differently each time: attacked judged images whose label is right in every repeat, out
    of all attacked judged images. Robust accuracy is the mean over the repeats.
    """

    title, short = "Robust accuracy, worst repeat", "worst repeat"
    scope, better = "attack", "high"
    reads = ("label",)

    def _shares(self, cell: Cell) -> Shares | None:
        judged = right(attacked(cell), cell.y)
        return share_of(np.all(judged, axis=0, keepdims=True)) if len(judged) > 1 else None


class AttackSuccessRate(CellRate):
    """Images that end with a wrong label under attack, out of those that the defended system labels rightly when they
    are clean. Its n is therefore smaller than that of the accuracies.
    """

    title, short = "Attack success rate", "attack success"
    scope, better = "attack", "low"
    reads = ("label",)

    def _shares(self, cell: Cell) -> Shares | None:
        return success_of(right(cell.clean, cell.y), ~right(attacked(cell), cell.y))


class BaseAttackSuccessRate(CellRate):
    """Images that the deployed classifier alone labels wrongly under attack, out of those that it labels rightly when
    they are clean.
    """

    title, short = "Base attack success rate", "base attack success"
    scope, better = "attack", "low"
    reads = ("base_label",)

    def _shares(self, cell: Cell) -> Shares | None:
        initially = np.atleast_2d(cell.clean.base_label == cell.y)
        return success_of(initially, np.atleast_2d(attacked(cell).base_label != cell.y))


class Auroc(CellMetric):
    """Area under the ROC curve of the score: successful adversarial images against the clean versions of the same
    images, half and half. 0.5 is guessing, 1 is perfect; below 0.5 the score points the wrong way.
    """

    title = short = "AUROC"
    scope, unit, better = "attack", "area", "high"
    interval: ClassVar[str] = "DeLong, paired"
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
    """Area under the ROC curve of all attacked images, failed attacks among them, against their clean versions."""

    title, short = "AUROC, all attacked", "AUROC all"
    reads = ("base_label", "score")
    all_attacks = True


class Tpr(CellRate):
    """Successful adversarial images that are flagged at the defense's threshold, out of all successful adversarial
    images. The threshold was set on clean validation images, never on those that are judged, unless the defense
    flags by itself.
    """

    title, short = "True-positive rate", "TPR"
    scope, better = "attack", "high"
    reads = ("base_label", "flagged", "success")

    def _shares(self, cell: Cell) -> Shares | None:
        answers = attacked(cell)
        return None if answers.flagged is None else share_of(rejected(answers), among=successful(cell))


class Fpr(CellRate):
    """Clean versions of the images that an attack succeeds on, flagged at the threshold, out of all of them."""

    title, short = "False-positive rate", "FPR"
    scope, better = "attack", "low"
    reads = ("base_label", "flagged", "success")

    def _shares(self, cell: Cell) -> Shares | None:
        return None if cell.clean.flagged is None else share_of(rejected(cell.clean), among=successful(cell))


class _OperatingPoint(CellMetric):
    scope = "attack"
    interval: ClassVar[str] = "operating point"
    reads: ClassVar[tuple[str, ...]] = ("base_label", "score", "success")

    def _measure(self, cell: Cell) -> MetricValue | None:
        pairs = score_pairs(cell)
        return None if pairs is None else value_of(self._rate(pairs.adversarial, pairs.clean))

    def _rate(self, adversarial: np.ndarray, clean: np.ndarray) -> Estimate | None:
        raise NotImplementedError


class TprAt5Fpr(_OperatingPoint):
    """Successful adversarial images that score above the threshold at which 5 % of the clean versions are flagged."""

    title, short = "TPR at 5 % FPR", "TPR @ 5 % FPR"
    better = "high"

    def _rate(self, adversarial: np.ndarray, clean: np.ndarray) -> Estimate | None:
        return tpr_at_fpr(adversarial, clean, 0.05)


class FprAt95Tpr(_OperatingPoint):
    """Clean versions that score above the threshold at which 95 % of the successful adversarial images are flagged."""

    title, short = "FPR at 95 % TPR", "FPR @ 95 % TPR"
    better = "low"

    def _rate(self, adversarial: np.ndarray, clean: np.ndarray) -> Estimate | None:
        return fpr_at_tpr(adversarial, clean, 0.95)


class JointRobustAccuracy(CellRate):
    """Attacked judged images that are withstood: the label is right, or the image is rejected, out of all attacked
    judged images. Read it beside joint clean accuracy: a defense that rejects everything withstands everything.
    """

    title, short = "Joint robust accuracy", "joint robust"
    scope, better = "attack", "high"
    reads = ("label", "flagged")

    def _shares(self, cell: Cell) -> Shares | None:
        attacked(cell)
        return share_of(withstood(cell))


class SuccessAt5Fpr(CellMetric):
    """Attack success against detector and classifier together: initially right images that end with a wrong label and
    are not rejected, out of all initially right images, with the threshold that rejects at most 5 % of all clean
    judged images.

    SR@5 of Bryniarski et al. (2021, arXiv:2106.15023). The threshold flags at most 5 % of all clean test images.
    """

    title, short = "Attack success at 5 % FPR", "success @ 5 % FPR"
    scope, better = "attack", "low"
    interval: ClassVar[str] = "operating point"
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
    """Attack success at the threshold that rejects half of the clean images: what the detector can do at any price."""

    title, short = "Attack success at 50 % FPR", "success @ 50 % FPR"
    target = 0.5


class ImpliedRobustAccuracy(CellRate):
    """Judged images that are labelled rightly and not rejected when clean, and withstood (right label or rejected)
    when attacked, out of all judged images. A detector that is no less robust than that under every perturbation of
    size ε implies a classifier without a detector, built inefficiently, with this robust accuracy at ε/2 (Tramèr
    2022). Where that is more than trained classifiers reach, an attack that nobody ran is the likelier explanation.

    Share of all images that are labelled rightly and not flagged when clean, and labelled rightly or flagged when
    attacked. From a detector whose share of other images is at most a under every perturbation of size eps, in any
    metric, a classifier without a detector can be built, inefficiently, that errs on at most a of the images under
    perturbations of size eps / 2: it answers as the detector does on some image within eps / 2 that is not flagged
    (Tramèr 2022, Detecting Adversarial Examples Is (Nearly) As Hard As Classifying Them, arXiv:2107.11630). Attacks
    bound that share from below, so this is what the claim implies, not what holds. Not defined without flags, without
    a budget, and for a randomised defense, of which the proof does not speak.
    """

    title, short = "Implied robust accuracy at ε/2", "implied at ε/2"
    scope = "attack"
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
    """Measured size of the perturbations in the attack's norm, in pixel units of [0, 1], mean over all images."""

    title, short = "Mean perturbation", "mean size"
    scope, unit = "attack", "distance"
    interval = "t"
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
    """Largest measured perturbation in the attack's norm, in pixel units of [0, 1]."""

    title, short = "Largest perturbation", "max size"
    scope, unit = "attack", "distance"
    interval = "itself"
    reads = ()

    def _measure(self, cell: Cell) -> MetricValue | None:
        sizes = sizes_of(cell)
        return None if sizes is None else exactly(float(sizes.max()), sizes.size)


class MedianMinimalDistance(CellMetric):
    """Distance within which an attack without a budget turns half of the initially right images wrong, in its norm, in
    pixel units of [0, 1]; ∞ where it never does.

    Infinite where it never does, and so is an end of the interval.
    """

    title, short = "Median minimal distance", "median distance"
    scope, unit, better = "attack", "distance", "high"
    interval = "order statistics"
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
    """Adversarial images whose measured perturbation is above the budget. Anything but 0 is a fault of the attack."""

    title, short = "Budget violations", "violations"
    scope, unit = "attack", "count"
    interval = "itself"
    reads = ()

    def _measure(self, cell: Cell) -> MetricValue | None:
        from benchmark.attack import TOLERANCE  # imports torch, which whoever reads tables need not wait for

        sizes = sizes_of(cell)
        if sizes is None or cell.eps is None:
            return None
        return exactly(float((sizes > cell.eps * (1 + TOLERANCE) + TOLERANCE).sum()), sizes.size)
