"""DeepFool and Carlini & Wagner: closed forms on a linear network, agreement with foolbox, promises of the frame."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import nn

from bench_gradient import options
from bench_gradient.fixed_budget import Pgd
from bench_gradient.minimum_norm import CarliniWagnerL2, CarliniWagnerLinf, DeepFool
from benchmark.attack import Attack, Victim, perturbation_size
from benchmark.model import Classifier, passes
from benchmark.options import Budget
from benchmark.randomness import Rng

ATTACKS: dict[str, type[Any]] = {"deepfool": DeepFool, "cw-l2": CarliniWagnerL2, "cw-linf": CarliniWagnerLinf}
FAST = {
    "deepfool": {},
    "cw-l2": {"steps": 60, "binary_search_steps": 2},
    "cw-linf": {"steps": 30, "learning_rate": 0.1, "decrease_factor": 0.5},
}


def make(name: str, **chosen) -> Attack:
    kind = ATTACKS[name]
    return kind(kind.Options(**chosen))


def linear_victim(seed: int) -> tuple[Victim, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Three classes on 2x2 images; returns victim, images near grey, labels and the two gaps' normals (n, 2, 4)."""
    weights = torch.from_numpy(Rng(seed).numpy.uniform(-1, 1, (3, 4))).float()
    linear = nn.Linear(4, 3, bias=False)
    linear.weight.data = weights
    victim = Victim(Classifier(nn.Sequential(nn.Flatten(), linear), 3, (1, 2, 2)).frozen(), 3, (1, 2, 2),
                    torch.device("cpu"))  # fmt: skip
    x = torch.from_numpy(Rng(seed).spawn("x").numpy.uniform(0.4, 0.6, (20, 1, 2, 2))).float()
    y = victim.classifier(x).argmax(1)
    others = torch.stack([torch.tensor([k for k in range(3) if k != label]) for label in y])
    return victim, x, y, weights[others] - weights[y][:, None]


def distance_to_boundary(x: torch.Tensor, normals: torch.Tensor, dual: float) -> torch.Tensor:
    """(n,) smallest perturbation of a linear network in the norm whose dual is given, no bounds on pixels."""
    gaps = -(normals @ x.flatten(1)[:, :, None]).squeeze(2)
    return (gaps / normals.norm(p=dual, dim=2)).amin(1)


@pytest.mark.parametrize(("name", "norm", "dual", "slack"), [
    ("deepfool", "l2", 2.0, 1.03),  # overshoot 0.02 and the constant that leaves the boundary
    ("cw-l2", "l2", 2.0, 1.05),
    ("cw-linf", "linf", 1.0, 1.15),  # the bound shrinks by a factor of 0.9
])  # fmt: skip
def test_finds_the_smallest_perturbation_of_a_linear_network(name, norm, dual, slack):
    chosen = {"cw-l2": {"learning_rate": 0.01, "steps": 300, "binary_search_steps": 9},
              "cw-linf": {"learning_rate": 0.01, "steps": 300}}.get(name, {})  # fmt: skip
    victim, x, y, normals = linear_victim(3)
    smallest = distance_to_boundary(x, normals, dual)
    reachable = (smallest < 0.25) & (smallest > 0.03)  # away from black and white, and more than a few grey levels
    assert reachable.sum() >= 8
    x_adv = make(name, **chosen).craft(victim, x, y, Rng(0))
    assert (victim.classifier(x_adv).argmax(1) != y)[reachable].all()
    size = perturbation_size(x_adv - x, norm)[reachable]
    assert (size >= smallest[reachable] * 0.999).all()
    assert (size <= smallest[reachable] * slack + 2e-3).all()


def test_deepfool_agrees_with_foolbox(digits):
    import foolbox

    right = digits.right
    x, y = digits.x[right][:100], digits.y[right][:100]
    model = foolbox.PyTorchModel(digits.classifier, bounds=(0, 1), device="cpu")
    for candidates in (10, 4):
        theirs = foolbox.attacks.L2DeepFoolAttack(candidates=candidates)(model, x, y, epsilons=None)[0]
        ours = make("deepfool", candidates=candidates).craft(digits.victim, x, y, Rng(0))
        assert (ours - theirs).abs().max() < 1e-4
        assert (digits.classifier(ours).argmax(1) != y).all()


def test_carlini_wagner_l2_agrees_with_foolbox(digits):
    import foolbox

    right = digits.right
    x, y = digits.x[right][:60], digits.y[right][:60]
    model = foolbox.PyTorchModel(digits.classifier, bounds=(0, 1), device="cpu")
    chosen = {"binary_search_steps": 4, "steps": 60, "initial_const": 1.0, "confidence": 0.5}
    attack = foolbox.attacks.L2CarliniWagnerAttack(stepsize=0.05, abort_early=False, **chosen)
    theirs: Any = attack(model, x, y, epsilons=None)[0]
    ours = make("cw-l2", learning_rate=0.05, **chosen).craft(digits.victim, x, y, Rng(0))
    # foolbox returns black images where it finds nothing.
    found = digits.classifier(theirs).argmax(1) != y
    found &= theirs.flatten(1).amax(1) > 0
    assert found.sum() > 50
    assert torch.equal((ours != x).flatten(1).any(1), found)
    sizes = [perturbation_size(x_adv - x, "l2")[found] for x_adv in (ours, theirs)]
    assert (sizes[0] - sizes[1]).abs().max() < 1e-3
    logits = digits.classifier(ours[found])
    others = logits.scatter(1, y[found][:, None], -torch.inf).amax(1)
    assert (others - logits.gather(1, y[found][:, None]).squeeze(1) >= 0.5 - 1e-4).all()


