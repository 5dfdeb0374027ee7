"""Texts and numbers on their way to a terminal or a spreadsheet."""

from __future__ import annotations

import math
import re
import signal
import sys
from collections.abc import Sequence
from typing import Any

import click

_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # control characters, but for tab and new line
    "\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff"  # what turns, joins, hides or breaks text (Unicode UAX #9)
    "\ud800-\udfff]"  # bytes of a file name that are no UTF-8
)


def printable(text: str) -> str:
    """Return `text` as a terminal may show it: what would move the cursor, turn the text or hide in it is escaped."""
    return _UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def say(text: object, *, err: bool = False) -> None:
    """Print a line for people."""
    click.echo(printable(str(text)), err=err)


def json_text(facts: Any) -> str:
    """Return plain data as a program reads it."""
    import json  # which few commands need

    return json.dumps(facts, indent=1)


def endure() -> None:
    """Let the standard streams escape what their encoding lacks, where they would end the program."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def legible(text: str) -> str:
    """Return a text that UTF-8 can hold: bytes of a file name that are none are escaped."""
    return text.encode("utf-8", "backslashreplace").decode()


def shortened(names: Sequence[str], most: int = 4) -> str:
    """Return the first names of a list, and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def percent(share: float) -> str:
    """Return a share in percent with the digits that tell it from 0 and 1: `5%`, `12%`, `99.6%`, `0.0000001%`."""
    near = 100 * min(share, 1 - share)
    digits = max(0, 1 - math.floor(math.log10(near))) if near > 0 else 0
    text = f"{100 * share:.{digits}f}"
    return f"{text.rstrip('0').rstrip('.') if digits else text}%"


def tenths(share: float) -> str:
    """Return a share in percent with one digit: `12.5 %`."""
    return f"{100 * share:.1f} %"


def seconds_text(seconds: float) -> str:
    """Return a duration for people: `8 s`, `3 min 5 s`, `2 h 10 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def size_text(size: float) -> str:
    """Return bytes for people: `512 B`, `3.4 MiB`, `120 GiB`."""
    power = min(int(math.log2(max(size, 1)) // 10), 4)
    value = size / 1024**power
    return f"{value:.{0 if value >= 10 or not power else 1}f} {('B', 'KiB', 'MiB', 'GiB', 'TiB')[power]}"


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows as lines, in which what belongs to a column stands below each other."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def signal_name(number: int) -> str:
    """Return a signal in words: `signal 9 (SIGKILL)`; those that have no name of their own by their number alone."""
    names = {known.value: f" ({known.name})" for known in signal.Signals}
    return f"signal {number}{names.get(number, '')}"


def for_spreadsheets(text: Any) -> Any:
    """Return a text with `'` in front where a spreadsheet would take it for a formula; anything else as it is.

    The characters are those that OWASP names ("CSV Injection"), and their full-width forms.
    """
    return f"'{text}" if isinstance(text, str) and text.startswith(_FORMULA) else text


_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
