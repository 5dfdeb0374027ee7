"""What shipped defenses offer to an attacker who knows them."""

from __future__ import annotations

import yaml

from benchmark.defense import Defense
from benchmark.plugins import load_plugins

FGSM = {"attacks": ["fgsm"]}
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
    "defense-gan": {
        "use": "defense-gan",
        "restarts": 2,
        "steps": 60,
        "generator": {"latent": 4, "width": 4, "iterations": 20},
    },
}
"""Those whose score is smooth, or may be set up so."""
LOOKED_AT = {
    "rounding": {"use": "feature-squeezing-detector", "nlm_strength": None},
    "safetynet": {"use": "safetynet", **FGSM},
    "safetynet-msvm": {"use": "safetynet-msvm", **FGSM},
}
"""Those whose score has steps or edges: it quantises, or takes medians of pixels that are often equal."""
SUITE = {
    "suite": "roads",
    "title": "What is offered",
    "seeds": [0],
    "datasets": {"digits": {"use": "digits", "limit": {"train": 400, "val": 40, "test": 16}}},
    "models": {"cnn": {"use": "small_cnn", "width": 8, "train": {"epochs": 4, "batch_size": 32, "lr": 0.05}}},
    "attacks": {
        "fgsm": {"use": "fgsm", "norm": "linf", "eps": 0.15},
        "look": {"use": "look"},
        "closer": {"use": "look-closer"},
    },
    "defenses": CLOSER | LOOKED_AT,
    "grid": [
        {"attacks": "closer", "defenses": list(CLOSER), "knowledge": "white-box"},
        {"attacks": "look", "defenses": list(LOOKED_AT), "knowledge": "white-box"},
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


def test_what_is_offered_is_the_score_and_leads_down(tmp_path):
    from inline import run_inline

    from benchmark.suite import load_suite

    scored = {name for name, defense in shipped() if defense.family in ("detector", "rectifier")}
    assert {options["use"] for options in (CLOSER | LOOKED_AT).values()} == scored - ELSEWHERE
    path = tmp_path / "roads.yaml"
    path.write_text(yaml.safe_dump(SUITE, sort_keys=False))
    registry = load_plugins(["roads", "inline"])
    code, run, said = run_inline(load_suite(str(path), registry=registry), registry, tmp_path)
    assert code == 0, said
    robust = run.metrics[run.metrics.metric == "robust_accuracy"]
    assert set(robust.defense) == set(CLOSER | LOOKED_AT)
    assert (robust.status == "ok").all()


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
