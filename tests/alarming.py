"""Toy components each of which makes one number mean something else: what alarms are for."""

from __future__ import annotations

import torch
from masked import Around, Decoy, Quantisation, Saturation, Shattered
from torch import Tensor, nn
from torch.nn.functional import dropout
from toy import Brightness, Linear

from benchmark import Batch, Defense, Verdict, hookimpl


class EndsWithSoftmax(Around):
    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x).softmax(1)


class EndsWithSigmoid(Around):
    def forward(self, x: Tensor) -> Tensor:
        return (8 * self.inner(x)).sigmoid()


class Timid(Around):
    """Its logits lie in [0, 1] by chance."""

    def forward(self, x: Tensor) -> Tensor:
        return 0.4 + 0.1 * (self.inner(x) / 10).tanh()


class Between(Around):
    """Turns its answer between the values of 8 bits, and answers rightly at each of them."""

    def forward(self, x: Tensor) -> Tensor:
        off = (255 * x - (255 * x).round()).abs().flatten(1).mean(1)
        return self.inner(x) * (1 - 10 * off[:, None])


class Grainy(Around):
    """Its answers are grainy, and its gradient passes straight through: sound, though small steps are chance."""

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x + 0.04 * (2000 * x.detach()).sin())


class DropsOut(Around):
    def forward(self, x: Tensor) -> Tensor:
        return self.inner(dropout(x, 0.1, training=True))


class UsesBatchStatistics(Around):
    def forward(self, x: Tensor) -> Tensor:
        return self.inner((x - x.mean(0)) / x.std(0, unbiased=False).clamp_min(0.1))


class Refuses(Around):
    """Batch normalisation that is never told of the eval mode: torch refuses a single value per channel."""

    def forward(self, x: Tensor) -> Tensor:
        if len(x) == 1:
            raise ValueError("Expected more than 1 value per channel when training")
        return self.inner(x)


def around(wrapper: type[Around]) -> type[Linear]:
    class Model(Linear):
        __doc__ = wrapper.__doc__

        def network(self, num_classes: int, image_shape: tuple[int, int, int]) -> nn.Module:
            return wrapper(super().network(num_classes, image_shape))

    return Model


class Backwards(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return -self.network(x)


class Misleading(Defense):
    """Does nothing, and hands the attacker a stand-in whose gradient leads away from success."""

    family = "preprocessor"

    def judge(self, batch: Batch) -> Verdict:
        return Verdict(label=batch.logits.argmax(1))

    def surrogate(self) -> nn.Module:
        return Backwards(self.classifier)


class Unsociable(Misleading):
    """Hands the attacker a stand-in that takes no image alone."""

    def surrogate(self) -> nn.Module:
        return Refuses(self.classifier)


class Inverted(Brightness):
    """Calls the most attacked images the least suspicious."""

    def judge(self, batch: Batch) -> Verdict:
        margin = batch.logits.topk(2).values.diff().squeeze(1).abs()
        return Verdict(label=batch.logits.argmax(1), score=margin)


class Mute(Brightness):
    def judge(self, batch: Batch) -> Verdict:
        return Verdict(label=batch.logits.argmax(1), score=torch.full((len(batch.x),), 0.5))


@hookimpl
def register_models(register):
    register("softmax", around(EndsWithSoftmax))
    register("saturates", around(Saturation))
    register("sigmoid", around(EndsWithSigmoid))
    register("timid", around(Timid))
    register("quantises", around(Quantisation))
    register("shatters", around(Shattered))
    register("grainy", around(Grainy))
    register("between", around(Between))
    register("decoy", around(Decoy))
    register("drops-out", around(DropsOut))
    register("batch-statistics", around(UsesBatchStatistics))


@hookimpl
def register_defenses(register):
    register("misleading", Misleading)
    register("unsociable", Unsociable)
    register("inverted", Inverted)
    register("mute", Mute)
