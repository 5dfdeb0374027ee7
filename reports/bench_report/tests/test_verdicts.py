"""What a report may say of a defense: drawn runs that invite to overclaim."""

from __future__ import annotations

import re
from itertools import product

import pytest

from bench_report import sentences
from bench_report.reading import read_facts
from bench_report.tests.first_screen import GROUP, LINF, cell, findings, headline, lines, shares, verdict


def order_of(page):
    """Return the places of what the first page shows, in the order in which it is read."""
    return {
        name: n for n, e in enumerate(page.all()) for name in (e.get("data-table"), e.get("class"), e.get("id")) if name
    }


def test_verdicts_come_before_everything_else_and_notices_beside_their_numbers(make_run, page_of):
    page = page_of(make_run(models=("mlp",), attacks=LINF, n=60))
    place = order_of(page)
    first = [place[name] for name in ("lede", "r1-verdicts", "verdicts", "r1-subjects", "subjects", "r1-matrix")]
    assert first == sorted(first)
    (few,) = (item for item in page.one("section", **{"class": "standings"}).all("li") if "Few images" in item.text)
    assert "on digits rest on 60" in few.text
    (block,) = (e for e in page.all("section") if e.get("class") == "block")
    assert "Few images" in block.text


def test_the_headline_names_the_part_of_the_run_that_a_defense_was_tried_on(make_run, page_of):
    """`holds` of a defense that met one of two data sets, or one of two models, says which."""
    right = shares({"none": 0.0, "here": 0.8, "half": 0.8, "everywhere": 0.8})

    def absent(dataset, model, attack, defense, knowledge):
        return (dataset == "photos" and defense in ("here", "half")) or (model == "mlp" and defense == "half")

    defenses = ("none", "here", "half", "everywhere")
    run = make_run(
        datasets=("digits", "photos"), models=("mlp", "cnn"), attacks=LINF, defenses=defenses, detectors=(), n=300,
        right=right, absent=absent,
    )  # fmt: skip
    page = page_of(run)
    assert headline(page).startswith(
        "here holds on digits against every attacker that was run; "
        "everywhere holds against every attacker that was run; "
        "half holds on digits with cnn against every attacker that was run."
    )
    # What holding takes, and what does not follow from it, stands before the numbers.
    limits = next(p for p in page.all("p") if "limits" in (p.get("class") or "").split()).text
    assert limits.startswith("Holds: surely half of the undefended clean accuracy")
    assert "Nothing follows for stronger attacks" in limits


def test_a_verdict_stands_beside_what_it_rests_on(make_run, page_of):
    right = shares({"none": 0.0, "adversarial-training": 0.8, "mahalanobis": 0.1})
    run = make_run(
        models=("mlp",), attacks=LINF, n=400, right=right, flags=lambda a, d, k: 0.05 if a == "none" else 0.85
    )
    page = page_of(run)
    table = page.one("table", data_table="verdicts")
    about = next(head.text for head in table.all("th") if head.get("scope") == "rowgroup")
    assert about.startswith("digits, gray-box attacker: knows the network, not what stands beside it")
    assert "all 2 attacks" in about
    assert about.endswith("n = 400")
    rows = lines(page)
    assert list(rows) == ["adversarial-training", "mahalanobis", "none"]
    assert verdict(rows["adversarial-training"]) == ("holds", "against these attacks; no stronger one was run")
    assert verdict(rows["mahalanobis"]) == ("holds, at most", "this attacker does not know the defense")
    assert verdict(rows["none"])[0] == "undefended"
    frame = run.metrics.set_index(["attack", "defense", "metric"]).value
    for defense, row in rows.items():
        joint = cell(row, "joint_robust_accuracy")
        assert float(joint.get("data-value")) == pytest.approx(
            frame[GROUP, defense, "worst_case_joint_robust_accuracy"], rel=1e-5
        )
        assert joint.text.startswith("≤ ") == (defense == "mahalanobis")
        assert f"{100 * float(joint.get('data-low')):.1f}–" in joint.text
        clean = cell(row, "joint_clean_accuracy")
        assert float(clean.get("data-value")) == pytest.approx(frame["none", defense, "joint_clean_accuracy"], rel=1e-5)
    assert "points" in cell(rows["mahalanobis"], "joint_clean_accuracy").text
    assert float(cell(rows["mahalanobis"], "clean_fpr").get("data-value")) == pytest.approx(0.05)
    assert headline(page) == (
        "adversarial-training holds against every attacker that was run; "
        "mahalanobis holds at most: no attacker who knows the defense was run."
    )


