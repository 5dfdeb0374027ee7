"""Groups of attacks and their worst cases, and defenses compared on the same images."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tabulated import IMAGES, hash_of, result, rows, table

from benchmark.cells import Answers, Cell, CellResult
from benchmark.results.tables import Tables
from benchmark.statistics import compare_over_seeds, compare_paired


def worst(tables: Tables, metric="worst_case_robust_accuracy") -> dict[str, float]:
    found = rows(tables, metric=metric)
    return dict(zip(found.attack, found.value, strict=True))


def test_groups_by_default_are_budgets_and_all_attacks():
    cells = [result(attack="a"), result(attack="b"), result(attack="c", eps=4), result(attack="d", norm="l2", eps=128)]
    tables = table(*cells)
    assert list(worst(tables)) == ["worst-of: linf 8/255", "worst-of: all attacks"]
    right = np.stack([cell.cell.attacked.label == cell.cell.y for cell in cells])
    assert worst(tables)["worst-of: linf 8/255"] == pytest.approx(right[:2].all(0).mean())
    assert worst(tables)["worst-of: all attacks"] == pytest.approx(right.all(0).mean())
    first, last = (rows(tables, attack=name).iloc[0] for name in worst(tables))
    assert (first.norm, first.eps, last.norm, last.eps) == ("linf", "8/255", "", "")
    assert worst(table(result(attack="none"), result(attack="a"))) == {}


def test_budgets_that_are_equal_numbers_are_one_group():
    cells = [result(attack="a"), replace(result(attack="b"), eps="16/510"), result(attack="c", eps=4)]
    tables = table(*cells)
    assert list(worst(tables)) == ["worst-of: linf 8/255", "worst-of: all attacks"]
    right = np.stack([cell.cell.attacked.label == cell.cell.y for cell in cells])
    assert worst(tables)["worst-of: linf 8/255"] == pytest.approx(right[:2].all(0).mean())
    first = rows(tables, attack="worst-of: linf 8/255").iloc[0]
    assert (first.norm, first.eps) == ("linf", "8/255")
    assert set(rows(tables, attack="b").eps) == {"16/510"}


def nearest(defense="none", attack="cw", norm="l2", accuracy=0.1, **chosen) -> CellResult:
    """Return the cell of an attack without a budget, with distances spread from 0 to 1."""
    found = result(defense, attack, norm=norm, accuracy=accuracy, **chosen)
    if found.cell is None:
        return replace(found, eps="")
    sizes = np.random.default_rng(hash_of(attack)).random(len(found.cell.y)).astype(np.float32)
    return replace(found, eps="", cell=replace(found.cell, eps=None, perturbation=sizes))


def holds(cell: Cell, eps: float | None = None) -> np.ndarray:
    """Which images are labelled rightly, by an attacker who keeps the clean image where the example is too far."""
    attacked = cell.attacked.label == cell.y
    return attacked if eps is None else np.where(cell.perturbation <= eps, attacked, cell.clean.label == cell.y)


def test_an_attack_without_a_budget_counts_at_those_of_the_others_in_its_norm():
    """It joins no worst case as it is: at a budget an image counts as broken where its distance is within it."""
    l2 = [result(attack=f"l2-{eps}", norm="l2", eps=eps, accuracy=0.7) for eps in (64, 128)]
    linf, cw, stray = result(attack="linf", accuracy=0.7), nearest(), nearest(attack="l1", norm="l1")
    tables = table(*l2, linf, cw, stray)
    found = worst(tables)
    at = {eps: holds(cw.cell, eps / 255) for eps in (64, 128)}
    assert list(found) == ["worst-of: l2 64/255", "worst-of: l2 128/255", "worst-of: all attacks"]
    assert found["worst-of: l2 64/255"] == pytest.approx((holds(l2[0].cell) & at[64]).mean())
    assert found["worst-of: l2 128/255"] == pytest.approx((holds(l2[1].cell) & at[128]).mean())
    everything = holds(l2[0].cell) & holds(l2[1].cell) & holds(linf.cell) & at[128]
    assert found["worst-of: all attacks"] == pytest.approx(everything.mean())
    assert everything.mean() > (everything & holds(cw.cell)).mean()
    group = rows(tables, attack="worst-of: l2 64/255").iloc[0]
    assert (group.norm, group.eps) == ("l2", "64/255")
    # Rejection, the base label and comparisons follow: what is submitted is the clean image.
    joint = [holds(l2[0].cell) | l2[0].cell.attacked.flagged, at[64]]
    flagged = np.where(cw.cell.perturbation <= 64 / 255, cw.cell.attacked.flagged, cw.cell.clean.flagged)
    joint[1] = joint[1] | flagged
    assert worst(tables, "worst_case_joint_robust_accuracy")["worst-of: l2 64/255"] == np.mean(joint[0] & joint[1])
    # Alone, or beside budgets in other norms, it is in no group.
    assert worst(table(cw, nearest(attack="deepfool"))) == {}
    assert worst(table(cw, linf)) == {}


def test_a_named_group_counts_an_attack_without_a_budget_at_its_largest():
    l2, cw = [result(attack=f"l2-{eps}", norm="l2", eps=eps, accuracy=0.7) for eps in (64, 128)], nearest()
    found = worst(table(*l2, cw, groups={"small": ["cw", "l2-64"], "both": ["l2-64", "l2-128", "cw"], "alone": ["cw"]}))
    assert list(found) == ["worst-of: small", "worst-of: both"]
    assert found["worst-of: small"] == pytest.approx((holds(l2[0].cell) & holds(cw.cell, 64 / 255)).mean())
    both = holds(l2[0].cell) & holds(l2[1].cell) & holds(cw.cell, 128 / 255)
    assert found["worst-of: both"] == pytest.approx(both.mean())
    failed = table(*l2, nearest(status="failed"), groups={"small": ["cw", "l2-64"]})
    assert set(rows(failed, attack="worst-of: small").status) == {"failed"}


def test_minimal_distances_have_a_median_and_a_curve():
    """Half of the initially right images are wrong within the median; it is infinite where half never are."""
    cell = nearest(accuracy=0.2).cell
    initially = cell.clean.label == cell.y
    wrong = cell.attacked.label != cell.y
    distance = np.sort(np.where(wrong, cell.perturbation, np.inf)[initially])
    tables = table(nearest(accuracy=0.2))
    row = rows(tables, metric="median_minimal_distance").iloc[0]
    n = int(initially.sum())
    assert (row.n, row.status) == (n, "ok")
    assert row.value == pytest.approx(distance[int(np.ceil(n / 2)) - 1])
    inside = (distance[:, None] >= [row.ci_low, row.ci_high]).sum(0)
    assert 1 < n - inside[0] < n / 2 < n - inside[1] < n - 1
    curve = tables.curves[tables.curves.curve == "success_vs_distance"]
    assert (np.diff(curve.x) > 0).all()
    assert (curve.x.iloc[0], curve.y.iloc[0]) == (0, 0)
    for x, y in zip(curve.x, curve.y, strict=True):
        assert y == pytest.approx((distance <= x + 1e-9).mean())
    assert curve.y.iloc[-1] == pytest.approx(rows(tables, metric="attack_success_rate").value.item())
    strong = rows(table(nearest(accuracy=0.9), nearest(accuracy=0.9, seed=1)), metric="median_minimal_distance")
    assert (strong.value == np.inf).all()
    assert (strong.ci_high == np.inf).all()
    assert list(strong.seed) == ["0", "1", "mean"]
    assert rows(table(result()), metric="median_minimal_distance").empty


def test_a_named_group_may_hold_a_single_attack():
    tables = table(result(attack="a"), result(attack="b"), groups={"mine": ["b"]})
    assert list(worst(tables)) == ["worst-of: mine"]
    assert worst(tables)["worst-of: mine"] == rows(tables, attack="b", metric="robust_accuracy").value.item()


@pytest.mark.parametrize("status", ["failed", "missing"])
def test_the_worst_case_of_an_incomplete_group_has_no_value(status):
    tables = table(result(attack="a"), result(attack="b", status=status))
    found = rows(tables, attack="worst-of: linf 8/255")
    assert (found.status == status).all()
    assert found.value.isna().all()


def test_a_defense_that_met_fewer_attacks_is_not_compared_by_its_worst_case():
    tables = table(result("one", "a"), result("one", "b"), result("two", "a"))
    status = (
        rows(tables, attack="worst-of: all attacks", metric="worst_case_robust_accuracy").set_index("defense").status
    )
    assert dict(status) == {"one": "ok", "two": "missing"}


def test_every_two_defenses_are_compared_on_the_same_images():
    names = ("none", "detector", "other")
    cells = {(d, a): result(d, a, scored=d == "detector") for d in names for a in ("none", "pgd", "bim")}
    found = table(*cells.values()).comparisons
    pairs = found[(found.attack == "pgd") & (found.metric == "robust_accuracy")]
    assert list(zip(pairs.defense_a, pairs.defense_b, strict=True)) == [
        ("none", "detector"),
        ("none", "other"),
        ("detector", "other"),
    ]
    a, b = cells["none", "pgd"].cell, cells["detector", "pgd"].cell
    expected = compare_paired(a.attacked.label == a.y, b.attacked.label == b.y)
    row = pairs.iloc[0]
    assert (row.difference, row.ci_low, row.ci_high, row.p_value) == (
        expected.difference,
        expected.low,
        expected.high,
        expected.p_value,
    )
    assert (row.only_a, row.only_b, row.n) == (expected.only_first, expected.only_second, IMAGES)
    assert row.value_a - row.value_b == pytest.approx(row.difference)
    # Joint accuracy only where one of the two can flag; worst cases and clean images are compared too.
    joint = found[(found.attack == "pgd") & (found.metric == "joint_robust_accuracy")]
    assert list(zip(joint.defense_a, joint.defense_b, strict=True)) == [("none", "detector"), ("detector", "other")]
    assert set(found[found.attack == "none"].metric) == {"clean_accuracy", "joint_clean_accuracy"}
    assert (found[found.attack == "worst-of: all attacks"].metric == "worst_case_robust_accuracy").sum() == 3


def test_several_seeds_are_compared_over_seeds_and_images():
    cells = [
        result(defense, seed=seed, accuracy=0.3 + 0.4 * (defense == "b")) for seed in (0, 1, 2) for defense in "ab"
    ]
    found = table(*cells).comparisons
    found = found[(found.attack == "pgd") & (found.metric == "robust_accuracy")]
    assert found.seed.tolist() == ["0", "1", "2", "crossed"]
    right = np.array([[c.cell.attacked.label == c.cell.y for c in cells if c.defense == name] for name in "ab"])
    expected, row = compare_over_seeds(*right), found.iloc[-1]
    assert row.difference == pytest.approx(found.difference[:3].mean())
    assert (row.ci_low, row.ci_high, row.p_value, row.n) == (
        expected.low,
        expected.high,
        expected.p_value,
        IMAGES,
    )
    # Other images in one of the seeds: nothing to pair.
    strangers = [replace(c, sample_ids=[f"other-{i}" for i in range(IMAGES)]) if c.seed == 2 else c for c in cells]
    assert "crossed" not in set(table(*strangers).comparisons.seed)


def test_groups_say_which_attacks_they_hold_and_at_which_budget():
    cells = [result(attack="pgd", eps=8), result(attack="bim", eps=4), nearest(attack="cw", norm="linf")]
    groups = table(*cells).groups
    assert list(groups.columns) == ["dataset", "model", "knowledge", "attack", "member", "norm", "eps"]
    members = groups.groupby("attack").apply(lambda x: dict(zip(x.member, x.eps)), include_groups=False).to_dict()
    assert members == {
        "worst-of: linf 8/255": {"pgd": "8/255", "cw": "8/255"},
        "worst-of: linf 4/255": {"bim": "4/255", "cw": "4/255"},
        "worst-of: all attacks": {"pgd": "8/255", "bim": "4/255", "cw": "8/255"},
    }
    # What was planned and not run stays a member.
    named = table(*cells, groups={"mine": ["pgd", "never"]}).groups
    assert list(zip(named.attack, named.member, named.eps)) == [
        ("worst-of: mine", "pgd", "8/255"),
        ("worst-of: mine", "never", ""),
    ]


def test_without_a_defense_and_for_a_hardener_gray_box_stands_for_an_attacker_who_knows_all():
    """One white-box row of a preprocessor is ranked beside them, without their being run twice."""
    bare = [
        replace(result(defense, attack), family=family)
        for defense, family in (("none", "none"), ("hard", "hardener"), ("hides", "preprocessor"))
        for attack in ("pgd", "bim", "mim")
    ]
    known = [replace(result("hides", attack, accuracy=0.1), knowledge="white-box") for attack in ("pgd", "bim")]
    tables = table(*bare, *(replace(r, family="preprocessor") for r in known))
    groups = rows(tables, knowledge="white-box", metric="worst_case_robust_accuracy", attack="worst-of: all attacks")
    assert groups.defense.tolist() == ["hides", "none", "hard"]
    assert set(tables.groups[tables.groups.knowledge == "white-box"].member) == {"pgd", "bim"}
    right = [r.cell.attacked.label == r.cell.y for r in bare if r.defense == "none" and r.attack != "mim"]
    assert groups.set_index("defense").value["none"] == np.logical_and(*right).mean()
    paired = tables.comparisons[tables.comparisons.knowledge == "white-box"]
    assert {frozenset(pair) for pair in zip(paired.defense_a, paired.defense_b)} == {
        frozenset(pair) for pair in (("hides", "none"), ("hides", "hard"), ("none", "hard"))
    }
    # No cell is made up, and nothing stands where an attack was not run gray-box.
    assert set(rows(tables, knowledge="white-box", attack="pgd").defense) == {"hides"}
    part = table(*(r for r in bare if (r.defense, r.attack) != ("none", "bim")), *known)
    assert "none" not in set(rows(part, knowledge="white-box").defense)


def test_images_are_matched_by_name():
    one = result("one")
    order = np.random.default_rng(0).permutation(IMAGES)[:40]
    two = result("two")
    cell = two.cell

    def pick(found: Answers) -> Answers:
        return Answers(found.base_label[order], found.label[order], found.score[order], found.flagged[order])

    part = replace(
        two,
        cell=replace(
            cell,
            y=cell.y[order],
            clean=pick(cell.clean),
            attacked=pick(cell.attacked),
            perturbation=cell.perturbation[order],
        ),
        sample_ids=[two.sample_ids[i] for i in order],
    )
    row = table(one, part).comparisons.set_index("metric").loc["robust_accuracy"]
    kept = np.sort(order)
    expected = compare_paired((one.cell.attacked.label == one.cell.y)[kept], (cell.attacked.label == cell.y)[kept])
    assert (row.difference, row.n, row.only_a) == (expected.difference, 40, expected.only_first)
    strangers = replace(part, sample_ids=[f"other-{i}" for i in range(40)])
    assert table(one, strangers).comparisons.empty
