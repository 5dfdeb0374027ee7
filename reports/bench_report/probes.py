"""Checks of attacks and defenses, as the pages of settings and cells show them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from bench_report.blocks import BlockView
from bench_report.table import Place, as_count, as_number, as_text
from bench_report.values import DifferenceView
from bench_report.words import difference_text, number_text
from benchmark import PROBES, ProbeKind

if TYPE_CHECKING:
    from benchmark import Run


@dataclass(frozen=True)
class ProbeRow:
    """What a probe says of a defense, or of an attack on it.

    Attributes:
        attack: "" where it compares several.
        seed: "" where the run has one.
        found: value, interval, p-value and n; None where it was not run.
        finding: in words, or what is lacking.
    """

    kind: ProbeKind
    defense: str
    attack: str
    seed: str
    verdict: str
    found: DifferenceView | None
    finding: str

    @property
    def unit(self) -> str:
        """What the value is in: a difference of accuracies in points, a share in percent."""
        return "%" if self.kind.is_share else "points"

    def text(self, value: float) -> str:
        """Return a value for people, without its unit."""
        return number_text(value, "rate") if self.kind.is_share else difference_text(value, "rate")


class Probes:
    """The table of a run, setting by setting."""

    def __init__(self, run: Run) -> None:
        self._records = run.probes.to_dict("records")
        self._seeds = {record["seed"] for record in self._records}

    def of(self, block: BlockView) -> tuple[ProbeRow, ...]:
        """Return the rows of a setting, defense by defense; where all attacks are transferred, it lacks others."""
        rows = [
            record
            for record in self._records
            if (record["dataset"], record["model"]) == (block.dataset, block.model)
            and record["knowledge"] in ("", block.knowledge)
            and record["probe"] in PROBES
        ]
        order = {place: n for n, place in enumerate(dict.fromkeys((row["defense"], row["seed"]) for row in rows))}
        rows.sort(key=lambda row: order[row["defense"], row["seed"]])
        return tuple(map(self._row, rows))

    def of_cell(self, place: Place, seed: str) -> tuple[ProbeRow, ...]:
        """Return what probes say of the attack of a cell."""
        return tuple(map(self._row, self._of_cells.get((*place, seed), ())))

    @cached_property
    def _of_cells(self) -> dict[tuple[str, ...], list[Mapping[Any, Any]]]:
        found: dict[tuple[str, ...], list[Mapping[Any, Any]]] = {}
        for record in self._records:
            if record["attack"] and record["probe"] in PROBES:
                where = ("dataset", "model", "attack", "defense", "knowledge", "seed")
                found.setdefault(tuple(as_text(record[name]) for name in where), []).append(record)
        return found

    def _row(self, record: Mapping[Any, Any]) -> ProbeRow:
        kind, value = PROBES[record["probe"]], as_number(record["value"])
        low, high = as_number(record["ci_low"]), as_number(record["ci_high"])
        found = None
        if value is not None:
            p, n = as_number(record["p_value"]), as_count(record["n"])
            found = DifferenceView(kind.name, "rate", value, low, high, p, n)
        return ProbeRow(
            kind=kind,
            defense=as_text(record["defense"]),
            attack=as_text(record["attack"]),
            seed=as_text(record["seed"]) if len(self._seeds) > 1 else "",
            verdict=as_text(record["verdict"]),
            found=found,
            finding=as_text(record["finding"]),
        )
