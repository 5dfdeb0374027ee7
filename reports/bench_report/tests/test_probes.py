"""Checks on the pages of settings and cells: value, n, verdict and reason per defense, and per attack."""

from __future__ import annotations

import math

import pandas as pd

from benchmark.results.tables import PROBE_COLUMNS
from benchmark.trust.probe_kinds import PROBES

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
            assert PROBES[probe].title in row.text
            assert finding in row.text
            numbers = [cell for cell in row.all("td") if cell.get("data-value")]
            assert [(float(cell.get("data-value")), cell.get("data-n")) for cell in numbers] == [
                (float(f"{value:.6g}"), str(n)) for _ in range(n > 0)
            ]
    assert "+32.0 points" in found["none", "one-step"].text
    assert "8.3 %" in found["none", "random-search"].text


def test_checks_of_an_attack_stand_on_the_page_of_its_cell_and_failed_ones_first_in_the_setting(make_run, site_of):
    run = make_run(models=("mlp",))
    attack, norm, eps, defense, knowledge, seed = next(
        run.metrics[(run.metrics.metric == "robust_accuracy") & (run.metrics.seed == "0")][
            ["attack", "norm", "eps", "defense", "knowledge", "seed"]
        ].itertuples(index=False, name=None)
    )
    cell = ("digits", "mlp", attack, norm, eps, defense, knowledge, seed)
    rows = [
        ("silent-success", "fail", 0.5, 0.28, 0.72, NAN, 16, "of 16 images 8 were lost"),
        ("more-steps", "pass", 0.0, -0.05, 0.05, 1.0, 64, "it leaves 20.0 % right"),
        ("random-draws", "not run", NAN, NAN, NAN, NAN, 0, "it has no budget"),
    ]
    run.probes = pd.DataFrame([(*cell, *row) for row in rows], columns=list(PROBE_COLUMNS))
    curve = pd.DataFrame(
        [
            (*cell, name, float(x), start - x, NAN)
            for name, start in (("margin_per_pass", 2.0), ("margin_per_pass_low", 1.0), ("margin_per_pass_high", 3.0))
            for x in (1, 2, 3)
        ],
        columns=list(run.curves.columns),
    )
    run.curves = pd.concat([run.curves, curve])
    site = site_of(run)
    (page,) = [page for page in site.settings if "Attack checks" in page.text]
    assert "Gradient-masking checks" not in page.text
    # Some checks run the attack again, others look at what it left: what is said of all fits both.
    assert "look at the examples that it left, or run it again on a few images" in page.text
    failed, others = (table for table in page.all("table") if table.get("data-table") == "attack-probes")
    assert [row.get("data-probe") for row in failed.all("tr") if row.get("data-probe")] == ["silent-success"]
    assert [row.get("data-probe") for row in others.all("tr") if row.get("data-probe")] == [
        "more-steps",
        "random-draws",
    ]
    assert f"against {attack}" in failed.text
    (own,) = [page for page in site.cells if "Did the attack do its work?" in page.text]
    table = own.one("table", data_table="attack-probes")
    for probe, verdict, *_, finding in rows:
        (row,) = [row for row in table.all("tr") if row.get("data-probe") == probe]
        assert row.get("data-verdict") == verdict
        assert finding in row.text
    assert "50.0 %" in table.text
    assert "Along the way of the attack" in own.text
