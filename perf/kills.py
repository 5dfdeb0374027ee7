"""Kill -9 in each phase of a run, then the same command again: the same bytes, and little done twice.

python perf/kills.py [--kills 200] [--executor local] [--workers 2] [--seed 0]

A suite of toys that sleeps over each batch is run. Whom a kill meets (a worker, the process that starts workers, the
command, or it and all that works for it), and in which phase (training, crafting, judging, writing), goes by turns, so
that each has its share; at which batch and after how long is drawn from the seed. When the run has come to its end,
tables are compared with those of a run that nobody killed, and it begins again with an empty cache. Ends with 1 where a
byte differs or more was begun again than the killed workers had at hand. Under Ray only processes of the run's own
cluster are killed. `tests/killing.py` does it.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from killing import PHASES, VICTIMS, Kill, Killing

WORKERS = 4
"""So many workers are killed per kill of each other kind: the next start costs far less."""

IDLE_ROUNDS = 3
"""After so many rounds without any kill, more would not help."""


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--executor", choices=["local", "ray"], default="local")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    draw, done, wrong, rounds, idle = random.Random(asked.seed), Counter[Kill](), 0, 0, 0
    again, allowed = Counter[str](), Counter[str]()
    with tempfile.TemporaryDirectory() as place:
        killing = Killing(Path(place), asked.executor, asked.workers)
        while done.total() < asked.kills and idle < IDLE_ROUNDS:
            kinds = killing.kinds()
            wanted = kinds + (WORKERS - 1) * [kind for kind in kinds if kind.victim == "worker"]
            # First what was met least: a run may come to its end before its turn.
            wanted.sort(key=lambda kill: done[kill] / (WORKERS if kill.victim == "worker" else 1))
            told = killing.round(draw, wanted[: asked.kills - done.total()])
            done, rounds, idle = done + told.kills, rounds + 1, 0 if told.kills.total() else idle + 1
            again.update(told.again)
            allowed.update(told.allowed)
            same, excess = told.tables == killing.tables, told.excess()
            wrong += not same or bool(excess)
            print(
                f"{told.kills.total()} kills: {'the same bytes' if same else 'OTHER BYTES'}"
                + "".join(f"; {images} images of {phase} TOO MANY AGAIN" for phase, images in excess.items()),
                flush=True,
            )
    print(f"{asked.executor}, {asked.workers} workers, seed {asked.seed}: {done.total()} kills in {rounds} rounds,")
    print(f"{wrong} rounds wrong\n{'':10}" + "".join(f"{victim:>12}" for victim in VICTIMS) + "       images again")
    for phase in PHASES:
        counts = "".join(f"{done[Kill(phase, victim)]:12}" for victim in VICTIMS)
        twice = f"{again[phase]:9} of {allowed[phase]} allowed" if phase in allowed else ""
        print(f"{phase:10}{counts}{twice}")
    if done.total() < asked.kills:
        print(f"given up: the last {idle} rounds came to their end before a kill met its batch")
    return 1 if wrong or done.total() < asked.kills else 0


if __name__ == "__main__":
    sys.exit(main())
