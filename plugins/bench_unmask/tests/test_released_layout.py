from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms

from bench_unmask import masks
from benchmark import decode_mask
from benchmark.dataset import Dataset
from benchmark.errors import InputError, MissingError

Make = Callable[..., Dataset]
Photo = Callable[..., None]


@pytest.fixture
def class_folders(tmp_path: Path, photo: Photo) -> Callable[..., Path]:
    """Return what writes images in the authors' layout."""

    def write(class_set: str = "CS3a", classes: tuple[str, ...] = ("car", "person", "train")) -> Path:
        seed = 0
        for split in ("train", "val", "test"):
            for name in classes:
                for number in range(2):
                    seed += 1
                    photo(tmp_path / class_set / split / name / f"{number}.jpg", seed, width=60 + seed, height=50)
        return tmp_path

    return write


def test_images_come_as_torchvisions_resize_and_centre_crop_leave_them(
    make: Make, class_folders: Callable[..., Path]
) -> None:
    root = class_folders()
    data = make("unmask", path=str(root), size=32)
    data.check()
    split = data.split("val")
    assert split.class_names == ("car", "person", "train")
    assert split.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert split.sample_ids([0, 5]) == ["car/0.jpg", "train/1.jpg"]
    theirs = transforms.Compose([transforms.Resize(32), transforms.CenterCrop(32), transforms.ToTensor()])
    for index, name in ((0, "car/0.jpg"), (3, "person/1.jpg")):
        with Image.open(root / "CS3a" / "val" / name) as image:
            assert torch.equal(split.images([index])[0], theirs(image.convert("RGB")))


def test_images_are_known_by_content_and_the_rest_is_counted(make: Make, class_folders: Callable[..., Path]) -> None:
    root = class_folders()
    cars = root / "CS3a" / "train" / "car"
    (cars / "0.jpg").rename(cars / "0.jfif")
    (cars / "1.jpg").rename(cars / "1")
    (cars / "notes.txt").write_text("about")
    (cars / ".DS_Store").write_bytes(b"x")
    data = make("unmask", path=str(root), size=32)
    assert data.split("train").sample_ids([0, 1, 2]) == ["car/0.jfif", "car/1", "person/0.jpg"]
    assert data.remarks() == ("Files passed over: no images: 1 (1 .txt); hidden: 1.",)
    for name in ("a.jpg", "b.heic"):
        (cars / name).write_bytes(b"<html>" + name.encode())
    with pytest.raises(
        InputError, match=r"photos: 2 mistakes\.\n  unusable image file: 2\n    .*a\.jpg: damaged image"
    ):
        make("unmask", path=str(root), size=32).fingerprint()


@pytest.mark.parametrize(
    ("ours", "released", "classes"),
    [("CS3a", "cs3-1", ("car", "person", "train")), ("CS5b", "cs5-2", ("dog", "car", "bird", "train", "person"))],
)
def test_folders_named_as_in_the_released_data_are_found(
    make: Make, class_folders: Callable[..., Path], ours: str, released: str, classes: tuple[str, ...]
) -> None:
    root = class_folders(released, classes)
    found = make("unmask", path=str(root), class_set=ours)
    assert (
        found.split("test").class_names
        == classes
        == make("unmask", path=str(root), class_set=released).split("test").class_names
    )
    assert found.split("test").image_shape == (3, 150, 150)
    assert len({found.fingerprint(), make("unmask", path=str(root), class_set=ours, size=64).fingerprint()}) == 2


def test_other_class_sets_are_the_folders_they_have(make: Make, class_folders: Callable[..., Path]) -> None:
    root = class_folders("mine", ("zebra", "ant"))
    assert make("unmask", path=str(root), class_set="mine").split("train").class_names == ("ant", "zebra")


