"""Numbers of several runs beside each other: what must be equal for it, and the images that they share."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from bench_report.facts import CERTAIN, Bound
from bench_report.table import Place, Table, as_text, grouped
from bench_report.view import TOLERANCE, DifferenceView, Estimate
from benchmark.metrics import BUILTIN, near
from benchmark.options import Budget
from benchmark.results import CLEAN
from benchmark.statistics import PairedDifference, compare_over_seeds, compare_paired

if TYPE_CHECKING:
    from benchmark.results import Run

RATE = "false_positive_rate"
"""The part of the protocol that only measures at the host's threshold depend on."""
_READS = {name: metric.reads for name, metric in BUILTIN}


def fingerprint(run: Run, dataset: str) -> str:
    """Return the digest of the content of a data set, "" where the run does not say."""
    return as_text((run.manifest.get("datasets") or {}).get(dataset, {}).get("fingerprint"))


def protocol(run: Run, place: Place, metric: str) -> dict[str, Any]:
    """Return the parts of the protocol that a measure of a cell depends on.

    The false-positive rate moves what the host's threshold does, `success` what counts successful attacks, `repeats`
    what a randomised defense is judged by. Where a run does not say, it depends on all.
    """
    parts = dict(run.manifest.get("protocol") or {})
    if not _at_threshold(run, place, metric):
        parts.pop(RATE, None)
    if "success" not in _READS.get(metric, ("success",)):
        parts.pop("success", None)
    about = (run.manifest.get("defenses") or {}).get(place.defense) or {}
    if about.get("randomised", True) is False:
        parts.pop("repeats", None)
    return parts


def _at_threshold(run: Run, place: Place, metric: str) -> bool:
    thresholds = run.manifest.get("thresholds")
    if not isinstance(thresholds, list):
        return True
    cell = (place.dataset, place.model, place.defense)
    return any(metric in one["moves"] for one in thresholds if (one["dataset"], one["model"], one["defense"]) == cell)


def terms(run: Run, table: Table, place: Place, metric: str) -> dict[str, str]:
    """Return what must be equal for a measure of two cells to stand beside each other, by what people call it."""
    found = {"images": fingerprint(run, place.dataset)}
    found |= {f"protocol, {name.replace('_', ' ')}": as_text(v) for name, v in protocol(run, place, metric).items()}
    members = table.members(place)
    counted = table.counted(place).items()
    found["budget"] = json.dumps(
        [_budget(*table.budgets.get((place.dataset, x), ("", "")), at) for x, at in sorted(counted)]
    )
    return {
        **found,
        "attacks of the group": json.dumps(members),
        "substitute of the attacker": ", ".join(substitutes(run, place.knowledge)),
    }


def _budget(norm: str, eps: str, at: float | None) -> list[Any]:
    """Return the budget at which an attack counts, as numbers that are equal where the budgets are."""
    try:
        return [norm, float(Budget(eps)) if eps else at]
    except ValueError:  # of another plugin
        return [norm, eps]


def substitutes(run: Run, knowledge: str) -> tuple[str, ...]:
    """Return the networks that the attacker of `knowledge` trains."""
    entries = [entry for entry in run.suite.get("grid") or () if entry.get("knowledge", "") == knowledge]
    return tuple(sorted({_network(entry["substitute"]) for entry in entries if entry.get("substitute")}))


def _network(substitute: object) -> str:
    """Return what a suite says of a substitute: a model's label, or the labels of a model and of its defense."""
    if not isinstance(substitute, Mapping):
        return as_text(substitute)
    return ", ".join(filter(None, (as_text(substitute.get("model")), as_text(substitute.get("defense")))))


@dataclass(frozen=True)
class Change:
    """A cell of two runs on the same images.

    Attributes:
        first, second: letters of the runs.
        difference: second minus first.
        identical: whether both do alike on every image.
        by_label: whether it rejects, and that could not be compared: what counts is the label alone.
        remark: what else differs between them, "" for nothing.
        p: corrected by Holm over the comparisons that the page makes; `of` says how many these are.
    """

    place: Place
    metric: str
    first: str
    second: str
    before: Estimate
    after: Estimate
    difference: DifferenceView
    identical: bool
    by_label: bool
    bound: Bound
    remark: str
    p: float = 1.0
    of: int = 1

    @property
    def told(self) -> Literal["higher", "lower", "same", "unknown"]:
        """Which way it changed beyond chance; else whether n could have told a difference of `TOLERANCE`."""
        d = self.difference
        if self.p <= CERTAIN:
            return "higher" if d.difference > 0 else "lower"
        narrow = d.low is not None and d.high is not None and d.low >= -TOLERANCE and d.high <= TOLERANCE
        return "same" if narrow else "unknown"


@dataclass(frozen=True)
class OnlyIn:
    """Cells that one run alone has, and the labels that no other run has, each with what it is."""

    run: str
    cells: int
    labels: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Beside:
    """What several runs say beside each other, each cell counted once.

    Attributes:
        names: letter and name of each run.
        changes: cells that could be compared, the greatest change first.
        apart: cells that are in several runs and must not be compared, by what differs.
        unpaired: cells whose images or seeds cannot be paired, by why.
        gone: cells that another run has numbers of, and this one not (failed, not run), by letter.
        equal: letters of runs that have one key: their numbers are equal.
        seeds: those of each run.
        differ: what differs between the runs, and its value in each.
    """

    names: tuple[tuple[str, str], ...]
    changes: tuple[Change, ...]
    apart: tuple[tuple[tuple[str, ...], int], ...]
    unpaired: tuple[tuple[str, int], ...]
    only: tuple[OnlyIn, ...]
    gone: tuple[tuple[str, int], ...]
    equal: tuple[str, ...]
    seeds: tuple[tuple[str, ...], ...]
    differ: tuple[tuple[str, tuple[str, ...]], ...]


