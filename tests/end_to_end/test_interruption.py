"""`kill -9` at whatever moment, then the same command again: the same bytes, and little done twice."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from killing import PHASES, Kill, Killing

TESTS = Path(__file__).resolve().parents[1]
SUITE = """
suite: interrupted
title: Interrupted
seeds: [0]
batch_size: 4
datasets: {blobs: {use: blobs}}
models: {linear: {use: linear, train: {epochs: 40, batch_size: 20, lr: 0.01}}}
attacks: {step: {use: step, eps: 0.2}, again: {use: step, eps: 0.1}}
defenses: {none: {use: plain}, bright: {use: brightness}, noisy: {use: noisy}}
grid: [{datasets: all, models: all, attacks: all, defenses: all}]
"""


ROUNDS = 5
"""A run may come to its end before the last kills that are wanted; the next one begins with them."""
needs_proc = pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="looks for processes in /proc")


def write_suite(folder: Path) -> Path:
    path = folder / "suite.yaml"
    path.write_text(SUITE)
    return path


def command(suite: Path, cache: Path, output: Path, workers: int = 2) -> list[str]:
    options = ["--plugin", "toy", "--plugin", "impatient", "--no-report", "--device", "cpu"]
    places = ["--cache", str(cache), "--output", str(output), "--workers", str(workers)]
    return [sys.executable, "-m", "benchmark.cli", "run", str(suite), *options, *places]


def environment(lingers_in: str = "") -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(TESTS), "BENCH_PLUGINS": "", "TOY_LINGERS_IN": lingers_in}


def finish(arguments: list[str]) -> None:
    done = subprocess.run(arguments, env=environment(), capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr


def kill_when(arguments: list[str], phase: str, reached, seconds: float = 120) -> None:
    """Start the command, slow in a phase, and kill it and all its workers as soon as `reached()`."""
    process = subprocess.Popen(
        arguments,
        env=environment(phase),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + seconds
    try:
        while not reached():
            assert process.poll() is None, "the run ended before it could be killed"
            assert time.monotonic() < deadline, "the run never got there"
            time.sleep(0.02)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def parts_of(cache: Path, name: str) -> bool:
    """Tell whether some unfinished task has a flushed part that holds the array `name`."""
    from safetensors import safe_open

    for part in cache.glob("partial/*/part-*.safetensors"):
        try:
            if name in safe_open(part, framework="numpy").keys():  # noqa: SIM118 - no mapping
                return True
        except Exception:  # it may be renamed away under our hands
            continue
    return False


def metrics_bytes(output: Path) -> bytes:
    return (output / "metrics.parquet").read_bytes()


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """The folder of a run that nobody interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    finish(command(write_suite(folder), folder / "cache", folder / "run", workers=1))
    return folder / "run"


@needs_proc
@pytest.mark.slow
def test_twenty_kills_of_workers_and_commands_cost_no_byte_and_little_work(tmp_path):
    """As `perf/kills.py`, which kills as often as one likes, also under Ray."""
    killing, draw = Killing(tmp_path), random.Random(3)
    wanted = Counter({Kill(phase, "worker"): 4 for phase in PHASES})
    wanted += Counter([Kill("training", "everything"), Kill("crafting", "starter"), Kill("judging", "command")])
    wanted[Kill("writing", "command")] += 1
    for _ in range(ROUNDS):
        told = killing.round(draw, wanted.elements())
        wanted -= told.kills
        assert told.tables == killing.tables, told.kills
        assert not told.excess(), told.kills
        if not wanted:
            return
    pytest.fail(f"{ROUNDS} runs came to their ends before their turn: {wanted}")


@pytest.mark.slow
def test_a_training_that_was_killed_goes_on_from_its_checkpoint(tmp_path, whole):
    suite = write_suite(tmp_path)
    cache = tmp_path / "cache"
    interrupted = command(suite, cache, tmp_path / "run")

    def reached() -> bool:
        return any(cache.glob("partial/*.work/checkpoint.pt"))

    kill_when(interrupted, "training 0.1", reached)
    assert reached(), "nothing that could be gone on with survived"
    finish(interrupted)
    for table in ("metrics", "samples", "curves", "comparisons"):
        resumed, uninterrupted = (folder / f"{table}.parquet" for folder in (tmp_path / "run", whole))
        assert resumed.read_bytes() == uninterrupted.read_bytes()


