"""From runs to what a report shows.

Nothing is computed here that a table of the run does not hold, apart from rounding, differences between two shown
numbers, and sums of costs.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pandas as pd
import yaml

from bench_report import sentences
from bench_report.blocks import BlockBuilder, same_n
from bench_report.cells import CellPages
from bench_report.checklist import Checklist
from bench_report.compare import compare_runs
from bench_report.facts import RunFacts
from bench_report.figures import Figures
from bench_report.measures import MEASURES, Measure
from bench_report.probes import Probes
from bench_report.published import published_tables
from bench_report.table import (
    Place,
    Row,
    Table,
    as_count,
    as_number,
    as_text,
    read_alarms,
    read_axes,
    read_comparisons,
    read_groups,
    read_metrics,
    read_trust,
)
from bench_report.view import (
    AlarmView,
    AssessedRow,
    BlockView,
    CellView,
    CostRow,
    CostView,
    DatasetView,
    Estimate,
    FailedCell,
    FailureView,
    ModelView,
    Notice,
    OverviewRow,
    OverviewView,
    ProvenanceView,
    ReportView,
    RunView,
    TaskRow,
    VerdictLine,
    VerdictsView,
)
from bench_report.words import moment, moment_text, plural, seconds_text
from benchmark import BARE, CLEAN, SUMMARIES, WORST_OF, Panel

if TYPE_CHECKING:
    from benchmark import Run

SMALL_N = 200
"""Fewer images than this are said aloud: at a rate of one half the interval is then wider than 13 points."""
SLOWEST = 20
"""Tasks listed one by one in the costs."""


@dataclass(frozen=True)
class Report:
    """A report: what its first page and the pages of its blocks show; cells, figures and probes, made one by one.

    Attributes:
        tips: of the marks of its numbers, by name: the mark and its reason.
    """

    view: ReportView
    cells: tuple[CellPages, ...]
    figures: tuple[Figures, ...]
    probes: tuple[Probes, ...]
    checklists: tuple[Checklist, ...]
    tips: Mapping[str, tuple[str, str]]


def build_report(
    runs: Sequence[Run], panels: Sequence[Panel] = (), measures: Mapping[str, Measure] | None = None
) -> Report:
    """Return what a report of `runs` shows; several runs are compared. `measures` are those of plugins."""
    measures = measures or {}
    builders = [
        _RunBuilder(run, read_facts(run, measures, f"r{number}"), f"r{number}") for number, run in enumerate(runs, 1)
    ]
    tables = [builder.table for builder in builders]
    views = tuple(builder.build() for builder in builders)
    seen = {row.metric.partition(":")[0] for table in tables for row in table.rows}
    protocols = [run.manifest.get("protocol") or {} for run in runs]
    view = ReportView(
        title=sentences.report_title([view.title for view in views]),
        runs=views,
        compare=compare_runs(runs, [builder.facts for builder in builders], views) if len(runs) > 1 else None,
        glossary=tuple(
            replace(known, definition=sentences.definition(known, protocols))
            for name, known in {**MEASURES, **measures}.items()
            if name in seen
        ),
    )
    cells = tuple(
        CellPages(run, table, builder.facts, one.blocks, panels)
        for run, table, builder, one in zip(runs, tables, builders, views)
    )
    checklists = tuple(Checklist(run, builder.facts) for run, builder in zip(runs, builders))
    tips = {term: tip for table in tables for term, tip in table.tips.items()}
    figures = tuple(builder.figures for builder in builders)
    return Report(view, cells, figures, tuple(map(Probes, runs)), checklists, tips)


def alarms_by_kind(table: Table) -> tuple[tuple[AlarmView, ...], ...]:
    """Return the alarms of a run, those of one kind together."""
    found: dict[str, list[AlarmView]] = {}
    for alarm in table.alarms():
        found.setdefault(alarm.kind.name, []).append(alarm)
    return tuple(map(tuple, found.values()))


def _entries(texts: Iterable[str]) -> list[str]:
    """Return BibTeX entries, each once; a component that rests on several papers gives them as one text."""
    return list(
        dict.fromkeys(
            entry.strip() for text in texts for entry in re.split(r"^(?=@)", text, flags=re.M) if entry.strip()
        )
    )


def _failure_list(run: Run) -> list[Mapping[str, Any]]:
    return list(run.manifest.get("failures") or ())


def _table(run: Run, anchor: str, measures: Mapping[str, Measure]) -> Table:
    failures: dict[Place, str] = {}
    for number, failure in enumerate(_failure_list(run), 1):
        for cell in failure.get("cells", ()):
            place = Place(*(as_text(cell.get(name)) for name in Place._fields))
            failures.setdefault(place, f"{anchor}-f{number}")
    rows = read_metrics(run.metrics)
    groups, alarms = read_groups(run.groups, rows), read_alarms(run.alarms)
    bare = [label for label, facts in (run.manifest.get("defenses") or {}).items() if facts.get("family") in BARE]
    return Table(rows, failures, groups, anchor, measures, alarms, bare, read_trust(run.trust))


def read_facts(run: Run, measures: Mapping[str, Measure], anchor: str = "r1") -> RunFacts:
    """Return the facts of a run. `anchor` is part of its pages' names: that of a report of one run is the default."""
    table = _table(run, anchor, measures)
    references = (run.suite.get("reference") or {}).get("rows") or ()
    axes, differences = read_axes(table, run.suite), read_comparisons(run.comparisons)
    return RunFacts(table, axes, differences, run.manifest, references, run.suite.get("attacks"))


