"""Defenses that train a network by the host's loop: the author adds a loss."""

from __future__ import annotations

import copy
from abc import abstractmethod

from benchmark.crafting import check_budget, warn_of_step
from benchmark.defense import FitContext, Hardener
from benchmark.errors import InputError
from benchmark.model import Classifier
from benchmark.options import CraftingOptions, TrainOptions
from benchmark.setting import Setting
from benchmark.training import Objective, train


class TrainedHardener(Hardener):
    """A network trained by `benchmark.training.train`. The author writes `objective`; options are `HardenerOptions`."""

    @property
    def needs_classifier(self) -> bool:
        """Only `init: model` begins with the trained model."""
        return bool(self.options.init == "model")

    def check_setting(self, setting: Setting) -> None:
        """Look whether there is a recipe to train by, and whether budgets fit the images.

        Raises:
            InputError: there is no recipe, or a budget covers the whole pixel range.
        """
        self._recipe(setting.recipe)
        for crafting in self.crafting():
            check_budget(crafting, setting.data.image_shape)

    def crafting(self) -> tuple[CraftingOptions, ...]:
        """Return by which options adversarial examples are crafted while training."""
        return ()

    def _recipe(self, own: TrainOptions | None) -> TrainOptions:
        recipe: TrainOptions | None = self.options.recipe(own)
        if recipe is None:
            raise InputError(
                "the model has no training recipe (train: null), so this defense needs one of its own. "
                "Write for example `train: {epochs: 20}` among its options."
            )
        return recipe

    @abstractmethod
    def objective(self, context: FitContext, classifier: Classifier, recipe: TrainOptions) -> Objective:
        """Return what `classifier`, which is on `context.device` with its initial weights, is trained to minimise.

        Raises:
            InputError: options do not fit the data or the network.
        """

    def initial(self, context: FitContext) -> Classifier:
        """Return the classifier that training begins with, as `options.init` says."""
        if self.options.init == "model":
            assert context.classifier is not None  # the host keeps `needs_classifier`
            return copy.deepcopy(context.classifier)
        return context.new_classifier(context.rng.spawn("initial weights"))

    def harden(self, context: FitContext) -> Classifier:
        """Return the network of the selected epoch.

        Raises:
            InputError: there is no recipe to train by, or `objective` refuses.
        """
        recipe = self._recipe(context.recipe)
        for crafting in self.crafting():
            warn_of_step(crafting, context.progress)
        classifier = self.initial(context).to(context.device)
        train(
            classifier,
            context.train,
            context.val,
            recipe,
            rng=context.rng.spawn("training"),
            device=context.device,
            progress=context.progress,
            checkpoint=context.checkpoint,
            objective=self.objective(context, classifier, recipe),
        )
        return classifier
