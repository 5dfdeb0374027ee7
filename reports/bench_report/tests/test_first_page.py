"""What is said first: what was run, what is missing, and the overview of worst cases."""

from __future__ import annotations

import re

import pytest

from bench_report.tests.whole_pages import (
    cell_at,
    check_numbers,
    check_site,
    notices,
    shown,
    verdicts,
)


def test_the_header_says_what_was_run(make_run, page_of):
    page = page_of(make_run())
    header = page.one("main").text
    assert "3 defenses against 4 attacks on 2 models and 1 data set with 360 test images, 1 seed: 30 cells." in header
    assert "21 November 2025, 08:24 UTC, 1 min 22 s" in header
    assert "cpu: A processor, 2 cores" in header
    assert "Scans of handwritten digits" in header
    assert page.one("title").text == "Synthetic — which defense holds?"


def test_few_images_are_said_aloud(make_run, page_of):
    run = make_run(n=60)
    frame = run.metrics
    accuracies = frame[frame.metric.isin(["clean_accuracy", "robust_accuracy"])]
    widest = 100 * ((accuracies.ci_high - accuracies.ci_low) / 2).max()
    said, *again = [text for text in notices(page_of(run)) if "Few images" in text]
    assert again == [said] * 2  # beside the verdicts, and beside the table of each network
    assert "rest on 60" in said
    assert f"± {widest:.1f} points" in said


def test_enough_images_need_no_warning(make_run, page_of):
    assert not notices(page_of(make_run(n=1200)))


def test_failed_cells_are_said_first_and_lead_to_their_reason(make_run, site_of):
    reason = "adversarial images left the budget: 0.0341 in linf where 0.0314 is allowed"
    run = make_run(failed=lambda d, m, a, x, s: reason if (m, a, x) == ("mlp", "pgd-l2", "mahalanobis") else "")
    site = site_of(run)
    page = site.index
    check_site(site)
    check_numbers(site, run.metrics)
    assert notices(page)[0].startswith("1 cell failed.")
    assert "Its numbers are missing, and with them the worst case of its defense; 1 cause found." in notices(page)[0]
    cell = cell_at(page, "robust", "mahalanobis", "pgd-l2", model="mlp")
    assert "failed" in cell.text
    name = next(cell.all("a")).get("href")
    own = site.read(name)
    assert "This cell failed." in own.one("header").text
    link = next(a for a in own.one("header").all("a"))
    target = link.get("href").removeprefix("../index.html#")
    (article,) = [element for element in page.all() if element.get("id") == target]
    assert reason in article.text
    assert "ValueError" in article.one("pre").text
    assert all(pre.get("tabindex") == "0" for pre in page.all("pre"))  # what scrolls can be scrolled by keyboard
    assert [td.text for td in article.all("td")] == ["digits", "mlp", "pgd-l2", "mahalanobis", "gray-box", "0"]


def test_one_failed_seed_does_not_hide_the_others(make_run, page_of):
    run = make_run(
        models=("mlp",),
        seeds=(0, 1, 2),
        failed=lambda d, m, a, x, s: "no luck" if (a, x, s) == ("fgsm", "none", 1) else "",
    )
    cell = cell_at(page_of(run), "robust", "none", "fgsm", model="mlp")
    rows = run.metrics.query(
        "model == 'mlp' and attack == 'fgsm' and defense == 'none' and metric == 'robust_accuracy'"
    )
    assert float(cell.get("data-value")) == pytest.approx(rows.set_index("seed").value[["0", "2"]].mean(), rel=1e-5)
    assert "1 of 3 seeds failed" in cell.text
    assert next(cell.all("a")).get("href").startswith("cells/")


def test_an_interrupted_run_says_so(make_run, site_of):
    run = make_run(
        missing=lambda d, m, a, x, s: m == "mlp" and a in ("pgd-l2", "deepfool"), manifest={"exit_code": 130}
    )
    site = site_of(run)
    page = site.index
    assert any(text.startswith("6 cells not run.") for text in notices(page))
    assert "not run" in cell_at(page, "robust", "none", "deepfool", model="mlp").text


def test_a_part_of_the_suite_is_called_so(make_run, site_of):
    page = site_of(make_run(manifest={"only": ["attack=pgd*", "seed=<0>"]})).index
    assert any("Only a part of the suite was run: attack=pgd* or seed=<0>." in text for text in notices(page))


def test_a_run_with_only_failed_cells_gives_a_report(make_run, site_of):
    site = site_of(make_run(failed=lambda *cell: "no luck"))
    check_site(site)
    page = site.index
    assert not list(shown(page))
    assert notices(page)[0].startswith("30 cells failed.")
    assert "Their numbers are missing, and with them the worst case of their defenses;" in notices(page)[0]


