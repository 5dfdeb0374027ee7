"""The content-addressed store: finished artifacts by key, checksummed, shared between runs.

Layout of the cache folder::

    artifacts/<k[:2]>/<key>/     files of a finished task and artifact.json with their checksums
    partial/<key>, <key>.work    what an unfinished task has so far, and its checkpoints; survives an interruption
    locks/<key>                  held while a task is being worked on, or its artifact is taken away
    locks/run-<mark>             held while a run has other machines work in the folder
    runs/<name>.json             what a run asked for (`benchmark.holdings`)

Whatever lies there may be damaged: what is read is verified first, and what differs is made again.

At an address (`remote`), artifacts have the same names. Beside it this machine keeps a cache folder, in which
tasks work and from which all is read: a copy of what was asked for, so that each artifact is fetched once per machine.
What is published goes to the address last; what is there, the address says (`originals`).
"""

from __future__ import annotations

import contextlib
import json
import os
import time
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from benchmark.errors import InputError
from benchmark.files import (
    ASIDE_SECONDS,
    HeldError,
    exclusive,
    file_digest,
    fsync,
    make_folder,
    remove,
    storage_error,
    storing,
    sweep,
    write_whole,
)
from benchmark.store.artifact import MANIFEST, DamagedArtifactError, check_files, digest, parsed, place
from benchmark.store.location import absolute, check_location, is_address, local_cache, name_of_folder
from benchmark.store.objects import Folder
from benchmark.store.originals import Originals
from benchmark.store.remote import LEASE_SECONDS, Remote
from benchmark.wording import legible

SYNC_SECONDS = 1.0
"""What took so long to make is not left to the next power cut."""
FOLDERS = ("artifacts", "partial", "locks", "runs")
MARKED = "run-"
"""So begin the names of the locks by which machines know that they share a folder."""
MARK = "cache.json"
"""Says by which format a cache is to be read."""
FORMAT = 1
SIDE_BY_SIDE = 8
"""Artifacts that are fetched at the same time."""


