"""Squeezers are those of ART, SciPy and the formula; the score is the paper's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy import ndimage
from torch import nn

from bench_detectors.feature_squeezing import (
    FeatureSqueezingDetector,
    denoise,
    from_lab,
    median_filter,
    non_local_means,
    reduce_bits,
    to_lab,
)
from bench_detectors.options import FeatureSqueezingDetectorOptions
from benchmark import Batch, Classifier, Rng


def picture(shape=(3, 3, 9, 7), seed=0) -> torch.Tensor:
    return torch.rand(shape, generator=Rng(seed).torch)


@pytest.mark.parametrize("bits", [1, 2, 5, 8])
def test_bits_are_those_of_art(bits):
    from art.defences.preprocessor import FeatureSqueezing

    x = picture()
    expected, _ = FeatureSqueezing((0.0, 1.0), bit_depth=bits)(x.numpy())
    np.testing.assert_allclose(reduce_bits(x, bits).numpy(), expected, atol=1e-6)
    assert len(reduce_bits(x, bits).unique()) <= 2**bits


@given(side=st.integers(2, 7), height=st.integers(1, 9), width=st.integers(1, 9), seed=st.integers(0, 100))
def test_median_is_scipys(side, height, width, seed):
    x = picture((2, 2, height, width), seed)
    expected = ndimage.median_filter(x.numpy(), size=(1, 1, side, side), mode="reflect")
    np.testing.assert_array_equal(median_filter(x, side).numpy(), expected)


def test_the_median_of_many_images_is_that_of_each():
    x = picture((40, 3, 64, 64))  # three times as much as is looked at together
    assert torch.equal(median_filter(x, 5), torch.cat([median_filter(image, 5) for image in x.split(1)]))


def naive_non_local_means(image: np.ndarray, strength: float, search: int, patch: int) -> np.ndarray:
    """Return one image (C, H, W), pixel by pixel."""
    reach, radius = search // 2, patch // 2
    padded = np.pad(image.astype(np.float64), ((0, 0), *[(reach + radius,) * 2] * 2), mode="reflect")

    def around(row: int, column: int) -> np.ndarray:
        return padded[:, row - radius : row + radius + 1, column - radius : column + radius + 1]

    answer = np.zeros(image.shape)
    for row in range(image.shape[1]):
        for column in range(image.shape[2]):
            i, j = row + reach + radius, column + reach + radius
            total = weights = 0.0
            for k in range(i - reach, i + reach + 1):
                for m in range(j - reach, j + reach + 1):
                    squares = ((around(i, j) - around(k, m)) ** 2).mean()
                    weight = np.exp(-squares / strength**2)
                    total, weights = total + weight * padded[:, k, m], weights + weight
            answer[:, row, column] = total / weights
    return answer


@pytest.mark.parametrize(
    ("channels", "search", "patch", "strength"), [(3, 5, 3, 0.16), (1, 7, 1, 0.08), (2, 3, 5, 0.02)]
)
def test_non_local_means_is_the_formula(channels, search, patch, strength):
    x = picture((2, channels, 7, 6)) * 0.5
    expected = np.stack([naive_non_local_means(image, strength, search, patch) for image in x.numpy()])
    np.testing.assert_allclose(non_local_means(x, strength, search, patch).numpy(), expected, atol=1e-5)


@settings(max_examples=20)
@given(
    channels=st.integers(1, 2),
    search=st.sampled_from([1, 3, 5]),
    patch=st.sampled_from([1, 3]),
    height=st.integers(4, 6),
    width=st.integers(4, 6),
    seed=st.integers(0, 100),
)
def test_non_local_means_has_its_gradient(channels, search, patch, height, width, seed):
    x = (0.3 * picture((2, channels, height, width), seed)).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: non_local_means(x, 0.2, search, patch), (x,))


def test_what_is_unlike_weighs_nothing_and_has_a_finite_gradient():
    """A weight of exp(-10^4) is 0; the gradient stays finite."""
    x = picture((1, 1, 6, 6)).requires_grad_()
    smoothed = non_local_means(x, 1e-3, 5, 3)
    torch.testing.assert_close(smoothed, x)
    (gradient,) = torch.autograd.grad(smoothed.sum(), x)
    torch.testing.assert_close(gradient, torch.ones_like(x))


def test_non_local_means_keeps_edges_and_removes_noise():
    clean = torch.zeros(1, 1, 16, 16)
    clean[..., 8:] = 1
    noisy = clean + 0.02 * torch.randn(clean.shape, generator=Rng(0).torch)
    smoothed = denoise(noisy, 10.0, 11, 3)
    assert torch.equal(smoothed, non_local_means(noisy, 10 / 255, 11, 3))
    assert (smoothed - clean).norm() < 0.5 * (noisy - clean).norm()
    assert (smoothed - clean).abs().max() < 0.1


def test_colour_is_smoothed_apart_from_lightness():
    """Lightness alternates by more than the filter takes for noise, colour by less."""
    lab = torch.full((1, 3, 12, 12), 0.0)
    lab[:, 0] = 0.5 + 0.1 * (torch.arange(12) % 2)
    lab[:, 1] = 0.002 * (torch.arange(12) % 2)[:, None]
    smoothed = to_lab(denoise(from_lab(lab), 4.0, 7, 3))
    torch.testing.assert_close(smoothed[:, 0], lab[:, 0], atol=1e-3, rtol=0)
    assert smoothed[0, 1].std() < 0.5 * lab[0, 1].std()


def test_lab_and_back():
    x = picture()
    torch.testing.assert_close(from_lab(to_lab(x)), x, atol=1e-5, rtol=0)
    # White, black and middle grey have no colour; CIE 1976 lightness of 18 % grey is 49.5.
    greys = torch.tensor([1.0, 0.0, 0.18]).view(3, 1, 1, 1).expand(3, 3, 1, 1)
    lab = to_lab(greys)[:, :, 0, 0]
    torch.testing.assert_close(lab[:, 0], torch.tensor([1.0, 0.0, 0.495]), atol=1e-3, rtol=0)
    torch.testing.assert_close(lab[:, 1:], torch.zeros(3, 2), atol=1e-5, rtol=0)
    red = to_lab(torch.tensor([1.0, 0, 0]).view(1, 3, 1, 1))[0, :, 0, 0] * torch.tensor([100, 255, 255])
    torch.testing.assert_close(red, torch.tensor([53.24, 80.09, 67.20]), atol=0.05, rtol=0)


def detector_of(network: nn.Module, **options) -> FeatureSqueezingDetector:
    detector = FeatureSqueezingDetector(FeatureSqueezingDetectorOptions(**options))
    detector.classifier = Classifier(network, 2, (1, 4, 4)).frozen()
    detector.class_names, detector.device, detector.shared = ("dark", "bright"), torch.device("cpu"), {}
    return detector


class Corner(nn.Module):
    """Bright if the pixel in the second row and column is above a half."""

    def forward(self, x):
        corner = 20 * (x[:, 0, 1, 1] - 0.5)
        return torch.stack([-corner, corner], 1)


ONE_BIT = {"bit_depth": 1, "median": None, "nlm_strength": None}


def test_the_score_is_the_largest_l1_distance_of_the_softmax_outputs():
    detector = detector_of(Corner(), bit_depth=1, median=3, nlm_strength=None)
    x = torch.zeros(3, 1, 4, 4)
    x[1] = 1.0
    x[2, 0, 1, 1] = 0.6  # alone among zeros: one bit makes it 1, the median 0
    verdict = detector.judge(Batch(x, detector, Rng(0)))
    assert verdict.label.tolist() == [0, 1, 1]
    assert verdict.flagged is None
    bright = torch.sigmoid(torch.tensor([4.0, 20.0, -20.0]))  # at 0.6, 1 and 0
    expected = max(2 * float(bright[1] - bright[0]), 2 * float(bright[0] - bright[2]))
    torch.testing.assert_close(verdict.score, torch.tensor([0.0, 0.0, expected]))
    alone = detector_of(Corner(), **ONE_BIT)
    torch.testing.assert_close(
        alone.judge(Batch(x, alone, Rng(0))).score[2], 2 * (bright[1] - bright[0]), rtol=1e-5, atol=1e-6
    )


def test_small_steps_over_a_boundary_are_suspected():
    detector = detector_of(Corner(), bit_depth=2, median=None, nlm_strength=None)  # levels 0, 1/3, 2/3, 1
    x = torch.linspace(0, 1, 31).view(-1, 1, 1, 1).expand(-1, 1, 4, 4).clone()
    score = detector.judge(Batch(x, detector, Rng(0))).score
    levels = (x[:, 0, 0, 0] * 3 - (x[:, 0, 0, 0] * 3).round()).abs() < 1e-4
    assert score[levels].max() < 1e-4
    assert score.argmax() in (14, 15, 16)


def test_the_loss_has_the_gradient_of_the_whole_comparison():
    detector = detector_of(Corner(), **ONE_BIT)
    x = torch.full((1, 1, 4, 4), 0.55, requires_grad=True)
    loss = detector.detector_loss(x)
    torch.testing.assert_close(loss, detector.judge(Batch(x, detector, Rng(0))).score)
    (gradient,) = torch.autograd.grad(loss.sum(), x)
    # 2 (p(1) - p(0.55)) with p the sigmoid of 40 (x - 0.5); rounding passes the gradient on.
    at, squeezed = torch.sigmoid(torch.tensor(2.0)), torch.sigmoid(torch.tensor(20.0))
    slope = 2 * 40 * (squeezed * (1 - squeezed) - at * (1 - at))
    torch.testing.assert_close(gradient[0, 0, 1, 1], slope)
    for options in ({"median": 3}, {"nlm_strength": 30.0, "nlm_search": 3}):
        other = detector_of(
            nn.Sequential(nn.Flatten(), nn.Linear(16, 2)),
            **{"bit_depth": None, "median": None, "nlm_strength": None, **options},
        )
        start = picture((2, 1, 4, 4)).requires_grad_()
        (gradient,) = torch.autograd.grad(other.detector_loss(start).sum(), start)
        assert torch.isfinite(gradient).all()
        assert (gradient != 0).any()


@pytest.mark.parametrize(
    "options",
    [
        {"bit_depth": None, "median": None, "nlm_strength": None},
        {"bit_depth": 0},
        {"bit_depth": 9},
        {"median": 1},
        {"nlm_strength": 0.0},
        {"nlm_search": 10},
        {"nlm_patch": 2},
    ],
)
def test_options_that_mean_nothing(options):
    with pytest.raises(ValidationError):
        FeatureSqueezingDetectorOptions(**options)
