"""Files that appear whole or not at all, locks that say who holds them, and what a full disk is told by."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import resource
import shutil
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from benchmark.errors import InputError, StorageError

WAITING_SECONDS = 5.0
"""So long a lock is waited for without a word."""
ASIDE = ".aside"
ASIDE_SECONDS = 3600.0
"""So long after it was begun a file that is no more than begun will not be finished."""
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class HeldError(Exception):
    """Another process holds a lock; the text says which."""


@contextlib.contextmanager
def exclusive(path: Path, waiting: Callable[[str], None] | None) -> Iterator[None]:
    """Hold the lock that the file `path` stands for, against other processes and other callers in this one.

    Args:
        path: created if need be, and left behind; its text tells those who wait who holds it.
        waiting: hears who holds it after some seconds, and then it is waited for; None does not wait.

    Raises:
        HeldError: it is held, and `waiting` is None.
        OSError: the file cannot be made.
    """
    if path.is_dir():
        remove(path)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        _acquire(descriptor, waiting)
        holder = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "since": datetime.now(UTC).isoformat("T", "seconds"),
        }
        with contextlib.suppress(OSError):  # a full disk: who waits is told less
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps(holder).encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _acquire(descriptor: int, waiting: Callable[[str], None] | None) -> None:
    since = time.monotonic()
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if waiting is None:
                raise HeldError(_holder(descriptor)) from None
        if time.monotonic() - since > WAITING_SECONDS:
            waiting(_holder(descriptor))
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            return
        time.sleep(0.05)


def _holder(descriptor: int) -> str:
    try:
        found = json.loads(os.pread(descriptor, 4096, 0))
        return f"process {int(found['pid'])} on {found['host']}, since {found['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"


def remove(path: Path) -> None:
    """Remove a file, a link or a folder with all that is in it; nothing is there afterwards, whoever else removes it.

    Raises:
        OSError: it cannot be removed.
    """
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
        if path.exists():
            shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def make_folder(path: Path) -> None:
    """Make a folder, in place of a file that lies where it or its parent belongs.

    Raises:
        OSError: it cannot be made.
    """
    for place in (path.parent, path):
        if os.path.lexists(place) and not place.is_dir():
            remove(place)
    path.mkdir(parents=True, exist_ok=True)


def write_whole(path: Path, content: bytes, *, synced: bool = True, own: bool = True) -> None:
    """Write a file, whole or not at all.

    Args:
        path: the file.
        content: of the file.
        synced: whole even where the machine loses its power. Waiting for the disk is most of what a small file costs,
            and not worth it for one that is named by its content: whoever reads it notices the damage.
        own: a folder in its place is damage, and makes room. Where somebody else chose the path, it stays.

    Raises:
        OSError: it cannot be written.
    """
    if not own and path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    # A name of its own: others may be writing the same file.
    aside = path.with_name(f".{path.name[:200]}.{uuid.uuid4().hex[:16]}{ASIDE}")
    try:
        with open(aside, "wb") as file:
            file.write(content)
            if synced:
                file.flush()
                os.fsync(file.fileno())
        if path.is_dir():  # damage: no file of ours is a folder
            remove(path)
        os.replace(aside, path)
    finally:
        with contextlib.suppress(OSError):
            aside.unlink()


def is_aside(name: str) -> bool:
    """Tell whether a file is what a `write_whole` that was killed has left behind."""
    return name.startswith(".") and name.endswith(ASIDE)


def sweep(folder: Path) -> None:
    """Remove what `write_whole`s that were killed have left in a folder, which may be missing."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if is_aside(entry.name):
                with contextlib.suppress(OSError):  # somebody else has removed it
                    if time.time() - entry.stat(follow_symlinks=False).st_mtime > ASIDE_SECONDS:
                        os.unlink(entry.path)


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's content."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


_known: dict[tuple[str, tuple[int, ...]], str] = {}


def known_digest(path: Path) -> str:
    """Return the SHA-256 of an input file's content: read once per process, as long as the file looks the same.

    Raises:
        OSError: it cannot be read.
        InputError: somebody is writing to it.
    """
    name, looks = str(path.absolute()), _looks(path)
    if (name, looks) not in _known:
        found = file_digest(path)
        if _looks(path) != looks:
            raise InputError(f"{str(path)!r} was written to while it was read. Wait until it is whole.")
        _known[name, looks] = found
    return _known[name, looks]


def _looks(path: Path) -> tuple[int, ...]:
    about = path.stat()  # the time of the last change of anything: unlike mtime, nobody sets it back
    return about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns


def fsync(path: Path) -> None:
    """See a file, or the names in a folder, on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def storage_error(error: BaseException, where: Path) -> StorageError | None:
    """Return the message for a write under `where` that failed for want of space or by a limit, None for other errors.

    Ask only about what the host writes: a plugin's scratch folder may be full while there is room here.
    """
    from safetensors import SafetensorError

    if isinstance(error, OSError):
        named = error.filename if isinstance(error.filename, str) else where
        code = error.errno if Path(named).absolute().is_relative_to(where.absolute()) else None
    else:
        told = str(error) if isinstance(error, SafetensorError) else ""
        code = next((code for code in FULL if f"(os error {code})" in told), None)
    if code not in FULL:
        return None
    elsewhere = "hoose another place by --cache or --output"
    limit, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    if code != errno.EFBIG:
        try:
            room = f"{shutil.disk_usage(where).free / 1024**3:.2f} GiB free"
        except OSError:
            room = "free space unknown"
        what = "no space left to write" if code == errno.ENOSPC else "nothing of the disk quota is left to write"
        cure = f"Free some space or c{elsewhere}"
    else:
        what = "a file would grow beyond the largest that may be written"
        room, cure = f"{limit:,} bytes by `ulimit -f`", "Raise that limit"
        if limit == resource.RLIM_INFINITY:
            room, cure = "the file system's", f"C{elsewhere}"
    return StorageError(
        f"{what} under {str(where)!r} ({room}). Finished work is kept. {cure}, then give the same command again: it "
        "goes on where it stopped."
    )


@contextlib.contextmanager
def storing(where: Path) -> Iterator[None]:
    """Mark what the host writes under `where`: a full disk there ends the run, one that a plugin meets its cells only.

    Raises:
        StorageError: no space is left.
    """
    try:
        yield
    except Exception as error:
        full = storage_error(error, where)
        if full is None:
            raise
        raise full from error
