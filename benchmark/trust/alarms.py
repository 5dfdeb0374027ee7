"""Alarms: cheap signs that a number does not mean what it seems to mean, looked for in every run.

Two kinds: what a few images show of a network (`benchmark.trust.looks`), and what finished cells say about each other.
Nothing here changes a number or the status of a row.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from benchmark.cells import Cell, Seen, attacked, right, withstood
from benchmark.metrics.attack import Auroc
from benchmark.metrics.metric import MetricValue
from benchmark.names import KNOWLEDGE
from benchmark.statistics import PairedDifference, compare_paired, wilson
from benchmark.trust.looks import ALONE, DIRECTIONS
from benchmark.wording import shortened, tenths

if TYPE_CHECKING:
    from benchmark.cells import CellResult


Name = Literal[
    "probabilities",
    "gradient",
    "random-step",
    "random",
    "neighbours",
    "one-step",
    "knowledge",
    "eps",
    "inverted-score",
    "constant-score",
    "flags-clean",
    "unbeaten",
]
Reach = Literal["attack", "attacks", "numbers"]
"""What an alarm tells of: one attack, which a stronger one beside it makes up for; attacks, whose successes stand, so
that accuracy is at most what was measured; or the numbers themselves."""


@dataclass(frozen=True)
class AlarmKind:
    """What an alarm is, in the words that docs and report show.

    Attributes:
        sign: what was seen, as a heading.
        meaning: what the numbers of a flagged cell may be instead of what they seem.
        remedy: what to do.
        reach: what it tells of.
        source: where the sign was published, "" for a plain contradiction.
    """

    name: Name
    sign: str
    meaning: str
    remedy: str
    reach: Reach
    source: str = ""


ATHALYE = "Athalye, Carlini and Wagner 2018, arXiv:1802.00420, section 3.1"
CARLINI = "Carlini et al. 2019, arXiv:1902.06705"
PINTOR = "Pintor et al. 2022, arXiv:2106.09947"
ALARMS: dict[Name, AlarmKind] = {
    kind.name: kind
    for kind in (
        AlarmKind(
            "probabilities",
            "Outputs are probabilities",
            "Attacks take them for logits: a second softmax flattens their loss, and robustness is overestimated.",
            "Let the network end with its logits: remove the softmax (or sigmoid) at its end.",
            "attacks",
            "Carlini and Wagner 2017, arXiv:1608.04644",
        ),
        AlarmKind(
            "gradient",
            "Gradients are zero or not finite",
            "A gradient attack is blind where the gradient of the loss in the image is exactly zero or not finite, "
            "and robustness is overestimated.",
            "Give the attacker a differentiable stand-in (`surrogate`), and add attacks without gradients and "
            "transferred ones.",
            "attacks",
            f"{ATHALYE}; {PINTOR}",
        ),
        AlarmKind(
            "random-step",
            "A random step does more than one along the gradient",
            "What gradient attacks follow is not the slope of what answers: a ripple drowns it, or the backward pass "
            "is another network's. Robustness is overestimated.",
            "Mend `surrogate`, or take the ripple out for the attacker; add attacks without gradients and transferred "
            "ones.",
            "attacks",
            f"{ATHALYE}; {CARLINI}",
        ),
        AlarmKind(
            "random",
            "The same images twice give other logits",
            "Labels and gradients are drawn anew in every pass, so that attack and judgement meet different networks.",
            "Switch dropout and other noise off in eval mode, or declare the defense `randomised` and let attacks "
            "average over draws.",
            "numbers",
            f"{ATHALYE}; {CARLINI}",
        ),
        AlarmKind(
            "neighbours",
            "An image alone and in a batch gets other logits",
            "Labels depend on which images share a batch, as with batch statistics in use, and the numbers hold for "
            "this order of images only.",
            "Let the network use running statistics in eval mode, and nothing else of other images.",
            "numbers",
        ),
        AlarmKind(
            "one-step",
            "One step beats many",
            "The stronger attack of two that differ in their steps does worse: gradients mislead it or it is set up "
            "badly, and robustness is overestimated.",
            "Check the step size, the number of steps and the loss of the iterative attack; look for masked gradients.",
            "attack",
            f"{ATHALYE}; {CARLINI}",
        ),
        AlarmKind(
            "knowledge",
            "An attacker who knows more does worse",
            "What the attacker was given to differentiate misleads it, and robustness against it is overestimated.",
            "Mend `surrogate` or `detector_loss`; until then the number of the attacker who knows less counts.",
            "attacks",
            f"{ATHALYE}; {CARLINI}",
        ),
        AlarmKind(
            "eps",
            "Accuracy does not fall with eps",
            "A larger budget holds every attack of a smaller one. An accuracy that rises with it, or stays where it "
            "is, tells of the attack and not of the defense.",
            "Check step size and steps at the large budget; look for masked gradients.",
            "attack",
            f"{ATHALYE}; {CARLINI}",
        ),
        AlarmKind(
            "inverted-score",
            "AUROC below one half",
            "The score falls with suspicion, at least under this attack. A threshold on it flags the wrong images.",
            "A score must rise with suspicion: turn its sign, unless the attack is the reason.",
            "numbers",
        ),
        AlarmKind(
            "constant-score",
            "The score is constant",
            "All clean and attacked images have one score, so that it tells nothing and an AUROC of one half is no "
            "result.",
            "Check that the score depends on the image, and that it is not rounded or cut off.",
            "numbers",
        ),
        AlarmKind(
            "flags-clean",
            "Most clean images are flagged",
            "What rejects nearly everything withstands every attack and answers nobody: what it flags of attacked "
            "images is no detection.",
            "Check the sign of the score and what the defense flags by itself, or leave the flags to the host; lower a "
            "`false_positive_rate` of the protocol that asks for as much.",
            "numbers",
            CARLINI,
        ),
        AlarmKind(
            "unbeaten",
            "Accuracy 1.0 under every attack",
            "No attack changed a single answer. Attacks that do not work look just like that.",
            "Raise budgets until something breaks, and add attacks without gradients and transferred ones.",
            "attacks",
            f"{ATHALYE}; {CARLINI}",
        ),
    )
}
"""All alarms by name, in the order in which they are shown."""
LEVEL = 0.01
"""A comparison of cells raises an alarm where its p-value, times the number of such comparisons in the run, is at most
this (Bonferroni): at most one honest run in a hundred has a false one of its sort."""
LEAST_DIFFERENCE = 0.01
"""Smaller differences of accuracy raise none, however many images confirm them."""
LEAST_IMAGES = 20
"""With fewer images an accuracy of 1.0 is no surprise."""
LARGE_EPS = {"linf": 4 / 255, "l2": 0.5}
"""The smallest budgets of RobustBench's threat models (Croce et al. 2021, arXiv:2010.09670): ImageNet, CIFAR-10."""
FLAT_FROM = 4.0
"""Budgets must differ by this factor before an accuracy that stays is strange: few images are hard so far out."""
MOST_FALL = 0.05
"""An accuracy does not fall with eps where the upper end of the interval of its fall is at most this."""
MOST_FLAGGED = 0.5
"""A defense that surely flags more of the clean images than this has no use, whatever it flags of attacked ones."""
BROKEN = 0.1
"""An accuracy whose interval reaches down to this need not fall any more."""
BLIND = 0.25
"""Share of these images with a gradient of exactly zero from which on it is an alarm; single images may saturate."""
MOST_ASTRAY = 0.1
"""A share of images whose gradient leads nowhere is an alarm where its interval lies above this: 4 of 16. Of sound
gradients next to none do, two of a hundred through a coarse rounding; of those of another network two in three."""
LOGIT_TOLERANCE = 1e-2
"""Differences of logits above this share of their spread over these images are no rounding: sums of float32 in
another order come to some 1e-7 and TF32 rounds by 5e-4, dropout and batch statistics move logits by more."""
SIGMOID_SPREAD = 0.5
"""Outputs in [0, 1] that sum to something else are those of a sigmoid where they spread so far. Nearer together they
may be logits of a network that has hardly learned; a sigmoid is nearly straight there and flattens nothing."""


