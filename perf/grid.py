"""How many model passes a grid makes against the fewest it needs, and how much time the host adds.

    python perf/grid.py [--suite quickstart] [--workers 1]

Runs the suite from an empty cache, once, with `outermost` counting passes from outside the product. The fewest are
computed from the suite file and the sizes of the splits alone, attack by attack; for an attack whose passes depend on
the data (DeepFool) they are counted in a plain loop over single images on the same networks.
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
DETECTORS = ("i-defender",)
EXTRACTORS = ("unmask",)
PREPROCESSORS = ("feature-squeezing", "jpeg", "spatial-smoothing")
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
    done = subprocess.run(
        [
            *[sys.executable, "-m", "benchmark.cli", "run", suite, "--plugin", "outermost", "--device", "cpu"],
            *["--workers", workers, "--cache", str(place / "cache"), "--output", str(place / "run")],
        ],
        env=environment,
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise SystemExit(done.stderr)


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
    """Return the fewest forward and backward passes of the grid: each network, example and verdict is made once."""
    from benchmark.plan.planner import make_plan
    from benchmark.plugins import load_plugins
    from benchmark.suite import load_suite

    registry = load_plugins()
    suite = load_suite(suite_path, registry=registry)
    plan = make_plan(suite, registry)
    networks, examples, verified, squeezed, states, looked = set(), set(), set(), set(), set(), set()
    for entry in suite.grid:
        for data in entry.datasets:
            for model in entry.models:
                for defense in entry.defenses:
                    if any(rule == {"defenses": (defense,)} for rule in entry.exclude):
                        continue
                    use = suite.defenses[defense].use
                    if use not in ("none", "adversarial_training", *PREPROCESSORS, *DETECTORS, *EXTRACTORS):
                        raise SystemExit(f"perf/grid.py does not know the fewest passes of {use}")
                    network = (data, model, defense if use == "adversarial_training" else "")
                    pipeline = entry.knowledge == "white-box" and use in (*PREPROCESSORS, *DETECTORS)
                    victim = (*network, defense) if pipeline else network
                    networks |= {network, (data, model, "")}
                    verified.add((network, "clean", ""))
                    for attack in entry.attacks:
                        examples.add((victim, attack))
                        verified.add((network, victim, attack))
                    if use in DETECTORS:  # hidden states, once per network and image set
                        states |= {(network, "train", ""), (network, "val", ""), (network, "test", "")}
                        states |= {(network, victim, attack) for attack in entry.attacks}
                    if use in EXTRACTORS:  # K sees each image set once, and its part data's test images to be assessed
                        if suite.defenses[defense].options.extractor.stages:
                            raise SystemExit(f"perf/grid.py does not know the fewest passes of training {defense}'s K")
                        looked |= {(data, "val"), (data, "test")}
                        looked |= {(data, victim, attack) for attack in entry.attacks}
                        looked.add((suite.defenses[defense].options.parts_from or data, "test", "assessed"))
                    if use in PREPROCESSORS:
                        squeezed |= {(defense, network, victim, attack) for attack in entry.attacks}
                        squeezed.add((defense, network, "clean", ""))
    forward = backward = 0.0
    for data, model, defense in networks:
        sizes, recipe = plan.datasets[data].sizes, suite.models[model].options.train
        train, val = sizes["train"], sizes["val"]
        steps, share, validation = 0, 1, 1
        if defense:
            options = suite.defenses[defense].options
            recipe, steps = options.recipe(recipe), options.steps_taken
            share = 1 if options.mix in (0, 1) else 2
            validation = steps + 2  # clean images, the steps, and the examples they make
        forward += recipe.epochs * (train * (steps + share) + val * validation)
        backward += recipe.epochs * (train * (steps + share) + val * steps)
    for (data, *_), attack in examples:
        component = suite.attacks[attack]
        if component.use in ATTACK_STEPS:
            passes = plan.datasets[data].sizes["test"] * ATTACK_STEPS[component.use](component.options)
            forward, backward = forward + passes, backward + passes
    for network, *_ in verified:
        forward += plan.datasets[network[0]].sizes["test"]
    for _, network, *_ in squeezed:
        forward += plan.datasets[network[0]].sizes["test"]
    for data, images, *_ in looked:
        forward += plan.datasets[data].sizes[images if isinstance(images, str) else "test"]
    for network, images, _ in states:
        forward += plan.datasets[network[0]].sizes[images if isinstance(images, str) else "test"]
    direct = [reference_passes(plan, registry, place, task) for task in data_dependent(plan)]
    return forward + sum(f for f, _ in direct), backward + sum(b for _, b in direct)


def data_dependent(plan):
    return [task for task in plan.tasks.values() if task.kind == "craft" and task.work is None]


def reference_passes(plan, registry, place: Path, task) -> tuple[float, float]:
    """Return the passes that DeepFool needs on the images of a craft task, from a plain loop over single images.

    Moosavi-Dezfooli et al. 2016, Algorithm 2: per image one pass to see whether it is right at all, then per step one
    forward pass and a backward pass per considered class, and a pass to see whether the boundary is crossed.
    """
    import torch

    from benchmark.store.store import Store
    from benchmark.tasks.worker import Worker

    if task.spec.attack.use != "deepfool":
        raise SystemExit(f"perf/grid.py has no reference for {task.spec.attack.use}")
    worker = Worker(Store(place / "cache"), registry, torch.device("cpu"), 1, plan.tasks)
    network = worker.shop.classifier(task.spec.victim[0])
    split = worker.shop.split(task.spec, "test")
    options = registry.create("attack", "deepfool", task.spec.attack.options).options
    forward = backward = 0
    for index in range(len(split)):
        x, y = split.images([index]), int(split.labels[index])
        logits = network(x)[0]
        forward += 1
        if int(logits.argmax()) != y:
            continue
        rivals = [k for k in logits.argsort(descending=True).tolist() if k != y][: options.candidates - 1]
        point, total = x.clone(), torch.zeros_like(x)
        for _ in range(options.steps):
            point.requires_grad_()
            logits = network(point)[0]
            gradients = {k: torch.autograd.grad(logits[k], point, retain_graph=True)[0] for k in (y, *rivals)}
            forward += 1
            backward += len(rivals)  # of the differences to the true class
            margins = {k: (logits[k] - logits[y]).item() for k in rivals}
            normals = {k: gradients[k] - gradients[y] for k in rivals}
            nearest = min(rivals, key=lambda k: abs(margins[k]) / normals[k].norm().item())
            normal = normals[nearest]
            total = total + (abs(margins[nearest]) / normal.norm() + 1e-4) / normal.norm() * normal
            point = (x + (1 + options.overshoot) * total).clamp(0, 1).detach()
            forward += 1
            if int(network(point).argmax()) != y:
                break
    return forward, backward


def host_time(place: Path, workers: int) -> None:
    """Print how the time between the first task's start and the end of the run divides."""
    from benchmark import load_run

    journal = load_run(place / "run").journal
    tasks = [line for line in journal if line["event"] == "task done"]
    at = {line["event"]: datetime.fromisoformat(line["time"]).timestamp() for line in journal}
    first = min(datetime.fromisoformat(line["time"]).timestamp() - line["seconds"] for line in tasks)
    wall = at["report written"] - first
    busy = sum(line["seconds"] for line in tasks)
    done = counted(place)
    in_passes = done["forward_seconds"] + done["backward_seconds"]
    print(f"wall time from the first task on, imports apart: {wall:.1f} s with {workers} worker(s)")
    print(f"  forward and backward passes      {in_passes:8.1f} s  {in_passes / wall / workers:7.1%}")
    print(f"  methods around them (tasks)      {busy - in_passes:8.1f} s  {(busy - in_passes) / wall / workers:7.1%}")
    rest = wall * workers - busy
    print(f"  host (engine, store, report)     {rest:8.1f} s  {rest / wall / workers:7.1%}")


if __name__ == "__main__":
    sys.path.insert(0, str(HERE))
    main()
