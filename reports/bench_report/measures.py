"""What the measures of the host are called, how they are laid out in tables, and what each one means.

The meaning is that of docs/measures.md, in a sentence or two; a measure that another plugin registers is shown as it
describes itself, in the table of other measures.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from benchmark import Metric

Unit = Literal["rate", "area", "distance", "count", "ratio", "number"]


@dataclass(frozen=True)
class Measure:
    """A measure as people read it.

    Attributes:
        name: as in the column `metric`.
        title: heading.
        short: heading of a narrow column.
        better: which direction favours the defense, None for neither.
        definition: what is counted, and over what; `sentences.definition` says which images those are.
        foreign: its words are another plugin's.
    """

    name: str
    title: str
    short: str
    unit: Unit
    better: Literal["high", "low"] | None
    definition: str
    foreign: bool = False


@dataclass(frozen=True)
class Family:
    """A defense × attack table: what it shows on clean images, per attack, and over a group of attacks.

    Attributes:
        key: names the table in the page.
        shown: `always`; `rejecting` only where a defense rejects; `differing` only defenses whose values differ from
            the headline table.
    """

    key: str
    title: str
    note: str
    clean: str | None
    attack: str
    worst: str | None
    better: Literal["high", "low"]
    shown: Literal["always", "rejecting", "differing"]


_ALL = (
    Measure(
        "clean_accuracy",
        "Clean accuracy",
        "clean",
        "rate",
        "high",
        "Clean {judged} images whose label by the defended system is right, out of all clean {judged} images.",
    ),
    Measure(
        "robust_accuracy",
        "Robust accuracy",
        "robust",
        "rate",
        "high",
        "Attacked {judged} images whose label by the defended system is right, out of all attacked {judged} images. "
        "Attacks that failed count too, so this is what the system gets right while it is under attack.",
    ),
    Measure(
        "worst_case_robust_accuracy",
        "Worst-case robust accuracy",
        "worst case",
        "rate",
        "high",
        "{Judged} images whose label is right under every attack of the group, out of all {judged} images. "
        "It is never above the lowest robust accuracy in the group, and usually below it.",
    ),
    Measure(
        "joint_clean_accuracy",
        "Joint clean accuracy",
        "clean",
        "rate",
        "high",
        "Clean {judged} images whose label is right and which the defense does not reject, out of all clean {judged} "
        "images.",
    ),
    Measure(
        "joint_robust_accuracy",
        "Joint robust accuracy",
        "joint robust",
        "rate",
        "high",
        "Attacked {judged} images that are withstood: the label is right, or the image is rejected, out of all "
        "attacked {judged} images. Read it beside joint clean accuracy: a defense that rejects everything withstands "
        "everything.",
    ),
    Measure(
        "worst_case_joint_robust_accuracy",
        "Worst-case joint robust accuracy",
        "worst case",
        "rate",
        "high",
        "{Judged} images that are withstood (right label or rejected) under every attack of the group, out of all "
        "{judged} images.",
    ),
    Measure(
        "implied_robust_accuracy",
        "Implied robust accuracy at ε/2",
        "implied at ε/2",
        "rate",
        None,
        "{Judged} images that are labelled rightly and not rejected when clean, and withstood (right label or "
        "rejected) when attacked, out of all {judged} images. A detector that is no less robust than that under every"
        " perturbation of size ε implies a classifier without a detector, built inefficiently, with this robust "
        "accuracy at ε/2 (Tramèr 2022). Where that is more than trained classifiers reach, an attack that nobody ran "
        "is the likelier explanation.",
    ),
    Measure(
        "worst_case_implied_robust_accuracy",
        "Worst-case implied robust accuracy at ε/2",
        "implied at ε/2",
        "rate",
        None,
        "The same with images that are withstood under every attack of the group, at half of its largest budget.",
    ),
    Measure(
        "base_clean_accuracy",
        "Base clean accuracy",
        "clean",
        "rate",
        "high",
        "Clean {judged} images that the deployed classifier alone, without the defense beside it, labels rightly, "
        "out of all clean {judged} images.",
    ),
    Measure(
        "base_robust_accuracy",
        "Base robust accuracy",
        "base robust",
        "rate",
        "high",
        "Attacked {judged} images that the deployed classifier alone labels rightly, out of all attacked "
        "{judged} images.",
    ),
    Measure(
        "worst_case_base_robust_accuracy",
        "Worst-case base robust accuracy",
        "worst case",
        "rate",
        "high",
        "{Judged} images that the deployed classifier alone labels rightly under every attack of the group, out of all "
        "{judged} images.",
    ),
    Measure(
        "robust_accuracy_worst_repeat",
        "Robust accuracy, worst repeat",
        "worst repeat",
        "rate",
        "high",
        "For defenses that judge differently each time: attacked {judged} images whose label is right in every repeat, "
        "out of all attacked {judged} images. Robust accuracy is the mean over the repeats.",
    ),
    Measure(
        "attack_success_rate",
        "Attack success rate",
        "attack success",
        "rate",
        "low",
        "Images that end with a wrong label under attack, out of those that the defended system labels rightly when "
        "they are clean. Its n is therefore smaller than that of the accuracies.",
    ),
    Measure(
        "base_attack_success_rate",
        "Base attack success rate",
        "base attack success",
        "rate",
        "low",
        "Images that the deployed classifier alone labels wrongly under attack, out of those that it labels rightly "
        "when they are clean.",
    ),
    Measure(
        "auroc",
        "AUROC",
        "AUROC",
        "area",
        "high",
        "Area under the ROC curve of the score: successful adversarial images against the clean versions of the same "
        "images, half and half. 0.5 is guessing, 1 is perfect; below 0.5 the score points the wrong way.",
    ),
    Measure(
        "auroc_all",
        "AUROC, all attacked",
        "AUROC all",
        "area",
        "high",
        "The same with failed attacks counted too: all attacked images against their clean versions.",
    ),
    Measure(
        "tpr",
        "True-positive rate",
        "TPR",
        "rate",
        "high",
        "Successful adversarial images that are flagged at the defense's threshold, out of all successful adversarial "
        "images. The threshold was set on clean validation images, never on those that are judged, unless the "
        "defense flags by itself.",
    ),
    Measure(
        "fpr",
        "False-positive rate",
        "FPR",
        "rate",
        "low",
        "Clean versions of those same images that are flagged at the threshold, out of all of them.",
    ),
    Measure(
        "tpr_at_5fpr",
        "TPR at 5 % FPR",
        "TPR @ 5 % FPR",
        "rate",
        "high",
        "Successful adversarial images that score above the threshold at which 5 % of the clean versions are flagged.",
    ),
    Measure(
        "fpr_at_95tpr",
        "FPR at 95 % TPR",
        "FPR @ 95 % TPR",
        "rate",
        "low",
        "Clean versions that score above the threshold at which 95 % of the successful adversarial images are flagged.",
    ),
    Measure(
        "worst_case_auroc",
        "Worst-case AUROC",
        "worst AUROC",
        "area",
        "high",
        "Area under the ROC curve where each image that some attack of the group turns wrong has the lowest score "
        "that it gets under those attacks (MEAD, Granese et al. 2022), against the clean versions of the same images.",
    ),
    Measure(
        "worst_case_tpr",
        "Worst-case true-positive rate",
        "worst TPR",
        "rate",
        "high",
        "Images that are flagged, at the defense's threshold, under every attack of the group that turns them wrong, "
        "out of all images that some attack of the group turns wrong.",
    ),
    Measure(
        "worst_case_fpr",
        "False-positive rate of the worst case",
        "worst-case FPR",
        "rate",
        "low",
        "Clean versions of those same images that are flagged at the threshold, out of all of them.",
    ),
    Measure(
        "worst_case_tpr_at_5fpr",
        "Worst-case TPR at 5 % FPR",
        "worst TPR @ 5 % FPR",
        "rate",
        "high",
        "Images that score above the threshold at which 5 % of the clean versions are flagged, under every attack of "
        "the group that turns them wrong.",
    ),
    Measure(
        "worst_case_fpr_at_95tpr",
        "Worst-case FPR at 95 % TPR",
        "worst FPR @ 95 % TPR",
        "rate",
        "low",
        "Clean versions that score above the threshold at which 95 % of those images are flagged under every attack "
        "of the group that turns them wrong.",
    ),
    Measure(
        "clean_fpr",
        "Clean false-positive rate",
        "clean FPR",
        "rate",
        "low",
        "Clean {judged} images that the defense rejects, out of all clean {judged} images.",
    ),
    Measure(
        "feature_separation",
        "Feature separation",
        "separation",
        "ratio",
        None,
        "Mean distance between the centres of two classes over the mean distance of a feature to the centre of its "
        "class, in the classifier's last hidden states of clean {judged} images, or at the layer named.",
    ),
    Measure(
        "success_at_5fpr",
        "Attack success at 5 % FPR",
        "success @ 5 % FPR",
        "rate",
        "low",
        "Attack success against detector and classifier together: initially right images that end with a wrong label "
        "and are not rejected, out of all initially right images, with the threshold that rejects at most 5 % of all "
        "clean {judged} images.",
    ),
    Measure(
        "success_at_50fpr",
        "Attack success at 50 % FPR",
        "success @ 50 % FPR",
        "rate",
        "low",
        "The same with half of the clean images rejected: what the detector can do at any price.",
    ),
    Measure(
        "worst_case_success_at_5fpr",
        "Worst-case attack success at 5 % FPR",
        "worst success @ 5 % FPR",
        "rate",
        "low",
        "Initially right images that end with a wrong label and are not rejected under at least one attack of the "
        "group, out of all initially right images, with the threshold that rejects at most 5 % of all clean {judged} "
        "images.",
    ),
    Measure(
        "worst_case_success_at_50fpr",
        "Worst-case attack success at 50 % FPR",
        "worst success @ 50 % FPR",
        "rate",
        "low",
        "The same with half of the clean images rejected.",
    ),
    Measure(
        "perturbation_mean",
        "Mean perturbation",
        "mean size",
        "distance",
        None,
        "Measured size of the perturbations in the attack's norm, in pixel units of [0, 1], mean over all images.",
    ),
    Measure(
        "perturbation_max",
        "Largest perturbation",
        "max size",
        "distance",
        None,
        "Largest measured perturbation in the attack's norm, in pixel units of [0, 1].",
    ),
    Measure(
        "median_minimal_distance",
        "Median minimal distance",
        "median distance",
        "distance",
        "high",
        "Distance within which an attack without a budget turns half of the initially right images wrong, in its norm, "
        "in pixel units of [0, 1]; ∞ where it never does.",
    ),
    Measure(
        "budget_violations",
        "Budget violations",
        "violations",
        "count",
        None,
        "Adversarial images whose measured perturbation is above the budget. Anything but 0 is a fault of the attack.",
    ),
)

MEASURES = {measure.name: measure for measure in _ALL}

FAMILIES = (
    Family(
        "robust",
        "Accuracy under attack",
        "Share of images that the defended system labels rightly.",
        "clean_accuracy",
        "robust_accuracy",
        "worst_case_robust_accuracy",
        "high",
        "always",
    ),
    Family(
        "joint",
        "Right or rejected",
        "Joint robust accuracy: share of attacked images that are labelled rightly or rejected. On clean images: "
        "labelled rightly and not rejected.",
        "joint_clean_accuracy",
        "joint_robust_accuracy",
        "worst_case_joint_robust_accuracy",
        "high",
        "rejecting",
    ),
    Family(
        "implied",
        "Implied robust accuracy at ε/2",
        "Robust accuracy, at half the budget, of the classifier without a detector that a detector implies which is as "
        "robust as these attacks make it seem: what its claim amounts to, not what was measured of a classifier.",
        None,
        "implied_robust_accuracy",
        "worst_case_implied_robust_accuracy",
        "high",
        "always",
    ),
    Family(
        "success_at_5fpr",
        "Attack success against detector and classifier, 5 % FPR",
        "Share of initially right images that end wrong and not rejected, where at most 5 % of clean images are "
        "rejected. Lower favours the defense.",
        None,
        "success_at_5fpr",
        "worst_case_success_at_5fpr",
        "low",
        "always",
    ),
    Family(
        "success_at_50fpr",
        "Attack success against detector and classifier, 50 % FPR",
        "The same where half of the clean images may be rejected.",
        None,
        "success_at_50fpr",
        "worst_case_success_at_50fpr",
        "low",
        "always",
    ),
    Family(
        "base",
        "The classifier alone",
        "Base accuracy: the deployed classifier without the defense beside it, where that differs.",
        "base_clean_accuracy",
        "base_robust_accuracy",
        "worst_case_base_robust_accuracy",
        "high",
        "differing",
    ),
    Family(
        "success",
        "Attack success rate",
        "Share of initially right images that the attack turns wrong. Lower favours the defense.",
        None,
        "attack_success_rate",
        None,
        "low",
        "always",
    ),
    Family(
        "base_success",
        "Attack success rate, classifier alone",
        "Share of images initially right by the deployed classifier alone that the attack turns wrong, where that "
        "differs from the defended system.",
        None,
        "base_attack_success_rate",
        None,
        "low",
        "differing",
    ),
    Family(
        "repeat",
        "Right in every repeat",
        "Share of attacked images that a randomised defense labels rightly each time it is asked.",
        None,
        "robust_accuracy_worst_repeat",
        None,
        "high",
        "always",
    ),
)

DETECTOR = ("auroc", "tpr", "fpr", "tpr_at_5fpr", "fpr_at_95tpr")
"""Measures of the detector table, in the order of its columns; all rest on the same images. Each has a worst case."""


def worst(name: str) -> str:
    """Return the measure of a group of attacks that is the worst case of a measure of `DETECTOR`."""
    return f"worst_case_{name}"


def measures_of_plugins(registered: Mapping[str, type[Metric]]) -> dict[str, Measure]:
    """Return the measures that are not the host's, by name, as their classes describe them."""
    return {
        name: Measure(
            name, metric.title, metric.title, metric.unit, metric.better, _first_sentences(metric), foreign=True
        )
        for name, metric in registered.items()
        if name not in MEASURES
    }


def _first_sentences(metric: type[Metric]) -> str:
    # Not inspect.getdoc, which answers for a class without one with that of the class above.
    return " ".join(inspect.cleandoc(metric.__doc__ or "").partition("\n\n")[0].split())


def measure(name: str) -> Measure:
    """Return what is known of the measure `name`; an unknown one keeps its name and is shown as a plain number.

    After a colon stands what it was taken at, such as a layer.
    """
    known, _, place = name.partition(":")
    if place and known in MEASURES:
        whole = MEASURES[known]
        return replace(whole, name=name, title=f"{whole.title}, {place}", short=f"{whole.short}, {place}", foreign=True)
    words = name.replace("_", " ")
    return MEASURES.get(name) or Measure(name, words, words, "number", None, "", foreign=True)
