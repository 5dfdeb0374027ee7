"""Tables: what stands in them, in which order, and what becomes of damaged files."""

from __future__ import annotations

import csv
import gc
import importlib
import io
import json
import os
import shutil
import sys
import weakref
import zlib
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tabulated import tabulate

from benchmark.builtin import measures
from benchmark.cells import Answers, Cell, CellResult
from benchmark.errors import InputError
from benchmark.metrics.attack import RobustAccuracy
from benchmark.metrics.metric import Metric, MetricValue
from benchmark.panel import Panel
from benchmark.results.export import export
from benchmark.results.read import load_run
from benchmark.results.tables import TABLES, Tables, write_tables
from benchmark.rundir import Identity, RunDir
from benchmark.statistics import compare_over_seeds, compare_paired, mean
from benchmark.suite import Published

METRICS: dict[str, Metric] = {name: kind() for name, kind in measures().items()}
COLUMNS = ["dataset", "model", "attack", "norm", "eps", "defense", "knowledge", "seed", "metric"]
COLUMNS += ["value", "ci_low", "ci_high", "n", "status", "reference", "trust"]
IDENTITY = COLUMNS[:8]
IMAGES = 60


def answers(generator, y, accuracy: float, score: float | None) -> Answers:
    label = np.where(generator.random(len(y)) < accuracy, y, (y + 1) % 3)
    scores = None if score is None else generator.normal(score, 1, len(y)).astype(np.float32)
    return Answers(label, label, scores, None if scores is None else scores > 1.5)


def result(
    defense="none",
    attack="pgd",
    seed=0,
    *,
    eps=8,
    norm="linf",
    status="ok",
    model="net",
    images=IMAGES,
    scored=True,
    sweep="",
    accuracy=0.4,
    knowledge="gray-box",
) -> CellResult:
    """Return a cell whose numbers follow from its labels."""
    generator = np.random.default_rng(abs(hash_of(defense, attack, seed, eps)))
    y = np.arange(images) % 3
    clean = answers(np.random.default_rng(hash_of(defense, seed)), y, 0.9, 0.0 if scored else None)
    is_clean = attack == "none"
    cell = Cell(y, clean)
    if not is_clean:
        sizes = np.full(images, eps / 255, dtype=np.float32)
        cell = Cell(y, clean, answers(generator, y, accuracy, 1.0 if scored else None), sizes, norm, eps / 255)
    return CellResult(
        dataset="blobs",
        model=model,
        attack=attack,
        defense=defense,
        knowledge="" if is_clean else knowledge,
        seed=seed,
        norm="" if is_clean else norm,
        eps="" if is_clean else f"{eps}/255",
        status=status,
        reason="" if status == "ok" else "it broke",
        cell=cell if status == "ok" else None,
        sample_ids=[f"image-{i}" for i in range(images)] if status == "ok" else (),
        details={},
        sweep=sweep,
    )


def hash_of(*parts: object) -> int:
    return zlib.crc32(repr(parts).encode())


def table(*results: CellResult, groups=None, references=(), metrics=None) -> Tables:
    return tabulate(results, metrics or METRICS, groups or {}, references)


def rows(tables: Tables, **where: str) -> pd.DataFrame:
    found = tables.metrics
    for column, value in where.items():
        found = found[found[column] == value]
    return found


# -- measures ---------------------------------------------------------------------------------------------------------


def test_the_table_of_measures_has_the_columns_of_the_contract():
    metrics = table(result(attack="none"), result()).metrics
    assert list(metrics.columns) == COLUMNS
    assert not metrics.duplicated([*IDENTITY, "metric"]).any()
    assert {str(metrics[name].dtype) for name in ("value", "ci_low", "ci_high", "reference")} == {"float64"}
    assert metrics.n.dtype == np.int64
    assert set(metrics.seed) == {"0"}


