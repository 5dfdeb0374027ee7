"""The trust mark: what was done to bring a number down, said wherever the number stands."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from inline import start_inline, toy_run

from benchmark import PublishedAttack, load_run
from benchmark.plugins import load_plugins
from benchmark.results.export import export
from benchmark.suite import load_suite
from benchmark.trust.marks import TRUST_MARKS, TRUST_RULES

SUITE = """
suite: trusting
seeds: [0, 1]
datasets:
  blobs: {use: blobs}
models:
  linear: {use: linear}
  other: {use: linear, train: {epochs: 2}}
  softmax: {use: softmax}
attacks:
  pgd: {use: pgd, norm: linf, eps: 0.3, steps: 5}
  fgsm: {use: fgsm, norm: linf, eps: 0.3}
  square: {use: square, norm: linf, eps: 0.3, steps: 10}
  step: {use: step, norm: linf, eps: 0.3}
  starts: {use: restarts, norm: linf, eps: 0.3}
  joint: {use: joint-pgd, norm: linf, eps: 0.3, steps: 4}
  grey: {use: pgd, norm: linf, eps: 0.5, steps: 5}
defenses:
  none: {use: plain}
  refuted: {use: refuted}
  confirmed: {use: confirmed}
  bright: {use: aware}
  corrects: {use: corrects}
  noisy: {use: noisy-stand-in}
grid:
  - {models: linear, attacks: [pgd, fgsm, square, step, starts, joint, grey], defenses: none}
  - {models: linear, attacks: [pgd, fgsm], defenses: [refuted, confirmed, bright, noisy]}
  - {models: linear, attacks: pgd, defenses: none, knowledge: black-box, substitute: other}
  - {models: linear, attacks: pgd, defenses: none, knowledge: gray-box-retrained}
  - {models: linear, attacks: joint, defenses: bright, knowledge: white-box}
  - {models: linear, attacks: [pgd, joint], defenses: corrects, knowledge: white-box}
  - {models: linear, attacks: [pgd, fgsm], defenses: noisy, knowledge: white-box}
  - {models: softmax, attacks: pgd, defenses: [none, refuted]}
groups:
  both: [pgd, fgsm]
probes: [one-step, large-budget]
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trust")
    (folder / "suite.yaml").write_text(SUITE)
    registry = load_plugins(["toy", "alarming", "cited", "inline"])
    suite = load_suite(str(folder / "suite.yaml"), registry=registry)
    code, _ = start_inline(suite, registry, folder / "run", folder / "cache")
    assert code == 0
    return load_run(folder / "run")


def row(run, attack: str, defense: str, knowledge: str = "gray-box", model: str = "linear", seed: str = "0"):
    frame = run.trust
    found = frame[
        (frame.attack == attack)
        & (frame.defense == defense)
        & (frame.knowledge == knowledge)
        & (frame.model == model)
        & (frame.seed == seed)
    ]
    assert len(found) == 1
    return found.iloc[0]


@pytest.mark.parametrize(
    ("attack", "defense", "knowledge", "mark", "why"),
    [
        ("pgd", "none", "gray-box", "adaptive", "tried"),
        ("fgsm", "none", "gray-box", "static only", "one-step"),
        ("step", "none", "gray-box", "static only", "one-step"),  # it does not say how many it makes
        ("starts", "none", "gray-box", "static only", "one-step"),
        ("square", "none", "gray-box", "static only", "no-gradient"),
        ("worst-of: both", "none", "gray-box", "adaptive", "tried"),
        ("", "none", "gray-box", "adaptive", "tried"),
        ("worst-of: both", "none", "white-box", "adaptive", "tried"),  # the gray-box cells stand for it
        ("pgd", "none", "black-box", "static only", "network"),
        ("pgd", "none", "gray-box-retrained", "static only", "network"),
        ("pgd", "bright", "gray-box", "static only", "defense"),
        ("joint", "bright", "white-box", "adaptive", "tried"),
        ("pgd", "noisy", "gray-box", "static only", "defense"),
        ("pgd", "noisy", "white-box", "flagged", "probe tried"),  # what fools its stand-in does not fool it
        ("fgsm", "noisy", "white-box", "static only", "one-step"),
        ("pgd", "corrects", "white-box", "static only", "score"),
        ("joint", "corrects", "white-box", "adaptive", "tried"),
        ("pgd", "refuted", "gray-box", "known broken", "published tried"),
        ("fgsm", "refuted", "gray-box", "known broken", "published one-step"),
        ("pgd", "confirmed", "gray-box", "adaptive", "tried"),
    ],
)
def test_the_mark_says_what_was_done(run, attack, defense, knowledge, mark, why):
    found = row(run, attack, defense, knowledge)
    assert (found.trust, found.why) == (mark, why), found.because
    assert all(TRUST_RULES[reason].mark in TRUST_MARKS for reason in why.split())


