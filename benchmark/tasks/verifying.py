"""Tasks that set an attack problems with a known solution."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from benchmark.attack import Attack, Victim
from benchmark.binarization import (
    Ball,
    Binarised,
    Features,
    everywhere,
    flagged_edge,
    problem,
    unflagged_edge,
)
from benchmark.defense import Verdict
from benchmark.plan.task import Task, Verify
from benchmark.progress import Progress
from benchmark.randomness import Rng
from benchmark.store.store import Building
from benchmark.tasks.checks import check_adversarial
from benchmark.tasks.verdicts import verdict_on
from benchmark.tasks.victims import victim_of
from benchmark.tasks.workshop import Workshop, write_json
from benchmark.trust.looks import evenly


def verify(shop: Workshop, task: Task, building: Building, progress: Progress) -> int:
    """Set an attack a problem per image that it must solve, on the features of the network that it attacks."""
    spec = task.of(Verify)
    attack: Attack = shop.registry.create("attack", spec.attack.use, spec.attack.options)
    split, norm, eps = shop.split(spec, spec.split), attack.options.norm, float(spec.eps)
    rng = Rng(spec.seed).spawn(task.identity)
    if spec.held == "pipeline":
        defense = shop.fitted(spec.victim)
        classifier, through = defense.classifier, defense.surrogate()
    else:
        classifier, through = shop.classifier(spec.victim), None
    features = Features(classifier, through).eval().requires_grad_(False)
    beside = (
        None if spec.threshold is None else _Detector(shop, spec, victim_of(shop, (spec.victim,), spec.held, split))
    )
    classes = len(split.class_names)
    indices = evenly(len(split), spec.images)
    answers: list[tuple[bool, bool]] = []
    for number, index in enumerate(indices):
        x, edge = split.images([index]).to(shop.device), None
        counts: Callable[[Tensor], Tensor] = everywhere if beside is None else beside.counts
        ball, own = Ball(x, norm, eps), rng.spawn("problem", index)
        if beside is not None:
            y = torch.from_numpy(split.labels[[index]]).to(shop.device)
            draws = own.spawn("edge")
            if spec.inverted:
                edge = flagged_edge(ball, y, features.through, beside.flagged, draws)
            else:
                edge = unflagged_edge(ball, beside.flagged, draws)
        if beside is None or edge is not None:
            one = problem(ball, features.through, features, classes, own, edge, counts)
            if one is not None:
                victim = Victim(one.network, classes, split.image_shape, shop.device)
                if beside is not None:
                    victim = beside.beside(one.network, victim)
                zero = torch.zeros(1, dtype=torch.int64, device=shop.device)
                x_adv = attack.craft(victim, x.clone(), zero, rng.spawn("attack", index))
                check_adversarial(x_adv, x, norm, attack.options.eps, index)
                answers.append((one.solved(ball, x_adv.detach().float().clamp(0, 1)), one.random))
        progress.update(number + 1, len(indices))
    found = {"images": len(indices), "solved": [a for a, _ in answers], "random": [b for _, b in answers]}
    write_json(building, "verification.json", found)
    return len(indices)


class _Detector:
    """The detector of a defense, which goes on looking at the network as it is, beside a problem.

    Args:
        victim: what an attacker of the whole defense holds.
    """

    def __init__(self, shop: Workshop, spec: Verify, victim: Victim) -> None:
        assert spec.threshold is not None
        assert victim.detector_loss is not None
        self._defense = shop.fitted(spec.victim)
        self._road: Callable[[Tensor], Tensor] = victim.detector_loss
        self._rng = Rng(spec.seed).spawn("judge")
        self._threshold: float | None = json.loads((shop.store.open(spec.threshold) / "threshold.json").read_text())[
            "threshold"
        ]
        self._inverted = spec.inverted

    def flagged(self, x: Tensor) -> Tensor:
        """Return which images are flagged, (N,)."""
        verdict = self._verdict(x)
        if verdict.flagged is not None:
            return verdict.flagged
        assert verdict.score is not None
        assert self._threshold is not None
        return verdict.score > self._threshold

    def counts(self, x: Tensor) -> Tensor:
        """Return which images are where the test wants them, (N,)."""
        return self.flagged(x) == self._inverted

    def beside(self, network: Binarised, victim: Victim) -> Victim:
        """Return the victim with the detector beside its network, of the sign that the test has.

        Without `class_suspicions`: the classes of a problem are not those that the detector knows.
        """
        sign = -1.0 if self._inverted else 1.0

        def judge(x: Tensor, rng: Rng) -> tuple[Tensor, Tensor]:
            with torch.no_grad():
                return network(x).argmax(1), sign * self._score(x)

        return replace(victim, detector_loss=lambda x: sign * self._road(x), judge=judge)

    def _score(self, x: Tensor) -> Tensor:
        score = self._verdict(x).score
        assert score is not None
        return score

    def _verdict(self, x: Tensor) -> Verdict:
        return verdict_on(self._defense, x, None, {}, self._rng, 0)
