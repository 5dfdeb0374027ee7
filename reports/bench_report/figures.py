"""The figures of the papers, drawn of whatever a run has: nothing here knows a suite.

A setting (data set, model, attacker) gets ROC curves with a line per attack, means over the attacks of a group beside
the worst case, and lines over a number in which attacks or defenses differ and in nothing else. A mean of measured
accuracies is the only number made here; all others stand in the tables of the run.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

import numpy as np

from bench_report import sentences
from bench_report.charts import COLOURS, MOST_LINES, SERIES, coordinate
from bench_report.facts import RunFacts
from bench_report.ladders import BUDGETS, Ladder, ladders, worst_cases
from bench_report.measures import measure
from bench_report.table import Place, Table, as_number, as_text, grouped, read_axes
from bench_report.tradeoff import trade_off_figure
from bench_report.view import (
    BlockView,
    CentralView,
    Estimate,
    FigureRow,
    FiguresView,
    FigureView,
    MeansCell,
    MeansRow,
    MeansView,
)
from bench_report.words import norm_text, plural
from benchmark import CLEAN, WORST_OF, is_of_a_cell

if TYPE_CHECKING:
    from benchmark import Run

ROC_LINES = 2 * SERIES
ROC_MARKS = 3
"""Marks on a ROC curve."""
MOST_FIGURES = 24
"""Figures of a page; more would be a grid of charts that nobody reads."""
MOST_GROUPS = 4
MOST_CENTRAL, MOST_BUDGETS = 6, 4
"""Figures of the first page, and how many of these may be over budgets."""
NAMED = SERIES
"""Lines of a figure that have their names and intervals beside them; of more it could not be told whose they are."""
NAME_HEIGHT = 0.07
"""What a name in a figure takes up of its height."""
WIDE = 30
"""The largest number of an axis over the smallest, from which on equal steps would squeeze the small ones together."""
MOST_MEANS = 240
"""Cells of the table of means on the first page, which has to stay small."""
FIGURE = re.compile(r"\bfig(?:ure|\.)\s*(\w+)", re.IGNORECASE)


# -- means -------------------------------------------------------------------------------------------------------------


def mean_of(estimates: Iterable[Estimate | None]) -> Estimate | None:
    """Return the mean of values that stand for one measure; None where one is missing, or there are none.

    It has no interval: the attacks hit the same images.
    """
    found = list(estimates)
    present = [estimate for estimate in found if estimate is not None]
    if not present or len(present) < len(found):
        return None
    first = present[0]
    value = math.fsum(estimate.value for estimate in present) / len(present)
    return Estimate(f"mean_{first.metric}", first.unit, value, None, None, None)


def lowest(estimates: Iterable[Estimate | None]) -> Estimate | None:
    """Return the lowest of the estimates, None where one is missing."""
    found = list(estimates)
    present = [estimate for estimate in found if estimate is not None]
    return min(present, key=lambda x: x.value) if present and len(present) == len(found) else None


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
        self.rows = tuple((run.suite.get("reference") or {}).get("rows") or ())

    # The first page

    def central(self, blocks: Sequence[BlockView]) -> tuple[CentralView, ...]:
        """Return the figures that answer what a run asks: over its budgets, then robustness and its price.

        Of settings and attacks beyond a few there are more on the pages of the settings.
        """
        settings = [_Setting(self, block) for block in blocks if block.headline is not None]
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
                    views.append(MeansView(knowledge, _bare(group), tuple(self.axes.defenses), rows))
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
        setting = _Setting(self, block)
        made = list(setting.all())
        return FiguresView(tuple(made[:MOST_FIGURES]), max(0, len(made) - MOST_FIGURES))

    def groups(self) -> list[str]:
        """Return the groups to take means over: those that the suite names, or that of most attacks."""
        named = self.run.suite.get("groups") or {}
        if not named:
            return [self.axes.main_group] if self.axes.main_group else []
        return [group for group in self.axes.groups if len(named.get(_bare(group), ())) > 1][:MOST_GROUPS]

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
        for row in filter(is_of_a_cell, self.rows):
            named = FIGURE.search(as_text(row.get("table")))
            if not named or as_text(row.get("metric")) not in metrics:
                continue
            about = {name: text for name in Place._fields if (text := as_text(row.get(name)))}
            if any(all(getattr(place, name) == text for name, text in about.items()) for place in wanted):
                return f"Figure {named[1]}"
        return ""


def _bare(group: str) -> str:
    return group.removeprefix(WORST_OF)


@dataclass(frozen=True)
class _Sweep:
    """What defenses withstand of the same attacks over the budget; `attacks` are these in words."""

    ladder: Ladder
    title: str
    attacks: str
    lines: Mapping[str, Sequence[Estimate | None]]

    @property
    def left(self) -> float:
        """What the largest budget leaves, over the defenses."""
        last = [line[-1].value for line in self.lines.values() if line[-1] is not None]
        return math.fsum(last) / len(last) if last else math.inf


class _Setting:
    """The figures of one data set, model and attacker."""

    def __init__(self, figures: Figures, block: BlockView) -> None:
        assert block.headline is not None
        self.figures = figures
        self.table = figures.table
        self.block = block
        self.defenses = [row.defense for row in block.headline.rows]
        here = {column.attack for column in block.headline.columns if column.kind == "attack"}
        self.attacks = [attack for attack in figures.axes.attacks if attack in here]
        self.drawn: set[tuple[str, ...]] = set()

    def all(self) -> Iterator[FigureView]:
        """Yield the figures."""
        yield from self.over_budgets()
        yield from self.trade_off()
        yield from self.rocs()
        yield from self.means()
        yield from self.planes()
        yield from self.over_defenses()
        yield from self.over_attacks()

    def place(self, attack: str, defense: str) -> Place:
        """Return where a cell of the setting stands."""
        return self.table.place(self.block.dataset, self.block.model, attack, defense, self.block.knowledge)

    def estimate(self, attack: str, defense: str, metric: str) -> Estimate | None:
        """Return a measure of a cell, over all seeds."""
        return self.table.estimate(self.place(attack, defense), metric)

    # What becomes of all defenses as the budget grows

    def over_budgets(self) -> Iterator[FigureView]:
        """Yield, per norm, the worst case over the same attacks at each budget; else a figure per attack with budgets.

        Labelled rightly or rejected, from the clean images on, a line per defense.
        """
        for several in self.budgets().values():
            yield from self.over_budget(several)

    def budgets(self) -> dict[str, list[_Sweep]]:
        """Return the sweeps by norm: the worst case of several attacks, or each by itself, the hardest first."""
        norms: dict[str, list[Ladder]] = {}
        for whole in self.figures.budgets:
            ladder = whole.only(self.attacks, BUDGETS)
            if ladder is not None:
                norms.setdefault(self._norm(ladder), []).append(ladder)
        found: dict[str, list[_Sweep]] = {}
        for norm, several in norms.items():
            together = self._worst_cases(several)
            names = _joined([x.name for x in several])
            sweeps = [
                _Sweep(
                    ladder,
                    f"{'Worst case' if together else ladder.name} over the budget{norm}",
                    f"the worst case per image over {names}"
                    if together
                    else f"attacks that differ in the budget alone ({ladder.name})",
                    {defense: self._withstood(ladder, defense) for defense in self.defenses},
                )
                for ladder in ([together] if together else several)
            ]
            found[norm] = sorted((x for x in sweeps if _moves(x.lines)), key=lambda x: x.left)
        return found

    def over_budget(self, sweeps: Iterable[_Sweep]) -> Iterator[FigureView]:
        """Yield a figure of each sweep."""
        facts, knowledge = self.figures.facts, self.block.knowledge
        for sweep in sweeps:
            self.drawn.add(sweep.ladder.labels)
            worst = sweep.ladder.rungs[0][0].startswith(WORST_OF)
            lines = {x: [self.place(attack, x) for attack, _, _ in sweep.ladder.rungs] for x in sweep.lines}
            yield from self._lines(
                sweep.title,
                sentences.over_budgets(facts, knowledge, lines, sweep.attacks),
                "worst_case_joint_robust_accuracy" if worst else "joint_robust_accuracy",
                Ladder("eps", "", ((CLEAN, 0.0, "0"), *sweep.ladder.rungs)),
                sweep.lines,
                brief=sentences.budgets_brief(facts, knowledge, lines, sweep.attacks),
            )

    def _worst_cases(self, several: Sequence[Ladder]) -> Ladder | None:
        """Return the groups of attacks that hold the same attacks at most budgets, None where there are none."""
        if len(several) < 2:
            return None
        groups = {group: self._members(group) for group in self.figures.axes.groups}
        alike = worst_cases(several, groups, self._unbounded).values()
        return max((x for x in alike if len(x.rungs) >= BUDGETS), key=lambda x: len(x.rungs), default=None)

    def _unbounded(self, attack: str) -> bool:
        return self.table.unbounded(self.place(attack, ""))

    def _withstood(self, ladder: Ladder, defense: str) -> list[Estimate | None]:
        """Return what is labelled rightly or rejected, of clean images first; what rejects nothing has one accuracy."""
        joint = "joint_" if self.estimate(CLEAN, defense, "clean_fpr") is not None else ""
        worst = "worst_case_" if ladder.rungs[0][0].startswith(WORST_OF) else ""
        attacked = (self.estimate(label, defense, f"{worst}{joint}robust_accuracy") for label in ladder.labels)
        return [self.estimate(CLEAN, defense, f"{joint}clean_accuracy"), *attacked]

    # What a defense costs against what it is worth

    def trade_off(self) -> Iterator[FigureView]:
        """Yield clean accuracy against worst case, a mark per defense."""
        for scope in self.figures.facts.scopes:
            if (scope.dataset, scope.model, scope.knowledge) == self.block.setting:
                trade = self.figures.facts.trade_off(scope)
                if trade is not None:
                    yield trade_off_figure(trade, self.figures.judging)

    # ROC curves

    def rocs(self) -> Iterator[FigureView]:
        """Yield, per defense with scores and group of the suite, its ROC curves, a line per attack."""
        for defense in self.defenses:
            for seed in self.figures.seeds:
                curves = {
                    attack: self.figures.rocs[key]
                    for attack in self.attacks
                    if (key := (*self.place(attack, defense), seed)) in self.figures.rocs
                }
                if curves:
                    break
            else:
                continue
            for part, among in self._parts():
                attacks = [attack for attack in among if attack in curves]
                # A single line stands on the page of its cell.
                for start in range(0, len(attacks), ROC_LINES) if len(attacks) > 1 else ():
                    title = f"ROC curves of {defense}{part}"
                    chosen = attacks[start : start + ROC_LINES]
                    if len(attacks) > ROC_LINES:
                        title += f", attacks {start + 1}–{start + len(chosen)} of {len(attacks)}"
                    yield self._roc(title, defense, seed, {attack: curves[attack] for attack in chosen})

    def _parts(self) -> list[tuple[str, Sequence[str]]]:
        """Return the attacks by the suite's groups where each is in one of them, otherwise all together."""
        parts = [(_bare(group), self._members(group)) for group in self.figures.groups()]
        if len(parts) > 1 and sorted(x for _, members in parts for x in members) == sorted(self.attacks):
            return [(f", {group}", members) for group, members in parts]
        return [("", self.attacks)]

    def _roc(
        self, title: str, defense: str, seed: str, curves: Mapping[str, tuple[np.ndarray, np.ndarray]]
    ) -> FigureView:
        attacks = list(curves)
        places = [self.place(attack, defense) for attack in attacks]
        areas = [self.table.estimate(place, "auroc", seed) for place in places]
        published = any(area is not None and area.reference is not None for area in areas)
        paper = self.figures.published_as(places, ("auroc", "auroc_all", "tpr", "fpr"))
        how = (
            "Successful adversarial images against the clean versions of the same images, a line per attack; in the "
            "legend the area under it. Dashes on the diagonal: guessing."
        )
        if len(self.figures.seeds) > 1:
            how += f" Seed {seed} alone."
        if paper:
            how += f" As the paper's {paper}, as far as this setting goes."
        return FigureView(
            kind="rocs",
            title=title,
            how=how,
            data={
                "curves": [
                    {"n": number, "order": order, "x": coordinate(x), "y": coordinate(y)}
                    for number, attack in enumerate(attacks)
                    for order, (x, y) in enumerate(zip(*(axis.tolist() for axis in curves[attack])))
                ],
                "marks": [
                    {"n": number, "x": coordinate(x), "y": coordinate(y)}
                    for number, attack in enumerate(attacks)
                    for x, y in _along(*curves[attack], number)
                ],
                "names": [
                    {"n": number, "s": attack if area is None else f"{attack} · {area.text}"}
                    for number, (attack, area) in enumerate(zip(attacks, areas))
                ],
            },
            heads=("Attack",),
            columns=("AUROC", "Published") if published else ("AUROC",),
            rows=tuple(
                FigureRow((attack,), (area, _published(area)) if published else (area,), self.table.page(place))
                for attack, area, place in zip(attacks, areas, places)
            ),
        )

    # Means over the attacks of a group

    def means(self) -> Iterator[FigureView]:
        """Yield, per group, the mean over its attacks and the worst case, a bar per defense."""
        seen = set()
        for group in self.figures.groups():
            members = self.figures.averaged(self.block.dataset, self.block.model, group, self.block.knowledge)
            attacks = tuple(attack for attack in self.attacks if attack in members)
            if len(attacks) < 2 or attacks in seen:
                continue
            seen.add(attacks)
            rows = []
            for defense in self.defenses:
                estimates = [self.estimate(attack, defense, "robust_accuracy") for attack in attacks]
                worst = self.estimate(group, defense, "worst_case_robust_accuracy")
                rows.append((defense, mean_of(estimates), worst))
            if sum(mean is not None for _, mean, _ in rows) < 2:
                continue
            yield FigureView(
                kind="means",
                title=f"Mean over {_bare(group)}",
                how=f"Robust accuracy, mean over {plural(len(attacks), 'attack')}; no bar where one of them has no "
                "number. A mean hides the attack that breaks a defense: the diamond is the worst case per image.",
                data={
                    "bars": [
                        {"defense": defense, "mean": coordinate(mean.value)}
                        | ({} if worst is None else {"worst": coordinate(worst.value)})
                        for defense, mean, worst in rows
                        if mean is not None
                    ]
                },
                heads=("Defense",),
                columns=("Mean, %", "Worst case, %"),
                rows=tuple(
                    FigureRow((defense,), (mean, worst), self.table.page(self.place(group, defense)))
                    for defense, mean, worst in rows
                ),
            )

    def _members(self, group: str) -> tuple[str, ...]:
        found = self.figures.members(self.block.dataset, self.block.model, group, self.block.knowledge)
        return tuple(attack for attack in self.attacks if attack in found)

    # Hidden states in a plane

    def planes(self) -> Iterator[FigureView]:
        """Yield, per layer that the suite names, a figure of each defense's network: its states of clean images."""
        found = {
            (defense, *known): points
            for defense in self.defenses
            for known, points in self.figures.planes.get(self.place(CLEAN, defense)[:4], {}).items()
        }
        facts = (self.figures.run.manifest.get("datasets") or {}).get(self.block.dataset) or {}
        names = tuple(map(str, facts.get("class_names") or ()))
        for layer in dict.fromkeys(layer for _, layer, _ in found):
            for defense in self.defenses:
                shares = found.get((defense, layer, "shares"))
                if shares is None:
                    continue
                rows = [
                    {"x": coordinate(x), "y": coordinate(y), "s": _class_name(part, names)}
                    for (of, at, part), points in found.items()
                    if (of, at) == (defense, layer) and part != "shares"
                    for x, y in zip(*(axis.tolist() for axis in points))
                ]
                if not rows:
                    continue
                first, second = (f"{100 * share:.0f} % of the variance" for share in shares[1].tolist())
                rows[0] |= {"xt": first, "yt": second}
                metric = "feature_separation" + ("" if layer == "penultimate" else f":{layer}")
                separation = self.estimate(CLEAN, defense, metric)
                yield FigureView(
                    kind="plane",
                    title=f"Features of {defense}, layer {layer}",
                    how="Hidden states of clean images, the same for every network, in the plane of their two largest "
                    "variances, by class."
                    + ("" if separation is None else f" Distance between classes over that within: {separation.text}.")
                    + " What lies apart in a plane does so in the layer; what overlaps in it need not.",
                    data={"points": rows},
                    heads=("Network",),
                    columns=("Feature separation",),
                    rows=(FigureRow((defense,), (separation,), self.table.page(self.place(CLEAN, defense))),),
                )

    # Lines over a number of the defense

    def over_defenses(self) -> Iterator[FigureView]:
        """Yield lines over a number in which defenses differ: a line per attack, and the means of all data sets."""
        for whole in self.figures.defenses:
            ladder = whole.only(self.defenses)
            if ladder is None:
                continue
            for group in self.figures.groups():
                yield from self._line_search(ladder, group)
            for metric in ("robust_accuracy", "auroc"):
                clean = [(CLEAN, "clean")] if metric == "robust_accuracy" else []
                lines = {
                    title: [
                        self.estimate(attack, label, "clean_accuracy" if attack == CLEAN else metric)
                        for label in ladder.labels
                    ]
                    for attack, title in [*clean, *((attack, attack) for attack in self.attacks)]
                }
                if _moves(lines):
                    yield from self._lines(
                        f"{measure(metric).title} over {ladder.option} of {ladder.name}",
                        f"Defenses that differ in {ladder.option} and in nothing else, a line per attack.",
                        metric,
                        ladder,
                        lines,
                    )

    def _line_search(self, ladder: Ladder, group: str) -> Iterator[FigureView]:
        settings = [
            place.dataset
            for place in self.table.by_place
            if (place.model, place.attack, place.knowledge) == (self.block.model, group, self.block.knowledge)
        ]
        datasets = [name for name in self.figures.axes.datasets if name in set(settings)][:SERIES]
        lines, worst = {}, {}
        for dataset in datasets:
            attacks = self.figures.averaged(dataset, self.block.model, group, self.block.knowledge)
            if len(attacks) < 2:
                continue
            places = [Place(dataset, self.block.model, group, label, self.block.knowledge) for label in ladder.labels]
            lines[dataset] = [
                mean_of(self.table.estimate(place._replace(attack=attack), "robust_accuracy") for attack in attacks)
                for place in places
            ]
            worst[dataset] = [self.table.estimate(place, "worst_case_robust_accuracy") for place in places]
        if not _moves(lines):
            return
        yield from self._lines(
            f"Mean over {_bare(group)}, by {ladder.option} of {ladder.name}",
            f"Defenses that differ in {ladder.option} and in nothing else, a line per data set with this model. A mean "
            "hides the attack that breaks a defense: diamonds are the worst case per image.",
            "robust_accuracy",
            ladder,
            lines,
            worst,
        )

    # Lines over a number of the attack

    def over_attacks(self) -> Iterator[FigureView]:
        """Yield lines over a number in which attacks differ, such as eps: a line per defense, then one per attack."""
        mine = [ladder for whole in self.figures.attacks if (ladder := whole.only(self.attacks)) is not None]
        for ladder in mine:
            rejects = any(self.estimate(CLEAN, defense, "clean_fpr") is not None for defense in self.defenses)
            # Where nothing is rejected and no worst case was drawn, the figure of this accuracy stands first already.
            first = ladder.option == "eps" and not rejects and ladder.labels in self.drawn
            for metric in ("auroc",) if first else ("robust_accuracy", "auroc"):
                lines = {defense: self._rungs(ladder, defense, metric) for defense in self.defenses}
                yield from self._lines(
                    f"{measure(metric).title} over {ladder.option} of {ladder.name}{self._norm(ladder)}",
                    f"Attacks that differ in {ladder.option} and in nothing else, a line per defense."
                    + (" At 0 stand the clean images." if _from_clean(ladder, metric) else ""),
                    metric,
                    self._with_clean(ladder, metric),
                    lines,
                )
        alike: dict[tuple[str, str], list[Ladder]] = {}
        for ladder in mine:
            alike.setdefault((ladder.option, self._norm(ladder)), []).append(ladder)
        for (option, norm), several in alike.items():
            for defense in self.defenses if len(several) > 1 else ():
                yield from self._of_one_defense(defense, option, norm, several)

    def _of_one_defense(self, defense: str, option: str, norm: str, several: Sequence[Ladder]) -> Iterator[FigureView]:
        numbers = {value: text for ladder in several for _, value, text in ladder.rungs}
        rungs = tuple(("", value, numbers[value]) for value in sorted(numbers))
        joined = self._with_clean(Ladder(option, "", rungs), "robust_accuracy")
        lines: dict[str, list[Estimate | None]] = {}
        for ladder in several:
            known = dict(
                zip(
                    (value for _, value, _ in self._with_clean(ladder, "robust_accuracy").rungs),
                    self._rungs(ladder, defense, "robust_accuracy"),
                )
            )
            lines[ladder.name] = [known.get(value) for _, value, _ in joined.rungs]
        places = [self.place(label, defense) for ladder in several for label in ladder.labels]
        paper = self.figures.published_as(places, ("robust_accuracy",))
        yield from self._lines(
            f"Attacks on {defense} over {option}{norm}",
            f"A line per attack; the points of one differ in {option} and in nothing else."
            + (" At 0 stand the clean images." if _from_clean(joined, "robust_accuracy") else "")
            + (f" As the paper's {paper}, as far as this setting goes." if paper else ""),
            "robust_accuracy",
            joined,
            lines,
        )

    def _norm(self, ladder: Ladder) -> str:
        norms = {self.table.budgets.get((self.block.dataset, label), ("", ""))[0] for label in ladder.labels}
        return f", {norm_text(norms.pop())}" if len(norms) == 1 and norms != {""} else ""

    def _with_clean(self, ladder: Ladder, metric: str) -> Ladder:
        if not _from_clean(ladder, metric):
            return ladder
        return Ladder(ladder.option, ladder.name, ((CLEAN, 0.0, "0"), *ladder.rungs))

    def _rungs(self, ladder: Ladder, defense: str, metric: str) -> list[Estimate | None]:
        return [
            self.estimate(label, defense, "clean_accuracy" if label == CLEAN else metric)
            for label in self._with_clean(ladder, metric).labels
        ]

    # All lines

    def _lines(
        self,
        title: str,
        how: str,
        metric: str,
        ladder: Ladder,
        lines: Mapping[str, Sequence[Estimate | None]],
        worst: Mapping[str, Sequence[Estimate | None]] | None = None,
        brief: str = "",
    ) -> Iterator[FigureView]:
        """Yield a figure of the lines of two points or more besides clean images; several where lines are many."""
        attacked = [n for n, (_, value, _) in enumerate(ladder.rungs) if value]
        names = [name for name, points in lines.items() if sum(points[n] is not None for n in attacked) > 1]
        xs, option = _scaled(ladder)
        spread = [x for x in xs if x > 0]
        wide = min(xs) >= 0 and len(spread) > 1 and max(spread) / min(spread) >= WIDE
        kind = "lines" + (("-log" if min(xs) > 0 else "-root") if wide else "")
        for start in range(0, len(names), MOST_LINES):
            shown = names[start : start + MOST_LINES]
            drawn = _same(shown, lines)
            rows = [
                {"s": _joined(together), "x": coordinate(x), "y": coordinate(point.value), "at": at}
                | _ends(point, drawn, number)
                for number, together in enumerate(drawn)
                for x, (_, _, at), point in zip(xs, ladder.rungs, lines[together[0]])
                if point is not None
            ]
            rows[0] |= {"xt": option, "yt": measure(metric).title}
            part = f" ({start + 1}–{start + len(shown)} of {len(names)})" if len(names) > len(shown) else ""
            published = [
                {"s": _joined(together), "x": coordinate(x), "y": coordinate(point.reference), "at": at}
                for together in drawn
                for x, (_, _, at), point in zip(xs, ladder.rungs, lines[together[0]])
                if point is not None and point.reference is not None
            ]
            bars = sentences.bars(p for line in lines.values() for p in line) if any("low" in x for x in rows) else ""
            yield FigureView(
                kind=kind,
                title=title + part,
                how=how
                + (" Lines that coincide are one." if len(drawn) < len(shown) else "")
                + (
                    sentences.bars(p for line in lines.values() for p in line)
                    if any("low" in row for row in rows)
                    else ""
                )
                + (" Squares: what was published." if published else ""),
                data={
                    "lines": rows,
                    "worst": [
                        {"s": name, "x": coordinate(x), "y": coordinate(point.value), "at": at}
                        for name in shown
                        for x, (_, _, at), point in zip(xs, ladder.rungs, (worst or {}).get(name, ()))
                        if point is not None
                    ],
                    "published": published,
                    "names": _named(drawn, lines, xs),
                },
                heads=(ladder.option,),
                columns=tuple(
                    column for name in shown for column in ((name, f"{name}, worst case") if worst else (name,))
                ),
                rows=tuple(
                    FigureRow(
                        (at,),
                        tuple(
                            cell
                            for name in shown
                            for cell in ((lines[name][n], worst[name][n]) if worst else (lines[name][n],))
                        ),
                    )
                    for n, (_, _, at) in enumerate(ladder.rungs)
                ),
                brief=brief + bars if brief else "",
            )


