"""`--executor ray`: the bytes of `local`, whatever dies; what is wrong is told in one message."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmark import ExecutorError

TESTS = Path(__file__).resolve().parents[3] / "tests"
SUITE = """
suite: elsewhere
seeds: [0]
batch_size: 4
datasets: {blobs: {use: blobs}}
models: {linear: {use: linear}}
attacks: {step: {use: step, eps: 0.2}, again: {use: step, eps: 0.1}}
defenses: {none: {use: plain}, bright: {use: brightness}, noisy: {use: noisy}}
grid: [{}]
"""
needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed (extra `ray`)")


def command(folder: Path, name: str, *options: str) -> list[str]:
    (folder / "suite.yaml").write_text(SUITE)
    places = ["--cache", str(folder / f"cache-{name}"), "--output", str(folder / name)]
    run = [
        sys.executable,
        "-m",
        "benchmark",
        "run",
        str(folder / "suite.yaml"),
        "--plugin",
        "toy",
        "--plugin",
        "impatient",
    ]
    return [*run, "--no-report", "--device", "cpu", *places, *options]


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(TESTS), "BENCH_PLUGINS": "ray", "RAY_ADDRESS": "", **more}


def finish(arguments: list[str], **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        arguments,
        env=environment(**more),
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
        start_new_session=True,
    )


def wait_until(reached, process: subprocess.Popen[str], seconds: float = 200) -> None:
    deadline = time.monotonic() + seconds
    while not reached():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "the run never got there"
        time.sleep(0.05)


def start(arguments: list[str], **more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        arguments,
        env=environment(**more),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--executor", "ray"], "the package ray is not installed. Install it (`pip install 'unmask-bench[ray]'`)"),
        (["--executor", "ray", "--executor-set", "memroy=2"], "Did you mean 'memory'?"),
        (["--executor", "ray", "--executor-set", "memory=-2"], "memory: Input should be greater than 0"),
        (["--executor", "ray", "--executor-set", "memory"], "write NAME=VALUE"),
        (["--ray-address", "auto"], "unknown option of the executor 'local': 'address'"),
    ],
)
def test_what_cannot_be_is_told_in_one_message(tmp_path, monkeypatch, capsys, options, told):
    from benchmark.cli import main

    monkeypatch.setitem(sys.modules, "ray", None)  # as if it were not installed
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main([*command(tmp_path, "run")[3:], *options])
    said = capsys.readouterr().err
    assert stop.value.code == 2, said
    assert said.startswith("error: ")
    assert told in said
    assert len(said.splitlines()) == 1
    assert not (tmp_path / "run").exists()


@needs_ray
@pytest.mark.slow
@pytest.mark.parametrize("address", ["127.0.0.1:9", "nonsense", "ray://127.0.0.1:9"])
def test_an_address_where_nobody_is(tmp_path, address):
    done = finish(command(tmp_path, "run", "--executor", "ray", "--ray-address", address))
    assert done.returncode == 2, done.stderr
    (said,) = (line for line in done.stderr.splitlines() if line.startswith("error: "))
    assert f"no Ray cluster can be joined at {address!r}" in said
    assert "Traceback" not in done.stderr


@needs_ray
@pytest.mark.parametrize(
    ("gpus", "visible", "device"),
    [
        ([], None, "cpu"),
        ([1], None, "cuda:1"),
        (["3"], "2,3", "cuda:1"),
        ([2], "2, 3", "cuda:0"),
        (["GPU-b7"], "GPU-a1,GPU-b7", "cuda:1"),
    ],
)
def test_a_gpu_has_the_number_that_torch_knows_it_by(gpus, visible, device):
    from bench_ray.work import device_of

    assert device_of(gpus, visible) == device


@needs_ray
@pytest.mark.parametrize(("gpus", "visible"), [(["GPU-b7"], None), (["GPU-b7"], "GPU-a1"), ([3], "0,1")])
def test_a_gpu_that_the_process_does_not_see_is_no_device(gpus, visible):
    from bench_ray.work import device_of

    with pytest.raises(ExecutorError, match="does not name it"):
        device_of(gpus, visible)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> bytes:
    """The metrics of the same suite under `local`."""
    folder = tmp_path_factory.mktemp("whole")
    done = finish(command(folder, "run", "--workers", "1"))
    assert done.returncode == 0, done.stderr
    return (folder / "run" / "metrics.parquet").read_bytes()


@needs_ray
@pytest.mark.slow
def test_a_ray_of_its_own_ctrl_c_and_the_same_bytes(tmp_path, whole):
    arguments = command(tmp_path, "run", "--executor", "ray", "--workers", "2")
    process = start(arguments, TOY_LINGERS_IN="crafting 0.1")
    wait_until(lambda: any((tmp_path / "cache-run").glob("partial/*/part-*")), process)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all processes of the run
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert said.splitlines()[-1] == "interrupted: finished work is kept; the same command goes on from here"
    assert "Traceback" not in said
    done = finish(arguments)
    assert done.returncode == 0, done.stderr
    assert "9 of 9 cells done" in done.stdout
    assert (tmp_path / "run" / "metrics.parquet").read_bytes() == whole


@needs_ray
@pytest.mark.slow
def test_a_worker_that_is_killed_costs_neither_a_byte_nor_a_word(tmp_path, whole):
    arguments = command(tmp_path, "run", "--executor", "ray", "--workers", "2")
    begun = tmp_path / "begun.txt"
    begun.touch()
    process = start(arguments, TOY_LINGERS_IN="crafting 0.3", TOY_TELLS=str(begun))

    def at_work() -> set[int]:
        lines = [line.split() for line in begun.read_text().splitlines() if line.startswith("crafting")]
        return {int(number) for _, number, _ in lines}

    wait_until(at_work, process)
    killed = at_work()
    for number in killed:
        os.kill(number, signal.SIGKILL)
    out, said = process.communicate(timeout=200)
    assert process.returncode == 0, said
    assert (tmp_path / "run" / "metrics.parquet").read_bytes() == whole
    assert at_work() - killed, "another one took over"
    assert out == f"9 of 9 cells done; results in {tmp_path / 'run'}\n"
    ours = re.compile(r"21 tasks, |  … |\[\d+/\d+\] |warning: Accuracy 1\.0")
    assert [line for line in said.splitlines() if not ours.match(line)] == []


@needs_ray
@pytest.mark.slow
def test_what_a_plugin_leaves_running_reaches_no_other_task_and_costs_none(tmp_path):
    """Not even where Ray gives no task to a second worker."""
    arguments = command(tmp_path, "run", "--executor", "ray", "--workers", "1", "--executor-set", "attempts=0")
    ghosts = "".join(f", {where}: {{use: vandal, where: {where}, what: ghost}}" for where in ("fit", "save", "judge"))
    suite = (tmp_path / "suite.yaml").read_text()
    (tmp_path / "suite.yaml").write_text(suite.replace("{use: noisy}", "{use: noisy}" + ghosts))
    done = finish([*arguments, "--plugin", "hostile"])
    assert done.returncode == 1, done.stderr
    assert "9 of 18 cells done" in done.stdout
    failed = [line for line in done.stdout.splitlines() if line.startswith("  failed")]
    assert failed
    assert all("ghost" in line for line in failed), failed


CLUSTER = """
import sys
from ray.cluster_utils import Cluster

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False,
    "object_store_memory": 100 * 1024**2, "_system_config": {"health_check_period_ms": 500,
    "health_check_failure_threshold": 3, "health_check_initial_delay_ms": 500}})
