"""A run, through its public door: shared work once, failures isolated, caches trusted only after a look."""

from __future__ import annotations

import json
import shutil
import sys
from typing import Any

import numpy as np
import pandas as pd
import pytest

METRICS = "metrics.parquet"


def journal(finished) -> list[dict]:
    return [json.loads(line) for line in (finished.path / "journal.jsonl").read_text().splitlines()]


def ran(finished) -> list[str]:
    """Kinds of the tasks that were really run, over all tries in this directory."""
    return [line["kind"] for line in journal(finished) if line["event"] == "task done"]


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


KNOWLEDGE = """
suite: knowledge
title: Knowledge
seeds: [0]
batch_size: 16
datasets: {blobs: {use: blobs}}
models: {target: {use: linear}, other: {use: linear, train: {epochs: 1, lr: 0.1}}}
attacks: {step: {use: step, eps: 0.3}}
defenses: {none: {use: plain}}
grid:
  - {datasets: all, models: target, attacks: all, defenses: all, knowledge: gray-box}
  - {datasets: all, models: target, attacks: all, defenses: all, knowledge: black-box, substitute: other}
  - {datasets: all, models: target, attacks: all, defenses: all, knowledge: gray-box-retrained}
  - {datasets: all, models: target, attacks: all, defenses: all, knowledge: white-box}
"""


def test_every_knowledge_is_a_row_of_its_own_and_crafts_on_its_own_network(run_toy, toy_suite):
    finished = run_toy(toy_suite(KNOWLEDGE))
    assert finished.code == 0
    metrics = finished.run.metrics
    robust = metrics[(metrics.metric == "robust_accuracy")].set_index("knowledge").value
    assert set(robust.index) == {"gray-box", "black-box", "gray-box-retrained", "white-box"}
    kinds = ran(finished)
    assert kinds.count("train") == 3  # target, substitute, and the copy trained from another seed
    assert kinds.count("craft") == 3  # without a defense, white-box and gray-box hold the same network
    assert robust["gray-box"] == robust["white-box"]
    assert len(metrics[metrics.attack == "none"].drop_duplicates(["dataset", "model", "defense", "seed"])) == 1


@pytest.mark.parametrize("substitute", ["target", "twin"])
def test_a_substitute_that_is_the_network_attacked_is_refused(toy_suite, substitute):
    from benchmark.errors import InputError
    from benchmark.plan.planner import make_plan
    from benchmark.plugins import load_plugins
    from benchmark.suite import load_suite

    # A twin by another label: what it was given are the defaults.
    text = KNOWLEDGE.replace("other: {use", "twin: {use: linear, normalize: none}, other: {use")
    registry = load_plugins(["toy"])

    def plan(text):
        return make_plan(load_suite(str(toy_suite(text)), registry=registry), registry)

    with pytest.raises(
        InputError, match=rf"yaml:12: knowledge black-box: .*'{substitute}' is the very .*'target'"
    ) as told:
        plan(text.replace("substitute: other", f"substitute: {substitute}"))
    assert "gray-box-retrained" in str(told.value)
    # A hardened network is another one than the undefended one of the same model, as a substitute too.
    hardened = text.replace("substitute: other", f"substitute: {substitute}").replace(
        "none: {use: plain}", "at: {use: adversarial_training, eps: 0.1}"
    )
    assert {cell.knowledge for cell in plan(hardened).cells} >= {"black-box"}
    itself = hardened.replace(f"substitute: {substitute}", f"substitute: {{model: {substitute}, defense: at}}")
    with pytest.raises(InputError, match=rf"yaml:12: .*'{substitute}' hardened by 'at' is the .*'target' hardened by"):
        plan(itself)


def test_a_copy_that_nobody_trains_is_refused(toy_suite):
    from benchmark.errors import InputError
    from benchmark.plan.planner import make_plan
    from benchmark.plugins import load_plugins
    from benchmark.suite import load_suite

    registry = load_plugins(["toy"])
    text = KNOWLEDGE.replace("target: {use: linear}", "target: {use: linear, train: null}")
    with pytest.raises(InputError, match=r"yaml:13: knowledge gray-box-retrained: the model 'target' .*`train: null`"):
        make_plan(load_suite(str(toy_suite(text)), registry=registry), registry)


def test_a_substitute_may_be_hardened(run_toy, toy_suite):
    # Each network is a source and a target.
    text = KNOWLEDGE.replace("none: {use: plain}", "none: {use: plain}, at: {use: adversarial_training, eps: 0.1}")
    text = text[: text.index("grid:")] + (
        "grid:\n"
        "  - {models: other, defenses: none, knowledge: black-box, substitute: {model: target, defense: at}}\n"
        "  - {models: target, defenses: at, knowledge: gray-box}\n"
    )
    finished = run_toy(toy_suite(text))
    assert finished.code == 0
    kinds = ran(finished)
    # What transfers was made on the hardened network that the other row attacks directly.
    assert (kinds.count("train"), kinds.count("craft")) == (1, 1)
    metrics = finished.run.metrics
    robust = metrics[metrics.metric == "robust_accuracy"].set_index(["model", "knowledge"]).value
    assert set(robust.index) == {("other", "black-box"), ("target", "gray-box")}