@dataclass(frozen=True)
class Alarm:
    """An alarm and the cells whose numbers it puts in doubt.

    Attributes:
        finding: what was seen, with its numbers, in one sentence.
        value: the number that raised it.
        against: what it was held against, NaN where nothing but the number speaks.
        n: images that it rests on.
        cells: numbers of the results concerned.
    """

    kind: AlarmKind
    finding: str
    value: float
    against: float
    n: int
    cells: tuple[int, ...]


def raised(results: Sequence[CellResult]) -> list[Alarm]:
    """Return the alarms of a run, in the order of `ALARMS`; equal arrays must be the same object."""
    numbered = list(enumerate(results))
    cells = [Judged(number, result, result.cell) for number, result in numbered if result.cell is not None]
    found = [
        *_looks(cells),
        *_one_step(cells),
        *_knowledge(cells),
        *_budgets(cells),
        *_scores(cells),
        *_flags(cells),
        *_unbeaten(cells),
    ]
    order = list(ALARMS)
    return sorted(found, key=lambda alarm: order.index(alarm.kind.name))


@dataclass(frozen=True)
class Judged:
    """A finished cell, with its number among the results of the run."""

    number: int
    result: CellResult
    cell: Cell

    @property
    def system(self) -> tuple[str, ...]:
        """Data set, model, defense and seed."""
        return self.result.system

    @property
    def aim(self) -> str | None:
        """What its attack works on directly, as `Attacker.aim`."""
        return self.result.aim

    @property
    def spends(self) -> bool:
        """Return whether its attack spends a budget, so that a weaker one must not do better."""
        return self.cell.eps is not None and self.result.attacker is not None and not self.result.attacker.nearest

    def outcome(self, aim: str) -> np.ndarray:
        """Return the share of judgements per image (N,) in which the attack missed `aim`."""
        if aim == "base":
            shares: np.ndarray = (attacked(self.cell).base_label == self.cell.y).astype(np.float64)
            return shares
        judged = right(attacked(self.cell), self.cell.y) if aim == "label" else withstood(self.cell)
        return judged.mean(0)

    def source(self, aim: str) -> tuple[Hashable, ...]:
        """Return what is equal for cells with the same outcome, such as those of all defenses around a classifier."""
        answers, network = attacked(self.cell), (self.result.dataset, self.result.model, self.result.seed)
        if aim == "base":
            return (*network, id(answers.base_label))
        return (*network, id(answers.label), *((id(answers.flagged),) if aim == "undetected" else ()))

    def words(self) -> str:
        """Return the cell but for its attack, in words."""
        r = self.result
        return f"{r.defense} for {r.model} on {r.dataset}, {r.knowledge}, seed {r.seed}"


