"""FGSM, BIM, PGD, MI-FGSM and AutoAttack beside ART, foolbox, torchattacks and adv-lib, and beside a bare loop.

    python perf/attacks.py [--rounds 5] [--device cpu] [--attacks fgsm bim pgd pgd-l2 mi-fgsm autoattack]

Every library attacks the same 256 digits against the same small CNN, trained for four epochs, with the same budget,
step and number of steps, in turns, another one first in each round. The bare loop is what no library can go below: as
many forward and backward passes with a step of the sign, and nothing that keeps a budget. Ours looks at the last point,
too, to keep the best of all (`keep: best`); "ours, last point" does not (`keep: last`), as most others. Medians of a
processor's seconds (of the clock's on a GPU), the ratio to ours, forward and backward passes per image with the one
that reads the labels, and the accuracy that is left. A library that is not installed is left out, with a word. A round
of AutoAttack takes minutes, one of all others seconds.
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Callable
from time import perf_counter, process_time
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmark import Rng, Victim
from benchmark.model import passes
from benchmark.plugins import load_plugins

BUDGETS = {"linf": (0.06, 0.012), "l2": (0.6, 0.12)}
"""By norm: the budget and the step."""
STEPS, COUNT = 20, 256
LEAST_SECONDS = 0.25
"""A measurement crafts so often that it takes that long."""
ATTACKS = ("fgsm", "bim", "pgd", "pgd-l2", "mi-fgsm", "autoattack")

Contestants = dict[str, Callable[[], Any]]
"""By attack: what makes the adversarial examples."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--attacks", nargs="+", choices=ATTACKS, default=ATTACKS, metavar="NAME")
    given = parser.parse_args()
    torch.set_num_threads(1)
    device = torch.device(given.device)
    registry = load_plugins()
    split = registry.create("dataset", "digits", {}).split("train")
    x, y = split.images(range(COUNT)).to(device), torch.from_numpy(split.labels[:COUNT]).to(device)
    classifier = trained(registry, split).to(device)
    victim = Victim(classifier, 10, split.image_shape, device)
    libraries: dict[str, Contestants] = {
        "ours": ours(registry, victim, x, y, "best"),
        "ours, last point": ours(registry, victim, x, y, "last"),
        "bare loop": bare(classifier, x, y),
    }
    for name, offer in {"art": art, "foolbox": foolbox, "torchattacks": torchattacks, "adv-lib": adv_lib}.items():
        try:
            libraries[name] = offer(classifier, x, y)
        except ImportError as error:
            print(f"{name} is left out: {error}")
    for attack in given.attacks:
        contest(attack, {name: offered[attack] for name, offered in libraries.items() if attack in offered}, given, y)


def contest(attack: str, libraries: Contestants, given: argparse.Namespace, y: Tensor) -> None:
    seconds: dict[str, list[float]] = {name: [] for name in libraries}
    told: dict[str, str] = {}
    for name, craft in libraries.items():
        before = passes.copy()
        left = float((torch.as_tensor(craft()).to(y.device) == y).float().mean())
        spent = passes - before
        told[name] = f"{spent.forward / COUNT:6.1f} + {spent.backward / COUNT:.1f} passes"
        told[name] += "" if name == "bare loop" else f"  accuracy {left:.3f}"
    times = {name: math.ceil(LEAST_SECONDS / taken(craft, 1, given.device)) for name, craft in libraries.items()}
    names = list(libraries)
    for _ in range(given.rounds):
        for name in names:
            seconds[name].append(taken(libraries[name], times[name], given.device))
        names = [*names[1:], names[0]]
    own = statistics.median(seconds["ours"])
    for name, measured in seconds.items():
        median = statistics.median(measured)
        print(f"{attack:<10} {name:<16} {median:8.4f} s  {median / own:6.2f} x ours {told[name]}", flush=True)


def taken(craft: Callable[[], Any], times: int, device: str) -> float:
    """Return the seconds of one crafting, as the mean of several."""
    before = clock(device)
    for _ in range(times):
        craft()
    return (clock(device) - before) / times


def clock(device: str) -> float:
    if torch.device(device).type == "cpu":
        return process_time()
    torch.cuda.synchronize()
    return perf_counter()


def trained(registry, split):
    with Rng(0).seeded_globals():
        classifier = registry.create("model", "small_cnn", {"width": 16}).build(10, split.image_shape, Rng(0))
        optimizer = torch.optim.Adam(classifier.parameters(), lr=3e-3)
        x, y = split.images(range(len(split))), torch.from_numpy(split.labels)
        for _ in range(4):
            for batch in torch.randperm(len(x)).split(64):
                optimizer.zero_grad()
                torch.nn.functional.cross_entropy(classifier(x[batch]), y[batch]).backward()
                optimizer.step()
    return classifier.frozen()


def labelled(classifier, craft: Callable[[], Any]) -> Callable[[], Tensor]:
    """Return what makes the examples and has them labelled, so that every contestant pays for the same last look."""

    def call() -> Tensor:
        found = craft()
        found = torch.from_numpy(found) if isinstance(found, np.ndarray) else found
        with torch.no_grad():
            return classifier(found.to(next(classifier.parameters()).device)).argmax(1)

    return call


