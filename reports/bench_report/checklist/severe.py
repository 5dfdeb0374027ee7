"""The paper's common severe flaws: section 4.1."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from bench_report.checklist.evidence import KNOWN_TO_NOBODY, Answer, Evidence, Topics
from bench_report.sentences.phrases import listed, rate
from bench_report.table import Place, as_text
from bench_report.values import Word
from bench_report.words import budget_text, plural
from benchmark import CLEAN, HOLDING, KNOWLEDGE

GONE_ALMOST = 0.01
"""Accuracy at which an attack counts as having reached all images."""


def _threat_model(run: Evidence) -> Answer:
    kinds = [k for k in KNOWLEDGE if any(p.knowledge == k for p in run.cells)]
    budgets = dict.fromkeys(budget_text(*run.budget(p)) for p in run.cells)
    if not kinds:
        return "not done", ["No attack has numbers."]
    return "done", [
        "A wrong label, and no rejection where the defense rejects; attackers: ",
        *listed(kinds),
        f" (what each holds is said in the report); {'; '.join(budgets)}, in pixels of [0, 1].",
    ]


def _informed(run: Evidence) -> Answer:
    known = {p.defense for p in run.cells if run.knows(p)}
    return run.all_of(run.defended, known, "An attacker who knows all of it was run against ", KNOWN_TO_NOBODY)


def _bounds(run: Evidence) -> Answer:
    budgets = dict.fromkeys(budget_text(*run.budget(p)) for p in run.cells)
    return "unknown", [f"The run has the bounds ({'; '.join(budgets) or 'none'}), and no reasons for them."]


def _end_to_end(run: Evidence) -> Answer:
    wanted = [x for x in run.defended if not run.facts.defense(x).bare]
    words: list[Word | str] = []
    missing = []
    for defense in wanted:
        knowing = run.least(p for p in run.cells if p.defense == defense and run.knows(p))
        if knowing is None:
            missing.append(defense)
            continue
        words += [*run.kept(*knowing), ". "]
    if not wanted:
        return "none", ["No defense has anything beside the network."]
    if missing:
        words += ["Numbers of ", *listed(missing), " are upper bounds: no attack with numbers goes through them."]
    return "not done" if missing else "done", words


def _losses(run: Evidence) -> Answer:
    wanted = [x for x in run.defended if run.facts.defense(x).detects]
    evading = {p.defense for p in run.cells if run.knows(p) and run.attacks.get(p.attack, {}).get("evades_detector")}
    return run.all_of(
        wanted, evading, "Attacks that lower the suspicion too were run against ", "None was run against "
    )


def _strongest(run: Evidence) -> Answer:
    words: list[Word | str] = ["That no stronger attack exists is shown by no run."]
    found = [one for x in run.defended if (one := run.least(p for p in run.cells if p.defense == x)) is not None]
    for number, one in enumerate(found[:6]):
        words += ["; " if number else " What left least here: ", *run.kept(*one)]
    if not found:
        return "unknown", words
    return "unknown", [*words, *(f"; and {len(found) - 6} more" for _ in found[6:7]), "."]


def _released(run: Evidence) -> Answer:
    git = run.facts.manifest.get("git") or {}
    plugins = run.facts.manifest.get("plugins") or ()
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


def _clean(run: Evidence) -> Answer:
    places = list(dict.fromkeys(p._replace(attack=CLEAN, knowledge="") for p in run.cells))
    found = [(p, kept) for p in places if (kept := run.table.estimate(p, "clean_accuracy")) is not None]
    if not found or len(found) < len(places):
        return "not done", [f"{len(found)} of {plural(len(places), 'attacked system')} have it."]
    words: list[Word | str] = [f"For all of {plural(len(found), 'attacked system')}: "]
    ends = dict((min(found, key=lambda one: one[1].value), max(found, key=lambda one: one[1].value)))
    for number, (place, kept) in enumerate(ends.items()):
        words += [
            " to " * bool(number),
            *rate(kept),
            " (",
            Word(place.defense, "name", run.table.page(place)),
            ")",
        ]
    return "done", [*words, "."]


def _roc(run: Evidence) -> Answer:
    scored = {p.defense for p in run.cells if "auroc" in run.table.by_place[p]}
    flags = [x for x in run.defended if run.table.by_place.get(run.clean_of(x), {}).keys() & {"clean_fpr"}]
    return run.all_of(flags, scored, "On the pages of cells of ", "Scores are missing for ")


def _one_step(run: Evidence) -> Answer:
    told = run.probe("one-step")
    by_setting: dict[tuple[str, ...], set[bool]] = {}
    for place in run.cells:
        steps = run.steps(place.attack)
        if steps and run.needs(place.attack) == "gradient":
            where = (place.dataset, place.model, place.defense, place.knowledge, *run.budget(place))
            by_setting.setdefault(where, set()).add(steps > 1)
    both = list(dict.fromkeys(where[2] for where, kinds in by_setting.items() if len(kinds) == 2))
    if told is None and not both:
        return "not done", ["No attack of one step stands beside an iterative one of equal norm and budget."]
    if told is not None:
        return "done", [*told, *run.alarm("one-step")]
    return "done", [
        "Both were run, at equal norm and budget, against ",
        *listed(both),
        ".",
        *run.alarm("one-step"),
    ]


def _more_of(run: Evidence, option: str, probes: Sequence[str]) -> Answer:
    """Answer whether more steps or restarts change anything: by probes, or by attacks that differ in them alone."""
    counted = {x for x in run.attacks if run.count(x, option) is not None}
    twice = {x for x, known in run.attacks.items() if option in (known.get("doubled") or ())}
    of = {name: twice if name == "more-steps" else counted for name in probes}
    told = list(itertools.chain(*(run.probe(name, attacks) or () for name, attacks in of.items())))
    if told:
        return "done", told
    alike: dict[tuple[Any, ...], dict[int, str]] = {}
    for label, known in run.attacks.items():
        options = dict(run.options(label))
        amount = options.pop(option, None)
        if isinstance(amount, int):
            alike.setdefault((known.get("use"), repr(sorted(options.items()))), {})[amount] = label
    pairs = [sorted(found.items())[-2:] for found in alike.values() if len(found) > 1]
    words: list[Word | str] = []
    for (few, less), (many, more) in pairs:
        for place in run.cells:
            kept, beside = run.robust(place), run.robust(place._replace(attack=more))
            if place.attack == less and kept is not None and beside is not None:
                words += [Word(place.defense, "name", run.table.page(place)), f" at {few} {option}: ", *rate(kept)]
                words += [f", at {many}: ", *rate(beside), ". "]
    if words:
        return "done", words
    amounts = [f"{label} {run.options(label)[option]}" for label in run.attacks if option in run.options(label)]
    words = [f"No two attacks differ in {option} alone, and no probe of that was answered."]
    if amounts:
        words += [f" {option.capitalize()}: ", *listed(amounts), "."]
    return "not done", words


def _monotone(run: Evidence) -> Answer:
    if not run.sweeps:
        return "not done", ["No attack was run at several budgets."]
    names = list(dict.fromkeys(place.defense for place in run.sweeps))
    return "done", ["Attacks at several budgets were run against ", *listed(names), ".", *run.alarm("eps")]


def _large(run: Evidence) -> Answer:
    told = list(itertools.chain(*(run.probe(x) or () for x in ("large-budget", "unconstrained-failure"))))
    if told:
        return "done", told
    return "not done", ["No attack has a budget at which every image may become the same grey."]


def _curve(run: Evidence) -> Answer:
    if not run.sweeps:
        distances = [p for p in run.cells if "median_minimal_distance" in run.table.by_place[p]]
        if distances:
            return "done", ["Success against distance, of attacks without a budget, on the pages of their cells."]
        return "not done", ["No attack was run at several budgets."]
    systems: dict[Place, float] = {}
    for place, points in run.sweeps.items():
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


def _distortion(run: Evidence) -> Answer:
    free = [p for p in run.cells if run.table.unbounded(p)]
    if not free:
        return "none", ["Every attack has a budget."]
    lacking = [p for p in free if "median_minimal_distance" not in run.table.by_place[p]]
    names = list(dict.fromkeys(p.attack for p in free))
    return "not done" if lacking else "done", ["Median distance and curve of ", *listed(names), "."]


def _compared(run: Evidence) -> Answer:
    told = run.probe("knowledge")
    by_setting: dict[tuple[str, ...], set[bool]] = {}
    for place in run.cells:
        where = (place.dataset, place.model, place.defense, place.attack)
        by_setting.setdefault(where, set()).add(run.knows(place))
    both = list(dict.fromkeys(where[2] for where, kinds in by_setting.items() if len(kinds) == 2))
    if told is None and not both:
        return "not done", ["No attack was run by two kinds of attackers against one defense."]
    words = told or [
        "The same attack by who knows more and who knows less, image by image, against ",
        *listed(both),
        ".",
    ]
    return "done", [*words, *run.alarm("knowledge")]


def _others(run: Evidence) -> Answer:
    free = list(dict.fromkeys(p.attack for p in run.cells if run.needs(p.attack) in ("scores", "labels")))
    moved = list(dict.fromkeys(p.knowledge for p in run.cells if p.knowledge not in HOLDING))
    if not free and not moved:
        return "not done", ["All attacks use gradients of the deployed network."]
    words: list[Word | str] = ["Without gradients: ", *listed(free), "."] if free else []
    if moved:
        words += [" " * bool(free), "Transferred: ", *listed(moved), " rows."]
    return "done", words


def _described(run: Evidence) -> Answer:
    if not run.attacks:
        return "unknown", ["The run's manifest lists no attacks."]
    return "done", [f"{plural(len(run.attacks), 'attack')}, with all options, below."]


TOPICS: Topics = {
    "Thinking": {
        "The list is not followed mindlessly": lambda run: ("unknown", ["No run shows what was thought."]),
    },
    "A precise threat model": {
        "States the attacker's goal, knowledge and capabilities": _threat_model,
        "The attacker knows how the defense works": _informed,
        "The bounds on the perturbation are justified, by somebody who would attack so": _bounds,
    },
    "Adaptive attacks": {
        "Attacks reach through the whole defense, end to end": _end_to_end,
        "The loss is changed to suit the defense": _losses,
        "The strongest attacks for the defense are in focus": _strongest,
    },
    "Code and models": {
        "Source code and trained models are released, with one command to use them": _released,
    },
    "Clean accuracy": {
        "Accuracy without an attack is reported": _clean,
        "There is a ROC curve for defenses that reject": _roc,
    },
    "Sanity tests": {
        "Iterative attacks do better than one step": _one_step,
        "Iterations suffice to converge": lambda run: _more_of(run, "steps", ("incomplete-optimisation", "more-steps")),
        "Random restarts suffice": lambda run: _more_of(run, "restarts", ("more-steps",)),
        "A larger budget gives more success": _monotone,
        "With a large distortion accuracy falls to guessing": _large,
    },
    "Success against the budget": {
        "There is a curve, and attacks reach all images on it": _curve,
        "Attacks without a budget are reported by their distortion": _distortion,
    },
    "Adaptive attacks do better than any other": {
        "Compared per example": _compared,
        "Black-box, transferred or random attacks stand beside them": _others,
    },
    "Attacks": {
        "Are described with all hyperparameters": _described,
    },
}
