"""Adversarial examples crafted on a network while it is trained: what adversarial training and its relatives share."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from benchmark.errors import InputError
from benchmark.gradient import Loss, ascend, classification_loss, random_start
from benchmark.model import Classifier, Passes
from benchmark.options import AdversarialOptions, CraftingOptions, TrainOptions, in_255ths
from benchmark.progress import Progress
from benchmark.randomness import Rng
from benchmark.training import Objective


def craft(
    classifier: nn.Module,
    x: Tensor,
    y: Tensor,
    crafting: CraftingOptions,
    eps: float,
    rng: Rng,
    loss: Loss | None = None,
) -> Tensor:
    """Return adversarial examples (N, C, H, W) in [0, 1] within `eps` of images `x` with labels `y` (N,).

    Args:
        loss: what is ascended, images to one value per image; the cross-entropy of `classifier` unless given.
    """
    # Not spawned: the parts of a batch that was split for want of memory draw one after the other, not alike.
    start = random_start(x, crafting.norm, eps, rng.numpy) if crafting.starts_at_random else None
    return ascend(
        loss or classification_loss(classifier, y),
        x,
        norm=crafting.norm,
        eps=eps,
        step=crafting.step_size(eps),
        steps=crafting.steps_taken,
        start=start,
    )


def draw_eps(crafting: CraftingOptions, rng: Rng) -> float:
    """Return the budget of a batch: the fixed one, or a uniform draw, the same for all parts of the batch."""
    low, high = float(crafting.eps.low), float(crafting.eps.high)
    return low if low == high else float(rng.spawn("eps").numpy.uniform(low, high))


@contextmanager
def unchanged(classifier: nn.Module, mode: str) -> Iterator[None]:
    """Put the classifier in `mode` ("eval", "train") inside the block; restore modes and buffers after it.

    Buffers hold the running statistics of batch normalisation. Gradients of weights need no care: `ascend`
    asks for those of the images alone, and the others are then neither computed nor stored.
    """
    training = {module: module.training for module in classifier.modules()}
    buffers = [(buffer, buffer.clone()) for buffer in classifier.buffers()] if mode == "train" else []
    classifier.train(mode == "train")
    try:
        yield
    finally:
        for module, was_training in training.items():
            module.training = was_training
        with torch.no_grad():
            for buffer, before in buffers:
                buffer.copy_(before)


class CraftingObjective(Objective):
    """Learns from adversarial examples, so that an epoch is judged by clean and by attacked validation images.

    Args:
        crafting: how they are made; None for a network that learns from clean images alone and is judged by them.
        recipe: it says whether the best epoch is selected; where none is, the attack on validation images is spared.
    """

    def __init__(self, crafting: AdversarialOptions | None, recipe: TrainOptions) -> None:
        super().__init__(recipe.label_smoothing)
        self._crafting = crafting if recipe.select == "best" else None

    def correct(self, classifier: Classifier, x: Tensor, y: Tensor, rng: Rng) -> dict[str, Tensor]:
        """Return which images are right, clean and attacked on the cross-entropy, or clean alone."""
        right = super().correct(classifier, x, y, rng)
        if self._crafting is None:
            return right
        validation = self._crafting.validation
        eps = float(self._crafting.eps.high) if validation is None else draw_eps(validation, rng)
        with unchanged(classifier, "eval"):
            x_adv = craft(classifier, x, y, validation or self._crafting, eps, rng)
        attacked = super().correct(classifier, x_adv, y, rng)
        return {"clean": right["accuracy"], "adversarial": attacked["accuracy"]}

    @staticmethod
    def passes(crafting: AdversarialOptions | None, recipe: TrainOptions) -> Passes:
        """Return the passes per epoch and validation image."""
        if crafting is None or recipe.select != "best":
            return Passes(forward=1)
        steps = (crafting.validation or crafting).steps_taken
        return Passes(forward=steps + 2, backward=steps)


def check_budget(crafting: CraftingOptions, image_shape: tuple[int, int, int]) -> None:
    """Refuse a budget that covers the whole pixel range.

    Raises:
        InputError: eps in l2 is more than the distance between a black and a white image.
    """
    diagonal = math.sqrt(math.prod(image_shape))
    if crafting.norm == "l2" and float(crafting.eps.high) > diagonal:
        raise InputError(
            f"eps {crafting.eps.high} in l2 is more than the {diagonal:.1f} between a black and a white image of this "
            f"data set: pixels are in [0, 1].{in_255ths(crafting.eps.high)}"
        )


def warn_of_step(crafting: CraftingOptions, progress: Progress) -> None:
    """Warn of a step that is wider than the ball."""
    if crafting.step is not None and crafting.step > 2 * float(crafting.eps.high):
        progress.warn(
            f"step {crafting.step} is wider than the ball (eps {crafting.eps.high}), "
            f"so every step ends on its border. Pixels are in [0, 1].{in_255ths(crafting.step)}"
        )
