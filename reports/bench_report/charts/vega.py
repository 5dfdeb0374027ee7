"""Charts drawn by Vega: as SVG in the page, or as what the page draws itself."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import version
from typing import Any

import numpy as np

from bench_report.charts.specs import CONFIG, DESCRIPTIONS
from bench_report.kept import kept


def coordinate(value: float, span: float = math.inf) -> float:
    """Return a number as charts hold it: a thousandth of its axis, more than a chart has pixels, and of a whole number
    nothing behind the point.

    Args:
        value: the number.
        span: of the axis, where that need not contain 0; four digits are enough for the others.
    """
    digits = 4 + (math.ceil(math.log10(abs(value) / span)) if 0 < span < abs(value) else 0)
    short = float(f"{value:.{digits}g}")
    return int(short) if short.is_integer() else short


def coordinates(values: Sequence[float]) -> list[float]:
    """Return the numbers of an axis that need not contain 0."""
    span = max(values, default=0) - min(values, default=0)
    return [coordinate(value, span) for value in values]


def corners(x: np.ndarray, y: np.ndarray) -> list[tuple[float, float]]:
    """Return the points (N,) of a line that never turns back, as a ROC curve, but those on its way along an axis.

    The same line is drawn through the rest.
    """
    on_the_way = np.zeros(len(x), dtype=bool)
    for axis in (x, y):
        on_the_way[1:-1] |= (axis[:-2] == axis[1:-1]) & (axis[1:-1] == axis[2:])
    return [(coordinate(a), coordinate(b)) for a, b in zip(x[~on_the_way].tolist(), y[~on_the_way].tolist())]


@cache
def vega_script() -> str:
    """Return Vega and vega-embed as one script that needs no network: it sets `window.vegaEmbed`."""
    import vl_convert

    def bundle() -> str:
        # In a scope of its own: the bundle has thousands of short names.
        return "(()=>{" + vl_convert.javascript_bundle() + "})();\n"  # type: ignore[call-arg]  # their stub asks too much

    return kept(f"vega and vega-embed of vl-convert {_release()}", bundle)


@cache
def charts_script() -> str:
    """Return the compiled charts as a script that sets `window.benchCharts`."""
    return f"window.benchCharts={json.dumps(_compiled(), separators=(',', ':'))};\n"


def chart_svg(kind: str, data: Mapping[str, list[dict[str, Any]]]) -> str:
    """Return a chart as a picture that needs no script; its colours are variables of the style sheet.

    Args:
        kind: key of `DESCRIPTIONS`.
        data: rows by the name of the data set in the description.
    """
    import vl_convert

    description = _pictured(kind)
    sets = [
        {**named, "values": data[named["name"]]} if named["name"] in data else named for named in description["data"]
    ]
    # Words at the edge are as wide as the reader's font has them.
    longest = max((len(row["s"]) for row in data.get("names", ()) if "end" in row), default=0)
    padding = {"left": 5, "top": 5, "right": 24 + 2 * longest, "bottom": 5}
    svg: str = vl_convert.vega_to_svg({**description, "data": sets, "padding": padding})
    svg = re.sub(r'<path class="(?:back|fore)ground"[^>]* d="(?:M0,0h0v0h0Z)?"[^>]*/>', "", svg)  # nothing to be seen
    # Places to a hundredth of a pixel: they come with fifteen digits.
    return re.sub(r' (?:d|transform|[xy][12]?)="[^"]*"', lambda place: _shortened(place[0]), svg)


def _shortened(numbers: str) -> str:
    return re.sub(r"\d+\.\d{3,}", lambda number: f"{float(number[0]):.2f}".rstrip("0").rstrip("."), numbers)


def bare(svg: str) -> str:
    """Return a picture as it is looked at: without names of its groups, for scripts, and what changes nothing.

    Readers who do not see it have the label of its place.
    """
    unseen = r' (?:class|role|aria-[a-z]+|pointer-events)="[^"]*"| opacity="1"'
    return re.sub(r"<[^>]*>", lambda tag: re.sub(unseen, "", tag[0]), svg)


def in_colours(svg: str, colours: Mapping[str, str]) -> str:
    """Return a picture that stands for itself: without a style sheet, in colours by the names of its variables."""

    def of_element(tag: re.Match[str]) -> str:
        return re.sub(r'(?<==")var\((--[\w-]+)\)(?=")', lambda name: colours[name[1]], tag[0])

    # Words stand between the tags, where < and > are escaped: a label may be called as a variable is.
    return re.sub(r"<[^>]*>", of_element, svg)


def _release() -> str:
    return version("vl-convert-python")


@cache
def _compiled() -> dict[str, dict[str, Any]]:
    """Return what Vega is told of each kind of chart."""
    import vl_convert

    def compiled() -> str:
        return json.dumps({kind: vl_convert.vegalite_to_vega(one) for kind, one in described.items()})

    described = {kind: {**description, "config": CONFIG} for kind, description in DESCRIPTIONS.items()}
    text = kept(f"charts of vl-convert {_release()}: {json.dumps(described)}", compiled)
    return {kind: _titled(one) for kind, one in json.loads(text).items()}


@cache
def _pictured(kind: str) -> dict[str, Any]:
    """Return the compiled chart on a page of its own; the name of every font is written at every word of a picture."""
    text = json.dumps({**_compiled()[kind], "background": "var(--page)"})
    found: dict[str, Any] = json.loads(text.replace(json.dumps(CONFIG["font"])[1:-1], "sans-serif"))
    return found


def _titled(compiled: dict[str, Any]) -> dict[str, Any]:
    """Return a compiled chart whose axes read titles such as `lines.xt` from the data; Vega-Lite cannot."""
    for axis in compiled.get("axes", ()):
        name, _, field = str(axis.get("title", "")).partition(".")
        if name in ("lines", "points") and field in ("xt", "yt"):
            axis["title"] = {"signal": f"data('{name}')[0].{field}"}
    names = {named["name"] for named in compiled.get("data", ())}
    for scale in compiled.get("scales", ()):
        # By itself it asks layers that may be empty, too, of which Vega warns.
        for whole in names & {"lines", "frame"}:
            if scale["name"] == "x":
                scale["domain"] = {"data": whole, "field": "x"}
    # Nor does it see that colours and dashes over the same names are one legend, unless their names are given.
    domains = {scale["name"]: json.dumps(scale["domain"]) for scale in compiled.get("scales", ())}
    legends: dict[str, dict[str, Any]] = {}
    for legend in compiled.get("legends", ()):
        of = next(
            domains[legend[channel]] for channel in ("fill", "stroke", "strokeDash", "shape") if channel in legend
        )
        legends[of] = legends.get(of, {}) | legend
    return compiled | ({"legends": list(legends.values())} if legends else {})
