"""What an artifact is: a folder of files, and a manifest with their checksums and its own."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmark.errors import BenchError
from benchmark.files import file_digest

MANIFEST = "artifact.json"


class DamagedArtifactError(BenchError):
    """An artifact's files differ from their checksums."""

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(f"artifact {key[:12]} is damaged: {reason}")
        self.key = key


def digest(*parts: Any) -> str:
    """Return the content key (64 hex digits) of JSON-like parts; equal parts give equal keys on every machine."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def place(key: str) -> str:
    """Return where an artifact lies in a cache."""
    return f"artifacts/{key[:2]}/{key}"


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
    except (ValueError, KeyError, TypeError):
        raise DamagedArtifactError(key, f"{MANIFEST} is missing or damaged") from None
    return manifest


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
