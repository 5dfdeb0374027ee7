"""What all sections of a suite are read with: its tree, its labels, and what is wrong."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmark.document import Node, Problems, path_text, shorten
from benchmark.errors import unknown_name
from benchmark.names import ALL, CLEAN, WORST_OF
from benchmark.plugins import Registry
from benchmark.suite.model import KINDS, LABEL_LENGTH
from benchmark.suite.overrides import Overridden
from benchmark.suite.tree import child, children, mapping, nfc, who_removed


@dataclass
class Reading:
    """A suite while it is read.

    Attributes:
        path: the file.
        labels: section → label after NFC → label, of the sections that were read.
    """

    given: Overridden
    registry: Registry
    problems: Problems
    path: Path
    labels: dict[str, dict[str, str]] = field(default_factory=dict)

    @property
    def root(self) -> Node:
        """The tree."""
        return self.given.root

    def mapping(self, node: Node | None, path: Sequence[str], example: str) -> dict[str, Node]:
        """Return the entries of a mapping."""
        return mapping(node, path, example, self.problems)

    def who_removed(self, path: tuple[str, ...]) -> str:
        """Return which override removes what stood at a path, in words; "" for none."""
        return who_removed(self.given.removed, path)

    def check_labels(self, entries: Mapping[str, Node], section: str, reserved: Sequence[str] = ()) -> dict[str, str]:
        """Check labels, and return label after NFC → label."""
        labels: dict[str, str] = {}
        for label, node in entries.items():
            shown = path_text((section, shorten(label)))
            same = labels.setdefault(nfc(label), label)
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
            elif CLEAN in reserved and nfc(label).strip().startswith(WORST_OF.strip()):
                wrong = f"{WORST_OF.strip()!r} is how the tables name groups of attacks. Choose another label."
            elif same != label:
                wrong = f"reads the same as the label on line {entries[same].where.line}. Choose another label."
            if wrong:
                self.problems.add(node.where, f"{shown}: {wrong}")
        return labels

    def labels_of(self, node: Node, section: str, path: tuple[str, ...]) -> tuple[str, ...] | None:
        """Return the labels of a list, or of a single label; None where one is wrong."""
        items = node.value if isinstance(node.value, tuple) else (node,)
        chosen: dict[str, None] = {}
        good = True
        for item in items:
            swept = self.given.sweeps.get(nfc(item.text)) if section == "attacks" and item.is_scalar else None
            for label in (self.label_of(item, section, path),) if swept is None else swept:
                if label is None:
                    good = False
                elif label in chosen:
                    self.problems.add(item.where, f"{path_text(path)}: the label {label!r} is there twice.")
                else:
                    chosen[label] = None
        return tuple(chosen) if good else None

    def label_of(self, node: Node, section: str, path: tuple[str, ...]) -> str | None:
        """Return the label that a node names; None where it names none."""
        known = self.labels[section]
        if not node.is_scalar or (node.value is None and node.text not in known):
            self.problems.add(
                node.where, f"{path_text(path)}: found {node.found()}, allowed: 'all', a label, or a list of labels."
            )
            return None
        label = known.get(nfc(node.text))
        if label is None:
            if (
                not known
                and children(self.root, section) == {}
                and (section != "attacks" or child(self.root, section) is not None)
            ):
                return None  # the section itself was refused
            kind = KINDS[section]
            advice = self.who_removed((section, node.text))
            if section == "attacks" and node.text == CLEAN:
                advice = " Clean images are always part of the grid; `attacks: []` runs them alone."
            elif node.text == ALL:
                advice = " 'all' stands alone, not in a list."
            self.problems.add(
                node.where, f"{path_text(path)}: {unknown_name(f'{kind} label', node.text, known.values())}{advice}"
            )
        return label
