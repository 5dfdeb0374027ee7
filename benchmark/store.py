"""The content-addressed store: finished artifacts by key, checksummed, shared between runs.

Layout of the cache folder::

    artifacts/<k[:2]>/<key>/     files of a finished task and artifact.json with their checksums
    partial/<key>/out, work      what an unfinished task has so far; survives an interruption
    locks/<key>                  held while a task is being worked on, or its artifact is taken away

Whatever lies there may be damaged: what is read is verified first, and what differs is made again.

At an address (`benchmark.remote`), artifacts have the same names. Beside it this machine keeps a cache folder, in which
tasks work and from which all is read: a copy of what was asked for, so that each artifact is fetched once per machine.
What is published goes to the address first; what is there, the address says.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import resource
import shutil
import uuid
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np

from benchmark.errors import BenchError, InputError, StorageError
from benchmark.files import HeldError, exclusive, file_digest, fsync, make_folder, remove, write_whole
from benchmark.remote import LEASE_SECONDS, Remote, is_url
from benchmark.wording import legible

FOLDERS = ("artifacts", "partial", "locks")
MANIFEST = "artifact.json"
MARK = "cache.json"
"""Says by which format a cache is to be read."""
FORMAT = 1
LISTING_SECONDS = 5.0
"""What an address is said to lack is asked again after so long."""
SIDE_BY_SIDE = 8
"""Artifacts that are fetched at the same time."""
FLUSH_SECONDS = 10.0
"""Arrays are written to disk at least this often: an interruption costs about that much."""
FLUSH_BYTES = 128 * 1024**2
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class DamagedArtifactError(BenchError):
    """An artifact's files differ from their checksums."""

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(f"artifact {key[:12]} is damaged: {reason}")
        self.key = key


