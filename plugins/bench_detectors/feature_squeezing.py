"""The feature squeezing detector.

Xu, Evans, Qi, "Feature Squeezing: Detecting Adversarial Examples in Deep Neural Networks", NDSS 2018, section III
(squeezers), section V (the score: L1 distance of softmax outputs, maximum over squeezers). Non-local means: Buades,
Coll, Morel, "A non-local algorithm for image denoising", CVPR 2005, as OpenCV does it, which the paper uses: its
weights, and colour images in CIELAB.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from bench_detectors.options import FeatureSqueezingDetectorOptions
from benchmark import Batch, Defense, Passes, PublishedAttack, TrainOptions, Verdict

TO_XYZ = ((0.412453, 0.357580, 0.180423), (0.212671, 0.715160, 0.072169), (0.019334, 0.119193, 0.950227))
"""From RGB, taken as linear as OpenCV takes it here, to CIE XYZ (ITU-R BT.709 primaries, white point D65)."""
LARGEST_WINDOWS = 2**26
"""Pixels of all windows that a median is taken of at a time (256 MiB)."""


def reduce_bits(x: Tensor, bit_depth: int) -> Tensor:
    """Return images (N, C, H, W) rounded to 2^bit_depth levels. Backward, rounding counts as the identity."""
    levels = 2**bit_depth - 1
    return x + ((x * levels).round() / levels - x).detach()


def median_filter(x: Tensor, side: int) -> Tensor:
    """Return images (N, C, H, W) with each pixel replaced by the median of the side x side window around it.

    As `scipy.ndimage.median_filter(mode="reflect")` per channel: an even window has its extra pixel before the centre,
    and the upper of its two middle values is taken.
    """
    padded = _padded(x, side // 2, (side - 1) // 2, "symmetric")
    at_a_time = max(1, LARGEST_WINDOWS // (x[0].numel() * side**2))
    return torch.cat(
        [
            part.unfold(2, side, 1).unfold(3, side, 1).flatten(4).sort(4).values[..., side**2 // 2]
            for part in padded.split(at_a_time)
        ]
    )


def denoise(x: Tensor, strength: float, search: int, patch: int) -> Tensor:
    """Return images (N, C, H, W) in [0, 1] smoothed by non-local means; of colour images, lightness and colour apart.

    As OpenCV's `fastNlMeansDenoisingColored` (three channels) and `fastNlMeansDenoising` (any other number), but for
    its rounding to 8 bits.

    Args:
        x: images.
        strength: of the filter, in steps of 1/255.
        search: side of the search window, odd.
        patch: side of the patches, odd.
    """
    if x.shape[1] != 3:
        return non_local_means(x, strength / 255, search, patch)
    parts = (non_local_means(part, strength / 255, search, patch) for part in to_lab(x).split([1, 2], 1))
    return from_lab(torch.cat(list(parts), 1)).clamp(0, 1)


def non_local_means(x: Tensor, strength: float, search: int, patch: int) -> Tensor:
    """Return images (N, C, H, W) with each pixel replaced by the mean of those whose surroundings look alike.

    A pixel of the search window weighs exp(-d^2 / h^2), with d^2 the mean squared difference of the two patches over
    pixels and channels.

    Args:
        x: images.
        strength: h, in the unit of the images.
        search: side of the search window, odd.
        patch: side of the patches, odd.
    """
    reach, radius = search // 2, patch // 2
    height, width = x.shape[2:]
    padded = _padded(x, reach + radius, reach + radius, "reflect")
    surroundings = padded[:, :, reach : reach + height + 2 * radius, reach : reach + width + 2 * radius]
    total, weights = torch.zeros_like(x), torch.zeros_like(x[:, :1])
    for down in range(search):
        for right in range(search):
            shifted = padded[:, :, down : down + height + 2 * radius, right : right + width + 2 * radius]
            squares = avg_pool2d((shifted - surroundings).square().mean(1, keepdim=True), patch, stride=1)
            weight = (-squares / strength**2).exp()
            total = total + weight * shifted[:, :, radius : radius + height, radius : radius + width]
            weights = weights + weight
    return total / weights


def to_lab(x: Tensor) -> Tensor:
    """Return RGB images (N, 3, H, W) in [0, 1] as CIELAB: L / 100, a / 255, b / 255, which OpenCV keeps in 8 bits."""
    matrix = torch.tensor(TO_XYZ, dtype=x.dtype, device=x.device)
    ratios = torch.einsum("ij,njhw->nihw", matrix / matrix.sum(1, keepdim=True), x)
    # A straight line near 0, where the cube root is infinitely steep.
    roots = torch.where(ratios > 0.008856, ratios.clamp_min(0.008856) ** (1 / 3), 7.787 * ratios + 16 / 116)
    first, second, third = roots.unbind(1)
    return torch.stack([1.16 * second - 0.16, 500 / 255 * (first - second), 200 / 255 * (second - third)], 1)


def from_lab(lab: Tensor) -> Tensor:
    """Return what `to_lab` was given."""
    lightness, a, b = lab.unbind(1)
    second = (lightness + 0.16) / 1.16
    roots = torch.stack([second + 255 / 500 * a, second, second - 255 / 200 * b], 1)
    ratios = torch.where(roots > 0.008856 ** (1 / 3), roots**3, (roots - 16 / 116) / 7.787)
    matrix = torch.tensor(TO_XYZ, dtype=lab.dtype, device=lab.device)
    inverse = torch.linalg.inv(matrix / matrix.sum(1, keepdim=True))
    return torch.einsum("ij,njhw->nihw", inverse, ratios)


def _padded(x: Tensor, before: int, after: int, mode: str) -> Tensor:
    """Return images (N, C, H, W) with mirrored rows and columns added; `mode` as in `numpy.pad`."""
    rows, columns = (
        torch.from_numpy(np.pad(np.arange(size), (before, after), mode=mode)).to(x.device)  # type: ignore[call-overload]
        for size in x.shape[2:]
    )
    return x[:, :, rows][..., columns]


class FeatureSqueezingDetector(Defense):
    """Suspects images to which the classifier answers otherwise when they are squeezed.

    The score is the largest L1 distance, over the squeezers, of the softmax output on the squeezed image from that on
    the image: 0 to 2. The label is the classifier's. Learns nothing; the host sets the threshold.
    """

    family = "detector"
    Options = FeatureSqueezingDetectorOptions
    options: FeatureSqueezingDetectorOptions
    published_attacks = (
        PublishedAttack("He et al. 2017, Ensembles of Weak Defenses, arXiv:1706.04701", None, "MNIST and CIFAR-10, l2"),
    )

    def passes(self, train: int, val: int, recipe: TrainOptions | None) -> Passes | None:
        """Return none: there is nothing to learn."""
        return Passes()

    def squeezed(self, x: Tensor) -> Iterator[Tensor]:
        """Yield the images (N, C, H, W) as each squeezer returns them."""
        options = self.options
        if options.bit_depth is not None:
            yield reduce_bits(x, options.bit_depth)
        if options.median is not None:
            yield median_filter(x, options.median)
        if options.nlm_strength is not None:
            yield denoise(x, options.nlm_strength, options.nlm_search, options.nlm_patch)

    def judge(self, batch: Batch) -> Verdict:
        """Compare the classifier's answers."""
        return Verdict(label=batch.logits.argmax(1), score=self._suspicion(batch.x, batch.logits))

    def detector_loss(self, x: Tensor) -> Tensor:
        """Return the score (N,), differentiable: rounding to fewer bits counts as the identity (BPDA)."""
        return self._suspicion(x, self.classifier(x))

    def _suspicion(self, x: Tensor, logits: Tensor) -> Tensor:
        answer = logits.softmax(1)
        distances = [(self.classifier(image).softmax(1) - answer).abs().sum(1) for image in self.squeezed(x)]
        return torch.stack(distances).amax(0)
