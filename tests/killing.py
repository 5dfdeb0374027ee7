"""Kill -9 in phases that are drawn, then the same command again: for `perf/kills.py`, and the test of a few."""

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
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

TESTS = Path(__file__).resolve().parent
SUITE = """
suite: killed
seeds: [0]
batch_size: 4
datasets: {blobs: {use: blobs}}
models: {linear: {use: linear, train: {epochs: 15, batch_size: 20, lr: 0.01}}}
attacks: {step: {use: step, eps: 0.2}, again: {use: step, eps: 0.1}, third: {use: step, eps: 0.15}}
defenses: {none: {use: plain}, bright: {use: brightness}, noisy: {use: noisy}}
grid: [{}]
"""
CHUNKS = {"training": 60, "crafting": 4, "judging": 30}
"""Images that a worker may do twice: an epoch, up to which training goes on from a checkpoint; a batch; a batch or the
few images that a defense judges once more after its fit and after the last batch, in other company, alone and in
another process."""
PHASES = (*CHUNKS, "writing")
VICTIMS = ("worker", "starter", "command", "everything")
"""A worker; the process that workers are forked from; the command alone; it and all that works for it."""
BATCHES = {phase: (phase,) for phase in CHUNKS} | {"writing": ("crafting", "judging")}
"""Phase → those whose batches a kill in it waits for: after one of two of them a worker writes."""
SKIPPED = 3
"""Fewer batches than this may begin between a kill and the batch that the next one waits for."""
LINGER = 0.3
"""Seconds that the toys sleep over each batch, after a line in the log of batches."""
WRITING = 0.1
"""A worker writes so long, at most, after a batch."""
POLL = 0.03
"""Seconds between two looks."""
STARTS = 5
"""So often Ray may give up before a run is taken for one that never starts: it gives a busy machine half a minute."""


class Kill(NamedTuple):
    """What is killed, and in the middle of what."""

    phase: str
    victim: str


class Begun(NamedTuple):
    """A line of the log of batches."""

    phase: str
    process: int
    images: int


@dataclass
class Round:
    """A run that came to its end in spite of all.

    Attributes:
        kills: how often each was done.
        tables: their bytes by name, costs excepted.
        again: phase → images that were begun once more.
        allowed: so many may have been, since as many workers were killed in it.
    """

    kills: Counter[Kill] = field(default_factory=Counter)
    tables: dict[str, bytes] = field(default_factory=dict)
    again: dict[str, int] = field(default_factory=dict)
    allowed: Counter[str] = field(default_factory=Counter)

    def excess(self) -> dict[str, int]:
        """Return by phase how many more images were begun again than may have been."""
        return {phase: more for phase in CHUNKS if (more := self.again[phase] - self.allowed[phase]) > 0}