def digest(*parts: Any) -> str:
    """Return the content key (64 hex digits) of JSON-like parts; equal parts give equal keys on every machine."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def default_cache() -> str:
    """Return the folder or the address of the cache: BENCH_CACHE, or ~/.cache/unmask-bench.

    Raises:
        InputError: this user has no home folder.
    """
    named = os.environ.get("BENCH_CACHE")
    return named if named and is_url(named) else str(_local_cache())


def _local_cache() -> Path:
    """Return the folder for caches on this machine: BENCH_CACHE where that is a folder, or ~/.cache/unmask-bench."""
    named = os.environ.get("BENCH_CACHE")
    try:
        return Path(named if named and not is_url(named) else "~/.cache/unmask-bench").expanduser()
    except RuntimeError:
        raise InputError(
            "there is no home folder to keep the cache in (HOME is not set, and the system knows none of this user). "
            "Name a folder by --cache DIR or the environment variable BENCH_CACHE."
        ) from None


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


class Store:
    """The cache: a folder, or an address and this machine's copy of it.

    Args:
        location: a folder, created when the first artifact is written, or an address such as `s3://bucket/folder`.
        lease: seconds after which a claim at an address has expired, if its owner does not renew it.

    Attributes:
        root: the folder, or that of the copy.

    Raises:
        InputError: its name is no UTF-8, or nothing that is installed opens such an address.
    """

    def __init__(self, location: str | Path, *, lease: float = LEASE_SECONDS) -> None:
        self.location = str(location)
        self._remote = Remote(self.location, lease) if is_url(self.location) else None
        self.root = Path(location)
        if self._remote is not None:
            self.root = _local_cache() / "copies" / digest(self._remote.url)[:16]
        self._verified: set[str] = set()
        self._there: set[str] = set()  # at the address, as far as is known
        self._manifests: dict[str, bytes] = {}  # read there ahead of time
        self._listed: float | None = None
        where = str(self.root.absolute())
        if legible(where) != where:
            raise InputError(
                f"the name of the cache folder {str(self.root)!r} is no UTF-8, and the libraries that read artifacts "
                "cannot open files there. Choose another by --cache DIR or the environment variable BENCH_CACHE."
            )

    def check(self) -> None:
        """Look whether the cache can be read, if there is one.

        Raises:
            InputError: a newer version wrote it.
            StorageError: the address does not answer.
        """
        mark = self._mark()
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

    def _mark(self) -> bytes | None:
        if self._remote is not None:
            return self._remote.read(MARK)
        try:
            return (self.root / MARK).read_bytes()
        except OSError:
            return None

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
            if self._remote is None and self._mark() != mark:
                write_whole(self.root / MARK, mark)
        except OSError as error:
            raise storage_error(error, self.root) or InputError(
                f"the cache folder {str(self.root)!r} cannot be written to: {error.strerror}. "
                "Choose another by --cache DIR or the environment variable BENCH_CACHE."
            ) from None
        if self._remote is not None and self._mark() != mark:
            self._remote.write(MARK, mark)

    def folder(self, key: str) -> Path:
        """Return where the finished artifact of `key` lies on this machine."""
        return self.root / _place(key)

    def has(self, key: str) -> bool:
        """Tell whether a finished artifact is there; its checksums are looked at by `open`.

        What appears at an address is seen within some seconds.

        Raises:
            StorageError: the address does not answer.
        """
        if self._remote is None:
            return (self.folder(key) / MANIFEST).is_file()
        if key not in self._there and (self._listed is None or monotonic() - self._listed > LISTING_SECONDS):
            self._there = {name.split("/")[1] for name in self._remote.list("artifacts") if name.endswith(MANIFEST)}
            self._listed = monotonic()
        return key in self._there

    def appeared(self, key: str) -> None:
        """Take note that another process has published an artifact."""
        self._there.add(key)

    def bring(self, keys: Collection[str], *, manifests_only: bool = False) -> None:
        """Fetch what is needed soon, side by side; what cannot be fetched is told by whoever opens it.

        Raises:
            StorageError: the address does not answer.
        """
        if self._remote is None:
            return
        away = [key for key in keys if not (self.folder(key) / MANIFEST).is_file() and self.has(key)]
        names = {f"{_place(key)}/{MANIFEST}": key for key in away if key not in self._manifests}
        self._manifests |= {names[name]: text for name, text in self._remote.read_many(list(names)).items()}
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
            if self._remote is None:
                raise
            manifest = _parsed(key, self._text_of(key))
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
                if self._remote is None:
                    raise
                self._fetch(key)
            self._verified.add(key)
        return self.folder(key)

    def _verify(self, key: str) -> None:
        """Hold what lies on this machine against its checksums.

        Raises:
            DamagedArtifactError: a file is missing, differs, or is none of the artifact's.
        """
        folder, files = self.folder(key), self._manifest(key)["files"]
        try:
            for name, (size, checksum) in files.items():
                file = folder / name
                if not file.is_file():
                    raise DamagedArtifactError(key, f"{name} is missing")
                if file.stat().st_size != size or file_digest(file) != checksum:
                    raise DamagedArtifactError(key, f"{name} differs from its checksum")
            for file in folder.rglob("*"):
                name = file.relative_to(folder).as_posix()
                # File systems and desktops leave hidden files anywhere.
                if file.is_file() and name not in files and name != MANIFEST and not file.name.startswith("."):
                    raise DamagedArtifactError(key, f"{name} is none of its files")
        except OSError as error:
            raise DamagedArtifactError(key, f"it cannot be read: {error.strerror or error}") from None

    def _fetch(self, key: str) -> None:
        """Copy an artifact from the address, unless another process of this machine has done so meanwhile.

        Raises:
            DamagedArtifactError: it is not there, or what is there is damaged.
            StorageError: the address does not answer, or no space is left here.
        """
        assert self._remote is not None
        with storing(self.root), contextlib.ExitStack() as held:
            make_folder(self.root / "locks")
            held.enter_context(exclusive(self.root / "locks" / f"{key}.copy", lambda holder: None))
            with contextlib.suppress(DamagedArtifactError):
                self._verify(key)
                return
            text = self._text_of(key)
            aside = self.root / "partial" / f"{key}.copy"
            remove(aside)
            make_folder(aside)
            self._remote.download(_place(key), aside, list(_parsed(key, text)["files"]))
            (aside / MANIFEST).write_bytes(text)
            target = self.folder(key)
            make_folder(target.parent)
            if os.path.lexists(target):
                remove(target)
            os.replace(aside, target)
            self._verify(key)

    def _try_to_fetch(self, key: str) -> None:
        with contextlib.suppress(DamagedArtifactError):
            self._fetch(key)

    def _text_of(self, key: str) -> bytes:
        """Return the manifest at the address, as it stands there.

        Raises:
            DamagedArtifactError: there is none.
        """
        assert self._remote is not None
        text = self._manifests.pop(key, None) or self._remote.read(f"{_place(key)}/{MANIFEST}")
        if text is None:
            self._there.discard(key)
            raise DamagedArtifactError(key, f"{MANIFEST} is missing or damaged")
        return text

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
        return _parsed(key, text)

    def discard(self, key: str, *, damaged_only: bool = False) -> bool:
        """Remove an artifact and what is half done of it; return whether it has to be made anew.

        What another process is at work on stays: that one is just making it anew.

        Args:
            damaged_only: verify it first, and leave it where it is intact, since another process has made it again.

        Raises:
            StorageError: the address does not answer.
        """
        self._verified.discard(key)
        try:
            with self._alone(key, waiting=None):
                if damaged_only:
                    try:
                        self.open(key)
                        return False
                    except DamagedArtifactError:
                        pass
                if self._remote is not None:
                    place = _place(key)
                    names = self._remote.list(place)
                    # In this order: without a manifest nobody takes it for whole.
                    self._remote.remove(f"{place}/{name}" for name in sorted(names, key=lambda name: name != MANIFEST))
                    self._there.discard(key)
                    self._manifests.pop(key, None)
                folder = self.folder(key)
                if os.path.lexists(folder):
                    aside = self.root / "partial" / f"{key}.discarded"
                    remove(aside)
                    make_folder(aside.parent)
                    os.replace(folder, aside)
                    remove(aside)
                remove(self.root / "partial" / key)
        except HeldError:
            pass
        return True

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
            if self._remote is not None:
                held.enter_context(self._remote.claimed(key, self._copy, waiting))
            yield

    @cached_property
    def _copy(self) -> str:
        """The name of this machine's copy, which its processes share and no other has."""
        file = self.root / "copy"
        with storing(self.root), contextlib.suppress(FileExistsError), open(file, "x") as new:
            new.write(uuid.uuid4().hex)
        return file.read_text() or uuid.uuid4().hex

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
            partial = self.root / "partial" / key
            building = Building(self, key, partial / "out", partial / "work")
            with building.storing():
                if anew:
                    remove(partial)
                make_folder(building.out)
                make_folder(building.work)
            yield building

    def _is_there(self, key: str) -> bool:
        """Tell whether an artifact is there at this moment; what only this machine has goes to the address."""
        if self._remote is None:
            return self.has(key)
        text = self._remote.read(f"{_place(key)}/{MANIFEST}")
        if text is None:
            try:
                self._verify(key)
            except DamagedArtifactError:
                return False
            self._upload(key, self.folder(key), self._manifest(key)["files"])
        else:
            self._manifests[key] = text
        self._there.add(key)
        return True

    def _upload(self, key: str, folder: Path, files: Iterable[str]) -> None:
        """Let an artifact appear at the address, its manifest last."""
        if self._remote is not None:
            self._remote.upload(folder, _place(key), list(files))
            self._remote.upload(folder, _place(key), [MANIFEST])
            self._there.add(key)


