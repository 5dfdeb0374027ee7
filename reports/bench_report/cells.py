"""The page of a cell: measures, charts, threshold and gallery.

What a detector would do at other thresholds is counted here from the table of samples; every other number stands in a
table of the run.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from bench_report import sentences
from bench_report.blocks import BlockView
from bench_report.charts.plots import plot_chart
from bench_report.charts.vega import coordinate, coordinates, corners
from bench_report.facts import RunFacts
from bench_report.measures import MEASURES, Measure
from bench_report.probes import Probes
from bench_report.samples import Panels, Samples, class_names, file_of, packed
from bench_report.table import Place, Table, as_number, as_text, grouped, is_group
from bench_report.threshold import Judged, ThresholdView, threshold_view
from bench_report.values import AlarmView, CellView, ChartView, Estimate, Word
from bench_report.words import budget_text, norm_text, number_text
from benchmark import CLEAN, IDENTITY, SUMMARIES, ImageVerdict, Panel, PanelPart

if TYPE_CHECKING:
    from bench_report.probes import ProbeRow
    from benchmark import Run


MANY = 100
"""Cells beyond which a page shows, to readers without scripts, images of one kind alone: the others are counted."""
HEADLINES = {
    "clean": ("clean_accuracy", "joint_clean_accuracy", "clean_fpr"),
    "attack": ("robust_accuracy", "joint_robust_accuracy", "auroc", "tpr"),
    "group": ("worst_case_robust_accuracy", "worst_case_joint_robust_accuracy", "worst_case_auroc", "worst_case_tpr"),
}


class CellPages:
    """Makes the pages of a run's cells and groups, one after another.

    Args:
        blocks: as the report shows them; pages of a block stand together.
    """

    def __init__(
        self, run: Run, table: Table, facts: RunFacts, blocks: Sequence[BlockView], panels: Sequence[Panel]
    ) -> None:
        self.run = run
        self.facts = facts
        self.table = table
        self.blocks = blocks
        self.panels = panels
        self.seeds = table.seeds
        self._panels = Panels(run, panels)
        self._probes = Probes(run)
        self.samples = Samples(run, table, self._panels)

    def __iter__(self) -> Iterator[CellPage]:
        done = set()
        for block in self.blocks:
            if block.headline is None:
                continue
            defenses = [row.defense for row in block.headline.rows]
            columns = block.headline.columns
            for defense in defenses:
                places = [self._place(block, column.attack, defense) for column in columns]
                for number, (column, place) in enumerate(zip(columns, places)):
                    page = self.table.page(place)
                    if page in done or place not in self.table.by_place:
                        continue
                    done.add(page)
                    around = [
                        self.table.page(places[n]) if 0 <= n < len(places) else "" for n in (number - 1, number + 1)
                    ]
                    others = tuple(
                        Sibling(row.defense, row.cells[number])
                        for row in block.headline.rows
                        if row.defense != defense and row.cells[number].page
                    )
                    yield self._page(block, column.title, place, others, around)

    @cached_property
    def _pictured(self) -> set[str]:
        """The pages of the blocks whose images were kept."""
        return {block.page for block in self.blocks if self.samples.pictured(block)}

    def _place(self, block: BlockView, attack: str, defense: str) -> Place:
        return self.table.place(block.dataset, block.model, attack, defense, block.knowledge)

    def _page(
        self, block: BlockView, title: str, place: Place, others: tuple[Sibling, ...], around: Sequence[str]
    ) -> CellPage:
        group = is_group(place.attack)
        scope = "clean" if place.attack == CLEAN else "group" if group else "attack"
        rows = self._measures(place)
        by_name = {row.measure.name: row for row in rows}
        headline = [by_name[name] for name in HEADLINES[scope] if name in by_name]
        if (
            scope != "clean"
            and not {"auroc", "worst_case_auroc"} & {*by_name}
            and len(headline) > 1
            and self._no_rejection(headline)
        ):
            headline = headline[:1]
        members = tuple(
            Sibling(attack, self._alone(place._replace(attack=attack))) for attack in self.table.members(place)
        )
        norm, eps = self.table.budgets.get((place.dataset, place.attack), ("", ""))
        statuses = {s for seed, s in self.table.status.get(place, {}).items() if seed not in SUMMARIES}
        known_seeds = [seed for seed in self.seeds if seed in self.table.status.get(place, {})]
        samples = None if group or block.page not in self._pictured else self.samples.of_cell(place)
        return CellPage(
            page=self.table.page(place),
            block=block,
            attack=place.attack,
            attack_title="clean images" if scope == "clean" else title,
            defense=place.defense,
            threat="" if scope == "clean" else budget_text(norm, eps) if norm or eps else "",
            status="ok" if "ok" in statuses else "failed" if "failed" in statuses else "missing",
            failure=self.table.failure(place) if "failed" in statuses else "",
            alarms=self.table.alarms(place),
            notes=tuple(sentences.of_cell(self.facts, place)),
            headline=tuple(headline),
            measures=tuple(rows),
            seed_names=tuple(known_seeds) if len(self.seeds) > 1 else (),
            seeds=() if group else tuple(self._seed(block, place, seed) for seed in known_seeds),
            members=members,
            others=others,
            previous=around[0],
            next=around[1],
            samples="" if samples is None else packed(samples),
            sheets=() if samples is None else tuple(name for seed in samples.values() for name in seed["sheets"]),
            clean="" if scope == "clean" else self.table.page(place._replace(attack=CLEAN, knowledge="")),
            norm=norm_text(norm),
        )

    def _alone(self, place: Place) -> CellView:
        """Return what stands for an attack beside its group: nothing without a budget, it counts at the group's."""
        if self.table.unbounded(place):
            return CellView("undefined", page=self.table.page(place))
        return self.table.cell(place, "robust_accuracy")

    @staticmethod
    def _no_rejection(rows: Sequence[MeasureRow]) -> bool:
        return len({row.estimate.value for row in rows}) == 1

    def _measures(self, place: Place) -> list[MeasureRow]:
        found = self.table.by_place.get(place, {})
        names = [name for name in MEASURES if name in found] + [name for name in found if name not in MEASURES]
        rows = []
        for name in names:
            estimate = self.table.estimate(place, name)
            if estimate is not None:
                seeds = tuple(self.table.estimate(place, name, seed) for seed in self.seeds)
                rows.append(MeasureRow(self.table.measure(name), estimate, seeds if len(self.seeds) > 1 else ()))
        return rows

    def _seed(self, block: BlockView, place: Place, seed: str) -> SeedView:
        threshold = self._threshold(place, seed)
        charts = tuple(self._charts(place, seed, threshold))
        return SeedView(
            seed=seed,
            heading=sentences.charts_heading(chart.kind for chart in charts),
            charts=charts,
            threshold=threshold,
            plots=tuple(self._plots(place, seed)),
            strata=tuple(self._strata(place, seed)),
            probes=self._probes.of_cell(place, seed),
        )

    # Charts

    def _charts(self, place: Place, seed: str, threshold: ThresholdView | None) -> Iterator[ChartView]:
        curves = self._curves.get((*place, seed), {})
        start = None if threshold is None else threshold.operating
        if "roc" in curves:
            roc = curves["roc"]
            points = list(zip(roc["x"].tolist(), roc["y"].tolist()))
            point = []
            if threshold is not None and start is not None and threshold.successful:
                point = [
                    {"x": threshold.alarms[start] / threshold.successful,
                     "y": threshold.caught[start] / threshold.successful}
                ]  # fmt: skip
            reached = [(q, max(y for x, y in points if x <= q)) for q in (0.01, 0.05, 0.1, 0.2, 0.5)]
            yield ChartView(
                "roc",
                "ROC curve",
                "Successful adversarial images against the clean versions of the same images.",
                {
                    "curve": [{"x": x, "y": y} for x, y in corners(roc["x"], roc["y"])],
                    "point": point,
                },
                ("False-positive rate up to", "True-positive rate"),
                tuple((f"{100 * q:.0f} %", f"{100 * y:.1f} %") for q, y in reached),
            )
        kinds = {
            "score_density_clean": "clean",
            "score_density_success": "attack successful",
            "score_density_failed": "attack failed",
            "score_density_wrong": "wrong before the attack",
        }
        density = {words: curves[name] for name, words in kinds.items() if name in curves}
        if density:
            middles = next(iter(density.values()))["x"].tolist()
            shares = {words: bins["y"] / max(bins["y"].sum(), 1) for words, bins in density.items()}
            yield ChartView(
                "scores",
                "Scores",
                "How the scores spread. Attacks succeed or fail against the classifier alone, whatever the system "
                "answers. Outliers are counted in the outermost bins.",
                {
                    "bins": [
                        {"x": x, "share": coordinate(y), "kind": words}
                        for words, values in shares.items()
                        for x, y in zip(coordinates(middles), values.tolist())
                    ],
                    "cut": [] if threshold is None or start is None else [{"x": threshold.thresholds[start]}],
                },
                ("Score around", *density),
                tuple(
                    (number_text(x, "number"), *(f"{bins['y'][n]:.0f}" for bins in density.values()))
                    for n, x in enumerate(middles)
                ),
            )
        sweep = {
            words: list(zip(curves[name]["x"].tolist(), curves[name]["y"].tolist()))
            for name, words in (("accuracy_vs_eps", "robust accuracy"), ("success_vs_eps", "attack success"))
            if name in curves
        }
        if "margin_per_pass" in curves:
            x, middle = (curves["margin_per_pass"][name].tolist() for name in ("x", "y"))
            low, high = (curves[f"margin_per_pass_{end}"]["y"].tolist() for end in ("low", "high"))
            way = list(zip(x, middle, low, high))
            span = max(high) - min(low)
            shown = [way[n] for n in np.unique(np.linspace(0, len(way) - 1, 9).round().astype(int))]
            yield ChartView(
                "path",
                "Along the way of the attack",
                "The logit of the true class less the largest other one, at each pass of the attack through what it "
                "attacks: median and quartiles over some images. Below 0 an image is misclassified.",
                {
                    "path": [
                        {"x": coordinate(place)}
                        | {name: coordinate(one, span) for name, one in zip(("y", "low", "high"), margins)}
                        for place, *margins in way
                    ]
                },
                ("Pass", "Median margin", "Lower quartile", "Upper quartile"),
                tuple(
                    (number_text(one[0], "count"), *(number_text(value, "number") for value in one[1:]))
                    for one in shown
                ),
            )
        if "success_vs_distance" in curves:
            # Steps: between two distances nothing happens.
            x, y = (curves["success_vs_distance"][name] for name in ("x", "y"))
            norm, _ = self.table.budgets[place.dataset, place.attack]
            told = [(d, y[np.searchsorted(x, d, side="right") - 1]) for d in np.linspace(0, x[-1], 9).tolist()]
            yield ChartView(
                "distance",
                "Success against distance",
                f"Initially right images that are wrong within a distance ({norm_text(norm)}) of the clean image.",
                {"steps": [{"x": coordinate(a), "value": coordinate(b)} for a, b in zip(x.tolist(), y.tolist())]},
                ("Distance up to", "Attack success, %"),
                tuple((number_text(d, "distance"), number_text(share, "rate")) for d, share in told),
            )
        if sweep:
            norm, _ = self.table.budgets[place.dataset, place.attack]
            yield ChartView(
                "budget",
                "Success against budget",
                f"Attacks that differ in nothing but ε ({norm_text(norm)}). At 0 stand the clean images.",
                {
                    "sweep": [
                        {"eps": coordinate(x), "value": coordinate(y), "kind": words}
                        for words, points in sweep.items()
                        for x, y in points
                    ]
                },
                ("ε", *(f"{words}, %" for words in sweep)),
                tuple(
                    (number_text(x, "distance"), *(number_text(dict(line)[x], "rate") for line in sweep.values()))
                    for x, _ in next(iter(sweep.values()))
                ),
            )

    def _plots(self, place: Place, seed: str) -> Iterator[PlotsView]:
        """Yield what the panels draw of the points that they kept of a cell."""
        names = class_names(self.run, place.dataset)
        curves = self._curves.get((*place, seed), {})
        for panel in self.panels:
            prefix = f"{panel.title}: "
            kept = {
                name.removeprefix(prefix): (curve["x"], curve["y"])
                for name, curve in curves.items()
                if name.startswith(prefix)
            }
            if not kept:
                continue
            try:
                charts = tuple(filter(None, map(plot_chart, panel.of_cell(kept, names))))
            except Exception as error:  # a plugin must not cost the report
                yield PlotsView(panel.title, (), f"{type(error).__name__}: {error}")
                continue
            if charts:
                yield PlotsView(panel.title, charts)

    @cached_property
    def _curves(self) -> dict[tuple[str, ...], dict[str, dict[str, np.ndarray]]]:
        frame = self.run.curves
        found: dict[tuple[str, ...], dict[str, dict[str, np.ndarray]]] = {}
        x, y = frame["x"].to_numpy(), frame["y"].to_numpy()
        for key, rows in grouped(
            frame, ("dataset", "model", "attack", "defense", "knowledge", "seed", "curve")
        ).items():
            found.setdefault(key[:-1], {})[key[-1]] = {"x": x[rows], "y": y[rows]}
        return found

    # Thresholds

    @cached_property
    def _scored(self) -> tuple[dict[tuple[str, ...], np.ndarray], dict[str, np.ndarray]]:
        """Return rows of the cells with scores, and the columns of the samples."""
        frame = self.run.samples
        frame = frame[frame.score.notna()]
        columns: dict[str, np.ndarray] = {
            "sample": pd.factorize(frame["sample"])[0],
            "score": frame["score"].to_numpy(dtype=np.float64),
            "right": (frame["y"] == frame["label"]).to_numpy(dtype=bool, na_value=False),
            "base_right": (frame["y"] == frame["base_label"]).to_numpy(dtype=bool, na_value=False),
            "changed": (frame["label"] != frame["base_label"]).to_numpy(dtype=bool, na_value=True),
            "flagged": frame["flagged"].to_numpy(dtype=object),
            "success": frame["success"].fillna(False).to_numpy(dtype=bool),
        }
        return grouped(frame, ("dataset", "model", "attack", "defense", "knowledge", "seed")), columns

    def _threshold(self, place: Place, seed: str) -> ThresholdView | None:
        if place.attack == CLEAN:
            return None
        cells, columns = self._scored
        attacked = cells.get((*place, seed))
        clean = cells.get((*place._replace(attack=CLEAN, knowledge=""), seed))
        if clean is None:
            clean = cells.get((*place._replace(attack=CLEAN), seed))
        if attacked is None or clean is None:
            return None
        a, c = ({name: column[rows] for name, column in columns.items()} for rows in (attacked, clean))
        if len(attacked) != len(clean) or (a["sample"] != c["sample"]).any():
            return None
        attacked_answers, clean_answers = (Judged(**{name: x[name] for name in Judged._fields}) for x in (a, c))
        return threshold_view(attacked_answers, clean_answers, a["success"])

    # Gallery

    @cached_property
    def _gallery(self) -> dict[tuple[str, ...], list[dict[str, Any]]]:
        found: dict[tuple[str, ...], list[dict[str, Any]]] = {}
        for record in self.run.gallery.to_dict("records"):
            row = {str(name): value for name, value in record.items()}
            found.setdefault(tuple(as_text(row[name]) for name in IDENTITY), []).append(row)
        return found

    def _strata(self, place: Place, seed: str) -> Iterator[StratumView]:
        norm, eps = self.table.budgets.get((place.dataset, place.attack), ("", ""))
        key = (place.dataset, place.model, place.attack, norm, eps, place.defense, place.knowledge, seed)
        by_stratum: dict[str, list[dict[str, Any]]] = {}
        for row in self._gallery.get(key, ()):
            by_stratum.setdefault(as_text(row["stratum"]), []).append(row)
        for number, (name, rows) in enumerate(by_stratum.items()):
            title, definition = sentences.STRATA.get(name, (name, ""))
            of = int(as_number(rows[0]["stratum_n"]) or len(rows))
            shown = rows if not number or len(self._gallery) <= MANY else ()
            yield StratumView(name, title, definition, of, tuple(self._card(place, norm, row) for row in shown))

    def _card(self, place: Place, norm: str, row: Mapping[str, Any]) -> CardView:
        facts = (self.run.manifest.get("datasets") or {}).get(place.dataset) or {}
        names = class_names(self.run, place.dataset)
        shape = [int(side) for side in facts.get("image_shape") or (1, 1, 1)]
        y = int(row["y"])
        clean = partial(_verdict, row, "clean_")
        attacked = partial(_verdict, row, "") if as_text(row["adversarial"]) else None
        truth = _class(names, y)
        pictures = [("clean", "Clean", sentences.clean_alt(truth))]
        if attacked is not None:
            scale = as_number(row["scale"]) or 1.0
            pictures += [
                ("perturbation", f"Perturbation × {scale:g}", sentences.perturbation_alt(scale)),
                ("adversarial", "Attacked", sentences.attacked_alt(truth)),
            ]
        size = as_number(row["size"])
        explanation = file_of(self.run, row["explanation"]) if as_text(row["explanation"]) else ""
        return CardView(
            sample=as_text(row["sample"]),
            truth=truth,
            pictures=tuple(
                PictureView(file_of(self.run, row[which]), shape[-1], shape[-2], caption, alt)
                for which, caption, alt in pictures
            ),
            verdicts=tuple(
                _verdict_view(name, verdict(), y, names)
                for name, verdict in (("Clean", clean), ("Attacked", attacked))
                if verdict is not None
            ),
            size="" if size is None else f"{norm_text(norm)} size {number_text(size, 'distance')}",
            panels=tuple(self._panels.of(place, y, clean, attacked, explanation)),
        )


