"""Several runs beside each other."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bench_report.measures import FAMILIES, measure
from bench_report.table import Place, Table, as_text, grouped
from bench_report.view import CompareView, DifferenceView, Estimate, LinedUpRow, RunView
from bench_report.words import budget_text, difference_text
from benchmark.metrics import near
from benchmark.results import CLEAN
from benchmark.statistics import compare_paired

if TYPE_CHECKING:
    from benchmark.results import Run

_FAMILIES = [family for family in FAMILIES if family.key in ("robust", "joint")]
_LINED_UP = (
    *dict.fromkeys(name for f in _FAMILIES for name in (f.clean, f.attack, f.worst) if name is not None),
    "auroc",
)
RATE = "false_positive_rate"
"""The part of the protocol that only measures at the host's threshold depend on."""
_SECTIONS = {"datasets": "data set", "models": "model", "attacks": "attack", "defenses": "defense"}


def compare_runs(runs: Sequence[Run], tables: Sequence[Table], views: Sequence[RunView]) -> CompareView:
    """Return equal cells of the runs beside each other, and all differences between the runs."""
    letters = [_letter(number) for number in range(len(runs))]
    obstacles = list(_obstacles(runs, tables, letters))
    changed: dict[str, set[str]] = {section: set() for section in _SECTIONS}
    changes = list(_changes(runs, changed))
    keys: dict[tuple[Place, str], None] = {}
    for table in tables:
        for place, metrics in table.by_place.items():
            keys |= dict.fromkeys((place, name) for name in _LINED_UP if name in metrics)
    order = {name: number for number, name in enumerate(_LINED_UP)}
    pairs = _Pairs(runs)
    rows, alone = [], [0] * len(runs)
    for place, name in sorted(keys, key=lambda key: order[key[1]]):
        estimates = [table.estimate(place, name) for table in tables]
        holders = [number for number, estimate in enumerate(estimates) if estimate is not None]
        if not holders:
            continue
        alike: dict[tuple[object, ...], list[int]] = {}
        for number in holders:
            alike.setdefault(_terms(runs[number], tables[number], place, name), []).append(number)
        for members in alike.values():
            if len(members) < 2:
                alone[members[0]] += 1
            else:
                first = members[0]
                paired = [
                    pairs.difference(first, number, place, name, tables[first].counted(place))
                    if number in members[1:]
                    else None
                    for number in range(len(runs))
                ]
                remarks = [_remark(place, tables[first], changed), *(why for why in paired if isinstance(why, str))]
                found = [None if isinstance(pair, str) else pair for pair in paired]
                remark = "; ".join(filter(None, dict.fromkeys(remarks)))
                rows.append(_lined_up(place, name, estimates, members, found, remark))
    return CompareView(
        runs=tuple((letter, view.name) for letter, view in zip(letters, views)),
        obstacles=tuple(obstacles),
        changes=tuple(changes),
        rows=tuple(rows),
        only=tuple((letter, count) for letter, count in zip(letters, alone) if count),
    )


