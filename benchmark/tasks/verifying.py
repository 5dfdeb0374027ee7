"""Tasks that set an attack problems with a known solution."""

from __future__ import annotations

import torch

from benchmark.attack import Attack, Victim
from benchmark.plan.task import Task, Verify
from benchmark.progress import Progress
from benchmark.randomness import Rng
from benchmark.store import Building
from benchmark.tasks.checks import check_adversarial
from benchmark.tasks.workshop import Workshop, write_json
from benchmark.trust.looks import evenly


def verify(shop: Workshop, task: Task, building: Building, progress: Progress) -> int:
    """Set an attack a problem per image that it must solve, on the features of the network that it attacks."""
    from benchmark.binarization import Ball, Features, problem, solved

    spec = task.of(Verify)
    attack: Attack = shop.registry.create("attack", spec.attack.use, spec.attack.options)
    split, norm, eps = shop.split(spec, spec.split), attack.options.norm, float(spec.eps)
    if spec.held == "pipeline":
        defense = shop.fitted(spec.victim)
        classifier, through = defense.classifier, defense.surrogate()
    else:
        classifier, through = shop.classifier(spec.victim), None
    features = Features(classifier, through).eval().requires_grad_(False)
    classes = len(split.class_names)
    rng = Rng(spec.seed).spawn(task.identity)
    indices = evenly(len(split), spec.images)
    answers: list[tuple[bool, bool]] = []
    for number, index in enumerate(indices):
        x = split.images([index]).to(shop.device)
        ball = Ball(x, norm, eps)
        one = problem(ball, features.through, features, classes, rng.spawn("problem", index))
        if one is not None:
            victim = Victim(one.network, classes, split.image_shape, shop.device)
            y = torch.zeros(1, dtype=torch.int64, device=shop.device)
            x_adv = attack.craft(victim, x.clone(), y, rng.spawn("attack", index))
            check_adversarial(x_adv, x, norm, attack.options.eps, index)
            answers.append((solved(one, ball, x_adv.detach().float().clamp(0, 1)), one.random))
        progress.update(number + 1, len(indices))
    found = {"images": len(indices), "solved": [a for a, _ in answers], "random": [b for _, b in answers]}
    write_json(building, "verification.json", found)
    return len(indices)
