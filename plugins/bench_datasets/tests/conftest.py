from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import bench_datasets
from benchmark.dataset import Dataset
from benchmark.plugins import Provenance, Registry

Make = Callable[..., Dataset]


@pytest.fixture(scope="session")
def make() -> Make:
    """Return what makes a data set from options as a suite writes them."""
    registry = Registry()
    registry.add_module("datasets", bench_datasets, Provenance("bench_datasets", "", "0"))

    def create(use: str, **options: Any) -> Dataset:
        return registry.create("dataset", use, options)

    return create


@pytest.fixture(scope="session")
def real_data() -> Path:
    folder = Path(__file__).resolve().parents[4] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no folder shared/data with real images beside the repository")
    return folder
