"""A step of PGD as PyTorch runs it beside the same step of the network under `torch.compile`, interleaved.

    python perf/compiling.py [rounds] [--batch 128]

Seconds of the processor on one thread: of the first step, the compiler's own processes included, and of those after it
(medians over rounds); after how many images times steps in one process the first step is made up for; and the share of
the gradient's signs that differ. Needs a C++ compiler.
"""

from __future__ import annotations

import argparse
import resource
import statistics
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchmark import Rng
from benchmark.plugins import load_plugins

CLASSES = 10
NETWORKS = {
    "small CNN": ("small_cnn", {}, (3, 32, 32)),
    "ResNet-20": ("cifar_resnet", {"depth": 20}, (3, 32, 32)),
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("rounds", type=int, nargs="?", default=9)
    parser.add_argument("--batch", type=int, default=128)
    given = parser.parse_args()
    torch.set_num_threads(1)
    for name, (use, options, shape) in NETWORKS.items():
        network = (
            load_plugins().create("model", use, options).build(CLASSES, shape, Rng(0)).eval().requires_grad_(False)
        )
        x = torch.rand(given.batch, *shape, generator=Rng(0).torch)
        y = torch.randint(CLASSES, (given.batch,), generator=Rng(1).torch)
        networks: dict[str, nn.Module] = {"as it is": network, "compiled": torch.compile(network)}  # type: ignore[dict-item]
        first = {kind: seconds(partial(gradient, one, x, y)) for kind, one in networks.items()}
        taken: dict[str, list[float]] = {kind: [] for kind in networks}
        for _ in range(given.rounds):
            for kind, one in networks.items():
                taken[kind].append(seconds(partial(gradient, one, x, y)))
        step = {kind: statistics.median(times) for kind, times in taken.items()}
        signs = {kind: gradient(one, x, y).sign() for kind, one in networks.items()}
        gain = step["as it is"] - step["compiled"]
        after = (
            f"made up for after {given.batch * first['compiled'] / gain:,.0f} images"
            if gain > 0
            else "never made up for"
        )
        print(
            f"{name:<10} first step {first['as it is']:.2f} and compiled {first['compiled']:.2f} s; "
            f"each step {step['compiled'] / step['as it is']:.2f} x, {after}; "
            f"{(signs['as it is'] != signs['compiled']).float().mean():.2e} of the signs differ"
        )


def gradient(network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    x = x.detach().requires_grad_()
    return torch.autograd.grad(cross_entropy(network(x), y, reduction="sum"), x)[0]


def seconds(work: Callable[[], object]) -> float:
    """Return what the work takes of the processor, in this process and in those that it starts and waits for."""

    def used() -> float:
        mine, theirs = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        return mine.ru_utime + mine.ru_stime + theirs.ru_utime + theirs.ru_stime

    before = used()
    work()
    return used() - before


if __name__ == "__main__":
    main()
