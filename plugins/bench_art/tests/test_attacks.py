"""ART's attacks through the benchmark: agreement with the library, cost, budget, determinism, refusals."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from art.estimators.classification import PyTorchClassifier
from pydantic import ValidationError
from torch import nn

import bench_art
from bench_art import options
from bench_art.attacks import AnyArtAttack, Apgd, AutoAttackArt
from bench_art.estimator import DifferenceOfLogitsRatio, Estimator
from benchmark import DataFacts, Setting
from benchmark.attack import TOLERANCE, Attack, Victim, perturbation_size
from benchmark.errors import InputError
from benchmark.model import Classifier, passes
from benchmark.plugins import Provenance, Registry
from benchmark.randomness import Rng

ORDERS = {"linf": np.inf, "l2": 2}
EPS = {"linf": 0.15, "l2": 0.8}


def make(kind: type[Attack], **chosen) -> Any:
    return kind(kind.Options(**chosen))


def plain(victim: Victim) -> PyTorchClassifier:
    """ART's classifier as its documentation builds it."""
    return PyTorchClassifier(
        victim.classifier, nn.CrossEntropyLoss(), victim.image_shape, victim.num_classes, clip_values=(0, 1),
        device_type="cpu",
    )  # fmt: skip


@pytest.mark.parametrize("loss", ["ce", "dlr"])
def test_apgd_agrees_with_art(digits, loss):
    from art.attacks.evasion import AutoProjectedGradientDescent

    few = digits.first(60)
    x, y = few.x[few.right], few.y[few.right]
    names = {"ce": "cross_entropy", "dlr": "difference_logits_ratio"}
    library = AutoProjectedGradientDescent(
        plain(few.victim), np.inf, 0.15, 0.3, max_iter=20, nb_random_init=2, batch_size=len(x), loss_type=names[loss],
        verbose=False,
    )  # fmt: skip
    with Rng(9).seeded_globals():
        theirs = torch.from_numpy(library.generate(x.numpy(), y.numpy()))
    ours = make(Apgd, eps=0.15, loss=loss, steps=20, restarts=2, keep="last").craft(few.victim, x, y, Rng(9))
    comparable = torch.ones(len(x), dtype=torch.bool)
    if loss == "dlr":
        # Where the true class is not among the first two, the loss is 1 and the sign of its gradient is rounding.
        value = DifferenceOfLogitsRatio()
        value.reduction = "none"
        labels = nn.functional.one_hot(y, 10)
        for x_adv in (ours, theirs):
            comparable &= value(few.victim.classifier(x_adv), labels) < 1 - 1e-6
        assert comparable.sum() > 20
    assert (ours - theirs)[comparable].abs().max() <= 1e-6
    fooled = [few.victim.classifier(x_adv).argmax(1) != y for x_adv in (ours, theirs)]
    assert torch.equal(*fooled)
    assert fooled[0].any()


@pytest.mark.parametrize(("norm", "loss"), [("linf", "ce"), ("linf", "dlr"), ("l2", "ce")])
def test_apgd_keeps_the_best_point_that_art_looked_at(digits, norm, loss):
    """Stronger than ART's answer, image by image for one start of the same seed, and within the bound of its passes."""
    few = digits.first(60)
    chosen = {"norm": norm, "eps": EPS[norm] / 2, "loss": loss, "steps": 8, "step": 2 * EPS[norm]}
    before = passes.copy()
    best = make(Apgd, **chosen).craft(few.victim, few.x, few.y, Rng(3))
    used, bound = passes - before, make(Apgd, **chosen).passes()
    last = make(Apgd, **chosen, keep="last").craft(few.victim, few.x, few.y, Rng(3).spawn(0))
    assert (few.fooled(best) >= few.fooled(last)).all()
    with torch.no_grad():
        cross = [nn.functional.cross_entropy(few.victim.classifier(x), few.y, reduction="none") for x in (best, last)]
    if loss == "ce":
        same = few.fooled(best) == few.fooled(last)
        assert (cross[0] >= cross[1] - 1e-5)[same].all()
        assert (cross[0] > cross[1] + 1e-3).sum() > 5
    assert few.fooled(best).sum() >= few.fooled(last).sum() > 0
    assert 0.8 * 60 * bound.forward < used.forward <= 60 * bound.forward
    assert 0.8 * 60 * bound.backward < used.backward <= 60 * bound.backward
    more = make(Apgd, **chosen, restarts=3).craft(few.victim, few.x, few.y, Rng(3))
    assert (few.fooled(more) >= few.fooled(best)).all()


def test_dlr_loss_is_that_of_the_paper():
    """Croce & Hein 2020, Eq. 6, by hand: true class second, then true class first."""
    logits = torch.tensor([[3.0, 2.0, 0.0, 1.0], [5.0, 1.0, 2.0, 0.0]])
    labels = torch.tensor([[0.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]])
    loss = DifferenceOfLogitsRatio()
    loss.reduction = "none"
    assert loss(logits, labels).tolist() == pytest.approx([(3 - 2) / (3 - 1), (2 - 5) / (5 - 1)])
    loss.reduction = "sum"
    assert float(loss(logits, labels)) == pytest.approx(0.5 - 0.75)


