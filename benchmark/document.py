"""YAML text to a tree of plain data whose every node knows the line it came from.

The tree is built from PyYAML's parse events and never by its constructors: no tag is obeyed, so nothing in a file can
create an object. Plain scalars follow the core schema of YAML 1.2 (`1e-3` is a number; `no`, `on` and `8/255` are
texts; `010` is ten). Aliases and merge keys (`<<`) are followed up to a fixed number of nodes.
"""

from __future__ import annotations

import difflib
import math
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

import yaml

from benchmark.errors import InputError, near_match

MAX_BYTES = 1 << 20
"""Largest file that is read."""
MAX_NODES = 20_000
"""Most nodes that a document may hold once its aliases are followed."""
MAX_DEPTH = 50
"""Most levels of nesting."""
MAX_LISTED = 50
"""Most problems that one message lists."""

SUFFIXES = (".yaml", ".yml")

Scalar = str | int | float | bool | None

_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_WORDS: dict[str, Scalar] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_MAX_DIGITS = 100
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_CORE_TAG = "tag:yaml.org,2002:"


@dataclass(frozen=True)
class Place:
    """Where something was written: a line of a file, or an argument of the command line.

    Attributes:
        file: as the user named it; the argument itself for the command line.
        line: from 1; 0 for no line.
        rank: sorts problems: the main file first.
    """

    file: str
    line: int = 0
    rank: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


class Problems:
    """Collects what is wrong with a document, so that one message can tell all of it."""

    def __init__(self) -> None:
        self._found: dict[tuple[Place, str], None] = {}

    def add(self, where: Place, message: str) -> None:
        """Note a problem."""
        self._found[where, message] = None

    def fatal(self, where: Place, message: str) -> NoReturn:
        """Note a problem after which nothing more can be read.

        Raises:
            InputError: always, with all problems so far.
        """
        self.add(where, message)
        self.raise_if_any()
        raise AssertionError("unreachable")

    def raise_if_any(self) -> None:
        """Raise all problems as one error, a line each, sorted by line.

        Raises:
            InputError: there is a problem.
        """
        if not self._found:
            return
        ordered = sorted(self._found, key=lambda problem: (problem[0].rank, problem[0].file, problem[0].line))
        lines = [f"{where}: {message}" for where, message in ordered[:MAX_LISTED]]
        if len(ordered) > MAX_LISTED:
            lines.append(f"... and {len(ordered) - MAX_LISTED} more problems")
        raise InputError("\n".join(lines))


@dataclass(frozen=True)
class Node:
    """A piece of a document.

    Attributes:
        where: the line of its key, or its own line for an item of a list.
        value: a scalar, a tuple of nodes (list), or a dict of nodes (mapping; keys are texts as written).
        text: a scalar as written.
        size: number of nodes in it, itself included, with aliases followed.
        refused: it is no value, which has been told; a 0 stands in for it, so that the rest can be read.
    """

    where: Place
    value: Scalar | tuple[Node, ...] | dict[str, Node]
    text: str = ""
    size: int = 1
    refused: bool = False

    @property
    def is_scalar(self) -> bool:
        """Whether it is neither a list nor a mapping."""
        return not isinstance(self.value, dict | tuple)

    def plain(self) -> Any:
        """Return the data without places: dict, list, str, int, float, bool, None."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, tuple):
            return [node.plain() for node in self.value]
        return self.value

    def texts(self) -> Any:
        """Return the data without places, each scalar as it is written, null alone as None."""
        if isinstance(self.value, dict):
            return {key: node.texts() for key, node in self.value.items()}
        if isinstance(self.value, tuple):
            return [node.texts() for node in self.value]
        return None if self.value is None else self.text

    def inner(self, step: str | int) -> Node | None:
        """Return what stands under a key or at an index, None for nothing."""
        if isinstance(self.value, dict):
            return self.value.get(str(step))
        if isinstance(self.value, tuple) and str(step).isdecimal() and int(step) < len(self.value):
            return self.value[int(step)]
        return None

    def descend(self, path: Iterable[str | int]) -> Node | None:
        """Return what stands at a path, None for nothing."""
        node: Node | None = self
        for step in path:
            node = None if node is None else node.inner(step)
        return node

    def nearest(self, path: Iterable[str | int]) -> Node:
        """Return what stands at a path, or the innermost that holds the place."""
        node = self
        for step in path:
            inner = node.inner(step)
            if inner is None:
                break
            node = inner
        return node

    def found(self) -> str:
        """Return what it is in words, for messages."""
        if isinstance(self.value, dict):
            return "a mapping" if self.value else "an empty mapping"
        if isinstance(self.value, tuple):
            return "a list" if self.value else "an empty list"
        if self.value is None:
            return "null" if self.text else "nothing"
        if isinstance(self.value, bool):
            return str(self.value).lower()
        if isinstance(self.value, str):
            return f"the text {shorten(self.value)!r}"
        return f"the number {shorten(self.text or str(self.value))}"


def shorten(text: str, limit: int = 80) -> str:
    """Return `text`, cut with an ellipsis where it is longer than `limit`."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def path_text(path: Iterable[str | int]) -> str:
    """Return a path into a document as `--set` takes it: `attacks."a.b".eps`."""
    return ".".join(_segment_text(segment) for segment in path)