def _looks(cells: Sequence[Judged]) -> Iterator[Alarm]:
    """Yield what a few images show, each with the cells that it concerns."""
    deployed: dict[Seen, list[Judged]] = {}
    victims: dict[Seen, list[Judged]] = {}
    for one in cells:
        if one.result.deployed is not None:
            deployed.setdefault(one.result.deployed, []).append(one)
        if one.result.victim is not None:
            victims.setdefault(one.result.victim, []).append(one)
    for network in dict.fromkeys((*deployed, *victims)):
        seen, n = network.look, network.look.images
        attacks = [one for one in victims.get(network, ()) if one.result.attacker is not None]
        gradient = tuple(one.number for one in attacks if one.result.attacker.uses_gradient)  # type: ignore[union-attr]
        steady = [one for one in attacks if not one.result.attacker.meets_noise]  # type: ignore[union-attr]
        everything = tuple(sorted({one.number for one in (*deployed.get(network, ()), *steady)}))
        if gradient and seen.in_unit and (seen.sum_to_one or seen.spread >= SIGMOID_SPREAD):
            what = "sum to 1" if seen.sum_to_one else f"differ by up to {seen.spread:.2f}, as those of a sigmoid do"
            finding = f"{network.who}: the outputs of all {n} images shown lie in [0, 1] and {what}"
            yield Alarm(ALARMS["probabilities"], finding, 1.0, math.nan, n, gradient)
        if gradient and (seen.broken or seen.blind >= BLIND * n):
            count, what = (seen.broken, "not finite") if seen.broken else (seen.blind, "exactly zero")
            finding = f"{network.who}: the gradient in the image is {what} for {count} of {n} images shown"
            yield Alarm(ALARMS["gradient"], finding, count / n, math.nan, n, gradient)
        steady_answers = max(seen.twice, math.inf if seen.alone is None else seen.alone) <= LOGIT_TOLERANCE
        if gradient and steady_answers and seen.asked and wilson(seen.astray, seen.asked).low > MOST_ASTRAY:
            finding = (
                f"{network.who}: one of {DIRECTIONS} random steps lowers the margin by more than one along the "
                f"gradient, small or large, for {seen.astray} of {seen.asked} images shown"
            )
            value = seen.astray / seen.asked
            yield Alarm(ALARMS["random-step"], finding, value, math.nan, seen.asked, gradient)
        if everything and seen.twice > LOGIT_TOLERANCE:
            finding = (
                f"{network.who}: the same {n} images again give logits that differ by {tenths(seen.twice)} of their "
                "spread"
            )
            yield Alarm(ALARMS["random"], finding, seen.twice, LOGIT_TOLERANCE, n, everything)
        elif everything and (seen.alone is None or seen.alone > LOGIT_TOLERANCE):
            finding = f"{network.who}: an image alone " + (
                "is refused, a batch is not"
                if seen.alone is None
                else f"gets logits that differ by {tenths(seen.alone)} of their spread from those in a batch of {n}"
            )
            value = math.inf if seen.alone is None else seen.alone
            yield Alarm(ALARMS["neighbours"], finding, value, LOGIT_TOLERANCE, min(ALONE, n), everything)


