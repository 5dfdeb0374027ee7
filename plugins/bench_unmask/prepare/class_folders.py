"""VOC 2010, ImageNet and Flickr to the folders of the paper's class sets, for the classifier.

Freitas et al., IEEE Big Data 2021, section IV-A; Everingham et al., PASCAL VOC 2010. May be interrupted and started
again; a class set's folder appears under its own name only when it is complete.
"""

from __future__ import annotations

import json
import os
import random
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from PIL import Image

from bench_unmask.class_parts import CLASS_SETS
from bench_unmask.datasets.photos import refuse_shared_images
from bench_unmask.prepare.files import aligned, link, make_folder, write
from benchmark import SPLITS, InputError, MissingError, PassedOver, Progress, image_files, read_image, unknown_name

TABLE_II_CLASSES = {
    "CS3a": {"train": 7780, "val": 1099, "test": 2351},
    "CS3b": {"train": 9599, "val": 1339, "test": 2867},
    "CS5a": {"train": 11639, "val": 1477, "test": 3179},
    "CS5b": {"train": 13011, "val": 1928, "test": 4129},
}
"""Images per class set and split in the paper's Table II."""


@dataclass(frozen=True)
class _Photo:
    source: str
    name: str  # of the class
    path: Path
    hash: int


@dataclass
class ClassCounts:
    """What `prepare_unmask_classes` wrote.

    Attributes:
        images: images per class set and split.
        duplicates: images left out since an earlier source has them, per source.
        damaged: files that could not be read.
    """

    images: dict[str, dict[str, int]] = field(default_factory=dict)
    duplicates: Counter[str] = field(default_factory=Counter)
    damaged: list[Path] = field(default_factory=list)

    def table(self) -> str:
        """Return the counts beside those of the paper's Table II."""
        rows = [("class set", *SPLITS, *(f"{split} (paper)" for split in SPLITS))]
        for name, counts in self.images.items():
            paper = TABLE_II_CLASSES[name]
            rows.append((name, *(f"{counts[s]:,}" for s in SPLITS), *(f"{paper[s]:,}" for s in SPLITS)))
        return aligned(rows)


