"""The interface between the part extractor and the library that its network comes from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from bench_unmask.extractor.options import TIMM, PartExtractorOptions

Stage = Literal[1, 2, 3, 4, 5, "heads"]


@dataclass(frozen=True)
class Scaling:
    """What is subtracted from each channel of the pixels in [0, 1], and what it is divided by then."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


IMAGENET = Scaling((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@dataclass(frozen=True)
class Target:
    """The annotated parts of one training image.

    Attributes:
        boxes: (n, 4) float32, x0, y0, x1, y1 in pixels of the batch's images, x0 < x1 and y0 < y1.
        labels: (n,) int64, index of the part from 0; n may be 0.
        masks: (n, H, W) bool, or None where no masks are learned.
    """

    boxes: Tensor
    labels: Tensor
    masks: Tensor | None = None


@dataclass(frozen=True)
class Detections:
    """What was found in a batch, one row per detection, best first within an image, images in order.

    Attributes:
        image: (n,) int64, index in the batch.
        labels: (n,) int64, index of the part from 0.
        scores: (n,) float32 in [0, 1].
        boxes: (n, 4) float32, x0, y0, x1, y1 in pixels of the batch's images, inside them.
        masks: (n, H, W) bool, or None where they were not asked for.
    """

    image: Tensor
    labels: Tensor
    scores: Tensor
    boxes: Tensor
    masks: Tensor | None = None


class Backend(ABC):
    """A detector of parts from some library. Lifecycle: the constructor, `network.to(device)`, then the rest.

    Images are batches (N, 3, H, W) RGB float32 in [0, 1], all resized already and on the network's device; subtracting
    `scaling`'s mean and dividing by its deviation, and padding to the strides, are up to the backend. Learned state is
    `network.state_dict()` and nothing else. Random draws come from torch's global generator, which the caller seeds
    around the constructor and around every call of `losses`.

    Attributes:
        options: those of the part extractor; all of them that concern the network or its detections are honoured.
        num_parts: how many parts there are; background is not counted.
        scaling: of the pixels.
        network: the network.
    """

    network: nn.Module

    def __init__(self, options: PartExtractorOptions, num_parts: int, scaling: Scaling = IMAGENET) -> None:
        """Build the network with initial weights drawn from torch's global generator."""
        self.options = options
        self.num_parts = num_parts
        self.scaling = scaling
        # Convolutions of such narrow networks take a third less time on a CPU so (perf/training.py).
        self.network = self.build().to(memory_format=torch.channels_last)

    @property
    def normalization(self) -> Literal["batch", "frozen", "group"]:
        """The backbone's normalisation, `auto` resolved."""
        options = self.options
        if options.normalization != "auto":
            return options.normalization
        if options.weights is not None:
            return "frozen"
        return "batch" if options.batch_size >= 4 or options.network.startswith(TIMM) else "group"

    @abstractmethod
    def build(self) -> nn.Module:
        """Return the untrained network for `self.num_parts` parts."""

    @abstractmethod
    def losses(self, x: Tensor, targets: Sequence[Target]) -> dict[str, Tensor]:
        """Return the parts of the training loss by name; their sum is what a step minimises.

        The network is in train mode. Frozen layers have `requires_grad` False, and their batch statistics stand still.
        """

    @abstractmethod
    def detect(self, x: Tensor, *, masks: bool = False) -> Detections:
        """Return the parts found in a batch; the network is in eval mode, no gradients are wanted.

        The answer for an image does not depend on the others. Without `masks` no mask head runs.
        """

    @abstractmethod
    def candidates(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the probabilities (n, P) of all parts at every proposal, and the proposals' images (n,) int64.

        Differentiable in the images, but for the places of the proposals; what `detect` finds of a part at best is its
        largest probability, since suppression spares that one. The network is in eval mode.
        """

    @abstractmethod
    def stage(self, name: str) -> Stage:
        """Return the place of the parameter or buffer `name` of `network.state_dict()`.

        1 is the backbone's first convolution with its normalisation, 2 to 5 its four stages of blocks, `heads` all that
        comes after (pyramid, proposals, box and mask heads), as in Matterport's layer names.
        """

    def translate(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return initial weights under the names of `network.state_dict()`.

        For files that name things otherwise, such as a bare backbone (`layer1.0.conv1.weight`).
        """
        return dict(tensors)

    def classifier(self) -> nn.Module:
        """Return the network whose names and order of tensors the weights of a package have.

        Such weights are allowed to networks of timm alone; of others, all of K.
        """
        return self.network

    def depends_on_parts(self, name: str) -> bool:
        """Tell whether the shape of the parameter `name` follows from the number of parts.

        Initial weights of a detector of other things do without these.
        """
        return False


def freeze(backend: Backend, layers: str) -> None:
    """Let the layers `heads`, `5+`, `4+`, `3+` or `all` learn, put them into train mode, and hold the others still."""
    first = {"heads": 6, "5+": 5, "4+": 4, "3+": 3, "all": 1}[layers]
    network = backend.network
    network.train()

    def learns(name: str) -> bool:
        stage = backend.stage(name)
        return stage == "heads" or stage >= first

    for name, parameter in network.named_parameters():
        parameter.requires_grad_(learns(name))
    for name, module in network.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.train(learns(f"{name}.weight"))
