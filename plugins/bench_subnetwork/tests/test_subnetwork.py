"""The subnetwork's shape is the paper's; it learns, is stored, and refuses what it cannot take."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn

from bench_subnetwork.detector import DetectorSubnetwork, subnetwork
from bench_subnetwork.options import DetectorSubnetworkOptions
from benchmark import ArraySplit, Batch, Classifier, FitContext, InputError, Rng
from benchmark.progress import Progress

NAMES = ("dark", "bright")


def clean(count: int = 64, seed: int = 0) -> ArraySplit:
    """Return smooth images (N, 1, 6, 6), dark or bright."""
    generator = np.random.RandomState(seed)
    labels = np.arange(count) % 2
    pixels = np.where(labels == 0, 0.3, 0.7)[:, None, None, None] + 0.02 * generator.randn(count, 1, 6, 6)
    return ArraySplit(pixels.astype(np.float32), labels, NAMES)


def attacked(split: ArraySplit, strength: float = 0.25) -> ArraySplit:
    """Return their adversarial versions: a checkerboard is added, and dark turns bright."""
    board = strength * ((np.indices((6, 6)).sum(0) % 2) * 2 - 1)
    pixels = 1 - split.images(range(len(split))).numpy() + board
    return ArraySplit(pixels.astype(np.float32), split.labels, NAMES)


class Tokens(nn.Module):
    def forward(self, x):
        return x.flatten(2)


def classifier() -> Classifier:
    """Return a network that tells bright from dark by the mean, with states of several shapes."""
    network = nn.Sequential()
    network.add_module("maps", nn.Identity())
    network.add_module("tokens", Tokens())
    network.add_module("flat", nn.Flatten())
    network.add_module("head", head := nn.Linear(36, 2))
    with torch.no_grad():
        head.weight.copy_(torch.stack([-torch.ones(36), torch.ones(36)]))
        head.bias.copy_(torch.tensor([18.0, -18.0]))
    return Classifier(network, 2, (1, 6, 6)).frozen()


def attached(**options) -> DetectorSubnetwork:
    recipe = {"epochs": 8, "batch_size": 16, "lr": 0.01, **options.pop("train", {})}
    detector = DetectorSubnetwork(
        DetectorSubnetworkOptions.model_validate(
            {"attacks": ("board",), "layer": "maps", "width": 4, **options, "train": recipe}
        )
    )
    detector.classifier, detector.class_names = classifier(), NAMES
    detector.device, detector.shared = torch.device("cpu"), {}
    return detector


@pytest.fixture
def fit(tmp_path):
    """Return a function that fits a detector as the host does; `adversaries` by attack make adversarial splits."""

    def fit(adversaries=None, natural=None, **options) -> DetectorSubnetwork:
        detector = attached(**options)
        splits = {"train": natural or clean(), "val": clean(40, 1)}
        adversaries = adversaries or {"board": attacked}
        detector.fit(
            FitContext(
                classifier=detector.classifier,
                new_classifier=lambda rng: classifier(),
                recipe=None,
                train=splits["train"],
                val=splits["val"],
                rng=Rng(0),
                device=detector.device,
                progress=Progress(),
                checkpoint=tmp_path,
                adversaries={
                    (attack, name): make(split)
                    for attack, make in adversaries.items()
                    for name, split in splits.items()
                },
            )
        )
        return detector

    return fit


def scores(detector: DetectorSubnetwork, split: ArraySplit) -> torch.Tensor:
    with torch.no_grad():
        return detector.judge(Batch(split.images(range(len(split))), detector, Rng(0))).score


@pytest.mark.parametrize(("side", "pools"), [(32, 2), (16, 1), (8, 0), (1, 0)])
def test_the_network_is_figure_1_and_ends_at_8x8_positions(side, pools):
    network = subnetwork((16, side, side), 96)
    layers = list(network.children())
    assert sum(isinstance(layer, nn.MaxPool2d) for layer in layers) == pools
    convolutions = [layer for layer in layers if isinstance(layer, nn.Conv2d)]
    assert [(c.out_channels, c.kernel_size[0]) for c in convolutions] == [(96, 3), (192, 3), (192, 3), (2, 1)]
    assert network.eval()(torch.rand(2, 16, side, side)).shape == (2, 2)


@pytest.mark.parametrize("layer", ["input", "maps", "penultimate"])
def test_the_attack_that_it_has_seen_scores_above_unseen_clean_images(fit, layer):
    detector = fit(layer=layer)
    natural = clean(seed=2)
    assert scores(detector, attacked(natural)).min() > scores(detector, natural).max()


def test_the_label_stays_the_classifiers_and_the_host_flags(fit):
    natural = clean(seed=2)
    detector = fit()
    verdict = detector.judge(Batch(attacked(natural).images(range(64)), detector, Rng(0)))
    assert verdict.flagged is None
    assert torch.equal(verdict.label, 1 - torch.from_numpy(natural.labels))


def test_scores_do_not_depend_on_the_batch(fit):
    detector, natural = fit(), clean(seed=3)
    alone = torch.cat([detector.detector_loss(natural.images([i])) for i in range(5)])
    torch.testing.assert_close(alone, scores(detector, natural)[:5])


def test_the_classifier_is_left_as_it_was(fit):
    before = {name: tensor.clone() for name, tensor in classifier().state_dict().items()}
    after = fit().classifier
    assert not after.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in after.state_dict().items())
    assert not any(parameter.requires_grad for parameter in after.parameters())


def test_same_seed_same_subnetwork(fit, tmp_path):
    one = fit(train={"epochs": 2})
    for left in tmp_path.iterdir():
        left.unlink()
    assert torch.equal(scores(one, clean()), scores(fit(train={"epochs": 2}), clean()))


def test_saved_and_loaded_scores_are_the_same_bits(fit, tmp_path):
    detector, again = fit(), attached()
    folder = tmp_path / "state"
    folder.mkdir()
    detector.save(folder)
    again.load(folder)
    assert torch.equal(scores(detector, clean(seed=4)), scores(again, clean(seed=4)))
    assert sorted(path.suffix for path in folder.iterdir()) == [".json", ".safetensors"]


def test_descending_detector_loss_evades_it(fit):
    detector = fit()
    x = attached_images = attacked(clean(seed=5)).images(range(16))
    for _ in range(20):
        x = x.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(detector.detector_loss(x).sum(), x)
        x = x - 0.05 * gradient.sign()
    assert detector.detector_loss(x).max() < detector.detector_loss(attached_images).min()


def test_failed_attacks_are_left_out_where_only_successful_ones_are_asked_for(fit):
    def half(split: ArraySplit) -> ArraySplit:
        pixels = attacked(split).images(range(len(split))).numpy()
        kept = split.images(range(len(split))).numpy()
        pixels[: len(split) // 2] = kept[: len(split) // 2]
        return ArraySplit(pixels, split.labels, NAMES)

    detector = fit({"board": half}, learn_from="successful")
    natural = clean(seed=2)
    assert scores(detector, attacked(natural)).min() > scores(detector, natural).max()


def refusal(fit, **arguments) -> str:
    with pytest.raises(InputError) as refused:
        fit(**arguments)
    return str(refused.value)


def test_an_attack_that_fooled_nothing_is_refused(fit):
    said = refusal(fit, adversaries={"board": lambda split: split}, learn_from="successful")
    assert "attacks: board give 0 successful examples on 64 train images, at least 20" in said


def test_an_unknown_layer_is_refused_with_its_near_match(fit):
    assert "unknown layer 'map'. Did you mean 'maps'? Known: flat, head, input, maps" in refusal(fit, layer="map")


def test_states_without_positions_for_a_convolution_are_refused(fit):
    assert "layer 'tokens' has states of shape (1, 36)" in refusal(fit, layer="tokens")


def test_states_that_are_not_finite_are_refused(fit):
    pixels = clean().images(range(64)).numpy()
    pixels[7, 0, 0, 0] = np.nan
    broken = ArraySplit(pixels, clean().labels, NAMES)
    assert "states at layer 'maps' hold NaN or infinity" in refusal(fit, natural=broken)


@pytest.mark.parametrize(
    "options",
    [
        {"layer": "a"},
        {"attacks": ("a",)},
        {"attacks": (), "layer": "a"},
        {"attacks": ("a", "a"), "layer": "a"},
        {"attacks": ("a",), "layer": "a", "width": 0},
        {"attacks": ("a",), "layer": "a", "train": {"augment": ("flip",)}},
    ],
)
def test_options_that_mean_nothing_are_refused(options):
    with pytest.raises(ValidationError):
        DetectorSubnetworkOptions(**options)


SUITE = """
suite: blobs
datasets: {blobs: {use: blobs, count: 60}}
models: {linear: {use: linear}}
attacks: {step: {use: step, eps: 0.9}}
defenses:
  subnet:
    use: detector-subnetwork
    attacks: [step]
    layer: input
    width: 4
    train: {epochs: 8, batch_size: 16, lr: 0.01}
grid: [{}]
"""


def test_through_the_host_a_seen_attack_is_detected(tmp_path, monkeypatch):
    from inline import run_inline

    from benchmark.plugins import load_plugins
    from benchmark.suite import load_suite

    monkeypatch.setenv("BENCH_PLUGINS", "core")
    path = tmp_path / "suite.yaml"
    path.write_text(SUITE)
    registry = load_plugins(["toy", "inline", "bench_subnetwork"])
    code, run, said = run_inline(load_suite(str(path), registry=registry), registry, tmp_path)
    assert code == 0, said
    metrics = run.metrics
    assert float(metrics[metrics.metric == "auroc"].value.iloc[0]) > 0.95
