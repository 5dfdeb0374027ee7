"""Probes of attacks: each way to fail is told by the right one, and a sound attack on a plain network passes all."""

from __future__ import annotations

import pytest
from inline import toy_run
from test_probes import planned

from benchmark import InputError, load_run
from benchmark.trust.probe_kinds import PROBES

pytestmark = pytest.mark.slow

ASKING = [name for name, kind in PROBES.items() if kind.asks]
SUITE = """
suite: probed
seeds: [0]
datasets: {blobs: {use: blobs}}
models: {linear: {use: linear}, quantises: {use: quantises}, softmax: {use: softmax}}
attacks:
  sound: {use: sound, eps: 0.3}
  pgd: {use: pgd, norm: linf, eps: 0.3, steps: 40}
  wrong sign: {use: wrongsign, eps: 0.3}
  no steps: {use: nosteps, eps: 0.4}
  tiny step: {use: sound, eps: 0.3, step: 0.001}
  stops early: {use: stopsearly, eps: 0.3, steps: 30}
  forgets: {use: forgets, eps: 0.3}
  no gradient: {use: detached, eps: 0.3}
  hurried: {use: sound, eps: 0.3, steps: 12}
  fgsm: {use: fgsm, norm: linf, eps: 0.3}
  cw: {use: cw-l2, steps: 20}
  far: {use: deepfool, eps: 0.01}
  bounded: {use: bounded, eps: 0.3}
  glances: {use: glances, eps: 0.3}
  turns: {use: turns, eps: 1}
defenses:
  none: {use: plain}
  suspicious: {use: suspicious}
  misleading: {use: misleading}
  open: {use: open}
  peeks: {use: peeks}
  marked: {use: marked}
grid:
  - {models: linear, attacks: all, defenses: none, exclude: [{attacks: [glances, turns]}]}
  - {models: linear, attacks: glances, defenses: peeks, knowledge: white-box}
  - {models: linear, attacks: turns, defenses: marked, knowledge: white-box}
  - {models: linear, attacks: far, defenses: open, knowledge: white-box}
  - {models: linear, attacks: sound, defenses: suspicious}
  - {models: quantises, attacks: sound, defenses: none}
  - {models: linear, attacks: pgd, defenses: misleading, knowledge: white-box}
  - {models: linear, attacks: pgd, defenses: none, knowledge: black-box, substitute: [quantises, softmax]}
"""
ASKED = f"probes: [{', '.join(ASKING)}]\n"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("probed")
    (folder / "suite.yaml").write_text(SUITE + ASKED)
    done = toy_run(folder / "suite.yaml", folder / "run", folder / "cache", plugins=("alarming", "probing"))
    assert done.code == 0, done.said
    return load_run(folder / "run")


def failed(run, attack: str, model: str = "linear", defense: str = "none") -> set[str]:
    rows = run.probes[(run.probes.attack == attack) & (run.probes.model == model) & (run.probes.defense == defense)]
    rows = rows[rows.knowledge != "black-box"]
    assert list(rows.probe) == ASKING
    return set(rows.probe[rows.verdict == "fail"])


@pytest.mark.parametrize("attack", ["sound", "pgd"])
def test_a_sound_attack_on_a_plain_network_passes_all(run, attack):
    assert failed(run, attack) == set()
    rows = run.probes[(run.probes.attack == attack) & (run.probes.defense == "none") & (run.probes.model == "linear")]
    rows = rows[rows.knowledge == "gray-box"]
    assert set(rows.verdict) == {"pass"}
    assert (rows.n > 0).all()
    assert ((rows.ci_low <= rows.value) & (rows.value <= rows.ci_high)).all()


@pytest.mark.parametrize(
    ("attack", "told"),
    [
        ("wrong sign", {"unconstrained-failure"}),
        ("no steps", {"unavailable-gradients", "incomplete-optimisation", "random-draws"}),
        ("tiny step", {"incomplete-optimisation"}),
        ("stops early", {"incomplete-optimisation"}),
        ("hurried", {"incomplete-optimisation", "more-steps"}),
        ("fgsm", {"incomplete-optimisation"}),
        ("forgets", {"silent-success"}),
        ("no gradient", {"unavailable-gradients"}),
    ],
)
def test_each_way_to_fail_is_told(run, attack, told):
    # Without a budget all of these but the hurried one and the single step fail too.
    assert told <= failed(run, attack) <= told | {"unconstrained-failure", "random-draws"}


def test_a_network_without_gradients_and_a_system_that_what_fools_it_does_not_fool_are_told(run):
    assert {"unavailable-gradients", "unconstrained-failure"} <= failed(run, "sound", model="quantises")
    assert failed(run, "sound", defense="suspicious") == {"transfer-failure"}
    # Gradients there are, and they lead away from success.
    assert failed(run, "pgd", defense="misleading") == {"unconstrained-failure"}


def test_what_a_defense_looks_at_by_itself_is_no_point_of_the_attack(run):
    rows = run.probes[run.probes.defense == "peeks"].set_index("probe")
    assert rows.verdict["silent-success"] == "pass", rows.finding["silent-success"]
    way = run.curves[(run.curves.defense == "peeks") & (run.curves.curve == "margin_per_pass")]
    assert way.x.tolist() == [1.0]


def test_draws_are_made_around_what_is_flagged_too(run):
    row = run.probes[(run.probes.defense == "marked") & (run.probes.probe == "random-draws")].iloc[0]
    assert (row.verdict, row.n) == ("fail", 8), row.finding
    assert "10,000 draws each, of which at most 256 that turn the class are judged, turn" in row.finding
    plain = run.probes[(run.probes.attack == "no steps") & (run.probes.probe == "random-draws")].iloc[0]
    assert "10,000 draws each turn" in plain.finding