class Store:
    """The cache: a folder, or an address and this machine's copy of it.

    Args:
        location: a folder, created when the first artifact is written, or an address such as `s3://bucket/folder`.
        lease: seconds after which a claim at an address has expired, if its owner does not renew it.

    Attributes:
        root: the folder, or that of the copy.
        objects: what lies in the folder, or at the address, by name.

    Raises:
        InputError: its name is no UTF-8, an address has a password in it, or nothing that is installed opens such.
        StorageError: the address does not answer.
    """

    def __init__(self, location: str | Path, *, lease: float = LEASE_SECONDS) -> None:
        self.location = str(location)
        check_location(self.location)
        self.root = Path(location)
        self.objects: Folder | Remote = Folder(self.root)
        self._originals: Originals | None = None
        if is_address(self.location):
            self.objects = remote = Remote(self.location, lease)
            self.root = local_cache() / "copies" / digest(remote.url)[:16]
            self._originals = Originals(remote)
        self._verified: set[str] = set()
        where = str(self.root.absolute())
        if legible(where) != where:
            raise InputError(
                f"the name of the cache folder {str(self.root)!r} is no UTF-8, and the libraries that read artifacts "
                "cannot open files there. Choose another by --cache DIR or the environment variable BENCH_CACHE."
            )

    @property
    def place(self) -> str:
        """The address, or the folder as it is called from wherever a process is at work."""
        return absolute(self.location)

    def check(self) -> None:
        """Look whether the cache can be read, if there is one.

        Raises:
            InputError: a newer version wrote it.
            StorageError: the address does not answer.
        """
        mark = self.objects.read(MARK)
        if mark is None:
            return
        try:
            found = int(json.loads(mark)["format"])
        except (ValueError, KeyError, TypeError):
            return  # damage: it is written again
        if found > FORMAT:
            raise InputError(
                f"the cache {self.location!r} was written by a newer version of unmask-bench (format {found}; this one "
                f"reads {FORMAT}). Update unmask-bench, or choose another cache by --cache or BENCH_CACHE."
            )

    def prepare(self) -> None:
        """Look whether the cache can be read, and create its folders.

        Raises:
            InputError: the folder cannot be written to, or a newer version wrote it.
            StorageError: the address does not answer.
        """
        self.check()
        mark = json.dumps({"format": FORMAT}).encode()
        try:
            for folder in FOLDERS:
                (self.root / folder).mkdir(parents=True, exist_ok=True)
            probe = self.root / "locks" / f".probe-{os.getpid()}"
            probe.write_bytes(b"")
            probe.unlink()
            if self._originals is None and self.objects.read(MARK) != mark:
                write_whole(self.root / MARK, mark)
            for swept in (self.root, self.root / "runs"):
                sweep(swept)
            self._sweep_marks()
        except OSError as error:
            raise storage_error(error, self.root) or InputError(
                f"the cache folder {str(self.root)!r} cannot be written to: {error.strerror}. "
                "Choose another by --cache DIR or the environment variable BENCH_CACHE."
            ) from None
        if self._originals is not None and self.objects.read(MARK) != mark:
            self.objects.write(MARK, mark)

    def folder(self, key: str) -> Path:
        """Return where the finished artifact of `key` lies on this machine."""
        return self.root / place(key)

    def has(self, key: str) -> bool:
        """Tell whether a finished artifact is there; its checksums are looked at by `open`.

        What appears at an address is seen within some seconds.

        Raises:
            StorageError: the address does not answer.
        """
        return self._is_here(key) if self._originals is None else self._originals.has(key)

    def _is_here(self, key: str) -> bool:
        return (self.folder(key) / MANIFEST).is_file()

    def appeared(self, key: str) -> None:
        """Take note that another process has published an artifact."""
        if self._originals is not None:
            self._originals.appeared(key)

    def bring(self, keys: Collection[str], *, manifests_only: bool = False) -> None:
        """Fetch what is needed soon, side by side; what cannot be fetched is told by whoever opens it.

        Raises:
            StorageError: the address does not answer.
        """
        if self._originals is None:
            return
        away = [key for key in keys if not self._is_here(key) and self.has(key)]
        self._originals.read_ahead(away)
        if not manifests_only:
            with ThreadPoolExecutor(SIDE_BY_SIDE) as fetching:
                list(fetching.map(self._try_to_fetch, away))

    def meta(self, key: str) -> dict[str, Any]:
        """Return what was recorded when the artifact was made (seconds, passes, memory).

        Raises:
            DamagedArtifactError: it is not there, or its manifest is damaged.
            StorageError: the address does not answer.
        """
        try:
            manifest = self._manifest(key)
        except DamagedArtifactError:
            if self._originals is None:
                raise
            manifest = self._originals.manifest(key)
        meta: dict[str, Any] = manifest["meta"]
        return meta

    def open(self, key: str) -> Path:
        """Return the folder of a finished artifact, after its checksums have been verified once in this process.

        Raises:
            DamagedArtifactError: a file is missing, differs, or is none of the artifact's.
            StorageError: the address does not answer.
        """
        if key not in self._verified:
            try:
                self._verify(key)
            except DamagedArtifactError:
                if self._originals is None:
                    raise
                self._fetch(key)
            self._verified.add(key)
        return self.folder(key)

    def _verify(self, key: str) -> None:
        """Hold what lies on this machine against its checksums.

        Raises:
            DamagedArtifactError: a file is missing, differs, or is none of the artifact's.
        """
        check_files(key, self.folder(key), self._manifest(key)["files"])

    def verify(self, key: str) -> None:
        """Hold an artifact against its checksums as it is in the folder or at the address, whatever copy is here.

        Raises:
            DamagedArtifactError: a file is missing, differs, or is none of the artifact's.
            StorageError: the address does not answer, or no space is left here.
        """
        if self._originals is None:
            self._verify(key)
            return
        aside = self.root / "partial" / f"{key}.verified"
        with storing(self.root), self._copying(key):
            remove(aside)
            try:
                check_files(key, aside, self._originals.download(key, aside)["files"])
            finally:
                remove(aside)

    def _fetch(self, key: str) -> None:
        """Copy an artifact from the address, unless another process of this machine has done so meanwhile.

        Raises:
            DamagedArtifactError: it is not there, or what is there is damaged.
            StorageError: the address does not answer, or no space is left here.
        """
        assert self._originals is not None
        with storing(self.root), self._copying(key):
            with contextlib.suppress(DamagedArtifactError):
                self._verify(key)
                return
            aside = self.root / "partial" / f"{key}.copy"
            remove(aside)
            self._originals.download(key, aside)
            target = self.folder(key)
            make_folder(target.parent)
            if os.path.lexists(target):
                remove(target)
            os.replace(aside, target)
            self._verify(key)

    @contextlib.contextmanager
    def _copying(self, key: str) -> Iterator[None]:
        """Keep other processes of this machine from copying the same artifact to the same place."""
        make_folder(self.root / "locks")
        with exclusive(self.root / "locks" / f"{key}.copy", lambda holder: None):
            yield

    def _try_to_fetch(self, key: str) -> None:
        with contextlib.suppress(DamagedArtifactError):
            self._fetch(key)

    def recheck(self, keys: Iterable[str]) -> DamagedArtifactError | None:
        """Verify anew those of the artifacts that this process has verified before; return what is wrong, if anything.

        For a task that failed: what it read may have been damaged, or taken away, after it was verified.
        """
        for key in keys:
            if key in self._verified:
                self._verified.discard(key)
                try:
                    self._verify(key)
                except DamagedArtifactError as error:
                    return error
                self._verified.add(key)
        return None

    def _manifest(self, key: str) -> dict[str, Any]:
        """Return the manifest on this machine.

        Raises:
            DamagedArtifactError: it is missing or damaged.
        """
        try:
            text = (self.folder(key) / MANIFEST).read_bytes()
        except OSError:
            raise DamagedArtifactError(key, f"{MANIFEST} is missing or damaged") from None
        return parsed(key, text)

    def discard(self, key: str, *, damaged_only: bool = False) -> bool:
        """Remove an artifact and what is half done of it; return whether it has to be made anew.

        What another process is at work on stays: that one is just making it anew.

        Args:
            damaged_only: verify it first, and leave it where it is intact, since another process has made it again.
                At an address, a copy of this machine that is intact takes the place of what is damaged there.

        Raises:
            StorageError: the address does not answer.
        """
        self._verified.discard(key)
        try:
            with self._alone(key, waiting=None):
                if damaged_only and self._is_sound(key):
                    return False
                self._take_away(key)
        except HeldError:
            pass
        return True

    def _is_sound(self, key: str) -> bool:
        """Tell whether an artifact is intact; at an address an intact copy of this machine puts it right first."""
        if self._originals is not None:
            self._originals.forget(key)
        try:
            try:
                self.verify(key)
            except DamagedArtifactError:
                if self._originals is None:
                    raise
                self._verify(key)
                self._originals.withdraw(key)
                self._upload(key)
            self.open(key)
        except DamagedArtifactError:
            return False
        return True

    def remove(self, key: str) -> bool:
        """Remove an artifact and what is half done of it; False where another process is at work on it.

        Raises:
            StorageError: the address does not answer.
        """
        self._verified.discard(key)
        try:
            with self._alone(key, waiting=None):
                self._take_away(key)
        except HeldError:
            return False
        return True

    def remove_unfinished(self, key: str) -> bool:
        """Remove what is half done of an artifact on this machine, and nothing of one that is there.

        False where another process is at work on it.
        """
        try:
            with storing(self.root), contextlib.ExitStack() as held:
                make_folder(self.root / "locks")
                for lock in (key, f"{key}.copy"):
                    held.enter_context(exclusive(self.root / "locks" / lock, None))
                for rest in (self.root / "partial").glob(f"{key}*"):
                    remove(rest)
        except HeldError:
            return False
        return True

    def _take_away(self, key: str) -> None:
        if self._originals is not None:
            self._originals.remove(key)
        folder = self.folder(key)
        if os.path.lexists(folder):
            aside = self.root / "partial" / f"{key}.discarded"
            remove(aside)
            make_folder(aside.parent)
            os.replace(folder, aside)
            remove(aside)
        remove(self.root / "partial" / key)
        remove(self.root / "partial" / f"{key}.work")

    @contextlib.contextmanager
    def _alone(self, key: str, waiting: Callable[[str], None] | None) -> Iterator[None]:
        """Keep other processes of this machine, and at an address other machines, from `key`.

        Raises:
            HeldError: another is at work on it, and `waiting` is None.
            StorageError: no space is left, or the address does not answer.
        """
        with contextlib.ExitStack() as held:
            with storing(self.root):
                make_folder(self.root / "locks")
                held.enter_context(exclusive(self.root / "locks" / key, waiting))
            if self._originals is not None:
                held.enter_context(self._originals.remote.claimed(key, self._copy_id, waiting))
            yield

    @cached_property
    def _copy_id(self) -> str:
        """What tells this machine's copy of an address from all others, those of its clones included."""
        with storing(self.root):
            make_folder(self.root)
            return name_of_folder(self.root)

    @contextlib.contextmanager
    def marked(self) -> Iterator[str]:
        """Let other machines see meanwhile that this is the folder; gives what `is_marked` asks for, "" at an address.

        The mark is a file with a name of its own, which no copy that was made of the folder before has.

        Raises:
            StorageError: no space is left.
        """
        if self._originals is not None:
            yield ""
            return
        mark = uuid.uuid4().hex
        with contextlib.ExitStack() as held:
            with storing(self.root):
                make_folder(self.root / "locks")
                file = self._mark(mark)
                held.enter_context(exclusive(file, lambda holder: None))
                held.callback(remove, file)
            yield mark

    def is_marked(self, mark: str) -> bool:
        """Tell whether this is the folder that another process, perhaps on another machine, has `marked`."""
        return self._mark(mark).is_file()

    def _mark(self, mark: str) -> Path:
        return self.root / "locks" / f"{MARKED}{mark}"

    def _sweep_marks(self) -> None:
        """Remove the marks of processes that were killed."""
        for file in (self.root / "locks").glob(f"{MARKED}*"):
            with contextlib.suppress(OSError, HeldError):  # somebody else has removed it, or is at work
                if time.time() - file.stat().st_mtime > ASIDE_SECONDS:
                    with exclusive(file, None):
                        remove(file)

    @contextlib.contextmanager
    def building(
        self, key: str, anew: bool = False, waiting: Callable[[str], None] = lambda holder: None
    ) -> Iterator[Building | None]:
        """Hold the lock of `key` while its artifact is made; gives None when it is there already, unless `anew`.

        A second process that wants the same artifact waits here, then finds it; `waiting` hears after some seconds who
        is at work on it. The artifact appears at `Building.publish`, in one rename; until then the one that is there
        stays.

        Raises:
            StorageError: no space is left, or the address does not answer.
        """
        with self._alone(key, waiting):
            if not anew and self._is_there(key):
                yield None
                return
            partial = self.root / "partial"
            out, work = partial / key, partial / f"{key}.work"
            with storing(self.root):
                if anew:
                    remove(out)
                    remove(work)
                resumed = os.path.lexists(out) or os.path.lexists(work)
                make_folder(out)
            building = Building(self, key, out, work, anew, resumed)
            yield building

    def _is_there(self, key: str) -> bool:
        """Tell whether an artifact is there at this moment; what only this machine has goes to the address."""
        if self._originals is not None and self._originals.has_now(key):
            return True
        if not self._is_here(key):
            return False
        try:
            self._verify(key)
        except DamagedArtifactError:
            return False
        self._upload(key)
        return True

    def _upload(self, key: str) -> None:
        """Let what this machine has appear at the address, if there is one."""
        if self._originals is not None:
            self._originals.upload(key, self.folder(key), self._manifest(key)["files"])


