"""A small network that computes in float64."""

from __future__ import annotations

import pytest
from torch import nn
from victims import Digits, trained


def without_hidden_layer() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(256, 10),
    )


@pytest.fixture(scope="session")
def digits() -> Digits:
    return trained(without_hidden_layer, held_out=200).in_double()
