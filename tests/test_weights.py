"""Checkpoints as people have them: what is read of them, and what is said of a file that is something else."""

from __future__ import annotations

import argparse
import gzip
import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from benchmark.cli import main
from benchmark.errors import InputError
from benchmark.model import Classifier, load_weights, save_weights
from benchmark.options import Normalization
from benchmark.weights import ENTRIES, PREFIXES, Checkpoint


def classifier(seed: int = 0, **normalization: Any) -> Classifier:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 2))
    return Classifier(network, 2, (1, 4, 4), Normalization(**normalization) if normalization else None).eval()


SOURCE = classifier(1)
STATE = SOURCE.network.state_dict()
X = torch.rand(3, 1, 4, 4, generator=torch.Generator().manual_seed(0))


def prefixed(*prefixes: str) -> dict[str, torch.Tensor]:
    return {"".join(prefixes) + name: tensor for name, tensor in STATE.items()}


def logits_from(path: Path) -> torch.Tensor:
    target = classifier(2)
    load_weights(target, path)
    return target(X)


@given(
    prefixes=st.lists(st.sampled_from(PREFIXES), max_size=3),
    entries=st.lists(st.sampled_from(ENTRIES), max_size=2),
    name=st.sampled_from(["w.pth", "w.pth.tar", "w.pt", "w.ckpt", "pytorch_model.bin"]),
    old=st.booleans(),
)
def test_wrappers_and_entries_are_seen_through(tmp_path_factory, prefixes, entries, name, old):
    content: dict[str, Any] = prefixed(*prefixes)
    for entry in entries:
        content = {"epoch": 3, entry: content, "optimizer": {"state": {0: {"momentum": torch.zeros(2)}}}}
    path = tmp_path_factory.mktemp("weights") / name
    torch.save(content, path, _use_new_zipfile_serialization=not old)
    assert torch.equal(logits_from(path), SOURCE(X))


@pytest.mark.parametrize(
    "content",
    [
        {"state_dict": STATE, "best": np.float64(0.5), "epoch": np.int64(7), "args": argparse.Namespace(lr=0.1)},
        {"net": prefixed("module."), "acc": 93.1, "epoch": 4, "rng": torch.get_rng_state(), "curve": np.zeros(3)},
        {"model": {"module." + n: t for n, t in STATE.items()} | {"n_averaged": torch.tensor(5)}},
        nn.DataParallel(SOURCE).state_dict(),
        {name: tensor for name, tensor in STATE.items() if not name.endswith("num_batches_tracked")},
        {name: tensor.double() if tensor.is_floating_point() else tensor for name, tensor in STATE.items()},
        dict(SOURCE.network.named_parameters()) | dict(SOURCE.network.named_buffers()),
    ],
    ids=["numpy and arguments", "pytorch-cifar", "averaged", "parallel", "before 0.4.1", "double", "parameters"],
)
def test_what_training_scripts_save_is_read(tmp_path, content):
    torch.save(content, tmp_path / "model_best.pth.tar")
    assert torch.equal(logits_from(tmp_path / "model_best.pth.tar"), SOURCE(X))


def test_the_first_of_several_entries_is_read_and_the_rest_is_named(tmp_path):
    other = classifier(5).network.state_dict()
    torch.save({"ema": other, "model": STATE, "epoch": 3}, tmp_path / "w.pt")
    found = Checkpoint.read(tmp_path / "w.pt")
    assert (found.entry, found.others, found.beside) == ("model", ("ema",), ("ema (OrderedDict)", "epoch (int)"))
    assert torch.equal(logits_from(tmp_path / "w.pt"), SOURCE(X))


def test_a_network_whose_own_names_begin_like_a_wrapper_is_read_as_it_is(tmp_path):
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.model(x)

    first, second = (Classifier(Own(), 2, (1, 4, 4)) for _ in range(2))
    torch.save(first.network.state_dict(), tmp_path / "w.pt")
    load_weights(second, tmp_path / "w.pt")
    assert torch.equal(first(X), second(X))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            {"state_dict": {"module.fc.weight": torch.zeros(2, 3)}, "epoch": 3, "optimizer": {}},
            [
                "0.weight is missing",
                "fc.weight is unknown",
                "in its entry 'state_dict'",
                "not read: epoch (int), optimizer (dict)",
            ],
        ),
        (STATE | {"3.weight": torch.zeros(10, 8)}, ["3.weight is (10, 8), expected (2, 8)"]),
        (STATE | {"3.weight": torch.zeros(2, 8, dtype=torch.int8)}, ["3.weight holds torch.int8 numbers"]),
        (
            {"epoch": 3, "G": {"a": torch.zeros(1)}},
            ["holds no tensors by name: epoch (int), G (dict)", "model_state_dict"],
        ),
        ([torch.zeros(1)], ["holds no tensors by name but a list"]),
        ({}, ["holds no tensors by name"]),
        ({"\x1b[31m\u202e": torch.zeros(1)}, ["'\\x1b[31m\\u202e' is unknown"]),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, content, said):
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(InputError) as error:
        load_weights(classifier(), tmp_path / "w.pth")
    for part in said:
        assert part in str(error.value)


