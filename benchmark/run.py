"""`bench run`: plan, execute, tabulate, report."""

from __future__ import annotations

import contextlib
import copy
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from benchmark.display import LineDisplay, TerminalDisplay
from benchmark.engine import Outcome, execute
from benchmark.errors import BenchError, InputError, Stopped
from benchmark.executors import Executor
from benchmark.files import storage_error, write_whole
from benchmark.holdings import note_use
from benchmark.isolation.process import isolated
from benchmark.memory import give_back
from benchmark.names import COLUMNS
from benchmark.plan.checks import NO_GPU
from benchmark.plan.plan import Plan, shard
from benchmark.plan.planner import make_plan
from benchmark.plugins import Registry
from benchmark.progress import TaskRecord
from benchmark.provenance import manifest_of
from benchmark.randomness import Rng
from benchmark.reporting import clear_reports, prepare_reports, reason_of, write_reports
from benchmark.results.collect import Ended, Tabulator, thresholds
from benchmark.results.tables import Tables, parquet, write_tables
from benchmark.rundir import REPORT, Identity, RunDir, writing
from benchmark.store.artifact import DamagedArtifactError
from benchmark.store.store import Store
from benchmark.suite import Suite
from benchmark.trust.probes import told_of_probes
from benchmark.wording import say

TRIES = 4
"""So often the tables are begun, where artifacts are found damaged meanwhile."""


@dataclass(frozen=True)
class RunRequest:
    """What the command line asked for.

    Attributes:
        cache: a folder or an address.
        device: `cpu` or `cuda`, as found.
        part: (i, n) of `--shard i/n`.
        replace: put this run in the place of another that the output folder holds.
        task_timeout: seconds after which a task is ended.
        retries: how often it is tried again.
    """

    output: Path
    cache: str | Path
    device: str
    executor: str
    workers: int | None
    part: tuple[int, int] | None
    fresh: bool
    report: bool
    command: Sequence[str]
    replace: bool = False
    task_timeout: float | None = None
    retries: int = 0


def resolve_device(name: str, executor: Executor) -> str:
    """Return `cpu` or `cuda` for `auto`, `cpu` or `cuda`.

    Raises:
        InputError: there is no CUDA device.
    """
    if executor.elsewhere and name != "auto":
        return name
    import torch

    if name == "cuda" and not torch.cuda.is_available():
        raise InputError(
            f"--device cuda: this machine has no CUDA device that torch {torch.__version__} can use. "
            "Use --device cpu, or --device auto."
        )
    return "cuda" if name != "cpu" and torch.cuda.is_available() else "cpu"


def default_output(
    suite: Suite, part: tuple[int, int] | None = None, only: Sequence[str] = (), sets: Sequence[str] = ()
) -> Path:
    """Return runs/<suite>-<profile>[-<i>of<n>], made of the letters that every file system takes.

    What `--set` changes and `--only` chooses is another run, so it has a folder of its own: `-set-<values>` and
    `-only-<filters>` follow the profile.
    """
    name = suite.name if suite.profile is None else f"{suite.name}-{suite.profile}"
    for what, written in (("set", " ".join(sets)), ("only", " or ".join(only))):
        if written:  # the letters alone may be those of another filter
            bytes_ = written.encode("utf-8", "surrogateescape")
            name += f"-{what}-{written[:40]}-{hashlib.sha256(bytes_).hexdigest()[:6]}"
    name += "" if part is None else f"-{part[0]}of{part[1]}"
    safe = "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "_" for c in name)[:200]
    return Path("runs") / safe


