"""`bench run`: plan, execute, tabulate, report."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import platform
import subprocess
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property, lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from benchmark.cells import Answers, ArtifactResult, Cell, CellResult, Look, Plane, Seen, Status, within_budget
from benchmark.dataset import Split
from benchmark.defense import Defense
from benchmark.display import LineDisplay, TerminalDisplay
from benchmark.engine import Outcome, execute
from benchmark.errors import BenchError, InputError, Stopped
from benchmark.executors import Executor
from benchmark.files import write_whole
from benchmark.isolation import isolated
from benchmark.metrics.clean import FeatureSeparation, separation_at
from benchmark.metrics.metric import Metric
from benchmark.names import CLEAN, COLUMNS
from benchmark.panel import Panel
from benchmark.plan.checks import NO_GPU
from benchmark.plan.plan import Plan, PlannedAssessment, PlannedCell, shard
from benchmark.plan.planner import make_plan
from benchmark.plan.probing import doubled
from benchmark.plugins import Registry
from benchmark.progress import TaskRecord
from benchmark.randomness import Rng
from benchmark.reporter import Reporter
from benchmark.results.gallery import Gallery
from benchmark.results.read import Run, load_run
from benchmark.results.tables import Tables, parquet, write_tables
from benchmark.results.tabulation import Tabulation
from benchmark.rundir import REPORT, Identity, RunDir, writing
from benchmark.store import ArrayReader, DamagedArtifactError, Store, digest, storage_error
from benchmark.suite import Component, Suite
from benchmark.trust.probes import told_of_probes
from benchmark.wording import legible, say

NOT_RUN = "not run: the run was interrupted"
LOST = "lost from the cache while the run was going on; the same command makes it again"
LIBRARIES = ("torch", "torchvision", "adversarial-robustness-toolbox", "scikit-learn", "numpy", "pandas", "timm")
"""Folder of the report in a run directory."""
TRIES = 4
"""So often the tables are begun, where artifacts are found damaged meanwhile."""


@dataclass(frozen=True)
class RunRequest:
    """What the command line asked for.

    Attributes:
        device: `cpu` or `cuda`, as found.
        part: (i, n) of `--shard i/n`.
        replace: put this run in the place of another that the output folder holds.
    """

    output: Path
    cache: Path
    device: str
    executor: str
    workers: int | None
    part: tuple[int, int] | None
    fresh: bool
    report: bool
    command: Sequence[str]
    replace: bool = False


def resolve_device(name: str) -> str:
    """Return `cpu` or `cuda` for `auto`, `cpu` or `cuda`.

    Raises:
        InputError: there is no CUDA device.
    """
    import torch

    if name == "cuda" and not torch.cuda.is_available():
        raise InputError(
            f"--device cuda: this machine has no CUDA device that torch {torch.__version__} can use. "
            "Use --device cpu, or --device auto."
        )
    return "cuda" if name != "cpu" and torch.cuda.is_available() else "cpu"


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
        key = digest(identity.key, sorted(set(plan.answers())))
        manifest = {"key": key, **_manifest(suite, registry, plan, request)}
        run.begin(identity, manifest)
        with _end_told(run, registry, display):
            if suite.gpu and request.device == "cpu":
                display.warning(f"{NO_GPU}: it runs, but see `bench plan` for how long")
            for label, facts in plan.datasets.items():
                for remark in facts.remarks:
                    display.warning(f"{label}: {remark}")
            run.note(
                "run started", suite=suite.name, profile=suite.profile, cells=len(plan.cells), tasks=len(plan.tasks)
            )
            _tell(registry, display, "run_started", run=run)

            def heard(record: TaskRecord) -> None:
                tabulator.heard(record)
                run.note(
                    f"task {record.status}",
                    key=record.key,
                    kind=record.kind,
                    label=record.label,
                    **({"seconds": record.meta.get("seconds")} if record.status == "done" else {}),
                    **({"reason": record.reason, "traceback": record.traceback} if record.status == "failed" else {}),
                    **({"warnings": list(record.warnings)} if record.warnings else {}),
                )
                _tell(registry, display, "task_finished", run=run, record=record)

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
                )

            tabulator = Tabulator(plan, store, registry, run.path)
            prepared = not request.report

            def meanwhile() -> bool:
                nonlocal prepared
                if prepared:
                    return tabulator.step()
                prepared = True
                _prepare_reports(registry)
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
                with writing(run.path):
                    clear_reports(registry, run.path / REPORT, display)
                    write_tables(tables, run.path, key)
                    tabulator.gallery.close(key)
                    _write_costs(plan, outcome, run.path, key)
                problems = [*ended.problems, *tables.problems]
                for problem in problems:
                    display.warning(problem)
                for told in told_of_probes(tables.probed):
                    display.warning(told)
                for alarm in tables.raised:
                    cells = f"{len(alarm.cells)} {'cell is' if len(alarm.cells) == 1 else 'cells are'} in doubt"
                    display.warning(f"{alarm.kind.sign}: {alarm.finding}; {cells}")
            except OSError as error:
                full = storage_error(error, run.path)
                if full is None:
                    raise
                raise InputError(str(full)) from None
            failures = _failures(plan, outcome)
            code = outcome.stopped.code if outcome.stopped else 1 if failures or problems or ended.unfinished() else 0
            manifest |= {
                "finished": datetime.now(UTC).isoformat(timespec="seconds"),
                "ended": dict(ended.cells),
                "thresholds": _thresholds(ended, registry),
                "failures": failures,
                "warnings": [
                    {"task": record.label, "text": text}
                    for record in outcome.records.values()
                    for text in record.warnings
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
                    for alarm in tables.raised
                ],
            }
            run.finish(identity, manifest)
            display.close()
            if outcome.stopped:
                say(outcome.stopped, err=True)
            elif request.report:
                written, failed = write_reports(registry, [run.path], run.path / REPORT)
                for path in written:
                    say(f"report: {path}")
                for problem in failed:
                    say(f"error: {problem}", err=True)
                    code = code or 1
                run.note("report written", **({"problems": failed} if failed else {}))
            run.end(code)
            _tell(registry, display, "run_finished", run=run, exit_code=code)
            if not outcome.stopped:
                _print_summary(ended, failures, run.path)
            return code


@contextlib.contextmanager
def _end_told(run: RunDir, registry: Registry, display: LineDisplay | TerminalDisplay) -> Iterator[None]:
    """Tell why a run ends before its time, whatever it is: its directory, as far as there is space, and plugins."""
    try:
        yield
    except BaseException as error:
        code = error.code if isinstance(error, Stopped) else 2 if isinstance(error, BenchError) else 1
        with contextlib.suppress(BenchError):
            run.end(code, error.word if isinstance(error, Stopped) else _reason(error))
        _tell(registry, display, "run_finished", run=run, exit_code=code)
        raise


def write_reports(
    registry: Registry, runs: Sequence[Path], folder: Path, single_file: bool = False
) -> tuple[list[Path], list[str]]:
    """Let every reporter write, and return the files to open first, and what went wrong with reporters of plugins.

    Raises:
        InputError: a run directory is damaged or given twice, or the folder cannot be written to.
    """

    def write(reporter: Reporter, loaded: list[Run]) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        return reporter.write(loaded, folder, single_file=single_file)

    return _let_write(registry, runs, folder, write)


def write_leaderboards(registry: Registry, runs: Sequence[Path], folder: Path) -> tuple[list[Path], list[str]]:
    """Let every reporter that offers a leaderboard write it, and return what `write_reports` does.

    Raises:
        InputError: as of `write_reports`, or there is nothing to rank.
    """
    written, problems = _let_write(registry, runs, folder, lambda reporter, loaded: reporter.rank(loaded, folder))
    if not written and not problems:
        raise InputError("no installed reporter offers a leaderboard; `bench plugins --kind reporter` lists them.")
    return written, problems


def _let_write(
    registry: Registry,
    runs: Sequence[Path],
    folder: Path,
    act: Callable[[Reporter, list[Run]], Path | None],
) -> tuple[list[Path], list[str]]:
    places = [path.resolve() for path in runs]
    for number, place in enumerate(places):
        if place in places[:number]:
            raise InputError(f"the run {str(runs[number])!r} is given twice. Give each run once.")
    written: list[Path] = []
    problems: list[str] = []
    for registration in registry.all("reporter"):
        # Each has runs, panels and measures of its own.
        loaded = [load_run(path) for path in runs]
        reporter: Reporter = registration.load()()
        reporter.panels = _panels(registry)
        reporter.measures = {metric.name: metric.load() for metric in registry.all("metric")}
        try:
            with isolated("it, or a panel in it,"), Rng(0).seeded_globals():
                first = act(reporter, loaded)
            written += [] if first is None else [first]
        except InputError:
            raise
        except OSError as error:
            raise storage_error(error, folder) or InputError(
                f"the report cannot be written to {str(folder)!r}: {error.strerror or error}"
            ) from None
        except (Exception, SystemExit) as error:  # a reporter of a plugin must not cost the others
            problems.append(f"the reporter {registration.name!r} failed: {_reason(error)}")
    return written, problems


def _reason(error: BaseException) -> str:
    return str(error) if isinstance(error, BenchError) else f"{type(error).__name__}: {error}"


def _prepare_reports(registry: Registry) -> None:
    """Let every reporter do beforehand what needs no results; one that cannot says so when it writes."""
    for registration in registry.all("reporter"):
        with contextlib.suppress(Exception, SystemExit), isolated("it"), Rng(0).seeded_globals():
            registration.load()().prepare()


def clear_reports(registry: Registry, folder: Path, display: LineDisplay | TerminalDisplay) -> None:
    """Remove a report of earlier numbers, so that none stands beside the new ones."""
    for registration in registry.all("reporter"):
        try:
            with isolated("it"):
                registration.load()().clear(folder)
        except (Exception, SystemExit) as error:  # a reporter of a plugin must not cost the run
            display.warning(
                f"the reporter {registration.name!r} cannot remove its earlier report: {_reason(error)}. "
                f"What lies in {str(folder)!r} may show other numbers than the tables."
            )


def _tell(registry: Registry, display: LineDisplay | TerminalDisplay, event: str, **arguments: Any) -> None:
    """Tell the plugins, each with copies of its own; what goes wrong in one of them costs neither run nor others."""
    for implementation in reversed(getattr(registry.manager.hook, event).get_hookimpls()):
        try:
            with isolated("it"), Rng(0).seeded_globals():
                implementation.function(*(copy.deepcopy(arguments[name]) for name in implementation.argnames))
        except (Exception, SystemExit) as error:
            display.warning(
                f"the plugin {implementation.plugin_name!r} failed while it heard of '{event}': {_reason(error)}"
            )


# -- from artifacts to tables -----------------------------------------------------------------------------------------


@dataclass
class _Ended:
    """How the cells ended, as the tables have it.

    Attributes:
        cells: how many are ok, failed and missing.
        lost: reason → how many cells miss their numbers for it.
        problems: what the tables lack beside whole cells.
        thresholds: what the host flags by, by the task that set it.
    """

    cells: Counter[str] = field(default_factory=Counter)
    lost: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    thresholds: dict[str, dict[str, Any]] = field(default_factory=dict)

    def add(self, told: _Told) -> None:
        """Count a cell."""
        self.cells[told.status] += 1
        self.count(told.status, told.reason)
        self.problems += [problem for problem in told.problems if problem not in self.problems]
        self.thresholds |= told.thresholds

    def count(self, status: Status, reason: str) -> None:
        """Count what has no numbers for a reason."""
        if status == "missing":
            self.lost[reason] += 1

    def unfinished(self) -> bool:
        """Tell whether some cell or artifact has no numbers."""
        return bool(self.cells["failed"] or self.lost)


@dataclass
class _Told:
    """How a cell ended: `_Ended` has the sums."""

    status: Status
    reason: str = ""
    problems: list[str] = field(default_factory=list)
    thresholds: dict[str, dict[str, Any]] = field(default_factory=dict)


def _panels(registry: Registry) -> list[Panel]:
    return [registration.load()() for registration in registry.all("panel")]


class Tabulator:
    """Makes the tables and images of a run: those of a cell as soon as its tasks are done, the rest at the end.

    In whichever order the cells are done, tables and images are the same.
    """

    def __init__(self, plan: Plan, store: Store, registry: Registry, folder: Path) -> None:
        self.plan, self.store, self.registry = plan, store, registry
        self.gallery = Gallery(folder, len(plan.cells), len({cell.craft for cell in plan.cells} - {None}))
        self._told: dict[int, _Told] = {}  # cell → how it ended, where that is in the tables
        self._records: dict[str, TaskRecord] = {}
        self._pending: list[set[str]] = []  # cell → tasks not heard of
        self._users: dict[str, list[int]] = {}  # task → cells that read it
        for number, cell in enumerate(plan.cells):
            reads = {*cell.tasks(), *cell.looks(), *([] if cell.separation is None else [cell.separation])}
            self._pending.append(reads)
            for key in reads:
                self._users.setdefault(key, []).append(number)
        self._ready: deque[int] = deque()
        self._split_of = lru_cache(maxsize=8)(self._read_split)
        self._ids_of = lru_cache(maxsize=8)(self._read_ids)
        self._arrays_of = lru_cache(maxsize=64)(self._read_arrays)
        self._base_label_of = lru_cache(maxsize=64)(self._read_base_label)
        self._seen_of: dict[str, Seen] = {}

    def heard(self, record: TaskRecord) -> None:
        """Take note that a task has ended."""
        self._records[record.key] = record
        for number in self._users.get(record.key, ()):
            if record.key in self._pending[number]:
                self._pending[number].discard(record.key)
                if not self._pending[number]:
                    self._ready.append(number)

    def step(self) -> bool:
        """Make what belongs to a cell whose tasks are done; return whether there was one."""
        if not self._ready:
            return False
        number = self._ready.popleft()
        with contextlib.suppress(Exception, SystemExit):  # it goes wrong again, and is told, in the end
            status, _ = self._status(self.plan.cells[number].tasks(), Outcome(self._records))
            if status == "ok":
                self._add(number, Outcome(self._records))
        return True

    def finish(self, outcome: Outcome, final: bool) -> tuple[Tables, _Ended]:
        """Make what is left, and return the tables and how the cells ended.

        Args:
            outcome: how the tasks ended.
            final: what is found damaged, or has been taken away, is not made again, but missing.

        Raises:
            DamagedArtifactError: it is to be made again.
        """
        ended = _Ended()
        for number, planned in enumerate(self.plan.cells):
            status, reason = self._status(planned.tasks(), outcome, final)
            if status != "ok":
                self._add_without(number, status, reason)
            elif number not in self._told or self._told[number].status != "ok":
                self._add(number, outcome, final)
            ended.add(self._told[number])
        artifacts = []
        for assessed in self.plan.assessments:
            result, reason = self._assessed(assessed, outcome, final)
            artifacts.append(result)
            ended.count(result.status, reason)
        suite = self.plan.suite
        reference = pd.DataFrame(list(suite.reference)) if suite.reference else None
        with Rng(0).seeded_globals():
            return self._tabulation.tables(suite.groups, reference, artifacts, suite.probes), ended

    @cached_property
    def _tabulation(self) -> Tabulation:
        metrics: dict[str, Metric] = {r.name: r.load()() for r in self.registry.all("metric")}
        for layer in self.plan.suite.separation:
            metrics.setdefault(separation_at(layer), FeatureSeparation(layer))
        return Tabulation(metrics, _panels(self.registry))

    @cached_property
    def _defenses(self) -> dict[str, Defense]:
        return _used(self.plan, self.registry, "defense")

    def _status(self, keys: Sequence[str], outcome: Outcome, final: bool = False) -> tuple[Status, str]:
        """Return how what these tasks answer has ended, and why it has no numbers.

        Raises:
            DamagedArtifactError: it is to be made again.
        """
        for key in keys:
            record = outcome.records.get(key)
            if record is not None and record.status == "failed":
                return "failed", record.reason
        if outcome.stopped and not all(map(self.store.has, keys)):
            return "missing", NOT_RUN
        try:
            for key in keys:
                self.store.open(key)
        except DamagedArtifactError:
            if not final:
                raise
            return "missing", NOT_RUN if outcome.stopped else LOST
        return "ok", ""

    def _assessed(self, planned: PlannedAssessment, outcome: Outcome, final: bool) -> tuple[ArtifactResult, str]:
        """Return the measures of a shared artifact, and why it has none."""
        status, reason = self._status([planned.task], outcome, final)
        measures: dict[str, tuple[float, int]] = {}
        if status == "ok":
            found = json.loads((self.store.open(planned.task) / "measures.json").read_text())
            measures = {name: (m["value"], m["n"]) for name, m in found.items()}
        return ArtifactResult(planned.artifact, planned.dataset, planned.seed, status, measures), reason

    def _identity(self, planned: PlannedCell) -> dict[str, Any]:
        return {
            "dataset": planned.dataset,
            "model": planned.model,
            "attack": planned.attack,
            "defense": planned.defense,
            "knowledge": planned.knowledge,
            "seed": planned.seed,
            "norm": planned.norm,
            "eps": planned.eps,
        }

    def _add_without(self, number: int, status: Status, reason: str) -> None:
        """Add a cell that has no numbers."""
        planned = self.plan.cells[number]
        defense = self._defenses[planned.defense]
        result = CellResult(
            **self._identity(planned),
            status=status,
            reason=reason,
            cell=None,
            sample_ids=(),
            details={},
            sweep=planned.sweep,
            attacker=planned.attacker,
            family=defense.family,
            published=defense.published_attacks,
            unasked=planned.unasked,
        )
        with Rng(0).seeded_globals():
            self._tabulation.add(number, result)
        self.gallery.drop(number)
        self._told[number] = _Told(status, reason)

    def _add(self, number: int, outcome: Outcome, final: bool | None = None) -> None:
        """Add a cell that has numbers.

        Args:
            final: as for `finish`; None while tasks are at work.

        Raises:
            DamagedArtifactError: an artifact is to be made again.
        """
        plan, planned, told = self.plan, self.plan.cells[number], _Told("ok")
        identity, defense = self._identity(planned), self._defenses[planned.defense]
        threshold = self._threshold(planned, told)
        attacked = perturbation = eps = None
        judge = planned.clean_judge
        if planned.attack != CLEAN:
            assert planned.attacked_predict is not None
            assert planned.attacked_judge is not None
            assert planned.craft is not None
            judge = planned.attacked_judge
            attacked = self._answers(planned.attacked_predict, judge, threshold)
            perturbation = self._arrays_of(planned.craft, "size")["size"]
            budget = plan.suite.attacks[planned.attack].options.eps  # type: ignore[attr-defined]
            eps = None if budget is None else float(budget)
        split, names = self._split_of(planned.dataset), self._ids_of(planned.dataset)
        cell = Cell(
            y=split.labels,
            clean=self._answers(planned.clean_predict, planned.clean_judge, threshold),
            attacked=attacked,
            perturbation=perturbation,
            norm=planned.norm,
            eps=eps,
            success=plan.suite.protocol.success,
            **self._features(planned, outcome, bool(final), told),
        )
        if planned.minimum_norm and eps is not None:
            cell = within_budget(cell, eps)
        result = CellResult(
            **identity,
            status="ok",
            reason="",
            cell=cell,
            sample_ids=names,
            details=(cell.attacked or cell.clean).details,
            sweep=planned.sweep,
            use=plan.suite.defenses[planned.defense].use,
            family=defense.family,
            attacker=planned.attacker,
            deployed=self._seen(planned.deployed_look, outcome, final),
            victim=self._seen(planned.victim_look, outcome, final),
            published=defense.published_attacks,
            examined={
                asks: found
                for asks, key in planned.examinations.items()
                if (found := self._examined(key, outcome, threshold)) is not None
            },
            examinations=planned.examinations,
            unasked=planned.unasked,
        )
        fit = self.store.folder(plan.tasks[judge].spec["fit"])
        adversarial = None if planned.craft is None else ArrayReader(self.store.open(planned.craft))
        with Rng(0).seeded_globals():
            self._tabulation.add(number, result)
            try:
                self.gallery.add(number, result, split.images, adversarial, fit / "explanation.json")
            except InputError as error:  # an image that could be read while it was judged
                told.problems.append(f"pictures of {' / '.join(filter(None, map(str, identity.values())))}: {error}")
        self._told[number] = told

    def _threshold(self, planned: PlannedCell, told: _Told) -> float | None:
        if planned.threshold is None:
            return None
        found = json.loads((self.store.open(planned.threshold) / "threshold.json").read_text())
        if found["threshold"] is not None:
            where = {name: getattr(planned, name) for name in ("dataset", "model", "defense", "seed")}
            moves_labels = "label_if_flagged" in self._arrays_of(planned.clean_judge)
            told.thresholds[planned.threshold] = {**where, **found, "moves_labels": moves_labels}
        threshold: float | None = found["threshold"]
        return threshold

    def _answers(self, predict: str, judge: str, threshold: float | None) -> Answers:
        judged = self._arrays_of(judge)
        label, score, flagged = _flagged(judged, threshold)
        return Answers(
            self._base_label_of(predict),
            _repeats_first(label),
            None if score is None else _repeats_first(score),
            None if flagged is None else _repeats_first(flagged),
            {name.removeprefix("detail."): array for name, array in judged.items() if name.startswith("detail.")},
        )

    def _features(self, planned: PlannedCell, outcome: Outcome, final: bool, told: _Told) -> dict[str, Any]:
        key = planned.separation
        if key is None:
            return {}
        status, reason = self._status([key], outcome, final)
        if status != "ok":
            told.problems.append(f"{self.plan.tasks[key].label}: {reason}")
            return {}
        folder, layers = self.store.open(key), self.plan.suite.separation
        rows, planes, shares = (
            np.load(folder / f"{name}.npy", allow_pickle=False) for name in ("separation", "planes", "shares")
        )
        return {
            "separation": {x: row for x, row in zip(layers, rows, strict=True) if np.isfinite(row).all()},
            "planes": {x: Plane(*both) for x, *both in zip(layers, planes, shares, strict=True)},
        }

    def _answered(self, key: str, outcome: Outcome) -> bool:
        """Whether there is an answer of this run to a look or a question, and not one that it could not make anew."""
        record = outcome.records.get(key)
        return (record is None or record.status != "failed") and self.store.has(key)

    def _examined(self, key: str, outcome: Outcome, threshold: float | None) -> dict[str, np.ndarray] | None:
        """Return what was asked about a crafting; of detectors with the flags that the host sets."""
        if not self._answered(key, outcome):
            return None
        found = dict(self._arrays_of(key))
        for when in ("before", "after"):
            if f"{when}.label" in found:
                judged = {name.removeprefix(f"{when}."): found[name] for name in found if name.startswith(f"{when}.")}
                label, _, flagged = _flagged(judged, threshold)
                found |= {f"{when}.label": label} | ({} if flagged is None else {f"{when}.flagged": flagged})
        return found

    def _seen(self, key: str | None, outcome: Outcome, final: bool | None) -> Seen | None:
        """Return what was seen of a network; None where it was not looked at."""
        if key is None or not self._answered(key, outcome):
            return None
        if key in self._seen_of:
            return self._seen_of[key]
        look = Look.of(json.loads((self.store.open(key) / "probe.json").read_text()))
        if look is None:
            if final:
                return None
            if final is not None:  # tasks that are at work may be reading it
                self.store.discard(key)
            raise DamagedArtifactError(key, "another version of this program has written it")
        self._seen_of[key] = Seen(key, self.plan.tasks[key].label.removeprefix("look at "), look)
        return self._seen_of[key]

    def _read_split(self, label: str) -> Split:
        """Return the images of a data set that its cells are about."""
        component = self.plan.suite.datasets[label]
        dataset = self.registry.get("dataset", component.use).load()(component.options)
        split: Split = dataset.split(self.plan.suite.protocol.split)
        return split

    def _read_ids(self, label: str) -> list[str]:
        split = self._split_of(label)
        return [legible(name) for name in split.sample_ids(range(len(split)))]

    def _read_arrays(self, key: str, *names: str) -> dict[str, np.ndarray]:
        return ArrayReader(self.store.open(key)).read(names=list(names) or None)

    def _read_base_label(self, key: str) -> np.ndarray:
        labels: np.ndarray = self._arrays_of(key)["logits"].argmax(1).astype(np.int64)
        return labels


def _thresholds(ended: _Ended, registry: Registry) -> list[dict[str, Any]]:
    """Return the thresholds that the host has set, with the measures that another one would move."""
    measures: list[tuple[str, tuple[str, ...]]] = [(r.name, r.load().reads) for r in registry.all("metric")]
    listed = []
    for found in ended.thresholds.values():
        by = ("flagged", "label") if found["moves_labels"] else ("flagged",)
        moved = [name for name, reads in measures if set(reads) & set(by)]
        listed.append({**{name: found[name] for name in found if name != "moves_labels"}, "moves": moved})
    return listed


def _flagged(
    judged: Mapping[str, np.ndarray], threshold: float | None
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
    """Return label, score and flag (N, R) of verdicts, where the host flags by the threshold."""
    score, flagged = judged.get("score"), judged.get("flagged")
    if flagged is None and score is not None and threshold is not None:
        flagged = score > threshold
    label = judged["label"]
    if flagged is not None and "label_if_flagged" in judged:
        label = np.where(flagged, judged["label_if_flagged"], label)
    return label, score, flagged


def _repeats_first(judged: np.ndarray) -> np.ndarray:
    """Return (N,) for one judgement per image, (R, N) for several; the store keeps (N, R)."""
    return judged[:, 0] if judged.shape[1] == 1 else judged.T


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


# -- provenance -------------------------------------------------------------------------------------------------------


def _manifest(suite: Suite, registry: Registry, plan: Plan, request: RunRequest) -> dict[str, Any]:
    return {
        "format": 2,
        "suite": suite.name,
        "title": suite.title,
        "profile": suite.profile,
        "source": str(suite.path),
        "command": list(request.command),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "seeds": list(suite.seeds),
        "protocol": {
            "false_positive_rate": suite.protocol.false_positive_rate,
            "success": suite.protocol.success,
            "repeats": suite.protocol.repeats,
            "draws": suite.protocol.draws,
            "split": suite.protocol.split,
        },
        "only": [one.text for one in suite.only],
        "datasets": {
            label: {
                "use": suite.datasets[label].use,
                "fingerprint": facts.fingerprint(),
                "sizes": dict(facts.sizes),
                "image_shape": list(facts.image_shape),
                "class_names": list(facts.class_names),
                "caption": " ".join((facts.caption, *facts.remarks)).strip(),
            }
            for label, facts in plan.datasets.items()
        },
        "attacks": {
            label: {
                "use": suite.attacks[label].use,
                "needs": attack.needs,
                "evades_detector": attack.evades_detector or attack.needs_likelihoods,
                "steps": attack.iterations(),
                "doubled": [] if (more := doubled(attack.options)) is None else list(more.names),
                "options": attack.options.model_dump(mode="json"),
            }
            for label, attack in _used(plan, registry, "attack").items()
        },
        "defenses": {
            label: {
                "family": defense.family,
                "attacks": list(defense.training_attacks()),
                "randomised": defense.randomised,
                "gives_scores": defense.gives_scores,
                "networks": defense.ensemble_size,
            }
            for label, defense in _used(plan, registry, "defense").items()
        },
        "weights": _weights(suite, registry),
        "methods": _methods(suite, registry),
        "citations": _citations(suite, registry),
        "cells": len(plan.cells),
        "tasks": len(plan.tasks),
        "plugins": [
            {"module": p.module, "distribution": p.distribution, "version": p.version} for p in registry.loaded
        ],
        "broken_plugins": [{"name": b.name, "from": str(b.provenance), "reason": b.reason} for b in registry.broken],
        "versions": library_versions(),
        "device": device_description(request.device),
        "executor": request.executor,
        "workers": request.workers,
        "threads": suite.threads,
        "git": _git_commit(),
    }


def _used(plan: Plan, registry: Registry, kind: Literal["attack", "defense"]) -> dict[str, Any]:
    """Return the attacks or defenses of the cells, by label, in the order of the cells."""
    labels = dict.fromkeys(getattr(cell, kind) for cell in plan.cells)
    sections: dict[str, Mapping[str, Component]] = {"attack": plan.suite.attacks, "defense": plan.suite.defenses}
    used = (sections[kind][label] for label in labels if label != CLEAN or kind == "defense")
    return {x.label: registry.get(x.kind, x.use).create(x.options) for x in used}


def _weights(suite: Suite, registry: Registry) -> dict[str, dict[str, str]]:
    """Return where the initial weights of the suite's models come from, by the label of each that draws none."""
    models = {label: registry.get("model", one.use).create(one.options) for label, one in suite.models.items()}
    found = {label: model.weights_facts() for label, model in models.items()}
    return {label: facts for label, facts in found.items() if facts is not None}