def test_a_missing_baseline_is_said_and_nothing_stands_in_for_it(make_run, site_of):
    right = shares({"i-defender": 0.9})
    run = make_run(
        models=("mlp",),
        attacks=LINF,
        defenses=("i-defender",),
        detectors=("i-defender",),
        right=right,
        flags=lambda a, d, k: 0.02,
    )
    site = site_of(run)
    assert verdict(lines(site.index)["i-defender"])[0] == "undecided"
    assert "no undefended system beside it" in lines(site.index)["i-defender"].text
    assert any("No undefended system was run." in item.text for item in site.index.all("li"))
    said = " ".join([headline(site.index), *findings(site.index), *(page.text for page in site.settings)])
    assert "than i-defender" not in said
    assert "best" not in said.replace("best of the", "")
    assert not any(
        table.get("data-table", "").startswith("paired") for page in site.pages for table in page.all("table")
    )


def test_with_nothing_but_the_undefended_system_no_defense_is_spoken_of(make_run, page_of):
    page = page_of(make_run(models=("mlp",), attacks=LINF, defenses=("none",), detectors=()))
    assert headline(page) == "No defense was run, only the undefended system."
    assert not findings(page)


def test_a_filter_is_named_where_something_is_claimed(make_run, page_of):
    page = page_of(make_run(models=("mlp",), attacks=LINF, manifest={"only": ["attack=pgd*"]}))
    assert headline(page).startswith("Of the part that was run (attack=pgd*): ")


def test_a_failed_cell_makes_no_other_defense_the_best(make_run, page_of):
    right = shares({"none": 0.0, "strong": 0.9, "middle": 0.7, "weak": 0.2})
    run = make_run(
        models=("mlp",),
        attacks=LINF,
        defenses=("none", "strong", "middle", "weak"),
        detectors=(),
        right=right,
        failed=lambda d, m, a, x, s: "no luck" if (a, x) == ("fgsm", "strong") else "",
    )
    page = page_of(run)
    word, note = verdict(lines(page)["strong"])
    assert word == "undecided"
    assert note == "1 of 2 attacks failed: no worst case, it is not above this"
    assert cell(lines(page)["strong"], "robust_accuracy").text.startswith("≤ 90.0")
    (best,) = (said for said in findings(page) if " is best: " in said)
    assert "middle is best: ahead of weak" in best
    assert best.endswith("Not counted, without a sure number: strong.")
    # What the finished attacks break needs no other attack.
    broken = make_run(
        "broken",
        models=("mlp",),
        attacks=LINF,
        defenses=("none", "weak"),
        detectors=(),
        right=shares({"none": 0.0, "weak": 0.05}),
        failed=lambda d, m, a, x, s: "no" if (a, x) == ("fgsm", "weak") else "",
    )
    assert verdict(lines(page_of(broken))["weak"])[0] == "does not hold"


@pytest.mark.parametrize(
    ("gone", "said"),
    [
        (("none", "pgd-linf"), "an attack on none has no result: nothing to compare with"),
        (("none", "none"), "clean accuracy of none is missing: no level to reach"),
        (("hard", "none"), "its clean accuracy is missing: nothing says what it costs"),
    ],
)
def test_what_is_missing_beside_a_defense_is_named(make_run, gone, said):
    """It is neither guessing nor judged on other images, and nothing holds without the undefended clean accuracy."""
    run = make_run(
        models=("mlp",),
        attacks=LINF,
        defenses=("none", "hard"),
        detectors=(),
        right=shares({"none": 0.0, "hard": 0.9}),
        failed=lambda d, m, a, x, s: "no luck" if (x, a) == gone else "",
    )
    (group,) = read_facts(run, {}).groups
    (row,) = (row for row in group.rows if row.defense == "hard")
    assert sentences.standing(row.hardest) == "undecided"
    assert "".join(word.text for word in sentences.caveat(row)) == said


def test_all_that_share_the_second_number_are_named_where_the_best_is_undecided(make_run):
    right = shares({"none": 0.0, "a": 0.8, "b": 0.8, "c": 0.8, "d": 0.7})
    run = make_run(
        models=("mlp",), attacks=LINF, defenses=("none", "a", "b", "c", "d"), detectors=(), right=right, n=300
    )
    told = ("".join(word.text for word in one) for one in sentences.findings(read_facts(run, {}), ()))
    (said,) = (one for one in told if "best" in one)
    assert "which defense is best is undecided between a, b and c: " in said


def test_distances_alone_decide_nothing(make_run):
    run = make_run(
        models=("mlp",),
        attacks=(*LINF, "pgd-l2", "deepfool"),
        defenses=("none", "hard"),
        detectors=(),
        absent=lambda d, m, a, x, k: a != "deepfool",
    )
    said = "".join(word.text for word in sentences.headline(read_facts(run, {})))
    assert said == "No attack with a budget has a result: nothing says whether a defense holds."


