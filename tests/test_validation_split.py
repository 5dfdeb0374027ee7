"""`protocol: {split: val}` attacks and judges validation images, and refuses defenses with a threshold set there."""

from __future__ import annotations

import json

import pytest

from benchmark.errors import InputError

ON_VAL = "{split: val}"


def test_validation_images_are_attacked_and_judged_instead(run_toy):
    """A limit that differs between the splits tells them apart."""
    limited = "{blobs: {use: blobs, limit: {val: 14, test: 22}}}"
    on_test = run_toy(out="test", datasets=limited)
    on_val = run_toy(out="val", datasets=limited, protocol=ON_VAL)
    assert on_test.run.samples.groupby("attack").size().tolist() == [22, 22]
    assert on_val.run.samples.groupby("attack").size().tolist() == [14, 14]
    assert json.loads((on_val.path / "manifest.json").read_text())["protocol"]["split"] == "val"
    journal = [json.loads(line) for line in (on_val.path / "journal.jsonl").read_text().splitlines()]
    kinds = [line["kind"] for line in journal if line["event"] == "task done"]
    assert kinds
    assert "train" not in kinds  # the network is that of the run on test images


def test_a_defense_with_scores_is_refused_on_the_images_of_its_threshold(run_toy):
    defenses = "{none: {use: plain}, bright: {use: brightness}}"
    with pytest.raises(InputError) as caught:
        run_toy(defenses=defenses, protocol=ON_VAL)
    message = str(caught.value)
    assert "toy.yaml:" in message
    for word in ("protocol.split is val", "'bright'", "threshold", "split: test"):
        assert word in message
    assert run_toy(defenses=defenses).code == 0
