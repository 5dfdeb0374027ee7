"""Paired tests between defenses on the same images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
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

    @cached_property
    def means(self) -> dict[str, float]:
        """What it did on all of them: each defense is compared with every other one."""
        return {name: float(shares.mean()) for name, shares in self.measured.items()}

    def on(self, places: list[int]) -> _System:
        """Return it on these images alone."""
        measured = {name: shares[np.array(places, dtype=int)] for name, shares in self.measured.items()}
        return replace(self, sample_ids=[self.sample_ids[place] for place in places], measured=measured)


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
        where: Mapping[str, str], name: str, pair: tuple[str, str], values: tuple[float, float], p: PairedDifference
    ) -> None:
        rows.append(
            {
                **where,
                "metric": name,
                "defense_a": pair[0],
                "defense_b": pair[1],
                "value_a": values[0],
                "value_b": values[1],
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
            same = a.sample_ids is b.sample_ids or list(a.sample_ids) == list(b.sample_ids)
            x, y = (a, b) if same else _common(a, b)
            pair = (a.defense, b.defense)
            for name in a.measured:
                joint = name in (HEADLINES["clean"][1], HEADLINES["attack"][1], HEADLINES["group"][1])
                if (joint and not (a.rejects or b.rejects)) or len(x.sample_ids) == 0:
                    continue
                of_a, of_b = x.measured[name], y.measured[name]
                add(where, name, pair, (x.means[name], y.means[name]), compare_paired(of_a, of_b))
                seeds.setdefault((crossed, name, pair), []).append((x.sample_ids, of_a, of_b))
    for (point, name, pair), found in seeds.items():
        if len(found) > 1 and all(list(images) == list(found[0][0]) for images, _, _ in found):
            every_a, every_b = np.stack([a for _, a, _ in found]), np.stack([b for _, _, b in found])
            values = float(every_a.mean()), float(every_b.mean())
            add(_columns(point), name, pair, values, compare_over_seeds(every_a, every_b))
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


def _common(a: _System, b: _System) -> tuple[_System, _System]:
    """Return both on the images that both have alone, in the order of the first."""
    places = {name: place for place, name in enumerate(b.sample_ids)}
    both = [(place, places[name]) for place, name in enumerate(a.sample_ids) if name in places]
    return a.on([i for i, _ in both]), b.on([j for _, j in both])
