"""Odd names, odd terminals: no traceback, nothing executed, nothing hidden."""

from __future__ import annotations

import csv
import ctypes
import io
import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from inline import toy_run

from benchmark.cli import main
from benchmark.memory import give_back
from benchmark.wording import for_spreadsheets, printable, signal_name
from suites import SUITE, write_suite

FORMULAS = ("=cmd|' /C calc'!A0", "@SUM(1+1)", "-2+3")
TURNED = "safe\u202edekcatta"
INLINE = ("--plugin", "toy", "--plugin", "inline", "--executor", "inline", "--device", "cpu")
COMMANDS = """
import sys
from benchmark.cli import main
for command in %r:
    try:
        main(command)
    except SystemExit as stop:
        assert stop.code == 0, (command, stop.code)
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("odd")
    attacks = ", ".join(f"{json.dumps(name)}: {{use: step, eps: 0.3}}" for name in FORMULAS)
    defenses = f"{{none: {{use: plain}}, {json.dumps(TURNED)}: {{use: brightness}}}}"
    suite = write_suite(folder, attacks=f"{{{attacks}}}", defenses=defenses)
    return toy_run(suite, folder / "run", folder / "cache", report=True)


def test_labels_that_are_formulas_are_texts_in_csv_and_themselves_in_json(finished, capfd):
    def exported(*options: str) -> str:
        capfd.readouterr()
        with pytest.raises(SystemExit) as stop:
            main(["export", str(finished.path), *options])
        assert stop.value.code == 0
        return capfd.readouterr().out

    written = list(csv.DictReader(io.StringIO(exported())))
    assert {f"'{name}" for name in FORMULAS} <= {row["attack"] for row in written}
    saved = list(csv.DictReader((finished.path / "report" / "downloads" / "metrics.csv").open(encoding="utf-8")))
    assert saved == written
    assert {row["attack"] for row in json.loads(exported("--format", "json"))} >= set(FORMULAS)
    # A negative number is no formula.
    differences = [row["difference"] for row in csv.DictReader(io.StringIO(exported("--what", "comparisons")))]
    assert differences == [repr(value) for value in finished.run.comparisons.difference]
    assert any(value.startswith("-") for value in differences)


@given(st.text())
def test_no_text_of_a_spreadsheet_begins_as_a_formula_does(text):
    assert for_spreadsheets(text)[:1] not in tuple("=+-@\t\r\n＝＋－＠")
    assert for_spreadsheets(text).removeprefix("'") == text.removeprefix("'")
    assert for_spreadsheets(-1.5) == -1.5


@given(st.text(st.characters()))
def test_a_terminal_gets_nothing_that_turns_or_hides_text(text):
    shown = printable(text)
    assert not any(char in shown for char in "\x1b\x07\x08\r\x9b\u200b\u200e\u200f\u202a\u202e\u2066\u2069\ud800")
    if text.isascii() and text.isprintable():
        assert shown == text


def test_every_signal_has_words():
    assert signal_name(signal.SIGKILL) == f"signal {int(signal.SIGKILL)} (SIGKILL)"
    assert signal_name(40) == "signal 40"  # a real-time one


def test_what_turns_text_is_escaped_in_all_that_is_said(finished, capfd):
    assert "\u202e" not in finished.said
    assert "\x1b" not in finished.said
    assert "safe\\u202edekcatta" in finished.said
    with pytest.raises(SystemExit):
        main(["plan", "a\u202eb\x1b[31m.yaml"])
    said = capfd.readouterr().err
    assert "\u202e" not in said
    assert "\x1b" not in said


def on_a_terminal(command: list[str], environment: dict[str, str]) -> tuple[int, str]:
    """Return exit code and what a terminal was sent."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(command, env=environment, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        sent = b""
        while True:
            try:
                found = os.read(ours, 65536)
            except OSError:
                break
            if not found:
                break
            sent += found
    os.close(ours)
    return process.returncode, sent.decode("utf-8", "replace")


@pytest.mark.slow
def test_a_narrow_terminal_shows_a_run_and_its_table_with_every_mark_escaped(finished):
    place = finished.path.parent
    run = ["run", str(place / "toy.yaml"), "--output", str(place / "narrow"), "--cache", str(place / "new cache")]
    commands = [
        [*run, *INLINE, "--no-report"],
        ["plan", *run[1:2], "--cache", *run[5:], "--plugin", "toy"],
        ["export", str(finished.path)],
        ["--help"],
    ]
    environment = {**os.environ, "COLUMNS": "20", "TERM": "xterm", "PYTHONPATH": str(Path(__file__).parent)}
    environment.pop("HOME", None)
    code, sent = on_a_terminal([sys.executable, "-c", COMMANDS % commands], environment)
    assert code == 0, sent
    assert "Traceback" not in sent
    assert "\u202e" not in sent
    assert "\x1b[31m" not in sent.replace("\x1b[31mFAILED", "")
    assert "\\u202e" in sent


