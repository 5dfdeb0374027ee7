"""The way from the public sources to the UnMask paper's data: PASCAL-Part as COCO files, and the class folders.

Freitas et al., IEEE Big Data 2021, section IV-A; Chen et al., *Detect What You Can*, CVPR 2014 (PASCAL-Part);
Everingham et al., PASCAL VOC 2010. Both preparations may be interrupted and started again; what they promise to write
appears under its own name only when it is complete.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal
from xml.etree import ElementTree

import numpy as np
from PIL import Image

from bench_unmask import masks
from bench_unmask.parts import CLASS_SETS, PAPER_CLASS_PARTS, PARTS
from bench_unmask.photos import refuse_shared_images
from benchmark.dataset import SPLITS
from benchmark.errors import InputError, MissingError, StorageError, unknown_name
from benchmark.images import image_files, read_header, read_image
from benchmark.progress import Progress

NameMapping = Literal["paper", "released", "corrected"]

# -- part names -------------------------------------------------------------------------------------------------------

_RULES: tuple[tuple[tuple[str, ...], str | None], ...] = (
    (("ear",), "ear"),
    (("eye",), "eye"),
    (("leg",), "leg"),
    (("pa",), "paw"),
    (("brow",), "eyebrow"),
    (("hand",), "hand"),  # and so handlebar becomes a hand: the error that the paper admits
    (("arm",), "arm"),
    (("horn",), "horn"),
    (("wheel",), "wheel"),
    (("foot",), "foot"),
    (("cleftside",), "coach_left"),
    (("crightside",), "coach_right"),
    (("cfrontside",), "coach_front"),
    (("cbackside",), "coach_back"),
    (("croofside",), "coach_top"),
    (("hroofside", "hleftside", "hrightside", "hfrontside", "hbackside", "coach"), None),
    (("rightside",), "vehicle_right"),
    (("leftside",), "vehicle_left"),
    (("roofside",), "vehicle_top"),
    (("backside",), "vehicle_back"),
    (("wing",), "wing"),
    (("engine",), "engine"),
    (("window",), "window"),
    (("headlight",), "headlight"),
    (("door",), "door"),
    (("plate",), "licenseplate"),
    (("mirror",), "mirror"),
    (("lbho", "lfho", "rbho", "rfho"), "hoof"),
)
"""Texts that a PASCAL-Part name contains → part; the first rule that fits decides."""

_OBJECTS = frozenset(PAPER_CLASS_PARTS) | {"boat", "chair", "diningtable", "sofa"}

CORRECTED_CLASS_PARTS: dict[str, tuple[str, ...]] = {
    **PAPER_CLASS_PARTS,
    "bicycle": ("wheel", "saddle", "handlebar", "chainwheel", "headlight"),
    "motorbike": ("wheel", "saddle", "handlebar", "headlight"),
}
"""V with the parts that the paper's mapping lost: the handlebar and the chain wheel, and the bicycle's headlight."""

_EXACT: dict[str, str] = {
    name: part
    for part, names in {
        "ear": "lear rear",
        "eye": "leye reye",
        "eyebrow": "lebrow rebrow",
        "hand": "lhand rhand",
        "arm": "llarm luarm rlarm ruarm",
        "horn": "lhorn rhorn",
        "foot": "lfoot rfoot",
        "wing": "lwing rwing",
        "leg": "lleg rleg llleg luleg rlleg ruleg lfleg rfleg lbleg rbleg "
        "lfuleg lflleg rfuleg rflleg lbuleg lblleg rbuleg rblleg",
        "paw": "lfpa rfpa lbpa rbpa",
        "hoof": "lfho rfho lbho rbho",
        "wheel": "wheel fwheel bwheel",
        "mirror": "leftmirror rightmirror",
        "licenseplate": "fliplate bliplate",
        "vehicle_left": "leftside",
        "vehicle_right": "rightside",
        "vehicle_top": "roofside",
        "vehicle_back": "backside",
        "coach_left": "cleftside",
        "coach_right": "crightside",
        "coach_front": "cfrontside",
        "coach_back": "cbackside",
        "coach_top": "croofside",
    }.items()
    for name in names.split()
}
"""PASCAL-Part name without its number → part, where they differ."""


def part_of(name: str, object_class: str, mapping: str = "paper") -> str | None:
    """Return the part that a PASCAL-Part annotation is of, or None where it is ignored.

    Args:
        name: the annotation's part name, such as `lfuleg` or `window_3`.
        object_class: the class of its object.
        mapping: `paper`: the rules of the released code, by which a handlebar is a hand and a chain wheel a wheel.
            `released`: as `paper`, and a headlight is a head: the released code looks a mask's category up as the
            first of the 44 names that its file name contains, and `head` comes before `headlight`. `corrected`: by
            whole names; handlebar and chain wheel are parts of their own, and a part that the class does not have
            (the `body` of a train) is ignored.
    """
    stem = re.sub(r"_\d+$", "", name)
    if mapping == "corrected":
        exact = _EXACT.get(stem, stem)
        return exact if exact in CORRECTED_CLASS_PARTS.get(object_class, ()) else None
    for texts, part in _RULES:
        if any(text in name for text in texts):
            return "head" if mapping == "released" and part == "headlight" else part
    return None if stem in _OBJECTS or stem not in PARTS else stem


# -- PASCAL-Part ------------------------------------------------------------------------------------------------------


@dataclass
class PartCounts:
    """What `prepare_pascal_part` wrote.

    Attributes:
        images: images with parts, per split.
        masks: part masks, per split.
        without_parts: images that have no part and were left out.
        ignored: how often each `class: part name` was ignored.
    """

    images: dict[str, int] = field(default_factory=dict)
    masks: dict[str, int] = field(default_factory=dict)
    without_parts: int = 0
    ignored: Counter[str] = field(default_factory=Counter)

    def table(self) -> str:
        """Return the counts beside those of the paper's Table II."""
        rows: list[tuple[str, ...]] = [("", "train", "val", "test", "all")]
        for title, counts in (
            ("images", self.images),
            ("images in the paper", TABLE_II_PARTS),
            ("part masks", self.masks),
        ):
            rows.append((title, *(f"{counts[split]:,}" for split in SPLITS), f"{sum(counts.values()):,}"))
        rows.append(("part masks in the paper", "", "", "", f"{PAPER_MASKS:,}"))
        return _aligned(rows)


