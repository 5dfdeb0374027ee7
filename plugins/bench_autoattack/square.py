"""The Square attack: random search that repaints squares, by scores alone.

Andriushchenko, Croce, Flammarion, Hein, "Square Attack: a query-efficient black-box adversarial attack via random
search", ECCV 2020, Algorithm 1, with Algorithm 2 (linf) and Algorithm 3 (l2), the initialisations of section 3.4 and
the schedule of square sizes of section 3.2, by default as the authors' code has it for other numbers of queries than
10,000.

Squares are drawn for each image by itself. Where an image is so small that the authors' sizes do not fit, the largest
square that does is taken.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bench_autoattack import options
from bench_autoattack.part import Part, Standing
from benchmark import Best, Passes, Rng

SCHEDULE = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""Queries, of 10,000, after which the share of the image that a square covers is halved."""


TRIES = 8
"""Signs that are drawn for a linf square until one changes a pixel: the authors' code of 2020 draws as long as it
takes, AutoAttack's once."""


class Square(Part):
    """Random search that keeps a repainted square where it lowers the margin of the true class."""

    Options = options.SquareOptions
    needs = "scores"

    def attack(self, standing: Standing, rng: Rng) -> None:
        """Attack the images that stand, and settle the best points seen; an image that is fooled is not searched on."""
        rows, best = standing.rows, Best(standing.x)
        best.offer(standing.x, -_margin(standing.logits, standing.y), None)
        pending = rows
        with torch.no_grad():
            for restart in range(self.options.restarts):
                if not len(pending):
                    break
                pending = self._search(standing, rng.spawn(restart), pending, best)
        standing.settle(rows, best.x[rows], ~torch.isin(rows, pending))

    def passes(self) -> Passes:
        """Return a pass per query, and one that tells which images are wrong already: at most, fooled images rest."""
        return Passes(1 + self.options.restarts * self.options.steps, 0, at_most=True)

    def _search(self, standing: Standing, rng: Rng, pending: Tensor, best: Best) -> Tensor:
        """Search on the images `pending`, offer the best points found, and return what is still classified rightly."""
        eps, l2, steps = float(self.options.eps), self.options.norm == "l2", self.options.steps
        x, y, classifier = standing.x, standing.y, standing.victim.classifier
        count, channels, height, width = x.shape
        point = (_bumps(x, eps, rng) if l2 else _stripes(x, eps, rng))[pending]
        margin = _margin(classifier(point), y[pending])
        for query in range(1, steps):
            done = ~(margin >= 0)  # fooled, or not a number: the host must see a network that answers so
            if done.any():
                best.offer(point[done], -margin[done], margin[done] < 0, pending[done])
                pending, point, margin = pending[~done], point[~done], margin[~done]
                if not len(pending):
                    return pending
            reached = 1e4 * query / (self.options.horizon or steps)
            share = self.options.p_init / 2 ** sum(reached > after for after in SCHEDULE)
            side = round(math.sqrt(share * height * width))
            side = min(max(side, 3) // 2 * 2 + 1, height, width) if l2 else min(max(side, 1), height, width)
            # Drawn for the whole batch, so that what one image gets does not depend on when others are fooled.
            draws = torch.rand(count, 5 + TRIES * channels, generator=rng.torch)[pending.cpu()].to(x.device)
            moved = (_moved_l2 if l2 else _moved_linf)(point, x[pending], eps, side, draws)
            seen = _margin(classifier(moved), y[pending])
            better = ~(seen >= margin)
            point[better], margin[better] = moved[better], seen[better]
        best.offer(point, -margin, margin < 0, pending)
        return pending[margin >= 0]


def _moved_linf(point: Tensor, x: Tensor, eps: float, side: int, draws: Tensor) -> Tensor:
    """Return the points with a square whose pixels differ from those of `x` by eps, with a sign per channel."""
    place = _square(x.shape, side, draws[:, :2])
    signs = _signs(draws[:, 5:]).view(len(x), TRIES, x.shape[1], 1, 1)
    painted = (x[place][:, None] + eps * signs).clamp(0, 1)  # (n, TRIES, C, side, side)
    changes = ((painted - point[place][:, None]).abs() > 1e-7).flatten(2).any(2)
    moved = point.clone()
    moved[place] = painted[torch.arange(len(x), device=x.device), changes.int().argmax(1)]
    return moved


def _moved_l2(point: Tensor, x: Tensor, eps: float, side: int, draws: Tensor) -> Tensor:
    """Return the points with a bump in one square for which another one gives its share of the norm."""
    delta = point - x
    to, source = _square(x.shape, side, draws[:, :2]), _square(x.shape, side, draws[:, 2:4])
    inside = torch.zeros_like(delta)
    inside[to] = 1
    inside[source] = 1
    spare = (eps**2 - delta.square().sum((1, 2, 3), keepdim=True)).clamp_min(0) / delta.shape[1]
    available = (spare + (delta * inside).square().sum((2, 3), keepdim=True)).sqrt()  # (n, C, 1, 1)
    bump = _bump(side, x)
    bumps = torch.where(draws[:, 4, None, None] > 0.5, bump.T, bump)[:, None]
    bumps = bumps * _signs(draws[:, 5 : 5 + x.shape[1]])[:, :, None, None]
    bumps = bumps + _unit(delta[to], (2, 3))
    delta[source] = 0
    delta[to] = _unit(bumps, (2, 3)) * available
    return (x + eps * _unit(delta, (1, 2, 3))).clamp(0, 1)


def _stripes(x: Tensor, eps: float, rng: Rng) -> Tensor:
    """Return the images with vertical stripes of height eps."""
    signs = _signs(torch.rand(len(x), x.shape[1], 1, x.shape[3], generator=rng.torch)).to(x.device)
    return (x + eps * signs).clamp(0, 1)


def _bumps(x: Tensor, eps: float, rng: Rng) -> Tensor:
    """Return the images with a grid of 5 x 5 bumps, l2 norm eps in all."""
    count, channels, height, width = x.shape
    side = max(min(height, width) // 5, 1)
    delta = torch.zeros_like(x)
    bump = _bump(side, x)
    for top in range(height % side // 2, height - side + 1, side):
        for left in range(width % side // 2, width - side + 1, side):
            draws = torch.rand(count, channels + 1, generator=rng.torch).to(x.device)
            turned = torch.where(draws[:, 0, None, None] > 0.5, bump.T, bump)[:, None]
            delta[:, :, top : top + side, left : left + side] = turned * _signs(draws[:, 1:])[:, :, None, None]
    return (x + eps * _unit(delta, (1, 2, 3))).clamp(0, 1)


def _bump(side: int, like: Tensor) -> Tensor:
    """Return the square (side, side) of Eq. 2: two halves of opposite sign, each highest in its middle; norm 1."""
    bump = torch.zeros(side, side)
    half = side // 2
    bump[:half], bump[half:] = _rings(half, side), -_rings(side - half, side)
    return _unit(bump, (0, 1)).to(like)


def _rings(height: int, width: int) -> Tensor:
    """Return (height, width) with 1/k^2 added inside the k-th of growing squares around the middle; norm 1."""
    rings = torch.zeros(height, width)
    row, column = height // 2, width // 2
    for k in range(max(row, column) + 1):
        rings[max(row - k, 0) : row + k + 1, max(column - k, 0) : column + k + 1] += 1 / (k + 1) ** 2
    return _unit(rings, (0, 1))


def _square(shape: torch.Size, side: int, draws: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the index of a square per image at places that `draws` (n, 2) choose: it reads (n, C, side, side)."""
    device = draws.device
    extents = torch.tensor(shape[2:], device=device) - side + 1
    corner = (draws * extents).long().minimum(extents - 1)
    inside = torch.arange(side, device=device)
    return (
        torch.arange(len(draws), device=device)[:, None, None, None],
        torch.arange(shape[1], device=device)[None, :, None, None],
        (corner[:, 0, None] + inside)[:, None, :, None],
        (corner[:, 1, None] + inside)[:, None, None, :],
    )


def _signs(draws: Tensor) -> Tensor:
    return 1 - 2 * (draws < 0.5).to(draws.dtype)


def _unit(values: Tensor, dims: tuple[int, ...]) -> Tensor:
    return values / values.square().sum(dims, keepdim=True).sqrt().clamp_min(1e-10)


def _margin(logits: Tensor, y: Tensor) -> Tensor:
    """Return by how much the true class leads the best other one, (n,); below 0 it is not answered."""
    others = logits.scatter(1, y[:, None], -torch.inf).amax(1)
    margin = logits.gather(1, y[:, None]).squeeze(1) - others
    # A tie is settled as argmax settles it.
    return torch.where((margin == 0) & (logits.argmax(1) != y), -torch.finfo(margin.dtype).tiny, margin)
