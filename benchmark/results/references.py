"""Published values beside measured ones."""

from __future__ import annotations

import math
from collections.abc import Iterable

from benchmark.names import SUMMARIES, WORST_OF
from benchmark.results.measures import Row
from benchmark.suite import Published


class References:
    """Published values, looked up by the most particular row that fits."""

    columns = ("artifact", "dataset", "model", "attack", "defense", "knowledge")

    def __init__(self, published: Iterable[Published]) -> None:
        self._values: dict[tuple[str, ...], dict[tuple[str, ...], float]] = {}
        for one in published:
            if one.value is None or not one.is_of_a_cell:
                continue  # it holds a place in a published table, no more
            given = {name: getattr(one, name) for name in self.columns}
            used = tuple(name for name in self.columns if given[name])
            self._values.setdefault(used, {}).setdefault((one.metric, *(given[name] for name in used)), one.value)

    def find(self, row: Row, artifact: str = "") -> float:
        """Return the published value of a cell's measure, or of an artifact's, or NaN."""
        if row.point.seed == SUMMARIES.std:
            return math.nan
        values = {"artifact": artifact, **{name: getattr(row.point, name) for name in self.columns[1:]}}
        for used in sorted(self._values, key=lambda used: (-len(used), used)):
            # A suite names a group by its label alone.
            for attack in (values["attack"], values["attack"].removeprefix(WORST_OF)):
                key = (row.metric, *((values | {"attack": attack})[name] for name in used))
                if key in self._values[used]:
                    return self._values[used][key]
        return math.nan
