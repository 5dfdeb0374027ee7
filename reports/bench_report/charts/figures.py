"""The figures of the papers, drawn of whatever a run has: nothing here knows a suite.

A setting (data set, model, attacker) gets ROC curves with a line per attack, means over the attacks of a group beside
the worst case, and lines over a number in which attacks or defenses differ and in nothing else. A mean of measured
accuracies is the only number made here; all others stand in the tables of the run.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, islice
from typing import TYPE_CHECKING, Literal

import numpy as np

from bench_report.blocks import BlockView
from bench_report.charts.ladders import ladders
from bench_report.charts.means import MeansCell, MeansRow, MeansView, lowest, mean_of
from bench_report.charts.setting import SettingFigures
from bench_report.facts import RunFacts
from bench_report.table import Place, Table, as_number, as_text, group_name, grouped, read_axes
from bench_report.values import Estimate, FigureView

if TYPE_CHECKING:
    from benchmark import Run


MOST_FIGURES = 24
"""Figures of a page; more would be a grid of charts that nobody reads."""
MOST_GROUPS = 4
MOST_CENTRAL, MOST_BUDGETS = 6, 4
"""Figures of the first page, and how many of these may be over budgets."""
MOST_MEANS = 240
"""Cells of the table of means on the first page, which has to stay small."""
FIGURE = re.compile(r"\bfig(?:ure|\.)\s*(\w+)", re.IGNORECASE)


class Figures:
    """Makes the figures of a run, one setting after another."""

    def __init__(self, run: Run, table: Table, facts: RunFacts) -> None:
        self.run = run
        self.table = table
        self.facts = facts
        self.axes = read_axes(table, run.suite)
        self.seeds = table.seeds
        self.attacks = ladders(run.suite.get("attacks"))
        self.budgets = facts.budgets
        self.defenses = ladders(run.suite.get("defenses"))
        self.published = run.published

    # The first page

    def central(self, blocks: Sequence[BlockView]) -> tuple[CentralView, ...]:
        """Return the figures that answer what a run asks: over its budgets, then robustness and its price.

        Of settings and attacks beyond a few there are more on the pages of the settings.
        """
        settings = [SettingFigures(self, block) for block in blocks if block.headline is not None]
        over = (
            CentralView("budget", one.block, figure)
            for one in settings
            for several in one.budgets().values()
            for figure in one.over_budget(several[:1])
        )
        prices = (CentralView("price", one.block, figure) for one in settings for figure in one.trade_off())
        return tuple(islice(chain(islice(over, MOST_BUDGETS), prices), MOST_CENTRAL))

    def means(self, blocks: Sequence[BlockView]) -> tuple[MeansView, ...]:
        """Return, per group of attacks and kind of attacker, the means over its attacks and all models, by data set.

        Nothing for a run of one setting, whose own page has them.
        """
        views = []
        for knowledge in dict.fromkeys(block.knowledge for block in blocks):
            settings = [b for b in blocks if b.knowledge == knowledge and b.headline is not None]
            if len(settings) < 2:
                continue
            for group in self.groups():
                rows = tuple(self._means_rows(settings, group, knowledge))
                if rows and len(rows) * len(self.axes.defenses) <= MOST_MEANS:
                    views.append(MeansView(knowledge, group_name(group), tuple(self.axes.defenses), rows))
        return tuple(views)

    def _means_rows(self, settings: Sequence[BlockView], group: str, knowledge: str) -> Iterator[MeansRow]:
        for dataset in dict.fromkeys(block.dataset for block in settings):
            models = [block.model for block in settings if block.dataset == dataset]
            members = {model: self.averaged(dataset, model, group, knowledge) for model in models}
            if sum(map(len, members.values())) < 2:
                continue
            cells = []
            for defense in self.axes.defenses:
                places = [
                    Place(dataset, model, attack, defense, knowledge) for model in models for attack in members[model]
                ]
                estimates = [self.table.estimate(place, "robust_accuracy") for place in places]
                worst = lowest(
                    self.table.estimate(Place(dataset, model, group, defense, knowledge), "worst_case_robust_accuracy")
                    for model in models
                )
                absent = sum(estimate is None for estimate in estimates)
                cells.append(MeansCell(mean_of(estimates), worst, len(estimates), absent))
            if any(cell.mean is not None for cell in cells):
                attacks = len(set().union(*members.values()))
                yield MeansRow(dataset, attacks, len(models), tuple(cells))

    # The page of a setting

    def of(self, block: BlockView) -> FiguresView:
        """Return the figures of a setting: those of the papers first, as many as a page bears."""
        if block.headline is None:
            return FiguresView((), 0)
        setting = SettingFigures(self, block)
        made = list(setting.all())
        return FiguresView(tuple(made[:MOST_FIGURES]), max(0, len(made) - MOST_FIGURES))

    def groups(self) -> list[str]:
        """Return the groups to take means over: those that the suite names, or that of most attacks."""
        named = self.run.suite.get("groups") or {}
        if not named:
            return [self.axes.main_group] if self.axes.main_group else []
        return [group for group in self.axes.groups if len(named.get(group_name(group), ())) > 1][:MOST_GROUPS]

    def members(self, dataset: str, model: str, group: str, knowledge: str) -> tuple[str, ...]:
        """Return the attacks of a group that were run in a setting."""
        here = self.table.attacks.get((dataset, model, knowledge), set())
        return tuple(x for x in self.table.members(Place(dataset, model, group, "", knowledge)) if x in here)

    def averaged(self, dataset: str, model: str, group: str, knowledge: str) -> tuple[str, ...]:
        """Return the attacks of a group that a mean is taken over: those with a budget."""
        found = self.members(dataset, model, group, knowledge)
        return tuple(x for x in found if not self.table.unbounded(Place(dataset, model, x, "", knowledge)))

    @cached_property
    def judging(self) -> dict[str, Estimate]:
        """Milliseconds per image that each defense took to judge, over all that it judged in the run."""
        frame = self.run.costs
        if "defense" not in frame:
            return {}
        sums: dict[str, tuple[float, float]] = {}
        for kind, defense, seconds, images in zip(frame["kind"], frame["defense"], frame["seconds"], frame["images"]):
            spent, judged = as_number(seconds), as_number(images)
            if kind == "judge" and spent and judged:
                before = sums.get(as_text(defense), (0.0, 0.0))
                sums[as_text(defense)] = before[0] + spent, before[1] + judged
        return {
            name: Estimate("judging", "number", 1000 * seconds / images, None, None, int(images))
            for name, (seconds, images) in sums.items()
        }

    @cached_property
    def rocs(self) -> dict[tuple[str, ...], tuple[np.ndarray, np.ndarray]]:
        """ROC curves by data set, model, attack, defense, knowledge and seed."""
        frame = self.run.curves
        frame = frame[frame.curve == "roc"]
        x, y = frame["x"].to_numpy(), frame["y"].to_numpy()
        names = ("dataset", "model", "attack", "defense", "knowledge", "seed")
        return {key: (x[rows], y[rows]) for key, rows in grouped(frame, names).items()}

    @cached_property
    def planes(self) -> dict[tuple[str, ...], dict[tuple[str, str], tuple[np.ndarray, np.ndarray]]]:
        """States in planes by data set, model, attack and defense: by layer and `class N` or `shares`; of one seed."""
        frame = self.run.curves
        frame = frame[frame.curve.str.startswith("plane:")]
        frame = frame[frame.seed == (self.seeds[0] if self.seeds else "")]
        x, y = frame["x"].to_numpy(), frame["y"].to_numpy()
        found: dict[tuple[str, ...], dict[tuple[str, str], tuple[np.ndarray, np.ndarray]]] = {}
        for (*place, curve), rows in grouped(frame, ("dataset", "model", "attack", "defense", "curve")).items():
            layer, _, part = curve.removeprefix("plane:").rpartition(": ")
            found.setdefault(tuple(place), {})[layer, part] = x[rows], y[rows]
        return found

    def published_as(self, places: Iterable[Place], metrics: Sequence[str]) -> str:
        """Return the figure of the paper that a reference row of one of the cells names, "" for none."""
        wanted = list(places)
        for row in self.published:
            named = FIGURE.search(row.table)
            if not named or not row.is_of_a_cell or row.metric not in metrics:
                continue
            about = {name: text for name in Place._fields if (text := getattr(row, name))}
            if any(all(getattr(place, name) == text for name, text in about.items()) for place in wanted):
                return f"Figure {named[1]}"
        return ""


@dataclass(frozen=True)
class FiguresView:
    """Figures of a setting, and how many more it has than a page bears."""

    figures: tuple[FigureView, ...]
    left_out: int


@dataclass(frozen=True)
class CentralView:
    """A figure of a setting on the first page, by what all of its kind there have in common: `budget` or `price`."""

    about: Literal["budget", "price"]
    block: BlockView
    figure: FigureView
