from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps
from scipy.io import savemat

from bench_unmask import masks
from bench_unmask.class_parts import PAPER_CLASS_PARTS, PARTS
from bench_unmask.prepare import files
from bench_unmask.prepare.class_folders import differing_bits, perceptual_hash, prepare_unmask_classes
from bench_unmask.prepare.part_names import CORRECTED_CLASS_PARTS, part_of
from bench_unmask.prepare.pascal_part import prepare_pascal_part
from benchmark import decode_mask
from benchmark.dataset import Dataset
from benchmark.errors import InputError, MissingError, StorageError
from benchmark.progress import Progress

Make = Callable[..., Dataset]
Photo = Callable[..., None]

NAMES = {  # the part names of PASCAL-Part
    "aeroplane": "body stern lwing rwing tail engine_1 wheel_2",
    "bicycle": "fwheel bwheel saddle handlebar chainwheel headlight_1",
    "bird": "head leye reye beak torso neck lwing rwing lleg lfoot rleg rfoot tail",
    "bottle": "cap body",
    "bus": "frontside leftside rightside backside roofside leftmirror rightmirror fliplate bliplate door_1 wheel_1 "
    "headlight_1 window_12",
    "cat": "head leye reye lear rear nose torso neck lfleg lfpa rfleg rfpa lbleg lbpa rbleg rbpa tail",
    "cow": "head leye reye lear rear muzzle lhorn rhorn torso neck lfuleg lflleg rfuleg rflleg lbuleg lblleg rbuleg "
    "rblleg tail",
    "dog": "head leye reye lear rear nose torso neck lfleg lfpa rfleg rfpa lbleg lbpa rbleg rbpa tail muzzle",
    "horse": "head leye reye lear rear muzzle lfho rfho lbho rbho torso neck lfuleg lflleg rbuleg rblleg tail",
    "motorbike": "fwheel bwheel handlebar saddle headlight_1",
    "person": "head leye reye lear rear lebrow rebrow nose mouth hair torso neck llarm luarm lhand rlarm ruarm rhand "
    "llleg luleg lfoot rlleg ruleg rfoot",
    "pottedplant": "pot plant",
    "sheep": "head leye reye lear rear muzzle lhorn rhorn torso neck lfuleg lflleg tail",
    "train": "head hfrontside hleftside hrightside hbackside hroofside headlight_1 coach_1 cfrontside_1 cleftside_1 "
    "crightside_1 cbackside_1 croofside_1 body_8",
    "tvmonitor": "screen",
}
NAMES["car"] = NAMES["bus"]


def found(mapping: str) -> dict[str, set[str]]:
    return {
        name: {part for part in (part_of(text, name, mapping) for text in names.split()) if part}
        for name, names in NAMES.items()
    }


def test_the_papers_rules_give_the_papers_matrix_and_its_known_errors() -> None:
    paper = {name: set(parts) for name, parts in PAPER_CLASS_PARTS.items()}
    # Handlebars became hands (section IV-A), chain wheels wheels, and the paper's matrix has no headlight on a bicycle.
    paper["bicycle"] |= {"hand", "headlight"}
    paper["motorbike"] |= {"hand"}
    paper["train"] |= {"body"}  # from body_8, a slip in PASCAL-Part
    assert found("paper") == paper


def test_the_released_code_files_headlights_under_head() -> None:
    assert part_of("headlight_1", "car", "released") == "head"
    for name, names in NAMES.items():
        for text in names.split():
            if "headlight" not in text:
                assert part_of(text, name, "released") == part_of(text, name, "paper")


def test_the_corrected_rules_give_the_corrected_matrix() -> None:
    assert found("corrected") == {name: set(parts) for name, parts in CORRECTED_CLASS_PARTS.items()}
    assert part_of("handlebar", "bicycle", "corrected") == "handlebar"
    assert part_of("body_8", "train", "corrected") is None
    assert part_of("hleftside", "train", "corrected") is None
    assert part_of("gearbox", "car") == "ear"  # the paper's rules look inside words
    assert part_of("gearbox", "car", "corrected") is None
    assert part_of("spoiler", "car") is None


# -- PASCAL-Part ------------------------------------------------------------------------------------------------------

SIZE = (30, 40)  # height, width


