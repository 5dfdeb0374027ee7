"""Runs through all of the host, of toy components: what is done, done again and shared, and what fails."""

from __future__ import annotations

import json
import shutil
import sys
from typing import Any

import numpy as np
import pandas as pd
import pytest

from suites import METRICS, journal, ran


def test_a_run_gives_one_row_per_cell_and_metric(run_toy):
    finished = run_toy()
    assert finished.code == 0
    metrics = finished.run.metrics
    clean, attacked = metrics[metrics.attack == "none"], metrics[metrics.attack == "step"]
    assert clean.set_index("metric").value["clean_accuracy"] > 0.9
    assert attacked.set_index("metric").value["robust_accuracy"] < 0.9
    assert not metrics.duplicated(
        ["dataset", "model", "attack", "norm", "eps", "defense", "knowledge", "seed", "metric"]
    ).any()
    assert set(attacked.eps) == {"0.3"}
    assert (metrics.status == "ok").all()
    # What answers otherwise is registered with another version, by which runs are compared.
    used = {
        kind: {x["use"] for x in finished.run.suite[f"{kind}s"].values()} for kind in ("model", "attack", "defense")
    }
    methods = finished.run.manifest["methods"]
    assert {kind: set(names) for kind, names in methods.items()} == used
    assert all(version for names in methods.values() for version in names.values())


def test_the_tables_agree_with_the_stored_samples(run_toy):
    run = run_toy().run
    samples = run.samples[run.samples.attack == "step"]
    rate = float((samples.label == samples.y).mean())
    metrics = run.metrics
    row = metrics[(metrics.metric == "robust_accuracy") & (metrics.attack == "step")].iloc[0]
    assert row.value == pytest.approx(rate, abs=1e-12)
    assert row.n == len(samples) == 60
    assert (samples.perturbation <= 0.3 + 1e-5).all()


def test_running_again_runs_nothing(run_toy):
    first = run_toy()
    done = len(ran(first))
    bytes_before = (first.path / METRICS).read_bytes()
    again = run_toy()
    assert again.code == 0
    assert len(ran(again)) == done
    assert (again.path / METRICS).read_bytes() == bytes_before


def test_fresh_makes_everything_anew_with_equal_numbers(run_toy):
    first = run_toy()
    done, before = len(ran(first)), (first.path / METRICS).read_bytes()
    again = run_toy(fresh=True)
    assert len(ran(again)) == 2 * done
    assert (again.path / METRICS).read_bytes() == before


def test_adding_a_defense_costs_its_own_fit_and_judgements_only(run_toy):
    run_toy()
    more = run_toy(out="more", defenses="{none: {use: plain}, bright: {use: brightness}}")
    # Clean, attacked and (for the threshold) validation images are judged; all else is there.
    assert sorted(ran(more)) == ["fit", "judge", "judge", "judge", "threshold"]


def test_a_second_suite_uses_the_work_of_the_first(run_toy):
    run_toy()
    other = run_toy(out="other", suite="another", title="Another title")
    assert ran(other) == []


def test_another_seed_option_or_batch_size_is_other_work(run_toy):
    run_toy()
    assert "train" in ran(run_toy(out="a", seeds="[1]"))
    assert sorted(ran(run_toy(out="b", attacks="{step: {use: step, eps: 0.1}}"))) == ["craft", "judge", "predict"]
    assert "craft" in ran(run_toy(out="c", batch_size="8"))


def test_more_test_images_are_attacked_and_judged_and_nothing_is_trained_anew(run_toy):
    suite = {
        "datasets": "{blobs: {use: blobs, limit: {test: 4}}}",
        "defenses": "{none: {use: plain}, bright: {use: brightness}}",
    }
    run_toy(**suite)
    more = ran(run_toy(out="more", **suite | {"datasets": "{blobs: {use: blobs}}"}))
    # The judgements of the validation images, which set the threshold, are there too.
    assert sorted(more) == ["craft", "judge", "judge", "judge", "judge", "look", "predict", "predict"]
    assert "train" in ran(run_toy(out="fewer", **suite | {"datasets": "{blobs: {use: blobs, limit: {train: 20}}}"}))


