"""Attacks of the Adversarial Robustness Toolbox (Nicolae et al., "Adversarial Robustness Toolbox v1.0.0", 2018).

Source of APGD and AutoAttack: Croce, Hein, "Reliable evaluation of adversarial robustness with an ensemble of diverse
parameter-free attacks", ICML 2020, Algorithm 1 and section 5.

ART's code is used as it is; where it deviates from the papers the README of this folder says so.
"""

from __future__ import annotations

import inspect
import math
from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from bench_art import options
from bench_art.library import library_call
from benchmark import (
    TOLERANCE,
    Attack,
    AttackOptions,
    Best,
    InputError,
    Passes,
    Rng,
    Setting,
    TaskError,
    Victim,
    perturbation_size,
    project,
    unknown_name,
)

if TYPE_CHECKING:
    from bench_art.estimator import Estimator

ORDERS = {"linf": np.inf, "l2": 2, "l1": 1}
"""Norms as ART writes them."""

ART_P_INIT = 0.8
"""Share of the image that the first square of ART's AutoAttack covers."""

HOST_ARGUMENTS = ("batch_size", "verbose", "summary_writer")
"""Arguments that are not the user's: batches and output are the host's business."""


class ArtAttack(Attack):
    """An attack of ART. The author writes `build`; images that are wrong already are returned as they are."""

    Options: ClassVar[type[AttackOptions]] = AttackOptions
    libraries = ("art.attacks.evasion", "bench_art.estimator")

    @abstractmethod
    def build(self, victim: Victim, count: int) -> Any:
        """Return the library's attack on `victim` for a batch of `count` images.

        Raises:
            InputError: the library refuses the arguments.
        """

    def craft(self, victim: Victim, x: Tensor, y: Tensor, rng: Rng) -> Tensor:
        """Return adversarial examples (N, C, H, W) in [0, 1].

        Raises:
            InputError: the attack cannot take such images.
            TaskError: the library answered with another shape than it was given.
        """

        x = x.detach()
        with torch.no_grad():
            right = (victim.classifier(x).argmax(1) == y).nonzero().flatten()
        x_adv = x.clone()
        if not len(right):
            return x_adv
        images, labels = x[right], nn.functional.one_hot(y[right], victim.num_classes)
        with library_call(rng):
            attack = self.build(victim, len(right))
            # A copy, since ART works in place in some attacks.
            answer = attack.generate(images.cpu().numpy().copy(), labels.float().cpu().numpy())
        if np.shape(answer) != tuple(images.shape):
            raise TaskError(f"ART's attack returned shape {np.shape(answer)} for images of shape {tuple(images.shape)}")
        found = torch.from_numpy(np.asarray(answer, dtype=np.float32)).to(x.device).clamp(0, 1)
        x_adv[right] = self.within_budget(found, images)
        return x_adv

    def within_budget(self, found: Tensor, x: Tensor) -> Tensor:
        """Return `found` moved into the ball: the library overshoots by rounding, AutoAttack by up to 0.01 %."""
        return project(found, x, self.options.norm, float(self.options.eps)).clamp(0, 1)


