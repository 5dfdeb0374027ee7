"""The detector through the contract of defenses, and through the host."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from sklearn.decomposition import PCA
from torch import nn

from bench_idefender.detector import IDefender
from bench_idefender.options import IDefenderOptions
from benchmark import ArraySplit, Batch, Classifier, FitContext, InputError, Rng
from benchmark.progress import Progress

NAMES = ("left", "right", "up")
CENTRES = 4 * np.array([[-1.0, 0, 0, 0], [1, 0, 0, 0], [0, 1, 0, 0]])


def clouds(per_class: int = 200, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return three clouds of states (N, 4) float32 around CENTRES, in two lumps each, and their classes (N,)."""
    generator = np.random.RandomState(seed)
    labels = np.repeat(np.arange(3), per_class)
    lumps = np.where(generator.rand(3 * per_class, 1) < 0.5, -1, 1) * np.array([0, 0, 1, 0])
    spread = generator.randn(3 * per_class, 4) * [0.4, 0.3, 0.2, 0.1]
    return (CENTRES[labels] + lumps + spread).astype(np.float32), labels


def nearest_centre() -> Classifier:
    """Return a network of images (4, 1, 1) whose penultimate state is the image and whose class the nearest centre."""
    network = nn.Sequential()
    network.add_module("same", nn.Identity())
    network.add_module("flatten", nn.Flatten())
    network.add_module("head", head := nn.Linear(4, 3))
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(CENTRES))
        head.bias.copy_(torch.from_numpy(-0.5 * (CENTRES**2).sum(1)))
    return Classifier(network, 3, (4, 1, 1)).frozen()


def attached(**options) -> IDefender:
    """Return the detector as the host sets it up, not fitted."""
    detector = IDefender(IDefenderOptions(**options))
    detector.classifier, detector.class_names = nearest_centre(), NAMES
    detector.device, detector.shared = torch.device("cpu"), {}
    return detector


@pytest.fixture
def fit(tmp_path) -> Callable[..., IDefender]:
    """Return a function that fits the detector on states (N, 4) and their classes, as the host does."""

    def fit(states=None, labels=None, *, warnings: list[str] | None = None, **options) -> IDefender:
        if states is None:
            states, labels = clouds()
        detector = attached(**options)
        split = ArraySplit(states.reshape(-1, 4, 1, 1), labels, NAMES)

        unseen, their_labels = clouds(seed=9)
        validation = ArraySplit(unseen.reshape(-1, 4, 1, 1), their_labels, NAMES)

        def observe(part: ArraySplit) -> dict[str, np.ndarray]:
            layers = detector.observations()["states"].layers
            seen = detector.classifier.features(part.images(range(len(part))), layers)
            return {name: state.numpy() for name, state in seen.items()}

        def hear(kind: str, *message: object) -> None:
            if kind == "warning" and warnings is not None:
                warnings.append(str(message[0]))

        detector.fit(
            FitContext(
                classifier=detector.classifier,
                new_classifier=lambda rng: nearest_centre(),
                recipe=None,
                train=split,
                val=validation,
                rng=Rng(0),
                device=detector.device,
                progress=Progress(hear),
                checkpoint=tmp_path,
                observations={
                    ("states", "train", None): lambda: observe(split),
                    ("states", "val", None): lambda: observe(validation),
                },
            )
        )
        return detector

    return fit


