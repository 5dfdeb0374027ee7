"""What changed between runs, in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from bench_report.across import Beside, Change, OnlyIn
from bench_report.sentences.found import paired, some_of
from bench_report.sentences.phrases import NAMES, Sentence, digits, named, p_text, rate, setting
from bench_report.table import group_name, is_group
from bench_report.values import TOLERANCE, Notice, Word
from bench_report.words import pairs_text, plural
from benchmark import CLEAN


def report_title(titles: Sequence[str]) -> str:
    """Return the title of a report: those of its runs, each once."""
    known = list(dict.fromkeys(titles))
    return " · ".join(known[:3]) + (" · …" if len(known) > 3 else "")


def beside_headline(beside: Beside) -> Sentence:
    """Return how many cells changed beyond chance between runs, how many did not, and how many cannot tell."""
    cells = len(beside.changes)
    if not cells:
        return (Word("Nothing can be compared image by image between these runs; below stands why."),)
    told = Counter(change.told for change in beside.changes)
    moved = told["higher"] + told["lower"]
    two = len(beside.names) == 2
    words = [Word(f"Of {plural(cells, 'cell')} that {'both runs' if two else 'a later run and an earlier one'} have, ")]
    words += [Word(f"compared on {_counted(beside.changes)}, "), digits(f"{moved:,}" if moved else "none")]
    words += [Word(" changed beyond chance")]
    if moved:
        parts = [f"{told[way]:,} {way}" for way in ("higher", "lower") if told[way]]
        words += [Word(f" ({' and '.join(parts)} in {'B' if two else 'the later run'})")]
    if told["same"]:
        words += [Word(", "), digits(f"{told['same']:,}"), Word(" did not")]
    if told["unknown"]:
        words += [Word(", "), digits(f"{told['unknown']:,}"), Word(" cannot be told with so few images")]
    return (*words, Word("."))


def beside(beside: Beside) -> Iterator[Sentence]:
    """Yield what changed between runs, what did not, what one run alone has, and what could not be compared."""
    if beside.equal:
        yield (
            Word(f"Runs {' and '.join(beside.equal)} have one key: they are made from the same artifacts, and their "),
            Word("numbers are equal."),
        )
    moved: dict[tuple[str, str, str], list[Change]] = {}
    for change in beside.changes:
        if change.told in ("higher", "lower"):
            moved.setdefault((change.place.defense, change.second, change.told), []).append(change)
    yield from some_of(
        [_changed(mine, beside) for mine in moved.values()], "more change", "of a defense: the table has them first"
    )
    same = [change for change in beside.changes if change.told == "same"]
    if same:
        alike = sum(change.identical for change in same)
        rest = f"; {'all' if alike == len(same) else f'{alike:,}'} of them alike on every image" if alike else ""
        yield (
            Word(f"{plural(len(same), 'cell')} did not change: the interval of the difference lies within "),
            Word(f"{100 * TOLERANCE:g} points to either side, on {_counted(same)}{rest}."),
        )
    unknown = [change for change in beside.changes if change.told == "unknown"]
    if unknown:
        ends = [e for change in unknown for e in (change.difference.low, change.difference.high) if e is not None]
        reach = max(map(abs, ends), default=0.0)
        yield (
            Word(
                f"{plural(len(unknown), 'cell')} cannot be told: on {_counted(unknown)} the interval of the difference "
            ),
            Word(
                f"reaches as far as {100 * reach:.1f} points. That no change is seen does not say that there is none."
            ),
        )
    if len({*beside.seeds}) > 1 and {len(seeds) for seeds in beside.seeds} == {1}:
        yield (
            Word("Each run has one seed, and not the same one: what differs may be these trainings, not what was "),
            Word("changed. Several seeds tell the two apart."),
        )
    for only in beside.only:
        yield _only_in(only)
    for letter, cells in beside.gone:
        yield (Word(f"{plural(cells, 'cell')} {_have(cells)} no number in run {letter}: failed, or not run."),)
    for why, cells in beside.unpaired:
        yield (Word(f"{plural(cells, 'cell')} that several runs have: "), Word(why, "quote"), Word("."))
    for what, cells in beside.apart:
        words = Word(f"{plural(cells, 'cell')} must not be compared between runs: other ")
        yield (words, Word(", other ".join(what), "quote"), Word("."))
    if beside.differ:
        yield _differ(beside)


def _have(count: int) -> str:
    return "has" if count == 1 else "have"


def _counted(changes: Sequence[Change]) -> str:
    """Return on how many images changes were compared, for the fewest and the most of them."""
    found = {(change.difference.n or 0, max(len(change.difference.by_seed), 1)) for change in changes}
    least, most = min(found), max(found)
    return pairs_text(*least) if least == most else f"{least[0]:,} to {pairs_text(*most)}"


def _changed(changes: Sequence[Change], beside: Beside) -> Sentence:
    """Return what became of a defense in one run: in how many cells, and in the worst case that changed most."""
    of = sum((c.place.defense, c.second) == (changes[0].place.defense, changes[0].second) for c in beside.changes)
    one = next((change for change in changes if is_group(change.place.attack)), changes[0])
    place, at_most = one.place, bool(one.bound)
    words = [named(place.defense), Word(f" is {one.told} in {one.second} in {len(changes):,} of {plural(of, 'cell')}")]
    words += [Word(", " if len(changes) == 1 else ", such as ")]
    words += [Word("on clean images")] if place.attack == CLEAN else []
    words += [Word("under "), named(group_name(place.attack))] if place.attack != CLEAN else []
    words += [Word(" (")]
    words += [named(place.knowledge), Word(" attacker, ")] if place.knowledge else []
    words += [*setting(place), Word(f"): {one.first} "), *rate(one.before, at_most)]
    words += [Word(f", {one.second} "), *rate(one.after, at_most), Word("; "), *paired(one.difference)]
    words += [Word(f", {p_text(one.p)} corrected for {plural(one.of, 'comparison')}")]
    return (*words, *([Word(f"; {one.remark}")] if one.remark else []), Word("."))


def _only_in(only: OnlyIn) -> Sentence:
    words = [Word(f"{plural(only.cells, 'cell')} only in run {only.run}")]
    for number, (noun, label) in enumerate(only.labels[:NAMES]):
        words += [Word(f"{', ' if number else ', which alone has '}{noun} "), named(group_name(label))]
    return (*words, Word(f" and {len(only.labels) - NAMES} more." if only.labels[NAMES:] else "."))


def _differ(beside: Beside) -> Sentence:
    words = [Word("What differs between the runs: ")]
    for number, (what, values) in enumerate(beside.differ[:NAMES]):
        words += [Word("; ")] * bool(number) + [named(what), Word(" ")]
        for place, ((letter, _), value) in enumerate(zip(beside.names, values)):
            words += [Word(f"{', ' if place else '('}{letter} "), Word(value[:60] or "none", "quote")]
        words += [Word(")")]
    rest = len(beside.differ) - NAMES
    return (*words, Word(f"; and {plural(rest, 'more difference')}, listed below." if rest > 0 else "."))


def beside_how(beside: Beside) -> str:
    """Return how cells of several runs were compared."""
    if not beside.changes:
        return ""
    test = "a test over seeds and images" if beside.changes[0].difference.by_seed else "McNemar's exact test"
    by = "labelled rightly, or rejected where the defense rejects"
    if any(change.by_label for change in beside.changes):
        by += " (by the label alone where the runs reject at other thresholds)"
    return (
        f"Each cell and worst case is compared once, by the share {by}, image by image: {test}, corrected by Holm over "
        f"all {len(beside.changes):,} comparisons."
    )


def change_told(changes: Sequence[Change], runs: int) -> str:
    """Return what became of a cell, in a word or two per run."""
    said = {
        "higher": "higher, beyond chance",
        "lower": "lower, beyond chance",
        "same": f"within {100 * TOLERANCE:g} points",
        "unknown": "n cannot tell",
    }
    return "; ".join(
        (f"{change.second} " if runs > 2 else "")
        + ("alike on every image" if change.identical and change.told == "same" else said[change.told])
        for change in changes
    )


def not_lined_up(what: str, difference: str) -> Notice:
    """Say what keeps numbers of several runs apart."""
    return Notice("warn", f"{what}:", difference)
