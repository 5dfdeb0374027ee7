"""What the numbers of a run say, as typed facts; `sentences` puts them into words, and nothing else claims anything.

`RunFacts` judges defenses; what stands out beside its verdicts is found by `findings`.

A fact holds all that it is about: both sides of a comparison share data set, model, attacks, attacker and seeds, or
there is no comparison. docs/measures.md ("Verdicts") says when a defense holds.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, Literal

from bench_report.charts.ladders import BUDGETS, ladders
from bench_report.defended import Defended, read_defenses
from bench_report.table import Axes, Place, Table, group_name, is_group
from bench_report.values import DifferenceView, Estimate
from bench_report.verdicts import (
    BROKEN,
    GONE,
    Best,
    BestKnown,
    Bound,
    Comparison,
    Learned,
    Reach,
    Scope,
    Verdict,
    VerdictGroup,
    VerdictRow,
    Why,
)
from benchmark import ALL_ATTACKS, CLEAN, KNOWLEDGE, SUMMARIES, Budget, Published, holm


class RunFacts:
    """Finds the facts of a run.

    Args:
        differences: paired comparisons, by `table.read_comparisons`.
        manifest: of the run; it knows the families of defenses and the classes of data sets.
        references: published values of the suite.
        attacks: of the suite, with their options.
    """

    def __init__(
        self,
        table: Table,
        axes: Axes,
        differences: Mapping[tuple[str, ...], DifferenceView],
        manifest: Mapping[str, Any],
        references: Sequence[Published] = (),
        attacks: Mapping[str, Any] | None = None,
    ) -> None:
        self.budgets = [x for x in ladders(attacks, BUDGETS) if x.option == "eps"]
        self.table = table
        self.axes = axes
        self.manifest = manifest
        self.differences = differences
        self.references = references
        self._attacks = attacks or {}
        self._defended = read_defenses(manifest)

    def defense(self, label: str) -> Defended:
        """Return what is known of a defense."""
        return self._defended.get(label, Defended())

    def learned(self, place: Place) -> Learned:
        """Return whether a defense has learned from the attacks of a cell or group: as they are made, not by label."""
        taught = [self._made(label) for label in self.defense(place.defense).taught]
        here = [self._made(label) for label in self.table.members(place) or (place.attack,)]
        met = sum(one in taught for one in here)
        if met:
            return "all" if met == len(here) else "some"
        return "alike" if {one["use"] for one in here} & {one["use"] for one in taught} else "none"

    def _made(self, label: str) -> dict[str, Any]:
        made = self._attacks.get(label)
        return dict(made) if isinstance(made, Mapping) and "use" in made else {"use": label}

    # -- settings ------------------------------------------------------------------------------------------------------

    @cached_property
    def settings(self) -> tuple[tuple[Scope, ...], ...]:
        """Per data set, model and attacker, the groups of attacks of which none holds another; the hardest first.

        A group that lies within another one leaves no less. Of the rest the hardest is the one that leaves least of
        the defense that fares best there, of the second best where that is equal, and so on: no defense's own best
        group speaks for it. Of attacks that are a sweep of budgets one budget speaks, see `_telling`.
        """
        return self._settings_and_sweeps[0]

    @cached_property
    def _settings_and_sweeps(self) -> tuple[tuple[tuple[Scope, ...], ...], dict[Scope, tuple[Scope, ...]]]:
        """The settings, and the scopes of all budgets, the smallest first, of each that is one of a sweep."""
        settings: list[tuple[Scope, ...]] = []
        sweeps: dict[Scope, tuple[Scope, ...]] = {}
        for by_model in self._whole():
            found = [self._over_budgets(mine) for mine in by_model]
            if not found[0] or any(other.keys() != found[0].keys() for other in found):
                settings += by_model
                continue
            for norm_and_budgets in found[0]:
                of_models = [other[norm_and_budgets] for other in found]
                at = self._telling(of_models)
                for scopes in of_models:
                    scopes[at] = replace(scopes[at], hardest_of=1)
                    settings.append((scopes[at],))
                    sweeps[scopes[at]] = tuple(scopes)
        return tuple(settings), sweeps

    def _whole(self) -> Iterator[list[tuple[Scope, ...]]]:
        """Yield, per data set and attacker, by model the groups of which none holds another; the hardest first."""
        found: dict[tuple[str, str, tuple[str, ...]], list[list[Scope]]] = {}
        for dataset in self.axes.datasets:
            for knowledge in self._attackers(dataset):
                for model in self.axes.models:
                    mine = self._groups_of(dataset, knowledge, model)
                    if mine:
                        found.setdefault((dataset, knowledge, tuple(x.attack for x in mine)), []).append(mine)
        for by_model in found.values():
            alike = list(zip(*by_model))
            if len(alike) > 1:
                alike.sort(key=self._left)
            yield [
                tuple(replace(x, hardest_of=len(alike) * (x is of_model[0])) for x in of_model)
                for of_model in zip(*alike)
            ]

    def _over_budgets(self, scopes: Sequence[Scope]) -> dict[tuple[str, ...], list[Scope]]:
        """Return, by norm and budgets, the scopes of all attacks at each budget of a sweep, the smallest first.

        What was run at a budget of a sweep counts there, whatever else was run at others; budgets beyond those of a
        sweep have a scope each.

        Args:
            scopes: of a setting; nothing is returned where none of their attacks are a sweep, or where no group holds
                those of a norm and budget and no others.
        """
        first = scopes[0]
        where = (first.dataset, first.model, first.knowledge)

        def unbounded(attack: str) -> bool:
            return self.table.unbounded(Place(first.dataset, first.model, attack, "", first.knowledge))

        attacks = [x for x in dict.fromkeys(x for scope in scopes for x in scope.attacks) if not unbounded(x)]
        run_at: dict[str, dict[Budget, list[str]]] = {}
        for attack in attacks:
            norm, eps = self.table.budgets[first.dataset, attack]
            run_at.setdefault(norm, {}).setdefault(Budget(eps), []).append(attack)
        swept = {
            (norm, budget)
            for ladder in (x.only(attacks, BUDGETS) for x in self.budgets)
            for norm, by_budget in run_at.items()
            for budget, labels in by_budget.items()
            if ladder is not None and {*labels} & {*ladder.labels}
        }
        members = {
            group: self.table.members(Place(first.dataset, first.model, group, "", first.knowledge))
            for group in self.axes.groups
        }
        # Of groups of the same attacks that with most others, which have no budget and count at each.
        groups = {
            frozenset(x for x in of if not unbounded(x)): group
            for group, of in sorted(members.items(), key=lambda one: len(one[1]))
        }
        found: dict[tuple[str, ...], list[Scope]] = {}
        for norm, by_budget in run_at.items():
            line: list[Scope] = []
            for budget in sorted(by_budget):
                labels = by_budget[budget]
                label = groups.get(frozenset(labels), labels[0] if len(labels) == 1 else "")
                if not label:
                    return {}
                scope = Scope(*where, label, members.get(label, (label,)), 0)
                if (norm, budget) in swept:
                    line.append(replace(scope, budget=str(budget)))
                else:
                    found[norm, str(budget)] = [scope]
            texts = tuple(scope.budget for scope in line)
            if line:
                found[(norm, *texts)] = [replace(scope, budgets=texts) for scope in line]
        return found if swept else {}

    def _telling(self, of_models: Sequence[Sequence[Scope]]) -> int:
        """Return at which budget of a sweep verdicts say most: the largest up to which some defense may hold.

        Where none does, it is the smallest that the undefended system does not withstand. Beyond these nothing is
        left of anything, which says that the attacks work and nothing of a defense.
        """

        def withstood(scope: Scope, defense: str) -> bool:
            draft = self.draft(scope, defense)
            low = None if draft.robust is None or draft.partial or draft.robust.doubt else draft.robust.low
            return low is not None and low >= draft.level

        budgets = range(len(of_models[0]))
        easy = {n for n in budgets for of in of_models if (x := self.baseline(of[n])) and withstood(of[n], x)}
        telling = [n for n in budgets if n not in easy] or [budgets[-1]]

        def some_holds(n: int) -> bool:
            met: dict[str, list[Sequence[Scope]]] = {}
            for of in of_models:
                for defense in self.defenses(of[n]):
                    met.setdefault(defense, []).append(of)
            return any(
                all(withstood(of[n], x) and self.worth(self.draft(of[n], x)) for of in sweeps)
                and not any(self._broken(self.draft(scope, x)) for of in sweeps for scope in of[:n])
                for x, sweeps in met.items()
                if x != self.axes.baseline
            )

        return next((n for n in reversed(telling) if some_holds(n)), telling[0])

    def attacked_groups(self, dataset: str, model: str, knowledge: str) -> list[Scope]:
        """Return every group with an attack that was run there, the main one first, or the only attack."""
        attacks = self.table.attacks.get((dataset, model, knowledge), set())
        found = []
        for group in sorted(self.axes.groups, key=lambda group: group != self.axes.main_group):
            members = self.table.members(Place(dataset, model, group, "", knowledge))
            if attacks & {*members}:
                found.append(Scope(dataset, model, knowledge, group, members))
        bounded = sorted(x for x in attacks if not self.table.unbounded(Place(dataset, model, x, "", knowledge)))
        if not found and len(bounded) == 1:
            found.append(Scope(dataset, model, knowledge, bounded[0], tuple(bounded)))
        return found

    def _groups_of(self, dataset: str, knowledge: str, model: str) -> list[Scope]:
        """Return the groups of attacks that were run there without those within another, or the only attack."""
        attacks = self.table.attacks.get((dataset, model, knowledge), set())
        scopes = self.attacked_groups(dataset, model, knowledge)
        run_of = {scope.attack: attacks & {*scope.attacks} for scope in scopes}
        widest: list[Scope] = []
        for scope in sorted(scopes, key=lambda x: (-len(run_of[x.attack]), group_name(x.attack) != ALL_ATTACKS)):
            if not any(run_of[scope.attack] <= run_of[other.attack] for other in widest):
                widest.append(scope)
        return widest

    def _left(self, scopes: Sequence[Scope]) -> list[float]:
        """Return what a group leaves of each defense with the model where it fares worst, most first."""
        left: dict[str, float] = {}
        for scope in scopes:
            names = self.defenses(scope)
            for name in [x for x in names if x != self.axes.baseline] or names:
                robust = self.draft(scope, name).robust
                if robust is not None:
                    left[name] = min(robust.value, left.get(name, robust.value))
        return sorted(left.values(), reverse=True) or [math.inf]

    def sweep(self, scope: Scope) -> tuple[Scope, ...]:
        """Return the scopes of all budgets of which this is one, the smallest first; itself where it is no sweep's."""
        return self._settings_and_sweeps[1].get(scope, (scope,))

    def alike(self, scope: Scope) -> bool:
        """Return whether the same attacks were run at each budget of the sweep that a scope is of."""
        kind = {label: number for number, ladder in enumerate(self.budgets) for label in ladder.labels}
        return len({frozenset(kind.get(x, x) for x in one.attacks) for one in self.sweep(scope)}) == 1

    @staticmethod
    def _broken(draft: Verdict) -> bool:
        """Return whether so little is left that a defense does not hold, whatever else is known of it."""
        robust = draft.robust
        if robust is None or robust.high is None or (robust.doubt is not None and not robust.doubt.at_most):
            return False
        return robust.high < draft.level

    def _broken_within(self, verdict: Verdict) -> Verdict | None:
        """Return the verdict at a smaller budget of the sweep that a defense does not get over: it lies within this."""
        sweep = self.sweep(verdict.scope)
        smaller = sweep[: sweep.index(verdict.scope)]
        drafts = (one for scope in smaller for one in self._drafted[scope] if one.defense == verdict.defense)
        return next(filter(self._broken, drafts), None)

    @cached_property
    def scopes(self) -> tuple[Scope, ...]:
        """Per data set, model and attacker, the hardest group of attacks."""
        return tuple(setting[0] for setting in self.settings)

    def _attackers(self, dataset: str) -> list[str]:
        kinds = dict.fromkeys(k for (d, _, k) in self.table.attacks if d == dataset)
        return [k for k in KNOWLEDGE if k in kinds] + [k for k in kinds if k not in KNOWLEDGE]

    def defenses(self, scope: Scope) -> list[str]:
        """Return the defenses that met an attack of the scope."""
        return [
            name
            for name in self.axes.defenses
            if any(self._place(scope, name, x) in self.table.by_place for x in (scope.attack, *scope.attacks))
        ]

    def baseline(self, scope: Scope) -> str:
        """Return the undefended system of a scope, "" for none: no other defense stands in for it."""
        undefended = self.axes.baseline
        return undefended if undefended and undefended in self.defenses(scope) else ""

    def _place(self, scope: Scope, defense: str, attack: str) -> Place:
        return self.table.place(scope.dataset, scope.model, attack, defense, scope.knowledge)

    def _page(self, scope: Scope, defense: str, attack: str) -> str:
        return self.table.page(self._place(scope, defense, attack))

    def bound(self, place: Place) -> Bound:
        """Return why the numbers at a place are upper bounds, "" where they are none."""
        trust = self.table.trust(place)
        return "" if trust is None else trust.bound

    def best_known(self, verdict: Verdict) -> BestKnown | None:
        """Return the attack of any attacker that leaves least of a defense within the budgets of its verdict."""
        if verdict.trust is None:
            return None
        found = []
        for attack, knowledge in verdict.trust.best:
            place = self.table.place(verdict.scope.dataset, verdict.scope.model, attack, verdict.defense, knowledge)
            left = self.share(place, "")
            if left is not None:
                found.append(BestKnown(attack, knowledge, left, self.table.page(place)))
        return min(found, key=lambda one: one.left.value, default=None)

    # -- comparisons ---------------------------------------------------------------------------------------------------

    def paired(self, scope: Scope, first: str, second: str, metric: str, clean: bool = False) -> Comparison | None:
        """Return a paired comparison of a scope; several seeds are compared over seeds and images, or not at all."""
        seed = SUMMARIES.crossed if len(self.table.seeds) > 1 else next(iter(self.table.seeds), "")
        where = (CLEAN, "") if clean else (scope.attack, scope.knowledge)
        # Where one of the two rejects, a rejected image counts as it does in the verdict.
        for name in (metric.replace("robust", "joint_robust").replace("clean", "joint_clean"), metric):
            pair = self.differences.get((scope.dataset, scope.model, *where, seed, name, first, second))
            if pair is not None:
                return Comparison(scope, name, first, second, pair)
        return None

    @cached_property
    def _drafted(self) -> dict[Scope, tuple[Verdict, ...]]:
        """The verdicts before their comparisons are corrected for each other."""
        scopes = dict.fromkeys(x for setting in self.settings for one in setting for x in self.sweep(one))
        return {scope: tuple(self.draft(scope, x) for x in self.defenses(scope)) for scope in scopes}

    @cached_property
    def _firsts(self) -> tuple[Best, ...]:
        return tuple(filter(None, (self._first(self._drafted[scope]) for scope in self.scopes)))

    @cached_property
    def _corrected(self) -> dict[tuple[Scope, str, str], Comparison]:
        made: dict[tuple[Scope, str, str], Comparison] = {}
        for verdicts in self._drafted.values():
            for one in (verdict.against for verdict in verdicts):
                if one is not None and one.difference.p is not None:
                    made[one.scope, one.first, one.second] = one
        for best in self._firsts:
            if (one := best.comparison) is not None and one.difference.p is not None:
                made[one.scope, one.first, one.second] = one
        # The same two in turned order are one test.
        once = {(scope, *sorted(pair)): one for (scope, *pair), one in made.items()}
        adjusted = dict(zip(once, holm([one.difference.p or 0.0 for one in once.values()])))
        return {
            (scope, *pair): replace(one, p=adjusted[(scope, *sorted(pair))], of=len(once))  # type: ignore[misc]
            for (scope, *pair), one in made.items()
        }

    def _correct(self, one: Comparison | None) -> Comparison | None:
        return None if one is None else self._corrected.get((one.scope, one.first, one.second))

    # -- verdicts ------------------------------------------------------------------------------------------------------

    @cached_property
    def verdicts(self) -> dict[Scope, tuple[Verdict, ...]]:
        """The verdicts of each scope, in the order of the suite's defenses."""
        return {scope: tuple(map(self._judged, verdicts)) for scope, verdicts in self._drafted.items()}

    @cached_property
    def groups(self) -> tuple[VerdictGroup, ...]:
        """The verdicts by data set, attacker and set of attacks; what fares best first, without rank.

        Each setting's hardest group comes first, then the others.
        """
        alike: dict[Scope, list[Scope]] = {}
        for scope in (x for setting in self.settings for x in setting):
            alike.setdefault(replace(scope, model=""), []).append(scope)
        found = []
        for of, mine in alike.items():
            by_defense: dict[str, list[Verdict]] = {}
            for scope in mine:
                for verdict in self.verdicts[scope]:
                    by_defense.setdefault(verdict.defense, []).append(verdict)
            rows = [
                VerdictRow(
                    defense,
                    max(verdicts, key=lambda v: v.sort_key),
                    len(verdicts),
                    self.defense(defense).taught,
                    reach=self.reach(mine, defense),
                )
                for defense, verdicts in by_defense.items()
            ]
            rows.sort(key=lambda row: row.hardest.sort_key)
            models = tuple(scope.model for scope in mine)
            found.append(
                VerdictGroup(
                    of.dataset,
                    of.knowledge,
                    of.attack,
                    of.attacks,
                    models,
                    tuple(rows),
                    of.hardest_of,
                    of.budget,
                    of.budgets,
                )
            )
        others: dict[tuple[str, str, str], Verdict] = {}
        for group in (group for group in found if not group.hardest_of):
            for row in group.rows:
                key_of = (group.dataset, group.knowledge, row.defense)
                others[key_of] = max(others.get(key_of, row.hardest), row.hardest, key=lambda v: v.badness)
        return tuple(
            replace(group, rows=tuple(self._beside(group, row, others) for row in group.rows))
            if group.hardest_of
            else group
            for group in found
        )

    def reach(self, scopes: Sequence[Scope], defense: str) -> Reach | None:
        """Return how far a defense holds in a sweep, with the model where it fares worst; None for no sweep.

        What the undefended system withstands as well tells nothing, and does not end it.
        """
        if not scopes[0].budgets or defense == self.axes.baseline:
            return None
        holds: Verdict | None = None
        for budget in zip(*map(self.sweep, scopes)):
            verdicts = [v for scope in budget for v in self.verdicts[scope] if v.defense == defense]
            worst = max(verdicts, key=lambda v: v.sort_key, default=None)
            if worst is not None and worst.standing == "holds":
                holds = worst
            elif worst is not None and worst.why != "weak-attacks":
                return Reach(holds, worst)
        return Reach(holds, None)

    def _beside(
        self, group: VerdictGroup, row: VerdictRow, others: Mapping[tuple[str, str, str], Verdict]
    ) -> VerdictRow:
        """Return a row with the verdict under another group where that is worse."""
        other = others.get((group.dataset, group.knowledge, row.defense))
        return replace(row, worse=other) if other is not None and other.badness > row.hardest.badness else row

    def draft(self, scope: Scope, defense: str) -> Verdict:
        """Return the numbers of a defense against a group of attacks, before anything is concluded from them."""
        prefix = "worst_case_" if is_group(scope.attack) else ""
        place, clean_place = self._place(scope, defense, scope.attack), self._place(scope, defense, CLEAN)
        alone = {x: self.share(self._place(scope, defense, x), "") for x in scope.attacks}
        known = {
            x: estimate
            for x, estimate in alone.items()
            if estimate is not None and not self.table.unbounded(self._place(scope, defense, x))
        }
        robust = self.share(place, prefix)
        partial = robust is None and bool(known)
        lowest = min(known, key=lambda x: known[x].value, default=None)
        if partial and lowest is not None:
            robust, place = known[lowest], self._place(scope, defense, lowest)
        clean = self.table.estimate(clean_place, "joint_clean_accuracy") or self.table.estimate(
            clean_place, "clean_accuracy"
        )
        alarms = self.table.estimate(clean_place, "clean_fpr")
        baseline = self.baseline(scope)
        other = baseline if baseline != defense else ""
        undefended = self._place(scope, baseline, CLEAN) if baseline else clean_place
        best = self.table.estimate(undefended, "clean_accuracy") or clean
        cost = self.paired(scope, defense, other, "clean_accuracy", clean=True) if other else None
        gone = [one for x in scope.attacks if (one := self._gone(self._place(scope, defense, x)))]
        why: Why = ""
        if partial or robust is None:
            why = next((one for one in GONE if one in gone), "missing")
        return Verdict(
            scope=scope,
            defense=defense,
            baseline=other,
            standing="baseline" if defense == baseline else "undecided",
            why=why,
            bound=self.bound(place),
            robust=robust,
            partial=partial,
            clean=clean,
            cost=None if cost is None else cost.difference,
            false_alarms=alarms,
            level=self.level(scope.dataset, best, alarms),
            absent=len(gone),
            seeds=len(self.table.seeds),
            hardest=None if lowest is None else (lowest, known[lowest], self._page(scope, defense, lowest)),
            against=self.paired(scope, defense, other, f"{prefix}robust_accuracy") if other else None,
            page=self.table.page(place),
            trust=self.table.trust(place),
        )

    def _gone(self, place: Place) -> Literal["", "failed", "missing", "left-out"]:
        """Return why an attack on a defense has no result: failed, not run, or not in the grid; "" if it has."""
        if place not in self.table.by_place:
            return "left-out"
        status = self.table.cell(place, "robust_accuracy").status
        return status if status in ("failed", "missing") else ""

    def share(self, place: Place, prefix: str) -> Estimate | None:
        """Return what a cell leaves, right or rejected where the defense rejects; `prefix` is that of worst cases."""
        return self.table.estimate(place, f"{prefix}joint_robust_accuracy") or self.table.estimate(
            place, f"{prefix}robust_accuracy"
        )

    def guessing(self, dataset: str) -> float:
        """Return the accuracy of one answer for all images, were the classes equally many; 0 where it is not known."""
        classes = len(((self.manifest.get("datasets") or {}).get(dataset) or {}).get("class_names") or ())
        return 1 / classes if classes > 1 else 0.0

    def level(self, dataset: str, best: Estimate | None, alarms: Estimate | None) -> float:
        """Return the share from which on a defense holds: `best` is clean accuracy, `alarms` false ones."""
        half = 0.0 if best is None else best.value / 2
        by_chance = 0.0 if alarms is None else alarms.value
        return by_chance + (1 - by_chance) * max(half, self.guessing(dataset), BROKEN)

    def _judged(self, draft: Verdict) -> Verdict:
        against = self._correct(draft.against)
        verdict = replace(draft, against=against)
        robust, clean = verdict.robust, verdict.clean
        low, high = (None, None) if robust is None else (robust.low, robust.high)
        if verdict.standing == "baseline":
            weak = low is not None and low >= verdict.level and not verdict.partial
            return replace(verdict, why="weak-attacks" if weak else verdict.why)
        if robust is None or low is None or high is None:
            return replace(verdict, why=verdict.why or "missing")
        # What attacks that are too weak have turned wrong stays wrong.
        if robust.doubt is not None and not self._broken(verdict):
            return replace(verdict, why="doubt")
        if clean is None or clean.low is None:
            return replace(verdict, why=verdict.why or "no-clean")
        if clean.low <= self.guessing(verdict.scope.dataset):
            return replace(verdict, why="guessing")
        if clean.high is not None and clean.high < self._half(verdict):
            return replace(verdict, why="costly")
        within = self._broken_within(verdict)
        if self._broken(verdict) or within is not None:
            return replace(verdict, standing="fails", why="", within=None if self._broken(verdict) else within)
        if verdict.partial:
            return verdict
        if low < verdict.level:
            return replace(verdict, why="level")
        if not verdict.baseline:
            return replace(verdict, why="no-baseline")
        other = next(v for v in self._drafted[verdict.scope] if v.defense == verdict.baseline)
        if other.robust is None or other.partial:
            return replace(verdict, why="baseline-partial")
        if other.clean is None:
            return replace(verdict, why="baseline-clean")
        if other.robust.doubt:
            return replace(verdict, why="baseline-doubt")
        if other.robust.low is not None and other.robust.low >= other.level:
            return replace(verdict, why="weak-attacks")
        if against is None:
            return replace(verdict, why="unpaired")
        return replace(verdict, standing="holds", why="") if against.better else replace(verdict, why="chance")

    def _half(self, verdict: Verdict) -> float:
        best = self.table.estimate(self._place(verdict.scope, verdict.baseline, CLEAN), "clean_accuracy")
        return 0.0 if best is None else best.value / 2

    # -- who is first --------------------------------------------------------------------------------------------------

    def _first(self, verdicts: Sequence[Verdict]) -> Best | None:
        """Return the first and the second of a setting's defenses; None where there are no two with a number."""
        defended = [v for v in verdicts if v.standing != "baseline"]
        counted = [
            v
            for v in defended
            if v.robust and not v.partial and not v.robust.doubt and self.worth(v) and not self._broken_within(v)
        ]
        counted.sort(key=lambda v: -v.robust.value if v.robust else 0.0)
        # An upper bound is ahead of nothing.
        if len(counted) < 2 or counted[0].bound:
            return None
        first, second = counted[:2]
        prefix = "worst_case_" if is_group(first.scope.attack) else ""
        paired = self.paired(first.scope, first.defense, second.defense, f"{prefix}robust_accuracy")
        level = tuple(
            v.defense for v in counted[2:] if v.robust and second.robust and v.robust.value == second.robust.value
        )
        return Best(first, second, paired, level, tuple(v.defense for v in defended if v not in counted))

    def worth(self, verdict: Verdict) -> bool:
        """Return whether clean accuracy is worth something: above guessing, and half of the undefended at least."""
        clean = verdict.clean
        if clean is None or clean.low is None or clean.high is None:
            return False
        return clean.low > self.guessing(verdict.scope.dataset) and clean.high >= self._half(verdict)

    @cached_property
    def best(self) -> tuple[Best, ...]:
        """The first against the second, in every setting that has two."""
        return tuple(replace(best, comparison=self._correct(best.comparison)) for best in self._firsts)
