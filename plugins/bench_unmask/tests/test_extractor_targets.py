"""Annotated parts as targets, mirrored and resized; and average precision by hand-made detections."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bench_unmask import masks
from bench_unmask.extractor.backend import Detections
from bench_unmask.extractor.evaluation import MeanAveragePrecision
from bench_unmask.extractor.training import AnnotatedParts
from benchmark.dataset import PartAnnotations
from benchmark.errors import InputError

NAMES = ("wheel", "vehicle_left", "vehicle_right", "coach_left")


def annotated(*shapes, width=40, height=20, names=NAMES, parts=None, **fields) -> AnnotatedParts:
    return AnnotatedParts(PartAnnotations(coco(*shapes, width=width, height=height, names=names, **fields)), parts)


def coco(*shapes, width=40, height=20, names=NAMES, **fields):
    """One image per shape (name, box)."""
    return {
        "images": [{"id": 10 + i, "width": width, "height": height} for i in range(len(shapes))],
        "categories": [{"id": 7 + i, "name": name} for i, name in enumerate(names)],
        "annotations": [
            {
                "id": i,
                "image_id": 10 + i,
                "category_id": 7 + names.index(name) if name in names else 99,
                "bbox": list(box),
                "area": box[2] * box[3],
                "iscrowd": 0,
                **fields,
            }
            for i, (name, box) in enumerate(shapes)
        ],
    }


def box_mask(box, width=40, height=20):
    mask = np.zeros((height, width), dtype=bool)
    x, y, w, h = box
    mask[y : y + h, x : x + w] = True
    return mask


def test_a_target_is_resized_with_its_image():
    box = (4, 2, 10, 6)
    parts = annotated(("wheel", box), segmentation=masks.encode(box_mask(box)))
    target = parts.target(0, (40, 80), mirrored=False, with_masks=True)
    assert target.boxes.tolist() == [[8, 4, 28, 16]]
    assert target.labels.tolist() == [0]
    assert torch.equal(target.masks[0], torch.from_numpy(box_mask((8, 4, 20, 12), 80, 40)))


def test_in_a_mirror_left_is_right():
    box = (4, 2, 10, 6)
    parts = annotated(("vehicle_left", box), segmentation=masks.encode(box_mask(box)))
    assert parts.can_be_mirrored(0)
    target = parts.target(0, (20, 40), mirrored=True, with_masks=True)
    assert [parts.parts[label] for label in target.labels] == ["vehicle_right"]
    assert target.boxes.tolist() == [[26, 2, 36, 8]]
    assert torch.equal(target.masks[0], torch.from_numpy(box_mask((26, 2, 10, 6))))


def test_a_side_whose_other_side_has_no_name_is_not_mirrored():
    parts = annotated(("coach_left", (1, 1, 5, 5)), ("wheel", (1, 1, 5, 5)), ("wheel", (0, 0, 2, 2)))
    assert [parts.can_be_mirrored(index) for index in range(3)] == [False, True, True]


def test_words_that_contain_left_are_not_sides():
    parts = annotated(("cleft", (1, 1, 5, 5)), names=("cleft", "cright"))
    assert parts.can_be_mirrored(0)
    target = parts.target(0, (20, 40), mirrored=True, with_masks=False)
    assert parts.parts[target.labels[0]] == "cleft"


def test_polygons_become_masks_and_the_smallest_keeps_a_pixel():
    box = (4, 2, 10, 6)
    square = [4, 2, 14, 2, 14, 8, 4, 8]
    parts = annotated(("wheel", box), segmentation=[square])
    found = parts.target(0, (20, 40), mirrored=False, with_masks=True).masks[0].numpy()
    assert (found == box_mask(box)).mean() > 0.97
    tiny = annotated(("wheel", (4.1, 2.1, 0.2, 0.2)), segmentation=[[4.1, 2.1, 4.3, 2.1, 4.3, 2.3]])
    mask = tiny.target(0, (20, 40), mirrored=False, with_masks=True).masks[0]
    assert mask.sum() == 1
    assert mask[2, 4]


@pytest.mark.parametrize(
    ("fields", "with_masks", "message"),
    [
        ({}, True, "annotation 0 has a box and no mask. Draw the mask; UnMask's extractor does without"),
        ({"segmentation": {"size": [20, 40], "counts": [800]}}, True, "annotation 0: its mask is empty"),
        ({"segmentation": {"size": [20, 41], "counts": [0, 820]}}, True, r"its mask is of size \(20, 41\)"),
        ({"segmentation": {"size": [20, 40], "counts": [3]}}, True, "run lengths sum to 3"),
    ],
)
def test_masks_that_cannot_be_learned_are_refused(fields, with_masks, message):
    parts = annotated(("wheel", (4, 2, 10, 6)), **fields)
    with pytest.raises(InputError, match=message):
        parts.target(0, (20, 40), mirrored=False, with_masks=with_masks)


def test_a_category_outside_the_parts_is_refused():
    with pytest.raises(InputError, match=r"annotation 0: its category 7 \(wheel\) is not among the 1 parts: door"):
        annotated(("wheel", (1, 1, 2, 2)), parts=("door",))
    with pytest.raises(InputError, match=r"annotation 0: its category 99 \(None\) is not among"):
        annotated(("nothing", (1, 1, 2, 2)))
    with pytest.raises(InputError, match="no annotated part"):
        AnnotatedParts(PartAnnotations(coco(("wheel", (1, 1, 2, 2))) | {"annotations": []}))


# -- average precision ------------------------------------------------------------------------------------------------


def detections(*rows, with_masks=False) -> Detections:
    """Rows (image, label, score, [x, y, w, h])."""
    boxes = torch.tensor([[x, y, x + w, y + h] for *_, (x, y, w, h) in rows], dtype=torch.float32).reshape(-1, 4)
    drawn = [torch.from_numpy(box_mask(box)) for *_, box in rows]
    return Detections(
        torch.tensor([row[0] for row in rows], dtype=torch.int64),
        torch.tensor([row[1] for row in rows], dtype=torch.int64),
        torch.tensor([row[2] for row in rows], dtype=torch.float32),
        boxes,
        torch.stack(drawn) if with_masks and drawn else None,
    )


BOXES = [(4, 2, 10, 6), (20, 8, 12, 10), (2, 2, 8, 8)]


def truth(with_masks=False):
    data = coco(("wheel", BOXES[0]), ("wheel", BOXES[1]), ("vehicle_left", BOXES[2]))
    if with_masks:
        for annotation, box in zip(data["annotations"], BOXES):
            annotation["segmentation"] = masks.encode(box_mask(box))
    return data


def test_perfect_detections_score_1():
    scored = MeanAveragePrecision(truth(with_masks=True), NAMES, with_masks=True)
    scored.add(0, detections((0, 0, 0.9, BOXES[0]), (1, 0, 0.8, BOXES[1]), with_masks=True), (1, 1))
    scored.add(2, detections((0, 1, 0.7, BOXES[2]), with_masks=True), (1, 1))
    assert scored.measures() == {
        "box_map": 1, "box_map_50": 1, "mask_map": 1, "mask_map_50": 1, "class_map": 1,
    }  # fmt: skip


def test_nothing_found_scores_0():
    assert MeanAveragePrecision(truth(), NAMES, with_masks=False).measures() == {
        "box_map": 0, "box_map_50": 0, "class_map": 0,
    }  # fmt: skip


@pytest.mark.parametrize("mark", [{"iscrowd": 1}, {"ignore": 1}])
def test_what_is_found_in_a_region_to_be_ignored_counts_neither_way(mark):
    data = truth(with_masks=True)
    crowd = data["annotations"][0]
    del crowd["segmentation"]
    crowd.update(mark)
    scored = MeanAveragePrecision(data, NAMES, with_masks=True)
    scored.add(0, detections((0, 0, 0.9, (5, 3, 4, 4)), (0, 0, 0.9, (9, 3, 4, 4)), with_masks=True), (1, 1))
    assert scored.measures()["box_map"] == 0  # nothing right was found yet
    scored.add(0, detections((1, 0, 0.8, BOXES[1]), (2, 1, 0.7, BOXES[2]), with_masks=True), (1, 1))
    names = ("box_map", "box_map_50", "mask_map", "mask_map_50", "class_map")
    assert scored.measures() == pytest.approx(dict.fromkeys(names, 1))


def test_the_right_part_in_the_wrong_place_counts_for_the_class_alone():
    scored = MeanAveragePrecision(truth(), NAMES, with_masks=False)
    scored.add(0, detections((0, 0, 0.9, (30, 0, 3, 3)), (1, 0, 0.8, BOXES[1]), (2, 1, 0.7, (30, 0, 3, 3))), (1, 1))
    found = scored.measures()
    assert found["class_map"] == pytest.approx(1)
    # Wheels: the better of two detections is wrong, so precision is 1/2 up to recall 1/2. The other part: 0.
    assert found["box_map_50"] == pytest.approx(0.5 * 51 / 101 / 2, abs=1e-6)


def test_a_part_that_is_not_in_the_image_costs_the_class_precision():
    scored = MeanAveragePrecision(truth(), NAMES, with_masks=False)
    scored.add(0, detections((2, 0, 0.9, BOXES[0]), (0, 0, 0.8, BOXES[0]), (1, 0, 0.7, BOXES[1])), (1, 1))
    # Wheels are said of image 2 first: precision 1/2 at recall 1/2, 2/3 at recall 1; interpolated, 2/3 throughout.
    assert scored.measures()["class_map"] == pytest.approx((2 / 3 + 0) / 2)


def test_detections_in_resized_images_are_scored_in_the_splits_pixels():
    scored = MeanAveragePrecision(truth(), NAMES, with_masks=False)
    doubled = [tuple(2 * value for value in box) for box in BOXES]
    rows = ((0, 0, 0.9, doubled[0]), (1, 0, 0.8, doubled[1]), (2, 1, 0.7, doubled[2]))
    found = detections(*rows)
    scored.add(0, found, (0.5, 0.5))
    assert scored.measures()["box_map"] == pytest.approx(1)
