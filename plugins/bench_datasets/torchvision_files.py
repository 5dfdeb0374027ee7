"""MNIST, Fashion-MNIST, CIFAR-10, CIFAR-100 and SVHN, from the files and folders that torchvision uses.

Names, addresses and checksums are torchvision's; the reading is done here, since torchvision unpickles
CIFAR's batches. Here a batch must first have the known checksum, and is then read by an unpickler to which
every global name is an inert record (`_Inert`): no function or class that a file names is ever looked up.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import math
import os
import pickle
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any

import numpy as np

from bench_datasets.options import TorchvisionOptions
from bench_datasets.splitting import DrawnDataset, Given, GivenArrays, GivenSplit, shares_to_draw
from benchmark import InputError, MissingError

_MOST_BYTES = 2**30
_DIGITS = tuple(str(digit) for digit in range(10))

Splits = dict[str, tuple[np.ndarray, np.ndarray]]
"""Split → images (N, C, H, W) uint8 and labels (N,)."""


@dataclass(frozen=True)
class _File:
    """A file that a data set consists of.

    Attributes:
        places: where it may lie, the first choice first; one of them is enough.
        md5: torchvision's checksum of it, or None where torchvision has none (MNIST's unpacked files).
    """

    places: tuple[Path, ...]
    md5: str | None

    @property
    def found(self) -> Path | None:
        return next((place for place in self.places if place.is_file()), None)


class TorchvisionFiles(DrawnDataset):
    """A data set of torchvision by name."""

    Options = TorchvisionOptions

    def check(self) -> None:
        """Look whether the files are there, or may be downloaded.

        Raises:
            MissingError: they are not.
        """
        if self.options.download:
            return
        missing = [str(file.places[0]) for file in self._files() if file.found is None]
        if missing:
            raise MissingError(
                f"{self.options.name} is not at {self._root.absolute()}: no {', '.join(missing[:3])}"
                f"{' and others' if len(missing) > 3 else ''}.\n"
                f"  Set `download: true` to fetch it from {self._address()}, or set `root:` (or BENCH_DATA) to the "
                "folder where torchvision keeps it. A profile with embedded data (the data set `digits`) runs "
                "without it."
            )

    def read(self) -> Given:
        """Return train and test; val is drawn from train.

        Raises:
            InputError: a file is damaged.
            MissingError: a file is not there, and is not to be downloaded or cannot be.
        """
        if self.options.download and any(file.found is None for file in self._files()):
            self._download()
        self.check()
        if absent := [str(file.places[0]) for file in self._files() if file.found is None]:
            raise MissingError(f"{self.options.name}: downloaded, but still no {', '.join(absent)}.")
        for file in self._files():
            _verify(file)
        arrays, names = self._reader()
        splits: dict[str, GivenSplit] = {}
        for split, (images, labels) in arrays.items():
            where = f"{self._root}: {self.options.name} {split}"
            if len(images) != len(labels):
                raise InputError(f"{where}: {len(images)} images and {len(labels)} labels. Download it again.")
            if not len(labels) or labels.min() < 0 or labels.max() >= len(names):
                raise InputError(f"{where}: labels outside 0 to {len(names) - 1}, or none. Download it again.")
            splits[split] = GivenArrays(images, labels, names)
        shares = shares_to_draw(self.options, splits, str(self._root), test_share=None)
        return Given(splits, shares, f"{self._root}: {self.options.name}")

    @property
    def _root(self) -> Path:
        root = self.options.root or os.environ.get("BENCH_DATA") or "~/.cache/unmask-bench/datasets"
        return Path(root).expanduser()

    @property
    def _torchvision_class(self) -> Any:
        import torchvision

        return getattr(torchvision.datasets, self.options.name)

    @property
    def _raw_folder(self) -> Path:
        return self._root / self.options.name / "raw"

    def _files(self) -> list[_File]:
        known = self._torchvision_class
        if "MNIST" in self.options.name:
            return [
                _File((self._raw_folder / name.removesuffix(".gz"), self._raw_folder / name), None)
                for name, _ in known.resources
            ]
        if self.options.name == "SVHN":
            return [_File((self._root / known.split_list[s][1],), known.split_list[s][2]) for s in ("train", "test")]
        folder = self._root / known.base_folder
        listed = [*known.train_list, *known.test_list, (known.meta["filename"], known.meta["md5"])]
        return [_File((folder / name,), md5) for name, md5 in listed]

    def _address(self) -> str:
        known = self._torchvision_class
        if "MNIST" in self.options.name:
            return str(known.mirrors[0])
        return str(known.split_list["train"][0] if self.options.name == "SVHN" else known.url)

    def _download(self) -> None:
        from torchvision.datasets.utils import download_and_extract_archive, download_url

        known, root = self._torchvision_class, self._root
        try:
            if "MNIST" in self.options.name:
                self._raw_folder.mkdir(parents=True, exist_ok=True)
                for name, md5 in known.resources:
                    for mirror in known.mirrors:
                        try:
                            download_and_extract_archive(mirror + name, str(self._raw_folder), filename=name, md5=md5)
                            break
                        except (OSError, RuntimeError, HTTPException):
                            if mirror == known.mirrors[-1]:
                                raise
            elif self.options.name == "SVHN":
                root.mkdir(parents=True, exist_ok=True)
                for split in ("train", "test"):
                    url, name, md5 = known.split_list[split]
                    download_url(url, str(root), name, md5)
            else:
                root.mkdir(parents=True, exist_ok=True)
                download_and_extract_archive(known.url, str(root), filename=known.filename, md5=known.tgz_md5)
        except (OSError, RuntimeError, HTTPException) as error:
            raise MissingError(
                f"{self.options.name} cannot be downloaded from {self._address()} into {root.absolute()}: "
                f"{str(error) or type(error).__name__}.\n"
                "  Put the files there by hand, or set `root:` (or BENCH_DATA) to the folder where torchvision keeps "
                "them. A profile with embedded data (the data set `digits`) runs without it."
            ) from None

    def _reader(self) -> tuple[Splits, Sequence[str]]:
        if "MNIST" in self.options.name:
            return self._read_mnist()
        return self._read_svhn() if self.options.name == "SVHN" else self._read_cifar()

    def _read_mnist(self) -> tuple[Splits, Sequence[str]]:
        train_x, train_y, test_x, test_y = (read_idx(file.found) for file in self._files() if file.found)
        for images, labels, split in ((train_x, train_y, "train"), (test_x, test_y, "test")):
            if images.ndim != 3 or labels.ndim != 1:
                raise InputError(f"{self._raw_folder}: {split} has the shapes {images.shape} and {labels.shape}.")
        names = _DIGITS if self.options.name == "MNIST" else self._torchvision_class.classes
        return {"train": (train_x[:, None], train_y), "test": (test_x[:, None], test_y)}, names

    def _read_svhn(self) -> tuple[Splits, Sequence[str]]:
        from scipy.io import loadmat

        splits: Splits = {}
        for split, file in zip(("train", "test"), self._files()):
            content = loadmat(str(file.found), variable_names=["X", "y"])
            labels = content["y"].reshape(-1).astype(np.int64)
            # The file counts the digit 0 as class 10.
            splits[split] = content["X"].transpose(3, 2, 0, 1), np.where(labels == 10, 0, labels)
        return splits, _DIGITS

    def _read_cifar(self) -> tuple[Splits, Sequence[str]]:
        known = self._torchvision_class
        folder = self._root / known.base_folder
        splits: Splits = {}
        for split, listed in (("train", known.train_list), ("test", known.test_list)):
            batches = [read_batch(folder / name) for name, _ in listed]
            images = np.concatenate([_pixels(batch, folder) for batch in batches])
            labels = [label for batch in batches for label in batch.get("labels", batch.get("fine_labels", []))]
            splits[split] = images, np.asarray(labels, dtype=np.int64)
        names = read_batch(folder / known.meta["filename"])[known.meta["key"]]
        return splits, [str(name) for name in names]


def _verify(file: _File) -> None:
    path = file.found
    if path is None or file.md5 is None:
        return
    with open(path, "rb") as opened:
        digest = hashlib.file_digest(opened, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if digest != file.md5:
        raise InputError(
            f"{path}: damaged, or another file: its MD5 is {digest}, that of the published file is {file.md5}. "
            "Delete it and download it again."
        )


def read_idx(path: Path) -> np.ndarray:
    """Return the array of an IDX file of bytes, plain or gzipped (the form is described on MNIST's home page).

    Raises:
        InputError: it is not one, or is cut off.
    """
    opener: Callable[..., Any] = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rb") as file:
            zeros, kind, axes = file.read(2), file.read(1), file.read(1)
            if zeros != b"\0\0" or kind != b"\x08" or axes not in (b"\1", b"\2", b"\3"):
                raise InputError(f"{path}: not an IDX file of bytes. Delete it and download it again.")
            shape = tuple(int.from_bytes(file.read(4), "big") for _ in range(axes[0]))
            size = math.prod(shape)
            content = file.read(size + 1) if size <= _MOST_BYTES else b""
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: cannot be read: {str(error) or type(error).__name__}. Download it again.") from None
    if len(content) != size:
        raise InputError(
            f"{path}: damaged: its head announces {size} bytes (shape {shape}), and "
            f"{'more' if len(content) > size else len(content)} follow. Delete it and download it again."
        )
    return np.frombuffer(content, dtype=np.uint8).reshape(shape)


class _Inert:
    """Stands for whatever a pickle names, calls or fills: keeps the state and does nothing."""

    state: Any = None

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments

    def __call__(self, *arguments: Any) -> _Inert:
        return _Inert(*arguments)

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _InertUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in (("numpy.core.multiarray", "_reconstruct"), ("numpy", "ndarray"), ("numpy", "dtype")):
            raise pickle.UnpicklingError(f"it names {module}.{name}, which no CIFAR file does")
        return _Inert()

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError("it names something outside the file, which no CIFAR file does")


def read_batch(path: Path) -> dict[str, Any]:
    """Return the dictionary of a CIFAR batch: plain values, and arrays as inert records.

    Raises:
        InputError: it holds anything but dictionaries, lists, strings, numbers and NumPy arrays.
    """
    try:
        content = _InertUnpickler(io.BytesIO(path.read_bytes()), encoding="latin1").load()
    except Exception as error:  # whatever the damage, the answer is the same
        raise InputError(f"{path}: not a batch of CIFAR: {error}. Delete it and download it again.") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: not a batch of CIFAR: found {type(content).__name__}. Download it again.")
    return content


def _pixels(batch: dict[str, Any], folder: Path) -> np.ndarray:
    """Return the images of a batch: (N, 3, 32, 32) uint8, from NumPy's state (1, shape, dtype, Fortran, bytes)."""
    record = batch.get("data")
    state = record.state if isinstance(record, _Inert) else None
    if isinstance(state, tuple) and len(state) == 5:
        _, shape, kind, fortran, content = state
        if isinstance(kind, _Inert) and kind.arguments[:1] == ("u1",) and not fortran and isinstance(content, str):
            pixels = np.frombuffer(content.encode("latin1"), dtype=np.uint8)
            if isinstance(shape, tuple) and len(shape) == 2 and pixels.size == shape[0] * 3072 == shape[0] * shape[1]:
                return pixels.reshape(-1, 3, 32, 32)
    raise InputError(f"{folder}: a batch without `data` of N x 3072 bytes. Download it again.")