@dataclass(frozen=True)
class Building:
    """An artifact in the making.

    Attributes:
        out: files that will be published.
        work: checkpoints that will not; a folder only once `checkpoints` has been asked for.
        anew: it takes the place of one that is there.
        resumed: an earlier try has left something of it.
    """

    store: Store
    key: str
    out: Path
    work: Path
    anew: bool
    resumed: bool

    def checkpoints(self) -> Path:
        """Return the folder `work`, which is there now: most tasks are over before they have anything to keep in it.

        Raises:
            StorageError: no space is left.
        """
        with self.storing():
            make_folder(self.work)
        return self.work

    def storing(self) -> contextlib.AbstractContextManager[None]:
        """Mark what the host writes here, or has a plugin `save` here.

        Raises:
            StorageError: no space is left.
        """
        return storing(self.store.root)

    def publish(self, meta: Mapping[str, Any]) -> None:
        """Checksum all files, then let the artifact appear in one rename.

        What took long to make (`SYNC_SECONDS`, or more than one try) is seen on the disk before. Of what did not, a
        power cut may take some bytes: who reads it notices by its checksums, and to make it again costs less than to
        wait for the disk.

        Where one is there already and has the same files, they are replaced one by one: whoever reads it meanwhile
        finds the same bytes. Other files, such as parts of arrays that were cut at other images, replace it as a whole.

        Raises:
            StorageError: no space is left.
        """
        with self.storing():
            self._publish(meta)

    def _publish(self, meta: Mapping[str, Any]) -> None:
        files: dict[str, tuple[int, str]] = {}
        synced = self.resumed or meta.get("seconds", SYNC_SECONDS) >= SYNC_SECONDS
        for file in sorted(self.out.rglob("*")):
            if file.is_file():
                if synced:
                    fsync(file)
                files[file.relative_to(self.out).as_posix()] = (file.stat().st_size, file_digest(file))
        body = {"key": self.key, "files": files, "meta": dict(meta)}
        # The digest is taken of what a reader will parse: tuples have become lists by then.
        body = json.loads(json.dumps(body))
        manifest = self.out / MANIFEST
        manifest.write_text(json.dumps({**body, "checksum": digest(body)}, indent=1))
        if synced:
            fsync(manifest)
            fsync(self.out)
        target = self.store.folder(self.key)
        make_folder(target.parent)
        if self._same_files(body["files"]):
            for name in (*files, MANIFEST):
                os.replace(self.out / name, target / name)
        else:
            aside = self.store.root / "partial" / f"{self.key}.replaced"
            remove(aside)
            if os.path.lexists(target):
                os.replace(target, aside)
            os.replace(self.out, target)
            if os.path.lexists(aside):
                remove(aside)
        if synced:
            fsync(target.parent)
        for rest in (self.out, self.work):
            if os.path.lexists(rest):
                remove(rest)
        self.store._verified.add(self.key)
        # Last: what is finished stays here if the address does not answer, and goes there by the next try. Whoever was
        # suspended for so long that another has done his work keeps from replacing what that one has published.
        originals = self.store._originals
        if originals is not None and (self.anew or not originals.has_now(self.key)):
            self.store._upload(self.key)

    def _same_files(self, files: Mapping[str, Any]) -> bool:
        """Tell whether the artifact that is there, if any, is one of these files."""
        try:
            there: bool = self.store._manifest(self.key)["files"] == files
        except DamagedArtifactError:
            return False
        return there and all((self.store.folder(self.key) / name).is_file() for name in files)
