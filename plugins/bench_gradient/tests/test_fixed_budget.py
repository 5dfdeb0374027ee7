"""FGSM, BIM, PGD, MI-FGSM: agreement with two libraries, cost, budget, determinism."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.stats import binomtest
from torch import nn

import bench_gradient
from bench_gradient import options
from bench_gradient.fixed_budget import Bim, Fgsm, MiFgsm, Pgd
from benchmark.attack import TOLERANCE, Attack, Victim, perturbation_size
from benchmark.model import Classifier, passes
from benchmark.plugins import Provenance, Registry
from benchmark.randomness import Rng

EPS = {"linf": 0.15, "l2": 0.8}
ATTACKS: dict[str, type[Any]] = {"fgsm": Fgsm, "bim": Bim, "pgd": Pgd, "mi-fgsm": MiFgsm}


def make(name: str, **chosen) -> Attack:
    kind = ATTACKS[name]
    return kind(kind.Options(**chosen))


def run_art(name: str, digits, norm: str, eps: float, step: float, steps: int, seed: int) -> torch.Tensor:
    """Call the Adversarial Robustness Toolbox directly, as its documentation says."""
    from art.attacks.evasion import FastGradientMethod, MomentumIterativeMethod, ProjectedGradientDescent
    from art.estimators.classification import PyTorchClassifier

    estimator = PyTorchClassifier(
        digits.classifier, nn.CrossEntropyLoss(), (1, 8, 8), 10, clip_values=(0, 1), device_type="cpu"
    )
    common = {"norm": {"linf": np.inf, "l2": 2}[norm], "eps": eps, "batch_size": len(digits.x)}
    iterated = {**common, "eps_step": step, "max_iter": steps, "verbose": False}
    attack = {
        "fgsm": lambda: FastGradientMethod(estimator, **common),
        "bim": lambda: ProjectedGradientDescent(estimator, **iterated),
        "pgd": lambda: ProjectedGradientDescent(estimator, **iterated, num_random_init=1),
        "mi-fgsm": lambda: MomentumIterativeMethod(estimator, **iterated, decay=1.0),
    }[name]()
    state = np.random.get_state()
    np.random.seed(seed)
    x_adv = attack.generate(digits.x.numpy(), digits.y.numpy())
    np.random.set_state(state)
    return torch.from_numpy(x_adv)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("name", ATTACKS)
# ART divides the gradient by the number of images. That is exact for 64; for other numbers it rounds, which can turn
# the sign of a gradient near 0, so there the network computes in float64.
@pytest.mark.parametrize(("fixture", "count"), [("digits", 64), ("digits64", 50)])
def test_agrees_with_art(request, fixture, count, name, norm):
    digits = request.getfixturevalue(fixture).first(count)
    eps = EPS[norm]
    steps = {} if name == "fgsm" else {"step": eps / 4, "steps": 10, "keep": "last"}
    ours = make(name, norm=norm, eps=eps, **steps).craft(digits.victim, digits.x, digits.y, Rng(11))
    theirs = run_art(name, digits, norm, eps, eps / 4, 10, seed=11)
    assert (ours - theirs).abs().max() <= 1e-6
    assert digits.fooled(ours).any()


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_restarts_agree_with_art(digits64, norm):
    from art.attacks.evasion import ProjectedGradientDescent
    from art.estimators.classification import PyTorchClassifier

    digits = digits64.first(64)
    eps = EPS[norm] / 2
    common = {"norm": norm, "eps": eps, "step": eps / 4, "steps": 5, "keep": "last"}
    attack = make("pgd", **common, restarts=3)
    ours = attack.craft(digits.victim, digits.x, digits.y, Rng(3))
    estimator = PyTorchClassifier(digits.classifier, nn.CrossEntropyLoss(), (1, 8, 8), 10, clip_values=(0, 1))
    library = ProjectedGradientDescent(
        estimator, {"linf": np.inf, "l2": 2}[norm], eps, eps / 4, max_iter=5, num_random_init=3, verbose=False,
        batch_size=64,
    )  # fmt: skip
    with Rng(3).seeded_globals():
        theirs = torch.from_numpy(library.generate(digits.x.numpy(), digits.y.numpy()))
    # ART keeps the last success, and the first start where none succeeds: the same images are fooled.
    assert torch.equal(digits.fooled(ours), digits.fooled(theirs))
    single = make("pgd", **common).craft(digits.victim, digits.x, digits.y, Rng(3))
    once = digits.fooled(single)
    assert digits.fooled(ours)[once].all()
    assert torch.equal(ours[once], single[once])


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("name", ATTACKS)
def test_success_rate_agrees_with_foolbox(digits, name, norm):
    import foolbox
    import foolbox.attacks as theirs

    eps, steps, step = EPS[norm], 10, EPS[norm] / 4
    common = {"abs_stepsize": step, "steps": steps}
    attack = {
        ("fgsm", "linf"): lambda: theirs.LinfFastGradientAttack(),
        ("fgsm", "l2"): lambda: theirs.L2FastGradientAttack(),
        ("bim", "linf"): lambda: theirs.LinfBasicIterativeAttack(**common),
        ("bim", "l2"): lambda: theirs.L2BasicIterativeAttack(**common),
        ("pgd", "linf"): lambda: theirs.LinfPGD(**common),
        ("pgd", "l2"): lambda: theirs.L2PGD(**common),
        ("mi-fgsm", "linf"): lambda: theirs.LinfMomentumIterativeFastGradientMethod(**common),
        ("mi-fgsm", "l2"): lambda: theirs.L2MomentumIterativeFastGradientMethod(**common),
    }[name, norm]()
    with Rng(5).seeded_globals():
        model = foolbox.PyTorchModel(digits.classifier, bounds=(0, 1), device="cpu")
        _, x_theirs, _ = attack(model, digits.x, digits.y, epsilons=eps)
    chosen = {} if name == "fgsm" else {"step": step, "steps": steps, "keep": "last"}
    x_ours = make(name, norm=norm, eps=eps, **chosen).craft(digits.victim, digits.x, digits.y, Rng(5))
    n = int(digits.right.sum())
    ours, other = (binomtest(int(digits.fooled(x_adv).sum()), n) for x_adv in (x_ours, x_theirs))
    assert n > 250
    assert 0.1 < other.statistic < 0.98  # a rate at which an interval says something
    for one, two in [(ours, other), (other, ours)]:
        interval = two.proportion_ci(0.95, method="wilson")
        assert interval.low <= one.statistic <= interval.high


@pytest.mark.parametrize("keep", ["best", "last"])
@pytest.mark.parametrize("name", ATTACKS)
def test_passes_are_exact(digits, name, keep):
    few = digits.first(20)
    attack = make(name, eps=0.1, **({} if name == "fgsm" else {"steps": 7, "keep": keep}))
    before = passes.copy()
    attack.craft(few.victim, few.x, few.y, Rng(0))
    used = passes - before
    expected = attack.passes()
    assert not expected.at_most
    assert (used.forward, used.backward) == (20 * expected.forward, 20 * expected.backward)


def test_restarts_leave_fooled_images_alone(digits):
    attack = make("pgd", eps=0.25, steps=5, restarts=4)
    most = attack.passes()
    assert most.at_most
    before = passes.copy()
    x_adv = attack.craft(digits.victim, digits.x, digits.y, Rng(0))
    used = passes - before
    n = len(digits.x)
    with torch.no_grad():
        survivors = int((digits.classifier(x_adv).argmax(1) == digits.y).sum())
    # At least the first start for all and four starts for the survivors, never all four for all.
    assert 5 * n + 15 * survivors <= used.backward < 20 * n
    assert used.backward < used.forward < n * most.forward
    assert most.backward == 20


@given(
    name=st.sampled_from(list(ATTACKS)),
    norm=st.sampled_from(["linf", "l2"]),
    eps=st.floats(1e-3, 1),
    step=st.floats(1e-4, 3),
    steps=st.integers(1, 4),
    seed=st.integers(0, 2**31),
)
def test_stays_in_budget_and_range(digits, name, norm, eps, step, steps, seed):
    few = digits.first(6)
    chosen = {} if name == "fgsm" else {"step": step, "steps": steps}
    x_adv = make(name, norm=norm, eps=eps, **chosen).craft(few.victim, few.x, few.y, Rng(seed))
    assert x_adv.shape == few.x.shape
    assert x_adv.dtype == torch.float32
    assert x_adv.min() >= 0
    assert x_adv.max() <= 1
    assert (perturbation_size(x_adv - few.x, norm) <= eps * (1 + TOLERANCE) + 1e-7).all()


@pytest.mark.parametrize("name", ATTACKS)
def test_same_seed_same_bytes_and_input_untouched(digits, name):
    few = digits.first(30)
    kept = few.x.clone()
    attack = make(name, eps=0.1)
    one, two, other = (attack.craft(few.victim, few.x, few.y, Rng(seed)) for seed in (1, 1, 2))
    assert one.numpy().tobytes() == two.numpy().tobytes()
    assert torch.equal(one, other) == (name != "pgd")
    assert torch.equal(few.x, kept)
    assert not one.requires_grad


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("name", ["fgsm", "bim", "mi-fgsm"])
def test_does_not_depend_on_the_batch(digits64, name, norm):
    few = digits64.first(60)
    attack = make(name, norm=norm, eps=EPS[norm])
    whole = attack.craft(few.victim, few.x, few.y, Rng(0))
    halves = [attack.craft(few.victim, few.x[part], few.y[part], Rng(0)) for part in (slice(0, 23), slice(23, 60))]
    assert (whole - torch.cat(halves)).abs().max() <= 1e-5


def test_bim_l2_is_equation_3_of_i_defender():
    """project{x + alpha * gradient / ||gradient||_2} into the l2 ball, on a linear network whose gradient is known."""
    weights = torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.0, 2.0, 0.0, 0.0]])
    linear = nn.Linear(4, 2, bias=False)
    linear.weight.data = weights
    classifier = Classifier(nn.Sequential(nn.Flatten(), linear), 2, (1, 2, 2)).frozen()
    victim = Victim(classifier, 2, (1, 2, 2), torch.device("cpu"))
    x = torch.full((1, 1, 2, 2), 0.5)
    direction = (weights[1] - weights[0]).view(1, 1, 2, 2) / (weights[1] - weights[0]).norm()
    inside = make("bim", norm="l2", eps=0.3, step=0.1, steps=2).craft(victim, x, torch.tensor([0]), Rng(0))
    assert torch.allclose(inside, x + 0.2 * direction, atol=1e-6)
    projected = make("bim", norm="l2", eps=0.3, step=0.1, steps=10).craft(victim, x, torch.tensor([0]), Rng(0))
    assert torch.allclose(projected, x + 0.3 * direction, atol=1e-6)


def test_mi_fgsm_without_memory_is_bim(digits):
    few = digits.first(40)
    common = {"eps": 0.1, "step": 0.03, "steps": 6}
    bim = make("bim", **common).craft(few.victim, few.x, few.y, Rng(0))
    momentum = make("mi-fgsm", decay=0.0, **common).craft(few.victim, few.x, few.y, Rng(0))
    assert torch.equal(bim, momentum)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("name", ["bim", "mi-fgsm", "pgd"])
def test_keeps_the_best_point_on_the_way(digits, name, norm):
    """By default no image is attacked more weakly than by the last point, and with large steps many more strongly."""
    common = {"norm": norm, "eps": EPS[norm] / 3, "step": EPS[norm], "steps": 6}
    x_adv = {
        keep: make(name, **common, **chosen).craft(digits.victim, digits.x, digits.y, Rng(2))
        for keep, chosen in (("best", {}), ("last", {"keep": "last"}))
    }
    fooled = {keep: digits.fooled(found) for keep, found in x_adv.items()}
    assert (fooled["best"] >= fooled["last"]).all()
    with torch.no_grad():
        loss = {
            k: nn.functional.cross_entropy(digits.classifier(x), digits.y, reduction="none") for k, x in x_adv.items()
        }
    same = fooled["best"] == fooled["last"]
    assert (loss["best"] >= loss["last"] - 1e-5)[same].all()
    assert (loss["best"] > loss["last"] + 1e-3).sum() > 5
    # Of several starts that all fail the best is kept as well.
    if name == "pgd":
        more = make(name, **common, restarts=3).craft(digits.victim, digits.x, digits.y, Rng(2))
        with torch.no_grad():
            after = nn.functional.cross_entropy(digits.classifier(more), digits.y, reduction="none")
        assert (digits.fooled(more) >= fooled["best"]).all()
        both = digits.fooled(more) == fooled["best"]
        assert (after >= loss["best"] - 1e-5)[both].all()


@pytest.mark.parametrize("name", ["bim", "mi-fgsm", "pgd"])
def test_default_steps_spend_the_l2_budget(digits, name):
    """Steps of eps / steps rarely come to the edge of the ball: as strong as steps of eps / 4, found by hand."""
    rates = [
        digits.fooled(
            make(name, norm="l2", eps=0.4, steps=10, **chosen).craft(digits.victim, digits.x, digits.y, Rng(0))
        ).sum()
        for chosen in ({}, {"step": 0.1}, {"step": 0.04})
    ]
    assert rates[0] >= 0.97 * rates[1] > 1.1 * rates[2]


def test_default_steps():
    for name in ("bim", "mi-fgsm", "pgd"):
        assert make(name, eps="8/255", steps=20).options.step_size == pytest.approx(2.5 * 8 / 255 / 20)
        assert make(name, eps=0.1, steps=1).options.step_size == pytest.approx(0.1)
    assert make("pgd", eps=0.1, step=2.0).options.step_size == 2.0  # UnMask's released code steps by 2


@pytest.mark.parametrize(
    ("kind", "chosen", "message"),
    [
        (options.FgsmOptions, {}, "eps"),
        (options.FgsmOptions, {"eps": 8}, "8/255"),
        (options.FgsmOptions, {"eps": 0.1, "norm": "l1"}, "linf"),
        (options.PgdOptions, {"eps": 0.1, "stepps": 3}, "stepps"),
        (options.PgdOptions, {"eps": 0.1, "steps": 0}, "steps"),
        (options.PgdOptions, {"eps": 0.1, "restarts": 5, "random_start": False}, "random_start"),
    ],
)
def test_refuses_unusable_options(kind, chosen, message):
    with pytest.raises(ValidationError, match=message):
        kind(**chosen)


def test_everything_registered_can_be_loaded():
    registry = Registry()
    registry.add_module("gradient", bench_gradient, Provenance("bench_gradient", "unmask-bench", "0"))
    assert registry.names("attack") == ["bim", "cw-l2", "cw-linf", "deepfool", "fgsm", "mi-fgsm", "pgd"]
    for registration in registry.all("attack"):
        assert registration.options_type() is registration.load().Options
        assert registration.summary
        assert registration.version


def test_options_import_no_torch():
    code = "import sys, bench_gradient, bench_gradient.options; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
