"""Architectures against their papers: layers, parameters, images that they take, weights files."""

from __future__ import annotations

import pickle
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from sklearn.datasets import load_digits
from torch import nn

import bench_models
from bench_models.tests.built import REGISTRY, Malicious, build, images, last_linear, model, parameters
from benchmark.dataset import ArraySplit
from benchmark.errors import InputError, MissingError
from benchmark.model import Classifier, load_weights, save_weights
from benchmark.progress import Progress
from benchmark.randomness import Rng
from benchmark.training import Objective, train, validate

SMALL: dict[str, dict[str, Any]] = {
    "small_cnn": {"width": 4},
    "cnn6": {},
    "idefender_e": {},
    "idefender_f": {},
    "cifar_resnet": {"width": 4},
    "wide_resnet": {"depth": 10, "width": 1, "dropout": 0.3},
    "torchvision": {"arch": "mobilenet_v3_small"},
}
"""Every architecture of this plugin, small enough to build often."""


def test_every_model_has_a_summary_and_options_that_need_no_torch():
    registered = REGISTRY.all("model")
    assert {r.name for r in registered} == {*SMALL, "timm", "python"}
    assert all(r.summary and r.version == "1" for r in registered)
    code = textwrap.dedent(
        """
        import sys, bench_models
        from benchmark.plugins import Provenance, Registry
        registry = Registry()
        registry.add_module("models", bench_models, Provenance("bench_models", "", "0"))
        for registration in registry.all("model"):
            registration.options_type().model_json_schema()
        print([m for m in ("torch", "torchvision", "timm") if m in sys.modules])
        """
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


@pytest.mark.parametrize("use", SMALL)
def test_every_option_is_documented_and_the_readme_names_it(use):
    readme = (Path(bench_models.__file__).parent / "README.md").read_text()
    for name, schema in REGISTRY.get("model", use).options_type().model_json_schema()["properties"].items():
        assert schema["description"], (use, name)
        assert f"`{name}`" in readme, (use, name)


@pytest.mark.parametrize("use", SMALL)
@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 28, 28)])
def test_logits_and_penultimate_state(use, shape):
    classifier = build(use, shape, classes=7, **SMALL[use])
    x = images(shape)
    states = classifier.features(x, ["penultimate"])
    head = last_linear(classifier.network)
    assert states["logits"].shape == (3, 7)
    assert head.out_features == 7
    torch.testing.assert_close(head(states["penultimate"]), states["logits"])
    torch.testing.assert_close(classifier(x), states["logits"])


@pytest.mark.parametrize("use", SMALL)
def test_initial_weights_come_from_the_given_randomness_alone(use):
    torch.manual_seed(1)
    first, state = build(use, seed=3, **SMALL[use]), torch.get_rng_state()
    torch.manual_seed(2)
    second, other = build(use, seed=3, **SMALL[use]), build(use, seed=4, **SMALL[use])
    torch.manual_seed(1)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(
        torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )
    assert not torch.equal(first(images((3, 32, 32))), other(images((3, 32, 32))))


@pytest.mark.parametrize("use", SMALL)
def test_weights_survive_a_file(use, tmp_path):
    first = build(use, seed=1, normalize="imagenet", **SMALL[use])
    file = tmp_path / "weights.safetensors"
    save_weights(first, file)
    second = build(use, seed=2, normalize="imagenet", **SMALL[use])
    load_weights(second, file)
    third = build(use, seed=3, normalize="imagenet", weights=str(file), **SMALL[use])
    x = images((3, 32, 32))
    assert torch.equal(first(x), second(x))
    assert torch.equal(first(x), third(x))


@pytest.mark.parametrize("use", SMALL)
def test_every_architecture_learns_on_digits_sized_batches(use):
    """Gradients reach every parameter, in train mode, from one batch."""
    classifier = build(use, (1, 28, 28), **SMALL[use]).train()
    torch.nn.functional.cross_entropy(classifier(images((1, 28, 28), 8)), torch.arange(8)).backward()
    missing = [name for name, parameter in classifier.named_parameters() if parameter.grad is None]
    assert missing == []