class _Pairs:
    """Pairs the verdicts of two runs on the same images."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self.runs = runs
        self._read: dict[int, tuple[dict[tuple[str, ...], dict[str, np.ndarray]], dict[str, np.ndarray]]] = {}

    def difference(
        self, first: int, second: int, place: Place, name: str, counted: Mapping[str, float | None]
    ) -> DifferenceView | str | None:
        """Return the difference of an accuracy, second minus first, on the images that both have.

        Over a group of attacks it is the worst case of each image: `counted` has them, and the budget at which one
        counts that has none. Of several seeds an image counts once, with the mean over the seeds: its verdicts are no
        independent observations, so the image is the sampling unit, as it is for randomised defenses.

        Returns:
            None where the measure is no share of single verdicts, and a text that says why, where the seeds differ.
        """
        if not name.endswith("accuracy"):
            return None
        one, two = (self._outcomes(number, place, name, counted) for number in (first, second))
        if one is None or two is None:
            return None
        if len(one) != len(two) or (len(one) > 1 and set(one) != set(two)):
            return f"not paired: seeds {', '.join(one)} and {', '.join(two)}"
        # One seed against another is two trained systems on the same images, whatever the seeds are called.
        seeds = list(zip(one.values(), two.values())) if len(one) == 1 else [(one[seed], two[seed]) for seed in one]
        common = [image for image in seeds[0][0] if all(image in side for pair in seeds for side in pair)]
        if not common:
            return None
        a, b = (np.array([[pair[side][image] for image in common] for pair in seeds], dtype=float) for side in (0, 1))
        paired = compare_paired(b.mean(0), a.mean(0))
        return DifferenceView(
            name,
            "rate",
            paired.difference,
            paired.low,
            paired.high,
            paired.p_value,
            paired.n,
            tuple((b - a).mean(1).tolist()) if len(seeds) > 1 else (),
        )

    def _outcomes(
        self, number: int, place: Place, name: str, counted: Mapping[str, float | None]
    ) -> dict[str, dict[str, bool]] | None:
        """Return by seed and image whether it was answered as it should be; None where an attack has no verdicts."""
        rows_of, columns = self._samples(number)
        by_attack = {attack: rows_of.get(tuple(place._replace(attack=attack)), {}) for attack in counted}
        clean = rows_of.get(tuple(place._replace(attack=CLEAN, knowledge="")), {})
        needed = [*by_attack.values(), *([clean] if any(counted.values()) else [])]
        seeds = [seed for seed in needed[0] if all(seed in found for found in needed)]
        if not seeds:
            return None

        def good(rows: np.ndarray, attacked: bool) -> np.ndarray:
            right, flagged = columns["right"][rows], columns["flagged"][rows]
            return right if "joint" not in name else right | flagged if attacked else right & ~flagged

        outcomes: dict[str, dict[str, bool]] = {}
        for seed in sorted(seeds):
            held: dict[str, bool] = {}
            for attack, found in by_attack.items():
                rows, eps = found[seed], counted[attack]
                holds = dict(zip(columns["sample"][rows].tolist(), good(rows, attack != CLEAN).tolist()))
                if eps is not None:  # the clean image is submitted where the example is too far
                    far = columns["sample"][rows[~near(columns["perturbation"][rows], eps)]]
                    submitted = dict(zip(columns["sample"][clean[seed]].tolist(), good(clean[seed], True).tolist()))
                    holds |= {image: submitted[image] for image in far.tolist() if image in submitted}
                for image, answer in holds.items():
                    held[image] = held.get(image, True) and answer
            outcomes[seed] = held
        return outcomes

    def _samples(self, number: int) -> tuple[dict[tuple[str, ...], dict[str, np.ndarray]], dict[str, np.ndarray]]:
        if number not in self._read:
            frame = self.runs[number].samples
            columns = {
                "sample": frame["sample"].astype("object").to_numpy(),
                "right": (frame["y"] == frame["label"]).to_numpy(dtype=bool, na_value=False),
                "flagged": frame["flagged"].fillna(False).to_numpy(dtype=bool),
                "perturbation": frame["perturbation"].to_numpy(dtype=np.float64, na_value=np.nan),
            }
            rows_of: dict[tuple[str, ...], dict[str, np.ndarray]] = {}
            for (*place, seed), rows in grouped(frame, (*Place._fields, "seed")).items():
                rows_of.setdefault(tuple(place), {})[seed] = rows
            self._read[number] = rows_of, columns
        return self._read[number]


def _letter(number: int) -> str:
    return chr(ord("A") + number) if number < 26 else f"Run {number + 1}"


def _fingerprint(run: Run, dataset: str) -> str:
    return as_text((run.manifest.get("datasets") or {}).get(dataset, {}).get("fingerprint"))


def _terms(run: Run, table: Table, place: Place, name: str) -> tuple[object, ...]:
    """Return what must be equal for a measure of two cells to stand beside each other."""
    protocol = dict(run.manifest.get("protocol") or {})
    if not _at_threshold(run, place, name):
        protocol.pop(RATE, None)
    return (
        _fingerprint(run, place.dataset),
        json.dumps(protocol, sort_keys=True),
        table.budgets.get((place.dataset, place.attack)),
        table.members(place),
        _substitutes(run, place.knowledge),
    )


def _at_threshold(run: Run, place: Place, name: str) -> bool:
    """Tell whether another false-positive rate would move a measure; yes, where the run does not say."""
    thresholds = run.manifest.get("thresholds")
    if not isinstance(thresholds, list):
        return True
    cell = (place.dataset, place.model, place.defense)
    return any(name in one["moves"] for one in thresholds if (one["dataset"], one["model"], one["defense"]) == cell)


def _substitutes(run: Run, knowledge: str) -> tuple[str, ...]:
    """Return the networks that the attacker of `knowledge` trains."""
    entries = [entry for entry in run.suite.get("grid") or () if entry.get("knowledge", "") == knowledge]
    return tuple(sorted({_network(entry["substitute"]) for entry in entries if entry.get("substitute")}))


def _network(substitute: object) -> str:
    """Return what a suite says of a substitute: a model's label, or the labels of a model and of its defense."""
    if not isinstance(substitute, Mapping):
        return as_text(substitute)
    return ", ".join(filter(None, (as_text(substitute.get("model")), as_text(substitute.get("defense")))))


def _lined_up(
    place: Place,
    name: str,
    estimates: Sequence[Estimate | None],
    members: Sequence[int],
    paired: Sequence[DifferenceView | None],
    remark: str,
) -> LinedUpRow:
    shown = [estimate if number in members else None for number, estimate in enumerate(estimates)]
    first = next(estimate for estimate in shown if estimate is not None)
    known = measure(name)
    return LinedUpRow(
        *place,
        metric=name,
        title=known.title,
        estimates=tuple(shown),
        differences=tuple(
            "" if estimate is None or estimate is first else difference_text(estimate.value - first.value, known.unit)
            for estimate in shown
        ),
        paired=tuple(paired),
        remark=remark,
    )


