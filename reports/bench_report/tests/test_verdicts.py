"""What a report may say: verdicts, headlines, findings, captions and notices of drawn runs that invite to overclaim."""

from __future__ import annotations

import re
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench_report import sentences
from bench_report.facts import RunFacts
from bench_report.reading import read_facts
from bench_report.table import Axes, Place, Row, Table
from bench_report.values import DifferenceView, TrustView
from bench_report.verdicts import BROKEN, CERTAIN
from benchmark.trust.marks import TRUST_RULES

GROUP = "worst-of: all attacks"
LINF = ("fgsm", "pgd-linf")
"""Two attacks of one norm and budget, as conftest gives them."""


def shares(table, default=0.95):
    """Return `right` of `write_run`: by defense, or by defense and attack, or by defense and knowledge."""

    def right(model, attack, defense, knowledge):
        for key in ((defense, attack, knowledge), (defense, attack), (defense, knowledge), (model, defense, attack)):
            if key in table:
                return table[key]
        return default if attack == "none" else table[defense]

    return right


def lines(page, **where):
    """Return the rows of the table of verdicts by defense; of one body of it where there are several."""
    table = page.one("table", data_table="verdicts")
    bodies = [b for b in table.all("tbody") if all(b.get(f"data-{k}") == v for k, v in where.items())]
    return {row.get("data-defense"): row for body in bodies for row in body.all("tr") if row.get("data-defense")}


def verdict(row):
    """Return the verdict and what is said beside it."""
    said = next(cell for cell in row.all("td") if "said" in cell.get("class").split())
    return next(said.all("b")).text, next(said.all("span")).text


def cell(row, metric):
    (found,) = (c for c in row.all("td") if c.get("data-metric").endswith(metric))
    return found


def findings(page):
    return [item.text for listed in page.all("ul") if listed.get("class") == "findings" for item in listed.all("li")]


def headline(page):
    return next(p.text for p in page.all("p") if p.get("class") == "lede")


def order_of(page):
    """Return the places of what the first page shows, in the order in which it is read."""
    return {
        name: n for n, e in enumerate(page.all()) for name in (e.get("data-table"), e.get("class"), e.get("id")) if name
    }


# -- the first screen --------------------------------------------------------------------------------------------------


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


# -- what is compared --------------------------------------------------------------------------------------------------


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


# -- the attacker ------------------------------------------------------------------------------------------------------


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


# -- rejection ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [1.0, 0.6, 0.4])
def test_what_flags_everything_cannot_lead(make_run, page_of, share):
    right = shares({"none": 0.0, "hard": 0.6, "flags": 0.0})
    run = make_run(
        models=("mlp",),
        attacks=LINF,
        defenses=("none", "hard", "flags"),
        detectors=("flags",),
        right=right,
        n=400,
        flags=lambda a, d, k: share,
    )
    page = page_of(run)
    rows = lines(page)
    assert next(iter(rows)) == "hard"
    assert not verdict(rows["flags"])[0].startswith("holds")
    assert not [one for one in findings(page) if "flags is best" in one]
    assert "flags holds" not in headline(page)
    (alarm,) = (one for one in findings(page) if one.startswith("flags rejects"))
    assert f"{100 * share:.1f} %" in alarm


def test_joint_numbers_stand_beside_joint_clean_accuracy_and_false_alarms(make_run, page_of):
    right = shares({"none": 0.0, "flags": 0.3})
    run = make_run(
        models=("mlp",),
        attacks=LINF,
        defenses=("none", "flags"),
        detectors=("flags",),
        right=right,
        n=400,
        flags=lambda a, d, k: 0.3 if a == "none" else 0.95,
    )
    values = run.metrics[run.metrics.attack == "none"].set_index(["defense", "metric"]).value
    plain, joint = (100 * values["flags", f"{kind}clean_accuracy"] for kind in ("", "joint_"))
    assert plain - joint > 20
    row = lines(page_of(run))["flags"]
    assert cell(row, "clean_accuracy").get("data-metric") == "joint_clean_accuracy"
    assert cell(row, "clean_accuracy").text.startswith(f"{joint:.1f}")
    assert f"{plain:.1f}" not in row.text
    assert cell(row, "clean_fpr").text.startswith("30.0")


