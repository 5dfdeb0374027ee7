"""What is said of a run, as typed facts: verdicts, and what is found beside them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bench_report.table import Place
from bench_report.values import DifferenceView, Estimate, TrustView

GONE: tuple[Literal["failed", "missing", "left-out"], ...] = ("failed", "missing", "left-out")
"""Why an attack has no result, what is to be seen to first."""
BROKEN = 0.1
"""Withstanding fewer attacked images than this is broken, whatever the clean accuracy."""
CERTAIN = 0.05
"""Level of tests, after Holm's correction over all comparisons that the report of a run makes."""

Standing = Literal["holds", "fails", "undecided", "baseline"]
Learned = Literal["all", "some", "alike", "none"]
"""Which of the attacks that a defense meets it has learned from; `alike`: from none, but from their methods."""
Why = Literal[
    "",
    "failed",
    "missing",
    "left-out",
    "doubt",
    "baseline-doubt",
    "baseline-partial",
    "baseline-clean",
    "no-clean",
    "guessing",
    "costly",
    "level",
    "no-baseline",
    "weak-attacks",
    "unpaired",
    "chance",
]
Bound = str
"""Why a number is an upper bound, as a key of `benchmark.trust.marks.TRUST_RULES`; "" where it is none."""


@dataclass(frozen=True)
class Scope:
    """What a number is about.

    Attributes:
        attack: label of the group of attacks, or of the only attack.
        attacks: labels of its attacks.
        hardest_of: how many groups there are of which none holds another; this one is the hardest, see `settings`.
        budget: at which the attacks of a sweep were run here, one of `budgets`, the smallest first; "" for no sweep.
    """

    dataset: str
    model: str
    knowledge: str
    attack: str
    attacks: tuple[str, ...]
    hardest_of: int = 1
    budget: str = ""
    budgets: tuple[str, ...] = ()


@dataclass(frozen=True)
class Comparison:
    """Two defenses on the same images, in the same scope and seeds.

    Attributes:
        difference: first minus second.
        p: corrected by Holm over the comparisons that the report of the run makes; `of` says how many these are.
    """

    scope: Scope
    metric: str
    first: str
    second: str
    difference: DifferenceView
    p: float = 1.0
    of: int = 1

    @property
    def better(self) -> bool:
        """Whether the first does better beyond chance."""
        return self.difference.difference > 0 and self.p <= CERTAIN


@dataclass(frozen=True)
class Verdict:
    """Whether a defense holds, with one model.

    Attributes:
        baseline: the undefended system in the same scope, "" for none.
        why: what decides where it neither holds nor fails; of the baseline, `weak-attacks` where it holds itself.
        robust: share of images that are labelled rightly or rejected under every attack; of all attacks that were
            finished where `partial`, which the worst case of all is not above.
        clean: share of clean images that are labelled rightly and not rejected; `cost` is against the baseline's.
        level: share from which on it holds.
        absent: attacks without a result.
        seeds: of the run, of which `robust` has those that it says.
        hardest: the attack that leaves least alone, and what it leaves.
        page: of the cell or group that `robust` is of; `trust` is its mark.
        within: the verdict at a smaller budget of the sweep, where it fails for that alone.
    """

    scope: Scope
    defense: str
    baseline: str
    standing: Standing
    why: Why
    bound: Bound
    robust: Estimate | None
    partial: bool
    clean: Estimate | None
    cost: DifferenceView | None
    false_alarms: Estimate | None
    level: float
    absent: int
    seeds: int
    hardest: tuple[str, Estimate, str] | None
    against: Comparison | None
    page: str
    trust: TrustView | None = None
    within: Verdict | None = None

    @property
    def badness(self) -> int:
        """How much worse than holding it is: undecided is, and not holding more."""
        return {"holds": 0, "baseline": 0, "undecided": 1, "fails": 2}[self.standing]

    @property
    def sort_key(self) -> tuple[int, float]:
        """What holds first; what says nothing, and what nothing is compared with, last."""
        order = {"holds": 0 if not self.bound else 1, "undecided": 2, "fails": 3, "baseline": 5}[self.standing]
        if self.why in ("guessing", "costly", "doubt", "baseline-doubt"):
            order = 4
        return order, -(self.robust.value if self.robust else -1.0)


@dataclass(frozen=True)
class Reach:
    """How far a defense holds as the budget grows.

    Attributes:
        holds: its verdict at the largest budget up to which it holds, None where it holds at none.
        beyond: its verdict at the next budget, None where it holds at all of them.
    """

    holds: Verdict | None
    beyond: Verdict | None


