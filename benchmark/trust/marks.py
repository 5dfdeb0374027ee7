"""The trust mark: how far a number can be believed, by what was done to bring it down.

Every number of an attacked defense is what the attacks that were run left of it. The mark says whether they were the
right ones: those that an attacker who knows the defense would run (Carlini et al. 2019, arXiv:1902.06705; Tramèr et
al. 2020, arXiv:2002.08347). `TRUST_RULES` has all of it. No mark is a proof: `adaptive` says what was tried.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from benchmark.cells import Attacker, within_budget
from benchmark.metrics.attack import JointRobustAccuracy
from benchmark.metrics.metric import MetricValue
from benchmark.names import CLEAN, CellName
from benchmark.published import PublishedAttack
from benchmark.trust.alarms import CARLINI, Alarm
from benchmark.trust.probe_kinds import Probed

if TYPE_CHECKING:
    from benchmark.cells import CellResult


Mark = Literal["flagged", "known broken", "static only", "adaptive"]
"""How far a number can be believed; `TRUST_MARKS` says what each means."""
Why = Literal["alarm", "probe", "published", "network", "defense", "score", "no-gradient", "one-step", "tried"]
TRAMER = "Tramèr et al. 2020, arXiv:2002.08347"


def strongest(published: Iterable[PublishedAttack]) -> PublishedAttack | None:
    """Return the attack that refutes the defense and leaves least, else the one that leaves least; None for none."""
    return min(published, key=lambda one: (not one.breaks, math.inf if one.left is None else one.left), default=None)


@dataclass(frozen=True)
class Evidence:
    """What is known of the number of a cell, of a group of attacks, or of a defense under all of them.

    Attributes:
        attackers: of the attacks that the number rests on.
        bare: whether there is nothing beside the network (no defense, a hardener): who attacks it attacks all of it.
        rejects: whether the defense gives scores or flags, so that an attack has to get past these, too.
        alarms: those that reach the number.
        failed: probes that were run and failed.
        published: attacks on the defense by others.
    """

    attackers: tuple[Attacker, ...]
    bare: bool
    rejects: bool
    alarms: tuple[Alarm, ...] = ()
    failed: tuple[Probed, ...] = ()
    published: tuple[PublishedAttack, ...] = ()

    def lacks(self) -> Why | None:
        """Return what keeps the best of the attacks from being an adaptive one, None where nothing does."""
        left = [one for one in self.attackers if one.aim is not None]
        steps: tuple[tuple[Why, Callable[[Attacker], bool]], ...] = (
            ("network", lambda one: True),
            ("defense", lambda one: self.bare or one.aim != "base"),
            ("score", lambda one: not self.rejects or one.aim == "undetected"),
            ("no-gradient", lambda one: one.uses_gradient),
            ("one-step", lambda one: (one.steps or 0) > 1),
        )
        for why, fits in steps:
            left = [one for one in left if fits(one)]
            if not left:
                return why
        return None


@dataclass(frozen=True)
class Rule:
    """When a number gets a mark, in the words that docs and report show.

    Attributes:
        when: the condition, as a sentence.
        says: the reason, in the fewest words.
        applies: whether it holds.
    """

    why: Why
    mark: Mark
    when: str
    says: str
    source: str
    applies: Callable[[Evidence], bool]


TRUST_RULES: dict[Why, Rule] = {
    rule.why: rule
    for rule in (
        Rule(
            "alarm",
            "flagged",
            "An alarm reaches the number (see *Alarms*).",
            "an alarm",
            "",
            lambda seen: bool(seen.alarms),
        ),
        Rule(
            "probe",
            "flagged",
            "A probe that was run on the defense, under this attacker, failed (see *Probes*).",
            "a failed probe",
            "",
            lambda seen: bool(seen.failed),
        ),
        Rule(
            "published",
            "known broken",
            "A published attack breaks the defense. The plugin cites it (`Defense.published_attacks`), with what it "
            "left, at which budget, on which data.",
            "a published attack breaks it",
            CARLINI,
            lambda seen: any(one.breaks for one in seen.published),
        ),
        Rule(
            "network",
            "static only",
            "No attack works on the deployed system: all are transferred, from a substitute or a copy trained anew.",
            "this attacker does not hold the network",
            f"{CARLINI}; {TRAMER}",
            lambda seen: seen.lacks() == "network",
        ),
        Rule(
            "defense",
            "static only",
            "No attack goes through what the defense does beside the network: all work on the network alone. Without a "
            "defense, and for a hardener, the network is all there is.",
            "this attacker does not know the defense",
            f"{CARLINI}; {TRAMER}",
            lambda seen: seen.lacks() == "defense",
        ),
        Rule(
            "score",
            "static only",
            "The defense rejects images, and no attack lowers the score by which it does.",
            "no attack lowers the score by which it rejects",
            f"{CARLINI}; {TRAMER}",
            lambda seen: seen.lacks() == "score",
        ),
        Rule(
            "no-gradient",
            "static only",
            "No attack on all of the defense uses gradients: random search and the like are a check of those that do.",
            "no attack with gradients was run",
            f"{CARLINI}, section 4.3",
            lambda seen: seen.lacks() == "no-gradient",
        ),
        Rule(
            "one-step",
            "static only",
            "All attacks with gradients on all of the defense make one step, or do not say how many "
            "(`Attack.iterations`).",
            "no attack was run that is known to take more than one step",
            f"{CARLINI}, section 4.3",
            lambda seen: seen.lacks() == "one-step",
        ),
        Rule(
            "tried",
            "adaptive",
            "An attack with gradients and several steps in a row worked on all that the defense answers by, label and "
            "score; every probe that was run passed, and where none was run, the mark says so.",
            "attacked through all that it does",
            f"{CARLINI}; {TRAMER}",
            lambda seen: seen.lacks() is None,
        ),
    )
}
"""The first rule that applies gives the mark; the others that apply are told as well."""
TRUST_MARKS: dict[Mark, str] = {
    "flagged": "an alarm or a failed probe puts the number in doubt",
    "known broken": "an upper bound: a published attack breaks the defense",
    "static only": "an upper bound: no attack went through all that the defense does",
    "adaptive": "attacked through all that the defense does, and nothing that was looked at speaks against it",
}
"""What a mark says of a number, as a legend has it. The worst first: several seeds, or rows, are told by that one."""


def judge(seen: Evidence) -> tuple[Rule, ...]:
    """Return the rules that apply, the one that gives the mark first; none where no attack and no alarm is known."""
    rules = TRUST_RULES.values() if seen.attackers else (TRUST_RULES["alarm"],)
    return tuple(rule for rule in rules if rule.applies(seen))


@dataclass(frozen=True)
class Subject(CellName):
    """A row that is marked.

    Attributes:
        attack: of a group its label; "" for the defense under all attacks of the attacker.
        cells: what its number rests on, each with its numbers, as they count there.
        numbers: of the same cells among the results of the run, as alarms name them.
        tested: of each of the cells the knowledge under which it was run, and so probed.
    """

    cells: tuple[CellResult, ...]
    numbers: tuple[int, ...]
    tested: tuple[str, ...]


@dataclass(frozen=True)
class Trusted(CellName):
    """A row of the table of trust.

    Attributes:
        trust: the mark.
        why: reasons by name, those of `TRUST_RULES`, the one that decides first, separated by blanks.
        because: the reasons in words.
        alarms: those that reach the number, by name, separated by blanks.
        passed, failed, not_run: how many probes did, of those that the suite asked for.
        best_attack, best_knowledge, best_norm, best_eps: the attack that leaves least of the defense within the row's
            budgets, whatever its attacker knows; "" where none has a result.
        best_value, best_ci_low, best_ci_high, best_n: what it leaves: labelled rightly, or rejected.
        published, published_value, published_setting: the strongest attack by others, "" and NaN for none.
    """

    trust: str
    why: str
    because: str
    alarms: str
    passed: int
    failed: int
    not_run: int
    best_attack: str
    best_knowledge: str
    best_norm: str
    best_eps: str
    best_value: float
    best_ci_low: float
    best_ci_high: float
    best_n: int
    published: str
    published_value: float
    published_setting: str


class Marks:
    """Marks rows by what is known of a run.

    Args:
        results: all cells of the run, as alarms number them.
        probes: all probes of the run.
    """

    def __init__(self, results: Sequence[CellResult], alarms: Sequence[Alarm], probes: Sequence[Probed]) -> None:
        self._left = _Left(results)
        self._raised: dict[int, list[Alarm]] = {}
        for alarm in alarms:
            for number in alarm.cells:
                self._raised.setdefault(number, []).append(alarm)
        self._probes: dict[tuple[str, ...], list[Probed]] = {}
        for probe in probes:
            key = (*probe.system, probe.knowledge)
            self._probes.setdefault(key, []).append(probe)

    def reaching(self, one: Subject) -> tuple[Alarm, ...]:
        """Return the alarms that put the number of a row in doubt, each once.

        What tells of the setting of one attack alone is made up for by an attack of the row that nothing is said of
        and that surely leaves less.
        """
        sure = self._sure(one)
        mine = {
            id(alarm): alarm
            for cell, number in zip(one.cells, one.numbers)
            for alarm in self._raised.get(number, ())
            if not (
                alarm.kind.reach == "attack"
                and math.isfinite(alarm.against)
                and self._made_up(cell, sure, at_most=alarm.against)
            )
        }
        return tuple(mine.values())

    def _checks(self, one: Subject) -> list[Probed]:
        """Return the probes of the row's defense under its attacker, and of its attacks."""
        attacks: dict[str, set[str]] = {}
        for cell, knowledge in zip(one.cells, one.tested):
            if cell.attack != CLEAN:
                attacks.setdefault(knowledge, set()).add(cell.attack)
        return [
            probe
            for knowledge, own in attacks.items()
            for probe in self._probes.get((*one.system, knowledge), ())
            if probe.attack in ("", *own)
        ]

    def _sure(self, one: Subject) -> list[CellResult]:
        failed = {probe.attack for probe in self._checks(one) if probe.verdict == "fail"}
        pairs = zip(one.cells, one.numbers)
        return [cell for cell, number in pairs if number not in self._raised and cell.attack not in failed]

    def _made_up(self, cell: CellResult, sure: Sequence[CellResult], at_most: float = math.inf) -> bool:
        weak = self._left.of(cell)
        known = (self._left.of(other) for other in sure)
        return weak is not None and any(
            number is not None and number.ci_high < min(weak.ci_low, at_most) for number in known
        )

    def row(self, one: Subject) -> Trusted | None:
        """Return what is to be believed of a row, None where nothing is said."""
        first, sure, checks = one.cells[0], self._sure(one), self._checks(one)
        by_attack = {cell.attack: cell for cell in one.cells}
        attacked = [cell for cell in one.cells if cell.attack != CLEAN]
        failed = [probe for probe in checks if probe.verdict == "fail"]
        made_up = [probe for probe in failed if probe.attack and self._made_up(by_attack[probe.attack], sure)]
        seen = Evidence(
            attackers=tuple(cell.attacker for cell in attacked if cell.attacker is not None),
            bare=first.bare,
            rejects=any(_rejects(cell) for cell in one.cells),
            alarms=self.reaching(one),
            failed=tuple(probe for probe in failed if probe not in made_up),
            published=first.published if attacked else (),
        )
        if seen.lacks() in ("network", "defense"):
            # What works on something else need not fool the system: `static only` says so.
            seen = replace(seen, failed=tuple(x for x in seen.failed if x.probe != "transfer-failure"))
        rules = judge(seen)
        if not rules:
            return None
        best, number = self._left.least(one) if attacked else (None, None)
        cited = strongest(seen.published)
        run = len([probe for probe in checks if probe.verdict != "not run"])
        passed = run - len(failed)
        return Trusted(
            **vars(one.name()),
            trust=rules[0].mark,
            why=" ".join(rule.why for rule in rules),
            because="; ".join(_because(rules, seen, run, passed, len(made_up))),
            alarms=" ".join(dict.fromkeys(alarm.kind.name for alarm in seen.alarms)),
            passed=passed,
            failed=len(failed),
            not_run=len(checks) - run,
            best_attack="" if best is None else best.attack,
            best_knowledge="" if best is None else best.knowledge,
            best_norm="" if best is None else best.norm,
            best_eps="" if best is None else best.eps,
            best_value=math.nan if number is None else number.value,
            best_ci_low=math.nan if number is None else number.ci_low,
            best_ci_high=math.nan if number is None else number.ci_high,
            best_n=0 if number is None else number.n,
            published="" if cited is None else cited.cite,
            published_value=math.nan if cited is None or cited.left is None else cited.left,
            published_setting="" if cited is None else cited.setting,
        )


