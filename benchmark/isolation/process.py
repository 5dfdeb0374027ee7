"""The state of the process, put back after each plugin."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
import types
from collections.abc import Iterator
from typing import Any

import torch

from benchmark.errors import TaskError
from benchmark.isolation.settings import MODULE_HOOKS, SETTINGS
from benchmark.wording import shortened


class IsolationError(TaskError):
    """A plugin changed what belongs to all: nothing of what its task made is kept.

    Attributes:
        lasting: it cannot be put back, so that this process must run no other task.
    """

    def __init__(self, message: str, lasting: bool = False) -> None:
        super().__init__(message)
        self.lasting = lasting


class Process:
    """The state of this process that plugins share, as it stands when the object is made.

    The global generators are not part of it: `Rng.seeded_globals` seeds and restores them.

    Args:
        threads: whether no thread may be left running either. The process of a run has those of listeners.
    """

    def __init__(self, threads: bool = False) -> None:
        self._threads = frozenset(sys._current_frames()) if threads else None
        self.lasting = False
        """Whether `restore` left something as it found it."""
        self._values = [setting.read() for setting in SETTINGS]
        self._modules = len(sys.modules)

    def restore(self) -> str:
        """Put back what has changed, and return it in words: `torch's default dtype (torch.float32 to …)`."""
        changed, imported = [], len(sys.modules) > self._modules
        for setting, before in zip(SETTINGS, self._values):
            now = setting.read()
            if now == before or (imported and setting.by_imports == "kept"):
                continue
            try:
                setting.write(before)
            except Exception as error:  # such as a folder that was removed; the rest is put back nevertheless
                changed.append(f"{setting.name}, which cannot be put back ({type(error).__name__}: {error})")
                self.lasting = True
                continue
            if not imported or setting.by_imports == "offence":
                changed.append(f"{setting.name}{_from_to(before, now)}")
        if self._threads is not None and (left := _left_running(self._threads)):
            changed.append(f"what runs beside it: threads go on ({shortened(left)}), join them,")
            self.lasting = True
        return ", ".join(changed)

    def restore_after_import(self) -> None:
        """Put back what no import has to change; instruments that count passes stay hooked."""
        for setting, before in zip(SETTINGS, self._values):
            if setting.by_imports == "offence" and setting.name != MODULE_HOOKS and setting.read() != before:
                setting.write(before)


_WAITING = frozenset({"concurrent", "joblib", "multiprocessing", "queue", "selectors", "threading", "torch", "tqdm"})
"""Packages whose threads may stay: where nothing else is at work in a thread, it waits in a pool."""
THREAD_SECONDS = 0.2


def _left_running(before: frozenset[int]) -> list[str]:
    """Return the names of threads begun since that do not end by themselves in a moment."""
    deadline = time.monotonic() + THREAD_SECONDS
    while True:
        named = {thread.ident: thread for thread in threading.enumerate()}
        left = []
        for ident, frame in sys._current_frames().items():
            if ident not in before and (isinstance(named.get(ident), threading.Timer) or not _waits(frame)):
                left.append(named[ident].name if ident in named else f"thread {ident}")
        if not left or time.monotonic() > deadline:
            return sorted(left)
        time.sleep(0.005)


def _waits(frame: types.FrameType | None) -> bool:
    while frame is not None:
        if str(frame.f_globals.get("__name__")).partition(".")[0] not in _WAITING:
            return False
        frame = frame.f_back
    return True


def _from_to(before: Any, now: Any) -> str:
    if isinstance(before, dict) and isinstance(now, dict):
        names = sorted(os.fsdecode(n) for n in {*before, *now} if before.get(n) != now.get(n))
        return f" ({shortened(names)})"
    if isinstance(before, str | int | float | bool | torch.dtype):
        return f" ({before} to {now})"
    return ""


@contextlib.contextmanager
def isolated(who: str, threads: bool = False) -> Iterator[None]:
    """Put the state of the process back after the block, and say who changed it.

    Args:
        who: for messages.
        threads: whether a thread that goes on is a change, too.

    Raises:
        IsolationError: `who` changed something, or wanted to end the program; where the block raised an error too, that
            error stands behind it.
    """
    before = Process(threads)
    try:
        yield
    except SystemExit as error:
        before.restore()
        text = f"{who} called sys.exit({error.code!r}): raise an error instead"
        raise IsolationError(text, before.lasting) from error
    except Exception as error:
        changed = before.restore()
        if changed:
            text = f"{_blame(who, changed)} (and then {type(error).__name__}: {error})"
            raise IsolationError(text, before.lasting or is_lasting(error)) from error
        raise
    except BaseException:
        before.restore()
        raise
    changed = before.restore()
    if changed:
        raise IsolationError(_blame(who, changed), before.lasting)


@contextlib.contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Let torch work in so many threads: those of a thread pool that wait for each other take cores from who works."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def is_lasting(error: BaseException) -> bool:
    """Tell whether an error says that this process must run no other task."""
    return isinstance(error, IsolationError) and error.lasting


@contextlib.contextmanager
def importing() -> Iterator[None]:
    """Put the state of the process back after a plugin was imported."""
    before = Process()
    try:
        yield
    finally:
        before.restore_after_import()


def _blame(who: str, changed: str) -> str:
    return f"{who} changed {changed} for everything that runs after it: it must be as it was when the call returns"
