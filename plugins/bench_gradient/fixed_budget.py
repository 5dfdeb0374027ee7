"""Attacks that spend a given budget: FGSM, BIM, PGD and MI-FGSM.

Sources: FGSM, Goodfellow, Shlens, Szegedy, "Explaining and Harnessing Adversarial Examples", ICLR 2015, section 4;
BIM, Kurakin, Goodfellow, Bengio, "Adversarial examples in the physical world", ICLR workshop 2017, section 2.2 (Eq. 2
of I-defender); its l2-normalised form, Metzen, Genewein, Fischer, Bischoff, "On Detecting Adversarial Perturbations",
ICLR 2017 (Eq. 3 of I-defender: step along the gradient over its l2 norm, then project into the l2 ball around the
image, which is BIM with norm l2); PGD, Madry et al., "Towards Deep Learning Models Resistant to Adversarial Attacks",
ICLR 2018, section 2.1; MI-FGSM, Dong et al., "Boosting Adversarial Attacks with Momentum", CVPR 2018, Algorithm 1.

All climb the cross-entropy of the true label and agree with the Adversarial Robustness Toolbox (a test compares them).
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from bench_gradient import options
from benchmark import (
    Attack,
    AttackOptions,
    Best,
    Passes,
    Rng,
    Victim,
    ascend,
    classification_loss,
    random_start,
    untargeted,
)


class Fgsm(Attack):
    """The fast gradient (sign) method: one step of size eps; norm l2 steps along the normalised gradient."""

    Options = options.FgsmOptions

    def craft(self, victim: Victim, x: Tensor, y: Tensor, rng: Rng) -> Tensor:
        """Return adversarial examples (N, C, H, W) in [0, 1] within eps of `x`."""
        eps = float(self.options.eps)
        loss = classification_loss(victim.classifier, y)
        return ascend(loss, x, norm=self.options.norm, eps=eps, step=eps, steps=1)

    def passes(self) -> Passes:
        """Return one forward and one backward pass per image."""
        return Passes(1, 1)


class Bim(Attack):
    """The basic iterative method: steps from the image itself, projected into the ball after each."""

    Options: ClassVar[type[AttackOptions]] = options.BimOptions

    def craft(self, victim: Victim, x: Tensor, y: Tensor, rng: Rng) -> Tensor:
        """Return adversarial examples (N, C, H, W) in [0, 1] within eps of `x`."""
        return self._ascend(victim, x, y, start=None)

    def _ascend(self, victim: Victim, x: Tensor, y: Tensor, start: Tensor | None) -> Tensor:
        return ascend(
            untargeted(victim.classifier, y),
            x,
            norm=self.options.norm,
            eps=float(self.options.eps),
            step=self.options.step_size,
            steps=self.options.steps,
            start=start,
            decay=self._decay,
            keep=self.options.keep,
        )

    @property
    def _decay(self) -> float | None:
        return None

    def passes(self) -> Passes:
        """Return one forward and one backward pass per image and step, and a look at the last one to keep the best."""
        return Passes(self.options.steps + (self.options.keep == "best"), self.options.steps)


class MiFgsm(Bim):
    """The momentum iterative method: BIM whose steps follow gradients accumulated with `decay`."""

    Options = options.MiFgsmOptions

    @property
    def _decay(self) -> float | None:
        decay: float = self.options.decay
        return decay


class Pgd(Bim):
    """Projected gradient descent: BIM from random points of the ball."""

    Options = options.PgdOptions

    def craft(self, victim: Victim, x: Tensor, y: Tensor, rng: Rng) -> Tensor:
        """Return adversarial examples (N, C, H, W) in [0, 1] within eps of `x`.

        Of several starts an image's first successful one is returned; where none succeeds, the best or the last.
        """
        best = Best(x)
        pending = torch.arange(len(x), device=x.device)
        for restart in range(self.options.restarts):
            start = None
            if self.options.random_start:
                # Drawn for the whole batch, so that what one image gets does not depend on when others are fooled.
                whole = random_start(x, self.options.norm, float(self.options.eps), rng.numpy)
                start = whole[pending]
            x_adv = self._ascend(victim, x[pending], y[pending], start)
            if self.options.restarts == 1:
                return x_adv
            with torch.no_grad():
                loss, fooled = untargeted(victim.classifier, y[pending])(x_adv)
            # The last start is the best yet to who keeps the last.
            best.offer(x_adv, loss if self.options.keep == "best" else torch.full_like(loss, restart), fooled, pending)
            pending = pending[~fooled]
            if not len(pending):
                break
        return best.x

    def passes(self) -> Passes:
        """Return what the steps of a start cost, times the starts: at most, since fooled images are left alone."""
        one, starts = super().passes(), self.options.restarts
        return one if starts == 1 else Passes(starts * (one.forward + 1), starts * one.backward, at_most=True)
