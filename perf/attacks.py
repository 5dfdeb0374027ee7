"""FGSM, BIM, PGD and MI-FGSM beside ART and foolbox: seconds, interleaved, on one network and one batch.

    python perf/attacks.py [rounds]

Every library attacks the same 256 digits against the same small network with the same budget and steps, one torch
thread. Medians, and the ratio to ours.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable
from time import perf_counter

import torch

from benchmark import Rng, Victim
from benchmark.plugins import load_plugins

EPS, STEP, STEPS, COUNT = 0.15, 0.03, 20, 256


def main() -> None:
    torch.set_num_threads(1)
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    registry = load_plugins()
    split = registry.create("dataset", "digits", {}).split("train")
    x, y = split.images(range(COUNT)), torch.from_numpy(split.labels[:COUNT])
    classifier = registry.create("model", "small_cnn", {"width": 16}).build(10, split.image_shape, Rng(0)).frozen()
    victim = Victim(classifier, 10, split.image_shape, torch.device("cpu"))
    contestants = {
        **ours(registry, victim, x, y),
        **art(classifier, split.image_shape, x, y),
        **foolbox(classifier, x, y),
    }
    seconds: dict[tuple[str, str], list[float]] = {name: [] for name in contestants}
    for _ in range(rounds + 1):  # the first round warms up
        for name, attack in contestants.items():
            started = perf_counter()
            attack()
            seconds[name].append(perf_counter() - started)
    for attack, library in contestants:
        median = statistics.median(seconds[attack, library][1:])
        own = statistics.median(seconds[attack, "ours"][1:])
        print(f"{attack:<8} {library:<8} {median:7.3f} s  {median / own:5.2f} x ours")


Contestants = dict[tuple[str, str], Callable[[], object]]


def ours(registry, victim, x, y) -> Contestants:
    def attack(name: str, **options) -> Callable[[], object]:
        made = registry.create("attack", name, {"norm": "linf", "eps": EPS, **options})
        return lambda: made.craft(victim, x, y, Rng(0))

    return {
        ("fgsm", "ours"): attack("fgsm"),
        ("bim", "ours"): attack("bim", step=STEP, steps=STEPS),
        ("pgd", "ours"): attack("pgd", step=STEP, steps=STEPS),
        ("mi-fgsm", "ours"): attack("mi-fgsm", step=STEP, steps=STEPS),
    }


def art(classifier, image_shape, x, y) -> Contestants:
    from art.attacks.evasion import (
        BasicIterativeMethod,
        FastGradientMethod,
        MomentumIterativeMethod,
        ProjectedGradientDescent,
    )
    from art.estimators.classification import PyTorchClassifier

    estimator = PyTorchClassifier(classifier, torch.nn.CrossEntropyLoss(), image_shape, 10, clip_values=(0, 1))
    common = {"eps": EPS, "eps_step": STEP, "max_iter": STEPS, "batch_size": COUNT, "verbose": False}
    attacks = {
        "fgsm": FastGradientMethod(estimator, eps=EPS, batch_size=COUNT),
        "bim": BasicIterativeMethod(estimator, **common),
        "pgd": ProjectedGradientDescent(estimator, num_random_init=1, **common),
        "mi-fgsm": MomentumIterativeMethod(estimator, **common),
    }
    return {(name, "art"): lambda a=attack: a.generate(x.numpy(), y.numpy()) for name, attack in attacks.items()}


def foolbox(classifier, x, y) -> Contestants:
    try:
        import foolbox as fb
    except ImportError:
        print("foolbox is not installed: left out")
        return {}
    model = fb.PyTorchModel(classifier, bounds=(0, 1), device="cpu")
    attacks = {
        "fgsm": fb.attacks.LinfFastGradientAttack(),
        "bim": fb.attacks.LinfBasicIterativeAttack(abs_stepsize=STEP, steps=STEPS),
        "pgd": fb.attacks.LinfProjectedGradientDescentAttack(abs_stepsize=STEP, steps=STEPS),
    }
    return {(name, "foolbox"): lambda a=attack: a(model, x, y, epsilons=EPS) for name, attack in attacks.items()}


if __name__ == "__main__":
    main()