def test_clean_and_attacked_cells_have_their_own_measures_in_the_order_given():
    tables = table(result(attack="none"), result())
    scopes = {name: metric.scope for name, metric in METRICS.items()}
    unasked = {"feature_separation"}  # of a suite that names no layers
    clean = [name for name in METRICS if scopes[name] == "clean" and name not in unasked]
    assert list(rows(tables, attack="none").metric) == clean
    undefined = {"robust_accuracy_worst_repeat", "median_minimal_distance"}  # neither randomised nor without a budget
    attacked = [name for name in METRICS if scopes[name] == "attack" and name not in undefined]
    assert list(rows(tables, attack="pgd").metric) == attacked
    cell = result().cell
    row = rows(tables, attack="pgd", metric="auroc").iloc[0]
    expected = METRICS["auroc"].compute([cell])
    assert (row.value, row.ci_low, row.ci_high, row.n) == (
        expected.value,
        expected.ci_low,
        expected.ci_high,
        expected.n,
    )
    assert (row.norm, row.eps, row.knowledge, row.status) == ("linf", "8/255", "gray-box", "ok")


def test_a_measure_that_is_not_defined_has_no_row():
    metrics = set(table(result(scored=False)).metrics.metric)
    assert "robust_accuracy" in metrics
    assert not metrics & {"auroc", "tpr", "success_at_5fpr"}


@pytest.mark.parametrize("status", ["failed", "missing"])
def test_a_cell_without_a_result_is_seen(status):
    tables = table(result(attack="none", status=status), result(status=status), result("other"))
    broken = tables.metrics[tables.metrics.defense == "none"]
    assert list(broken.metric) == ["clean_accuracy", "joint_clean_accuracy", "robust_accuracy", "joint_robust_accuracy"]
    assert (broken.status == status).all()
    assert broken[["value", "ci_low", "ci_high"]].isna().all(axis=None)
    assert (broken.n == 0).all()
    assert set(tables.samples.defense) == {"other"}


def test_a_registry_without_the_headline_measures_still_shows_a_failed_cell():
    tables = table(result(status="failed"), metrics={"auroc": METRICS["auroc"]})
    assert list(tables.metrics.metric) == ["auroc"]


class Raises(Metric):
    title, scope = "Raises", "attack"

    def compute(self, cells):
        raise ZeroDivisionError("a bug in the plugin")


class NotFinite(Metric):
    title, scope = "Not finite", "attack"

    def compute(self, cells):
        return MetricValue(float("nan"), 0.0, 1.0, 3)


class OutsideItsInterval(Metric):
    title, scope = "Outside", "attack"

    def compute(self, cells):
        return MetricValue(0.9, 0.1, 0.5, 3)


@pytest.mark.parametrize(
    ("metric", "reason"),
    [(Raises(), "ZeroDivisionError: a bug in the plugin"), (NotFinite(), "not finite"), (OutsideItsInterval(), "0.9")],
)
def test_a_bad_measure_fails_its_own_rows_and_says_why(metric, reason):
    tables = table(result(), result("other"), metrics={**METRICS, "bad": metric})
    assert (rows(tables, metric="bad").status == "failed").all()
    assert len(rows(tables, metric="bad")) == 2
    assert (tables.metrics[tables.metrics.metric != "bad"].status == "ok").all()
    (problem,) = tables.problems
    assert "'bad'" in problem
    assert reason in problem


def test_a_score_that_is_nan_does_not_slip_through():
    good = result()
    scores = good.cell.attacked.score.copy()
    scores[3] = np.nan
    bad = replace(good, cell=replace(good.cell, attacked=replace(good.cell.attacked, score=scores)))
    tables = table(bad)
    assert set(rows(tables, status="failed").metric) == {
        "auroc",
        "auroc_all",
        "tpr_at_5fpr",
        "fpr_at_95tpr",
        "success_at_5fpr",
        "success_at_50fpr",
    }
    assert all("NaN" in problem for problem in tables.problems)
    assert tables.curves.empty


# -- groups of attacks ------------------------------------------------------------------------------------------------


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


# -- seeds and references ---------------------------------------------------------------------------------------------