TABLE_II_PARTS = {"train": 7457, "val": 930, "test": 936}
PAPER_MASKS = 180423


def prepare_pascal_part(
    images: str | Path,
    annotations: str | Path,
    out: str | Path,
    mapping: NameMapping = "paper",
    progress: Progress | None = None,
) -> PartCounts:
    """Turn PASCAL-Part into COCO files: `out/VOC2010/{train,val,test}.json` and `out/VOC2010/Images/{split}/`.

    The annotation files, sorted by name, are shuffled by `random.Random(100)` and cut at 80 and 90 %, as the released
    code does with the order in which its file system listed them; so sizes agree with the paper's, members need not.
    Each part mask becomes one annotation. Images without parts are left out.

    Args:
        images: folder JPEGImages of PASCAL VOC 2010.
        annotations: folder Annotations_Part of PASCAL-Part, a .mat file per image.
        out: where to write, the `path` of the data sets `unmask` and `unmask_parts`.
        mapping: how part names become parts, see `part_of`.
        progress: told how many annotation files are done.

    Raises:
        MissingError: a folder or an image is not there.
        InputError: an annotation file is truncated or of another form; the message names it.
        StorageError: the disk is full.
    """
    progress = progress or Progress()
    images, annotations, out = Path(images), Path(annotations), Path(out)
    if mapping not in ("paper", "released", "corrected"):
        raise InputError(unknown_name("mapping", mapping, ("paper", "released", "corrected")))
    files = _mat_files(images, annotations)
    order = [path.stem for path in files]
    random.Random(100).shuffle(order)
    first, second = int(0.8 * len(order)), int(0.9 * len(order))
    members = {"train": order[:first], "val": order[first:second], "test": order[second:]}
    root, work = out / "VOC2010", out / f".pascal-part-{mapping}"
    vocabulary = [*PARTS, *(("handlebar", "chainwheel") if mapping == "corrected" else ())]
    counts = PartCounts()
    asides: list[tuple[Path, Path]] = []
    done = 0
    for split in SPLITS:
        data: dict[str, Any] = {
            "info": {"description": f"PASCAL-Part, part names mapped as {mapping}", "version": "1"},
            "categories": [{"id": n, "name": name, "supercategory": "part"} for n, name in enumerate(vocabulary, 1)],
            "images": [],
            "annotations": [],
        }
        for stem in members[split]:
            found = _converted(annotations / f"{stem}.mat", images / f"{stem}.jpg", work / f"{stem}.json", mapping)
            counts.ignored.update(found["ignored"])
            done += 1
            progress.update(done, len(order), "annotation files")
            if not found["annotations"]:
                counts.without_parts += 1
                continue
            _copy(images / f"{stem}.jpg", root / "Images" / split / f"{stem}.jpg")
            image_id = len(data["images"]) + 1
            data["images"].append(
                {
                    "id": image_id,
                    "file_name": f"{stem}.jpg",
                    **{key: found[key] for key in ("width", "height", "objects")},
                }
            )
            for entry in found["annotations"]:
                data["annotations"].append(
                    {
                        "id": len(data["annotations"]) + 1,
                        "image_id": image_id,
                        "category_id": vocabulary.index(entry["part"]) + 1,
                        "iscrowd": 0,
                        **{key: entry[key] for key in ("bbox", "area", "segmentation", "source_label")},
                    }
                )
        counts.images[split] = len(data["images"])
        counts.masks[split] = len(data["annotations"])
        asides.append((_write_aside(root / f"{split}.json", json.dumps(data)), root / f"{split}.json"))
    for aside, final in asides:
        os.replace(aside, final)
    shutil.rmtree(work, ignore_errors=True)
    return counts