class _RunBuilder:
    def __init__(self, run: Run, facts: RunFacts, anchor: str) -> None:
        self.run = run
        self.facts = facts
        self.table = facts.table
        self.axes = facts.axes
        self.differences = facts.differences
        self.anchor = anchor
        self.manifest: Mapping[str, Any] = run.manifest
        self.suite: Mapping[str, Any] = run.suite
        self.name = run.path.resolve().name  # not the path: a report has the same bytes wherever it is made from
        self.figures = Figures(run, self.table, self.facts)

    def build(self) -> RunView:
        blocks = tuple(self._blocks())
        failures = tuple(self._failures())
        missing = tuple(self._missing())
        started, finished = moment(self.manifest.get("started")), moment(self.manifest.get("finished"))
        when = moment_text(started) if started else ""
        wall = seconds_text((finished - started).total_seconds()) if started and finished else ""
        if when and wall:
            when += f", {wall}"
        return RunView(
            anchor=self.anchor,
            name=self.name,
            title=as_text(self.manifest.get("title")) or as_text(self.manifest.get("suite")) or self.name,
            description=as_text(self.suite.get("description")).strip(),
            profile=as_text(self.manifest.get("profile")),
            sentence=self._sentence(),
            when=when,
            device=as_text(self.manifest.get("device")),
            datasets=tuple(self._datasets()),
            models=tuple(self._models()),
            notices=(*self._notices(failures, missing), *sentences.unequal(self.facts)),
            headline=sentences.headline(self.facts, self._only()),
            verdicts=tuple(self._verdicts()),
            marks=sentences.marks(row.hardest.robust for group in self.facts.groups for row in group.rows),
            findings=tuple(sentences.findings(self.facts, alarms_by_kind(self.table))),
            overviews=tuple(self._overviews(blocks)),
            blocks=blocks,
            central=self.figures.central(blocks),
            means=self.figures.means(blocks),
            published=published_tables(
                self.table,
                (self.suite.get("reference") or {}).get("rows") or (),
                self.run.artifacts,
                self.suite.get("attacks"),
            ),
            artifacts=tuple(self._assessed()),
            alarms=alarms_by_kind(self.table),
            failures=failures,
            missing=missing,
            costs=_costs(self.run.costs, wall),
            provenance=self._provenance(),
        )

    # What was run

    def _sentence(self) -> str:
        seeds = self.table.seeds
        split = as_text((self.manifest.get("protocol") or {}).get("split")) or "test"
        facts = self._dataset_facts()  # data that only a shared artifact learns from is not judged
        images = sum(facts[label].get("sizes", {}).get(split, 0) for label in self.axes.datasets if label in facts)
        cells = sum(
            seed not in SUMMARIES
            for place, statuses in self.table.status.items()
            for seed in statuses
            if place.attack not in self.axes.groups
        )
        return sentences.what_ran(self.axes, self.manifest.get("protocol") or {}, images, len(seeds), cells)

    def _dataset_facts(self) -> Mapping[str, Mapping[str, Any]]:
        facts = self.manifest.get("datasets") or {}
        return {label: facts[label] for label in [*self.axes.datasets, *facts] if label in facts}

    def _datasets(self) -> Iterator[DatasetView]:
        for label, facts in self._dataset_facts().items():
            shape = [int(side) for side in facts.get("image_shape") or ()]
            words = f"{shape[1]} × {shape[2]} pixels, {plural(shape[0], 'channel')}" if len(shape) == 3 else ""
            yield DatasetView(
                label=label,
                use=as_text(facts.get("use")),
                caption=as_text(facts.get("caption")),
                sizes=tuple((name, int(size)) for name, size in (facts.get("sizes") or {}).items()),
                shape=words,
                classes=len(facts.get("class_names") or ()),
                fingerprint=as_text(facts.get("fingerprint")),
                attacked=label in self.axes.datasets,
            )

    def _models(self) -> Iterator[ModelView]:
        for label, given in (self.suite.get("models") or {}).items():
            plain = {key: value for key, value in given.items() if isinstance(value, str | int | float)}
            options = [f"{key} {value}" for key, value in plain.items() if key != "use"]
            epochs = as_count((given.get("train") or {}).get("epochs"))
            trained = [f"trained for {plural(epochs, 'epoch')}"] if epochs else []
            yield ModelView(as_text(label), as_text(given.get("use")), (*options, *trained))

    def _only(self) -> list[str]:
        return list(map(as_text, self.manifest.get("only") or ()))

    def _verdicts(self) -> Iterator[VerdictsView]:
        models = len(self.axes.models) > 1
        for group in self.facts.groups:
            lines = []
            for row in group.rows:
                verdict = row.hardest
                lines.append(
                    VerdictLine(
                        defense=row.defense,
                        standing=verdict.standing,
                        bound=bool(verdict.bound),
                        word=sentences.standing(verdict, row.reach),
                        caveat=sentences.caveat(row),
                        where=sentences.where(row, group),
                        model=verdict.scope.model,
                        robust=verdict.robust,
                        at_most=bool(verdict.bound) or verdict.partial,
                        best=self.facts.best_known(verdict),
                        published="" if verdict.trust is None else verdict.trust.published,
                        clean=verdict.clean,
                        cost=verdict.cost,
                        false_alarms=verdict.false_alarms,
                        page=verdict.page,
                    )
                )
            yield VerdictsView(
                group.dataset,
                group.knowledge,
                group.attack,
                group.attacks,
                sentences.group_title(group, models),
                tuple(lines),
                tuple(self._few_images(group.dataset)),
                bool(group.hardest_of),
            )

    def _notices(self, failures: Sequence[FailureView], missing: Sequence[FailedCell]) -> Iterator[Notice]:
        """Yield what is to be known of the run as a whole; what concerns some numbers stands beside these."""
        failed = len({cell for failure in failures for cell in failure.cells})
        if failed:
            yield sentences.failed(failed, len(failures), f"{self.anchor}-failures")
        if missing:
            yield sentences.not_run(len(missing), f"{self.anchor}-missing")
        elif (as_count(self.manifest.get("exit_code")) or 0) > 128 or "finished" not in self.manifest:
            yield sentences.unfinished()
        if alarms := self.table.alarms():
            yield sentences.in_doubt(len(alarms), f"{self.anchor}-alarms")
        if self.axes.baseline is None and self.axes.attacks:
            yield sentences.no_baseline()
        if only := self._only():
            yield sentences.part_of(only)
        if self.manifest.get("shard"):
            yield sentences.shard(as_text(self.manifest["shard"]))

    def _block_notices(self, dataset: str, model: str, knowledge: str) -> Iterator[Notice]:
        """Yield what is to be known of the numbers of a data set, model and attacker."""
        yield from self._few_images(dataset)
        if guessing := self._guessing(dataset, model):
            yield sentences.guessing(guessing)
        counted = (
            row.n
            for row in self._judged.get(dataset, ())
            if (row.model, row.knowledge, row.metric) == (model, knowledge, "auroc") and row.n is not None
        )
        n = min(counted, default=SMALL_N)
        if n < SMALL_N:
            yield sentences.few_pairs(n)

    @cached_property
    def _judged(self) -> dict[str, list[Row]]:
        """Accuracies and areas of single cells and seeds, by data set."""
        found: dict[str, list[Row]] = {}
        for row in self.table.rows:
            measured = row.metric in ("clean_accuracy", "robust_accuracy", "auroc") and row.status == "ok"
            if measured and row.seed not in SUMMARIES:
                found.setdefault(row.dataset, []).append(row)
        return found

    def _few_images(self, dataset: str) -> Iterator[Notice]:
        widest: dict[int, float] = {}
        for row in self._judged.get(dataset, ()):
            if row.metric != "auroc" and row.n is not None and row.n < SMALL_N:
                half = (row.high - row.low) / 2 if row.low is not None and row.high is not None else 0.0
                widest[row.n] = max(widest.get(row.n, 0.0), half)
        if widest:
            yield sentences.few_images(dataset, widest)

    def _guessing(self, dataset: str, model: str) -> list[str]:
        """Return what labels clean images no better than one answer for all of them would."""
        chance = self.facts.guessing(dataset)
        found = [
            row.defense
            for row in self._judged.get(dataset, ())
            if (row.model, row.metric) == (model, "clean_accuracy") and row.low is not None and row.low <= chance
        ]
        return list(dict.fromkeys(found)) if chance else []

    # Tables

    def _assessed(self) -> Iterator[AssessedRow]:
        for record in self.run.artifacts.to_dict("records"):
            value = as_number(record["value"])
            yield AssessedRow(
                as_text(record["artifact"]),
                as_text(record["dataset"]),
                as_text(record["seed"]),
                as_text(record["metric"]),
                None
                if value is None
                else Estimate(
                    as_text(record["metric"]), "area", value, None, None, as_count(record["n"]),
                    reference=as_number(record["reference"]),
                ),
                as_text(record["status"]),
            )  # fmt: skip

    def _blocks(self) -> Iterator[BlockView]:
        kinds: dict[tuple[str, str], dict[str, None]] = {}
        for place in self.table.by_place:
            known = kinds.setdefault((place.dataset, place.model), {})
            if place.attack != CLEAN:
                known[place.knowledge] = None
        places = (
            (dataset, model, knowledge)
            for dataset in self.axes.datasets
            for model in self.axes.models
            for knowledge in (kinds.get((dataset, model), {"": None}) or {"": None})
            if (dataset, model) in kinds
        )
        for number, (dataset, model, knowledge) in enumerate(places, 1):
            builder = BlockBuilder(self.table, self.axes, self.differences, self.facts, dataset, model, knowledge)
            caption = as_text((self.manifest.get("datasets") or {}).get(dataset, {}).get("caption"))
            notices = list(self._block_notices(dataset, model, knowledge))
            yield builder.build(f"{self.anchor}-b{number}", caption, notices)

    def _overviews(self, blocks: Sequence[BlockView]) -> Iterator[OverviewView]:
        """Yield a table per group of the same attacks: other attacks share no column."""
        alike: dict[tuple[str, tuple[str, ...]], list[BlockView]] = {}
        for scope in self.facts.scopes:
            where = (scope.dataset, scope.model, scope.knowledge)
            mine = [b for b in blocks if (b.dataset, b.model, b.knowledge) == where and b.headline is not None]
            if scope.attack.startswith(WORST_OF):
                alike.setdefault((scope.attack, scope.attacks), []).extend(mine)
        for (attack, attacks), mine in alike.items():
            if len(mine) < 2:
                continue
            rows = []
            for block in mine:
                assert block.headline is not None
                number = [column.attack for column in block.headline.columns].index(attack)
                found = {row.defense: row.cells[number] for row in block.headline.rows}
                cells = tuple(found.get(defense, CellView("missing")) for defense in self.axes.defenses)
                rows.append(OverviewRow(block.page, block.dataset, block.model, block.knowledge, cells))
            shown = [cell for row in rows for cell in row.cells]
            title, note = sentences.overview(attack, attacks, self.manifest.get("protocol") or {})
            yield OverviewView(
                attack,
                title,
                note,
                "worst_case_robust_accuracy",
                sentences.intervals(cell.estimate for cell in shown),
                tuple(self.axes.defenses),
                tuple(rows),
                same_n(shown),
                any(cell.best for cell in shown),
            )

    # Failures and provenance

    def _failures(self) -> Iterator[FailureView]:
        listed: set[FailedCell] = set()
        number = 0
        for number, failure in enumerate(_failure_list(self.run), 1):
            cells, unseen = (
                tuple(
                    FailedCell(*(as_text(cell.get(f)) for f in FailedCell.__dataclass_fields__))
                    for cell in failure.get(name) or ()
                )
                for name in ("cells", "unseen")
            )
            listed.update(cells)
            yield FailureView(
                f"{self.anchor}-f{number}",
                as_text(failure.get("task")),
                as_text(failure.get("reason")) or "No reason was recorded.",
                as_text(failure.get("traceback")),
                cells,
                unseen,
            )
        rest = tuple(cell for cell in self._cells("failed") if cell not in listed)
        if rest:
            yield FailureView(
                f"{self.anchor}-f{number + 1}", "", "The run recorded no reason; its journal may hold one.", "", rest
            )

    def _missing(self) -> Iterator[FailedCell]:
        yield from self._cells("missing")

    def _cells(self, status: str) -> list[FailedCell]:
        found = dict.fromkeys(
            FailedCell(*place, seed)
            for place, seeds in self.table.status.items()
            for seed, what in seeds.items()
            if what == status and seed not in SUMMARIES and place.attack not in self.axes.groups
        )
        return list(found)

    def _provenance(self) -> ProvenanceView:
        manifest = self.manifest
        git = manifest.get("git")
        commit = "not run from a checkout"
        if git:
            commit = as_text(git.get("commit")) + (
                ", with changes that are not committed" if git.get("changed") else ""
            )
        protocol = manifest.get("protocol") or {}
        draws = as_text(protocol.get("draws"))
        facts = [
            ("Suite file", as_text(manifest.get("source"))),
            ("Profile", as_text(manifest.get("profile")) or "none"),
            ("Cites", "; ".join(map(as_text, self.suite.get("cite") or ()))),
            ("Key of all that the numbers were made from", self.run.key),
            ("Started", as_text(manifest.get("started"))),
            ("Finished", as_text(manifest.get("finished")) or "not yet"),
            ("Device", as_text(manifest.get("device"))),
            (
                "Executor",
                ", ".join(filter(None, (as_text(manifest.get("executor")), _workers(manifest.get("workers"))))),
            ),
            ("Threads per task", as_text(manifest.get("threads"))),
            ("Seeds", ", ".join(map(as_text, manifest.get("seeds") or ()))),
            ("Threshold", f"{_percent(protocol.get('false_positive_rate'))} of clean validation images may be flagged"),
            (
                "Successful attack",
                sentences.SUCCESS.get(as_text(protocol.get("success")), as_text(protocol.get("success"))),
            ),
            ("Images judged", "validation images, to choose by" if protocol.get("split") == "val" else "test images"),
            ("Repeats", f"{as_text(protocol.get('repeats'))} judgements of a randomised defense"),
            ("Draws", f"{draws} of a randomised defense, per pass of attackers who hold it" if draws else ""),
            *(
                (
                    f"Initial weights of {as_text(label)}",
                    "; ".join(f"{name} {as_text(value)}" for name, value in told.items()),
                )
                for label, told in (manifest.get("weights") or {}).items()
            ),
            ("Git commit", commit),
            ("Part of the grid", as_text(manifest.get("shard")) or "all of it"),
            ("Run directory", self.name),
        ]
        return ProvenanceView(
            command=shlex.join(map(as_text, manifest.get("command") or ())),
            facts=tuple((name, value) for name, value in facts if value),
            versions=tuple((str(name), as_text(version)) for name, version in (manifest.get("versions") or {}).items()),
            plugins=tuple(
                (
                    as_text(p.get("module")),
                    as_text(p.get("distribution")) or "module given by hand",
                    as_text(p.get("version")),
                )
                for p in manifest.get("plugins") or ()
            ),
            broken=tuple(
                (as_text(p.get("name")), as_text(p.get("from")), as_text(p.get("reason")))
                for p in manifest.get("broken_plugins") or ()
            ),
            citations="\n\n".join(_entries(map(as_text, manifest.get("citations") or ()))),
            warnings=tuple((as_text(w.get("task")), as_text(w.get("text"))) for w in manifest.get("warnings") or ()),
            suite=yaml.safe_dump(dict(self.suite), sort_keys=False, allow_unicode=True, width=100)
            if self.suite
            else "",
        )


