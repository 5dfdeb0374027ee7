"""Tables of a run: measures, seeds and published values, samples and curves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tabulated import COLUMNS, IMAGES, METRICS, Labels, result, rows, table, tabulate

from benchmark.metrics.attack import RobustAccuracy
from benchmark.metrics.metric import Metric, MetricValue
from benchmark.statistics import mean
from benchmark.suite import Published

IDENTITY = COLUMNS[:8]


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
