"""Options of the part extractor K."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from benchmark import PACKAGE, InputFile, Options

TIMM = "timm:"
"""What stands before the name of a network of timm."""

LEVELS = 5
"""Feature maps of the pyramid, at strides 4, 8, 16, 32 and 64."""


class TrainingStage(Options):
    """A stretch of the training in which some layers learn and the others stay as they are."""

    layers: Literal["heads", "5+", "4+", "3+", "all"] = "all"
    """`heads`: pyramid, proposals, box and mask heads; `4+`: these and the backbone from its stage 4 up; `all`."""

    epochs: int = Field(ge=1)
    """Passes over the training images."""

    lr: float = Field(gt=0)
    """Learning rate of this stage, before warm-up and schedule."""


class PartExtractorOptions(Options):
    """A Mask R-CNN over parts. Defaults are those of the paper's implementation (Matterport's) where it has one."""

    backend: Literal["torchvision", "detectron2"] = "torchvision"
    """Library that the network comes from."""

    network: (
        Literal["resnet10-half", "resnet10", "resnet18", "resnet34", "resnet50", "resnet101"]
        | Annotated[str, Field(pattern=r"^timm:[A-Za-z0-9_]+$")]
    ) = "resnet50"
    """Backbone under the feature pyramid; `resnet10` has one block per stage, `resnet10-half` half as wide layers;
    `timm:NAME` takes those of timm whose blocks end at strides 4 to 32, such as timm:tf_efficientnet_lite0."""

    channels: int = Field(256, ge=16)
    """Width of the feature pyramid; the box head's two layers are four times as wide."""

    normalization: Literal["auto", "batch", "frozen", "group"] = "auto"
    """In the backbone. `auto`: frozen statistics with initial weights; without, those of the batch, or, except over
    timm, groups of channels where batches have fewer than 4 images."""

    masks: bool = True
    """Learn masks beside boxes. Alignment needs neither: a box-only K is faster to train and as fast to ask."""

    size: int | None = Field(None, ge=32)
    """Images are resized so that their shorter side has this many pixels; null takes them as they come."""

    anchors: tuple[int, ...] = (32, 64, 128, 256, 512)
    """Sides of the anchor boxes at strides 4, 8, 16, 32, 64, in pixels after resizing. Small images need small ones."""

    proposals: int = Field(1000, ge=1)
    """Boxes per image that the box head looks at when K is asked."""

    detections: int = Field(100, ge=1)
    """Most detections per image, over all parts."""

    nms: float = Field(0.3, gt=0, le=1)
    """Of two boxes of the same part that overlap more than this (IoU), only the better one is kept."""

    min_score: float = Field(0.05, ge=0, lt=1)
    """Detections of a lower score are dropped. The paper drops none, but its K gives a box one part only."""

    weights: Annotated[str | None, InputFile()] = None
    """Initial weights: a .safetensors or .pt file of K, of a detector with other parts, or of a backbone alone; those
    of a classifier in an installed package (package:efficientnet-lite0); or the name of some that a package offers,
    such as `partshapes`, a small K for drawn pictures."""

    stages: tuple[TrainingStage, ...] = (
        TrainingStage(layers="heads", epochs=10, lr=0.001),
        TrainingStage(layers="4+", epochs=20, lr=0.001),
        TrainingStage(layers="all", epochs=10, lr=0.0001),
    )
    """The training, in order; an empty list takes `weights` as they are. Without `weights` all layers learn in every
    stage: there is nothing worth keeping."""

    batch_size: int = Field(2, ge=1)
    """Images per step."""

    optimizer: Literal["sgd", "adamw"] = "sgd"
    """sgd (with momentum) or adamw."""

    momentum: float = Field(0.9, ge=0, lt=1)
    """Momentum of sgd."""

    weight_decay: float = Field(1e-4, ge=0)
    """L2 penalty (sgd) or decoupled decay (adamw), on weights; not on biases and normalisation."""

    schedule: Literal["constant", "cosine", "onecycle"] = "constant"
    """How the learning rate moves over all stages together: `cosine` falls to 0; `onecycle` rises from a 25th for three
    tenths of the steps, and falls to nothing."""

    warmup: int = Field(0, ge=0)
    """Steps over which the learning rate rises from nothing at the start: training from scratch needs some hundred."""

    clip: float | None = Field(5.0, gt=0)
    """Longest gradient; a longer one is shortened."""

    flip: bool = True
    """Mirror half of the training images; `..._left` becomes `..._right`, which the paper's K did not do."""

    rois: int = Field(200, ge=1)
    """Boxes per image that the box head learns from."""

    precision: Literal["float32", "bfloat16"] = "float32"
    """bfloat16: mixed precision by PyTorch's autocast in the steps of training; weights, and all that asks K, stay in
    float32. 1.5 times faster on a CPU that has it."""

    @model_validator(mode="after")
    def _options_fit_together(self) -> PartExtractorOptions:
        if len(self.anchors) != LEVELS or any(side < 1 for side in self.anchors):
            raise PydanticCustomError(
                "anchors",
                "anchors: expected {levels} sides above 0, one per feature map, found {found}",
                {"levels": LEVELS, "found": list(self.anchors)},
            )
        if not self.stages and self.weights is None:
            raise PydanticCustomError("untrained", "stages: an empty training needs `weights`")
        if self.normalization == "frozen" and self.weights is None:
            raise PydanticCustomError(
                "frozen", "normalization: frozen statistics come with `weights`; without them choose batch or group"
            )
        if self.weights is not None and self.weights.startswith(PACKAGE) and not self.network.startswith(TIMM):
            raise PydanticCustomError(
                "package",
                "weights: {weights} is for networks of timm, not for {network}: give a file, or `network: timm:NAME`",
                {"weights": self.weights, "network": self.network},
            )
        if self.network.startswith(TIMM) and (self.backend != "torchvision" or self.normalization == "group"):
            raise PydanticCustomError(
                "timm",
                "network: {network} goes with `backend: torchvision`, and with `normalization` batch, frozen or auto",
                {"network": self.network},
            )
        return self