def test_several_seeds_have_a_mean_with_students_interval_and_a_deviation():
    tables = table(*[result(seed=seed, attack=attack) for seed in (0, 1, 2) for attack in ("a", "b")])
    for name in ("robust_accuracy", "worst_case_robust_accuracy"):
        for attack in set(rows(tables, metric=name).attack):
            found = rows(tables, metric=name, attack=attack).set_index("seed")
            each = found.value[["0", "1", "2"]]
            expected = mean(each)
            assert found.loc["mean", ["value", "ci_low", "ci_high"]].tolist() == pytest.approx(
                [expected.value, max(0, expected.low), min(1, expected.high)]
            )
            assert found.loc["std", "value"] == pytest.approx(each.std(ddof=1))
            assert found.loc["std", "ci_low"] < found.loc["std", "value"] < found.loc["std", "ci_high"]
            assert list(found.n[["mean", "std"]]) == [3, 3]
            both = found.loc["crossed"]
            # Other images are one more reason for another number.
            assert both.value == expected.value
            assert both.n == found.n["0"]
            assert both.ci_low < both.value < both.ci_high
            assert both.ci_high - both.ci_low > found.loc["0", "ci_high"] - found.loc["0", "ci_low"] - 0.05
    crossed = set(tables.metrics[tables.metrics.seed == "crossed"].metric)
    assert {"auroc", "auroc_all", "tpr", "attack_success_rate", "perturbation_mean"} <= crossed
    # Their thresholds are estimated too, and a largest value is no mean.
    assert crossed.isdisjoint({"tpr_at_5fpr", "fpr_at_95tpr", "success_at_5fpr", "perturbation_max"})
    assert set(table(result()).metrics.seed) == {"0"}


def test_a_measure_of_a_plugin_says_what_each_image_contributes_and_a_wrong_answer_costs_only_its_row():
    class Halved(RobustAccuracy):
        def contributions(self, cells):
            return super().contributions(cells) / 2

    results = [result(seed=seed) for seed in (0, 1)]
    tables = tabulate(results, {"right": RobustAccuracy(), "halved": Halved()}, {}, ())
    assert list(tables.metrics[tables.metrics.seed == "crossed"].metric) == ["right"]
    assert set(tables.metrics[tables.metrics.metric == "halved"].seed) == {"0", "1", "mean", "std"}
    (problem,) = tables.problems
    assert "halved" in problem
    assert "mean of its contributions" in problem


def test_a_seed_that_failed_is_left_out_of_the_mean_and_stays_visible():
    tables = table(result(seed=0), result(seed=1, status="failed"), result(seed=2))
    found = rows(tables, metric="robust_accuracy").set_index("seed")
    assert found.status.to_dict() == {"0": "ok", "1": "failed", "2": "ok", "mean": "ok", "std": "ok", "crossed": "ok"}
    assert found.n["mean"] == 2
    assert found.value["mean"] == pytest.approx((found.value["0"] + found.value["2"]) / 2)


def test_the_reference_that_says_most_is_shown():
    references = [
        Published(metric="robust_accuracy", value=0.1),
        Published(metric="robust_accuracy", defense="other", value=0.2),
        Published(metric="robust_accuracy", defense="other", attack="pgd", value=0.3),
        Published(metric="worst_case_robust_accuracy", attack="mine", value=0.4),
        Published(metric="clean_accuracy", attack="none", dataset="elsewhere", value=0.5),
    ]
    cells = [result(d, a, s) for d in ("none", "other") for a in ("none", "pgd", "bim") for s in (0, 1)]
    tables = table(*cells, references=references, groups={"mine": ["pgd", "bim"]})

    def shown(metric: str, defense: str, attack: str) -> set[float]:
        found = rows(tables, metric=metric, defense=defense, attack=attack)
        assert found[found.seed == "std"].reference.isna().all()
        return set(found[found.seed != "std"].reference)

    assert shown("robust_accuracy", "none", "pgd") == {0.1}
    assert shown("robust_accuracy", "other", "bim") == {0.2}
    assert shown("robust_accuracy", "other", "pgd") == {0.3}
    assert shown("worst_case_robust_accuracy", "none", "worst-of: mine") == {0.4}
    assert rows(tables, metric="clean_accuracy").reference.isna().all()
    assert rows(tables, metric="auroc").reference.isna().all()


# -- samples ----------------------------------------------------------------------------------------------------------


