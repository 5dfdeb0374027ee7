"""From artifacts to tables: the answers of each cell, as soon as its tasks are done."""

from __future__ import annotations

import contextlib
import json
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.cells import Answers, ArtifactResult, Cell, CellResult, Look, Plane, Seen, Status, within_budget
from benchmark.dataset import Split
from benchmark.defense import Defense
from benchmark.engine import Outcome
from benchmark.errors import InputError
from benchmark.metrics.clean import FeatureSeparation, separation_at
from benchmark.metrics.metric import Metric
from benchmark.names import CLEAN
from benchmark.plan.plan import Plan, PlannedAssessment, PlannedCell
from benchmark.plan.task import Judge
from benchmark.plugins import Registry
from benchmark.progress import TaskRecord
from benchmark.randomness import Rng
from benchmark.results.gallery import Gallery
from benchmark.results.tables import Tables
from benchmark.results.tabulation import Tabulation
from benchmark.store.arrays import ArrayReader
from benchmark.store.artifact import DamagedArtifactError
from benchmark.store.store import Store
from benchmark.wording import legible

NOT_RUN = "not run: the run was interrupted"
LOGITS_AT_ONCE = 4096
"""Images whose logits are in memory: of a thousand classes those of all would be hundreds of megabytes."""
LOST = "lost from the cache while the run was going on; the same command makes it again"


@dataclass
class Ended:
    """How the cells ended, as the tables have it.

    Attributes:
        cells: how many are ok, failed and missing.
        lost: reason → how many cells miss their numbers for it.
        problems: what the tables lack beside whole cells.
        thresholds: what the host flags by, by the task that set it.
    """

    cells: Counter[str] = field(default_factory=Counter)
    lost: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    thresholds: dict[str, dict[str, Any]] = field(default_factory=dict)

    def add(self, told: _Told) -> None:
        """Count a cell."""
        self.cells[told.status] += 1
        self.count(told.status, told.reason)
        self.problems += [problem for problem in told.problems if problem not in self.problems]
        self.thresholds |= told.thresholds

    def count(self, status: Status, reason: str) -> None:
        """Count what has no numbers for a reason."""
        if status == "missing":
            self.lost[reason] += 1

    def unfinished(self) -> bool:
        """Tell whether some cell or artifact has no numbers."""
        return bool(self.cells["failed"] or self.lost)


@dataclass
class _Told:
    """How a cell ended: `_Ended` has the sums."""

    status: Status
    reason: str = ""
    problems: list[str] = field(default_factory=list)
    thresholds: dict[str, dict[str, Any]] = field(default_factory=dict)


