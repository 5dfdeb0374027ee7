"""One .npz file with images and labels per split; nothing in it is ever unpickled."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bench_datasets.options import ArraysOptions
from bench_datasets.sources import DAMAGE
from bench_datasets.splitting import DrawnDataset, Given, GivenArrays, GivenSplit, shares_to_draw
from benchmark.errors import InputError, MissingError, near_match
from benchmark.options import SPLITS

_FORMS = (("x_{}", "y_{}"), ("{}_images", "{}_labels"))
_ALLOWED = "x_train, y_train, x_val, y_val, x_test, y_test (or train_images, train_labels, ...)"
_CHANNELS = (1, 3)


class Arrays(DrawnDataset):
    """Images and labels of a .npz file."""

    Options = ArraysOptions

    def check(self) -> None:
        """Look whether the file is there.

        Raises:
            MissingError: it is not.
        """
        path = self._path
        if not path.is_file():
            raise MissingError(
                f"no .npz file at {path.absolute()}. Set `path:` to the file with the keys {_ALLOWED}; "
                'numpy.savez_compressed("data.npz", x_train=..., y_train=..., ...) writes one. '
                "A profile with embedded data (the data set `digits`) runs without it."
            )

    def read(self) -> Given:
        """Return the splits of the file.

        Raises:
            InputError: a key is missing or an array is unusable.
            MissingError: the file is not there.
        """
        self.check()
        where = str(self._path)
        with self._opened() as file:
            keys = _keys_by_split(file.files, where)
            arrays = {
                split: (self._image_array(file, x_key), self._label_array(file, y_key))
                for split, (x_key, y_key) in keys.items()
            }
        for split, (images, labels) in arrays.items():
            if len(images) != len(labels):
                x_key, y_key = keys[split]
                raise InputError(
                    f"{where}: {x_key} has {len(images)} images and {y_key} has {len(labels)} labels; "
                    "the numbers must be equal."
                )
        names = self._class_names({keys[split][1]: labels for split, (_, labels) in arrays.items()}, keys["train"][1])
        splits: dict[str, GivenSplit] = {
            split: GivenArrays(images, labels, names) for split, (images, labels) in arrays.items()
        }
        return Given(splits, shares_to_draw(self.options, splits, where, test_share=None), where)

    @property
    def _path(self) -> Path:
        return Path(self.options.path).expanduser()

    def _opened(self) -> np.lib.npyio.NpzFile:
        try:
            if zipfile.is_zipfile(self._path):  # NumPy takes anything else for a pickle or a single array
                file: np.lib.npyio.NpzFile = np.load(self._path, allow_pickle=False)
                return file
        except DAMAGE as error:
            raise InputError(f"{self._path}: cannot be read: {str(error) or type(error).__name__}") from None
        raise InputError(
            f"{self._path}: not a .npz file (a zip of arrays, as numpy.savez writes it), or cut off. "
            "Write it again with numpy.savez_compressed."
        )

    def _array(self, file: np.lib.npyio.NpzFile, key: str) -> np.ndarray:
        where = f"{self._path}: {key}"
        try:
            array = file[key]
        except DAMAGE as error:
            if "pickle" in str(error):
                raise InputError(
                    f"{where}: holds Python objects as a pickle, which is never executed. "
                    "Store a plain array: uint8 images, integer labels."
                ) from None
            raise InputError(
                f"{where}: damaged: {str(error) or type(error).__name__}. Fetch or write it again."
            ) from None
        except MemoryError:
            raise InputError(
                f"{where}: does not fit in memory. Use the data set `image_folder`, which reads images on demand."
            ) from None
        if not isinstance(array, np.ndarray):  # NumPy hands out members without its magic number as bytes
            raise InputError(f"{where}: not a NumPy array. Write the file again with numpy.savez_compressed.")
        return array

    def _image_array(self, file: np.lib.npyio.NpzFile, key: str) -> np.ndarray:
        """Return the images of `key`: (N, C, H, W) uint8 or float32 in [0, 1]."""
        images = self._array(file, key)
        where = f"{self._path}: {key}"
        if images.size == 0:
            raise InputError(f"{where}: has no images (shape {images.shape}).")
        images = self._channels_first(images, where)
        if images.dtype == np.uint8:
            return images
        if images.dtype.kind != "f":
            raise InputError(f"{where}: found {images.dtype} pixels; allowed: uint8, and floats in [0, 1].")
        low, high = float(images.min()), float(images.max())  # NaN anywhere makes both NaN
        if not np.isfinite([low, high]).all():
            bad = np.flatnonzero(~np.isfinite(images).all(axis=(1, 2, 3)))
            raise InputError(
                f"{where}: {len(bad)} images hold NaN or infinity, the first is number {bad[0]} (from 0); "
                "all pixels must be finite, in [0, 1]."
            )
        if low < 0 or high > 1:
            hint = " Divide by 255, or store uint8." if low >= 0 and 1 < high <= 255 else " Undo any standardisation."
            raise InputError(f"{where}: float pixels from {low:g} to {high:g}; allowed is [0, 1].{hint}")
        return images.astype(np.float32, copy=False)

    def _channels_first(self, images: np.ndarray, where: str) -> np.ndarray:
        layout = self.options.layout
        if layout is None:
            last, second = (images.ndim == 4 and images.shape[axis] in _CHANNELS for axis in (3, 1))
            if images.ndim == 4 and last and second:
                raise InputError(
                    f"{where}: the shape {images.shape} can be NHWC or NCHW. Set `layout:` to one of them."
                )
            layout = "NHW" if images.ndim == 3 else "NHWC" if last else "NCHW" if second else None
        axes = {"NHW": 3, "NHWC": 4, "NCHW": 4}
        if layout is None or images.ndim != axes[layout]:
            found = f"shape {images.shape}" + (f" with layout {layout}" if layout else "")
            raise InputError(f"{where}: {found}; allowed: (N, H, W), and (N, H, W, C) or (N, C, H, W) with C 1 or 3.")
        if layout == "NHW":
            return images[:, None]
        if layout == "NHWC":
            images = images.transpose(0, 3, 1, 2)
        if images.shape[1] not in _CHANNELS:
            raise InputError(f"{where}: {images.shape[1]} channels with layout {layout}; allowed are 1 and 3.")
        return images

    def _label_array(self, file: np.lib.npyio.NpzFile, key: str) -> np.ndarray:
        labels = self._array(file, key)
        where = f"{self._path}: {key}"
        if labels.ndim == 2 and labels.shape[1] == 1:
            labels = labels[:, 0]
        if labels.ndim != 1 or labels.dtype.kind not in "iu":
            raise InputError(
                f"{where}: found {labels.dtype} of shape {labels.shape}; labels are integers from 0, "
                "one per image, shape (N,)."
            )
        if len(labels) and (int(labels.min()) < 0 or int(labels.max()) > 10**6):
            raise InputError(f"{where}: labels from {labels.min()} to {labels.max()}; they count the classes from 0.")
        return labels.astype(np.int64)

    def _class_names(self, labels: dict[str, np.ndarray], train_key: str) -> tuple[str, ...]:
        names: tuple[str, ...] | None = self.options.class_names
        highest = max(int(found.max()) for found in labels.values() if len(found))
        if names is None:
            names = tuple(str(label) for label in range(highest + 1))
        for key, found in labels.items():
            if len(found) and int(found.max()) >= len(names):
                raise InputError(
                    f"{self._path}: {key} has the label {int(found.max())}, but class_names names {len(names)} "
                    f"classes, 0 to {len(names) - 1}."
                )
        counts = np.bincount(labels[train_key], minlength=len(names))
        if not counts.all():
            absent = np.flatnonzero(counts == 0)
            raise InputError(
                f"{self._path}: {train_key} has no image of {len(absent)} of {len(names)} classes "
                f"({', '.join(repr(names[index]) for index in absent[:5])}{', ...' if len(absent) > 5 else ''}). "
                "Labels count the classes from 0 without gaps, and train has images of each."
            )
        if len(names) < 2:
            raise InputError(f"{self._path}: {train_key} holds a single class; at least two are needed.")
        return names


def _keys_by_split(found: Sequence[str], where: str) -> dict[str, tuple[str, str]]:
    """Return the keys of images and labels per split that is there, train first."""
    listed = ", ".join(sorted(found)) or "nothing"
    keys: dict[str, tuple[str, str]] = {}
    for split in SPLITS:
        for x_form, y_form in _FORMS:
            x_key, y_key = x_form.format(split), y_form.format(split)
            if (x_key in found) != (y_key in found):
                there, lacking = (x_key, y_key) if x_key in found else (y_key, x_key)
                raise InputError(
                    f"{where}: has {there} but no {lacking}.{near_match(lacking, set(found) - {there})} "
                    f"Found: {listed}."
                )
            if x_key in found:
                if split in keys:
                    raise InputError(f"{where}: has both {keys[split][0]} and {x_key}; keep one. Found: {listed}.")
                keys[split] = x_key, y_key
    known = {form.format(split) for forms in _FORMS for form in forms for split in SPLITS}
    for key in sorted(set(found) - known):
        # x_valid beside a val drawn from train would be a mistake that nobody sees.
        if key.startswith(("x_", "y_")) or key.endswith(("_images", "_labels")):
            raise InputError(
                f"{where}: unknown key {key!r}.{near_match(key, known)} Allowed: {_ALLOWED}. Found: {listed}."
            )
    if "train" not in keys:
        raise InputError(f"{where}: no x_train and y_train. Found: {listed}. Allowed: {_ALLOWED}.")
    return keys
