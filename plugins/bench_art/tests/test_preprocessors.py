"""ART's preprocessors as defenses: what they do to pixels, what the pipeline answers, how it is attacked."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy.stats import binomtest

from bench_art import options
from bench_art.preprocessors import FeatureSqueezing, Jpeg, Preprocessor, SpatialSmoothing
from benchmark.defense import Batch
from benchmark.gradient import ascend, classification_loss
from benchmark.model import Passes, passes
from benchmark.randomness import Rng

ALL = [
    Jpeg(options.JpegOptions()),
    FeatureSqueezing(options.FeatureSqueezingOptions()),
    SpatialSmoothing(options.SpatialSmoothingOptions()),
]


def images(channels: int, height: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(3, channels, height, width, generator=Rng(seed).torch)


def deployed(preprocessor: Preprocessor, digits) -> Preprocessor:
    preprocessor.classifier = digits.victim.classifier
    preprocessor.device = digits.victim.device
    return preprocessor


@given(channels=st.sampled_from([1, 2, 3, 4]), height=st.integers(1, 20), width=st.integers(1, 20))
@pytest.mark.parametrize("preprocessor", ALL, ids=lambda p: type(p).__name__)
def test_any_channels_and_size(preprocessor, channels, height, width):
    x = images(channels, height, width)
    kept = x.clone()
    treated = preprocessor.apply(x)
    assert treated.shape == x.shape
    assert treated.dtype == torch.float32
    assert treated.min() >= 0
    assert treated.max() <= 1
    assert torch.equal(x, kept)
    # Each image is treated alone, and rounding below 0 or above 1 does no harm.
    assert torch.equal(preprocessor.apply(x[1:2]), treated[1:2])
    assert torch.equal(preprocessor.apply(torch.where(x < 0.1, -1e-6, x)), preprocessor.apply(x * (x >= 0.1)))


@pytest.mark.parametrize(("channels", "mode"), [(3, "RGB"), (1, "L")])
def test_jpeg_is_pillows(channels, mode):
    x = images(channels, 13, 16)
    treated = Jpeg(options.JpegOptions(quality=40)).apply(x)
    for image, found in zip(x, treated, strict=True):
        pixels = (image.permute(1, 2, 0).numpy() * 255).astype(np.uint8)  # ART cuts off, it does not round
        buffer = io.BytesIO()
        Image.fromarray(pixels.squeeze(2) if mode == "L" else pixels).save(buffer, "jpeg", quality=40)
        expected = np.asarray(Image.open(buffer)).reshape(13, 16, channels)
        assert np.array_equal(np.rint(found.permute(1, 2, 0).numpy() * 255), expected)


@pytest.mark.parametrize("bits", [1, 3, 8])
def test_feature_squeezing_rounds_to_levels(bits):
    x = images(3, 5, 7)
    levels = 2**bits - 1
    treated = FeatureSqueezing(options.FeatureSqueezingOptions(bit_depth=bits)).apply(x)
    assert torch.allclose(treated * levels, (treated * levels).round(), atol=1e-4)
    assert (treated - x).abs().max() <= 0.5 / levels + 1e-6


@pytest.mark.parametrize("channels", [1, 3])
def test_spatial_smoothing_is_a_median_per_channel(channels):
    x = images(channels, 9, 11)
    treated = SpatialSmoothing(options.SpatialSmoothingOptions(window_size=3)).apply(x)
    inner = x.unfold(2, 3, 1).unfold(3, 3, 1).flatten(4).median(4).values
    assert torch.equal(treated[:, :, 1:-1, 1:-1], inner)
    speck = torch.zeros(1, channels, 8, 8)
    speck[:, :, 4, 4] = 1
    assert (SpatialSmoothing(options.SpatialSmoothingOptions()).apply(speck) == 0).all()


@pytest.mark.parametrize("preprocessor", ALL, ids=lambda p: type(p).__name__)
def test_judges_the_treated_image(digits, preprocessor):
    defense = deployed(preprocessor, digits)
    x = digits.x[:40]
    verdict = defense.judge(Batch(x, defense, Rng(0)))
    assert torch.equal(verdict.label, defense.classifier(defense.apply(x)).argmax(1))
    assert (verdict.score, verdict.flagged) == (None, None)
    assert (verdict.label == digits.y[:40]).float().mean() > 0.5
    assert defense.family == "preprocessor"
    assert not defense.gives_scores
    assert defense.passes(100, 10, None) == Passes(0, 0)


@pytest.mark.parametrize("preprocessor", ALL, ids=lambda p: type(p).__name__)
def test_surrogate_is_real_forward_and_identity_backward(digits, preprocessor):
    defense = deployed(preprocessor, digits)
    surrogate = defense.surrogate().eval()
    x = digits.x[:10].clone().requires_grad_()
    before = passes.copy()
    logits = surrogate(x)
    assert torch.equal(logits, defense.classifier(defense.apply(x)))
    (gradient,) = torch.autograd.grad(logits[:, 3].sum(), x)
    assert (passes - before).backward == 10
    treated = defense.apply(x).requires_grad_()
    (expected,) = torch.autograd.grad(defense.classifier(treated)[:, 3].sum(), treated)
    assert torch.equal(gradient, expected)
    assert (gradient != 0).any()


def test_white_box_beats_gray_box(digits):
    """Athalye et al. 2018: an attack through the surrogate breaks what an oblivious one leaves standing."""
    defense = deployed(SpatialSmoothing(options.SpatialSmoothingOptions()), digits)

    def withstood(network) -> torch.Tensor:
        loss = classification_loss(network, digits.y)
        x_adv = ascend(loss, digits.x, norm="linf", eps=0.1, step=0.025, steps=20)
        return defense.judge(Batch(x_adv, defense, Rng(0))).label == digits.y

    oblivious, adaptive = withstood(defense.classifier), withstood(defense.surrogate())
    assert adaptive.sum() < oblivious.sum()
    # A paired sign test: the images on which they differ favour the adaptive attack.
    better, worse = int((oblivious & ~adaptive).sum()), int((~oblivious & adaptive).sum())
    assert binomtest(better, better + worse, alternative="greater").pvalue < 0.05
