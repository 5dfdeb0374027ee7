"""The tables of one data set, model and knowledge."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

from bench_report import sentences
from bench_report.facts import RunFacts
from bench_report.links import file_name
from bench_report.measures import DETECTOR, FAMILIES, MEASURES, Family, Measure, Unit, worst
from bench_report.table import Axes, Place, Table, group_label, group_name
from bench_report.values import CellView, Column, ColumnGroup, DifferenceView, Estimate, Notice, Word
from bench_report.verdicts import CERTAIN
from bench_report.words import KNOWLEDGE, budget_text
from benchmark import CLEAN, SUMMARIES, Budget, holm

HEADLINE = FAMILIES[0]


@dataclass(frozen=True)
class Option:
    """A measure that the matrix can be switched to: what stands in its columns."""

    key: str
    title: str
    unit: Unit
    better: Literal["high", "low"]
    clean: str | None
    attack: str
    worst: str | None


SWITCH = (
    *(
        Option(f.key, f.title, "rate", f.better, f.clean, f.attack, f.worst)
        for f in FAMILIES
        if f is not HEADLINE and f.key != "repeat"
    ),
    *(
        Option(name, MEASURES[name].title, MEASURES[name].unit, MEASURES[name].better or "high",
               "clean_fpr" if name == "fpr" else None, name, worst(name))
        for name in DETECTOR
    ),
)  # fmt: skip
"""Measures that the matrix of the first page can be switched to."""


class BlockBuilder:
    """Builds the tables of one data set, model and knowledge."""

    def __init__(
        self,
        table: Table,
        axes: Axes,
        differences: Mapping[tuple[str, ...], DifferenceView],
        facts: RunFacts,
        dataset: str,
        model: str,
        knowledge: str,
    ) -> None:
        self.table = table
        self.axes = axes
        self.differences = differences
        self.facts = facts
        self.dataset = dataset
        self.model = model
        self.knowledge = knowledge
        mine = [
            place
            for place in table.by_place
            if (place.dataset, place.model) == (dataset, model)
            and (place.attack == CLEAN or place.knowledge == knowledge)
        ]
        attacks = {place.attack for place in mine}
        self.defenses = [name for name in axes.defenses if any(self.place(x, name) in table.by_place for x in attacks)]
        self.attacks = [name for name in axes.attacks if name in attacks]
        self.groups = [name for name in axes.groups if name in attacks]
        self.metrics = {metric for place in mine for metric in table.by_place[place]}
        self.has_clean = CLEAN in attacks

    def build(self, anchor: str, caption: str, notices: Sequence[Notice]) -> BlockView:
        """Return the block."""
        matrices = [matrix for family in FAMILIES if (matrix := self.matrix(family)) is not None]
        headline = next((matrix for matrix in matrices if matrix.key == HEADLINE.key), None)
        seeds = self.table.seeds if len(self.table.seeds) > 1 else ()
        per_seed = [matrix for seed in seeds if (matrix := self.matrix(HEADLINE, seed)) is not None]
        return BlockView(
            anchor=anchor,
            page=file_name(
                "settings", (self.model, self.dataset, self.knowledge), self.table.anchor, *self._identity()
            ),
            dataset=self.dataset,
            model=self.model,
            knowledge=self.knowledge,
            attacker=KNOWLEDGE.get(self.knowledge, ""),
            caption=caption,
            notices=tuple(notices),
            findings=tuple(sentences.of_block(self.facts, *self._identity())),
            headline=headline,
            matrices=tuple(matrix for matrix in matrices if matrix is not headline),
            per_seed=tuple(per_seed),
            lists=tuple(self.lists()),
            comparisons=tuple(self.comparisons()),
            switch=self.switch(headline) if headline else {},
        )

    def _identity(self) -> tuple[str, str, str]:
        return self.dataset, self.model, self.knowledge

    def switch(self, headline: MatrixView) -> dict[str, Any]:
        """Return the numbers of all other measures in the layout of the headline table, for the reader to switch to.

        By key a row per defense with an entry per column: value, ends of the interval, and n where it is not the
        table's; 0 where there is none. A row is 0 where it has no entry, and the key that has the same row already, ""
        for the headline.
        """
        found: dict[str, list[Any]] = {}
        known: dict[str, str] = {}
        for number, row in enumerate(headline.rows):
            cells = [_compact(cell.estimate, headline.n) if cell.estimate else 0 for cell in row.cells]
            known[repr((number, cells))] = ""
        for option in SWITCH:
            rows: list[Any] = []
            for number, row in enumerate(headline.rows):
                cells = []
                for column in headline.columns:
                    name = getattr(option, column.kind)
                    estimate = name and self.table.estimate(self.place(column.attack, row.defense), name)
                    cells.append(_compact(estimate, headline.n) if estimate else 0)
                had = known.setdefault(repr((number, cells)), option.key) if any(cells) else 0
                rows.append(cells if had == option.key else had)
            if any(row != 0 for row in rows):
                found[option.key] = rows
        return found

    def place(self, attack: str, defense: str) -> Place:
        """Return where a cell of this block stands."""
        return self.table.place(self.dataset, self.model, attack, defense, self.knowledge)

    def columns(self, clean: str | None, attack: str, worst: str | None) -> tuple[list[ColumnGroup], list[Column]]:
        """Return the columns with their headings: clean, attacks by norm and budget, groups of attacks."""
        groups: list[ColumnGroup] = []
        columns: list[Column] = []
        if clean is not None and self.has_clean:
            groups.append(ColumnGroup("No attack", 1))
            columns.append(Column(CLEAN, clean, "clean", "clean", True))
        by_budget: dict[tuple[str, Budget | None], list[str]] = {}
        for name in self.attacks:
            norm, eps = self.table.budgets.get((self.dataset, name), ("", ""))
            by_budget.setdefault((norm, Budget(eps) if eps else None), []).append(name)
        for (norm, budget), names in by_budget.items():
            groups.append(ColumnGroup(budget_text(norm, str(budget or "")), len(names)))
            columns += [Column(name, attack, name, "attack", name == names[0]) for name in names]
        if worst is not None and worst in self.metrics and self.groups:
            groups.append(ColumnGroup("Worst case per image", len(self.groups)))
            columns += [
                Column(name, worst, self._group_title(name), "worst", name == self.groups[0]) for name in self.groups
            ]
        return groups, columns

    def _group_title(self, group: str) -> str:
        title = group_name(group)
        norm, eps = self.table.budgets.get((self.dataset, group), ("", ""))
        if title == group_label(norm, eps):
            return budget_text(norm, eps)
        place = Place(self.dataset, self.model, group, "", self.knowledge)
        return sentences.attacks_text(group, self.table.members(place))

    def matrix(self, family: Family, seed: str | None = None) -> MatrixView | None:
        """Return the table of a family of measures, over all seeds or of one; None where it has nothing to show."""
        if family is not HEADLINE and not self.metrics & {family.attack, family.worst or ""}:
            return None
        if not self._is_shown(family):
            return None
        defenses = self.defenses
        groups, columns = self.columns(family.clean, family.attack, family.worst)
        if family is not HEADLINE:
            names = {family.clean, family.attack, family.worst}
            defenses = [name for name in defenses if self._has(name, names, columns)]
        if family.shown == "differing":
            defenses = [name for name in defenses if self._differs(name, columns)]
        if not columns or not defenses:
            return None
        by_column = [
            [self.table.cell(self.place(column.attack, defense), column.metric, seed) for defense in defenses]
            for column in columns
        ]
        if family.better == "high" and family.shown != "differing":
            self._mark_best(columns, defenses, by_column, seed)
        drawn = [coloured(cells, family.better) for cells in by_column]
        rows = tuple(
            MatrixRow(
                defense,
                tuple(column[number] for column in drawn),
                sentences.taught(self.facts.defense(defense).taught),
            )
            for number, defense in enumerate(defenses)
        )
        flat = [cell for row in rows for cell in row.cells]
        estimates = [cell.estimate for cell in flat if cell.estimate is not None]
        return MatrixView(
            key=family.key,
            title=family.title,
            note=sentences.rejections(family.note) if family is HEADLINE and self._rejects else family.note,
            groups=tuple(groups),
            columns=tuple(columns),
            rows=rows,
            n=same_n(flat),
            intervals=sentences.intervals(estimates),
            lower_is_better=family.better == "low",
            has_best=any(cell.best for cell in flat),
            has_reference=any(estimate.reference is not None for estimate in estimates),
            marks=sentences.marks(estimates),
            seed=seed or "",
        )

    def _mark_best(
        self, columns: Sequence[Column], defenses: Sequence[str], cells: Sequence[list[CellView]], seed: str | None
    ) -> None:
        """Mark the first of a column where the paired test tells it from the second, corrected over the columns.

        What is in doubt takes no part, an upper bound is never best, and where a cell has no number nothing is.
        """
        chosen = seed or (SUMMARIES.crossed if len(self.table.seeds) > 1 else next(iter(self.table.seeds), ""))
        firsts: list[tuple[list[CellView], int, float]] = []
        for column, of_column in zip(columns, cells):
            if any(cell.status in ("failed", "missing") for cell in of_column):
                continue
            sure = [n for n, cell in enumerate(of_column) if cell.estimate is not None and not cell.estimate.doubt]
            sure.sort(key=lambda n: -of_column[n].estimate.value)  # type: ignore[union-attr]
            if len(sure) < 2 or self.facts.bound(self.place(column.attack, defenses[sure[0]])):
                continue
            names = [defenses[n] for n in sure[:2]]
            pair = self._difference(names[1], names[0], column, chosen)
            if pair is not None and pair.p is not None:
                firsts.append((of_column, sure[0], pair.p if pair.difference > 0 else 1.0))
        for (of_column, first, _), p in zip(firsts, holm([p for _, _, p in firsts])):
            if p <= CERTAIN:
                of_column[first] = replace(of_column[first], best=True)

    @cached_property
    def _rejects(self) -> bool:
        """Whether a defense rejects some images."""
        return self._is_shown(next(family for family in FAMILIES if family.shown == "rejecting"))

    def _is_shown(self, family: Family) -> bool:
        if family.shown != "rejecting":
            return True
        return any(
            joint is not None and plain is not None and joint.value != plain.value
            for defense in self.defenses
            for attack in (CLEAN, *self.attacks)
            for joint, plain in (
                (
                    self.table.estimate(self.place(attack, defense), family.clean or ""),
                    self.table.estimate(self.place(attack, defense), "clean_accuracy"),
                ),
                (
                    self.table.estimate(self.place(attack, defense), family.attack),
                    self.table.estimate(self.place(attack, defense), "robust_accuracy"),
                ),
            )
        )

    def _has(self, defense: str, names: set[str | None], columns: Sequence[Column]) -> bool:
        return any(
            names.intersection(self.table.by_place.get(self.place(column.attack, defense), ())) for column in columns
        )

    def _differs(self, defense: str, columns: Sequence[Column]) -> bool:
        for column in columns:
            place = self.place(column.attack, defense)
            base = self.table.estimate(place, column.metric)
            own = self.table.estimate(place, column.metric.replace("base_", ""))
            if base is not None and own is not None and base.value != own.value:
                return True
        return False

    def lists(self) -> Iterator[ListView]:
        """Yield the detector table, and the table of everything that no other table shows."""
        detector = [name for name in DETECTOR if name in self.metrics]
        if "auroc" in detector:
            yield self._list("detector", *sentences.detectors(), detector)
        worst_case = [name for name in map(worst, DETECTOR) if name in self.metrics]
        if worst("auroc") in worst_case:
            yield self._list("worst-detector", *sentences.detectors_at_worst(), worst_case)
        shown = {name for family in FAMILIES for name in (family.clean, family.attack, family.worst)}
        shown |= {*detector, *worst_case}
        known = [name for name in MEASURES if name in self.metrics and name not in shown]
        others = known + sorted(self.metrics - shown - set(known))
        if others:
            yield self._list(
                "others",
                *sentences.other_measures(),
                others,
            )

    def _list(self, key: str, title: str, note: str, names: Sequence[str]) -> ListView:
        rows = []
        for defense in self.defenses:
            for attack in (CLEAN, *self.attacks, *self.groups):
                place = self.place(attack, defense)
                estimates = [self.table.estimate(place, name) for name in names]
                if all(estimate is None for estimate in estimates):
                    continue
                cells = tuple(
                    CellView("undefined") if estimate is None else CellView("ok", estimate) for estimate in estimates
                )
                rows.append(ListRow(defense, attack, cells, same_n(cells)))
        every = [cell.estimate for row in rows for cell in row.cells]
        measures = tuple(map(self.table.measure, names))
        return ListView(key, title, note, measures, tuple(rows), sentences.intervals(every))

    def comparisons(self) -> Iterator[ComparisonView]:
        """Yield the paired differences from the baseline, per family of measures and seed."""
        baseline = self.axes.baseline
        for family in FAMILIES:
            if baseline is None or family.key not in ("robust", "joint") or not self._is_shown(family):
                continue
            groups, columns = self.columns(family.clean, family.attack, family.worst)
            for seed in (*([SUMMARIES.crossed] if len(self.table.seeds) > 1 else []), *self.table.seeds):
                rows = []
                for defense in self.defenses:
                    if defense != baseline:
                        cells = tuple(self._difference(baseline, defense, column, seed) for column in columns)
                        if any(cell is not None for cell in cells):
                            rows.append(ComparisonRow(defense, cells))
                flat = [cell for row in rows for cell in row.cells if cell is not None]
                if flat:
                    numbers = {cell.n for cell in flat}
                    yield ComparisonView(
                        family.key,
                        baseline,
                        family.title,
                        tuple(groups),
                        tuple(columns),
                        tuple(rows),
                        "" if seed == SUMMARIES.crossed or len(self.table.seeds) == 1 else seed,
                        sentences.paired_how(seed, len(self.table.seeds)),
                        numbers.pop() if len(numbers) == 1 else None,
                    )

    def _difference(self, baseline: str, defense: str, column: Column, seed: str) -> DifferenceView | None:
        knowledge = "" if column.attack == CLEAN else self.knowledge
        where = (self.dataset, self.model, column.attack, knowledge, seed)
        # Where none of the two rejects, the joint accuracy is the plain one, and compared once.
        pairs = (
            self.differences.get((*where, name, defense, baseline))
            for name in (column.metric, column.metric.replace("joint_", ""))
        )
        return next((pair for pair in pairs if pair is not None), None)


def _compact(estimate: Estimate, n: int | None) -> list[float | None]:
    numbers = (estimate.value, estimate.low, estimate.high)
    return [*(None if x is None else float(f"{x:.5g}") for x in numbers), *([] if estimate.n == n else [estimate.n])]


def coloured(cells: Sequence[CellView], better: Literal["high", "low"]) -> tuple[CellView, ...]:
    """Return the cells with their step on the colour scale: stronger is better for the defense."""
    coloured = []
    for cell in cells:
        if cell.estimate is not None and cell.estimate.unit == "rate":
            strength = min(1.0, max(0.0, cell.estimate.value))
            cell = replace(cell, step=math.floor(10 * (strength if better == "high" else 1 - strength) + 0.5))
        coloured.append(cell)
    return tuple(coloured)


def same_n(cells: Iterable[CellView]) -> int | None:
    """Return the n of all cells where it is the same, None otherwise."""
    numbers = {cell.estimate.n for cell in cells if cell.estimate is not None}
    return numbers.pop() if len(numbers) == 1 else None


@dataclass(frozen=True)
class MatrixRow:
    """A defense and its cells; `note` is what has to be said of the defense."""

    defense: str
    cells: tuple[CellView, ...]
    note: tuple[Word, ...] = ()


@dataclass(frozen=True)
class MatrixView:
    """A defense × attack table of one family of measures.

    Attributes:
        n: the number of images, where it is the same in all cells; each cell shows its own otherwise.
        intervals: what the intervals in it are.
        seed: the seed that the table is of, "" for all of them.
        lower_is_better: whether the strongest colour stands for the lowest value.
        marks: those of its numbers, in the order of the legend.
    """

    key: str
    title: str
    note: str
    groups: tuple[ColumnGroup, ...]
    columns: tuple[Column, ...]
    rows: tuple[MatrixRow, ...]
    n: int | None
    intervals: str
    lower_is_better: bool
    has_best: bool
    has_reference: bool
    marks: tuple[str, ...]
    seed: str = ""


@dataclass(frozen=True)
class ListRow:
    """Row of a table with one row per defense and attack."""

    defense: str
    attack: str
    cells: tuple[CellView, ...]
    n: int | None


@dataclass(frozen=True)
class ListView:
    """A table with one row per defense and attack, and a column per measure."""

    key: str
    title: str
    note: str
    measures: tuple[Measure, ...]
    rows: tuple[ListRow, ...]
    intervals: str


@dataclass(frozen=True)
class ComparisonRow:
    """A defense and its differences from the baseline; None where there is no pair."""

    defense: str
    cells: tuple[DifferenceView | None, ...]


@dataclass(frozen=True)
class ComparisonView:
    """Paired differences of one measure family from one baseline.

    Attributes:
        seed: of the run that both were part of, "" for all of them.
        how: what is compared, and by which test.
        n: the number of images, where it is the same in all cells.
    """

    key: str
    baseline: str
    title: str
    groups: tuple[ColumnGroup, ...]
    columns: tuple[Column, ...]
    rows: tuple[ComparisonRow, ...]
    seed: str
    how: str
    n: int | None


@dataclass(frozen=True)
class BlockView:
    """All that is said of a data set, a model and what the attacker knows.

    Attributes:
        attacker: what that knowledge is, "" where the report does not know it.
        notices: what has to be known of its numbers.
    """

    anchor: str
    page: str
    dataset: str
    model: str
    knowledge: str
    attacker: str
    caption: str
    notices: tuple[Notice, ...]
    findings: tuple[tuple[Word, ...], ...]
    headline: MatrixView | None
    matrices: tuple[MatrixView, ...]
    per_seed: tuple[MatrixView, ...]
    lists: tuple[ListView, ...]
    comparisons: tuple[ComparisonView, ...]
    switch: dict[str, Any]

    @property
    def rejecting(self) -> MatrixView | None:
        """The table in which rejections count, None where no defense rejects."""
        return next((matrix for matrix in self.matrices if matrix.key == "joint"), None)

    @property
    def setting(self) -> tuple[str, str, str]:
        """Data set, model and what the attacker knows."""
        return self.dataset, self.model, self.knowledge