def structs(rows: list[dict[str, Any]]) -> np.ndarray:
    """Return a MATLAB structure array of one row; no rows are an empty matrix, as PASCAL-Part has them."""
    if not rows:
        return np.zeros((0, 0))
    array = np.empty((1, len(rows)), dtype=[(key, object) for key in rows[0]])
    for number, row in enumerate(rows):
        for key, value in row.items():
            array[key][0, number] = value
    return array


def box(top: int, left: int, height: int = 8, width: int = 6) -> np.ndarray:
    mask = np.zeros(SIZE, dtype=np.uint8)
    mask[top : top + height, left : left + width] = 1
    return mask


def write_mat(path: Path, objects: dict[str, list[tuple[str, np.ndarray]]]) -> None:
    things = [
        {
            "class": name,
            "class_ind": 1.0,
            "mask": np.ones(SIZE, dtype=np.uint8),
            "parts": structs([{"part_name": part, "mask": mask} for part, mask in parts]),
        }
        for name, parts in objects.items()
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, {"anno": structs([{"imname": path.stem, "objects": structs(things)}])}, do_compression=True)


@pytest.fixture
def pascal(tmp_path: Path, photo: Photo) -> Path:
    """Twenty images: all with two objects, but number 4, which has no parts."""
    for number in range(20):
        stem = f"2008_{number:06d}"
        photo(tmp_path / "JPEGImages" / f"{stem}.jpg", number, SIZE[1], SIZE[0])
        parts = {
            "car": [("fliplate", box(2, 3)), ("window_1", box(10, 3)), ("window_2", box(10, 20))],
            "person": [
                ("luleg", box(1, 30)),
                ("llleg", box(9, 30)),
                ("lhand", box(20, 1, 3, 3)),
                ("rhand", box(0, 0, 0, 0)),
            ],
        }
        if number == 4:
            parts = {"boat": []}
        elif number == 5:
            parts = {"motorbike": [("handlebar", box(5, 5))]}
        write_mat(tmp_path / "Annotations_Part" / f"{stem}.mat", parts)
    return tmp_path


def prepared(root: Path, **options: Any) -> Any:
    return prepare_pascal_part(root / "JPEGImages", root / "Annotations_Part", root / "out", **options)


def annotated(root: Path) -> list[tuple[str, str, Any]]:
    """(file, part, mask) of all splits, sorted."""
    rows = []
    for split in ("train", "val", "test"):
        data = json.loads((root / "out" / "VOC2010" / f"{split}.json").read_text())
        names = {category["id"]: category["name"] for category in data["categories"]}
        files = {image["id"]: image["file_name"] for image in data["images"]}
        for entry in data["annotations"]:
            mask = decode_mask(entry["segmentation"])
            assert entry["bbox"] == masks.measured(mask)["bbox"]
            assert entry["area"] == mask.sum()
            rows.append((files[entry["image_id"]], names[entry["category_id"]], entry["bbox"]))
    return sorted(rows)


def test_pascal_part_becomes_coco_files_that_the_data_set_reads(make: Make, pascal: Path) -> None:
    counts = prepared(pascal)
    order = [f"2008_{n:06d}" for n in range(20)]
    random.Random(100).shuffle(order)
    members = {"train": order[:16], "val": order[16:18], "test": order[18:]}
    for split, stems in members.items():
        expected = sorted(f"{stem}.jpg" for stem in stems if stem != "2008_000004")
        assert sorted(p.name for p in (pascal / "out/VOC2010/Images" / split).iterdir()) == expected
        assert counts.images[split] == len(expected)
    assert sum(counts.images.values()) == 19
    assert counts.without_parts == 1
    assert sum(counts.masks.values()) == 18 * 6 + 1  # every mask is one annotation, the empty one none
    assert counts.ignored == {"person: rhand": 18}
    first = [row for row in annotated(pascal) if row[0] == "2008_000000.jpg"]
    assert first == [
        ("2008_000000.jpg", "hand", [1, 20, 3, 3]),
        ("2008_000000.jpg", "leg", [30, 1, 6, 8]),
        ("2008_000000.jpg", "leg", [30, 9, 6, 8]),
        ("2008_000000.jpg", "licenseplate", [3, 2, 6, 8]),
        ("2008_000000.jpg", "window", [3, 10, 6, 8]),
        ("2008_000000.jpg", "window", [20, 10, 6, 8]),
    ]
    assert ("2008_000005.jpg", "hand", [5, 5, 6, 8]) in annotated(pascal)
    data = json.loads((pascal / "out/VOC2010/train.json").read_text())
    assert [category["name"] for category in data["categories"]] == list(PARTS)
    assert make("unmask_parts", path=str(pascal / "out"), size=64).split("train").image_shape == (3, 64, 64)
    assert "7,457" in counts.table()
    assert "180,423" in counts.table()


