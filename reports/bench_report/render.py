"""Writes the report: view data into templates, pages into a folder or into one file."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from bench_report import markup
from bench_report.blocks import SWITCH
from bench_report.build import Report, build_report
from bench_report.charts.vega import bare, chart_svg, charts_script, in_colours, vega_script
from bench_report.checklist import page as checklist
from bench_report.leaderboard import Board, BoardView, address
from bench_report.links import INDEX, Links, data_file, page_id
from bench_report.measures import MEASURES, Measure, measures_of_plugins
from bench_report.samples import packed
from bench_report.sentences.phrases import SIGNS
from bench_report.sentences.pictures import CENTRAL, chart_alt, figure_alt
from bench_report.sentences.verdicts import HOLDS, NOT_CONCLUDED, conclusions
from bench_report.values import ChartView, FigureView
from bench_report.words import KNOWLEDGE, bytes_text, plural, seconds_text
from benchmark import TAGS, TRUST_MARKS, InputError, Reporter, csv_text, write_whole

if TYPE_CHECKING:
    from benchmark import Run

STYLE, VEGA, CHARTS, TERMS = "report.css", "vega.js", "charts.js", "terms.js"
SCRIPTS = ("report.js", "tables.js", "samples.js")
BOARD_SCRIPTS = ("report.js", "tables.js", "leaderboard.js")
MARK = '<meta name="generator" content="unmask-bench">'
BOARD_MARK = '<meta name="generator" content="unmask-bench leaderboard">'
UNFINISHED = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">{MARK}<title>Unfinished report</title></head>
<body><p>This report is being written, or was interrupted: <code>bench report</code> writes it anew.</p></body>
</html>
"""
"""Stands in for the first page until all others are there: what an interruption leaves is known as ours."""
OWNED = ("assets", "cells", "charts", "settings", "images", "samples", "downloads")
"""Folders of a report: removed before it is written again, so that no page of an earlier run is left."""
CHECKLIST, TWIN = "checklist.html", "checklist.md"
"""The checklists of the runs, as a page and as Markdown."""
MOST_PICTURES = 24
"""Charts of a report that are drawn as files too, for readers without scripts: each costs 30 to 120 ms and 5 to 50 kB,
so that the thousands of a large grid would cost minutes. The others are drawn and saved by the script alone."""


@dataclass(frozen=True)
class Sheet:
    """A page to be rendered.

    Attributes:
        data: of the browser of images, packed, "" for none; the browser also loads the files `pictures`.
    """

    page: str
    title: str
    template: str
    values: dict[str, Any]
    charts: bool = False
    data: str = ""
    pictures: tuple[str, ...] = ()


class HtmlReporter(Reporter):
    """Writes `index.html`, a page per cell and what they need; with `single_file` one page that holds all of it."""

    def prepare(self) -> None:
        """Compile charts and templates."""
        charts_script()
        vega_script()
        for name in _environment().list_templates():
            _environment().get_template(name)

    def write(self, runs: Sequence[Run], folder: Path, *, single_file: bool = False) -> Path:
        """Write the report of `runs` into `folder` and return the page to open first.

        The same runs give the same bytes.

        Raises:
            InputError: a run is damaged.
            OSError: the folder cannot be written to.
        """
        report = build_report(runs, self.panels, measures_of_plugins(self.measures))
        folder.mkdir(parents=True, exist_ok=True)
        self.clear(folder)
        for name in (*OWNED, CHECKLIST, TWIN, INDEX):
            if (folder / name).exists():
                raise InputError(
                    f"{str(folder)!r} has {name!r} in it, which no report wrote. Give an empty or a new folder by "
                    "-o, so that nothing of yours is overwritten."
                )
        write_whole(folder / INDEX, UNFINISHED.encode())
        first = _single(report, runs) if single_file else _write_folder(report, runs, folder)
        write_whole(folder / INDEX, first.encode())
        return folder / INDEX

    def rank(self, runs: Sequence[Run], folder: Path) -> Path:
        """Write a leaderboard of `runs`: `index.html`, a page that needs no other file, and `leaderboard.csv`.

        Raises:
            InputError: a run is damaged, none has a row, or the folder holds what no leaderboard wrote.
            OSError: the folder cannot be written to.
        """
        found = [run.report for run in runs]
        reports = [(address(report, folder), report) if _is_ours(report) else None for report in found]
        board = Board(runs, reports, measures_of_plugins(self.measures))
        view = board.view()
        page, table = _board(view, [run.key for run in board.runs]), csv_text(board.table())
        if not _is_ours(folder, BOARD_MARK):
            for name in (INDEX, view.file):
                if (folder / name).exists():
                    raise InputError(
                        f"{str(folder)!r} has {name!r} in it, which no leaderboard wrote. Give an empty or a new "
                        "folder by -o, so that nothing of yours is overwritten."
                    )
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / INDEX, page.encode())
        write_whole(folder / view.file, table.encode("utf-8", "replace"))
        return folder / INDEX

    def clear(self, folder: Path) -> None:
        """Remove an earlier report."""
        if _is_ours(folder):
            # First: a first page whose others have gone must not look like a report.
            write_whole(folder / INDEX, UNFINISHED.encode())
            for name in OWNED:
                shutil.rmtree(folder / name, ignore_errors=True)
            for name in (CHECKLIST, TWIN):
                (folder / name).unlink(missing_ok=True)
            (folder / INDEX).unlink()


