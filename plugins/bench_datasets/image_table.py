"""Images and labels named by tables: CSV, JSON lines or Parquet, a table or more per split.

Hugging Face's forms are among them: Parquet files with the images inside (a structure of `bytes` and `path`) and the
names of the classes in their metadata, and folders of images with `metadata.csv` or `metadata.jsonl`.
"""

from __future__ import annotations

import csv
import json
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bench_datasets.files import Files, files_by_split, val_for_test
from bench_datasets.image_folder import split_of
from bench_datasets.options import TEST_SHARE, ImageTableOptions
from bench_datasets.sources import Member, Source, printable, source
from bench_datasets.splitting import Given, PlacedDataset, shares_to_draw
from benchmark import SPLITS, InputError, MissingError, Mistakes, PassedOver, is_called_image, is_hidden, unknown_name

SUFFIXES = (".parquet", ".csv", ".tsv", ".jsonl")
_IMAGE_COLUMNS = ("image", "img", "file_name", "filename", "file", "image_path", "filepath", "path", "image_id", "id")
_LABEL_COLUMNS = ("label", "labels", "class", "class_name", "category", "target", "y")
_UNSPLIT = "unsplit"
DAMAGE = (OSError, KeyError, UnicodeError, csv.Error, pa.ArrowException)
"""What readers raise for tables that are damaged."""
_MOST_HELD_BYTES = 4 * 2**30
_MOST_PARTS = 100_000
_ABOUT = (
    "a table (.parquet, .csv, .tsv, .jsonl) with a column of images or file names and one of labels, or to a folder "
    "with such tables, called train, val and test or in folders of these names"
)


class ImageTable(PlacedDataset):
    """Images of tables."""

    Options = ImageTableOptions
    place_is = _ABOUT

    def check(self) -> None:
        """Look whether the places are there.

        Raises:
            MissingError: one is not.
        """
        super().check()
        if self.options.images is not None and not Path(self.options.images).expanduser().exists():
            raise MissingError(f"nothing at {Path(self.options.images).absolute()}. Set `images:` to their folder.")

    def read(self) -> Given:
        """Return the splits that the tables name.

        Raises:
            InputError: a table or what it names is unusable, a class is missing from a split, splits cannot be told.
            MissingError: a place is not there.
        """
        self.check()
        places = self.places()
        remarks: tuple[str, ...] = ()
        if "path" in places:
            whole = places["path"]
            found, remarks = _tables_below(whole)
        else:
            whole = places["train"]
            found = {split: _tables_in(place) for split, place in places.items()}
        options: ImageTableOptions = self.options
        by_split: dict[str, list[_Rows]] = {}
        for split, paths in found.items():
            for rows in (_rows(path, options) for path in paths):
                if split == _UNSPLIT and rows.splits is not None:
                    for name, part in rows.by_split():
                        by_split.setdefault(name, []).append(part)
                else:
                    by_split.setdefault(split, []).append(rows)
        if _UNSPLIT in by_split and len(by_split) > 1:
            raise InputError(f"{whole}: some of its tables have a column `split` and some have not. Give it to all.")
        unsplit = _UNSPLIT in by_split
        if unsplit:
            by_split = {"train": by_split[_UNSPLIT]}
        by_split = {split: by_split[split] for split in SPLITS if split in by_split}
        remarks += val_for_test(by_split, options)
        if "train" not in by_split:
            raise InputError(f"{whole}: found tables of {' and '.join(by_split)} and none of train.")
        names, labels = _labelled(by_split, options, whole)
        listed, said = _listed(by_split, labels, names, options, whole)
        splits = files_by_split(listed, options)
        shares = shares_to_draw(options, splits, str(whole), TEST_SHARE if unsplit else None)
        return Given(splits, shares, str(places.get("train", whole)), remarks + said)


# -- which table is of which split ------------------------------------------------------------------------------------


def _tables_in(place: Path) -> list[Path]:
    """Return the tables at a place that is one, or a folder of them, of which no split is asked."""
    if place.is_file():
        return [place]
    found = [path for path in sorted(place.rglob("*")) if _is_table(path, place)]
    if not found:
        raise InputError(f"{place}: no tables. Looked for files that end in {', '.join(SUFFIXES)}.")
    _refuse_missing_parts(place, found)
    return found