def test_missing_images_say_where_to_get_them(make: Make, class_folders: Callable[..., Path]) -> None:
    root = class_folders()
    with pytest.raises(
        MissingError, match=r"class set CS3b are not there.*CS3b.*VOC 2010.*bench data prepare unmask-classes"
    ):
        make("unmask", path=str(root), class_set="CS3b").check()
    shutil.rmtree(root / "CS3a" / "val")
    with pytest.raises(MissingError, match=r"no folder .*CS3a/val\. "):
        make("unmask", path=str(root)).check()


def test_missing_and_foreign_class_folders_are_named(make: Make, class_folders: Callable[..., Path]) -> None:
    root = class_folders()
    (root / "CS3a" / "test" / "dog").mkdir()
    with pytest.raises(InputError, match=r"test: the folder 'dog' is no class of CS3a \(car, person, train\)"):
        make("unmask", path=str(root)).split("test")
    shutil.rmtree(root / "CS3a" / "train" / "train")
    with pytest.raises(InputError, match=r"no images of the class 'train'"):
        make("unmask", path=str(root)).split("train")


def test_two_class_folders_with_the_same_image_are_refused(make: Make, class_folders: Callable[..., Path]) -> None:
    root = class_folders()
    shutil.copy(root / "CS3a/test/car/1.jpg", root / "CS3a/test/train/copy.jpg")
    with pytest.raises(
        InputError, match=r"same image is in two classes: .*car/1\.jpg \(car\) and .*copy\.jpg \(train\)"
    ):
        make("unmask", path=str(root)).split("test")


def test_a_name_that_leads_out_of_the_folder_is_refused(make: Make) -> None:
    with pytest.raises(ValueError, match="class_set"):
        make("unmask", class_set="../CS3a")


@pytest.fixture
def part_data(tmp_path: Path, photo: Photo) -> Path:
    root = tmp_path / "VOC2010"
    mask = np.zeros((30, 60), dtype=bool)
    mask[10:20, 6:36] = True
    for number, split in enumerate(("train", "val", "test"), 1):
        for image in ("a", "b"):
            photo(root / "Images" / split / f"{image}{number}.jpg", number + 10 * ord(image), width=60, height=30)
        data = {
            "images": [
                {"id": n, "file_name": f"{c}{number}.jpg", "width": 60, "height": 30} for n, c in ((1, "a"), (2, "b"))
            ],
            "categories": [{"id": 0, "name": "wheel"}],
            "annotations": [
                {"id": 1, "image_id": 2, "category_id": 0, "bbox": [6, 10, 30, 10], "area": 300, "iscrowd": 0,
                 "segmentation": masks.encode(mask)}
            ],
        }  # fmt: skip
        (root / f"{split}.json").write_text(json.dumps(data))
    return tmp_path


def test_part_data_is_padded_and_images_without_parts_are_left_out(make: Make, part_data: Path) -> None:
    data = make("unmask_parts", path=str(part_data), size=120)
    data.check()
    split = data.split("train")
    assert split.sample_ids([0]) == ["b1.jpg"]
    assert len(split) == 1
    image = split.images([0])[0]
    assert image.shape == (3, 120, 120)
    assert image[:, :30].max() == 0 == image[:, 90:].max()  # 120 x 60 pixels between black
    assert image[:, 31:89].amax((0, 2)).min() > 0
    parts = split.part_annotations()
    assert parts is not None
    (annotation,) = parts.data["annotations"]
    assert annotation["bbox"] == [12, 50, 60, 20]
    assert masks.measured(decode_mask(annotation["segmentation"]))["bbox"] == [12, 50, 60, 20]
    assert data.fingerprint() != make("unmask_parts", path=str(part_data)).fingerprint()


def test_missing_part_data_says_where_to_get_it(make: Make, part_data: Path) -> None:
    (part_data / "VOC2010" / "val.json").unlink()
    with pytest.raises(MissingError, match=r"no .*VOC2010/val\.json\. .*PASCAL-Part.*bench data prepare pascal-part"):
        make("unmask_parts", path=str(part_data)).check()
