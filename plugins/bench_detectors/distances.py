"""Distances between hidden states."""

from __future__ import annotations

from torch import Tensor


class Points:
    """States (M, D) to which distances are taken again and again. Takes 8 bytes per value.

    Attributes:
        states: (M, D), as they were given.
    """

    def __init__(self, states: Tensor) -> None:
        self.states = states
        # Around their mean, so that differences of large squares lose no digits.
        self._centre = states.double().mean(0)
        self._offsets = states.double() - self._centre
        self._squares = self._offsets.square().sum(1)

    def __len__(self) -> int:
        return len(self.states)

    def squared_distances(self, states: Tensor) -> Tensor:
        """Return the squared Euclidean distances (N, M) of states (N, D), differentiable, in float64.

        Takes memory for (N, M), not for (N, M, D).
        """
        offsets = states.double() - self._centre
        squares = offsets.square().sum(1)[:, None] + self._squares - 2 * offsets @ self._offsets.T
        return squares.clamp_min(0)
