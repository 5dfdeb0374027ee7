"""The network: a segmenter of parts, and a tiny classifier that sees nothing but its masks."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.models import segmentation

from bench_partmodel.options import PartModelOptions

HIDDEN = 50
"""Neurons of the tiny classifier's hidden layer, as in the authors' code."""

_LEAST = 1e-6


class PartModel(nn.Module):
    """Images (N, 3, H, W), normalised, to logits (N, classes), through the probabilities of parts at each pixel."""

    def __init__(self, options: PartModelOptions, parts: int, classes: int) -> None:
        """Build for so many part classes, background not counted, with weights from torch's global generator."""
        super().__init__()
        self.segmenter = segmentation.__dict__[options.segmenter](
            weights=None, weights_backbone=None, num_classes=parts + 1
        )
        for module in self.segmenter.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = options.norm_momentum
        self.masks = nn.Identity()  # a name by which the segmenter's logits can be asked for
        self.told: nn.Module
        if options.variant == "downsampled":
            self.told = nn.Sequential(nn.AdaptiveAvgPool2d(options.grid), nn.Flatten())
            width = (parts + 1) * options.grid**2
        else:
            self.told, width = Boxes(), 5 * (parts + 1)
        self.tiny = nn.Sequential(
            nn.BatchNorm1d(width),
            nn.Linear(width, HIDDEN),
            nn.BatchNorm1d(HIDDEN),
            nn.ReLU(),
            nn.Linear(HIDDEN, classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, classes)."""
        if x.shape[1] == 1:
            x = x.expand(-1, 3, -1, -1)
        masks = self.masks(self.segmenter(x)["out"])
        found: Tensor = self.tiny(self.told(masks.softmax(1)))
        return found


class Boxes(nn.Module):
    """Masks (N, P, H, W) to share, centre and spread of each (N, 5 P), in the image's units of -1 to 1.

    A soft bounding box: centre and spread are mean and standard deviation of the pixels' places,
    weighted by the mask.
    """

    def forward(self, masks: Tensor) -> Tensor:
        """Return the five numbers of every part."""
        share = masks.mean((2, 3))
        told = [share]
        for along, size in ((2, masks.shape[3]), (3, masks.shape[2])):
            weights = masks.sum(along) / (masks.sum((2, 3)).unsqueeze(2) + _LEAST)
            places = torch.linspace(-1, 1, size, device=masks.device, dtype=masks.dtype)
            centre = (weights * places).sum(2)
            spread = (weights * (places - centre.unsqueeze(2)) ** 2).sum(2)
            told += [centre, (spread + _LEAST).sqrt()]
        return torch.cat(told, 1)
