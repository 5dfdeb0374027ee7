from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from bench_unmask import masks
from bench_unmask.class_parts import class_parts_of, part_presence
from bench_unmask.datasets.coco_parts import scaled
from bench_unmask.datasets.photos import Fit
from bench_unmask.extractor.training import AnnotatedParts
from benchmark import decode_mask
from benchmark.dataset import Dataset
from benchmark.errors import InputError, MissingError

Make = Callable[..., Dataset]
Coco = Callable[..., Path]
Data = dict[str, Any]


def test_photos_classes_and_scaled_parts(make: Make, coco: Coco) -> None:
    data = make("coco_parts", path=str(coco()), size=20)
    data.check()
    split = data.split("train")
    assert split.class_names == ("bird", "car")
    assert split.labels.tolist() == [1, 1, 0, 0]
    with Image.open(coco() / "images" / "car_1.jpg") as opened:
        expected = np.asarray(opened.convert("RGB").resize((20, 20), Image.Resampling.BILINEAR))
    assert torch.equal(split.images([0])[0], torch.from_numpy(expected.transpose(2, 0, 1).copy()).float() / 255)
    parts = split.part_annotations()
    assert parts is not None
    first = parts.data["annotations"][0]
    assert first["bbox"] == [2.0, 4.0, 10.0, pytest.approx(20 / 3)]  # 40 x 30 pixels become 20 x 20
    assert first["segmentation"] == [pytest.approx([2, 4, 12, 4, 12, 32 / 3, 2, 32 / 3])]
    assert first["area"] == pytest.approx(200 / 2 / 1.5)
    assert [(i["id"], i["width"], i["height"]) for i in parts.data["images"]] == [(n, 20, 20) for n in (1, 2, 3, 4)]
    assert class_parts_of(part_presence(split)).parts == {"bird": ("eye",), "car": ("wheel",)}
    assert split.sample_ids([0, 3]) == ["car_1.jpg", "bird_4.jpg"]


def test_classes_choose_and_order(make: Make, coco: Coco) -> None:
    split = make("coco_parts", path=str(coco()), classes=["car", "bird"]).split("val")
    assert split.class_names == ("car", "bird")
    assert split.labels.tolist() == [0, 0, 1, 1]
    with pytest.raises(InputError, match=r"train\.json: unknown class 'bidr'.*Did you mean 'bird'"):
        make("coco_parts", path=str(coco()), classes=["car", "bidr"]).split("train")


def test_the_class_may_be_the_folder_of_the_image(make: Make, coco: Coco) -> None:
    def move(split: str, data: Data) -> None:
        for image in data["images"]:
            image["file_name"] = f"{image.pop('class_name')}/{image['file_name']}"

    root = coco(move)
    for path in list((root / "images").glob("*.jpg")):
        (root / "images" / path.name.split("_")[0]).mkdir(exist_ok=True)
        path.rename(root / "images" / path.name.split("_")[0] / path.name)
    split = make("coco_parts", path=str(root)).split("train")
    assert [split.class_names[label] for label in split.labels] == ["car", "car", "bird", "bird"]
    assert split.images([0, 3]).shape == (2, 3, 160, 160)


def test_files_may_be_given_one_by_one(make: Make, coco: Coco) -> None:
    root = coco()
    files = {split: str(root / "annotations" / f"{split}.json") for split in ("train", "val", "test")}
    one = make("coco_parts", **files, images=str(root / "images"))
    per_split = make("coco_parts", **files, images=dict.fromkeys(files, str(root / "images")))
    whole = make("coco_parts", path=str(root))
    assert one.fingerprint() == per_split.fingerprint() == whole.fingerprint()
    assert whole.fingerprint() != make("coco_parts", path=str(root), size=80).fingerprint()


