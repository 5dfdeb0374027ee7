"""Several runs beside each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from bench_report import sentences
from bench_report.across import (
    RATE,
    VERSION,
    Beside,
    Change,
    Judged,
    OnlyIn,
    component,
    fingerprint,
    letters,
    methods,
    pair,
    stable,
    substitutes,
    substitutes_text,
    terms,
    versions,
)
from bench_report.facts import RunFacts
from bench_report.measures import FAMILIES, measure
from bench_report.run_page import RunView
from bench_report.table import Place, Table, as_text, is_group
from bench_report.values import DifferenceView, Estimate, Notice, Word
from bench_report.words import budget_text, difference_text
from benchmark import CLEAN, KNOWING, holm

if TYPE_CHECKING:
    from benchmark import Run


_FAMILIES = [family for family in FAMILIES if family.key in ("robust", "joint")]
_LINED_UP = (
    *dict.fromkeys(name for f in _FAMILIES for name in (f.clean, f.attack, f.worst) if name is not None),
    "auroc",
)
_ONLY = {
    RATE: "; it keeps apart the measures at the threshold that it sets",
    "repeats": "; it keeps apart randomised defenses alone",
    "draws": "; it keeps apart randomised defenses under attackers who hold them",
}
"""What another part of the protocol keeps apart, where that is not all."""
_FIRST = {"higher": 0, "lower": 0, "unknown": 1}
"""Rows that stand before the others."""
_SECTIONS = {"datasets": "data set", "models": "model", "attacks": "attack", "defenses": "defense"}


def compare_runs(runs: Sequence[Run], facts: Sequence[RunFacts], views: Sequence[RunView]) -> CompareView:
    """Return what changed between runs, equal cells of them beside each other, and all differences between them."""
    return _Comparer(runs, facts, views).view()


class _Comparer:
    def __init__(self, runs: Sequence[Run], facts: Sequence[RunFacts], views: Sequence[RunView]) -> None:
        self.runs = runs
        self.facts = facts
        self.tables = [one.table for one in facts]
        self.letters = letters(len(runs))
        self.names = tuple((letter, view.name) for letter, view in zip(self.letters, views))
        self.changed: dict[str, set[str]] = {section: set() for section in _SECTIONS}
        self.differ = tuple(_changes(runs, self.changed))
        self._judged = [Judged(run, table) for run, table in zip(runs, self.tables)]

    def view(self) -> CompareView:
        """Return what the page shows."""
        places: dict[Place, list[str]] = {}
        for name in _LINED_UP:
            for table in self.tables:
                for place, metrics in table.by_place.items():
                    if name in metrics and name not in places.setdefault(place, []):
                        places[place].append(name)
        beside = self._beside(list(places))
        said: dict[tuple[Place, str], list[Change]] = {}
        for change in beside.changes:
            said.setdefault((change.place, change.metric), []).append(change)
        rows = [
            row
            for name in _LINED_UP
            for place, names in places.items()
            if name in names
            for row in self._rows(place, name, said.get((place, name), ()))
        ]
        rows.sort(key=lambda row: _FIRST.get(row.told, len(_FIRST)))
        return CompareView(
            runs=self.names,
            headline=sentences.beside_headline(beside),
            findings=tuple(sentences.beside(beside)),
            how=sentences.beside_how(beside),
            notices=tuple(sentences.not_lined_up(*one) for one in _obstacles(self.runs, self.tables, self.letters)),
            changes=self.differ,
            rows=tuple(rows),
        )

    # -- facts ---------------------------------------------------------------------------------------------------------

    def _beside(self, places: Sequence[Place]) -> Beside:
        changes: list[Change] = []
        apart: Counter[tuple[str, ...]] = Counter()
        unpaired: Counter[str] = Counter()
        only: dict[int, list[Place]] = {}
        gone: Counter[str] = Counter()
        worst: set[tuple[object, ...]] = set()
        for place in places:
            in_runs = [number for number, table in enumerate(self.tables) if place in table.by_place]
            alone = not is_group(place.attack)
            if alone and any(self.tables[number].unbounded(place) for number in in_runs):
                continue  # counts in groups, at their budgets
            if place.knowledge in KNOWING and self.facts[in_runs[0]].defense(place.defense).bare:
                continue  # its gray-box cells stand there, and are counted as such
            attacks = [tuple(sorted(self.tables[number].counted(place).items())) for number in in_runs]
            if len(attacks[0]) > 1 and (place._replace(attack=""), *attacks) in worst:
                continue  # the same worst case under another name
            worst.add((place._replace(attack=""), *attacks))
            if len(in_runs) == 1:
                only.setdefault(in_runs[0], []).append(place)
                continue
            having = [n for n in in_runs if self._headline(n, place)]
            if having:
                gone.update(self.letters[number] for number in in_runs if number not in having)
            if len(having) < 2:
                continue
            found, why, reasons = self._changes_of(place, having)
            changes += found
            unpaired.update(why)
            apart.update(reasons)
        adjusted = holm([one.difference.p or 0.0 for one in changes])
        changes = [replace(one, p=p, of=len(changes)) for one, p in zip(changes, adjusted)]
        changes.sort(key=lambda one: -abs(one.difference.difference))
        keys = [run.key for run in self.runs]
        return Beside(
            names=self.names,
            changes=tuple(changes),
            apart=tuple(apart.items()),
            unpaired=tuple(unpaired.items()),
            only=tuple(self._only(number, mine) for number, mine in sorted(only.items())),
            gone=tuple(gone.items()),
            equal=tuple(x for x, key in zip(self.letters, keys) if key and keys.count(key) > 1),
            seeds=tuple(tuple(table.seeds) for table in self.tables),
            differ=self.differ,
        )

    def _headline(self, number: int, place: Place) -> list[str]:
        """Return the accuracies of a cell; the joint one first where it rejects: a rejected image is withstood."""
        table = self.tables[number]
        clean = table.place(place.dataset, place.model, CLEAN, place.defense, place.knowledge)
        rejects = table.estimate(clean, "clean_fpr") is not None
        names = sorted((x for x in _LINED_UP if x != "auroc"), key=lambda name: ("joint" in name) != rejects)
        return [name for name in names if table.estimate(place, name) is not None]

    def _changes_of(self, place: Place, having: Sequence[int]) -> tuple[list[Change], list[str], list[tuple[str, ...]]]:
        """Return the changes of a cell from the first run that has it, why others are unpaired, and what differs."""
        first, changes, unpaired, apart = having[0], [], [], []
        for number in having[1:]:
            differing: tuple[str, ...] = ()
            for name in self._headline(first, place):
                if name not in self._headline(number, place):
                    continue
                mine, other = (terms(self.runs[n], self.tables[n], place, name) for n in (first, number))
                differing = tuple(what for what in {**mine, **other} if mine.get(what) != other.get(what))
                if differing:
                    continue
                found = self._difference(first, number, place, name)
                if isinstance(found, str):
                    unpaired.append(found)
                    break
                difference, identical = found
                estimates = [self.tables[n].estimate(place, name) for n in (first, number)]
                assert estimates[0] is not None
                assert estimates[1] is not None
                changes.append(
                    Change(
                        place,
                        name,
                        self.letters[first],
                        self.letters[number],
                        estimates[0],
                        estimates[1],
                        difference,
                        identical,
                        name != self._headline(first, place)[0],
                        "" if place.attack == CLEAN else self.facts[number].bound(place),
                        self._remark(place, number),
                    )
                )
                break
            else:
                apart.append(differing)
        return changes, unpaired, apart

    def _only(self, number: int, places: Sequence[Place]) -> OnlyIn:
        others = [table for n, table in enumerate(self.tables) if n != number]
        labels = []
        nouns = {
            "dataset": "data set",
            "model": "model",
            "defense": "defense",
            "attack": "attack",
            "knowledge": "attacker",
        }
        for axis, noun in nouns.items():
            known = {getattr(place, axis) for table in others for place in table.by_place}
            mine = dict.fromkeys(getattr(place, axis) for place in places)
            labels += [(noun, label) for label in mine if label and label not in known]
        return OnlyIn(self.letters[number], len(places), tuple(labels))

    # -- images --------------------------------------------------------------------------------------------------------

    def _difference(self, first: int, second: int, place: Place, name: str) -> tuple[DifferenceView, bool] | str:
        """Return the difference of an accuracy, second minus first, and whether all answers are equal; or why none."""
        one, two = (self._judged[number].outcomes(place, name) for number in (first, second))
        if isinstance(one, str) or isinstance(two, str):
            why = one if isinstance(one, str) else two
            return f"not paired: {why}" if why else ""
        found = pair(one, two)
        if isinstance(found, str):
            return found
        of = found.paired
        view = DifferenceView(name, "rate", of.difference, of.low, of.high, of.p_value, of.n, found.by_seed)
        return view, found.identical

    # -- rows ----------------------------------------------------------------------------------------------------------

    def _rows(self, place: Place, name: str, said: Sequence[Change]) -> Iterator[LinedUpRow]:
        """Yield a row for all runs in which a number may stand beside that of another one."""
        estimates = [table.estimate(place, name) for table in self.tables]
        alike: dict[tuple[tuple[str, str], ...], list[int]] = {}
        for number, estimate in enumerate(estimates):
            if estimate is not None:
                of = terms(self.runs[number], self.tables[number], place, name)
                alike.setdefault(tuple(of.items()), []).append(number)
        known = measure(name)
        for members in alike.values():
            if len(members) < 2:
                continue
            first, *others = members
            start = estimates[first]
            assert start is not None
            found = {number: self._difference(first, number, place, name) for number in others}
            paired = {number: one[0] for number, one in found.items() if not isinstance(one, str)}
            remarks = [self._remark(place, number) for number in others]
            remarks += [one for one in found.values() if isinstance(one, str)]
            changes = [one for one in said if one.first == self.letters[first]]
            yield LinedUpRow(
                *place,
                metric=name,
                title=known.title,
                estimates=tuple(e if number in members else None for number, e in enumerate(estimates)),
                differences=tuple(
                    difference_text(e.value - start.value, known.unit) if e is not None and number in others else ""
                    for number, e in enumerate(estimates)
                ),
                paired=tuple(paired.get(number) for number in range(len(self.runs))),
                told=changes[0].told if len(changes) == 1 else "",
                change=sentences.change_told(changes, len(self.runs)),
                remark="; ".join(filter(None, dict.fromkeys(remarks))),
            )

    def _remark(self, place: Place, number: int) -> str:
        return _remark(place, self.tables[number], self.changed)


def _obstacles(runs: Sequence[Run], tables: Sequence[Table], letters: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield what keeps runs from being lined up: other images, another protocol, another budget."""
    labels = dict.fromkeys(label for run in runs for label in run.manifest.get("datasets") or {})
    for label in labels:
        found = {x: print_ for run, x in zip(runs, letters) if (print_ := fingerprint(run, label))}
        if len(set(found.values())) > 1:
            yield (
                f"data set {label}",
                "other images or another split: fingerprints " + _per_run({x: f[:12] for x, f in found.items()}),
            )
    for name in dict.fromkeys(name for run in runs for name in run.manifest.get("protocol") or {}):
        values = {x: as_text((run.manifest.get("protocol") or {}).get(name)) for run, x in zip(runs, letters)}
        if len(set(values.values())) > 1:
            yield f"protocol, {name.replace('_', ' ')}", _per_run(values) + _ONLY.get(name, "")
    groups: dict[tuple[str, ...], dict[str, str]] = {}
    for table, letter in zip(tables, letters):
        for place in table.by_place:
            if members := table.members(place):
                where = (place.attack, place.dataset, place.model, place.knowledge)
                groups.setdefault(where, {})[letter] = ", ".join(members)
    for group, found in groups.items():
        if len(set(found.values())) > 1:
            yield " / ".join(filter(None, group)), _per_run(found)
    for knowledge in dict.fromkeys(place.knowledge for table in tables for place in table.by_place):
        if len({stable(sorted(substitutes(run, knowledge).values(), key=stable)) for run in runs}) > 1:
            trained = {x: substitutes_text(run, knowledge) for run, x in zip(runs, letters)}
            yield f"substitute of the {knowledge} attacker", _per_run(trained)
    single = (attack for table in tables for attack in table.budgets if not is_group(attack[1]))
    for attack in dict.fromkeys(single):
        budgets = {
            x: budget_text(*table.budgets[attack]) for table, x in zip(tables, letters) if attack in table.budgets
        }
        if len(set(budgets.values())) > 1:
            yield f"attack {attack[1]} on {attack[0]}", _per_run(budgets)


