"""Masks of annotated parts, read from COCO's forms: run lengths and polygons.

Run lengths are those of the COCO API: pixels in column order, the first run of zeros (perhaps of length 0). `counts` is
a list of lengths, or the same compressed into a string. pycocotools reads a malformed string without a word, as more
pixels than the mask has: what comes from files is read here, and refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmark.errors import InputError

__all__ = ["decode_mask", "mask_of"]


def mask_of(annotation: dict[str, Any], height: int, width: int) -> np.ndarray:
    """Return the mask (height, width) bool of a COCO annotation: of run lengths, or of polygons.

    Raises:
        InputError: it has none, or an empty one.
    """
    segmentation = annotation.get("segmentation")
    where = f"annotation {annotation['id']}"
    if not segmentation:
        raise InputError(
            f"{where} has a box and no mask. Draw the mask; UnMask's extractor does without (`masks: false`)."
        )
    if isinstance(segmentation, dict):
        try:
            mask = decode_mask(segmentation)
        except ValueError as error:
            raise InputError(f"{where}: segmentation: {error}.") from None
        if mask.shape != (height, width):
            raise InputError(f"{where}: its mask is of size {mask.shape}, its image {(height, width)} (height, width).")
        if not mask.any():
            raise InputError(f"{where}: its mask is empty. Remove it, or draw the mask.")
        return mask
    from pycocotools import mask as coco_mask

    try:
        drawn = coco_mask.merge(coco_mask.frPyObjects(segmentation, height, width))
    except Exception as error:  # of that very class, for a list of another form
        raise InputError(f"{where}: segmentation: no list of polygons: {error}.") from None
    mask = decode_mask({"size": drawn["size"], "counts": drawn["counts"].decode("ascii")})
    if not mask.any():  # smaller than a pixel: the one under its middle
        x, y, w, h = annotation["bbox"]
        mask[min(int(y + h / 2), height - 1), min(int(x + w / 2), width - 1)] = True
    return mask


def decode_mask(segmentation: dict[str, Any]) -> np.ndarray:
    """Return the mask (H, W) bool of a COCO run-length segmentation, compressed or not.

    Raises:
        ValueError: it is not one.
    """
    try:
        height, width = (int(side) for side in segmentation["size"])
        counts = segmentation["counts"]
        return _mask(_decompressed(counts) if isinstance(counts, str) else counts, height, width)
    except (KeyError, TypeError, OverflowError) as error:
        raise ValueError(f"not a run-length segmentation: {error}") from None


def _mask(counts: Sequence[int], height: int, width: int) -> np.ndarray:
    """Return the mask (height, width) bool of run lengths.

    Raises:
        ValueError: the lengths are negative, or their sum is not height x width.
    """
    lengths = np.asarray(counts, dtype=np.int64)
    if (lengths < 0).any() or lengths.sum() != height * width:
        raise ValueError(f"run lengths sum to {lengths.sum()}, the image has {height * width} pixels")
    values = np.arange(len(lengths)) % 2 == 1
    return np.repeat(values, lengths).reshape((height, width), order="F")


def _decompressed(text: str) -> list[int]:
    """Return the run lengths that COCO's string holds: from the fourth on, differences to the last but one.

    Six bits make a character: five of a number, low ones first, and one that says whether more follow; the fifth bit of
    the last one is the sign.

    Raises:
        ValueError: `text` is no such string.
    """
    counts: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64:
            raise ValueError(f"character {character!r} does not occur in compressed run lengths")
        value |= (bits & 0x1F) << shift
        shift += 5
        if not bits & 0x20:
            if bits & 0x10:
                value -= 1 << shift
            counts.append(value + counts[-2] if len(counts) > 2 else value)
            value = shift = 0
    if shift:
        raise ValueError("compressed run lengths end in the middle of a number")
    return counts