class Apgd(ArtAttack):
    """Projected gradient descent with momentum that halves its steps by itself, from random points of the ball."""

    Options = options.ApgdOptions

    def craft(self, victim: Victim, x: Tensor, y: Tensor, rng: Rng) -> Tensor:
        """Return adversarial examples (N, C, H, W) in [0, 1]: the best points that ART looked at, or its answer."""
        if self.options.keep == "last":
            return super().craft(victim, x, y, rng)
        from bench_art.estimator import Watched

        x = x.detach()
        best = Best(x)
        with torch.no_grad():
            pending = (victim.classifier(x).argmax(1) == y).nonzero().flatten()
        for restart in range(self.options.restarts):
            if not len(pending):
                break
            images, labels = x[pending], nn.functional.one_hot(y[pending], victim.num_classes)
            estimator = Watched(victim, self._loss(), best, pending)
            with library_call(rng.spawn(restart)):
                # What ART returns is one of the points that it looked at.
                self._attack(estimator, len(pending), 1).generate(images.cpu().numpy(), labels.float().cpu().numpy())
            pending = pending[~best.reached[pending]]
        return self.within_budget(best.x, x)

    def passes(self) -> Passes:
        """Return, per start, a gradient and a loss for every step, and three looks: at most, fooled images rest."""
        steps, starts = self.options.steps, self.options.restarts
        return Passes(1 + starts * (2 * steps + 3), starts * steps, at_most=True)

    def check_setting(self, setting: Setting) -> None:
        """Look whether the loss has the classes that it compares.

        Raises:
            InputError: it has not.
        """
        if self.options.loss == "dlr" and len(setting.data.class_names) < 3:
            raise InputError(
                f"apgd: loss dlr compares three classes, the data set has {len(setting.data.class_names)}. Choose "
                "loss: ce."
            )

    def build(self, victim: Victim, count: int) -> Any:
        """Return ART's AutoProjectedGradientDescent on the chosen loss."""
        from bench_art.estimator import Estimator

        return self._attack(Estimator(victim, self._loss()), count, self.options.restarts)

    def _loss(self) -> nn.Module | None:
        from bench_art.estimator import DifferenceOfLogitsRatio

        # The loss is the estimator's own: ART's choice by name averages over the batch, and its step in l2 then
        # shrinks with the number of images (the gradient is divided by its norm plus 1e-7).
        return DifferenceOfLogitsRatio() if self.options.loss == "dlr" else None

    def _attack(self, estimator: Estimator, count: int, restarts: int) -> Any:
        from art.attacks.evasion import AutoProjectedGradientDescent

        return AutoProjectedGradientDescent(
            estimator,
            norm=ORDERS[self.options.norm],
            eps=float(self.options.eps),
            eps_step=self.options.step_size,
            max_iter=self.options.steps,
            nb_random_init=restarts,
            batch_size=count,
            loss_type=None,
            verbose=False,
        )


class AutoAttackArt(ArtAttack):
    """ART's AutoAttack: APGD on cross-entropy, APGD on DLR (untargeted), DeepFool, Square, each on what is left."""

    Options = options.AutoAttackOptions

    def passes(self) -> Passes:
        """Return what the four members may cost an image that none of them fools, with ART's settings.

        Both APGD attacks make 5 starts of 100 steps, DeepFool 100 steps over 10 classes, Square 5 starts of 5000
        squares, whose scores are asked for twice where the first answer is no longer remembered.
        """
        apgd, deepfool, square = Passes(5 * 203, 500), Passes(1100, 1000), Passes(50_000, 0)
        forward = 1 + 2 * apgd.forward + deepfool.forward + square.forward
        return Passes(forward, 2 * apgd.backward + deepfool.backward, at_most=True)

    def iterations(self) -> int:
        """Return the steps of each of its starts with gradients, as ART sets them."""
        return 100

    def check_setting(self, setting: Setting) -> None:
        """Look whether its losses have the classes that they compare, and whether its squares fit the images.

        Raises:
            InputError: they do not.
        """
        if len(setting.data.class_names) < 3:
            raise InputError(
                f"autoattack-art: its DLR loss compares three classes, the data set has "
                f"{len(setting.data.class_names)}. Use apgd with loss: ce."
            )
        _check_square(setting.data.image_shape, self.options.norm)

    def build(self, victim: Victim, count: int) -> Any:
        """Return ART's AutoAttack with the attacks that it chooses itself."""
        from art.attacks.evasion import AutoAttack

        from bench_art.estimator import Estimator

        ensemble = AutoAttack(
            Estimator(victim),
            norm=ORDERS[self.options.norm],
            eps=float(self.options.eps),
            eps_step=self.options.step_size,
            batch_size=count,
        )
        for member in ensemble.attacks:
            member.verbose = False
        return ensemble


