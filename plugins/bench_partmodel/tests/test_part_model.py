"""The part-based classifier: its masks, its numbers of a mask, its loss, what it learns from drawn pictures."""

from __future__ import annotations

import copy
import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hardened import OneUnannotated, fit_context
from torch.nn.functional import cross_entropy

from bench_partmodel.defense import Annotated, PartModelDefense, PartObjective
from bench_partmodel.network import Boxes, PartModel
from bench_partmodel.options import PartModelOptions
from benchmark import ArraySplit, Classifier, InputError, PartAnnotations, Rng, TrainOptions
from benchmark.plugins import load_plugins
from benchmark.progress import Progress

SMALL = {"segmenter": "lraspp_mobilenet_v3_large", "train": {"epochs": 1, "batch_size": 16, "lr": 0.01}}


@pytest.fixture(scope="module")
def pictures():
    options = {"class_set": ["car", "bottle"], "size": 64, "train": 40, "val": 10, "test": 15}
    return load_plugins().create("dataset", "partshapes", options)


class Drawn(ArraySplit):
    """Two images of 4 x 6 pixels with parts that lie on each other."""

    def __init__(self, *, names=("head", "eye_left", "eye_right"), change=lambda data: None):
        super().__init__(np.full((2, 3, 4, 6), 0.5, np.float32), np.array([0, 1]), ("a", "b"))
        whole = [0, 24]  # runs: no zeros, then 24 ones
        self._data = {
            "images": [{"id": 7, "height": 4, "width": 6}, {"id": 9, "height": 4, "width": 6}],
            "categories": [{"id": 3 + index, "name": name} for index, name in enumerate(names)],
            "annotations": [
                {"id": 1, "image_id": 9, "category_id": 4, "segmentation": [[0, 0, 2, 0, 2, 2, 0, 2]]},
                {"id": 2, "image_id": 9, "category_id": 3, "segmentation": {"size": [4, 6], "counts": whole}},
                {"id": 3, "image_id": 9, "category_id": 5, "segmentation": {"size": [4, 6], "counts": [20, 4]}},
                {"id": 4, "image_id": 9, "category_id": 5, "segmentation": [[0, 0, 6, 0, 6, 4]], "ignore": 1},
            ],
        }
        change(self._data)

    def part_annotations(self):
        return PartAnnotations(self._data)


def test_masks_ride_on_the_images_small_parts_over_large_ones():
    split = Annotated(Drawn())
    assert split.parts == ("head", "eye")  # left and right are one
    both = split.images([1, 0])
    assert both.shape == (2, 4, 4, 6)
    assert torch.equal(both[:, :3], torch.full((2, 3, 4, 6), 0.5))
    masks = (both[:, 3] * 255).round().int()
    expected = torch.ones(4, 6, dtype=torch.int32)
    expected[:2, :2] = 2
    expected[:, 5] = 2
    assert torch.equal(masks[0], expected)
    assert not masks[1].any()


def boxes_alone(data):
    del data["annotations"][1]["segmentation"]


def of_another_size(data):
    data["annotations"][1]["segmentation"] = {"size": [6, 4], "counts": [0, 24]}


def broken(data):
    data["annotations"][1]["segmentation"] = {"size": [4, 6]}


def more_pixels_than_the_image(data):
    data["annotations"][1]["segmentation"] = {"size": [4, 6], "counts": "~"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (boxes_alone, "part-model learns from masks: annotation 2 has a box alone"),
        (of_another_size, r"annotation 2: its mask is of size \(6, 4\), its image \(4, 6\)"),
        (broken, "annotation 2: segmentation: not a run-length segmentation"),
        (more_pixels_than_the_image, "annotation 2: segmentation: character '~' does not occur"),
        (lambda data: data["annotations"].clear(), "the training images have no annotated part"),
    ],
)
def test_annotations_that_are_no_masks_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        Annotated(Drawn(change=change)).images([0, 1])


def test_data_without_parts_is_refused():
    split = ArraySplit(np.zeros((2, 3, 4, 6), np.float32), np.array([0, 1]), ("a", "b"))
    with pytest.raises(InputError, match="learns from part annotations: this data set has none"):
        Annotated(split)


