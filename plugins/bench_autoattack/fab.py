"""The targeted fast adaptive boundary attack: steps onto the linearised boundary, drawn back towards the image.

Croce, Hein, "Minimally distorted adversarial examples with a fast adaptive boundary attack", ICML 2020, Algorithm 1
with the projections of section 2.2; towards one class at a time as in "Reliable evaluation of adversarial robustness
with an ensemble of diverse parameter-free attacks", ICML 2020, section 5.

The projections are solved in one way for both norms: a level up to which every pixel moves, or its own room where that
is less, is found among the sorted rooms.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bench_autoattack import options
from bench_autoattack.part import Part, Standing
from benchmark import Passes, Rng, per_image, perturbation_size

BIAS = 0.1
"""Largest share of the image's own projection in a step (alpha_max)."""

OVERSHOOT = 1.05
"""By how much a step goes beyond the boundary (eta)."""

RETREAT = 0.9
"""Share of the way from the image that is kept after a success (beta)."""


class FabT(Part):
    """Per image the nearest adversarial example over the wrong classes that are aimed at."""

    Options = options.FabOptions

    @property
    def minimum_norm(self) -> bool:
        """Whether the nearest adversarial example is sought: always."""
        return True

    def attack(self, standing: Standing, rng: Rng) -> None:
        """Attack the images that stand, class by class; an image rests once it is fooled within `eps`."""
        norm, eps = self.options.norm, self.options.eps
        rows = standing.rows
        nearest = torch.full_like(standing.y, torch.inf, dtype=standing.x.dtype)
        points = standing.x.clone()
        for target in standing.ranked().T[: self.options.targets]:
            going = rows if eps is None else rows[~(nearest[rows] <= eps)]
            if not len(going):
                break
            found, size = _search(standing, going, target[going], norm, self.options.steps, eps)
            nearer = size < nearest[going]
            points[going[nearer]], nearest[going[nearer]] = found[nearer], size[nearer]
        within = nearest[rows] <= (torch.inf if eps is None else float(eps))
        reached = within & nearest[rows].isfinite()
        standing.settle(rows[reached], points[rows[reached]], torch.ones_like(rows[reached], dtype=torch.bool))

    def passes(self) -> Passes:
        """Return two forward passes and one backward pass for every step towards every class: at most."""
        steps = self.options.steps * self.options.targets
        return Passes(1 + 2 * steps, steps, at_most=True)


def _search(
    standing: Standing, rows: Tensor, target: Tensor, norm: str, steps: int, eps: float | None
) -> tuple[Tensor, Tensor]:
    """Return the nearest points (n, C, H, W) that fool the network and how far they are (n,), infinite without one."""
    x, y, classifier = standing.x[rows], standing.y[rows], standing.victim.classifier
    found, nearest = x.clone(), torch.full_like(x[:, 0, 0, 0], torch.inf)
    going = torch.arange(len(rows), device=rows.device)
    point = x
    for _ in range(steps):
        gap, slope = _lead(classifier, point, y[going], target[going])
        moved = _step(point, x[going], gap, slope, norm)
        with torch.no_grad():
            wrong = standing.fooled(classifier(moved), rows[going])
        size = perturbation_size(moved - x[going], norm)
        nearer = wrong & (size < nearest[going])
        found[going[nearer]], nearest[going[nearer]] = moved[nearer], size[nearer]
        back = x[going] + RETREAT * (moved - x[going])
        point = torch.where(per_image(wrong, moved), back, moved)
        if eps is not None and nearer.any():
            on = ~(nearest[going] <= eps)
            going, point = going[on], point[on]
            if not len(going):
                break
    return found, nearest


def _lead(classifier: nn.Module, point: Tensor, y: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return by how much the target's logit leads the true class's (n,), and the gradient of that (n, C, H, W)."""
    with torch.enable_grad():
        leaf = point.detach().requires_grad_()
        logits = classifier(leaf)
        lead = (logits.gather(1, target[:, None]) - logits.gather(1, y[:, None])).squeeze(1)
        (slope,) = torch.autograd.grad(lead.sum(), leaf)
    return lead.detach().to(point.dtype).nan_to_num(), slope.nan_to_num()


def _step(point: Tensor, x: Tensor, gap: Tensor, slope: Tensor, norm: str) -> Tensor:
    """Return the next points: beyond the projections of point and image on the hyperplane where `gap` closes, mixed."""
    at_image = gap + (slope * (x - point)).flatten(1).sum(1)
    here = shortest_move(point.flatten(1), slope.flatten(1), gap, norm).view_as(point)
    home = shortest_move(x.flatten(1), slope.flatten(1), at_image, norm).view_as(point)
    far_here, far_home = (perturbation_size(move, norm).clamp_min(1e-8) for move in (here, home))
    bias = per_image((far_here / (far_here + far_home)).clamp_max(BIAS), x)
    return ((point + OVERSHOOT * here) * (1 - bias) + (x + OVERSHOOT * home) * bias).clamp(0, 1)


def shortest_move(points: Tensor, normal: Tensor, value: Tensor, norm: str) -> Tensor:
    """Return the shortest moves d (n, D) in `norm` with value + <normal, d> = 0 that stay inside [0, 1].

    Args:
        points: (n, D) in [0, 1].
        normal: (n, D) of the hyperplanes.
        value: (n,) of the affine functions at the points.

    Where no such move exists, every coordinate goes as far as it may.
    """
    normal = normal * -per_image(value.sign(), normal)  # moves along it bring the value to 0
    largest = normal.abs().amax(1, keepdim=True).clamp_min(torch.finfo(normal.dtype).tiny)
    normal, need = normal / largest, value.abs() / largest.squeeze(1)
    room = torch.where(normal > 0, 1 - points, points)
    pull = normal.abs()
    if norm == "linf":
        return normal.sign() * torch.minimum(_level(pull, room, need), room)
    knot = torch.where(pull > 0, room / pull.clamp_min(torch.finfo(pull.dtype).tiny), 0.0)
    return normal * torch.minimum(_level(pull.square(), knot, need), knot)


def _level(weight: Tensor, knot: Tensor, need: Tensor) -> Tensor:
    """Return the level (n, 1) at which sum(weight * min(level, knot)) = need, the highest knot where none suffices.

    Args:
        weight, knot: (n, D), at least 0.
        need: (n,), at least 0.
    """
    knot, order = knot.sort(1)
    weight = weight.gather(1, order)
    left = weight.flip(1).cumsum(1).flip(1)  # of this knot and all higher ones
    met = (weight * knot).cumsum(1) - weight * knot + left * knot  # by the level of each knot
    first = (met < need[:, None]).sum(1, keepdim=True)  # knot that the level does not pass
    last = knot.shape[1] - 1
    at = first.clamp_max(last)
    below = (at - 1).clamp_min(0)
    base, reached = (torch.where(at > 0, values.gather(1, below), 0.0) for values in (knot, met))
    rest = left.gather(1, at).clamp_min(torch.finfo(left.dtype).tiny)
    level = base + (need[:, None] - reached).clamp_min(0) / rest
    return torch.where(first > last, knot[:, -1:], level.minimum(knot.gather(1, at)))
