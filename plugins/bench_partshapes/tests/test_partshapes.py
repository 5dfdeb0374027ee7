from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

import bench_partshapes
from bench_partshapes.canvas import Camera, Canvas, Solids, block
from bench_partshapes.dataset import Drawn, PartShapesSplit
from bench_partshapes.options import PartShapesOptions
from bench_partshapes.parts import CLASS_PARTS, CLASS_SETS
from benchmark.dataset import Dataset
from benchmark.errors import InputError
from benchmark.plugins import Provenance, Registry

Make = Callable[..., Dataset]
ALL = list(CLASS_PARTS)


@pytest.fixture(scope="module")
def make() -> Make:
    """Return what makes a data set from options as a suite writes them."""
    registry = Registry()
    registry.add_module("partshapes", bench_partshapes, Provenance("bench_partshapes", "", "0"))
    return lambda use, **options: registry.create("dataset", use, options)


def test_a_picture_depends_on_its_number_alone(make: Make) -> None:
    first = make("partshapes", size=64, train=4).load("train")
    again = pickle.loads(pickle.dumps(make("partshapes", size=64, train=4).load("train")))
    forwards = first.images(range(12))
    assert forwards.shape == (12, 3, 64, 64)
    assert forwards.dtype == torch.float32
    assert 0 <= forwards.min() < forwards.max() <= 1
    assert torch.equal(again.images([7]), forwards[7:8])
    assert torch.equal(again.images([11, 7, 0, 7]), forwards[[11, 7, 0, 7]])


def test_a_class_looks_the_same_in_every_class_set_and_in_larger_sets(make: Make) -> None:
    small = make("partshapes", size=48, class_set="CS3a", test=2).split("test")  # car, person, train
    large = make("partshapes", size=48, class_set="CS5a", test=3).split("test")  # dog, car, bottle, train, person
    assert torch.equal(small.images([0, 1, 2, 3]), large.images([1, 4, 3, 6]))
    assert small.sample_ids([0, 3]) == ["car/0", "car/1"] == large.sample_ids([1, 6])


def test_splits_and_seeds_share_no_picture(make: Make) -> None:
    pictures = []
    for seed in (0, 1):
        data = make("partshapes", size=32, train=8, val=8, test=8, seed=seed)
        for split in ("train", "val", "test"):
            pictures += [image.numpy().tobytes() for image in data.split(split).images(range(24))]
    assert len(set(pictures)) == len(pictures) == 144


def test_the_limit_keeps_annotations_beside_their_pictures(make: Make) -> None:
    whole = make("partshapes", size=48, train=6).split("train")
    part = make("partshapes", size=48, train=6, limit={"train": 6}).split("train")
    assert np.bincount(part.labels).tolist() == [2, 2, 2]
    annotations = part.part_annotations()
    assert annotations is not None
    for index, image in enumerate(annotations.data["images"]):
        assert image["class_name"] == part.class_names[part.labels[index]]
        assert torch.equal(part.images([index]), whole.images([image["id"]]))


def test_every_class_shows_the_parts_of_the_papers_matrix_and_no_others(make: Make) -> None:
    data = make("partshapes", class_set=ALL, size=96, train=30).split("train").part_annotations()
    assert data is not None
    names = {category["id"]: category["name"] for category in data.data["categories"]}
    class_of = {image["id"]: image["class_name"] for image in data.data["images"]}
    found: dict[str, set[str]] = {name: set() for name in ALL}
    for annotation in data.data["annotations"]:
        found[class_of[annotation["image_id"]]].add(names[annotation["category_id"]])
    assert found == CLASS_PARTS


def test_categories_keep_their_numbers_in_every_class_set(make: Make) -> None:
    numbers: dict[str, int] = {}
    for name, classes in CLASS_SETS.items():
        data = make("partshapes", class_set=name, train=1).split("train").part_annotations()
        assert data is not None
        categories = {category["name"]: category["id"] for category in data.data["categories"]}
        assert set(categories) == {part for one in classes for part in CLASS_PARTS[one]}
        for part, number in categories.items():
            assert numbers.setdefault(part, number) == number


def test_masks_are_what_was_drawn(make: Make) -> None:
    from pycocotools import mask as reference

    split: Any = make("partshapes", class_set=ALL, size=96, train=5).load("train")
    data = split.part_annotations().data
    names = {category["id"]: category["name"] for category in data["categories"]}
    assert [annotation["id"] for annotation in data["annotations"]] == list(range(1, len(data["annotations"]) + 1))
    inside = 0
    for image in data["images"]:
        shown = [a for a in data["annotations"] if a["image_id"] == image["id"]]
        regions = np.asarray(split.shapes(image["id"]).labels)[1::3, 1::3]
        drawn = {names[a["category_id"]]: reference.decode(a["segmentation"]).astype(bool) for a in shown}
        for annotation in shown:
            mask = reference.decode(annotation["segmentation"]).astype(bool)
            assert mask.shape == (96, 96)
            assert annotation["area"] == mask.sum() >= 4
            rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            assert annotation["bbox"] == [columns[0], rows[0], np.ptp(columns) + 1, np.ptp(rows) + 1]
            assert not mask[regions == 0].any()  # nothing of a part lies on the bare background
            # a region belongs to a part wholly or not at all
            assert not set(np.unique(regions[mask])) & set(np.unique(regions[~mask]))
        if image["class_name"] in ("person", "dog", "bird") and {"head", "eye"} <= set(drawn):
            assert not (drawn["eye"] & ~drawn["head"]).any()
            inside += 1
    assert inside >= 3


