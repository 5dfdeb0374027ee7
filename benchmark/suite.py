"""Suite files: what to run, validated against the installed plugins before any work starts (docs/suites.md)."""

from __future__ import annotations

import csv
import importlib.metadata
import io
import itertools
import math
import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from benchmark.document import (
    SUFFIXES,
    Node,
    Place,
    Problems,
    node_from_plain,
    parse,
    path_text,
    read_text,
    shorten,
)
from benchmark.errors import InputError, PluginError, near_match, unknown_name
from benchmark.explain import explain, unknown_key
from benchmark.options import Budget, Options
from benchmark.plugins import GROUP, Registry, validate_options
from benchmark.selection import CLEAN, WORST_OF, Filter, GridEntry, Point, Substitute, points_of

SECTIONS = {"dataset": "datasets", "model": "models", "attack": "attacks", "defense": "defenses"}
"""Kind of component → the section of the suite that holds them, which is also the axis of the grid."""

KNOWLEDGE = ("white-box", "gray-box", "gray-box-retrained", "black-box")
"""What the attacker holds, the most first."""
USUAL_KNOWLEDGE = "gray-box"
"""That of grid entries which do not say."""

ProbeName = Literal[
    "one-step",
    "knowledge",
    "large-budget",
    "random-search",
    "unavailable-gradients",
    "unstable-predictions",
    "silent-success",
    "incomplete-optimisation",
    "transfer-failure",
    "unconstrained-failure",
    "more-steps",
    "random-draws",
]
"""Checks of attacks, and for masked gradients; `benchmark.probes` says what each compares."""

ALL = "all"
RESERVED = {kind: (ALL, CLEAN) if kind == "attack" else (ALL,) for kind in SECTIONS}
"""Labels that mean something else."""

LABEL_LENGTH = 300
REFERENCE_COLUMNS = (
    *("table", "row", "column", "dataset", "model", "attack", "defense", "knowledge", "artifact", "metric", "value"),
)
_REFERENCE_LABELS = ("dataset", "model", "attack", "defense", "artifact")
_REFERENCE_KEYS = ("table", "rows", "stand_ins")

_KINDS = {section: kind for kind, section in SECTIONS.items()}
_GRID_KEYS = (*_KINDS, "knowledge", "substitute", "exclude")
_SUBSTITUTE = {"model": "models", "defense": "defenses"}
_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"
_SET_RANK = 2


@dataclass(frozen=True)
class Component:
    """A data set, model, attack or defense of a suite.

    Attributes:
        label: the user's name for it.
        kind: dataset, model, attack or defense.
        use: name of the plugin.
        options: as the plugin's options type holds them.
        where: file and line.
    """

    label: str
    kind: str
    use: str
    options: Options
    where: str = field(compare=False)

    def plain(self) -> dict[str, Any]:
        """Return all options, defaults included, as plain JSON data: what a content key holds."""
        return self.options.model_dump(mode="json")


@dataclass(frozen=True)
class Protocol:
    """How detectors are measured."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True)

    false_positive_rate: Annotated[float, Field(gt=0, lt=1)] = 0.05
    """Share of clean validation images that a detector's threshold may flag."""

    success: Literal["initially-correct", "any-wrong"] = "initially-correct"
    """Which attacks count as successful: the clean image was classified rightly and the attacked one wrongly, or the
    attacked one wrongly in any case."""

    repeats: Annotated[int, Field(ge=1)] = 5
    """Judgements of a randomised defense."""

    draws: Annotated[int, Field(ge=1)] = 10
    """Draws of a randomised defense over which an attacker who knows it averages in each pass (expectation over
    transformation, Athalye et al. 2018, arXiv:1707.07397)."""

    split: Literal["test", "val"] = "test"
    """Images that are attacked and judged. `val` is for choosing a hyperparameter, such as the epsilon of adversarial
    training; not for defenses with scores, whose thresholds are set on these images."""


class Head(Options):
    """The part of a suite file that names no component."""

    suite: str = Field(pattern=_NAME, max_length=100)
    """Name of the suite: letters, digits, `_`, `-` and `.`."""

    title: str = ""
    """What a report is called."""

    description: str = ""
    """What the suite shows, and its limits."""

    cite: str | tuple[str, ...] = ()
    """What the suite reproduces: a reference, or a list of them."""

    seeds: tuple[Annotated[int, Field(ge=0, le=2**32 - 1)], ...] = Field((0,), min_length=1)
    """Everything is run once per seed."""

    protocol: Protocol = Protocol()
    """How detectors are measured."""

    batch_size: int = Field(128, ge=1)
    """Images per batch while adversarial examples are crafted and judged; part of the answer's identity."""

    threads: int = Field(1, ge=1)
    """CPU threads per task."""

    gpu: bool = False
    """Meant for a GPU: on a machine without one, planning and running say so. It changes nothing else."""

    probes: tuple[ProbeName, ...] = ()
    """Checks to make of every attack, and for masked gradients of every defense: a value, its n, and pass, fail or not
    run."""

    separation: tuple[str, ...] = ()
    """Layers, such as `penultimate`, at which it is measured how far apart the classes of clean images lie."""

    only: tuple[str, ...] = ()
    """Filters of cells, such as `attack=pgd*,defense=none`: a cell is run if one of them fits. `--only` on the command
    line takes their place."""


_HEAD_KEYS = tuple(Head.model_fields)
_KEYS = (*_HEAD_KEYS, *_KINDS, "grid", "groups", "reference", "profiles")


