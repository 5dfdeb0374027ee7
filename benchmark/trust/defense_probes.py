"""Probes of defenses: sets of attacks on one, compared by their worst case per image.

So one attack that is set up badly decides nothing: of that, alarms tell. Both decide by `contradicts`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from benchmark.cells import attacked
from benchmark.names import CLEAN, KNOWLEDGE, ProbeName
from benchmark.options import Budget
from benchmark.statistics import Estimate, PairedDifference, compare_paired, rate
from benchmark.trust.alarms import Judged, contradicts
from benchmark.trust.probe_kinds import PROBES, Probed, Verdict
from benchmark.wording import shortened, tenths

if TYPE_CHECKING:
    from benchmark.cells import CellResult


@dataclass(frozen=True)
class Match:
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


class Place(NamedTuple):
    """A defense and what its attacker knows."""

    dataset: str
    model: str
    defense: str
    seed: str
    knowledge: str


def planned(
    results: Sequence[CellResult], names: Sequence[ProbeName]
) -> Iterator[tuple[ProbeName, dict[Place, tuple[list[CellResult], list[Match]]]]]:
    """Yield per probe and place the attacked cells of the defense, and what is to be compared."""
    systems: dict[tuple[str, str, str, str], list[CellResult]] = {}
    for result in results:
        own = systems.setdefault(result.system, [])
        if result.attack != CLEAN:
            own.append(result)
    for name in (kind for kind in PROBES if kind in names and kind in _MATCHES):
        yield (
            name,
            {
                Place(*system, knowledge): (cells, [m for m in _MATCHES[name](cells) if m.knowledge == knowledge])
                for system, cells in systems.items()
                for knowledge in _attackers(cells)
            },
        )


def not_run(name: ProbeName, place: Place, why: str) -> Probed:
    """Return the row of a probe that has nothing to compare."""
    nan = math.nan
    return Probed(
        place.dataset, place.model, "", "", "", place.defense, place.knowledge, place.seed, name, "not run",
        nan, nan, nan, nan, 0, why,
    )  # fmt: skip


def _attackers(cells: Sequence[CellResult]) -> list[str]:
    """Return the kinds of knowledge under which the defense itself is attacked; "" where there is none."""
    return list(dict.fromkeys(cell.knowledge for cell in cells if cell.aim is not None)) or [""]


def _spends(cell: CellResult) -> bool:
    return bool(cell.eps) and cell.attacker is not None and not cell.attacker.nearest


def _by_budget(
    cells: Sequence[CellResult], keep: Callable[[CellResult], bool]
) -> dict[tuple[str, str, str, float], list[CellResult]]:
    """Return those that attack the defense itself by knowledge, norm, aim and budget."""
    found: dict[tuple[str, str, str, float], list[CellResult]] = {}
    for cell in cells:
        aim = cell.aim
        if aim is not None and cell.eps and keep(cell):
            found.setdefault((cell.knowledge, cell.norm, aim, float(Budget(cell.eps))), []).append(cell)
    return found


def _is_single(cell: CellResult) -> bool:
    return _spends(cell) and cell.attacker is not None and cell.attacker.steps == 1


def _is_iterative(cell: CellResult) -> bool:
    return _spends(cell) and cell.attacker is not None and (cell.attacker.steps or 0) > 1


def _uses_gradient(cell: CellResult) -> bool:
    return cell.attacker is not None and cell.attacker.uses_gradient


def _match(where: tuple[str, str, str, float], strong: Sequence[CellResult], weak: Sequence[CellResult]) -> Match:
    knowledge, norm, aim, _ = where
    return Match(knowledge, norm, (weak or strong)[0].eps, aim, tuple(strong), tuple(weak))


def _one_step(cells: Sequence[CellResult]) -> Iterator[Match]:
    single, many = _by_budget(cells, _is_single), _by_budget(cells, _is_iterative)
    for where in single:
        if where in many:
            yield _match(where, many[where], single[where])


def _knowledge(cells: Sequence[CellResult]) -> Iterator[Match]:
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


def _large_budget(cells: Sequence[CellResult]) -> Iterator[Match]:
    largest: dict[tuple[str, str, str], list[CellResult]] = {}
    for (*where, _), own in sorted(_by_budget(cells, _erases).items(), key=lambda one: -one[0][3]):
        # What lies within a smaller budget lies within a larger one.
        largest.setdefault((where[0], where[1], where[2]), []).extend(own)
    for (knowledge, norm, aim), own in largest.items():
        yield _match((knowledge, norm, aim, 0.0), own, ())


def _erases(cell: CellResult) -> bool:
    return _spends(cell) and cell.attacker is not None and cell.attacker.erases


def _random_search(cells: Sequence[CellResult]) -> Iterator[Match]:
    gradient = _by_budget(cells, _uses_gradient)
    for where, search in _by_budget(cells, lambda cell: not _uses_gradient(cell)).items():
        if where in gradient:
            budgets = [other for other in gradient if other[:3] == where[:3] and other[3] <= where[3]]
            yield _match(where, [cell for budget in budgets for cell in gradient[budget]], search)


_MATCHES: dict[ProbeName, Callable[[Sequence[CellResult]], Iterator[Match]]] = {
    "one-step": _one_step,
    "knowledge": _knowledge,
    "large-budget": _large_budget,
    "random-search": _random_search,
}


@dataclass(frozen=True)
class Compared:
    """A match whose cells all have numbers."""

    match: Match
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
        """How many judgements stand behind the share of an image."""
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


def decided(name: ProbeName, place: Place, compared: Sequence[Compared], tests: int) -> Probed:
    """Return what the comparison says that decides."""
    p_value = math.nan
    most = PROBES[name].most
    if most is not None:
        one = max(compared, key=lambda one: one.share().low)
        found, match = one.share(), one.match
        failed = found.low > most
        where = f"{match.norm} {match.eps}"
        if name == "large-budget":
            words = f"{named(match.strong)} leave {tenths(found.value)} right, up to {where} (n = {found.n})"
        else:
            words = (
                f"{named(match.weak)} turns {round(found.value * found.n)} of {found.n} images wrong that no gradient "
                f"of {named(match.strong)} does, at {where}"
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
        strong, weak = (tenths(float(one.left(side).mean())) for side in (one.strong, one.weak))
        other = "one step" if name == "one-step" else f"who knows less, {_knowledges(match.weak)},"
        words = (
            f"{named(match.strong)} leave {strong} right, and {other} ({named(match.weak)}) {weak}, at {match.norm} "
            f"{match.eps} (n = {test.n}, p = {p_value:.1g})"
        )
    verdict: Verdict = "fail" if failed else "pass"
    return Probed(
        place.dataset, place.model, "", match.norm, match.eps, place.defense, place.knowledge, place.seed, name,
        verdict, found.value, found.low, found.high, p_value, found.n, words,
    )  # fmt: skip


def named(cells: Sequence[CellResult]) -> str:
    """Return the attacks of cells by their labels, the first four of them."""
    return shortened(list(dict.fromkeys(cell.attack for cell in cells)))


def _knowledges(cells: Sequence[CellResult]) -> str:
    return ", ".join(dict.fromkeys(cell.knowledge for cell in cells))


def lacking(name: ProbeName, cells: Sequence[CellResult], knowledge: str) -> str:
    """Return what the suite would have to run so that there is something to compare."""
    needs = PROBES[name].needs
    if not cells:
        return f"no attack was run. Needed: {needs}"
    if not knowledge:
        return f"all attacks are transferred from other networks ({_knowledges(cells)}). Needed: {needs}"
    own = [cell for cell in cells if cell.knowledge == knowledge and cell.aim is not None]
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
