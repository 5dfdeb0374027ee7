"""Parts of objects, and which class has which: the class-part matrix V.

Freitas, Chen, Wang, Chau: *UnMask: Adversarial Detection and Defense Through Robust Feature Alignment*, IEEE Big Data
2021, Table I. The table as printed condenses `vehicle` and `coach`; the rows here are those of the released code, from
which the overlaps of the paper's Table II come out.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from benchmark import InputError, MissingError, Split, percent, unknown_name

_PARTS = """
    plant torso licenseplate cap eyebrow tail ear horn mouth frontside mirror wheel vehicle_left nose screen arm neck
    muzzle coach_left coach_back head headlight stern pot window coach_right coach_front beak leg engine saddle hand
    vehicle_back paw hoof vehicle_top vehicle_right eye wing hair door body coach_top foot
"""
PARTS: tuple[str, ...] = tuple(_PARTS.split())
"""The paper's 44 parts, in the order of the released code."""

_VEHICLE = (
    "vehicle_left vehicle_right vehicle_top vehicle_back frontside mirror door headlight wheel licenseplate window"
)

PAPER_CLASS_PARTS: dict[str, tuple[str, ...]] = {
    name: tuple(parts.split())
    for name, parts in {
        "aeroplane": "stern body engine wheel tail wing",
        "bicycle": "wheel saddle",
        "bird": "eye beak foot torso head neck tail wing leg",
        "bottle": "body cap",
        "bus": _VEHICLE,
        "car": _VEHICLE,
        "cat": "paw nose ear eye torso head neck tail leg",
        "cow": "ear eye horn torso head neck tail muzzle leg",
        "dog": "paw nose ear eye torso head neck tail muzzle leg",
        "horse": "ear eye torso head hoof neck tail muzzle leg",
        "motorbike": "wheel saddle headlight",
        "person": "ear nose eye foot torso arm mouth head neck hair hand leg eyebrow",
        "pottedplant": "plant pot",
        "sheep": "ear eye horn torso head neck tail muzzle leg",
        "train": "coach_front coach_right coach_left coach_top coach_back headlight head",
        "tvmonitor": "screen",
    }.items()
}
"""The paper's matrix V: class → its parts (Table I, with the sub-features of `vehicle` and `coach`)."""

CLASS_SETS: dict[str, tuple[str, ...]] = {
    "CS3a": ("car", "person", "train"),
    "CS3b": ("person", "dog", "bird"),
    "CS5a": ("dog", "car", "bottle", "train", "person"),
    "CS5b": ("dog", "car", "bird", "train", "person"),
}
"""The paper's class sets (Table I, bottom)."""


@dataclass(frozen=True)
class Overlap:
    """How much the classes of a set have in common.

    Attributes:
        shared: parts that two or more of the classes have.
        unique: different parts that the classes have.
    """

    shared: int
    unique: int

    @property
    def share(self) -> float:
        """`shared` / `unique`, in [0, 1]: "Overlap" in the paper's Table II."""
        return self.shared / self.unique