def test_a_detector_that_catches_one_attack_and_misses_another_is_told(make_run, page_of):
    share = {"none": 0.05, "fgsm": 0.9, "pgd-linf": 0.2}
    run = make_run(
        models=("mlp",),
        attacks=LINF,
        defenses=("none", "flags"),
        detectors=("flags",),
        right=shares({"none": 0.0, "flags": 0.0}),
        flags=lambda a, d, k: share[a],
        n=400,
    )
    (said,) = (one for one in findings(page_of(run)) if " catches " in one)
    rates = run.metrics[run.metrics.metric == "tpr"].set_index("attack")
    assert said.startswith(f"flags catches ≤ {100 * rates.value['fgsm']:.1f} % (")
    assert f"of the {rates.n['fgsm']} successful images of fgsm and ≤ {100 * rates.value['pgd-linf']:.1f} % (" in said
    assert "crafted by a gray-box attacker, who does not know the defense; false alarms 5.0 % (mlp on digits)." in said
    even = make_run("even", models=("mlp",), attacks=LINF, defenses=("none", "flags"), detectors=("flags",),
                    right=shares({"none": 0.0, "flags": 0.0}), flags=lambda a, d, k: 0.5, n=400)  # fmt: skip
    assert not [one for one in findings(page_of(even)) if " catches " in one]


# -- groups ------------------------------------------------------------------------------------------------------------


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


# -- sweeps of budgets -------------------------------------------------------------------------------------------------

SWEPT = (1, 2, 4, 8, 255)
SWEEP = {f"{a}@{k}": {"use": a, "norm": "linf", "eps": f"{k}/255"} for a in ("pgd", "fgsm") for k in SWEPT}
SWEEP_BUDGETS = tuple(("linf", f"{k}/255", k / 255) for k in SWEPT)
LEFT = {
    "none": (0.7, 0.3, 0.05, 0, 0),
    "at": (0.8, 0.75, 0.6, 0.2, 0),
    "small": (0.8, 0.6, 0.1, 0, 0),
    "weak": (0.5, 0.2, 0.05, 0, 0),
    "squeeze": (0.9, 0.85, 0.8, 0.7, 0),
}
"""What is left of each defense under PGD, by budget; the undefended system withstands the smallest."""


def swept(left, known=()):
    """Return `right` of `write_run` for a sweep; of `known`, who knows them leaves what is left of none."""

    def right(model, attack, defense, knowledge):
        if attack == "none":
            return 0.95
        name, _, budget = attack.partition("@")
        whose = "none" if defense in known and knowledge == "white-box" else defense
        return round(left[whose][SWEPT.index(int(budget))] + 0.03 * (name == "fgsm"), 6)

    return right


def sweep_of(make_run, left, name="sweep", **about):
    about = {"knowledge": ("gray-box", "white-box"), "models": ("mlp",), **about}
    return make_run(
        name,
        attacks=tuple(SWEEP),
        budgets=SWEEP_BUDGETS,
        defenses=tuple(left),
        detectors=(),
        n=400,
        right=swept(left, known=("squeeze",)),
        suite={"attacks": SWEEP, **about.pop("suite", {})},
        families={"squeeze": "preprocessor"} if "squeeze" in left else None,
        **about,
    )


