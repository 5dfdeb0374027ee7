from __future__ import annotations

import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from benchmark.errors import InputError, MissingError

LABELS = np.repeat(np.arange(3), 10)


def pixels(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.RandomState(seed).randint(0, 256, shape).astype(np.uint8)


def content(shape: tuple[int, ...] = (30, 6, 5)) -> dict[str, np.ndarray]:
    found = {}
    for seed, split in enumerate(("train", "val", "test")):
        found[f"x_{split}"], found[f"y_{split}"] = pixels(shape, seed), LABELS
    return found


@pytest.fixture
def write(tmp_path: Path):
    def save(arrays: dict[str, np.ndarray]) -> str:
        path = tmp_path / "data.npz"
        np.savez(path, **arrays)
        return str(path)

    return save


@pytest.mark.parametrize(
    ("shape", "axes", "layout"),
    [
        ((30, 6, 5), None, None),
        ((30, 6, 5, 3), (0, 3, 1, 2), None),
        ((30, 1, 6, 5), (0, 1, 2, 3), None),
        ((30, 3, 6, 3), (0, 3, 1, 2), "NHWC"),
        ((30, 3, 6, 3), (0, 1, 2, 3), "NCHW"),
    ],
)
def test_layouts_give_channels_first_in_0_1(make, write, shape, axes, layout) -> None:
    arrays = content(shape)
    options = {"layout": layout} if layout else {}
    data = make("arrays", path=write(arrays), **options)
    data.check()
    for split in ("train", "val", "test"):
        expected = arrays[f"x_{split}"]
        expected = expected[:, None] if axes is None else expected.transpose(axes)
        loaded = data.split(split)
        assert loaded.image_shape == expected.shape[1:]
        assert np.allclose(loaded.images(range(30)).numpy(), expected / 255, atol=1e-7)
        assert loaded.labels.tolist() == LABELS.tolist()


def test_floats_are_kept_and_labels_of_one_column_are_taken(make, write) -> None:
    arrays = content()
    arrays["x_train"] = (arrays["x_train"] / 255).astype(np.float64)
    arrays["y_train"] = LABELS[:, None].astype(np.uint8)
    train = make("arrays", path=write(arrays), class_names=["a", "b", "c"]).split("train")
    assert np.array_equal(train.images(range(30))[:, 0].numpy(), arrays["x_train"].astype(np.float32))
    assert train.class_names == ("a", "b", "c")


FORMS_OF_LABELS = {
    "plain": lambda y: y,
    "bytes": lambda y: y.astype(np.uint8),
    "column": lambda y: y[:, None],
    "floats": lambda y: y.astype(np.float32),
    "one-hot": lambda y: np.eye(3, dtype=int)[y],
    "one-hot floats": lambda y: np.eye(3)[y],
    "one-hot bools": lambda y: np.eye(3, dtype=bool)[y],
    "column of floats": lambda y: y[:, None].astype(np.float64),
}
FORMS_OF_IMAGES = {  # of (N, 3, 6, 5) uint8
    "NCHW": lambda x: x,
    "NHWC": lambda x: x.transpose(0, 2, 3, 1),
    "floats": lambda x: x / 255,
    "float32 NHWC": lambda x: (x / 255).astype(np.float32).transpose(0, 2, 3, 1),
}


@given(st.data())
def test_labels_and_images_are_read_in_whatever_form_leaves_no_doubt(make, data) -> None:
    plain = content((30, 3, 6, 5))
    arrays = {}
    for key, array in plain.items():
        forms = FORMS_OF_IMAGES if key.startswith("x") else FORMS_OF_LABELS
        arrays[key] = forms[data.draw(st.sampled_from(sorted(forms)), label=key)](array)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data.npz"
        np.savez(path, **arrays)
        read = make("arrays", path=str(path))
        for split in ("train", "val", "test"):
            loaded = read.split(split)
            assert loaded.labels.tolist() == LABELS.tolist()
            assert np.allclose(loaded.images(range(30)).numpy(), plain[f"x_{split}"] / 255, atol=1e-6)


def test_the_other_splits_tell_how_the_axes_of_one_lie(make, write) -> None:
    arrays = content((30, 3, 6, 3))  # H 6, W 3 where it is read as NCHW
    arrays["x_train"] = pixels((30, 6, 3, 3)).transpose(0, 3, 1, 2)
    arrays["x_test"] = pixels((30, 6, 3, 3), 2)
    read = make("arrays", path=write(arrays))
    assert read.split("val").image_shape == (3, 6, 3)
    assert np.allclose(read.split("test").images([4])[0], arrays["x_test"][4].transpose(2, 0, 1) / 255)


@pytest.mark.parametrize(
    ("form", "white", "scale"),
    [
        (lambda x: x.astype(np.int64), 255, 255),
        (lambda x: x.astype(np.uint16) * 257, 65535, 255),
        (lambda x: x.astype(np.float64), 255, 255),
        (lambda x: x % 2, 1, 1),
        (lambda x: (x % 2).astype(bool), None, 1),
        (lambda x: x % 2, 255, 255),
        (lambda x: x * 0, None, 255),
    ],
)
def test_white_settles_what_the_pixels_leave_open(make, write, form, white, scale) -> None:
    arrays = {key: form(array) if key.startswith("x") else array for key, array in content().items()}
    expected = arrays["x_test"] / (65535 if white == 65535 else scale)
    options = {} if white is None else {"white": white}
    found = make("arrays", path=write(arrays), **options).split("test").images(range(30))[:, 0]
    assert np.allclose(found.numpy(), expected, atol=1e-6)


def test_white_does_not_darken_what_lies_in_0_to_1_already(make, write) -> None:
    arrays = content()
    arrays["x_test"] = arrays["x_test"] / 255
    with pytest.raises(InputError, match=r"x_test: .* with white: 255: they seem to be in \[0, 1\] already"):
        make("arrays", path=write(arrays), white=255).split("train")


def test_test_images_that_train_has_too_are_counted(make, write) -> None:
    arrays = content()
    assert make("arrays", path=write(arrays)).remarks() == ()
    arrays["x_test"][:4] = arrays["x_train"][7]
    assert make("arrays", path=write(arrays)).remarks() == ("The same image in test and train: 4 of 30 test images.",)


def test_the_other_form_of_keys(make, write) -> None:
    arrays = {f"{s}_{n}": a for k, a in content().items() for n, s in [({"x": "images", "y": "labels"}[k[0]], k[2:])]}
    assert len(make("arrays", path=write(arrays)).split("val")) == 30


def test_missing_splits_are_drawn_from_train(make, write) -> None:
    arrays = content()
    del arrays["x_val"], arrays["y_val"]
    data = make("arrays", path=write(arrays), val_share=0.3)
    train, val = data.split("train"), data.split("val")
    ids = set(train.sample_ids(range(len(train)))), set(val.sample_ids(range(len(val))))
    assert not ids[0] & ids[1]
    assert len(ids[0] | ids[1]) == 30
    assert np.bincount(val.labels).tolist() == [3, 3, 3]
    first = int(val.sample_ids([0])[0])
    assert np.array_equal(val.images([0])[0, 0].numpy() * 255, arrays["x_train"][first])
    assert len(data.split("test")) == 30
    del arrays["x_test"], arrays["y_test"]
    path = write(arrays)
    with pytest.raises(InputError, match=r"no test.*test_share"):
        make("arrays", path=path).split("test")
    assert np.bincount(make("arrays", path=path, test_share=0.2).split("test").labels).tolist() == [2, 2, 2]


def test_fingerprint_follows_content_not_place(make, tmp_path: Path) -> None:
    arrays = content()
    paths = [tmp_path / "a.npz", tmp_path / "b.npz"]
    np.savez(paths[0], **arrays)
    np.savez_compressed(paths[1], **arrays)
    base = make("arrays", path=str(paths[0])).fingerprint()
    assert make("arrays", path=str(paths[1])).fingerprint() == base
    for key in ("x_test", "y_val"):
        changed = {**arrays, key: arrays[key].copy()}
        changed[key].flat[5] = (int(changed[key].flat[5]) + 1) % 3
        np.savez(paths[1], **changed)
        assert make("arrays", path=str(paths[1])).fingerprint() != base
    assert make("arrays", path=str(paths[0]), class_names=["x", "y", "z"]).fingerprint() != base


def changed(**arrays: np.ndarray) -> dict[str, np.ndarray]:
    return {**content(), **arrays}


def nan_at(index: int) -> np.ndarray:
    images = np.zeros((30, 6, 5), dtype=np.float32)
    images[index, 2, 2] = np.nan
    return images


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": pixels((3, 4, 4))}, r"no x_train and y_train\. Found: x\. Allowed: x_train, y_train"),
        ({"x_train": pixels((30, 6, 5))}, "has x_train but no y_train"),
        (changed(x_valid=pixels((30, 6, 5))), "unknown key 'x_valid'. Did you mean 'x_val'"),
        (changed(train_images=pixels((30, 6, 5)), train_labels=LABELS), "both x_train and train_images"),
        (changed(y_train=LABELS[:-1]), "x_train has 30 images and y_train has 29 labels"),
        (changed(x_test=pixels((30, 6, 5)).astype(np.float32)), r"from 0 to 255; allowed is \[0, 1\]. Divide by 255"),
        (changed(x_test=pixels((30, 6, 5)) / 100 - 1), r"allowed is \[0, 1\]. Undo any standardisation"),
        (changed(x_train=nan_at(7)), "1 images hold NaN or infinity, the first is number 7"),
        (changed(x_train=pixels((30, 6, 5)).astype(np.int64)), "int64 pixels from 0 to 255; say .* `white: 255` for 8"),
        (changed(x_train=pixels((30, 6, 5)).astype(np.uint16) * 257), "uint16 .* 65535; .* `white: 65535` for 16"),
        (
            changed(x_train=pixels((30, 6, 5)) % 2),
            "uint8 pixels from 0 to 1: is 1 white, or nearly black\\? Set `white: 1`",
        ),
        (changed(x_val=pixels((30, 6, 5)) / 255**2), "x_val: .* divided by 255 twice"),
        (changed(x_train=pixels((30, 6, 5)) * 1j), "found complex128 pixels"),
        (content((30, 3, 6, 3)), "can be NHWC or NCHW. Set `layout:`"),
        (content((30, 3, 3, 3)), r"x_train: the shape \(30, 3, 3, 3\) can be NHWC or NCHW. Set `layout:`"),
        (changed(x_val=pixels((30, 5, 6))), r"differ in shape: x_train \(30, 6, 5\), x_val \(30, 5, 6\)"),
        (changed(x_train=pixels((30, 36))), "Flattened images: reshape them"),
        (
            changed(x_train=pixels((6, 5, 30))),
            "x_train has 6 images and y_train has 30 labels.*first axis of both counts",
        ),
        (changed(x_train=pixels((30, 2, 6, 5))), r"shape \(30, 2, 6, 5\); allowed"),
        (changed(x_train=pixels((30,))), r"shape \(30,\); allowed"),
        (changed(x_train=pixels((0, 6, 5)), y_train=LABELS[:0]), "has no images"),
        (changed(y_test=np.eye(3)[LABELS] * 0.9 + 0.05), "Soft labels: take their argmax"),
        (changed(y_test=np.ones((30, 3), int)), "Several labels per image are not read"),
        (changed(y_test=np.eye(3)[LABELS] * 2), "or one-hot rows: a single 1 each"),
        (changed(y_test=LABELS + 0.5), "no whole numbers.*Round them"),
        (changed(y_test=np.where(LABELS, LABELS, np.nan)), "no whole numbers"),
        (changed(y_test=np.array(["ant", "bee", "cat"])[LABELS]), "store their numbers, and give class_names"),
        (changed(y_test=LABELS - 1), "labels from -1 to 1"),
        (changed(y_train=LABELS * 2), "has no image of 2 of 5 classes"),
        (changed(y_test=LABELS + 1), "y_train has no image of 1 of 4 classes"),
        (changed(y_train=np.array(list(LABELS), dtype=object)), "pickle, which is never executed"),
    ],
)
def test_unusable_arrays_are_refused_with_the_key(make, write, arrays, message) -> None:
    data = make("arrays", path=write(arrays))
    with pytest.raises(InputError, match=message) as error:
        data.split("train")
    assert "data.npz" in str(error.value)