def test_samples_hold_every_verdict():
    attacked = result("detector")
    tables = table(result(attack="none", scored=False), attacked)
    samples = tables.samples
    assert list(samples.columns) == [
        *IDENTITY,
        *["sample", "y", "base_label", "label", "score", "flagged", "success", "perturbation"],
    ]
    assert len(samples) == 2 * IMAGES
    plain, detected = samples[samples.attack == "none"], samples[samples.attack == "pgd"]
    assert plain[["score", "flagged", "success", "perturbation"]].isna().all(axis=None)
    assert detected.notna().all(axis=None)
    cell = attacked.cell
    assert detected["sample"].tolist() == list(attacked.sample_ids)
    for name in ("label", "base_label", "flagged"):
        assert detected[name].tolist() == getattr(cell.attacked, name).tolist()
    assert detected.score.tolist() == cell.attacked.score.astype(float).tolist()
    assert (
        detected.success.tolist() == ((cell.clean.base_label == cell.y) & (cell.attacked.base_label != cell.y)).tolist()
    )
    assert (detected.label == detected.y).mean() == pytest.approx(rows(tables, metric="robust_accuracy").value.item())
    assert samples.memory_usage(deep=False).sum() < 64 * len(samples) + 10_000


def test_samples_of_a_randomised_defense_are_its_first_judgements():
    once = result()
    twice = replace(
        once.cell.attacked,
        label=np.stack([once.cell.attacked.label, once.cell.y]),
        score=np.stack([once.cell.attacked.score, once.cell.attacked.score + 1]),
        flagged=np.stack([once.cell.attacked.flagged, ~once.cell.attacked.flagged]),
    )
    samples = table(replace(once, cell=replace(once.cell, attacked=twice))).samples
    pd.testing.assert_frame_equal(samples, table(once).samples)


def test_data_sets_of_different_size_and_names_stand_in_one_table():
    small = replace(result(images=5), dataset="small", sample_ids=["a", "b", "c", "d", "image-3"])
    samples = table(result(), small).samples
    assert samples[samples.dataset == "small"]["sample"].tolist() == ["a", "b", "c", "d", "image-3"]
    assert samples[samples.dataset == "blobs"]["sample"].tolist() == [f"image-{i}" for i in range(IMAGES)]


# -- curves -----------------------------------------------------------------------------------------------------------


def test_roc_curves_have_the_area_that_the_measures_give():
    tables = table(result(images=900, attack="none"), result(images=900))
    curves = tables.curves
    assert set(curves.attack) == {"pgd"}
    for name, metric in (("roc", "auroc"), ("roc_all", "auroc_all")):
        points = curves[curves.curve == name]
        assert 100 < len(points) <= 202
        area = np.sum(np.diff(points.x) * (points.y.to_numpy()[1:] + points.y.to_numpy()[:-1]) / 2)
        assert area == pytest.approx(rows(tables, metric=metric).value.item(), abs=1e-3)
        assert (np.diff(points.threshold) < 0).all()


def test_score_histograms_count_every_image_once():
    cell = result().cell
    before = cell.clean.base_label == cell.y
    success = before & (cell.attacked.base_label != cell.y)
    assert 0 < before.sum() < IMAGES
    curves = table(result()).curves
    counts = curves[curves.curve.str.startswith("score_density")].groupby("curve", observed=True).y.sum()
    assert counts.to_dict() == {
        "score_density_clean": IMAGES,
        "score_density_success": success.sum(),
        "score_density_failed": (before & ~success).sum(),
        "score_density_wrong": (~before).sum(),
    }
    assert curves[curves.curve == "score_density_clean"].threshold.isna().all()


def test_scores_that_are_all_equal_or_infinite_still_give_curves():
    cell = result().cell
    for value in (0.5, np.inf):
        flat = np.full(IMAGES, value)
        flat_cell = replace(cell, clean=replace(cell.clean, score=flat), attacked=replace(cell.attacked, score=flat))
        tables = table(replace(result(), cell=flat_cell))
        assert rows(tables, metric="auroc").value.item() == 0.5
        roc = tables.curves[tables.curves.curve == "roc"]
        assert list(zip(roc.x, roc.y, strict=True)) == [(0, 0), (1, 1)]


