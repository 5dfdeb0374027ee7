"""Intervals and tests behind the measures; all intervals have level 95 %. docs/measures.md says where each is used.

Only numpy and scipy.special are imported: results are tabulated in the process that the user waits for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.special import bdtr, bdtrik, chdtri, expit, logit, ndtri, stdtr, stdtrit

Z = float(ndtri(0.975))
TAIL = 0.025
FEW = 10


@dataclass(frozen=True)
class Interval:
    """The ends of a 95 % interval."""

    low: float
    high: float


@dataclass(frozen=True)
class Estimate:
    """A number, the ends of its 95 % interval, and how many images (or seeds) it rests on."""

    value: float
    low: float
    high: float
    n: int


# -- rates ------------------------------------------------------------------------------------------------------------


def wilson(successes: float, n: float, z: float = Z) -> Interval:
    """Return the score interval of a proportion (Wilson 1927, JASA 22:209-212).

    `successes` and `n` need not be whole: `rate` passes effective sizes. `z` is the quantile.
    """
    p = successes / n
    centre = p + z**2 / (2 * n)
    margin = z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    scale = 1 + z**2 / n
    # Rounding must not push an end past the estimate or past 1, or leave 1e-17 where the end is 0.
    low = 0.0 if successes <= 0 else max(0.0, min(p, float((centre - margin) / scale)))
    high = 1.0 if successes >= n else min(1.0, max(p, float((centre + margin) / scale)))
    return Interval(low, high)


def rate(shares: np.ndarray, weights: np.ndarray | None = None, repeats: int = 1) -> Estimate | None:
    """Return a proportion over images with its Wilson interval, or None where no image counts.

    Args:
        shares: (N,) per image the part that counts as a success, 0 to the image's weight; 0 or 1 for a single
            judgement.
        weights: (N,) per image how far it belongs to the denominator, 0 to 1; all of them by default.
        repeats: how many judgements were averaged per image. Those of one image are no independent observations, so
            the interval takes the image as sampling unit: Wilson's formula with the effective sample size that
            follows from the spread between images (linearised ratio estimator: Cochran, Sampling Techniques, 3rd ed.
            1977, section 6.3; Wilson's interval with an effective sample size: Dean and Pagano 2015, J. Surv. Stat.
            Methodol. 3:484-503), at most as if all judgements were independent.
    """
    shares = np.asarray(shares, dtype=np.float64)
    weights = np.ones_like(shares) if weights is None else np.asarray(weights, dtype=np.float64)
    total = float(weights.sum())
    if total == 0:
        return None
    p = min(max(float(shares.sum()) / total, 0.0), 1.0)
    size = total
    if repeats > 1:
        images = total**2 / float((weights**2).sum())
        variance = float(((shares - p * weights) ** 2).sum()) / total**2
        certain = p in (0.0, 1.0)
        size = images if certain else min(images * repeats, p * (1 - p) / variance if variance else np.inf)
    ends = wilson(p * size, size)
    return Estimate(p, min(ends.low, p), max(ends.high, p), int(np.count_nonzero(weights)))


# -- ROC --------------------------------------------------------------------------------------------------------------


def auroc(positive: np.ndarray, negative: np.ndarray, *, paired: bool = False) -> Estimate | None:
    """Return the area under the ROC curve: P(positive > negative) + P(equal)/2.

    The variance is that of DeLong, DeLong and Clarke-Pearson (1988, Biometrics 44:837-845), from placement values
    found by sorting, in O(n log n) like Sun and Xu (2014, IEEE Signal Process. Lett. 21:1389-1393). The interval is
    symmetric on the logit scale (Pepe 2003, The Statistical Evaluation of Medical Tests, section 5.2). Where fewer
    than FEW images of a side lie among the scores of the other, the variance rests on a handful of images, or is 0 at
    the areas 0 and 1: the interval is then widened to that of Newcombe (2006, Statist. Med. 25:559-573, method 5),
    which has a width there too.

    Args:
        positive: (m,) scores of adversarial images, or (R, m) of R judgements, which are pooled for the area and
            averaged per image for the variance.
        negative: (n,) or (R, n) scores of clean images.
        paired: image i of both is the same image (m == n); the covariance within the pairs then enters the variance
            (Obuchowski 1997, Biometrics 53:567-578, with one positive and one negative per cluster).

    Raises:
        ValueError: a score is NaN.
    """
    positive, negative = _scores(positive), _scores(negative)
    m, n = positive.shape[1], negative.shape[1]
    if m == 0 or n == 0:
        return None
    above = _placement(positive, negative).mean(0)  # (m,)
    below = 1 - _placement(negative, positive).mean(0)  # (n,)
    value = float(above.mean())
    variance = 0.0
    if paired and m > 1:
        variance = float(np.var(above + below, ddof=1)) / m
    elif m > 1 and n > 1:
        variance = float(np.var(above, ddof=1)) / m + float(np.var(below, ddof=1)) / n
    low = high = value
    if 0 < value < 1:
        margin = Z * np.sqrt(variance) / (value * (1 - value))
        low, high = float(expit(logit(value) - margin)), float(expit(logit(value) + margin))
    among = min(int(((share > 0) & (share < 1)).sum()) for share in (above, below))
    if among < FEW or variance <= 1e-16:
        other = _newcombe_area(value, m, n)
        low, high = min(low, other.low), max(high, other.high)
    return Estimate(value, min(low, value), max(high, value), m if paired else m + n)


def auroc_influence(positive: np.ndarray, negative: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the area and the influence (m,) of each pair of scores on it (both from DeLong's placement values).

    `positive` and `negative` are (m,), or (R, m) of R judgements; column i of both is the same image.
    """
    positive, negative = _scores(positive), _scores(negative)
    above, below = _placement(positive, negative).mean(0), 1 - _placement(negative, positive).mean(0)
    area = float(above.mean())
    return area, above + below - 2 * area


