"""Memory of this process that nothing uses any more."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any


def give_back() -> None:
    """Give the system back what the C library keeps of memory that was freed.

    glibc keeps what lies below blocks that are still in use: some hundred megabytes of a training's activations, beside
    its weights. Other C libraries have no such function, and nothing is done.
    """
    if (trim := _trim()) is not None:
        trim(0)


@cache
def _trim() -> Any:
    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError):
        return None
