"""Measures: per-image verdicts in, one number with an interval and its n out (docs/measures.md gives the meaning)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np


@dataclass(frozen=True)
class Answers:
    """What a defended system and its classifier answered on a set of N images.

    Attributes:
        base_label: (N,) class by the deployed classifier alone, without the defense.
        label: (N,) class by the defended system; (R, N) for a randomised defense judged R times.
        score: (N,) or (R, N) suspicion, higher = more adversarial; None for a defense without one.
        flagged: (N,) or (R, N) bool, rejected; None for a defense that rejects nothing.
    """

    base_label: np.ndarray
    label: np.ndarray
    score: np.ndarray | None = None
    flagged: np.ndarray | None = None


@dataclass(frozen=True)
class Cell:
    """All per-image arrays of one cell, in the same order of images.

    Attributes:
        y: (N,) true class.
        clean: answers on the clean images.
        attacked: answers on the adversarial versions of the same images; None in the clean cell.
        perturbation: (N,) size of the perturbation in `norm`; None in the clean cell.
        norm: norm that the attack is measured in, "" in the clean cell.
        eps: budget, None for an unbounded attack and in the clean cell.
        success: which attacks count as successful for the detector measures: `initially-correct` (the clean image is
            classified rightly and the attacked one wrongly) or `any-wrong` (the attacked one is classified wrongly),
            both by the deployed classifier alone.
    """

    y: np.ndarray
    clean: Answers
    attacked: Answers | None = None
    perturbation: np.ndarray | None = None
    norm: str = ""
    eps: float | None = None
    success: Literal["initially-correct", "any-wrong"] = "initially-correct"


@dataclass(frozen=True)
class MetricValue:
    """A number with its 95 % interval and the number of images it rests on."""

    value: float
    ci_low: float
    ci_high: float
    n: int


class Metric(ABC):
    """A measure. One instance without options serves all cells.

    Attributes:
        title: what people read.
        scope: `clean` is computed on the clean cell, `attack` on every attacked cell, `group` on all attacked cells of
            a group of attacks together (worst case).
        unit: `rate` (0 to 1), `area`, `distance` or `count`.
        better: which direction favours the defense, None for neither.
    """

    title: ClassVar[str]
    scope: ClassVar[Literal["clean", "attack", "group"]]
    unit: ClassVar[Literal["rate", "area", "distance", "count"]] = "rate"
    better: ClassVar[Literal["high", "low"] | None] = None

    @abstractmethod
    def compute(self, cells: Sequence[Cell]) -> MetricValue | None:
        """Return the measure, or None where it is not defined (no score, no successful attack).

        `cells` holds one cell for the scopes `clean` and `attack`, all cells of the group for `group`; these share
        `y`, `clean` and the order of images.
        """
