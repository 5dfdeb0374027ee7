"""The tables of a run, looked up cell by cell."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd

from bench_report.links import file_name
from bench_report.measures import MEASURES, Measure, measure
from bench_report.values import AlarmView, CellView, DifferenceView, Doubt, Estimate, TrustView
from benchmark import (
    ALARMS,
    ALL_ATTACKS,
    CLEAN,
    KNOWING,
    SUMMARIES,
    TRUST_MARKS,
    TRUST_RULES,
    WORST_OF,
    Budget,
)

GroupKey = tuple[str, str, str, str]
"""Data set, model, knowledge, and the group as the column `attack` has it."""


def group_label(norm: str, eps: str) -> str:
    """Return the label of the group of all attacks of a norm and budget, as the host names it."""
    return f"{norm} {eps}"


class Row(NamedTuple):
    """A row of the table of measures, with None for what is not there."""

    dataset: str
    model: str
    attack: str
    norm: str
    eps: str
    defense: str
    knowledge: str
    seed: str
    metric: str
    value: float | None
    low: float | None
    high: float | None
    n: int | None
    status: str
    reference: float | None


def is_group(attack: str) -> bool:
    """Return whether the attack column of a row says that it is about a group of attacks."""
    return attack.startswith(WORST_OF)


def group_name(attack: str) -> str:
    """Return how people call a group of attacks; a single attack keeps its label."""
    return attack.removeprefix(WORST_OF)


class Place(NamedTuple):
    """Where a cell stands, whatever its seed."""

    dataset: str
    model: str
    attack: str
    defense: str
    knowledge: str


class Raised(NamedTuple):
    """An alarm and a cell, or a group of attacks, whose numbers it reaches."""

    place: Place
    kind: str
    finding: str


def as_text(value: Any) -> str:
    """Return a text, empty for what is missing."""
    return "" if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)) else str(value)


def as_number(value: Any) -> float | None:
    """Return a finite number, or None."""
    if value is None or value is pd.NA:
        return None
    number = float(value)
    return number if math.isfinite(number) else None


def as_extent(value: Any) -> float | None:
    """Return a finite number or infinity, as a distance may have it, or None."""
    return math.inf if isinstance(value, float) and value == math.inf else as_number(value)


def as_count(value: Any) -> int | None:
    """Return a whole number, or None."""
    number = as_number(value)
    return None if number is None else int(number)


def read_metrics(frame: pd.DataFrame) -> list[Row]:
    """Return the rows of the table of measures, in their order."""
    columns = [
        "dataset", "model", "attack", "norm", "eps", "defense", "knowledge", "seed", "metric",
        "value", "ci_low", "ci_high", "n", "status", "reference",
    ]  # fmt: skip
    rows = []
    for values in frame[columns].itertuples(index=False, name=None):
        dataset, model, attack, norm, eps, defense, knowledge, seed, metric = map(as_text, values[:9])
        value, low, high = map(as_extent, values[9:12])
        n, status, reference = values[12:]
        rows.append(
            Row(
                dataset, model, attack, norm, eps, defense, knowledge, seed, metric,
                value, low, high, as_count(n), as_text(status), as_number(reference),
            )
        )  # fmt: skip
    return rows


def grouped(frame: pd.DataFrame, names: Sequence[str]) -> dict[tuple[str, ...], np.ndarray]:
    """Return the rows of each combination of texts, in their order."""
    if frame.empty:
        return {}
    codes = np.zeros(len(frame), dtype=np.int64)
    labels = []
    for name in names:
        code, values = pd.factorize(frame[name].astype("object"))
        labels.append([as_text(value) for value in values])
        codes = codes * max(len(values), 1) + code
    order = np.argsort(codes, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(codes[order]) != 0])
    found = {}
    for rows in np.split(order, starts[1:]):
        rest, key = int(codes[rows[0]]), []
        for texts in reversed(labels):
            rest, number = divmod(rest, max(len(texts), 1))
            key.append(texts[number])
        found[tuple(reversed(key))] = rows
    return found


class Table:
    """The metrics of a run, looked up by place, metric and seed, in the order in which they were written."""

    def __init__(
        self,
        rows: Iterable[Row],
        failures: Mapping[Place, str],
        groups: Mapping[GroupKey, Mapping[str, float | None]] | None = None,
        anchor: str = "r1",
        measures: Mapping[str, Measure] | None = None,
        alarms: Iterable[Raised] = (),
        bare: Collection[str] = (),
        trust: Mapping[Place, TrustView] | None = None,
    ) -> None:
        self.rows = list(rows)
        self._measures = {**(measures or {}), **MEASURES}
        self.anchor = anchor
        self._pages: dict[Place, str] = {}
        self.failures = failures
        self._groups = dict(groups or {})
        self._bare = frozenset(bare)
        self._trust = dict(trust or {})
        self.by_place: dict[Place, dict[str, dict[str, Row]]] = {}
        self.status: dict[Place, dict[str, str]] = {}
        self.attacks: dict[tuple[str, str, str], set[str]] = {}
        self.budgets: dict[tuple[str, str], tuple[str, str]] = {}
        for row in self.rows:
            place = Place(row.dataset, row.model, row.attack, row.defense, row.knowledge)
            self.by_place.setdefault(place, {}).setdefault(row.metric, {})[row.seed] = row
            if row.attack != CLEAN and not is_group(row.attack):
                self.attacks.setdefault((row.dataset, row.model, row.knowledge), set()).add(row.attack)
            self.budgets.setdefault((row.dataset, row.attack), (row.norm, row.eps))
            seeds = self.status.setdefault(place, {})
            # One measure that failed does not make the cell fail.
            if row.status == "ok" or row.seed not in seeds:
                seeds[row.seed] = row.status
        self._alarms: dict[tuple[str, str], list[Place]] = {}
        self._raised: dict[Place, list[Raised]] = {}
        self._reached: dict[Place, set[tuple[str, str]]] = {}
        for alarm in alarms:
            if alarm.kind in ALARMS and is_group(alarm.place.attack):
                self._reached.setdefault(alarm.place, set()).add((alarm.kind, alarm.finding))
            elif alarm.kind in ALARMS:
                places = self._alarms.setdefault((alarm.kind, alarm.finding), [])
                if alarm.place not in places:  # of another seed
                    places.append(alarm.place)
                    self._raised.setdefault(alarm.place, []).append(alarm)
        self._doubts: dict[Place, Doubt | None] = {}

    def alarms(self, place: Place | None = None) -> tuple[AlarmView, ...]:
        """Return what puts the numbers of a cell or group in doubt, or all alarms of the run."""
        found = self._alarms
        if place is not None:
            found = dict.fromkeys((x.kind, x.finding) for x in itertools.chain(*self._reaching(place).values()))  # type: ignore[assignment]
        views = []
        for kind, finding in found:
            cells = self._alarms[kind, finding]
            views.append(AlarmView(ALARMS[kind], finding, len(cells), self.page(cells[0])))  # type: ignore[index]
        return tuple(views)

    def _reaching(self, place: Place) -> dict[str, list[Raised]]:
        """Return the alarms that reach the numbers at a place, by attack; of a group those that the run's table names.

        One of an attack may be made up for by another attack of the group (`benchmark.trust`).
        """
        members, reached = self.members(place), self._reached.get(place, ())
        raised = {x: self._raised.get(self.place(*place._replace(attack=x)), ()) for x in members or (place.attack,)}
        if members:
            raised = {x: [one for one in mine if (one.kind, one.finding) in reached] for x, mine in raised.items()}
        return {x: list(mine) for x, mine in raised.items() if mine}

    def doubt(self, place: Place) -> Doubt | None:
        """Return what alarms leave of the numbers at a place, None where none reaches them."""
        if place not in self._doubts:
            found = self._reaching(place)
            kinds = {ALARMS[x.kind].reach for x in itertools.chain(*found.values())}  # type: ignore[index]
            attacks, trust = self.members(place) or (place.attack,), self.trust(place)
            if trust is not None and trust.mark == "flagged" and ("probe" in trust.why or not found):
                found = {attack: found.get(attack, []) for attack in attacks}  # it says of all that gradients mislead
            self._doubts[place] = Doubt(tuple(found), len(attacks), "numbers" not in kinds) if found else None
        return self._doubts[place]

    def trust(self, place: Place) -> TrustView | None:
        """Return the mark of the numbers at a place; of the attack "", that of a defense under all attacks."""
        return self._trust.get(place)

    @cached_property
    def tips(self) -> dict[str, tuple[str, str]]:
        """Marks and their tips, by the names of the tips."""
        return {trust.term: (trust.mark, trust.tip) for trust in self._trust.values()}

    def measure(self, name: str) -> Measure:
        """Return what is known of a measure, those of plugins too."""
        return self._measures.get(name) or measure(name)

    def place(self, dataset: str, model: str, attack: str, defense: str, knowledge: str) -> Place:
        """Return the place of a cell.

        Clean images know no attacker. Where nothing but the network is to be known, the gray-box cell is that of an
        attacker who knows all.
        """
        own = Place(dataset, model, attack, defense, knowledge)
        if own not in self.by_place:
            stands = own._replace(knowledge="" if attack == CLEAN else "gray-box")
            known = attack == CLEAN or (defense in self._bare and knowledge in KNOWING)
            return stands if known and stands in self.by_place else own
        return own

    def page(self, place: Place) -> str:
        """Return the page of a cell or group, "" where the run has none."""
        if place not in self.by_place:
            return ""
        if place not in self._pages:
            words = (group_name(place.attack) if place.attack != CLEAN else "clean", place.defense)
            self._pages[place] = file_name("cells", words, self.anchor, *place)
        return self._pages[place]

    def estimate(self, place: Place, metric: str, seed: str | None = None) -> Estimate | None:
        """Return the mean over seeds, or the value of the only seed, or that of `seed`."""
        seeds = self.by_place.get(place, {}).get(metric, {})
        single = [row for name, row in seeds.items() if name not in SUMMARIES and row.value is not None]
        chosen = seeds.get(seed) if seed is not None else seeds.get(SUMMARIES.mean, single[0] if single else None)
        if chosen is None or chosen.value is None:
            return None
        unit, doubt, trust = self.measure(metric).unit, self.doubt(place), self.trust(place)
        if chosen.seed != SUMMARIES.mean:
            crossed = chosen.seed == SUMMARIES.crossed
            spans: Literal["images", "seeds and images"] = "seeds and images" if crossed else "images"
            of = len(single) if crossed else 1
            return Estimate(
                metric, unit, chosen.value, chosen.low, chosen.high, chosen.n, None, of, chosen.reference, doubt, spans,
                trust=trust,
            )  # fmt: skip
        # The interval of a mean is over seeds alone, and its n counts seeds.
        ends, spread = seeds.get(SUMMARIES.crossed, chosen), seeds.get(SUMMARIES.std)
        images = [row.n for row in single if row.n is not None]
        return Estimate(
            metric,
            unit,
            chosen.value,
            ends.low,
            ends.high,
            min(images, default=None),
            None if spread is None else spread.value,
            len(single),
            chosen.reference,
            doubt,
            "seeds and images" if ends is not chosen else "seeds",
            len({*images}) > 1,
            trust,
        )

    def cell(self, place: Place, metric: str, only: str | None = None) -> CellView:
        """Return the cell without colour, over all seeds or of one seed."""
        statuses = {
            seed: status
            for seed, status in self.status.get(place, {}).items()
            if seed not in SUMMARIES and only in (None, seed)
        }
        bad = [status for status in statuses.values() if status != "ok"]
        failure = self.failure(place) if bad else ""
        estimate = self.estimate(place, metric, only)
        if estimate is not None:
            note = f"{len(bad)} of {len(statuses)} seeds {'failed' if 'failed' in bad else 'not run'}" if bad else ""
            return CellView("ok", estimate, failure, note, page=self.page(place))
        rows = self.by_place.get(place, {}).get(metric, {}).values()
        if "failed" in bad or any(row.status == "failed" and only in (None, row.seed) for row in rows):
            return CellView("failed", failure=failure, page=self.page(place))
        return CellView("missing" if bad or not statuses else "undefined", page=self.page(place) if bad else "")

    def members(self, place: Place) -> tuple[str, ...]:
        """Return the attacks of the group that stands at `place`, sorted; nothing for a single attack."""
        return tuple(sorted(self._groups.get((place.dataset, place.model, place.knowledge, place.attack), ())))

    def counted(self, place: Place) -> dict[str, float | None]:
        """Return the attacks that a cell or group rests on, with the budget at which one without any counts there."""
        key = (place.dataset, place.model, place.knowledge, place.attack)
        return dict(self._groups.get(key, {place.attack: None}))

    def unbounded(self, place: Place) -> bool:
        """Return whether a cell's attack has no budget: it counts in groups, at theirs, and never alone."""
        return place.attack != CLEAN and not self.budgets.get((place.dataset, place.attack), ("", ""))[1]

    def failure(self, place: Place) -> str:
        """Return the anchor of what made the cell fail; for a group, of the first of its attacks that failed."""
        attacks = self.members(place) or (place.attack,)
        return next((self.failures[x] for a in attacks if (x := place._replace(attack=a)) in self.failures), "")

    @cached_property
    def seeds(self) -> list[str]:
        """The seeds, in the order in which they were written."""
        return list(dict.fromkeys(row.seed for row in self.rows if row.seed not in SUMMARIES))


