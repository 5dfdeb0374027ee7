"""`bench verify-attack`: attacks that work solve problems with a known solution, and broken ones do not."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from benchmark.cli import main
from benchmark.holdings import runs_of
from benchmark.store.store import Store

SUITE = """
suite: verified
datasets: {digits: {use: digits}}
models: {mlp: {use: idefender_e, train: {epochs: 4, batch_size: 64, lr: 0.05}}}
attacks:
  pgd: {use: pgd, norm: linf, eps: 0.15, step: 0.02, steps: 100}
  apgd: {use: apgd-dlr, norm: linf, eps: 0.15, steps: 50}
  l2: {use: pgd, norm: l2, eps: 0.7, step: 0.1, steps: 100}
  one-tiny-step: {use: pgd, norm: linf, eps: 0.15, step: 0.0001, steps: 1, random_start: false}
  blind: {use: blind, norm: linf, eps: 0.15}
  unbounded: {use: deepfool, eps: null}
  joint: {use: joint-pgd, norm: linf, eps: 0.15, targets: 0}
  half-blind: {use: half-blind, norm: linf, eps: 0.15}
defenses:
  none: {use: none}
  at: {use: adversarial_training, attack: fgsm, norm: linf, eps: 0.1}
  squeezing: {use: feature-squeezing, bit_depth: 4}
  i-defender: {use: i-defender, components: 1, threshold: fpr}
grid:
  - {datasets: all, models: all, attacks: [pgd, apgd, l2, one-tiny-step, blind, unbounded], defenses: none}
  - {datasets: all, models: all, attacks: pgd, defenses: [none, at]}
  - {datasets: all, models: all, attacks: pgd, defenses: squeezing, knowledge: white-box}
  - {datasets: all, models: all, attacks: pgd, defenses: i-defender}
  - {datasets: all, models: all, attacks: [joint, half-blind], defenses: i-defender, knowledge: white-box}
