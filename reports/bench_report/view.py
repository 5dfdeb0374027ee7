"""What a page shows: plain typed values without any markup."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from bench_report.measures import Measure, Unit
from bench_report.words import difference_text, number_text, pairs_text, plural
from benchmark import TRUST_RULES, AlarmKind, Mark, PanelPart

if TYPE_CHECKING:
    from bench_report.probes import ProbeRow

TOLERANCE = 0.05
"""A published value is met only where the interval would have shown a difference of this much."""


@dataclass(frozen=True)
class Doubt:
    """What alarms leave of a number.

    Attributes:
        attacks: of the number's attacks those that they were raised for.
        of: how many attacks the number rests on.
        at_most: whether they tell no more than that attacks are weaker than they should be, so that accuracy is at
            most what was measured.
    """

    attacks: tuple[str, ...]
    of: int
    at_most: bool


@dataclass(frozen=True)
class TrustView:
    """How far a number can be believed, as the host marks it (`benchmark.trust.marks`).

    Attributes:
        mark: the worst over the seeds; the rest is of that seed.
        why: reasons by name, the one that decides first.
        because: the reasons in words.
        best: the attack that leaves least within the same budgets, by label and knowledge, per seed.
        published: the strongest attack by others, with what it left and where; "" for none.
        passed, failed, not_run: how many probes did.
    """

    mark: Mark
    why: tuple[str, ...]
    because: str
    best: tuple[tuple[str, str], ...]
    published: str
    passed: int
    failed: int
    not_run: int

    @property
    def tip(self) -> str:
        """The first reason of the mark, and whether any probe stands behind it."""
        run = self.passed + self.failed
        probes = f"{self.passed} of {plural(run, 'probe')} passed" if self.failed else f"{plural(run, 'probe')} passed"
        probes = probes if run else "no probe was run"
        return TRUST_RULES[self.why[0]].says + (f"; {probes}" if self.mark == "adaptive" else "")  # type: ignore[index]

    @property
    def term(self) -> str:
        """The name of the tip, which stands once in a report: thousands of numbers have the same."""
        probes = f":{self.passed}/{self.failed}" if self.mark == "adaptive" else ""
        return f"trust:{self.why[0]}{probes}"

    @property
    def bound(self) -> str:
        """Why the number is an upper bound, as a key of `benchmark.trust.marks.TRUST_RULES`; "" where it is none.

        What the attacks lack says more of a number than what others have done elsewhere.
        """
        bounds = ("static only", "known broken")
        return next((x for mark in bounds for x in self.why if TRUST_RULES[x].mark == mark), "")  # type: ignore[index]


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval and the images it rests on.

    Attributes:
        n: the fewest where the seeds rest on different numbers of images (`uneven`).
        spans: what the interval is over: other images, other seeds and images, or other seeds alone.
        spread: standard deviation over seeds, None for one seed.
        seeds: number of seeds that the value is the mean of.
        reference: the published value, None where the suite names none.
        doubt: what alarms leave of it, None where there are none.
        trust: its mark, None where it has none, as on clean images.
    """

    metric: str
    unit: Unit
    value: float
    low: float | None
    high: float | None
    n: int | None
    spread: float | None = None
    seeds: int = 1
    reference: float | None = None
    doubt: Doubt | None = None
    spans: Literal["images", "seeds and images", "seeds"] = "images"
    uneven: bool = False
    trust: TrustView | None = None

    @property
    def text(self) -> str:
        """The value for people: rates in percent without the sign."""
        return number_text(self.value, self.unit)

    @property
    def interval(self) -> str:
        """The interval for people, or an empty string; also where a distance or a count has one without a width."""
        if self.low is None or self.high is None:
            return ""
        low, high = number_text(self.low, self.unit), number_text(self.high, self.unit)
        return "" if low == high and self.unit in ("count", "distance") else f"{low}–{high}"

    @property
    def spread_text(self) -> str:
        """`sd 1.2`, the standard deviation over seeds, or an empty string."""
        return "" if self.spread is None else f"sd {number_text(self.spread, self.unit)}"

    @property
    def n_text(self) -> str:
        """`n = 360`, or `n ≥ 212` where the seeds rest on different numbers; empty where it is not known."""
        return "" if self.n is None else f"n {'≥' if self.uneven else '='} {self.n:,}"

    def told(self, published: float) -> Literal["agrees", "differs", "unknown"]:
        """Return whether a published value is met: the interval holds it, and is narrow enough to tell."""
        if self.low is None or self.high is None:
            return "unknown"
        if not self.low <= published <= self.high:
            return "differs"
        return "agrees" if (self.high - self.low) / 2 <= TOLERANCE else "unknown"

    @property
    def reference_text(self) -> str:
        """`published 93.0 (−1.8)`: the published value, and measured minus published; or an empty string."""
        if self.reference is None:
            return ""
        difference = difference_text(self.value - self.reference, self.unit)
        return f"published {number_text(self.reference, self.unit)} ({difference})"


