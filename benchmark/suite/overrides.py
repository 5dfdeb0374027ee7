"""The tree of a suite file after profile, --set, --only, `like` and lists of budgets."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from benchmark.document import Node, Place, Problems, node_from_plain, parse, path_text, shorten
from benchmark.errors import InputError, PluginError, near_match, unknown_name
from benchmark.explain import Schema, schemas_at, shaped, type_schema, unknown_key
from benchmark.options import Budget
from benchmark.plugins import Registry
from benchmark.suite.file import KEYS, Override, Profiles, Sections
from benchmark.suite.model import KINDS
from benchmark.suite.tree import (
    child,
    children,
    in_options,
    is_component,
    nfc,
    source_of,
    visible,
    who_removed,
)

SET_RANK = 2
"""How late a place is that the command line wrote, where several have a say."""


@dataclass(frozen=True)
class Overridden:
    """The tree that is read, and what became of the file's on the way.

    Attributes:
        root: components have a plugin each, attacks a budget each at the most.
        profiles: names of the file's profiles.
        labels_of_file: section → labels of the file, whether an override removes them or not.
        removed: path → the override that removes what stood there.
        refused: components whose `like` leads nowhere; a problem each.
        sweeps: label of a list of budgets after NFC → one label per budget.
    """

    root: Node
    profiles: tuple[str, ...]
    labels_of_file: Mapping[str, set[str]]
    removed: Mapping[tuple[str, ...], Place]
    refused: set[tuple[str, str]]
    sweeps: Mapping[str, tuple[str, ...]]


def override(
    root: Node,
    path: Path,
    registry: Registry,
    problems: Problems,
    *,
    profile: str | None,
    sets: Sequence[str],
    only: Sequence[str],
) -> Overridden:
    """Return the tree of a file with its profile applied, then --set, then --only.

    Args:
        root: a mapping.
        path: of the file, for messages.
        registry: says what options hold where the suite does not give them.
        problems: receives what is wrong.
        profile: name of the profile, None for none.
        sets: changes `path=value`.
        only: filters that take the place of the suite's.

    Raises:
        InputError: there is no such profile.
    """
    return _Overrides(root, path, registry, problems).apply(profile, sets, only)


class _Overrides:
    """Lays one override after the other over the tree; what is wrong goes into `problems`."""

    def __init__(self, root: Node, path: Path, registry: Registry, problems: Problems) -> None:
        self.registry = registry
        self.problems = problems
        self.path = path
        self.root = root
        self.labels_of_file = {section: set(children(root, section)) for section in (*KINDS, "groups")}
        for label, node in children(root, "attacks").items():
            budgets = child(node, "eps")
            if budgets is not None and isinstance(budgets.value, tuple):
                self.labels_of_file["attacks"] |= {f"{label}@{item.text}" for item in budgets.value}
        self.removed: dict[tuple[str, ...], Place] = {}
        self.refused: set[tuple[str, str]] = set()  # components whose `like` leads nowhere
        self.sweeps: dict[str, tuple[str, ...]] = {}

    def apply(self, profile: str | None, sets: Sequence[str], only: Sequence[str]) -> Overridden:
        """Apply the profile, then --set, then --only."""
        assert isinstance(self.root.value, dict)
        for key, node in self.root.value.items():
            if key not in KEYS:
                self.problems.add(node.where, f"{path_text([key])}: {unknown_key('key', key, KEYS)}")
        profiles = self._profiles(self.root.value.get("profiles"))
        self.root = replace(self.root, value=_known(self.root, Sections))
        if profile is not None:
            if profile not in profiles:
                raise InputError(f"{self.path}: {unknown_name('profile', profile, profiles)}")
            self.root = self._merged(self.root, profiles[profile], ())
        changes = [_Change.parse(text, self.problems) for text in sets]
        # `use` first: it replaces a component as a whole, whatever the order on the command line.
        for change in sorted((c for c in changes if c is not None), key=lambda change: not change.replaces_component):
            self.root = self._changed(self.root, change, 0)
        if only:
            assert isinstance(self.root.value, dict)
            filters = tuple(Node(Place(f"--only {shorten(visible(text))}", rank=SET_RANK), text) for text in only)
            self.root = replace(self.root, value={**self.root.value, "only": Node(filters[0].where, filters)})
        self._resolve_likes()
        self._expand_sweeps()
        return Overridden(self.root, tuple(profiles), self.labels_of_file, self.removed, self.refused, self.sweeps)

    def _profiles(self, node: Node | None) -> dict[str, Node]:
        if node is None:
            return {}
        shaped(Profiles, node, ("profiles",), self.problems, texts=True, noun="key", owner="a profile")
        profiles = node.value if isinstance(node.value, dict) else {}
        return {name: replace(profile, value=_known(profile, Override)) for name, profile in profiles.items()}

    def _merged(self, base: Node, override: Node, path: tuple[str, ...]) -> Node:
        """Return `base` with `override` laid over it: mappings are merged, lists and scalars replaced."""
        if not isinstance(base.value, dict) or not isinstance(override.value, dict):
            return override
        if is_component(path) and source_of(override) not in (None, source_of(base)):
            return override
        entries = dict(base.value)
        for key, node in override.value.items():
            inner = (*path, key)
            if node.value is None and not in_options(inner):
                if entries.pop(key, None) is None:
                    self.problems.add(
                        node.where,
                        f"{path_text(inner)}: null removes a key, but the suite has no {key!r} there."
                        f"{near_match(key, base.value)}",
                    )
                self.removed[inner] = node.where
            else:
                entries[key] = self._merged(entries[key], node, inner) if key in entries else node
        return replace(base, value=entries)

    def _changed(self, node: Node, change: _Change, depth: int) -> Node:
        """Return `node`, which stands at the first `depth` segments of the change's path, with the change made."""
        path, where = change.path[: depth + 1], change.where
        segment = path[-1]
        last = depth + 1 == len(change.path)
        if isinstance(node.value, tuple):
            if not segment.isdecimal() or int(segment) >= len(node.value):
                self.problems.add(
                    where, f"{path_text(path[:-1])}: no item {segment!r}, it is a list of {len(node.value)} (from 0)."
                )
                return node
            index = int(segment)
            item = change.value if last else self._changed(node.value[index], change, depth + 1)
            return replace(node, value=(*node.value[:index], item, *node.value[index + 1 :]))
        if not isinstance(node.value, dict):
            self.problems.add(
                where, f"{path_text(path[:-1])}: found {node.found()}, there is nothing named {segment!r}."
            )
            return node
        key = next((known for known in node.value if nfc(known) == nfc(segment)), segment)
        allowed = self._settable(path[:-1], node.value)
        is_new_component = last and is_component(path) and source_of(change.value) is not None
        if allowed is not None and key not in allowed and not is_new_component:
            noun = "label" if len(path) == 2 and path[0] in (*KINDS, "groups") else "key"
            holder = f"{path_text(path[:-1])}: " if depth else ""
            written = ".".join(change.path[depth:]) + "."
            dotted = next((name for name in allowed if "." in name and written.startswith(name + ".")), None)
            if dotted is None:
                unknown = unknown_key(noun, segment, allowed)
            else:
                quoted = path_text((*path[:-1], dotted))
                unknown = f"unknown {noun} {segment!r}. A name with dots is quoted: --set '{quoted}=…'."
            self.problems.add(where, f"{holder}{unknown}{who_removed(self.removed, (*path[:-1], segment))}")
            return node
        if last and change.value.value is None and allowed is not None:
            self.removed[*path[:-1], key] = where
            return replace(node, value={name: inner for name, inner in node.value.items() if name != key})
        if last:
            if change.replaces_component and source_of(node) != (key, change.value.text):
                return replace(node, value={key: change.value})
            return replace(node, value={**node.value, key: change.value})
        inner = node.value.get(key)
        if inner is None or inner.value is None:
            inner = self._default(path, where)
        return replace(node, value={**node.value, key: self._changed(inner, change, depth + 1)})

    def _settable(self, path: tuple[str, ...], present: Mapping[str, Node]) -> list[str] | None:
        """Return the keys that --set may name in the mapping at `path`; None where the options type decides."""
        if not path:
            return [key for key in KEYS if key != "profiles"]
        if len(path) >= 2 and path[0] in KINDS:
            return None
        steps = [int(step) if step.isdecimal() else step for step in path]
        known = [name for schema in schemas_at(_schema(), steps) for name in schema.get("properties", {})]
        return known or list(present)

    def _default(self, path: tuple[str, ...], where: Place) -> Node:
        """Return what the option at `path` holds where the suite does not give it: --set changes a part of that."""
        nothing = Node(where, {})
        if not in_options(path):
            return nothing
        components = children(self.root, path[0])
        source: tuple[str, str] | None = ("like", path[1])
        chain: set[str] = set()
        while source is not None and source[0] == "like" and source[1] not in chain:
            chain.add(source[1])
            source = source_of(components[source[1]]) if source[1] in components else None
        if source is None or source[0] == "like":
            return nothing
        use = source[1]
        try:
            owner: type[BaseModel] = self.registry.get(KINDS[path[0]], use).options_type()
        except PluginError:
            return nothing  # reported when the component is read
        default: Any = None
        for name in path[2:]:
            known = owner.model_fields.get(name)
            try:
                default = known.get_default(call_default_factory=True) if known is not None else None
            except (TypeError, ValueError):  # a factory that builds on other options
                return nothing
            if not isinstance(default, BaseModel):
                return nothing
            owner = type(default)
        return node_from_plain(default.model_dump(mode="json", exclude_unset=True), where)

    def _resolve_likes(self) -> None:
        """Give every component that is `like` another one its plugin and options; what it says itself goes on top."""
        assert isinstance(self.root.value, dict)
        for section in KINDS:
            given = children(self.root, section)
            labels = {nfc(label): label for label in given}
            resolved = {label: self._resolved(section, label, labels, ()) for label in given}
            if resolved:
                entries = replace(self.root.value[section], value=resolved)
                self.root = replace(self.root, value={**self.root.value, section: entries})

    def _resolved(self, section: str, label: str, labels: Mapping[str, str], chain: tuple[str, ...]) -> Node:
        node = children(self.root, section)[label]
        like = child(node, "like")
        path, chain = (section, label), (*chain, label)
        if like is None or path in self.refused:
            return node
        assert isinstance(node.value, dict)
        other = labels.get(nfc(like.text)) if like.is_scalar and like.value is not None else None
        wrong = ""
        if "use" in node.value:
            wrong = "give `use` or `like`, not both."
        elif not like.is_scalar or like.value is None:
            wrong = f"found {like.found()}, allowed: a label of {section}."
        elif other is None:
            known = [known for known in labels.values() if known != label]
            wrong = unknown_name(f"{KINDS[section]} label", like.text, known)
            wrong += who_removed(self.removed, (section, like.text))
        elif other in chain:
            wrong = f"goes round in a circle: {' → '.join((*chain, other))}."
        own = replace(node, value={key: value for key, value in node.value.items() if key != "like"})
        if wrong or other is None:
            self.problems.add(like.where, f"{path_text((*path, 'like'))}: {wrong}")
            self.refused.add(path)
            return own
        base = self._resolved(section, other, labels, chain)
        if (section, other) in self.refused:
            self.refused.add(path)
        return replace(self._merged(base, own, path), where=node.where)

    def _expand_sweeps(self) -> None:
        """Make an attack per budget, `pgd@4/255`, of one whose `eps` is a list; its own label stands for them all."""
        assert isinstance(self.root.value, dict)
        given = children(self.root, "attacks")
        expanded: dict[str, Node] = {}
        for label, node in given.items():
            eps = child(node, "eps")
            if eps is None or not isinstance(eps.value, tuple):
                expanded[label] = node
                continue
            assert isinstance(node.value, dict)
            path, seen = ("attacks", label, "eps"), dict[float, str]()
            if not eps.value:
                self.problems.add(eps.where, f"{path_text(path)}: a list of budgets needs at least one.")
            for item in eps.value:
                try:
                    budget = Budget(item.text if item.is_scalar else item.found())
                except ValueError as error:
                    self.problems.add(item.where, f"{path_text(path)}: in this list of budgets, {error}.")
                    continue
                one = f"{label}@{budget}"
                if budget in seen:
                    self.problems.add(item.where, f"{path_text(path)}: {budget} is there twice ({seen[budget]}).")
                elif one in given:
                    self.problems.add(item.where, f"{path_text(path)}: {budget} makes an attack {one!r}: one is there.")
                else:
                    seen[float(budget)] = str(budget)
                    expanded[one] = replace(node, value={**node.value, "eps": item})
            self.sweeps[nfc(label)] = tuple(f"{label}@{text}" for text in seen.values())
        if self.sweeps:
            entries = replace(self.root.value["attacks"], value=expanded)
            self.root = replace(self.root, value={**self.root.value, "attacks": entries})