second = cluster.add_node(num_cpus=1, object_store_memory=100 * 1024**2)
cluster.wait_for_nodes()
print(cluster.address, flush=True)
for line in sys.stdin:
    if line.strip() == "kill":
        cluster.remove_node(second, allow_graceful=False)
        print("killed", flush=True)
    else:
        break
cluster.shutdown()
"""


@needs_ray
@pytest.mark.slow
def test_a_node_that_is_killed_is_retried_elsewhere_and_plugins_go_along(tmp_path, whole):
    nowhere = {**os.environ, "PYTHONPATH": ""}  # nodes do not know of the plugins' folder
    cluster = subprocess.Popen(
        [sys.executable, "-c", CLUSTER],
        env=nowhere,
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    assert cluster.stdin is not None
    assert cluster.stdout is not None
    try:
        address = cluster.stdout.readline().strip()
        arguments = command(tmp_path, "run", "--executor", "ray", "--ray-address", address)
        process = start([*arguments, "--executor-set", "memory=0.5"], TOY_LINGERS_IN="crafting 0.1")
        wait_until(lambda: len(list((tmp_path / "cache-run").glob("partial/*/part-*"))) > 1, process)
        cluster.stdin.write("kill\n")
        cluster.stdin.flush()
        assert cluster.stdout.readline().strip() == "killed"
        out, said = process.communicate(timeout=300)
        assert process.returncode == 0, said
        assert out == f"9 of 9 cells done; results in {tmp_path / 'run'}\n"
        assert "raylet" not in said.lower()
        assert (tmp_path / "run" / "metrics.parquet").read_bytes() == whole
    finally:
        cluster.stdin.close()
        try:
            cluster.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(cluster.pid, signal.SIGKILL)