@dataclass(frozen=True)
class VerdictRow:
    """A defense over the models of a group: its verdict with the model where it fares worst.

    Attributes:
        models: how many there are.
        taught: attacks that it learns from.
        worse: its verdict under another group of attacks, where that is worse.
        reach: None where the attacks are no sweep.
    """

    defense: str
    hardest: Verdict
    models: int
    taught: tuple[str, ...]
    worse: Verdict | None = None
    reach: Reach | None = None

    @property
    def spoken_for(self) -> Verdict:
        """The verdict that counts over all budgets: the last that it holds up to, else what ends it before the line's.

        What a sweep leaves at larger budgets than the line's counts for nothing: nothing withstands the largest.
        """
        if self.reach is None:
            return self.hardest
        beyond, budgets = self.reach.beyond, self.hardest.scope.budgets
        if self.reach.holds is not None:
            return self.reach.holds
        if beyond is None or budgets.index(beyond.scope.budget) > budgets.index(self.hardest.scope.budget):
            return self.hardest
        return max(self.hardest, beyond, key=lambda v: v.badness)


@dataclass(frozen=True)
class VerdictGroup:
    """Verdicts of one data set, attacker and set of attacks.

    Attributes:
        hardest_of: as in `Scope`, 0 for a group that is not the hardest.
        budget, budgets: as in `Scope`.
    """

    dataset: str
    knowledge: str
    attack: str
    attacks: tuple[str, ...]
    models: tuple[str, ...]
    rows: tuple[VerdictRow, ...]
    hardest_of: int = 1
    budget: str = ""
    budgets: tuple[str, ...] = ()

    @property
    def n(self) -> tuple[int, int] | None:
        """The fewest and most images that its numbers rest on, None where it has no numbers."""
        counts = [v.robust.n for row in self.rows if (v := row.hardest).robust and v.robust.n is not None]
        return (min(counts), max(counts)) if counts else None


@dataclass(frozen=True)
class Best:
    """The first of a setting's defenses against the second.

    Attributes:
        comparison: None where the two cannot be paired.
        level: defenses with the same number as the second.
        left_out: defenses without a number, or with one in doubt.
    """

    first: Verdict
    second: Verdict
    comparison: Comparison | None
    level: tuple[str, ...]
    left_out: tuple[str, ...]


@dataclass(frozen=True)
class TradeOff:
    """What the defenses of a setting keep on clean images, beside what they withstand of the same attacks at worst.

    Attributes:
        points: those with both numbers, over all attacks and seeds.
        front: those that no other is ahead of in one number without being behind in the other. An upper bound is ahead
            of upper bounds alone; what `loses`, is neither on it nor ahead of anything.
        loses: those that lose more than half of the clean images, or guess.
        taught: those that learn from attacks.
        left_out: defenses without such numbers, or with doubtful ones.
    """

    scope: Scope
    points: tuple[Verdict, ...]
    front: tuple[str, ...]
    loses: tuple[str, ...]
    taught: tuple[str, ...]
    left_out: tuple[str, ...]


@dataclass(frozen=True)
class Broken:
    """An attack that leaves next to nothing of a defense that is worth something on clean images."""

    place: Place
    bound: Bound
    robust: Estimate
    clean: Estimate
    false_alarms: Estimate | None
    rejects: bool
    page: str


@dataclass(frozen=True)
class Drop:
    """What becomes of a defense under the same attack once the attacker knows it."""

    place: Place
    before: Estimate
    after: Estimate
    page: str


@dataclass(frozen=True)
class Uneven:
    """A detector that catches one attack and misses more of another, in one setting: their intervals lie apart."""

    place: Place
    caught: Estimate
    missed_attack: str
    missed: Estimate
    false_alarms: Estimate | None
    bound: Bound
    page: str


@dataclass(frozen=True)
class Implied:
    """What a detector's claim implies of a classifier, and what the run's hardened networks keep at that budget.

    Attributes:
        budget: the largest of the attacks, as it is written; the classifier's is half of it.
        hardened: of the hardener that keeps most under all that was run at half the budget, with its name; None where
            the run has no such number.
    """

    accuracy: Estimate
    norm: str
    budget: str
    hardened: tuple[str, Estimate, str] | None


@dataclass(frozen=True)
class Alarms:
    """A defense that rejects more clean images than its threshold was set for."""

    place: Place
    rate: Estimate
    target: float
    page: str


@dataclass(frozen=True)
class Published:
    """A published value and what was measured where it applies.

    Attributes:
        told: `agrees`, `differs`, or `unknown`: the interval holds the value, and is too wide to have shown a
            difference of 5 points.
        places: how many cells it was compared with; `measured` is the one that is farthest off.
    """

    value: float
    measured: Estimate
    place: Place
    places: int
    told: Literal["agrees", "differs", "unknown"]
    page: str

    @property
    def difference(self) -> float:
        """Measured minus published."""
        return self.measured.value - self.value


@dataclass(frozen=True)
class PublishedCount:
    """How the published values of a suite fare, each counted once."""

    agrees: int
    differs: int
    unknown: int
    doubtful: int
    farthest: tuple[Published, ...]


@dataclass(frozen=True)
class BestKnown:
    """The attack that leaves least of a defense within some budgets, whatever its attacker knows."""

    attack: str
    knowledge: str
    left: Estimate
    page: str
