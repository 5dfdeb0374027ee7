"""Unusable part data and options through `bench run`: one clear message, exit code 2, nothing half-written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmark.cli import main

Data = dict[str, Any]
Coco = Callable[..., Path]

SUITE = """
suite: bad
title: Bad input
seeds: [0]
datasets:
  photos: {use: coco_parts, path: DATA, size: 32}
models:
  cnn: {use: small_cnn}
attacks:
  pgd: {use: pgd, norm: linf, eps: 8/255}
defenses:
  unmask: {use: unmask, class_parts: TABLE}
grid:
  - {datasets: all, models: all, attacks: all, defenses: all}
"""


@pytest.fixture
def refused(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Return a function that runs a suite, sees it refused before any work, and returns the message."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    (tmp_path / "parts.yaml").write_text("car: [wheel]\nbird: [eye]\n")

    def call(data: Path, text: str = SUITE, table: str = "parts.yaml") -> str:
        (tmp_path / "suite.yaml").write_text(text.replace("DATA", str(data)).replace("TABLE", table))
        capfd.readouterr()
        with pytest.raises(SystemExit) as stop:
            main(["run", "suite.yaml", "--device", "cpu"])
        said = capfd.readouterr().err
        assert stop.value.code == 2, said
        assert said.startswith("error: ")
        assert said.count("error: ") == 1
        assert "Traceback" not in said
        assert not (tmp_path / "runs").exists()
        assert not list((tmp_path / "cache").glob("artifacts/*/*"))
        assert not list((tmp_path / "cache").glob("partial/*"))
        return said

    return call


def in_train(damage: Callable[[Data], Any]) -> Callable[[str, Data], Any]:
    return lambda split, data: damage(data) if split == "train" else None


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda data: data["annotations"][0].update(image_id=99),
            "annotation 1: points to image 99, which is not among",
        ),
        (lambda data: data["images"][0].update(file_name="gone.jpg"), "image 1 is missing: no file"),
        (lambda data: data["annotations"][0].update(category_id=5), "annotation 1: unknown category id 5. Known: 3, 7"),
        (lambda data: data["annotations"].clear(), "the class 'bird' has no annotated part in any of its images"),
    ],
)
def test_unusable_annotations(coco: Coco, refused: Callable[..., str], damage, message: str) -> None:
    said = refused(coco(in_train(damage)))
    assert "suite.yaml:6: datasets.photos" in said
    assert "train.json" in said
    assert message in said


def test_the_same_image_in_two_classes(coco: Coco, refused: Callable[..., str]) -> None:
    root = coco()
    (root / "images" / "bird_3.jpg").write_bytes((root / "images" / "car_1.jpg").read_bytes())
    said = refused(root)
    assert "the same image is in two classes" in said
    assert "car_1.jpg (car)" in said
    assert "bird_3.jpg (bird)" in said


def test_a_class_that_the_class_part_matrix_lacks(coco: Coco, refused: Callable[..., str]) -> None:
    def renamed(split: str, data: Data) -> None:
        for image in data["images"]:
            image["class_name"] = image["class_name"].replace("bird", "brid")

    said = refused(coco(renamed), table="paper")
    assert "suite.yaml:12: defenses.unmask on datasets.photos" in said
    assert "unknown class 'brid'. Did you mean 'bird'?" in said


def test_a_class_without_parts_in_the_table(coco: Coco, refused: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "none.yaml").write_text("car: [wheel]\nbird: []\n")
    said = refused(coco(), table="none.yaml")
    assert "suite.yaml:12: defenses.unmask" in said
    assert "class 'bird' has no parts" in said


@pytest.mark.parametrize("threshold", ["1.01", "-0.1", "fprr"])
def test_a_threshold_outside_of_0_to_1(coco: Coco, refused: Callable[..., str], threshold: str) -> None:
    said = refused(coco(), SUITE.replace("TABLE}", f"TABLE, threshold: {threshold}}}"))
    assert "suite.yaml:12" in said
    assert "threshold" in said
    assert "fpr" in said


def test_part_data_that_the_suite_lacks(coco: Coco, refused: Callable[..., str]) -> None:
    said = refused(coco(), SUITE.replace("TABLE}", "TABLE, parts_from: photoz}"))
    assert "defenses.unmask asks for the data set 'photoz', which the suite lacks. Known: photos." in said


def test_a_truncated_mat_file(
    tmp_path: Path, photo: Callable[..., None], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    photo(tmp_path / "JPEGImages" / "2008_000001.jpg", 1)
    (tmp_path / "Annotations_Part").mkdir()
    (tmp_path / "Annotations_Part" / "2008_000001.mat").write_bytes(b"MATLAB 5.0 MAT-file, cut off".ljust(140))
    folders = ["--images", "JPEGImages", "--annotations", "Annotations_Part", "--out", "out"]
    with pytest.raises(SystemExit) as stop:
        main(["data", "prepare", "pascal-part", *folders])
    said = capfd.readouterr().err
    assert stop.value.code == 2, said
    assert "2008_000001.mat: not a PASCAL-Part annotation, or truncated" in said
    assert "Traceback" not in said
    assert not list((tmp_path / "out").rglob("train.json"))


@pytest.mark.parametrize(
    ("words", "code", "expected"),
    [
        (["--help"], 0, "--mapping VALUE      How part names become parts"),
        (["--imges", "here"], 2, "No such option '--imges'. Did you mean '--images'?"),
        (["--images", "here", "--annotations", "there"], 2, "Missing option '--out'"),
        (
            ["--images=here", "--annotations=there", "--out=here", "--mapping=papr"],
            2,
            "--mapping: Input should be 'paper'",
        ),
    ],
)
def test_a_converters_options_are_options_of_the_command(
    words: list[str], code: int, expected: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["data", "prepare", "pascal-part", *words])
    said = capfd.readouterr()
    assert (stop.value.code, expected in said.out + said.err) == (code, True), said
