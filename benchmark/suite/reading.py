"""What all sections of a suite are read with: its tree, its labels, and what is wrong."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmark.document import Node, Problems, path_text, shorten
from benchmark.errors import unknown_name
from benchmark.explain import shaped
from benchmark.names import ALL, CLEAN, WORST_OF
from benchmark.plugins import Registry
from benchmark.suite.file import LABEL_LENGTH
from benchmark.suite.model import KINDS
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

    def problem(self, path: Sequence[str], message: str) -> None:
        """Note what is wrong with what stands at a path, or with what holds it."""
        node = self.root.nearest(path)
        if not node.refused:
            self.problems.add(node.where, f"{path_text(path)}: {message}")

    def mapping(self, path: Sequence[str], example: str) -> dict[str, Node]:
        """Return the entries of a section."""
        return mapping(child(self.root, path[0]), path, example, self.problems)

    def shaped(self, kind: Any, node: Node, path: Sequence[str], owner: str) -> Any:
        """Return what a node of labels and other texts says, as the type `kind`; None where it is none, which is told.

        Args:
            owner: what the node is called.
        """
        return shaped(kind, node, path, self.problems, texts=True, noun="key", owner=owner)

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

    def unique(self, given: Iterable[Any], path: Sequence[str]) -> list[Any]:
        """Return the items of a list, but for None; one that is there twice is told."""
        chosen: list[Any] = []
        for index, item in enumerate(given):
            if item in chosen:
                shown = repr(item) if isinstance(item, str) else item
                self.problem((*path, str(index)), f"{shown} is there twice.")
            elif item is not None:
                chosen.append(item)
        return chosen

    def labels_of(self, given: str | Sequence[str], section: str, path: tuple[str, ...]) -> tuple[str, ...] | None:
        """Return the labels of a list, or of a single label; None where one is wrong."""
        chosen: dict[str, None] = {}
        good = True
        for n, text in enumerate((given,) if isinstance(given, str) else given):
            place = path if isinstance(given, str) else (*path, str(n))
            swept = self.given.sweeps.get(nfc(text)) if section == "attacks" else None
            for label in (self.label_of(text, section, place),) if swept is None else swept:
                if label is None:
                    good = False
                elif label in chosen:
                    self.problem(place, f"the label {label!r} is there twice.")
                else:
                    chosen[label] = None
        return tuple(chosen) if good else None

    def label_of(self, text: str, section: str, path: tuple[str, ...]) -> str | None:
        """Return the label that a text names; None where it names none."""
        known = self.labels[section]
        label = known.get(nfc(text))
        if label is None:
            if (
                not known
                and children(self.root, section) == {}
                and (section != "attacks" or child(self.root, section) is not None)
            ):
                return None  # the section itself was refused
            advice = self.who_removed((section, text))
            if section == "attacks" and text == CLEAN:
                advice = " Clean images are always part of the grid; `attacks: []` runs them alone."
            elif text == ALL:
                advice = " 'all' stands alone, not in a list."
            self.problem(path, f"{unknown_name(f'{KINDS[section]} label', text, known.values())}{advice}")
        return label
