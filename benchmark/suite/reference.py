"""Published numbers of a suite: tables in CSV, rows, and what stands here for what the paper has."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

from benchmark.document import Node, Place, Problems, path_text, read_text, shorten
from benchmark.errors import InputError, unknown_name
from benchmark.explain import unknown_key
from benchmark.names import CLEAN, KNOWLEDGE
from benchmark.suite.model import KINDS, LABEL_LENGTH, REFERENCE_KEYS, SECTIONS
from benchmark.suite.reading import Reading
from benchmark.suite.tree import child, nfc

REFERENCE_COLUMNS = (
    *("table", "row", "column", "dataset", "model", "attack", "defense", "knowledge", "artifact", "metric", "value"),
)
REFERENCE_LABELS = ("dataset", "model", "attack", "defense", "artifact")


def is_placed(row: Mapping[str, Any]) -> bool:
    """Tell whether a reference row says where in its table it stands."""
    return bool(row.get("row"))


def is_of_a_cell(row: Mapping[str, Any]) -> bool:
    """Tell whether a reference row is about anything that is run: one with a place and no label is not."""
    return not is_placed(row) or any(row.get(name) for name in REFERENCE_LABELS)


def heading_levels(text: str) -> tuple[str, ...]:
    """Return the levels of a row's or a column's heading in a published table: `FGSM | ε = 0.1` has two."""
    return tuple(level.strip() for level in text.split("|"))


def reference_tables(text: str) -> tuple[str, ...]:
    """Return the published tables that the column `table` of a reference row names; ("",) for none."""
    return tuple(name.strip() for name in text.split(";"))


def read_reference(reading: Reading) -> tuple[Mapping[str, Any], ...]:
    """Return the rows of published numbers that have something beside them, checked."""
    node = child(reading.root, "reference")
    if node is None:
        return ()
    rows: list[tuple[Place, dict[str, str]]] = []
    stand_ins: dict[str, dict[str, str]] = {}
    for key, value in reading.mapping(node, ("reference",), "`table`, a CSV file").items():
        if key == "table":
            rows += _tables(reading, value)
        elif key == "rows":
            rows += _inline_rows(reading, value)
        elif key == "stand_ins":
            stand_ins = _stand_ins(reading, value)
        else:
            reading.problems.add(
                value.where, f"{path_text(('reference', key))}: {unknown_key('key', key, REFERENCE_KEYS)}"
            )
    _check_stand_ins(reading, stand_ins, child(node, "stand_ins"), [row for _, row in rows])
    reference: list[Mapping[str, Any]] = []
    seen: dict[tuple[str, ...], Place] = {}
    run: set[str] = set()
    for where, row in rows:
        checked = _reference_row(reading, where, row, stand_ins)
        if checked is None:
            continue
        tables = reference_tables(checked["table"])
        if is_of_a_cell(checked):
            run.update(tables)
            cell = tuple(checked[column] for column in (*REFERENCE_LABELS, "knowledge", "metric"))
            # One paper may print two values of a cell, each in a table of its own.
            for table in tables:
                first = seen.setdefault((table, *cell), where)
                if first is not where:
                    reading.problems.add(
                        where, f"a second value for the same cell and metric: the first is at {first}."
                    )
                    break
        if is_placed(checked):
            for table in tables:
                first = seen.setdefault((table, checked["row"], checked["column"]), where)
                if first is not where:
                    reading.problems.add(where, f"a second number in the same row and column: the first is at {first}.")
                    break
        reference.append(checked)
    return tuple(row for row in reference if run.intersection(reference_tables(row["table"])))


def _stand_ins(reading: Reading, node: Node) -> dict[str, dict[str, str]]:
    """Return, by column of a reference row, what stands here for what the paper has; headings too."""
    found: dict[str, dict[str, str]] = {}
    path = ("reference", "stand_ins")
    allowed = (*KINDS, "headings")
    for section, labels in reading.mapping(node, path, f"{', '.join(allowed)}").items():
        inner = (*path, section)
        if section not in allowed:
            reading.problems.add(labels.where, f"{path_text(inner)}: {unknown_key('key', section, allowed)}")
            continue
        mine = found.setdefault(KINDS.get(section, section), {})
        for old, new in reading.mapping(labels, inner, "what the table has to what stands here for it").items():
            if section == "headings":
                if new.is_scalar and new.text:
                    mine[old] = new.text
                else:
                    reading.problems.add(
                        new.where, f"{path_text((*inner, old))}: found {new.found()}, allowed: a text."
                    )
            elif (label := reading.label_of(new, section, (*inner, old))) is not None:
                mine[nfc(old)] = label
    return found


def _check_stand_ins(
    reading: Reading, stand_ins: Mapping[str, Mapping[str, str]], node: Node | None, rows: Sequence[Mapping[str, str]]
) -> None:
    """Refuse what stands in for something that no row has."""
    for column, mine in stand_ins.items() if rows else ():
        if column == "headings":
            there = {x for row in rows for name in ("row", "column") for x in heading_levels(row.get(name, ""))}
        else:
            there = {nfc(row.get(column, "")) for row in rows}
        for old in mine:
            if old not in there:
                what = "heading" if column == "headings" else f"{column} label"
                known = sorted(there - {""})
                assert node is not None
                reading.problems.add(node.where, f"reference.stand_ins: {unknown_name(what, old, known)}")


def _tables(reading: Reading, node: Node) -> list[tuple[Place, dict[str, str]]]:
    rows: list[tuple[Place, dict[str, str]]] = []
    for item in node.value if isinstance(node.value, tuple) else (node,):
        if not isinstance(item.value, str) or not item.value:
            reading.problems.add(
                item.where, f"reference.table: found {item.found()}, allowed: the path of a CSV file, or a list."
            )
            continue
        path = str(reading.path.parent / item.value)
        inner = Problems()
        try:
            rows += _table(reading, read_text(path, inner, rank=1), path)
        except InputError as error:
            reading.problems.add(item.where, f"reference.table: {error}")
    return rows


def _table(reading: Reading, text: str, path: str) -> list[tuple[Place, dict[str, str]]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[tuple[Place, dict[str, str]]] = []
    header: list[str] | None = None
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
                _check_header(reading, where, header)
            elif len(cells) != len(header):
                reading.problems.add(where, f"{len(cells)} columns, the header has {len(header)}.")
            else:
                rows.append((where, dict(zip(header, cells, strict=True))))
    except csv.Error as error:
        reading.problems.add(Place(path, reader.line_num, rank=1), f"broken CSV: {error}.")
    if header is None:
        reading.problems.add(Place(path, rank=1), f"empty, a header is needed: {','.join(REFERENCE_COLUMNS)}.")
    return rows


def _check_header(reading: Reading, where: Place, header: Sequence[str]) -> None:
    for column in header:
        if column not in REFERENCE_COLUMNS:
            reading.problems.add(where, unknown_key("column", column, REFERENCE_COLUMNS))
        elif header.count(column) > 1:
            reading.problems.add(where, f"the column {column!r} is there twice.")
    for column in ("metric", "value"):
        if column not in header and (column == "metric" or not {"row", "column"} <= set(header)):
            reading.problems.add(where, f"the column {column!r} is missing.")


def _inline_rows(reading: Reading, node: Node) -> list[tuple[Place, dict[str, str]]]:
    rows: list[tuple[Place, dict[str, str]]] = []
    if not isinstance(node.value, tuple):
        reading.problems.add(node.where, f"reference.rows: found {node.found()}, allowed: a list of mappings.")
        return []
    for item in node.value:
        if not isinstance(item.value, dict) or not all(cell.is_scalar for cell in item.value.values()):
            reading.problems.add(
                item.where, "reference.rows: a row is a mapping of columns to single values, such as {value: 0.9}."
            )
            continue
        _check_header(reading, item.where, list(item.value))
        rows.append((item.where, {column: cell.text for column, cell in item.value.items()}))
    return rows


def _reference_row(
    reading: Reading, where: Place, row: Mapping[str, str], stand_ins: Mapping[str, Mapping[str, str]]
) -> dict[str, Any] | None:
    """Return a row with all columns; None where it is wrong.

    None also where it is about a component that a profile removed, or that another stands in for, unless it has a
    place in its table: that stays, without the labels of what was removed, and without a value of what stands in
    or, where a data set stands in, of none that is run.
    """
    placed = bool(row.get("row")) and bool(row.get("column"))
    if "metric" not in row or ("value" not in row and not placed):
        return None  # the header was refused
    if bool(row.get("row")) != bool(row.get("column")):
        reading.problems.add(where, "row, column: one of them is empty; give both, or neither.")
        return None
    checked: dict[str, Any] = {}
    good, dropped, replaced = True, False, False
    for kind, section in SECTIONS.items():
        text = row.get(kind, "")
        if nfc(text) in stand_ins.get(kind, ()):
            text, replaced = stand_ins[kind][nfc(text)], True
        known = dict(reading.labels[section])
        if kind == "attack":
            known |= {CLEAN: CLEAN, **reading.labels["groups"]}
        label = known.get(nfc(text)) if text else ""
        if label is None and kind == "attack" and nfc(text) in reading.given.sweeps:
            names = ", ".join(reading.given.sweeps[nfc(text)])
            reading.problems.add(where, f"attack: {text!r} has several budgets, name one of them: {names}.")
            good = False
        elif label is None:
            sections = (section, "groups") if kind == "attack" else (section,)
            if any(text in reading.given.labels_of_file[name] for name in sections):
                dropped = True
            else:
                reading.problems.add(where, f"{kind}: {unknown_name(f'{kind} label', text, known.values())}")
                good = False
        checked[kind] = label
    knowledge = row.get("knowledge", "")
    if knowledge and knowledge not in KNOWLEDGE:
        reading.problems.add(where, f"knowledge: {unknown_name('knowledge', knowledge, KNOWLEDGE)}")
        good = False
    metrics = reading.registry.names("metric")
    if not row["metric"]:
        reading.problems.add(where, "metric: empty, the name of a measure is needed.")
        good = False
    elif metrics and row["metric"] not in metrics and not row.get("artifact"):
        reading.problems.add(where, f"metric: {unknown_name('metric', row['metric'], metrics)}")
        good = False
    written = row.get("value", "")
    try:
        value = float(written) if written or not placed else None
    except ValueError:
        value = math.nan
    if value is not None and not math.isfinite(value):
        reading.problems.add(where, f"value: {shorten(written)!r} is not a number such as 0.93.")
        good = False
    table = row.get("table", "")
    tables = reference_tables(table)
    broken = (len(tables) > 1 and "" in tables) or len(set(tables)) < len(tables)
    if broken or len(table) > LABEL_LENGTH or not table.isprintable():
        reading.problems.add(
            where,
            f"table: found {shorten(table)!r}, allowed: where the number was published, such as 'Table IV', or "
            f"several such places with ';' between; at most {LABEL_LENGTH} characters on one line.",
        )
        good = False
    places = {name: row.get(name, "") for name in ("row", "column")}
    for name, text in places.items():
        levels = heading_levels(text)
        if len(text) > LABEL_LENGTH or not text.isprintable() or (text and "" in levels):
            reading.problems.add(
                where,
                f"{name}: found {shorten(text)!r}, allowed: what the paper calls it, such as 'FGSM', levels "
                f"with '|' between, such as 'FGSM | ε = 0.1'; at most {LABEL_LENGTH} characters on one line.",
            )
            good = False
        elif replaced:
            headings = stand_ins.get("headings", {})
            places[name] = " | ".join(headings.get(level, level) for level in levels)
    if not good or ((dropped or replaced) and not placed):
        return None
    about = {"artifact": row.get("artifact", ""), **checked, "knowledge": knowledge}
    if dropped:
        about = dict.fromkeys(about, "")
    # What names no data set that is run would else stand beside images of another.
    foreign = replaced or (not checked["dataset"] and bool(stand_ins.get("dataset")))
    return {"table": table, **places, **about, "metric": row["metric"], "value": None if foreign else value}