def _placement(these: np.ndarray, those: np.ndarray) -> np.ndarray:
    """Return for each of `these` (R, m) the share of `those` that lie below it, ties counted one half."""
    ordered = np.sort(those, axis=None)
    left = np.searchsorted(ordered, these, side="left")
    right = np.searchsorted(ordered, these, side="right")
    share: np.ndarray = (left + right) / (2 * ordered.size)
    return share


def _newcombe_area(value: float, m: int, n: int) -> Interval:
    """Return the areas that lie at most Z standard errors from `value`, the error taken at the end itself."""
    from scipy.optimize import brentq

    mean_size = (m + n) / 2 - 1

    def excess(area: float) -> float:
        size = 1 + mean_size * (1 - area) / (2 - area) + mean_size * area / (1 + area)
        return abs(area - value) - Z * float(np.sqrt(max(0.0, area * (1 - area) * size / (m * n))))

    tiny = 1e-12
    low = 0.0 if value <= tiny else float(brentq(excess, 0.0, min(value, 1 - tiny)))
    high = 1.0 if value >= 1 - tiny else float(brentq(excess, max(value, tiny), 1.0))
    return Interval(low, high)


# -- classes in feature space -----------------------------------------------------------------------------------------


def class_separation(features: np.ndarray, y: np.ndarray) -> np.ndarray | None:
    """Return per image (N,) what the separation of the classes is the mean of, to first order.

    It is the mean distance between the centres of two classes over the mean distance of a feature to the centre of its
    class, each class counted alike. The mean over images is that ratio; what lies around it is its influence function,
    from which an infinitesimal jackknife has the variance that a bootstrap over images has in the limit (Efron 1982,
    The Jackknife, the Bootstrap and Other Resampling Plans, chapter 6).

    Args:
        features: (N, D), Euclidean.
        y: (N,) class indices. Classes of one image are left out; their images contribute the ratio itself.

    Returns:
        None where there are no two classes of two images each, or all features of a class coincide in every class.
    """
    sizes = np.bincount(y)
    classes = np.flatnonzero(sizes > 1)
    if len(classes) < 2:
        return None
    features = features.astype(np.float64, copy=False)
    centres = np.stack([features[y == one].mean(0) for one in classes])
    between, within = 0.0, 0.0
    of_between, of_within = np.zeros(len(y)), np.zeros(len(y))
    for place, one in enumerate(classes):
        own = y == one
        apart = centres[place] - centres
        distances = np.linalg.norm(apart, axis=1)
        between += float(distances.sum()) / (len(classes) * (len(classes) - 1))
        towards = np.divide(apart, distances[:, None], out=np.zeros_like(apart), where=distances[:, None] > 0).sum(0)
        off = features[own] - centres[place]
        far = np.linalg.norm(off, axis=1)
        within += float(far.mean()) / len(classes)
        pull = np.divide(off, far[:, None], out=np.zeros_like(off), where=far[:, None] > 0).mean(0)
        share = len(y) / sizes[one] / len(classes)
        of_between[own] = share * 2 * (off @ towards) / (len(classes) - 1)
        of_within[own] = share * (far - far.mean() - off @ pull)
    if within == 0:
        return None
    ratio = between / within
    contributions: np.ndarray = ratio + (of_between - ratio * of_within) / within
    return contributions


