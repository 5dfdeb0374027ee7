"""AutoAttack beside its authors' code: robust accuracy after each part, and what that cost in images pushed through.

    python perf/autoattack.py [digits | FILE.npz] [plain | robust] [linf | l2] [images]

Then `apgd-t` and `malt` by themselves, which differ in the order of the classes that they aim at.
Networks are trained in the script (a small CNN, on clean or on adversarial images); both attack the same test images of
the same network, in one run, ours with `early_stop: true`. The authors' code is the package `pyautoattack`. Words that
are left out stand for all.
"""

from __future__ import annotations

import logging
import sys
from time import process_time

import torch
from torch import nn

from benchmark import Rng, Victim
from benchmark.gradient import ascend, classification_loss
from benchmark.model import Passes, passes
from benchmark.plugins import load_plugins

EPS = {"digits": {"linf": 0.12, "l2": 0.7}, "arrays": {"linf": 0.2, "l2": 2.0}}
TRAIN_EPS = {"digits": 0.15, "arrays": 0.2}
PARTS = ["apgd-ce", "apgd-t", "fab-t", "square"]


def main() -> None:
    torch.set_num_threads(1)
    words = sys.argv[1:]
    count = next((int(word) for word in words if word.isdigit()), 200)
    file = next((word for word in words if word.endswith(".npz")), None)
    registry = load_plugins()
    data = registry.create("dataset", "arrays", {"path": file}) if file else registry.create("dataset", "digits", {})
    kind = "arrays" if file else "digits"
    train, test = data.split("train"), data.split("test")
    x, y = test.images(range(count)), torch.from_numpy(test.labels[:count])
    print(
        f"{data.__class__.__name__}, {count} images; passes are images pushed forward + backward, clean look included"
    )
    print("network norm  after     authors    ours   | passes: authors            ours                 ratio")
    for network in [word for word in ("plain", "robust") if word in words] or ["plain", "robust"]:
        classifier = trained(registry, train, TRAIN_EPS[kind] if network == "robust" else 0.0)
        victim = Victim(classifier, 10, test.image_shape, torch.device("cpu"))
        for norm in [word for word in ("linf", "l2") if word in words] or ["linf", "l2"]:
            eps = EPS[kind][norm]
            seconds, told = [], []
            for run in (authors, ours):
                started = process_time()
                told.append(run(registry, victim, x, y, norm, eps))
                seconds.append(process_time() - started)
            for part in told[0] | told[1]:
                (left, cost), (mine, own) = (side.get(part, list(side.values())[-1]) for side in told)
                ratio = (own.forward + own.backward) / (cost.forward + cost.backward)
                print(
                    f"{network:7s} {norm:5s} {part:8s} {left:7.3f} {mine:8.3f}    | "
                    f"{cost.forward:9,d} + {cost.backward:9,d}  {own.forward:9,d} + {own.backward:9,d}  {ratio:6.3f}",
                    flush=True,
                )
            print(f"{network:7s} {norm:5s} CPU seconds {seconds[0]:.0f} {seconds[1]:.0f}", flush=True)
            for name in ("apgd-t", "malt"):
                left, own = alone(registry, name, victim, x, y, norm, eps)
                cost = f"{own.forward:9,d} + {own.backward:9,d}"
                print(f"{network:7s} {norm:5s} {name:8s} alone, ours    {left:8.3f} | {cost}")


def trained(registry, train, eps: float):
    with Rng(0).seeded_globals():
        classifier = registry.create("model", "small_cnn", {"width": 16}).build(10, train.image_shape, Rng(0))
        optimizer = torch.optim.Adam(classifier.parameters(), lr=2e-3)
        few = min(len(train), 10_000)
        x, y = train.images(range(few)), torch.from_numpy(train.labels[:few])
        for _ in range(max(3, 20_000 // few)):
            for batch in torch.randperm(few).split(100):
                seen, labels = x[batch], y[batch]
                if eps:
                    seen = ascend(
                        classification_loss(classifier, labels), seen, norm="linf", eps=eps, step=eps / 2, steps=4
                    )
                optimizer.zero_grad()
                nn.functional.cross_entropy(classifier(seen), labels).backward()
                optimizer.step()
    return classifier.frozen()


Told = dict[str, tuple[float, Passes]]
"""After each part: robust accuracy, passes since the start."""


def authors(registry, victim: Victim, x, y, norm: str, eps: float) -> Told:
    from pyautoattack import AutoAttack

    before, told = passes.copy(), {}

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            words = record.getMessage().split()
            if words[:2] == ["initial", "accuracy:"]:
                told["clean"] = (float(words[2].rstrip("%")) / 100, passes - before)
            elif words[:3] == ["robust", "accuracy", "after"]:
                told[words[3].rstrip(":").lower()] = (float(words[4].rstrip("%")) / 100, passes - before)

    attack = AutoAttack(victim.classifier, norm={"linf": "Linf", "l2": "L2"}[norm], eps=eps, seed=0, device="cpu")
    attack.logger = logging.Logger("perf", logging.DEBUG)
    attack.logger.addHandler(Listener())
    attack.run_standard_evaluation(x, y, batch_size=len(x))
    return told


def ours(registry, victim: Victim, x, y, norm: str, eps: float) -> Told:
    from bench_autoattack.part import Standing

    before = passes.copy()
    standing = Standing(victim, x, y)
    told = {"clean": (len(standing.rows) / len(x), passes - before)}
    chosen = {"norm": norm, "eps": eps, "early_stop": True}
    for number, part in enumerate(registry.create("attack", "autoattack", chosen).parts):
        if len(standing.rows):
            part.attack(standing, Rng(0).spawn(number))
        with torch.no_grad(), passes.uncounted():
            right = victim.classifier(standing.x_adv).argmax(1) == y
            right[standing.rows] = True
        told[PARTS[number]] = (float(right.float().mean()), passes - before)
    return told


def alone(registry, name: str, victim: Victim, x, y, norm: str, eps: float) -> tuple[float, Passes]:
    before = passes.copy()
    x_adv = registry.create("attack", name, {"norm": norm, "eps": eps, "early_stop": True}).craft(victim, x, y, Rng(0))
    spent = passes - before
    with torch.no_grad(), passes.uncounted():
        return float((victim.classifier(x_adv).argmax(1) == y).float().mean()), spent


if __name__ == "__main__":
    main()
