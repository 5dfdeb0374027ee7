"""Where the cache is: a folder, or an address such as `s3://bucket/folder`."""

from __future__ import annotations

import os
import re
from pathlib import Path

from benchmark.errors import InputError

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.:-]+://")


def is_address(location: str) -> bool:
    """Tell an address from a folder."""
    return _ADDRESS.match(location) is not None


def default_cache() -> str:
    """Return the folder or the address of the cache: BENCH_CACHE, or ~/.cache/unmask-bench.

    Raises:
        InputError: this user has no home folder.
    """
    named = os.environ.get("BENCH_CACHE")
    return named if named and is_address(named) else str(local_cache())


def local_cache() -> Path:
    """Return the folder for caches on this machine: BENCH_CACHE where that is a folder, or ~/.cache/unmask-bench."""
    named = os.environ.get("BENCH_CACHE")
    try:
        return Path(named if named and not is_address(named) else "~/.cache/unmask-bench").expanduser()
    except RuntimeError:
        raise InputError(
            "there is no home folder to keep the cache in (HOME is not set, and the system knows none of this user). "
            "Name a folder by --cache DIR or the environment variable BENCH_CACHE."
        ) from None
