"""`partshapes`: pictures composed of parts with exact masks, made by the program and never read from a file.

A picture follows from (seed, split, class, number) alone, each of which selects a stream of a counter-based generator
(Salmon et al., *Parallel Random Numbers: As Easy as 1, 2, 3*, SC 2011), so splits are disjoint by construction, and
car number 17 of a split is the same picture in every class set.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from bench_partshapes.canvas import NO_PART, Canvas, Draw, any_colour
from bench_partshapes.objects import DRAWN_BY
from bench_partshapes.options import PartShapesOptions
from bench_partshapes.painting import paint
from bench_partshapes.parts import CLASS_PARTS, CLASS_SETS, PARTS
from bench_partshapes.surroundings import clutter, occluder
from benchmark import SPLITS, Dataset, PartAnnotations, Split

if TYPE_CHECKING:
    import torch

RENDERER = "1"
"""Part of the fingerprint: raise it when a change alters pixels or masks."""


class Drawn(dict[tuple[object, ...], np.ndarray]):
    """Pictures that are kept in memory as they are drawn, up to so many bytes."""

    def __init__(self, most_bytes: int) -> None:
        super().__init__()
        self._room = most_bytes

    def keep(self, key: tuple[object, ...], pixels: np.ndarray) -> None:
        """Keep a picture, if there is room."""
        if pixels.nbytes <= self._room:
            self._room -= pixels.nbytes
            self[key] = pixels


DRAWN = Drawn(2**28)
"""Those of all class sets of this process."""
_FULL_SUPERSAMPLING_SIZE = 160
_PIXELS, _SHAPES = 0, 1  # the two streams of a picture: masks need only the shapes


class PartShapes(Dataset):
    """Pictures of the objects of the paper's class sets."""

    Options = PartShapesOptions
    caption: ClassVar[str] = (
        "partshapes: pictures drawn by the program, a stand-in for trying the pipeline. "
        "Numbers on them are no evidence about photos."
    )

    def check(self) -> None:
        """Nothing is needed."""

    def fingerprint(self) -> str:
        """Return a digest of the options and of some pictures, so that another Pillow or NumPy cannot go unnoticed."""
        options = self.options
        knobs = options.size, options.seed, options.clutter, options.occlusion, options.noise
        digest = sha256(repr((RENDERER, self._classes(), *knobs)).encode())
        for split in SPLITS:
            loaded = self.load(split)
            digest.update(f"\n{split} {len(loaded)}".encode())
            for index in range(min(len(loaded), 3 * len(self._classes()))):
                digest.update(loaded.picture(index).tobytes())
                digest.update(np.asarray(loaded.shapes(index).labels).tobytes())
        return digest.hexdigest()

    def load(self, split: str) -> PartShapesSplit:
        """Return the split `train`, `val` or `test`."""
        return PartShapesSplit(split, self._classes(), self.options)

    def _classes(self) -> tuple[str, ...]:
        chosen = self.options.class_set
        return CLASS_SETS[chosen] if isinstance(chosen, str) else tuple(chosen)


