"""`bench merge`: the shards of a suite become the run that nobody has split."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from benchmark.display import LineDisplay, TerminalDisplay
from benchmark.engine import Outcome
from benchmark.errors import InputError
from benchmark.files import file_digest
from benchmark.names import IDENTITY
from benchmark.plan.plan import Plan, shard
from benchmark.plan.planner import make_plan
from benchmark.plan.task import Judge
from benchmark.plugins import Registry
from benchmark.progress import TaskRecord
from benchmark.provenance import manifest_of
from benchmark.results.collect import Tabulator
from benchmark.results.read import Run, load_run
from benchmark.run import Ending, end_told, note_task, tell
from benchmark.rundir import Identity, RunDir, differences
from benchmark.store.artifact import MANIFEST
from benchmark.store.location import absolute, default_cache, is_address, shown
from benchmark.store.store import Store
from benchmark.suite import Suite, load_suite

VALUES = ("value", "ci_low", "ci_high", "n")
"""What must be equal in a shard's row and in that of the whole."""


@dataclass(frozen=True)
class Shard:
    """A run of part `index` (from 1) of `count`."""

    run: Run
    index: int
    count: int

    def __str__(self) -> str:
        return f"shard {self.index}/{self.count} in {str(self.run.path)!r}"


def merge_runs(
    folders: Sequence[Path],
    output: Path,
    registry: Registry,
    display: LineDisplay | TerminalDisplay,
    *,
    caches: Sequence[str],
    report: bool,
    replaces: bool,
    command: Sequence[str],
) -> int:
    """Make the tables of the whole grid of what the shards have left in their caches, and return the exit code.

    Nothing is trained, crafted or judged; a cell that failed in its shard has failed. What lies in another cache than
    the first is copied there.

    Args:
        folders: run directories of all shards.
        output: the run directory of the whole.
        registry: the plugins.
        display: hears warnings.
        caches: folders or addresses, of which the first has, or gets, all answers; by default that of the first shard.
            No other is opened, save the default one: who wrote a run does not choose it.
        report: whether reports are written.
        replaces: put this run in the place of another that the output folder holds.
        command: as it was given.

    Raises:
        InputError: the runs do not belong together, or something that they made is not there any more.
    """
    shards = _belonging_together([_shard_of(load_run(folder)) for folder in folders])
    suite = _suite_of(shards[0].run, registry)
    plan = make_plan(suite, registry)
    identity = Identity(suite.resolved, None)
    for one in shards:
        part = Identity(suite.resolved, f"{one.index}/{one.count}")
        if part.key_of(shard(plan, one.index, one.count).answers()) != one.run.manifest["key"]:
            raise InputError(
                f"{one} was run with other data, files or plugins than there are here: its tasks have other keys. "
                "Merge where it was run, with the same --plugin and folder of data, or run it anew."
            )
    named = [*map(absolute, caches), *_places(shards, caches)]
    called: dict[str, str] = {}
    for place in named:
        called.setdefault(_real(place), place)
    places = list(called.values())
    store = Store(places[0])
    run = RunDir(output)
    run.prepare(store.root)
    store.prepare()
    with run.locked():
        run.claim(identity, replaces)
        outcome = _gathered(plan, store, shards, places)
        key = identity.key_of(plan.answers())
        first = shards[0].run.manifest
        manifest = {
            **manifest_of(
                suite,
                registry,
                plan,
                key=key,
                cache=store.place,
                command=command,
                device="cpu",
                executor=first["executor"],
                workers=first["workers"],
            ),
            "device": "; ".join(dict.fromkeys(one.run.manifest["device"] for one in shards)),
            "merged": [
                {"run": str(one.run.path), "shard": f"{one.index}/{one.count}", "key": one.run.key} for one in shards
            ],
        }
        run.begin(identity, manifest)
        with end_told(run, registry, display):
            run.note("run merged", suite=suite.name, shards=[str(one.run.path) for one in shards])
            tell(registry, display, "run_started", run=run)
            tabulator = Tabulator(plan, store, registry, run.path)
            for record in outcome.records.values():
                tabulator.heard(record)
                if record.status == "failed" or record.kind == "artifact":
                    note_task(run, record)
            tables, ended = tabulator.finish(outcome, final=True)
            for one in shards:
                _compare(one, tables.metrics)
            ending = Ending(plan, outcome, tables, ended)
            ending.write(run, registry, tabulator, key, display)
            return ending.conclude(run, identity, manifest, registry, display, report)


def _shard_of(run: Run) -> Shard:
    """Return what a run is.

    Raises:
        InputError: it is a whole one, or has not come to its end.
    """
    where, part = str(run.path), run.manifest.get("shard")
    if part is None:
        raise InputError(f"{where!r} is no shard: it was run without --shard, so there is nothing to merge it with.")
    code = run.manifest.get("exit_code")
    if code not in (0, 1):
        state = (
            "is at work, or was stopped before it came to its end" if code is None else f"ended with exit code {code}"
        )
        raise InputError(f"the run of shard {part} in {where!r} {state}. Give its command again, then merge.")
    index, count = map(int, part.split("/"))
    return Shard(run, index, count)


