"""What `bench plan`, `plugins`, `show` and `doctor` tell: facts as plain data, and the same facts in words."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.errors import BenchError, InputError, PluginError
from benchmark.explain import alternatives, in_words, type_schema
from benchmark.hookspecs import KINDS
from benchmark.names import COLUMNS, IDENTITY
from benchmark.plugins import Registration, Registry
from benchmark.schema import sweepable

if TYPE_CHECKING:  # both import torch, which `bench plugins` and `bench show` must not wait for
    from benchmark.cells import CellResult
    from benchmark.plan.plan import Plan, PlannedCell
    from benchmark.store.store import Store
    from benchmark.suite import Component

CALIBRATION_BATCH = 32


def plan_facts(plan: Plan, store: Store, registry: Registry) -> dict[str, Any]:
    """Return cells, tasks, what is cached and what the rest will cost.

    Raises:
        InputError: it does not fit on the disk or into memory.
    """
    from benchmark.forecast import Forecast, check_memory, check_room, memory_bytes
    from benchmark.trust.probes import unanswerable

    required = plan.required(plan.answers())
    missing = plan.missing(store)
    forecast = Forecast(plan, registry)
    seconds, unknown = forecast.seconds(missing.values())
    saved, _ = forecast.seconds(task for key, task in required.items() if key not in missing and store.has(key))
    needed, unsized = forecast.disk(missing.values())
    memory, hungriest = forecast.memory(missing.values())
    free = _free(store.root)
    check_room(needed, free, store.location)
    there = memory_bytes()
    largest = None if there is None else forecast.largest_batch(missing.values(), there)
    if hungriest is not None:
        check_memory(memory, hungriest, forecast.trained_by(hungriest) is not None, largest)
    total, to_run = Counter(t.kind for t in required.values()), Counter(t.kind for t in missing.values())
    return {
        "suite": plan.suite.name,
        "profile": plan.suite.profile,
        "cells": [
            {name: getattr(cell, name) for name in IDENTITY} | {"cached": all(store.has(key) for key in cell.tasks())}
            for cell in plan.cells
        ],
        "datasets": {
            label: {"sizes": dict(facts.sizes), "classes": len(facts.class_names), "shape": list(facts.image_shape)}
            | ({"remarks": list(facts.remarks)} if facts.remarks else {})
            for label, facts in plan.datasets.items()
        },
        "probes_not_run": [
            {name: getattr(row, name) for name in ("probe", *COLUMNS)} | {"lacks": row.finding}
            for row in unanswerable([_without_numbers(cell) for cell in plan.cells], plan.suite.probes)
        ],
        "tasks": {kind: {"total": total[kind], "to_run": to_run[kind]} for kind in total},
        "to_run": [
            {
                "kind": task.kind,
                "label": task.label,
                "forward": task.work.forward if task.work else None,
                "backward": task.work.backward if task.work else None,
                "at_most": task.work is not None and task.work.at_most,
            }
            for task in missing.values()
        ],
        "forward": sum(t.work.forward for t in missing.values() if t.work),
        "backward": sum(t.work.backward for t in missing.values() if t.work),
        "seconds_on_one_core": seconds,
        "seconds_saved_by_cache": saved,
        "tasks_without_estimate": unknown,
        "disk_bytes": needed,
        "tasks_without_size": unsized,
        "disk_free_bytes": free,
        "worker_memory_bytes": memory,
        "memory_bytes": there,
        "batch_size": plan.suite.batch_size,
        "largest_batch_size": largest,
    }


def _without_numbers(cell: PlannedCell) -> CellResult:
    from benchmark.cells import CellResult

    known = {name: getattr(cell, name) for name in (*IDENTITY, "sweep", "attacker", "unasked")}
    return CellResult(**known, status="missing", reason="", cell=None, sample_ids=(), details={})


def describe_plan(facts: dict[str, Any], summary: bool = False, tasks: bool = False) -> str:
    """Return the facts of a plan in words; with cells per data set, model and defense, and with a line per task."""
    from benchmark.wording import seconds_text, size_text

    cells = facts["cells"]
    done = sum(cell["cached"] for cell in cells)
    name = facts["suite"] + (f" (profile {facts['profile']})" if facts["profile"] else "")
    lines = [f"{name}: {len(cells)} cells, {done} of them cached"]
    for label, data in facts["datasets"].items():
        sizes = ", ".join(f"{count} {split}" for split, count in data["sizes"].items())
        shape = "x".join(map(str, data["shape"]))
        lines.append(f"  data set {label}: {sizes}; {data['classes']} classes; {shape}")
        lines += [f"    {remark}" for remark in data.get("remarks", ())]
    if summary:
        lines.append("cells (cached / total):")
        lines += _cells_per_defense(cells)
    lines.append(
        "tasks (to run / total): "
        + ", ".join(f"{kind} {count['to_run']}/{count['total']}" for kind, count in facts["tasks"].items())
    )
    lines += [
        f"probe {row['probe']} of "
        + " / ".join(filter(None, (row[name] for name in COLUMNS)))
        + f" will not be run: {row['lacks']}"
        for row in facts["probes_not_run"]
    ]
    if tasks:
        lines += [f"  {task['label']}" for task in facts["to_run"]]
    if facts["to_run"]:
        most = "at most " if any(task["at_most"] for task in facts["to_run"]) else ""
        lines.append(
            f"model passes to come: {most}{facts['forward']:,} images forward, {facts['backward']:,} backward"
            + (
                f", and {facts['tasks_without_estimate']} tasks whose passes depend on the data"
                if facts["tasks_without_estimate"]
                else ""
            )
        )
        lines.append(
            f"estimated time on one core or device: {most}{seconds_text(facts['seconds_on_one_core'])}"
            + (" without those tasks" if facts["tasks_without_estimate"] else "")
        )
        room = f"{size_text(facts['disk_bytes'])} in the cache"
        if facts["tasks_without_size"]:
            room += f" without {facts['tasks_without_size']} tasks of unknown size"
        if facts["disk_free_bytes"] is not None:
            room += f" ({size_text(facts['disk_free_bytes'])} free)"
        memory, there = facts["worker_memory_bytes"], facts["memory_bytes"]
        lines.append(f"disk and memory: {room}; a worker takes about {size_text(memory)}")
        if there is not None and memory:
            lines[-1] += f", so {max(1, there // memory)} fit into {size_text(there)} (--workers)"
            if (largest := facts["largest_batch_size"] or 0) > facts["batch_size"]:
                lines[-1] += f", or one with batches of {largest} (`batch_size`)"
    if facts["seconds_saved_by_cache"] >= 1:
        lines.append(f"the cache saves {seconds_text(facts['seconds_saved_by_cache'])} of that kind")
    return "\n".join(lines)


def _cells_per_defense(cells: list[dict[str, Any]]) -> list[str]:
    total: Counter[tuple[str, str, str]] = Counter()
    cached: Counter[tuple[str, str, str]] = Counter()
    for cell in cells:
        place = (cell["dataset"], cell["model"], cell["defense"])
        total[place] += 1
        cached[place] += cell["cached"]
    widths = [max(map(len, column)) for column in zip(*total, strict=True)]
    return [
        "  "
        + "  ".join(label.ljust(width) for label, width in zip(place, widths, strict=True))
        + f"  {cached[place]}/{count}"
        for place, count in total.items()
    ]


def suite_facts(registry: Registry) -> list[dict[str, Any]]:
    """Return the suites that ship with installed distributions, those that cannot be read with the reason."""
    from benchmark.suite import load_suite, shipped_suites

    facts: list[dict[str, Any]] = []
    for name, files in shipped_suites().items():
        for path in files:
            row: dict[str, Any] = {"name": name, "path": str(path)}
            try:
                suite = load_suite(str(path), registry=registry)
            except InputError as error:
                facts.append(row | {"error": str(error)})
                continue
            cells = {point.identity() for point in suite.points()}
            facts.append(
                row
                | {
                    "title": suite.title,
                    "profiles": list(suite.profiles),
                    "cells": len(cells),
                    "gpu": suite.gpu,
                    "data": [_data_of(component) for component in suite.datasets.values()],
                }
            )
    return facts


def _data_of(component: Component) -> dict[str, str]:
    """Return a data set's plugin, and which data it reads, "" where it makes or carries its images."""
    given = component.plain()
    which = next((given[name] for name in ("name", "path", "train") if isinstance(given.get(name), str)), "")
    return {"use": component.use, "which": which}


