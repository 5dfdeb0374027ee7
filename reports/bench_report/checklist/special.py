"""The paper's special-case recommendations: section 4.3."""

from __future__ import annotations

from bench_report.checklist.evidence import Answer, Evidence, Topics
from bench_report.sentences.phrases import listed, rate
from bench_report.table import is_group
from bench_report.values import Word
from bench_report.words import plural
from benchmark import CLEAN, PROBES


def _noise(run: Evidence) -> Answer:
    told = run.probe("random-draws")
    if told is None:
        return "not done", ["No attack draws noise at random."]
    return "done", [*told, f"What was asked: {PROBES['random-draws'].value}"]


def _targeted(run: Evidence) -> Answer:
    by_aim: dict[bool, list[str]] = {True: [], False: []}
    for label in run.attacks:
        options = run.options(label)
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


def _ablation(run: Evidence) -> Answer:
    undefended = [p for p in run.cells if run.facts.defense(p.defense).undefended]
    least = run.least(undefended)
    if least is None:
        return "not done", ["The undefended network was not attacked."]
    place, kept = least
    clean = run.table.estimate(place._replace(attack=CLEAN, knowledge=""), "clean_accuracy")
    words = run.kept(*least)
    words += [", of ", *rate(clean), " without an attack"] if clean else []
    fell = clean is not None and None not in (kept.high, clean.low) and kept.high < clean.low  # type: ignore[operator]
    return "done" if fell else "not done", [
        *words,
        ". Of parts of a defense, the run knows what its suite calls a defense.",
    ]


def _validated(run: Evidence) -> Answer:
    return "unknown", [
        "Only what is in the suite was attacked. ",
        Word("bench verify-attack", "name"),
        " sets an attack a problem that it must solve, and its answer is no part of a run.",
    ]


def _per_example(run: Evidence) -> Answer:
    groups = [p for p in run.table.by_place if is_group(p.attack) and "ok" in run.table.status[p].values()]
    found = [
        (p, kept)
        for p in groups
        if not run.facts.defense(p.defense).undefended
        and (kept := run.table.estimate(p, "worst_case_joint_robust_accuracy")) is not None
    ]
    if not groups:
        return "not done", ["There is no group of attacks with numbers."]
    words: list[Word | str] = ["Worst cases are taken image by image"]
    if found:
        place, kept = min(found, key=lambda one: one[1].value)
        words += [": least for ", Word(place.defense, "name", run.table.page(place)), ", ", *rate(kept)]
        words += [f" over {plural(len(run.table.members(place)), 'attack')}"]
    return "done", [*words, "."]


TOPICS: Topics = {
    "Further evidence": {
        "Provable lower bounds": lambda run: ("not done", ["The run has no measure of a certified accuracy."]),
        "Random noise of the same norm, 10,000 draws for each image": _noise,
        "Targeted and untargeted attacks": _targeted,
        "The same network without the defense is attacked, and falls": _ablation,
        "Attacks are validated on models that are known to be broken": _validated,
        "Other domains than images": lambda run: (
            "none",
            ["All data sets are of images; nothing is claimed beyond."],
        ),
        "Success is counted per example, over all attacks": _per_example,
    },
}