def _mat_files(images: Path, annotations: Path) -> list[Path]:
    for folder, what, where in (
        (images, "JPEGImages of PASCAL VOC 2010", "http://host.robots.ox.ac.uk/pascal/VOC/voc2010/"),
        (annotations, "Annotations_Part of PASCAL-Part", "https://roozbehm.info/pascal-parts/pascal-parts.html"),
    ):
        if not folder.is_dir():
            raise MissingError(f"no folder {folder.absolute()}: expected {what}, to be had from {where}.")
    files = sorted(annotations.glob("*.mat"))
    if not files:
        raise MissingError(f"{annotations.absolute()}: no .mat files. Give the folder Annotations_Part of PASCAL-Part.")
    missing = [path.stem for path in files if not (images / f"{path.stem}.jpg").is_file()]
    if missing:
        raise MissingError(
            f"{images.absolute()}: {len(missing)} of {len(files)} images are missing, the first is {missing[0]}.jpg. "
            "Give the folder JPEGImages of PASCAL VOC 2010."
        )
    return files


def _converted(mat: Path, image: Path, kept: Path, mapping: str) -> dict[str, Any]:
    """Return the parts of one image, from the work folder where an earlier run left them."""
    status = mat.stat()
    source = [status.st_size, status.st_mtime_ns]
    if kept.exists():
        try:
            found: dict[str, Any] = json.loads(kept.read_text())
            if found["source"] == source:
                return found
        except (ValueError, KeyError, TypeError):
            pass  # left by a crash of the machine: convert it again
    width, height = read_header(image).stored  # MATLAB, in which the masks were drawn, turns nothing
    found = {"source": source, "width": width, "height": height, "annotations": [], "ignored": [], "objects": []}
    for object_class, parts in read_part_annotations(mat, width, height):
        found["objects"].append(object_class)
        for name, mask in parts:
            part = part_of(name, object_class, mapping)
            if part is None or not mask.any():
                found["ignored"].append(f"{object_class}: {name}")
                continue
            found["annotations"].append(
                {
                    "part": part,
                    "bbox": masks.bounding_box(mask),
                    "area": int(mask.sum()),
                    "segmentation": masks.rle(mask, compressed=True),
                    "source_label": f"{object_class}: {name}",
                }
            )
    os.replace(_write_aside(kept, json.dumps(found)), kept)
    return found


