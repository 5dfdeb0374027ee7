"""Runs of toy components by their grid: what the attacker knows, budgets, parts of the grid, seeds."""

from __future__ import annotations

import json

import numpy as np
import pytest

from suites import METRICS, ran

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


def test_budgets_of_one_attack_make_a_curve(run_toy):
    curves = run_toy(attacks="{small: {use: step, eps: 0.1}, large: {use: step, eps: 0.3}}").run.curves
    curve = curves[(curves.curve == "accuracy_vs_eps") & (curves.attack == "large")]
    assert sorted(curve.x.unique())[-2:] == [0.1, 0.3]
    assert curve.sort_values("x").y.is_monotonic_decreasing


def test_an_attack_on_a_substitute_is_named_by_it(run_toy, toy_suite):
    manifest = run_toy(toy_suite(KNOWLEDGE)).run.suite
    assert manifest["grid"][1]["substitute"] == "other"
