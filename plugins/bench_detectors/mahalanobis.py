"""The Mahalanobis detector.

Lee, Lee, Lee, Shin, "A Simple Unified Framework for Detecting Out-of-Distribution Samples and Adversarial Attacks",
NeurIPS 2018, section 2.1 (class means and tied covariance), 2.2 (confidence, Eq. 2; input pre-processing, Eq. 4;
feature ensemble, Algorithm 1).
"""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from bench_detectors.distances import Points
from bench_detectors.layerwise import LayerwiseDetector
from bench_detectors.options import MahalanobisOptions
from benchmark import FitContext, InputError, Setting

LEAST_IMAGES = 2
"""Fewest training images per class: one is its own mean, and says nothing about the covariance."""
LARGEST_STATE = 8192
"""Most dimensions of a state: its covariance takes 8 bytes per pair of them, and is taken apart."""


class Mahalanobis(LayerwiseDetector):
    """Suspects images whose hidden states are far from every class mean.

    Per layer the number is the squared Mahalanobis distance to the nearest class mean, with one covariance for all
    classes: the paper's confidence score, negated. With `magnitude` each layer measures an image of its own, a step
    nearer to that mean.
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
        # In the order in which it is read back: a product's last bits may hang on it.
        whitening = (directions / variances.sqrt()).contiguous()
        return means @ whitening, whitening

    @cached_property
    def _means(self) -> list[Points]:
        return [Points(self.learned[f"means.{i}"]) for i in range(len(self.options.layers))]

    @property
    def treats_images(self) -> bool:
        """Whether images take a step before they are measured."""
        return float(self.options.magnitude) > 0

    def measure(self, states: list[Tensor]) -> Tensor:
        """Return the squared distances (N, L) to the nearest class mean of each layer."""
        return torch.stack([self._distance(index, state) for index, state in enumerate(states)], 1)

    def measure_images(self, x: Tensor) -> Tensor:
        """Return the squared distances (N, L), those of each layer after a step of the image towards the mean (Eq. 4).

        The step is constant to the gradient, as signs are; nothing cuts it to [0, 1], as in the released code.
        """
        if not self.treats_images:
            return super().measure_images(x)
        layers = range(len(self.options.layers))
        return torch.stack([self._distance(i, self._states(self._stepped(x, i))[i]) for i in layers], 1)

    def _stepped(self, x: Tensor, index: int) -> Tensor:
        with torch.enable_grad():
            point = x.detach().requires_grad_()
            (rise,) = torch.autograd.grad(self._distance(index, self._states(point)[index]).sum(), point)
        return x - float(self.options.magnitude) * rise.sign()

    def _states(self, x: Tensor) -> list[Tensor]:
        return self.states(self.classifier.features(x, self._named_layers))

    def _distance(self, index: int, state: Tensor) -> Tensor:
        """Return the squared distances (N,) of states (N, D) to the nearest class mean of a layer."""
        return self._means[index].squared_distances(state.double() @ self.learned[f"whitening.{index}"]).amin(1)


def _check_size(name: str, layer: str, dimensions: int) -> None:
    if dimensions > LARGEST_STATE:
        raise InputError(
            f"{name}: the states at layer {layer!r} have {dimensions} dimensions, at most {LARGEST_STATE} are "
            "allowed. Set `positions: mean`, or name another layer."
        )