def describe_suites(facts: list[dict[str, Any]]) -> str:
    """Return a line per suite."""
    lines = []
    width = max((len(row["name"]) for row in facts), default=0)
    for row in facts:
        if "error" in row:
            told = "CANNOT BE READ: " + row["error"].splitlines()[0]
        else:
            data = dict.fromkeys(" ".join(filter(None, one.values())) for one in row["data"])
            told = f"{row['title'] or '-'} [{row['cells']} cells; data: {', '.join(data)}"
            told += "; meant for a GPU" if row["gpu"] else ""
            told += f"; profiles: {', '.join(row['profiles'])}]" if row["profiles"] else "]"
        lines.append(f"{row['name']:<{width}}  {told}")
    return "\n".join(lines)


TAGGED = ("attack", "defense")


def plugin_facts(registry: Registry, kind: str | None, tags: bool = False) -> dict[str, Any]:
    """Return all registered components, and all plugins and components that are unusable.

    With `tags` attacks and defenses are imported, and have theirs (`benchmark.taxonomy`).
    """
    chosen = [r for k in KINDS if kind in (None, k) for r in registry.all(k)]
    unusable: dict[tuple[str, str], str] = {}
    tagged: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for registration in chosen:
        try:
            registration.check()
            if tags and registration.kind in TAGGED:
                tagged[registration.kind, registration.name] = _tag_facts(registration)
        except PluginError as error:
            unusable[registration.kind, registration.name] = str(error)
    return {
        "components": [
            {
                "kind": r.kind,
                "name": r.name,
                "summary": r.summary,
                "version": r.version,
                "distribution": r.provenance.distribution,
                "distribution_version": r.provenance.version,
                "module": r.provenance.module,
                **({"tags": tagged[r.kind, r.name]} if (r.kind, r.name) in tagged else {}),
            }
            for r in chosen
            if (r.kind, r.name) not in unusable
        ],
        "failed": [
            {"name": b.name, "from": str(b.provenance), "module": b.provenance.module, "reason": b.reason}
            for b in registry.broken
        ]
        + [
            {
                "name": r.name,
                "from": str(r.provenance),
                "module": r.provenance.module,
                "reason": unusable[r.kind, r.name],
            }
            for r in chosen
            if (r.kind, r.name) in unusable
        ],
    }


