"""How often parts leave a class open, and what detection rests on; not defined for other defenses than `unmask`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from benchmark import Answers, Cell, Metric, MetricValue, rate, successful


class _Share(Metric):
    """Share of all images for which a detail of the verdict is true."""

    reads = ("details",)
    detail: ClassVar[str]

    def compute(self, cells: Sequence[Cell]) -> MetricValue | None:
        """Return the share with Wilson's interval, None where the defense does not tell."""
        (cell,) = cells
        answers: Answers | None = cell.clean if self.scope == "clean" else cell.attacked
        told = None if answers is None else answers.details.get(self.detail)
        estimate = None if told is None else rate(told)
        return None if estimate is None else MetricValue(estimate.value, estimate.low, estimate.high, estimate.n)


class PartsTied(_Share):
    """Share of all attacked images whose found parts fit several classes equally well."""

    title, scope, detail = "Several classes fit equally", "attack", "parts_tied"


class CleanPartsTied(_Share):
    """Share of all clean images whose found parts fit several classes equally well."""

    title, scope, detail = "Several classes fit equally, clean", "clean", "parts_tied"


class PartsUnmatched(_Share):
    """Share of all attacked images of which no found part belongs to any class."""

    title, scope, detail = "No part of any class found", "attack", "parts_unmatched"


class CleanPartsUnmatched(_Share):
    """Share of all clean images of which no found part belongs to any class."""

    title, scope, detail = "No part of any class found, clean", "clean", "parts_unmatched"


class PartsNone(_Share):
    """Share of all attacked images in which no part is found."""

    title, scope, detail = "No part found", "attack", "parts_none"


class CleanPartsNone(_Share):
    """Share of all clean images in which no part is found."""

    title, scope, detail = "No part found, clean", "clean", "parts_none"


class DetectionImages(Metric):
    """Number of images that detection is evaluated on: successful adversarial images and their clean versions.

    Freitas et al. 2021, Table III. Its own interval.
    """

    title, scope, unit = "Images that detection is evaluated on", "attack", "count"
    reads = ("base_label", "details")

    def compute(self, cells: Sequence[Cell]) -> MetricValue | None:
        """Return the number, None where the defense does not align parts."""
        (cell,) = cells
        if cell.attacked is None or PartsTied.detail not in cell.attacked.details:
            return None
        images = 2.0 * float(successful(cell).sum())
        return MetricValue(images, images, images, len(cell.y))