def test_a_soft_box_is_share_centre_and_spread():
    masks = torch.zeros(1, 2, 5, 9)
    masks[0, 0, 1:4, 6:9] = 1  # three rows around the middle, the last three columns
    share, x, spread_x, y, spread_y = Boxes()(masks).view(5, 2)
    step_x, step_y = 2 / 8, 2 / 4
    assert share.tolist() == pytest.approx([9 / 45, 0])
    assert x[0].item() == pytest.approx(1 - step_x, abs=1e-4)
    assert y[0].item() == pytest.approx(0, abs=1e-4)
    assert spread_x[0].item() == pytest.approx(step_x * math.sqrt(2 / 3), abs=1e-2)
    assert spread_y[0].item() == pytest.approx(step_y * math.sqrt(2 / 3), abs=1e-2)
    soft = torch.rand(2, 3, 5, 9, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(Boxes(), soft)


@pytest.mark.parametrize("variant", ["downsampled", "bounding-box"])
def test_the_loss_is_the_weighted_sum_of_both_cross_entropies(variant):
    options = PartModelOptions(**{**SMALL, "train": None}, variant=variant, segmentation=0.3)
    torch.manual_seed(0)
    classifier = Classifier(PartModel(options, 2, 3), 3, (3, 32, 32)).eval()
    x, y = torch.rand(4, 3, 32, 32), torch.tensor([0, 1, 2, 2])
    masks = torch.randint(0, 3, (4, 1, 32, 32))
    found = PartObjective(options, TrainOptions()).loss(classifier, torch.cat([x, masks / 255], 1), y, Rng(0))
    logits = classifier.network.segmenter(x)["out"]
    told = logits.softmax(1)
    told = told.unfold(2, 8, 8).unfold(3, 8, 8).mean((4, 5)).flatten(1) if variant == "downsampled" else Boxes()(told)
    expected = 0.7 * cross_entropy(classifier.network.tiny(told), y) + 0.3 * cross_entropy(logits, masks[:, 0])
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)


def fitted(pictures, folder, images=None, send=lambda *message: None, **changes) -> tuple[PartModelDefense, Any]:
    """Return the defense, fitted to the pictures, and the model whose recipe it takes."""
    registry = load_plugins()
    defense = registry.create("defense", "part-model", {**SMALL, **changes})
    model = registry.create("model", "small_cnn", {"width": 4})
    context = replace(
        fit_context(folder),
        new_classifier=lambda rng: model.build(2, (3, 64, 64), rng),
        recipe=model.options.train,
        train=images or pictures.split("train"),
        val=pictures.split("val"),
        progress=Progress(send),
    )
    defense.fit(context)
    return defense, model


@pytest.mark.parametrize("adversarial", [None, {"eps": "4/255", "steps": 2}], ids=["images", "adversarial examples"])
def test_it_comes_back_from_its_files(pictures, tmp_path, adversarial):
    variant, told = "downsampled" if adversarial is None else "bounding-box", []
    images = OneUnannotated(pictures.split("train"))
    changes = {"variant": variant, "adversarial": adversarial}
    defense, model = fitted(pictures, tmp_path / "work", images, lambda *message: told.append(message), **changes)
    assert [text for what, text, *_ in told if what == "warning"] == [
        "part-model: 1 of 80 training images have no annotated part: they are learned as background alone."
    ]
    assert len(defense.crafting()) == (adversarial is not None)
    (tmp_path / "saved").mkdir()
    defense.save(tmp_path / "saved")
    again = load_plugins().create("defense", "part-model", {**SMALL, "variant": variant})
    again.classifier = model.build(2, (3, 64, 64), Rng(9))
    again.load(tmp_path / "saved")
    x = pictures.split("test").images(range(4))
    assert torch.equal(again.classifier(x), defense.classifier(x))
    assert again.parts == defense.parts == tuple(json.loads((tmp_path / "saved" / "parts.json").read_text()))


@pytest.mark.slow
def test_it_learns_classes_by_parts(pictures, tmp_path):
    recipe = {
        "epochs": 16,
        "batch_size": 8,
        "lr": 0.003,
        "optimizer": "adamw",
        "schedule": "onecycle",
        "select": "last",
    }
    defense, _ = fitted(pictures, tmp_path / "work", train=recipe)
    test = pictures.split("test")
    both = Annotated(test).images(range(len(test)))
    states = defense.classifier.features(both[:, :-1], ["masks"])
    assert (states["logits"].argmax(1) == torch.from_numpy(test.labels)).float().mean() > 0.7
    masks = (both[:, -1] * 255).round().long()
    assert (states["masks"].argmax(1) == masks).float().mean() > (masks == 0).float().mean()


def test_grey_images_are_seen_as_rgb():
    options = PartModelOptions(**{**SMALL, "train": None})
    torch.manual_seed(0)
    network = PartModel(options, 2, 3).eval()
    x = torch.rand(2, 1, 32, 32)
    assert torch.equal(network(x), network(x.expand(-1, 3, -1, -1)))
    assert isinstance(copy.deepcopy(network), PartModel)
    assert PartModelDefense(options).crafting() == ()
