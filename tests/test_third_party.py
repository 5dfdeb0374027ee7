"""A stranger's distribution, installed into an environment of its own, takes part like a built-in one."""

from __future__ import annotations

import html
import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pandas as pd
import pytest

pytestmark = pytest.mark.slow

DISTRIBUTION = Path(__file__).parent / "third_party"
COMPONENTS = {
    ("dataset", "stripes"),
    ("attack", "uniform_noise"),
    ("defense", "max_softmax"),
    ("panel", "sureness"),
}

Bench = Callable[..., str]
DIGITS = """
suite: digits
seeds: [0]
datasets: {digits: {use: digits}}
models: {mlp: {use: idefender_e, train: {epochs: 3}}}
attacks: {fgsm: {use: fgsm, norm: linf, eps: 0.2}}
defenses: {none: {use: none}, unsure: {use: max_softmax}}
grid:
  - {datasets: all, models: all, attacks: all, defenses: all, knowledge: gray-box}
"""


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """Run `bench` in an environment that holds the stranger's distribution, and return its standard output."""
    if importlib.util.find_spec("pip") is None:
        pytest.skip("this environment has no pip, which installs the stranger's distribution")
    folder = tmp_path_factory.mktemp("third_party")
    python = environment_on_top_of_this_one(folder / "venv")
    # Copied, since building leaves files beside the sources.
    sources = shutil.copytree(DISTRIBUTION, folder / "bench-example")
    install(python, sources)

    def run(*arguments: str) -> str:
        command = [str(python), "-m", "benchmark.cli", *arguments]
        variables = {**os.environ, "BENCH_CACHE": str(folder / "cache")}
        done = subprocess.run(command, cwd=sources, env=variables, capture_output=True, text=True)
        assert done.returncode == 0, f"{' '.join(arguments)}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    return run


def environment_on_top_of_this_one(folder: Path) -> Path:
    """Return the interpreter of a fresh environment that also sees what is installed here."""
    venv.create(folder, with_pip=False)
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    here = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    query = "import sysconfig; print(sysconfig.get_path('purelib'))"
    own = subprocess.run([python, "-c", query], check=True, capture_output=True, text=True).stdout.strip()
    # addsitedir, unlike a bare path, also reads the .pth files there: those of editable installs.
    lines = [f"import site; site.addsitedir({path!r})\n" for path in here]
    (Path(own) / "environment_below.pth").write_text("".join(lines))
    return python


def install(python: Path, sources: Path) -> None:
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps"]
    # setuptools makes wheels by itself since 70.1; an older one may need what only an index has.
    if int(importlib.metadata.version("setuptools").partition(".")[0]) > 70:
        command += ["--no-build-isolation", "--no-index"]
    done = subprocess.run([*command, str(sources)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_its_components_are_listed_with_their_origin(bench: Bench) -> None:
    facts = json.loads(bench("plugins", "--json"))
    ours = [c for c in facts["components"] if c["distribution"] == "bench-example"]
    assert {(c["kind"], c["name"]) for c in ours} == COMPONENTS
    assert {c["distribution_version"] for c in ours} == {"0.1.0"}
    assert {c["distribution"] for c in facts["components"]} == {"bench-example", "unmask-bench"}


def test_its_suite_is_valid(bench: Bench) -> None:
    said = bench("validate", "suite.yaml")
    assert "suite.yaml: valid" in said
    assert "Data and networks were not looked at: `bench plan` does" in said


def test_its_suite_runs(bench: Bench) -> None:
    bench("run", "suite.yaml", "--output", "run", "--device", "cpu", "--workers", "1")
    table = pd.read_csv(StringIO(bench("export", "run", "--format", "csv", "--what", "metrics")))
    assert set(table["status"]) == {"ok"}
    assert {"none", "noise", "fgsm"} <= set(table["attack"])

    def value(attack: str, defense: str, metric: str) -> float:
        (row,) = table.query("attack == @attack and defense == @defense and metric == @metric").to_dict("records")
        return float(row["value"])

    # Stripes are easy, and noise of a fifth of their contrast hides none of them.
    assert value("none", "none", "clean_accuracy") > 0.9
    assert value("noise", "none", "robust_accuracy") > 0.9
    # The attack keeps its budget and uses it; 64 uniform draws rarely stay below 0.08.
    assert 0.08 < value("noise", "none", "perturbation_mean") <= 0.1 + 1e-6
    assert value("fgsm", "none", "robust_accuracy") < 0.5
    # The detector is judged as one: by a threshold from validation images, and over the same attacked images.
    assert value("none", "unsure", "clean_fpr") < 0.2
    assert 0 <= value("fgsm", "unsure", "auroc") <= 1
    assert value("fgsm", "unsure", "robust_accuracy") == value("fgsm", "none", "robust_accuracy")


def test_its_panel_stands_beside_the_images_of_the_report(bench: Bench, tmp_path: Path) -> None:
    suite, folder = tmp_path / "digits.yaml", tmp_path / "run"
    suite.write_text(DIGITS)
    bench("run", str(suite), "--output", str(folder), "--device", "cpu", "--workers", "1")
    table = bench("export", str(folder), "--format", "csv", "--what", "samples")
    samples = pd.read_csv(StringIO(table), dtype={"sample": str})
    scores = samples[samples["defense"] == "unsure"].set_index(["attack", "sample"])["score"]
    (page,) = (folder / "report" / "cells").glob("fgsm-unsure-*.html")
    cards = page.read_text(encoding="utf-8").split('<li class="card">')[1:]
    assert len(cards) > 4
    for card in cards:
        for image in re.findall(r'src="([^"]+)"', card):
            assert (page.parent / image).is_file()
        assert "Confidence of the classifier" in card
        sample = re.search(r'<span class="muted small"><bdi[^>]*>(.*?)</bdi>', card)
        assert sample is not None
        shown = re.findall(r"<bdi>([\d.]+%)</bdi>", card)
        name = html.unescape(sample[1])
        assert shown == [f"{1 - scores[attack, name]:.1%}" for attack in ("none", "fgsm")]
    # The undefended system has images too, and nothing of the plugin beside them.
    (other,) = (folder / "report" / "cells").glob("fgsm-none-*.html")
    text = other.read_text(encoding="utf-8")
    assert '<li class="card">' in text
    assert "Confidence of the classifier" not in text
