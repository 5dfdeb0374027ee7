"""Probes: checks of attacks, and for masked gradients, that a suite asks for by `probes`.

Those of defenses say of a defense under one attacker what the signs of Athalye, Carlini and Wagner (2018,
arXiv:1802.00420, section 3.1) and Carlini et al. (2019, arXiv:1902.06705) say of attacks in general; PCL (Mustafa et
al. 2019, arXiv:1904.00887, section 5.5) claims the first three of itself. Sets of attacks are compared by their worst
case per image, so that one attack that is set up badly decides nothing: of that, alarms tell. Both decide by
`benchmark.alarms.contradicts`. No cell is run for them: they compare those of the grid.

Those of attacks look at one crafting each: the indicators of attack failure of Pintor et al. (2022, arXiv:2106.09947,
and their released code), more steps and restarts, and random draws (Carlini et al. 2019). A task of its own (`examine`)
runs the attack again on a few images, or looks around them; `benchmark.examination` records what happens there.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from benchmark.alarms import ATHALYE, CARLINI, LEAST_DIFFERENCE, PINTOR, Judged, contradicts
from benchmark.metrics import attacked, near, right, withstood
from benchmark.options import Budget
from benchmark.selection import CLEAN
from benchmark.statistics import Estimate, PairedDifference, compare_paired, mean, rate
from benchmark.suite import KNOWLEDGE, ProbeName

if TYPE_CHECKING:
    from benchmark.results import CellResult

Verdict = Literal["pass", "fail", "not run"]
PCL = "Mustafa et al. 2019, arXiv:1904.00887, section 5.5"
Asks = Literal["path", "doubled", "unconstrained", "draws", "neighbours", "labels"]
"""What a probe of attacks asks about a crafting: a task each, which several probes may read."""

RERUN = 64
"""Images that an attack with more steps and restarts is run on; `benchmark.alarms.SHOWN` for all else."""
DRAWN = 8
"""Images that withstand an attack around which is drawn at random, at most."""
DRAWS = 10_000
"""Uniform draws around each of them."""
NOISE, NOISES = 4 / 255, 100
"""Largest change of a pixel, and draws of it per image, for unstable predictions: those of the released code."""
MOST_FAILING = 0.1
"""A share of images in which an attack failed for a reason of its own fails a probe where its interval lies above this:
4 of 16."""
LAST, IMPROVED = 10, 0.05
"""A path has not converged where its last so many points, or the last quarter of a short one, bring more than this
share of its range: the released code's, which takes all of a short one."""


