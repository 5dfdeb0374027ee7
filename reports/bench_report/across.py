"""Numbers of several runs beside each other: what must be equal for it, and the images that they share."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from bench_report.table import Place, Table, as_text, grouped
from bench_report.values import TOLERANCE, DifferenceView, Estimate
from bench_report.verdicts import CERTAIN, Bound
from benchmark import CLEAN, SECTIONS, Budget, PairedDifference, compare_over_seeds, compare_paired, measures, near

if TYPE_CHECKING:
    from benchmark import Run

RATE = "false_positive_rate"
"""The part of the protocol that only measures at the host's threshold depend on."""
AVERAGING = ("white-box", "gray-box-retrained")
"""Attackers who hold the defense itself, and average over draws of a randomised one."""
_METRICS = measures()


def fingerprint(run: Run, dataset: str) -> str:
    """Return the digest of the content of a data set, "" where the run does not say."""
    return as_text((run.manifest.get("datasets") or {}).get(dataset, {}).get("fingerprint"))


def protocol(run: Run, place: Place, metric: str) -> dict[str, Any]:
    """Return the parts of the protocol that a measure of a cell depends on.

    The false-positive rate moves what the host's threshold does, `success` what counts successful attacks, `repeats`
    what a randomised defense is judged by, `draws` what its `AVERAGING` attackers craft, `adversarial` (where it is not
    the default) every attacked image. Where a run does not say, it
    depends on all.
    """
    parts = dict(run.manifest.get("protocol") or {})
    if not _at_threshold(run, place, metric):
        parts.pop(RATE, None)
    if metric in _METRICS and "success" not in _METRICS[metric].reads:
        parts.pop("success", None)
    chance = randomised(run, place.defense)
    if not chance:
        parts.pop("repeats", None)
    if not chance or place.attack == CLEAN or place.knowledge not in AVERAGING:
        parts.pop("draws", None)
    if place.attack == CLEAN:
        parts.pop("adversarial", None)
    return parts


def randomised(run: Run, defense: str) -> bool:
    """Return whether a defense answers by chance; where the run does not say, it may."""
    about = (run.manifest.get("defenses") or {}).get(defense) or {}
    return about.get("randomised", True) is not False


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
        "substitute of the attacker": stable(sorted(substitutes(run, place.knowledge).values(), key=stable)),
    }


def _budget(norm: str, eps: str, at: float | None) -> list[Any]:
    """Return the budget at which an attack counts, as numbers that are equal where the budgets are."""
    try:
        return [norm, float(Budget(eps)) if eps else at]
    except ValueError:  # of another plugin
        return [norm, eps]


VERSION = "method version"
"""Beside the options of a component, which are identifiers: none is called so."""


def component(run: Run, section: str, label: str) -> dict[str, Any]:
    """Return what a suite says of a component, and its version: whether two are the same, whatever their labels."""
    found = (run.suite.get(section) or {}).get(label)
    made = dict(found) if isinstance(found, Mapping) else {"use": label}
    kind = next(kind for kind, name in SECTIONS.items() if name == section)
    version = methods(run).get(f"{kind} {made.get('use')}")
    return made if version is None else made | {VERSION: version}


def methods(run: Run) -> dict[str, str]:
    """Return the versions that a run's models, attacks and defenses were registered with, as `attack NAME`."""
    kinds = run.manifest.get("methods") or {}
    return {f"{kind} {name}": as_text(version) for kind, names in kinds.items() for name, version in names.items()}


def stable(value: Any) -> str:
    """Return JSON that is the same for equal values, in whatever order and with whatever keys options were written."""
    return json.dumps(json.loads(json.dumps(value, default=str)), sort_keys=True)


def substitutes(run: Run, knowledge: str) -> dict[str, list[dict[str, Any]]]:
    """Return the networks that the attacker of `knowledge` trains, by label: the model, and the defense where named."""
    found: dict[str, list[dict[str, Any]]] = {}
    for entry in run.suite.get("grid") or ():
        named = entry.get("substitute")
        if not named or entry.get("knowledge", "") != knowledge:
            continue
        parts = []
        for one in named if isinstance(named, list) else [named]:
            model, defense = (one.get("model"), one.get("defense")) if isinstance(one, Mapping) else (one, None)
            parts += [
                (section, as_text(label)) for section, label in (("models", model), ("defenses", defense)) if label
            ]
        found[", ".join(label for _, label in parts)] = [component(run, *part) for part in parts]
    return dict(sorted(found.items()))


