"""Data sets: labelled images by split, delivered on demand."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

import numpy as np

from benchmark.errors import InputError
from benchmark.options import SPLITS, DatasetOptions
from benchmark.randomness import Rng

if TYPE_CHECKING:
    import torch

__all__ = ["SPLITS", "Dataset", "PartAnnotations", "Split"]


@dataclass(frozen=True)
class PartAnnotations:
    """Part annotations of a split in COCO form: `data["images"][i]` describes the image with index i.

    Regions marked `iscrowd` or `ignore` are no parts: nothing is learned from them, and a part found there is neither
    right nor wrong.
    """

    data: dict[str, Any]

    @property
    def parts(self) -> list[dict[str, Any]]:
        """The annotations without the regions that are to be ignored."""
        return [entry for entry in self.data["annotations"] if not is_ignored(entry)]

    @property
    def without_parts(self) -> int:
        """How many images have no part: who learns from them learns that they are background."""
        return len(self.data["images"]) - len({entry["image_id"] for entry in self.parts})


def is_ignored(annotation: Mapping[str, Any]) -> bool:
    """Return whether a COCO annotation marks a region to be left out (`iscrowd`, `ignore`) rather than an object."""
    return bool(annotation.get("iscrowd")) or bool(annotation.get("ignore"))


class Split(ABC):
    """One split of a data set. Images are read on demand: nothing assumes that all of them fit in memory.

    Attributes:
        class_names: name per class index.
        labels: (N,) int64 class index per image.
        image_shape: (C, H, W) of every image.
    """

    class_names: tuple[str, ...]
    labels: np.ndarray
    image_shape: tuple[int, int, int]

    def __len__(self) -> int:
        return len(self.labels)

    @abstractmethod
    def images(self, indices: Sequence[int]) -> torch.Tensor:
        """Return the images of `indices`: (n, C, H, W) float32 RGB or grey in [0, 1].

        Raises:
            InputError: an image file is damaged; the message names it.
        """

    def sample_ids(self, indices: Sequence[int]) -> list[str]:
        """Return a name per image that stays the same between runs (a file name, or the index)."""
        return [str(index) for index in indices]

    def part_annotations(self) -> PartAnnotations | None:
        """Return part annotations where the data has them."""
        return None


class Dataset(ABC):
    """A data set. The constructor stores the options; files are first touched by `check`.

    Lifecycle: the host calls `check` while it plans, `fingerprint` once, then `load` in any process.
    """

    Options: ClassVar[type[DatasetOptions]] = DatasetOptions
    caption: ClassVar[str] = ""
    """A sentence that every report on this data must show (what it stands for, what it does not)."""

    def __init__(self, options: DatasetOptions) -> None:
        self.options: Any = options

    @abstractmethod
    def check(self) -> None:
        """Look whether the data is there, without reading it.

        Raises:
            MissingError: where it looked, where to get the data, the command that prepares it.
        """

    @abstractmethod
    def fingerprint(self) -> str:
        """Return a digest of the content, the splits and everything that changes a pixel or a label."""

    @abstractmethod
    def load(self, split: str) -> Split:
        """Return the split `train`, `val` or `test`, before `limit` is applied.

        Raises:
            InputError: the data is unusable (a class missing from a split, a damaged file).
        """

    def remarks(self) -> Sequence[str]:
        """Return what the user must hear about how the data was read, a sentence each: what was passed over or assumed.

        The host asks after `fingerprint`; it shows them when a run is planned or started, and in the report.
        """
        return ()

    def split(self, name: str) -> Split:
        """Return the split with the option `limit` applied. This is what the host calls."""
        split = self.load(name)
        limit = (self.options.limit or {}).get(name)
        return split if limit is None or limit >= len(split) else Subset(split, balanced_indices(split.labels, limit))


class ArraySplit(Split):
    """A split whose images lie in memory as one array."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, class_names: Sequence[str]) -> None:
        """Keep `images`: (N, C, H, W) uint8 or float32 in [0, 1]; `labels`: (N,) integers."""
        self._images = images
        self.labels = labels.astype(np.int64)
        self.class_names = tuple(class_names)
        self.image_shape = (int(images.shape[1]), int(images.shape[2]), int(images.shape[3]))

    def images(self, indices: Sequence[int]) -> torch.Tensor:
        """Return the images of `indices`: (n, C, H, W) float32 in [0, 1]."""
        import torch

        chosen = torch.from_numpy(np.ascontiguousarray(self._images[np.asarray(indices, dtype=np.int64)]))
        return chosen.float().div_(255) if chosen.dtype == torch.uint8 else chosen.float()


