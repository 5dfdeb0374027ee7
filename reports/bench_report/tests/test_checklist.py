"""The checklist of an evaluation: each item answered by what the run has, as a page and as Markdown."""

from __future__ import annotations

import math
import re

import pandas as pd
import pytest

from benchmark.results.tables import PROBE_COLUMNS

LINF = (("linf", "8/255", 8 / 255),)
HOSTILE = "</td><script>alert(1)</script>|`x`*y*\n[a](b)\u202e"


def answers(page):
    """Return item → (answer, what it rests on)."""
    found = {}
    for table in page.all("table"):
        if table.get("data-table") == "checklist":
            for row in (row for row in table.all("tr") if row.get("data-status")):
                item, _, facts = row.all("td")
                found[item.text] = row.get("data-status"), facts.text
    return found


def tags(page):
    found = {}
    for table in page.all("table"):
        if table.get("data-table") == "tags":
            for row in (row for row in table.all("tr") if row.get("data-kind")):
                found[row.get("data-label"), row.get("data-knowledge")] = [code.text for code in row.all("code")]
    return found


@pytest.fixture
def attacks():
    """Return what a manifest says of an attack that needs gradients, and of one that needs scores."""
    return {
        "fgsm": {"use": "fgsm", "needs": "gradient", "evades_detector": False, "steps": 1, "options": {"eps": "8/255"}},
        "pgd": {
            "use": "pgd", "needs": "gradient", "evades_detector": True, "steps": 20,
            "options": {"eps": "8/255", "steps": 20, "random_start": True, "targets": 3},
        },
        "pgd-long": {
            "use": "pgd", "needs": "gradient", "evades_detector": True, "steps": 40,
            "options": {"eps": "8/255", "steps": 40, "random_start": True, "targets": 3},
        },
        "square": {"use": "square", "needs": "scores", "evades_detector": False, "steps": 0, "options": {"queries": 9}},
    }  # fmt: skip


def test_the_first_page_leads_to_the_checklist_and_says_how_it_stands(make_run, site_of):
    site = site_of(make_run(models=("mlp",), n=60))
    links = [link for link in site.index.all("a") if link.get("href") == "checklist.html"]
    assert len(links) == 2
    page = site.read("checklist.html")
    given = [status for status, _ in answers(page).values()]
    told = {"done": "done", "not done": "not done", "unknown": "cannot be told from the run", "none": "does not apply"}
    text = " ".join(site.index.text.split())
    for status, words in told.items():
        assert f"{given.count(status)} {words}" in text
    assert {"Common severe flaws", "Common pitfalls", "Special cases"} <= {
        span.text for span in page.all("span") if span.get("class") == "title"
    }
    twin = (site.folder / "checklist.md").read_text()
    rows = [line.split(" | ") for line in twin.splitlines() if line.startswith("| ") and line.count(" | ") == 3]
    assert {row[1]: row[2] for row in rows}.items() >= {
        item: told[status] for item, (status, _) in answers(page).items()
    }.items()


def test_items_are_answered_by_the_cells_of_the_run(make_run, site_of, attacks):
    right = {"none": 0.0, "adversarial-training": 0.7, "mahalanobis": 0.2}
    run = make_run(
        models=("mlp",), attacks=tuple(attacks), budgets=LINF, n=60, manifest={"attacks": attacks},
        right=lambda model, attack, defense, knowledge: 0.9 if attack == "none" else right[defense],
    )  # fmt: skip
    site = site_of(run)
    found = answers(site.read("checklist.html"))
    assert found["Iterative attacks do better than one step"][0] == "done"
    status, text = found["Iterations suffice to converge"]
    assert status == "done"
    assert "adversarial-training at 20 steps: 70.0 %" in text
    assert "at 40: 70.0 %" in text
    assert found["Random restarts suffice"][0] == "not done"
    status, text = found["The attacker knows how the defense works"]
    assert status == "not done"
    assert "run against adversarial-training." in text
    assert "No attacker who knows all of it was run against mahalanobis." in text
    assert found["Attacks reach through the whole defense, end to end"][0] == "not done"
    assert found["The loss is changed to suit the defense"] == ("not done", "None was run against mahalanobis.")
    assert found["Black-box, transferred or random attacks stand beside them"] == ("done", "Without gradients: square.")
    assert found["One needs no gradient, and one labels alone"] == (
        "not done",
        "Scores alone: square. Labels alone: none.",
    )
    assert found["One is transferred from a similar network"][0] == "not done"
    assert found["Targeted and untargeted attacks"][0] == "done"
    assert found["Randomness is averaged over"] == ("none", "No defense is randomised.")
    status, text = found["The same network without the defense is attacked, and falls"]
    assert status == "done"
    assert "none under" in text
    assert "keeps 0.0 %" in text
    assert found["Accuracy without an attack is reported"][0] == "done"
    assert "90.0 %" in found["Accuracy without an attack is reported"][1]
    # What no run can show is never called done.
    for item in ("The list is not followed mindlessly", "The strongest attacks for the defense are in focus"):
        assert found[item][0] == "unknown"
    described = site.read("checklist.html").one("table", data_table="attacks").text
    assert "steps 40, random_start True" in described