def test_a_sweep_is_judged_at_the_budget_that_tells_and_says_how_far_each_defense_holds(make_run, site_of):
    """At eps = 1 nothing is left of anything: that every defense fails there says that the attacks work, no more."""
    site = site_of(sweep_of(make_run, LEFT))
    told = {name: verdict(row) for name, row in lines(site.index, knowledge="white-box").items()}
    assert told["at"] == ("holds to 4/255", "against these attacks; at 8/255 it does not hold: 20.0 %")
    assert told["small"] == ("does not hold", "pgd@4 alone leaves 10.0 %; holds to 2/255")
    assert told["weak"][1].endswith("undecided at 1/255 already")
    assert told["squeeze"][1].endswith("does not hold at 2/255 already")
    told = {name: verdict(row) for name, row in lines(site.index, knowledge="gray-box").items()}
    assert told["squeeze"] == (
        "holds to 8/255, at most",
        "this attacker does not know the defense; at 255/255 it does not hold: 0.0 %",
    )
    assert told["at"][1].endswith("; holds to 4/255")
    # Numbers of one table are of one budget, which its head names.
    abouts = [h.text for h in site.index.one("table", data_table="verdicts").all("th") if h.get("scope") == "rowgroup"]
    assert "linf 4/255, 2 attacks, of 5 budgets to 255/255 (the largest at which a defense holds)" in abouts[0]
    assert "linf 8/255, 2 attacks, of 5 budgets to 255/255" in abouts[1]
    assert headline(site.index).startswith(
        "at holds to 4/255 against every attacker that was run; small holds to 2/255 against every attacker that was "
        "run; weak and squeeze do not hold."
    )
    # Nor is a defense called broken at a budget that breaks all of them.
    broken = [said for said in findings(site.index) if " breaks " in said]
    assert not any("at" in said.split() or "@255" in said for said in broken)
    # The attackers are judged at budgets of their own: what lies beyond that of one, the other is told of.
    (small,) = (said for said in broken if "small" in said.split())
    assert "pgd@8" in small
    assert "gray-box" in small
    said = " ".join(p.text for page in site.settings for p in page.all("p") if p.get("class") == "finding")
    assert "at holds to 4/255: 60.0 % (" in said


def test_a_sweep_that_nothing_withstands_is_judged_at_its_smallest_telling_budget(make_run, page_of):
    broken = {name: LEFT[name] for name in ("none", "weak")}
    rows = lines(page_of(sweep_of(make_run, broken, knowledge=("gray-box",))))
    assert verdict(rows["weak"])[0] == "does not hold"
    assert float(cell(rows["weak"], "joint_robust_accuracy").get("data-value")) == pytest.approx(0.2)  # at 2/255
    strong = {"none": (0.9,) * 5, "at": (0.9,) * 5}
    page = page_of(sweep_of(make_run, strong, "weak attacks", knowledge=("gray-box",)))
    assert verdict(lines(page)["at"])[0] == "undecided"
    assert headline(page) == "at is undecided."
    firm = {"none": (0.5, 0.3, 0.1, 0, 0), "at": (0.9,) * 5}
    page = page_of(sweep_of(make_run, firm, "firm", knowledge=("gray-box",)))
    assert verdict(lines(page)["at"]) == ("holds to 255/255", "against these attacks; the largest of 5 budgets")


def test_a_sweep_without_numbers_says_nothing_of_what_holds(make_run, page_of):
    """Nor that nothing does: its head has the budgets, and no reason why one of them speaks."""
    left = {name: LEFT[name] for name in ("none", "at")}
    page = page_of(
        sweep_of(make_run, left, knowledge=("gray-box",), failed=lambda d, m, a, x, s: "no luck" * (a != "none"))
    )
    about = next(h.text for h in page.one("table", data_table="verdicts").all("th") if h.get("scope") == "rowgroup")
    assert "of 5 budgets to 255/255" in about
    assert "holds" not in about
    assert "withstands" not in about
    assert headline(page) == "at is undecided."


@pytest.mark.parametrize(
    ("undecided", "beside", "over_all"),
    [
        (2, "undecided at 2/255 already", "at is undecided."),
        (4, "holds to 2/255, undecided at 4/255 already", "at holds to 2/255 against every attacker that was run."),
    ],
)
def test_nothing_holds_to_a_budget_over_a_smaller_one_that_is_undecided(make_run, site_of, undecided, beside, over_all):
    """At the line's budget it holds; an attack on it at a smaller one has failed."""
    left = {"none": LEFT["none"], "at": LEFT["squeeze"]}
    failed = lambda d, m, a, x, s: "no luck" if (a, x) == (f"pgd@{undecided}", "at") else ""  # noqa: E731
    site = site_of(sweep_of(make_run, left, knowledge=("gray-box",), failed=failed))
    assert verdict(lines(site.index)["at"]) == ("holds at 8/255", f"against these attacks; {beside}")
    assert headline(site.index) == over_all
    said = " ".join(p.text for page in site.settings for p in page.all("p") if p.get("class") == "finding")
    assert "at holds at 8/255: 70.0 % (" in said


