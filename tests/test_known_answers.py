"""Known answers: what only looks robust is flagged and ranked nowhere, what is robust stands and is not.

Beside them in plugins/bench_pcl: PCL must fall.
"""

from __future__ import annotations

import json

import pandas as pd
import pytest
from inline import start_inline

from benchmark import load_run
from benchmark.cli import main
from benchmark.plugins import load_plugins
from benchmark.suite import load_suite

pytestmark = pytest.mark.slow

SUITE = """
suite: known-answers
seeds: [0]
datasets:
  digits: {use: digits, limit: {train: 700, val: 60, test: 120}}
models:
  cnn: {use: small_cnn, width: 8, train: {epochs: 8, batch_size: 32, lr: 0.05}}
attacks:
  pgd: {use: pgd, norm: linf, eps: 0.1, steps: 10}
  square: {use: square, norm: linf, eps: 0.1, steps: 150}
defenses:
  none: {use: none}
  trained: {use: adversarial_training, eps: 0.1, steps: 5}
  saturation: {use: saturation}
  temperature: {use: temperature}
  quantisation: {use: quantisation}
  randomness: {use: randomness}
  step: {use: step}
  shattered: {use: shattered}
  decoy: {use: decoy}
  shifts: {use: shifts}
  ripples: {use: ripples}
  flags-all: {use: flags-all}
  inverted: {use: inverted-score}
  batch-statistics: {use: batch-statistics-score}
grid:
  - {attacks: all, defenses: all}
probes: [random-search]
"""
HONEST = ("none", "trained")
CAUGHT = {
    "saturation": {"gradient", "random-search"},
    "temperature": {"gradient", "random-search"},
    "quantisation": {"gradient", "random-search"},
    "randomness": {"random", "random-search"},
    "step": {"gradient", "random-search"},
    "shattered": {"random-step", "random-search"},
    "decoy": {"random-step", "random-search"},
    "shifts": {"random-step", "random-search"},
    "ripples": {"random-step", "random-search"},
    "flags-all": {"flags-clean", "transfer-failure"},  # the attack on the network alone gets nothing through
    "inverted": {"inverted-score"},
}
"""What has to see through each: alarms, and the probe that a suite asks for."""
GROUP = "worst-of: linf 0.1"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("known")
    (folder / "suite.yaml").write_text(SUITE)
    registry = load_plugins(["masked", "inline"])
    suite = load_suite(str(folder / "suite.yaml"), registry=registry)
    code, _ = start_inline(suite, registry, folder / "run", folder / "cache")
    assert code == 1  # the cells that the host refuses
    return load_run(folder / "run")


def worst(run, defense: str) -> pd.Series:
    rows = run.metrics[(run.metrics.attack == GROUP) & (run.metrics.defense == defense)]
    return rows[rows.metric == "worst_case_joint_robust_accuracy"].iloc[0]


@pytest.mark.parametrize("defense", CAUGHT)
def test_what_only_looks_robust_is_flagged(run, defense):
    raised = set(run.alarms[run.alarms.defense == defense].alarm)
    failed = run.probes[(run.probes.defense == defense) & (run.probes.verdict == "fail")]
    assert raised | set(failed.probe) == CAUGHT[defense]
    marks = run.trust[(run.trust.defense == defense) & (run.trust.attack != "none")]
    assert set(marks.trust) == {"flagged"}
    assert worst(run, defense).trust == "flagged"


@pytest.mark.parametrize("defense", [name for name in CAUGHT if name not in ("flags-all", "inverted")])
def test_what_masks_gradients_is_flagged_where_nothing_but_gradients_was_tried(run, defense):
    """Random search is an attack of the suite, and another suite may have none: a look at the network does without."""
    rows = run.trust[(run.trust.defense == defense) & (run.trust.attack == "pgd")]
    assert list(rows.alarms.ne("")) == [True]


def test_compression_and_coarse_rounding_as_shipped_raise_no_alarm(run, tmp_path):
    """Their gradients pass straight through and are sound, though one small step may do nothing."""
    defenses = {
        "jpeg": "{use: jpeg, quality: 75}",
        "jpeg-10": "{use: jpeg, quality: 10}",
        "squeezing": "{use: feature-squeezing, bit_depth: 4}",
        "squeezing-2": "{use: feature-squeezing, bit_depth: 2}",
    }
    named = "".join(f"  {name}: {use}\n" for name, use in defenses.items())
    grid = "grid:\n  - {attacks: pgd, defenses: all, knowledge: white-box}\n"
    (tmp_path / "suite.yaml").write_text(f"{SUITE[: SUITE.index('defenses:')]}defenses:\n{named}{grid}")
    registry = load_plugins(["inline"])
    suite = load_suite(str(tmp_path / "suite.yaml"), registry=registry)
    code, said = start_inline(suite, registry, tmp_path / "run", run.path.parent / "cache")
    assert code == 0, said
    found = load_run(tmp_path / "run")
    assert set(found.trust.defense) == set(defenses)
    assert found.alarms.empty, found.alarms.finding.tolist()


def test_what_the_host_refuses_has_no_number_and_says_why(run):
    rows = run.metrics[run.metrics.defense == "batch-statistics"]
    assert set(rows.status) == {"failed"}
    assert rows.value.isna().all()
    manifest = json.loads((run.path / "manifest.json").read_text())
    assert any("depends on the neighbours in the batch" in one["reason"] for one in manifest["failures"])
    assert "batch-statistics" not in set(run.trust.defense)


def test_a_trained_network_stands_within_its_interval_and_is_not_flagged(run):
    honest = run.trust[run.trust.defense.isin(HONEST) & (run.trust.attack == GROUP)].set_index("defense")
    assert dict(honest.trust) == dict.fromkeys(HONEST, "adaptive")
    assert run.alarms[run.alarms.defense.isin(HONEST)].empty
    assert set(run.probes[run.probes.defense.isin(HONEST)].verdict) == {"pass"}
    trained, none = worst(run, "trained"), worst(run, "none")
    assert trained.ci_low > none.ci_high
    # What gradients leave of it, ten times as many queries without them leave as well.
    pgd = run.metrics[(run.metrics.defense == "trained") & (run.metrics.attack == "pgd")]
    alone = pgd[pgd.metric == "joint_robust_accuracy"].iloc[0]
    assert alone.ci_low <= trained.value <= alone.ci_high


def test_none_of_them_is_ranked_though_some_have_the_best_numbers(run, tmp_path):
    toys = {name: worst(run, name).value for name in CAUGHT}
    assert sum(value > worst(run, "trained").value for value in toys.values()) >= 2
    with pytest.raises(SystemExit) as ended:
        main(["leaderboard", str(run.path), "-o", str(tmp_path / "board")])
    assert ended.value.code == 0
    board = pd.read_csv(tmp_path / "board" / "leaderboard.csv")
    ranked = board[board["rank"].notna()]
    assert set(ranked.defense) == set(HONEST)
    assert set(ranked[ranked["rank"] == 1].defense) == {"trained"}
    assert set(board[board.defense.isin(CAUGHT)].trust) == {"flagged"}
    assert set(board[board.defense.isin(CAUGHT)].no_rank) == {"flagged"}
