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
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from bench_adaptive.options import EvasionOptions, JointPgdOptions, OrthogonalPgdOptions, SelectivePgdOptions
from benchmark import Attack, AttackOptions, Best, Passes, Rng, Victim, per_image, project, random_start, unit_step

AimedLoss = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""As `Victim.aimed_loss`."""
WEIGHT_STEPS = 10
"""Steps in which the weight of `joint-pgd` goes from one end of its range to the other."""


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
    def search(self, victim: Victim, x: Tensor, aim: Aim, start: Tensor, fooled: Tensor) -> Tensor:
        """Return the best points (N, C, H, W) within eps of `x`, from `start` or from what PGD on the class found."""

    def craft(self, victim: Victim, x: Tensor, y: Tensor, rng: Rng) -> Tensor:
        """Return adversarial examples (N, C, H, W) in [0, 1] within eps of `x`.

        Of all searches an image's least suspicious success by the deployed system's own answers; where none succeeds,
        what came nearest to it. PGD on the class alone is one of the searches, so that none
        of these attacks is weaker than its own PGD.
        """
        options, eps = self.options, float(self.options.eps)
        x = x.detach()
        best, deployed = Best(x), Aim(y, None, 0.0)
        for target in self.targets(victim, x, y):
            aim = Aim(y, target, options.confidence)
            for restart in range(options.restarts):
                start = x if restart == 0 else random_start(x, options.norm, eps, rng.numpy)
                for found in self.searches(victim, x, aim, start):
                    self._offer(victim, best, found, deployed, rng)
        return best.x

    def targets(self, victim: Victim, x: Tensor, y: Tensor) -> Iterator[Tensor | None]:
        """Yield what is aimed at: any wrong class (None), then classes (N,), the most promising first."""
        yield None
        yield from self.single_targets(victim, x, y)

    def single_targets(self, victim: Victim, x: Tensor, y: Tensor) -> Iterator[Tensor]:
        """Yield as many wrong classes (N,) as the options want, in the order that the defense offers.

        Where it offers none, and between equal ones, the likelier first.
        """
        if not self.options.targets:
            return
        with torch.no_grad():
            order = _without(victim.classifier(x), y).argsort(1, descending=True)
            if victim.aims is not None:
                promise = _without(victim.aims(x, y), y).gather(1, order)
                order = order.gather(1, promise.argsort(dim=1, descending=True, stable=True))
        for rank in range(min(self.options.targets, order.shape[1] - 1)):
            yield order[:, rank]

    def searches(self, victim: Victim, x: Tensor, aim: Aim, start: Tensor) -> Iterator[Tensor]:
        """Yield what PGD on the class finds from a start, and then what the search on both does."""
        plain = self._walk(victim, x, aim, start, lambda seen: seen.to_class, float(self.options.eps) / 2, evade=False)
        yield plain
        if victim.detector_loss is not None:
            yield self.search(victim, x, aim, start, plain)

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

    def _walk(
        self,
        victim: Victim,
        x: Tensor,
        aim: Aim,
        start: Tensor,
        direction: Callable[[_Seen], Tensor],
        size: float,
        *,
        evade: bool = True,
        shrink: bool = True,
    ) -> Tensor:
        """Return the least suspicious wrongly classified points on the way, or those that came nearest to the aim.

        Args:
            victim: the system.
            x: images, the centres of the balls.
            aim: what is wanted.
            start: where to begin.
            direction: what is seen at a point to the step from it.
            size: of the first step in the norm.
            evade: whether `direction` reads `to_evasion`.
            shrink: whether steps shrink to nothing along a cosine.
        """
        options = self.options
        best, x_adv = Best(x), start
        for number in range(options.steps + 1):
            last = number == options.steps
            seen = _look(victim, x_adv, aim, fool=not last, evade=evade and not last)
            best.offer(x_adv, torch.where(seen.wrong, -seen.suspicion, -seen.shortfall), seen.wrong)
            if not last:
                share = _share(number, options.steps) if shrink else 1.0
                x_adv = self._moved(x_adv, x, direction(seen), share * size)
        return best.x

    def _moved(self, x_adv: Tensor, x: Tensor, direction: Tensor, size: float) -> Tensor:
        """Return the points a step of a size further in a direction, within the ball around `x` and in [0, 1]."""
        options = self.options
        moved = (x_adv + size * unit_step(direction, options.norm)).clamp(0, 1)
        return project(moved, x, options.norm, float(options.eps)).clamp(0, 1)

    def passes(self) -> Passes:
        """Return the passes of all searches: of PGD one through each of classifier and detector, and one back.

        Of the others one back through each.
        """
        options = self.options
        searches = (1 + options.targets) * options.restarts
        return Passes(
            searches * (4 * options.steps + 8) + bool(options.targets), searches * 3 * options.steps, at_most=True
        )


class JointPgd(Evasion):
    """Steps down a weighted sum of classifier and detector, whose weight is searched per image on the way.

    Both gradients are normalised, so that the weight has no unit. It rises while the class is wrong and falls while it
    is not, so that the steps stay at the border, where the score is lowest.

    Where the defense offers one loss of the whole system per class (`Victim.aimed_loss`), single classes are aimed at
    alone, and the steps go down that loss: one gradient per step, and none for images whose aim is reached.
    """

    Options = JointPgdOptions
    options: JointPgdOptions

    def targets(self, victim: Victim, x: Tensor, y: Tensor) -> Iterator[Tensor | None]:
        """Yield any wrong class and then single ones; the latter alone where the defense says how to aim at them."""
        if victim.aimed_loss is None or not self.options.targets:
            yield None
        yield from self.single_targets(victim, x, y)

    def searches(self, victim: Victim, x: Tensor, aim: Aim, start: Tensor) -> Iterator[Tensor]:
        """Yield what is found down the defense's own loss of the class that is aimed at; without one, as the others."""
        if victim.aimed_loss is None or aim.target is None:
            yield from super().searches(victim, x, aim, start)
        else:
            yield self._descend(victim.aimed_loss, x, aim, start)

    def _descend(self, aimed_loss: AimedLoss, x: Tensor, aim: Aim, start: Tensor) -> Tensor:
        """Return the points of least loss on the way, of those that are classified wrongly where any are."""
        options = self.options
        assert aim.target is not None
        size = float(options.eps / 2 if options.step is None else options.step)
        best, x_adv = Best(x), start.detach().clone()
        rows = torch.arange(len(x), device=x.device)
        for number in range(options.steps + 1):
            last = number == options.steps
            with torch.set_grad_enabled(not last):
                point = x_adv[rows].requires_grad_(not last)
                loss, logits = aimed_loss(point, aim.target[rows])
                rise = torch.zeros_like(point) if last else torch.autograd.grad(loss.sum(), point)[0]
            best.offer(point, -loss, logits.argmax(1) != aim.y[rows], rows)
            missing = loss.detach() > 0
            rows = rows[missing]
            if last or not len(rows):
                break
            x_adv[rows] = self._moved(x_adv[rows], x[rows], -rise[missing], _share(number, options.steps) * size)
        return best.x

    def search(self, victim: Victim, x: Tensor, aim: Aim, start: Tensor, fooled: Tensor) -> Tensor:
        """Return the best points on the way from what PGD found."""
        options = self.options
        least, most = options.weight
        weight = torch.full((len(x),), (least + most) / 2, device=x.device)

        def direction(seen: _Seen) -> Tensor:
            nonlocal weight
            gain = (most - least) / WEIGHT_STEPS
            weight = (weight + torch.where(seen.shortfall == 0, gain, -gain)).clamp(least, most)
            share = per_image(weight, x)
            return (1 - share) * unit_step(seen.to_class, "l2") + share * unit_step(seen.to_evasion, "l2")

        step = options.eps / 2 if options.step is None else options.step
        return self._walk(victim, x, aim, fooled, direction, float(step))


