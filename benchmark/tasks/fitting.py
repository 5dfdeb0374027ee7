"""Tasks that learn: networks, shared artifacts and defenses."""

from __future__ import annotations

import math
from dataclasses import asdict

import torch

from benchmark import training
from benchmark.dataset import Split
from benchmark.defense import (
    Defense,
    Measure,
)
from benchmark.errors import TaskError
from benchmark.isolation.bystander import UnansweredError
from benchmark.model import passes, save_weights
from benchmark.options import TrainOptions
from benchmark.plan.task import Assess, Build, Fit, Task, Train
from benchmark.progress import Progress
from benchmark.randomness import Rng
from benchmark.store.store import Building
from benchmark.tasks.elsewhere import ask_elsewhere
from benchmark.tasks.verdicts import AGAIN, answers_of, disagreements, verdict_on
from benchmark.tasks.workshop import Workshop, write_json
from benchmark.trust.looks import evenly


def train(shop: Workshop, task: Task, building: Building, progress: Progress) -> int:
    """Train a model's network."""
    spec = task.of(Train)
    rng = Rng(spec.seed).spawn(task.identity)
    data, validation = shop.split(spec, "train"), shop.split(spec, "val")
    model = shop.model(spec.model)
    classifier = model.build(len(data.class_names), data.image_shape, rng.spawn("weights"), progress)
    recipe: TrainOptions | None = model.options.train
    if recipe is not None:
        history = training.train(
            classifier,
            data,
            validation,
            recipe,
            rng=rng,
            device=shop.device,
            progress=progress,
            checkpoint=building.checkpoints(),
        )
        write_json(building, "history.json", asdict(history))
    with building.storing():
        save_weights(classifier, building.out / "weights.safetensors")
    return len(data) if recipe is not None else 0


def artifact(shop: Workshop, task: Task, building: Building, progress: Progress) -> int:
    """Build a shared artifact."""
    spec = task.of(Build)
    artifact = shop.new_artifact(spec)
    context = shop.context(task, building, progress)
    artifact.build(context)
    with building.storing():
        artifact.save(building.out)
    return len(context.train)


def assess(shop: Workshop, task: Task, building: Building, progress: Progress) -> int:
    """Measure a shared artifact on test images.

    Raises:
        TaskError: it answers with something else than finite measures.
    """
    spec = task.of(Assess)
    split = shop.split(spec, spec.split)
    measures = shop.shared(spec.artifact).assess(split, progress)
    for name, measure in measures.items():
        if not isinstance(measure, Measure) or not math.isfinite(measure.value):
            raise TaskError(f"assess returned {measure!r} for {name!r} instead of a Measure with a finite value")
    write_json(building, "measures.json", {name: asdict(measure) for name, measure in measures.items()})
    return len(split)


def fit(shop: Workshop, task: Task, building: Building, progress: Progress) -> int:
    """Fit a defense.

    Raises:
        TaskError: what it saves is not all that it judges by.
    """
    spec = task.of(Fit)
    defense = shop.new_defense(spec)
    context = shop.context(task, building, progress)
    shop.attach(defense, spec, context.train)
    defense.fit(context)
    with passes.uncounted():
        _save_whole(shop, defense, task, context.val, building, progress)
    return len(context.train)


def _save_whole(
    shop: Workshop, defense: Defense, task: Task, val: Split, building: Building, progress: Progress
) -> None:
    """Save a fitted defense, after a look whether it judges alike when another process has loaded it.

    Raises:
        TaskError: it does not.
    """
    if type(defense).fit is Defense.fit:  # nothing to save
        with building.storing():
            defense.save(building.out)
        return
    spec, chosen = task.of(Fit), evenly(len(val), AGAIN)
    x = val.images(chosen).to(shop.device)
    rng = Rng(spec.seed).spawn(task.identity, "saved whole")
    # What costs much to observe is not observed twice.
    observed = {
        one.name: shop.rows(shop.reader(one.key), chosen)
        for one in spec.observed
        if (one.split, one.attack) == ("val", None) and defense.observations()[one.name].artifact
    }
    for name, request in defense.observations().items():
        if name not in observed and request.artifact is not None:
            with torch.no_grad():
                observed[name] = dict(defense.shared[request.artifact].observe(x.clone()))
    before = answers_of([verdict_on(defense, x, None, observed, Rng(rng.seed).spawn(0), 0)])
    with building.storing():
        defense.save(building.out)
    try:
        after = ask_elsewhere(shop, task.key, building.out, val, x, None, observed, rng, 1)
    except UnansweredError as error:
        progress.warn(f"not checked whether another process judges alike by what `save` wrote: {error}")
        return
    except TaskError as error:
        raise TaskError(f"what `save` wrote cannot be judged by in another process, after `load`: {error}") from None
    wrong = disagreements(before, after)
    if wrong:
        raise TaskError(
            f"the fit is not saved whole: {wrong} of {len(x)} validation images between the fitted defense and one "
            "that another process loaded. `save` must write all that `judge` reads, and `load` read it."
        )
