"""Means over the attacks of a group."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from bench_report.values import Estimate

# -- means -------------------------------------------------------------------------------------------------------------


def mean_of(estimates: Iterable[Estimate | None]) -> Estimate | None:
    """Return the mean of values that stand for one measure; None where one is missing, or there are none.

    It has no interval: the attacks hit the same images.
    """
    found = list(estimates)
    present = [estimate for estimate in found if estimate is not None]
    if not present or len(present) < len(found):
        return None
    first = present[0]
    value = math.fsum(estimate.value for estimate in present) / len(present)
    return Estimate(f"mean_{first.metric}", first.unit, value, None, None, None)


def lowest(estimates: Iterable[Estimate | None]) -> Estimate | None:
    """Return the lowest of the estimates, None where one is missing."""
    found = list(estimates)
    present = [estimate for estimate in found if estimate is not None]
    return min(present, key=lambda x: x.value) if present and len(present) == len(found) else None


@dataclass(frozen=True)
class MeansCell:
    """Mean over attacks and models.

    Attributes:
        mean: None where one of the cells has no number.
        worst: the worst case over the attacks per image, of the model where it is lowest.
        of, absent: number of cells, and of those without a number.
    """

    mean: Estimate | None
    worst: Estimate | None
    of: int
    absent: int


@dataclass(frozen=True)
class MeansRow:
    """A data set: means per defense."""

    dataset: str
    attacks: int
    models: int
    cells: tuple[MeansCell, ...]


@dataclass(frozen=True)
class MeansView:
    """Mean accuracy over the attacks of a group and all models, data set by data set."""

    knowledge: str
    group: str
    defenses: tuple[str, ...]
    rows: tuple[MeansRow, ...]
