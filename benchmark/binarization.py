"""The binarisation test: a problem that an attack must solve, on the features of the network that it attacks.

Per image the last layer is replaced by a linear one that tells points well inside the budget's ball from one point at
its edge, so that an adversarial example is known to exist. An attack that does not find one is too weak or set up
badly, and what a network withstands of it says nothing.

Zimmermann, Brendel, Tramèr, Carlini, "Increasing Confidence in Adversarial Robustness Evaluations", NeurIPS 2022
(arXiv:2206.13991), with the settings of the released code: 999 inner points and the image itself within 0.95 of the
budget, one boundary point (a corner of the ball in linf), the boundary moved nearly all the way to it, the logits in
the range of the network's, 200 random points for the random attack. There the linear layer is fitted by logistic
regression; here it is that of the widest margin. And the classes of the data set that have no part in the problem
stay, far below the others, since some losses need three of them or more.

Beside a detector there are two tests (as in the released case studies of trapdoors, DLA and others). In the one the
point at the edge is not flagged, and who finds the other side without being flagged has solved the problem. In the
inverted one the point is an adversarial example that is flagged, and the attack, handed the detector with its sign
turned, has to be flagged on the other side.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from benchmark.attack import perturbation_size
from benchmark.cells import near
from benchmark.errors import TaskError
from benchmark.gradient import ascend, classification_loss, random_start
from benchmark.model import PENULTIMATE, Classifier, capturing
from benchmark.randomness import Rng

INNER, RANDOM = 999, 200
"""Points that a problem is made from, and points that the random attack looks at."""
WITHIN = 0.95
"""How far inner points go, in budgets."""
CLOSE = 0.999
"""How far the boundary is moved towards the boundary point."""
TRIES = 10
"""Points of the edge among which one that is not flagged is sought."""
STARTS, ROUNDS, STEPS = 5, 4, 20
"""For one that is flagged: rounds of PGD on the network itself, starts in each, steps of a quarter of the budget."""
FAR = 20.0
"""Logits by which classes without a part in the problem lie below the others, at least."""
LEAST = 0.95
"""Share of problems that an attack must solve."""
NORMS = ("linf", "l2")
BATCH = 256


class Features(nn.Module):
    """The last hidden state of a network, (N, D), in a pass through it or through what treats images before it."""

    def __init__(self, classifier: Classifier, through: nn.Module | None = None) -> None:
        super().__init__()
        self.classifier = classifier
        self.through = through if through is not None else classifier

    def forward(self, x: Tensor) -> Tensor:
        """Return the features of images.

        Raises:
            TaskError: the pass did not reach the network, or an image went through it more than once.
        """
        with capturing(self.classifier.network, (PENULTIMATE,)) as states:
            self.through(x)
        state = states.get(PENULTIMATE)
        if state is None or len(state) != len(x):
            raise TaskError(
                "a pass does not go through the deployed network once per image, so it has no features here"
            )
        return state.flatten(1).float()


class Binarised(nn.Module):
    """A network with another last layer: class 0 inside, class 1 at the edge, the other classes never."""

    def __init__(self, features: nn.Module, weight: Tensor, bias: float, floor: float, classes: int) -> None:
        super().__init__()
        self.features = features
        self.register_buffer("weight", weight)
        self.bias, self.floor, self.classes = bias, floor, classes

    def margin(self, x: Tensor) -> Tensor:
        """Return (N,) by how much class 1 is ahead."""
        weight: Tensor = self.weight  # type: ignore[assignment]
        return self.features(x) @ weight + self.bias

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, classes)."""
        half = self.margin(x) / 2
        rest = half.new_full((len(x), self.classes - 2), self.floor)
        return torch.cat([-half[:, None], half[:, None], rest], dim=1)


@dataclass(frozen=True)
class Ball:
    """All images within a budget of one, (1, C, H, W)."""

    x: Tensor
    norm: str
    eps: float

    def inner(self, count: int, generator: torch.Generator) -> Tensor:
        """Return points (count, C, H, W) well inside."""
        if self.norm == "linf":
            return self._moved((2 * self._uniform(count, generator) - 1) * (WITHIN * self.eps))
        size = self.x[0].numel()
        radius = torch.rand(count, 1, 1, 1, generator=generator).to(self.x.device) ** (1 / size)
        return self._moved(self._directions(count, generator) * radius * (WITHIN * self.eps))

    def edge(self, count: int, generator: torch.Generator) -> Tensor:
        """Return points as far out as the budget allows: corners in linf, points of the sphere in l2."""
        if self.norm == "linf":
            return self._moved((self._uniform(count, generator) < 0.5).float().mul(2).sub(1) * self.eps)
        return self.out(self.x + self._directions(count, generator) * self.eps)

    def out(self, points: Tensor) -> Tensor:
        """Return points (N, C, H, W) of the ball moved to its edge, as far as the range of pixels lets them."""
        delta = points - self.x
        for _ in range(10):  # what the range of pixels cuts off is made up for by the others
            sizes = perturbation_size(self._moved(delta) - self.x, self.norm).clamp_min(1e-12)
            delta = delta * (self.eps / sizes).clamp_max(4)[:, None, None, None]
        moved = self._moved(delta) - self.x
        sizes = perturbation_size(moved, self.norm).clamp_min(1e-12)
        return self.x + moved * (self.eps / sizes).clamp_max(1)[:, None, None, None]

    def _uniform(self, count: int, generator: torch.Generator) -> Tensor:
        return torch.rand(count, *self.x.shape[1:], generator=generator).to(self.x.device)

    def _directions(self, count: int, generator: torch.Generator) -> Tensor:
        drawn = torch.randn(count, *self.x.shape[1:], generator=generator).to(self.x.device)
        return drawn / drawn.flatten(1).norm(dim=1)[:, None, None, None]

    def _moved(self, delta: Tensor) -> Tensor:
        return (self.x + delta).clamp(0, 1)


