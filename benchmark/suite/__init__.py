"""Suite files: what to run, validated against the installed plugins before any work starts (docs/suites.md).

Comes in: a path or a name, a profile, changes, and the plugins. Goes out: a `Suite` (`model`), or all that is wrong
with the file, a line each, with its place. Nothing here imports torch.

A file is read in phases, each of which hands on a value: `find` its path, `benchmark.document` its text as a tree with
places, `overrides` the tree after profile, --set and --only, `read` the `Suite`: each piece of the tree as its type in
`file` has it, then with the labels that the suite has (larger sections by `grid` and `reference`). What is wrong is
collected on the way, and told at once.
"""

from __future__ import annotations

from collections.abc import Sequence

from benchmark.document import Place, Problems, parse, read_text
from benchmark.names import KNOWLEDGE, ProbeName
from benchmark.plugins import Registry
from benchmark.selection import GridEntry, Substitute
from benchmark.suite.file import LABEL_LENGTH, USUAL_KNOWLEDGE, Head, Protocol, Published
from benchmark.suite.find import find_suite, shipped_suites
from benchmark.suite.model import RESERVED, SECTIONS, Component, Suite
from benchmark.suite.overrides import override
from benchmark.suite.read import read
from benchmark.suite.reading import Reading

__all__ = [
    "KNOWLEDGE",
    "LABEL_LENGTH",
    "RESERVED",
    "SECTIONS",
    "USUAL_KNOWLEDGE",
    "Component",
    "GridEntry",
    "Head",
    "ProbeName",
    "Protocol",
    "Published",
    "Substitute",
    "Suite",
    "find_suite",
    "load_suite",
    "shipped_suites",
]


def load_suite(
    path_or_name: str,
    *,
    registry: Registry,
    profile: str | None = None,
    sets: Sequence[str] = (),
    only: Sequence[str] = (),
) -> Suite:
    """Return the suite of a file, or the one of that name that ships with an installed distribution.

    Args:
        path_or_name: a path that ends in .yaml or .yml, or a name.
        registry: the plugins.
        profile: name of the profile whose overrides are applied.
        sets: changes `path=value`, applied after the profile.

    Raises:
        InputError: all that is wrong, a line each.
    """
    path = find_suite(path_or_name)
    problems = Problems()
    file = Place(str(path))
    root = parse(read_text(str(path), problems), file, problems)
    if not isinstance(root.value, dict):
        problems.fatal(root.where, f"found {root.found()}; a suite is a mapping that begins with `suite: NAME`.")
    given = override(root, path, registry, problems, profile=profile, sets=sets, only=only)
    return read(Reading(given, registry, problems, path), profile)