def _refuse_missing_parts(place: Path, tables: list[Path]) -> None:
    """Refuse a table in parts of which some are not there: their names count them, `train-00000-of-00002`."""
    mistakes, parts = Mistakes(str(place)), dict[tuple[str, str], set[int]]()
    for table in tables:
        if match := re.match(r"(.*\D)?(\d+)-of-(\d+)(?!\d)", table.stem):
            begins = str(table.parent.relative_to(place) / (match[1] or ""))
            parts.setdefault((begins, match[3]), set()).add(int(match[2]))
    for (begins, number), found in parts.items():
        for missing in sorted(set(range(int(number))) - found) if int(number) <= _MOST_PARTS else ():
            mistakes.add(
                "part of a table that is not there",
                f"{printable(begins)}{missing:0{len(number)}}-of-{number} is not there, and {len(found)} other parts "
                "are. Fetch it; where a part of the data is meant, call its tables otherwise.",
            )
    mistakes.raise_if_any()


def _tables_below(place: Path) -> tuple[dict[str, list[Path]], tuple[str, ...]]:
    """Return split → its tables, all as `_UNSPLIT` where no name tells a split; and what is to be said."""
    tables = _tables_in(place)
    if place.is_file():
        return {_UNSPLIT: tables}, ()
    by_split: dict[str, list[Path]] = {}
    for path in tables:
        above = reversed(path.relative_to(place).parts[:-1])
        split = next(filter(None, (split_of(name) for name in (path.stem, *above))), _UNSPLIT)
        by_split.setdefault(split, []).append(path)
    left = by_split.pop(_UNSPLIT, []) if len(by_split) > 1 else []
    for split, paths in by_split.items():
        if len({(path.parent, path.suffix.lower()) for path in paths}) > 1:
            listed = ", ".join(printable(str(path.relative_to(place))) for path in paths[:6])
            what = "tables whose names tell no split" if split == _UNSPLIT else f"tables of {split}"
            raise InputError(
                f"{place}: found {what} in more than one place: {listed}{', ...' if len(paths) > 6 else ''}. Keep one "
                "form of the data, or give train:, val: and test: instead of path:."
            )
    said = (f"Tables passed over, whose names tell no split: {len(left)}.",) if left else ()
    return by_split, said


def _is_table(path: Path, place: Path) -> bool:
    hidden = any(map(is_hidden, path.relative_to(place).parts))
    return not hidden and path.suffix.lower() in SUFFIXES and path.is_file()


# -- the rows of a table ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Rows:
    """What a table says.

    Attributes:
        path: the table.
        images: file name per row; None where the table holds the images.
        labels: label per row, as it stands.
        column: where a Parquet file holds the images.
        class_names: name per label, where the table has them.
        splits: what its column `split` says, where it has one.
        numbers: number of each row in the table.
    """

    path: Path
    images: list[Any] | None
    labels: list[Any]
    column: str
    class_names: tuple[str, ...] | None
    splits: list[Any] | None
    numbers: list[int]

    def by_split(self) -> Iterator[tuple[str, _Rows]]:
        """Yield the rows of each split that the column `split` names."""
        assert self.splits is not None
        known = [split_of(str(value)) for value in self.splits]
        if None in known:
            bad = self.splits[known.index(None)]
            raise InputError(f"{self.path}: column split: {bad!r} is none of train, val and test.")
        for split in dict.fromkeys(known):
            chosen = [row for row, name in enumerate(known) if name == split]
            images = None if self.images is None else [self.images[row] for row in chosen]
            labels, numbers = [self.labels[row] for row in chosen], [self.numbers[row] for row in chosen]
            yield str(split), _Rows(self.path, images, labels, self.column, self.class_names, None, numbers)


def _rows(path: Path, options: ImageTableOptions) -> _Rows:
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(f"{path}: not a table. Allowed endings: {', '.join(SUFFIXES)}.")
    try:
        if suffix == ".parquet":
            return _parquet_rows(path, options)
        columns = _jsonl_columns(path) if suffix == ".jsonl" else _csv_columns(path, suffix)
    except InputError:
        raise
    except DAMAGE as error:
        raise _unreadable(path, error) from None
    image, label = _chosen(path, list(columns), options, [])
    return _Rows(path, columns[image], columns[label], image, None, columns.get("split"), _counted(columns[image]))


