"""The feature squeezing detector.

Xu, Evans, Qi, "Feature Squeezing: Detecting Adversarial Examples in Deep Neural Networks", NDSS 2018, section III
(squeezers), section V (the score: L1 distance of softmax outputs, maximum over squeezers). Non-local means: Buades,
Coll, Morel, "A non-local algorithm for image denoising", CVPR 2005, as OpenCV does it, which the paper uses: its
weights, and colour images in CIELAB.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from types import EllipsisType
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from bench_detectors.options import FeatureSqueezingDetectorOptions
from benchmark import Batch, Defense, Passes, PublishedAttack, TrainOptions, Verdict

TO_XYZ = ((0.412453, 0.357580, 0.180423), (0.212671, 0.715160, 0.072169), (0.019334, 0.119193, 0.950227))
"""From RGB, taken as linear as OpenCV takes it here, to CIE XYZ (ITU-R BT.709 primaries, white point D65)."""
LARGEST_WINDOWS = 2**22
"""Pixels of all windows that a median is taken of at a time: 16 MiB, of which more stays in caches than of 256 (on one
core a tenth to a quarter less time)."""
Region = tuple[EllipsisType, slice, slice]
"""Rows and columns of images (N, C, H, W)."""
LEAST_EXPONENT = -80.0
"""Of a weight: beside the 1 of the pixel itself less is nothing, and processors are slow at numbers below 1e-38."""


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
    pixels and channels. Differentiable once (`torch.autograd.function.once_differentiable`): a second derivative is
    refused where the incoming gradient is differentiable too, and elsewhere takes the first for a constant.

    Args:
        x: images.
        strength: h, in the unit of the images.
        search: side of the search window, odd.
        patch: side of the patches, odd.
    """
    reach, radius = search // 2, patch // 2
    padded = _padded(x, reach + radius, reach + radius, "reflect")
    smoothed: Tensor = _NonLocalMeans.apply(padded, strength, reach, radius)
    return smoothed


class _NonLocalMeans(torch.autograd.Function):
    """Non-local means of images with their margins, and its exact gradient.

    Written out, since autograd keeps and fills ten arrays per pixel of the search window. Two pixels weigh alike for
    one another, so half of the window gives all weights.
    """

    @staticmethod
    def forward(ctx: Any, padded: Tensor, strength: float, reach: int, radius: int) -> Tensor:
        margin, channels = reach + radius, padded.shape[1]
        height, width = (side - 2 * margin for side in padded.shape[2:])
        ctx.shifts = list(_shifts(height, width, reach, radius))
        ctx.inside = _region(margin, margin, height, width)
        ctx.side, ctx.scale = 2 * radius + 1, -1 / (channels * ((2 * radius + 1) * strength) ** 2)
        total = padded[ctx.inside].clone()
        weights, pairs = torch.ones_like(total[:, :1]), []
        for shift in ctx.shifts:
            squares = (padded[shift.there] - padded[shift.here]).square_().sum(1, keepdim=True)
            pair = _sums(squares, ctx.side).mul_(ctx.scale).clamp_min_(LEAST_EXPONENT).exp_()
            for pixels, weight in ((shift.ahead, pair[shift.to_ahead]), (shift.behind, pair[shift.to_behind])):
                total.addcmul_(padded[pixels], weight)
                weights += weight
            pairs.append(pair)
        means = total / weights
        ctx.save_for_backward(padded, means, weights, *pairs)
        return means

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        padded, means, weights, *pairs = ctx.saved_tensors
        to_total = gradient / weights
        to_weights = -(to_total * means).sum(1, keepdim=True)
        to_padded, around = torch.zeros_like(padded), ctx.side - 1
        to_padded[ctx.inside] += to_total
        for shift, pair in zip(ctx.shifts, pairs, strict=True):
            rows, columns = pair.shape[2:]
            to_sums = pair.new_zeros(len(pair), 1, rows + 2 * around, columns + 2 * around)
            to_pair = to_sums[_region(around, around, rows, columns)]
            for pixels, part in ((shift.ahead, shift.to_ahead), (shift.behind, shift.to_behind)):
                to_pair[part] += (to_total * padded[pixels]).sum(1, keepdim=True) + to_weights
                to_padded[pixels].addcmul_(to_total, pair[part])
            to_pair *= pair
            to_difference = (padded[shift.there] - padded[shift.here]) * _sums(to_sums, ctx.side).mul_(2 * ctx.scale)
            to_padded[shift.there] += to_difference
            to_padded[shift.here] -= to_difference
        return to_padded, None, None, None


@dataclass(frozen=True)
class _Shift:
    """A pixel of one half of the search window, and the one opposite to it, as regions of images with margins.

    Attributes:
        here: what the patches cover that are compared with those `there`.
        there: the same, moved by the shift.
        ahead: the pixel that lies there, for each pixel of the image.
        behind: the one opposite to it.
        to_ahead: of the weights of pairs, those of the pixels ahead.
        to_behind: those of the pixels behind.
    """

    here: Region
    there: Region
    ahead: Region
    behind: Region
    to_ahead: Region
    to_behind: Region


def _shifts(height: int, width: int, reach: int, radius: int) -> Iterator[_Shift]:
    margin = reach + radius
    for down in range(reach + 1):
        for right in range(-reach if down else 1, reach + 1):
            to_right, to_left = max(right, 0), max(-right, 0)
            patches = height + down + 2 * radius, width + abs(right) + 2 * radius
            yield _Shift(
                here=_region(reach - down, reach - to_right, *patches),
                there=_region(reach, reach - to_left, *patches),
                ahead=_region(margin + down, margin + right, height, width),
                behind=_region(margin - down, margin - right, height, width),
                to_ahead=_region(down, to_right, height, width),
                to_behind=_region(0, to_left, height, width),
            )


def _region(row: int, column: int, rows: int, columns: int) -> Region:
    return (..., slice(row, row + rows), slice(column, column + columns))


def _sums(x: Tensor, side: int) -> Tensor:
    """Return the sums (N, 1, H - side + 1, W - side + 1) over all side x side windows."""
    height, width = x.shape[2] - side + 1, x.shape[3] - side + 1
    rows = x[:, :, :height].clone()
    for down in range(1, side):
        rows += x[:, :, down : down + height]
    sums = rows[..., :width].clone()
    for right in range(1, side):
        sums += rows[..., right : right + width]
    return sums


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

    def passes_per_answer(self) -> Passes:
        """Return a pass of the image, and one of each squeezed version."""
        options = self.options
        return Passes(1 + sum(one is not None for one in (options.bit_depth, options.median, options.nlm_strength)))

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