def _rejects(cell: CellResult) -> bool:
    return cell.cell is not None and (cell.cell.clean.score is not None or cell.cell.clean.flagged is not None)


def _because(rules: Sequence[Rule], seen: Evidence, run: int, passed: int, made_up: int) -> Iterator[str]:
    for rule in rules:
        if rule.why == "alarm":
            yield from dict.fromkeys(f"{alarm.kind.sign}: {alarm.finding}" for alarm in seen.alarms)
        elif rule.why == "probe":
            yield from (f"probe {probe.probe} failed: {probe.finding}" for probe in seen.failed)
        elif rule.why == "published":
            yield f"broken by {strongest(seen.published)}"
        else:
            yield rule.says
    if seen.attackers:
        if passed:
            yield f"{passed} probe{'s' * (passed != 1)} passed"
        if made_up:
            yield f"{made_up} failed for an attack that a stronger one makes up for"
        if not run:
            yield "no probe was run"


class _Left:
    """What attacks leave of the defenses: labelled rightly, or rejected where they reject."""

    def __init__(self, results: Sequence[CellResult]) -> None:
        self._known: dict[int, tuple[CellResult, MetricValue | None]] = {}
        self._within: dict[tuple[int, float], CellResult] = {}
        self._of: dict[tuple[str, ...], list[CellResult]] = {}
        for result in results:
            if result.attack != CLEAN and result.cell is not None:
                self._of.setdefault(result.system, []).append(result)

    def of(self, result: CellResult) -> MetricValue | None:
        """Return what the attack leaves, with its interval; None where it has no result or no budget."""
        if id(result) not in self._known:
            # The result is kept, so that its identity is not used again.
            self._known[id(result)] = (result, self._measured(result))
        return self._known[id(result)][1]

    def _measured(self, result: CellResult) -> MetricValue | None:
        if result.cell is None or result.cell.attacked is None or result.cell.eps is None:
            return None
        return JointRobustAccuracy().compute([result.cell])

    def least(self, one: Subject) -> tuple[CellResult | None, MetricValue | None]:
        """Return the attack of any attacker that leaves least within the budgets of a row, and what it leaves.

        Of those that leave as little, the one of the smallest budget. Budgets that let all images become the same grey
        tell of no defense.
        """
        budgets = {
            (cell.norm, cell.cell.eps): cell.eps
            for cell in reversed(one.cells)
            if cell.cell is not None and cell.cell.eps is not None and not (_erases(cell) and not one.attack)
        }
        found: list[tuple[float, float, int, CellResult, MetricValue]] = []
        for place, result in enumerate(self._of.get(one.system, ())):
            for (norm, eps), written in budgets.items():
                cell = self._at(result, eps, written) if result.norm == norm else None
                number = None if cell is None else self.of(cell)
                if cell is not None and number is not None:
                    found.append((number.value, eps, place, cell, number))
        return min(found)[3:] if found else (None, None)

    def _at(self, result: CellResult, eps: float, written: str) -> CellResult | None:
        """Return what an attack is at a budget, None for one that has another; a minimum-norm attack is at any."""
        if result.cell is None or result.cell.eps is not None:
            return result if result.cell is not None and result.cell.eps == eps else None
        key = (id(result), eps)  # the results are kept
        if key not in self._within:
            self._within[key] = replace(result, eps=written, cell=within_budget(result.cell, eps))
        return self._within[key]


def _erases(cell: CellResult) -> bool:
    return cell.attacker is not None and cell.attacker.erases
