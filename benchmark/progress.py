"""How a task tells the person at the keyboard how far it is."""

from __future__ import annotations

import time
from collections.abc import Callable


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
