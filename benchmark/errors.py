"""What can go wrong, and who has to act on it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class BenchError(Exception):
    """The root of every error that this package raises on purpose."""


class InputError(BenchError):
    """The user's input is unusable: one message, exit code 2, no traceback.

    The message says where, what was found, what is allowed and what to do.
    """


class PluginError(InputError):
    """A plugin that a suite asks for cannot be used (unknown, duplicate, failed to import)."""


class MissingError(InputError):
    """Data or weights that a suite needs are not on this machine."""


class StorageError(BenchError):
    """An artifact cannot be written: disk full, quota, no permission. The run stops and can be resumed."""


class TaskError(BenchError):
    """A plugin answered with something unusable: the cells that need the task fail, the rest go on."""


def near_match(found: str, allowed: Iterable[str]) -> str:
    """Return `" Did you mean 'x'?"` for the allowed name nearest to `found`, or an empty string."""
    matches = difflib.get_close_matches(found, list(allowed), n=1, cutoff=0.55)
    return f" Did you mean {matches[0]!r}?" if matches else ""


def unknown_name(what: str, found: str, allowed: Iterable[str]) -> str:
    """Return the sentence that refuses an unknown name and lists the known ones."""
    names = sorted(allowed)
    listed = ", ".join(names) if names else "none"
    return f"unknown {what} {found!r}.{near_match(found, names)} Known: {listed}."
