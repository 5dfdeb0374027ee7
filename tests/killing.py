"""Kill -9 at moments that are drawn, then the same command again: for `perf/kills.py`, and the test of a few."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

TESTS = Path(__file__).resolve().parent
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
CHUNK = 8
"""Images that a worker may craft twice: those of a batch, and of the one before that was not on the disk yet."""
EARLY = 0.1
"""So many commands are killed at whatever moment of their start; the others once they are at work."""
STARTER = 4
"""Of so many kills of workers one is of the process that starts them."""
STARTS = 5
"""So often Ray may give up before a run is taken for one that never starts: it gives a busy machine half a minute."""

Target = Literal["worker", "command", "everything"]


@dataclass
class Round:
    """A run that came to its end in spite of all.

    Attributes:
        kills: what was killed, in the middle of which kinds of tasks → how often.
        tables: their bytes by name, costs excepted.
        again: images whose crafting was begun once more.
        allowed: so many may have been, since as many workers were killed.
    """

    kills: Counter[str] = field(default_factory=Counter)
    tables: dict[str, bytes] = field(default_factory=dict)
    again: int = 0
    allowed: int = 0


class Killing:
    """Runs of one suite, each in a folder of its own with an empty cache.

    Args:
        folder: of all these runs.
        executor: `local` or `ray`.
        commands: share of the kills that meet the command, alone or with all of its processes, while tasks are at work.
            The next start costs far more than that of a worker.
        at_tables: so often a run is killed while its tables are written.
    """

    def __init__(
        self, folder: Path, executor: str = "local", workers: int = 2, commands: float = 0.2, at_tables: int = 2
    ) -> None:
        self.folder, self.executor, self.workers = folder, executor, workers
        self.commands, self.at_tables = commands, at_tables
        place = self._fresh("whole")
        process = self._start(place, "")
        assert process.wait() == 0, (place / "said.txt").read_text()
        self.tables = _tables(place)
        self.images = _crafted(place)
        self.kinds = {line["key"]: line["kind"] for line in _ended(place)}

    def round(self, draw: random.Random, kills: int) -> Round:
        """Run the suite, kill some of it so often at drawn moments, and give the command again until it ends.

        Raises:
            AssertionError: it ended otherwise than by a kill, or by coming to its end.
        """
        told, place, process = Round(), self._fresh("killed"), None
        early, since, in_vain = False, 0.0, 0
        while True:
            if process is None or process.poll() is not None:
                code = -signal.SIGKILL if process is None else process.returncode
                if code == 0:
                    break
                said = (place / "said.txt").read_text()[-5000:]
                if code != -signal.SIGKILL:
                    in_vain += 1
                    assert in_vain < STARTS, said
                    assert said.endswith("Try --executor local.\n"), said
                process = self._start(place, "training crafting judging 0.2")
                early, since = draw.random() < EARLY, time.time()
            if told.kills.total() < kills and (early or self._is_at_work(place, since, told)):
                time.sleep(draw.uniform(0, 5 if early else 0.7))
                self._kill(process, place, draw, told)
                early, since = False, time.time()
            time.sleep(0.1)
        told.tables = _tables(place)
        told.again = _crafted(place) - self.images
        return told

    def _kill(self, process: subprocess.Popen[bytes], place: Path, draw: random.Random, told: Round) -> None:
        """Kill what is drawn, unless the run has come to its end."""
        shares = (1 - self.commands, self.commands / 2, self.commands / 2)
        target: Target = draw.choices(["worker", "command", "everything"], shares)[0]
        ended = {line["key"] for line in _ended(place)}
        kinds = {self.kinds[key] for path in place.glob("cache/partial/*") if (key := path.name[:64]) in self.kinds}
        if len(ended) == len(self.kinds):
            kinds = {"tables"}  # no worker is at work any more
            target = draw.choice(["command", "everything"])
        workers = self._workers(process.pid)
        if process.poll() is not None or (target == "worker" and not workers):
            return
        if target == "worker":
            starter, *others = workers
            which = draw.choice(others) if others and draw.randrange(STARTER) else starter
            if not _killed(which):
                return
        else:
            # Beside it what works for it in sessions of its own, as Ray's processes do.
            others = _descendants(process.pid) if target == "everything" else []
            for number in (process.pid, *others):
                _killed(number)
            if process.wait() != -signal.SIGKILL:
                return
        told.kills[f"{target} in {'+'.join(sorted(kinds)) or 'between'}"] += 1
        told.allowed += CHUNK * (1 if target == "worker" and which != workers[0] else self.workers)

    def _workers(self, command: int) -> list[int]:
        """Return the processes that work for the command; under `local` the one that starts the others comes first."""
        mark = "ray::" if self.executor == "ray" else "forkserver"
        return [number for number in _descendants(command) if mark in _told(number, "cmdline")]

    def _is_at_work(self, place: Path, since: float, told: Round) -> bool:
        """Tell whether a task has kept something since the last kill, or tables are being written."""
        if len(_ended(place)) == len(self.kinds):
            return sum(count for what, count in told.kills.items() if what.endswith("tables")) < self.at_tables
        try:
            return any(path.stat().st_mtime > since for path in place.glob("cache/partial/*"))
        except OSError:  # it has just been published
            return False

    def _fresh(self, name: str) -> Path:
        place = self.folder / name
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        (place / "suite.yaml").write_text(SUITE)
        (place / "said.txt").touch()
        return place

    def _start(self, place: Path, lingers_in: str) -> subprocess.Popen[bytes]:
        plugins = ["--plugin", "toy", "--plugin", "impatient"]
        places = ["--cache", str(place / "cache"), "--output", str(place / "run"), "--no-report", "--device", "cpu"]
        executor = ["--executor", self.executor, "--workers", str(self.workers), "--retries", "1000"]
        with open(place / "said.txt", "ab") as said:
            return subprocess.Popen(
                [sys.executable, "-m", "benchmark", "run", "suite.yaml", *plugins, *places, *executor],
                cwd=place,
                env={**os.environ, "PYTHONPATH": str(TESTS), "BENCH_PLUGINS": "ray", "TOY_LINGERS_IN": lingers_in},
                stdout=said,
                stderr=said,
                start_new_session=True,
            )


def _tables(place: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (place / "run").glob("*.parquet") if path.name != "costs.parquet"}


def _crafted(place: Path) -> int:
    """Return how many images attacks have begun with, those counted twice that were begun twice."""
    log = place / "crafted.txt"
    return sum(int(line.split()[1]) for line in log.read_text().splitlines()) if log.exists() else 0


def _ended(place: Path) -> list[dict[str, str]]:
    """Return a line of the journal per task that has ended, in whichever try."""
    journal = place / "run" / "journal.jsonl"
    ended = {}
    for text in journal.read_text().splitlines() if journal.exists() else []:
        with contextlib.suppress(json.JSONDecodeError):  # it is being written, or was when a kill met the command
            line = json.loads(text)
            if line["event"].startswith("task"):
                ended[line["key"]] = line
    return list(ended.values())


def _killed(process: int) -> bool:
    """Kill a process; False where it has just ended by itself."""
    try:
        os.kill(process, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def _told(process: int, what: str) -> str:
    try:
        return Path(f"/proc/{process}/{what}").read_text()
    except OSError:  # it has just ended
        return ""


def _descendants(process: int) -> list[int]:
    """Return a process's children and theirs, those before these."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and (stat := _told(int(entry.name), "stat")):
            children.setdefault(int(stat.rpartition(")")[2].split()[1]), []).append(int(entry.name))
    found = sorted(children.get(process, []))
    for one in found:
        found += sorted(children.get(one, []))
    return found
