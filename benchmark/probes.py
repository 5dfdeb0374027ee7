"""Probes: checks for masked gradients that a suite asks for by `probes`.

Each says of a defense under one attacker what the signs of Athalye, Carlini and Wagner (2018, arXiv:1802.00420, section
3.1) and Carlini et al. (2019, arXiv:1902.06705) say of attacks in general; PCL (Mustafa et al. 2019, arXiv:1904.00887,
section 5.5) claims the first three of itself. Sets of attacks are compared by their worst case per image, so that one
attack that is set up badly decides nothing: of that, alarms tell. Both decide by `benchmark.alarms.contradicts`.

No cell is run for them: they compare those of the grid.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from benchmark.alarms import ATHALYE, CARLINI, LEAST_DIFFERENCE, Judged, contradicts
from benchmark.metrics import attacked
from benchmark.options import Budget
from benchmark.selection import CLEAN
from benchmark.statistics import Estimate, PairedDifference, compare_paired, rate
from benchmark.suite import KNOWLEDGE, ProbeName

if TYPE_CHECKING:
    from benchmark.results import CellResult

Verdict = Literal["pass", "fail", "not run"]
PCL = "Mustafa et al. 2019, arXiv:1904.00887, section 5.5"


@dataclass(frozen=True)
class ProbeKind:
    """What a probe is, in the words that docs and report show.

    Attributes:
        title: what should be, as a heading.
        value: what its number is.
        fails: when it fails.
        needs: the rows that it compares.
    """

    name: ProbeName
    title: str
    value: str
    fails: str
    needs: str
    source: str

    @property
    def is_share(self) -> bool:
        """Whether its number is a share of images that should be 0, rather than a difference of two accuracies."""
        return self.name in ("large-budget", "random-search")


KINDS: dict[ProbeName, ProbeKind] = {
    kind.name: kind
    for kind in (
        ProbeKind(
            "one-step",
            "Iterative attacks are stronger than one step",
            "Share of images right under all attacks of one step, less the share right under all iterative ones.",
            "One step is stronger for sure.",
            "An attack of one step and an iterative one, of equal norm and budget.",
            f"{ATHALYE}; {CARLINI}; {PCL}",
        ),
        ProbeKind(
            "knowledge",
            "White-box attacks are stronger than black-box ones",
            "Share of images right where the attacker knows less, less the share right under the same attacks of one "
            "who knows more.",
            "Who knows less is stronger for sure.",
            "The same attack under two kinds of knowledge, such as gray-box and black-box.",
            f"{ATHALYE}; {CARLINI}; {PCL}",
        ),
        ProbeKind(
            "large-budget",
            "Accuracy goes to zero as the budget grows",
            "Share of images right under every attack whose budget lets all images become the same grey.",
            "The share is above 1 % for sure.",
            "An attack with eps of at least half the pixel range: 0.5 in linf, 0.5 times the root of the number of "
            "pixels and channels in l2.",
            f"{ATHALYE}; {CARLINI}; {PCL}",
        ),
        ProbeKind(
            "random-search",
            "Random search finds nothing that gradients miss",
            "Share of images that an attack without gradients turns wrong and no attack with gradients does, within "
            "the same budget.",
            "The share is above 1 % for sure.",
            "An attack without gradients, such as `square`, and one with gradients, of equal norm and budget.",
            f"{ATHALYE}; {CARLINI}",
        ),
    )
}
"""All probes by name, in the order in which they are shown."""


@dataclass(frozen=True)
class Probed:
    """What a probe says of a defense under one kind of attacker.

    Attributes:
        attack: the suite's label, of a probe of one attack; "" of one that compares several on a defense.
        norm, eps: where the comparison that decides was made, as the suite writes them; "" where there is none.
        knowledge: of the attacker who should be the stronger one; "" where nobody attacks the defense itself.
        value, ci_low, ci_high: NaN where it was not run.
        p_value: exact McNemar test of no difference; NaN where a share decides.
        finding: the numbers in words, or what is lacking.
    """

    dataset: str
    model: str
    attack: str
    norm: str
    eps: str
    defense: str
    knowledge: str
    seed: str
    probe: ProbeName
    verdict: Verdict
    value: float
    ci_low: float
    ci_high: float
    p_value: float
    n: int
    finding: str


@dataclass(frozen=True)
class _Match:
    """Two sets of attacks on a defense, at one norm and budget.

    Attributes:
        strong: those that should leave less.
        weak: the others; of `large-budget` there are none.
        aim: what the strong ones work on, as `Attacker.aim`.
    """

    knowledge: str
    norm: str
    eps: str
    aim: str
    strong: tuple[CellResult, ...]
    weak: tuple[CellResult, ...]

    @property
    def absent(self) -> list[CellResult]:
        """Those without numbers."""
        return [cell for cell in (*self.strong, *self.weak) if cell.cell is None]


def probed(results: Sequence[CellResult], names: Sequence[ProbeName]) -> list[Probed]:
    """Return the verdict of each probe in `names` on every defense and attacker; equal arrays must be the same object.

    Probes stand in the order of `KINDS`, defenses in that of the results.
    """
    numbers = {id(result): number for number, result in enumerate(results)}

    def judged(cells: Sequence[CellResult]) -> tuple[Judged, ...]:
        return tuple(Judged(numbers[id(r)], r, r.cell) for r in cells if r.cell is not None)

    found = []
    for name, places in _planned(results, names):
        whole = {
            place: [_Compared(m, judged(m.strong), judged(m.weak)) for m in matches if not m.absent]
            for place, (_, matches) in places.items()
        }
        tests = len({one.numbers for compared in whole.values() for one in compared})
        for place, (cells, matches) in places.items():
            absent = [cell for match in matches for cell in match.absent]
            if whole[place]:
                row = _decided(name, place, whole[place], tests)
                left_out = f"; left out: {_names(absent)}, which failed or were not run" if absent else ""
                found.append(replace(row, finding=row.finding + left_out))
            else:
                why = f"no numbers of {_names(absent)}, which failed or were not run"
                found.append(_not_run(name, place, why if absent else _lacking(name, cells, place.knowledge)))
    return found


def unanswerable(results: Sequence[CellResult], names: Sequence[ProbeName]) -> list[Probed]:
    """Return the probes that cannot be run on these cells, whatever their numbers, with what they lack."""
    return [
        _not_run(name, place, _lacking(name, cells, place.knowledge))
        for name, places in _planned(results, names)
        for place, (cells, matches) in places.items()
        if not matches
    ]


class _Place(NamedTuple):
    """A defense and what its attacker knows."""

    dataset: str
    model: str
    defense: str
    seed: str
    knowledge: str


def _planned(
    results: Sequence[CellResult], names: Sequence[ProbeName]
) -> Iterator[tuple[ProbeName, dict[_Place, tuple[list[CellResult], list[_Match]]]]]:
    """Yield per probe and place the attacked cells of the defense, and what is to be compared."""
    systems: dict[tuple[str, str, str, str], list[CellResult]] = {}
    for result in results:
        own = systems.setdefault((result.dataset, result.model, result.defense, str(result.seed)), [])
        if result.attack != CLEAN:
            own.append(result)
    for name in (kind for kind in KINDS if kind in names):
        yield (
            name,
            {
                _Place(*system, knowledge): (cells, [m for m in _MATCHES[name](cells) if m.knowledge == knowledge])
                for system, cells in systems.items()
                for knowledge in _attackers(cells)
            },
        )


def _not_run(name: ProbeName, place: _Place, why: str) -> Probed:
    nan = math.nan
    return Probed(
        place.dataset, place.model, "", "", "", place.defense, place.knowledge, place.seed, name, "not run",
        nan, nan, nan, nan, 0, why,
    )  # fmt: skip


# -- what is compared -------------------------------------------------------------------------------------------------


def _attackers(cells: Sequence[CellResult]) -> list[str]:
    """Return the kinds of knowledge under which the defense itself is attacked; "" where there is none."""
    return list(dict.fromkeys(cell.knowledge for cell in cells if _aim(cell) is not None)) or [""]


def _aim(cell: CellResult) -> str | None:
    return None if cell.attacker is None else cell.attacker.aim


def _spends(cell: CellResult) -> bool:
    return bool(cell.eps) and cell.attacker is not None and not cell.attacker.nearest


def _by_budget(
    cells: Sequence[CellResult], keep: Callable[[CellResult], bool]
) -> dict[tuple[str, str, str, float], list[CellResult]]:
    """Return those that attack the defense itself by knowledge, norm, aim and budget."""
    found: dict[tuple[str, str, str, float], list[CellResult]] = {}
    for cell in cells:
        aim = _aim(cell)
        if aim is not None and cell.eps and keep(cell):
            found.setdefault((cell.knowledge, cell.norm, aim, float(Budget(cell.eps))), []).append(cell)
    return found


def _is_single(cell: CellResult) -> bool:
    return _spends(cell) and cell.attacker is not None and cell.attacker.steps == 1


def _is_iterative(cell: CellResult) -> bool:
    return _spends(cell) and cell.attacker is not None and (cell.attacker.steps or 0) > 1


def _uses_gradient(cell: CellResult) -> bool:
    return cell.attacker is not None and cell.attacker.uses_gradient


def _match(where: tuple[str, str, str, float], strong: Sequence[CellResult], weak: Sequence[CellResult]) -> _Match:
    knowledge, norm, aim, _ = where
    return _Match(knowledge, norm, (weak or strong)[0].eps, aim, tuple(strong), tuple(weak))


def _one_step(cells: Sequence[CellResult]) -> Iterator[_Match]:
    single, many = _by_budget(cells, _is_single), _by_budget(cells, _is_iterative)
    for where in single:
        if where in many:
            yield _match(where, many[where], single[where])


def _knowledge(cells: Sequence[CellResult]) -> Iterator[_Match]:
    for where, knowing in _by_budget(cells, _spends).items():
        weaker = KNOWLEDGE[KNOWLEDGE.index(where[0]) + 1 :]
        less = [cell for cell in cells if _spends(cell) and cell.knowledge in weaker]
        shared = set(map(_same, less)) & set(map(_same, knowing))
        if shared:
            strong, weak = ([cell for cell in side if _same(cell) in shared] for side in (knowing, less))
            yield _match(where, strong, weak)


def _same(cell: CellResult) -> tuple[str, str]:
    """Return what is equal for one attack under two labels, such as one for each substitute."""
    return (cell.sweep or cell.attack, cell.eps)


def _large_budget(cells: Sequence[CellResult]) -> Iterator[_Match]:
    largest: dict[tuple[str, str, str], list[CellResult]] = {}
    for (*where, _), own in sorted(_by_budget(cells, _erases).items(), key=lambda one: -one[0][3]):
        # What lies within a smaller budget lies within a larger one.
        largest.setdefault((where[0], where[1], where[2]), []).extend(own)
    for (knowledge, norm, aim), own in largest.items():
        yield _match((knowledge, norm, aim, 0.0), own, ())


def _erases(cell: CellResult) -> bool:
    return _spends(cell) and cell.attacker is not None and cell.attacker.erases


def _random_search(cells: Sequence[CellResult]) -> Iterator[_Match]:
    gradient = _by_budget(cells, _uses_gradient)
    for where, search in _by_budget(cells, lambda cell: not _uses_gradient(cell)).items():
        if where in gradient:
            budgets = [other for other in gradient if other[:3] == where[:3] and other[3] <= where[3]]
            yield _match(where, [cell for budget in budgets for cell in gradient[budget]], search)


_MATCHES: dict[ProbeName, Callable[[Sequence[CellResult]], Iterator[_Match]]] = {
    "one-step": _one_step,
    "knowledge": _knowledge,
    "large-budget": _large_budget,
    "random-search": _random_search,
}


# -- what decides -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Compared:
    """A match whose cells all have numbers."""

    match: _Match
    strong: tuple[Judged, ...]
    weak: tuple[Judged, ...]

    @property
    def numbers(self) -> tuple[Hashable, ...]:
        """What is equal for matches with the same outcome, such as those of all defenses around a classifier."""
        return tuple(frozenset(cell.source(self.match.aim) for cell in side) for side in (self.strong, self.weak))

    def left(self, side: Sequence[Judged]) -> np.ndarray:
        """Return per image (N,) the share of judgements that withstands the attack of a side that does worst by it."""
        worst: np.ndarray = np.min([cell.outcome(self.match.aim) for cell in side], axis=0)
        return worst

    @property
    def repeats(self) -> int:
        if self.match.aim == "base":
            return 1
        return max(len(np.atleast_2d(attacked(cell.cell).label)) for cell in (*self.strong, *self.weak))

    def test(self) -> PairedDifference:
        """Return what the strong side leaves less what the weak side leaves: above 0 is as it should not be."""
        return compare_paired(self.left(self.strong), self.left(self.weak))

    def share(self) -> Estimate:
        """Return the share of images left by the strong side, and turned wrong by the weak one where there is one.

        Of randomised defenses an image counts where all judgements say so: differences of shares are noise, too.
        """
        counted = self.left(self.strong)
        if self.weak:
            counted = ((counted >= 1) & (self.left(self.weak) <= 0)).astype(np.float64)
        found = rate(counted, repeats=1 if self.weak else self.repeats)
        assert found is not None
        return found


def _decided(name: ProbeName, place: _Place, compared: Sequence[_Compared], tests: int) -> Probed:
    """Return what the comparison says that decides."""
    p_value = math.nan
    if KINDS[name].is_share:
        one = max(compared, key=lambda one: one.share().low)
        found, match = one.share(), one.match
        failed = found.low > LEAST_DIFFERENCE
        where = f"{match.norm} {match.eps}"
        if name == "large-budget":
            words = f"{_names(match.strong)} leave {_percent(found.value)} right, up to {where} (n = {found.n})"
        else:
            words = (
                f"{_names(match.weak)} turns {round(found.value * found.n)} of {found.n} images wrong that no gradient "
                f"of {_names(match.strong)} does, at {where}"
            )
    else:
        tested = [(one, one.test()) for one in compared]
        against = [pair for pair in tested if contradicts(pair[1], tests)]
        failed = bool(against)
        if against:
            one, test = min(against, key=lambda pair: (pair[1].p_value, -pair[1].difference))
        else:
            # Where the weak side leaves nothing, the strong one cannot leave less.
            room = [pair for pair in tested if pair[0].left(pair[0].weak).any()] or tested
            one, test = max(room, key=lambda pair: pair[1].difference)
        match, p_value = one.match, test.p_value
        found = Estimate(0.0 - test.difference, 0.0 - test.high, 0.0 - test.low, test.n)
        strong, weak = (_percent(float(one.left(side).mean())) for side in (one.strong, one.weak))
        other = "one step" if name == "one-step" else f"who knows less, {_knowledges(match.weak)},"
        words = (
            f"{_names(match.strong)} leave {strong} right, and {other} ({_names(match.weak)}) {weak}, at {match.norm} "
            f"{match.eps} (n = {test.n}, p = {p_value:.1g})"
        )
    verdict: Verdict = "fail" if failed else "pass"
    return Probed(
        place.dataset, place.model, "", match.norm, match.eps, place.defense, place.knowledge, place.seed, name,
        verdict, found.value, found.low, found.high, p_value, found.n, words,
    )  # fmt: skip


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _names(cells: Sequence[CellResult]) -> str:
    names = list(dict.fromkeys(cell.attack for cell in cells))
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def _knowledges(cells: Sequence[CellResult]) -> str:
    return ", ".join(dict.fromkeys(cell.knowledge for cell in cells))


# -- what is lacking --------------------------------------------------------------------------------------------------


def _lacking(name: ProbeName, cells: Sequence[CellResult], knowledge: str) -> str:
    """Return what the suite would have to run so that there is something to compare."""
    needs = KINDS[name].needs
    if not cells:
        return f"no attack was run. Needed: {needs}"
    if not knowledge:
        return f"all attacks are transferred from other networks ({_knowledges(cells)}). Needed: {needs}"
    own = [cell for cell in cells if cell.knowledge == knowledge and _aim(cell) is not None]
    if name == "knowledge":
        return f"no attack was run under {knowledge} and where the attacker knows less. Needed: {needs}"
    if name == "large-budget":
        budgets = sorted({(cell.norm, float(Budget(cell.eps)), cell.eps) for cell in own if _spends(cell)})
        largest = ", ".join(f"{norm} {eps}" for norm, _, eps in budgets[-1:]) or "none"
        return f"the largest budget is {largest}. Needed: {needs}"
    sides = {
        "one-step": (("of one step", _is_single), ("iterative", _is_iterative)),
        "random-search": (
            ("without gradients", lambda cell: bool(cell.eps) and not _uses_gradient(cell)),
            ("with gradients", lambda cell: bool(cell.eps) and _uses_gradient(cell)),
        ),
    }[name]
    absent_sides = [words for words, fits in sides if not any(map(fits, own))]
    if absent_sides:
        return f"no attack {' and none '.join(absent_sides)} was run with a budget under {knowledge}. Needed: {needs}"
    return f"attacks {' and '.join(words for words, _ in sides)} have no norm and budget in common. Needed: {needs}"
