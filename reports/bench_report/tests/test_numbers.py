"""Every number of the tables stands on the pages, as people read it, and with what it rests on."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from bench_report import measures, words
from bench_report.tests.whole_pages import (
    cell_at,
    check_numbers,
    check_site,
    n_of,
    shown,
)
from benchmark.statistics import holm


def test_every_number_of_the_tables_stands_on_the_page(make_run, site_of):
    run = make_run(reference={("none", "pgd-linf", "robust_accuracy"): 0.41})
    site = site_of(run)
    wanted, found = check_numbers(site, run.metrics)
    # The classifier alone is shown where it differs from the defended system.
    assert {key for key in wanted if key not in found} == {
        key for key in wanted if "base_" in key[-1] and key[3] != "mahalanobis"
    }
    assert max(found.values()) == 1
    check_site(site)


def test_the_published_value_stands_beside_the_measured_one(make_run, page_of):
    run = make_run(reference={("none", "pgd-linf", "robust_accuracy"): 0.41})
    cell = cell_at(page_of(run), "robust", "none", "pgd-linf")
    value = float(cell.get("data-value"))
    assert value < 0.41
    assert f"published 41.0 (−{100 * (0.41 - value):.1f})" in cell.text
    assert [float(e.get("data-reference")) for e in cell.all("small") if e.get("data-reference")] == [0.41]


def test_several_seeds_show_mean_and_spread(make_run, site_of):
    run = make_run(models=("mlp",), seeds=(0, 1, 2))
    site = site_of(run)
    frame = run.metrics
    names = ["dataset", "model", "attack", "defense", "metric"]
    by_seed = {key: rows.set_index("seed").value for key, rows in frame[frame.status == "ok"].groupby(names)}
    for identity, cell in (pair for page in site.settings for pair in shown(page)):
        rows = by_seed[tuple(identity[name] for name in names)]
        assert float(cell.get("data-value")) == pytest.approx(rows[["0", "1", "2"]].mean(), rel=1e-5)
        unit = measures.measure(identity["metric"]).unit
        if math.isinf(rows["mean"]):  # a median distance: in some seed most images were never wrong
            assert "∞" in cell.text
        else:
            assert f"sd {words.number_text(rows['std'], unit)}" in cell.text
    assert "sd: standard deviation between seeds" in site.index.one("main").text
    both = frame[frame.seed == "crossed"].set_index(["model", "attack", "defense", "metric"])
    table = next(t for page in site.cells for t in page.all("table") if t.get("data-attack") == "pgd-linf")
    about = tuple(table.get(f"data-{name}") for name in ("model", "attack", "defense"))
    crossed = {row.get("data-metric"): row for row in table.all("tr") if row.get("data-metric")}
    for metric, row in crossed.items():
        said = list(row.all("td"))[1].text
        unit = measures.measure(metric).unit
        known = both.loc[(*about, metric)] if (*about, metric) in both.index else None
        ends = () if known is None else (words.number_text(end, unit) for end in (known.ci_low, known.ci_high))
        assert said == "–".join(ends) if known is not None else said.endswith(" over seeds alone") or not said, metric
    assert crossed.keys() & set(frame[frame.seed == "crossed"].metric)
    for seed in ("0", "1", "2"):
        wanted, found = check_numbers(site, frame, seed)
        names = {"clean_accuracy", "robust_accuracy", "worst_case_robust_accuracy"}
        assert set(found) == {key for key in wanted if key[-1] in names}


def test_the_best_of_a_column_is_marked_in_words_where_the_test_tells_it_from_the_second(make_run, page_of):
    run = make_run()
    page = page_of(run)
    table = page.one("table", data_table="robust", data_model="small-cnn")
    columns = [
        (head.get("data-attack"), head.get("data-metric")) for head in table.all("th") if head.get("data-attack")
    ]
    pairs = run.comparisons[run.comparisons.model == "small-cnn"].set_index(
        ["attack", "metric", "defense_a", "defense_b"]
    )
    told = []
    for number, (attack, metric) in enumerate(columns):
        cells = {
            row.get("data-defense"): list(row.all("td"))[number] for row in table.all("tr") if row.get("data-defense")
        }
        first, second, _ = sorted(cells, key=lambda name: -float(cells[name].get("data-value")))
        if attack != "none" and first == "mahalanobis":  # nobody who knows it attacked it: an upper bound is never best
            assert not any("best" in cell.text for cell in cells.values())
            continue
        key = (attack, metric, first, second)
        told.append((cells, first, pairs.p_value[key if key in pairs.index else (attack, metric, second, first)]))
    for (cells, first, _), p in zip(told, holm([p for _, _, p in told])):
        for name, cell in cells.items():
            assert ("best" in cell.text) == (name == first and p <= 0.05)
    assert 0 < len(told) < len(columns)


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [(0.41249, "rate", "41.2"), (1.0, "rate", "100.0"), (0.98765, "area", "0.988"), (0.0301234, "distance", "0.03012"),
     (1234.0, "count", "1,234"), (-0.5, "number", "−0.5"), (1e-9, "number", "1e−09")],
)  # fmt: skip
def test_numbers_for_people(value, unit, text):
    assert words.number_text(value, unit) == text


def test_differences_carry_a_sign_unless_they_round_to_nothing():
    assert words.difference_text(-0.0204, "rate") == "−2.0"
    assert words.difference_text(0.0204, "rate") == "+2.0"
    assert words.difference_text(-0.0001, "rate") == "0.0"


def test_measures_that_are_shown_are_explained_and_no_others(make_run, page_of):
    run = make_run(defenses=("none", "adversarial-training"), detectors=())
    text = page_of(run).one("section", id="measures").text
    assert "robust_accuracy" in text
    assert "auroc" not in text


def test_a_measure_of_another_plugin_is_shown_under_its_name(make_run, site_of):
    run = make_run()
    frame = run.metrics
    extra = frame[frame.metric == "robust_accuracy"].assign(
        metric="my_measure", value=12.5, ci_low=math.nan, ci_high=math.nan
    )
    run.metrics = pd.concat([frame, extra], ignore_index=True)
    site = site_of(run)
    cells = [cell for page in site.settings for identity, cell in shown(page) if identity["metric"] == "my_measure"]
    assert len(cells) == len(extra)
    assert all(cell.text.startswith("12.5") for cell in cells)


def test_every_defense_is_paired_with_the_undefended_one(make_run, site_of):
    run = make_run(models=("small-cnn",), defenses=("adversarial-training", "none", "mahalanobis"))
    (page,) = site_of(run).settings
    frame = run.comparisons[
        run.comparisons.metric.isin(["clean_accuracy", "robust_accuracy", "worst_case_robust_accuracy"])
    ]
    table = page.one("table", data_table="paired-robust")
    assert table.get("data-baseline") == "none"
    columns = [head.get("data-attack") for head in table.all("th") if head.get("data-attack")]
    assert columns[0] == "none"
    assert len(columns) == 1 + 4 + 3
    for defense, sign in (("mahalanobis", -1), ("adversarial-training", 1)):
        for attack, cell in zip(columns, table.one("tr", data_defense=defense).all("td")):
            (row,) = frame[
                (frame.attack == attack)
                & frame.defense_a.isin(["none", defense])
                & frame.defense_b.isin(["none", defense])
            ].itertuples()
            assert (row.defense_a == "none") == (sign == -1)
            assert float(cell.get("data-value")) == pytest.approx(sign * row.difference, rel=1e-5, abs=1e-12)
            ends = sorted([sign * row.ci_low, sign * row.ci_high])
            assert [float(cell.get("data-low")), float(cell.get("data-high"))] == pytest.approx(
                ends, rel=1e-5, abs=1e-12
            )
            assert float(cell.get("data-p")) == pytest.approx(row.p_value, rel=1e-5)
            assert n_of(cell) == row.n
            assert ("higher" in cell.get("class").split()) == (ends[0] > 0)


def test_each_seed_has_its_own_paired_table(make_run, site_of):
    run = make_run(models=("small-cnn",), seeds=(3, 4))
    (page,) = site_of(run).settings
    seeds = [table.get("data-seed") for table in page.all("table") if table.get("data-table") == "paired-robust"]
    assert seeds == ["", "3", "4"]
    pairs = run.comparisons.set_index(["seed", "attack", "metric", "defense_a", "defense_b"])
    together = page.one("table", data_table="paired-robust", data_seed="")
    cell = next(together.one("tr", data_defense="adversarial-training").all("td"))
    known = pairs.loc[("crossed", "none", "clean_accuracy", "none", "adversarial-training")]
    assert float(cell.get("data-value")) == pytest.approx(-known.difference, rel=1e-5)
    assert float(cell.get("data-p")) == pytest.approx(known.p_value, rel=1e-5)


def test_what_the_attacker_knows_has_tables_of_its_own(make_run, site_of):
    run = make_run(models=("mlp",), knowledge=("gray-box", "white-box"))
    site = site_of(run)
    page = site.index
    _, found = check_numbers(site, run.metrics)
    tables = [table.get("data-knowledge") for table in page.all("table") if table.get("data-table") == "robust"]
    assert tables == ["gray-box", "white-box"]
    # Clean images know no attacker: they stand in both.
    assert found["digits", "mlp", "none", "mahalanobis", "", "clean_accuracy"] == 2