@dataclass
class _Doubt:
    """A cell that looks better than one that it should not: the same test, for all cells that share its numbers."""

    weak: Judged
    strong: Judged
    test: PairedDifference
    cells: set[int]


def _tested(pairs: Iterator[tuple[Judged, Judged, str]]) -> list[_Doubt]:
    """Return the pairs (should be worse, should be better) whose first is better for sure, corrected for all pairs."""
    tests: dict[tuple[Hashable, ...], _Doubt] = {}
    for weak, strong, aim in pairs:
        key = (*weak.source(aim), *strong.source(aim))
        if key not in tests:
            # Correlated by the image: the same images in the same order, of one data set.
            tests[key] = _Doubt(weak, strong, compare_paired(weak.outcome(aim), strong.outcome(aim)), set())
        tests[key].cells.add(weak.number)
    return [doubt for doubt in tests.values() if contradicts(doubt.test, len(tests))]


def contradicts(test: PairedDifference, tests: int) -> bool:
    """Tell whether the first accuracy, which should be no higher than the second, is so for sure.

    Args:
        test: of the two on the same images.
        tests: how many such comparisons are made in the run.
    """
    return test.difference >= LEAST_DIFFERENCE and test.p_value * tests <= LEVEL


def _doubts(kind: AlarmKind, doubts: Sequence[_Doubt], words: Callable[[_Doubt], str]) -> Iterator[Alarm]:
    for doubt in doubts:
        strong = doubt.strong.outcome(doubt.weak.aim or "label").mean()
        value = strong + doubt.test.difference
        yield Alarm(kind, words(doubt), float(value), float(strong), doubt.test.n, tuple(sorted(doubt.cells)))


def _aimed(cells: Sequence[Judged]) -> Iterator[tuple[Judged, str]]:
    for one in cells:
        if one.aim is not None and one.spends:
            yield one, one.aim


def _outdone(
    kind: AlarmKind,
    groups: Iterable[Sequence[Judged]],
    weaker: Callable[[Judged, Judged], bool],
    words: Callable[[Judged, Judged], tuple[str, str, str]],
) -> Iterator[Alarm]:
    """Yield attacks that do worse than one of their group that should do no better.

    Args:
        groups: cells that are compared with each other.
        weaker: tells whether the first of two should do no better than the second.
        words: of two, the first of which should have done better: both attacks, and where they were compared.
    """

    def pairs() -> Iterator[tuple[Judged, Judged, str]]:
        for members in groups:
            for one, other in itertools.permutations(members, 2):
                if one.aim is not None and weaker(other, one):
                    yield one, other, one.aim

    def told(doubt: _Doubt) -> str:
        this, that, where = words(doubt.weak, doubt.strong)
        accuracy = doubt.strong.outcome(doubt.weak.aim or "").mean()
        return (
            f"{this} leaves {tenths(accuracy + doubt.test.difference)} right and {that} {tenths(accuracy)}{where} "
            f"(n = {doubt.test.n}, p = {doubt.test.p_value:.1g})"
        )

    yield from _doubts(kind, _tested(pairs()), told)