@dataclass(frozen=True)
class Suite:
    """A validated suite. Two suites are equal when they run the same, wherever they were read from.

    Attributes:
        groups: label → attacks whose worst case per image is measured.
        batch_size: images per batch while crafting and judging.
        threads: CPU threads per task.
        gpu: meant for a GPU.
        probes: checks of attacks, and for masked gradients, by name.
        separation: layers at which the separation of classes is measured.
        only: filters; where there are any, a cell is run if one of them fits.
        reference: published numbers, a row each: dataset, model, attack, defense, knowledge (texts, "" = any),
            metric, value (float), and `table`, where it was published ("" = not said). `attack` may also name a group,
            or be "none" for clean images. `artifact` makes it a measure of that shared artifact, such as "extractor",
            instead of a cell's.
        profile: the profile that was applied.
        profiles: names of all profiles of the file.
        path: the file.
        resolved: the suite after profile and --set as plain data; dumped by `benchmark.document.dump` and loaded
            again it gives an equal suite.
    """

    name: str
    title: str
    description: str
    cite: tuple[str, ...]
    seeds: tuple[int, ...]
    datasets: Mapping[str, Component]
    models: Mapping[str, Component]
    attacks: Mapping[str, Component]
    defenses: Mapping[str, Component]
    grid: tuple[GridEntry, ...]
    groups: Mapping[str, tuple[str, ...]]
    protocol: Protocol
    batch_size: int
    threads: int
    gpu: bool
    probes: tuple[ProbeName, ...]
    separation: tuple[str, ...]
    only: tuple[Filter, ...]
    reference: tuple[Mapping[str, Any], ...]
    profile: str | None = field(compare=False)
    profiles: tuple[str, ...] = field(compare=False)
    path: Path = field(compare=False)
    resolved: dict[str, Any] = field(compare=False, repr=False)

    def points(self) -> Iterator[Point]:
        """Yield the cells that are run, in order; what several grid entries name comes several times."""
        return points_of(self.grid, self.seeds, self.only)


def load_suite(
    path_or_name: str,
    *,
    registry: Registry,
    profile: str | None = None,
    sets: Sequence[str] = (),
    only: Sequence[str] = (),
) -> Suite:
    """Return the suite of a file, or the one of that name that ships with an installed distribution.

    Args:
        path_or_name: a path that ends in .yaml or .yml, or a name.
        registry: the plugins.
        profile: name of the profile whose overrides are applied.
        sets: changes `path=value`, applied after the profile.

    Raises:
        InputError: all that is wrong, a line each.
    """
    path = find_suite(path_or_name)
    problems = Problems()
    file = Place(str(path))
    root = parse(read_text(str(path), problems), file, problems)
    if not isinstance(root.value, dict):
        problems.fatal(root.where, f"found {root.found()}; a suite is a mapping that begins with `suite: NAME`.")
    reader = _Reader(registry, problems, path, root)
    reader.apply(profile, sets, only)
    return reader.suite(profile)


def find_suite(path_or_name: str) -> Path:
    """Return the file of a suite.

    Raises:
        InputError: no suite of that name ships with an installed distribution, or two distributions ship one.
    """
    is_path = path_or_name.lower().endswith(SUFFIXES) or "/" in path_or_name or os.sep in path_or_name
    shipped = {} if is_path else shipped_suites()
    found = shipped.get(path_or_name)
    if found is None:
        if is_path and not os.path.exists(path_or_name) and Path(path_or_name).stem in shipped_suites():
            raise InputError(
                f"{path_or_name}: no such file. A suite of that name ships with an installed distribution: write "
                f"{Path(path_or_name).stem!r} instead of a path."
            )
        if is_path or os.path.exists(path_or_name):
            return Path(path_or_name)
        sentence = unknown_name("suite", path_or_name, shipped)
        raise InputError(f"{sentence} A path ends in .yaml.")
    if len(found) > 1:
        raise InputError(
            f"several distributions ship a suite {path_or_name!r}; name the file: {', '.join(map(str, found))}."
        )
    return found[0]


def shipped_suites() -> dict[str, tuple[Path, ...]]:
    """Return name → files of the suites that ship with distributions that have plugins, and with this checkout."""
    found: dict[str, dict[str, Path]] = {}
    for entry_point in importlib.metadata.entry_points(group=GROUP):
        distribution = entry_point.dist
        if distribution is None:
            continue
        for file in distribution.files or ():
            if file.suffix in SUFFIXES and file.parts[-4:-1] == ("share", distribution.name, "suites"):
                path = Path(str(distribution.locate_file(file))).resolve()
                found.setdefault(file.stem, {})[distribution.name] = path
    checkout = Path(__file__).resolve().parent.parent
    if (checkout / "pyproject.toml").is_file():  # an installed package has other distributions' folders beside it
        for path in (checkout / "suites").glob("*.yaml"):
            found.setdefault(path.stem, {})["unmask-bench"] = path
    return {name: tuple(files.values()) for name, files in sorted(found.items())}


