"""`coco_parts`: photos with part annotations in COCO form (Lin et al., ECCV 2014) and a class per image."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

import numpy as np

from bench_unmask import masks
from bench_unmask.datasets.options import CocoPartsOptions
from bench_unmask.datasets.photos import (
    Photos,
    PhotoSplit,
    digest_of,
    header_of,
    look_through,
    looks_of,
    refuse_shared_images,
)
from benchmark import (
    SPLITS,
    Fit,
    ImageHeader,
    InputError,
    MissingError,
    Mistakes,
    PartAnnotations,
    Place,
    decode_mask,
    is_ignored,
    read_image,
    unknown_name,
)

LONGEST_SIDE = 10**6
"""No image has more pixels along a side; what says so is a mistake."""


class AnnotatedPhotos(Photos):
    """Photos with parts that COCO files annotate."""

    def remarks(self) -> tuple[str, ...]:
        """Return what was assumed about photos that carry an orientation.

        Raises:
            InputError: photos are unusable; one message tells all of them.
        """
        return self._remarks

    @cached_property
    def _remarks(self) -> tuple[str, ...]:
        return look_through(self.load)


def content_of(split: str, file: Path, photos: PhotoSplit) -> bytes:
    """Return lines that name a split's annotation file and photos with the digests of their contents."""
    lines = [f"\n{split} {digest_of(file)}"]
    lines += [f"\n{name} {digest_of(path)}" for path, name in zip(photos.files, photos.sample_ids(range(len(photos))))]
    return "".join(lines).encode("utf-8", "surrogateescape")


class CocoParts(AnnotatedPhotos):
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
        self.remarks()
        digest = sha256(repr((self._class_names, self.options.size)).encode())
        files: list[Path] = []
        labels: list[int] = []
        for split in SPLITS:
            loaded = self.load(split)
            files += loaded.files
            labels += loaded.labels.tolist()
            digest.update(content_of(split, self._file(split), loaded))
        refuse_shared_images(files, labels, self._class_names)
        return digest.hexdigest()

    def read(self, split: str) -> CocoSplit:
        """Return the split `train`, `val` or `test`.

        Raises:
            MissingError: files are not there.
            InputError: annotations or photos are unusable; one message tells all of it, with the file and the ids.
        """
        self.check()
        path, names = self._file(split), self._class_names
        mistakes = Mistakes(str(path))
        whole = read_coco(path, mistakes)
        class_of = classes_of(whole, mistakes)
        chosen = [index for index, name in enumerate(class_of) if name in names]
        labels = np.array([names.index(class_of[index]) for index in chosen], dtype=np.int64)
        part = whole.subset(chosen)
        entries_are_sound = not mistakes  # else what a class lacks may be among those left out
        for label, name in enumerate(names):
            if entries_are_sound and label not in labels:
                mistakes.add(
                    "class without images",
                    f"no image of the class {name!r}. Every split needs images of each class: add some, or leave it "
                    f"out by `classes:`. Found: {', '.join(sorted(set(class_of)))}.",
                )
            elif (
                entries_are_sound
                and split == "train"
                and not any(part.has_parts(image) for image, at in zip(part.images, labels) if at == label)
            ):
                mistakes.add(
                    "class without parts",
                    f"the class {name!r} has no annotated part in any of its images. "
                    "Annotate some, or leave the class out by `classes:`.",
                )
        loaded = photos_of(part, self._folder(split), labels, names, Fit("squash", self.options.size), mistakes)
        refuse_shared_images(loaded.files, labels, names)
        return loaded

    @cached_property
    def _class_names(self) -> tuple[str, ...]:
        path = self._file("train")
        mistakes = Mistakes(str(path))
        found = set(classes_of(read_coco(path, mistakes), mistakes)) - {""}
        wanted = self.options.classes
        if wanted is None:
            if len(found) < 2:
                mistakes.raise_if_any()
                raise InputError(
                    f"{path}: found one class, {', '.join(found) or 'none'}; at least two are needed. The class of an "
                    "image is its field `class_name`, or the first folder of its file_name."
                )
            return tuple(sorted(found))
        for name in wanted:
            if name not in found:
                mistakes.raise_if_any()
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


