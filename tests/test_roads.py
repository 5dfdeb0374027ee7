"""What shipped defenses offer to an attacker who knows them."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from scipy.stats import binomtest

from benchmark.defense import Defense
from benchmark.errors import InputError
from benchmark.plan.planner import make_plan
from benchmark.plugins import load_plugins
from benchmark.suite import load_suite

SHIPPED = str(Path(__file__).parents[1] / "suites" / "adaptive_detectors.yaml")
FGSM = {"attacks": ["fgsm"]}
GAN = {"restarts": 2, "steps": 60, "generator": {"latent": 4, "width": 4, "iterations": 20}}
CLOSER = {
    "kernel-density": {"use": "kernel-density"},
    "mahalanobis": {"use": "mahalanobis", "layer": ["penultimate", "logits"], **FGSM},
    "lid": {"use": "lid"},
    "squeezing": {
        "use": "feature-squeezing-detector",
        "bit_depth": None,
        "median": None,
        "nlm_search": 3,
        "nlm_strength": 40.0,
    },
    "i-defender": {"use": "i-defender", "components": 1, "threshold": "fpr"},
    "subnetwork": {"use": "detector-subnetwork", "layer": "input", "width": 8, "train": {"epochs": 3}, **FGSM},
    "defense-gan": {"use": "defense-gan", **GAN},
}
"""Those whose score is smooth, or may be set up so."""
LOOKED_AT = {
    "rounding": {"use": "feature-squeezing-detector", "nlm_strength": None},
    "safetynet": {"use": "safetynet", **FGSM},
    "safetynet-msvm": {"use": "safetynet-msvm", **FGSM},
}
"""Those whose score has steps or edges: it quantises, or takes medians of pixels that are often equal."""
TREATED = {
    "none": {"use": "none"},
    "fewer-levels": {"use": "feature-squeezing", "bit_depth": 2},
    "smoothing": {"use": "spatial-smoothing"},
    "jpeg": {"use": "jpeg", "quality": 60},
    "denoiser": {"use": "guided-denoiser", "width": 4, "levels": 2, "train": {"epochs": 2}, **FGSM},
}
"""Those without a score."""
RECTIFIERS = {
    "restoring": {"use": "defense-gan-rectifier", **GAN},
    "unmask": {
        "use": "unmask",
        "parts_from": "parts",
        "part_score": 0.3,
        "extractor": {
            "network": "resnet10-half",
            "channels": 64,
            "masks": False,
            "size": 96,
            "anchors": [8, 16, 32, 48, 80],
            "proposals": 50,
            "weights": "partshapes",
            "stages": [],
        },
    },
}
ADAPTIVE = ("joint", "orthogonal", "selective")
SEARCHING = ("defense-gan", "restoring", "unmask")
"""Those that search, or look for parts, anew in each step: few steps."""
BRIEF = {"norm": "linf", "eps": 0.15, "steps": 12}
DIGITS = {"datasets": "digits", "models": "cnn"}
SHAPES = {"datasets": "shapes", "models": "deeper", "defenses": "unmask"}
SUITE = {
    "suite": "roads",
    "title": "What is offered",
    "seeds": [0],
    "datasets": {
        "digits": {"use": "digits", "limit": {"train": 400, "val": 40, "test": 24}},
        "shapes": {"use": "partshapes", "class_set": "CS3a", "size": 64, "train": 40, "val": 10, "test": 4},
        "parts": {"like": "shapes", "class_set": ["car", "person", "train", "dog", "bird", "bottle"], "train": 1},
    },
    "models": {
        "cnn": {"use": "small_cnn", "width": 8, "train": {"epochs": 4, "batch_size": 32, "lr": 0.05}},
        "deeper": {"use": "small_cnn", "width": 8, "depth": 4, "train": {"epochs": 10, "batch_size": 32, "lr": 0.05}},
    },
    "attacks": {
        "fgsm": {"use": "fgsm", "norm": "linf", "eps": 0.15},
        "look": {"use": "look"},
        "closer": {"use": "look-closer"},
        "counted": {"use": "look-counted"},
        "pgd": {"use": "pgd", **BRIEF},
        "joint": {"use": "joint-pgd", **BRIEF, "targets": 1},
        "orthogonal": {"use": "orthogonal-pgd", **BRIEF},
        "selective": {"use": "selective-pgd", **BRIEF},
        "shorter": {"use": "joint-pgd", **BRIEF, "steps": 6, "targets": 0},
        "pgd-8": {"use": "pgd", "norm": "linf", "eps": "8/255", "steps": 12},
        "joint-8": {"use": "joint-pgd", "norm": "linf", "eps": "8/255", "steps": 3, "targets": 0},
    },
    "defenses": CLOSER | LOOKED_AT | TREATED | RECTIFIERS,
    "grid": [
        {**DIGITS, "attacks": "closer", "defenses": list(CLOSER), "knowledge": "white-box"},
        {**DIGITS, "attacks": "look", "defenses": list(LOOKED_AT), "knowledge": "white-box"},
        {**DIGITS, "attacks": "pgd", "knowledge": "gray-box", "exclude": [{"defenses": "unmask"}]},
        {**DIGITS, "attacks": list(ADAPTIVE), "knowledge": "white-box", "exclude": [{"defenses": list(SEARCHING)}]},
        {**DIGITS, "attacks": "shorter", "defenses": ["defense-gan", "restoring"], "knowledge": "white-box"},
        {**DIGITS, "attacks": "counted", "knowledge": "white-box", "exclude": [{"defenses": "unmask"}]},
        {**SHAPES, "attacks": "counted", "knowledge": "white-box"},
        {**SHAPES, "attacks": "pgd-8", "knowledge": "gray-box"},
        {**SHAPES, "attacks": "joint-8", "knowledge": "white-box"},
    ],
}
ELSEWHERE = {"unmask", "defense-gan-rectifier"}
"""Looked at in the tests of their plugins: UnMask's stand-in is no score, the rectifier searches as Defense-GAN."""


