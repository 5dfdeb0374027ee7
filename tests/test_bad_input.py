"""Unusable input, through the command line: one clear message, exit code 2, no traceback, nothing lost."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmark.cli import main
from benchmark.errors import MissingError, required

TESTS = Path(__file__).resolve().parent

SUITE = """
suite: bad
title: Bad input
seeds: [0]
datasets:
  digits: {use: digits}
models:
  cnn: {use: small_cnn}
attacks:
  pgd: {use: pgd, norm: linf, eps: 8/255}
defenses:
  none: {use: none}
grid:
  - {datasets: all, models: all, attacks: all, defenses: all}
profiles:
  embedded: {seeds: [1]}
"""


@pytest.fixture
def bench(tmp_path, capfd, monkeypatch):
    """Return a function that runs `bench` and returns exit code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))

    def call(*arguments: str) -> tuple[int, str, str]:
        capfd.readouterr()
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        captured = capfd.readouterr()
        return stop.value.code, captured.out, captured.err

    return call


@pytest.fixture
def refused(bench, tmp_path):
    """Return a function that runs a suite text, sees it refused before any work, and returns the message."""

    def call(text: str, *options: str) -> str:
        (tmp_path / "suite.yaml").write_text(text)
        code, _, said = bench("run", "suite.yaml", "--device", "cpu", *options)
        assert code == 2, said
        assert said.startswith("error: ")
        assert "Traceback" not in said
        assert not (tmp_path / "runs").exists()
        assert not list((tmp_path / "cache").glob("artifacts/*/*"))
        return said

    return call


def test_unknown_plugin(refused):
    said = refused(SUITE.replace("use: pgd", "use: pdg"))
    assert "suite.yaml:10" in said
    assert "'pdg'" in said
    assert "Did you mean 'pgd'?" in said


def test_unknown_option(refused):
    said = refused(SUITE.replace("eps: 8/255", "epz: 8/255"))
    assert "suite.yaml:10" in said
    assert "Did you mean 'eps'?" in said


def test_unknown_label(refused):
    said = refused(SUITE.replace("attacks: all", "attacks: [pdg]"))
    assert "suite.yaml:14" in said
    assert "Did you mean 'pgd'?" in said


def test_unknown_profile(refused):
    said = refused(SUITE, "--profile", "embeded")
    assert "Did you mean 'embedded'?" in said


def test_unknown_set_path(refused):
    said = refused(SUITE, "--set", "attacks.pgd.epz=4/255")
    assert "attacks.pgd.epz" in said
    assert "Did you mean 'eps'?" in said


def test_broken_yaml(refused):
    assert "suite.yaml:" in refused(SUITE + "\n  - {unclosed: [1, 2\n")


def test_a_python_object_is_not_made(refused, tmp_path):
    said = refused(SUITE.replace("title: Bad input", f"title: !!python/object/apply:os.mkdir ['{tmp_path}/made']"))
    assert "suite.yaml:3" in said
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(("eps", "hint"), [("8", "8/255"), ("-0.1", "above 0"), ("0", "above 0"), ("lots", "8/255")])
def test_eps_without_unit_sense(refused, eps, hint):
    said = refused(SUITE.replace("eps: 8/255", f"eps: {eps}"))
    assert "suite.yaml:10" in said
    assert hint in said


@pytest.mark.parametrize(
    ("only", "expected"),
    [
        ("atack=pgd", "unknown column 'atack'. Did you mean 'attack'?"),
        ("attack=pdg*", "'pdg*' fits no attack of the grid. Did you mean 'pgd'? There: none, pgd."),
        ("seed=7", "'7' fits no seed of the grid. There: 0."),
        ("attack=none,knowledge=gray-box", "no cell of the grid fits all of them"),
        ("pgd", "COLUMN=PATTERN"),
        ("", "COLUMN=PATTERN"),
    ],
)
def test_a_filter_that_keeps_nothing(refused, only, expected):
    said = refused(SUITE, "--only", "defense=none", "--only", only)
    assert said.startswith(f"error: --only {only}: ")
    assert expected in said
    assert said.count("\n") == 1
    assert f"suite.yaml:4: only: {only!r}: " in refused(SUITE.replace("seeds:", f"only: [{only!r}]\nseeds:", 1))


def test_empty_grid(refused):
    assert "grid" in refused(SUITE[: SUITE.index("grid:")] + "grid: []\n")


def test_missing_data(refused):
    said = refused(SUITE.replace("{use: digits}", "{use: image_folder, path: nowhere/photos}"))
    assert "nowhere/photos" in said
    assert "--profile embedded" in said


def test_missing_torchvision_data(refused, tmp_path):
    said = refused(SUITE.replace("{use: digits}", f"{{use: torchvision, name: CIFAR10, root: {tmp_path}/data}}"))
    assert f"{tmp_path}/data" in said
    assert "download" in said


def test_missing_weights(refused):
    said = refused(SUITE.replace("{use: small_cnn}", "{use: small_cnn, weights: nowhere.safetensors}"))
    assert "nowhere.safetensors" in said
    assert "suite.yaml:8" in said


def test_a_weights_file_that_is_a_pickle_is_not_executed(bench, tmp_path):
    import pickle

    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "exploded"),)

    (tmp_path / "weights.pt").write_bytes(pickle.dumps(Bomb()))
    (tmp_path / "suite.yaml").write_text(SUITE.replace("{use: small_cnn}", "{use: small_cnn, weights: weights.pt}"))
    code, _, said = bench("run", "suite.yaml", "--device", "cpu")
    assert code == 2
    assert "never executed" in said
    assert "safetensors" in said
    assert "Traceback" not in said
    assert not (tmp_path / "exploded").exists()


