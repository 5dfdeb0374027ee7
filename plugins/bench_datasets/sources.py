"""Image files in a directory, a .zip or a .tar: listed once, read one at a time, never extracted.

Names inside archives are keys and never become paths. Handles are opened in the process that reads.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import stat
import struct
import tarfile
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, NoReturn

from benchmark import (
    FORMATS,
    InputError,
    Mistakes,
    PassedOver,
    begins_as_image,
    is_called_image,
    is_hidden,
    is_image,
)

_TAR_SUFFIXES: dict[str, Callable[..., Any]] = {
    ".tar": open, ".tar.gz": gzip.open, ".tgz": gzip.open, ".tar.bz2": bz2.open, ".tbz2": bz2.open,
    ".tar.xz": lzma.open, ".txz": lzma.open,
}  # fmt: skip
ARCHIVE_SUFFIXES = (".zip", *_TAR_SUFFIXES)

_MOST_FILE_BYTES = 256 * 2**20
_HEAD_BYTES = 32
_MOST_HELD_BYTES = 2**30
DAMAGE = (
    OSError, EOFError, ValueError, RuntimeError, OverflowError, struct.error, zlib.error, lzma.LZMAError,
    zipfile.BadZipFile, tarfile.TarError,
)  # fmt: skip
"""What Python's readers raise for archives that are damaged, encrypted or of an unknown kind."""

_digests: dict[tuple[str, int, int, int], str] = {}
"""(path, size, modification time, offset) → digest: each file is read once per process for its fingerprint."""


@dataclass(frozen=True, slots=True)
class Member:
    """An image file of a source.

    Attributes:
        parts: the parts of its name, folders first; never a path.
        key: what the source finds it by.
        content: digest of its bytes where the listing has one.
    """

    parts: tuple[str, ...]
    key: Any
    content: str | None = None


class Source(ABC):
    """A place that holds image files."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @abstractmethod
    def members(self, passed_over: PassedOver) -> list[Member]:
        """Return all image files, sorted by name: what is an image by its content, and what is called one.

        Args:
            passed_over: is told of the other files.

        Raises:
            InputError: the place cannot be read, or files in it cannot be; one message tells all of them.
        """

    @abstractmethod
    def read(self, member: Member) -> bytes:
        """Return the bytes of a file.

        Raises:
            InputError: it cannot be read; the message names it.
        """

    def content(self, member: Member) -> str:
        """Return a digest of the bytes of a file.

        Raises:
            InputError: it cannot be read, or does not begin as an image does.
        """
        if member.content is not None:
            self._check_head(member, self._head(member))
            return member.content
        key = self._identity(member)
        if key not in _digests:
            content = self.read(member)
            self._check_head(member, content[:_HEAD_BYTES])
            _digests[key] = "sha256:" + sha256(content).hexdigest()
        return _digests[key]

    def where(self, member: Member) -> str:
        """Return the place of a file, for messages."""
        return f"{self.path}: {printable('/'.join(member.parts))}"

    def _identity(self, member: Member) -> tuple[str, int, int, int]:
        raise NotImplementedError

    def _refuse(self, member: Member, reason: object) -> NoReturn:
        raise InputError(f"{self.where(member)}: damaged image file: {reason}. Replace it, or remove it.")

    def _head(self, member: Member) -> bytes:
        return self.read(member)[:_HEAD_BYTES]

    def _check_head(self, member: Member, head: bytes) -> None:
        if not begins_as_image(head):
            self._refuse(member, f"not an image of a known format ({', '.join(FORMATS)})")

    def _check_size(self, member: Member, size: int) -> None:
        if size == 0:
            self._refuse(member, "it is empty")
        if size > _MOST_FILE_BYTES:
            self._refuse(member, f"it has {size} bytes, more than {_MOST_FILE_BYTES} are not read as one image")


class Directory(Source):
    """Image files below a directory. Symbolic links are followed, except those that lead round in a circle."""

    def members(self, passed_over: PassedOver) -> list[Member]:
        """Return all image files below the directory."""
        mistakes = Mistakes(str(self.path))
        try:
            found = sorted(self._below(self.path, (), (), passed_over, mistakes), key=lambda member: member.parts)
        except OSError as error:
            raise InputError(f"{error.filename or self.path}: cannot be read: {error.strerror or error}.") from None
        mistakes.raise_if_any()
        return found

    def _below(
        self,
        folder: Path,
        parts: tuple[str, ...],
        above: tuple[tuple[int, int], ...],
        passed_over: PassedOver,
        mistakes: Mistakes,
    ) -> Iterator[Member]:
        status = folder.stat()
        if (status.st_dev, status.st_ino) in above:
            raise InputError(f"{folder}: a symbolic link that leads back to a folder above it. Remove it.")
        with os.scandir(folder) as entries:
            for entry in entries:
                if is_hidden(entry.name):
                    passed_over.add(entry.name)
                    continue
                name = (*parts, entry.name)
                if entry.is_dir():
                    here = (status.st_dev, status.st_ino)
                    yield from self._below(Path(entry.path), name, (*above, here), passed_over, mistakes)
                    continue
                called = is_called_image(entry.name)
                member = Member(name, "/".join(name))
                if entry.is_file() and (called or is_image(Path(entry.path))):
                    yield member
                elif called and entry.is_symlink():
                    mistakes.add(
                        "broken link", f"{self.where(member)}: a symbolic link to nothing, or to no file. Remove it."
                    )
                else:
                    passed_over.add(entry.name)

    def read(self, member: Member) -> bytes:
        """Return the bytes of a file."""
        try:
            with open(self.path / member.key, "rb") as file:
                self._check_size(member, os.fstat(file.fileno()).st_size)
                return file.read(_MOST_FILE_BYTES)
        except OSError as error:
            self._refuse(member, error.strerror or error)

    def _identity(self, member: Member) -> tuple[str, int, int, int]:
        path = self.path / member.key
        try:
            status = path.stat()
        except OSError as error:
            self._refuse(member, error.strerror or error)
        return str(path.absolute()), status.st_size, status.st_mtime_ns, -1


class Archive(Source):
    """Image files in one archive file."""

    def members(self, passed_over: PassedOver) -> list[Member]:
        """Return all image files of the archive; of equal names the last one counts, as when unpacking."""
        mistakes = Mistakes(str(self.path))
        found: dict[tuple[str, ...], Member] = {}
        try:
            for listed in self._listed(passed_over):
                if isinstance(listed, InputError):
                    mistakes.add("unusable file", str(listed))
                else:
                    found[listed.parts] = listed
        except DAMAGE as error:
            raise InputError(
                f"{self.path}: cannot be read as an archive: {str(error) or type(error).__name__}. "
                "Fetch or pack it again."
            ) from None
        mistakes.raise_if_any()
        return [found[parts] for parts in sorted(found)]

    @abstractmethod
    def _listed(self, passed_over: PassedOver) -> Iterator[Member | InputError]:
        """List the image files in the order of the archive, and what is wrong with those that cannot be read."""

    def _parts(self, name: str, content: Callable[[], bytes], passed_over: PassedOver) -> tuple[str, ...] | None:
        """Return the parts of a member's name, or None if it is no image or hidden."""
        parts = tuple(part for part in name.replace("\\", "/").split("/") if part not in ("", "."))
        if not parts:
            return None
        if any(map(is_hidden, parts)):
            passed_over[PassedOver.HIDDEN] += 1
            return None
        if not is_called_image(parts[-1]) and not is_image(content()):
            passed_over.add(parts[-1])
            return None
        if ".." in parts or name.startswith(("/", "\\")):
            raise InputError(
                f"{self.path}: {printable(name)!r} points outside of the archive. Such names are refused; "
                "pack it again with names below one folder."
            )
        return parts


