"""What the browser of images reads: the verdicts on every image of a cell, and where its pictures are.

A file per cell and one per block, each a line of script: pages are opened from a folder, where a script may not ask for
data, but load another script. What is in it is JSON, compressed; the page's script takes it apart.
"""

from __future__ import annotations

import base64
import json
import math
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from bench_report.blocks import BlockView
from bench_report.links import data_file
from bench_report.sentences.phrases import STRATA
from bench_report.table import Place, Table, as_number, as_text, grouped
from benchmark import (
    CLEAN,
    Answers,
    Cell,
    Facts,
    GalleryImage,
    ImageVerdict,
    InputError,
    Panel,
    PanelPart,
    on_sheet,
    strata,
)

if TYPE_CHECKING:
    from benchmark import Run

FILE = re.compile(r"[0-9a-f]{20}\.(png|json)")


def packed(value: Any) -> str:
    """Return JSON, compressed, as text that may stand in a script; objects are the mappings of their attributes."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False, default=vars)
    return base64.b64encode(zlib.compress(text.encode(), 9)).decode()


class Panels:
    """What the panels of plugins show beside an image."""

    def __init__(self, run: Run, panels: Sequence[Panel]) -> None:
        self.run = run
        self.panels = panels
        self._explanations: dict[str, Any] = {}

    def of(
        self,
        place: Place,
        y: int,
        clean: Callable[[], ImageVerdict],
        attacked: Callable[[], ImageVerdict] | None,
        explanation: str,
    ) -> Iterator[tuple[str, tuple[PanelPart, ...]]]:
        """Yield title and parts of each panel that has something to show.

        Args:
            clean, attacked: make the verdicts, anew for each panel: what one does to its own reaches no other.
            explanation: a file's name.
        """
        if not self.panels:
            return
        use = as_text(((self.run.suite.get("defenses") or {}).get(place.defense) or {}).get("use"))
        names = class_names(self.run, place.dataset)
        for panel in self.panels:
            told = None if attacked is None else attacked()
            image = GalleryImage(use, names, y, clean(), told, self._explanation(explanation))
            try:
                parts = tuple(panel.of_image(image))
            except Exception as error:  # a plugin must not cost the report
                parts = (Facts((("This panel failed", f"{type(error).__name__}: {error}"),)),)
            if parts:
                yield panel.title, parts

    def _explanation(self, name: str) -> Any:
        if name and name not in self._explanations:
            self._explanations[name] = self.run.image(name).decode()
        return json.loads(self._explanations[name]) if name in self._explanations else None


def class_names(run: Run, dataset: str) -> tuple[str, ...]:
    """Return the names of a data set's classes, none where the run does not tell them."""
    facts = (run.manifest.get("datasets") or {}).get(dataset) or {}
    return tuple(map(str, facts.get("class_names") or ()))


