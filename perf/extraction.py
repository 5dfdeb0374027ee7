"""UnMask's part extractor beside torchvision's Mask R-CNN called as it comes: images per second, interleaved.

    python perf/extraction.py [rounds] [--light] [--cuda] [--built FOLDER --photos FOLDER]

Both hold the same weights. Torchvision's network is called as its documentation says, image by image, mask head and
all; the extractor is asked for a batch, as the benchmark asks it. Before the clock starts both answers are compared:
the best score and box of every part in every image.

Without `--built` the networks are untrained and find as many things as they may, 100 per image, and then none, between
which a trained one lies. `--light` measures the light configuration at 160 px instead of Mask R-CNN R50-FPN at 320 px.
`--built` takes a light extractor from its folder in the cache, `--photos` the `coco_parts` folder of its data; the mask
head, which a box-only extractor lacks, is untrained, which costs the same.

On the CPU seconds are those of the process (one thread), so that other processes disturb them less; on the GPU those
of the clock.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
from pathlib import Path
from time import perf_counter, process_time

import torch
from safetensors.torch import load_file
from torch import Tensor

from bench_unmask.class_parts import PARTS
from bench_unmask.extractor.artifact import PartExtractor
from bench_unmask.extractor.options import PartExtractorOptions
from bench_unmask.extractor.torchvision_backend import TorchvisionBackend
from benchmark import Rng
from benchmark.plugins import load_plugins

COUNT = 10
LIGHT = {"network": "resnet18", "channels": 128, "anchors": (8, 16, 32, 64, 128), "proposals": 300, "size": 160}
PAPER = {"size": 320, "anchors": (16, 32, 64, 128, 256)}


def main() -> None:
    torch.set_num_threads(1)
    arguments = argparse.ArgumentParser()
    arguments.add_argument("rounds", type=int, nargs="?", default=3)
    arguments.add_argument("--light", action="store_true")
    arguments.add_argument("--cuda", action="store_true")
    arguments.add_argument("--built", type=Path)
    arguments.add_argument("--photos")
    given = arguments.parse_args()
    device = torch.device("cuda" if given.cuda else "cpu")
    chosen = LIGHT if given.light or given.built else PAPER
    registry = load_plugins()
    if given.photos:
        dataset = registry.create(
            "dataset", "coco_parts", {"path": given.photos, "size": 160, "limit": {"test": COUNT}}
        )
    else:
        dataset = registry.create("dataset", "partshapes", {"class_set": "CS5b", "size": 160, "test": COUNT})
    x = dataset.split("test").images(range(COUNT)).to(device)
    # An untrained network's scores are all near 1 in 45.
    for min_score in [0.05] if given.built else [0.025, 0.9]:
        # Frozen statistics would need weights to come from.
        options = PartExtractorOptions(**chosen, normalization="batch", min_score=min_score)
        extractor = prepared(options, device, given.built)
        with torch.no_grad():
            found = torch.bincount(extractor._backend.detect(x[:4]).image, minlength=4).float().mean()
            print(f"{chosen.get('network', 'resnet50')}, {found:.0f} detections per image")
            compare(extractor.observe(x), as_it_comes(extractor, x))
            race(extractor, x, given.rounds)
    memory(extractor, x)


def race(extractor: PartExtractor, x: Tensor, rounds: int) -> None:
    clock = perf_counter if x.is_cuda else process_time
    contestants = {"extractor": lambda: extractor.observe(x), "as it comes": lambda: as_it_comes(extractor, x)}
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, ask in contestants.items():
            started = clock()
            ask()
            if x.is_cuda:
                torch.cuda.synchronize()
            seconds[name].append(clock() - started)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    for name, median in medians.items():
        print(
            f"  {name:<12} {COUNT / median:8.2f} images/s  {median / medians['extractor']:5.2f} x the extractor's time"
        )


def prepared(options: PartExtractorOptions, device: torch.device, built: Path | None) -> PartExtractor:
    extractor = PartExtractor(options)
    extractor.device = device
    extractor.parts = tuple(json.loads((built / "extractor.json").read_text())["parts"]) if built else PARTS
    with Rng(0).seeded_globals():
        extractor._backend = TorchvisionBackend(options, len(extractor.parts))
    network = extractor._backend.network
    if built:
        left_out = network.load_state_dict(load_file(built / "weights.safetensors"), strict=False)
        assert not left_out.unexpected_keys
        assert all("mask" in name for name in left_out.missing_keys), left_out.missing_keys
    else:
        # Larger last layers tell boxes apart, so that there is something to find.
        network.roi_heads.box_predictor.cls_score.weight.data.mul_(20)
    extractor._set_still()
    return extractor


def as_it_comes(extractor: PartExtractor, x: Tensor) -> dict[str, Tensor]:
    network = extractor._backend.network
    network.transform.min_size, network.transform.max_size = (extractor.options.size,), 10_000
    scores = torch.zeros(len(x), len(extractor.parts), device=x.device)
    boxes = torch.zeros(len(x), len(extractor.parts), 4, device=x.device)
    sides = torch.tensor([x.shape[3], x.shape[2]] * 2, device=x.device)
    for row, image in enumerate(x):
        (found,) = network([image])
        assert found["masks"].shape[0] == len(found["boxes"])
        labels = found["labels"].flip(0) - 1  # the best one is written last
        scores[row, labels] = found["scores"].flip(0)
        boxes[row, labels] = found["boxes"].flip(0) / sides
    return {"scores": scores, "boxes": boxes}


def compare(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    found = theirs["scores"] > 0
    print(f"  {int(found.sum())} best detections of {found.numel()} pairs of image and part")
    worst = {name: float((ours[name] - theirs[name]).abs().max()) for name in ours}
    print(f"  largest difference: score {worst['scores']:.1e}, box {worst['boxes']:.1e} of the side")
    assert worst["scores"] < 1e-3
    assert worst["boxes"] < 1e-2


def memory(extractor: PartExtractor, x: Tensor) -> None:
    """Print the peak after as many images as one pass takes, and after 4 times as many."""
    peaks = []
    with torch.no_grad():
        for times in (2, 8):
            images = x.repeat(times, 1, 1, 1)
            if x.is_cuda:
                torch.cuda.reset_peak_memory_stats()
            extractor.observe(images)
            peaks.append(
                torch.cuda.max_memory_allocated() / 2**20
                if x.is_cuda
                else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
            )
    print(f"peak memory: {peaks[0]:.0f} MiB after {2 * COUNT} images at once, {peaks[1]:.0f} MiB after {8 * COUNT}")


if __name__ == "__main__":
    main()
