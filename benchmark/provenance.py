"""What a run was made from: versions, components, machine, commit."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from benchmark.plan.plan import Plan
from benchmark.plan.probing import doubled
from benchmark.plugins import Registry
from benchmark.suite import Suite
from benchmark.suite.file import protocol_facts
from benchmark.versions import library_versions


def manifest_of(
    suite: Suite,
    registry: Registry,
    plan: Plan,
    *,
    key: str,
    cache: str,
    command: Sequence[str],
    device: str,
    executor: str,
    workers: int | None,
) -> dict[str, Any]:
    """Return what the manifest says of a run before its end; `device` is `cpu` or `cuda`."""
    return {
        "key": key,
        "cache": cache,
        "format": 2,
        "suite": suite.name,
        "title": suite.title,
        "profile": suite.profile,
        "source": str(suite.path),
        "command": list(command),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "seeds": list(suite.seeds),
        "protocol": protocol_facts(suite.protocol),
        "only": [one.text for one in suite.only],
        "datasets": {
            label: {
                "use": suite.datasets[label].use,
                "fingerprint": facts.fingerprint(),
                "sizes": dict(facts.sizes),
                "image_shape": list(facts.image_shape),
                "class_names": list(facts.class_names),
                "caption": " ".join((facts.caption, *facts.remarks)).strip(),
            }
            for label, facts in plan.datasets.items()
        },
        "attacks": {
            label: {
                "use": suite.attacks[label].use,
                "needs": attack.needs,
                "evades_detector": attack.evades_detector or attack.needs_likelihoods,
                "steps": attack.iterations(),
                "doubled": [] if (more := doubled(attack.options)) is None else list(more.names),
                "options": attack.options.model_dump(mode="json"),
            }
            for label, attack in plan.used(registry, "attack").items()
        },
        "defenses": {
            label: {
                "family": defense.family,
                "attacks": list(defense.training_attacks()),
                "randomised": defense.randomised,
                "gives_scores": defense.gives_scores,
                "networks": defense.ensemble_size,
            }
            for label, defense in plan.used(registry, "defense").items()
        },
        "weights": _weights(plan, registry),
        "methods": _methods(suite, registry),
        "citations": _citations(suite, registry),
        "cells": len(plan.cells),
        "tasks": len(plan.tasks),
        "plugins": [
            {"module": p.module, "distribution": p.distribution, "version": p.version} for p in registry.loaded
        ],
        "broken_plugins": [{"name": b.name, "from": str(b.provenance), "reason": b.reason} for b in registry.broken],
        "versions": library_versions(),
        "device": device_description(device),
        "executor": executor,
        "workers": workers,
        "threads": suite.threads,
        "git": _git_commit(),
    }


def _weights(plan: Plan, registry: Registry) -> dict[str, dict[str, str]]:
    """Return where the initial weights of the models, and of what defenses share, come from; not those drawn."""
    asked: dict[str, Any] = {
        label: registry.get("model", one.use).create(one.options) for label, one in plan.suite.models.items()
    }
    for label, defense in plan.used(registry, "defense").items():
        for name, request in defense.artifacts().items():
            asked[f"{name} of {label}"] = registry.get("artifact", request.use).create(request.options)
    found = {label: one.weights_facts() for label, one in asked.items()}
    return {label: facts for label, facts in found.items() if facts is not None}


def _methods(suite: Suite, registry: Registry) -> dict[str, dict[str, str]]:
    """Return the versions that the models, attacks and defenses of the suite are registered with, by kind and name."""
    found: dict[str, dict[str, str]] = {}
    for section in (suite.models, suite.attacks, suite.defenses):
        for component in section.values():
            registered = registry.get(component.kind, component.use)
            found.setdefault(component.kind, {})[component.use] = registered.version
    return found


def _citations(suite: Suite, registry: Registry) -> list[str]:
    """Return the BibTeX entries of all components of the suite, each once."""
    sections = (suite.datasets, suite.models, suite.attacks, suite.defenses)
    used = (component for section in sections for component in section.values())
    entries = (registry.get(component.kind, component.use).cite for component in used)
    return list(dict.fromkeys(entry.strip() for entry in entries if entry.strip()))


def device_description(device: str) -> str:
    """Return the device in words."""
    if device == "cuda":
        import torch

        names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
        return "cuda: " + (", ".join(names) or "those of the executor's machines")
    return f"cpu: {_cpu_name()}, {os.cpu_count()} cores"


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


@cache
def _git_commit() -> dict[str, Any] | None:
    """Return commit and state of the checkout that this package is run from, or None outside one.

    Asked once: what this process runs is what it has read then.
    """
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    try:
        commit = subprocess.run(
            ["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()
        changed = subprocess.run(
            ["git", "-C", str(root), "status", "--porcelain", "--untracked-files=no"],
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return {"commit": commit, "changed": bool(changed.strip())}
