"""One .npz file with images and labels per split; nothing in it is ever unpickled."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bench_datasets.options import ArraysOptions
from bench_datasets.sources import DAMAGE
from bench_datasets.splitting import DrawnDataset, Given, GivenArrays, GivenSplit, shares_to_draw
from benchmark import SPLITS, InputError, MissingError, near_match

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
            stored = {x_key: self._array(file, x_key) for x_key, _ in keys.values()}
            labels = {y_key: self._label_array(file, y_key) for _, y_key in keys.values()}
        for x_key, y_key in keys.values():
            if stored[x_key].size == 0:
                raise InputError(f"{where}: {x_key}: has no images (shape {stored[x_key].shape}).")
            if stored[x_key].ndim and len(stored[x_key]) != len(labels[y_key]):
                raise InputError(
                    f"{where}: {x_key} has {len(stored[x_key])} images and {y_key} has {len(labels[y_key])} labels; "
                    "the numbers must be equal. The first axis of both counts the images."
                )
        images = {key: self._in_0_1(array, f"{where}: {key}") for key, array in self._channels_first(stored).items()}
        names = self._class_names(labels, keys["train"][1])
        splits: dict[str, GivenSplit] = {
            split: GivenArrays(images[x_key], labels[y_key], names) for split, (x_key, y_key) in keys.items()
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

    def _channels_first(self, stored: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return the images of each key as (N, C, H, W), in the one shape that all keys can have."""
        layouts = {key: self._layouts(array, f"{self._path}: {key}") for key, array in stored.items()}
        shapes = {key: {_shape(stored[key], layout) for layout in found} for key, found in layouts.items()}
        common = set.intersection(*shapes.values())
        listed = ", ".join(f"{key} {stored[key].shape}" for key in stored)
        if not common:
            raise InputError(f"{self._path}: the images differ in shape: {listed}. All splits need one (C, H, W).")
        if len(common) > 1:
            raise InputError(
                f"{self._path}: the shapes {listed} can be {' or '.join(layouts[next(iter(stored))])}. Set `layout:` "
                "to one of them."
            )
        (shape,) = common
        answer = {}
        for key, array in stored.items():
            fitting = [layout for layout in layouts[key] if _shape(array, layout) == shape]
            if len(fitting) > 1:  # such as (N, 3, 3, 3): both give the same shape, and not the same images
                raise InputError(
                    f"{self._path}: {key}: the shape {array.shape} can be {' or '.join(fitting)}. Set `layout:` to one "
                    "of them."
                )
            answer[key] = array.transpose(_AXES[fitting[0]]) if fitting[0] != "NHW" else array[:, None]
        return answer

    def _layouts(self, images: np.ndarray, where: str) -> list[str]:
        """Return how the axes of an array can be read."""
        asked = self.options.layout
        readable = [layout for layout in ("NHW", "NHWC", "NCHW") if images.ndim == len(layout)]
        readable = [layout for layout in readable if _shape(images, layout)[0] in _CHANNELS]
        found = readable if asked is None else [layout for layout in readable if layout == asked]
        if not found:
            given = f"shape {images.shape}" + (f" with layout {asked}" if asked else "")
            reshape = " Flattened images: reshape them." if images.ndim == 2 else ""
            raise InputError(
                f"{where}: {given}; allowed: (N, H, W), and (N, H, W, C) or (N, C, H, W) with C 1 or 3.{reshape}"
            )
        return found

    def _in_0_1(self, images: np.ndarray, where: str) -> np.ndarray:
        """Return images as uint8, or as float32 in [0, 1]; white is the option `white`, or plain to see."""
        white = self.options.white
        if images.dtype.kind not in "buif" or images.dtype.itemsize > 8:
            raise InputError(f"{where}: found {images.dtype} pixels; allowed: whole numbers, and floats.")
        low, high = float(images.min()), float(images.max())  # NaN anywhere makes both NaN
        if not np.isfinite([low, high]).all():
            bad = np.flatnonzero(~np.isfinite(images).all(axis=(1, 2, 3)))
            raise InputError(
                f"{where}: {len(bad)} images hold NaN or infinity, the first is number {bad[0]} (from 0); "
                "all pixels must be finite, in [0, 1]."
            )
        if white is None:
            white = _white_of(images, low, high, where)
        elif white > 1 >= high > 0 and images.dtype.kind == "f":
            raise InputError(
                f"{where}: {images.dtype} pixels from {low:g} to {high:g} with white: {white:g}: they seem to be in "
                "[0, 1] already. Store all splits in one form."
            )
        if low < 0 or high > white:
            raise InputError(
                f"{where}: pixels from {low:g} to {high:g}; with white: {white:g} allowed is [0, {white:g}]."
            )
        if images.dtype == np.uint8 and white == 255:
            return images
        # The division by 1 would change no float, and copy all of them.
        floats = images.astype(np.float32, copy=False)
        return floats if white == 1 else floats / np.float32(white)

    def _label_array(self, file: np.lib.npyio.NpzFile, key: str) -> np.ndarray:
        """Return the labels of `key`: (N,) int64; one column, one-hot rows and floats that are whole are read too."""
        labels = self._array(file, key)
        where = f"{self._path}: {key}"
        found = f"{where}: found {labels.dtype} of shape {labels.shape}"
        if labels.dtype.kind not in "buif" or labels.ndim not in (1, 2):
            hint = " Names of classes: store their numbers, and give class_names." if labels.dtype.kind in "US" else ""
            raise InputError(f"{found}; labels are integers from 0, one per image, shape (N,).{hint}")
        if labels.dtype.kind == "f" and not (np.isfinite(labels) & (labels == np.floor(labels))).all():
            soft = labels.ndim == 2 and labels.shape[1] > 1
            raise InputError(
                f"{found} that are no whole numbers; labels are integers from 0, one per image, shape (N,). "
                + (
                    "Soft labels: take their argmax, if one class is meant."
                    if soft
                    else "Round them, if that is meant."
                )
            )
        if labels.ndim == 2 and labels.shape[1] == 1:
            labels = labels[:, 0]
        elif labels.ndim == 2:
            if not (((labels == 0) | (labels == 1)).all() and (labels.sum(axis=1) == 1).all()):
                raise InputError(
                    f"{found}; labels are integers from 0, one per image, shape (N,), or one-hot rows: a single 1 "
                    "each. Several labels per image are not read: choose one."
                )
            labels = labels.argmax(axis=1)
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