def test_autoattack_runs_arts_own_ensemble(digits):
    attack = make(AutoAttackArt, eps=0.3)
    attack.check()
    members = attack.build(digits.victim, 5).attacks
    assert [type(m).__name__ for m in members] == [
        "AutoProjectedGradientDescent", "AutoProjectedGradientDescent", "DeepFool", "SquareAttack",
    ]  # fmt: skip
    assert [m.loss_type for m in members[:2]] == ["cross_entropy", "difference_logits_ratio"]
    few = digits.first(20)
    x_adv = attack.craft(few.victim, few.x, few.y, Rng(0))
    assert (perturbation_size(x_adv - few.x, "linf") <= 0.3 * (1 + TOLERANCE)).all()
    assert few.fooled(x_adv)[few.right].all()


@pytest.mark.parametrize(
    "attack",
    [
        make(Apgd, eps=0.1, steps=10),
        make(Apgd, norm="l2", eps=0.7, steps=10),
        make(AnyArtAttack, attack="HopSkipJump", norm="l2", arguments={"max_iter": 2, "max_eval": 50, "init_eval": 5}),
        make(AnyArtAttack, attack="ElasticNet", norm="l1", arguments={"max_iter": 20, "initial_const": 1.0}),
    ],
    ids=lambda attack: f"{type(attack).__name__}-{attack.options.norm}-{getattr(attack.options, 'attack', '')}",
)
def test_promises(digits, attack, capfd, tmp_path, monkeypatch):
    """Range, budget, seeds, silence, no files; wrong images stay; global generators and the input are left alone."""
    monkeypatch.chdir(tmp_path)
    few = digits.first(12)
    y = few.y.clone()
    y[:3] = (y[:3] + 1) % 10  # as if the network were wrong about these
    kept = few.x.clone()
    np.random.seed(1)
    expected = np.random.RandomState(1).uniform()
    state, maker = torch.get_rng_state(), np.random.RandomState
    one, two, other = (attack.craft(few.victim, few.x, y, Rng(seed)) for seed in (5, 5, 6))
    assert one.numpy().tobytes() == two.numpy().tobytes()
    assert not torch.equal(one, other) or attack.options.norm == "l1"  # ElasticNet draws nothing
    assert one.dtype == torch.float32
    assert one.shape == few.x.shape
    assert one.min() >= 0
    assert one.max() <= 1
    assert (one[3:] != few.x[3:]).any()
    assert torch.equal(one[:3], few.x[:3])
    assert torch.equal(few.x, kept)
    if attack.options.eps is not None:
        assert (perturbation_size(one - few.x, attack.options.norm) <= attack.options.eps * (1 + TOLERANCE)).all()
    bound = attack.passes()
    assert (bound is None) == isinstance(attack, AnyArtAttack)
    assert bound is None or bound.at_most
    assert torch.equal(attack.craft(few.victim, few.x[:3], y[:3], Rng(0)), few.x[:3])
    assert np.random.uniform() == expected
    assert torch.equal(torch.get_rng_state(), state)
    assert np.random.RandomState is maker
    assert capfd.readouterr() == ("", "")
    assert not list(tmp_path.iterdir())


def test_any_attack_within_eps_or_failed(digits):
    few = digits.first(30)
    common = {"attack": "CarliniL2Method", "norm": "l2", "arguments": {"max_iter": 5, "initial_const": 1.0}}
    free = make(AnyArtAttack, **common).craft(few.victim, few.x, few.y, Rng(0))
    size = perturbation_size(free - few.x, "l2")
    eps = float(size[few.fooled(free)].median())
    bounded = make(AnyArtAttack, **common, eps=eps).craft(few.victim, few.x, few.y, Rng(0))
    kept = size <= eps
    assert torch.equal(bounded[kept], free[kept])
    assert torch.equal(bounded[~kept], few.x[~kept])
    assert (~kept).any()
    # No randomness: what an image gets does not depend on its batch.
    halves = [
        make(AnyArtAttack, **common).craft(few.victim, few.x[part], few.y[part], Rng(0))
        for part in (slice(0, 13), slice(13, 30))
    ]
    assert (free - torch.cat(halves)).abs().max() <= 1e-5


