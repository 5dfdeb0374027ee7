"""Several runs: equal cells stand beside each other, and what is not equal does not."""

from __future__ import annotations

import pytest

from bench_report import measures, words
from bench_report.tests.whole_pages import (
    IDENTITY,
    check_document,
    expected,
    lined_up,
    notices,
    shown,
)


def test_equal_cells_of_two_runs_stand_beside_each_other(make_run, page_of):
    first, second = make_run("first"), make_run("second", strength=0.2, draw=1)
    page = page_of(first, second)
    check_document(page)
    rows = lined_up(page)
    wanted = [expected(run.metrics, "0") for run in (first, second)]
    names = {"clean_accuracy", "robust_accuracy", "worst_case_robust_accuracy", "auroc"}
    names |= {"joint_clean_accuracy", "joint_robust_accuracy", "worst_case_joint_robust_accuracy"}
    assert len(rows) == sum(key[-1] in names for key in wanted[0])
    for row in rows:
        key = tuple(row.get(f"data-{name}") for name in IDENTITY)
        cells = [cell for cell in row.all("td") if "data-value" in cell.attributes]
        for cell, run in zip(cells, wanted):
            assert float(cell.get("data-value")) == pytest.approx(run[key].value, rel=1e-5)
        difference = wanted[1][key].value - wanted[0][key].value
        assert words.difference_text(difference, measures.measure(key[-1]).unit) in cells[1].text
    assert "Not lined up" not in page.one("main").text


def test_other_images_are_not_lined_up(make_run, page_of):
    first = make_run("first", models=("mlp",), datasets=("digits", "letters"))
    second = make_run("second", models=("mlp",), datasets=("letters", "digits"))
    other = second.manifest["datasets"]
    other["digits"]["fingerprint"] = first.manifest["datasets"]["digits"]["fingerprint"]
    page = page_of(first, second)
    assert {row.get("data-dataset") for row in lined_up(page)} == {"digits"}
    assert any("data set letters" in text and "fingerprints" in text for text in notices(page))
    assert "must not be compared between runs: other images." in page.one("main").text


def test_runs_that_agree_are_lined_up_past_one_that_does_not(make_run, page_of):
    runs = [make_run(name, models=("mlp",)) for name in ("one", "two", "three")]
    runs[0].manifest["datasets"]["digits"]["fingerprint"] = "other images"
    rows = lined_up(page_of(*runs))
    assert rows
    for row in rows:
        cells = list(row.all("td"))[-5:-2]
        assert [("data-value" in cell.attributes) for cell in cells] == [False, True, True]


def test_what_another_protocol_does_not_move_is_lined_up(make_run, page_of):
    protocol = {"false_positive_rate": 0.05, "success": "any-wrong", "repeats": 5}
    page = page_of(make_run("first"), make_run("second", manifest={"protocol": protocol}))
    metrics = {row.get("data-metric") for row in lined_up(page)}
    assert {"clean_accuracy", "robust_accuracy", "worst_case_joint_robust_accuracy"} < metrics
    assert "auroc" not in metrics  # over successful attacks
    assert any("protocol, success" in text and "A: initially-correct; B: any-wrong" in text for text in notices(page))


@pytest.mark.parametrize(("randomised", "lined"), [(True, False), (False, True)])
def test_repeats_matter_to_randomised_defenses_alone(make_run, lined, randomised):
    from bench_report.build import build_report

    runs = [make_run(name, models=("mlp",), attacks=("fgsm",)) for name in ("first", "second")]
    for run, repeats in zip(runs, (5, 10)):
        run.manifest["protocol"] = {"false_positive_rate": 0.05, "success": "any-wrong", "repeats": repeats}
        for about in run.manifest["defenses"].values():
            about["randomised"] = randomised
    assert bool(build_report(runs).view.compare.rows) == lined