def _unreadable(path: Path, error: Exception) -> InputError:
    reason = printable(str(error).partition("\n")[0]) or type(error).__name__
    return InputError(f"{path}: cannot be read as a table: {reason}. Fetch or write it again.")


def _shown(path: Path, whole: Path) -> str:
    """Return a table's place as messages that begin with `whole` call it."""
    return printable(str(path.relative_to(whole))) if whole in path.parents else str(path)


def _counted(rows: Sequence[Any]) -> list[int]:
    return list(range(len(rows)))


def _csv_columns(path: Path, suffix: str) -> dict[str, list[Any]]:
    with open(path, encoding="utf-8-sig", newline="") as file:
        head = file.readline()
        file.seek(0)
        delimiter = "\t" if suffix == ".tsv" else ";" if ";" in head and "," not in head else ","
        lines = csv.reader(file, delimiter=delimiter, strict=True)
        names = [name.strip() for name in next(lines, [])]
        if len(names) < 2 or len(set(names)) < len(names) or any(map(is_called_image, names)):
            raise InputError(
                f"{path}:1: the first line must name at least two columns, all different, such as file,label; found "
                f"{printable(', '.join(names))!r}."
            )
        columns: dict[str, list[Any]] = {name: [] for name in names}
        for line in lines:
            if not line:
                continue
            if len(line) != len(names):
                raise InputError(
                    f"{path}:{lines.line_num}: has {len(line)} values, the first line {len(names)} columns."
                )
            for name, value in zip(names, line):
                columns[name].append(value.strip())
    return columns


def _jsonl_columns(path: Path) -> dict[str, list[Any]]:
    rows = []
    # Not splitlines(): a text inside the JSON may hold what Unicode, and not JSON, takes for the end of a line.
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").split("\n"), 1):
        if line.strip():
            try:
                rows.append(json.loads(line))
            except (json.JSONDecodeError, RecursionError):
                rows.append(None)
            if not isinstance(rows[-1], dict):
                raise InputError(f"{path}:{number}: not a JSON object. Every line is one, such as "
                                 '{"file_name": "1.jpg", "label": 0}.')  # fmt: skip
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


def _parquet_rows(path: Path, options: ImageTableOptions) -> _Rows:
    schema = pq.read_schema(path)
    holds = [
        field.name
        for field in schema
        if pa.types.is_binary(field.type)
        or pa.types.is_large_binary(field.type)
        or (pa.types.is_struct(field.type) and field.type.get_field_index("bytes") >= 0)
    ]
    image, label = _chosen(path, schema.names, options, holds)
    wanted = [label, *(["split"] if "split" in schema.names else []), *([] if image in holds else [image])]
    columns = {name: _column(path, name).to_pylist() for name in wanted}
    try:
        names = json.loads(schema.metadata[b"huggingface"])["info"]["features"][label]["names"]
        known = tuple(map(str, names)) if isinstance(names, list) else None
    except (KeyError, TypeError, ValueError):  # no file of Hugging Face's, or its labels have no names
        known = None
    labels = columns[label]
    return _Rows(path, columns.get(image), labels, image, known, columns.get("split"), _counted(labels))


def _column(path: Path, name: str) -> pa.ChunkedArray:
    return pq.read_table(path, columns=[name], partitioning=None).column(name)


def _chosen(path: Path, names: list[str], options: ImageTableOptions, holds: list[str]) -> tuple[str, str]:
    """Return the columns of images and labels.

    Args:
        path: the table.
        names: all columns.
        options: may name them.
        holds: columns that hold images themselves.
    """

    def one(what: str, asked: str | None, known: Sequence[str], among: list[str]) -> str:
        if asked is not None:
            if asked not in names:
                raise InputError(f"{path}: {unknown_name(f'column ({what}:)', asked, names)}")
            return asked
        found = [name for name in among if name.lower() in known]
        found = found or (among if len(among) == 1 else [])
        if len(found) != 1:
            raise InputError(
                f"{path}: which column is the {what}? Found {', '.join(map(printable, names)) or 'none'}"
                + (f"; {' and '.join(map(printable, found))} may be" if found else "")
                + f". Set `{what}:` to one of them."
            )
        return found[0]

    image = one("image", options.image, _IMAGE_COLUMNS, holds if len(holds) == 1 else names)
    return image, one("label", options.label, _LABEL_COLUMNS, [n for n in names if n not in (image, "split")])


