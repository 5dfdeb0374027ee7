"""Suites loaded, planned and run in this process."""

from __future__ import annotations

import io
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
        from benchmark import load_run
        from benchmark.display import LineDisplay
        from benchmark.run import RunRequest, run_suite

        loaded, registry = load_suite_file(text, *plugins)
        said = io.StringIO()
        request = RunRequest(
            output=tmp_path / "run",
            cache=tmp_path / "cache",
            device="cpu",
            executor="inline",
            workers=None,
            part=None,
            fresh=False,
            report=False,
            command=["bench", "run"],
        )
        code = run_suite(loaded, registry, request, LineDisplay(said))
        return code, load_run(tmp_path / "run"), said.getvalue()

    return run