def write_images(folder: Path, splits=("train", "val", "test"), classes=("cat", "dog"), count=4) -> None:
    generator = np.random.default_rng(0)
    for split in splits:
        for name in classes:
            (folder / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = generator.integers(0, 255, (16, 16, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / split / name / f"{number}.png")


def test_a_class_folder_missing_from_one_split(refused, tmp_path):
    write_images(tmp_path / "photos")
    for image in (tmp_path / "photos" / "test" / "dog").iterdir():
        image.unlink()
    (tmp_path / "photos" / "test" / "dog").rmdir()
    said = refused(SUITE.replace("{use: digits}", "{use: image_folder, path: photos}"))
    assert "dog" in said
    assert "test" in said


def test_a_corrupt_image_fails_the_cells_that_need_it(bench, tmp_path):
    write_images(tmp_path / "photos", count=8)
    bad = tmp_path / "photos" / "test" / "dog" / "3.png"
    bad.write_bytes(bad.read_bytes()[:60])
    text = SUITE.replace("{use: digits}", "{use: image_folder, path: photos}").replace(
        "{use: small_cnn}", "{use: small_cnn, train: {epochs: 1}}"
    )
    (tmp_path / "suite.yaml").write_text(text)
    code, out, said = bench("run", "suite.yaml", "--device", "cpu")
    assert code == 1, said
    assert "0 of 2 cells done" in out
    assert "3.png" in out
    assert "Traceback" not in said
    assert "3.png" in (tmp_path / "runs" / "bad" / "report" / "index.html").read_text()


def test_a_plugin_that_fails_to_import(refused, tmp_path, monkeypatch):
    (tmp_path / "broken_plugin.py").write_text("import a_module_that_is_not_there\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    said = refused(SUITE, "--plugin", "broken_plugin")
    assert "broken_plugin" in said
    assert "a_module_that_is_not_there" in said


@pytest.mark.skipif(not Path("/proc/version").exists(), reason="needs a place where nobody can write")
def test_an_unwritable_output_folder(refused):
    said = refused(SUITE, "--output", "/proc/run")
    assert "/proc/run" in said
    assert "--output" in said


def test_an_unwritable_cache_folder(bench, tmp_path):
    (tmp_path / "suite.yaml").write_text(SUITE)
    code, _, said = bench("run", "suite.yaml", "--cache", "/proc/cache", "--device", "cpu")
    assert code == 2
    assert "--cache" in said
    assert "Traceback" not in said


def test_cuda_without_a_device(refused):
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    assert "--device cpu" in refused(SUITE, "--device", "cuda")


def test_unknown_executor(refused):
    assert "Known: local" in refused(SUITE, "--executor", "slurm")


@pytest.mark.parametrize("shard", ["0/2", "3/2", "x", "1/0"])
def test_a_shard_that_is_none(refused, shard):
    assert "--shard" in refused(SUITE, "--shard", shard)


@pytest.mark.slow
def test_a_full_disk_keeps_finished_work_and_the_run_can_go_on(tmp_path):
    """The limit on file sizes makes writing fail as a full disk does."""
    (tmp_path / "suite.yaml").write_text(SUITE.replace("{use: small_cnn}", "{use: small_cnn, train: {epochs: 2}}"))
    arguments = [sys.executable, "-m", "benchmark.cli", "run", "suite.yaml", "--device", "cpu", "--no-report"]
    environment = {**os.environ, "BENCH_CACHE": str(tmp_path / "cache")}
    environment["PYTHONDONTWRITEBYTECODE"] = "1"  # half a file of byte code would be taken for whole from then on
    full = subprocess.run(
        arguments,
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, resource.RLIM_INFINITY)),
    )
    assert full.returncode == 2, full.stderr
    assert "60,000 bytes by `ulimit -f`" in full.stderr
    assert "goes on where it stopped" in full.stderr
    assert "Traceback" not in full.stderr
    finished = {folder.name for folder in (tmp_path / "cache" / "artifacts").glob("*/*")}
    again = subprocess.run(
        arguments, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240, check=False
    )
    assert again.returncode == 0, again.stderr
    assert finished <= {folder.name for folder in (tmp_path / "cache" / "artifacts").glob("*/*")}


def test_a_damaged_run_directory(bench, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "manifest.json").write_text("{")
    for command in (["report", "run"], ["export", "run"]):
        code, _, said = bench(*command)
        assert code == 2
        assert "run" in said
        assert "Traceback" not in said


def test_no_such_run(bench):
    code, _, said = bench("export", "nowhere")
    assert code == 2
    assert "nowhere" in said


@pytest.mark.parametrize(
    ("module", "requirement", "told"),
    [
        ("no_such", "unmask-bench[fast]", "pip install 'unmask-bench[fast]' (in a clone: pip install -e '.[fast]')."),
        ("no_such", "no-such", "pip install 'no-such'."),
        ("no_such", "no-such>=2", "pip install 'no-such>=2'."),
        ("no_such", "their-plugin[fast]", "pip install 'their-plugin[fast]'."),
        ("no_such.part", "no-such", "pip install 'no-such'."),
    ],
)
def test_a_package_that_is_not_installed_is_told_with_its_command(module, requirement, told):
    with pytest.raises(MissingError) as refusal:
        required(module, "the model big", requirement)
    assert str(refusal.value) == f"the model big needs the package no_such, which is not installed: {told}"


def test_a_module_that_an_installed_package_lacks_is_its_own_error(tmp_path, monkeypatch):
    (tmp_path / "needy.py").write_text("import no_such\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="no_such"):
        required("needy", "the model big", "needy")
