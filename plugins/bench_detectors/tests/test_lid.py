"""The estimate is the formula's; it finds dimensions; its detector suspects what lies off the data."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.spatial.distance import cdist
from sklearn.metrics import roc_auc_score

from bench_detectors.distances import Points
from bench_detectors.lid import LARGEST, Lid, local_dimensionality
from bench_detectors.options import LidOptions
from benchmark import InputError, Rng


def test_by_hand():
    references = torch.tensor([[1.0], [-2.0], [4.0], [100.0]])
    found = local_dimensionality(torch.zeros(1, 1), Points(references), 3)
    # Distances 1, 2, 4: the mean of log(1/4), log(2/4), log(4/4) is -log 2.
    assert float(found) == pytest.approx(1 / math.log(2))


@given(
    dimensions=st.integers(1, 30),
    neighbors=st.integers(2, 30),
    scale=st.sampled_from([1e-3, 1.0, 1e3]),
    far=st.sampled_from([0.0, 1.0, 100.0]),
    seed=st.integers(0, 1000),
)
def test_estimate_is_eq_4(dimensions, neighbors, scale, far, seed):
    generator = np.random.RandomState(seed)
    references, states = (scale * (generator.randn(count, dimensions) + far) for count in (40, 10))
    nearest = np.sort(cdist(states, references), axis=1)[:, :neighbors]
    expected = -1 / np.log(nearest / nearest[:, -1:]).mean(1)
    found = local_dimensionality(torch.from_numpy(states), Points(torch.from_numpy(references)), neighbors)
    np.testing.assert_allclose(found.numpy(), np.minimum(expected, LARGEST), rtol=1e-5)


@pytest.mark.parametrize("dimensions", [1, 2, 5])
def test_a_uniform_cloud_has_its_dimension(dimensions):
    """Whatever space it lies in."""
    generator = np.random.RandomState(dimensions)
    rotation = np.linalg.qr(generator.randn(12, 12))[0][:dimensions]
    references = generator.uniform(-1, 1, (4000, dimensions)) @ rotation
    states = generator.uniform(-0.3, 0.3, (200, dimensions)) @ rotation
    found = local_dimensionality(torch.from_numpy(states), Points(torch.from_numpy(references)), 50)
    assert float(found.mean()) == pytest.approx(dimensions, rel=0.1)


def test_equal_distances_and_duplicates_stay_finite():
    ring = torch.stack([torch.arange(8.0).cos(), torch.arange(8.0).sin()], 1)
    assert float(local_dimensionality(torch.zeros(1, 2), Points(ring), 5)) == pytest.approx(LARGEST)
    same = torch.ones(8, 2)
    for state in (torch.ones(1, 2), ring[:1]):
        state = state.clone().requires_grad_()
        for references in (same, ring, torch.cat([same, ring])):
            found = local_dimensionality(state, Points(references), 5)
            assert torch.isfinite(found).all()
            (gradient,) = torch.autograd.grad(found.sum(), state)
            assert torch.isfinite(gradient).all()


def test_states_off_the_data_are_suspected(fit, judged, clouds):
    detector = fit(Lid, layer=("penultimate", "glimpse.first"), references=300)
    states, labels = clouds(seed=5)
    natural = judged(detector, states)
    assert natural.flagged is None
    assert torch.equal(natural.label, torch.from_numpy(labels))
    lifted = judged(detector, states + np.float32([0, 0, 0, 0, 0, 0.2]))
    assert roc_auc_score([0] * 300 + [1] * 300, torch.cat([natural.score, lifted.score])) > 0.9


def test_scores_are_standardised_on_clean_validation_images(fit, judged, clouds):
    score = judged(fit(Lid), clouds(seed=9)[0]).score
    assert float(score.mean()) == pytest.approx(0, abs=1e-6)
    assert float(score.std(correction=0)) == pytest.approx(1, abs=1e-6)


def test_only_so_many_references_are_kept_whatever_the_number_of_training_images(fit, clouds):
    for per_class in (100, 200):
        detector = fit(Lid, clouds(per_class), references=50)
        assert detector.learned["references.0"].shape == (50, 6)
        kept = {tuple(row) for row in detector.learned["references.0"].tolist()}
        assert kept < {tuple(row) for row in clouds(per_class)[0].tolist()}
        assert len(kept) == 50


def test_saved_and_loaded_verdicts_are_the_same(fit, reloaded, judged, clouds):
    detector = fit(Lid, layer=("penultimate", "logits"), references=100, neighbors=10)
    states = clouds(seed=3)[0]
    assert torch.equal(judged(reloaded(detector), states).score, judged(detector, states).score)


def test_gradient_is_the_slope():
    states, references = (torch.randn(n, 4, generator=Rng(n).torch, dtype=torch.float64) for n in (3, 20))
    assert torch.autograd.gradcheck(
        lambda x: local_dimensionality(x, Points(references), 5), (states.requires_grad_(),)
    )


def test_detector_loss_is_the_score(fit, loss_is_the_score, clouds):
    loss_is_the_score(fit(Lid, layer=("penultimate", "logits")), clouds(4, seed=4)[0], smooth=False)


def test_examples_teach_which_layer_tells(fit, judged, clouds):
    """The states move on to the next class and along the last coordinate, which the first layer does not see."""
    val, (states, labels) = clouds(seed=9), clouds(seed=11)

    def attack(states, labels):
        moved = states.copy()
        moved[:, :2] += 0.15 * np.array([[2, 0], [-1, 1], [-1, -1]])[labels]
        moved[:, 5] += 0.4
        return moved

    options = {"layer": ("glimpse.first", "penultimate"), "references": 300}
    taught = fit(Lid, attacked={"push": attack(*val)}, attacks=("push",), **options)
    plain = fit(Lid, **options)
    assert taught.training_attacks() == ("push",)
    assert taught.combination.weights[0] < 0 < taught.combination.weights[1]
    noise = np.random.RandomState(0).randn(*states.shape)
    natural = np.concatenate([states, states + 0.5 * noise / np.linalg.norm(noise, axis=1, keepdims=True)])
    adversarial = attack(states, labels)
    auroc = [
        roc_auc_score([0] * 600 + [1] * 300, torch.cat([judged(one, natural).score, judged(one, adversarial).score]))
        for one in (taught, plain)
    ]
    assert auroc[0] > auroc[1] + 0.05


def test_too_few_training_images(fit, check, clouds):
    states, labels = clouds(6)
    with pytest.raises(InputError, match=r"lid: 18 training images have no 20 nearest .* at least 21 are needed"):
        check(Lid, (states, labels))
    with pytest.raises(InputError, match=r"lid: unknown layer 'flaten'\. Did you mean 'flatten'"):
        fit(Lid, layer="flaten")
    states[0] = np.inf
    with pytest.raises(InputError, match="1 of 18 train images at layer 'logits' are not finite"):
        fit(Lid, (states, labels), layer="logits", neighbors=5)


@pytest.mark.parametrize("options", [{"neighbors": 1}, {"references": 20}, {"neighbors": 100, "references": 50}])
def test_options_that_mean_nothing(options):
    with pytest.raises(ValidationError):
        LidOptions(**options)
