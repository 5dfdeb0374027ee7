"""Architectures against their papers, weights files, and the doors to torchvision, timm and one's own code."""

from __future__ import annotations

import hashlib
import pickle
import subprocess
import sys
import textwrap
import urllib.error
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from sklearn.datasets import load_digits
from torch import nn

import bench_models
from benchmark.dataset import ArraySplit
from benchmark.errors import InputError, MissingError, TaskError
from benchmark.model import Classifier, Model, load_weights, save_weights
from benchmark.plugins import Provenance, Registry
from benchmark.progress import Progress
from benchmark.randomness import Rng
from benchmark.training import Objective, train, validate

REGISTRY = Registry()
REGISTRY.add_module("models", bench_models, Provenance("bench_models", "unmask-bench", "0"))

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


def model(use: str, **options: Any) -> Model:
    made: Model = REGISTRY.create("model", use, options)
    return made


def build(
    use: str, shape: tuple[int, int, int] = (3, 32, 32), seed: int = 0, classes: int = 10, **options: Any
) -> Classifier:
    return model(use, **options).build(classes, shape, Rng(seed)).eval()


def parameters(use: str, shape: tuple[int, int, int] = (3, 32, 32), classes: int = 10, **options: Any) -> int:
    """Count parameters without memory for them."""
    with torch.device("meta"):
        return count(model(use, **options).network(classes, shape))


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def last_linear(network: nn.Module) -> nn.Linear:
    return [module for module in network.modules() if isinstance(module, nn.Linear)][-1]


def images(shape: tuple[int, int, int], number: int = 3) -> torch.Tensor:
    return torch.rand(number, *shape, generator=torch.Generator().manual_seed(5))


# -- all architectures ------------------------------------------------------------------------------------------------


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


