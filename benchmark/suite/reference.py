"""Published numbers of a suite: tables in CSV, rows, and what stands here for what the paper has."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace

from benchmark.document import Node, Place, Problems, path_text, read_text
from benchmark.errors import InputError, unknown_name
from benchmark.explain import unknown_key
from benchmark.names import CLEAN
from benchmark.suite.file import Published, Reference, StandIns, levels
from benchmark.suite.model import KINDS, SECTIONS
from benchmark.suite.reading import Reading
from benchmark.suite.tree import child, nfc

COLUMNS = tuple(Published.model_fields)


@dataclass(frozen=True)
class _Row:
    """A row as it is written, and where."""

    said: Published
    node: Node
    path: tuple[str, ...]


def read_reference(reading: Reading) -> tuple[Published, ...]:
    """Return the published numbers that have something beside them, checked."""
    node = child(reading.root, "reference")
    if node is None:
        return ()
    written = child(node, "rows")
    inline: Sequence[Node] = written.value if written is not None and isinstance(written.value, tuple) else ()
    # A row that is wrong hides nothing of the others: each is checked by itself.
    said = reading.shaped(Reference, _without_rows(node) if inline else node, ("reference",), "`reference`")
    rows: list[_Row | None] = [] if said is None else _tables(reading, said.table)
    rows += [_written(reading, item, ("reference", "rows", str(n))) for n, item in enumerate(inline)]
    good = [row for row in rows if row is not None]
    stand_ins = StandIns() if said is None else _stand_ins(reading, said.stand_ins, good if good == rows else ())
    reference: list[Published] = []
    seen: dict[tuple[str, ...], Place] = {}
    run: set[str] = set()
    for row in good:
        found = _found(reading, row, stand_ins)
        if found is None:
            continue
        if found.is_of_a_cell:
            run.update(found.tables)
            cell = found.model_dump(include={*_CELL}).values()
            _once(reading, row, found, seen, ("cell", *cell), "a second value for the same cell and metric")
        if found.placed:
            place = ("place", found.row, found.column)
            _once(reading, row, found, seen, place, "a second number in the same row and column")
        reference.append(found)
    return tuple(row for row in reference if run.intersection(row.tables))


_CELL = ("dataset", "model", "attack", "defense", "artifact", "knowledge", "metric")


def _once(
    reading: Reading, row: _Row, found: Published, seen: dict[tuple[str, ...], Place], key: tuple[str, ...], wrong: str
) -> None:
    """Refuse a key that one of the row's tables has already: one paper may print two numbers, each in a table."""
    where = row.node.where
    for table in found.tables:
        first = seen.setdefault((table, *key), where)
        if first is not where:
            reading.problems.add(where, f"{wrong}: the first is at {first}.")
            return


def _without_rows(node: Node) -> Node:
    assert isinstance(node.value, dict)
    return replace(node, value={key: value for key, value in node.value.items() if key != "rows"})


def _written(reading: Reading, node: Node, path: tuple[str, ...]) -> _Row | None:
    said = reading.shaped(Published, node, path, "a row")
    return None if said is None else _Row(said, node, path)


def _stand_ins(reading: Reading, said: StandIns, rows: Sequence[_Row]) -> StandIns:
    """Return what stands in, as it is called here; what stands in for something that no row has is refused."""
    there = {section: {nfc(getattr(row.said, kind)) for row in rows} for section, kind in KINDS.items()}
    there["headings"] = {level for row in rows for heading in row.said.headings for level in heading}
    found: dict[str, dict[str, str]] = {section: {} for section in there}
    for section, mine in found.items():
        for old, new in getattr(said, section).items():
            path = ("reference", "stand_ins", section, old)
            key, here = (old, new) if section == "headings" else (nfc(old), reading.label_of(new, section, path))
            if rows and key not in there[section]:
                what = "heading" if section == "headings" else f"{KINDS[section]} label"
                reading.problem(path, unknown_name(what, old, there[section] - {""}))
            if here is not None:
                mine[key] = here
    return StandIns(**found)


def _tables(reading: Reading, paths: str | Sequence[str]) -> list[_Row | None]:
    rows: list[_Row | None] = []
    for n, name in enumerate((paths,) if isinstance(paths, str) else paths):
        path = str(reading.path.parent / name)
        try:
            rows += _table(reading, read_text(path, Problems(), rank=1), path)
        except InputError as error:
            reading.problem(("reference", "table", str(n)), str(error))
    return rows


