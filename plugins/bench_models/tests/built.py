"""Models and networks by their names and options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

import bench_models
from benchmark.model import Classifier, Model
from benchmark.plugins import Provenance, Registry
from benchmark.randomness import Rng

REGISTRY = Registry()
REGISTRY.add_module("models", bench_models, Provenance("bench_models", "unmask-bench", "0"))


def model(use: str, **options: Any) -> Model:
    made: Model = REGISTRY.create("model", use, options)
    return made


def build(
    use: str, shape: tuple[int, int, int] = (3, 32, 32), seed: int = 0, classes: int = 10, **options: Any
) -> Classifier:
    return model(use, **options).build(classes, shape, Rng(seed)).eval()


def parameters(use: str, shape: tuple[int, int, int] = (3, 32, 32), classes: int = 10, **options: Any) -> int:
    """Count parameters without memory for them."""
    with torch.device("meta"):
        return count(model(use, **options).network(classes, shape))


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def last_linear(network: nn.Module) -> nn.Linear:
    return [module for module in network.modules() if isinstance(module, nn.Linear)][-1]


def images(shape: tuple[int, int, int], number: int = 3) -> torch.Tensor:
    return torch.rand(number, *shape, generator=torch.Generator().manual_seed(5))


class Malicious:
    """Writes a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.target,))
