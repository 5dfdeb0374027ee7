"""Quantised activations, and kernel machines on them: fitted by scikit-learn, evaluated in torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

SMOOTHNESS = 0.25
"""Width of the sigmoid that stands for a threshold in the backward pass, in standard deviations of the unit."""


@dataclass(frozen=True)
class Quantiser:
    """Activations to codes: a unit's code is the number of its thresholds that it exceeds.

    Attributes:
        thresholds: (T, D), rising.
        widths: (D,), of the sigmoids in the backward pass.
    """

    thresholds: Tensor
    widths: Tensor

    @classmethod
    def of(cls, states: Tensor, levels: int, thresholds: Sequence[float] | None) -> Quantiser:
        """Return the quantiser of natural states (N, D): `thresholds`, or equal shares per unit and level."""
        states = states.double()
        if thresholds is None:
            cuts = torch.quantile(states, torch.arange(1, levels, dtype=torch.float64) / levels, dim=0)
        else:
            cuts = torch.tensor(thresholds, dtype=torch.float64)[:, None].expand(-1, states.shape[1])
        spread = states.std(0, correction=0)
        return cls(cuts.contiguous(), SMOOTHNESS * torch.where(spread > 0, spread, 1.0))

    def __call__(self, states: Tensor) -> Tensor:
        """Return codes (N, D) in float64 of states (N, D); backward, sigmoids stand for the thresholds."""
        states = states.double()
        codes = torch.zeros_like(states)
        for threshold in self.thresholds:
            hard = (states > threshold).double()
            if states.requires_grad:
                soft = torch.sigmoid((states - threshold) / self.widths)
                hard = soft + (hard - soft).detach()
            codes = codes + hard
        return codes


@dataclass(frozen=True)
class Machines:
    """Support vector machines with one Gaussian kernel on the same training codes.

    Attributes:
        vectors: (M, D), codes that are a support vector of any machine.
        weights: (K, M), one row per machine.
        intercepts: (K,).
        gamma: of the kernel exp(-gamma d^2).
    """

    vectors: Tensor
    weights: Tensor
    intercepts: Tensor
    gamma: float

    @classmethod
    def fit(cls, codes: np.ndarray, targets: np.ndarray, *, c: float, gamma: float) -> Machines:
        """Return one machine per column of `targets`, with images weighed so that both sides count the same.

        Args:
            codes: (N, D) of the training images.
            targets: (N, K) bool, what each machine is to find.
            c: cost of an image on the wrong side.
            gamma: of the kernel.
        """
        from sklearn.svm import SVC

        fitted = [SVC(C=c, gamma=gamma, class_weight="balanced").fit(codes, target) for target in targets.T]
        used = np.unique(np.concatenate([machine.support_ for machine in fitted]))
        weights = np.zeros((len(fitted), len(codes)))
        for row, machine in zip(weights, fitted):
            row[machine.support_] = machine.dual_coef_[0]
        return cls(
            torch.from_numpy(codes[used].astype(np.float64)),
            # In the order in which it is read back: a product's last bits may hang on it.
            torch.from_numpy(np.ascontiguousarray(weights[:, used])),
            torch.tensor([float(machine.intercept_[0]) for machine in fitted], dtype=torch.float64),
            gamma,
        )

    def __call__(self, codes: Tensor) -> Tensor:
        """Return the decision functions (N, K) of codes (N, D), differentiable: scikit-learn's `decision_function`."""
        squares = (
            codes.square().sum(1)[:, None] + self.vectors.square().sum(1) - 2 * codes @ self.vectors.T
        ).clamp_min(0)
        return (-self.gamma * squares).exp() @ self.weights.T + self.intercepts


def save(folder: Path, quantiser: Quantiser, machines: Machines) -> None:
    """Write both as `machines.safetensors`."""
    tensors = {
        "thresholds": quantiser.thresholds,
        "widths": quantiser.widths,
        "vectors": machines.vectors.to(torch.uint8),
        "weights": machines.weights,
        "intercepts": machines.intercepts,
        "gamma": torch.tensor(machines.gamma, dtype=torch.float64),
    }
    save_file({name: t.cpu().contiguous() for name, t in tensors.items()}, folder / "machines.safetensors")


def load(folder: Path, device: torch.device) -> tuple[Quantiser, Machines]:
    """Read what `save` wrote, onto `device`."""
    tensors = load_file(folder / "machines.safetensors", device=str(device))
    return Quantiser(tensors["thresholds"], tensors["widths"]), Machines(
        tensors["vectors"].double(), tensors["weights"], tensors["intercepts"], float(tensors["gamma"])
    )
