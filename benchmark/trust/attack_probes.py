"""Probes of attacks: what was seen of one crafting, where an attack was run again or looked around."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmark.cells import attacked, near, right, withstood
from benchmark.names import CLEAN, ProbeName
from benchmark.options import Budget
from benchmark.statistics import Estimate, PairedDifference, compare_paired, mean, rate
from benchmark.trust.alarms import contradicts
from benchmark.trust.probe_kinds import DRAWS, IMPROVED, JUDGED, LAST, Probed, ProbeKind
from benchmark.wording import tenths

if TYPE_CHECKING:
    from benchmark.cells import CellResult


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


def of_cell(kind: ProbeKind, result: CellResult, said: _Said | str, tests: int = 1) -> Probed:
    """Return the row of an attacked cell; a text says why there is nothing to say."""
    named: dict[str, Any] = {**vars(result.name()), "probe": kind.name}
    if isinstance(said, str):
        nothing: dict[str, Any] = dict.fromkeys(("value", "ci_low", "ci_high", "p_value"), math.nan)
        return Probed(**named, **nothing, verdict="not run", n=0, finding=said)
    found = said.found
    if kind.most is not None:
        failed = found.low > kind.most
    else:
        assert said.test is not None
        failed = contradicts(said.test, tests)
    return Probed(
        **named,
        verdict="fail" if failed else "pass",
        value=found.value,
        ci_low=found.low,
        ci_high=found.high,
        p_value=math.nan if said.test is None else said.test.p_value,
        n=found.n,
        finding=said.words,
    )


def examined(kind: ProbeKind, results: Sequence[CellResult]) -> list[Probed]:
    """Return what a probe of attacks says of each attacked cell."""
    told = [(result, _asked(kind, result)) for result in results if result.attack != CLEAN]
    # Cells that share a crafting make one comparison.
    compared = {
        result.examinations[kind.asks] for result, said in told if kind.asks and isinstance(said, _Said) and said.test
    }
    tests = len(compared)
    return [of_cell(kind, result, said, tests) for result, said in told]


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
    y, aim = answers["y"], result.aim
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
    evades = result.aim == "undetected"
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
    words = f"the margin changes by {tenths(found.value)} on average over {found.n} images"
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
    left, more = (tenths(float(side.mean())) for side in (before, after))
    what = " and ".join(name for name in ("steps", "restarts") if f"doubled.{name}" in answers)
    words = f"as it is it leaves {left} right, with twice its {what} {more} (n = {test.n}"
    return _Said(found, f"{words}, p = {test.p_value:.1g})", test)


def _drawn(result: CellResult, answers: Mapping[str, np.ndarray]) -> _Said:
    left = answers["drawn"] & (_won(result, answers, "before") == 0)
    if not left.any():
        assert result.cell is not None
        return _Said(_share(np.zeros(len(result.cell.y))), "the attack leaves no image to draw around")
    found = _share((_won(result, answers, "after") > 0)[left])
    count = round(found.value * found.n)
    # A system that is more than a network gives answers of its own, and is asked about few of the draws.
    judged = f", of which at most {JUDGED} that turn the class are judged," if "before.label" in answers else ""
    words = f"{DRAWS:,} draws each{judged} turn {count} of {found.n} images wrong that withstand the attack"
    return _Said(found, words)


def _transferred(result: CellResult) -> _Said | str:
    """Return how many images fool what was attacked, and not what is deployed."""
    assert result.cell is not None
    cell, answers, aim = result.cell, result.examined.get("labels"), result.aim
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
    # Of what answers at random, by most of its judgements: chance at the boundary is no failure either.
    found = _share((stands.mean(0) > 0.5)[fooled])
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