def run_suite(
    suite: Suite,
    registry: Registry,
    request: RunRequest,
    executor: Executor,
    display: LineDisplay | TerminalDisplay,
) -> int:
    """Run what is missing, write tables and report into the run directory, and return the exit code.

    The `executor` is prepared already.

    Raises:
        InputError: the suite cannot be run here; nothing has been done.
        BenchError: it cannot be gone on with, such as for want of space; the run directory says why.
    """
    plan = make_plan(suite, registry)
    if request.part is not None:
        plan = shard(plan, *request.part)
    store = Store(request.cache)
    run = RunDir(request.output)
    run.prepare(store.root)
    store.prepare()
    identity = Identity(suite.resolved, None if request.part is None else "/".join(map(str, request.part)))
    with run.locked():
        run.claim(identity, request.replace)
        key = identity.key_of(plan.answers())
        manifest = manifest_of(
            suite,
            registry,
            plan,
            key=key,
            cache=store.place,
            command=request.command,
            device=request.device,
            executor=request.executor,
            workers=request.workers,
        )
        run.begin(identity, manifest)
        note_use(store, run.path, suite.name, plan.required(plan.answers()))
        with end_told(run, registry, display):
            if suite.gpu and request.device == "cpu":
                display.warning(f"{NO_GPU}: it runs, but see `bench plan` for how long")
            for label, facts in plan.datasets.items():
                for remark in facts.remarks:
                    display.warning(f"{label}: {remark}")
            run.note(
                "run started", suite=suite.name, profile=suite.profile, cells=len(plan.cells), tasks=len(plan.tasks)
            )
            tell(registry, display, "run_started", run=run)

            def heard(record: TaskRecord) -> None:
                tabulator.heard(record)
                note_task(run, record)
                tell(registry, display, "task_finished", run=run, record=record)

            def work(fresh: bool, earlier: Outcome | None = None) -> Outcome:
                return execute(
                    plan,
                    store,
                    executor,
                    display,
                    device=request.device,
                    modules=registry.extra_modules,
                    fresh=fresh,
                    heard=heard,
                    earlier=None if earlier is None else earlier.records,
                    meanwhile=meanwhile,
                    task_timeout=request.task_timeout,
                    retries=request.retries,
                )

            tabulator = Tabulator(plan, store, registry, run.path)
            prepared = False

            def meanwhile() -> bool:
                nonlocal prepared
                if prepared:
                    return tabulator.step()
                prepared = True
                if request.report:
                    prepare_reports(registry)
                give_back()  # what planning has freed: workers need it
                return True

            try:
                outcome = work(request.fresh)
                for repairs in reversed(range(TRIES)):
                    try:
                        tables, ended = tabulator.finish(outcome, final=not repairs)
                        break
                    except Exception as error:
                        damaged = error if isinstance(error, DamagedArtifactError) else store.recheck(plan.answers())
                        if damaged is None or not repairs:
                            raise
                        # Or another run, with --fresh, has taken it away.
                        display.note(f"{plan.tasks[damaged.key].label}: {damaged}")
                        store.discard(damaged.key, damaged_only=True)
                        tabulator = Tabulator(plan, store, registry, run.path)
                        if not outcome.stopped:
                            outcome = work(False, outcome)
                ending = Ending(plan, outcome, tables, ended)
                ending.write(run, registry, tabulator, key, display)
            except OSError as error:
                full = storage_error(error, run.path)
                if full is None:
                    raise
                raise InputError(str(full)) from None
            return ending.conclude(run, identity, manifest, registry, display, request.report)


def note_task(run: RunDir, record: TaskRecord) -> None:
    """Write into the journal how a task ended.

    Raises:
        StorageError, InputError: the folder cannot be written to.
    """
    run.note(
        f"task {record.status}",
        key=record.key,
        kind=record.kind,
        label=record.label,
        **({"seconds": record.meta.get("seconds")} if record.status == "done" else {}),
        **({"reason": record.reason, "traceback": record.traceback} if record.status == "failed" else {}),
        **({"waited_for": record.waited_for} if record.waited_for else {}),
        **({"warnings": list(record.warnings)} if record.warnings else {}),
    )


@dataclass
class Ending:
    """How a run ended: its tables are written, then it is said.

    Attributes:
        ended: how its cells ended.
    """

    plan: Plan
    outcome: Outcome
    tables: Tables
    ended: Ended

    def write(
        self, run: RunDir, registry: Registry, tabulator: Tabulator, key: str, display: LineDisplay | TerminalDisplay
    ) -> None:
        """Write the tables and images, and warn of what they say.

        Raises:
            StorageError, InputError: the folder cannot be written to.
        """
        plan, outcome, tables = self.plan, self.outcome, self.tables
        with writing(run.path):
            clear_reports(registry, run.path / REPORT, display)
            write_tables(tables, run.path, key)
            tabulator.gallery.close(key)
            _write_costs(plan, outcome, run.path, key)
        for problem in self.problems():
            display.warning(problem)
        for told in told_of_probes(tables.probed):
            display.warning(told)
        for alarm in tables.raised:
            cells = f"{len(alarm.cells)} {'cell is' if len(alarm.cells) == 1 else 'cells are'} in doubt"
            display.warning(f"{alarm.kind.sign}: {alarm.finding}; {cells}")

    def problems(self) -> list[str]:
        """Return what the tables lack beside whole cells."""
        return [*self.ended.problems, *self.tables.problems]

    def conclude(
        self,
        run: RunDir,
        identity: Identity,
        manifest: dict[str, Any],
        registry: Registry,
        display: LineDisplay | TerminalDisplay,
        report: bool,
    ) -> int:
        """Publish what has been written, report and summary after it, and return the exit code."""
        plan, outcome, ended, problems = self.plan, self.outcome, self.ended, self.problems()
        failures = _failures(plan, outcome)
        code = outcome.stopped.code if outcome.stopped else 1 if failures or problems or ended.unfinished() else 0
        manifest |= {
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "ended": dict(ended.cells),
            "thresholds": thresholds(ended, registry),
            "failures": failures,
            "warnings": [
                {"task": record.label, "text": text} for record in outcome.records.values() for text in record.warnings
            ]
            + [{"task": "measures", "text": text} for text in problems],
            "alarms": [
                {
                    "alarm": alarm.kind.name,
                    "sign": alarm.kind.sign,
                    "finding": alarm.finding,
                    "remedy": alarm.kind.remedy,
                    "cells": len(alarm.cells),
                }
                for alarm in self.tables.raised
            ],
        }
        run.finish(identity, manifest)
        display.close()
        if outcome.stopped:
            say(outcome.stopped, err=True)
        elif report:
            written, failed = write_reports(registry, [run.path], run.path / REPORT)
            for path in written:
                say(f"report: {path}")
            for problem in failed:
                say(f"error: {problem}", err=True)
                code = code or 1
            run.note("report written", **({"problems": failed} if failed else {}))
        run.end(code)
        tell(registry, display, "run_finished", run=run, exit_code=code)
        if not outcome.stopped:
            _print_summary(ended, failures, run.path)
        return code


