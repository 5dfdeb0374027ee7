"""Reporters: results in, files out. Panels: what a plugin adds to the images of a report."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

if TYPE_CHECKING:
    from benchmark.results import Run


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


class Panel(ABC):
    """Says what a report shows beside an image of the gallery. Gives values, never markup: the report draws them.

    Attributes:
        title: heading.
    """

    title: ClassVar[str]

    @abstractmethod
    def of_image(self, image: GalleryImage) -> Sequence[PanelPart]:
        """Return what there is to show, nothing for an image of a defense that the panel does not know.

        `details` and `explanation` come from files: look before using them.
        """


class Reporter(ABC):
    """Writes something people read from finished runs. Reads their tables and images only.

    Attributes:
        panels: the panels of all plugins, set by the host.
    """

    panels: Sequence[Panel] = ()

    @abstractmethod
    def write(self, runs: Sequence[Run], folder: Path, *, single_file: bool = False) -> Path:
        """Write into `folder` and return the file to open first.

        Several runs are compared. Every text from labels, files and plugins is escaped.
        """
