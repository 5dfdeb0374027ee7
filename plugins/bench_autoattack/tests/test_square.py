"""The Square attack: its parts by hand, its promises, and that it is no weaker than the authors' code was measured."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from bench_autoattack.options import SquareOptions
from bench_autoattack.square import Square, _bump
from benchmark.attack import TOLERANCE, Victim, perturbation_size
from benchmark.model import Classifier, passes
from benchmark.randomness import Rng


def make(**chosen) -> Square:
    return Square(SquareOptions(**chosen))


def test_the_bump_is_that_of_the_paper():
    """Two halves of opposite sign, each of rings of 1/k^2 around its middle (Eq. 2); by hand for 5 x 5."""
    upper = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 1, 1]]) / 9
    upper[:, 1:4] += 1 / 4
    upper[1, 2] += 1
    lower = np.full((3, 5), 1 / 9)
    lower[:, 1:4] += 1 / 4
    lower[1, 2] += 1
    wanted = np.vstack([upper / np.linalg.norm(upper), -lower / np.linalg.norm(lower)])
    assert _bump(5, torch.zeros(())).numpy() == pytest.approx(wanted / np.linalg.norm(wanted), abs=1e-6)


@pytest.mark.parametrize(("norm", "eps", "authors"), [("linf", 0.12, 0.443), ("l2", 0.7, 0.500)])
def test_as_strong_as_the_authors_code(digits, norm, eps, authors):
    """`authors`: robust accuracy by max-andr/square-attack on these 64 images, 300 queries, mean of three seeds.

    It never draws the last row and column, which weighs on 8 x 8 pixels: no weaker is what can be asked. In l2 ART's
    code left 0.60.
    """
    few = digits.first(64)
    attack = make(norm=norm, eps=eps, steps=300)
    found = []
    for seed in (0, 1, 2):
        before = passes.copy()
        x_adv = attack.craft(few.victim, few.x, few.y, Rng(seed))
        used = passes - before
        with torch.no_grad():
            found.append(float((few.classifier(x_adv).argmax(1) == few.y).float().mean()))
        assert used.backward == 0  # scores only
        assert 64 * 2 < used.forward < 64 * attack.passes().forward
    assert attack.passes().at_most
    assert 0.2 < np.mean(found) <= authors + 1.96 * math.sqrt(authors * (1 - authors) / 64 / 3)
    more = make(norm=norm, eps=eps, steps=100, restarts=3).craft(few.victim, few.x, few.y, Rng(0))
    once = make(norm=norm, eps=eps, steps=100).craft(few.victim, few.x, few.y, Rng(0))
    assert (few.fooled(more) >= few.fooled(once)).all()
    assert few.fooled(more).sum() > few.fooled(once).sum()


@given(
    channels=st.integers(1, 3),
    height=st.integers(1, 14),
    width=st.integers(1, 14),
    norm=st.sampled_from(["linf", "l2"]),
    p_init=st.sampled_from([0.05, 0.3, 0.8, 0.95]),
    steps=st.integers(1, 12),
    seed=st.integers(0, 2**31),
)
def test_promises_on_images_of_any_shape(channels, height, width, norm, p_init, steps, seed):
    """Budget, range, seeds; what an image gets does not depend on the others, and wrong images stay as they are."""
    shape = (channels, height, width)
    with Rng(height * 100 + width).seeded_globals():
        network = nn.Sequential(nn.Flatten(), nn.Linear(channels * height * width, 3).double())
    double = nn.Sequential(_Double(), network)
    victim = Victim(Classifier(double, 3, shape).frozen(), 3, shape, torch.device("cpu"))
    x = torch.rand(5, *shape, generator=Rng(1).torch)
    with torch.no_grad():
        y = victim.classifier(x).argmax(1)
    y[0] = (y[0] + 1) % 3
    kept = x.clone()
    attack = make(norm=norm, eps=0.2, steps=steps, p_init=p_init)
    x_adv, again = (attack.craft(victim, x, y, Rng(seed)) for _ in range(2))
    assert torch.equal(x_adv, again)
    assert torch.equal(x, kept)
    assert torch.equal(x_adv[0], x[0])
    assert 0 <= x_adv.min() <= x_adv.max() <= 1
    assert (perturbation_size(x_adv - x, norm) <= 0.2 * (1 + TOLERANCE)).all()
    others = y.clone()
    others[3:] = (others[3:] + 1) % 3  # wrong already, so that they are not searched on
    assert torch.equal(attack.craft(victim, x, others, Rng(seed))[:3], x_adv[:3])


class _Double(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.double()


class _BreaksOnSquares(nn.Module):
    """Answers class 0 to images whose columns are of one grey each, and NaN to all others."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        uneven = x.std(2).flatten(1).amax(1) > 1e-6
        right = torch.tensor([1.0, 0.0]).expand(len(x), 2)
        return torch.where(uneven[:, None], torch.nan, right)


def test_a_network_that_answers_nan_on_the_way_is_shown_to_the_host():
    victim = Victim(Classifier(_BreaksOnSquares(), 2, (1, 8, 8)), 2, (1, 8, 8), torch.device("cpu"))
    x = torch.full((3, 1, 8, 8), 0.5)
    x_adv = make(norm="linf", eps=0.1, steps=30).craft(victim, x, torch.zeros(3, dtype=torch.int64), Rng(0))
    assert victim.classifier(x_adv).isnan().all()