def test_the_fingerprint_follows_pixels_and_annotations(make: Make, coco: Coco, photo: Callable[..., None]) -> None:
    root = coco()
    before = make("coco_parts", path=str(root)).fingerprint()
    photo(root / "images" / "car_1.jpg", 99)
    changed = make("coco_parts", path=str(root)).fingerprint()
    path = root / "annotations" / "val.json"
    path.write_text(path.read_text().replace('"area": 200', '"area": 201', 1))
    assert len({before, changed, make("coco_parts", path=str(root)).fingerprint()}) == 3


def change(**fields: Any) -> Callable[[Data], None]:
    """Return a damage to the first annotation of a file."""
    return lambda data: data["annotations"][0].update(fields)


def drop(key: str, number: int) -> Callable[[Data], Any]:
    return lambda data: data["images"][number].pop(key)


empty_rle = {"size": [30, 40], "counts": [1200]}
torn_rle = {"size": [30, 40], "counts": [7, 5]}
small_rle = {"size": [3, 4], "counts": [0, 12]}


def test_photos_of_several_class_sets_are_looked_at_once(
    make: Make, coco: Coco, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, opened, stats = str(coco()), Counter[str](), Counter[str]()
    open_image, is_file = Image.open, Path.is_file
    monkeypatch.setattr(Image, "open", lambda file, **rest: opened.update([str(file)]) or open_image(file, **rest))
    monkeypatch.setattr(Path, "is_file", lambda path: stats.update([str(path)]) or is_file(path))
    for classes in (["bird", "car"], ["car", "bird"]):
        data = make("coco_parts", path=root, classes=classes)
        data.check()
        data.fingerprint()
        data.remarks()
        splits = [data.split(name) for name in ("train", "val", "test")]
        assert splits[0] is not data.split("train"), "decoded images go with the split that they were asked of"
    photos = {str(Path(root) / "images" / name) for split in splits for name in split.sample_ids(range(len(split)))}
    assert opened == dict.fromkeys(photos, 1)
    assert {stats[photo] for photo in photos} == {2}, "once for each data set"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (change(image_id=99), r"annotation 1: points to image 99, which is not among the images"),
        (change(category_id=5), r"annotation 1: unknown category id 5\. Known: 3, 7"),
        (change(segmentation=empty_rle), r"annotation 1: its mask is empty"),
        (change(segmentation=torn_rle), r"annotation 1: segmentation: run lengths sum to 12, the image has 1200"),
        (change(segmentation=small_rle), r"annotation 1: its mask is of size \(3, 4\), its image \(30, 40\)"),
        (change(segmentation=[[1, 2, 3, 4]]), r"annotation 1: a polygon needs at least three points"),
        (change(segmentation=[[1, 2, 3, 4, 5, float("nan")]]), r"annotation 1: a polygon needs"),
        (change(segmentation="x"), r"annotation 1: segmentation must be"),
        (change(segmentation=[[4, 6, 9, 6, 24, 6]]), r"annotation 1: its mask is empty: the points .* lie on a line"),
        (change(segmentation=[[41, 6, 50, 6, 50, 9]]), r"annotation 1: its mask is empty: .* outside of its image"),
        (change(bbox=[4, 6, 0, 10]), r"annotation 1: bbox \[4, 6, 0, 10\] is empty"),
        (change(bbox=[50, 6, 5, 5]), r"annotation 1: bbox .* lies outside of its image of 40x30"),
        (change(bbox=[4, 6, 10**400, 5]), r"annotation 1: bbox is \[4, 6, 1000+…, expected four numbers"),
        (change(area=True), r"annotation 1: area is True, expected a number"),
        (change(bbox=[4, 6, 5]), r"annotation 1: bbox is \[4, 6, 5\], expected four numbers"),
        (change(id=2), r"the annotation id 2 occurs twice"),
        (change(iscrowd=2), r"annotation 1: iscrowd is 2, expected 0 or 1"),
        (change(ignore="yes"), r"annotation 1: ignore is 'yes', expected 0 or 1"),
        (change(id="a"), r"annotation with id 'a'"),
        (
            lambda data: data["images"].append({**data["images"][0], "file_name": "car_5.jpg"}),
            r"the image id 1 occurs twice",
        ),
        (lambda data: data["images"][0].update(file_name="../car_1.jpg"), r"image 1: file_name '\.\./car_1\.jpg' must"),
        (lambda data: data["images"][0].update(file_name="/etc/passwd"), r"image 1: file_name '/etc/passwd' must"),
        (lambda data: data["images"][0].update(file_name="gone.jpg"), r"image 1 is missing: no file .*gone\.jpg"),
        (lambda data: data["images"][0].update(width="40"), r"image 1: width is '40'"),
        (drop("class_name", 0), r"image 1 \(car_1\.jpg\) has no class"),
        (lambda data: data["categories"].append({"id": 3, "name": "door"}), r"the category id 3 occurs twice"),
        (lambda data: data["categories"].append({"id": 4, "name": "eye"}), r"the category name 'eye' occurs twice"),
        (lambda data: data.pop("images"), r"expected a list of objects under 'images'"),
        (lambda data: data.update(annotations=data["annotations"][:2]), r"the class 'bird' has no annotated part"),
    ],
)
def test_damaged_annotations_name_the_file_and_the_id(
    make: Make, coco: Coco, damage: Callable[[Data], Any], message: str
) -> None:
    def only_train(split: str, data: Data) -> None:
        if split == "train":
            damage(data)

    root = coco(only_train)
    with pytest.raises(InputError, match=rf"train\.json: .*{message}") as caught:
        make("coco_parts", path=str(root)).split("train")
    assert "\n" not in str(caught.value)


