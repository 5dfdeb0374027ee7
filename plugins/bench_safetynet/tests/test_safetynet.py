"""Codes and machines agree with their definitions and scikit-learn; the detector through its contract and the host."""

from __future__ import annotations

import textwrap

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from sklearn.multiclass import OneVsRestClassifier
from sklearn.svm import SVC
from torch import nn

from bench_safetynet.detector import SafetyNet, SafetyNetMulticlass
from bench_safetynet.machines import Machines, Quantiser
from bench_safetynet.options import SafetyNetOptions
from benchmark import ArraySplit, Batch, Classifier, FitContext, InputError, Rng
from benchmark.progress import Progress

NAMES = ("low", "high")


def images(count: int = 80, seed: int = 0, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Return images (N, 6, 1, 1): the first value tells the class, `shift` moves the last four; and classes (N,)."""
    generator = np.random.RandomState(seed)
    labels = np.arange(count) % 2
    pixels = 0.4 + 0.05 * generator.randn(count, 6)
    pixels[:, 0] = np.where(labels == 0, 0.2, 0.8)
    pixels[:, 2:] += shift
    return pixels.astype(np.float32).reshape(count, 6, 1, 1), labels


def fooled(count: int = 80, seed: int = 0, shift: float = 0.4) -> np.ndarray:
    """Return those images with the class turned over and the last four values shifted."""
    pixels, _ = images(count, seed, shift)
    pixels[:, 0] = 1 - pixels[:, 0]
    return pixels


def classifier() -> Classifier:
    """Return a network whose states are the image and whose class is whether the first value is above one half."""
    network = nn.Sequential()
    network.add_module("flatten", nn.Flatten())
    network.add_module("head", head := nn.Linear(6, 2))
    with torch.no_grad():
        head.weight.zero_()
        head.weight[1, 0] = 2.0
        head.bias.copy_(torch.tensor([0.0, -1.0]))
    return Classifier(network, 2, (6, 1, 1)).frozen()


def attached(kind=SafetyNet, **options) -> SafetyNet:
    detector = kind(SafetyNetOptions(**{"attacks": ("push",), **options}))
    detector.classifier, detector.class_names = classifier(), NAMES
    detector.device, detector.shared = torch.device("cpu"), {}
    return detector


@pytest.fixture
def fit(tmp_path):
    """Return a function that fits a detector as the host does; `adversarial` by attack."""

    def fit(kind=SafetyNet, clean=None, adversarial=None, **options) -> SafetyNet:
        detector = attached(kind, **options)
        pixels, labels = clean or images()
        splits = {None: ArraySplit(pixels, labels, NAMES)}
        for attack, x_adv in (adversarial or {"push": fooled()}).items():
            splits[attack] = ArraySplit(x_adv, labels, NAMES)

        def observer(split: ArraySplit):
            def observe() -> dict[str, np.ndarray]:
                layers = detector.observations()["states"].layers
                seen = detector.classifier.features(split.images(range(len(split))), layers)
                return {name: state.numpy() for name, state in seen.items()}

            return observe

        detector.fit(
            FitContext(
                classifier=detector.classifier,
                new_classifier=lambda rng: classifier(),
                recipe=None,
                train=splits[None],
                val=splits[None],
                rng=Rng(0),
                device=detector.device,
                progress=Progress(),
                checkpoint=tmp_path,
                observations={("states", "train", attack): observer(split) for attack, split in splits.items()},
            )
        )
        return detector

    return fit


def scores(detector: SafetyNet, pixels: np.ndarray) -> torch.Tensor:
    return detector.judge(Batch(torch.from_numpy(pixels), detector, Rng(0))).score


@settings(max_examples=30)
@given(
    count=st.integers(20, 60),
    dimensions=st.integers(1, 20),
    levels=st.integers(2, 5),
    classes=st.integers(1, 4),
    gamma=st.sampled_from([0.01, 0.3, 2.0]),
    seed=st.integers(0, 1000),
)
def test_decisions_are_scikit_learns(count, dimensions, levels, classes, gamma, seed):
    generator = np.random.RandomState(seed)
    codes = generator.randint(0, levels, (count, dimensions)).astype(np.float64)
    targets = np.eye(classes + 1, dtype=bool)[np.arange(count) % (classes + 1)][:, :classes]
    judged = generator.randint(0, levels, (30, dimensions)).astype(np.float64)
    machines = Machines.fit(codes, targets, c=1.0, gamma=gamma)
    for k in range(classes):
        reference = SVC(gamma=gamma, class_weight="balanced").fit(codes, targets[:, k])
        ours = machines(torch.from_numpy(judged))[:, k].numpy()
        np.testing.assert_allclose(ours, reference.decision_function(judged), atol=1e-10)


def test_the_machines_of_all_classes_are_one_against_the_rest():
    generator = np.random.RandomState(0)
    codes, labels = generator.randint(0, 4, (60, 5)).astype(float), np.arange(60) % 3
    machines = Machines.fit(codes, np.eye(3, dtype=bool)[labels], c=1.0, gamma=0.2)
    reference = OneVsRestClassifier(SVC(gamma=0.2, class_weight="balanced")).fit(codes, labels)
    np.testing.assert_allclose(machines(torch.from_numpy(codes)), reference.decision_function(codes), atol=1e-10)


def test_levels_cut_a_units_natural_activations_into_equal_shares():
    states = torch.stack([torch.arange(400.0), -(torch.arange(400.0) ** 2), torch.zeros(400)], 1)
    codes = Quantiser.of(states, 4, None)(states)
    for unit in (0, 1):
        assert torch.bincount(codes[:, unit].long()).tolist() == [100, 100, 100, 100]
    assert not codes[:, 2].any()  # a dead unit


def test_a_threshold_of_zero_tells_active_units_from_silent_ones():
    states = torch.tensor([[0.0, 2.0], [0.1, -1.0]])
    assert Quantiser.of(states, 4, [0.0])(states).tolist() == [[0, 1], [1, 0]]


def test_codes_have_a_gradient_and_keep_their_values():
    states = torch.rand(50, 3, generator=Rng(0).torch, dtype=torch.float64)
    quantiser = Quantiser.of(states, 4, None)
    point = states.clone().requires_grad_()
    codes = quantiser(point)
    torch.testing.assert_close(codes.detach(), quantiser(states), atol=1e-12, rtol=0)
    (gradient,) = torch.autograd.grad(codes.sum(), point)
    assert (gradient > 0).all()


@pytest.mark.parametrize("kind", [SafetyNet, SafetyNetMulticlass])
def test_adversarial_states_score_above_zero_and_natural_ones_below(fit, kind):
    detector = fit(kind)
    natural, adversarial = scores(detector, images(seed=1)[0]), scores(detector, fooled(seed=1))
    assert (natural < 0).double().mean() > 0.9
    assert adversarial.min() > max(0, natural.max())
    verdict = detector.judge(Batch(torch.from_numpy(fooled(seed=1)), detector, Rng(0)))
    assert verdict.flagged is None
    assert torch.equal(verdict.label, 1 - torch.from_numpy(images(seed=1)[1]))


def test_the_multiclass_score_is_by_how_much_the_adversarial_class_wins(fit):
    detector = fit(SafetyNetMulticlass)
    pixels = fooled(seed=2)
    decisions = detector.decisions([torch.from_numpy(pixels).flatten(1)])
    assert decisions.shape == (80, 3)
    torch.testing.assert_close(scores(detector, pixels), decisions[:, 0] - decisions[:, 1:].max(1).values)


def test_an_attack_that_leaves_other_units_alone_is_not_found_by_a_machine_that_has_not_seen_it(fit):
    unseen = fooled(seed=1, shift=0.0)
    assert (scores(fit(), unseen) < 0).float().mean() > 0.8
    both = fit(adversarial={"push": fooled(), "flip": fooled(shift=0.0)}, attacks=("push", "flip"))
    assert (scores(both, fooled(seed=1)) > 0).all()


@pytest.mark.parametrize("kind", [SafetyNet, SafetyNetMulticlass])
def test_saved_and_loaded_scores_are_the_same_bits(fit, tmp_path, kind):
    detector, again = fit(kind), attached(kind)
    folder = tmp_path / "state"
    folder.mkdir()
    detector.save(folder)
    again.load(folder)
    assert torch.equal(scores(detector, fooled(seed=3)), scores(again, fooled(seed=3)))
    assert [path.suffix for path in folder.iterdir()] == [".safetensors"]


def test_detector_loss_is_the_score_and_descends(fit):
    detector = fit()
    x = torch.from_numpy(fooled(seed=4)[:8]).requires_grad_()
    loss = detector.detector_loss(x)
    torch.testing.assert_close(loss.detach(), scores(detector, x.detach().numpy()).float())
    for _ in range(5):
        (gradient,) = torch.autograd.grad(detector.detector_loss(x).sum(), x)
        x = (x - 0.1 * gradient.sign()).detach().requires_grad_()
    assert detector.detector_loss(x).mean() < 0


def test_only_successful_examples_are_learned_from_unless_all_are_asked_for(fit):
    half = fooled()
    half[:40] = images(shift=0.4)[0][:40]  # these attacks failed
    successful, everything = fit(adversarial={"push": half}), fit(adversarial={"push": half}, learn_from="all")
    failed = images(seed=5, shift=0.4)[0]
    assert len(everything.machines.vectors) != len(successful.machines.vectors)
    assert (scores(everything, failed) > 0).all()


def test_more_images_than_asked_for_are_left_out(fit):
    assert len(fit(images=25).machines.vectors) <= 50


def test_same_seed_same_machines(fit):
    one, other = fit(images=30), fit(images=30)
    assert torch.equal(one.machines.vectors, other.machines.vectors)
    assert torch.equal(one.machines.weights, other.machines.weights)


def refusal(fit, kind=SafetyNet, **arguments) -> str:
    with pytest.raises(InputError) as refused:
        fit(kind, **arguments)
    return str(refused.value)


def test_an_attack_that_fooled_nothing_is_refused(fit):
    said = refusal(fit, adversarial={"push": images(shift=0.4)[0]})
    assert "attacks: push give 0 successful examples on 80 training images, at least 20" in said


def test_units_that_say_nothing_are_refused(fit):
    assert "all codes of all 160 training images are the same" in refusal(fit, thresholds=(50.0,))


def test_states_that_are_not_finite_are_refused(fit):
    pixels, labels = images()
    pixels[3, 4] = np.nan
    assert "1 of 80 train images at layer 'penultimate' are not finite" in refusal(fit, clean=(pixels, labels))


def test_a_class_without_natural_images_is_refused_by_the_variant_that_needs_it(fit):
    pixels, labels = images()
    right = np.zeros_like(labels)
    pixels[:, 0] = 0.2
    assert "of the classes 'high'" in refusal(fit, SafetyNetMulticlass, clean=(pixels, right), learn_from="all")


def test_an_unknown_layer_is_refused_with_its_near_match(fit):
    with pytest.raises(InputError, match=r"unknown layer 'flaten'\. Did you mean 'flatten'"):
        attached(layer="flaten").check_layers(classifier())


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"attacks": ()},
        {"attacks": ("a", "a")},
        {"attacks": ("a",), "levels": 1},
        {"attacks": ("a",), "thresholds": ()},
        {"attacks": ("a",), "thresholds": (1.0, 0.0)},
        {"attacks": ("a",), "gamma": 0.0},
        {"attacks": ("a",), "gamma": "auto"},
        {"attacks": ("a",), "c": 0.0},
        {"attacks": ("a",), "learn_from": "failed"},
    ],
)
def test_options_that_mean_nothing_are_refused(options):
    with pytest.raises(ValidationError):
        SafetyNetOptions(**options)


SUITE = """
suite: blobs
datasets: {blobs: {use: blobs, count: 60}}
models: {linear: {use: linear}}
attacks: {step: {use: step, eps: 0.9}}
defenses:
  svm: {use: safetynet, attacks: [step], layer: penultimate}
  msvm: {use: safetynet-msvm, attacks: [step], layer: [logits, penultimate]}
grid: [{}]
"""


@pytest.fixture
def run_suite_file(tmp_path, monkeypatch):
    """Return a function that runs a suite of toy components in this process: exit code and the run."""

    def run(text: str):
        from inline import run_inline

        from benchmark.plugins import load_plugins
        from benchmark.suite import load_suite

        monkeypatch.setenv("BENCH_PLUGINS", "core")
        path = tmp_path / "suite.yaml"
        path.write_text(textwrap.dedent(text))
        registry = load_plugins(["toy", "inline", "bench_safetynet"])
        code, finished, _ = run_inline(load_suite(str(path), registry=registry), registry, tmp_path)
        return code, finished

    return run


def test_through_the_host_a_seen_attack_is_detected(run_suite_file):
    code, run = run_suite_file(SUITE)
    assert code == 0
    auroc = run.metrics[run.metrics.metric == "auroc"].set_index("defense").value
    assert (auroc > 0.95).all(), auroc
    assert set(auroc.index) == {"svm", "msvm"}


def test_through_the_host_an_attack_that_the_suite_lacks_is_one_message(run_suite_file):
    with pytest.raises(InputError, match=r"defenses\.svm .*unknown attack 'stp'\. Did you mean 'step'\? Known: step"):
        run_suite_file(SUITE.replace("attacks: [step], layer: penultimate", "attacks: [stp]"))