class Malicious:
    """Writes a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.target,))


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


# -- architectures of the papers --------------------------------------------------------------------------------------


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


# -- torchvision ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arch", "side"),
    [
        ("alexnet", 224),
        ("densenet121", 64),
        ("efficientnet_b0", 64),
        ("googlenet", 64),
        ("inception_v3", 96),
        ("maxvit_t", 224),
        ("mnasnet0_5", 64),
        ("resnet18", 64),
        ("shufflenet_v2_x0_5", 64),
        ("squeezenet1_1", 64),
        ("swin_t", 64),
        ("vgg11", 64),
        ("vit_b_32", 64),
    ],
)
def test_one_architecture_of_each_torchvision_family(arch, side):
    with torch.device("meta"):
        network = model("torchvision", arch=arch).network(7, (3, side, side))
        classifier = Classifier(network, 7, (3, side, side)).eval()
        if arch == "squeezenet1_1":  # its head is a convolution
            with pytest.raises(InputError, match="no fully connected layer"):
                classifier.features(torch.zeros(2, 3, side, side))
            return
        states = classifier.features(torch.zeros(2, 3, side, side))
    assert states["logits"].shape == (2, 7)
    assert states["penultimate"].ndim == 2
    assert last_linear(classifier.network).out_features == 7


@pytest.mark.slow
def test_the_last_linear_layer_is_the_head_in_all_of_torchvision():
    """`penultimate` relies on it. RegNets compute with tensors while they are built, so only the smallest is."""
    names = [n for n in torchvision.models.list_models(module=torchvision.models) if not n.startswith("regnet")]
    for arch in [*names, "regnet_y_400mf"]:
        arguments = {"aux_logits": False, "init_weights": False} if arch in ("googlenet", "inception_v3") else {}
        with torch.device("cpu" if arch.startswith("regnet") else "meta"):
            network = torchvision.models.get_model(arch, num_classes=7, **arguments)
        linear = [module for module in network.modules() if isinstance(module, nn.Linear)]
        assert arch.startswith("squeezenet") or linear[-1].out_features == 7, arch


def test_torchvision_counts_its_own_parameters_alike():
    for arch, weights in (
        ("resnet50", torchvision.models.ResNet50_Weights),
        ("vit_b_16", torchvision.models.ViT_B_16_Weights),
    ):
        assert parameters("torchvision", (3, 224, 224), 1000, arch=arch) == weights.IMAGENET1K_V1.meta["num_params"]


def test_unknown_torchvision_architecture_names_the_nearest():
    with pytest.raises(InputError, match=r"no 'resnet81' among its .* classifiers. Did you mean 'resnet18'"):
        model("torchvision", arch="resnet81").check()
    with pytest.raises(ValidationError, match="arch"):
        model("torchvision", arch="../resnet18")


def test_unknown_weights_name_the_known_ones():
    with pytest.raises(InputError, match=r"unknown weights of resnet50 'IMAGENET1K_V3'.*IMAGENET1K_V1, IMAGENET1K_V2"):
        model("torchvision", arch="resnet50", weights="IMAGENET1K_V3").check()


@pytest.mark.parametrize(
    ("arch", "shape", "message"),
    [
        ("vgg11", (3, 16, 16), "network cannot take images of 3x16x16 .*Output size is too small.* takes 3x32x32"),
        ("vit_b_32", (3, 48, 48), "vit_b_32 of torchvision cannot take images of 3x48x48.*divisible"),
        ("vit_b_32", (3, 32, 64), "vit_b_32 of torchvision takes square images, these are 32x64"),
        ("maxvit_t", (3, 64, 64), "maxvit_t of torchvision cannot take images of 3x64x64"),
    ],
)
def test_torchvision_refuses_images_it_cannot_take(arch, shape, message):
    with pytest.raises(InputError, match=message), torch.device("meta"):
        build("torchvision", shape, arch=arch)


def test_torchvision_refuses_five_channels():
    with pytest.raises(InputError, match="3 channels, or grey ones, these have 5"):
        build("torchvision", (5, 32, 32), arch="resnet18")


def test_grey_images_are_repeated_to_three_channels():
    grey = build("torchvision", (1, 32, 32), arch="mobilenet_v3_small", seed=1)
    colour = build("torchvision", (3, 32, 32), arch="mobilenet_v3_small", seed=1)
    x = images((1, 32, 32))
    assert torch.equal(grey(x), colour(x.repeat(1, 3, 1, 1)))


@pytest.mark.parametrize(("options", "expected"), [({}, {0.01}), ({"norm_momentum": 0.1}, {0.1})])
def test_running_statistics_follow_as_told(options, expected):
    network = build("torchvision", arch="mobilenet_v3_small", **options)
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    assert {module.momentum for module in norms} == expected
    network.train()
    network(torch.rand(8, 3, 32, 32))
    # They begin at 1; the first channels see the images themselves.
    moved = (norms[0].running_var - 1).abs().max().item()
    assert (moved > 0.05) == bool(options)


def test_hidden_states_are_not_overwritten_by_a_relu_that_works_in_place():
    classifier = build("torchvision", arch="resnet18")
    states = classifier.features(images((3, 32, 32)), ["bn1", "relu"])
    assert states["bn1"].min() < 0
    assert torch.equal(states["bn1"].relu(), states["relu"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"arch": "densenet121", "stem": "cifar"}, "cifar is for ResNets .* not for densenet121"),
        ({"arch": "resnet18", "stem": "cifar", "weights": "IMAGENET1K_V1"}, "does not fit the cifar stem"),
        ({"arch": "resnet18", "steem": "cifar"}, "steem"),
        ({}, "arch"),
    ],
)
def test_torchvision_options_that_make_no_sense(options, message):
    with pytest.raises(ValidationError, match=message):
        model("torchvision", **options)


@pytest.fixture
def published(tmp_path, monkeypatch):
    """Return a function that pretends torchvision had published `tensors` for an architecture."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)

    def publish(content: Any, categories: int = 5, here: bool = True) -> Path:
        torch.save(content, tmp_path / "content.pth")
        data = (tmp_path / "content.pth").read_bytes()
        name = f"net-{hashlib.sha256(data).hexdigest()[:8]}.pth"
        weights = SimpleNamespace(
            name="IMAGENET1K_V1", url=f"https://weights.invalid/{name}", meta={"categories": ["x"] * categories}
        )
        monkeypatch.setattr(torchvision.models, "get_model_weights", lambda arch: [weights])
        file = folder / name
        if here:
            file.write_bytes(data)
        return file

    return publish