class Zip(Archive):
    """Image files in a .zip; the digests in its directory, which reading verifies, are the fingerprint."""

    _handle: tuple[int, zipfile.ZipFile] | None = None

    def _listed(self, passed_over: PassedOver) -> Iterator[Member | InputError]:
        for info in self._opened().infolist():
            try:
                if not info.is_dir() and (member := self._member(info, passed_over)) is not None:
                    yield member
            except InputError as error:
                yield error

    def _member(self, info: zipfile.ZipInfo, passed_over: PassedOver) -> Member | None:
        def content() -> bytes:
            readable = info.file_size <= _MOST_FILE_BYTES and not info.flag_bits & 0x1
            try:
                return self._opened().read(info) if readable else b""
            except DAMAGE:
                return b""

        parts = self._parts(info.filename, content, passed_over)
        if parts is None:
            return None
        member = Member(parts, info.filename, f"crc32:{info.CRC:08x}:{info.file_size}")
        self._check_size(member, info.file_size)
        if info.flag_bits & 0x1:
            raise InputError(f"{self.where(member)}: is encrypted. Pack the images without a password.")
        if stat.S_ISLNK(info.external_attr >> 16):
            raise InputError(f"{self.where(member)}: is a symbolic link. Pack the file itself.")
        return member

    def read(self, member: Member) -> bytes:
        """Return the bytes of a file, verified against its checksum."""
        try:
            return self._opened().read(member.key)
        except (*DAMAGE, KeyError) as error:
            self._refuse(member, str(error) or type(error).__name__)

    def _head(self, member: Member) -> bytes:
        try:
            with self._opened().open(member.key) as file:
                return file.read(_HEAD_BYTES)
        except (*DAMAGE, KeyError) as error:
            self._refuse(member, str(error) or type(error).__name__)

    def _opened(self) -> zipfile.ZipFile:
        # A handle inherited from a parent process shares its position in the file with it.
        if self._handle is None or self._handle[0] != os.getpid():
            self._handle = os.getpid(), zipfile.ZipFile(self.path)
        return self._handle[1]

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path}