def _methods(suite: Suite, registry: Registry) -> dict[str, dict[str, str]]:
    """Return the versions that the models, attacks and defenses of the suite are registered with, by kind and name."""
    found: dict[str, dict[str, str]] = {}
    for section in (suite.models, suite.attacks, suite.defenses):
        for component in section.values():
            registered = registry.get(component.kind, component.use)
            found.setdefault(component.kind, {})[component.use] = registered.version
    return found


def _citations(suite: Suite, registry: Registry) -> list[str]:
    """Return the BibTeX entries of all components of the suite, each once."""
    sections = (suite.datasets, suite.models, suite.attacks, suite.defenses)
    used = (component for section in sections for component in section.values())
    entries = (registry.get(component.kind, component.use).cite for component in used)
    return list(dict.fromkeys(entry.strip() for entry in entries if entry.strip()))


def library_versions() -> dict[str, str]:
    """Return the versions of Python, of this package and of the libraries that decide the numbers."""
    versions = {"python": platform.python_version(), "unmask-bench": metadata.version("unmask-bench")}
    for name in LIBRARIES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def device_description(device: str) -> str:
    """Return the device in words."""
    if device == "cuda":
        import torch

        names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
        return "cuda: " + ", ".join(names)
    return f"cpu: {_cpu_name()}, {os.cpu_count()} cores"


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _git_commit() -> dict[str, Any] | None:
    """Return commit and state of the checkout that this package is run from, or None outside one."""
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    try:
        commit = subprocess.run(
            ["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()
        changed = subprocess.run(
            ["git", "-C", str(root), "status", "--porcelain", "--untracked-files=no"],
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return {"commit": commit, "changed": bool(changed.strip())}


def _print_summary(ended: _Ended, failures: list[dict[str, Any]], folder: Path) -> None:
    say(f"{ended.cells['ok']} of {ended.cells.total()} cells done; results in {folder}")
    for reason, count in ended.lost.items():
        say(f"  missing ({count}): {reason}")
    for failure in failures:
        cost = [f"failed ({len(failure['cells'])} cells)"] if failure["cells"] or not failure["unseen"] else []
        if failure["unseen"]:
            cost.append(f"no alarms or probes looked for ({len(failure['unseen'])} cells)")
        say(f"  {', '.join(cost)}: {failure['task']}: {failure['reason']}")
