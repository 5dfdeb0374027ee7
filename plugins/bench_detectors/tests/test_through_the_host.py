"""All detectors in a suite of toy components."""

from __future__ import annotations

import textwrap
from collections.abc import Callable

import pytest

from benchmark.errors import InputError

SUITE = """
suite: clouds
title: Detectors through the host
seeds: [0]
batch_size: 16
datasets:
  blobs: {use: blobs, count: 120}
models:
  linear: {use: linear}
attacks:
  step: {use: step, eps: 0.9}
  sneaky: {use: sneaky, eps: 0.9}
defenses:
  mahalanobis: {use: mahalanobis}
  mahalanobis-step: {use: mahalanobis, layer: [penultimate, logits], attacks: [step]}
  lid: {use: lid, neighbors: 5}
  lid-step: {use: lid, layer: [penultimate, logits], references: 60, attacks: [step]}
  kernel-density: {use: kernel-density}
  squeezing: {use: feature-squeezing-detector, bit_depth: 1, nlm_search: 3}
grid:
  - {datasets: all, models: all, attacks: step, defenses: all}
  - {datasets: all, models: all, attacks: sneaky, defenses: [mahalanobis, kernel-density], knowledge: white-box}
"""


@pytest.fixture
def run_suite_file(tmp_path, monkeypatch) -> Callable[[str], tuple[int, object, str]]:
    """Return a function that runs a suite of toy components in this process: exit code, the run, what was said."""

    def run(text: str):
        from inline import run_inline

        from benchmark.plugins import load_plugins
        from benchmark.suite import load_suite

        monkeypatch.setenv("BENCH_PLUGINS", "core")
        path = tmp_path / "suite.yaml"
        path.write_text(textwrap.dedent(text))
        registry = load_plugins(["toy", "inline", "bench_detectors"])
        return run_inline(load_suite(str(path), registry=registry), registry, tmp_path)

    return run


def test_strong_steps_are_detected_and_evasion_is_not(run_suite_file, tmp_path):
    code, run, said = run_suite_file(SUITE)
    assert code == 0, said
    metrics = run.metrics
    auroc = metrics[metrics.metric == "auroc"].set_index(["knowledge", "defense"]).value
    gray = auroc["gray-box"]
    assert (gray[["mahalanobis", "mahalanobis-step", "lid-step", "kernel-density"]] > 0.95).all(), auroc
    assert gray["lid"] > 0.7
    assert 0 <= gray["squeezing"] <= 1  # after so large a step the answer is as sure as before
    assert (auroc["white-box"] < 0.7).all(), auroc  # an attack that descends detector_loss gets past them
    # One extraction per set of images and layers: clean train, val and test, attacked gray-box and white-box twice for
    # `penultimate`; the two layers share it, since logits come along; attacked train and val for those that are taught.
    journal = (tmp_path / "run" / "journal.jsonl").read_text().splitlines()
    assert sum('"task done"' in line and '"observe"' in line for line in journal) == 8


def test_an_unknown_layer_is_refused_before_any_work(run_suite_file, tmp_path):
    with pytest.raises(InputError, match=r"defenses\.[\w-]+ on models\.\w+: unknown layer 'penultimat'\. Did you mean"):
        run_suite_file(SUITE.replace("neighbors: 5", "layer: penultimat", 1))
    assert not (tmp_path / "run").exists()
