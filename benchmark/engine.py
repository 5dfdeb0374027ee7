"""Runs a plan: what is missing, in an order that keeps workers busy, whatever fails on the way."""

from __future__ import annotations

import contextlib
import copy
import heapq
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from benchmark.errors import Stopped, StorageError
from benchmark.executors import Event, Executor, Setup
from benchmark.plan.plan import Plan
from benchmark.plan.task import Judge, OfSplit, Task
from benchmark.progress import Status, TaskRecord
from benchmark.store.artifact import DamagedArtifactError
from benchmark.store.store import Store
from benchmark.versions import library_versions
from benchmark.wording import seconds_text

BACKWARD_COST = 2.0
"""A backward pass counts as two forward passes when work is estimated."""
UNKNOWN_WORK = 60.0
"""Forward passes per image assumed of an attack whose passes depend on the data."""
GRACE = 2.0
"""Seconds in which a task that takes too long may still say where it is; native code may never let it."""


@dataclass(frozen=True)
class Work:
    """How much there is to do in a task.

    Attributes:
        sort: tasks of one sort take the same time for as many passes.
        passes: forward passes of one image, or as much time as they take.
        known: whether they are that many, at most that many, or a guess that no time left may rest on.
    """

    sort: str
    passes: float
    known: Literal["exactly", "at most", "no"] = "exactly"


class Display(Protocol):
    """Shows a run to the person at the keyboard."""

    def begin(self, cached: int, work: Mapping[str, Work]) -> None:
        """Say how many tasks are in the cache, and how much work the others are, by their keys."""

    def started(self, task: Task, work: Work) -> None:
        """Say that a task has started."""

    def progress(self, task: Task, done: int, total: int, unit: str) -> None:
        """Say how far a task is."""

    def finished(self, record: TaskRecord) -> None:
        """Say that a task has ended."""

    def again(self, work: Mapping[str, Work]) -> None:
        """Say that these tasks, by their keys, are to be done, though they were counted as cached, or had started."""

    def warning(self, text: str) -> None:
        """Show a warning."""

    def note(self, text: str) -> None:
        """Show what is worth knowing and nothing to worry about."""


@dataclass
class Outcome:
    """What a run came to: `stopped` is the signal that ended it, such as a Ctrl-C."""

    records: dict[str, TaskRecord]
    stopped: Stopped | None = None


def execute(
    plan: Plan,
    store: Store,
    executor: Executor,
    display: Display,
    *,
    device: str,
    modules: Iterable[str] = (),
    fresh: bool = False,
    heard: Callable[[TaskRecord], None] = lambda record: None,
    earlier: Mapping[str, TaskRecord] | None = None,
    meanwhile: Callable[[], bool] = lambda: False,
    task_timeout: float | None = None,
    retries: int = 0,
) -> Outcome:
    """Bring every artifact that the plan's cells read into the store.

    What is damaged there is made again, however many tasks lie between it and the cells.

    Args:
        plan: cells and tasks.
        store: the cache; artifacts that it holds are verified and not made again.
        executor: already prepared; started and stopped here.
        display: shows progress.
        device: `cpu` or `cuda`.
        modules: plugin modules given by hand, for the workers.
        fresh: make every artifact anew; what is there stays until it is replaced.
        heard: called with the record of every task, as it ends.
        earlier: records of a try that this one goes on with; what failed then is not tried again.
        meanwhile: called while tasks are at work and nothing is heard of them, again and again as long as it says that
            it did something; what it does shall be short, since tasks that end meanwhile wait for it.
        task_timeout: seconds after which a task that has been started is ended; waiting for another run counts not.
        retries: so often a task is tried again that was ended so, lost its worker, or met an error that no message
            foresees; it goes on from what it has left in the cache.

    Raises:
        ExecutorError: the executor cannot run tasks any more.
        StorageError: an artifact cannot be written.
    """
    run = _Run(plan, store, executor, display, heard, fresh, earlier or {}, task_timeout, retries)
    return run.go(device, list(modules), meanwhile)


