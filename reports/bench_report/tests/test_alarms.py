"""Numbers that alarms put in doubt: marked in words, explained on their page, called best nowhere."""

from __future__ import annotations

import re

import pandas as pd
import pytest

from benchmark.trust.alarms import ALARMS

IDENTITY = ["dataset", "model", "attack", "norm", "eps", "defense", "knowledge", "seed"]
FINDING = "pgd-linf leaves 96.5 % right and the \u202eother</p> 14.5 %"


DOUBTFUL = ("pgd-linf", "worst-of: linf 8/255", "worst-of: all attacks")


def doubt(run, *defenses: str):
    """Let an alarm put cells of a loaded run in doubt, as its table would say it."""
    rows = run.metrics[run.metrics.defense.isin(defenses) & run.metrics.attack.isin(DOUBTFUL)][IDENTITY]
    run.alarms = rows.drop_duplicates().assign(alarm="knowledge", finding=FINDING, value=0.965, against=0.145, n=360)
    return run


@pytest.fixture
def best(make_run):
    """Return a run and the defense that its report calls best."""
    share = {"none": 0.02, "weak": 0.55, "strong": 0.8}
    run = make_run(
        models=("mlp",),
        defenses=("none", "weak", "strong", "weaker"),
        detectors=(),
        right=lambda m, a, x, k: 0.95 if a == "none" else share.get(x, 0.5),
    )
    return run, "strong"


def lines(page):
    table = page.one("table", data_table="verdicts")
    return {row.get("data-defense"): row for row in table.all("tr") if row.get("data-defense")}


def best_of(page):
    return [li.text for listed in page.all("ul") if listed.get("class") == "findings"
            for li in listed.all("li") if "is best: " in li.text]  # fmt: skip


def test_a_defense_in_doubt_is_marked_and_called_best_nowhere(best, site_of):
    run, name = best
    site = site_of(run)
    assert lines(site.index)[name].get("data-standing") == "holds"
    assert "strong is best: ahead of weak" in best_of(site.index)[0]
    site = site_of(doubt(run, name))
    row = lines(site.index)[name]
    assert row.get("data-standing") == "undecided"
    assert "an alarm on pgd-linf puts the numbers in doubt" in row.text
    assert "in doubt: pgd-linf" in row.text
    assert list(lines(site.index))[-2:] == [name, "none"]
    (sentence,) = best_of(site.index)
    assert f"{name} is best" not in sentence
    assert f"Not counted, without a sure number: {name}." in sentence
    for page in (site.index, *site.settings):
        for table in page.all("table"):
            if table.get("data-table") not in ("robust", "joint"):
                continue
            heads = [head.get("data-attack") for head in table.all("th") if head.get("data-attack")]
            for row in (row for row in table.all("tr") if row.get("data-defense")):
                for attack, cell in zip(heads, row.all("td"), strict=True):
                    doubtful = row.get("data-defense") == name and attack in DOUBTFUL
                    assert ("in doubt" in cell.text) == doubtful, (row.get("data-defense"), attack)
                    assert not (doubtful and ("best" in cell.text or "best" in cell.get("class").split()))


@pytest.mark.parametrize(
    ("kind", "share", "made_up", "standing", "said"),
    [
        # What attacks that are too weak have turned wrong stays wrong, and what may not be said needs no doubt.
        (
            "knowledge",
            {"fgsm": 0.9, "pgd-linf": 0.2, "pgd-l2": 0.9},
            False,
            "fails",
            "an alarm on pgd-linf: it may be even less",
        ),
        (
            "gradient",
            {"fgsm": 0.2, "pgd-linf": 0.9, "pgd-l2": 0.9},
            False,
            "fails",
            "an alarm on pgd-linf: it may be even less",
        ),
        (
            "random",
            {"fgsm": 0.2, "pgd-linf": 0.9, "pgd-l2": 0.9},
            False,
            "undecided",
            "an alarm on pgd-linf puts the numbers",
        ),
        # Whether a stronger attack makes up for one that is set up badly is for the run to say: its table has the
        # groups that an alarm reaches.
        (
            "one-step",
            {"fgsm": 0.8, "pgd-linf": 0.9, "pgd-l2": 0.7},
            True,
            "holds",
            "against these attacks; no stronger one",
        ),
        (
            "one-step",
            {"fgsm": 0.8, "pgd-linf": 0.9, "pgd-l2": 0.7},
            False,
            "undecided",
            "an alarm on pgd-linf puts the numbers",
        ),
    ],
)
def test_an_alarm_on_one_attack_reaches_what_rests_on_it(make_run, site_of, kind, share, made_up, standing, said):
    attacks = tuple(share)
    run = make_run(
        models=("mlp",),
        attacks=attacks,
        defenses=("none", "hard"),
        detectors=(),
        right=lambda m, a, x, k: 0.95 if a == "none" else 0.0 if x == "none" else share[a],
    )
    reached = [x for x in DOUBTFUL if not (made_up and x == "worst-of: all attacks")]
    rows = run.metrics[(run.metrics.defense == "hard") & run.metrics.attack.isin(reached)][IDENTITY]
    run.alarms = rows.drop_duplicates().assign(alarm=kind, finding=FINDING, value=0.9, against=0.8, n=360)
    site = site_of(run)
    row = lines(site.index)["hard"]
    assert row.get("data-standing") == standing
    assert said in row.text
    assert ("in doubt: pgd-linf" in row.text) != made_up
    (headline,) = (p.text for p in site.index.all("p") if p.get("class") == "lede")
    assert headline.startswith({"holds": "hard holds", "fails": "hard does not", "undecided": "hard is un"}[standing])
    # The attack's own number stays in doubt, and only the pages of what rests on it explain the alarm.
    for table in (t for t in site.settings[0].all("table") if t.get("data-table") == "robust"):
        heads = [head.get("data-attack") for head in table.all("th") if head.get("data-attack")]
        (cells,) = (list(r.all("td")) for r in table.all("tr") if r.get("data-defense") == "hard")
        doubted = {a for a, c in zip(heads, cells, strict=True) if "in doubt" in c.text}
        assert doubted == {*DOUBTFUL} - ({"worst-of: all attacks"} if made_up else set())