def _is_ours(folder: Path, mark: str = MARK) -> bool:
    index = folder / INDEX
    return index.is_file() and mark in index.read_text(encoding="utf-8", errors="replace")


def _sheets(report: Report, runs: Sequence[Run]) -> Iterator[Sheet]:
    """Yield the pages, cell by cell."""
    view = report.view
    options = [
        {"key": o.key, "title": o.title, "unit": o.unit, "better": o.better,
         "metrics": {"clean": o.clean, "attack": o.attack, "worst": o.worst}}
        for o in SWITCH
    ]  # fmt: skip
    yield Sheet(INDEX, view.title, "index.html", {"report": view, "options": options, "checklists": report.checklists})
    values = {"report": view, "checklists": report.checklists, "several": len(runs) > 1}
    yield Sheet(CHECKLIST, checklist.TITLE, "checklist.html", values)
    parts = zip(view.runs, report.cells, report.figures, report.probes)
    for number, (run, cells, figures, probes) in enumerate(parts, 1):
        common = {"report": view, "run": run, "several": len(runs) > 1, "run_number": number}
        for block in run.blocks:
            shown = figures.of(block)
            values = {**common, "block": block, "figures": shown, "probes": probes.of(block)}
            title, images = f"{block.model} on {block.dataset}", cells.samples.of_block(block)
            yield Sheet(
                block.page,
                title,
                "setting.html",
                values,
                bool(shown.figures),
                "" if images is None else packed(images),
                () if images is None else tuple(images["sheets"]),
            )
        for cell in cells:
            title = f"{cell.defense} · {cell.attack_title}"
            charts = any(seed.charts or any(plots.charts for plots in seed.plots) for seed in cell.seeds)
            values = {**common, "cell": cell}
            yield Sheet(cell.page, title, "cell.html", values, charts, cell.samples, cell.sheets)


def _write_folder(report: Report, runs: Sequence[Run], folder: Path) -> str:
    """Write all but the first page, and return that."""
    first = ""
    for name in ("assets", "cells", "settings", "downloads"):
        (folder / name).mkdir()
    (folder / "assets" / STYLE).write_text(_asset(STYLE), encoding="utf-8")
    (folder / "assets" / TERMS).write_text(
        f"window.benchTerms = {_terms(report.view.glossary, report.tips)};\n", encoding="utf-8"
    )
    for name in SCRIPTS:
        (folder / "assets" / name).write_text(_asset(name), encoding="utf-8")
    for name, content in _downloads(runs):
        (folder / "downloads" / name).write_bytes(content)
    (folder / TWIN).write_bytes(_twin(report))
    images: set[str] = set()
    pictures = _Pictures()
    template = _environment().get_template("page.html")
    charts = False
    for sheet in _sheets(report, runs):
        links = Links(sheet.page)
        charts |= sheet.charts

        def image(name: str, run_number: int, links: Links = links) -> str:
            if name not in images:
                images.add(name)
                runs[run_number - 1].image(name)  # verified
                (folder / "images").mkdir(exist_ok=True)
                _place(runs[run_number - 1].path / "images" / name, folder / "images" / name)
            return links.file(f"images/{name}")

        def picture(chart: ChartView | FigureView, of: str, links: Links = links) -> str:
            drawn = pictures.draw(chart, page_id(links.page) + of.removeprefix(links.id(links.page)))
            if drawn is None:
                return ""
            name, svg = drawn
            (folder / "charts").mkdir(exist_ok=True)
            (folder / "charts" / name).write_text(svg, encoding="utf-8")
            return links.file(f"charts/{name}")

        scripts = [*([VEGA, CHARTS] if sheet.charts else []), TERMS, *SCRIPTS]
        html = _rendered(
            template,
            [sheet],
            title=sheet.title,
            keys=[run.key for run in runs],
            links=links,
            image=image,
            picture=picture,
            drawn=pictures.inline,
            download=lambda name, links=links: links.file(f"downloads/{name}"),
            twin=links.file(TWIN),
            policy=Markup("script-src 'self' file:; style-src 'self' file: 'unsafe-inline'"),
            stylesheet=links.file(f"assets/{STYLE}"),
            scripts=[links.file(f"assets/{name}") for name in scripts],
        )
        if sheet.page == INDEX:
            first = html
        else:
            (folder / sheet.page).write_text(html, encoding="utf-8")
        if sheet.data:
            (folder / "samples").mkdir(exist_ok=True)
            path = data_file(sheet.page)
            line = f'(window.benchSamples ??= {{}})["{Path(path).stem}"] = "{sheet.data}";\n'
            (folder / path).write_text(line, encoding="utf-8")
        for name in sheet.pictures:
            image(name, sheet.values["run_number"])
    if charts:
        (folder / "assets" / VEGA).write_text(vega_script(), encoding="utf-8")
        (folder / "assets" / CHARTS).write_text(charts_script(), encoding="utf-8")
    return first


