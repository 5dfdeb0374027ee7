"""What a run cost: seconds and passes by defense and task."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from bench_report.table import as_count, as_number, as_text

SLOWEST = 20
"""Tasks listed one by one in the costs."""


def percents(share: Any) -> str:
    """Return a share in percent; nothing where it is not known."""
    number = as_number(share)
    return "" if number is None else f"{100 * number:g} %"


def cost_view(frame: pd.DataFrame, wall: str) -> CostView:
    """Return what the tasks of a run cost, those of a defense together."""
    records = [
        {str(name): value for name, value in record.items()}
        for record in frame.to_dict("records")
        if as_text(record.get("status")) != ""
    ]
    kinds = list(dict.fromkeys(as_text(record["kind"]) for record in records))
    rows = tuple(_cost_row(kind, [r for r in records if as_text(r["kind"]) == kind]) for kind in kinds)
    timed = sorted(records, key=lambda record: -(as_number(record.get("seconds")) or 0.0))
    return CostView(
        rows=rows,
        total=_cost_row("all", records) if records else None,
        by_defense=tuple(_by_defense(records)),
        slowest=tuple(
            TaskRow(as_text(r["label"]), as_text(r["kind"]), as_number(r.get("seconds")) or 0.0, bool(r["cached"]))
            for r in timed[:SLOWEST]
            if as_number(r.get("seconds")) is not None
        ),
        wall=wall,
    )


def _by_defense(records: Sequence[Mapping[str, Any]]) -> Iterator[CostRow]:
    """Yield what each defense alone cost, by kind of task; what several share is in the table by kind."""
    mine: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for record in records:
        if defense := as_text(record.get("defense")):
            mine.setdefault((defense, as_text(record["kind"])), []).append(record)
    for (defense, kind), rows in sorted(mine.items(), key=lambda item: item[0][0]):
        yield replace(_cost_row(kind, rows), defense=defense)


def _cost_row(kind: str, records: Sequence[Mapping[str, Any]]) -> CostRow:
    def total(name: str, only: Sequence[Mapping[str, Any]]) -> float:
        return sum(as_number(record.get(name)) or 0.0 for record in only)

    done = [record for record in records if as_text(record["status"]) == "done"]
    cached = [record for record in records if bool(record["cached"])]
    counted = [r for r in records if as_number(r.get("images")) and as_number(r.get("seconds"))]
    seconds = total("seconds", counted)
    memory = [m for record in records if (m := as_count(record.get("peak_memory_bytes"))) is not None]
    return CostRow(
        kind=kind,
        tasks=len(records),
        cached=len(cached),
        failed=sum(as_text(record["status"]) == "failed" for record in records),
        spent=total("seconds", done),
        saved=total("seconds", cached),
        images=int(total("images", counted)),
        rate=total("images", counted) / seconds if seconds > 0 else None,
        forward=int(total("forward", records)),
        backward=int(total("backward", records)),
        memory=max(memory, default=None),
    )


@dataclass(frozen=True)
class CostRow:
    """Tasks of one kind.

    Attributes:
        defense: that alone needed them, "" for any.
        spent: seconds of the tasks that were done in this run.
        saved: seconds that the tasks from the cache once took.
        rate: images per second over all of them, None where they count no images.
        memory: largest peak memory in bytes.
    """

    kind: str
    tasks: int
    cached: int
    failed: int
    spent: float
    saved: float
    images: int
    rate: float | None
    forward: int
    backward: int
    memory: int | None
    defense: str = ""

    @property
    def cached_share(self) -> str:
        """Share of the tasks that came from the cache, in percent."""
        return f"{100 * self.cached / self.tasks:.0f} %" if self.tasks else ""


@dataclass(frozen=True)
class TaskRow:
    """One task."""

    label: str
    kind: str
    seconds: float
    cached: bool


@dataclass(frozen=True)
class CostView:
    """What the run cost."""

    rows: tuple[CostRow, ...]
    total: CostRow | None
    by_defense: tuple[CostRow, ...]
    slowest: tuple[TaskRow, ...]
    wall: str