@pytest.mark.slow
def test_names_that_are_no_utf8_in_a_plain_ascii_world(tmp_path):
    folder = tmp_path / os.fsdecode(b"gr\xfc\xdfe")
    folder.mkdir()
    suite = write_suite(folder, SUITE).rename(folder / os.fsdecode(b"s\xfcite.yaml"))
    run, report = (str(folder / os.fsdecode(name)) for name in (b"r\xfcn", b"rep\xf6rt"))
    cache = str(tmp_path / "cache")
    commands = [
        ["run", str(suite), "--output", run, "--cache", cache, *INLINE],
        ["plan", str(suite), "--cache", cache, "--plugin", "toy"],
        ["export", run],
        ["report", run, "-o", report],
    ]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent), "PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    environment.pop("HOME", None)
    program = COMMANDS % commands
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert b"Traceback" not in done.stderr
    assert (Path(report) / "index.html").exists()


def test_a_cache_whose_name_is_no_utf8_is_refused_before_any_work(tmp_path, capfd):
    cache = str(tmp_path / os.fsdecode(b"c\xe4che"))
    with pytest.raises(SystemExit) as stop:
        main(["run", str(write_suite(tmp_path)), "--cache", cache, "--output", str(tmp_path / "run"), *INLINE])
    assert stop.value.code == 2
    said = capfd.readouterr().err
    assert "is no UTF-8" in said
    assert "--cache" in said
    assert not (tmp_path / "run").exists()


def test_without_a_home_the_cache_has_to_be_named(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("BENCH_CACHE", "~nobody-of-that-name/cache")
    with pytest.raises(SystemExit) as stop:
        main(["plan", str(write_suite(tmp_path)), "--plugin", "toy"])
    assert stop.value.code == 2
    assert "BENCH_CACHE" in capfd.readouterr().err


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="glibc alone keeps what is freed")
def test_what_is_freed_below_what_is_held_goes_back_to_the_system():
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    blocks = [bytearray(50_000) for _ in range(2_000)]
    last = blocks[-1]
    held = resident()
    del blocks
    assert held - resident() < 50e6, "it goes back by itself: this test shows nothing"
    give_back()
    assert held - resident() > 90e6
    assert len(last) == 50_000


LARGE = """
import torch
from torch import nn

from benchmark import ArraySplit, hookimpl
from toy import Blobs, Linear


class Large(Blobs):
    def load(self, split):
        small = super().load(split)
        images = small.images(range(24)).repeat_interleave(68, 2).repeat_interleave(68, 3)
        return ArraySplit(images.numpy(), small.labels[:24], small.class_names)


class Narrow(nn.Module):
    def forward(self, x):
        if x.numel() > 2**20:
            raise ValueError(f"{len(x)} images of 272x272 at once")
        return x


class Narrower(nn.Module):
    def forward(self, x):
        if x.requires_grad and x.numel() > 2 * 272**2:
            raise ValueError(f"{len(x)} images of 272x272 at once, with gradients")
        return x


class Modest(Linear):
    def network(self, num_classes, image_shape):
        return nn.Sequential(Narrow(), Narrower(), nn.AdaptiveAvgPool2d(4), *super().network(num_classes, (1, 4, 4)))


@hookimpl
def register_datasets(register):
    register("large", Large)


@hookimpl
def register_models(register):
    register("modest", Modest)
"""


def test_no_forward_pass_holds_more_pixels_than_a_few_photos_have(run_toy, tmp_path, monkeypatch):
    """256 photos at once took the photo quickstart's worker 1.8 GiB, looking at 16 with gradients as much as an attack.

    Batches of the suite are its author's choice.
    """
    (tmp_path / "large_images.py").write_text(LARGE)
    monkeypatch.syspath_prepend(str(tmp_path))
    finished = run_toy(
        plugins=("large_images",),
        batch_size="2",
        datasets="{large: {use: large}}",
        models="{modest: {use: modest, train: {epochs: 1, batch_size: 4, lr: 0.1}}}",
        defenses="{none: {use: plain}, states: {use: mahalanobis, layer: logits}}",
        probes="[silent-success]",
    )
    assert finished.code == 0, finished.said


def test_a_library_that_tells_of_what_is_not_freed_finds_all_freed(tmp_path):
    """triton does; it comes with networks of timm."""
    pytest.importorskip("triton._C.libtriton")
    (tmp_path / "heavy.py").write_text("import triton._C.libtriton\n")
    command = [sys.executable, "-m", "benchmark", "plugins", "--plugin", "heavy"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert (ended.returncode, ended.stderr) == (0, "")
