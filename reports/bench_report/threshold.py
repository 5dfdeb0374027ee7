"""How a detector's threshold divides the images of a cell, for the slider on its page."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

STEPS = 100
"""Thresholds of the slider; a data set of more scores shows evenly spaced ones of them."""


class Judged(NamedTuple):
    """What a defense said of N images; all arrays are (N,).

    Attributes:
        right, base_right: whether the label of the defended system, and of its classifier alone, is right.
        changed: whether these labels differ.
    """

    score: np.ndarray
    flagged: np.ndarray
    right: np.ndarray
    base_right: np.ndarray
    changed: np.ndarray


def threshold_view(attacked: Judged, clean: Judged, success: np.ndarray) -> ThresholdView | None:
    """Return what is flagged at each threshold, for the attacked and the clean versions of the same N images.

    A defense may change the labels of the images that it flags, and of these alone: flagging fewer then gives the
    others back the classifier's label. The samples do not say so, but they can rule it out, by an image that passed
    with another label. Where they do not, the images withstood and kept are counted both ways, and are None where the
    two differ.

    Args:
        success: (N,) whether the attack on the image succeeded.

    Returns:
        None where no score is finite.
    """
    scores = np.concatenate([attacked.score, clean.score]).astype(np.float64)
    flagged = np.concatenate([attacked.flagged, clean.flagged])
    finite = np.unique(scores[np.isfinite(scores)])
    if finite.size == 0:
        return None
    chosen = finite
    if finite.size > STEPS:
        chosen = finite[np.unique(np.linspace(0, finite.size - 1, STEPS).round().astype(int))]
    operating = _operating(scores, flagged)
    if operating is not None:
        chosen = np.union1d(chosen, [operating])
    # Up to the next score all thresholds flag the same images. One stands below all, at which everything is flagged,
    # unless the lowest score is the lowest number.
    ends = np.append(finite, np.inf)[np.searchsorted(finite, chosen, side="right")]
    below = math.nextafter(finite[0], -math.inf)
    first = [-_short(-below, math.inf)] if math.isfinite(below) else []
    at = None if operating is None else int(np.searchsorted(chosen, operating)) + len(first)
    chosen = np.array([*first, *map(_short, chosen, ends)])

    def above(values: np.ndarray) -> np.ndarray:
        return values.size - np.searchsorted(np.sort(values), chosen, side="right")

    def withstood(right: np.ndarray) -> np.ndarray:
        flagged_or_right: np.ndarray = int(right.sum()) + above(attacked.score[~right])
        return flagged_or_right

    def kept(right: np.ndarray) -> np.ndarray:
        passed_and_right: np.ndarray = int(right.sum()) - above(clean.score[right])
        return passed_and_right

    passed = np.array([flag is None or flag is pd.NA or not flag for flag in flagged], dtype=bool)
    fixed = bool(np.concatenate([attacked.changed, clean.changed])[passed].any())

    def counted(count: Callable[[np.ndarray], np.ndarray], judged: Judged) -> tuple[int | None, ...]:
        first = count(judged.right)
        other = first if fixed else count(judged.base_right)
        return tuple(a if a == b else None for a, b in zip(first.tolist(), other.tolist()))

    return ThresholdView(
        thresholds=tuple(chosen.tolist()),
        caught=tuple(above(attacked.score[success]).tolist()),
        alarms=tuple(above(clean.score[success]).tolist()),
        withstood=counted(withstood, attacked),
        kept=counted(kept, clean),
        successful=int(success.sum()),
        images=success.size,
        operating=at,
    )


def _short(low: float, end: float) -> float:
    """Return the number of fewest digits, four or more, that is `low` or above and below `end`: what a page shows."""
    return next(value for digits in range(4, 18) if low <= (value := float(f"{low:.{digits}g}")) < end)


def _operating(scores: np.ndarray, flagged: np.ndarray) -> float | None:
    """Return the largest score that is not flagged, where it parts the flagged ones from the others."""
    if any(flag is None or flag is pd.NA for flag in flagged):
        return None
    flags = flagged.astype(bool)
    passed = scores[~flags]
    if passed.size == 0 or not np.isfinite(passed.max()) or (scores[flags] <= passed.max()).any():
        return None
    return float(passed.max())


@dataclass(frozen=True)
class ThresholdView:
    """What a detector would do at other thresholds, counted on the images of the cell.

    Attributes:
        thresholds: ascending; flagged is what scores above.
        caught, alarms: successful adversarial images flagged, and their clean versions flagged.
        withstood, kept: attacked images that are flagged or labelled rightly, and clean images that are labelled
            rightly and not flagged; None where the samples do not tell.
        successful, images: what these are out of.
        operating: index of the threshold at which the defense works, None where no threshold gives its flags.
    """

    thresholds: tuple[float, ...]
    caught: tuple[int, ...]
    alarms: tuple[int, ...]
    withstood: tuple[int | None, ...]
    kept: tuple[int | None, ...]
    successful: int
    images: int
    operating: int | None

    @property
    def told(self) -> bool:
        """Whether all counts are known."""
        return None not in self.withstood and None not in self.kept
