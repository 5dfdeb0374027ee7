"""Options of this plugin's data sets; imports no torch, so that suites are validated fast."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from benchmark.options import SPLITS, DatasetOptions, Options

ClassSet = Literal["CS3a", "CS3b", "CS5a", "CS5b"]
PAPER_CLASS_SETS: tuple[ClassSet, ...] = ("CS3a", "CS3b", "CS5a", "CS5b")


def _refuse(message: str, **context: Any) -> PydanticCustomError:
    return PydanticCustomError("dataset_options", message, context)


class CocoPartsOptions(DatasetOptions):
    """Options of `coco_parts`."""

    path: str | None = None
    """Folder with annotations/train.json, val.json, test.json and images/; relative paths start at the current one."""

    train: str | None = None
    """Instead of `path`: the COCO file of train."""

    val: str | None = None
    """Beside `train`: the COCO file of val."""

    test: str | None = None
    """Beside `train`: the COCO file of test."""

    images: str | dict[str, str] | None = None
    """Folder of the images, or one per split; with `path` it is path/images unless given."""

    classes: tuple[str, ...] | None = None
    """Classes to take, in this order; without it, all classes of train, sorted."""

    size: int = Field(160, ge=16, le=4096)
    """Height and width: images are resized to a square without keeping the aspect ratio, annotations with them."""

    @model_validator(mode="after")
    def _says_where_the_data_is(self) -> CocoPartsOptions:
        files = {split: getattr(self, split) for split in SPLITS}
        missing = [split for split, file in files.items() if file is None]
        if self.path is not None and len(missing) < len(SPLITS):
            raise _refuse("give either path or train, val and test, found both")
        if self.path is None and missing:
            raise _refuse("give path, or train, val and test; missing: {names}", names=", ".join(missing))
        if self.path is None and self.images is None:
            raise _refuse("train, val and test need images beside them: the folder of the image files")
        if isinstance(self.images, dict) and set(self.images) != set(SPLITS):
            raise _refuse(
                "images: give one folder, or one for each of train, val and test; found {names}",
                names=", ".join(sorted(self.images)) or "none",
            )
        if self.classes is not None and (len(self.classes) < 2 or len(set(self.classes)) < len(self.classes)):
            raise _refuse("classes needs at least two names, all different, found {found}", found=list(self.classes))
        return self


class UnMaskOptions(DatasetOptions):
    """Options of `unmask`."""

    path: str = "data/unmask"
    """Folder that holds a folder per class set, each with train, val and test; relative to the current folder."""

    class_set: str = Field("CS3a", pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    """CS3a, CS3b, CS5a or CS5b (the released data's names cs3-1, cs3-2, cs5-1, cs5-2 are found too), or a folder."""

    size: int = Field(150, ge=16, le=4096)
    """Height and width: the shorter side is resized to it, then the centre is cropped. The paper's is 150."""


class UnMaskPartsOptions(DatasetOptions):
    """Options of `unmask_parts`."""

    path: str = "data/unmask"
    """Folder that holds VOC2010/train.json, val.json, test.json and VOC2010/Images/; relative to the current folder."""

    size: int = Field(512, ge=64, le=4096)
    """Longer side of the images after resizing; the shorter one is padded with black to a square."""


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