def test_weights_of_another_architecture_are_refused_by_name(tmp_path):
    save_weights(build("idefender_e"), tmp_path / "e.safetensors")
    with pytest.raises(InputError, match=r"does not fit the architecture: .*conv1\.0\.weight is missing"):
        build("idefender_f", weights=str(tmp_path / "e.safetensors"))


@pytest.mark.parametrize("raw", [True, False], ids=["plain pickle", "torch.save"])
def test_a_pickle_is_refused_and_never_executed(tmp_path, raw):
    trap, file = tmp_path / "executed", tmp_path / "weights.pt"
    state = {**build("idefender_e").network.state_dict(), "extra": Malicious(trap)}
    if raw:
        file.write_bytes(pickle.dumps(state))
    else:
        torch.save(state, file)
    for use in (model("idefender_e", weights=str(file)).check, lambda: build("idefender_e", weights=str(file))):
        with pytest.raises(InputError, match="A pickle is never executed"):
            use()
    assert not trap.exists()


@pytest.mark.parametrize("use", ["small_cnn", "cnn6", "idefender_e", "idefender_f", "cifar_resnet", "wide_resnet"])
def test_a_name_for_weights_is_refused_where_no_names_are_known(use):
    with pytest.raises(ValidationError, match="'IMAGENET1K_V1' is no weights file"):
        model(use, weights="IMAGENET1K_V1")


def test_missing_weights_file_says_where_it_looked(tmp_path):
    with pytest.raises(MissingError, match="nowhere"):
        model("cnn6", weights=str(tmp_path / "nowhere.safetensors")).check()


def test_idefender_table_1():
    assert parameters("idefender_e", (1, 28, 28)) == (784 * 200 + 200) + (200 * 200 + 200) + (200 * 10 + 10)
    # 28 -> 14 (8x8, stride 2, same) -> 5 (6x6, stride 2, valid)
    first, second, last = 64 * 8 * 8 + 64, 128 * 64 * 6 * 6 + 128, 128 * 5 * 5 * 10 + 10
    assert parameters("idefender_f", (1, 28, 28)) == first + second + last
    states = build("idefender_f", (1, 28, 28)).features(images((1, 28, 28)), ["conv1", "conv2", "penultimate"])
    assert states["conv1"].shape == (3, 64, 14, 14)
    assert states["conv2"].shape == (3, 128, 5, 5)
    assert torch.equal(states["penultimate"], states["conv2"].flatten(1))
    states = build("idefender_e", (1, 28, 28)).features(images((1, 28, 28)), ["hidden1", "hidden2", "penultimate"])
    assert states["hidden1"].shape == (3, 200)
    assert torch.equal(states["penultimate"], states["hidden2"])
    assert states["hidden2"].min() == 0  # after the ReLU


def test_idefender_f_as_defense_gan_released_it_ends_in_128_states():
    states = build("idefender_f", (1, 28, 28), third_convolution=True).features(images((1, 28, 28)), ["conv3"])
    assert states["conv3"].shape == (3, 128, 1, 1)


def test_cnn6_table_1_of_pcl():
    convolutions = [(1, 32), (32, 32), (32, 64), (64, 64), (64, 128), (128, 128)]
    expected = sum(25 * a * b + b + 1 for a, b in convolutions)  # with a bias per channel and one PReLU each
    expected += sum(a * b + b for a, b in [(128, 512), (512, 64), (64, 10)])
    assert parameters("cnn6", (1, 28, 28)) == expected
    states = build("cnn6", (1, 28, 28)).features(images((1, 28, 28)), ["layer3", "gap", "fc1", "fc2", "penultimate"])
    assert states["gap"].shape == (3, 128)
    torch.testing.assert_close(states["gap"], states["layer3"].mean(dim=(2, 3)))
    assert states["fc1"].shape == (3, 512)
    assert states["fc2"].shape == (3, 64)
    assert torch.equal(states["penultimate"], states["fc2"])


