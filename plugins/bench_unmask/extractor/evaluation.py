"""How good K is: mean average precision by pycocotools (COCO API, Lin et al., ECCV 2014)."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from bench_unmask import masks
from bench_unmask.extractor.backend import Detections
from benchmark import is_ignored

WHOLE = [0.0, 0.0, 1.0, 1.0]
"""A box that stands for the whole image."""


class MeanAveragePrecision:
    """Collects detections of a split image by image and scores them against its annotations.

    Args:
        data: part annotations in COCO form; boxes and masks in the pixels of the split's images.
        parts: names of the parts, by the label of a detection.
        with_masks: whether detections have masks that are scored too.
    """

    def __init__(self, data: dict[str, Any], parts: Sequence[str], *, with_masks: bool) -> None:
        self._data = data
        self._with_masks = with_masks
        category_of = {category["name"]: category["id"] for category in data["categories"]}
        # A part that the test data does not know cannot be right: -1 is nobody's category.
        self._category_of = [category_of.get(name, -1) for name in parts]
        self._found: list[dict[str, Any]] = []

    def add(self, first: int, found: Detections, stretch: tuple[float, float]) -> None:
        """Add what was found in the images `first`, `first` + 1, ...

        Args:
            first: index of the batch's first image in the split.
            found: the detections of the batch.
            stretch: width and height of the split's images / those of the images that the detections lie in.
        """
        across, down = stretch
        image, labels, scores = (t.tolist() for t in (found.image, found.labels, found.scores))
        boxes = found.boxes.tolist()
        shapes = found.masks.cpu().numpy() if found.masks is not None and self._with_masks else None
        for row, (x0, y0, x1, y1) in enumerate(boxes):
            entry = {
                "image_id": self._data["images"][first + image[row]]["id"],
                "category_id": self._category_of[labels[row]],
                "score": scores[row],
                "bbox": [x0 * across, y0 * down, (x1 - x0) * across, (y1 - y0) * down],
            }
            if shapes is not None:
                entry["segmentation"] = masks.encode(_resized(shapes[row], stretch))
            self._found.append(entry)

    def measures(self) -> dict[str, float]:
        """Return the measures by name, each a mean over the parts that occur in the annotations.

        `box_map`: average precision of boxes, mean over IoU .50 to .95 (COCO's AP); `box_map_50`: at IoU .50;
        `mask_map`, `mask_map_50`: the same of masks, where K learned some; `class_map`: average precision of saying
        whether a part is in the image at all, the best score of the part being the image's score: what alignment uses.

        What is found in a region to be ignored counts neither for nor against, as COCO has it for `iscrowd`; in
        `class_map` the same holds for a part that an image has in such a region only.
        """
        annotations = [{**a, "iscrowd": int(is_ignored(a))} for a in self._data["annotations"]]
        found = self._found
        answers = dict(zip(("box_map", "box_map_50"), _average_precisions(self._data, annotations, found, "bbox")))
        if self._with_masks:
            drawn = [{**a, "segmentation": _drawn(a)} for a in annotations]
            answers |= zip(("mask_map", "mask_map_50"), _average_precisions(self._data, drawn, found, "segm"))
        answers["class_map"] = _average_precisions(self._data, _once(annotations), _best(found), "bbox")[1]
        return answers


def _resized(mask: np.ndarray, stretch: tuple[float, float]) -> np.ndarray:
    height, width = (round(side * by) for side, by in zip(mask.shape, reversed(stretch)))
    if (height, width) == mask.shape:
        return mask
    rows = ((np.arange(height) + 0.5) * mask.shape[0] / height).astype(np.int64)
    columns = ((np.arange(width) + 0.5) * mask.shape[1] / width).astype(np.int64)
    return mask[rows][:, columns]


def _drawn(annotation: dict[str, Any]) -> Any:
    """Return the mask as pycocotools takes it: a box without one as a polygon."""
    x, y, width, height = annotation["bbox"]
    return annotation.get("segmentation") or [[x, y, x + width, y, x + width, y + height, x, y + height]]


def _once(annotations: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return one annotation per image and part, of the whole image; to be ignored where all of the part's are."""
    pairs: dict[tuple[Any, Any], int] = {}
    for a in annotations:
        pair = a["image_id"], a["category_id"]
        pairs[pair] = pairs.get(pair, 1) & a["iscrowd"]
    return [
        {"id": number, "image_id": image, "category_id": category, "bbox": WHOLE, "area": 1.0, "iscrowd": ignored}
        for number, ((image, category), ignored) in enumerate(pairs.items(), 1)
    ]


def _best(found: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the best detection per image and part, as one of the whole image."""
    best: dict[tuple[Any, Any], float] = {}
    for entry in found:
        pair = entry["image_id"], entry["category_id"]
        best[pair] = max(entry["score"], best.get(pair, 0.0))
    return [
        {"image_id": image, "category_id": category, "score": score, "bbox": WHOLE}
        for (image, category), score in best.items()
    ]


def _average_precisions(
    data: dict[str, Any], annotations: list[dict[str, Any]], found: list[dict[str, Any]], kind: str
) -> tuple[float, float]:
    """Return the mean average precision over IoU .50 to .95 and at .50; 0 where nothing was found."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    if not found:
        return 0.0, 0.0
    with contextlib.redirect_stdout(io.StringIO()):  # it prints what it does
        truth = COCO()
        # Its ids must not be 0, which it takes for "no match".
        numbered = [{**a, "id": number} for number, a in enumerate(annotations, 1)]
        truth.dataset = {"images": data["images"], "categories": data["categories"], "annotations": numbered}
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes([dict(entry) for entry in found]), kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return max(0.0, float(evaluation.stats[0])), max(0.0, float(evaluation.stats[1]))
