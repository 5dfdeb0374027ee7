"""The run directory: what was asked, what happened, what came out."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmark.errors import InputError
from benchmark.store import storage_error

MANIFEST = "manifest.json"
JOURNAL = "journal.jsonl"
SUITE = "suite.yaml"
LOCK = ".lock"


class RunDir:
    """A folder that holds one run.

    Args:
        path: created by `prepare`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def prepare(self) -> None:
        """Create the folder, or look whether the one that is there is a run to go on with.

        Raises:
            InputError: it is something else, or cannot be written to.
        """
        try:
            if self.path.exists() and not self.path.is_dir():
                raise InputError(f"--output {str(self.path)!r} is a file. Give a folder.")
            if self.path.is_dir() and any(self.path.iterdir()) and not (self.path / MANIFEST).exists():
                raise InputError(
                    f"--output {str(self.path)!r} has files in it that no run wrote (there is no {MANIFEST}). "
                    "Give an empty or a new folder, so that nothing of yours is overwritten."
                )
            self.path.mkdir(parents=True, exist_ok=True)
            (self.path / LOCK).touch()
        except OSError as error:
            raise storage_error(error, self.path) or InputError(
                f"the output folder {str(self.path)!r} cannot be written to: {error.strerror}. "
                "Choose another by --output DIR."
            ) from None

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep a second `bench run` out of the folder.

        Raises:
            InputError: another run is at work there.
        """
        with open(self.path / LOCK, "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise InputError(
                    f"another run is writing to {str(self.path)!r}. Wait for it, or give another --output."
                ) from None
            yield

    def write(self, name: str, text: str) -> None:
        """Write a file of the run, whole or not at all."""
        aside = self.path / f".{name}.aside"
        with open(aside, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, self.path / name)

    def write_manifest(self, manifest: Mapping[str, Any]) -> None:
        """Write manifest.json."""
        self.write(MANIFEST, json.dumps(manifest, indent=1, ensure_ascii=False))

    def note(self, event: str, **data: Any) -> None:
        """Append a line to the journal, and see it on the disk."""
        line = json.dumps({"event": event, "time": datetime.now(UTC).isoformat(timespec="milliseconds"), **data})
        with open(self.path / JOURNAL, "a", encoding="utf-8") as journal:
            if journal.tell() and not _ends_with_newline(self.path / JOURNAL):
                journal.write("\n")  # the line before was torn by a power cut
            journal.write(line + "\n")
            journal.flush()
            os.fsync(journal.fileno())


def _ends_with_newline(path: Path) -> bool:
    with open(path, "rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"
