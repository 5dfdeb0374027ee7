"""Two small networks, one trained on adversarial images; both compute in float64."""

from __future__ import annotations

import pytest
from victims import Digits, trained


@pytest.fixture(scope="session")
def digits() -> Digits:
    """A network trained on clean images."""
    return trained(held_out=200).in_double()


@pytest.fixture(scope="session")
def robust() -> Digits:
    """One trained on adversarial images within linf 0.15."""
    return trained(held_out=200, epochs=12, eps=0.15).in_double()