AS_STORED = (
    "left as stored, though EXIF says to turn them: the annotation file gives their size before turning, so their "
    "parts were drawn on the pixels as stored"
)
UPRIGHT = (
    "turned by an EXIF orientation that leaves their size as it is: their parts are taken to be drawn on the upright "
    "picture, as annotation tools show it. If they were not, remove the orientation from the files"
)


class CocoSplit(PhotoSplit):
    """Photos of a COCO file, upright.

    Annotations are taken to be drawn on the upright picture, as annotation tools show it, unless `width` and `height`
    of the entry are those before turning: then the picture stays as it is stored.
    """

    def __init__(self, coco: CocoFile, folder: Path, labels: np.ndarray, class_names: Iterable[str], fit: Fit) -> None:
        """Keep what to read: nothing is read here."""
        files = [folder / image["file_name"] for image in coco.images]
        names = [image["file_name"] for image in coco.images]
        super().__init__(files, names, labels, tuple(class_names), fit)
        self._coco = coco

    def part_annotations(self) -> PartAnnotations:
        """Return the annotations scaled to the images as `images` delivers them; ids are those of the file."""
        images, annotations = [], []
        for image in self._coco.images:
            place = self.fit.place(image["width"], image["height"])
            images.append({**image, "width": self.fit.size, "height": self.fit.size})
            annotations += [scaled(a, image, place, self.fit.size) for a in self._coco.of_image[image["id"]]]
        return PartAnnotations({"images": images, "annotations": annotations, "categories": self._coco.categories})

    def _read(self, index: int) -> np.ndarray:
        file = self.files[index]
        return self.fit(read_image(file, upright=lambda header: self._drawn_upright(index, header)), str(file))

    def _drawn_upright(self, index: int, header: ImageHeader) -> bool:
        """Tell whether the annotations of an image were drawn on its upright picture, or on the pixels as stored.

        Raises:
            InputError: by its entry it has another size.
        """
        image = self._coco.images[index]
        size = image["width"], image["height"]
        if size == header.upright:
            return True
        if size == header.stored:
            return False
        width, height = header.upright
        raise InputError(
            f"{self.files[index]}: is {width}x{height} pixels, but {self._coco.path} says {size[0]}x{size[1]} for "
            f"image {image['id']}: its annotations would lie elsewhere."
        )

    def _assumed(self, index: int) -> Iterable[str]:
        header = header_of(self.files[index])
        if not self._drawn_upright(index, header):
            return (AS_STORED,)
        return (UPRIGHT,) if header.orientation > 1 and header.stored == header.upright else ()


def photos_of(
    coco: CocoFile, folder: Path, labels: np.ndarray, class_names: Iterable[str], fit: Fit, mistakes: Mistakes
) -> CocoSplit:
    """Return the photos of a COCO file, of which only the presence is looked at.

    Args:
        mistakes: what is wrong with the file. Where there is anything, what is wrong with the photos joins it.

    Raises:
        InputError: there are mistakes, or image files are missing; one message tells all of it.
    """
    split = CocoSplit(coco, folder, labels, class_names, fit)
    there = [index for index, file in enumerate(split.files) if file.is_file()]
    for index in sorted(set(range(len(split))) - set(there)):
        mistakes.add(
            "missing image file",
            f"image {coco.images[index]['id']} is missing: no file {split.files[index]}. Put it there, or remove the "
            "image and its annotations.",
        )
    if mistakes:
        CocoSplit(coco.subset(there), folder, labels[there], split.class_names, fit).look_through(mistakes)
    mistakes.raise_if_any()
    return split


