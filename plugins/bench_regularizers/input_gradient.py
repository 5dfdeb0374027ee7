"""Input-gradient regularisation: small changes of an image shall change the loss little.

Ross and Doshi-Velez, "Improving the Adversarial Robustness and Interpretability of Deep Neural Networks by Regularizing
Their Input Gradients", AAAI 2018, Eq. 3 ("double backpropagation", Drucker and LeCun 1992).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from bench_regularizers.options import InputGradientOptions
from benchmark import Classifier, FitContext, Objective, Passes, Rng, TrainedHardener, TrainOptions


class InputGradientObjective(Objective):
    """Cross-entropy plus `weight` times the squared L2 norm of its gradient in the image, the mean over images."""

    def __init__(self, weight: float, recipe: TrainOptions) -> None:
        super().__init__(recipe.label_smoothing)
        self._weight = weight

    def loss(self, classifier: Classifier, x: Tensor, y: Tensor, rng: Rng) -> Tensor:
        """Return the mean loss of a batch."""
        point = x.detach().requires_grad_()
        losses = cross_entropy(classifier(point), y, label_smoothing=self.label_smoothing, reduction="none")
        (gradient,) = torch.autograd.grad(losses.sum(), point, create_graph=True)
        return (losses + self._weight * gradient.flatten(1).square().sum(1)).mean()


class InputGradient(TrainedHardener):
    """A network with small input gradients."""

    Options = InputGradientOptions

    def objective(self, context: FitContext, classifier: Classifier, recipe: TrainOptions) -> Objective:
        """Return the loss."""
        return InputGradientObjective(self.options.weight, recipe)

    def passes(self, train: int, val: int, recipe: TrainOptions | None) -> Passes | None:
        """Return the passes of all epochs: two backward passes per image."""
        recipe = self.options.recipe(recipe)
        return None if recipe is None else Passes(recipe.epochs * (train + val), 2 * recipe.epochs * train)
