"""The detector by local intrinsic dimensionality.

Ma, Li, Wang, Erfani, Wijewickrema, Schoenebeck, Song, Houle, Bailey, "Characterizing Adversarial Subspaces Using Local
Intrinsic Dimensionality", ICLR 2018, Eq. 4 (the estimate) and section 4 (the detector).
"""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from bench_detectors.distances import Points
from bench_detectors.layerwise import LayerwiseDetector
from bench_detectors.options import LidOptions
from benchmark import FitContext, InputError, PublishedAttack, Setting

LARGEST = 1e4
"""What the estimate is where all neighbours are equally far, and its formula infinite."""


def local_dimensionality(states: Tensor, references: Points, neighbors: int) -> Tensor:
    """Return the maximum-likelihood estimate (N,) of the local intrinsic dimensionality, in float64 (Eq. 4).

    -1 / mean_i log(r_i / r_k), with r_1 to r_k the distances to the k nearest references.

    Args:
        states: (N, D); none of them is among the references.
        references: (M, D), M >= neighbors.
        neighbors: k.
    """
    nearest = references.squared_distances(states).topk(neighbors, largest=False).values
    # An image that equals a reference has distance 0: the least number stands for it.
    logs = 0.5 * nearest.clamp_min(torch.finfo(nearest.dtype).tiny).log()
    mean = (logs - logs[:, -1:]).mean(1)
    return -1 / mean.clamp_max(-1 / LARGEST)


class Lid(LayerwiseDetector):
    """Suspects images whose hidden states lie where the training images spread in many dimensions."""

    name = "lid"
    Options = LidOptions
    options: LidOptions
    published_attacks = (
        PublishedAttack("Athalye, Carlini and Wagner 2018, arXiv:1802.00420, table 1", 0.05, "CIFAR-10, linf 0.031"),
    )

    def check_setting(self, setting: Setting) -> None:
        """Look whether the training images have so many neighbors.

        Raises:
            InputError: there are too few.
        """
        super().check_setting(setting)
        found, neighbors = setting.data.size("train"), self.options.neighbors
        if found <= neighbors:
            raise InputError(
                f"{self.name}: {found} training images have no {neighbors} nearest (`neighbors`): at least "
                f"{neighbors + 1} are needed. Give more images or set fewer `neighbors`."
            )

    def learn(self, states: list[Tensor], context: FitContext) -> dict[str, Tensor]:
        """Return the states of the references per layer, as `references.i` (M, D)."""
        drawn = context.rng.spawn("references").numpy.permutation(len(states[0]))[: self.options.references]
        chosen = torch.from_numpy(drawn).sort().values
        return {f"references.{i}": state[chosen] for i, state in enumerate(states)}

    @cached_property
    def _references(self) -> list[Points]:
        return [Points(self.learned[f"references.{i}"]) for i in range(len(self.options.layers))]

    def measure(self, states: list[Tensor]) -> Tensor:
        """Return the dimensionality (N, L) at each layer."""
        return torch.stack(
            [
                local_dimensionality(state, self._references[i], self.options.neighbors)
                for i, state in enumerate(states)
            ],
            1,
        )
