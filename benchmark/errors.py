"""What can go wrong, and who has to act on it."""

from __future__ import annotations

import importlib
import signal
from collections.abc import Iterable
from typing import Any, ClassVar


class BenchError(Exception):
    """The root of every error that this package raises on purpose."""


class InputError(BenchError):
    """The user's input is unusable: one message, no traceback.

    The message says where, what was found, what is allowed and what to do. Before any work it ends the command with
    exit code 2; in a task it fails the cells that need the task, and the rest go on.
    """


class PluginError(InputError):
    """A plugin that a suite asks for cannot be used (unknown, duplicate, failed to import)."""


class MissingError(InputError):
    """Data or weights that a suite needs are not on this machine."""


class StorageError(BenchError):
    """An artifact cannot be written: disk full, quota, no permission. The run stops and can be resumed."""


class TaskError(BenchError):
    """A plugin answered with something unusable: the cells that need the task fail, the rest go on."""


def first_line(error: BaseException) -> str:
    """Return the kind of an error and the first line of its message."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


class Mistakes:
    """Collects what is wrong with a place that holds many things (a folder of images, a file of annotations), by kind.

    One mistake is told as it is; several as one message with the count and the first few of each kind.
    """

    _SHOWN = 3

    def __init__(self, where: str) -> None:
        """Name the place, which begins the message."""
        self._where = where
        self._found: dict[str, list[str]] = {}

    def __bool__(self) -> bool:
        """Return whether there is any."""
        return bool(self._found)

    def add(self, kind: str, mistake: str) -> None:
        """Note a mistake; those of one `kind` are counted together. The place before it is left out."""
        self._found.setdefault(kind, []).append(mistake.removeprefix(f"{self._where}: "))

    def raise_if_any(self) -> None:
        """Raise all mistakes as one error.

        Raises:
            InputError: there is a mistake.
        """
        if not self._found:
            return
        total = sum(map(len, self._found.values()))
        if total == 1:
            ((mistake,),) = self._found.values()
            raise InputError(f"{self._where}: {mistake}")
        lines = [f"{self._where}: {total} mistakes."]
        for kind, mistakes in self._found.items():
            lines.append(f"  {kind}: {len(mistakes)}")
            lines += [f"    {mistake}" for mistake in mistakes[: self._SHOWN]]
            if len(mistakes) > self._SHOWN:
                lines.append(f"    ... and {len(mistakes) - self._SHOWN} more")
        raise InputError("\n".join(lines))


class ExecutorError(BenchError):
    """Tasks cannot be run any more: the run stops and can be resumed."""


class Stopped(KeyboardInterrupt):
    """A signal asks the command to end: Ctrl-C, or another that the command line listens to.

    Attributes:
        code: the exit code, 128 and the signal's number, as shells have it.
        word: what happened.
    """

    words: ClassVar[dict[int, str]] = {
        signal.SIGINT: "interrupted",
        signal.SIGTERM: "terminated by SIGTERM",
        signal.SIGHUP: "terminated by SIGHUP (the terminal has gone)",
    }

    def __init__(self, number: int = signal.SIGINT) -> None:
        super().__init__(number)
        self.code = 128 + number
        self.word = self.words[number]

    def __str__(self) -> str:
        """Return the sentence that is told, with how to go on."""
        return f"{self.word}: finished work is kept; the same command goes on from here"


def required(module: str, by: str, requirement: str) -> Any:
    """Return a module of a package that not everybody needs.

    Args:
        module: its name.
        by: what needs it; the message begins with this.
        requirement: what pip installs it by, such as `unmask-bench[timm]`.

    Raises:
        MissingError: the package is not installed; the message has the command.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise
        ours = requirement.removeprefix("unmask-bench")
        clone = f" (in a clone: pip install -e '.{ours}')" if ours.startswith("[") else ""
        raise MissingError(
            f"{by} needs the package {error.name}, which is not installed: pip install '{requirement}'{clone}."
        ) from None


def near_match(found: str, allowed: Iterable[str]) -> str:
    """Return `" Did you mean 'x'?"` for the allowed name nearest to `found`, or an empty string."""
    from difflib import get_close_matches

    matches = get_close_matches(found, list(allowed), n=1, cutoff=0.55)
    return f" Did you mean {matches[0]!r}?" if matches else ""


def unknown_name(what: str, found: str, allowed: Iterable[str]) -> str:
    """Return the sentence that refuses an unknown name and lists the known ones."""
    names = sorted(allowed)
    listed = ", ".join(names) if names else "none"
    return f"unknown {what} {found!r}.{near_match(found, names)} Known: {listed}."