def ours(registry, victim: Victim, x: Tensor, y: Tensor, keep: str) -> Contestants:
    def attack(name: str, norm: str, **options) -> Callable[[], Tensor]:
        made = registry.create("attack", name, {"norm": norm, "eps": BUDGETS[norm][0], **options})
        return labelled(victim.classifier, lambda: made.craft(victim, x, y, Rng(0)))

    steps = {norm: {"step": step, "steps": STEPS, "keep": keep} for norm, (_, step) in BUDGETS.items()}
    iterated = {
        "bim": attack("bim", "linf", **steps["linf"]),
        "pgd": attack("pgd", "linf", **steps["linf"]),
        "pgd-l2": attack("pgd", "l2", **steps["l2"]),
        "mi-fgsm": attack("mi-fgsm", "linf", **steps["linf"]),
    }
    if keep == "last":  # the others keep nothing
        return iterated
    return {"fgsm": attack("fgsm", "linf"), **iterated, "autoattack": attack("autoattack", "linf")}


def bare(classifier, x: Tensor, y: Tensor) -> Contestants:
    def passes(count: int) -> Callable[[], Tensor]:
        def craft() -> Tensor:
            x_adv = x
            for _ in range(count):
                x_adv = x_adv.detach().requires_grad_()
                loss = torch.nn.functional.cross_entropy(classifier(x_adv), y)
                x_adv = x_adv + BUDGETS["linf"][1] * torch.autograd.grad(loss, x_adv)[0].sign()
            return x_adv.detach()

        return labelled(classifier, craft)

    return {"fgsm": passes(1), **dict.fromkeys(("bim", "pgd", "pgd-l2", "mi-fgsm"), passes(STEPS))}


def art(classifier, x: Tensor, y: Tensor) -> Contestants:
    from art.attacks.evasion import (
        AutoAttack,
        BasicIterativeMethod,
        FastGradientMethod,
        MomentumIterativeMethod,
        ProjectedGradientDescent,
    )
    from art.estimators.classification import PyTorchClassifier

    kind = "gpu" if x.is_cuda else "cpu"
    estimator = PyTorchClassifier(
        classifier, torch.nn.CrossEntropyLoss(), classifier.image_shape, 10, clip_values=(0, 1), device_type=kind
    )

    def common(norm: str) -> dict[str, Any]:
        eps, step = BUDGETS[norm]
        return {"norm": {"linf": np.inf, "l2": 2}[norm], "eps": eps, "eps_step": step, "batch_size": COUNT}

    steps = {"max_iter": STEPS, "verbose": False}
    only = {name: value for name, value in common("linf").items() if name != "norm"}
    attacks = {
        "fgsm": FastGradientMethod(estimator, eps=BUDGETS["linf"][0], batch_size=COUNT),
        "bim": BasicIterativeMethod(estimator, **only, **steps),
        "pgd": ProjectedGradientDescent(estimator, num_random_init=1, **common("linf"), **steps),
        "pgd-l2": ProjectedGradientDescent(estimator, num_random_init=1, **common("l2"), **steps),
        "mi-fgsm": MomentumIterativeMethod(estimator, **common("linf"), **steps),
        "autoattack": AutoAttack(estimator, **common("linf")),
    }
    images, labels = x.cpu().numpy(), y.cpu().numpy()
    return {name: labelled(classifier, lambda a=attack: a.generate(images, labels)) for name, attack in attacks.items()}


def foolbox(classifier, x: Tensor, y: Tensor) -> Contestants:
    import foolbox as fb

    model = fb.PyTorchModel(classifier, bounds=(0, 1), device=x.device)

    def attack(made, norm: str) -> Callable[[], Tensor]:
        return labelled(classifier, lambda: made(model, x, y, epsilons=BUDGETS[norm][0])[1])

    steps = {norm: {"abs_stepsize": step, "steps": STEPS} for norm, (_, step) in BUDGETS.items()}
    return {
        "fgsm": attack(fb.attacks.LinfFastGradientAttack(), "linf"),
        "bim": attack(fb.attacks.LinfBasicIterativeAttack(**steps["linf"]), "linf"),
        "pgd": attack(fb.attacks.LinfProjectedGradientDescentAttack(**steps["linf"]), "linf"),
        "pgd-l2": attack(fb.attacks.L2ProjectedGradientDescentAttack(**steps["l2"]), "l2"),
    }


def torchattacks(classifier, x: Tensor, y: Tensor) -> Contestants:
    import torchattacks as ta

    linf, l2 = ({"eps": eps, "alpha": step, "steps": STEPS} for eps, step in BUDGETS.values())
    attacks = {
        "fgsm": ta.FGSM(classifier, eps=linf["eps"]),
        "bim": ta.BIM(classifier, **linf),
        "pgd": ta.PGD(classifier, **linf),
        "pgd-l2": ta.PGDL2(classifier, **l2),
        "mi-fgsm": ta.MIFGSM(classifier, **linf),
        "autoattack": ta.AutoAttack(classifier, norm="Linf", eps=linf["eps"], n_classes=10, seed=0),
    }
    return {name: labelled(classifier, lambda a=attack: a(x, y)) for name, attack in attacks.items()}


def adv_lib(classifier, x: Tensor, y: Tensor) -> Contestants:
    from adv_lib.attacks import pgd_linf

    eps, step = BUDGETS["linf"]
    made = {"steps": STEPS, "absolute_step_size": step}
    return {"pgd": labelled(classifier, lambda: pgd_linf(classifier, x, y, eps, **made))}


if __name__ == "__main__":
    main()