def read_groups(frame: pd.DataFrame, rows: Iterable[Row]) -> dict[GroupKey, dict[str, float | None]]:
    """Return the attacks of each group, and the budget at which one counts there that has none of its own."""
    own = {(row.dataset, row.attack): row.eps for row in rows}
    found: dict[GroupKey, dict[str, float | None]] = {}
    columns = ["dataset", "model", "knowledge", "attack", "member", "eps"]
    for values in frame[columns].itertuples(index=False, name=None):
        dataset, model, knowledge, attack, member, eps = map(as_text, values)
        at = float(Budget(eps)) if eps and not own.get((dataset, member)) else None
        found.setdefault((dataset, model, knowledge, attack), {})[member] = at
    return found


def read_alarms(frame: pd.DataFrame) -> list[Raised]:
    """Return the alarms of a run."""
    rows = frame[[*Place._fields, "alarm", "finding"]].itertuples(index=False, name=None)
    return [Raised(Place(*map(as_text, where)), as_text(kind), as_text(finding)) for *where, kind, finding in rows]


def read_trust(frame: pd.DataFrame) -> dict[Place, TrustView]:
    """Return the marks of a run by place; of several seeds the worst one counts."""
    by_place: dict[Place, list[Mapping[str, Any]]] = {}
    for row in frame.to_dict("records"):
        place = Place(*(as_text(row[name]) for name in Place._fields))
        if row["trust"] in TRUST_MARKS:
            by_place.setdefault(place, []).append({str(name): value for name, value in row.items()})
    found = {}
    for place, rows in by_place.items():
        worst = min(rows, key=lambda row: list[str](TRUST_MARKS).index(row["trust"]))
        best = {(as_text(row["best_attack"]), as_text(row["best_knowledge"])): None for row in rows}
        left = as_number(worst["published_value"])
        published = (as_text(worst["published"]), "" if left is None else f"{100 * left:.4g} %",
                     as_text(worst["published_setting"]))  # fmt: skip
        found[place] = TrustView(
            worst["trust"],
            tuple(name for name in as_text(worst["why"]).split() if name in TRUST_RULES),
            as_text(worst["because"]),
            tuple(one for one in best if one[0]),
            ", ".join(filter(None, published)),
            *(as_count(worst[name]) or 0 for name in ("passed", "failed", "not_run")),
        )
    return found


