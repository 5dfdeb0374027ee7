"""Words and numbers that all sentences are made of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bench_report.table import Place, group_name, is_group
from bench_report.values import Estimate, Word
from bench_report.verdicts import Bound, Scope
from bench_report.words import plural
from benchmark import ALL_ATTACKS, KNOWING, TRUST_MARKS, TRUST_RULES

MOST = 4
"""Sentences of one kind."""
NAMES = 5
"""Names in a list; the others are counted."""
ALT_ROWS, ALT_COLUMNS = 6, 6
"""Rows of a chart's table that its alternative text tells, and numbers of each."""
Sentence = tuple[Word, ...]

ATTACKERS = {
    "white-box": "knows the whole defense",
    "gray-box": "knows the network, not what stands beside it",
    "gray-box-retrained": "holds a copy trained anew",
    "black-box": "holds a substitute network",
}
"""What an attacker has, in the fewest words; `words.KNOWLEDGE` says it in full."""
BOUNDS: dict[Bound, str] = {
    rule.why: rule.says for rule in TRUST_RULES.values() if rule.mark in ("static only", "known broken")
}
"""Why a number is an upper bound."""
STRATA = {
    "missed": ("Missed", "The attack succeeded, the answer is wrong, and nothing was flagged."),
    "caught": ("Caught", "The attack succeeded and the answer is wrong, but the image was flagged."),
    "rectified": ("Rectified", "The attack turned the classifier wrong; the defended system still answers rightly."),
    "misled": (
        "System misled",
        "The classifier alone withstands the attack; the system is wrong and flags nothing.",
    ),
    "failed": (
        "Attack failed",
        "The classifier was right before the attack and is under it; so is the system, or it flags.",
    ),
    "wrong-before": ("Wrong before", "The classifier was wrong before the attack: no attack was needed, none failed."),
    "false-alarm": ("False alarm", "The clean version of the image was flagged."),
    "wrong": ("Wrong", "The clean image was labelled wrongly, and not flagged."),
}
"""Kinds of images in a gallery: heading and definition."""


SIGNS: dict[str, str] = {"flagged": "⚠", "known broken": "†", "static only": "◇", "adaptive": "◆"}
"""The marks of `benchmark.trust.marks` beside a number, as the legends explain them."""


def marks(estimates: Iterable[Estimate | None]) -> tuple[str, ...]:
    """Return the marks of numbers, in the order of their legend."""
    found = {e.trust.mark for e in estimates if e is not None and e.trust is not None}
    return tuple(mark for mark in TRUST_MARKS if mark in found)


def named(text: str, page: str = "") -> Word:
    """Return a name."""
    return Word(text, "name", page)


def digits(text: str) -> Word:
    """Return a number."""
    return Word(text, "number")


def aside(text: str) -> Word:
    """Return what a narrow screen leaves out until it is asked for."""
    return Word(text, "aside")


def listed(names: Sequence[str]) -> list[Word]:
    """Return `a, b and c`; of many the first few and how many more."""
    return joined(list(map(named, names[:NAMES])), len(names[NAMES:]))


def joined(names: Sequence[Word], more: int = 0) -> list[Word]:
    """Return names with commas and an `and`; `more` are not named."""
    found: list[Word] = []
    for place, one in enumerate(names):
        last = place == len(names) - 1 and not more
        found += [Word(" and " if last else ", ")] * bool(place) + [one]
    return [*found, Word(f" and {more} more")] if more else found


def rate(estimate: Estimate, at_most: bool = False) -> list[Word]:
    """Return a rate with its interval, that it is an upper bound, and that it is in doubt, where that is so."""
    words = [digits(f"{'≤ ' if at_most else ''}{estimate.text} %")]
    if estimate.interval:
        words += [Word(" ("), digits(estimate.interval), Word(")")]
    return [*words, Word(" (in doubt)")] if estimate.doubt else words


def attacks_text(attack: str, attacks: Sequence[str]) -> str:
    """Return what a group is called where its count stands beside it."""
    label = group_name(attack)
    if not is_group(attack):
        return label
    return f"all {len(attacks)} attacks" if label == ALL_ATTACKS else f"{label}, {plural(len(attacks), 'attack')}"


def attacker(knowledge: str, bound: Bound = "") -> list[Word]:
    """Return `a gray-box attacker, who does not know the defense`."""
    own = {"defense": "does not know the defense", "network": "does not hold the network"}.get(bound, "")
    own = own or ("knows it whole" if knowledge in KNOWING else "knows the network" if knowledge == "gray-box" else "")
    return [Word("a "), named(knowledge), Word(" attacker" + (f", who {own}" if own else ""))]


def setting(scope: Scope | Place, n: int | None = None) -> list[Word]:
    """Return model and data set, and how many images."""
    rest = "" if n is None else f", n = {n:,}"
    return [named(scope.model), Word(" on "), named(scope.dataset), Word(rest)]


def p_text(p: float) -> str:
    """Return a p-value."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
