"""Files laid out as torchvision lays them out; the small ones made here carry their own checksums."""

from __future__ import annotations

import gzip
import hashlib
import pickle
import struct
import urllib.error
from pathlib import Path

import numpy as np
import pytest
import torchvision
import torchvision.datasets.utils
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from bench_datasets.torchvision_files import read_batch, read_idx
from benchmark.errors import InputError, MissingError

CIFAR10_NAMES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


class Python2Pickle:
    """Writes what cPickle of Python 2 wrote at protocol 2, the form of CIFAR's files."""

    def __init__(self) -> None:
        self.out, self.memo = b"\x80\x02", 0

    def dumps(self, value: object) -> bytes:
        self.write(value)
        return self.out + b"."

    def put(self) -> None:
        self.memo += 1
        self.out += b"q" + bytes([self.memo]) if self.memo < 256 else b"r" + struct.pack("<I", self.memo)

    def write(self, value: object) -> None:
        match value:
            case dict():
                self.out += b"}"
                self.put()
                self.out += b"("
                for key, item in value.items():
                    self.write(key)
                    self.write(item)
                self.out += b"u"
            case list():
                self.out += b"]"
                self.put()
                self.out += b"("
                for item in value:
                    self.write(item)
                self.out += b"e"
            case bytes():
                self.out += b"U" + bytes([len(value)]) if len(value) < 256 else b"T" + struct.pack("<i", len(value))
                self.out += value
                self.put()
            case str():
                self.write(value.encode())
            case int():
                self.out += b"K" + bytes([value]) if value < 256 else b"M" + struct.pack("<H", value)
            case np.ndarray():
                self.out += b"cnumpy.core.multiarray\n_reconstruct\n"
                self.put()
                self.out += b"cnumpy\nndarray\n"
                self.put()
                self.out += b"K\x00\x85U\x01b\x87R(K\x01"
                for length in value.shape:
                    self.write(length)
                self.out += b"\x86cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R"
                self.out += b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
                self.write(value.tobytes())
                self.out += b"tb"


def batch(count: int, seed: int, key: str = "labels") -> dict[str, object]:
    rng = np.random.RandomState(seed)
    classes = 10 if key == "labels" else 100
    labels = [int(label) for label in np.arange(count) % classes]
    return {
        "batch_label": f"batch {seed}",
        key: labels,
        "data": rng.randint(0, 256, (count, 3072)).astype(np.uint8),
        "filenames": [f"image_{number}.png" for number in range(count)],
    }


def md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def put(path: Path, data: bytes) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return md5(data)


def put_cifar10(root: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict]:
    known, batches = torchvision.datasets.CIFAR10, [batch(50, seed) for seed in range(6)]
    names = [name for name, _ in [*known.train_list, *known.test_list]]
    folder = root / known.base_folder
    listed = [[name, put(folder / name, Python2Pickle().dumps(b))] for name, b in zip(names, batches)]
    meta = put(folder / "batches.meta", Python2Pickle().dumps({"label_names": CIFAR10_NAMES}))
    monkeypatch.setattr(known, "train_list", listed[:5])
    monkeypatch.setattr(known, "test_list", listed[5:])
    monkeypatch.setattr(known, "meta", {**known.meta, "md5": meta})
    return batches


def test_the_form_of_the_published_files_is_met() -> None:
    content = {"num_cases_per_batch": 10000, "label_names": CIFAR10_NAMES, "num_vis": 3072}
    written = Python2Pickle().dumps(content)
    assert md5(written) == torchvision.datasets.CIFAR10.meta["md5"]  # byte for byte the published batches.meta