def test_published_weights_are_kept_up_to_the_last_layer(published):
    torch.manual_seed(0)
    source = torchvision.models.mobilenet_v3_small(num_classes=5)
    published(source.state_dict())
    chosen = model("torchvision", arch="mobilenet_v3_small", weights="IMAGENET1K_V1")
    chosen.check()
    classifier = chosen.build(3, (3, 32, 32), Rng(0)).eval()
    own, given_ = classifier.network.state_dict(), source.state_dict()
    different = [
        name for name in own if own[name].shape != given_[name].shape or not torch.equal(own[name], given_[name])
    ]
    assert different == ["classifier.3.weight", "classifier.3.bias"]
    assert classifier(images((3, 32, 32))).shape == (3, 3)
    again = chosen.build(3, (3, 32, 32), Rng(0)).eval()
    assert torch.equal(again(images((3, 32, 32))), classifier(images((3, 32, 32))))


def test_densenets_old_names_and_inceptions_auxiliary_heads_are_understood(published):
    torch.manual_seed(0)
    dense = torchvision.models.densenet121(num_classes=5).state_dict()
    old = {
        name.replace("norm1.", "norm.1.")
        .replace("norm2.", "norm.2.")
        .replace("conv1.", "conv.1.")
        .replace("conv2.", "conv.2."): t
        for name, t in dense.items()
    }
    assert set(old) != set(dense)
    published(old)
    network = build("torchvision", arch="densenet121", weights="IMAGENET1K_V1").network
    name = "features.denseblock1.denselayer1.conv2.weight"
    assert torch.equal(network.state_dict()[name], dense[name])
    assert torch.equal(network.state_dict()["features.norm5.weight"], dense["features.norm5.weight"])

    with_heads = torchvision.models.googlenet(num_classes=5, aux_logits=True, init_weights=False)
    assert any(name.startswith("aux1.") for name in with_heads.state_dict())
    published(with_heads.state_dict())
    network = build("torchvision", arch="googlenet", weights="IMAGENET1K_V1").network
    assert torch.equal(
        network.state_dict()["inception3a.branch1.conv.weight"], with_heads.inception3a.branch1.conv.weight
    )
    assert network.transform_input  # as torchvision sets it for published weights


def test_published_weights_that_are_not_here(published, monkeypatch):
    file = published({}, here=False)
    chosen = model("torchvision", arch="resnet18", weights="IMAGENET1K_V1")
    with pytest.raises(MissingError, match="not on this machine") as missing:
        chosen.check()
    assert str(file) in str(missing.value)
    assert f"https://weights.invalid/{file.name}" in str(missing.value)
    assert "download: true" in str(missing.value)

    def refuse(*arguments: Any, **keywords: Any) -> None:
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    with pytest.raises(MissingError, match=r"could not be fetched .*no route to host"):
        model("torchvision", arch="resnet18", weights="IMAGENET1K_V1", download=True).check()


def test_download_fetches_published_weights_once_and_is_no_part_of_the_key(published, monkeypatch):
    torch.manual_seed(0)
    source = torchvision.models.shufflenet_v2_x0_5(num_classes=5)
    file = published(source.state_dict(), here=False)
    asked = []

    def fetch(url: str, destination: str, hash_prefix: str | None = None, progress: bool = True) -> None:
        asked.append((url, hash_prefix))
        Path(destination).write_bytes((file.parents[2] / "content.pth").read_bytes())

    monkeypatch.setattr(torch.hub, "download_url_to_file", fetch)
    chosen = model("torchvision", arch="shufflenet_v2_x0_5", weights="IMAGENET1K_V1", download=True)
    chosen.check()
    chosen.check()
    assert asked == [(f"https://weights.invalid/{file.name}", file.stem.rpartition("-")[2])]
    # What a worker makes of the key's options finds the file too.
    key = chosen.options.model_dump(mode="json")
    assert "download" not in key
    worker = model("torchvision", **key)
    assert torch.equal(worker.build(5, (3, 32, 32), Rng(0)).network.conv1[0].weight, source.conv1[0].weight)


