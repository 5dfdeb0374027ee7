"""AutoAttack and its parts: promises, what masks gradients, what is spent, refusals, rows of a run."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from inline import run_inline
from scipy.optimize import linprog, minimize
from torch import nn

from bench_autoattack.apgd import ApgdCe, ApgdDlr, ApgdT, targeted_dlr
from bench_autoattack.autoattack import AutoAttack
from bench_autoattack.fab import FabT, shortest_move
from bench_autoattack.malt import Malt
from bench_autoattack.square import Square
from benchmark import DataFacts, Setting
from benchmark.attack import TOLERANCE, Victim, perturbation_size
from benchmark.cli import main
from benchmark.errors import InputError
from benchmark.gradient import classification_loss
from benchmark.model import Classifier, passes
from benchmark.plugins import load_plugins
from benchmark.randomness import Rng
from benchmark.suite import load_suite
from suites import write_suite

EPS = {"linf": 0.12, "l2": 0.7}


def make(kind, **chosen):
    return kind(kind.Options(**chosen))


def few_steps(norm: str) -> list:
    """Return the parts of AutoAttack with few steps."""
    return [
        make(ApgdCe, norm=norm, eps=EPS[norm], steps=9, restarts=2, early_stop=True),
        make(ApgdDlr, norm=norm, eps=EPS[norm], steps=9),
        make(ApgdT, norm=norm, eps=EPS[norm], steps=5, targets=3),
        make(Malt, norm=norm, eps=EPS[norm], steps=5, targets=3, candidates=4),
        make(FabT, norm=norm, eps=EPS[norm], steps=5, targets=3),
        make(FabT, norm=norm, steps=5, targets=2),
        make(Square, norm=norm, eps=EPS[norm], steps=30, horizon=60),
    ]


class Slopes(nn.Module):
    """Class 1 comes second and hardly moves; class 3 comes last, and is reached first, as class 2 is not."""

    def forward(self, x):
        level = x.flatten(1).mean(1, keepdim=True)
        return torch.cat([1 + 0 * level, 0.9 + 0.1 * (level - 0.5), 0.5 + 2 * (level - 0.5), 8 * (level - 0.5)], 1)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_malt_aims_at_the_nearest_boundary_and_not_at_the_likeliest_class(norm):
    victim = Victim(Slopes(), 4, (1, 4, 4), torch.device("cpu"))
    x, y = torch.full((3, 1, 4, 4), 0.5), torch.zeros(3, dtype=torch.int64)
    usual = {"norm": norm, "eps": 0.15 if norm == "linf" else 0.6, "steps": 10, "targets": 1}
    likeliest, nearest = (
        make(ApgdT, **usual).craft(victim, x, y, Rng(0)),
        make(Malt, **usual).craft(victim, x, y, Rng(0)),
    )
    assert (victim.classifier(likeliest).argmax(1) == y).all()
    assert (victim.classifier(nearest).argmax(1) == 3).all()
    # Where two are compared, the likeliest ones, the last class is not among them.
    few = make(Malt, candidates=2, **usual).craft(victim, x, y, Rng(0))
    assert (victim.classifier(few).argmax(1) == y).all()


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_promises(robust, norm):
    """Budget, range, seeds, cost; wrong images stay; what an image gets does not depend on the others."""
    few = robust.first(40)
    for attack in few_steps(norm):
        kept = few.x.clone()
        before = passes.copy()
        x_adv = attack.craft(few.victim, few.x, few.y, Rng(5))
        used, most = passes - before, attack.passes()
        assert most.at_most
        assert used.forward <= 40 * most.forward
        assert used.backward <= 40 * most.backward
        assert torch.equal(x_adv, attack.craft(few.victim, few.x, few.y, Rng(5)))
        assert torch.equal(few.x, kept)
        assert not torch.equal(x_adv, few.x)
        assert 0 <= x_adv.min() <= x_adv.max() <= 1
        if attack.options.eps is not None:
            assert (perturbation_size(x_adv - few.x, norm) <= EPS[norm] * (1 + TOLERANCE)).all()
        # Every second image counts as wrong already: it stays, and the others get what they got.
        y = few.y.clone()
        y[1::2] = few.classifier(few.x[1::2]).argmax(1) + 1
        y %= 10
        alone = attack.craft(few.victim, few.x, y, Rng(5))
        assert torch.equal(alone[1::2], few.x[1::2])
        assert (alone[::2] - x_adv[::2]).abs().max() < 1e-6


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_no_image_is_attacked_once_it_is_fooled(digits, norm):
    """At a budget at which the first steps fool all, the whole ensemble costs a few passes per image."""
    attack = make(AutoAttack, norm=norm, eps=5 * EPS[norm], early_stop=True)
    before = passes.copy()
    x_adv = attack.craft(digits.victim, digits.x, digits.y, Rng(0))
    used = passes - before
    assert not digits.is_right(x_adv).any()
    assert used.forward < 10 * len(digits.x)
    wrong = ~digits.is_right(digits.x)
    assert wrong.any()
    assert torch.equal(x_adv[wrong], digits.x[wrong])


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_of_what_stands_the_best_point_of_all_searches_is_returned(robust, norm):
    """More starts, or more classes, never leave a point whose loss is lower."""
    few = robust.first(60)

    def crafted(kind, **chosen):
        attack = make(kind, norm=norm, eps=EPS[norm] / 2, steps=4, **chosen)
        return attack.craft(few.victim, few.x, few.y, Rng(0))

    def likeliest(x):
        logits = few.classifier(few.x).scatter(1, few.y[:, None], -torch.inf)
        return torch.stack([targeted_dlr(few.classifier(x), few.y, target) for target in logits.topk(3).indices.T])

    with torch.no_grad():
        one, several = crafted(ApgdCe), crafted(ApgdCe, restarts=5)
        stands = few.is_right(one) & few.is_right(several)
        assert stands.sum() > 20
        loss = classification_loss(few.classifier, few.y)
        assert (loss(several) - loss(one))[stands].min() > -1e-6
        assert (loss(several) - loss(one))[stands].max() > 1e-3
        one, several = crafted(ApgdT, targets=1), crafted(ApgdT, targets=3)
        stands = few.is_right(one) & few.is_right(several)
        assert stands.sum() > 20
        assert (likeliest(several).amax(0) - likeliest(one)[0])[stands].min() > -1e-6


def test_unless_told_to_stop_a_search_goes_on_behind_the_boundary(digits):
    """As the authors' code does: the images are of another class by more."""
    few, margins = digits.first(40), []
    for stop in ({}, {"early_stop": True}):
        x_adv = make(AutoAttack, eps=EPS["linf"], **stop).parts[0].craft(few.victim, few.x, few.y, Rng(0))
        logits = few.classifier(x_adv).detach()
        margins.append(logits.amax(1) - logits.gather(1, few.y[:, None]).squeeze(1))
        wrong = few.fooled(x_adv)
    assert wrong.sum() > 10
    assert (margins[0][wrong] > margins[1][wrong]).float().mean() > 0.9


