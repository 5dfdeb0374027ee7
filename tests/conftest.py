"""Fixtures: a runner for suites of toy components."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@dataclass
class Finished:
    """What `bench run` did."""

    code: int
    path: Path
    said: str

    @property
    def run(self):
        from benchmark import load_run

        return load_run(self.path)

    def values(self, metric: str, **where: str):
        """Return the metric's rows, as a mapping from (attack, defense) to value."""
        rows = self.run.metrics
        rows = rows[rows.metric == metric]
        for column, value in where.items():
            rows = rows[rows[column] == value]
        return {(row.attack, row.defense): row.value for row in rows.itertuples()}


SUITE = """
suite: toy
title: Toy
seeds: [0]
batch_size: 16
datasets:
  blobs: {use: blobs}
models:
  linear: {use: linear}
attacks:
  step: {use: step, eps: 0.3}
defenses:
  none: {use: plain}
grid:
  - {datasets: all, models: all, attacks: all, defenses: all}
"""


@pytest.fixture
def toy_suite(tmp_path):
    """Return a function that writes a suite file of toy components and returns its path."""

    def write(text: str = SUITE, **replacements: str) -> Path:
        text = textwrap.dedent(text)
        for section, value in replacements.items():
            lines = text.splitlines()
            start = next((i for i, line in enumerate(lines) if line.startswith(f"{section}:")), len(lines))
            stop = next((i for i in range(start + 1, len(lines)) if not lines[i].startswith(" ")), len(lines))
            text = "\n".join([*lines[:start], f"{section}: {value}", *lines[stop:]]) + "\n"
        path = tmp_path / "toy.yaml"
        path.write_text(text)
        return path

    return write


@pytest.fixture
def run_toy(tmp_path, toy_suite):
    """Return a function that runs a suite of toy components in this process."""

    def run(
        path: Path | None = None,
        *,
        out: str = "run",
        fresh: bool = False,
        part=None,
        plugins: tuple[str, ...] = (),
        **replacements: str,
    ) -> Finished:
        from inline import start_inline

        from benchmark.plugins import load_plugins
        from benchmark.suite import load_suite

        registry = load_plugins(["toy", "inline", *plugins])
        loaded = load_suite(str(path or toy_suite(**replacements)), registry=registry)
        code, said = start_inline(loaded, registry, tmp_path / out, tmp_path / "cache", part=part, fresh=fresh)
        return Finished(code, tmp_path / out, said)

    return run