@pytest.mark.parametrize(
    ("knowledge", "randomised", "lined"),
    [("white-box", True, False), ("white-box", False, True), ("gray-box", True, True)],
)
def test_draws_matter_to_attackers_who_hold_a_randomised_defense_alone(make_run, knowledge, randomised, lined):
    from bench_report.build import build_report

    about = {"models": ("mlp",), "attacks": ("fgsm",), "defenses": ("none", "jpeg"), "detectors": ()}
    about |= {"families": {"jpeg": "preprocessor"}, "knowledge": (knowledge,)}
    runs = [make_run(name, **about) for name in ("first", "second")]
    for run, draws in zip(runs, (10, 20)):
        run.manifest["protocol"] = {"false_positive_rate": 0.05, "success": "any-wrong", "repeats": 5, "draws": draws}
        run.manifest["defenses"]["jpeg"]["randomised"] = randomised
    report = build_report(runs).view
    assert [dict(one.provenance.facts)["Draws"].split()[0] for one in report.runs] == ["10", "20"]
    view = report.compare
    attacked = {row.defense for row in view.rows if row.attack != "none"}
    assert attacked == ({"none", "jpeg"} if lined else {"none"})
    assert {row.defense for row in view.rows if row.attack == "none"} == {"none", "jpeg"}  # no one draws for these


def test_rounded_adversarial_examples_are_told_and_move_no_clean_number(make_run):
    from bench_report.build import build_report

    runs = [make_run(name, models=("mlp",), attacks=("fgsm",)) for name in ("exact", "rounded")]
    runs[1].manifest["protocol"] = runs[1].manifest["protocol"] | {"adversarial": "8-bit"}
    report = build_report(runs).view
    told = [dict(one.provenance.facts)["Adversarial examples"] for one in report.runs]
    assert told[0] == "as the attack made them"
    assert told[1].startswith("rounded to images of 8 bits")
    metrics = {(row.attack, row.metric) for row in report.compare.rows}
    assert ("none", "clean_accuracy") in metrics
    assert {attack for attack, _ in metrics} == {"none"}  # what was attacked is not the same


@pytest.mark.parametrize("told", [True, None])
def test_one_judgement_of_a_randomised_defense_is_not_paired(make_run, page_of, told):
    runs = [make_run(name, models=("mlp",), attacks=("fgsm",), draw=n) for n, name in enumerate(("first", "second"))]
    for run in runs:
        for about in run.manifest["defenses"].values():
            about.pop("randomised")
            about |= {} if told is None else {"randomised": told}
    page = page_of(*runs)
    rows = lined_up(page)
    assert rows
    assert all("only the first judgement is kept" in row.text for row in rows if row.get("data-metric") != "auroc")
    assert "only the first judgement is kept image by image" in page.one("main").text


def test_other_options_under_the_same_label_are_remarked(make_run, page_of):
    first = make_run("first", models=("mlp",))
    attacks = {**first.suite["attacks"], "fgsm": {"use": "pgd", "steps": 40}}
    page = page_of(first, make_run("second", models=("mlp",), suite={"attacks": attacks}))
    for row in lined_up(page):
        concerned = ("fgsm", "worst-of: linf 8/255", "worst-of: all attacks")
        assert ("other options or version: attack" in row.text) == (row.get("data-attack") in concerned)
    assert "attack fgsm, steps" in page.one("main").text


def test_worst_cases_over_other_attacks_are_not_lined_up(make_run, page_of):
    first = make_run("first", models=("mlp",), attacks=("fgsm", "pgd-linf", "pgd-l2"))
    page = page_of(first, make_run("second", models=("mlp",), attacks=("fgsm", "pgd-linf", "pgd-l2", "deepfool")))
    groups = {row.get("data-attack") for row in lined_up(page) if row.get("data-attack").startswith("worst-of: ")}
    assert groups == {"worst-of: linf 8/255"}
    assert any("worst-of: all attacks" in text and "deepfool" in text for text in notices(page))


def test_three_runs_with_nothing_in_common_are_still_shown(make_run, page_of):
    runs = [make_run(name, models=(name,)) for name in ("one", "two", "three")]
    page = page_of(*runs)
    check_document(page)
    assert not lined_up(page)
    assert next(page.all("h2")).text == "What changed"
    assert len(list(shown(page))) == 3 * len(list(shown(page_of(runs[0]))))
