"""Artifacts at an address, of which machines keep copies (`store`): which are there, and their manifests.

What is known of an address is kept in mind for as long as that cannot mislead anybody: an artifact that was seen there
is taken to be there until it is found missing, and what was missing is asked for again after some seconds.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmark.files import make_folder
from benchmark.store.artifact import MANIFEST, DamagedArtifactError, key_of, parsed, place
from benchmark.store.remote import Remote

LISTING_SECONDS = 5.0
"""What an address is said to lack is asked again after so long."""


class Originals:
    """The artifacts at an address; all methods raise a StorageError where it does not answer."""

    def __init__(self, remote: Remote) -> None:
        self.remote = remote
        self._there: set[str] = set()  # as far as is known
        self._manifests: dict[str, bytes] = {}  # read ahead of time
        self._listed: float | None = None

    def has(self, key: str) -> bool:
        """Tell whether an artifact is there; what appears is seen within some seconds."""
        if key not in self._there and (self._listed is None or time.monotonic() - self._listed > LISTING_SECONDS):
            self._there = {known for name in self.remote.list("artifacts") if (known := key_of(name, manifest=True))}
            self._listed = time.monotonic()
        return key in self._there

    def has_now(self, key: str) -> bool:
        """Ask whether an artifact is there at this moment."""
        text = self.remote.read(f"{place(key)}/{MANIFEST}")
        if text is not None:
            self._manifests[key] = text
            self._there.add(key)
        return text is not None

    def appeared(self, key: str) -> None:
        """Take note that another process has published an artifact."""
        self._there.add(key)

    def read_ahead(self, keys: Iterable[str]) -> None:
        """Read the manifests of artifacts, side by side, for the next who asks for them."""
        names = {f"{place(key)}/{MANIFEST}": key for key in keys if key not in self._manifests}
        self._manifests |= {names[name]: text for name, text in self.remote.read_many(list(names)).items()}

    def forget(self, key: str) -> None:
        """Let go of a manifest that was read ahead: what is there may be another by now."""
        self._manifests.pop(key, None)

    def manifest(self, key: str) -> dict[str, Any]:
        """Return what the manifest of an artifact says.

        Raises:
            DamagedArtifactError: there is none, or it is damaged.
        """
        return parsed(key, self._text(key))

    def _text(self, key: str) -> bytes:
        text = self._manifests.pop(key, None) or self.remote.read(f"{place(key)}/{MANIFEST}")
        if text is None:
            self._there.discard(key)
            raise DamagedArtifactError(key, f"{MANIFEST} is missing or damaged")
        return text

    def download(self, key: str, folder: Path) -> dict[str, Any]:
        """Copy an artifact to a folder, as it is, and return what its manifest says.

        Raises:
            DamagedArtifactError: its manifest is missing or damaged; files are looked at by whoever reads them.
            OSError: the folder cannot be written to.
        """
        text = self._text(key)
        manifest = parsed(key, text)
        make_folder(folder)
        self.remote.download(place(key), folder, list(manifest["files"]))
        (folder / MANIFEST).write_bytes(text)
        return manifest

    def upload(self, key: str, folder: Path, files: Iterable[str]) -> None:
        """Let an artifact appear, its manifest last."""
        self.remote.upload(folder, place(key), list(files))
        self.remote.upload(folder, place(key), [MANIFEST])
        self._there.add(key)

    def withdraw(self, key: str) -> None:
        """Take the manifest of an artifact away: nobody takes it for whole, while its files are being replaced."""
        self.remote.remove(f"{place(key)}/{MANIFEST}")

    def remove(self, key: str) -> None:
        """Remove an artifact."""
        self.withdraw(key)
        for name in self.remote.list(place(key)):
            self.remote.remove(f"{place(key)}/{name}")
        self._there.discard(key)
        self.forget(key)
