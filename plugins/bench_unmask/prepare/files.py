"""Files as preparations leave them, whole or not at all; and the table that they show in the end."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmark import StorageError, write_whole


@contextmanager
def _writing(place: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"{place}: cannot be written: {error.strerror or error}. Start again when it can."
        ) from error


def make_folder(folder: Path) -> None:
    """Make a folder and those above it.

    Raises:
        StorageError: it cannot be made.
    """
    with _writing(folder):
        folder.mkdir(parents=True, exist_ok=True)


def write(path: Path, text: str) -> None:
    """Write a file, and its folder where there is none.

    Raises:
        StorageError: it cannot be written.
    """
    make_folder(path.parent)
    with _writing(path):
        write_whole(path, text.encode())


def copy(source: Path, target: Path) -> None:
    """Copy a file to `target`, unless one of its size is there.

    Raises:
        StorageError: it cannot be written.
    """
    if target.exists() and target.stat().st_size == source.stat().st_size:
        return
    make_folder(target.parent)
    aside = target.with_name(f".{target.name}.aside")
    with _writing(target):
        shutil.copyfile(source, aside)
        os.replace(aside, target)


def link(source: Path, target: Path) -> None:
    """Give a file a second name, or copy it where the file system allows no links.

    Raises:
        StorageError: it cannot be written.
    """
    if target.exists():
        return
    make_folder(target.parent)
    try:
        os.link(source, target)
    except OSError:
        copy(source, target)


def aligned(rows: list[tuple[str, ...]]) -> str:
    """Return rows as a table of text, its first column to the left and the others to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        first, *rest = (cell.ljust(w) if n == 0 else cell.rjust(w) for n, (cell, w) in enumerate(zip(row, widths)))
        lines.append("  ".join([first, *rest]).rstrip())
    return "\n".join(lines)