def test_models_and_named_groups_share_the_budget_of_their_line(make_run, page_of):
    """The budget is one at which a defense holds with all its models; groups by budget are a sweep as well."""
    groups = {f"up to {k}": [f"pgd@{k}", f"fgsm@{k}"] for k in SWEPT}
    run = sweep_of(make_run, {x: LEFT[x] for x in ("none", "at")}, suite={"groups": groups}, knowledge=("gray-box",))
    rows = lines(page_of(run))
    assert verdict(rows["at"])[0] == "holds to 4/255"


def test_what_was_run_beside_a_sweep_counts_at_its_own_budget(make_run, page_of):
    """At a budget of the sweep it is one of the attacks there; elsewhere it has verdicts of its own."""
    some = {name: SWEEP[name] for name in ("pgd@1", "pgd@2", "pgd@4", "pgd@8", "fgsm@255")}
    some["bim@2"] = {**SWEEP["pgd@2"], "use": "bim"}
    some["other@4"] = {"use": "other", "norm": "l2", "eps": "0.5"}
    budgets = (*SWEEP_BUDGETS[:4], SWEEP_BUDGETS[-1], SWEEP_BUDGETS[1], ("l2", "0.5", 0.5))
    run = make_run(
        models=("mlp",), attacks=tuple(some), defenses=("none", "at"), detectors=(), n=400, budgets=budgets,
        right=swept(LEFT), suite={"attacks": some},
    )  # fmt: skip
    page = page_of(run)
    bodies = {b.get("data-attack"): b for b in page.one("table", data_table="verdicts").all("tbody")}
    assert set(bodies) == {"pgd@4", "fgsm@255", "other@4"}
    told = {name: verdict(lines(page, attack=name)["at"])[0] for name in bodies}
    assert told == {"pgd@4": "holds to 4/255", "fgsm@255": "does not hold", "other@4": "holds"}
    assert "of 4 budgets to 8/255" in bodies["pgd@4"].text
    assert headline(page).startswith("at does not hold.")
    # An attack on it at a budget of the sweep is one more that it has to withstand there.
    hard = lambda m, a, x, k: 0.05 if (a, x) == ("bim@2", "at") else swept(LEFT)(m, a, x, k)  # noqa: E731
    run = make_run(
        "hard", models=("mlp",), attacks=tuple(some), defenses=("none", "at"), detectors=(), n=400, budgets=budgets,
        right=hard, suite={"attacks": some},
    )  # fmt: skip
    page = page_of(run)
    bodies = [body.get("data-attack") for body in page.one("table", data_table="verdicts").all("tbody")]
    assert "pgd@4" not in bodies  # 2/255 lies within it
    row = lines(page, attack="worst-of: linf 2/255")["at"]
    assert verdict(row) == ("does not hold", "bim@2 alone leaves 5.0 %")
    # Named groups that hold attacks of several budgets are taken as they are.
    groups = {"mild": ["pgd@1", "pgd@2"], "strong": ["pgd@4", "pgd@8", "bim@2", "fgsm@255"]}
    run = make_run(
        "named", models=("mlp",), attacks=tuple(some), defenses=("none", "at"), detectors=(), n=400, budgets=budgets,
        right=swept(LEFT), suite={"attacks": some, "groups": groups},
    )  # fmt: skip
    assert "strong, 4 attacks" in page_of(run).one("table", data_table="verdicts").text


def test_a_number_never_parts_from_its_percent_sign(make_run, page_of):
    right = shares({"none": 0.0, "near": 0.5})
    page = page_of(make_run(models=("mlp",), attacks=LINF, defenses=("none", "near"), detectors=(), n=60, right=right))
    said = next(c for c in lines(page)["near"].all("td") if "said" in c.get("class").split())
    assert "n = 60 cannot tell: the interval holds 47.5 %, the level to reach" in said.text
    for sentence in (said, *page.all("p"), *page.all("li")):
        kept = [span.text for span in sentence.all("span") if span.get("class") == "number"]
        assert "47.5 %" not in sentence.text or "47.5 %" in kept


