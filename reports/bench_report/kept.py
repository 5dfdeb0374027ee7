"""Texts that take a library seconds to make and are the same every time, kept for the user."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections.abc import Callable
from pathlib import Path

from benchmark import write_whole

FOLDER = "~/.cache/unmask-bench/made"
"""Whatever BENCH_CACHE says: that may be a folder that others write to, and here lie scripts of pages."""


def kept(name: str, make: Callable[[], str]) -> str:
    """Return what `make` returns, made once for this user and read back from then on.

    A file that is damaged is made again, and so is one that another user has written, or anybody may. Without a home
    folder, or where nothing can be written, it is made each time.

    Args:
        name: all that the text depends on, such as the version of the library that makes it.
        make: makes it; called where it is not there yet.
    """
    path = None
    with contextlib.suppress(OSError, RuntimeError, UnicodeDecodeError):  # RuntimeError: there is no home
        path = Path(FOLDER).expanduser() / hashlib.sha256(name.encode()).hexdigest()
        with path.open("rb") as file:
            seal, _, text = file.read().decode().partition("\n")
            if seal == _seal(name, text) and _is_ours(os.fstat(file.fileno())):
                return text
    text = make()
    if path is not None:
        with contextlib.suppress(OSError):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_whole(path, f"{_seal(name, text)}\n{text}".encode(), synced=False)
    return text


def _is_ours(about: os.stat_result) -> bool:
    return not hasattr(os, "getuid") or (about.st_uid == os.getuid() and not about.st_mode & stat.S_IWOTH)


def _seal(name: str, text: str) -> str:
    return hashlib.sha256(f"{name}\n{text}".encode()).hexdigest()