def positive_mean(contributions: np.ndarray) -> Estimate:
    """Return the mean (N,) of contributions to a positive measure, with an interval symmetric on the log scale."""
    n = contributions.size
    value = float(contributions.mean())
    error = float(contributions.std(ddof=1)) / np.sqrt(n) if n > 1 else 0.0
    reach = float(np.exp(Z * error / value)) if value > 0 else 1.0
    return Estimate(value, value / reach, value * reach, n)


# -- ROC curves -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RocCurve:
    """Points of a ROC curve from (0, 0) to (1, 1): an image is flagged when its score is above the threshold."""

    fpr: np.ndarray
    tpr: np.ndarray
    threshold: np.ndarray

    @property
    def area(self) -> float:
        """Area under the points joined by straight lines: for all points, what `auroc` gives."""
        return float((np.diff(self.fpr) * (self.tpr[1:] + self.tpr[:-1])).sum() / 2)


def roc_curve(positive: np.ndarray, negative: np.ndarray) -> RocCurve:
    """Return the ROC curve with a point for every distinct score; repeats are pooled.

    The last threshold is -inf: everything is flagged.
    """
    positive, negative = _scores(positive).ravel(), _scores(negative).ravel()
    distinct = np.unique(np.concatenate([positive, negative]))[::-1]
    thresholds = np.append(distinct, -np.inf)

    def share_above(scores: np.ndarray) -> np.ndarray:
        ordered = np.sort(scores)
        share: np.ndarray = 1 - np.searchsorted(ordered, distinct, side="right") / ordered.size
        return np.append(share, 1.0)

    return RocCurve(share_above(negative), share_above(positive), thresholds)


def thin(curve: RocCurve, points: int = 200, tolerance: float = 1e-3) -> RocCurve:
    """Return a ROC curve of about `points` of its points whose area differs by at most `tolerance`.

    The points are spread evenly along the curve; where that is too coarse for the tolerance, there are more of them.
    """
    along = curve.fpr + curve.tpr
    area = curve.area
    while points < along.size:
        chosen = np.unique(np.searchsorted(along, np.linspace(0, 2, points)).clip(0, along.size - 1))
        # The ends stay, whichever of several points at (0, 0) or (1, 1) the search has found.
        chosen = np.union1d(chosen, [0, along.size - 1])
        thinned = RocCurve(curve.fpr[chosen], curve.tpr[chosen], curve.threshold[chosen])
        if abs(thinned.area - area) <= tolerance:
            return thinned
        points *= 2
    return curve


# -- operating points -------------------------------------------------------------------------------------------------


def threshold_at_fpr(clean_scores: np.ndarray, fpr: float) -> float:
    """Return the smallest threshold at which at most the share `fpr` of clean scores is flagged (score > threshold).

    With ties the share may stay below `fpr`, never above. It is one of the scores, or -inf where all may be flagged.

    Raises:
        ValueError: there is no score, one is NaN, or `fpr` is not in [0, 1].
    """
    scores = np.asarray(clean_scores, dtype=np.float64).ravel()
    if not 0 <= fpr <= 1:
        raise ValueError(f"a false-positive rate of {fpr} is not in [0, 1]")
    if scores.size == 0:
        raise ValueError("a threshold needs at least one clean score")
    if np.isnan(scores).any():
        raise ValueError("a clean score is NaN")
    allowed = int(fpr * scores.size)
    if (allowed + 1) / scores.size <= fpr:  # 0.29 * 100 is 28.999999999999996
        allowed += 1
    if allowed >= scores.size:
        return -np.inf
    position = scores.size - 1 - allowed
    return float(np.partition(scores, position)[position])