def _along(x: np.ndarray, y: np.ndarray, number: int) -> Iterator[tuple[float, float]]:
    """Yield some points of a curve for the marks that tell it from others; no two curves have them at one place."""
    way = np.concatenate([[0.0], np.cumsum(np.hypot(np.diff(x), np.diff(y)))])
    for share in (np.arange(ROC_MARKS) + (number % SERIES + 1) / (SERIES + 1)) / ROC_MARKS:
        at = int(np.searchsorted(way, share * way[-1]))
        yield float(x[at]), float(y[at])


def _class_name(part: str, names: Sequence[str]) -> str:
    """Return the name of `class N`."""
    number = part.removeprefix("class ")
    return names[int(number)] if number.isdecimal() and int(number) < len(names) else part


def _from_clean(ladder: Ladder, metric: str) -> bool:
    """Return whether clean images are the attack of budget 0."""
    return ladder.option == "eps" and metric == "robust_accuracy"


def _moves(lines: Mapping[str, Sequence[Estimate | None]]) -> bool:
    """Return whether the number matters to the measure: what a detector lets its classifier say never changes."""
    return any(len({point.value for point in points if point is not None}) > 1 for points in lines.values())


def _same(names: Sequence[str], lines: Mapping[str, Sequence[Estimate | None]]) -> list[list[str]]:
    """Return the names, those of equal lines together."""
    together: dict[tuple[float | None, ...], list[str]] = {}
    for name in names:
        together.setdefault(tuple(None if p is None else p.value for p in lines[name]), []).append(name)
    return list(together.values())


