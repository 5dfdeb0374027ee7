"""The cells of a grid, and filters of them (`--only`, the suite's `only`): patterns on the columns that name a cell."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import product
from typing import ClassVar, NamedTuple

from pydantic import ConfigDict

from benchmark.errors import InputError, near_match, unknown_name
from benchmark.names import CLEAN, COLUMNS
from benchmark.options import Explained

EXAMPLE = "attack=pgd*,defense=none"
WILD = "*?["


@dataclass(frozen=True)
class Substitute(Explained):
    """The network that a black-box attacker trains and attacks: a model, hardened by a defense or by none."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)

    model: str
    """Label of the model that the attacker trains."""

    defense: str | None = None
    """Label of the defense that hardens it."""

    def __str__(self) -> str:
        return repr(self.model) if self.defense is None else f"{self.model!r} hardened by {self.defense!r}"

    def plain(self) -> str | dict[str, str]:
        """Return it as a suite says it: the model's label alone, or both labels."""
        return self.model if self.defense is None else {"model": self.model, "defense": self.defense}


@dataclass(frozen=True)
class GridEntry:
    """A block of cells: the product of its axes without what its rules exclude.

    Attributes:
        datasets, models, attacks, defenses: labels; clean images are always part of it, also without attacks.
        knowledge: what the attacker holds.
        substitutes: what a black-box attacker attacks, all at once; empty for other knowledge.
        exclude: rules; a cell is left out where, for every axis of a rule, its label is among the rule's labels.
        where: file and line.
    """

    datasets: tuple[str, ...]
    models: tuple[str, ...]
    attacks: tuple[str, ...]
    defenses: tuple[str, ...]
    knowledge: str
    substitutes: tuple[Substitute, ...]
    exclude: tuple[Mapping[str, tuple[str, ...]], ...]
    where: str = field(compare=False)


@dataclass(frozen=True)
class Filter:
    """Keeps the cells that fit all of its patterns.

    Attributes:
        text: as it was written.
        patterns: (column, pattern); `*`, `?` and `[…]` as in file names, a label itself always fits.
    """

    text: str
    patterns: tuple[tuple[str, str], ...]

    @classmethod
    def parse(cls, text: str) -> Filter:
        """Return the filter of a text such as `attack=pgd*,defense=none`; a comma inside a label stays.

        Raises:
            InputError: it is none, or names an unknown column.
        """
        patterns = []
        for part in re.split(r",(?=\s*\w+\s*=)", text):
            column, equals, pattern = (piece.strip() for piece in part.partition("="))
            if not equals or not pattern:
                raise InputError(f"write COLUMN=PATTERN, with a comma for and, such as {EXAMPLE}.")
            if column not in COLUMNS:
                raise InputError(unknown_name("column", column, COLUMNS))
            patterns.append((column, pattern))
        return cls(text, tuple(patterns))

    def fits(self, point: Mapping[str, str]) -> bool:
        """Tell whether a cell, its labels by column, is kept."""
        return all(_fits(pattern, point[column]) for column, pattern in self.patterns)

    def check(self, points: Iterable[Mapping[str, str]]) -> None:
        """Look whether any cell fits.

        Raises:
            InputError: none does: a pattern fits no label, or the patterns never fit together.
        """
        points = list(points)
        if any(self.fits(point) for point in points):
            return
        for column, pattern in self.patterns:
            labels = list(dict.fromkeys(point[column] for point in points if point[column]))
            if not any(_fits(pattern, label) for label in labels):
                bare = pattern.strip(WILD)
                near = near_match(bare, labels) or near_match(bare, (label[: len(bare)] for label in labels))
                listed = ", ".join(labels[:20]) + (f" and {len(labels) - 20} more" if len(labels) > 20 else "")
                raise InputError(f"{pattern!r} fits no {column} of the grid.{near} There: {listed}.")
        raise InputError("each pattern fits some cells, but no cell of the grid fits all of them.")


def _fits(pattern: str, label: str) -> bool:
    return pattern == label or fnmatchcase(label, pattern)


class Point(NamedTuple):
    """A cell of a grid entry; `attack` is "none" for the clean images."""

    dataset: str
    model: str
    attack: str
    defense: str
    entry: GridEntry
    seed: int

    def labels(self) -> dict[str, str]:
        """Return its labels by column. Without an attack there is nothing that the attacker could know."""
        knowledge = "" if self.attack == CLEAN else self.entry.knowledge
        return dict(zip(COLUMNS, (*self[:4], knowledge, str(self.seed)), strict=True))

    def identity(self) -> tuple[str, ...]:
        """Return what no other cell has; several entries of a grid may name the same one."""
        return tuple(self.labels().values())


def points_of(grid: Iterable[GridEntry], seeds: Iterable[int], only: Sequence[Filter] = ()) -> Iterator[Point]:
    """Yield the cells in the order of the suite; what several grid entries name comes several times.

    Where an attack is kept, so are the clean images that it is measured against.
    """
    seeds = list(seeds)
    for entry in grid:
        for dataset, model, seed, defense in product(entry.datasets, entry.models, seeds, entry.defenses):
            whole = [
                Point(dataset, model, attack, defense, entry, seed)
                for attack in (CLEAN, *entry.attacks)
                if not any(
                    _excludes(rule, {"datasets": dataset, "models": model, "attacks": attack, "defenses": defense})
                    for rule in entry.exclude
                )
            ]
            kept = [not only or any(one.fits(point.labels()) for one in only) for point in whole]
            for point, keep in zip(whole, kept, strict=True):
                if keep or (point.attack == CLEAN and any(kept)):
                    yield point


def _excludes(rule: Mapping[str, Sequence[str]], labels: Mapping[str, str]) -> bool:
    return all(labels[axis] in allowed for axis, allowed in rule.items())
