"""A folder per class: in a directory, a .zip or a .tar, with fixed splits or a seeded one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np

from bench_datasets.options import TEST_SHARE, ImageFolderOptions
from bench_datasets.sources import IMAGE_SUFFIXES, Member, Source, archive_suffix, printable, source
from bench_datasets.splitting import DrawnDataset, Given, GivenSplit, shares_to_draw
from benchmark.dataset import DecodedSplit
from benchmark.errors import InputError, MissingError
from benchmark.images import Fit, pixels_of, read_image

_WORTH_A_THREAD_BYTES = 8192
"""Files above this are decoded by several threads; for smaller ones the threads cost more than they give."""

_UNSPLIT = "unsplit"
_SPLIT_NAMES = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


class ImageFolder(DrawnDataset):
    """Images in class folders."""

    Options = ImageFolderOptions

    def check(self) -> None:
        """Look whether the places are there.

        Raises:
            MissingError: one is not.
        """
        for option, place in self._places().items():
            if not place.exists():
                raise MissingError(
                    f"nothing at {place.absolute()}. Set `{option}:` to a directory, .zip or .tar with a folder of "
                    "images per class; relative paths start at the current folder. A profile with embedded data (the "
                    "data set `digits`) runs without it."
                )

    def read(self) -> Given:
        """Return the splits that the places hold.

        Raises:
            InputError: no images, a class is missing from a split, the splits cannot be told.
            MissingError: a place is not there.
        """
        self.check()
        places = self._places()
        if "path" in places:
            folders, whole = _found_below(places["path"]), str(places["path"])
        else:
            folders, whole = {split: _classes(place) for split, place in places.items()}, str(places["train"])
            resolved = Counter(place.resolve() for place in places.values())
            if max(resolved.values()) > 1:
                found = ", ".join(str(place) for place in places.values())
                raise InputError(f"train, val and test must be different places, found {found}.")
        unsplit = _UNSPLIT in folders
        if unsplit:
            folders = {"train": folders[_UNSPLIT]}
        names = _class_names(folders)
        shape = self._image_shape(folders["train"])
        splits: dict[str, GivenSplit] = {
            split: FolderSplit(folder, names, self.options, shape) for split, folder in folders.items()
        }
        test_share = TEST_SHARE if unsplit else None
        return Given(splits, shares_to_draw(self.options, splits, whole, test_share), folders["train"].where)

    def _places(self) -> dict[str, Path]:
        """Return option → place."""
        named = {option: getattr(self.options, option) for option in ("path", "train", "val", "test")}
        return {option: Path(place).expanduser() for option, place in named.items() if place is not None}

    def _image_shape(self, folder: _Folder) -> tuple[int, int, int]:
        """Return (C, H, W): from the options, or of the first training image."""
        if self.options.size is not None:
            return 3 if self.options.color == "rgb" else 1, self.options.size, self.options.size
        first = folder.classes[min(folder.classes)][0]
        channels, height, width = decode(folder.source.read(first), self.options, folder.source.where(first)).shape
        return channels, height, width


class FolderSplit(DecodedSplit, GivenSplit):
    """Images of class folders, decoded when they are first asked for. Threads and processes may share it."""

    def __init__(
        self, folder: _Folder, class_names: Sequence[str], options: ImageFolderOptions, shape: tuple[int, int, int]
    ) -> None:
        """Keep what to read: nothing is read here."""
        self._source = folder.source
        self._options = options
        self._members: list[Member] = []
        self._names: list[str] = []
        labels: list[int] = []
        for label, name in enumerate(class_names):
            for member in folder.classes[name]:
                self._members.append(member)
                self._names.append("/".join(member.parts[folder.depth :]))
                labels.append(label)
        self.class_names = tuple(printable(name) for name in class_names)
        self.labels = np.asarray(labels, dtype=np.int64)
        self.image_shape = shape

    def sample_ids(self, indices: Sequence[int]) -> list[str]:
        """Return class folder and file name per image."""
        return [printable(self._names[index]) for index in indices]

    def content(self) -> str:
        """Return a digest of names, labels, file contents, and the options that change pixels."""
        options = self._options
        digest = sha256(repr((self.image_shape, options.size, options.fit, options.resize, options.color)).encode())
        for member, name, label in zip(self._members, self._names, self.labels):
            line = f"\n{label} {name} {self._source.content(member)}"
            digest.update(line.encode("utf-8", "surrogateescape"))
        return digest.hexdigest()

    def decoded(self, indices: np.ndarray, threads: int) -> Iterator[np.ndarray]:
        """Yield the images of `indices`, large files read by as many threads as torch may use in this process."""
        several = threads > 1 and len(indices) > 1
        if several and len(self._source.read(self._members[indices[0]])) > _WORTH_A_THREAD_BYTES:
            with ThreadPoolExecutor(threads) as pool:
                yield from pool.map(self._read, indices)
        else:
            yield from map(self._read, indices)

    def _read(self, index: int) -> np.ndarray:
        member = self._members[index]
        where = self._source.where(member)
        pixels = decode(self._source.read(member), self._options, where)
        if pixels.shape != self.image_shape:
            (_, height, width), (_, expected_height, expected_width) = pixels.shape, self.image_shape
            raise InputError(
                f"{where}: is {height}x{width} pixels, the first training image {expected_height}x{expected_width}. "
                "Set `size:` to bring all images to one shape."
            )
        return pixels


def decode(content: bytes, options: ImageFolderOptions, where: str) -> np.ndarray:
    """Return the pixels of an image file: (C, H, W) uint8, in the size and colour of the options.

    Raises:
        InputError: it is damaged, of an unknown format, or larger than Pillow's limit.
    """
    image = read_image(content, where=where, color=options.color)
    return pixels_of(image) if options.size is None else Fit(options.fit, options.size, options.resize)(image, where)


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


def _classes(place: Path) -> _Folder:
    """Return the class folders at `place`; a single folder around them is skipped."""
    found = source(place)
    members = _in_folders(found, found.members())
    depth = 0
    while _common_top(members, depth) is not None:
        depth += 1
    return _folder(found, members, depth)


def _found_below(place: Path) -> dict[str, _Folder]:
    """Return the splits at `place`, or all classes as `_UNSPLIT` where it has no splits."""
    if place.is_dir():
        beside: dict[str, list[Path]] = {}
        for child in sorted(place.iterdir()):
            suffix = archive_suffix(child.name)
            stem = child.name[: -len(suffix)] if suffix and child.is_file() else child.name if child.is_dir() else ""
            if split := _SPLIT_NAMES.get(stem.lower()):
                beside.setdefault(split, []).append(child)
        if "train" in beside and any(child.is_file() for children in beside.values() for child in children):
            for split, children in beside.items():
                if len(children) > 1:
                    raise InputError(
                        f"{place}: more than one place for {split}: {', '.join(child.name for child in children)}. "
                        "Keep one, or give train:, val: and test: instead of path:."
                    )
            return {split: _classes(children[0]) for split, children in beside.items()}
    found = source(place)
    members = _in_folders(found, found.members())
    depth = 0
    while True:
        tops = sorted({member.parts[depth] for member in members})
        splits = {top: _SPLIT_NAMES.get(top.lower()) for top in tops}
        deep = all(len(member.parts) >= depth + 3 for member in members)
        if deep and "train" in splits.values() and (None not in splits.values() or "test" in splits.values()):
            return _split_folders(found, members, depth, splits)
        if _common_top(members, depth) is None:
            return {_UNSPLIT: _folder(found, members, depth)}
        depth += 1


def _split_folders(
    found: Source, members: list[Member], depth: int, splits: dict[str, str | None]
) -> dict[str, _Folder]:
    others = [top for top, split in splits.items() if split is None]
    named = [split for split in splits.values() if split is not None]
    if others or len(set(named)) < len(named):
        raise InputError(
            f"{found.path}: cannot tell splits from classes: found the folders {', '.join(map(printable, splits))}. "
            "Keep one each of train, val and test and nothing else, or give train:, val: and test: instead of path:."
        )
    return {
        split: _folder(found, [m for m in members if m.parts[depth] == top], depth + 1, top)
        for top, split in splits.items()
        if split is not None
    }


def _in_folders(found: Source, members: list[Member]) -> list[Member]:
    if not members:
        raise InputError(f"{found.path}: no images. Looked for files that end in {', '.join(IMAGE_SUFFIXES)}.")
    inside = [member for member in members if len(member.parts) > 1]
    if not inside:
        raise InputError(
            f"{found.path}: its {len(members)} images lie in no folder. Put the images of each class into a folder "
            "of the class's name."
        )
    return inside


def _common_top(members: list[Member], depth: int) -> str | None:
    """Return the one folder at `depth` around all class folders, or None."""
    top = members[0].parts[depth]
    alone = all(member.parts[depth] == top and len(member.parts) >= depth + 3 for member in members)
    return top if alone else None


def _folder(found: Source, members: list[Member], depth: int, top: str = "") -> _Folder:
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