class PartShapesSplit(Split):
    """Pictures drawn when they are asked for; index i shows number i // classes of class i % classes."""

    def __init__(self, split: str, classes: tuple[str, ...], options: PartShapesOptions) -> None:
        """Keep what to draw: nothing is drawn here."""
        per_class = {"train": options.train, "val": options.val, "test": options.test}[split]
        self.class_names = classes
        self.labels = np.tile(np.arange(len(classes), dtype=np.int64), per_class)
        self.image_shape = (3, options.size, options.size)
        self._split = split
        self._options = options
        self._annotations: PartAnnotations | None = None

    def images(self, indices: Sequence[int]) -> torch.Tensor:
        """Return the pictures of `indices`: (n, 3, H, W) float32 in [0, 1]."""
        import torch

        size = self._options.size
        pixels = np.empty((len(indices), size, size, 3), dtype=np.uint8)
        for row, index in enumerate(indices):
            pixels[row] = self._kept(int(index))
        return torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))).float().div_(255)

    def _kept(self, index: int) -> np.ndarray:
        """Return the pixels of a picture, drawn once per process whatever the class set."""
        options = self._options
        number, label = divmod(index, len(self.class_names))
        knobs = options.size, options.seed, options.clutter, options.occlusion, options.noise
        key = (*knobs, self._split, self.class_names[label], number)
        pixels = DRAWN.get(key)
        if pixels is None:
            pixels = self.picture(index)
            # Threads that draw the same picture at once draw the same bytes.
            DRAWN.keep(key, pixels)
        return pixels

    def sample_ids(self, indices: Sequence[int]) -> list[str]:
        """Return class and number per picture."""
        return [f"{self.class_names[self.labels[i]]}/{i // len(self.class_names)}" for i in indices]

    def part_annotations(self) -> PartAnnotations:
        """Return the parts that can be seen, in COCO form: image id = index, masks as run lengths.

        Categories are the parts that the classes have in the paper's matrix, numbered by their place in `PARTS`, from
        1, whatever the class set.
        """
        if self._annotations is None:
            self._annotations = self._annotated()
        return self._annotations

    def _annotated(self) -> PartAnnotations:
        from pycocotools import mask as coco_mask

        annotations: list[dict[str, Any]] = []
        images = []
        size = self._options.size
        for index in range(len(self)):
            label = int(self.labels[index])
            images.append(
                {
                    "id": index,
                    "file_name": f"{self._split}/{self.sample_ids([index])[0]}",
                    "width": size,
                    "height": size,
                    "class_name": self.class_names[label],
                }
            )
            for part in visible_parts(self.shapes(index)):
                runs = coco_mask.encode(np.asfortranarray(part.mask, dtype=np.uint8))
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": index,
                        "category_id": PARTS.index(part.name) + 1,
                        "bbox": coco_mask.toBbox(runs).astype(int).tolist(),
                        "area": int(coco_mask.area(runs)),
                        "segmentation": {"size": runs["size"], "counts": runs["counts"].decode("ascii")},
                        "iscrowd": 0,
                    }
                )
        vocabulary = {part for name in self.class_names for part in CLASS_PARTS[name]}
        categories = [
            {"id": number, "name": name, "supercategory": "part"}
            for number, name in enumerate(PARTS, 1)
            if name in vocabulary
        ]
        return PartAnnotations({"images": images, "annotations": annotations, "categories": categories})

    def shapes(self, index: int) -> Canvas:
        """Return the drawn regions of a picture, before light and texture."""
        draw = Draw(self._generator(index, _SHAPES))
        name = self.class_names[self.labels[index]]
        size = self._options.size
        canvas = Canvas(size, 3 if size <= _FULL_SUPERSAMPLING_SIZE else 2)
        tone = any_colour(draw)
        clutter(canvas, draw, self._options.clutter, tone)
        DRAWN_BY[name](canvas, draw)
        if draw.chance(self._options.occlusion):
            occluder(canvas, draw, tone)
        return canvas

    def picture(self, index: int) -> np.ndarray:
        """Return the pixels of a picture: (H, W, 3) uint8."""
        name = self.class_names[self.labels[index]]
        return paint(self.shapes(index), name, self._generator(index, _PIXELS), self._options.noise)

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_annotations": None}

    def _generator(self, index: int, stream: int) -> np.random.Generator:
        number, label = divmod(index, len(self.class_names))
        kind = tuple(CLASS_PARTS).index(self.class_names[label])
        key = (self._options.seed, stream + 2 * (SPLITS.index(self._split) + len(SPLITS) * kind))
        return np.random.Generator(np.random.Philox(key=key, counter=(0, 0, 0, number)))


# -- masks ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class VisiblePart:
    """One instance of a part as far as it can be seen.

    Attributes:
        name: the part.
        mask: (H, W) bool, the pixels whose centre shows the part or something that the part contains.
    """

    name: str
    mask: np.ndarray


def visible_parts(canvas: Canvas) -> Iterator[VisiblePart]:
    """Yield the parts of which enough can be seen to call them there."""
    step = canvas.supersample
    regions = np.asarray(canvas.labels)[step // 2 :: step, step // 2 :: step]
    shown = np.zeros((len(canvas.parts), len(canvas.colours)), dtype=bool)
    for region, part in enumerate(canvas.instance_of):
        while part != NO_PART:
            shown[part, region] = True
            part = canvas.parts[part][1]
    pixels = np.bincount(regions.ravel(), minlength=len(canvas.colours))
    least = max(4, round(0.0006 * canvas.size**2))
    for instance in np.flatnonzero(shown @ pixels >= least).tolist():
        yield VisiblePart(canvas.parts[instance][0], shown[instance][regions])