def test_a_detector_is_asked_about_few_of_the_draws_that_turn_the_class(run, tmp_path):
    label = "examine turns against marked for linear on blobs: random draws beside it"
    (row,) = (row for row in planned(tmp_path, SUITE + ASKED)["to_run"] if row["label"] == label)
    spent = run.costs.set_index("label").loc[label]
    # 8 images, 10,000 draws each through the network, 256 of those that turn it through the detector; and the rest
    # looked at once or twice.
    assert spent.forward <= row["forward"] <= 8 * (10_000 + 256) + 4 * 60 + 32


def test_of_what_is_rounded_probes_look_at_rounded_images(run_toy):
    """At 0.89/255 every step is rounded away, and the network is wrong between values of 8 bits alone."""
    done = run_toy(
        datasets="{blobs: {use: blobs, eight_bit: true}}",
        models="{between: {use: between}}",
        attacks="{pgd: {use: pgd, norm: linf, eps: 0.0035, steps: 5}}",
        protocol="{adversarial: 8-bit}",
        probes="[more-steps, random-draws, silent-success]",
        plugins=("alarming",),
    )
    assert done.code == 0, done.said
    found = done.run.probes[done.run.probes.attack == "pgd"].set_index("probe")
    kept = found.loc[["more-steps", "random-draws"]]
    assert (kept.verdict.tolist(), kept.value.tolist()) == (["pass"] * 2, [0.0] * 2), kept.finding.tolist()
    # What the attack found between the values it also returned: rounding is none of its faults.
    assert found.verdict["silent-success"] == "pass", found.finding["silent-success"]


def test_what_was_doubled_is_said(run):
    rows = run.probes[(run.probes.probe == "more-steps") & (run.probes.knowledge == "gray-box")].set_index("attack")
    assert "with twice its steps and restarts" in rows.finding["pgd"]
    assert "with twice its steps " in rows.finding["hurried"]


def test_a_transferred_attack_is_looked_at_where_it_was_made_and_where_it_ends(run):
    rows = run.probes[run.probes.knowledge == "black-box"].set_index("probe")
    assert list(rows.index) == ASKING
    # One of two networks gives no gradient: the mean of both does.
    assert rows.verdict["unavailable-gradients"] == rows.verdict["unconstrained-failure"] == "pass"
    assert rows.n["transfer-failure"] > 0


def test_what_an_attack_has_nothing_for_is_not_run_and_a_plan_says_so(run, tmp_path):
    rows = run.probes[run.probes.verdict == "not run"].set_index(["attack", "probe"]).finding
    assert rows["fgsm", "more-steps"] == "it has no option `steps` or `restarts` that could be doubled"
    assert rows["cw", "random-draws"] == "it has no budget"
    assert rows["forgets", "transfer-failure"] == "no image fools what was attacked"
    facts = planned(tmp_path, SUITE + ASKED)
    told = {(row["attack"], row["probe"]): row["lacks"] for row in facts["probes_not_run"]}
    assert rows["bounded", "unconstrained-failure"] == "its eps may not grow until it reaches every image"
    unasked = [("fgsm", "more-steps"), ("cw", "random-draws"), ("bounded", "unconstrained-failure")]
    assert told.items() >= {key: rows[key] for key in unasked}.items()


def test_an_example_beyond_the_budget_fools_nothing(run):
    row = run.probes[(run.probes.defense == "open") & (run.probes.probe == "transfer-failure")].iloc[0]
    assert (row.verdict, row.finding) == ("not run", "no image fools what was attacked")


def test_a_plan_knows_what_probes_cost_and_the_costs_show_it(run, tmp_path):
    told = {row["label"]: row for row in planned(tmp_path, SUITE + ASKED)["to_run"] if row["kind"] == "examine"}
    costs = run.costs[run.costs.kind == "examine"].set_index("label")
    assert set(told) == set(costs.index)
    for label in (label for label in told if " pgd " in label or " fgsm " in label):
        row, spent = told[label], costs.loc[label]
        assert spent.forward > 0
        if row["at_most"]:
            assert spent.forward <= row["forward"]
        else:
            assert (spent.forward, spent.backward) == (row["forward"], row["backward"])


def test_the_margin_along_the_way_is_kept(run):
    curve = run.curves[(run.curves.attack == "tiny step") & (run.curves.curve == "margin_per_pass")]
    assert len(curve) > 40
    assert curve.y.is_monotonic_decreasing
    ends = run.curves[(run.curves.attack == "sound") & run.curves.curve.str.startswith("margin_per_pass")]
    assert set(ends.curve) == {"margin_per_pass", "margin_per_pass_low", "margin_per_pass_high"}


@pytest.mark.parametrize(
    ("attack", "probe", "why"),
    [
        ("{use: square, eps: 0.3}", "unavailable-gradients", "it asks for no gradients"),
        ("{use: fgsm, eps: 0.3}", "more-steps", "it has no option `steps` or `restarts` that could be doubled"),
        ("{use: deepfool}", "random-draws", "it has no budget"),
    ],
)
def test_a_probe_that_no_attack_has_anything_for_is_refused(tmp_path, attack, probe, why):
    text = SUITE[: SUITE.index("attacks:")] + f"attacks: {{alone: {attack}}}\ndefenses: {{none: {{use: plain}}}}\n"
    with pytest.raises(InputError) as refused:
        planned(tmp_path, text + f"grid: [{{models: linear}}]\nprobes: [{probe}]\n")
    message = str(refused.value)
    assert "\n" not in message
    assert f"probes: {probe}: no attack of this suite has what it needs (alone: {why})" in message
    assert PROBES[probe].needs in message