@dataclass(frozen=True)
class ProbeKind:
    """What a probe is, in the words that docs and report show.

    Attributes:
        title: what should be, as a heading.
        value: what its number is.
        fails: when it fails.
        needs: the rows that it compares, or the attack that it looks at.
        most: largest share (or mean) that passes; None where its number is a difference of two accuracies.
        asks: what it asks about each crafting; None where it compares attacks on a defense.
    """

    name: ProbeName
    title: str
    value: str
    fails: str
    needs: str
    source: str
    most: float | None = None
    asks: Asks | None = None

    @property
    def is_share(self) -> bool:
        """Whether its number is a share of images that should be 0, rather than a difference of two accuracies."""
        return self.most is not None


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
            most=LEAST_DIFFERENCE,
        ),
        ProbeKind(
            "random-search",
            "Random search finds nothing that gradients miss",
            "Share of images that an attack without gradients turns wrong and no attack with gradients does, within "
            "the same budget.",
            "The share is above 1 % for sure.",
            "An attack without gradients, such as `square`, and one with gradients, of equal norm and budget.",
            f"{ATHALYE}; {CARLINI}",
            most=LEAST_DIFFERENCE,
        ),
        ProbeKind(
            "unavailable-gradients",
            "The attack gets gradients",
            "Share of images for which most gradients that the attack got while the image was still classified rightly "
            "were exactly zero or not finite, or which withstand it without that it got any.",
            "The share is above 10 % for sure.",
            "An attack with gradients.",
            f"{PINTOR}",
            most=MOST_FAILING,
            asks="path",
        ),
        ProbeKind(
            "unstable-predictions",
            "The loss is smooth around the images",
            "Mean relative change of the logit margin under 100 draws of uniform noise of up to 4/255 per pixel, at "
            "most 1 per image.",
            "The mean is above 10 % for sure.",
            "Any attack.",
            f"{PINTOR}",
            most=MOST_FAILING,
            asks="neighbours",
        ),
        ProbeKind(
            "silent-success",
            "The attack returns what it finds",
            "Share of images that were classified wrongly at a point on the attack's way, within its budget, and "
            "withstand it at the point that it returns.",
            "The share is above 10 % for sure.",
            "Any attack on what is not random.",
            f"{PINTOR}",
            most=MOST_FAILING,
            asks="path",
        ),
        ProbeKind(
            "incomplete-optimisation",
            "The attack has converged",
            "Share of images that withstand the attack while its loss still fell at the end, by more than 5 % of its "
            "range over the last ten points (a quarter of fewer than 40).",
            "The share is above 10 % for sure.",
            "Any attack.",
            f"{PINTOR}",
            most=MOST_FAILING,
            asks="path",
        ),
        ProbeKind(
            "transfer-failure",
            "What fools the attacked network fools the deployed system",
            "Share of the images that fool the network that was attacked and are answered rightly, or flagged, by the "
            "deployed system; of a system that was attacked as a whole, answered rightly.",
            "The share is above 10 % for sure.",
            "Any attack.",
            f"{PINTOR}",
            most=MOST_FAILING,
            asks="labels",
        ),
        ProbeKind(
            "unconstrained-failure",
            "Without a budget the attack always succeeds",
            "Share of images that withstand the attack with a budget that reaches every image.",
            "The share is above 10 % for sure.",
            "Any attack.",
            f"{PINTOR}",
            most=MOST_FAILING,
            asks="unconstrained",
        ),
        ProbeKind(
            "more-steps",
            "More steps and restarts change nothing",
            "Share of images that withstand the attack with twice its steps and restarts, less the share that "
            "withstand it as it is.",
            "Fewer withstand more steps for sure.",
            "An attack with an option `steps` or `restarts`.",
            f"{CARLINI}",
            asks="doubled",
        ),
        ProbeKind(
            "random-draws",
            "Random draws find nothing that the attack misses",
            "Share of up to 8 images that withstand the attack of which one of 10,000 uniform draws from the ball is "
            "classified wrongly.",
            "The share is above 1 % for sure.",
            "An attack with a budget in linf or l2.",
            f"{ATHALYE}; {CARLINI}",
            most=LEAST_DIFFERENCE,
            asks="draws",
        ),
    )
}
"""All probes by name, in the order in which they are shown."""


