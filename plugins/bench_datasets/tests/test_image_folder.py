"""Folders of images in every form: classes, splits, what is passed over, and how pixels come out."""

from __future__ import annotations

import io
import os
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torchvision import transforms

from bench_datasets.files import decode
from bench_datasets.options import ImageFolderOptions
from bench_datasets.tests.packed import FORMS, all_of, below, decoded, images, pack, pixels, png
from benchmark.errors import InputError


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("top", ["", "photos/2024"])
def test_one_folder_of_classes_in_every_form(make, tmp_path, form, top) -> None:
    files = images(count=20)
    place = pack(tmp_path / f"data{form}", below(top, files) if top else files)
    data = make("image_folder", path=str(place))
    data.check()
    found = {}
    for name, count in (("train", 28), ("val", 4), ("test", 8)):
        split = data.split(name)
        assert split.class_names == ("ant", "bee")
        assert split.image_shape == (3, 6, 5)
        assert np.bincount(split.labels).tolist() == [count // 2] * 2
        ids = split.sample_ids(range(len(split)))
        assert [split.class_names[label] for label in split.labels] == [i.split("/")[0] for i in ids]
        found.update(all_of(split))
    assert found.keys() == files.keys()
    assert all(np.array_equal(found[name], decoded(files[name])) for name in files)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("val", ["val", "Validation", None])
def test_split_folders_in_every_form(make, tmp_path, form, val) -> None:
    parts = {"train": images(), val or "": images(count=3, first=50), "test": images(count=4, first=90)}
    files = {name: data for split, part in parts.items() if split for name, data in below(split, part).items()}
    data = make("image_folder", path=str(pack(tmp_path / f"data{form}", below("set", files))))
    for name, split in (("train", "train"), ("val", val), ("test", "test")):
        if split is not None and (val is not None or name == "test"):
            expected = parts[split]
            found = all_of(data.split(name))
            assert found.keys() == expected.keys()
            assert all(np.array_equal(found[i], decoded(expected[i])) for i in found)
    if val is None:
        drawn = all_of(data.split("val")), all_of(data.split("train"))
        assert len(drawn[0]) == 2
        assert drawn[0].keys() | drawn[1].keys() == parts["train"].keys()


def test_split_archives_beside_each_other(make, tmp_path) -> None:
    pack(tmp_path / "train.zip", below("train", images()))
    pack(tmp_path / "test.tar.gz", images(first=30))
    (tmp_path / "README.md").write_text("about")
    by_folder = make("image_folder", path=str(tmp_path), val_share=0.2)
    by_split = make(
        "image_folder", train=str(tmp_path / "train.zip"), test=str(tmp_path / "test.tar.gz"), val_share=0.2
    )
    assert by_folder.fingerprint() == by_split.fingerprint()
    assert [len(by_folder.split(name)) for name in ("train", "val", "test")] == [16, 4, 20]
    pack(tmp_path / "train", images())
    with pytest.raises(InputError, match=r"more than one place for train: train, train\.zip"):
        make("image_folder", path=str(tmp_path)).split("train")


def test_what_is_no_image_of_a_class_is_passed_over_and_said(make, tmp_path) -> None:
    files = images()
    noise = {
        "preview.png": png(pixels(1)), "ant/Thumbs.db": b"x", "__MACOSX/ant/._00.png": b"x", ".git/a/b.png": b"x",
        "ant/Pythagoras.txt": b"Python, P6, BM, GIF", "bee/labels": b"1", "bee/\x1b[31m.\x1b[0m": b"2",
    }  # fmt: skip
    for form in ("", ".zip", ".tar", ".tar.gz"):
        data = make("image_folder", path=str(pack(tmp_path / f"data{form}", {**files, **noise})))
        assert sum(len(data.split(name)) for name in ("train", "val", "test")) == 20
        assert data.remarks() == (
            "Files passed over: no images: 4 (1 .db, 1 .txt, 1 of odd endings, 1 without an ending); "
            "images in no class folder: 1; hidden: 2.",
        )
    assert make("image_folder", path=str(pack(tmp_path / "clean.zip", files))).remarks() == ()


@pytest.mark.parametrize("form", FORMS)
def test_images_are_known_by_their_content(make, tmp_path, form) -> None:
    endings = [".jfif", ".jpe", ".JPG", "", ".dat", ".png", ".txt", ".pbm"]
    files = {f"{c}/{n}{e}": png(pixels(n + 50 * ord(c)), "JPEG") for c in "ab" for n, e in enumerate(endings)}
    data = make("image_folder", path=str(pack(tmp_path / f"data{form}", files)))
    data.fingerprint()
    found = {k: v for name in ("train", "val", "test") for k, v in all_of(data.split(name)).items()}
    assert found.keys() == files.keys()
    assert all(np.array_equal(found[name], decoded(files[name])) for name in files)
    assert data.remarks() == ()


@pytest.mark.parametrize("form", FORMS)
def test_all_files_that_are_no_images_but_called_so_are_told_at_once(make, tmp_path, form) -> None:
    html = b"<!DOCTYPE html><title>404</title>"
    bad = {f"train/ant/x{n}.jpg": html for n in range(5)} | {
        "test/bee/photo.heic": b"\0\0\0\x18ftypheic",
        "train/bee/z.png": b"x",
    }
    place = pack(tmp_path / f"data{form}", {**below("train", images()), **below("test", images()), **bad})
    with pytest.raises(InputError, match=r"photo\.heic: damaged image file: not an image of a known format") as caught:
        make("image_folder", path=str(place)).fingerprint()
    assert "6 mistakes.\n  unusable image file: 6\n    train/ant/x0.jpg: damaged" in str(caught.value)


SPLIT_NAMES = {
    "train": (
        "train",
        "Training",
        "TRAIN",
        "train2017",
        "train_images",
        "trainset",
        "seg_train",
        "Train-Set",
        "01_train",
    ),
    "val": ("val", "Valid", "validation", "dev", "val2017", "valid_set", "Eval", "DevSet"),
    "test": ("test", "Testing", "TEST", "test2017", "test-data", "testset", "seg_test", "test1", "HoldOut"),
}


@given(
    st.fixed_dictionaries({split: st.sampled_from(names) for split, names in SPLIT_NAMES.items()}),
    st.sampled_from([("train", "test"), ("train", "val", "test"), ("train", "val")]),
    st.sampled_from(["", "data/", "a/b/"]),
    st.sampled_from(["", ".zip"]),
)
def test_folders_of_equal_sub_folders_are_splits_whatever_they_are_called(make, names, splits, top, form) -> None:
    with tempfile.TemporaryDirectory() as folder:
        files = {
            f"{top}{names[split]}/{k}": v for n, split in enumerate(splits) for k, v in images(first=50 * n).items()
        }
        data = make("image_folder", path=str(pack(Path(folder) / f"data{form}", files)))
        sizes = [len(data.split(name)) for name in ("train", "val", "test")]
        assert data.split("train").class_names == ("ant", "bee")
        assert sizes == [20, 20, 20] if len(splits) == 3 else sizes == [18, 2, 20]
        held = {k.removeprefix(f"{top}{names[splits[-1]]}/"): v for k, v in files.items() if names[splits[-1]] in k}
        assert all(np.array_equal(x, decoded(held[i])) for i, x in all_of(data.split("test")).items())


@pytest.mark.parametrize("form", ["", ".zip"])
def test_a_stray_picture_makes_no_class_of_a_split(make, tmp_path, form) -> None:
    files = {**below("train", images()), **below("test", images(first=50)), "train/preview.png": png(pixels(1))}
    data = make("image_folder", path=str(pack(tmp_path / f"data{form}", {**files, "test/all.png": png(pixels(2))})))
    assert data.split("train").class_names == ("ant", "bee")
    assert [len(data.split(name)) for name in ("train", "val", "test")] == [18, 2, 20]
    assert data.remarks() == ("Files passed over: images in no class folder: 2.",)


NAMES = st.text("abcdefgh train_valest0129", min_size=1, max_size=12).filter(lambda name: name.strip(" .") == name)


@given(st.lists(NAMES, min_size=2, max_size=4, unique=True))
def test_folders_of_equal_sub_folders_are_never_classes(make, names) -> None:
    with tempfile.TemporaryDirectory() as folder:
        files = {f"{name}/{k}": v for n, name in enumerate(names) for k, v in images(count=4).items()}
        data = make("image_folder", path=str(pack(Path(folder) / "data", files)))
        try:
            assert data.split("train").class_names == ("ant", "bee")
        except InputError as error:
            assert "cannot tell splits from classes" in str(error)  # noqa: PT017


def test_val_is_the_test_where_there_is_none_and_that_is_said(make, tmp_path) -> None:
    files = {**below("train", images()), **below("val", images(first=50))}
    place = str(pack(tmp_path / "imagenet", files))
    data = make("image_folder", path=place)
    assert [len(data.split(name)) for name in ("train", "val", "test")] == [18, 2, 20]
    (remark,) = data.remarks()
    assert "the images of val are the test images here, and val is drawn from train" in remark
    own = make("image_folder", path=place, test_share=0.2)
    assert [len(own.split(name)) for name in ("train", "val", "test")] == [16, 20, 4]
    assert own.remarks() == ()


@pytest.mark.parametrize("form", ["", ".zip"])
def test_test_images_that_train_has_too_are_counted(make, tmp_path, form) -> None:
    files = {**below("train", images()), **below("test", images(first=50))}
    for name in ("00", "01", "02"):
        files[f"test/ant/{name}.png"] = files[f"train/bee/{name}.png"]
    data = make("image_folder", path=str(pack(tmp_path / f"data{form}", files)), val_share=0.5, split_seed=3)
    train = set(data.split("train").sample_ids(range(10)))
    left = sum(f"bee/{name}.png" in train for name in ("00", "01", "02"))  # the others were drawn for val
    assert 0 < left < 3
    assert data.remarks() == (f"The same image in test and train: {left} of 20 test images.",)


def test_folders_inside_classes_leave_them_classes(make, tmp_path) -> None:
    deep = {f"{c}/images/{n}.png": png(pixels(n)) for c in ("ant", "bee") for n in range(10)}
    assert make("image_folder", path=str(pack(tmp_path / "deep", deep))).split("train").class_names == ("ant", "bee")
    faces = {
        f"{c}/{s}/{n}.png": png(pixels(n)) for c in ("ann", "bob") for s in ("indoors", "outdoors") for n in range(9)
    }
    place = str(pack(tmp_path / "faces", faces))
    with pytest.raises(InputError, match="If they are classes, give the place as train:, with a test_share"):
        make("image_folder", path=place).split("train")
    assert make("image_folder", train=place, test_share=0.2).split("train").class_names == ("ann", "bob")


def test_names_of_classes_may_be_those_of_splits(make, tmp_path) -> None:
    data = make("image_folder", path=str(pack(tmp_path / "vehicles", images(("train", "bus")))))
    assert data.split("test").class_names == ("bus", "train")


def test_only_contents_splits_and_pixel_options_move_the_fingerprint(make, tmp_path) -> None:
    files = images()
    for form in ("", ".zip", ".tar", ".tar.gz"):
        place = str(pack(tmp_path / f"data{form}", files))
        base = make("image_folder", path=place).fingerprint()
        moved = str(pack(tmp_path / f"moved{form}", below("top", files)))
        assert make("image_folder", path=moved, limit={"test": 2}, val_share=0.1, test_share=0.2).fingerprint() == base
        other = {**files, "ant/03.png": png(pixels(99))}
        options: list[dict] = [
            {"split_seed": 1}, {"val_share": 0.2}, {"test_share": 0.3}, {"size": 6}, {"size": 6, "fit": "squash"},
            {"size": 6, "resize": 7}, {"color": "grey"},
        ]  # fmt: skip
        prints = [make("image_folder", path=place, **option).fingerprint() for option in options]
        prints.append(make("image_folder", path=str(pack(tmp_path / f"other{form}", other))).fingerprint())
        renamed = {name.replace("bee", "wasp"): data for name, data in files.items()}
        prints.append(make("image_folder", path=str(pack(tmp_path / f"renamed{form}", renamed))).fingerprint())
        assert len({base, *prints}) == len(prints) + 1


def test_an_edited_file_is_hashed_again(make, tmp_path) -> None:
    place = pack(tmp_path / "data", images())
    base = make("image_folder", path=str(place)).fingerprint()
    (place / "ant" / "00.png").write_bytes(png(pixels(99)))
    os.utime(place / "ant" / "00.png", ns=(1, 1))
    assert make("image_folder", path=str(place)).fingerprint() != base


@pytest.mark.parametrize("shape", [(40, 60), (60, 40), (41, 57), (33, 33), (20, 21)])
@pytest.mark.parametrize("color", ["rgb", "grey"])
def test_sizes_agree_with_torchvision(make, tmp_path, shape, color) -> None:
    files = {name: png(pixels(seed, (*shape, 3))) for seed, name in enumerate(images(count=3))}
    place = str(pack(tmp_path / "data.zip", files))
    references = {
        (None, "crop"): [transforms.Resize(32), transforms.CenterCrop(32)],
        (36, "crop"): [transforms.Resize(36), transforms.CenterCrop(32)],
        (None, "squash"): [transforms.Resize((32, 32))],
    }
    for (resize, fit), steps in references.items():
        options = {"size": 32, "fit": fit, "color": color} | ({"resize": resize} if resize else {})
        split = make("image_folder", path=place, **options).split("train")
        assert split.image_shape == (3 if color == "rgb" else 1, 32, 32)
        for index, name in enumerate(split.sample_ids(range(len(split)))):
            image = Image.open(io.BytesIO(files[name])).convert("RGB" if color == "rgb" else "L")
            expected = transforms.Compose([*steps, transforms.PILToTensor()])(image)
            assert torch.equal(split.images([index])[0] * 255, expected.float())


def test_other_kinds_of_images_become_rgb(make, tmp_path) -> None:
    grey = pixels(3, (6, 5))
    files = {
        "a/grey.png": png(grey), "a/alpha.png": png(np.dstack([pixels(4), grey])), "a/one.bmp": png(pixels(5), "BMP"),
        "b/palette.gif": png(grey, "GIF"), "b/photo.JPG": png(pixels(6), "JPEG"), "b/web.webp": png(pixels(7), "WEBP"),
        "b/scan.tiff": png(pixels(8), "TIFF"), "a/plain.ppm": png(pixels(9), "PPM"),
    }  # fmt: skip
    data = make("image_folder", path=str(pack(tmp_path / "data", files)))
    found = {k: v for name in ("train", "val", "test") for k, v in all_of(data.split(name)).items()}
    assert found.keys() == files.keys()
    for name, data in files.items():
        assert np.array_equal(found[name], np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_pictures_are_upright(make, tmp_path, kind, orientation) -> None:
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # Pillow's transpositions that EXIF's turns take back
    upright = np.kron(np.arange(6, dtype=np.uint8).reshape(2, 3) * 40, np.ones((16, 16), np.uint8))
    image = Image.fromarray(upright)
    stored = image if orientation == 1 else image.transpose(Image.Transpose(undo[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    stored.convert("RGB").save(buffer, kind, exif=exif, **({"lossless": True} if kind == "WEBP" else {}))
    files = {f"{c}/{n}.{kind}": buffer.getvalue() for c in "ab" for n in range(3)}
    data = make("image_folder", path=str(pack(tmp_path / "data.zip", files)))
    assert data.split("train").image_shape == (3, 32, 48)
    found = data.split("train").images([0])[0].numpy() * 255
    assert np.abs(found - upright).max() < 8


def test_damaged_exif_leaves_the_picture_as_it_is() -> None:
    plain = png(pixels(0), "JPEG")
    data = plain[:2] + b"\xff\xe1\x00\x10Exif\0\0" + b"\xff" * 8 + plain[2:]
    assert np.array_equal(decode(data, ImageFolderOptions(path="x"), "here").transpose(1, 2, 0), decoded(plain))


def test_real_cifar10(make, real_data) -> None:
    folder = real_data / "cifar10"
    if not (folder / "train.zip").is_file():
        pytest.skip("no cifar10/train.zip in shared/data")
    data = make("image_folder", path=str(folder))
    data.check()
    train, val, test = (data.split(name) for name in ("train", "val", "test"))
    assert [np.bincount(split.labels).tolist() for split in (train, val, test)] == [
        [4500] * 10,
        [500] * 10,
        [1000] * 10,
    ]
    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    assert list(test.class_names) == names
    assert test.image_shape == (3, 32, 32)
    ids = train.sample_ids(range(len(train))), val.sample_ids(range(len(val)))
    assert len(set(ids[0]) | set(ids[1])) == 50000
    x = test.images(range(0, 10000, 20))
    assert np.allclose(x.mean(dim=(0, 2, 3)), [0.4914, 0.4822, 0.4465], atol=0.03)  # the mean of CIFAR-10
    with zipfile.ZipFile(folder / "test.zip") as archive:
        expected = decoded(archive.read("dog/0007.jpg"))
    index = test.sample_ids(range(len(test))).index("dog/0007.jpg")
    assert np.array_equal(test.images([index])[0].permute(1, 2, 0).numpy() * 255, expected)
