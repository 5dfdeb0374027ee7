"""Fixtures: a runner for suites of toy components."""

from __future__ import annotations

from pathlib import Path

import pytest

from suites import SUITE, Finished, write_suite

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture
def toy_suite(tmp_path):
    """Return a function that writes a suite file of toy components and returns its path."""
    return lambda text=SUITE, **replacements: write_suite(tmp_path, text, **replacements)


@pytest.fixture
def run_toy(tmp_path, toy_suite):
    """Return a function that runs a suite of toy components in this process."""

    def run(path: Path | None = None, *, out: str = "run", **arguments) -> Finished:
        from inline import toy_run

        names = ("fresh", "part", "plugins", "executor", "replace", "report")
        options = {"replace": True} | {name: arguments.pop(name) for name in names if name in arguments}
        return toy_run(path or toy_suite(**arguments), tmp_path / out, tmp_path / "cache", **options)

    return run