# -- labels -----------------------------------------------------------------------------------------------------------


def _labelled(
    by_split: dict[str, list[_Rows]], options: ImageTableOptions, whole: Path
) -> tuple[list[str], dict[str, list[list[int]]]]:
    """Return the names of the classes, and split → table → class index per row."""
    mistakes = Mistakes(str(whole))
    tables = [rows for found in by_split.values() for rows in found]
    stored = {rows.class_names for rows in tables}
    if len(stored) > 1:
        raise InputError(f"{whole}: its tables name different classes in their metadata. Give class_names.")
    given = options.class_names or stored.pop()
    texts: dict[str, list[list[str]]] = {}
    for split, found in by_split.items():
        texts[split] = []
        for rows in found:
            texts[split].append([])
            for number, label in zip(rows.numbers, rows.labels):
                text = _label_text(label)
                if text is None or (text == "-1" and given is not None):
                    mistakes.add(
                        "row without a label",
                        f"{_shown(rows.path, whole)}: row {number + 1} has the label {label!r}: no class.",
                    )
                texts[split][-1].append(text or "")
    mistakes.raise_if_any()
    everything = dict.fromkeys(text for found in texts.values() for rows in found for text in rows)
    if given is not None:
        names = list(given)
        index = {str(number): number for number in range(len(names))}
        if not all(map(_is_number, everything)):  # names stand in the table, class_names orders them
            index = {name: number for number, name in enumerate(names)}
        for text in everything:
            if text not in index:
                raise InputError(f"{whole}: {unknown_name('label', text, index)}")
    else:
        names = sorted(everything, key=_by_number if all(map(_is_number, everything)) else str)
        index = {name: number for number, name in enumerate(names)}
    labels = {split: [[index[text] for text in rows] for rows in found] for split, found in texts.items()}
    if len(names) < 2:
        raise InputError(f"{whole}: found one class, {printable(''.join(names))!r}; at least two are needed.")
    for split, found_labels in labels.items():
        there = {label for rows in found_labels for label in rows}
        for label, name in enumerate(names):
            if label not in there:
                mistakes.add("class missing from a split", f"the split {split} has no image of the class {name!r}.")
    mistakes.raise_if_any()
    return [printable(name) for name in names], labels


def _label_text(label: Any) -> str | None:
    """Return a label as text: 3 for 3.0; None where there is none, or it is no single label."""
    if isinstance(label, bool | np.bool_):
        return str(bool(label)).lower()
    if isinstance(label, float):
        return str(int(label)) if label.is_integer() else None
    if isinstance(label, int):
        return str(label)
    return label if isinstance(label, str) and label else None


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _by_number(text: str) -> tuple[int, str]:
    return int(text), text


# -- images -----------------------------------------------------------------------------------------------------------


def _listed(
    by_split: dict[str, list[_Rows]],
    labels: dict[str, list[list[int]]],
    class_names: list[str],
    options: ImageTableOptions,
    whole: Path,
) -> tuple[dict[str, Files], tuple[str, ...]]:
    """Return the images of each split, and what is to be said.

    Raises:
        InputError: an image is not there, or named twice, be it by another split; one message tells all of it.
    """
    tables = [rows for found in by_split.values() for rows in found]
    holding = [rows for rows in tables if rows.images is None]
    if holding and len(holding) < len(tables):
        raise InputError(f"{whole}: some of its tables hold images and some name them. Keep one form of the data.")
    mistakes = Mistakes(str(whole))
    place: Source
    if holding:
        place, by_name = _Held(whole, [(rows.path, rows.column) for rows in tables]), dict[str, Member]()
    else:
        place = source(_root({rows.path.parent for rows in tables}, options, whole))
        by_name = _by_name(place.members(PassedOver()))
    files: dict[str, Files] = {}
    first: dict[tuple[str, ...], tuple[str, Path, int]] = {}
    number_of_table = {id(rows): number for number, rows in enumerate(tables)}
    for split, found in by_split.items():
        members: list[Member] = []
        folder = Path(os.path.commonpath([rows.path.parent for rows in found]))
        for rows in found:
            inside = "" if holding or options.images else _below(rows.path.parent, place.path)
            for row, number in enumerate(rows.numbers):
                where = f"{_shown(rows.path, whole)}: row {number + 1}"
                if rows.images is None:
                    name = (*rows.path.relative_to(folder).parts, str(number))
                    members.append(Member(name, (number_of_table[id(rows)], number)))
                    continue
                member = _named(rows.images[row], inside, by_name)
                if member is None:
                    shown = printable(str(rows.images[row]))[:100]
                    mistakes.add("image that is not there", f"{where}: no image {shown!r} below {place.path}.")
                    continue
                seen = first.setdefault(member.parts, (split, rows.path, number))
                if seen != (split, rows.path, number):
                    mistakes.add(
                        "image that is named twice",
                        f"{where}: {printable('/'.join(member.parts))} of {split} is named by row {seen[2] + 1} of "
                        f"{seen[1].name} for {seen[0]} already.",
                    )
                members.append(member)
        flat = [label for rows_labels in labels[split] for label in rows_labels]
        names = ["/".join(member.parts) for member in members]
        files[split] = Files(place, members, names, flat, class_names)
    mistakes.raise_if_any()
    unnamed = len({member.parts for member in by_name.values()} - first.keys())
    said = (f"Images passed over, that no table names: {unnamed}.",) if unnamed else ()
    return files, said