class Tabulator:
    """Makes the tables and images of a run: those of a cell as soon as its tasks are done, the rest at the end.

    In whichever order the cells are done, tables and images are the same.
    """

    def __init__(self, plan: Plan, store: Store, registry: Registry, folder: Path) -> None:
        self.plan, self.store, self.registry = plan, store, registry
        self.gallery = Gallery(folder, len(plan.cells), len({cell.craft for cell in plan.cells} - {None}))
        self._told: dict[int, _Told] = {}  # cell → how it ended, where that is in the tables
        self._records: dict[str, TaskRecord] = {}
        self._pending: list[set[str]] = []  # cell → tasks not heard of
        self._users: dict[str, list[int]] = {}  # task → cells that read it
        for number, cell in enumerate(plan.cells):
            reads = {*cell.tasks(), *cell.looks(), *([] if cell.separation is None else [cell.separation])}
            self._pending.append(reads)
            for key in reads:
                self._users.setdefault(key, []).append(number)
        self._ready: deque[int] = deque()
        self._split_of = lru_cache(maxsize=8)(self._read_split)
        self._ids_of = lru_cache(maxsize=8)(self._read_ids)
        self._arrays_of = lru_cache(maxsize=64)(self._read_arrays)
        self._base_label_of = lru_cache(maxsize=64)(self._read_base_label)
        self._seen_of: dict[str, Seen] = {}

    def heard(self, record: TaskRecord) -> None:
        """Take note that a task has ended."""
        self._records[record.key] = record
        for number in self._users.get(record.key, ()):
            if record.key in self._pending[number]:
                self._pending[number].discard(record.key)
                if not self._pending[number]:
                    self._ready.append(number)

    def step(self) -> bool:
        """Make what belongs to a cell whose tasks are done; return whether there was one."""
        if not self._ready:
            return False
        number = self._ready.popleft()
        with contextlib.suppress(Exception, SystemExit):  # it goes wrong again, and is told, in the end
            status, _ = self._status(self.plan.cells[number].tasks(), Outcome(self._records))
            if status == "ok":
                self._add(number, Outcome(self._records))
        return True

    def finish(self, outcome: Outcome, final: bool) -> tuple[Tables, Ended]:
        """Make what is left, and return the tables and how the cells ended.

        Args:
            outcome: how the tasks ended.
            final: what is found damaged, or has been taken away, is not made again, but missing.

        Raises:
            DamagedArtifactError: it is to be made again.
        """
        ended = Ended()
        for number, planned in enumerate(self.plan.cells):
            status, reason = self._status(planned.tasks(), outcome, final)
            if status != "ok":
                self._add_without(number, status, reason)
            elif number not in self._told or self._told[number].status != "ok":
                self._add(number, outcome, final)
            ended.add(self._told[number])
        artifacts = []
        for assessed in self.plan.assessments:
            result, reason = self._assessed(assessed, outcome, final)
            artifacts.append(result)
            ended.count(result.status, reason)
        suite = self.plan.suite
        with Rng(0).seeded_globals():
            return self._tabulation.tables(suite.groups, suite.reference, artifacts, suite.probes), ended

    @cached_property
    def _tabulation(self) -> Tabulation:
        metrics: dict[str, Metric] = {r.name: r.load()() for r in self.registry.all("metric")}
        for layer in self.plan.suite.separation:
            metrics.setdefault(separation_at(layer), FeatureSeparation(layer))
        return Tabulation(metrics, [registration.load()() for registration in self.registry.all("panel")])

    @cached_property
    def _defenses(self) -> dict[str, Defense]:
        return self.plan.used(self.registry, "defense")

    def _status(self, keys: Sequence[str], outcome: Outcome, final: bool = False) -> tuple[Status, str]:
        """Return how what these tasks answer has ended, and why it has no numbers.

        Raises:
            DamagedArtifactError: it is to be made again.
        """
        for key in keys:
            record = outcome.records.get(key)
            if record is not None and record.status == "failed":
                return "failed", record.reason
        if outcome.stopped and not all(map(self.store.has, keys)):
            return "missing", NOT_RUN
        try:
            for key in keys:
                self.store.open(key)
        except DamagedArtifactError:
            if not final:
                raise
            return "missing", NOT_RUN if outcome.stopped else LOST
        return "ok", ""

    def _assessed(self, planned: PlannedAssessment, outcome: Outcome, final: bool) -> tuple[ArtifactResult, str]:
        """Return the measures of a shared artifact, and why it has none."""
        status, reason = self._status([planned.task], outcome, final)
        measures: dict[str, tuple[float, int]] = {}
        if status == "ok":
            found = json.loads((self.store.open(planned.task) / "measures.json").read_text())
            measures = {name: (m["value"], m["n"]) for name, m in found.items()}
        return ArtifactResult(planned.artifact, planned.dataset, planned.seed, status, measures), reason

    def _add_without(self, number: int, status: Status, reason: str) -> None:
        """Add a cell that has no numbers."""
        planned = self.plan.cells[number]
        defense = self._defenses[planned.defense]
        result = CellResult(
            **vars(planned.name()),
            status=status,
            reason=reason,
            cell=None,
            sample_ids=(),
            details={},
            sweep=planned.sweep,
            attacker=planned.attacker,
            family=defense.family,
            published=defense.published_attacks,
            unasked=planned.unasked,
        )
        with Rng(0).seeded_globals():
            self._tabulation.add(number, result)
        self.gallery.drop(number)
        self._told[number] = _Told(status, reason)

    def _add(self, number: int, outcome: Outcome, final: bool | None = None) -> None:
        """Add a cell that has numbers.

        Args:
            final: as for `finish`; None while tasks are at work.

        Raises:
            DamagedArtifactError: an artifact is to be made again.
        """
        plan, planned, told = self.plan, self.plan.cells[number], _Told("ok")
        defense = self._defenses[planned.defense]
        threshold = self._threshold(planned, told)
        attacked = perturbation = eps = None
        judge = planned.clean_judge
        if planned.attack != CLEAN:
            assert planned.attacked_predict is not None
            assert planned.attacked_judge is not None
            assert planned.craft is not None
            judge = planned.attacked_judge
            attacked = self._answers(planned.attacked_predict, judge, threshold)
            perturbation = self._arrays_of(planned.craft, "size")["size"]
            budget = plan.suite.attacks[planned.attack].options.eps  # type: ignore[attr-defined]
            eps = None if budget is None else float(budget)
        split, names = self._split_of(planned.dataset), self._ids_of(planned.dataset)
        cell = Cell(
            y=split.labels,
            clean=self._answers(planned.clean_predict, planned.clean_judge, threshold),
            attacked=attacked,
            perturbation=perturbation,
            norm=planned.norm,
            eps=eps,
            success=plan.suite.protocol.success,
            **self._features(planned, outcome, bool(final), told),
        )
        if planned.minimum_norm and eps is not None:
            cell = within_budget(cell, eps)
        result = CellResult(
            **vars(planned.name()),
            status="ok",
            reason="",
            cell=cell,
            sample_ids=names,
            details=(cell.attacked or cell.clean).details,
            sweep=planned.sweep,
            use=plan.suite.defenses[planned.defense].use,
            family=defense.family,
            attacker=planned.attacker,
            deployed=self._seen(planned.deployed_look, outcome, final),
            victim=self._seen(planned.victim_look, outcome, final),
            published=defense.published_attacks,
            examined={
                asks: found
                for asks, key in planned.examinations.items()
                if (found := self._examined(key, outcome, threshold)) is not None
            },
            examinations=planned.examinations,
            unasked=planned.unasked,
        )
        key = plan.tasks[judge].of(Judge).fit
        self.store.bring([key])
        fit = self.store.folder(key)
        adversarial = None if planned.craft is None else ArrayReader(self.store.open(planned.craft))
        with Rng(0).seeded_globals():
            self._tabulation.add(number, result)
            try:
                self.gallery.add(number, result, split.images, adversarial, fit / "explanation.json")
            except InputError as error:  # an image that could be read while it was judged
                told.problems.append(f"pictures of {planned.words()}: {error}")
        self._told[number] = told

    def _threshold(self, planned: PlannedCell, told: _Told) -> float | None:
        if planned.threshold is None:
            return None
        found = json.loads((self.store.open(planned.threshold) / "threshold.json").read_text())
        if found["threshold"] is not None:
            where = {name: getattr(planned, name) for name in ("dataset", "model", "defense", "seed")}
            moves_labels = "label_if_flagged" in self._arrays_of(planned.clean_judge)
            told.thresholds[planned.threshold] = {**where, **found, "moves_labels": moves_labels}
        threshold: float | None = found["threshold"]
        return threshold

    def _answers(self, predict: str, judge: str, threshold: float | None) -> Answers:
        judged = self._arrays_of(judge)
        label, score, flagged = _flagged(judged, threshold)
        return Answers(
            self._base_label_of(predict),
            _repeats_first(label),
            None if score is None else _repeats_first(score),
            None if flagged is None else _repeats_first(flagged),
            {name.removeprefix("detail."): array for name, array in judged.items() if name.startswith("detail.")},
        )

    def _features(self, planned: PlannedCell, outcome: Outcome, final: bool, told: _Told) -> dict[str, Any]:
        key = planned.separation
        if key is None:
            return {}
        status, reason = self._status([key], outcome, final)
        if status != "ok":
            told.problems.append(f"{self.plan.tasks[key].label}: {reason}")
            return {}
        folder, layers = self.store.open(key), self.plan.suite.separation
        rows, planes, shares = (
            np.load(folder / f"{name}.npy", allow_pickle=False) for name in ("separation", "planes", "shares")
        )
        return {
            "separation": {x: row for x, row in zip(layers, rows, strict=True) if np.isfinite(row).all()},
            "planes": {x: Plane(*both) for x, *both in zip(layers, planes, shares, strict=True)},
        }

    def _answered(self, key: str, outcome: Outcome) -> bool:
        """Whether there is an answer of this run to a look or a question, and not one that it could not make anew."""
        record = outcome.records.get(key)
        return (record is None or record.status != "failed") and self.store.has(key)

    def _examined(self, key: str, outcome: Outcome, threshold: float | None) -> dict[str, np.ndarray] | None:
        """Return what was asked about a crafting; of detectors with the flags that the host sets."""
        if not self._answered(key, outcome):
            return None
        found = dict(self._arrays_of(key))
        for when in ("before", "after"):
            if f"{when}.label" in found:
                judged = {name.removeprefix(f"{when}."): found[name] for name in found if name.startswith(f"{when}.")}
                label, _, flagged = _flagged(judged, threshold)
                found |= {f"{when}.label": label} | ({} if flagged is None else {f"{when}.flagged": flagged})
        return found

    def _seen(self, key: str | None, outcome: Outcome, final: bool | None) -> Seen | None:
        """Return what was seen of a network; None where it was not looked at."""
        if key is None or not self._answered(key, outcome):
            return None
        if key in self._seen_of:
            return self._seen_of[key]
        look = Look.of(json.loads((self.store.open(key) / "probe.json").read_text()))
        if look is None:
            if final:
                return None
            if final is not None:  # tasks that are at work may be reading it
                self.store.discard(key)
            raise DamagedArtifactError(key, "another version of this program has written it")
        self._seen_of[key] = Seen(key, self.plan.tasks[key].label.removeprefix("look at "), look)
        return self._seen_of[key]

    def _read_split(self, label: str) -> Split:
        """Return the images of a data set that its cells are about."""
        component = self.plan.suite.datasets[label]
        dataset = self.registry.get("dataset", component.use).load()(component.options)
        split: Split = dataset.split(self.plan.suite.protocol.split)
        return split

    def _read_ids(self, label: str) -> list[str]:
        split = self._split_of(label)
        return [legible(name) for name in split.sample_ids(range(len(split)))]

    def _read_arrays(self, key: str, *names: str) -> dict[str, np.ndarray]:
        return ArrayReader(self.store.open(key)).read(names=list(names) or None)

    def _read_base_label(self, key: str) -> np.ndarray:
        logits = ArrayReader(self.store.open(key)).columns()["logits"]
        starts = range(0, len(logits), LOGITS_AT_ONCE)
        return np.concatenate([logits[start : start + LOGITS_AT_ONCE].argmax(1) for start in starts]).astype(np.int64)


