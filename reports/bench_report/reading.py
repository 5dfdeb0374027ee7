"""The tables of a run, read into what pages are made of."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from bench_report.defended import read_defenses
from bench_report.facts import RunFacts
from bench_report.measures import Measure
from bench_report.table import (
    Place,
    Table,
    as_text,
    read_alarms,
    read_axes,
    read_comparisons,
    read_groups,
    read_metrics,
    read_trust,
)
from bench_report.values import AlarmView
from bench_report.words import plural

if TYPE_CHECKING:
    from benchmark import Run


def alarms_by_kind(table: Table) -> tuple[tuple[AlarmView, ...], ...]:
    """Return the alarms of a run, those of one kind together."""
    found: dict[str, list[AlarmView]] = {}
    for alarm in table.alarms():
        found.setdefault(alarm.kind.name, []).append(alarm)
    return tuple(map(tuple, found.values()))


def entries(texts: Iterable[str]) -> list[str]:
    """Return BibTeX entries, each once; a component that rests on several papers gives them as one text."""
    return list(
        dict.fromkeys(
            entry.strip() for text in texts for entry in re.split(r"^(?=@)", text, flags=re.M) if entry.strip()
        )
    )


def failure_list(run: Run) -> list[Mapping[str, Any]]:
    """Return the failures of a run, as its manifest has them."""
    return list(run.manifest.get("failures") or ())


def read_table(run: Run, anchor: str, measures: Mapping[str, Measure]) -> Table:
    """Return the table of a run's measures, by place."""
    failures: dict[Place, str] = {}
    for number, failure in enumerate(failure_list(run), 1):
        for cell in failure.get("cells", ()):
            place = Place(*(as_text(cell.get(name)) for name in Place._fields))
            failures.setdefault(place, f"{anchor}-f{number}")
    rows = read_metrics(run.metrics)
    groups, alarms = read_groups(run.groups, rows), read_alarms(run.alarms)
    bare = [label for label, defense in read_defenses(run.manifest).items() if defense.bare]
    return Table(rows, failures, groups, anchor, measures, alarms, bare, read_trust(run.trust))


def read_facts(run: Run, measures: Mapping[str, Measure], anchor: str = "r1") -> RunFacts:
    """Return the facts of a run. `anchor` is part of its pages' names: that of a report of one run is the default."""
    table = read_table(run, anchor, measures)
    axes, differences = read_axes(table, run.suite), read_comparisons(run.comparisons)
    return RunFacts(table, axes, differences, run.manifest, run.published, run.suite.get("attacks"))


def workers_text(count: Any) -> str:
    """Return how many workers there were."""
    return "" if count is None else plural(int(count), "worker")
