"""How long `bench plan` and `bench run` take for 10,000 and 20,000 cells of a do-nothing defense and a detector.

python perf/cells.py [--cells 10000 20000] [--plan-only]

Data, networks and attacks are toys, so that what is measured is the host: `bench run` without a report, under `local`
with two workers and an empty cache. CPU is that of the command alone, without its workers.
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
from time import perf_counter

TOY = Path(__file__).resolve().parent.parent / "tests"
PER_MODEL = 1000


def suite(models: int) -> str:
    lines = ["suite: many", "datasets: {blobs: {use: blobs}}", "models:"]
    lines += [f"  m{number}: {{use: linear, train: {{epochs: {number + 1}}}}}" for number in range(models)]
    lines += ["attacks:", *(f"  a{number}: {{use: step, eps: {number + 1}/255}}" for number in range(49))]
    lines += ["defenses:", *(f"  plain{number}: {{use: plain}}" for number in range(10))]
    lines += [f"  bright{number}: {{use: brightness, log: log{number}}}" for number in range(10)]
    return "\n".join([*lines, "grid: [{datasets: all}]", ""])


def seconds(*command: str, cwd: str | None = None) -> tuple[float, float, str]:
    """Return wall seconds, CPU seconds and standard output of a command."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), perf_counter()
    environment = {**os.environ, "PYTHONPATH": str(TOY)}
    said = subprocess.run(
        [sys.executable, *command], env=environment, cwd=cwd, check=True, capture_output=True, text=True
    )
    wall, after = perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, said.stdout


def measure(cells: int, plan_only: bool) -> float:
    """Print what a grid takes; return the seconds of its run."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "many.yaml").write_text(suite(cells // PER_MODEL))
        given = ("many.yaml", "--plugin", "toy", "--cache", "cache")
        wall, cpu, said = seconds("-m", "benchmark", "plan", *given, "--json", cwd=folder)
        facts = json.loads(said)
        print(f"{len(facts['cells']):,} cells, {sum(task['total'] for task in facts['tasks'].values()):,} tasks")
        print(f"bench plan   {wall:6.1f} s, {cpu:6.1f} s of CPU", flush=True)
        if plan_only:
            return wall
        how = ("--output", "run", "--no-report", "--device", "cpu", "--workers", "2")
        wall, cpu, _ = seconds("-m", "benchmark", "run", *given, *how, cwd=folder)
        print(f"bench run    {wall:6.1f} s, {cpu:6.1f} s of CPU", flush=True)
        return wall


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--cells", type=int, nargs="+", default=[10_000, 20_000], help=f"multiples of {PER_MODEL}")
    parser.add_argument("--plan-only", action="store_true")
    asked = parser.parse_args()
    wall, cpu, _ = seconds("-c", "import torch")
    print(f"import torch {wall:6.1f} s, {cpu:6.1f} s of CPU")
    first, *others = [(cells, measure(cells, asked.plan_only)) for cells in asked.cells]
    for cells, wall in others:
        print(f"{cells:,} cells took {wall / first[1]:.2f} times as long as {first[0]:,}")


if __name__ == "__main__":
    main()