class Broken(nn.Module):
    """Two classes along one direction, without a number where the image is darker than some level."""

    def forward(self, x):
        level = x.flatten(1).mean(1, keepdim=True)
        return torch.cat([level - 0.4, 0.4 - level], 1).where(level > 0.6, torch.nan)


@pytest.mark.parametrize("eps", [None, 0.3])
def test_fab_returns_an_image_whose_answer_is_not_a_number(eps):
    """The host must see that: the clean image would count as robust."""
    victim = Victim(Classifier(Broken(), 2, (1, 3, 3)).frozen(), 2, (1, 3, 3), torch.device("cpu"))
    x = torch.full((2, 1, 3, 3), 0.8)
    x_adv = make(FabT, eps=eps, steps=3).craft(victim, x, torch.zeros(2, dtype=torch.int64), Rng(0))
    assert victim.classifier(x_adv).isnan().all()


class Linear(nn.Module):
    """Ten classes along one direction: what stands within eps can be told."""

    def __init__(self, slope: float) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(slope))

    def forward(self, x):
        level = self.slope * (x.flatten(1).mean(1, keepdim=True) - 0.5)
        return torch.cat([level, -level, (-level - 50).expand(-1, 8)], 1)


@pytest.mark.slow
def test_what_nothing_fools_costs_what_is_foreseen_and_is_returned_as_it_is():
    victim = Victim(Classifier(Linear(1.0), 10, (1, 3, 3)).frozen(), 10, (1, 3, 3), torch.device("cpu"))
    x = torch.full((2, 1, 3, 3), 0.8)
    x[1] = 0.55
    attack = make(AutoAttack, eps=0.1, early_stop=True)
    before = passes.copy()
    x_adv = attack.craft(victim, x, torch.zeros(2, dtype=torch.int64), Rng(0))
    used, most = passes - before, attack.passes()
    assert torch.equal(x_adv[0], x[0])
    assert victim.classifier(x_adv).argmax(1).tolist() == [0, 1]
    assert (most.forward, most.backward) == (1 + 101 + 9 * 101 + 9 * 200 + 5000, 100 + 9 * 100 + 9 * 100)
    assert most.forward - 10 < used.forward < most.forward + 20
    assert most.backward < used.backward < most.backward + 20
    randomised = make(AutoAttack, eps=0.1, version="rand").passes()
    assert (randomised.forward, randomised.backward) == (1 + 2 * 2002, 2 * 2000)


