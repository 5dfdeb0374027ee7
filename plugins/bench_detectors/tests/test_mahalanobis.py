"""Distances are scikit-learn's; layers are standardised and weighed; fitting refuses what cannot be fitted."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from sklearn.covariance import EmpiricalCovariance
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from bench_detectors.layerwise import Combination
from bench_detectors.mahalanobis import Mahalanobis
from bench_detectors.options import MahalanobisOptions
from benchmark import InputError


def learned(states: np.ndarray, labels: np.ndarray, **options) -> Mahalanobis:
    """Return the detector with one layer's states learned, not combined."""
    detector = Mahalanobis(MahalanobisOptions(**options))
    detector.class_names, detector.device = tuple(map(str, range(labels.max() + 1))), torch.device("cpu")
    means, whitening = detector._whiten(torch.from_numpy(states), torch.from_numpy(labels), "penultimate")
    detector.learned = {"means.0": means, "whitening.0": whitening}
    return detector


@given(
    classes=st.integers(1, 5),
    dimensions=st.integers(1, 20),
    scale=st.sampled_from([1e-3, 1.0, 1e3]),
    far=st.sampled_from([0.0, 1.0, 100.0]),
    seed=st.integers(0, 1000),
)
def test_distances_are_scikit_learns(classes, dimensions, scale, far, seed):
    generator = np.random.RandomState(seed)
    labels = np.arange(60) % classes
    mixing = generator.randn(dimensions, dimensions) + 3 * np.eye(dimensions)
    states = scale * (generator.randn(60, dimensions) @ mixing + 2 * labels[:, None] + far)
    means = np.stack([states[labels == c].mean(0) for c in range(classes)])
    reference = EmpiricalCovariance(assume_centered=True).fit(states - means[labels])
    unseen = scale * (3 * generator.randn(20, dimensions) + far)
    expected = np.min([reference.mahalanobis(unseen - mean) for mean in means], axis=0)
    found = learned(states, labels, regularization=0.0).measure([torch.from_numpy(unseen)])
    assert found.dtype == torch.float64
    np.testing.assert_allclose(found[:, 0].numpy(), expected, rtol=1e-6)


def test_regularization_is_a_share_of_the_average_variance():
    generator = np.random.RandomState(0)
    states = generator.randn(50, 4) * [1, 2, 3, 0]  # the last unit is dead
    found = learned(states, np.zeros(50, int), regularization=0.1).measure([torch.eye(4, dtype=torch.float64)])
    covariance = np.cov(states.T, bias=True)
    inverse = np.linalg.inv(covariance + 0.1 * covariance.diagonal().mean() * np.eye(4))
    centred = np.eye(4) - states.mean(0)
    np.testing.assert_allclose(found[:, 0].numpy(), np.einsum("ni,ij,nj->n", centred, inverse, centred), rtol=1e-9)


def test_scores_are_standardised_on_clean_validation_images_and_averaged_over_layers(fit, judged, clouds):
    both = fit(Mahalanobis, layer=("same", "glimpse.first"))
    unseen = judged(both, clouds(seed=9)[0])
    assert unseen.flagged is None
    assert float(unseen.score.mean()) == pytest.approx(0, abs=1e-6)
    states = clouds(seed=3)[0]
    alone = [judged(fit(Mahalanobis, layer=layer), states).score for layer in ("same", "glimpse.first")]
    torch.testing.assert_close(judged(both, states).score, sum(alone) / 2)
    for score in alone:
        assert 0.8 < float(score.std()) < 1.25


@pytest.mark.parametrize("layer", ["penultimate", "logits", ("glimpse.first", "logits", "penultimate")])
def test_states_far_from_every_class_are_suspected(fit, judged, clouds, layer):
    detector = fit(Mahalanobis, layer=layer)
    states, labels = clouds(seed=5)
    natural = judged(detector, states)
    assert torch.equal(natural.label, torch.from_numpy(labels))
    between = judged(detector, (states[labels == 0] + states[labels == 1]) / 2)
    assert between.score.min() > natural.score.max()


def test_saved_and_loaded_verdicts_are_the_same(fit, reloaded, judged, clouds):
    detector = fit(Mahalanobis, layer=("penultimate", "logits"))
    states = clouds(seed=3)[0]
    assert torch.equal(judged(reloaded(detector), states).score, judged(detector, states).score)


