"""The kernel density detector.

Feinman, Curtin, Shintre, Gardner, "Detecting Adversarial Samples from Artifacts", 2017, section 5.1 (Eq. 5). The
paper's second measure, the variance under dropout, and the logistic regression over both are left out.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from bench_detectors.distances import Points
from bench_detectors.options import KernelDensityOptions
from benchmark import FitContext, InputError, PublishedAttack, Setting, StateDetector, balanced_indices

CHUNK = 256
"""Validation images whose distances are held at a time."""
JUDGES = 1000
"""Validation images that choose the bandwidth."""
BANDWIDTHS = 2.0 ** (np.arange(-24, 17) / 4)
"""Bandwidths that are tried, 1/64 to 16, in units of the states' standard deviation within classes."""


def log_density(states: Tensor, points: Points, bandwidths: Tensor) -> Tensor:
    """Return the log of the Gaussian kernel density (B, N) at states (N, D), in float64, differentiable in them.

    Args:
        states: (N, D).
        points: (M, D), where the kernels stand.
        bandwidths: (B,), standard deviations of the kernel.
    """
    squares = points.squared_distances(states)
    dimensions = states.shape[1]
    return torch.stack(
        [
            (squares / (-2 * bandwidth**2)).logsumexp(1)
            - dimensions * (bandwidth.log() + 0.5 * math.log(2 * math.pi))
            - math.log(len(points))
            for bandwidth in bandwidths.double()
        ]
    )


class KernelDensity(StateDetector):
    """Suspects images whose hidden state is rare among the training images of the class they are given.

    The score is the negative log of the density, in nats. Several layers are joined into one vector.
    """

    name = "kernel-density"
    Options = KernelDensityOptions
    options: KernelDensityOptions
    published_attacks = (
        PublishedAttack(
            "Carlini and Wagner 2017, Adversarial Examples Are Not Easily Detected, arXiv:1705.07263",
            None,
            "MNIST and CIFAR-10, nearest in l2 among what is not flagged",
        ),
    )
    points: list[Points]
    """(M, D) per class: the states of its training images."""
    bandwidth: Tensor
    """() float64."""

    def check_setting(self, setting: Setting) -> None:
        """Look whether each class has training images.

        Raises:
            InputError: a class has none.
        """
        if few := setting.data.few("train", 1):
            raise InputError(f"{self.name}: no training images: {few}. A class without images has no density.")

    def fit(self, context: FitContext) -> None:
        """Keep the states of the training images, and choose the bandwidth.

        Raises:
            InputError: a layer does not exist, states are not finite or all the same.
        """
        states, labels = torch.cat(self.clean_states(context, "train"), 1), context.train.labels
        members = [np.flatnonzero(labels == c) for c in range(len(context.train.class_names))]
        drawn = [
            np.sort(context.rng.spawn("class", c).numpy.permutation(own)[: self.options.images_per_class])
            for c, own in enumerate(members)
        ]
        self.points = [Points(states[own].to(self.device)) for own in drawn]
        chosen = self.options.bandwidth
        value = self._likeliest(context) if isinstance(chosen, str) else chosen
        self.bandwidth = torch.tensor(value, dtype=torch.float64, device=self.device)

    def _likeliest(self, context: FitContext) -> float:
        """Return the bandwidth with the greatest mean log-density of validation images in their own class."""
        variances = [points.states.double().var(0, correction=0).mean() for points in self.points]
        unit = float(np.average(torch.stack(variances).cpu(), weights=[len(points) for points in self.points]) ** 0.5)
        if unit == 0:
            raise InputError(
                f"{self.name}: within every class the hidden states at {', '.join(self.options.layers)} are all the "
                "same: no bandwidth fits them. Name another layer, or set `bandwidth`."
            )
        states, labels = torch.cat(self.clean_states(context, "val"), 1), context.val.labels
        chosen = balanced_indices(labels, JUDGES)
        bandwidths = torch.from_numpy(unit * BANDWIDTHS).to(self.device)
        total = torch.zeros_like(bandwidths)
        for c, points in enumerate(self.points):
            own = states[torch.from_numpy(chosen[labels[chosen] == c])]
            for part in own.split(CHUNK):
                total += log_density(part.to(self.device), points, bandwidths).sum(1)
            context.progress.update(c + 1, len(self.points), "classes")
        best = int(total.argmax())
        if best in (0, len(BANDWIDTHS) - 1):
            context.progress.warn(
                f"{self.name}: the likeliest bandwidth lies at the end of those tried ({float(bandwidths[best]):.3g}): "
                "look at the states, or set `bandwidth`."
            )
        return float(bandwidths[best])

    def suspicion(self, states: list[Tensor], logits: Tensor) -> Tensor:
        """Return the negative log-density (N,) within the predicted class."""
        joined, label = torch.cat(states, 1).double(), logits.detach().argmax(1)
        score = joined.new_zeros(len(joined))
        for c in label.unique().tolist():
            chosen = (label == c).nonzero().squeeze(1)
            score = score.index_put((chosen,), -log_density(joined[chosen], self.points[c], self.bandwidth[None])[0])
        return score

    def class_suspicions(self, x: Tensor) -> Tensor:
        """Return the score (N, C) of images (N, C, H, W), were they given each class, differentiable."""
        joined = torch.cat(self.states(self.classifier.features(x, self._named_layers)), 1)
        return torch.stack([-log_density(joined, points, self.bandwidth[None])[0] for points in self.points], 1)

    def save(self, folder: Path) -> None:
        """Write the states that are kept, and the bandwidth."""
        tensors = {f"points.{c}": points.states for c, points in enumerate(self.points)} | {"bandwidth": self.bandwidth}
        save_file({name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, folder / "density.safetensors")

    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""
        tensors = load_file(folder / "density.safetensors", device=str(self.device))
        self.bandwidth = tensors.pop("bandwidth")
        self.points = [Points(tensors[f"points.{c}"]) for c in range(len(tensors))]
