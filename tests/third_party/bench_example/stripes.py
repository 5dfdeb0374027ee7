"""Images made on the spot: no files, no download."""

import numpy as np
from pydantic import Field

from benchmark import ArraySplit, Dataset, DatasetOptions, Rng


class StripesOptions(DatasetOptions):
    images: int = Field(200, ge=2)
    """Images per split."""

    contrast: float = Field(0.5, gt=0, le=1)
    """Difference between light and dark stripes."""


class Stripes(Dataset):
    Options = StripesOptions
    caption = "Synthetic stripes: they show that the machinery works and say nothing about real images."

    def check(self) -> None:
        pass  # nothing has to be on this machine

    def fingerprint(self) -> str:
        return f"stripes 1: {self.options.images} images, contrast {self.options.contrast}"

    def load(self, split: str) -> ArraySplit:
        rng = Rng(0).spawn("stripes", split).numpy
        labels = np.arange(self.options.images) % 2
        phases = rng.randint(0, 4, (self.options.images, 1, 1, 1))
        rows = ((np.arange(8).reshape(1, 1, 8, 1) + phases) % 4 < 2).repeat(8, axis=3)  # (N, 1, 8, 8)
        light = np.where(labels.reshape(-1, 1, 1, 1) == 0, rows, rows.swapaxes(2, 3))
        noise = rng.uniform(0, 1 - self.options.contrast, light.shape)
        return ArraySplit((self.options.contrast * light + noise).astype(np.float32), labels, ["rows", "columns"])
