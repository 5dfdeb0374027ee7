"""A small network that computes in float64."""

from __future__ import annotations

import pytest
from victims import Digits, trained


@pytest.fixture(scope="session")
def digits() -> Digits:
    return trained(held_out=200, hidden=False).in_double()
