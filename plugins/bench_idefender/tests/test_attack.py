"""Eq. 6: the formula, its gradient, its three forms, and what it does to the detector it was crafted on."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import nn
from torch.nn.functional import cross_entropy

from bench_idefender.attack import IDefenderGrayBox, objective
from bench_idefender.detector import IDefender
from bench_idefender.fitting import fit_class_mixtures
from bench_idefender.options import GrayBoxOptions, IDefenderOptions
from benchmark import Classifier, ClassLikelihoods, InputError, Rng, Victim
from benchmark.gradient import ascend, classification_loss, input_gradient
from benchmark.model import passes
from benchmark.plan.planner import make_plan
from benchmark.plan.task import Craft, Fit, Judge
from benchmark.progress import Progress


@given(classes=st.integers(2, 5), count=st.integers(1, 6), alpha=st.floats(0, 10), seed=st.integers(0, 10_000))
def test_objective_is_eq_6(classes, count, alpha, seed):
    generator = np.random.RandomState(seed)
    likelihood, threshold = 3 * generator.randn(count, classes) - 2, generator.randn(classes)
    logits, y = generator.randn(count, classes), generator.randint(classes, size=count)
    expected = []
    for i in range(count):
        shifted = np.exp(logits[i] - logits[i].max())
        j = -np.log(shifted[y[i]] / shifted.sum())
        others = [k for k in range(classes) if k != y[i]]
        reject = np.prod([float(likelihood[i, k] < threshold[k]) for k in others])
        expected.append(j + alpha * reject * max(likelihood[i, k] for k in others))
    seen = ClassLikelihoods(*map(torch.from_numpy, (likelihood, threshold, logits)))
    np.testing.assert_allclose(objective(seen, torch.from_numpy(y), alpha).numpy(), expected, rtol=1e-9, atol=1e-9)


@pytest.fixture(scope="module")
def detector() -> IDefender:
    """The detector fitted on three clouds of states, for a network in float64 of images (4, 1, 1)."""
    generator = np.random.RandomState(0)
    labels = np.repeat(np.arange(3), 100)
    centres = np.array([[0.2, 0.2, 0.5, 0.5], [0.8, 0.2, 0.5, 0.5], [0.5, 0.8, 0.5, 0.5]])
    states = (centres[labels] + 0.06 * generator.randn(300, 4)).clip(0, 1)
    network = nn.Sequential()
    network.add_module("flatten", nn.Flatten())
    network.add_module("head", head := nn.Linear(4, 3))
    with torch.no_grad():
        head.weight.copy_(20 * torch.from_numpy(centres))
        head.bias.copy_(-10 * torch.from_numpy((centres**2).sum(1)))
    made = IDefender(IDefenderOptions(components=2))
    made.classifier, made.class_names = Classifier(network, 3, (4, 1, 1)).double().frozen(), ("a", "b", "c")
    made.device, made.shared = torch.device("cpu"), {}
    made.mixtures = fit_class_mixtures(
        states, labels, made.class_names, made.options, rejected=0.05, rng=Rng(0), progress=Progress()
    )
    return made


def held(detector: IDefender) -> Victim:
    return Victim(
        detector.classifier, 3, (4, 1, 1), torch.device("cpu"), detector.detector_loss, detector.class_likelihoods
    )


def images(count: int = 12) -> tuple[torch.Tensor, torch.Tensor]:
    """Images (N, 4, 1, 1) float64 about the first cloud, and their classes."""
    return 0.05 * torch.randn(count, 4, 1, 1, generator=Rng(3).torch, dtype=torch.float64) + torch.tensor(
        [0.2, 0.2, 0.5, 0.5], dtype=torch.float64
    ).view(1, 4, 1, 1), torch.zeros(count, dtype=torch.int64)


def test_likelihoods_are_those_the_detector_judges_by(detector):
    x, _ = images()
    seen = detector.class_likelihoods(x)
    label = seen.logits.argmax(1)
    assert torch.equal(label, detector.classifier(x).argmax(1))
    own = seen.log_likelihood[torch.arange(len(x)), label]
    torch.testing.assert_close(seen.log_threshold[label] - own, detector.detector_loss(x).double())
    suspicions = detector.class_suspicions(x)
    torch.testing.assert_close(suspicions, seen.log_threshold - seen.log_likelihood)
    assert torch.autograd.gradcheck(detector.class_suspicions, (x[:3].requires_grad_(),))


def test_gradient_is_the_slope_of_eq_6(detector):
    x, y = images(4)
    x.requires_grad_()
    assert torch.autograd.gradcheck(lambda point: objective(detector.class_likelihoods(point), y, 0.3), (x,))


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_one_step_is_the_fgsm_form(detector, norm):
    x, y = images()
    attack = IDefenderGrayBox(GrayBoxOptions(norm=norm, eps=0.1, steps=1, alpha=0.3, keep="last"))
    gradient = input_gradient(lambda point: objective(detector.class_likelihoods(point), y, 0.3), x)
    unit = gradient.sign() if norm == "linf" else gradient / gradient.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    torch.testing.assert_close(attack.craft(held(detector), x, y, Rng(0)), (x + 0.1 * unit).clamp(0, 1))


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_without_alpha_it_is_the_iterative_method(detector, norm):
    x, y = images()
    attack = IDefenderGrayBox(GrayBoxOptions(norm=norm, eps=0.2, step=0.05, alpha=0.0, keep="last"))
    plain = ascend(classification_loss(detector.classifier, y), x, norm=norm, eps=0.2, step=0.05, steps=10)
    torch.testing.assert_close(attack.craft(held(detector), x, y, Rng(0)), plain)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_more_alpha_leads_into_another_class_that_accepts(detector, norm):
    """The cross-entropy overshoots the other clouds; the second term stops where one of them accepts."""
    x, y = images()
    best, wrong = {}, {}
    for alpha in (0.0, 1.0):
        options = GrayBoxOptions(norm=norm, eps=0.9, step=0.06, steps=40, alpha=alpha, keep="last")
        seen = detector.class_likelihoods(IDefenderGrayBox(options).craft(held(detector), x, y, Rng(0)))
        best[alpha] = (seen.log_likelihood - seen.log_threshold)[:, 1:].amax(1)
        wrong[alpha] = cross_entropy(seen.logits, y, reduction="none")
    assert (best[1.0] > best[0.0]).all()
    assert (wrong[1.0] > 0.7).all()


def test_it_keeps_the_point_that_the_detector_accepts_as_another_class(detector):
    """The cross-entropy alone goes through another class's cloud and out again."""
    x, y = images()
    won = {}
    for keep in ("last", "best"):
        options = GrayBoxOptions(norm="l2", eps=0.9, step=0.06, steps=40, alpha=0.0, keep=keep)
        seen = detector.class_likelihoods(IDefenderGrayBox(options).craft(held(detector), x, y, Rng(0)))
        label = seen.logits.argmax(1)
        accepted = seen.log_likelihood.gather(1, label[:, None]).squeeze(1) >= seen.log_threshold[label]
        won[keep] = (label != y) & accepted
    assert (won["best"] >= won["last"]).all()
    assert won["best"].sum() > won["last"].sum()


