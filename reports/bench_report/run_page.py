"""The part of the first page that is about one run, and what of it stands in the pages of its settings."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import yaml

from bench_report import sentences
from bench_report.blocks import BlockBuilder, BlockView, same_n
from bench_report.charts.figures import CentralView, Figures
from bench_report.charts.means import MeansView
from bench_report.costs import CostView, cost_view, percents
from bench_report.facts import RunFacts
from bench_report.published import PublishedTable, published_tables
from bench_report.reading import alarms_by_kind, entries, failure_list, workers_text
from bench_report.table import Row, as_count, as_number, as_text, is_group
from bench_report.values import AlarmView, CellView, DifferenceView, Estimate, Notice, Word
from bench_report.verdicts import BestKnown
from bench_report.words import moment, moment_text, plural, seconds_text
from benchmark import CLEAN, SUMMARIES

if TYPE_CHECKING:
    from benchmark import Run


SMALL_N = 200
"""Fewer images than this are said aloud: at a rate of one half the interval is then wider than 13 points."""


class RunBuilder:
    """Makes the first page's part of a run, and the pages of its settings."""

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
        """Return what the first page shows of the run."""
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
                self.run.published,
                self.run.artifacts,
                self.suite.get("attacks"),
            ),
            artifacts=tuple(self._assessed()),
            alarms=alarms_by_kind(self.table),
            failures=failures,
            missing=missing,
            costs=cost_view(self.run.costs, wall),
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
            if is_group(scope.attack):
                alike.setdefault((scope.attack, scope.attacks), []).extend(mine)
        for (attack, attacks), mine in alike.items():
            if len(mine) < 2:
                continue
            # As in the verdicts: where a defense of a setting rejects, its rejections count.
            tables = [block.rejecting or block.headline for block in mine]
            joint = any(block.rejecting for block in mine)
            rows = []
            for block, table in zip(mine, tables):
                assert table is not None
                number = [column.attack for column in table.columns].index(attack)
                found = {row.defense: row.cells[number] for row in table.rows}
                cells = tuple(found.get(defense, CellView("missing")) for defense in self.axes.defenses)
                rows.append(OverviewRow(block.page, block.dataset, block.model, block.knowledge, cells))
            shown = [cell for row in rows for cell in row.cells]
            title, note = sentences.overview(attack, attacks, self.manifest.get("protocol") or {}, joint)
            yield OverviewView(
                attack,
                title,
                note,
                "worst_case_joint_robust_accuracy" if joint else "worst_case_robust_accuracy",
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
        for number, failure in enumerate(failure_list(self.run), 1):
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
        draws, made = as_text(protocol.get("draws")), as_text(protocol.get("adversarial", "exact"))
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
                ", ".join(filter(None, (as_text(manifest.get("executor")), workers_text(manifest.get("workers"))))),
            ),
            ("Threads per task", as_text(manifest.get("threads"))),
            ("Seeds", ", ".join(map(as_text, manifest.get("seeds") or ()))),
            ("Threshold", f"{percents(protocol.get('false_positive_rate'))} of clean validation images may be flagged"),
            (
                "Successful attack",
                sentences.SUCCESS.get(as_text(protocol.get("success")), as_text(protocol.get("success"))),
            ),
            ("Images judged", "validation images, to choose by" if protocol.get("split") == "val" else "test images"),
            ("Adversarial examples", sentences.ADVERSARIAL.get(made, made)),
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
            citations="\n\n".join(entries(map(as_text, manifest.get("citations") or ()))),
            warnings=tuple((as_text(w.get("task")), as_text(w.get("text"))) for w in manifest.get("warnings") or ()),
            suite=yaml.safe_dump(dict(self.suite), sort_keys=False, allow_unicode=True, width=100)
            if self.suite
            else "",
        )


