"""What Figure 1 of the paper draws of hidden states: a plane through them, and one unit's activation.

Zheng and Hong, NeurIPS 2018, Figure 1: (a) states "in the 2D subspace with the largest variances"; (b) the distribution
of one hidden unit for natural and for adversarial images of a class.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from benchmark import Rng

MOST_STATES = 5000
"""Training states that the plane is laid through, at most."""


@dataclass(frozen=True)
class Projection:
    """The plane of the two largest variances of the training states, and the unit that varies most.

    Attributes:
        origin: (D,) float64, mean of the states.
        directions: (2, D) float64, the first two principal directions; (1, D) of one-dimensional states.
        unit: index of the unit with the largest variance. Attacked images have no say in it.
    """

    origin: Tensor
    directions: Tensor
    unit: int

    @classmethod
    def of(cls, states: Tensor, rng: Rng) -> Projection:
        """Lay the plane through training states (N, D) of all classes, or through 5,000 of them drawn from `rng`."""
        from sklearn.decomposition import PCA

        if len(states) > MOST_STATES:
            states = states[torch.randperm(len(states), generator=rng.torch)[:MOST_STATES]]
        states = states.double()
        fitted = PCA(min(2, *states.shape), random_state=rng.seed).fit(states.numpy())
        return cls(
            torch.from_numpy(fitted.mean_), torch.from_numpy(fitted.components_), int(states.var(0).argmax().item())
        )

    def details(self, states: Tensor) -> dict[str, Tensor]:
        """Return `projection` (N, 2) and `unit` (N,), float32, of states (N, D)."""
        return {
            "projection": ((states.double() - self.origin) @ self.directions.T).float(),
            "unit": states[:, self.unit].float(),
        }

    def to(self, device: torch.device) -> Projection:
        """Return everything on `device`."""
        return Projection(self.origin.to(device), self.directions.to(device), self.unit)

    def save(self, folder: Path) -> None:
        """Write `projection.safetensors`."""
        tensors = {"origin": self.origin, "directions": self.directions, "unit": torch.tensor(self.unit)}
        save_file(
            {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, folder / "projection.safetensors"
        )

    @classmethod
    def load(cls, folder: Path) -> Projection:
        """Read what `save` wrote."""
        tensors = load_file(folder / "projection.safetensors")
        return cls(tensors["origin"], tensors["directions"], int(tensors["unit"]))
