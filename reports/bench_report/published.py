"""Published numbers beside the measured ones, in the layout of the published table."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pandas as pd

from bench_report.charts.ladders import Ladder, ladders
from bench_report.measures import FAMILIES, Unit, measure
from bench_report.table import Place, Table, as_count, group_name, is_group
from bench_report.values import Estimate
from bench_report.words import difference_text, number_text
from benchmark import CLEAN, Published

AXES = ("dataset", "model", "attack", "defense", "knowledge", "artifact", "metric")
METRIC = AXES.index("metric")
WIDEST = 30
MOST_COLUMNS = 12
"""A second axis joins the columns only where these stay few; one alone may be as wide as `WIDEST`."""


def published_tables(
    table: Table,
    rows: Sequence[Published],
    artifacts: pd.DataFrame,
    attacks: Mapping[str, Any] | None = None,
) -> tuple[PublishedTable, ...]:
    """Return the published numbers of a suite, a table for each that a row names and each family of measures.

    Where rows say in which row and column of their table they stand, that is the layout. Otherwise they are taken to
    stand in reading order: what changes fastest from row to row makes the columns.

    Args:
        rows: numbers that the suite names.
        attacks: of the suite. Where all attacks of a table are the same few at several values of one number, that
            number is an axis of its own, as papers have it.
    """
    by_title: dict[tuple[str, str], list[Published]] = {}
    for row in rows:
        for name in row.tables:
            title = "" if row.placed else _title(row.metric)
            by_title.setdefault((name, title), []).append(row)
    rungs = ladders(attacks, fewest=2)
    made = (
        _table(table, name, title, mine, artifacts, rungs) if title else _placed(table, name, mine)
        for (name, title), mine in by_title.items()
    )
    return tuple(one for one in made if one is not None)


def _title(metric: str) -> str:
    families = (family.title for family in FAMILIES if metric in (family.clean, family.attack, family.worst))
    return next(families, measure(metric).title)


def _placed(table: Table, name: str, rows: Sequence[Published]) -> PublishedTable | None:
    """Return a table whose rows say where in it they stand; None where nothing of it was run."""
    cells: dict[tuple[tuple[str, ...], tuple[str, ...]], PublishedCell] = {}
    run: set[tuple[str, ...]] = set()
    for row in rows:
        head, column = row.headings
        place = next(iter(_places(table, row)), None) if row.is_of_a_cell else None
        cells[head, column] = _cell(table, place, row.metric, row.value)
        if place is not None:
            run.add(head)
    if not run:
        return None
    heads = _padded(dict.fromkeys(head for head, _ in cells))
    columns = _padded(dict.fromkeys(column for _, column in cells))
    shown = [head for head in heads if head in run]
    titles = dict.fromkeys(_title(row.metric) for row in rows)
    return _laid_out(
        table=name,
        title=", ".join(titles),
        fixed=(),
        row_axes=("",) * len(next(iter(heads.values()))),
        columns=list(columns.values()),
        rows=[(heads[head], [cells.get((head, column)) for column in columns]) for head in shown],
        left_out=_left_out(heads, run),
    )


def _left_out(heads: Iterable[tuple[str, ...]], run: Container[tuple[str, ...]]) -> tuple[str, ...]:
    """Return the rows that were not run; those under one heading by that alone, where none of them was."""
    rows = list(heads)
    begun = {head[0] for head in rows if head in run}
    missing = (head if head[0] in begun else head[:1] for head in rows if head not in run)
    return tuple(dict.fromkeys(", ".join(head) for head in missing))


def _padded(labels: Iterable[tuple[str, ...]]) -> dict[tuple[str, ...], tuple[str, ...]]:
    """Return headings with as many levels as the deepest has."""
    found = list(labels)
    most = max(map(len, found))
    return {label: label + ("",) * (most - len(label)) for label in found}


def _cell(table: Table, place: Place | None, metric: str, value: float | None) -> PublishedCell:
    unit = measure(metric).unit
    if place is None:
        return PublishedCell(value, metric, unit, None, "")
    view = table.cell(place, metric)
    return PublishedCell(value, metric, unit, view.estimate, table.page(place), view.status)


def _laid_out(
    *,
    columns: Sequence[tuple[str, ...]],
    rows: Sequence[tuple[tuple[str, ...], Sequence[PublishedCell | None]]],
    **about: Any,
) -> PublishedTable:
    """Return a table with headings that span what they stand for."""
    beside = _spans([labels for labels, _ in rows])
    estimates = [cell.measured for _, cells in rows for cell in cells if cell is not None and cell.measured is not None]
    counts = {estimate.n for estimate in estimates}
    return PublishedTable(
        **about,
        columns=tuple(columns),
        heads=tuple(tuple(head for _, head in level) for level in _by_level(_spans(columns))),
        rows=tuple(
            PublishedRow(labels, tuple(head for _, head in beside[n]), tuple(cells))
            for n, (labels, cells) in enumerate(rows)
        ),
        n=counts.pop() if len(counts) == 1 else None,
    )


def _spans(labels: Sequence[tuple[str, ...]]) -> list[list[tuple[int, PublishedHead]]]:
    """Return, per label, the headings that begin there with their levels; equal neighbours share all but the last."""
    found: list[list[tuple[int, PublishedHead]]] = []
    for n, label in enumerate(labels):
        begun = []
        for level, text in enumerate(label):
            start = label[: level + 1]
            last = level == len(label) - 1
            if n and not last and labels[n - 1][: level + 1] == start:
                continue
            alike = [other[: level + 1] == start for other in labels[n:]]
            together = 1 if last else [*alike, False].index(False)
            begun.append((level, PublishedHead(text, together)))
        found.append(begun)
    return found


def _by_level(begun: Sequence[Sequence[tuple[int, PublishedHead]]]) -> list[list[tuple[int, PublishedHead]]]:
    deepest = max((level for heads in begun for level, _ in heads), default=-1)
    return [[(at, head) for heads in begun for at, head in heads if at == level] for level in range(deepest + 1)]


def _table(
    table: Table,
    name: str,
    title: str,
    rows: Sequence[Published],
    artifacts: pd.DataFrame,
    rungs: Sequence[Ladder],
) -> PublishedTable:
    entries: dict[tuple[str, ...], PublishedCell] = {}
    key: tuple[str, ...]
    every = [(row, _places(table, row)) for row in rows if not row.artifact]
    any_defense = _defense_is_open(table, every)
    places_of = {id(row): places for row, places in every}
    for row in rows:
        value, metric, artifact = row.value, row.metric, row.artifact
        if value is None:
            continue
        unit = "area" if artifact else measure(metric).unit
        places = places_of.get(id(row), [])
        for place in places:
            shown = place._replace(attack=group_name(place.attack))
            key = (*(shown._replace(defense="") if any_defense else shown), "", metric, "")
            known = entries.get(key)
            if known is None or (known.measured is None and known.published == value):
                entries[key] = _cell(table, place, metric, value)
        if not places:
            measured = _assessed(artifacts, artifact, row.dataset, metric) if artifact else None
            key = (*(getattr(row, axis) for axis in AXES), "")
            entries.setdefault(key, PublishedCell(value, metric, unit, measured, ""))
    option, entries = _by_number(entries, rungs)
    names = (*AXES, option)
    keys = list(entries)
    # Where every cell has one measure only, such as accuracy clean and attacked, the measure is no axis.
    one_measure = len({(*key[:METRIC], *key[METRIC + 1 :]) for key in keys}) == len(keys)
    axes = [n for n in range(len(names)) if n != METRIC or not one_measure]
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
        return tuple("clean" if (names[n], key[n]) == ("attack", CLEAN) else key[n] for n in chosen)

    columns = list(dict.fromkeys(labels(key, in_columns) for key in keys))
    heads = list(dict.fromkeys(labels(key, in_rows) for key in keys))
    by_spot = {(labels(key, in_rows), labels(key, in_columns)): cell for key, cell in entries.items()}
    said = ["data set" if axis == "dataset" else axis for axis in names]
    fixed = ((said[n], label) for n in axes if n not in varying for label in {key[n] for key in keys} - {""})
    return _laid_out(
        table=name,
        title=title,
        fixed=tuple(fixed),
        row_axes=tuple(said[n] for n in in_rows),
        columns=columns,
        rows=[(head, [by_spot.get((head, column)) for column in columns]) for head in heads],
    )


def _defense_is_open(table: Table, every: Sequence[tuple[Published, Sequence[Place]]]) -> bool:
    """Return whether no row names a defense and none makes a difference: so it is of what the classifier does alone."""
    for row, places in every:
        values: dict[Place, set[float]] = {}
        for place in places:
            estimate = table.estimate(place, row.metric)
            if estimate is not None:
                values.setdefault(place._replace(defense=""), set()).add(estimate.value)
        if row.defense or any(len(found) > 1 for found in values.values()):
            return False
    return True


def _by_number(
    entries: dict[tuple[str, ...], PublishedCell], rungs: Sequence[Ladder]
) -> tuple[str, dict[tuple[str, ...], PublishedCell]]:
    """Return the entries with the number in which their attacks differ as an axis of its own, where there is one."""
    attack = AXES.index("attack")
    labels = {key[attack] for key in entries} - {"", CLEAN}
    for option in dict.fromkeys(ladder.option for ladder in rungs):
        mine = [ladder for ladder in rungs if ladder.option == option and labels & set(ladder.labels)]
        numbers = [[text for label, _, text in ladder.rungs if label in labels] for ladder in mine]
        known = {label: (ladder.name, text) for ladder in mine for label, _, text in ladder.rungs}
        whole = labels <= set(known) and sum(map(len, numbers)) == len(labels)
        if whole and len(mine) > 1 and len(numbers[0]) > 1 and all(texts == numbers[0] for texts in numbers):
            return option, {
                (*key[:attack], *(known[key[attack]][:1] if key[attack] in known else key[attack : attack + 1]),
                 *key[attack + 1 : -1], known[key[attack]][1] if key[attack] in known else ""): cell
                for key, cell in entries.items()
            }  # fmt: skip
    return "", entries


def _places(table: Table, row: Published) -> list[Place]:
    """Return the cells that a row is about: it fits everything that it does not name."""
    wanted = {name: text for name in Place._fields if (text := getattr(row, name))}
    found = []
    for place, metrics in table.by_place.items():
        if row.metric not in metrics:
            continue
        own = place._asdict()
        if is_group(own["attack"]) and wanted.get("attack") != own["attack"]:
            own["attack"] = group_name(own["attack"])
        if all(own[name] == text or (name == "knowledge" and not own[name]) for name, text in wanted.items()):
            found.append(place)
    return found


def _assessed(artifacts: pd.DataFrame, artifact: str, dataset: str, metric: str) -> Estimate | None:
    """Return the mean over seeds of a measure of a shared artifact."""
    mine = artifacts[(artifacts.artifact == artifact) & (artifacts.metric == metric) & (artifacts.status == "ok")]
    mine = mine[mine.dataset == dataset] if dataset else mine
    if mine.empty:
        return None
    return Estimate(metric, "area", float(mine.value.mean()), None, None, as_count(mine.n.iloc[0]), seeds=len(mine))


@dataclass(frozen=True)
class PublishedCell:
    """A published number and the one that was measured.

    Attributes:
        published: None where what was run is another experiment than the paper's.
        measured: None where the run has none.
        page: of the cell, "" where the run has no such cell.
        status: of the cell: `ok`, `failed` or `missing`.
    """

    published: float | None
    metric: str
    unit: Unit
    measured: Estimate | None
    page: str
    status: str = "missing"

    @property
    def agrees(self) -> bool:
        """Whether the measured interval holds the published number, and could have shown a difference."""
        m, published = self.measured, self.published
        return m is not None and published is not None and m.told(published) == "agrees"

    @property
    def published_text(self) -> str:
        """The published number for people."""
        return "" if self.published is None else number_text(self.published, self.unit)

    @property
    def difference_text(self) -> str:
        """Measured minus published with its sign."""
        if self.measured is None or self.published is None:
            return ""
        return difference_text(self.measured.value - self.published, self.unit)


@dataclass(frozen=True)
class PublishedHead:
    """A heading of a published table, over as many columns, or beside as many rows, as it stands for."""

    text: str
    span: int


@dataclass(frozen=True)
class PublishedRow:
    """A row of a published table.

    Attributes:
        labels: what it stands for, a text per level.
        heads: the headings that begin at it; a heading that began above stands for it as well.
    """

    labels: tuple[str, ...]
    heads: tuple[PublishedHead, ...]
    cells: tuple[PublishedCell | None, ...]


@dataclass(frozen=True)
class PublishedTable:
    """Published numbers in the layout of their table.

    Attributes:
        table: what the paper calls it, such as `Table IV`, "" where the suite does not say.
        title: the family of measures.
        fixed: what is the same in all cells: axis and label.
        row_axes: names of the axes that the rows stand for, "" where the suite gives the headings.
        columns: labels per column, one per level of headings.
        heads: the headings above the columns, by level.
        left_out: rows of which nothing was run.
        n: how many images every measured number rests on, None where they differ.
    """

    table: str
    title: str
    fixed: tuple[tuple[str, str], ...]
    row_axes: tuple[str, ...]
    columns: tuple[tuple[str, ...], ...]
    heads: tuple[tuple[PublishedHead, ...], ...]
    rows: tuple[PublishedRow, ...]
    left_out: tuple[str, ...] = ()
    n: int | None = None

    @property
    def bare(self) -> bool:
        """Whether no published number stands in it: what was run is another experiment."""
        return all(cell is None or cell.published is None for row in self.rows for cell in row.cells)
