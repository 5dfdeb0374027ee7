"""Panels: what a plugin adds to the images of a report."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

if TYPE_CHECKING:
    from benchmark.cells import Cell


@dataclass(frozen=True)
class ImageVerdict:
    """What was answered on one image.

    Attributes:
        base_label: class index by the deployed classifier alone.
        label: class index by the defended system, -1 where it names none.
        score: suspicion, None for a defense without one.
        flagged: whether it was rejected, None for a defense that rejects nothing.
        details: what the verdict said beside these, as lists of numbers by the defense's names.
    """

    base_label: int
    label: int
    score: float | None
    flagged: bool | None
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class GalleryImage:
    """An image that the report shows.

    Attributes:
        use: name of the defense's plugin.
        y: true class index.
        clean, attacked: verdicts on the clean and on the adversarial version; the latter is None in clean cells.
        explanation: what the fitted defense wrote into `explanation.json`, None without one.
    """

    use: str
    class_names: tuple[str, ...]
    y: int
    clean: ImageVerdict
    attacked: ImageVerdict | None
    explanation: Any


@dataclass(frozen=True)
class Box:
    """A named box on an image; x0, y0, x1, y1 are shares of width and height."""

    name: str
    x0: float
    y0: float
    x1: float
    y1: float
    tone: Literal["good", "bad", "plain"] = "plain"


@dataclass(frozen=True)
class Picture:
    """The clean or the adversarial image with boxes on it."""

    which: Literal["clean", "adversarial"]
    caption: str
    boxes: tuple[Box, ...] = ()


@dataclass(frozen=True)
class Bar:
    """A number from 0 to 1 with a name."""

    name: str
    value: float
    text: str
    marked: bool = False


@dataclass(frozen=True)
class Bars:
    """Numbers from 0 to 1 as bars."""

    title: str
    rows: tuple[Bar, ...]


@dataclass(frozen=True)
class Facts:
    """Names and texts."""

    rows: tuple[tuple[str, str], ...]


PanelPart = Picture | Bars | Facts
"""What a panel shows beside an image."""


@dataclass(frozen=True)
class Series:
    """Points that belong together; `x` and `y` hold as many numbers."""

    name: str
    x: Sequence[float] | np.ndarray
    y: Sequence[float] | np.ndarray


@dataclass(frozen=True)
class Plot:
    """Series of points in a plane, as dots, or as the steps of a histogram: then `x` are the middles of its bins.

    Attributes:
        how: a sentence that says what is drawn, shown below the title.
    """

    title: str
    how: str
    x_title: str
    y_title: str
    series: tuple[Series, ...]
    mark: Literal["dots", "steps"] = "dots"


class Panel(ABC):
    """Says what a report shows beside an image of the gallery and on the page of a cell.

    Gives values, never markup: the report draws them.

    Attributes:
        title: heading.
    """

    title: ClassVar[str]

    @abstractmethod
    def of_image(self, image: GalleryImage) -> Sequence[PanelPart]:
        """Return what there is to show, nothing for an image of a defense that the panel does not know.

        `details` and `explanation` come from files: look before using them.
        """

    def points(self, use: str, cell: Cell) -> Mapping[str, tuple[np.ndarray, np.ndarray]]:
        """Return what is to be kept of a cell for `of_cell`, by name: x and y, (n,) numbers each.

        Called once, while the tables of a run are made of all its images: a report has only the tables. Kept in the
        table of curves as `TITLE: NAME`; some hundred points show as much as all. `use` names the defense's plugin.
        """
        return {}

    def of_cell(
        self, points: Mapping[str, tuple[np.ndarray, np.ndarray]], class_names: Sequence[str]
    ) -> Sequence[Plot]:
        """Return plots of what `points` has kept of a cell, by the same names."""
        return ()