def _single(report: Report, runs: Sequence[Run]) -> str:
    downloads = {
        name: f"data:{'text/csv' if name.endswith('.csv') else 'application/octet-stream'};base64,{_base64(content)}"
        for name, content in _downloads(runs)
    }

    @cache
    def image(name: str, run_number: int) -> str:
        return "data:image/png;base64," + _base64(runs[run_number - 1].image(name))

    pictures = _Pictures()

    def picture(chart: ChartView | FigureView, of: str) -> str:
        drawn = pictures.draw(chart, of)
        return "" if drawn is None else "data:image/svg+xml;base64," + _base64(drawn[1].encode())

    sheets = list(_sheets(report, runs))
    charts = [vega_script(), charts_script()] if any(sheet.charts for sheet in sheets) else []
    inline, policy = _inline([*charts, *map(_asset, SCRIPTS)])
    return _rendered(
        _environment().get_template("page.html"),
        sheets,
        title=report.view.title,
        keys=[run.key for run in runs],
        links=Links(INDEX, single=True),
        image=image,
        picture=picture,
        drawn=pictures.inline,
        download=downloads.__getitem__,
        twin="data:text/markdown;base64," + _base64(_twin(report)),
        policy=policy,
        terms=_terms(report.view.glossary, report.tips),
        data={Path(data_file(sheet.page)).stem: sheet.data for sheet in sheets if sheet.data},
        held={
            name: _base64(runs[sheet.values["run_number"] - 1].image(name))
            for sheet in sheets
            for name in sheet.pictures
        },
        style=Markup(_asset(STYLE)),  # files of this package and of libraries, not data
        inline=inline,
    )


def _inline(scripts: Sequence[str]) -> tuple[list[Markup], str]:
    """Return scripts as a page may hold them, and the policy that allows them and no others."""
    # A script that is closed by what it holds would let the rest of it into the page.
    safe = [script.replace("</script", "<\\/script").replace("<!--", "<\\!--") for script in scripts]
    digests = [hashlib.sha256(f"\n{script}\n".encode()).digest() for script in safe]
    hashes = " ".join(f"'sha256-{_base64(digest)}'" for digest in digests)
    return [Markup(script) for script in safe], f"script-src {hashes}; style-src 'unsafe-inline'"


def _board(view: BoardView, keys: Sequence[str]) -> str:
    """Return the page of a leaderboard."""
    inline, policy = _inline([*map(_asset, BOARD_SCRIPTS)])
    return _rendered(
        _environment().get_template("page.html"),
        [Sheet(INDEX, view.title, "leaderboard.html", {"board": view})],
        title=view.title,
        generator="unmask-bench leaderboard",
        keys=keys,
        links=Links(INDEX),
        policy=policy,
        terms=_terms(MEASURES.values(), {}),
        style=Markup(_asset(STYLE)),
        inline=inline,
    )


