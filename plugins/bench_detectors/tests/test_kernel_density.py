"""The density is scikit-learn's; the bandwidth is the likeliest; each state is judged within its class."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import KernelDensity as Reference

from bench_detectors.distances import Points
from bench_detectors.kernel_density import BANDWIDTHS, KernelDensity, log_density
from bench_detectors.options import KernelDensityOptions
from benchmark import InputError


@given(
    dimensions=st.integers(1, 40),
    count=st.integers(1, 60),
    bandwidth=st.sampled_from([0.05, 0.26, 1.2, 10.0]),
    scale=st.sampled_from([1e-2, 1.0, 1e2]),
    far=st.sampled_from([0.0, 1.0, 100.0]),
    seed=st.integers(0, 1000),
)
def test_density_is_scikit_learns(dimensions, count, bandwidth, scale, far, seed):
    generator = np.random.RandomState(seed)
    points, states = scale * (generator.randn(count, dimensions) + far), scale * (generator.randn(20, dimensions) + far)
    bandwidth *= scale
    found = log_density(
        torch.from_numpy(states), Points(torch.from_numpy(points)), torch.tensor([bandwidth, 2 * bandwidth])
    )
    assert found.dtype == torch.float64
    for row, width in zip(found.numpy(), (bandwidth, 2 * bandwidth)):
        expected = Reference(bandwidth=np.float32(width)).fit(points).score_samples(states)
        np.testing.assert_allclose(row, expected, rtol=1e-7, atol=1e-7)


def test_a_state_that_is_nowhere_near_has_a_finite_score():
    far = log_density(torch.full((1, 50), 1e6), Points(torch.zeros(5, 50)), torch.tensor([1e-3]))
    assert torch.isfinite(far).all()


def test_scores_are_scikit_learns_within_the_predicted_class(fit, judged, clouds):
    detector = fit(KernelDensity, bandwidth=0.05)
    states, labels = clouds()
    unseen = clouds(seed=5)[0] + np.float32([0.01, 0, 0, 0.01, 0, 0])
    verdict = judged(detector, unseen)
    assert verdict.flagged is None
    for c in range(3):
        reference = Reference(bandwidth=0.05).fit(states[labels == c].astype(np.float64))
        own = (verdict.label == c).numpy()
        assert own.any()
        np.testing.assert_allclose(
            verdict.score[own].numpy(), -reference.score_samples(unseen[own].astype(np.float64)), rtol=1e-7
        )


def test_the_bandwidth_is_the_one_under_which_validation_images_are_likeliest(fit, clouds):
    (states, labels), (unseen, their_labels) = clouds(), clouds(seed=9)
    centred = np.concatenate([states[labels == c] - states[labels == c].mean(0) for c in range(3)]).astype(np.float64)
    tried = np.sqrt((centred**2).mean()) * BANDWIDTHS
    likelihoods = [
        sum(Reference(bandwidth=b).fit(states[labels == c]).score(unseen[their_labels == c]) for c in range(3))
        for b in tried
    ]
    best = int(np.argmax(likelihoods))
    assert 0 < best < len(tried) - 1
    assert float(fit(KernelDensity).bandwidth) == pytest.approx(tried[best], rel=1e-5)


def test_a_bandwidth_at_the_end_is_warned_of(fit, clouds):
    warnings: list[str] = []
    fit(KernelDensity, warnings=warnings)
    assert warnings == []
    fit(KernelDensity, val=clouds(), warnings=warnings)  # the training images themselves: the narrower, the likelier
    assert "the likeliest bandwidth lies at the end of those tried" in warnings[0]


@pytest.mark.parametrize("layer", ["penultimate", ("glimpse.first", "logits", "penultimate")])
def test_rare_states_are_suspected(fit, judged, clouds, layer):
    detector = fit(KernelDensity, layer=layer)
    states, labels = clouds(seed=5)
    natural = judged(detector, states)
    assert torch.equal(natural.label, torch.from_numpy(labels))
    between = judged(detector, (states[labels == 0] + states[labels == 1]) / 2)
    assert roc_auc_score([0] * 300 + [1] * 100, torch.cat([natural.score, between.score])) > 0.95


def test_only_so_many_images_per_class_are_kept(fit, clouds):
    detector = fit(KernelDensity, clouds(60), images_per_class=40)
    assert [len(points) for points in detector.points] == [40, 40, 40]
    everything = fit(KernelDensity, clouds(60), images_per_class=None)
    assert [len(points) for points in everything.points] == [60, 60, 60]
    for c in range(3):
        assert {tuple(row) for row in detector.points[c].states.tolist()} < {
            tuple(row) for row in everything.points[c].states.tolist()
        }


def test_saved_and_loaded_verdicts_are_the_same(fit, reloaded, judged, clouds):
    detector = fit(KernelDensity, layer=("penultimate", "logits"), images_per_class=50)
    states = clouds(seed=3)[0]
    assert torch.equal(judged(reloaded(detector), states).score, judged(detector, states).score)


def test_detector_loss_is_the_score(fit, loss_is_the_score, clouds):
    loss_is_the_score(fit(KernelDensity, bandwidth=0.1), clouds(4, seed=4)[0] + np.float32([0, 0.1, 0, 0.02, 0, -0.02]))


def test_the_suspicion_of_each_class_is_the_score_at_the_one_that_is_given(fit, judged, clouds):
    detector, states = fit(KernelDensity, bandwidth=0.1), clouds(4, seed=4)[0]
    x = torch.from_numpy(states).view(-1, 6, 1, 1)
    verdict = judged(detector, states)
    own = detector.class_suspicions(x).gather(1, verdict.label[:, None]).squeeze(1)
    torch.testing.assert_close(own, verdict.score)


def test_what_cannot_be_fitted_is_refused(fit, check, clouds):
    states, labels = clouds()
    with pytest.raises(InputError, match=r"kernel-density: no training images: 'up' 0\."):
        check(KernelDensity, (states[:200], labels[:200]))
    with pytest.raises(InputError, match="no training images: 'left' 0, 'up' 0"):
        check(KernelDensity, (states[100:200], labels[100:200]))
    with pytest.raises(InputError, match="within every class the hidden states at penultimate are all the same"):
        fit(KernelDensity, (np.zeros_like(states), labels))
    with pytest.raises(InputError, match=r"unknown layer 'penultimat'\. Did you mean 'penultimate'"):
        fit(KernelDensity, layer="penultimat")
    states[4, 2] = np.nan
    with pytest.raises(InputError, match="1 of 300 train images at layer 'penultimate' are not finite"):
        fit(KernelDensity, (states, labels))


@pytest.mark.parametrize(
    "options", [{"bandwidth": 0.0}, {"bandwidth": -1.0}, {"bandwidth": "scott"}, {"images_per_class": 0}]
)
def test_options_that_mean_nothing(options):
    with pytest.raises(ValidationError):
        KernelDensityOptions(**options)
