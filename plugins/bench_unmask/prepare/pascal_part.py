"""PASCAL-Part and VOC 2010 to COCO files of part masks, for the part extractor.

Freitas et al., IEEE Big Data 2021, section IV-A; Chen et al., *Detect What You Can*, CVPR 2014 (PASCAL-Part);
Everingham et al., PASCAL VOC 2010. May be interrupted and started again; what is promised appears under its own name
only when all of it is complete.
"""

from __future__ import annotations

import json
import os
import random
import shutil
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bench_unmask import masks
from bench_unmask.class_parts import PARTS
from bench_unmask.prepare.files import aligned, copy, make_folder, write
from bench_unmask.prepare.part_names import NameMapping, part_of
from benchmark import SPLITS, InputError, MissingError, Progress, read_header, unknown_name


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
        return aligned(rows)


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
            copy(images / f"{stem}.jpg", root / "Images" / split / f"{stem}.jpg")
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
        write(work / f"{split}.whole", json.dumps(data))
    make_folder(root)
    for split in SPLITS:
        os.replace(work / f"{split}.whole", root / f"{split}.json")
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
                    **masks.measured(mask),
                    "source_label": f"{object_class}: {name}",
                }
            )
    write(kept, json.dumps(found))
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