def test_the_corrected_mapping_keeps_the_handlebar(pascal: Path) -> None:
    prepared(pascal, mapping="corrected")
    assert ("2008_000005.jpg", "handlebar", [5, 5, 6, 8]) in annotated(pascal)
    with pytest.raises(InputError, match=r"unknown mapping 'corected'.*Did you mean 'corrected'"):
        prepared(pascal, mapping="corected")


def test_progress_counts_the_annotation_files(pascal: Path) -> None:
    heard: list[tuple[Any, ...]] = []
    prepared(pascal, progress=Progress(lambda *message: heard.append(message), every=0))
    assert heard[-1] == ("progress", 20, 20, "annotation files")


@pytest.mark.parametrize("damage", ["truncated", "empty", "other", "pickle"])
def test_a_damaged_annotation_file_is_named_and_nothing_half_written_stays(pascal: Path, damage: str) -> None:
    path = pascal / "Annotations_Part" / "2008_000007.mat"
    whole = path.read_bytes()
    if damage == "other":
        savemat(path, {"something": 1})
    else:
        path.write_bytes({"truncated": whole[: len(whole) // 2], "empty": b"", "pickle": b"\x80\x04."}[damage])
    with pytest.raises(InputError, match=r"2008_000007\.mat: not a PASCAL-Part annotation, or truncated") as caught:
        prepared(pascal)
    assert "\n" not in str(caught.value)
    assert not list((pascal / "out").rglob("train.json"))
    path.write_bytes(whole)  # mended: the run goes on where it stopped
    assert sum(prepared(pascal).images.values()) == 19
    assert not list((pascal / "out").rglob("*.aside"))
    assert [p.name for p in (pascal / "out").iterdir()] == ["VOC2010"]


def spoiled(path: Path) -> None:
    """Write what nobody can read into a file, which looks as it did otherwise."""
    status = path.stat()
    path.write_bytes((f"{path} " * status.st_size).encode()[: status.st_size])
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_what_was_converted_before_an_interruption_is_not_read_again(pascal: Path) -> None:
    class Stopped(Progress):
        def update(self, done: int, total: int, unit: str = "images") -> None:
            if done == 12:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepared(pascal, progress=Stopped())
    assert not list((pascal / "out" / "VOC2010").glob("*.json"))
    order = [f"2008_{number:06d}" for number in range(20)]
    random.Random(100).shuffle(order)
    changed, *kept = (stem for stem in order[:12] if stem not in ("2008_000004", "2008_000005"))
    write_mat(pascal / "Annotations_Part" / f"{changed}.mat", {"bird": [("beak", box(1, 1))]})  # changed since: again
    whole = {stem: (pascal / "Annotations_Part" / f"{stem}.mat").read_bytes() for stem in kept}
    for stem in kept:
        spoiled(pascal / "Annotations_Part" / f"{stem}.mat")
    prepared(pascal)
    interrupted = annotated(pascal)
    assert (f"{changed}.jpg", "beak", [1, 1, 6, 8]) in interrupted
    shutil.rmtree(pascal / "out")
    for stem, content in whole.items():
        (pascal / "Annotations_Part" / f"{stem}.mat").write_bytes(content)
    prepared(pascal)
    assert annotated(pascal) == interrupted


def test_masks_of_another_size_than_the_image_are_refused(pascal: Path, photo: Photo) -> None:
    photo(pascal / "JPEGImages" / "2008_000003.jpg", 3, 50, 30)
    with pytest.raises(
        InputError, match=r"2008_000003\.mat: the mask of car: fliplate has the shape \(30, 40\).*30x50"
    ):
        prepared(pascal)


def test_missing_sources_are_named(pascal: Path, tmp_path: Path) -> None:
    (pascal / "JPEGImages" / "2008_000011.jpg").unlink()
    with pytest.raises(MissingError, match=r"1 of 20 images are missing, the first is 2008_000011\.jpg"):
        prepared(pascal)
    with pytest.raises(MissingError, match="expected Annotations_Part of PASCAL-Part"):
        prepare_pascal_part(pascal / "JPEGImages", tmp_path / "nothing", tmp_path / "out")
    (tmp_path / "nothing").mkdir()
    with pytest.raises(MissingError, match=r"no \.mat files"):
        prepare_pascal_part(pascal / "JPEGImages", tmp_path / "nothing", tmp_path / "out")


def test_a_full_disk_is_reported_as_such(pascal: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(source: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.shutil, "copyfile", full)
    with pytest.raises(StorageError, match="No space left on device"):
        prepared(pascal)


# -- class folders ----------------------------------------------------------------------------------------------------

XML = "<annotation>{}</annotation>"
OBJECT = "<object><name>{}</name>{}</object>"
PART = "<part><name>head</name></part>"


@pytest.fixture
def sources(tmp_path: Path, photo: Photo) -> Path:
    """VOC with 8 images per class of CS3a and some to leave out; ImageNet 8 and Flickr 5 per class."""
    seed = 1000
    for name in ("car", "person", "train"):
        for source, count in (("voc", 8), ("imagenet", 8), ("flickr", 5)):
            for number in range(count):
                seed += 1
                if source == "voc":
                    path = tmp_path / "voc" / "JPEGImages" / f"{name}{number}.jpg"
                    text = XML.format(OBJECT.format(name, PART if name == "person" else "") * (1 + number % 2))
                    (tmp_path / "voc" / "Annotations").mkdir(parents=True, exist_ok=True)
                    (tmp_path / "voc" / "Annotations" / f"{name}{number}.xml").write_text(text)
                else:
                    path = tmp_path / source / name / f"{number}.jpg"
                photo(path, seed, 200, 150)
    for stem, objects in (("both", ("car", "person")), ("sofa", ("sofa",))):
        photo(tmp_path / "voc" / "JPEGImages" / f"{stem}.jpg", seed + len(stem), 200, 150)
        (tmp_path / "voc" / "Annotations" / f"{stem}.xml").write_text(
            XML.format("".join(OBJECT.format(o, "") for o in objects))
        )
    return tmp_path


def built(root: Path, **options: Any) -> Any:
    plain = {"voc": root / "voc", "imagenet": root / "imagenet", "class_sets": ["CS3a"], "val_share": 0.25}
    return prepare_unmask_classes(root / "out", root / "flickr", **{**plain, **options})


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*.jpg"))}


def test_class_folders_hold_images_of_one_class_and_no_duplicates(make: Make, sources: Path) -> None:
    # Flickr has a VOC image again, smaller and compressed harder; ImageNet has another one of VOC as it is.
    with Image.open(sources / "voc/JPEGImages/car3.jpg") as image:
        image.resize((140, 105)).save(sources / "flickr/car/again.jpg", quality=60)
    shutil.copy(sources / "voc/JPEGImages/train1.jpg", sources / "imagenet/train/same.jpg")
    counts = built(sources)
    assert counts.images == {"CS3a": {"train": 36, "val": 12, "test": 15}}
    assert counts.duplicates == {"flickr": 1, "imagenet": 1}
    names = set(tree(sources / "out" / "CS3a"))
    assert not [name for name in names if "again" in name or "same" in name or "both" in name or "sofa" in name]
    assert {name.split("/")[2].split("_")[0] for name in names if name.startswith("test/")} == {"flickr"}
    assert {name.split("/")[2].split("_")[0] for name in names if not name.startswith("test/")} == {"voc", "imagenet"}
    assert make("unmask", path=str(sources / "out")).split("val").labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert "7,780" in counts.table()
    assert [p.name for p in (sources / "out").iterdir()] == ["CS3a"]


def test_building_again_changes_nothing_and_another_selection_is_refused(sources: Path) -> None:
    built(sources)
    before = tree(sources / "out")
    built(sources)
    assert tree(sources / "out") == before
    with pytest.raises(InputError, match=r"out/CS3a is there already and holds another selection"):
        built(sources, val_share=0.5)
    assert tree(sources / "out") == before


def test_a_build_that_stopped_goes_on_and_shows_no_half_built_folder(sources: Path) -> None:
    late, aside = sources / "flickr" / "train" / "0.jpg", sources / "0.jpg"

    class Removing(Progress):
        """Takes an image away once the last one is looked at."""

        def update(self, done: int, total: int, unit: str = "images") -> None:
            if done == total:
                late.rename(aside)

    with pytest.raises(StorageError, match="cannot be written"):
        built(sources, progress=Removing())
    assert not (sources / "out" / "CS3a").exists()
    assert len(tree(sources / "out")) > 40
    aside.rename(late)
    for path in [*sources.glob("voc/JPEGImages/*.jpg"), *sources.glob("*/*/*.jpg")]:
        spoiled(path)
    counts = built(sources)
    assert not counts.damaged  # all hashes were kept
    assert counts.images["CS3a"] == {"train": 36, "val": 12, "test": 15}
    assert len(tree(sources / "out")) == 63


def test_damaged_images_are_left_out_with_a_warning(sources: Path) -> None:
    (sources / "flickr/car/bad.jpg").write_bytes(b"no image")
    heard: list[tuple[Any, ...]] = []
    counts = built(sources, progress=Progress(lambda *message: heard.append(message)))
    assert counts.damaged == [sources / "flickr/car/bad.jpg"]
    assert any(kind == "warning" and "bad.jpg: damaged image file" in text for kind, text, *_ in heard)


def test_two_classes_with_the_same_image_are_refused(sources: Path) -> None:
    shutil.copy(sources / "imagenet/car/1.jpg", sources / "flickr/train/copy.jpg")
    with pytest.raises(
        InputError, match=r"same image is in two classes: .*car/1\.jpg \(car\) and .*copy\.jpg \(train\)"
    ):
        built(sources)
    assert not (sources / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"class_sets": ["CS3x"]}, "unknown class set 'CS3x'"),
        ({"val_share": 1.0}, r"val_share 1\.0 must be in"),
        ({"distance": 70}, "distance 70 from 0 to 32"),
        ({"voc": None, "imagenet": None}, "give voc, imagenet, or both"),
        ({"class_sets": ["CS3b"]}, r"imagenet: no images in .*bird"),
        ({"voc": "nowhere"}, r"voc: no folder .*nowhere/JPEGImages"),
    ],
)
def test_unusable_requests_are_refused(sources: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        built(sources, **options)


def test_entities_in_annotations_are_not_expanded(sources: Path) -> None:
    (sources / "voc/Annotations/car0.xml").write_text('<!DOCTYPE a [<!ENTITY x "car">]><annotation/>')
    with pytest.raises(InputError, match=r"car0\.xml: declares entities"):
        built(sources)
    (sources / "voc/Annotations/car0.xml").write_text("<annotation><object>")
    with pytest.raises(InputError, match=r"car0\.xml: broken XML"):
        built(sources)


def test_the_perceptual_hash_knows_an_image_again_and_tells_others_apart(tmp_path: Path, photo: Photo) -> None:
    def bits(image: Image.Image) -> np.ndarray:
        return np.array([perceptual_hash(image)], dtype=np.uint64)

    others = []
    for seed in range(30):
        photo(tmp_path / "a.jpg", seed, 240, 180)
        with Image.open(tmp_path / "a.jpg") as image:
            image.load()
            image.resize((100, 75)).save(tmp_path / "b.jpg", quality=50)
            with Image.open(tmp_path / "b.jpg") as again:
                assert differing_bits(bits(again), perceptual_hash(image))[0] <= 4
            assert differing_bits(bits(ImageOps.mirror(image)), perceptual_hash(image))[0] > 10
            others.append(perceptual_hash(image))
    assert (
        min(int(differing_bits(np.array([a], np.uint64), b)[0]) for n, a in enumerate(others) for b in others[:n]) > 10
    )


def test_differing_bits_are_counted() -> None:
    hashes = np.array([0, 1, 2**64 - 1, 2**63], dtype=np.uint64)
    assert differing_bits(hashes, 2**63 + 1).tolist() == [2, 1, 62, 1]
