"""Where the file of a suite is."""

from __future__ import annotations

import importlib.metadata
import os
from pathlib import Path

from benchmark.document import SUFFIXES
from benchmark.errors import InputError, unknown_name
from benchmark.plugins import GROUP


def find_suite(path_or_name: str) -> Path:
    """Return the file of a suite.

    Raises:
        InputError: no suite of that name ships with an installed distribution, or two distributions ship one.
    """
    is_path = path_or_name.lower().endswith(SUFFIXES) or "/" in path_or_name or os.sep in path_or_name
    shipped = {} if is_path else shipped_suites()
    found = shipped.get(path_or_name)
    if found is None:
        if is_path and not os.path.exists(path_or_name) and Path(path_or_name).stem in shipped_suites():
            raise InputError(
                f"{path_or_name}: no such file. A suite of that name ships with an installed distribution: write "
                f"{Path(path_or_name).stem!r} instead of a path."
            )
        if is_path or os.path.exists(path_or_name):
            return Path(path_or_name)
        sentence = unknown_name("suite", path_or_name, shipped)
        raise InputError(f"{sentence} A path ends in .yaml.")
    if len(found) > 1:
        raise InputError(
            f"several distributions ship a suite {path_or_name!r}; name the file: {', '.join(map(str, found))}."
        )
    return found[0]


def shipped_suites() -> dict[str, tuple[Path, ...]]:
    """Return name → files of the suites that ship with distributions that have plugins, and with this checkout."""
    found: dict[str, dict[str, Path]] = {}
    for distribution in dict.fromkeys(entry.dist for entry in importlib.metadata.entry_points(group=GROUP)):
        if distribution is None:
            continue
        name = distribution.name
        for file in distribution.files or ():
            if file.suffix in SUFFIXES and file.parts[-4:-1] == ("share", name, "suites"):
                path = Path(str(distribution.locate_file(file))).resolve()
                found.setdefault(file.stem, {})[name] = path
    checkout = Path(__file__).resolve().parents[2]
    if (checkout / "pyproject.toml").is_file():  # an installed package has other distributions' folders beside it
        for path in (checkout / "suites").glob("*.yaml"):
            found.setdefault(path.stem, {})["unmask-bench"] = path
    return {name: tuple(files.values()) for name, files in sorted(found.items())}