def test_unusable_files_are_refused(make, write, tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"nowhere.npz.*digits"):
        make("arrays", path=str(tmp_path / "nowhere.npz")).check()
    plain = tmp_path / "plain.npz"
    plain.write_bytes(b"\x80\x04K\x01.")  # a pickle
    with pytest.raises(InputError, match=r"not a \.npz file"):
        make("arrays", path=str(plain)).split("train")
    foreign = tmp_path / "foreign.npz"
    with zipfile.ZipFile(foreign, "w") as file:
        file.writestr("x_train.npy", b"not an array")
        file.writestr("y_train.npy", b"not an array")
    with pytest.raises(InputError, match="x_train: not a NumPy array"):
        make("arrays", path=str(foreign)).split("train")
    with pytest.raises(InputError, match="y_train has the label 2, but class_names names 2 classes"):
        make("arrays", path=write(content()), class_names=["a", "b"]).split("train")
    with pytest.raises(InputError, match="val split of its own, so val_share"):
        make("arrays", path=write(content()), val_share=0.1).split("train")
    with pytest.raises(InputError, match="layout NHWC"):
        make("arrays", path=write(content()), layout="NHWC").split("train")
    with pytest.raises(ValidationError, match="all different"):
        make("arrays", path="x", class_names=["a", "a"])


