"""Masks in COCO's run-length form: written by pycocotools, read here.

The form is the one of the COCO API: pixels in column order, lengths of runs, the first run of zeros (perhaps of
length 0). `counts` is a list of lengths, or the same compressed into a string. pycocotools reads a malformed string
without a word, as more pixels than the mask has: what comes from files is read here, and refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def encode(mask: np.ndarray) -> dict[str, Any]:
    """Return the COCO segmentation of a mask (H, W) bool, compressed."""
    from pycocotools import mask as coco_mask

    runs = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": runs["size"], "counts": runs["counts"].decode("ascii")}


def measured(mask: np.ndarray) -> dict[str, Any]:
    """Return what a COCO annotation says of a mask (H, W) bool that is not empty: `segmentation`, `bbox`, `area`."""
    from pycocotools import mask as coco_mask

    segmentation = encode(mask)
    box = coco_mask.toBbox(segmentation).astype(int).tolist()
    return {"bbox": box, "area": int(mask.sum()), "segmentation": segmentation}


def decode(segmentation: dict[str, Any]) -> np.ndarray:
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
