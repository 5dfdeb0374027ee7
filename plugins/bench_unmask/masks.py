"""Masks in COCO's run-length form, as pycocotools writes them; the host reads them (`benchmark.decode_mask`)."""

from __future__ import annotations

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