class Samples:
    """Makes the data of the browser of a run's images."""

    def __init__(self, run: Run, table: Table, panels: Panels) -> None:
        self.run = run
        self.table = table
        self.panels = panels

    def pictured(self, block: BlockView) -> bool:
        """Tell whether images of a block's data set were kept."""
        return block.headline is not None and bool(self._sheets.get((block.dataset, *[""] * 5)))

    def of_block(self, block: BlockView) -> dict[str, Any] | None:
        """Return the images of a block's data set, and its cells; None where the run kept no image.

        `kept` are the places of the images in the sheets, by their number; None where these hold all of them.
        """
        sheets = self._sheets.get((block.dataset, *[""] * 5))
        if not sheets or block.headline is None:
            return None
        cells = []
        some = None
        for row in block.headline.rows:
            for column in block.headline.columns:
                place = self.table.place(block.dataset, block.model, column.attack, row.defense, block.knowledge)
                seeds = [seed for seed in self.table.seeds if (*place, seed) in self._rows]
                if seeds:
                    some = (*place, seeds[0])
                    page = self.table.page(place)
                    labels = {"defense": row.defense, "attack": column.attack}
                    cells.append({**labels, "page": page, "data": data_file(page)})
        if some is None:
            return None
        rows = self._rows[some]
        names = [as_text(name) for name in self._columns["sample"][rows]]
        numbers = {name: number for number, name in enumerate(names)}
        kept = [name for sheet in sheets for name in json.loads(sheet["samples"])]
        return {
            "names": names,
            "y": self._columns["y"][rows].tolist(),
            "classes": list(class_names(self.run, block.dataset)),
            "kept": None if kept == names else [numbers[name] for name in kept if name in numbers],
            "sheets": [sheet["file"] for sheet in sheets],
            "most": on_sheet(int(sheets[0]["width"]), int(sheets[0]["height"])),
            **{name: int(sheets[0][name]) for name in ("columns", "width", "height")},
            "kinds": [[key, *words] for key, words in STRATA.items()],
            "cells": cells,
        }

    def of_cell(self, place: Place) -> dict[str, Any] | None:
        """Return by seed what was answered on each image of a cell, in the order of the table of samples.

        Numbers have four digits; `kind` is the place in `STRATA`, None for none of them, `parts` what panels show.
        """
        found = {}
        for seed in self.table.seeds:
            if (rows := self._rows.get((*place, seed))) is None:
                continue
            clean_rows = None
            if place.attack != CLEAN:
                clean_rows = self._rows.get((*place._replace(attack=CLEAN, knowledge=""), seed))
                if clean_rows is None or len(clean_rows) != len(rows):
                    continue
            found[seed] = self._answers(place, seed, rows, clean_rows)
        return found or None

    def _answers(self, place: Place, seed: str, rows: np.ndarray, clean_rows: np.ndarray | None) -> dict[str, Any]:
        columns = self._columns
        told = self._judged(rows)
        before = told if clean_rows is None else self._judged(clean_rows)
        counted = (self.run.manifest.get("protocol") or {}).get("success")
        attacked = None if clean_rows is None else told
        success: Literal["initially-correct", "any-wrong"] = (
            "any-wrong" if counted == "any-wrong" else "initially-correct"
        )
        cell = Cell(columns["y"][rows], before, attacked, success=success)
        kinds: list[str | None] = [None] * len(rows)
        members = strata(cell)
        for name, member in members.items():
            for index in np.flatnonzero(member):
                kinds[index] = kinds[index] or name
        codes = list(STRATA)
        return {
            "base": told.base_label.tolist(),
            "label": told.label.tolist(),
            "score": None if told.score is None else _short(told.score),
            "flagged": None if told.flagged is None else told.flagged.astype(int).tolist(),
            "alarm": np.flatnonzero(members["false-alarm"]).tolist(),
            "size": None if clean_rows is None else _short(columns["perturbation"][rows]),
            "kind": [None if kind is None else codes.index(kind) for kind in kinds],
            "sheets": [sheet["file"] for sheet in self._sheets.get((*place, seed), ())],
            "parts": self._parts(place, seed, rows, clean_rows),
        }

    def _judged(self, rows: np.ndarray) -> Answers:
        columns = self._columns
        score, flagged = columns["score"][rows], columns["flagged"][rows]
        unknown = np.array([flag is None for flag in flagged], dtype=bool)
        return Answers(
            base_label=columns["base_label"][rows],
            label=columns["label"][rows],
            score=None if np.isnan(score).all() else score,
            flagged=None if unknown.all() else np.where(unknown, False, flagged).astype(bool),
        )

    def _parts(
        self, place: Place, seed: str, rows: np.ndarray, clean_rows: np.ndarray | None
    ) -> dict[int, list[dict[str, Any]]]:
        """Return what the panels show beside each image that has details, by its number."""
        details = self._details.get((*place, seed), {})
        clean_details = details
        if clean_rows is not None:
            clean_details = self._details.get((*place._replace(attack=CLEAN, knowledge=""), seed), {})
        shown = {}
        for number, row in enumerate(rows):
            name = as_text(self._columns["sample"][row])
            if name not in details and name not in clean_details:
                continue
            here, before = details.get(name, ("", "")), clean_details.get(name, ("", ""))
            clean = partial(self._verdict, row if clean_rows is None else clean_rows[number], before[0])
            attacked = None if clean_rows is None else partial(self._verdict, row, here[0])
            y = int(self._columns["y"][row])
            panels = self.panels.of(place, y, clean, attacked, here[1] or before[1])
            if parts := [{"title": title, "parts": [_plain(part) for part in parts]} for title, parts in panels]:
                shown[number] = parts
        return shown

    def _verdict(self, row: int, details: str) -> ImageVerdict:
        columns = self._columns
        return ImageVerdict(
            base_label=int(columns["base_label"][row]),
            label=int(columns["label"][row]),
            score=as_number(columns["score"][row]),
            flagged=columns["flagged"][row],
            details=json.loads(details) if details else {},
        )

    @cached_property
    def _rows(self) -> dict[tuple[str, ...], np.ndarray]:
        return grouped(self.run.samples, (*Place._fields, "seed"))

    @cached_property
    def _columns(self) -> dict[str, np.ndarray]:
        frame = self.run.samples
        whole = {name: frame[name].fillna(-1).to_numpy(dtype=np.int64) for name in ("y", "base_label", "label")}
        real = {name: frame[name].to_numpy(dtype=np.float64, na_value=np.nan) for name in ("score", "perturbation")}
        flagged = np.array([None if pd.isna(value) else bool(value) for value in frame["flagged"]], dtype=object)
        return {**whole, **real, "flagged": flagged, "sample": frame["sample"].to_numpy(dtype=object)}

    @cached_property
    def _sheets(self) -> dict[tuple[str, ...], list[dict[str, Any]]]:
        found: dict[tuple[str, ...], list[dict[str, Any]]] = {}
        for record in self.run.sheets.to_dict("records"):
            row = {str(name): value for name, value in record.items()}
            row["file"] = file_of(self.run, row["file"])
            found.setdefault(tuple(as_text(row[name]) for name in (*Place._fields, "seed")), []).append(row)
        return found

    @cached_property
    def _details(self) -> dict[tuple[str, ...], dict[str, tuple[str, str]]]:
        found: dict[tuple[str, ...], dict[str, tuple[str, str]]] = {}
        frame = self.run.details
        for *place, name, details, explanation in frame[
            [*Place._fields, "seed", "sample", "details", "explanation"]
        ].itertuples(index=False, name=None):
            known = file_of(self.run, explanation) if as_text(explanation) else ""
            found.setdefault(tuple(map(as_text, place)), {})[as_text(name)] = (as_text(details), known)
        return found


def file_of(run: Run, name: Any) -> str:
    """Return the name of a file of the gallery, which nothing but the gallery can have made."""
    text = as_text(name)
    if not FILE.fullmatch(text):
        raise InputError(
            f"{str(run.path / 'images')!r} is damaged (a table there names the file {text[:80]!r}). "
            "`bench run` with the same --output writes it anew."
        )
    return text


def _short(values: np.ndarray) -> list[float | None]:
    return [float(f"{value:.4g}") if math.isfinite(value) else None for value in values.tolist()]


def _plain(part: PanelPart) -> dict[str, Any]:
    """Return a part as the page's script draws it."""
    return {"of": type(part).__name__.lower(), **vars(part)}
