"""What is read of a folder of images when and by whom, and what is refused: damage, bombs, links, archives cut off."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import shutil
import struct
import tarfile
import warnings
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from bench_datasets.files import decode
from bench_datasets.options import ImageFolderOptions
from bench_datasets.tests.packed import FORMS, Files, all_of, below, decoded, images, pack, pixels, png
from benchmark.errors import InputError, MissingError


def in_splits(train: Files) -> Files:
    """Return a data set with given splits."""
    return {**below("train", train), **below("val", images(first=100)), **below("test", images(first=200))}


def test_images_are_read_on_demand_and_kept(make, tmp_path) -> None:
    place = pack(tmp_path / "data", in_splits(images()))
    split = make("image_folder", path=str(place)).split("train")
    before = split.images([3, 1, 3])
    uncached = make("image_folder", path=str(place)).split("train")
    uncached.most_cached_bytes = 0
    assert torch.equal(uncached.images([3, 1, 3]), before)
    shutil.rmtree(place)
    with pytest.raises(InputError, match=r"No such file"):
        uncached.images([3])
    assert torch.equal(split.images([3, 1, 3]), before)
    with pytest.raises(InputError, match=r"No such file"):
        split.images([0])


@pytest.mark.parametrize("form", ["", ".zip", ".tar", ".tar.gz"])
@pytest.mark.parametrize("cached", [True, False])
def test_threads_share_a_split(make, tmp_path, form, cached, monkeypatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)  # each decodes by several of its own
    files = {name: png(pixels(seed, (60, 60, 3))) for seed, name in enumerate(images(count=20))}
    split = make("image_folder", path=str(pack(tmp_path / f"data{form}", in_splits(files)))).split("train")
    if not cached:
        split.most_cached_bytes = 0
    orders = [np.random.RandomState(seed).permutation(len(split)) for seed in range(8)]
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(split.images, orders))
    expected = np.stack([decoded(files[name.removeprefix("train/")]) for name in split.sample_ids(range(len(split)))])
    for order, x in zip(orders, results):
        assert np.array_equal(x.permute(0, 2, 3, 1).numpy() * 255, expected[order])


def read_in_child(split, seed: int, queue) -> None:
    order = np.random.RandomState(seed).permutation(len(split))
    queue.put((seed, [zlib.crc32(split.images([index]).numpy().tobytes()) for index in order]))


@pytest.mark.parametrize("form", ["", ".zip", ".tar", ".tar.gz"])
def test_processes_share_a_split(make, tmp_path, form) -> None:
    split = make("image_folder", path=str(pack(tmp_path / f"data{form}", images(count=40)))).split("train")
    split.images([0])  # the handle is open before the processes part
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    children = [context.Process(target=read_in_child, args=(split, seed, queue)) for seed in range(4)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of fork beside threads
        for child in children:
            child.start()
    answers = dict(queue.get(timeout=30) for _ in children)
    for child in children:
        child.join()
    expected = [zlib.crc32(image.numpy().tobytes()) for image in split.images(range(len(split)))]
    assert len(answers) == 4
    for seed, sums in answers.items():
        assert sums == [expected[index] for index in np.random.RandomState(seed).permutation(len(split))]


@pytest.mark.parametrize("form", ["", ".zip", ".tar", ".tar.gz"])
def test_a_split_travels_by_pickle(make, tmp_path, form) -> None:
    split = make("image_folder", path=str(pack(tmp_path / f"data{form}", images()))).split("train")
    before = split.images(range(len(split)))
    sent = pickle.dumps(split)
    assert torch.equal(pickle.loads(sent).images(range(len(split))), before)


@pytest.mark.parametrize("form", ["", ".zip", ".tar"])
def test_a_class_missing_from_a_split(make, tmp_path, form) -> None:
    files = {**below("train", images()), **below("val", images()), **below("test", images(("ant",)))}
    place = pack(tmp_path / f"data{form}", files)
    message = r"data.*\(test\): the split test has no images of the class 'bee', which the split train has"
    with pytest.raises(InputError, match=message):
        make("image_folder", path=str(place)).split("train")
    with pytest.raises(InputError, match=r"small\S*: the split train has no images of the class 'bee'.*split test has"):
        make(
            "image_folder",
            train=str(pack(tmp_path / f"small{form}", images(("ant", "cat")))),
            test=str(pack(tmp_path / f"large{form}", images(("ant", "bee", "cat")))),
        ).split("test")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            {"readme.txt": b""},
            r"no images of a known format \(JPEG.*no images: 1 \(1 \.txt\).*image_table",
        ),
        ({"a.png": png(pixels(0)), "b.png": png(pixels(1))}, "its 2 images lie in no folder"),
        (images(("ant",)), "found one folder of images, 'ant'; at least two class folders"),
        (
            {**below("val", images()), **below("test", images())},
            "cannot tell splits from classes.*the same sub-folders",
        ),
        (
            {**below("fold 1", images()), **below("fold 2", images(("ant", "bee", "cat")))},
            r"of its folders fold 1, fold 2, fold 1 and fold 2 hold the same sub-folders \(ant, bee\)",
        ),
        (
            {**below("train", images()), **below("test", {"1.png": png(pixels(1))})},
            "images of test lie in no class folder",
        ),
        (
            {"train/1.png": png(pixels(0)), "test/2.png": png(pixels(1))},
            "of test, train lie in no class folder.*image_tab",
        ),
        (
            {**below("train", images()), **below("test", images()), **below("extra", images())},
            "cannot tell splits from classes: found the folders extra, test, train",
        ),
        (
            {
                **below("train", images()),
                **below("val", images()),
                **below("valid", images()),
                **below("test", images()),
            },
            "cannot tell splits from classes",
        ),
        (
            {**below("ant/train", images()), **below("ant/test", images()), **below("bee/train", images())},
            r"its folders ant, bee hold splits \(test, train\).*A folder of each split has to hold a folder of each",
        ),
        (
            {**below("a/Training", images()), **below("b/Testing", images())},
            r"its folders a, b hold splits \(Testing, Training\), so that test images would count as training images",
        ),
        (images(count=2), "the class 'ant' has 2 images, too few to draw 1 for val and 1 for test"),
    ],
)
def test_folders_that_make_no_data_set(make, tmp_path, files, message) -> None:
    for form in ("", ".zip"):
        place = pack(tmp_path / f"data{form}", files)
        with pytest.raises(InputError, match=message) as error:
            make("image_folder", path=str(place)).split("train")
        assert str(place) in str(error.value)


def test_a_share_of_a_split_that_is_there(make, tmp_path) -> None:
    files = {**below("train", images()), **below("val", images()), **below("test", images())}
    place = str(pack(tmp_path / "data", files))
    with pytest.raises(InputError, match=r"has a val split of its own, so val_share: 0\.3 has nothing to draw"):
        make("image_folder", path=place, val_share=0.3).split("train")
    link = tmp_path / "link"
    link.symlink_to(place)
    with pytest.raises(InputError, match="must be different places"):
        make("image_folder", train=place, test=str(link)).split("train")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "one of path and train is needed"),
        ({"path": "a", "train": "b"}, "either path or train/val/test, found path and train"),
        ({"test": "b"}, "test needs train beside it"),
        ({"train": "a"}, "train needs test beside it, or test_share"),
        ({"train": "a", "test": "a"}, "must be different places"),
        ({"train": "a", "val": "v", "test": "t", "val_share": 0.1}, "val is given, so val_share has nothing to draw"),
        ({"train": "a", "test": "t", "test_share": 0.1}, "test is given, so test_share"),
        ({"path": "a", "val_share": 0.5, "test_share": 0.6}, "their sum must be below 1"),
        ({"path": "a", "test_share": 0.95}, "val_share 0.1 and test_share 0.95 leave no images"),
        ({"path": "a", "resize": 256}, "it needs size and fit: crop"),
        ({"path": "a", "resize": 200, "size": 224}, "resize 200 is smaller than the crop of size 224"),
        ({"path": "a", "resize": 200, "size": 100, "fit": "squash"}, "it needs size and fit: crop"),
        ({"path": "a", "fit": "squash"}, "fit: squash needs size"),
        ({"path": "a", "color": "gray"}, "'rgb' or 'grey'"),
        ({"path": "a", "limit": {"validation": 3}}, "unknown split 'validation'"),
    ],
)
def test_bad_options(make, options, message) -> None:
    with pytest.raises(ValidationError, match=message):
        make("image_folder", **options)


def test_missing_places(make, tmp_path) -> None:
    place = str(pack(tmp_path / "data", images()))
    with pytest.raises(MissingError, match=r"nothing at .*nowhere\. Set `path:`.*digits"):
        make("image_folder", path=str(tmp_path / "nowhere")).check()
    with pytest.raises(MissingError, match=r"nowhere\.zip\. Set `test:`"):
        make("image_folder", train=place, test=str(tmp_path / "nowhere.zip")).check()
    (tmp_path / "data.rar").write_bytes(b"x")
    with pytest.raises(InputError, match=r"neither a directory nor an archive\. Allowed endings: \.zip, \.tar"):
        make("image_folder", path=str(tmp_path / "data.rar")).split("train")


def test_images_of_several_shapes_need_a_size(make, tmp_path) -> None:
    place = str(pack(tmp_path / "data.zip", {**images(), "bee/09.png": png(pixels(0, (8, 9, 3)))}))
    data = make("image_folder", path=place)
    with pytest.raises(
        InputError, match=r"data\.zip: bee/09\.png: is 8x9 pixels, the first training image 6x5\. Set `size"
    ):
        [all_of(data.split(name)) for name in ("train", "val", "test")]
    with pytest.raises(InputError, match=r"bee/09\.png: is 8x9 pixels"):  # while planning, before any work
        data.fingerprint()
    assert make("image_folder", path=place, size=6).split("train").image_shape == (3, 6, 6)


def test_an_orientation_behind_the_pixels_of_a_png_makes_no_other_shape(make, tmp_path) -> None:
    turned = Image.Exif()
    turned[0x0112] = 6
    exif = b"eXIf" + turned.tobytes().removeprefix(b"Exif\0\0")
    chunk = struct.pack(">I", len(exif) - 4) + exif + struct.pack(">I", zlib.crc32(exif))
    late = {}
    for name, content in images().items():
        end = content.index(b"IEND") - 4
        late[name] = content[:end] + chunk + content[end:]
    data = make("image_folder", path=str(pack(tmp_path / "data", late)))
    assert data.split("train").image_shape == (3, 5, 6)
    data.fingerprint()
    assert len(all_of(data.split("train"))) == len(data.split("train"))


def deep_png() -> bytes:
    return png(np.zeros((6, 5), dtype=np.uint16))


@pytest.mark.parametrize("form", ["", ".zip", ".tar", ".tar.gz"])
@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (png(pixels(0, (60, 60, 3)))[:3000], "damaged image file"),
        (png(pixels(0, (60, 60, 3)), "JPEG")[:1500], "damaged image file: .*truncated"),
        (b"not an image at all", "damaged image file: not an image of a known format"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 5 6\n", "not an image of a known format"),
        (deep_png(), "more than 8 bits per channel"),
        (b"", "it is empty"),
    ],
)
def test_a_damaged_image_is_named_with_the_reason(make, tmp_path, form, data, reason) -> None:
    place = pack(tmp_path / f"data{form}", {**images(), "bee/04.png": data})
    with pytest.raises(InputError, match=rf"data\S*: bee/04\.png: .*{reason}"):
        [all_of(make("image_folder", path=str(place)).split(name)) for name in ("train", "val", "test")]


def float_tiff() -> bytes:
    return png(np.zeros((6, 5), dtype=np.float32), "TIFF")


def endless_png() -> bytes:
    """30,000 x 30,000 pixels by the header, and next to none behind it."""
    chunks = (b"IHDR" + struct.pack(">IIBBBBB", 30_000, 30_000, 8, 0, 0, 0, 0), b"IDAT" + zlib.compress(b"\0"))
    whole = (struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(whole)


@pytest.mark.parametrize(
    ("data", "reason"), [(deep_png, "8 bits"), (float_tiff, "8 bits"), (endless_png, "900000000 pixels")]
)
def test_what_the_header_of_every_image_tells_is_known_while_planning(make, tmp_path, data, reason) -> None:
    place = pack(tmp_path / "data.zip", dict.fromkeys(images(), data()))
    dataset = make("image_folder", path=str(place), size=6)
    dataset.split("train")
    with pytest.raises(InputError, match=rf"unusable image file: .*\n.*{reason}"):
        dataset.fingerprint()


def test_all_damaged_images_of_a_split_are_told_at_once(make, tmp_path) -> None:
    damaged = {f"bee/{n:02}.png": png(pixels(n, (60, 60, 3)))[:3000] for n in range(12)}
    files = {**below("train", images()), **below("test", {**images(count=20), **damaged})}
    split = make("image_folder", path=str(pack(tmp_path / "data.zip", files)), size=6).split("test")
    with pytest.raises(InputError, match=r"12 of 40 images cannot be used:") as caught:
        split.images(range(25, 40))
    assert str(caught.value).count("damaged image file") == 10
    assert str(caught.value).endswith("... and 2 more")


def test_the_other_images_of_a_damaged_folder_can_be_read(make, tmp_path) -> None:
    place = pack(tmp_path / "data.zip", {**images(), "bee/04.png": b"x"})
    split = make("image_folder", path=str(place), test_share=0.05, val_share=0.05).split("train")
    bad = split.sample_ids(range(len(split))).index("bee/04.png")
    with pytest.raises(InputError, match="bee/04"):
        split.images(range(len(split)))
    assert len(split.images([i for i in range(len(split)) if i != bad])) == len(split) - 1


def test_a_changed_byte_in_a_zip_is_noticed(make, tmp_path) -> None:
    files = {name: png(pixels(seed), "BMP") for seed, name in enumerate(images())}
    place = pack(tmp_path / "data.zip", files)
    data = bytearray(place.read_bytes())
    data[data.index(files["bee/04.png"]) + 100] ^= 1  # BMP itself has no checksum
    place.write_bytes(data)
    with pytest.raises(InputError, match=r"bee/04\.png: damaged image file: Bad CRC-32"):
        [all_of(make("image_folder", path=str(place)).split(name)) for name in ("train", "val", "test")]


def huge_png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    )


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("size", [(50000, 50000), (10000, 10000), (2**31 - 1, 2**31 - 1)])
def test_decompression_bombs_are_refused(make, tmp_path, size) -> None:
    place = pack(tmp_path / "data.zip", {**images(), "ant/00.png": huge_png(*size)})
    with pytest.raises(InputError, match=r"data\.zip: ant/00\.png: .*(limit|bomb)"):
        make("image_folder", path=str(place)).split("train")
    # A thin image may be small, and huge once its shorter side is resized.
    thin = pack(tmp_path / "thin.zip", {**images(), "ant/00.png": png(np.zeros((1, 60000), dtype=np.uint8))})
    split = make("image_folder", path=str(thin), size=224).split("train")
    with pytest.raises(InputError, match=r"ant/00\.png, resized: 13440000x224 pixels are more than Pillow's limit"):
        split.images(range(len(split)))


@pytest.mark.parametrize("name", ["../../evil/00.png", "/evil/00.png", "ant/../../evil.png", "..\\evil\\00.png"])
@pytest.mark.parametrize("form", [".zip", ".tar", ".tar.gz"])
def test_names_that_leave_the_archive_are_refused(make, tmp_path, name, form) -> None:
    place = pack(tmp_path / f"data{form}", {**images(), name: png(pixels(0))})
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError, match="points outside of the archive"):
        make("image_folder", path=str(place)).split("train")
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_links_in_archives_are_refused(make, tmp_path, kind) -> None:
    secret = tmp_path / "secret.png"
    secret.write_bytes(png(pixels(0)))
    place = pack(tmp_path / "data.tar", images())
    with tarfile.open(place, "a") as archive:
        info = tarfile.TarInfo("ant/link.png")
        info.type, info.linkname = kind, str(secret)
        archive.addfile(info)
    with pytest.raises(
        InputError, match=r"ant/link\.png: is a link to .*secret\.png'; links in archives are not followed"
    ):
        make("image_folder", path=str(place)).split("train")
    zipped = pack(tmp_path / "data.zip", images())
    with zipfile.ZipFile(zipped, "a") as archive:
        entry = zipfile.ZipInfo("ant/link.png")
        entry.external_attr = 0o120777 << 16
        archive.writestr(entry, str(secret))
    with pytest.raises(InputError, match=r"ant/link\.png: is a symbolic link"):
        make("image_folder", path=str(zipped)).split("train")


def test_links_in_a_directory(make, tmp_path) -> None:
    place = pack(tmp_path / "data", images())
    (place / "ant" / "link.png").symlink_to(place / "bee" / "00.png")
    (place / "wasp").symlink_to(pack(tmp_path / "elsewhere", images(("wasp",))) / "wasp")
    data = make("image_folder", path=str(place))
    assert data.split("train").class_names == ("ant", "bee", "wasp")
    assert sum(np.bincount(data.split(name).labels)[0] for name in ("train", "val", "test")) == 11
    (place / "bee" / "gone.png").symlink_to(place / "nothing.png")
    with pytest.raises(InputError, match=r"bee/gone\.png: .*a symbolic link to nothing"):
        make("image_folder", path=str(place)).split("train")
    (place / "bee" / "gone.png").unlink()
    (place / "bee" / "round").symlink_to(place)
    with pytest.raises(InputError, match="a symbolic link that leads back to a folder above it"):
        make("image_folder", path=str(place)).split("train")


def test_an_encrypted_archive_is_refused(make, tmp_path) -> None:
    place = pack(tmp_path / "data.zip", images())
    data = bytearray(place.read_bytes())
    central = data.index(b"PK\x01\x02")
    data[central + 8] |= 1
    place.write_bytes(data)
    with pytest.raises(InputError, match=r"bee/00\.png: is encrypted"):
        make("image_folder", path=str(place)).split("train")


@pytest.mark.parametrize("form", FORMS[1:])
def test_an_archive_that_is_cut_off_is_refused(make, tmp_path, form) -> None:
    place = pack(tmp_path / f"data{form}", images(count=60))
    data = place.read_bytes()
    for size in (len(data) * 2 // 3, 700, 0):
        place.write_bytes(data[:size])
        with pytest.raises(InputError, match=r"data\S*: "):
            make("image_folder", path=str(place)).split("train")


def test_a_damaged_header_inside_a_tar_hides_nothing(make, tmp_path) -> None:
    place = pack(tmp_path / "data.tar", images())
    data = bytearray(place.read_bytes())
    data[data.index(b"ant/05.png")] ^= 1
    place.write_bytes(data)
    with pytest.raises(InputError, match=r"damaged archive: no valid header at byte \d+"):
        make("image_folder", path=str(place)).split("train")


def test_too_large_a_compressed_tar(make, tmp_path, monkeypatch) -> None:
    import bench_datasets.sources

    place = pack(tmp_path / "data.tar.gz", images())
    monkeypatch.setattr(bench_datasets.sources, "_MOST_HELD_BYTES", 500)
    with pytest.raises(InputError, match=r"has to be held in memory\. Unpack it, or pack it as \.zip"):
        make("image_folder", path=str(place)).split("train")


def test_odd_names_are_shown_safely(make, tmp_path) -> None:
    files = images(("an\x1b[31mt", "b\ue000e", "日本"))
    split = make("image_folder", path=str(pack(tmp_path / "data.zip", files))).split("train")
    assert split.class_names == ("an\\x1b[31mt", "b\\ue000e", "日本")
    bad = os.fsdecode(b"\xff\xfe")
    split = make("image_folder", path=str(pack(tmp_path / "data", images(("ant", bad))))).split("train")
    assert all(name.encode("utf-8") for name in [*split.class_names, *split.sample_ids(range(len(split)))])
    assert len(split.images(range(len(split)))) == len(split)
    assert make("image_folder", path=str(tmp_path / "data")).fingerprint()


EDITS = st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=5)


def edited(data: bytes, edits: list[tuple[int, int]], cut: int) -> bytes:
    changed = bytearray(data)
    for place, value in edits:
        changed[place % len(changed)] = value
    return bytes(changed[: len(changed) - (cut % len(changed) if cut % 4 == 0 else 0)])


@pytest.mark.filterwarnings("ignore")
@given(EDITS, st.integers(0, 10**6), st.sampled_from(["PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM"]))
def test_damaged_images_give_pixels_or_one_message(edits, cut, kind) -> None:
    data = edited(png(pixels(0, (20, 24, 3)), kind), edits, cut)
    try:
        assert decode(data, ImageFolderOptions(path="x", size=16), "here").shape == (3, 16, 16)
    except InputError as error:
        assert str(error).startswith("here")  # noqa: PT017


@pytest.mark.filterwarnings("ignore")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(EDITS, st.integers(0, 10**6), st.sampled_from(FORMS[1:]))
def test_damaged_archives_give_images_or_one_message(make, tmp_path, edits, cut, form) -> None:
    original = tmp_path / f"original{form}"
    if not original.exists():
        pack(original, images(count=4))
    place = tmp_path / f"data{form}"
    place.write_bytes(edited(original.read_bytes(), edits, cut))
    data = make("image_folder", path=str(place))
    try:
        assert data.fingerprint()
        for name in ("train", "val", "test"):
            assert data.split(name).images(range(len(data.split(name)))).shape[1:] == (3, 6, 5)
    except InputError as error:
        assert str(place) in str(error)  # noqa: PT017