def describe_plugins(facts: dict[str, Any]) -> str:
    """Return the plugins as a table in words."""
    lines = []
    rows = facts["components"]
    width = max((len(row["name"]) for row in rows), default=0)
    last = None
    for row in rows:
        if row["kind"] != last:
            last = row["kind"]
            lines.append(f"{last}s")
        source = f"{row['distribution']} {row['distribution_version']}" if row["distribution"] else "--plugin"
        lines.append(f"  {row['name']:<{width}}  {row['summary'] or '-'}  [{source}: {row['module']}]")
        lines += [f"  {'':<{width}}  {tag}" for tag in _tags_told(row.get("tags", ()))]
    lines += [f"FAILED {f['name']} ({f['from']}, {f['module']}): {f['reason']}" for f in facts["failed"]]
    return "\n".join(lines)


def _tag_facts(registration: Registration) -> list[dict[str, Any]]:
    from benchmark.taxonomy import tags_of_registered

    return [
        {"tag": tag.name, "title": tag.title, "framework": tag.framework, "knowledge": list(knowledge)}
        for tag, knowledge in tags_of_registered(registration)
    ]


def _tags_told(facts: Iterable[dict[str, Any]]) -> Iterator[str]:
    for tag in facts:
        rows = f", in {' and '.join(tag['knowledge'])} rows" if tag["knowledge"] else ""
        yield f"{tag['tag']} {tag['title']} ({tag['framework']}){rows}"


