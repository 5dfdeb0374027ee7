"""What a run has that answers an item of the checklist, and the words that answers share."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from bench_report.facts import RunFacts
from bench_report.sentences.phrases import listed, rate
from bench_report.table import Place, as_text
from bench_report.values import Estimate, Word
from bench_report.words import plural
from benchmark import CLEAN, HOLDING, KNOWING, PROBES

if TYPE_CHECKING:
    from benchmark import Run

Status = Literal["done", "not done", "unknown", "none"]
Answer = tuple[Status, Iterable[Word | str]]
Topics = Mapping[str, Mapping[str, Callable[["Evidence"], Answer]]]
"""What several items are about → what should be → what answers it."""
KNOWN_TO_NOBODY = "No attacker who knows all of it was run against "


class Evidence:
    """What a run has."""

    def __init__(self, run: Run, facts: RunFacts) -> None:
        self.run = run
        self.facts = facts
        self.table = facts.table
        self.attacks: Mapping[str, Mapping[str, Any]] = facts.manifest.get("attacks") or {}

    @cached_property
    def cells(self) -> tuple[Place, ...]:
        """Attacked cells that have numbers."""
        groups = {*self.facts.axes.groups, CLEAN}
        return tuple(
            place
            for place in self.table.by_place
            if place.attack not in groups and "ok" in self.table.status[place].values()
        )

    @cached_property
    def defended(self) -> tuple[str, ...]:
        """Defenses that an attack was run against, without the undefended system."""
        return tuple(
            x
            for x in self.facts.axes.defenses
            if not self.facts.defense(x).undefended and x in {p.defense for p in self.cells}
        )

    def needs(self, attack: str) -> str:
        """Return the most that an attack asks of its victim."""
        return as_text(self.attacks.get(attack, {}).get("needs"))

    def steps(self, attack: str) -> int | None:
        """Return how often it moves an image; None where that is not known."""
        steps = self.attacks.get(attack, {}).get("steps")
        return steps if isinstance(steps, int) else None

    def options(self, attack: str) -> Mapping[str, Any]:
        """Return the options of an attack, those with default values too."""
        return self.attacks.get(attack, {}).get("options") or {}

    def count(self, attack: str, option: str) -> int | None:
        """Return an option that counts something; None where the attack's option of that name is no whole number."""
        amount = self.options(attack).get(option)
        return amount if type(amount) is int else None

    def knows(self, place: Place) -> bool:
        """Whether the attacker of a cell knows all of the defense."""
        return place.knowledge in KNOWING or (self.facts.defense(place.defense).bare and place.knowledge == HOLDING[-1])

    def robust(self, place: Place) -> Estimate | None:
        """Return what a cell leaves: labelled rightly, or rejected where the defense rejects."""
        return self.table.estimate(place, "joint_robust_accuracy") or self.table.estimate(place, "robust_accuracy")

    def least(self, places: Iterable[Place]) -> tuple[Place, Estimate] | None:
        """Return the cell that leaves least, and what it leaves."""
        found = [(place, kept) for place in places if (kept := self.robust(place)) is not None]
        return min(found, key=lambda one: one[1].value, default=None)

    def budget(self, place: Place) -> tuple[str, str]:
        """Return norm and budget of a cell's attack."""
        return self.table.budgets.get((place.dataset, place.attack), ("", ""))

    def clean_of(self, defense: str) -> Place:
        """Return where a defense meets clean images."""
        return next(p._replace(attack=CLEAN, knowledge="") for p in self.cells if p.defense == defense)

    @cached_property
    def probed(self) -> dict[tuple[str, str], list[tuple[str, str]]]:
        """Probe and verdict → defenses and attacks that it is of."""
        found: dict[tuple[str, str], list[tuple[str, str]]] = {}
        for row in self.run.probes.to_dict("records"):
            of = as_text(row["defense"]), as_text(row["attack"])
            found.setdefault((as_text(row["probe"]), as_text(row["verdict"])), []).append(of)
        return found

    def probe(self, name: str, attacks: Container[str] | None = None) -> list[Word | str] | None:
        """Return what a probe says of the defenses, under some attacks; None where it answers for none of them."""
        told: dict[str, list[str]] = {}
        for verdict in ("fail", "pass"):
            rows = self.probed.get((name, verdict), ())
            if names := list(dict.fromkeys(x for x, attack in rows if attacks is None or attack in attacks)):
                told[verdict] = names
        if not told:
            return None
        words: list[Word | str] = [f"The probe “{PROBES[name].title}”" if name in PROBES else f"The probe {name}"]
        for number, (verdict, names) in enumerate(told.items()):
            words += [" and " if number else " ", f"{verdict}{'es' if verdict == 'pass' else 's'} for ", *listed(names)]
        return [*words, ". "]

    def alarm(self, kind: str) -> list[Word | str]:
        """Return which alarms of a kind were raised."""
        rows = self.run.alarms
        raised = list(dict.fromkeys(map(as_text, rows[rows.alarm == kind].finding)))
        if not raised:
            return [" No alarm of that kind was raised."]
        return [
            f" {plural(len(raised), 'alarm')} of that kind: ",
            Word(raised[0], "quote"),
            "; …" * (len(raised) > 1),
            ".",
        ]

    def kept(self, place: Place, kept: Estimate) -> list[Word | str]:
        """Return a defense under an attack, with what it keeps."""
        at_most = bool(self.facts.bound(place))
        defense = Word(place.defense, "name", self.table.page(place))
        return [defense, " under ", Word(place.attack, "name"), f" ({place.knowledge}) keeps ", *rate(kept, at_most)]

    def all_of(self, wanted: Sequence[str], found: Iterable[str], have: str, lack: str) -> Answer:
        """Answer a check that every one of some defenses should meet."""
        met = [x for x in wanted if x in {*found}]
        missing = [x for x in wanted if x not in met]
        if not wanted:
            return "none", ["No defense of that kind was attacked."]
        words: list[Word | str] = [have, *listed(met), "."] if met else []
        if missing:
            words += [" " * bool(met), lack, *listed(missing), "."]
        return "not done" if missing else "done", words

    @cached_property
    def sweeps(self) -> dict[Place, list[tuple[float, float]]]:
        """Accuracy over the budget at the cells that have the curve, by rising budget."""
        curves = self.run.curves
        found: dict[Place, list[tuple[float, float]]] = {}
        rows = curves[curves.curve == "accuracy_vs_eps"]
        columns = (*Place._fields, "x", "y")
        for *where, x, y in rows[list(columns)].itertuples(index=False, name=None):
            found.setdefault(Place(*map(as_text, where)), []).append((float(x), float(y)))
        return {place: sorted({*points}) for place, points in found.items()}
