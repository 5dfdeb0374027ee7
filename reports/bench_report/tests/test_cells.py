"""Pages of cells: measures, links, published numbers, pairs of runs, detectors."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench_report.charts.plots import plot_chart
from bench_report.links import Links, file_name
from bench_report.markup import script_data
from bench_report.words import difference_text
from benchmark.panel import Plot, Series

HOSTILE = "</script><script>alert(1)</script>\u202e'\"&"


def table_of(page, name):
    return page.one("table", data_table=name)


def test_data_in_a_script_element_cannot_close_it():
    text = script_data({"name": HOSTILE, "comment": "<!-- -->"})
    assert not set("<>&") & set(text)
    assert json.loads(text)["name"] == HOSTILE


@given(st.text(max_size=300), st.text(max_size=300))
def test_file_names_are_safe_and_apart(one, other):
    names = [file_name("cells", (text,), "r1", text) for text in (one, other)]
    for name in names:
        folder, _, rest = name.partition("/")
        assert folder == "cells"
        assert len(rest) < 80
        assert set(rest) <= set("abcdefghijklmnopqrstuvwxyz0123456789-.")
        assert rest.count(".") == 1
    assert (names[0] == names[1]) == (one == other)


def test_links_lead_from_page_to_page():
    assert Links("cells/a.html").to("cells/b.html") == "../cells/b.html"
    assert Links("cells/a.html").to("index.html", "x") == "../index.html#x"
    assert Links("index.html").to("index.html", "x") == "#x"
    assert Links("index.html", single=True).to("cells/b.html") == "#page-cells-b"


def test_a_cell_page_has_all_measures_of_the_cell(make_run, site_of):
    run = make_run(models=("mlp",))
    frame = run.metrics.set_index(["attack", "defense", "knowledge", "metric"])
    seen = 0
    for page in site_of(run).cells:
        table = table_of(page, "cell")
        where = tuple(table.get(f"data-{name}") for name in ("attack", "defense", "knowledge"))
        for row in table.all("tr"):
            if metric := row.get("data-metric"):
                wanted = frame.loc[(*where, metric)]
                assert float(row.get("data-value")) == pytest.approx(wanted.value, rel=1e-5)
                assert float(row.get("data-low")) == pytest.approx(wanted.ci_low, rel=1e-5, abs=1e-9)
                assert int(row.get("data-n")) == wanted.n
                seen += 1
    assert seen == len(frame)


def test_runs_are_paired_image_by_image(make_run, page_of):
    from benchmark.statistics import compare_paired

    runs = [make_run("first", models=("mlp",)), make_run("second", models=("mlp",), strength=0.2, draw=1)]
    page = page_of(*runs)
    (row,) = [
        row
        for row in table_of(page, "compare").all("tr")
        if (row.get("data-defense"), row.get("data-attack"), row.get("data-metric"))
        == ("none", "fgsm", "robust_accuracy")
    ]
    right = []
    for run in runs:
        mine = run.samples[(run.samples.defense == "none") & (run.samples.attack == "fgsm")].set_index("sample")
        right.append((mine.y == mine.label).astype(float).sort_index().to_numpy())
    wanted = compare_paired(right[1], right[0])
    (small,) = [s for s in row.all("small") if s.get("data-difference")]
    found = [float(small.get(f"data-{name}")) for name in ("difference", "low", "high", "p")]
    assert found == pytest.approx([wanted.difference, wanted.low, wanted.high, wanted.p_value], rel=1e-5, abs=1e-9)


def paired_of(page, defense, attack, metric):
    """Return the numbers of the pairing in a row of the comparison, and the text of the row."""
    (row,) = [
        row
        for row in table_of(page, "compare").all("tr")
        if (row.get("data-defense"), row.get("data-attack"), row.get("data-metric")) == (defense, attack, metric)
    ]
    found = [
        {name: float(small.get(f"data-{name}")) for name in ("difference", "low", "high", "p", "n", "seeds")}
        for small in row.all("small")
        if small.get("data-difference")
    ]
    return (found[0] if found else None), row.text


def test_runs_of_several_seeds_are_compared_over_seeds_and_images(make_run, page_of):
    from benchmark.statistics import compare_over_seeds

    about = {"models": ("mlp",), "attacks": ("fgsm", "pgd-l2"), "seeds": (0, 1, 2), "n": 90}
    runs = [make_run("first", **about), make_run("second", **about, strength=0.2, draw=1)]
    page = page_of(*runs)

    def held(run, attacks, joint):
        mine = run.samples[(run.samples.defense == "mahalanobis") & run.samples.attack.isin(attacks)]
        good = (mine.y == mine.label) | (mine.flagged.astype(bool) if joint else False)
        return good.astype(float).groupby([mine["sample"], mine.seed]).min().unstack()  # (image, seed)

    for attack, attacks, metric in (
        ("fgsm", ["fgsm"], "robust_accuracy"),
        ("fgsm", ["fgsm"], "joint_robust_accuracy"),
        ("worst-of: all attacks", ["fgsm", "pgd-l2"], "worst_case_robust_accuracy"),
    ):
        one, two = (held(run, attacks, "joint" in metric) for run in runs)
        wanted = compare_over_seeds(two.to_numpy().T, one.to_numpy().T)
        found, text = paired_of(page, "mahalanobis", attack, metric)
        assert found == pytest.approx(
            {
                "difference": wanted.difference, "low": wanted.low, "high": wanted.high, "p": wanted.p_value,
                "n": 90, "seeds": 3,
            },
            rel=1e-5, abs=1e-9,
        )  # fmt: skip
        by_seed = (two - one).mean()
        assert "90 images under 3 seeds each: 270 pairs, of 90 different images" in text
        ends = [difference_text(value, "rate") for value in (by_seed.min(), by_seed.max())]
        assert f"by seed {ends[0]} to {ends[1]}" in text


def test_runs_of_other_seeds_are_not_paired_and_say_so(make_run, page_of):
    about = {"models": ("mlp",), "attacks": ("fgsm",), "n": 60}
    page = page_of(make_run("first", **about, seeds=(0, 1)), make_run("second", **about, seeds=(0, 2), draw=1))
    found, text = paired_of(page, "none", "fgsm", "robust_accuracy")
    assert found is None
    assert "not paired: seeds 0, 1 and 0, 2" in text


def test_published_numbers_stand_in_the_layout_of_their_table(make_run, page_of):
    published = {
        ("none", "fgsm"): 0.05,
        ("none", "pgd-linf"): 0.9,
        ("mahalanobis", "fgsm"): 0.1,
        ("mahalanobis", "pgd-linf"): 0.2,
    }
    rows = [
        {"defense": d, "attack": a, "knowledge": "gray-box", "metric": "robust_accuracy", "value": value}
        for (d, a), value in published.items()
    ] + [{"defense": "none", "attack": "none", "metric": "clean_accuracy", "value": 0.99}]
    run = make_run(
        models=("mlp",),
        reference={(d, a, "robust_accuracy"): v for (d, a), v in published.items()},
        suite={"reference": {"rows": rows}},
    )
    page = page_of(run)
    table = table_of(page, "published")
    assert [head.get("data-label") for head in table.all("th") if head.get("data-label")] == [
        "fgsm",
        "pgd-linf",
        "clean",
    ]
    assert [head.text for head in table.all("th") if head.get("scope") == "row"] == ["none", "mahalanobis"]
    frame = run.metrics[run.metrics.metric == "robust_accuracy"].set_index(["defense", "attack"])
    cells = [cell for cell in table.all("td") if cell.get("data-published")]
    for cell, ((defense, attack), value) in zip([cells[0], cells[1], *cells[3:]], published.items()):
        row = frame.loc[(defense, attack)]
        assert float(cell.get("data-published")) == value
        assert float(cell.get("data-value")) == pytest.approx(row.value, rel=1e-5)
        told = row.ci_low <= value <= row.ci_high and row.ci_high - row.ci_low <= 0.1
        assert ("inside" in cell.get("class").split()) == told
    said = page.one("ul", **{"class": "findings"}).text
    assert "Published 90.0, measured" in said
    assert "Of 4 published values, each counted once: " in said


def test_what_the_network_does_alone_is_one_published_value_whatever_the_defenses(make_run, page_of):
    defenses = ("none", "mahalanobis")
    reference = {(defense, "fgsm", "base_robust_accuracy"): 2.0 for defense in defenses}
    run = make_run(models=("mlp",), defenses=defenses, reference=reference)
    run.metrics.loc[run.metrics.metric == "base_robust_accuracy", "value"] = 0.5
    rows = [{"attack": "fgsm", "metric": "base_robust_accuracy", "value": 2.0}]
    run.suite["reference"] = {"rows": rows}
    said = page_of(run).one("ul", **{"class": "findings"}).text
    assert "Of 1 published value, each counted once: 1 lie outside the 95 % interval." in said
    assert said.count("Published 200.0, measured") == 1


def test_papers_are_cited(make_run, page_of):
    entries = ["@article{one, title = {<b>}}", "@article{two}\n@article{one, title = {<b>}}", "@article{two}"]
    page = page_of(make_run(models=("mlp",), attacks=("fgsm",), manifest={"citations": entries}))
    (pre,) = [element for element in page.all("pre") if element.get("class") == "bibtex"]
    assert pre.text == "@article{one, title = {<b>}}\n\n@article{two}"


def test_a_detector_is_shown_by_its_worst_case_and_by_what_its_claim_implies(make_run, site_of):
    run = make_run(
        models=("mlp",), attacks=("fgsm", "pgd", "small"), defenses=("adversarial-training", "mahalanobis"), n=200,
        budgets=(("linf", "8/255", 8 / 255), ("linf", "8/255", 8 / 255), ("linf", "4/255", 4 / 255)),
        flags=lambda attack, defense, knowledge: 0.05 if attack == "none" else 0.9,
    )  # fmt: skip
    site = site_of(run)
    frame = run.metrics.set_index(["attack", "defense", "metric"]).value
    (setting,) = site.settings
    group = "worst-of: linf 8/255"
    table = table_of(setting, "worst-detector")
    names = [head.get("data-metric") for head in table.all("th") if head.get("data-metric")]
    assert names == [f"worst_case_{name}" for name in ("auroc", "tpr", "fpr", "tpr_at_5fpr", "fpr_at_95tpr")]
    (row,) = (row for row in table.all("tr") if row.get("data-attack") == group)
    shown = [float(cell.get("data-value")) for cell in row.all("td") if "data-value" in cell.attributes]
    assert shown == pytest.approx([frame[group, "mahalanobis", name] for name in names], rel=1e-5)
    implied = table_of(setting, "implied")
    assert "mahalanobis" in implied.text
    assert "adversarial-training" not in implied.text
    # On its page what the claim amounts to, beside what a hardened network of the run keeps at half the budget.
    tables = [(table_of(page, "cell"), page) for page in site.cells]
    pages = {(table.get("data-attack"), table.get("data-defense")): page for table, page in tables}
    text = " ".join(pages[group, "mahalanobis"].one("main").text.split())
    claimed = 100 * frame[group, "mahalanobis", "worst_case_implied_robust_accuracy"]
    kept = 100 * frame["small", "adversarial-training", "robust_accuracy"]
    assert f"implies a classifier that keeps {claimed:.1f} %" in text
    assert "half of that budget (L∞, ε = 8/255 / 2)" in text
    assert f"adversarial-training, keeps there ≤ {kept:.1f} %" in text
    # At other budgets the run has no such number, and nothing is compared; a hardened network claims nothing.
    other = pages["small", "mahalanobis"].one("main").text
    assert "implies a classifier" in other
    assert "hardened network" not in other
    assert "implies a classifier" not in pages[group, "adversarial-training"].one("main").text


@pytest.mark.parametrize(
    ("least", "most"), [(50_000, 50_200), (1234, 1236), (0.9999, 0.99999), (-10_003, -10_001), (0, 1)]
)
def test_a_chart_tells_points_apart_however_far_from_zero_they_lie(least, most):
    places = np.linspace(least, most, 401)
    series = Series("a", places[:200], places[:200]), Series("b", places[200:], places[200:])
    for mark in ("dots", "steps"):
        drawn = plot_chart(Plot("title", "how", "across", "up", series, mark=mark)).data["points"]
        for axis in ("x", "y"):
            found = np.array([row[axis] for row in drawn])
            assert np.abs(found - places).max() <= (most - least) / 1000
            assert max(len(repr(place)) for place in found.tolist()) < 12


def test_steps_with_several_points_at_one_x_lose_none_in_the_table_of_numbers():
    series = Series("a", [1.0, 1.0, 2.0], [0.25, 0.5, 0.75]), Series("b", [2.0], [1.0])
    chart = plot_chart(Plot("title", "how", "across", "up", series, mark="steps"))
    assert chart is not None
    assert len(chart.data["points"]) == 4
    assert [[cell.count("0.") for cell in row[1:]] for row in chart.rows] == [[2, 0], [1, 0]]
    assert chart.rows[1][2]


def test_of_a_large_grid_the_first_kind_alone_has_an_image_without_scripts(make_run, site_of):
    """Others are a line: where a page has an image per kind, those of 160 cells are a megabyte."""

    def most(attacks):
        """Return of how many kinds a page shows images, at most."""
        run = make_run(f"{attacks}", models=("mlp",), attacks=[f"a{n}" for n in range(attacks)], n=50, pictures=True)
        return max(len([s for s in page.all("section") if s.get("data-stratum")]) for page in site_of(run).cells)

    assert most(2) > 2  # of 9 cells
    assert most(40) == 1  # of 123