def rate_at_fpr(rate_at: Callable[[float], Estimate | None], clean_scores: np.ndarray, fpr: float) -> Estimate | None:
    """Return a rate at the threshold of `threshold_at_fpr`, with an interval that knows the threshold is an estimate.

    Two errors add up: that of the rate at a fixed threshold (its own interval), and that of the threshold (the rates
    at the ends of the distribution-free interval of the clean scores' quantile, by order statistics: David and
    Nagaraja 2003, Order Statistics, section 7.1). They are combined as the MOVER does (Zou and Donner 2008, Statist.
    Med. 27:1693-1702): squared distances from the estimate are summed. With too few clean images (fewer than 72 for
    5 %) the quantile may lie above all of them, and the interval reaches to the rate at which nothing is flagged.

    Args:
        rate_at: the rate as a function of the threshold, rising or falling.
        clean_scores: (n,), or (R, n) for repeated judgements.
        fpr: the target.
    """
    clean_scores = _scores(clean_scores)
    estimate = rate_at(threshold_at_fpr(clean_scores, fpr))
    if estimate is None:
        return None
    images = clean_scores.shape[1]
    few, many = _binomial_quantile(TAIL, images, fpr) - 1, _binomial_quantile(1 - TAIL, images, fpr)
    ends = [
        np.inf if few < 0 else threshold_at_fpr(clean_scores, few / images),
        threshold_at_fpr(clean_scores, many / images),
    ]
    values = [estimate.value, *(moved.value for moved in map(rate_at, ends) if moved is not None)]
    below = float(np.hypot(estimate.value - estimate.low, estimate.value - min(values)))
    above = float(np.hypot(estimate.high - estimate.value, max(values) - estimate.value))
    return Estimate(estimate.value, max(0.0, estimate.value - below), min(1.0, estimate.value + above), estimate.n)


def _binomial_quantile(probability: float, n: int, p: float) -> int:
    """Return the smallest k with P(Binomial(n, p) <= k) >= probability."""
    if p in (0.0, 1.0):
        return int(n * p)
    k = int(np.ceil(bdtrik(probability, n, p)))
    return k - 1 if k > 0 and bdtr(k - 1, n, p) >= probability else k


def tpr_at_fpr(positive: np.ndarray, negative: np.ndarray, fpr: float) -> Estimate | None:
    """Return the share of positives above the threshold that flags at most `fpr` of the negatives; no interpolation.

    `positive` and `negative` are (m,) and (n,), or (R, m) and (R, n) for repeated judgements.
    """
    positive, negative = _scores(positive), _scores(negative)
    if positive.shape[1] == 0 or negative.shape[1] == 0:
        return None

    def rate_at(threshold: float) -> Estimate | None:
        return rate((positive > threshold).mean(0), repeats=positive.shape[0])

    return rate_at_fpr(rate_at, negative, fpr)


def fpr_at_tpr(positive: np.ndarray, negative: np.ndarray, tpr: float) -> Estimate | None:
    """Return the share of negatives flagged at the highest threshold that flags at least `tpr` of the positives."""
    # The same question with the roles exchanged: positives that may be missed, negatives that are not flagged.
    missed = tpr_at_fpr(-_scores(negative), -_scores(positive), 1 - tpr)
    return None if missed is None else Estimate(1 - missed.value, 1 - missed.high, 1 - missed.low, missed.n)


# -- comparisons ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PairedDifference:
    """Two rates on the same images.

    Attributes:
        difference: first minus second.
        low, high: 95 % interval of the difference.
        p_value: exact McNemar test of no difference.
        only_first: images on which the first does better.
        only_second: images on which the second does better.
        n: number of images.
    """

    difference: float
    low: float
    high: float
    p_value: float
    only_first: int
    only_second: int
    n: int


