"""Published values beside measured ones."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from benchmark.errors import InputError
from benchmark.names import STD, WORST_OF
from benchmark.results.measures import Row
from benchmark.suite import is_of_a_cell


class References:
    """Published values, looked up by the most particular row that fits."""

    columns = ("artifact", "dataset", "model", "attack", "defense", "knowledge")

    def __init__(self, table: pd.DataFrame | None) -> None:
        self._values: dict[tuple[str, ...], dict[tuple[str, ...], float]] = {}
        if table is None or table.empty:
            return
        for needed in ("metric", "value"):
            if needed not in table.columns:
                raise InputError(
                    f"the reference table has no column {needed!r}; it has: {', '.join(map(str, table.columns))}"
                )
        for record in table.to_dict("records"):
            if not (is_of_a_cell({str(name): _text(text) for name, text in record.items()}) and _text(record["value"])):
                continue  # it holds a place in a published table, no more
            given = {name: _text(record.get(name)) for name in self.columns}
            used = tuple(name for name in self.columns if given[name])
            key = (_text(record["metric"]), *(given[name] for name in used))
            try:
                value = float(record["value"])
            except (TypeError, ValueError):
                raise InputError(
                    f"the reference table holds {record['value']!r} as a value; a number is needed"
                ) from None
            self._values.setdefault(used, {}).setdefault(key, value)

    def find(self, row: Row, artifact: str = "") -> float:
        """Return the published value of a cell's measure, or of an artifact's, or NaN."""
        if row.point.seed == STD:
            return math.nan
        values = {"artifact": artifact, **{name: getattr(row.point, name) for name in self.columns[1:]}}
        for used in sorted(self._values, key=lambda used: (-len(used), used)):
            # A suite names a group by its label alone.
            for attack in (values["attack"], values["attack"].removeprefix(WORST_OF)):
                key = (row.metric, *((values | {"attack": attack})[name] for name in used))
                if key in self._values[used]:
                    return self._values[used][key]
        return math.nan


def _text(value: Any) -> str:
    return "" if value is None or (isinstance(value, float) and math.isnan(value)) or value is pd.NA else str(value)
