"""A plan as a value: the cells of a suite, and the graph of tasks that answers them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from benchmark.cells import Attacker
from benchmark.errors import InputError
from benchmark.names import CLEAN, Asks, CellName, ProbeName
from benchmark.plan.task import Task
from benchmark.plugins import Registry
from benchmark.setting import DataFacts
from benchmark.store.artifact import digest
from benchmark.store.store import Store
from benchmark.suite import Component, Suite


@dataclass(frozen=True)
class PlannedCell(CellName):
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


Test = Literal["classes", "undetected", "inverted"]
"""What a problem asks of an attack (`Tested`)."""


@dataclass(frozen=True, kw_only=True)
class Tested:
    """What is tested: an attack on the features of a network, by problems that it must solve.

    Attributes:
        network: what is attacked, in words.
        test: `classes` are to be told apart; beside a detector, without being flagged (`undetected`), or so that it
            flags (`inverted`).
        knowledge: of the first cell whose adversarial images are made so.
        cells: how many cells of the suite rest on the attack on this network.
    """

    dataset: str
    attack: str
    network: str
    test: Test
    knowledge: str
    norm: str
    eps: str
    seed: int
    cells: int


@dataclass(frozen=True, kw_only=True)
class PlannedVerification:
    """A test that is planned (`benchmark.binarization`).

    Attributes:
        task: key of the task that tests it; "" where the test says nothing of it, for the `reason`.
    """

    tested: Tested
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

    def used(self, registry: Registry, kind: Literal["attack", "defense"]) -> dict[str, Any]:
        """Return the attacks or defenses of the cells, by label, in the order of the cells."""
        labels = dict.fromkeys(getattr(cell, kind) for cell in self.cells)
        sections: dict[str, Mapping[str, Component]] = {"attack": self.suite.attacks, "defense": self.suite.defenses}
        used = (sections[kind][label] for label in labels if label != CLEAN or kind == "defense")
        return {one.label: registry.get(one.kind, one.use).create(one.options) for one in used}

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