@dataclass(frozen=True)
class CellView:
    """A cell of a table.

    Attributes:
        status: `ok`; `failed` and `missing` (not run) have no estimate; `undefined` has none because the measure is not
            defined there.
        failure: anchor of the reason, where some seed failed.
        note: what else has to be said, for example that one seed failed.
        step: 0 to 10 on the colour scale, stronger is better for the defense; None for no colour.
        best: no other defense in the column is better, and no alarm puts it in doubt.
        page: of the cell, "" for none.
    """

    status: Literal["ok", "failed", "missing", "undefined"]
    estimate: Estimate | None = None
    failure: str = ""
    note: str = ""
    step: int | None = None
    best: bool = False
    page: str = ""


@dataclass(frozen=True)
class ColumnGroup:
    """Neighbouring columns under one heading."""

    title: str
    span: int


@dataclass(frozen=True)
class Column:
    """A column of a defense × attack table.

    Attributes:
        attack: label of the attack or group, `none` for clean images.
        starts: whether a new group of columns begins here.
    """

    attack: str
    metric: str
    title: str
    kind: Literal["clean", "attack", "worst"]
    starts: bool


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
class DifferenceView:
    """A defense against the baseline on the same images.

    Attributes:
        difference: defense minus baseline.
        p: of the paired test; None where it is not defined.
        by_seed: the difference in each seed, where each image counts with its mean over several.
    """

    metric: str
    unit: Unit
    difference: float
    low: float | None
    high: float | None
    p: float | None
    n: int | None
    by_seed: tuple[float, ...] = ()

    @property
    def pairs_text(self) -> str:
        """`n = 360`, or `40 images under 2 seeds each: 80 pairs, of 40 different images; by seed −1.2 to +0.4`."""
        if self.n is None or not self.by_seed:
            return "" if self.n is None else f"n = {self.n:,}"
        low, high = (difference_text(value, self.unit) for value in (min(self.by_seed), max(self.by_seed)))
        return f"{pairs_text(self.n, len(self.by_seed))}; by seed {low} to {high}"

    @property
    def text(self) -> str:
        """The difference with its sign, in percentage points for rates."""
        return difference_text(self.difference, self.unit)

    @property
    def interval(self) -> str:
        """The interval for people, or an empty string."""
        if self.low is None or self.high is None:
            return ""
        return f"{difference_text(self.low, self.unit)} to {difference_text(self.high, self.unit)}"

    @property
    def p_text(self) -> str:
        """`p < 0.001` or `p = 0.043`, or an empty string."""
        if self.p is None:
            return ""
        return "p < 0.001" if self.p < 0.001 else f"p = {self.p:.3f}"

    @property
    def direction(self) -> Literal["higher", "lower", "unclear"]:
        """Which way the difference goes, where the interval leaves no doubt."""
        if self.low is not None and self.low > 0:
            return "higher"
        if self.high is not None and self.high < 0:
            return "lower"
        return "unclear"


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
class Word:
    """Part of a sentence: the report's own words, a name from the suite, what somebody else says, or a number.

    Attributes:
        kind: `aside` are words that a narrow screen leaves out until they are asked for.
        page: where the part leads, "" for nowhere.
    """

    text: str
    kind: Literal["words", "name", "quote", "number", "aside"] = "words"
    page: str = ""


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
    def setting(self) -> tuple[str, str, str]:
        """Data set, model and what the attacker knows."""
        return self.dataset, self.model, self.knowledge


@dataclass(frozen=True)
class BestKnown:
    """The attack that leaves least of a defense within some budgets, whatever its attacker knows."""

    attack: str
    knowledge: str
    left: Estimate
    page: str


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
class PublishedCell:
    """A published number and the one that was measured.

    Attributes:
        published: None where what was run is another experiment than the paper's.
        measured: None where the run has none.
        page: of the cell, "" where the run has no such cell.
        status: of the cell: `ok`, `failed` or `missing`.
    """

    published: float | None
    metric: str
    unit: Unit
    measured: Estimate | None
    page: str
    status: str = "missing"

    @property
    def agrees(self) -> bool:
        """Whether the measured interval holds the published number, and could have shown a difference."""
        m, published = self.measured, self.published
        return m is not None and published is not None and m.told(published) == "agrees"

    @property
    def published_text(self) -> str:
        """The published number for people."""
        return "" if self.published is None else number_text(self.published, self.unit)

    @property
    def difference_text(self) -> str:
        """Measured minus published with its sign."""
        if self.measured is None or self.published is None:
            return ""
        return difference_text(self.measured.value - self.published, self.unit)