def test_a_run_with_one_cell_gives_a_report(make_run, site_of):
    run = make_run(models=("mlp",), attacks=(), defenses=("none",), detectors=())
    site = site_of(run)
    page = site.index
    check_site(site)
    _, found = check_numbers(site, run.metrics)
    assert [key[-1] for key in found] == ["clean_accuracy"]
    assert "1 defense against 0 attacks on 1 model and 1 data set" in page.one("main").text


def test_a_defense_without_scores_leaves_out_the_detector_tables(make_run, site_of):
    run = make_run(defenses=("none", "adversarial-training"), detectors=())
    kinds = {table.get("data-table") for page in site_of(run).pages for table in page.all("table")}
    assert not kinds & {"detector", "joint", "chart-roc"}


def test_tables_without_a_row_still_give_a_report(make_run, site_of):
    run = make_run()
    run.metrics = run.metrics.iloc[:0]
    run.costs = run.costs.iloc[:0]
    check_site(site_of(run))


def test_costs_are_summed_by_kind(make_run, page_of):
    page = page_of(make_run())
    row = page.one("table", data_table="costs").one("tr", data_kind="craft")
    cells = [cell.text for cell in row.all("td")]
    # Three tasks of 1.5, 2.5 and 3.5 seconds and 360 images each, the last two from the cache.
    assert cells == ["3", "67 %", "1.5 s", "6.0 s", "144", "3,000", "1,500", "300 MiB"]


def test_the_run_can_be_repeated_from_the_page(make_run, page_of):
    run = make_run(manifest={"command": ["bench", "run", "my suites/a.yaml", "--set", "seeds=[1]"]})
    text = page_of(run).one("section", id="r1-provenance").text
    assert "bench run 'my suites/a.yaml' --set 'seeds=[1]'" in text
    for fact in ("0123456789abcdef", "3.11.9", "03f9ab", "1,077", "unmask-bench", "5 % of clean validation images"):
        assert fact in text
    assert "suite: synthetic" in text


@pytest.mark.parametrize(
    ("defenses", "metric"),
    [
        (("none", "adversarial-training", "mahalanobis"), "worst_case_joint_robust_accuracy"),
        (("none", "adversarial-training"), "worst_case_robust_accuracy"),
    ],
)
def test_the_overview_shows_the_worst_case_of_all_attacks(make_run, page_of, defenses, metric):
    """As the verdicts have it: what a detector rejects counts for it, where there is one."""
    run = make_run(defenses=defenses)
    page = page_of(run)
    table = page.one("table", data_table="overview")
    assert table.get("data-attack") == "worst-of: all attacks"
    assert table.get("data-metric") == metric
    values = run.metrics[(run.metrics.metric == metric) & (run.metrics.attack == "worst-of: all attacks")]
    values = values.set_index(["model", "defense"]).value
    defenses = [head.get("data-defense") for head in table.all("th") if head.get("data-defense")]
    shown_values = {
        (row.get("data-model"), defense): float(cell.get("data-value"))
        for row in table.all("tr")
        if row.get("data-model")
        for defense, cell in zip(defenses, row.all("td"))
    }
    assert shown_values == pytest.approx(values.to_dict(), rel=1e-5)
    # The tables of plain accuracy beside it say that it is another number.
    captions = [c.text for c in page.one("section", **{"class": "matrix"}).all("figcaption")]
    assert all(("Rejecting an image counts for nothing" in text) == ("joint" in metric) for text in captions)


def test_what_a_network_is_stands_beside_its_label(make_run, page_of):
    network = {"use": "small_cnn", "width": 8, "norm": None, "train": {"epochs": 3, "lr": 0.1}}
    page = page_of(make_run(models=("wrn-34-8",), suite={"models": {"wrn-34-8": network}}))
    cards = [card.text for card in page.one("ul", **{"class": "subjects"}).all("li")]
    assert cards[-1].split() == ["wrn-34-8", "Network", "small_cnn,", "width", "8,", "trained", "for", "3", "epochs"]


def test_budgets_that_are_equal_numbers_stand_together(make_run, site_of):
    run = make_run(models=("mlp",), attacks=("fgsm", "pgd-linf"))
    rows = run.metrics
    rows["eps"] = rows.eps.astype("str").mask(rows.attack == "pgd-linf", "16/510")
    site = site_of(run)
    heads = [head.text for head in site.index.one("table", data_table="robust").all("th") if "ε =" in head.text]
    assert heads[0] == "L∞, ε = 8/255"
    assert not any("16/510" in head for head in heads)
    group = next(page.text for page in site.cells if "8/255" in page.one("h1").text)
    assert all(attack in group for attack in ("fgsm", "pgd-linf"))