def test_any_attack_gets_norm_and_eps(digits):
    few = digits.first(20)
    attack = make(
        AnyArtAttack, attack="ProjectedGradientDescent", norm="l2", eps=0.5, arguments={"eps_step": 0.1, "max_iter": 5}
    )
    library = attack.build(few.victim, 20)
    assert (library.norm, library.eps, library.eps_step, library.max_iter) == (2, 0.5, 0.1, 5)
    assert library.batch_size == 20
    x_adv = attack.craft(few.victim, few.x, few.y, Rng(0))
    size = perturbation_size(x_adv - few.x, "l2")[few.right]
    assert (size <= 0.5 * (1 + TOLERANCE)).all()
    assert (size > 0.4).all()  # five steps of 0.1, less what is cut off at black and white


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"attack": "ElasticNets"}, "Did you mean 'ElasticNet'"),
        ({"attack": "DPatch"}, "unknown attack of ART 'DPatch'"),  # of object detectors
        ({"attack": "__builtins__"}, "unknown attack of ART"),
        ({"attack": "ElasticNet", "arguments": {"max_itr": 3}}, "Did you mean 'max_iter'"),
        ({"attack": "ElasticNet", "arguments": {"max_iter": -3}}, "ART's ElasticNet refuses them"),
        ({"attack": "ElasticNet", "arguments": {"targeted": True}}, "'targeted' is set by the benchmark"),
        ({"attack": "ElasticNet", "arguments": {"classifier": 1}}, "'classifier' is set by the benchmark"),
        ({"attack": "ProjectedGradientDescent"}, "spends a budget; give one"),
    ],
)
def test_check_refuses_what_art_would_choke_on(chosen, message):
    with pytest.raises(InputError, match=message):
        make(AnyArtAttack, norm="l2", **chosen).check()


def test_check_passes_a_good_one():
    make(AnyArtAttack, attack="ElasticNet", norm="l1", arguments={"max_iter": 3, "decision_rule": "L1"}).check()
    make(AnyArtAttack, attack="FastGradientMethod", norm="linf", eps="8/255").check()


def setting(shape: tuple[int, int, int], classes: int = 3) -> Setting:
    return Setting(DataFacts(tuple("abc"[:classes]), shape, {}), {}, None, None)


def test_dlr_needs_three_classes():
    with Rng(0).seeded_globals():
        network = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    victim = Victim(Classifier(network, 2, (1, 8, 8)), 2, (1, 8, 8), torch.device("cpu"))
    x = torch.rand(4, 1, 8, 8, generator=Rng(0).torch)
    with torch.no_grad():
        y = victim.classifier(x).argmax(1)
    with pytest.raises(InputError, match="Choose loss: ce"):
        make(Apgd, eps=0.1, loss="dlr").check_setting(setting((1, 8, 8), classes=2))
    with pytest.raises(InputError, match="three classes"):
        make(AutoAttackArt, eps=0.1).check_setting(setting((1, 8, 8), classes=2))
    make(Apgd, eps=0.1, loss="dlr").check_setting(setting((1, 8, 8), classes=3))
    victim.classifier.frozen()
    assert (victim.classifier(make(Apgd, eps=0.3, steps=5).craft(victim, x, y, Rng(0))).argmax(1) != y).any()


def test_images_on_which_arts_square_breaks_are_refused():
    for shape, norm, said in (((1, 3, 3), "linf", "3 x 3"), ((1, 9, 8), "l2", "9 x 8"), ((1, 4, 4), "l2", "4 x 4")):
        with pytest.raises(InputError, match=said):
            make(AutoAttackArt, norm=norm, eps=0.1).check_setting(setting(shape))


def test_estimator_answers_as_arts_own(digits):
    mine, theirs = Estimator(digits.victim), plain(digits.victim)
    x = digits.x[:30].numpy()
    assert np.abs(mine.predict(x) - theirs.predict(x)).max() <= 1e-6
    for label in (None, 3, digits.y[:30].numpy()):
        assert np.abs(mine.class_gradient(x, label) - theirs.class_gradient(x, label)).max() <= 1e-6
    before = passes.copy()
    again = mine.predict(x[::-1])
    assert (passes - before).forward == 0
    assert np.array_equal(again, mine.predict(x)[::-1])
    mine.predict(np.concatenate([x[:5], x[:5] * 0.5, x[:5] * 0.5]), batch_size=2)
    assert (passes - before).forward == 5
    before = passes.copy()
    mine.class_gradient(x, digits.y[:30].numpy())
    assert (passes - before).backward == 30


@pytest.mark.parametrize(
    ("kind", "chosen", "message"),
    [
        (options.ApgdOptions, {}, "eps"),
        (options.ApgdOptions, {"eps": 8}, "8/255"),
        (options.ApgdOptions, {"eps": 0.1, "loss": "mse"}, "loss"),
        (options.AnyArtOptions, {"attack": "ElasticNet"}, "norm"),
        (options.JpegOptions, {"quality": 0}, "quality"),
        (options.FeatureSqueezingOptions, {"bits": 3}, "bits"),
    ],
)
def test_refuses_unusable_options(kind, chosen, message):
    with pytest.raises(ValidationError, match=message):
        kind(**chosen)


def test_everything_registered_can_be_loaded():
    registry = Registry()
    registry.add_module("art", bench_art, Provenance("bench_art", "unmask-bench", "0"))
    assert registry.names("attack") == ["apgd", "art", "autoattack-art"]
    assert registry.names("defense") == ["feature-squeezing", "jpeg", "spatial-smoothing"]
    for kind in ("attack", "defense"):
        for registration in registry.all(kind):
            assert registration.options_type() is registration.load().Options
            assert registration.summary
            assert registration.version


def test_listing_and_validating_do_not_wait_for_torch_and_art():
    code = "import sys, bench_art, bench_art.options; sys.exit('torch' in sys.modules or 'art' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
