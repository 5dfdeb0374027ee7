"""Attacks on classifier and detector: what they find where the best answer is known, and what they may never do."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor, nn

from bench_adaptive.evasion import JointPgd, OrthogonalPgd, SelectivePgd
from bench_adaptive.options import JointPgdOptions, OrthogonalPgdOptions, SelectivePgdOptions
from benchmark import Rng, Victim
from benchmark.attack import perturbation_size

ATTACKS = {
    "joint-pgd": (JointPgd, JointPgdOptions),
    "orthogonal-pgd": (OrthogonalPgd, OrthogonalPgdOptions),
    "selective-pgd": (SelectivePgd, SelectivePgdOptions),
}


class Ramp(nn.Module):
    """Two pixels; class 1 wins where the first is above 0.6."""

    def forward(self, x: Tensor) -> Tensor:
        first = x.flatten(1)[:, 0]
        return torch.stack([torch.zeros_like(first), 20 * (first - 0.6)], 1)


class Corners(nn.Module):
    """Two pixels, three classes; each wins near its corner."""

    corners = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])

    def forward(self, x: Tensor) -> Tensor:
        return -20 * (x.flatten(1)[:, None] - self.corners).square().sum(2)


def slope(x: Tensor) -> Tensor:
    """A suspicion that rises with the first pixel, which an attacker must raise, and falls with the second."""
    first, second = x.flatten(1).unbind(1)
    return first - second


def made(name: str, **options):
    attack, known = ATTACKS[name]
    return attack(known(**{"eps": 0.3, **options}))


def victim(network: nn.Module, detector_loss=slope, judge=None, **roads) -> Victim:
    return Victim(network, 3, (1, 1, 2), torch.device("cpu"), detector_loss=detector_loss, judge=judge, **roads)


MIDDLE = torch.full((1, 1, 1, 2), 0.5)
ZERO = torch.zeros(1, dtype=torch.int64)


@pytest.mark.parametrize("name", ATTACKS)
def test_the_least_suspicious_wrong_image_is_found(name):
    # Wrong needs 0.6 of the first pixel, and no more; the ball ends at 0.8 of the second.
    found = made(name).craft(victim(Ramp()), MIDDLE, ZERO, Rng(0))
    assert found.flatten()[0] > 0.6
    assert slope(found).item() == pytest.approx(0.6 - 0.8, abs=0.02)


@pytest.mark.parametrize("name", ATTACKS)
def test_a_wrong_class_goes_before_a_low_score(name):
    # The only wrong images of the ball are the most suspicious ones.
    found = made(name, eps=0.11).craft(victim(Ramp(), lambda x: 100 * slope(x)), MIDDLE, ZERO, Rng(0))
    assert found.flatten()[0] > 0.6


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("aimed", [False, True])
def test_a_suspicion_per_class_is_lowered_for_the_class_that_is_aimed_at(name, aimed):
    # The detector believes class 2 alone; class 1 is as near.
    def per_class(x: Tensor) -> Tensor:
        return torch.tensor([[1.0, 1.0, 0.0]]) + 0 * x.flatten(1).sum(1, keepdim=True)

    def judge(x: Tensor, rng: Rng) -> tuple[Tensor, Tensor | None]:
        label = Corners()(x).argmax(1)
        return label, per_class(x).gather(1, label[:, None]).squeeze(1)

    near = torch.tensor([0.42, 0.40]).view(1, 1, 1, 2)
    system = victim(Corners(), slope, judge, class_suspicions=per_class)
    found = made(name, targets=2 if aimed else 0).craft(system, near, ZERO, Rng(0))
    label = Corners()(found).argmax(1).item()
    assert label == 2 if aimed else label in (1, 2)


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize(("promise", "label"), [(None, 1), ([9.0, 1.0, 1.0], 1), ([9.0, 1.0, 2.0], 2)])
def test_a_single_class_is_aimed_at_in_the_order_that_the_defense_offers(name, promise, label):
    # Class 1 is nearer, and the system finds none suspicious but what is near no corner: who has one aim ends at it.
    def per_class(x: Tensor) -> Tensor:
        return (x.flatten(1)[:, None] - Corners.corners).square().sum(2)

    def judge(x: Tensor, rng: Rng) -> tuple[Tensor, Tensor | None]:
        label = Corners()(x).argmax(1)
        return label, per_class(x).gather(1, label[:, None]).squeeze(1) - (label == 2).float()

    near = torch.tensor([0.45, 0.40]).view(1, 1, 1, 2)
    aims = None if promise is None else lambda x, y: torch.tensor([promise]).expand(len(x), 3)
    system = victim(Corners(), slope, judge, class_suspicions=per_class, aims=aims)
    found = made(name, targets=1).craft(system, near, ZERO, Rng(0))
    assert Corners()(found).argmax(1).item() == label


class Goal:
    """One loss of the whole system: how far a point is from the corner of the class that is aimed at, but for 0.3."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def __call__(self, x: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        self.asked.append(len(x))
        away = (x.flatten(1) - Corners.corners[target]).square().sum(1).sqrt()
        return (away - 0.3).clamp_min(0), Corners()(x)


def test_joint_pgd_descends_the_one_loss_that_a_defense_offers_and_leaves_alone_what_it_has_reached():
    def never(x: Tensor) -> Tensor:
        raise AssertionError("there is one loss for both")

    goal, x = Goal(), torch.tensor([[0.5, 0.3], [0.45, 0.1], [0.9, 0.1]]).view(3, 1, 1, 2)
    y = torch.zeros(3, dtype=torch.int64)
    system = victim(Corners(), never, lambda x, rng: (Corners()(x).argmax(1), Goal()(x, y + 1)[0]), aimed_loss=goal)
    found = made("joint-pgd", targets=1, eps=0.2, steps=20).craft(system, x, y, Rng(0)).flatten(1)
    left = (found - Corners.corners[1]).square().sum(1).sqrt()
    # The nearest that a ball of 0.2 has of the first image is (0.7, 0.1), at 0.316 of the corner; of the second 0.35.
    torch.testing.assert_close(left[:2], torch.tensor([0.1**0.5, 0.35]), rtol=0, atol=1e-4)
    torch.testing.assert_close(found[2], x[2].flatten(), rtol=0, atol=0)  # there from the start
    assert goal.asked == [3, *[2] * 20]


