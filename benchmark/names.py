"""Names that suites, plans, tables and reports share: of cells and their columns, of attackers, of probes."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal, NamedTuple, get_args

CLEAN = "none"
"""What the attack axis says for clean images."""
ALL = "all"
"""What an axis of a grid says for all labels of its section."""
WORST_OF = "worst-of: "
"""How the attack column of tables names a group of attacks; no label of one begins so."""
ALL_ATTACKS = "all attacks"
"""What the usual group of all attacks is called."""
COLUMNS = ("dataset", "model", "attack", "defense", "knowledge", "seed")
"""What names a cell of the grid."""


class Summaries(NamedTuple):
    """What the seed column says where a row is about several seeds: their mean with an interval over seeds, their
    standard deviation, and their mean with an interval over seeds and images."""

    mean: str = "mean"
    std: str = "std"
    crossed: str = "crossed"


SUMMARIES = Summaries()
"""What the seed column says where a row is about several seeds: `.mean` with an interval over seeds, `.std`, their
standard deviation, and `.crossed`, the mean with an interval over seeds and images."""
Knowledge = Literal["white-box", "gray-box", "gray-box-retrained", "black-box"]
KNOWLEDGE: tuple[Knowledge, ...] = get_args(Knowledge)
"""What the attacker holds, the most first."""
KNOWING = KNOWLEDGE[:1]
"""Attackers who know the whole defense."""
BARE = ("none", "hardener")
"""Families of defenses without anything beside the network: whoever knows the network knows all of them."""
DETECTING = ("detector", "rectifier")
"""Families of defenses that tell attacked images from clean ones."""

ProbeName = Literal[
    "one-step",
    "knowledge",
    "large-budget",
    "random-search",
    "unavailable-gradients",
    "unstable-predictions",
    "silent-success",
    "incomplete-optimisation",
    "transfer-failure",
    "unconstrained-failure",
    "more-steps",
    "random-draws",
]
"""Checks of attacks, and for masked gradients; `benchmark.trust.probe_kinds` says what each compares."""
Asks = Literal["path", "doubled", "unconstrained", "draws", "neighbours", "labels"]
"""What a probe of attacks asks about a crafting: a task each, which several probes may read."""


@dataclass(frozen=True)
class CellName:
    """What names a cell of the grid, or a row of a table about some of them.

    Attributes:
        attack: the suite's label, `CLEAN` for the clean images, or a group's after `WORST_OF`.
        norm, eps: as the suite writes them, "" without an attack; of a group "" where its attacks differ. An attack
            without a budget has no `eps`.
        knowledge: one of `KNOWLEDGE`, "" without an attack.
        seed: a number, or one of `SUMMARIES`.
    """

    dataset: str
    model: str
    attack: str
    norm: str
    eps: str
    defense: str
    knowledge: str
    seed: int | str

    def name(self, **changes: str) -> CellName:
        """Return the name alone, as tables have it, all of it texts."""
        return CellName(**{**{column: str(getattr(self, column)) for column in IDENTITY}, **changes})

    @property
    def system(self) -> tuple[str, str, str, str]:
        """Data set, model, defense and seed: what is attacked."""
        return (self.dataset, self.model, self.defense, str(self.seed))

    def values(self) -> tuple[str, ...]:
        """Return what the columns say, in their order."""
        return tuple(str(getattr(self, column)) for column in IDENTITY)

    def words(self) -> str:
        """Return the name for people."""
        return " / ".join(filter(None, self.values()))


IDENTITY = tuple(column.name for column in fields(CellName))
"""The columns of tables that name a cell, or a group of them."""
