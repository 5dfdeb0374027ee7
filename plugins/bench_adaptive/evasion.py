"""Attacks on a classifier and its detector at once: the class wrong, and the score low.

No threshold is known or needed: of the images that are classified wrongly the least suspicious is returned, so that one
crafting serves every threshold, and the ROC curve is the attacker's.

Sources: Bryniarski, Hingun, Pachuca, Wang, Carlini, "Evading Adversarial Example Detection Defenses with Orthogonal
Projected Gradient Descent", ICLR 2022 (arXiv:2106.15023), section 4 (selective and orthogonal steps; the step where the
gradient of the one is projected off the other's), and their released code (a margin of 0.05 before the classifier
counts as fooled, the least suspicious success is kept). Joint objective with a searched weight: Carlini, Wagner,
"Adversarial Examples Are Not Easily Detected: Bypassing Ten Detection Methods", AISec 2017, section 3.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from bench_adaptive.options import EvasionOptions, JointPgdOptions, OrthogonalPgdOptions, SelectivePgdOptions
from benchmark.attack import Attack, Victim
from benchmark.gradient import Best, per_image, project, random_start, unit_step
from benchmark.model import Passes
from benchmark.options import AttackOptions
from benchmark.randomness import Rng


@dataclass(frozen=True)
class Aim:
    """What a search is after.

    Attributes:
        y: (N,) true classes.
        target: (N,) the wrong classes that are aimed at; None for any.
        confidence: difference of logits by which the wrong class is to win.
    """

    y: Tensor
    target: Tensor | None
    confidence: float

    def shortfall(self, logits: Tensor) -> Tensor:
        """Return (N,) by how much the logits (N, C) miss the aim, 0 where the wrong class wins by the confidence."""
        if self.target is None:
            wanted, others = _without(logits, self.y).amax(1), logits.gather(1, self.y[:, None]).squeeze(1)
        else:
            wanted, others = logits.gather(1, self.target[:, None]).squeeze(1), _without(logits, self.target).amax(1)
        return (others - wanted + self.confidence).clamp_min(0)

    def loss(self, logits: Tensor) -> Tensor:
        """Return (N,) the cross-entropy, to be decreased: towards the target, or away from the true class."""
        if self.target is None:
            return -cross_entropy(logits, self.y, reduction="none")
        return cross_entropy(logits, self.target, reduction="none")

    def suspicion(self, victim: Victim, x: Tensor, logits: Tensor) -> Tensor:
        """Return (N,) the suspicion of images as the class that is aimed at: at any, as the likeliest wrong one."""
        if victim.class_suspicions is None:
            assert victim.detector_loss is not None
            return victim.detector_loss(x)
        label = _without(logits.detach(), self.y).argmax(1) if self.target is None else self.target
        return victim.class_suspicions(x).gather(1, label[:, None]).squeeze(1)


class Evasion(Attack):
    """Host of the common frame; the author writes `search`."""

    Options: ClassVar[type[AttackOptions]] = EvasionOptions
    evades_detector = True
    options: EvasionOptions

    @abstractmethod
    def search(self, victim: Victim, x: Tensor, aim: Aim, start: Tensor) -> Iterator[Tensor]:
        """Yield candidates (N, C, H, W) within eps of `x`, each the best of one search from `start`."""

    def craft(self, victim: Victim, x: Tensor, y: Tensor, rng: Rng) -> Tensor:
        """Return adversarial examples (N, C, H, W) in [0, 1] within eps of `x`.

        Of all searches an image's least suspicious success by the deployed system's own answers; where none succeeds,
        what came nearest to it.
        """
        options, eps = self.options, float(self.options.eps)
        x = x.detach()
        best = Best(x)
        for target in self._targets(victim, x, y):
            aim = Aim(y, target, options.confidence)
            for restart in range(options.restarts):
                start = x if restart == 0 else random_start(x, options.norm, eps, rng.numpy)
                for candidate in self.search(victim, x, aim, start):
                    self._offer(victim, best, candidate, Aim(y, None, 0.0), rng)
        return best.x

    def _targets(self, victim: Victim, x: Tensor, y: Tensor) -> Iterator[Tensor | None]:
        if not self.options.targets:
            yield None
            return
        with torch.no_grad():
            order = _without(victim.classifier(x), y).argsort(1, descending=True)
        for rank in range(min(self.options.targets, order.shape[1] - 1)):
            yield order[:, rank]

    def _offer(self, victim: Victim, best: Best, candidate: Tensor, aim: Aim, rng: Rng) -> None:
        """Let the deployed system judge a candidate, and keep it where it is better."""
        with torch.no_grad():
            logits = victim.classifier(candidate)
            if victim.judge is not None:
                label, score = victim.judge(candidate, rng)
            else:
                label, score = logits.argmax(1), None
                if victim.detector_loss is not None:
                    score = aim.suspicion(victim, candidate, logits)
        wrong, missing = label != aim.y, -aim.shortfall(logits)
        best.offer(
            candidate, missing if score is None else torch.where(wrong, -score.to(missing.dtype), missing), wrong
        )

    def _moved(self, x_adv: Tensor, x: Tensor, direction: Tensor, size: float) -> Tensor:
        """Return the points (N, C, H, W) a step further, inside the ball around `x` and [0, 1]."""
        norm = self.options.norm
        moved = (x_adv + size * unit_step(direction, norm)).clamp(0, 1)
        return project(moved, x, norm, float(self.options.eps)).clamp(0, 1)

    def _searches(self) -> int:
        """Return how many searches are made per target and start."""
        return 1

    def passes(self) -> Passes:
        """Return the passes of all searches, each step with one through the classifier and one through the detector."""
        options = self.options
        searches = max(1, options.targets) * options.restarts * self._searches()
        steps = searches * options.steps
        return Passes(2 * steps + 4 * searches + bool(options.targets), 2 * steps, at_most=True)


class JointPgd(Evasion):
    """Steps down a weighted sum of classifier and detector, the weight searched per image.

    Both gradients are normalised, so that the weight has no unit. The first weight is 0: PGD on the classifier, whose
    least suspicious success is a candidate like any other. Then the classifier's share is its hinge, which says nothing
    once the class is wrong, and the weight rises where the class became wrong and falls where it did not.
    """

    Options = JointPgdOptions
    options: JointPgdOptions

    def search(self, victim: Victim, x: Tensor, aim: Aim, start: Tensor) -> Iterator[Tensor]:
        """Yield the best point at each weight."""
        low, high = (torch.full((len(x),), value, device=x.device) for value in (0.0, 1.0))
        weight = low
        for _ in range(self.options.weights if victim.detector_loss is not None else 1):
            best = self._descend(victim, x, aim, start, weight)
            yield best.x
            low, high = torch.where(best.reached, weight, low), torch.where(best.reached, high, weight)
            # Where PGD alone found nothing, half the way to the detector is not tried again and again.
            weight = (low + torch.where(high > 0, high, 0.5)) / 2

    def _descend(self, victim: Victim, x: Tensor, aim: Aim, start: Tensor, weight: Tensor) -> Best:
        """Return the least suspicious wrongly classified points on the way down at weights (N,) of the detector."""
        options, eps = self.options, float(self.options.eps)
        first = eps / 2 if options.step is None else float(options.step)
        best, x_adv, share = Best(x), start, per_image(weight, x)
        for number in range(options.steps + 1):
            seen = _look(victim, x_adv, aim, plain=not weight.any())
            best.offer(x_adv, torch.where(seen.wrong, -seen.suspicion, -seen.shortfall), seen.wrong)
            if number == options.steps:
                break
            direction = (1 - share) * unit_step(seen.to_class, "l2") + share * unit_step(seen.to_evasion, "l2")
            size = first * (1 + math.cos(math.pi * number / options.steps)) / 2
            x_adv = self._moved(x_adv, x, direction, size)
        return best

    def _searches(self) -> int:
        return self.options.weights


class OrthogonalPgd(Evasion):
    """Steps for the classifier until it is fooled, for the detector while it is; neither undoes the other's work."""

    Options = OrthogonalPgdOptions
    options: OrthogonalPgdOptions

    def search(self, victim: Victim, x: Tensor, aim: Aim, start: Tensor) -> Iterator[Tensor]:
        """Yield the least suspicious wrongly classified points on the way."""
        options, eps = self.options, float(self.options.eps)
        size = eps / 8 if options.step is None else float(options.step)
        best, x_adv = Best(x), start
        for number in range(options.steps + 1):
            seen = _look(victim, x_adv, aim, plain=True, both=True)
            best.offer(x_adv, torch.where(seen.wrong, -seen.suspicion, -seen.shortfall), seen.wrong)
            if number == options.steps:
                break
            to_class, to_evasion = seen.to_class, seen.to_evasion
            if options.project in ("both", "classifier"):
                to_class = _off(seen.to_class, seen.to_evasion)
            if options.project in ("both", "detector"):
                to_evasion = _off(seen.to_evasion, seen.to_class)
            fooled = per_image(seen.shortfall == 0, x)
            direction = torch.where(fooled, to_evasion, to_class)
            x_adv = self._moved(x_adv, x, direction, size)
        yield best.x


