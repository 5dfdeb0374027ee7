"""Fixtures: a suite of imagined components, and what is said of changing it."""

from __future__ import annotations

from pathlib import Path

import pytest
from imagined import REGISTRY, SUITE

from benchmark.errors import InputError
from benchmark.schema import suite_schema
from benchmark.suite import load_suite


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write a suite into the current folder and return its name."""
    monkeypatch.chdir(tmp_path)

    def write_suite(text: str, name: str = "s.yaml") -> str:
        Path(name).write_text(text, encoding="utf-8")
        return name

    return write_suite


@pytest.fixture
def load(write):
    def load_text(text: str = SUITE, *sets: str, profile: str | None = None):
        return load_suite(write(text), registry=REGISTRY, profile=profile, sets=sets)

    return load_text


@pytest.fixture
def refusal(load):
    """Return the message for a suite that is refused."""

    def refuse(text: str = SUITE, *sets: str, profile: str | None = None) -> str:
        with pytest.raises(InputError) as caught:
            load(text, *sets, profile=profile)
        return str(caught.value)

    return refuse


@pytest.fixture(scope="session")
def validator():
    import jsonschema

    schema = suite_schema(REGISTRY)
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)