def test_pcl_resnet_110_has_12_bottlenecks_per_stage():
    options = {"block": "bottleneck", "depth": 110, "hidden": 1024}
    with torch.device("meta"):
        network = model("cifar_resnet", **options).network(100, (3, 32, 32))
        states = Classifier(network, 100, (3, 32, 32)).features(
            torch.zeros(2, 3, 32, 32), ["stage1", "stage2", "stage3", "gap", "hidden", "penultimate"]
        )
    assert [len(network.get_submodule(f"stage{stage}")) for stage in (1, 2, 3)] == [12, 12, 12]
    assert states["stage1"].shape == (2, 64, 32, 32)
    assert states["stage2"].shape == (2, 128, 16, 16)
    assert states["stage3"].shape == (2, 256, 8, 8)
    assert states["gap"].shape == (2, 256)
    assert states["hidden"].shape == states["penultimate"].shape == (2, 1024)


@pytest.mark.parametrize(
    ("depth", "millions"), [(20, 0.27), (32, 0.46), (44, 0.66), (56, 0.85), (110, 1.7)], ids=lambda value: str(value)
)
def test_parameters_of_resnets_in_table_6_of_he_et_al(depth, millions):
    digits = 2 if millions < 1 else 1
    assert round(parameters("cifar_resnet", depth=depth) / 1e6, digits) == millions


@pytest.mark.parametrize(
    ("depth", "width", "millions"),
    [(40, 1, 0.6), (40, 2, 2.2), (40, 4, 8.9), (16, 8, 11.0), (22, 8, 17.2), (28, 10, 36.5), (28, 12, 52.5)],
)
def test_parameters_of_wide_resnets_in_table_4_of_zagoruyko_and_komodakis(depth, width, millions):
    assert round(parameters("wide_resnet", depth=depth, width=width) / 1e6, 1) == millions


def test_the_usual_resnet_18_for_cifar():
    assert parameters("torchvision", arch="resnet18", stem="cifar") == 11_173_962
    classifier = build("torchvision", arch="resnet18", stem="cifar")
    assert classifier.features(images((3, 32, 32)), ["layer1"])["layer1"].shape == (3, 64, 32, 32)


@given(blocks=st.integers(1, 6), block=st.sampled_from(["basic", "bottleneck"]), hidden=st.sampled_from([None, 8]))
@settings(max_examples=15)
def test_depth_counts_the_layers_with_weights(blocks, block, hidden):
    depth = (6 if block == "basic" else 9) * blocks + 2
    with torch.device("meta"):
        network = model("cifar_resnet", block=block, depth=depth, width=2, hidden=hidden).network(10, (3, 8, 8))
    layers = [n for n, m in network.named_modules() if isinstance(m, nn.Conv2d | nn.Linear) and "shortcut" not in n]
    assert len(layers) == depth + (hidden is not None)


@given(depth=st.integers(-5, 200), block=st.sampled_from(["basic", "bottleneck"]))
def test_a_depth_that_does_not_exist_names_the_nearest(depth, block):
    step = 6 if block == "basic" else 9
    valid = [step * n + 2 for n in range(1, 60)]
    if depth in valid:
        assert model("cifar_resnet", depth=depth, block=block).options.depth == depth
        return
    nearest = min(valid, key=lambda candidate: abs(candidate - depth))
    with pytest.raises(ValidationError, match=rf"{step}n \+ 2; the nearest are .*\b{nearest}\b"):
        model("cifar_resnet", depth=depth, block=block)


def test_wide_resnet_depth():
    assert model("wide_resnet", depth=34, width=8).options.depth == 34
    with pytest.raises(
        ValidationError, match="a depth of 30 does not exist in a Wide ResNet: it is 6n \\+ 4; the nearest"
    ):
        model("wide_resnet", depth=30)