@pytest.mark.parametrize("keep", ["best", "last"])
def test_it_costs_one_pass_per_step(detector, keep):
    x, y = images(5)
    attack = IDefenderGrayBox(GrayBoxOptions(eps=0.1, steps=7, keep=keep))
    before = passes.copy()
    attack.craft(held(detector), x, y, Rng(0))
    spent = passes - before
    assert (spent.forward, spent.backward) == (5 * attack.passes().forward, 35)
    assert attack.passes() == type(spent)(7 + (keep == "best"), 7)


@pytest.mark.parametrize(
    "options", [{}, {"eps": 0.1, "alpha": -1.0}, {"eps": 0.1, "steps": 0}, {"eps": 0.1, "norm": "l1"}, {"eps": 8.0}]
)
def test_options_that_mean_nothing_are_refused(options):
    with pytest.raises(ValidationError):
        GrayBoxOptions(**options)


DIGITS = """
suite: eq6
title: Eq. 6 on digits
seeds: [0]
datasets:
  digits: {use: digits}
models:
  mlp: {use: idefender_e, train: {epochs: 12, batch_size: 64, lr: 0.05}}
attacks:
  plain: {use: idefender-graybox, eps: 0.1, alpha: 0.0}
  small: {like: plain, alpha: 0.001}
  large: {like: plain, alpha: 1.0}
defenses:
  i-defender: {use: i-defender, components: 1, regularization: 0.1}
grid:
  - {datasets: all, models: all, attacks: all, defenses: i-defender, knowledge: [white-box, gray-box-retrained]}
"""