def test_what_breaks_a_defense_within_a_budget_breaks_it_there(make_run, page_of):
    """A strong attack at 4/255 alone, weak ones to 8/255: who falls to it does not hold at 8/255, and is not best."""
    some = {name: SWEEP[name] for name in ("pgd@1", "pgd@2", "pgd@4", "pgd@8")}
    some["strong@4"] = {**SWEEP["pgd@4"], "use": "strong"}
    left = {"none": (0.7, 0.3, 0.05, 0, 0), "at": (0.9, 0.9, 0.9, 0.9, 0), "sq": (0.8, 0.75, 0.7, 0.6, 0)}
    right = lambda m, a, x, k: 0.0 if (a, x) == ("strong@4", "at") else swept(left)(m, a, x, k)  # noqa: E731
    run = make_run(
        models=("mlp",), attacks=tuple(some), defenses=("none", "at", "sq"), detectors=(), n=400,
        budgets=(*SWEEP_BUDGETS[:4], SWEEP_BUDGETS[2]), right=right, suite={"attacks": some},
    )  # fmt: skip
    page = page_of(run)
    rows = lines(page, attack="pgd@8")
    assert verdict(rows["sq"])[0] == "holds to 8/255"
    said, why = verdict(rows["at"])
    assert said == "does not hold"
    assert why.startswith("4/255 lies within it, and leaves 0.0 %")
    assert "holds to 2/255" in why
    assert "at is best" not in page.text
    assert "at" in headline(page).partition("to 8/255")[2] or "at holds" in headline(page)


# -- kinds of images ---------------------------------------------------------------------------------------------------


def test_what_was_wrong_before_is_no_failed_attack(make_run, site_of):
    table = {"none": 0.0, "flags": 0.3, ("none", "none"): 0.8, ("flags", "none"): 0.8}
    run = make_run(
        models=("mlp",),
        attacks=("fgsm",),
        defenses=("none", "flags"),
        detectors=("flags",),
        right=shares(table),
        n=200,
        flags=lambda a, d, k: 0.1,
        pictures=True,
    )
    site = site_of(run)
    (page,) = (page for page in site.cells if "flags against fgsm" in page.one("h1").text)
    counts = {s.get("data-title"): int(s.get("data-count")) for s in page.all("section") if s.get("data-stratum")}
    assert counts["Attack failed"] == 60
    assert counts["Wrong before"] == 40
    assert counts.get("Missed", 0) + counts.get("Caught", 0) + counts.get("Rectified", 0) == 100
    (chart,) = (figure for figure in page.all("figure") if figure.get("data-chart") == "scores")
    assert {row["kind"] for row in chart.drawn()["bins"]} == {
        "clean",
        "attack successful",
        "attack failed",
        "wrong before the attack",
    }


def test_a_supervised_detector_says_what_it_was_taught(make_run, site_of):
    run = make_run(models=("mlp",), attacks=("fgsm", "pgd-linf"), taught={"mahalanobis": ["fgsm"]})
    site = site_of(run)
    assert "taught by fgsm" in lines(site.index)["mahalanobis"].text
    for page in (site.index, *site.settings):
        table = page.one("table", data_table="robust")
        rows = {row.get("data-defense"): next(row.all("th")).text for row in table.all("tr") if row.get("data-defense")}
        assert ["taught by fgsm" in text for text in rows.values()] == [name == "mahalanobis" for name in rows]
    said = {page.one("h1").text: page.one("header").text for page in site.cells if "mahalanobis" in page.one("h1").text}
    assert "Taught by fgsm: what it finds here it has learned from." in said["mahalanobis against fgsm"]
    assert "Taught by fgsm: what it finds here it has not learned from." in said["mahalanobis against pgd-linf"]


# -- published values --------------------------------------------------------------------------------------------------


def references(*rows):
    columns = ("metric", "value", "attack", "defense", "model")
    return [dict(zip(columns, row)) for row in rows]


