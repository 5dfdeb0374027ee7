"""The loss against a literal transcription, its gradient, and the nearest prototype."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from bench_pcl.prototypes import Head, Heads, NearestPrototype, conformity, released_conformity


def length(vector: Tensor) -> float:
    return math.sqrt(sum(value**2 for value in vector.tolist()))


def equation_5(features: Tensor, y: Tensor, w: Tensor) -> list[float]:
    """Eq. 5 as it stands, term by term."""
    k = len(w)
    losses = []
    for f, own in zip(features, y):
        others = 0.0
        for j in range(k):
            if j != own:
                others += length(f - w[j]) + length(w[own] - w[j])
        losses.append(length(f - w[own]) - others / (k - 1))
    return losses


def released(features: Tensor, y: Tensor, near: Tensor, far: Tensor) -> list[float]:
    """`Proximity` and `Con_Proximity` of the released code, with its weights, per image."""
    losses = []
    for f, own in zip(features, y):
        repelled = [length(f - far[j]) ** 2 for j in range(len(far)) if j != own]
        losses.append(length(f - near[own]) ** 2 - 1e-4 * sum(repelled) / len(repelled))
    return losses


@given(n=st.integers(1, 6), k=st.integers(2, 7), d=st.integers(1, 9), seed=st.integers(0, 10**6))
def test_both_forms_equal_their_literal_transcriptions(n: int, k: int, d: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    features, near, far = (torch.randn(rows, d, generator=generator, dtype=torch.float64) for rows in (n, k, k))
    y = torch.randint(0, k, (n,), generator=generator)
    assert conformity(features, y, near).tolist() == pytest.approx(equation_5(features, y, near), abs=1e-6)
    assert released_conformity(features, y, near, far).tolist() == pytest.approx(
        released(features, y, near, far), abs=1e-6
    )


def test_gradients_are_those_of_finite_differences() -> None:
    generator = torch.Generator().manual_seed(0)
    features, near, far = (
        torch.randn(rows, 5, generator=generator, dtype=torch.float64).requires_grad_() for rows in (4, 3, 3)
    )
    y = torch.tensor([0, 2, 1, 1])
    assert torch.autograd.gradcheck(lambda f, w: conformity(f, y, w), (features, near))
    assert torch.autograd.gradcheck(lambda f, a, r: released_conformity(f, y, a, r), (features, near, far))


def test_a_feature_on_its_prototype_has_a_finite_gradient() -> None:
    prototypes = torch.eye(3, requires_grad=True)
    features = torch.eye(3, requires_grad=True)
    conformity(features, torch.arange(3), prototypes).sum().backward()
    assert features.grad is not None
    assert features.grad.isfinite().all()
    assert prototypes.grad is not None
    assert prototypes.grad.isfinite().all()


def test_features_near_their_own_and_far_from_other_prototypes_cost_less() -> None:
    prototypes = torch.tensor([[0.0, 0.0], [4.0, 0.0]])
    y = torch.tensor([0])
    at_own, between, at_other = (conformity(torch.tensor([[x, 0.0]]), y, prototypes).item() for x in (0.0, 2.0, 4.0))
    assert at_own < between < at_other


def test_positions_of_a_state_are_averaged_before_the_branch() -> None:
    head = Head(width=3, outputs=2, num_classes=4, released=False, branch_classifier=False)
    state = torch.randn(5, 3, 4, 4)
    torch.testing.assert_close(head(state), head(state.mean((2, 3))))


def test_joint_loss_sums_over_layers_and_branches() -> None:
    torch.manual_seed(0)
    heads = Heads([Head(4, None, 3, False, False), Head(4, 2, 3, False, True)], ("a", "b"), 1.0, 1.0)
    states = {"a": torch.randn(6, 4), "b": torch.randn(6, 4), "logits": torch.randn(6, 3)}
    y = torch.tensor([0, 1, 2, 0, 1, 2])
    first, second = heads.heads
    assert isinstance(first, Head)
    assert isinstance(second, Head)
    assert second.classifier is not None
    features = second.branch(states["b"])
    expected = (
        nn.functional.cross_entropy(states["logits"], y, reduction="none")
        + conformity(states["a"], y, first.prototypes)
        + conformity(features, y, second.prototypes)
        + nn.functional.cross_entropy(second.classifier(features), y, reduction="none")
    )
    torch.testing.assert_close(heads.joint(states, y), expected)


def test_the_nearest_prototype_is_the_answer() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(8, 5), nn.ReLU(), nn.Linear(5, 3))
    head = Head(5, None, 3, False, False)
    x = torch.rand(20, 2, 2, 2)
    features = network[:3](x)
    nearest = [min(range(3), key=lambda j: length(f - head.prototypes[j])) for f in features]
    assert NearestPrototype(network, "penultimate", head)(x).argmax(1).tolist() == nearest
