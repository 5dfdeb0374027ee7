"""Paired tests between defenses on the same images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from benchmark.cells import Cell, CellResult, right, withstood
from benchmark.names import CLEAN, IDENTITY, SUMMARIES, CellName
from benchmark.results.groups import Group
from benchmark.results.measures import HEADLINES
from benchmark.results.tables import COMPARISON_COLUMNS
from benchmark.statistics import PairedDifference, compare_over_seeds, compare_paired


@dataclass
class _System:
    """What a defense did on each image: shares of repeats, (N,) each."""

    defense: str
    sample_ids: Sequence[str]
    measured: dict[str, np.ndarray]
    rejects: bool


def comparisons_of(results: Sequence[CellResult], groups: Sequence[Group]) -> pd.DataFrame:
    """Return paired tests between every two defenses on the same images under the same attack or group of attacks."""
    points: dict[CellName, list[_System]] = {}
    for result in results:
        if result.cell is not None:
            names = HEADLINES["clean" if result.attack == CLEAN else "attack"]
            _enter(points, result.name(), result.sample_ids, names, [result.cell])
    for group in groups:
        if group.status == "ok":
            cells = [result.cell for result in group.results if result.cell is not None]
            _enter(points, group.point, group.results[0].sample_ids, HEADLINES["group"], cells)
    rows: list[dict[str, Any]] = []

    def add(
        where: Mapping[str, str], name: str, pair: tuple[str, str], a: np.ndarray, b: np.ndarray, p: PairedDifference
    ) -> None:
        rows.append(
            {
                **where,
                "metric": name,
                "defense_a": pair[0],
                "defense_b": pair[1],
                "value_a": float(a.mean()),
                "value_b": float(b.mean()),
                "difference": p.difference,
                "ci_low": p.low,
                "ci_high": p.high,
                "p_value": p.p_value,
                "n": p.n,
                "only_a": p.only_first,
                "only_b": p.only_second,
            }
        )

    # By seed, what each of two defenses did on the images that both judged.
    seeds: dict[tuple[CellName, str, tuple[str, str]], list[tuple[Sequence[str], np.ndarray, np.ndarray]]] = {}
    for point, systems in points.items():
        where, crossed = _columns(point), replace(point, seed=SUMMARIES.crossed)
        for a, b in combinations(systems, 2):
            first, second = _common(a.sample_ids, b.sample_ids)
            images = a.sample_ids if len(first) == len(a.sample_ids) else [a.sample_ids[place] for place in first]
            for name in a.measured:
                joint = name in (HEADLINES["clean"][1], HEADLINES["attack"][1], HEADLINES["group"][1])
                if (joint and not (a.rejects or b.rejects)) or len(first) == 0:
                    continue
                of_a, of_b = a.measured[name][first], b.measured[name][second]
                pair = (a.defense, b.defense)
                add(where, name, pair, of_a, of_b, compare_paired(of_a, of_b))
                seeds.setdefault((crossed, name, pair), []).append((images, of_a, of_b))
    for (point, name, pair), found in seeds.items():
        if len(found) > 1 and all(list(images) == list(found[0][0]) for images, _, _ in found):
            every_a, every_b = np.stack([a for _, a, _ in found]), np.stack([b for _, _, b in found])
            add(_columns(point), name, pair, every_a, every_b, compare_over_seeds(every_a, every_b))
    frame = pd.DataFrame(rows, columns=list(COMPARISON_COLUMNS))
    numbers = ("value_a", "value_b", "difference", "ci_low", "ci_high", "p_value")
    counts = ("n", "only_a", "only_b")
    kinds = dict.fromkeys(numbers, "float64") | dict.fromkeys(counts, "int64")
    return frame.astype({name: kinds.get(name, "str") for name in COMPARISON_COLUMNS})


def _columns(point: CellName) -> dict[str, str]:
    return {column: getattr(point, column) for column in IDENTITY if column != "defense"}


def _enter(
    points: dict[CellName, list[_System]],
    point: CellName,
    sample_ids: Sequence[str],
    names: tuple[str, str],
    cells: Sequence[Cell],
) -> None:
    """Add a defense to those that are compared at the point; under several attacks, by its worst case per image."""
    answers = [cell.clean if cell.attacked is None else cell.attacked for cell in cells]
    labels = [right(answer, cell.y).mean(0) for answer, cell in zip(answers, cells, strict=True)]
    joint = [withstood(cell).mean(0) for cell in cells]
    measured = {names[0]: np.min(labels, axis=0), names[1]: np.min(joint, axis=0)}
    rejects = any(answer.flagged is not None for answer in answers)
    system = _System(point.defense, sample_ids, measured, rejects)
    points.setdefault(replace(point, defense=""), []).append(system)


def _common(a: Sequence[str], b: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return the places of the images that both have, in the order of the first."""
    if a is b or list(a) == list(b):
        return np.arange(len(a)), np.arange(len(a))
    places = {name: place for place, name in enumerate(b)}
    both = [(place, places[name]) for place, name in enumerate(a) if name in places]
    return np.array([i for i, _ in both], dtype=int), np.array([j for _, j in both], dtype=int)
