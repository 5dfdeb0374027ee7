"""Random noise: what any attack should beat."""

from typing import Literal

import torch

from benchmark import Attack, AttackOptions, Budget, Rng, Victim


class UniformNoiseOptions(AttackOptions):
    norm: Literal["linf"] = "linf"
    """Norm of the budget."""

    eps: Budget
    """Largest change of a pixel in [0, 1], for example 8/255."""


class UniformNoise(Attack):
    Options = UniformNoiseOptions
    needs = "labels"

    def craft(self, victim: Victim, x: torch.Tensor, y: torch.Tensor, rng: Rng) -> torch.Tensor:
        noise = 2 * torch.rand(x.shape, generator=rng.torch).to(x.device) - 1  # (N, C, H, W) in [-1, 1]
        return (x + self.options.eps * noise).clamp(0, 1)
