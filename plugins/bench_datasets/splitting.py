"""Splits that a data set lacks are drawn from its training images: stratified, by `split_seed` alone."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b, sha256
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from bench_datasets.options import VAL_SHARE
from benchmark import ArraySplit, Dataset, InputError, MissingError, Rng, Split, Subset

_CHUNK_BYTES = 64 * 2**20


class GivenSplit(Split):
    """A split as the data holds it."""

    @abstractmethod
    def content(self) -> str:
        """Return a digest of all pixels, labels and names, and of the options that change them."""

    @abstractmethod
    def contents(self) -> Sequence[object]:
        """Return what tells images apart, one per image: equal for the same pixels, or for the same file."""


class GivenArrays(ArraySplit, GivenSplit):
    """A split whose images lie in memory: (N, C, H, W) uint8 or float32 in [0, 1]."""

    def content(self) -> str:
        """Return a digest of the arrays."""
        digest = sha256(f"{self._images.dtype.str} {self._images.shape}".encode())
        rows = max(1, _CHUNK_BYTES // max(1, self._images[:1].nbytes))
        for start in range(0, len(self._images), rows):
            digest.update(self._images[start : start + rows].tobytes())
        digest.update(self.labels.astype("<i8").tobytes())
        return digest.hexdigest()

    def contents(self) -> Sequence[object]:
        """Return a digest of each image."""
        return [blake2b(image.tobytes(), digest_size=16).digest() for image in self._images]


@dataclass(frozen=True)
class Given:
    """What the data holds, and what has to be drawn.

    Attributes:
        splits: the splits that the data holds, `train` among them.
        shares: split to draw from train → share of the images of each class.
        where: place of the training images, for messages.
        remarks: what was passed over or assumed, a sentence each.
    """

    splits: dict[str, GivenSplit]
    shares: dict[str, float]
    where: str
    remarks: tuple[str, ...] = ()


class DrawnDataset(Dataset):
    """A data set some of whose splits are drawn from its training images."""

    @abstractmethod
    def read(self) -> Given:
        """Return the splits that the data holds; called once."""

    def load(self, split: str) -> Split:
        """Return the split `train`, `val` or `test`.

        Raises:
            InputError: the data is unusable.
            MissingError: it is not there.
        """
        return self._splits[split]

    def fingerprint(self) -> str:
        """Return a digest of the pixels, labels and names of every split; places and unused options are left out.

        Raises:
            InputError: files of a split are unusable; one message tells all of them.
        """
        digest = sha256(repr(self._given.splits["train"].class_names).encode())
        wrong = []
        for name, split in sorted(self._given.splits.items()):
            try:
                digest.update(f"\n{name} {split.content()}".encode())
            except InputError as error:
                wrong.append(str(error))
        if wrong:
            raise InputError("\n".join(wrong))
        for name, indices in sorted(self._drawn.items()):
            digest.update(f"\n{name} {len(indices)} ".encode())
            digest.update(indices.astype("<i8").tobytes())
        return digest.hexdigest()

    def remarks(self) -> tuple[str, ...]:
        """Return what was passed over or assumed, and how many test images train has too."""
        return self._given.remarks + self._shared

    @cached_property
    def _shared(self) -> tuple[str, ...]:
        contents = {name: split.contents() for name, split in self._given.splits.items()}
        whole = contents["train"]
        contents |= {name: [whole[index] for index in indices] for name, indices in self._drawn.items()}
        train = set(contents["train"])
        shared = sum(content in train for content in contents["test"])
        if not shared:
            return ()
        return (f"The same image in test and train: {shared} of {len(contents['test'])} test images.",)

    @cached_property
    def _given(self) -> Given:
        return self.read()

    @cached_property
    def _drawn(self) -> dict[str, np.ndarray]:
        given = self._given
        if not given.shares:
            return {}
        train = given.splits["train"]
        return draw_splits(train.labels, train.class_names, given.shares, self.options.split_seed, given.where)

    @cached_property
    def _splits(self) -> dict[str, Split]:
        train = self._given.splits["train"]
        return {**self._given.splits, **{name: Subset(train, indices) for name, indices in self._drawn.items()}}


class PlacedDataset(DrawnDataset):
    """A drawn data set whose options `path`, or `train`, `val` and `test`, name places on the disk."""

    place_is: ClassVar[str]
    """What lies at such a place, for the message that nothing does."""

    def check(self) -> None:
        """Look whether the places are there.

        Raises:
            MissingError: one is not.
        """
        for option, place in self.places().items():
            if not place.exists():
                raise MissingError(
                    f"nothing at {place.absolute()}. Set `{option}:` to {self.place_is}; relative paths start at the "
                    "current folder. A profile with embedded data (the data set `digits`) runs without it."
                )

    def places(self) -> dict[str, Path]:
        """Return option → place."""
        named = {option: getattr(self.options, option) for option in ("path", "train", "val", "test")}
        return {option: Path(place).expanduser() for option, place in named.items() if place is not None}


def draw_splits(
    labels: np.ndarray, class_names: Sequence[str], shares: dict[str, float], seed: int, where: str
) -> dict[str, np.ndarray]:
    """Divide images into `train` and the splits of `shares`, each class by itself.

    Args:
        labels: (N,) class index per image.
        class_names: name per class index.
        shares: split → share of the images of each class, rounded, at least one image.
        seed: the only source of randomness.
        where: place of the images, for messages.

    Returns:
        Sorted indices per split; together each index once.

    Raises:
        InputError: a class has too few images for a split to get one.
    """
    if sum(shares.values()) >= 1:
        raise InputError(
            f"{where}: {' and '.join(f'{name}_share {share:g}' for name, share in shares.items())} leave no images "
            "for train: their sum must be below 1."
        )
    parts: dict[str, list[np.ndarray]] = {name: [] for name in ("train", *shares)}
    by_class = np.split(np.argsort(labels, kind="stable"), np.cumsum(np.bincount(labels, minlength=len(class_names))))
    for index, (name, members) in enumerate(zip(class_names, by_class)):
        order = members[Rng(seed).spawn("split", index).numpy.permutation(len(members))]
        counts = {split: max(1, int(share * len(members) + 0.5)) for split, share in shares.items()}
        if sum(counts.values()) >= len(members):
            raise InputError(
                f"{where}: the class {name!r} has {len(members)} images, too few to draw "
                f"{' and '.join(f'{count} for {split}' for split, count in counts.items())} and keep one for train. "
                f"Add images, or lower {' and '.join(f'{split}_share' for split in shares)}."
            )
        start = 0
        for split, count in counts.items():
            parts[split].append(order[start : start + count])
            start += count
        parts["train"].append(order[start:])
    return {split: np.sort(np.concatenate(found)) for split, found in parts.items()}


def shares_to_draw(
    options: Any, splits: dict[str, GivenSplit], where: str, test_share: float | None
) -> dict[str, float]:
    """Return the share of each split that is missing.

    Args:
        options: has `val_share` and may have `test_share`.
        splits: the splits that are there.
        where: their place, for messages.
        test_share: share of test where the option gives none; None if the option is needed.

    Raises:
        InputError: an option asks to draw a split that is there, or test is missing and has no share.
    """
    wanted = {"val": (options.val_share, VAL_SHARE), "test": (getattr(options, "test_share", None), test_share)}
    shares = {}
    for split, (asked, default) in wanted.items():
        if split in splits:
            if asked is not None:
                raise InputError(
                    f"{where} has a {split} split of its own, so {split}_share: {asked:g} has nothing to draw. "
                    "Leave the option out."
                )
            continue
        share = default if asked is None else asked
        if share is None:
            raise InputError(
                f"{where} has {' and '.join(splits)} but no test. Add it, or set test_share to draw the test "
                "images from train."
            )
        shares[split] = share
    return shares
