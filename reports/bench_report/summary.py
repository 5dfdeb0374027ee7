"""The ranking of defenses, and what the numbers say in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from bench_report.table import Axes, Place, Table, as_number
from bench_report.view import AlarmView, BlockView, Estimate, Notice, RankingRow, RankingView, Setting, Word
from bench_report.words import number_text, plural
from benchmark.results import CLEAN, WORST_OF

BROKEN = 0.1
"""A defense that withstands fewer attacked images than this is called broken by the attack."""
MOST = 4
"""Sentences of one kind."""


def ranking(table: Table, axes: Axes, blocks: Sequence[BlockView]) -> Iterator[RankingView]:
    """Yield a ranking per kind of attacker and set of attacks, by the lowest worst-case robust accuracy of its blocks.

    Defenses that met different attacks, such as those of different data sets, are not ranked against each other.
    """
    met: dict[tuple[str, frozenset[str]], list[BlockView]] = {}
    for block in blocks:
        met.setdefault((block.knowledge, frozenset(_attacks(table, block))), []).append(block)
    of_kind = Counter(knowledge for knowledge, _ in met)
    for (knowledge, _), mine in met.items():
        group = axes.main_group
        attacks = list(dict.fromkeys(name for block in mine for name in _attacks(table, block)))
        if group is None or not any(_members(table, block, group) for block in mine):
            if len(attacks) != 1:
                continue
            group = attacks[0]
        prefix = "worst_case_" if group.startswith(WORST_OF) else ""
        found = []
        for defense in axes.defenses:
            worst = _lowest(table, mine, group, defense, f"{prefix}robust_accuracy")
            if worst:
                joint = _lowest(table, mine, group, defense, f"{prefix}joint_robust_accuracy")
                clean = _lowest(table, mine, CLEAN, defense, "clean_accuracy")
                found.append((defense, worst, joint, clean))
        if not found:
            continue
        # What an alarm puts in doubt comes last, without a rank.
        found.sort(key=lambda row: (_doubtful(row[1:]), -min(s.estimate.value for s in row[1])))
        rows: list[RankingRow] = []
        for defense, worst, joint, clean in found:
            lowest = min(worst, key=lambda setting: setting.estimate.value)
            rank: int | None = len(rows) + 1
            if _doubtful((worst, joint, clean)):
                rank = None
            elif rows and lowest.estimate.value == rows[-1].worst.estimate.value:
                rank = rows[-1].rank
            rows.append(RankingRow(rank, defense, lowest, _least(joint), _least(clean), len(worst)))
        members = list(dict.fromkeys(a for block in mine for a in (_members(table, block, group) or (group,))))
        yield RankingView(
            knowledge=knowledge,
            datasets=tuple(dict.fromkeys(block.dataset for block in mine)) if of_kind[knowledge] > 1 else (),
            attack=group,
            attacks=tuple(members),
            settings=len(mine),
            rejects=any(row.joint and row.joint.estimate.value != row.worst.estimate.value for row in rows),
            rows=tuple(rows),
        )


def _attacks(table: Table, block: BlockView) -> set[str]:
    """Return the attacks of a block that have a budget; the others count in groups only."""
    attacks = table.attacks.get((block.dataset, block.model, block.knowledge), set())
    return {x for x in attacks if not table.unbounded(Place(block.dataset, block.model, x, "", block.knowledge))}


def _members(table: Table, block: BlockView, group: str) -> tuple[str, ...]:
    return table.members(Place(block.dataset, block.model, group, "", block.knowledge))


def _lowest(table: Table, blocks: Sequence[BlockView], attack: str, defense: str, metric: str) -> list[Setting]:
    found = []
    for block in blocks:
        place = table.place(block.dataset, block.model, attack, defense, block.knowledge)
        estimate = table.estimate(place, metric)
        if estimate is not None:
            found.append(Setting(estimate, block.dataset, block.model, table.page(place)))
    return found


def _doubtful(settings: Iterable[Sequence[Setting]]) -> bool:
    return any(setting.estimate.doubt for found in settings for setting in found)


def _least(settings: Sequence[Setting]) -> Setting | None:
    return min(settings, key=lambda setting: setting.estimate.value, default=None)


def unequal(rankings: Sequence[RankingView]) -> Iterator[Notice]:
    """Yield a warning where not all defenses met the same attackers."""
    defenses: dict[str, set[str]] = {}
    for view in rankings:
        defenses.setdefault(view.knowledge, set()).update(row.defense for row in view.rows)
    if len({frozenset(names) for names in defenses.values()}) > 1:
        everyone = set().union(*defenses.values())
        lacking = [
            f"{', '.join(sorted(everyone - names))} not against {knowledge}"
            for knowledge, names in defenses.items()
            if everyone - names
        ]
        yield Notice(
            "note",
            "Not all defenses met the same attackers:",
            "; ".join(lacking) + ". Compare within one kind of attacker.",
        )


def alarms_by_kind(table: Table) -> tuple[tuple[AlarmView, ...], ...]:
    """Return the alarms of a run, those of one kind together."""
    found: dict[str, list[AlarmView]] = {}
    for alarm in table.alarms():
        found.setdefault(alarm.kind.name, []).append(alarm)
    return tuple(map(tuple, found.values()))


def findings(
    table: Table, axes: Axes, rankings: Sequence[RankingView], false_positives: object
) -> Iterator[tuple[Word, ...]]:
    """Yield the strongest findings as sentences."""
    for alarms in alarms_by_kind(table):
        first, more = alarms[0], len(alarms) - 1
        rest = f"; {plural(more, 'more finding')} of this kind." if more else "."
        yield (Word(first.kind.sign, "name", first.page), Word(": "), Word(first.finding, "quote"), Word(rest))
    for view in rankings:
        yield _holds_best(view, axes.baseline)
    yield from _broken(table, axes)
    yield from _misjudged(table)
    yield from _known(table, axes)
    yield from _false_alarms(table, axes, as_number(false_positives))


def _holds_best(view: RankingView, baseline: str | None) -> tuple[Word, ...]:
    # A defense that met fewer settings may have met the easy ones.
    known = [row for row in view.rows if row.rank is not None]
    rows = [row for row in known if row.settings == view.settings] or known[:1]
    other = next((row for row in known if row.defense == baseline), None)
    withstood = [(row, row.joint) for row in rows if row.joint is not None]
    rejecting, joint = max(withstood, key=lambda pair: pair[1].estimate.value, default=(None, None))
    hardest = "in its hardest setting it labels " if view.settings > 1 else "it labels "
    under = [Word(" of the images rightly under "), Word("every attack" if len(view.attacks) > 1 else "the attack")]
    words = [
        Word("Against a "),
        Word(view.knowledge, "name"),
        Word(" attacker"),
        *([Word(" on "), Word(", ".join(view.datasets), "name")] if view.datasets else []),
        Word(", "),
    ]
    if not rows:
        return (*words, Word("no defense can be called best: alarms put all numbers in doubt."))
    best = rows[0]
    if other is not None and other in rows and best.worst.estimate.value <= other.worst.estimate.value:
        words += [Word("no defense labels more images rightly than "), Word(other.defense, "name", other.worst.page)]
        words += [Word(f": {hardest}"), *number_words(other.worst.estimate), *under]
    else:
        words += [Word(best.defense, "name", best.worst.page), Word(f" holds best: {hardest}")]
        words += [*number_words(best.worst.estimate), *under]
        if other is not None:
            words += [Word("; "), Word(other.defense, "name", other.worst.page), Word(" labels ")]
            words += [Word(f"{other.worst.estimate.text} %", "number")]
    words += not_counted(len(view.rows) - len(known), len(view.rows), "defense")
    if rejecting and joint and joint.estimate.value > best.worst.estimate.value:
        words += [Word(". With rejected images counted as withstood, "), Word(rejecting.defense, "name", joint.page)]
        words += [Word(" comes to "), *number_words(joint.estimate)]
    return (*words, Word("."))  # fmt: skip


def not_counted(doubtful: int, total: int, what: str) -> list[Word]:
    """Return the end of a sentence that leaves numbers in doubt out."""
    if not doubtful:
        return []
    return [Word(f". Not counted, since alarms put them in doubt: {doubtful} of {plural(total, what)}")]


def number_words(estimate: Estimate) -> list[Word]:
    """Return a rate with its spread or interval, and that it is in doubt where it is."""
    return [Word(f"{estimate.text} %", "number"), *_around(estimate)]


def _around(estimate: Estimate) -> list[Word]:
    around = estimate.spread_text or estimate.interval
    words = [Word(" ("), Word(around, "number"), Word(")")] if around else []
    return [*words, Word(" (in doubt)")] if estimate.doubt else words


def _cells(table: Table, axes: Axes) -> Iterator[Place]:
    groups = {*axes.groups, CLEAN}
    return (place for place in table.by_place if place.attack not in groups and not table.unbounded(place))


def _broken(table: Table, axes: Axes) -> Iterator[tuple[Word, ...]]:
    """Yield which attack breaks which defense; where a defense rejects, a rejected image counts for it."""
    lowest: dict[str, tuple[Estimate, Place]] = {}
    for place in _cells(table, axes):
        estimate = table.estimate(place, "joint_robust_accuracy") or table.estimate(place, "robust_accuracy")
        if estimate is None or place.defense == axes.baseline:
            continue
        if place.defense not in lowest or estimate.value < lowest[place.defense][0].value:
            lowest[place.defense] = (estimate, place)
    broken = sorted((pair for pair in lowest.values() if pair[0].value < BROKEN), key=lambda pair: pair[0].value)
    for estimate, place in broken[:MOST]:
        plain = table.estimate(place, "robust_accuracy")
        kept = "labelled rightly" if plain and plain.value == estimate.value else "labelled rightly or rejected"
        yield (
            Word(place.attack, "name", table.page(place)),
            Word(" breaks "),
            Word(place.defense, "name"),
            Word(f" ({place.knowledge}, "),
            Word(place.model, "name"),
            Word(" on "),
            Word(place.dataset, "name"),
            Word("): only "),
            *number_words(estimate),
            Word(f" of the attacked images are {kept}."),
        )
    if len(broken) > MOST:
        more = len(broken) - MOST
        yield (Word(f"{more} more {'defense is' if more == 1 else 'defenses are'} broken in the same sense."),)


def _misjudged(table: Table) -> Iterator[tuple[Word, ...]]:
    """Yield the published values that are missed by most, of those that are compared with a number beyond doubt."""
    missed = []
    total = doubtful = 0
    alone = set()
    for place, metrics in table.by_place.items():
        for name in metrics:
            estimate = table.estimate(place, name)
            if estimate is None or estimate.reference is None:
                continue
            if name.startswith("base_"):
                # What the network does alone stands in the row of every defense of it: one value.
                once = (place._replace(defense=""), name, estimate.value)
                if once in alone:
                    continue
                alone.add(once)
            total += 1
            if estimate.doubt:
                doubtful += 1
            elif (
                estimate.low is None or estimate.high is None or not estimate.low <= estimate.reference <= estimate.high
            ):
                missed.append((abs(estimate.value - estimate.reference), estimate, place))
    if not total:
        return
    compared = total - doubtful
    lie = "lies" if compared == 1 else "lie"
    met = f"{compared - len(missed)} of {plural(compared, 'published value')} {lie} within the 95 % interval of what "
    said = Word(f"{met}was measured" if compared else "No published value can be compared")
    yield (said, *not_counted(doubtful, total, "published value"), Word("."))
    for _, estimate, place in sorted(missed, key=lambda item: -item[0])[:3]:
        yield (
            Word("Published "),
            Word(number_text(estimate.reference or 0.0, estimate.unit), "number"),
            Word(", measured "),
            Word(estimate.text, "number"),
            *_around(estimate),
            Word(": "),
            Word(estimate.metric.replace("_", " ")),
            Word(" of "),
            Word(place.defense, "name", table.page(place)),
            Word(" on clean images" if place.attack == CLEAN else " under "),
            *([] if place.attack == CLEAN else [Word(place.attack.removeprefix(WORST_OF), "name")]),
            Word(", "),
            Word(place.model, "name"),
            Word(" on "),
            Word(place.dataset, "name"),
            Word("."),
        )


def _known(table: Table, axes: Axes) -> Iterator[tuple[Word, ...]]:
    """Yield what becomes of defenses once the attacker knows them."""
    drops = []
    for place in _cells(table, axes):
        if place.knowledge not in ("white-box", "adaptive"):
            continue
        before_place = place._replace(knowledge="gray-box")
        name = "joint_robust_accuracy"
        before, after = table.estimate(before_place, name), table.estimate(place, name)
        if before and after and before.low is not None and after.high is not None and after.high < before.low:
            drops.append((before.value - after.value, before, after, place))
    best: dict[str, tuple[float, Estimate, Estimate, Place]] = {}
    for drop in sorted(drops, key=lambda item: -item[0]):
        best.setdefault(drop[3].defense, drop)
    for _, before, after, place in list(best.values())[:MOST]:
        yield (
            Word("Once the attacker knows "),
            Word(place.defense, "name", table.page(place)),
            Word(", "),
            Word(place.attack, "name"),
            Word(" brings it from "),
            *number_words(before),
            Word(" to "),
            *number_words(after),
            Word(" ("),
            Word(place.model, "name"),
            Word(" on "),
            Word(place.dataset, "name"),
            Word(")."),
        )


def _false_alarms(table: Table, axes: Axes, target: float | None) -> Iterator[tuple[Word, ...]]:
    """Yield which defenses reject more clean images than they were set to."""
    highest: dict[str, tuple[Estimate, Place]] = {}
    for place in table.by_place:
        estimate = table.estimate(place, "clean_fpr")
        if estimate and (place.defense not in highest or estimate.value > highest[place.defense][0].value):
            highest[place.defense] = (estimate, place)
    for defense, (estimate, place) in list(highest.items())[:MOST]:
        if target is not None and estimate.low is not None and estimate.low > target:
            yield (
                Word(defense, "name", table.page(place)),
                Word(" rejects "),
                *number_words(estimate),
                Word(" of the clean test images, more than the "),
                Word(f"{100 * target:g} %", "number"),
                Word(" its threshold was set for: "),
                Word(place.model, "name"),
                Word(" on "),
                Word(place.dataset, "name"),
                Word("."),
            )
