"""A folder per class: in a directory, a .zip or a .tar, with fixed splits or a seeded one."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench_datasets.files import Files, files_by_split, val_for_test
from bench_datasets.options import TEST_SHARE, ImageFolderOptions
from bench_datasets.sources import Member, Source, archive_suffix, printable, source
from bench_datasets.splitting import Given, PlacedDataset, shares_to_draw
from benchmark import FORMATS, InputError, PassedOver

_UNSPLIT = "unsplit"


class ImageFolder(PlacedDataset):
    """Images in class folders."""

    Options = ImageFolderOptions

    place_is = "a directory, .zip or .tar with a folder of images per class"

    def read(self) -> Given:
        """Return the splits that the places hold.

        Raises:
            InputError: no images, a class is missing from a split, the splits cannot be told.
            MissingError: a place is not there.
        """
        self.check()
        places = self.places()
        passed_over = PassedOver()
        if "path" in places:
            folders, whole = _found_below(places["path"], passed_over), str(places["path"])
        else:
            folders = {split: _classes(place, passed_over) for split, place in places.items()}
            whole = str(places["train"])
            resolved = Counter(place.resolve() for place in places.values())
            if max(resolved.values()) > 1:
                found = ", ".join(str(place) for place in places.values())
                raise InputError(f"train, val and test must be different places, found {found}.")
        unsplit = _UNSPLIT in folders
        if unsplit:
            folders = {"train": folders[_UNSPLIT]}
        remarks = passed_over.remarks()
        remarks += val_for_test(folders, self.options)
        names = _class_names(folders)
        splits = files_by_split({split: folder.listed(names) for split, folder in folders.items()}, self.options)
        test_share = TEST_SHARE if unsplit else None
        return Given(splits, shares_to_draw(self.options, splits, whole, test_share), folders["train"].where, remarks)


# -- which folder is what ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Folder:
    """Class folders.

    Attributes:
        source: where the files are read.
        depth: how many parts of a member's name stand before the class.
        classes: class → files, sorted.
        where: place, for messages.
    """

    source: Source
    depth: int
    classes: dict[str, list[Member]]
    where: str

    def listed(self, class_names: Sequence[str]) -> Files:
        """Return the files in the order of the classes."""
        members = [member for name in class_names for member in self.classes[name]]
        labels = [label for label, name in enumerate(class_names) for _ in self.classes[name]]
        names = ["/".join(member.parts[self.depth :]) for member in members]
        return Files(self.source, members, names, labels, [printable(name) for name in class_names])


def split_of(folder: str) -> str | None:
    """Return the split that a folder or archive is by its name, or None: `train2017`, `Testing`, `seg_test`, `dev`."""
    found = {
        _SPLIT_WORDS[bare]
        for word in re.split(r"[^a-z0-9]+", folder.lower())
        if (bare := re.sub(r"(set|sets|data|images?|imgs?|split)?\d*$", "", word)) in _SPLIT_WORDS
    }
    return found.pop() if len(found) == 1 else None


_SPLIT_WORDS = {
    **dict.fromkeys(("train", "training", "trn"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "validate", "dev", "development", "eval", "evaluation"), "val"),
    **dict.fromkeys(("test", "testing", "tst", "holdout", "heldout"), "test"),
}


def _classes(place: Path, passed_over: PassedOver) -> _Folder:
    """Return the class folders at `place`; a single folder around them is skipped."""
    found = source(place)
    return _folder(found, _in_folders(found, passed_over), 0, passed_over)


def _found_below(place: Path, passed_over: PassedOver) -> dict[str, _Folder]:
    """Return the splits at `place`, or all classes as `_UNSPLIT` where it has no splits."""
    if place.is_dir():
        beside: dict[str, list[Path]] = {}
        others = []
        for child in sorted(place.iterdir()):
            suffix = archive_suffix(child.name)
            stem = child.name[: -len(suffix)] if suffix and child.is_file() else child.name if child.is_dir() else ""
            if split := split_of(stem):
                beside.setdefault(split, []).append(child)
            else:
                others.append(child)
        if "train" in beside and any(child.is_file() for children in beside.values() for child in children):
            for split, children in beside.items():
                if len(children) > 1:
                    raise InputError(
                        f"{place}: more than one place for {split}: {', '.join(child.name for child in children)}. "
                        "Keep one, or give train:, val: and test: instead of path:."
                    )
            for child in others:
                passed_over.add(child.name, folder=child.is_dir())
            return {split: _classes(children[0], passed_over) for split, children in beside.items()}
    found = source(place)
    members = _in_folders(found, passed_over)
    depth = 0
    while True:
        below = _sub_folders(members, depth)
        if splits := _split_folders(found, below):
            return {
                split: _folder(found, [m for m in members if m.parts[depth] == top], depth + 1, passed_over, top)
                for top, split in splits.items()
            }
        if _common_top(below) is None:
            return {_UNSPLIT: _folder(found, members, depth, passed_over)}
        members = _deeper(members, depth, passed_over)
        depth += 1


def _sub_folders(members: list[Member], depth: int) -> dict[str, set[str]]:
    """Return folder at `depth` → the folders with images in it."""
    below: dict[str, set[str]] = {}
    for member in members:
        found = below.setdefault(member.parts[depth], set())
        if len(member.parts) >= depth + 3:
            found.add(member.parts[depth + 1])
    return below


def _split_folders(found: Source, below: dict[str, set[str]]) -> dict[str, str]:
    """Return folder → split where the folders are splits.

    Raises:
        InputError: they are none of which each is known, or cannot be told from classes.
    """
    splits = {top: split for top in below if (split := split_of(top)) is not None}
    flat = [top for top in splits if not below[top]]
    several = len(set(splits.values())) > 1
    listed = ", ".join(map(printable, below))
    if "train" in splits.values() and several and (below.keys() == splits.keys() or "test" in splits.values()):
        if len(flat) == len(below) or (flat and len(flat) < len(splits)):
            raise InputError(
                f"{found.path}: the images of {', '.join(map(printable, flat))} lie in no class folder, so they have "
                "no labels. Put the images of each class into a folder of the class's name; or name files and labels "
                "in a table (data set `image_table`); or leave the folder out: train:, val: and test: instead of path:."
            )
        if not flat:
            if len(splits) < len(below) or len(set(splits.values())) < len(splits):
                raise InputError(
                    f"{found.path}: cannot tell splits from classes: found the folders {listed}. Keep one each of "
                    "train, val and test and nothing else, or give train:, val: and test: instead of path:."
                )
            return splits
    inside = {name: split for names in below.values() for name in names if (split := split_of(name)) is not None}
    if len(below) > 1 and "train" in inside.values() and len(set(inside.values())) > 1:
        raise InputError(
            f"{found.path}: its folders {listed} hold splits ({', '.join(map(printable, sorted(inside)))}), so that "
            "test images would count as training images. A folder of each split has to hold a folder of each class; "
            "or give train:, val: and test: instead of path:."
        )
    for one, other in itertools.combinations(sorted(top for top in below if below[top]), 2):
        common = below[one] & below[other]
        if len(common) >= 2 and 2 * len(common) > min(len(below[one]), len(below[other])):
            raise InputError(
                f"{found.path}: cannot tell splits from classes: of its folders {listed}, {printable(one)} and "
                f"{printable(other)} hold the same sub-folders ({', '.join(map(printable, sorted(common)[:5]))}"
                f"{', ...' if len(common) > 5 else ''}). If they are splits, call them train, val and test, or give "
                "train:, val: and test: instead of path:. If they are classes, give the place as train:, with a "
                "test_share."
            )
    return {}


def _in_folders(found: Source, passed_over: PassedOver) -> list[Member]:
    members = found.members(passed_over)
    if not members:
        (said,) = passed_over.remarks() or ("It is empty.",)
        raise InputError(
            f"{found.path}: no images of a known format ({', '.join(FORMATS)}). {said} The data set `image_table` "
            "reads tables that hold images or name them (.parquet, .csv, .jsonl)."
        )
    inside = [member for member in members if len(member.parts) > 1]
    if not inside:
        raise InputError(
            f"{found.path}: its {len(members)} images lie in no folder. Put the images of each class into a folder "
            "of the class's name, or name files and labels in a table (data set `image_table`)."
        )
    if len(inside) < len(members):
        passed_over[PassedOver.IN_NO_CLASS] += len(members) - len(inside)
    return inside


def _common_top(below: dict[str, set[str]]) -> str | None:
    """Return the one folder around all class folders, or None."""
    ((top, inside), *others) = below.items()
    return top if not others and inside else None


def _deeper(members: list[Member], depth: int, passed_over: PassedOver) -> list[Member]:
    """Return the members that lie in a folder below the one at `depth`."""
    inside = [member for member in members if len(member.parts) >= depth + 3]
    if len(inside) < len(members):
        passed_over[PassedOver.IN_NO_CLASS] += len(members) - len(inside)
    return inside


def _folder(found: Source, members: list[Member], depth: int, passed_over: PassedOver, top: str = "") -> _Folder:
    """Return the class folders at `depth`; a single folder around them is skipped."""
    if top:
        members = _deeper(members, depth - 1, passed_over)
    while _common_top(_sub_folders(members, depth)) is not None:
        members = _deeper(members, depth, passed_over)
        depth += 1
    classes: dict[str, list[Member]] = {}
    for member in members:
        classes.setdefault(member.parts[depth], []).append(member)
    return _Folder(found, depth, classes, f"{found.path}{f' ({printable(top)})' if top else ''}")


def _class_names(folders: dict[str, _Folder]) -> list[str]:
    """Return the names of all classes, sorted.

    Raises:
        InputError: a class is missing from a split, or there is only one.
    """
    names = sorted({name for folder in folders.values() for name in folder.classes})
    for split, folder in folders.items():
        missing = [printable(name) for name in names if name not in folder.classes]
        if missing:
            there = next((s, f) for s, f in folders.items() if any(n not in folder.classes for n in f.classes))
            raise InputError(
                f"{folder.where}: the split {split} has no images of the class {missing[0]!r}"
                f"{f' and of {len(missing) - 1} other classes' if len(missing) > 1 else ''}, which the split "
                f"{there[0]} has ({there[1].where}). Every split needs a folder with images for each class: "
                "add it, or remove it from the other splits."
            )
    if len(names) < 2:
        raise InputError(
            f"{folders['train'].where}: found one folder of images, {printable(names[0])!r}; at least two class "
            "folders are needed."
        )
    return names
