"""Measures: per-image verdicts in, one number with an interval and its n out (docs/measures.md gives the meaning)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from types import MappingProxyType
from typing import Any, ClassVar, Literal

import numpy as np

from benchmark.statistics import (
    Estimate,
    auroc,
    auroc_influence,
    fpr_at_tpr,
    mean,
    median_ranks,
    positive_mean,
    rate,
    rate_at_fpr,
    tpr_at_fpr,
)


@dataclass(frozen=True)
class Answers:
    """What a defended system and its classifier answered on a set of N images.

    Attributes:
        base_label: (N,) class by the deployed classifier alone, without the defense.
        label: (N,) class by the defended system, -1 where it names none; (R, N) for a randomised defense judged R
            times.
        score: (N,) or (R, N) suspicion, higher = more adversarial; None for a defense without one.
        flagged: (N,) or (R, N) bool, rejected; None for a defense that rejects nothing.
        details: (N, ...) arrays beside the verdicts of the first judgement, by the defense's names; measures of scope
            `group` do not get them.
    """

    base_label: np.ndarray
    label: np.ndarray
    score: np.ndarray | None = None
    flagged: np.ndarray | None = None
    details: Mapping[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class Plane:
    """Hidden states in the plane of their two largest variances.

    Attributes:
        points: (N, 2).
        shares: (2,) of all variance.
    """

    points: np.ndarray
    shares: np.ndarray


@dataclass(frozen=True)
class Cell:
    """All per-image arrays of one cell, in the same order of images.

    Attributes:
        y: (N,) true class.
        clean: answers on the clean images.
        attacked: answers on the adversarial versions of the same images; None in the clean cell.
        perturbation: (N,) size of the perturbation in `norm`; None in the clean cell.
        norm: norm that the attack is measured in, "" in the clean cell.
        eps: budget, None for an unbounded attack and in the clean cell.
        success: which attacks count as successful for the detector measures: `initially-correct` (the clean image is
            classified rightly and the attacked one wrongly) or `any-wrong` (the attacked one is classified wrongly),
            both by the deployed classifier alone.
        separation: layer → per image (N,) what the separation of classes is the mean of (`class_separation`), in the
            clean cell, of the layers that the suite names; a layer at which it is not defined is left out.
        planes: layer → the states of the clean images in a plane, of the same layers.
    """

    y: np.ndarray
    clean: Answers
    attacked: Answers | None = None
    perturbation: np.ndarray | None = None
    norm: str = ""
    eps: float | None = None
    success: Literal["initially-correct", "any-wrong"] = "initially-correct"
    separation: Mapping[str, np.ndarray] = field(default_factory=dict)
    planes: Mapping[str, Plane] = field(default_factory=dict)


def handed(value: Any) -> Any:
    """Return a copy of a cell, or of a part of it, as plugins get it: its arrays and mappings cannot be written to."""
    if isinstance(value, np.ndarray):
        # A view of bytes: unlike a copy that is only marked, it cannot be made writable again.
        return np.frombuffer(value.tobytes(), value.dtype).reshape(value.shape) if value.size else value.copy()
    if isinstance(value, Mapping):
        return MappingProxyType({name: handed(inner) for name, inner in value.items()})
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{part.name: handed(getattr(value, part.name)) for part in fields(value)})
    return value


def spoilt(given: Any, own: Any) -> bool:
    """Tell whether somebody found a way to write into what `handed` made of `own`."""
    if isinstance(own, np.ndarray):
        return not (
            isinstance(given, np.ndarray)
            and (given.dtype, given.shape) == (own.dtype, own.shape)
            and given.tobytes() == own.tobytes()
        )
    if isinstance(own, Mapping):
        return set(given) != set(own) or any(spoilt(given[name], own[name]) for name in own)
    if is_dataclass(own) and not isinstance(own, type):
        return any(spoilt(getattr(given, part.name), getattr(own, part.name)) for part in fields(own))
    return bool(given != own)


@dataclass(frozen=True)
class MetricValue:
    """A number with its 95 % interval and the number of images it rests on."""

    value: float
    ci_low: float
    ci_high: float
    n: int


class Metric(ABC):
    """A measure. One instance without options serves all cells.

    Attributes:
        title: what people read.
        scope: `clean` is computed on the clean cell, `attack` on every attacked cell, `group` on all attacked cells of
            a group of attacks together (worst case).
        unit: `rate` (0 to 1), `area`, `distance`, `count` or `ratio`.
        better: which direction favours the defense, None for neither.
        reads: the fields of `Answers` that it looks at, and `success` where it looks at `Cell.success`. What the host's
            threshold moves (`flagged`, and the `label` of a defense that answers otherwise where it flags) is not
            compared between runs of different thresholds, nor `success` between runs that mean another thing by it.
    """

    title: ClassVar[str]
    scope: ClassVar[Literal["clean", "attack", "group"]]
    unit: ClassVar[Literal["rate", "area", "distance", "count", "ratio"]] = "rate"
    better: ClassVar[Literal["high", "low"] | None] = None
    reads: ClassVar[tuple[str, ...]] = ("base_label", "label", "score", "flagged", "details", "success")

    @abstractmethod
    def compute(self, cells: Sequence[Cell]) -> MetricValue | None:
        """Return the measure, or None where it is not defined (no score, no successful attack).

        `cells` holds one cell for the scopes `clean` and `attack`, all cells of the group for `group`; these share
        `y`, `clean` and the order of images.
        """

    def contributions(self, cells: Sequence[Cell]) -> np.ndarray | None:
        """Return per image (N,) what the measure is the mean of, to first order; None where that is not known.

        Of a measure that is no mean these are its value plus its influence function at each image. With them a run of
        several seeds gets an interval over seeds and images. Called where `compute` gave a value.
        """
        return None


# -- what is asked of every image -------------------------------------------------------------------------------------


def right(answers: Answers, y: np.ndarray) -> np.ndarray:
    """Return whether the defended label is right: (R, N) bool."""
    return np.atleast_2d(answers.label) == y


def rejected(answers: Answers) -> np.ndarray:
    """Return whether the image is flagged: (R, N) bool, False everywhere for a defense that rejects nothing."""
    if answers.flagged is None:
        return np.zeros(np.atleast_2d(answers.label).shape, dtype=bool)
    return np.atleast_2d(answers.flagged)


def scores(answers: Answers) -> np.ndarray | None:
    """Return the scores (R, N), or None for a defense without one.

    Raises:
        ValueError: a score is NaN; comparing with it would count as a detection missed.
    """
    if answers.score is None:
        return None
    score = np.atleast_2d(answers.score)
    if np.isnan(score).any():
        raise ValueError(
            f"{int(np.isnan(score).any(axis=0).sum())} of {score.shape[1]} images have a score that is NaN"
        )
    return score


def attacked(cell: Cell) -> Answers:
    """Return the answers on the adversarial images.

    Raises:
        ValueError: it is a clean cell.
    """
    if cell.attacked is None:
        raise ValueError("a measure of scope 'attack' or 'group' was asked of a clean cell")
    return cell.attacked


def initially_right(cell: Cell) -> np.ndarray:
    """Return which clean images the deployed classifier alone labels rightly: (N,) bool. The others need no attack."""
    found: np.ndarray = cell.clean.base_label == cell.y
    return found


def successful(cell: Cell) -> np.ndarray:
    """Return which attacks succeed against the deployed classifier alone, as `cell.success` says: (N,) bool."""
    wrong = attacked(cell).base_label != cell.y
    return wrong if cell.success == "any-wrong" else wrong & initially_right(cell)


@dataclass(frozen=True)
class Pairs:
    """Scores of m adversarial images and of the clean versions of the same images, (R, m) each."""

    adversarial: np.ndarray
    clean: np.ndarray


def score_pairs(cell: Cell, *, all_attacks: bool = False) -> Pairs | None:
    """Return the detector protocol's images: successful attacks (or all of them) and their clean versions.

    None where there is no score or no such image.
    """
    adversarial, clean = scores(attacked(cell)), scores(cell.clean)
    if adversarial is None or clean is None:
        return None
    chosen = np.ones(len(cell.y), dtype=bool) if all_attacks else successful(cell)
    return Pairs(adversarial[:, chosen], clean[:, chosen]) if chosen.any() else None


def withstood(cell: Cell) -> np.ndarray:
    """Return whether the defense with rejection does what it should: (R, N) bool.

    Attacked images: the label is right or the image is flagged. In a clean cell: right and not flagged.
    """
    if cell.attacked is None:
        return right(cell.clean, cell.y) & ~rejected(cell.clean)
    return right(cell.attacked, cell.y) | rejected(cell.attacked)


def near(sizes: np.ndarray, eps: float) -> np.ndarray:
    """Return which perturbations (N,) lie within a budget, in the float32 that they are measured in.

    All of 1/255 to 63/255 are smaller than what they are as float32: a perturbation of just the budget is within it.
    """
    found: np.ndarray = np.asarray(sizes, dtype=np.float32) <= np.float32(eps)
    return found


def within_budget(cell: Cell, eps: float) -> Cell:
    """Return an attacked cell as it is at a budget: where the example lies beyond it, the clean image stands in.

    So fares an attacker who sought the nearest adversarial example and may go no farther than `eps`.
    """
    answers, sizes = attacked(cell), cell.perturbation
    if sizes is None:
        raise ValueError("a cell without sizes of perturbations cannot be taken at a budget")
    inside = near(sizes, eps)

    def chosen(adversarial: np.ndarray | None, clean: np.ndarray | None) -> np.ndarray | None:
        return None if adversarial is None or clean is None else np.where(inside, adversarial, clean)

    def chosen_detail(name: str) -> np.ndarray:
        adversarial, clean = answers.details[name], cell.clean.details[name]
        return np.where(inside.reshape(-1, *[1] * (adversarial.ndim - 1)), adversarial, clean)

    shared = [name for name, array in answers.details.items() if name in cell.clean.details]
    return replace(
        cell,
        eps=eps,
        perturbation=np.where(inside, sizes, 0.0),
        attacked=Answers(
            np.where(inside, answers.base_label, cell.clean.base_label),
            np.where(inside, answers.label, cell.clean.label),
            chosen(answers.score, cell.clean.score),
            chosen(answers.flagged, cell.clean.flagged),
            {name: chosen_detail(name) for name in shared},
        ),
    )


def success_by_distance(cell: Cell) -> tuple[np.ndarray, np.ndarray] | None:
    """Return distances (m,), rising, and the share of initially right images that are wrong within each of them.

    By the defended label; of a randomised defense shares of repeats are counted, as in the attack success rate. None
    where no image is initially right, or nothing is known of distances.
    """
    sizes = _sizes(cell)
    initially = right(cell.clean, cell.y).mean(0)
    if sizes is None or initially.sum() == 0:
        return None
    wrong = initially * (~right(attacked(cell), cell.y)).mean(0)
    distances, place = np.unique(sizes[wrong > 0], return_inverse=True)
    share = np.cumsum(np.bincount(place, wrong[wrong > 0], minlength=len(distances))) / initially.sum()
    return distances, share


@dataclass(frozen=True)
class Shares:
    """What a rate over images is made of.

    Attributes:
        part: (N,) how far each image counts as a success, 0 to its weight.
        weight: (N,) how far it counts at all, 0 to 1.
        repeats: how many judgements were averaged per image.
    """

    part: np.ndarray
    weight: np.ndarray
    repeats: int

    def rate(self) -> MetricValue | None:
        """Return the rate, None where no image counts."""
        return _value(rate(self.part, self.weight, self.repeats))

    def contributions(self) -> np.ndarray | None:
        """Return the linearised rate per image (Cochran, Sampling Techniques, 3rd ed. 1977, section 6.3), (N,)."""
        total = float(self.weight.sum())
        if total == 0:
            return None
        value = float(self.part.sum()) / total
        linear: np.ndarray = value + (self.part - value * self.weight) * (len(self.part) / total)
        return linear


def _share(judged: np.ndarray, among: np.ndarray | None = None) -> Shares:
    """Return for which images (R, N) `judged` holds, averaged over repeats, of those (N,) that count."""
    judged = np.atleast_2d(judged)
    weight = np.ones(judged.shape[1]) if among is None else among.astype(np.float64)
    return Shares(judged.mean(0) * weight, weight, judged.shape[0])


def _success(clean_right: np.ndarray, wrong: np.ndarray) -> Shares:
    """Return which of the initially correct images (R, N) end wrong (R, N).

    Clean and attacked judgements of a randomised defense are independent draws, so per image the shares multiply.
    """
    weights = clean_right.mean(0)
    return Shares(weights * wrong.mean(0), weights, max(len(clean_right), len(wrong)))


def _value(estimate: Estimate | None) -> MetricValue | None:
    return None if estimate is None else MetricValue(estimate.value, estimate.low, estimate.high, estimate.n)


class _CellMetric(Metric):
    """A measure of a single cell."""

    def compute(self, cells: Sequence[Cell]) -> MetricValue | None:
        (cell,) = cells
        return self._measure(cell)

    @abstractmethod
    def _measure(self, cell: Cell) -> MetricValue | None:
        """Return the measure of one cell, or None where it is not defined."""


class _CellRate(_CellMetric):
    """A rate over the images of a single cell."""

    def _measure(self, cell: Cell) -> MetricValue | None:
        shares = self._shares(cell)
        return None if shares is None else shares.rate()

    def contributions(self, cells: Sequence[Cell]) -> np.ndarray | None:
        """Return the linearised rate per image (N,)."""
        (cell,) = cells
        shares = self._shares(cell)
        return None if shares is None else shares.contributions()

    @abstractmethod
    def _shares(self, cell: Cell) -> Shares | None:
        """Return what the rate is made of, or None where it is not defined."""


# -- clean images -----------------------------------------------------------------------------------------------------


class CleanAccuracy(_CellRate):
    """Share of all clean images whose defended label is right."""

    title, scope, better = "Clean accuracy", "clean", "high"
    reads = ("label",)

    def _shares(self, cell: Cell) -> Shares | None:
        return _share(right(cell.clean, cell.y))


class BaseCleanAccuracy(_CellRate):
    """Share of all clean images that the deployed classifier alone classifies rightly."""

    title, scope = "Clean accuracy without the defense", "clean"
    reads = ("base_label",)

    def _shares(self, cell: Cell) -> Shares | None:
        return _share(cell.clean.base_label == cell.y)


class JointCleanAccuracy(_CellRate):
    """Share of all clean images whose defended label is right and which are not flagged."""

    title, scope, better = "Joint clean accuracy", "clean", "high"
    reads = ("label", "flagged")

    def _shares(self, cell: Cell) -> Shares | None:
        return _share(withstood(cell))


class CleanFpr(_CellRate):
    """Share of all clean images that are flagged, at the threshold set on validation images."""

    title, scope, better = "Clean false-positive rate", "clean", "low"
    reads = ("flagged",)

    def _shares(self, cell: Cell) -> Shares | None:
        return None if cell.clean.flagged is None else _share(rejected(cell.clean))


def separation_at(layer: str) -> str:
    """Return what tables call the separation of classes at a layer."""
    return "feature_separation" + ("" if layer == "penultimate" else f":{layer}")


class FeatureSeparation(_CellMetric):
    """Mean distance between class centres over that of features to their own, at a layer that the suite names."""

    title, scope, unit, better = "Feature separation", "clean", "ratio", None
    reads = ()

    def __init__(self, layer: str = "penultimate") -> None:
        self.layer = layer

    def _measure(self, cell: Cell) -> MetricValue | None:
        found = cell.separation.get(self.layer)
        return None if found is None else _value(positive_mean(found))

    def contributions(self, cells: Sequence[Cell]) -> np.ndarray | None:
        """Return the ratio plus its influence function at each image, (N,)."""
        (cell,) = cells
        return cell.separation.get(self.layer)


# -- attacked images: labels ------------------------------------------------------------------------------------------


class RobustAccuracy(_CellRate):
    """Share of all attacked images whose defended label is right."""

    title, scope, better = "Robust accuracy", "attack", "high"
    reads = ("label",)

    def _shares(self, cell: Cell) -> Shares | None:
        return _share(right(attacked(cell), cell.y))


class BaseRobustAccuracy(_CellRate):
    """Share of all attacked images that the deployed classifier alone classifies rightly."""

    title, scope = "Robust accuracy without the defense", "attack"
    reads = ("base_label",)

    def _shares(self, cell: Cell) -> Shares | None:
        return _share(attacked(cell).base_label == cell.y)


class RobustAccuracyWorstRepeat(_CellRate):
    """Share of all attacked images whose defended label is right in every repeat; for randomised defenses only."""

    title, scope, better = "Robust accuracy, worst repeat", "attack", "high"
    reads = ("label",)

    def _shares(self, cell: Cell) -> Shares | None:
        judged = right(attacked(cell), cell.y)
        return _share(np.all(judged, axis=0, keepdims=True)) if len(judged) > 1 else None


class AttackSuccessRate(_CellRate):
    """Share of the images with a right defended label on the clean image whose defended label is wrong under attack."""

    title, scope, better = "Attack success rate", "attack", "low"
    reads = ("label",)

    def _shares(self, cell: Cell) -> Shares | None:
        return _success(right(cell.clean, cell.y), ~right(attacked(cell), cell.y))


class BaseAttackSuccessRate(_CellRate):
    """As `AttackSuccessRate`, by the deployed classifier alone."""

    title, scope = "Attack success rate without the defense", "attack"
    reads = ("base_label",)

    def _shares(self, cell: Cell) -> Shares | None:
        initially = np.atleast_2d(cell.clean.base_label == cell.y)
        return _success(initially, np.atleast_2d(attacked(cell).base_label != cell.y))


# -- attacked images: scores and flags --------------------------------------------------------------------------------


class Auroc(_CellMetric):
    """Area under the ROC curve of the score: successful adversarial images against their clean versions."""

    title, scope, unit, better = "AUROC", "attack", "area", "high"
    reads: ClassVar[tuple[str, ...]] = ("base_label", "score", "success")
    all_attacks: ClassVar[bool] = False

    def _measure(self, cell: Cell) -> MetricValue | None:
        pairs = score_pairs(cell, all_attacks=self.all_attacks)
        return None if pairs is None else _value(auroc(pairs.adversarial, pairs.clean, paired=True))

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


class Tpr(_CellRate):
    """Share of the successful adversarial images that are flagged."""

    title, scope, better = "True-positive rate at the threshold", "attack", "high"
    reads = ("base_label", "flagged", "success")

    def _shares(self, cell: Cell) -> Shares | None:
        answers = attacked(cell)
        return None if answers.flagged is None else _share(rejected(answers), among=successful(cell))


class Fpr(_CellRate):
    """Share of the clean versions of the successfully attacked images that are flagged."""

    title, scope, better = "False-positive rate at the threshold", "attack", "low"
    reads = ("base_label", "flagged", "success")

    def _shares(self, cell: Cell) -> Shares | None:
        return None if cell.clean.flagged is None else _share(rejected(cell.clean), among=successful(cell))


class TprAt5Fpr(_CellMetric):
    """Share of the successful adversarial images above the threshold that flags 5 % of their clean versions."""

    title, scope, better = "TPR at 5 % FPR", "attack", "high"
    reads = ("base_label", "score", "success")

    def _measure(self, cell: Cell) -> MetricValue | None:
        pairs = score_pairs(cell)
        return None if pairs is None else _value(tpr_at_fpr(pairs.adversarial, pairs.clean, 0.05))


class FprAt95Tpr(_CellMetric):
    """Share of the clean versions flagged at the threshold that flags 95 % of the successful adversarial images."""

    title, scope, better = "FPR at 95 % TPR", "attack", "low"
    reads = ("base_label", "score", "success")

    def _measure(self, cell: Cell) -> MetricValue | None:
        pairs = score_pairs(cell)
        return None if pairs is None else _value(fpr_at_tpr(pairs.adversarial, pairs.clean, 0.95))


class JointRobustAccuracy(_CellRate):
    """Share of all attacked images whose defended label is right or which are flagged."""

    title, scope, better = "Joint robust accuracy", "attack", "high"
    reads = ("label", "flagged")

    def _shares(self, cell: Cell) -> Shares | None:
        attacked(cell)
        return _share(withstood(cell))


class SuccessAt5Fpr(_CellMetric):
    """Share of initially correct images that end wrong and not flagged, at 5 % false positives on clean images.

    SR@5 of Bryniarski et al. (2021, arXiv:2106.15023). The threshold flags at most 5 % of all clean test images.
    """

    title, scope, better = "Attack success at 5 % FPR", "attack", "low"
    reads = ("label", "score")
    target: ClassVar[float] = 0.05

    def _measure(self, cell: Cell) -> MetricValue | None:
        return _success_at_fpr([cell], self.target)


def _success_at_fpr(cells: Sequence[Cell], target: float) -> MetricValue | None:
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

    return _value(rate_at_fpr(success_at, clean_scores, target))


class SuccessAt50Fpr(SuccessAt5Fpr):
    """As `SuccessAt5Fpr`, at 50 % false positives."""

    title = "Attack success at 50 % FPR"
    target = 0.5


class ImpliedRobustAccuracy(_CellRate):
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
        return _implied([cell])


def _implied(cells: Sequence[Cell]) -> Shares | None:
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
    return _share(np.logical_and.reduce(held))


# -- attacked images: perturbation ------------------------------------------------------------------------------------


class PerturbationMean(_CellMetric):
    """Mean size of the perturbation in the attack's norm, over all attacked images."""

    title, scope, unit = "Mean perturbation", "attack", "distance"
    reads = ()

    def _measure(self, cell: Cell) -> MetricValue | None:
        sizes = _sizes(cell)
        if sizes is None:
            return None
        estimate = mean(sizes)
        return MetricValue(estimate.value, max(0.0, estimate.low), estimate.high, estimate.n)

    def contributions(self, cells: Sequence[Cell]) -> np.ndarray | None:
        """Return the sizes themselves, (N,)."""
        (cell,) = cells
        sizes = _sizes(cell)
        return None if sizes is None else sizes.astype(np.float64)


