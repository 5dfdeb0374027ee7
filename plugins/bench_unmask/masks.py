"""Masks in COCO's run-length form, written here so that reading data needs no compiled package.

The form is the one of the COCO API: pixels in column order, lengths of runs, the first run of zeros (perhaps of
length 0). `counts` is a list of lengths, or the same compressed into a string.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def encode(mask: np.ndarray) -> list[int]:
    """Return the run lengths of a mask (H, W) bool."""
    flat = mask.astype(np.int8).ravel(order="F")
    edges = np.flatnonzero(np.diff(flat, prepend=np.int8(0))) if flat.size else np.zeros(0, dtype=np.int64)
    return [int(n) for n in np.diff(np.concatenate([[0], edges, [flat.size]]))]


def decode(counts: Sequence[int], height: int, width: int) -> np.ndarray:
    """Return the mask (height, width) bool of run lengths.

    Raises:
        ValueError: the lengths are negative, or their sum is not height x width.
    """
    lengths = np.asarray(counts, dtype=np.int64)
    if (lengths < 0).any() or lengths.sum() != height * width:
        raise ValueError(f"run lengths sum to {lengths.sum()}, the image has {height * width} pixels")
    values = np.arange(len(lengths)) % 2 == 1
    return np.repeat(values, lengths).reshape((height, width), order="F")


def compress(counts: Sequence[int]) -> str:
    """Return run lengths as COCO's string: from the fourth on, differences to the last but one, six bits a character.

    Each character holds five bits, low ones first, and a bit that says whether more follow; the fifth bit of the
    last one is the sign.
    """
    characters = []
    for index, count in enumerate(counts):
        value = count - counts[index - 2] if index > 2 else count
        more = True
        while more:
            bits = value & 0x1F
            value >>= 5
            more = value != (-1 if bits & 0x10 else 0)
            characters.append(chr((bits | 0x20 if more else bits) + 48))
    return "".join(characters)


def decompress(text: str) -> list[int]:
    """Return the run lengths that `compress` was given.

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


def rle(mask: np.ndarray, *, compressed: bool = False) -> dict[str, Any]:
    """Return the COCO segmentation of a mask (H, W) bool."""
    counts = encode(mask)
    return {"size": [int(mask.shape[0]), int(mask.shape[1])], "counts": compress(counts) if compressed else counts}


def decode_rle(segmentation: dict[str, Any]) -> np.ndarray:
    """Return the mask (H, W) bool of a COCO run-length segmentation, compressed or not.

    Raises:
        ValueError: it is not one.
    """
    try:
        height, width = (int(side) for side in segmentation["size"])
        counts = segmentation["counts"]
        return decode(decompress(counts) if isinstance(counts, str) else counts, height, width)
    except (KeyError, TypeError, OverflowError) as error:
        raise ValueError(f"not a run-length segmentation: {error}") from None


def bounding_box(mask: np.ndarray) -> list[int]:
    """Return COCO's [x, y, width, height] of the pixels of a mask (H, W) that is not empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return [
        int(columns[0]), int(rows[0]), int(columns[-1] - columns[0] + 1), int(rows[-1] - rows[0] + 1)
    ]  # fmt: skip
