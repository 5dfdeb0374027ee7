"""The chart of what defenses keep on clean images against what they withstand at worst."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from bench_report import sentences
from bench_report.charts.vega import coordinate
from bench_report.values import Estimate, FigureRow, FigureView
from bench_report.verdicts import TradeOff, Verdict

WIDTH, HEIGHT = 340, 300
"""Pixels that names are placed in: the narrowest that the chart is drawn in, for they stay apart in a wider one."""
LETTER, LINE, MARK = 6.4, 13.0, 13.0
"""Pixels of a letter, a line of text, and a mark."""
LONGEST = 26
"""Letters of a name; the table has it whole."""
STEP, SPAN = 0.05, 0.2
"""The axis of clean accuracy begins and ends at multiples of a step, and is no shorter than its span: small differences
are to look small."""


class _Box(NamedTuple):
    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: _Box) -> bool:
        return (
            self.left < other.right and other.left < self.right and self.top < other.bottom and other.top < self.bottom
        )


def trade_off_figure(trade: TradeOff, judging: Mapping[str, Estimate]) -> FigureView:
    """Return the chart; `judging` has the milliseconds that a defense took to judge an image, where it was measured."""
    points = [_Point(v, sentences.on_front(trade, v)) for v in trade.points]
    low = STEP * math.floor(min(p.left for p in points) / STEP - 0.2)
    high = STEP * math.ceil(max(p.right for p in points) / STEP + 0.2)
    high = min(1.0, round(high, 4))
    low = max(0.0, round(min(low, high - SPAN), 4))
    names = list(names_at_ends(points, low, high))
    named = {row["s"] for row in names}
    rest = sentences.unnamed([p.verdict.defense for p in points if p.name not in named])
    known = ("Defense", "On the front")
    columns = ["Right on clean, %", "Withstood at worst, %", "False alarms, %"]
    timed = any(p.verdict.defense in judging for p in points)
    rows = tuple(
        FigureRow(
            (p.verdict.defense, p.front),
            (p.verdict.clean, p.verdict.robust, p.verdict.false_alarms)
            + ((judging.get(p.verdict.defense),) if timed else ()),
            p.verdict.page,
            (1,) if p.verdict.bound else (),
        )
        for p in points
    )
    return FigureView(
        kind="tradeoff",
        title="Clean accuracy against worst case",
        how=sentences.trade_off(trade) + rest,
        data={
            "frame": [{"x": low}, {"x": high}],
            "points": [p.row for p in points],
            "front": list(_stairs([p for p in points if p.front == "yes"], low)),
            "names": names,
        },
        heads=known,
        columns=(*columns, *(["Judging, ms per image, over the run"] if timed else [])),
        rows=rows,
        brief=sentences.trade_off_brief(trade) + rest,
    )


class _Point:
    """A defense in the chart."""

    def __init__(self, verdict: Verdict, front: str) -> None:
        assert verdict.clean is not None
        assert verdict.robust is not None
        self.verdict, self.front = verdict, front
        clean, robust = verdict.clean, verdict.robust
        self.x, self.y = clean.value, robust.value
        self.left, self.right = _interval(clean)
        self.bottom, self.top = _interval(robust)
        alarms = verdict.false_alarms
        self.cost = "" if alarms is None else f"{alarms.text} % false alarms"
        name = verdict.defense
        self.name = name if len(name) <= LONGEST else name[: LONGEST - 1] + "…"

    @property
    def row(self) -> dict[str, Any]:
        """What the chart draws of it."""
        ends = {"left": self.left, "right": self.right, "low": self.bottom, "high": self.top}
        return {
            "s": self.verdict.defense,
            "x": coordinate(self.x),
            "y": coordinate(self.y),
            **{name: coordinate(value) for name, value in ends.items()},
            "front": self.front,
            "open": bool(self.verdict.bound),
            "cost": self.cost or "none: it rejects nothing",
        }


def _interval(estimate: Estimate) -> tuple[float, float]:
    low, high = estimate.low, estimate.high
    return (estimate.value, estimate.value) if low is None or high is None else (low, high)


def _stairs(points: Sequence[_Point], left: float) -> Iterator[dict[str, Any]]:
    """Yield the corners of the front, from the left edge down to the axis; nothing for a single defense."""
    ranked = sorted(points, key=lambda p: (p.x, -p.y))
    if len(ranked) < 2:
        return
    corners = [(left, ranked[0].y), *((p.x, p.y) for p in ranked), (ranked[-1].x, 0.0)]
    for order, (x, y) in enumerate(corners):
        yield {"x": coordinate(x), "y": coordinate(y), "order": order}


def names_at_ends(points: Sequence[_Point], low: float, high: float) -> Iterator[dict[str, Any]]:
    """Yield where the names stand, those of the front first; a name that finds no place stands in the table alone."""

    def across(x: float) -> float:
        return WIDTH * (x - low) / (high - low)

    def down(y: float) -> float:
        return HEIGHT * (1 - y)

    marks = [
        _Box(across(p.x) - MARK / 2, down(p.y) - MARK / 2, across(p.x) + MARK / 2, down(p.y) + MARK / 2) for p in points
    ]
    whiskers = [_Box(across(p.left), down(p.y) - 1, across(p.right), down(p.y) + 1) for p in points]
    whiskers += [_Box(across(p.x) - 1, down(p.top), across(p.x) + 1, down(p.bottom)) for p in points]
    taken: list[_Box] = []
    for point in sorted(points, key=lambda p: ("yes", "at most", "no").index(p.front)):
        width = LETTER * max(len(point.name), 0.85 * len(point.cost))
        height = LINE * (2 if point.cost else 1)
        best: tuple[float, dict[str, Any], _Box] | None = None
        for number, (side, dx, dy) in enumerate(_PLACES):
            left = across(point.x) + dx - {"left": 0.0, "right": width, "center": width / 2}[side]
            middle = down(point.y) + dy
            box = _Box(left, middle - height / 2, left + width, middle + height / 2)
            inside = box.left >= 0 and box.right <= WIDTH + 4 and box.top >= 0 and box.bottom <= HEIGHT
            if not inside or any(box.meets(other) for other in (*marks, *taken)):
                continue
            cost = number + 20.0 * sum(box.meets(other) for other in whiskers)
            if best is None or cost < best[0]:
                first = dy - (LINE / 2 if point.cost else 0)
                place = {"align": side, "dx": dx, "dy": first, "under": first + LINE}
                best = cost, place, box
        if best is None:
            continue
        _, place, box = best
        taken.append(box)
        yield (
            {"s": point.name, "cost": point.cost, "x": coordinate(point.x), "y": coordinate(point.y)}
            | place
            | {"front": point.front}
        )


_PLACES = [
    *(("right", -10.0, dy) for dy in (-14.0, 14.0, -24.0, 24.0)),
    *(("left", 10.0, dy) for dy in (-14.0, 14.0, -24.0, 24.0)),
    *((side, dx, 0.0) for side, dx in (("right", -12.0), ("left", 12.0), ("right", -30.0), ("left", 30.0))),
    *(("center", 0.0, dy) for dy in (-20.0, 20.0, -32.0, 32.0)),
    *((side, dx, dy) for dy in (-36.0, 36.0) for side, dx in (("right", -10.0), ("left", 10.0))),
]
"""Where a name may stand from its mark: which of its sides is there, and by how many pixels it is moved."""
