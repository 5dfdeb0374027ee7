"""Converters: data as its publishers hand it out in, data as a data set of ours reads it out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from benchmark.options import Options
from benchmark.progress import Progress


class Converter(ABC):
    """What `bench data prepare NAME` runs. Its options become command-line options; the constructor does no work."""

    Options: ClassVar[type[Options]] = Options

    def __init__(self, options: Any) -> None:
        self.options = options

    @abstractmethod
    def convert(self, progress: Progress) -> str:
        """Convert, going on where an earlier try was interrupted, and return what was done, in words.

        Raises:
            InputError: the source is missing or damaged; nothing half-written is left.
        """