class _Reader:
    """Turns the tree of a suite file into a suite; what is wrong goes into `problems`."""

    def __init__(self, registry: Registry, problems: Problems, path: Path, root: Node) -> None:
        self.registry = registry
        self.problems = problems
        self.path = path
        self.root = root
        self.labels_of_file = {section: set(_entries(root, section)) for section in (*_KINDS, "groups")}
        for label, node in _entries(root, "attacks").items():
            budgets = _entry(node, "eps")
            if budgets is not None and isinstance(budgets.value, tuple):
                self.labels_of_file["attacks"] |= {f"{label}@{item.text}" for item in budgets.value}
        self.removed: dict[tuple[str, ...], Place] = {}
        self.refused: set[tuple[str, str]] = set()  # components whose `like` leads nowhere
        self.labels: dict[str, dict[str, str]] = {}  # section → label after NFC → label
        self.sweeps: dict[str, tuple[str, ...]] = {}  # label of a list of budgets after NFC → one label per budget

    # Overrides

    def apply(self, profile: str | None, sets: Sequence[str], only: Sequence[str]) -> None:
        """Apply the profile, then --set, then --only."""
        assert isinstance(self.root.value, dict)
        for key, node in self.root.value.items():
            if key not in _KEYS:
                self.problems.add(node.where, f"{path_text([key])}: {unknown_key('key', key, _KEYS)}")
        profiles = self._profiles(self.root.value.get("profiles"))
        self.profiles = tuple(profiles)
        known = {key: node for key, node in self.root.value.items() if key in _KEYS and key != "profiles"}
        self.root = replace(self.root, value=known)
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
            filters = tuple(Node(Place(f"--only {shorten(_visible(text))}", rank=_SET_RANK), text) for text in only)
            self.root = replace(self.root, value={**self.root.value, "only": Node(filters[0].where, filters)})
        self._resolve_likes()
        self._expand_sweeps()

    def _profiles(self, node: Node | None) -> dict[str, Node]:
        profiles: dict[str, Node] = {}
        for name, override in self._mapping(node, ("profiles",), "names of profiles, with overrides").items():
            where = path_text(("profiles", name))
            if not re.fullmatch(_NAME, name) or len(name) > 100:
                self.problems.add(
                    override.where, f"{where}: the name of a profile has letters, digits, '_', '-' and '.' only."
                )
            inner = self._mapping(override, ("profiles", name), "overrides such as {seeds: [0]}")
            allowed = [key for key in _KEYS if key not in ("suite", "profiles")]
            for key, value in inner.items():
                if key not in allowed:
                    self.problems.add(
                        value.where,
                        f"{path_text(('profiles', name, key))}: {unknown_key('key', key, allowed, ' in a profile')}",
                    )
            profiles[name] = replace(override, value={key: inner[key] for key in inner if key in allowed})
        return profiles

    def _merged(self, base: Node, override: Node, path: tuple[str, ...]) -> Node:
        """Return `base` with `override` laid over it: mappings are merged, lists and scalars replaced."""
        if not isinstance(base.value, dict) or not isinstance(override.value, dict):
            return override
        if _is_component(path) and _source(override) not in (None, _source(base)):
            return override
        entries = dict(base.value)
        for key, node in override.value.items():
            inner = (*path, key)
            if node.value is None and not _in_options(inner):
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
        key = next((known for known in node.value if _nfc(known) == _nfc(segment)), segment)
        allowed = self._settable(path[:-1], node.value)
        is_new_component = last and _is_component(path) and _source(change.value) is not None
        if allowed is not None and key not in allowed and not is_new_component:
            noun = "label" if len(path) == 2 and path[0] in (*_KINDS, "groups") else "key"
            holder = f"{path_text(path[:-1])}: " if depth else ""
            written = ".".join(change.path[depth:]) + "."
            dotted = next((name for name in allowed if "." in name and written.startswith(name + ".")), None)
            if dotted is None:
                unknown = unknown_key(noun, segment, allowed)
            else:
                quoted = path_text((*path[:-1], dotted))
                unknown = f"unknown {noun} {segment!r}. A name with dots is quoted: --set '{quoted}=…'."
            self.problems.add(where, f"{holder}{unknown}{self._who_removed((*path[:-1], segment))}")
            return node
        if last and change.value.value is None and allowed is not None:
            self.removed[*path[:-1], key] = where
            return replace(node, value={name: inner for name, inner in node.value.items() if name != key})
        if last:
            if change.replaces_component and _source(node) != (key, change.value.text):
                return replace(node, value={key: change.value})
            return replace(node, value={**node.value, key: change.value})
        inner = node.value.get(key)
        if inner is None or inner.value is None:
            inner = self._default(path, where)
        return replace(node, value={**node.value, key: self._changed(inner, change, depth + 1)})

    def _settable(self, path: tuple[str, ...], present: Mapping[str, Node]) -> list[str] | None:
        """Return the keys that --set may name in the mapping at `path`; None where the options type decides."""
        if not path:
            return [key for key in _KEYS if key != "profiles"]
        if len(path) >= 2 and path[0] in _KINDS:
            return None
        if path == ("protocol",):
            return [known.name for known in fields(Protocol)]
        if path == ("reference",):
            return list(_REFERENCE_KEYS)
        if len(path) == 2 and path[0] == "grid":
            return list(_GRID_KEYS)
        if len(path) == 4 and path[0] == "grid" and path[2] == "exclude":
            return list(_KINDS)
        return list(present)

    def _default(self, path: tuple[str, ...], where: Place) -> Node:
        """Return what the option at `path` holds where the suite does not give it: --set changes a part of that."""
        nothing = Node(where, {})
        if not _in_options(path):
            return nothing
        components = _entries(self.root, path[0])
        source: tuple[str, str] | None = ("like", path[1])
        chain: set[str] = set()
        while source is not None and source[0] == "like" and source[1] not in chain:
            chain.add(source[1])
            source = _source(components[source[1]]) if source[1] in components else None
        if source is None or source[0] == "like":
            return nothing
        use = source[1]
        try:
            owner: type[BaseModel] = self.registry.get(_KINDS[path[0]], use).options_type()
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
        for section in _KINDS:
            given = _entries(self.root, section)
            labels = {_nfc(label): label for label in given}
            resolved = {label: self._resolved(section, label, labels, ()) for label in given}
            if resolved:
                entries = replace(self.root.value[section], value=resolved)
                self.root = replace(self.root, value={**self.root.value, section: entries})

    def _resolved(self, section: str, label: str, labels: Mapping[str, str], chain: tuple[str, ...]) -> Node:
        node = _entries(self.root, section)[label]
        like = _entry(node, "like")
        path, chain = (section, label), (*chain, label)
        if like is None or path in self.refused:
            return node
        assert isinstance(node.value, dict)
        other = labels.get(_nfc(like.text)) if like.is_scalar and like.value is not None else None
        wrong = ""
        if "use" in node.value:
            wrong = "give `use` or `like`, not both."
        elif not like.is_scalar or like.value is None:
            wrong = f"found {like.found()}, allowed: a label of {section}."
        elif other is None:
            known = [known for known in labels.values() if known != label]
            wrong = unknown_name(f"{_KINDS[section]} label", like.text, known)
            wrong += self._who_removed((section, like.text))
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
        given = _entries(self.root, "attacks")
        expanded: dict[str, Node] = {}
        for label, node in given.items():
            eps = _entry(node, "eps")
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
            self.sweeps[_nfc(label)] = tuple(f"{label}@{text}" for text in seen.values())
        if self.sweeps:
            entries = replace(self.root.value["attacks"], value=expanded)
            self.root = replace(self.root, value={**self.root.value, "attacks": entries})

    # Reading

    def suite(self, profile: str | None) -> Suite:
        head = self._head()
        components = {section: self._components(kind, section) for kind, section in SECTIONS.items()}
        grid = self._grid()
        groups = self._groups(components["attacks"])
        reference = self._reference()
        self.problems.raise_if_any()
        assert head is not None
        only = self._only(grid, head.seeds)
        self.problems.raise_if_any()
        cite = (head.cite,) if isinstance(head.cite, str) else head.cite
        resolved: dict[str, Any] = {
            "suite": head.suite,
            "title": head.title,
            "description": head.description,
            "cite": list(cite),
            "seeds": list(head.seeds),
        }
        for section in _KINDS:
            resolved[section] = {label: node.plain() for label, node in _entries(self.root, section).items()}
            for label, component in components[section].items():
                resolved[section][label]["use"] = component.use
        resolved["grid"] = [_plain_entry(entry) for entry in grid]
        resolved["groups"] = {label: list(attacks) for label, attacks in groups.items()}
        resolved["protocol"] = asdict(head.protocol)
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
            resolved["reference"] = {
                "rows": [{key: row[key] for key in row if row[key] not in ("", None)} for row in reference]
            }
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
            profiles=self.profiles,
            path=self.path,
            resolved=resolved,
        )

    def _head(self) -> Head | None:
        assert isinstance(self.root.value, dict)
        given = {key: node for key, node in self.root.value.items() if key in _HEAD_KEYS}
        node = replace(self.root, value=given)
        for required in ("datasets", "models", "defenses", "grid"):
            if required not in self.root.value:
                self.problems.add(
                    self.root.where, f"{required}: missing: a suite needs it.{self._who_removed((required,))}"
                )
        seeds = given.get("seeds")
        seen: dict[Any, Place] = {}
        for item in seeds.value if seeds is not None and isinstance(seeds.value, tuple) else ():
            if isinstance(item.value, int) and item.value in seen:
                self.problems.add(item.where, f"seeds: {item.value} is there twice.")
            seen[item.value if item.is_scalar else None] = item.where
        try:
            head = validate_options(Head, node.plain())
        except ValidationError as error:
            explain(error, Head, node, (), self.problems, noun="key", owner="a suite")
            return None
        assert isinstance(head, Head)
        return head

    def _only(self, grid: Sequence[GridEntry], seeds: Sequence[int]) -> tuple[Filter, ...]:
        node = _entry(self.root, "only")
        labels = [point.labels() for point in points_of(grid, seeds)] if node is not None else []
        filters = []
        for item in node.value if node is not None and isinstance(node.value, tuple) else ():
            try:
                filters.append(Filter.parse(str(item.value)))
                filters[-1].check(labels)
            except InputError as error:
                written = item.where.rank == _SET_RANK  # on the command line, which is told as the place
                self.problems.add(item.where, str(error) if written else f"only: {shorten(str(item.value))!r}: {error}")
        return tuple(filters)

    def _components(self, kind: str, section: str) -> dict[str, Component]:
        entries = self._mapping(_entry(self.root, section), (section,), "labels, such as {NAME: {use: PLUGIN}}")
        self.labels[section] = self._check_labels(entries, section, RESERVED[kind])
        components = {}
        for label, node in entries.items():
            component = self._component(kind, label, node)
            if component is not None:
                components[label] = component
        return components

    def _component(self, kind: str, label: str, node: Node) -> Component | None:
        path = (SECTIONS[kind], label)
        known = ", ".join(self.registry.names(kind)) or "none"
        if not isinstance(node.value, dict):
            self.problems.add(
                node.where,
                f"{path_text(path)}: found {node.found()}, allowed: a mapping such as {{use: NAME}}. Known: {known}.",
            )
            return None
        name = node.value.get("use")
        if path in self.refused:
            return None
        if name is None or not name.is_scalar or name.value is None:
            found = "missing" if name is None else f"found {name.found()}"
            self.problems.add(
                (name or node).where,
                f"{path_text((*path, 'use'))}: {found}: the name of a plugin is needed. Known: {known}.",
            )
            return None
        use = name.text
        given = replace(node, value={key: value for key, value in node.value.items() if key != "use"})
        try:
            options_type = self.registry.get(kind, use).options_type()
        except PluginError as error:
            self.problems.add(name.where, f"{path_text((*path, 'use'))}: {error}")
            return None
        try:
            options = validate_options(options_type, given.plain())
        except ValidationError as error:
            explain(error, options_type, given, path, self.problems, owner=f"{kind} {use!r}")
        except (Exception, SystemExit) as error:
            self.problems.add(
                node.where,
                f"{path_text(path)}: the options of the {kind} plugin {use!r} cannot be checked: "
                f"{type(error).__name__}: {error}",
            )
        else:
            return Component(label, kind, use, options, str(node.where))
        return None

    def _check_labels(self, entries: Mapping[str, Node], section: str, reserved: Sequence[str] = ()) -> dict[str, str]:
        """Check labels, and return label after NFC → label."""
        labels: dict[str, str] = {}
        for label, node in entries.items():
            shown = path_text((section, shorten(label)))
            same = labels.setdefault(_nfc(label), label)
            wrong = ""
            if not label.strip():
                wrong = "a label must not be blank."
            elif len(label) > LABEL_LENGTH:
                wrong = f"a label of {len(label)} characters is too long, at most {LABEL_LENGTH} are allowed."
            elif any(unicodedata.category(c) in ("Cc", "Zl", "Zp") for c in label):
                wrong = "a label must not hold line breaks or control characters."
            elif label in reserved:
                meaning = "clean images" if label == CLEAN else "every label"
                wrong = f"{label!r} is reserved: in a grid it means {meaning}. Choose another label."
            elif CLEAN in reserved and _nfc(label).strip().startswith(WORST_OF.strip()):
                wrong = f"{WORST_OF.strip()!r} is how the tables name groups of attacks. Choose another label."
            elif same != label:
                wrong = f"reads the same as the label on line {entries[same].where.line}. Choose another label."
            if wrong:
                self.problems.add(node.where, f"{shown}: {wrong}")
        return labels

    def _mapping(self, node: Node | None, path: Sequence[str], example: str) -> dict[str, Node]:
        if node is None:
            return {}
        entries = node.value if isinstance(node.value, dict) else {}
        empty_is_fine = tuple(path) in (("attacks",), ("groups",), ("profiles",))
        if not (entries or (empty_is_fine and (node.value is None or node.value == {}))):
            found = "an empty mapping" if node.value == {} else node.found()
            self.problems.add(node.where, f"{path_text(path)}: found {found}, allowed: a mapping of {example}.")
        return entries

    def _who_removed(self, path: tuple[str, ...]) -> str:
        return f" ({self.removed[path]} removes it.)" if path in self.removed else ""

    # Grid

    def _grid(self) -> tuple[GridEntry, ...]:
        node = _entry(self.root, "grid")
        if node is None:
            return ()
        if not isinstance(node.value, tuple):
            self.problems.add(
                node.where, f"grid: found {node.found()}, allowed: a list of entries such as - {{attacks: all}}."
            )
            return ()
        if not node.value:
            self.problems.add(node.where, "grid: empty grid: it needs at least one entry.")
        entries: list[GridEntry] = []
        for index, item in enumerate(node.value):
            entries += self._grid_entries(item, ("grid", str(index)))
        return tuple(entries)

    def _grid_entries(self, node: Node, path: tuple[str, ...]) -> Iterable[GridEntry]:
        if not isinstance(node.value, dict):
            self.problems.add(
                node.where, f"{path_text(path)}: found {node.found()}, allowed: a mapping such as {{attacks: all}}."
            )
            return ()
        for key, value in node.value.items():
            if key not in _GRID_KEYS:
                self.problems.add(value.where, f"{path_text((*path, key))}: {unknown_key('key', key, _GRID_KEYS)}")
        axes = {section: self._axis(node.value.get(section), section, path) for section in _KINDS}
        for section in ("datasets", "models", "defenses"):
            if axes[section] == () and self.labels[section]:
                self.problems.add(node.where, f"{path_text((*path, section))}: empty grid: no label is selected.")
        knowledge = self._knowledge(node.value.get("knowledge"), path)
        substitutes = self._substitutes(node, knowledge, path)
        rules = self._exclude(node.value.get("exclude"), axes, path)
        if None in axes.values() or not all(axes[section] for section in ("datasets", "models", "defenses")):
            return ()
        selected = {section: labels or () for section, labels in axes.items()}
        if _excludes_all(selected, rules):
            self.problems.add(node.where, f"{path_text(path)}: empty grid: `exclude` leaves nothing of this entry.")
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

    def _axis(self, node: Node | None, section: str, path: tuple[str, ...]) -> tuple[str, ...] | None:
        """Return the labels that an axis selects; None where it cannot be read."""
        known = tuple(self.labels[section].values())
        if node is None or (isinstance(node.value, str) and node.value == ALL):
            return known
        return self._labels(node, section, (*path, section))

    def _labels(self, node: Node, section: str, path: tuple[str, ...]) -> tuple[str, ...] | None:
        """Return the labels of a list, or of a single label; None where one is wrong."""
        items = node.value if isinstance(node.value, tuple) else (node,)
        chosen: dict[str, None] = {}
        good = True
        for item in items:
            swept = self.sweeps.get(_nfc(item.text)) if section == "attacks" and item.is_scalar else None
            for label in (self._label(item, section, path),) if swept is None else swept:
                if label is None:
                    good = False
                elif label in chosen:
                    self.problems.add(item.where, f"{path_text(path)}: the label {label!r} is there twice.")
                else:
                    chosen[label] = None
        return tuple(chosen) if good else None

    def _label(self, node: Node, section: str, path: tuple[str, ...]) -> str | None:
        known = self.labels[section]
        if not node.is_scalar or (node.value is None and node.text not in known):
            self.problems.add(
                node.where, f"{path_text(path)}: found {node.found()}, allowed: 'all', a label, or a list of labels."
            )
            return None
        label = known.get(_nfc(node.text))
        if label is None:
            if (
                not known
                and _entries(self.root, section) == {}
                and (section != "attacks" or _entry(self.root, section) is not None)
            ):
                return None  # the section itself was refused
            kind = _KINDS[section]
            advice = self._who_removed((section, node.text))
            if section == "attacks" and node.text == CLEAN:
                advice = " Clean images are always part of the grid; `attacks: []` runs them alone."
            elif node.text == ALL:
                advice = " 'all' stands alone, not in a list."
            self.problems.add(
                node.where, f"{path_text(path)}: {unknown_name(f'{kind} label', node.text, known.values())}{advice}"
            )
        return label

    def _knowledge(self, node: Node | None, path: tuple[str, ...]) -> tuple[str, ...]:
        if node is None:
            return (USUAL_KNOWLEDGE,)
        items = node.value if isinstance(node.value, tuple) else (node,)
        chosen: list[str] = []
        for item in items:
            if item.value not in KNOWLEDGE:
                near = near_match(item.value, KNOWLEDGE) if isinstance(item.value, str) else ""
                self.problems.add(
                    item.where,
                    f"{path_text((*path, 'knowledge'))}: found {item.found()}, allowed: {', '.join(KNOWLEDGE)}.{near}",
                )
            elif item.value in chosen:
                self.problems.add(item.where, f"{path_text((*path, 'knowledge'))}: {item.value!r} is there twice.")
            else:
                chosen.append(str(item.value))
        if not items:
            self.problems.add(node.where, f"{path_text((*path, 'knowledge'))}: empty grid: no knowledge is selected.")
        return tuple(chosen)

    def _substitutes(self, entry: Node, knowledge: Sequence[str], path: tuple[str, ...]) -> tuple[Substitute, ...]:
        assert isinstance(entry.value, dict)
        node = entry.value.get("substitute")
        inner = (*path, "substitute")
        if node is None or (node.value is None and node.text not in self.labels["models"]):
            if "black-box" in knowledge:
                models = ", ".join(self.labels["models"].values())
                self.problems.add(
                    entry.where,
                    f"{path_text(inner)}: missing: black-box attacks are crafted on another network; name its model. "
                    f"Known: {models}.",
                )
            return ()
        if "black-box" not in knowledge and knowledge:
            self.problems.add(
                node.where, f"{path_text(inner)}: only `knowledge: black-box` uses it, this entry is {knowledge[0]}."
            )
        if node.value == ():
            self.problems.add(node.where, f"{path_text(inner)}: an empty list, allowed: one network or several.")
        chosen: list[Substitute] = []
        for item in node.value if isinstance(node.value, tuple) else (node,):
            one = self._substitute(item, inner)
            if one in chosen:
                self.problems.add(item.where, f"{path_text(inner)}: {one} is there twice.")
            elif one is not None:
                chosen.append(one)
        return tuple(chosen)

    def _substitute(self, node: Node, inner: tuple[str, ...]) -> Substitute | None:
        if not isinstance(node.value, dict):
            model = self._label(node, "models", inner)
            return None if model is None else Substitute(model)
        labels: dict[str, str | None] = {}
        for kind, value in node.value.items():
            if kind not in _SUBSTITUTE:
                self.problems.add(value.where, f"{path_text((*inner, kind))}: {unknown_key('key', kind, _SUBSTITUTE)}")
            else:
                labels[kind] = self._label(value, _SUBSTITUTE[kind], (*inner, kind))
        if "model" not in node.value:
            self.problems.add(
                node.where, f"{path_text((*inner, 'model'))}: missing: the label of the model that the attacker trains."
            )
        model = labels.get("model")
        return None if model is None else Substitute(model, labels.get("defense"))

    def _exclude(
        self, node: Node | None, axes: Mapping[str, tuple[str, ...] | None], path: tuple[str, ...]
    ) -> tuple[Mapping[str, tuple[str, ...]], ...]:
        path = (*path, "exclude")
        if node is None:
            return ()
        if not isinstance(node.value, tuple):
            self.problems.add(
                node.where,
                f"{path_text(path)}: found {node.found()}, allowed: a list of rules such as - {{models: LABEL}}.",
            )
            return ()
        rules: list[Mapping[str, tuple[str, ...]]] = []
        for index, item in enumerate(node.value):
            inner = (*path, str(index))
            if not isinstance(item.value, dict) or not item.value:
                found = "an empty mapping" if isinstance(item.value, dict) else item.found()
                self.problems.add(
                    item.where, f"{path_text(inner)}: found {found}, allowed: a mapping such as {{models: LABEL}}."
                )
                continue
            rule: dict[str, tuple[str, ...]] = {}
            for axis, labels in item.value.items():
                if axis not in _KINDS:
                    self.problems.add(labels.where, f"{path_text((*inner, axis))}: {unknown_key('axis', axis, _KINDS)}")
                    continue
                everything = isinstance(labels.value, str) and labels.value == ALL
                chosen = axes[axis] if everything else self._labels(labels, axis, (*inner, axis))
                if chosen is None or axes[axis] is None:
                    continue
                rule[axis] = chosen
                absent = [label for label in chosen if label not in (axes[axis] or ())]
                if absent or not chosen:
                    why = f"this grid entry does not select {', '.join(map(repr, absent))}" if absent else "empty list"
                    self.problems.add(labels.where, f"{path_text((*inner, axis))}: the rule excludes nothing: {why}.")
            if len(rule) == len(item.value):
                rules.append(rule)
        return tuple(rules)

    def _groups(self, components: Mapping[str, Component]) -> dict[str, tuple[str, ...]]:
        entries = self._mapping(_entry(self.root, "groups"), ("groups",), "labels, such as {NAME: [ATTACK, ATTACK]}")
        self.labels["groups"] = self._check_labels(entries, "groups", RESERVED["attack"])
        groups: dict[str, tuple[str, ...]] = {}
        for label, node in entries.items():
            path = ("groups", label)
            if _nfc(label) in {*self.labels["attacks"], *self.sweeps}:
                self.problems.add(node.where, f"{path_text(path)}: an attack has this label. Choose another one.")
            if isinstance(node.value, str) and node.value == ALL:
                attacks: tuple[str, ...] | None = tuple(self.labels["attacks"].values())
            else:
                attacks = self._labels(node, "attacks", path)
                if attacks is not None:
                    self._check_budgets(node, path, [components[a] for a in attacks if a in components])
            if attacks == ():
                self.problems.add(node.where, f"{path_text(path)}: a group needs at least one attack.")
            groups[label] = attacks or ()
        return groups

    def _check_budgets(self, node: Node, path: Sequence[str], attacks: Sequence[Component]) -> None:
        """Refuse a group that names an attack without a budget beside none at whose budget it could count."""
        bounded = {attack.options.norm for attack in attacks if attack.options.eps is not None}  # type: ignore[attr-defined]
        for attack in attacks:
            norm, eps = attack.options.norm, attack.options.eps  # type: ignore[attr-defined]
            if eps is None and norm not in bounded:
                self.problems.add(
                    node.where,
                    f"{path_text(path)}: the attack {attack.label!r} has no budget, and the group has none in {norm} "
                    "at which it could count: without one it wins every worst case. Give it `eps`, name an attack with "
                    f"a budget in {norm} beside it, or leave it out.",
                )

    # Published numbers

    def _reference(self) -> tuple[Mapping[str, Any], ...]:
        node = _entry(self.root, "reference")
        if node is None:
            return ()
        rows: list[tuple[Place, dict[str, str]]] = []
        stand_ins: dict[str, dict[str, str]] = {}
        for key, value in self._mapping(node, ("reference",), "`table`, a CSV file").items():
            if key == "table":
                rows += self._tables(value)
            elif key == "rows":
                rows += self._inline_rows(value)
            elif key == "stand_ins":
                stand_ins = self._stand_ins(value)
            else:
                self.problems.add(
                    value.where, f"{path_text(('reference', key))}: {unknown_key('key', key, _REFERENCE_KEYS)}"
                )
        self._check_stand_ins(stand_ins, _entry(node, "stand_ins"), [row for _, row in rows])
        reference: list[Mapping[str, Any]] = []
        seen: dict[tuple[str, ...], Place] = {}
        run: set[str] = set()
        for where, row in rows:
            checked = self._reference_row(where, row, stand_ins)
            if checked is None:
                continue
            tables = reference_tables(checked["table"])
            if is_of_a_cell(checked):
                run.update(tables)
                cell = tuple(checked[column] for column in (*_REFERENCE_LABELS, "knowledge", "metric"))
                # One paper may print two values of a cell, each in a table of its own.
                for table in tables:
                    first = seen.setdefault((table, *cell), where)
                    if first is not where:
                        self.problems.add(
                            where, f"a second value for the same cell and metric: the first is at {first}."
                        )
                        break
            if is_placed(checked):
                for table in tables:
                    first = seen.setdefault((table, checked["row"], checked["column"]), where)
                    if first is not where:
                        self.problems.add(
                            where, f"a second number in the same row and column: the first is at {first}."
                        )
                        break
            reference.append(checked)
        return tuple(row for row in reference if run.intersection(reference_tables(row["table"])))

    def _stand_ins(self, node: Node) -> dict[str, dict[str, str]]:
        """Return, by column of a reference row, what stands here for what the paper has; headings too."""
        found: dict[str, dict[str, str]] = {}
        path = ("reference", "stand_ins")
        allowed = (*_KINDS, "headings")
        for section, labels in self._mapping(node, path, f"{', '.join(allowed)}").items():
            inner = (*path, section)
            if section not in allowed:
                self.problems.add(labels.where, f"{path_text(inner)}: {unknown_key('key', section, allowed)}")
                continue
            mine = found.setdefault(_KINDS.get(section, section), {})
            for old, new in self._mapping(labels, inner, "what the table has to what stands here for it").items():
                if section == "headings":
                    if new.is_scalar and new.text:
                        mine[old] = new.text
                    else:
                        self.problems.add(
                            new.where, f"{path_text((*inner, old))}: found {new.found()}, allowed: a text."
                        )
                elif (label := self._label(new, section, (*inner, old))) is not None:
                    mine[_nfc(old)] = label
        return found

    def _check_stand_ins(
        self, stand_ins: Mapping[str, Mapping[str, str]], node: Node | None, rows: Sequence[Mapping[str, str]]
    ) -> None:
        """Refuse what stands in for something that no row has."""
        for column, mine in stand_ins.items() if rows else ():
            if column == "headings":
                there = {x for row in rows for name in ("row", "column") for x in heading_levels(row.get(name, ""))}
            else:
                there = {_nfc(row.get(column, "")) for row in rows}
            for old in mine:
                if old not in there:
                    what = "heading" if column == "headings" else f"{column} label"
                    known = sorted(there - {""})
                    assert node is not None
                    self.problems.add(node.where, f"reference.stand_ins: {unknown_name(what, old, known)}")

    def _tables(self, node: Node) -> list[tuple[Place, dict[str, str]]]:
        rows: list[tuple[Place, dict[str, str]]] = []
        for item in node.value if isinstance(node.value, tuple) else (node,):
            if not isinstance(item.value, str) or not item.value:
                self.problems.add(
                    item.where, f"reference.table: found {item.found()}, allowed: the path of a CSV file, or a list."
                )
                continue
            path = str(self.path.parent / item.value)
            inner = Problems()
            try:
                rows += self._table(read_text(path, inner, rank=1), path)
            except InputError as error:
                self.problems.add(item.where, f"reference.table: {error}")
        return rows

    def _table(self, text: str, path: str) -> list[tuple[Place, dict[str, str]]]:
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        rows: list[tuple[Place, dict[str, str]]] = []
        header: list[str] | None = None
        line = 1
        try:
            for cells in reader:
                where = Place(path, line, rank=1)
                line = reader.line_num + 1
                if not any(cell.strip() for cell in cells):
                    continue
                cells = [cell.strip() for cell in cells]
                if header is None:
                    header = cells
                    self._check_header(where, header)
                elif len(cells) != len(header):
                    self.problems.add(where, f"{len(cells)} columns, the header has {len(header)}.")
                else:
                    rows.append((where, dict(zip(header, cells, strict=True))))
        except csv.Error as error:
            self.problems.add(Place(path, reader.line_num, rank=1), f"broken CSV: {error}.")
        if header is None:
            self.problems.add(Place(path, rank=1), f"empty, a header is needed: {','.join(REFERENCE_COLUMNS)}.")
        return rows

    def _check_header(self, where: Place, header: Sequence[str]) -> None:
        for column in header:
            if column not in REFERENCE_COLUMNS:
                self.problems.add(where, unknown_key("column", column, REFERENCE_COLUMNS))
            elif header.count(column) > 1:
                self.problems.add(where, f"the column {column!r} is there twice.")
        for column in ("metric", "value"):
            if column not in header and (column == "metric" or not {"row", "column"} <= set(header)):
                self.problems.add(where, f"the column {column!r} is missing.")

    def _inline_rows(self, node: Node) -> list[tuple[Place, dict[str, str]]]:
        rows: list[tuple[Place, dict[str, str]]] = []
        if not isinstance(node.value, tuple):
            self.problems.add(node.where, f"reference.rows: found {node.found()}, allowed: a list of mappings.")
            return []
        for item in node.value:
            if not isinstance(item.value, dict) or not all(cell.is_scalar for cell in item.value.values()):
                self.problems.add(
                    item.where, "reference.rows: a row is a mapping of columns to single values, such as {value: 0.9}."
                )
                continue
            self._check_header(item.where, list(item.value))
            rows.append((item.where, {column: cell.text for column, cell in item.value.items()}))
        return rows

    def _reference_row(
        self, where: Place, row: Mapping[str, str], stand_ins: Mapping[str, Mapping[str, str]]
    ) -> dict[str, Any] | None:
        """Return a row with all columns; None where it is wrong.

        None also where it is about a component that a profile removed, or that another stands in for, unless it has a
        place in its table: that stays, without the labels of what was removed, and without a value of what stands in
        or, where a data set stands in, of none that is run.
        """
        placed = bool(row.get("row")) and bool(row.get("column"))
        if "metric" not in row or ("value" not in row and not placed):
            return None  # the header was refused
        if bool(row.get("row")) != bool(row.get("column")):
            self.problems.add(where, "row, column: one of them is empty; give both, or neither.")
            return None
        checked: dict[str, Any] = {}
        good, dropped, replaced = True, False, False
        for kind, section in SECTIONS.items():
            text = row.get(kind, "")
            if _nfc(text) in stand_ins.get(kind, ()):
                text, replaced = stand_ins[kind][_nfc(text)], True
            known = dict(self.labels[section])
            if kind == "attack":
                known |= {CLEAN: CLEAN, **self.labels["groups"]}
            label = known.get(_nfc(text)) if text else ""
            if label is None and kind == "attack" and _nfc(text) in self.sweeps:
                names = ", ".join(self.sweeps[_nfc(text)])
                self.problems.add(where, f"attack: {text!r} has several budgets, name one of them: {names}.")
                good = False
            elif label is None:
                sections = (section, "groups") if kind == "attack" else (section,)
                if any(text in self.labels_of_file[name] for name in sections):
                    dropped = True
                else:
                    self.problems.add(where, f"{kind}: {unknown_name(f'{kind} label', text, known.values())}")
                    good = False
            checked[kind] = label
        knowledge = row.get("knowledge", "")
        if knowledge and knowledge not in KNOWLEDGE:
            self.problems.add(where, f"knowledge: {unknown_name('knowledge', knowledge, KNOWLEDGE)}")
            good = False
        metrics = self.registry.names("metric")
        if not row["metric"]:
            self.problems.add(where, "metric: empty, the name of a measure is needed.")
            good = False
        elif metrics and row["metric"] not in metrics and not row.get("artifact"):
            self.problems.add(where, f"metric: {unknown_name('metric', row['metric'], metrics)}")
            good = False
        written = row.get("value", "")
        try:
            value = float(written) if written or not placed else None
        except ValueError:
            value = math.nan
        if value is not None and not math.isfinite(value):
            self.problems.add(where, f"value: {shorten(written)!r} is not a number such as 0.93.")
            good = False
        table = row.get("table", "")
        tables = reference_tables(table)
        broken = (len(tables) > 1 and "" in tables) or len(set(tables)) < len(tables)
        if broken or len(table) > LABEL_LENGTH or not table.isprintable():
            self.problems.add(
                where,
                f"table: found {shorten(table)!r}, allowed: where the number was published, such as 'Table IV', or "
                f"several such places with ';' between; at most {LABEL_LENGTH} characters on one line.",
            )
            good = False
        places = {name: row.get(name, "") for name in ("row", "column")}
        for name, text in places.items():
            levels = heading_levels(text)
            if len(text) > LABEL_LENGTH or not text.isprintable() or (text and "" in levels):
                self.problems.add(
                    where,
                    f"{name}: found {shorten(text)!r}, allowed: what the paper calls it, such as 'FGSM', levels "
                    f"with '|' between, such as 'FGSM | ε = 0.1'; at most {LABEL_LENGTH} characters on one line.",
                )
                good = False
            elif replaced:
                headings = stand_ins.get("headings", {})
                places[name] = " | ".join(headings.get(level, level) for level in levels)
        if not good or ((dropped or replaced) and not placed):
            return None
        about = {"artifact": row.get("artifact", ""), **checked, "knowledge": knowledge}
        if dropped:
            about = dict.fromkeys(about, "")
        # What names no data set that is run would else stand beside images of another.
        foreign = replaced or (not checked["dataset"] and bool(stand_ins.get("dataset")))
        return {"table": table, **places, **about, "metric": row["metric"], "value": None if foreign else value}