def _rendered(template: Template, sheets: Sequence[Sheet], **values: Any) -> str:
    usual: dict[str, Any] = {"style": None, "stylesheet": "", "scripts": (), "inline": (), "data": {}, "held": {}}
    usual |= {
        "generator": "unmask-bench",
        "terms": "",
        "page_id": page_id,
        "data_file": data_file,
        "most_pictures": MOST_PICTURES,
        "central_kinds": CENTRAL,
        "holds": HOLDS,
        "not_concluded": NOT_CONCLUDED,
        "checklist_paper": checklist.PAPER,
        "checklist_warning": checklist.WARNING,
        "checklist_said": checklist.SAID,
        "checklist_frameworks": " and ".join(dict.fromkeys(tag.framework for tag in TAGS)),
    }
    return template.render(sheets=sheets, verdict_notes=conclusions(), **{**usual, **values})


class _Pictures:
    """Draws the first charts of a report, each once; the files are in the colours of the light theme."""

    def __init__(self) -> None:
        light = _asset(STYLE).partition("@media")[0]
        self._colours = {name: value.strip() for name, value in re.findall(r"(--[\w-]+):\s*([^;]+);", light)}
        self._drawn: dict[str, tuple[str, str]] = {}

    def draw(self, chart: ChartView | FigureView, of: str) -> tuple[str, str] | None:
        """Return a chart's file name and SVG, None where enough have been drawn.

        Args:
            of: id, among those of all pages, of what the chart is about.
        """
        drawn = self._draw(chart, of)
        return None if drawn is None else (drawn[0], in_colours(drawn[1], self._colours))

    def inline(self, chart: FigureView, of: str) -> Markup:
        """Return a chart as part of a page, in the colours of its theme; nothing where enough have been drawn."""
        drawn = self._draw(chart, of)
        if drawn is None:
            return Markup("")
        # A page needs no names of formats. Its place has a label; what Vega says of its groups is not for readers.
        head, _, rest = drawn[1].partition(">")
        head = re.sub(r' xmlns(:\w+)?="[^"]*"', "", head).replace("<svg ", '<svg aria-hidden="true" ')
        return Markup(f"{head}>{rest}")

    def _draw(self, chart: ChartView | FigureView, of: str) -> tuple[str, str] | None:
        # XML, like HTML, has no place for control characters.
        data = {
            part: [{field: markup.printable(value) for field, value in row.items()} for row in rows]
            for part, rows in chart.data.items()
        }
        shown = json.dumps([chart.kind, data])
        if shown not in self._drawn:
            if len(self._drawn) == MOST_PICTURES:
                return None
            stem = f"{of.removeprefix('page-')}-{chart.kind}"
            names = {name for name, _ in self._drawn.values()}
            tails = ("", *(f"-{number}" for number in range(2, MOST_PICTURES + 2)))
            name = next(name for tail in tails if (name := f"{stem}{tail}.svg") not in names)
            self._drawn[shown] = name, bare(chart_svg(chart.kind, data))
        return self._drawn[shown]


def _downloads(runs: Sequence[Run]) -> Iterator[tuple[str, bytes]]:
    """Yield names and contents of the tables to download."""
    for number, run in enumerate(runs, 1):
        prefix = f"run{number}-" if len(runs) > 1 else ""
        yield f"{prefix}metrics.csv", csv_text(run.metrics).encode("utf-8", "replace")
        yield f"{prefix}metrics.parquet", run.read("metrics.parquet")


def _twin(report: Report) -> bytes:
    """Return the checklists as Markdown."""
    return "\n".join(one.markdown() for one in report.checklists).encode("utf-8", "replace")


def _place(source: Path, target: Path) -> None:
    """Let the report have its own name for an image; a copy where the file system knows no links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _terms(measures: Iterable[Measure], tips: Mapping[str, tuple[str, str]]) -> Markup:
    """Return what measures, attackers and marks are, as JSON by their names: title and meaning."""
    terms = {known.name: (known.title, known.definition) for known in measures}
    terms |= {name: (f"{name} attacker", f"The attacker {text}") for name, text in KNOWLEDGE.items()}
    return markup.script_data(terms | dict(tips))


def _asset(name: str) -> str:
    return files("bench_report").joinpath("assets", name).read_text(encoding="utf-8")


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("bench_report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=markup.printable,
    )
    environment.filters.update(
        seconds=seconds_text,
        memory=bytes_text,
        plural=plural,
        number=lambda value: f"{value:,}",
        machine=markup.machine,
        script=markup.script_data,
        columns=markup.columns,
        figure_alt=figure_alt,
        chart_alt=chart_alt,
        coded=markup.coded,
        glued=markup.glued,
    )
    for function in (markup.name, markup.attack_name, markup.machine_values, markup.machine_difference):
        environment.globals[function.__name__] = function
    environment.globals.update(signs=SIGNS, meanings=TRUST_MARKS)
    return environment
