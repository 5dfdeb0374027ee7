"""Options of the part-based classifier; imports no torch, so that suites are validated fast."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from benchmark import AdversarialOptions, HardenerOptions


class PartModelOptions(HardenerOptions):
    """Options of the part-based classifier."""

    init: Literal["scratch"] = "scratch"
    """Always scratch: the segmenter is another network than the model."""

    variant: Literal["downsampled", "bounding-box"] = "downsampled"
    """What the tiny classifier is told of the parts' masks: their means over a grid, or share, centre and spread of
    each."""

    segmenter: Literal[
        "lraspp_mobilenet_v3_large", "deeplabv3_mobilenet_v3_large", "deeplabv3_resnet50", "fcn_resnet50"
    ] = "deeplabv3_resnet50"
    """Segmentation network of torchvision, untrained. The paper's is DeepLabv3+ on a ResNet-50; torchvision has
    DeepLabv3, without the decoder."""

    grid: int = Field(4, ge=1)
    """Cells a side of the downsampled masks."""

    segmentation: float = Field(0.5, ge=0, le=1)
    """Share of the segmentation's loss; the rest is the classification's (the paper's c_seg)."""

    norm_momentum: float = Field(0.1, gt=0, le=1)
    """Share of a batch in the running statistics of batch normalization; 0.1 is PyTorch's usual value."""

    adversarial: AdversarialOptions | None = None
    """How adversarial examples are made that it is trained on instead of the images, such as `{eps: 8/255}`; null
    trains on the images as they are."""