def _joined(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _named(
    drawn: Sequence[Sequence[str]], lines: Mapping[str, Sequence[Estimate | None]], xs: Sequence[float]
) -> list[dict[str, Any]]:
    """Return where a few lines have their names: right of their last points, moved apart where these are close."""
    if not 1 < len(drawn) <= NAMED:
        return []
    ends = []
    for number, names in enumerate(drawn):
        x, point = [(x, point) for x, point in zip(xs, lines[names[0]]) if point is not None][-1]
        before = next(p.value for p in lines[names[0]] if p is not None)
        ends.append((point.value, before, x, number))
    ends.sort(reverse=True)  # lines that end alike stand in the order of their beginnings
    heights: list[float] = []
    for rank, (value, *_) in enumerate(ends):
        highest = 1 - NAME_HEIGHT * rank if not heights else heights[-1] - NAME_HEIGHT
        heights.append(min(value, highest))
    for rank in range(len(ends) - 1, -1, -1):  # none below the axis
        heights[rank] = max(heights[rank], NAME_HEIGHT * (len(ends) - 1 - rank))
    return [
        {"s": _joined(drawn[number]), "colour": COLOURS[number], "x": coordinate(x), "y": coordinate(height)}
        | {"end": coordinate(value)}
        for height, (value, _, x, number) in zip(heights, ends)
    ]


def _ends(point: Estimate, drawn: Sequence[Sequence[str]], number: int) -> dict[str, Any]:
    """Return the ends of an interval that is drawn: among many lines it could not be told whose it is."""
    if len(drawn) > NAMED or point.low is None or point.high is None:
        return {}
    return {"low": coordinate(point.low), "high": coordinate(point.high), "colour": COLOURS[number]}


def _scaled(ladder: Ladder) -> tuple[list[float], str]:
    """Return the numbers with a title; `4/255` and `8/255` are 4 and 8, `in 1/255`."""
    bottoms = {text.partition("/")[2] for _, value, text in ladder.rungs if value}
    if len(bottoms) == 1 and bottoms != {""}:
        (bottom,) = bottoms
        return [float(text.partition("/")[0]) for _, _, text in ladder.rungs], f"{ladder.option}, in 1/{bottom}"
    return [value for _, value, _ in ladder.rungs], ladder.option


def _published(area: Estimate | None) -> Estimate | None:
    if area is None or area.reference is None:
        return None
    return Estimate(area.metric, area.unit, area.reference, None, None, None)