@dataclass(frozen=True)
class Probed:
    """What a probe says of an attack, or of a defense under one kind of attacker.

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

    Probes of attacks say so of every attacked cell. Probes stand in the order of `KINDS`, defenses and cells in that of
    the results.
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
    for name in (kind for kind in KINDS if kind in names and KINDS[kind].asks):
        found += _examined(KINDS[name], results)
    return found


def unanswerable(results: Sequence[CellResult], names: Sequence[ProbeName]) -> list[Probed]:
    """Return the probes that cannot be run on these cells, whatever their numbers, with what they lack."""
    return [
        _not_run(name, place, _lacking(name, cells, place.knowledge))
        for name, places in _planned(results, names)
        for place, (cells, matches) in places.items()
        if not matches
    ] + [
        _of_cell(KINDS[name], result, result.unasked[name])
        for name in KINDS
        for result in results
        if name in names and name in result.unasked
    ]


def told_of_probes(rows: Sequence[Probed]) -> list[str]:
    """Return a line per probe that did not pass; of attacks on which it was not run for one reason, one line of all."""
    told, silent = [], Counter[tuple[str, str]]()
    for row in rows:
        where = " / ".join(filter(None, (row.dataset, row.model, row.attack, row.defense, row.knowledge, row.seed)))
        if row.verdict == "not run" and row.attack:
            silent[row.probe, row.finding] += 1
        elif row.verdict != "pass":
            told.append(f"probe {row.probe} of {where}: {row.verdict}: {row.finding}")
    cells = {count: f"{count} attacked {'cell' if count == 1 else 'cells'}" for count in silent.values()}
    return told + [f"probe {name}: not run for {cells[n]}: {why}" for (name, why), n in silent.items()]


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
    for name in (kind for kind in KINDS if kind in names and kind in _MATCHES):
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
    most = KINDS[name].most
    if most is not None:
        one = max(compared, key=lambda one: one.share().low)
        found, match = one.share(), one.match
        failed = found.low > most
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


# -- single attacks ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Said:
    """What a probe of attacks found about one crafting.

    Attributes:
        found: the value with its interval and n.
        words: what was seen.
        test: of what more steps change; None where a share decides.
    """

    found: Estimate
    words: str
    test: PairedDifference | None = None


def _of_cell(kind: ProbeKind, result: CellResult, said: _Said | str, tests: int = 1) -> Probed:
    """Return the row of an attacked cell; a text says why there is nothing to say."""
    r, nan = result, math.nan
    where = (r.dataset, r.model, r.attack, r.norm, r.eps, r.defense, r.knowledge, str(r.seed), kind.name)
    if isinstance(said, str):
        return Probed(*where, "not run", nan, nan, nan, nan, 0, said)
    found = said.found
    if kind.most is not None:
        failed = found.low > kind.most
    else:
        assert said.test is not None
        failed = contradicts(said.test, tests)
    p_value = nan if said.test is None else said.test.p_value
    return Probed(
        *where, "fail" if failed else "pass", found.value, found.low, found.high, p_value, found.n, said.words
    )


def _examined(kind: ProbeKind, results: Sequence[CellResult]) -> list[Probed]:
    """Return what a probe of attacks says of each attacked cell."""
    told = [(result, _asked(kind, result)) for result in results if result.attack != CLEAN]
    # Cells that share a crafting make one comparison.
    compared = {
        result.examinations[kind.asks] for result, said in told if kind.asks and isinstance(said, _Said) and said.test
    }
    tests = len(compared)
    return [_of_cell(kind, result, said, tests) for result, said in told]


def _asked(kind: ProbeKind, result: CellResult) -> _Said | str:
    if kind.name in result.unasked:
        return result.unasked[kind.name]
    if result.cell is None:
        return "the cell failed or was not run"
    if kind.name == "transfer-failure":
        return _transferred(result)
    assert kind.asks is not None
    answers = result.examined.get(kind.asks)
    if answers is None:
        return "what it asks about the attack failed or was not run"
    return _SAID[kind.name](result, answers)


def _won(result: CellResult, answers: Mapping[str, np.ndarray], when: str) -> np.ndarray:
    """Return per image (n,) the share of judgements in which the attack has reached what it works on."""
    y, aim = answers["y"], _aim(result)
    won = answers[f"{when}.base_label"] != y
    if aim in ("label", "undetected") and f"{when}.label" in answers:
        judged = answers[f"{when}.label"] != y[:, None]
        if aim == "undetected" and f"{when}.flagged" in answers:
            judged &= ~answers[f"{when}.flagged"]
        won = judged.mean(1)
    if result.attacker is not None and result.attacker.nearest and result.eps:
        won = won * near(answers[f"{when}.size"], float(Budget(result.eps)))
    shares: np.ndarray = won.astype(np.float64)
    return shares


def _share(counted: np.ndarray) -> Estimate:
    found = rate(counted.astype(np.float64))
    assert found is not None
    return found


def _standing(result: CellResult, answers: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return which images (n,) are right before the attack, in every judgement."""
    standing: np.ndarray = _won(result, {**answers, "before.size": 0 * answers["before.size"]}, "before") == 0
    return standing


NONE_RIGHT = "no image of the sample is right before the attack"


def _unavailable(result: CellResult, answers: Mapping[str, np.ndarray]) -> _Said | str:
    before = _standing(result, answers)
    if not before.any():
        return NONE_RIGHT
    came, early, blind = answers["gradients"].T
    never = (came == 0) & (_won(result, answers, "after") < 1)
    found = _share((never | (2 * blind > early))[before])
    return _Said(found, f"of {found.n} images {round(found.value * found.n)} gave the attack no gradient to speak of")


def _silent(result: CellResult, answers: Mapping[str, np.ndarray]) -> _Said | str:
    before = _standing(result, answers)
    if not before.any():
        return NONE_RIGHT
    on_the_way = (np.nan_to_num(answers["margin"], nan=np.inf) < 0).any(1)
    kept = (answers["after.base_label"] != answers["y"]) | (_won(result, answers, "after") > 0)
    found = _share((on_the_way & ~kept)[before])
    lost = round(found.value * found.n)
    return _Said(
        found, f"of {found.n} images {lost} were classified wrongly on the way and rightly in what is returned"
    )


