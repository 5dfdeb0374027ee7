"""Alarms: signs that a number does not mean what it seems to, each made by a suite that deserves it."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from benchmark.results.export import export
from benchmark.trust.alarms import ALARMS

SUITE = """
suite: alarming
seeds: [0]
datasets:
  blobs: {use: blobs}
models:
  linear: {use: linear}
  softmax: {use: softmax}
  sigmoid: {use: sigmoid}
  timid: {use: timid}
  quantises: {use: quantises}
  shatters: {use: shatters}
  grainy: {use: grainy}
  decoy: {use: decoy}
  drops-out: {use: drops-out}
  batch-statistics: {use: batch-statistics}
attacks:
  pgd: {use: pgd, norm: linf, eps: 0.3, steps: 5}
  pgd-less: {use: pgd, norm: linf, eps: 0.15, steps: 5}
  fgsm: {use: fgsm, norm: linf, eps: 0.3}
  lame: {use: bim, norm: linf, eps: 0.3, step: 0.001, steps: 2}
  lame-less: {use: bim, norm: linf, eps: 0.05, step: 0.001, steps: 2}
defenses:
  none: {use: plain}
  misleading: {use: misleading}
  unsociable: {use: unsociable}
  inverted: {use: inverted}
  mute: {use: mute}
grid:
  - {attacks: pgd, defenses: none, exclude: [{models: linear}]}
  - {models: linear, attacks: [pgd, pgd-less, fgsm], defenses: [none, inverted, mute]}
  - {models: linear, attacks: [lame, lame-less], defenses: none}
  - {models: linear, attacks: pgd, defenses: misleading, knowledge: [gray-box, white-box]}
  - {models: linear, attacks: pgd, defenses: unsociable, knowledge: white-box}
groups:
  lame ones: [lame, lame-less]
  other ones: [pgd, fgsm]
"""


def bench(tmp_path, text: str, out: str = "run"):
    """Run a suite of toy and alarming components: exit code, the run, what was said."""
    from inline import start_inline

    from benchmark import load_run
    from benchmark.plugins import load_plugins
    from benchmark.suite import load_suite

    (tmp_path / "suite.yaml").write_text(text)
    registry = load_plugins(["toy", "alarming", "inline"])
    suite = load_suite(str(tmp_path / "suite.yaml"), registry=registry)
    code, said = start_inline(suite, registry, tmp_path / out, tmp_path / "cache")
    return code, load_run(tmp_path / out), said


@pytest.fixture(scope="module")
def alarming(tmp_path_factory):
    return bench(tmp_path_factory.mktemp("alarming"), SUITE)


def cells(run, alarm: str) -> set[tuple[str, ...]]:
    rows = run.alarms[run.alarms.alarm == alarm]
    return set(rows[["model", "attack", "defense", "knowledge"]].itertuples(index=False, name=None))


@pytest.mark.parametrize(
    ("alarm", "expected"),
    [
        ("probabilities", {(model, "pgd", "none", "gray-box") for model in ("softmax", "sigmoid")}),
        ("gradient", {("quantises", "pgd", "none", "gray-box")}),
        ("random-step", {(model, "pgd", "none", "gray-box") for model in ("shatters", "decoy")}),
        ("random", {("drops-out", "none", "none", ""), ("drops-out", "pgd", "none", "gray-box")}),
        (
            "neighbours",
            {
                ("batch-statistics", "none", "none", ""),
                ("batch-statistics", "pgd", "none", "gray-box"),
                ("linear", "pgd", "unsociable", "white-box"),
            },
        ),
        (
            "one-step",
            {("linear", "lame", "none", "gray-box"), ("linear", "worst-of: lame ones", "none", "gray-box")},
        ),
        ("knowledge", {("linear", "pgd", "misleading", "white-box")}),
        (
            "eps",
            {("linear", a, "none", "gray-box") for a in ("lame", "lame-less", "worst-of: lame ones")},
        ),
        (
            "inverted-score",
            {("linear", "pgd", "inverted", "gray-box"), ("linear", "fgsm", "inverted", "gray-box")},
        ),
        ("constant-score", {("linear", a, "mute", "gray-box") for a in ("pgd", "pgd-less", "fgsm")}),
        ("unbeaten", {(model, "pgd", "none", "gray-box") for model in ("quantises", "shatters", "decoy")}),
    ],
)
def test_each_fault_raises_its_alarm_for_the_cells_in_doubt_and_no_others(alarming, alarm, expected):
    _, run, _ = alarming
    found = {cell for cell in cells(run, alarm) if not cell[1].startswith("worst-of: other")}
    assert found == expected


def test_an_alarm_is_told_in_log_manifest_and_table_and_changes_no_status(alarming):
    code, run, said = alarming
    assert code == 0
    metrics = run.metrics[~run.metrics.attack.str.startswith("worst-of: ")]
    assert (metrics.status == "ok").all()
    manifest = json.loads((run.path / "manifest.json").read_text())
    assert {one["alarm"] for one in manifest["alarms"]} == set(run.alarms.alarm)
    for one in manifest["alarms"]:
        assert said.count(f"{one['sign']}: {one['finding']}; ") == 1
        rows = run.alarms[run.alarms.finding == one["finding"]]
        assert one["cells"] == len(rows[~rows.attack.str.startswith("worst-of: ")])
    assert (run.alarms.n > 0).all()
    export(run, "alarms", "csv", run.path.parent / "alarms.csv")
    assert len(pd.read_csv(run.path.parent / "alarms.csv")) == len(run.alarms)


HONEST = """
suite: honest
seeds: [0, 1]
datasets:
  blobs: {use: blobs}
models:
  linear: {use: linear}
attacks:
  pgd: {use: pgd, norm: linf, eps: 0.3, steps: 5}
  pgd-less: {use: pgd, norm: linf, eps: 0.15, steps: 5}
  fgsm: {use: fgsm, norm: linf, eps: 0.3}
defenses:
  none: {use: plain}
  bright: {use: brightness}
  noisy: {use: noisy}
grid:
  - {attacks: [pgd, pgd-less, fgsm]}
  - {attacks: [pgd, fgsm], defenses: none, knowledge: white-box}
"""


def test_an_honest_run_raises_none_and_a_resumed_one_the_same(tmp_path):
    code, run, said = bench(tmp_path, HONEST, out="honest")
    assert code == 0
    assert run.alarms.empty
    assert json.loads((run.path / "manifest.json").read_text())["alarms"] == []
    assert "in doubt" not in said
    wrong = HONEST.replace("use: linear", "use: softmax")
    first, again = bench(tmp_path, wrong, out="wrong")[1], bench(tmp_path, wrong, out="again")[1]
    assert set(again.alarms.alarm) == {"probabilities"}
    assert again.alarms.equals(first.alarms)
    assert again.costs.cached.all()


def test_the_docs_have_the_words_of_the_alarms():
    docs = (Path(__file__).parents[1] / "docs" / "measures.md").read_text()
    for kind in ALARMS.values():
        assert f"| `{kind.name}` | {kind.sign}. {kind.meaning} | {kind.remedy} | {kind.source} |\n" in docs
