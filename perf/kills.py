"""Kill -9 at seeded moments, then the same command again: the same bytes, and at most one chunk done twice per kill.

python perf/kills.py [--kills 200] [--executor local] [--workers 2] [--seed 0]

A suite of toys is run, slowed down in training, crafting or judging, and a worker, the command, or its whole group is
killed at a moment drawn from the seed, also while tables are written. When it has come to its end, metrics are compared
with those of a run that nobody killed, and it begins again with an empty cache. It ends with 1 where anything differs.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent / "tests"
SUITE = """
suite: killed
seeds: [0]
batch_size: 4
datasets: {blobs: {use: blobs}}
models: {linear: {use: linear, train: {epochs: 10, batch_size: 20, lr: 0.01}}}
attacks: {step: {use: step, eps: 0.2, log: crafted.txt}, again: {use: step, eps: 0.1, log: crafted.txt}}
defenses: {none: {use: plain}, bright: {use: brightness}, noisy: {use: noisy}}
grid: [{}]
"""
PHASES = ("training", "crafting", "judging", "writing")
TARGETS = ("worker", "command", "group")
CHUNK = 8
"""Images that may be crafted twice per kill: those of a batch, and of the one before that was not on the disk yet."""


def command(folder: Path, asked: argparse.Namespace) -> list[str]:
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
    places = ["--cache", str(folder / "cache"), "--output", str(folder / "run"), "--no-report", "--device", "cpu"]
    return [*run, *places, "--executor", asked.executor, "--workers", str(asked.workers), "--retries", "3"]


def environment(phase: str = "") -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(TESTS), "BENCH_PLUGINS": "ray", "TOY_LINGERS_IN": phase}


def start(folder: Path, asked: argparse.Namespace, phase: str) -> subprocess.Popen[bytes]:
    with open(folder / "said.txt", "ab") as said:
        return subprocess.Popen(
            command(folder, asked), cwd=folder, env=environment(phase), stdout=said, stderr=said, start_new_session=True
        )


def crafted(folder: Path) -> int:
    """Return how many images attacks have been at."""
    log = folder / "crafted.txt"
    return sum(int(line.split()[1]) for line in log.read_text().splitlines()) if log.exists() else 0


def ended_tasks(folder: Path) -> int:
    """Return how many tasks have ended, in all tries."""
    journal = folder / "run" / "journal.jsonl"
    lines = journal.read_text().splitlines() if journal.exists() else []
    keys = {json.loads(line).get("key") for line in lines if line.startswith('{"event": "task') and line.endswith("}")}
    return len(keys - {None})


def workers_of(session: int) -> list[int]:
    """Return the processes of a session that work for its leader; those of Ray have sessions of their own."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            told = (entry / "cmdline").read_text()
            if ("forkserver" in told and os.getsid(int(entry.name)) == session) or told.startswith("ray::"):
                found.append(int(entry.name))
        except (OSError, ValueError):
            continue
    return sorted(found)


def kill(process: subprocess.Popen[bytes], target: str, draw: random.Random) -> bool:
    """Kill what was drawn; tell whether there was something to kill."""
    if target == "worker":
        workers = workers_of(process.pid)
        if not workers:
            return False
        os.kill(draw.choice(workers), signal.SIGKILL)
    elif process.poll() is None:
        (os.killpg if target == "group" else os.kill)(process.pid, signal.SIGKILL)
        process.wait()
    return True


def fresh(parent: Path, name: str) -> Path:
    folder = parent / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / "suite.yaml").write_text(SUITE)
    return folder


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--executor", default="local")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    draw, done, wrong, rounds = random.Random(asked.seed), Counter[str](), 0, 0
    with tempfile.TemporaryDirectory() as place:
        parent = Path(place)
        whole = fresh(parent, "whole")
        assert start(whole, asked, "").wait() == 0, (whole / "said.txt").read_text()
        expected, passes, tasks = (whole / "run" / "metrics.parquet").read_bytes(), crafted(whole), ended_tasks(whole)
        while sum(done.values()) < asked.kills:
            folder, rounds, kills = fresh(parent, "killed"), rounds + 1, 0
            process = None
            while True:
                phase, target, delay = draw.choice(PHASES), draw.choice(TARGETS), draw.uniform(0, 2)
                if process is None or process.poll() is not None:
                    process = start(folder, asked, phase)
                wanted = sum(done.values()) < asked.kills and kills < 8
                before = ended_tasks(folder)
                while process.poll() is None:
                    begun = any(folder.glob("cache/partial/*")) or ended_tasks(folder) > before
                    if wanted and (ended_tasks(folder) >= tasks if phase == "writing" else begun):
                        break
                    time.sleep(0.05)
                if wanted and process.poll() is None:
                    time.sleep(delay / (4 if phase == "writing" else 1))
                    if process.poll() is None and kill(process, target, draw):
                        done[f"{phase} {target}"] += 1
                        kills += 1
                    continue
                if process.poll() == 0:
                    break
                if process.poll() not in (0, -signal.SIGKILL):
                    print((folder / "said.txt").read_text()[-3000:])
                    return 1
            same = (folder / "run" / "metrics.parquet").read_bytes() == expected
            again = crafted(folder) - passes
            wrong += not same or again > CHUNK * kills
            print(
                f"{kills} kills: {'the same bytes' if same else 'OTHER BYTES'}, {again} of {passes} images again",
                flush=True,
            )
    print(
        f"{sum(done.values())} kills in {rounds} rounds, {wrong} rounds wrong: "
        + ", ".join(f"{n} {w}" for w, n in sorted(done.items()))
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
