"""A million cells on a thousand GPUs by simulation: the real planner and engine, an executor that does no work.

python perf/scale.py [--cells 1000 10000 100000] [--gpus 1000]

Per size of the grid, in a process of its own: CPU seconds and memory of the plan, the task graph, then the engine with
as many workers as there are GPUs, on a clock that jumps from event to event. The tasks take as long as their passes
would on a GPU, by the rates below.
"""

from __future__ import annotations

import argparse
import heapq
import json
import resource
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from time import process_time
from typing import Any

TOY = Path(__file__).resolve().parent.parent / "tests"
IMAGES = 10_000
PIXELS = 3 * 224 * 224
FORWARD_PER_SECOND = 2500.0
"""Images that a ResNet-50 classifies per second on a GPU of the A100's class; a backward pass takes two of these."""
TRAINING_SECONDS = 3600.0
FIT_SECONDS = 60.0
LEAST_SECONDS = 2.0
"""No task takes less: it opens its artifacts and writes its own."""
DOLLARS_PER_GPU_HOUR = 2.0
GIB = 1024**3


def suite(cells: int) -> str:
    """Return a suite of about so many cells: models, attacks and defenses in equal shares."""
    side = max(2, round(cells ** (1 / 3)))
    lines = ["suite: many", "batch_size: 128", f"datasets: {{blobs: {{use: blobs, count: {IMAGES}}}}}", "models:"]
    lines += [f"  m{number}: {{use: linear, train: {{epochs: {number + 1}}}}}" for number in range(side)]
    pgd = "use: pgd, norm: linf, step: 1/255, steps: 20"
    lines += ["attacks:", *(f"  a{number}: {{{pgd}, eps: {number + 1}/2550}}" for number in range(side))]
    lines += ["defenses:", *(f"  d{number}: {{use: brightness, log: log{number}}}" for number in range(side))]
    return "\n".join([*lines, "grid: [{datasets: all}]", ""])


def seconds_of(task: Any) -> float:
    """Return how long a task takes on a GPU."""
    if task.kind == "train":
        return TRAINING_SECONDS
    if task.kind == "fit":
        return FIT_SECONDS
    if task.work is None:
        return LEAST_SECONDS + IMAGES / FORWARD_PER_SECOND
    return LEAST_SECONDS + (task.work.forward + 2 * task.work.backward) / FORWARD_PER_SECOND


def bytes_of(task: Any) -> float:
    """Return what a task writes."""
    sizes = {
        "train": 100e6,
        "fit": 1e6,
        "craft": IMAGES * PIXELS * 4.0,
        "predict": IMAGES * 4e3,
        "judge": IMAGES * 16.0,
    }
    return sizes.get(task.kind, 1e4)


def simulate(cells: int, gpus: int) -> dict[str, Any]:
    """Plan and run a suite of so many cells, and return what was measured."""
    from benchmark.display import LineDisplay
    from benchmark.engine import execute
    from benchmark.executors import Event, Executor, ExecutorOptions
    from benchmark.plan.planner import make_plan
    from benchmark.plugins import load_plugins
    from benchmark.store.store import Store
    from benchmark.suite import load_suite

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "many.yaml"
        path.write_text(suite(cells))
        registry = load_plugins(["toy"])
        before, started = _peak(), process_time()
        loaded = load_suite(str(path), registry=registry)
        plan = make_plan(loaded, registry)
        planned, memory = process_time() - started, _peak() - before

        class Imagined(Store):
            """Holds no bytes, only which artifacts are there."""

            made: set[str] = set()

            def has(self, key: str) -> bool:
                return key in self.made

        class Simulated(Executor):
            """Ends tasks in the order in which they would, on a clock of its own."""

            slots = gpus

            def start(self, setup: Any) -> None:
                self.now, self.busy, self.running = 0.0, 0.0, []
                self.read = self.written = 0.0

            def submit(self, task: Any) -> None:
                took = seconds_of(task)
                heapq.heappush(self.running, (self.now + took, task.key))
                self.busy += took
                self.read += sum(bytes_of(plan.tasks[need]) for need in task.needs)
                self.written += bytes_of(task)

            def wait(self, seconds: float) -> list[Event]:
                if not self.running:
                    return []
                self.now, key = heapq.heappop(self.running)
                Imagined.made.add(key)
                return [Event("done", key, {"meta": {"seconds": 1.0}})]

            def cancel(self, key: str) -> None:
                raise NotImplementedError

            def stop(self) -> None:
                pass

        class Silent(LineDisplay):
            def _say(self, text: str) -> None:
                pass

        executor = Simulated(ExecutorOptions())
        cpu = process_time()
        outcome = execute(plan, Imagined(Path(folder) / "cache"), executor, Silent(), device="cpu")
        cpu = process_time() - cpu
        done = len(outcome.records)
        kinds = Counter(task.kind for task in plan.tasks.values())
        longest: dict[str, float] = {}
        for key, task in plan.tasks.items():
            longest[key] = seconds_of(task) + max((longest[need] for need in task.needs), default=0.0)
        return {
            "cells": len(plan.cells),
            "tasks": done,
            "kinds": dict(kinds),
            "edges": sum(len(task.needs) for task in plan.tasks.values()),
            "plan_seconds": planned,
            "plan_bytes": memory,
            "driver_seconds": cpu,
            "hours": executor.now / 3600,
            "critical_hours": max(longest.values()) / 3600,
            "gpu_hours": executor.busy / 3600,
            "use": executor.busy / (executor.now * gpus),
            "written": executor.written,
            "read": executor.read,
            "peak_bytes": _peak(),
        }


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def show(found: dict[str, Any], gpus: int) -> None:
    """Print a size of the grid."""
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in sorted(found["kinds"].items()))
    cells, tasks = found["cells"], found["tasks"]
    print(f"{cells:,} cells: {tasks:,} tasks ({kinds}), {found['edges']:,} edges")
    print(f"  plan    {found['plan_seconds']:9.1f} s, {found['plan_bytes'] / GIB:6.2f} GiB", end="")
    print(f" ({1e3 * found['plan_seconds'] / cells:.2f} ms, {found['plan_bytes'] / cells / 1024:.1f} KiB per cell)")
    print(
        f"  driver  {found['driver_seconds']:9.1f} s of CPU ({1e3 * found['driver_seconds'] / tasks:.2f} ms per task)",
        end="",
    )
    print(f", {tasks / (found['hours'] * 3600):.1f} tasks per second; peak {found['peak_bytes'] / GIB:.2f} GiB")
    print(f"  cluster {found['hours']:9.2f} h on {gpus:,} GPUs, {100 * found['use']:.0f} % busy", end="")
    print(f" (critical path {found['critical_hours']:.2f} h), {found['gpu_hours']:,.0f} GPU hours", end="")
    print(f", {found['gpu_hours'] * DOLLARS_PER_GPU_HOUR:,.0f} $")
    seconds = found["hours"] * 3600
    print(f"  store   {found['written'] / 1e12:9.2f} TB written, {found['read'] / 1e12:.2f} TB read", end="")
    print(f" ({(found['written'] + found['read']) / seconds / 1e9:.1f} GB/s)")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--cells", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--gpus", type=int, default=1000)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        sys.path.insert(0, str(TOY))
        print(json.dumps(simulate(asked.cells[0], asked.gpus)))
        return
    for cells in asked.cells:
        command = [sys.executable, __file__, "--one", "--cells", str(cells), "--gpus", str(asked.gpus)]
        said = subprocess.run(command, check=True, capture_output=True, text=True)
        show(json.loads(said.stdout.splitlines()[-1]), asked.gpus)


if __name__ == "__main__":
    main()