class Head(nn.Module):
    """Logits times a factor, in float32."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, logits):
        return logits.float() * self.factor


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("factor", [1e3, 1e-9])
def test_scaled_logits_hide_nothing(digits, norm, factor):
    """Where the softmax saturates or gradients underflow, all but the cross-entropy find what they find without."""
    few, masked = digits.first(40), digits.behind(Head(factor)).first(40)
    for kind, chosen in ((ApgdDlr, {}), (ApgdT, {"targets": 2}), (FabT, {"targets": 2})):
        attack = make(kind, norm=norm, eps=EPS[norm] / 2, steps=15, **chosen)
        plain = few.fooled(attack.craft(few.victim, few.x, few.y, Rng(0)))
        found = masked.fooled(attack.craft(masked.victim, few.x, few.y, Rng(0)))
        assert 5 < plain.sum() < 35
        assert found.sum() >= plain.sum() - 1
    if factor > 1:
        blind = make(ApgdCe, norm=norm, eps=EPS[norm] / 2, steps=15)
        assert masked.fooled(blind.craft(masked.victim, few.x, few.y, Rng(0))).sum() < plain.sum() - 5


class Noisy(nn.Module):
    """Logits of the image with fresh noise on it in each pass."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x):
        return self.network((x + 0.5 * torch.randn_like(x)).clamp(0, 1))


class Lucky(nn.Module):
    """Answers wrongly wherever a gradient is taken, and rightly to every other look: class 0."""

    def forward(self, x):
        wrong = (x.flatten(1).mean(1) * 0 + torch.is_grad_enabled())[:, None]
        return torch.cat([1 - wrong, wrong, 0 * wrong], 1)


def test_of_a_randomised_network_what_one_more_look_answers_rightly_stands():
    """As from the authors' code, which returns the images themselves then."""
    x, y = torch.full((2, 1, 2, 2), 0.5), torch.zeros(2, dtype=torch.int64)
    victim = Victim(Lucky(), 3, (1, 2, 2), torch.device("cpu"))
    attack = make(ApgdCe, eps=0.1, draws=2, early_stop=False)
    assert not torch.equal(attack.craft(victim, x, y, Rng(0)), x)
    assert torch.equal(make(AutoAttack, eps=0.1, version="rand").craft(victim, x, y, Rng(0)), x)


def test_gradients_are_means_over_draws(digits):
    """Of a randomised network the mean over draws points better than one draw."""
    few = digits.first(60)
    victim = replace(few.victim, classifier=Noisy(few.classifier))
    left = []
    with Rng(0).seeded_globals():
        for draws in (1, 15):
            before = passes.copy()
            attack = make(ApgdCe, eps=0.12, steps=12, draws=draws)
            x_adv = attack.craft(victim, few.x, few.y, Rng(1))
            assert (passes - before).backward <= 60 * 12 * draws
            with torch.no_grad():
                right = [(victim.classifier(x_adv).argmax(1) == few.y).float().mean() for _ in range(20)]
            left.append(float(np.mean(right)))
    assert left[1] < left[0] - 0.03


