"""`python -m perf`: the page of measurements."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path

import pytest

from benchmark.cli import main

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def perf(tmp_path):
    """`python -m perf` over two measurements of its own."""
    folder = tmp_path / "perf"
    folder.mkdir()
    shutil.copy(ROOT / "perf" / "__main__.py", folder)
    (folder / "long.py").write_text(
        '"""How long."""\ndef main(): pass\nimport sys\nprint("## no heading", sys.argv[1:])\n'
    )
    (folder / "wide.py").write_text('"""How wide."""\ndef main(): pass\nraise SystemExit("too wide to measure")\n')
    (folder / "beside.py").write_text('"""No measurement."""\n')
    found = importlib.util.spec_from_file_location("perf_main", folder / "__main__.py")
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def test_a_later_call_replaces_the_sections_that_it_measures_and_keeps_the_others(perf, tmp_path):
    page = tmp_path / "perf" / "results.md"
    assert perf.main(["long --rounds 3", "long"]) == 0
    first = perf.sections(page.read_text())
    assert list(first) == ["long", "long --rounds 3"]
    assert "## no heading ['--rounds', '3']" in first["long --rounds 3"]
    assert perf.main(["wide", "long"]) == 1  # one that fails keeps none from being measured
    later = perf.sections(page.read_text())
    assert list(later) == ["long", "long --rounds 3", "wide"]
    assert later["long --rounds 3"] == first["long --rounds 3"]
    assert "ended with 1: ['too wide to measure']" in later["wide"]


def test_without_names_everything_that_measures_is_run(perf, tmp_path):
    assert perf.main(["-o", str(tmp_path / "page.md")]) == 1
    assert list(perf.sections((tmp_path / "page.md").read_text())) == ["long", "wide"]


@pytest.mark.parametrize("asked", ["broad", "beside", ""])
def test_what_is_no_measurement_is_refused(perf, capsys, asked):
    with pytest.raises(SystemExit) as ended:
        perf.main(["long", asked])
    assert ended.value.code == 2
    assert f"no measurement is called {asked!r}: there are long, wide" in capsys.readouterr().err


def test_what_memory_measures_is_a_suite_with_and_without_states(tmp_path, monkeypatch, capsys):
    found = importlib.util.spec_from_file_location("memory", ROOT / "perf" / "memory.py")
    memory = importlib.util.module_from_spec(found)
    monkeypatch.setitem(sys.modules, "memory", memory)
    found.loader.exec_module(memory)
    for defenses in (memory.NOTHING, memory.STATES.replace("LAYER", "first")):
        suite = tmp_path / "memory.yaml"
        suite.write_text(memory.SUITE.format(images=100, defenses=defenses))
        with pytest.raises(SystemExit) as ended:
            main(["validate", str(suite), "--plugin", "memory"])
        assert not ended.value.code, capsys.readouterr().err
