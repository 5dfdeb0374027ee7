"""Options of the data sets; imports no torch, so that suites are validated fast."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from benchmark import DatasetOptions

Share = Annotated[float, Field(gt=0, lt=1)]

VAL_SHARE = 0.1
"""Share of the images that become `val` where the data has none and the suite gives no share."""
TEST_SHARE = 0.2
"""The same for `test`, where a folder of classes has no splits at all."""


def _refuse(message: str, **context: Any) -> PydanticCustomError:
    return PydanticCustomError("dataset_options", message, context)


def _check_class_names(names: tuple[str, ...] | None) -> None:
    if names is not None and (len(names) < 2 or len(set(names)) < len(names)):
        raise _refuse("class_names needs at least two names, all different, found {names}", names=list(names))


class DrawnOptions(DatasetOptions):
    """What data sets have that draw a split which their data lacks."""

    split_seed: int = Field(0, ge=0)
    """Seed of the splits that are drawn; nothing else moves an image from one split to another."""

    val_share: Share | None = None
    """Share of the train images, per class, that becomes val where the data has no val (then 0.1 if not given)."""

    @model_validator(mode="after")
    def _shares_leave_training_images(self) -> DrawnOptions:
        test_share = getattr(self, "test_share", None) or 0.0
        val_share = VAL_SHARE if self.val_share is None else self.val_share
        if test_share and val_share + test_share >= 1:
            raise _refuse(
                "val_share {val} and test_share {test} leave no images for train: their sum must be below 1",
                val=val_share,
                test=test_share,
            )
        return self


class DigitsOptions(DrawnOptions):
    """Options of `digits`."""

    val_share: Share = 0.15
    """Share of the images of each class in val."""

    test_share: Share = 0.25
    """Share of the images of each class in test."""

    size: int = Field(8, ge=8, le=512)
    """Height and width; above 8 the images are enlarged bilinearly."""


class ImageFilesOptions(DrawnOptions):
    """What data sets of image files have: places, size and colour."""

    _form: ClassVar[str] = ""

    path: str | None = None
    train: str | None = None
    val: str | None = None
    test: str | None = None

    test_share: Share | None = None
    """Share of the images, per class, that becomes test: 0.2 where there are no splits; splits without test need it."""

    size: int | None = Field(None, ge=1, le=4096)
    """Height and width of every image; without it, all images must have one shape already."""

    fit: Literal["crop", "squash"] = "crop"
    """How an image comes to `size`: shorter side resized, then the centre cropped; or resized, aspect ratio lost."""

    resize: int | None = Field(None, ge=1, le=8192)
    """Shorter side before the centre crop, such as 256 with size 224; without it, the same as `size`."""

    color: Literal["rgb", "grey"] = "rgb"
    """rgb: 3 channels; grey: 1 channel, luma of ITU-R 601."""

    @model_validator(mode="after")
    def _says_where_the_images_are(self) -> Self:
        places = {name: getattr(self, name) for name in ("train", "val", "test")}
        given = {name: place for name, place in places.items() if place is not None}
        if self.path is not None and given:
            raise _refuse("give either path or train/val/test, found path and {names}", names=", ".join(given))
        if self.path is None and self.train is None:
            if given:
                raise _refuse("{names} needs train beside it", names=", ".join(given))
            raise _refuse("one of path and train is needed: {form}", form=self._form)
        if self.path is None and self.test is None and self.test_share is None:
            raise _refuse("train needs test beside it, or test_share to draw the test images from train")
        for split, share in (("val", self.val_share), ("test", self.test_share)):
            if places[split] is not None and share is not None:
                raise _refuse("{split} is given, so {split}_share has nothing to draw: leave one out", split=split)
        if len(set(given.values())) < len(given):
            raise _refuse("train, val and test must be different places, found {names}", names=str(given))
        return self

    @model_validator(mode="after")
    def _resize_has_a_crop_after_it(self) -> Self:
        if self.resize is not None:
            if self.size is None or self.fit != "crop":
                raise _refuse("resize is the shorter side before the centre crop: it needs size and fit: crop")
            if self.resize < self.size:
                raise _refuse(
                    "resize {resize} is smaller than the crop of size {size}", resize=self.resize, size=self.size
                )
        if self.size is None and self.fit != "crop":
            raise _refuse("fit: {fit} needs size", fit=self.fit)
        return self


class ImageFolderOptions(ImageFilesOptions):
    """Options of `image_folder`."""

    _form = "a directory, .zip or .tar with a folder per class"

    path: str | None = None
    """Directory, .zip or .tar(.gz, .bz2, .xz) with class folders, or with train, val and test that hold them."""

    train: str | None = None
    """Instead of `path`: directory or archive with the class folders of train."""

    val: str | None = None
    """Beside `train`: the same for val; without it, val is drawn from train by `val_share`."""

    test: str | None = None
    """Beside `train`: the same for test; without it, test is drawn from train by `test_share`."""


class ImageTableOptions(ImageFilesOptions):
    """Options of `image_table`."""

    _form = "a table (.parquet, .csv, .tsv, .jsonl) of images and labels, or a folder of such tables"

    path: str | None = None
    """A table (.parquet, .csv, .tsv, .jsonl), perhaps with a column `split`; or a folder with tables of each split."""

    train: str | None = None
    """Instead of `path`: the table of train, or a folder of its tables."""

    val: str | None = None
    """Beside `train`: the same for val; without it, val is drawn from train by `val_share`."""

    test: str | None = None
    """Beside `train`: the same for test; without it, test is drawn from train by `test_share`."""

    images: str | None = None
    """Directory, .zip or .tar at which the file names in the tables begin; without it, the folder of each table."""

    image: str | None = None
    """Column of the images or file names, where their names do not tell."""

    label: str | None = None
    """Column of the labels, where their names do not tell."""

    class_names: tuple[str, ...] | None = None
    """Name per label, from 0; without it, those that a Parquet file of Hugging Face holds, else the labels, sorted."""

    @model_validator(mode="after")
    def _class_names_differ(self) -> ImageTableOptions:
        _check_class_names(self.class_names)
        return self


class ArraysOptions(DrawnOptions):
    """Options of `arrays`."""

    path: str
    """The .npz file: x_train, y_train, x_test, y_test and perhaps x_val, y_val (or train_images, train_labels ...)."""

    test_share: Share | None = None
    """Share of the train images, per class, that becomes test where the file has no x_test; needed only then."""

    layout: Literal["NHW", "NHWC", "NCHW"] | None = None
    """Order of the axes (N images, H height, W width, C channels) where the shapes do not tell."""

    white: float | None = Field(None, gt=0)
    """Value of a white pixel, by which all are divided; without it, 255 for uint8 and 1 for floats, unless in doubt."""

    class_names: tuple[str, ...] | None = None
    """Name per label, from 0; without it, the labels' numbers."""

    @model_validator(mode="after")
    def _class_names_differ(self) -> ArraysOptions:
        _check_class_names(self.class_names)
        return self


class TorchvisionOptions(DrawnOptions):
    """Options of `torchvision`."""

    name: Literal["MNIST", "FashionMNIST", "CIFAR10", "CIFAR100", "SVHN"]
    """Which data set, as torchvision.datasets names it."""

    root: str | None = None
    """Folder as torchvision lays it out; default: $BENCH_DATA, else ~/.cache/unmask-bench/datasets."""

    download: bool = False
    """Download the files into `root` where they are missing."""
