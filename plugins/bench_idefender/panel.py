"""What the report shows of I-defender: Figure 1 of the paper for a cell, and the likelihoods of an image.

Zheng and Hong, NeurIPS 2018, Figure 1: (a) states "in the 2D subspace with the largest variances"; (b) the distribution
of one hidden unit for natural and for adversarial images of a class.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

from benchmark import Cell, Facts, GalleryImage, Panel, PanelPart, Plot, Series, successful

USE = "i-defender"
DRAWN = 300
"""States of a plot that are drawn, at most: its colours share them evenly."""
CLASSES = 10
"""Classes whose states are drawn, at most."""
BINS = 30
KINDS = CLEAN, SUCCESSFUL, OTHERS = "clean", "attack successful", "other attacked images"


class StatesPanel(Panel):
    """States in the plane of their two largest variances, the unit that varies most, and log-likelihoods."""

    title = "Hidden states"

    def of_image(self, image: GalleryImage) -> Sequence[PanelPart]:
        """Return the log-likelihoods of the clean and the attacked image under the class that each is taken for."""
        if image.use != USE:
            return ()
        rows = []
        for version, verdict in (("clean", image.clean), ("attacked", image.attacked)):
            likelihood = None if verdict is None else verdict.details.get("log_likelihood")
            if verdict is not None and isinstance(likelihood, (int, float)):
                taken_for = _name(verdict.base_label, image.class_names)
                rows.append((f"log p(state | {taken_for}), {version}", f"{likelihood:.4g} nats"))
        return (Facts(tuple(rows)),) if rows else ()

    def points(self, use: str, cell: Cell) -> Mapping[str, tuple[np.ndarray, np.ndarray]]:
        """Return states in the plane, by class in a clean cell and by the attack's success in an attacked one.

        Of an attacked cell also the histograms of the unit, on clean images that are taken for a class and on
        successful adversarial ones that are taken for it; the class is the one that most of these are taken for.
        """
        if use != USE or not {"projection", "unit"} <= set(cell.clean.details):
            return {}
        plane = cell.clean.details["projection"]  # (N, 2), or (N, 1) of states with one dimension
        if cell.attacked is None:
            classes = np.unique(cell.y)[:CLASSES].tolist()
            return {f"states of class {c}": _drawn(plane[cell.y == c], len(classes)) for c in classes}
        success = successful(cell)
        attacked = cell.attacked.details["projection"]
        kept = {}
        for kind, states in ((CLEAN, plane), (SUCCESSFUL, attacked[success]), (OTHERS, attacked[~success])):
            if len(states):
                kept[f"states, {kind}"] = _drawn(states, len(KINDS))
        return kept | _unit(cell, success)

    def of_cell(
        self, points: Mapping[str, tuple[np.ndarray, np.ndarray]], class_names: Sequence[str]
    ) -> Sequence[Plot]:
        """Return Figure 1a of a clean cell; both halves, with adversarial images, of an attacked one."""
        classes = sorted(int(found[1]) for name in points if (found := re.fullmatch(r"states of class (\d+)", name)))
        by_class = [Series(_name(c, class_names), *points[f"states of class {c}"]) for c in classes]
        by_kind = [Series(kind, *points[f"states, {kind}"]) for kind in KINDS if f"states, {kind}" in points]
        taken_for = next((int(found[1]) for name in points if (found := re.match(r"unit in class (\d+)", name))), -1)
        units = {kind: f"unit in class {taken_for}, {kind}" for kind in KINDS}
        histograms = [Series(kind, *points[name]) for kind, name in units.items() if name in points]
        axes = "first principal component", "second principal component"
        how = (
            "The plane of the two largest variances of the training states of all classes, laid without attacked "
            f"images. At most {DRAWN} states, as many of each colour"
        )
        plots = []
        if by_class:
            how_many = f"{how}, and {CLASSES} classes."
            plots.append(Plot("States of clean images by class", how_many, *axes, tuple(by_class)))
        if by_kind:
            plots.append(Plot("States of clean and attacked images", f"{how}.", *axes, tuple(by_kind)))
        if histograms:
            plots.append(
                Plot(
                    f"One hidden unit, images taken for {_name(taken_for, class_names)}",
                    "The unit whose training states vary most, on clean images and on successful adversarial ones, of "
                    "the class that most of these are taken for. Outliers are counted in the outermost bins.",
                    "activation",
                    "share of their images",
                    tuple(histograms),
                    "steps",
                )
            )
        return plots


def _name(c: int, class_names: Sequence[str]) -> str:
    return class_names[c] if 0 <= c < len(class_names) else f"class {c}"


def _drawn(states: np.ndarray, colours: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the coordinates of states (n, 2), of a fixed random choice where there are many."""
    chosen = np.sort(np.random.default_rng(0).permutation(len(states))[: DRAWN // colours])
    x = states[chosen, 0]
    return x, states[chosen, 1] if states.shape[1] > 1 else np.zeros_like(x)


def _unit(cell: Cell, success: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    assert cell.attacked is not None
    if not success.any():
        return {}
    c = int(np.bincount(cell.attacked.base_label[success]).argmax())
    values = {
        CLEAN: cell.clean.details["unit"][cell.clean.base_label == c],
        SUCCESSFUL: cell.attacked.details["unit"][success & (cell.attacked.base_label == c)],
    }
    together = np.concatenate(list(values.values())).astype(np.float64)
    together = together[np.isfinite(together)]
    if not together.size:
        return {}
    edges = np.histogram_bin_edges(together, BINS, tuple(np.quantile(together, [0.005, 0.995])))
    middles = (edges[1:] + edges[:-1]) / 2
    return {
        f"unit in class {c}, {kind}": (middles, np.histogram(own.clip(edges[0], edges[-1]), edges)[0] / len(own))
        for kind, own in values.items()
        if len(own)
    }