def _alike(cells: Iterable[Judged], key: Callable[[Judged], Hashable]) -> Iterable[list[Judged]]:
    groups: dict[Hashable, list[Judged]] = {}
    for one in cells:
        groups.setdefault(key(one), []).append(one)
    return groups.values()


def _one_step(cells: Sequence[Judged]) -> Iterator[Alarm]:
    """Yield iterative attacks that do worse than a single step of the same norm and budget on the same victim."""

    def steps(one: Judged) -> int:
        return (one.result.attacker.steps if one.result.attacker is not None else None) or 0

    groups = _alike(
        (one for one, _ in _aimed(cells)),
        lambda one: (*one.system, one.result.knowledge, one.result.norm, one.cell.eps, one.aim),
    )
    yield from _outdone(
        ALARMS["one-step"],
        groups,
        lambda one, other: steps(one) == 1 < steps(other),
        lambda many, single: (
            f"{many.words()}: {many.result.attack}",
            f"the single step of {single.result.attack}",
            f", at {many.result.norm} {many.result.eps}",
        ),
    )


def _knowledge(cells: Sequence[Judged]) -> Iterator[Alarm]:
    """Yield attacks that do worse where the attacker knows more."""
    groups = _alike((one for one in cells if one.spends), lambda one: (*one.system, one.result.attack))
    yield from _outdone(
        ALARMS["knowledge"],
        groups,
        lambda one, other: KNOWLEDGE.index(one.result.knowledge) > KNOWLEDGE.index(other.result.knowledge),
        lambda knows, less: (
            f"{knows.result.defense} for {knows.result.model} on {knows.result.dataset}, seed {knows.result.seed}: "
            f"{knows.result.attack} {knows.result.knowledge}",
            less.result.knowledge,
            "",
        ),
    )


def _budgets(cells: Sequence[Judged]) -> Iterator[Alarm]:
    """Yield attacks that differ in nothing but eps and do worse, or no better, with more of it."""
    sweeps: dict[tuple[Any, ...], dict[float, Judged]] = {}
    for one, aim in _aimed(cells):
        if one.result.sweep and one.cell.eps is not None:
            key = (*one.system, one.result.knowledge, one.result.norm, one.result.sweep, aim)
            sweeps.setdefault(key, {})[one.cell.eps] = one

    def pairs() -> Iterator[tuple[Judged, Judged, str]]:
        for by_eps in sweeps.values():
            rising = [by_eps[eps] for eps in sorted(by_eps)]
            for place, smaller in enumerate(rising):
                yield from ((larger, smaller, larger.aim or "") for larger in rising[place + 1 :])

    def words(doubt: _Doubt) -> str:
        weak, strong = doubt.weak.result, doubt.strong.result
        accuracy = doubt.strong.outcome(doubt.weak.aim or "").mean()
        return (
            f"{doubt.weak.words()}: {strong.attack} leaves {tenths(accuracy)} right at {strong.norm} {strong.eps} "
            f"and {tenths(accuracy + doubt.test.difference)} at {weak.eps} (n = {doubt.test.n}"
            + (f", p = {doubt.test.p_value:.1g})" if doubt.test.difference > 0 else ")")
        )

    rising = _tested(pairs())
    known = {number for doubt in rising for number in doubt.cells}
    flat: dict[tuple[Hashable, ...], _Doubt] = {}
    for by_eps in sweeps.values():
        smallest, largest = by_eps[min(by_eps)], by_eps[max(by_eps)]
        aim = largest.aim or ""
        if max(by_eps) < FLAT_FROM * min(by_eps) or largest.number in known:
            continue
        test = compare_paired(largest.outcome(aim), smallest.outcome(aim))
        kept = float(largest.outcome(aim).sum())
        stays = test.difference >= 0 and -test.low <= MOST_FALL and wilson(kept, test.n).low > BROKEN
        if stays and (max(by_eps) >= LARGE_EPS.get(largest.result.norm, math.inf) or _bites(smallest, aim)):
            numbers = (*largest.source(aim), *smallest.source(aim))
            members = {one.number for one in by_eps.values()}
            flat.setdefault(numbers, _Doubt(largest, smallest, test, set())).cells.update(members)
    yield from _doubts(ALARMS["eps"], [*rising, *flat.values()], words)


