"""Gradient steps: norms, projections, random starts as ART draws them, momentum, cost."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from benchmark.attack import perturbation_size
from benchmark.gradient import (
    ascend,
    classification_loss,
    input_gradient,
    project,
    random_start,
    unit_step,
    untargeted,
)
from benchmark.model import Classifier, passes
from benchmark.randomness import Rng

SHAPE = (3, 1, 4, 4)
NORMS = st.sampled_from(["linf", "l2"])


def images(seed: int, low: float = 0.0, high: float = 1.0) -> torch.Tensor:
    return torch.from_numpy(Rng(seed).numpy.uniform(low, high, SHAPE).astype(np.float32))


@given(norm=NORMS, seed=st.integers(0, 2**31), scale=st.sampled_from([1e-36, 1e-25, 1e-6, 1.0, 1e6, 1e25]))
def test_unit_step_has_size_one_and_ascends(norm, seed, scale):
    gradient = images(seed, -1, 1) * scale
    step = unit_step(gradient, norm)
    assert perturbation_size(step, norm).numpy() == pytest.approx(1, abs=1e-5)
    assert ((step * gradient / scale).flatten(1).sum(1) > 0).all()


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_no_gradient_no_step(norm):
    gradient = images(0)
    gradient[1] = 0
    step = unit_step(gradient, norm)
    assert (step[1] == 0).all()
    assert (step[[0, 2]] != 0).any()


@given(norm=NORMS, seed=st.integers(0, 2**31), eps=st.floats(1e-3, 3))
def test_projection_is_the_nearest_point_of_the_ball(norm, seed, eps):
    x, point = images(seed), images(seed + 1, -1, 2)
    projected = project(point, x, norm, eps)
    assert (perturbation_size(projected - x, norm) <= eps * (1 + 1e-5) + 1e-6).all()
    inside = perturbation_size(point - x, norm) <= eps
    assert torch.allclose(projected[inside], point[inside], atol=1e-6)
    assert torch.allclose(project(projected, x, norm, eps), projected, atol=1e-6)
    # No point of the ball is nearer.
    other = project(images(seed + 2, -1, 2), x, norm, eps)
    distance, rival = ((p - point).flatten(1).norm(dim=1) for p in (projected, other))
    assert (distance <= rival + 1e-5).all()


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("seed", [0, 1, 12345])
def test_random_start_draws_as_art_does(norm, seed):
    from art.utils import random_sphere

    x = images(seed)
    np.random.seed(seed)
    noise = random_sphere(3, 16, 0.3, {"linf": np.inf, "l2": 2}[norm]).reshape(SHAPE).astype(np.float32)
    expected = np.clip(x.numpy() + noise, 0, 1)
    assert random_start(x, norm, 0.3, Rng(seed).numpy).numpy().tobytes() == expected.tobytes()


def test_random_start_is_uniform_in_the_ball():
    grey = torch.full((4000, 1, 2, 2), 0.5)
    for norm, power in (("linf", 4), ("l2", 4)):
        size = perturbation_size(random_start(grey, norm, 0.25, Rng(0).numpy) - grey, norm)
        assert size.max() <= 0.25 + 1e-6
        # The share of a 4-dimensional ball within a fraction r of its radius is r^4.
        for fraction in (0.5, 0.7, 0.9):
            assert (size < 0.25 * fraction).float().mean() == pytest.approx(fraction**power, abs=0.03)


def test_unknown_norm_is_refused():
    x = images(0)
    for call in (
        lambda: unit_step(x, "l1"),
        lambda: project(x, x, "l1", 1.0),
        lambda: random_start(x, "l1", 1.0, Rng(0).numpy),
    ):
        with pytest.raises(ValueError, match="allowed are linf and l2"):
            call()


def test_gradient_of_an_image_does_not_depend_on_the_batch():
    loss = lambda x: (x**2).flatten(1).sum(1)  # noqa: E731
    x = images(3)
    assert torch.equal(input_gradient(loss, x), 2 * x)
    assert torch.equal(input_gradient(loss, x[:1]), 2 * x[:1])
    assert not x.requires_grad
    with torch.no_grad():
        assert torch.equal(input_gradient(loss, x), 2 * x)


def test_momentum_accumulates_gradients_normalised_in_l1():
    """MI-FGSM (Dong et al. 2018, Algorithm 1), step by step."""
    weight = images(5, -1, 1)
    loss = lambda x: ((x - 0.3) ** 3 * weight).flatten(1).sum(1)  # noqa: E731
    x, decay, step, eps = images(6, 0.3, 0.7), 0.7, 0.05, 0.12
    x_adv, accumulated = x.clone(), torch.zeros_like(x)
    for _ in range(5):
        gradient = 3 * (x_adv - 0.3) ** 2 * weight
        accumulated = decay * accumulated + gradient / gradient.abs().sum(dim=(1, 2, 3), keepdim=True)
        x_adv = (x_adv + step * accumulated.sign()).clamp(0, 1)
        x_adv = torch.maximum(torch.minimum(x_adv, x + eps), x - eps)
    found = ascend(loss, x, norm="linf", eps=eps, step=step, steps=5, decay=decay)
    assert torch.allclose(found, x_adv, atol=1e-6)


@given(
    norm=NORMS,
    seed=st.integers(0, 2**31),
    eps=st.floats(1e-3, 2),
    step=st.floats(1e-3, 5),
    decay=st.none() | st.floats(0, 2),
)
def test_ascent_stays_in_ball_and_range_and_raises_a_linear_loss(norm, seed, eps, step, decay):
    weight = images(seed + 1, -1, 1)
    loss = lambda x: (x * weight).flatten(1).sum(1)  # noqa: E731
    x = images(seed)
    x_adv = ascend(loss, x, norm=norm, eps=eps, step=step, steps=3, decay=decay)
    assert x_adv.min() >= 0
    assert x_adv.max() <= 1
    assert (perturbation_size(x_adv - x, norm) <= eps * (1 + 1e-5) + 1e-6).all()
    assert (loss(x_adv) >= loss(x) - 1e-5).all()


@given(norm=NORMS, seed=st.integers(0, 2**31), step=st.floats(1e-2, 5), steps=st.integers(1, 6))
def test_the_best_point_reaches_the_goal_or_has_the_highest_loss(norm, seed, step, steps):
    """Against a record of all points: of those that reach the goal the one with the highest loss, or of all."""
    weight, seen = images(seed + 1, -1, 1), []

    def goal(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        loss = (torch.sin(9 * x) * weight).flatten(1).sum(1)
        reached = torch.cos(40 * x).flatten(1).sum(1) > 2.5
        seen.append((x.detach().clone(), loss.detach(), reached))
        return loss, reached

    x = images(seed)
    found = ascend(goal, x, norm=norm, eps=0.5, step=step, steps=steps, keep="best")
    assert len(seen) == steps + 1
    for image in range(len(x)):
        points = [(bool(reached[image]), float(loss[image]), point[image]) for point, loss, reached in seen]
        best = max(points, key=lambda point: point[:2])
        assert torch.allclose(found[image], best[2].clamp(0, 1), atol=1e-6)
    assert (perturbation_size(found - x, norm) <= 0.5 * (1 + 1e-5) + 1e-6).all()


def test_an_answer_that_is_no_number_is_not_passed_over():
    """A network that breaks on the way must not look robust: the host finds what it answers."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    y = torch.tensor([0, 1, 0])

    def breaks(x: torch.Tensor) -> torch.Tensor:
        return network(x) + torch.where((x - images(0)).flatten(1).abs().amax(1, keepdim=True) > 0.05, torch.nan, 0)

    found = ascend(untargeted(breaks, y), images(0), norm="linf", eps=0.1, step=0.1, steps=3, keep="best")
    assert breaks(found).isnan().all()


def test_ascent_costs_one_forward_and_one_backward_pass_per_step():
    classifier = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(16, 2)), 2, SHAPE[1:]).frozen()
    before = passes.copy()
    y = torch.tensor([0, 1, 0])
    ascend(classification_loss(classifier, y), images(0), norm="linf", eps=0.1, step=0.02, steps=4)
    used = passes - before
    assert (used.forward, used.backward) == (12, 12)
