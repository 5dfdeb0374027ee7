"""Several runs: the page opens with what changed beyond chance, what did not, and what cannot be told."""

from __future__ import annotations

import re
from itertools import pairwise, product

import numpy as np
import pytest

from bench_report.build import build_report
from benchmark.statistics import compare_over_seeds, compare_paired, holm

ABOUT = {
    "models": ("mlp",), "attacks": ("fgsm", "pgd"), "defenses": ("none", "adversarial-training", "mahalanobis"),
    "knowledge": ("gray-box",), "flags": lambda attack, defense, knowledge: 0.04 if attack == "none" else 0.5,
}  # fmt: skip


def shares(trained):
    """Return what is labelled rightly, where adversarial training withstands the share `trained`."""

    def right(model, attack, defense, knowledge):
        if attack == "none":
            return 0.95
        return trained if defense == "adversarial-training" else 0.05

    return right


BEFORE, AFTER = shares(0.5), shares(0.7)


def compared(*runs):
    return build_report(runs).view.compare


def said(sentence):
    return "".join(word.text for word in sentence)


def held(run, defense, attacks, joint):
    """Return (seed, image) whether an image is withstood under all attacks, counted from the table of samples."""
    mine = run.samples[(run.samples.defense == defense) & run.samples.attack.isin(attacks)]
    clean = attacks == ("none",)
    flagged = mine.flagged.fillna(False).astype(bool)
    right = mine.y == mine.label
    good = (right & ~flagged if clean else right | flagged) if joint else right
    return good.groupby([mine.seed, mine["sample"]]).min().unstack().to_numpy()


CELLS = {"none": ("none",), "fgsm": ("fgsm",), "pgd": ("pgd",), "worst-of: linf 8/255": ("fgsm", "pgd")}
"""The worst case over all attacks is that of the budget here, and counts once."""


@pytest.mark.parametrize("seeds", [(0,), (0, 1)])
def test_the_page_opens_with_what_changed_beyond_chance(make_run, page_of, seeds):
    runs = [make_run("a", **ABOUT, seeds=seeds, right=BEFORE), make_run("b", **ABOUT, seeds=seeds, right=AFTER)]
    page = page_of(*runs)
    wanted = {}
    for defense, attack in product(ABOUT["defenses"], CELLS):
        one, two = (held(run, defense, CELLS[attack], defense == "mahalanobis") for run in runs)
        wanted[defense, attack] = compare_paired(two[0], one[0]) if len(seeds) == 1 else compare_over_seeds(two, one)
    corrected = dict(zip(wanted, holm([found.p_value for found in wanted.values()])))
    moved = {cell for cell, p in corrected.items() if p <= 0.05}
    assert {defense for defense, _ in moved} == {"adversarial-training"}
    same = {c for c, found in wanted.items() if c not in moved and found.low >= -0.05 and found.high <= 0.05}
    told = {
        (row.get("data-defense"), row.get("data-attack")): row.get("data-told")
        for row in page.one("table", data_table="compare").all("tr")
        if row.get("data-told")
    }
    assert {cell for cell, what in told.items() if what == "higher"} == moved
    assert {cell for cell, what in told.items() if what == "same"} == same
    assert set(told) == set(wanted)
    images = "360 images" if len(seeds) == 1 else "360 images under 2 seeds each: 720 pairs, of 360 different images"
    (lede,) = (p.text for p in page.all("p") if p.get("class") == "lede" and "both runs" in p.text)
    assert lede.startswith(f"Of {len(wanted)} cells that both runs have, compared on {images}, {len(moved)} changed ")
    assert f"({len(moved)} higher in B), {len(same)} did not" in lede
    (first,) = (li.text for li in page.all("li") if li.text.startswith("adversarial-training is higher in B in "))
    assert f" in {len(moved)} of {len(CELLS)} cells" in first
    assert f"corrected for {len(wanted)} comparisons" in first
    assert next(page.all("h2")).text == "What changed"
    # A name keeps the bracket before it and the mark after it, on however narrow a page.
    for item in page.all("li"):
        for before, after in pairwise(item.children):
            if isinstance(before, str) and not isinstance(after, str):
                assert after.tag != "strong" or not before.endswith("(")
            if isinstance(after, str) and not isinstance(before, str):
                assert before.tag != "strong" or not re.match(r"[),.:;]", after)


