"""The paper's common pitfalls: section 4.2."""

from __future__ import annotations

from bench_report.checklist.evidence import KNOWN_TO_NOBODY, Answer, Evidence, Topics
from bench_report.findings import published
from bench_report.sentences.phrases import listed
from bench_report.table import as_text
from bench_report.values import Word
from bench_report.words import plural
from benchmark import HOLDING, KNOWING, PROBES


def _diverse(run: Evidence) -> Answer:
    kinds: dict[tuple[str, str], str] = {}
    for place in run.cells:
        known = run.attacks.get(place.attack, {})
        kinds.setdefault((as_text(known.get("use")), run.budget(place)[0]), place.attack)
    uses = list(dict.fromkeys(use for use, _ in kinds))
    needs = list(dict.fromkeys(run.needs(p.attack) for p in run.cells if run.needs(p.attack)))
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


def _gradient_free(run: Evidence) -> Answer:
    by_need = {
        need: list(dict.fromkeys(p.attack for p in run.cells if run.needs(p.attack) == need))
        for need in ("scores", "labels")
    }
    words: list[Word | str] = []
    for need, names in by_need.items():
        words += [" " * bool(words), f"{need.capitalize()} alone: ", *(listed(names) if names else ["none"]), "."]
    return "done" if all(by_need.values()) else "not done", words


def _gradient_free_less(run: Evidence) -> Answer:
    told = run.probe("random-search")
    if told is None:
        return "not done", ["The probe “", PROBES["random-search"].title, "” was not answered."]
    return "done", told


def _transfer(run: Evidence) -> Answer:
    moved = [p for p in run.cells if p.knowledge not in HOLDING]
    if not moved:
        return "not done", ["No row is black-box or gray-box-retrained."]
    names = list(dict.fromkeys(p.defense for p in moved))
    kinds = list(dict.fromkeys(p.knowledge for p in moved))
    return "done", [*listed(kinds), " rows against ", *listed(names), ".", *run.alarm("knowledge")]


def _starts(run: Evidence) -> Answer:
    random = [x for x in run.attacks if run.options(x).get("random_start") or (run.count(x, "restarts") or 1) > 1]
    words: list[Word | str] = ["What other options would do is shown by no run. "]
    told = (
        ["Random starts or restarts: ", *listed(random), "."]
        if random
        else ["No attack says that it starts at random."]
    )
    return "unknown", [*words, *told]


def _randomness(run: Evidence) -> Answer:
    wanted = [x for x in run.defended if run.facts.defense(x).randomised]
    draws = (run.facts.manifest.get("protocol") or {}).get("draws")
    if not wanted:
        return "none", ["No defense is randomised."]
    if type(draws) is not int or draws < 2:
        return "not done", ["Attackers take one draw in each pass of ", *listed(wanted), "."]
    known = {p.defense for p in run.cells if p.knowledge in KNOWING}
    return run.all_of(wanted, known, f"Attackers average over {draws} draws in each pass of ", KNOWN_TO_NOBODY)


def _approximated(run: Evidence) -> Answer:
    wanted = [x for x in run.defended if run.facts.defense(x).has_parts]
    known = {p.defense for p in run.cells if p.knowledge in KNOWING}
    return run.all_of(
        wanted, known, "Attackers step through a differentiable stand-in of ", "No stand-in was attacked of "
    )


def _published(run: Evidence) -> Answer:
    found = published(run.facts)
    if found is None:
        return "not done", ["The suite gives no published numbers for what was run."]
    return "done", [
        f"{found.agrees} agree, {found.differs} differ, {found.unknown} cannot be told at this n, "
        f"{found.doubtful} are in doubt. Why they differ is said by no run."
    ]


def _broader(run: Evidence) -> Answer:
    norms = dict.fromkeys(run.budget(p)[0] for p in run.cells)
    return "not done", [f"All perturbations are measured in {', '.join(norms) or 'no norm'}."]


TOPICS: Topics = {
    "Attacks": {
        "Are of different kinds": _diverse,
        "One needs no gradient, and one labels alone": _gradient_free,
        "Without gradients they succeed less often than with them": _gradient_free_less,
        "One is transferred from a similar network": _transfer,
        "Are checked for their hyperparameters, with random starts": _starts,
    },
    "Special parts of a defense": {
        "Randomness is averaged over": _randomness,
        "What has no gradient is approximated": _approximated,
    },
    "Context": {
        "Published numbers stand beside the measured ones": _published,
        "Broader threat models are tried: rotations, corruptions, noise": _broader,
    },
}