def test_published_weights_that_are_damaged(published):
    file = published({"conv1.weight": torch.zeros(1)})
    file.write_bytes(file.read_bytes() + b"x")
    with pytest.raises(InputError, match="is damaged: its SHA-256 does not begin with"):
        model("torchvision", arch="resnet18", weights="IMAGENET1K_V1").check()


def test_published_weights_that_are_a_pickle_are_not_executed(published, tmp_path):
    published({"conv1.weight": Malicious(tmp_path / "executed")})
    with pytest.raises(InputError, match="A pickle is never executed"):
        build("torchvision", arch="resnet18", weights="IMAGENET1K_V1")
    assert not (tmp_path / "executed").exists()


def test_published_weights_of_another_network(published):
    published({"conv1.weight": torch.zeros(1)})
    with pytest.raises(InputError, match="IMAGENET1K_V1 of resnet18 do not fit"):
        build("torchvision", arch="resnet18", weights="IMAGENET1K_V1")


# -- timm -------------------------------------------------------------------------------------------------------------


def test_without_timm_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MissingError, match=r"pip install 'unmask-bench\[timm\]'"):
        model("timm", arch="resnet18").check()


def test_timm_networks_take_any_channels_and_sizes():
    for arch, shape in (("test_resnet", (1, 28, 28)), ("test_vit", (3, 32, 32)), ("test_convnext", (4, 64, 64))):
        chosen = model("timm", arch=arch)
        chosen.check()
        classifier = chosen.build(7, shape, Rng(0)).eval()
        states = classifier.features(images(shape))
        torch.testing.assert_close(last_linear(classifier.network)(states["penultimate"]), states["logits"])
        assert torch.equal(chosen.build(7, shape, Rng(0)).eval()(images(shape)), states["logits"])


def test_timm_says_what_does_not_exist_or_fit():
    with pytest.raises(InputError, match=r"has no 'resnet81' among its .* classifiers. Did you mean 'resnet18'"):
        model("timm", arch="resnet81").check()
    with pytest.raises(InputError, match=r"unknown tag of resnet18 'a1_in1kk'. Did you mean 'a1_in1k'"):
        model("timm", arch="resnet18.a1_in1kk").check()
    with pytest.raises(InputError, match=r"cannot .* images of 3x33x33"):
        build("timm", (3, 33, 33), arch="test_vit")
    with pytest.raises(ValidationError, match="not both"):
        model("timm", arch="resnet18", pretrained=True, weights="a.safetensors")


def test_published_timm_weights(tmp_path, monkeypatch):
    import huggingface_hub as hub
    import timm
    from safetensors.torch import save_file

    monkeypatch.setattr(hub.constants, "HF_HUB_CACHE", str(tmp_path))
    arch = "test_resnet.r160_in1k"
    chosen = model("timm", arch=arch, pretrained=True)
    with pytest.raises(MissingError, match="not on this machine") as missing:
        chosen.check()
    assert str(tmp_path) in str(missing.value)
    assert "HF_HOME" in str(missing.value)

    torch.manual_seed(0)
    source = timm.create_model("test_resnet", num_classes=1000)
    folder = tmp_path / f"models--timm--{arch}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("0" * 40)
    (folder / "snapshots" / ("0" * 40)).mkdir(parents=True)
    save_file(source.state_dict(), folder / "snapshots" / ("0" * 40) / "model.safetensors")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    chosen.check()
    classifier = chosen.build(7, (3, 32, 32), Rng(0))
    assert torch.equal(classifier.network.conv1[0].weight, source.conv1[0].weight)
    assert classifier.network.fc.out_features == 7


# -- a factory of one's own -------------------------------------------------------------------------------------------


