"""A small network, as it is and in float64."""

from __future__ import annotations

import pytest
from victims import Digits, trained


@pytest.fixture(scope="session")
def digits() -> Digits:
    return trained(held_out=300)


@pytest.fixture(scope="session")
def digits64(digits: Digits) -> Digits:
    return digits.in_double()
