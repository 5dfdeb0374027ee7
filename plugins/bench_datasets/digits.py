"""scikit-learn's copy of the test part of the UCI optical digits: real data that needs no file of the user's.

E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository, 1998.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np

from bench_datasets.options import DigitsOptions
from bench_datasets.splitting import DrawnDataset, Given, GivenArrays


class Digits(DrawnDataset):
    """1,797 handwritten digits, grey, in [0, 1]: counts of black pixels in 4x4 blocks, 0 to 16, divided by 16."""

    Options = DigitsOptions
    caption = (
        "Digits of 8x8 pixels from few writers: they show that methods run and how they react, "
        "and stand for no natural images."
    )

    def check(self) -> None:
        """Find nothing to do: the data comes with scikit-learn."""

    def read(self) -> Given:
        """Return all images as train, from which val and test are drawn."""
        numbers, target = _numbers()
        images = (numbers / 16).astype(np.float32)  # (1797, 8, 8)
        if self.options.size > 8:
            images = np.stack([_enlarged(image, self.options.size) for image in images])
        split = GivenArrays(images[:, None], target, [str(digit) for digit in range(10)])
        shares = {"val": self.options.val_share, "test": self.options.test_share}
        return Given({"train": split}, shares, "digits")


def _numbers() -> tuple[np.ndarray, np.ndarray]:
    """Return the counts (1797, 8, 8) and the digits (1797,), as scikit-learn's own reader does."""
    library = find_spec("sklearn")
    file = Path(library.origin or "").parent / "datasets" / "data" / "digits.csv.gz" if library is not None else None
    if file is None or not file.is_file():
        from sklearn.datasets import load_digits

        bunch = load_digits()
        return bunch.images, bunch.target
    # To import the reader takes ten times as long as to read.
    read = np.loadtxt(file, delimiter=",")
    return read[:, :-1].reshape(-1, 8, 8), read[:, -1].astype(np.int64)


def _enlarged(image: np.ndarray, size: int) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR))