def test_numbers_of_hundreds_of_digits_are_told_in_one_message(make: Make, coco: Coco) -> None:
    root = coco(lambda split, data: data["images"][0].update(width=10**400))
    with pytest.raises(InputError, match=r"width is 1000+…, expected a whole number of pixels, at most 1,000,000"):
        make("coco_parts", path=str(root)).split("train")
    file = root / "annotations" / "train.json"
    file.write_text(file.read_text().replace(str(10**400), "1" + "0" * 5000))
    with pytest.raises(InputError, match=r"train\.json: cannot be read: Exceeds the limit"):
        make("coco_parts", path=str(root)).split("train")


def test_all_mistakes_of_a_file_are_told_at_once_with_counts(make: Make, coco: Coco) -> None:
    def damage(split: str, data: Data) -> None:
        one, two = data["images"][:2]
        data["images"] += [{**two, "id": 90 + n, "file_name": f"gone_{n}.jpg"} for n in range(2)]
        one["width"] = 0  # and so its annotation is not looked at
        data["annotations"][1].update(bbox=[50, 6, 5, 5])
        data["annotations"] += [{**data["annotations"][2], "id": 100 + n, "category_id": 5} for n in range(5)]

    with pytest.raises(InputError) as caught:
        make("coco_parts", path=str(coco(damage))).split("train")
    said = str(caught.value)
    assert "train.json: 9 mistakes." in said
    assert "missing image file: 2\n    image 90 is missing" in said
    assert "image without width and height: 1\n    image 1: width is 0" in said
    assert "bbox that is empty or outside of its image: 1\n    annotation 2: bbox [50, 6, 5, 5]" in said
    assert "annotation of an unknown category: 5\n    annotation 100: unknown category id 5" in said
    assert "annotation 102" in said
    assert "annotation 103" not in said
    assert "    ... and 2 more" in said

    def lost(split: str, data: Data) -> None:
        for image in data["images"][1:]:
            image["file_name"] = f"gone_{image['id']}.jpg"

    with pytest.raises(InputError, match=r"val\.json: 3 mistakes\.\n  missing image file: 3\n    image 6 is missing"):
        make("coco_parts", path=str(coco(lost))).split("val")

    def one_each(split: str, data: Data) -> None:
        if split == "train":
            data["annotations"][0]["category_id"] = 5
            data["images"][2]["width"] += 1
        if split == "val":
            del data["images"][0]["class_name"]
        if split == "test":
            data["images"][1]["file_name"] = "gone.jpg"

    with pytest.raises(InputError) as caught:  # while planning, of all files
        make("coco_parts", path=str(coco(one_each))).fingerprint()
    said = str(caught.value)
    assert "train.json: 2 mistakes.\n  annotation of an unknown category: 1" in said
    assert "unusable image file: 1" in said
    assert "41x30 for image 3: its annotations would lie elsewhere" in said
    assert "val.json: image 5 (car_5.jpg) has no class" in said
    assert "test.json: image 10 is missing: no file" in said


