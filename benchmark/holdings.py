"""What a cache holds, for whom, and what of it may go: `bench cache`."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import time
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

from benchmark.errors import InputError, unknown_name
from benchmark.files import is_aside
from benchmark.plan.task import TaskKind
from benchmark.store.artifact import MANIFEST, DamagedArtifactError, digest, is_key, key_of, parsed, place
from benchmark.store.store import SIDE_BY_SIDE, Store
from benchmark.wording import columns, legible, seconds_text, size_text

SHORT = 16
"""So many digits of a key tell it from all others of a cache."""
AT_ONCE = 1000
"""So many files are read at once where a cache lies at an address."""
UPLOADING_SECONDS = 3600.0
"""So long after its last file an artifact without a manifest may still be on its way to an address."""
UNFINISHED, DAMAGED = "unfinished", "damaged"
"""Kinds beside those of tasks: what is half done on this machine, and artifacts whose manifest cannot be read."""


@dataclass(frozen=True)
class UsedBy:
    """A run that has asked for artifacts of a cache.

    Attributes:
        run: its directory; of `bench verify-attack` the suite's file.
        when: it began last, in seconds since 1970.
        keys: of the artifacts, the first `SHORT` digits of each.
    """

    run: str
    suite: str
    when: float
    keys: frozenset[str]


@dataclass(frozen=True)
class Holding:
    """Something that a cache holds.

    Attributes:
        kind: of its task, `UNFINISHED` or `DAMAGED`.
        made, used: when it was published, and when a run asked for it last, in seconds since 1970.
        runs: the directories of the runs that have asked for it.
    """

    key: str
    kind: str
    label: str
    bytes: int
    made: float
    used: float
    runs: tuple[str, ...] = ()


def note_use(store: Store, run: Path, suite: str, keys: Iterable[str], *, replaces: bool = True) -> None:
    """Keep in mind that a run asks for these artifacts now.

    Args:
        store: the cache.
        run: where the run is.
        suite: name of its suite.
        keys: of the artifacts.
        replaces: what was asked for from there before is needed no more; else only the same is noted once.

    Raises:
        StorageError: no space is left, or the address does not answer.
    """
    where = _named(run)
    about = {"run": where, "suite": suite, "keys": sorted({key[:SHORT] for key in keys})}
    name = digest(socket.gethostname(), where, *([] if replaces else [about["keys"]]))[:SHORT]
    store.objects.write(f"runs/{name}.json", json.dumps(about).encode())


def runs_of(store: Store) -> list[UsedBy]:
    """Return the runs that have asked for artifacts of a cache, the latest first.

    Raises:
        StorageError: the address does not answer.
    """
    files = {name: about for name, about in store.objects.list("runs").items() if not is_aside(name)}
    texts = store.objects.read_many([f"runs/{name}" for name in files])
    found = []
    for name, stored in files.items():
        try:
            about = json.loads(texts[f"runs/{name}"])
            keys = frozenset(map(str, about["keys"]))
            found.append(UsedBy(str(about["run"]), str(about["suite"]), stored.written, keys))
        except (ValueError, KeyError, TypeError):
            continue  # damage; the run's next try writes it anew
    return sorted(found, key=lambda run: -run.when)


def needed_by(store: Store, run: Path) -> set[str]:
    """Return what a run needs of a cache: the first `SHORT` digits of keys.

    What it asked for when it began last, so that of one that was interrupted all is needed; where this cache does not
    know the run, what its tables were made from.

    Raises:
        InputError: it is no run directory, or an unfinished one that this cache does not know.
        StorageError: the address does not answer.
    """
    from benchmark.results.read import load_run  # imports pandas, which other commands need not wait for

    noted = [known.keys for known in runs_of(store) if known.run == _named(run)]
    return set().union(*noted) if noted else {key[:SHORT] for key in load_run(run).costs["key"]}


def _named(run: Path) -> str:
    return legible(os.path.abspath(run))


def holdings(store: Store) -> list[Holding]:
    """Return all that a cache holds, what was used last at the end.

    Raises:
        StorageError: the address does not answer.
    """
    users: dict[str, list[UsedBy]] = {}
    for run in runs_of(store):
        for key in run.keys:
            users.setdefault(key, []).append(run)
    sizes: Counter[str] = Counter()
    made: dict[str, float] = {}
    written: dict[str, float] = {}
    for name, stored in store.objects.list("artifacts").items():
        if ours := key_of(name):
            sizes[ours] += stored.bytes
            written[ours] = max(written.get(ours, 0.0), stored.written)
            if key_of(name, manifest=True):
                made[ours] = stored.written
    found = []
    # Without a manifest it is being uploaded, or was once.
    keys = sorted(key for key in sizes if key in made or written[key] < time.time() - UPLOADING_SECONDS)
    for start in range(0, len(keys), AT_ONCE):
        names = {key: f"{place(key)}/{MANIFEST}" for key in keys[start : start + AT_ONCE]}
        texts = store.objects.read_many([name for key, name in names.items() if key in made])
        for key, name in names.items():
            if key in made and name not in texts:
                continue  # it has been taken away
            try:
                meta = parsed(key, texts.get(name, b""))["meta"]
                kind, label = str(meta.get("kind", "")), str(meta.get("label", ""))
            except DamagedArtifactError:
                kind, label = DAMAGED, ""
            asked = users.get(key[:SHORT], [])
            when = made.get(key, written[key])
            used = max([when, *(run.when for run in asked)])
            found.append(Holding(key, kind, label, sizes[key], when, used, tuple(run.run for run in asked)))
    unfinished: dict[str, list[os.stat_result]] = {}
    for folder in sorted((store.root / "partial").glob("*")):
        key = folder.name.partition(".")[0]
        if is_key(key):
            with contextlib.suppress(OSError):  # it is being taken away
                files = [path.stat() for path in folder.rglob("*") if path.is_file()]
                unfinished.setdefault(key, []).extend(files)
    for key, files in unfinished.items():
        if files:
            latest = max(file.st_mtime for file in files)
            found.append(Holding(key, UNFINISHED, "", sum(file.st_size for file in files), latest, latest))
    return sorted(found, key=lambda holding: (holding.used, holding.key))


@dataclass(frozen=True)
class Choice:
    """Which holdings are meant: those that meet all that is said.

    Attributes:
        kinds: of these kinds.
        made_before, used_before: made, and last asked for, before that time, in seconds since 1970.
        unused_by: the first `SHORT` digits of keys that must not be among them.
        leaving: of these the ones that were used least recently, until the cache holds no more bytes.
    """

    kinds: Collection[str] = ()
    made_before: float | None = None
    used_before: float | None = None
    unused_by: Collection[str] | None = None
    leaving: int | None = None

    def of(self, held: Sequence[Holding]) -> list[Holding]:
        """Return those of `held`, which are in the order of their last use."""
        chosen = [
            one
            for one in held
            if (not self.kinds or one.kind in self.kinds)
            and (self.made_before is None or one.made < self.made_before)
            and (self.used_before is None or one.used < self.used_before)
            and (self.unused_by is None or one.key[:SHORT] not in self.unused_by)
        ]
        if self.leaving is None:
            return chosen
        surplus, taken = sum(one.bytes for one in held) - self.leaving, []
        for one in chosen:
            if surplus <= 0:
                break
            taken.append(one)
            surplus -= one.bytes
        return taken


@dataclass
class Pruned:
    """What was removed, and what stays since a process is at work on it."""

    removed: list[Holding] = field(default_factory=list)
    busy: list[Holding] = field(default_factory=list)


def prune(store: Store, chosen: Iterable[Holding], *, damaged_only: bool = False) -> Pruned:
    """Remove holdings.

    Args:
        damaged_only: verify each again, when nobody else is at work on it; what is intact by then is in neither list.

    Raises:
        StorageError: the address does not answer.
    """

    def taken_away(one: Holding) -> bool | None:
        if damaged_only and not store.discard(one.key, damaged_only=True):
            return None
        return store.remove_unfinished(one.key) if one.kind == UNFINISHED else store.remove(one.key)

    pruned = Pruned()
    chosen = list(chosen)
    with ThreadPoolExecutor(SIDE_BY_SIDE) as removing:
        for one, gone in zip(chosen, removing.map(taken_away, chosen), strict=True):
            if gone is not None:
                (pruned.removed if gone else pruned.busy).append(one)
    return pruned


def damaged(store: Store, held: Iterable[Holding]) -> list[tuple[Holding, str]]:
    """Hold all finished artifacts against their checksums; return those that differ, and how.

    Raises:
        StorageError: the address does not answer.
    """

    def fault(one: Holding) -> str:
        try:
            store.verify(one.key)
        except DamagedArtifactError as error:
            return str(error)
        return ""

    finished = [one for one in held if one.kind != UNFINISHED]
    with ThreadPoolExecutor(SIDE_BY_SIDE) as verifying:
        return [(one, told) for one, told in zip(finished, verifying.map(fault, finished), strict=True) if told]


# -- words ------------------------------------------------------------------------------------------------------------


_AGES = {"m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def age(option: str, text: str) -> float:
    """Return an age such as `30d` in seconds.

    Raises:
        InputError: it is none.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([mhdw])", text.strip())
    if found is None:
        raise InputError(f"{option} {text!r}: write a number and m, h, d or w, such as 12h or 30d.")
    return float(found[1]) * _AGES[found[2]]