def prepare_unmask_classes(
    out: str | Path,
    flickr: str | Path,
    voc: str | Path | None = None,
    imagenet: str | Path | None = None,
    class_sets: Iterable[str] = tuple(CLASS_SETS),
    val_share: float = 0.12,
    distance: int = 4,
    progress: Progress | None = None,
) -> ClassCounts:
    """Build the class folders `out/<class set>/{train,val,test}/<class>/`.

    train and val come from VOC 2010 and ImageNet, test from Flickr (paper, Table II). Of VOC, images are taken whose
    annotated objects are all of one class; the other two are taken as their folders say. An image is left out if an
    earlier source (VOC, ImageNet, Flickr) has one whose perceptual hash differs in at most `distance` of 64 bits.
    An image is in the same split in every class set. Files are hard links where the file system allows them.

    Args:
        out: where to write, the `path` of the data set `unmask`.
        flickr: folder with a folder of images per class.
        voc: folder VOC2010, with JPEGImages and Annotations.
        imagenet: folder with a folder of images per class.
        class_sets: names of class sets.
        val_share: share of the images of a class that becomes val; the paper's are 11 to 13 %.
        distance: most bits in which the hashes of duplicates differ; 0 removes only equal hashes.
        progress: told how many images are read.

    Raises:
        MissingError: a source or a class in it is not there.
        InputError: an option is out of range, two classes have the same image, or `out` holds another selection.
        StorageError: the disk is full.
    """
    progress = progress or Progress()
    out, class_sets = Path(out), tuple(class_sets)
    for name in class_sets:
        if name not in CLASS_SETS:
            raise InputError(unknown_name("class set", name, CLASS_SETS))
    if not 0 < val_share < 1 or not 0 <= distance <= 32:
        raise InputError(f"val_share {val_share} must be in (0, 1) and distance {distance} from 0 to 32.")
    if voc is None and imagenet is None:
        raise InputError("train and val need images: give voc, imagenet, or both.")
    classes = sorted({c for name in class_sets for c in CLASS_SETS[name]})
    sources: dict[str, dict[str, list[Path]]] = {}
    if voc is not None:
        sources["voc"] = _voc_images(Path(voc), classes)
    if imagenet is not None:
        sources["imagenet"] = _class_folders(Path(imagenet), classes, "imagenet")
    sources["flickr"] = _class_folders(Path(flickr), classes, "flickr")
    paths = [(path, classes.index(name)) for found in sources.values() for name in classes for path in found[name]]
    refuse_shared_images([path for path, _ in paths], [label for _, label in paths], classes)

    counts = ClassCounts()
    kept = _without_duplicates(sources, classes, out / ".unmask-classes", distance, counts, progress)
    members: dict[str, dict[str, list[_Photo]]] = {split: {name: [] for name in classes} for split in SPLITS}
    for name in classes:
        test = [photo for photo in kept if photo.name == name and photo.source == "flickr"]
        rest = [photo for photo in kept if photo.name == name and photo.source != "flickr"]
        random.Random(100).shuffle(rest)
        val = max(1, round(val_share * len(rest)))
        members["val"][name], members["train"][name], members["test"][name] = rest[:val], rest[val:], test
        for split in SPLITS:
            if not members[split][name]:
                raise InputError(
                    f"class {name!r} ends without images in {split}: {len(rest)} from VOC and ImageNet, {len(test)} "
                    "from Flickr are left. Add images of it."
                )
    for class_set in class_sets:
        chosen = CLASS_SETS[class_set]
        _place_class_set(out / class_set, {s: {n: members[s][n] for n in chosen} for s in SPLITS})
        counts.images[class_set] = {s: sum(len(members[s][n]) for n in chosen) for s in SPLITS}
    shutil.rmtree(out / ".unmask-classes", ignore_errors=True)
    return counts


def _voc_images(voc: Path, classes: list[str]) -> dict[str, list[Path]]:
    """Return class → images of VOC 2010 all of whose annotated objects are of that class."""
    images, annotations = voc / "JPEGImages", voc / "Annotations"
    for folder in (images, annotations):
        if not folder.is_dir():
            raise MissingError(
                f"voc: no folder {folder.absolute()}. Give the folder VOC2010 of PASCAL VOC 2010, with JPEGImages and "
                "Annotations (http://host.robots.ox.ac.uk/pascal/VOC/voc2010/)."
            )
    found: dict[str, list[Path]] = {name: [] for name in classes}
    for path in sorted(annotations.glob("*.xml")):
        text = path.read_text(encoding="utf-8", errors="replace")
        if "<!DOCTYPE" in text or "<!ENTITY" in text:
            raise InputError(f"{path}: declares entities, which no annotation of VOC does. Unpack it again.")
        try:
            names = {thing.findtext("name", "").strip() for thing in ElementTree.fromstring(text).findall("object")}
        except ElementTree.ParseError as error:
            raise InputError(f"{path}: broken XML ({error}). Unpack it again from the archive.") from None
        image = images / f"{path.stem}.jpg"
        if len(names) == 1 and (name := names.pop()) in found and image.is_file():
            found[name].append(image)
    return found


def _class_folders(root: Path, classes: list[str], source: str) -> dict[str, list[Path]]:
    found = {}
    for name in classes:
        found[name] = image_files(root / name, PassedOver()) if (root / name).is_dir() else []
        if not found[name]:
            raise MissingError(
                f"{source}: no images in {(root / name).absolute()}. Give a folder that holds a folder of images for "
                f"each class: {', '.join(classes)}."
            )
    return found


