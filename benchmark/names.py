"""Names that suites, plans, tables and reports share: of cells and their columns, of attackers, of probes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

CLEAN = "none"
"""What the attack axis says for clean images."""
ALL = "all"
"""What an axis of a grid says for all labels of its section."""
WORST_OF = "worst-of: "
"""How the attack column of tables names a group of attacks; no label of one begins so."""
COLUMNS = ("dataset", "model", "attack", "defense", "knowledge", "seed")
"""What names a cell of the grid."""
IDENTITY = ("dataset", "model", "attack", "norm", "eps", "defense", "knowledge", "seed")
"""What names a row of a table: a cell, with the budget of its attack, or a group of them."""
MEAN, STD, CROSSED = SUMMARIES = ("mean", "std", "crossed")
"""What the seed column says where a row is about several seeds: their mean with an interval over seeds, their standard
deviation, and their mean with an interval over seeds and images."""
KNOWLEDGE = ("white-box", "gray-box", "gray-box-retrained", "black-box")
"""What the attacker holds, the most first."""

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
    """The identity columns of a row, as the tables have them."""

    dataset: str
    model: str
    attack: str
    norm: str
    eps: str
    defense: str
    knowledge: str
    seed: str

    def values(self) -> tuple[str, ...]:
        """Return what the columns say, in their order."""
        return tuple(getattr(self, name) for name in IDENTITY)
