"""Options of the models; imports no torch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from benchmark import Function, InputFile, ModelOptions, TrainOptions, read_by_host

RESNETS = ("resnet", "resnext", "wide_resnet")
"""Beginnings of the torchvision names that `stem: cifar` is for."""


class FileWeightsOptions(ModelOptions):
    """Options of a model that knows no weights by name."""

    weights: Annotated[str | None, InputFile()] = None
    """Initial weights: a file (.safetensors, or of tensors by torch.save: .pt, .pth, .pth.tar, .ckpt, .bin), or those
    of an installed package (package:efficientnet-lite0). Where only the number of classes differs, the last layer is
    new."""

    @field_validator("weights")
    @classmethod
    def _weights_are_a_file(cls, weights: str | None) -> str | None:
        if weights is not None and not read_by_host(weights):
            raise PydanticCustomError(
                "weights_file",
                "'{weights}' is no weights file: this model takes a path that ends in .safetensors, .pt or .pth, or "
                "package:NAME",
                {"weights": weights},
            )
        return weights


class SmallCnnOptions(FileWeightsOptions):
    """Options of the small convolutional network."""

    width: int = Field(32, ge=1)
    """Channels of the first block; each further block has twice as many."""

    depth: int = Field(3, ge=1, le=8)
    """Blocks of convolution, batch norm, ReLU and 2x2 max-pool; the images need 2^depth pixels a side."""

    hidden: int = Field(128, ge=1)
    """Neurons of the fully connected hidden layer."""

    dropout: float = Field(0.0, ge=0, lt=1)
    """Share of the hidden layer that is dropped in training."""

    batch_norm: bool = True
    """Normalise after each convolution; without it the convolutions have biases."""


class Cnn6Training(TrainOptions):
    """The host's recipe with a learning rate that CNN-6 bears: it has no normalisation."""

    lr: float = Field(0.01, gt=0)
    """Learning rate at its highest."""


class Cnn6Options(FileWeightsOptions):
    """Options of CNN-6."""

    train: Cnn6Training | None = Cnn6Training()
    """The training recipe; null uses the network with its initial weights as they are."""


class IDefenderEOptions(FileWeightsOptions):
    """Options of I-defender's model E."""


class IDefenderFOptions(FileWeightsOptions):
    """Options of I-defender's model F."""

    third_convolution: bool = False
    """Add Conv(128, 5x5, 1) and ReLU before the last layer: not in I-defender's Table 1, but in the model F that
    the authors of Defense-GAN released, from whom I-defender has it."""


class CifarResNetTraining(TrainOptions):
    """He et al. 2016, section 4.2, with a cosine schedule, which scales with the number of epochs."""

    epochs: int = Field(164, ge=1)
    """Passes over the training images."""

    lr: float = Field(0.1, gt=0)
    """Learning rate at its highest."""

    weight_decay: float = Field(1e-4, ge=0)
    """L2 penalty (sgd) or decoupled decay (adamw)."""

    augment: tuple[Literal["flip", "crop"], ...] = ("flip", "crop")
    """`flip`: left-right with probability one half; `crop`: random crop after padding by `crop_padding`."""


class WideResNetTraining(CifarResNetTraining):
    """Zagoruyko and Komodakis 2016, section 3, with a cosine schedule and no Nesterov momentum."""

    epochs: int = Field(200, ge=1)
    """Passes over the training images."""

    weight_decay: float = Field(5e-4, ge=0)
    """L2 penalty (sgd) or decoupled decay (adamw)."""


class CifarResNetOptions(FileWeightsOptions):
    """Options of a ResNet for small images."""

    block: Literal["basic", "bottleneck"] = "basic"
    """basic: two 3x3 convolutions; bottleneck: 1x1, 3x3, 1x1 with four times as many channels out."""

    depth: int = 20
    """Layers with weights: 6n + 2 with basic blocks (20, 32, 44, 56, 110), 9n + 2 with bottlenecks (29, 56, 110, 164);
    n is the number of blocks per stage."""

    width: int = Field(16, ge=1)
    """Channels of the first of three stages; each further stage has twice as many."""

    hidden: int | None = Field(None, ge=1)
    """Neurons of an additional fully connected layer before the logits, such as PCL's 1024; it has no activation."""

    train: CifarResNetTraining | None = CifarResNetTraining()
    """The training recipe; null uses the network with its initial weights as they are."""

    @field_validator("depth")
    @classmethod
    def _depth_fits_the_block(cls, depth: int, info: ValidationInfo) -> int:
        block = info.data.get("block")
        if block is None:  # its own error is reported
            return depth
        per_block = 6 if block == "basic" else 9
        return _checked_depth(depth, per_block, 2, f"with {block} blocks")


