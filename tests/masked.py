"""Defenses that cannot be believed, each for one reason: known answers of alarms, probes and the trust mark.

All are around one trained network and change no right answer of it, so whatever they withstand is not robustness.
"""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout

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


MASKS = (Saturation, Temperature, Quantisation, Randomness, Step, Shattered)


@hookimpl
def register_defenses(register):
    for around in MASKS:
        register(
            around.__name__.lower(), type(around.__name__, (Masked,), {"around": around, "__doc__": around.__doc__})
        )
    register("flags-all", FlagsAll)
    register("inverted-score", Inverted)
    register("batch-statistics-score", BatchStatistics)
