"""UnMask's part extractor beside torchvision's Mask R-CNN called as it comes: images per second, interleaved.

    python perf/extraction.py [rounds] [--light] [--cuda]

Both hold the same weights. Torchvision's network is called as its documentation says, image by image, mask head and
all; the extractor is asked for a batch, as the benchmark asks it. Before the clock starts both answers are compared:
the best score and box of every part in every image. Medians over the rounds, one torch thread on the CPU; `--light`
measures the light configuration at 160 px instead of Mask R-CNN R50-FPN at 320 px.
"""

from __future__ import annotations

import resource
import statistics
import sys
from time import perf_counter

import torch
from torch import Tensor

from bench_unmask.extractor.artifact import PartExtractor
from bench_unmask.extractor.options import PartExtractorOptions
from bench_unmask.parts import PARTS
from benchmark import Rng
from benchmark.plugins import load_plugins

COUNT = 16
LIGHT = {"network": "resnet18", "channels": 128, "anchors": (8, 16, 32, 64, 128), "proposals": 300, "size": 160}
PAPER = {"size": 320, "anchors": (16, 32, 64, 128, 256)}


def main() -> None:
    torch.set_num_threads(1)
    numbers = [int(argument) for argument in sys.argv[1:] if argument.isdigit()]
    rounds = numbers[0] if numbers else 3
    device = torch.device("cuda" if "--cuda" in sys.argv else "cpu")
    chosen = LIGHT if "--light" in sys.argv else PAPER
    # Statistics of batches: frozen ones would need weights to come from. Untrained scores are all near 1 in 45.
    options = PartExtractorOptions(**chosen, normalization="batch", min_score=0.025)
    extractor = untrained(options, device)
    pictures = load_plugins().create("dataset", "partshapes", {"class_set": "CS5b", "size": 160, "test": COUNT})
    x = pictures.split("test").images(range(COUNT)).to(device)
    contestants = {"extractor": lambda: extractor.observe(x), "as it comes": lambda: as_it_comes(extractor, x)}
    with torch.no_grad():
        compare(extractor.observe(x), as_it_comes(extractor, x))
        seconds: dict[str, list[float]] = {name: [] for name in contestants}
        for _ in range(rounds):
            for name, ask in contestants.items():
                started = perf_counter()
                ask()
                if device.type == "cuda":
                    torch.cuda.synchronize()
                seconds[name].append(perf_counter() - started)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    for name, median in medians.items():
        print(f"{name:<12} {COUNT / median:8.2f} images/s  {median / medians['extractor']:5.2f} x the extractor's time")
    memory(extractor, x)


def untrained(options: PartExtractorOptions, device: torch.device) -> PartExtractor:
    from bench_unmask.extractor.torchvision_backend import TorchvisionBackend

    extractor = PartExtractor(options)
    extractor.device = device
    extractor.parts = PARTS
    with Rng(0).seeded_globals():
        extractor._backend = TorchvisionBackend(options, len(PARTS))
        # Larger last layers tell boxes apart, so that there is something to find.
        extractor._backend.network.roi_heads.box_predictor.cls_score.weight.data.mul_(20)
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
    print(f"{int(found.sum())} best detections of {found.numel()} pairs of image and part")
    assert found.any(), "nothing to compare"
    worst = {name: float((ours[name] - theirs[name]).abs().max()) for name in ours}
    print(f"largest difference: score {worst['scores']:.1e}, box {worst['boxes']:.1e} of the side")
    assert worst["scores"] < 1e-3
    assert worst["boxes"] < 1e-2


def memory(extractor: PartExtractor, x: Tensor) -> None:
    """Print the peak after 1 and after 4 times as many images."""
    peaks = []
    with torch.no_grad():
        for times in (1, 4):
            images = x.repeat(times, 1, 1, 1)
            if x.is_cuda:
                torch.cuda.reset_peak_memory_stats()
            extractor.observe(images)
            peaks.append(
                torch.cuda.max_memory_allocated() / 2**20
                if x.is_cuda
                else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
            )
    print(f"peak memory: {peaks[0]:.0f} MiB after {COUNT} images, {peaks[1]:.0f} MiB after {4 * COUNT} at once")


if __name__ == "__main__":
    main()