@dataclass(frozen=True)
class PublishedHead:
    """A heading of a published table, over as many columns, or beside as many rows, as it stands for."""

    text: str
    span: int


@dataclass(frozen=True)
class PublishedRow:
    """A row of a published table.

    Attributes:
        labels: what it stands for, a text per level.
        heads: the headings that begin at it; a heading that began above stands for it as well.
    """

    labels: tuple[str, ...]
    heads: tuple[PublishedHead, ...]
    cells: tuple[PublishedCell | None, ...]


@dataclass(frozen=True)
class PublishedTable:
    """Published numbers in the layout of their table.

    Attributes:
        table: what the paper calls it, such as `Table IV`, "" where the suite does not say.
        title: the family of measures.
        fixed: what is the same in all cells: axis and label.
        row_axes: names of the axes that the rows stand for, "" where the suite gives the headings.
        columns: labels per column, one per level of headings.
        heads: the headings above the columns, by level.
        left_out: rows of which nothing was run.
        n: how many images every measured number rests on, None where they differ.
    """

    table: str
    title: str
    fixed: tuple[tuple[str, str], ...]
    row_axes: tuple[str, ...]
    columns: tuple[tuple[str, ...], ...]
    heads: tuple[tuple[PublishedHead, ...], ...]
    rows: tuple[PublishedRow, ...]
    left_out: tuple[str, ...] = ()
    n: int | None = None

    @property
    def bare(self) -> bool:
        """Whether no published number stands in it: what was run is another experiment."""
        return all(cell is None or cell.published is None for row in self.rows for cell in row.cells)


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
class Notice:
    """Something that the reader must know first."""

    kind: Literal["note", "warn", "fail"]
    title: str
    text: str
    anchor: str = ""
    link: str = ""


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
class AlarmView:
    """A sign that numbers do not mean what they seem to.

    Attributes:
        kind: what it is, and what to do, in the words of `benchmark.trust.alarms`.
        finding: what was seen.
        cells: how many it puts in doubt.
        page: of the first of them.
    """

    kind: AlarmKind
    finding: str
    cells: int
    page: str


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
class CostRow:
    """Tasks of one kind.

    Attributes:
        defense: that alone needed them, "" for any.
        spent: seconds of the tasks that were done in this run.
        saved: seconds that the tasks from the cache once took.
        rate: images per second over all of them, None where they count no images.
        memory: largest peak memory in bytes.
    """

    kind: str
    tasks: int
    cached: int
    failed: int
    spent: float
    saved: float
    images: int
    rate: float | None
    forward: int
    backward: int
    memory: int | None
    defense: str = ""

    @property
    def cached_share(self) -> str:
        """Share of the tasks that came from the cache, in percent."""
        return f"{100 * self.cached / self.tasks:.0f} %" if self.tasks else ""


@dataclass(frozen=True)
class TaskRow:
    """One task."""

    label: str
    kind: str
    seconds: float
    cached: bool


@dataclass(frozen=True)
class CostView:
    """What the run cost."""

    rows: tuple[CostRow, ...]
    total: CostRow | None
    by_defense: tuple[CostRow, ...]
    slowest: tuple[TaskRow, ...]
    wall: str


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


@dataclass(frozen=True)
class ChartView:
    """A chart and its numbers as a table.

    Attributes:
        kind: key of `charts.DESCRIPTIONS`.
        data: rows by the name of the data set in the description.
    """

    kind: str
    title: str
    how: str
    data: dict[str, list[dict[str, Any]]]
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class FigureRow:
    """Numbers of a figure: what they are of, one per column, and the page that says more ("" for none).

    Attributes:
        bounds: columns whose numbers are upper bounds.
    """

    heads: tuple[str, ...]
    cells: tuple[Estimate | None, ...]
    page: str = ""
    bounds: tuple[int, ...] = ()


@dataclass(frozen=True)
class FigureView:
    """A chart of many cells and its numbers as a table.

    Attributes:
        kind, data: as of a `ChartView`.
        brief: what is said of it on the first page, where `how` it is read is said once.
        heads, columns: what the rows stand for, and what their numbers are.
    """

    kind: str
    title: str
    how: str
    data: dict[str, list[dict[str, Any]]]
    heads: tuple[str, ...]
    columns: tuple[str, ...]
    rows: tuple[FigureRow, ...]
    brief: str = ""

    @property
    def percent(self) -> bool:
        """Whether all numbers of the table are rates."""
        return {cell.unit for row in self.rows for cell in row.cells if cell is not None} == {"rate"}


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