def images(states: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(states).reshape(-1, 4, 1, 1)


def judged(detector: IDefender, states: np.ndarray):
    return detector.judge(Batch(images(states), detector, Rng(0)))


@pytest.mark.parametrize(("threshold", "kept"), [("id-95", 0.95), ("id-99", 0.99)])
@pytest.mark.parametrize("score", ["margin", "standardized"])
def test_verdicts_keep_the_share_of_natural_images_and_reject_unlikely_ones(fit, threshold, kept, score):
    detector = fit(threshold=threshold, score=score)
    states, labels = clouds()
    natural = judged(detector, states)
    assert torch.equal(natural.label, torch.from_numpy(labels))
    for c in range(3):
        assert int(natural.flagged[labels == c].sum()) == round((1 - kept) * 200)
    # Between two lumps, and far outside: the classifier is as sure as before.
    for shift in ([0, 0, 0, 5], [2, 2, 0, 0]):
        shifted = judged(detector, (CENTRES + np.array(shift)).astype(np.float32))
        assert shifted.flagged.all()
        assert shifted.score.min() > natural.score.max()


def test_enough_training_images_keep_the_share_of_unseen_ones_too(fit):
    unseen = judged(fit(*clouds(2000), components=2), clouds(2000, seed=1)[0])
    assert 0.04 < float(unseen.flagged.double().mean()) < 0.06


def test_thresholds_of_too_few_images_are_warned_of(fit):
    warnings: list[str] = []
    fit(*clouds(2000), components=2, warnings=warnings)
    assert warnings == []
    fit(*clouds(20), components=4, regularization=1e-6, warnings=warnings)
    assert len(warnings) == 1
    assert "reject 5% of the training images reject" in warnings[0]


@pytest.mark.parametrize(("components", "most"), [(5, 2), ("bic", 1)])
def test_em_that_has_not_converged_is_warned_of(fit, components, most):
    warnings: list[str] = []
    fit(*clouds(2000), components=components, max_iter=most, warnings=warnings)
    assert f"EM had not converged after {most} iterations (classes 'left', 'right', 'up')" in warnings[0]


def test_flags_are_eq_5_and_scores_rise_with_suspicion(fit):
    detector = fit()
    verdict = judged(detector, clouds(seed=2)[0])
    likelihood, threshold = verdict.details["log_likelihood"], detector.mixtures.thresholds[verdict.label]
    assert torch.equal(verdict.flagged, likelihood < threshold)
    torch.testing.assert_close(verdict.score, threshold - likelihood)


def test_the_host_flags_where_the_threshold_is_a_false_positive_rate(fit):
    verdict = judged(fit(threshold="fpr"), clouds()[0])
    assert verdict.flagged is None
    # The score is the margin to the thresholds that keep 95 % of each class's training images, at any rate.
    assert torch.equal(verdict.score, judged(fit(threshold="id-95"), clouds()[0]).score)


def test_saved_and_loaded_verdicts_are_the_same(fit, tmp_path):
    detector = fit(components="bic", pca=3)
    folder = tmp_path / "state"
    folder.mkdir()
    detector.save(folder)
    again = attached(components="bic", pca=3)
    again.load(folder)
    states = clouds(seed=3)[0]
    one, other = judged(detector, states), judged(again, states)
    assert torch.equal(one.score, other.score)
    for name in ("log_likelihood", "projection", "unit"):
        assert torch.equal(one.details[name], other.details[name])
    assert torch.equal(one.flagged, other.flagged)


@pytest.mark.parametrize("score", ["margin", "standardized"])
def test_detector_loss_is_the_score_and_its_gradient_leads_back(fit, score):
    detector = fit(score=score)
    start = images(CENTRES.astype(np.float32) + np.float32([0, 0, 0, 1])).requires_grad_()
    loss = detector.detector_loss(start)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, judged(detector, start.detach().flatten(1).numpy()).score.float())
    (gradient,) = torch.autograd.grad(loss.sum(), start)
    epsilon = 1e-2
    for axis in range(4):
        step = torch.zeros(1, 4, 1, 1)
        step[0, axis] = epsilon
        slope = (detector.detector_loss(start + step) - detector.detector_loss(start - step)).detach() / (2 * epsilon)
        torch.testing.assert_close(slope, gradient[:, axis, 0, 0], rtol=1e-2, atol=0.5)
    assert (detector.detector_loss(start - 0.05 * gradient / gradient.norm()) < loss).all()
    assert detector.surrogate() is None


def test_details_are_what_figure_1_draws(fit):
    detector = fit()
    states = clouds(seed=2)[0]
    details = judged(detector, states).details
    trained = clouds()[0]
    assert detector.projection.unit == int(trained.var(0).argmax())
    assert torch.equal(details["unit"], torch.from_numpy(states[:, detector.projection.unit]))
    expected = PCA(2).fit(trained).transform(states)
    for axis in (0, 1):
        found = details["projection"][:, axis].numpy()
        assert min(np.abs(found - sign * expected[:, axis]).max() for sign in (-1, 1)) < 1e-3