def refusal(act):
    try:
        return "", act()
    except InputError as error:
        return str(error), None


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=4), st.integers(0, 10**6))
def test_damaged_files_give_data_or_one_message(make, tmp_path: Path, edits, cut) -> None:
    path = tmp_path / "damaged.npz"
    np.savez_compressed(path, **content())
    data = bytearray(path.read_bytes())
    for place, value in edits:
        data[place % len(data)] = value
    path.write_bytes(data[: len(data) - cut % 3 * (cut % len(data)) // 2])
    message, split = refusal(lambda: make("arrays", path=str(path)).split("train"))
    if split is None:
        assert "damaged.npz" in message
    else:
        assert np.array_equal(split.images([3])[0, 0].numpy() * 255, content()["x_train"][3])


def test_real_mnist(make, real_data: Path) -> None:
    path = real_data / "mnist" / "mnist.npz"
    if not path.is_file():
        pytest.skip("no mnist.npz in shared/data")
    data = make("arrays", path=str(path))
    train, val, test = (data.split(name) for name in ("train", "val", "test"))
    assert (len(train), len(val), len(test)) == (54000, 6000, 10000)
    assert np.bincount(test.labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    whole = np.bincount(np.concatenate([train.labels, val.labels]))
    assert whole.tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    x = test.images(range(0, 10000, 10))
    assert x.shape == (1000, 1, 28, 28)
    assert (x.min(), x.max()) == (0, 1)
    assert abs(float(x.mean()) - 0.1325) < 0.005  # the known mean of the test images