def test_shared_artifacts_and_observations_are_made_once(run_toy, tmp_path):
    log = tmp_path / "log"
    near = f"{{use: nearest, log: {log}}}"
    run_toy(defenses=f"{{one: {near}, two: {near}, bright: {{use: brightness}}}}")
    assert log.read_text().splitlines() == ["build"]


def test_an_artifact_is_shared_between_models(run_toy, tmp_path):
    log = tmp_path / "log"
    finished = run_toy(
        models="{a: {use: linear}, b: {use: linear, train: {epochs: 2, lr: 0.5}}}",
        defenses=f"{{near: {{use: nearest, log: {log}}}}}",
    )
    assert log.read_text().splitlines() == ["build"]
    kinds = ran(finished)
    assert kinds.count("artifact") == 1
    assert kinds.count("train") == 2
    # Distances of the clean test and validation images do not depend on the model; its hidden states do.
    labels = [line["label"] for line in journal(finished) if line.get("kind") == "observe"]
    assert sum("centroids" in label and "test images" in label for label in labels) == 1


def test_a_shared_artifact_is_assessed_once_on_test_images_beside_the_published_value(run_toy, tmp_path):
    (tmp_path / "published.csv").write_text("artifact,metric,value\ncentroids,centroid_accuracy,0.5\n")
    finished = run_toy(
        models="{a: {use: linear}, b: {use: linear, train: {epochs: 2, lr: 0.5}}}",
        defenses="{near: {use: nearest}, none: {use: plain}}",
        reference="{table: published.csv}",
    )
    assert finished.code == 0
    assert ran(finished).count("assess") == 1
    (row,) = finished.run.artifacts.itertuples(index=False)
    # Bright bottoms and bright tops are told apart by their means without an error.
    assert tuple(row) == ("centroids", "blobs", "0", "centroid_accuracy", 1.0, 60, "ok", 0.5)
    # Another suite that builds the same artifact does not measure it again; a shard measures what it builds.
    assert "assess" not in ran(run_toy(out="again", defenses="{near: {use: nearest}}"))
    plain = run_toy(out="first", part=(1, 2), fresh=True, defenses="{none: {use: plain}, near: {use: nearest}}")
    assert plain.run.artifacts.empty
    assert "assess" not in ran(plain)


def test_a_detector_learns_from_the_suites_attacks_on_training_images(run_toy):
    finished = run_toy(
        attacks="{step: {use: step, eps: 0.3}, sneaky: {use: step, eps: 0.4}}",
        defenses="{taught: {use: taught}, too: {use: taught, attacks: [step, sneaky]}, none: {use: plain}}",
        grid="[{datasets: all, models: all, attacks: [sneaky], defenses: all}]",
    )
    assert finished.code == 0
    # On train and val by two attacks, shared by both detectors, and on test by the one in the grid.
    assert ran(finished).count("craft") == 5
    auroc = finished.values("auroc")
    assert auroc["sneaky", "taught"] > 0.5


def test_a_detector_that_learns_from_an_unknown_attack_is_refused(run_toy):
    from benchmark.errors import InputError

    with pytest.raises(InputError, match=r"defenses\.taught learns from the suite's attacks: .*'stepp'.*step"):
        run_toy(defenses="{taught: {use: taught, attacks: [stepp]}}")


