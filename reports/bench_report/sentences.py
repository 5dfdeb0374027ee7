"""Facts in words: every headline, finding, verdict, caption, notice and alternative text of a report is made here."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from bench_report.across import Beside, Change, OnlyIn
from bench_report.facts import (
    Alarms,
    Best,
    Bound,
    Broken,
    Drop,
    Implied,
    Published,
    PublishedCount,
    Reach,
    RunFacts,
    Scope,
    TradeOff,
    Uneven,
    Verdict,
    VerdictGroup,
    VerdictRow,
)
from bench_report.measures import Measure
from bench_report.ranks import Condition, Entry, Trust, Unranked
from bench_report.table import ALL_ATTACKS, Axes, Place
from bench_report.view import TOLERANCE, AlarmView, ChartView, DifferenceView, Estimate, FigureView, Notice, Word
from bench_report.words import difference_text, norm_text, number_text, pairs_text, plural
from benchmark import BARE, CLEAN, CROSSED, KNOWING, TRUST_MARKS, TRUST_RULES, WORST_OF

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
    "failed": ("Attack failed", "The classifier was right before the attack and is right under it."),
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


def _name(text: str, page: str = "") -> Word:
    return Word(text, "name", page)


def _number(text: str) -> Word:
    return Word(text, "number")


def _aside(text: str) -> Word:
    """Return what a narrow screen leaves out until it is asked for."""
    return Word(text, "aside")


def listed(names: Sequence[str]) -> list[Word]:
    """Return `a, b and c`; of many the first few and how many more."""
    return _joined(list(map(_name, names[:NAMES])), len(names[NAMES:]))


def _joined(names: Sequence[Word], more: int = 0) -> list[Word]:
    found: list[Word] = []
    for place, one in enumerate(names):
        last = place == len(names) - 1 and not more
        found += [Word(" and " if last else ", ")] * bool(place) + [one]
    return [*found, Word(f" and {more} more")] if more else found


def rate(estimate: Estimate, at_most: bool = False) -> list[Word]:
    """Return a rate with its interval, that it is an upper bound, and that it is in doubt, where that is so."""
    words = [_number(f"{'≤ ' if at_most else ''}{estimate.text} %")]
    if estimate.interval:
        words += [Word(" ("), _number(estimate.interval), Word(")")]
    return [*words, Word(" (in doubt)")] if estimate.doubt else words


def attacks_text(attack: str, attacks: Sequence[str]) -> str:
    """Return what a group is called where its count stands beside it."""
    label = attack.removeprefix(WORST_OF)
    if not attack.startswith(WORST_OF):
        return label
    return f"all {len(attacks)} attacks" if label == ALL_ATTACKS else f"{label}, {plural(len(attacks), 'attack')}"


def _attacker(knowledge: str, bound: Bound = "") -> list[Word]:
    """Return `a gray-box attacker, who does not know the defense`."""
    own = {"defense": "does not know the defense", "network": "does not hold the network"}.get(bound, "")
    own = own or ("knows it whole" if knowledge in KNOWING else "knows the network" if knowledge == "gray-box" else "")
    return [Word("a "), _name(knowledge), Word(" attacker" + (f", who {own}" if own else ""))]


def _setting(scope: Scope | Place, n: int | None = None) -> list[Word]:
    rest = "" if n is None else f", n = {n:,}"
    return [_name(scope.model), Word(" on "), _name(scope.dataset), Word(rest)]


def _p(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


# -- verdicts ----------------------------------------------------------------------------------------------------------


GONE: Mapping[str, str] = {
    "failed": "failed",
    "missing": "not run",
    "left-out": "left out for it by the suite's grid",
}
"""What is said of attacks without a result, by `Verdict.why`."""


def standing(verdict: Verdict, reach: Reach | None = None) -> str:
    """Return the verdict in a word or three; of a sweep it holds `to` a budget as far as it reaches, else `at` it."""
    if verdict.standing == "holds":
        held = reach.holds.scope if reach is not None and reach.holds is not None else None
        all_ = verdict.scope.budgets
        to = held is not None and all_.index(held.budget) >= all_.index(verdict.scope.budget)
        upto = f" {'to' if to else 'at'} {verdict.scope.budget}" if verdict.scope.budget else ""
        return f"holds{upto}, at most" if verdict.bound else f"holds{upto}"
    return {"fails": "does not hold", "undecided": "undecided", "baseline": "undefended"}[verdict.standing]


def caveat(row: VerdictRow) -> Sentence:
    """Return why a verdict is what it is, or what may not be concluded from it, in few words."""
    verdict = row.hardest
    robust, level = verdict.robust, f"{100 * verdict.level:.1f} %"
    of = len(verdict.scope.attacks)
    gone = f"{verdict.absent} of {plural(of, 'attack')} {GONE.get(verdict.why, '')}"
    words: list[Word]
    if verdict.standing == "baseline":
        weak = verdict.why == "weak-attacks"
        words = [Word("holds undefended: these attacks are too weak to tell")] if weak else []
        if verdict.why in GONE:
            words = [Word(gone)]
    elif verdict.standing == "holds":
        said = "against these attacks" + ("" if row.worse or row.reach else "; no stronger one was run")
        words = [*_why_bound(verdict)] if verdict.bound else [Word(said)]
    elif verdict.standing == "fails":
        words = [Word("though this attacker does not even know it")] if verdict.bound == "defense" else []
        if verdict.hardest is not None and of > 1:
            attack, left, page = verdict.hardest
            words = [_name(attack, page), Word(" alone leaves "), _number(f"{left.text} %"), *_after(words)]
        if robust is not None and robust.doubt is not None:
            words += [*([Word(", ")] if words else []), *_doubtful(robust), Word(": it may be even less")]
    elif verdict.why in GONE:
        words = [Word(f"{gone}: no worst case")]
        if robust is not None:
            words.append(Word(", it is not above this"))
        if verdict.why == "left-out":
            words.append(Word("; a group (groups:) of the others has one"))
    elif verdict.why == "doubt":
        words = [*([] if robust is None else _doubtful(robust)), Word(" puts the numbers in doubt")]
    elif verdict.why == "baseline-doubt":
        words = [Word("an alarm puts the numbers of "), _name(verdict.baseline), Word(" in doubt")]
    elif verdict.why == "baseline-partial":
        words = [
            Word("an attack on "),
            _name(verdict.baseline),
            Word(" failed or was not run: nothing to compare with"),
        ]
    elif verdict.why == "baseline-clean":
        words = [Word("clean accuracy of "), _name(verdict.baseline), Word(" is missing: no level to reach")]
    elif verdict.why == "no-clean":
        words = [Word("its clean accuracy is missing: nothing says what it costs")]
    elif verdict.why == "guessing":
        words = [Word("no better than guessing on clean images: nothing to break")]
    elif verdict.why == "costly":
        words = [Word("on clean images it loses more than half of what "), _name(verdict.baseline), Word(" gets right")]
    elif verdict.why == "level":
        n = "" if robust is None or robust.n is None else f"n = {robust.n:,} cannot tell: "
        words = [Word(f"{n}the interval holds {level}, the level to reach")]
    elif verdict.why == "no-baseline":
        words = [Word("no undefended system beside it: the attacks may be too weak")]
    elif verdict.why == "weak-attacks":
        words = [_name(verdict.baseline), Word(" holds too: these attacks are too weak to tell")]
    elif verdict.why == "unpaired":
        words = [Word("not judged on the images of "), _name(verdict.baseline)]
    else:
        p = "" if verdict.against is None else f" ({_p(verdict.against.p)})"
        words = [Word("not told apart from "), _name(verdict.baseline), Word(p)]
    if verdict.standing in ("undecided",) and verdict.bound and robust is not None:
        words += [Word("; at most: "), *_why_bound(verdict)]
    words += _reach(row, "; " if words else "")
    if (worse := row.worse) is not None:
        words += [Word("; "), Word(standing(worse)), Word(" under "), _name(worse.scope.attack.removeprefix(WORST_OF))]
        words += [] if worse.robust is None else [Word(": "), *rate(worse.robust, bool(worse.bound) or worse.partial)]
    return tuple(words)


def _why_bound(verdict: Verdict) -> list[Word]:
    """Return why the number of a verdict is an upper bound, and who broke the defense, where somebody did."""
    words = [Word(BOUNDS[verdict.bound])]
    if verdict.trust is not None and "published" in verdict.trust.why:
        broken = [Word(": "), Word(verdict.trust.published, "quote")]
        words += broken if verdict.bound == "published" else [Word(f"; {BOUNDS['published']}"), *broken]
    return words


def _reach(row: VerdictRow, link: str) -> Sentence:
    """Return how far a defense holds as the budget grows, beside its verdict at the budget that the line is about."""
    reach, budget = row.reach, row.hardest.scope.budget
    if reach is None:
        return ()
    to = "" if reach.holds is None else reach.holds.scope.budget
    if row.hardest.standing == "holds" and to == budget:
        if reach.beyond is None:
            return (Word(f"{link}the largest of {len(row.hardest.scope.budgets)} budgets"),)
        told = standing(reach.beyond) if reach.beyond.standing == "fails" else "is undecided"
        words = [Word(f"{link}at {reach.beyond.scope.budget} it {told}")]
        left = reach.beyond.robust
        return (*words, *([] if left is None else [Word(": "), _number(f"{left.text} %")]))
    # A smaller budget than that of the line may be what it does not get over.
    already = ""
    if reach.beyond is not None and (smaller := reach.beyond.scope.budget) != budget:
        already = f"{'does not hold' if reach.beyond.standing == 'fails' else 'undecided'} at {smaller} already"
    if to and row.hardest.standing != "holds":
        already = ""
    told = ", ".join([f"holds to {to}"] * bool(to) + [already] * bool(already))
    return (Word(link + told),) if told else ()


def _doubtful(estimate: Estimate) -> list[Word]:
    """Return `an alarm on pgd`, or how many of the attacks have one."""
    doubt = estimate.doubt
    if doubt is None or len(doubt.attacks) == doubt.of:
        return [Word("an alarm")]
    return [Word("an alarm on "), *listed(doubt.attacks)]


def _after(words: Sequence[Word]) -> list[Word]:
    return [Word(", "), *words] if words else []


def where(row: VerdictRow, group: VerdictGroup) -> Sentence:
    """Return which model the numbers of a row are of, and what the defense was taught; nothing where it is plain."""
    words: list[Word] = []
    if len(group.models) > 1:
        fewer = f"hardest of {row.models}: " if row.models > 1 else "only "
        words += [*([Word(fewer)] if row.models < len(group.models) else []), _name(row.hardest.scope.model)]
    robust = row.hardest.robust
    if robust is not None and robust.seeds < row.hardest.seeds:
        words += [Word("; ")] * bool(words) + [Word(f"{robust.seeds} of {row.hardest.seeds} seeds")]
    if row.taught:
        words += [*([Word("; ")] if words else []), *taught(row.taught)]
    return tuple(words)


def taught(attacks: Sequence[str]) -> Sentence:
    """Return which attacks a defense has learned from, nothing for none."""
    return (Word("taught by "), *listed(attacks)) if attacks else ()


def group_title(group: VerdictGroup, several_models: bool) -> Sentence:
    """Return which data set, attacker and attacks a group of verdicts is about, and on how many images."""
    own = ATTACKERS.get(group.knowledge, "")
    words = [_name(group.dataset), Word(", "), _name(group.knowledge or "unnamed"), Word(" attacker")]
    words += [_aside(f": {own}")] if own else []
    many = len(group.attacks) > 1
    words.append(Word(" · worst case per image of " if many else " · under "))
    words.append(_name(attacks_text(group.attack, group.attacks)))
    words += [Word(f", the hardest of {group.hardest_of} groups")] if group.hardest_of > 1 else []
    if group.budgets:
        words += [Word(f", of {len(group.budgets)} budgets to {group.budgets[-1]}"), _aside(f" ({_why_budget(group)})")]
    if group.n is not None:
        least, most = group.n
        words += [Word(" · "), _number(f"n = {least:,}" + (f" to {most:,}" if most != least else ""))]
    if several_models and len(group.models) == 1:
        words += [Word(" · "), _name(group.models[0])]
    if len(group.models) > 1:
        words.append(_aside(f" · hardest of {len(group.models)} models"))
    return tuple(words)


def _why_budget(group: VerdictGroup) -> str:
    """Return why the verdicts of a sweep are about this budget."""
    if any(row.hardest.standing == "holds" for row in group.rows):
        return "the largest at which a defense holds"
    if any(row.hardest.why == "weak-attacks" for row in group.rows):
        return "the undefended system withstands all of them"
    return "no defense surely holds at it or beyond"


NOT_CONCLUDED = "Not to be concluded: anything of stronger attacks, larger budgets or other images."


def conclusions() -> str:
    """Return how the table of verdicts is to be read."""
    return (
        "Withstood: labelled rightly or rejected under every attack of the line. A defense holds where the interval "
        "lies above half of the undefended clean accuracy (never below 10 % or guessing, and beyond what its false "
        "alarms would catch by chance), it is ahead of the undefended system in the paired test (Holm's correction), "
        "and clean images cost it less than half."
    )


def headline(facts: RunFacts, only: Sequence[str] = ()) -> Sentence:
    """Return what becomes of every defense over all its settings, the worst of its verdicts counting."""
    groups = facts.groups
    part = [Word("Of the part that was run ("), Word(" or ".join(only), "quote"), Word("): ")] if only else []
    verdicts: dict[str, list[Verdict]] = {}
    for group in groups:
        for row in group.rows:
            if row.hardest.standing != "baseline":
                verdicts.setdefault(row.defense, []).append(row.spoken_for)
    if not groups:
        return (*part, Word("No attack with a budget has a result: nothing says whether a defense holds."))
    if not verdicts:
        return (*part, Word("No defense was run, only the undefended system."))
    kinds: dict[tuple[str, str], list[str]] = {}
    for defense, mine in verdicts.items():
        found = {"bound" if v.standing == "holds" and v.bound else v.standing for v in mine}
        worst = next(kind for kind in ("fails", "undecided", "bound", "holds") if kind in found)
        # Against one who knows it, it holds; against one who does not, that is no news.
        known = [v for v in mine if not v.bound]
        if worst == "bound" and known and {v.standing for v in known} == {"holds"}:
            worst, mine = "holds", known
        kinds.setdefault((worst, _upto(mine) if worst in ("holds", "bound") else ""), []).append(defense)
    bounds = {v.bound for (kind, _), names in kinds.items() if kind == "bound" for x in names for v in verdicts[x]} - {
        ""
    }
    lacking = "no attacker who knows the defense was run"
    why = lacking if bounds <= {"defense"} else " or ".join(BOUNDS[x] for x in BOUNDS if x in bounds)
    said = {
        "holds": ("holds", "hold", " against every attacker that was run"),
        "fails": ("does not hold", "do not hold", ""),
        "bound": ("holds", "hold", f" at most: {why}"),
        "undecided": ("is undecided", "are undecided", ""),
    }
    words: list[Word] = []
    for kind, (one, many, rest) in said.items():
        for upto, names in ((upto, names) for (of, upto), names in kinds.items() if of == kind):
            words += [
                *([Word("; ")] if words else []),
                *listed(names),
                Word(f" {one if len(names) == 1 else many}{upto}{rest}"),
            ]
    settings = len(facts.scopes)
    end = "" if settings == 1 else f" The worst of {settings} settings (data set, model, attacker) counts."
    return (*part, *words, Word(f".{end}"))


def _upto(verdicts: Sequence[Verdict]) -> str:
    """Return ` to 4/255`: the largest budget at which all of these hold, "" where they are of no sweep."""
    scopes = [verdict.scope for verdict in verdicts]
    if not any(scope.budget for scope in scopes):
        return ""
    if len({scope.budgets for scope in scopes}) > 1:
        return " to the budgets below"
    return f" to {min(scopes, key=lambda scope: scope.budgets.index(scope.budget)).budget}"


def of_block(facts: RunFacts, dataset: str, model: str, knowledge: str) -> Iterator[Sentence]:
    """Yield a sentence per defense of a setting."""
    for scope, verdicts in facts.verdicts.items():
        if (scope.dataset, scope.model, scope.knowledge) != (dataset, model, knowledge) or not scope.hardest_of:
            continue
        for verdict in sorted(verdicts, key=lambda v: v.sort_key):
            if verdict.robust is None:
                continue
            reach = facts.reach((scope,), verdict.defense)
            words = [_name(verdict.defense, verdict.page), Word(f" {_stands(verdict, reach)}: ")]
            words += rate(verdict.robust, bool(verdict.bound) or verdict.partial)
            words += [Word(" withstood under "), _name(attacks_text(scope.attack, scope.attacks)), *_clean(verdict)]
            note = caveat(VerdictRow(verdict.defense, verdict, 1, (), reach=reach))
            yield (*words, *([Word(". "), *_capital(note)] if note else []), Word("."))


def _stands(verdict: Verdict, reach: Reach | None) -> str:
    said = {"undecided": "is undecided", "undefended": "is the undefended system"}
    word = standing(verdict, reach)
    return said.get(word, word)


def _clean(verdict: Verdict) -> list[Word]:
    if verdict.clean is None:
        return []
    alarms = verdict.false_alarms
    words = [Word("; clean images right and not rejected "), _number(f"{verdict.clean.text} %")]
    return [*words, Word(", false alarms "), _number(f"{alarms.text} %")] if alarms else words


def _capital(words: Sequence[Word]) -> list[Word]:
    first = words[0]
    if first.kind != "words":
        return list(words)
    return [Word(first.text[:1].upper() + first.text[1:]), *words[1:]]


def of_cell(facts: RunFacts, place: Place) -> Iterator[Sentence]:
    """Yield what has to be known of a cell's defense and attacker."""
    trust = facts.table.trust(place)
    if trust is not None:
        yield (_name(trust.mark), Word(f" ({TRUST_MARKS[trust.mark]}): "), Word(trust.because, "quote"), Word("."))
        if trust.published and "published" not in trust.why:
            yield (Word("Strongest published attack: "), Word(trust.published, "quote"), Word("."))
    learned = facts.taught.get(place.defense, ())
    if learned:
        met = {place.attack, *facts.table.members(place)} & {*learned}
        words = [*_capital(taught(learned)), Word(": what it finds here it ")]
        if place.attack == CLEAN:
            words = [*_capital(taught(learned))]
        else:
            words += [Word("has learned from" if met else "has not learned from")]
        yield (*words, Word("."))
    implied = facts.implied(place)
    if implied is not None:
        yield _implied(implied)


def _implied(one: Implied) -> Sentence:
    half = f"half of that budget ({norm_text(one.norm)}, ε = {one.budget} / 2)"
    words = [Word("A detector as robust as this implies a classifier that keeps "), *rate(one.accuracy)]
    words += [Word(f" at {half}, were it built (Tramèr 2022)")]
    if one.hardened is not None:
        name, kept, page = one.hardened
        words += [Word(". The best hardened network of this run, "), _name(name, page), Word(", keeps there ")]
        words += rate(kept, at_most=True)
    return (*words, Word("."))


# -- findings ----------------------------------------------------------------------------------------------------------


def findings(facts: RunFacts, alarms: Sequence[Sequence[AlarmView]]) -> Iterator[Sentence]:
    """Yield what stands out beside the verdicts."""
    for kind in alarms:
        first, more = kind[0], len(kind) - 1
        rest = f"; {plural(more, 'more finding')} of this kind." if more else "."
        yield (_name(first.kind.sign, first.page), Word(": "), Word(first.finding, "quote"), Word(rest))
    yield from _some([_best(best) for best in facts.best], "more setting", "compared in the same way")
    yield from _some([_broken(one) for one in facts.broken()], "more defense", "broken in the same sense")
    yield from _some([_drop(one) for one in facts.drops()], "more defense", "that knowing takes from")
    yield from _some(
        [_uneven(one) for one in facts.uneven()], "more detector", "that catches one attack and misses another"
    )
    yield from _some(
        [_false_alarms(one, facts) for one in facts.false_alarms()], "more defense", "with too many false alarms"
    )
    published = facts.published()
    if published is not None:
        yield _published(published)
        yield from (_far(one) for one in published.farthest[:3])


def _some(sentences: Sequence[Sentence], noun: str, rest: str) -> Iterator[Sentence]:
    yield from sentences[:MOST]
    if len(sentences) > MOST:
        yield (Word(f"{plural(len(sentences) - MOST, noun)} {rest}."),)


def _best(best: Best) -> Sentence:
    first, second, pair = best.first, best.second, best.comparison
    scope = first.scope
    assert first.robust is not None
    assert second.robust is not None
    words = [Word("Against "), *_attacker(scope.knowledge), Word(" ("), *_setting(scope, first.robust.n), Word(", ")]
    words += [_name(attacks_text(scope.attack, scope.attacks)), Word("), ")]
    numbers = [
        *rate(first.robust),
        *_cost(first),
        Word(" against "),
        *rate(second.robust, bool(second.bound)),
        *_cost(second),
    ]
    if pair is not None and pair.better:
        words += [_name(first.defense, first.page), Word(" is best: ahead of "), _name(second.defense, second.page)]
        words += [Word(", "), *numbers]
    else:
        names = [_name(first.defense, first.page), _name(second.defense, second.page), *map(_name, best.level[:NAMES])]
        words += [Word("which defense is best is undecided between "), *_joined(names, len(best.level[NAMES:]))]
        words += [Word(": "), *numbers]
    if pair is not None:
        words += [
            Word("; "),
            *paired(pair.difference),
            Word(f", {_p(pair.p)} corrected for {plural(pair.of, 'comparison')}"),
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
    words = [Word(" (clean "), _number(f"{verdict.clean.text} %")]
    return [*words, *([Word(", false alarms "), _number(f"{alarms.text} %")] if alarms else []), Word(")")]


def paired(difference: DifferenceView) -> list[Word]:
    """Return a paired difference with its interval."""
    words = [Word("difference "), _number(f"{difference.text} points")]
    return [*words, Word(" ("), _number(difference.interval), Word(")")] if difference.interval else words


def _broken(one: Broken) -> Sentence:
    place = one.place
    words = [
        _name(place.attack, one.page),
        Word(" breaks "),
        _name(place.defense),
        Word(" by "),
        *_attacker(place.knowledge, one.bound),
    ]
    words += [Word(" ("), *_setting(place, one.robust.n), Word("): "), *rate(one.robust, bool(one.bound))]
    words.append(Word(f" of the attacked images are labelled rightly{' or rejected' if one.rejects else ''}"))
    words += [Word(", where "), _number(f"{one.clean.text} %"), Word(" of the clean ones are")]
    words.append(Word(" labelled rightly and not rejected" if one.rejects else ""))
    if one.false_alarms is not None:
        words += [Word(" and "), _number(f"{one.false_alarms.text} %"), Word(" are false alarms")]
    return (*words, Word("."))


def _drop(one: Drop) -> Sentence:
    place = one.place
    words = [Word("Once the attacker knows "), _name(place.defense, one.page), Word(", "), _name(place.attack)]
    words += [Word(" brings it from "), *rate(one.before, True), Word(" to "), *rate(one.after)]
    return (*words, Word(" ("), *_setting(place, one.after.n), Word(")."))


def _uneven(one: Uneven) -> Sentence:
    place, at_most = one.place, bool(one.bound)
    words = [
        _name(place.defense),
        Word(" catches "),
        *rate(one.caught, at_most),
        Word(f" of the {one.caught.n or 0:,} "),
    ]
    words += [Word("successful images of "), _name(place.attack), Word(" and "), *rate(one.missed, at_most)]
    words += [Word(f" of the {one.missed.n or 0:,} of "), _name(one.missed_attack, one.page), Word(", crafted by ")]
    words += _attacker(place.knowledge, one.bound)
    if one.false_alarms is not None:
        words += [Word("; false alarms "), _number(f"{one.false_alarms.text} %")]
    return (*words, Word(" ("), *_setting(place), Word(")."))


def _false_alarms(one: Alarms, facts: RunFacts) -> Sentence:
    words = [_name(one.place.defense, one.page), Word(" rejects "), *rate(one.rate)]
    words += [
        Word(f" of the clean {judged([facts.manifest.get('protocol') or {}])} images, more than the "),
        _number(f"{100 * one.target:g} %"),
    ]
    return (*words, Word(" its threshold was set for ("), *_setting(one.place, one.rate.n), Word(")."))


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
    words = [Word("Published "), _number(number_text(one.value, unit)), Word(", measured "), _number(one.measured.text)]
    words += [Word(f" ({one.measured.interval})" if one.measured.interval else "")]
    words += [
        Word(f", difference {sign}{' points' if unit == 'rate' else ''}: {one.measured.metric.replace('_', ' ')} of ")
    ]
    words += [_name(place.defense, one.page), Word(" on clean images" if place.attack == CLEAN else " under ")]
    words += [] if place.attack == CLEAN else [_name(place.attack.removeprefix(WORST_OF))]
    words += [Word(" ("), *([] if not place.knowledge else [_name(place.knowledge), Word(" attacker, ")])]
    words += _setting(place, one.measured.n)
    return (*words, Word(f", the farthest of {one.places:,} cells)." if one.places > 1 else ")."))


# -- measures ----------------------------------------------------------------------------------------------------------

SUCCESS = {
    "initially-correct": "the clean image was labelled rightly by the deployed classifier, the attacked one wrongly",
    "any-wrong": "the attacked image is labelled wrongly by the deployed classifier, whatever it said of the clean one",
}
"""What a protocol calls a successful attack."""


def judged(protocols: Iterable[Mapping[str, Any]]) -> str:
    """Return which images runs judge: `test`, `validation`, or both."""
    kinds = dict.fromkeys("validation" if one.get("split") == "val" else "test" for one in protocols)
    return " or ".join(kinds) or "test"


def definition(known: Measure, protocols: Sequence[Mapping[str, Any]]) -> str:
    """Return what a measure counts under the protocols of runs; what another plugin says of its own stays as it is."""
    if known.foreign:
        return known.definition
    images = judged(protocols)
    text = re.sub("judged (?=image)", f"{images} ", known.definition)
    text = re.sub("Judged (?=image)", f"{images.capitalize()} ", text)
    if "successful adversarial" in text.lower():
        kinds = dict.fromkeys(SUCCESS[kind] for one in protocols if (kind := one.get("success")) in SUCCESS)
        text += "".join(f" Successful: {kind}." for kind in kinds)
    return text


def what_ran(axes: Axes, protocol: Mapping[str, Any], images: int, seeds: int, cells: int) -> str:
    """Return how much a run spans; `images` that are judged, 0 where it is not known."""
    parts = [
        plural(len(axes.defenses), "defense"),
        plural(len(axes.attacks), "attack"),
        plural(len(axes.models), "model"),
        plural(len(axes.datasets), "data set"),
    ]
    text = f"{parts[0]} against {parts[1]} on {parts[2]} and {parts[3]}"
    text += f" with {plural(images, judged([protocol]) + ' image')}" if images else ""
    return f"{text}, {plural(max(seeds, 1), 'seed')}: {plural(cells, 'cell')}."


def overview(attack: str, attacks: Sequence[str], protocol: Mapping[str, Any]) -> tuple[Sentence, str]:
    """Return title and definition of the table of worst cases of all settings."""
    title = (Word("Worst-case robust accuracy over "), _name(attacks_text(attack, attacks)))
    return title, (
        f"Share of {judged([protocol])} images that the defended system labels rightly under every attack of the group."
    )


def detectors() -> tuple[str, str]:
    """Return title and definition of the table of scores."""
    return "Detectors", (
        "The score of a defense against successful adversarial images. Rates in percent, areas from 0 to 1. The "
        "threshold was set on clean validation images, unless the defense flags by itself."
    )


def detectors_at_worst() -> tuple[str, str]:
    """Return title and definition of the table of scores over groups of attacks."""
    return "Detectors at worst", (
        "The same over groups of attacks: of each image that some attack turns wrong, the attack that does and is "
        "detected least. An image is detected where it is under every attack that turns it wrong."
    )


def other_measures() -> tuple[str, str]:
    """Return title and definition of the table of what no other table shows."""
    return "Other measures", "Rates in percent, distances in pixel units of [0, 1], ratios as they are."


# -- captions ----------------------------------------------------------------------------------------------------------


def intervals(estimates: Iterable[Estimate | None]) -> str:
    """Return what the intervals of a table are, for all kinds of number in it."""
    present = [estimate for estimate in estimates if estimate is not None]
    seeds = max((estimate.seeds for estimate in present), default=1)
    kinds = dict.fromkeys(estimate.spans for estimate in present if estimate.interval)
    if seeds == 1:
        return "with 95 % interval" if kinds else ""
    said = {
        "seeds and images": "over seeds and images",
        "images": "over images where one seed alone has a value",
        "seeds": "over seeds alone where it says so",
    }
    text = ", ".join(words for kind, words in said.items() if kind in kinds)
    return f"mean over {seeds} seeds with 95 % interval {text}; sd: standard deviation between seeds"


def counts(n: int | None) -> str:
    """Return where the numbers of images of a table stand."""
    return "and n, the number of images" if n is None else f"n = {n:,} images in every cell"


def paired_how(seed: str, seeds: int) -> str:
    """Return over what a paired table compares, and by which test; no table corrects for its many cells."""
    over, test = (f" (seed {seed})" if seeds > 1 else ""), "McNemar's exact test"
    if seed == CROSSED:
        over, test = f", over {seeds} seeds", "a test over seeds and images"
    return (
        f"{over}, in percentage points, with 95 % interval and {test}. ▲ ▼: the interval leaves out zero. "
        "No correction is made for testing many cells."
    )


# -- notices -----------------------------------------------------------------------------------------------------------


def failed(cells: int, causes: int, anchor: str) -> Notice:
    """Say that cells failed."""
    text = (
        f"Their numbers are missing, and with them the worst case of their defenses; {plural(causes, 'cause')} found."
    )
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
        if (rest := {name for name in everyone - names if facts.families.get(name) not in BARE})
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


# -- pictures ----------------------------------------------------------------------------------------------------------


def charts_heading(kinds: Iterable[str]) -> str:
    """Return the heading of a cell's charts: what they show, and nothing of a score where there is none."""
    found = {*kinds}
    if found & {"roc", "scores"}:
        return "Score and threshold"
    return (
        "Success against budget"
        if "budget" in found
        else "Success against distance"
        if "distance" in found
        else "Along the way of the attack"
        if "path" in found
        else "Charts"
    )


def _text(words: Iterable[Word]) -> str:
    return "".join(word.text for word in words)


def bars(estimates: Iterable[Estimate | None]) -> str:
    """Return what the bars of a chart are, "" where it has none."""
    spans = {estimate.spans for estimate in estimates if estimate is not None and estimate.interval}
    if not spans:
        return ""
    over = "" if spans == {"images"} else ", over " + " or ".join(sorted(spans))
    return f" Bars: 95 % intervals{over}."


def on_front(trade: TradeOff, verdict: Verdict) -> str:
    """Return whether a defense is on the front: yes, at most, or no."""
    if verdict.defense not in trade.front:
        return "no"
    return "at most" if verdict.bound else "yes"


PRICE = (
    "Across: clean images labelled rightly and not rejected. Up: attacked images labelled rightly or rejected, the "
    "worst case per image. On the front no other is better in one and no worse in the other; being on it is no tested "
    "difference."
)
"""How the chart of clean accuracy against worst case is read."""
BUDGETS = (
    "Attacked images labelled rightly or rejected, by budget, a line per defense. At 0 stand the clean images, "
    "labelled rightly and not rejected."
)
"""How lines over the budget are read."""
CENTRAL = (("budget", "As the budget grows", BUDGETS), ("price", "At what price?", PRICE))
"""Kinds of figures of the first page: what they are about, heading, and how they are read."""


def trade_off(trade: TradeOff) -> str:
    """Return how the chart of clean accuracy against worst case is to be read, and who is on its front."""
    return f"{PRICE} {trade_off_brief(trade)}"


def trade_off_brief(trade: TradeOff) -> str:
    """Return who is on the front of clean accuracy against worst case, and what cannot be."""
    scope, points = trade.scope, trade.points
    n = {v.robust.n for v in points if v.robust and v.robust.n is not None}
    counted = f", n = {min(n):,}" + (f" to {max(n):,}" if len(n) > 1 else "") if n else ""
    by: dict[str, list[str]] = {"yes": [], "at most": [], "no": []}
    for verdict in points:
        by[on_front(trade, verdict)].append(verdict.defense)
    text = (
        f"Under {attacks_text(scope.attack, scope.attacks)} of {_text(_attacker(scope.knowledge))}{counted}."
        f"{bars(e for v in points for e in (v.clean, v.robust))}"
    )
    if by["yes"]:
        text += f" On the front: {_text(listed(by['yes']))}."
    bounds = dict.fromkeys(v.bound for v in points if v.bound)
    if bounds:
        why = " or ".join(BOUNDS[bound] for bound in bounds)
        most = f" At most on the front: {_text(listed(by['at most']))}." if by["at most"] else ""
        text += f"{most} Open marks are upper bounds, since {why}."
    if trade.loses:
        text += " On no front, since on clean images no better than guessing or half of the undefended: "
        text += f"{_text(listed(trade.loses))}."
    if trade.taught:
        text += f" Taught by attacks: {_text(listed(trade.taught))}."
    if trade.left_out:
        text += f" Not drawn, without a sure number under all of these attacks: {_text(listed(trade.left_out))}."
    return text


def unnamed(names: Sequence[str]) -> str:
    """Return which marks of a chart had no room for their names."""
    return f" Drawn without a name, for want of room: {_text(listed(names))}." if names else ""


def over_budgets(facts: RunFacts, knowledge: str, lines: Mapping[str, Sequence[Place]], attacks: str) -> str:
    """Return how lines over the budget are to be read; see `budgets_brief`."""
    return f"{BUDGETS} {budgets_brief(facts, knowledge, lines, attacks)}"


def budgets_brief(facts: RunFacts, knowledge: str, lines: Mapping[str, Sequence[Place]], attacks: str) -> str:
    """Return whose budgets they are, and which lines are upper bounds.

    Args:
        lines: defenses, with the cells or groups of their lines.
        attacks: what the budgets are of.
    """
    bounds: dict[Bound, list[str]] = {}
    for name, places in lines.items():
        if bound := next(filter(None, map(facts.bound, places)), ""):
            bounds.setdefault(bound, []).append(name)
    at_most = "".join(f" At most, since {BOUNDS[bound]}: {_text(listed(found))}." for bound, found in bounds.items())
    return f"Of {_text(_attacker(knowledge))}: {attacks}.{at_most}"


def figure_alt(view: FigureView) -> str:
    """Return what a figure shows, for who does not see it, in numbers of its table."""
    rows = []
    for row in view.rows:
        texts = [
            "" if e is None else f"{'≤ ' * (n in row.bounds)}{e.text}" + (f" ({e.interval})" if e.interval else "")
            for n, e in enumerate(row.cells)
        ]
        rows.append((", ".join(row.heads), texts))
    return _alt(view.title + (", in percent" if view.percent else ""), view.columns, rows)


def chart_alt(view: ChartView) -> str:
    """Return what a chart of a cell shows, for who does not see it, in numbers of its table."""
    return _alt(view.title, view.headings[1:], [(f"{view.headings[0]} {row[0]}", row[1:]) for row in view.rows])


def _alt(title: str, columns: Sequence[str], rows: Sequence[tuple[str, Sequence[str]]]) -> str:
    """Return a title and some of the numbers of a table, evenly chosen; `rows` have a label and a text per column."""
    step = -(-len(rows) // ALT_ROWS) if rows else 1
    told = []
    for label, numbers in (*rows[:-1:step], *rows[-1:]):
        found = [f"{column} {number}" for column, number in zip(columns, numbers) if number]
        rest = len(found) - ALT_COLUMNS
        if found:
            told.append(f"{label}: {', '.join(found[:ALT_COLUMNS])}" + (f" and {rest} more" if rest > 0 else ""))
    return f"{title}. {'; '.join(told)}. All numbers follow." if told else f"{title}."


def clean_alt(truth: str) -> str:
    """Return what a clean image shows, for who does not see it."""
    return f"Clean image of class {truth}"


def attacked_alt(truth: str) -> str:
    """Return what an attacked image shows."""
    return f"Attacked image of class {truth}"


def perturbation_alt(scale: float) -> str:
    """Return what the picture of a perturbation shows."""
    return f"Perturbation × {scale:g}, grey is none"


# -- several runs ------------------------------------------------------------------------------------------------------


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
    words += [Word(f"compared on {_counted(beside.changes)}, "), _number(f"{moved:,}" if moved else "none")]
    words += [Word(" changed beyond chance")]
    if moved:
        parts = [f"{told[way]:,} {way}" for way in ("higher", "lower") if told[way]]
        words += [Word(f" ({' and '.join(parts)} in {'B' if two else 'the later run'})")]
    if told["same"]:
        words += [Word(", "), _number(f"{told['same']:,}"), Word(" did not")]
    if told["unknown"]:
        words += [Word(", "), _number(f"{told['unknown']:,}"), Word(" cannot be told with so few images")]
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
    yield from _some(
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
    one = next((change for change in changes if change.place.attack.startswith(WORST_OF)), changes[0])
    place, at_most = one.place, bool(one.bound)
    words = [_name(place.defense), Word(f" is {one.told} in {one.second} in {len(changes):,} of {plural(of, 'cell')}")]
    words += [Word(", " if len(changes) == 1 else ", such as ")]
    words += [Word("on clean images")] if place.attack == CLEAN else []
    words += [Word("under "), _name(place.attack.removeprefix(WORST_OF))] if place.attack != CLEAN else []
    words += [Word(" (")]
    words += [_name(place.knowledge), Word(" attacker, ")] if place.knowledge else []
    words += [*_setting(place), Word(f"): {one.first} "), *rate(one.before, at_most)]
    words += [Word(f", {one.second} "), *rate(one.after, at_most), Word("; "), *paired(one.difference)]
    words += [Word(f", {_p(one.p)} corrected for {plural(one.of, 'comparison')}")]
    return (*words, *([Word(f"; {one.remark}")] if one.remark else []), Word("."))


def _only_in(only: OnlyIn) -> Sentence:
    words = [Word(f"{plural(only.cells, 'cell')} only in run {only.run}")]
    for number, (noun, label) in enumerate(only.labels[:NAMES]):
        words += [Word(f"{', ' if number else ', which alone has '}{noun} "), _name(label.removeprefix(WORST_OF))]
    return (*words, Word(f" and {len(only.labels) - NAMES} more." if only.labels[NAMES:] else "."))


def _differ(beside: Beside) -> Sentence:
    words = [Word("What differs between the runs: ")]
    for number, (what, values) in enumerate(beside.differ[:NAMES]):
        words += [Word("; ")] * bool(number) + [_name(what), Word(" ")]
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


# -- a leaderboard -----------------------------------------------------------------------------------------------------

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
        _number(f"{ranked:,}"),
        Word(f" of {plural(rows, 'row')} have a rank, under "),
        _number(f"{len(conditions):,}"),
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
    words = [_name(scope.dataset), Word(", "), _name(scope.model), Word(", "), _name(scope.knowledge or "unnamed")]
    words += [Word(" attacker" + (f": {own}" if own else ""))]
    many = len(scope.attacks) > 1
    words.append(Word(" · worst case per image of " if many else " · under "))
    words.append(_name(attacks_text(scope.attack, scope.attacks)))
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
    return (*([_name(mark.mark), Word(": ")] if mark is not None else []), Word("; ".join(parts)))


def left_out(names: Sequence[str]) -> Notice:
    """Say which runs have no row."""
    return Notice("warn", "No row of: " + ", ".join(names) + ".", "No attack has a result there.")


def same_key(name: str, first: str) -> Notice:
    """Say that a run was given in two places."""
    return Notice("note", f"{name} has the key of {first}:", "its numbers are the same, and stand there once.")


def other_versions(what: str, by_run: Mapping[str, Sequence[str]]) -> Notice:
    """Say that runs were made by other versions: version → names of runs."""
    text = "; ".join(f"{version or 'not known'}: {', '.join(names)}" for version, names in by_run.items())
    return Notice("note", f"Other versions of {what}:", f"{text}. Numbers may differ for that alone.")
