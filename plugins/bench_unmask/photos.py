"""Photos in files: read safely, brought to one size, kept in memory where they fit."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from benchmark.dataset import DecodedSplit
from benchmark.errors import InputError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm")

_FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "PPM")
"""Formats that are tried: Pillow has more, and some of them start other programs."""

_WORTH_THREADS = 8


def read_photo(path: Path) -> Image.Image:
    """Return the image of a file, RGB, as it is stored (no turning by its EXIF data: masks were drawn on the pixels).

    Raises:
        InputError: the file is missing, damaged, no image, or larger than Pillow's limit; the message names it.
    """
    try:
        with Image.open(path, formats=_formats()) as image:
            limit = Image.MAX_IMAGE_PIXELS
            if limit is not None and image.width * image.height > limit:
                raise InputError(
                    f"{path}: {image.width}x{image.height} pixels are more than Pillow's limit of {limit} "
                    "(a decompression bomb?). Make the image smaller, or remove it."
                )
            return image.convert("RGB")
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"{path}: the image file is missing.") from None
    except MemoryError:
        raise
    except Exception as error:  # Pillow's readers raise almost anything for damaged files
        reason = "not an image of a known format" if isinstance(error, Image.UnidentifiedImageError) else error
        raise InputError(
            f"{path}: damaged image file: {str(reason) or type(error).__name__}. Replace it, or remove it."
        ) from None


@functools.cache
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


@dataclass(frozen=True)
class Place:
    """Where an image lies in the square that it was brought to.

    Attributes:
        width: of the resized image, in pixels.
        height: of the resized image, in pixels.
        left: column of its first pixel in the square; negative where it was cropped.
        top: row of its first pixel in the square.
    """

    width: int
    height: int
    left: int
    top: int


@dataclass(frozen=True)
class Fit:
    """How an image becomes a square.

    Attributes:
        kind: `squash` resizes without keeping the aspect ratio; `crop` resizes the shorter side and takes the centre,
            as torchvision's Resize and CenterCrop do; `pad` resizes the longer side and adds black around it, as
            Matterport's Mask R-CNN does.
        size: side of the square in pixels.
    """

    kind: Literal["squash", "crop", "pad"]
    size: int

    def place(self, width: int, height: int) -> Place:
        """Return where an image of that width and height comes to lie."""
        size = self.size
        if self.kind == "squash":
            return Place(size, size, 0, 0)
        if self.kind == "crop":  # the rounding is torchvision's
            longer = int(size * max(width, height) / min(width, height))
            resized = (size, longer) if width <= height else (longer, size)
            return Place(*resized, -round((resized[0] - size) / 2), -round((resized[1] - size) / 2))
        scale = size / max(width, height)
        resized = max(1, round(width * scale)), max(1, round(height * scale))
        return Place(*resized, (size - resized[0]) // 2, (size - resized[1]) // 2)

    def __call__(self, image: Image.Image) -> np.ndarray:
        """Return the pixels (3, size, size) uint8."""
        place = self.place(*image.size)
        if image.size != (place.width, place.height):
            image = image.resize((place.width, place.height), Image.Resampling.BILINEAR)
        if self.kind == "pad":
            square = Image.new("RGB", (self.size, self.size))
            square.paste(image, (place.left, place.top))
            image = square
        elif self.kind == "crop":
            image = image.crop((-place.left, -place.top, self.size - place.left, self.size - place.top))
        return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))


class PhotoSplit(DecodedSplit):
    """Photos decoded when they are first asked for. Threads and processes may share it."""

    def __init__(
        self, files: Sequence[Path], names: Sequence[str], labels: np.ndarray, class_names: Sequence[str], fit: Fit
    ) -> None:
        """Keep what to read: nothing is read here.

        Args:
            files: image file per index.
            names: name per index, the same between runs.
            labels: (N,) class index.
            class_names: name per class index.
            fit: how an image comes to its size.
        """
        self.files = list(files)
        self.labels = labels.astype(np.int64)
        self.class_names = tuple(class_names)
        self.image_shape = (3, fit.size, fit.size)
        self.fit = fit
        self._names = list(names)

    def sample_ids(self, indices: Sequence[int]) -> list[str]:
        """Return the name per image."""
        return [self._names[index] for index in indices]

    def decoded(self, indices: np.ndarray, threads: int) -> Iterator[np.ndarray]:
        """Yield the images of `indices`, with several threads where there are enough of them."""
        if threads > 1 and len(indices) >= _WORTH_THREADS:
            with ThreadPoolExecutor(threads) as pool:
                yield from pool.map(self._read, indices.tolist())
        else:
            yield from map(self._read, indices.tolist())

    def _read(self, index: int) -> np.ndarray:
        return self.fit(read_photo(self.files[index]))


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes.

    Raises:
        InputError: it cannot be read.
    """
    try:
        with open(path, "rb") as file:
            status = path.stat()
            key = str(path.absolute()), status.st_size, status.st_mtime_ns
            if key not in _digests:
                digest = sha256()
                while block := file.read(2**20):
                    digest.update(block)
                _digests[key] = digest.hexdigest()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}.") from None
    return _digests[key]


_digests: dict[tuple[str, int, int], str] = {}
"""(path, size, modification time) → digest: each file is read once per process for its fingerprint."""


def refuse_shared_images(files: Sequence[Path], labels: Sequence[int] | np.ndarray, class_names: Sequence[str]) -> None:
    """Refuse an image that two classes have: its label would be wrong in one of them.

    Files are compared byte by byte, by their digests; only those of equal size are read.

    Raises:
        InputError: two files of different classes have the same content, or one file has two classes.
    """
    by_size: dict[int, list[int]] = {}
    for index, path in enumerate(files):
        try:
            by_size.setdefault(path.stat().st_size, []).append(index)
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror or error}.") from None
    for indices in by_size.values():
        if len({int(labels[index]) for index in indices}) < 2:
            continue
        first_with: dict[str, int] = {}
        for index in indices:
            other = first_with.setdefault(digest_of(files[index]), index)
            if labels[other] != labels[index]:
                raise InputError(
                    f"the same image is in two classes: {files[other]} ({class_names[labels[other]]}) and "
                    f"{files[index]} ({class_names[labels[index]]}). Remove it from one of them."
                )
