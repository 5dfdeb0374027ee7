"""Readers of tables and figures on finished pages."""

from __future__ import annotations

import pytest

HOSTILE = "</script><script>alert(1)</script>\u202e'\"&"

MARKUP = HOSTILE.replace("\u202e", "")
"""What a published table may be called: one line of what is printed."""


def published(page):
    """Return the published tables of the first page by name, in their order."""
    found = [table for table in page.all("table") if table.get("data-table") == "published"]
    return {table.get("data-of"): table for table in found}


def numbers(table):
    """Return the values of a figure's table: row label → value per column, None where there is none."""
    return {
        row.get("data-label"): [
            float(cell.get("data-value")) if cell.get("data-value") else None for cell in row.all("td")
        ]
        for row in table.all("tr")
        if row.get("data-label")
    }


def values(run, metric):
    """Return the values of a measure by data set, model, attack and defense."""
    frame = run.metrics[(run.metrics.metric == metric) & (run.metrics.status == "ok")]
    return dict(zip(zip(frame.dataset, frame.model, frame.attack, frame.defense), frame.value))


def near(*numbers):
    return pytest.approx(numbers[0] if len(numbers) == 1 else list(numbers), rel=1e-5, abs=1e-9)
