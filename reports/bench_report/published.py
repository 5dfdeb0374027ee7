"""Published numbers beside the measured ones, in the layout of the published table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import pandas as pd

from bench_report.measures import FAMILIES, measure
from bench_report.table import Place, Table, as_count, as_number, as_text
from bench_report.view import Estimate, PublishedCell, PublishedTable
from benchmark.results import CLEAN, WORST_OF

AXES = ("dataset", "model", "attack", "defense", "knowledge", "artifact", "metric")
WIDEST = 30
MOST_COLUMNS = 12
"""A second axis joins the columns only where these stay few; one alone may be as wide as `WIDEST`."""


def published_tables(
    table: Table, rows: Sequence[Mapping[str, Any]], artifacts: pd.DataFrame | None
) -> tuple[PublishedTable, ...]:
    """Return the published numbers of a suite, a table for each family of measures.

    Rows are taken to stand in reading order: what changes fastest from row to row makes the columns.
    """
    by_title: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        by_title.setdefault(_title(as_text(row.get("metric"))), []).append(row)
    return tuple(_table(table, title, mine, artifacts) for title, mine in by_title.items())


def _title(metric: str) -> str:
    families = (family.title for family in FAMILIES if metric in (family.clean, family.attack, family.worst))
    return next(families, measure(metric).title)


def _table(
    table: Table, title: str, rows: Sequence[Mapping[str, Any]], artifacts: pd.DataFrame | None
) -> PublishedTable:
    entries: dict[tuple[str, ...], PublishedCell] = {}
    for row in rows:
        value, metric, artifact = as_number(row.get("value")), as_text(row.get("metric")), as_text(row.get("artifact"))
        if value is None:
            continue
        unit = "area" if artifact else measure(metric).unit
        places = [] if artifact else _places(table, row, metric)
        for place in places:
            key: tuple[str, ...] = (*place._replace(attack=place.attack.removeprefix(WORST_OF)), "", metric)
            cell = PublishedCell(value, metric, unit, table.estimate(place, metric), table.page(place))
            entries.setdefault(key, cell)
        if not places:
            measured = _assessed(artifacts, artifact, as_text(row.get("dataset")), metric) if artifact else None
            key = tuple(as_text(row.get(axis)) for axis in AXES)
            entries.setdefault(key, PublishedCell(value, metric, unit, measured, ""))
    keys = list(entries)
    # Where every cell has one measure only, such as accuracy clean and attacked, the measure is no axis.
    axes = range(len(AXES) - (len({key[:-1] for key in keys}) == len(keys)))
    varying = [n for n in axes if len({key[n] for key in keys} - {""}) > 1]
    changes = {n: sum(a[n] != b[n] for a, b in pairwise(keys)) for n in varying}
    in_columns: list[int] = []
    for n in sorted(varying, key=lambda n: -changes[n]):
        wider = [*in_columns, n]
        most = MOST_COLUMNS if in_columns else WIDEST
        if len(wider) < max(len(varying), 2) and len({tuple(key[i] for i in wider) for key in keys}) <= most:
            in_columns = wider
    in_columns.sort(key=changes.__getitem__)
    in_rows = sorted((n for n in varying if n not in in_columns), key=changes.__getitem__)

    def labels(key: tuple[str, ...], chosen: Sequence[int]) -> tuple[str, ...]:
        return tuple("clean" if (AXES[n], key[n]) == ("attack", CLEAN) else key[n] for n in chosen)

    columns = list(dict.fromkeys(labels(key, in_columns) for key in keys))
    heads = list(dict.fromkeys(labels(key, in_rows) for key in keys))
    by_spot = {(labels(key, in_rows), labels(key, in_columns)): cell for key, cell in entries.items()}
    return PublishedTable(
        title=title,
        fixed=tuple((AXES[n], label) for n in axes if n not in varying for label in {key[n] for key in keys} - {""}),
        row_axes=tuple(AXES[n] for n in in_rows),
        columns=tuple(columns),
        rows=tuple((head, tuple(by_spot.get((head, column)) for column in columns)) for head in heads),
    )


def _places(table: Table, row: Mapping[str, Any], metric: str) -> list[Place]:
    """Return the cells that a row is about: it fits everything that it does not name."""
    wanted = {name: text for name in Place._fields if (text := as_text(row.get(name)))}
    found = []
    for place, metrics in table.by_place.items():
        if metric not in metrics:
            continue
        own = place._asdict()
        if own["attack"].startswith(WORST_OF) and wanted.get("attack") != own["attack"]:
            own["attack"] = own["attack"].removeprefix(WORST_OF)
        if all(own[name] == text or (name == "knowledge" and not own[name]) for name, text in wanted.items()):
            found.append(place)
    return found


def _assessed(artifacts: pd.DataFrame | None, artifact: str, dataset: str, metric: str) -> Estimate | None:
    """Return the mean over seeds of a measure of a shared artifact."""
    if artifacts is None:
        return None
    mine = artifacts[(artifacts.artifact == artifact) & (artifacts.metric == metric) & (artifacts.status == "ok")]
    mine = mine[mine.dataset == dataset] if dataset else mine
    if mine.empty:
        return None
    return Estimate(metric, "area", float(mine.value.mean()), None, None, as_count(mine.n.iloc[0]), seeds=len(mine))
