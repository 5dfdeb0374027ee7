"""Calls of the library that leave nothing behind: no line on the terminal, no draw that does not follow from a seed."""

from __future__ import annotations

import contextlib
import logging
import threading
import warnings
from collections.abc import Iterator
from typing import Any
from unittest import mock

import numpy as np
from tqdm import tqdm

from benchmark import Rng

# ART's progress bars, shown or not, take a semaphore that a worker process would leave behind.
tqdm.set_lock(threading.RLock())


class _AnyState(type):
    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, RANDOM_STATE)


RANDOM_STATE = np.random.RandomState


class _SeededState(np.random.RandomState, metaclass=_AnyState):
    """A RandomState that, made without a seed, takes one from NumPy's global generator instead of the system."""

    def __init__(self, seed: Any = None) -> None:
        super().__init__(np.random.randint(2**32, dtype=np.uint64) if seed is None else seed)


@contextlib.contextmanager
def library_call(rng: Rng | None = None) -> Iterator[None]:
    """Keep ART's warnings and log lines from the terminal and, given `rng`, make all that it draws follow from it.

    HopSkipJump and BoundaryAttack draw from generators that they seed from the system.
    """
    log = logging.getLogger("art")
    level = log.level
    with contextlib.ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        stack.enter_context(np.errstate(all="ignore"))
        warnings.simplefilter("ignore")
        if rng is not None:
            stack.enter_context(rng.seeded_globals())
            stack.enter_context(mock.patch.object(np.random, "RandomState", _SeededState))
        log.setLevel(logging.CRITICAL)
        stack.callback(log.setLevel, level)
        yield
