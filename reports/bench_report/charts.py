"""The charts of a cell page: Vega-Lite descriptions that are compiled here and drawn by Vega in the reader's browser.

A description names its data sets (`curve`, `point`, …); a page holds only the numbers. Colours are variables of the
style sheet, so that light and dark are one chart.
"""

from __future__ import annotations

import json
from functools import cache
from typing import Any

PERCENT = {"format": ".0%", "tickCount": 5}


def _line(name: str, encoding: dict[str, Any], **mark: Any) -> dict[str, Any]:
    return {"data": {"name": name}, "mark": {"type": "line", "strokeWidth": 2, **mark}, "encoding": encoding}


def _axis(field: str, title: str, *, domain: list[float] | None = None, **axis: Any) -> dict[str, Any]:
    scale: dict[str, Any] = {"zero": False, "nice": False} if domain is None else {"domain": domain}
    return {"field": field, "type": "quantitative", "title": title, "scale": scale, "axis": axis}


_FPR, _TPR = "False-positive rate", "True-positive rate"
_KINDS = ["clean", "attack successful", "attack failed"]
_PALETTE = ["var(--chart-clean)", "var(--chart-success)", "var(--chart-failed)"]

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
                    "order": {"field": "order", "type": "quantitative"},
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
                    "color": {
                        "field": "kind",
                        "type": "nominal",
                        "title": None,
                        "scale": {"domain": _KINDS, "range": _PALETTE},
                        "legend": {"orient": "top", "symbolType": "square"},
                    },
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
            "color": {
                "field": "kind",
                "type": "nominal",
                "title": None,
                "scale": {
                    "domain": ["robust accuracy", "attack success"],
                    "range": ["var(--chart-clean)", "var(--chart-success)"],
                },
                "legend": {"orient": "top"},
            },
            "tooltip": [
                {"field": "kind", "type": "nominal", "title": "Measure"},
                {"field": "eps", "type": "quantitative", "title": "ε", "format": ".4g"},
                {"field": "value", "type": "quantitative", "title": "Value", "format": ".1%"},
            ],
        },
    },
}

CONFIG: dict[str, Any] = {
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


@cache
def vega_script() -> str:
    """Return Vega and vega-embed as one script that needs no network: it sets `window.vegaEmbed`."""
    import vl_convert

    # In a scope of its own: the bundle has thousands of short names.
    return "(()=>{" + vl_convert.javascript_bundle() + "})();\n"  # type: ignore[call-arg]  # their stub asks too much


@cache
def charts_script() -> str:
    """Return the compiled charts as a script that sets `window.benchCharts`."""
    import vl_convert

    compiled = {
        name: vl_convert.vegalite_to_vega({**description, "config": CONFIG})
        for name, description in DESCRIPTIONS.items()
    }
    return f"window.benchCharts={json.dumps(compiled, separators=(',', ':'))};\n"