@pytest.mark.parametrize("mark", [{"iscrowd": 1}, {"ignore": 1}, {"ignore": True}])
def test_regions_to_be_ignored_are_no_parts(make: Make, coco: Coco, mark: dict[str, Any]) -> None:
    plain = make("coco_parts", path=str(coco())).split("train")
    before = part_presence(plain)

    def crowds(split: str, data: Data) -> None:
        crowd = {"size": [30, 40], "counts": [100, 300, 800]}
        data["annotations"] += [
            {
                "id": 90 + i["id"],
                "image_id": i["id"],
                "category_id": 3,
                "bbox": [0, 0, 20, 30],
                "segmentation": crowd,
                **mark,
            }
            for i in data["images"]
        ]

    split = make("coco_parts", path=str(coco(crowds)), size=30).split("train")
    assert part_presence(split) == before == {"bird": {"eye": 1}, "car": {"wheel": 1}}
    annotations = split.part_annotations()
    assert annotations is not None
    assert len(annotations.data["annotations"]) == 8
    learned = AnnotatedParts(annotations)
    assert [learned.target(n, (30, 30), mirrored=False, with_masks=True).labels.tolist() for n in range(4)] == [
        [0], [0], [1], [1],
    ]  # fmt: skip

    def only_crowds(split: str, data: Data) -> None:
        for entry in data["annotations"]:
            entry.update(mark)

    with pytest.raises(InputError, match=r"train\.json: 2 mistakes(.|\n)*the class 'car' has no annotated part"):
        make("coco_parts", path=str(coco(only_crowds))).split("train")


def test_an_empty_list_of_polygons_beside_a_box_is_a_box(make: Make, coco: Coco) -> None:
    def boxes(split: str, data: Data) -> None:
        for entry in data["annotations"]:
            entry["segmentation"] = []

    annotations = make("coco_parts", path=str(coco(boxes)), size=20).split("train").part_annotations()
    assert annotations is not None
    assert annotations.data["annotations"][0]["bbox"] == [2, 4, 10, pytest.approx(20 / 3)]
    target = AnnotatedParts(annotations).target(0, (20, 20), mirrored=False, with_masks=False)
    assert target.boxes.shape == (1, 4)


def test_broken_json_names_the_line(make: Make, coco: Coco) -> None:
    root = coco()
    (root / "annotations" / "val.json").write_text('{"images": [],\n "annotations": [}')
    with pytest.raises(InputError, match=r"val\.json:2: broken JSON"):
        make("coco_parts", path=str(root)).split("val")
    (root / "annotations" / "val.json").write_text("[]")
    with pytest.raises(InputError, match=r"val\.json: not a COCO file"):
        make("coco_parts", path=str(root)).split("val")


def test_a_class_missing_from_a_split_is_named(make: Make, coco: Coco) -> None:
    def without_birds(split: str, data: Data) -> None:
        if split == "test":
            data["images"], data["annotations"] = data["images"][:2], data["annotations"][:2]

    with pytest.raises(InputError, match=r"test\.json: no image of the class 'bird'"):
        make("coco_parts", path=str(coco(without_birds))).split("test")


