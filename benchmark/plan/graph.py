"""The graph of tasks: what has the same content key is one task, whoever needs it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmark.defense import ArtifactRequest, SharedArtifact
from benchmark.errors import InputError, PluginError
from benchmark.model import Passes
from benchmark.plan.asked import Asked
from benchmark.plan.components import Components
from benchmark.plan.once import once
from benchmark.plan.plan import PlannedAssessment
from benchmark.plan.task import (
    KEYED,
    VERSIONS,
    Assess,
    Attacked,
    Build,
    Craft,
    Fit,
    Held,
    Judge,
    Look,
    Observe,
    Observed,
    Predict,
    Separate,
    Spec,
    Task,
    Threshold,
    Train,
)
from benchmark.store.artifact import digest
from benchmark.suite import Component
from benchmark.trust.looks import ALONE, DIRECTIONS, SHOWN, STEPS

UNKNOWN_FIT_EPOCHS = 10
"""Passes over the training images that the progress display assumes of a hardener that does not say."""


class Graph:
    """Tasks by key, each added with all that it needs.

    Attributes:
        tasks: in an order in which they could run.
        assessments: measurements of the shared artifacts that were added, by the task that measures.
    """

    def __init__(self, components: Components) -> None:
        self.components, self.suite, self.datasets = components, components.suite, components.datasets
        self.tasks: dict[str, Task] = {}
        self.assessments: dict[str, PlannedAssessment] = {}
        self._ensembles: dict[str, int] = {}  # by the task that fits one
        self._answers: dict[str, Passes] = {}  # what an answer takes, by the task that fits the defense

    def add(self, label: str, spec: Spec, work: Passes | None = None) -> str:
        """Add a task unless an equal one is there, and return its key."""
        version = VERSIONS[spec.kind]
        sort = KEYED.get(spec.kind, spec.kind) if version == "1" else f"{spec.kind} {version}"
        needs: dict[str, None] = {}
        named = self._identities(spec.keyed(), needs)
        identity = digest(sort, named, sorted(self.tasks[key].identity for key in needs))
        key = digest(identity, spec.sources(), sorted(needs))
        if key not in self.tasks:
            self.tasks[key] = Task(key, identity, label, spec, tuple(needs), work)
        return key

    def _identities(self, value: Any, needs: dict[str, None]) -> Any:
        """Return a part of a specification with identities in place of the keys of other tasks, which are noted."""
        if isinstance(value, str):
            if value not in self.tasks:
                return value
            needs[value] = None
            return self.tasks[value].identity
        if isinstance(value, dict):
            return {name: self._identities(inner, needs) for name, inner in value.items()}
        return [self._identities(inner, needs) for inner in value] if isinstance(value, list) else value

    @once
    def train(self, dataset: str, model: str, seed: int) -> str:
        """Add the training of a model's network."""
        component = self.suite.models[model]
        facts = self.datasets[dataset]
        recipe = component.options.train  # type: ignore[attr-defined]
        train, val = facts.sizes["train"], facts.sizes["val"]
        work = Passes(recipe.epochs * (train + val), recipe.epochs * train) if recipe is not None else Passes()
        label = f"train {model} on {dataset}{self._seed(seed)}"
        data = self.components.data(dataset, "train", "val")
        return self.add(label, Train(dataset=data, seed=seed, model=self.components.part(component)), work)

    def _seed(self, seed: int) -> str:
        return f" (seed {seed})" if len(self.suite.seeds) > 1 or seed not in self.suite.seeds else ""

    def _shared(self, defense: Component, request: ArtifactRequest) -> Asked:
        """Return the artifact that a defense asks for."""
        who = f"{defense.where}: defenses.{defense.label} asks for a shared artifact"
        if not isinstance(request.use, str):
            raise InputError(f"{who} by {request.use!r}: it must be the name that it is registered by.")
        try:
            registration = self.components.registry.get("artifact", request.use)
            options_type = registration.options_type()
        except PluginError as error:
            raise PluginError(f"{who}: {error}") from None
        if not isinstance(request.options, options_type):
            raise InputError(
                f"{who} {request.use!r} with {type(request.options).__name__}, allowed: {options_type.__name__}."
            )
        return Asked.made(registration, request.options, who)

    def _artifact(
        self, component: Component, name: str, request: ArtifactRequest, dataset: str, train: str | None, seed: int
    ) -> str:
        instance = self._shared(component, request)
        source = request.dataset or dataset
        spec = Build(
            dataset=self.components.data(source, "train", "val"),
            seed=seed,
            train=train if request.per_classifier else None,
            builder=self.components.plugin_part("artifact", request.use, request.options, instance.fingerprint()),
        )
        built = self.add(f"build {name} on {source}{self._seed(seed)}", spec)
        if type(instance.plugin).assess is not SharedArtifact.assess:
            count = self.datasets[source].sizes["test"]
            label = f"assess {name} on {source}{self._seed(seed)}"
            assess = Assess(dataset=self.components.data(source, "test"), split="test", artifact=built)
            task = self.add(label, assess, Passes(count, 0))
            self.assessments.setdefault(task, PlannedAssessment(name, source, seed, built, task))
        return built

    @once
    def fit(self, dataset: str, model: str, defense: str, seed: int) -> str:
        """Add the fitting of a defense around a model, with all that it asks for."""
        component = self.suite.defenses[defense]
        instance = self.components.instance(component)
        train = self.train(dataset, model, seed) if self._wants_classifier(instance) else None
        artifacts = {
            name: self._artifact(component, name, request, dataset, train, seed)
            for name, request in instance.artifacts().items()
        }
        attacked: list[Attacked] = []
        for attack in instance.training_attacks():
            if train is None:
                raise InputError(
                    f"{component.where}: defenses.{defense}: its training_attacks need a classifier to attack, and it "
                    "says that it needs none (needs_classifier)."
                )
            for split in ("train", "val"):
                craft = self.craft(dataset, split, attack, (train,), "classifier", seed)
                attacked.append(Attacked(attack=attack, split=split, key=craft))
        observed: list[Observed] = []
        for name, request in instance.observations().items():
            for split in request.fit_splits:
                crafts = [(one.attack, one.key) for one in attacked if one.split == split]
                for attack_or_none, craft_or_none in [(None, None), *crafts]:
                    key = self._observe(
                        dataset, split, craft_or_none, request.artifact, artifacts, request.layers, train, None
                    )
                    observed.append(Observed(name=name, split=split, attack=attack_or_none, key=key))
        facts = self.datasets[dataset]
        model_component = self.suite.models[model]
        spec = Fit(
            dataset=self.components.data(dataset, "train", "val"),
            train=train,
            artifacts=artifacts,
            attacked=tuple(attacked),
            observed=tuple(observed),
            seed=seed,
            defense=self.components.part(component),
            model=self.components.part(model_component),
        )
        work = instance.passes(
            facts.sizes["train"],
            facts.sizes["val"],
            model_component.options.train,  # type: ignore[attr-defined]
        )
        if work is None and instance.replaces_classifier:
            images = UNKNOWN_FIT_EPOCHS * facts.sizes["train"]
            work = Passes(images, images)
        fit = self.add(f"fit {defense} for {model} on {dataset}{self._seed(seed)}", spec, work)
        self._ensembles[fit] = instance.ensemble_size
        self._answers[fit] = instance.passes_per_answer()
        return fit

    def passes(
        self,
        networks: Sequence[str],
        forward: int,
        backward: int = 0,
        at_most: bool = False,
        *,
        held: Held = "classifier",
    ) -> Passes:
        """Return so many passes through the networks of tasks, in passes of their models' architectures.

        Of a whole pipeline each is taken for an answer, and a gradient goes back through all that the answer took.
        """
        times = sum(self._ensembles.get(network, 1) for network in networks)
        answer = self._answers[networks[0]] if held == "pipeline" else Passes(1)
        there, back = answer.forward * forward, answer.forward * backward + answer.backward * forward
        return Passes(times * there, times * back, at_most or answer != Passes(1))

    @staticmethod
    def _wants_classifier(instance: Asked) -> bool:
        return not instance.replaces_classifier or instance.needs_classifier

    @once
    def predict(self, dataset: str, classifier: str, craft: str | None) -> str:
        """Add the classification of clean images, or of those of a crafting."""
        split = self.suite.protocol.split
        data = self.components.data(dataset, split)
        count = self.datasets[dataset].sizes[split]
        what = "adversarial" if craft else "clean"
        label = f"classify {what} images: {self.tasks[craft or classifier].label}"
        spec = Predict(dataset=data, split=split, classifier=classifier, craft=craft)
        return self.add(label, spec, self.passes([classifier], count))

    def _observe(
        self,
        dataset: str,
        split: str,
        craft: str | None,
        artifact: str | None,
        artifacts: Mapping[str, str],
        layers: Sequence[str],
        train: str | None,
        fit: str | None,
    ) -> str:
        """Add the extraction of hidden states (of the network in `fit`, or trained by `train`) or by an artifact."""
        observer = artifacts[artifact] if artifact is not None else (fit or train)
        assert observer is not None
        spec = Observe(
            dataset=self.components.data(dataset, split),
            split=split,
            observer=observer,
            layers=tuple(layers) if artifact is None else None,
            craft=craft,
        )
        count = self.datasets[dataset].sizes[split]
        label = f"extract {artifact or 'hidden states'}: " + (
            self.tasks[craft].label if craft else f"{split} images of {dataset}"
        )
        return self.add(label, spec, self.passes([observer], count))

    @once
    def judge(
        self, dataset: str, fit: str, defense: str, craft: str | None, split: str, predict: str | None, seed: int
    ) -> str:
        """Add the judgement of clean images, or of those of a crafting, by a fitted defense."""
        instance = self.components.defense(defense)
        fitted = self.tasks[fit].of(Fit)
        observed = {
            name: self._observe(
                dataset,
                split,
                craft,
                request.artifact,
                fitted.artifacts,
                request.layers,
                fitted.train,
                fit if instance.replaces_classifier else None,
            )
            for name, request in instance.observations().items()
        }
        spec = Judge(
            dataset=self.components.data(dataset, split),
            split=split,
            fit=fit,
            craft=craft,
            predict=predict,
            observed=observed,
            repeats=self.suite.protocol.repeats if instance.randomised else 1,
            batch_size=self.suite.batch_size,
            seed=seed,
        )
        count = self.datasets[dataset].sizes[split]
        what = f"{split} images" if craft is None else "attacked images"
        label = f"judge {what} by {defense}: {self.tasks[craft or fit].label}"
        # What was predicted and observed is stored; a defense that says nothing of its passes may still make one.
        answer, stored = self._answers[fit], len(observed) + (predict is not None)
        times = 0 if instance.bare else spec.repeats * count
        work = Passes(max(1, answer.forward - stored) * times, answer.backward * times, at_most=not instance.bare)
        return self.add(label, spec, work)

    @once
    def threshold(self, dataset: str, fit: str, defense: str, seed: int) -> str:
        """Add the only task that reads the false-positive rate: another rate fits and judges nothing anew."""
        judged = self.judge(dataset, fit, defense, None, "val", None, seed)
        spec = Threshold(
            dataset=self.components.data(dataset, "val"),
            split="val",
            judge=judged,
            false_positive_rate=self.suite.protocol.false_positive_rate,
        )
        return self.add(f"set the threshold of {defense}: {self.tasks[fit].label}", spec, Passes())

    def craft(
        self,
        dataset: str,
        split: str,
        attack: str,
        victims: tuple[str, ...],
        held: Held,
        seed: int,
        *,
        bounded: bool = True,
        draws: int = 1,
    ) -> str:
        """Add the crafting of an attack on victims: tasks that make networks, or one that fits a whole defense.

        Args:
            held: `classifier` or `pipeline`.
            bounded: with the attack's budget, or without one for all budgets.
            draws: of a randomised defense, over which the attacker averages.
        """
        count = self.datasets[dataset].sizes[split]
        per_image = self.components.attack(attack).passes()
        work = None
        if per_image is not None:
            passes = per_image.forward * count * draws, per_image.backward * count * draws
            work = self.passes(victims, *passes, per_image.at_most, held=held)
        spec = Craft(
            dataset=self.components.data(dataset, split),
            split=split,
            victim=victims,
            held=held,
            batch_size=self.suite.batch_size,
            seed=seed,
            draws=draws,
            rounded=self.suite.protocol.adversarial == "8-bit",
            attack=self.components.attack_part(attack, bounded),
        )
        label = f"{attack} against {self.who(victims)}" + ("" if split == "test" else f", {split} images")
        label += ", rounded to 8 bits" if spec.rounded else ""
        return self.add(label, spec, work)

    @once
    def look(self, dataset: str, networks: tuple[str, ...], held: Held) -> str:
        """Add the look at a network: `classifier` or `pipeline` of a task, or several classifiers as one."""
        split = self.suite.protocol.split
        spec = Look(dataset=self.components.data(dataset, split), split=split, network=networks, held=held)
        count = min(SHOWN, self.datasets[dataset].sizes[split])
        label = f"look at {self.who(networks)}" + (", as a pipeline" if held == "pipeline" else "")
        steps = len(STEPS) * (1 + DIRECTIONS)
        looks, whole = 3 + steps + (held == "pipeline"), held == "pipeline"  # where there is a score, it is asked once
        work = self.passes(networks, looks * count + min(ALONE, count), (1 + whole) * count, whole, held=held)
        return self.add(label, spec, work)

    @once
    def separate(self, dataset: str, classifier: str) -> str:
        """Add the look at how far apart the classes of clean images lie in a classifier, at the suite's layers."""
        split = self.suite.protocol.split
        spec = Separate(
            dataset=self.components.data(dataset, split),
            split=split,
            classifier=classifier,
            layers=self.suite.separation,
        )
        work = self.passes([classifier], self.datasets[dataset].sizes[split])
        return self.add(f"separate classes of clean images: {self.tasks[classifier].label}", spec, work)

    def who(self, keys: Iterable[str]) -> str:
        """Return what tasks make, in words."""
        return " and ".join(self.tasks[key].label.partition(" ")[2] for key in keys)

    def network(self, dataset: str, model: str, defense: str | None, seed: int) -> str:
        """Return the task that makes a classifier: hardens it, or trains it where the defense leaves it as it is."""
        if defense is not None and self.components.defense(defense).replaces_classifier:
            return self.fit(dataset, model, defense, seed)
        return self.train(dataset, model, seed)