def _incomplete(result: CellResult, answers: Mapping[str, np.ndarray]) -> _Said | str:
    before = _standing(result, answers)
    if not before.any():
        return NONE_RIGHT
    evades = _aim(result) == "undetected"
    falling = [
        _falls(suspicion if evades and np.isfinite(suspicion).any() else margin)
        for margin, suspicion in zip(answers["margin"], answers["suspicion"], strict=True)
    ]
    found = _share(((1 - _won(result, answers, "after")) * falling)[before])
    falls = found.value * found.n
    return _Said(found, f"of {found.n} images {falls:.3g} withstand the attack while its loss still fell at the end")


def _falls(losses: np.ndarray) -> bool:
    """Tell whether the least of the losses so far (P,), NaN where there is none, still fell at the end of a path."""
    losses = losses[np.isfinite(losses)]
    if len(losses) < 2:  # it has not even begun
        return True
    least, extent = np.minimum.accumulate(losses), float(losses.max() - losses.min())
    last = min(LAST, max(1, len(losses) // 4))
    return bool(least[-1 - last] - least[-1] > IMPROVED * extent)


def _rough(result: CellResult, answers: Mapping[str, np.ndarray]) -> _Said:
    found = mean(answers["change"])
    words = f"the margin changes by {_percent(found.value)} on average over {found.n} images"
    return _Said(Estimate(found.value, max(0.0, found.low), min(1.0, found.high), found.n), words)


def _unconstrained(result: CellResult, answers: Mapping[str, np.ndarray]) -> _Said | str:
    before = _standing(result, answers)
    if not before.any():
        return NONE_RIGHT
    far = {**answers, "after.size": 0 * answers["after.size"]}
    found = _share(1 - _won(result, far, "after")[before])
    left = found.value * found.n
    return _Said(found, f"of {found.n} images {left:.3g} withstand the attack with a budget that reaches every image")


def _doubled(result: CellResult, answers: Mapping[str, np.ndarray]) -> _Said:
    before, after = (1 - _won(result, answers, when) for when in ("before", "after"))
    test = compare_paired(before, after)
    found = Estimate(0.0 - test.difference, 0.0 - test.high, 0.0 - test.low, test.n)
    left, more = (_percent(float(side.mean())) for side in (before, after))
    words = f"as it is it leaves {left} right, with twice its steps and restarts {more} (n = {test.n}"
    return _Said(found, f"{words}, p = {test.p_value:.1g})", test)


def _drawn(result: CellResult, answers: Mapping[str, np.ndarray]) -> _Said:
    if not answers["drawn"].any():
        assert result.cell is not None
        return _Said(_share(np.zeros(len(result.cell.y))), "the attack leaves no image to draw around")
    found = _share(_won(result, answers, "after") > 0)
    count = round(found.value * found.n)
    return _Said(found, f"{DRAWS:,} draws each turn {count} of {found.n} images wrong that withstand the attack")


def _transferred(result: CellResult) -> _Said | str:
    """Return how many images fool what was attacked, and not what is deployed."""
    assert result.cell is not None
    cell, answers, aim = result.cell, result.examined.get("labels"), _aim(result)
    seen = attacked(cell)
    if aim == "base":
        before, after = cell.clean.base_label, seen.base_label
    elif answers is None:
        return "what it asks about the attack failed or was not run"
    else:
        before, after = answers["label"].T
        if result.attacker is not None and result.attacker.nearest and cell.eps is not None:
            after = np.where(near(answers["size"], cell.eps), after, before)
    fooled = (before == cell.y) & (after != cell.y)
    if not fooled.any():
        return "no image fools what was attacked"
    # Who attacks the whole system has met its detector: to be flagged is then to lose, and no failure to transfer.
    stands = right(seen, cell.y) if aim in ("label", "undetected") else withstood(cell)
    found = _share(stands.mean(0)[fooled])
    count = found.value * found.n
    words = f"of {found.n} images that fool what was attacked {count:.4g} do not fool the deployed system"
    return _Said(found, words)


_SAID: dict[ProbeName, Callable[[CellResult, Mapping[str, np.ndarray]], _Said | str]] = {
    "unavailable-gradients": _unavailable,
    "unstable-predictions": _rough,
    "silent-success": _silent,
    "incomplete-optimisation": _incomplete,
    "unconstrained-failure": _unconstrained,
    "more-steps": _doubled,
    "random-draws": _drawn,
}