def read_comparisons(frame: pd.DataFrame) -> dict[tuple[str, ...], DifferenceView]:
    """Return differences by data set, model, attack, knowledge, seed, metric, defense and baseline; both ways round."""
    names = ["dataset", "model", "attack", "knowledge", "seed", "metric", "defense_a", "defense_b"]
    numbers = ["difference", "ci_low", "ci_high", "p_value", "n"]
    found: dict[tuple[str, ...], DifferenceView] = {}
    for values in frame[names + numbers].itertuples(index=False, name=None):
        *where, a, b = map(as_text, values[: len(names)])
        difference, low, high, p = map(as_number, values[len(names) : -1])
        n = as_count(values[-1])
        if difference is None:
            continue
        metric, unit = where[-1], measure(where[-1]).unit
        found[(*where, a, b)] = DifferenceView(metric, unit, difference, low, high, p, n)
        found[(*where, b, a)] = DifferenceView(
            metric, unit, -difference, None if high is None else -high, None if low is None else -low, p, n
        )
    return found


def ordered(found: Iterable[str], first: Mapping[str, Any] | None) -> list[str]:
    """Return the names found, in the order of the suite, then of appearance."""
    names = dict.fromkeys(found)
    return [name for name in first or () if name in names] + [name for name in names if name not in (first or ())]