def test_few_images_cannot_tell_and_the_page_says_so(make_run):
    runs = [make_run(name, **ABOUT, n=40, seeds=(0, 1), right=right) for name, right in (("a", BEFORE), ("b", BEFORE))]
    view = compared(*runs)
    images = "40 images under 2 seeds each: 80 pairs, of 40 different images"
    assert f"compared on {images}, none changed beyond chance" in said(view.headline)
    assert "cannot be told with so few images" in said(view.headline)
    assert any("That no change is seen does not say that there is none" in said(x) for x in view.findings)
    assert {row.change for row in view.rows if row.told} == {"n cannot tell"}


def test_one_seed_against_another_is_two_trainings(make_run):
    runs = [make_run("a", **ABOUT, right=BEFORE), make_run("b", **ABOUT, seeds=(1,), right=AFTER)]
    assert any("Each run has one seed, and not the same one" in said(x) for x in compared(*runs).findings)
    runs = [make_run("c", **ABOUT, right=BEFORE), make_run("d", **ABOUT, right=AFTER)]
    assert not any("Each run has one seed" in said(x) for x in compared(*runs).findings)


def test_what_one_run_alone_has_and_what_must_not_be_compared_is_told(make_run):
    more = {**ABOUT, "defenses": (*ABOUT["defenses"], "<b>=cmd\u202e")}
    failing = "mahalanobis"
    runs = [
        make_run("a", **ABOUT, right=BEFORE),
        make_run("b", **more, right=AFTER, failed=lambda *cell: "out of memory" if cell[3] == failing else ""),
    ]
    found = [said(x) for x in compared(*runs).findings]
    assert any("only in run B, which alone has defense <b>=cmd\u202e." in text for text in found)
    assert any(text.endswith("no number in run B: failed, or not run.") for text in found)
    runs[1].manifest["datasets"]["digits"]["fingerprint"] = "others"
    view = compared(*runs)
    assert not view.rows
    assert said(view.headline).startswith("Nothing can be compared image by image")
    assert any(text.endswith("must not be compared between runs: other images.") for text in map(said, view.findings))
    assert "data set digits:" in [notice.title for notice in view.notices]


def test_a_worst_case_over_other_budgets_is_another_worst_case(make_run):
    about = {**ABOUT, "attacks": ("fgsm", "pgd-linf", "pgd-l2"), "flags": None}
    runs = [make_run("a", **about), make_run("b", **about)]
    told = {row.attack for row in compared(*runs).rows if row.told}
    assert told == {"none", "fgsm", "pgd-linf", "pgd-l2", "worst-of: linf 8/255", "worst-of: all attacks"}
    runs[1].metrics["eps"] = runs[1].metrics.eps.astype("str").mask(runs[1].metrics.attack == "fgsm", "4/255")
    view = compared(*runs)
    lined = {row.attack for row in view.rows}
    assert "pgd-linf" in lined
    assert "attack fgsm on digits:" in [notice.title for notice in view.notices]
    assert not any("unbounded" in notice.text for notice in view.notices)
    assert not lined & {"fgsm", "worst-of: all attacks"}
    runs[1].metrics["eps"] = runs[1].metrics.eps.mask(runs[1].metrics.attack == "fgsm", "16/510")
    assert {"fgsm", "worst-of: all attacks"} <= {row.attack for row in compared(*runs).rows}


def test_equal_keys_are_equal_numbers(make_run):
    runs = [make_run(name, **ABOUT, right=BEFORE, manifest={"key": "k" * 64}) for name in ("a", "b")]
    assert said(compared(*runs).findings[0]).startswith("Runs A and B have one key")


def test_several_runs_are_compared_with_the_first_that_has_the_cell(make_run):
    runs = [make_run(name, **ABOUT, right=right) for name, right in (("a", BEFORE), ("b", AFTER), ("c", BEFORE))]
    view = compared(*runs)
    changes = {(row.defense, row.attack): row.change for row in view.rows if row.change}
    assert changes["adversarial-training", "pgd"] == "B higher, beyond chance; C alike on every image"
    assert said(view.headline).startswith(f"Of {2 * len(changes)} cells that a later run and an earlier one have, ")
    assert np.all([row.told == "" for row in view.rows])
