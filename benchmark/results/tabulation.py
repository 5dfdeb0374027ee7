"""From verdicts to tables. docs/measures.md says what the columns mean."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmark.cells import Answers, ArtifactResult, Cell, CellResult
from benchmark.metrics.metric import Metric
from benchmark.names import CLEAN, CellName, ProbeName
from benchmark.results.asking import Asking
from benchmark.results.comparisons import comparisons_of
from benchmark.results.curves import (
    budget_curves,
    curves_frame,
    distance_curve,
    panel_points,
    path_curves,
    planes,
    score_curves,
)
from benchmark.results.frames import (
    alarms_frame,
    artifacts_frame,
    groups_frame,
    metrics_frame,
    probes_frame,
    trust_frame,
)
from benchmark.results.groups import groups_of, standing_in
from benchmark.results.measures import Row, measured, over_seeds
from benchmark.results.references import References
from benchmark.results.samples import Blocks, Names, sample_columns, samples_frame
from benchmark.results.subjects import marks_by_name, subjects_of
from benchmark.results.tables import Tables
from benchmark.suite import Published
from benchmark.trust.alarms import raised
from benchmark.trust.marks import Marks
from benchmark.trust.probes import probed

if TYPE_CHECKING:
    from benchmark.panel import Panel


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
    rows: Sequence[Row]
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
        self._measures, self._points = Asking("measure"), Asking("panel")
        self._over_seeds = Asking("interval over seeds of measure")
        self._arrays = _Arrays()
        self._added: dict[int, _Tabulated] = {}

    def add(self, number: int, result: CellResult) -> None:
        """Compute what a cell by itself brings into the tables.

        Args:
            number: of the cell, in the order in which the rows shall stand; what was added by it before is replaced.
            result: done or not.
        """
        kept, point = self._arrays.of(result), result.name()
        problems: dict[str, str] = {}
        # The result's own cell has details yet; they are not kept.
        whole = None if kept.cell is None else result.cell
        scope = "clean" if result.attack == CLEAN else "attack"
        rows = measured(point, scope, result.status, [whole], self._metrics, self._measures, problems)
        samples: dict[str, Any] | None = None
        curves: list[tuple[str, dict[str, Any]]] = []
        if kept.cell is not None:
            samples = sample_columns(kept.cell)
            curves += [*score_curves(kept.cell), *distance_curve(kept.cell), *planes(kept.cell)]
            curves += path_curves(result)
            curves += panel_points(point, result, self._panels, self._points, problems)
        self._added[number] = _Tabulated(kept, rows, samples, curves, problems)

    def tables(
        self,
        groups: Mapping[str, Sequence[str]],
        published: Iterable[Published],
        artifacts: Sequence[ArtifactResult] = (),
        probes: Sequence[ProbeName] = (),
    ) -> Tables:
        """Return the tables of the cells that were added; equal cells give equal tables, row by row.

        Args:
            groups: label -> attacks whose worst case is measured. Empty: per data set, model and knowledge one group
                for each norm and budget that several attacks share, and one of all attacks.
            published: numbers to show beside; of several that fit, the one that says most is shown.
            artifacts: measured shared artifacts, in the order in which their rows shall stand.
            probes: checks of attacks, and for masked gradients, by name.

        """
        known = References(published)
        ordered = [self._added[number] for number in sorted(self._added)]
        results = [one.result for one in ordered]
        rows = [row for one in ordered for row in one.rows]
        problems: dict[str, str] = {}
        samples, curves = Blocks(), Blocks()
        names = Names()
        for one in ordered:
            point = one.result.name()
            for what, text in one.problems.items():
                problems.setdefault(what, text)
            if one.samples is not None:
                codes = names.codes(one.result.sample_ids)
                samples.add(point, {**one.samples, "sample": codes}, len(codes))
            for name, block in one.curves:
                curves.add(point, {**block, "curve": name}, len(block["x"]))
        judged = [*results, *standing_in(results)]
        together = groups_of(judged, groups)
        for group in together:
            cells = [result.cell for result in group.results]
            rows += measured(group.point, "group", group.status, cells, self._metrics, self._measures, problems)
        for point, name, block in budget_curves(results):
            curves.add(point, {**block, "curve": name}, len(block["x"]))
        members: dict[CellName, Sequence[Cell | None]] = {result.name(): [result.cell] for result in results}
        members |= {group.point: [result.cell for result in group.results] for group in together}
        rows += over_seeds(rows, self._metrics, members, self._over_seeds, problems)
        alarms, answered = raised(results), probed(results, probes)
        marks, subjects = Marks(results, alarms, answered), subjects_of(results, judged, together)
        marked = [row for one in subjects if (row := marks.row(one)) is not None]
        return Tables(
            metrics=metrics_frame(rows, known, marks_by_name(marked)),
            samples=samples_frame(samples, names.found),
            curves=curves_frame(curves),
            comparisons=comparisons_of(judged, together),
            groups=groups_frame(together),
            artifacts=artifacts_frame(artifacts, known),
            alarms=alarms_frame(alarms, subjects, marks),
            probes=probes_frame(answered),
            trust=trust_frame(marked),
            raised=tuple(alarms),
            probed=tuple(answered),
            problems=tuple(problems.values()),
        )


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
