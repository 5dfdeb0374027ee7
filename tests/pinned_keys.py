"""Keys of everything that the shipped suites run, to be pinned. `python tests/pinned_keys.py` writes them anew.

Data sets, weights and optional packages need not be here: every data set is a stand-in with the name, version and
options of the real one, and nothing is looked for. So all is pinned but the content of data and of weights files.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from benchmark import ArraySplit, Dataset
from benchmark.contracts import resolve
from benchmark.hookspecs import KINDS
from benchmark.plan.plan import Plan
from benchmark.plan.planner import make_plan
from benchmark.plugins import Provenance, Registry
from benchmark.suite import load_suite

PINNED = Path(__file__).with_name("pinned_keys.json")
SUITES = sorted((Path(__file__).parents[1] / "suites").glob("*.yaml"))
COUNT = 1600


class StandIn(Dataset):
    """Images of nothing, in the classes of UnMask's paper."""

    def check(self) -> None:
        pass

    def fingerprint(self) -> str:
        return "stand-in"

    def load(self, split: str) -> ArraySplit:
        from bench_unmask.class_parts import PAPER

        images = np.zeros((COUNT, 3, 32, 32), dtype=np.float32)
        return ArraySplit(images, np.arange(COUNT) % len(PAPER.classes), PAPER.classes)


def registry_without_needs() -> Registry:
    """Return our own plugins, of which none looks for anything on this machine."""
    registry = Registry()
    for entry in importlib.metadata.entry_points(group="bench"):
        if entry.dist is None or entry.dist.name != "unmask-bench":
            continue
        module, proxy = importlib.import_module(entry.value), ModuleType(entry.value)
        for kind, hook in KINDS.items():
            if hasattr(module, hook):
                setattr(proxy, hook, _hook(kind, getattr(module, hook)))
        if entry.name not in registry.manager.list_name_plugin():
            registry.add_module(entry.name, proxy, Provenance(entry.value, "unmask-bench", "0"))
    return registry


def _no_memory(self: Any, num_classes: Any, image_shape: Any, rng: Any, progress: Any = None) -> Any:
    """Make planning go on without a look at the network, which may need weights."""
    raise MemoryError


def _hook(kind: str, original: Any) -> Any:
    def hook(register: Any) -> None:
        def without_needs(name: str, target: str, **keywords: Any) -> None:
            if kind == "dataset":
                register(name, StandIn, **keywords)
            elif kind in ("model", "attack", "defense"):
                plugin = resolve(target)
                without: dict[str, Any] = {"check": lambda self: None}
                if kind == "model":
                    without["build"] = _no_memory
                register(name, type(plugin.__name__, (plugin,), without), **keywords)
            else:
                register(name, target, **keywords)

        original(without_needs)

    return hook


def keys_of(plan: Plan) -> dict[str, str]:
    """Return one digest per kind of task, over the identities of all tasks of that kind."""
    kinds: dict[str, list[str]] = {}
    for task in plan.tasks.values():
        kinds.setdefault(task.kind, []).append(task.identity)
    return {
        kind: f"{len(found)} tasks: {sha256(' '.join(sorted(found)).encode()).hexdigest()[:16]}"
        for kind, found in sorted(kinds.items())
    }


def shipped_keys() -> dict[str, dict[str, str]]:
    """Return the keys of all shipped suites and profiles."""
    registry = registry_without_needs()
    found = {}
    for path in SUITES:
        suite = load_suite(str(path), registry=registry)
        found[path.stem] = keys_of(make_plan(suite, registry))
        for profile in suite.profiles:
            other = load_suite(str(path), registry=registry, profile=profile)
            found[f"{path.stem} {profile}"] = keys_of(make_plan(other, registry))
    return found


if __name__ == "__main__":
    PINNED.write_text(json.dumps(shipped_keys(), indent=1) + "\n")