class PerturbationMax(_CellMetric):
    """Largest perturbation in the attack's norm over all attacked images: a fact about them, its own interval."""

    title, scope, unit = "Largest perturbation", "attack", "distance"
    reads = ()

    def _measure(self, cell: Cell) -> MetricValue | None:
        sizes = _sizes(cell)
        return None if sizes is None else _exactly(float(sizes.max()), sizes.size)


class MedianMinimalDistance(_CellMetric):
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


class BudgetViolations(_CellMetric):
    """Number of attacked images whose perturbation exceeds the budget; not defined without one. Its own interval."""

    title, scope, unit = "Budget violations", "attack", "count"
    reads = ()

    def _measure(self, cell: Cell) -> MetricValue | None:
        from benchmark.attack import TOLERANCE  # imports torch, which whoever reads tables need not wait for

        sizes = _sizes(cell)
        if sizes is None or cell.eps is None:
            return None
        return _exactly(float((sizes > cell.eps * (1 + TOLERANCE) + TOLERANCE).sum()), sizes.size)


def _sizes(cell: Cell) -> np.ndarray | None:
    if cell.perturbation is None or cell.perturbation.size == 0:
        return None
    if not np.isfinite(cell.perturbation).all():
        raise ValueError("a perturbation is NaN or infinite")
    return cell.perturbation


