"""Probes of a run: the verdict of each, and what those would be lacking that the suite asks for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from benchmark.names import COLUMNS, ProbeName
from benchmark.trust.alarms import Judged
from benchmark.trust.attack_probes import examined, of_cell
from benchmark.trust.defense_probes import Compared, decided, lacking, named, not_run, planned
from benchmark.trust.probe_kinds import PROBES, Probed, run_where

if TYPE_CHECKING:
    from benchmark.cells import CellResult


def probed(results: Sequence[CellResult], names: Sequence[ProbeName]) -> list[Probed]:
    """Return the verdicts of probes on every defense and attacker; equal arrays must be the same object.

    Probes of attacks say so of every attacked cell. Probes stand in the order of `PROBES`, defenses and cells in that
    of the results. Of those that always run there is a row where they were; of the others, which the suite `names`,
    also where they were not.
    """
    asked = run_where(names)
    numbers = {id(result): number for number, result in enumerate(results)}

    def judged(cells: Sequence[CellResult]) -> tuple[Judged, ...]:
        return tuple(Judged(numbers[id(r)], r, r.cell) for r in cells if r.cell is not None)

    found = []
    for name, places in planned(results, asked):
        whole = {
            place: [Compared(m, judged(m.strong), judged(m.weak)) for m in matches if not m.absent]
            for place, (_, matches) in places.items()
        }
        tests = len({one.numbers for compared in whole.values() for one in compared})
        for place, (cells, matches) in places.items():
            absent = [cell for match in matches for cell in match.absent]
            if whole[place]:
                row = decided(name, place, whole[place], tests)
                left_out = f"; left out: {named(absent)}, which failed or were not run" if absent else ""
                found.append(replace(row, finding=row.finding + left_out))
            else:
                why = f"no numbers of {named(absent)}, which failed or were not run"
                found.append(not_run(name, place, why if absent else lacking(name, cells, place.knowledge)))
    for name in (kind for kind in asked if PROBES[kind].asks):
        found += examined(PROBES[name], results)
    return [row for row in found if row.verdict != "not run" or row.probe in names]


def unanswerable(results: Sequence[CellResult], names: Sequence[ProbeName]) -> list[Probed]:
    """Return the probes that cannot be run on these cells, whatever their numbers, with what they lack."""
    return [
        not_run(name, place, lacking(name, cells, place.knowledge))
        for name, places in planned(results, names)
        for place, (cells, matches) in places.items()
        if not matches
    ] + [
        of_cell(PROBES[name], result, result.unasked[name])
        for name in PROBES
        for result in results
        if name in names and name in result.unasked
    ]


def told_of_probes(rows: Sequence[Probed]) -> list[str]:
    """Return a line per probe that did not pass; of attacks on which one failed, or was not run for one reason, one."""
    told, failed, silent = list[str](), dict[str, list[Probed]](), Counter[tuple[str, str]]()
    for row in rows:
        if row.verdict == "not run" and row.attack:
            silent[row.probe, row.finding] += 1
        elif row.verdict == "fail" and row.attack:
            failed.setdefault(row.probe, []).append(row)
        elif row.verdict != "pass":
            told.append(f"probe {row.probe} of {_where(row)}: {row.verdict}: {row.finding}")
    for name, of in failed.items():
        others = f"; and of {_cells(len(of) - 1)} more" if len(of) > 1 else ""
        told.append(f"probe {name} of {_where(of[0])}: fail: {of[0].finding}{others}")
    return told + [f"probe {name}: not run for {_cells(n)}: {why}" for (name, why), n in silent.items()]


def _where(row: Probed) -> str:
    return " / ".join(filter(None, (str(getattr(row, name)) for name in COLUMNS)))


def _cells(count: int) -> str:
    return f"{count} attacked {'cell' if count == 1 else 'cells'}"