def test_an_alarm_flags_what_it_reaches_with_its_numbers_whatever_else_is_known(run):
    found = row(run, "pgd", "refuted", model="softmax")
    assert (found.trust, found.why, found.alarms) == ("flagged", "alarm published tried", "probabilities")
    assert "all 16 images shown lie in [0, 1]" in found.because
    assert "broken by Doe 2002, table 3: 5 % left, blobs, linf 0.3" in found.because


def test_probes_that_were_run_are_counted_and_none_is_claimed_that_was_not(run):
    asked = row(run, "pgd", "none")
    # What the suite asks for, and what always runs: `knowledge`, `random-search` and `transfer-failure`.
    assert (asked.passed, asked.failed, asked.not_run) == (5, 0, 0)
    assert "5 probes passed" in asked.because
    lacking = row(run, "joint", "bright", "white-box")
    assert (lacking.passed, lacking.failed, lacking.not_run) == (1, 0, 2)
    assert lacking.trust == "adaptive"
    assert "1 probe passed" in lacking.because


def test_the_best_known_attack_is_the_strongest_that_was_run_and_that_was_published(run):
    found = row(run, "", "bright")
    shares = run.metrics[(run.metrics.defense == "bright") & (run.metrics.metric == "joint_robust_accuracy")]
    least = shares[shares.seed == "0"].sort_values("value", kind="stable").iloc[0]
    assert (found.best_value, found.best_ci_low, found.best_ci_high) == (least.value, least.ci_low, least.ci_high)
    assert found.best_attack in set(shares[shares.value == least.value].attack)
    assert (found.published, found.best_norm, found.best_eps) == ("", "linf", "0.3")
    # A budget that lets all images become grey tells of no defense, save of itself.
    assert row(run, "", "none").best_attack != "grey"
    assert row(run, "grey", "none").best_attack == "grey"
    assert (row(run, "", "refuted").published, row(run, "", "refuted").published_value) == ("Doe 2002, table 3", 0.05)
    stood = row(run, "", "confirmed")
    assert (stood.published, stood.published_value, stood.published_setting) == (
        "Doe 2002, table 4",
        0.6,
        "blobs, linf 0.1",
    )


def test_the_mark_stands_beside_every_measure_in_data_frames_and_exports(run, tmp_path):
    metrics = run.metrics
    marks = run.trust[run.trust.attack != ""].set_index(["model", "attack", "defense", "knowledge", "seed"]).trust
    for index, one in metrics.set_index(["model", "attack", "defense", "knowledge", "seed"]).trust.items():
        assert one == marks.get(index, "") or index[-1] in ("mean", "std", "crossed")
    assert set(metrics[metrics.attack == "none"].trust) == {""}
    over_seeds = metrics[(metrics.seed == "mean") & (metrics.attack == "fgsm") & (metrics.defense == "none")]
    assert set(over_seeds.trust) == {"static only"}
    for what in ("metrics", "trust"):
        export(run, what, "csv", tmp_path / f"{what}.csv")
        with open(tmp_path / f"{what}.csv", newline="") as file:
            assert [line["trust"] for line in csv.DictReader(file)] == getattr(run, what).trust.to_list()
    export(run, "trust", "json", tmp_path / "trust.json")
    assert len(json.loads((tmp_path / "trust.json").read_text())) == len(run.trust)


