"""Attacks: procedures that make adversarial examples, whose range and budget the host checks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from benchmark.model import Passes
from benchmark.options import AttackOptions
from benchmark.randomness import Rng
from benchmark.setting import Setting

TOLERANCE = 1e-5
"""Slack for float32 rounding when range and budget are checked, relative to the budget and absolute on the range."""


@dataclass(frozen=True)
class ClassLikelihoods:
    """How likely a detector finds images for each class, for attacks on it; differentiable in the images.

    Attributes:
        log_likelihood: (N, num_classes).
        log_threshold: (num_classes,); a likelihood below it is rejected.
        logits: (N, num_classes) of the classifier, from the same pass.
    """

    log_likelihood: Tensor
    log_threshold: Tensor
    logits: Tensor


@dataclass(frozen=True)
class Victim:
    """What the attacker holds.

    Attributes:
        classifier: maps (N, C, H, W) in [0, 1] to logits (N, num_classes); eval mode, parameters frozen,
            differentiable in its input.
        num_classes: number of classes.
        image_shape: (C, H, W).
        device: where the classifier is.
        detector_loss: maps images to (N,) suspicion that falls when the detector is evaded; None where the
            attacker does not know the detector or it has none.
        class_suspicions: maps images to the suspicion (N, num_classes) that they would meet, were they given each
            class; None where the attacker does not know the detector or it does not depend on the class.
        aims: maps images and true labels (N,) to how promising each class is to aim at, (N, num_classes), the largest
            value first; None where the attacker does not know the defense or it offers no order.
        aimed_loss: maps images and the classes (N,) that are aimed at to a loss (N,) of at least 0, to be decreased,
            that is 0 where nothing of the aim is missing, and the logits (N, num_classes) of the same pass; None where
            the attacker does not know the defense or it offers none.
        class_likelihoods: the detector's, where the attacker knows it and it has any.
        training_loss: maps images and true labels (N,) to the loss (N,) that the defense was trained by, to be
            increased, and the logits (N, num_classes) of the same pass; None where the attacker does not know it or
            there is none.
        judge: maps images and a source of randomness to what the deployed system answers: labels (N,), and scores
            (N,) that rise with suspicion or None. Not differentiable. None where the attacker does not hold the whole
            system, or it is the classifier.
    """

    classifier: nn.Module
    num_classes: int
    image_shape: tuple[int, int, int]
    device: torch.device
    detector_loss: Callable[[Tensor], Tensor] | None = None
    class_likelihoods: Callable[[Tensor], ClassLikelihoods] | None = None
    training_loss: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None = None
    class_suspicions: Callable[[Tensor], Tensor] | None = None
    aims: Callable[[Tensor, Tensor], Tensor] | None = None
    aimed_loss: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None = None
    judge: Callable[[Tensor, Rng], tuple[Tensor, Tensor | None]] | None = None


class Attack(ABC):
    """An attack. The constructor stores the options and does no work.

    The author writes `craft`; the host batches, seeds, times, checks range and budget, and judges success in a
    fresh forward pass. Examples that fail are kept too.
    """

    Options: ClassVar[type[AttackOptions]] = AttackOptions
    libraries: ClassVar[tuple[str, ...]] = ()
    """Modules that only its work imports: a plan does not wait for them, worker processes load them beforehand."""
    needs: ClassVar[Literal["gradient", "scores", "labels"]] = "gradient"
    """The most that the attack asks of its victim."""
    evades_detector: ClassVar[bool] = False
    """Whether `craft` lowers `victim.detector_loss` too; without it a detector's white-box row would be none."""
    needs_likelihoods: ClassVar[bool] = False
    """Whether `craft` needs `victim.class_likelihoods`: it attacks detectors that have them, and no other defense."""
    needs_training_loss: ClassVar[bool] = False
    """Whether `craft` needs `victim.training_loss`: it attacks hardeners that offer theirs, and no other defense."""

    def __init__(self, options: AttackOptions) -> None:
        self.options: Any = options

    @property
    def minimum_norm(self) -> bool:
        """Whether `craft` seeks the nearest adversarial example: one crafting without `eps` then serves every budget.

        At a budget the host counts an example within it, and the clean image in place of one beyond it.
        """
        return False

    def check(self) -> None:  # noqa: B027 - most attacks need nothing
        """Look, while the run is planned, whether options fit what is installed.

        Raises:
            InputError: what is wrong and what is allowed.
        """

    def check_setting(self, setting: Setting) -> None:  # noqa: B027
        """Look, while the run is planned, whether it suits a data set and a model that it is combined with.

        What can be told from numbers of images, classes, shapes and layers belongs here, so that nobody waits for it.

        Raises:
            InputError: what is wrong and what is allowed.
        """

    @abstractmethod
    def craft(self, victim: Victim, x: Tensor, y: Tensor, rng: Rng) -> Tensor:
        """Return adversarial examples (N, C, H, W) in [0, 1] for images `x` with true labels `y` (N,).

        A fixed-budget attack stays within `options.eps` in `options.norm`; a minimum-norm attack without `eps`
        may go anywhere in [0, 1]. All randomness comes from `rng`; call a library that draws from global
        generators inside `rng.seeded_globals()`.
        """

    def passes(self) -> Passes | None:
        """Return images pushed forward and backward per image attacked, or None where nothing is known of them.

        Where the data decides, a bound with `at_most=True`.
        """
        return None

    def iterations(self) -> int | None:
        """Return how many gradients in a row it follows, each taken where the one before has led; None if unknown.

        Restarts, aims and draws stand beside each other and do not count. One iteration is a single step, which misses
        what several find (Carlini et al. 2019, arXiv:1902.06705, section 4.3). Unless it is written anew: the option
        `steps`, or 1 for a single backward pass.
        """
        if self.needs != "gradient":
            return 0
        steps, passes = getattr(self.options, "steps", None), self.passes()
        if type(steps) is int:
            return steps
        return 1 if passes is not None and passes.backward == 1 else None


def perturbation_size(delta: Tensor, norm: str) -> Tensor:
    """Return the size (N,) of perturbations (N, ...) in `norm`: linf, l2, l1 or l0 (pixels changed in any channel)."""
    flat = delta.flatten(1)
    if norm == "linf":
        return flat.abs().amax(1)
    if norm == "l2":
        return flat.norm(p=2, dim=1)
    if norm == "l1":
        return flat.abs().sum(1)
    if norm == "l0":
        return (delta != 0).any(dim=1).flatten(1).sum(1).float()
    raise ValueError(f"unknown norm {norm!r}, allowed are linf, l2, l1, l0")
