"""The state of unfinished training, which an interruption leaves behind."""

from __future__ import annotations

import hashlib
import io
import time
from pathlib import Path
from typing import Any

import torch

from benchmark.files import remove, storing, write_whole
from benchmark.progress import Progress

SECONDS = 10.0
"""A training goes on for so long between two checkpoints, and longer where one takes more than half a second to write,
so that they cost a twentieth of its time at most. So much an interruption costs, or the epoch or step it falls into."""


class TrainingCheckpoint:
    """A file of tensors and plain values: written whole, and read only where its checksum holds.

    Args:
        file: in the folder `FitContext.checkpoint`.
        progress: hears a warning where what is there cannot be read.
    """

    def __init__(self, file: Path, progress: Progress) -> None:
        self._file = file
        self._progress = progress
        self._since = time.monotonic()
        self._took = 0.0

    @property
    def due(self) -> bool:
        """Whether the training has gone on long enough since it began, or since its state was last kept."""
        return time.monotonic() - self._since > SECONDS * max(1.0, 2 * self._took)

    def write(self, state: dict[str, Any]) -> None:
        """Keep `state` in place of what was kept before.

        Raises:
            StorageError: no space is left.
            OSError: it cannot be written for another reason.
        """
        began = time.monotonic()
        content = io.BytesIO()
        torch.save(state, content)
        # The format of torch notices no flipped bit in a tensor.
        with storing(self._file.parent):
            write_whole(self._file, hashlib.sha256(content.getbuffer()).digest() + content.getbuffer())
        self._since = time.monotonic()
        self._took = self._since - began

    def read(self, device: torch.device) -> dict[str, Any] | None:
        """Return what was kept last, its tensors on `device`; None where nothing was, or it is damaged."""
        if not self._file.exists():
            return None
        try:
            content = self._file.read_bytes()
            if hashlib.sha256(content[32:]).digest() != content[:32]:
                raise ValueError("its checksum differs")
            state: dict[str, Any] = torch.load(io.BytesIO(content[32:]), map_location=device, weights_only=True)
        except Exception as error:  # torch raises many kinds
            why = error if isinstance(error, ValueError) else type(error).__name__
            self._progress.warn(f"the checkpoint {self._file} cannot be read ({why}): training begins again")
            remove(self._file)
            return None
        return state
