"""From verdicts to tables, and from a run directory back to tables. docs/measures.md says what the columns mean."""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import astuple, dataclass, field, fields, replace
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from benchmark.alarms import Alarm, Attacker, Seen, raised
from benchmark.errors import InputError, TaskError, unknown_name
from benchmark.files import write_whole
from benchmark.metrics import (
    Answers,
    AttackSuccessRate,
    Cell,
    CleanAccuracy,
    Metric,
    MetricValue,
    RobustAccuracy,
    handed,
    initially_right,
    right,
    score_pairs,
    spoilt,
    success_by_distance,
    successful,
    within_budget,
    withstood,
)
from benchmark.options import Budget
from benchmark.probes import Asks, Probed, probed
from benchmark.published import PublishedAttack
from benchmark.rundir import DETAILS, GALLERY, IMAGES, SHEETS, read_manifest
from benchmark.selection import CLEAN, WORST_OF
from benchmark.statistics import (
    Estimate,
    PairedDifference,
    compare_over_seeds,
    compare_paired,
    crossed,
    mean,
    roc_curve,
    spread,
    thin,
)
from benchmark.suite import KNOWLEDGE, ProbeName, is_of_a_cell
from benchmark.trust import MARKS, Marks, Subject, Trusted
from benchmark.wording import for_spreadsheets, printable

if TYPE_CHECKING:
    from benchmark.reporter import Panel

MEAN, STD, CROSSED = SUMMARIES = ("mean", "std", "crossed")
"""What the seed column says where a row is about several seeds: their mean with an interval over seeds, their standard
deviation, and their mean with an interval over seeds and images."""
IDENTITY = ("dataset", "model", "attack", "norm", "eps", "defense", "knowledge", "seed")
METRIC_COLUMNS = (*IDENTITY, "metric", "value", "ci_low", "ci_high", "n", "status", "reference", "trust")
SAMPLE_COLUMNS = (*IDENTITY, "sample", "y", "base_label", "label", "score", "flagged", "success", "perturbation")
PLANE_POINTS, PLANE_CLASSES = 300, 10
"""States of a network that are kept to be drawn, and their classes, at most."""
CURVE_COLUMNS = (*IDENTITY, "curve", "x", "y", "threshold")
COMPARISON_COLUMNS = (
    *(name for name in IDENTITY if name != "defense"),
    "metric",
    "defense_a",
    "defense_b",
    "value_a",
    "value_b",
    "difference",
    "ci_low",
    "ci_high",
    "p_value",
    "n",
    "only_a",
    "only_b",
)
GROUP_COLUMNS = ("dataset", "model", "knowledge", "attack", "member", "norm", "eps")
ARTIFACT_COLUMNS = ("artifact", "dataset", "seed", "metric", "value", "n", "status", "reference")
ALARM_COLUMNS = (*IDENTITY, "alarm", "finding", "value", "against", "n")
PROBE_COLUMNS = tuple(part.name for part in fields(Probed))
TRUST_COLUMNS = tuple(part.name for part in fields(Trusted))
GALLERY_COLUMNS = (
    *IDENTITY,
    "stratum",
    "stratum_n",
    "sample",
    "y",
    "clean",
    "adversarial",
    "perturbation",
    "scale",
    "size",
    "clean_base_label",
    "clean_label",
    "clean_score",
    "clean_flagged",
    "clean_details",
    "base_label",
    "label",
    "score",
    "flagged",
    "details",
    "explanation",
)
SHEET_COLUMNS = (*IDENTITY, "number", "file", "columns", "width", "height", "samples")
DETAIL_COLUMNS = (*IDENTITY, "sample", "details", "explanation")
HEADLINES: dict[str, tuple[str, str]] = {
    "clean": ("clean_accuracy", "joint_clean_accuracy"),
    "attack": ("robust_accuracy", "joint_robust_accuracy"),
    "group": ("worst_case_robust_accuracy", "worst_case_joint_robust_accuracy"),
}
"""Measures of which a cell without a result gets a row, so that it is seen."""
DENSITY_BINS = 40
BARE = ("none", "hardener")
"""Families of defenses without anything beside the network: whoever knows the network knows all of them."""
KNOWING = KNOWLEDGE[:1]
"""Attackers who know the whole defense."""

Status = Literal["ok", "failed", "missing"]


