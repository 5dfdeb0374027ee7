"""Checks for masked gradients on the page of a setting: value, n, verdict and reason per defense."""

from __future__ import annotations

import math

import pandas as pd

from benchmark.probes import KINDS
from benchmark.results import PROBE_COLUMNS

NAN = math.nan
SEEN = "square turns 30 of 360 images wrong that no gradient of pgd does\u202e</td>"


def test_every_check_stands_with_value_n_verdict_and_reason(make_run, site_of):
    run = make_run(models=("mlp",))
    assert all(not list(page.all("section")) or "Gradient-masking" not in page.text for page in site_of(run).settings)
    rows = [
        ("one-step", "pass", 0.32, 0.25, 0.39, 1e-9, 360, "pgd leaves less"),
        ("random-search", "fail", 30 / 360, 0.06, 0.12, NAN, 360, SEEN),
        ("large-budget", "not run", NAN, NAN, NAN, NAN, 0, "the largest budget is linf 8/255"),
    ]
    run.probes = pd.DataFrame(
        [
            ("digits", "mlp", "", "linf", "8/255", defense, "gray-box", "0", *row)
            for row in rows
            for defense in ("none", "adversarial-training")
        ],
        columns=list(PROBE_COLUMNS),
    )
    (page,) = site_of(run).settings
    table = page.one("table", data_table="probes")
    found = {(row.get("data-defense"), row.get("data-probe")): row for row in table.all("tr") if row.get("data-probe")}
    assert list(found)[:3] == [("none", probe) for probe, *_ in rows]
    assert len(found) == 6
    for defense in ("none", "adversarial-training"):
        for probe, verdict, value, *_, n, finding in rows:
            row = found[defense, probe]
            assert row.get("data-verdict") == verdict
            assert verdict in row.text
            assert KINDS[probe].title in row.text
            assert finding in row.text
            numbers = [cell for cell in row.all("td") if cell.get("data-value")]
            assert [(float(cell.get("data-value")), cell.get("data-n")) for cell in numbers] == [
                (float(f"{value:.6g}"), str(n)) for _ in range(n > 0)
            ]
    assert "+32.0 points" in found["none", "one-step"].text
    assert "8.3 %" in found["none", "random-search"].text