def test_cifar10_is_read_as_torchvision_reads_it(make, tmp_path, monkeypatch) -> None:
    batches = put_cifar10(tmp_path, monkeypatch)
    data = make("torchvision", name="CIFAR10", root=str(tmp_path), val_share=0.2)
    data.check()
    train, val, test = (data.split(name) for name in ("train", "val", "test"))
    assert test.class_names == tuple(CIFAR10_NAMES)
    assert (len(train), len(val), len(test)) == (200, 50, 50)
    theirs = torchvision.datasets.CIFAR10(str(tmp_path), train=False)
    assert np.array_equal(test.images(range(50)).permute(0, 2, 3, 1).numpy() * 255, theirs.data)
    assert test.labels.tolist() == theirs.targets
    whole = np.concatenate([b["data"] for b in batches[:5]]).reshape(-1, 3, 32, 32)
    for split in (train, val):
        ids = [int(i) for i in split.sample_ids(range(len(split)))]
        assert np.array_equal(split.images(range(len(split))).numpy() * 255, whole[ids])
        assert np.array_equal(split.labels, np.asarray(ids) % 50 % 10)


def test_cifar100_takes_the_fine_labels(make, tmp_path, monkeypatch) -> None:
    known = torchvision.datasets.CIFAR100
    names = [f"class_{number:02}" for number in range(100)]
    folder = tmp_path / known.base_folder
    for name, seed in (("train", 0), ("test", 1)):
        content = {**batch(300, seed, "fine_labels"), "coarse_labels": [0] * 300}
        monkeypatch.setattr(known, f"{name}_list", [[name, put(folder / name, Python2Pickle().dumps(content))]])
    meta = {"fine_label_names": names, "coarse_label_names": ["all"]}
    monkeypatch.setattr(known, "meta", {**known.meta, "md5": put(folder / "meta", Python2Pickle().dumps(meta))})
    test = make("torchvision", name="CIFAR100", root=str(tmp_path), val_share=0.34).split("test")
    assert test.class_names == tuple(names)
    theirs = torchvision.datasets.CIFAR100(str(tmp_path), train=False)
    assert np.array_equal(test.images(range(300)).permute(0, 2, 3, 1).numpy() * 255, theirs.data)
    assert test.labels.tolist() == theirs.targets


def idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.mark.parametrize("name", ["MNIST", "FashionMNIST"])
@pytest.mark.parametrize("zipped", [False, True])
def test_mnist_is_read_as_torchvision_reads_it(make, tmp_path, name, zipped) -> None:
    rng = np.random.RandomState(0)
    for part, count in (("train", 100), ("t10k", 50)):
        arrays = {"images-idx3": rng.randint(0, 256, (count, 28, 28)), "labels-idx1": np.arange(count) % 10}
        for kind, array in arrays.items():
            path = tmp_path / name / "raw" / f"{part}-{kind}-ubyte"
            put(path, idx(array.astype(np.uint8)))
            if zipped:
                put(path.with_name(path.name + ".gz"), gzip.compress(path.read_bytes()))
    theirs = getattr(torchvision.datasets, name)(str(tmp_path), train=False)
    if zipped:
        for path in (tmp_path / name / "raw").glob("*-ubyte"):
            path.unlink()
    data = make("torchvision", name=name, root=str(tmp_path))
    test = data.split("test")
    assert np.array_equal(test.images(range(50))[:, 0].numpy() * 255, theirs.data.numpy())
    assert test.labels.tolist() == theirs.targets.tolist()
    assert (len(data.split("train")), len(data.split("val"))) == (90, 10)
    assert test.class_names[1] == ("1" if name == "MNIST" else "Trouser")


def test_svhn_counts_the_digit_0_as_0(make, tmp_path, monkeypatch) -> None:
    from scipy.io import savemat

    known, listed = torchvision.datasets.SVHN, {}
    for split, count in (("train", 100), ("test", 50)):
        path = tmp_path / f"{split}_32x32.mat"
        labels = (np.arange(count) % 10 + 1).astype(np.uint8)[:, None]
        savemat(path, {"X": np.random.RandomState(0).randint(0, 256, (32, 32, 3, count)).astype(np.uint8), "y": labels})
        listed[split] = [known.split_list[split][0], path.name, md5(path.read_bytes())]
    monkeypatch.setattr(known, "split_list", listed)
    test = make("torchvision", name="SVHN", root=str(tmp_path)).split("test")
    theirs = torchvision.datasets.SVHN(str(tmp_path), split="test")
    assert np.array_equal(test.images(range(50)).numpy() * 255, theirs.data)
    assert test.labels.tolist() == theirs.labels.tolist()
    assert sorted(set(test.labels)) == list(range(10))


