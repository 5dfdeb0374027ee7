"""What stands out in a run beside its verdicts, and how published values fare, as typed facts."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator

from bench_report.facts import RunFacts
from bench_report.table import Place, as_number, group_name, is_group
from bench_report.values import Estimate
from bench_report.verdicts import (
    BROKEN,
    Alarms,
    Broken,
    Drop,
    Implied,
    Published,
    PublishedCount,
    Scope,
    TradeOff,
    Uneven,
    Verdict,
)
from benchmark import CLEAN, KNOWING, Budget


def trade_off(facts: RunFacts, scope: Scope) -> TradeOff | None:
    """Return the defenses of a setting by clean accuracy and worst case; None where that tells nothing apart."""
    points = [
        v
        for v in facts.verdicts[scope]
        if v.robust and v.clean and not (v.partial or v.robust.doubt or v.clean.doubt or v.robust.seeds < v.seeds)
    ]
    if len({v.robust.value for v in points if v.robust}) < 2:
        return None
    worth = [v for v in points if facts.worth(v)]
    front = [v.defense for v in worth if not any(_ahead(other, v) for other in worth)]
    known = {v.defense for v in points}
    return TradeOff(
        scope,
        tuple(points),
        tuple(front),
        tuple(v.defense for v in points if v not in worth),
        tuple(v.defense for v in points if facts.defense(v.defense).taught),
        tuple(v.defense for v in facts.verdicts[scope] if v.defense not in known),
    )


def _ahead(one: Verdict, other: Verdict) -> bool:
    """Return whether one keeps and withstands no less than the other, and more of either."""
    if not (one.clean and one.robust and other.clean and other.robust) or (one.bound and not other.bound):
        return False
    mine, its = (one.clean.value, one.robust.value), (other.clean.value, other.robust.value)
    return mine != its and all(a >= b for a, b in zip(mine, its))


def _cells(facts: RunFacts) -> Iterator[Place]:
    groups = {*facts.axes.groups, CLEAN}
    return (p for p in facts.table.by_place if p.attack not in groups and not facts.table.unbounded(p))


def broken(facts: RunFacts) -> list[Broken]:
    """Return, per defense, the attack that leaves least of it, where that is next to nothing; the worst first.

    A rejected image counts for the defense. What clean images say nothing for is not broken.
    """
    lowest: dict[str, Broken] = {}
    # At budgets beyond those that verdicts are about nothing is left of anything.
    sweeps = {scope: facts.sweep(scope) for scope in facts.scopes}
    beyond = {
        (scope.dataset, scope.model, scope.knowledge, attack)
        for scope, all_ in sweeps.items()
        for later in all_[all_.index(scope) + 1 :]
        for attack in later.attacks
    }
    for place in _cells(facts):
        robust = facts.share(place, "")
        clean_place = facts.table.place(place.dataset, place.model, CLEAN, place.defense, place.knowledge)
        clean = facts.table.estimate(clean_place, "joint_clean_accuracy") or facts.table.estimate(
            clean_place, "clean_accuracy"
        )
        if robust is None or clean is None or place.defense == facts.axes.baseline:
            continue
        if (place.dataset, place.model, place.knowledge, place.attack) in beyond:
            continue
        if robust.doubt is not None and not robust.doubt.at_most:
            continue
        alarms = facts.table.estimate(clean_place, "clean_fpr")
        worth = clean.low is not None and clean.low > max(facts.guessing(place.dataset), BROKEN)
        surely = robust.high is not None and robust.high < facts.level(place.dataset, clean, alarms)
        if robust.value >= BROKEN or not worth or not surely:
            continue
        known = lowest.get(place.defense)
        if known is None or robust.value < known.robust.value:
            bound = facts.bound(place)
            rejects = alarms is not None
            lowest[place.defense] = Broken(place, bound, robust, clean, alarms, rejects, facts.table.page(place))
    return sorted(lowest.values(), key=lambda one: one.robust.value)


def drops(facts: RunFacts) -> list[Drop]:
    """Return, per defense, where knowing it takes most from it: same cell, same attack, intervals apart."""
    found: dict[str, Drop] = {}
    for place in _cells(facts):
        if place.knowledge not in KNOWING or facts.defense(place.defense).bare:
            continue
        before, after = (facts.share(p, "") for p in (place._replace(knowledge="gray-box"), place))
        if before is None or after is None or before.doubt or after.doubt:
            continue
        if before.low is None or after.high is None or after.high >= before.low or before.seeds != after.seeds:
            continue
        known = found.get(place.defense)
        if known is None or before.value - after.value > known.before.value - known.after.value:
            found[place.defense] = Drop(place, before, after, facts.table.page(place))
    return sorted(found.values(), key=lambda drop: drop.after.value - drop.before.value)


def uneven(facts: RunFacts) -> list[Uneven]:
    """Return, per detector, the setting where what it catches hangs most on the attack."""
    rates: dict[Place, dict[str, Estimate]] = {}
    for place in _cells(facts):
        found = facts.table.estimate(place, "tpr")
        if found is not None and not found.doubt:
            rates.setdefault(place._replace(attack=""), {})[place.attack] = found
    widest: dict[str, Uneven] = {}
    for setting, mine in rates.items():
        most, least = (pick(mine, key=lambda x: mine[x].value) for pick in (max, min))
        caught, missed = mine[most], mine[least]
        if caught.low is None or missed.high is None or caught.low <= missed.high or caught.seeds != missed.seeds:
            continue
        known = widest.get(setting.defense)
        if known is None or caught.value - missed.value > known.caught.value - known.missed.value:
            place = setting._replace(attack=most)
            clean = facts.table.place(place.dataset, place.model, CLEAN, place.defense, place.knowledge)
            widest[setting.defense] = Uneven(
                place,
                caught,
                least,
                missed,
                facts.table.estimate(clean, "clean_fpr"),
                facts.bound(place),
                facts.table.page(setting._replace(attack=least)),
            )
    return list(widest.values())


def implied(facts: RunFacts, place: Place) -> Implied | None:
    """Return what follows from the numbers at a place if they hold for every perturbation of the budget."""
    prefix = "worst_case_" if is_group(place.attack) else ""
    accuracy = facts.table.estimate(place, f"{prefix}implied_robust_accuracy")
    if accuracy is None:
        return None
    rests_on = [facts.table.budgets.get((place.dataset, x), ("", "")) for x in facts.table.counted(place)]
    norm, budget = max((one for one in rests_on if one[1]), key=lambda one: Budget(one[1]), default=("", ""))
    if not budget:
        return None
    kept: dict[str, tuple[str, Estimate, str]] = {}
    for other in facts.table.by_place:
        of = facts.table.budgets.get((other.dataset, other.attack), ("", ""))
        alike = (other.dataset, other.model, of[0]) == (place.dataset, place.model, norm)
        if not alike or not facts.defense(other.defense).hardens or facts.bound(other):
            continue
        if not of[1] or not math.isclose(2 * Budget(of[1]), Budget(budget), rel_tol=1e-6):
            continue
        found = facts.share(other, "worst_case_" if is_group(other.attack) else "")
        if found is not None and (other.defense not in kept or found.value < kept[other.defense][1].value):
            kept[other.defense] = (other.defense, found, facts.table.page(other))
    hardened = max(kept.values(), key=lambda one: one[1].value, default=None)
    return Implied(accuracy, norm, budget, hardened)


def false_alarms(facts: RunFacts) -> list[Alarms]:
    """Return, per defense, where it rejects most clean images, if that is more than its threshold was set for."""
    target = as_number((facts.manifest.get("protocol") or {}).get("false_positive_rate"))
    highest: dict[str, Alarms] = {}
    for place in facts.table.by_place:
        rate = facts.table.estimate(place, "clean_fpr")
        if rate is None or target is None or rate.low is None or rate.low <= target:
            continue
        known = highest.get(place.defense)
        if known is None or rate.value > known.rate.value:
            highest[place.defense] = Alarms(place, rate, target, facts.table.page(place))
    return list(highest.values())


def published(facts: RunFacts) -> PublishedCount | None:
    """Return how the suite's published values fare, each counted once; None where none was measured."""
    found: list[Published] = []
    doubtful = 0
    for number, metric, places in _references_measured(facts):
        pairs = [(e, place) for place in places if (e := facts.table.estimate(place, metric)) is not None]
        sure = [(e, place) for e, place in pairs if not e.doubt]
        if not sure:
            doubtful += bool(pairs)
            continue
        estimate, place = max(sure, key=lambda pair: abs(pair[0].value - number))
        found.append(Published(number, estimate, place, len(sure), estimate.told(number), facts.table.page(place)))
    if not found and not doubtful:
        return None
    differing = sorted((p for p in found if p.told == "differs"), key=lambda p: -abs(p.difference))
    told = Counter(p.told for p in found)
    return PublishedCount(told["agrees"], told["differs"], told["unknown"], doubtful, tuple(differing))


