"""Small networks on scikit-learn's digits, trained in a second, and images they have not seen: for tests of attacks."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from benchmark.attack import Victim
from benchmark.gradient import ascend, classification_loss
from benchmark.model import Classifier
from benchmark.randomness import Rng

SHAPE = (1, 8, 8)
TRAIN = 1200


@dataclass(frozen=True)
class Digits:
    """A victim with held-out images (N, 1, 8, 8) and labels (N,)."""

    victim: Victim
    x: Tensor
    y: Tensor

    @property
    def classifier(self) -> Any:
        return self.victim.classifier

    def first(self, count: int) -> Digits:
        return Digits(self.victim, self.x[:count], self.y[:count])

    def behind(self, head: nn.Module) -> Digits:
        """The same with logits changed by `head`."""
        classifier = Classifier(nn.Sequential(self.classifier, head), 10, SHAPE).frozen()
        return Digits(replace(self.victim, classifier=classifier), self.x, self.y)

    def is_right(self, x: Tensor) -> Tensor:
        """(N,) bool: classified rightly."""
        with torch.no_grad():
            return self.classifier(x).argmax(1) == self.y

    def in_double(self) -> Digits:
        """The same network computing in float64, so that no sign of a gradient hangs on rounding."""
        return attacked(InDouble(copy.deepcopy(self.classifier.network)), self.x, self.y)

    @property
    def right(self) -> Tensor:
        """(N,) bool: the clean images that are classified rightly."""
        return self.is_right(self.x)

    def fooled(self, x_adv: Tensor) -> Tensor:
        """(N,) bool: right on the clean image, wrong on `x_adv`."""
        return self.right & ~self.is_right(x_adv)


class InDouble(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.double()

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x.double())


def small(*, hidden: bool) -> nn.Module:
    """Return two convolutions before a linear layer, or two of them."""
    convolutions = nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 16, 3, stride=2, padding=1), nn.ReLU()
    head = (nn.Linear(256, 32), nn.ReLU(), nn.Linear(32, 10)) if hidden else (nn.Linear(256, 10),)
    return nn.Sequential(*convolutions, nn.Flatten(), *head)


def trained(*, held_out: int, hidden: bool = True, epochs: int = 6, eps: float = 0.0) -> Digits:
    """Return a network as a victim on the first images that it has not seen.

    Args:
        hidden: as for `small`.
        eps: of the adversarial images (linf) that it is trained on, 0 for clean ones.
    """
    data = load_digits()
    order = np.random.RandomState(0).permutation(len(data.target))
    x = torch.from_numpy((data.images[order] / 16).astype(np.float32)).unsqueeze(1)
    y = torch.from_numpy(data.target[order].astype(np.int64))
    with Rng(0).seeded_globals():
        network = small(hidden=hidden)
        optimizer = torch.optim.Adam(network.parameters(), lr=5e-3)
        for _ in range(epochs):
            for batch in torch.randperm(TRAIN).split(100):
                seen = x[batch]
                if eps:
                    loss = classification_loss(network, y[batch])
                    seen = ascend(loss, seen, norm="linf", eps=eps, step=eps / 2, steps=4)
                optimizer.zero_grad()
                nn.functional.cross_entropy(network(seen), y[batch]).backward()
                optimizer.step()
    unseen = slice(TRAIN, TRAIN + held_out)
    return attacked(network, x[unseen], y[unseen])


def attacked(network: nn.Module, x: Tensor, y: Tensor) -> Digits:
    """Return the network as a victim on these images."""
    return Digits(Victim(Classifier(network, 10, SHAPE).frozen(), 10, SHAPE, torch.device("cpu")), x, y)
