"""Figures of a data set, a model and an attacker: numbers over budgets, ROC curves, score densities."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bench_report import findings, sentences
from bench_report.blocks import BlockView
from bench_report.charts.ladders import BUDGETS, Ladder, worst_cases
from bench_report.charts.lines import alike, interval_ends, joined_names, moves, names_at_ends, points_along, scaled
from bench_report.charts.means import mean_of
from bench_report.charts.specs import MOST_LINES, SERIES
from bench_report.charts.tradeoff import trade_off_figure
from bench_report.charts.vega import coordinate, coordinates, corners
from bench_report.measures import measure
from bench_report.table import Place, group_name, is_group
from bench_report.values import Estimate, FigureRow, FigureView
from bench_report.words import norm_text, plural
from benchmark import CLEAN

if TYPE_CHECKING:
    from bench_report.charts.figures import Figures


ROC_LINES = 2 * SERIES
WIDE = 30
"""The largest number of an axis over the smallest, from which on equal steps would squeeze the small ones together."""


@dataclass(frozen=True)
class Sweep:
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


class SettingFigures:
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

    def budgets(self) -> dict[str, list[Sweep]]:
        """Return the sweeps by norm: the worst case of several attacks, or each by itself, the hardest first."""
        norms: dict[str, list[Ladder]] = {}
        for whole in self.figures.budgets:
            ladder = whole.only(self.attacks, BUDGETS)
            if ladder is not None:
                norms.setdefault(self._norm(ladder), []).append(ladder)
        found: dict[str, list[Sweep]] = {}
        for norm, several in norms.items():
            together = self._worst_cases(several)
            names = joined_names([x.name for x in several])
            sweeps = [
                Sweep(
                    ladder,
                    f"{'Worst case' if together else ladder.name} over the budget{norm}",
                    f"the worst case per image over {names}"
                    if together
                    else f"attacks that differ in the budget alone ({ladder.name})",
                    {defense: self._withstood(ladder, defense) for defense in self.defenses},
                )
                for ladder in ([together] if together else several)
            ]
            found[norm] = sorted((x for x in sweeps if moves(x.lines)), key=lambda x: x.left)
        return found

    def over_budget(self, sweeps: Iterable[Sweep]) -> Iterator[FigureView]:
        """Yield a figure of each sweep."""
        facts, knowledge = self.figures.facts, self.block.knowledge
        for sweep in sweeps:
            self.drawn.add(sweep.ladder.labels)
            worst = is_group(sweep.ladder.rungs[0][0])
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
        worst = "worst_case_" if is_group(ladder.rungs[0][0]) else ""
        attacked = (self.estimate(label, defense, f"{worst}{joint}robust_accuracy") for label in ladder.labels)
        return [self.estimate(CLEAN, defense, f"{joint}clean_accuracy"), *attacked]

    # What a defense costs against what it is worth

    def trade_off(self) -> Iterator[FigureView]:
        """Yield clean accuracy against worst case, a mark per defense."""
        for scope in self.figures.facts.scopes:
            if (scope.dataset, scope.model, scope.knowledge) == self.block.setting:
                trade = findings.trade_off(self.figures.facts, scope)
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
        parts = [(group_name(group), self._members(group)) for group in self.figures.groups()]
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
                    {"n": number, "x": x, "y": y}
                    for number, attack in enumerate(attacks)
                    for x, y in corners(*curves[attack])
                ],
                "marks": [
                    {"n": number, "x": coordinate(x), "y": coordinate(y)}
                    for number, attack in enumerate(attacks)
                    for x, y in points_along(*curves[attack], number)
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
                title=f"Mean over {group_name(group)}",
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
                if moves(lines):
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
        if not moves(lines):
            return
        yield from self._lines(
            f"Mean over {group_name(group)}, by {ladder.option} of {ladder.name}",
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
        xs, option = scaled(ladder)
        spread = [x for x in xs if x > 0]
        wide = min(xs) >= 0 and len(spread) > 1 and max(spread) / min(spread) >= WIDE
        kind = "lines" + (("-log" if min(xs) > 0 else "-root") if wide else "")
        xs = coordinates(xs)
        for start in range(0, len(names), MOST_LINES):
            shown = names[start : start + MOST_LINES]
            drawn = alike(shown, lines)
            rows = [
                {"s": joined_names(together), "x": x, "y": coordinate(point.value), "at": at}
                | interval_ends(point, drawn, number)
                for number, together in enumerate(drawn)
                for x, (_, _, at), point in zip(xs, ladder.rungs, lines[together[0]])
                if point is not None
            ]
            rows[0] |= {"xt": option, "yt": measure(metric).title}
            part = f" ({start + 1}–{start + len(shown)} of {len(names)})" if len(names) > len(shown) else ""
            published = [
                {"s": joined_names(together), "x": x, "y": coordinate(point.reference), "at": at}
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
                        {"s": name, "x": x, "y": coordinate(point.value), "at": at}
                        for name in shown
                        for x, (_, _, at), point in zip(xs, ladder.rungs, (worst or {}).get(name, ()))
                        if point is not None
                    ],
                    "published": published,
                    "names": names_at_ends(drawn, lines, xs),
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


def _class_name(part: str, names: Sequence[str]) -> str:
    """Return the name of `class N`."""
    number = part.removeprefix("class ")
    return names[int(number)] if number.isdecimal() and int(number) < len(names) else part


def _from_clean(ladder: Ladder, metric: str) -> bool:
    """Return whether clean images are the attack of budget 0."""
    return ladder.option == "eps" and metric == "robust_accuracy"


def _published(area: Estimate | None) -> Estimate | None:
    if area is None or area.reference is None:
        return None
    return Estimate(area.metric, area.unit, area.reference, None, None, None)
