"""What a content key holds of the options of a component."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmark.files import known_digest
from benchmark.options import Function, InputFile, Options, SuiteLabel


def key_of(options: Options) -> dict[str, Any]:
    """Return what a content key holds of options: those that differ from their defaults, on every level.

    A new option with a neutral default changes no key, then. Where the rest would not be read back as the same options
    (a union of types that differ in their defaults alone), all options are held.
    """
    whole, rest = options.model_dump(mode="json"), options.model_dump(mode="json", exclude_defaults=True)
    again = type(options).model_validate_json(json.dumps(rest)).model_dump(mode="json")
    if json.dumps(again) == json.dumps(whole):
        return _without_places(options, rest)
    return {"*": _without_places(options, whole)}  # no option is called so


def functions_of(options: Options) -> list[str]:
    """Return the functions that options name, on every level: what they are made of is source of the component."""
    found: list[str] = []
    for name, info in type(options).model_fields.items():
        value = getattr(options, name)
        if isinstance(value, Options):
            found += functions_of(value)
        elif isinstance(value, str) and any(isinstance(mark, Function) for mark in info.metadata):
            found.append(value)
    return found


def _without_places(options: Options, kept: dict[str, Any]) -> dict[str, Any]:
    for name, info in type(options).model_fields.items():
        if name not in kept:
            continue
        value = getattr(options, name)
        if any(isinstance(mark, SuiteLabel) for mark in info.metadata):
            del kept[name]
        elif any(isinstance(mark, InputFile) for mark in info.metadata):
            if isinstance(value, str) and Path(value).is_file():
                kept[name] = {"file": known_digest(Path(value))}
        elif isinstance(value, Options):
            kept[name] = _without_places(value, kept[name])
    return kept
