"""The graph of tasks: what has the same content key is one task, whoever needs it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmark.defense import ArtifactRequest, SharedArtifact
from benchmark.errors import InputError, PluginError
from benchmark.model import Passes
from benchmark.plan.asked import Asked
from benchmark.plan.components import Components, Part
from benchmark.plan.once import once
from benchmark.plan.plan import PlannedAssessment
from benchmark.plan.task import KEYED, VERSIONS, Task, TaskKind
from benchmark.store import digest
from benchmark.suite import Component
from benchmark.trust.looks import ALONE, SHOWN

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

    def add(
        self,
        kind: TaskKind,
        label: str,
        spec: dict[str, Any],
        needs: Sequence[str] = (),
        work: Passes | None = None,
        *,
        parts: Mapping[str, Part],
        beside: Mapping[str, Any] | None = None,
    ) -> str:
        """Add a task unless an equal one is there, and return its key.

        Args:
            spec: what both the key and a worker need to know, keys of other tasks among it.
            parts: what the task is made of, by its place in the specification.
            beside: what a worker needs to know in other words than the key.
        """
        named = {**spec, **{name: part.named for name, part in parts.items()}}
        version = VERSIONS[kind]
        sort = KEYED.get(kind, kind) if version == "1" else f"{kind} {version}"
        identity = digest(sort, self._identities(named), sorted(self.tasks[key].identity for key in set(needs)))
        key = digest(identity, sorted({part.source for part in parts.values()}), sorted(set(needs)))
        if key not in self.tasks:
            made = {**spec, **{name: part.made for name, part in parts.items()}, **(beside or {})}
            self.tasks[key] = Task(key, identity, kind, label, made, tuple(dict.fromkeys(needs)), work)
        return key

    def _identities(self, value: Any) -> Any:
        """Return a part of a specification with the identities of other tasks in place of their keys."""
        if isinstance(value, str):
            return self.tasks[value].identity if value in self.tasks else value
        if isinstance(value, dict):
            return {name: self._identities(inner) for name, inner in value.items()}
        return [self._identities(inner) for inner in value] if isinstance(value, list) else value

    @once
    def train(self, dataset: str, model: str, seed: int) -> str:
        """Add the training of a model's network."""
        component = self.suite.models[model]
        facts = self.datasets[dataset]
        parts = {"model": self.components.part(component), "dataset": self.components.data(dataset, "train", "val")}
        recipe = component.options.train  # type: ignore[attr-defined]
        train, val = facts.sizes["train"], facts.sizes["val"]
        work = Passes(recipe.epochs * (train + val), recipe.epochs * train) if recipe is not None else Passes()
        label = f"train {model} on {dataset}{self._seed(seed)}"
        return self.add("train", label, {"seed": seed}, (), work, parts=parts)

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
        parts = {
            "builder": self.components.plugin_part("artifact", request.use, request.options, instance.fingerprint()),
            "dataset": self.components.data(source, "train", "val"),
        }
        spec = {"seed": seed, "train": train if request.per_classifier else None}
        needs = [train] if request.per_classifier and train is not None else []
        built = self.add("artifact", f"build {name} on {source}{self._seed(seed)}", spec, needs, parts=parts)
        if type(instance.plugin).assess is not SharedArtifact.assess:
            count = self.datasets[source].sizes["test"]
            label = f"assess {name} on {source}{self._seed(seed)}"
            assess = {"artifact": built, "split": "test"}
            parts = {"dataset": self.components.data(source, "test")}
            task = self.add("assess", label, assess, [built], Passes(count, 0), parts=parts)
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
        attacked: list[dict[str, str]] = []
        for attack in instance.training_attacks():
            if train is None:
                raise InputError(
                    f"{component.where}: defenses.{defense}: its training_attacks need a classifier to attack, and it "
                    "says that it needs none (needs_classifier)."
                )
            for split in ("train", "val"):
                craft = self.craft(dataset, split, attack, (train,), "classifier", seed)
                attacked.append({"attack": attack, "split": split, "key": craft})
        observed: list[dict[str, Any]] = []
        for name, request in instance.observations().items():
            for split in request.fit_splits:
                crafts = [(one["attack"], one["key"]) for one in attacked if one["split"] == split]
                for attack_or_none, craft_or_none in [(None, None), *crafts]:
                    key = self._observe(
                        dataset, split, craft_or_none, request.artifact, artifacts, request.layers, train, None
                    )
                    observed.append({"name": name, "split": split, "attack": attack_or_none, "key": key})
        facts = self.datasets[dataset]
        model_component = self.suite.models[model]
        parts = {
            "defense": self.components.part(component),
            # The recipe stands in the model's options; a hardener trains this architecture by it.
            "model": self.components.part(model_component),
            "dataset": self.components.data(dataset, "train", "val"),
        }
        spec = {
            "train": train,
            "artifacts": artifacts,
            "attacked": [_without(one, "attack") for one in attacked],
            "observed": [_without(one, "attack") for one in observed],
            "seed": seed,
        }
        labelled = {"attacked": attacked, "observed": observed}
        work = instance.passes(
            facts.sizes["train"],
            facts.sizes["val"],
            model_component.options.train,  # type: ignore[attr-defined]
        )
        if work is None and instance.family == "hardener":
            images = UNKNOWN_FIT_EPOCHS * facts.sizes["train"]
            work = Passes(images, images)
        needs = [key for key in (train, *artifacts.values()) if key is not None]
        needs += [one["key"] for one in (*attacked, *observed)]
        label = f"fit {defense} for {model} on {dataset}{self._seed(seed)}"
        fit = self.add("fit", label, spec, needs, work, parts=parts, beside=labelled)
        self._ensembles[fit] = instance.ensemble_size
        return fit

    def passes(self, networks: Sequence[str], forward: int, backward: int = 0, at_most: bool = False) -> Passes:
        """Return so many passes through the networks of tasks, in passes of their models' architectures."""
        times = sum(self._ensembles.get(network, 1) for network in networks)
        return Passes(times * forward, times * backward, at_most)

    @staticmethod
    def _wants_classifier(instance: Asked) -> bool:
        return instance.family != "hardener" or instance.needs_classifier

    @once
    def predict(self, dataset: str, classifier: str, craft: str | None) -> str:
        """Add the classification of clean images, or of those of a crafting."""
        split = self.suite.protocol.split
        spec = {"classifier": classifier, "craft": craft, "split": split}
        count = self.datasets[dataset].sizes[split]
        what = "adversarial" if craft else "clean"
        label = f"classify {what} images: {self.tasks[craft or classifier].label}"
        needs = [classifier, *([craft] if craft else [])]
        work = self.passes([classifier], count)
        return self.add("predict", label, spec, needs, work, parts={"dataset": self.components.data(dataset, split)})

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
        spec = {
            "observer": observer,
            "layers": list(layers) if artifact is None else None,
            "craft": craft,
            "split": split,
        }
        count = self.datasets[dataset].sizes[split]
        label = f"extract {artifact or 'hidden states'}: " + (
            self.tasks[craft].label if craft else f"{split} images of {dataset}"
        )
        needs = [observer, *([craft] if craft else [])]
        work = self.passes([observer], count)
        return self.add("observe", label, spec, needs, work, parts={"dataset": self.components.data(dataset, split)})

    @once
    def judge(
        self, dataset: str, fit: str, defense: str, craft: str | None, split: str, predict: str | None, seed: int
    ) -> str:
        """Add the judgement of clean images, or of those of a crafting, by a fitted defense."""
        instance = self.components.defense(defense)
        fit_spec = self.tasks[fit].spec
        observed = {
            name: self._observe(
                dataset,
                split,
                craft,
                request.artifact,
                fit_spec["artifacts"],
                request.layers,
                fit_spec["train"],
                fit if instance.family == "hardener" else None,
            )
            for name, request in instance.observations().items()
        }
        spec = {
            "fit": fit,
            "craft": craft,
            "split": split,
            "predict": predict,
            "observed": observed,
            "repeats": self.suite.protocol.repeats if instance.randomised else 1,
            "batch_size": self.suite.batch_size,
            "seed": seed,
        }
        count = self.datasets[dataset].sizes[split]
        what = f"{split} images" if craft is None else "attacked images"
        label = f"judge {what} by {defense}: {self.tasks[craft or fit].label}"
        needs = [fit, *([craft] if craft else []), *([predict] if predict else []), *observed.values()]
        # What judging costs beyond the stored predictions is the defense's affair; one pass is a fair guess.
        work = Passes(0 if instance.family in ("none", "hardener") else count, 0)
        return self.add("judge", label, spec, needs, work, parts={"dataset": self.components.data(dataset, split)})

    @once
    def threshold(self, dataset: str, fit: str, defense: str, seed: int) -> str:
        """Add the only task that reads the false-positive rate: another rate fits and judges nothing anew."""
        judged = self.judge(dataset, fit, defense, None, "val", None, seed)
        spec = {"judge": judged, "split": "val", "false_positive_rate": self.suite.protocol.false_positive_rate}
        label = f"set the threshold of {defense}: {self.tasks[fit].label}"
        return self.add(
            "threshold", label, spec, [judged], Passes(), parts={"dataset": self.components.data(dataset, "val")}
        )

    def craft(
        self,
        dataset: str,
        split: str,
        attack: str,
        victims: tuple[str, ...],
        held: str,
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
        parts = {
            "attack": self.components.attack_part(attack, bounded),
            "dataset": self.components.data(dataset, split),
        }
        count = self.datasets[dataset].sizes[split]
        per_image = self.components.attack(attack).passes()
        work = None
        if per_image is not None:
            passes = per_image.forward * count * draws, per_image.backward * count * draws
            work = self.passes(victims, *passes, per_image.at_most)
        spec = {
            "victim": _one_or_list(victims),
            "held": held,
            "split": split,
            "batch_size": self.suite.batch_size,
            "seed": seed,
            **({"draws": draws} if draws > 1 else {}),
        }
        label = f"{attack} against {self.who(victims)}" + ("" if split == "test" else f", {split} images")
        return self.add("craft", label, spec, victims, work, parts=parts)

    @once
    def look(self, dataset: str, networks: tuple[str, ...], held: str) -> str:
        """Add the look at a network: `classifier` or `pipeline` of a task, or several classifiers as one."""
        split = self.suite.protocol.split
        spec = {"network": _one_or_list(networks), "held": held, "split": split}
        count = min(SHOWN, self.datasets[dataset].sizes[split])
        label = f"look at {self.who(networks)}" + (", as a pipeline" if held == "pipeline" else "")
        work = self.passes(networks, 3 * count + min(ALONE, count), count)
        return self.add("look", label, spec, networks, work, parts={"dataset": self.components.data(dataset, split)})

    @once
    def separate(self, dataset: str, classifier: str) -> str:
        """Add the look at how far apart the classes of clean images lie in a classifier, at the suite's layers."""
        split = self.suite.protocol.split
        spec = {"classifier": classifier, "layers": list(self.suite.separation), "split": split}
        work = self.passes([classifier], self.datasets[dataset].sizes[split])
        label = f"separate classes of clean images: {self.tasks[classifier].label}"
        return self.add(
            "separate", label, spec, (classifier,), work, parts={"dataset": self.components.data(dataset, split)}
        )

    def who(self, keys: Iterable[str]) -> str:
        """Return what tasks make, in words."""
        return " and ".join(self.tasks[key].label.partition(" ")[2] for key in keys)

    def network(self, dataset: str, model: str, defense: str | None, seed: int) -> str:
        """Return the task that makes a classifier: hardens it, or trains it where the defense leaves it as it is."""
        if defense is not None and self.components.defense(defense).family == "hardener":
            return self.fit(dataset, model, defense, seed)
        return self.train(dataset, model, seed)


def _one_or_list(keys: tuple[str, ...]) -> str | list[str]:
    return keys[0] if len(keys) == 1 else list(keys)


def as_tuple(named: str | list[str]) -> tuple[str, ...]:
    """Return the keys that a specification names: one, or a list."""
    return (named,) if isinstance(named, str) else tuple(named)


def _without(mapping: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {other: value for other, value in mapping.items() if other != name}