def _obstacles(runs: Sequence[Run], tables: Sequence[Table], letters: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield what keeps runs from being lined up: other images, another protocol, another budget."""
    labels = dict.fromkeys(label for run in runs for label in run.manifest.get("datasets") or {})
    for label in labels:
        found = {x: print_ for run, x in zip(runs, letters) if (print_ := _fingerprint(run, label))}
        if len(set(found.values())) > 1:
            yield (
                f"data set {label}",
                "other images or another split: fingerprints " + _per_run({x: f[:12] for x, f in found.items()}),
            )
    for name in dict.fromkeys(name for run in runs for name in run.manifest.get("protocol") or {}):
        values = {x: as_text((run.manifest.get("protocol") or {}).get(name)) for run, x in zip(runs, letters)}
        if len(set(values.values())) > 1:
            only = "; it keeps apart the measures at the threshold that it sets" if name == RATE else ""
            yield f"protocol, {name.replace('_', ' ')}", _per_run(values) + only
    groups: dict[tuple[str, ...], dict[str, str]] = {}
    for table, letter in zip(tables, letters):
        for place in table.by_place:
            if members := table.members(place):
                where = (place.attack, place.dataset, place.model, place.knowledge)
                groups.setdefault(where, {})[letter] = ", ".join(members)
    for group, found in groups.items():
        if len(set(found.values())) > 1:
            yield " / ".join(filter(None, group)), _per_run(found)
    for knowledge in dict.fromkeys(place.knowledge for table in tables for place in table.by_place):
        trained = {x: ", ".join(_substitutes(run, knowledge)) for run, x in zip(runs, letters)}
        if len(set(trained.values())) > 1:
            yield f"substitute of the {knowledge} attacker", _per_run(trained)
    for attack in dict.fromkeys(attack for table in tables for attack in table.budgets):
        budgets = {
            x: budget_text(*table.budgets[attack]) for table, x in zip(tables, letters) if attack in table.budgets
        }
        if len(set(budgets.values())) > 1:
            yield f"attack {attack[1]} on {attack[0]}", _per_run(budgets)


def _per_run(values: Mapping[str, str]) -> str:
    return "; ".join(f"{letter}: {value or 'none'}" for letter, value in values.items())


def _changes(runs: Sequence[Run], changed: dict[str, set[str]]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield (what, value per run) of all other differences, and note which labels of the suites they concern."""
    suites = [run.suite for run in runs]
    for section, noun in _SECTIONS.items():
        for label in dict.fromkeys(label for suite in suites for label in suite.get(section) or {}):
            flat = [_options(suite, section, label) for suite in suites]
            for name in dict.fromkeys(name for one in flat for name in one or ()):
                given = [None if one is None else one.get(name, "not set") for one in flat]
                if len(set(given) - {None}) > 1:
                    changed[section].add(label)
                    what = f"{noun} {label}" + (f", {name}" if name else "")
                    yield what, tuple("not in this run" if value is None else value for value in given)
    batches = tuple(as_text(suite.get("batch_size")) for suite in suites)
    if len(set(batches)) > 1:
        yield "batch size", batches
    for what, read in (
        ("seeds", lambda m: ", ".join(map(as_text, m.get("seeds") or ()))),
        ("profile", lambda m: as_text(m.get("profile")) or "none"),
        ("device", lambda m: as_text(m.get("device"))),
        ("threads per task", lambda m: as_text(m.get("threads"))),
        ("git commit", lambda m: as_text((m.get("git") or {}).get("commit"))[:12]),
    ):
        values = [read(run.manifest) for run in runs]
        if len(set(values)) > 1:
            yield what, tuple(value or "unknown" for value in values)
    versions = [_versions(run.manifest) for run in runs]
    for name in dict.fromkeys(name for one in versions for name in one):
        values = [one.get(name, "not installed") for one in versions]
        if len(set(values)) > 1:
            yield f"version of {name}", tuple(values)


def _options(suite: Mapping[str, Any], section: str, label: str) -> dict[str, str] | None:
    """Return the options of a component as flat texts, None where the suite lacks it."""
    components = suite.get(section) or {}
    return dict(_flat(components[label])) if label in components else None


def _versions(manifest: Mapping[str, Any]) -> dict[str, str]:
    versions = {str(name): as_text(version) for name, version in (manifest.get("versions") or {}).items()}
    for plugin in manifest.get("plugins") or ():
        versions[f"plugin {as_text(plugin.get('module'))}"] = as_text(plugin.get("version"))
    return versions


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(inner, f"{path}.{key}" if path else str(key))
    else:
        yield path, ", ".join(map(str, value)) if isinstance(value, list) else as_text(value)


def _remark(place: Place, table: Table, changed: Mapping[str, set[str]]) -> str:
    attacks = table.members(place) or (() if place.attack == CLEAN else (place.attack,))
    concerned = {
        "data set": place.dataset in changed["datasets"],
        "model": place.model in changed["models"],
        "attack": bool(changed["attacks"].intersection(attacks)),
        "defense": place.defense in changed["defenses"],
    }
    names = [noun for noun, differs in concerned.items() if differs]
    return f"other options: {', '.join(names)}" if names else ""