MIXED = """
suite: mixed
seeds: [0]
datasets: {blobs: {use: blobs}}
models: {linear: {use: linear}, other: {use: linear, train: {epochs: 2}}}
attacks:
  wrong: {use: wrongsign, eps: 0.3}
  joint: {use: joint-pgd, norm: linf, eps: 0.3, steps: 4}
  sound: {use: sound, eps: 0.3}
  nearest: {use: cw-linf}
defenses: {none: {use: plain}, noisy: {use: noisy-stand-in}, suspicious: {use: suspicious}}
grid:
  - {models: linear, attacks: wrong, defenses: none}
  - {models: linear, attacks: joint, defenses: none, knowledge: white-box}
  - {models: linear, attacks: [wrong, joint], defenses: noisy, knowledge: white-box}
  - {models: linear, attacks: sound, defenses: suspicious}
  - {models: other, attacks: [wrong, nearest], defenses: none}
probes: [transfer-failure, unconstrained-failure]
"""


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mixed")
    (folder / "suite.yaml").write_text(MIXED)
    done = toy_run(folder / "suite.yaml", folder / "run", folder / "cache", plugins=("probing",))
    assert done.code == 0, done.said
    return load_run(folder / "run")


def test_a_lone_failed_probe_is_not_said_to_be_made_up_for_by_a_stronger_attack(mixed):
    """What works on the network alone need not fool the detector: the mark says so, and nothing made up for it."""
    found = row(mixed, "sound", "suspicious")
    assert ("defense" in found.why.split(), found.failed, found.passed) == (True, 1, 1)
    assert "makes up for" not in found.because
    assert "probe transfer-failure failed" not in found.because


def test_a_probe_of_a_gray_box_cell_counts_wherever_the_cell_stands_for_a_knowing_attacker(mixed):
    probes = mixed.probes[(mixed.probes.model == "linear") & (mixed.probes.defense == "none")]
    failed = probes[(probes.attack == "wrong") & (probes.verdict == "fail")]
    assert set(failed.knowledge) == {"gray-box"}
    for attack in ("worst-of: linf 0.3", ""):
        found = row(mixed, attack, "none", "white-box")
        assert found.passed + found.failed == (probes.verdict != "not run").sum()
        assert found.failed == (probes.verdict == "fail").sum() > 0


def test_a_minimum_norm_attack_is_the_best_known_one_at_every_budget_where_it_leaves_least(mixed):
    for attack in ("wrong", "worst-of: linf 0.3", ""):
        found = row(mixed, attack, "none", model="other")
        assert (found.best_attack, found.best_norm, found.best_eps) == ("nearest", "linf", "0.3")
    metrics = mixed.metrics[
        (mixed.metrics.model == "other") & (mixed.metrics.metric == "worst_case_joint_robust_accuracy")
    ]
    assert set(metrics[metrics.attack == "worst-of: linf 0.3"].value) == {found.best_value}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"cite": " ", "left": 0.1, "setting": "CIFAR-10"}, "needs `cite`"),
        ({"cite": "Doe 2002", "left": 0.1, "setting": ""}, "`setting`"),
        ({"cite": "Doe 2002", "left": 5.0, "setting": "CIFAR-10"}, "`left` is 5.0, allowed: a share from 0 to 1"),
    ],
)
def test_a_published_attack_is_cited_with_budget_and_data(given, said):
    with pytest.raises(ValueError, match=said):
        PublishedAttack(**given)


def test_the_docs_have_the_table_of_the_rules():
    docs = (Path(__file__).parents[1] / "docs" / "measures.md").read_text()
    table = [f"| `{rule.why}` | {rule.mark} | {rule.when} | {rule.source} |" for rule in TRUST_RULES.values()]
    assert "\n" + "\n".join(table) + "\n\n" in docs
