"""Two small networks on scikit-learn's digits, one trained on adversarial images, and images they have not seen."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from benchmark.attack import Victim
from benchmark.gradient import ascend, classification_loss
from benchmark.model import Classifier
from benchmark.randomness import Rng

SHAPE = (1, 8, 8)


@dataclass(frozen=True)
class Digits:
    """A victim with held-out images (N, 1, 8, 8) and labels (N,)."""

    victim: Victim
    x: Tensor
    y: Tensor

    @property
    def classifier(self) -> nn.Module:
        return self.victim.classifier

    def first(self, count: int) -> Digits:
        return Digits(self.victim, self.x[:count], self.y[:count])

    def behind(self, head: nn.Module) -> Digits:
        """The same with logits changed by `head`."""
        classifier = Classifier(nn.Sequential(self.classifier, head), 10, SHAPE).frozen()
        return Digits(replace(self.victim, classifier=classifier), self.x, self.y)

    def right(self, x: Tensor) -> Tensor:
        """(N,) bool: classified rightly."""
        with torch.no_grad():
            return self.classifier(x).argmax(1) == self.y

    def fooled(self, x_adv: Tensor) -> Tensor:
        """(N,) bool: right on the clean image, wrong on `x_adv`."""
        return self.right(self.x) & ~self.right(x_adv)


class InDouble(nn.Module):
    """Computes in float64, so that no sign of a gradient hangs on rounding."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x.double())


def trained(eps: float) -> Digits:
    data = load_digits()
    order = np.random.RandomState(0).permutation(len(data.target))
    x = torch.from_numpy((data.images[order] / 16).astype(np.float32)).unsqueeze(1)
    y = torch.from_numpy(data.target[order].astype(np.int64))
    with Rng(0).seeded_globals():
        network = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 16, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(),
            nn.Linear(256, 32), nn.ReLU(), nn.Linear(32, 10),
        )  # fmt: skip
        optimizer = torch.optim.Adam(network.parameters(), lr=5e-3)
        for _ in range(12 if eps else 6):
            for batch in torch.randperm(1200).split(100):
                seen = x[batch]
                if eps:
                    loss = classification_loss(network, y[batch])
                    seen = ascend(loss, seen, norm="linf", eps=eps, step=eps / 2, steps=4)
                optimizer.zero_grad()
                nn.functional.cross_entropy(network(seen), y[batch]).backward()
                optimizer.step()
    classifier = Classifier(InDouble(network.double()), 10, SHAPE).frozen()
    return Digits(Victim(classifier, 10, SHAPE, torch.device("cpu")), x[1200:1400], y[1200:1400])


@pytest.fixture(scope="session")
def digits() -> Digits:
    """A network trained on clean images; it computes in float64."""
    return trained(0.0)


@pytest.fixture(scope="session")
def robust() -> Digits:
    """One trained on adversarial images within linf 0.15."""
    return trained(0.15)