def read_part_annotations(path: Path, width: int, height: int) -> list[tuple[str, list[tuple[str, np.ndarray]]]]:
    """Return the objects of a PASCAL-Part file: class, and (part name, mask (height, width) bool) for each part.

    Reading executes nothing of the file: scipy decodes numbers, texts and structures, functions stay data.

    Raises:
        InputError: the file is truncated, damaged, of another form, or its masks are not of the image's size.
    """
    from scipy.io import loadmat

    try:
        with open(path, "rb") as file:
            annotation = loadmat(file, simplify_cells=True)["anno"]
        objects = []
        for thing in _listed(annotation["objects"]):
            parts = [(str(part["part_name"]), np.asarray(part["mask"]) != 0) for part in _listed(thing["parts"])]
            objects.append((str(thing["class"]), parts))
    except MemoryError:
        raise
    except Exception as error:  # scipy raises almost anything for damaged files
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"{path}: not a PASCAL-Part annotation, or truncated ({type(error).__name__}: {reason}). "
            "Unpack it again from the archive."
        ) from None
    for object_class, parts in objects:
        for name, mask in parts:
            if mask.size != width * height:
                raise InputError(
                    f"{path}: the mask of {object_class}: {name} has the shape {mask.shape}, its image is "
                    f"{height}x{width} (height x width). Annotations and images do not belong together."
                )
    return [(name, [(part, mask.reshape(height, width)) for part, mask in parts]) for name, parts in objects]


def _listed(value: Any) -> list[Any]:
    """Return MATLAB's structure array as a list: scipy gives one element as itself and none as an empty array."""
    if isinstance(value, dict):
        return [value]
    return list(value) if isinstance(value, list | np.ndarray) else [value]


# -- class folders ----------------------------------------------------------------------------------------------------

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
        return _aligned(rows)


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
        found[name] = image_files(root / name, Counter()) if (root / name).is_dir() else []
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
    _make_folder(work)
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
                _link(photo.path, place)
    for path in aside.rglob("*"):  # left by an interrupted run with other options
        if path.is_file() and path not in wanted:
            path.unlink()
    os.replace(_write_aside(aside / "prepared.json", json.dumps({"selection": selection})), aside / "prepared.json")
    os.replace(aside, folder)


# -- files ------------------------------------------------------------------------------------------------------------


def _guarded(work: Callable[[], object], place: Path) -> None:
    try:
        work()
    except OSError as error:
        raise StorageError(
            f"{place}: cannot be written: {error.strerror or error}. Start again when it can."
        ) from error


def _make_folder(folder: Path) -> None:
    _guarded(lambda: folder.mkdir(parents=True, exist_ok=True), folder)


def _write_aside(path: Path, text: str) -> Path:
    """Write `text` to a neighbour of `path` and return it, to be renamed."""
    _make_folder(path.parent)
    aside = path.with_name(f"{path.name}.aside")

    def write() -> None:
        with open(aside, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())

    _guarded(write, path)
    return aside


def _copy(source: Path, target: Path) -> None:
    if target.exists() and target.stat().st_size == source.stat().st_size:
        return
    _make_folder(target.parent)
    aside = target.with_name(f"{target.name}.aside")
    _guarded(lambda: shutil.copyfile(source, aside), target)
    os.replace(aside, target)


def _link(source: Path, target: Path) -> None:
    if target.exists():
        return
    _make_folder(target.parent)
    try:
        os.link(source, target)
    except OSError:
        _copy(source, target)


def _aligned(rows: list[tuple[str, ...]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        first, *rest = (cell.ljust(w) if n == 0 else cell.rjust(w) for n, (cell, w) in enumerate(zip(row, widths)))
        lines.append("  ".join([first, *rest]).rstrip())
    return "\n".join(lines)
