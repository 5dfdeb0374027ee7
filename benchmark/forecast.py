"""What a plan will cost on this machine: time, disk and memory, of one batch per network that is run here."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from benchmark.engine import BACKWARD_COST
from benchmark.errors import InputError
from benchmark.isolation.process import torch_threads
from benchmark.model import Classifier
from benchmark.plan.plan import Plan
from benchmark.plan.task import Craft, Fit, Judge, Observe, OfSplit, Predict, Task, Train
from benchmark.plugins import Registry
from benchmark.randomness import Rng
from benchmark.wording import size_text

BATCH = 32
"""Images of the batch that is timed, where they are small."""
BATCH_BYTES = 4 * 1024**2
"""So large it is at most, 13 photos of 160x160. Larger ones may take longer per image, which estimates leave out:
EfficientNet-Lite0 took .02 s each of 16, and .027 of 32."""
FLOAT = 4
PROCESS_BYTES = 600 * 1024**2
"""A worker with torch and a small network."""
TRAINING_COPIES = 4
"""Weights, their gradients and two moments."""
BACKWARD_COPIES = 2
"""Hidden states and their gradients."""
ROOM = 1024**3
"""Disk that is left for everything else."""


@dataclass(frozen=True)
class Rate:
    """What a network takes.

    Attributes:
        seconds: that a forward pass takes a core, per image; what else the machine does is not in it.
        weights: bytes of its parameters and buffers.
        states: bytes of all that a forward pass computes, per image.
        layers: bytes of each hidden state that is asked for, per image.
    """

    seconds: float
    weights: int
    states: int
    layers: dict[tuple[str, ...], int]


class Forecast:
    """Estimates for the tasks of a plan; a network is timed once for all data sets of as many classes and pixels."""

    def __init__(self, plan: Plan, registry: Registry) -> None:
        self._plan, self._registry = plan, registry
        self._networks: dict[tuple[Any, ...], tuple[Classifier, Rate]] = {}
        self._labels: dict[str, tuple[str, str] | None] = {}

    def seconds(self, tasks: Iterable[Task]) -> tuple[float, int]:
        """Return the seconds of tasks whose passes are known, on one core or device, and how many are not."""
        seconds, unknown = 0.0, 0
        for task in tasks:
            rate = None if task.work is None else self._rate(task)
            if task.work is None or rate is None:
                unknown += task.work is None
                continue
            seconds += rate.seconds * (task.work.forward + BACKWARD_COST * task.work.backward)
        return seconds, unknown

    def disk(self, tasks: Iterable[Task]) -> tuple[int, int]:
        """Return the bytes that the answers of tasks take in the cache, and of how many tasks that is not known."""
        total, unknown = 0, 0
        for task in tasks:
            size = self._answer(task)
            total, unknown = total + (size or 0), unknown + (size is None)
        return total, unknown

    def _answer(self, task: Task) -> int | None:
        spec, facts = task.spec, self._plan.datasets[task.spec.dataset.label]
        images = facts.size(spec.split) if isinstance(spec, OfSplit) else 0
        pixels, classes = facts.image_shape[0] * facts.image_shape[1] * facts.image_shape[2], len(facts.class_names)
        if isinstance(spec, Craft):
            return images * (pixels * FLOAT + 16)
        if isinstance(spec, Predict):
            return images * classes * FLOAT
        if isinstance(spec, Judge):
            return images * spec.repeats * 16
        if isinstance(spec, Train | Fit):
            rate = self._rate(task)
            return None if rate is None else rate.weights
        if isinstance(spec, Observe):
            if spec.layers is None or (rate := self._rate(task)) is None:
                return None
            if spec.layers not in rate.layers:
                rate.layers[spec.layers] = self._states(task, spec.layers)
            return images * rate.layers[spec.layers]
        return 0

    def memory(self, tasks: Iterable[Task]) -> tuple[int, Task | None]:
        """Return the bytes that a worker needs at most, and the task for which it does."""
        most: tuple[int, Task | None] = (0, None)
        for task in tasks:
            beside, image = self._memory(task)
            needed = beside + image * (self.trained_by(task) or self._plan.suite.batch_size)
            if needed > most[0]:
                most = needed, task
        return most

    def largest_batch(self, tasks: Iterable[Task], memory: int) -> int | None:
        """Return the largest batch with which tasks fit into so many bytes.

        None where none fits, or the tasks run no network in the suite's batches.
        """
        fits = []
        for task in tasks:
            beside, image = self._memory(task)
            if image and not self.trained_by(task):
                fits.append((memory - beside) // image)
        return min(fits) if fits and min(fits) > 0 else None

    def _memory(self, task: Task) -> tuple[int, int]:
        """Return the bytes that a worker needs beside a batch, and those per image of one."""
        rate = self._rate(task)
        if rate is None:
            return PROCESS_BYTES, 0
        copies = TRAINING_COPIES if self.trained_by(task) else 1
        return PROCESS_BYTES + rate.weights * copies, rate.states * BACKWARD_COPIES

    def trained_by(self, task: Task) -> int | None:
        """Return the batch size that a task trains a network by, None where it trains none."""
        model = getattr(task.spec, "model", None) if isinstance(task.spec, Train | Fit) else None
        recipe = None if model is None else model.options.get("train")
        return recipe["batch_size"] if recipe else None

    def _rate(self, task: Task) -> Rate | None:
        network = self._network_of(task)
        return None if network is None else self._known(*network)[1]

    def _known(self, dataset: str, model: str) -> tuple[Classifier, Rate]:
        facts = self._plan.datasets[dataset]
        form = model, len(facts.class_names), facts.image_shape
        if form not in self._networks:
            with torch_threads(self._plan.suite.threads):
                classifier = self._built(dataset, model)
                self._networks[form] = classifier, self._timed(classifier)
        return self._networks[form]

    def _network_of(self, task: Task) -> tuple[str, str] | None:
        """Return the labels (data set, model) of the network that a task runs."""
        pending = []
        while task.key not in self._labels:
            pending.append(task.key)
            spec = task.spec
            if isinstance(spec, Train | Fit):
                known = ((c.use, c.plain()) == (spec.model.use, spec.model.options) for c in self._models)
                label = next((c.label for c, same in zip(self._models, known) if same), None)
                self._labels[task.key] = None if label is None else (spec.dataset.label, label)
            elif (origin := spec.origin()) is None:  # of several substitutes the first one speaks for all
                self._labels[task.key] = None
            else:
                task = self._plan.tasks[origin]
        found = self._labels[task.key]
        self._labels |= dict.fromkeys(pending, found)
        return found

    @property
    def _models(self) -> list[Any]:
        return list(self._plan.suite.models.values())

    def _built(self, dataset: str, model: str) -> Classifier:
        component, facts = self._plan.suite.models[model], self._plan.datasets[dataset]
        kind = self._registry.get("model", component.use).load()
        built: Classifier = kind(component.options).build(len(facts.class_names), facts.image_shape, Rng(0))
        return built.frozen()

    def _images(self, shape: tuple[int, ...], most: int = BATCH) -> torch.Tensor:
        size = FLOAT * shape[0] * shape[1] * shape[2]
        return torch.rand(max(1, min(most, BATCH_BYTES // size)), *shape, generator=Rng(0).torch)

    def _timed(self, classifier: Classifier) -> Rate:
        held = 0

        def count(module: nn.Module, given: Any, answer: Any) -> None:
            nonlocal held
            held += answer.numel() * FLOAT if isinstance(answer, torch.Tensor) else 0

        x = self._images(classifier.image_shape)
        leaves = [module for module in classifier.modules() if not list(module.children())]
        hooks = [leaf.register_forward_hook(count) for leaf in leaves]
        with torch.no_grad():
            classifier(x)
            for hook in hooks:
                hook.remove()
            started = time.process_time()
            classifier(x)
            seconds = (time.process_time() - started) / len(x)
        weights = sum(t.numel() * t.element_size() for t in classifier.state_dict().values())
        return Rate(seconds, weights, held // len(x) + x[0].numel() * FLOAT, {})

    def _states(self, task: Task, layers: tuple[str, ...]) -> int:
        network = self._network_of(task)
        assert network is not None
        classifier = self._known(*network)[0]
        with torch.no_grad():
            states = classifier.features(self._images(classifier.image_shape, 1), layers)
        return sum(state.numel() * FLOAT for state in states.values())


def check_room(needed: int, free: int | None, cache: str) -> None:
    """Look whether the answers that are still to be made fit into the free bytes of a disk.

    Raises:
        InputError: they do not.
    """
    if free is not None and needed > free - ROOM:
        raise InputError(
            f"what is to be made will take about {size_text(needed)} in the cache {cache!r}, where "
            f"{size_text(free)} are free. Choose another place by --cache, fewer images by the data sets' `limit`, or "
            "a part by --only; `bench cache prune` removes what runs do not use any more."
        )


def check_memory(needed: int, task: Task, trains: bool, largest_batch: int | None) -> None:
    """Look whether one worker fits into this machine's memory.

    Args:
        trains: whether the task trains a network, by the model's own batch size.
        largest_batch: that would fit.

    Raises:
        InputError: it does not.
    """
    there = memory_bytes()
    if there is not None and needed > there:
        option = "the model's `train.batch_size`" if trains else "the suite's `batch_size`"
        to = f" to {largest_batch}" if largest_batch is not None and not trains else ""
        raise InputError(
            f"'{task.label}' will take about {size_text(needed)} of memory, and this machine has {size_text(there)}. "
            f"Lower {option}{to}, or choose a smaller network or smaller images."
        )


def memory_bytes() -> int | None:
    """Return the memory of this machine, None where it does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None
