"""Writes the report: view data into templates."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from bench_report.build import build_report
from bench_report.words import bytes_text, plural, seconds_text
from benchmark.reporter import Reporter

if TYPE_CHECKING:
    from benchmark.results import Run

PAGE = "index.html"
STYLE = "report.css"


class HtmlReporter(Reporter):
    """Writes `index.html` and its style sheet; with `single_file` the page holds the style sheet."""

    def write(self, runs: Sequence[Run], folder: Path, *, single_file: bool = False) -> Path:
        """Write the report of `runs` into `folder` and return the page.

        The same runs give the same bytes.
        """
        style = files("bench_report").joinpath("assets", STYLE).read_text(encoding="utf-8")
        page = _environment().get_template("report.html")
        html = page.render(
            report=build_report(runs),
            style=Markup(style) if single_file else None,  # a file of this package, not data
            stylesheet=STYLE,
        )
        folder.mkdir(parents=True, exist_ok=True)
        if not single_file:
            (folder / STYLE).write_text(style, encoding="utf-8")
        path = folder / PAGE
        path.write_text(html, encoding="utf-8")
        return path


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("bench_report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=printable,
    )
    environment.filters.update(
        seconds=seconds_text, memory=bytes_text, plural=plural, number=lambda value: f"{value:,}", machine=machine
    )
    return environment


def machine(value: float | None) -> str:
    """Return a number as programs read it: six digits, more than any table shows; pages hold ten thousands of them."""
    return "" if value is None else f"{value:.6g}"


def printable(value: Any) -> Any:
    """Return text that HTML can carry: control characters become their pictures, lone surrogates U+FFFD."""
    if type(value) is not str or value.isprintable():
        return value
    return value.translate(_PICTURES).encode("utf-16", "surrogatepass").decode("utf-16", "replace")


_PICTURES = {code: 0x2400 + code for code in range(0x20) if code not in (0x09, 0x0A)} | {0x7F: 0x2421}
_PICTURES |= dict.fromkeys(range(0x80, 0xA0), 0xFFFD)
