"""`partshapes`: pictures composed of parts with exact masks, made by the program and never read from a file.

A picture follows from (seed, split, class, number) alone, each of which selects a stream of a counter-based generator
(Salmon et al., *Parallel Random Numbers: As Easy as 1, 2, 3*, SC 2011), so splits are disjoint by construction, and
car number 17 of a split is the same picture in every class set.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from PIL import Image, ImageFilter

from bench_unmask import drawing, figures, masks
from bench_unmask.options import SHAPE_CLASSES, PartShapesOptions
from bench_unmask.parts import CLASS_SETS, PAPER, PARTS
from benchmark.dataset import SPLITS, Dataset, PartAnnotations, Split

if TYPE_CHECKING:
    import torch

RENDERER = "1"
"""Part of the fingerprint: raise it when a change alters pixels or masks."""

MOST_CACHED_BYTES = 2**28
"""Pictures are kept in memory as they are drawn, for all class sets of a process together, up to this much."""


class _Drawn(dict[tuple[object, ...], np.ndarray]):
    """The pictures that this process has drawn and kept."""

    bytes = 0


_DRAWN = _Drawn()
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
        pixels = _DRAWN.get(key)
        if pixels is None:
            pixels = self.picture(index)
            # Threads that draw the same picture at once draw the same bytes.
            if _DRAWN.bytes + pixels.nbytes <= MOST_CACHED_BYTES:
                _DRAWN.bytes += pixels.nbytes
                _DRAWN[key] = pixels
        return pixels

    def sample_ids(self, indices: Sequence[int]) -> list[str]:
        """Return class and number per picture."""
        return [f"{self.class_names[self.labels[i]]}/{i // len(self.class_names)}" for i in indices]

    def part_annotations(self) -> PartAnnotations:
        """Return the parts that can be seen, in COCO form: image id = index, masks as run lengths.

        Categories are the parts that the classes have in the paper's matrix, numbered by their place among its 44
        parts, from 1, whatever the class set.
        """
        if self._annotations is None:
            self._annotations = self._annotated()
        return self._annotations

    def _annotated(self) -> PartAnnotations:
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
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": index,
                        "category_id": PARTS.index(part.name) + 1,
                        "bbox": masks.bounding_box(part.mask),
                        "area": int(part.mask.sum()),
                        "segmentation": masks.rle(part.mask),
                        "iscrowd": 0,
                    }
                )
        vocabulary = set(PAPER.select(self.class_names).vocabulary)
        categories = [
            {"id": number, "name": name, "supercategory": "part"}
            for number, name in enumerate(PARTS, 1)
            if name in vocabulary
        ]
        return PartAnnotations({"images": images, "annotations": annotations, "categories": categories})

    def shapes(self, index: int) -> drawing.Canvas:
        """Return the drawn regions of a picture, before light and texture."""
        draw = drawing.Draw(self._generator(index, _SHAPES))
        name = self.class_names[self.labels[index]]
        size = self._options.size
        canvas = drawing.Canvas(size, 3 if size <= _FULL_SUPERSAMPLING_SIZE else 2)
        tone = drawing.any_colour(draw)
        figures.clutter(canvas, draw, self._options.clutter, tone)
        figures.FIGURES[name](canvas, draw)
        if draw.chance(self._options.occlusion):
            figures.occluder(canvas, draw, tone)
        return canvas

    def picture(self, index: int) -> np.ndarray:
        """Return the pixels of a picture: (H, W, 3) uint8."""
        name = self.class_names[self.labels[index]]
        return paint(self.shapes(index), name, self._generator(index, _PIXELS), self._options.noise)

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_annotations": None}

    def _generator(self, index: int, stream: int) -> np.random.Generator:
        number, label = divmod(index, len(self.class_names))
        kind = SHAPE_CLASSES.index(self.class_names[label])
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


def visible_parts(canvas: drawing.Canvas) -> Iterator[VisiblePart]:
    """Yield the parts of which enough can be seen to call them there."""
    step = canvas.supersample
    regions = np.asarray(canvas.labels)[step // 2 :: step, step // 2 :: step]
    shown = np.zeros((len(canvas.parts), len(canvas.colours)), dtype=bool)
    for region, part in enumerate(canvas.instance_of):
        while part != drawing.NO_PART:
            shown[part, region] = True
            part = canvas.parts[part][1]
    pixels = np.bincount(regions.ravel(), minlength=len(canvas.colours))
    least = max(4, round(0.0006 * canvas.size**2))
    for instance in np.flatnonzero(shown @ pixels >= least).tolist():
        yield VisiblePart(canvas.parts[instance][0], shown[instance][regions])


# -- light and texture ------------------------------------------------------------------------------------------------

_TEXTURE_OF = {"car": "gloss", "person": "weave", "train": "ribs", "dog": "fur", "bird": "feathers", "bottle": "sheen"}
_SCENES = {
    #          above: hue, saturation, value           below                    horizon, roughness above and below
    "road": ((0.58, 0.25, 0.75), (0.1, 0.05, 0.42), (0.3, 0.7), (0.05, 0.04)),
    "street": ((0.07, 0.25, 0.5), (0.1, 0.05, 0.45), (0.5, 0.8), (0.13, 0.05)),
    "track": ((0.55, 0.2, 0.75), (0.09, 0.2, 0.38), (0.3, 0.65), (0.05, 0.14)),
    "meadow": ((0.33, 0.35, 0.35), (0.28, 0.5, 0.45), (0.15, 0.6), (0.14, 0.1)),
    "sky": ((0.57, 0.35, 0.85), (0.57, 0.2, 0.8), (0.2, 0.9), (0.04, 0.04)),
    "leaves": ((0.3, 0.45, 0.35), (0.25, 0.5, 0.25), (0.2, 0.9), (0.2, 0.2)),
    "room": ((0.1, 0.2, 0.65), (0.08, 0.4, 0.4), (0.55, 0.85), (0.03, 0.05)),
    "table": ((0.08, 0.3, 0.35), (0.07, 0.45, 0.5), (0.5, 0.8), (0.08, 0.06)),
}
_SCENES_OF = {
    "car": ("road", "street"),
    "person": ("street", "room", "meadow"),
    "train": ("track", "road"),
    "dog": ("meadow", "room"),
    "bird": ("sky", "leaves"),
    "bottle": ("table", "room"),
}


def paint(canvas: drawing.Canvas, name: str, generator: np.random.Generator, noise: float) -> np.ndarray:
    """Return the picture (H, W, 3) uint8 of drawn regions: scene, texture, light, camera.

    As on photos, texture and scene go with the class most of the time, so that a network finds weak fine patterns
    that predict the class beside the shapes that define it.
    """
    draw = drawing.Draw(generator)
    size = canvas.size
    colour = _levels(canvas, canvas.colours)
    own, other, clear = np.moveaxis(_levels(canvas, canvas.materials), 2, 0)
    texture = _TEXTURE_OF[name] if draw.chance(0.85) else draw.choice(sorted(_TEXTURE_OF.values()))
    pattern = own * _texture(texture, size, draw) * draw.between(0.03, 0.075)
    pattern += (
        other * _texture(draw.choice(("grain", "weave", "clouds", "ribs")), size, draw) * draw.between(0.03, 0.08)
    )
    scene = draw.choice(_SCENES_OF[name]) if draw.chance(0.65) else draw.choice(sorted(_SCENES))
    image = colour + _scene(scene, size, draw) * clear[:, :, None]
    image += pattern[:, :, None] * np.array([draw.between(0.8, 1.2) for _ in range(3)], dtype=np.float32)

    angle, strength = draw.between(0, 6.3), draw.between(0, 0.28)
    ramp = np.linspace(-1, 1, size, dtype=np.float32)
    light = 1 + strength * (np.cos(angle) * ramp[None, :] + np.sin(angle) * ramp[:, None])
    light += _texture("clouds", size, draw) * draw.between(0, 0.08)
    image *= light[:, :, None]
    contrast = 1 - noise * draw.between(-0.1, 0.75)
    middle = draw.between(0.38, 0.6)
    cast = [middle + noise * draw.between(-0.06, 0.06) for _ in range(3)]
    image = (image - 0.5) * contrast + np.array(cast, dtype=np.float32)
    if draw.chance(0.5):
        blurred = Image.fromarray((image.clip(0, 1) * 255).astype(np.uint8))
        blurred = blurred.filter(ImageFilter.GaussianBlur(noise * draw.between(0.2, 1.3) * max(1.0, size / 96)))
        image = np.asarray(blurred, dtype=np.float32) / 255
    grain = noise * draw.between(0.01, 0.07)
    image = image + generator.standard_normal(image.shape, dtype=np.float32) * np.float32(grain)
    return (image.clip(0, 1) * 255 + 0.5).astype(np.uint8)


def _levels(canvas: drawing.Canvas, values: Sequence[tuple[float, float, float]]) -> np.ndarray:
    """Return three values per region as an anti-aliased image: (H, W, 3) float32 in [0, 1]."""
    table = bytes(round(min(1.0, max(0.0, value)) * 255) for row in values for value in row)
    image = canvas.labels.copy()
    image.putpalette(table)
    return np.asarray(image.convert("RGB").reduce(canvas.supersample), dtype=np.float32) / 255


def _scene(name: str, size: int, draw: drawing.Draw) -> np.ndarray:
    """Return a background: (H, W, 3) float32."""
    above, below, horizon, rough = _SCENES[name]

    def tint(base: tuple[float, float, float]) -> np.ndarray:
        hue, saturation, value = base
        return np.array(
            drawing.hsv(
                hue + draw.between(-0.06, 0.06),
                min(1.0, saturation * draw.between(0.3, 1.5)),
                min(1.0, value * draw.between(0.65, 1.3)),
            ),
            dtype=np.float32,
        )

    y = np.linspace(0, 1, size, dtype=np.float32)[:, None]
    edge = draw.between(*horizon) + draw.between(-0.2, 0.2) * (np.linspace(0, 1, size, dtype=np.float32)[None, :] - 0.5)
    share = (0.5 + (y - edge) / draw.between(0.01, 0.25)).clip(0, 1)[:, :, None]
    clouds, fine = _texture("clouds", size, draw), _texture("grain", size, draw)
    amount = rough[0] * (1 - share[:, :, 0]) + rough[1] * share[:, :, 0]
    pattern = amount * (clouds * draw.between(0.5, 1.3) + fine * draw.between(0.1, 0.6))
    return tint(above) * (1 - share) + tint(below) * share + pattern[:, :, None]


def _texture(name: str, size: int, draw: drawing.Draw) -> np.ndarray:
    """Return a window (size, size) of a texture, float32 of mean 0 and deviation 1."""
    tile = _tiles(size)[name]
    top, left = draw.integer(0, tile.shape[0] - size), draw.integer(0, tile.shape[1] - size)
    window = tile[top : top + size, left : left + size]
    return window[:, ::-1] if draw.chance(0.5) else window


@lru_cache(maxsize=4)
def _tiles(size: int) -> dict[str, np.ndarray]:
    """Return texture → tile (3 size, 3 size); always the same ones, so pictures stay functions of their number."""
    side = 3 * size
    random = np.random.RandomState(20210)
    unit = max(1.0, size / 96)  # the coarse patterns grow with the picture
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(side), np.fft.rfftfreq(side), indexing="ij"))
    rows, columns = np.meshgrid(np.fft.fftfreq(side), np.fft.rfftfreq(side), indexing="ij")

    def filtered(response: np.ndarray) -> np.ndarray:
        white = np.fft.rfft2(random.standard_normal((side, side)))
        return np.fft.irfft2(white * response, s=(side, side))

    def blurred(down: float, along: float) -> np.ndarray:
        return filtered(np.exp(-2 * np.pi**2 * ((rows * down) ** 2 + (columns * along) ** 2)))

    y, x = np.mgrid[:side, :side] / unit
    wobble = blurred(9 * unit, 9 * unit)
    wobble /= wobble.std()
    tiles = {
        "grain": filtered(np.ones_like(frequency)),
        "clouds": filtered(1 / np.maximum(frequency, 1.0 / size) ** 1.2),
        "fur": blurred(2.6, 0.5) * 4 + blurred(6 * unit, 6 * unit) * 3 * unit,
        "feathers": np.maximum(np.sin(1.1 * y + wobble), np.sin(0.9 * x + 0.55 * y + wobble)),
        "gloss": blurred(8 * unit, 30 * unit) * 20 * unit + blurred(0.4, 5) * 0.8,
        "ribs": np.sin(2.0 * x + 0.3 * wobble) + 0.4 * blurred(0.5, 0.5),
        "weave": np.sin(2.2 * x) * np.sin(2.2 * y) + 0.7 * blurred(0.6, 0.6),
        "sheen": blurred(25 * unit, 2.5) * 12 * unit + 0.3 * blurred(0.5, 0.5),
    }
    return {name: ((tile - tile.mean()) / tile.std()).astype(np.float32) for name, tile in tiles.items()}