@dataclass(frozen=True)
class MeansCell:
    """Mean over attacks and models.

    Attributes:
        mean: None where one of the cells has no number.
        worst: the worst case over the attacks per image, of the model where it is lowest.
        of, absent: number of cells, and of those without a number.
    """

    mean: Estimate | None
    worst: Estimate | None
    of: int
    absent: int


@dataclass(frozen=True)
class MeansRow:
    """A data set: means per defense."""

    dataset: str
    attacks: int
    models: int
    cells: tuple[MeansCell, ...]


@dataclass(frozen=True)
class MeansView:
    """Mean accuracy over the attacks of a group and all models, data set by data set."""

    knowledge: str
    group: str
    defenses: tuple[str, ...]
    rows: tuple[MeansRow, ...]


@dataclass(frozen=True)
class ThresholdView:
    """What a detector would do at other thresholds, counted on the images of the cell.

    Attributes:
        thresholds: ascending; flagged is what scores above.
        caught, alarms: successful adversarial images flagged, and their clean versions flagged.
        withstood, kept: attacked images that are flagged or labelled rightly, and clean images that are labelled
            rightly and not flagged; None where the samples do not tell.
        successful, images: what these are out of.
        operating: index of the threshold at which the defense works, None where no threshold gives its flags.
    """

    thresholds: tuple[float, ...]
    caught: tuple[int, ...]
    alarms: tuple[int, ...]
    withstood: tuple[int | None, ...]
    kept: tuple[int | None, ...]
    successful: int
    images: int
    operating: int | None

    @property
    def told(self) -> bool:
        """Whether all counts are known."""
        return None not in self.withstood and None not in self.kept


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


@dataclass(frozen=True)
class LinedUpRow:
    """A cell that several runs have: a value per run, None where a run lacks it or cannot be compared.

    Attributes:
        paired: the difference from the first of these runs on the same images, None where none can be paired.
        told: how the cell changed, "" where another measure of it, or more than one run, tells; `change` in words.
    """

    dataset: str
    model: str
    attack: str
    defense: str
    knowledge: str
    metric: str
    title: str
    estimates: tuple[Estimate | None, ...]
    differences: tuple[str, ...]
    paired: tuple[DifferenceView | None, ...]
    told: str
    change: str
    remark: str


@dataclass(frozen=True)
class CompareView:
    """Several runs beside each other.

    Attributes:
        runs: letter and name of each.
        headline, findings, how: what changed, and how it was compared.
        notices: differences that forbid to line rows up.
        changes: differences that do not.
    """

    runs: tuple[tuple[str, str], ...]
    headline: tuple[Word, ...]
    findings: tuple[tuple[Word, ...], ...]
    how: str
    notices: tuple[Notice, ...]
    changes: tuple[tuple[str, tuple[str, ...]], ...]
    rows: tuple[LinedUpRow, ...]


@dataclass(frozen=True)
class ReportView:
    """The whole report."""

    title: str
    runs: tuple[RunView, ...]
    compare: CompareView | None
    glossary: tuple[Measure, ...]


@dataclass(frozen=True)
class BoardRow:
    """A defense of a run in a leaderboard.

    Attributes:
        rank: `1`, `at most`, or `–` where it has none.
        why: why it has no rank, "" where it has one.
        labels: what its run calls the data set and the network, where that is not as its condition has it.
        robust: joint worst-case accuracy; `at_most` where it is an upper bound.
        trust: what the run says of how far it can be believed.
        flagged: whether that is an alarm or a failed check.
        run: name of the run; `report` is the address of its report, and `page` of the row's cell in it, "" for none.
        key: of all that its numbers were made from.
        when: the day that the run was started, ISO 8601.
    """

    rank: str
    why: str
    defense: str
    labels: tuple[str, ...]
    robust: Estimate | None
    at_most: bool
    clean: Estimate | None
    false_alarms: Estimate | None
    seeds: int
    trust: tuple[Word, ...]
    flagged: bool
    run: str
    run_title: str
    report: str
    page: str
    when: str
    key: str


@dataclass(frozen=True)
class BoardCondition:
    """Rows of a leaderboard that may be ranked."""

    dataset: str
    model: str
    knowledge: str
    group: str
    title: tuple[Word, ...]
    rows: tuple[BoardRow, ...]


@dataclass(frozen=True)
class BoardView:
    """A leaderboard over several runs; `file` is the table to download."""

    title: str
    runs: int
    headline: tuple[Word, ...]
    how: str
    notices: tuple[Notice, ...]
    conditions: tuple[BoardCondition, ...]
    file: str
