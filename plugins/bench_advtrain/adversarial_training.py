"""Adversarial training: the network learns from adversarial examples crafted on itself, batch by batch.

Goodfellow, Shlens and Szegedy, "Explaining and Harnessing Adversarial Examples", ICLR 2015, section 6: one
step (FGSM) and a weighted sum of clean and adversarial loss. Madry, Makelov, Schmidt, Tsipras and Vladu,
"Towards Deep Learning Models Resistant to Adversarial Attacks", ICLR 2018, Eq. 2.1: adversarial loss alone,
with several projected steps from a random start.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from bench_advtrain.options import AdversarialTrainingOptions
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
    craft,
    draw_eps,
    unchanged,
)


class AdversarialTraining(TrainedHardener):
    """A network trained by `AdversarialObjective`."""

    Options = AdversarialTrainingOptions

    @property
    def published_attacks(self) -> tuple[PublishedAttack, ...]:  # type: ignore[override]
        """What AutoAttack left of Madry et al.'s network; it says nothing of one that is trained by a single step."""
        madry = PublishedAttack(
            "Croce and Hein 2020, arXiv:2003.01690, README of AutoAttack", 0.4404, "CIFAR-10, linf 8/255", breaks=False
        )
        return (madry,) if self.options.steps_taken > 1 else ()

    def passes(self, train: int, val: int, recipe: TrainOptions | None) -> Passes | None:
        """Return the passes of all epochs: exact, since no step is skipped and none is taken twice."""
        options: AdversarialTrainingOptions = self.options
        recipe = options.recipe(recipe)
        if recipe is None:
            return None
        crafted = 0 if options.mix == 1 else options.steps_taken
        learned = 1 if options.mix in (0, 1) else 2
        checked = CraftingObjective.passes(options, recipe)
        return Passes(
            forward=recipe.epochs * (train * (crafted + learned) + val * checked.forward),
            backward=recipe.epochs * (train * (crafted + learned) + val * checked.backward),
        )

    def crafting(self) -> tuple[CraftingOptions, ...]:
        """Return the options themselves, and those of validation."""
        attacks: tuple[CraftingOptions, ...] = self.options.attacks
        return attacks

    def objective(self, context: FitContext, classifier: Classifier, recipe: TrainOptions) -> Objective:
        """Return the adversarial loss."""
        return AdversarialObjective(self.options, recipe)


class AdversarialObjective(CraftingObjective):
    """mix · loss(x) + (1 - mix) · loss(x_adv), the adversarial examples crafted anew for every batch.

    Clean and adversarial images of a batch go through the network together, so that batch normalisation sees
    both.
    """

    def __init__(self, options: AdversarialTrainingOptions, recipe: TrainOptions) -> None:
        super().__init__(options, recipe)
        self._options = options

    def loss(self, classifier: Classifier, x: Tensor, y: Tensor, rng: Rng) -> Tensor:
        """Return the mean loss of a batch, clean and adversarial by their shares."""
        mix = self._options.mix
        if mix == 1:
            return super().loss(classifier, x, y, rng)
        with unchanged(classifier, self._options.crafting_mode):
            x_adv = craft(classifier, x, y, self._options, draw_eps(self._options, rng), rng)
        if mix == 0:
            return super().loss(classifier, x_adv, y, rng)
        losses = cross_entropy(
            classifier(torch.cat([x, x_adv])),
            torch.cat([y, y]),
            label_smoothing=self.label_smoothing,
            reduction="none",
        )
        return mix * losses[: len(y)].mean() + (1 - mix) * losses[len(y) :].mean()
