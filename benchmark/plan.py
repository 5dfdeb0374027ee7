"""From a suite to a graph of tasks: cells share every piece of work that has the same content key."""

from __future__ import annotations

import inspect
import math
import traceback
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import wraps
from pathlib import Path
from types import FunctionType, NoneType
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar, get_args

import torch
from pydantic import ValidationError

from benchmark.binarization import INNER, NORMS, RANDOM
from benchmark.cells import Attacker
from benchmark.dataset import Split
from benchmark.defense import ArtifactRequest, Observation, Road, SharedArtifact, offers
from benchmark.document import shorten
from benchmark.errors import BenchError, InputError, MissingError, PluginError, first_line, unknown_name
from benchmark.isolation import isolated
from benchmark.keys import functions_of, key_of
from benchmark.model import Classifier, Model, Passes, try_out
from benchmark.names import CLEAN, Asks, ProbeName
from benchmark.options import Options
from benchmark.plugins import Registration, Registry, validate_options
from benchmark.randomness import Rng
from benchmark.setting import DataFacts, Setting, facts_of
from benchmark.source import INSTALLED
from benchmark.store import Store, digest
from benchmark.suite import Component, GridEntry, Substitute, Suite
from benchmark.training import is_out_of_memory
from benchmark.trust.looks import ALONE, SHOWN
from benchmark.trust.probe_kinds import DRAWN, DRAWS, KINDS, NOISES, RERUN

TaskKind = Literal[
    "train",
    "artifact",
    "assess",
    "fit",
    "craft",
    "predict",
    "observe",
    "judge",
    "threshold",
    "look",
    "separate",
    "examine",
    "verify",
]

VERSIONS: dict[TaskKind, str] = {**dict.fromkeys(get_args(TaskKind), "1"), "separate": "2", "examine": "2"}
"""What the host itself does in a task, by its kind: raised when its answers change. "1" is not in keys."""

KEYED: dict[TaskKind, str] = {"look": "probe"}
"""What keys call a kind that has got another name: a word moves no result."""

NO_GPU = "no GPU: torch finds none on this machine, and this suite is meant for one (`gpu: true`)"

UNKNOWN_FIT_EPOCHS = 10
"""Passes over the training images that the progress display assumes of a hardener that does not say."""


@dataclass(frozen=True)
class Task:
    """A piece of work whose answer is an artifact.

    Attributes:
        key: digest of all that changes the answer: the identity, and the source of plugins that are being written.
        identity: digest of what the suite says and of the versions of what it names. Random draws come from it, so they
            are the same whether a plugin is installed or edited, and after an edit that changes nothing.
        kind: what `benchmark.tasks` does.
        label: what people read.
        spec: plain data from which any process can do the work.
        needs: keys of the tasks that must be finished before.
        work: estimated passes, None where they depend on the data.
    """

    key: str
    identity: str
    kind: TaskKind
    label: str
    spec: dict[str, Any]
    needs: tuple[str, ...] = ()
    work: Passes | None = None


@dataclass(frozen=True)
class PlannedCell:
    """A cell of the grid and the tasks whose artifacts answer it.

    Attributes:
        clean_predict, clean_judge: the deployed classifier's and the defense's answers on the clean test images.
        attacked_predict, attacked_judge, craft: the same on the adversarial images; None in the clean cell.
        minimum_norm: the adversarial images know no budget; within `eps` they count, beyond it the clean ones do.
        threshold: what the host flags by; None for a defense without scores.
        deployed_look: what alarms ask of the deployed classifier.
        victim_look: the same of what the attacker holds; None in the clean cell.
        attacker: what alarms know of the attacker; None in the clean cell.
        sweep: equal for attacks that differ in nothing but eps; "" in the clean cell.
        separation: how far apart the classes lie; None in attacked cells, and where the suite does not ask for it.
        examinations: what probes ask about the crafting, by what is asked.
        unasked: probes that have nothing to ask about this attack, and why.
    """

    dataset: str
    model: str
    attack: str
    defense: str
    knowledge: str
    seed: int
    norm: str
    eps: str
    clean_predict: str
    clean_judge: str
    threshold: str | None
    craft: str | None = None
    attacked_predict: str | None = None
    attacked_judge: str | None = None
    minimum_norm: bool = False
    deployed_look: str | None = None
    victim_look: str | None = None
    attacker: Attacker | None = None
    sweep: str = ""
    separation: str | None = None
    examinations: Mapping[Asks, str] = field(default_factory=dict)
    unasked: Mapping[ProbeName, str] = field(default_factory=dict)

    def looks(self) -> list[str]:
        """Return the keys of the tasks that alarms and probes ask; the cell has its numbers without them."""
        looks = [key for key in (self.deployed_look, self.victim_look) if key is not None]
        return [*looks, *self.examinations.values()]

    def tasks(self) -> list[str]:
        """Return the keys of the tasks whose artifacts the cell reads."""
        keys = (
            self.clean_predict,
            self.clean_judge,
            self.threshold,
            self.craft,
            self.attacked_predict,
            self.attacked_judge,
        )
        return [key for key in keys if key is not None]


@dataclass(frozen=True)
class PlannedAssessment:
    """A measurement of a shared artifact on test images.

    Attributes:
        artifact: the name that a defense uses for it.
        dataset: label of the data set that it was built from.
        seed: the suite's.
        built: key of the task that builds it.
        task: key of the task that measures it.
    """

    artifact: str
    dataset: str
    seed: int
    built: str
    task: str


@dataclass(frozen=True)
class PlannedVerification:
    """A test of an attack on the features of a network, by problems that it must solve (`benchmark.binarization`).

    Attributes:
        network: what is attacked, in words.
        knowledge: of the first cell whose adversarial images are made so; `cells` says how many there are.
        task: key of the task that tests it; "" where the test says nothing of it, for the `reason`.
    """

    dataset: str
    attack: str
    network: str
    knowledge: str
    norm: str
    eps: str
    seed: int
    cells: int
    task: str
    reason: str = ""