def _workers(count: Any) -> str:
    return "" if count is None else plural(int(count), "worker")


def _percent(share: Any) -> str:
    number = as_number(share)
    return "" if number is None else f"{100 * number:g} %"


def _costs(frame: pd.DataFrame, wall: str) -> CostView:
    records = [
        {str(name): value for name, value in record.items()}
        for record in frame.to_dict("records")
        if as_text(record.get("status")) != ""
    ]
    kinds = list(dict.fromkeys(as_text(record["kind"]) for record in records))
    rows = tuple(_cost_row(kind, [r for r in records if as_text(r["kind"]) == kind]) for kind in kinds)
    timed = sorted(records, key=lambda record: -(as_number(record.get("seconds")) or 0.0))
    return CostView(
        rows=rows,
        total=_cost_row("all", records) if records else None,
        by_defense=tuple(_by_defense(records)),
        slowest=tuple(
            TaskRow(as_text(r["label"]), as_text(r["kind"]), as_number(r.get("seconds")) or 0.0, bool(r["cached"]))
            for r in timed[:SLOWEST]
            if as_number(r.get("seconds")) is not None
        ),
        wall=wall,
    )


def _by_defense(records: Sequence[Mapping[str, Any]]) -> Iterator[CostRow]:
    """Yield what each defense alone cost, by kind of task; what several share is in the table by kind."""
    mine: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for record in records:
        if defense := as_text(record.get("defense")):
            mine.setdefault((defense, as_text(record["kind"])), []).append(record)
    for (defense, kind), rows in sorted(mine.items(), key=lambda item: item[0][0]):
        yield replace(_cost_row(kind, rows), defense=defense)


def _cost_row(kind: str, records: Sequence[Mapping[str, Any]]) -> CostRow:
    def total(name: str, only: Sequence[Mapping[str, Any]]) -> float:
        return sum(as_number(record.get(name)) or 0.0 for record in only)

    done = [record for record in records if as_text(record["status"]) == "done"]
    cached = [record for record in records if bool(record["cached"])]
    counted = [r for r in records if as_number(r.get("images")) and as_number(r.get("seconds"))]
    seconds = total("seconds", counted)
    memory = [m for record in records if (m := as_count(record.get("peak_memory_bytes"))) is not None]
    return CostRow(
        kind=kind,
        tasks=len(records),
        cached=len(cached),
        failed=sum(as_text(record["status"]) == "failed" for record in records),
        spent=total("seconds", done),
        saved=total("seconds", cached),
        images=int(total("images", counted)),
        rate=total("images", counted) / seconds if seconds > 0 else None,
        forward=int(total("forward", records)),
        backward=int(total("backward", records)),
        memory=max(memory, default=None),
    )
