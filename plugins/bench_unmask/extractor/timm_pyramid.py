"""The feature pyramid over a network of timm: `network: timm:NAME`, for those whose blocks end at strides 4 to 32."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.ops.feature_pyramid_network import FeaturePyramidNetwork, LastLevelMaxPool

from bench_unmask.extractor.options import TIMM
from benchmark import InputError, near_match, required

STRIDES = (4, 8, 16, 32)


def check(network: str) -> None:
    """Look whether timm is here, and whether its network can stand under the pyramid.

    Raises:
        MissingError: timm is not installed.
        InputError: it has no such network, or one that gives other features.
    """
    timm, name = _timm(), network.removeprefix(TIMM)
    if not timm.is_model(name):
        raise InputError(
            f"network: timm {timm.__version__} has no {name!r}.{near_match(name, timm.list_models())} "
            "timm.list_models() lists what there is."
        )
    with torch.random.fork_rng():
        TimmPyramid(network, 16, frozen=False)


def classifier_of(network: str) -> nn.Module:
    """Return the classifier that the backbone is cut from, with initial weights: its names are those of files."""
    return _timm().create_model(network.removeprefix(TIMM))


class TimmPyramid(nn.Module):
    """timm's network without its head, under torchvision's feature pyramid; the five maps of torchvision's own."""

    def __init__(self, network: str, channels: int, frozen: bool) -> None:
        """Build with weights drawn from torch's global generator; `frozen` holds batch statistics and scales still.

        Raises:
            InputError: the network's blocks do not end at each of the strides, or it takes images of one size alone.
        """
        super().__init__()
        timm, name = _timm(), network.removeprefix(TIMM)
        try:
            # All levels: what a network gives unless asked is a part of them for some.
            reductions = timm.create_model(name, features_only=True, out_indices=None).feature_info.info
            levels = [[one["reduction"] for one in reductions].index(stride) for stride in STRIDES]
            body = timm.create_model(name, features_only=True, out_indices=levels)
            self.body = timm.layers.freeze_batch_norm_2d(body) if frozen else body
            self._stages = _stages(body)
            with torch.no_grad():
                sides = [one.shape[2:] for one in self.body.eval()(torch.zeros(1, 3, 64, 96))]
            self.body.train()
            if sides != [(64 // stride, 96 // stride) for stride in STRIDES]:
                raise ValueError(f"maps of {sides}")
        except (AttributeError, AssertionError, LookupError, RuntimeError, TypeError, ValueError):
            raise InputError(
                f"network: {network} does not give features at strides {', '.join(map(str, STRIDES))}, each at the end "
                "of a block of its own and for images of any size, which the pyramid stands on. Choose another "
                "convolutional network, such as timm:tf_efficientnet_lite0."
            ) from None
        self.fpn = FeaturePyramidNetwork(body.feature_info.channels(), channels, extra_blocks=LastLevelMaxPool())
        self.out_channels = channels

    def forward(self, x: Tensor) -> Mapping[str, Tensor]:
        """Return the maps of (N, 3, H, W), largest first, by torchvision's names."""
        found: Mapping[str, Tensor] = self.fpn({str(level): one for level, one in enumerate(self.body(x))})
        return found

    def stage(self, name: str) -> int:
        """Return the place of a parameter of the body: 1 before the first block, 2 to 5 up to each of the four maps."""
        return self._stages[name]

    def translate(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return a classifier's tensors by the names of the body; timm flattens the first level of some networks."""
        own = self.body.state_dict()
        flat = {name: name.replace(".", "_", 1) for name in tensors}
        known = {name: name if name in own else flat[name] for name in tensors}
        return {known[name]: one for name, one in tensors.items() if known[name] in own}


def _stages(body: Any) -> dict[str, int]:
    """Return the place of each of the body's tensors.

    Raises:
        LookupError, ValueError: a map does not end with a named part of the body.
    """
    # Compared without dots: timm flattens the first level of some networks, and not in `feature_info`.
    names = [one.replace(".", "_") for one in body.state_dict()]
    ends = [str(one).replace(".", "_") for one in body.feature_info.module_name()]
    last = [max(i for i, one in enumerate(names) if one.startswith(f"{end}_")) for end in ends]
    first = min(i for i, one in enumerate(names) if one.startswith(ends[0].partition("_")[0]))
    if last != sorted(set(last)):
        raise ValueError(f"maps that do not follow each other: {ends}")
    return {name: 1 if at < first else 2 + sum(at > end for end in last) for at, name in enumerate(body.state_dict())}


def _timm() -> Any:
    return required("timm", "network: a part extractor on a network of timm", "unmask-bench[timm]")
