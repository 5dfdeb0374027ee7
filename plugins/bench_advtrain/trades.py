"""TRADES and MART: clean images are learned, and the answers around them are held to those on them.

Zhang, Yu, Jiao, Xing, El Ghaoui, Jordan, "Theoretically Principled Trade-off between Robustness and Accuracy", ICML
2019, Eq. 5 and Algorithm 1. Wang, Zou, Yi, Bailey, Ma, Gu, "Improving Adversarial Robustness Requires Revisiting
Misclassified Examples", ICLR 2020, Eq. 11 and 12.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div, log_softmax

from bench_advtrain.options import MartOptions, TradesOptions
from benchmark import (
    Classifier,
    CraftingObjective,
    CraftingOptions,
    FitContext,
    Objective,
    Passes,
    PublishedAttack,
    Rng,
    TrainedHardener,
    TrainOptions,
    ascend,
    craft,
    draw_eps,
    unchanged,
)

START = 1e-3
"""Standard deviation of the noise that TRADES begins with: on the image itself the divergence has no gradient."""


def divergence(answer: Tensor, other: Tensor) -> Tensor:
    """Return KL(softmax(answer) || softmax(other)), (N,), of logits (N, K)."""
    return kl_div(log_softmax(other, 1), log_softmax(answer, 1), reduction="none", log_target=True).sum(1)


def trades_loss(clean: Tensor, attacked: Tensor, y: Tensor, weight: float, label_smoothing: float = 0.0) -> Tensor:
    """Return TRADES' loss (N,) of logits (N, K) on clean and attacked images (Eq. 5)."""
    learned = cross_entropy(clean, y, reduction="none", label_smoothing=label_smoothing)
    return learned + weight * divergence(clean, attacked)


def mart_loss(clean: Tensor, attacked: Tensor, y: Tensor, weight: float) -> Tensor:
    """Return MART's loss (N,) of logits (N, K) on clean and attacked images (Eq. 11 and 12)."""
    own = y[:, None]
    log_attacked = log_softmax(attacked, 1)
    likeliest_other = log_attacked.exp().scatter(1, own, 0.0).amax(1)
    # As in the authors' code, a little is added where a probability of 1 would make the logarithm infinite.
    boosted = -log_attacked.gather(1, own).squeeze(1) - torch.log(1.0001 - likeliest_other)
    missed = 1 - clean.softmax(1).gather(1, own).squeeze(1)
    return boosted + weight * divergence(clean, attacked) * missed


class _Around(CraftingObjective):
    """Learns from clean images and from attacked ones around them."""

    def __init__(self, options: TradesOptions | MartOptions, recipe: TrainOptions) -> None:
        super().__init__(options, recipe)
        self._options = options

    def loss(self, classifier: Classifier, x: Tensor, y: Tensor, rng: Rng) -> Tensor:
        """Return the mean loss of a batch; clean and attacked images go through the network together."""
        with unchanged(classifier, "eval"):
            x_adv = self._attacked(classifier, x, y, rng)
        clean, attacked = classifier(torch.cat([x, x_adv])).chunk(2)
        return self._loss(clean, attacked, y).mean()

    def _attacked(self, classifier: Classifier, x: Tensor, y: Tensor, rng: Rng) -> Tensor:
        return craft(classifier, x, y, self._options, draw_eps(self._options, rng), rng)

    def _loss(self, clean: Tensor, attacked: Tensor, y: Tensor) -> Tensor:
        return mart_loss(clean, attacked, y, self._options.weight)


class _TradesObjective(_Around):
    """Attacks the divergence instead of the label."""

    def _attacked(self, classifier: Classifier, x: Tensor, y: Tensor, rng: Rng) -> Tensor:
        options, eps = self._options, draw_eps(self._options, rng)
        with torch.no_grad():
            clean = classifier(x)
        noise = torch.from_numpy(rng.numpy.standard_normal(tuple(x.shape))).to(x)
        return ascend(
            lambda images: divergence(clean, classifier(images)),
            x,
            norm=options.norm,
            eps=eps,
            step=options.step_size(eps),
            steps=options.steps_taken,
            start=(x + START * noise).clamp(0, 1),
        )

    def _loss(self, clean: Tensor, attacked: Tensor, y: Tensor) -> Tensor:
        return trades_loss(clean, attacked, y, self._options.weight, self.label_smoothing)


class _Hardener(TrainedHardener):
    """What the two share."""

    objective_type: ClassVar[type[_Around]] = _Around

    def crafting(self) -> tuple[CraftingOptions, ...]:
        """Return the options themselves, and those of validation."""
        attacks: tuple[CraftingOptions, ...] = self.options.attacks
        return attacks

    def objective(self, context: FitContext, classifier: Classifier, recipe: TrainOptions) -> Objective:
        """Return the loss."""
        return self.objective_type(self.options, recipe)

    def passes(self, train: int, val: int, recipe: TrainOptions | None) -> Passes | None:
        """Return the passes of all epochs; TRADES asks once more for the answers on the images themselves."""
        recipe = self.options.recipe(recipe)
        if recipe is None:
            return None
        per_image = self.options.steps_taken + 2
        asked = 1 if self.objective_type is _TradesObjective else 0
        checked = CraftingObjective.passes(self.options, recipe)
        return Passes(
            forward=recipe.epochs * (train * (per_image + asked) + val * checked.forward),
            backward=recipe.epochs * (train * per_image + val * checked.backward),
        )


class Mart(_Hardener):
    """A network trained by MART's loss."""

    Options = MartOptions
    published_attacks = (
        PublishedAttack(
            "Croce and Hein 2020, arXiv:2003.01690, README of AutoAttack",
            0.5629,
            "CIFAR-10, linf 8/255, with unlabelled data",
            breaks=False,
        ),
    )


class Trades(_Hardener):
    """A network trained by TRADES' loss."""

    Options = TradesOptions
    objective_type = _TradesObjective
    published_attacks = (
        PublishedAttack(
            "Croce and Hein 2020, arXiv:2003.01690, README of AutoAttack", 0.5308, "CIFAR-10, linf 0.031", breaks=False
        ),
    )