def describe_component(registration: Registration, tags: bool = False) -> str:
    """Return a component's summary, provenance and options table; with `tags` it is imported, and has its own."""
    r = registration
    lines = [
        f"{r.kind} {r.name}: {r.summary}" if r.summary else f"{r.kind} {r.name}",
        f"from {r.provenance} ({r.provenance.module}), method version {r.version}",
    ]
    if tags and r.kind in TAGGED:
        lines += ["tags:", *(f"  {tag}" for tag in _tags_told(_tag_facts(r)))]
    if r.kind in ("metric", "reporter"):
        return "\n".join(lines)
    schema = type_schema(r.options_type())
    fields = schema.get("properties", {})
    model = r.options_type().model_fields
    if r.kind == "attack" and "eps" in fields:
        fields["eps"] = sweepable(fields["eps"])
    if not fields:
        return "\n".join([*lines, "no options"])
    lines.append("options:")
    for name, info in model.items():
        default = (
            "required"
            if info.is_required()
            else f"default {_plain_default(info.get_default(call_default_factory=True))}"
        )
        lines.append(f"  {name}: {in_words(alternatives(fields[name], schema), schema)} ({default})")
        if "description" in fields[name]:
            lines.append(f"      {' '.join(fields[name]['description'].split())}")
    return "\n".join(lines)


def _plain_default(value: Any) -> str:
    import json

    plain = value.model_dump(mode="json") if hasattr(value, "model_dump") else value
    return json.dumps(plain, default=str)


def describe_machine(registry: Registry, cache: str) -> str:
    """Return versions, devices, data sets that are found with their default options, and failed plugins."""
    import torch

    from benchmark.provenance import device_description, library_versions

    lines = ["versions"]
    lines += [f"  {name} {version}" for name, version in library_versions().items()]
    lines.append("devices")
    lines.append(f"  {device_description('cpu')}")
    lines.append(f"  {device_description('cuda')}" if torch.cuda.is_available() else "  no CUDA device")
    lines.append(f"cache\n  {_cache_state(cache)}")
    lines.append("data sets (with default options)")
    for registration in registry.all("dataset"):
        lines.append(f"  {registration.name}: {_data_state(registration)}")
    lines.append("plugins that failed")
    lines += [f"  {b.name} ({b.provenance}): {b.reason}" for b in registry.broken] or ["  none"]
    return "\n".join(lines)


def _cache_state(cache: str) -> str:
    from benchmark.store.location import shown
    from benchmark.store.store import Store

    try:
        store = Store(cache)
        store.check()
    except BenchError as error:
        return f"{shown(cache)}: {error}"
    where = cache if Path(cache) == store.root else f"{cache}, and this machine's copy of it in {store.root}"
    free = _free(store.root)
    return f"{where}: {free / 1024**3:.1f} GiB free" if free is not None else where


def _data_state(registration: Registration) -> str:
    options = registration.options_type()
    if any(info.is_required() for info in options.model_fields.values()):
        return "needs options (`bench show dataset " + registration.name + "`)"
    try:
        registration.load()(options()).check()
    except InputError as error:
        return f"not found: {str(error).splitlines()[0]}"
    except (BenchError, ValueError):
        return "needs options (`bench show dataset " + registration.name + "`)"
    return "found"


def _free(path: Path) -> int | None:
    """Return the free bytes where `path` is or will be."""
    for place in (path, *path.parents):
        if place.exists():
            return shutil.disk_usage(place).free
    return None