@dataclass(frozen=True)
class _Change:
    """A `--set path=value`."""

    path: tuple[str, ...]
    value: Node
    where: Place

    @property
    def replaces_component(self) -> bool:
        return (
            len(self.path) == 3 and self.path[0] in _KINDS and self.path[2] in ("use", "like") and self.value.is_scalar
        )

    @classmethod
    def parse(cls, text: str, problems: Problems) -> _Change | None:
        where = Place(f"--set {shorten(_visible(text))}", rank=_SET_RANK)
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


def is_placed(row: Mapping[str, Any]) -> bool:
    """Tell whether a reference row says where in its table it stands."""
    return bool(row.get("row"))


def is_of_a_cell(row: Mapping[str, Any]) -> bool:
    """Tell whether a reference row is about anything that is run: one with a place and no label is not."""
    return not is_placed(row) or any(row.get(name) for name in _REFERENCE_LABELS)


def heading_levels(text: str) -> tuple[str, ...]:
    """Return the levels of a row's or a column's heading in a published table: `FGSM | ε = 0.1` has two."""
    return tuple(level.strip() for level in text.split("|"))


def reference_tables(text: str) -> tuple[str, ...]:
    """Return the published tables that the column `table` of a reference row names; ("",) for none."""
    return tuple(name.strip() for name in text.split(";"))


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