def test_missing_attacks_leave_a_verdict_open(make_run, page_of):
    run = make_run(
        models=("mlp",),
        attacks=LINF,
        defenses=("none", "strong"),
        detectors=(),
        right=shares({"none": 0.0, "strong": 0.9}),
        missing=lambda d, m, a, x, s: (a, x) == ("fgsm", "strong"),
    )
    word, note = verdict(lines(page_of(run))["strong"])
    assert (word, note) == ("undecided", "1 of 2 attacks not run: no worst case, it is not above this")


def test_attacks_that_the_grid_leaves_out_for_a_defense_are_not_called_unfinished(make_run, page_of):
    """Such as those crafted on itself, where each network is a source of attacks on all others (PCL's Table 6)."""
    run = make_run(
        models=("mlp",),
        attacks=LINF,
        defenses=("none", "strong"),
        detectors=(),
        right=shares({"none": 0.0, "strong": 0.9}),
        absent=lambda d, m, a, x, k: a in ("fgsm", GROUP) and x == "strong",
    )
    word, note = verdict(lines(page_of(run))["strong"])
    assert word == "undecided"
    assert note == (
        "1 of 2 attacks left out for it by the suite's grid: no worst case, it is not above this; a group (groups:) of "
        "the others has one"
    )


def test_best_needs_the_paired_test_of_first_against_second(make_run, page_of):
    def said(name, n, first, second):
        right = shares({"none": 0.0, "a": first, "b": second})
        run = make_run(name, models=("mlp",), attacks=LINF, defenses=("none", "a", "b"), detectors=(), right=right, n=n)
        page = page_of(run)
        (found,) = (one for one in findings(page) if "best" in one)
        table = page.one("table", data_table="robust")
        return found, [
            row.get("data-defense") for row in table.all("tr") for c in row.all("td") if "best" in c.get("class")
        ]

    sure, starred = said("sure", 400, 0.9, 0.7)
    assert sure.startswith(
        "Against a gray-box attacker, who knows the network (mlp on digits, n = 400, all 2 attacks), "
    )
    assert "a is best: ahead of b, 90.0 %" in sure
    assert "difference +20.0 points (" in sure
    assert "p < 0.001 corrected for 3 comparisons" in sure
    assert set(starred) == {"a"}
    open_, starred = said("open", 60, 0.9, 0.87)
    assert "which defense is best is undecided between a and b" in open_
    assert "p = " in open_
    assert starred == []
    tie, starred = said("tie", 400, 0.8, 0.8)
    assert "undecided between a and b" in tie
    assert starred == []


def test_nothing_is_better_than_the_undefended_by_chance(make_run, page_of):
    """Few images and a small lead: the attacks leave much, and the test does not tell the two apart."""
    right = shares({"none": 0.42, "hard": 0.6})
    few = make_run(models=("mlp",), attacks=LINF, defenses=("none", "hard"), detectors=(), right=right, n=20)
    assert verdict(lines(page_of(few))["hard"])[0] == "undecided"
    weak = shares({"none": 0.9, "hard": 0.94})
    run = make_run("weak", models=("mlp",), attacks=LINF, defenses=("none", "hard"), detectors=(), right=weak)
    rows = lines(page_of(run))
    assert verdict(rows["hard"]) == ("undecided", "none holds too: these attacks are too weak to tell")
    assert verdict(rows["none"]) == ("undefended", "holds undefended: these attacks are too weak to tell")


def test_one_model_lends_no_number_to_another(make_run, page_of):
    """Under one network the defense keeps what it is attacked with, on the other it keeps what is clean."""
    table = {("robust", "hard", a): 0.7 for a in LINF} | {("clean", "hard", a): 0.2 for a in LINF}
    table |= {("robust", "hard", "none"): 0.75, ("clean", "hard", "none"): 0.95, "none": 0.0, "hard": 0.0}
    run = make_run(
        models=("robust", "clean"), attacks=LINF, defenses=("none", "hard"), detectors=(), right=shares(table)
    )
    row = lines(page_of(run))["hard"]
    assert row.get("data-model") == "clean"
    assert next(row.all("small")).text == "clean"
    own = run.metrics[(run.metrics.model == "clean") & (run.metrics.defense == "hard")].set_index(["attack", "metric"])
    assert float(cell(row, "joint_robust_accuracy").get("data-value")) == pytest.approx(
        own.value[GROUP, "worst_case_joint_robust_accuracy"]
    )
    assert float(cell(row, "joint_clean_accuracy").get("data-value")) == pytest.approx(
        own.value["none", "joint_clean_accuracy"]
    )


