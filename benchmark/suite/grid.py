"""The grid of a suite, and its groups of attacks."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmark.document import Node, path_text
from benchmark.errors import near_match
from benchmark.explain import unknown_key
from benchmark.names import ALL, CLEAN, KNOWLEDGE
from benchmark.selection import GridEntry, Substitute, points_of
from benchmark.suite.model import GRID_KEYS, KINDS, RESERVED, USUAL_KNOWLEDGE, Component
from benchmark.suite.reading import Reading
from benchmark.suite.tree import child, nfc

_SUBSTITUTE = {"model": "models", "defense": "defenses"}


def read_grid(reading: Reading) -> tuple[GridEntry, ...]:
    """Return the entries of the grid."""
    node = child(reading.root, "grid")
    if node is None:
        return ()
    if not isinstance(node.value, tuple):
        reading.problems.add(
            node.where, f"grid: found {node.found()}, allowed: a list of entries such as - {{attacks: all}}."
        )
        return ()
    if not node.value:
        reading.problems.add(node.where, "grid: empty grid: it needs at least one entry.")
    entries: list[GridEntry] = []
    crafted_on: dict[tuple[str, ...], tuple[Substitute, ...]] = {}
    for index, item in enumerate(node.value):
        path = ("grid", str(index))
        added = list(_grid_entries(reading, item, path))
        _check_substitutes(reading, item, path, added, crafted_on)
        entries += added
    return tuple(entries)


def _check_substitutes(
    reading: Reading,
    node: Node,
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
            reading.problems.add(
                node.where,
                f"{path_text((*path, 'substitute'))}: an entry above crafts the black-box attack {point.attack!r} on "
                f"{point.defense!r} of {point.model!r} from other substitutes ({named}), and tables could not tell the "
                f"two apart. Give the attack a second label for one of them (`{{like: {point.attack}}}`), or name all "
                "substitutes in one list, attacked at once.",
            )
            return


def _grid_entries(reading: Reading, node: Node, path: tuple[str, ...]) -> Iterable[GridEntry]:
    if not isinstance(node.value, dict):
        reading.problems.add(
            node.where, f"{path_text(path)}: found {node.found()}, allowed: a mapping such as {{attacks: all}}."
        )
        return ()
    for key, value in node.value.items():
        if key not in GRID_KEYS:
            reading.problems.add(value.where, f"{path_text((*path, key))}: {unknown_key('key', key, GRID_KEYS)}")
    axes = {section: _axis(reading, node.value.get(section), section, path) for section in KINDS}
    for section in ("datasets", "models", "defenses"):
        if axes[section] == () and reading.labels[section]:
            reading.problems.add(node.where, f"{path_text((*path, section))}: empty grid: no label is selected.")
    knowledge = _knowledge(reading, node.value.get("knowledge"), path)
    substitutes = _substitutes(reading, node, knowledge, path)
    rules = _exclude(reading, node.value.get("exclude"), axes, path)
    if None in axes.values() or not all(axes[section] for section in ("datasets", "models", "defenses")):
        return ()
    selected = {section: labels or () for section, labels in axes.items()}
    if _excludes_all(selected, rules):
        reading.problems.add(node.where, f"{path_text(path)}: empty grid: `exclude` leaves nothing of this entry.")
    return [
        GridEntry(
            **selected,
            knowledge=known,
            substitutes=substitutes if known == "black-box" else (),
            exclude=rules,
            where=str(node.where),
        )
        for known in knowledge
    ]


def _axis(reading: Reading, node: Node | None, section: str, path: tuple[str, ...]) -> tuple[str, ...] | None:
    """Return the labels that an axis selects; None where it cannot be read."""
    known = tuple(reading.labels[section].values())
    if node is None or (isinstance(node.value, str) and node.value == ALL):
        return known
    return reading.labels_of(node, section, (*path, section))


def _knowledge(reading: Reading, node: Node | None, path: tuple[str, ...]) -> tuple[str, ...]:
    if node is None:
        return (USUAL_KNOWLEDGE,)
    items = node.value if isinstance(node.value, tuple) else (node,)
    chosen: list[str] = []
    for item in items:
        if item.value not in KNOWLEDGE:
            near = near_match(item.value, KNOWLEDGE) if isinstance(item.value, str) else ""
            reading.problems.add(
                item.where,
                f"{path_text((*path, 'knowledge'))}: found {item.found()}, allowed: {', '.join(KNOWLEDGE)}.{near}",
            )
        elif item.value in chosen:
            reading.problems.add(item.where, f"{path_text((*path, 'knowledge'))}: {item.value!r} is there twice.")
        else:
            chosen.append(str(item.value))
    if not items:
        reading.problems.add(node.where, f"{path_text((*path, 'knowledge'))}: empty grid: no knowledge is selected.")
    return tuple(chosen)


def _substitutes(
    reading: Reading, entry: Node, knowledge: Sequence[str], path: tuple[str, ...]
) -> tuple[Substitute, ...]:
    assert isinstance(entry.value, dict)
    node = entry.value.get("substitute")
    inner = (*path, "substitute")
    if node is None or (node.value is None and node.text not in reading.labels["models"]):
        if "black-box" in knowledge:
            models = ", ".join(reading.labels["models"].values())
            reading.problems.add(
                entry.where,
                f"{path_text(inner)}: missing: black-box attacks are crafted on another network; name its model. "
                f"Known: {models}.",
            )
        return ()
    if "black-box" not in knowledge and knowledge:
        reading.problems.add(
            node.where, f"{path_text(inner)}: only `knowledge: black-box` uses it, this entry is {knowledge[0]}."
        )
    if node.value == ():
        reading.problems.add(node.where, f"{path_text(inner)}: an empty list, allowed: one network or several.")
    chosen: list[Substitute] = []
    for item in node.value if isinstance(node.value, tuple) else (node,):
        one = _substitute(reading, item, inner)
        if one in chosen:
            reading.problems.add(item.where, f"{path_text(inner)}: {one} is there twice.")
        elif one is not None:
            chosen.append(one)
    return tuple(chosen)


def _substitute(reading: Reading, node: Node, inner: tuple[str, ...]) -> Substitute | None:
    if not isinstance(node.value, dict):
        model = reading.label_of(node, "models", inner)
        return None if model is None else Substitute(model)
    labels: dict[str, str | None] = {}
    for kind, value in node.value.items():
        if kind not in _SUBSTITUTE:
            reading.problems.add(value.where, f"{path_text((*inner, kind))}: {unknown_key('key', kind, _SUBSTITUTE)}")
        else:
            labels[kind] = reading.label_of(value, _SUBSTITUTE[kind], (*inner, kind))
    if "model" not in node.value:
        reading.problems.add(
            node.where, f"{path_text((*inner, 'model'))}: missing: the label of the model that the attacker trains."
        )
    model = labels.get("model")
    return None if model is None else Substitute(model, labels.get("defense"))


def _exclude(
    reading: Reading, node: Node | None, axes: Mapping[str, tuple[str, ...] | None], path: tuple[str, ...]
) -> tuple[Mapping[str, tuple[str, ...]], ...]:
    path = (*path, "exclude")
    if node is None:
        return ()
    if not isinstance(node.value, tuple):
        reading.problems.add(
            node.where,
            f"{path_text(path)}: found {node.found()}, allowed: a list of rules such as - {{models: LABEL}}.",
        )
        return ()
    rules: list[Mapping[str, tuple[str, ...]]] = []
    for index, item in enumerate(node.value):
        inner = (*path, str(index))
        if not isinstance(item.value, dict) or not item.value:
            found = "an empty mapping" if isinstance(item.value, dict) else item.found()
            reading.problems.add(
                item.where, f"{path_text(inner)}: found {found}, allowed: a mapping such as {{models: LABEL}}."
            )
            continue
        rule: dict[str, tuple[str, ...]] = {}
        for axis, labels in item.value.items():
            if axis not in KINDS:
                reading.problems.add(labels.where, f"{path_text((*inner, axis))}: {unknown_key('axis', axis, KINDS)}")
                continue
            everything = isinstance(labels.value, str) and labels.value == ALL
            chosen = axes[axis] if everything else reading.labels_of(labels, axis, (*inner, axis))
            if chosen is None or axes[axis] is None:
                continue
            rule[axis] = chosen
            absent = [label for label in chosen if label not in (axes[axis] or ())]
            if absent or not chosen:
                why = f"this grid entry does not select {', '.join(map(repr, absent))}" if absent else "empty list"
                reading.problems.add(labels.where, f"{path_text((*inner, axis))}: the rule excludes nothing: {why}.")
        if len(rule) == len(item.value):
            rules.append(rule)
    return tuple(rules)


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
    entries = reading.mapping(child(reading.root, "groups"), ("groups",), "labels, such as {NAME: [ATTACK, ATTACK]}")
    reading.labels["groups"] = reading.check_labels(entries, "groups", RESERVED["attack"])
    groups: dict[str, tuple[str, ...]] = {}
    for label, node in entries.items():
        path = ("groups", label)
        if nfc(label) in {*reading.labels["attacks"], *reading.given.sweeps}:
            reading.problems.add(node.where, f"{path_text(path)}: an attack has this label. Choose another one.")
        if isinstance(node.value, str) and node.value == ALL:
            attacks: tuple[str, ...] | None = tuple(reading.labels["attacks"].values())
        else:
            attacks = reading.labels_of(node, "attacks", path)
            if attacks is not None:
                _check_budgets(reading, node, path, [components[a] for a in attacks if a in components])
        if attacks == ():
            reading.problems.add(node.where, f"{path_text(path)}: a group needs at least one attack.")
        groups[label] = attacks or ()
    return groups


def _check_budgets(reading: Reading, node: Node, path: Sequence[str], attacks: Sequence[Component]) -> None:
    """Refuse a group that names an attack without a budget beside none at whose budget it could count."""
    bounded = {attack.options.norm for attack in attacks if attack.options.eps is not None}  # type: ignore[attr-defined]
    for attack in attacks:
        norm, eps = attack.options.norm, attack.options.eps  # type: ignore[attr-defined]
        if eps is None and norm not in bounded:
            reading.problems.add(
                node.where,
                f"{path_text(path)}: the attack {attack.label!r} has no budget, and the group has none in {norm} "
                "at which it could count: without one it wins every worst case. Give it `eps`, name an attack with "
                f"a budget in {norm} beside it, or leave it out.",
            )
