"""Groups of attacks, and cells that stand for an attacker who knows all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from benchmark.cells import CellResult, Status, within_budget
from benchmark.names import ALL_ATTACKS, CLEAN, KNOWING, WORST_OF, CellName
from benchmark.options import Budget


def standing_in(results: Sequence[CellResult]) -> list[CellResult]:
    """Return the gray-box cells that stand for an attacker who knows the whole defense too.

    Without a defense, and for a hardener, the network is all there is to know: where others were attacked by somebody
    who knows them, these stand beside them without being run twice. They stand there for all attacks, or for none.
    """
    cells = {tuple(result.name(norm="", eps="").values()): result for result in results if result.attack != CLEAN}
    attacks: dict[tuple[str, str, str], dict[str, None]] = {}
    for result in cells.values():
        if result.knowledge in KNOWING:
            attacks.setdefault((result.dataset, result.model, result.knowledge), {})[result.attack] = None
    bare = {(r.dataset, r.model, r.defense, r.seed): r for r in results if r.bare}
    found = []
    for (dataset, model, knowledge), wanted in attacks.items():
        for system in (r for r in bare.values() if (r.dataset, r.model) == (dataset, model)):
            point = system.name(norm="", eps="")
            lacking = [a for a in wanted if tuple(replace(point, attack=a, knowledge=knowledge).values()) not in cells]
            known = [cells.get(tuple(replace(point, attack=a, knowledge="gray-box").values())) for a in lacking]
            if None not in known:
                found += [replace(result, knowledge=knowledge) for result in known if result is not None]
    return found


@dataclass(frozen=True)
class Group:
    """The cells of one data set, model, defense, knowledge and seed under the attacks of a group.

    Attributes:
        members: attack → norm, and the budget at which it counts; of all attacks of the group, run or not.
    """

    point: CellName
    status: Status
    results: tuple[CellResult, ...]
    members: Mapping[str, tuple[str, str]]


def groups_of(results: Sequence[CellResult], named: Mapping[str, Sequence[str]]) -> list[Group]:
    """Return the groups of attacks, an incomplete one with the status of what it lacks."""
    attacks: dict[tuple[str, ...], dict[str, CellResult]] = {}  # planned for any defense
    of_system: dict[tuple[str, ...], dict[str, CellResult]] = {}
    written: dict[tuple[str, float], str] = {}  # budgets that are equal numbers are one, written like the first of them
    for result in results:
        if result.attack != CLEAN:
            if result.eps:
                result = replace(result, eps=written.setdefault((result.norm, Budget(result.eps)), result.eps))
            attacks.setdefault((result.dataset, result.model, result.knowledge), {}).setdefault(result.attack, result)
            key = (result.dataset, result.model, result.knowledge, result.defense, str(result.seed))
            of_system.setdefault(key, {})[result.attack] = result
    found = []
    for system, cells in of_system.items():
        together = attacks[system[:3]]
        for label, wanted in (_named_groups(together, named) if named else _usual_groups(together)).items():
            present = [_at_budget(cells[attack], eps) for attack, eps in wanted.items() if attack in cells]
            if not present:
                continue
            statuses = [result.status for result in present]
            status: Status = (
                "failed"
                if "failed" in statuses
                else "missing"
                if "missing" in statuses or len(present) < len(wanted)
                else "ok"
            )
            norms, budgets = {result.norm for result in present}, {(result.norm, result.eps) for result in present}
            point = present[0].name(
                attack=WORST_OF + label,
                norm=present[0].norm if len(norms) == 1 else "",
                eps=present[0].eps if len(budgets) == 1 else "",
            )
            members = {a: (together[a].norm if a in together else "", eps) for a, eps in wanted.items()}
            found.append(Group(point, status, tuple(present), members))
    return found


def _usual_groups(attacks: Mapping[str, CellResult]) -> dict[str, dict[str, str]]:
    """Return a group per norm and budget and one of all attacks: label → attack → the budget that it counts at."""
    budgets = dict.fromkeys((result.norm, result.eps) for result in attacks.values() if result.eps)
    groups = {
        f"{norm} {eps}": _counted(r for r in attacks.values() if r.norm == norm and r.eps in (eps, ""))
        for norm, eps in budgets
    }
    groups[ALL_ATTACKS] = _counted(attacks.values())
    return {label: members for label, members in groups.items() if len(members) > 1}


def _named_groups(attacks: Mapping[str, CellResult], named: Mapping[str, Sequence[str]]) -> dict[str, dict[str, str]]:
    found = {}
    for label, members in named.items():
        counted = _counted(attacks[attack] for attack in members if attack in attacks)
        # An attack that is planned nowhere here stays a member, so that the group is seen to lack it.
        found[label] = {a: counted.get(a, "") for a in members if a in counted or a not in attacks}
    return found


def _counted(members: Iterable[CellResult]) -> dict[str, str]:
    """Return attack → the budget that it counts at in a group: without its own, the group's largest in its norm.

    An attack without a budget would win every worst case; where the group has none in its norm it is no member.
    """
    members = list(members)
    largest: dict[str, str] = {}
    for result in members:
        if result.eps and (result.norm not in largest or Budget(result.eps) > Budget(largest[result.norm])):
            largest[result.norm] = result.eps
    return {r.attack: r.eps or largest[r.norm] for r in members if r.eps or r.norm in largest}


def _at_budget(result: CellResult, eps: str) -> CellResult:
    """Return a result as it counts at a budget; one with a budget of its own is as it is."""
    if result.eps or not eps:
        return result
    cell = None if result.cell is None else within_budget(result.cell, float(Budget(eps)))
    return replace(result, eps=eps, cell=cell)
