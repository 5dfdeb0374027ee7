"""What must fit before anything is planned: data, weights, packages, networks, layers, settings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

import torch

from benchmark.dataset import Split
from benchmark.errors import InputError, MissingError, unknown_name
from benchmark.model import Classifier, Model, try_out
from benchmark.names import CLEAN
from benchmark.plan.asked import Asked
from benchmark.plan.components import Components
from benchmark.plan.plan import DatasetFacts
from benchmark.randomness import Rng
from benchmark.setting import Setting, facts_of
from benchmark.suite import Component, Substitute
from benchmark.training import is_out_of_memory


class Checks:
    """Looks at all components that a suite uses, and tells what is wrong with any of them.

    Args:
        components: their `datasets` are filled.
    """

    def __init__(self, components: Components) -> None:
        self.components, self.suite, self.datasets = components, components.suite, components.datasets
        self.unsuited: dict[str, None] = {}

    def check(self) -> None:
        """Look at everything.

        Raises:
            MissingError: all that is missing, one paragraph each.
            InputError: a data set cannot be read, or options do not fit what is installed.
        """
        used = self._used()
        self._check(used)
        self._check_substitutes()
        self._learn([component for component in used if component.kind == "dataset"])
        self._check_networks()

    def _used(self) -> list[Component]:
        found: dict[tuple[str, str], Component] = {}
        for dataset, model, attack, defense, entry, _ in self.suite.points():
            names = {"dataset": dataset, "model": model, "defense": defense}
            if attack != CLEAN:
                names["attack"] = attack
            for kind, label in names.items():
                found.setdefault((kind, label), self.components.named(kind, label))
            for substitute in entry.substitutes:
                for kind, of_substitute in asdict(substitute).items():
                    if of_substitute is not None:
                        found.setdefault((kind, of_substitute), self.components.named(kind, of_substitute))
        for component in list(found.values()):
            if component.kind == "defense":
                for request in self.components.instance(component).artifacts().values():
                    if request.dataset is not None:
                        found.setdefault(("dataset", request.dataset), self._other_dataset(component, request.dataset))
                for attack in self.components.instance(component).training_attacks():
                    found.setdefault(("attack", attack), self._training_attack(component, attack))
        return list(found.values())

    def _other_dataset(self, defense: Component, label: str) -> Component:
        if label not in self.suite.datasets:
            raise InputError(
                f"{defense.where}: defenses.{defense.label} asks for the data set {label!r}, which the suite lacks. "
                f"Known: {', '.join(self.suite.datasets)}."
            )
        return self.suite.datasets[label]

    def _training_attack(self, defense: Component, label: str) -> Component:
        if label not in self.suite.attacks:
            message = unknown_name("attack", label, self.suite.attacks)
            raise InputError(f"{defense.where}: defenses.{defense.label} learns from the suite's attacks: {message}")
        instance = self.components.attack(label)
        if instance.needs_likelihoods or instance.needs_training_loss:
            what = "the likelihoods of a detector" if instance.needs_likelihoods else "the loss of a defense"
            raise InputError(
                f"{defense.where}: defenses.{defense.label} learns from attacks on the classifier alone, and {label!r} "
                f"needs {what}. Name another attack."
            )
        return self.suite.attacks[label]

    def _check(self, components: Sequence[Component]) -> None:
        missing: list[str] = []
        wrong: list[str] = []
        for component in components:
            try:
                self.components.instance(component).check()
            except InputError as error:
                (missing if isinstance(error, MissingError) else wrong).append(str(error))
        if wrong:
            raise InputError("\n".join([*wrong, *missing]))
        if missing:
            if self.suite.gpu and not torch.cuda.is_available():
                missing.append(NO_GPU)
            others = [name for name in self.suite.profiles if name != self.suite.profile]
            hint = (
                "\nProfiles of this suite that may need less: "
                + ", ".join(f"--profile {name}" for name in others)
                + "."
                if others
                else ""
            )
            raise MissingError("\n".join(missing) + hint)

    def _learn(self, components: Sequence[Component]) -> None:
        """Read the data sets, and tell what is wrong with any split of any of them at once."""
        wrong: dict[str, None] = {}  # what two splits share is told once
        for component in components:
            dataset = self.components.instance(component)
            try:
                fingerprint = dataset.fingerprint()  # first: what looks at all splits tells all that is wrong with them
                splits, mistakes = _read(dataset, f"{component.where}: datasets.{component.label}")
                wrong.update(dict.fromkeys(mistakes))
                if mistakes:
                    continue
                known = facts_of(splits)
                self.datasets[component.label] = DatasetFacts(
                    known.class_names,
                    known.image_shape,
                    known.counts,
                    (
                        "dataset",
                        component.use,
                        self.components.registry.get("dataset", component.use).version,
                        fingerprint,
                    ),
                    dataset.options.limit,
                    " ".join(filter(None, (dataset.caption, dataset.options.note))),
                    tuple(dataset.remarks()),
                )
            except InputError as error:
                wrong.setdefault(str(error))
        if wrong:
            raise InputError("\n".join(wrong))

    def _check_networks(self) -> None:
        """Refuse a network that cannot take a data set's images or has not the states that a defense asks of it."""
        asked: dict[tuple[str, str], set[str]] = {}
        for dataset, model, _, defense, entry, _ in self.suite.points():
            asked.setdefault((dataset, model), set()).add(defense)
            for substitute in entry.substitutes:
                asked.setdefault((dataset, substitute.model), set()).update(_hardened_by(substitute))
        alike: dict[tuple[Any, ...], tuple[str, str]] = {}
        first_of: dict[tuple[str, str], tuple[str, str]] = {}
        for dataset, model in sorted(asked):
            facts = self.datasets[dataset]
            first = alike.setdefault((model, len(facts.class_names), facts.image_shape), (dataset, model))
            first_of[dataset, model] = first
            asked[first] |= asked[dataset, model]
        for dataset, model in alike.values():
            classifier = self._tried(dataset, model)
            lacking = set()
            if classifier is not None:
                self._lacks(f"{self.suite.path}: separation: models.{model}", self.suite.separation, classifier)
                defenses = sorted(asked[dataset, model])
                lacking = {defense for defense in defenses if self._lacks_layers(defense, model, classifier)}
            pairs = {pair for pair, of in first_of.items() if of == (dataset, model)}
            self._check_settings(model, classifier, pairs, lacking)
        if self.unsuited:
            raise InputError("\n".join(self.unsuited))

    def _tried(self, dataset: str, model: str) -> Classifier | None:
        """Return the network as it takes black images and its weights file.

        None where memory is scarce, and where it does not take them, which is noted.
        """
        component, facts = self.suite.models[model], self.datasets[dataset]
        instance = self.components.instance(component).on(f"datasets.{dataset}")

        def build(model: Model) -> Classifier:
            classifier = model.build(len(facts.class_names), facts.image_shape, Rng(0))
            if model.options.train is not None:
                try_out(classifier, training=True)
            return classifier

        try:
            classifier: Classifier = instance.asked("build", build)
        except InputError as error:
            if error.__cause__ is None or not is_out_of_memory(error.__cause__):
                self.unsuited.setdefault(str(error))
            return None
        return classifier.frozen()

    def _lacks_layers(self, defense: str, model: str, classifier: Classifier) -> bool:
        """Tell whether the network lacks a hidden state that the defense asks for; what is lacking is noted."""
        component = self.suite.defenses[defense]
        try:
            layers = self.components.instance(component).on(f"models.{model}").layers()
        except InputError as error:
            self.unsuited.setdefault(str(error))
            return True
        return self._lacks(f"{component.where}: defenses.{defense} on models.{model}", layers, classifier)

    def _lacks(self, where: str, layers: Iterable[str], classifier: Classifier) -> bool:
        def look(network: Classifier) -> None:
            for layer in layers:
                if layer not in (*network.layers, "logits"):
                    raise InputError(unknown_name("layer", layer, [*network.layers, "logits"]))
                states = [layer] if layer != "logits" else []
                with torch.no_grad():
                    network.features(torch.zeros(2, *network.image_shape), states)

        try:
            Asked(classifier, "network", where).asked("features", look)
        except InputError as error:
            self.unsuited.setdefault(str(error))
            return True
        return False

    def _check_settings(
        self, model: str, classifier: Classifier | None, pairs: set[tuple[str, str]], lacking: set[str]
    ) -> None:
        """Ask defenses and attacks whether they suit the data sets that they meet with a model; note what they say.

        Defenses that are `lacking` a layer would only say so again.
        """
        met: dict[tuple[str, str, str], None] = {}
        for dataset, of, attack, defense, entry, _ in self.suite.points():
            substitutes = entry.substitutes
            hardened = [(one.model, label) for one in substitutes for label in _hardened_by(one)]
            for network, label in ((of, defense), *hardened):
                if (dataset, network) in pairs:
                    met[dataset, "defense", label] = None
                    for name in self.components.defense(label).training_attacks():
                        met[dataset, "attack", name] = None
            victims = {one.model for one in substitutes} or {of}
            if attack != CLEAN and any((dataset, victim) in pairs for victim in victims):
                met[dataset, "attack", attack] = None
        recipe = self.suite.models[model].options.train  # type: ignore[attr-defined]
        for dataset, kind, label in met:
            if kind == "defense" and label in lacking:
                continue
            instance = self.components.instance(self.components.named(kind, label)).on(f"datasets.{dataset}")
            try:
                instance.check_setting(Setting(self.datasets[dataset], self.datasets, recipe, classifier))
            except InputError as error:
                self.unsuited.setdefault(str(error))

    def _check_substitutes(self) -> None:
        """Refuse a substitute with a defense that makes no network of its own."""
        for entry in self.suite.grid:
            for defense in (label for one in entry.substitutes for label in _hardened_by(one)):
                asked = self.components.defense(defense)
                if not asked.bare:
                    raise InputError(
                        f"{entry.where}: substitute: the defense {defense!r} is a {asked.family} and makes no other "
                        "network that could be attacked. Allowed: a hardener, or the model alone."
                    )


def _read(dataset: Asked, where: str) -> tuple[dict[str, Split], list[str]]:
    """Return the splits that can be read, and what keeps them from being one data set."""
    splits: dict[str, Split] = {}
    mistakes: list[str] = []
    for name in ("train", "val", "test"):
        try:
            splits[name] = dataset.split(name)
        except InputError as error:
            mistakes.append(str(error))
    if len({(split.image_shape, split.class_names) for split in splits.values()}) > 1:
        mistakes.append(
            f"{where}: the splits differ in image shape or classes: "
            + "; ".join(
                f"{name}: {split.image_shape}, {len(split.class_names)} classes" for name, split in splits.items()
            )
        )
    mistakes += [f"{where}: the split {name!r} has no images" for name, split in splits.items() if not len(split)]
    return splits, mistakes


def _hardened_by(substitute: Substitute) -> Sequence[str]:
    return () if substitute.defense is None else (substitute.defense,)


NO_GPU = "no GPU: torch finds none on this machine, and this suite is meant for one (`gpu: true`)"