class OrthogonalPgd(Evasion):
    """Steps for the classifier until it is fooled, for the detector while it is; neither undoes the other's work."""

    Options = OrthogonalPgdOptions
    options: OrthogonalPgdOptions

    def search(self, victim: Victim, x: Tensor, aim: Aim, start: Tensor, fooled: Tensor) -> Tensor:
        """Return the best points on the way from the start."""
        options = self.options

        def direction(seen: _Seen) -> Tensor:
            to_class, to_evasion = seen.to_class, seen.to_evasion
            if options.project in ("both", "classifier"):
                to_class = _off(seen.to_class, seen.to_evasion)
            if options.project in ("both", "detector"):
                to_evasion = _off(seen.to_evasion, seen.to_class)
            return torch.where(per_image(seen.shortfall == 0, x), to_evasion, to_class)

        step = options.eps / 8 if options.step is None else options.step
        return self._walk(victim, x, aim, start, direction, float(step), shrink=False)


class SelectivePgd(OrthogonalPgd):
    """The same without the projection."""

    Options = SelectivePgdOptions


def _share(number: int, steps: int) -> float:
    """Return the share of the first step's size that a step has: along a cosine, to nothing after the last."""
    return (1 + math.cos(math.pi * number / steps)) / 2


@dataclass(frozen=True)
class _Seen:
    """What a step knows of the point it starts from: (N,) numbers, and directions (N, C, H, W) of descent."""

    wrong: Tensor
    shortfall: Tensor
    suspicion: Tensor
    to_class: Tensor
    to_evasion: Tensor


def _look(victim: Victim, x: Tensor, aim: Aim, *, fool: bool, evade: bool) -> _Seen:
    """Return class, suspicion and directions of descent at `x`, 0 where they are not wanted.

    Args:
        victim: the system.
        x: images.
        aim: what is wanted.
        fool: whether the direction of the class's cross-entropy is wanted.
        evade: whether the direction of the suspicion is wanted.
    """
    with torch.set_grad_enabled(fool):
        point = x.detach().requires_grad_(fool)
        logits = victim.classifier(point)
        rise = torch.autograd.grad(aim.loss(logits).sum(), point)[0] if fool else torch.zeros_like(x)
    logits = logits.detach()
    wrong, shortfall = logits.argmax(1) != aim.y, aim.shortfall(logits)
    if victim.detector_loss is None:
        return _Seen(wrong, shortfall, -shortfall, -rise, torch.zeros_like(x))
    with torch.set_grad_enabled(evade):
        point = x.detach().requires_grad_(evade)
        suspicion = aim.suspicion(victim, point, logits)
        away = torch.autograd.grad(suspicion.sum(), point)[0] if evade else torch.zeros_like(x)
    return _Seen(wrong, shortfall, suspicion.detach().to(logits.dtype), -rise, -away)


def _off(gradient: Tensor, other: Tensor) -> Tensor:
    """Return the gradients (N, ...) without their component along the others."""
    unit = unit_step(other, "l2")
    return gradient - per_image((gradient * unit).flatten(1).sum(1), gradient) * unit


def _without(logits: Tensor, label: Tensor) -> Tensor:
    """Return logits (N, C) in which one class (N,) each cannot win."""
    return logits.scatter(1, label[:, None], -torch.inf)
