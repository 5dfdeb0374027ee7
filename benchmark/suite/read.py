"""The suite that a tree says: every section checked, all that is wrong told at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from benchmark.document import Node, path_text, shorten
from benchmark.errors import InputError, PluginError
from benchmark.explain import explain, shaped
from benchmark.plugins import validate_options
from benchmark.selection import Filter, GridEntry, points_of
from benchmark.suite.file import HEAD_KEYS, Head, protocol_facts
from benchmark.suite.grid import plain_entry, read_grid, read_groups
from benchmark.suite.model import KINDS, RESERVED, SECTIONS, Component, Suite
from benchmark.suite.overrides import SET_RANK
from benchmark.suite.reading import Reading
from benchmark.suite.reference import read_reference
from benchmark.suite.tree import child, children


def read(reading: Reading, profile: str | None) -> Suite:
    """Return the suite that a tree says.

    Args:
        reading: the tree after all overrides.
        profile: name of the one that was applied.

    Raises:
        InputError: all that is wrong, a line each.
    """
    head = _head(reading)
    components = {section: _components(reading, kind, section) for kind, section in SECTIONS.items()}
    grid = read_grid(reading)
    groups = read_groups(reading, components["attacks"])
    reference = read_reference(reading)
    reading.problems.raise_if_any()
    assert head is not None
    only = _only(reading, grid, head.seeds)
    reading.problems.raise_if_any()
    cite = (head.cite,) if isinstance(head.cite, str) else head.cite
    resolved: dict[str, Any] = {
        "suite": head.suite,
        "title": head.title,
        "description": head.description,
        "cite": list(cite),
        "seeds": list(head.seeds),
    }
    for section in KINDS:
        resolved[section] = {label: node.plain() for label, node in children(reading.root, section).items()}
        for label, component in components[section].items():
            resolved[section][label]["use"] = component.use
    resolved["grid"] = [plain_entry(entry) for entry in grid]
    resolved["groups"] = {label: list(attacks) for label, attacks in groups.items()}
    resolved["protocol"] = protocol_facts(head.protocol)
    resolved["batch_size"] = head.batch_size
    resolved["threads"] = head.threads
    resolved["gpu"] = head.gpu
    if head.probes:
        resolved["probes"] = list(dict.fromkeys(head.probes))
    if head.separation:
        resolved["separation"] = list(dict.fromkeys(head.separation))
    if only:
        resolved["only"] = [one.text for one in only]
    if reference:
        resolved["reference"] = {"rows": [row.model_dump(exclude_defaults=True) for row in reference]}
    return Suite(
        name=head.suite,
        title=head.title,
        description=head.description,
        cite=cite,
        seeds=head.seeds,
        datasets=components["datasets"],
        models=components["models"],
        attacks=components["attacks"],
        defenses=components["defenses"],
        grid=grid,
        groups=groups,
        protocol=head.protocol,
        batch_size=head.batch_size,
        threads=head.threads,
        gpu=head.gpu,
        probes=tuple(dict.fromkeys(head.probes)),
        separation=tuple(dict.fromkeys(head.separation)),
        only=only,
        reference=reference,
        profile=profile,
        profiles=reading.given.profiles,
        path=reading.path,
        resolved=resolved,
    )


def _head(reading: Reading) -> Head | None:
    assert isinstance(reading.root.value, dict)
    given = {key: node for key, node in reading.root.value.items() if key in HEAD_KEYS}
    node = replace(reading.root, value=given)
    for required in ("datasets", "models", "defenses", "grid"):
        if required not in reading.root.value:
            reading.problems.add(
                reading.root.where, f"{required}: missing: a suite needs it.{reading.who_removed((required,))}"
            )
    seeds = given.get("seeds")
    if seeds is not None and isinstance(seeds.value, tuple):
        reading.unique((item.value if isinstance(item.value, int) else None for item in seeds.value), ("seeds",))
    head: Head | None = shaped(Head, node, (), reading.problems, noun="key", owner="a suite")
    return head


def _only(reading: Reading, grid: Sequence[GridEntry], seeds: Sequence[int]) -> tuple[Filter, ...]:
    node = child(reading.root, "only")
    labels = [point.labels() for point in points_of(grid, seeds)] if node is not None else []
    filters = []
    for item in node.value if node is not None and isinstance(node.value, tuple) else ():
        try:
            filters.append(Filter.parse(str(item.value)))
            filters[-1].check(labels)
        except InputError as error:
            written = item.where.rank == SET_RANK  # on the command line, which is told as the place
            reading.problems.add(item.where, str(error) if written else f"only: {shorten(str(item.value))!r}: {error}")
    return tuple(filters)


def _components(reading: Reading, kind: str, section: str) -> dict[str, Component]:
    entries = reading.mapping((section,), "labels, such as {NAME: {use: PLUGIN}}")
    reading.labels[section] = reading.check_labels(entries, section, RESERVED[kind])
    components = {}
    for label, node in entries.items():
        component = _component(reading, kind, label, node)
        if component is not None:
            components[label] = component
    return components


def _component(reading: Reading, kind: str, label: str, node: Node) -> Component | None:
    path = (SECTIONS[kind], label)
    known = ", ".join(reading.registry.names(kind)) or "none"
    if not isinstance(node.value, dict):
        reading.problems.add(
            node.where,
            f"{path_text(path)}: found {node.found()}, allowed: a mapping such as {{use: NAME}}. Known: {known}.",
        )
        return None
    name = node.value.get("use")
    if path in reading.given.refused:
        return None
    if name is None or not name.is_scalar or name.value is None:
        found = "missing" if name is None else f"found {name.found()}"
        reading.problems.add(
            (name or node).where,
            f"{path_text((*path, 'use'))}: {found}: the name of a plugin is needed. Known: {known}.",
        )
        return None
    use = name.text
    given = replace(node, value={key: value for key, value in node.value.items() if key != "use"})
    try:
        options_type = reading.registry.get(kind, use).options_type()
    except PluginError as error:
        reading.problems.add(name.where, f"{path_text((*path, 'use'))}: {error}")
        return None
    try:
        options = validate_options(options_type, given.plain())
    except ValidationError as error:
        explain(error, options_type, given, path, reading.problems, owner=f"{kind} {use!r}")
    except (Exception, SystemExit) as error:
        reading.problems.add(
            node.where,
            f"{path_text(path)}: the options of the {kind} plugin {use!r} cannot be checked: "
            f"{type(error).__name__}: {error}",
        )
    else:
        return Component(label, kind, use, options, str(node.where))
    return None