def test_several_substitutes_are_attacked_as_one(run_toy, toy_suite, tmp_path):
    """By the mean of their probabilities (Liu et al. 2017, Eq. 4 with equal weights)."""
    from benchmark.errors import InputError

    named = {"first": "other", "second": "third", "both": "[other, third]", "again": "[other]"}
    logs = {label: tmp_path / f"{label}.txt" for label in named}
    attacks = "".join(f"  {label}: {{use: telling, eps: 0.1, log: '{log}'}}\n" for label, log in logs.items())
    text = KNOWLEDGE.replace("attacks: {step: {use: step, eps: 0.3}}\n", f"attacks:\n{attacks}")
    text = text.replace("models: {target", "models: {third: {use: linear, train: {epochs: 1, lr: 0.02}}, target")
    text = text[: text.index("grid:")] + "grid:\n"
    for label, networks in named.items():
        text += f"  - {{models: target, attacks: {label}, knowledge: black-box, substitute: {networks}}}\n"
    finished = run_toy(toy_suite(text))
    assert finished.code == 0
    first, second, both, again = (np.array([json.loads(row) for row in log.open()]) for log in logs.values())
    np.testing.assert_allclose(both, (first + second) / 2, atol=1e-6)
    assert np.abs(first - second).max() > 0.1
    np.testing.assert_array_equal(first, again)
    assert ran(finished).count("train") == 3
    assert finished.run.suite["grid"][2]["substitute"] == ["other", "third"]

    itself = text.replace("substitute: [other, third]", "substitute: [other, target]")
    with pytest.raises(InputError, match="the substitute 'target' is the very network that is attacked as 'target'"):
        run_toy(toy_suite(itself))


@pytest.mark.parametrize(
    ("defense", "message"),
    [
        ("{use: brightness}", r"yaml:12: substitute: the defense 'guard' is a detector and makes no other network"),
        ("{use: pcl, layers: {nowhere: null}}", r"defenses.guard on models.other: unknown layer 'nowhere'"),
    ],
)
def test_a_substitute_that_cannot_be_made_is_refused_while_planning(run_toy, toy_suite, defense, message):
    from benchmark.errors import InputError

    text = KNOWLEDGE.replace("none: {use: plain}", f"none: {{use: plain}}, guard: {defense}")
    text = text.replace("defenses: all", "defenses: none")
    with pytest.raises(InputError, match=message):
        run_toy(toy_suite(text.replace("substitute: other", "substitute: {model: other, defense: guard}")))


def test_white_box_is_refused_where_it_would_be_gray_box_by_another_name(run_toy):
    """The attack must go through what the defense does beside the network, and the defense must offer it."""
    from benchmark.errors import InputError

    grid = "[{datasets: all, models: all, attacks: all, defenses: all, knowledge: white-box}]"
    step, sneaky = "step: {use: step, eps: 0.3}", "sneaky: {use: sneaky, eps: 0.3}"
    for defense, attack, reason in (
        ("brightness", sneaky, r"'it' offers no differentiable stand-in \(detector_loss\)"),
        ("noisy", step, r"'it' offers no differentiable stand-in \(surrogate\)"),
        ("overrules", sneaky, r"'it' offers no differentiable stand-in \(surrogate or detector_loss\)"),
        # It offers a stand-in of its label, too, which is the network's.
        ("aware", step, "'step' does not try to evade a detector"),
    ):
        with pytest.raises(InputError, match=rf"toy.yaml:\d+: knowledge white-box: the \w+ {reason}.*gray-box"):
            run_toy(attacks=f"{{{attack}}}", defenses=f"{{it: {{use: {defense}}}}}", grid=grid)
    finished = run_toy(attacks=f"{{{sneaky}}}", defenses="{none: {use: plain}, aware: {use: aware}}", grid=grid)
    assert finished.code == 0
    assert set(finished.run.metrics.knowledge) == {"", "white-box"}