@dataclass(frozen=True)
class ClassParts:
    """The class-part matrix V.

    Attributes:
        parts: class → its parts. Every class has at least one, no part twice.
        source: where the matrix comes from, for messages and reports.
    """

    parts: Mapping[str, tuple[str, ...]]
    source: str

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in their order."""
        return tuple(self.parts)

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """The different parts of all classes, in the order in which they first occur."""
        return tuple(dict.fromkeys(part for parts in self.parts.values() for part in parts))

    def __getitem__(self, name: str) -> frozenset[str]:
        """Return the parts of a class: V[c]."""
        return frozenset(self.parts[name])

    def select(self, classes: Iterable[str]) -> ClassParts:
        """Return the rows of `classes`, in that order.

        Raises:
            InputError: V has no such class.
        """
        wanted = tuple(classes)
        for name in wanted:
            if name not in self.parts:
                raise InputError(f"class-part matrix ({self.source}): {unknown_name('class', name, self.parts)}")
        return ClassParts({name: self.parts[name] for name in wanted}, self.source)

    def overlap(self) -> Overlap:
        """Return how many parts two or more classes have, and how many different parts there are."""
        classes_with = Counter(part for parts in self.parts.values() for part in parts)
        return Overlap(sum(count > 1 for count in classes_with.values()), len(classes_with))

    def matrix(self, parts: Iterable[str] | None = None) -> np.ndarray:
        """Return V as (classes, parts) bool, columns in the order of `parts` or of `vocabulary`."""
        columns = self.vocabulary if parts is None else tuple(parts)
        return np.array([[part in self[name] for part in columns] for name in self.parts], dtype=bool)


PAPER = ClassParts(PAPER_CLASS_PARTS, "the paper's Table I")


# -- V from a table ---------------------------------------------------------------------------------------------------


def read_class_parts(path: str | Path) -> ClassParts:
    """Read V from a table.

    `.yaml` or `.yml` maps each class to the list of its parts. `.csv` has a header line `class,<part>,<part>...` and
    one line per class with 1 or 0 under each part.

    Raises:
        MissingError: no such file.
        InputError: it is not such a table; the message names the file and the class, part or line.
    """
    path = Path(path)
    if path.suffix not in (".yaml", ".yml", ".csv"):
        raise InputError(f"class-part matrix {path}: the name must end in .yaml, .yml or .csv.")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise MissingError(
            f"class-part matrix: no file {str(path.absolute())!r}. Write one line per class, such as "
            "`car: [wheel, door, window]`, into a .yaml file."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"class-part matrix {path}: cannot be read: {error}.") from None
    rows = _csv_rows(text, path) if path.suffix == ".csv" else _yaml_rows(text, path)
    return _checked(rows, str(path))


class _UniqueKeys(yaml.SafeLoader):
    """Safe loading that refuses a key that occurs twice, where YAML would keep the last in silence."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        if isinstance(node, yaml.MappingNode):
            seen: dict[str, int] = {}
            for key, _ in node.value:
                line = key.start_mark.line + 1
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"{key.value!r} occurs twice, in lines {seen[key.value]} and {line}", key.start_mark
                    )
                seen[key.value] = line
        return dict(super().construct_mapping(node, deep))


def _yaml_rows(text: str, path: Path) -> dict[Any, Any]:
    try:
        rows = yaml.load(text, Loader=_UniqueKeys)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise InputError(f"class-part matrix {path}:{line}: {error.problem}.") from None
    except yaml.YAMLError as error:
        raise InputError(f"class-part matrix {path}: not YAML: {error}.") from None
    if not isinstance(rows, dict):
        raise InputError(
            f"class-part matrix {path}: found {type(rows).__name__}, expected a mapping of classes to lists of parts, "
            "such as `car: [wheel, door, window]`."
        )
    for name, parts in rows.items():
        if not isinstance(name, str) or not isinstance(parts, list) or not all(isinstance(p, str) for p in parts):
            raise InputError(
                f"class-part matrix {path}: class {name!r}: expected a list of part names, found {parts!r}. "
                "Quote names that YAML reads as something else, such as 'no'."
            )
    return rows


def _csv_rows(text: str, path: Path) -> dict[str, list[str]]:
    lines = [
        (number, [cell.strip() for cell in cells]) for number, cells in enumerate(csv.reader(io.StringIO(text)), 1)
    ]
    lines = [(number, cells) for number, cells in lines if any(cells)]
    if not lines or len(lines[0][1]) < 2:
        raise InputError(f"class-part matrix {path}: expected a header line `class,<part>,<part>...`.")
    header = lines[0][1]
    names = header[1:]
    if "" in names or len(set(names)) < len(names):
        raise InputError(f"class-part matrix {path}:1: part names must be given once each and none be empty.")
    rows: dict[str, list[str]] = {}
    for number, cells in lines[1:]:
        if len(cells) != len(header):
            raise InputError(f"class-part matrix {path}:{number}: {len(cells)} cells, the header has {len(header)}.")
        wrong = [cell for cell in cells[1:] if cell not in ("0", "1")]
        if wrong:
            raise InputError(f"class-part matrix {path}:{number}: found {wrong[0]!r}, allowed are 1 (has it) and 0.")
        if cells[0] in rows:
            raise InputError(f"class-part matrix {path}:{number}: class {cells[0]!r} occurs twice.")
        rows[cells[0]] = [name for name, cell in zip(names, cells[1:]) if cell == "1"]
    return rows