@dataclass(frozen=True)
class DatasetFacts(DataFacts):
    """What planning learns about a data set.

    Attributes:
        content: the plugin, its version and its own fingerprint, which knows nothing of `limit`.
        remarks: what was passed over or assumed when it was read.
    """

    content: tuple[str, ...]
    limit: Mapping[str, int] | None
    caption: str
    remarks: tuple[str, ...] = ()

    @property
    def sizes(self) -> dict[str, int]:
        """Images per split."""
        return {split: self.size(split) for split in self.counts}

    def fingerprint(self, *splits: str) -> str:
        """Return a digest of all that changes an image or a label of these splits (of all, where none is named).

        Where the data lies is not in it, and how many images are kept of the other splits is not either: a network is
        not trained anew for more test images.
        """
        limit = {name: most for name, most in (self.limit or {}).items() if not splits or name in splits}
        return digest(*self.content, limit or None)


@dataclass
class Plan:
    """The whole run: cells in the order of the suite, tasks in an order in which they could run."""

    suite: Suite
    cells: list[PlannedCell]
    tasks: dict[str, Task]
    datasets: dict[str, DatasetFacts]
    assessments: list[PlannedAssessment] = field(default_factory=list)
    verifications: list[PlannedVerification] = field(default_factory=list)

    def answers(self) -> list[str]:
        """Return the keys of the tasks whose artifacts the tables are made from."""
        cells = [key for cell in self.cells for key in (*cell.tasks(), *cell.looks())]
        cells += [cell.separation for cell in self.cells if cell.separation is not None]
        cells += [planned.task for planned in self.verifications if planned.task]
        return cells + [planned.task for planned in self.assessments]

    def required(self, keys: Iterable[str]) -> dict[str, Task]:
        """Return the tasks `keys`, and all that they need, in plan order."""
        wanted: set[str] = set()
        pending = list(keys)
        while pending:
            key = pending.pop()
            if key not in wanted:
                wanted.add(key)
                pending.extend(self.tasks[key].needs)
        return {key: task for key, task in self.tasks.items() if key in wanted}

    def missing(self, store: Store, again: Collection[str] = ()) -> dict[str, Task]:
        """Return the tasks that must run: not in the store, and needed for the tables or by another such task.

        `again` must run whether they are in the store or not.
        """
        wanted: set[str] = set()
        pending = [*self.answers(), *again]
        while pending:
            key = pending.pop()
            if key not in wanted and (key in again or not store.has(key)):
                wanted.add(key)
                pending.extend(self.tasks[key].needs)
        return {key: task for key, task in self.tasks.items() if key in wanted}


def shard(plan: Plan, index: int, count: int) -> Plan:
    """Return part `index` (from 1) of `count` of the plan: neighbouring cells, which share most of their work."""
    size, rest = divmod(len(plan.cells), count)
    start = (index - 1) * size + min(index - 1, rest)
    cells = plan.cells[start : start + size + (index <= rest)]
    if not cells:
        raise InputError(f"--shard {index}/{count}: the grid has {len(plan.cells)} cells, so this part is empty")
    needed = plan.required(key for cell in cells for key in cell.tasks())
    part = Plan(plan.suite, cells, plan.tasks, plan.datasets)
    part.assessments = [planned for planned in plan.assessments if planned.built in needed]
    part.tasks = plan.required(part.answers())
    return part


def make_plan(suite: Suite, registry: Registry) -> Plan:
    """Expand the suite into cells and tasks, after checking that data, weights and packages are there.

    Raises:
        MissingError: all that is missing, one paragraph each.
        InputError: a data set cannot be read, or options do not fit what is installed.
    """
    return _Planner(suite, registry).plan()


def plan_verification(suite: Suite, registry: Registry, images: int) -> Plan:
    """Return the tests of the suite's attacks, on so many images each, and the networks that they need; no cells.

    Raises:
        MissingError, InputError: as `make_plan`; or the suite attacks nothing.
    """
    return _Planner(suite, registry).verification(images)


Arguments = ParamSpec("Arguments")
Answer = TypeVar("Answer")


def _once(
    method: Callable[Concatenate[_Planner, Arguments], Answer],
) -> Callable[Concatenate[_Planner, Arguments], Answer]:
    """Remember what a method of the planner answers to the same arguments: thousands of cells share their tasks."""

    @wraps(method)
    def remembered(planner: _Planner, *arguments: Arguments.args, **keywords: Arguments.kwargs) -> Answer:
        asked = (method.__name__, arguments, tuple(keywords.items()))
        if asked not in planner.answers:
            planner.answers[asked] = method(planner, *arguments, **keywords)
        answer: Answer = planner.answers[asked]
        return answer

    return remembered


@dataclass(frozen=True)
class _Part:
    """A component, or the data, that a task is made of.

    Attributes:
        named: what keys hold of it.
        made: what a worker makes it from.
        source: digest of its source while that is being written, "" once it is installed.
    """

    named: Any
    made: dict[str, Any]
    source: str


