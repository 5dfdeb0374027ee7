"""Suites loaded, planned and run in this process."""

from __future__ import annotations

import textwrap
from collections.abc import Callable

import pytest


@pytest.fixture
def load_suite_file(tmp_path, monkeypatch) -> Callable[..., tuple]:
    """Return a function that loads a suite of toy components, I-defender and `plugins`: the suite and the plugins."""

    def load(text: str, *plugins: str) -> tuple:
        from benchmark.plugins import load_plugins
        from benchmark.suite import load_suite

        monkeypatch.setenv("BENCH_PLUGINS", "core")
        path = tmp_path / "suite.yaml"
        path.write_text(textwrap.dedent(text))
        registry = load_plugins(["toy", "inline", "bench_idefender", *plugins])
        return load_suite(str(path), registry=registry), registry

    return load


@pytest.fixture
def run_suite_file(load_suite_file, tmp_path) -> Callable[..., tuple[int, object, str]]:
    """Return a function that runs such a suite: exit code, the run, what was said."""

    def run(text: str, *plugins: str):
        from inline import run_inline

        loaded, registry = load_suite_file(text, *plugins)
        return run_inline(loaded, registry, tmp_path)

    return run