def _place(key: str) -> str:
    """Return where an artifact lies in a cache."""
    return f"artifacts/{key[:2]}/{key}"


def _parsed(key: str, text: bytes) -> dict[str, Any]:
    """Return what a manifest says.

    Raises:
        DamagedArtifactError: it is damaged.
    """
    try:
        manifest: dict[str, Any] = json.loads(text)
        body = {name: manifest[name] for name in ("key", "files", "meta")}
        if manifest["checksum"] != digest(body) or manifest["key"] != key:
            raise ValueError("checksum")
    except (ValueError, KeyError, TypeError):
        raise DamagedArtifactError(key, f"{MANIFEST} is missing or damaged") from None
    return manifest


@dataclass(frozen=True)
class Building:
    """An artifact in the making.

    Attributes:
        out: files that will be published.
        work: checkpoints that will not.
    """

    store: Store
    key: str
    out: Path
    work: Path

    def storing(self) -> contextlib.AbstractContextManager[None]:
        """Mark what the host writes here, or has a plugin `save` here.

        Raises:
            StorageError: no space is left.
        """
        return storing(self.store.root)

    def publish(self, meta: Mapping[str, Any]) -> None:
        """Checksum and fsync all files, then let the artifact appear in one rename.

        Where one is there already and has the same files, which is the rule, they are replaced one by one: whoever
        reads it meanwhile finds the same bytes. Other files replace it as a whole.

        Raises:
            StorageError: no space is left.
        """
        with self.storing():
            self._publish(meta)

    def _publish(self, meta: Mapping[str, Any]) -> None:
        files: dict[str, tuple[int, str]] = {}
        for file in sorted(self.out.rglob("*")):
            if file.is_file():
                fsync(file)
                files[file.relative_to(self.out).as_posix()] = (file.stat().st_size, file_digest(file))
        body = {"key": self.key, "files": files, "meta": dict(meta)}
        # The digest is taken of what a reader will parse: tuples have become lists by then.
        body = json.loads(json.dumps(body))
        manifest = self.out / MANIFEST
        manifest.write_text(json.dumps({**body, "checksum": digest(body)}, indent=1))
        fsync(manifest)
        fsync(self.out)
        self.store._upload(self.key, self.out, files)
        target = self.store.folder(self.key)
        make_folder(target.parent)
        if self._same_files(body["files"]):
            for name in (*files, MANIFEST):
                os.replace(self.out / name, target / name)
        else:
            aside = self.out.parent / "replaced"
            remove(aside)
            if os.path.lexists(target):
                os.replace(target, aside)
            os.replace(self.out, target)
        fsync(target.parent)
        remove(self.out.parent)
        self.store._verified.add(self.key)

    def _same_files(self, files: Mapping[str, Any]) -> bool:
        """Tell whether the artifact that is there, if any, is one of these files."""
        try:
            there: bool = self.store._manifest(self.key)["files"] == files
        except DamagedArtifactError:
            return False
        return there and all((self.store.folder(self.key) / name).is_file() for name in files)