@dataclass(frozen=True)
class CellResult:
    """One cell of the grid, done or not.

    Attributes:
        attack: the suite's label, "none" for the clean cell.
        norm, eps: as the suite writes them, "" in the clean cell (and eps of an unbounded attack).
        status: `missing` is a cell that has not been run.
        reason: one sentence, where it is not ok.
        cell: the arrays, where it is ok.
        sample_ids: name per image.
        details: per-image arrays that explain the verdicts; no table holds them.
        sweep: equal for attacks that differ in nothing but eps, "" where that is not known.
        use: name of the defense's plugin.
        family: of the defense, "" where it is not known.
        attacker: how the adversarial images came to be or would; None in the clean cell, and where it is not known.
        examined: what was asked about the crafting for probes, by what was asked: arrays with a row per image.
        examinations: keys of the tasks that asked, equal for cells that share the answer.
        unasked: probes that have nothing to ask about the attack, and why.
        deployed, victim: what a few images show of the deployed classifier, and of what the attacker held.
        published: attacks by others on the defense.
    """

    dataset: str
    model: str
    attack: str
    defense: str
    knowledge: str
    seed: int
    norm: str
    eps: str
    status: Status
    reason: str
    cell: Cell | None
    sample_ids: Sequence[str]
    details: Mapping[str, np.ndarray]
    sweep: str = ""
    use: str = ""
    family: str = ""
    attacker: Attacker | None = None
    deployed: Seen | None = None
    victim: Seen | None = None
    published: tuple[PublishedAttack, ...] = ()
    examined: Mapping[Asks, Mapping[str, np.ndarray]] = field(default_factory=dict)
    examinations: Mapping[Asks, str] = field(default_factory=dict)
    unasked: Mapping[ProbeName, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ArtifactResult:
    """How good a shared artifact is on the test images of its data set.

    Attributes:
        artifact: the name that a defense uses for it.
        measures: measure -> value and number of images; empty where it has not been measured.
    """

    artifact: str
    dataset: str
    seed: int
    status: Status
    measures: Mapping[str, tuple[float, int]]


@dataclass(frozen=True)
class Tables:
    """The tables of a run.

    Attributes:
        metrics: a row per cell and measure, then per group of attacks, then means and deviations over seeds.
        samples: a row per cell and image.
        curves: points of curves.
        comparisons: paired tests between defenses.
        groups: which attacks a group has, and the budget at which each counts.
        artifacts: a row per shared artifact and measure.
        alarms: a row per alarm and cell whose numbers it puts in doubt, and per group of attacks that it reaches.
        probes: a row per probe that the suite asks for, and defense and attacker, or attacked cell.
        trust: a row per cell, group and defense that has a mark of how far its numbers can be believed.
        raised: the alarms, each once.
        probed: what stands in `probes`.
        problems: measures that could not be computed, and why; their rows have the status `failed`.
    """

    metrics: pd.DataFrame
    samples: pd.DataFrame
    curves: pd.DataFrame
    comparisons: pd.DataFrame
    groups: pd.DataFrame
    artifacts: pd.DataFrame
    alarms: pd.DataFrame
    probes: pd.DataFrame
    trust: pd.DataFrame
    raised: tuple[Alarm, ...] = ()
    probed: tuple[Probed, ...] = ()
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Point:
    """The identity columns of a row."""

    dataset: str
    model: str
    attack: str
    norm: str
    eps: str
    defense: str
    knowledge: str
    seed: str

    def values(self) -> tuple[str, ...]:
        return tuple(getattr(self, name) for name in IDENTITY)


@dataclass(frozen=True)
class _Row:
    """A row of the table of measures."""

    point: _Point
    metric: str
    value: float
    ci_low: float
    ci_high: float
    n: int
    status: Status


def tabulate(
    results: Iterable[CellResult],
    metrics: Mapping[str, Metric],
    groups: Mapping[str, Sequence[str]],
    references: pd.DataFrame | None,
    artifacts: Sequence[ArtifactResult] = (),
    panels: Sequence[Panel] = (),
    probes: Sequence[ProbeName] = (),
) -> Tables:
    """Return the tables of a run whose cells are all there, in the order in which the rows shall stand.

    What is given, and what is raised, `Tabulation` tells.
    """
    tabulation = Tabulation(metrics, panels)
    for number, result in enumerate(results):
        tabulation.add(number, result)
    return tabulation.tables(groups, references, artifacts, probes)


@dataclass(frozen=True)
class _Tabulated:
    """What a cell by itself brings into the tables.

    Attributes:
        result: with the arrays that are kept.
        rows: its measures.
        samples: columns of its images but for their names, None where it has no result.
        curves: name and columns.
        problems: what could not be computed, and why.
    """

    result: CellResult
    rows: Sequence[_Row]
    samples: Mapping[str, Any] | None
    curves: Sequence[tuple[str, dict[str, Any]]]
    problems: Mapping[str, str]


class Tabulation:
    """Makes the tables of a run; its cells may be added in any order, as they are finished.

    Args:
        metrics: by name, in the order in which the rows shall stand.
        panels: what plugins add to the report; the points that they keep of a cell go to the curves.
    """

    def __init__(self, metrics: Mapping[str, Metric], panels: Sequence[Panel] = ()) -> None:
        self._metrics, self._panels = metrics, panels
        self._arrays = _Arrays()
        self._added: dict[int, _Tabulated] = {}

    def add(self, number: int, result: CellResult) -> None:
        """Compute what a cell by itself brings into the tables.

        Args:
            number: of the cell, in the order in which the rows shall stand; what was added by it before is replaced.
            result: done or not.
        """
        kept, point = self._arrays.of(result), _point(result)
        problems: dict[str, str] = {}
        # The result's own cell has details yet; they are not kept.
        whole = None if kept.cell is None else result.cell
        scope = "clean" if result.attack == CLEAN else "attack"
        rows = _measures(point, scope, result.status, [whole], self._metrics, problems)
        samples: dict[str, Any] | None = None
        curves: list[tuple[str, dict[str, Any]]] = []
        if kept.cell is not None:
            samples = _sample_columns(kept.cell)
            curves += [*_score_curves(kept.cell), *_distance_curve(kept.cell), *_planes(kept.cell)]
            curves += _path_curves(result)
            curves += _points(point, result, self._panels, problems)
        self._added[number] = _Tabulated(kept, rows, samples, curves, problems)

    def tables(
        self,
        groups: Mapping[str, Sequence[str]],
        references: pd.DataFrame | None,
        artifacts: Sequence[ArtifactResult] = (),
        probes: Sequence[ProbeName] = (),
    ) -> Tables:
        """Return the tables of the cells that were added; equal cells give equal tables, row by row.

        Args:
            groups: label -> attacks whose worst case is measured. Empty: per data set, model and knowledge one group
                for each norm and budget that several attacks share, and one of all attacks.
            references: published values: metric, value, and any of dataset, model, attack, defense, knowledge, where
                an empty cell fits everything; of several rows that fit, the one with the fewest empty cells is shown.
                A row with `artifact` is about that artifact instead of a cell.
            artifacts: measured shared artifacts, in the order in which their rows shall stand.
            probes: checks of attacks, and for masked gradients, by name.

        Raises:
            InputError: `references` lacks a column or holds a value that is no number.
        """
        known = _References(references)
        ordered = [self._added[number] for number in sorted(self._added)]
        results = [one.result for one in ordered]
        rows = [row for one in ordered for row in one.rows]
        problems: dict[str, str] = {}
        samples, curves = _Blocks(), _Blocks()
        names = _Names()
        for one in ordered:
            point = _point(one.result)
            for what, text in one.problems.items():
                problems.setdefault(what, text)
            if one.samples is not None:
                codes = names.codes(one.result.sample_ids)
                samples.add(point, {**one.samples, "sample": codes}, len(codes))
            for name, block in one.curves:
                curves.add(point, {**block, "curve": name}, len(block["x"]))
        judged = [*results, *_known(results)]
        together = _groups(judged, groups)
        for group in together:
            cells = [result.cell for result in group.results]
            rows += _measures(group.point, "group", group.status, cells, self._metrics, problems)
        for point, name, block in _budget_curves(results):
            curves.add(point, {**block, "curve": name}, len(block["x"]))
        members: dict[_Point, Sequence[Cell | None]] = {_point(result): [result.cell] for result in results}
        members |= {group.point: [result.cell for result in group.results] for group in together}
        rows += _over_seeds(rows, self._metrics, members, problems)
        alarms, answered = raised(results), probed(results, probes)
        marks, subjects = Marks(results, alarms, answered, BARE), _subjects(results, judged, together)
        marked = [row for one in subjects if (row := marks.row(one)) is not None]
        return Tables(
            metrics=_metrics_frame(rows, known, _marks(marked)),
            samples=_samples_frame(samples, names.found),
            curves=_curves_frame(curves),
            comparisons=_comparisons(judged, together),
            groups=_groups_frame(together),
            artifacts=_artifacts_frame(artifacts, known),
            alarms=_alarms_frame(alarms, subjects, marks),
            probes=_probes_frame(answered),
            trust=_trust_frame(marked),
            raised=tuple(alarms),
            probed=tuple(answered),
            problems=tuple(problems.values()),
        )


def _point(result: CellResult, **changes: str) -> _Point:
    values = {name: str(getattr(result, name)) for name in IDENTITY}
    return _Point(**{**values, **changes})


# -- measures ---------------------------------------------------------------------------------------------------------


def _measures(
    point: _Point,
    scope: str,
    status: Status,
    cells: Sequence[Cell | None],
    metrics: Mapping[str, Metric],
    problems: dict[str, str],
) -> list[_Row]:
    """Return a row per measure of `scope` that is defined; where there is no result, a row per headline measure."""
    of_scope = {name: metric for name, metric in metrics.items() if metric.scope == scope}
    done = [cell for cell in cells if cell is not None]
    if status != "ok" or len(done) < len(cells):
        names = [name for name in of_scope if name in HEADLINES[scope]] or list(of_scope)[:1]
        return [
            _Row(point, name, math.nan, math.nan, math.nan, 0, "failed" if status == "ok" else status) for name in names
        ]
    from benchmark.isolation import Process, isolated  # needs torch, which those who read tables need not wait for

    def ask(name: str, given: list[Cell], alone: bool) -> _Row | None:
        try:
            with isolated("the measure") if alone else nullcontext():
                answer = of_scope[name].compute(given)
            if alone and any(map(spoilt, given, done)):
                raise TaskError("it wrote into the cells that it was handed")
            return None if answer is None else _Row(point, name, *_checked(answer, of_scope[name].unit), "ok")
        except (Exception, SystemExit) as error:  # a measure of a plugin must not cost the run
            reason = str(error) if isinstance(error, TaskError) else f"{type(error).__name__}: {error}"
            problems.setdefault(
                name, f"measure {name!r} failed, first for {' / '.join(filter(None, point.values()))}: {reason}"
            )
            return _Row(point, name, math.nan, math.nan, math.nan, 0, "failed")

    given, before = list(map(handed, done)), Process()
    rows = [ask(name, given, alone=False) for name in of_scope]
    if before.restore() or any(map(spoilt, given, done)):
        # One of them changed what all were handed: each by itself tells which, and what the others say.
        rows = [ask(name, list(map(handed, done)), alone=True) for name in of_scope]
    return list(filter(None, rows))


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


def _over_seeds(
    rows: Sequence[_Row],
    metrics: Mapping[str, Metric],
    cells: Mapping[_Point, Sequence[Cell | None]],
    problems: dict[str, str],
) -> list[_Row]:
    """Return what becomes of the seeds that have a value, where two or more have one: `SUMMARIES`."""
    by_point: dict[tuple[_Point, str], list[_Row]] = {}
    for row in rows:
        if row.status == "ok":
            by_point.setdefault((replace(row.point, seed=""), row.metric), []).append(row)
    summary = []
    for (point, name), found in by_point.items():
        if len(found) < 2:
            continue
        values, metric = [row.value for row in found], metrics[name]
        if math.inf in values:
            summary.append(_Row(replace(point, seed=MEAN), name, math.inf, min(values), math.inf, len(values), "ok"))
            continue
        top = 1.0 if metric.unit in ("rate", "area") else math.inf
        for label, estimate in zip(
            SUMMARIES, (mean(values), spread(values), _crossed(found, metric, cells, problems)), strict=True
        ):
            if estimate is None:
                continue
            low, high = estimate.low, estimate.high
            if label == MEAN:
                low, high = max(low, min(0.0, estimate.value)), min(high, max(top, estimate.value))
            summary.append(_Row(replace(point, seed=label), name, estimate.value, low, high, estimate.n, "ok"))
    return summary


def _crossed(
    rows: Sequence[_Row], metric: Metric, cells: Mapping[_Point, Sequence[Cell | None]], problems: dict[str, str]
) -> Estimate | None:
    """Return the mean over seeds with an interval over seeds and images; None where the measure has no such."""
    parts = []
    for row in rows:
        of_seed = [cell for cell in cells[row.point] if cell is not None]
        try:
            part = metric.contributions(of_seed)
            if part is None:
                return None
            part = np.asarray(part, dtype=np.float64)
            if part.shape != of_seed[0].y.shape or not math.isclose(part.mean(), row.value, rel_tol=1e-6, abs_tol=1e-6):
                raise ValueError(
                    f"the mean of its contributions {part.shape} is {part.mean():.6g} and not {row.value:.6g}"
                )
        except (Exception, SystemExit) as error:  # a measure of a plugin must not cost the run
            problems.setdefault(
                f"{row.metric} over seeds",
                f"measure {row.metric!r} has no interval over seeds and images: {type(error).__name__}: {error}",
            )
            return None
        parts.append(part)
    if len({len(part) for part in parts}) > 1:
        return None
    return crossed(np.stack(parts), metric.unit, min(row.n for row in rows))


class _References:
    """Published values, looked up by the most particular row that fits."""

    columns = ("artifact", "dataset", "model", "attack", "defense", "knowledge")

    def __init__(self, table: pd.DataFrame | None) -> None:
        self._values: dict[tuple[str, ...], dict[tuple[str, ...], float]] = {}
        if table is None or table.empty:
            return
        for needed in ("metric", "value"):
            if needed not in table.columns:
                raise InputError(
                    f"the reference table has no column {needed!r}; it has: {', '.join(map(str, table.columns))}"
                )
        for record in table.to_dict("records"):
            if not (is_of_a_cell({str(name): _text(text) for name, text in record.items()}) and _text(record["value"])):
                continue  # it holds a place in a published table, no more
            given = {name: _text(record.get(name)) for name in self.columns}
            used = tuple(name for name in self.columns if given[name])
            key = (_text(record["metric"]), *(given[name] for name in used))
            try:
                value = float(record["value"])
            except (TypeError, ValueError):
                raise InputError(
                    f"the reference table holds {record['value']!r} as a value; a number is needed"
                ) from None
            self._values.setdefault(used, {}).setdefault(key, value)

    def find(self, row: _Row, artifact: str = "") -> float:
        """Return the published value of a cell's measure, or of an artifact's, or NaN."""
        if row.point.seed == STD:
            return math.nan
        values = {"artifact": artifact, **{name: getattr(row.point, name) for name in self.columns[1:]}}
        for used in sorted(self._values, key=lambda used: (-len(used), used)):
            # A suite names a group by its label alone.
            for attack in (values["attack"], values["attack"].removeprefix(WORST_OF)):
                key = (row.metric, *((values | {"attack": attack})[name] for name in used))
                if key in self._values[used]:
                    return self._values[used][key]
        return math.nan


def _text(value: Any) -> str:
    return "" if value is None or (isinstance(value, float) and math.isnan(value)) or value is pd.NA else str(value)


def _metrics_frame(rows: Sequence[_Row], references: _References, marks: Mapping[_Point, str]) -> pd.DataFrame:
    columns: dict[str, Any] = {
        name: pd.Series([getattr(row.point, name) for row in rows], dtype="str") for name in IDENTITY
    }
    columns["metric"] = pd.Series([row.metric for row in rows], dtype="str")
    for name in ("value", "ci_low", "ci_high"):
        columns[name] = np.array([getattr(row, name) for row in rows], dtype=np.float64)
    columns["n"] = np.array([row.n for row in rows], dtype=np.int64)
    columns["status"] = pd.Series([row.status for row in rows], dtype="str")
    columns["reference"] = np.array([references.find(row) for row in rows], dtype=np.float64)
    columns["trust"] = pd.Series([marks.get(row.point, "") for row in rows], dtype="str")
    return pd.DataFrame(columns, columns=list(METRIC_COLUMNS))


def _artifacts_frame(artifacts: Sequence[ArtifactResult], references: _References) -> pd.DataFrame:
    rows: list[tuple[Any, ...]] = []
    for result in artifacts:
        about = (result.artifact, result.dataset, str(result.seed))
        for name, (value, n) in result.measures.items():
            point = _Point(result.dataset, "", "", "", "", "", "", str(result.seed))
            reference = references.find(_Row(point, name, value, value, value, n, "ok"), result.artifact)
            rows.append((*about, name, value, n, result.status, reference))
        if not result.measures:
            rows.append((*about, "", math.nan, 0, result.status, math.nan))
    types = {"value": "float64", "n": "int64", "reference": "float64"}
    return pd.DataFrame(rows, columns=list(ARTIFACT_COLUMNS)).astype(
        {name: types.get(name, "str") for name in ARTIFACT_COLUMNS}
    )


def _alarms_frame(alarms: Sequence[Alarm], subjects: Sequence[Subject], marks: Marks) -> pd.DataFrame:
    of_alarm: dict[int, list[Subject]] = {}
    for one in subjects if alarms else ():
        for alarm in marks.reaching(one) if one.attack else ():
            of_alarm.setdefault(id(alarm), []).append(one)
    rows: list[tuple[Any, ...]] = []
    for alarm in alarms:
        told = (alarm.kind.name, alarm.finding, alarm.value, alarm.against, alarm.n)
        rows += [(*(getattr(one, name) for name in IDENTITY), *told) for one in of_alarm.get(id(alarm), ())]
    types = {"value": "float64", "against": "float64", "n": "int64"}
    return pd.DataFrame(rows, columns=list(ALARM_COLUMNS)).astype(
        {name: types.get(name, "str") for name in ALARM_COLUMNS}
    )


def _probes_frame(rows: Sequence[Probed]) -> pd.DataFrame:
    numbers = ("value", "ci_low", "ci_high", "p_value")
    types = {**dict.fromkeys(numbers, "float64"), "n": "int64"}
    return pd.DataFrame([astuple(row) for row in rows], columns=list(PROBE_COLUMNS)).astype(
        {name: types.get(name, "str") for name in PROBE_COLUMNS}
    )


# -- trust ------------------------------------------------------------------------------------------------------------


def _subjects(results: Sequence[CellResult], judged: Sequence[CellResult], groups: Sequence[_Group]) -> list[Subject]:
    """Return what is marked: cells and groups with numbers, and each defense under all attacks of an attacker.

    Args:
        judged: `results` and those that stand for an attacker who knows all.
    """
    numbers = {_point(result, norm="", eps=""): number for number, result in enumerate(results)}

    def known(result: CellResult) -> CellResult:
        """Return the cell of the run that a cell of a group is, which may be one for an attacker who knows all."""
        own = _point(result, norm="", eps="")
        stands = result.family in BARE and result.knowledge in KNOWING and own not in numbers
        return results[numbers[replace(own, knowledge="gray-box") if stands else own]]

    def subject(point: _Point, cells: Sequence[CellResult]) -> Subject:
        origins = [known(cell) for cell in cells]
        return Subject(
            **vars(point),
            cells=tuple(cells),
            numbers=tuple(numbers[_point(one, norm="", eps="")] for one in origins),
            tested=tuple(one.knowledge for one in origins),
        )

    found = [subject(_point(result), [result]) for result in results if result.cell is not None]
    found += [subject(group.point, group.results) for group in groups if group.status == "ok"]
    defenses: dict[_Point, list[CellResult]] = {}
    for result in judged:
        if result.attack != CLEAN and result.cell is not None:
            defenses.setdefault(_point(result, attack="", norm="", eps=""), []).append(result)
    return found + [subject(point, cells) for point, cells in defenses.items()]


def _marks(rows: Sequence[Trusted]) -> dict[_Point, str]:
    """Return the mark of each row of the table of measures; what is said of several seeds has the worst of theirs."""
    found: dict[_Point, str] = {}
    for row in rows:
        point = _Point(*(getattr(row, name) for name in IDENTITY))
        for one in (point, *(replace(point, seed=summary) for summary in SUMMARIES)):
            found[one] = min(row.trust, found.get(one, row.trust), key=MARKS.index)
    return found


def _trust_frame(rows: Sequence[Trusted]) -> pd.DataFrame:
    types = {part.name: {"float": "float64", "int": "int64"}.get(str(part.type), "str") for part in fields(Trusted)}
    return pd.DataFrame([astuple(row) for row in rows], columns=list(TRUST_COLUMNS)).astype(types)


# -- cells and groups of cells ----------------------------------------------------------------------------------------


class _Arrays:
    """Holds equal arrays of cells once: attacks share clean answers, defenses share those of the classifier."""

    def __init__(self) -> None:
        self._arrays: dict[tuple[Any, ...], np.ndarray] = {}

    def of(self, result: CellResult) -> CellResult:
        """Return what is kept of a result: its cell where it has one, without details."""
        cell = result.cell if result.status == "ok" else None
        if cell is not None:
            cell = replace(
                cell,
                y=self._once(cell.y),
                clean=self._answers(cell.clean),
                attacked=None if cell.attacked is None else self._answers(cell.attacked),
                perturbation=None if cell.perturbation is None else self._once(cell.perturbation),
            )
        return replace(result, cell=cell, details={})

    def _answers(self, answers: Answers) -> Answers:
        return Answers(
            self._once(answers.base_label),
            self._once(answers.label),
            None if answers.score is None else self._once(answers.score),
            None if answers.flagged is None else self._once(answers.flagged),
        )

    def _once(self, array: np.ndarray) -> np.ndarray:
        array = np.ascontiguousarray(array)
        digest = hashlib.blake2b(array.data, digest_size=16).digest() if array.size else b""
        return self._arrays.setdefault((array.dtype.str, array.shape, digest), array)


class _Names:
    """Numbers the names of images, in the order in which they are met."""

    def __init__(self) -> None:
        self.found: dict[str, int] = {}
        # By identity, which the kept sequence keeps from being used again.
        self._codes: dict[int, tuple[Sequence[str], np.ndarray]] = {}

    def codes(self, names: Sequence[str]) -> np.ndarray:
        """Return the number of each name, (N,) int32."""
        kept = self._codes.get(id(names))
        if kept is None:
            codes = np.array([self.found.setdefault(name, len(self.found)) for name in names], dtype=np.int32)
            kept = self._codes[id(names)] = (names, codes)
        return kept[1]


def _known(results: Sequence[CellResult]) -> list[CellResult]:
    """Return the gray-box cells that stand for an attacker who knows the whole defense too.

    Without a defense, and for a hardener, the network is all there is to know: where others were attacked by somebody
    who knows them, these stand beside them without being run twice. They stand there for all attacks, or for none.
    """
    cells = {tuple(_point(result, norm="", eps="").values()): result for result in results if result.attack != CLEAN}
    attacks: dict[tuple[str, str, str], dict[str, None]] = {}
    for result in cells.values():
        if result.knowledge in KNOWING:
            attacks.setdefault((result.dataset, result.model, result.knowledge), {})[result.attack] = None
    bare = {(r.dataset, r.model, r.defense, r.seed): r for r in results if r.family in BARE}
    found = []
    for (dataset, model, knowledge), wanted in attacks.items():
        for system in (r for r in bare.values() if (r.dataset, r.model) == (dataset, model)):
            point = _point(system, norm="", eps="")
            lacking = [a for a in wanted if tuple(replace(point, attack=a, knowledge=knowledge).values()) not in cells]
            known = [cells.get(tuple(replace(point, attack=a, knowledge="gray-box").values())) for a in lacking]
            if None not in known:
                found += [replace(result, knowledge=knowledge) for result in known if result is not None]
    return found


@dataclass(frozen=True)
class _Group:
    """The cells of one data set, model, defense, knowledge and seed under the attacks of a group.

    Attributes:
        members: attack → norm, and the budget at which it counts; of all attacks of the group, run or not.
    """

    point: _Point
    status: Status
    results: tuple[CellResult, ...]
    members: Mapping[str, tuple[str, str]]


def _groups(results: Sequence[CellResult], named: Mapping[str, Sequence[str]]) -> list[_Group]:
    """Return the groups of attacks, an incomplete one with the status of what it lacks."""
    attacks: dict[tuple[str, ...], dict[str, CellResult]] = {}  # planned for any defense
    of_system: dict[tuple[str, ...], dict[str, CellResult]] = {}
    written: dict[tuple[str, float], str] = {}  # budgets that are equal numbers are one, written like the first of them
    for result in results:
        if result.attack != CLEAN:
            if result.eps:
                result = replace(result, eps=written.setdefault((result.norm, Budget(result.eps)), result.eps))
            attacks.setdefault((result.dataset, result.model, result.knowledge), {}).setdefault(result.attack, result)
            key = (result.dataset, result.model, result.knowledge, result.defense, str(result.seed))
            of_system.setdefault(key, {})[result.attack] = result
    found = []
    for system, cells in of_system.items():
        together = attacks[system[:3]]
        for label, wanted in (_named_groups(together, named) if named else _usual_groups(together)).items():
            present = [_at_budget(cells[attack], eps) for attack, eps in wanted.items() if attack in cells]
            if not present:
                continue
            statuses = [result.status for result in present]
            status: Status = (
                "failed"
                if "failed" in statuses
                else "missing"
                if "missing" in statuses or len(present) < len(wanted)
                else "ok"
            )
            norms, budgets = {result.norm for result in present}, {(result.norm, result.eps) for result in present}
            point = _point(
                present[0],
                attack=WORST_OF + label,
                norm=present[0].norm if len(norms) == 1 else "",
                eps=present[0].eps if len(budgets) == 1 else "",
            )
            members = {a: (together[a].norm if a in together else "", eps) for a, eps in wanted.items()}
            found.append(_Group(point, status, tuple(present), members))
    return found


def _usual_groups(attacks: Mapping[str, CellResult]) -> dict[str, dict[str, str]]:
    """Return a group per norm and budget and one of all attacks: label → attack → the budget that it counts at."""
    budgets = dict.fromkeys((result.norm, result.eps) for result in attacks.values() if result.eps)
    groups = {
        f"{norm} {eps}": _counted(r for r in attacks.values() if r.norm == norm and r.eps in (eps, ""))
        for norm, eps in budgets
    }
    groups["all attacks"] = _counted(attacks.values())
    return {label: members for label, members in groups.items() if len(members) > 1}


def _named_groups(attacks: Mapping[str, CellResult], named: Mapping[str, Sequence[str]]) -> dict[str, dict[str, str]]:
    found = {}
    for label, members in named.items():
        counted = _counted(attacks[attack] for attack in members if attack in attacks)
        # An attack that is planned nowhere here stays a member, so that the group is seen to lack it.
        found[label] = {a: counted.get(a, "") for a in members if a in counted or a not in attacks}
    return found


def _counted(members: Iterable[CellResult]) -> dict[str, str]:
    """Return attack → the budget that it counts at in a group: without its own, the group's largest in its norm.

    An attack without a budget would win every worst case; where the group has none in its norm it is no member.
    """
    members = list(members)
    largest: dict[str, str] = {}
    for result in members:
        if result.eps and (result.norm not in largest or Budget(result.eps) > Budget(largest[result.norm])):
            largest[result.norm] = result.eps
    return {r.attack: r.eps or largest[r.norm] for r in members if r.eps or r.norm in largest}


def _at_budget(result: CellResult, eps: str) -> CellResult:
    """Return a result as it counts at a budget; one with a budget of its own is as it is."""
    if result.eps or not eps:
        return result
    cell = None if result.cell is None else within_budget(result.cell, float(Budget(eps)))
    return replace(result, eps=eps, cell=cell)


def _groups_frame(groups: Sequence[_Group]) -> pd.DataFrame:
    rows = {
        (point.dataset, point.model, point.knowledge, point.attack, attack, norm, eps): None
        for point, members in ((group.point, group.members) for group in groups)
        for attack, (norm, eps) in members.items()
    }
    return pd.DataFrame(list(rows), columns=list(GROUP_COLUMNS)).astype("str")


# -- samples ----------------------------------------------------------------------------------------------------------


class _Blocks:
    """Columns put together from blocks of rows that share their identity."""

    def __init__(self) -> None:
        self._points: list[_Point] = []
        self._lengths: list[int] = []
        self._columns: list[dict[str, Any]] = []

    def add(self, point: _Point, columns: dict[str, Any], length: int) -> None:
        self._points.append(point)
        self._lengths.append(length)
        self._columns.append(columns)

    def identity(self) -> dict[str, pd.Categorical]:
        """Return the identity columns."""
        return {name: self._repeated([getattr(point, name) for point in self._points]) for name in IDENTITY}

    def constant(self, name: str) -> pd.Categorical:
        """Return a column that holds one text per block."""
        return self._repeated([columns[name] for columns in self._columns])

    def numbers(self, name: str, dtype: Any) -> np.ndarray:
        """Return a column of numbers; a block without it gives zeros (see `mask`)."""
        out = np.zeros(sum(self._lengths), dtype=dtype)
        start = 0
        for columns, length in zip(self._columns, self._lengths, strict=True):
            if columns.get(name) is not None:
                out[start : start + length] = columns[name]
            start += length
        return out

    def mask(self, name: str) -> np.ndarray:
        """Return which rows have no value in a column, (rows,) bool."""
        return np.repeat([columns.get(name) is None for columns in self._columns], self._lengths).astype(bool)

    def _repeated(self, values: list[str]) -> pd.Categorical:
        numbers = {value: number for number, value in enumerate(dict.fromkeys(values))}
        codes = np.array([numbers[value] for value in values], dtype=np.min_scalar_type(-max(len(numbers), 1)))
        return pd.Categorical.from_codes(
            np.repeat(codes, self._lengths), categories=pd.Index(list(numbers), dtype="str")
        )


def _sample_columns(cell: Cell) -> dict[str, Any]:
    """Return the columns of a cell's images; of a randomised defense, the first of its judgements."""
    answers = cell.clean if cell.attacked is None else cell.attacked
    return {
        "y": cell.y,
        "base_label": answers.base_label,
        "label": np.atleast_2d(answers.label)[0],
        "score": None if answers.score is None else np.atleast_2d(answers.score)[0],
        "flagged": None if answers.flagged is None else np.atleast_2d(answers.flagged)[0],
        "success": None if cell.attacked is None else successful(cell),
        "perturbation": cell.perturbation,
    }


def _samples_frame(blocks: _Blocks, names: Mapping[str, int]) -> pd.DataFrame:
    columns: dict[str, Any] = dict(blocks.identity())
    codes = blocks.numbers("sample", np.int32)
    columns["sample"] = pd.Categorical.from_codes(codes, categories=pd.Index(list(names), dtype="str"))
    for name in ("y", "base_label", "label"):
        columns[name] = pd.arrays.IntegerArray(blocks.numbers(name, np.int32), blocks.mask(name))
    for name in ("score", "perturbation"):
        columns[name] = pd.arrays.FloatingArray(blocks.numbers(name, np.float64), blocks.mask(name))
    for name in ("flagged", "success"):
        columns[name] = pd.arrays.BooleanArray(blocks.numbers(name, bool), blocks.mask(name))
    return pd.DataFrame(columns, columns=list(SAMPLE_COLUMNS), copy=False)


# -- curves -----------------------------------------------------------------------------------------------------------


def _planes(cell: Cell) -> Iterable[tuple[str, dict[str, np.ndarray]]]:
    """Yield the states of some images in the plane of their layer by class, and the shares of variance of its axes."""
    for layer, plane in cell.planes.items():
        classes = np.unique(cell.y)[:PLANE_CLASSES]
        most = max(PLANE_POINTS // len(classes), 1)
        for one in classes:
            own = np.flatnonzero(cell.y == one)
            chosen = np.sort(np.random.default_rng(0).permutation(own)[:most])  # the same images of every network
            yield f"plane:{layer}: class {one}", dict(zip("xy", plane.points[chosen].T.astype(np.float64)))
        yield f"plane:{layer}: shares", {"x": np.array([1.0, 2.0]), "y": plane.shares.astype(np.float64)}


def _path_curves(result: CellResult) -> Iterable[tuple[str, dict[str, np.ndarray]]]:
    """Yield the margin along the way of the attack over the images of the sample: its median and its quartiles."""
    path = result.examined.get("path")
    if path is None:
        return
    # Whoever has ended stays where he is.
    margin = pd.DataFrame(path["margin"]).ffill(axis=1).to_numpy(dtype=np.float64)
    margin = margin[:, np.isfinite(margin).any(0)]
    kept = np.unique(np.linspace(0, margin.shape[1] - 1, 200).round().astype(int))
    if margin.size:
        quartiles = np.nanquantile(margin[:, kept], (0.5, 0.25, 0.75), axis=0)
        for name, values in zip(("", "_low", "_high"), quartiles, strict=True):
            yield f"margin_per_pass{name}", {"x": kept + 1.0, "y": values}


def _distance_curve(cell: Cell) -> Iterable[tuple[str, dict[str, np.ndarray]]]:
    """Yield attack success over the distance of an attack without a budget, at most some 200 points of it."""
    found = success_by_distance(cell) if cell.attacked is not None and cell.eps is None else None
    if found is None or len(found[0]) == 0:
        return
    distances, share = found
    kept = np.unique(np.linspace(0, len(distances) - 1, 200).round().astype(int))
    x, y = np.append(0.0, distances[kept]), np.append(0.0, share[kept])
    yield "success_vs_distance", {"x": x, "y": y}


def _score_curves(cell: Cell) -> Iterable[tuple[str, dict[str, np.ndarray]]]:
    """Yield ROC curves and score histograms of an attacked cell whose defense has scores without NaN."""
    if cell.attacked is None or cell.attacked.score is None or cell.clean.score is None:
        return
    if np.isnan(cell.attacked.score).any() or np.isnan(cell.clean.score).any():
        return  # the measures say so
    for name, all_attacks in (("roc", False), ("roc_all", True)):
        pairs = score_pairs(cell, all_attacks=all_attacks)
        if pairs is not None:
            roc = thin(roc_curve(pairs.adversarial, pairs.clean))
            yield name, {"x": roc.fpr, "y": roc.tpr, "threshold": roc.threshold}
    adversarial, clean = np.atleast_2d(cell.attacked.score), np.atleast_2d(cell.clean.score)
    success, before = successful(cell), initially_right(cell)
    kinds = {"clean": clean, "success": adversarial[:, success]}
    kinds |= {"failed": adversarial[:, ~success & before], "wrong": adversarial[:, ~success & ~before]}
    finite = np.concatenate([clean.ravel(), adversarial.ravel()])
    finite = finite[np.isfinite(finite)]
    if finite.size == 0:
        return
    # A few far outliers must not squeeze everything else into one bin; they are counted in the outermost bins.
    low, high = np.quantile(finite, [0.005, 0.995])
    edges = np.histogram_bin_edges([low, high], bins=DENSITY_BINS, range=(low, high))
    centres = (edges[1:] + edges[:-1]) / 2
    for kind, values in kinds.items():
        if values.size:
            counts, _ = np.histogram(values.clip(edges[0], edges[-1]), bins=edges)
            yield f"score_density_{kind}", {"x": centres, "y": counts}


def _points(
    point: _Point, result: CellResult, panels: Sequence[Panel], problems: dict[str, str]
) -> Iterable[tuple[str, dict[str, np.ndarray]]]:
    """Yield what the panels keep of a cell."""
    from benchmark.isolation import isolated

    assert result.cell is not None
    for panel in panels:
        try:
            with isolated("it"):
                kept = panel.points(result.use, handed(result.cell))
            for name, (x, y) in kept.items():
                block = {"x": np.asarray(x, dtype=np.float64), "y": np.asarray(y, dtype=np.float64)}
                if block["x"].ndim != 1 or block["x"].shape != block["y"].shape:
                    raise ValueError(f"{name!r}: x {block['x'].shape} and y {block['y'].shape} are not (n,) each")
                yield f"{panel.title}: {name}", block
        except Exception as error:  # a panel of a plugin must not cost the run
            problems.setdefault(
                f"panel {panel.title}",
                f"panel {panel.title!r} failed, first for {' / '.join(filter(None, point.values()))}: "
                f"{type(error).__name__}: {error}",
            )


def _budget_curves(results: Sequence[CellResult]) -> Iterable[tuple[_Point, str, dict[str, np.ndarray]]]:
    """Yield accuracy and success over eps at each of the attacks that differ in nothing else; at 0: clean images."""
    sweeps: dict[tuple[str, ...], list[CellResult]] = {}
    for result in results:
        if result.sweep and result.cell is not None and result.cell.eps is not None:
            key = (result.dataset, result.model, result.defense, result.knowledge, str(result.seed), result.norm)
            sweeps.setdefault((*key, result.sweep), []).append(result)
    for members in sweeps.values():
        by_eps = {r.cell.eps: r for r in members if r.cell is not None and r.cell.eps is not None}
        if len(by_eps) < 2:
            continue
        ordered = [by_eps[eps] for eps in sorted(by_eps)]
        cells = [result.cell for result in ordered if result.cell is not None]
        clean = CleanAccuracy().compute([replace(cells[0], attacked=None)])
        accuracy = [None if a is None else a.value for a in (clean, *(RobustAccuracy().compute([c]) for c in cells))]
        success = [0.0, *(None if a is None else a.value for a in (AttackSuccessRate().compute([c]) for c in cells))]
        x = np.array([0.0, *sorted(by_eps)])
        for name, values in (("accuracy_vs_eps", accuracy), ("success_vs_eps", success)):
            if None not in values:
                for result in members:
                    yield _point(result), name, {"x": x, "y": np.array(values, dtype=np.float64)}


def _curves_frame(blocks: _Blocks) -> pd.DataFrame:
    columns: dict[str, Any] = dict(blocks.identity())
    columns["curve"] = blocks.constant("curve")
    columns["x"] = blocks.numbers("x", np.float64)
    columns["y"] = blocks.numbers("y", np.float64)
    threshold = blocks.numbers("threshold", np.float64)
    threshold[blocks.mask("threshold")] = np.nan
    columns["threshold"] = threshold
    return pd.DataFrame(columns, columns=list(CURVE_COLUMNS), copy=False)


# -- comparisons ------------------------------------------------------------------------------------------------------


@dataclass
class _System:
    """What a defense did on each image: shares of repeats, (N,) each."""

    defense: str
    sample_ids: Sequence[str]
    measured: dict[str, np.ndarray]
    rejects: bool


def _comparisons(results: Sequence[CellResult], groups: Sequence[_Group]) -> pd.DataFrame:
    """Return paired tests between every two defenses on the same images under the same attack or group of attacks."""
    points: dict[_Point, list[_System]] = {}
    for result in results:
        if result.cell is not None:
            names = HEADLINES["clean" if result.attack == CLEAN else "attack"]
            _enter(points, _point(result), result.sample_ids, names, [result.cell])
    for group in groups:
        if group.status == "ok":
            cells = [result.cell for result in group.results if result.cell is not None]
            _enter(points, group.point, group.results[0].sample_ids, HEADLINES["group"], cells)
    rows: list[dict[str, Any]] = []

    def add(point: _Point, name: str, pair: tuple[str, str], a: np.ndarray, b: np.ndarray, p: PairedDifference) -> None:
        rows.append(
            {
                **{column: getattr(point, column) for column in IDENTITY if column != "defense"},
                "metric": name,
                "defense_a": pair[0],
                "defense_b": pair[1],
                "value_a": float(a.mean()),
                "value_b": float(b.mean()),
                "difference": p.difference,
                "ci_low": p.low,
                "ci_high": p.high,
                "p_value": p.p_value,
                "n": p.n,
                "only_a": p.only_first,
                "only_b": p.only_second,
            }
        )

    # By seed, what each of two defenses did on the images that both judged.
    seeds: dict[tuple[_Point, str, tuple[str, str]], list[tuple[list[str], np.ndarray, np.ndarray]]] = {}
    for point, systems in points.items():
        for a, b in combinations(systems, 2):
            first, second = _common(a.sample_ids, b.sample_ids)
            for name in a.measured:
                joint = name in (HEADLINES["clean"][1], HEADLINES["attack"][1], HEADLINES["group"][1])
                if (joint and not (a.rejects or b.rejects)) or len(first) == 0:
                    continue
                of_a, of_b = a.measured[name][first], b.measured[name][second]
                pair = (a.defense, b.defense)
                add(point, name, pair, of_a, of_b, compare_paired(of_a, of_b))
                images = [a.sample_ids[place] for place in first]
                seeds.setdefault((replace(point, seed=CROSSED), name, pair), []).append((images, of_a, of_b))
    for (point, name, pair), found in seeds.items():
        if len(found) > 1 and all(images == found[0][0] for images, _, _ in found):
            every_a, every_b = np.stack([a for _, a, _ in found]), np.stack([b for _, _, b in found])
            add(point, name, pair, every_a, every_b, compare_over_seeds(every_a, every_b))
    frame = pd.DataFrame(rows, columns=list(COMPARISON_COLUMNS))
    numbers = ("value_a", "value_b", "difference", "ci_low", "ci_high", "p_value")
    counts = ("n", "only_a", "only_b")
    kinds = dict.fromkeys(numbers, "float64") | dict.fromkeys(counts, "int64")
    return frame.astype({name: kinds.get(name, "str") for name in COMPARISON_COLUMNS})


def _enter(
    points: dict[_Point, list[_System]],
    point: _Point,
    sample_ids: Sequence[str],
    names: tuple[str, str],
    cells: Sequence[Cell],
) -> None:
    """Add a defense to those that are compared at the point; under several attacks, by its worst case per image."""
    answers = [cell.clean if cell.attacked is None else cell.attacked for cell in cells]
    labels = [right(answer, cell.y).mean(0) for answer, cell in zip(answers, cells, strict=True)]
    joint = [withstood(cell).mean(0) for cell in cells]
    measured = {names[0]: np.min(labels, axis=0), names[1]: np.min(joint, axis=0)}
    rejects = any(answer.flagged is not None for answer in answers)
    system = _System(point.defense, sample_ids, measured, rejects)
    points.setdefault(replace(point, defense=""), []).append(system)


def _common(a: Sequence[str], b: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return the places of the images that both have, in the order of the first."""
    if a is b or list(a) == list(b):
        return np.arange(len(a)), np.arange(len(a))
    places = {name: place for place, name in enumerate(b)}
    both = [(place, places[name]) for place, name in enumerate(a) if name in places]
    return np.array([i for i, _ in both], dtype=int), np.array([j for _, j in both], dtype=int)


# -- files ------------------------------------------------------------------------------------------------------------

TABLES: dict[str, tuple[str, ...]] = {
    "samples": SAMPLE_COLUMNS,
    "curves": CURVE_COLUMNS,
    "comparisons": COMPARISON_COLUMNS,
    "groups": GROUP_COLUMNS,
    "metrics": METRIC_COLUMNS,
    "artifacts": ARTIFACT_COLUMNS,
    "alarms": ALARM_COLUMNS,
    "probes": PROBE_COLUMNS,
    "trust": TRUST_COLUMNS,
    "costs": (
        "kind",
        "key",
        "label",
        "status",
        "cached",
        "seconds",
        "images",
        "forward",
        "backward",
        "peak_memory_bytes",
    ),
}
"""Tables of a run directory, each a Parquet file of that name, and the columns that they have at least."""
FORMATS = ("csv", "parquet", "json")


def write_tables(tables: Tables, folder: Path, key: str = "") -> None:
    """Write the tables as Parquet into a run directory, each whole or not at all; equal tables give equal bytes.

    `key` says what they were made from: the suite, and the keys of all artifacts that answer it.

    Raises:
        OSError: they cannot be written.
    """
    for name in ("samples", "curves", "comparisons", "groups", "artifacts", "alarms", "probes", "trust", "metrics"):
        write_whole(folder / f"{name}.parquet", parquet(getattr(tables, name), key))


def parquet(frame: pd.DataFrame, key: str) -> bytes:
    """Return a table as Parquet; `key` is read back as `frame.attrs["key"]`."""
    buffer = io.BytesIO()
    frame = frame.copy(deep=False)
    frame.attrs = {"key": key} if key else {}
    frame.to_parquet(buffer, engine="pyarrow", index=False, compression="zstd")
    return buffer.getvalue()


@dataclass
class Run:
    """A run directory, read as it is asked for; what is read is verified against its checksum.

    Attributes:
        path: the folder.
        manifest: what was run, where, with which versions, and how it ended.
    """

    path: Path
    manifest: dict[str, Any] = field(repr=False)

    @property
    def key(self) -> str:
        """What the tables were made from: a digest of the suite and of all artifacts that answer it."""
        return str(self.manifest.get("key", ""))

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """Measures: a row per cell and measure."""
        return self.table("metrics")

    @cached_property
    def samples(self) -> pd.DataFrame:
        """Verdicts: a row per cell and image."""
        return self.table("samples")

    @cached_property
    def curves(self) -> pd.DataFrame:
        """Points of curves."""
        return self.table("curves")

    @cached_property
    def comparisons(self) -> pd.DataFrame:
        """Paired tests between defenses."""
        return self.table("comparisons")

    @cached_property
    def groups(self) -> pd.DataFrame:
        """Groups of attacks: a row per group and attack in it, with the budget at which it counts."""
        return self.table("groups")

    @cached_property
    def artifacts(self) -> pd.DataFrame:
        """Measures of shared artifacts: a row per artifact and measure."""
        return self.table("artifacts")

    @cached_property
    def alarms(self) -> pd.DataFrame:
        """Signs that a number does not mean what it seems to: a row per alarm and cell."""
        return self.table("alarms")

    @cached_property
    def probes(self) -> pd.DataFrame:
        """Checks of attacks and defenses: a row per probe that the suite asks for, and attacked cell or attacker."""
        return self.table("probes")

    @cached_property
    def trust(self) -> pd.DataFrame:
        """How far numbers can be believed: a row per cell, group of attacks and defense (`attack` is "")."""
        return self.table("trust")

    @cached_property
    def gallery(self) -> pd.DataFrame:
        """Images that the report shows first: a row per cell, stratum and image; files lie in the folder `images`."""
        return self._pictured(GALLERY, GALLERY_COLUMNS)

    @cached_property
    def sheets(self) -> pd.DataFrame:
        """All images, many in one file: a row per cell and sheet.

        Where `attack` and `defense` are empty, the sheets have the clean images of the data set, and `samples` their
        names in order, as JSON; the sheets of an attacked cell have its versions of the same images at the same
        places. Images stand row by row, `columns` in a row, each `width` × `height` pixels.
        """
        return self._pictured(SHEETS, SHEET_COLUMNS)

    @cached_property
    def details(self) -> pd.DataFrame:
        """What explains the verdicts on images in sheets: a row per cell and image, `details` as JSON."""
        return self._pictured(DETAILS, DETAIL_COLUMNS)

    def _pictured(self, name: str, columns: Sequence[str]) -> pd.DataFrame:
        if "finished" in self.manifest and name not in self._sums:
            return pd.DataFrame(columns=list(columns))
        return self._read(name, columns)

    def image(self, name: str) -> bytes:
        """Return a file that the gallery names: an image as PNG, or an explanation as JSON.

        Raises:
            InputError: it is missing or damaged.
        """
        path = self.path / IMAGES / name
        try:
            content = path.read_bytes()
        except OSError as error:
            raise self._damaged(path, error) from None
        if content_name(content, path.suffix) != name:
            raise self._damaged(path, "its checksum differs")
        return content

    @cached_property
    def costs(self) -> pd.DataFrame:
        """What each task cost: seconds, images, passes, memory."""
        return self.table("costs")

    @cached_property
    def suite(self) -> dict[str, Any]:
        """The suite as it was resolved."""
        import yaml

        try:
            suite = yaml.safe_load(self.read("suite.yaml").decode())
        except (UnicodeDecodeError, yaml.YAMLError) as error:
            raise self._damaged(self.path / "suite.yaml", error) from None
        if not isinstance(suite, dict):
            raise self._damaged(self.path / "suite.yaml", f"a mapping was expected, found {type(suite).__name__}")
        return suite

    @cached_property
    def journal(self) -> list[dict[str, Any]]:
        """What happened, in order; lines that were torn by a crash are left out."""
        path = self.path / "journal.jsonl"
        try:
            lines = path.read_bytes().splitlines()
        except OSError as error:
            raise self._damaged(path, error) from None
        events = []
        for line in lines:
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if isinstance(event, dict):
                events.append(event)
        return events

    def table(self, name: str) -> pd.DataFrame:
        """Return the table `name`.

        Raises:
            InputError: there is no such table, or its file is missing or damaged.
        """
        if name not in TABLES:
            raise InputError(unknown_name("table", name, TABLES))
        return self._read(f"{name}.parquet", TABLES[name])

    def read(self, name: str) -> bytes:
        """Return the content of a file with results, or of `suite.yaml`.

        Raises:
            InputError: the run has not come to its end, or the file is missing or damaged.
        """
        path = self.path / name
        if name not in self._sums:
            started = self.manifest.get("started", "at some time")
            why = self.manifest.get("ended_by")
            how = "is at work, or was stopped before it came to its end" if why is None else f"ended early: {why}"
            raise InputError(
                f"the run in {str(self.path)!r} has no {name}: it was started {started} and {how.rstrip('.')}. "
                f"{self._cure('goes on with it')}"
            )
        try:
            content = path.read_bytes()
        except OSError as error:
            raise self._damaged(path, error) from None
        if hashlib.sha256(content).hexdigest() != self._sums[name]:
            raise self._damaged(path, "its checksum differs")
        return content

    @property
    def _sums(self) -> dict[str, str]:
        sums: dict[str, str] = self.manifest.get("files", {})
        return sums

    def _read(self, name: str, columns: Sequence[str]) -> pd.DataFrame:
        content = self.read(name)
        try:
            frame = pd.read_parquet(io.BytesIO(content), engine="pyarrow")
        except Exception as error:  # pyarrow raises many kinds for a file that is not what it should be
            raise self._damaged(self.path / name, error) from None
        lacking = [column for column in columns if column not in frame.columns]
        if lacking:
            raise self._damaged(self.path / name, f"it lacks the columns {', '.join(lacking)}")
        return frame

    def _damaged(self, path: Path, what: object) -> InputError:
        return _damaged(path, what, self._cure("writes it anew, from the cache"))

    def _cure(self, does: str) -> str:
        command = [str(word) for word in self.manifest.get("command") or ("bench", "run", "SUITE")]
        kept = [
            word
            for before, word in zip(["", *command], command)
            if "--output" not in (before, word) and not word.startswith("--output=")
        ]
        # Where it lies now: the folder may have been moved or copied since.
        return f"The same command {does}: `{shlex.join([*kept, '--output', str(self.path)])}`."


def _damaged(path: Path, what: object, cure: str) -> InputError:
    if isinstance(what, FileNotFoundError):
        return InputError(f"{str(path)!r} is missing. {cure}")
    found = f"{type(what).__name__}: {what}" if isinstance(what, Exception) else str(what)
    return InputError(f"{str(path)!r} is damaged ({found.splitlines()[0][:300]}). {cure}")


def content_name(content: bytes, suffix: str) -> str:
    """Return the name of a file that is called by its content."""
    return hashlib.blake2b(content, digest_size=10).hexdigest() + suffix


def load_run(path: str | Path) -> Run:
    """Return the run in a folder; its tables are read when they are asked for.

    Raises:
        InputError: there is no such folder, or no run in it, or its manifest is damaged.
    """
    folder = Path(path)
    manifest = folder / "manifest.json"
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise InputError(f"{str(path)!r} {what}. Give the folder that `bench run` wrote to (--output).")
    if not manifest.exists():
        raise InputError(
            f"{str(path)!r} is no run directory: there is no manifest.json in it. "
            "Give the folder that `bench run` wrote to (--output)."
        )
    try:
        return Run(folder, read_manifest(folder))
    except (OSError, ValueError) as error:
        cure = (
            f"`bench run SUITE --output {shlex.quote(str(folder))}` of the same suite writes it anew, from the cache."
        )
        raise _damaged(manifest, error, cure) from None


def export(run: Run, what: str, format: str, output: Path | None) -> None:
    """Write the table `what` of a run as csv, parquet or json (a list of rows) to a file, or to standard output.

    Numbers are written so that reading them gives the same numbers; what is missing is empty in csv and null in json.
    In csv, texts that a spreadsheet would take for a formula have `'` in front. Texts are UTF-8.

    Raises:
        InputError: unknown table or format, a damaged run, a file that cannot be written, or Parquet on a terminal.
    """
    if format not in FORMATS:
        raise InputError(unknown_name("format", format, FORMATS))
    frame = run.table(what)
    if output is None:
        if format != "parquet":
            _print_text(frame, format)
        elif sys.stdout.isatty():
            raise InputError("parquet is no text for a terminal: name a file by -o FILE, or redirect the output.")
        else:
            sys.stdout.buffer.write(parquet(frame, run.key))
        sys.stdout.flush()
        return
    try:
        if format == "parquet":
            write_whole(output, parquet(frame, run.key))
        else:
            aside = output.with_name(f".{output.name}.aside")
            with open(aside, "w", encoding="utf-8", newline="") as file:
                _write_text(frame, format, file)
            os.replace(aside, output)
    except OSError as error:
        raise InputError(
            f"{str(output)!r} cannot be written: {error.strerror or error}. Give another -o FILE."
        ) from None


def csv_text(frame: pd.DataFrame) -> str:
    """Return a table as CSV; texts that a spreadsheet would take for a formula have `'` in front."""
    frame = frame.copy(deep=False)
    for name in frame.columns:
        if not (pd.api.types.is_numeric_dtype(frame[name]) or pd.api.types.is_bool_dtype(frame[name])):
            frame[name] = frame[name].map(for_spreadsheets)
    text: str = frame.to_csv(index=False, lineterminator="\n")
    return text


def _print_text(frame: pd.DataFrame, format: str) -> None:
    text = io.StringIO()
    _write_text(frame, format, text)
    if sys.stdout.isatty() or not hasattr(sys.stdout, "buffer"):
        sys.stdout.write(printable(text.getvalue()))
    else:  # data for another program: the same bytes whatever the terminal's encoding
        sys.stdout.flush()
        sys.stdout.buffer.write(text.getvalue().encode())


def _write_text(frame: pd.DataFrame, format: str, stream: IO[str]) -> None:
    if format == "csv":
        stream.write(csv_text(frame))
        return
    stream.write("[")
    for start in range(0, len(frame), 10_000):
        part = frame.iloc[start : start + 10_000]
        columns = [[_json_value(value) for value in part[name].tolist()] for name in frame.columns]
        for number, values in enumerate(zip(*columns, strict=True)):
            stream.write("\n" if start + number == 0 else ",\n")
            stream.write(json.dumps(dict(zip(frame.columns, values, strict=True)), ensure_ascii=False, allow_nan=False))
    stream.write("\n]\n")


def _json_value(value: Any) -> Any:
    if value is None or value is pd.NA or (isinstance(value, float) and not math.isfinite(value)):
        return None
    return value
