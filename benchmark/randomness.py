"""Randomness is an argument: every random draw comes from a generator derived from (seed, labels)."""

from __future__ import annotations

import contextlib
import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Rng:
    """A named source of randomness; the same seed gives the same draws whatever ran before it."""

    seed: int

    def spawn(self, *labels: str | int) -> Rng:
        """Return an independent source for the thing named by `labels`."""
        text = "\x1f".join([str(self.seed), *map(str, labels)])
        return Rng(int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big"))

    @cached_property
    def numpy(self) -> np.random.RandomState:
        """NumPy generator, seeded as `numpy.random.seed(self.seed)` seeds the global one."""
        return np.random.RandomState(self.seed)

    @cached_property
    def torch(self) -> torch.Generator:
        """Torch generator on the CPU: draws there are the same on every device they are moved to."""
        import torch

        return torch.Generator().manual_seed(self.seed)

    @contextlib.contextmanager
    def seeded_globals(self) -> Iterator[None]:
        """Seed Python's, NumPy's and torch's global generators inside the block, and restore them after it.

        For libraries that draw from global generators.
        """
        import torch

        states = random.getstate(), np.random.get_state(), torch.get_rng_state()
        devices = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
        self.seed_globals()
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])
            torch.set_rng_state(states[2])
            if devices:
                torch.cuda.set_rng_state_all(devices)

    def seed_globals(self) -> None:
        """Seed Python's, NumPy's and torch's global generators; inside `seeded_globals`, which restores them."""
        import torch

        random.seed(self.seed)
        np.random.seed(self.seed)
        # Not torch.manual_seed: where CUDA has not been initialised, it keeps the caller's stack for later, at 1 ms.
        torch.default_generator.manual_seed(self.seed)
        if torch.cuda.is_initialized():
            torch.cuda.manual_seed_all(self.seed)