def test_an_alarm_is_explained_on_the_first_page_and_on_the_page_of_its_cells(best, site_of):
    run, name = best
    site = site_of(doubt(run, name))
    kind = ALARMS["knowledge"]
    (listed,) = (li for li in site.index.all("li") if li.get("data-alarm"))
    for words in (kind.sign, kind.meaning, kind.remedy.replace("`", ""), kind.source, FINDING, "1 cell in doubt"):
        assert words in listed.text
    assert [code.text for code in listed.all("code")] == re.findall("`(.*?)`", kind.remedy) != []
    first = next(site.index.one("ul", **{"class": "findings"}).all("li")).text
    assert first.startswith(f"{kind.sign}: {FINDING}")
    assert any("1 alarm" in item.text for item in site.index.all("li") if "notice" in item.get("class"))
    pages = [page for page in site.cells if any(p.get("data-alarm") for p in page.all("p"))]
    assert len(pages) == 3
    for page in pages:
        (said,) = (p for p in page.all("p") if p.get("data-alarm"))
        assert kind.meaning in said.text
        assert name in page.one("h1").text


def test_where_all_are_in_doubt_nothing_is_decided(best, page_of):
    run, _ = best
    page = page_of(doubt(run, *run.metrics.defense.unique()))
    assert not best_of(page)
    assert {row.get("data-standing") for row in lines(page).values()} == {"undecided", "baseline"}
    # In doubt is the undefended system alone: nothing is ahead of it for sure.
    page = page_of(doubt(run, "none"))
    assert lines(page)["strong"].get("data-standing") == "undecided"


def test_the_page_of_a_setting_says_what_is_in_doubt(best, site_of):
    run, name = best
    (page,) = site_of(doubt(run, name)).settings
    (said,) = (p.text for p in page.all("p") if p.text.startswith(f"{name} is undecided: "))
    assert "% (" in said
    assert "(in doubt) withstood under all 4 attacks" in said
    assert said.endswith("An alarm on pgd-linf puts the numbers in doubt.")


def test_a_published_value_is_not_met_by_a_number_in_doubt(make_run, page_of):
    metric = "robust_accuracy"
    run = make_run(models=("mlp",), reference={("none", a, metric): 2.0 for a in ("fgsm", "pgd-linf")})
    said = page_of(doubt(run, "none")).one("ul", **{"class": "findings"}).text
    assert "Of 1 published value, each counted once: 1 lie outside the 95 % interval." in said
    assert "Not counted, since alarms put them in doubt: 1." in said
    assert said.count("Published 200.0, measured") == 1
    run = make_run("another", models=("mlp",), reference={("none", "pgd-linf", metric): 2.0})
    said = page_of(doubt(run, "none")).one("ul", **{"class": "findings"}).text
    assert "No published value can be compared. Not counted, since alarms put them in doubt: 1." in said


def test_what_is_lost_once_the_attacker_knows_is_told_of_sure_numbers_alone(make_run, page_of):
    run = make_run(models=("mlp",), knowledge=("gray-box", "white-box"), attacks=("fgsm", "pgd-linf"))
    rows = run.metrics
    there = (rows.defense == "adversarial-training") & (rows.attack == "pgd-linf")
    there &= rows.metric == "joint_robust_accuracy"
    for knowledge, value in (("gray-box", 0.9), ("white-box", 0.3)):
        mine = there & (rows.knowledge == knowledge)
        rows.loc[mine, ["value", "ci_low", "ci_high"]] = [value, value - 0.05, value + 0.05]
    run.manifest["defenses"]["adversarial-training"]["family"] = "preprocessor"
    said = page_of(run).one("ul", **{"class": "findings"}).text
    assert "pgd-linf brings it from ≤ 90.0 % (85.0–95.0) to 30.0 % (25.0–35.0) (" in said
    run = doubt(run, "adversarial-training")
    run.alarms = run.alarms[run.alarms.knowledge == "gray-box"]
    page = page_of(run)
    assert "brings it from" not in page.one("main").text


def test_runs_without_alarms_say_nothing_of_them(best, page_of):
    run, _ = best
    assert isinstance(run.alarms, pd.DataFrame)
    assert run.alarms.empty
    page = page_of(run)
    assert not any(element.get("data-alarm") for element in page.all())
    assert "in doubt" not in page.text
