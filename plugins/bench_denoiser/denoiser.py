"""The guided denoiser.

Liao, Liang, Dong, Pang, Hu, Zhu, "Defense Against Adversarial Attacks Using High-Level Representation Guided Denoiser",
CVPR 2018 (arXiv:1712.02976), after the authors' released code (github.com/lfz/Guided-Denoise: `Exps/sample`,
`GD_train`). README.md lists what differs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from bench_denoiser.options import GuidedDenoiserOptions
from benchmark import (
    Batch,
    Classifier,
    Defense,
    FitContext,
    InputError,
    Objective,
    Passes,
    PublishedAttack,
    Rng,
    Setting,
    Split,
    TrainOptions,
    Verdict,
    load_weights,
    passes,
    save_weights,
    shape_text,
    train,
)

LOGITS, INPUT = "logits", "input"
"""Names of `layer` that are no module: the network's answer, and the image."""
SMALLEST = 2
"""Least side in pixels of the last level: batch norm learns nothing from a single position of few images."""


class Dunet(nn.Module):
    """A U-net that adds a correction to the image: (N, C, H, W) to (N, C, H, W), not clipped to [0, 1].

    Args:
        channels: of the images.
        width: channels of the first level; the second has twice, the others four times as many.
        levels: each halves the size of the one before.
    """

    def __init__(self, channels: int, width: int, levels: int) -> None:
        super().__init__()
        wide = [width * min(2**level, 4) for level in range(levels)]
        self.down = nn.ModuleList(
            _convolutions(before, after, 2 if level == 0 else 3, stride=1 if level == 0 else 2)
            for level, (before, after) in enumerate(zip([channels, *wide], wide, strict=False))
        )
        self.up = nn.ModuleList(
            _convolutions(wide[level + 1] + wide[level], wide[level], 2 if level == 0 else 3)
            for level in reversed(range(levels - 1))
        )
        self.last = nn.Conv2d(width, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the denoised images (N, C, H, W)."""
        state, kept = x, []
        for group in self.down:
            state = group(state)
            kept.append(state)
        kept.pop()
        for group in self.up:
            beside = kept.pop()
            larger = interpolate(state, size=beside.shape[2:], mode="bilinear", align_corners=True)
            state = group(torch.cat((larger, beside), 1))
        denoised: Tensor = x + self.last(state)
        passes.count(len(x), denoised)
        return denoised


def _convolutions(before: int, after: int, count: int, stride: int = 1) -> nn.Sequential:
    layers: list[nn.Module] = []
    for number in range(count):
        layers += [
            nn.Conv2d(before if number == 0 else after, after, 3, stride if number == 0 else 1, padding=1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers)


class GuidedDenoiser(Defense):
    """Classifies the image as a U-net has denoised it; the classifier is not changed.

    The U-net learns from adversarial examples, and from clean images, to make the classifier see in them what it sees
    in the clean image: the mean absolute difference of its logits, or of a hidden state.
    """

    family = "preprocessor"
    Options = GuidedDenoiserOptions
    published_attacks = (
        PublishedAttack("Athalye and Carlini 2018, arXiv:1804.03286", 0.0, "ImageNet, linf 4/255, targeted"),
    )
    denoiser: Classifier
    """Holds the U-net as its network, for the host's training and files; it is called for images, never for logits."""

    def training_attacks(self) -> tuple[str, ...]:
        """Return the attacks that are learned from."""
        attacks: tuple[str, ...] = self.options.attacks
        return attacks

    def layers(self) -> tuple[str, ...]:
        """Return the hidden state that guides, where it is one."""
        layer: str = self.options.layer
        return () if layer in (LOGITS, INPUT) else (layer,)

    def passes(self, train: int, val: int, recipe: TrainOptions | None) -> Passes:
        """Return those of the U-net and of the classifier, which sees clean and denoised images.

        Back through the classifier counts what comes back to its answer, not to a hidden state.
        """
        times, layer = self.options.train.epochs * (1 + len(self.options.attacks)), self.options.layer
        forward, backward = (1 if layer == INPUT else 3), (2 if layer == LOGITS else 1)
        return Passes(times * (forward * train + 2 * val), times * backward * train)

    def passes_per_answer(self) -> Passes:
        """Return the U-net's, that of the denoised image and, as everybody counts it, that of the image itself."""
        return Passes(3)

    def check_setting(self, setting: Setting) -> None:
        """Look whether the images can be halved so often.

        Raises:
            InputError: they are too small for so many levels.
        """
        _, *sides = shape = setting.data.image_shape
        levels, most = self.options.levels, int(np.log2(min(sides) / SMALLEST)) + 1
        if levels > most:
            advice = f"Set `levels` to {most} at most." if most >= 2 else "Give larger images."
            raise InputError(
                f"guided-denoiser: {levels} levels need images of at least {SMALLEST * 2 ** (levels - 1)} pixels a "
                f"side, these are {shape_text(shape)} (channels x height x width). {advice}"
            )

    def fit(self, context: FitContext) -> None:
        """Train the U-net.

        Raises:
            InputError: the layer does not exist.
            TaskError: training diverged.
        """
        with context.rng.spawn("weights").seeded_globals():
            self.denoiser = self._build()
        train(
            self.denoiser,
            self._pairs(context, "train"),
            self._pairs(context, "val"),
            self.options.train,
            rng=context.rng.spawn("training"),
            device=self.device,
            progress=context.progress,
            checkpoint=context.checkpoint,
            objective=_Guided(self._seen, self.classifier),
        )
        self.denoiser.frozen()

    def _build(self) -> Classifier:
        shape, options = self.classifier.image_shape, self.options
        return Classifier(Dunet(shape[0], options.width, options.levels), self.classifier.num_classes, shape)

    def _pairs(self, context: FitContext, split: Literal["train", "val"]) -> _Pairs:
        clean = context.train if split == "train" else context.val
        return _Pairs(clean, [context.attacked(attack, split) for attack in self.options.attacks])

    def _seen(self, x: Tensor) -> Tensor:
        """Return what of images (N, C, H, W) guides, (N, ...), differentiable."""
        layer: str = self.options.layer
        if layer == INPUT:
            return x
        return self.classifier(x) if layer == LOGITS else self.classifier.features(x, (layer,))[layer]

    def save(self, folder: Path) -> None:
        """Write the U-net's weights."""
        save_weights(self.denoiser, folder / "denoiser.safetensors")

    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""
        self.denoiser = self._build()
        load_weights(self.denoiser, folder / "denoiser.safetensors")
        self.denoiser.to(self.device).frozen()

    def judge(self, batch: Batch) -> Verdict:
        """Answer with the classifier's class of the denoised images."""
        with torch.no_grad():
            return Verdict(label=self.surrogate()(batch.x).argmax(1))

    def surrogate(self) -> nn.Module:
        """Return the U-net and the classifier: the whole pipeline, which is differentiable as it is."""
        return nn.Sequential(self.denoiser.network, self.classifier)


class _Guided(Objective):
    """The distance of what is seen in denoised images from what is seen in clean ones.

    Args:
        seen: images (N, C, H, W) to what guides (N, ...).
        classifier: the deployed one, by which an epoch is judged.
    """

    def __init__(self, seen: Callable[[Tensor], Tensor], classifier: Classifier) -> None:
        super().__init__()
        self._seen, self._deployed = seen, classifier

    def loss(self, classifier: Classifier, x: Tensor, y: Tensor, rng: Rng) -> Tensor:
        """Return the mean absolute difference over a batch of pairs (N, 2C, H, W)."""
        image, clean = x.chunk(2, 1)
        with torch.no_grad():
            wanted = self._seen(clean)
        return (self._seen(classifier.network(image)) - wanted).abs().mean()

    def correct(self, classifier: Classifier, x: Tensor, y: Tensor, rng: Rng) -> dict[str, Tensor]:
        """Return which denoised images the deployed classifier gets right, (N,) bool."""
        image, _ = x.chunk(2, 1)
        with torch.no_grad():
            return {"accuracy": self._deployed(classifier.network(image)).argmax(1) == y}


class _Pairs(Split):
    """What is to be denoised, clean images and their adversarial versions, each with its clean version: (2C, H, W)."""

    def __init__(self, clean: Split, attacked: Sequence[Split]) -> None:
        self._versions = [clean, *attacked]
        self.labels = np.tile(clean.labels, len(self._versions))
        self.class_names = clean.class_names
        channels, height, width = clean.image_shape
        self.image_shape = (2 * channels, height, width)

    def images(self, indices: Sequence[int]) -> Tensor:
        """Return the pairs (n, 2C, H, W) of `indices`."""
        version, row = np.divmod(np.asarray(indices, dtype=np.int64), len(self._versions[0]))
        clean = self._versions[0].images(row.tolist())
        image = clean.clone()
        for number, split in enumerate(self._versions[1:], start=1):
            places = np.flatnonzero(version == number)
            if len(places):
                image[torch.from_numpy(places)] = split.images(row[places].tolist())
        return torch.cat((image, clean), 1)