def test_breaks_is_said_only_where_clean_accuracy_is_worth_something(make_run, page_of):
    table = {"none": 0.0, "useless": 0.03, ("useless", "none"): 0.11, "broken": 0.02}
    run = make_run(
        models=("mlp",), attacks=LINF, defenses=("none", "useless", "broken"), detectors=(), right=shares(table), n=400
    )
    page = page_of(run)
    said = [one for one in findings(page) if " breaks " in one]
    assert [re.search(r" breaks (\S+) ", one)[1] for one in said] == ["broken"]
    assert "fgsm breaks broken by a gray-box attacker, who knows the network (mlp on digits, n = 400): 2.0 %" in said[0]
    assert verdict(lines(page)["useless"]) == (
        "undecided",
        "no better than guessing on clean images: nothing to break",
    )
    # No better than one answer for all: nothing holds or breaks, and it comes last.
    assert list(lines(page)) == ["broken", "useless", "none"]


@pytest.mark.parametrize("family", ["detector", "preprocessor", "rectifier"])
def test_what_an_attacker_does_not_know_is_an_upper_bound_everywhere(make_run, site_of, family):
    right = shares({"none": 0.0, "hides": 0.9})
    run = make_run(
        models=("mlp",),
        attacks=LINF,
        defenses=("none", "hides"),
        detectors=("hides",),
        families={"hides": family},
        right=right,
        flags=lambda a, d, k: 0.02,
        n=400,
    )
    site = site_of(run)
    word, note = verdict(lines(site.index)["hides"])
    assert (word, note) == ("holds, at most", "this attacker does not know the defense")
    assert not [one for one in findings(site.index) if "is best" in one]
    (block,) = (p.text for page in site.settings for p in page.all("p") if p.text.startswith("hides "))
    assert block.startswith("hides holds, at most: ≤ 9")
    assert "This attacker does not know the defense" in block
    pages = [page for page in site.cells if "hides against" in page.one("h1").text]
    assert len(pages) == 4
    for page in pages:
        header = page.one("header").text
        assert "static only (an upper bound: no attack went through all that the defense does): this attacker" in header
        assert re.search(r"does not know the defense; [12] probes? passed", header)


def test_a_broken_defense_is_broken_whoever_attacks_it(make_run, page_of):
    right = shares({"none": 0.0, "hides": 0.05})
    run = make_run(
        models=("mlp",),
        attacks=LINF,
        defenses=("none", "hides"),
        detectors=(),
        families={"hides": "preprocessor"},
        right=right,
        n=400,
    )
    page = page_of(run)
    word, note = verdict(lines(page)["hides"])
    assert word == "does not hold"
    assert note == "fgsm alone leaves 5.0 %, though this attacker does not even know it"
    (said,) = (one for one in findings(page) if " breaks " in one)
    assert "by a gray-box attacker, who does not know the defense" in said


def test_one_white_box_row_is_ranked_beside_what_has_nothing_to_hide(make_run, page_of):
    table = {"none": 0.0, "hard": 0.7, ("hides", "gray-box"): 0.9, ("hides", "white-box"): 0.02}
    run = make_run(
        models=("mlp",),
        attacks=LINF,
        defenses=("none", "hard", "hides"),
        detectors=(),
        knowledge=("gray-box", "white-box"),
        families={"hides": "preprocessor"},
        right=shares(table),
        n=400,
        absent=lambda d, m, a, x, k: k == "white-box" and x != "hides",
    )
    assert set(run.metrics[(run.metrics.knowledge == "white-box") & (run.metrics.attack == "fgsm")].defense) == {
        "hides"
    }
    page = page_of(run)
    rows = lines(page, knowledge="white-box")
    assert {name: verdict(row)[0] for name, row in rows.items()} == {
        "hard": "holds",
        "hides": "does not hold",
        "none": "undefended",
    }
    # The strongest attacker is read first, and the worst verdict counts.
    bodies = [b.get("data-knowledge") for b in page.one("table", data_table="verdicts").all("tbody")]
    assert bodies == ["white-box", "gray-box"]
    assert headline(page).startswith("hard holds against every attacker that was run; hides does not hold")
    (drop,) = (one for one in findings(page) if one.startswith("Once the attacker knows hides"))
    assert "from ≤ 90.0 %" in drop
    assert "to 2.0 %" in drop
    assert "Not all defenses met the same attackers" not in page.text


