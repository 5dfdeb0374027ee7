"""Attacks or defenses that differ in one number and in nothing else, and the groups of attacks along their budgets."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

RUNGS = 3
"""Values that make a line; two of them are read better in a table."""
BUDGETS = RUNGS - 1
"""Budgets that make a line: the clean images are its first point."""
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?(/\d+\.?\d*)?")


@dataclass(frozen=True)
class Ladder:
    """Attacks or defenses of a suite that differ in one number and in nothing else.

    Attributes:
        option: name of the number, such as `eps` or `train.epochs`.
        name: what their labels have in common, such as `pgd-…`.
        rungs: (label, number, number as the suite writes it), the lowest number first.
    """

    option: str
    name: str
    rungs: tuple[tuple[str, float, str], ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels, that of the lowest number first."""
        return tuple(label for label, _, _ in self.rungs)

    def only(self, labels: Iterable[str], fewest: int = RUNGS) -> Ladder | None:
        """Return the ladder of some of the labels, None where too few are left."""
        kept = set(labels)
        rungs = tuple(rung for rung in self.rungs if rung[0] in kept)
        return Ladder(self.option, self.name, rungs) if len(rungs) >= fewest else None


def ladders(components: Mapping[str, Any] | None, fewest: int = RUNGS) -> tuple[Ladder, ...]:
    """Return the ladders among the components of a section of the suite, in its order; numbers may be `8/255`."""
    options = {label: _flat(component) for label, component in (components or {}).items()}
    found: dict[tuple[str, str], dict[float, tuple[str, float, str]]] = {}
    for label, mine in options.items():
        for option, text in mine.items():
            value = _value(text)
            if value is not None:
                others = json.dumps(sorted((name, x) for name, x in mine.items() if name != option))
                found.setdefault((option, others), {}).setdefault(value, (label, value, text))
    return tuple(
        Ladder(option, shared_name([label for label, _, _ in rungs.values()]), tuple(rungs[x] for x in sorted(rungs)))
        for (option, _), rungs in found.items()
        if len(rungs) >= fewest
    )


def _flat(component: Any, prefix: str = "") -> dict[str, str]:
    """Return options by dotted name, as JSON or as the text that stands in the suite."""
    if not isinstance(component, Mapping):
        return {prefix: component if isinstance(component, str) else json.dumps(component, default=str)}
    flat: dict[str, str] = {}
    for name, value in component.items():
        flat |= _flat(value, f"{prefix}.{name}" if prefix else str(name))
    return flat


def _value(text: str) -> float | None:
    if not _NUMBER.fullmatch(text):
        return None
    top, _, bottom = text.partition("/")
    value = float(top) / float(bottom or 1) if float(bottom or 1) else math.nan
    return value if math.isfinite(value) else None


def shared_name(labels: Sequence[str]) -> str:
    """Return what labels have in common: `pgd-…-x` of pgd-4-x and pgd-8-x; the labels themselves where nothing is."""
    shortest = min(map(len, labels))
    start = "".join(letters[0] for letters in takewhile(lambda x: len(set(x)) == 1, zip(*labels)))
    rest = [label[len(start) :][::-1] for label in labels]
    end = "".join(letters[0] for letters in takewhile(lambda x: len(set(x)) == 1, zip(*rest)))[::-1]
    # 0.1 and 0.15 share a digit, which is no part of the name.
    start, end = re.sub(r"[0-9./]+$", "", start), re.sub(r"^[0-9./]+", "", end)
    return f"{start}…{end}" if shortest and (start or end) else ", ".join(labels[:4]) + ("…" if len(labels) > 4 else "")


def worst_cases(
    several: Sequence[Ladder], groups: Mapping[str, Iterable[str]], unbounded: Callable[[str], bool]
) -> dict[frozenset[int | str], Ladder]:
    """Return the groups of attacks that hold the same attacks at each budget, as ladders over the budget.

    Args:
        several: attacks that differ in the budget alone, of one norm.
        groups: attacks of each group.
        unbounded: whether an attack has no budget of its own: it counts at each.

    Returns:
        Places in `several` of the attacks of a group, and labels of those without a budget → the groups.
    """
    kinds = {label: number for number, ladder in enumerate(several) for label in ladder.labels}
    value = {label: (x, text) for ladder in several for label, x, text in ladder.rungs}
    alike: dict[frozenset[int | str], dict[float, tuple[str, float, str]]] = {}
    for group, found in groups.items():
        members = list(found)
        at = {value[label] for label in members if label in value}
        if len({x for x, _ in at}) != 1 or any(x not in kinds and not unbounded(x) for x in members):
            continue
        (x, text), *_ = at
        of = frozenset(kinds.get(label, label) for label in members)
        if len(of) == len(members) > 1:
            alike.setdefault(of, {}).setdefault(x, (group, x, text))
    return {of: Ladder("eps", "", tuple(rungs[x] for x in sorted(rungs))) for of, rungs in alike.items()}
