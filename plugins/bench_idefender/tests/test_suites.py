"""The paper's suites: every profile is valid, and the published numbers are those of the paper, in the right cells."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from benchmark.plugins import load_plugins
from benchmark.suite import Suite, load_suite

SUITES = Path(__file__).parents[3] / "suites"
NAMES = ("blackbox", "semi_whitebox", "graybox", "imagenet")


@pytest.fixture(scope="module")
def registry():
    return load_plugins()


def suite(registry, name: str, profile: str | None = None) -> Suite:
    return load_suite(str(SUITES / f"idefender_{name}.yaml"), registry=registry, profile=profile)


@pytest.mark.parametrize("name", NAMES)
def test_every_profile_is_valid_and_one_runs_without_gpu_and_files(registry, name):
    base = suite(registry, name)
    assert base.gpu
    assert base.cite
    for profile in base.profiles:
        suite(registry, name, profile)
    embedded = suite(registry, name, "embedded")
    assert not embedded.gpu
    assert {dataset.use for dataset in embedded.datasets.values()} == {"digits"}
    assert not embedded.reference


@pytest.mark.parametrize("name", NAMES)
def test_published_numbers_belong_to_cells_of_the_grid(registry, name):
    loaded = suite(registry, name)
    for row in loaded.reference:
        point = {axis: getattr(row, axis) for axis in ("dataset", "model", "attack", "defense")}
        assert any(
            all(
                not label or label in getattr(entry, f"{axis}s") or (axis, label) == ("attack", "none")
                for axis, label in point.items()
            )
            and row.knowledge in ("", entry.knowledge)
            for entry in loaded.grid
        ), row


def rows(table: str, **where: str) -> list[float]:
    """Values of the reference table in its order, of the rows that say so."""
    with open(SUITES / "reference" / f"idefender_{table}.csv", newline="") as file:
        return [float(row["value"]) for row in csv.DictReader(file) if all(row[k] == v for k, v in where.items())]


# Sums over the paper's columns, added up from its text and not from the files.
@pytest.mark.parametrize(
    ("table", "where", "count", "total"),
    [
        ("blackbox", {"dataset": "mnist", "defense": "i-defender", "metric": "auroc"}, 5, 4.915),
        ("blackbox", {"dataset": "fashion-mnist", "defense": "i-defender", "metric": "auroc"}, 5, 4.8268),
        ("blackbox_defensegan", {"dataset": "mnist"}, 11, 5.725 + 4.875),
        ("blackbox_defensegan", {"dataset": "fashion-mnist"}, 12, 6.485 + 4.553),
        ("table6", {"metric": "base_robust_accuracy"}, 6, 1.5155),
        ("table6", {"defense": "id-95"}, 6, 4.99532),
        ("table6", {"defense": "id-99"}, 6, 4.96583),
        ("table6_supervised", {"defense": "safetynet"}, 6, 4.60375),
        ("table6_supervised", {"defense": "safetynet-msvm"}, 6, 4.85115),
        ("table6_supervised", {"defense": "subnetwork"}, 6, 4.1371),
        ("tables7_8", {"model": "network", "knowledge": "gray-box-retrained"}, 16, 13.99251),
        ("tables7_8", {"model": "network", "knowledge": "white-box"}, 16, 11.81132),
        ("tables7_8", {"model": "deeper-network"}, 16, 14.14741),
        ("table9", {"metric": "base_robust_accuracy"}, 9, 5.77664),
        ("table9", {"metric": "auroc"}, 9, 7.61228),
    ],
)
def test_columns_add_up(table, where, count, total):
    values = rows(table, **where)
    assert len(values) == count
    assert sum(values) == pytest.approx(total, abs=1e-9)


@pytest.mark.parametrize(
    ("table", "where", "value"),
    [
        ("blackbox", {"dataset": "mnist", "attack": "fgsm-0.15", "defense": "i-defender", "metric": "auroc"}, 0.979),
        ("blackbox", {"dataset": "fashion-mnist", "attack": "fgsm-0.2", "defense": "i-defender-logits",
                      "metric": "auroc_all"}, 0.9722),
        ("blackbox_defensegan", {"dataset": "fashion-mnist", "defense": "defense-gan-10x25"}, 0.935),
        ("table6", {"attack": "deepfool-24", "defense": "id-99"}, 0.90709),
        ("table6", {"attack": "fgsm-45", "metric": "base_robust_accuracy"}, 0.4568),
        ("table6_supervised", {"attack": "iter-linf-29", "defense": "subnetwork"}, 0.49295),
        ("tables7_8", {"attack": "iter-linf-0.013-alpha-0.01", "knowledge": "white-box"}, 0.58967),
        ("tables7_8", {"attack": "fgsm-0.075-alpha-1", "model": "deeper-network"}, 0.94111),
        ("table9", {"attack": "iter-l2-alpha-0.1", "metric": "auroc"}, 0.93837),
    ],
)  # fmt: skip
def test_single_numbers_are_the_papers(table, where, value):
    assert rows(table, **where) == [value]