def _root(folders: set[Path], options: ImageTableOptions, whole: Path) -> Path:
    """Return where the file names begin: the option `images`, or the folder that holds the tables."""
    if options.images is not None:
        return Path(options.images).expanduser()
    if options.path is not None and whole.is_dir():
        return whole
    above = {folder.parent for folder in folders}
    if len(folders) > 1 and len(above) > 1:
        raise InputError(
            f"the tables lie in different folders: {', '.join(map(str, sorted(folders)))}. Set `images:` to the folder "
            "at which their file names begin."
        )
    return folders.pop() if len(folders) == 1 else above.pop()


def _below(folder: Path, root: Path) -> str:
    parts = folder.relative_to(root).parts if folder != root else ()
    return "".join(f"{part}/" for part in parts)


def _by_name(members: Sequence[Member]) -> dict[str, Member]:
    """Return members by their names, and by their names without an ending where only one has it."""
    found = {"/".join(member.parts): member for member in members}
    stems = Counter(name.rpartition(".")[0] for name in found)
    for name, member in list(found.items()):
        stem = name.rpartition(".")[0]
        if stem and stems[stem] == 1:
            found.setdefault(stem, member)
    return found


def _named(name: Any, inside: str, by_name: dict[str, Member]) -> Member | None:
    if not isinstance(name, str | int) or isinstance(name, bool):
        return None
    plain = str(name).replace("\\", "/").removeprefix("./")
    return by_name.get(inside + plain) or by_name.get(plain)


class _Held(Source):
    """Images inside Parquet files, read into memory when one is first asked for."""

    def __init__(self, path: Path, tables: Sequence[tuple[Path, str]]) -> None:
        super().__init__(path)
        self._tables = list(tables)
        self._columns: dict[int, Any] = {}
        total = sum(table.stat().st_size for table, _ in tables)
        if total > _MOST_HELD_BYTES:
            raise InputError(
                f"{path}: the tables hold {total // 2**20} MiB, and images in tables are held in memory. Unpack them "
                f"into a folder per class (data set `image_folder`); up to {_MOST_HELD_BYTES // 2**20} MiB are read."
            )

    def members(self, passed_over: PassedOver) -> list[Member]:
        """Return nothing: the tables name their rows."""
        return []

    def read(self, member: Member) -> bytes:
        """Return the bytes of an image."""
        table, row = member.key
        column = self._column(table)
        if row >= len(column):
            self._refuse(member, "the column of images ends before this row: the table is damaged")
        content = column[row].as_py()
        if content is None:
            self._refuse(member, "the row holds no bytes; where it names a file, set `image:` to that column")
        return bytes(content)

    def _column(self, table: int) -> Any:
        if table not in self._columns:
            try:
                column = _column(*self._tables[table])
            except DAMAGE as error:
                raise _unreadable(self._tables[table][0], error) from None
            if pa.types.is_struct(column.type):
                column = pa.chunked_array([chunk.field("bytes") for chunk in column.chunks])
            self._columns[table] = column
        return self._columns[table]

    def _identity(self, member: Member) -> tuple[str, int, int, int]:
        path = self._tables[member.key[0]][0]
        status = path.stat()
        return str(path.absolute()), status.st_size, status.st_mtime_ns, member.key[1]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_columns": {}}
