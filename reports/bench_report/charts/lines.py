"""Lines of a chart: which are alike, where their names stand, which points are marked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from bench_report.charts.ladders import Ladder
from bench_report.charts.specs import COLOURS, SERIES
from bench_report.charts.vega import coordinate
from bench_report.values import Estimate

ROC_MARKS = 3
"""Marks on a ROC curve."""
NAMED = SERIES
"""Lines of a figure that have their names and intervals beside them; of more it could not be told whose they are."""
NAME_HEIGHT = 0.07
"""What a name in a figure takes up of its height."""


def points_along(x: np.ndarray, y: np.ndarray, number: int) -> Iterator[tuple[float, float]]:
    """Yield some points of a curve for the marks that tell it from others; no two curves have them at one place."""
    way = np.concatenate([[0.0], np.cumsum(np.hypot(np.diff(x), np.diff(y)))])
    for share in (np.arange(ROC_MARKS) + (number % SERIES + 1) / (SERIES + 1)) / ROC_MARKS:
        at = int(np.searchsorted(way, share * way[-1]))
        yield float(x[at]), float(y[at])


def moves(lines: Mapping[str, Sequence[Estimate | None]]) -> bool:
    """Return whether the number matters to the measure: what a detector lets its classifier say never changes."""
    return any(len({point.value for point in points if point is not None}) > 1 for points in lines.values())


def alike(names: Sequence[str], lines: Mapping[str, Sequence[Estimate | None]]) -> list[list[str]]:
    """Return the names, those of equal lines together."""
    together: dict[tuple[float | None, ...], list[str]] = {}
    for name in names:
        together.setdefault(tuple(None if p is None else p.value for p in lines[name]), []).append(name)
    return list(together.values())


def joined_names(names: Sequence[str]) -> str:
    """Return the first names, and how many more there are."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def names_at_ends(
    drawn: Sequence[Sequence[str]], lines: Mapping[str, Sequence[Estimate | None]], xs: Sequence[float]
) -> list[dict[str, Any]]:
    """Return where a few lines have their names: right of their last points, moved apart where these are close."""
    if not 1 < len(drawn) <= NAMED:
        return []
    ends = []
    for number, names in enumerate(drawn):
        x, point = [(x, point) for x, point in zip(xs, lines[names[0]]) if point is not None][-1]
        before = next(p.value for p in lines[names[0]] if p is not None)
        ends.append((point.value, before, x, number))
    ends.sort(reverse=True)  # lines that end alike stand in the order of their beginnings
    heights: list[float] = []
    for rank, (value, *_) in enumerate(ends):
        highest = 1 - NAME_HEIGHT * rank if not heights else heights[-1] - NAME_HEIGHT
        heights.append(min(value, highest))
    for rank in range(len(ends) - 1, -1, -1):  # none below the axis
        heights[rank] = max(heights[rank], NAME_HEIGHT * (len(ends) - 1 - rank))
    return [
        {"s": joined_names(drawn[number]), "colour": COLOURS[number], "x": x, "y": coordinate(height)}
        | {"end": coordinate(value)}
        for height, (value, _, x, number) in zip(heights, ends)
    ]


def interval_ends(point: Estimate, drawn: Sequence[Sequence[str]], number: int) -> dict[str, Any]:
    """Return the ends of an interval that is drawn: among many lines it could not be told whose it is."""
    if len(drawn) > NAMED or point.low is None or point.high is None:
        return {}
    return {"low": coordinate(point.low), "high": coordinate(point.high), "colour": COLOURS[number]}


def scaled(ladder: Ladder) -> tuple[list[float], str]:
    """Return the numbers with a title; `4/255` and `8/255` are 4 and 8, `in 1/255`."""
    bottoms = {text.partition("/")[2] for _, value, text in ladder.rungs if value}
    if len(bottoms) == 1 and bottoms != {""}:
        (bottom,) = bottoms
        return [float(text.partition("/")[0]) for _, _, text in ladder.rungs], f"{ladder.option}, in 1/{bottom}"
    return [value for _, value, _ in ladder.rungs], ladder.option
