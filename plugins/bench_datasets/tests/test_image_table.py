from __future__ import annotations

import csv
import io
import json
import pickle
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from benchmark.errors import InputError, MissingError

Row = dict[str, Any]
CLASSES = ("bee", "ant")  # as ClassLabel has them: not in the order of the alphabet


def png(seed: int, shape: tuple[int, ...] = (6, 5, 3)) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.RandomState(seed).randint(0, 256, shape).astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def rows(count: int = 20, first: int = 0) -> list[Row]:
    """Return images of two classes in turn."""
    return [{"name": f"{n:03}.png", "data": png(n), "label": n % 2} for n in range(first, first + count)]


def write_csv(path: Path, found: list[Row], columns: tuple[str, ...] = ("file_name", "label"), **changes: Any) -> Path:
    """Write the images of rows beside a table that names them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="") as file:
        table = csv.writer(file, **changes)
        table.writerow(columns)
        for row in found:
            (path.parent / row["name"]).write_bytes(row["data"])
            table.writerow([row["name"], CLASSES[row["label"]]])
    return path


def write_parquet(path: Path, found: list[Row], names: tuple[str, ...] | None = CLASSES, **changes: Any) -> Path:
    """Write rows as `datasets` pushes them to the hub."""
    path.parent.mkdir(parents=True, exist_ok=True)
    columns: dict[str, Any] = {
        "image": [{"bytes": row["data"], "path": row["name"]} for row in found],
        "label": [row["label"] for row in found],
        **changes,
    }
    table = pa.table(columns)
    if names is not None:
        features = {"image": {"_type": "Image"}, "label": {"names": list(names), "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, path, row_group_size=7)
    return path


def all_of(data) -> dict[str, tuple[str, bytes]]:
    """Return pixels → (split, class) of all images."""
    found = {}
    for name in ("train", "val", "test"):
        split = data.split(name)
        x = (split.images(range(len(split))).permute(0, 2, 3, 1).numpy() * 255).round().astype(np.uint8)
        found |= {pixels.tobytes(): (name, split.class_names[label]) for pixels, label in zip(x, split.labels)}
    return found


def expected(**splits: list[Row]) -> dict[bytes, tuple[str, str]]:
    return {
        np.asarray(Image.open(io.BytesIO(row["data"]))).tobytes(): (split, CLASSES[row["label"]])
        for split, found in splits.items()
        for row in found
    }


PARTS = {"train": rows(20), "val": rows(6, 20), "test": rows(8, 26)}


def test_parquet_files_as_hugging_face_has_them(make, tmp_path) -> None:
    write_parquet(tmp_path / "data" / "train-00000-of-00002.parquet", PARTS["train"][:9])
    write_parquet(tmp_path / "data" / "train-00001-of-00002.parquet", PARTS["train"][9:])
    write_parquet(tmp_path / "data" / "validation-00000-of-00001.parquet", PARTS["val"])
    write_parquet(tmp_path / "data" / "test-00000-of-00001.parquet", PARTS["test"])
    (tmp_path / "README.md").write_text("about")
    data = make("image_table", path=str(tmp_path))
    data.check()
    assert data.split("train").class_names == CLASSES
    assert data.split("train").image_shape == (3, 6, 5)
    assert all_of(data) == expected(**PARTS)
    assert data.fingerprint() != make("image_table", path=str(tmp_path), size=6).fingerprint()
    split = data.split("test")
    assert split.sample_ids([2]) == ["test-00000-of-00001.parquet/2"]
    again = pickle.loads(pickle.dumps(split))
    assert torch.equal(again.images(range(8)), split.images(range(8)))
    (tmp_path / "data" / "train-00001-of-00002.parquet").unlink()
    with pytest.raises(InputError, match=r": data/train-00001-of-00002 is not there, and 1 other parts are\. Fetch"):
        make("image_table", path=str(tmp_path)).split("train")


def test_parquet_files_may_be_called_alike_in_folders_of_splits(make, tmp_path) -> None:
    for split, folder in (("train", "train"), ("val", "validation"), ("test", "test")):
        write_parquet(tmp_path / "default" / folder / "0000.parquet", PARTS[split])
    data = make("image_table", path=str(tmp_path))
    assert all_of(data) == expected(**PARTS)
    assert data.split("test").sample_ids([2]) == ["0000.parquet/2"]
    for half, found in (("a", PARTS["train"][:9]), ("b", PARTS["train"][9:])):
        write_parquet(tmp_path / "halves" / half / "0000.parquet", found)
    others = {split: str(tmp_path / "default" / folder) for split, folder in (("val", "validation"), ("test", "test"))}
    halves = make("image_table", train=str(tmp_path / "halves"), **others)
    assert all_of(halves) == expected(**PARTS)
    assert halves.split("train").sample_ids([8, 9]) == ["a/0000.parquet/8", "b/0000.parquet/0"]


def test_a_caption_may_hold_what_unicode_takes_for_the_end_of_a_line(make, tmp_path) -> None:
    table = write_csv(tmp_path / "labels.csv", PARTS["train"]).rename(tmp_path / "labels.jsonl")
    lines = [
        {"file_name": row["name"], "label": CLASSES[row["label"]], "text": "one\u2028two\x85three"}
        for row in PARTS["train"]
    ]
    table.write_text("\r\n".join(json.dumps(line, ensure_ascii=False) for line in lines), encoding="utf-8")
    data = make("image_table", path=str(table), label="label")
    assert len(all_of(data)) == 20


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_folders_of_images_with_metadata_as_hugging_face_has_them(make, tmp_path, kind) -> None:
    for split, folder in (("train", "train"), ("val", "validation"), ("test", "test")):
        place = write_csv(tmp_path / folder / "metadata.csv", PARTS[split])
        if kind == "jsonl":
            place.unlink()
            lines = [json.dumps({"file_name": row["name"], "label": CLASSES[row["label"]]}) for row in PARTS[split]]
            (place.parent / "metadata.jsonl").write_text("\n".join(lines) + "\n")
    data = make("image_table", path=str(tmp_path))
    assert data.split("train").class_names == ("ant", "bee")
    assert all_of(data) == expected(**PARTS)
    assert data.remarks() == ()
    own = make("image_table", path=str(tmp_path), class_names=["bee", "ant"]).split("train")
    assert own.class_names == CLASSES
    assert own.labels.tolist() == [row["label"] for row in PARTS["train"]]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_one_table_beside_one_folder(make, tmp_path, delimiter) -> None:
    name = "labels.tsv" if delimiter == "\t" else "labels.csv"
    table = write_csv(tmp_path / name, rows(40), columns=("id", "breed"), delimiter=delimiter)
    text = table.read_text().replace(".png", "")  # names without endings, as many tables have them
    (tmp_path / "photos").mkdir()
    for path in tmp_path.glob("*.png"):
        path.rename(tmp_path / "photos" / path.name)
    (tmp_path / "photos" / "stray.png").write_bytes(png(999))
    table.write_text(text)
    data = make("image_table", path=str(table), images=str(tmp_path / "photos"))
    assert [len(data.split(name)) for name in ("train", "val", "test")] == [28, 4, 8]
    assert {k: c for k, (_, c) in all_of(data).items()} == {k: c for k, (_, c) in expected(train=rows(40)).items()}
    assert data.remarks() == ("Images passed over, that no table names: 1.",)


def test_a_column_may_tell_the_splits(make, tmp_path) -> None:
    write_csv(tmp_path / "all.csv", [row for found in PARTS.values() for row in found])
    names = ["Training"] * 20 + ["valid"] * 6 + ["test"] * 8
    lines = (tmp_path / "all.csv").read_text().splitlines()
    lines = [f"{line},{split}" for line, split in zip(lines, ["split", *names])]
    (tmp_path / "all.csv").write_text("\n".join(lines))
    assert all_of(make("image_table", path=str(tmp_path / "all.csv"))) == expected(**PARTS)
    (tmp_path / "all.csv").write_text("\n".join([*lines[:-1], lines[-1].replace("test", "fold 3")]))
    with pytest.raises(InputError, match=r"all\.csv: column split: 'fold 3' is none of train, val and test"):
        make("image_table", path=str(tmp_path / "all.csv")).split("train")


def test_train_and_val_alone_and_shares(make, tmp_path) -> None:
    for split in ("train", "val"):
        write_parquet(tmp_path / f"{split}.parquet", PARTS[split])
    data = make("image_table", path=str(tmp_path))
    assert [len(data.split(name)) for name in ("train", "val", "test")] == [18, 2, 6]
    assert "the images of val are the test images here" in data.remarks()[0]
    one = make("image_table", train=str(tmp_path / "train.parquet"), test=str(tmp_path / "val.parquet"))
    assert [len(one.split(name)) for name in ("train", "val", "test")] == [18, 2, 6]
    assert one.fingerprint() == data.fingerprint()


def test_numbers_as_labels_are_sorted_as_numbers(make, tmp_path) -> None:
    found = [{**row, "label": n % 12} for n, row in enumerate(rows(120))]
    write_parquet(tmp_path / "all.parquet", found, names=None)
    data = make("image_table", path=str(tmp_path / "all.parquet"), size=6)
    assert data.split("train").class_names == tuple(map(str, range(12)))


def csv_of(text: str):
    def write(folder: Path) -> Path:
        write_csv(folder / "t.csv", rows(4))
        (folder / "t.csv").write_text(text)
        return folder / "t.csv"

    return write


def parquet_of(**changes: Any):
    return lambda folder: write_parquet(folder / "t.parquet", rows(4), **changes)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (csv_of("000.png,bee\n001.png,ant\n"), r"t\.csv:1: the first line must name at least two columns"),
        (csv_of("file,label,age\n000.png,bee\n"), r"t\.csv:2: has 2 values, the first line 3 columns"),
        (
            csv_of("file,fine,coarse\n000.png,bee,x\n"),
            r"which column is the label\? Found file, fine, coarse\. Set `label:`",
        ),
        (csv_of("file,label,class\n000.png,bee,x\n"), r"which column is the label\? .*label and class may be"),
        (
            csv_of("file,label\n000.png,bee\n001.png,ant\nx.png,ant\n../000.png,bee\n"),
            r"2 mistakes\.\n  image that is not there: 2\n    row 3: no image 'x\.png' below",
        ),
        (
            csv_of("file,label\n000.png,bee\n001.png,ant\n000.png,ant\n"),
            r"row 3: 000\.png of train is named by row 1 of t\.csv for train already",
        ),
        (
            csv_of("file,label\n000.png,bee\n001.png,\n002.png,\n"),
            r"row without a label: 2\n    row 2 has the label ''",
        ),
        (csv_of("file,label\n000.png,bee\n001.png,bee\n"), "found one class, 'bee'; at least two"),
        (csv_of('file,label\n"000.png,bee\n'), "cannot be read as a table"),
        (parquet_of(label=[0, 1, -1, -1]), r"row without a label: 2\n    row 3 has the label -1: no class"),
        (parquet_of(label=[0, 1, 2, 1]), r"unknown label '2'\..*Known: 0, 1"),
        (parquet_of(label=[[0, 1], [1], [0], [1]]), r"row without a label: 4"),
        (parquet_of(image=[{"bytes": None, "path": "x.png"}] * 4), "the row holds no bytes"),
        (parquet_of(image=[{"bytes": b"<html>", "path": "x.png"}] * 4), "damaged image file: not an image"),
    ],
)
def test_unusable_tables_are_refused_with_the_place(make, tmp_path, write, message) -> None:
    place = write(tmp_path)
    with pytest.raises(InputError, match=message) as error:
        make("image_table", path=str(place), test_share=0.2).fingerprint()
    assert str(place.parent) in str(error.value)


def test_the_same_image_in_two_splits_is_refused(make, tmp_path) -> None:
    write_csv(tmp_path / "train.csv", PARTS["train"])
    write_csv(tmp_path / "test.csv", [*PARTS["test"], PARTS["train"][3]])
    with pytest.raises(InputError, match=r"003\.png of test is named by row 4 of train\.csv for train already"):
        make("image_table", path=str(tmp_path)).split("train")


def test_places_that_cannot_be_read(make, tmp_path) -> None:
    with pytest.raises(MissingError, match=r"nothing at .*nowhere\. Set `path:` to a table \(\.parquet"):
        make("image_table", path=str(tmp_path / "nowhere")).check()
    (tmp_path / "x").mkdir()
    with pytest.raises(InputError, match=r"no tables\. Looked for files that end in \.parquet"):
        make("image_table", path=str(tmp_path / "x")).split("train")
    (tmp_path / "x" / "train.parquet").write_bytes(b"PAR1 no table PAR1")
    with pytest.raises(InputError, match=r"train\.parquet: cannot be read as a table"):
        make("image_table", path=str(tmp_path / "x")).split("train")
    write_parquet(tmp_path / "y" / "train.parquet", PARTS["train"])
    write_parquet(tmp_path / "y" / "config" / "train.parquet", PARTS["train"])
    with pytest.raises(
        InputError, match=r"tables of train in more than one place: config/train\.parquet, train\.parquet"
    ):
        make("image_table", path=str(tmp_path / "y")).split("train")
    with pytest.raises(ValidationError, match="one of path and train is needed: a table"):
        make("image_table")
    (tmp_path / "z").mkdir()
    write_parquet(tmp_path / "z" / "train.parquet", PARTS["train"])
    with pytest.raises(
        InputError, match=r"no images of a known format .*no images: 1 .1 \.parquet.*`image_table` reads"
    ):
        make("image_folder", path=str(tmp_path / "z")).split("train")


@given(
    st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=5),
    st.sampled_from(["csv", "parquet", "jsonl"]),
)
@example([(2158, 1)], "parquet")  # fewer images than labels
def test_damaged_tables_give_images_or_one_message(make, edits, kind) -> None:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / f"t.{kind}"
        if kind == "parquet":
            write_parquet(place, rows(12))
        else:
            write_csv(place, rows(12))
        if kind == "jsonl":
            place.write_text(
                "".join(f'{{"file_name": "{row["name"]}", "label": {row["label"]}}}\n' for row in rows(12))
            )
        data = bytearray(place.read_bytes())
        for at, value in edits:
            data[at % len(data)] = value
        place.write_bytes(data)
        table = make("image_table", path=str(place), size=6, test_share=0.2)
        try:
            assert table.fingerprint()
            assert all_of(table)
        except InputError as error:
            assert folder in str(error)  # noqa: PT017