def test_groups_of_other_attacks_share_no_table_and_name_their_count(make_run, site_of):
    run = make_run(
        attacks=("fgsm", "pgd-linf", "pgd-l2"),
        knowledge=("gray-box", "white-box"),
        defenses=("none", "hard"),
        detectors=(),
        absent=lambda d, m, a, x, k: k == "white-box" and a == "fgsm",
    )
    site = site_of(run)
    overviews = [t for t in site.index.all("table") if t.get("data-table") == "overview"]
    kinds = [{row.get("data-knowledge") for row in t.all("tr") if row.get("data-knowledge")} for t in overviews]
    assert sorted(map(sorted, kinds)) == [["gray-box"], ["white-box"]]
    captions = [next(t.parent.parent.all("figcaption")).text for t in overviews]
    assert ["all 3 attacks" in text for text in captions] != ["all 2 attacks" in text for text in captions]
    for table in (
        t for page in (site.index, *site.settings) for t in page.all("table") if t.get("data-table") == "robust"
    ):
        (head,) = (head.text for head in table.all("th") if head.get("data-attack") == GROUP)
        assert head == ("all 3 attacks" if table.get("data-knowledge") == "gray-box" else "all 2 attacks")
    abouts = [h.text for h in site.index.one("table", data_table="verdicts").all("th") if h.get("scope") == "rowgroup"]
    assert ["all 2 attacks" in text for text in abouts] == [True, False]


def test_many_groups_each_have_a_verdict(make_run, page_of):
    groups = {"known": ["fgsm", "pgd-linf"], "unknown": ["pgd-l2"]}
    run = make_run(
        datasets=("digits", "letters"),
        attacks=("fgsm", "pgd-linf", "pgd-l2"),
        suite={"groups": groups},
        knowledge=("gray-box", "black-box", "white-box"),
    )
    table = page_of(run).one("table", data_table="verdicts")
    bodies = [(b.get("data-dataset"), b.get("data-knowledge")) for b in table.all("tbody")]
    assert bodies == list(product(("digits", "letters"), ("white-box", "gray-box", "black-box")))
    assert {b.get("data-attack") for b in table.all("tbody")} == {"worst-of: known"}
    assert all("known, 2 attacks" in head.text for head in table.all("th") if head.get("scope") == "rowgroup")
    assert all("the hardest of 2 groups" in head.text for head in table.all("th") if head.get("scope") == "rowgroup")
    black = lines(page_of(run), dataset="digits", knowledge="black-box")
    assert "this attacker does not hold the network" in black["mahalanobis"].text + black["adversarial-training"].text


@pytest.mark.parametrize("order", [("easy", "hard", "middle"), ("middle", "easy", "hard"), ("hard", "middle", "easy")])
def test_the_hardest_group_speaks_whatever_the_order_of_the_suite(make_run, site_of, order):
    """Equally large groups: the first of the suite is not what the verdict rests on, nor what suits a defense."""
    groups = {"easy": ["pgd-l2"], "hard": ["fgsm"], "middle": ["pgd-linf"]}
    share = {
        "first": {"pgd-l2": 0.9, "fgsm": 0.6, "pgd-linf": 0.8},
        "second": {"pgd-l2": 0.1, "fgsm": 0.58, "pgd-linf": 0.5},
    }
    run = make_run(
        models=("mlp",),
        attacks=("fgsm", "pgd-linf", "pgd-l2"),
        suite={"groups": {name: groups[name] for name in order}},
        defenses=("none", "first", "second", "flags"),
        detectors=("flags",),
        right=lambda m, a, x, k: 0.95 if a == "none" else share.get(x, {}).get(a, 0.0),
        flags=lambda a, d, k: 1.0,  # is equal under all groups, and chooses none
        n=2000,
    )
    site = site_of(run)
    page = site.index
    (about,) = (h.text for h in page.one("table", data_table="verdicts").all("th") if h.get("scope") == "rowgroup")
    assert "hard, 1 attack, the hardest of 3 groups" in about
    rows = lines(page)
    assert verdict(rows["first"]) == ("holds", "against these attacks; no stronger one was run")
    # What does worse under another group says so, here and in the headline.
    assert verdict(rows["second"])[0] == "holds"
    assert "; does not hold under easy: 10.0 % (" in verdict(rows["second"])[1]
    assert headline(page).startswith("first holds against every attacker that was run; second does not hold")
    others = page.one("table", data_table="other-verdicts")
    assert others.parent.parent.tag == "details"
    assert [b.get("data-attack") for b in others.all("tbody")] == ["worst-of: middle", "worst-of: easy"]
    (best,) = (said for said in findings(page) if "best" in said)
    assert "hard, 1 attack" in best