@dataclass(frozen=True)
class Outcomes:
    """Whether a system answered as it should.

    Attributes:
        seeds: (S,) names.
        images: (N,) names in order; those that every seed has judged.
        held: (S, N) bool.
    """

    seeds: tuple[str, ...]
    images: np.ndarray
    held: np.ndarray


@dataclass(frozen=True)
class Pair:
    """Two systems on the images that both have judged, second minus first.

    Attributes:
        by_seed: the difference in each seed, of several; the test is then over seeds and images.
        identical: whether both do alike on every image, under every seed.
    """

    paired: PairedDifference
    by_seed: tuple[float, ...]
    identical: bool


def pair(first: Outcomes, second: Outcomes) -> Pair | str:
    """Return the paired difference, or why there is none.

    One seed against one other is two trained systems on the same images, whatever the seeds are called. Several must
    be the same: they are crossed with the images, as defenses of one run are compared.
    """
    one, two = first.seeds, second.seeds
    if len(one) != len(two) or (len(one) > 1 and {*one} != {*two}):
        return f"not paired: seeds {', '.join(one)} and {', '.join(two)}"
    a, b = first.held, second.held[[two.index(seed) for seed in one] if len(one) > 1 else [0]]
    if not np.array_equal(first.images, second.images):
        _, mine, other = np.intersect1d(first.images, second.images, assume_unique=True, return_indices=True)
        a, b = a[:, mine], b[:, other]
    if not a.shape[1]:
        return "not paired: no image in common"
    found = compare_paired(b[0], a[0]) if len(one) == 1 else compare_over_seeds(b, a)
    by_seed = (b.astype(float) - a).mean(1).tolist() if len(one) > 1 else ()
    return Pair(found, tuple(by_seed), bool((a == b).all()))


class Judged:
    """The verdicts of a run, image by image."""

    def __init__(self, run: Run, table: Table) -> None:
        self._table = table
        frame = run.samples
        codes, names = pd.factorize(frame["sample"].astype("object"), sort=True)
        self._names = np.asarray(names, dtype=str)
        self._columns = {
            "sample": codes,
            "right": (frame["y"] == frame["label"]).to_numpy(dtype=bool, na_value=False),
            "flagged": frame["flagged"].fillna(False).to_numpy(dtype=bool),
            "perturbation": frame["perturbation"].to_numpy(dtype=np.float64, na_value=np.nan),
        }
        self._rows: dict[tuple[str, ...], dict[str, np.ndarray]] = {}
        for (*place, seed), rows in grouped(frame, (*Place._fields, "seed")).items():
            self._rows.setdefault(tuple(place), {})[seed] = rows

    def outcomes(self, place: Place, metric: str) -> Outcomes | None:
        """Return the outcomes that an accuracy is the mean of; over a group of attacks, the worst case of each image.

        Returns:
            None where the measure is no share of single verdicts, or an attack has none.
        """
        if not metric.endswith("accuracy") or "base_" in metric:
            return None
        counted = self._table.counted(place)
        cells = {x: self._table.place(place.dataset, place.model, x, place.defense, place.knowledge) for x in counted}
        by_attack = {attack: self._rows.get(tuple(cell), {}) for attack, cell in cells.items()}
        clean = self._rows.get(tuple(place._replace(attack=CLEAN, knowledge="")), {})
        needed = [*by_attack.values(), *([clean] if any(counted.values()) else [])]
        seeds = sorted(seed for seed in needed[0] if all(seed in found for found in needed))
        if not seeds:
            return None
        held = np.ones((len(seeds), len(self._names)), dtype=bool)
        judged = np.ones(len(self._names), dtype=bool)
        for number, seed in enumerate(seeds):
            for attack, found in by_attack.items():
                answer, there = self._good(found[seed], "joint" in metric, attack != CLEAN)
                if (eps := counted[attack]) is not None:  # the clean image is submitted where the example is too far
                    rows = found[seed]
                    far = self._columns["sample"][rows[~near(self._columns["perturbation"][rows], eps)]]
                    submitted, shown = self._good(clean[seed], "joint" in metric, True)
                    answer[far] = np.where(shown[far], submitted[far], answer[far])
                held[number] &= answer
                judged &= there
        return Outcomes(tuple(seeds), self._names[judged], held[:, judged])

    def _good(self, rows: np.ndarray, joint: bool, attacked: bool) -> tuple[np.ndarray, np.ndarray]:
        """Return per image of the run whether it was answered as it should be, and whether it was judged at all."""
        right, flagged = self._columns["right"][rows], self._columns["flagged"][rows]
        good = right if not joint else right | flagged if attacked else right & ~flagged
        answer, there = np.zeros((2, len(self._names)), dtype=bool)
        answer[self._columns["sample"][rows]] = good
        there[self._columns["sample"][rows]] = True
        return answer, there


def letters(count: int) -> list[str]:
    """Return what runs are called: A, B, …"""
    return [chr(ord("A") + n) if n < 26 else f"Run {n + 1}" for n in range(count)]


def names_of(runs: Sequence[Run]) -> list[str]:
    """Return the names of run directories: with the folder around it where two have the same."""
    plain = [run.path.resolve().name for run in runs]
    return [
        f"{run.path.resolve().parent.name}/{name}" if plain.count(name) > 1 else name for run, name in zip(runs, plain)
    ]