def _per_run(values: Mapping[str, str]) -> str:
    return "; ".join(f"{letter}: {value or 'none'}" for letter, value in values.items())


def _changes(runs: Sequence[Run], changed: dict[str, set[str]]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield (what, value per run) of all other differences, and note which labels of the suites they concern."""
    suites = [run.suite for run in runs]
    for section, noun in _SECTIONS.items():
        for label in dict.fromkeys(label for suite in suites for label in suite.get(section) or {}):
            have = [run for run in runs if label in (run.suite.get(section) or {})]
            if len({component(run, section, label).get(VERSION) for run in have}) > 1:
                changed[section].add(label)
            flat = [_options(suite, section, label) for suite in suites]
            for name in dict.fromkeys(name for one in flat for name in one or ()):
                given = [None if one is None else one.get(name, "not set") for one in flat]
                if len(set(given) - {None}) > 1:
                    changed[section].add(label)
                    what = f"{noun} {label}" + (f", {name}" if name else "")
                    yield what, tuple("not in this run" if value is None else value for value in given)
    batches = tuple(as_text(suite.get("batch_size")) for suite in suites)
    if len(set(batches)) > 1:
        yield "batch size", batches
    for what, read in (
        ("seeds", lambda m: ", ".join(map(as_text, m.get("seeds") or ()))),
        ("profile", lambda m: as_text(m.get("profile")) or "none"),
        ("device", lambda m: as_text(m.get("device"))),
        ("threads per task", lambda m: as_text(m.get("threads"))),
        ("git commit", lambda m: as_text((m.get("git") or {}).get("commit"))[:12]),
    ):
        values = [read(run.manifest) for run in runs]
        if len(set(values)) > 1:
            yield what, tuple(value or "unknown" for value in values)
    installed = [versions(run) for run in runs]
    for name in dict.fromkeys(name for one in installed for name in one):
        values = [one.get(name, "not installed") for one in installed]
        if len(set(values)) > 1:
            yield f"version of {name}", tuple(values)
    registered = [methods(run) for run in runs]
    for name in dict.fromkeys(name for one in registered for name in one):
        values = [one.get(name, "not used") for one in registered]
        if len({*values} - {"not used"}) > 1:
            yield f"version of {name}", tuple(values)


def _options(suite: Mapping[str, Any], section: str, label: str) -> dict[str, str] | None:
    """Return the options of a component as flat texts, None where the suite lacks it."""
    components = suite.get(section) or {}
    return dict(_flat(components[label])) if label in components else None


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(inner, f"{path}.{key}" if path else str(key))
    else:
        yield path, ", ".join(map(str, value)) if isinstance(value, list) else as_text(value)


def _remark(place: Place, table: Table, changed: Mapping[str, set[str]]) -> str:
    attacks = table.members(place) or (() if place.attack == CLEAN else (place.attack,))
    concerned = {
        "data set": place.dataset in changed["datasets"],
        "model": place.model in changed["models"],
        "attack": bool(changed["attacks"].intersection(attacks)),
        "defense": place.defense in changed["defenses"],
    }
    names = [noun for noun, differs in concerned.items() if differs]
    return f"other options or version: {', '.join(names)}" if names else ""


@dataclass(frozen=True)
class LinedUpRow:
    """A cell that several runs have: a value per run, None where a run lacks it or cannot be compared.

    Attributes:
        paired: the difference from the first of these runs on the same images, None where none can be paired.
        told: how the cell changed, "" where another measure of it, or more than one run, tells; `change` in words.
    """

    dataset: str
    model: str
    attack: str
    defense: str
    knowledge: str
    metric: str
    title: str
    estimates: tuple[Estimate | None, ...]
    differences: tuple[str, ...]
    paired: tuple[DifferenceView | None, ...]
    told: str
    change: str
    remark: str


@dataclass(frozen=True)
class CompareView:
    """Several runs beside each other.

    Attributes:
        runs: letter and name of each.
        headline, findings, how: what changed, and how it was compared.
        notices: differences that forbid to line rows up.
        changes: differences that do not.
    """

    runs: tuple[tuple[str, str], ...]
    headline: tuple[Word, ...]
    findings: tuple[tuple[Word, ...], ...]
    how: str
    notices: tuple[Notice, ...]
    changes: tuple[tuple[str, tuple[str, ...]], ...]
    rows: tuple[LinedUpRow, ...]