def _segment_text(segment: str | int) -> str:
    text = str(segment)
    if re.fullmatch(r"[^\s.=\"']+", text) and text.isprintable():
        return text
    visible = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    return '"' + visible.replace('"', '""') + '"'


def node_from_plain(data: Any, where: Place) -> Node:
    """Return plain data as a tree, all of it at one place."""
    if isinstance(data, dict):
        entries = {str(key): node_from_plain(value, where) for key, value in data.items()}
        return Node(where, entries, size=1 + sum(node.size for node in entries.values()))
    if isinstance(data, list | tuple):
        items = tuple(node_from_plain(value, where) for value in data)
        return Node(where, items, size=1 + sum(node.size for node in items))
    return Node(where, data, "null" if data is None else str(data))


def core_scalar(text: str) -> Scalar:
    """Return the value of a plain scalar by the core schema of YAML 1.2.

    Raises:
        ValueError: a whole number of more digits than any use has.
    """
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        if len(text) > _MAX_DIGITS:
            raise ValueError(f"a number of {len(text)} characters is too long, at most {_MAX_DIGITS} are allowed")
        return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
    if _FLOAT.fullmatch(text):
        return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    return text


def read_text(path: str, problems: Problems, rank: int = 0) -> str:
    """Return the text of a UTF-8 file.

    Raises:
        InputError: missing (near matches are named), a folder, not readable, too large, or not UTF-8.
    """
    where = Place(path, rank=rank)
    if os.path.isdir(path):
        listed = ", ".join(_file_names(path, SUFFIXES)) or "none"
        problems.fatal(where, f"is a folder, a file is needed. YAML files in it: {listed}.")
    if not os.path.isfile(path):
        folder, name = os.path.split(path)
        if folder and not os.path.isdir(folder):
            problems.fatal(where, "no such file: its folder does not exist.")
        suffix = Path(name).suffix.lower()
        names = _file_names(folder or ".", SUFFIXES if suffix in SUFFIXES else (suffix,))
        near = difflib.get_close_matches(Path(name).stem, [Path(known).stem for known in names], n=1)
        meant = "".join(f" Did you mean {known!r}?" for known in names if Path(known).stem in near)
        problems.fatal(where, f"no such file.{meant} Files of that kind there: {', '.join(names[:20]) or 'none'}.")
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        problems.fatal(where, f"cannot be read: {error.strerror or error}")
    if len(content) > MAX_BYTES:
        problems.fatal(where, f"is larger than {MAX_BYTES // 1024} KiB: this is not a file of the expected kind.")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        problems.fatal(
            Place(path, line, rank),
            f"not UTF-8: byte 0x{content[error.start]:02x} cannot be read. Save the file as UTF-8.",
        )


def parse(text: str, where: Place, problems: Problems, *, flow_only: bool = False) -> Node:
    """Return the tree of a YAML document.

    Args:
        text: one YAML document.
        where: its file; lines are added, unless it is not a file (rank above 0 without line, as `--set`).
        problems: receives what is wrong but does not stop the reading: duplicate keys, tags, bad scalars.
        flow_only: allow scalars, `[...]` and `{...}` only.

    Raises:
        InputError: the text cannot be parsed, is empty, nests too deep or is too large.
    """
    builder = _Builder(text, where, problems, flow_only)
    try:
        return builder.document()
    except InputError:
        raise
    except yaml.reader.ReaderError as error:
        line = len(re.findall(r"\r\n|\r|\n", text[: error.position])) + 1
        problems.fatal(
            builder.at(line - 1), f"broken YAML: the character U+{ord(text[error.position]):04X} is not allowed."
        )
    except yaml.MarkedYAMLError as error:
        problems.fatal(builder.at(_line(error)), f"broken YAML: {_in_words(error)}")
    except Exception as error:
        # PyYAML lets errors of Python's own through for odd escapes and directives.
        problems.fatal(builder.at(builder.last_line), f"broken YAML: {type(error).__name__}: {error}")


