"""Toy attacks each of which fails in one way of its own: what probes of attacks are for."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from toy import Plain, Step, ToyAttackOptions

from benchmark import Batch, Rng, Verdict, Victim, hookimpl
from benchmark.gradient import ascend, classification_loss, input_gradient
from benchmark.options import Budget


class ManyOptions(ToyAttackOptions):
    steps: int = Field(40, ge=1)
    step: float = 0.02


class Sound(Step):
    """Signed steps with a size that suits the budget; the last point is not lost."""

    Options = ManyOptions
    keep: ClassVar[Literal["best", "last"]] = "best"
    sign: ClassVar[float] = 1.0

    def craft(self, victim: Victim, x: Tensor, y: Tensor, rng: Rng) -> Tensor:
        rising = classification_loss(victim.classifier, y)

        def goal(images: Tensor) -> tuple[Tensor, Tensor]:
            loss = rising(images)
            return self.sign * loss, victim.classifier(images).argmax(1) != y

        eps = float(self.options.eps)
        return ascend(goal, x, norm="linf", eps=eps, step=self.options.step, steps=self.steps, keep=self.keep)

    @property
    def steps(self) -> int:
        return self.options.steps


class WrongSign(Sound):
    """Goes where the loss falls."""

    sign = -1.0


class NoSteps(Sound):
    """Returns the clean image."""

    def craft(self, victim: Victim, x: Tensor, y: Tensor, rng: Rng) -> Tensor:
        return x.clone()


class StopsEarly(Sound):
    """Takes one step in ten of those that it was told to take."""

    @property
    def steps(self) -> int:
        return max(1, self.options.steps // 10)


class Forgets(Sound):
    """Walks to success and then all the way back, and returns where it ends."""

    def craft(self, victim: Victim, x: Tensor, y: Tensor, rng: Rng) -> Tensor:
        there = super().craft(victim, x, y, rng)
        for share in torch.linspace(1, 0, self.options.steps):
            with torch.no_grad():
                victim.classifier(x + share * (there - x))
        return x.clone()


class Detached(Sound):
    """Rounds the image before it asks for the gradient, which is zero then."""

    def craft(self, victim: Victim, x: Tensor, y: Tensor, rng: Rng) -> Tensor:
        eps, x_adv = float(self.options.eps), x
        for _ in range(self.options.steps):
            gradient = input_gradient(lambda images: 0 * classification_loss(victim.classifier, y)(images), x_adv)
            x_adv = (x + (x_adv - x + self.options.step * gradient.sign()).clamp(-eps, eps)).clamp(0, 1)
        return x_adv


class BoundedOptions(ManyOptions):
    eps: Budget | None = Field(None, le=0.5)


class Bounded(Sound):
    """Takes no budget that reaches every image."""

    Options = BoundedOptions


class Open(Plain):
    """Does nothing, and hands the attacker its network."""

    family = "preprocessor"

    def surrogate(self) -> nn.Module:
        return self.classifier


class Peeks(Plain):
    """Looks at what an attack would do, to tell how suspicious an image is: its own passes, at images of its own."""

    family = "detector"
    gives_scores = True

    def judge(self, batch: Batch) -> Verdict:
        return Verdict(label=batch.logits.argmax(1), score=self.detector_loss(batch.x))

    def detector_loss(self, x: Tensor) -> Tensor:
        with torch.enable_grad():
            away = input_gradient(classification_loss(self.classifier, self.classifier(x).argmax(1)), x.detach())
        self.classifier((x + 0.25 * away.sign()).clamp(0, 1))
        return x.flatten(1).mean(1)


class Glances(Step):
    """Asks for both answers about the image and lets the deployed system judge it, and returns it."""

    evades_detector = True

    def craft(self, victim: Victim, x: Tensor, y: Tensor, rng: Rng) -> Tensor:
        assert victim.detector_loss is not None
        assert victim.judge is not None
        for road in (classification_loss(victim.classifier, y), victim.detector_loss):
            input_gradient(road, x)
        victim.judge(x, rng)
        return x.clone()


class Marked(Plain):
    """Suspects whatever has the mark of one attack."""

    family = "detector"
    gives_scores = True

    def judge(self, batch: Batch) -> Verdict:
        return Verdict(label=batch.logits.argmax(1), score=self.detector_loss(batch.x))

    def detector_loss(self, x: Tensor) -> Tensor:
        return 100.0 * ((x[:, 0, 0, 0] - MARK).abs() < 1e-3) + x.flatten(1).mean(1)


MARK = 0.123


class Turns(Glances):
    """Turns the image upside down, which the network takes for the other class, and leaves its mark."""

    def craft(self, victim: Victim, x: Tensor, y: Tensor, rng: Rng) -> Tensor:
        turned = x.flip(2)
        turned[:, :, 0, 0] = MARK
        return turned


class Suspicious(Plain):
    """Flags everything, so that nothing that fools its network gets through."""

    family = "detector"

    def judge(self, batch: Batch) -> Verdict:
        label = batch.logits.argmax(1)
        return Verdict(label=label, flagged=torch.ones_like(label, dtype=torch.bool))


@hookimpl
def register_defenses(register):
    register("suspicious", Suspicious)
    register("open", Open)
    register("peeks", Peeks)
    register("marked", Marked)


@hookimpl
def register_attacks(register):
    for attack in (Sound, WrongSign, NoSteps, StopsEarly, Forgets, Detached, Bounded, Glances, Turns):
        register(attack.__name__.lower(), attack)
