"""The versions of what decides the numbers."""

from __future__ import annotations

import platform
from functools import cache
from importlib import metadata

LIBRARIES = ("torch", "torchvision", "adversarial-robustness-toolbox", "scikit-learn", "numpy", "pandas", "timm")
"""Libraries whose versions decide the numbers."""


def library_versions() -> dict[str, str]:
    """Return the versions of Python, of this package and of the libraries that decide the numbers."""
    found = {name: _installed(name) for name in ("unmask-bench", *LIBRARIES)}
    return {"python": platform.python_version()} | {name: version for name, version in found.items() if version}


@cache
def _installed(name: str) -> str | None:
    """Return a distribution's version, read once: what is installed over it later is not what this process runs."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