def _references_measured(facts: RunFacts) -> Iterator[tuple[float, str, list[Place]]]:
    """Yield each published value with its measure and the cells that it fits best."""
    rows: dict[tuple[str, ...], float] = {}
    for row in facts.references:
        if row.value is not None and not row.artifact:
            # A value that a suite gives for several tables is one.
            rows.setdefault((row.metric, *(getattr(row, name) for name in Place._fields)), row.value)
    fits: dict[tuple[str, ...], list[Place]] = {}
    by_metric: dict[str, list[tuple[str, ...]]] = {}
    for key in rows:
        by_metric.setdefault(key[0], []).append(key)
    for place, metrics in facts.table.by_place.items():
        names = place._replace(attack=group_name(place.attack))
        for metric in metrics.keys() & by_metric.keys():
            reference = facts.table.estimate(place, metric)
            if reference is None or reference.reference is None:
                continue
            mine = [
                key
                for key in by_metric[metric]
                if rows[key] == reference.reference
                # Clean images know no attacker.
                and all(not a or a in (b, c) for a, b, c in zip(key[1:], place, names) if b or a != key[-1])
            ]
            if mine:
                fits.setdefault(max(mine, key=lambda key: sum(map(bool, key))), []).append(place)
    for key, places in fits.items():
        yield rows[key], key[0], places
