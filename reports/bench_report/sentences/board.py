"""What a leaderboard says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bench_report.ranks import Condition, Entry, Trust, Unranked
from bench_report.sentences.phrases import ATTACKERS, BOUNDS, Sentence, attacks_text, digits, listed, named
from bench_report.values import Notice, Word
from bench_report.words import plural

NO_RANK: dict[Unranked, str] = {
    "": "",
    "bound": "an upper bound has no rank",
    "broken": "a published attack breaks it",
    "alone": "nothing to rank it against",
    "incomplete": "not all attacks, or seeds, have a result",
    "flagged": "flagged: in doubt",
    "alarms": "more false alarms than the threshold may have",
    "costly": "loses more than half on clean images",
    "guessing": "no better than guessing on clean images",
    "none": "no attack has a result",
}
"""Why a row of a leaderboard has no rank."""


def board_title(runs: int) -> str:
    """Return the title of a leaderboard."""
    return f"Leaderboard of {plural(runs, 'run')}"


def board_headline(conditions: Sequence[Condition], runs: int) -> Sentence:
    """Return how many rows are ranked, under how many conditions."""
    rows, ranked = sum(len(one.entries) for one in conditions), sum(one.ranked for one in conditions)
    words = [
        digits(f"{ranked:,}"),
        Word(f" of {plural(rows, 'row')} have a rank, under "),
        digits(f"{len(conditions):,}"),
    ]
    words += [Word(f" {'condition' if len(conditions) == 1 else 'conditions'} of {plural(runs, 'run')}. A rank holds ")]
    return (*words, Word("within its condition only: the same images, network, attacks, attacker and protocol."))


def board_how() -> str:
    """Return how a leaderboard ranks."""
    return (
        "Withstood at worst: labelled rightly or rejected under every attack of the group, with 95 % interval. A rank "
        "is one more than the number of rows that are better beyond chance (paired image by image, Holm over the pairs "
        "of the condition): what the test does not tell apart shares a rank. Never ranked are upper bounds (at most), "
        "and rows with an alarm or a failed check for masked gradients, without all attacks, with clean accuracy near "
        "guessing or halved, or with more false alarms than the threshold may have. Not to be concluded: anything of "
        "attacks that nobody ran."
    )


def condition_titles(conditions: Sequence[Condition]) -> list[Sentence]:
    """Return what all rows of each condition share; of those that would read alike also what tells them apart."""
    titles = [_condition_title(one) for one in conditions]
    found: list[Sentence] = []
    for one, title in zip(conditions, titles):
        alike = [dict(other.made) for other, words in zip(conditions, titles) if words == title]
        names = dict.fromkeys(name for made in alike for name in made)
        differing = [name for name in names if len({made.get(name) for made in alike}) > 1]
        mine = dict(one.made)
        rest = ", ".join(f"{name} {mine.get(name, 'not set') or 'none'}" for name in differing)
        found.append((*title, Word(" · with "), Word(rest, "quote")) if rest else title)
    return found


def _condition_title(condition: Condition) -> Sentence:
    scope = condition.scope
    own = ATTACKERS.get(scope.knowledge, "")
    words = [named(scope.dataset), Word(", "), named(scope.model), Word(", "), named(scope.knowledge or "unnamed")]
    words += [Word(" attacker" + (f": {own}" if own else ""))]
    many = len(scope.attacks) > 1
    words.append(Word(" · worst case per image of " if many else " · under "))
    words.append(named(attacks_text(scope.attack, scope.attacks)))
    if many:
        words += [Word(" ("), *listed(scope.attacks), Word(")")]
    if condition.rate is not None:
        words.append(Word(f" · thresholds for {100 * condition.rate:g} % false alarms"))
    of_chance = [f"{name} {value}" for name, value in condition.protocol if name in ("repeats", "draws")]
    if of_chance:
        words.append(Word(f" · randomised defenses at {', '.join(of_chance)}"))
    paired_, of = condition.pairs
    if of and paired_ < of:
        rest = "no pair shares" if not paired_ else f"{of - paired_} of {of} pairs do not share"
        words.append(Word(f" · {rest} images and seeds: told apart by intervals that do not overlap"))
    return tuple(words)


def rank_text(entry: Entry) -> str:
    """Return the rank of a row, or what stands in its place."""
    return f"{entry.rank}" if entry.rank is not None else "at most" if entry.unranked in ("bound", "broken") else "–"


def trust(trust: Trust) -> Sentence:
    """Return what a run says of how far a number can be believed, and what it does not say."""
    parts: list[str] = []
    mark = trust.mark
    if trust.bound:
        parts.append(f"at most: {BOUNDS[trust.bound]}")
    if mark is not None and "published" in mark.why:
        parts.append(mark.published if trust.bound == "published" else f"broken by {mark.published}")
    if trust.absent:
        parts.append(f"{trust.absent} of {plural(trust.of, 'attack')} without a result")
    parts += [f"alarm: {sign.rstrip('.')}" for sign in trust.alarms]
    done = [] if mark is None else [(mark.failed, "failed"), (mark.passed, "passed"), (mark.not_run, "not run")]
    counted = ", ".join(f"{count} {word}" for count, word in done if count)
    parts.append(f"gradient checks: {counted}" if counted else "gradient checks not asked for")
    if not trust.alarms:
        parts.insert(len(parts) - 1, "no alarm")
    return (*([named(mark.mark), Word(": ")] if mark is not None else []), Word("; ".join(parts)))


def left_out(names: Sequence[str]) -> Notice:
    """Say which runs have no row."""
    return Notice("warn", "No row of: " + ", ".join(names) + ".", "No attack has a result there.")


def same_key(name: str, first: str) -> Notice:
    """Say that a run was given in two places."""
    return Notice("note", f"{name} has the key of {first}:", "its numbers are the same, and stand there once.")


def other_versions(what: str, by_run: Mapping[str, Sequence[str]]) -> Notice:
    """Say that runs were made by other versions: version → names of runs."""
    text = "; ".join(f"{version or 'not known'}: {', '.join(names)}" for version, names in by_run.items())
    return Notice("note", f"Other versions of {what}:", f"{text}.")


def versions_differ(what: Sequence[str], anchor: str) -> Notice:
    """Say once that runs were made by other versions, of what, and where all of them stand."""
    named = "".join(word.text for word in listed(what))
    return Notice("note", "Runs of other versions:", f"{named}. Numbers may differ for that alone.", anchor, "Which")
