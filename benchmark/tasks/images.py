"""Tasks with a row per image: adversarial images, logits, and what is observed."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from benchmark.attack import Attack, perturbation_size
from benchmark.dataset import Split
from benchmark.errors import TaskError
from benchmark.isolation.objects import unchanged
from benchmark.isolation.process import IsolationError
from benchmark.model import passes
from benchmark.plan.task import Craft, Observe, Predict, Task
from benchmark.progress import Progress
from benchmark.randomness import Rng
from benchmark.store.arrays import ArrayReader
from benchmark.store.store import Building
from benchmark.tasks.checks import finite, made
from benchmark.tasks.verdicts import AGAIN_ALONE, SCORE_TOLERANCE, spread_of
from benchmark.tasks.victims import victim_of
from benchmark.tasks.workshop import Workshop
from benchmark.trust.looks import evenly


def craft(shop: Workshop, task: Task, building: Building, progress: Progress) -> int:
    """Craft adversarial images, and hold them against what the attack promised."""
    spec = task.of(Craft)
    attack: Attack = shop.registry.create("attack", spec.attack.use, spec.attack.options)
    split = shop.split(spec, spec.split)
    victim = victim_of(shop, spec.victim, spec.held, split, spec.draws)
    rng = Rng(spec.seed).spawn(task.identity)
    eps = attack.options.eps

    def work(start: int, stop: int, part: slice, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        # One source per batch and sub-batch, so that an interruption does not shift the draws.
        handed, labels = x.clone(), y.clone()
        x_adv = attack.craft(victim, handed, labels, rng.spawn(start, part.start))
        if not unchanged(handed, x) or not unchanged(labels, y):
            raise IsolationError("the attack wrote into the images or labels that it was handed: x.clone() first")
        x_adv = made(x_adv, x, attack.options.norm, eps, start + part.start, eight_bit=spec.rounded)
        return {"x_adv": x_adv, "size": perturbation_size(x_adv - x, attack.options.norm)}

    return shop.per_image(task, split, None, spec.batch_size, building, progress, work, eight_bit=("x_adv",))


def predict(shop: Workshop, task: Task, building: Building, progress: Progress) -> int:
    """Let a network classify images."""
    spec = task.of(Predict)
    split = shop.split(spec, spec.split)
    classifier = shop.classifier(spec.classifier)

    def work(start: int, stop: int, part: slice, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        with torch.no_grad():
            return {"logits": finite(classifier(x), "the classifier's logits", start)}

    return shop.per_image(task, split, spec.craft, None, building, progress, work)


def observe(shop: Workshop, task: Task, building: Building, progress: Progress) -> int:
    """Keep hidden states, or what a shared artifact observes."""
    spec = task.of(Observe)
    split = shop.split(spec, spec.split)
    observe: Callable[[Tensor], dict[str, Tensor]]
    if spec.layers is None:
        artifact = shop.shared(spec.observer)

        def observe(x: Tensor) -> dict[str, Tensor]:
            handed = x.clone()
            seen = artifact.observe(handed)
            if not unchanged(handed, x):
                raise IsolationError("observe wrote into the images that it was handed: x.clone() first")
            return seen
    else:
        classifier, layers = shop.classifier(spec.observer), spec.layers

        def observe(x: Tensor) -> dict[str, Tensor]:
            return classifier.features(x, layers)

    def work(start: int, stop: int, part: slice, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        with torch.no_grad():
            try:
                seen = observe(x).items()
                return {name: finite(array, f"the observation {name!r}", start) for name, array in seen}
            except TaskError as error:
                if spec.layers is None:
                    raise
                raise TaskError(
                    f"{error}. Name another layer, or train the network so that its activations stay finite."
                ) from None

    count = shop.per_image(task, split, spec.craft, None, building, progress, work)
    if spec.layers is None and spec.craft is None:
        with passes.uncounted():
            _check_observed_alone(shop, split, observe, ArrayReader(building.out))
    return count


def _check_observed_alone(
    shop: Workshop, split: Split, observe: Callable[[Tensor], dict[str, Tensor]], observed: ArrayReader
) -> None:
    """Let some images be observed again, one by one.

    Raises:
        TaskError: what is observed depends on the neighbours.
    """
    chosen, others = evenly(len(split), AGAIN_ALONE), []
    spread = {name: spread_of(observed, name) for name in observed.names}
    for index, x in zip(chosen, split.images(chosen).to(shop.device)):
        with torch.no_grad():
            alone = observe(x[None])
        for name, row in shop.rows(observed, [index]).items():
            near = (alone[name].double() - row.double()).abs() <= SCORE_TOLERANCE * spread[name]
            if not near.all():
                others.append(index)
                break
    # Boxes that score alike may change places with the last bit of a sum; neighbours would change most images.
    if len(others) > len(chosen) // 2:
        raise TaskError(
            f"what is observed of an image depends on its neighbours in the batch: {len(others)} of {len(chosen)} "
            "images are observed otherwise alone. Observe each image by itself."
        )