def shipped():
    for registration in load_plugins().all("defense"):
        if registration.provenance.distribution == "unmask-bench":
            yield registration.name, registration.load()


def test_every_shipped_defense_offers_a_road_to_what_it_does_beside_the_network():
    for name, defense in shipped():
        if defense.family in ("detector", "rectifier"):
            assert defense.detector_loss is not Defense.detector_loss, (
                f"{name}: no `detector_loss`, and its score cannot be attacked"
            )
        if defense.family in ("preprocessor", "rectifier"):
            assert defense.surrogate is not Defense.surrogate, (
                f"{name}: no `surrogate`, and its label cannot be attacked"
            )


def test_the_paired_suite_of_the_docs_has_every_shipped_defense():
    """docs/paired.py makes a table of it: PGD on the network alone against who knows the defense."""
    path = Path(__file__).parents[1] / "docs" / "paired.yaml"
    suite = load_suite(str(path), registry=load_plugins())
    assert {component.use for component in suite.defenses.values()} == {name for name, _ in shipped()}
    informed = {defense for entry in suite.grid if "white-box" in entry.knowledge for defense in entry.defenses}
    assert informed == set(suite.defenses)


@pytest.fixture(scope="module")
def looked(tmp_path_factory):
    """Return the exit code, the run, and what was said."""
    from inline import run_inline

    folder = tmp_path_factory.mktemp("roads")
    path = folder / "roads.yaml"
    path.write_text(yaml.safe_dump(SUITE, sort_keys=False))
    registry = load_plugins(["roads", "inline"])
    return run_inline(load_suite(str(path), registry=registry), registry, folder)


@pytest.mark.slow
def test_what_is_offered_is_the_score_and_leads_down(looked):
    scored = {name for name, defense in shipped() if defense.family in ("detector", "rectifier")}
    assert {options["use"] for options in (CLOSER | LOOKED_AT).values()} == scored - ELSEWHERE
    code, run, said = looked
    assert code == 0, said
    robust = run.metrics[(run.metrics.metric == "robust_accuracy") & run.metrics.attack.isin(["look", "closer"])]
    assert set(robust.defense) == set(CLOSER | LOOKED_AT)
    assert (robust.status == "ok").all()


