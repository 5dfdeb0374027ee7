"""What was found in a run, in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bench_report.facts import RunFacts
from bench_report.findings import broken, drops, false_alarms, published, uneven
from bench_report.sentences.measures import judged
from bench_report.sentences.phrases import (
    MOST,
    NAMES,
    Sentence,
    attacker,
    attacks_text,
    digits,
    joined,
    listed,
    named,
    p_text,
    rate,
    setting,
)
from bench_report.table import group_name
from bench_report.values import AlarmView, DifferenceView, Word
from bench_report.verdicts import Alarms, Best, Broken, Drop, Published, PublishedCount, Uneven, Verdict
from bench_report.words import difference_text, number_text, plural
from benchmark import CLEAN


def findings(facts: RunFacts, alarms: Sequence[Sequence[AlarmView]]) -> Iterator[Sentence]:
    """Yield what stands out beside the verdicts."""
    for kind in alarms:
        first, more = kind[0], len(kind) - 1
        rest = f"; {plural(more, 'more finding')} of this kind." if more else "."
        yield (named(first.kind.sign, first.page), Word(": "), Word(first.finding, "quote"), Word(rest))
    yield from some_of([_best(best) for best in facts.best], "more setting", "compared in the same way")
    yield from some_of([_broken(one) for one in broken(facts)], "more defense", "broken in the same sense")
    yield from some_of([_drop(one) for one in drops(facts)], "more defense", "that knowing takes from")
    yield from some_of(
        [_uneven(one) for one in uneven(facts)], "more detector", "that catches one attack and misses another"
    )
    yield from some_of(
        [_false_alarms(one, facts) for one in false_alarms(facts)], "more defense", "with too many false alarms"
    )
    told = published(facts)
    if told is not None:
        yield _published(told)
        yield from (_far(one) for one in told.farthest[:3])


def some_of(sentences: Sequence[Sentence], noun: str, rest: str) -> Iterator[Sentence]:
    """Yield the first sentences, and how many more there are."""
    yield from sentences[:MOST]
    if len(sentences) > MOST:
        yield (Word(f"{plural(len(sentences) - MOST, noun)} {rest}."),)


def _best(best: Best) -> Sentence:
    first, second, pair = best.first, best.second, best.comparison
    scope = first.scope
    assert first.robust is not None
    assert second.robust is not None
    words = [Word("Against "), *attacker(scope.knowledge), Word(" ("), *setting(scope, first.robust.n), Word(", ")]
    words += [named(attacks_text(scope.attack, scope.attacks)), Word("), ")]
    numbers = [
        *rate(first.robust),
        *_cost(first),
        Word(" against "),
        *rate(second.robust, bool(second.bound)),
        *_cost(second),
    ]
    if pair is not None and pair.better:
        words += [named(first.defense, first.page), Word(" is best: ahead of "), named(second.defense, second.page)]
        words += [Word(", "), *numbers]
    else:
        names = [named(first.defense, first.page), named(second.defense, second.page), *map(named, best.level[:NAMES])]
        words += [Word("which defense is best is undecided between "), *joined(names, len(best.level[NAMES:]))]
        words += [Word(": "), *numbers]
    if pair is not None:
        words += [
            Word("; "),
            *paired(pair.difference),
            Word(f", {p_text(pair.p)} corrected for {plural(pair.of, 'comparison')}"),
        ]
    else:
        words += [Word("; they cannot be paired image by image")]
    if best.left_out:
        words += [Word(". Not counted, without a sure number: "), *listed(best.left_out)]
    return (*words, Word("."))


def _cost(verdict: Verdict) -> list[Word]:
    """Return what stands beside every joint number: the joint clean accuracy, and the false alarms."""
    if verdict.clean is None:
        return []
    alarms = verdict.false_alarms
    words = [Word(" (clean "), digits(f"{verdict.clean.text} %")]
    return [*words, *([Word(", false alarms "), digits(f"{alarms.text} %")] if alarms else []), Word(")")]


def paired(difference: DifferenceView) -> list[Word]:
    """Return a paired difference with its interval."""
    words = [Word("difference "), digits(f"{difference.text} points")]
    return [*words, Word(" ("), digits(difference.interval), Word(")")] if difference.interval else words


def _broken(one: Broken) -> Sentence:
    place = one.place
    words = [
        named(place.attack, one.page),
        Word(" breaks "),
        named(place.defense),
        Word(" by "),
        *attacker(place.knowledge, one.bound),
    ]
    words += [Word(" ("), *setting(place, one.robust.n), Word("): "), *rate(one.robust, bool(one.bound))]
    words.append(Word(f" of the attacked images are labelled rightly{' or rejected' if one.rejects else ''}"))
    words += [Word(", where "), digits(f"{one.clean.text} %"), Word(" of the clean ones are")]
    words.append(Word(" labelled rightly and not rejected" if one.rejects else ""))
    if one.false_alarms is not None:
        words += [Word(" and "), digits(f"{one.false_alarms.text} %"), Word(" are false alarms")]
    return (*words, Word("."))


def _drop(one: Drop) -> Sentence:
    place = one.place
    words = [Word("Once the attacker knows "), named(place.defense, one.page), Word(", "), named(place.attack)]
    words += [Word(" brings it from "), *rate(one.before, True), Word(" to "), *rate(one.after)]
    return (*words, Word(" ("), *setting(place, one.after.n), Word(")."))


def _uneven(one: Uneven) -> Sentence:
    place, at_most = one.place, bool(one.bound)
    words = [
        named(place.defense),
        Word(" catches "),
        *rate(one.caught, at_most),
        Word(f" of the {one.caught.n or 0:,} "),
    ]
    words += [Word("successful images of "), named(place.attack), Word(" and "), *rate(one.missed, at_most)]
    words += [Word(f" of the {one.missed.n or 0:,} of "), named(one.missed_attack, one.page), Word(", crafted by ")]
    words += attacker(place.knowledge, one.bound)
    if one.false_alarms is not None:
        words += [Word("; false alarms "), digits(f"{one.false_alarms.text} %")]
    return (*words, Word(" ("), *setting(place), Word(")."))


def _false_alarms(one: Alarms, facts: RunFacts) -> Sentence:
    words = [named(one.place.defense, one.page), Word(" rejects "), *rate(one.rate)]
    words += [
        Word(f" of the clean {judged([facts.manifest.get('protocol') or {}])} images, more than the "),
        digits(f"{100 * one.target:g} %"),
    ]
    return (*words, Word(" its threshold was set for ("), *setting(one.place, one.rate.n), Word(")."))


def _published(count: PublishedCount) -> Sentence:
    total = count.agrees + count.differs + count.unknown
    doubt = f" Not counted, since alarms put them in doubt: {count.doubtful}." if count.doubtful else ""
    if not total:
        return (Word(f"No published value can be compared.{doubt}"),)
    parts = [
        (count.agrees, "agree with what was measured here, to within 5 points"),
        (count.differs, "lie outside the 95 % interval"),
        (count.unknown, "lie inside an interval too wide to have shown a difference of 5 points"),
    ]
    said = "; ".join(f"{number:,} {words}" for number, words in parts if number)
    return (Word(f"Of {plural(total, 'published value')}, each counted once: {said}.{doubt}"),)


def _far(one: Published) -> Sentence:
    place, unit = one.place, one.measured.unit
    sign = difference_text(one.difference, unit)
    words = [Word("Published "), digits(number_text(one.value, unit)), Word(", measured "), digits(one.measured.text)]
    words += [Word(f" ({one.measured.interval})" if one.measured.interval else "")]
    words += [
        Word(f", difference {sign}{' points' if unit == 'rate' else ''}: {one.measured.metric.replace('_', ' ')} of ")
    ]
    words += [named(place.defense, one.page), Word(" on clean images" if place.attack == CLEAN else " under ")]
    words += [] if place.attack == CLEAN else [named(group_name(place.attack))]
    words += [Word(" ("), *([] if not place.knowledge else [named(place.knowledge), Word(" attacker, ")])]
    words += setting(place, one.measured.n)
    return (*words, Word(f", the farthest of {one.places:,} cells)." if one.places > 1 else ")."))
