"""Rows of a leaderboard over many runs, ranked only where all that decides is equal.

A rank is one more than the number of rows that are better beyond chance, so that what the paired test does not tell
apart shares a rank (the approximate rankings of Chiang et al. 2024, Chatbot Arena, arXiv:2403.04132, with tests on the
same images in the place of simultaneous intervals).
docs/measures.md, "Leaderboard", has the rules.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

from bench_report.across import (
    RATE,
    Judged,
    Outcomes,
    component,
    fingerprint,
    pair,
    protocol,
    stable,
    substitutes,
    substitutes_text,
)
from bench_report.facts import RunFacts
from bench_report.table import Place, as_number, as_text, is_group
from bench_report.values import Estimate, TrustView
from bench_report.verdicts import CERTAIN, Bound, Scope, Verdict
from benchmark import Budget, holm

if TYPE_CHECKING:
    from benchmark import Run

Unranked = Literal["", "bound", "broken", "alone", "incomplete", "flagged", "alarms", "costly", "guessing", "none"]
"""Why a row has no rank, in the order of such rows: an upper bound; broken in print; nothing to rank it against;
attacks without a result; alarms or failed probes; more false alarms than the threshold may have; half of the clean
accuracy lost; it is no better than guessing; no number."""
SOME = (RATE, "repeats", "draws")
"""Parts of the protocol that some rows of a run depend on: the others stand beside those of each value."""


@dataclass(frozen=True)
class Trust:
    """How far the number of a row can be believed, as far as the run says.

    Attributes:
        mark: the host's view of it, None where there is none.
        alarms: signs that put it in doubt, each once.
        absent, of: attacks without a result, of how many.
    """

    mark: TrustView | None
    alarms: tuple[str, ...]
    absent: int
    of: int

    @property
    def flagged(self) -> bool:
        """Whether something says that the number is not what it seems."""
        return bool(self.alarms) or (self.mark is not None and self.mark.mark == "flagged")

    @property
    def bound(self) -> Bound:
        """Why the number is an upper bound, "" where it is none."""
        return "" if self.mark is None else self.mark.bound


@dataclass(frozen=True)
class Entry:
    """A defense of a run under a condition.

    Attributes:
        run: number of the run.
        rank: None where it has none, and `unranked` says why.
        needs: of `SOME`, those that its number depends on.
    """

    run: int
    verdict: Verdict
    trust: Trust
    needs: Mapping[str, float]
    unranked: Unranked = ""
    rank: int | None = None

    @property
    def defense(self) -> str:
        """The label of the defense."""
        return self.verdict.defense

    @property
    def robust(self) -> Estimate | None:
        """Joint worst-case accuracy, None where the run has none over all attacks."""
        return None if self.verdict.partial else self.verdict.robust


@dataclass(frozen=True)
class Condition:
    """Rows that may be ranked: the same images, network, attacks, attacker and protocol.

    Attributes:
        scope: as the first of its runs labels it.
        rate: false-positive rate that thresholds were set for, None where no row depends on it.
        protocol: the other parts that numbers depend on.
        made: all that decides, in words, to tell it from others that share a heading.
        pairs: how many pairs of ranked rows were compared image by image, of how many.
    """

    scope: Scope
    fingerprint: str
    rate: float | None
    protocol: tuple[tuple[str, str], ...]
    made: tuple[tuple[str, str], ...]
    entries: tuple[Entry, ...]
    pairs: tuple[int, int]

    @property
    def ranked(self) -> int:
        """How many rows have a rank."""
        return sum(entry.rank is not None for entry in self.entries)


def rank_runs(runs: Sequence[Run], facts: Sequence[RunFacts]) -> tuple[Condition, ...]:
    """Return the conditions that the runs were made under, each with its rows in order of rank."""
    return tuple(_Ranking(runs, facts).conditions())


class _Ranking:
    def __init__(self, runs: Sequence[Run], facts: Sequence[RunFacts]) -> None:
        self.runs = runs
        self.facts = facts
        self._judged = [Judged(run, one.table) for run, one in zip(runs, facts)]

    def conditions(self) -> Iterator[Condition]:
        """Yield each condition once."""
        found: dict[str, list[Entry]] = {}
        about: dict[str, dict[str, Any]] = {}
        for number, facts in enumerate(self.facts):
            for scope in _scopes(facts):
                for defense in facts.defenses(scope):
                    entry = self._entry(number, scope, defense)
                    terms = self._terms(entry)
                    key = stable(terms)
                    about.setdefault(key, terms)
                    found.setdefault(key, []).append(entry)
        for key, entries in found.items():
            if all(entry.verdict.robust is None for entry in entries):
                continue
            for some, mine in _beside(entries):
                ranked, pairs = self._ranked(mine)
                parts = tuple((name, as_text(value)) for name, value in about[key]["protocol"].items())
                parts += tuple((name, f"{value:g}") for name, value in some.items() if name != RATE)
                scope = mine[0].verdict.scope
                made = (*self._made(mine[0], about[key]), *((name.replace("_", " "), value) for name, value in parts))
                yield Condition(scope, about[key]["images"], some.get(RATE), parts, made, tuple(ranked), pairs)

    def _made(self, entry: Entry, terms: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        run, scope = self.runs[entry.run], entry.verdict.scope
        yield "images", terms["images"][:12]
        yield "substitute", substitutes_text(run, scope.knowledge)
        components = [("network", terms["network"])]
        components += [(label, component(run, "attacks", label)) for label in scope.attacks]
        for label, options in components:
            yield from ((f"{label} {name}", as_text(value)) for name, value in options.items())

    # -- rows ----------------------------------------------------------------------------------------------------------

    def _entry(self, number: int, scope: Scope, defense: str) -> Entry:
        facts, run = self.facts[number], self.runs[number]
        verdict = facts.draft(scope, defense)
        place = self._place(number, scope, defense)
        robust = verdict.robust
        trust = Trust(
            mark=facts.table.trust(place),
            alarms=tuple(dict.fromkeys(alarm.kind.sign for alarm in facts.table.alarms(place))),
            absent=verdict.absent,
            of=len(scope.attacks),
        )
        parts = {} if robust is None else protocol(run, place, robust.metric)
        needs = {name: value for name in SOME if (value := as_number(parts.get(name))) is not None}
        target = as_number((run.manifest.get("protocol") or {}).get(RATE))
        alarms, clean = verdict.false_alarms, verdict.clean
        why: Unranked = ""
        if robust is None:
            why = "none"
        elif verdict.partial or verdict.absent or robust.low is None or robust.seeds < verdict.seeds:
            why = "incomplete"
        elif trust.flagged or robust.doubt:
            why = "flagged"
        elif clean is None or clean.low is None or clean.low <= facts.guessing(scope.dataset):
            why = "guessing"
        elif not facts.worth(verdict):
            why = "costly"
        elif alarms is not None and target is not None and alarms.low is not None and alarms.low > target:
            why = "alarms"
        elif trust.bound:
            why = "broken" if trust.bound == "published" else "bound"
        return Entry(number, verdict, trust, needs, why)

    def _place(self, number: int, scope: Scope, defense: str) -> Place:
        return self.facts[number].table.place(scope.dataset, scope.model, scope.attack, defense, scope.knowledge)

    def _terms(self, entry: Entry) -> dict[str, Any]:
        """Return what must be equal for two rows to be ranked, by content: labels may differ."""
        scope, run, table = entry.verdict.scope, self.runs[entry.run], self.facts[entry.run].table
        place = self._place(entry.run, scope, entry.defense)
        robust = entry.verdict.robust
        parts = protocol(run, place, "joint_robust_accuracy" if robust is None else robust.metric)
        for name in SOME:
            parts.pop(name, None)
        group = Place(scope.dataset, scope.model, scope.attack, "", scope.knowledge)
        counted = table.counted(group)
        attacks = []
        for attack in scope.attacks:
            norm, eps = table.budgets.get((scope.dataset, attack), ("", ""))
            made = {name: value for name, value in component(run, "attacks", attack).items() if name != "eps"}
            attacks.append([made, norm, _number(eps) if eps else counted.get(attack)])
        return {
            "images": fingerprint(run, scope.dataset),
            "network": component(run, "models", scope.model),
            "knowledge": scope.knowledge,
            "substitutes": sorted(substitutes(run, scope.knowledge).values(), key=stable),
            "attacks": sorted(attacks, key=stable),
            "protocol": parts,
        }

    # -- ranks ---------------------------------------------------------------------------------------------------------

    def _ranked(self, entries: Sequence[Entry]) -> tuple[list[Entry], tuple[int, int]]:
        """Return rows with their ranks, in order, and how many pairs were compared by images, of how many."""
        pool = [entry for entry in entries if not entry.unranked]
        rest = [entry for entry in entries if entry.unranked]
        if len(pool) < 2:
            rest = [replace(entry, unranked=entry.unranked or "alone") for entry in entries]
            return sorted(rest, key=_order), (0, 0)
        better = [0] * len(pool)
        tested: list[tuple[int, int, float]] = []
        couples = list(itertools.combinations(range(len(pool)), 2))
        for a, b in couples:
            found = self._compared(pool[a], pool[b])
            if found is not None:
                difference, p = found
                tested.append((*((a, b) if difference < 0 else (b, a)), p))
                continue
            one, two = pool[a].robust, pool[b].robust
            if one and two and None not in (one.low, one.high, two.low, two.high):
                better[a] += two.low > one.high  # type: ignore[operator]
                better[b] += one.low > two.high  # type: ignore[operator]
        for (worse, _, _), p in zip(tested, holm([p for _, _, p in tested])):
            better[worse] += p <= CERTAIN
        ranked = [replace(entry, rank=1 + count) for entry, count in zip(pool, better)]
        return sorted([*ranked, *rest], key=_order), (len(tested), len(couples))

    def _compared(self, first: Entry, second: Entry) -> tuple[float, float] | None:
        """Return first minus second and its p-value, image by image; None where they cannot be paired."""
        if first.run == second.run and first.verdict.scope == second.verdict.scope:
            prefix = "worst_case_" if is_group(first.verdict.scope.attack) else ""
            names = (first.defense, second.defense)
            known = self.facts[first.run].paired(first.verdict.scope, *names, f"{prefix}robust_accuracy")
            return (
                None
                if known is None or known.difference.p is None
                else (known.difference.difference, known.difference.p)
            )
        one, two = self._of(first), self._of(second)
        found = pair(two, one) if isinstance(one, Outcomes) and isinstance(two, Outcomes) else ""
        return None if isinstance(found, str) else (found.paired.difference, found.paired.p_value)

    def _of(self, entry: Entry) -> Outcomes | str:
        if entry.robust is None:
            return ""
        place = self._place(entry.run, entry.verdict.scope, entry.defense)
        return self._judged[entry.run].outcomes(place, entry.robust.metric)


def _beside(entries: Sequence[Entry]) -> Iterator[tuple[dict[str, float], list[Entry]]]:
    """Yield the rows that may stand together, with the values of `SOME` that they do so at; none within another."""
    values = {name: sorted({one.needs[name] for one in entries if name in one.needs}) for name in SOME}
    values = {name: each for name, each in values.items() if each}
    found: list[tuple[dict[str, float], set[int]]] = []
    for chosen in itertools.product(*values.values()):
        some = dict(zip(values, chosen))
        found.append((some, {n for n, one in enumerate(entries) if one.needs.items() <= some.items()}))
    for number, (some, mine) in enumerate(found):
        if not any(mine < other or (mine == other and m < number) for m, (_, other) in enumerate(found)):
            needed = {name for n in mine for name in entries[n].needs}
            yield {name: some[name] for name in values if name in needed}, [entries[n] for n in sorted(mine)]


def _scopes(facts: RunFacts) -> Iterator[Scope]:
    """Yield every group of attacks that a run has a worst case over, of equal ones the first; or its only attack."""
    for where in sorted(facts.table.attacks):
        seen: list[Mapping[str, float | None]] = []
        for scope in facts.attacked_groups(*where):
            counted = facts.table.counted(Place(scope.dataset, scope.model, scope.attack, "", scope.knowledge))
            if counted not in seen:
                seen.append(counted)
                yield scope


def _number(eps: str) -> float | str:
    try:
        return float(Budget(eps))
    except ValueError:  # of another plugin
        return eps


def _order(entry: Entry) -> tuple[int, int, float, str, int]:
    value = entry.verdict.robust.value if entry.verdict.robust else -1.0
    return (entry.rank or 1_000_000, get_args(Unranked).index(entry.unranked), -value, entry.defense, entry.run)