_AXES = {"NHWC": (0, 3, 1, 2), "NCHW": (0, 1, 2, 3)}


def _shape(images: np.ndarray, layout: str) -> tuple[int, ...]:
    """Return (C, H, W) of images whose axes are read as `layout`."""
    if layout == "NHW":
        return (1, *images.shape[1:])
    return tuple(images.shape[axis] for axis in _AXES[layout][1:])


def _white_of(images: np.ndarray, low: float, high: float, where: str) -> float:
    """Return the value that is white, where the pixels leave no doubt.

    Raises:
        InputError: they do; the message says which value of `white` means what.
    """
    found = f"{where}: {images.dtype} pixels from {low:g} to {high:g}"
    if images.dtype.kind == "b":
        return 1
    if images.dtype == np.uint8:
        if high != 1:
            return 255
        raise InputError(
            f"{found}: is 1 white, or nearly black? Set `white: 1` for images of black and white, `white: 255` for "
            "images this dark."
        )
    if images.dtype.kind in "iu":
        raise InputError(f"{found}; say which value is white: `white: 255` for 8 bits, `white: 65535` for 16.")
    if low < 0:
        raise InputError(f"{found}; allowed is [0, 1]. Undo any standardisation.")
    if high > 1:
        hint = "Divide by 255, or set `white: 255`." if high <= 255 else "Say which value is white by `white:`."
        raise InputError(f"{found}; allowed is [0, 1]. {hint}")
    if 0 < high <= 1 / 255 * (1 + 1e-6):
        raise InputError(
            f"{found}: they seem to have been divided by 255 twice. Multiply by 255, or set `white: {1 / 255:.6g}`; "
            "`white: 1` takes them as they are."
        )
    return 1


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
