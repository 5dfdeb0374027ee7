"""Folders of pictures, in every form in which a place may hold them."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

Files = dict[str, bytes]

FORMS = ("", ".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")


def pixels(seed: int, shape: tuple[int, ...] = (6, 5, 3)) -> np.ndarray:
    return np.random.RandomState(seed).randint(0, 256, shape).astype(np.uint8)


def png(array: np.ndarray, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, kind, **options)
    return buffer.getvalue()


def images(classes: tuple[str, ...] = ("bee", "ant"), count: int = 10, first: int = 0) -> Files:
    seeds = iter(range(first, first + count * len(classes)))
    return {f"{name}/{number:02}.png": png(pixels(next(seeds))) for name in classes for number in range(count)}


def below(top: str, files: Files) -> Files:
    return {f"{top}/{name}": data for name, data in files.items()}


def pack(path: Path, files: Files) -> Path:
    """Write `files` into a directory, or into the archive that the name of `path` asks for."""
    if path.name.endswith(".zip"):
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in files.items():
                archive.writestr(name, data)
    elif ".t" in path.name:
        mode = {"tgz": "gz", "tar": ""}.get(path.name.rpartition(".")[2], path.name.rpartition(".")[2])
        with tarfile.open(path, f"w:{mode}") as archive:
            for name, data in files.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
    else:
        for name, data in files.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(data)
    return path


def all_of(split) -> dict[str, np.ndarray]:
    """Return name → (H, W, 3) uint8 pixels."""
    x = split.images(range(len(split))).permute(0, 2, 3, 1).numpy() * 255
    return dict(zip(split.sample_ids(range(len(split))), x.round().astype(np.uint8)))


def decoded(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))
