"""From runs to what a report shows.

Nothing is computed here that a table of the run does not hold, apart from rounding, differences between two shown
numbers, and sums of costs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bench_report import sentences
from bench_report.cells import CellPages
from bench_report.charts.figures import Figures
from bench_report.checklist.page import Checklist
from bench_report.compare import CompareView, compare_runs
from bench_report.measures import MEASURES, Measure
from bench_report.probes import Probes
from bench_report.reading import read_facts
from bench_report.run_page import RunBuilder, RunView
from benchmark import Panel

if TYPE_CHECKING:
    from benchmark import Run


@dataclass(frozen=True)
class Report:
    """A report: what its first page and the pages of its blocks show; cells, figures and probes, made one by one.

    Attributes:
        tips: of the marks of its numbers, by name: the mark and its reason.
    """

    view: ReportView
    cells: tuple[CellPages, ...]
    figures: tuple[Figures, ...]
    probes: tuple[Probes, ...]
    checklists: tuple[Checklist, ...]
    tips: Mapping[str, tuple[str, str]]


def build_report(
    runs: Sequence[Run], panels: Sequence[Panel] = (), measures: Mapping[str, Measure] | None = None
) -> Report:
    """Return what a report of `runs` shows; several runs are compared. `measures` are those of plugins."""
    measures = measures or {}
    builders = [
        RunBuilder(run, read_facts(run, measures, f"r{number}"), f"r{number}") for number, run in enumerate(runs, 1)
    ]
    tables = [builder.table for builder in builders]
    views = tuple(builder.build() for builder in builders)
    seen = {row.metric.partition(":")[0] for table in tables for row in table.rows}
    protocols = [run.manifest.get("protocol") or {} for run in runs]
    view = ReportView(
        title=sentences.report_title([view.title for view in views]),
        runs=views,
        compare=compare_runs(runs, [builder.facts for builder in builders], views) if len(runs) > 1 else None,
        glossary=tuple(
            replace(known, definition=sentences.definition(known, protocols))
            for name, known in {**MEASURES, **measures}.items()
            if name in seen
        ),
    )
    cells = tuple(
        CellPages(run, table, builder.facts, one.blocks, panels)
        for run, table, builder, one in zip(runs, tables, builders, views)
    )
    checklists = tuple(Checklist(run, builder.facts) for run, builder in zip(runs, builders))
    tips = {term: tip for table in tables for term, tip in table.tips.items()}
    figures = tuple(builder.figures for builder in builders)
    return Report(view, cells, figures, tuple(map(Probes, runs)), checklists, tips)


@dataclass(frozen=True)
class ReportView:
    """The whole report."""

    title: str
    runs: tuple[RunView, ...]
    compare: CompareView | None
    glossary: tuple[Measure, ...]
