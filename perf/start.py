"""How long a user waits before the command line says anything, beside a bare interpreter.

python perf/start.py [runs]
"""

from __future__ import annotations

import statistics
import subprocess
import sys
from pathlib import Path
from time import perf_counter

QUICKSTART = str(Path(__file__).resolve().parent.parent / "suites" / "quickstart.yaml")
BENCH = [sys.executable, "-m", "benchmark.cli"]
COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "bench --help": [*BENCH, "--help"],
    "bench plugins": [*BENCH, "plugins"],
    "bench validate": [*BENCH, "validate", QUICKSTART],
    "import torch": [sys.executable, "-c", "import torch"],
}


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(runs + 1):  # the first round warms the file cache
        for name, command in COMMANDS.items():
            started = perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            seconds[name].append(perf_counter() - started)
    bare = statistics.median(seconds["python -c pass"][1:])
    for name, values in seconds.items():
        median = statistics.median(values[1:])
        print(f"{name:<16} {median:6.3f} s  {median / bare:6.1f} x a bare interpreter")


if __name__ == "__main__":
    main()