class Tar(Archive):
    """Image files in a .tar, read at their offsets."""

    def _listed(self, passed_over: PassedOver) -> Iterator[Member | InputError]:
        with tarfile.open(self.path, "r:") as archive:
            for info in archive:
                try:
                    if (member := self._member(archive, info, passed_over)) is not None:
                        yield member
                except InputError as error:
                    yield error
            end = archive.offset
        with open(self.path, "rb") as file:
            # tarfile takes a damaged header for the end of the archive, and drops all that follows.
            file.seek(max(0, end))
            if file.read(tarfile.BLOCKSIZE).strip(b"\0"):
                raise InputError(f"{self.path}: damaged archive: no valid header at byte {end}. Fetch it again.")

    def _member(self, archive: tarfile.TarFile, info: tarfile.TarInfo, passed_over: PassedOver) -> Member | None:
        def content() -> bytes:
            return self._extracted(archive, info) if info.isreg() and info.size <= _MOST_FILE_BYTES else b""

        parts = None if info.isdir() else self._parts(info.name, content, passed_over)
        if parts is None:
            return None
        member = Member(parts, (info.offset_data, info.size))
        if info.issym() or info.islnk():
            raise InputError(
                f"{self.where(member)}: is a link to {printable(info.linkname)!r}; links in archives are not followed. "
                "Pack the files themselves (tar --dereference --hard-dereference)."
            )
        if not info.isreg() or info.issparse():
            raise InputError(f"{self.where(member)}: is not a plain file. Pack the files themselves.")
        self._check_size(member, info.size)
        return member

    def read(self, member: Member) -> bytes:
        """Return the bytes of a file."""
        offset, size = member.key
        try:
            with open(self.path, "rb") as file:
                file.seek(offset)
                content = file.read(size)
        except OSError as error:
            self._refuse(member, error.strerror or error)
        if len(content) < size:
            self._refuse(member, "the archive ends inside it")
        return content

    def _extracted(self, archive: tarfile.TarFile, info: tarfile.TarInfo) -> bytes:
        opened = archive.extractfile(info)
        return b"" if opened is None else opened.read()

    def _identity(self, member: Member) -> tuple[str, int, int, int]:
        status = self.path.stat()
        return str(self.path.absolute()), status.st_size, status.st_mtime_ns, member.key[0]


class CompressedTar(Tar):
    """Image files in a compressed .tar: unpacked into memory once, since they cannot be read at an offset."""

    def __init__(self, path: Path, opener: Callable[..., Any]) -> None:
        super().__init__(path)
        self._opener = opener
        self._held: dict[int, bytes] = {}
        self._last: tuple[int, bytes] = -1, b""

    def _listed(self, passed_over: PassedOver) -> Iterator[Member | InputError]:
        self._held, self._last, total = {}, (-1, b""), 0
        with self._opener(self.path, "rb") as file, tarfile.open(fileobj=file, mode="r|") as archive:
            for info in archive:
                try:
                    member = self._member(archive, info, passed_over)
                except InputError as error:
                    yield error
                    continue
                if member is None:
                    continue
                total += info.size
                if total > _MOST_HELD_BYTES:
                    raise InputError(
                        f"{self.path}: holds more than {_MOST_HELD_BYTES // 2**20} MiB of images, and a compressed "
                        ".tar has to be held in memory. Unpack it, or pack it as .zip or as a plain .tar."
                    )
                content = self._extracted(archive, info)
                if len(content) < info.size:
                    self._refuse(member, "the archive ends inside it")
                self._held[info.offset_data] = content
                yield Member(member.parts, member.key, "sha256:" + sha256(content).hexdigest())
            while file.read(2**20):  # to the end, where the checksum is
                pass
        self._last = -1, b""

    def _extracted(self, archive: tarfile.TarFile, info: tarfile.TarInfo) -> bytes:
        if self._last[0] != info.offset_data:  # a stream gives what it holds once
            self._last = info.offset_data, super()._extracted(archive, info)
        return self._last[1]

    def read(self, member: Member) -> bytes:
        """Return the bytes of a file."""
        return self._held[member.key[0]]


def source(path: Path) -> Source:
    """Return the source at `path`: a directory, or an archive by the ending of its name.

    Raises:
        InputError: it is neither.
    """
    if path.is_dir():
        return Directory(path)
    suffix = archive_suffix(path.name)
    if suffix is None:
        raise InputError(f"{path}: neither a directory nor an archive. Allowed endings: {', '.join(ARCHIVE_SUFFIXES)}.")
    if suffix == ".zip":
        return Zip(path)
    return Tar(path) if suffix == ".tar" else CompressedTar(path, _TAR_SUFFIXES[suffix])


def archive_suffix(name: str) -> str | None:
    """Return the ending by which `name` is an archive, the longest that fits, or None."""
    fitting = [suffix for suffix in ARCHIVE_SUFFIXES if name.lower().endswith(suffix)]
    return max(fitting, key=len) if fitting else None


def printable(name: str) -> str:
    """Return `name` without what a terminal, a table or UTF-8 could stumble over."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in name)
