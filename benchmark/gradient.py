"""Gradient steps inside a norm ball: what FGSM, BIM, PGD, MI-FGSM and adversarial training share.

The steps agree with those of the Adversarial Robustness Toolbox (a test compares them); they are written here
because training needs them inside its own loop, without numpy copies and without passes that only count successes.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from scipy.special import gammainc
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

Loss = Callable[[Tensor], Tensor]
"""Images (N, C, H, W) to one loss per image (N,), to be increased."""


def classification_loss(classifier: Callable[[Tensor], Tensor] | nn.Module, y: Tensor) -> Loss:
    """Return the cross-entropy of `classifier` against the labels `y` (N,), per image."""
    return lambda x: cross_entropy(classifier(x), y, reduction="none")


def input_gradient(loss: Loss, x: Tensor) -> Tensor:
    """Return the gradient of each image's loss in the image: the shape of `x`.

    The losses are summed, so that the gradient of an image does not depend on the batch it is in.
    """
    with torch.enable_grad():
        point = x.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(loss(point).sum(), point)
    return gradient


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
        scaled = gradient / _per_image(gradient.flatten(1).abs().amax(1), gradient).clamp_min(tiny)
        return scaled / _per_image(scaled.flatten(1).norm(dim=1), scaled).clamp_min(tiny)
    raise ValueError(f"step: norm {norm!r}, allowed are linf and l2")


def project(x_adv: Tensor, x: Tensor, norm: str, eps: float) -> Tensor:
    """Return the point nearest to `x_adv` in the `norm` ball of radius `eps` around `x`."""
    delta = x_adv - x
    if norm == "linf":
        return x + delta.clamp(-eps, eps)
    if norm == "l2":
        length = _per_image(delta.flatten(1).norm(dim=1), delta)
        return x + delta * (eps / length.clamp_min(torch.finfo(delta.dtype).tiny)).clamp_max(1)
    raise ValueError(f"projection: norm {norm!r}, allowed are linf and l2")


def ascend(
    loss: Loss,
    x: Tensor,
    *,
    norm: str,
    eps: float,
    step: float,
    steps: int,
    start: Tensor | None = None,
    decay: float | None = None,
) -> Tensor:
    """Return images in the ball around `x` and in [0, 1], after `steps` ascent steps on `loss`.

    Args:
        loss: one value per image, to be increased.
        x: (N, C, H, W) in [0, 1], the centre of the ball.
        norm: linf or l2, of the ball and of the steps.
        eps: radius in pixel units of [0, 1].
        step: size of one step, in the same units.
        steps: number of steps; each costs one forward and one backward pass.
        start: where to begin, `x` unless given.
        decay: momentum decay of MI-FGSM (Dong et al. 2018, Eq. 6: gradients normalised in L1 are accumulated);
            None for no momentum.
    """
    x = x.detach()
    x_adv = x if start is None else start.detach()
    momentum = torch.zeros_like(x)
    for _ in range(steps):
        direction = input_gradient(loss, x_adv)
        if decay is not None:
            size = _per_image(direction.flatten(1).abs().sum(1), direction)
            momentum = decay * momentum + direction / size.clamp_min(torch.finfo(x.dtype).tiny)
            direction = momentum
        moved = (x_adv + step * unit_step(direction, norm)).clamp(0, 1)
        # The ball is convex and its centre lies in [0, 1], so projecting keeps the range, but for rounding.
        x_adv = project(moved, x, norm, eps)
    return x_adv.clamp(0, 1)


def _per_image(values: Tensor, like: Tensor) -> Tensor:
    return values.view(-1, *[1] * (like.dim() - 1))