"""
BLIND = '''
import torch
from benchmark import Attack, ascend, classification_loss, hookimpl

class Blind(Attack):
    """Steps along a gradient that is always zero."""

    def craft(self, victim, x, y, rng):
        moved = x.clone().requires_grad_(True)
        (gradient,) = torch.autograd.grad((victim.classifier(moved) * 0.0).sum(), moved)
        return (x + float(self.options.eps) * gradient.sign()).clamp(0, 1)

class HalfBlind(Attack):
    """PGD on the classes, which says that it evades detectors."""

    evades_detector = True

    def craft(self, victim, x, y, rng):
        loss, eps = classification_loss(victim.classifier, y), float(self.options.eps)
        return ascend(loss, x, norm="linf", eps=eps, step=eps / 8, steps=40)

@hookimpl
def register_attacks(register):
    register("half-blind", HalfBlind, version="1")
    register("blind", Blind, version="1")
'''


def call(capfd, *arguments: str) -> tuple[int, str, str]:
    capfd.readouterr()
    with pytest.raises(SystemExit) as stop:
        main(["verify-attack", *arguments])
    captured = capfd.readouterr()
    return stop.value.code, captured.out, captured.err


@pytest.fixture
def suite(tmp_path, monkeypatch) -> Path:
    (tmp_path / "bench_blind_attack.py").write_text(BLIND)
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "verified.yaml"
    path.write_text(SUITE)
    return path


@pytest.mark.slow
def test_attacks_that_work_pass_and_broken_ones_fail(suite, tmp_path, capfd):
    usual = [
        str(suite), "--images", "8", "--cache", str(tmp_path / "cache"), "--plugin", "bench_blind_attack",
        "--plugin", "inline", "--executor", "inline",
    ]  # fmt: skip
    code, out, err = call(capfd, *usual, "-o", str(tmp_path / "found.json"))
    assert code == 1, err  # some fail
    rows = json.loads((tmp_path / "found.json").read_text())
    found = {(row["attack"], row["network"]): row for row in rows}
    by_attack = {row["attack"]: row for row in rows if row["network"] == "mlp on digits"}
    for attack in ("pgd", "apgd", "l2"):
        row = by_attack[attack]
        assert (row["verdict"], row["asr"], row["n"] + row["not_made"]) == ("pass", 1.0, 8), row
        assert row["n"] >= 6
        assert row["ci_low"] < row["asr"] <= row["ci_high"]
    for attack in ("one-tiny-step", "blind"):
        row = by_attack[attack]
        assert (row["verdict"], row["asr"]) == ("fail", 0.0), row
    # The problems are no easy ones: points of the edge drawn at random solve next to none.
    assert all(row["random_asr"] <= 0.25 for row in by_attack.values() if row["n"])
    assert by_attack["unbounded"]["verdict"] == "not run"
    assert "no budget" in by_attack["unbounded"]["finding"]
    # The same craft stands for the cells of all defenses that leave the network as it is, each once.
    assert by_attack["pgd"]["cells"] == 2
    assert found["pgd", "at for mlp on digits"]["verdict"] == "pass"
    assert found["pgd", "squeezing for mlp on digits through squeezing"]["verdict"] == "pass"
    # Beside a detector there are two problems: not to be flagged, and, the score turned, to be flagged.
    beside = {(row["attack"], row["test"]): row for row in rows if row["test"] != "classes"}
    assert set(beside) == {(attack, test) for attack in ("joint", "half-blind") for test in ("undetected", "inverted")}
    assert {row["network"] for row in beside.values()} == {"i-defender for mlp on digits through i-defender"}
    assert beside["joint", "undetected"]["verdict"] == beside["joint", "inverted"]["verdict"] == "pass"
    assert beside["half-blind", "undetected"]["verdict"] == beside["half-blind", "inverted"]["verdict"] == "fail"
    assert all(row["n"] and row["n"] + row["not_made"] == 8 for row in beside.values())
    assert "one-tiny-step" in out
    assert "0%" in out
    # The cache knows the answers: the same words again, and as a table for spreadsheets.
    code, again, err = call(capfd, *usual, "-o", str(tmp_path / "found.csv"))
    assert (code, again) == (1, out)
    frame = pd.read_csv(tmp_path / "found.csv")
    assert frame.verdict.tolist() == [row["verdict"] for row in rows]
    assert call(capfd, *usual, "--only", "attack=pgd")[0] == 0
    # What was asked for first is not forgotten, and the same is noted once.
    few, all_of_them = sorted(len(use.keys) for use in runs_of(Store(str(tmp_path / "cache"))))
    assert 0 < few < all_of_them
    # What was damaged since is made again, to the same answers.
    for file in (tmp_path / "cache").rglob("verification.json"):
        file.write_text("{}")
    code, again, err = call(capfd, *usual)
    assert (code, again) == (1, out), err


UNFOOLED = """
suite: unfooled
datasets: {blobs: {use: blobs}}
models: {linear: {use: linear}}
attacks: {joint: {use: joint-pgd, norm: linf, eps: 0.01, targets: 0, steps: 2}}
defenses: {aware: {use: aware}}
protocol: {false_positive_rate: 0.5}
grid: [{attacks: joint, defenses: aware, knowledge: white-box}]
"""


def test_a_flagged_point_that_fools_nobody_is_no_problem(tmp_path, capfd):
    """The budget is a thirtieth of what tells the classes apart, and the detector flags half of all images."""
    path = tmp_path / "unfooled.yaml"
    path.write_text(UNFOOLED)
    code, _, err = call(
        capfd, str(path), "--images", "6", "--cache", str(tmp_path / "cache"), "--plugin", "toy",
        "--plugin", "inline", "--executor", "inline", "-o", str(tmp_path / "found.json"),
    )  # fmt: skip
    assert code in (0, 1), err
    found = {row["test"]: row for row in json.loads((tmp_path / "found.json").read_text())}
    assert found["undetected"]["n"] > 0
    inverted = found["inverted"]
    assert (inverted["verdict"], inverted["n"], inverted["not_made"]) == ("not run", 0, 6)
    assert "that is flagged, and fools the network" in inverted["finding"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["-o", "found.txt"], "ends with .csv or .json"),
        (["--only", "attack=unbounded"], "no attack of the suite can be tested so. unbounded: it has no budget"),
        (["--shard", "1/2"], "choose some by --only"),
        (["--images", "0"], "--images"),
        (["--only", "attack=none"], "no attack"),
    ],
)
def test_what_cannot_be_tested_is_one_message(suite, tmp_path, capfd, arguments, said):
    code, _, err = call(
        capfd, str(suite), *arguments, "--cache", str(tmp_path / "cache"), "--plugin", "bench_blind_attack",
        "--plugin", "inline", "--executor", "inline",
    )  # fmt: skip
    assert code == 2
    assert said in err
    assert "Traceback" not in err