@pytest.mark.parametrize(
    ("attack", "reason"),
    [
        ("nan", "NaN or infinite pixels"),
        ("wrong-shape", "shape"),
        ("out-of-range", "left [0, 1]"),
        ("over-budget", "exceeded its budget: linf"),
        ("raises", "ZeroDivisionError: a bug in the attack"),
    ],
)
def test_a_failing_attack_fails_its_own_cells_with_the_reason(run_toy, attack, reason):
    finished = run_toy(attacks=f"{{good: {{use: step, eps: 0.2}}, bad: {{use: {attack}, eps: 0.2}}}}")
    assert finished.code == 1
    metrics = finished.run.metrics
    assert (metrics[metrics.attack == "good"].status == "ok").all()
    bad = metrics[metrics.attack == "bad"]
    assert len(bad)
    assert (bad.status == "failed").all()
    assert bad.value.isna().all()
    (failure,) = finished.run.manifest["failures"]
    assert reason in failure["reason"]
    assert "Traceback" in failure["traceback"]
    assert [cell["attack"] for cell in failure["cells"]] == ["bad"]


def test_a_score_that_is_nan_fails_the_cells_of_that_defense(run_toy):
    finished = run_toy(defenses="{none: {use: plain}, broken: {use: nan-score}}")
    assert finished.code == 1
    metrics = finished.run.metrics
    assert (metrics[metrics.defense == "none"].status == "ok").all()
    assert (metrics[metrics.defense == "broken"].status == "failed").all()
    assert "the score is NaN" in finished.run.manifest["failures"][0]["reason"]


def test_a_failed_task_is_tried_again_next_time(run_toy):
    bad = {"attacks": "{bad: {use: raises, eps: 0.2}}"}
    assert run_toy(**bad).code == 1
    assert run_toy(**bad).code == 1


def test_running_out_of_memory_halves_the_batch_and_says_so(run_toy):
    finished = run_toy(attacks="{hungry: {use: hungry, eps: 0.2}}")
    assert finished.code == 0
    assert "batches of 4 images" in finished.said
    assert any("batches of 4 images" in warning["text"] for warning in finished.run.manifest["warnings"])
    assert finished.values("robust_accuracy")["hungry", "none"] == finished.values("clean_accuracy")["none", "none"]


def test_a_damaged_artifact_is_made_again_with_a_warning(run_toy, tmp_path):
    first = run_toy()
    before = (first.path / METRICS).read_bytes()
    for artifact in (tmp_path / "cache" / "artifacts").glob("*/*"):
        part = next(artifact.glob("*.safetensors"), None)
        if part is not None:
            part.write_bytes(part.read_bytes()[:-3] + b"xyz")
    again = run_toy()
    assert again.code == 0
    assert "is damaged" in again.said
    assert (again.path / METRICS).read_bytes() == before


def test_damage_that_no_task_reads_directly_is_made_good_and_recorded(run_toy, tmp_path):
    """A judgement reads the fit, and that the network: flip a bit of the network, with only judgements missing."""
    suite = {"defenses": "{near: {use: nearest}}"}
    first = run_toy(**suite)
    before = (first.path / METRICS).read_bytes()
    artifacts = {}
    for path in (tmp_path / "cache" / "artifacts").glob("*/*"):
        artifacts.setdefault(json.loads((path / "artifact.json").read_text())["meta"]["kind"], []).append(path)
    for path in artifacts["judge"]:
        shutil.rmtree(path)
    (means,) = (path / "means.npy" for path in artifacts["artifact"])
    means.write_bytes(means.read_bytes()[:-1] + b"\x7f")
    already = len(ran(first))
    again = run_toy(**suite)
    assert again.code == 0, again.said
    assert "means.npy differs from its checksum; it is made again" in again.said
    assert (again.path / METRICS).read_bytes() == before
    # The validation images are not judged again: the threshold that came of it is there.
    assert sorted(ran(again)[already:]) == ["artifact", "judge", "judge"]
    costs = again.run.costs
    assert sorted(costs[costs.status == "done"].kind) == ["artifact", "judge", "judge"]
    assert any("means.npy" in warning["text"] for warning in again.run.manifest["warnings"])


def test_a_detector_is_measured_at_the_false_positive_rate_of_the_suite(run_toy):
    finished = run_toy(defenses="{bright: {use: brightness}}", protocol="{false_positive_rate: 0.2}")
    metrics = finished.run.metrics.set_index(["attack", "metric"]).value
    assert 0 <= metrics["step", "auroc"] <= 1
    samples = finished.run.samples
    assert samples[samples.attack == "none"].flagged.mean() == pytest.approx(metrics["none", "clean_fpr"])


