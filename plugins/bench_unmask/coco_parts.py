"""`coco_parts`: photos with part annotations in COCO form (Lin et al., ECCV 2014) and a class per image."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

import numpy as np

from bench_unmask import masks
from bench_unmask.options import CocoPartsOptions
from bench_unmask.photos import Fit, PhotoSplit, Place, digest_of, read_photo, refuse_shared_images
from benchmark.dataset import SPLITS, Dataset, PartAnnotations
from benchmark.errors import InputError, MissingError, unknown_name


class CocoParts(Dataset):
    """Photos of classes, each with the parts that were annotated in it.

    The class of an image is its field `class_name`, or the first folder of its `file_name` (`car/0001.jpg`). Images
    are resized to a square without keeping the aspect ratio, and boxes and masks with them.
    """

    Options: ClassVar = CocoPartsOptions

    def check(self) -> None:
        """Look whether the annotation files and the image folders are there.

        Raises:
            MissingError: one is not.
        """
        for split in SPLITS:
            for kind, place, there in (
                ("annotation file", self._file(split), self._file(split).is_file()),
                ("image folder", self._folder(split), self._folder(split).is_dir()),
            ):
                if not there:
                    raise MissingError(
                        f"coco_parts: no {kind} at {place.absolute()}. Set `path:` to a folder with "
                        "annotations/train.json, val.json, test.json and images/, or give train, val, test and images; "
                        "relative paths start at the current folder. The data set `partshapes` needs no files."
                    )

    def fingerprint(self) -> str:
        """Return a digest of images, annotations and options.

        Raises:
            InputError: the data is unusable, or two classes have the same image, be it in different splits.
        """
        digest = sha256(repr((self._class_names, self.options.size)).encode())
        files: list[Path] = []
        labels: list[int] = []
        for split in SPLITS:
            loaded = self.load(split)
            files += loaded.files
            labels += loaded.labels.tolist()
            digest.update(f"\n{split} {digest_of(self._file(split))}".encode())
            for path, name in zip(loaded.files, loaded.sample_ids(range(len(loaded)))):
                digest.update(f"\n{name} {digest_of(path)}".encode("utf-8", "surrogateescape"))
        refuse_shared_images(files, labels, self._class_names)
        return digest.hexdigest()

    def load(self, split: str) -> CocoSplit:
        """Return the split `train`, `val` or `test`.

        Raises:
            MissingError: files are not there.
            InputError: the annotations are unusable; the message names the file and the id.
        """
        self.check()
        path, names = self._file(split), self._class_names
        whole = read_coco(path)
        class_of = [class_name_of(image, path) for image in whole.images]
        chosen = [index for index, name in enumerate(class_of) if name in names]
        labels = np.array([names.index(class_of[index]) for index in chosen], dtype=np.int64)
        for label, name in enumerate(names):
            if label not in labels:
                raise InputError(
                    f"{path}: no image of the class {name!r}. Every split needs images of each class: add some, or "
                    f"leave it out by `classes:`. Found: {', '.join(sorted(set(class_of)))}."
                )
        part = whole.subset(chosen)
        if split == "train":
            for label, name in enumerate(names):
                if not any(part.of_image[image["id"]] for image, at in zip(part.images, labels) if at == label):
                    raise InputError(
                        f"{path}: the class {name!r} has no annotated part in any of its images. "
                        "Annotate some, or leave the class out by `classes:`."
                    )
        loaded = CocoSplit(part, self._folder(split), labels, names, Fit("squash", self.options.size))
        refuse_shared_images(loaded.files, labels, names)
        return loaded

    @cached_property
    def _class_names(self) -> tuple[str, ...]:
        path = self._file("train")
        found = {class_name_of(image, path) for image in read_coco(path).images}
        wanted = self.options.classes
        if wanted is None:
            if len(found) < 2:
                raise InputError(
                    f"{path}: found one class, {', '.join(found) or 'none'}; at least two are needed. The class of an "
                    "image is its field `class_name`, or the first folder of its file_name."
                )
            return tuple(sorted(found))
        for name in wanted:
            if name not in found:
                raise InputError(f"{path}: {unknown_name('class', name, found)}")
        return tuple(wanted)

    def _file(self, split: str) -> Path:
        if self.options.path is not None:
            return Path(self.options.path).expanduser() / "annotations" / f"{split}.json"
        return Path(getattr(self.options, split)).expanduser()

    def _folder(self, split: str) -> Path:
        images = self.options.images
        if images is None:
            return Path(self.options.path).expanduser() / "images"
        return Path(images[split] if isinstance(images, dict) else images).expanduser()


class CocoSplit(PhotoSplit):
    """Photos of a COCO file."""

    def __init__(self, coco: CocoFile, folder: Path, labels: np.ndarray, class_names: Iterable[str], fit: Fit) -> None:
        """Keep what to read: of the images, only their presence is looked at.

        Raises:
            InputError: an image file is missing.
        """
        files = []
        for image in coco.images:
            file = folder / image["file_name"]
            if not file.is_file():
                raise InputError(
                    f"{coco.path}: image {image['id']} is missing: no file {file}. Put it there, or remove the image "
                    "and its annotations."
                )
            files.append(file)
        names = [image["file_name"] for image in coco.images]
        super().__init__(files, names, labels, tuple(class_names), fit)
        self._coco = coco

    def part_annotations(self) -> PartAnnotations:
        """Return the annotations scaled to the images as `images` delivers them; ids are those of the file.

        `image_folder` holds the files in their own size, to which the annotations no longer fit.
        """
        images, annotations = [], []
        for image in self._coco.images:
            place = self.fit.place(image["width"], image["height"])
            images.append({**image, "width": self.fit.size, "height": self.fit.size})
            annotations += [scaled(a, image, place, self.fit.size) for a in self._coco.of_image[image["id"]]]
        folders = {path.parent for path in self.files}
        data = {"images": images, "annotations": annotations, "categories": self._coco.categories}
        return PartAnnotations(data, folders.pop() if len(folders) == 1 else None)

    def _read(self, index: int) -> np.ndarray:
        photo = read_photo(self.files[index])
        image = self._coco.images[index]
        if photo.size != (image["width"], image["height"]):
            raise InputError(
                f"{self.files[index]}: is {photo.width}x{photo.height} pixels, but {self._coco.path} says "
                f"{image['width']}x{image['height']} for image {image['id']}: its annotations would lie elsewhere."
            )
        return self.fit(photo)


# -- COCO files -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class CocoFile:
    """A COCO file whose every entry was checked.

    Attributes:
        path: where it was read, for messages.
        images: entries with `id`, `file_name`, `width`, `height`.
        categories: entries with `id`, `name`.
        of_image: image id → its annotations.
    """

    path: Path
    images: list[dict[str, Any]]
    categories: list[dict[str, Any]]
    of_image: dict[int, list[dict[str, Any]]]

    def subset(self, indices: Iterable[int]) -> CocoFile:
        """Return the file with these images only."""
        images = [self.images[index] for index in indices]
        return CocoFile(self.path, images, self.categories, {i["id"]: self.of_image[i["id"]] for i in images})


def class_name_of(image: dict[str, Any], path: Path) -> str:
    """Return the class of an image entry.

    Raises:
        InputError: it has neither `class_name` nor a folder in its file name.
    """
    name = image.get("class_name")
    if name is None and len(parts := PurePosixPath(image["file_name"]).parts) > 1:
        name = parts[0]
    if not isinstance(name, str) or not name:
        raise InputError(
            f"{path}: image {image['id']} ({image['file_name']}) has no class: give it a field `class_name`, or put "
            "its file into a folder of the class's name."
        )
    return name


def read_coco(path: Path) -> CocoFile:
    """Read a COCO file and check every entry of it.

    Raises:
        MissingError: no such file.
        InputError: broken JSON, a missing or wrong field, an id that occurs twice or points nowhere, an empty box or
            mask; the message names the file and the id.
    """
    try:
        about = path.stat()
    except FileNotFoundError:
        raise MissingError(f"no annotation file at {path.absolute()}.") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error}.") from None
    return _read_coco(path, about.st_mtime_ns, about.st_size)


@lru_cache(maxsize=8)
def _read_coco(path: Path, changed: int, size: int) -> CocoFile:
    """Read a file once, however many class sets are chosen from it; nobody changes what is returned."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise InputError(
            f"{path}:{error.lineno}: broken JSON: {error.msg} (column {error.colno}). Fetch or write the file again."
        ) from None
    except (OSError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read: {error}.") from None
    if not isinstance(data, dict):
        raise InputError(f"{path}: not a COCO file: expected an object with images, annotations and categories.")
    lists: dict[str, list[dict[str, Any]]] = {}
    for key in ("categories", "images", "annotations"):
        found = data.get(key)
        if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
            raise InputError(f"{path}: not a COCO file: expected a list of objects under {key!r}.")
        lists[key] = found
    categories = {
        _id(entry, "category", path): _text(entry, "name", f"{path}: category {entry['id']}")
        for entry in lists["categories"]
    }
    _refuse_twice([entry["id"] for entry in lists["categories"]], "category id", path)
    _refuse_twice(list(categories.values()), "category name", path)
    images: dict[int, dict[str, Any]] = {}
    for entry in lists["images"]:
        where = f"{path}: image {_id(entry, 'image', path)}"
        _check_file_name(_text(entry, "file_name", where), where)
        for side in ("width", "height"):
            if not _whole(entry.get(side)) or entry[side] < 1:
                raise InputError(f"{where}: {side} is {entry.get(side)!r}, expected a whole number of pixels.")
        images[entry["id"]] = entry
    _refuse_twice([entry["id"] for entry in lists["images"]], "image id", path)
    _refuse_twice([entry["file_name"] for entry in lists["images"]], "file_name", path)
    of_image: dict[int, list[dict[str, Any]]] = {image: [] for image in images}
    for entry in lists["annotations"]:
        where = f"{path}: annotation {_id(entry, 'annotation', path)}"
        if not _whole(entry.get("image_id")) or entry["image_id"] not in images:
            raise InputError(f"{where}: points to image {entry.get('image_id')!r}, which is not among the images.")
        if not _whole(entry.get("category_id")) or entry["category_id"] not in categories:
            listed = ", ".join(map(str, sorted(categories)))
            raise InputError(f"{where}: unknown category id {entry.get('category_id')!r}. Known: {listed or 'none'}.")
        of_image[entry["image_id"]].append(_checked_shape(entry, images[entry["image_id"]], where))
    _refuse_twice([entry["id"] for entry in lists["annotations"]], "annotation id", path)
    return CocoFile(path, lists["images"], lists["categories"], of_image)


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _id(entry: dict[str, Any], what: str, path: Path) -> int:
    found = entry.get("id")
    if not _whole(found):
        raise InputError(f"{path}: {what} with id {found!r}: expected a whole number.")
    return int(entry["id"])


def _text(entry: dict[str, Any], key: str, where: str) -> str:
    found = entry.get(key)
    if not isinstance(found, str) or not found.strip():
        raise InputError(f"{where}: {key} is {found!r}, expected a text.")
    return found


def _refuse_twice(values: list[Any], what: str, path: Path) -> None:
    if len(set(values)) < len(values):
        twice = next(value for value, count in Counter(values).items() if count > 1)
        raise InputError(f"{path}: the {what} {twice!r} occurs twice.")


def _check_file_name(name: str, where: str) -> None:
    parts = PurePosixPath(name).parts
    if "\\" in name or "\0" in name or ":" in name or name.startswith("/") or ".." in parts or not parts:
        raise InputError(
            f"{where}: file_name {name!r} must be a plain relative path below the image folder, with / between folders."
        )


def _checked_shape(entry: dict[str, Any], image: dict[str, Any], where: str) -> dict[str, Any]:
    """Return the annotation with its box clipped to the image and an `area`."""
    width, height = image["width"], image["height"]
    box = entry.get("bbox")
    if not isinstance(box, list) or len(box) != 4 or not all(_finite(value) for value in box):
        raise InputError(f"{where}: bbox is {box!r}, expected four numbers [x, y, width, height].")
    left, top = max(0.0, box[0]), max(0.0, box[1])
    right, bottom = min(float(width), box[0] + box[2]), min(float(height), box[1] + box[3])
    if right <= left or bottom <= top:
        raise InputError(f"{where}: bbox {box} is empty or lies outside of its image of {width}x{height} pixels.")
    checked = {**entry, "bbox": [left, top, right - left, bottom - top]}
    segmentation = entry.get("segmentation")
    if isinstance(segmentation, list):
        if not segmentation:
            raise InputError(f"{where}: its mask is empty (segmentation has no polygon).")
        for polygon in segmentation:
            if (
                not isinstance(polygon, list)
                or len(polygon) < 6
                or len(polygon) % 2
                or not all(_finite(value) for value in polygon)
            ):
                raise InputError(f"{where}: a polygon needs at least three points, as [x1, y1, x2, y2, x3, y3 ...].")
        if not any(_covers_something(polygon, width, height) for polygon in segmentation):
            raise InputError(
                f"{where}: its mask is empty: the points of its polygons lie on a line, or outside of its image of "
                f"{width}x{height} pixels."
            )
    elif isinstance(segmentation, dict):
        try:
            mask = masks.decode_rle(segmentation)
        except ValueError as error:
            raise InputError(f"{where}: segmentation: {error}.") from None
        if mask.shape != (height, width):
            raise InputError(f"{where}: its mask is of size {mask.shape}, its image {(height, width)} (height, width).")
        if not mask.any():
            raise InputError(f"{where}: its mask is empty.")
    elif segmentation is not None:
        raise InputError(f"{where}: segmentation must be a list of polygons or run lengths.")
    if "area" not in entry:
        checked["area"] = checked["bbox"][2] * checked["bbox"][3]
    elif not _finite(entry["area"]):
        raise InputError(f"{where}: area is {entry['area']!r}, expected a number.")
    checked.setdefault("iscrowd", 0)
    return checked


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _covers_something(polygon: list[float], width: int, height: int) -> bool:
    """Tell a polygon with an area, of which some may lie inside the image, from one that covers nothing."""
    xs, ys = polygon[::2], polygon[1::2]
    if max(xs) <= 0 or min(xs) >= width or max(ys) <= 0 or min(ys) >= height:
        return False
    across = down = 0.0  # from the first point to the first that lies elsewhere
    for x, y in zip(xs, ys):
        right, below = x - xs[0], y - ys[0]
        if across * below != down * right:
            return True
        if not across and not down:
            across, down = right, below
    return False


def scaled(annotation: dict[str, Any], image: dict[str, Any], place: Place, size: int) -> dict[str, Any]:
    """Return an annotation moved with its image into a square of `size` pixels."""
    across, down = place.width / image["width"], place.height / image["height"]
    x, y, width, height = annotation["bbox"]
    moved = {
        **annotation,
        "bbox": [x * across + place.left, y * down + place.top, width * across, height * down],
        "area": annotation["area"] * across * down,
    }
    segmentation = annotation.get("segmentation")
    if isinstance(segmentation, list):
        moved["segmentation"] = [
            [value * across + place.left if i % 2 == 0 else value * down + place.top for i, value in enumerate(polygon)]
            for polygon in segmentation
        ]
    elif isinstance(segmentation, dict):
        mask = masks.decode_rle(segmentation)
        rows = ((np.arange(place.height) + 0.5) / down).astype(np.int64).clip(0, image["height"] - 1)
        columns = ((np.arange(place.width) + 0.5) / across).astype(np.int64).clip(0, image["width"] - 1)
        square = np.zeros((size, size), dtype=bool)
        square[place.top : place.top + place.height, place.left : place.left + place.width] = mask[rows][:, columns]
        if not square.any():  # smaller than a pixel: keep the one under its middle
            box = moved["bbox"]
            row, column = int(box[1] + box[3] / 2), int(box[0] + box[2] / 2)
            square[min(row, size - 1), min(column, size - 1)] = True
        moved["segmentation"] = masks.rle(square)
    return moved