def test_missing_files_say_what_to_do(make, tmp_path, monkeypatch) -> None:
    for name in ("MNIST", "FashionMNIST", "CIFAR10", "CIFAR100", "SVHN"):
        with pytest.raises(MissingError, match=rf"(?s){tmp_path}.*download: true.*http.*root:.*digits"):
            make("torchvision", name=name, root=str(tmp_path)).check()
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "elsewhere"))
    with pytest.raises(MissingError, match="elsewhere"):
        make("torchvision", name="MNIST").split("train")
    assert not (tmp_path / "elsewhere").exists()
    with pytest.raises(ValidationError, match="'MNIST', 'FashionMNIST'"):
        make("torchvision", name="mnist")


@pytest.mark.parametrize("name", ["MNIST", "CIFAR10", "SVHN"])
def test_a_download_is_asked_for_and_its_failure_is_told(make, tmp_path, monkeypatch, name) -> None:
    asked: list[str] = []

    def refuse(url: str, *arguments, **named) -> None:
        asked.append(url)
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(torchvision.datasets.utils, "download_url", refuse)
    monkeypatch.setattr(torchvision.datasets.utils, "download_and_extract_archive", refuse)
    data = make("torchvision", name=name, root=str(tmp_path), download=True)
    data.check()
    assert not asked
    with pytest.raises(MissingError, match=r"cannot be downloaded from http.*no route to host"):
        data.split("train")
    assert asked[0].startswith("http")
    assert len(asked) == (len(torchvision.datasets.MNIST.mirrors) if name == "MNIST" else 1)


def test_a_download_fetches_only_what_is_missing(make, tmp_path, monkeypatch) -> None:
    put_cifar10(tmp_path, monkeypatch)
    monkeypatch.setattr(torchvision.datasets.utils, "download_and_extract_archive", None)
    assert len(make("torchvision", name="CIFAR10", root=str(tmp_path), download=True).split("test")) == 50


def test_another_file_is_not_read_at_all(make, tmp_path, monkeypatch) -> None:
    put_cifar10(tmp_path, monkeypatch)
    victim = tmp_path / "executed"
    path = tmp_path / "cifar-10-batches-py" / "data_batch_3"
    path.write_bytes(pickle.dumps(Executes(victim)))
    with pytest.raises(InputError, match=r"data_batch_3.*its MD5 is [0-9a-f]{32}, that of the published file is"):
        make("torchvision", name="CIFAR10", root=str(tmp_path)).split("train")
    assert not victim.exists()


class Executes:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_the_reader_looks_up_nothing_that_a_file_names(tmp_path, protocol) -> None:
    victim, path = tmp_path / "executed", tmp_path / "batch"
    path.write_bytes(pickle.dumps({"data": Executes(victim)}, protocol=protocol))
    with pytest.raises(InputError, match="which no CIFAR file does"):
        read_batch(path)
    assert not victim.exists()
    pickle.loads(path.read_bytes())
    assert victim.exists()  # the file would have done harm


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=4), st.integers(0, 400))
def test_damaged_files_give_one_message_or_data(tmp_path, edits, cut) -> None:
    original = np.random.RandomState(0).randint(0, 256, (4, 6, 5)).astype(np.uint8)
    for name, data in (("idx", idx(original)), ("idx.gz", gzip.compress(idx(original)))):
        damaged = bytearray(data)
        for place, value in edits:
            damaged[place % len(damaged)] = value
        path = tmp_path / name
        path.write_bytes(damaged[: len(damaged) - cut % 5])
        try:
            assert read_idx(path).dtype == np.uint8
        except InputError as error:
            message = str(error)
            assert name in message
    small = {"labels": [1, 2], "data": original[0]}
    damaged = bytearray(Python2Pickle().dumps(small))
    for place, value in edits:
        damaged[place % len(damaged)] = value
    path = tmp_path / "batch"
    path.write_bytes(damaged)
    try:
        assert isinstance(read_batch(path), dict)
    except InputError as error:
        assert "not a batch of CIFAR" in str(error)  # noqa: PT017