# -- COCO files -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class CocoFile:
    """A COCO file whose every entry was checked; those that are wrong are left out.

    Attributes:
        path: where it was read, for messages.
        images: entries with `id`, `file_name`, `width`, `height`.
        categories: entries with `id`, `name`.
        of_image: image id → its annotations, regions to be ignored among them.
        mistakes: kind and text of what is wrong.
    """

    path: Path
    images: list[dict[str, Any]]
    categories: list[dict[str, Any]]
    of_image: dict[int, list[dict[str, Any]]]
    mistakes: tuple[tuple[str, str], ...] = ()

    def has_parts(self, image: dict[str, Any]) -> bool:
        """Return whether an image has an annotated part, regions to be ignored left out."""
        return not all(map(is_ignored, self.of_image[image["id"]]))

    def subset(self, indices: Iterable[int]) -> CocoFile:
        """Return the file with these images only."""
        images = [self.images[index] for index in indices]
        return CocoFile(self.path, images, self.categories, {i["id"]: self.of_image[i["id"]] for i in images})


def classes_of(coco: CocoFile, mistakes: Mistakes) -> list[str]:
    """Return the class of each image; "" and a mistake for those with neither `class_name` nor a folder."""
    classes = list[str]()
    for image in coco.images:
        name = image.get("class_name")
        if name is None and len(parts := PurePosixPath(image["file_name"]).parts) > 1:
            name = parts[0]
        if not isinstance(name, str) or not name:
            mistakes.add(
                "image without a class",
                f"image {image['id']} ({image['file_name']}) has no class: give it a field `class_name`, or put its "
                "file into a folder of the class's name.",
            )
            name = ""
        classes.append(name)
    return classes


def read_coco(path: Path, mistakes: Mistakes) -> CocoFile:
    """Read a COCO file and check every entry of it.

    An empty list of polygons beside a box is a box without a mask.

    Args:
        mistakes: is told of missing or wrong fields, ids that occur twice or point nowhere, empty boxes or masks.

    Raises:
        MissingError: no such file.
        InputError: broken JSON, or no COCO file.
    """
    try:
        looks = looks_of(path)
    except FileNotFoundError:
        raise MissingError(f"no annotation file at {path.absolute()}.") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error}.") from None
    read = _read_coco(path, looks)
    for kind, text in read.mistakes:
        mistakes.add(kind, text)
    return read