def test_published_values_count_once_each_whatever_they_stand_beside(make_run, page_of):
    """One value for the classifier alone stands in the row of every defense, model and seed."""
    rows = references(("robust_accuracy", 0.5, "fgsm", "", ""), ("robust_accuracy", 0.02, "pgd-linf", "hard", ""))
    right = shares({"none": 0.5, "hard": 0.5})
    run = make_run(
        attacks=LINF, defenses=("none", "hard"), detectors=(), right=right, n=2000, seeds=(0, 1), published=rows
    )
    (said,) = (one for one in findings(page_of(run)) if "published value" in one)
    assert said == (
        "Of 2 published values, each counted once: 1 agree with what was measured here, to within 5 points; 1 lie "
        "outside the 95 % interval."
    )
    assert (run.metrics.reference.notna()).sum() > 20
    (far,) = (one for one in findings(page_of(run)) if one.startswith("Published "))
    assert far.startswith("Published 2.0, measured 50.0 (")
    assert "difference +48.0 points: robust accuracy of hard under pgd-linf (gray-box attacker, " in far
    assert "the farthest of 2 cells" in far


def test_a_small_n_meets_no_published_value(make_run, page_of):
    rows = references(("robust_accuracy", 0.5, "fgsm", "", ""))
    about = {"models": ("mlp",), "attacks": LINF, "defenses": ("none",), "detectors": (), "published": rows}
    few = make_run(right=shares({"none": 0.5}), n=20, **about)
    (said,) = (one for one in findings(page_of(few)) if "published value" in one)
    assert "1 lie inside an interval too wide to have shown a difference of 5 points" in said
    assert "agree" not in said


# -- several seeds -----------------------------------------------------------------------------------------------------


def test_an_interval_is_an_interval_with_several_seeds_too(make_run, site_of):
    run = make_run(models=("mlp",), attacks=LINF, seeds=(0, 1, 2))
    site = site_of(run)
    frame = run.metrics[run.metrics.seed.isin(["mean", "crossed"])]
    frame = frame.set_index(["attack", "defense", "metric", "seed"])
    checked = 0
    for page in (site.index, *site.settings):
        for table in (t for t in page.all("table") if t.get("data-table") in ("robust", "detector", "verdicts")):
            if table.get("data-seed"):
                continue
            heads = [h for h in table.all("th") if h.get("data-metric")]
            for row in (row for row in table.all("tr") if row.get("data-defense")):
                numbers = [c for c in row.all("td") if c.get("data-value")]
                for head, found in zip(heads or numbers, numbers):
                    metric = head.get("data-metric")
                    attack = head.get("data-attack") or row.get("data-attack") or row.parent.get("data-attack")
                    if table.get("data-table") == "verdicts" and "clean" in metric:
                        attack = "none"
                    key = (attack, row.get("data-defense"), metric)
                    over = "crossed" if (*key, "crossed") in frame.index else "mean"
                    assert float(found.get("data-low")) == pytest.approx(frame.ci_low[(*key, over)], rel=1e-4, abs=1e-9)
                    if table.get("data-table") != "verdicts":
                        assert ("over seeds" in found.text) == (over == "mean")
                        n = found.get("data-n") or row.get("data-n") or table.get("data-n")
                        assert int(n) > 0, key
                    checked += 1
    assert checked > 40
    text = site.index.one("main").text
    about = next(
        h.text for h in site.index.one("table", data_table="verdicts").all("th") if h.get("scope") == "rowgroup"
    )
    assert about.endswith("n = 360 · 3 seeds")
    assert "mean over 3 seeds with 95 % interval over seeds and images" in text
    for page in site.pages:
        assert "±" not in page.text.replace("± 5 points", "").replace("as far as ±", "")


def test_seeds_that_disagree_leave_the_verdict_open(make_run, page_of):
    """In one seed the defense holds, in the other it does not: a mean above the level is no evidence."""
    run = make_run(
        models=("mlp",),
        attacks=LINF,
        defenses=("none", "hard"),
        detectors=(),
        seeds=(0, 1),
        n=400,
        right=shares({"none": 0.0, "hard": 0.6}),
        right_in={1: shares({"none": 0.0, "hard": 0.45})},
    )
    assert verdict(lines(page_of(run))["hard"])[0] == "undecided"
    agree = make_run(
        "agree",
        models=("mlp",),
        attacks=LINF,
        defenses=("none", "hard"),
        detectors=(),
        seeds=(0, 1, 2),
        right=shares({"none": 0.0, "hard": 0.8}),
        n=400,
    )
    assert verdict(lines(page_of(agree))["hard"])[0] == "holds"