@given(size=st.integers(1, 6), seed=st.integers(0, 2**31), norm=st.sampled_from(["linf", "l2"]))
def test_moves_to_hyperplanes_are_the_shortest(size, seed, norm):
    """Beside solvers of linear and quadratic programs."""
    draw = np.random.RandomState(seed)
    point, normal = draw.uniform(0, 1, size), draw.randn(size) * (draw.uniform(size=size) > 0.2)
    reach = np.sum(np.where(normal > 0, normal * (1 - point), -normal * point))
    value = -reach * draw.uniform(0, 1.3)
    flip = draw.choice([-1, 1])  # the hyperplane may lie on either side
    points, normals = (torch.from_numpy(values[None]) for values in (point, flip * normal))
    found = shortest_move(points, normals, torch.tensor([flip * value]), norm)[0].numpy()
    inside = point + found
    assert (inside >= -1e-9).all()
    assert (inside <= 1 + 1e-9).all()
    if -value >= reach * (1 - 1e-9):
        assert normal @ found == pytest.approx(reach, abs=1e-8)  # as far as it goes
        return
    assert normal @ found == pytest.approx(-value, abs=1e-8)
    bounds = [(-p, 1 - p) for p in point]
    if norm == "linf":
        # Variables d and t: minimise t with |d| <= t.
        least = linprog(
            [0] * size + [1],
            A_ub=np.block([[np.eye(size), -np.ones((size, 1))], [-np.eye(size), -np.ones((size, 1))]]),
            b_ub=np.zeros(2 * size), A_eq=[[*normal, 0]], b_eq=[-value], bounds=[*bounds, (0, None)],
        ).fun  # fmt: skip
        assert np.abs(found).max() == pytest.approx(least, abs=1e-7)
    else:
        least = minimize(
            lambda d: d @ d, found * 0.9, jac=lambda d: 2 * d, bounds=bounds, method="SLSQP",
            constraints={"type": "eq", "fun": lambda d: normal @ d + value, "jac": lambda d: normal},
        )  # fmt: skip
        assert found @ found <= least.fun + 1e-6


def setting(classes: int) -> Setting:
    return Setting(DataFacts(tuple("abcde"[:classes]), (1, 8, 8), {}), {}, None, None)


def test_the_ratio_needs_classes_to_compare():
    standard, randomised = make(AutoAttack, eps=0.1), make(AutoAttack, eps=0.1, version="rand")
    targeted, untargeted = make(ApgdT, eps=0.1), make(ApgdDlr, eps=0.1)
    for attack, least in ((standard, 4), (targeted, 4), (randomised, 3), (untargeted, 3)):
        attack.check_setting(setting(least))
        with pytest.raises(InputError, match=f"{least} classes, the data set has {least - 1}. Take apgd-ce"):
            attack.check_setting(setting(least - 1))
    for kind in (ApgdCe, FabT, Square):
        make(kind, eps=0.1).check_setting(setting(2))


SUITE = """
suite: ensemble
datasets: {digits: {use: digits, limit: {train: 400, val: 40, test: 30}}}
models: {cnn: {use: small_cnn, width: 8, train: {epochs: 4, batch_size: 20, lr: 0.1}}}
attacks:
  pgd: {use: pgd, eps: 0.3, steps: 5}
  auto: {use: autoattack, eps: 0.3}
  fab: {use: fab-t, targets: 3, steps: 10}
defenses:
  none: {use: none}
  jpeg: {use: jpeg}
grid:
  - {attacks: all, defenses: all}
  - {attacks: [pgd, auto], defenses: jpeg, knowledge: white-box}
"""


def test_rows_of_a_run(tmp_path):
    """Gray-box, and through a preprocessor; the minimum-norm part counts at the budget of the others."""
    path = tmp_path / "ensemble.yaml"
    path.write_text(SUITE)
    registry = load_plugins(["inline"])
    code, run, said = run_inline(load_suite(str(path), registry=registry), registry, tmp_path)
    assert code == 0, said
    rows = run.metrics[run.metrics.seed == "0"]
    clean = rows[rows.metric == "clean_accuracy"].groupby("defense").value.first()
    rows = rows.set_index(["metric", "attack", "defense", "knowledge"]).value
    for defense, knowledge in (("none", "gray-box"), ("jpeg", "white-box")):
        pgd, auto = (rows["robust_accuracy", attack, defense, knowledge] for attack in ("pgd", "auto"))
        assert auto <= pgd
        assert auto < clean[defense] - 0.2
    assert 0 < rows["median_minimal_distance", "fab", "none", "gray-box"] < 0.3
    assert set(run.groups[run.groups.attack == "worst-of: linf 0.3"].member) == {"pgd", "auto", "fab"}


def test_two_classes_are_refused_while_planning(tmp_path, capsys):
    path = write_suite(tmp_path, attacks="{auto: {use: autoattack, eps: 0.1}}")
    with pytest.raises(SystemExit) as stop:
        main(["plan", str(path), "--plugin", "toy"])
    assert stop.value.code == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "auto" in said
    assert "compares the logits of 4 classes, the data set has 2. Take apgd-ce, fab-t or square." in said