def test_nothing_is_called_done_that_the_run_does_not_show(make_run, site_of, attacks):
    """Steps alone doubled, one draw, a model that stands, noise around few images, a network that stands undefended."""
    brief = {**attacks["fgsm"], "options": {"eps": "8/255", "steps": 1, "restarts": 1}, "doubled": ["steps"]}
    strange = {**attacks["fgsm"], "options": {"eps": "8/255", "restarts": "many"}}
    given = {"brief": brief, "strange": strange}
    run = make_run(
        models=("mlp", "firm"), attacks=tuple(given), defenses=("none", "noisy"), detectors=(), budgets=LINF, n=60,
        knowledge=("white-box",), right=lambda model, attack, defense, knowledge: 0.9,
        manifest={
            "attacks": given, "protocol": {"draws": 1},
            "defenses": {"none": {"family": "none"}, "noisy": {"family": "preprocessor", "randomised": True}},
        },
    )  # fmt: skip
    cell = ("digits", "mlp", "brief", "linf", "8/255", "noisy", "white-box", "0")
    probes = [
        (*cell, "more-steps", "pass", 0.0, -0.05, 0.05, 1.0, 60, "no fewer"),
        (*cell, "random-draws", "pass", 0.0, 0.0, 0.3, math.nan, 8, "none"),
    ]
    run.probes = pd.DataFrame(probes, columns=list(PROBE_COLUMNS))
    curve = [
        ("digits", model, "brief", "linf", "8/255", "noisy", "white-box", "0", math.nan, "accuracy_vs_eps", 8.0, left)
        for model, left in (("mlp", 0.0), ("firm", 0.4))
    ]
    names = [
        "dataset",
        "model",
        "attack",
        "norm",
        "eps",
        "defense",
        "knowledge",
        "seed",
        "threshold",
        "curve",
        "x",
        "y",
    ]
    run.curves = pd.DataFrame(curve, columns=names)
    found = answers(site_of(run).read("checklist.html"))
    assert found["Iterations suffice to converge"][0] == "done"
    assert found["Random restarts suffice"][0] == "not done"
    assert found["Randomness is averaged over"] == ("not done", "Attackers take one draw in each pass of noisy.")
    status, text = found["There is a curve, and attacks reach all images on it"]
    assert status == "not done"
    assert "more than 1 % is left of noisy" in text
    noise = found["Random noise of the same norm, 10,000 draws for each image"][1]
    assert "up to 8 images that withstand the attack" in noise
    assert "one of 10,000 uniform draws from the ball is classified wrongly" in noise
    assert "of the first 256 draws that turn its class" in noise
    status, text = found["The same network without the defense is attacked, and falls"]
    assert status == "not done"
    assert "without an attack" in text
    assert found["Are checked for their hyperparameters, with random starts"][0] == "unknown"


def test_who_knows_the_defense_answers_other_items(make_run, site_of, attacks):
    known = make_run(
        models=("mlp",), attacks=tuple(attacks), budgets=LINF, n=60, manifest={"attacks": attacks},
        knowledge=("gray-box", "white-box", "black-box"),
    )  # fmt: skip
    found = answers(site_of(known).read("checklist.html"))
    for item in (
        "The attacker knows how the defense works",
        "Attacks reach through the whole defense, end to end",
        "The loss is changed to suit the defense",
        "Compared per example",
        "One is transferred from a similar network",
    ):
        assert found[item][0] == "done", item
    assert "mahalanobis under" in found["Attacks reach through the whole defense, end to end"][1]


def test_an_attack_is_tagged_by_what_it_needs_and_where_it_was_crafted(make_run, site_of, attacks):
    run = make_run(
        models=("mlp",), attacks=("pgd", "square"), budgets=LINF, n=60, knowledge=("gray-box", "black-box"),
        manifest={"attacks": {name: attacks[name] for name in ("pgd", "square")}},
    )  # fmt: skip
    found = tags(site_of(run).read("checklist.html"))
    assert found["pgd", "gray-box"] == ["AML.T0015", "AML.T0043.000", "NISTAML.022"]
    assert found["square", "gray-box"] == ["AML.T0015", "AML.T0043.001", "NISTAML.022", "NISTAML.025"]
    for attack in ("pgd", "square"):
        assert found[attack, "black-box"] == ["AML.T0015", "AML.T0043.002", "NISTAML.022", "NISTAML.025"]
    assert found["adversarial-training", ""] == ["AML.M0003"]
    assert found["mahalanobis", ""] == ["AML.M0015"]
    assert ("none", "") not in found


def test_names_are_no_markup_in_either_twin(make_run, site_of, attacks):
    known = {HOSTILE: attacks["pgd"]}
    run = make_run(
        models=("mlp",), attacks=(HOSTILE,), budgets=LINF, n=60, defenses=("none", HOSTILE), detectors=(),
        manifest={"attacks": known, "title": HOSTILE},
    )  # fmt: skip
    site = site_of(run)
    page = site.read("checklist.html")
    assert all(script.get("src") for script in page.all("script"))
    assert HOSTILE.replace("\n", "␊") in page.text or HOSTILE in page.text
    twin = (site.folder / "checklist.md").read_text()
    assert "<script>" not in twin
    lines = [line for line in twin.splitlines() if line.startswith("|")]
    assert all(len(re.findall(r"(?<!\\)\|", line)) == 5 for line in lines)


def test_one_file_holds_the_checklist_and_an_earlier_one_goes(make_run, tmp_path, parse):
    from bench_report.render import HtmlReporter

    run, folder = make_run(models=("mlp",), n=60), tmp_path / "report"
    HtmlReporter().write([run], folder)
    assert (folder / "checklist.md").is_file()
    HtmlReporter().write([run], folder, single_file=True)
    assert [path.name for path in folder.iterdir()] == ["index.html"]
    page = parse((folder / "index.html").read_text())
    (sheet,) = (element for element in page.all("div") if element.get("id") == "page-checklist")
    assert "#page-checklist" in {link.get("href") for link in page.all("a")}
    assert next(link for link in sheet.all("a") if link.get("download")).get("href").startswith("data:text/markdown")
