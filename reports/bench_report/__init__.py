"""The HTML report."""

from __future__ import annotations

from benchmark import Register, hookimpl


@hookimpl
def register_reporters(register: Register) -> None:
    """Register `html`."""
    register(
        "html",
        "bench_report.render:HtmlReporter",
        version="1",
        summary="One HTML page per report: tables with intervals, failures, costs, provenance; works offline.",
    )
