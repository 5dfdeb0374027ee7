"""Options of the converters; imports no torch, so that `bench` answers fast."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from benchmark import Options

ClassSet = Literal["CS3a", "CS3b", "CS5a", "CS5b"]
PAPER_CLASS_SETS: tuple[ClassSet, ...] = ("CS3a", "CS3b", "CS5a", "CS5b")


class PascalPartOptions(Options):
    """Options of the converter `pascal-part`."""

    images: str
    """Folder JPEGImages of PASCAL VOC 2010."""

    annotations: str
    """Folder Annotations_Part of PASCAL-Part, a .mat file per image."""

    out: str
    """Where to write: the `path` of the data sets `unmask` and `unmask_parts`."""

    mapping: Literal["paper", "released", "corrected"] = "paper"
    """How part names become parts: as the paper says, as its released code does, or without its slips."""


class UnMaskClassFoldersOptions(Options):
    """Options of the converter `unmask-classes`."""

    out: str
    """Where to write: the `path` of the data set `unmask`."""

    flickr: str
    """Folder with a folder of images per class: the test images."""

    voc: str | None = None
    """Folder VOC2010, with JPEGImages and Annotations."""

    imagenet: str | None = None
    """Folder with a folder of images per class."""

    class_sets: tuple[ClassSet, ...] = PAPER_CLASS_SETS
    """Which class sets to build; on the command line with commas between."""

    val_share: float = Field(0.12, gt=0, lt=1)
    """Share of the images of a class that becomes val; the paper's are 11 to 13 %."""

    distance: int = Field(4, ge=0, le=64)
    """Most bits of 64 in which the perceptual hashes of duplicates differ."""
