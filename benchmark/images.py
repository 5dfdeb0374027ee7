"""Image files, read in one way for all data sets: by their content, safely, and upright.

What becomes of a file, whatever data set it is of:

- Formats: those of `FORMATS`, told by the first bytes, whatever the file is called. Pillow has more readers, and some
  of them start other programs.
- Orientation: turned as its EXIF (or XMP) orientation says, as viewers show it.
- Colours: RGB or grey (luma of ITU-R 601) of 8 bits per channel. Palettes are looked up, CMYK, YCbCr and Lab converted,
  alpha is dropped, of animations and files of several pictures the first counts. Single channels of more than 8 bits
  are refused, since nothing says what their white is.
- More pixels than Pillow's limit (a decompression bomb) are refused before anything is decoded.
"""

from __future__ import annotations

import functools
import io
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
from PIL import ExifTags, Image

from benchmark.errors import InputError

FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
"""Pillow's names of the formats that are read; PPM stands for all Netpbm files."""

_MODES = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV")
"""Pillow's modes of 8 bits per channel or fewer."""

_UNREAD_SUFFIXES = (
    ".heic", ".heif", ".hif", ".avif", ".jxl", ".jp2", ".j2k", ".jpx", ".svg", ".eps", ".psd", ".xcf", ".tga", ".ico",
    ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".raf",
)  # fmt: skip
"""Endings of images in formats that are not read: such a file is an image that is lacking, not something else."""

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation → what makes the picture upright (EXIF 2.32, tag 0x0112)."""


@dataclass(frozen=True)
class ImageHeader:
    """What an image file says about itself before its pixels.

    Attributes:
        stored: width and height of the pixels as they are stored.
        orientation: EXIF orientation, 1 to 8; 1 is upright. TIFF is upright always: Pillow turns it as it reads.
    """

    stored: tuple[int, int]
    orientation: int

    @property
    def upright(self) -> tuple[int, int]:
        """Width and height of the picture as viewers show it."""
        return self.stored[::-1] if self.orientation >= 5 else self.stored


def read_image(
    source: bytes | Path,
    *,
    where: str | None = None,
    color: Literal["rgb", "grey"] = "rgb",
    upright: Callable[[ImageHeader], bool] = lambda header: True,
) -> Image.Image:
    """Return the picture of an image file, upright, of Pillow's mode RGB or L.

    Args:
        source: the content of the file, or its path.
        where: how messages call it; needed for bytes.
        color: `rgb` or `grey`.
        upright: says whether the picture is to be turned, given what the file says about itself. Only who knows that
            something else, such as annotations, belongs to the pixels as they are stored leaves them so.

    Raises:
        InputError: it is missing, damaged, of a format that is not read, has more than 8 bits per channel, or more
            pixels than Pillow's limit; the message names it.
    """
    with _opened(source, where) as image:
        image.load()
        header = _header(image)
        turn = _TURNS.get(header.orientation) if upright(header) else None
        return (image if turn is None else image.transpose(turn)).convert("RGB" if color == "rgb" else "L")


def read_header(source: bytes | Path, *, where: str | None = None) -> ImageHeader:
    """Return what an image file says about itself, without decoding its pixels (but for TIFF).

    Raises:
        InputError: as `read_image`, as far as the first bytes show it.
    """
    with _opened(source, where) as image:
        if image.format == "TIFF":
            image.load()
        return _header(image)


def is_image(source: bytes | Path) -> bool:
    """Return whether the content of a file begins as an image of a format that is read."""
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=_formats()):
            return True
    except Image.DecompressionBombError:
        return True
    except Exception:  # Pillow's readers raise almost anything
        return False


def begins_as_image(head: bytes) -> bool:
    """Return whether the first 16 bytes or more of a file may be those of an image of a format that is read."""
    head = head.ljust(16, b"\0")  # some readers index without asking how long it is
    return any(accept is None or accept(head) is True for accept in (Image.OPEN[name][1] for name in _formats()))


def is_called_image(name: str) -> bool:
    """Return whether a file's name ends as those of images do, in a format that is read or another."""
    suffix = PurePosixPath(name).suffix.lower()
    return suffix in _UNREAD_SUFFIXES or suffix in _suffixes()


def is_hidden(name: str) -> bool:
    """Return whether a file or folder of that name is none of the user's: hidden, or what macOS leaves in archives."""
    return name == "__MACOSX" or (name.startswith(".") and name != "..")


class PassedOver(Counter[str]):
    """What lies where images are looked for and is none: why, or the ending of a file's name → how often."""

    HIDDEN, IN_NO_CLASS, FOLDER = "hidden", "in no class", "folder"

    def add(self, name: str, *, folder: bool = False) -> None:
        """Count a file, or a folder, that is no image, by its name."""
        self[self.HIDDEN if is_hidden(name) else self.FOLDER if folder else _ending(name)] += 1

    def remarks(self) -> tuple[str, ...]:
        """Return what was passed over in words, a sentence or nothing."""
        others = {kind: n for kind, n in self.items() if kind not in (self.HIDDEN, self.IN_NO_CLASS, self.FOLDER)}
        parts = []
        if others:
            listed = ", ".join(f"{n} {kind}" for kind, n in sorted(others.items())[:6])
            more = ", ..." if len(others) > 6 else ""
            parts.append(f"no images: {sum(others.values())} ({listed}{more})")
        whys = ((self.IN_NO_CLASS, "images in no class folder"), (self.FOLDER, "folders"), (self.HIDDEN, "hidden"))
        parts += [f"{words}: {self[kind]}" for kind, words in whys if self[kind]]
        return (f"Files passed over: {'; '.join(parts)}.",) if parts else ()