def test_a_randomised_defense_is_judged_several_times(run_toy):
    finished = run_toy(defenses="{noisy: {use: noisy}}", protocol="{repeats: 4}")
    metrics = finished.run.metrics.set_index(["attack", "metric"]).value
    assert metrics["step", "robust_accuracy_worst_repeat"] <= metrics["step", "robust_accuracy"]
    assert run_toy(
        out="again", fresh=True, defenses="{noisy: {use: noisy}}", protocol="{repeats: 4}"
    ).run.metrics.equals(finished.run.metrics)


def test_a_plugin_that_fails_while_it_hears_an_event_does_not_cost_the_run(run_toy, monkeypatch):
    from types import ModuleType

    from benchmark import hookimpl

    heard = []
    module: Any = ModuleType("listener")

    @hookimpl
    def run_started(run):
        heard.append("started")
        raise RuntimeError("tracker is down")

    @hookimpl
    def task_finished(record):
        heard.append(record.kind)

    @hookimpl
    def run_finished(exit_code):
        heard.append(exit_code)

    module.run_started, module.task_finished, module.run_finished = run_started, task_finished, run_finished
    monkeypatch.setitem(sys.modules, "listener", module)
    finished = run_toy(plugins=("listener",))
    assert finished.code == 0
    assert "tracker is down" in finished.said
    assert heard[0] == "started"
    assert heard[-1] == 0
    assert "craft" in heard


def test_an_output_folder_with_other_files_is_refused(run_toy, tmp_path):
    from benchmark.errors import InputError

    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").write_text("mine")
    with pytest.raises(InputError, match="nothing of yours is overwritten"):
        run_toy()
    assert (tmp_path / "run" / "thesis.tex").read_text() == "mine"


def test_verdict_details_are_kept(run_toy, tmp_path):
    run_toy(defenses="{near: {use: nearest}}")
    from benchmark.store.arrays import ArrayReader

    readers = [ArrayReader(f) for f in (tmp_path / "cache" / "artifacts").glob("*/*") if list(f.glob("part-*"))]
    details = [reader for reader in readers if "detail.distance" in reader.names]
    assert len(details) == 3
    assert all(reader.read()["detail.distance"].shape == (60, 2) for reader in details)


def test_metrics_are_typed_and_finite_where_done(run_toy):
    metrics = run_toy(defenses="{bright: {use: brightness}, near: {use: nearest}}").run.metrics
    done = metrics[metrics.status == "ok"]
    values = done[["value", "ci_low", "ci_high"]].to_numpy(dtype=float)
    assert np.isfinite(values).all()
    assert ((values[:, 1] <= values[:, 0] + 1e-12) & (values[:, 0] <= values[:, 2] + 1e-12)).all()
    assert pd.api.types.is_float_dtype(metrics.value)


def test_an_edited_weights_file_is_other_work(run_toy, tmp_path):
    from benchmark.model import save_weights
    from benchmark.plugins import load_plugins
    from benchmark.randomness import Rng

    registry = load_plugins(["toy"])
    weights = tmp_path / "start.safetensors"
    models = f"{{linear: {{use: linear, weights: {weights}}}}}"
    model = registry.create("model", "linear", {})
    save_weights(model.build(2, (1, 4, 4), Rng(1)), weights)
    run_toy(models=models)
    assert ran(run_toy(out="same", models=models)) == []
    save_weights(model.build(2, (1, 4, 4), Rng(2)), weights)
    assert "train" in ran(run_toy(out="edited", models=models))


def test_a_network_that_cannot_take_the_images_is_refused_before_any_work(run_toy, tmp_path):
    from benchmark.errors import InputError

    with pytest.raises(InputError, match=r"toy.yaml:8: models.linear on datasets.blobs: .*16x16"):
        run_toy(models="{linear: {use: picky}}")
    assert not (tmp_path / "run").exists()