@dataclass(frozen=True)
class Problem:
    """What an attack is to solve on one image.

    Attributes:
        network: what it is handed, and judged by.
        random: whether one of `RANDOM` points of the edge solves it.
        counts: which points (N,) are where the detector wants them, or all.
    """

    network: Binarised
    random: bool
    counts: Callable[[Tensor], Tensor]

    def solved(self, ball: Ball, x_adv: Tensor) -> bool:
        """Return whether an adversarial example lies in the ball, is on the other side, and counts."""
        inside = near(perturbation_size(x_adv - ball.x, ball.norm).cpu().numpy(), ball.eps * (1 + 1e-5) + 1e-6)
        with torch.no_grad():
            return bool(inside[0]) and bool(self.network.margin(x_adv)[0] > 0) and bool(self.counts(x_adv)[0])


def everywhere(points: Tensor) -> Tensor:
    """Return that all points (N, C, H, W) count: there is no detector."""
    return torch.ones(len(points), dtype=torch.bool, device=points.device)


def unflagged_edge(ball: Ball, flagged: Callable[[Tensor], Tensor], rng: Rng) -> Tensor | None:
    """Return a point (1, C, H, W) of the edge that is not flagged, None where `TRIES` of them are."""
    points = ball.edge(TRIES, rng.torch)
    return next(iter(points[~flagged(points)].split(1)), None)


def flagged_edge(
    ball: Ball, y: Tensor, logits: nn.Module, flagged: Callable[[Tensor], Tensor], rng: Rng
) -> Tensor | None:
    """Return an adversarial example (1, C, H, W) against the network that is flagged, None where none is found.

    PGD from several starts, its points moved to the edge.

    Args:
        y: (1,) the class of the image.
        logits: maps images to the network's own logits.
        flagged: tells which points are.
    """
    loss, many = classification_loss(logits, y.expand(STARTS)), ball.x.expand(STARTS, *ball.x.shape[1:])
    for number in range(ROUNDS):
        start = random_start(many, ball.norm, ball.eps, rng.spawn(number).numpy)
        found = ball.out(ascend(loss, many, norm=ball.norm, eps=ball.eps, step=ball.eps / 4, steps=STEPS, start=start))
        with torch.no_grad():
            chosen = found[flagged(found) & (logits(found).argmax(1) != y)]
        if len(chosen):
            return chosen[:1]
    return None


def problem(
    ball: Ball,
    logits: Callable[[Tensor], Tensor],
    features: Features,
    classes: int,
    rng: Rng,
    edge: Tensor | None = None,
    counts: Callable[[Tensor], Tensor] = everywhere,
) -> Problem | None:
    """Return the problem of an image, None where no linear layer tells its edge from its inside.

    Args:
        logits: maps images to the network's own logits (N, classes), whose range those of the problem have.
        features: maps images to what the layer is fitted on.
        edge: the point (1, C, H, W) at the edge, drawn unless given.
        counts: tells which points are a solution, of those on the other side.
    """
    generator = rng.torch
    inner = ball.inner(INNER, generator)
    points = torch.cat([ball.x, inner, ball.edge(1, generator) if edge is None else edge])
    states = _by_batch(points, features)
    fitted = _widest(states)
    if fitted is None:
        return None
    weight, bias = fitted
    bias -= CLOSE * float(states[-1] @ weight + bias)
    spread = float(np.ptp(_by_batch(points, logits))) or 1.0
    scale = spread / float(np.abs(states @ weight + bias).max())
    turned = torch.from_numpy(weight * scale).float().to(ball.x.device)
    network = Binarised(features, turned, bias * scale, -spread - max(spread, FAR), classes).eval()
    answered = _by_batch(torch.cat([points[:1], points[-1:]]), network.margin) > 0
    random = ball.edge(RANDOM, generator)
    found = torch.from_numpy(_by_batch(random, network.margin) > 0).to(random.device)
    found[found.clone()] &= counts(random[found]) if found.any() else found[found]
    return Problem(network, bool(found.any()), counts) if answered.tolist() == [False, True] else None


def _by_batch(x: Tensor, function: Callable[[Tensor], Tensor]) -> np.ndarray:
    with torch.no_grad():
        return np.concatenate([function(part).double().cpu().numpy() for part in x.split(BATCH)])


def _widest(features: np.ndarray) -> tuple[np.ndarray, float] | None:
    """Return weight (D,) and bias of the widest margin between the last of the points (N, D) and the others."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.svm import SVC

    centre, size = features.mean(0), float(features.std()) or 1.0
    scaled = (features - centre) / size
    labels = np.arange(len(features)) == len(features) - 1
    machine = SVC(kernel="linear", C=1e6, max_iter=100_000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # what does not separate is told below
        machine.fit(scaled, labels)
    weight = machine.coef_[0] / size
    bias = float(machine.intercept_[0]) - float(centre @ weight)
    right = (features @ weight + bias > 0) == labels
    return (weight, bias) if right.all() else None
