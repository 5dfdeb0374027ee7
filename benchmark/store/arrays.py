"""Arrays with a row per image, in parts: written as they come, read in slices."""

from __future__ import annotations

import hashlib
import json
import time
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.files import file_digest, remove, write_whole
from benchmark.store.artifact import DamagedArtifactError, digest
from benchmark.store.store import Building

FLUSH_SECONDS = 10.0
"""Arrays are written to disk at least this often: an interruption costs about that much."""
FLUSH_BYTES = 16 * 1024**2
"""And as soon as so much has come: what waits is in memory three times while it is written."""
EIGHT_BIT = ":8-bit"
"""Ends the name of an array that is stored in multiples of 1/255."""
OPEN = 2
"""Parts that a reader keeps open: what is read of an open file counts as memory."""


class ArrayWriter:
    """Writes per-image arrays in parts, so that an interrupted task goes on after the last part.

    Args:
        building: where the parts go.
        eight_bit: arrays of numbers in [0, 1] that take a byte each in the parts where all of them are multiples of
            1/255, and so lose nothing.
    """

    def __init__(self, building: Building, eight_bit: Sequence[str] = ()) -> None:
        self._eight_bit = eight_bit
        self._building, self._out = building, building.out
        self._log = building.work / "parts.jsonl"
        self._pending: list[dict[str, np.ndarray]] = []
        self._bytes = 0
        self._last = time.monotonic()
        with building.storing():
            self.done = self._trusted_parts()
        """Images that are on disk from an earlier try."""

    def _trusted_parts(self) -> int:
        """Return how many images the intact parts cover; leave nothing but these parts and the lines about them."""
        done = 0
        trusted: dict[str, str] = {}
        if self._log.is_dir():
            remove(self._log)
        lines = self._log.read_text("ascii", "replace").splitlines() if self._log.exists() else []
        for line in lines:
            file = self._out / _part_name(done)
            try:
                stop, content, checksum = json.loads(line)
                if checksum != digest(done, stop, content) or file_digest(file) != content:
                    break
            except (OSError, ValueError, TypeError):
                break
            trusted[file.name] = line
            done = stop
        for file in self._out.iterdir():
            if file.name not in trusted:
                remove(file)
        if len(trusted) < len(lines):
            # Lines after the first that is damaged would be taken for the parts that are written next.
            write_whole(self._log, "".join(f"{line}\n" for line in trusted.values()).encode())
        return done

    def add(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Add the next images' arrays (n, ...)."""
        kept = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        self._pending.append(kept)
        self._bytes += sum(array.nbytes for array in kept.values())
        if time.monotonic() - self._last > FLUSH_SECONDS or self._bytes > FLUSH_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what has been added since the last part, for whoever goes on after an interruption."""
        if not self._pending:
            return
        content, stop = self._write()
        checksum = digest(self.done, stop, content)
        self._building.checkpoints()
        with self._building.storing(), open(self._log, "a") as log:
            log.write(json.dumps([stop, content, checksum]) + "\n")
        self.done = stop

    def finish(self) -> None:
        """Write what has been added since the last part: the artifact is whole, and nobody will go on with it."""
        if self._pending:
            self._write()

    def _write(self) -> tuple[str, int]:
        """Write a part; return its digest, and how many images the parts cover now."""
        from safetensors.numpy import save

        arrays = {name: np.concatenate([part[name] for part in self._pending]) for name in self._pending[0]}
        count = len(next(iter(arrays.values())))
        for name in self._eight_bit:
            levels = np.rint(arrays[name] * 255)
            if arrays[name].dtype == np.float32 and np.array_equal(levels / np.float32(255), arrays[name]):
                del arrays[name]
                arrays[name + EIGHT_BIT] = levels.astype(np.uint8)
        data = save(arrays)
        with self._building.storing():
            # Who goes on with it notices damage.
            write_whole(self._out / _part_name(self.done), data, synced=False)
        self._pending = []
        self._bytes = 0
        self._last = time.monotonic()
        return hashlib.sha256(data).hexdigest(), self.done + count


def _part_name(start: int) -> str:
    """Return the name of the part whose first image is number `start`."""
    return f"part-{start:09d}.safetensors"


class ArrayReader:
    """Reads per-image arrays that an `ArrayWriter` wrote, in slices.

    Args:
        folder: a verified artifact.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._paths = sorted(folder.glob("part-*.safetensors"))
        self._open: OrderedDict[int, Any] = OrderedDict()
        self._starts: list[int] = []
        self.names: list[str] = []
        position = 0
        for number in range(len(self._paths)):
            file = self._part(number)
            stored = sorted(file.keys())
            self.names = [name.removesuffix(EIGHT_BIT) for name in stored]
            self._starts.append(position)
            position += int(file.get_slice(stored[0]).get_shape()[0])
        self.count = position

    def _part(self, number: int) -> Any:
        from safetensors import safe_open

        if number not in self._open:
            while len(self._open) >= OPEN:
                self._open.popitem(last=False)
            self._open[number] = safe_open(self._paths[number], framework="numpy")
        self._open.move_to_end(number)
        return self._open[number]

    def _rows(self, number: int, name: str, rows: slice) -> np.ndarray:
        file = self._part(number)
        if name + EIGHT_BIT in file.keys():  # noqa: SIM118 - it is no mapping
            levels: np.ndarray = file.get_slice(name + EIGHT_BIT)[rows]
            return levels.astype(np.float32) / np.float32(255)
        found: np.ndarray = file.get_slice(name)[rows]
        return found

    def __len__(self) -> int:
        return self.count

    def read(self, start: int = 0, stop: int | None = None, names: list[str] | None = None) -> dict[str, np.ndarray]:
        """Return the arrays of the images start to stop: (stop - start, ...) by name."""
        stop = self.count if stop is None else min(stop, self.count)
        pieces: dict[str, list[np.ndarray]] = {name: [] for name in names or self.names}
        for number, first in enumerate(self._starts):
            last = self._starts[number + 1] if number + 1 < len(self._starts) else self.count
            low, high = max(start, first), min(stop, last)
            if low < high:
                for name, list_ in pieces.items():
                    list_.append(self._rows(number, name, slice(low - first, high - first)))
        if not self._starts and pieces:
            raise DamagedArtifactError(self.folder.name, f"it has no images, and so no arrays {', '.join(pieces)}")
        if start >= stop and self._starts:
            pieces = {name: [self._rows(0, name, slice(0, 0))] for name in pieces}
        return {name: np.concatenate(list_) if len(list_) != 1 else list_[0] for name, list_ in pieces.items()}

    def take(self, name: str, indices: Sequence[int]) -> np.ndarray:
        """Return the array `name` of single images: (len(indices), ...), in that order."""
        wanted = np.asarray(indices, dtype=np.int64)
        rows: list[Any] = [None] * len(wanted)
        for place in np.argsort(wanted, kind="stable"):  # part by part
            index = int(wanted[place])
            number = bisect_right(self._starts, index) - 1
            row = index - self._starts[number]
            rows[place] = self._rows(number, name, slice(row, row + 1))[0]
        return np.stack(rows)

    def columns(self) -> dict[str, Column]:
        """Return the arrays by name, none of which is read before it is sliced."""
        return {name: Column(self, name) for name in self.names}


class Column:
    """An array (N, ...) of a reader, which reads the rows that it is asked for."""

    def __init__(self, reader: ArrayReader, name: str) -> None:
        self._reader, self._name = reader, name

    def __len__(self) -> int:
        return len(self._reader)

    def __getitem__(self, rows: slice) -> np.ndarray:
        chosen = range(len(self))[rows]
        first, last = sorted((chosen[0], chosen[-1])) if chosen else (0, -1)
        return self._reader.read(first, last + 1, [self._name])[self._name][:: chosen.step]