def _without_duplicates(
    sources: Mapping[str, Mapping[str, list[Path]]],
    classes: list[str],
    work: Path,
    distance: int,
    counts: ClassCounts,
    progress: Progress,
) -> list[_Photo]:
    """Return the photos that no earlier source has."""
    known = _read_hashes(work / "hashes.jsonl")
    total = sum(len(paths) for found in sources.values() for paths in found.values())
    done = 0
    kept: list[_Photo] = []
    make_folder(work)
    with open(work / "hashes.jsonl", "a", encoding="utf-8") as log:
        for source, found in sources.items():
            earlier = np.array([photo.hash for photo in kept], dtype=np.uint64)
            for name in classes:
                for path in found[name]:
                    done += 1
                    progress.update(done, total, "images")
                    status = path.stat()
                    key = f"{path.absolute()}|{status.st_size}|{status.st_mtime_ns}"
                    if key not in known:
                        try:
                            known[key] = perceptual_hash(read_image(path))
                        except InputError as error:
                            counts.damaged.append(path)
                            progress.warn(f"left out: {error}")
                            continue
                        log.write(json.dumps([key, known[key]]) + "\n")
                    photo = _Photo(source, name, path, known[key])
                    if len(earlier) and int(differing_bits(earlier, photo.hash).min()) <= distance:
                        counts.duplicates[source] += 1
                    else:
                        kept.append(photo)
    return kept


def _read_hashes(path: Path) -> dict[str, int]:
    known: dict[str, int] = {}
    if path.exists():
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                key, value = json.loads(line)
                known[str(key)] = int(value)
            except (ValueError, TypeError):
                continue  # a torn line: its image is read again
    return known


def perceptual_hash(image: Image.Image) -> int:
    """Return 64 bits that change little when an image is resized or compressed again.

    They tell which of the 8x8 lowest frequencies of the discrete cosine transform of the 32x32 grey image are above
    their median (Zauner, *Implementation and Benchmarking of Perceptual Image Hash Functions*, 2010, section 3.2.1).
    """
    from scipy.fft import dctn

    pixels = np.asarray(image.convert("L").resize((32, 32), Image.Resampling.LANCZOS), dtype=np.float64)
    low = dctn(pixels, norm="ortho")[:8, :8]
    return int.from_bytes(np.packbits(low > np.median(low)).tobytes(), "big")


def differing_bits(hashes: np.ndarray, other: int) -> np.ndarray:
    """Return in how many bits each of `hashes` (n,) uint64 differs from `other`: (n,)."""
    different = hashes ^ np.uint64(other)
    return np.unpackbits(different[:, None].view(np.uint8), axis=1).sum(axis=1)


def _place_class_set(folder: Path, members: Mapping[str, Mapping[str, list[_Photo]]]) -> None:
    """Fill a folder aside and give it its name when it is complete."""
    listing = [
        f"{split}/{name}/{photo.source}_{photo.path.name} {photo.hash:016x}"
        for split, by_class in members.items()
        for name, photos in by_class.items()
        for photo in photos
    ]
    selection = sha256("\n".join(listing).encode("utf-8", "surrogateescape")).hexdigest()
    note = folder / "prepared.json"
    if folder.exists():
        try:
            same = json.loads(note.read_text())["selection"] == selection
        except (OSError, ValueError, KeyError, TypeError):
            same = False
        if same:
            return
        raise InputError(
            f"{folder} is there already and holds another selection of images. Remove it, or write somewhere else."
        )
    aside = folder.with_name(f".{folder.name}.aside")
    wanted = set()
    for split, by_class in members.items():
        for name, photos in by_class.items():
            for photo in photos:
                place = aside / split / name / f"{photo.source}_{photo.path.name}"
                wanted.add(place)
                link(photo.path, place)
    for path in aside.rglob("*"):  # left by an interrupted run with other options
        if path.is_file() and path not in wanted:
            path.unlink()
    write(aside / "prepared.json", json.dumps({"selection": selection}))
    os.replace(aside, folder)