def test_a_seed_that_failed_is_said_beside_the_verdict(make_run, page_of):
    run = make_run(
        models=("mlp",),
        attacks=LINF,
        defenses=("none", "hard"),
        detectors=(),
        seeds=(0, 1, 2),
        failed=lambda d, m, a, x, s: "no luck" if (a, x, s) == ("fgsm", "hard", 1) else "",
    )
    page = page_of(run)
    assert "2 of 3 seeds" in lines(page)["hard"].text
    assert "seeds" not in lines(page)["none"].text


# -- names of what ran -------------------------------------------------------------------------------------------------


def test_a_page_without_scores_has_no_heading_of_scores(make_run, site_of):
    run = make_run(
        models=("mlp",),
        attacks=("pgd-4", "pgd-8", "pgd-l2", "deepfool"),
        defenses=("none", "squeeze"),
        detectors=(),
        families={"squeeze": "preprocessor"},
    )
    headings = {h.text for page in site_of(run).cells for h in page.all("h2")}
    assert "Success against distance" in headings
    assert "Score and threshold" not in headings


def test_what_was_judged_and_what_success_is_are_those_of_the_run(make_run, site_of):
    """Validation images are called so in every caption, definition and finding; success is what the protocol says."""
    protocol = {"false_positive_rate": 0.05, "success": "any-wrong", "repeats": 5, "split": "val"}
    right = shares({"none": 0.2, "adversarial-training": 0.6, "mahalanobis": 0.2})
    run = make_run(attacks=LINF, n=60, manifest={"protocol": protocol}, flags=lambda a, d, k: 0.4, right=right)
    site = site_of(run)
    for page in site.pages:
        assert "test image" not in page.text.lower().replace("val / 60 test images", "")  # of what the data set has
    assert "with 360 validation images" in site.index.text  # as the manifest counts them
    (said,) = (one for one in findings(site.index) if one.startswith("mahalanobis rejects"))
    assert "of the clean validation images" in said
    (meant,) = (dt.parent.text for dt in site.index.all("dt") if re.search(r"(?<!_)auroc$", dt.text))
    assert "Successful: the attacked image is labelled wrongly by the deployed classifier, whatever" in meant
    usual = site_of(make_run("usual", models=("mlp",), attacks=LINF, n=60)).index
    (meant,) = (dt.parent.text for dt in usual.all("dt") if re.search(r"(?<!_)auroc$", dt.text))
    assert (
        "Successful: the clean image was labelled rightly by the deployed classifier, the attacked one wrong" in meant
    )
    assert "validation image" not in usual.one("dl", **{"class": "measures"}).text.replace(
        "clean validation images", ""
    )


# -- any run -----------------------------------------------------------------------------------------------------------


def _row(attack, defense, metric, value, n, knowledge="gray-box"):
    from benchmark.statistics import wilson

    ends = wilson(round(value * n), n)
    own = "" if attack == "none" else knowledge
    eps = "" if attack == "none" else "8/255"
    return Row(
        "digits",
        "mlp",
        attack,
        "linf" * bool(eps),
        eps,
        defense,
        own,
        "0",
        metric,
        round(value * n) / n,
        ends.low,
        ends.high,
        n,
        "ok",
        None,
    )


NUMBERS = st.tuples(*[st.floats(0, 1)] * 3)