@pytest.mark.slow
def test_all_that_goes_through_networks_is_counted_whatever_holds_them(looked):
    """The attack `counted` compares the host's counts with what torch's own hooks saw on each road of each defense."""
    _, run, said = looked
    counted = run.metrics[(run.metrics.metric == "robust_accuracy") & (run.metrics.attack == "counted")]
    assert set(counted.defense) == set(SUITE["defenses"])
    assert (counted.status == "ok").all(), said
    asked = run.costs[run.costs.kind == "observe"].set_index("label")
    parts = asked[asked.index.str.startswith("extract extractor")]
    assert len(parts) >= 4
    assert (parts.forward == parts.images).all()


@pytest.mark.slow
def test_a_plan_knows_what_each_task_pushes_through_networks(looked):
    run, registry = looked[1], load_plugins(["roads", "inline"])
    plan = make_plan(load_suite(str(run.path.parent / "roads.yaml"), registry=registry), registry)
    estimates = {key: task.work for key, task in plan.tasks.items() if task.work}
    told = run.costs[run.costs.key.isin(estimates)]
    assert set(told.kind) >= {"train", "fit", "craft", "predict", "observe", "judge", "look"}
    for task in told.itertuples():
        work = estimates[task.key]
        assert task.forward <= work.forward, (task.label, work)
        assert task.backward <= work.backward, (task.label, work)
        assert work.at_most or (task.forward, task.backward) == (work.forward, work.backward), (task.label, work)


@pytest.mark.slow
def test_who_knows_the_defense_is_no_weaker_than_who_does_not(looked):
    """Paired by image: where one gets an image through, wrong and not flagged, the other does so as often."""
    samples = looked[1].samples
    through = samples.assign(through=(samples.label != samples.y) & ~samples.flagged.fillna(False).astype(bool))
    table = through.pivot_table("through", ["defense", "sample"], "attack", "first")
    fewer = {"defense-gan": ["shorter"], "restoring": ["shorter"], "unmask": ["joint-8"]}
    gained = dict.fromkeys((*ADAPTIVE, "shorter", "joint-8"), 0)
    for defense in SUITE["defenses"]:
        for attack in fewer.get(defense, ADAPTIVE):
            plain = table.loc[defense]["pgd-8" if attack == "joint-8" else "pgd"].astype(bool)
            informed = table.loc[defense][attack].astype(bool)
            lost, won = (plain & ~informed).sum(), (~plain & informed).sum()
            if lost > won:
                assert binomtest(int(lost), int(lost + won), alternative="greater").pvalue > 0.05, (defense, attack)
            gained[attack] += won - lost
    assert gained["joint"] > 20  # of 24 images, behind ten detectors and four preprocessors
    assert min(gained[attack] for attack in ADAPTIVE) >= 0
    assert gained["joint-8"] > 4  # of 12


def test_who_knows_a_randomised_defense_averages_over_its_draws(run_toy):
    """And each draw is a pass that is counted, and foreseen by the plan."""
    costs = {}
    for draws in (1, 40):
        finished = run_toy(
            out=f"of-{draws}",
            plugins=("roads",),
            attacks="{steady: {use: look-steady}, step: {use: step, eps: 0.1}}",
            defenses="{random: {use: random}}",
            protocol=f"{{draws: {draws}}}",
            grid="[{attacks: steady, knowledge: white-box}, {attacks: step, knowledge: [white-box, gray-box]}]",
        )
        assert finished.code == (0 if draws > 1 else 1), finished.said
        assert ("another answer each time" in finished.said) == (draws == 1)
        table = finished.run.costs
        costs[draws] = table[table.kind == "craft"].set_index("label").forward
    labels = {label for label in costs[1].index if label.startswith("step")}
    ratios = sorted((costs[40][label] / costs[1][label]) for label in labels)
    assert ratios == [1, 40]  # gray-box steps look at the network alone


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            "grid.1.knowledge=adaptive",
            "found the text 'adaptive', allowed: 'white-box', 'gray-box', 'gray-box-retrained' or 'black-",
        ),
        ("grid.0.knowledge=white-box", "the attack 'pgd' does not try to evade a detector.*gray-box for 'i-defender'"),
        ("attacks.joint.weight=[0.9, 0.1]", r"two weights from 0 to 1 .*the smaller one first.*found \[0.9, 0.1\]"),
        ("attacks.orthogonal.restarts=0", r"found the number 0, allowed: a whole number \(at least 1\)"),
        ("protocol.draws=0", r"found the number 0, allowed: a whole number \(at least 1\)"),
    ],
)
def test_what_an_informed_attacker_cannot_do_is_refused_with_one_message(change, message):
    registry = load_plugins()
    with pytest.raises(InputError, match=message) as told:
        make_plan(load_suite(SHIPPED, profile="embedded", sets=[change], registry=registry), registry)
    assert str(told.value).count("\n") == 0