def thresholds(ended: Ended, registry: Registry) -> list[dict[str, Any]]:
    """Return the thresholds that the host has set, with the measures that another one would move."""
    measures: list[tuple[str, tuple[str, ...]]] = [(r.name, r.load().reads) for r in registry.all("metric")]
    listed = []
    for found in ended.thresholds.values():
        by = ("flagged", "label") if found["moves_labels"] else ("flagged",)
        moved = [name for name, reads in measures if set(reads) & set(by)]
        listed.append({**{name: found[name] for name in found if name != "moves_labels"}, "moves": moved})
    return listed


def _flagged(
    judged: Mapping[str, np.ndarray], threshold: float | None
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
    """Return label, score and flag (N, R) of verdicts, where the host flags by the threshold."""
    score, flagged = judged.get("score"), judged.get("flagged")
    if flagged is None and score is not None and threshold is not None:
        flagged = score > threshold
    label = judged["label"]
    if flagged is not None and "label_if_flagged" in judged:
        label = np.where(flagged, judged["label_if_flagged"], label)
    return label, score, flagged


def _repeats_first(judged: np.ndarray) -> np.ndarray:
    """Return (N,) for one judgement per image, (R, N) for several; the store keeps (N, R)."""
    return judged[:, 0] if judged.shape[1] == 1 else judged.T