def _ending(name: str) -> str:
    """Return the ending of a file's name in lower case, in words where it is none that can be shown."""
    suffix = PurePosixPath(name).suffix.lower()
    if not suffix:
        return "without an ending"
    return suffix if suffix[1:].isascii() and suffix[1:].isalnum() and len(suffix) <= 12 else "of odd endings"


def image_files(folder: Path, passed_over: PassedOver) -> list[Path]:
    """Return the images that lie in a folder, sorted by name.

    Args:
        folder: is not looked into deeper.
        passed_over: is told of the other files.
    """
    found = []
    for path in sorted(folder.iterdir()):
        if not is_hidden(path.name) and path.is_file() and (is_called_image(path.name) or is_image(path)):
            found.append(path)
        else:
            passed_over.add(path.name, folder=path.is_dir())
    return found


@functools.cache
def _suffixes() -> frozenset[str]:
    return frozenset(s for s, name in Image.registered_extensions().items() if name in (*_formats(), "MPO"))


@functools.cache
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


@contextmanager
def _opened(source: bytes | Path, where: str | None) -> Iterator[Image.Image]:
    where = str(source) if where is None else where
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=_formats()) as image:
            check_pixels(*image.size, where)
            if image.mode not in _MODES:
                raise InputError(
                    f"{where}: Pillow mode {image.mode}, more than 8 bits per channel. Convert the images to 8 bits."
                )
            yield image
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"{where}: the image file is missing.") from None
    except Image.DecompressionBombError as error:
        raise InputError(f"{where}: {error} Make the image smaller, or remove it.") from None
    except MemoryError:
        raise
    except Exception as error:  # Pillow's readers raise almost anything for damaged files
        reason: object = error
        if isinstance(error, Image.UnidentifiedImageError):
            reason = f"not an image of a known format ({', '.join(_formats())})"
        raise InputError(
            f"{where}: damaged image file: {str(reason) or type(error).__name__}. Replace it, or remove it."
        ) from None


def _header(image: Image.Image) -> ImageHeader:
    orientation: object = 1
    if image.format != "TIFF":
        try:
            # That of PNG would decode the whole image to look for EXIF behind its pixels.
            orientation = Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1)
        except Exception:  # damaged EXIF says nothing, and the picture is there all the same
            orientation = 1
    known = isinstance(orientation, int) and orientation in _TURNS
    return ImageHeader(image.size, orientation if known else 1)  # type: ignore[arg-type]


def check_pixels(width: int, height: int, where: str) -> None:
    """Refuse more pixels than Pillow's limit.

    Raises:
        InputError: there are more.
    """
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and width * height > limit:
        raise InputError(
            f"{where}: {width}x{height} pixels are more than Pillow's limit of {limit} (a decompression bomb?). "
            "Make the image smaller, or remove it."
        )


# -- one size ---------------------------------------------------------------------------------------------------------


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
        shorter: shorter side before the centre is cropped; `size` where it is None.
    """

    kind: Literal["squash", "crop", "pad"]
    size: int
    shorter: int | None = None

    def place(self, width: int, height: int) -> Place:
        """Return where an image of that width and height comes to lie."""
        size = self.size
        if self.kind == "squash":
            return Place(size, size, 0, 0)
        if self.kind == "crop":  # the rounding is torchvision's
            shorter = self.shorter or size
            longer = int(shorter * max(width, height) / min(width, height))
            resized = (shorter, longer) if width <= height else (longer, shorter)
            return Place(*resized, -round((resized[0] - size) / 2), -round((resized[1] - size) / 2))
        scale = size / max(width, height)
        resized = max(1, round(width * scale)), max(1, round(height * scale))
        return Place(*resized, (size - resized[0]) // 2, (size - resized[1]) // 2)

    def __call__(self, image: Image.Image, where: str) -> np.ndarray:
        """Return the pixels (C, size, size) uint8 of the image that messages call `where`.

        Raises:
            InputError: it is so thin that resized it has more pixels than Pillow's limit.
        """
        place = self.place(*image.size)
        check_pixels(place.width, place.height, f"{where}, resized")
        if image.size != (place.width, place.height):
            image = image.resize((place.width, place.height), Image.Resampling.BILINEAR)
        if self.kind == "pad":
            square = Image.new(image.mode, (self.size, self.size))
            square.paste(image, (place.left, place.top))
            image = square
        elif image.size != (self.size, self.size):
            image = image.crop((-place.left, -place.top, self.size - place.left, self.size - place.top))
        return pixels_of(image)


def pixels_of(image: Image.Image) -> np.ndarray:
    """Return the pixels (C, H, W) uint8 of an image of mode RGB or L."""
    pixels = np.asarray(image)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1) if pixels.ndim == 3 else pixels[None])