@cache
def _schema() -> Schema:
    return type_schema(Sections)


def _known(node: Node, kind: type[BaseModel]) -> dict[str, Node]:
    """Return the entries that a type knows."""
    entries = node.value if isinstance(node.value, dict) else {}
    return {key: inner for key, inner in entries.items() if key in kind.model_fields}


@dataclass(frozen=True)
class _Change:
    """A `--set path=value`."""

    path: tuple[str, ...]
    value: Node
    where: Place

    @property
    def replaces_component(self) -> bool:
        return (
            len(self.path) == 3 and self.path[0] in KINDS and self.path[2] in ("use", "like") and self.value.is_scalar
        )

    @classmethod
    def parse(cls, text: str, problems: Problems) -> _Change | None:
        where = Place(f"--set {shorten(visible(text))}", rank=SET_RANK)
        path, rest = _split_path(text)
        if rest is None or not rest.startswith("="):
            problems.add(where, "write --set PATH=VALUE, such as --set attacks.pgd.eps=4/255; quote a name with dots.")
            return None
        written = rest[1:].strip()
        inner = Problems()
        if not written:
            return cls(path, Node(where, None), where)
        try:
            value = parse(written, where, inner, flow_only=True)
            inner.raise_if_any()
        except InputError as error:
            for line in str(error).splitlines():
                problems.add(where, line.removeprefix(f"{where}: "))
            return None
        if value.is_scalar and written[0] not in "'\"" and value.text != written:
            problems.add(where, f"the value reads as {value.text!r}: quote it.")
            return None
        return cls(path, value, where)


def _split_path(text: str) -> tuple[tuple[str, ...], str | None]:
    """Split the path off `path=value`: segments between dots, quoted where they hold dots; a doubled quote is one."""
    segments: list[str] = []
    quoted = r'"(?:[^"]|"")*"|' + r"'(?:[^']|'')*'"
    while True:
        match = re.match(rf"({quoted})|([^.=\"']+)", text)
        if match is None:
            return tuple(segments), None
        if match[1]:
            quote = match[1][0]
            segments.append(match[1][1:-1].replace(quote * 2, quote))
        else:
            segments.append(match[2].strip())
        text = text[match.end() :]
        if not text.startswith("."):
            return tuple(segments), text
        text = text[1:]