class ArrayWriter:
    """Writes per-image arrays in parts, so that an interrupted task goes on after the last part.

    Args:
        building: where the parts go.
    """

    def __init__(self, building: Building) -> None:
        self._out = building.out
        self._log = building.work / "parts.jsonl"
        self._storing = building.storing
        self._pending: list[dict[str, np.ndarray]] = []
        self._bytes = 0
        self._last = monotonic()
        with self._storing():
            self.done = self._trusted_parts()
        """Images that are on disk from an earlier try."""

    def _trusted_parts(self) -> int:
        """Return how many images the intact parts cover; leave nothing but these parts and the lines about them."""
        done = 0
        trusted: dict[str, str] = {}
        if self._log.is_dir():
            remove(self._log)
        lines = self._log.read_text("ascii", "replace").splitlines() if self._log.exists() else []
        for line in lines:
            file = self._out / _part_name(done)
            try:
                stop, content, checksum = json.loads(line)
                if checksum != digest(done, stop, content) or file_digest(file) != content:
                    break
            except (OSError, ValueError, TypeError):
                break
            trusted[file.name] = line
            done = stop
        for file in self._out.iterdir():
            if file.name not in trusted:
                remove(file)
        # Lines after the first that is damaged would be taken for the parts that are written next.
        write_whole(self._log, "".join(f"{line}\n" for line in trusted.values()).encode())
        return done

    def add(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Add the next images' arrays (n, ...)."""
        kept = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        self._pending.append(kept)
        self._bytes += sum(array.nbytes for array in kept.values())
        if monotonic() - self._last > FLUSH_SECONDS or self._bytes > FLUSH_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what has been added since the last part."""
        if not self._pending:
            return
        from safetensors.numpy import save

        arrays = {name: np.concatenate([part[name] for part in self._pending]) for name in self._pending[0]}
        count = len(next(iter(arrays.values())))
        data = save(arrays)
        content, stop = hashlib.sha256(data).hexdigest(), self.done + count
        with self._storing():
            write_whole(self._out / _part_name(self.done), data)
            with open(self._log, "a") as log:
                log.write(json.dumps([stop, content, digest(self.done, stop, content)]) + "\n")
                log.flush()
                os.fsync(log.fileno())
        self.done = stop
        self._pending = []
        self._bytes = 0
        self._last = monotonic()


def _part_name(start: int) -> str:
    """Return the name of the part whose first image is number `start`."""
    return f"part-{start:09d}.safetensors"


class ArrayReader:
    """Reads per-image arrays that an `ArrayWriter` wrote, in slices.

    Args:
        folder: a verified artifact.
    """

    def __init__(self, folder: Path) -> None:
        from safetensors import safe_open

        self.folder = folder
        self._files = []
        self._starts: list[int] = []
        self.names: list[str] = []
        position = 0
        for path in sorted(folder.glob("part-*.safetensors")):
            file = safe_open(path, framework="numpy")
            self.names = sorted(file.keys())
            self._files.append(file)
            self._starts.append(position)
            position += int(file.get_slice(self.names[0]).get_shape()[0])
        self.count = position

    def __len__(self) -> int:
        return self.count

    def read(self, start: int = 0, stop: int | None = None, names: list[str] | None = None) -> dict[str, np.ndarray]:
        """Return the arrays of the images start to stop: (stop - start, ...) by name."""
        stop = self.count if stop is None else min(stop, self.count)
        pieces: dict[str, list[np.ndarray]] = {name: [] for name in names or self.names}
        for number, file in enumerate(self._files):
            first = self._starts[number]
            last = self._starts[number + 1] if number + 1 < len(self._starts) else self.count
            low, high = max(start, first), min(stop, last)
            if low < high:
                for name, list_ in pieces.items():
                    list_.append(file.get_slice(name)[low - first : high - first])
        return {name: np.concatenate(list_) if len(list_) != 1 else list_[0] for name, list_ in pieces.items()}

    def take(self, name: str, indices: Sequence[int]) -> np.ndarray:
        """Return the array `name` of single images: (len(indices), ...), in that order."""
        rows = []
        for index in indices:
            number = bisect_right(self._starts, index) - 1
            rows.append(self._files[number].get_slice(name)[index - self._starts[number]])
        return np.stack(rows)