def substitutes_text(run: Run, knowledge: str) -> str:
    """Return the networks that the attacker of `knowledge` trains, with their options."""
    return ", ".join(
        f"{label} ({'; '.join(f'{name} {as_text(value)}' for part in parts for name, value in part.items())})"
        for label, parts in substitutes(run, knowledge).items()
    )


def versions(run: Run) -> dict[str, str]:
    """Return the versions of all that made a run: libraries, and plugins as `plugin MODULE`."""
    found = {str(name): as_text(version) for name, version in (run.manifest.get("versions") or {}).items()}
    for plugin in run.manifest.get("plugins") or ():
        found[f"plugin {as_text(plugin.get('module'))}"] = as_text(plugin.get("version"))
    return found


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
    """The verdicts of a run, image by image; what was asked once is kept."""

    def __init__(self, run: Run, table: Table) -> None:
        self._run = run
        self._table = table
        self._found: dict[tuple[Place, str], Outcomes | str] = {}

    @cached_property
    def _sample(self) -> tuple[np.ndarray, np.ndarray]:
        """Row → number of its image, and the names of images."""
        codes, names = pd.factorize(self._run.samples["sample"].astype("object"), sort=True)
        return codes, np.asarray(names, dtype=str)

    @cached_property
    def _columns(self) -> dict[str, np.ndarray]:
        frame = self._run.samples
        return {
            "sample": self._sample[0],
            "right": (frame["y"] == frame["label"]).to_numpy(dtype=bool, na_value=False),
            "flagged": frame["flagged"].fillna(False).to_numpy(dtype=bool),
            "perturbation": frame["perturbation"].to_numpy(dtype=np.float64, na_value=np.nan),
        }

    @cached_property
    def _rows(self) -> dict[tuple[str, ...], dict[str, np.ndarray]]:
        found: dict[tuple[str, ...], dict[str, np.ndarray]] = {}
        for (*place, seed), rows in grouped(self._run.samples, (*Place._fields, "seed")).items():
            found.setdefault(tuple(place), {})[seed] = rows
        return found

    def outcomes(self, place: Place, metric: str) -> Outcomes | str:
        """Return the outcomes that an accuracy is the mean of; over a group of attacks, the worst case of each image.

        Returns:
            or why there are none: an attack has no verdicts, a randomised defense has more of them than are kept; ""
            where the measure is no share of right answers.
        """
        if (place, metric) not in self._found:
            self._found[place, metric] = self._outcomes(place, metric)
        return self._found[place, metric]

    def _outcomes(self, place: Place, metric: str) -> Outcomes | str:
        known = _METRICS.get(metric)
        if (
            known is None
            or (known.unit, known.better) != ("rate", "high")
            or known.reads not in (("label",), ("label", "flagged"))
        ):
            return ""
        if randomised(self._run, place.defense):
            return "a randomised defense, of which only the first judgement is kept image by image"
        joint, names = "flagged" in known.reads, self._sample[1]
        counted = self._table.counted(place)
        cells = {x: self._table.place(place.dataset, place.model, x, place.defense, place.knowledge) for x in counted}
        by_attack = {attack: self._rows.get(tuple(cell), {}) for attack, cell in cells.items()}
        clean = self._rows.get(tuple(place._replace(attack=CLEAN, knowledge="")), {})
        needed = [*by_attack.values(), *([clean] if any(counted.values()) else [])]
        seeds = sorted(seed for seed in needed[0] if all(seed in found for found in needed))
        if not seeds:
            return "no verdicts"
        held = np.ones((len(seeds), len(names)), dtype=bool)
        judged = np.ones(len(names), dtype=bool)
        for number, seed in enumerate(seeds):
            for attack, found in by_attack.items():
                answer, there = self._good(found[seed], joint, attack != CLEAN)
                if (eps := counted[attack]) is not None:  # the clean image is submitted where the example is too far
                    rows = found[seed]
                    far = self._columns["sample"][rows[~near(self._columns["perturbation"][rows], eps)]]
                    submitted, shown = self._good(clean[seed], joint, True)
                    answer[far] = np.where(shown[far], submitted[far], answer[far])
                held[number] &= answer
                judged &= there
        return Outcomes(tuple(seeds), names[judged], held[:, judged])

    def _good(self, rows: np.ndarray, joint: bool, attacked: bool) -> tuple[np.ndarray, np.ndarray]:
        """Return per image of the run whether it was answered as it should be, and whether it was judged at all."""
        right, flagged = self._columns["right"][rows], self._columns["flagged"][rows]
        good = right if not joint else right | flagged if attacked else right & ~flagged
        answer, there = np.zeros((2, len(self._sample[1])), dtype=bool)
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