def test_the_same_image_in_two_classes_is_refused(make: Make, coco: Coco) -> None:
    root = coco()
    shutil.copy(root / "images" / "car_1.jpg", root / "images" / "bird_3.jpg")
    with pytest.raises(
        InputError, match=r"same image is in two classes: .*car_1\.jpg \(car\) and .*bird_3\.jpg \(bird\)"
    ):
        make("coco_parts", path=str(root)).split("train")


def test_the_same_image_in_two_classes_of_different_splits_is_refused(make: Make, coco: Coco) -> None:
    root = coco()
    shutil.copy(root / "images" / "car_1.jpg", root / "images" / "bird_12.jpg")  # of test
    with pytest.raises(InputError, match="same image is in two classes"):
        make("coco_parts", path=str(root)).fingerprint()


def test_damaged_and_wrong_images_are_named(make: Make, coco: Coco, photo: Callable[..., None]) -> None:
    root = coco()
    (root / "images" / "car_1.jpg").write_bytes(b"no image")
    photo(root / "images" / "car_2.jpg", 5, width=30, height=40)
    data = make("coco_parts", path=str(root))
    for read in (data.fingerprint, lambda: data.split("train").images([3, 1])):  # while planning, and later
        with pytest.raises(InputError, match=r"2 (mistakes|of 4 images)") as caught:
            read()
        assert "car_1.jpg: damaged image file: not an image of a known format" in str(caught.value)
        assert "car_2.jpg: is 30x40 pixels, but" in str(caught.value)
        assert "train.json says 40x30 for image 2" in str(caught.value)
    assert data.split("train").images([2, 3]).shape == (2, 3, 160, 160)


def upright_arrow() -> np.ndarray:
    """Return a photo of 40 x 30 pixels with a part: red in 4 <= x < 24, 6 <= y < 16, the place of the annotations."""
    pixels = np.full((30, 40, 3), 90, np.uint8)
    pixels[6:16, 4:24] = (250, 5, 5)
    return pixels


