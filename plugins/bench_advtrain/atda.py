"""ATDA: adversarial training that draws clean and adversarial images together in the space of the logits.

Song, He, Wang, Hopcroft, "Improving the Generalization of Adversarial Training with Domain Adaptation", ICLR 2019:
Eq. 5 and 6 (MMD and CORAL), Eq. 7 to 9 (the margin to class centres and their update), Algorithm 1.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, softplus

from bench_advtrain.options import AtdaOptions
from benchmark import (
    Classifier,
    CraftingObjective,
    CraftingOptions,
    FitContext,
    Objective,
    Passes,
    Rng,
    TrainedHardener,
    TrainOptions,
    craft,
    draw_eps,
    unchanged,
)


def mean_discrepancy(clean: Tensor, attacked: Tensor) -> Tensor:
    """Return the L1 distance of the mean logits over their number K, of (N, K) each (Eq. 5)."""
    return (clean.mean(0) - attacked.mean(0)).abs().mean()


def correlation_discrepancy(clean: Tensor, attacked: Tensor) -> Tensor:
    """Return the L1 distance of the covariances of the logits over K^2, of (N, K) each (Eq. 6)."""
    return (clean.T.cov() - attacked.T.cov()).abs().mean()


def margin(logits: Tensor, y: Tensor, centres: Tensor) -> Tensor:
    """Return the mean over images and wrong classes of softplus(L1 to the own centre - L1 to the other), Eq. 9."""
    to_centres = torch.cdist(logits, centres, p=1)
    own = to_centres.gather(1, y[:, None])
    others = torch.ones_like(to_centres).scatter(1, y[:, None], 0.0)
    return (softplus(own - to_centres) * others).sum() / others.sum()


class _Centres(nn.Module):
    """The centre of each class's logits, which follows the batches and is learned by no gradient."""

    values: Tensor

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.register_buffer("values", torch.zeros(num_classes, num_classes))

    @torch.no_grad()
    def follow(self, logits: Tensor, y: Tensor, rate: float) -> None:
        """Move each centre towards the logits of its class by `rate` (Eq. 7 and 8)."""
        away = torch.zeros_like(self.values).index_add(0, y, self.values[y] - logits)
        count = torch.bincount(y, minlength=len(self.values)).to(logits)
        self.values -= rate * away / (1 + count)[:, None]


class AtdaObjective(CraftingObjective):
    """Cross-entropy on clean and adversarial images, and what draws them together."""

    trained: _Centres

    def __init__(self, options: AtdaOptions, num_classes: int, recipe: TrainOptions) -> None:
        super().__init__(options, recipe)
        self._options = options
        self.trained = _Centres(num_classes)

    def loss(self, classifier: Classifier, x: Tensor, y: Tensor, rng: Rng) -> Tensor:
        """Return the mean loss of a batch."""
        with unchanged(classifier, "eval"):
            x_adv = craft(classifier, x, y, self._options, draw_eps(self._options, rng), rng)
        both, twice = classifier(torch.cat([x, x_adv])), torch.cat([y, y])
        clean, attacked = both.chunk(2)
        adapted = margin(both, twice, self.trained.values.clone())
        if len(y) > 1:  # one image has no covariance
            adapted = adapted + mean_discrepancy(clean, attacked) + correlation_discrepancy(clean, attacked)
        self.trained.follow(both.detach(), twice, self._options.centre_rate)
        # Both cross-entropies count whole, as in Algorithm 1; here each is a mean over the batch.
        learned = (cross_entropy(logits, y, label_smoothing=self.label_smoothing) for logits in (clean, attacked))
        return sum(learned, self._options.weight * adapted)


class Atda(TrainedHardener):
    """A network trained by ATDA's loss."""

    Options = AtdaOptions

    def crafting(self) -> tuple[CraftingOptions, ...]:
        """Return the options themselves, and those of validation."""
        attacks: tuple[CraftingOptions, ...] = self.options.attacks
        return attacks

    def objective(self, context: FitContext, classifier: Classifier, recipe: TrainOptions) -> Objective:
        """Return the loss, with centres at 0."""
        return AtdaObjective(self.options, len(self.class_names), recipe)

    def passes(self, train: int, val: int, recipe: TrainOptions | None) -> Passes | None:
        """Return the passes of all epochs."""
        recipe = self.options.recipe(recipe)
        if recipe is None:
            return None
        images = recipe.epochs * train * (self.options.steps_taken + 2)
        checked = CraftingObjective.passes(self.options, recipe)
        return Passes(images + recipe.epochs * val * checked.forward, images + recipe.epochs * val * checked.backward)
