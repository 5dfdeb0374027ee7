"""Gradient steps inside a norm ball: what FGSM, BIM, PGD, MI-FGSM and adversarial training share.

The steps agree with those of the Adversarial Robustness Toolbox (a test compares them); they are written here
because training needs them inside its own loop, without numpy copies and without passes that only count successes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from scipy.special import gammainc
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

Loss = Callable[[Tensor], Tensor]
"""Images (N, C, H, W) to one loss per image (N,), to be increased."""

Goal = Callable[[Tensor], tuple[Tensor, Tensor]]
"""As `Loss`, and beside it whether each image is what the attacker wants already, (N,) bool."""


def classification_loss(classifier: Callable[[Tensor], Tensor] | nn.Module, y: Tensor) -> Loss:
    """Return the cross-entropy of `classifier` against the labels `y` (N,), per image."""
    return lambda x: cross_entropy(classifier(x), y, reduction="none")


def untargeted(classifier: Callable[[Tensor], Tensor] | nn.Module, y: Tensor) -> Goal:
    """Return the goal of an untargeted attack: any class but `y` (N,), by a rising cross-entropy."""

    def goal(x: Tensor) -> tuple[Tensor, Tensor]:
        logits = classifier(x)
        return cross_entropy(logits, y, reduction="none"), logits.argmax(1) != y

    return goal


def margins(logits: Tensor, y: Tensor) -> Tensor:
    """Return the logit of the true class (N,) less the largest other one: below 0 where the image is misclassified."""
    others = logits.scatter(1, y[:, None], -torch.inf)
    return (logits.gather(1, y[:, None]).squeeze(1) - others.amax(1)).float()


def input_gradient(loss: Loss, x: Tensor) -> Tensor:
    """Return the gradient of each image's loss in the image: the shape of `x`.

    The losses are summed, so that the gradient of an image does not depend on the batch it is in.
    """
    return _evaluated(loss, x)[2]


def _evaluated(loss: Loss | Goal, x: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
    """Return loss (N,), whether the goal is reached (N,) where `loss` tells that, and the gradient."""
    with torch.enable_grad():
        point = x.detach().requires_grad_()
        value, reached = _told(loss(point))
        (gradient,) = torch.autograd.grad(value.sum(), point)
    return value.detach(), reached, gradient


def _told(answer: Tensor | tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor | None]:
    return answer if isinstance(answer, tuple) else (answer, None)


def random_start(x: Tensor, norm: str, eps: float, generator: np.random.RandomState) -> Tensor:
    """Return `x` plus noise drawn uniformly from the `norm` ball of radius `eps`, clipped to [0, 1].

    The draws are those of ART's `random_sphere` for the same seed.
    """
    count, size = x.shape[0], x[0].numel()
    if norm == "linf":
        noise = generator.uniform(-eps, eps, (count, size))
    elif norm == "l2":
        noise = generator.randn(count, size)
        squared = np.sum(noise**2, axis=1)
        noise = noise * (gammainc(size / 2, squared / 2) ** (1 / size) * eps / np.sqrt(squared))[:, None]
    else:
        raise ValueError(f"random start: norm {norm!r}, allowed are linf and l2")
    start = torch.from_numpy(noise.astype(np.float32).reshape(x.shape)).to(x.device)
    return (x + start).clamp(0, 1)


def unit_step(gradient: Tensor, norm: str) -> Tensor:
    """Return the steepest ascent step of size 1 in `norm`: the sign (linf), or the normalised gradient (l2)."""
    if norm == "linf":
        return gradient.sign()
    if norm == "l2":
        tiny = torch.finfo(gradient.dtype).tiny
        # A confident network's gradients are so small that their squares vanish: scale them first.
        scaled = gradient / per_image(gradient.flatten(1).abs().amax(1), gradient).clamp_min(tiny)
        return scaled / per_image(scaled.flatten(1).norm(dim=1), scaled).clamp_min(tiny)
    raise ValueError(f"step: norm {norm!r}, allowed are linf and l2")


def project(x_adv: Tensor, x: Tensor, norm: str, eps: float) -> Tensor:
    """Return the point nearest to `x_adv` in the `norm` ball of radius `eps` around `x`."""
    delta = x_adv - x
    if norm == "linf":
        return x + delta.clamp(-eps, eps)
    if norm == "l2":
        length = per_image(delta.flatten(1).norm(dim=1), delta)
        return x + delta * (eps / length.clamp_min(torch.finfo(delta.dtype).tiny)).clamp_max(1)
    raise ValueError(f"projection: norm {norm!r}, allowed are linf and l2")


class Best:
    """The best image that each of N searches has come by: one that reaches the goal, of those the highest loss.

    Attributes:
        x: (N, C, H, W), the best images so far.
        reached: (N,) whether they reach the goal.
    """

    def __init__(self, x: Tensor) -> None:
        self.x = x.detach().clone()
        self._loss = x.new_full((len(x),), -torch.inf)
        self.reached = torch.zeros(len(x), dtype=torch.bool, device=x.device)

    def offer(self, x: Tensor, loss: Tensor, reached: Tensor | None, rows: Tensor | slice = slice(None)) -> None:
        """Take the images `x` (n, C, H, W) of the searches `rows` where they are better than what these have.

        A loss that is not a number is taken too, and kept: the host must see a network that answers so.
        """
        before, loss = self._loss[rows], loss.detach().to(self._loss.dtype)
        reached = torch.zeros_like(self.reached[rows]) if reached is None else reached
        better = torch.where(reached == self.reached[rows], loss > before, reached) & ~before.isnan() | loss.isnan()
        self.x[rows] = torch.where(per_image(better, x), x.detach(), self.x[rows])
        self._loss[rows] = torch.where(better, loss, before)
        self.reached[rows] |= reached


def ascend(
    loss: Loss | Goal,
    x: Tensor,
    *,
    norm: str,
    eps: float,
    step: float,
    steps: int,
    start: Tensor | None = None,
    decay: float | None = None,
    keep: Literal["best", "last"] = "last",
) -> Tensor:
    """Return images in the ball around `x` and in [0, 1], from `steps` ascent steps on `loss`.

    Args:
        loss: one value per image, to be increased, and beside it whether the goal is reached, where that is told.
        x: (N, C, H, W) in [0, 1], the centre of the ball.
        norm: linf or l2, of the ball and of the steps.
        eps: radius in pixel units of [0, 1].
        step: size of one step, in the same units.
        steps: number of steps; each costs one forward and one backward pass.
        start: where to begin, `x` unless given.
        decay: momentum decay of MI-FGSM (Dong et al. 2018, Eq. 6: gradients normalised in L1 are accumulated);
            None for no momentum.
        keep: return the last point, or per image the best of all points, the start included: of those that reach the
            goal the one with the highest loss, of all where none does. That costs one more forward pass.
    """
    x = x.detach()
    x_adv = x if start is None else start.detach()
    momentum = torch.zeros_like(x)
    best = Best(x_adv)
    for _ in range(steps):
        value, reached, direction = _evaluated(loss, x_adv)
        if keep == "best":
            best.offer(x_adv.clamp(0, 1), value, reached)
        if decay is not None:
            size = per_image(direction.flatten(1).abs().sum(1), direction)
            momentum = decay * momentum + direction / size.clamp_min(torch.finfo(x.dtype).tiny)
            direction = momentum
        moved = (x_adv + step * unit_step(direction, norm)).clamp(0, 1)
        # The ball is convex and its centre lies in [0, 1], so projecting keeps the range, but for rounding.
        x_adv = project(moved, x, norm, eps)
    x_adv = x_adv.clamp(0, 1)
    if keep == "last":
        return x_adv
    with torch.no_grad():
        best.offer(x_adv, *_told(loss(x_adv)))
    return best.x


def per_image(values: Tensor, like: Tensor) -> Tensor:
    """Return one value per image (N,) in a shape that broadcasts over `like` (N, ...)."""
    return values.view(-1, *[1] * (like.dim() - 1))
