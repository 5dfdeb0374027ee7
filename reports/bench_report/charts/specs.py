"""The charts of a cell page: Vega-Lite descriptions that are compiled here and drawn by Vega in the reader's browser.

A description names its data sets (`curve`, `point`, …); a page holds only the numbers. Colours are variables of the
style sheet, so that light and dark are one chart.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

PERCENT = {"format": ".0%", "tickCount": 5}


def _line(name: str, encoding: dict[str, Any], **mark: Any) -> dict[str, Any]:
    return {"data": {"name": name}, "mark": {"type": "line", "strokeWidth": 2, **mark}, "encoding": encoding}


def _axis(field: str, title: str, *, domain: list[float] | None = None, **axis: Any) -> dict[str, Any]:
    scale: dict[str, Any] = {"zero": False, "nice": False} if domain is None else {"domain": domain}
    return {"field": field, "type": "quantitative", "title": title, "scale": scale, "axis": axis}


_FPR, _TPR = "False-positive rate", "True-positive rate"
_KINDS = ["clean", "attack successful", "attack failed", "wrong before the attack"]
_SHARES = ["robust accuracy", "attack success"]
_PALETTE = ["var(--chart-clean)", "var(--chart-success)", "var(--chart-failed)", "var(--chart-before)"]

SERIES = 8
"""Colours of a chart with several lines; the lines after them have the same colours, other dashes and other marks."""
_DASHES = [[1, 0], [7, 3], [2, 2], [10, 3, 2, 3], [5, 2, 1, 2, 1, 2], [12, 5]]
_KIN = (0, 2, 1, 1, 0, 2, 2, 0)
"""Colours of one number are told apart by everybody, in light and dark; what may look alike has another number."""
MOST_LINES = 2 * SERIES
"""Lines of a chart that can still be told apart."""
COLOURS = [f"var(--series-{number + 1})" for number in range(SERIES)]
_NAMED = [{"lookup": "n", "from": {"data": {"name": "names"}, "key": "n", "fields": ["s"]}}]
"""A row of a line has the number of its series alone; names can be long."""
_GUESSING = {
    "data": {"values": [{"x": 0, "y": 0}, {"x": 1, "y": 1}]},
    "mark": {"type": "line", "strokeDash": [4, 4], "color": "var(--chart-grid-strong)", "strokeWidth": 1},
    "encoding": {"x": {"field": "x", "type": "quantitative"}, "y": {"field": "y", "type": "quantitative"}},
}


_PALETTE_DASHES = [_DASHES[at] for at in (0, 1, 2, 0)]


def _by_series(channel: str, values: list[Any]) -> dict[str, Any]:
    """Return an encoding of the field `s`: the n-th series found gets the n-th value."""
    return {
        channel: {
            "field": "s",
            "type": "nominal",
            "title": None,
            "sort": None,
            "scale": {"range": values},
            "legend": {"orient": "bottom", "columns": 1, "labelLimit": 420, "symbolType": "stroke", "symbolSize": 300},
        }
    }


_SHAPES = ["circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-left", "triangle-right"]
_SHAPES = [*_SHAPES, *(_SHAPES[at] for at in (1, 5, 3, 4, 7, 6, 2, 0))]  # what may look alike differs in shape
_SERIES_COLOUR = _by_series("color", COLOURS)
_SERIES_DASH = _by_series("strokeDash", [_DASHES[kin + 3 * again] for again in (0, 1) for kin in _KIN])
_SERIES_SHAPE = {"shape": {**_by_series("shape", _SHAPES)["shape"], "legend": None}}


_FRONT = ["yes", "at most", "no"]
_GIVEN_COLOUR = {"color": {"field": "colour", "type": "nominal", "scale": None}}
"""For marks that have no dash: a scale of colours alone would have a legend of its own."""


def _lines(scale: dict[str, Any]) -> dict[str, Any]:
    """Return lines; data `lines` (x, y, s, at, low, high, colour), `worst` and `published` (x, y, s, at), and `names`.

    The first row of `lines` has the titles of the axes: xt and yt. `names` (x, y, s, colour, end) stand right of the
    last point (x, end) of their line, at the height y.
    """
    y = _axis("y", "lines.yt", domain=[0, 1], tickCount=5, format=".2~f")
    either = {"y": y, **_SERIES_COLOUR, **_SERIES_DASH}  # the same in all layers, or each gets a legend of its own

    def tooltip(title: str) -> dict[str, Any]:
        return {
            "tooltip": [
                {"field": "s", "type": "nominal", "title": title},
                {"field": "at", "type": "nominal", "title": "At"},
                {"field": "y", "type": "quantitative", "title": "Value", "format": ".3f"},
            ]
        }

    ends = {"y": y | {"field": "low"}, "y2": {"field": "high"}}
    return {
        "description": "A measure over a number in which attacks or defenses differ",
        "width": 420,
        "height": 250,
        "encoding": {
            "x": {"field": "x", "type": "quantitative", "title": "lines.xt", "scale": scale, "axis": {"tickCount": 7}}
        },
        "layer": [
            {
                "data": {"name": "lines"},
                "transform": [{"filter": "isValid(datum.low)"}],
                "mark": {"type": "rule", "strokeWidth": 1.3, "strokeOpacity": 0.65},
                "encoding": {**_GIVEN_COLOUR, **ends},
            },
            _line("lines", either),
            {
                "data": {"name": "lines"},
                "mark": {"type": "point", "filled": True, "size": 55, "opacity": 1},
                "encoding": {**either, **_SERIES_SHAPE, **tooltip("Line")},
            },
            {
                "data": {"name": "worst"},
                "mark": {"type": "point", "shape": "diamond", "size": 70, "strokeWidth": 1.8, "opacity": 1},
                "encoding": either | tooltip("Worst case"),
            },
            {
                "data": {"name": "published"},
                "mark": {"type": "point", "shape": "square", "size": 60, "strokeWidth": 1.6, "opacity": 1},
                "encoding": either | tooltip("Published"),
            },
            {
                "data": {"name": "names"},
                "mark": {"type": "rule", "strokeWidth": 0.8, "strokeOpacity": 0.7, "xOffset": 5, "x2Offset": 15},
                "encoding": {
                    **_GIVEN_COLOUR,
                    "x2": {"field": "x"},
                    "y": y | {"field": "end"},
                    "y2": {"field": "y"},
                },
            },
            {
                "data": {"name": "names"},
                "mark": {"type": "text", "align": "left", "dx": 18, "limit": 150, "fontSize": 11.5, "fontWeight": 600},
                "encoding": {"y": y, "text": {"field": "s", "type": "nominal"}, **_GIVEN_COLOUR},
            },
        ],
    }


def _trade_off() -> dict[str, Any]:
    """Return defenses by clean accuracy and worst case; data `points`, `front`, `names`, and `frame`, the ends of x.

    `points` (s, x, y, left, right, low, high, front, open, cost) are filled, but for upper bounds. `names` (s, cost,
    x, y) are moved by dx and dy pixels, their second line by dx and under.
    """
    across = _axis("x", "Clean images right and not rejected", format=".0%", tickCount=5)
    up = _axis("y", "Withstood at worst", domain=[0, 1], **PERCENT)
    on = {"field": "front", "type": "nominal", "legend": None}
    colour = {"color": on | {"scale": {"domain": _FRONT, "range": [COLOURS[0], COLOURS[0], "var(--muted)"]}}}
    shape = {"shape": on | {"scale": {"domain": _FRONT, "range": ["diamond", "diamond", "circle"]}}}
    size = {"size": on | {"scale": {"domain": _FRONT, "range": [150, 150, 60]}}}
    tooltip = [
        {"field": "s", "type": "nominal", "title": "Defense"},
        {"field": "front", "type": "nominal", "title": "On the front"},
        {"field": "x", "type": "quantitative", "title": "Right on clean", "format": ".1%"},
        {"field": "y", "type": "quantitative", "title": "Withstood at worst", "format": ".1%"},
        {"field": "cost", "type": "nominal", "title": "Cost"},
    ]
    bar = {"type": "rule", "strokeWidth": 1.3, "strokeOpacity": 0.6}
    point = {"type": "point", "opacity": 1, "strokeWidth": 2}
    either = {"x": across, "y": up, **colour}

    def name(field: str, down: str, **mark: Any) -> dict[str, Any]:
        moved = {"dx": {"expr": "datum.dx"}, "dy": {"expr": f"datum.{down}"}, "align": {"expr": "datum.align"}}
        return {
            "data": {"name": "names"},
            "mark": {"type": "text", "baseline": "middle", **moved, **mark},
            "encoding": {**either, "text": {"field": field, "type": "nominal"}},
        }

    def marks(which: str, **mark: Any) -> dict[str, Any]:
        return {
            "data": {"name": "points"},
            "transform": [{"filter": which}],
            "mark": {**point, **mark},
            "encoding": {**either, **shape, **size, "tooltip": tooltip},
        }

    return {
        "description": "Accuracy on clean images against the worst case under attack, a mark per defense",
        "width": 360,
        "height": 300,
        "layer": [
            {"data": {"name": "frame"}, "mark": {"type": "rule", "opacity": 0}, "encoding": {"x": across}},
            {
                "data": {"name": "front"},
                "mark": {"type": "line", "interpolate": "step-before", "strokeWidth": 1, "strokeDash": [4, 3]}
                | {"color": "var(--chart-grid-strong)"},
                "encoding": {"x": across, "y": up, "order": {"field": "order", "type": "quantitative"}},
            },
            {
                "data": {"name": "points"},
                "mark": bar,
                "encoding": {**either, "x": across | {"field": "left"}, "x2": {"field": "right"}},
            },
            {
                "data": {"name": "points"},
                "mark": bar,
                "encoding": {**either, "y": up | {"field": "low"}, "y2": {"field": "high"}},
            },
            marks("!datum.open", filled=True),
            marks("datum.open", fill="var(--page)"),
            name("s", "dy", fontSize=11.5, fontWeight=600),
            name("cost", "under", fontSize=10),
        ],
    }


def _by_kind(
    field: str, channel: str, values: Sequence[Any], kinds: Sequence[str], **legend: str | int
) -> dict[str, Any]:
    """Return an encoding of what an image or a number is: the kinds in this order, or as they are found."""
    scale = {"range": list(values), **({"domain": list(kinds)} if kinds else {})}
    usual = {"orient": "top", **legend}
    return {channel: {"field": field, "type": "nominal", "title": None, "sort": None, "scale": scale, "legend": usual}}


def _plotted(channel: str, values: Sequence[Any]) -> dict[str, Any]:
    return _by_kind("series", channel, values, (), columns=3, columnPadding=16, labelLimit=130)


def _kinds(kinds: Sequence[str]) -> dict[str, Any]:
    """Return colour and dash of kinds."""
    legend: dict[str, Any] = {"symbolType": "stroke", "symbolSize": 300}
    of = len(kinds)
    return {
        **_by_kind("kind", "color", _PALETTE[:of], kinds, **legend),
        **_by_kind("kind", "strokeDash", _PALETTE_DASHES[:of], kinds, **legend),
    }


_PLOT_COLOURS = _plotted("color", [*_PALETTE, *COLOURS])
_PLOT_SHAPES = _plotted("shape", _SHAPES[: len(_PALETTE) + SERIES])
_PLOT_DASHES = _plotted("strokeDash", [*_PALETTE_DASHES, *(_DASHES[kin + 3] for kin in _KIN)])

DESCRIPTIONS: dict[str, dict[str, Any]] = {
    "roc": {
        "description": "ROC curve of the score, with the chosen threshold",
        "width": 300,
        "height": 250,
        "layer": [
            {
                "data": {"values": [{"x": 0, "y": 0}, {"x": 1, "y": 1}]},
                "mark": {"type": "line", "strokeDash": [4, 4], "color": "var(--chart-grid-strong)", "strokeWidth": 1},
                "encoding": {"x": {"field": "x", "type": "quantitative"}, "y": {"field": "y", "type": "quantitative"}},
            },
            _line(
                "curve",
                {
                    "x": _axis("x", _FPR, domain=[0, 1], **PERCENT),
                    "y": _axis("y", _TPR, domain=[0, 1], **PERCENT),
                    "order": {"value": None},  # as they come
                },
                color="var(--chart-clean)",
            ),
            {
                "data": {"name": "point"},
                "mark": {"type": "point", "filled": True, "size": 90, "opacity": 1, "color": "var(--chart-cut)"},
                "encoding": {
                    "x": {"field": "x", "type": "quantitative"},
                    "y": {"field": "y", "type": "quantitative"},
                    "tooltip": [
                        {"field": "x", "type": "quantitative", "format": ".1%", "title": _FPR},
                        {"field": "y", "type": "quantitative", "format": ".1%", "title": _TPR},
                    ],
                },
            },
        ],
    },
    "scores": {
        "description": "Distribution of the score on clean images, successful attacks and failed attacks",
        "width": 420,
        "height": 250,
        "layer": [
            {
                "data": {"name": "bins"},
                "mark": {"type": "area", "interpolate": "step", "fillOpacity": 0.22, "line": {"strokeWidth": 1.6}},
                "encoding": {
                    "x": _axis("x", "Score: higher is more suspicious", tickCount=7),
                    "y": {
                        "field": "share",
                        "type": "quantitative",
                        "title": "Share of their images",
                        "stack": None,
                        "axis": {"format": ".0%", "tickCount": 5},
                    },
                    **_kinds(_KINDS),
                },
            },
            {
                "data": {"name": "cut"},
                "mark": {"type": "rule", "strokeWidth": 2, "color": "var(--chart-cut)"},
                "encoding": {"x": {"field": "x", "type": "quantitative"}},
            },
        ],
    },
    "budget": {
        "description": "Robust accuracy and attack success over the budget",
        "width": 420,
        "height": 230,
        "data": {"name": "sweep"},
        "mark": {"type": "line", "strokeWidth": 2, "point": {"filled": True, "size": 55}},
        "encoding": {
            "x": _axis("eps", "Budget ε", tickCount=7),
            "y": _axis("value", "Share of images", domain=[0, 1], **PERCENT),
            **_kinds(_SHARES),
            "tooltip": [
                {"field": "kind", "type": "nominal", "title": "Measure"},
                {"field": "eps", "type": "quantitative", "title": "ε", "format": ".4g"},
                {"field": "value", "type": "quantitative", "title": "Value", "format": ".1%"},
            ],
        },
    },
    "distance": {
        "description": "Attack success over the distance from the clean image",
        "width": 420,
        "height": 230,
        "data": {"name": "steps"},
        "mark": {"type": "line", "strokeWidth": 2, "interpolate": "step-after"},
        "encoding": {
            "x": _axis("x", "Distance from the clean image", tickCount=7),
            "y": _axis("value", "Share of images", domain=[0, 1], **PERCENT),
            "color": {"value": "var(--chart-success)"},
            "tooltip": [
                {"field": "x", "type": "quantitative", "title": "Distance up to", "format": ".4g"},
                {"field": "value", "type": "quantitative", "title": "Attack success", "format": ".1%"},
            ],
        },
    },
    "path": {
        "description": "Margin of the true class along the way of the attack",
        "width": 420,
        "height": 230,
        "data": {"name": "path"},
        "layer": [
            {
                "mark": {"type": "area", "opacity": 0.22, "color": "var(--chart-success)"},
                "encoding": {
                    "x": _axis("x", "Pass through what is attacked", tickCount=7),
                    "y": _axis("low", "Margin of the true class", tickCount=5),
                    "y2": {"field": "high"},
                },
            },
            {
                "mark": {"type": "line", "strokeWidth": 2, "color": "var(--chart-success)"},
                "encoding": {
                    "x": {"field": "x", "type": "quantitative"},
                    "y": {"field": "y", "type": "quantitative"},
                    "tooltip": [
                        {"field": "x", "type": "quantitative", "title": "Pass"},
                        {"field": "y", "type": "quantitative", "title": "Median margin", "format": ".3g"},
                    ],
                },
            },
            {
                "mark": {"type": "rule", "strokeDash": [4, 4], "color": "var(--chart-grid-strong)"},
                "encoding": {"y": {"datum": 0}},
            },
        ],
    },
    # What panels of plugins draw: data `points` (x, y, series); its first row has the titles of the axes: xt and yt.
    "dots": {
        "description": "Points in a plane, by series",
        "width": 420,
        "height": 300,
        "data": {"name": "points"},
        "mark": {"type": "point", "filled": True, "size": 26, "opacity": 0.75},
        "encoding": {
            "x": _axis("x", "points.xt", tickCount=7),
            "y": _axis("y", "points.yt", tickCount=7),
            **_PLOT_COLOURS,
            **_PLOT_SHAPES,
        },
    },
    "steps": {
        "description": "Histograms, by series",
        "width": 420,
        "height": 250,
        "data": {"name": "points"},
        "mark": {"type": "area", "interpolate": "step", "fillOpacity": 0.22, "line": {"strokeWidth": 1.6}},
        "encoding": {
            "x": _axis("x", "points.xt", tickCount=7),
            "y": _axis("y", "points.yt", tickCount=5) | {"stack": None, "scale": {"zero": True}},
            **_PLOT_COLOURS,
            **_PLOT_DASHES,
        },
    },
}

DESCRIPTIONS |= {
    "rocs": {
        "description": "ROC curves of one score, a line per attack",
        "width": 420,
        "height": 320,
        "layer": [
            _GUESSING,
            _line(
                "curves",
                {
                    "x": _axis("x", _FPR, domain=[0, 1], **PERCENT),
                    "y": _axis("y", _TPR, domain=[0, 1], **PERCENT),
                    "order": {"value": None},  # as they come
                    **_SERIES_COLOUR,
                    **_SERIES_DASH,
                    "tooltip": [
                        {"field": "s", "type": "nominal", "title": "Attack"},
                        {"field": "x", "type": "quantitative", "format": ".1%", "title": _FPR},
                        {"field": "y", "type": "quantitative", "format": ".1%", "title": _TPR},
                    ],
                },
            )
            | {
                "transform": _NAMED,
            },
            {
                "data": {"name": "marks"},
                "transform": _NAMED,
                "mark": {"type": "point", "filled": True, "size": 50, "opacity": 1},
                "encoding": {
                    "x": {"field": "x", "type": "quantitative"},
                    "y": {"field": "y", "type": "quantitative"},
                    **_SERIES_COLOUR,
                    **_SERIES_DASH,
                    **_SERIES_SHAPE,
                },
            },
        ],
    },
    # Colour and shape say the same, so that colours need not be told apart.
    "plane": {
        "description": "Hidden states of clean images in a plane, by class",
        "width": 380,
        "height": 330,
        "data": {"name": "points"},
        "mark": {"type": "point", "filled": True, "size": 42, "opacity": 0.8},
        "encoding": {
            "x": _axis("x", "points.xt", tickCount=6),
            "y": _axis("y", "points.yt", tickCount=6),
            "tooltip": [{"field": "s", "type": "nominal", "title": "Class"}],
            **{
                channel: {
                    "field": "s",
                    "type": "nominal",
                    "title": None,
                    "sort": None,
                    "scale": {"range": values},
                    "legend": {"orient": "bottom", "columns": 5, "labelLimit": 110, "symbolOpacity": 1},
                }
                for channel, values in (("color", COLOURS), ("shape", _SHAPES))
            },
        },
    },
    "means": {
        "description": "Mean robust accuracy over the attacks of a group, with the worst case",
        "width": 420,
        "height": {"step": 26},
        "encoding": {
            "y": {"field": "defense", "type": "nominal", "sort": None, "title": None, "axis": {"labelLimit": 190}}
        },
        "layer": [
            {
                "data": {"name": "bars"},
                "mark": {"type": "bar", "color": "var(--series-1)", "height": {"band": 0.62}},
                "encoding": {
                    "x": _axis("mean", "Share of attacked images labelled rightly", domain=[0, 1], **PERCENT),
                    "tooltip": [
                        {"field": "defense", "type": "nominal", "title": "Defense"},
                        {"field": "mean", "type": "quantitative", "title": "Mean", "format": ".1%"},
                        {"field": "worst", "type": "quantitative", "title": "Worst case", "format": ".1%"},
                    ],
                },
            },
            {
                "data": {"name": "bars"},
                "transform": [{"filter": "isValid(datum.worst)"}],
                "mark": {
                    "type": "point",
                    "shape": "diamond",
                    "filled": True,
                    "size": 110,
                    "opacity": 1,
                    "color": "var(--chart-success)",
                    "stroke": "var(--page)",
                    "strokeWidth": 1.2,
                },
                "encoding": {"x": {"field": "worst", "type": "quantitative"}},
            },
        ],
    },
    "tradeoff": _trade_off(),
    "lines": _lines({"zero": False, "nice": False}),
    "lines-log": _lines({"type": "log", "zero": False, "nice": False}),
    "lines-root": _lines({"type": "sqrt", "nice": False}),  # small numbers beside 0 and large ones
}

CONFIG: dict[str, Any] = {
    "aria": False,  # a chart is one image with a label, and its numbers are a table: no need of a label at every dot
    "background": None,
    "font": "system-ui, 'Segoe UI', Roboto, 'Liberation Sans', Arial, sans-serif",
    "view": {"stroke": None},
    "axis": {
        "gridColor": "var(--chart-grid)",
        "domainColor": "var(--chart-grid-strong)",
        "tickColor": "var(--chart-grid-strong)",
        "labelColor": "var(--muted)",
        "titleColor": "var(--muted)",
        "labelFontSize": 11,
        "titleFontSize": 11.5,
        "titleFontWeight": 500,
        "titlePadding": 8,
    },
    "legend": {"labelColor": "var(--text)", "labelFontSize": 11.5, "symbolSize": 90},
}
