"""Options of the data sets; imports no torch, so that suites are validated fast."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from benchmark import SPLITS, DatasetOptions


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