def compare_paired(first: np.ndarray, second: np.ndarray) -> PairedDifference:
    """Compare two rates on the same N images: (N,) each, 0 or 1 per image (or the share of repeats, between them).

    The interval is Wald's after adding one image to each of the two discordant counts (Bonett and Price 2012, J. Educ.
    Behav. Stat. 37:479-488, recommended by Fagerland, Lydersen and Laake 2014, Statist. Med. 33:2850-2875); it has a
    width also where no image is discordant. For shares of repeats the sum of squared differences takes the place of
    the number of discordant images, and McNemar's test becomes the sign test.

    Raises:
        ValueError: no image, or not the same number of both.
    """
    if first.ndim != 1 or first.shape != second.shape or first.size == 0:
        raise ValueError(f"comparing needs two arrays (N,) with N > 0, found shapes {first.shape} and {second.shape}")
    delta = first.astype(np.float64) - second.astype(np.float64)
    n = delta.size
    total, squares = float(delta.sum()), float(delta @ delta)
    centre = total / (n + 2)
    margin = Z * float(np.sqrt(((squares + 2) / (n + 2) - centre**2) / (n + 2)))
    better, worse = int(np.count_nonzero(delta > 0)), int(np.count_nonzero(delta < 0))
    return PairedDifference(
        difference=total / n,
        low=max(-1.0, centre - margin),
        high=min(1.0, centre + margin),
        p_value=mcnemar(better, worse),
        only_first=better,
        only_second=worse,
        n=n,
    )