def _exactly(value: float, n: int) -> MetricValue:
    return MetricValue(value, value, value, n)


# -- groups of attacks ------------------------------------------------------------------------------------------------


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
        shares = _implied(cells)
        return None if shares is None else shares.rate()

    def contributions(self, cells: Sequence[Cell]) -> np.ndarray | None:
        """Return per image (N,) whether it counts."""
        shares = _implied(cells)
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
        return _success_at_fpr(cells, self.target)


class WorstCaseSuccessAt50Fpr(WorstCaseSuccessAt5Fpr):
    """As `WorstCaseSuccessAt5Fpr`, at 50 % false positives."""

    title = "Worst-case attack success at 50 % FPR"
    target = SuccessAt50Fpr.target


BUILTIN: tuple[tuple[str, type[Metric]], ...] = (
    ("clean_accuracy", CleanAccuracy),
    ("base_clean_accuracy", BaseCleanAccuracy),
    ("joint_clean_accuracy", JointCleanAccuracy),
    ("clean_fpr", CleanFpr),
    ("feature_separation", FeatureSeparation),
    ("robust_accuracy", RobustAccuracy),
    ("base_robust_accuracy", BaseRobustAccuracy),
    ("robust_accuracy_worst_repeat", RobustAccuracyWorstRepeat),
    ("attack_success_rate", AttackSuccessRate),
    ("base_attack_success_rate", BaseAttackSuccessRate),
    ("auroc", Auroc),
    ("auroc_all", AurocAll),
    ("tpr", Tpr),
    ("fpr", Fpr),
    ("tpr_at_5fpr", TprAt5Fpr),
    ("fpr_at_95tpr", FprAt95Tpr),
    ("joint_robust_accuracy", JointRobustAccuracy),
    ("success_at_5fpr", SuccessAt5Fpr),
    ("success_at_50fpr", SuccessAt50Fpr),
    ("implied_robust_accuracy", ImpliedRobustAccuracy),
    ("perturbation_mean", PerturbationMean),
    ("perturbation_max", PerturbationMax),
    ("median_minimal_distance", MedianMinimalDistance),
    ("budget_violations", BudgetViolations),
    ("worst_case_robust_accuracy", WorstCaseRobustAccuracy),
    ("worst_case_joint_robust_accuracy", WorstCaseJointRobustAccuracy),
    ("worst_case_base_robust_accuracy", WorstCaseBaseRobustAccuracy),
    ("worst_case_implied_robust_accuracy", WorstCaseImpliedRobustAccuracy),
    ("worst_case_auroc", WorstCaseAuroc),
    ("worst_case_tpr", WorstCaseTpr),
    ("worst_case_fpr", WorstCaseFpr),
    ("worst_case_tpr_at_5fpr", WorstCaseTprAt5Fpr),
    ("worst_case_fpr_at_95tpr", WorstCaseFprAt95Tpr),
    ("worst_case_success_at_5fpr", WorstCaseSuccessAt5Fpr),
    ("worst_case_success_at_50fpr", WorstCaseSuccessAt50Fpr),
)
"""The measures of this package by the names that users see; `benchmark.builtin` registers them."""