class DecodedSplit(Split):
    """A split whose images are decoded when they are first asked for, and kept where all of them fit in memory.

    Threads and processes may share it.

    Attributes:
        most_cached_bytes: a split that takes more, at a byte per pixel and channel, is decoded anew each time.
        most_looked_through: so many images are decoded to tell all damaged ones, once one is.
    """

    most_cached_bytes: int = 2**30
    most_looked_through: ClassVar[int] = 10_000
    _cache: tuple[np.ndarray, np.ndarray] | None = None

    @abstractmethod
    def decoded(self, indices: np.ndarray, threads: int) -> Iterator[np.ndarray]:
        """Yield the images (C, H, W) uint8 of `indices`, in their order, with up to `threads` threads.

        Raises:
            InputError: an image file is damaged; the message names it.
        """

    def images(self, indices: Sequence[int]) -> torch.Tensor:
        """Return the images of `indices`: (n, C, H, W) float32 in [0, 1].

        Raises:
            InputError: an image file is damaged, or of another shape; the message names it.
        """
        import torch

        wanted = np.asarray(indices, dtype=np.int64)
        whole_shape = (len(self), *self.image_shape)
        if np.prod(whole_shape, dtype=np.int64) > self.most_cached_bytes:
            pixels = np.empty((len(wanted), *self.image_shape), dtype=np.uint8)
            for row, decoded in enumerate(self._decoded(wanted, torch.get_num_threads())):
                pixels[row] = decoded
        else:
            if self._cache is None:
                self._cache = np.empty(whole_shape, dtype=np.uint8), np.zeros(len(self), dtype=bool)
            kept, there = self._cache
            # No lock: threads that decode the same image write the same bytes, and say so after they are in place.
            missing = np.unique(wanted[~there[wanted]])
            for index, decoded in zip(missing, self._decoded(missing, torch.get_num_threads())):
                kept[index] = decoded
                there[index] = True
            pixels = kept[wanted]
        return torch.from_numpy(pixels).float().div_(255)

    def _decoded(self, indices: np.ndarray, threads: int) -> Iterator[np.ndarray]:
        try:
            yield from self.decoded(indices, threads)
        except InputError as error:
            self._refuse_all(error)

    def _refuse_all(self, first: InputError) -> NoReturn:
        """Tell all images that cannot be decoded at once, so that not one after the other has to be mended."""
        mistakes = []
        for index in range(min(len(self), self.most_looked_through)):
            try:
                list(self.decoded(np.array([index]), 1))
            except InputError as error:
                mistakes.append(str(error))
        if len(mistakes) < 2:
            raise first
        shown = "".join(f"\n  {mistake}" for mistake in mistakes[:10])
        more = f"\n  ... and {len(mistakes) - 10} more" if len(mistakes) > 10 else ""
        looked = (
            f"{min(len(self), self.most_looked_through)} of the split's "
            if len(self) > self.most_looked_through
            else ""
        )
        raise InputError(f"{len(mistakes)} of {looked}{len(self)} images cannot be used:{shown}{more}")

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_cache": None}


class Subset(Split):
    """Chosen images of a split."""

    def __init__(self, split: Split, indices: np.ndarray) -> None:
        self._split = split
        self._indices = indices
        self.labels = split.labels[indices]
        self.class_names = split.class_names
        self.image_shape = split.image_shape

    def images(self, indices: Sequence[int]) -> torch.Tensor:
        """Return the images of `indices`, counted within the subset."""
        return self._split.images(self._indices[np.asarray(indices, dtype=np.int64)].tolist())

    def sample_ids(self, indices: Sequence[int]) -> list[str]:
        """Return the names that the whole split gives to these images."""
        return self._split.sample_ids(self._indices[np.asarray(indices, dtype=np.int64)].tolist())

    def part_annotations(self) -> PartAnnotations | None:
        """Return the annotations of the chosen images, in their order."""
        whole = self._split.part_annotations()
        if whole is None:
            return None
        images = [whole.data["images"][index] for index in self._indices]
        kept = {image["id"] for image in images}
        annotations = [a for a in whole.data["annotations"] if a["image_id"] in kept]
        return PartAnnotations({**whole.data, "images": images, "annotations": annotations})


def balanced_indices(labels: np.ndarray, count: int) -> np.ndarray:
    """Return `count` indices, the same number per class as far as it goes, always the same ones, sorted.

    A larger `count` keeps the images of a smaller one.
    """
    order = Rng(0).numpy.permutation(len(labels))
    rank = np.empty(len(labels), dtype=np.int64)  # how many of its class stand before it in the order
    seen: dict[int, int] = {}
    for index in order:
        label = int(labels[index])
        rank[index] = seen.get(label, 0)
        seen[label] = rank[index] + 1
    position = np.empty(len(labels), dtype=np.int64)
    position[order] = np.arange(len(labels))
    return np.sort(np.lexsort((position, rank))[:count])