def _belonging_together(shards: Sequence[Shard]) -> list[Shard]:
    """Return the shards in order, each once.

    Raises:
        InputError: they are not those of one suite and one software, or some are missing, or two differ.
    """
    first = shards[0]
    facts = [Identity(one.run.suite, None).facts for one in shards]
    by_index: dict[int, Shard] = {}
    for one, other in zip(shards, facts, strict=True):
        if one.count != first.count:
            raise InputError(f"{one} and {first} are of two divisions: all shards have the same N in --shard I/N.")
        if found := list(differences(facts[0], other, "")):
            raise InputError(f"{one} is of another suite than {first}: {'; '.join(found[:3])}.")
        for what in ("versions", "plugins"):
            if found := list(differences(first.run.manifest[what], one.run.manifest[what], what)):
                raise InputError(
                    f"{one} was run by other software than {first}: {'; '.join(found[:3])}. Their numbers are not "
                    "those of one run: run one of them anew with the other's."
                )
        before = by_index.setdefault(one.index, one)
        if before.run.table("metrics").to_csv() != one.run.table("metrics").to_csv():
            raise InputError(f"{one} and {before} are the same part with different numbers. Give one of them.")
    missing = [f"{index}/{first.count}" for index in range(1, first.count + 1) if index not in by_index]
    if missing:
        raise InputError(f"shards are missing: {', '.join(missing)}. Run them (`--shard {missing[0]}`), and give all.")
    return [by_index[index] for index in sorted(by_index)]


def _suite_of(run: Run, registry: Registry) -> Suite:
    run.read("suite.yaml")  # as the run wrote it
    suite = load_suite(str(run.path / "suite.yaml"), registry=registry)
    return replace(suite, profile=run.manifest["profile"], path=Path(run.manifest["source"]))


def _places(shards: Sequence[Shard], named: Sequence[str]) -> list[str]:
    """Return where the caches of the shards are.

    Raises:
        InputError: elsewhere than at one of the `named`, or in the default one.
    """
    known = {_real(location) for location in (*named, default_cache())}
    places = [str(one.run.manifest["cache"]) for one in shards]
    if unknown := {place: one for place, one in zip(places, shards, strict=True) if _real(place) not in known}:
        told = ", ".join(f"{one} had its cache at {shown(place)!r}" for place, one in unknown.items())
        options = shlex.join(word for place in unknown for word in ("--cache", shown(place)))
        raise InputError(
            f"{told}: what a manifest names is not opened for that alone. If you know it, give {options} (after the "
            "--cache that is to have all answers, if that is another)."
        )
    return places


def _real(location: str) -> str:
    return location if is_address(location) else os.path.realpath(location)


def _gathered(plan: Plan, store: Store, shards: Sequence[Shard], places: Sequence[str]) -> Outcome:
    """Return how all tasks ended, with what the tables are made of in `store`.

    Raises:
        InputError: an answer is nowhere, or there are two.
    """
    failed: dict[str, dict[str, Any]] = {}
    for one in shards:
        lines = one.run.journal
        last = max((number for number, line in enumerate(lines) if line["event"] == "run started"), default=0)
        failed |= {line["key"]: line for line in lines[last:] if line["event"] == "task failed"}
    others = [other for other in map(Store, places) if other.place != store.place]
    answers = set(plan.answers())
    read = answers | {plan.tasks[key].of(Judge).fit for key in answers if plan.tasks[key].kind == "judge"}
    records = {}
    for key, task in plan.required(answers).items():
        holding = [other for other in others if other.has(key)]
        if key in read:
            _bring(key, task.label, store, holding)
        if made := next((place for place in (store, *holding) if place.has(key)), None):
            records[key] = TaskRecord(key, task.kind, task.label, "done", meta=made.meta(key))
        elif key in failed:
            line = failed[key]
            why = (line["reason"], line.get("traceback", ""), tuple(line.get("warnings", ())))
            records[key] = TaskRecord(key, task.kind, task.label, "failed", *why, waited_for=line.get("waited_for", ""))
        elif key in read:
            raise InputError(
                f"the answer of '{task.label}' is in no cache of these shards ({', '.join(map(repr, places))}). Give "
                "--cache where it is, or the commands of the shards again: they make what is missing."
            )
    return Outcome(records)


def _bring(key: str, label: str, store: Store, holding: Iterable[Store]) -> None:
    """Copy an artifact into `store` where it is not there, from one of those that hold it.

    Raises:
        InputError: two caches hold different answers.
    """
    found: dict[str, str] | None = _files(store.open(key)) if store.has(key) else None
    for other in holding:
        folder = other.open(key)
        files = _files(folder)
        if found is not None and files != found:
            raise InputError(
                f"two caches of these shards hold different answers of '{label}', so the shards are not parts of one "
                f"run: {store.location!r} and {other.location!r}. Run all shards on one cache, or one of the two anew."
            )
        if found is None:
            with store.building(key) as building:
                if building is not None:
                    shutil.copytree(folder, building.out, ignore=shutil.ignore_patterns(MANIFEST), dirs_exist_ok=True)
                    building.publish(other.meta(key))
            found = files


def _files(folder: Path) -> dict[str, str]:
    return {
        file.relative_to(folder).as_posix(): file_digest(file)
        for file in folder.rglob("*")
        if file.is_file() and file.name != MANIFEST
    }


def _compare(one: Shard, metrics: pd.DataFrame) -> None:
    """Hold a shard's own numbers against those of the whole.

    Raises:
        InputError: the cache holds other answers than the shard had.
    """
    names = [*IDENTITY, "metric"]
    own = one.run.metrics
    cells = own[(own.status == "ok") & ~own.attack.str.startswith("worst-of")]
    both = cells.merge(metrics, on=names, suffixes=("", "_whole"))
    for name in VALUES:
        here, there = both[name], both[f"{name}_whole"]
        if (differ := (here != there) & ~(here.isna() & there.isna())).any():
            row = both[differ].iloc[0]
            raise InputError(
                f"{one} says {row.metric} {row[name]} of {row.dataset} / {row.model} / {row.attack} / {row.defense}, "
                f"and the answers in the cache say {row[f'{name}_whole']}: they were made again since. Give "
                "the shard's command again, then merge."
            )