def compare_over_seeds(first: np.ndarray, second: np.ndarray) -> PairedDifference:
    """Compare two rates on the same N images in the same S >= 2 seeds: (S, N) each; of other seeds and other images.

    The difference is a mean of readers who read the same cases: standard error and degrees of freedom are those of
    `crossed`, the p-value is Student's. Where few images are discordant, or the seeds agree by chance, that is too
    sure; so the interval is at least as wide, and the p-value at least as large, as those of `compare_paired` on the
    images' means over the seeds, which tell of other images alone. Images are counted as better or worse by that mean.

    Raises:
        ValueError: the shapes differ, or there is no image.
    """
    of_images = compare_paired(first.mean(0), second.mean(0))
    delta = first.astype(np.float64) - second.astype(np.float64)
    error, freedom = _crossed_error(delta)
    margin = _quantile(freedom) * error
    p_value = 2 * float(stdtr(min(freedom, 1e6), -abs(of_images.difference) / error)) if error > 0 else 0.0
    return replace(
        of_images,
        low=max(-1.0, min(of_images.low, of_images.difference - margin)),
        high=min(1.0, max(of_images.high, of_images.difference + margin)),
        p_value=max(of_images.p_value, p_value),
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values that may be read as if each were the only one (Holm 1979, Scand. J. Statist. 6:65-70)."""
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = highest
    return adjusted


def mcnemar(only_first: int, only_second: int) -> float:
    """Return the exact two-sided p-value of McNemar's test: discordant images fall on either side equally often."""
    discordant = only_first + only_second
    if discordant == 0:
        return 1.0
    return min(1.0, 2 * float(bdtr(min(only_first, only_second), discordant, 0.5)))


# -- means ------------------------------------------------------------------------------------------------------------


def mean(values: Any) -> Estimate:
    """Return the mean with Student's t interval; a single value has itself as its interval."""
    values = np.asarray(values, dtype=np.float64)
    n = values.size
    centre = float(values.mean())
    margin = float(stdtrit(n - 1, 1 - TAIL) * values.std(ddof=1) / np.sqrt(n)) if n > 1 else 0.0
    return Estimate(centre, centre - margin, centre + margin, n)


def median_ranks(n: int) -> tuple[int, int]:
    """Return the ranks, from 1, of the two of n ordered values that hold the median between them in 95 % of cases.

    0 and n + 1 where n values are too few. Distribution-free (David and Nagaraja 2003, Order Statistics, section 7.1).
    """
    low = _binomial_quantile(TAIL, n, 0.5)
    return low, n - low + 1


def spread(values: Any) -> Estimate:
    """Return the standard deviation (ddof 1) of two or more values, with the chi-square interval of normal samples."""
    values = np.asarray(values, dtype=np.float64)
    n = values.size
    deviation = float(values.std(ddof=1))
    scale = deviation * np.sqrt(n - 1)
    # chdtri inverts the upper tail.
    return Estimate(
        deviation, float(scale / np.sqrt(chdtri(n - 1, TAIL))), float(scale / np.sqrt(chdtri(n - 1, 1 - TAIL))), n
    )


def crossed(contributions: np.ndarray, unit: str, n: int) -> Estimate:
    """Return the mean over S >= 2 seeds with an interval over other seeds *and* other images, both crossed.

    Every seed was measured on the same images. The squared standard error is that of a mean of readers who read the
    same cases (Obuchowski and Rockette 1995, Commun. Stat. Simul. Comput. 24:285-308), (MS + S * cov) / S: MS is the
    variance between seeds, cov the covariance of two seeds' measures that the images they share bring about. The
    degrees of freedom are Hillis's (2007, Statist. Med. 26:596-619), (MS + S * cov)^2 / (MS^2 / (S - 1)). MS is not
    let below what the images alone make of it, which a few seeds that agree by chance would hide.

    The ends are Wilson's with an effective number of images and Student's quantile for a rate (Franco et al. 2019, J.
    Surv. Stat. Methodol. 7:334-364), symmetric on the logit scale for an area (Newcombe's where few images are on the
    lesser side), symmetric and cut at 0 for a mean.

    Args:
        contributions: (S, N) per seed and image what the measure is the mean of, to first order.
        unit: `rate`, `area` or anything else, as of `Metric.unit`.
        n: the fewest images that a seed's value rests on.
    """
    seeds = len(contributions)
    value = float(contributions.mean(axis=1).mean())
    error, freedom = _crossed_error(contributions)
    quantile = _quantile(freedom)
    if unit == "rate":
        value = min(max(value, 0.0), 1.0)
        certain = value in (0.0, 1.0) or error <= 0
        # As many images as one seed has seen where all agree: other seeds of the same images bring nothing then.
        size = float(n) if certain else min(value * (1 - value) / error**2, float(seeds * n))
        ends = wilson(value * size, size, Z if certain else quantile)
        return Estimate(value, min(ends.low, value), max(ends.high, value), n)
    margin = quantile * error
    if unit != "area":
        return Estimate(value, max(min(0.0, value), value - margin), value + margin, n)
    low = high = value
    if 0 < value < 1:
        reach = margin / (value * (1 - value))
        low, high = float(expit(logit(value) - reach)), float(expit(logit(value) + reach))
    if min(value, 1 - value) * n < FEW:
        other = _newcombe_area(value, n, n)
        low, high = min(low, other.low), max(high, other.high)
    return Estimate(value, min(low, value), max(high, value), n)


def _crossed_error(contributions: np.ndarray) -> tuple[float, float]:
    """Return standard error and degrees of freedom of a mean over seeds and images, (S, N), as `crossed` says."""
    seeds, images = contributions.shape
    values = contributions.mean(axis=1)
    around = contributions - values[:, None]
    scale = max(images * (images - 1), 1)
    own = float((around**2).sum()) / scale / seeds
    both = float((around.sum(axis=0) ** 2).sum()) / scale
    shared = max((both - seeds * own) / (seeds * (seeds - 1)), 0.0)
    between = max(float(values.var(ddof=1)), own - shared, 0.0)
    total = between + seeds * shared
    freedom = (seeds - 1) * (total / between) ** 2 if between > 0 else np.inf
    return float(np.sqrt(total / seeds)), float(freedom)


def _quantile(freedom: float) -> float:
    return Z if freedom > 1e6 else float(stdtrit(freedom, 1 - TAIL))


def _scores(scores: np.ndarray) -> np.ndarray:
    """Return scores as (R, N) float64.

    Raises:
        ValueError: one is NaN.
    """
    scores = np.atleast_2d(np.asarray(scores, dtype=np.float64))
    if np.isnan(scores).any():
        raise ValueError(f"{int(np.isnan(scores).sum())} of {scores.size} scores are NaN")
    return scores
