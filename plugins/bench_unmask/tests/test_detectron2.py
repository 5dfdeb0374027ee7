"""The second backend of the part extractor. Where detectron2 is not installed, only its absence is tested."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from safetensors.torch import save_file
from torchvision.models import resnet18, resnet50
from torchvision.ops import box_iou

import bench_unmask
from bench_unmask.extractor.artifact import PartExtractor
from bench_unmask.extractor.backend import Target, freeze
from bench_unmask.extractor.detectron2_backend import INSTALL, Detectron2Backend
from bench_unmask.extractor.options import PartExtractorOptions, TrainingStage
from bench_unmask.extractor.training import load_initial_weights
from benchmark import Rng
from benchmark.dataset import Dataset, Split
from benchmark.defense import FitContext
from benchmark.errors import MissingError, TaskError
from benchmark.plugins import Provenance, Registry
from benchmark.progress import Progress

PARTS = ("wheel", "door", "roof", "bumper")
COLOURS = ((200, 40, 40), (40, 160, 40), (50, 60, 200), (210, 190, 40))
SIDE = 64


@pytest.fixture(scope="module")
def registry() -> Registry:
    made = Registry()
    made.add_module("unmask", bench_unmask, Provenance("bench_unmask", "", "0"))
    return made


@pytest.fixture(scope="module")
def detectron2() -> None:
    pytest.importorskip("detectron2", reason=f"detectron2 is not installed; {INSTALL}")


def options(**changes: Any) -> PartExtractorOptions:
    """Return options of a small network that learns few colourful parts in some hundred steps."""
    small: dict[str, Any] = {
        "backend": "detectron2",
        "network": "resnet10",
        "channels": 32,
        "masks": False,
        "anchors": (8, 16, 32, 64, 128),
        "proposals": 50,
        "rois": 32,
        "batch_size": 8,
        "optimizer": "adamw",
        "weight_decay": 0.01,
        "schedule": "cosine",
        "warmup": 10,
        "stages": (TrainingStage(epochs=1, lr=0.002),),
    }
    return PartExtractorOptions(**{**small, **changes})


def backend(parts: int = 4, **changes: Any) -> Detectron2Backend:
    with Rng(0).seeded_globals():
        return Detectron2Backend(options(**changes), parts)


def images(number: int, height: int = SIDE, width: int = SIDE) -> torch.Tensor:
    return torch.rand(number, 3, height, width, generator=torch.Generator().manual_seed(1))


def target(boxes: Sequence[Sequence[float]], labels: Sequence[int], height: int = SIDE, width: int = SIDE) -> Target:
    masks = torch.zeros(len(boxes), height, width, dtype=torch.bool)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes):
        mask[int(y0) : int(y1), int(x0) : int(x1)] = True
    return Target(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4), torch.tensor(labels).long(), masks)


# -- where it is not installed -----------------------------------------------------------------------------------------


def test_a_missing_detectron2_is_told_when_the_run_is_planned(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "detectron2", None)
    defense = registry.create("defense", "unmask", {"extractor": {"backend": "detectron2"}})
    with pytest.raises(MissingError) as raised:
        defense.check()
    assert INSTALL in str(raised.value)
    assert "backend: torchvision" in str(raised.value)
    registry.create("defense", "unmask", {"extractor": {"backend": "torchvision"}}).check()


# -- where it is -------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("detectron2")
def test_an_installed_detectron2_passes_the_check(registry: Registry) -> None:
    registry.create("defense", "unmask", {"extractor": {"backend": "detectron2"}}).check()


@pytest.mark.usefixtures("detectron2")
@pytest.mark.parametrize("masks", [False, True])
def test_a_few_steps_lower_the_loss_on_a_batch(masks: bool) -> None:
    k = backend(masks=masks)
    freeze(k, "all")
    x = images(3, 60, 72)  # no multiple of the strides
    wanted = [
        target([[4, 6, 30, 40], [30, 10, 66, 50]], [0, 3], 60, 72),
        target([], [], 60, 72),
        target([[20, 20, 50, 44]], [1], 60, 72),
    ]
    optimizer = torch.optim.AdamW(k.network.parameters(), lr=2e-3)
    sums = []
    for step in range(6):
        with Rng(step).seeded_globals():
            losses = k.losses(x, wanted)
        assert ("loss_mask" in losses) == masks
        loss = torch.stack(list(losses.values())).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        sums.append(loss.item())
    assert sums[-1] < 0.7 * sums[0]


@pytest.mark.usefixtures("detectron2")
def test_a_batch_without_any_part_can_be_learned_from() -> None:
    k = backend(masks=True)
    freeze(k, "all")
    losses = k.losses(images(2), [target([], [])] * 2)
    torch.stack(list(losses.values())).sum().backward()
    assert all(torch.isfinite(loss) for loss in losses.values())


@pytest.mark.usefixtures("detectron2")
def test_a_stage_learns_its_layers_and_holds_the_others_still() -> None:
    k = backend(network="resnet18")
    freeze(k, "4+")
    before = {name: tensor.clone() for name, tensor in k.network.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in k.network.parameters() if p.requires_grad], lr=0.1)
    torch.stack(list(k.losses(images(2), [target([[4, 6, 30, 40]], [0])] * 2).values())).sum().backward()
    optimizer.step()
    moved = {
        k.stage(name)
        for name, tensor in k.network.state_dict().items()
        if not torch.equal(tensor, before[name])  # running statistics among them
    }
    assert moved == {4, 5, "heads"}
    assert {k.stage(name) for name in before} == {1, 2, 3, 4, 5, "heads"}


@pytest.mark.usefixtures("detectron2")
@pytest.mark.parametrize("network", ["resnet10", "resnet50"])
def test_detections_keep_to_the_options(network: str) -> None:
    k = backend(7, network=network, masks=True, min_score=0.1, nms=0.3, detections=20, proposals=200)
    k.network.eval()
    x = images(3, 60, 72)
    with torch.inference_mode():
        found, alone = k.detect(x, masks=True), k.detect(x[1:2])
    assert len(found.scores)
    assert found.scores.min() > 0.1
    assert found.boxes.amin() >= 0
    assert (found.boxes.amax(0) <= torch.tensor([72, 60, 72, 60])).all()
    assert (found.boxes[:, 2:] > found.boxes[:, :2]).all()
    assert found.image.tolist() == sorted(found.image.tolist())
    assert found.image.bincount(minlength=3).max() <= 20
    assert found.masks is not None
    assert found.masks.shape == (len(found.scores), 60, 72)
    assert found.masks.dtype == torch.bool
    for row, (x0, y0, x1, y1) in enumerate(found.boxes.tolist()):
        outside = found.masks[row].clone()
        outside[int(max(y0 - 2, 0)) : int(y1 + 2), int(max(x0 - 2, 0)) : int(x1 + 2)] = False
        assert not outside.any()
    for image in range(3):
        rows = torch.where(found.image == image)[0]
        assert found.scores[rows].tolist() == sorted(found.scores[rows].tolist(), reverse=True)
        for part in range(7):
            same = found.boxes[rows[found.labels[rows] == part]]
            assert (box_iou(same, same) - torch.eye(len(same))).le(0.3 + 1e-5).all()
    assert alone.masks is None
    torch.testing.assert_close(alone.boxes, found.boxes[found.image == 1], atol=1e-3, rtol=1e-4)


@pytest.mark.usefixtures("detectron2")
def test_no_detection_is_an_answer() -> None:
    k = backend(masks=True, min_score=0.99)
    k.network.eval()
    with torch.inference_mode():
        found = k.detect(images(2), masks=True)
    assert found.boxes.shape == (0, 4)
    assert found.masks is not None
    assert found.masks.shape == (0, SIDE, SIDE)


@pytest.mark.usefixtures("detectron2")
@pytest.mark.parametrize("network", [resnet18, resnet50])
def test_a_torchvision_classifier_gives_the_same_features(network: Any, tmp_path: Path) -> None:
    with Rng(1).seeded_globals():
        classifier = network(num_classes=3)
        for buffer in (b for name, b in classifier.named_buffers() if "running" in name):
            buffer.copy_(torch.rand_like(buffer) + 0.5)
    save_file(classifier.state_dict(), tmp_path / "classifier.safetensors")
    k = backend(network=network.__name__, weights=str(tmp_path / "classifier.safetensors"))
    load_initial_weights(k, str(tmp_path / "classifier.safetensors"), PARTS, Progress())
    x = images(1)
    state = x
    with torch.inference_mode():
        seen = k.network.eval().backbone.bottom_up(x)
        for name, layer in classifier.eval().named_children():
            if name == "avgpool":
                break
            state = layer(state)
            if name.startswith("layer"):
                torch.testing.assert_close(seen[f"res{int(name[-1]) + 1}"], state, rtol=1e-3, atol=1e-3)


@pytest.mark.usefixtures("detectron2")
def test_a_detector_of_other_parts_gives_all_but_the_last_layers(tmp_path: Path) -> None:
    other = backend(9, masks=True)
    file = tmp_path / "other.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in other.network.state_dict().items()}, file)
    k = backend(4, masks=True, normalization="batch", weights=str(file))
    with torch.no_grad():
        for parameter in k.network.parameters():
            parameter.zero_()
    load_initial_weights(k, str(file), PARTS, Progress())
    own = k.network.state_dict()
    for name, tensor in other.network.state_dict().items():
        if k.depends_on_parts(name):
            assert own[name].shape != tensor.shape
        else:
            assert torch.equal(own[name], tensor), name


@pytest.mark.usefixtures("detectron2")
def test_a_diverged_network_is_told_as_such() -> None:
    k = backend()
    freeze(k, "all")
    with torch.no_grad():
        next(k.network.parameters()).fill_(float("nan"))
    with pytest.raises(TaskError, match="diverged"):
        k.losses(images(1), [target([[4, 6, 30, 40]], [0])])


@pytest.mark.gpu
@pytest.mark.usefixtures("detectron2")
def test_it_learns_and_finds_on_a_gpu() -> None:
    k = backend(masks=True, min_score=0.1)
    k.network.cuda()
    freeze(k, "all")
    on_cpu = target([[4, 6, 30, 40]], [0])
    assert on_cpu.masks is not None
    moved = Target(on_cpu.boxes.cuda(), on_cpu.labels.cuda(), on_cpu.masks.cuda())
    torch.stack(list(k.losses(images(2).cuda(), [moved] * 2).values())).sum().backward()
    k.network.eval()
    with torch.inference_mode():
        found = k.detect(images(2).cuda(), masks=True)
        k.network.cpu()
        expected = k.detect(images(2))
    assert found.boxes.is_cuda
    torch.testing.assert_close(found.scores.cpu()[:1], expected.scores[:1], rtol=1e-2, atol=1e-2)


# -- a small COCO file, learned by both backends -----------------------------------------------------------------------


def outline(part: int, x: float, y: float, size: float) -> np.ndarray:
    """Return the corners (n, 2) of a part whose square of `size` pixels begins at x, y."""
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    unit = (
        np.stack([0.5 + 0.5 * np.cos(angles), 0.5 + 0.5 * np.sin(angles)], 1),
        np.array([[0, 0], [1, 0], [1, 1], [0, 1]]),
        np.array([[0, 1], [0.5, 0], [1, 1]]),
        np.array([[0, 0.3], [1, 0.3], [1, 0.7], [0, 0.7]]),
    )[part]
    return unit * size + np.array([x, y])


def write_coco(folder: Path, **counts: int) -> None:
    """Write a COCO folder: cars have wheels, houses have doors, and a roof or bumper may be anywhere."""
    random = np.random.RandomState(0)
    (folder / "images").mkdir(parents=True)
    (folder / "annotations").mkdir()
    for split, count in counts.items():
        entries, annotations = [], []
        for index in range(count):
            pixels = (random.randint(100, 156, 3) + random.randint(-15, 16, (SIDE, SIDE, 3))).astype(np.uint8)
            picture = Image.fromarray(pixels)
            draw = ImageDraw.Draw(picture)
            shown = [index % 2, *(2 + np.flatnonzero(random.rand(2) < 0.5))]
            for cell, part in zip(random.permutation(4), shown):
                size = random.uniform(0.3, 0.45) * SIDE
                x, y = (half * SIDE / 2 + random.uniform(0, SIDE / 2 - size) for half in (cell % 2, cell // 2))
                corners = outline(part, x, y, size)
                shade = tuple(int(v) for v in np.array(COLOURS[part]) + random.randint(-30, 31, 3))
                draw.polygon([tuple(corner) for corner in corners], fill=shade)
                (x0, y0), (x1, y1) = corners.min(0), corners.max(0)
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": index + 1,
                        "category_id": int(part) + 1,
                        "bbox": [x0, y0, x1 - x0, y1 - y0],
                        "segmentation": [corners.ravel().tolist()],
                    }
                )
            name = f"{split}{index}.png"
            picture.save(folder / "images" / name)
            kind = ("car", "house")[index % 2]
            entries.append({"id": index + 1, "file_name": name, "width": SIDE, "height": SIDE, "class_name": kind})
        categories = [{"id": number + 1, "name": part} for number, part in enumerate(PARTS)]
        data = {"images": entries, "annotations": annotations, "categories": categories}
        (folder / "annotations" / f"{split}.json").write_text(json.dumps(data))


@pytest.fixture(scope="module")
def toy(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("coco") / "toy"
    write_coco(folder, train=56, val=2, test=40)
    found: Dataset = registry.create("dataset", "coco_parts", {"path": str(folder), "size": SIDE})
    return found


def trained(data: Dataset, folder: Path, chosen: PartExtractorOptions, seed: int = 0) -> PartExtractor:
    def nothing(_: Rng) -> Any:
        raise AssertionError("no classifier is asked for")

    k = PartExtractor(chosen)
    k.device = torch.device("cpu")
    folder.mkdir()
    k.build(
        FitContext(
            classifier=None,
            new_classifier=nothing,
            recipe=None,
            train=data.split("train"),
            val=data.split("val"),
            rng=Rng(seed),
            device=k.device,
            progress=Progress(),
            checkpoint=folder,
        )
    )
    return k


def all_images(split: Split) -> torch.Tensor:
    return split.images(range(len(split)))


@pytest.mark.usefixtures("detectron2")
def test_an_extractor_is_reproduced_and_comes_back_from_disk(toy: Dataset, tmp_path: Path) -> None:
    x = all_images(toy.split("test"))[:8]
    chosen = options(min_score=0.01, batch_size=28)
    k, again = (trained(toy, tmp_path / name, chosen) for name in ("first", "second"))
    seen = k.observe(x)
    assert seen["scores"].shape == (8, 4)
    assert seen["boxes"].shape == (8, 4, 4)
    assert seen["scores"].max() > 0
    folder = tmp_path / "saved"
    folder.mkdir()
    k.save(folder)
    loaded = PartExtractor(chosen)
    loaded.device = torch.device("cpu")
    loaded.load(folder)
    assert loaded.parts == PARTS
    for other in (again, loaded):
        for name, values in other.observe(x).items():
            assert torch.equal(values, seen[name]), name


@pytest.mark.slow
@pytest.mark.usefixtures("detectron2")
def test_both_backends_agree_on_the_parts_of_most_images(toy: Dataset, tmp_path: Path) -> None:
    split = toy.split("test")
    annotated = np.zeros((len(split), len(PARTS)), dtype=bool)
    annotations = split.part_annotations()
    assert annotations is not None
    for annotation in annotations.data["annotations"]:
        annotated[annotation["image_id"] - 1, annotation["category_id"] - 1] = True
    found = {}
    for name in ("torchvision", "detectron2"):
        chosen = options(backend=name, stages=(TrainingStage(epochs=20, lr=0.002),))
        k = trained(toy, tmp_path / name, chosen)
        found[name] = k.observe(all_images(split))["scores"].numpy() >= 0.4
        right = (found[name] == annotated).all(1).mean()
        assert right > 0.7, f"{name}: {right:.0%} of the unseen images have all their parts found and no other"
    agreed = (found["torchvision"] == found["detectron2"]).all(1).mean()
    assert agreed > 0.7, f"the same parts are found in {agreed:.0%} of the unseen images"
