"""A cache that machines share, at an address such as `s3://bucket/folder`: its objects, and claims that expire.

They have the names that `store` gives to files, so that a folder may be copied to an address and back.
Whatever fsspec opens will do. Where it creates no object exclusively (S3 and Google Cloud Storage do), two machines may
now and then make the same artifact: twice the work, and the same content, of which the first that is there stays.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from benchmark.errors import BenchError, InputError, StorageError, first_line
from benchmark.files import WAITING_SECONDS, HeldError
from benchmark.store.objects import Stored

LEASE_SECONDS = 60.0
"""A claim that has not been renewed for so long is of a process that has died; one that lives renews it four times."""
EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs"}
"""Protocol → the extra of this distribution that opens it."""
RESOLUTION_SECONDS = 1.0
"""So exactly do stores tell when an object was written."""


class Remote:
    """The objects under an address.

    Args:
        url: such as `s3://bucket/folder`.
        lease: seconds after which a claim that is not renewed has expired.

    Raises:
        InputError: nothing that is installed opens such addresses.
        StorageError: the address does not answer.
    """

    def __init__(self, url: str, lease: float = LEASE_SECONDS) -> None:
        self.url, self._lease = url.rstrip("/"), lease
        self._opened: tuple[int, Any, str] | None = None
        if "::" in url:
            raise InputError(f"--cache {url}: one address is needed, not one within another ('::').")
        with self._talking():  # some connect at once
            pass

    def _open(self) -> tuple[Any, str]:
        """Return the file system, and the root within it: anew in a process that was forked from this one."""
        if self._opened is None or self._opened[0] != os.getpid():
            import fsspec

            protocol = self.url.partition("://")[0]
            try:
                # What others have written meanwhile is to be seen.
                found, root = fsspec.url_to_fs(self.url, use_listings_cache=False)
            except ImportError as error:
                extra = EXTRAS.get(protocol)
                cure = f"`pip install 'unmask-bench[{extra}]'` does" if extra else "Install what it names"
                raise InputError(f"--cache {self.url}: {error}. {cure}; or give a folder.") from None
            except ValueError as error:
                raise InputError(
                    f"--cache {self.url}: {error}. Give a folder, or an address that fsspec opens, such as "
                    "s3://BUCKET/FOLDER or gs://BUCKET/FOLDER."
                ) from None
            self._opened = os.getpid(), found, root.rstrip("/")
        return self._opened[1:]

    @contextlib.contextmanager
    def _talking(self) -> Iterator[tuple[Any, str]]:
        """Give the file system and the root; whatever goes wrong there is told in one message.

        Raises:
            StorageError: the address does not answer, or refuses.
        """
        try:
            yield self._open()
        except BenchError:
            raise
        except Exception as error:  # each kind of store raises kinds of its own
            kind, cure = type(error).__name__, "Finished work is kept: give the same command again once it answers."
            if isinstance(error, FileNotFoundError):
                what, cure = "does not exist", "Create the bucket, or name another by --cache or BENCH_CACHE."
            elif isinstance(error, PermissionError) or "Credential" in kind or "Token" in kind:
                what = "lets us not in"
                cure = "Set the credentials that it asks for (of S3: AWS_PROFILE, or AWS_ACCESS_KEY_ID and its secret)."
            else:
                what = "cannot be reached"
            raise StorageError(f"the cache {self.url} {what} ({first_line(error)}). {cure}") from error

    # -- objects --------------------------------------------------------------------------------------------------

    def read(self, name: str) -> bytes | None:
        """Return an object's content, None where there is none.

        Raises:
            StorageError: the address does not answer.
        """
        with self._talking() as (there, root):
            try:
                content: bytes = there.cat_file(f"{root}/{name}")
            except FileNotFoundError:
                return None
            return content

    def read_many(self, names: Sequence[str]) -> dict[str, bytes]:
        """Return the contents of those objects that are there, read side by side.

        Raises:
            StorageError: the address does not answer.
        """
        with self._talking() as (there, root):
            found = there.cat([f"{root}/{name}" for name in names], on_error="return") if names else {}
            contents = {}
            for name in names:
                content = found.get(f"{root}/{name}")
                if isinstance(content, bytes):
                    contents[name] = content
                elif content is not None and not isinstance(content, FileNotFoundError):
                    raise content
            return contents

    def write(self, name: str, content: bytes) -> None:
        """Write an object, whole or not at all.

        Raises:
            StorageError: the address does not answer.
        """
        with self._talking() as (there, root):
            there.pipe_file(f"{root}/{name}", content)

    def create(self, name: str, content: bytes) -> bool:
        """Write an object if there is none of its name, and tell whether it was written.

        Raises:
            StorageError: the address does not answer.
        """
        with self._talking() as (there, root):
            try:
                there.pipe_file(f"{root}/{name}", content, mode="create")
            except FileExistsError:
                return False
            return True

    def list(self, folder: str) -> dict[str, Stored]:
        """Return all objects below a folder, by their names within it.

        Raises:
            StorageError: the address does not answer, or there is no such bucket.
        """
        with self._talking() as (there, root):
            # The bucket may be missing, the folder in it need not be there yet.
            found = there.find(f"{root}/{folder}", detail=True)
            start = len(f"{there._strip_protocol(f'{root}/{folder}')}/")
            return {path[start:]: Stored(int(about["size"]), _written(about)) for path, about in found.items()}

    def remove(self, name: str) -> None:
        """Remove an object, if it is there.

        Raises:
            StorageError: the address does not answer.
        """
        with self._talking() as (there, root), contextlib.suppress(FileNotFoundError):
            there.rm_file(f"{root}/{name}")

    def upload(self, folder: Path, name: str, files: Sequence[str]) -> None:
        """Copy files of a local folder to a folder there.

        Raises:
            StorageError: the address does not answer.
        """
        if files:
            with self._talking() as (there, root):
                there.put([str(folder / file) for file in files], [f"{root}/{name}/{file}" for file in files])

    def download(self, name: str, folder: Path, files: Sequence[str]) -> None:
        """Copy files of a folder there to a local folder, those that are there.

        Raises:
            StorageError: the address does not answer.
        """
        for parent in {(folder / file).parent for file in files}:
            parent.mkdir(parents=True, exist_ok=True)
        if files:
            with self._talking() as (there, root), contextlib.suppress(FileNotFoundError):
                there.get([f"{root}/{name}/{file}" for file in files], [str(folder / file) for file in files])

    # -- claims ---------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def claimed(self, key: str, copy: str, waiting: Callable[[str], None] | None) -> Iterator[None]:
        """Hold the claim of `key` against other machines, and renew it meanwhile.

        An artifact's claims are numbered, and the highest counts. Who takes over an expired one creates the next
        number, which only one can. That it has expired is seen by its standing still, so clocks need not agree.

        Args:
            key: of an artifact.
            copy: name of the local copy whose lock of `key` the caller holds: a claim of that copy is of a process that
                has died.
            waiting: hears who holds it after some seconds, and then it is waited for; None does not wait, and goes by
                the time at which the address says that the claim was renewed.

        Raises:
            HeldError: it is held, and `waiting` is None.
            StorageError: the address does not answer.
        """
        number = self._acquired(key, copy, waiting)
        done = threading.Event()
        renewing = threading.Thread(target=self._renew, args=(key, number, copy, done), daemon=True)
        renewing.start()
        try:
            yield
        finally:
            done.set()
            renewing.join()
            with contextlib.suppress(StorageError):  # it expires
                # Ours last: while it is there, nobody takes an older one for the newest.
                for name in sorted(self.list(f"locks/{key}"), key=lambda name: (name.isdecimal(), len(name), name)):
                    if not name.isdecimal() or int(name) <= number:
                        self.remove(f"locks/{key}/{name}")

    def _acquired(self, key: str, copy: str, waiting: Callable[[str], None] | None) -> int:
        began = changed = time.monotonic()
        seen: tuple[int, bytes] = (0, b"")
        pause = 0.05
        while True:
            newest, content = self._newest(key)
            if (newest, content) != seen:
                seen, changed = (newest, content), time.monotonic()
            holder = _Claim.read(content, self._lease)
            standing = time.monotonic() - changed if waiting is not None else self._age(key, newest) if newest else 0.0
            if not newest or holder.copy == copy or standing > holder.lease:
                mine = newest + 1
                if self.create(f"locks/{key}/{mine}", _Claim(copy, self._lease).text(0)):
                    if self._newest(key)[0] == mine:
                        return mine
                    self.remove(f"locks/{key}/{mine}")  # it was freed and claimed again while we looked
                continue
            if waiting is None:
                raise HeldError(holder.words)
            if waiting is not _silent and time.monotonic() - began > WAITING_SECONDS:
                waiting(holder.words)
                waiting = _silent
            time.sleep(pause)
            pause = min(2 * pause, 2.0, self._lease / 8)

    def _age(self, key: str, number: int) -> float:
        """Return how long ago a claim was renewed, by the clock of the address alone; 0 where it tells no times."""
        mark = f"look-{uuid.uuid4().hex}"
        self.write(f"locks/{key}/{mark}", b"")
        try:
            found = self.list(f"locks/{key}")
        finally:
            self.remove(f"locks/{key}/{mark}")
        claim, now = found.get(str(number)), found.get(mark)
        if claim is None or now is None or not claim.written:
            return 0.0
        return now.written - claim.written - RESOLUTION_SECONDS

    def _newest(self, key: str) -> tuple[int, bytes]:
        """Return the highest number of a claim and its content; 0 where there is none."""
        newest = max((int(name) for name in self.list(f"locks/{key}") if name.isdecimal()), default=0)
        content = self.read(f"locks/{key}/{newest}") if newest else None
        return (newest, content) if content is not None else (0, b"")

    def _renew(self, key: str, number: int, copy: str, done: threading.Event) -> None:
        claim, beat = _Claim(copy, self._lease), 0
        while not done.wait(self._lease / 4):
            beat += 1
            with contextlib.suppress(StorageError):  # the next may get through
                self.write(f"locks/{key}/{number}", claim.text(beat))


def _silent(holder: str) -> None:
    """Say nothing: it has been said."""


@dataclass(frozen=True)
class _Claim:
    """Who holds a claim, and for how many seconds without renewing it."""

    copy: str
    lease: float
    words: str = "another process"

    @cached_property
    def _facts(self) -> dict[str, Any]:
        since = datetime.now(UTC).isoformat("T", "seconds")
        return {"pid": os.getpid(), "host": socket.gethostname(), "since": since}

    def text(self, beat: int) -> bytes:
        return json.dumps({"copy": self.copy, "lease": self.lease, **self._facts, "beat": beat}).encode()

    @classmethod
    def read(cls, content: bytes, lease: float) -> _Claim:
        """Return what a claim says; one that is damaged is held by somebody, for so long as ours would be."""
        try:
            found = json.loads(content)
            words = f"process {int(found['pid'])} on {found['host']}, since {found['since']}"
            return cls(str(found["copy"]), min(float(found["lease"]), 3600.0), words)
        except (ValueError, KeyError, TypeError):
            return cls("", lease)


def _written(about: dict[str, Any]) -> float:
    """Return when an object was written, by whichever name its store gives to that."""
    for name in ("LastModified", "mtime", "updated", "last_modified", "created"):
        value = about.get(name)
        if isinstance(value, datetime):
            return value.timestamp()
        if isinstance(value, int | float):
            return float(value)
        if isinstance(value, str):
            with contextlib.suppress(ValueError):
                return datetime.fromisoformat(value).timestamp()
    return 0.0
