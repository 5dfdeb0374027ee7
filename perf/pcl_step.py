"""A training step of PCL beside one of the softmax loss alone, same network and batch: seconds, interleaved.

    python perf/pcl_step.py [rounds] [--batch 128] [--threads 1] [--device cpu]

A step is what the training loop does with a batch: zero the gradients, loss, backward, a step of SGD. Phase one of
Algorithm 1 minimises the cross-entropy, phase two the joint loss, at the layers of the suites: CNN-6 at gap, fc1 and
fc2 on grey images of 28 pixels, ResNets at stage 2 (through a branch), gap and hidden on coloured ones of 32. Every
round takes as many steps of one kind as fill a fifth of a second, then of the others; medians over rounds of a step's
seconds, and the ratio of the joint to the softmax step. The goal is at most 1.25. On a CPU the seconds are those of
the processor, which a busy machine stretches less than those on the clock.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from time import perf_counter, process_time

import torch
from torch import Tensor

from bench_pcl.options import PclOptions
from bench_pcl.pcl import PrototypeObjective
from bench_pcl.prototypes import Head, Heads
from benchmark import Classifier, Rng, TrainOptions
from benchmark.plugins import load_plugins, validate_options
from benchmark.training import Objective

CLASSES = 10
SECONDS = 0.2
NETWORKS = {
    "CNN-6": ("cnn6", {}, (1, 28, 28), {"gap": None, "fc1": None, "fc2": None}),
    "ResNet-14, basic": (
        "cifar_resnet",
        {"block": "basic", "depth": 14, "hidden": 128},
        (3, 32, 32),
        {"stage2": 128, "gap": None, "hidden": None},
    ),
    "ResNet-110, bottleneck": (
        "cifar_resnet",
        {"block": "bottleneck", "depth": 110, "hidden": 1024},
        (3, 32, 32),
        {"stage2": 512, "gap": None, "hidden": None},
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("rounds", type=int, nargs="?", default=5)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    for name in given.networks:
        measure(name, given.rounds, given.batch, torch.device(given.device))


def measure(name: str, rounds: int, batch: int, device: torch.device) -> None:
    use, options, shape, layers = NETWORKS[name]
    x = torch.rand(batch, *shape, generator=Rng(0).torch).to(device)
    y = torch.randint(CLASSES, (batch,), generator=Rng(1).torch).to(device)
    recipe = TrainOptions(lr=0.001)
    contestants = {}
    for kind in ("softmax", "as-published", "as-released"):
        classifier = load_plugins().create("model", use, options).build(CLASSES, shape, Rng(0)).to(device).train()
        objective = Objective() if kind == "softmax" else joint(kind, layers, classifier, recipe, device)
        contestants[kind] = stepping(classifier, objective, x, y)
    counts = {}
    for kind, step in contestants.items():  # warms up, too
        step()
        counts[kind] = max(1, round(SECONDS / seconds(step, 2, device)))
    taken: dict[str, list[float]] = {kind: [] for kind in contestants}
    for _ in range(rounds):
        for kind, step in contestants.items():
            taken[kind].append(seconds(step, counts[kind], device))
    plain = statistics.median(taken["softmax"])
    for kind, times in taken.items():
        median = statistics.median(times)
        print(f"{name:<24} {kind:<14} {1000 * median:9.2f} ms  {median / plain:5.2f} x softmax", flush=True)


def joint(
    form: str, layers: dict[str, int | None], classifier: Classifier, recipe: TrainOptions, device: torch.device
) -> Objective:
    options = validate_options(PclOptions, {"form": form, "layers": layers})
    with torch.no_grad():
        states = classifier.eval().features(torch.zeros(2, *classifier.image_shape, device=device), tuple(layers))
    classifier.train()
    heads = [
        Head(states[layer].shape[1], outputs, CLASSES, form == "as-released", options.branch_cross_entropy)
        for layer, outputs in layers.items()
    ]
    together = Heads(heads, tuple(layers), options.attract, options.repel_weight).to(device)
    return PrototypeObjective(options, together, recipe)


def stepping(classifier: Classifier, objective: Objective, x: Tensor, y: Tensor) -> Callable[[], None]:
    optimizer = torch.optim.SGD([{"params": list(classifier.parameters())}, *objective.parameter_groups()], 0.001, 0.9)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        loss = objective.loss(classifier, x, y, Rng(0))
        loss.backward()
        loss.item()
        optimizer.step()

    return step


def seconds(step: Callable[[], None], count: int, device: torch.device) -> float:
    if device.type == "cpu":
        started = process_time()
        for _ in range(count):
            step()
        return (process_time() - started) / count
    torch.cuda.synchronize()
    started = perf_counter()
    for _ in range(count):
        step()
    torch.cuda.synchronize()
    return (perf_counter() - started) / count


if __name__ == "__main__":
    main()
