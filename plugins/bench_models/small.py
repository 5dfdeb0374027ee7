"""Small networks: for CPUs, and those of two reproduced papers.

Sources: CNN-6, Mustafa et al., "Adversarial Defense by Restricting the Hidden Space of Deep Neural Networks" (PCL),
ICCV 2019, Table 1; models E and F, Zheng and Hong, "Robust Detection of Adversarial Attacks by Modeling the Intrinsic
Properties of Deep Neural Networks" (I-defender), NeurIPS 2018, Table 1, who took them from Samangouei, Kabkab,
Chellappa, "Defense-GAN", ICLR 2018.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

from bench_models import options
from benchmark import InputError, Model


class GlobalAveragePool(nn.Module):
    """The mean over all positions: (N, C, H, W) to (N, C)."""

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, C)."""
        return x.mean(dim=(2, 3))


def refuse_small(name: str, image_shape: tuple[int, int, int], least: int) -> None:
    """Refuse images with a side below `least` pixels.

    Raises:
        InputError: what the network needs and what the images are.
    """
    _, height, width = image_shape
    if min(height, width) < least:
        raise InputError(
            f"{name} needs images of at least {least}x{least} pixels, these are {height}x{width}. Resize the images in "
            "the data set's options, or choose another model."
        )


class SmallCnn(Model):
    """Blocks of convolution, batch norm, ReLU and max-pool, then a hidden layer. Modules: block1, ..., hidden, head."""

    Options = options.SmallCnnOptions

    def network(self, num_classes: int, image_shape: tuple[int, int, int]) -> nn.Module:
        """Return the network; larger images are averaged to 4x4 positions before the hidden layer.

        Raises:
            InputError: a side of the images is shorter than 2^depth.
        """
        chosen = self.options
        refuse_small(f"small_cnn of depth {chosen.depth}", image_shape, 2**chosen.depth)
        channels, height, width = image_shape
        modules: OrderedDict[str, nn.Module] = OrderedDict()
        for block in range(chosen.depth):
            wide = chosen.width * 2**block
            convolution = nn.Conv2d(channels, wide, 3, padding=1, bias=not chosen.batch_norm)
            norm = [nn.BatchNorm2d(wide)] if chosen.batch_norm else []
            modules[f"block{block + 1}"] = nn.Sequential(convolution, *norm, nn.ReLU(), nn.MaxPool2d(2))
            channels, height, width = wide, height // 2, width // 2
        if max(height, width) > 4:
            height, width = min(height, 4), min(width, 4)
            modules["pool"] = nn.AdaptiveAvgPool2d((height, width))
        modules["flatten"] = nn.Flatten()
        modules["hidden"] = nn.Sequential(nn.Linear(channels * height * width, chosen.hidden), nn.ReLU())
        if chosen.dropout:
            modules["dropout"] = nn.Dropout(chosen.dropout)
        modules["head"] = nn.Linear(chosen.hidden, num_classes)
        return nn.Sequential(modules)


class Cnn6(Model):
    """CNN-6 of PCL's Table 1. Modules: layer1, layer2, layer3, gap (N, 128), fc1 (N, 512), fc2 (N, 64), head.

    The table gives neither padding nor the place of the 2x2 pool, and puts the global average pool between layer 3 and
    the first fully connected layer. Here convolutions keep the size, each pair ends in a max-pool, the global average
    feeds fc1, and the fully connected layers have no activation, as none is named there and none is in the FC(1024) of
    the authors' released ResNet-110. The loss is applied to gap, fc1 and fc2.
    """

    Options = options.Cnn6Options

    def network(self, num_classes: int, image_shape: tuple[int, int, int]) -> nn.Module:
        """Return the network.

        Raises:
            InputError: the images are smaller than 8x8.
        """
        refuse_small("cnn6", image_shape, 8)
        modules: OrderedDict[str, nn.Module] = OrderedDict()
        channels = image_shape[0]
        for layer, wide in enumerate((32, 64, 128), start=1):
            modules[f"layer{layer}"] = nn.Sequential(
                nn.Conv2d(channels, wide, 5, padding=2),
                nn.PReLU(),
                nn.Conv2d(wide, wide, 5, padding=2),
                nn.PReLU(),
                nn.MaxPool2d(2),
            )
            channels = wide
        modules["gap"] = GlobalAveragePool()
        modules["fc1"] = nn.Linear(channels, 512)
        modules["fc2"] = nn.Linear(512, 64)
        modules["head"] = nn.Linear(64, num_classes)
        network = nn.Sequential(modules)
        # torch's own initial weights let the signal fade over nine layers: nothing is learnt.
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, a=0.25)  # He et al. 2015, for the PReLU's first slope
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]
            elif isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        return network


class IDefenderE(Model):
    """Model E of I-defender's Table 1: FC(200), ReLU, FC(200), ReLU, FC. Modules: hidden1, hidden2 (N, 200), head."""

    Options = options.IDefenderEOptions

    def network(self, num_classes: int, image_shape: tuple[int, int, int]) -> nn.Module:
        """Return the network, for images of any size."""
        channels, height, width = image_shape
        return nn.Sequential(
            OrderedDict(
                flatten=nn.Flatten(),
                hidden1=nn.Sequential(nn.Linear(channels * height * width, 200), nn.ReLU()),
                hidden2=nn.Sequential(nn.Linear(200, 200), nn.ReLU()),
                head=nn.Linear(200, num_classes),
            )
        )


class IDefenderF(Model):
    """Model F of I-defender's Table 1. Modules: conv1, conv2, [conv3], flatten, head.

    Padding is that of Defense-GAN's released networks: the first convolution keeps half the size ("same": 3 pixels on
    each side), the second has none.
    """

    Options = options.IDefenderFOptions

    def network(self, num_classes: int, image_shape: tuple[int, int, int]) -> nn.Module:
        """Return Conv(64, 8x8, 2), ReLU, Conv(128, 6x6, 2), ReLU, FC.

        Raises:
            InputError: the images are smaller than 12x12 (28x28 with the third convolution).
        """
        third = self.options.third_convolution
        refuse_small("idefender_f with third_convolution" if third else "idefender_f", image_shape, 28 if third else 12)
        channels, height, width = image_shape
        modules: OrderedDict[str, nn.Module] = OrderedDict()
        modules["conv1"] = nn.Sequential(nn.Conv2d(channels, 64, 8, stride=2, padding=3), nn.ReLU())
        modules["conv2"] = nn.Sequential(nn.Conv2d(64, 128, 6, stride=2), nn.ReLU())
        # Half of each side, then what windows of 6 in steps of 2 and windows of 5 leave.
        sides = [(side // 2 - 6) // 2 + 1 for side in (height, width)]
        if third:
            modules["conv3"] = nn.Sequential(nn.Conv2d(128, 128, 5), nn.ReLU())
            sides = [side - 4 for side in sides]
        modules["flatten"] = nn.Flatten()
        modules["head"] = nn.Linear(128 * sides[0] * sides[1], num_classes)
        return nn.Sequential(modules)
