"""Tables with a row per image, made of blocks of rows that share their cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from benchmark.cells import Cell, successful
from benchmark.names import IDENTITY, CellName
from benchmark.results.tables import SAMPLE_COLUMNS


class Names:
    """Numbers the names of images, in the order in which they are met."""

    def __init__(self) -> None:
        self.found: dict[str, int] = {}
        # By identity, which the kept sequence keeps from being used again.
        self._codes: dict[int, tuple[Sequence[str], np.ndarray]] = {}

    def codes(self, names: Sequence[str]) -> np.ndarray:
        """Return the number of each name, (N,) int32."""
        kept = self._codes.get(id(names))
        if kept is None:
            codes = np.array([self.found.setdefault(name, len(self.found)) for name in names], dtype=np.int32)
            kept = self._codes[id(names)] = (names, codes)
        return kept[1]


class Blocks:
    """Columns put together from blocks of rows that share their identity."""

    def __init__(self) -> None:
        self._points: list[CellName] = []
        self._lengths: list[int] = []
        self._columns: list[dict[str, Any]] = []

    def add(self, point: CellName, columns: dict[str, Any], length: int) -> None:
        """Add `length` rows of a cell; what is None or missing has no value in them."""
        self._points.append(point)
        self._lengths.append(length)
        self._columns.append(columns)

    def identity(self) -> dict[str, pd.Categorical]:
        """Return the identity columns."""
        return {name: self._repeated([getattr(point, name) for point in self._points]) for name in IDENTITY}

    def constant(self, name: str) -> pd.Categorical:
        """Return a column that holds one text per block."""
        return self._repeated([columns[name] for columns in self._columns])

    def numbers(self, name: str, dtype: Any) -> np.ndarray:
        """Return a column of numbers; a block without it gives zeros (see `mask`)."""
        out = np.zeros(sum(self._lengths), dtype=dtype)
        start = 0
        for columns, length in zip(self._columns, self._lengths, strict=True):
            if columns.get(name) is not None:
                out[start : start + length] = columns[name]
            start += length
        return out

    def mask(self, name: str) -> np.ndarray:
        """Return which rows have no value in a column, (rows,) bool."""
        return np.repeat([columns.get(name) is None for columns in self._columns], self._lengths).astype(bool)

    def _repeated(self, values: list[str]) -> pd.Categorical:
        numbers = {value: number for number, value in enumerate(dict.fromkeys(values))}
        codes = np.array([numbers[value] for value in values], dtype=np.min_scalar_type(-max(len(numbers), 1)))
        return pd.Categorical.from_codes(
            np.repeat(codes, self._lengths), categories=pd.Index(list(numbers), dtype="str")
        )


def sample_columns(cell: Cell) -> dict[str, Any]:
    """Return the columns of a cell's images; of a randomised defense, the first of its judgements."""
    answers = cell.clean if cell.attacked is None else cell.attacked
    return {
        "y": cell.y,
        "base_label": answers.base_label,
        "label": np.atleast_2d(answers.label)[0],
        "score": None if answers.score is None else np.atleast_2d(answers.score)[0],
        "flagged": None if answers.flagged is None else np.atleast_2d(answers.flagged)[0],
        "success": None if cell.attacked is None else successful(cell),
        "perturbation": cell.perturbation,
    }


def samples_frame(blocks: Blocks, names: Mapping[str, int]) -> pd.DataFrame:
    """Return the table of samples; blocks hold numbers of `names`."""
    columns: dict[str, Any] = dict(blocks.identity())
    codes = blocks.numbers("sample", np.int32)
    columns["sample"] = pd.Categorical.from_codes(codes, categories=pd.Index(list(names), dtype="str"))
    for name in ("y", "base_label", "label"):
        columns[name] = pd.arrays.IntegerArray(blocks.numbers(name, np.int32), blocks.mask(name))
    for name in ("score", "perturbation"):
        columns[name] = pd.arrays.FloatingArray(blocks.numbers(name, np.float64), blocks.mask(name))
    for name in ("flagged", "success"):
        columns[name] = pd.arrays.BooleanArray(blocks.numbers(name, bool), blocks.mask(name))
    return pd.DataFrame(columns, columns=list(SAMPLE_COLUMNS), copy=False)