def test_detector_loss_is_the_score(fit, loss_is_the_score, clouds):
    states = clouds(4, seed=4)[0] + np.float32([0, 0.1, 0, 0.02, 0, -0.02])
    loss_is_the_score(fit(Mahalanobis, layer=("penultimate", "logits"), regularization=0.1), states)


def test_images_take_a_step_towards_the_nearest_mean_before_they_are_measured(fit, judged, loss_is_the_score, clouds):
    """Eq. 4 by numpy, where the state is the image; each layer of an ensemble takes a step of its own."""
    states = clouds(4, seed=4)[0] + np.float32([0, 0.1, 0, 0.02, 0, -0.02])
    detector = fit(Mahalanobis, layer="same", magnitude=0.01)
    training, classes = clouds()
    means = np.stack([training[classes == c].mean(0) for c in range(3)])
    inverse = np.linalg.inv(
        (covariance := np.cov((training - means[classes]).T, bias=True)) + 1e-3 * np.diag(covariance).mean() * np.eye(6)
    )

    def distances(of: np.ndarray) -> np.ndarray:
        offsets = of[:, None] - means
        return np.einsum("ncd,de,nce->nc", offsets, inverse, offsets)

    nearest = means[distances(states).argmin(1)]
    expected = distances(states - 0.01 * np.sign((states - nearest) @ inverse)).min(1)
    found = detector.measure_images(torch.from_numpy(states).reshape(-1, 6, 1, 1))
    np.testing.assert_allclose(found[:, 0].numpy(), expected, rtol=1e-3)
    assert (found[:, 0].numpy() < distances(states).min(1)).all()
    loss_is_the_score(
        fit(Mahalanobis, layer=("penultimate", "logits"), regularization=0.1, magnitude=0.01), states, False
    )
    layers = {"layer": ("glimpse.first", "penultimate"), "magnitude": 0.002}
    taught = fit(Mahalanobis, attacked={"push": attack(*clouds(seed=9))}, attacks=("push",), **layers)
    assert judged(taught, attack(*clouds(seed=11))).score.mean() > judged(taught, clouds(seed=11)[0]).score.mean()


