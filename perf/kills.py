"""Kill -9 at seeded moments, then the same command again: the same bytes, and at most one chunk done twice per kill.

python perf/kills.py [--kills 200] [--executor local] [--workers 2] [--seed 0]

A suite of toys that sleeps over each batch is run; a worker, the process that starts workers, the command, or all of
its processes are killed at moments drawn from the seed, also while tables are written. When it has come to its end,
tables are compared with those of a run that nobody killed, and it begins again with an empty cache. It ends with 1
where anything differs. Under Ray only processes of the run's own cluster are killed. `tests/killing.py` does it.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from killing import Killing

PER_ROUND = 25


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--executor", choices=["local", "ray"], default="local")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    draw, done, wrong, rounds = random.Random(asked.seed), Counter[str](), 0, 0
    with tempfile.TemporaryDirectory() as place:
        killing = Killing(Path(place), asked.executor, asked.workers)
        while done.total() < asked.kills:
            told = killing.round(draw, min(PER_ROUND, asked.kills - done.total()))
            done, rounds = done + told.kills, rounds + 1
            same = told.tables == killing.tables
            wrong += not same or told.again > told.allowed
            print(
                f"{told.kills.total()} kills: {'the same bytes' if same else 'OTHER BYTES'}, {told.again} images "
                f"crafted again of {killing.images}, {told.allowed} allowed",
                flush=True,
            )
    print(f"{done.total()} kills in {rounds} rounds, {wrong} rounds wrong:")
    print("".join(f"{count:6} {what}\n" for what, count in done.most_common()), end="")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
