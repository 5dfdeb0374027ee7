"""What a worker does: every kind of task, from its plain specification to a published artifact."""

from __future__ import annotations

import contextlib
import resource
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmark.errors import BenchError, StorageError, TaskError
from benchmark.files import remove
from benchmark.isolation.bystander import Bystander
from benchmark.isolation.process import IsolationError, is_lasting, isolated
from benchmark.model import passes
from benchmark.plan.task import Task, TaskKind
from benchmark.plugins import Registry
from benchmark.progress import Progress
from benchmark.randomness import Rng
from benchmark.store.artifact import DamagedArtifactError
from benchmark.store.store import Building, Store
from benchmark.tasks import examining, fitting, images, judging, looking, verifying
from benchmark.tasks.elsewhere import judged_elsewhere
from benchmark.tasks.workshop import Workshop

Work = Callable[[Workshop, Task, Building, Progress], int]
"""What is done in a task: writes into the building, and returns how many images it was about."""


@dataclass(frozen=True)
class Kind:
    """A kind of task.

    Attributes:
        who: whose code it runs.
        work: what is done.
        whole: whether it begins anew where it was interrupted, save for checkpoints.
    """

    who: str
    work: Work
    whole: bool = False


KINDS: dict[TaskKind, Kind] = {
    "train": Kind("the model", fitting.train, whole=True),
    "artifact": Kind("the shared artifact", fitting.artifact, whole=True),
    "assess": Kind("the shared artifact", fitting.assess),
    "fit": Kind("the defense", fitting.fit, whole=True),
    "craft": Kind("the attack", images.craft),
    "predict": Kind("the model", images.predict),
    "observe": Kind("what observes", images.observe),
    "judge": Kind("the defense", judging.judge),
    "threshold": Kind("the host", judging.threshold),
    "look": Kind("the network looked at", looking.look_at),
    "separate": Kind("the model", looking.separate),
    "examine": Kind("the attack", examining.examine, whole=True),
    "verify": Kind("the attack", verifying.verify),
}


class Worker:
    """Runs tasks in this process.

    Args:
        store: where artifacts are read and published.
        registry: all plugins.
        device: where networks and batches go.
        threads: torch threads; fixed for a run, since sums in another order differ in their last bits.
        tasks: all tasks of the plan by key, to make a defense from the tasks it was made by.
        fresh: do a task even if its artifact is there.
    """

    def __init__(
        self,
        store: Store,
        registry: Registry,
        device: torch.device,
        threads: int,
        tasks: dict[str, Task],
        fresh: bool = False,
    ) -> None:
        self.store, self.tasks, self.fresh = store, tasks, fresh
        self.shop = shop = Workshop(store, registry, device, tasks)
        torch.set_num_threads(threads)
        shop.bystander = Bystander(lambda question: judged_elsewhere(shop, question))
        if device.type == "cuda":
            # Its generator is seeded with the others only once it is there: the first task would draw otherwise.
            torch.cuda.init()

    def run(self, task: Task, progress: Progress, started: Callable[[], None] = lambda: None) -> dict[str, Any]:
        """Do the task, publish its artifact and return what it cost; `found` where another run has published it.

        Args:
            task: what is to be done.
            progress: hears how far it is.
            started: called when the work begins: no other run is at it, and has not done it.

        Raises:
            TaskError: a plugin answered with something unusable.
            InputError: data, weights or options turned out to be unusable.
            DamagedArtifactError: an artifact has to be made again, be it the task's own.
            StorageError: the artifact cannot be written, since no space is left.
        """
        try:
            return self._run(task, progress, started)
        except (DamagedArtifactError, StorageError):
            raise
        except Exception as error:
            damaged = self.store.recheck(self._inputs(task))
            if damaged is None:
                raise
            raise damaged from error

    def _inputs(self, task: Task) -> set[str]:
        """Return the keys of all that a task may have read, and of what that was made from."""
        found: set[str] = set()
        pending = [*task.needs]
        while pending:
            key = pending.pop()
            if key not in found:
                found.add(key)
                pending.extend(self.tasks[key].needs)
        return found

    def _run(self, task: Task, progress: Progress, begun: Callable[[], None]) -> dict[str, Any]:
        def waiting(holder: str) -> None:
            progress.note(f"waiting for {holder}, which is at work on it too")

        with self.store.building(task.key, self.fresh, waiting) as building:
            if building is None:  # another run made it while we waited
                return {**self.store.meta(task.key), "found": True}
            begun()
            kind = KINDS[task.kind]
            if kind.whole:  # whatever lies there was not finished
                with building.storing():
                    _empty(building.out)
            before, started, measured = passes.copy(), time.perf_counter(), _peak_memory(self.shop.device)
            try:
                with self._guarded(task):
                    images = kind.work(self.shop, task, building, progress)
            except IsolationError:
                _empty(building.out)  # or the next try would go on with it
                remove(building.work)
                raise
            spent = passes - before
            meta = {
                "kind": task.kind,
                "label": task.label,
                "seconds": time.perf_counter() - started,
                "images": images,
                "forward": spent.forward,
                "backward": spent.backward,
                "peak_memory_bytes": measured(),
                "device": str(self.shop.device),
            }
            building.publish(meta)
            return meta

    @contextlib.contextmanager
    def _guarded(self, task: Task) -> Iterator[None]:
        """Let nothing that the task's plugins do to what they were handed, or to the process, reach another task.

        Raises:
            IsolationError: what was changed, and what to do instead.
        """
        who = KINDS[task.kind].who
        self.shop.begin()
        try:
            with isolated(who, threads=True), Rng(0).spawn("globals", task.identity).seeded_globals():
                yield
        except Exception as error:
            changed = self.shop.take_back()
            if changed and (not isinstance(error, BenchError) or isinstance(error, TaskError)):
                text = f"{who} changed {changed} (And then {type(error).__name__}: {error})"
                raise IsolationError(text, is_lasting(error)) from error
            raise
        changed = self.shop.take_back()
        if changed:
            raise IsolationError(f"{who} changed {changed}")


def _peak_memory(device: torch.device) -> Callable[[], int]:
    """Start measuring, and return a function that gives the peak in bytes: GPU memory there, resident memory here."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return lambda: int(torch.cuda.max_memory_allocated(device))
    unit = 1 if sys.platform == "darwin" else 1024
    return lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _empty(folder: Path) -> None:
    for entry in folder.iterdir():
        remove(entry)