def test_defenses_that_met_different_attacks_stand_in_different_lines(make_run, page_of):
    def absent(dataset, model, attack, defense, knowledge):
        of_photos = attack == "fgsm" or defense == "adversarial-training"
        return of_photos if dataset == "photos" else defense == "mahalanobis"

    page = page_of(make_run(datasets=("digits", "photos"), models=("mlp",), absent=absent))
    (table,) = verdicts(page)
    met = {
        body.get("data-dataset"): {row.get("data-defense") for row in body.all("tr") if row.get("data-defense")}
        for body in table.all("tbody")
    }
    assert met == {"digits": {"none", "adversarial-training"}, "photos": {"none", "mahalanobis"}}
    abouts = [head.text for head in table.all("th") if head.get("scope") == "rowgroup"]
    assert [re.search(r"all \d attacks", text)[0] for text in abouts] == ["all 4 attacks", "all 3 attacks"]


def test_an_attack_without_a_budget_decides_nothing_alone(make_run, page_of):
    """Where the unbounded attack would turn the order round, verdicts are by the others at their budgets."""
    run = make_run(models=("mlp",))
    unbounded = set(run.metrics[(run.metrics.norm != "") & (run.metrics.eps == "")].attack)
    assert unbounded == {"deepfool"}
    rows = run.metrics.copy()
    of_deepfool = (rows.attack == "deepfool") & rows.metric.str.endswith("robust_accuracy")
    rows.loc[of_deepfool, ["value", "ci_low", "ci_high"]] = [0.001, 0.0, 0.002]
    run.metrics = rows
    page = page_of(run)
    (table,) = verdicts(page)
    assert "deepfool" not in table.text + " ".join(item.text for item in page.all("li"))
    worst = rows[(rows.metric == "worst_case_joint_robust_accuracy") & (rows.attack == "worst-of: all attacks")]
    shown_values = {
        row.get("data-defense"): float(next(c for c in row.all("td") if c.get("data-value")).get("data-value"))
        for row in table.all("tr")
        if row.get("data-defense")
    }
    assert shown_values == pytest.approx(worst.set_index("defense").value.to_dict(), rel=1e-5)
    # Without a group and with one bounded attack, that one decides.
    run.metrics = rows[rows.attack.isin(["none", "fgsm", "deepfool"])]
    run.groups = run.groups.iloc[:0]
    (table,) = verdicts(page_of(run))
    assert {body.get("data-attack") for body in table.all("tbody")} == {"fgsm"}


def test_a_defense_that_met_fewer_models_says_so(make_run, page_of):
    run = make_run(models=("small-cnn", "mlp"), absent=lambda d, m, a, x, k: (m, x) == ("mlp", "adversarial-training"))
    (table,) = verdicts(page_of(run))
    assert "only small-cnn" in table.one("tr", data_defense="adversarial-training").text
    assert "hardest of 2 models" in table.text
    assert "small-cnn" in table.one("tr", data_defense="none").text


def test_a_cell_of_the_first_page_is_a_few_elements(make_run, page_of):
    """Ten thousand open in a second or two by that; perf/report.py measures it."""
    few, many = (page_of(make_run(f"{n}", models=("a", "b"), attacks=[f"a{k}" for k in range(n)])) for n in (4, 24))

    def cells(page):
        return sum(len([*table.all("td")]) for table in page.all("table") if table.get("data-table") == "robust")

    more = cells(many) - cells(few)
    assert more == 2 * 3 * 20
    assert len([*many.all()]) - len([*few.all()]) < 6 * more


def test_a_data_set_without_cells_says_why_it_is_there(make_run, page_of):
    run = make_run(models=("mlp",))
    run.manifest["datasets"]["parts"] = dict(run.manifest["datasets"]["digits"])
    (cards,) = (e for e in page_of(run).all("ul") if e.get("aria-label") == "Data sets and networks")
    assert ["Not attacked" in card.text for card in cards.all("li")] == [False, True, False]


def test_what_guesses_on_clean_images_is_named(make_run, page_of):
    run = make_run(models=("mlp",), defenses=("none", "adversarial-training"))
    assert not [text for text in notices(page_of(run)) if "guessing" in text]
    rows = (run.metrics.metric == "clean_accuracy") & (run.metrics.defense == "adversarial-training")
    run.metrics.loc[rows, ["value", "ci_low", "ci_high"]] = [0.12, 0.09, 0.16]  # ten classes
    (text,) = [text for text in notices(page_of(run)) if "guessing" in text]
    assert "clean images: adversarial-training." in text
