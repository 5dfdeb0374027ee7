"""What tasks work with: data, networks, shared artifacts and defenses, made from plain specifications."""

from __future__ import annotations

import contextlib
import json
import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from benchmark.dataset import Dataset, Split
from benchmark.defense import (
    Defense,
    FitContext,
    SharedArtifact,
)
from benchmark.errors import TaskError
from benchmark.isolation.bystander import Bystander
from benchmark.isolation.objects import Lent
from benchmark.isolation.process import isolated
from benchmark.model import Classifier, Model, load_weights, passes
from benchmark.plan.task import Build, Fit, Key, Part, Spec, Task, Train
from benchmark.plugins import Registry
from benchmark.progress import Progress
from benchmark.randomness import Rng
from benchmark.store.arrays import ArrayReader, ArrayWriter, Column
from benchmark.store.store import Building, Store
from benchmark.tasks.splits import AttackedSplit, HandedSplit
from benchmark.training import MicroBatches

T = TypeVar("T")

KEPT = 4
"""Classifiers, shared artifacts and data sets that a worker keeps in memory, each."""
JUDGE_BATCH = 256
"""Images that are read and kept at a time where nothing random depends on the batch."""
FORWARD_PIXELS = {"cpu": 2**20, "cuda": 2**24}
"""Pixels in a forward pass of these, by device: on a CPU 256 images of 64x64, 20 of 224x224."""
KEPT_FOR_GRADIENTS = 8
"""By so much fewer pixels go into a pass whose gradient is asked for, which keeps what lies between."""


