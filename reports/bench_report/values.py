"""Values that several pages show, plain and typed, without any markup; those of one page stand beside their builder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from bench_report.measures import Unit
from bench_report.words import difference_text, number_text, pairs_text, plural
from benchmark import TRUST_RULES, AlarmKind, Mark

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
        # A run of another version may give reasons that this one does not know.
        rule = TRUST_RULES[self.why[0]].says if self.why else self.because  # type: ignore[index]
        return rule + (f"; {probes}" if self.mark == "adaptive" else "")

    @property
    def term(self) -> str:
        """The name of the tip, which stands once in a report: thousands of numbers have the same."""
        probes = f":{self.passed}/{self.failed}" if self.mark == "adaptive" else ""
        return f"trust:{self.why[0] if self.why else self.because}{probes}"

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
class Notice:
    """Something that the reader must know first."""

    kind: Literal["note", "warn", "fail"]
    title: str
    text: str
    anchor: str = ""
    link: str = ""


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
