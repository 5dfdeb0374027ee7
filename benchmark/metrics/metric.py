"""The contract of a measure: cells in, one number with an interval and its n out; and rates, of which most are made."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from benchmark.cells import Cell
from benchmark.statistics import Estimate, rate


@dataclass(frozen=True)
class MetricValue:
    """A number with its 95 % interval and the number of images it rests on."""

    value: float
    ci_low: float
    ci_high: float
    n: int


class Metric(ABC):
    """A measure. One instance without options serves all cells.

    The first paragraph of its docstring is what docs, `bench plugins` and reports say it counts. "Judged images" are
    those of the split that a run judges: reports say which that is.

    Attributes:
        title: what people read.
        short: heading of a narrow column; the title unless given.
        scope: `clean` is computed on the clean cell, `attack` on every attacked cell, `group` on all attacked cells of
            a group of attacks together (worst case).
        unit: `rate` (0 to 1), `area`, `distance`, `count` or `ratio`.
        better: which direction favours the defense, None for neither.
        interval: how its 95 % interval is made, in a word that docs/measures.md explains; "" where it is not said.
        reads: the fields of `Answers` that it looks at, and `success` where it looks at `Cell.success`. What the host's
            threshold moves (`flagged`, and the `label` of a defense that answers otherwise where it flags) is not
            compared between runs of different thresholds, nor `success` between runs that mean another thing by it.
    """

    title: ClassVar[str]
    short: ClassVar[str] = ""
    scope: ClassVar[Literal["clean", "attack", "group"]]
    unit: ClassVar[Literal["rate", "area", "distance", "count", "ratio"]] = "rate"
    better: ClassVar[Literal["high", "low"] | None] = None
    interval: ClassVar[str] = ""
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
        return value_of(rate(self.part, self.weight, self.repeats))

    def contributions(self) -> np.ndarray | None:
        """Return the linearised rate per image (Cochran, Sampling Techniques, 3rd ed. 1977, section 6.3), (N,)."""
        total = float(self.weight.sum())
        if total == 0:
            return None
        value = float(self.part.sum()) / total
        linear: np.ndarray = value + (self.part - value * self.weight) * (len(self.part) / total)
        return linear


def share_of(judged: np.ndarray, among: np.ndarray | None = None) -> Shares:
    """Return for which images (R, N) `judged` holds, averaged over repeats, of those (N,) that count."""
    judged = np.atleast_2d(judged)
    weight = np.ones(judged.shape[1]) if among is None else among.astype(np.float64)
    return Shares(judged.mean(0) * weight, weight, judged.shape[0])


def success_of(clean_right: np.ndarray, wrong: np.ndarray) -> Shares:
    """Return which of the initially correct images (R, N) end wrong (R, N).

    Clean and attacked judgements of a randomised defense are independent draws, so per image the shares multiply.
    """
    weights = clean_right.mean(0)
    return Shares(weights * wrong.mean(0), weights, max(len(clean_right), len(wrong)))


def value_of(estimate: Estimate | None) -> MetricValue | None:
    """Return an estimate as the value of a measure."""
    return None if estimate is None else MetricValue(estimate.value, estimate.low, estimate.high, estimate.n)


class CellMetric(Metric):
    """A measure of a single cell."""

    def compute(self, cells: Sequence[Cell]) -> MetricValue | None:
        """Return the measure of the only cell."""
        (cell,) = cells
        return self._measure(cell)

    @abstractmethod
    def _measure(self, cell: Cell) -> MetricValue | None:
        """Return the measure of one cell, or None where it is not defined."""


class CellRate(CellMetric):
    """A rate over the images of a single cell."""

    interval: ClassVar[str] = "Wilson"

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


def exactly(value: float, n: int) -> MetricValue:
    """Return a number that is its own interval."""
    return MetricValue(value, value, value, n)
