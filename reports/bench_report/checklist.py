"""The checklist of Carlini et al. (2019, On Evaluating Adversarial Robustness, arXiv:1902.06705, section 4), per run.

Each check is answered by what the run's tables and manifest hold, and by nothing else: what no run can show is said to
be so. The words of the answers are made here; the numbers are those of the report.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from bench_report.facts import RunFacts
from bench_report.markup import markdown
from bench_report.sentences.phrases import Sentence, listed, rate
from bench_report.table import Place, as_text, is_group
from bench_report.values import Estimate, Word
from bench_report.words import budget_text, plural
from benchmark import (
    BARE,
    CLEAN,
    DRAWN,
    DRAWS,
    HOLDING,
    KNOWING,
    KNOWLEDGE,
    PROBES,
    TAGS,
    AttackTraits,
    DefenseTraits,
    Tag,
    tags_of,
)

if TYPE_CHECKING:
    from benchmark import Run

Status = Literal["done", "not done", "unknown", "none"]
SAID: dict[Status, str] = {
    "done": "done",
    "not done": "not done",
    "unknown": "cannot be told from the run",
    "none": "does not apply",
}
PAPER = "Carlini et al. 2019, arXiv:1902.06705, section 4"
SOURCE = "https://arxiv.org/abs/1902.06705"
TITLE = "Evaluation checklist"
WARNING = (
    "The authors call these items neither necessary nor sufficient: a defense that does not work may satisfy them all. "
    "“Done” says that the run has such numbers, never that they are good."
)
GONE_ALMOST = 0.01
"""Accuracy at which an attack counts as having reached all images."""
KNOWN_TO_NOBODY = "No attacker who knows all of it was run against "
SEVERE, PITFALLS, SPECIAL = "Common severe flaws", "Common pitfalls", "Special cases"


@dataclass(frozen=True)
class Check:
    """An item of the checklist.

    Attributes:
        section: which of the paper's three lists it stands in.
        topic: what several items are about.
        text: what should be.
        facts: what answers it.
    """

    section: str
    topic: str
    text: str
    status: Status
    facts: Sentence


@dataclass(frozen=True)
class Tagged:
    """A component of the run with its tags; `where` is what kind of attacker a row of an attack has."""

    kind: Literal["attack", "defense"]
    label: str
    where: str
    why: str
    tags: tuple[Tag, ...]


@dataclass(frozen=True)
class Described:
    """An attack with all of its options, as they were, those with default values too."""

    label: str
    use: str
    needs: str
    options: str


Answer = tuple[Status, Iterable[Word | str]]


class Checklist:
    """The checklist of a run."""

    def __init__(self, run: Run, facts: RunFacts) -> None:
        self.run = run
        self.facts = facts
        self.table = facts.table
        self.anchor = facts.table.anchor
        self.name = as_text(facts.manifest.get("title")) or run.path.resolve().name
        self.attacks: Mapping[str, Mapping[str, Any]] = facts.manifest.get("attacks") or {}
        self.defenses: Mapping[str, Mapping[str, Any]] = facts.manifest.get("defenses") or {}

    # -- what the run has ----------------------------------------------------------------------------------------------

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
            x for x in self.facts.axes.defenses if self._family(x) != "none" and x in {p.defense for p in self.cells}
        )

    def _family(self, defense: str) -> str:
        return self.facts.families.get(defense, "")

    def _needs(self, attack: str) -> str:
        return as_text(self.attacks.get(attack, {}).get("needs"))

    def _steps(self, attack: str) -> int | None:
        steps = self.attacks.get(attack, {}).get("steps")
        return steps if isinstance(steps, int) else None

    def _options(self, attack: str) -> Mapping[str, Any]:
        return self.attacks.get(attack, {}).get("options") or {}

    def _count(self, attack: str, option: str) -> int | None:
        """Return an option that counts something; None where the attack's option of that name is no whole number."""
        amount = self._options(attack).get(option)
        return amount if type(amount) is int else None

    def _knows(self, place: Place) -> bool:
        """Whether the attacker of a cell knows all of the defense."""
        return place.knowledge in KNOWING or (self._family(place.defense) in BARE and place.knowledge == HOLDING[-1])

    def _robust(self, place: Place) -> Estimate | None:
        """Return what a cell leaves: labelled rightly, or rejected where the defense rejects."""
        return self.table.estimate(place, "joint_robust_accuracy") or self.table.estimate(place, "robust_accuracy")

    def _least(self, places: Iterable[Place]) -> tuple[Place, Estimate] | None:
        found = [(place, kept) for place in places if (kept := self._robust(place)) is not None]
        return min(found, key=lambda one: one[1].value, default=None)

    def _budget(self, place: Place) -> tuple[str, str]:
        return self.table.budgets.get((place.dataset, place.attack), ("", ""))

    @cached_property
    def _probed(self) -> dict[tuple[str, str], list[tuple[str, str]]]:
        """Probe and verdict → defenses and attacks that it is of."""
        found: dict[tuple[str, str], list[tuple[str, str]]] = {}
        for row in self.run.probes.to_dict("records"):
            of = as_text(row["defense"]), as_text(row["attack"])
            found.setdefault((as_text(row["probe"]), as_text(row["verdict"])), []).append(of)
        return found

    def _probe(self, name: str, attacks: Container[str] | None = None) -> list[Word | str] | None:
        """Return what a probe says of the defenses, under some attacks; None where it answers for none of them."""
        told: dict[str, list[str]] = {}
        for verdict in ("fail", "pass"):
            rows = self._probed.get((name, verdict), ())
            if names := list(dict.fromkeys(x for x, attack in rows if attacks is None or attack in attacks)):
                told[verdict] = names
        if not told:
            return None
        words: list[Word | str] = [f"The probe “{PROBES[name].title}”" if name in PROBES else f"The probe {name}"]
        for number, (verdict, names) in enumerate(told.items()):
            words += [" and " if number else " ", f"{verdict}{'es' if verdict == 'pass' else 's'} for ", *listed(names)]
        return [*words, ". "]

    def _alarm(self, kind: str) -> list[Word | str]:
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

    def _kept(self, place: Place, kept: Estimate) -> list[Word | str]:
        """Return a defense under an attack, with what it keeps."""
        at_most = bool(self.facts.bound(place))
        defense = Word(place.defense, "name", self.table.page(place))
        return [defense, " under ", Word(place.attack, "name"), f" ({place.knowledge}) keeps ", *rate(kept, at_most)]

    # -- the list ------------------------------------------------------------------------------------------------------

    @cached_property
    def checks(self) -> tuple[Check, ...]:
        """Return all items, in the order of the paper."""
        return tuple(
            Check(section, topic, text, *self._answered(answer()))
            for section, topics in self._lists().items()
            for topic, items in topics.items()
            for text, answer in items.items()
        )

    @staticmethod
    def _answered(answer: Answer) -> tuple[Status, Sentence]:
        return answer[0], tuple(word if isinstance(word, Word) else Word(word) for word in answer[1])

    def _lists(self) -> dict[str, dict[str, dict[str, Callable[[], Answer]]]]:
        return {
            SEVERE: {
                "Thinking": {
                    "The list is not followed mindlessly": lambda: ("unknown", ["No run shows what was thought."]),
                },
                "A precise threat model": {
                    "States the attacker's goal, knowledge and capabilities": self._threat_model,
                    "The attacker knows how the defense works": self._informed,
                    "The bounds on the perturbation are justified, by somebody who would attack so": self._bounds,
                },
                "Adaptive attacks": {
                    "Attacks reach through the whole defense, end to end": self._end_to_end,
                    "The loss is changed to suit the defense": self._losses,
                    "The strongest attacks for the defense are in focus": self._strongest,
                },
                "Code and models": {
                    "Source code and trained models are released, with one command to use them": self._released,
                },
                "Clean accuracy": {
                    "Accuracy without an attack is reported": self._clean,
                    "There is a ROC curve for defenses that reject": self._roc,
                },
                "Sanity tests": {
                    "Iterative attacks do better than one step": self._one_step,
                    "Iterations suffice to converge": lambda: self._more_of(
                        "steps", ("incomplete-optimisation", "more-steps")
                    ),
                    "Random restarts suffice": lambda: self._more_of("restarts", ("more-steps",)),
                    "A larger budget gives more success": self._monotone,
                    "With a large distortion accuracy falls to guessing": self._large,
                },
                "Success against the budget": {
                    "There is a curve, and attacks reach all images on it": self._curve,
                    "Attacks without a budget are reported by their distortion": self._distortion,
                },
                "Adaptive attacks do better than any other": {
                    "Compared per example": self._compared,
                    "Black-box, transferred or random attacks stand beside them": self._others,
                },
                "Attacks": {
                    "Are described with all hyperparameters": self._described,
                },
            },
            PITFALLS: {
                "Attacks": {
                    "Are of different kinds": self._diverse,
                    "One needs no gradient, and one labels alone": self._gradient_free,
                    "Without gradients they succeed less often than with them": self._gradient_free_less,
                    "One is transferred from a similar network": self._transfer,
                    "Are checked for their hyperparameters, with random starts": self._starts,
                },
                "Special parts of a defense": {
                    "Randomness is averaged over": self._randomness,
                    "What has no gradient is approximated": self._approximated,
                },
                "Context": {
                    "Published numbers stand beside the measured ones": self._published,
                    "Broader threat models are tried: rotations, corruptions, noise": self._broader,
                },
            },
            SPECIAL: {
                "Further evidence": {
                    "Provable lower bounds": lambda: ("not done", ["The run has no measure of a certified accuracy."]),
                    "Random noise of the same norm, 10,000 draws for each image": self._noise,
                    "Targeted and untargeted attacks": self._targeted,
                    "The same network without the defense is attacked, and falls": self._ablation,
                    "Attacks are validated on models that are known to be broken": self._validated,
                    "Other domains than images": lambda: (
                        "none",
                        ["All data sets are of images; nothing is claimed beyond."],
                    ),
                    "Success is counted per example, over all attacks": self._per_example,
                },
            },
        }

    # Severe flaws

    def _threat_model(self) -> Answer:
        kinds = [k for k in KNOWLEDGE if any(p.knowledge == k for p in self.cells)]
        budgets = dict.fromkeys(budget_text(*self._budget(p)) for p in self.cells)
        if not kinds:
            return "not done", ["No attack has numbers."]
        return "done", [
            "A wrong label, and no rejection where the defense rejects; attackers: ",
            *listed(kinds),
            f" (what each holds is said in the report); {'; '.join(budgets)}, in pixels of [0, 1].",
        ]

    def _informed(self) -> Answer:
        known = {p.defense for p in self.cells if self._knows(p)}
        return self._all_of(self.defended, known, "An attacker who knows all of it was run against ", KNOWN_TO_NOBODY)

    def _all_of(self, wanted: Sequence[str], found: Iterable[str], have: str, lack: str) -> Answer:
        """Answer a check that every one of some defenses should meet."""
        met = [x for x in wanted if x in {*found}]
        missing = [x for x in wanted if x not in met]
        if not wanted:
            return "none", ["No defense of that kind was attacked."]
        words: list[Word | str] = [have, *listed(met), "."] if met else []
        if missing:
            words += [" " * bool(met), lack, *listed(missing), "."]
        return "not done" if missing else "done", words

    def _bounds(self) -> Answer:
        budgets = dict.fromkeys(budget_text(*self._budget(p)) for p in self.cells)
        return "unknown", [f"The run has the bounds ({'; '.join(budgets) or 'none'}), and no reasons for them."]

    def _end_to_end(self) -> Answer:
        wanted = [x for x in self.defended if self._family(x) not in BARE]
        words: list[Word | str] = []
        missing = []
        for defense in wanted:
            knowing = self._least(p for p in self.cells if p.defense == defense and self._knows(p))
            if knowing is None:
                missing.append(defense)
                continue
            words += [*self._kept(*knowing), ". "]
        if not wanted:
            return "none", ["No defense has anything beside the network."]
        if missing:
            words += ["Numbers of ", *listed(missing), " are upper bounds: no attack with numbers goes through them."]
        return "not done" if missing else "done", words

    def _losses(self) -> Answer:
        wanted = [x for x in self.defended if self._family(x) in ("detector", "rectifier")]
        evading = {
            p.defense for p in self.cells if self._knows(p) and self.attacks.get(p.attack, {}).get("evades_detector")
        }
        return self._all_of(
            wanted, evading, "Attacks that lower the suspicion too were run against ", "None was run against "
        )

    def _strongest(self) -> Answer:
        words: list[Word | str] = ["That no stronger attack exists is shown by no run."]
        found = [
            one for x in self.defended if (one := self._least(p for p in self.cells if p.defense == x)) is not None
        ]
        for number, one in enumerate(found[:6]):
            words += ["; " if number else " What left least here: ", *self._kept(*one)]
        if not found:
            return "unknown", words
        return "unknown", [*words, *(f"; and {len(found) - 6} more" for _ in found[6:7]), "."]

    def _released(self) -> Answer:
        git = self.facts.manifest.get("git") or {}
        plugins = self.facts.manifest.get("plugins") or ()
        sources = dict.fromkeys(
            f"{as_text(p.get('distribution')) or as_text(p.get('module'))} {as_text(p.get('version'))}" for p in plugins
        )
        words: list[Word | str] = ["The run does not know what is public. It was made by ", *listed(list(sources))]
        if git.get("commit"):
            words += [
                ", commit ",
                Word(as_text(git["commit"])[:12], "name"),
                ", with changes" * bool(git.get("changed")),
            ]
        return "unknown", [*words, ", and its command is repeated in the report."]

    def _clean(self) -> Answer:
        places = list(dict.fromkeys(p._replace(attack=CLEAN, knowledge="") for p in self.cells))
        found = [(p, kept) for p in places if (kept := self.table.estimate(p, "clean_accuracy")) is not None]
        if not found or len(found) < len(places):
            return "not done", [f"{len(found)} of {plural(len(places), 'attacked system')} have it."]
        words: list[Word | str] = [f"For all of {plural(len(found), 'attacked system')}: "]
        ends = dict((min(found, key=_value), max(found, key=_value)))
        for number, (place, kept) in enumerate(ends.items()):
            words += [
                " to " * bool(number),
                *rate(kept),
                " (",
                Word(place.defense, "name", self.table.page(place)),
                ")",
            ]
        return "done", [*words, "."]

    def _roc(self) -> Answer:
        scored = {p.defense for p in self.cells if "auroc" in self.table.by_place[p]}
        flags = [x for x in self.defended if self.table.by_place.get(self._clean_of(x), {}).keys() & {"clean_fpr"}]
        return self._all_of(flags, scored, "On the pages of cells of ", "Scores are missing for ")

    def _clean_of(self, defense: str) -> Place:
        return next(p._replace(attack=CLEAN, knowledge="") for p in self.cells if p.defense == defense)

    def _one_step(self) -> Answer:
        told = self._probe("one-step")
        by_setting: dict[tuple[str, ...], set[bool]] = {}
        for place in self.cells:
            steps = self._steps(place.attack)
            if steps and self._needs(place.attack) == "gradient":
                where = (place.dataset, place.model, place.defense, place.knowledge, *self._budget(place))
                by_setting.setdefault(where, set()).add(steps > 1)
        both = list(dict.fromkeys(where[2] for where, kinds in by_setting.items() if len(kinds) == 2))
        if told is None and not both:
            return "not done", ["No attack of one step stands beside an iterative one of equal norm and budget."]
        if told is not None:
            return "done", [*told, *self._alarm("one-step")]
        return "done", [
            "Both were run, at equal norm and budget, against ",
            *listed(both),
            ".",
            *self._alarm("one-step"),
        ]

    def _more_of(self, option: str, probes: Sequence[str]) -> Answer:
        """Answer whether more steps or restarts change anything: by probes, or by attacks that differ in them alone."""
        counted = {x for x in self.attacks if self._count(x, option) is not None}
        twice = {x for x, known in self.attacks.items() if option in (known.get("doubled") or ())}
        of = {name: twice if name == "more-steps" else counted for name in probes}
        told = list(itertools.chain(*(self._probe(name, attacks) or () for name, attacks in of.items())))
        if told:
            return "done", told
        alike: dict[tuple[Any, ...], dict[int, str]] = {}
        for label, known in self.attacks.items():
            options = dict(self._options(label))
            amount = options.pop(option, None)
            if isinstance(amount, int):
                alike.setdefault((known.get("use"), repr(sorted(options.items()))), {})[amount] = label
        pairs = [sorted(found.items())[-2:] for found in alike.values() if len(found) > 1]
        words: list[Word | str] = []
        for (few, less), (many, more) in pairs:
            for place in self.cells:
                kept, beside = self._robust(place), self._robust(place._replace(attack=more))
                if place.attack == less and kept is not None and beside is not None:
                    words += [Word(place.defense, "name", self.table.page(place)), f" at {few} {option}: ", *rate(kept)]
                    words += [f", at {many}: ", *rate(beside), ". "]
        if words:
            return "done", words
        amounts = [
            f"{label} {self._options(label)[option]}" for label in self.attacks if option in self._options(label)
        ]
        words = [f"No two attacks differ in {option} alone, and no probe of that was answered."]
        if amounts:
            words += [f" {option.capitalize()}: ", *listed(amounts), "."]
        return "not done", words

    @cached_property
    def _sweeps(self) -> dict[Place, list[tuple[float, float]]]:
        """Accuracy over the budget at the cells that have the curve, by rising budget."""
        curves = self.run.curves
        found: dict[Place, list[tuple[float, float]]] = {}
        rows = curves[curves.curve == "accuracy_vs_eps"]
        columns = (*Place._fields, "x", "y")
        for *where, x, y in rows[list(columns)].itertuples(index=False, name=None):
            found.setdefault(Place(*map(as_text, where)), []).append((float(x), float(y)))
        return {place: sorted({*points}) for place, points in found.items()}

    def _monotone(self) -> Answer:
        if not self._sweeps:
            return "not done", ["No attack was run at several budgets."]
        names = list(dict.fromkeys(place.defense for place in self._sweeps))
        return "done", ["Attacks at several budgets were run against ", *listed(names), ".", *self._alarm("eps")]

    def _large(self) -> Answer:
        told = list(itertools.chain(*(self._probe(x) or () for x in ("large-budget", "unconstrained-failure"))))
        if told:
            return "done", told
        return "not done", ["No attack has a budget at which every image may become the same grey."]

    def _curve(self) -> Answer:
        if not self._sweeps:
            distances = [p for p in self.cells if "median_minimal_distance" in self.table.by_place[p]]
            if distances:
                return "done", ["Success against distance, of attacks without a budget, on the pages of their cells."]
            return "not done", ["No attack was run at several budgets."]
        systems: dict[Place, float] = {}
        for place, points in self._sweeps.items():
            system = place._replace(attack="", knowledge="")
            systems[system] = min(points[-1][1], systems.get(system, 1.0))
        left: dict[str, float] = {}
        for system, share in systems.items():
            left[system.defense] = max(share, left.get(system.defense, 0.0))
        standing = [name for name, share in left.items() if share > GONE_ALMOST]
        words: list[Word | str] = ["Curves of ", *listed(list(left)), "."]
        if standing:
            return "not done", [*words, " At the largest budget more than 1 % is left of ", *listed(standing), "."]
        return "done", [*words, " At the largest budget at most 1 % is left of each."]

    def _distortion(self) -> Answer:
        free = [p for p in self.cells if self.table.unbounded(p)]
        if not free:
            return "none", ["Every attack has a budget."]
        lacking = [p for p in free if "median_minimal_distance" not in self.table.by_place[p]]
        names = list(dict.fromkeys(p.attack for p in free))
        return "not done" if lacking else "done", ["Median distance and curve of ", *listed(names), "."]

    def _compared(self) -> Answer:
        told = self._probe("knowledge")
        by_setting: dict[tuple[str, ...], set[bool]] = {}
        for place in self.cells:
            where = (place.dataset, place.model, place.defense, place.attack)
            by_setting.setdefault(where, set()).add(self._knows(place))
        both = list(dict.fromkeys(where[2] for where, kinds in by_setting.items() if len(kinds) == 2))
        if told is None and not both:
            return "not done", ["No attack was run by two kinds of attackers against one defense."]
        words = told or [
            "The same attack by who knows more and who knows less, image by image, against ",
            *listed(both),
            ".",
        ]
        return "done", [*words, *self._alarm("knowledge")]

    def _others(self) -> Answer:
        free = list(dict.fromkeys(p.attack for p in self.cells if self._needs(p.attack) in ("scores", "labels")))
        moved = list(dict.fromkeys(p.knowledge for p in self.cells if p.knowledge not in HOLDING))
        if not free and not moved:
            return "not done", ["All attacks use gradients of the deployed network."]
        words: list[Word | str] = ["Without gradients: ", *listed(free), "."] if free else []
        if moved:
            words += [" " * bool(free), "Transferred: ", *listed(moved), " rows."]
        return "done", words

    def _described(self) -> Answer:
        if not self.attacks:
            return "unknown", ["The run's manifest lists no attacks."]
        return "done", [f"{plural(len(self.attacks), 'attack')}, with all options, below."]

    # Pitfalls

    def _diverse(self) -> Answer:
        kinds: dict[tuple[str, str], str] = {}
        for place in self.cells:
            known = self.attacks.get(place.attack, {})
            kinds.setdefault((as_text(known.get("use")), self._budget(place)[0]), place.attack)
        uses = list(dict.fromkeys(use for use, _ in kinds))
        needs = list(dict.fromkeys(self._needs(p.attack) for p in self.cells if self._needs(p.attack)))
        words: list[Word | str] = [
            f"{plural(len(uses), 'plugin')}: ",
            *listed(uses),
            "; they need ",
            *listed(needs),
            ".",
        ]
        if len(uses) < 2:
            return "not done", words
        return "unknown" if len(needs) < 2 else "done", words

    def _gradient_free(self) -> Answer:
        by_need = {
            need: list(dict.fromkeys(p.attack for p in self.cells if self._needs(p.attack) == need))
            for need in ("scores", "labels")
        }
        words: list[Word | str] = []
        for need, names in by_need.items():
            words += [" " * bool(words), f"{need.capitalize()} alone: ", *(listed(names) if names else ["none"]), "."]
        return "done" if all(by_need.values()) else "not done", words

    def _gradient_free_less(self) -> Answer:
        told = self._probe("random-search")
        if told is None:
            return "not done", ["The probe “", PROBES["random-search"].title, "” was not answered."]
        return "done", told

    def _transfer(self) -> Answer:
        moved = [p for p in self.cells if p.knowledge not in HOLDING]
        if not moved:
            return "not done", ["No row is black-box or gray-box-retrained."]
        names = list(dict.fromkeys(p.defense for p in moved))
        kinds = list(dict.fromkeys(p.knowledge for p in moved))
        return "done", [*listed(kinds), " rows against ", *listed(names), ".", *self._alarm("knowledge")]

    def _starts(self) -> Answer:
        random = [
            x for x in self.attacks if self._options(x).get("random_start") or (self._count(x, "restarts") or 1) > 1
        ]
        words: list[Word | str] = ["What other options would do is shown by no run. "]
        told = (
            ["Random starts or restarts: ", *listed(random), "."]
            if random
            else ["No attack says that it starts at random."]
        )
        return "unknown", [*words, *told]

    def _randomness(self) -> Answer:
        wanted = [x for x in self.defended if self.defenses.get(x, {}).get("randomised")]
        draws = (self.facts.manifest.get("protocol") or {}).get("draws")
        if not wanted:
            return "none", ["No defense is randomised."]
        if type(draws) is not int or draws < 2:
            return "not done", ["Attackers take one draw in each pass of ", *listed(wanted), "."]
        known = {p.defense for p in self.cells if p.knowledge in KNOWING}
        return self._all_of(wanted, known, f"Attackers average over {draws} draws in each pass of ", KNOWN_TO_NOBODY)

    def _approximated(self) -> Answer:
        wanted = [x for x in self.defended if self._family(x) in ("preprocessor", "rectifier", "detector")]
        known = {p.defense for p in self.cells if p.knowledge in KNOWING}
        return self._all_of(
            wanted, known, "Attackers step through a differentiable stand-in of ", "No stand-in was attacked of "
        )

    def _published(self) -> Answer:
        published = self.facts.published()
        if published is None:
            return "not done", ["The suite gives no published numbers for what was run."]
        return "done", [
            f"{published.agrees} agree, {published.differs} differ, {published.unknown} cannot be told at this n, "
            f"{published.doubtful} are in doubt. Why they differ is said by no run."
        ]

    def _broader(self) -> Answer:
        norms = dict.fromkeys(self._budget(p)[0] for p in self.cells)
        return "not done", [f"All perturbations are measured in {', '.join(norms) or 'no norm'}."]

    # Special cases

    def _noise(self) -> Answer:
        told = self._probe("random-draws")
        if told is None:
            return "not done", ["No attack draws noise at random."]
        return "done", [*told, f"Drawn around {DRAWN} images of an attack at most, {DRAWS:,} draws each."]

    def _targeted(self) -> Answer:
        by_aim: dict[bool, list[str]] = {True: [], False: []}
        for label in self.attacks:
            options = self._options(label)
            by_aim[bool(options.get("targets") or options.get("targeted"))].append(label)
        words: list[Word | str] = []
        for aim, names in by_aim.items():
            if names:
                words += [
                    " " * bool(words),
                    "Towards a class: " if aim else "Away from the true class: ",
                    *listed(names),
                    ".",
                ]
        return "done" if all(by_aim.values()) else "not done", words or ["The run's manifest lists no attacks."]

    def _ablation(self) -> Answer:
        undefended = [p for p in self.cells if self._family(p.defense) == "none"]
        least = self._least(undefended)
        if least is None:
            return "not done", ["The undefended network was not attacked."]
        place, kept = least
        clean = self.table.estimate(place._replace(attack=CLEAN, knowledge=""), "clean_accuracy")
        words = self._kept(*least)
        words += [", of ", *rate(clean), " without an attack"] if clean else []
        fell = clean is not None and None not in (kept.high, clean.low) and kept.high < clean.low  # type: ignore[operator]
        return "done" if fell else "not done", [
            *words,
            ". Of parts of a defense, the run knows what its suite calls a defense.",
        ]

    def _validated(self) -> Answer:
        return "unknown", [
            "Only what is in the suite was attacked. ",
            Word("bench verify-attack", "name"),
            " sets an attack a problem that it must solve, and its answer is no part of a run.",
        ]

    def _per_example(self) -> Answer:
        groups = [p for p in self.table.by_place if is_group(p.attack) and "ok" in self.table.status[p].values()]
        found = [
            (p, kept)
            for p in groups
            if self._family(p.defense) != "none"
            and (kept := self.table.estimate(p, "worst_case_joint_robust_accuracy")) is not None
        ]
        if not groups:
            return "not done", ["There is no group of attacks with numbers."]
        words: list[Word | str] = ["Worst cases are taken image by image"]
        if found:
            place, kept = min(found, key=_value)
            words += [": least for ", Word(place.defense, "name", self.table.page(place)), ", ", *rate(kept)]
            words += [f" over {plural(len(self.table.members(place)), 'attack')}"]
        return "done", [*words, "."]

    # -- tags and attacks ----------------------------------------------------------------------------------------------

    def tagged(self) -> tuple[Tagged, ...]:
        """Return the attacks, by where their images were crafted, and the defenses, with their tags."""
        rows = []
        met = dict.fromkeys((p.attack, p.knowledge) for p in self.cells)
        order = sorted(met, key=lambda one: list(self.attacks).index(one[0]) if one[0] in self.attacks else -1)
        for attack, knowledge in order:
            needs = self._needs(attack)
            if needs:
                tags = tags_of(AttackTraits(needs, knowledge))  # type: ignore[arg-type]
                rows.append(Tagged("attack", attack, knowledge, f"needs {needs}", tags))
        for label in self.facts.axes.defenses:
            known = self.defenses.get(label, {})
            family = as_text(known.get("family"))
            if family and family != "none":
                traits = DefenseTraits(family, bool(known.get("gives_scores")), int(known.get("networks", 1)))  # type: ignore[arg-type]
                rows.append(Tagged("defense", label, "", family, tags_of(traits)))
        return tuple(rows)

    def described(self) -> tuple[Described, ...]:
        """Return the attacks with all of their options."""
        return tuple(
            Described(
                label,
                as_text(known.get("use")),
                as_text(known.get("needs")),
                ", ".join(
                    f"{name} {_plain(value)}" for name, value in self._options(label).items() if value is not None
                ),
            )
            for label, known in self.attacks.items()
        )

    @cached_property
    def counts(self) -> dict[str, int]:
        """How many items have each answer, in words."""
        given = [check.status for check in self.checks]
        return {said: given.count(status) for status, said in SAID.items()}

    def sections(self) -> list[tuple[str, list[Check]]]:
        """Return the three lists of the paper with their items."""
        return [(name, list(checks)) for name, checks in itertools.groupby(self.checks, lambda check: check.section)]

    def markdown(self) -> str:
        """Return the same as Markdown, for a paper's appendix or a pull request."""
        lines = [f"# {TITLE}: {markdown(self.name)}", "", f"By [{PAPER}]({SOURCE}). {WARNING}", ""]
        lines += [", ".join(f"{count} {said}" for said, count in self.counts.items()) + ".", ""]
        for section, checks in self.sections():
            lines += [f"## {section}", "", "| | Item | Answer | By |", "| --- | --- | --- | --- |"]
            topic = ""
            for check in checks:
                told = "".join(markdown(word.text) for word in check.facts)
                head = "" if check.topic == topic else check.topic
                lines.append(f"| {head} | {check.text} | {SAID[check.status]} | {told} |")
                topic = check.topic
            lines.append("")
        lines += ["## Tags", "", f"By {' and '.join(dict.fromkeys(tag.framework for tag in TAGS))}.", ""]
        lines += ["| | Label | | Tags |", "| --- | --- | --- | --- |"]
        for row in self.tagged():
            why = ", ".join(filter(None, (row.where, row.why)))
            tags = "; ".join(f"{tag.name} {tag.title}" for tag in row.tags)
            lines.append(f"| {row.kind} | {markdown(row.label)} | {markdown(why)} | {tags} |")
        lines += ["", "## Attacks", "", "| Label | Plugin | Needs | Options |", "| --- | --- | --- | --- |"]
        for attack in self.described():
            cells = map(markdown, (attack.label, attack.use, attack.needs, attack.options))
            lines.append("| " + " | ".join(cells) + " |")
        return "\n".join([*lines, ""])


def _value(one: tuple[Place, Estimate]) -> float:
    return one[1].value


def _plain(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
