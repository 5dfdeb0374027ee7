"""How much memory a run takes by the number of its images: the host, and its worker task by task.

    python perf/memory.py [--images 1000 5000 50000] [--states LAYER]

Images of 32 x 32 pixels in three channels are drawn when they are asked for; an attack moves them without looking, a
small network classifies them, and defenses do nothing, or look at hidden states (`--states`).
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
SUITE = """
suite: memory
title: Memory
seeds: [0]
datasets:
  drawn: {{use: drawn, count: {images}}}
models:
  small: {{use: small, train: null}}
attacks:
  push: {{use: push, norm: linf, eps: 8/255}}
defenses: {defenses}
grid:
  - {{datasets: all, models: all, attacks: all, defenses: all}}
"""
NOTHING = "{none: {use: none}}"
STATES = "{none: {use: none}, mahalanobis: {use: mahalanobis, layer: LAYER}}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", nargs="+", type=int, default=[1000, 5000, 50_000])
    parser.add_argument("--states", metavar="LAYER", help="a detector on the hidden states of this layer, too")
    arguments = parser.parse_args()
    print(f"{'images':>8} {'host':>9} {'worker':>9}   after each kind of task (MiB)")
    for images in arguments.images:
        with tempfile.TemporaryDirectory() as folder:
            host, tasks = measured(Path(folder), images, arguments.states)
        by_kind = ", ".join(f"{kind} {peak / 2**20:.0f}" for kind, peak in tasks.items())
        print(f"{images:>8,} {host / 2**20:>9.0f} {max(tasks.values()) / 2**20:>9.0f}   {by_kind}", flush=True)


def measured(place: Path, images: int, layer: str | None) -> tuple[int, dict[str, int]]:
    """Return the peak of the host in bytes, and that of the worker after the last task of each kind."""
    from benchmark import load_run

    defenses = NOTHING if layer is None else STATES.replace("LAYER", layer)
    (place / "memory.yaml").write_text(SUITE.format(images=images, defenses=defenses))
    done = subprocess.run(
        [
            *[sys.executable, "-m", "benchmark", "run", str(place / "memory.yaml"), "--plugin", "memory"],
            *["--device", "cpu", "--workers", "1", "--no-report"],
            *["--cache", str(place / "cache"), "--output", str(place / "run")],
        ],
        env={**os.environ, "PYTHONPATH": str(HERE), "MEMORY_LOG": str(place / "host")},
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    costs = load_run(place / "run").costs.sort_values("peak_memory_bytes")
    return json.loads((place / "host").read_text()), dict(zip(costs.kind, costs.peak_memory_bytes, strict=True))


if __name__ == "__main__":
    main()
else:
    import torch
    from torch import Tensor, nn

    from benchmark import Attack, AttackOptions, Dataset, DatasetOptions, Model, ModelOptions, Split, hookimpl

    class DrawnSplit(Split):
        def __init__(self, count: int) -> None:
            self.labels = np.arange(count) % 2
            self.class_names = ("dark", "light")
            self.image_shape = (3, 32, 32)

        def images(self, indices) -> Tensor:
            start = torch.as_tensor(list(indices))[:, None]
            drawn = (7 * start + 3 * torch.arange(3 * 32 * 32)) % 128 + 127 * (start % 2)
            return (drawn.float() / 255).reshape(-1, 3, 32, 32)

    class DrawnOptions(DatasetOptions):
        count: int = 1000

    class Drawn(Dataset):
        Options = DrawnOptions

        def check(self) -> None:
            pass

        def fingerprint(self) -> str:
            return "drawn"

        def load(self, split: str) -> Split:
            return DrawnSplit(self.options.count if split == "test" else 256)

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Conv2d(3, 8, 3, padding=1), nn.Linear(8, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.first(x).relu().mean((2, 3)))

    class Small(Model):
        Options = ModelOptions

        def network(self, num_classes: int, image_shape: tuple[int, int, int]) -> nn.Module:
            return Network()

    class Push(Attack):
        Options = AttackOptions

        def craft(self, victim, x, y, rng) -> Tensor:
            return (x + self.options.eps * (1 - 2 * (y % 2))[:, None, None, None].float()).clamp(0, 1)

    @hookimpl
    def register_datasets(register):
        register("drawn", Drawn)

    @hookimpl
    def register_models(register):
        register("small", Small)

    @hookimpl
    def register_attacks(register):
        register("push", Push)

    @hookimpl
    def run_finished(run, exit_code):
        log = os.environ.get("MEMORY_LOG")
        if log:
            Path(log).write_text(json.dumps(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024))
