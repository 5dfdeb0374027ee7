"""Networks as people write them, for 1x4x4 images, named by `factory: own_networks:NAME` in tests."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


class Own(nn.Module):
    """Two layers, with something of the author's before and after them."""

    def __init__(
        self,
        num_classes: int,
        before: Callable[[Tensor], Tensor] = lambda x: x,
        after: Callable[[Tensor], Any] = lambda logits: logits,
    ) -> None:
        super().__init__()
        self.hidden = nn.Linear(16, 16)
        self.head = nn.Linear(16, num_classes)
        self.before, self.after = before, after

    def forward(self, x: Tensor) -> Any:
        return self.after(self.head(self.hidden(self.before(x).flatten(1)).relu()))


class Viewing(nn.Module):
    """Takes it for granted that maps lie in memory channel by channel."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1))
        self.head = nn.Linear(64, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.convolutions(x).view(len(x), -1))


Answer = namedtuple("Answer", ["logits", "aux_logits"])


def plain(num_classes: int) -> nn.Module:
    return Own(num_classes)


def drawing(num_classes: int) -> nn.Module:
    return Own(num_classes, before=lambda x: x + 0.01 * torch.rand_like(x))


def viewing(num_classes: int) -> nn.Module:
    return Viewing(num_classes)


def half(num_classes: int) -> nn.Module:
    return Own(num_classes).half()


def double(num_classes: int) -> nn.Module:
    return Own(num_classes).double()


def bf16(num_classes: int) -> nn.Module:
    return Own(num_classes).bfloat16()


def views(num_classes: int) -> nn.Module:
    return Own(num_classes, before=lambda x: x.view(x.shape[0], -1))


def writes(num_classes: int) -> nn.Module:
    return Own(num_classes, before=lambda x: x.sub_(0.5).div_(0.25))


def mapping(num_classes: int) -> nn.Module:
    return Own(num_classes, after=lambda logits: {"logits": logits, "loss": None})


class Auxiliary(Own):
    """Answers with more in train mode, as GoogLeNet and Inception do."""

    def forward(self, x: Tensor) -> Any:
        logits = super().forward(x)
        return Answer(logits, logits) if self.training else logits


def auxiliary(num_classes: int) -> nn.Module:
    return Auxiliary(num_classes)


def squeezed(num_classes: int) -> nn.Module:
    return Own(num_classes, after=lambda logits: logits.squeeze())


def no_gradient(num_classes: int) -> nn.Module:
    return Own(num_classes, after=lambda logits: torch.from_numpy(logits.detach().numpy()))


def pair(num_classes: int) -> nn.Module:
    return Own(num_classes, after=lambda logits: (logits, logits[:, :1]))


class TrainsInPairs(Own):
    def forward(self, x: Tensor) -> Any:
        logits = super().forward(x)
        return (logits, logits) if self.training else logits


def trains_in_pairs(num_classes: int) -> nn.Module:
    return TrainsInPairs(num_classes)


def labels(num_classes: int) -> nn.Module:
    return Own(num_classes, after=lambda logits: logits.argmax(1))


def features(num_classes: int) -> nn.Module:
    return Own(num_classes + 5)


def broken(num_classes: int) -> nn.Module:
    return Own(num_classes, before=lambda x: x + undefined_name)  # type: ignore[name-defined]  # noqa: F821


def larger(num_classes: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 2, 9), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, num_classes))


def mixed(num_classes: int) -> nn.Module:
    network = Own(num_classes)
    network.head.half()
    return network


def one_only(num_classes: int) -> nn.Module:
    return Own(num_classes, before=lambda x: x.reshape(2, 16) if len(x) == 2 else torch.stack([x, x]).reshape(3, 3))


class States(Own):
    """A module that gives a tuple, and one that is not run."""

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes)
        self.twice = Twice()
        self.idle = nn.Identity()

    def forward(self, x: Tensor) -> Any:
        return super().forward(self.twice(x)[0])


class Twice(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, x


def states(num_classes: int) -> nn.Module:
    return States(num_classes)


def convolutional(num_classes: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, num_classes, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