@contextlib.contextmanager
def end_told(run: RunDir, registry: Registry, display: LineDisplay | TerminalDisplay) -> Iterator[None]:
    """Tell why a run ends before its time, whatever it is: its directory, as far as there is space, and plugins."""
    try:
        yield
    except BaseException as error:
        code = error.code if isinstance(error, Stopped) else 2 if isinstance(error, BenchError) else 1
        with contextlib.suppress(BenchError):
            run.end(code, error.word if isinstance(error, Stopped) else reason_of(error))
        tell(registry, display, "run_finished", run=run, exit_code=code)
        raise


def tell(registry: Registry, display: LineDisplay | TerminalDisplay, event: str, **arguments: Any) -> None:
    """Tell the plugins, each with copies of its own; what goes wrong in one of them costs neither run nor others."""
    for implementation in reversed(getattr(registry.manager.hook, event).get_hookimpls()):
        try:
            with isolated("it"), Rng(0).seeded_globals():
                implementation.function(*(copy.deepcopy(arguments[name]) for name in implementation.argnames))
        except (Exception, SystemExit) as error:
            display.warning(
                f"the plugin {implementation.plugin_name!r} failed while it heard of '{event}': {reason_of(error)}"
            )


def _failures(plan: Plan, outcome: Outcome) -> list[dict[str, Any]]:
    """Return by what failed first, with its traceback, the failed cells and those that alarms know less of for it."""
    first = {r.key: r for r in outcome.records.values() if r.status == "failed" and not r.waited_for}
    reasons: dict[str, set[str]] = {}  # task → which of these it is or needs
    for key, task in plan.tasks.items():
        reasons[key] = (first.keys() & {key}).union(*(reasons[need] for need in task.needs))
    cells: dict[str, list[dict[str, Any]]] = {key: [] for key in first}
    unseen: dict[str, list[dict[str, Any]]] = {key: [] for key in first}
    for cell in plan.cells:
        columns = {name: getattr(cell, name) for name in COLUMNS}
        failed = set().union(*(reasons[key] for key in cell.tasks()))
        for key in failed:
            cells[key].append(columns)
        for key in set().union(*(reasons[key] for key in cell.looks())) - failed:
            unseen[key].append(columns)
    return [
        {
            "task": record.label,
            "reason": record.reason,
            "traceback": record.traceback,
            "cells": cells[key],
            "unseen": unseen[key],
        }
        for key, record in first.items()
    ]


def _defenses_of(plan: Plan) -> dict[str, str]:
    """Return the label of the only defense that needs a task, by its key; "" where several share it."""
    needed: dict[str, set[str]] = {}
    for cell in plan.cells:
        pending = cell.tasks()
        while pending:
            key = pending.pop()
            users = needed.setdefault(key, set())
            if cell.defense not in users:
                users.add(cell.defense)
                pending.extend(plan.tasks[key].needs)
    return {key: next(iter(users)) if len(users) == 1 else "" for key, users in needed.items()}


def _write_costs(plan: Plan, outcome: Outcome, folder: Path, key: str) -> None:
    columns = ["seconds", "images", "forward", "backward", "peak_memory_bytes", "device"]
    defenses = _defenses_of(plan)
    rows = [
        {
            "kind": record.kind,
            "key": record.key,
            "label": record.label,
            "defense": defenses.get(record.key, ""),
            "status": record.status,
            "cached": record.status == "cached",
            **{name: record.meta.get(name) for name in columns},
        }
        for record in outcome.records.values()
    ]
    frame = pd.DataFrame(rows, columns=["kind", "key", "label", "defense", "status", "cached", *columns])
    write_whole(folder / "costs.parquet", parquet(frame, key))


def _print_summary(ended: Ended, failures: list[dict[str, Any]], folder: Path) -> None:
    say(f"{ended.cells['ok']} of {ended.cells.total()} cells done; results in {folder}")
    for reason, count in ended.lost.items():
        say(f"  missing ({count}): {reason}")
    for failure in failures:
        cost = [f"failed ({len(failure['cells'])} cells)"] if failure["cells"] or not failure["unseen"] else []
        if failure["unseen"]:
            cost.append(f"no alarms or probes looked for ({len(failure['unseen'])} cells)")
        say(f"  {', '.join(cost)}: {failure['task']}: {failure['reason']}")
