"""Tasks that examine a crafting for probes: run its attack again, watched, or look around its images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from benchmark.attack import TOLERANCE, Attack, Victim, perturbation_size
from benchmark.dataset import Split
from benchmark.gradient import margins
from benchmark.names import Asks
from benchmark.plan.task import Examine, Task
from benchmark.progress import Progress
from benchmark.randomness import Rng
from benchmark.store.arrays import ArrayWriter
from benchmark.store.store import Building
from benchmark.tasks.checks import made, rounded
from benchmark.tasks.recording import draw, recorded, roughness, stacked
from benchmark.tasks.verdicts import answers_of, verdict_on
from benchmark.tasks.victims import victim_of
from benchmark.tasks.workshop import JUDGE_BATCH, Workshop
from benchmark.training import MicroBatches
from benchmark.trust.looks import SHOWN, evenly
from benchmark.trust.probe_kinds import DRAWN, DRAWS, JUDGED, NOISE, NOISES, RERUN


def examine(shop: Workshop, task: Task, building: Building, progress: Progress) -> int:
    """Ask about a crafting what probes want to know: arrays with a row per image asked about."""
    spec = task.of(Examine)
    split = shop.split(spec, spec.split)
    asked = ASKED[spec.asks]
    answer = asked(Crafting(shop, task, split, progress))
    writer = ArrayWriter(building)
    writer.add(answer)
    writer.finish()
    return len(next(iter(answer.values())))


def _path(crafting: Crafting) -> dict[str, np.ndarray]:
    """Run the attack on one image after the other, so that each pass through the victim belongs to one."""
    chosen = evenly(len(crafting.split), SHOWN)
    x, y = crafting.images(chosen)
    ends, paths, gradients = [], [], []
    for number in range(len(chosen)):
        image, label = x[number : number + 1], y[number : number + 1]
        with recorded(crafting.victim, image, label, crafting.norm, crafting.eps) as (victim, path):
            ends.append(crafting.attack(victim, image, label, number))
        paths.append(path.rows())
        gradients.append(path.gradients())
        crafting.progress.update(number + 1, len(chosen))
    x_adv = torch.cat(ends)
    ends_at = margins(crafting.logits(x_adv), y).tolist()
    for (margin, suspicion), last in zip(paths, ends_at, strict=True):
        if not np.isclose(margin, last, rtol=1e-4, atol=1e-5).any():  # a point that the attack has not looked at
            margin.append(last)
            suspicion.append(np.nan)
    return {
        **crafting.about(chosen, x, x_adv),
        "margin": stacked([margin for margin, _ in paths]),
        "suspicion": stacked([suspicion for _, suspicion in paths]),
        "gradients": np.array(gradients, dtype=np.int64),
    }


def _doubled(crafting: Crafting) -> dict[str, np.ndarray]:
    """Run the attack with more steps and restarts, beside what it found before."""
    chosen = evenly(len(crafting.split), RERUN)
    x, y = crafting.images(chosen)
    before = crafting.crafted(chosen)
    found = crafting.about(chosen, before, crafting.attack(crafting.victim, x, y, 0))
    which = {f"doubled.{name}": np.full(len(chosen), True) for name in crafting.spec.doubled or ()}
    return found | which


def _unconstrained(crafting: Crafting) -> dict[str, np.ndarray]:
    """Run the attack with a budget that reaches every image."""
    chosen = evenly(len(crafting.split), SHOWN)
    x, y = crafting.images(chosen)
    return crafting.about(chosen, x, crafting.attack(crafting.victim, x, y, 0))


def _draws(crafting: Crafting) -> dict[str, np.ndarray]:
    """Draw from the ball around images that withstand the attack, or may: thresholds of scores are not known here.

    Those that a detector may flag are the most suspicious ones; of their draws the least suspicious is kept.
    """
    eps = crafting.spec.eps
    assert eps is not None
    every, left, doubtful = range(len(crafting.split)), list[int](), dict[int, float]()
    for start in range(0, len(every), JUDGE_BATCH):
        part = every[start : start + JUDGE_BATCH]
        (x, y), x_adv = crafting.images(part), crafting.within(part, eps)
        right = crafting.logits(x).argmax(1) == y
        stands = right & (crafting.logits(x_adv).argmax(1) == y)
        suspicion, flagged = crafting.suspicion(x_adv)
        stands |= right & flagged
        left += [part[place] for place in stands.nonzero().flatten().tolist()]
        if suspicion is not None:
            turned = (right & ~stands).nonzero().flatten().tolist()
            doubtful |= {part[place]: float(suspicion[place]) for place in turned}
    most = sorted(doubtful, key=lambda one: -doubtful[one])
    chosen = [left[place] for place in evenly(len(left), DRAWN)] + most[: max(0, DRAWN - len(left))]
    drawn = bool(chosen)
    # Where none is left there is nothing to look for, and the rows of some others say so.
    chosen = chosen or list(evenly(len(every), 1))
    x, y = crafting.images(chosen)
    found = x.clone()
    for number in range(len(chosen) if drawn else 0):
        image, rng = x[number : number + 1], crafting.rng.spawn("draws", number)
        best, asked = np.inf, 0
        shape = partial(rounded, x=image, first=chosen[number]) if crafting.spec.rounded else None
        for wrong in draw(crafting.logits, image, y[number], crafting.norm, eps, DRAWS, JUDGE_BATCH, rng, shape):
            shown = wrong[: JUDGED - asked]
            doubt, asked = crafting.doubt(shown, y[number]), asked + len(shown)
            if float(doubt.min()) < best:
                best, found[number] = float(doubt.min()), shown[int(doubt.argmin())]
            if best == -np.inf or asked == JUDGED:
                break
        crafting.progress.update(number + 1, len(chosen))
    return {**crafting.about(chosen, crafting.within(chosen, eps), found), "drawn": np.full(len(chosen), drawn)}


def _neighbours(crafting: Crafting) -> dict[str, np.ndarray]:
    """Look how the margin changes under little noise."""
    chosen = evenly(len(crafting.split), SHOWN)
    x, y = crafting.images(chosen)
    rough = roughness(crafting.logits, x, y, NOISE, NOISES, crafting.rng)
    return {"index": np.array(chosen), "change": rough.cpu().numpy()}


def _labels(crafting: Crafting) -> dict[str, np.ndarray]:
    """Let what was attacked classify the adversarial images."""
    labels, sizes, count = [], [], len(crafting.split)
    for start in range(0, count, JUDGE_BATCH):
        part = range(start, min(start + JUDGE_BATCH, count))
        (x, _), x_adv = crafting.images(part), crafting.crafted(part)
        sizes.append(perturbation_size(x_adv - x, crafting.norm).cpu())
        labels.append(torch.stack([crafting.logits(x).argmax(1), crafting.logits(x_adv).argmax(1)], 1).cpu())
        crafting.progress.update(part.stop, count)
    return {"label": torch.cat(labels).numpy(), "size": torch.cat(sizes).numpy()}


ASKED: dict[Asks, Callable[[Crafting], dict[str, np.ndarray]]] = {
    "path": _path,
    "doubled": _doubled,
    "unconstrained": _unconstrained,
    "draws": _draws,
    "neighbours": _neighbours,
    "labels": _labels,
}


class Crafting:
    """A crafting that is asked about, with the victim that its attack had.

    Args:
        shop: makes what is needed.
        task: that asks.
        split: the images that were attacked.
        progress: hears of the work.
    """

    def __init__(self, shop: Workshop, task: Task, split: Split, progress: Progress) -> None:
        self.spec = spec = task.of(Examine)
        self.split, self.progress = split, progress
        self.victim = victim_of(shop, spec.victim, spec.held, split, spec.draws)
        self.rng = Rng(spec.seed).spawn(task.identity)
        self._shop, self._memory = shop, MicroBatches(progress, shop.at_once(split))
        self._attack: Attack | None = None
        if spec.attack is not None:
            self._attack = shop.registry.create("attack", spec.attack.use, spec.attack.options)
        self.norm: str = spec.norm
        self.eps: float | None = None if self._attack is None else self._attack.options.eps

    def images(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return clean images and their classes."""
        labels = torch.from_numpy(self.split.labels[list(indices)])
        return self.split.images(indices).to(self._shop.device), labels.to(self._shop.device)

    def crafted(self, indices: Sequence[int]) -> Tensor:
        """Return the adversarial images."""
        assert self.spec.craft is not None
        reader = self._shop.reader(self.spec.craft)
        return torch.from_numpy(reader.take("x_adv", list(indices))).to(self._shop.device)

    def within(self, indices: Sequence[int], eps: float) -> Tensor:
        """Return the adversarial images, and the clean ones in place of those beyond a budget."""
        (x, _), x_adv = self.images(indices), self.crafted(indices)
        near = perturbation_size(x_adv - x, self.norm) <= eps * (1 + TOLERANCE)
        return torch.where(near[:, None, None, None], x_adv, x)

    def logits(self, x: Tensor) -> Tensor:
        """Return what the attacked network answers, (n, num_classes)."""
        with torch.no_grad():
            return torch.cat(self._memory.run(len(x), lambda part: self.victim.classifier(x[part])))

    def attack(self, victim: Victim, x: Tensor, y: Tensor, number: int) -> Tensor:
        """Run the attack, in batches as large as those of the crafting, as far as memory reaches."""
        attack, batch = self._attack, self.spec.batch_size
        assert attack is not None

        def craft(part: slice) -> Tensor:
            rng = self.rng.spawn(number, part.start)
            rng.spawn("globals").seed_globals()
            x_adv = attack.craft(victim, x[part].clone(), y[part].clone(), rng)
            return made(x_adv, x[part], self.norm, self.eps, part.start, eight_bit=self.spec.rounded)

        memory, done = MicroBatches(self.progress), list[Tensor]()
        for start in range(0, len(x), batch):

            def craft_part(part: slice, start: int = start) -> Tensor:
                return craft(slice(start + part.start, start + part.stop))

            done += memory.run(min(batch, len(x) - start), craft_part)
        return torch.cat(done)

    def about(self, indices: Sequence[int], before: Tensor, after: Tensor) -> dict[str, np.ndarray]:
        """Return what the attacked network, and the system that holds it, answer to two versions of images."""
        x, y = self.images(indices)
        found = {"index": np.array(indices), "y": y.cpu().numpy()}
        for name, images in (("before", before), ("after", after)):
            size = perturbation_size(images - x, self.norm)
            answers = {"size": size, **self._answers(images)}
            found |= {f"{name}.{part}": array.cpu().numpy() for part, array in answers.items()}
        return found

    def _answers(self, x: Tensor) -> dict[str, Tensor]:
        found = {"base_label": self.logits(x).argmax(1)}
        if self.victim.judge is None:
            return found
        defense = self._shop.fitted(self.spec.victim[0])

        # In batches of the suite's, whatever the machine: a defense may draw for each of them.
        parts = []
        for start in range(0, len(x), self.spec.batch_size):
            place = (start,) if start else ()  # images that all go at once draw as they always did
            rngs = [self.rng.spawn("judge", repeat, *place) for repeat in range(self.spec.repeats)]
            images = x[start : start + self.spec.batch_size]
            parts.append(answers_of([verdict_on(defense, images, None, {}, rng, start) for rng in rngs]))
        return found | {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    def suspicion(self, x: Tensor) -> tuple[Tensor | None, Tensor]:
        """Return how suspicious (n,) a detector that is known to the attacker is of images, and whether it flags (n,).

        The score is None where it gives none, or sets its flags by itself, and flags are those that it sets by itself.
        """
        if self.victim.judge is None:
            return None, torch.zeros(len(x), dtype=torch.bool, device=x.device)
        answers = self._answers(x)
        return _score(answers), _flags(answers).all(1)

    def doubt(self, x: Tensor, y: Tensor) -> Tensor:
        """Return how far images (n, C, H, W) that turn the network's class from `y` are from a success, (n,).

        -inf for those that are one, inf for those that are none; the score where it decides, under a threshold that is
        not known here.
        """
        nothing = torch.full((len(x),), torch.inf, device=x.device)
        if self.victim.judge is None:
            return -nothing
        answers = self._answers(x)
        score, through = _score(answers), ((answers["label"] != y) & ~_flags(answers)).any(1)
        return torch.where(through, -nothing if score is None else score, nothing)


def _flags(answers: dict[str, Tensor]) -> Tensor:
    """Return the flags (n, R) that a defense sets by itself."""
    return answers.get("flagged", torch.zeros_like(answers["label"], dtype=torch.bool))


def _score(answers: dict[str, Tensor]) -> Tensor | None:
    """Return the mean score (n,) where it decides what is flagged, None otherwise."""
    return answers["score"].mean(1) if "score" in answers and "flagged" not in answers else None
