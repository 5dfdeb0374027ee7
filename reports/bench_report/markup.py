"""Small pieces of HTML that templates write ten thousands of times: names, numbers as programs read them, JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from markupsafe import Markup, escape

if TYPE_CHECKING:
    from bench_report.values import DifferenceView, Estimate, Word

_OPENING, _CLOSING = ("(", "“"), "),.:;?!”"
LONG = 40
"""Characters after which the style sheet cuts a name; it is whole in its title."""


@lru_cache(maxsize=4096)
def name(text: str) -> Markup:
    """Return a text from data, isolated from the direction of what surrounds it."""
    safe = escape(str(printable(text)))
    return Markup(f'<bdi class="name" title="{safe}">{safe}</bdi>' if len(text) > LONG else f"<bdi>{safe}</bdi>")


def glued(words: Sequence[Word]) -> list[tuple[str, Word, str]]:
    """Return words with what must stay on the line of a name: names are blocks, before and after which lines break.

    An opening bracket before a name, and closing marks after it, leave the words beside it.
    """
    words = [word for word in words if word.text]
    texts = [word.text for word in words]
    found = []
    for at, word in enumerate(words):
        before = after = ""
        if word.kind in ("name", "quote"):
            if at and words[at - 1].kind == "words" and texts[at - 1].endswith(_OPENING):
                texts[at - 1], before = texts[at - 1][:-1], texts[at - 1][-1]
            if at + 1 < len(words) and words[at + 1].kind == "words":
                rest = texts[at + 1].lstrip(_CLOSING)
                after, texts[at + 1] = texts[at + 1][: len(texts[at + 1]) - len(rest)], rest
        found.append((before, word, after))
    return [(before, replace(word, text=text), after) for (before, word, after), text in zip(found, texts)]


def coded(text: str) -> Markup:
    """Return words of the host, of which what stands between backticks is code."""
    parts = str(printable(text)).split("`")
    return Markup("").join(Markup("<code>{}</code>").format(x) if n % 2 else escape(x) for n, x in enumerate(parts))


def attack_name(label: str) -> Markup:
    """Return the name of an attack; `none` stands for clean images."""
    return Markup("clean") if label == "none" else name(label)


def machine_values(estimate: Estimate, show_n: bool = True) -> Markup:
    """Return a number as attributes; its n stands on the table where all cells of it have the same."""
    return _attributes(value=estimate.value, low=estimate.low, high=estimate.high, n=estimate.n if show_n else None)


def machine_difference(difference: DifferenceView, show_n: bool) -> Markup:
    """Return a difference of two numbers as attributes, as `machine_values` does a number."""
    return _attributes(
        value=difference.difference,
        low=difference.low,
        high=difference.high,
        p=difference.p,
        n=difference.n if show_n else None,
    )


def _attributes(n: int | None, **numbers: float | None) -> Markup:
    texts = [f'data-{key}="{machine(number)}"' for key, number in numbers.items() if number is not None]
    return Markup(" ".join(texts if n is None else [*texts, f'data-n="{n}"']))


def machine(value: float | None) -> str:
    """Return a number as programs read it: six digits, more than any table shows."""
    return "" if value is None else f"{value:.6g}"


def script_data(value: Any) -> Markup:
    """Return JSON that may stand in a script element: nothing in it can close the element or open a comment."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def columns(data: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, dict[str, Any]]:
    """Return rows of a chart as columns, a third of their size; the page's script makes rows of them again.

    A column of texts has each text once, `of`, and its place there per row, `at`; None stands for what a row has not.
    """
    found: dict[str, dict[str, Any]] = {}
    for part, rows in data.items():
        found[part] = {}
        for field in dict.fromkeys(field for row in rows for field in row):
            values = [row.get(field) for row in rows]
            texts = {value: place for place, value in enumerate(dict.fromkeys(v for v in values if v is not None))}
            if any(isinstance(value, str) for value in texts):
                found[part][field] = {"of": list(texts), "at": [texts.get(value) for value in values]}
            else:
                found[part][field] = values
    return found


def printable(value: Any) -> Any:
    """Return text that HTML can carry: control characters become their pictures, lone surrogates U+FFFD."""
    if type(value) is not str or value.isprintable():
        return value
    return value.translate(_PICTURES).encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def markdown(text: str) -> str:
    """Return a text as part of a line of Markdown: nothing in it is markup, HTML, or the end of a cell or line."""
    plain = re.sub(r"\s", " ", str(printable(text)))
    return re.sub(r"([\\`*_{}\[\]<>#|~&])", r"\\\1", plain)


_PICTURES = {code: 0x2400 + code for code in range(0x20) if code not in (0x09, 0x0A)} | {0x7F: 0x2421}
_PICTURES |= dict.fromkeys(range(0x80, 0xA0), 0xFFFD)
