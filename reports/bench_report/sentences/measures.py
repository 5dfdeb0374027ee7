"""What measures, tables and intervals mean, in words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bench_report.measures import Measure
from bench_report.sentences.phrases import Sentence, attacks_text, named
from bench_report.table import Axes
from bench_report.values import Estimate, Word
from bench_report.words import plural
from benchmark import SUMMARIES

SUCCESS = {
    "initially-correct": "the clean image was labelled rightly by the deployed classifier, the attacked one wrongly",
    "any-wrong": "the attacked image is labelled wrongly by the deployed classifier, whatever it said of the clean one",
}
"""What a protocol calls a successful attack."""
ADVERSARIAL = {
    "exact": "as the attack made them",
    "8-bit": "rounded to images of 8 bits, each pixel towards the clean one, and judged so",
}
"""What a protocol does to adversarial examples before they are judged."""


def judged(protocols: Iterable[Mapping[str, Any]]) -> str:
    """Return which images runs judge: `test`, `validation`, or both."""
    kinds = dict.fromkeys("validation" if one.get("split") == "val" else "test" for one in protocols)
    return " or ".join(kinds) or "test"


def definition(known: Measure, protocols: Sequence[Mapping[str, Any]]) -> str:
    """Return what a measure counts under the protocols of runs; what another plugin says of its own stays as it is."""
    if known.foreign:
        return known.definition
    images = judged(protocols)
    text = re.sub("judged (?=image)", f"{images} ", known.definition)
    text = re.sub("Judged (?=image)", f"{images.capitalize()} ", text)
    if "successful adversarial" in text.lower():
        kinds = dict.fromkeys(SUCCESS[kind] for one in protocols if (kind := one.get("success")) in SUCCESS)
        text += "".join(f" Successful: {kind}." for kind in kinds)
    return text


def what_ran(axes: Axes, protocol: Mapping[str, Any], images: int, seeds: int, cells: int) -> str:
    """Return how much a run spans; `images` that are judged, 0 where it is not known."""
    parts = [
        plural(len(axes.defenses), "defense"),
        plural(len(axes.attacks), "attack"),
        plural(len(axes.models), "model"),
        plural(len(axes.datasets), "data set"),
    ]
    text = f"{parts[0]} against {parts[1]} on {parts[2]} and {parts[3]}"
    text += f" with {plural(images, judged([protocol]) + ' image')}" if images else ""
    return f"{text}, {plural(max(seeds, 1), 'seed')}: {plural(cells, 'cell')}."


def overview(attack: str, attacks: Sequence[str], protocol: Mapping[str, Any], joint: bool) -> tuple[Sentence, str]:
    """Return title and definition of the table of worst cases of all settings; `joint` where rejections count."""
    what, rejects = ("right or rejected", " or rejects") if joint else ("robust accuracy", "")
    title = (Word(f"Worst-case {what} over "), named(attacks_text(attack, attacks)))
    return title, (
        f"Share of {judged([protocol])} images that the defended system labels rightly{rejects} under every attack of "
        "the group."
    )


def rejections(note: str) -> str:
    """Return the definition of accuracy in a setting where some defense rejects, which does not count there."""
    return f"{note} Rejecting an image counts for nothing here: “Right or rejected” counts it."


def detectors() -> tuple[str, str]:
    """Return title and definition of the table of scores."""
    return "Detectors", (
        "The score of a defense against successful adversarial images. Rates in percent, areas from 0 to 1. The "
        "threshold was set on clean validation images, unless the defense flags by itself."
    )


def detectors_at_worst() -> tuple[str, str]:
    """Return title and definition of the table of scores over groups of attacks."""
    return "Detectors at worst", (
        "The same over groups of attacks: of each image that some attack turns wrong, the attack that does and is "
        "detected least. An image is detected where it is under every attack that turns it wrong."
    )


def other_measures() -> tuple[str, str]:
    """Return title and definition of the table of what no other table shows."""
    return "Other measures", "Rates in percent, distances in pixel units of [0, 1], ratios as they are."


def intervals(estimates: Iterable[Estimate | None]) -> str:
    """Return what the intervals of a table are, for all kinds of number in it."""
    present = [estimate for estimate in estimates if estimate is not None]
    seeds = max((estimate.seeds for estimate in present), default=1)
    kinds = dict.fromkeys(estimate.spans for estimate in present if estimate.interval)
    if seeds == 1:
        return "with 95 % interval" if kinds else ""
    said = {
        "seeds and images": "over seeds and images",
        "images": "over images where one seed alone has a value",
        "seeds": "over seeds alone where it says so",
    }
    text = ", ".join(words for kind, words in said.items() if kind in kinds)
    return f"mean over {seeds} seeds with 95 % interval {text}; sd: standard deviation between seeds"


def counts(n: int | None) -> str:
    """Return where the numbers of images of a table stand."""
    return "and n, the number of images" if n is None else f"n = {n:,} images in every cell"


def paired_how(seed: str, seeds: int) -> str:
    """Return over what a paired table compares, and by which test; no table corrects for its many cells."""
    over, test = (f" (seed {seed})" if seeds > 1 else ""), "McNemar's exact test"
    if seed == SUMMARIES.crossed:
        over, test = f", over {seeds} seeds", "a test over seeds and images"
    return (
        f"{over}, in percentage points, with 95 % interval and {test}. ▲ ▼: the interval leaves out zero. "
        "No correction is made for testing many cells."
    )