def _bites(one: Judged, aim: str) -> bool:
    """Return whether the attack changes anything for sure."""
    clean = one.cell.clean
    before = (clean.base_label == one.cell.y) if aim == "base" else right(clean, one.cell.y).mean(0)
    test = compare_paired(before.astype(np.float64), one.outcome(aim))
    return test.difference > 0 and test.p_value <= LEVEL


def _scores(cells: Sequence[Judged]) -> Iterator[Alarm]:
    """Yield scores that are constant, and those that fall with suspicion under attacks that do not lower them."""
    for one in cells:
        suspicion, clean = None if one.cell.attacked is None else one.cell.attacked.score, one.cell.clean.score
        if suspicion is None or clean is None:
            continue
        low, high, n = min(suspicion.min(), clean.min()), max(suspicion.max(), clean.max()), len(one.cell.y)
        if low == high and n > 1:
            finding = (
                f"{one.words()}: the score is {low:.6g} for all {n} images, clean and under {one.result.attack} alike"
            )
            yield Alarm(ALARMS["constant-score"], finding, float(low), math.nan, n, (one.number,))
        elif one.result.attacker is None or not one.result.attacker.evades:
            area = _area(one.cell)
            if area is not None and area.ci_high < 0.5:
                finding = (
                    f"{one.words()}: AUROC {area.value:.3f} ({area.ci_low:.3f} to {area.ci_high:.3f}) under "
                    f"{one.result.attack} (n = {area.n})"
                )
                yield Alarm(ALARMS["inverted-score"], finding, area.value, 0.5, area.n, (one.number,))


def _flags(cells: Sequence[Judged]) -> Iterator[Alarm]:
    """Yield defenses that flag most of the clean images, with all their cells."""
    for members in _alike(cells, lambda one: one.system):
        first = members[0]
        flagged = first.cell.clean.flagged
        if flagged is None:
            continue
        n = len(first.cell.y)
        share = float(np.mean(flagged))
        if n and wilson(share * n, n).low > MOST_FLAGGED:
            r = first.result
            finding = (
                f"{r.defense} for {r.model} on {r.dataset}, seed {r.seed}: {tenths(share)} of {n} clean images are "
                "flagged"
            )
            cells_of = tuple(one.number for one in members)
            yield Alarm(ALARMS["flags-clean"], finding, share, MOST_FLAGGED, n, cells_of)


def _area(cell: Cell) -> MetricValue | None:
    try:
        return Auroc().compute([cell])
    except ValueError:  # a score that is NaN; the measures say so
        return None


def _unbeaten(cells: Sequence[Judged]) -> Iterator[Alarm]:
    """Yield systems that no attack beats on a single image, at a budget at which something should break."""
    systems: dict[tuple[str, ...], list[Judged]] = {}
    for one in cells:
        if one.cell.attacked is not None:
            systems.setdefault(one.system, []).append(one)
    for members in systems.values():
        n = min(len(one.cell.y) for one in members)
        large = any(one.cell.eps is None or one.cell.eps >= LARGE_EPS.get(one.result.norm, math.inf) for one in members)
        if n >= LEAST_IMAGES and large and all(right(attacked(one.cell), one.cell.y).all() for one in members):
            first = members[0].result
            attacks = list(dict.fromkeys(f"{one.result.attack} ({one.result.knowledge})" for one in members))
            shown = shortened(attacks)
            finding = (
                f"{first.defense} for {first.model} on {first.dataset}, seed {first.seed}: all {n} images are labelled "
                f"rightly under {shown}"
            )
            yield Alarm(ALARMS["unbeaten"], finding, 1.0, math.nan, n, tuple(one.number for one in members))
