"""Defenses that cannot be believed, each for one reason: known answers of alarms, probes and the trust mark.

All are around one trained network and change no right answer of it, so whatever they withstand is not robustness.
"""

from __future__ import annotations

import copy
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, interpolate, pad

from benchmark import Batch, Classifier, Defense, FitContext, Hardener, Verdict, hookimpl


class Around(nn.Module):
    """A network with something before or after it."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner


class Saturation(Around):
    """Logits so far apart that the softmax is one-hot."""

    def forward(self, x: Tensor) -> Tensor:
        return 1000 * self.inner(x)


class Temperature(Around):
    """Probabilities of a low temperature, cut off before the logarithm, as in float32."""

    def forward(self, x: Tensor) -> Tensor:
        return (200 * self.inner(x)).softmax(1).clamp_min(1e-30).log()


class Quantisation(Around):
    """Rounds the image to nine levels."""

    def forward(self, x: Tensor) -> Tensor:
        return self.inner((8 * x).round() / 8)


class Randomness(Around):
    """Drops pixels in eval mode, too, and does not say so."""

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(dropout(x, 0.05, training=True))


class Step(Around):
    """Looks whether pixels are bright: the gradient of a threshold is zero."""

    def forward(self, x: Tensor) -> Tensor:
        return self.inner((x > 0.4).float() + 0 * x)


class Shattered(Around):
    """Adds a ripple, too small to change an answer, whose slope drowns that of the network."""

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x + 0.02 * (2000 * x).sin())


class Decoy(Around):
    """Sends the gradient elsewhere."""

    def forward(self, x: Tensor) -> Tensor:
        answers = self.inner(x.detach())
        other = x.flatten(1).sin()[:, : answers.shape[1]]
        return answers + other - other.detach()


class Shifts(Around):
    """Shrinks and moves the image by chance, drawn anew from what the image is: no two passes show it."""

    def forward(self, x: Tensor) -> Tensor:
        size, shown = x.shape[-1], []
        for image in x:
            seed = zlib.crc32((255 * image.detach()).round().byte().cpu().numpy().tobytes())
            less, across, down = np.random.RandomState(seed).randint(0, 2, 3)
            small = interpolate(image[None], size=size - less, mode="bilinear")
            left, top = less * across, less * down
            shown.append(pad(small, (left, less - left, top, less - top)))
        return self.inner(torch.cat(shown))


class Ripples(Around):
    """A temperature that depends on the image, and changes faster than any step."""

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x) * (24 * (3000 * x).sin().flatten(1).mean(1, keepdim=True)).exp()


class Masked(Hardener):
    """The trained network inside of `around`."""

    around: type[Around]

    @property
    def needs_classifier(self) -> bool:
        return True

    def harden(self, context: FitContext) -> Classifier:
        classifier = copy.deepcopy(context.classifier)
        assert classifier is not None
        classifier.network = self.around(classifier.network)
        return classifier

    def load(self, folder: Path) -> None:
        self.classifier = copy.deepcopy(self.classifier)
        self.classifier.network = self.around(self.classifier.network)
        super().load(folder)


class FlagsAll(Defense):
    """Has a score that tells something, and rejects every image whatever it is."""

    family = "detector"

    def judge(self, batch: Batch) -> Verdict:
        score = -batch.logits.topk(2).values.diff().squeeze(1).abs()
        return Verdict(label=batch.logits.argmax(1), score=score, flagged=torch.ones(len(batch.x), dtype=torch.bool))


class Inverted(Defense):
    """Calls the image with the smallest margin the least suspicious one."""

    family = "detector"

    def judge(self, batch: Batch) -> Verdict:
        margin = batch.logits.topk(2).values.diff().squeeze(1).abs()
        return Verdict(label=batch.logits.argmax(1), score=margin)


class BatchStatistics(Defense):
    """Compares an image with those that happen to be judged with it."""

    family = "detector"

    def judge(self, batch: Batch) -> Verdict:
        brightness = batch.x.mean((1, 2, 3))
        return Verdict(label=batch.logits.argmax(1), score=(brightness - brightness.mean()).abs())


MASKS = (Saturation, Temperature, Quantisation, Randomness, Step, Shattered, Decoy, Shifts, Ripples)


@hookimpl
def register_defenses(register):
    for around in MASKS:
        register(
            around.__name__.lower(), type(around.__name__, (Masked,), {"around": around, "__doc__": around.__doc__})
        )
    register("flags-all", FlagsAll)
    register("inverted-score", Inverted)
    register("batch-statistics-score", BatchStatistics)
