"""The feature pyramid over a network of timm: `network: timm:NAME`, for any that gives maps at strides 4 to 32."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torchvision.ops.feature_pyramid_network import FeaturePyramidNetwork, LastLevelMaxPool

from bench_unmask.extractor.options import TIMM
from benchmark import InputError, MissingError, near_match

STRIDES = (4, 8, 16, 32)


def check_installed(network: str) -> None:
    """Look whether timm is here and knows the network.

    Raises:
        MissingError: timm is not installed.
        InputError: it has no such network.
    """
    timm, name = _timm(), network.removeprefix(TIMM)
    if not timm.is_model(name):
        raise InputError(
            f"network: timm {timm.__version__} has no {name!r}.{near_match(name, timm.list_models())} "
            "timm.list_models() lists what there is."
        )


def classifier_of(network: str) -> nn.Module:
    """Return the classifier that the backbone is cut from, with initial weights: its names are those of files."""
    return _timm().create_model(network.removeprefix(TIMM))


class TimmPyramid(nn.Module):
    """timm's network without its head, under torchvision's feature pyramid; the five maps of torchvision's own."""

    def __init__(self, network: str, channels: int, frozen: bool) -> None:
        """Build with weights drawn from torch's global generator; `frozen` holds batch statistics and scales still.

        Raises:
            InputError: the network does not give a map at each of the strides.
        """
        super().__init__()
        timm, name = _timm(), network.removeprefix(TIMM)
        try:
            reductions = timm.create_model(name, features_only=True).feature_info.reduction()
            levels = [reductions.index(stride) for stride in STRIDES]
            body = timm.create_model(name, features_only=True, out_indices=levels)
        except (AttributeError, AssertionError, RuntimeError, ValueError):
            raise InputError(
                f"network: {network} does not give features at strides {', '.join(map(str, STRIDES))}, which the "
                "pyramid stands on. Choose a convolutional network, such as timm:tf_efficientnet_lite0."
            ) from None
        self.ends = [str(one).replace(".", "_") for one in body.feature_info.module_name()]
        self.body = timm.layers.freeze_batch_norm_2d(body) if frozen else body
        self.fpn = FeaturePyramidNetwork(body.feature_info.channels(), channels, extra_blocks=LastLevelMaxPool())
        self.out_channels = channels

    def forward(self, x: Tensor) -> Mapping[str, Tensor]:
        """Return the maps of (N, 3, H, W), largest first, by torchvision's names."""
        found: Mapping[str, Tensor] = self.fpn({str(level): one for level, one in enumerate(self.body(x))})
        return found

    def stage(self, name: str) -> int:
        """Return the place of a parameter of the body: 1 before the first block, 2 to 5 up to each of the four maps."""
        # Compared without dots: timm flattens the first level of some networks, and not in `feature_info`.
        names = [one.replace(".", "_") for one in self.body.state_dict()]
        at = names.index(name.replace(".", "_"))
        if at < next(i for i, one in enumerate(names) if one.startswith(self.ends[0].partition("_")[0])):
            return 1
        last = [max(i for i, one in enumerate(names) if one.startswith(f"{end}_")) for end in self.ends]
        return 2 + sum(at > end for end in last)

    def translate(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return a classifier's tensors by the names of the body; timm flattens the first level of some networks."""
        own = self.body.state_dict()
        flat = {name: name.replace(".", "_", 1) for name in tensors}
        known = {name: name if name in own else flat[name] for name in tensors}
        return {known[name]: one for name, one in tensors.items() if known[name] in own}


def _timm() -> Any:
    try:
        return importlib.import_module("timm")
    except ModuleNotFoundError as error:
        if error.name != "timm":
            raise
        raise MissingError(
            "network: a part extractor on a network of timm needs the package timm, which is not installed: "
            "pip install 'unmask-bench[timm]' (in a clone: pip install -e '.[timm]')."
        ) from None
