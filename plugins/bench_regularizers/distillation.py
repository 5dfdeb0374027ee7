"""Defensive distillation: a network that learns from another one's softened answers.

Papernot, McDaniel, Wu, Jha, Swami, "Distillation as a Defense to Adversarial Perturbations against Deep Neural
Networks", IEEE S&P 2016, section 4. Carlini and Wagner, "Towards Evaluating the Robustness of Neural Networks", IEEE
S&P 2017, break it: at temperature 1 its logits are so large that the softmax leaves no gradient.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import cross_entropy

from bench_regularizers.options import DistillationOptions
from benchmark import (
    Classifier,
    FitContext,
    Objective,
    Passes,
    PublishedAttack,
    Rng,
    TrainedHardener,
    TrainOptions,
    train,
)


class TemperedObjective(Objective):
    """Cross-entropy at a temperature, against the labels or against a teacher's answers at the same temperature."""

    def __init__(self, temperature: float, recipe: TrainOptions, teacher: Classifier | None = None) -> None:
        # A teacher's answers are soft already.
        super().__init__(recipe.label_smoothing if teacher is None else 0.0)
        self._temperature = temperature
        self._teacher = teacher

    def loss(self, classifier: Classifier, x: Tensor, y: Tensor, rng: Rng) -> Tensor:
        """Return the mean loss of a batch, times the temperature: the recipe's learning rate then fits at any."""
        target = y if self._teacher is None else (self._teacher(x) / self._temperature).softmax(1)
        tempered = classifier(x) / self._temperature
        return self._temperature * cross_entropy(tempered, target, label_smoothing=self.label_smoothing)


class Distillation(TrainedHardener):
    """A student of its own architecture's teacher."""

    Options = DistillationOptions
    published_attacks = (
        PublishedAttack(
            "Carlini and Wagner 2017, arXiv:1608.04644", 0.0, "MNIST and CIFAR-10, nearest in l0, l2, linf"
        ),
    )

    def objective(self, context: FitContext, classifier: Classifier, recipe: TrainOptions) -> Objective:
        """Train the teacher, and return the student's loss."""
        teacher = context.new_classifier(context.rng.spawn("teacher's initial weights"))
        folder = context.checkpoint / "teacher"
        folder.mkdir(exist_ok=True)
        train(
            teacher,
            context.train,
            context.val,
            recipe,
            rng=context.rng.spawn("teacher"),
            device=context.device,
            progress=context.progress,
            checkpoint=folder,
            objective=TemperedObjective(self.options.temperature, recipe),
        )
        return TemperedObjective(self.options.temperature, recipe, teacher.frozen())

    def passes(self, train: int, val: int, recipe: TrainOptions | None) -> Passes | None:
        """Return the passes of all epochs of teacher and student; the student's images go through the teacher too."""
        recipe = self.options.recipe(recipe)
        if recipe is None:
            return None
        return Passes(recipe.epochs * (3 * train + 2 * val), 2 * recipe.epochs * train)
