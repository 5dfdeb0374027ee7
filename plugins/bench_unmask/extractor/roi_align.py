"""RoIAlign over a feature pyramid as one weighted sum of pixels per cell, which a CPU is fast at."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag
from torchvision.ops import MultiScaleRoIAlign


class BagRoIAlign(MultiScaleRoIAlign):
    """torchvision's pooling of boxes from a pyramid; the same numbers but for rounding, within the image.

    RoIAlign falls to 0 where a sample lies more than a pixel beyond a border: one exactly there may count or not.

    torchvision's kernel for CPUs takes channel by channel, and finds out anew for each which pixels a cell lies
    between: its backward pass was half of what a step of an attack on the part extractor took. Here a cell is a bag of
    pixels with weights, the same for all channels (`torch.nn.functional.embedding_bag`). Other devices get the kernel.

    Source: He, Gkioxari, Dollár, Girshick, "Mask R-CNN", ICCV 2017, section 3 (RoIAlign); Lin et al., "Feature Pyramid
    Networks for Object Detection", CVPR 2017, Eq. 1 (the level of a box).
    """

    def forward(self, x: dict[str, Tensor], boxes: list[Tensor], image_shapes: list[tuple[int, int]]) -> Tensor:
        """Return (R, C, side, side), the boxes of all images in order.

        Args:
            x: maps (N, C, H, W) by name, largest first.
            boxes: of each image, (n, 4) in its pixels.
            image_shapes: height and width of each image.
        """
        rois = torch.cat(boxes)
        if not rois.is_cpu:
            found: Tensor = super().forward(x, boxes, image_shapes)
            return found
        maps = [x[name] for name in self.featmap_names if name in x]
        # A row of channels per pixel, of all images and maps.
        pixels = torch.cat([one.permute(0, 2, 3, 1).flatten(0, 2) for one in maps]).to(rois.dtype)
        shapes = torch.tensor([one.shape[2:] for one in maps])
        image = torch.repeat_interleave(torch.arange(len(boxes)), torch.tensor([len(one) for one in boxes]))
        level, scale = self._levels(rois, maps, image_shapes)
        height, width = shapes[level].unbind(1)
        before = torch.cumsum(len(boxes) * shapes.prod(1), 0) - len(boxes) * shapes.prod(1)
        first = before[level] + image * height * width
        x0, y0, x1, y1 = (rois * scale[:, None]).unbind(1)
        rows, row_weights = self._along(y0, y1, height, self.output_size[0])
        columns, column_weights = self._along(x0, x1, width, self.output_size[1])
        # (R, cells down, cells across, pixels down, pixels across)
        place = rows[:, :, None, :, None] * width.view(-1, 1, 1, 1, 1) + columns[:, None, :, None, :]
        weight = row_weights[:, :, None, :, None] * column_weights[:, None, :, None, :]
        cells = embedding_bag(
            (first.view(-1, 1, 1, 1, 1) + place).flatten(0, 2).flatten(1),
            pixels,
            per_sample_weights=weight.flatten(0, 2).flatten(1),
            mode="sum",
        )
        return cells.view(len(rois), *self.output_size, pixels.shape[1]).permute(0, 3, 1, 2)

    def _levels(
        self, rois: Tensor, maps: Sequence[Tensor], image_shapes: Sequence[tuple[int, int]]
    ) -> tuple[Tensor, Tensor]:
        """Return the map (R) that each box is pooled from, and the scale (R) of that map."""
        longest = max(height for height, _ in image_shapes)
        powers = [round(math.log2(one.shape[2] / longest)) for one in maps]
        side = ((rois[:, 2] - rois[:, 0]) * (rois[:, 3] - rois[:, 1])).sqrt()
        level = torch.floor(self.canonical_level + torch.log2(side / self.canonical_scale) + 1e-6)
        level = level.clamp(-powers[0], -powers[-1]).long() + powers[0]
        return level, torch.tensor([2.0**power for power in powers], dtype=rois.dtype)[level]

    def _along(self, first: Tensor, last: Tensor, length: Tensor, cells: int) -> tuple[Tensor, Tensor]:
        """Return the pixels (R, cells, 2 samples) of one axis that the samples of a cell lie between, and weights.

        Args:
            first: (R) where the boxes begin.
            last: (R) where they end.
            length: (R) pixels of the axis.
            cells: that a box is divided into.
        """
        samples = cells * self.sampling_ratio
        steps = (torch.arange(samples, dtype=first.dtype) + 0.5) / samples
        place = first[:, None] + (last - first).clamp_min(1)[:, None] * steps
        end = length[:, None] - 1
        inside = (place >= -1) & (place <= end + 1)
        place = place.clamp_min(0).minimum(end)
        low = place.long()
        share = place - low
        near = torch.stack([low, torch.minimum(low + 1, end)], -1)
        weight = torch.stack([1 - share, share], -1) * inside[..., None] / self.sampling_ratio
        shape = (len(first), cells, 2 * self.sampling_ratio)
        return near.view(shape), weight.view(shape)