@lru_cache(maxsize=8)
def _read_coco(path: Path, looks: tuple[int, ...]) -> CocoFile:
    """Read a file once, however many class sets are chosen from it; nobody changes what is returned."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise InputError(
            f"{path}:{error.lineno}: broken JSON: {error.msg} (column {error.colno}). Fetch or write the file again."
        ) from None
    except (OSError, ValueError, RecursionError) as error:  # ValueError: no text, or a number of thousands of digits
        raise InputError(f"{path}: cannot be read: {error}.") from None
    if not isinstance(data, dict):
        raise InputError(f"{path}: not a COCO file: expected an object with images, annotations and categories.")
    lists: dict[str, list[dict[str, Any]]] = {}
    for key in ("categories", "images", "annotations"):
        found = data.get(key)
        if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
            raise InputError(f"{path}: not a COCO file: expected a list of objects under {key!r}.")
        lists[key] = found
    mistakes = list[tuple[str, str]]()

    def checked(key: str, check: Callable[[dict[str, Any]], Any]) -> list[Any]:
        """Return what `check` makes of each entry, those left out in which it finds a mistake."""
        good = []
        for entry in lists[key]:
            try:
                good.append(check(entry))
            except _Mistake as mistake:
                mistakes.append((mistake.kind, mistake.text))
        return good

    checked("categories", _check_category)
    images = {entry["id"]: entry for entry in checked("images", _checked_image)}
    # An annotation of an entry that is wrong itself is no mistake of its own.
    image_ids, category_ids = (
        {entry["id"] for entry in lists[key] if _whole(entry.get("id"))} for key in ("images", "categories")
    )
    annotations = checked("annotations", lambda entry: _checked_annotation(entry, images, image_ids, category_ids))
    for key, fields in _UNIQUE.items():
        for field in fields:
            for value, count in Counter(e[field] for e in lists[key] if isinstance(e.get(field), int | str)).items():
                if count > 1:
                    what = field if field == "file_name" else f"{_SINGULAR[key]} {field}"
                    times = "twice" if count == 2 else f"{count} times"
                    mistakes.append((f"{what} that occurs more than once", f"the {what} {value!r} occurs {times}."))
    of_image: dict[int, list[dict[str, Any]]] = {image: [] for image in images}
    for entry in annotations:
        if entry["image_id"] in images:
            of_image[entry["image_id"]].append(entry)
    return CocoFile(path, list(images.values()), lists["categories"], of_image, tuple(mistakes))


_UNIQUE = {"categories": ("id", "name"), "images": ("id", "file_name"), "annotations": ("id",)}
_SINGULAR = {"categories": "category", "images": "image", "annotations": "annotation"}


class _Mistake(Exception):  # noqa: N818 - it never leaves this module
    """What is wrong with one entry, and the kind of mistake that it is counted under."""

    def __init__(self, kind: str, text: str) -> None:
        self.kind, self.text = kind, text


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _named(entry: dict[str, Any], what: str) -> str:
    """Return the entry in words, by its id."""
    if not _whole(entry.get("id")):
        raise _Mistake(
            f"{what} without a whole number as id",
            f"{what} with id {_shown(entry.get('id'))}: expected a whole number.",
        )
    return f"{what} {entry['id']}"


def _check_text(entry: dict[str, Any], key: str, where: str) -> None:
    if not isinstance(entry.get(key), str) or not entry[key].strip():
        raise _Mistake(f"{key} that is no text", f"{where}: {key} is {entry.get(key)!r}, expected a text.")


def _check_category(entry: dict[str, Any]) -> None:
    _check_text(entry, "name", _named(entry, "category"))


def _checked_image(entry: dict[str, Any]) -> dict[str, Any]:
    where = _named(entry, "image")
    _check_text(entry, "file_name", where)
    name = entry["file_name"]
    parts = PurePosixPath(name).parts
    if "\\" in name or "\0" in name or ":" in name or name.startswith("/") or ".." in parts or not parts:
        raise _Mistake(
            "file_name that is no plain relative path",
            f"{where}: file_name {name!r} must be a plain relative path below the image folder, with / between "
            "folders.",
        )
    for side in ("width", "height"):
        if not _whole(entry.get(side)) or not 1 <= entry[side] <= LONGEST_SIDE:
            raise _Mistake(
                "image without width and height",
                f"{where}: {side} is {_shown(entry.get(side))}, expected a whole number of pixels, at most "
                f"{LONGEST_SIDE:,}.",
            )
    return entry


def _checked_annotation(
    entry: dict[str, Any], images: dict[int, dict[str, Any]], image_ids: set[int], category_ids: set[int]
) -> dict[str, Any]:
    """Return the annotation with its box clipped to the image and an `area`, without a mask of no polygons."""
    where = _named(entry, "annotation")
    if not _whole(entry.get("image_id")) or entry["image_id"] not in image_ids:
        raise _Mistake(
            "annotation of an unknown image",
            f"{where}: points to image {_shown(entry.get('image_id'))}, which is not among the images.",
        )
    if not _whole(entry.get("category_id")) or entry["category_id"] not in category_ids:
        listed = ", ".join(map(str, sorted(category_ids)))
        raise _Mistake(
            "annotation of an unknown category",
            f"{where}: unknown category id {_shown(entry.get('category_id'))}. Known: {listed or 'none'}.",
        )
    for key in ("iscrowd", "ignore"):
        if entry.get(key, 0) not in (0, 1):
            raise _Mistake(f"{key} that is neither 0 nor 1", f"{where}: {key} is {entry[key]!r}, expected 0 or 1.")
    if entry["image_id"] not in images:
        return entry
    return _checked_shape(entry, images[entry["image_id"]], where)


def _checked_shape(entry: dict[str, Any], image: dict[str, Any], where: str) -> dict[str, Any]:
    width, height = image["width"], image["height"]
    box = entry.get("bbox")
    if not isinstance(box, list) or len(box) != 4 or not _finite(box):
        raise _Mistake(
            "no bbox of four numbers", f"{where}: bbox is {_shown(box)}, expected four numbers [x, y, width, height]."
        )
    left, top = max(0.0, box[0]), max(0.0, box[1])
    right, bottom = min(float(width), box[0] + box[2]), min(float(height), box[1] + box[3])
    if right <= left or bottom <= top:
        raise _Mistake(
            "bbox that is empty or outside of its image",
            f"{where}: bbox {box} is empty or lies outside of its image of {width}x{height} pixels.",
        )
    checked = {**entry, "bbox": [left, top, right - left, bottom - top]}
    segmentation = entry.get("segmentation")
    if isinstance(segmentation, list):
        for polygon in segmentation:
            if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2 or not _finite(polygon):
                raise _Mistake(
                    "polygon of fewer than three points",
                    f"{where}: a polygon needs at least three points, as [x1, y1, x2, y2, x3, y3 ...].",
                )
        if not segmentation:  # how CVAT and others write a box that has no mask
            del checked["segmentation"]
        elif not any(_covers_something(polygon, width, height) for polygon in segmentation):
            raise _Mistake(
                "empty mask",
                f"{where}: its mask is empty: the points of its polygons lie on a line, or outside of its image of "
                f"{width}x{height} pixels.",
            )
    elif isinstance(segmentation, dict):
        try:
            mask = decode_mask(segmentation)
        except ValueError as error:
            raise _Mistake("broken run lengths", f"{where}: segmentation: {error}.") from None
        if mask.shape != (height, width):
            raise _Mistake(
                "mask of another size than its image",
                f"{where}: its mask is of size {mask.shape}, its image {(height, width)} (height, width).",
            )
        if not mask.any():
            raise _Mistake("empty mask", f"{where}: its mask is empty.")
    elif segmentation is None:
        checked.pop("segmentation", None)
    else:
        raise _Mistake(
            "segmentation of another form", f"{where}: segmentation must be a list of polygons or run lengths."
        )
    if "area" not in entry:
        checked["area"] = checked["bbox"][2] * checked["bbox"][3]
    elif not _finite([entry["area"]]):
        raise _Mistake("area that is no number", f"{where}: area is {_shown(entry['area'])}, expected a number.")
    checked.setdefault("iscrowd", 0)
    return checked


def _shown(value: Any) -> str:
    """Return a value as a message has it: numbers may have thousands of digits."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}…"


def _finite(values: list[Any]) -> bool:
    """Tell whether all values are finite numbers: JSON's may be `true`, NaN, or larger than any float."""
    try:
        return {*map(type, values)} <= {int, float} and all(map(math.isfinite, values))
    except OverflowError:
        return False


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
        mask = decode_mask(segmentation)
        rows = ((np.arange(place.height) + 0.5) / down).astype(np.int64).clip(0, image["height"] - 1)
        columns = ((np.arange(place.width) + 0.5) / across).astype(np.int64).clip(0, image["width"] - 1)
        square = np.zeros((size, size), dtype=bool)
        square[place.top : place.top + place.height, place.left : place.left + place.width] = mask[rows][:, columns]
        if not square.any():  # smaller than a pixel: keep the one under its middle
            box = moved["bbox"]
            row, column = int(box[1] + box[3] / 2), int(box[0] + box[2] / 2)
            square[min(row, size - 1), min(column, size - 1)] = True
        moved["segmentation"] = masks.encode(square)
    return moved