class SelectivePgd(OrthogonalPgd):
    """The same without the projection."""

    Options = SelectivePgdOptions


@dataclass(frozen=True)
class _Seen:
    """What a step knows of the point it starts from: (N,) numbers, and directions (N, C, H, W) of descent."""

    wrong: Tensor
    shortfall: Tensor
    suspicion: Tensor
    to_class: Tensor
    to_evasion: Tensor


def _look(victim: Victim, x: Tensor, aim: Aim, *, plain: bool, both: bool = False) -> _Seen:
    """Return class, suspicion and directions of descent at `x`.

    Args:
        victim: the system.
        x: images.
        aim: what is wanted.
        plain: the classifier's direction is that of the cross-entropy, which goes on once the class is wrong.
        both: the detector's direction is wanted beside a plain one.
    """
    with torch.enable_grad():
        point = x.detach().requires_grad_()
        logits = victim.classifier(point)
        shortfall = aim.shortfall(logits)
        (rise,) = torch.autograd.grad((aim.loss(logits) if plain else shortfall).sum(), point)
    logits = logits.detach()
    wrong = logits.argmax(1) != aim.y
    if victim.detector_loss is None:
        return _Seen(wrong, shortfall.detach(), -shortfall.detach(), -rise, torch.zeros_like(x))
    with torch.set_grad_enabled(both or not plain):
        point = x.detach().requires_grad_(both or not plain)
        suspicion = aim.suspicion(victim, point, logits)
        away = torch.zeros_like(x)
        if both or not plain:
            (away,) = torch.autograd.grad(suspicion.sum(), point)
    return _Seen(wrong, shortfall.detach(), suspicion.detach().to(logits.dtype), -rise, -away)


def _off(gradient: Tensor, other: Tensor) -> Tensor:
    """Return the gradients (N, ...) without their component along the others."""
    unit = unit_step(other, "l2")
    return gradient - per_image((gradient * unit).flatten(1).sum(1), gradient) * unit


def _without(logits: Tensor, label: Tensor) -> Tensor:
    """Return logits (N, C) in which one class (N,) each cannot win."""
    return logits.scatter(1, label[:, None], -torch.inf)