class Workshop:
    """Makes what tasks work with, from plain specifications, and keeps it for the next task.

    Args:
        store: where artifacts are read.
        registry: all plugins.
        device: where networks and batches go.
        tasks: all tasks of the plan by key, to make a defense from the tasks it was made by.

    Attributes:
        bystander: a process in which no plugin has worked.
    """

    bystander: Bystander

    def __init__(self, store: Store, registry: Registry, device: torch.device, tasks: dict[str, Task]) -> None:
        self.store, self.registry, self.device, self.tasks = store, registry, device, tasks
        self._splits: OrderedDict[Any, Split] = OrderedDict()
        self._datasets: OrderedDict[Any, Dataset] = OrderedDict()
        self._classifiers: OrderedDict[Any, Lent] = OrderedDict()
        self._artifacts: OrderedDict[Any, Lent] = OrderedDict()
        self._lent: dict[int, Lent] = {}
        self._handed: list[HandedSplit] = []

    def begin(self) -> None:
        """Take note of what is handed out from now on."""
        self._lent, self._handed = {}, []

    def put(self, label: str, name: str, split: Split) -> None:
        """Let a split stand for that of a data set."""
        self._splits[label, name] = split

    def take_back(self) -> str:
        """Drop what is not as it was when the task got it, and return it in words."""
        found = [split.changed() for split in self._handed]
        for lent in self._lent.values():
            changed = lent.changed()
            found.append(changed)
            if not lent.keep:
                for kept in (self._classifiers, self._artifacts):
                    for key in [key for key, value in kept.items() if value is lent]:
                        del kept[key]
        return " Also ".join(filter(None, found))

    def split(self, spec: Spec, name: str) -> HandedSplit:
        """Return a split of the data set that a specification names."""
        data = spec.dataset
        label = data.label

        def make() -> Split:
            dataset = _kept(self._datasets, label, lambda: self.registry.create("dataset", data.use, data.options))
            return dataset.split(name)

        with isolated(f"the data set {label!r}"):
            handed = HandedSplit(_kept(self._splits, (label, name), make), f"the {name} split of {label!r}")
        self._handed.append(handed)
        return handed

    def model(self, part: Part) -> Model:
        """Return a model with its options."""
        model: Model = self.registry.create("model", part.use, part.options)
        return model

    def classifier(self, key: str) -> Classifier:
        """Return the frozen network of a train task, or the hardened network of a fit task."""

        def make() -> Lent:
            task = self.tasks[key]
            if task.kind == "fit":
                classifier = self.fitted(key).classifier
            else:
                data = self.split(task.spec, "train")
                model = self.model(task.of(Train).model)
                folder = self.store.open(key)
                classifier = model.build(len(data.class_names), data.image_shape, Rng(0))
                load_weights(classifier, folder / "weights.safetensors")
                classifier.to(self.device).frozen()
            cure = "Work on a copy: copy.deepcopy(classifier)."
            what = "the classifier that it was handed"
            return Lent(classifier, what, cure, lambda: _use_once(classifier, self.device))

        return self._lend(self._classifiers, key, make)

    def _lend(self, kept: OrderedDict[Any, Lent], key: Any, make: Callable[[], Lent]) -> Any:
        lent = _kept(kept, key, make)
        self._lent[id(lent)] = lent
        return lent.value

    def new_artifact(self, spec: Build) -> SharedArtifact:
        """Return the shared artifact that a specification names, empty."""
        artifact: SharedArtifact = self.registry.create("artifact", spec.builder.use, spec.builder.options)
        artifact.device = self.device
        return artifact

    def shared(self, key: str) -> SharedArtifact:
        """Return the shared artifact that a task has built."""

        def make() -> Lent:
            artifact = self.new_artifact(self.tasks[key].of(Build))
            artifact.load(self.store.open(key))
            cure = "What is shared is the same for all: keep what you compute elsewhere."
            return Lent(artifact, f"the shared artifact {type(artifact).__name__}", cure)

        return self._lend(self._artifacts, key, make)

    def new_defense(self, spec: Fit) -> Defense:
        """Return the defense that a specification names, not fitted."""
        defense: Defense = self.registry.create("defense", spec.defense.use, spec.defense.options)
        return defense

    def attach(self, defense: Defense, spec: Fit, data: Split) -> None:
        """Give a defense what it works with: class names, shared artifacts, and the classifier that it is around."""
        defense.device = self.device
        defense.class_names = data.class_names
        defense.shared = {name: self.shared(key) for name, key in spec.artifacts.items()}
        if spec.train is not None and not defense.replaces_classifier:
            defense.classifier = self.classifier(spec.train)

    def fitted(self, key: str) -> Defense:
        """Return a new object of a fitted defense: what one task does to it, the next does not see."""
        return self.loaded(self.tasks[key].of(Fit), self.store.open(key))

    def loaded(self, spec: Fit, folder: Path) -> Defense:
        """Return a new object of a defense, fitted as it was saved in a folder."""
        data = self.split(spec, "train")
        defense = self.new_defense(spec)
        self.attach(defense, spec, data)
        if defense.replaces_classifier:
            defense.classifier = self.model(spec.model).build(len(data.class_names), data.image_shape, Rng(0))
        defense.load(folder)
        if defense.replaces_classifier:
            defense.classifier = defense.classifier.to(self.device).frozen()
        return defense

    def context(self, task: Task, building: Building, progress: Progress) -> FitContext:
        """Return what is handed to something that learns: a shared artifact or a defense."""
        spec = task.spec
        assert isinstance(spec, Build | Fit)
        data, validation = self.split(spec, "train"), self.split(spec, "val")
        learnt = spec if isinstance(spec, Fit) else None
        architecture = learnt.model if learnt else self.tasks[spec.train].of(Train).model if spec.train else None
        model = None if architecture is None else self.model(architecture)

        def new_classifier(rng: Rng) -> Classifier:
            if model is None:
                raise TaskError("a shared artifact without `per_classifier` has no architecture to build")
            return model.build(len(data.class_names), data.image_shape, rng)

        def arrays(key: Key) -> Callable[[], dict[str, Column]]:
            return lambda: self.reader(key).columns()

        return FitContext(
            classifier=self.classifier(spec.train) if spec.train is not None else None,
            new_classifier=new_classifier,
            recipe=model.options.train if model is not None else None,
            train=data,
            val=validation,
            rng=Rng(spec.seed).spawn(task.identity),
            device=self.device,
            progress=progress,
            checkpoint=building.checkpoints(),
            artifacts={name: self.shared(key) for name, key in learnt.artifacts.items()} if learnt else {},
            observations={(one.name, one.split, one.attack): arrays(one.key) for one in learnt.observed}
            if learnt
            else {},
            adversaries={
                (one.attack, one.split): AttackedSplit(
                    data if one.split == "train" else validation, self.reader(one.key)
                )
                for one in learnt.attacked
            }
            if learnt
            else {},
        )

    def reader(self, key: str) -> ArrayReader:
        """Return the arrays that a task has written."""
        return ArrayReader(self.store.open(key))

    def rows(self, reader: ArrayReader, indices: Sequence[int]) -> dict[str, Tensor]:
        """Return some rows of arrays, on the device."""
        return {name: torch.from_numpy(reader.take(name, indices)).to(self.device) for name in reader.names}

    def at_once(self, split: Split, gradients: bool = False) -> int:
        """Return how many images of a split a pass takes where nothing random depends on the batch."""
        pixels = FORWARD_PIXELS.get(self.device.type, FORWARD_PIXELS["cpu"])
        share = KEPT_FOR_GRADIENTS if gradients else 1
        return max(1, pixels // share // math.prod(split.image_shape[1:]))

    def per_image(
        self,
        task: Task,
        split: Split,
        craft: str | None,
        batch_size: int | None,
        building: Building,
        progress: Progress,
        work: Callable[[int, int, slice, Tensor, Tensor], dict[str, Tensor]],
        eight_bit: Sequence[str] = (),
    ) -> int:
        """Write `work`'s arrays for all images of `split` (or its adversarial images), going on where a part ends.

        Without a batch size `work` is a forward pass that depends on no batch.
        """
        writer = ArrayWriter(building, eight_bit)
        memory = MicroBatches(progress, self.at_once(split) if batch_size is None else None)
        batch_size = batch_size or JUDGE_BATCH
        adversarial = self.reader(craft) if craft is not None else None
        rng = Rng(0).spawn("globals", task.identity)
        first = writer.done
        if first % batch_size and first < len(split):
            raise TaskError(f"parts end at image {first}, which is not a multiple of the batch size {batch_size}")
        for start in range(first, len(split), batch_size):
            stop = min(start + batch_size, len(split))
            x = (
                split.images(range(start, stop))
                if adversarial is None
                else torch.from_numpy(adversarial.read(start, stop, ["x_adv"])["x_adv"])
            ).to(self.device)
            y = torch.from_numpy(split.labels[start:stop]).to(self.device)

            def part_of(
                part: slice, start: int = start, stop: int = stop, x: Tensor = x, y: Tensor = y
            ) -> dict[str, Tensor]:
                rng.spawn(start, part.start).seed_globals()
                return work(start, stop, part, x[part], y[part])

            answers = memory.run(stop - start, part_of)
            writer.add({name: torch.cat([a[name] for a in answers]).cpu().numpy() for name in answers[0]})
            progress.update(stop, len(split))
        writer.finish()
        return len(split)


def _use_once(classifier: Classifier, device: torch.device) -> None:
    """Use a classifier once; what its forward pass raises, whoever uses it next will hear."""
    with passes.uncounted(), torch.no_grad(), contextlib.suppress(Exception):
        classifier(torch.rand(2, *classifier.image_shape, generator=Rng(0).torch).to(device))


def _kept(kept: OrderedDict[Any, T], key: Any, make: Callable[[], T]) -> T:
    """Return `kept[key]`, made if need be; the least recently used is dropped."""
    if key not in kept:
        value = make()
        while len(kept) >= KEPT:
            kept.popitem(last=False)
        kept[key] = value
    kept.move_to_end(key)
    return kept[key]


def write_json(building: Building, name: str, value: Any) -> None:
    """Write a value as JSON into an artifact."""
    with building.storing():
        (building.out / name).write_text(json.dumps(value, indent=1))
