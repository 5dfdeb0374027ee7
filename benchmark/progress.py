"""How far a task is, as it says itself; and how it ended, as everybody else is told."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

Status = Literal["done", "cached", "failed"]


class Progress:
    """Handed to every task; sends its messages to whoever shows them.

    Args:
        send: receives ("progress", done, total, unit), ("warning", text) and ("note", text).
        every: least number of seconds between two progress messages.
    """

    def __init__(self, send: Callable[..., None] = lambda *message: None, every: float = 0.25) -> None:
        self._send = send
        self._every = every
        self._last = 0.0

    def update(self, done: int, total: int, unit: str = "images") -> None:
        """Say that `done` of `total` are done."""
        now = time.monotonic()
        if now - self._last >= self._every or done >= total:
            self._last = now
            self._send("progress", done, total, unit)

    def warn(self, text: str) -> None:
        """Show a warning and keep it in the run's journal."""
        self._send("warning", text)

    def note(self, text: str) -> None:
        """Show what is worth knowing while it lasts, and keep it nowhere."""
        self._send("note", text)


@dataclass(frozen=True)
class TaskRecord:
    """How a task ended.

    Attributes:
        status: done in this run, cached by another one, or failed.
        reason: one sentence, where it failed (or the task it waited for).
        waited_for: key of the task whose failure is the reason, "" where it failed by itself.
        meta: what it cost when it was done: seconds, images, forward, backward, peak_memory_bytes.
    """

    key: str
    kind: str
    label: str
    status: Status
    reason: str = ""
    traceback: str = ""
    warnings: tuple[str, ...] = ()
    meta: dict[str, Any] = field(default_factory=dict)
    waited_for: str = ""