def _class(names: Sequence[str], label: int) -> str:
    return names[label] if 0 <= label < len(names) else "no class" if label < 0 else f"class {label}"


def _verdict(row: Mapping[str, Any], prefix: str) -> ImageVerdict:
    flagged = row[f"{prefix}flagged"]
    try:
        details = json.loads(as_text(row[f"{prefix}details"]) or "{}")
    except ValueError:
        details = {}
    return ImageVerdict(
        base_label=int(row[f"{prefix}base_label"]),
        label=int(row[f"{prefix}label"]),
        score=as_number(row[f"{prefix}score"]),
        flagged=None if flagged is None or flagged is pd.NA else bool(flagged),
        details=details if isinstance(details, dict) else {},
    )


def _verdict_view(name: str, verdict: ImageVerdict, y: int, names: Sequence[str]) -> VerdictView:
    return VerdictView(
        name=name,
        label=_class(names, verdict.label),
        right=verdict.label == y,
        base="" if verdict.base_label == verdict.label else _class(names, verdict.base_label),
        score="" if verdict.score is None else number_text(verdict.score, "number"),
        flag="" if verdict.flagged is None else "flagged" if verdict.flagged else "passed",
    )


@dataclass(frozen=True)
class PictureView:
    """An image file of the gallery; width and height in pixels."""

    file: str
    width: int
    height: int
    caption: str
    alt: str