def _checked(rows: Mapping[str, Iterable[str]], source: str) -> ClassParts:
    checked: dict[str, tuple[str, ...]] = {}
    for name, row in rows.items():
        parts = tuple(part.strip() for part in row)
        if not name.strip() or "" in parts:
            raise InputError(f"class-part matrix {source}: class {name!r}: names of classes and parts cannot be empty.")
        if not parts:
            raise InputError(
                f"class-part matrix {source}: class {name!r} has no parts, so no image could ever match it. "
                "Give it at least one part, or leave the class out."
            )
        twice = [part for part, count in Counter(parts).items() if count > 1]
        if twice:
            raise InputError(f"class-part matrix {source}: class {name!r} lists the part {twice[0]!r} twice.")
        checked[name.strip()] = parts
    if not checked:
        raise InputError(f"class-part matrix {source}: no classes.")
    return ClassParts(checked, source)


# -- V from part annotations ------------------------------------------------------------------------------------------


def class_parts_of(presence: Mapping[str, Mapping[str, float]], share: float = 0.5) -> ClassParts:
    """Return V from class → part → share of the class's training images in which the part is annotated.

    Args:
        presence: as `part_presence` gives it.
        share: least share of the images of a class in which a part is annotated, in (0, 1].

    Raises:
        InputError: `share` is out of range, or a class ends without parts.
    """
    if not 0 < share <= 1:
        raise InputError(f"share of annotated images: {share} is not in (0, 1].")
    parts = {name: tuple(part for part, found in row.items() if found >= share) for name, row in presence.items()}
    for name, kept in parts.items():
        if not kept:
            best = max(presence[name].items(), key=lambda item: item[1], default=None)
            most = (
                f"The most frequent, {best[0]!r}, is in {percent(best[1])}: lower the share" if best else "It has none"
            )
            raise InputError(
                f"class {name!r} has no part that is annotated in {percent(share)} of its training images. "
                f"{most}, or leave the class out."
            )
    return ClassParts(parts, f"parts annotated in at least {percent(share)} of a class's training images")


def part_presence(split: Split) -> dict[str, dict[str, float]]:
    """Return class → part → share of the class's images in which the part is annotated, in the order of the categories.

    Raises:
        InputError: the split has no part annotations.
    """
    annotations = split.part_annotations()
    if annotations is None:
        raise InputError(
            "class-part matrix: these images have no part annotations to learn it from. "
            "Use the paper's matrix or a table, or part data such as the data sets `coco_parts` and `partshapes`."
        )
    data = annotations.data
    index_of = {image["id"]: index for index, image in enumerate(data["images"])}
    names = {category["id"]: category["name"] for category in data["categories"]}
    images_with = np.zeros((len(split.class_names), len(names)), dtype=np.int64)
    column = {category: number for number, category in enumerate(names)}
    seen = {(a["image_id"], a["category_id"]) for a in annotations.parts}
    for image, category in seen:
        images_with[split.labels[index_of[image]], column[category]] += 1
    count = np.bincount(split.labels, minlength=len(split.class_names))
    return {
        name: {
            part: float(images_with[label, number] / count[label])
            for number, part in enumerate(names.values())
            if images_with[label, number]
        }
        for label, name in enumerate(split.class_names)
    }
