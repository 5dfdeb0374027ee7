"""Weights that a package offers by a name; and the command that makes some, on a run of the host."""

from __future__ import annotations

import json
import sys

import pytest
import torch
from click.testing import CliRunner
from inline import run_inline
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from bench_unmask.extractor.shipped import main
from benchmark.errors import InputError
from benchmark.files import file_digest
from benchmark.plugins import load_plugins
from benchmark.suite import load_suite

NAMED = {"network": "resnet10-half", "anchors": [4, 8, 16, 32, 64], "stages": []}

SUITE = """
suite: small
title: Small
seeds: [0]
datasets:
  drawn: {use: partshapes, class_set: [car, bottle], size: 32, train: 2, val: 2, test: 1}
models:
  net: {use: small_cnn, width: 4, depth: 2, train: {epochs: 1}}
attacks: {}
defenses:
  none: {use: none}
  unmask:
    use: unmask
    extractor:
      network: resnet10-half
      channels: 16
      masks: false
      anchors: [4, 8, 16, 32, 64]
      proposals: 10
      rois: 8
      batch_size: 4
      EXTRACTOR
grid:
  - {datasets: all, models: all, attacks: [], defenses: DEFENSES}
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a run of all defenses; `cache` lies beside it."""
    return finished(tmp_path_factory.mktemp("shipped"), "all")


def finished(place, defenses: str, extractor: str = "stages: [{layers: all, epochs: 1, lr: 0.001}]"):
    """Run the suite with some of its defenses, and return the run's folder."""
    registry = load_plugins(["inline"])
    suite = place / "small.yaml"
    suite.write_text(SUITE.replace("DEFENSES", defenses).replace("EXTRACTOR", extractor))
    code, _, said = run_inline(load_suite(str(suite), registry=registry), registry, place)
    assert code == 0, said
    return place / "run"


def offer(monkeypatch, folder, distribution: str, *lines: str) -> None:
    """Put a distribution on the path that offers weights by entry points."""
    (folder / "offers.py").write_text("WEIGHTS = __import__('pathlib').Path(__file__).with_name('parts.safetensors')")
    info = folder / f"{distribution}-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1\n")
    (info / "entry_points.txt").write_text("\n".join(["[bench_unmask.weights]", *lines]))
    if str(folder) not in sys.path:
        monkeypatch.syspath_prepend(str(folder))


def test_weights_are_found_under_the_name_that_a_package_offers_them_by(monkeypatch, tmp_path):
    def fingerprint(weights: str) -> str:
        return registry.create("artifact", "part-extractor", {**NAMED, "weights": weights}).fingerprint()

    registry = load_plugins()
    save_file({"weight": torch.zeros(2)}, tmp_path / "parts.safetensors")
    offer(monkeypatch, tmp_path, "kites", "kites = offers:WEIGHTS", "twice = offers:WEIGHTS", "broken = offers:OTHER")
    offer(monkeypatch, tmp_path, "gliders", "kites = offers:WEIGHTS", "twice = other:WEIGHTS")
    assert fingerprint("kites") == fingerprint(str(tmp_path / "parts.safetensors"))
    with pytest.raises(InputError, match=r"'broken', from offers:OTHER, cannot be found: AttributeError"):
        fingerprint("broken")
    with pytest.raises(InputError, match=r"'twice' is offered twice, by offers:WEIGHTS and by other:WEIGHTS"):
        fingerprint("twice")
    with pytest.raises(InputError, match=r"unknown name 'kite'\. Did you mean 'kites'\?"):
        fingerprint("kite")


def test_the_extractor_of_a_run_is_written_in_half_precision(run, tmp_path):
    out, cache = tmp_path / "small.safetensors", run.parent / "cache"
    done = CliRunner().invoke(main, [str(run), str(out), "--cache", str(cache)])
    assert done.exit_code == 0, done.output
    (full,) = (cache / "artifacts").glob("*/*/extractor.json")
    with safe_open(out, "pt") as file:
        assert json.loads(file.metadata()["parts"]) == json.loads(full.read_text())["parts"]
    half, whole = load_file(out), load_file(full.parent / "weights.safetensors")
    assert set(whole) - set(half) == {name for name in whole if name.endswith("num_batches_tracked")}
    for name, tensor in half.items():
        assert tensor.dtype == torch.float16
        torch.testing.assert_close(tensor.float(), whole[name], rtol=1e-3, atol=1e-4)
    assert json.loads((run / "manifest.json").read_text())["weights"] == {}
    taken = finished(tmp_path, "unmask", f"stages: []\n      normalization: batch\n      weights: {out}")
    facts = {"file": "small.safetensors", "sha256": file_digest(out)}
    assert json.loads((taken / "manifest.json").read_text())["weights"] == {"extractor of unmask": facts}


def test_a_run_without_an_extractor_and_another_cache_are_refused(run, tmp_path):
    out = str(tmp_path / "out.safetensors")
    bare = finished(tmp_path, "none")
    without = CliRunner().invoke(main, [str(bare), out, "--cache", str(tmp_path / "cache")])
    assert without.exit_code == 1
    assert "expected a run that built one extractor, found 0" in without.output
    elsewhere = CliRunner().invoke(main, [str(run), out, "--cache", str(tmp_path / "elsewhere")])
    assert elsewhere.exit_code == 1
    assert "the run had another --cache" in elsewhere.output
    assert not (tmp_path / "out.safetensors").exists()
