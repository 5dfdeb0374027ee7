"""A split whose images are files of a source, decoded when they are first asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np

from bench_datasets.options import ImageFilesOptions
from bench_datasets.sources import Member, Source, printable
from bench_datasets.splitting import GivenSplit
from benchmark import DecodedSplit, Fit, InputError, Mistakes, pixels_of, read_header, read_image

_WORTH_A_THREAD_BYTES = 8192
"""Files above this are decoded by several threads; for smaller ones the threads cost more than they give."""

_MOST_LOOKED_THROUGH = 10_000


@dataclass(frozen=True)
class Files:
    """Labelled image files.

    Attributes:
        source: where they are read.
        members: the files.
        names: sample id per file.
        labels: class index per file.
        class_names: name per class index.
    """

    source: Source
    members: Sequence[Member]
    names: Sequence[str]
    labels: Sequence[int]
    class_names: Sequence[str]


_HEADERS_LOOKED_AT = 200
"""So many images of a split, spread over it, are asked for mode and size while planning: about 0.1 ms each."""


class FileSplit(DecodedSplit, GivenSplit):
    """Images of files, decoded when they are first asked for. Threads and processes may share it."""

    _contents: list[str] | None = None

    def __init__(self, files: Files, options: ImageFilesOptions, shape: tuple[int, int, int]) -> None:
        """Keep what to read: nothing is read here."""
        self._source = files.source
        self._options = options
        self._members = list(files.members)
        self._names = list(files.names)
        self.class_names = tuple(files.class_names)
        self.labels = np.asarray(files.labels, dtype=np.int64)
        self.image_shape = shape

    def sample_ids(self, indices: Sequence[int]) -> list[str]:
        """Return the name of each image."""
        return [printable(self._names[index]) for index in indices]

    def content(self) -> str:
        """Return a digest of names, labels, file contents, and the options that change pixels."""
        options = self._options
        digest = sha256(repr((self.image_shape, options.size, options.fit, options.resize, options.color)).encode())
        for content, name, label in zip(self.contents(), self._names, self.labels):
            digest.update(f"\n{label} {name} {content}".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()

    def contents(self) -> list[str]:
        """Return a digest of each file.

        Raises:
            InputError: files are unusable; one message tells all of them.
        """
        if self._contents is None:
            mistakes, contents = Mistakes(str(self._source.path)), list[str]()
            step = -(-len(self._members) // _HEADERS_LOOKED_AT)
            for number, member in enumerate(self._members):
                try:
                    contents.append(self._source.content(member))
                    if number % step == 0:
                        header = read_header(self._source.read(member), where=self._source.where(member))
                        if self._options.size is None and header.upright != self.image_shape[:0:-1]:
                            self._read(number)  # decoding settles it: a PNG may tell its orientation behind its pixels
                except InputError as error:
                    mistakes.add("unusable image file", str(error))
            mistakes.raise_if_any()
            self._contents = contents
        return self._contents

    def decoded(self, indices: np.ndarray, threads: int) -> Iterator[np.ndarray]:
        """Yield the images of `indices`, large files read by as many threads as torch may use in this process."""
        several = threads > 1 and len(indices) > 1
        if several and len(self._source.read(self._members[indices[0]])) > _WORTH_A_THREAD_BYTES:
            with ThreadPoolExecutor(threads) as pool:
                yield from pool.map(self._read, indices)
        else:
            yield from map(self._read, indices)

    def _read(self, index: int) -> np.ndarray:
        member = self._members[index]
        where = self._source.where(member)
        pixels = decode(self._source.read(member), self._options, where)
        if pixels.shape != self.image_shape:
            (_, height, width), (_, expected_height, expected_width) = pixels.shape, self.image_shape
            raise InputError(
                f"{where}: is {height}x{width} pixels, the first training image {expected_height}x{expected_width}. "
                "Set `size:` to bring all images to one shape."
            )
        return pixels


def decode(content: bytes, options: ImageFilesOptions, where: str) -> np.ndarray:
    """Return the pixels of an image file: (C, H, W) uint8, in the size and colour of the options.

    Raises:
        InputError: it is damaged, of an unknown format, or larger than Pillow's limit.
    """
    image = read_image(content, where=where, color=options.color)
    return pixels_of(image) if options.size is None else Fit(options.fit, options.size, options.resize)(image, where)


def files_by_split(listed: Mapping[str, Files], options: ImageFilesOptions) -> dict[str, GivenSplit]:
    """Return the splits of listed files.

    Raises:
        InputError: the shape of the images cannot be told, since training images are unusable.
    """
    shape = _image_shape(listed["train"], options)
    return {split: FileSplit(files, options, shape) for split, files in listed.items()}


def _image_shape(files: Files, options: ImageFilesOptions) -> tuple[int, int, int]:
    """Return (C, H, W): from the options, or of the first training image."""
    if options.size is not None:
        return 3 if options.color == "rgb" else 1, options.size, options.size
    source, first = files.source, files.members[0]
    try:
        channels, height, width = decode(source.read(first), options, source.where(first)).shape
    except InputError:
        mistakes = Mistakes(str(source.path))
        for member in files.members[:_MOST_LOOKED_THROUGH]:
            try:
                read_header(source.read(member), where=source.where(member))
            except InputError as wrong:
                mistakes.add("unusable image file", str(wrong))
        mistakes.raise_if_any()
        raise
    return channels, height, width


def val_for_test(found: dict[str, Any], options: ImageFilesOptions) -> tuple[str, ...]:
    """Let the val of a place that has no test be its test, as ImageNet has it, and return what is to be said then."""
    if options.path is None or "val" not in found or "test" in found or options.test_share is not None:
        return ()
    found["test"] = found.pop("val")
    return (
        "It holds train and val and no test: the images of val are the test images here, and val is drawn from train, "
        "so that no choice is made on the test images.",
    )
