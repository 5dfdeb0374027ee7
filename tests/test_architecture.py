"""The way of imports is that of docs/architecture.md: downward, without circles, and from plugins to the host alone."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import pytest

import benchmark

ROOT = Path(__file__).resolve().parents[1]
PLUGINS = {path.parent.name: path.parent for path in sorted(ROOT.glob("*/bench_*/__init__.py"))}
PAGE = (ROOT / "docs" / "architecture.md").read_text()


def floors() -> dict[str, int]:
    """Return module or room (`plan/`) of the host → its floor, as the page has it; the lowest is 0."""
    rows = re.findall(r"^\| \d+ \w.*?\| (.*?) \|", PAGE.partition("## Floors")[2].partition("\n## ")[0], re.MULTILINE)
    return {name: height for height, row in enumerate(rows) for name in re.findall(r"`([\w/]+)`", row)}


def room_of(module: str) -> str:
    """Return what the page calls a module: its room, or itself."""
    name = module.partition(".")[0]
    return f"{name}/" if (ROOT / "benchmark" / name).is_dir() else name


def host_modules() -> dict[str, Path]:
    """Return module of the host, as the page calls it → file."""
    found = {}
    for path in sorted((ROOT / "benchmark").rglob("*.py")):
        parts = path.relative_to(ROOT / "benchmark").with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)] = path
    return found


@cache
def imports_of(path: Path) -> frozenset[str]:
    """Return what a file imports: at its top, inside functions and for types alone."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    of_modules = [node for node in nodes if isinstance(node, ast.ImportFrom) and node.level == 0]
    return frozenset(plain | {f"{node.module}.{alias.name}" for node in of_modules for alias in node.names})


@cache
def edges() -> frozenset[tuple[str, str]]:
    """Return (module, module that it imports) of the host."""
    modules = host_modules()
    found = set()
    for module, path in modules.items():
        for name in imports_of(path):
            parts = name.split(".")[1:] if name.split(".")[0] == "benchmark" else []
            target = next((m for n in range(len(parts), 0, -1) if (m := ".".join(parts[:n])) in modules), None)
            if target is not None and target != module:
                found.add((module, target))
    return frozenset(found)


def circles(found: Iterable[tuple[str, str]]) -> set[frozenset[str]]:
    """Return the sets of modules of which each leads to each by imports."""
    leads: dict[str, set[str]] = {}
    for module, target in found:
        leads.setdefault(module, set()).add(target)
        leads.setdefault(target, set())

    def reached(module: str) -> set[str]:
        seen: set[str] = set()
        pending = [module]
        while pending:
            for target in leads[pending.pop()] - seen:
                seen.add(target)
                pending.append(target)
        return seen

    behind = {module: reached(module) for module in leads}
    around = {frozenset(other for other in behind[m] if m in behind[other]) for m in leads if m in behind[m]}
    return {circle for circle in around if len(circle) > 1}


def test_every_module_of_the_host_stands_on_one_floor_of_the_page():
    rooms = {room_of(module) for module in host_modules()}
    assert sorted(floors()) == sorted(rooms), "docs/architecture.md, Floors: name each module or room, and no other"


@pytest.mark.parametrize("room", sorted(name for name in floors() if name.endswith("/")))
def test_a_room_says_first_what_comes_in_and_what_goes_out(room):
    page = ast.get_docstring(ast.parse((ROOT / "benchmark" / room / "__init__.py").read_text()))
    assert page
    assert "Comes in: " in page
    assert "Goes out: " in page.replace("\n", " ")


def test_imports_go_down():
    height = floors()
    assert not {(one, other) for one, other in edges() if height[room_of(other)] > height[room_of(one)]}


def test_modules_do_not_import_each_other_in_a_circle():
    assert not circles(edges())


def test_rooms_do_not_import_each_other_in_a_circle():
    rooms = {(module.partition(".")[0], target.partition(".")[0]) for module, target in edges()}
    assert not circles((room, other) for room, other in rooms if room != other)


@pytest.mark.parametrize("plugin", PLUGINS)
def test_a_plugin_imports_the_host_and_itself(plugin):
    others = set(PLUGINS) - {plugin}
    for path in PLUGINS[plugin].rglob("*.py"):
        assert not others & {name.split(".")[0] for name in imports_of(path)}, path


@pytest.mark.parametrize("plugin", PLUGINS)
def test_a_plugin_takes_from_the_host_what_strangers_are_given(plugin):
    given = {f"benchmark.{name}" for name in benchmark.__all__}
    for path in PLUGINS[plugin].rglob("*.py"):
        if "tests" not in path.parts:
            taken = {name for name in imports_of(path) if name.split(".")[0] == "benchmark"}
            assert not taken - given, f"{path}: not on the page of names (benchmark.PAGE, docs/authors.md)"


def test_the_host_imports_no_plugin():
    for path in host_modules().values():
        assert not any(name.startswith("bench_") for name in imports_of(path)), path


def test_the_host_asks_time_for_the_clock():
    """By name, a module would have a clock of its own, which goes on where a test has stopped that of the process."""
    for path in host_modules().values():
        assert not any(name.startswith("time.") for name in imports_of(path)), path


def test_the_page_names_files_that_exist():
    for path in re.findall(r"`((?:benchmark|plugins|reports|tests|docs|perf|suites)/[\w./-]*)`", PAGE):
        assert (ROOT / path).exists(), path
