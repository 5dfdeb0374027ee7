"""Preprocessors of the Adversarial Robustness Toolbox as defenses: the deployed classifier sees the treated image.

Sources: JPEG compression, Dziugaite, Ghahramani, Roy, "A study of the effect of JPG compression on adversarial
images", 2016; feature squeezing and spatial smoothing, Xu, Evans, Qi, "Feature Squeezing", NDSS 2018, sections III-A
and III-B. The surrogate is the backward pass differentiable approximation of Athalye, Carlini, Wagner, "Obfuscated
Gradients Give a False Sense of Security", ICML 2018, section 4.1, with the identity as approximation.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bench_art import options
from bench_art.library import library_call
from benchmark import Batch, Defense, Passes, PublishedAttack, TrainOptions, Verdict

CLIP_VALUES = (0.0, 1.0)


class Preprocessor(Defense):
    """A defense that treats the image and asks the deployed classifier; learns nothing."""

    family = "preprocessor"
    libraries = ("art.defences.preprocessor",)

    @abstractmethod
    def build(self) -> Any:
        """Return the library's preprocessor for images (N, C, H, W) in [0, 1]."""

    @cached_property
    def _library(self) -> Any:
        return self.build()

    def apply(self, x: Tensor) -> Tensor:
        """Return treated images, shape, type and device of `x` (N, C, H, W)."""

        # ART refuses values below 0, which rounding may leave.
        images = x.detach().clamp(0, 1).cpu().numpy()
        with library_call():
            treated, _ = self._library(images)
        return torch.from_numpy(np.ascontiguousarray(treated, dtype=np.float32)).to(x)

    def judge(self, batch: Batch) -> Verdict:
        """Answer with the deployed classifier's class of the treated images."""
        with torch.no_grad():
            return Verdict(label=self.classifier(self.apply(batch.x)).argmax(1))

    def surrogate(self) -> nn.Module:
        """Return the whole pipeline, whose backward pass takes the treatment for the identity."""
        return StraightThrough(self.apply, self.classifier)

    def passes(self, train: int, val: int, recipe: TrainOptions | None) -> Passes:
        """Return none: there is nothing to learn."""
        return Passes(0, 0)


class Jpeg(Preprocessor):
    """Compresses to JPEG and back; grey images and other than three channels one channel at a time."""

    Options = options.JpegOptions
    published_attacks = (
        PublishedAttack(
            "Athalye, Carlini and Wagner 2018, arXiv:1802.00420, table 1", 0.0, "ImageNet, l2 0.005 as scaled there"
        ),
    )

    def build(self) -> Any:
        """Return ART's JpegCompression."""
        from art.defences import preprocessor

        return preprocessor.JpegCompression(CLIP_VALUES, quality=self.options.quality, channels_first=True)


class FeatureSqueezing(Preprocessor):
    """Rounds every channel to 2^bit_depth levels."""

    Options = options.FeatureSqueezingOptions
    published_attacks = (
        PublishedAttack(
            "Athalye, Carlini and Wagner 2018, arXiv:1802.00420, table 1", 0.0, "ImageNet, l2 0.005 as scaled there"
        ),
        PublishedAttack("He et al. 2017, Ensembles of Weak Defenses, arXiv:1706.04701", None, "MNIST and CIFAR-10, l2"),
    )

    def build(self) -> Any:
        """Return ART's FeatureSqueezing."""
        from art.defences import preprocessor

        return preprocessor.FeatureSqueezing(CLIP_VALUES, bit_depth=self.options.bit_depth)


class SpatialSmoothing(Preprocessor):
    """Replaces every pixel by the median of the window around it, per channel."""

    Options = options.SpatialSmoothingOptions
    published_attacks = (
        PublishedAttack("He et al. 2017, Ensembles of Weak Defenses, arXiv:1706.04701", None, "MNIST and CIFAR-10, l2"),
    )

    def build(self) -> Any:
        """Return ART's SpatialSmoothing."""
        from art.defences import preprocessor

        return preprocessor.SpatialSmoothing(self.options.window_size, channels_first=True, clip_values=CLIP_VALUES)


class StraightThrough(nn.Module):
    """A treatment and a network: the forward pass is the real one, the backward pass skips the treatment.

    Args:
        treatment: images to images of the same shape.
        network: images to logits.
    """

    def __init__(self, treatment: Callable[[Tensor], Tensor], network: nn.Module) -> None:
        super().__init__()
        self._treatment = treatment
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, K) of images (N, C, H, W)."""
        logits: Tensor = self.network(_Identity.apply(x, self._treatment))
        return logits


class _Identity(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, treatment: Callable[[Tensor], Tensor]) -> Tensor:
        return treatment(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None
