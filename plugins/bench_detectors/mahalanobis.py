"""The Mahalanobis detector.

Lee, Lee, Lee, Shin, "A Simple Unified Framework for Detecting Out-of-Distribution Samples and Adversarial Attacks",
NeurIPS 2018, section 2.1 (class means and tied covariance), 2.2 (confidence, Eq. 2; feature ensemble). Input
pre-processing (Eq. 4) is left out: its size is chosen on adversarial images.
"""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from bench_detectors.distances import Points
from bench_detectors.layerwise import LayerwiseDetector
from bench_detectors.options import MahalanobisOptions
from benchmark.defense import FitContext
from benchmark.errors import InputError
from benchmark.setting import Setting

LEAST_IMAGES = 2
"""Fewest training images per class: one is its own mean, and says nothing about the covariance."""
LARGEST_STATE = 8192
"""Most dimensions of a state: its covariance takes 8 bytes per pair of them, and is taken apart."""


class Mahalanobis(LayerwiseDetector):
    """Suspects images whose hidden states are far from every class mean.

    Per layer the number is the squared Mahalanobis distance to the nearest class mean, with one covariance for all
    classes: the paper's confidence score, negated.
    """

    name = "mahalanobis"
    Options = MahalanobisOptions
    options: MahalanobisOptions

    def check_setting(self, setting: Setting) -> None:
        """Look whether each class has enough training images, and whether the states are not too large.

        Raises:
            InputError: they do not suffice.
        """
        super().check_setting(setting)
        if few := setting.data.few("train", LEAST_IMAGES):
            raise InputError(
                f"{self.name}: too few training images: {few}. Each class needs {LEAST_IMAGES}. Give more images per "
                "class."
            )
        if (states := setting.states(self._named_layers)) is not None:
            for layer, state in zip(self.options.layers, self.states(states), strict=True):
                _check_size(self.name, layer, state.shape[1])

    def learn(self, states: list[Tensor], context: FitContext) -> dict[str, Tensor]:
        """Return per layer, as `means.i` (C, D) and `whitening.i` (D, D), the class means after whitening, and it.

        Raises:
            InputError: a covariance is singular or too large.
        """
        labels = context.train.labels
        learned: dict[str, Tensor] = {}
        for index, (layer, state) in enumerate(zip(self.options.layers, states)):
            means, whitening = self._whiten(state.to(self.device), torch.from_numpy(labels).to(self.device), layer)
            learned |= {f"means.{index}": means, f"whitening.{index}": whitening}
            context.progress.update(index + 1, len(states), "layers")
        return learned

    def _whiten(self, states: Tensor, labels: Tensor, layer: str) -> tuple[Tensor, Tensor]:
        """Return the class means (C, D) after whitening, and the matrix (D, D) that whitens from the right."""
        dimensions = states.shape[1]
        _check_size(self.name, layer, dimensions)
        states = states.double()
        counts = labels.bincount(minlength=len(self.class_names))
        sums = states.new_zeros(len(counts), dimensions).index_add_(0, labels, states)
        means = sums / counts[:, None]
        centred = states - means[labels]
        covariance = centred.T @ centred / len(states)
        covariance.diagonal().add_(self.options.regularization * covariance.diagonal().mean())
        variances, directions = torch.linalg.eigh(covariance)
        if variances[0] <= variances[-1] * dimensions * torch.finfo(torch.float64).eps:
            constant = int((centred.square().sum(0) == 0).sum())
            raise InputError(
                f"{self.name}: the covariance at layer {layer!r} is singular ({len(states)} states of {dimensions} "
                f"dimensions, {constant} of them constant within classes, regularization "
                f"{self.options.regularization}). Set a larger `regularization`, or name another layer."
            )
        whitening = directions / variances.sqrt()
        return means @ whitening, whitening

    @cached_property
    def _means(self) -> list[Points]:
        return [Points(self.learned[f"means.{i}"]) for i in range(len(self.options.layers))]

    def measure(self, states: list[Tensor]) -> Tensor:
        """Return the squared distances (N, L) to the nearest class mean of each layer."""
        distances = [
            means.squared_distances(state.double() @ self.learned[f"whitening.{i}"]).amin(1)
            for i, (state, means) in enumerate(zip(states, self._means))
        ]
        return torch.stack(distances, 1)


def _check_size(name: str, layer: str, dimensions: int) -> None:
    if dimensions > LARGEST_STATE:
        raise InputError(
            f"{name}: the states at layer {layer!r} have {dimensions} dimensions, at most {LARGEST_STATE} are "
            "allowed. Set `positions: mean`, or name another layer."
        )
