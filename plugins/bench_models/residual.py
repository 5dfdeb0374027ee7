"""Residual networks for small images.

Sources: ResNets, He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", CVPR 2016, section 4.2; PCL's
ResNet-110 of bottlenecks, Mustafa et al., "Adversarial Defense by Restricting the Hidden Space of Deep Neural
Networks", ICCV 2019, Table 1; Wide ResNets, Zagoruyko and Komodakis, "Wide Residual Networks", BMVC 2016, Table 1.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from torch import Tensor, nn
from torch.nn.functional import pad, relu

from bench_models import options
from bench_models.small import GlobalAveragePool
from benchmark import Model


class ZeroPadShortcut(nn.Module):
    """Every second pixel, and zeros for the channels that are new: no parameters (He et al.'s option A)."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.new_channels = channels_out - channels_in
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, channels_out, H / stride, W / stride)."""
        before = self.new_channels // 2
        strided = x[:, :, :: self.stride, :: self.stride]
        return pad(strided, (0, 0, 0, 0, before, self.new_channels - before))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions, and a shortcut without parameters."""

    expansion = 1

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            nn.Conv2d(channels_in, channels, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
        )
        same = stride == 1 and channels_in == channels
        self.shortcut = nn.Identity() if same else ZeroPadShortcut(channels_in, channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, channels, H / stride, W / stride)."""
        return relu(self.residual(x) + self.shortcut(x))


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions with four times as many channels out, and a 1x1 convolution where shapes change."""

    expansion = 4

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        channels_out = channels * self.expansion
        self.residual = nn.Sequential(
            nn.Conv2d(channels_in, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels_out, 1, bias=False),
            nn.BatchNorm2d(channels_out),
        )
        same = stride == 1 and channels_in == channels_out
        self.shortcut: nn.Module = (
            nn.Identity()
            if same
            else nn.Sequential(
                nn.Conv2d(channels_in, channels_out, 1, stride, bias=False), nn.BatchNorm2d(channels_out)
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, 4 * channels, H / stride, W / stride)."""
        return relu(self.residual(x) + self.shortcut(x))


class WideBlock(nn.Module):
    """Batch norm and ReLU before each of two 3x3 convolutions, with dropout between them."""

    def __init__(self, channels_in: int, channels: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.before = nn.Sequential(nn.BatchNorm2d(channels_in), nn.ReLU())
        self.residual = nn.Sequential(
            nn.Conv2d(channels_in, channels, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
        )
        same = stride == 1 and channels_in == channels
        self.shortcut = None if same else nn.Conv2d(channels_in, channels, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, channels, H / stride, W / stride)."""
        activated = self.before(x)
        residual: Tensor = self.residual(activated)
        return residual + (x if self.shortcut is None else self.shortcut(activated))


class CifarResNet(Model):
    """ResNet in three stages. Modules: stem, stage1, stage2, stage3, gap, [hidden], head.

    PCL's ResNet-110 is `block: bottleneck, depth: 110, hidden: 1024`: 12 blocks per stage, as in its Table 1. (The
    authors' released code counts its depth with basic blocks and builds 18 per stage: `depth: 164` here.)
    """

    Options = options.CifarResNetOptions

    def network(self, num_classes: int, image_shape: tuple[int, int, int]) -> nn.Module:
        """Return the network, for images of any size."""
        chosen = self.options
        block: type[BasicBlock | Bottleneck] = BasicBlock if chosen.block == "basic" else Bottleneck
        blocks = (chosen.depth - 2) // (6 if chosen.block == "basic" else 9)
        modules: OrderedDict[str, nn.Module] = OrderedDict()
        modules["stem"] = nn.Sequential(
            nn.Conv2d(image_shape[0], chosen.width, 3, padding=1, bias=False), nn.BatchNorm2d(chosen.width), nn.ReLU()
        )
        channels = chosen.width
        for stage in range(3):
            wide = chosen.width * 2**stage
            modules[f"stage{stage + 1}"] = _stage(
                block, blocks, channels, wide, wide * block.expansion, 1 if stage == 0 else 2
            )
            channels = wide * block.expansion
        modules["gap"] = GlobalAveragePool()
        if chosen.hidden is not None:
            modules["hidden"] = nn.Linear(channels, chosen.hidden)
            channels = chosen.hidden
        modules["head"] = nn.Linear(channels, num_classes)
        return _initialised(nn.Sequential(modules))


class WideResNet(Model):
    """Wide ResNet in three stages. Modules: stem, stage1, stage2, stage3, activation, gap, head."""

    Options = options.WideResNetOptions

    def network(self, num_classes: int, image_shape: tuple[int, int, int]) -> nn.Module:
        """Return the network, for images of any size."""
        chosen = self.options
        blocks = (chosen.depth - 4) // 6
        modules: OrderedDict[str, nn.Module] = OrderedDict()
        modules["stem"] = nn.Conv2d(image_shape[0], 16, 3, padding=1, bias=False)

        def block(channels_in: int, channels: int, stride: int) -> nn.Module:
            return WideBlock(channels_in, channels, stride, chosen.dropout)

        channels = 16
        for stage in range(3):
            wide = 16 * chosen.width * 2**stage
            modules[f"stage{stage + 1}"] = _stage(block, blocks, channels, wide, wide, 1 if stage == 0 else 2)
            channels = wide
        modules["activation"] = nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU())
        modules["gap"] = GlobalAveragePool()
        modules["head"] = nn.Linear(channels, num_classes)
        return _initialised(nn.Sequential(modules))


def _stage(
    block: Callable[[int, int, int], nn.Module],
    blocks: int,
    channels_in: int,
    channels: int,
    channels_out: int,
    stride: int,
) -> nn.Sequential:
    """Return `blocks` blocks, of which the first takes `channels_in` and the `stride`."""
    return nn.Sequential(
        block(channels_in, channels, stride), *(block(channels_out, channels, 1) for _ in range(blocks - 1))
    )


def _initialised(network: nn.Module) -> nn.Module:
    """Draw the convolutions' weights as He et al. 2015 ("Delving Deep into Rectifiers", Eq. 15) do."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return network
