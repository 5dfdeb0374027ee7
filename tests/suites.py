"""Suites of toy components, and what came of running one."""

from __future__ import annotations

import json
import textwrap
from dataclasses import dataclass
from pathlib import Path

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


def write_suite(folder: Path, text: str = SUITE, **replacements: str) -> Path:
    """Write `toy.yaml` with some of its sections replaced, and return its path."""
    text = textwrap.dedent(text)
    for section, value in replacements.items():
        lines = text.splitlines()
        start = next((i for i, line in enumerate(lines) if line.startswith(f"{section}:")), len(lines))
        stop = next((i for i in range(start + 1, len(lines)) if not lines[i].startswith(" ")), len(lines))
        text = "\n".join([*lines[:start], f"{section}: {value}", *lines[stop:]]) + "\n"
    path = folder / "toy.yaml"
    path.write_text(text)
    return path


METRICS = "metrics.parquet"


def journal(finished) -> list[dict]:
    return [json.loads(line) for line in (finished.path / "journal.jsonl").read_text().splitlines()]


def ran(finished) -> list[str]:
    """Kinds of the tasks that were really run, over all tries in this directory."""
    return [line["kind"] for line in journal(finished) if line["event"] == "task done"]