@dataclass(frozen=True)
class VerdictLine:
    """A defense in the table of verdicts.

    Attributes:
        standing: `holds`, `fails`, `undecided` or `baseline`; `bound` where it is an upper bound.
        word: the verdict.
        caveat: why it is so, or what may not be concluded from it.
        where: which model its numbers are of, and what the defense was taught.
        robust: `at_most` where it is an upper bound.
        best: the attack of any attacker that leaves least within the same budgets; `published` what others left.
        clean: beside it what it costs against the undefended system.
    """

    defense: str
    standing: str
    bound: bool
    word: str
    caveat: tuple[Word, ...]
    where: tuple[Word, ...]
    model: str
    robust: Estimate | None
    at_most: bool
    clean: Estimate | None
    cost: DifferenceView | None
    false_alarms: Estimate | None
    page: str
    best: BestKnown | None
    published: str


@dataclass(frozen=True)
class VerdictsView:
    """The verdicts of one data set, attacker and set of attacks; the first screen shows those of the hardest set."""

    dataset: str
    knowledge: str
    attack: str
    attacks: tuple[str, ...]
    title: tuple[Word, ...]
    lines: tuple[VerdictLine, ...]
    notices: tuple[Notice, ...]
    hardest: bool


@dataclass(frozen=True)
class AssessedRow:
    """A measure of a shared artifact, such as a part extractor's mean average precision."""

    artifact: str
    dataset: str
    seed: str
    metric: str
    estimate: Estimate | None
    status: str


@dataclass(frozen=True)
class OverviewRow:
    """A block in the overview."""

    page: str
    dataset: str
    model: str
    knowledge: str
    cells: tuple[CellView, ...]


@dataclass(frozen=True)
class OverviewView:
    """Worst-case accuracy of every defense in the blocks that have one group of the same attacks."""

    attack: str
    title: tuple[Word, ...]
    note: str
    metric: str
    intervals: str
    defenses: tuple[str, ...]
    rows: tuple[OverviewRow, ...]
    n: int | None
    has_best: bool


@dataclass(frozen=True)
class DatasetView:
    """A data set of the run.

    Attributes:
        attacked: whether a cell is of it; what defenses share may learn from a data set that none is of.
    """

    label: str
    use: str
    caption: str
    sizes: tuple[tuple[str, int], ...]
    shape: str
    classes: int
    fingerprint: str
    attacked: bool


@dataclass(frozen=True)
class ModelView:
    """A network of the run, as the suite describes it: a label may be the name of another one.

    Attributes:
        options: those of the architecture, such as `width 32`, then how long it is trained.
    """

    label: str
    use: str
    options: tuple[str, ...]


@dataclass(frozen=True)
class FailedCell:
    """A cell that has no numbers."""

    dataset: str
    model: str
    attack: str
    defense: str
    knowledge: str
    seed: str


@dataclass(frozen=True)
class FailureView:
    """What went wrong first, the cells that it cost, and those whose alarms it cost."""

    anchor: str
    task: str
    reason: str
    traceback: str
    cells: tuple[FailedCell, ...]
    unseen: tuple[FailedCell, ...] = ()


@dataclass(frozen=True)
class ProvenanceView:
    """How the run came about."""

    command: str
    facts: tuple[tuple[str, str], ...]
    versions: tuple[tuple[str, str], ...]
    plugins: tuple[tuple[str, str, str], ...]
    broken: tuple[tuple[str, str, str], ...]
    citations: str
    warnings: tuple[tuple[str, str], ...]
    suite: str


@dataclass(frozen=True)
class RunView:
    """A run."""

    anchor: str
    name: str
    title: str
    description: str
    profile: str
    sentence: str
    when: str
    device: str
    datasets: tuple[DatasetView, ...]
    models: tuple[ModelView, ...]
    notices: tuple[Notice, ...]
    headline: tuple[Word, ...]
    verdicts: tuple[VerdictsView, ...]
    marks: tuple[str, ...]
    findings: tuple[tuple[Word, ...], ...]
    overviews: tuple[OverviewView, ...]
    blocks: tuple[BlockView, ...]
    central: tuple[CentralView, ...]
    means: tuple[MeansView, ...]
    published: tuple[PublishedTable, ...]
    artifacts: tuple[AssessedRow, ...]
    alarms: tuple[tuple[AlarmView, ...], ...]
    failures: tuple[FailureView, ...]
    missing: tuple[FailedCell, ...]
    costs: CostView
    provenance: ProvenanceView
