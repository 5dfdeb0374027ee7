"""A step of PGD as PyTorch runs it beside the same with weights channels last, and with the network compiled.

    python perf/layouts.py [rounds] [--networks small-cnn cnn6 resnet20 mobilenet efficientnet-lite0] [--compiled]

Seconds of the processor on one thread, interleaved, medians over rounds, and the share of the gradient's signs that
differ from the plain network's. With `--compiled`, which needs a C++ compiler and minutes where a network is large,
also `torch.compile`: the first step, the compiler's own processes included, and after how many gradients (images times
steps in one process) it is made up for.
"""

from __future__ import annotations

import argparse
import resource
import statistics
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from benchmark import Rng
from benchmark.plugins import load_plugins

CLASSES = 10
NETWORKS: dict[str, tuple[str, dict[str, Any], tuple[int, int, int, int]]] = {
    "small-cnn": ("small_cnn", {}, (128, 3, 32, 32)),
    "cnn6": ("cnn6", {}, (128, 1, 28, 28)),
    "resnet20": ("cifar_resnet", {"depth": 20}, (128, 3, 32, 32)),
    "mobilenet": ("torchvision", {"arch": "mobilenet_v3_small"}, (32, 3, 160, 160)),
    "efficientnet-lite0": ("timm", {"arch": "tf_efficientnet_lite0"}, (32, 3, 160, 160)),
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("rounds", type=int, nargs="?", default=7)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--compiled", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    for name in given.networks:
        use, options, (count, *shape) = NETWORKS[name]
        plain = load_plugins().create("model", use, options).build(CLASSES, tuple(shape), Rng(0))
        plain.eval().requires_grad_(False)
        x = torch.rand(count, *shape, generator=Rng(0).torch)
        y = torch.randint(CLASSES, (count,), generator=Rng(1).torch)
        networks = {"as it is": plain, "channels last": deepcopy(plain).to(memory_format=torch.channels_last)}
        if given.compiled:
            networks["compiled"] = torch.compile(deepcopy(plain))  # type: ignore[assignment]
        measure(name, networks, x, y, given.rounds)


def measure(name: str, networks: dict[str, Any], x: Tensor, y: Tensor, rounds: int) -> None:
    """Print a line per way to run the network."""
    first = {kind: step(network, x, y)[0] for kind, network in networks.items()}
    taken: dict[str, list[float]] = {kind: [] for kind in networks}
    signs = {}
    for _ in range(rounds):
        for kind, network in networks.items():
            seconds, gradient = step(network, x, y)
            taken[kind].append(seconds)
            signs[kind] = gradient.sign()
    usual = {kind: statistics.median(times) for kind, times in taken.items()}
    for kind, seconds in usual.items():
        told = f"{name:<18} {kind:<14} {seconds:7.3f} s  {seconds / usual['as it is']:5.2f} x"
        if kind != "as it is":
            told += f"  {(signs[kind] != signs['as it is']).float().mean():.1e} of the signs differ"
        if kind == "compiled":
            saved = usual["as it is"] - seconds
            after = f"made up for after {len(x) * first[kind] / saved:,.0f} gradients" if saved > 0 else "for nothing"
            told += f"; the first step {first[kind]:.1f} s, {after}"
        print(told, flush=True)


def step(network: Any, x: Tensor, y: Tensor) -> tuple[float, Tensor]:
    """Return what a gradient takes of the processor, in this process and in those it starts and waits for, and it."""
    before = used()
    x = x.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(cross_entropy(network(x), y, reduction="sum"), x)
    return used() - before, gradient


def used() -> float:
    mine, theirs = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return mine.ru_utime + mine.ru_stime + theirs.ru_utime + theirs.ru_stime


if __name__ == "__main__":
    main()