@dataclass(frozen=True)
class VerdictView:
    """What was said of an image: a line of name and text, and whether it is as it should be."""

    name: str
    label: str
    right: bool
    base: str
    score: str
    flag: str


@dataclass(frozen=True)
class CardView:
    """An image of the gallery."""

    sample: str
    truth: str
    pictures: tuple[PictureView, ...]
    verdicts: tuple[VerdictView, ...]
    size: str
    panels: tuple[tuple[str, tuple[PanelPart, ...]], ...]


@dataclass(frozen=True)
class StratumView:
    """Images of one kind, and how many of the kind there are."""

    key: str
    title: str
    definition: str
    of: int
    cards: tuple[CardView, ...]


@dataclass(frozen=True)
class PlotsView:
    """What a panel draws of a cell, or why it could not."""

    title: str
    charts: tuple[ChartView, ...]
    failure: str = ""


@dataclass(frozen=True)
class SeedView:
    """What one seed of a cell shows."""

    seed: str
    heading: str
    charts: tuple[ChartView, ...]
    threshold: ThresholdView | None
    plots: tuple[PlotsView, ...]
    strata: tuple[StratumView, ...]
    probes: tuple[ProbeRow, ...] = ()


@dataclass(frozen=True)
class MeasureRow:
    """A measure of a cell: over all seeds, and of each seed where there are several.

    Attributes:
    """

    measure: Measure
    estimate: Estimate
    seeds: tuple[Estimate | None, ...]


@dataclass(frozen=True)
class Sibling:
    """Another cell of the same block."""

    name: str
    cell: CellView


@dataclass(frozen=True)
class CellPage:
    """The page of a cell, or of a group of attacks.

    Attributes:
        headline: measures that stand first.
        alarms: what puts its numbers in doubt.
        notes: what has to be known of the defense and the attacker.
        failure: anchor of the reason on the first page, "" for none.
        samples: data of the browser of images, packed, "" where none were kept; `sheets` are the files that it names.
        clean: page of the clean cell that it also reads.
        members: cells of the group's attacks.
        others: what the other defenses do under the same attack.
    """

    page: str
    block: BlockView
    attack: str
    attack_title: str
    defense: str
    threat: str
    status: Literal["ok", "failed", "missing"]
    failure: str
    alarms: tuple[AlarmView, ...]
    notes: tuple[tuple[Word, ...], ...]
    headline: tuple[MeasureRow, ...]
    measures: tuple[MeasureRow, ...]
    seed_names: tuple[str, ...]
    seeds: tuple[SeedView, ...]
    members: tuple[Sibling, ...]
    others: tuple[Sibling, ...]
    previous: str
    next: str
    samples: str
    sheets: tuple[str, ...]
    clean: str
    norm: str
