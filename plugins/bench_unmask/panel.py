"""What the report shows beside an image of UnMask: parts expected and found, and their overlap per class.

The paper's Figure 1 for any image: Freitas et al. (2021), "UnMask: Adversarial Detection and Defense Through Robust
Feature Alignment".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from benchmark import Bar, Bars, Box, Facts, GalleryImage, ImageVerdict, Panel, PanelPart, Picture

SHOWN_CLASSES = 5
"""Classes whose similarity is shown: those of the greatest."""


class PartsPanel(Panel):
    """Boxes of the parts found, the parts of the predicted class, and the Jaccard similarity with every class."""

    title = "Parts"

    def of_image(self, image: GalleryImage) -> Sequence[PanelPart]:
        """Return the parts on the clean and on the adversarial image."""
        about = image.explanation
        if image.use != "unmask" or not isinstance(about, dict):
            return ()
        parts: list[PanelPart] = []
        for which, verdict in (("clean", image.clean), ("adversarial", image.attacked)):
            if verdict is not None and {"part_scores", "part_boxes", "similarity"} <= set(verdict.details):
                parts += _version(which, verdict, about, image.class_names)
        return parts


def _version(
    which: Any, verdict: ImageVerdict, about: dict[str, Any], class_names: Sequence[str]
) -> Iterator[PanelPart]:
    names, matrix = list(about["parts"]), np.asarray(about["matrix"], dtype=bool)  # (P,), (C, P)
    found = np.asarray(verdict.details["part_scores"], dtype=float) >= float(about["part_score"])  # (P,)
    expected = matrix[verdict.base_label]
    predicted = class_names[verdict.base_label]
    boxes = []
    for part in np.flatnonzero(found):
        x0, y0, x1, y1 = map(float, verdict.details["part_boxes"][part])
        boxes.append(Box(names[part], x0, y0, x1, y1, "good" if expected[part] else "bad"))
    version = "Clean" if which == "clean" else "Attacked"
    yield Picture(which, f"{version}: classified as {predicted}", tuple(boxes))
    missing = [names[part] for part in np.flatnonzero(expected & ~found)]
    strange = [names[part] for part in np.flatnonzero(found & ~expected)]
    yield Facts(
        (
            (f"Expected of {predicted}", _listed([names[part] for part in np.flatnonzero(expected)])),
            ("Found", _listed([names[part] for part in np.flatnonzero(found)])),
            ("Expected, not found", _listed(missing)),
            ("Found, not expected", _listed(strange)),
        )
    )
    similarity = np.asarray(verdict.details["similarity"], dtype=float)  # (C,)
    best = np.argsort(-similarity, kind="stable")[:SHOWN_CLASSES].tolist()
    shown = best if verdict.base_label in best else [*best, verdict.base_label]
    yield Bars(
        "Jaccard similarity of the parts found with those of each class (bold: the answer)",
        tuple(
            Bar(class_names[c], float(similarity[c]), f"{similarity[c]:.2f}", marked=c == verdict.label) for c in shown
        ),
    )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"
