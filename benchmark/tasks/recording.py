"""What an attack asks of its victim, recorded by the host, so that no attack has to cooperate."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from benchmark.attack import TOLERANCE, ClassLikelihoods, Victim, perturbation_size
from benchmark.gradient import margins, random_start
from benchmark.randomness import Rng


@dataclass
class _Point:
    """The images (B, C, H, W) of one pass, or of two in a row through network and detector.

    Attributes:
        inside: (B,) whether they lie in [0, 1] and within the budget.
        margin: (B,) logit of the true class less the largest other one; None while only the detector was asked.
        suspicion: (B,) the detector's loss; None where it was not asked.
        came: (B,) whether a gradient came back.
        alive: (B,) whether one of those was finite and not zero.
    """

    inside: Tensor
    came: Tensor
    alive: Tensor
    margin: Tensor | None = None
    suspicion: Tensor | None = None


class Path:
    """All points at which an attack on one image has asked its victim something, in their order.

    Args:
        x: (1, C, H, W), the image.
        y: (1,), its class.
        norm, eps: the budget within which a point counts; everything in [0, 1] where `eps` is None.
    """

    def __init__(self, x: Tensor, y: Tensor, norm: str, eps: float | None) -> None:
        self._x, self._y, self._norm, self._eps = x, y, norm, eps
        self._last: Tensor | None = None
        self._points: list[_Point] = []

    def meet(self, x: Tensor, asked: Literal["margin", "suspicion"]) -> tuple[Tensor, _Point]:
        """Return images as the victim shall get them, so that the gradient of this pass is seen, and their point.

        An attack that stays where it is, asking the same again, makes another point of its path.
        """
        here = x.detach()
        known = self._last is not None and self._last.shape == here.shape and torch.equal(self._last, here)
        if not known or getattr(self._points[-1], asked) is not None:
            self._points.append(_Point(self._inside(here), *here.new_zeros((2, len(here)), dtype=torch.bool)))
            self._last = here.clone()
        point = self._points[-1]
        if not (x.requires_grad and torch.is_grad_enabled()):
            return x, point

        def came_back(gradient: Tensor) -> None:
            flat = gradient.detach().flatten(1)
            point.came = torch.ones_like(point.came)
            point.alive = point.alive | (flat.isfinite().all(1) & (flat != 0).any(1))

        seen = x.view_as(x)
        seen.register_hook(came_back)
        return seen, point

    def answered(self, point: _Point, logits: Tensor) -> None:
        """Note what the network answered, (B, num_classes)."""
        point.margin = margins(logits.detach(), self._y.expand(len(logits)))

    def _inside(self, x: Tensor) -> Tensor:
        in_range = ((x >= -TOLERANCE) & (x <= 1 + TOLERANCE)).flatten(1).all(1)
        if self._eps is None:
            return in_range
        return in_range & (perturbation_size(x - self._x, self._norm) <= self._eps * (1 + TOLERANCE) + TOLERANCE)

    def rows(self) -> tuple[list[float], list[float]]:
        """Return per point the least margin of images within the budget, and the least suspicion of the wrong ones.

        NaN where there is no such image.
        """
        margin, suspicion = [], []
        for point in self._points:
            if point.margin is None:
                continue
            margin.append(_least(point.margin, point.inside))
            fooled = point.inside & (point.margin < 0)
            suspicion.append(np.nan if point.suspicion is None else _least(point.suspicion, fooled))
        return margin, suspicion

    def gradients(self) -> tuple[int, int, int]:
        """Return how many gradients came back, how many of them for images still right, how many of these were none."""
        came = early = blind = 0
        for point in self._points:
            right = point.came if point.margin is None else point.came & (point.margin >= 0)
            came += int(point.came.sum())
            early += int(right.sum())
            blind += int((right & ~point.alive).sum())
        return came, early, blind


def _least(values: Tensor, among: Tensor) -> float:
    return float(values[among].min()) if among.any() else np.nan


@contextmanager
def recorded(victim: Victim, x: Tensor, y: Tensor, norm: str, eps: float | None) -> Iterator[tuple[Victim, Path]]:
    """Give the victim, and a path that fills with all that is asked of it inside the block about the image `x`.

    Passes that a defense makes through the network to answer for its detector or to judge, on images of its own, are
    not recorded.
    """
    path, under_way = Path(x, y, norm, eps), list[_Point]()
    inside = 0  # roads that are being asked: what the defense looks at there is not what the attack looks at

    # Functions and no methods: an attack that copies its network deeply goes on writing into this path.
    def before(module: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
        if inside:
            return given
        seen, point = path.meet(given[0], "margin")
        under_way.append(point)
        return (seen, *given[1:])

    def after(module: nn.Module, given: tuple[Any, ...], logits: Tensor) -> None:
        if not inside:
            path.answered(under_way.pop(), logits)

    def along(name: str, road: Callable[..., Any]) -> Callable[..., Any]:
        def asked(images: Tensor, *others: Tensor) -> Any:
            nonlocal inside
            seen, point = path.meet(images, "suspicion")
            inside += 1
            try:
                answer = road(seen, *others)
            finally:
                inside -= 1
            if isinstance(answer, Tensor):  # of class_suspicions, that of the class which is least suspicious
                told = answer.detach().flatten(1).amin(1) if answer.dim() > 1 else answer.detach()
                point.suspicion = told.float()
            elif isinstance(answer, ClassLikelihoods):
                path.answered(point, answer.logits)
            else:
                path.answered(point, answer[1])
                if name == "aimed_loss":  # falls as the class that is aimed at is named, and the image less suspicious
                    point.suspicion = answer[0].detach().float()
            return answer

        return asked

    def deployed(images: Tensor, rng: Rng) -> tuple[Tensor, Tensor | None]:
        nonlocal inside
        assert victim.judge is not None
        inside += 1
        try:
            return victim.judge(images, rng)
        finally:
            inside -= 1

    roads = ("detector_loss", "class_suspicions", "aimed_loss", "class_likelihoods", "training_loss")
    held: dict[str, Any] = {road: getattr(victim, road) for road in roads}
    offered: dict[str, Any] = {road: along(road, held[road]) for road in roads if held[road] is not None}
    if victim.judge is not None:
        offered["judge"] = deployed
    handles = [
        victim.classifier.register_forward_pre_hook(before),
        victim.classifier.register_forward_hook(after),
    ]
    try:
        yield replace(victim, **offered), path
    finally:
        for handle in handles:
            handle.remove()


def draw(
    classifier: Callable[[Tensor], Tensor],
    x: Tensor,
    y: Tensor,
    norm: str,
    eps: float,
    count: int,
    batch: int,
    rng: Any,
    shape: Callable[[Tensor], Tensor] | None = None,
) -> Iterator[Tensor]:
    """Yield, of `count` uniform draws from the ball around the image `x` (1, C, H, W), those that are misclassified.

    Batch by batch, as many as there are, (B, C, H, W); of what `shape` makes of them, where it is given.
    """
    for start in range(0, count, batch):
        around = x.expand(min(batch, count - start), *x.shape[1:])
        drawn = random_start(around, norm, eps, rng.spawn(start).numpy)
        drawn = drawn if shape is None else shape(drawn)
        with torch.no_grad():
            wrong = classifier(drawn).argmax(1) != y
        if wrong.any():
            yield drawn[wrong]


def roughness(
    classifier: Callable[[Tensor], Tensor], x: Tensor, y: Tensor, radius: float, count: int, rng: Any
) -> Tensor:
    """Return the mean relative change of the margin (N,) under `count` uniform draws of noise, at most 1 per image.

    The indicator of unstable predictions of Pintor et al. (2022, arXiv:2106.09947), as in their released code, on the
    margin.
    """
    with torch.no_grad():
        still = margins(classifier(x), y)
        changes = torch.zeros_like(still)
        for number in range(count):
            noise = rng.spawn(number).numpy.uniform(-radius, radius, x.shape)
            moved = (x + torch.from_numpy(noise.astype(np.float32)).to(x.device)).clamp(0, 1)
            changes += (margins(classifier(moved), y) - still).abs()
        scale = torch.where(still == 0, torch.ones_like(still), still.abs())
        return (changes / count / scale).clamp(max=1)


def stacked(rows: list[list[float]]) -> np.ndarray:
    """Return rows of different lengths as one array (N, longest), at least one wide, with NaN after the end of each."""
    whole = np.full((len(rows), max(1, *map(len, rows))), np.nan, dtype=np.float32)
    for number, row in enumerate(rows):
        whole[number, : len(row)] = row
    return whole