def test_joint_pgd_without_a_single_aim_weighs_both_losses_whatever_is_offered():
    goal = Goal()
    found = made("joint-pgd", targets=0).craft(victim(Ramp(), slope, aimed_loss=goal), MIDDLE, ZERO, Rng(0))
    assert slope(found).item() == pytest.approx(0.6 - 0.8, abs=0.02)
    assert not goal.asked


@pytest.mark.parametrize("name", ATTACKS)
def test_what_the_deployed_system_says_decides_between_searches(name):
    # Its stand-in takes every image of class 1 for wrong; the system itself answers wrongly beyond 0.7 alone, which
    # the aim at class 1 passes at some of its searches from other starts.
    seen: list[float] = []

    def judge(x: Tensor, rng: Rng) -> tuple[Tensor, Tensor | None]:
        seen.append(x.flatten()[0].item())
        return (x.flatten(1)[:, 0] > 0.7).long(), slope(x)

    found = made(name, restarts=3, confidence=3.0).craft(victim(Ramp(), slope, judge), MIDDLE, ZERO, Rng(0))
    assert len(seen) >= 3
    wrong = [first for first in seen if first > 0.7]
    assert found.flatten()[0].item() in (wrong or seen)


@pytest.mark.parametrize("name", ATTACKS)
def test_without_a_detector_the_class_alone_counts(name):
    found = made(name).craft(victim(Ramp(), None), MIDDLE, ZERO, Rng(0))
    assert found.flatten()[0] > 0.6


@settings(max_examples=25)
@given(
    name=st.sampled_from(sorted(ATTACKS)),
    norm=st.sampled_from(["linf", "l2"]),
    eps=st.floats(0.01, 0.5),
    step=st.one_of(st.none(), st.floats(0.001, 2)),
    targets=st.integers(0, 3),
    restarts=st.integers(1, 2),
    seed=st.integers(0, 1000),
)
def test_the_budget_and_the_range_are_kept_and_the_seed_decides(name, norm, eps, step, targets, restarts, seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand((4, 1, 1, 2), generator=generator)
    y = torch.randint(3, (4,), generator=generator)
    attack = made(name, norm=norm, eps=eps, step=step, targets=targets, restarts=restarts, steps=5)
    found, again = (attack.craft(victim(Corners()), x, y, Rng(seed)) for _ in range(2))
    torch.testing.assert_close(found, again, rtol=0, atol=0)
    assert found.min() >= 0
    assert found.max() <= 1
    assert (perturbation_size(found - x, norm) <= eps * (1 + 1e-5)).all()


@pytest.mark.parametrize("name", ATTACKS)
def test_no_image_that_pgd_alone_gets_through_is_lost(name):
    """The detector's gradient leads away from every wrong class: PGD's own images still count."""
    x, y = torch.full((8, 1, 1, 2), 0.5), torch.zeros(8, dtype=torch.int64)
    found = made(name, steps=10).craft(victim(Ramp(), lambda x: 1e6 * slope(x)), x, y, Rng(0))
    assert (Ramp()(found).argmax(1) == 1).all()


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("detector_loss", [slope, None])
def test_the_passes_that_are_foreseen_are_those_that_are_made(name, detector_loss):
    made_of = {"forward": 0, "backward": 0}

    def counted(answer: Tensor) -> Tensor:
        made_of["forward"] += len(answer)
        if answer.requires_grad:
            made_of["backward"] += len(answer)
        return answer

    class Counted(Corners):
        def forward(self, x: Tensor) -> Tensor:
            return counted(super().forward(x))

    system = victim(Counted(), None if detector_loss is None else lambda x: counted(detector_loss(x)))
    attack = made(name, steps=7, targets=2, restarts=2)
    attack.craft(system, MIDDLE, ZERO, Rng(0))
    foreseen = attack.passes()
    assert foreseen.at_most
    share = 0.9 if detector_loss is not None else 0.2
    assert share * foreseen.forward <= made_of["forward"] <= foreseen.forward
    assert share * foreseen.backward <= made_of["backward"] <= foreseen.backward


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("joint-pgd", {"weight": (0.9, 0.1)}, r"the smaller one first, such as \[0, 1\], found \[0.9, 0.1\]"),
        ("joint-pgd", {"weight": (0.0, 2.0)}, "two weights from 0 to 1 are needed"),
        ("orthogonal-pgd", {"restarts": 0}, "restarts"),
        ("selective-pgd", {"steps": 0}, "steps"),
    ],
)
def test_options_that_mean_no_search_are_refused(name, options, message):
    with pytest.raises(ValidationError, match=message):
        made(name, **options)


def test_the_projected_step_leaves_the_other_loss_as_it_is():
    # Both gradients lie in one plane and are 45 degrees apart: without the projection the detector's step would undo
    # the class again and again, with it the class stays at its border.
    orthogonal = made("orthogonal-pgd", project="detector", steps=200, step=0.002, norm="l2")
    found = orthogonal.craft(victim(Ramp()), MIDDLE, ZERO, Rng(0))
    assert found.flatten()[0].item() == pytest.approx(0.6, abs=0.01)
    assert slope(found).item() < 0.6 - 0.75
