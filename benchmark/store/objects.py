"""What a cache consists of: objects by name, in a folder as files, or at an address (`remote`)."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmark.files import make_folder, storing, write_whole


@dataclass(frozen=True)
class Stored:
    """An object: its size in bytes, and when it was written, in seconds since 1970."""

    bytes: int
    written: float


class Folder:
    """The files below a folder, as a `Remote` gives the objects under an address."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def read(self, name: str) -> bytes | None:
        """Return a file's content, None where there is none that can be read."""
        try:
            return (self.root / name).read_bytes()
        except OSError:
            return None

    def read_many(self, names: Sequence[str]) -> dict[str, bytes]:
        """Return the contents of those files that are there."""
        return {name: content for name in names if (content := self.read(name)) is not None}

    def write(self, name: str, content: bytes) -> None:
        """Write a file, whole or not at all.

        Raises:
            StorageError: no space is left.
        """
        with storing(self.root):
            make_folder((self.root / name).parent)
            write_whole(self.root / name, content, synced=False)

    def list(self, folder: str) -> dict[str, Stored]:
        """Return all files below a folder, by their names within it."""
        found, top = {}, self.root / folder
        for where, _, names in os.walk(top):
            for name in names:
                path = Path(where, name)
                with contextlib.suppress(OSError):  # it is being taken away
                    about = path.stat()
                    found[path.relative_to(top).as_posix()] = Stored(about.st_size, about.st_mtime)
        return found
