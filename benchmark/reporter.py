"""Reporters: results in, files out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmark.results import Run


class Reporter(ABC):
    """Writes something people read from finished runs. Reads tables only; computes no measure of its own."""

    @abstractmethod
    def write(self, runs: Sequence[Run], folder: Path, *, single_file: bool = False) -> Path:
        """Write into `folder` and return the file to open first.

        Several runs are compared. Every text from labels, files and plugins is escaped.
        """
