"""The tree of a suite file: its sections, components and labels."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence

from benchmark.document import Node, Place, Problems, path_text
from benchmark.suite.model import KINDS


def child(root: Node, key: str) -> Node | None:
    """Return what stands under a key, None for nothing."""
    return root.value.get(key) if isinstance(root.value, dict) else None


def children(root: Node, key: str) -> dict[str, Node]:
    """Return the entries of a section, none where it is no mapping."""
    node = child(root, key)
    return node.value if node is not None and isinstance(node.value, dict) else {}


def mapping(node: Node | None, path: Sequence[str], example: str, problems: Problems) -> dict[str, Node]:
    """Return the entries of a mapping; whatever else stands there, a component's own null too, is a problem."""
    if node is None:
        return {}
    entries = node.value if isinstance(node.value, dict) else {}
    empty_is_fine = tuple(path) in (("attacks",), ("groups",))
    if not (entries or (empty_is_fine and (node.value is None or node.value == {}))):
        found = "an empty mapping" if node.value == {} else node.found()
        problems.add(node.where, f"{path_text(path)}: found {found}, allowed: a mapping of {example}.")
    return entries


def is_component(path: Sequence[str]) -> bool:
    """Tell whether a path is that of a component."""
    return len(path) == 2 and path[0] in KINDS


def in_options(path: Sequence[str]) -> bool:
    """Tell whether a path leads into the options of a component."""
    return len(path) > 2 and path[0] in KINDS


def _use(component: Node) -> str | None:
    node = child(component, "use")
    return node.text if node is not None and node.is_scalar else None


def source_of(component: Node) -> tuple[str, str] | None:
    """Return where plugin and options come from: ("use", plugin) or ("like", label)."""
    node = child(component, "like")
    if node is not None and node.is_scalar:
        return "like", node.text
    use = _use(component)
    return None if use is None else ("use", use)


def who_removed(removed: Mapping[tuple[str, ...], Place], path: tuple[str, ...]) -> str:
    """Return which override removes what stood at a path, in words; "" for none."""
    return f" ({removed[path]} removes it.)" if path in removed else ""


def nfc(text: str) -> str:
    """Return a label in the form that labels are compared in (NFC)."""
    return unicodedata.normalize("NFC", text)


def visible(text: str) -> str:
    """Return a text with what cannot be seen escaped."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
