"""The run directory: what was asked, what happened, what came out.

It belongs to one resolved suite. Its manifest is written at the start, when it names no results, after the tables, when
it holds the checksum of each and of itself, and once more with the exit code, whatever the end was. So what is read is
of one try, whole and as it was written, or there is nothing to be read. The journal is only added to and carries no
checksum; images and explanations are named by the digest of their content.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from benchmark import document
from benchmark.errors import InputError
from benchmark.files import HeldError, exclusive, file_digest, is_aside, remove, storage_error, sweep, write_whole
from benchmark.store.artifact import digest
from benchmark.store.store import FOLDERS, MARK, SYNC_SECONDS

MANIFEST = "manifest.json"
JOURNAL = "journal.jsonl"
SUITE = "suite.yaml"
LOCK = ".lock"
IMAGES = "images"
REPORT = "report"
"""The folder of a run's report, in the run directory."""
GALLERY, SHEETS, DETAILS = (f"{IMAGES}/{name}.parquet" for name in ("gallery", "sheets", "details"))
TABLES = ("metrics", "samples", "curves", "comparisons", "groups", "artifacts", "alarms", "probes", "trust", "costs")
RESULTS = (*(f"{name}.parquet" for name in TABLES), GALLERY, SHEETS, DETAILS)
"""Files with results; whichever are there at the end of a run belong to it."""
WORDS = ("title", "description", "cite", "gpu")
"""Keys of a suite that change no number: a run directory may be gone on with after they were edited."""
MOST_DIFFERENCES = 5


@contextlib.contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turn what goes wrong while a run directory is written to into a message.

    Raises:
        StorageError: the disk is full.
        InputError: anything else.
    """
    try:
        yield
    except OSError as error:
        raise storage_error(error, folder) or InputError(
            f"the output folder {str(folder)!r} cannot be written to: {error.strerror or error}. "
            "Choose another by --output DIR; finished work is kept in the cache."
        ) from None


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest of a run directory.

    Raises:
        OSError: it cannot be read.
        ValueError: it is damaged.
    """
    found = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    if not isinstance(found, dict) or found.pop("checksum", None) != digest(found):
        raise ValueError("its checksum differs, or an earlier version wrote it")
    return found


@dataclass(frozen=True)
class Identity:
    """What a run directory belongs to.

    Attributes:
        suite: the resolved suite, plain data.
        shard: `i/n`, None for the whole grid.
    """

    suite: Mapping[str, Any]
    shard: str | None

    @cached_property
    def text(self) -> bytes:
        """The suite as `suite.yaml` has it."""
        return document.dump(dict(self.suite)).encode()

    @cached_property
    def facts(self) -> dict[str, Any]:
        """All that makes another run of it where it differs."""
        facts = {"shard": self.shard, **{name: value for name, value in self.suite.items() if name not in WORDS}}
        plain: dict[str, Any] = json.loads(json.dumps(facts))
        return plain

    @cached_property
    def key(self) -> str:
        """The digest of these facts."""
        return digest("run", self.facts)

    def key_of(self, answers: Iterable[str]) -> str:
        """Return the key of a run: what it is of, and the keys of all that its plan answers with."""
        return digest(self.key, sorted(set(answers)))


