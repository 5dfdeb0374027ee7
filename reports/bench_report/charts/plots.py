"""Charts of what panels draw of a cell."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from bench_report.charts.vega import coordinates
from bench_report.values import ChartView
from bench_report.words import number_text
from benchmark import Plot


def plot_chart(plot: Plot) -> ChartView | None:
    """Return a plot as a chart, None where it has no point; of dots, the table says how they spread."""
    finite = [
        (
            series.name,
            [(x, y) for x, y in zip(series.x, series.y, strict=True) if math.isfinite(x) and math.isfinite(y)],
        )
        for series in plot.series
    ]
    across, up = (coordinates([point[axis] for _, points in finite for point in points]) for axis in (0, 1))
    names = [name for name, points in finite for _ in points]
    drawn: list[dict[str, Any]] = [{"series": name, "x": x, "y": y} for name, x, y in zip(names, across, up)]
    if not drawn:
        return None
    drawn[0] |= {"xt": plot.x_title, "yt": plot.y_title}
    headings: tuple[str, ...]
    rows: list[tuple[str, ...]]
    kind = "steps" if plot.mark == "steps" else "dots"
    if kind == "steps":
        headings = (plot.x_title, *(f"{name}: {plot.y_title}" for name, _ in finite))
        # A series may have several points at one x.
        heights: list[dict[float, list[str]]] = [{} for _ in finite]
        for own, (_, points) in zip(heights, finite):
            for x, y in points:
                own.setdefault(x, []).append(number_text(y, "number"))
        rows = [
            (number_text(x, "number"), *(", ".join(own.get(x, ())) for own in heights))
            for x in sorted({x for own in heights for x in own})
        ]
    else:
        headings = (
            "Series",
            "Points",
            *(f"{title}, mean ± standard deviation" for title in (plot.x_title, plot.y_title)),
        )
        rows = [(name, str(len(points)), *map(_spread, zip(*points))) for name, points in finite if points]
    return ChartView(kind, plot.title, plot.how, {"points": drawn}, headings, tuple(rows))


def _spread(values: Sequence[float]) -> str:
    return f"{number_text(float(np.mean(values)), 'number')} ± {number_text(float(np.std(values)), 'number')}"
