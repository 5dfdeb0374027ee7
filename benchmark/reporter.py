"""Reporters: results in, files out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from benchmark.panel import Panel

if TYPE_CHECKING:
    from benchmark.metrics.metric import Metric
    from benchmark.results.read import Run


class Reporter(ABC):
    """Writes something people read from finished runs. Reads their tables and images only.

    Attributes:
        panels: the panels of all plugins, set by the host.
        measures: the registered measures by name, set by the host: their titles, units and directions.
    """

    panels: Sequence[Panel] = ()
    measures: Mapping[str, type[Metric]] = MappingProxyType({})

    def prepare(self) -> None:  # noqa: B027 - most reporters have nothing to prepare
        """Do what takes time and needs no results: called while the first tasks of a run are at work."""

    @abstractmethod
    def write(self, runs: Sequence[Run], folder: Path, *, single_file: bool = False) -> Path:
        """Write into `folder` and return the file to open first.

        Several runs are compared. Every text from labels, files and plugins is escaped.
        """

    def rank(self, runs: Sequence[Run], folder: Path) -> Path | None:
        """Write a leaderboard of `runs` into `folder` and return the file to open first; None for a reporter of none.

        What it did not write itself stays: it raises `InputError` where that would be overwritten.
        """
        return None

    @abstractmethod
    def clear(self, folder: Path) -> None:
        """Remove what `write` has left in `folder` earlier, if anything, and nothing else.

        Called before a run's tables are written anew: old numbers must not stand beside them.
        """