def _plain_entry(entry: GridEntry) -> dict[str, Any]:
    plain: dict[str, Any] = {axis: list(getattr(entry, axis)) for axis in _KINDS}
    plain["knowledge"] = entry.knowledge
    if entry.substitutes:
        named = [one.plain() for one in entry.substitutes]
        plain["substitute"] = named[0] if len(named) == 1 else named
    if entry.exclude:
        plain["exclude"] = [{axis: list(labels) for axis, labels in rule.items()} for rule in entry.exclude]
    return plain


def _entry(root: Node, key: str) -> Node | None:
    return root.value.get(key) if isinstance(root.value, dict) else None


def _entries(root: Node, key: str) -> dict[str, Node]:
    node = _entry(root, key)
    return node.value if node is not None and isinstance(node.value, dict) else {}


def _is_component(path: Sequence[str]) -> bool:
    return len(path) == 2 and path[0] in _KINDS


def _in_options(path: Sequence[str]) -> bool:
    return len(path) > 2 and path[0] in _KINDS


def _use(component: Node) -> str | None:
    node = _entry(component, "use")
    return node.text if node is not None and node.is_scalar else None


def _source(component: Node) -> tuple[str, str] | None:
    """Return where plugin and options come from: ("use", plugin) or ("like", label)."""
    node = _entry(component, "like")
    if node is not None and node.is_scalar:
        return "like", node.text
    use = _use(component)
    return None if use is None else ("use", use)


def _nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _visible(text: str) -> str:
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
