"""`protocol: {split: val}` attacks and judges validation images, and refuses defenses whose threshold is set on them."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmark.errors import InputError

ON_VAL = "{split: val}"


def test_validation_images_are_attacked_and_judged(run_toy):
    on_test = run_toy(out="test")
    on_val = run_toy(out="val", protocol=ON_VAL)
    assert on_val.code == 0
    tasks = [
        json.loads(line)
        for line in (on_val.path / "journal.jsonl").read_text().splitlines()
        if "task done" in line or "task cached" in line
    ]
    assert "train" not in [task["kind"] for task in tasks if task["event"] == "task done"]  # the network is the same
    assert json.loads((on_val.path / "manifest.json").read_text())["protocol"]["split"] == "val"
    ours, theirs = on_val.run.samples, on_test.run.samples
    for attack in ("none", "step"):
        a, b = ours[ours.attack == attack], theirs[theirs.attack == attack]
        assert len(a) == len(b) == 60
    assert not np.allclose(
        ours[ours.attack == "step"].perturbation.to_numpy(), theirs[theirs.attack == "step"].perturbation.to_numpy()
    ) or ours.label.tolist() != theirs.label.tolist()


def test_the_samples_are_those_of_the_validation_split(run_toy, tmp_path):
    """The number of images tells the splits apart where a limit makes them differ."""
    limited = "{blobs: {use: blobs, limit: {val: 14, test: 22}}}"
    on_val, on_test = (
        run_toy(out=out, datasets=limited, protocol=f"{{split: {out}}}").run.samples for out in ("val", "test")
    )
    assert on_val.groupby("attack").size().tolist() == [14, 14]
    assert on_test.groupby("attack").size().tolist() == [22, 22]


def test_a_defense_with_scores_is_refused_on_the_images_of_its_threshold(run_toy):
    defenses = "{none: {use: plain}, bright: {use: brightness}}"
    with pytest.raises(InputError) as caught:
        run_toy(defenses=defenses, protocol=ON_VAL)
    message = str(caught.value)
    assert "toy.yaml:" in message
    for word in ("protocol.split is val", "'bright'", "threshold", "split: test"):
        assert word in message
    assert run_toy(defenses=defenses).code == 0
