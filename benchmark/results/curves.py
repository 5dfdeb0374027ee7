"""Points of curves: of one cell, and over budgets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from benchmark.cells import Cell, CellResult, initially_right, score_pairs, success_by_distance, successful
from benchmark.metrics.attack import AttackSuccessRate, RobustAccuracy
from benchmark.metrics.clean import CleanAccuracy
from benchmark.names import CellName
from benchmark.results.asking import Asking
from benchmark.results.samples import Blocks
from benchmark.results.tables import CURVE_COLUMNS
from benchmark.statistics import roc_curve, thin

if TYPE_CHECKING:
    from benchmark.panel import Panel


PLANE_POINTS, PLANE_CLASSES = 300, 10
"""States of a network that are kept to be drawn, and their classes, at most."""
DENSITY_BINS = 40


def planes(cell: Cell) -> Iterable[tuple[str, dict[str, np.ndarray]]]:
    """Yield the states of some images in the plane of their layer by class, and the shares of variance of its axes."""
    for layer, plane in cell.planes.items():
        classes = np.unique(cell.y)[:PLANE_CLASSES]
        most = max(PLANE_POINTS // len(classes), 1)
        for one in classes:
            own = np.flatnonzero(cell.y == one)
            chosen = np.sort(np.random.default_rng(0).permutation(own)[:most])  # the same images of every network
            yield f"plane:{layer}: class {one}", dict(zip("xy", plane.points[chosen].T.astype(np.float64)))
        yield f"plane:{layer}: shares", {"x": np.array([1.0, 2.0]), "y": plane.shares.astype(np.float64)}


def path_curves(result: CellResult) -> Iterable[tuple[str, dict[str, np.ndarray]]]:
    """Yield the margin along the way of the attack over the images of the sample: its median and its quartiles."""
    path = result.examined.get("path")
    if path is None:
        return
    # Whoever has ended stays where he is.
    margin = pd.DataFrame(path["margin"]).ffill(axis=1).to_numpy(dtype=np.float64)
    known = np.flatnonzero(np.isfinite(margin).any(0))
    if known.size:
        kept = known[np.unique(np.linspace(0, known.size - 1, 200).round().astype(int))]
        quartiles = np.nanquantile(margin[:, kept], (0.5, 0.25, 0.75), axis=0)
        for name, values in zip(("", "_low", "_high"), quartiles, strict=True):
            yield f"margin_per_pass{name}", {"x": kept + 1.0, "y": values}


def distance_curve(cell: Cell) -> Iterable[tuple[str, dict[str, np.ndarray]]]:
    """Yield attack success over the distance of an attack without a budget, at most some 200 points of it."""
    found = success_by_distance(cell) if cell.attacked is not None and cell.eps is None else None
    if found is None or len(found[0]) == 0:
        return
    distances, share = found
    kept = np.unique(np.linspace(0, len(distances) - 1, 200).round().astype(int))
    x, y = np.append(0.0, distances[kept]), np.append(0.0, share[kept])
    yield "success_vs_distance", {"x": x, "y": y}


def score_curves(cell: Cell) -> Iterable[tuple[str, dict[str, np.ndarray]]]:
    """Yield ROC curves and score histograms of an attacked cell whose defense has scores without NaN."""
    if cell.attacked is None or cell.attacked.score is None or cell.clean.score is None:
        return
    if np.isnan(cell.attacked.score).any() or np.isnan(cell.clean.score).any():
        return  # the measures say so
    for name, all_attacks in (("roc", False), ("roc_all", True)):
        pairs = score_pairs(cell, all_attacks=all_attacks)
        if pairs is not None:
            roc = thin(roc_curve(pairs.adversarial, pairs.clean))
            yield name, {"x": roc.fpr, "y": roc.tpr, "threshold": roc.threshold}
    adversarial, clean = np.atleast_2d(cell.attacked.score), np.atleast_2d(cell.clean.score)
    success, before = successful(cell), initially_right(cell)
    kinds = {"clean": clean, "success": adversarial[:, success]}
    kinds |= {"failed": adversarial[:, ~success & before], "wrong": adversarial[:, ~success & ~before]}
    finite = np.concatenate([clean.ravel(), adversarial.ravel()])
    finite = finite[np.isfinite(finite)]
    if finite.size == 0:
        return
    # A few far outliers must not squeeze everything else into one bin; they are counted in the outermost bins.
    low, high = np.quantile(finite, [0.005, 0.995])
    edges = np.histogram_bin_edges([low, high], bins=DENSITY_BINS, range=(low, high))
    centres = (edges[1:] + edges[:-1]) / 2
    for kind, values in kinds.items():
        if values.size:
            counts, _ = np.histogram(values.clip(edges[0], edges[-1]), bins=edges)
            yield f"score_density_{kind}", {"x": centres, "y": counts}


def panel_points(
    point: CellName, result: CellResult, panels: Sequence[Panel], asking: Asking, problems: dict[str, str]
) -> Iterable[tuple[str, dict[str, np.ndarray]]]:
    """Yield what the panels keep of a cell."""

    def points(title: str, given: Sequence[Cell]) -> list[tuple[str, dict[str, np.ndarray]]]:
        blocks = []
        of_title = [panel.points(result.use, given[0]) for panel in panels if panel.title == title]
        for name, (x, y) in [point for kept in of_title for point in kept.items()]:
            block = {"x": np.asarray(x, dtype=np.float64), "y": np.asarray(y, dtype=np.float64)}
            if block["x"].ndim != 1 or block["x"].shape != block["y"].shape:
                raise ValueError(f"{name!r}: x {block['x'].shape} and y {block['y'].shape} are not (n,) each")
            blocks.append((f"{title}: {name}", block))
        return blocks

    assert result.cell is not None
    questions = {panel.title: partial(points, panel.title) for panel in panels}
    for blocks in asking.ask(point, [result.cell], questions, problems).values():
        yield from blocks


def budget_curves(results: Sequence[CellResult]) -> Iterable[tuple[CellName, str, dict[str, np.ndarray]]]:
    """Yield accuracy and success over eps at each of the attacks that differ in nothing else; at 0: clean images."""
    sweeps: dict[tuple[str, ...], list[CellResult]] = {}
    for result in results:
        if result.sweep and result.cell is not None and result.cell.eps is not None:
            key = (result.dataset, result.model, result.defense, result.knowledge, str(result.seed), result.norm)
            sweeps.setdefault((*key, result.sweep), []).append(result)
    for members in sweeps.values():
        by_eps = {r.cell.eps: r for r in members if r.cell is not None and r.cell.eps is not None}
        if len(by_eps) < 2:
            continue
        ordered = [by_eps[eps] for eps in sorted(by_eps)]
        cells = [result.cell for result in ordered if result.cell is not None]
        clean = CleanAccuracy().compute([replace(cells[0], attacked=None)])
        accuracy = [None if a is None else a.value for a in (clean, *(RobustAccuracy().compute([c]) for c in cells))]
        success = [0.0, *(None if a is None else a.value for a in (AttackSuccessRate().compute([c]) for c in cells))]
        x = np.array([0.0, *sorted(by_eps)])
        for name, values in (("accuracy_vs_eps", accuracy), ("success_vs_eps", success)):
            if None not in values:
                for result in members:
                    yield result.name(), name, {"x": x, "y": np.array(values, dtype=np.float64)}


def curves_frame(blocks: Blocks) -> pd.DataFrame:
    """Return the table of curves."""
    columns: dict[str, Any] = dict(blocks.identity())
    columns["curve"] = blocks.constant("curve")
    columns["x"] = blocks.numbers("x", np.float64)
    columns["y"] = blocks.numbers("y", np.float64)
    threshold = blocks.numbers("threshold", np.float64)
    threshold[blocks.mask("threshold")] = np.nan
    columns["threshold"] = threshold
    return pd.DataFrame(columns, columns=list(CURVE_COLUMNS), copy=False)
