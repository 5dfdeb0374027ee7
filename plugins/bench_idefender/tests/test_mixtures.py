"""The torch likelihood is scikit-learn's; fitting refuses what cannot be fitted."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from bench_idefender.fitting import fit_class_mixtures
from bench_idefender.mixtures import ClassMixtures, Mixture
from bench_idefender.options import IDefenderOptions
from benchmark import InputError, Rng
from benchmark.progress import Progress

COVARIANCES = ("full", "tied", "diag", "spherical")


def fitted(states, labels, names=("a", "b"), rejected=0.05, **options) -> ClassMixtures:
    return fit_class_mixtures(
        states,
        np.asarray(labels),
        names,
        IDefenderOptions(**options),
        rejected=rejected,
        rng=Rng(0),
        progress=Progress(),
    )


def two_clouds(count: int = 60, dimensions: int = 5, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.RandomState(seed)
    labels = np.arange(2 * count) % 2
    return (generator.randn(2 * count, dimensions) + 3 * labels[:, None]).astype(np.float32), labels


@given(
    covariance=st.sampled_from(COVARIANCES),
    components=st.integers(1, 4),
    dimensions=st.integers(1, 24),
    count=st.integers(30, 80),
    scale=st.sampled_from([1e-3, 1.0, 1e3]),
    far=st.sampled_from([0.0, 1.0, 100.0]),
    seed=st.integers(0, 1000),
)
def test_likelihood_is_scikit_learns(covariance, components, dimensions, count, scale, far, seed):
    generator = np.random.RandomState(seed)
    states = scale * (generator.randn(count, dimensions) + far)
    mixture = GaussianMixture(
        components, covariance_type=covariance, reg_covar=1e-3 * scale**2, max_iter=5, random_state=seed
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        mixture.fit(states)
    judged = scale * (3 * generator.randn(50, dimensions) + far)
    ours = Mixture.of(mixture).log_likelihood(torch.from_numpy(judged))
    assert ours.dtype == torch.float64
    np.testing.assert_allclose(ours.numpy(), mixture.score_samples(judged), rtol=1e-6, atol=1e-6)


def test_640_dimensions_stay_exact():
    generator = np.random.RandomState(0)
    states = np.maximum(generator.randn(300, 640), 0).astype(np.float32)
    states[:, :100] = 0  # dead units
    mixtures = fitted(states, [0] * 150 + [1] * 150, components=2, max_iter=5)
    seen = torch.from_numpy(states)
    floor = 1e-3 * states[:150].astype(np.float64).var(0).mean()
    own = Rng(0).spawn("class", 0).spawn("components", 2).seed
    reference = GaussianMixture(2, reg_covar=floor, max_iter=5, random_state=own).fit(states[:150].astype(np.float64))
    ours = mixtures.log_likelihood(seen, torch.zeros(300, dtype=torch.int64))
    np.testing.assert_allclose(ours.numpy(), reference.score_samples(states.astype(np.float64)), rtol=1e-6)
    assert torch.isfinite(ours).all()


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_gradient_is_the_slope(covariance):
    states, labels = two_clouds(dimensions=3)
    mixtures = fitted(states, labels, components=2, covariance=covariance)
    classes = torch.tensor([0, 1, 1, 0])
    point = torch.randn(4, 3, generator=Rng(1).torch, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: mixtures.log_likelihood(x, classes), (point,))


def test_each_state_is_judged_under_its_own_class():
    states, labels = two_clouds()
    mixtures = fitted(states, labels)
    seen = torch.from_numpy(states)
    classes = torch.from_numpy(labels)
    together = mixtures.log_likelihood(seen, classes)
    for c in (0, 1):
        alone = mixtures.mixtures[c].log_likelihood(seen[classes == c])
        torch.testing.assert_close(together[classes == c], alone)
    assert (mixtures.log_likelihood(seen, 1 - classes) < together).all()


@given(count=st.integers(20, 400), share=st.sampled_from([0.01, 0.05, 0.1]), seed=st.integers(0, 100))
def test_thresholds_keep_their_share_of_every_class(count, share, seed):
    states, labels = two_clouds(count, 2, seed)
    mixtures = fitted(states, labels, components=1, rejected=share)
    classes = torch.from_numpy(labels)
    likelihoods = mixtures.log_likelihood(torch.from_numpy(states), classes)
    rejected = likelihoods < mixtures.thresholds[classes]
    below = int(share * count + 1e-9)
    for c in (0, 1):
        assert int(rejected[classes == c].sum()) == below
        if below:  # halfway, to the last digits of float64
            ends = likelihoods[classes == c].sort().values[below - 1 : below + 1]
            assert float(mixtures.thresholds[c]) == pytest.approx(float(ends.mean()), rel=1e-12)


def test_bic_finds_the_number_of_lumps():
    generator = np.random.RandomState(0)
    lumps = 10 * generator.randint(0, 3, 300)[:, None] + generator.randn(300, 2)
    single = generator.randn(300, 2)
    states = np.concatenate([lumps, single])
    mixtures = fitted(states, [0] * 300 + [1] * 300, components="bic")
    assert [len(mixture.means) for mixture in mixtures.mixtures] == [3, 1]


def overlapping(seed: int, count: int = 240, dimensions: int = 3) -> np.ndarray:
    """Return states (N, D) in one to four lumps, some of which run into each other."""
    generator = np.random.RandomState(seed)
    lumps = 2.5 * generator.randn(1 + seed % 4, dimensions)
    return (lumps[generator.randint(len(lumps), size=count)] + generator.randn(count, dimensions)).astype(np.float32)


def reference(states: np.ndarray, components: int, covariance: str) -> GaussianMixture:
    """Return scikit-learn's mixture of class 0, fitted to the end from the same start."""
    own = states.astype(np.float64)
    seed = Rng(0).spawn("class", 0).spawn("components", components).seed
    floor = 1e-3 * own.var(0).mean()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return GaussianMixture(components, covariance_type=covariance, reg_covar=floor, random_state=seed).fit(own)


