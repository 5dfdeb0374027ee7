"""Networks of torchvision and timm, with published weights, and those of one's own code."""

from __future__ import annotations

import hashlib
import sys
import textwrap
import urllib.error
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torchvision
from pydantic import ValidationError
from torch import nn

from bench_models.tests.built import Malicious, build, images, last_linear, model, parameters
from benchmark.errors import InputError, MissingError, TaskError
from benchmark.model import Classifier
from benchmark.randomness import Rng


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
