"""The versions of what decides the numbers."""

from __future__ import annotations

import platform
from importlib import metadata

LIBRARIES = ("torch", "torchvision", "adversarial-robustness-toolbox", "scikit-learn", "numpy", "pandas", "timm")
"""Libraries whose versions decide the numbers."""


def library_versions() -> dict[str, str]:
    """Return the versions of Python, of this package and of the libraries that decide the numbers."""
    versions = {"python": platform.python_version()}
    for name in ("unmask-bench", *LIBRARIES):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions
