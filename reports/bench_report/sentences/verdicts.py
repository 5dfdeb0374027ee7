"""What verdicts are, in words."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence

from bench_report.facts import RunFacts
from bench_report.findings import implied
from bench_report.sentences.phrases import (
    ATTACKERS,
    BOUNDS,
    Sentence,
    aside,
    attacks_text,
    digits,
    listed,
    named,
    p_text,
    rate,
)
from bench_report.table import Place, group_name
from bench_report.values import Estimate, Word
from bench_report.verdicts import Implied, Learned, Reach, Verdict, VerdictGroup, VerdictRow
from bench_report.words import norm_text, plural
from benchmark import CLEAN, TRUST_MARKS

GONE: Mapping[str, str] = {
    "failed": "failed",
    "missing": "not run",
    "left-out": "left out for it by the suite's grid",
}
"""What is said of attacks without a result, by `Verdict.why`."""
LEARNED: Mapping[Learned, str] = {
    "all": "what it finds here it has learned from",
    "some": "some of what it finds here it has learned from",
    "alike": "what it finds here it has not learned from, but from the same method with other options",
    "none": "what it finds here it has not learned from",
}
"""What is said of the attacks that a defense meets, by what it was taught."""


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
        if verdict.within is not None:
            smaller = verdict.within
            leaves = [] if smaller.robust is None else rate(smaller.robust, smaller.partial)
            words = [Word(f"{smaller.scope.budget} lies within it, and leaves "), *leaves, *_after(words)]
        elif verdict.hardest is not None and of > 1:
            attack, left, page = verdict.hardest
            words = [named(attack, page), Word(" alone leaves "), digits(f"{left.text} %"), *_after(words)]
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
        words = [Word("an alarm puts the numbers of "), named(verdict.baseline), Word(" in doubt")]
    elif verdict.why == "baseline-partial":
        words = [
            Word("an attack on "),
            named(verdict.baseline),
            Word(" has no result: nothing to compare with"),
        ]
    elif verdict.why == "baseline-clean":
        words = [Word("clean accuracy of "), named(verdict.baseline), Word(" is missing: no level to reach")]
    elif verdict.why == "no-clean":
        words = [Word("its clean accuracy is missing: nothing says what it costs")]
    elif verdict.why == "guessing":
        words = [Word("no better than guessing on clean images: nothing to break")]
    elif verdict.why == "costly":
        words = [Word("on clean images it loses more than half of what "), named(verdict.baseline), Word(" gets right")]
    elif verdict.why == "level":
        n = "" if robust is None or robust.n is None else f"n = {robust.n:,} cannot tell: "
        words = [Word(f"{n}the interval holds "), digits(level), Word(", the level to reach")]
    elif verdict.why == "no-baseline":
        words = [Word("no undefended system beside it: the attacks may be too weak")]
    elif verdict.why == "weak-attacks":
        words = [named(verdict.baseline), Word(" holds too: these attacks are too weak to tell")]
    elif verdict.why == "unpaired":
        words = [Word("not judged on the images of "), named(verdict.baseline)]
    else:
        p = "" if verdict.against is None else f" ({p_text(verdict.against.p)})"
        words = [Word("not told apart from "), named(verdict.baseline), Word(p)]
    if verdict.standing in ("undecided",) and verdict.bound and robust is not None:
        words += [Word("; at most: "), *_why_bound(verdict)]
    words += _reach(row, "; " if words else "")
    if (worse := row.worse) is not None:
        words += [Word("; "), Word(standing(worse)), Word(" under "), named(group_name(worse.scope.attack))]
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
        return (*words, *([] if left is None else [Word(": "), digits(f"{left.text} %")]))
    # A smaller budget than that of the line may be what it does not get over.
    already = ""
    if reach.beyond is not None and (smaller := reach.beyond.scope.budget) != budget:
        already = f"{'does not hold' if reach.beyond.standing == 'fails' else 'undecided'} at {smaller} already"
    if row.hardest.within is not None or (to and row.hardest.standing != "holds"):
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
        words += [*([Word(fewer)] if row.models < len(group.models) else []), named(row.hardest.scope.model)]
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
    words = [named(group.dataset), Word(", "), named(group.knowledge or "unnamed"), Word(" attacker")]
    words += [aside(f": {own}")] if own else []
    many = len(group.attacks) > 1
    words.append(Word(" · worst case per image of " if many else " · under "))
    words.append(named(attacks_text(group.attack, group.attacks)))
    words += [Word(f", the hardest of {group.hardest_of} groups")] if group.hardest_of > 1 else []
    if group.budgets:
        words += [Word(f", of {len(group.budgets)} budgets to {group.budgets[-1]}"), aside(_why_budget(group))]
    if group.n is not None:
        least, most = group.n
        words += [Word(" · "), digits(f"n = {least:,}" + (f" to {most:,}" if most != least else ""))]
        seeds = max(row.hardest.seeds for row in group.rows)
        words += [Word(" · "), digits(plural(seeds, "seed"))] if seeds > 1 else []
    if several_models and len(group.models) == 1:
        words += [Word(" · "), named(group.models[0])]
    if len(group.models) > 1:
        words.append(aside(f" · hardest of {len(group.models)} models"))
    return tuple(words)


def _why_budget(group: VerdictGroup) -> str:
    """Return why the verdicts of a sweep are about this budget, in brackets; nothing where there are no numbers."""
    if any(row.hardest.standing == "holds" for row in group.rows):
        return " (the largest at which a defense holds)"
    if any(row.hardest.why == "weak-attacks" for row in group.rows):
        return " (the undefended system withstands all of them)"
    return " (no defense surely holds at it or beyond)" if group.n is not None else ""


HOLDS = "Holds: surely half of the undefended clean accuracy, and more than undefended."
NOT_CONCLUDED = "Nothing follows for stronger attacks, larger budgets or other images."
"""What stands before the verdicts; `conclusions` has the rest."""


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
    kinds: dict[str, dict[Sentence, list[str]]] = {}
    for defense, mine in verdicts.items():
        found = {"bound" if v.standing == "holds" and v.bound else v.standing for v in mine}
        worst = next(kind for kind in ("fails", "undecided", "bound", "holds") if kind in found)
        # Against one who knows it, it holds; against one who does not, that is no news.
        known = [v for v in mine if not v.bound]
        if worst == "bound" and known and {v.standing for v in known} == {"holds"}:
            worst, mine = "holds", known
        limits = (*_upto(facts, mine), *_met(facts, defense)) if worst in ("holds", "bound") else ()
        kinds.setdefault(worst, {}).setdefault(limits, []).append(defense)
    bounded = itertools.chain(*kinds.get("bound", {}).values())
    bounds = {v.bound for x in bounded for v in verdicts[x]} - {""}
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
        for limits, names in kinds.get(kind, {}).items():
            words += [Word("; ")] if words else []
            words += [*listed(names), Word(f" {one if len(names) == 1 else many}"), *limits, Word(rest)]
    settings = len({(scope.dataset, scope.model, scope.knowledge) for scope in facts.scopes})
    end = "" if settings == 1 else f" The worst of {settings} settings (data set, model, attacker) counts."
    return (*part, *words, Word(f".{end}"))


def _met(facts: RunFacts, defense: str) -> Sentence:
    """Return ` on digits with mlp` where a defense met fewer data sets or models than others, nothing elsewhere."""
    systems = dict.fromkeys((scope.dataset, scope.model) for scope in facts.scopes)
    met = {
        (scope.dataset, scope.model)
        for scope in facts.scopes
        if any(verdict.defense == defense for verdict in facts.verdicts[scope])
    }
    mine = [system for system in systems if system in met]
    datasets, models = list(dict.fromkeys(d for d, _ in mine)), list(dict.fromkeys(m for _, m in mine))
    if any((d, m) in systems and (d, m) not in met for d in datasets for m in models):  # not each with each
        of = {d: [m for one, m in mine if one == d] for d in datasets}
        pairs = [[named(d), Word(" with "), *listed(names)] for d, names in of.items()]
        return tuple(itertools.chain([Word(" on ")], *([Word(", on ")] * bool(n) + x for n, x in enumerate(pairs))))
    words: list[Word] = []
    if len(datasets) < len({d for d, _ in systems}):
        words += [Word(" on "), *listed(datasets)]
    if any((d, m) not in met for d, m in systems if d in datasets):
        words += [Word(" with "), *listed(models)]
    return tuple(words)


def _upto(facts: RunFacts, verdicts: Sequence[Verdict]) -> Sentence:
    """Return ` to 4/255`: the largest budget at which all of these hold; nothing where they are of no sweep."""
    scopes = [verdict.scope for verdict in verdicts]
    if not any(scope.budget for scope in scopes):
        return ()
    if len({scope.budgets for scope in scopes}) > 1 or not all(map(facts.alike, scopes)):
        return (Word(" to the budgets below"),)
    return (Word(f" to {min(scopes, key=lambda scope: scope.budgets.index(scope.budget)).budget}"),)


def of_block(facts: RunFacts, dataset: str, model: str, knowledge: str) -> Iterator[Sentence]:
    """Yield a sentence per defense of a setting."""
    for scope, verdicts in facts.verdicts.items():
        if (scope.dataset, scope.model, scope.knowledge) != (dataset, model, knowledge) or not scope.hardest_of:
            continue
        for verdict in sorted(verdicts, key=lambda v: v.sort_key):
            if verdict.robust is None:
                continue
            reach = facts.reach((scope,), verdict.defense)
            words = [named(verdict.defense, verdict.page), Word(f" {_stands(verdict, reach)}: ")]
            words += rate(verdict.robust, bool(verdict.bound) or verdict.partial)
            words += [Word(" withstood under "), named(attacks_text(scope.attack, scope.attacks)), *_clean(verdict)]
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
    words = [Word("; clean images right and not rejected "), digits(f"{verdict.clean.text} %")]
    return [*words, Word(", false alarms "), digits(f"{alarms.text} %")] if alarms else words


def _capital(words: Sequence[Word]) -> list[Word]:
    first = words[0]
    if first.kind != "words":
        return list(words)
    return [Word(first.text[:1].upper() + first.text[1:]), *words[1:]]


def of_cell(facts: RunFacts, place: Place) -> Iterator[Sentence]:
    """Yield what has to be known of a cell's defense and attacker."""
    trust = facts.table.trust(place)
    if trust is not None:
        yield (named(trust.mark), Word(f" ({TRUST_MARKS[trust.mark]}): "), Word(trust.because, "quote"), Word("."))
        if trust.published and "published" not in trust.why:
            yield (Word("Strongest published attack: "), Word(trust.published, "quote"), Word("."))
    learned = facts.defense(place.defense).taught
    if learned:
        words = _capital(taught(learned))
        if place.attack != CLEAN:
            words += [Word(f": {LEARNED[facts.learned(place)]}")]
        yield (*words, Word("."))
    follows = implied(facts, place)
    if follows is not None:
        yield _implied(follows)


def _implied(one: Implied) -> Sentence:
    half = f"half of that budget ({norm_text(one.norm)}, ε = {one.budget} / 2)"
    words = [Word("A detector as robust as this implies a classifier that keeps "), *rate(one.accuracy)]
    words += [Word(f" at {half}, were it built (Tramèr 2022)")]
    if one.hardened is not None:
        name, kept, page = one.hardened
        words += [Word(". The best hardened network of this run, "), named(name, page), Word(", keeps there ")]
        words += rate(kept, at_most=True)
    return (*words, Word("."))