class Killing:
    """Runs of one suite, each in a folder of its own with an empty cache.

    A kill waits for a batch of its phase that begins after the kill before, and comes while that is slept over, to the
    worker that began it or to who works with it; one of a worker that writes comes just after that, one of a command
    that writes once all tasks have ended.

    Args:
        folder: of all these runs.
        executor: `local` or `ray`.
    """

    def __init__(self, folder: Path, executor: str = "local", workers: int = 2) -> None:
        self.folder, self.executor, self.workers = folder, executor, workers
        self._commands: set[int] = set()
        place, last = self._fresh("whole"), (0.0, 0)
        process = self._start(place, "")
        while process.poll() is None:
            time.sleep(POLL)
            if (ended := len(_ended(place))) > last[1]:
                last = time.monotonic(), ended
        assert process.returncode == 0, (place / "said.txt").read_text()
        self.at_tables = time.monotonic() - last[0]
        """So many seconds the command is at work after the last task."""
        self.tables = _tables(place)
        self.images = self._images(place)
        self.tasks = len(_ended(place))

    def kinds(self, victims: Iterable[str] = VICTIMS) -> list[Kill]:
        """Return the kills that there are: Ray has nobody who starts workers, and tables are the command's own work."""
        starters = {"starter"} if self.executor == "ray" else set()
        return [
            Kill(phase, victim)
            for phase in PHASES
            for victim in victims
            if victim not in starters and not (phase == "writing" and victim == "starter")
        ]

    def round(self, draw: random.Random, wanted: Iterable[Kill]) -> Round:
        """Run the suite, kill what is wanted as its phases come, and give the command again until it ends.

        What the run came to its end without is not in the kills of the answer.

        Raises:
            AssertionError: it ended otherwise than by a kill, or by coming to its end.
        """
        wanted = list(wanted)
        draw.shuffle(wanted)
        at_tables = [kill for kill in wanted if kill.phase == "writing" and kill.victim != "worker"]
        waiting = [kill for kill in wanted if kill not in at_tables]
        told, place, process, in_vain, heard, skipped = Round(), self._fresh("killed"), None, 0, 0, 0
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
                process = self._start(place, f"training crafting judging {LINGER}")
            done = len(_ended(place)) == self.tasks
            begun = self._begun(place)[heard:]
            fitting = [kill for kill in waiting if begun and begun[-1].phase in BATCHES[kill.phase]]
            if done and at_tables:
                time.sleep(draw.uniform(0, 0.8 * self.at_tables))
                self._kill(process, place, at_tables.pop(), None, told)
            elif not done and fitting and len(begun) > skipped:
                kill = fitting[0]
                waiting.remove(kill)
                late = draw.uniform(LINGER, LINGER + WRITING) if kill.phase == "writing" else draw.uniform(0, LINGER)
                time.sleep(late)
                self._kill(process, place, kill, begun[-1], told)
                heard, skipped = len(self._begun(place)), draw.randrange(SKIPPED)
            time.sleep(POLL)
        told.tables = _tables(place)
        again = self._images(place)
        told.again = {phase: again[phase] - self.images[phase] for phase in CHUNKS}
        return told

    def _kill(
        self, process: subprocess.Popen[bytes], place: Path, kill: Kill, batch: Begun | None, told: Round
    ) -> None:
        """Kill what is wanted, unless the run has come to its end; what counts is the phase that it was in."""
        workers = self._workers(process.pid)
        if process.poll() is not None:
            return
        if kill.victim == "worker":
            victims = [batch.process] if batch is not None and batch.process in workers else []
        elif kill.victim == "starter":
            there = _processes()
            victims = [number for number in workers[:1] if number in there and there[number][0] == process.pid]
        else:  # beside it what works for it in sessions of its own, as Ray's processes do
            victims = [process.pid, *(_descendants(process.pid, _processes()) if kill.victim == "everything" else [])]
        killed = [_killed(number) for number in victims]
        if not any(killed) or (process.pid in victims and process.wait() != -signal.SIGKILL):
            return
        last = {line.process: line for line in self._begun(place)}
        phase = kill.phase
        if batch is not None and phase != "writing":
            phase = last[batch.process].phase
        told.kills[Kill(phase, kill.victim)] += 1
        for number in workers if victims != [batch and batch.process] else victims:
            if number in last:
                told.allowed[last[number].phase] += CHUNKS[last[number].phase]

    def _begun(self, place: Path) -> list[Begun]:
        """Return the batches that tasks have begun, those twice that were begun twice."""
        lines = (line.split() for line in (place / "begun.txt").read_text().split("\n")[:-1])
        begun = (Begun(phase, int(process), int(images)) for phase, process, images in lines)
        # A command tries the networks when it plans.
        return [line for line in begun if line.phase in CHUNKS and line.process not in self._commands]

    def _images(self, place: Path) -> Counter[str]:
        counted: Counter[str] = Counter()
        for line in self._begun(place):
            counted[line.phase] += line.images
        return counted

    def _workers(self, command: int) -> list[int]:
        """Return the processes that work for the command; under `local` the one that starts the others comes first."""
        there = _processes()
        if self.executor == "ray":
            marked = [number for number in _descendants(command, there) if "ray::" in _told(number, "cmdline")]
            starters = []
        else:  # also those whom the death of who started them has left without a parent
            of_session = sorted(number for number, (_, session) in there.items() if session == command)
            marked = [number for number in of_session if "forkserver" in _told(number, "cmdline")]
            starters = [number for number in marked if there[number][0] == command]
        # Who judges for a worker is a child of it and has its name.
        helping = {number for number in marked if there[number][0] in {*marked} - {*starters}}
        return [*starters, *(number for number in marked if number not in helping and number not in starters)]

    def _fresh(self, name: str) -> Path:
        place = self.folder / name
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        (place / "suite.yaml").write_text(SUITE)
        (place / "said.txt").touch()
        (place / "begun.txt").touch()
        return place

    def _start(self, place: Path, lingers_in: str) -> subprocess.Popen[bytes]:
        plugins = ["--plugin", "toy", "--plugin", "impatient"]
        places = ["--cache", str(place / "cache"), "--output", str(place / "run"), "--no-report", "--device", "cpu"]
        executor = ["--executor", self.executor, "--workers", str(self.workers), "--retries", "1000"]
        told = {"TOY_LINGERS_IN": lingers_in, "TOY_TELLS": str(place / "begun.txt")}
        with open(place / "said.txt", "ab") as said:
            process = subprocess.Popen(
                [sys.executable, "-m", "benchmark", "run", "suite.yaml", *plugins, *places, *executor],
                cwd=place,
                env={**os.environ, "PYTHONPATH": str(TESTS), "BENCH_PLUGINS": "ray", **told},
                stdout=said,
                stderr=said,
                start_new_session=True,
            )
        self._commands.add(process.pid)
        return process


def _tables(place: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (place / "run").glob("*.parquet") if path.name != "costs.parquet"}


def _ended(place: Path) -> set[str]:
    """Return the tasks that have ended, in whichever try."""
    journal = place / "run" / "journal.jsonl"
    ended = set()
    for text in journal.read_text().splitlines() if journal.exists() else []:
        with contextlib.suppress(json.JSONDecodeError):  # it is being written, or was when a kill met the command
            line = json.loads(text)
            if line["event"].startswith("task"):
                ended.add(line["key"])
    return ended


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


def _processes() -> dict[int, tuple[int, int]]:
    """Return the parent and the session of each process."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and (stat := _told(int(entry.name), "stat")):
            _, parent, _, session = stat.rpartition(")")[2].split()[:4]
            found[int(entry.name)] = int(parent), int(session)
    return found


def _descendants(process: int, there: Mapping[int, tuple[int, int]]) -> list[int]:
    """Return a process's children and theirs, those before these."""
    found = sorted(number for number, (parent, _) in there.items() if parent == process)
    for one in found:
        found += sorted(number for number, (parent, _) in there.items() if parent == one)
    return found
