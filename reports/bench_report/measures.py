"""What measures are called and mean, as their classes say, and how those of the host are laid out in tables.

A measure that another plugin registers is shown in the table of other measures.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from benchmark import measures

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
        definition: what is counted, and over what; `sentences.definition` says which images the judged ones are.
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


def _described(name: str, metric: type[Metric], *, foreign: bool = False) -> Measure:
    """Return a measure as its class describes it."""
    # Not inspect.getdoc, which answers for a class without one with that of the class above.
    first = " ".join(inspect.cleandoc(metric.__doc__ or "").partition("\n\n")[0].split())
    return Measure(name, metric.title, metric.short or metric.title, metric.unit, metric.better, first, foreign)


MEASURES = {name: _described(name, metric) for name, metric in measures().items()}
"""Those of the host."""


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
    return {name: _described(name, metric, foreign=True) for name, metric in registered.items() if name not in MEASURES}


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