def _table(reading: Reading, text: str, path: str) -> list[_Row | None]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[_Row | None] = []
    header: list[str] | None = None
    readable = True
    line = 1
    try:
        for cells in reader:
            where = Place(path, line, rank=1)
            line = reader.line_num + 1
            if not any(cell.strip() for cell in cells):
                continue
            cells = [cell.strip() for cell in cells]
            if header is None:
                header = cells
                readable = _check_header(reading, where, header)
            elif len(cells) != len(header):
                reading.problems.add(where, f"{len(cells)} columns, the header has {len(header)}.")
            elif readable:
                row = {name: Node(where, cell, cell) for name, cell in zip(header, cells) if name in COLUMNS}
                rows.append(_written(reading, Node(where, row), ()))
    except csv.Error as error:
        reading.problems.add(Place(path, reader.line_num, rank=1), f"broken CSV: {error}.")
    if header is None:
        reading.problems.add(Place(path, rank=1), f"empty, a header is needed: {','.join(COLUMNS)}.")
    return rows


def _check_header(reading: Reading, where: Place, header: Sequence[str]) -> bool:
    """Tell what is wrong with a header; return whether the rows below it can be read."""
    for column in header:
        if column not in COLUMNS:
            reading.problems.add(where, unknown_key("column", column, COLUMNS))
        elif header.count(column) > 1:
            reading.problems.add(where, f"the column {column!r} is there twice.")
    needed = ("metric",) if {"row", "column"} <= set(header) else ("metric", "value")
    missing = [column for column in needed if column not in header]
    for column in missing:
        reading.problems.add(where, f"the column {column!r} is missing.")
    return not missing


def _found(reading: Reading, row: _Row, stand_ins: StandIns) -> Published | None:
    """Return a number with the labels of what is here; None where a label is wrong.

    None also where it is about a component that a profile removed, or that another stands in for, unless it has a
    place in its table: that stays, without the labels of what was removed, and without a value of what stands in
    or, where a data set stands in, of none that is run.
    """
    said = row.said
    labels = dict.fromkeys(SECTIONS, "")
    good, dropped, replaced = True, False, False
    for kind, section in SECTIONS.items():
        text = getattr(said, kind)
        here = getattr(stand_ins, section).get(nfc(text))
        if here is not None:
            text, replaced = here, True
        known = dict(reading.labels[section])
        if kind == "attack":
            known |= {CLEAN: CLEAN, **reading.labels["groups"]}
        label = known.get(nfc(text)) if text else ""
        if label is not None:
            labels[kind] = label
            continue
        budgets = reading.given.sweeps.get(nfc(text)) if kind == "attack" else None
        sections = (section, "groups") if kind == "attack" else (section,)
        if budgets is not None:
            wrong = f"{text!r} has several budgets, name one of them: {', '.join(budgets)}."
        elif any(text in reading.given.labels_of_file[name] for name in sections):
            dropped = True
            continue
        else:
            wrong = unknown_name(f"{kind} label", text, known.values())
        _wrong(reading, row, kind, wrong)
        good = False
    metrics = reading.registry.names("metric")
    if metrics and said.metric not in metrics and not said.artifact:
        _wrong(reading, row, "metric", unknown_name("metric", said.metric, metrics))
        good = False
    if not good or ((dropped or replaced) and not said.placed):
        return None
    changes: dict[str, str | None] = {**labels}
    if replaced:
        for name in ("row", "column"):
            levels_here = (stand_ins.headings.get(level, level) for level in levels(getattr(said, name)))
            changes[name] = " | ".join(levels_here)
    if dropped:
        changes |= dict.fromkeys((*SECTIONS, "artifact", "knowledge"), "")
    # What names no data set that is run would else stand beside images of another.
    if replaced or (not labels["dataset"] and stand_ins.datasets):
        changes["value"] = None
    return said.model_copy(update=changes)


def _wrong(reading: Reading, row: _Row, column: str, message: str) -> None:
    reading.problems.add(row.node.nearest((column,)).where, f"{path_text((*row.path, column))}: {message}")
