"""Tables of a run for other programs: `bench export`."""

from __future__ import annotations

import io
import json
import math
import sys
from pathlib import Path
from typing import Any

import pandas as pd

from benchmark.errors import InputError, unknown_name
from benchmark.files import write_whole
from benchmark.results.read import Run
from benchmark.results.tables import parquet
from benchmark.wording import for_spreadsheets, printable

FORMATS = ("csv", "parquet", "json")


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
        content = parquet(frame, run.key) if format == "parquet" else _text_of(frame, format).encode()
        write_whole(output, content, own=False)
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
    text = _text_of(frame, format)
    if sys.stdout.isatty() or not hasattr(sys.stdout, "buffer"):
        sys.stdout.write(printable(text))
    else:  # data for another program: the same bytes whatever the terminal's encoding
        sys.stdout.flush()
        sys.stdout.buffer.write(text.encode())


def _text_of(frame: pd.DataFrame, format: str) -> str:
    if format == "csv":
        return csv_text(frame)
    text = io.StringIO("[")
    text.seek(0, io.SEEK_END)
    for start in range(0, len(frame), 10_000):
        part = frame.iloc[start : start + 10_000]
        columns = [[_json_value(value) for value in part[name].tolist()] for name in frame.columns]
        for number, values in enumerate(zip(*columns, strict=True)):
            text.write("\n" if start + number == 0 else ",\n")
            text.write(json.dumps(dict(zip(frame.columns, values, strict=True)), ensure_ascii=False, allow_nan=False))
    text.write("\n]\n")
    return text.getvalue()


def _json_value(value: Any) -> Any:
    if value is None or value is pd.NA or (isinstance(value, float) and not math.isfinite(value)):
        return None
    return value