class _Planner:
    def __init__(self, suite: Suite, registry: Registry) -> None:
        self.suite = suite
        self.registry = registry
        self.tasks: dict[str, Task] = {}
        self.datasets: dict[str, DatasetFacts] = {}
        self.instances: dict[tuple[str, str], _Asked] = {}
        self._parts: dict[tuple[str, str], _Part] = {}
        self.answers: dict[Any, Any] = {}
        self.assessments: dict[str, PlannedAssessment] = {}
        self._ensembles: dict[str, int] = {}  # by the task that fits one
        self.unsuited: dict[str, None] = {}

    def _check_all(self) -> None:
        used = self._used_components()
        self._check(used)
        self._check_substitutes()
        self._learn([component for component in used if component.kind == "dataset"])
        self._check_networks()
        self._check_probes()

    def verification(self, images: int) -> Plan:
        self._check_all()
        found: dict[tuple[Any, ...], PlannedVerification] = {}
        for dataset, model, attack, defense, entry, seed in self.suite.points():
            if attack == CLEAN:
                continue
            spec = self.tasks[self._craft(dataset, model, attack, defense, entry, seed)].spec
            for victim in _tuple(spec["victim"]):
                key = (dataset, attack, victim, spec["held"], seed)
                if key not in found:
                    found[key] = self._verification(dataset, attack, defense, entry, victim, spec["held"], seed, images)
                found[key] = replace(found[key], cells=found[key].cells + 1)
        if not found:
            raise InputError(f"{self.suite.path}: no attack is in the grid, so there is none to verify.")
        return Plan(self.suite, [], self.tasks, self.datasets, verifications=list(found.values()))

    def _verification(
        self, dataset: str, attack: str, defense: str, entry: GridEntry, victim: str, held: str, seed: int, images: int
    ) -> PlannedVerification:
        instance = self._instance(self.suite.attacks[attack])
        options = self.suite.attacks[attack].options
        norm, eps = options.norm, options.eps  # type: ignore[attr-defined]
        reason = self._unverifiable(instance, self._instance(self.suite.defenses[defense]), norm, eps, held)
        task = ""
        if not reason:
            split = self.suite.protocol.split
            parts = {
                "attack": self._attack_part(attack, not instance.minimum_norm),
                "dataset": self._data(dataset, split),
            }
            spec = {"victim": victim, "held": held, "split": split, "eps": str(eps), "images": images, "seed": seed}
            count, work = min(images, self.datasets[dataset].size(split)), None
            if (per_image := instance.passes()) is not None:
                made = 2 * (INNER + 2) + RANDOM  # points that a problem is made from, and looked at
                passes = count * (made + per_image.forward), count * per_image.backward
                work = self._passes((victim,), *passes, per_image.at_most)
            label = f"verify {attack} on {self._who((victim,))}"
            task = self._add("verify", label, spec, (victim,), work, parts=parts)
        who = self._who((victim,)) + (f" through {defense}" if held == "pipeline" else "")
        eps_text = "" if eps is None else str(eps)
        return PlannedVerification(dataset, attack, who, entry.knowledge, norm, eps_text, seed, 0, task, reason)

    @staticmethod
    def _unverifiable(attack: _Asked, defense: _Asked, norm: str, eps: Any, held: str) -> str:
        """Return why the test says nothing of an attack on a defense, "" where it does."""
        if eps is None:
            return "it has no budget, and a problem is made within one"
        if norm not in NORMS:
            return f"problems are made in {' and '.join(NORMS)}, not in {norm}"
        if attack.needs_likelihoods or attack.needs_training_loss:
            return "it works on what the defense offers beside its logits, which a problem has not"
        if held == "pipeline" and defense.family in ("detector", "rectifier"):
            return (
                f"the problem is one of classes, and {defense.family}s are told by their scores: the authors' inverted "
                "test of detectors is not built"
            )
        if held == "pipeline" and defense.randomised:
            return "a randomised defense has other features in each pass"
        return ""

    def plan(self) -> Plan:
        self._check_all()
        cells: list[PlannedCell] = []
        seen: set[tuple[str | tuple[Substitute, ...], ...]] = set()
        for point in self.suite.points():
            if point.identity() not in seen:
                seen.add(point.identity())
                cells.append(self._cell(*point))
        return Plan(self.suite, cells, self.tasks, self.datasets, list(self.assessments.values()))

    def _used_components(self) -> list[Component]:
        found: dict[tuple[str, str], Component] = {}
        for dataset, model, attack, defense, entry, _ in self.suite.points():
            names = {"dataset": dataset, "model": model, "defense": defense}
            if attack != CLEAN:
                names["attack"] = attack
            for kind, label in names.items():
                found.setdefault((kind, label), self._component(kind, label))
            for substitute in entry.substitutes:
                for kind, of_substitute in asdict(substitute).items():
                    if of_substitute is not None:
                        found.setdefault((kind, of_substitute), self._component(kind, of_substitute))
        for component in list(found.values()):
            if component.kind == "defense":
                for request in self._instance(component).artifacts().values():
                    if request.dataset is not None:
                        found.setdefault(("dataset", request.dataset), self._other_dataset(component, request.dataset))
                for attack in self._instance(component).training_attacks():
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
        instance = self._instance(self.suite.attacks[label])
        if instance.needs_likelihoods or instance.needs_training_loss:
            what = "the likelihoods of a detector" if instance.needs_likelihoods else "the loss of a defense"
            raise InputError(
                f"{defense.where}: defenses.{defense.label} learns from attacks on the classifier alone, and {label!r} "
                f"needs {what}. Name another attack."
            )
        return self.suite.attacks[label]

    def _component(self, kind: str, label: str) -> Component:
        table: Mapping[str, Component] = getattr(self.suite, f"{kind}s")
        return table[label]

    def _instance(self, component: Component) -> Any:
        place = (component.kind, component.label)
        if place not in self.instances:
            registration = self.registry.get(component.kind, component.use)
            told = f"{component.where}: {component.kind}s.{component.label}"
            self.instances[place] = _Asked.made(registration, component.options, told)
        return self.instances[place]

    def _check(self, components: Sequence[Component]) -> None:
        missing: list[str] = []
        wrong: list[str] = []
        for component in components:
            try:
                self._instance(component).check()
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
            dataset = self._instance(component)
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
                    ("dataset", component.use, self.registry.get("dataset", component.use).version, fingerprint),
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
        instance = self._instance(component).on(f"datasets.{dataset}")

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
            layers = self._instance(component).on(f"models.{model}").layers()
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
            _Asked(classifier, "network", where).asked("features", look)
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
                    for name in self._instance(self.suite.defenses[label]).training_attacks():
                        met[dataset, "attack", name] = None
            victims = {one.model for one in substitutes} or {of}
            if attack != CLEAN and any((dataset, victim) in pairs for victim in victims):
                met[dataset, "attack", attack] = None
        recipe = self.suite.models[model].options.train  # type: ignore[attr-defined]
        for dataset, kind, label in met:
            if kind == "defense" and label in lacking:
                continue
            instance = self._instance(self._component(kind, label)).on(f"datasets.{dataset}")
            try:
                instance.check_setting(Setting(self.datasets[dataset], self.datasets, recipe, classifier))
            except InputError as error:
                self.unsuited.setdefault(str(error))

    def _part(self, component: Component) -> _Part:
        """Return a model or a defense as a part of tasks."""
        place = (component.kind, component.label)
        if place not in self._parts:
            instance = self._instance(component)
            self._parts[place] = self._plugin_part(
                component.kind, component.use, component.options, instance.fingerprint()
            )
        return self._parts[place]

    @_once
    def _attack_part(self, attack: str, bounded: bool) -> _Part:
        """Return an attack as a part of tasks, with its budget or as one that serves every budget."""
        component = self.suite.attacks[attack]
        options = component.options if bounded else component.options.model_copy(update={"eps": None})
        return self._plugin_part("attack", component.use, options, "")

    def _plugin_part(self, kind: str, use: str, options: Options, content: str) -> _Part:
        registration = self.registry.get(kind, use)
        named: dict[str, Any] = {"kind": kind, "use": use, "version": registration.version, "options": key_of(options)}
        if content:
            named["content"] = content
        source = registration.source(*functions_of(options))
        return _Part(named, {"use": use, "options": options.model_dump(mode="json")}, source)

    @_once
    def _data(self, dataset: str, *splits: str) -> _Part:
        """Return the splits of a data set that a task reads: in keys they are their content, wherever it lies."""
        component = self.suite.datasets[dataset]
        made = {"label": dataset, "use": component.use, "options": component.plain()}
        source = self.registry.get("dataset", component.use).source(*functions_of(component.options))
        return _Part(self.datasets[dataset].fingerprint(*splits), made, source)

    def _add(
        self,
        kind: TaskKind,
        label: str,
        spec: dict[str, Any],
        needs: Sequence[str] = (),
        work: Passes | None = None,
        *,
        parts: Mapping[str, _Part],
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

    @_once
    def _train(self, dataset: str, model: str, seed: int) -> str:
        component = self.suite.models[model]
        facts = self.datasets[dataset]
        parts = {"model": self._part(component), "dataset": self._data(dataset, "train", "val")}
        recipe = component.options.train  # type: ignore[attr-defined]
        train, val = facts.sizes["train"], facts.sizes["val"]
        work = Passes(recipe.epochs * (train + val), recipe.epochs * train) if recipe is not None else Passes()
        label = f"train {model} on {dataset}{self._seed(seed)}"
        return self._add("train", label, {"seed": seed}, (), work, parts=parts)

    def _seed(self, seed: int) -> str:
        return f" (seed {seed})" if len(self.suite.seeds) > 1 or seed not in self.suite.seeds else ""

    def _shared(self, defense: Component, request: ArtifactRequest) -> _Asked:
        """Return the artifact that a defense asks for."""
        who = f"{defense.where}: defenses.{defense.label} asks for a shared artifact"
        if not isinstance(request.use, str):
            raise InputError(f"{who} by {request.use!r}: it must be the name that it is registered by.")
        try:
            registration = self.registry.get("artifact", request.use)
            options_type = registration.options_type()
        except PluginError as error:
            raise PluginError(f"{who}: {error}") from None
        if not isinstance(request.options, options_type):
            raise InputError(
                f"{who} {request.use!r} with {type(request.options).__name__}, allowed: {options_type.__name__}."
            )
        return _Asked.made(registration, request.options, who)

    def _artifact(
        self, component: Component, name: str, request: ArtifactRequest, dataset: str, train: str | None, seed: int
    ) -> str:
        instance = self._shared(component, request)
        source = request.dataset or dataset
        parts = {
            "builder": self._plugin_part("artifact", request.use, request.options, instance.fingerprint()),
            "dataset": self._data(source, "train", "val"),
        }
        spec = {"seed": seed, "train": train if request.per_classifier else None}
        needs = [train] if request.per_classifier and train is not None else []
        built = self._add("artifact", f"build {name} on {source}{self._seed(seed)}", spec, needs, parts=parts)
        if type(instance.plugin).assess is not SharedArtifact.assess:
            count = self.datasets[source].sizes["test"]
            label = f"assess {name} on {source}{self._seed(seed)}"
            assess = {"artifact": built, "split": "test"}
            parts = {"dataset": self._data(source, "test")}
            task = self._add("assess", label, assess, [built], Passes(count, 0), parts=parts)
            self.assessments.setdefault(task, PlannedAssessment(name, source, seed, built, task))
        return built

    @_once
    def _fit(self, dataset: str, model: str, defense: str, seed: int) -> str:
        component = self.suite.defenses[defense]
        instance = self._instance(component)
        train = self._train(dataset, model, seed) if self._wants_classifier(instance) else None
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
                craft = self._craft_on(dataset, split, attack, (train,), "classifier", seed)
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
            "defense": self._part(component),
            # The recipe stands in the model's options; a hardener trains this architecture by it.
            "model": self._part(model_component),
            "dataset": self._data(dataset, "train", "val"),
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
        fit = self._add("fit", label, spec, needs, work, parts=parts, beside=labelled)
        self._ensembles[fit] = instance.ensemble_size
        return fit

    def _passes(self, networks: Sequence[str], forward: int, backward: int = 0, at_most: bool = False) -> Passes:
        """Return so many passes through the networks of tasks, in passes of their models' architectures."""
        times = sum(self._ensembles.get(network, 1) for network in networks)
        return Passes(times * forward, times * backward, at_most)

    @staticmethod
    def _wants_classifier(instance: _Asked) -> bool:
        return instance.family != "hardener" or instance.needs_classifier

    @_once
    def _predict(self, dataset: str, classifier: str, craft: str | None) -> str:
        split = self.suite.protocol.split
        spec = {"classifier": classifier, "craft": craft, "split": split}
        count = self.datasets[dataset].sizes[split]
        what = "adversarial" if craft else "clean"
        label = f"classify {what} images: {self.tasks[craft or classifier].label}"
        needs = [classifier, *([craft] if craft else [])]
        work = self._passes([classifier], count)
        return self._add("predict", label, spec, needs, work, parts={"dataset": self._data(dataset, split)})

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
        work = self._passes([observer], count)
        return self._add("observe", label, spec, needs, work, parts={"dataset": self._data(dataset, split)})

    @_once
    def _judge(
        self, dataset: str, fit: str, defense: str, craft: str | None, split: str, predict: str | None, seed: int
    ) -> str:
        instance = self._instance(self.suite.defenses[defense])
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
        return self._add("judge", label, spec, needs, work, parts={"dataset": self._data(dataset, split)})

    @_once
    def _threshold(self, dataset: str, fit: str, defense: str, seed: int) -> str:
        """Add the only task that reads the false-positive rate: another rate fits and judges nothing anew."""
        judged = self._judge(dataset, fit, defense, None, "val", None, seed)
        spec = {"judge": judged, "split": "val", "false_positive_rate": self.suite.protocol.false_positive_rate}
        label = f"set the threshold of {defense}: {self.tasks[fit].label}"
        return self._add("threshold", label, spec, [judged], Passes(), parts={"dataset": self._data(dataset, "val")})

    def _craft(self, dataset: str, model: str, attack: str, defense: str, entry: GridEntry, seed: int) -> str:
        instance = self._instance(self.suite.attacks[attack])
        defended = self._instance(self.suite.defenses[defense])
        family = defended.family
        hardened, bare = family == "hardener", family in ("hardener", "none")
        held = "classifier"
        self._check_knowledge(attack, defense, entry)
        informed = _evades(instance, defended) or instance.needs_training_loss
        # A detector's label is the network's: who steps through a stand-in of it alone knows nothing of the detector.
        through = offers(defended.plugin, "surrogate") and family != "detector"
        if entry.knowledge == "black-box":
            deployed = self._network(dataset, model, defense, seed)
            victims = tuple(self._network(dataset, one.model, one.defense, seed) for one in entry.substitutes)
            if deployed in victims:
                named, attacked = (
                    entry.substitutes[victims.index(deployed)],
                    Substitute(model, defense if hardened else None),
                )
                raise InputError(
                    f"{entry.where}: knowledge black-box: the substitute {named} is the very network that is attacked "
                    f"as {attacked} (same plugins, options and seed), so these numbers would be gray-box. "
                    f"Name another network as `substitute`, exclude this one from this grid entry, or choose gray-box "
                    "(the network itself) or gray-box-retrained (a copy of it, trained from another seed)."
                )
        elif entry.knowledge == "white-box" and (through or informed):
            victims, held = (self._fit(dataset, model, defense, seed),), "pipeline"
        elif entry.knowledge == "white-box" and not bare:
            lacks = {"preprocessor": "surrogate", "detector": "detector_loss"}.get(family, "surrogate or detector_loss")
            what = (
                f"the attack {attack!r} does not try to evade a detector"
                if offers(defended.plugin, "detector_loss")
                else f"the defense {defense!r} offers no differentiable stand-in ({lacks})"
            )
            raise InputError(
                f"{entry.where}: knowledge white-box: {what}, so the attacker would know no more than under "
                f"gray-box. Choose gray-box for {defense!r}, or exclude it from this grid entry."
            )
        else:
            if entry.knowledge == "gray-box-retrained" and not hardened:
                self._check_retrained(model, defense, entry)
            # The copy's seed is drawn from the suite's seed, so that it is another one, and always the same one.
            copy = Rng(seed).spawn("retrained").seed if entry.knowledge == "gray-box-retrained" else seed
            if entry.knowledge == "gray-box-retrained" and informed:
                victims, held = (self._fit(dataset, model, defense, copy),), "pipeline"
            else:
                victims = (self._network(dataset, model, defense, copy),)
        split = self.suite.protocol.split
        draws = self.suite.protocol.draws if held == "pipeline" and defended.randomised else 1
        return self._craft_on(
            dataset, split, attack, victims, held, seed, bounded=not instance.minimum_norm, draws=draws
        )

    def _check_retrained(self, model: str, defense: str, entry: GridEntry) -> None:
        component = self.suite.models[model]
        if component.options.train is None:  # type: ignore[attr-defined]
            raise InputError(
                f"{entry.where}: knowledge gray-box-retrained: the model {model!r} is used as it is (`train: null`, "
                f"{component.where}), so that no copy of it is trained from another seed and these numbers would be "
                f"gray-box. Give {model!r} a training recipe, choose gray-box, or black-box with another network as "
                f"`substitute`, or exclude {model!r} beside {defense!r} from this grid entry."
            )

    def _network(self, dataset: str, model: str, defense: str | None, seed: int) -> str:
        """Return the task that makes a classifier: hardens it, or trains it where the defense leaves it as it is."""
        if defense is not None and self._instance(self.suite.defenses[defense]).family == "hardener":
            return self._fit(dataset, model, defense, seed)
        return self._train(dataset, model, seed)

    def _check_substitutes(self) -> None:
        """Refuse a substitute with a defense that makes no network of its own."""
        for entry in self.suite.grid:
            for defense in (label for one in entry.substitutes for label in _hardened_by(one)):
                family = self._instance(self.suite.defenses[defense]).family
                if family not in ("none", "hardener"):
                    raise InputError(
                        f"{entry.where}: substitute: the defense {defense!r} is a {family} and makes no other network "
                        "that could be attacked. Allowed: a hardener, or the model alone."
                    )

    def _check_knowledge(self, attack: str, defense: str, entry: GridEntry) -> None:
        """Refuse an attack on what a defense does not have, or on what the attacker does not know."""
        instance, defended = self._instance(self.suite.attacks[attack]), self._instance(self.suite.defenses[defense])
        needed: list[tuple[Road, str, str]] = []
        if instance.needs_likelihoods:
            needed.append(("class_likelihoods", "the detector's likelihoods per class", "them"))
        if instance.needs_training_loss:
            needed.append(("training_loss", "the loss that the defense was trained by", "it"))
        for method, what, pronoun in needed:
            if not offers(defended.plugin, method):
                problem = f"the defense {defense!r} has none. Exclude it from this grid entry"
            elif entry.knowledge in ("gray-box", "black-box"):
                problem = f"this attacker does not know {pronoun}. Choose white-box or gray-box-retrained"
            else:
                continue
            raise InputError(
                f"{entry.where}: knowledge {entry.knowledge}: the attack {attack!r} needs {what}, and {problem}, "
                "or take another attack."
            )

    def _craft_on(
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
        parts = {"attack": self._attack_part(attack, bounded), "dataset": self._data(dataset, split)}
        count = self.datasets[dataset].sizes[split]
        per_image = self._instance(self.suite.attacks[attack]).passes()
        work = None
        if per_image is not None:
            passes = per_image.forward * count * draws, per_image.backward * count * draws
            work = self._passes(victims, *passes, per_image.at_most)
        spec = {
            "victim": _one_or_list(victims),
            "held": held,
            "split": split,
            "batch_size": self.suite.batch_size,
            "seed": seed,
            **({"draws": draws} if draws > 1 else {}),
        }
        label = f"{attack} against {self._who(victims)}" + ("" if split == "test" else f", {split} images")
        return self._add("craft", label, spec, victims, work, parts=parts)

    def _check_probes(self) -> None:
        """Refuse a probe of attacks that no attack of the suite has anything for."""
        for name in self.suite.probes:
            kind = KINDS[name]
            reasons = {label: self._nowhere(name, label) for label in self.suite.attacks} if kind.asks else {"": ""}
            if all(reasons.values()):
                found = "; ".join(f"{label}: {why}" for label, why in list(reasons.items())[:4]) or "it has none"
                raise InputError(
                    f"{self.suite.path}: probes: {name}: no attack of this suite has what it needs ({found}). Needed: "
                    f"{kind.needs} Add one, or leave the probe out."
                )

    def _nowhere(self, probe: ProbeName, attack: str) -> str:
        """Return why a probe of attacks has nothing to ask about one on any data set, "" where it has on some."""
        return min((self._unasked(probe, attack, dataset) for dataset in self.datasets), default="")

    @_once
    def _unasked(self, probe: ProbeName, attack: str, dataset: str) -> str:
        """Return why a probe of attacks has nothing to ask about one, "" where it has."""
        component = self.suite.attacks[attack]
        instance, options = self._instance(component), component.options
        if probe == "unavailable-gradients" and instance.needs != "gradient":
            return "it asks for no gradients"
        if probe == "more-steps" and not self._doubled(attack):
            return "it has no option `steps` or `restarts` that could be doubled"
        if probe == "unconstrained-failure" and self._unconstrained(attack, dataset) is None:
            return "its eps may not grow until it reaches every image"
        if probe == "random-draws" and options.eps is None:  # type: ignore[attr-defined]
            return "it has no budget"
        if probe == "random-draws" and options.norm not in ("linf", "l2"):  # type: ignore[attr-defined]
            return f"its norm is {options.norm}, and only balls in linf and l2 are drawn from"  # type: ignore[attr-defined]
        return ""

    @_once
    def _doubled(self, attack: str) -> Options | None:
        """Return an attack's options with twice the steps and restarts; None where it has neither."""
        options = self._examined(attack)
        plain = options.model_dump(mode="json")
        for names in (("steps", "restarts"), ("steps",), ("restarts",)):
            more = {name: 2 * plain[name] for name in names if type(plain.get(name)) is int}
            if more:
                try:
                    return validate_options(type(options), plain | more)
                except ValidationError:  # such as restarts without a random start
                    continue
        return None

    @_once
    def _unconstrained(self, attack: str, dataset: str) -> Options | None:
        """Return an attack's options with a budget that reaches every image, and a step that grows with it.

        None where the options allow none.
        """
        options = self._examined(attack)
        if options.eps is None:  # type: ignore[attr-defined]
            return options
        plain, size = options.model_dump(mode="json"), math.prod(self.datasets[dataset].image_shape)
        whole = {"linf": 1.0, "l2": math.sqrt(size)}.get(options.norm, float(size))  # type: ignore[attr-defined]
        step = getattr(options, "step", None)
        if isinstance(step, float):
            plain["step"] = step * whole / float(options.eps)  # type: ignore[attr-defined]
        try:
            return validate_options(type(options), plain | {"eps": whole})
        except ValidationError:
            return None

    def _examined(self, attack: str) -> Options:
        """Return the options that an attack crafts with."""
        component = self.suite.attacks[attack]
        bounded = not self._instance(component).minimum_norm
        return component.options if bounded else component.options.model_copy(update={"eps": None})

    def _examinations(
        self, dataset: str, attack: str, defense: str, craft: str, attacker: Attacker
    ) -> tuple[dict[Asks, str], dict[ProbeName, str]]:
        """Return what probes ask about a crafting, and which have nothing to ask."""
        asked: dict[Asks, str] = {}
        unasked: dict[ProbeName, str] = {}
        family = self._instance(self.suite.defenses[defense]).family
        for name in self.suite.probes:
            asks = KINDS[name].asks
            if asks is None:
                continue
            why = self._unasked(name, attack, dataset)
            if name == "silent-success" and attacker.meets_noise:
                why = "what it attacks answers at random, so that a success on the way may be chance"
            if why:
                unasked[name] = why
            elif asks != "labels" or attacker.aim != "base":  # there the deployed classifier has answered already
                judged = self.tasks[craft].spec["held"] == "pipeline" and family not in ("none", "hardener")
                repeats = self.suite.protocol.repeats if attacker.meets_noise else 1
                asked[asks] = self._examine(dataset, attack, craft, asks, repeats, judged)
        return asked, unasked

    @_once
    def _examine(self, dataset: str, attack: str, craft: str, asks: Asks, repeats: int, judged: bool) -> str:
        crafting, component = self.tasks[craft].spec, self.suite.attacks[attack]
        victims, split, draws = _tuple(crafting["victim"]), crafting["split"], crafting.get("draws", 1)
        options = {"path": self._examined, "doubled": self._doubled}.get(asks, lambda _: None)(attack)
        if asks == "unconstrained":
            options = self._unconstrained(attack, dataset)
        spec: dict[str, Any] = {
            name: crafting[name]
            for name in ("victim", "held", "split", "batch_size", "seed", "draws")
            if name in crafting
        }
        spec |= {"asks": asks, "norm": component.options.norm}  # type: ignore[attr-defined]
        spec |= {"repeats": repeats} if repeats > 1 else {}
        spec |= {"eps": float(component.options.eps)} if asks == "draws" else {}  # type: ignore[attr-defined]
        spec |= {"craft": craft} if asks != "neighbours" else {}
        parts = {"dataset": self._data(dataset, split)}
        count = self.datasets[dataset].sizes[split]
        forward, backward, at_most, images = 0, 0, False, 0
        if options is not None:
            parts["attack"] = self._plugin_part("attack", component.use, options, "")
            passes = _Asked.made(self.registry.get("attack", component.use), options, component.where).passes()
            images = min(RERUN if asks == "doubled" else SHOWN, count)
            forward = (3 if asks == "path" else 2) * images
            if passes is not None:
                forward, backward = forward + passes.forward * images, passes.backward * images
                at_most = passes.at_most
        elif asks == "draws":
            images = min(DRAWN, count)
            forward, at_most = 2 * count + images * (DRAWS + 2), True
        else:
            forward = NOISES * min(SHOWN, count) if asks == "neighbours" else 2 * count
        # As in `_judge`, one pass per judgement is a fair guess; two versions of the images are judged.
        judging = 2 * images * repeats if judged else 0
        work = self._passes(victims, draws * forward + judging, draws * backward, at_most)
        what = {
            "path": "its path", "doubled": "with more steps and restarts", "unconstrained": "without a budget",
            "draws": "random draws beside it", "neighbours": "noise", "labels": "what it attacked",
        }[asks]  # fmt: skip
        whom = self._who(victims) if asks == "neighbours" else self.tasks[craft].label
        label = f"examine {whom}: {what}"
        needs = victims if asks == "neighbours" else (craft, *victims)
        return self._add("examine", label, spec, needs, work, parts=parts)

    @_once
    def _look(self, dataset: str, networks: tuple[str, ...], held: str) -> str:
        """Add the look at a network: `classifier` or `pipeline` of a task, or several classifiers as one."""
        split = self.suite.protocol.split
        spec = {"network": _one_or_list(networks), "held": held, "split": split}
        count = min(SHOWN, self.datasets[dataset].sizes[split])
        label = f"look at {self._who(networks)}" + (", as a pipeline" if held == "pipeline" else "")
        work = self._passes(networks, 3 * count + min(ALONE, count), count)
        return self._add("look", label, spec, networks, work, parts={"dataset": self._data(dataset, split)})

    @_once
    def _sweep(self, attack: str) -> str:
        component = self.suite.attacks[attack]
        return digest(component.use, {name: value for name, value in component.plain().items() if name != "eps"})

    @_once
    def _separate(self, dataset: str, classifier: str) -> str:
        """Add the look at how far apart the classes of clean images lie in a classifier, at the suite's layers."""
        split = self.suite.protocol.split
        spec = {"classifier": classifier, "layers": list(self.suite.separation), "split": split}
        work = self._passes([classifier], self.datasets[dataset].sizes[split])
        label = f"separate classes of clean images: {self.tasks[classifier].label}"
        return self._add("separate", label, spec, (classifier,), work, parts={"dataset": self._data(dataset, split)})

    def _attacker(self, dataset: str, attack: str, defense: str, craft: str, classifier: str, fit: str) -> Attacker:
        instance, defended = self._instance(self.suite.attacks[attack]), self._instance(self.suite.defenses[defense])
        victim, pipeline = self.tasks[craft].spec["victim"], self.tasks[craft].spec["held"] == "pipeline"
        evades = pipeline and (instance.needs_likelihoods or _evades(instance, defended))
        passes = instance.passes()
        aim: Literal["base", "label", "undetected"] | None = None
        if not pipeline and victim == classifier:
            aim = "base"
        elif pipeline and victim == fit:
            aim = "undetected" if evades else "label"
        return Attacker(
            uses_gradient=instance.needs == "gradient",
            steps=None if passes is None else passes.backward,
            aim=aim,
            evades=evades,
            meets_noise=pipeline and defended.randomised,
            nearest=instance.minimum_norm,
            erases=_erases(instance.options, self.datasets[dataset].image_shape),
        )

    def _who(self, keys: Iterable[str]) -> str:
        return " and ".join(self.tasks[key].label.partition(" ")[2] for key in keys)

    def _cell(self, dataset: str, model: str, attack: str, defense: str, entry: GridEntry, seed: int) -> PlannedCell:
        instance = self._instance(self.suite.defenses[defense])
        fit = self._fit(dataset, model, defense, seed)
        classifier = self._network(dataset, model, defense, seed)
        clean_predict = self._predict(dataset, classifier, None)
        split = self.suite.protocol.split
        if split == "val" and instance.gives_scores:
            raise InputError(
                f"{self.suite.defenses[defense].where}: protocol.split is val, but the threshold of the defense "
                f"{defense!r} is set on the validation images: judged on the same ones it would look too good. Leave "
                "the defense out, or evaluate on test images (`protocol: {split: test}`)."
            )
        clean_judge = self._judge(dataset, fit, defense, None, split, clean_predict, seed)
        shared: dict[str, Any] = {
            "dataset": dataset,
            "model": model,
            "attack": attack,
            "defense": defense,
            "seed": seed,
            "clean_predict": clean_predict,
            "clean_judge": clean_judge,
            "threshold": self._threshold(dataset, fit, defense, seed) if instance.gives_scores else None,
            "deployed_look": self._look(dataset, (classifier,), "classifier"),
        }
        if attack == CLEAN:
            separation = self._separate(dataset, classifier) if self.suite.separation else None
            return PlannedCell(**shared, knowledge="", norm="", eps="", separation=separation)
        options = self.suite.attacks[attack].options
        craft = self._craft(dataset, model, attack, defense, entry, seed)
        predict = self._predict(dataset, classifier, craft)
        attacker = self._attacker(dataset, attack, defense, craft, classifier, fit)
        examinations, unasked = self._examinations(dataset, attack, defense, craft, attacker)
        return PlannedCell(
            **shared,
            knowledge=entry.knowledge,
            norm=options.norm,  # type: ignore[attr-defined]
            eps="" if options.eps is None else str(options.eps),  # type: ignore[attr-defined]
            craft=craft,
            attacked_predict=predict,
            attacked_judge=self._judge(dataset, fit, defense, craft, split, predict, seed),
            victim_look=self._look(dataset, _tuple(self.tasks[craft].spec["victim"]), self.tasks[craft].spec["held"]),
            sweep=self._sweep(attack),
            attacker=attacker,
            examinations=examinations,
            unasked=unasked,
            minimum_norm=self._instance(self.suite.attacks[attack]).minimum_norm,
        )


_ANSWERS: dict[str, tuple[Any, Any]] = {
    "artifacts": (dict, ArtifactRequest),
    "observations": (dict, Observation),
    **dict.fromkeys(("layers", "training_attacks", "remarks"), (tuple | list, str)),
    **dict.fromkeys(("fingerprint", "caption"), (str, None)),
    "ensemble_size": (int, None),
    **dict.fromkeys(("minimum_norm", "gives_scores", "needs_classifier"), (bool, None)),
    "passes": (Passes | None, None),
}
"""What hooks answer with, and what that is made of: another answer would end the plan, or be read as another."""


class _Asked:
    """A component that the plan asks for what it declares: what goes wrong in it is told with its place.

    Hooks are called on it as on the component, without arguments only once, and raise nothing but InputError. What they
    change of this process is put back, and told.

    Attributes:
        plugin: the component itself.
    """

    def __init__(self, plugin: Any, who: str, place: str) -> None:
        self.plugin, self._who, self._place = plugin, who, place
        self._known: dict[str, Any] = {}

    @classmethod
    def made(cls, registration: Registration, options: Options, place: str) -> _Asked:
        """Return the component with these options; `place` is where the suite asks for it."""
        asked = cls(None, registration.who, place)
        asked.plugin = asked.asked("__init__", lambda _: registration.create(options))
        return asked

    def on(self, other: str) -> _Asked:
        """Return the same, where it meets another component of the suite."""
        return _Asked(self.plugin, self._who, f"{self._place} on {other}")

    def __getattr__(self, name: str) -> Any:
        if name not in self._known:
            if _runs_nothing(self.plugin, name):
                value = getattr(self.plugin, name)
            else:
                value = self.asked(name, lambda plugin: getattr(plugin, name))
            self._known[name] = self._hook(name, value) if callable(value) else self._checked(name, value)
        return self._known[name]

    def _hook(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        answers: list[Any] = []

        def hook(*arguments: Any) -> Any:
            if answers and not arguments:
                return answers[0]
            answer = self._checked(name, self.asked(name, lambda _: method(*arguments)))
            if not arguments:
                answers.append(answer)
            return answer

        return hook

    def _checked(self, name: str, answer: Any) -> Any:
        kind, part = _ANSWERS.get(name, (object, None))
        parts = () if part is None or not isinstance(answer, kind) else answer
        wrong = [one for one in (parts.values() if isinstance(parts, dict) else parts) if not isinstance(one, part)]
        if wrong or not isinstance(answer, kind):
            names = ["None" if one is NoneType else one.__name__ for one in get_args(kind) or (kind,)]
            of = "" if part is None else f" of {part.__name__}"
            raise InputError(
                f"{self._place}: `{name}` of the {self._who} is {shorten(repr(answer))}, which must be "
                f"{' or '.join(names)}{of}."
            )
        return answer

    def asked(self, hook: str, question: Callable[[Any], Answer]) -> Answer:
        """Return the answer to a question that is put to the component.

        Raises:
            InputError: of the kind that the component raised, if it raised one.
        """
        try:
            with isolated("the plugin"), Rng(0).seeded_globals():
                return question(self.plugin)
        except BenchError as error:
            kind = type(error) if isinstance(error, InputError) else InputError
            raise kind(f"{self._place}: {error}") from error
        except Exception as error:
            hook, where = _told_by_traceback(error, hook)
            raise InputError(
                f"{self._place}: `{hook}` of the {self._who} raised {first_line(error)}{where}. This looks like a "
                "fault of the plugin: what a suite has to change is told by InputError."
            ) from error


def _runs_nothing(plugin: Any, name: str) -> bool:
    """Tell whether an attribute is a method or a value that is looked up without code of the plugin."""
    found = inspect.getattr_static(plugin, name, property())
    usual = type(plugin).__getattribute__ is object.__getattribute__
    return usual and (isinstance(found, FunctionType) or not hasattr(found, "__get__"))


def _told_by_traceback(error: BaseException, hook: str) -> tuple[str, str]:
    """Return which function of others the host called, `hook` where none was reached, and where the error was raised.

    That is the last line of code that is not installed, or that of the function.
    """
    tops = (
        frame.f_globals.get("__name__", "").partition(".")[0] for frame, _ in traceback.walk_tb(error.__traceback__)
    )
    steps = zip(tops, traceback.extract_tb(error.__traceback__), strict=True)
    foreign = [step for top, step in steps if top not in ("benchmark", "contextlib")]
    if not foreign:
        return hook, ""
    last = [step for step in foreign if not any(part in INSTALLED for part in Path(step.filename).parts)] or foreign[:1]
    return foreign[0].name, f" ({last[-1].filename}:{last[-1].lineno})"


def _read(dataset: _Asked, where: str) -> tuple[dict[str, Split], list[str]]:
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


def _one_or_list(keys: tuple[str, ...]) -> str | list[str]:
    return keys[0] if len(keys) == 1 else list(keys)


def _tuple(named: str | list[str]) -> tuple[str, ...]:
    return (named,) if isinstance(named, str) else tuple(named)


def _hardened_by(substitute: Substitute) -> Sequence[str]:
    return () if substitute.defense is None else (substitute.defense,)


def _without(mapping: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {other: value for other, value in mapping.items() if other != name}


def _erases(options: Any, image_shape: tuple[int, int, int]) -> bool:
    """Tell whether every image lies within the budget of the same grey one, half the pixel range away in each pixel."""
    size = math.prod(image_shape)
    far = {"linf": 0.5, "l2": 0.5 * math.sqrt(size), "l1": 0.5 * size, "l0": size}.get(options.norm, math.inf)
    return options.eps is not None and float(options.eps) >= far


def _evades(attack: _Asked, defense: _Asked) -> bool:
    return attack.evades_detector and offers(defense.plugin, "detector_loss")
