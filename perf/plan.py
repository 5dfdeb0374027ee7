"""How long `bench plan` takes for 10,000 cells of a do-nothing defense and a detector, beside importing torch.

python perf/plan.py
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

TOY = Path(__file__).resolve().parent.parent / "tests"


def suite() -> str:
    lines = ["suite: many", "datasets: {blobs: {use: blobs}}", "models:"]
    lines += [f"  m{number}: {{use: linear, train: {{epochs: {number + 1}}}}}" for number in range(10)]
    lines += ["attacks:", *(f"  a{number}: {{use: step, eps: {number + 1}/255}}" for number in range(49))]
    lines += ["defenses:", *(f"  plain{number}: {{use: plain}}" for number in range(10))]
    lines += [f"  bright{number}: {{use: brightness, log: log{number}}}" for number in range(10)]
    return "\n".join([*lines, "grid: [{datasets: all}]", ""])


def seconds(*command: str) -> tuple[float, float, str]:
    """Return wall seconds, CPU seconds and standard output of a command."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), perf_counter()
    environment = {**os.environ, "PYTHONPATH": str(TOY)}
    said = subprocess.run([sys.executable, *command], env=environment, check=True, capture_output=True, text=True)
    wall, after = perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, said.stdout


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "many.yaml"
        path.write_text(suite())
        bare = seconds("-c", "import torch")
        wall, cpu, said = seconds(
            *("-m", "benchmark.cli", "plan", str(path), "--plugin", "toy", "--json", "--cache", f"{folder}/cache")
        )
    facts = json.loads(said)
    print(f"{len(facts['cells']):,} cells, {sum(task['total'] for task in facts['tasks'].values()):,} tasks")
    print(f"bench plan   {wall:6.1f} s, {cpu:6.1f} s of CPU")
    print(f"import torch {bare[0]:6.1f} s, {bare[1]:6.1f} s of CPU")


if __name__ == "__main__":
    main()