def dump(data: Any) -> str:
    """Return plain data as YAML that `parse`, and any reader of YAML 1.1, reads as the same data."""
    text: str = yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
    return text


class _Builder:
    def __init__(self, text: str, where: Place, problems: Problems, flow_only: bool) -> None:
        self.where = where
        self.problems = problems
        self.flow_only = flow_only
        self.last_line = 0
        self._events: Iterator[yaml.Event] = iter(yaml.parse(text, Loader=yaml.SafeLoader))
        self._anchors: dict[str, Node] = {}

    def at(self, line: int) -> Place:
        """Return the place of a line, counted from 0."""
        return self.where if self.where.rank and not self.where.line else replace(self.where, line=line + 1)

    def document(self) -> Node:
        self._next()  # start of the stream
        if not isinstance(self._next(), yaml.DocumentStartEvent):
            self.problems.fatal(self.where, "the file is empty.")
        event = self._next()
        root = self._node(event, 1)
        self._next()  # end of the document
        following = self._next()
        if isinstance(following, yaml.DocumentStartEvent):
            self.problems.fatal(self._place(following), "a second document begins here; only one is allowed.")
        return root

    def _next(self) -> yaml.Event:
        event = next(self._events)
        if event.start_mark is not None:
            self.last_line = event.start_mark.line
        return event

    def _place(self, event: yaml.Event) -> Place:
        return self.at(event.start_mark.line if event.start_mark is not None else 0)

    def _node(self, event: yaml.Event, depth: int) -> Node:
        if depth > MAX_DEPTH:
            self.problems.fatal(self._place(event), f"nests deeper than {MAX_DEPTH} levels.")
        if isinstance(event, yaml.AliasEvent):
            name = event.anchor or ""
            if name not in self._anchors:
                self.problems.fatal(
                    self._place(event),
                    f"the alias *{name} has no finished anchor &{name} above it.{near_match(name, self._anchors)}",
                )
            return replace(self._anchors[name], where=self._place(event))
        assert isinstance(event, yaml.NodeEvent)
        self._check_tag(event)
        if isinstance(event, yaml.ScalarEvent):
            node = self._scalar(event)
        else:
            assert isinstance(event, yaml.CollectionStartEvent)
            if self.flow_only and not event.flow_style:
                self.problems.fatal(
                    self._place(event), "write a list as [a, b], a mapping as {a: b}, and quote a text that holds ': '."
                )
            node = (
                self._mapping(event, depth) if isinstance(event, yaml.MappingStartEvent) else self._list(event, depth)
            )
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        return node

    def _check_tag(self, event: yaml.NodeEvent) -> None:
        tag = getattr(event, "tag", None)
        if tag is None:
            return
        if tag.startswith(f"{_CORE_TAG}python/"):
            reason = "it asks for a Python object, and this file holds plain data"
        else:
            reason = "this file holds plain data"
        shown = shorten(tag.replace(_CORE_TAG, "!!", 1))
        self.problems.add(self._place(event), f"the tag {shown!r} is refused: {reason}. Remove the tag.")

    def _text(self, event: yaml.ScalarEvent) -> str:
        """Return the scalar's text, or an empty one where it holds what no text of ours may hold."""
        text: str = event.value
        try:
            # JSON escapes write one character beyond U+FFFF as a pair of surrogates.
            text = text.encode("utf-16", "surrogatepass").decode("utf-16")
        except UnicodeDecodeError:
            self.problems.add(self._place(event), f"the text {shorten(text)!r} holds half a surrogate pair.")
            return ""
        control = _CONTROL.search(text)
        if control:
            character = f"U+{ord(control[0]):04X}"
            self.problems.add(
                self._place(event),
                f"the text {shorten(text)!r} holds the control character {character}, which is not allowed.",
            )
            return ""
        return text

    def _scalar(self, event: yaml.ScalarEvent) -> Node:
        where = self._place(event)
        text = self._text(event)
        if not event.implicit[0]:
            return Node(where, text, text)
        try:
            value = core_scalar(text)
        except ValueError as error:
            self.problems.add(where, f"{error}.")
            return Node(where, 0, text, refused=True)
        if isinstance(value, float) and not math.isfinite(value):
            self.problems.add(where, f"{shorten(text)} is not a finite number.")
            return Node(where, 0.0, text, refused=True)
        return Node(where, value, text)

    def _list(self, event: yaml.Event, depth: int) -> Node:
        items: list[Node] = []
        size = 1
        while not isinstance(following := self._next(), yaml.SequenceEndEvent):
            item = self._node(following, depth + 1)
            size = self._grown(size, item, following)
            items.append(item)
        return Node(self._place(event), tuple(items), size=size)

    def _mapping(self, event: yaml.Event, depth: int) -> Node:
        own: dict[str, Node] = {}
        merged: dict[str, Node] = {}
        merge_place: Place | None = None
        size = 1
        while not isinstance(key_event := self._next(), yaml.MappingEndEvent):
            where = self._place(key_event)
            is_merge = isinstance(key_event, yaml.ScalarEvent) and key_event.implicit[0] and key_event.value == "<<"
            key = self._key(key_event, depth)
            value_event = self._next()
            value = self._node(value_event, depth + 1)
            size = self._grown(size, value, value_event)
            if key is None:
                continue
            first = merge_place if is_merge else own[key].where if key in own else None
            if first is not None:
                self.problems.add(where, f"the key {shorten(key)!r} is there twice: first on line {first.line}.")
            elif is_merge:
                merge_place, merged = where, self._merged(value, where)
            else:
                own[key] = replace(value, where=where)
        return Node(self._place(event), {**merged, **own}, size=size)

    def _key(self, event: yaml.Event, depth: int) -> str | None:
        if isinstance(event, yaml.ScalarEvent):
            self._check_tag(event)
            text = self._text(event)
            if event.anchor is not None:
                self._anchors[event.anchor] = Node(self._place(event), text, text)
            return text
        node = self._node(event, depth + 1)
        if not node.is_scalar:
            self.problems.add(node.where, f"a key must be a text, found {node.found()}.")
            return None
        return node.text

    def _merged(self, value: Node, where: Place) -> dict[str, Node]:
        sources: Iterable[Node] = value.value if isinstance(value.value, tuple) else (value,)
        merged: dict[str, Node] = {}
        for source in sources:
            if not isinstance(source.value, dict):
                self.problems.add(where, f"'<<' merges mappings, found {source.found()}.")
                continue
            merged = {**source.value, **merged}  # the first mapping that has a key wins
        return merged

    def _grown(self, size: int, part: Node, event: yaml.Event) -> int:
        size += part.size
        if size > MAX_NODES:
            self.problems.fatal(
                self._place(event), f"holds more than {MAX_NODES} values once its aliases are followed."
            )
        return size


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    # PyYAML quotes what YAML 1.1 would take for something else than a text; the core schema has more of them.
    try:
        is_text = isinstance(core_scalar(text), str)
    except ValueError:
        is_text = False
    return dumper.represent_scalar(f"{_CORE_TAG}str", text, style=None if is_text else "'")


