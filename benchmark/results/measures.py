"""Rows of the table of measures: of a cell, of a group of cells, and over seeds."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from benchmark.cells import Cell, Status
from benchmark.metrics.metric import Metric, MetricValue
from benchmark.names import SUMMARIES, CellName
from benchmark.results.asking import Asking
from benchmark.statistics import Estimate, crossed, mean, spread

HEADLINES: dict[str, tuple[str, str]] = {
    "clean": ("clean_accuracy", "joint_clean_accuracy"),
    "attack": ("robust_accuracy", "joint_robust_accuracy"),
    "group": ("worst_case_robust_accuracy", "worst_case_joint_robust_accuracy"),
}
"""Measures of which a cell without a result gets a row, so that it is seen."""


@dataclass(frozen=True)
class Row:
    """A row of the table of measures."""

    point: CellName
    metric: str
    value: float
    ci_low: float
    ci_high: float
    n: int
    status: Status


def measured(
    point: CellName,
    scope: str,
    status: Status,
    cells: Sequence[Cell | None],
    metrics: Mapping[str, Metric],
    asking: Asking,
    problems: dict[str, str],
) -> list[Row]:
    """Return a row per measure of `scope` that is defined; where there is no result, a row per headline measure."""
    of_scope = {name: metric for name, metric in metrics.items() if metric.scope == scope}
    done = [cell for cell in cells if cell is not None]
    if status != "ok" or len(done) < len(cells):
        names = [name for name in of_scope if name in HEADLINES[scope]] or list(of_scope)[:1]
        return [
            Row(point, name, math.nan, math.nan, math.nan, 0, "failed" if status == "ok" else status) for name in names
        ]

    def row(name: str, given: Sequence[Cell]) -> Row | None:
        answer = of_scope[name].compute(given)
        return None if answer is None else Row(point, name, *_checked(answer, of_scope[name].unit), "ok")

    rows = asking.ask(point, done, {name: partial(row, name) for name in of_scope}, problems)
    missing = [name for name in of_scope if name not in rows]
    rows |= {name: Row(point, name, math.nan, math.nan, math.nan, 0, "failed") for name in missing}
    return [one for name in of_scope if (one := rows[name]) is not None]


def _checked(answer: MetricValue, unit: str) -> tuple[float, float, float, int]:
    """Return value, ends and n; a distance may be infinite.

    Raises:
        ValueError: they are not numbers, or the interval does not hold the value.
    """
    value, low, high, n = float(answer.value), float(answer.ci_low), float(answer.ci_high), int(answer.n)
    if not all(math.isfinite(x) or (unit == "distance" and x == math.inf) for x in (value, low, high)):
        raise ValueError(f"the value {value} with the interval {low} to {high} is not finite; return None if undefined")
    slack = 1e-9 * max(1.0, abs(value)) if math.isfinite(value) else 0.0
    if not low - slack <= value <= high + slack:
        raise ValueError(f"the interval {low} to {high} does not hold the value {value}")
    return value, low, high, n


def over_seeds(
    rows: Sequence[Row],
    metrics: Mapping[str, Metric],
    cells: Mapping[CellName, Sequence[Cell | None]],
    asking: Asking,
    problems: dict[str, str],
) -> list[Row]:
    """Return what becomes of the seeds that have a value, where two or more have one: `SUMMARIES`.

    Args:
        rows: of single seeds.
        metrics: by name.
        cells: of each point.
        asking: how measures are asked what each image contributes.
        problems: gets what could not be computed, and why.
    """
    by_point: dict[tuple[CellName, str], list[Row]] = {}
    points = {point: replace(point, seed="") for point in {row.point for row in rows}}
    for row in rows:
        if row.status == "ok":
            by_point.setdefault((points[row.point], row.metric), []).append(row)
    repeated = {of: found for of, found in by_point.items() if len(found) > 1}
    parts = _contributions([row for found in repeated.values() for row in found], metrics, cells, asking, problems)
    summary = []
    for (point, name), found in repeated.items():
        values, metric = [row.value for row in found], metrics[name]
        if math.inf in values:
            at = replace(point, seed=SUMMARIES.mean)
            summary.append(Row(at, name, math.inf, min(values), math.inf, len(values), "ok"))
            continue
        top = 1.0 if metric.unit in ("rate", "area") else math.inf
        told = [parts.get((row.point, name)) for row in found]
        estimates = (mean(values), spread(values), _crossed(told, found, metric.unit))
        for label, estimate in zip(SUMMARIES, estimates, strict=True):
            if estimate is None:
                continue
            low, high = estimate.low, estimate.high
            if label == SUMMARIES.mean:
                low, high = max(low, min(0.0, estimate.value)), min(high, max(top, estimate.value))
            summary.append(Row(replace(point, seed=label), name, estimate.value, low, high, estimate.n, "ok"))
    return summary


def _contributions(
    rows: Sequence[Row],
    metrics: Mapping[str, Metric],
    cells: Mapping[CellName, Sequence[Cell | None]],
    asking: Asking,
    problems: dict[str, str],
) -> dict[tuple[CellName, str], np.ndarray | None]:
    """Return what each image of a point contributes to a measure, where that is told: (N,) float64."""

    def told(row: Row, given: Sequence[Cell]) -> np.ndarray | None:
        part = metrics[row.metric].contributions(given)
        if part is None:
            return None
        part = np.asarray(part, dtype=np.float64)
        if part.shape != given[0].y.shape or not math.isclose(part.mean(), row.value, rel_tol=1e-6, abs_tol=1e-6):
            raise ValueError(f"the mean of its contributions {part.shape} is {part.mean():.6g} and not {row.value:.6g}")
        return part

    questions: dict[CellName, dict[str, Callable[[list[Cell]], np.ndarray | None]]] = {}
    for row in rows:
        if math.isfinite(row.value):
            questions.setdefault(row.point, {})[row.metric] = partial(told, row)
    found: dict[tuple[CellName, str], np.ndarray | None] = {}
    for point, asked in questions.items():
        own = [cell for cell in cells[point] if cell is not None]
        answers = asking.ask(point, own, asked, problems)
        found |= {(point, name): part for name, part in answers.items()}
    return found


def _crossed(parts: Sequence[np.ndarray | None], rows: Sequence[Row], unit: str) -> Estimate | None:
    """Return the mean over seeds with an interval over seeds and images; None where a seed does not tell its images."""
    told = [part for part in parts if part is not None]
    if len(told) < len(parts) or len({len(part) for part in told}) > 1:
        return None
    return crossed(np.stack(told), unit, min(row.n for row in rows))
