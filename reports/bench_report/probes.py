"""Checks for masked gradients, as the page of a setting shows them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench_report.table import as_count, as_number, as_text
from bench_report.view import BlockView, DifferenceView
from bench_report.words import difference_text, number_text
from benchmark.probes import KINDS, ProbeKind

if TYPE_CHECKING:
    from benchmark.results import Run


@dataclass(frozen=True)
class ProbeRow:
    """What a probe says of a defense.

    Attributes:
        seed: "" where the run has one.
        found: value, interval, p-value and n; None where it was not run.
        finding: in words, or what is lacking.
    """

    kind: ProbeKind
    defense: str
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
            and record["probe"] in KINDS
        ]
        order = list(dict.fromkeys((record["defense"], record["seed"]) for record in rows))
        rows.sort(key=lambda record: order.index((record["defense"], record["seed"])))
        return tuple(map(self._row, rows))

    def _row(self, record: Mapping[Any, Any]) -> ProbeRow:
        kind, value = KINDS[record["probe"]], as_number(record["value"])
        low, high = as_number(record["ci_low"]), as_number(record["ci_high"])
        found = None
        if value is not None:
            p, n = as_number(record["p_value"]), as_count(record["n"])
            found = DifferenceView(kind.name, "rate", value, low, high, p, n)
        return ProbeRow(
            kind=kind,
            defense=as_text(record["defense"]),
            seed=as_text(record["seed"]) if len(self._seeds) > 1 else "",
            verdict=as_text(record["verdict"]),
            found=found,
            finding=as_text(record["finding"]),
        )