def size(option: str, text: str) -> int:
    """Return a size such as `50GB` or `20GiB` in bytes.

    Raises:
        InputError: it is none.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(i?)B?", text.strip(), re.IGNORECASE)
    if found is None:
        raise InputError(f"{option} {text!r}: write a number and kB, MB, GB or TB (or KiB, …), such as 50GB.")
    power = " KMGT".index(found[2].upper() or " ")
    if len(found[1]) > 15:
        raise InputError(f"{option} {found[1][:15]}…: that is more than any cache holds.")
    return int(float(found[1]) * (1024 if found[3] else 1000) ** power)


def known_kinds(kinds: Sequence[str], held: Iterable[Holding]) -> Sequence[str]:
    """Return `kinds`, of tasks or of what is held.

    Raises:
        InputError: one is neither.
    """
    allowed = {*get_args(TaskKind), UNFINISHED, DAMAGED, *(one.kind for one in held)}
    for kind in kinds:
        if kind not in allowed:
            raise InputError(f"--kind: {unknown_name('kind', kind, allowed)}")
    return kinds


def in_words(store: Store, held: Sequence[Holding], by: str) -> str:
    """Return a table of holdings: a line per kind, run or artifact."""
    now = time.time()
    head: tuple[str, ...]
    rows: list[tuple[str, ...]]
    if by == "artifact":
        head = ("artifact", "kind", "size", "age", "last use", "runs", "what")
        rows = [(one.key[:12], one.kind, *_facts([one], now), str(len(one.runs)), one.label or one.key) for one in held]
    elif by == "run":
        head = ("run", "artifacts", "size", "only its", "last use", "suite")
        rows = []
        for run in runs_of(store):
            its = [one for one in held if run.run in one.runs]
            alone = sum(one.bytes for one in its if len(one.runs) == 1)
            total = size_text(sum(one.bytes for one in its))
            rows.append((run.run, str(len(its)), total, size_text(alone), _ago(now - run.when), run.suite))
        nobody = [one for one in held if not one.runs]
        if nobody:
            total = size_text(sum(one.bytes for one in nobody))
            rows.append(("(of no run)", str(len(nobody)), total, total, _ago(now - nobody[-1].used), ""))
    else:
        head = ("kind", "artifacts", "size", "age", "last use")
        rows = [
            (kind, str(len(its)), *_facts(its, now))
            for kind in sorted({one.kind for one in held})
            for its in [[one for one in held if one.kind == kind]]
        ]
    total = f"{len(held)} artifacts, {size_text(sum(one.bytes for one in held))} in {store.location}"
    return "\n".join([*(columns([head, *rows]) if rows else []), total])


def _facts(held: Sequence[Holding], now: float) -> tuple[str, str, str]:
    """Return the size of holdings, the age of the oldest, and the time since the last use of any."""
    total = size_text(sum(one.bytes for one in held))
    return total, _ago(now - min(one.made for one in held)), _ago(now - max(one.used for one in held))


def _ago(seconds: float) -> str:
    days = int(seconds // 86400)
    return f"{days} d" if days >= 2 else seconds_text(max(seconds, 0))


def describe_prune(store: Store, held: Sequence[Holding], chosen: Sequence[Holding], pruned: Pruned | None) -> str:
    """Return what was removed, or would be."""
    gone = chosen if pruned is None else pruned.removed
    lines = [in_words(store, gone, "kind").rpartition("\n")[0]] if gone else []
    total = size_text(sum(one.bytes for one in gone))
    left = size_text(sum(one.bytes for one in held) - sum(one.bytes for one in gone))
    if pruned is None:
        lines.append(
            f"would remove {len(gone)} of {len(held)} artifacts, {total}; {left} would stay. --yes removes them."
        )
    else:
        lines.append(f"removed {len(gone)} of {len(held)} artifacts, {total}; {left} stay")
        if pruned.busy:
            lines.append(f"{len(pruned.busy)} stay, since a process is at work on them: give the command again later.")
    return "\n".join(lines)