@given(
    systems=st.dictionaries(st.sampled_from(["none", "a", "b", "c", "d"]), NUMBERS, min_size=1),
    families=st.lists(st.sampled_from(["hardener", "preprocessor", "detector", "rectifier"]), min_size=5, max_size=5),
    n=st.integers(1, 800),
    knowledge=st.sampled_from(["gray-box", "white-box", "black-box"]),
    reasons=st.lists(st.sampled_from(list(TRUST_RULES)), min_size=5, max_size=5),
    ps=st.lists(st.floats(0, 1), min_size=40, max_size=40),
)
def test_no_run_whatsoever_is_overclaimed(systems, families, n, knowledge, reasons, ps):
    """Whatever the numbers: what holds is above the level and ahead of a baseline, best is tested, bounds say so."""
    rows = []
    for name, (clean, robust, flagged) in systems.items():
        rows += [
            _row("none", name, "clean_accuracy", clean, n),
            _row("none", name, "joint_clean_accuracy", clean * (1 - flagged), n),
            _row("none", name, "clean_fpr", flagged, n),
            _row("pgd", name, "robust_accuracy", robust, n, knowledge),
            _row("pgd", name, "joint_robust_accuracy", max(robust, flagged), n, knowledge),
        ]
    differences = {}
    drawn = iter(ps)
    names = sorted(systems)
    for first in names:
        for second in names:
            if first < second:
                p, gap = next(drawn), systems[first][1] - systems[second][1]
                for a, b, sign in ((first, second, 1), (second, first, -1)):
                    key = ("digits", "mlp", "pgd", knowledge, "0", "joint_robust_accuracy", a, b)
                    differences[key] = DifferenceView("joint_robust_accuracy", "rate", sign * gap, -1, 1, p, n)
    trust = {
        Place("digits", "mlp", "pgd", name, knowledge): TrustView(TRUST_RULES[why].mark, (why,), "so", (), "", 0, 0, 0)
        for name, why in zip(names, reasons)
    }
    table = Table(rows, {}, trust=trust)
    axes = Axes(("digits",), ("mlp",), ("pgd",), (), tuple(names), None, "none" if "none" in systems else None)
    manifest = {
        "datasets": {"digits": {"class_names": list("0123456789")}},
        "defenses": {x: {"family": "none" if x == "none" else f} for x, f in zip(names, families)},
        "protocol": {"false_positive_rate": 0.05},
    }
    facts = RunFacts(table, axes, differences, manifest)
    (scope,) = facts.scopes
    text = "".join(word.text for word in sentences.headline(facts))
    assert text.endswith(".")
    for one in facts.verdicts[scope]:
        mark = one.trust.mark
        assert bool(one.bound) == (mark in ("static only", "known broken"))
        said = sentences.standing(one)
        assert ("at most" in said) == (one.standing == "holds" and bool(one.bound))
        if one.standing == "holds":
            assert mark != "flagged"
            assert "none" in systems
            undefended = table.estimate(Place("digits", "mlp", "none", "none", ""), "clean_accuracy")
            assert one.robust.low >= max(BROKEN, undefended.value / 2)
            assert one.robust.low > one.false_alarms.value
            assert one.against.p <= CERTAIN
            assert one.against.difference.difference > 0
            assert one.clean.low > 0.1
        if one.standing == "fails":
            assert one.robust.high < one.level
        if one.standing == "undecided":
            assert sentences.caveat(next(r for g in facts.groups for r in g.rows if r.defense == one.defense))
    for best in facts.best:
        assert best.first.trust.mark == "adaptive"
        pair = (best.first.defense, best.second.defense)
        p = differences[("digits", "mlp", "pgd", knowledge, "0", "joint_robust_accuracy", *pair)].p
        assert best.comparison.p >= p
        assert best.comparison.better <= (p <= CERTAIN)
    order = [row.hardest.standing for group in facts.groups for row in group.rows]
    assert "holds" not in order[order.index("fails") :] if "fails" in order else True
    assert order[-1] == "baseline" or "none" not in systems


@pytest.mark.parametrize(
    ("passed", "failed", "said"),
    [
        (0, 0, "no probe was run"),
        (2, 0, "2 probes passed"),
        (0, 1, "0 of 1 probe passed"),
        (2, 1, "2 of 3 probes passed"),
    ],
)
def test_the_tip_of_a_mark_counts_probes_that_failed_and_were_made_up_for(passed, failed, said):
    view = TrustView("adaptive", ("tried",), "", (), "", passed, failed, 0)
    assert view.tip.endswith(said)