@pytest.mark.parametrize("covariance", COVARIANCES)
@pytest.mark.parametrize("seed", range(6))
def test_bic_chooses_as_if_every_candidate_had_been_fitted_to_the_end(covariance, seed):
    states = overlapping(seed)
    chosen = fitted(states, [0] * len(states), names=("a",), components="bic", covariance=covariance)
    found = [reference(states, components, covariance) for components in range(1, 6)]
    criteria = [mixture.bic(states.astype(np.float64)) for mixture in found]
    best = next((k for k in range(4) if criteria[k + 1] > criteria[k]), 4)
    assert len(chosen.mixtures[0].means) == best + 1
    # And that one goes on until scikit-learn's own would stop.
    likelihood = chosen.log_likelihood(torch.from_numpy(states), torch.zeros(len(states), dtype=torch.int64))
    assert float(likelihood.mean()) >= found[best].score(states.astype(np.float64)) - 1e-3


@pytest.mark.parametrize("covariance", COVARIANCES)
@pytest.mark.parametrize("components", [1, 3, "bic"])
def test_fits_are_scikit_learns_own(covariance, components):
    states = overlapping(7)
    found = fitted(states, [0] * len(states), names=("a",), components=components, covariance=covariance)
    own = states.astype(np.float64)
    wanted = reference(states, len(found.mixtures[0].means), covariance).score_samples(own)
    ours = found.log_likelihood(torch.from_numpy(own), torch.zeros(len(own), dtype=torch.int64))
    np.testing.assert_allclose(ours.numpy(), wanted, rtol=1e-6, atol=1e-6)


