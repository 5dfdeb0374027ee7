"""What an artifact is: a folder of files, and a manifest with their checksums and its own."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from benchmark.errors import BenchError
from benchmark.files import file_digest

MANIFEST = "artifact.json"
_KEY = re.compile(r"[0-9a-f]{64}")


class DamagedArtifactError(BenchError):
    """An artifact's files differ from their checksums."""

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(f"artifact {key[:12]} is damaged: {reason}")
        self.key = key


def digest(*parts: Any) -> str:
    """Return the content key (64 hex digits) of JSON-like parts; equal parts give equal keys on every machine."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def is_key(text: Any) -> bool:
    """Tell whether something is a content key."""
    return isinstance(text, str) and _KEY.fullmatch(text) is not None


def place(key: str) -> str:
    """Return where an artifact lies in a cache.

    Raises:
        ValueError: it is no content key, and so might be any place.
    """
    if not is_key(key):
        raise ValueError(f"{key!r} is no content key")
    return f"artifacts/{key[:2]}/{key}"


def key_of(name: str, *, manifest: bool = False) -> str | None:
    """Return the key of the artifact that a file below `artifacts` is of; None for what is none of ours.

    Args:
        name: of the file, within `artifacts`.
        manifest: of which it must be the manifest.
    """
    found = re.fullmatch(r"([0-9a-f]{2})/(\1[0-9a-f]{62})/(.+)", name)
    return None if found is None or (manifest and found[3] != MANIFEST) else found[2]


def parsed(key: str, text: bytes) -> dict[str, Any]:
    """Return what a manifest says.

    Raises:
        DamagedArtifactError: it is damaged.
    """
    try:
        manifest: dict[str, Any] = json.loads(text)
        body = {name: manifest[name] for name in ("key", "files", "meta")}
        if manifest["checksum"] != digest(body) or manifest["key"] != key:
            raise ValueError("checksum")
        if not isinstance(manifest["meta"], dict) or not all(map(_is_file, manifest["files"].items())):
            raise ValueError("names")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise DamagedArtifactError(key, f"{MANIFEST} is missing or damaged") from None
    return manifest


def _is_file(entry: tuple[str, Any]) -> bool:
    """Tell whether a manifest's entry is a file within its artifact, on any system, with a size and a checksum.

    Whoever writes to an address could name any file of the machines that read from it.
    """
    name, about = entry
    size, checksum = about
    within = PureWindowsPath(name)
    return (
        not within.anchor
        and ".." not in within.parts
        and PurePosixPath(name).as_posix() == name != "."
        and "\0" not in name
        and isinstance(size, int)
        and isinstance(checksum, str)
    )


def check_files(key: str, folder: Path, files: Mapping[str, tuple[int, str]]) -> None:
    """Hold the files of an artifact against their sizes and checksums.

    Raises:
        DamagedArtifactError: a file is missing, differs, or is none of the artifact's.
    """
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
