"""Photos in files: decoded on demand, looked through while a run is planned."""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np

from benchmark import (
    SPLITS,
    Dataset,
    DecodedSplit,
    Fit,
    ImageHeader,
    InputError,
    MissingError,
    Mistakes,
    known_digest,
    read_header,
    read_image,
)

_WORTH_THREADS = 8


class PhotoSplit(DecodedSplit):
    """Photos decoded when they are first asked for. Threads and processes may share it."""

    def __init__(
        self, files: Sequence[Path], names: Sequence[str], labels: np.ndarray, class_names: Sequence[str], fit: Fit
    ) -> None:
        """Keep what to read: nothing is read here.

        Args:
            files: image file per index.
            names: name per index, the same between runs.
            labels: (N,) class index.
            class_names: name per class index.
            fit: how an image comes to its size.
        """
        self.files = list(files)
        self.labels = labels.astype(np.int64)
        self.class_names = tuple(class_names)
        self.image_shape = (3, fit.size, fit.size)
        self.fit = fit
        self._names = list(names)

    def sample_ids(self, indices: Sequence[int]) -> list[str]:
        """Return the name per image."""
        return [self._names[index] for index in indices]

    def decoded(self, indices: np.ndarray, threads: int) -> Iterator[np.ndarray]:
        """Yield the images of `indices`, with several threads where there are enough of them."""
        if threads > 1 and len(indices) >= _WORTH_THREADS:
            with ThreadPoolExecutor(threads) as pool:
                yield from pool.map(self._read, indices.tolist())
        else:
            yield from map(self._read, indices.tolist())

    def look_through(self, mistakes: Mistakes) -> Counter[str]:
        """Look at what every file says about itself, without decoding it.

        Args:
            mistakes: is told of the files that cannot be used.

        Returns:
            What was assumed about files, in words, and of how many.
        """
        assumed: Counter[str] = Counter()
        for index in range(len(self.files)):
            try:
                assumed.update(self._assumed(index))
            except InputError as error:
                mistakes.add("unusable image file", str(error))
        return assumed

    def _assumed(self, index: int) -> Iterable[str]:
        """Return what is assumed about a file, in words.

        Raises:
            InputError: it cannot be used.
        """
        header_of(self.files[index])
        return ()

    def _read(self, index: int) -> np.ndarray:
        file = self.files[index]
        return self.fit(read_image(file), str(file))


class Photos(Dataset):
    """Photos in files. A split is read and checked once, however often it is asked for."""

    @abstractmethod
    def read(self, split: str) -> PhotoSplit:
        """Return the split `train`, `val` or `test`, read from its files.

        Raises:
            MissingError: files are not there.
            InputError: the data is unusable.
        """

    def load(self, split: str) -> PhotoSplit:
        """Return the split as `read` gave it; its decoded images are its own, and go with it."""
        if split not in self._splits:
            self._splits[split] = self.read(split)
        return copy(self._splits[split])

    @cached_property
    def _splits(self) -> dict[str, PhotoSplit]:
        return {}


def look_through(load: Callable[[str], PhotoSplit]) -> tuple[str, ...]:
    """Return what was assumed about the files of all splits, a sentence each.

    Args:
        load: returns a split by its name.

    Raises:
        InputError: splits or files of theirs cannot be used; one message tells all of it.
        MissingError: something is not there.
    """
    mistakes, assumed, wrong = Mistakes("photos"), Counter[str](), list[str]()
    for name in SPLITS:
        try:
            assumed += load(name).look_through(mistakes)
        except MissingError:
            raise
        except InputError as error:
            wrong.append(str(error))
    try:
        mistakes.raise_if_any()
    except InputError as error:
        wrong.append(str(error))
    if wrong:
        raise InputError("\n".join(dict.fromkeys(wrong)))
    return tuple(f"{count} photos are {what}." for what, count in assumed.items())


def header_of(path: Path) -> ImageHeader:
    """Return what a photo says about itself.

    Raises:
        InputError: as `read_header`.
    """
    try:
        looks = looks_of(path)
    except OSError:
        return read_header(path)  # which says it in words
    return _header_of(path, looks)


@lru_cache(maxsize=2**16)
def _header_of(path: Path, looks: tuple[int, ...]) -> ImageHeader:
    """Read a header once, however many class sets the photo is in."""
    return read_header(path)


def looks_of(path: Path) -> tuple[int, ...]:
    """Return what differs once a file is another one: what was read from it is read again then.

    Raises:
        OSError: it cannot be reached.
    """
    about = path.stat()  # the time of the last change of anything: unlike mtime, nobody sets it back
    return about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes.

    Raises:
        InputError: it cannot be read.
    """
    try:
        return known_digest(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}.") from None


def refuse_shared_images(files: Sequence[Path], labels: Sequence[int] | np.ndarray, class_names: Sequence[str]) -> None:
    """Refuse an image that two classes have: its label would be wrong in one of them.

    Files are compared byte by byte, by their digests; only those of equal size are read.

    Raises:
        InputError: two files of different classes have the same content, or one file has two classes.
    """
    by_size: dict[int, list[int]] = {}
    for index, path in enumerate(files):
        try:
            by_size.setdefault(path.stat().st_size, []).append(index)
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror or error}.") from None
    for indices in by_size.values():
        if len({int(labels[index]) for index in indices}) < 2:
            continue
        first_with: dict[str, int] = {}
        for index in indices:
            other = first_with.setdefault(digest_of(files[index]), index)
            if labels[other] != labels[index]:
                raise InputError(
                    f"the same image is in two classes: {files[other]} ({class_names[labels[other]]}) and "
                    f"{files[index]} ({class_names[labels[index]]}). Remove it from one of them."
                )