def test_a_road_that_is_none_fails_its_own_cells_with_what_it_lacks(run_toy, capsys):
    messages = {
        "network": "surrogate returned None instead of a network. A defense that has none leaves the method out",
        "logits": "surrogate returned (32,) instead of a tensor of shape (16, 2)",
        "score": "detector_loss returned None. A defense that has none leaves the method out",
        "shape": "detector_loss returned (16, 1) instead of a tensor of shape (16,)",
        "classes": "class_suspicions returned (16, 1) instead of a tensor of shape (16, 2)",
        "aims": "aims returned (16,) instead of a tensor of shape (16, 2)",
        "aimed": "aimed_loss returned (16,) instead of a pair of tensors, loss and logits",
    }
    finished = run_toy(
        plugins=("roads",),
        attacks="{joint: {use: joint-pgd, eps: 0.3, steps: 2}}",
        defenses="{none: {use: plain}, "
        "network: {use: unroaded, what: network}, logits: {use: unroaded, what: logits}, "
        "score: {use: unroaded, what: score}, "
        "shape: {use: unroaded, what: shape}, classes: {use: unroaded-per-class, what: nothing}, "
        "aims: {use: unroaded-aims, what: nothing}, aimed: {use: unroaded-aimed, what: nothing}}",
        grid="[{knowledge: white-box}]",
    )
    assert finished.code == 1
    told = capsys.readouterr().out
    for what, message in messages.items():
        assert f"against {what} for linear on blobs: {message}" in told
    metrics = finished.run.metrics
    robust = metrics[metrics.metric == "robust_accuracy"].set_index("defense").status
    assert dict(robust) == {"none": "ok", **dict.fromkeys(messages, "failed")}


def test_what_a_random_defense_offers_is_looked_at_before_it_is_averaged(run_toy, capsys):
    messages = {
        "loss of list": "training_loss returned list instead of a pair of tensors, loss and logits",
        "loss of images": "training_loss returned a loss of (16, 1, 4, 4) instead of a tensor of shape (16,)",
        "likelihoods of dict": "class_likelihoods returned dict instead of ClassLikelihoods",
        "likelihoods of level": "class_likelihoods returned a log_threshold of (16,) instead of a tensor of shape (2,)",
    }
    finished = run_toy(
        plugins=("roads",),
        attacks="{loss: {use: look-at-loss}, likelihoods: {use: look-at-likelihoods}, once: {use: look-once}}",
        defenses="{list: {use: unknown, what: loss}, images: {use: unknown, what: nothing}, "
        "dict: {use: unknown, what: likelihoods}, level: {use: unknown, what: threshold}, "
        "noticing: {use: noticing}}",
        protocol="{draws: 3}",
        grid="[{attacks: loss, defenses: [list, images], knowledge: white-box}, "
        "{attacks: likelihoods, defenses: [dict, level], knowledge: white-box}, "
        "{attacks: once, defenses: noticing, knowledge: white-box}]",
    )
    assert finished.code == 1
    told = capsys.readouterr().out
    for what, message in messages.items():
        attack, _, defense = what.partition(" of ")
        assert f"{attack} against {defense} for linear on blobs: {message}" in told
    metrics = finished.run.metrics
    robust = metrics[metrics.metric == "robust_accuracy"].set_index("defense").status
    assert robust["noticing"] == "ok"
