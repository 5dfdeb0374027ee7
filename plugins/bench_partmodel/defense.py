"""The part-based classifier of Sitawarin et al., "Part-Based Models Improve Adversarial Robustness", ICLR 2023.

A segmenter gives each pixel a part or background; a tiny classifier sees the (soft) masks alone. Both learn together:
(1 - c) x cross-entropy of the class + c x cross-entropy of the pixels (the paper, section 3), on the images, or on
adversarial examples of the classification loss. UnMask compares the parts of a second network K with the class of M;
this is "parts inside M": whoever attacks the classifier attacks the parts too, with plain gradients.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from bench_partmodel.network import PartModel
from bench_partmodel.options import PartModelOptions
from benchmark import (
    Classifier,
    CraftingObjective,
    CraftingOptions,
    FitContext,
    InputError,
    Objective,
    Rng,
    Setting,
    Split,
    TrainedHardener,
    TrainOptions,
    craft,
    draw_eps,
    mask_of,
    unchanged,
)


class Annotated(Split):
    """A training split whose images have one more channel: the part at each pixel / 255, 0 for background.

    As a channel the masks go the same way through flips and crops as the images do. A part's left and right are one,
    since a mirrored left side is no left side.

    Attributes:
        parts: their names.
        without_parts: how many images have none.
    """

    def __init__(self, split: Split) -> None:
        """Sort the annotations of `split` by image.

        Raises:
            InputError: it has no part annotations, or no masks, or more than 254 parts.
        """
        annotations = split.part_annotations()
        if annotations is None:
            raise InputError("part-model learns from part annotations: this data set has none.")
        self._split = split
        self.without_parts = annotations.without_parts
        self.class_names, self.labels = split.class_names, split.labels
        channels, height, width = split.image_shape
        self.image_shape = (channels + 1, height, width)
        names = {entry["id"]: _side_less(entry["name"]) for entry in annotations.data["categories"]}
        self.parts = tuple(dict.fromkeys(names.values()))
        if len(self.parts) > 254:
            raise InputError(f"part-model tells up to 254 parts apart; this data set has {len(self.parts)}.")
        number = {part: index + 1 for index, part in enumerate(self.parts)}
        position = {entry["id"]: index for index, entry in enumerate(annotations.data["images"])}
        self._found: dict[int, list[tuple[int, dict[str, Any]]]] = defaultdict(list)
        for entry in annotations.parts:
            if not entry.get("segmentation"):
                raise InputError(f"part-model learns from masks: annotation {entry['id']} has a box alone.")
            self._found[position[entry["image_id"]]].append((number[names[entry["category_id"]]], entry))
        if not self._found:
            raise InputError("part-model cannot learn: the training images have no annotated part.")

    def images(self, indices: Sequence[int]) -> Tensor:
        """Return images and masks of `indices`, (n, C + 1, H, W)."""
        height, width = self.image_shape[1:]
        masks = np.zeros((len(indices), 1, height, width), dtype=np.float32)
        for row, index in enumerate(indices):
            # Small parts over large ones: an eye is on a head.
            drawn = [(mask_of(entry, height, width), part) for part, entry in self._found[index]]
            for pixels, part in sorted(drawn, key=lambda one: -int(one[0].sum())):
                masks[row, 0][pixels] = part
        return torch.cat([self._split.images(indices), torch.from_numpy(masks / 255)], 1)


def _side_less(name: str) -> str:
    return re.sub(r"[ _-]*(?<![a-z])(left|right)(?![a-z])[ _-]*", " ", name).strip() or name


class PartObjective(CraftingObjective):
    """(1 - c) x cross-entropy of the class + c x cross-entropy of the pixels, of images or of adversarial examples."""

    def __init__(self, options: PartModelOptions, recipe: TrainOptions) -> None:
        super().__init__(options.adversarial, recipe)
        self._options = options

    def loss(self, classifier: Classifier, x: Tensor, y: Tensor, rng: Rng) -> Tensor:
        """Return the mean loss of a batch of `Annotated` images."""
        masks = (x[:, -1] * 255).round().long()
        x = x[:, :-1]
        adversarial = self._options.adversarial
        if adversarial is not None:
            with unchanged(classifier, "eval"):
                x = craft(classifier, x, y, adversarial, draw_eps(adversarial, rng), rng)
        states = classifier.features(x, ["masks"])
        pixels = cross_entropy(states["masks"], masks)
        answers = cross_entropy(states["logits"], y, label_smoothing=self.label_smoothing)
        share = self._options.segmentation
        return (1 - share) * answers + share * pixels


class PartModelDefense(TrainedHardener):
    """A `PartModel` trained by `PartObjective`."""

    Options = PartModelOptions

    parts: tuple[str, ...]

    def crafting(self) -> tuple[CraftingOptions, ...]:
        """Return the options of adversarial training, where it is wanted."""
        adversarial = self.options.adversarial
        return () if adversarial is None else adversarial.attacks

    def check_setting(self, setting: Setting) -> None:
        """Look whether there is a recipe to train by, and whether the images are grey or RGB.

        Raises:
            InputError: there is no recipe, its batches are of one image, a budget covers the whole pixel range, or the
                images have other channels.
        """
        super().check_setting(setting)
        if self._recipe(setting.recipe).batch_size == 1:
            raise InputError(
                "part-model's tiny classifier normalises over batches: give `train` a batch_size of 2 or more."
            )
        channels = setting.data.image_shape[0]
        if channels not in (1, 3):
            raise InputError(f"part-model looks at RGB or grey images; these have {channels} channels.")

    def harden(self, context: FitContext) -> Classifier:
        """Return the network of the selected epoch.

        Raises:
            InputError: the training images have no masks of parts, or there is no recipe to train by.
        """
        annotated = Annotated(context.train)
        self.parts = annotated.parts
        if annotated.without_parts:
            context.progress.warn(
                f"part-model: {annotated.without_parts} of {len(annotated)} training images have no annotated part: "
                "they are learned as background alone."
            )
        return super().harden(replace(context, train=annotated))

    def initial(self, context: FitContext) -> Classifier:
        """Return the untrained part model in the place of the model's network."""
        rng = context.rng.spawn("initial weights")
        classifier = context.new_classifier(rng)
        with rng.spawn("part model").seeded_globals():
            classifier.network = PartModel(self.options, len(self.parts), classifier.num_classes)
        return classifier

    def objective(self, context: FitContext, classifier: Classifier, recipe: TrainOptions) -> Objective:
        """Return the loss."""
        return PartObjective(self.options, recipe)

    def save(self, folder: Path) -> None:
        """Write the weights, and the parts."""
        super().save(folder)
        (folder / "parts.json").write_text(json.dumps(self.parts))

    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""
        self.parts = tuple(json.loads((folder / "parts.json").read_text()))
        self.classifier.network = PartModel(self.options, len(self.parts), self.classifier.num_classes)
        super().load(folder)