class AnyArtAttack(ArtAttack):
    """An evasion attack of ART by its class name."""

    Options = options.AnyArtOptions

    @property
    def minimum_norm(self) -> bool:
        """Whether the class knows no budget."""
        kind = _classes().get(self.options.attack)
        return kind is not None and "eps" not in inspect.signature(kind.__init__).parameters

    def iterations(self) -> int | None:
        """Return the class's `max_iter`, as given or by default; None where it has none."""
        kind = _classes().get(self.options.attack)
        default = inspect.signature(kind.__init__).parameters.get("max_iter") if kind is not None else None
        steps = self.options.arguments.get("max_iter", None if default is None else default.default)
        return steps if type(steps) is int else None

    def check(self) -> None:
        """Build the attack once on a toy network, so that wrong names and values show before any work.

        Raises:
            InputError: unknown class or argument, or a value that ART refuses.
        """

        toy = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 10))
        victim = Victim(_Opaque(toy).eval().requires_grad_(False), 10, (3, 32, 32), torch.device("cpu"))
        with library_call(Rng(0)):
            self.build(victim, 1)

    def build(self, victim: Victim, count: int) -> Any:
        """Return the attack of the class `attack`, with norm and eps handed over where it takes them.

        Raises:
            InputError: as `check`.
        """
        from bench_art.estimator import Estimator

        name, given = self.options.attack, dict(self.options.arguments)
        classes = _classes()
        if name not in classes:
            raise InputError(f"attack: {unknown_name('attack of ART', name, classes)}")
        estimator_name, *names = list(inspect.signature(classes[name].__init__).parameters)[1:]
        allowed = [n for n in names if n not in (*HOST_ARGUMENTS, "targeted")]
        for argument in given:
            if argument in ("targeted", *HOST_ARGUMENTS, estimator_name):
                raise InputError(
                    f"arguments: {argument!r} is set by the benchmark (attacks are untargeted); leave it out"
                )
            if argument not in allowed:
                raise InputError(f"arguments: {unknown_name(f'argument of {name}', argument, allowed)}")
        arguments: dict[str, Any] = {"batch_size": count, "verbose": False, "targeted": False}
        if self.options.norm in ORDERS:
            arguments["norm"] = ORDERS[self.options.norm]
        if self.options.eps is not None:
            arguments["eps"] = float(self.options.eps)
        elif "eps" in allowed and "eps" not in given:
            raise InputError(f"eps: {name} spends a budget; give one, for example eps: 8/255")
        arguments = {key: value for key, value in arguments.items() if key in names} | given
        try:
            return classes[name](Estimator(victim), **arguments)
        except (TypeError, ValueError) as error:
            raise InputError(f"arguments: ART's {name} refuses them: {error}") from error

    def within_budget(self, found: Tensor, x: Tensor) -> Tensor:
        """Return `found` where it lies within eps, else the image itself: the attack may not know the budget."""
        if self.options.eps is None:
            return found
        inside = perturbation_size(found - x, self.options.norm) <= float(self.options.eps) * (1 + TOLERANCE)
        return torch.where(inside.view(-1, 1, 1, 1), found, x)


class _Opaque(nn.Module):
    """Hides a Sequential, whose layers ART would call one by one."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.network(x)
        return logits


def _classes() -> dict[str, Any]:
    """Return ART's evasion attacks that take a PyTorch image classifier, by class name."""
    from art.attacks import evasion
    from art.attacks.attack import EvasionAttack

    from bench_art.estimator import Estimator

    example = object.__new__(Estimator)  # ART looks at its type only
    found: dict[str, Any] = {name: value for name, value in vars(evasion).items() if isinstance(value, type)}
    return {
        name: kind
        for name, kind in found.items()
        if issubclass(kind, EvasionAttack)
        and "TensorFlow" not in name
        and kind.is_estimator_valid(example, kind._estimator_requirements)
    }


def _check_square(image_shape: tuple[int, int, int], norm: str) -> None:
    """Refuse images on which ART's SquareAttack breaks: its square must be smaller than both sides.

    Raises:
        InputError: what fits.
    """
    _, height, width = image_shape
    if norm == "l2" and (height > width or height < 5):
        raise InputError(
            "autoattack-art: with norm l2 ART's Square needs images at least as wide as high and 5 pixels high, these "
            f"are {height} x {width} (height x width). Choose norm: linf, or resize the images."
        )
    side = _first_side(height, width, norm)
    if side >= min(height, width):
        raise InputError(
            f"autoattack-art: ART's Square starts with a square of {side} x {side} pixels, which must be smaller than "
            f"the images, and these are {height} x {width} (height x width). Resize the images, or take `square`."
        )


def _first_side(height: int, width: int, norm: str) -> int:
    """Return the side of the first square in pixels, as ART computes it."""
    side = round(math.sqrt(ART_P_INIT * height * width))
    if norm == "linf":
        return max(side, 1)
    side = max(side, 3)
    return side + 1 - side % 2
