"""Where the cache is: a folder, or an address such as `s3://bucket/folder`."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path

from benchmark.errors import InputError
from benchmark.store.artifact import digest

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.:-]+://")


def is_address(location: str) -> bool:
    """Tell an address from a folder."""
    return _ADDRESS.match(location) is not None


def absolute(location: str) -> str:
    """Return an address, or a folder as it is called from wherever a process is at work."""
    return location if is_address(location) else str(Path(location).absolute())


def shown(location: str) -> str:
    """Return an address as it may be told and written down: without what may be a secret in it."""
    if not is_address(location):
        return location
    protocol, _, rest = location.partition("://")
    rest, query, _ = rest.partition("?")
    secret = _secret(rest)
    return f"{protocol}://{'…@' * bool(secret)}{rest[len(secret) :]}{'?…' * bool(query)}"


def _secret(rest: str) -> str:
    """Return `user:password@` at the beginning of an address after its `://`, "" where there is none."""
    found = re.match(r"[^@/]*:(?!\d+(/|$))[^@]*@", rest)
    return "" if found is None else found[0]


def check_location(location: str) -> None:
    """Look whether a cache may be named so.

    Raises:
        InputError: an address has a password in it, or may have; manifests, reports and messages would tell it.
    """
    if shown(location) != location:
        protocol = location.partition("://")[0]
        raise InputError(
            f"--cache {shown(location)}: an address with a password or a query in it is not taken, since the run's "
            "manifest and messages tell the address. Leave it out, and give what is secret by the environment: that of "
            f"the store's own package, or fsspec's (such as FSSPEC_{protocol.upper()}_PASSWORD)."
        )


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


def name_of_folder(folder: Path) -> str:
    """Return what tells a folder from all others, on this machine and on clones of it, until the machine starts anew.

    Raises:
        OSError: it is not there.
    """
    try:
        drawn_at_start = Path("/proc/sys/kernel/random/boot_id").read_text()
    except OSError:  # another system than Linux
        drawn_at_start = ""
    about = folder.stat()
    return digest(socket.gethostname(), drawn_at_start, about.st_dev, about.st_ino)