class Labels(Panel):
    title = "Labels"

    def of_image(self, image):
        return ()

    def points(self, use, cell):
        return {"true": (np.arange(len(cell.y)), cell.y)}


class Torn(Labels):
    title = "Torn"

    def points(self, use, cell):
        return {"torn": (np.arange(3), np.arange(4))}


def test_points_that_panels_keep_are_curves_and_a_panel_that_fails_is_named():
    cells = [result(attack="none"), result(), result(defense="at", status="failed")]
    tables = tabulate(cells, METRICS, {}, (), panels=[Torn(), Labels()])
    kept = tables.curves[tables.curves.curve == "Labels: true"]
    assert kept.groupby("attack").size().to_dict() == {"none": IMAGES, "pgd": IMAGES}
    assert kept.y.tolist() == 2 * (np.arange(IMAGES) % 3).tolist()
    (problem,) = tables.problems
    assert problem.startswith("panel 'Torn' failed, first for blobs / net / none")
    assert "'torn': x (3,) and y (4,) are not (n,) each" in problem


def test_attacks_that_differ_in_eps_only_make_a_curve():
    cells = [result(attack=f"pgd-{eps}", eps=eps, sweep="pgd", accuracy=1 - eps / 20) for eps in (16, 2, 8)]
    tables = table(result(attack="none"), *cells, result(attack="fgsm", eps=4))
    curves = tables.curves[tables.curves.attack != "fgsm"]
    assert "accuracy_vs_eps" not in set(tables.curves[tables.curves.attack == "fgsm"].curve)
    every = curves[curves.curve == "accuracy_vs_eps"]
    assert set(every.attack) == {"pgd-2", "pgd-8", "pgd-16"}  # each has the whole curve
    assert every.groupby("attack").y.apply(tuple).nunique() == 1
    curve = every[every.attack == "pgd-8"]
    assert curve.x.tolist() == pytest.approx([0, 2 / 255, 8 / 255, 16 / 255])
    expected = [rows(tables, metric="clean_accuracy").value.item()]
    expected += [rows(tables, attack=f"pgd-{eps}", metric="robust_accuracy").value.item() for eps in (2, 8, 16)]
    assert curve.y.tolist() == pytest.approx(expected)
    success = curves[(curves.curve == "success_vs_eps") & (curves.attack == "pgd-8")]
    assert success.y.iloc[0] == 0
    assert success.y.iloc[-1] == rows(tables, attack="pgd-16", metric="attack_success_rate").value.item()


# -- comparisons ------------------------------------------------------------------------------------------------------


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


# -- files ------------------------------------------------------------------------------------------------------------


def grid() -> list[CellResult]:
    return [
        result(
            defense,
            attack,
            seed,
            scored=defense != "none",
            status="failed" if (defense, attack) == ("b", "bim") else "ok",
        )
        for defense in ("none", "a", "b")
        for attack in ("none", "pgd", "bim")
        for seed in (0, 1)
    ]


