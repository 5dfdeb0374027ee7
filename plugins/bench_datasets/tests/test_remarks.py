"""What was passed over or assumed while data was read, through `bench`: in plan, log and manifest."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmark.cli import main

SUITE = """
suite: said
seeds: [0]
datasets:
  scans: {use: image_folder, path: scans}
models:
  cnn: {use: small_cnn, train: null}
defenses:
  none: {use: none}
grid:
  - {datasets: all, models: all, attacks: [], defenses: all}
"""
PASSED_OVER = "Files passed over: no images: 1 (1 .txt); hidden: 1."


def scans(folder: Path) -> None:
    """Write splits with the names of a collection of scans that is much used."""
    for split in ("Training", "Testing"):
        for name in ("glioma", "no_tumour"):
            (folder / split / name).mkdir(parents=True)
            for number in range(10):
                pixels = np.random.RandomState(number + len(split) * len(name)).randint(0, 256, (16, 16, 3), np.uint8)
                Image.fromarray(pixels).save(folder / split / name / f"{number}.png")
    (folder / "Training" / "notes.txt").write_text("about")
    (folder / "Testing" / ".DS_Store").write_bytes(b"\0")


def test_what_was_passed_over_is_said_in_plan_log_and_manifest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    scans(tmp_path / "scans")
    (tmp_path / "suite.yaml").write_text(SUITE)
    with pytest.raises(SystemExit) as stop:
        main(["plan", "suite.yaml"])
    assert not stop.value.code
    planned = capfd.readouterr().out
    assert "data set scans: 18 train, 2 val, 20 test; 2 classes; 3x16x16" in planned
    assert PASSED_OVER in planned
    with pytest.raises(SystemExit) as stop:
        main(["run", "suite.yaml", "--device", "cpu", "--no-report"])
    said = capfd.readouterr()
    assert not stop.value.code, said
    assert f"scans: {PASSED_OVER}" in said.out + said.err
    manifest = json.loads((tmp_path / "runs" / "said" / "manifest.json").read_text())
    assert PASSED_OVER in manifest["datasets"]["scans"]["caption"]  # which every report on the data shows


def test_a_folder_of_damaged_images_is_refused_while_planning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    scans(tmp_path / "scans")
    for number in range(4):
        (tmp_path / "scans" / "Testing" / "glioma" / f"{number}.png").write_text("<html>404</html>")
    (tmp_path / "suite.yaml").write_text(SUITE)
    with pytest.raises(SystemExit) as stop:
        main(["plan", "suite.yaml"])
    said = capfd.readouterr().err
    assert stop.value.code == 2
    assert "suite.yaml:5: datasets.scans: " in said
    assert "4 mistakes" in said
    assert "Testing/glioma/2.png: damaged image file: not an image of a known format" in said
    assert "Traceback" not in said