_Dumper.add_representer(str, _represent_text)


def _line(error: yaml.MarkedYAMLError) -> int:
    mark = error.problem_mark or error.context_mark
    return mark.line if mark is not None else 0


def _in_words(error: yaml.MarkedYAMLError) -> str:
    parts = [error.problem or "cannot be parsed"]
    if error.context:
        since = ""
        if error.context_mark is not None and error.context_mark.line != _line(error):
            since = f" that began on line {error.context_mark.line + 1}"
        parts.append(f" ({error.context}{since})")
    text = "".join(parts)
    for sign, advice in _ADVICE.items():
        if sign in text:
            return f"{text}. {advice}"
    return f"{text}."


_ADVICE = {
    r"'\t'": "Indent with spaces, not with tabs.",
    "mapping values are not allowed": "Quote a text that holds ': ', or check the indentation.",
    "expected <block end>": "Check the indentation of this line against the lines above.",
    "could not find expected ':'": "A key is followed by ':' and a space.",
    "found undefined tag": "Tags are not allowed: this file holds plain data.",
    "cannot start any token": "Quote a text that begins with this character.",
    "expected ',' or": "A bracket is not closed, or a comma is missing.",
}


def _file_names(folder: str, suffixes: tuple[str, ...]) -> list[str]:
    try:
        return sorted(name for name in os.listdir(folder) if name.lower().endswith(suffixes))
    except OSError:
        return []