@pytest.mark.slow
def test_on_digits_the_source_detects_less_with_alpha_than_the_target(run_suite_file):
    code, run, said = run_suite_file(DIGITS, "bench_datasets", "bench_models")
    assert code == 0, said
    metrics = run.metrics
    auroc = metrics[metrics.metric == "auroc"].set_index(["knowledge", "attack"]).value
    source, target = auroc["white-box"], auroc["gray-box-retrained"]
    assert source["plain"] > source["small"] > source["large"]
    assert source["large"] < source["plain"] - 0.2
    assert source["large"] < target["large"] - 0.05


REFUSED = """
suite: refused
title: Where Eq. 6 makes no sense
seeds: [0]
datasets: {blobs: {use: blobs, count: 120}}
models: {linear: {use: linear}}
attacks:
  eq-6: {use: idefender-graybox, eps: 0.1}
defenses:
  none: {use: plain}
  brightness: {use: brightness}
  taught: {use: taught, attacks: [eq-6]}
  i-defender: {use: i-defender, components: 1, covariance: diag}
grid:
  - {datasets: all, models: all, attacks: eq-6, defenses: DEFENSE, knowledge: KNOWLEDGE}
"""


@pytest.mark.parametrize(
    ("defense", "knowledge", "said"),
    [
        ("none", "white-box", "the defense 'none' has none. Exclude it"),
        ("brightness", "gray-box-retrained", "the defense 'brightness' has none. Exclude it"),
        ("i-defender", "gray-box", "this attacker does not know them. Choose white-box or gray-box-retrained"),
        ("taught", "gray-box", "defenses.taught learns from attacks on the classifier alone, and 'eq-6' needs"),
    ],
)
def test_where_there_are_no_likelihoods_to_know_it_is_refused(load_suite_file, defense, knowledge, said):
    loaded, registry = load_suite_file(REFUSED.replace("DEFENSE", defense).replace("KNOWLEDGE", knowledge))
    with pytest.raises(InputError) as refused:
        make_plan(loaded, registry)
    assert said in str(refused.value)


def test_the_retrained_copy_has_a_detector_and_a_network_of_its_own(load_suite_file):
    text = REFUSED.replace("DEFENSE", "i-defender").replace("KNOWLEDGE", "[white-box, gray-box-retrained]")
    plan = make_plan(*load_suite_file(text))
    deployed = {plan.tasks[cell.attacked_judge].of(Judge).fit for cell in plan.cells if cell.attacked_judge}
    attacked = {
        cell.knowledge: plan.tasks[plan.tasks[cell.craft].of(Craft).victim[0]] for cell in plan.cells if cell.craft
    }
    source, copy = attacked["white-box"], attacked["gray-box-retrained"]
    assert {source.key} == deployed
    assert source.kind == copy.kind == "fit"
    assert copy.key != source.key
    assert copy.of(Fit).train != source.of(Fit).train
    assert copy.of(Fit).observed != source.of(Fit).observed
