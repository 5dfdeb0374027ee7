"""One Gaussian mixture per class: evaluated in torch, stored without pickle."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from bench_idefender.options import IDefenderOptions
from benchmark import InputError

if TYPE_CHECKING:
    from sklearn.mixture import GaussianMixture

LEAST_IMAGES = 20
"""Fewest training images per class: with fewer, keeping 95 % of them rejects none."""
LEAST_PER_COMPONENT = 2
"""Fewest training images per Gaussian: one image has no covariance."""
LARGEST_COVARIANCES = 4 * 1024**3
"""Most bytes that the covariances of all classes may take."""

Covariance = Literal["full", "tied", "diag", "spherical"]


@dataclass(frozen=True)
class Mixture:
    """A Gaussian mixture in float64 tensors (Eq. 4).

    Attributes:
        log_weights: (K,), logarithms of the weights.
        means: (K, D).
        factors: per Gaussian the Cholesky factor of its precision, from the right: (K, D, D), one (D, D) for a tied
            covariance, (K, D) for a diagonal one, (K,) for a spherical one.
        covariance: which of these it is.
    """

    log_weights: Tensor
    means: Tensor
    factors: Tensor
    covariance: Covariance

    @classmethod
    def of(cls, fitted: GaussianMixture) -> Mixture:
        """Return the mixture that scikit-learn has fitted."""

        def tensor(array: np.ndarray) -> Tensor:
            return torch.from_numpy(np.array(array, dtype=np.float64))

        factors = tensor(fitted.precisions_cholesky_)
        return cls(tensor(fitted.weights_).log(), tensor(fitted.means_), factors, fitted.covariance_type)

    def log_likelihood(self, states: Tensor) -> Tensor:
        """Return log p (N,) of states (N, D) in float64, differentiable in the states.

        The same as scikit-learn's `GaussianMixture.score_samples`.
        """
        states = states.double()
        dimensions = self.means.shape[1]
        terms = []
        for k in range(len(self.means)):
            factor = self.factors if self.covariance == "tied" else self.factors[k]
            centred = states - self.means[k]
            if factor.dim() == 2:
                whitened, log_determinant = centred @ factor, factor.diagonal().log().sum()
            else:
                whitened, log_determinant = centred * factor, factor.expand(dimensions).log().sum()
            terms.append(self.log_weights[k] + log_determinant - 0.5 * whitened.square().sum(1))
        return torch.stack(terms, 1).logsumexp(1) - 0.5 * dimensions * math.log(2 * math.pi)

    def to(self, device: torch.device) -> Mixture:
        """Return the mixture on `device`."""
        return Mixture(self.log_weights.to(device), self.means.to(device), self.factors.to(device), self.covariance)


@dataclass(frozen=True)
class ClassMixtures:
    """What I-defender learns: a mixture, a threshold and a spread per class, after an optional projection.

    Attributes:
        mixtures: one per class.
        thresholds: (C,) float64, log TH of Eq. 5.
        spreads: (C,) float64, standard deviation of the class's training log-likelihoods.
        origin: (D,) mean of the training states, where they are projected.
        directions: (P, D) principal directions, where they are projected.
    """

    mixtures: tuple[Mixture, ...]
    thresholds: Tensor
    spreads: Tensor
    origin: Tensor | None = None
    directions: Tensor | None = None

    def project(self, states: Tensor) -> Tensor:
        """Return states (N, D) in the coordinates of the mixtures, in float64."""
        states = states.double()
        if self.origin is None or self.directions is None:
            return states
        return (states - self.origin) @ self.directions.T

    def log_likelihood(self, states: Tensor, classes: Tensor) -> Tensor:
        """Return log p(H(x) | c) (N,) of states (N, D), each under the mixture of its class in `classes` (N,) int64.

        Differentiable in the states; float64.
        """
        states = self.project(states)
        answer = states.new_zeros(len(states))
        for c in classes.unique().tolist():
            chosen = (classes == c).nonzero().squeeze(1)
            answer = answer.index_put((chosen,), self.mixtures[c].log_likelihood(states[chosen]))
        return answer

    def log_likelihoods(self, states: Tensor) -> Tensor:
        """Return log p(H(x) | c) (N, C) of states (N, D) under the mixture of every class.

        Differentiable in the states; float64.
        """
        states = self.project(states)
        return torch.stack([mixture.log_likelihood(states) for mixture in self.mixtures], 1)

    def to(self, device: torch.device) -> ClassMixtures:
        """Return everything on `device`."""
        return ClassMixtures(
            tuple(mixture.to(device) for mixture in self.mixtures),
            self.thresholds.to(device),
            self.spreads.to(device),
            None if self.origin is None else self.origin.to(device),
            None if self.directions is None else self.directions.to(device),
        )

    def save(self, folder: Path) -> None:
        """Write tensors as `mixtures.safetensors` and what they mean as `mixtures.json`."""
        tensors = {"thresholds": self.thresholds, "spreads": self.spreads}
        if self.origin is not None and self.directions is not None:
            tensors |= {"origin": self.origin, "directions": self.directions}
        for c, mixture in enumerate(self.mixtures):
            tensors |= {
                f"{c}.log_weights": mixture.log_weights,
                f"{c}.means": mixture.means,
                f"{c}.factors": mixture.factors,
            }
        save_file(
            {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, folder / "mixtures.safetensors"
        )
        about = {
            "classes": len(self.mixtures),
            "covariance": self.mixtures[0].covariance,
            "components": [len(mixture.means) for mixture in self.mixtures],
            "dimensions": self.mixtures[0].means.shape[1],
        }
        (folder / "mixtures.json").write_text(json.dumps(about, indent=1) + "\n")

    @classmethod
    def load(cls, folder: Path) -> ClassMixtures:
        """Read what `save` wrote."""
        about = json.loads((folder / "mixtures.json").read_text())
        tensors = load_file(folder / "mixtures.safetensors")
        return cls(
            tuple(
                Mixture(
                    tensors[f"{c}.log_weights"], tensors[f"{c}.means"], tensors[f"{c}.factors"], about["covariance"]
                )
                for c in range(about["classes"])
            ),
            tensors["thresholds"],
            tensors["spreads"],
            tensors.get("origin"),
            tensors.get("directions"),
        )


def check_sizes(
    counts: np.ndarray, dimensions: int | None, class_names: Sequence[str], options: IDefenderOptions
) -> None:
    """Look whether there is enough to fit mixtures to, and not too much.

    Args:
        counts: (num_classes,), images that are learned from; at least so many as there will be.
        dimensions: of the states, None where they are not known yet.
        class_names: name per class.
        options: the detector's.

    Raises:
        InputError: a class has too few images, there are too few states for `pca`, or covariances are too large.
    """
    _check_images(counts, class_names, options)
    if dimensions is not None:
        if options.pca is not None:
            _check_pca(options.pca, int(counts.sum()), dimensions)
        _check_size(options.pca or dimensions, len(class_names), options)


def _check_images(counts: np.ndarray, class_names: Sequence[str], options: IDefenderOptions) -> None:
    wanted = 1 if options.components == "bic" else options.components
    least = max(LEAST_IMAGES, LEAST_PER_COMPONENT * wanted)
    few = [f"{name!r} {count}" for name, count in zip(class_names, counts) if count < least]
    if few:
        which = "training images" if options.fit_on == "all" else "training images that the classifier gets right"
        shown = ", ".join(few[:5]) + (f" and {len(few) - 5} more classes" if len(few) > 5 else "")
        raise InputError(
            f"i-defender: too few {which}: {shown}. Each class needs {LEAST_IMAGES}, and {LEAST_PER_COMPONENT} per "
            f"component (components: {options.components}), so {least}. Give more images per class or set fewer "
            "components."
        )


def _check_size(dimensions: int, classes: int, options: IDefenderOptions) -> None:
    if options.covariance not in ("full", "tied"):
        return
    most = options.max_components if options.components == "bic" else options.components
    matrices = classes * (most if options.covariance == "full" else 1)
    size = 8 * matrices * dimensions**2
    if size > LARGEST_COVARIANCES:
        raise InputError(
            f"i-defender: {matrices} covariance matrices of {dimensions} dimensions take {size / 1024**3:.0f} GiB, at "
            f"most {LARGEST_COVARIANCES / 1024**3:.0f} GiB are allowed. Set `pca`, or `covariance: diag`."
        )


def _check_pca(wanted: int, count: int, dimensions: int) -> None:
    most = min(count, dimensions)
    if wanted > most:
        raise InputError(
            f"i-defender: pca: {wanted} components of {count} states with {dimensions} dimensions, at most {most} are "
            "possible"
        )