@dataclass(frozen=True)
class Axes:
    """What the grid of a run spans, in the order of the suite.

    Attributes:
        groups: labels of groups of attacks, as the column `attack` has them.
        main_group: the group of most attacks.
        baseline: label of the undefended system, None where none was run.
    """

    datasets: tuple[str, ...]
    models: tuple[str, ...]
    attacks: tuple[str, ...]
    groups: tuple[str, ...]
    defenses: tuple[str, ...]
    main_group: str | None
    baseline: str | None


def read_axes(table: Table, suite: Mapping[str, Any]) -> Axes:
    """Return what the grid spans."""
    places = list(table.by_place)
    labels = suite.get("attacks") or {}
    named = suite.get("groups") or {}
    groups = [x for x in dict.fromkeys(p.attack for p in places) if is_group(x) and x not in labels]
    sizes = {x: (len(named.get(group_name(x), ())), group_name(x) == ALL_ATTACKS) for x in groups}
    attacks = (place.attack for place in places if place.attack != CLEAN and place.attack not in groups)
    defenses = ordered((place.defense for place in places), suite.get("defenses"))
    uses = {label: component.get("use") for label, component in (suite.get("defenses") or {}).items()}
    undefended = [name for name in defenses if uses.get(name, name) == "none"]
    return Axes(
        datasets=tuple(ordered((place.dataset for place in places), suite.get("datasets"))),
        models=tuple(ordered((place.model for place in places), suite.get("models"))),
        attacks=tuple(ordered(attacks, labels)),
        groups=tuple(groups),
        defenses=tuple(defenses),
        main_group=max(groups, key=sizes.__getitem__, default=None),
        baseline=next(iter(undefended), None),
    )
