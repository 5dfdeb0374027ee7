"""A suite as a value, and the words that its file knows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field

from benchmark.names import ALL, CLEAN, ProbeName
from benchmark.options import Options
from benchmark.selection import Filter, GridEntry, Point, points_of

SECTIONS = {"dataset": "datasets", "model": "models", "attack": "attacks", "defense": "defenses"}
"""Kind of component → the section of the suite that holds them, which is also the axis of the grid."""
USUAL_KNOWLEDGE = "gray-box"
"""That of grid entries which do not say."""
RESERVED = {kind: (ALL, CLEAN) if kind == "attack" else (ALL,) for kind in SECTIONS}
"""Labels that mean something else."""
LABEL_LENGTH = 300
KINDS = {section: kind for kind, section in SECTIONS.items()}
"""Section → kind."""
NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"


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
class Protocol:
    """How detectors are measured."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True)

    false_positive_rate: Annotated[float, Field(gt=0, lt=1)] = 0.05
    """Share of clean validation images that a detector's threshold may flag."""

    success: Literal["initially-correct", "any-wrong"] = "initially-correct"
    """Which attacks count as successful: the clean image was classified rightly and the attacked one wrongly, or the
    attacked one wrongly in any case."""

    repeats: Annotated[int, Field(ge=1)] = 5
    """Judgements of a randomised defense."""

    draws: Annotated[int, Field(ge=1)] = 10
    """Draws of a randomised defense over which an attacker who knows it averages in each pass (expectation over
    transformation, Athalye et al. 2018, arXiv:1707.07397)."""

    split: Literal["test", "val"] = "test"
    """Images that are attacked and judged. `val` is for choosing a hyperparameter, such as the epsilon of adversarial
    training; not for defenses with scores, whose thresholds are set on these images."""


class Head(Options):
    """The part of a suite file that names no component."""

    suite: str = Field(pattern=NAME, max_length=100)
    """Name of the suite: letters, digits, `_`, `-` and `.`."""

    title: str = ""
    """What a report is called."""

    description: str = ""
    """What the suite shows, and its limits."""

    cite: str | tuple[str, ...] = ()
    """What the suite reproduces: a reference, or a list of them."""

    seeds: tuple[Annotated[int, Field(ge=0, le=2**32 - 1)], ...] = Field((0,), min_length=1)
    """Everything is run once per seed."""

    protocol: Protocol = Protocol()
    """How detectors are measured."""

    batch_size: int = Field(128, ge=1)
    """Images per batch while adversarial examples are crafted and judged; part of the answer's identity."""

    threads: int = Field(1, ge=1)
    """CPU threads per task."""

    gpu: bool = False
    """Meant for a GPU: on a machine without one, planning and running say so. It changes nothing else."""

    probes: tuple[ProbeName, ...] = ()
    """Checks to make of every attack, and for masked gradients of every defense: a value, its n, and pass, fail or not
    run."""

    separation: tuple[str, ...] = ()
    """Layers, such as `penultimate`, at which it is measured how far apart the classes of clean images lie."""

    only: tuple[str, ...] = ()
    """Filters of cells, such as `attack=pgd*,defense=none`: a cell is run if one of them fits. `--only` on the command
    line takes their place."""


HEAD_KEYS = tuple(Head.model_fields)
KEYS = (*HEAD_KEYS, *KINDS, "grid", "groups", "reference", "profiles")
GRID_KEYS = (*KINDS, "knowledge", "substitute", "exclude")
REFERENCE_KEYS = ("table", "rows", "stand_ins")


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
        reference: published numbers, a row each: dataset, model, attack, defense, knowledge (texts, "" = any),
            metric, value (float), and `table`, where it was published ("" = not said). `attack` may also name a group,
            or be "none" for clean images. `artifact` makes it a measure of that shared artifact, such as "extractor",
            instead of a cell's.
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
    reference: tuple[Mapping[str, Any], ...]
    profile: str | None = field(compare=False)
    profiles: tuple[str, ...] = field(compare=False)
    path: Path = field(compare=False)
    resolved: dict[str, Any] = field(compare=False, repr=False)

    def points(self) -> Iterator[Point]:
        """Yield the cells that are run, in order; what several grid entries name comes several times."""
        return points_of(self.grid, self.seeds, self.only)