class WideResNetOptions(FileWeightsOptions):
    """Options of a Wide ResNet."""

    depth: int = 28
    """Layers with weights, 6n + 4: 16, 22, 28, 34, 40; n is the number of blocks per stage."""

    width: int = Field(10, ge=1)
    """Factor on the channels of the three stages, 16, 32 and 64: the 10 of WRN-28-10."""

    dropout: float = Field(0.0, ge=0, lt=1)
    """Share dropped between the two convolutions of a block in training."""

    train: WideResNetTraining | None = WideResNetTraining()
    """The training recipe; null uses the network with its initial weights as they are."""

    @field_validator("depth")
    @classmethod
    def _depth_fits(cls, depth: int) -> int:
        return _checked_depth(depth, 6, 4, "in a Wide ResNet")


class TorchvisionOptions(ModelOptions):
    """Options of a torchvision classifier."""

    arch: str = Field(pattern=r"^[A-Za-z0-9_]+$")
    """Name in torchvision.models, such as resnet18, densenet121, vit_b_16."""

    stem: Literal["imagenet", "cifar"] = "imagenet"
    """First layers of a ResNet. imagenet: 7x7 convolution of stride 2 and max-pool; cifar: 3x3 convolution of stride 1
    and no max-pool, the usual ResNet-18 for images of 32x32."""

    weights: Annotated[str | None, InputFile()] = None
    """Initial weights: a name that torchvision knows for the architecture, such as IMAGENET1K_V1, with a new last
    layer; or a .safetensors, .pt or .pth file of tensors for the whole network."""

    norm_momentum: float | None = Field(None, gt=0, le=1)
    """Share of a batch in the running statistics of batch normalization; null leaves what torchvision chose. MobileNets
    have 0.01, for long training: after some hundred steps these statistics lag behind the weights, and a network that
    has learned its images names one class for all. 0.1 is PyTorch's usual value."""

    # Not part of what a run's keys hold: where weights come from does not change them.
    download: bool = Field(False, exclude=True)
    """Fetch named weights that are not on this machine."""

    @field_validator("stem")
    @classmethod
    def _stem_fits(cls, stem: str, info: ValidationInfo) -> str:
        arch, weights = info.data.get("arch", ""), info.data.get("weights")
        if stem == "cifar" and arch and not arch.startswith(RESNETS):
            raise PydanticCustomError(
                "stem_arch", "cifar is for ResNets (resnet18, resnext50_32x4d, ...), not for {arch}", {"arch": arch}
            )
        if stem == "cifar" and weights is not None and not read_by_host(weights):
            raise PydanticCustomError(
                "stem_weights",
                "{weights} was trained with the imagenet stem and does not fit the cifar stem: leave one of them out",
                {"weights": weights},
            )
        return stem


class TimmOptions(FileWeightsOptions):
    """Options of a timm classifier."""

    arch: str = Field(pattern=r"^[A-Za-z0-9_.\-]+$")
    """Name in timm.list_models(), such as resnet18 or vit_tiny_patch16_224, with a tag if wanted (resnet18.a1_in1k)."""

    pretrained: bool = False
    """Begin with the weights published for the name and tag, with a new last layer."""

    # Not part of what a run's keys hold: where weights come from does not change them.
    download: bool = Field(False, exclude=True)
    """Fetch published weights that are not on this machine."""

    @field_validator("pretrained")
    @classmethod
    def _one_source_of_weights(cls, pretrained: bool, info: ValidationInfo) -> bool:
        if pretrained and info.data.get("weights") is not None:
            raise PydanticCustomError("weights_twice", "give pretrained: true or a weights file, not both")
        return pretrained


class PythonFactoryOptions(FileWeightsOptions):
    """Options of a network from a Python function."""

    factory: Annotated[str, Function()] = Field(
        pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*$"
    )
    """`package.module:function`: called with num_classes and image_shape=(C, H, W) where it has arguments of these
    names (num_classes also where it has **kwargs), it returns a torch.nn.Module from images (N, C, H, W) to logits
    (N, num_classes)."""

    arguments: dict[str, Any] = {}
    """Further keyword arguments of the function."""


def _checked_depth(depth: int, per_block: int, constant: int, where: str) -> int:
    blocks = (depth - constant) / per_block
    if blocks < 1 or blocks != int(blocks):
        below = max(1, int(blocks))
        raise PydanticCustomError(
            "depth",
            "a depth of {depth} does not exist {where}: it is {rule}; the nearest are {nearest}",
            {
                "depth": depth,
                "where": where,
                "rule": f"{per_block}n + {constant}",
                "nearest": _in_words(per_block * n + constant for n in (below, below + 1)),
            },
        )
    return depth


def _in_words(numbers: Iterable[int]) -> str:
    return " and ".join(map(str, numbers))