def test_threads_change_no_bit():
    states, labels = two_clouds(300, 12)
    threads = torch.get_num_threads()
    found = []
    try:
        for number in (1, 3):
            torch.set_num_threads(number)
            found.append(fitted(states, labels, components="bic"))
    finally:
        torch.set_num_threads(threads)
    for one, other in zip(found[0].mixtures, found[1].mixtures):
        assert torch.equal(one.means, other.means)
        assert torch.equal(one.factors, other.factors)
    assert torch.equal(found[0].thresholds, found[1].thresholds)


def test_principal_components_are_scikit_learns():
    states, labels = two_clouds(dimensions=8)
    mixtures = fitted(states, labels, pca=3, components=1)
    assert mixtures.mixtures[0].means.shape == (1, 3)
    projected = mixtures.project(torch.from_numpy(states)).numpy()
    reference = PCA(3).fit_transform(states.astype(np.float64))
    np.testing.assert_allclose(np.abs(projected), np.abs(reference), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("options", [{}, {"pca": 2}, {"components": "bic", "covariance": "tied"}])
def test_saved_and_loaded_answers_are_the_same_bits(tmp_path, options):
    states, labels = two_clouds()
    mixtures = fitted(states, labels, **options)
    mixtures.save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mixtures.json", "mixtures.safetensors"]
    again = ClassMixtures.load(tmp_path)
    seen, classes = torch.from_numpy(states), torch.from_numpy(labels)
    assert torch.equal(again.log_likelihood(seen, classes), mixtures.log_likelihood(seen, classes))
    assert torch.equal(again.thresholds, mixtures.thresholds)
    assert torch.equal(again.spreads, mixtures.spreads)


def test_same_seed_same_mixtures():
    states, labels = two_clouds()
    first, second = fitted(states, labels, n_init=2), fitted(states, labels, n_init=2)
    for one, other in zip(first.mixtures, second.mixtures):
        assert torch.equal(one.means, other.means)
        assert torch.equal(one.factors, other.factors)


def refusal(states, labels, **options) -> str:
    with pytest.raises(InputError) as refused:
        fitted(states, labels, **options)
    return str(refused.value)


def test_a_class_without_images_is_refused():
    states, _ = two_clouds()
    assert "'b' 0" in refusal(states, [0] * len(states))


def test_more_components_than_images_are_refused():
    states, labels = two_clouds(30)
    assert "'a' 30, 'b' 30" in (said := refusal(states, labels, components=31))
    assert "components: 31), so 62" in said


def test_states_that_are_not_finite_are_refused():
    states, labels = two_clouds()
    states[3, 1] = np.nan
    states[9, 0] = np.inf
    assert "2 of 120 training images at layer 'penultimate'" in refusal(states, labels)


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_constant_states_are_singular(covariance):
    states, labels = two_clouds(dimensions=3)
    states[labels == 1] = 2.5
    said = refusal(states, labels, covariance=covariance, components=1)
    assert "class 'b': a covariance is singular (60 states of 3 dimensions, 3 of them constant" in said


@pytest.mark.parametrize("covariance", ["full", "tied", "diag"])
def test_dead_units_are_singular_without_regularization(covariance):
    states, labels = two_clouds(dimensions=3)
    states[:, 1] = 0
    assert "1 of them constant, regularization 0.0" in refusal(
        states, labels, covariance=covariance, regularization=0.0, components=1
    )
    fitted(states, labels, covariance=covariance, components=1)


def test_fewer_images_than_dimensions_are_singular_without_regularization():
    states, labels = two_clouds(25, 30)
    assert "singular (25 states of 30 dimensions" in refusal(states, labels, regularization=0.0, components=1)


def test_too_many_principal_components_are_refused():
    states, labels = two_clouds(dimensions=5)
    assert "pca: 6 components of 120 states with 5 dimensions, at most 5" in refusal(states, labels, pca=6)


def test_covariances_beyond_memory_are_refused():
    states = np.zeros((2000, 6000), np.float32)
    said = refusal(states, np.arange(2000) % 100, names=[f"c{c}" for c in range(100)], components=1)
    assert "100 covariance matrices of 6000 dimensions take 27 GiB, at most 4 GiB" in said
