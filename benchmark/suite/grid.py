"""The grid of a suite, and its groups of attacks: their labels, found among the suite's components."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from benchmark.names import ALL, CLEAN
from benchmark.selection import GridEntry, Substitute, points_of
from benchmark.suite.file import Entry, Grid, Labels, Rule
from benchmark.suite.model import KINDS, RESERVED, Component
from benchmark.suite.reading import Reading
from benchmark.suite.tree import child, nfc


def read_grid(reading: Reading) -> tuple[GridEntry, ...]:
    """Return the entries of the grid."""
    node = child(reading.root, "grid")
    if node is None:
        return ()
    if not isinstance(node.value, tuple) or not node.value:
        reading.shaped(Grid, node, ("grid",), "the grid")
        return ()
    entries: list[GridEntry] = []
    crafted_on: dict[tuple[str, ...], tuple[Substitute, ...]] = {}
    for index, item in enumerate(node.value):
        path = ("grid", str(index))
        said = reading.shaped(Entry, item, path, "a grid entry")
        if said is not None:
            added = list(_entries(reading, said, path, str(item.where)))
            _check_substitutes(reading, path, added, crafted_on)
            entries += added
    return tuple(entries)


def _check_substitutes(
    reading: Reading,
    path: tuple[str, ...],
    entries: Iterable[GridEntry],
    crafted_on: dict[tuple[str, ...], tuple[Substitute, ...]],
) -> None:
    """Refuse cells that differ from earlier ones in their substitutes alone: tables could not tell them apart."""
    for point in points_of((entry for entry in entries if entry.substitutes), (0,)):
        if point.attack == CLEAN:
            continue
        before = crafted_on.setdefault(point.identity(), point.entry.substitutes)
        if set(before) != set(point.entry.substitutes):  # attacked as one, in whichever order
            named = " and ".join(map(str, before))
            reading.problem(
                (*path, "substitute"),
                f"an entry above crafts the black-box attack {point.attack!r} on {point.defense!r} of {point.model!r} "
                f"from other substitutes ({named}), and tables could not tell the two apart. Give the attack a second "
                f"label for one of them (`{{like: {point.attack}}}`), or name all substitutes in one list, attacked at "
                "once.",
            )
            return


def _entries(reading: Reading, said: Entry, path: tuple[str, ...], where: str) -> Iterator[GridEntry]:
    axes = {section: _axis(reading, getattr(said, section), section, path) for section in KINDS}
    needed = ("datasets", "models", "defenses")
    for section in needed:
        if axes[section] == () and reading.labels[section]:
            reading.problem((*path, section), "empty grid: no label is selected.")
    given = (said.knowledge,) if isinstance(said.knowledge, str) else said.knowledge
    knowledge = reading.unique(given, (*path, "knowledge"))
    substitutes = _substitutes(reading, said, knowledge, (*path, "substitute"))
    rules = tuple(
        chosen
        for index, rule in enumerate(said.exclude)
        if (chosen := _rule(reading, rule, axes, (*path, "exclude", str(index)))) is not None
    )
    if None in axes.values() or not all(axes[section] for section in needed):
        return
    selected = {section: labels or () for section, labels in axes.items()}
    if _excludes_all(selected, rules):
        reading.problem(path, "empty grid: `exclude` leaves nothing of this entry.")
    for known in knowledge:
        yield GridEntry(
            **selected,
            knowledge=known,
            substitutes=substitutes if known == "black-box" else (),
            exclude=rules,
            where=where,
        )


def _axis(reading: Reading, said: Labels, section: str, path: tuple[str, ...]) -> tuple[str, ...] | None:
    """Return the labels that an axis selects; None where one is wrong."""
    if said == ALL:
        return tuple(reading.labels[section].values())
    return reading.labels_of(said, section, (*path, section))


def _substitutes(
    reading: Reading, said: Entry, knowledge: Sequence[str], path: tuple[str, ...]
) -> tuple[Substitute, ...]:
    if said.substitute is None:
        if "black-box" in knowledge:
            models = ", ".join(reading.labels["models"].values())
            reading.problem(
                path,
                f"missing: black-box attacks are crafted on another network; name its model. Known: {models}.",
            )
        return ()
    if "black-box" not in knowledge:
        reading.problem(path, f"only `knowledge: black-box` uses it, this entry is {knowledge[0]}.")
    if isinstance(said.substitute, tuple):
        found = [_substitute(reading, one, (*path, str(n))) for n, one in enumerate(said.substitute)]
        return tuple(reading.unique(found, path))
    one = _substitute(reading, said.substitute, path)
    return () if one is None else (one,)


def _substitute(reading: Reading, said: str | Substitute, path: tuple[str, ...]) -> Substitute | None:
    if isinstance(said, str):
        model = reading.label_of(said, "models", path)
        return None if model is None else Substitute(model)
    model = reading.label_of(said.model, "models", (*path, "model"))
    defense = said.defense and reading.label_of(said.defense, "defenses", (*path, "defense"))
    return None if model is None else Substitute(model, defense)


def _rule(
    reading: Reading, said: Rule, axes: Mapping[str, tuple[str, ...] | None], path: tuple[str, ...]
) -> Mapping[str, tuple[str, ...]] | None:
    rule: dict[str, tuple[str, ...]] = {}
    for axis in KINDS:
        if axis not in said.model_fields_set:
            continue
        labels, selected = getattr(said, axis), axes[axis]
        chosen = selected if labels == ALL else reading.labels_of(labels, axis, (*path, axis))
        if chosen is None or selected is None:
            return None
        rule[axis] = chosen
        absent = [label for label in chosen if label not in selected]
        if absent or not chosen:
            why = f"this grid entry does not select {', '.join(map(repr, absent))}" if absent else "empty list"
            reading.problem((*path, axis), f"the rule excludes nothing: {why}.")
    return rule


def _excludes_all(axes: Mapping[str, tuple[str, ...]], rules: Sequence[Mapping[str, tuple[str, ...]]]) -> bool:
    """Tell whether rules leave nothing of the product of the axes, clean images counted as an attack."""
    # Labels that the same rules name are alike: the product of what differs is small.
    kinds_of_labels = []
    for axis, labels in axes.items():
        points = (CLEAN, *labels) if axis == "attacks" else labels
        kinds_of_labels.append(
            {frozenset(i for i, rule in enumerate(rules) if point in rule.get(axis, (point,))) for point in points}
        )
    return all(frozenset.intersection(*point) for point in itertools.product(*kinds_of_labels))


def plain_entry(entry: GridEntry) -> dict[str, Any]:
    """Return an entry as a suite file has it."""
    plain: dict[str, Any] = {axis: list(getattr(entry, axis)) for axis in KINDS}
    plain["knowledge"] = entry.knowledge
    if entry.substitutes:
        named = [one.plain() for one in entry.substitutes]
        plain["substitute"] = named[0] if len(named) == 1 else named
    if entry.exclude:
        plain["exclude"] = [{axis: list(labels) for axis, labels in rule.items()} for rule in entry.exclude]
    return plain


def read_groups(reading: Reading, components: Mapping[str, Component]) -> dict[str, tuple[str, ...]]:
    """Return label → attacks of each group."""
    entries = reading.mapping(("groups",), "labels, such as {NAME: [ATTACK, ATTACK]}")
    reading.labels["groups"] = reading.check_labels(entries, "groups", RESERVED["attack"])
    groups: dict[str, tuple[str, ...]] = {}
    for label, node in entries.items():
        path = ("groups", label)
        if nfc(label) in {*reading.labels["attacks"], *reading.given.sweeps}:
            reading.problem(path, "an attack has this label. Choose another one.")
        said = reading.shaped(Labels, node, path, "a group")
        if said == ALL:
            attacks: tuple[str, ...] | None = tuple(reading.labels["attacks"].values())
        else:
            attacks = None if said is None else reading.labels_of(said, "attacks", path)
            if attacks is not None:
                _check_budgets(reading, path, [components[a] for a in attacks if a in components])
        if attacks == ():
            reading.problem(path, "a group needs at least one attack.")
        groups[label] = attacks or ()
    return groups


def _check_budgets(reading: Reading, path: Sequence[str], attacks: Sequence[Component]) -> None:
    """Refuse a group that names an attack without a budget beside none at whose budget it could count."""
    bounded = {attack.options.norm for attack in attacks if attack.options.eps is not None}  # type: ignore[attr-defined]
    for attack in attacks:
        norm, eps = attack.options.norm, attack.options.eps  # type: ignore[attr-defined]
        if eps is None and norm not in bounded:
            reading.problem(
                path,
                f"the attack {attack.label!r} has no budget, and the group has none in {norm} at which it could count: "
                "without one it wins every worst case. Give it `eps`, name an attack with a budget in "
                f"{norm} beside it, or leave it out.",
            )
