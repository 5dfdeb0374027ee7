"""What plugins return, held against what the contract says."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from benchmark.attack import TOLERANCE, perturbation_size
from benchmark.errors import TaskError

ROUNDING = 1e-3
"""Of a step of 8 bits: what float32 loses on the way to [0, 1] and back."""


def check_adversarial(x_adv: Any, x: Tensor, norm: str, eps: float | None, first: int) -> None:
    """Refuse adversarial examples that are not what the attack promised.

    Raises:
        TaskError: what is wrong, and with which image.
    """
    if not isinstance(x_adv, Tensor) or x_adv.shape != x.shape:
        found = tuple(x_adv.shape) if isinstance(x_adv, Tensor) else type(x_adv).__name__
        raise TaskError(f"the attack returned {found} instead of a tensor of shape {tuple(x.shape)}")
    if not x_adv.is_floating_point():
        raise TaskError(f"the attack returned {x_adv.dtype} values instead of floats in [0, 1]")
    finite = torch.isfinite(x_adv).flatten(1).all(1)
    if not finite.all():
        raise TaskError(f"the attack returned NaN or infinite pixels in {which(~finite, first)}")
    outside = ((x_adv < -TOLERANCE) | (x_adv > 1 + TOLERANCE)).flatten(1).any(1)
    if outside.any():
        low, high = x_adv.min().item(), x_adv.max().item()
        raise TaskError(f"the attack left [0, 1] (from {low:.4g} to {high:.4g}) in {which(outside, first)}")
    if eps is not None:
        sizes = perturbation_size(x_adv - x, norm)
        over = sizes > eps * (1 + TOLERANCE) + TOLERANCE
        if over.any():
            raise TaskError(
                f"the attack exceeded its budget: {norm} {sizes.max().item():.6g} of {float(eps):.6g} allowed "
                f"in {which(over, first)}"
            )


def made(x_adv: Any, x: Tensor, norm: str, eps: float | None, first: int, *, eight_bit: bool) -> Tensor:
    """Return what an attack made of images `x` as images, of 8 bits where asked.

    Raises:
        TaskError: it is not what the attack promised, or rounds images that are not of 8 bits.
    """
    check_adversarial(x_adv, x, norm, eps, first)
    images: Tensor = x_adv.detach().float().clamp(0, 1)
    if eight_bit:
        images = rounded(images, x, first)
        check_adversarial(images, x, norm, eps, first)
    return images


def rounded(x_adv: Tensor, x: Tensor, first: int) -> Tensor:
    """Return adversarial images of 8 bits: each pixel is the one next to the attack's, on the clean pixel's side.

    So no pixel moves further than the attack moved it, in whichever norm the budget is.

    Raises:
        TaskError: the clean images are not of 8 bits.
    """
    clean = (x * 255).round()
    finer = ((x * 255 - clean).abs() > ROUNDING).flatten(1).any(1)
    if finer.any():
        raise TaskError(
            f"`protocol: {{adversarial: 8-bit}}` needs clean images of 8 bits, and {which(finer, first)} have pixels "
            "between two of their values. Keep adversarial examples as they are: `adversarial: exact`."
        )
    moved = x_adv * 255 - clean
    return (clean + moved.sign() * (moved.abs() + ROUNDING).floor()) / 255


def finite(values: Tensor, what: str, first: int) -> Tensor:
    """Return `values` (N, ...), or refuse NaN and infinity.

    Raises:
        TaskError: the images concerned.
    """
    if values.is_floating_point():
        good = torch.isfinite(values).flatten(1).all(1) if values.dim() > 1 else torch.isfinite(values)
        if not good.all():
            raise TaskError(f"{what} is NaN or infinite for {which(~good, first)}")
    return values


def which(bad: Tensor, first: int) -> str:
    """Return which images of a batch, whose first has the number `first`, are bad (N,), in words."""
    indices = (torch.nonzero(bad).flatten() + first).tolist()
    shown = ", ".join(map(str, indices[:5])) + (", …" if len(indices) > 5 else "")
    return f"{len(indices)} of {len(bad)} images of a batch (numbers {shown})"
