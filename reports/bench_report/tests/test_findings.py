"""What stands out beside the verdicts: rejection, kinds of images, published values, seeds; nothing is overclaimed."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench_report import sentences
from bench_report.facts import RunFacts
from bench_report.table import Axes, Place, Row, Table
from bench_report.tests.first_screen import LINF, cell, findings, headline, lines, shares, verdict
from bench_report.values import DifferenceView, TrustView
from bench_report.verdicts import BROKEN, CERTAIN
from benchmark.trust.marks import TRUST_RULES


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
    """By what an attack is, whatever its label."""
    made = {"fgsm": {"use": "fgsm", "eps": 0.15}, "lesson": {"use": "fgsm", "eps": 0.15}}
    made |= {"pgd-linf": {"use": "pgd", "steps": 40}, "brief": {"use": "pgd", "steps": 4}, "cw": {"use": "cw"}}
    taught = {"mahalanobis": ["brief", "lesson"]}
    run = make_run(models=("mlp",), attacks=("fgsm", "pgd-linf", "cw"), taught=taught, suite={"attacks": made})
    site = site_of(run)
    assert "taught by brief and lesson" in lines(site.index)["mahalanobis"].text
    for page in (site.index, *site.settings):
        table = page.one("table", data_table="robust")
        rows = {row.get("data-defense"): next(row.all("th")).text for row in table.all("tr") if row.get("data-defense")}
        assert ["taught by brief" in text for text in rows.values()] == [name == "mahalanobis" for name in rows]
    said = {page.one("h1").text: page.one("header").text for page in site.cells if "mahalanobis" in page.one("h1").text}
    for met, what in (
        ("mahalanobis against fgsm", ": what it finds here it has learned from."),
        (
            "mahalanobis against pgd-linf",
            ": what it finds here it has not learned from, but from the same method with other options.",
        ),
        ("mahalanobis against cw", ": what it finds here it has not learned from."),
        ("mahalanobis against the worst of all 3 attacks", ": some of what it finds here it has learned from."),
        ("mahalanobis on clean images", "."),
    ):
        assert f"Taught by brief and lesson{what}" in said[met]


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
@settings(max_examples=150)
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