@pytest.fixture
def nets(tmp_path, monkeypatch):
    """Write a module of factories and return its name."""
    (tmp_path / "nets_of_mine.py").write_text(
        textwrap.dedent(
            """
            import torch
            from torch import nn

            SIZE = 3

            class Nets:
                @staticmethod
                def linear(num_classes, image_shape, scale=1.0):
                    channels, height, width = image_shape
                    network = nn.Sequential(nn.Flatten(), nn.Linear(channels * height * width, num_classes))
                    nn.init.constant_(network[1].weight, scale)
                    return network

            def lazy(**options):
                return nn.Sequential(nn.Flatten(), nn.LazyLinear(options["num_classes"]))

            def fixed(): return nn.Sequential(nn.Flatten(), nn.LazyLinear(10))
            def needs_more(num_classes, depth): return nn.Identity()
            def no_module(num_classes): return "a string"
            def features(num_classes): return nn.Flatten()
            def raises(num_classes): raise ZeroDivisionError("in my code")

            class Pair(nn.Module):
                def forward(self, x):
                    return x, x
            """
        )
    )
    (tmp_path / "broken_nets.py").write_text("import not_installed_anywhere\n")
    (tmp_path / "wrong_nets.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return "nets_of_mine"


def test_a_factory_gets_the_arguments_that_it_takes(nets):
    chosen = model("python", factory=f"{nets}:Nets.linear", arguments={"scale": 0.5})
    chosen.check()
    classifier = chosen.build(4, (1, 3, 3), Rng(0))
    x = images((1, 3, 3))
    torch.testing.assert_close(classifier(x)[:, 0], 0.5 * x.flatten(1).sum(1) + classifier.network[1].bias[0])
    assert build("python", (1, 4, 4), factory=f"{nets}:fixed")(images((1, 4, 4))).shape == (3, 10)
    with torch.device("meta"):  # num_classes by **kwargs, no image_shape
        resnet = model("python", factory="torchvision.models:resnet18").network(4, (3, 32, 32))
    assert resnet.fc.out_features == 4


def test_lazy_layers_are_drawn_from_the_given_randomness(nets):
    first, second = (build("python", (1, 4, 4), seed=seed, factory=f"{nets}:lazy") for seed in (1, 1))
    assert torch.equal(first.network[1].weight, second.network[1].weight)
    assert first.network.training is False
    assert model("python", factory=f"{nets}:lazy").build(10, (1, 4, 4), Rng(1)).training


@pytest.mark.parametrize(
    ("factory", "arguments", "error", "message"),
    [
        ("no_such_module:net", {}, MissingError, "no module 'no_such_module' on the Python path.*PYTHONPATH"),
        ("nets_of_mine.sub:net", {}, MissingError, "no module 'nets_of_mine.sub'"),
        ("broken_nets:net", {}, InputError, "imports 'not_installed_anywhere', which is not installed"),
        ("wrong_nets:net", {}, InputError, "'wrong_nets' cannot be imported: ZeroDivisionError"),
        ("nets_of_mine:lazzy", {}, InputError, "has no 'lazzy'. Did you mean 'lazy'"),
        ("nets_of_mine:SIZE", {}, InputError, "is a int, which cannot be called"),
        ("nets_of_mine:Nets.linear", {"scal": 1}, InputError, "takes no 'scal'. Did you mean 'scale'"),
        ("nets_of_mine:needs_more", {}, InputError, r"cannot be called with num_classes: missing .*'depth'"),
    ],
)
def test_a_factory_that_cannot_be_called_is_refused_while_planning(nets, factory, arguments, error, message):
    chosen = model("python", factory=factory, arguments=arguments)
    with pytest.raises(InputError, match=message) as raised:
        chosen.check()
    assert type(raised.value) is error


@pytest.mark.parametrize(
    ("function", "error", "message"),
    [
        ("no_module", InputError, "must return a torch.nn.Module, it returned a str"),
        ("features", InputError, r"logits of shape \(2, 4\) .* its answer is torch.float32 of shape \(2, 9\)"),
        ("Pair", InputError, "must answer with one tensor of logits, its answer is a tuple"),
        ("raises", TaskError, "nets_of_mine:raises failed: ZeroDivisionError: in my code"),
    ],
)
def test_a_factory_that_returns_something_else(nets, function, error, message):
    with pytest.raises(error, match=message):
        build("python", (1, 3, 3), classes=4, factory=f"{nets}:{function}")


@pytest.mark.parametrize("factory", ["nets_of_mine", "nets_of_mine:", "nets of mine:net", "../nets:net", "a:b:c"])
def test_a_factory_is_written_as_module_and_function(factory):
    with pytest.raises(ValidationError, match="factory"):
        model("python", factory=factory)
