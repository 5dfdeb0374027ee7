"""Detection and rectification by Defense-GAN.

Samangouei, Kabkab, Chellappa, "Defense-GAN: Protecting Classifiers Against Adversarial Attacks Using Generative
Models", ICLR 2018 (arXiv:1805.06605). The gradient past the search is that of Athalye, Carlini, Wagner, "Obfuscated
Gradients Give a False Sense of Security", ICML 2018, section 5.4.2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from bench_defensegan.gan import NaturalImages, image_sizes
from bench_defensegan.options import DefenseGanOptions
from benchmark import (
    ArtifactRequest,
    Batch,
    Defense,
    Family,
    FitContext,
    InputError,
    Passes,
    PublishedAttack,
    Setting,
    Verdict,
)


@dataclass(frozen=True)
class Reconstruction:
    """The generator's images nearest to given ones.

    Attributes:
        images: (N, C, H, W) in [0, 1].
        error: (N,), mean squared difference per pixel.
    """

    images: Tensor
    error: Tensor


def reconstruct(
    generator: nn.Module, x: Tensor, starts: Tensor, *, steps: int, lr: float, momentum: float
) -> Reconstruction:
    """Search the latent space for images like `x` (N, C, H, W), by gradient descent from each of `starts` (R, latent).

    Each image is searched for by itself: the answer does not depend on the batch. The step size is `lr` on the mean
    squared error, a tenth of it after 80 % of the steps.
    """
    count, restarts = len(x), len(starts)
    wanted = x.detach().repeat_interleave(restarts, 0)  # (N * R, C, H, W)
    z = starts.repeat(count, 1).requires_grad_()  # (N * R, latent)
    descent = torch.optim.SGD([z], lr=lr, momentum=momentum)
    with torch.enable_grad():
        for step in range(steps):
            if step == math.ceil(0.8 * steps):
                descent.param_groups[0]["lr"] = 0.1 * lr
            (z.grad,) = torch.autograd.grad(_errors(generator(z), wanted).sum(), z)
            descent.step()
    with torch.no_grad():
        drawn = generator(z)
        errors = _errors(drawn, wanted).view(count, restarts)
        error, best = errors.min(1)
        nearest = drawn.view(count, restarts, *x.shape[1:])[torch.arange(count, device=x.device), best]
    return Reconstruction(nearest, error)


def _errors(drawn: Tensor, wanted: Tensor) -> Tensor:
    return (drawn - wanted).square().flatten(1).mean(1)


class DefenseGan(Defense):
    """Suspects images that the generator cannot draw.

    The score is the mean squared error of the nearest of the generator's images, found by R searches of L steps. The
    label is the classifier's. The R starting points are drawn when the defense is fitted, from a normal distribution
    with variance 1 / latent, and serve all images.
    """

    family: ClassVar[Family] = "detector"
    Options = DefenseGanOptions
    starts: Tensor
    published_attacks = (
        PublishedAttack(
            "Athalye, Carlini and Wagner 2018, arXiv:1802.00420, table 1",
            0.55,
            "MNIST, l2 0.005 as scaled there, rectifier",
        ),
    )

    def artifacts(self) -> dict[str, ArtifactRequest]:
        """Ask for the generator."""
        return {"generator": ArtifactRequest("natural-images", self.options.generator, self.options.generator_data)}

    def passes_per_answer(self) -> Passes:
        """Return those of all searches through the generator, and one each of the image and of what was found."""
        options: DefenseGanOptions = self.options
        return Passes(2 + options.restarts * (options.steps + 1), options.restarts * options.steps)

    def check_setting(self, setting: Setting) -> None:
        """Look whether the generator draws images of the shape that is judged.

        Raises:
            InputError: it draws others, or cannot draw such images at all.
        """
        label, own = self.options.generator_data, setting.data.image_shape
        drawn = own if label is None else setting.datasets[label].image_shape
        if drawn != own:
            raise InputError(
                f"defense-gan: the generator learns images of shape {drawn} from {label!r}, the images to judge are "
                f"{own}. Choose a data set with images of that shape, or leave `generator_data` out."
            )
        image_sizes(own)

    def fit(self, context: FitContext) -> None:
        """Draw the starting points."""
        latent = self.options.generator.latent
        starts = torch.randn(self.options.restarts, latent, generator=context.rng.spawn("starts").torch)
        self.starts = (starts / math.sqrt(latent)).to(self.device)

    def save(self, folder: Path) -> None:
        """Write the starting points."""
        save_file({"starts": self.starts.cpu()}, folder / "starts.safetensors")

    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""
        self.starts = load_file(folder / "starts.safetensors")["starts"].to(self.device)

    def judge(self, batch: Batch) -> Verdict:
        """Score by the distance to the reconstruction."""
        return Verdict(label=batch.logits.argmax(1), score=self.reconstruct(batch.x).error)

    def reconstruct(self, x: Tensor) -> Reconstruction:
        """Return the generator's images nearest to `x` (N, C, H, W)."""
        options: DefenseGanOptions = self.options
        return reconstruct(
            self._natural.generator,
            x,
            self.starts,
            steps=options.steps,
            lr=options.lr,
            momentum=options.momentum,
        )

    def detector_loss(self, x: Tensor) -> Tensor:
        """Return the score (N,) of images (N, C, H, W), differentiable in them.

        The reconstruction is constant to the gradient: where the search has converged the error does not change with
        the latent vector, so this is the whole gradient.
        """
        return _errors(self.reconstruct(x).images, x)

    @property
    def _natural(self) -> NaturalImages:
        natural = self.shared["generator"]
        assert isinstance(natural, NaturalImages)
        return natural


class DefenseGanRectifier(DefenseGan):
    """Classifies the reconstruction, and suspects images far from it."""

    family: ClassVar[Family] = "rectifier"

    def judge(self, batch: Batch) -> Verdict:
        """Answer with the classifier's class of the reconstruction; score by the distance to it."""
        found = self.reconstruct(batch.x)
        return Verdict(label=self.classifier(found.images).argmax(1), score=found.error)

    def surrogate(self) -> nn.Module:
        """Return reconstruction and classifier; the backward pass takes the reconstruction for the identity."""
        return _StraightThrough(self)


class _StraightThrough(nn.Module):
    def __init__(self, defense: DefenseGan) -> None:
        super().__init__()
        self.classifier = defense.classifier
        self._reconstruct = defense.reconstruct

    def forward(self, x: Tensor) -> Tensor:
        difference = self._reconstruct(x).images - x.detach()
        logits: Tensor = self.classifier(x + difference)
        return logits
