"""How many model passes a grid makes against the fewest it needs, and how much time the host adds.

    python perf/grid.py [--suite quickstart] [--workers 1]

Runs the suite from an empty cache, once, with `outermost` counting passes from outside the product. The fewest are
computed from the suite file and the sizes of the splits alone, attack by attack; for an attack whose passes depend on
the data (DeepFool) the fewest are those of ART called directly on the same network and images, without the passes
that ART makes to log success rates.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from datetime import datetime
from pathlib import Path

HERE = Path(__file__).resolve().parent
ATTACK_STEPS = {"fgsm": lambda o: 1, "bim": lambda o: o.steps, "pgd": lambda o: o.steps, "mi-fgsm": lambda o: o.steps}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--suite", default=str(HERE.parent / "suites" / "quickstart.yaml"))
    parser.add_argument("--workers", default="1")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        run(arguments.suite, arguments.workers, place)
        passes(arguments.suite, place)
        host_time(place, int(arguments.workers))


def run(suite: str, workers: str, place: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(HERE), "OUTERMOST_LOG": str(place / "counts")}
    subprocess.run(
        [
            *[sys.executable, "-m", "benchmark.cli", "run", suite, "--plugin", "outermost", "--device", "cpu"],
            *["--workers", workers, "--cache", str(place / "cache"), "--output", str(place / "run")],
        ],
        env=environment,
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def counted(place: Path) -> dict[str, float]:
    totals: dict[str, float] = {}
    for file in place.glob("counts.*"):
        for name, value in json.loads(file.read_text()).items():
            totals[name] = totals.get(name, 0) + value
    return totals


def passes(suite_path: str, place: Path) -> None:
    from benchmark import load_run

    done = counted(place)
    own = load_run(place / "run").costs
    forward, backward = fewest(suite_path, place)
    print(f"{'images pushed':<12} {'counted':>12} {'own counter':>12} {'fewest':>12} {'ratio':>8}")
    for name, least in (("forward", forward), ("backward", backward)):
        print(f"{name:<13} {done[name]:>12,.0f} {own[name].sum():>12,.0f} {least:>12,.0f} {done[name] / least:>8.4f}")


def fewest(suite_path: str, place: Path) -> tuple[float, float]:
    """Return the fewest forward and backward passes of the grid, each network, image set and fit counted once."""
    from benchmark.plan import make_plan
    from benchmark.plugins import load_plugins
    from benchmark.suite import load_suite

    registry = load_plugins()
    suite = load_suite(suite_path, registry=registry)
    plan = make_plan(suite, registry)
    forward = backward = 0.0
    for label in suite.datasets:
        sizes = plan.datasets[label].sizes
        train, val, test = sizes["train"], sizes["val"], sizes["test"]
        for model in suite.models.values():
            recipe = model.options.train
            forward += recipe.epochs * (train + val)
            backward += recipe.epochs * train
            networks = 1
            for defense in suite.defenses.values():
                if defense.use == "adversarial_training":
                    networks += 1
                    options = defense.options
                    own = options.recipe(recipe)
                    steps = options.steps_taken
                    # A step crafts and learns; validation classifies clean images, crafts, classifies those.
                    share = 1 if options.mix == 0 else 2
                    forward += own.epochs * (train * (steps + share) + val * (steps + 2))
                    backward += own.epochs * (train * (steps + share) + val * steps)
                elif defense.use in ("feature-squeezing", "jpeg", "spatial-smoothing"):
                    forward += test * (1 + len(suite.attacks))  # the squeezed images are classified once more
                elif defense.use != "none":
                    raise SystemExit(f"perf/grid.py does not know the fewest passes of {defense.use}")
            forward += networks * test * (1 + len(suite.attacks))  # clean images, and each attack verified
            for attack in suite.attacks.values():
                if attack.use in ATTACK_STEPS:
                    steps = ATTACK_STEPS[attack.use](attack.options)
                    forward += networks * test * steps
                    backward += networks * test * steps
    direct = [reference_passes(plan, registry, place, task) for task in data_dependent(plan)]
    return forward + sum(f for f, _ in direct), backward + sum(b for _, b in direct)


def data_dependent(plan):
    return [task for task in plan.tasks.values() if task.kind == "craft" and task.work is None]


def reference_passes(plan, registry, place: Path, task) -> tuple[float, float]:
    """Return the passes of ART's attack called directly on the images of a craft task."""
    import outermost
    import torch
    from art.attacks.evasion import DeepFool
    from art.estimators.classification import PyTorchClassifier

    from benchmark.store import Store
    from benchmark.tasks import Worker

    if task.spec["attack"]["use"] != "deepfool":
        raise SystemExit(f"perf/grid.py has no direct call for {task.spec['attack']['use']}")
    worker = Worker(Store(place / "cache"), registry, torch.device("cpu"), 1, plan.tasks)
    network = worker._classifier(task.spec["victim"])
    split = worker._split(task.spec, "test")
    options = registry.create("attack", "deepfool", task.spec["attack"]["options"]).options
    classifier = PyTorchClassifier(
        network, torch.nn.CrossEntropyLoss(), split.image_shape, len(split.class_names), clip_values=(0, 1)
    )
    before = dict(outermost.counts)
    size = task.spec["batch_size"]
    for start in range(0, len(split), size):
        x = split.images(range(start, min(start + size, len(split)))).numpy()
        DeepFool(
            classifier,
            max_iter=options.max_iter,
            epsilon=options.overshoot,
            nb_grads=options.nb_grads,
            batch_size=size,
            verbose=False,
        ).generate(x)
        outermost.counts["forward"] -= 2 * len(x)  # ART's own success rate, for its log
    return tuple(outermost.counts[name] - before[name] for name in ("forward", "backward"))


def host_time(place: Path, workers: int) -> None:
    """Print how the time between the first task's start and the end of the run divides."""
    from benchmark import load_run

    journal = load_run(place / "run").journal
    tasks = [line for line in journal if line["event"] == "task done"]
    at = {line["event"]: datetime.fromisoformat(line["time"]).timestamp() for line in journal}
    first = min(datetime.fromisoformat(line["time"]).timestamp() - line["seconds"] for line in tasks)
    wall = at["run finished"] - first
    busy = sum(line["seconds"] for line in tasks)
    done = counted(place)
    in_passes = done["forward_seconds"] + done["backward_seconds"]
    print(f"wall time from the first task on, imports apart: {wall:.1f} s with {workers} worker(s)")
    print(f"  forward and backward passes      {in_passes:8.1f} s  {in_passes / wall / workers:7.1%}")
    print(f"  methods around them (tasks)      {busy - in_passes:8.1f} s  {(busy - in_passes) / wall / workers:7.1%}")
    rest = wall * workers - busy
    print(f"  host (engine, store, tables)     {rest:8.1f} s  {rest / wall / workers:7.1%}")


if __name__ == "__main__":
    sys.path.insert(0, str(HERE))
    main()