def test_a_filter_runs_a_part_of_the_grid_to_the_same_numbers(run_toy, tmp_path):
    axes = {
        "seeds": "[0, 1]",
        "attacks": "{near, by: {use: step, eps: 0.1}, nearer: {use: step, eps: 0.05}, far: {use: step, eps: 0.3}}",
        "defenses": "{none: {use: plain}, bright: {use: brightness}}",
        # Its data set is asked for nothing where it is left out.
        "datasets": f"{{blobs: {{use: blobs}}, gone: {{use: image_folder, path: {tmp_path}/gone}}}}",
    }
    axes["attacks"] = axes["attacks"].replace("near, by:", "'near, by':")
    filters = ["dataset=blobs,attack=near*,defense=none,seed=1", "dataset=blobs,attack=near, by,defense=b*,seed=0"]
    part = run_toy(out="part", only=json.dumps(filters), **axes)
    assert part.code == 0
    cells = part.run.samples.drop_duplicates(["attack", "defense", "seed"])
    assert set(cells[["attack", "defense", "seed"]].itertuples(index=False, name=None)) == {
        ("none", "none", "1"),
        ("near, by", "none", "1"),
        ("nearer", "none", "1"),
        ("none", "bright", "0"),
        ("near, by", "bright", "0"),
    }
    assert part.run.manifest["only"] == filters
    assert part.run.suite["only"] == filters
    whole = run_toy(out="whole", only="['dataset=blobs']", **axes).run.metrics
    identity = ["dataset", "model", "attack", "norm", "eps", "defense", "knowledge", "seed", "metric"]
    single = part.run.metrics[~part.run.metrics.attack.str.startswith("worst-of")]
    both = single.merge(whole, on=identity)
    assert len(both) == len(single)
    assert (both.value_x == both.value_y).all()


MINIMUM_NORM = """
suite: distances
title: Distances
seeds: [0]
batch_size: 16
datasets: {blobs: {use: blobs}}
models: {linear: {use: linear}}
attacks:
  pgd: {use: pgd, norm: l2, eps: 0.6, steps: 3}
  deepfool: {use: deepfool}
  deepfool-0.6: {use: deepfool, eps: 0.6}
  deepfool-1.2: {use: deepfool, eps: 1.2}
defenses: {none: {use: plain}, bright: {use: brightness}, noisy: {use: noisy}}
grid:
  - {datasets: all, models: all, attacks: all, defenses: all}
"""


def test_one_crafting_of_a_minimum_norm_attack_serves_every_budget(run_toy, toy_suite):
    finished = run_toy(toy_suite(MINIMUM_NORM))
    assert finished.code == 0
    assert ran(finished).count("craft") == 2
    samples = finished.run.samples.astype({"attack": str, "defense": str, "sample": str})
    cells = {key: cell.set_index("sample") for key, cell in samples.groupby(["attack", "defense"])}
    for defense in ("none", "bright"):
        clean, free = cells["none", defense], cells["deepfool", defense]
        for eps in (0.6, 1.2):
            at = cells[f"deepfool-{eps}", defense]
            near = free.perturbation <= eps
            assert 0 < near.sum() < len(near)
            for column in ("base_label", "label", "score", "flagged"):
                expected = free[column].where(near, clean[column])
                assert at[column].isna().all() if expected.isna().all() else (at[column] == expected).all()
            assert (at.perturbation == free.perturbation.where(near, 0)).all()
    metrics = finished.run.metrics
    assert (metrics[metrics.metric == "budget_violations"].value == 0).all()
    median = metrics[metrics.metric == "median_minimal_distance"]
    assert set(median.attack) == {"deepfool"}
    # What has noise of its own may be fooled at no distance more often than at none.
    assert median[median.defense != "noisy"].value.between(0.1, 3).all()
    # A list of budgets in one entry is the same attacks.
    listed = MINIMUM_NORM.replace(
        "deepfool-0.6: {use: deepfool, eps: 0.6}", "deepfool: {use: deepfool, eps: [0.6, 1.2]}"
    )
    listed = listed.replace("  deepfool: {use: deepfool}\n", "").replace(
        "  deepfool-1.2: {use: deepfool, eps: 1.2}\n", ""
    )
    swept = run_toy(toy_suite(listed), out="swept")
    assert not {"craft", "judge"} & set(ran(swept))
    robust, alone = swept.values("robust_accuracy"), finished.values("robust_accuracy")
    for eps in ("0.6", "1.2"):
        assert robust[f"deepfool@{eps}", "bright"] == alone[f"deepfool-{eps}", "bright"]
    curve = swept.run.curves[
        (swept.run.curves.curve == "accuracy_vs_eps") & (swept.run.curves.attack == "deepfool@0.6")
    ]
    assert list(curve[curve.defense == "bright"].x) == [0, 0.6, 1.2]
    # The worst case at a budget holds the unbounded attack as the same attack with the budget does.
    worst = finished.values("worst_case_robust_accuracy")
    again = run_toy(toy_suite(MINIMUM_NORM.replace("  deepfool: {use: deepfool}\n", "")), out="without")
    assert "craft" not in ran(again)
    kept = again.values("worst_case_robust_accuracy")
    assert {attack for attack, _ in kept} == {"worst-of: l2 0.6", "worst-of: all attacks"}
    assert kept == {key: value for key, value in worst.items() if key in kept}


