"""The detector subnetwork.

Metzen, Genewein, Fischer, Bischoff, "On Detecting Adversarial Perturbations", ICLR 2017 (arXiv:1702.04267), sections
3.2 and 4.1, Figure 1. The training loop is the host's, so that an interrupted training goes on.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from bench_subnetwork.options import DetectorSubnetworkOptions
from benchmark import (
    Batch,
    Classifier,
    Defense,
    FitContext,
    InputError,
    Passes,
    PublishedAttack,
    Setting,
    Split,
    TrainOptions,
    Verdict,
    load_weights,
    save_weights,
    train,
    unknown_name,
)

INPUT = "input"
"""The layer name that means the image itself: the paper's AD(0)."""
SMALLEST_POOLED = 16
"""Least side in pixels of a state that is pooled. The paper pools 32x32 twice, 16x16 once and 8x8 never."""
LEAST_EXAMPLES = 20
"""Fewest adversarial images of a split that the subnetwork is trained or chosen on."""
CHUNK = 256


def subnetwork(state_shape: tuple[int, int, int], width: int) -> nn.Module:
    """Return the network of Figure 1, from states (N, C, H, W) to logits (N, 2): clean, adversarial."""
    channels, *sides = state_shape
    layers: list[nn.Module] = []
    for wide, may_pool in ((width, True), (2 * width, True), (2 * width, False)):
        layers += [nn.Conv2d(channels, wide, 3, padding=1, bias=False), nn.BatchNorm2d(wide), nn.ReLU()]
        channels = wide
        if may_pool and min(sides) >= SMALLEST_POOLED:
            layers.append(nn.MaxPool2d(2))
            sides = [side // 2 for side in sides]
    return nn.Sequential(*layers, nn.Conv2d(channels, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())


class DetectorSubnetwork(Defense):
    """Suspects images by a small network that looks at one hidden state of the classifier; the label stays its.

    The score is the subnetwork's log odds of adversarial against clean. The classifier is not changed.
    """

    family = "detector"
    Options = DetectorSubnetworkOptions
    published_attacks = (
        PublishedAttack(
            "Carlini and Wagner 2017, Adversarial Examples Are Not Easily Detected, arXiv:1705.07263",
            None,
            "CIFAR-10, nearest in l2 among what is not flagged",
        ),
    )
    detector: Classifier
    """The subnetwork: takes states for images, and has two classes."""

    def training_attacks(self) -> tuple[str, ...]:
        """Return the attacks that are learned from."""
        attacks: tuple[str, ...] = self.options.attacks
        return attacks

    def passes(self, train: int, val: int, recipe: TrainOptions | None) -> Passes | None:
        """Return the passes of the classifier for its states, and of the subnetwork."""
        versions, epochs = 2 * len(self.options.attacks), self.options.train.epochs
        return Passes(2 * epochs * versions * (train + val), epochs * versions * train, at_most=True)

    def passes_per_answer(self) -> Passes:
        """Return the pass of the image, the one for its state, and that of the subnetwork."""
        return Passes(3)

    def fit(self, context: FitContext) -> None:
        """Train the subnetwork on clean images and their adversarial versions; validation images choose the epoch.

        Raises:
            InputError: the layer does not exist, its states have no positions that a convolution could take, are not
                finite, or the attacks have too few examples.
            TaskError: training diverged.
        """
        options: DetectorSubnetworkOptions = self.options
        self._check_layer(self.classifier)
        with torch.no_grad():
            state_shape = self._states(context.train.images([0]).to(self.device)).shape[1:]
        with context.rng.spawn("weights").seeded_globals():
            self.detector = self._build((state_shape[0], state_shape[1], state_shape[2]))
        train(
            self.detector,
            self._pairs(context, "train"),
            self._pairs(context, "val"),
            options.train,
            rng=context.rng,
            device=self.device,
            progress=context.progress,
            checkpoint=context.checkpoint,
        )
        self.detector.frozen()

    def check_setting(self, setting: Setting) -> None:
        """Look whether the attacks could give enough examples to learn from, and whether a convolution takes states.

        Raises:
            InputError: not even if each image gave one, or it does not.
        """
        for split in ("train", "val"):
            self._check_examples(len(self.options.attacks) * setting.data.size(split), setting.data.size(split), split)
        if self.options.layer != INPUT and setting.classifier is not None:
            self._check_layer(setting.classifier)
            seen = setting.states((self.options.layer,))
            assert seen is not None
            self._placed(seen[self.options.layer])

    def _build(self, state_shape: tuple[int, int, int]) -> Classifier:
        return Classifier(subnetwork(state_shape, self.options.width), 2, state_shape)

    def _check_layer(self, classifier: Classifier) -> None:
        layer, known = self.options.layer, [INPUT, *classifier.layers]
        if layer not in known:
            raise InputError(f"detector-subnetwork: {unknown_name('layer', layer, known)}")

    def _states(self, x: Tensor) -> Tensor:
        """Return the states (N, C, H, W) of images (N, C, H, W), differentiable; (N, D) become (N, D, 1, 1)."""
        layer = self.options.layer
        return self._placed(x if layer == INPUT else self.classifier.features(x, (layer,))[layer])

    def _placed(self, state: Tensor) -> Tensor:
        if state.dim() == 2:
            state = state[:, :, None, None]
        if state.dim() != 4:
            raise InputError(
                f"detector-subnetwork: layer {self.options.layer!r} has states of shape {tuple(state.shape[1:])}; a "
                "convolution takes (C, H, W), or (D) without positions. Choose another layer."
            )
        return state

    def _pairs(self, context: FitContext, split: Literal["train", "val"]) -> _StateSplit:
        """Return the states of clean images and their adversarial versions, an equal number of each.

        Raises:
            InputError: the attacks have too few examples.
        """
        clean = context.train if split == "train" else context.val
        parts: list[tuple[Split, np.ndarray, int]] = []
        for attack in self.options.attacks:
            attacked, chosen = context.attacked(attack, split), np.arange(len(clean))
            if self.options.learn_from == "successful":
                chosen = np.flatnonzero(self._right(clean) & ~self._right(attacked))
            parts += [(clean, chosen, 0), (attacked, chosen, 1)]
        count = sum(len(chosen) for _, chosen, adversarial in parts if adversarial)
        self._check_examples(count, len(clean), split)
        return _StateSplit(self, parts)

    def _check_examples(self, count: int, images: int, split: str) -> None:
        if count < LEAST_EXAMPLES:
            raise InputError(
                f"detector-subnetwork: attacks: {', '.join(self.options.attacks)} give {count} "
                f"{self.options.learn_from} examples on {images} {split} images, at least {LEAST_EXAMPLES} are "
                "needed to learn from. Name stronger attacks, give more images, or set `learn_from: all`."
            )

    def _right(self, split: Split) -> np.ndarray:
        """Return which images of a split the classifier gets right, (N,) bool."""
        answers = []
        for start in range(0, len(split), CHUNK):
            images = split.images(range(start, min(start + CHUNK, len(split))))
            with torch.no_grad():
                answers.append(self.classifier(images.to(self.device)).argmax(1).cpu().numpy())
        right: np.ndarray = np.concatenate(answers) == split.labels
        return right

    def save(self, folder: Path) -> None:
        """Write the subnetwork's weights."""
        save_weights(self.detector, folder / "subnetwork.safetensors")
        (folder / "subnetwork.json").write_text(json.dumps({"state_shape": self.detector.image_shape}))

    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""
        channels, height, width = json.loads((folder / "subnetwork.json").read_text())["state_shape"]
        self.detector = self._build((channels, height, width))
        load_weights(self.detector, folder / "subnetwork.safetensors")
        self.detector.to(self.device).frozen()

    def judge(self, batch: Batch) -> Verdict:
        """Score the states; the host flags."""
        return Verdict(label=batch.logits.argmax(1), score=self.detector_loss(batch.x))

    def detector_loss(self, x: Tensor) -> Tensor:
        """Return the score (N,) of images (N, C, H, W), differentiable: it falls when the detector is evaded."""
        logits = self.detector(self._states(x))
        return logits[:, 1] - logits[:, 0]


class _StateSplit(Split):
    """Hidden states instead of images, computed when they are asked for; the classes are clean and adversarial."""

    def __init__(self, defense: DetectorSubnetwork, parts: Sequence[tuple[Split, np.ndarray, int]]) -> None:
        self._defense = defense
        self._splits = [split for split, _, _ in parts]
        self._part = np.repeat(np.arange(len(parts)), [len(chosen) for _, chosen, _ in parts])
        self._index = np.concatenate([chosen for _, chosen, _ in parts])
        self.labels = np.array([adversarial for _, _, adversarial in parts], dtype=np.int64)[self._part]
        self.class_names = ("clean", "adversarial")
        self.image_shape = defense.detector.image_shape

    def images(self, indices: Sequence[int]) -> Tensor:
        """Return the states (n, C, H, W) of `indices`, on the defense's device.

        Raises:
            InputError: a state is NaN or infinite.
        """
        wanted = np.asarray(indices, dtype=np.int64)
        states = torch.empty((len(wanted), *self.image_shape), device=self._defense.device)
        for number, split in enumerate(self._splits):
            rows = np.flatnonzero(self._part[wanted] == number)
            if len(rows):
                images = split.images(self._index[wanted[rows]].tolist()).to(self._defense.device)
                with torch.no_grad():
                    states[torch.from_numpy(rows).to(states.device)] = self._defense._states(images)
        if not torch.isfinite(states).all():
            raise InputError(
                f"detector-subnetwork: states at layer {self._defense.options.layer!r} hold NaN or infinity. Choose "
                "another layer, or train the network so that its activations stay finite."
            )
        return states
