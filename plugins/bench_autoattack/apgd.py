"""Auto-PGD: gradient steps with momentum whose size halves where it no longer helps.

Croce, Hein, "Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free attacks", ICML
2020, Algorithm 1 with the conditions of section 3.2; the difference of logits ratio of Eq. 6, its targeted form of
Eq. 7. Where paper and released code differ, the code is followed, since published numbers come from it: starts lie on
the border of the ball, the first step counts as a rise where its loss is above 0 and not above that of the start, and
losses of a randomised network are those of the last draw.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from bench_autoattack import options
from bench_autoattack.part import Part, Standing
from benchmark import Best, Passes, Rng, per_image, project, unit_step

MOMENTUM = 0.75
"""Share of a new step in the move; the rest is the last move (alpha)."""

RISES = 0.75
"""Share of steps that must have raised the loss for the step size to stay (rho)."""

WINDOWS = (0.22, 0.03, 0.06)
"""Shares of the steps: first window between two looks at the step size, by how much each is shorter, the shortest."""

Objective = Callable[[Tensor, Tensor], Tensor]
"""Logits (n, K) and the images (n,) that they are of to a loss (n,), to be increased."""


class ApgdCe(Part):
    """Auto-PGD on the cross-entropy, from random points of the border."""

    Options = options.ApgdOptions

    def attack(self, standing: Standing, rng: Rng) -> None:
        """Attack the images that stand, start by start."""
        best = Best(standing.x)
        for restart in range(self.options.restarts):
            self._search(standing, rng.spawn(restart), self._objective(standing.y), best)

    def passes(self) -> Passes:
        """Return the passes of all starts, and the one that tells which images are wrong already: at most."""
        steps, draws, starts = self.options.steps, self.options.draws, self.options.restarts * self._searches()
        return Passes(1 + starts * (steps * draws + 1), starts * steps * draws, at_most=True)

    def _searches(self) -> int:
        """Return how many searches there are for each start."""
        return 1

    def _objective(self, y: Tensor) -> Objective:
        return lambda logits, rows: cross_entropy(logits, y[rows], reduction="none")

    def _search(self, standing: Standing, rng: Rng, objective: Objective, best: Best) -> None:
        if not len(standing.rows):
            return
        norm, eps = self.options.norm, float(self.options.eps)
        rows, start = standing.rows, border(standing.x, norm, eps, rng)
        points, loss, fooled = ascend(
            standing, start, objective, norm=norm, eps=eps, steps=self.options.steps, draws=self.options.draws,
            early_stop=self.options.early_stop,
        )  # fmt: skip
        best.offer(points, loss, fooled, rows)
        standing.settle(rows, best.x[rows], fooled)


class ApgdDlr(ApgdCe):
    """Auto-PGD on the difference of logits ratio, which no scale or shift of the logits changes."""

    least_classes = 3

    def _objective(self, y: Tensor) -> Objective:
        return lambda logits, rows: dlr(logits, y[rows])


class ApgdT(ApgdCe):
    """Auto-PGD on the targeted difference of logits ratio, towards the likeliest wrong classes one after the other."""

    Options = options.TargetedApgdOptions
    least_classes = 4

    def attack(self, standing: Standing, rng: Rng) -> None:
        """Attack the images that stand, class by class, start by start."""
        best = Best(standing.x)
        for rank, target in enumerate(self._targets(standing).T[: self.options.targets]):
            for restart in range(self.options.restarts):
                self._search(standing, rng.spawn(rank, restart), self._towards(standing.y, target), best)

    def _targets(self, standing: Standing) -> Tensor:
        """Return wrong classes of each image, (N, at most K - 1), in the order in which they are aimed at."""
        return standing.ranked()

    def _searches(self) -> int:
        targets: int = self.options.targets
        return targets

    @staticmethod
    def _towards(y: Tensor, target: Tensor) -> Objective:
        return lambda logits, rows: targeted_dlr(logits, y[rows], target[rows])


def dlr(logits: Tensor, y: Tensor) -> Tensor:
    """Return the difference of logits ratio (n,) of Eq. 6, to be increased; above 0 where `y` (n,) is not answered."""
    ordered = logits.sort(1, descending=True).values
    rival = logits.scatter(1, y[:, None], -torch.inf).amax(1)
    return (rival - _of(logits, y)) / (ordered[:, 0] - ordered[:, 2] + 1e-12)


def targeted_dlr(logits: Tensor, y: Tensor, target: Tensor) -> Tensor:
    """Return the ratio (n,) of Eq. 7, to be increased; above 0 where `target` (n,) beats `y` (n,)."""
    ordered = logits.sort(1, descending=True).values
    return (_of(logits, target) - _of(logits, y)) / (ordered[:, 0] - (ordered[:, 2] + ordered[:, 3]) / 2 + 1e-12)


def border(x: Tensor, norm: str, eps: float, rng: Rng) -> Tensor:
    """Return `x` moved in a random direction to the border of the `norm` ball of radius `eps`, clipped to [0, 1]."""
    if norm == "linf":
        noise = 2 * torch.rand(x.shape, generator=rng.torch) - 1
        size = noise.flatten(1).abs().amax(1)
    else:
        noise = torch.randn(x.shape, generator=rng.torch)
        size = noise.flatten(1).norm(dim=1)
    return (x + eps * (noise / per_image(size + 1e-12, noise)).to(x)).clamp(0, 1)


@dataclass
class _Searches:
    """The searches that go on, one per image: rows of all tensors belong together.

    Attributes:
        rows: (n,) their images.
        point, before: (n, C, H, W) where they are and where they were a step ago.
        gradient: (n, C, H, W) at the point.
        loss: (n,) at the point.
        size: (n,) of the next step.
        peak, peak_gradient, peak_loss: the highest loss yet, (n,), where that was, and its gradient.
        peak_at_look: (n,) the highest loss when the step size was last looked at.
        halved: (n,) whether it was halved then.
        rises: (n,) how many steps since then raised the loss.
    """

    rows: Tensor
    point: Tensor
    before: Tensor
    gradient: Tensor
    loss: Tensor
    size: Tensor
    peak: Tensor
    peak_gradient: Tensor
    peak_loss: Tensor
    peak_at_look: Tensor
    halved: Tensor
    rises: Tensor

    def of(self, chosen: Tensor) -> _Searches:
        return _Searches(*(getattr(self, field.name)[chosen] for field in fields(self)))

    def arrive(self, point: Tensor, loss: Tensor, gradient: Tensor) -> None:
        """Be at `point` after a step."""
        self.before, self.point, self.gradient = self.point, point, gradient
        self.rises += loss > self.loss
        self.loss = loss
        higher = loss > self.peak_loss
        self.peak = torch.where(per_image(higher, point), point, self.peak)
        self.peak_gradient = torch.where(per_image(higher, point), gradient, self.peak_gradient)
        self.peak_loss = torch.where(higher, loss, self.peak_loss)

    def look(self, window: int) -> None:
        """Halve the step sizes that did not help over the last `window` steps, and go back to the peak there."""
        stuck = ~self.halved & (self.peak_at_look >= self.peak_loss)
        self.halved = (self.rises <= RISES * window) | stuck
        self.peak_at_look = self.peak_loss
        self.rises = torch.zeros_like(self.rises)
        self.size = torch.where(self.halved, self.size / 2, self.size)
        self.point = torch.where(per_image(self.halved, self.point), self.peak, self.point)
        self.gradient = torch.where(per_image(self.halved, self.point), self.peak_gradient, self.gradient)


def ascend(
    standing: Standing,
    start: Tensor,
    objective: Objective,
    *,
    norm: str,
    eps: float,
    steps: int,
    draws: int = 1,
    early_stop: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """Search from `start` (N, C, H, W), which lies in the balls around the images, for those that stand.

    Args:
        draws: passes whose gradients are averaged.
        early_stop: give up a search once its image is fooled.

    Returns:
        Per image that stands (n, C, H, W) the last point that fooled the network, or else the one with the highest
        loss; the highest loss (n,), the lowest of all numbers where it is none; and whether it was fooled (n,).
    """
    rows = standing.rows
    found, fooled = standing.x[rows], torch.zeros_like(rows, dtype=torch.bool)
    least = torch.finfo(found.dtype).min
    highest = found.new_full((len(rows),), least)
    place = torch.full_like(standing.y, -1)
    place[rows] = torch.arange(len(rows), device=rows.device)

    def visit(point: Tensor, of: Tensor, slope: bool) -> tuple[Tensor, Tensor, Tensor]:
        loss, wrong, gradient = _seen(standing, point, of, objective, draws if slope else 1, slope)
        found[place[of[wrong]]] = point[wrong]
        fooled[place[of[wrong]]] = True
        return loss, wrong, gradient

    point = start[rows]
    loss, wrong, gradient = visit(point, rows, slope=True)
    now = _Searches(
        rows=rows, point=point, before=point, gradient=gradient, loss=torch.zeros_like(loss),
        size=torch.full_like(loss, 2 * eps, dtype=point.dtype), peak=point, peak_gradient=gradient, peak_loss=loss,
        peak_at_look=loss, halved=torch.ones_like(wrong), rises=torch.zeros_like(rows),
    )  # fmt: skip
    window, shorter, shortest = (max(int(share * steps), 1) for share in WINDOWS)
    since = 0
    for step in range(steps):
        if early_stop and wrong.any():
            now = now.of(~wrong)
            if not len(now.rows):
                break
        point = _moved(now, standing.x[now.rows], norm, eps, MOMENTUM if step else 1.0)
        loss, wrong, gradient = visit(point, now.rows, slope=step + 1 < steps)
        now.arrive(point, loss, gradient)
        since += 1
        if since == window:
            now.look(window)
            window, since = max(window - shorter, shortest), 0
    missed = ~fooled[place[now.rows]]
    found[place[now.rows[missed]]] = now.peak[missed]
    highest[place[now.rows[missed]]] = now.peak_loss[missed].to(highest.dtype).nan_to_num(nan=least)
    return found, highest, fooled


def _seen(
    standing: Standing, point: Tensor, rows: Tensor, objective: Objective, draws: int, slope: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Return loss (n,), whether the image is fooled (n,), and the gradient: zero where not a number, or not asked."""
    gradient = torch.zeros_like(point)
    for _ in range(draws):
        with torch.set_grad_enabled(slope):
            leaf = point.detach().requires_grad_(slope)
            logits = standing.victim.classifier(leaf)
            loss = objective(logits, rows)
            if slope:
                gradient += torch.autograd.grad(loss.sum(), leaf)[0].nan_to_num()
    return loss.detach(), standing.fooled(logits.detach(), rows), gradient / draws


def _moved(now: _Searches, x: Tensor, norm: str, eps: float, momentum: float) -> Tensor:
    """Return the next points: a step along the gradient, mixed with the last move."""

    def inside(point: Tensor) -> Tensor:
        return project(point, x, norm, eps).clamp(0, 1)

    stepped = inside(now.point + per_image(now.size, x) * unit_step(now.gradient, norm))
    return inside(now.point + momentum * (stepped - now.point) + (1 - momentum) * (now.point - now.before))


def _of(logits: Tensor, classes: Tensor) -> Tensor:
    return logits.gather(1, classes[:, None]).squeeze(1)
