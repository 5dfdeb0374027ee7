"""What a run's trust marks are about: its cells, groups of attacks and defenses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from benchmark.cells import CellResult
from benchmark.names import CLEAN, SUMMARIES, CellName
from benchmark.results.groups import KNOWING, Group
from benchmark.trust.marks import TRUST_MARKS, Subject, Trusted


def subjects_of(results: Sequence[CellResult], judged: Sequence[CellResult], groups: Sequence[Group]) -> list[Subject]:
    """Return what is marked: cells and groups with numbers, and each defense under all attacks of an attacker.

    Args:
        judged: `results` and those that stand for an attacker who knows all.
    """
    numbers = {result.name(norm="", eps=""): number for number, result in enumerate(results)}

    def known(result: CellResult) -> CellResult:
        """Return the cell of the run that a cell of a group is, which may be one for an attacker who knows all."""
        own = result.name(norm="", eps="")
        stands = result.bare and result.knowledge in KNOWING and own not in numbers
        return results[numbers[replace(own, knowledge="gray-box") if stands else own]]

    def subject(point: CellName, cells: Sequence[CellResult]) -> Subject:
        origins = [known(cell) for cell in cells]
        return Subject(
            **vars(point),
            cells=tuple(cells),
            numbers=tuple(numbers[one.name(norm="", eps="")] for one in origins),
            tested=tuple(one.knowledge for one in origins),
        )

    found = [subject(result.name(), [result]) for result in results if result.cell is not None]
    found += [subject(group.point, group.results) for group in groups if group.status == "ok"]
    defenses: dict[CellName, list[CellResult]] = {}
    for result in judged:
        if result.attack != CLEAN and result.cell is not None:
            defenses.setdefault(result.name(attack="", norm="", eps=""), []).append(result)
    return found + [subject(point, cells) for point, cells in defenses.items()]


def marks_by_name(rows: Sequence[Trusted]) -> dict[CellName, str]:
    """Return the mark of each row of the table of measures; what is said of several seeds has the worst of theirs."""
    found: dict[CellName, str] = {}
    for row in rows:
        point = row.name()
        for one in (point, *(replace(point, seed=summary) for summary in SUMMARIES)):
            found[one] = min(row.trust, found.get(one, row.trust), key=list[str](TRUST_MARKS).index)
    return found