def start(arguments: list[str], lingers_in: str = "") -> subprocess.Popen[str]:
    """Start the command in a session of its own."""
    return subprocess.Popen(
        arguments,
        env=environment(lingers_in),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell starts what runs in the background with Ctrl-C ignored, and that is inherited.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def wait_until(reached, process: subprocess.Popen[str], seconds: float = 120) -> None:
    """Wait for something that the running command does."""
    deadline = time.monotonic() + seconds
    while not reached():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "the run never got there"
        time.sleep(0.02)


def forked_from(session: int) -> list[int]:
    """Return the living processes of a session that start workers or are such, the oldest first."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if "forkserver" in (entry / "cmdline").read_text() and os.getsid(int(entry.name)) == session:
                found.append(int(entry.name))
        except (OSError, ValueError):  # no process, or one that has just ended
            continue
    return sorted(found)


def lines(said: str) -> list[str]:
    return [line for line in said.splitlines() if line.strip()]


@needs_proc
@pytest.mark.slow
@pytest.mark.parametrize("reached", ["torch is imported", "workers are started"])
def test_ctrl_c_during_the_start_is_told_in_one_sentence(tmp_path, reached):
    process = start(command(write_suite(tmp_path), tmp_path / "cache", tmp_path / "run"))
    if reached == "workers are started":
        wait_until(lambda: forked_from(process.pid), process)
    else:
        wait_until(lambda: "libtorch" in Path(f"/proc/{process.pid}/maps").read_text(), process)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all processes of the run
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130, said
    # The display may have begun by then.
    told = [line for line in lines(said) if not line.startswith("21 tasks, ")]
    assert told == ["interrupted: finished work is kept; the same command goes on from here"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "word"),
    [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "terminated by SIGTERM"), (signal.SIGHUP, "the terminal")],
)
def test_a_signal_is_told_in_one_sentence_and_the_run_can_be_resumed(tmp_path, number, word):
    arguments = command(write_suite(tmp_path), tmp_path / "cache", tmp_path / "run")
    process = start(arguments, "crafting 0.1")
    wait_until(lambda: parts_of(tmp_path / "cache", "x_adv"), process)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 128 + number, said
    assert word in lines(said)[-1]
    assert "the same command goes on from here" in lines(said)[-1]
    assert "Traceback" not in said
    assert json.loads((tmp_path / "run" / "manifest.json").read_text())["exit_code"] == 128 + number
    finish(arguments)


@needs_proc
@pytest.mark.slow
def test_who_starts_workers_may_be_killed_before_there_are_any(tmp_path, whole):
    process = start(command(write_suite(tmp_path), tmp_path / "cache", tmp_path / "run"))
    wait_until(lambda: forked_from(process.pid), process)
    os.kill(forked_from(process.pid)[0], signal.SIGKILL)
    out, said = process.communicate(timeout=240)
    assert process.returncode == 0, said
    assert "9 of 9 cells done" in out
    assert metrics_bytes(tmp_path / "run") == metrics_bytes(whole)


@needs_proc
@pytest.mark.slow
def test_workers_do_not_outlive_the_command(tmp_path):
    process = start(command(write_suite(tmp_path), tmp_path / "cache", tmp_path / "run"), "crafting 0.1")
    wait_until(lambda: parts_of(tmp_path / "cache", "x_adv"), process)
    assert forked_from(process.pid)
    process.kill()
    process.communicate(timeout=60)
    deadline = time.monotonic() + 10
    while forked_from(process.pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not forked_from(process.pid)


@pytest.mark.slow
def test_a_worker_that_dies_fails_its_cells_only(tmp_path):
    suite = tmp_path / "suite.yaml"
    suite.write_text(SUITE.replace("again: {use: step, eps: 0.1}", "deadly: {use: dies, eps: 0.1}"))
    arguments = command(suite, tmp_path / "cache", tmp_path / "run")
    done = subprocess.run(arguments, env=environment(), capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 1, done.stderr
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    (failure,) = manifest["failures"]
    assert "SIGKILL" in failure["reason"]
    assert {cell["attack"] for cell in failure["cells"]} == {"deadly"}


@pytest.mark.slow
def test_two_runs_share_a_cache_without_doing_anything_twice(tmp_path):
    suite = write_suite(tmp_path)
    cache = tmp_path / "cache"
    both = [
        subprocess.Popen(
            command(suite, cache, tmp_path / f"run{n}", workers=1),
            env=environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        for n in (0, 1)
    ]
    for process in both:
        _, said = process.communicate(timeout=240)
        assert process.returncode == 0, said
    assert metrics_bytes(tmp_path / "run0") == metrics_bytes(tmp_path / "run1")
    assert not list(cache.glob("partial/*"))


@pytest.mark.slow
def test_fresh_runs_take_nothing_from_a_run_beside_them(tmp_path, whole):
    suite = write_suite(tmp_path)
    cache = tmp_path / "cache"
    finish(command(suite, cache, tmp_path / "first"))
    started = [
        subprocess.Popen(
            command(suite, cache, tmp_path / name, workers=1) + options,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name, options in (("fresh", ["--fresh"]), ("fresher", ["--fresh"]), ("plain", []))
    ]
    for name, process in zip(("fresh", "fresher", "plain"), started, strict=True):
        out, said = process.communicate(timeout=240)
        assert process.returncode == 0, said
        assert "9 of 9 cells done" in out
        assert "made again" not in said
        assert metrics_bytes(tmp_path / name) == metrics_bytes(whole)