def test_weights_of_a_model_that_normalizes_otherwise_are_refused(tmp_path):
    save_weights(classifier(1, mean=(0.5,), std=(0.25,)), tmp_path / "w.safetensors")
    load_weights(classifier(2, mean=(0.5,), std=(0.25,)), tmp_path / "w.safetensors")
    with pytest.raises(InputError, match=r"normalizes with mean \[0.5\], std \[0.25\]; this one has mean \[0.0\]"):
        load_weights(classifier(2), tmp_path / "w.safetensors")


def saved(content: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, **options)
    return file.getvalue()


def archive(**files: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as written:
        for name, content in files.items():
            written.writestr(name, content)
    return file.getvalue()


def tensors_file() -> bytes:
    from safetensors.torch import save as write

    return write({name: tensor.contiguous() for name, tensor in STATE.items()})


INSTEAD = {
    "html": (b"\n<!DOCTYPE html><html><head><title>Sign in</title>", "is an HTML page"),
    "error page": (b'{"error": "not found"}', 'is a text that begins with \'{"error": "not found"}\''),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n", "`git lfs pull`"),
    "empty": (b"", "is empty"),
    "gzip": (gzip.compress(b"x" * 100), "is a gzip archive: unpack it"),
    "hdf5": (b"\x89HDF\r\n\x1a\n" + bytes(99), "Keras"),
    "other zip": (archive(a=b"x"), "a zip archive that torch did not write"),
    "bytes": (bytes(range(200, 250)), "is no weights file: it begins with the bytes c8 c9"),
    "cut": (saved(STATE)[:-300], "is cut off after"),
    "cut, old": (saved(STATE, _use_new_zipfile_serialization=False)[:-20], "is cut off or damaged"),
    "cut, safetensors": (tensors_file()[:-20], "is cut off or damaged"),
    "whole network": (
        saved(SOURCE.network),
        "needs more than tensors to be read: torch.nn.modules.container.Sequential",
    ),
    "whole, old": (saved(SOURCE, _use_new_zipfile_serialization=False), "to be read: benchmark.model.Classifier"),
    "script": (archive(**{"w/data.pkl": b"", "w/constants.pkl": b""}), "a TorchScript archive"),
}


@pytest.mark.parametrize("what", INSTEAD)
def test_what_a_file_is_instead_is_said_while_planning(what, tmp_path, toy_suite, capsys, monkeypatch):
    content, message = INSTEAD[what]
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    path = tmp_path / ("w.safetensors" if "safetensors" in what else "resnet.pth")
    path.write_bytes(content)
    suite = toy_suite(models=f"{{linear: {{use: linear, weights: {path}}}}}")
    with pytest.raises(SystemExit) as stop:
        main(["plan", str(suite), "--plugin", "toy"])
    said = capsys.readouterr().err
    assert stop.value.code == 2
    assert message in said
    assert "toy.yaml:8: models.linear: weights: " in said
    assert not any(advice in said for advice in ("weights_only", "trust", "arbitrary code", "Traceback"))


def test_weights_that_do_not_fit_are_refused_while_planning(tmp_path, toy_suite, run_toy):
    torch.save({"state_dict": STATE}, tmp_path / "w.pth.tar")
    with pytest.raises(InputError, match=r"toy.yaml:8: models.linear on datasets.blobs: weights: .*1.weight is \(2,\)"):
        run_toy(models=f"{{linear: {{use: linear, weights: {tmp_path / 'w.pth.tar'}}}}}")
    assert not (tmp_path / "run").exists()


def test_a_run_says_which_of_several_networks_it_used(tmp_path, run_toy):
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 2)).state_dict()
    torch.save({"ema": network, "model": network}, tmp_path / "w.pt")
    done = run_toy(models=f"{{linear: {{use: linear, weights: {tmp_path / 'w.pt'}}}}}")
    assert done.code == 0
    assert "holds several networks: 'model' is used, and not 'ema'" in done.said
