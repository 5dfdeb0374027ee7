"""A suite as a value."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmark.names import ALL, CLEAN, ProbeName
from benchmark.options import Options
from benchmark.selection import Filter, GridEntry, Point, points_of
from benchmark.suite.file import Protocol, Published

SECTIONS = {"dataset": "datasets", "model": "models", "attack": "attacks", "defense": "defenses"}
"""Kind of component → the section of the suite that holds them, which is also the axis of the grid."""
RESERVED = {kind: (ALL, CLEAN) if kind == "attack" else (ALL,) for kind in SECTIONS}
"""Labels that mean something else."""
KINDS = {section: kind for kind, section in SECTIONS.items()}
"""Section → kind."""


@dataclass(frozen=True)
class Component:
    """A data set, model, attack or defense of a suite.

    Attributes:
        label: the user's name for it.
        kind: dataset, model, attack or defense.
        use: name of the plugin.
        options: as the plugin's options type holds them.
        where: file and line.
    """

    label: str
    kind: str
    use: str
    options: Options
    where: str = field(compare=False)

    def plain(self) -> dict[str, Any]:
        """Return all options, defaults included, as plain JSON data: what a content key holds."""
        return self.options.model_dump(mode="json")


@dataclass(frozen=True)
class Suite:
    """A validated suite. Two suites are equal when they run the same, wherever they were read from.

    Attributes:
        groups: label → attacks whose worst case per image is measured.
        batch_size: images per batch while crafting and judging.
        threads: CPU threads per task.
        gpu: meant for a GPU.
        probes: checks of attacks, and for masked gradients, by name.
        separation: layers at which the separation of classes is measured.
        only: filters; where there are any, a cell is run if one of them fits.
        reference: published numbers, about components that this suite has.
        profile: the profile that was applied.
        profiles: names of all profiles of the file.
        path: the file.
        resolved: the suite after profile and --set as plain data; dumped by `benchmark.document.dump` and loaded
            again it gives an equal suite.
    """

    name: str
    title: str
    description: str
    cite: tuple[str, ...]
    seeds: tuple[int, ...]
    datasets: Mapping[str, Component]
    models: Mapping[str, Component]
    attacks: Mapping[str, Component]
    defenses: Mapping[str, Component]
    grid: tuple[GridEntry, ...]
    groups: Mapping[str, tuple[str, ...]]
    protocol: Protocol
    batch_size: int
    threads: int
    gpu: bool
    probes: tuple[ProbeName, ...]
    separation: tuple[str, ...]
    only: tuple[Filter, ...]
    reference: tuple[Published, ...]
    profile: str | None = field(compare=False)
    profiles: tuple[str, ...] = field(compare=False)
    path: Path = field(compare=False)
    resolved: dict[str, Any] = field(compare=False, repr=False)

    def points(self) -> Iterator[Point]:
        """Yield the cells that are run, in order; what several grid entries name comes several times."""
        return points_of(self.grid, self.seeds, self.only)