def attack(states: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return states that moved on to the next class, and by 0.4 along the last coordinate.

    The first three values look natural after it, the whole state does not.
    """
    moved = states.copy()
    moved[:, :2] += 0.15 * np.array([[2, 0], [-1, 1], [-1, -1]])[labels]
    moved[:, 5] += 0.4
    return moved


def noisy(states: np.ndarray, size: float) -> np.ndarray:
    """Return states with noise of the L2 norm `size`."""
    noise = np.random.RandomState(0).randn(*states.shape)
    return (states + size * noise / np.linalg.norm(noise, axis=1, keepdims=True)).clip(0, 1)


def test_examples_teach_that_noise_is_no_alarm(fit, judged, clouds):
    """Noise of the attack's size moves the first layer, the attack does not."""
    val, (states, labels) = clouds(seed=9), clouds(seed=11)
    layers = {"layer": ("glimpse.first", "penultimate")}
    taught = fit(Mahalanobis, attacked={"push": attack(*val)}, attacks=("push",), **layers)
    plain = fit(Mahalanobis, **layers)
    assert taught.training_attacks() == ("push",)
    assert taught.combination.weights[0] < 0 < taught.combination.weights[1]
    attacked = attack(states, labels)
    natural = np.concatenate([states, noisy(states, 0.5)])
    auroc = [
        roc_auc_score([0] * 600 + [1] * 300, torch.cat([judged(one, natural).score, judged(one, attacked).score]))
        for one in (taught, plain)
    ]
    assert auroc[0] > auroc[1] + 0.05
    assert auroc[0] > 0.95


def test_only_examples_that_turned_a_right_answer_into_a_wrong_one_are_learned_from(fit, clouds):
    states, labels = clouds(seed=9)
    wrong = labels.copy()
    wrong[50:60] = 2  # misclassified before

    def weights(changed: slice, attack_of_them: str = "push"):
        """Return what is learned where some attacked states are others, which keep their class."""
        attacked = attack(states, labels)
        attacked[:50] = states[:50]  # failed
        other = attacked.copy()
        other[changed, 2:5] = 1 - other[changed, 2:5]
        adversaries = {"push": attacked, "again": attacked, attack_of_them: other}
        layers = {"layer": ("glimpse.first", "penultimate")}
        given = {"attacked": adversaries, "attacks": ("push", "again"), **layers}
        return fit(Mahalanobis, val=(states, wrong), **given).combination.weights

    learned = weights(slice(0))
    for left_out in (slice(0, 50), slice(50, 60)):
        assert torch.equal(weights(left_out), learned)
    for attack_of_them in ("push", "again"):
        assert not torch.allclose(weights(slice(60, 120), attack_of_them), learned, rtol=0.01)


def test_weights_are_a_logistic_regressions():
    generator = np.random.RandomState(0)
    clean, adversarial = generator.randn(400, 2) * [1, 5] + [3, 7], generator.randn(400, 2) * [1, 5] + [4, 7]
    equal = Combination.equal(torch.from_numpy(clean))
    taught = equal.taught(torch.from_numpy(clean), torch.from_numpy(adversarial), seed=0)
    numbers = (np.concatenate([clean, adversarial]) - clean.mean(0)) / clean.std(0)
    free = LogisticRegression(C=np.inf).fit(numbers, np.repeat([0, 1], 400)).coef_[0]
    np.testing.assert_allclose(taught.weights.numpy(), free, rtol=0.2, atol=0.1)
    rows = torch.from_numpy(clean)
    assert torch.allclose(equal(rows), ((rows - rows.mean(0)) / rows.std(0, correction=0)).mean(1))


def test_a_layer_that_never_changes_is_no_division_by_zero():
    constant = Combination.equal(torch.tensor([[1.0, 2.0], [1.0, 4.0]], dtype=torch.float64))
    torch.testing.assert_close(
        constant(torch.tensor([[1.0, 3.0], [2.0, 3.0]]).double()), torch.tensor([0, 0.5]).double()
    )


# -- what is refused --------------------------------------------------------------------------------------------------


def refusal(fit, *args, **options) -> str:
    with pytest.raises(InputError) as refused:
        fit(Mahalanobis, *args, **options)
    return str(refused.value)


def test_a_layer_that_does_not_exist(fit):
    assert "mahalanobis: unknown layer 'penultimat'. Did you mean 'penultimate'? Known: " in (
        said := refusal(fit, layer=("logits", "penultimat"))
    )
    assert "logits" in said


def test_a_class_without_training_images(check, clouds):
    states, labels = clouds()
    check(Mahalanobis, (states, labels))
    with pytest.raises(InputError, match=r"too few training images: 'up' 0\. Each class needs 2"):
        check(Mahalanobis, (states[:200], labels[:200]))


def test_too_few_validation_images_for_attacks_to_teach(check, clouds):
    with pytest.raises(InputError, match="push give at most 18 examples on 18 validation images, at least 20"):
        check(Mahalanobis, clouds(6), attacks=("push",))


def test_states_that_are_not_finite(fit, clouds):
    states, labels = clouds()
    states[[3, 7], 1] = np.nan
    assert "2 of 300 train images at layer 'penultimate' are not finite" in refusal(fit, (states, labels))
    assert "2 of 300 val images at layer 'penultimate' are not finite" in refusal(fit, val=(states, labels))


def test_a_singular_covariance(fit, clouds):
    states, labels = clouds()
    states[:, 4] = 0
    said = refusal(fit, (states, labels), regularization=0.0)
    assert "singular (300 states of 6 dimensions, 1 of them constant within classes, regularization 0.0)" in said
    fit(Mahalanobis, (states, labels))
    assert "singular" in refusal(fit, (np.zeros_like(states), labels))
    assert "singular" in refusal(fit, (states[::50], labels[::50]), regularization=0.0)


def test_a_state_that_is_too_large(fit, check, clouds):
    said = "layer 'glimpse.wide' have 9000 dimensions, at most 8192 are allowed. Set `positions: mean`"
    assert said in refusal(fit, layer="glimpse.wide")
    with pytest.raises(InputError, match=said):
        check(Mahalanobis, clouds(), layer="glimpse.wide")


def test_attacks_that_do_not_succeed(fit, clouds):
    said = refusal(fit, attacked={"weak": clouds(seed=9)[0]}, attacks=("weak",))
    assert "weak fooled the classifier on 0 of 300 validation images" in said
    assert "at least 20" in said


@pytest.mark.parametrize(
    "options",
    [{"regularization": -1.0}, {"layer": ()}, {"layer": ("a", "a")}, {"attacks": ("a", "a")}, {"neighbors": 3}],
)
def test_options_that_mean_nothing(options):
    with pytest.raises(ValidationError):
        MahalanobisOptions(**options)