def test_annotations_are_read_by_pycocotools(make: Make) -> None:
    from pycocotools import coco as reference

    data = make("partshapes", class_set="CS5a", size=64, train=2).split("train").part_annotations()
    assert data is not None
    coco = reference.COCO()
    coco.dataset = data.data
    coco.createIndex()
    for annotation in coco.loadAnns(coco.getAnnIds()):
        assert coco.annToMask(annotation).sum() == annotation["area"]


@pytest.mark.parametrize(
    ("heading", "shown", "hidden"),
    [(0.0, "right", "left"), (np.pi, "left", "right"), (np.pi / 2, "back", "front"), (-np.pi / 2, "front", "back")],
)
def test_the_side_of_a_vehicle_that_can_be_seen_follows_its_heading(heading: float, shown: str, hidden: str) -> None:
    solids = Solids(Canvas(32, 1), Camera(heading, 0.3, 8.0, (0, 0, 0.5)))
    faces = block(-2, 2, 0.8, 0.2, 1.0, (-2, 2, 0.8))
    assert solids.shows(faces[shown])
    assert not solids.shows(faces[hidden])
    assert solids.shows(faces["top"])
    nose, tail = solids.camera.project([(2, 0, 0.5), (-2, 0, 0.5)])
    if heading == 0.0:  # to the right of the image
        assert nose[0] > tail[0]


class Counting(PartShapesSplit):
    """Counts the pictures that it draws."""

    count = 0

    def picture(self, index: int) -> np.ndarray:
        self.count += 1
        return super().picture(index)


def test_pictures_are_kept_up_to_so_many_bytes() -> None:
    kept, picture = Drawn(5 * 40 * 40 * 3), np.zeros((40, 40, 3), dtype=np.uint8)
    for number in range(9):
        kept.keep((number,), picture)
    assert list(kept) == [(number,) for number in range(5)]


def test_a_picture_that_two_class_sets_share_is_drawn_once() -> None:
    def split(*classes: str, seed: int = 404) -> Counting:  # of no other test: what was drawn is kept
        return Counting("train", classes, PartShapesOptions(size=32, train=2, seed=seed))

    first, second = split("car", "dog"), split("bird", "car")
    cars = first.images([0, 2])
    assert torch.equal(second.images([1, 3]), cars)
    assert torch.equal(first.images([0, 2]), cars)
    assert (first.count, second.count) == (2, 0)
    assert not torch.equal(split("bird", "car", seed=405).images([1, 3]), cars)


def test_every_option_that_changes_a_pixel_changes_the_fingerprint(make: Make) -> None:
    variants: list[dict[str, Any]] = [
        {}, {"class_set": "CS3b"}, {"size": 40}, {"train": 3}, {"seed": 5}, {"clutter": 0.9}, {"occlusion": 0.0},
        {"noise": 0.1},
    ]  # fmt: skip
    plain = {"size": 32, "train": 2, "val": 1, "test": 1}
    prints = [make("partshapes", **{**plain, **variant}).fingerprint() for variant in variants]
    assert len(set(prints)) == len(variants)
    assert make("partshapes", **plain).fingerprint() == prints[0]
    assert make("partshapes", limit={"train": 1}, **plain).fingerprint() == prints[0]


def test_knobs_do_what_they_say(make: Make) -> None:
    def parts(**knobs: float) -> int:
        split = make("partshapes", size=64, train=20, **knobs).split("train")
        annotations = split.part_annotations()
        assert annotations is not None
        return sum(annotation["area"] for annotation in annotations.data["annotations"])

    assert parts(occlusion=1.0) < parts(occlusion=0.0)
    plain: Any = make("partshapes", size=64, train=4, clutter=0.0, occlusion=0.0).load("train")
    crowded: Any = make("partshapes", size=64, train=4, clutter=1.0, occlusion=0.0).load("train")
    regions = [sum(len(split.shapes(i).colours) for i in range(12)) for split in (plain, crowded)]
    assert regions[0] < regions[1]


def test_reports_will_say_that_this_is_a_stand_in(make: Make) -> None:
    assert "stand-in" in make("partshapes").caption
    assert "no evidence about photos" in make("partshapes").caption


@pytest.mark.parametrize(
    "options",
    [{"class_set": "CS3c"}, {"class_set": ["car", "cat"]}, {"class_set": ["car"]}, {"class_set": ["car", "car"]},
     {"size": 8}, {"noise": 1.5}, {"train": 0}, {"colour": 1}],
)  # fmt: skip
def test_unusable_options_are_refused(make: Make, options: dict[str, Any]) -> None:
    with pytest.raises((ValidationError, InputError)):
        make("partshapes", **options)