def test_the_plan_knows_what_attacks_of_a_library_cost_at_most(toy_suite, tmp_path):
    from benchmark.inspection import describe_plan, plan_facts
    from benchmark.plan.planner import make_plan
    from benchmark.plugins import load_plugins
    from benchmark.store.store import Store
    from benchmark.suite import load_suite

    registry = load_plugins(["toy", "inline"])

    def told(attacks: str) -> str:
        # The DLR loss of AutoAttack compares three classes.
        digits = "{digits: {use: digits, limit: {train: 60, val: 60, test: 60}}}"
        suite = load_suite(str(toy_suite(datasets=digits, attacks=attacks)), registry=registry)
        return describe_plan(plan_facts(make_plan(suite, registry), Store(tmp_path / "cache"), registry))

    exact = told("{pgd: {use: pgd, eps: 0.1, steps: 5}}")
    assert "at most" not in exact
    unknown = exact.partition("and ")[2].partition(" tasks whose passes depend")[0]  # the fit of the toy defense
    bounded = told("{auto: {use: autoattack-art, eps: 0.1}, apgd: {use: apgd, eps: 0.1}, sq: {use: square, eps: 0.1}}")
    assert "model passes to come: at most " in bounded
    assert "device: at most " in bounded
    assert bounded.partition("and ")[2].partition(" tasks whose passes depend")[0] == unknown
    forward = int(bounded.partition("to come: at most ")[2].partition(" images")[0].replace(",", ""))
    assert forward > 60 * 50_000


def test_shards_together_are_the_whole(run_toy):
    axes = {
        "attacks": "{a: {use: step, eps: 0.1}, b: {use: step, eps: 0.2}}",
        "defenses": "{none: {use: plain}, bright: {use: brightness}}",
    }
    whole = run_toy(out="whole", **axes)
    parts = [run_toy(out=f"part{i}", part=(i, 4), **axes) for i in (1, 2, 3, 4)]
    identity = ["dataset", "model", "attack", "defense", "knowledge", "seed"]
    cells = [set(part.run.metrics[part.run.metrics.status == "ok"][identity].itertuples(index=False)) for part in parts]
    single = [{cell for cell in part if "worst" not in cell.attack} for part in cells]
    assert sum(map(len, single)) == len(set.union(*single)) == 6
    again = run_toy(out="whole", **axes)
    assert (again.path / METRICS).read_bytes() == (whole.path / METRICS).read_bytes()


def test_several_seeds_give_a_mean_and_a_spread(run_toy):
    metrics = run_toy(seeds="[0, 1, 2]").run.metrics
    rows = metrics[(metrics.metric == "robust_accuracy") & (metrics.attack == "step")].set_index("seed").value
    each = rows[["0", "1", "2"]]
    assert rows["mean"] == pytest.approx(each.mean())
    assert rows["std"] == pytest.approx(each.std(ddof=1))


def test_published_values_stand_in_a_column_of_their_own(run_toy, toy_suite, tmp_path):
    (tmp_path / "published.csv").write_text(
        "dataset,model,attack,defense,metric,value\nblobs,linear,step,none,robust_accuracy,0.125\n"
    )
    finished = run_toy(reference="{table: published.csv}")
    metrics = finished.run.metrics
    row = metrics[(metrics.metric == "robust_accuracy") & (metrics.attack == "step")].iloc[0]
    assert row.reference == 0.125
    assert metrics.reference.notna().sum() == 1


def test_costs_count_passes(run_toy):
    costs = run_toy().run.costs.set_index("kind")
    assert costs.loc["craft", "forward"] == 60
    assert costs.loc["craft", "backward"] == 60
    # Three epochs over 60 training images, each followed by 60 validation images.
    assert costs.loc["train", "forward"] == 3 * 120
    assert costs.loc["train", "backward"] == 3 * 60
    assert costs.loc["predict", "forward"].tolist() == [60, 60]
    assert costs.loc["judge", "forward"].tolist() == [0, 0]
    assert costs.loc["fit", "forward"] == 0
    assert (costs.peak_memory_bytes > 0).all()


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


def test_budgets_of_one_attack_make_a_curve(run_toy):
    curves = run_toy(attacks="{small: {use: step, eps: 0.1}, large: {use: step, eps: 0.3}}").run.curves
    curve = curves[(curves.curve == "accuracy_vs_eps") & (curves.attack == "large")]
    assert sorted(curve.x.unique())[-2:] == [0.1, 0.3]
    assert curve.sort_values("x").y.is_monotonic_decreasing


def test_an_attack_on_a_substitute_is_named_by_it(run_toy, toy_suite):
    manifest = run_toy(toy_suite(KNOWLEDGE)).run.suite
    assert manifest["grid"][1]["substitute"] == "other"