def test_layers_are_joined_and_positions_averaged_or_kept():
    maps = torch.arange(24.0).reshape(2, 3, 2, 2)
    observed = {"maps": maps, "vector": torch.ones(2, 5)}
    averaged = attached(layer=("vector", "maps"))._states(observed)
    assert torch.equal(averaged, torch.cat([torch.ones(2, 5), maps.mean(dim=(2, 3))], 1))
    kept = attached(layer="maps", positions="flatten")._states(observed)
    assert torch.equal(kept, maps.flatten(1))


def test_any_state_can_be_modelled(fit):
    states = clouds()[0]
    for layer in ("same", "flatten", "penultimate"):
        torch.testing.assert_close(judged(fit(layer=layer), states).score, judged(fit(), states).score)
    assert fit(layer="logits").mixtures.mixtures[0].means.shape == (3, 3)
    assert fit(layer=("logits", "same")).mixtures.mixtures[0].means.shape == (3, 7)


def test_images_that_the_classifier_gets_wrong_can_be_left_out(fit):
    states, labels = clouds()
    labels = labels.copy()
    labels[:40] = 1  # these look like class 0
    threshold = {on: fit(states, labels, fit_on=on, components=1).mixtures for on in ("all", "correct")}
    without = fit(states[40:], labels[40:], components=1).mixtures
    torch.testing.assert_close(threshold["correct"].mixtures[1].means, without.mixtures[1].means)
    assert (threshold["all"].mixtures[1].means - without.mixtures[1].means).abs().max() > 0.5


def test_a_layer_that_does_not_exist_is_refused_with_its_near_match(fit):
    detector = attached(layer="flaten")
    context_classifier = detector.classifier
    with pytest.raises(InputError, match=r"unknown layer 'flaten'\. Did you mean 'flatten'\? Known: .*logits"):
        detector.check_layers(context_classifier)
    with pytest.raises(InputError, match="Did you mean 'flatten'"):
        fit(layer="flaten")


def test_a_class_that_the_classifier_never_gets_right_is_refused(fit):
    states, labels = clouds()
    with pytest.raises(InputError, match="training images that the classifier gets right: 'left' 0, 'up' 0"):
        fit(states, np.array([2, 1, 0])[labels], fit_on="correct")


@pytest.mark.parametrize(
    "options",
    [
        {"components": 0},
        {"components": "aic"},
        {"covariance": "round"},
        {"regularization": -1.0},
        {"layer": ()},
        {"layer": ("a", "a")},
        {"pca": 0},
        {"treshold": "id-95"},
    ],
)
def test_options_that_mean_nothing_are_refused(options):
    with pytest.raises(ValidationError):
        IDefenderOptions(**options)


SUITE = """
suite: clouds
title: I-defender through the host
seeds: [0]
batch_size: 16
datasets:
  blobs: {use: blobs, count: 120}
models:
  linear: {use: linear}
attacks:
  step: {use: step, eps: 0.9}
  sneaky: {use: sneaky, eps: 0.9}
defenses:
  id-95: {use: i-defender, components: 1, covariance: diag}
  fpr: {use: i-defender, components: 1, covariance: diag, threshold: fpr}
  bic: {use: i-defender, components: bic, max_components: 2, pca: 4, threshold: id-99}
grid:
  - {datasets: all, models: all, attacks: step, defenses: all}
  - {datasets: all, models: all, attacks: sneaky, defenses: [id-95], knowledge: white-box}
"""


def test_through_the_host_strong_steps_are_detected(run_suite_file, tmp_path):
    code, run, said = run_suite_file(SUITE)
    assert code == 0, said
    metrics = run.metrics
    auroc = metrics[metrics.metric == "auroc"].set_index(["knowledge", "defense"]).value
    assert (auroc["gray-box"] > 0.95).all(), auroc
    assert sorted(auroc["gray-box"].index) == ["bic", "fpr", "id-95"]
    assert auroc["white-box", "id-95"] < 0.7  # an attack that descends detector_loss gets past it
    # Three detectors, one extraction per set of images: clean train, val and test, attacked gray-box and white-box.
    journal = (tmp_path / "run" / "journal.jsonl").read_text().splitlines()
    assert sum('"task done"' in line and '"observe"' in line for line in journal) == 5