def store_turned(path: Path, orientation: int) -> None:
    """Write the photo as a camera that was held another way stores it."""
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # Pillow's transpositions that EXIF's turns take back
    image = Image.fromarray(upright_arrow())
    if orientation > 1:
        image = image.transpose(Image.Transpose(undo[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(path, quality=100, subsampling=0, exif=exif)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_parts_lie_where_they_were_drawn_whatever_the_orientation(make: Make, coco: Coco, orientation: int) -> None:
    root = coco()
    for path in (root / "images").glob("*.jpg"):
        store_turned(path, orientation)
        path.write_bytes(path.read_bytes() + path.name.encode())  # no two files are the same
    data = make("coco_parts", path=str(root), size=60)
    split = data.split("train")
    annotations = split.part_annotations()
    assert annotations is not None
    for image, part in zip(split.images(range(4)), annotations.data["annotations"]):
        x, y, width, height = (round(value) for value in part["bbox"])
        inside = torch.zeros(60, 60, dtype=torch.bool)
        inside[y : y + height, x : x + width] = True
        assert ((image[0] - image[1] > 0.5) == inside).float().mean() > 0.97
    said = " ".join(data.remarks())
    assert ("12 photos are turned by an EXIF orientation that leaves their size" in said) == (orientation in (2, 3, 4))


def test_parts_drawn_on_the_pixels_as_stored(make: Make, coco: Coco, photo: Callable[..., None]) -> None:
    def stored(split: str, data: Data) -> None:
        data["images"][0].update(width=30, height=40)

    root = coco(stored)
    for number in (1, 5, 9):
        store_turned(root / "images" / f"car_{number}.jpg", 6)
        path = root / "images" / f"car_{number}.jpg"
        path.write_bytes(path.read_bytes() + path.name.encode())
    data = make("coco_parts", path=str(root), size=40)
    x = data.split("train").images([0])[0]
    assert ((x[0] - x[1] > 0.5).float().mean(1) > 0).sum() > ((x[0] - x[1] > 0.5).float().mean(0) > 0).sum()  # it lies
    assert any("3 photos are left as stored" in remark for remark in data.remarks())


def test_missing_data_says_what_is_missing(make: Make, coco: Coco, tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"no annotation file at .*nowhere/annotations/train\.json.*partshapes"):
        make("coco_parts", path=str(tmp_path / "nowhere")).check()
    root = coco()
    shutil.rmtree(root / "images")
    with pytest.raises(MissingError, match="no image folder at"):
        make("coco_parts", path=str(root)).check()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "give path, or train, val and test"),
        ({"path": "a", "train": "b"}, "give either path or train"),
        ({"train": "a", "val": "b", "test": "c"}, "need images beside them"),
        ({"path": "a", "images": {"train": "b"}}, "one for each of train, val and test"),
        ({"path": "a", "classes": ["car"]}, "at least two names"),
    ],
)
def test_unusable_options_are_refused(make: Make, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        make("coco_parts", **options)


def test_run_lengths_move_with_their_image() -> None:
    mask = np.zeros((30, 40), dtype=bool)
    mask[6:16, 4:24] = True
    image = {"width": 40, "height": 30}
    annotation = {"bbox": [4, 6, 20, 10], "area": 200, "segmentation": masks.encode(mask)}
    fit = Fit("squash", 60)
    moved = scaled(annotation, image, fit.place(40, 30), 60)
    assert masks.measured(decode_mask(moved["segmentation"]))["bbox"] == moved["bbox"] == [6, 12, 30, 20]
    fit = Fit("pad", 80)
    moved = scaled(annotation, image, fit.place(40, 30), 80)  # 80 x 60 pixels, 10 black rows above and below
    assert masks.measured(decode_mask(moved["segmentation"]))["bbox"] == moved["bbox"] == [8, 22, 40, 20]
    tiny = np.zeros((30, 40), dtype=bool)
    tiny[11, 21] = True
    moved = scaled(
        {"bbox": [21, 11, 1, 1], "area": 1, "segmentation": masks.encode(tiny)},
        image,
        Fit("squash", 16).place(40, 30),
        16,
    )
    assert decode_mask(moved["segmentation"]).sum() == 1  # it does not vanish


def test_boxes_without_masks_are_enough(make: Make, coco: Coco) -> None:
    def boxes(split: str, data: Data) -> None:
        for annotation in data["annotations"]:
            del annotation["segmentation"], annotation["area"]

    parts = make("coco_parts", path=str(coco(boxes)), size=20).split("train").part_annotations()
    assert parts is not None
    assert parts.data["annotations"][0]["area"] == pytest.approx(200 / 3)
    assert "segmentation" not in parts.data["annotations"][0]


@pytest.mark.slow
def test_photos_of_the_project(make: Make, objects5: Path) -> None:
    data = make("coco_parts", path=str(objects5), size=64)
    split = data.split("test")
    assert len(split) == 350
    assert split.class_names == ("ant", "building", "car", "face", "person")
    parts = split.part_annotations()
    assert parts is not None
    assert len(parts.data["annotations"]) == 4814
    boxes = np.array([annotation["bbox"] for annotation in parts.data["annotations"]])
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, :2] + boxes[:, 2:] <= 64 + 1e-6).all()
    assert split.images([0, 100, 349]).shape == (3, 3, 64, 64)
    train = data.split("train")
    theirs = json.loads((objects5 / "annotations" / "class_part_presence.json").read_text())["presence"]
    ours = part_presence(train)
    for name, parts in theirs.items():
        assert ours[name] == pytest.approx({part: share for part, share in parts.items() if share}, abs=6e-4)
    learned = class_parts_of(part_presence(train), 0.5)
    assert set(learned["face"]) == {"eye", "nose", "mouth", "hair", "skin"}
    assert (learned.overlap().shared, learned.overlap().unique) == (4, 26)  # door, eye, hair and skin are shared