@pytest.mark.parametrize(("name", "norm"), [("deepfool", "l2"), ("cw-l2", "l2"), ("cw-linf", "linf")])
def test_beyond_eps_counts_as_failed(digits, name, norm):
    few = digits.first(60)
    free = make(name, **FAST[name]).craft(few.victim, few.x, few.y, Rng(0))
    size = perturbation_size(free - few.x, norm)
    eps = float(size[few.fooled(free)].median())
    bounded = make(name, eps=eps, **FAST[name]).craft(few.victim, few.x, few.y, Rng(0))
    kept = size <= eps
    assert few.fooled(bounded).any()
    assert torch.equal(bounded[kept], free[kept])
    assert torch.equal(bounded[~kept], few.x[~kept])


@pytest.mark.parametrize("name", ATTACKS)
def test_frame(digits, name):
    """Misclassified images stay, the range holds, the same input gives the same bytes."""
    few = digits.first(40)
    y = few.y.clone()
    y[:5] = (y[:5] + 1) % 10  # as if the network were wrong about these
    kept = few.x.clone()
    attack = make(name, **FAST[name])
    one, two = (attack.craft(few.victim, few.x, y, Rng(seed)) for seed in (0, 1))
    assert torch.equal(one[:5], few.x[:5])
    assert few.fooled(one)[5:].float().mean() > 0.8
    assert one.min() >= 0
    assert one.max() <= 1
    assert one.numpy().tobytes() == two.numpy().tobytes()
    assert torch.equal(few.x, kept)
    assert not one.requires_grad
    bound = attack.passes()
    assert bound is None or bound.at_most
    nothing = attack.craft(few.victim, few.x[:5], y[:5], Rng(0))
    assert torch.equal(nothing, few.x[:5])


@pytest.mark.parametrize("name", ATTACKS)
def test_does_not_depend_on_the_batch(digits64, name):
    few = digits64.first(30)
    attack = make(name, **FAST[name])
    whole = attack.craft(few.victim, few.x, few.y, Rng(0))
    halves = [attack.craft(few.victim, few.x[part], few.y[part], Rng(0)) for part in (slice(0, 11), slice(11, 30))]
    assert (whole - torch.cat(halves)).abs().max() <= 1e-5


def test_deepfool_costs_what_each_image_needs(digits64):
    """The cost is that of the steps each image needs, not of the slowest one times the batch."""
    few = digits64.first(40)
    attack = make("deepfool")
    before = passes.copy()
    attack.craft(few.victim, few.x, few.y, Rng(0))
    together = passes - before
    before = passes.copy()
    for x, y in zip(few.x.split(1), few.y.split(1), strict=True):
        attack.craft(few.victim, x, y, Rng(0))
    assert together == passes - before
    steps = (together.forward - 40) / 2  # a pass to look, then two per step
    assert together.backward == 9 * steps


@pytest.mark.parametrize(("chosen", "points"), [
    ({"initial_const": 10.0, "steps": 100, "learning_rate": 0.05}, 0.05),  # a weight far too large to begin with
    ({"initial_const": 10.0, "largest_const": 10.0, "steps": 30, "learning_rate": 0.2}, 0.15),  # and few, wide steps
])  # fmt: skip
def test_carlini_wagner_linf_leaves_what_pgd_leaves(digits, chosen, points):
    """Wherever its search for the weight begins: a bound that failed at one weight is tried at others."""
    few = digits.first(40)
    attacked = make("cw-linf", eps=0.2, **chosen).craft(few.victim, few.x, few.y, Rng(0))
    pgd = Pgd(options.PgdOptions(eps=Budget(0.2), steps=40)).craft(few.victim, few.x, few.y, Rng(0))
    share = 1 / few.right.sum()
    assert (few.fooled(pgd).sum() - few.fooled(attacked).sum()) * share <= points


def test_no_weight_to_try_is_refused():
    with pytest.raises(
        ValidationError, match=r"initial_const: 1\.0 is larger than largest_const: 0\.1.*lower the first"
    ):
        options.CarliniWagnerLinfOptions(initial_const=1.0, largest_const=0.1)
    options.CarliniWagnerLinfOptions(initial_const=0.1, largest_const=0.1)  # one weight, held


@given(seed=st.integers(0, 2**31), confidence=st.floats(0, 3))
@settings(max_examples=15)
def test_confidence_is_kept(seed, confidence):
    victim, x, y, _ = linear_victim(seed)
    x_adv = make("cw-l2", confidence=confidence, steps=30, binary_search_steps=2).craft(victim, x, y, Rng(0))
    moved = (x_adv != x).flatten(1).any(1)
    logits = victim.classifier(x_adv)[moved]
    others = logits.scatter(1, y[moved][:, None], -torch.inf).amax(1)
    assert (others - logits.gather(1, y[moved][:, None]).squeeze(1) >= confidence - 1e-5).all()


def test_needs_no_eps_and_knows_its_norm():
    assert options.DeepFoolOptions().eps is None
    with pytest.raises(ValidationError, match="l2"):
        options.DeepFoolOptions(norm="linf")
    with pytest.raises(ValidationError, match="8/255"):
        options.CarliniWagnerLinfOptions(eps=8)