class RunDir:
    """A folder that holds one run.

    Args:
        path: created by `prepare`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._manifest: Mapping[str, Any] = {}
        self._synced = -SYNC_SECONDS

    def prepare(self, cache: Path) -> None:
        """Create the folder, or look whether the one that is there is a run to go on with.

        Args:
            cache: may lie inside, beside what a run writes.

        Raises:
            InputError: it is something else, or cannot be written to.
        """
        with writing(self.path):
            if self.path.exists() and not self.path.is_dir():
                raise InputError(f"--output {str(self.path)!r} is a file. Give a folder.")
            # A start that was stopped at once leaves the lock, and perhaps a manifest that had not got its name yet.
            left = {LOCK}
            place, kept = self.path.resolve(), cache.resolve()
            if kept.is_relative_to(place):
                top = kept.relative_to(place).parts[:1]
                if top and top[0] in (IMAGES, REPORT):
                    raise InputError(
                        f"--cache {str(cache)!r} lies in {str(self.path / top[0])!r}, which each run writes anew. Give "
                        "another --cache."
                    )
                left |= set(top or (*FOLDERS, MARK))
            if self.path.is_dir() and not any((self.path / name).exists() for name in (MANIFEST, JOURNAL)):
                for entry in self.path.iterdir():
                    if entry.name not in left and not is_aside(entry.name):
                        raise InputError(
                            f"--output {str(self.path)!r} has files in it that no run wrote (there is no {MANIFEST}, "
                            f"but {entry.name!r}). Give an empty or a new folder, so that nothing of yours is "
                            "overwritten."
                        )
            self.path.mkdir(parents=True, exist_ok=True)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep a second `bench run` out of the folder.

        Raises:
            InputError: another run is at work there, or the folder cannot be written to.
        """
        lock = exclusive(self.path / LOCK, waiting=None)
        try:
            with writing(self.path):
                lock.__enter__()
        except HeldError as holder:
            raise InputError(
                f"another run is writing to {str(self.path)!r} ({holder}). Wait for it, or give another --output."
            ) from None
        with contextlib.ExitStack() as stack:
            stack.push(lock.__exit__)
            yield

    def claim(self, identity: Identity, replace: bool) -> None:
        """Look whether the folder is free for this run, or holds an earlier try of it.

        Args:
            replace: remove the results of another run, if that is what the folder holds.

        Raises:
            InputError: it holds another run.
        """
        try:
            there = read_manifest(self.path)
        except (OSError, ValueError):
            return  # nothing that anybody could still read
        if there.get("identity") == identity.key:
            return
        if not replace:
            raise InputError(
                f"{str(self.path)!r} belongs to another run: {self._differences(there, identity)}. Give another "
                "--output to keep both, or --replace to put this run in its place: that removes its tables and "
                "images, not its work, which stays in the cache."
            )
        with writing(self.path):
            for name in (*RESULTS, IMAGES, JOURNAL, SUITE, MANIFEST):
                remove(self.path / name)

    def _differences(self, there: Mapping[str, Any], identity: Identity) -> str:
        try:
            suite = (self.path / SUITE).read_bytes()
            if hashlib.sha256(suite).hexdigest() != there["files"][SUITE]:
                raise ValueError
            found = list(differences(Identity(yaml.safe_load(suite), there["shard"]).facts, identity.facts, ""))
        except (OSError, ValueError, KeyError):
            return f"of which its damaged {SUITE} does not tell any more"
        more = f", and {len(found) - MOST_DIFFERENCES} more" if len(found) > MOST_DIFFERENCES else ""
        return "; ".join(found[:MOST_DIFFERENCES]) + more

    def begin(self, identity: Identity, manifest: Mapping[str, Any]) -> None:
        """Withdraw the results of an earlier try, if there was one, and say what is being run.

        Raises:
            StorageError, InputError: the folder cannot be written to.
        """
        sweep(self.path)
        suite = identity.text
        # In this order: a folder that has a manifest is known as ours.
        self._write_manifest({**manifest, "identity": identity.key, "shard": identity.shard}, {SUITE: suite})
        with writing(self.path):
            write_whole(self.path / SUITE, suite)

    def finish(self, identity: Identity, manifest: Mapping[str, Any]) -> None:
        """Publish the results that have been written: from here on they are read.

        Raises:
            StorageError, InputError: the folder cannot be written to.
        """
        with writing(self.path):
            write_whole(self.path / SUITE, identity.text)
        results = {name: self.path / name for name in (SUITE, *RESULTS) if (self.path / name).is_file()}
        self._write_manifest({**manifest, "identity": identity.key, "shard": identity.shard}, results)

    def end(self, exit_code: int, why: str = "") -> None:
        """Say in the manifest, whichever results it names, and in the journal what the command exits with.

        Args:
            why: what ended the run before its time.

        Raises:
            StorageError, InputError: the folder cannot be written to.
        """
        facts = {"exit_code": exit_code, **({"ended_by": why} if why else {})}
        try:
            self.note("run ended early" if why else "run finished", **facts)
        finally:
            self._publish({**self._manifest, **facts})

    def _write_manifest(self, manifest: Mapping[str, Any], files: Mapping[str, Path | bytes]) -> None:
        sums = {
            name: hashlib.sha256(file).hexdigest() if isinstance(file, bytes) else file_digest(file)
            for name, file in files.items()
        }
        self._publish({**manifest, "files": sums})

    def _publish(self, manifest: Mapping[str, Any]) -> None:
        self._manifest = manifest
        # The digest is taken of what a reader will parse.
        body = json.loads(json.dumps(manifest))
        text = json.dumps({**body, "checksum": digest(body)}, indent=1, ensure_ascii=False)
        with writing(self.path):
            write_whole(self.path / MANIFEST, text.encode("utf-8", "backslashreplace"))

    def note(self, event: str, **data: Any) -> None:
        """Append a line to the journal, and see the journal on the disk every now and then.

        A power cut costs lines of that time, of which an artifact was there before the line was; a kill costs none.

        Raises:
            StorageError, InputError: the folder cannot be written to.
        """
        line = json.dumps({"event": event, "time": datetime.now(UTC).isoformat(timespec="milliseconds"), **data})
        with writing(self.path):
            if (self.path / JOURNAL).is_dir():
                remove(self.path / JOURNAL)
            with open(self.path / JOURNAL, "a", encoding="utf-8") as journal:
                if journal.tell() and not _ends_with_newline(self.path / JOURNAL):
                    journal.write("\n")  # the line before was torn by a power cut
                journal.write(line + "\n")
                journal.flush()
                if time.monotonic() - self._synced > SYNC_SECONDS:
                    os.fsync(journal.fileno())
                    self._synced = time.monotonic()


def differences(old: Any, new: Any, path: str) -> Iterator[str]:
    """Yield what differs, as `dotted.path: old → new`."""
    if isinstance(old, dict) and isinstance(new, dict):
        for name in dict.fromkeys([*old, *new]):
            yield from differences(old.get(name, _ABSENT), new.get(name, _ABSENT), f"{path}.{name}" if path else name)
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for number, (one, other) in enumerate(zip(old, new)):
            yield from differences(one, other, f"{path}.{number}")
    elif old != new:
        yield f"{path}: {_shown(old)} → {_shown(new)}"


_ABSENT = object()


def _shown(value: Any) -> str:
    if value is _ABSENT:
        return "(nothing)"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:59] + "…"


def _ends_with_newline(path: Path) -> bool:
    with open(path, "rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"
