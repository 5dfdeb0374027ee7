"""`bench plan` says what a suite takes on this machine, and refuses what cannot fit."""

from __future__ import annotations

import json
import sys

import pytest

from benchmark.wording import size_text

VAST = """
import numpy as np
import torch
from torch import nn
from toy import Blobs, Linear
from benchmark import Split, hookimpl

class Endless(Split):
    class_names = ("a", "b")
    image_shape = (1, 256, 256)

    def __init__(self, count):
        self.labels = np.arange(count) % 2

    def images(self, indices):
        raise AssertionError("a plan reads no images")

class Vast(Blobs):
    def fingerprint(self):
        return f"vast {self.options.count}"

    def load(self, split):
        return Endless(self.options.count)

class Wide(Linear):
    def network(self, num_classes, image_shape):
        return nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2))

@hookimpl
def register_datasets(register):
    register("vast", Vast)

@hookimpl
def register_models(register):
    register("wide", Wide)
"""
SUITE = """
suite: vast
batch_size: %d
datasets: {many: {use: vast, count: %d}}
models: {wide: {use: wide}}
attacks: {step: {use: step, eps: 0.1}}
defenses: {none: {use: plain}}
grid: [{}]
"""


@pytest.fixture
def plan(tmp_path, monkeypatch, capsys):
    """Return a function that plans a suite of so many large images: exit code, what was said."""

    def run(count: int, *options: str, batch_size: int = 16):
        from benchmark.cli import main

        monkeypatch.chdir(tmp_path)
        monkeypatch.syspath_prepend(tmp_path)
        (tmp_path / "vast.py").write_text(VAST)
        (tmp_path / "vast.yaml").write_text(SUITE % (batch_size, count))
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main(["plan", "vast.yaml", "--plugin", "toy", "--plugin", "vast", "--cache", "cache", *options])
        out, err = capsys.readouterr()
        return stop.value.code, out + err

    return run


def test_time_disk_and_memory_are_said_before_any_work(plan):
    code, said = plan(200, "--json")
    assert code == 0, said
    facts = json.loads(said)
    image = 256 * 256 * 4
    assert 200 * image < facts["disk_bytes"] < 1.1 * 200 * image  # adversarial images are nearly all of it
    assert facts["tasks_without_size"] == 0
    held = 16 * 9 * image * 2  # a batch, its hidden states and their gradients
    assert held < facts["worker_memory_bytes"] < held + 1024**3
    assert facts["seconds_on_one_core"] > 0
    largest, said = facts["largest_batch_size"], plan(200)[1]
    assert f"fit into {size_text(facts['memory_bytes'])}" in said
    assert f"or one with batches of {largest} (`batch_size`)" in said
    code, said = plan(200, "--json", batch_size=largest)
    assert (code, json.loads(said)["largest_batch_size"]) == (0, largest), "it fits"
    assert "or one with batches of" not in plan(200, batch_size=largest)[1], "there is no larger one"
    code, said = plan(200, batch_size=largest + 1)
    assert (code, f"Lower the suite's `batch_size` to {largest}, or" in said) == (2, True), "one more does not fit"
    code, said = plan(200, batch_size=4 * largest)
    assert (code, f"Lower the suite's `batch_size` to {largest}, or" in said) == (2, True), said


def test_what_cannot_fit_is_refused_with_the_option_that_helps(plan):
    code, said = plan(12 * 10**5)
    assert code == 2
    assert len(said.splitlines()) == 1, said
    assert said.startswith("error: what is to be made will take about 293 GiB in the cache")
    assert "--cache" in said
    assert "`limit`" in said
    code, said = plan(200, batch_size=10**6)
    assert code == 2
    assert "Lower the suite's `batch_size` to " in said


IDLE = """
import time
import torch
from torch import nn
from toy import Blobs, Linear
from benchmark import hookimpl

BUILT, THREADS = [], set()

class Waiting(nn.Module):
    def forward(self, x):
        THREADS.add(torch.get_num_threads())
        time.sleep(0.1)
        return x

class Idle(Linear):
    def network(self, num_classes, image_shape):
        BUILT.append(num_classes)
        return nn.Sequential(Waiting(), super().network(num_classes, image_shape))

class Others(Blobs):
    def fingerprint(self):
        return "others"

@hookimpl
def register_datasets(register):
    register("others", Others)

@hookimpl
def register_models(register):
    register("idle", Idle)
"""


def test_a_network_is_timed_once_by_what_it_takes_a_core(tmp_path, monkeypatch, capsys):
    """Beside other work the same plan was told to take 4.6 times as long, and a network was built for each data set."""
    from benchmark.cli import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "idle.py").write_text(IDLE)
    suite = SUITE % (16, 0) + "threads: 3\n"
    suite = suite.replace("{many: {use: vast, count: 0}}", "{one: {use: blobs}, two: {use: others}}")
    (tmp_path / "idle.yaml").write_text(suite.replace("{use: wide}", "{use: idle}"))
    with pytest.raises(SystemExit) as stop:
        main(["plan", "idle.yaml", "--plugin", "toy", "--plugin", "idle", "--cache", "cache", "--json"])
    out, err = capsys.readouterr()
    assert stop.value.code == 0, err
    facts = json.loads(out)
    slept = 0.1 / 32 * facts["forward"]  # by the clock, of batches of 32
    assert 0 < facts["seconds_on_one_core"] < slept / 2
    idle = sys.modules["idle"]
    assert len(idle.BUILT) == 2, "once to see that it fits, once to time it, of two data sets of one form"
    assert list(idle.THREADS) == [3], "as many threads as a task has"
