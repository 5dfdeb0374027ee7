"""What a reader must know before the numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from bench_report.facts import RunFacts
from bench_report.sentences.phrases import NAMES
from bench_report.values import Notice
from bench_report.words import plural


def failed(cells: int, causes: int, anchor: str) -> Notice:
    """Say that cells failed."""
    whose = (
        "Its numbers are missing, and with them the worst case of its defense"
        if cells == 1
        else "Their numbers are missing, and with them the worst case of their defenses"
    )
    text = f"{whose}; {plural(causes, 'cause')} found."
    return Notice("fail", f"{plural(cells, 'cell')} failed.", text, anchor, "Reasons")


def not_run(cells: int, anchor: str) -> Notice:
    """Say that cells were not run."""
    return Notice(
        "warn",
        f"{plural(cells, 'cell')} not run.",
        "The run was interrupted, is still going on, or lost them from the cache. The command that started it goes on "
        "from there.",
        anchor,
        "Which",
    )


def unfinished() -> Notice:
    """Say that the run has no end."""
    return Notice("warn", "The run has not come to its end.", "It was interrupted or is still going on.")


def in_doubt(alarms: int, anchor: str) -> Notice:
    """Say that there are alarms."""
    return Notice(
        "warn",
        f"{plural(alarms, 'alarm')}: some numbers may not mean what they seem to.",
        "They are marked as in doubt, decide nothing in favour of a defense, and none of them is called best.",
        anchor,
        "Which, and what to do",
    )


def few_images(dataset: str, small: Mapping[int, float]) -> Notice:
    """Say how wide the intervals of a data set are: n → half of the widest."""
    numbers = " or ".join(f"{n:,}" for n in sorted(small))
    return Notice(
        "warn",
        f"Few images: the accuracies on {dataset} rest on {numbers}.",
        f"Their 95 % intervals reach as far as ± {100 * max(small.values()):.1f} points. Smaller differences may be "
        "chance.",
    )


def guessing(names: Sequence[str]) -> Notice:
    """Say what is no better than guessing on clean images."""
    return Notice(
        "warn",
        "No better than guessing on clean images: " + ", ".join(names[:NAMES]) + (", …" if names[NAMES:] else "."),
        "What the attacks do there says nothing: look at how these were trained.",
    )


def few_pairs(n: int) -> Notice:
    """Say that detector measures rest on few successful attacks."""
    return Notice(
        "warn",
        f"Some detector measures rest on only {plural(n, 'successful adversarial image')}.",
        "n stands beside each of them.",
    )


def part_of(only: Sequence[str]) -> Notice:
    """Say that a filter chose the cells."""
    return Notice("note", f"Only a part of the suite was run: {' or '.join(only)}.", "Its other cells are not shown.")


def shard(part: str) -> Notice:
    """Say that it is a part of the grid."""
    return Notice("note", f"This is part {part} of the grid.", "The other parts are not shown.")


def unequal(facts: RunFacts) -> Iterator[Notice]:
    """Say where not all defenses met the same attackers; who has nothing to hide has met all of them."""
    met: dict[str, set[str]] = {}
    everyone: set[str] = set()
    for scope, verdicts in facts.verdicts.items():
        names = {verdict.defense for verdict in verdicts}
        met.setdefault(scope.knowledge, set()).update(names)
        everyone |= names
    lacking = [
        f"{', '.join(sorted(rest))} not against {knowledge}"
        for knowledge, names in met.items()
        if (rest := {name for name in everyone - names if not facts.defense(name).bare})
    ]
    if lacking:
        yield Notice(
            "note",
            "Not all defenses met the same attackers:",
            "; ".join(lacking) + ". Compare within one kind of attacker.",
        )


def no_baseline() -> Notice:
    """Say that nothing undefended was judged."""
    return Notice(
        "note",
        "No undefended system was run.",
        "Nothing says what the attacks do to one, so no defense is said to hold, and there are no differences from it.",
    )