def estimated_work(task: Task, images: int) -> float:
    """Return the work of a task in forward passes of one image; a guess where it depends on the data."""
    if task.work is None:
        return UNKNOWN_WORK * max(images, 1)
    return task.work.forward + BACKWARD_COST * task.work.backward


class _Run:
    def __init__(
        self,
        plan: Plan,
        store: Store,
        executor: Executor,
        display: Display,
        heard: Callable[[TaskRecord], None],
        fresh: bool,
        earlier: Mapping[str, TaskRecord],
        task_timeout: float | None,
        retries: int,
    ) -> None:
        self.plan = plan
        self.store = store
        self.executor = executor
        self.display = display
        self.heard = heard
        self.fresh = fresh
        self.records = dict(earlier)
        self.task_timeout, self.retries = task_timeout, retries
        self.running: dict[str, Task] = {}
        self.since: dict[str, float] = {}  # task → when its work began
        self.tries: dict[str, int] = {}  # task → how often it was tried again
        self.warnings: dict[str, list[str]] = {}
        self.again: set[str] = set()  # to be made, since a task found them damaged
        self.found: dict[str, set[str]] = {}  # task → what it found damaged, and has to wait for
        self.order = {key: number for number, key in enumerate(plan.tasks)}
        self.critical = self._critical_paths()

    def go(self, device: str, modules: list[str], meanwhile: Callable[[], bool]) -> Outcome:
        required = self.plan.required(self.plan.answers())
        if not self.fresh:
            self._verify_cached()
        cached = self._read_cached(required)
        self._schedule()
        work = {key: self._work(task) for key, task in self.todo.items()}
        self.display.begin(len(required) - len(work), work)
        for record in cached:
            self._record(record)
        if not self.todo:
            return Outcome(self.records)
        with self.store.marked() if self.executor.elsewhere else contextlib.nullcontext("") as mark:
            return self._make_missing(device, modules, mark, meanwhile)

    def _make_missing(self, device: str, modules: list[str], mark: str, meanwhile: Callable[[], bool]) -> Outcome:
        try:
            threads = self.plan.suite.threads
            tasks = copy.deepcopy(self.plan.tasks)
            self.executor.start(
                Setup(
                    self.store.place,
                    modules,
                    device,
                    threads,
                    tasks,
                    self.fresh,
                    self.task_timeout,
                    library_versions(),
                    mark,
                )
            )
            while self.todo or self.running:
                self._submit_ready()
                events = self.executor.wait(0.0)
                if not events and not meanwhile():
                    events = self.executor.wait(1.0)
                for event in events:
                    if event.key in self.running:  # one that was ended may have had something left to say
                        self._hear(event)
                self._end_overdue()
        except KeyboardInterrupt as stop:
            return Outcome(self.records, stopped=stop if isinstance(stop, Stopped) else Stopped())
        finally:
            self.executor.stop()
        return Outcome(self.records)

    def _verify_cached(self) -> None:
        """Read the checksums of cached artifacts that the tables and the next tasks read; drop the damaged ones."""
        while True:
            missing = self.plan.missing(self.store, self.again)
            wanted = set(self.plan.answers())
            wanted |= {need for task in missing.values() for need in task.needs}
            damaged = False
            self.store.bring(wanted - set(missing))
            for key in sorted(wanted - set(missing)):
                try:
                    self.store.open(key)
                except DamagedArtifactError as error:
                    if self._drop(key, f"{error}; it is made again"):
                        self.again.add(key)  # while another run is at work on it, it stays, and its task waits
                    damaged = True
            if not damaged:
                return

    def _missing(self) -> dict[str, Task]:
        """Return the tasks whose artifacts this run has to make."""
        if not self.fresh:
            return self.plan.missing(self.store, self.again)
        required = self.plan.required([*self.plan.answers(), *self.again])
        return {key: task for key, task in required.items() if key not in self.records}

    def _read_cached(self, required: Mapping[str, Task]) -> list[TaskRecord]:
        """Return records of the artifacts that are there and need not be made."""
        missing = self._missing()
        records = []
        self.store.bring(set(required) - set(missing), manifests_only=True)
        for key, task in required.items():
            if key not in missing and key not in self.records and self.store.has(key):
                try:
                    meta = self.store.meta(key)
                except DamagedArtifactError as error:
                    self._drop(key, f"{error}; it is removed, and made again should a task need it")
                else:
                    records.append(TaskRecord(key, task.kind, task.label, "cached", meta=meta))
        return records

    def _drop(self, key: str, text: str) -> bool:
        """Remove a damaged artifact, with a warning; False where it is intact, since another run has made it again."""
        if not self.store.discard(key, damaged_only=True):
            return False
        self.display.warning(f"{self.plan.tasks[key].label}: {text}")
        self.warnings.setdefault(key, []).append(text)
        self.records.pop(key, None)
        return True

    def _schedule(self) -> None:
        """Work out what is to be done and what of it can start."""
        failed = {key for key, record in self.records.items() if record.status == "failed"}
        missing = self._missing()
        self.todo = {key: task for key, task in missing.items() if key not in failed and key not in self.running}
        pending = set(self.todo) | set(self.running)
        self.blockers = {
            key: {need for need in (*task.needs, *self.found.get(key, ())) if need in pending}
            for key, task in self.todo.items()
        }
        self.dependents: dict[str, list[str]] = {}
        for key, needs in self.blockers.items():
            for need in needs:
                self.dependents.setdefault(need, []).append(key)
        self.ready = [(-self.critical[key], self.order[key], key) for key, needs in self.blockers.items() if not needs]
        heapq.heapify(self.ready)

    def _submit_ready(self) -> None:
        while self.ready and len(self.running) < self.executor.slots:
            key = heapq.heappop(self.ready)[2]
            task = self.todo.pop(key, None)
            if task is None:
                continue
            self.running[key] = task
            self.executor.submit(copy.deepcopy(task))

    def _start(self, task: Task) -> None:
        if task.key not in self.since:
            self.display.started(task, self._work(task))
        self.since[task.key] = time.monotonic()

    def _end_overdue(self) -> None:
        """End the tasks that take too long and have not said so themselves."""
        if self.task_timeout is not None:
            before = time.monotonic() - self.task_timeout - GRACE
            overdue = [key for key, since in self.since.items() if since < before]
            there = set(self.executor.at_work(overdue)) if overdue else set()
            for key in overdue:
                if key in there:
                    self._end(self.plan.tasks[key], "")
                else:  # who was at work has died; the next one says that it has started
                    del self.since[key]
                    self.display.again({key: self._work(self.plan.tasks[key])})

    def _end(self, task: Task, traceback: str) -> None:
        """End a task that takes too long."""
        assert self.task_timeout is not None
        self.executor.cancel(task.key)
        reason = (
            f"it took longer than --task-timeout {self.task_timeout:g} ({seconds_text(self.task_timeout)}) and was "
            "ended. With more time it goes on from what it has left in the cache, if anything."
        )
        self._hear(Event("failed", task.key, {"reason": reason, "traceback": traceback, "again": True}))

    def _hear(self, event: Event) -> None:
        """Take note of an event.

        Raises:
            StorageError: an artifact cannot be written.
        """
        task, data = self.plan.tasks[event.key], event.data
        if event.kind == "started":
            self._start(task)
            return
        if event.kind == "late":
            self._end(task, data["traceback"])
            return
        if event.kind == "progress":
            if task.key not in self.since:
                self._start(task)
            self.display.progress(task, data["done"], data["total"], data["unit"])
            return
        if event.kind == "warning":
            self.warnings.setdefault(event.key, []).append(data["text"])
            self.display.warning(f"{task.label}: {data['text']}")
            return
        if event.kind == "note":
            self.display.note(f"{task.label}: {data['text']}")
            return
        self.running.pop(event.key, None)
        self.since.pop(event.key, None)
        if event.kind == "failed" and data.get("again") and self.tries.get(event.key, 0) < self.retries:
            self._try_again(task, data["reason"])
            return
        if event.kind == "damaged":
            self._repair(task, data["key"], data["reason"])
            return
        warnings = tuple(self.warnings.pop(event.key, ()))
        self.again.discard(event.key)
        if event.kind == "done":
            self.store.appeared(event.key)
            for dependent in self.dependents.pop(event.key, []):
                blockers = self.blockers[dependent]
                blockers.discard(event.key)
                if not blockers and dependent in self.todo:
                    heapq.heappush(self.ready, (-self.critical[dependent], self.order[dependent], dependent))
            self._submit_ready()  # before the record, which waits for the disk
            status: Status = "cached" if data["meta"].pop("found", False) else "done"
            self._record(TaskRecord(task.key, task.kind, task.label, status, warnings=warnings, meta=data["meta"]))
        elif event.kind == "failed":
            self._fail(task, data["reason"], data["traceback"], warnings)
        else:
            raise StorageError(f"{task.label}: {data['message']}")

    def _try_again(self, task: Task, reason: str) -> None:
        self.tries[task.key] = self.tries.get(task.key, 0) + 1
        text = f"{reason.rstrip('.')}; it is tried again ({self.tries[task.key]} of {self.retries})"
        self.warnings.setdefault(task.key, []).append(text)
        self.display.warning(f"{task.label}: {text}")
        self.todo[task.key] = task
        heapq.heappush(self.ready, (-self.critical[task.key], self.order[task.key], task.key))
        self.display.again({task.key: self._work(task)})

    def _repair(self, task: Task, key: str, reason: str) -> None:
        """Have an artifact made again that a task found damaged, and the task after it."""
        found = self.found.setdefault(task.key, set())
        if key in found:
            self._fail(task, f"{reason} again, after it was made anew", "", tuple(self.warnings.pop(task.key, ())))
            return
        found.add(key)
        again = {task.key}
        if key not in self.running and key not in self.todo and self._drop(key, f"{reason}; it is made again"):
            self.again.add(key)
            again |= set(self._missing()) - set(self.todo) - set(self.running)
        self._schedule()
        self.display.again({key: self._work(self.todo[key]) for key in again if key in self.todo})

    def _fail(self, task: Task, reason: str, traceback: str, warnings: tuple[str, ...], waited_for: str = "") -> None:
        """Record a failure, and that of everything that needs the task."""
        self._record(
            TaskRecord(task.key, task.kind, task.label, "failed", reason, traceback, warnings, waited_for=waited_for)
        )
        for dependent in self.dependents.pop(task.key, []):
            waiting = self.todo.pop(dependent, None)
            if waiting is not None:
                self._fail(waiting, f"needs '{task.label}', which failed: {reason}"[:2000], "", (), waited_for=task.key)

    def _record(self, record: TaskRecord) -> None:
        self.records[record.key] = record
        self.display.finished(record)
        self.heard(record)

    def _work(self, task: Task) -> Work:
        facts, spec = self.plan.datasets[task.spec.dataset.label], task.spec
        code = (self.plan.tasks[spec.fit].spec if isinstance(spec, Judge) else spec).code()
        passes = estimated_work(task, facts.sizes[spec.split if isinstance(spec, OfSplit) else "test"])
        # What a defense learns is not told in passes, and is mostly short; an attack may take hours.
        unknown = task.work is None and task.kind == "craft"
        bound = task.work is not None and task.work.at_most
        return Work(f"{task.kind} {code}", passes, "no" if unknown else "at most" if bound else "exactly")

    def _critical_paths(self) -> dict[str, float]:
        """Return per task the work from its start to the end of the longest chain that waits for it."""
        longest: dict[str, float] = {}
        users: dict[str, list[str]] = {}
        for key, task in self.plan.tasks.items():
            for need in task.needs:
                users.setdefault(need, []).append(key)
        for key in reversed(self.plan.tasks):
            after = max((longest[user] for user in users.get(key, ())), default=0.0)
            longest[key] = after + self._work(self.plan.tasks[key]).passes
        return longest
