"""The source that a plugin is loaded from while it is still being written: an edit must not answer from the cache."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import inspect
import re
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

HOST = "benchmark"
"""Its own edits change no plugin's version: what they change in answers is told by the versions of the built-ins."""
INSTALLED = ("site-packages", "dist-packages")
IMPORT = re.compile(
    r"^[ \t]*(?:from[ \t]+(\.*)([\w.]*)[ \t]+import[ \t]+(\([^)]*\)|[^\n#;]*)|import[ \t]+([^\n#;]*))", re.MULTILINE
)
"""Import statements, and lines of texts that look like them, which do no harm: ten times as fast as a parser."""
COMMENT = re.compile(r"#[^\n]*")


@dataclass(frozen=True)
class _File:
    """A source file; `package` is the dotted name of its package, "" for a module that stands alone."""

    package: str
    path: Path


@lru_cache(maxsize=1024)
def source_digest(*modules: str) -> str:
    """Return a digest of the source that these modules are made of, "" where all of it is installed.

    Source counts that lies outside of `site-packages` and of Python itself: of an editable installation, or on the
    Python path. It is the folder of each module (its neighbours may be loaded by name), the `__init__` files above, and
    likewise all modules that these import, of whatever distribution; not the host. Each file is read once per process.
    """
    lines = sorted(f"{file.package}/{file.path.name} {_read(file.path)[0]}" for file in _reached(modules)[0])
    return hashlib.sha256("\n".join(lines).encode()).hexdigest() if lines else ""


def source_places(*modules: str) -> list[Path]:
    """Return the top-level files and folders of that source, and the host's: what another machine has not installed."""
    tops = {name.partition(".")[0] for name in _reached(modules)[1]}
    return [*_uninstalled(HOST), *(place for top in sorted(tops) for place in _places(top))]


def _reached(modules: Iterable[str]) -> tuple[list[_File], set[str]]:
    """Return the source files of modules and of what they import, and the names of all these."""
    found: dict[_File, None] = {}
    pending, seen = list(modules), set(modules)
    while pending:
        for file in _files_of(pending.pop()):
            if file not in found:
                found[file] = None
                new = [name for name in _imports(file) if name not in seen]
                seen.update(new)
                pending += new
    return list(found), seen


def docstring(target: str | type) -> str:
    """Return the docstring of a class, or of `module:Class` from its source, without importing it; "" for none."""
    if isinstance(target, type):
        return inspect.cleandoc(target.__doc__ or "")
    module, _, name = target.partition(":")
    try:
        spec = importlib.util.find_spec(module)
        tree = ast.parse(Path(spec.origin or "").read_bytes()) if spec is not None else ast.Module([], [])
    except Exception:  # the packages above it may do anything as they are imported
        return ""
    found = (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)
    return next((ast.get_docstring(node) or "" for node in found), "")


def _files_of(module: str) -> Iterator[_File]:
    top, *rest = module.split(".")
    for place in _places(top):
        if place.is_file():
            yield _File("", place)
            continue
        package, folder = top, place
        for name in rest:
            if not (folder / name).is_dir():
                break
            if (folder / "__init__.py").is_file():
                yield _File(package, folder / "__init__.py")
            package, folder = f"{package}.{name}", folder / name
        yield from (_File(package, path) for path in sorted(folder.glob("*.py")))


@lru_cache(maxsize=1024)
def _places(top: str) -> tuple[Path, ...]:
    """Return the file or the folders of a top-level module; nothing for one that is installed, or is not there."""
    return () if top == HOST or top in sys.stdlib_module_names else _uninstalled(top)


def _uninstalled(top: str) -> tuple[Path, ...]:
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return ()
    if spec is None:
        return ()
    places = [Path(place) for place in spec.submodule_search_locations or [spec.origin or ""]]
    return tuple(place for place in places if place.exists() and place.name and not _is_installed(place))


def _is_installed(place: Path) -> bool:
    python = (Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib"))
    return any(part in INSTALLED for part in place.parts) or any(place.is_relative_to(folder) for folder in python)


@lru_cache(maxsize=4096)
def _read(path: Path) -> tuple[str, tuple[tuple[int, str], ...]]:
    """Return the digest of a file, and what it imports: the level of a relative import (0: none), and the name."""
    content = path.read_bytes()
    names: set[tuple[int, str]] = set()
    for level, base, imported, whole in IMPORT.findall(content.decode("utf-8", "replace")):
        for part in COMMENT.sub("", whole or imported).strip("()").split(","):
            name = part.strip().partition(" ")[0]  # without `as …`
            names.add((len(level), f"{base}.{name}".strip(".")))
    return hashlib.sha256(content).hexdigest(), tuple(sorted(names))


def _imports(file: _File) -> Iterator[str]:
    for level, name in _read(file.path)[1]:
        if level == 0:
            yield name
        else:
            parents = file.package.split(".")
            yield ".".join([*parents[: len(parents) - level + 1], name])
