"""The state of unfinished training, which an interruption leaves behind."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import torch

from benchmark.files import remove, write_whole
from benchmark.progress import Progress
from benchmark.store import storing


class TrainingCheckpoint:
    """A file of tensors and plain values: written whole, and read only where its checksum holds.

    Args:
        file: in the folder `FitContext.checkpoint`.
        progress: hears a warning where what is there cannot be read.
    """

    def __init__(self, file: Path, progress: Progress) -> None:
        self._file = file
        self._progress = progress

    def write(self, state: dict[str, Any]) -> None:
        """Keep `state` in place of what was kept before.

        Raises:
            StorageError: no space is left.
            OSError: it cannot be written for another reason.
        """
        content = io.BytesIO()
        torch.save(state, content)
        # The format of torch notices no flipped bit in a tensor.
        with storing(self._file.parent):
            write_whole(self._file, hashlib.sha256(content.getbuffer()).digest() + content.getbuffer())

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