def written(folder, results) -> dict[str, bytes]:
    folder.mkdir()
    write_tables(table(*results), folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_equal_results_give_equal_bytes(tmp_path):
    first, second = written(tmp_path / "one", grid()), written(tmp_path / "two", grid())
    assert set(first) == {f"{name}.parquet" for name in set(TABLES) - {"costs"}}
    assert first == second


def test_no_results_give_empty_tables(tmp_path):
    assert len(written(tmp_path / "run", [])) == len(TABLES) - 1
    assert list(pd.read_parquet(tmp_path / "run" / "metrics.parquet").columns) == COLUMNS


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory):
    """Return a folder with all files of a run, to be copied."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    folder.mkdir()
    write_tables(table(*grid()), folder)
    (folder / "journal.jsonl").write_text(
        '{"event": "run started"}\n{"event": "task do\n{"event": "run finished"}\n{"ev'
    )
    pd.DataFrame(
        {
            "kind": ["train"],
            "key": ["k"],
            "label": ["l"],
            "status": ["done"],
            "cached": [False],
            "seconds": [1.5],
            "images": [3],
            "forward": [4],
            "backward": [5],
            "peak_memory_bytes": [6],
        }
    ).to_parquet(folder / "costs.parquet")
    sealed(folder)
    return folder


@pytest.fixture
def run_folder(whole_run, tmp_path):
    return shutil.copytree(whole_run, tmp_path / "run")


def sealed(folder):
    told = {"suite": "toy", "command": ["bench", "run", "it"]}
    RunDir(folder).finish(Identity({"suite": "toy", "seeds": [0, 1]}, None), told)


def test_a_run_is_read_back_as_it_was_written(run_folder):
    run, tables = load_run(str(run_folder)), table(*grid())
    for name in ("metrics", "samples", "curves", "comparisons", "artifacts"):
        pd.testing.assert_frame_equal(getattr(run, name), getattr(tables, name))
    assert run.metrics is run.metrics
    assert run.manifest["suite"] == "toy"
    assert run.suite == {"suite": "toy", "seeds": [0, 1]}
    assert [event["event"] for event in run.journal] == ["run started", "run finished"]
    assert run.costs.seconds.tolist() == [1.5]


def test_what_is_no_run_is_refused(run_folder, tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        load_run(tmp_path / "nowhere")
    with pytest.raises(InputError, match="is a file"):
        load_run(run_folder / "suite.yaml")
    with pytest.raises(InputError, match=r"no manifest\.json"):
        load_run(tmp_path)


@pytest.mark.parametrize("content", [b"", b"not parquet at all", None])
def test_a_damaged_or_missing_table_is_one_clear_message(run_folder, content):
    path = run_folder / "metrics.parquet"
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    with pytest.raises(InputError, match="bench run") as refused:
        _ = load_run(run_folder).metrics
    assert "metrics.parquet" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_torn_table_is_damaged(run_folder):
    path = run_folder / "samples.parquet"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match="is damaged"):
        _ = load_run(run_folder).samples


def test_a_table_that_lacks_columns_is_damaged(run_folder):
    pd.DataFrame({"value": [1.0]}).to_parquet(run_folder / "metrics.parquet")
    sealed(run_folder)
    with pytest.raises(InputError, match="lacks the columns dataset, model"):
        _ = load_run(run_folder).metrics


@pytest.mark.parametrize(
    ("name", "content", "attribute"),
    [
        ("manifest.json", "{", None),
        ("manifest.json", "[1]", None),
        ("suite.yaml", "a: [", "suite"),
        ("suite.yaml", "text", "suite"),
        ("suite.yaml", "!!python/object/apply:os.getcwd []", "suite"),
    ],
)
def test_damaged_texts_are_one_clear_message(run_folder, name, content, attribute):
    (run_folder / name).write_text(content)
    with pytest.raises(InputError, match=f"{name}.* is damaged"):
        getattr(load_run(run_folder), attribute or "path")


# -- export -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["metrics", "samples", "curves", "comparisons", "costs"])
def test_csv_keeps_every_digit(run_folder, capsys, what):
    run = load_run(run_folder)
    export(run, what, "csv", None)
    read = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    expected = run.table(what)
    assert len(read) == len(expected)
    assert list(read[0]) == list(expected.columns)
    for name in expected.columns:
        if pd.api.types.is_float_dtype(expected[name]):
            wanted = expected[name].to_numpy(dtype=float, na_value=np.nan)
            found = np.array([float(row[name] or "nan") for row in read])
            assert np.array_equal(found, wanted, equal_nan=True)


def test_json_is_a_list_of_rows_without_nan(run_folder, tmp_path):
    run = load_run(run_folder)
    export(run, "metrics", "json", tmp_path / "out.json")
    records = json.loads((tmp_path / "out.json").read_text())
    assert len(records) == len(run.metrics)
    assert list(records[0]) == COLUMNS
    assert [record["value"] for record in records] == [None if np.isnan(v) else v for v in run.metrics.value]
    export(run, "samples", "json", tmp_path / "samples.json")
    first = json.loads((tmp_path / "samples.json").read_text())[0]
    assert first["success"] is None
    assert first["y"] == 0
    export(run, "curves", "json", tmp_path / "curves.json")  # its last thresholds are -inf, which JSON does not have
    assert any(record["threshold"] is None for record in json.loads((tmp_path / "curves.json").read_text()))


def test_parquet_goes_to_files_and_pipes(run_folder, tmp_path, capsysbinary):
    run = load_run(run_folder)
    export(run, "metrics", "parquet", tmp_path / "out.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "out.parquet"), run.metrics)
    export(run, "metrics", "parquet", None)
    assert capsysbinary.readouterr().out == (tmp_path / "out.parquet").read_bytes()


@pytest.mark.parametrize("format", ["csv", "parquet", "json"])
def test_an_export_leaves_a_folder_alone_that_is_named_for_it(run_folder, tmp_path, format):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years")
    with pytest.raises(InputError, match=r"mine' cannot be written: Is a directory"):
        export(load_run(run_folder), "metrics", format, tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years"


def test_exports_that_cannot_be_are_refused(run_folder, tmp_path, monkeypatch):
    run = load_run(run_folder)
    with pytest.raises(InputError, match="Did you mean 'metrics'"):
        export(run, "metric", "csv", None)
    with pytest.raises(InputError, match="Known: csv, json, parquet"):
        export(run, "metrics", "xls", None)
    with pytest.raises(InputError, match="cannot be written"):
        export(run, "metrics", "csv", tmp_path / "no" / "such" / "folder.csv")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    with pytest.raises(InputError, match="no text for a terminal"):
        export(run, "metrics", "parquet", None)


@pytest.fixture(scope="module")
def ordered():
    """Return cells and the measures of them in that order."""
    cells = [result(d, a) for d in ("x", "y") for a in ("none", "pgd", "bim")]
    return cells, table(*cells).metrics


@settings(max_examples=10)
@given(order=st.permutations(range(6)))
def test_the_order_of_results_is_the_order_of_rows_and_changes_no_number(ordered, order):
    cells, one = ordered
    other = table(*[cells[i] for i in order]).metrics
    keys = [*IDENTITY, "metric"]
    pd.testing.assert_frame_equal(
        one.sort_values(keys).reset_index(drop=True), other.sort_values(keys).reset_index(drop=True)
    )
    first = other[~other.attack.str.startswith("worst-of")].drop_duplicates(["attack", "defense"])
    assert list(zip(first.defense, first.attack, strict=True)) == [(cells[i].defense, cells[i].attack) for i in order]


class Doing(Labels):
    """A panel that does something on its way, from a call on or at one alone."""

    def __init__(self, title: str, do=lambda: None, at: int | None = None) -> None:
        self.title, self.do, self.at, self.called = title, do, at, 0

    def points(self, use, cell):
        seen = float("SEEN" in os.environ)
        self.called += 1
        if self.at in (None, self.called):
            self.do()
        return {"seen": (np.arange(1), np.array([seen]))}


def shown_by_panels(*panels: Panel, cells: int = 3) -> tuple[dict[str, list[float]], tuple[str, ...]]:
    """Return what each panel kept of a clean cell and attacked ones, and the problems."""
    attacked = [result(attack=f"pgd{number}") for number in range(1, cells)]
    tables = tabulate([result(attack="none"), *attacked], METRICS, {}, (), panels=panels)
    curves = tables.curves[tables.curves.curve.str.endswith(": seen")]
    return {curve.partition(":")[0]: list(found.y) for curve, found in curves.groupby("curve")}, tables.problems


def see(name: str = "SEEN"):
    return lambda: os.environ.update({name: "1"})


def test_what_a_panel_changes_at_its_first_call_alone_costs_its_points_of_that_cell():
    kept, (problem,) = shown_by_panels(Doing("once", see(), at=1), Doing("innocent"))
    assert kept == {"once": 2 * [0.0], "innocent": 3 * [0.0]}
    assert problem.startswith("panel 'once' failed, first for")
    assert "the environment (SEEN)" in problem
    assert "SEEN" not in os.environ


def test_an_import_of_one_panel_excuses_no_other(tmp_path, monkeypatch):
    (tmp_path / "imported_by_a_panel.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    before = list(sys.path)
    kept, problems = shown_by_panels(
        Doing("imports", lambda: importlib.import_module("imported_by_a_panel")),
        Doing("path", lambda: sys.path.insert(0, "/hostile")),
        Doing("sets", see()),
        Doing("reads"),
    )
    assert kept == {"imports": 3 * [0.0], "reads": 3 * [0.0]}
    assert [problem.split(" failed")[0] for problem in problems] == ["panel 'path'", "panel 'sets'"]
    assert (sys.path, "SEEN" in os.environ) == (before, False)


def test_a_path_and_an_environment_that_were_exchanged_are_put_back():
    path, environment = list(sys.path), dict(os.environ)
    kept, problems = shown_by_panels(
        Doing("path", lambda: setattr(sys, "path", ["/hostile", *sys.path])),
        Doing("environment", lambda: setattr(os, "environ", {"SEEN": "1"})),
        Doing("inserts", lambda: sys.path.insert(0, "/hostile")),
        Doing("reads"),
    )
    assert kept == {"reads": 3 * [0.0]}
    assert len(problems) == 3
    assert (sys.path, dict(os.environ), os.getenv("SEEN")) == (path, environment, None)


def test_a_panel_that_ends_the_program_is_told_that_it_called_sys_exit():
    kept, (problem,) = shown_by_panels(Doing("leaves", lambda: sys.exit(3)), Doing("stays"))
    assert kept == {"stays": 3 * [0.0]}
    assert problem.endswith("it called sys.exit(3): raise an error instead")


@pytest.mark.parametrize(
    ("do", "told"),
    [(see(), "one of them changed the environment (SEEN)"), (lambda: sys.exit(3), "'later' called sys.exit(3)")],
)
def test_what_nobody_does_again_when_asked_alone_is_said_of_all_who_were_asked_together(do, told):
    kept, (problem,) = shown_by_panels(Doing("later", do, at=2), Doing("other"))
    assert kept == {"later": 3 * [0.0], "other": 3 * [0.0]}  # each by itself, in an environment that was put back
    assert problem.startswith("the panels 'later', 'other' were asked together for blobs / net / pgd1")
    assert f": {told}. Asked each by itself" in problem
    assert "SEEN" not in os.environ


@pytest.mark.parametrize(
    ("call", "told"), [(1, "panel 'once' failed"), (2, "the panels 'once', 'other' were asked together")]
)
def test_what_cannot_be_put_back_is_told_of(tmp_path, monkeypatch, call, told):
    folder = tmp_path / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    _, (problem,) = shown_by_panels(Doing("once", lambda: (os.chdir("/"), folder.rmdir()), at=call), Doing("other"))
    assert problem.startswith(told)
    assert "the current directory, which cannot be put back" in problem


class Setting(Metric):
    title, scope = "Setting", "attack"

    def compute(self, cells):
        os.environ["SEEN"] = "1"
        return None


class Disturbed(Metric):
    title, scope = "Disturbed", "attack"

    def compute(self, cells):
        if "SEEN" in os.environ:
            raise ValueError("disturbed")
        return MetricValue(0.5, 0.4, 0.6, 3)


def test_a_measure_that_another_disturbs_is_no_problem():
    tables = tabulate([result(), result(attack="fgsm")], {"a": Setting(), "b": Disturbed()}, {}, ())
    of_cells = tables.metrics[tables.metrics.metric == "b"]
    assert (of_cells.status == "ok").all()
    assert len(of_cells) == 2
    (problem,) = tables.problems
    assert problem.startswith("measure 'a' failed")
    assert "the environment (SEEN)" in problem


class Failing(Metric):
    title, scope = "Failing", "attack"

    def __init__(self, end) -> None:
        self.end, self.held = end, []

    def compute(self, cells):
        large = np.zeros(3)
        self.held.append(weakref.ref(large))
        self.end()


def test_what_a_measure_that_fails_leaves_behind_goes_without_a_look_for_garbage():
    failing = {"raises": Failing(lambda: 1 / 0), "quits": Failing(sys.exit)}
    gc.disable()
    try:
        tabulate([result(attack=f"pgd{number}") for number in range(3)], failing, {}, ())
        held = [one() for metric in failing.values() for one in metric.held]
    finally:
        gc.enable()
    assert held == 6 * [None]
