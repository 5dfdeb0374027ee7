"""Cells and their tables: results that follow from drawn labels, and what the host makes of them."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from benchmark.builtin import measures
from benchmark.cells import Answers, ArtifactResult, Cell, CellResult
from benchmark.metrics.metric import Metric
from benchmark.names import ProbeName
from benchmark.panel import Panel
from benchmark.results.tables import Tables
from benchmark.results.tabulation import Tabulation
from benchmark.suite import Published


def tabulate(
    results: Iterable[CellResult],
    metrics: Mapping[str, Metric],
    groups: Mapping[str, Sequence[str]],
    references: Sequence[Published],
    artifacts: Sequence[ArtifactResult] = (),
    panels: Sequence[Panel] = (),
    probes: Sequence[ProbeName] = (),
) -> Tables:
    tabulation = Tabulation(metrics, panels)
    for number, result in enumerate(results):
        tabulation.add(number, result)
    return tabulation.tables(groups, references, artifacts, probes)


METRICS: dict[str, Metric] = {name: kind() for name, kind in measures().items()}

COLUMNS = ["dataset", "model", "attack", "norm", "eps", "defense", "knowledge", "seed", "metric"]

COLUMNS += ["value", "ci_low", "ci_high", "n", "status", "reference", "trust"]

IMAGES = 60


def answers(generator, y, accuracy: float, score: float | None) -> Answers:
    label = np.where(generator.random(len(y)) < accuracy, y, (y + 1) % 3)
    scores = None if score is None else generator.normal(score, 1, len(y)).astype(np.float32)
    return Answers(label, label, scores, None if scores is None else scores > 1.5)


def result(
    defense="none",
    attack="pgd",
    seed=0,
    *,
    eps=8,
    norm="linf",
    status="ok",
    model="net",
    images=IMAGES,
    scored=True,
    sweep="",
    accuracy=0.4,
    knowledge="gray-box",
) -> CellResult:
    """Return a cell whose numbers follow from its labels."""
    generator = np.random.default_rng(abs(hash_of(defense, attack, seed, eps)))
    y = np.arange(images) % 3
    clean = answers(np.random.default_rng(hash_of(defense, seed)), y, 0.9, 0.0 if scored else None)
    is_clean = attack == "none"
    cell = Cell(y, clean)
    if not is_clean:
        sizes = np.full(images, eps / 255, dtype=np.float32)
        cell = Cell(y, clean, answers(generator, y, accuracy, 1.0 if scored else None), sizes, norm, eps / 255)
    return CellResult(
        dataset="blobs",
        model=model,
        attack=attack,
        defense=defense,
        knowledge="" if is_clean else knowledge,
        seed=seed,
        norm="" if is_clean else norm,
        eps="" if is_clean else f"{eps}/255",
        status=status,
        reason="" if status == "ok" else "it broke",
        cell=cell if status == "ok" else None,
        sample_ids=[f"image-{i}" for i in range(images)] if status == "ok" else (),
        details={},
        sweep=sweep,
    )


def hash_of(*parts: object) -> int:
    return zlib.crc32(repr(parts).encode())


def table(*results: CellResult, groups=None, references=(), metrics=None) -> Tables:
    return tabulate(results, metrics or METRICS, groups or {}, references)


def rows(tables: Tables, **where: str) -> pd.DataFrame:
    found = tables.metrics
    for column, value in where.items():
        found = found[found[column] == value]
    return found


class Labels(Panel):
    title = "Labels"

    def of_image(self, image):
        return ()

    def points(self, use, cell):
        return {"true": (np.arange(len(cell.y)), cell.y)}