def test_wide_block_adds_its_input_to_the_residual():
    """With zero weights in the last convolution a block without a new shape is the identity."""
    network = build("wide_resnet", depth=16, width=1).network
    block = network.get_submodule("stage1.1")
    nn.init.zeros_(block.get_submodule("residual.4").weight)
    x = images((16, 8, 8))
    assert torch.equal(block(x), x)


@given(
    side=st.integers(8, 40),
    ratio=st.sampled_from([1.0, 1.5]),
    channels=st.sampled_from([1, 3]),
    depth=st.integers(1, 3),
    batch_norm=st.booleans(),
    dropout=st.sampled_from([0.0, 0.5]),
)
@settings(max_examples=25)
def test_small_cnn_takes_any_image_from_8x8(side, ratio, channels, depth, batch_norm, dropout):
    shape = (channels, side, int(side * ratio))
    classifier = build("small_cnn", shape, width=2, depth=depth, batch_norm=batch_norm, dropout=dropout, hidden=16)
    states = classifier.features(images(shape), [f"block{depth}", "hidden", "penultimate"])
    assert states["logits"].shape == (3, 10)
    assert torch.equal(states["penultimate"], states["hidden"])
    assert states[f"block{depth}"].shape[1] == 2 * 2 ** (depth - 1)


@pytest.mark.parametrize(
    ("use", "options", "least"),
    [
        ("small_cnn", {}, 8),
        ("small_cnn", {"depth": 5}, 32),
        ("cnn6", {}, 8),
        ("idefender_f", {}, 12),
        ("idefender_f", {"third_convolution": True}, 28),
    ],
)
def test_images_too_small_are_refused_and_the_smallest_are_taken(use, options, least):
    assert build(use, (1, least, least), **options)(images((1, least, least))).shape == (3, 10)
    with pytest.raises(InputError, match=rf"needs images of at least {least}x{least} pixels, these are {least - 1}x40"):
        build(use, (1, least - 1, 40), **options)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("use", "options", "least"),
    [
        ("small_cnn", {"width": 16}, 0.95),
        ("cnn6", {}, 0.9),
        ("idefender_e", {}, 0.9),
        ("idefender_f", {}, 0.9),
        ("cifar_resnet", {"depth": 8, "train": {"augment": []}}, 0.95),
        ("wide_resnet", {"depth": 10, "width": 1, "train": {"augment": []}}, 0.95),
    ],
)
def test_handwritten_digits_are_learnt_by_the_recipe_that_each_model_brings(use, options, least):
    digits = load_digits()
    images = np.kron(digits.images / 16, np.ones((1, 2, 2)))[:, None].astype(np.float32)  # 16x16, for idefender_f
    order = np.random.RandomState(0).permutation(len(images))
    names = [str(digit) for digit in range(10)]
    fit, val, test = (ArraySplit(images[p], digits.target[p], names) for p in np.split(order, [1100, 1300]))
    chosen = model(use, **options)
    recipe = chosen.options.train.model_copy(update={"epochs": 5, "batch_size": 64})
    classifier = chosen.build(10, (1, 16, 16), Rng(0))
    train(classifier, fit, val, recipe, rng=Rng(0), device=torch.device("cpu"), progress=Progress())
    assert validate(classifier, test, Objective(), Rng(0), 256, torch.device("cpu"))["accuracy"] > least


def test_a_part_of_the_recipe_keeps_the_rest_of_the_papers():
    assert model("cifar_resnet", train={"epochs": 5}).options.train.lr == 0.1
    assert model("cnn6", train={"epochs": 5}).options.train.lr == 0.01
    assert model("wide_resnet", train={"epochs": 5}).options.train.augment == ("flip", "crop")
    assert model("wide_resnet", train=None).options.train is None
