"""Live progress: bars with time left on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from time import monotonic
from typing import TextIO

from benchmark.engine import Display, TaskRecord, seconds_text
from benchmark.plan import Task

HEARTBEAT_SECONDS = 30.0


class _Clock:
    """Estimates the time left from the work done so far."""

    def __init__(self) -> None:
        self.total = self.done = 0
        self.work = 0.0
        self.finished_work = 0.0
        self.started = monotonic()
        self.parts: dict[str, float] = {}  # key → share of a running task that is done
        self.sizes: dict[str, float] = {}

    def worked(self) -> float:
        return self.finished_work + sum(self.sizes[key] * share for key, share in self.parts.items())

    def left(self) -> str:
        finished = self.worked()
        elapsed = monotonic() - self.started
        if elapsed < 3 or finished <= 0:
            return "time left unknown yet"
        return f"about {seconds_text(elapsed * max(0.0, self.work - finished) / finished)} left"


class LineDisplay(Display):
    """Plain lines, for logs and pipes."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._clock = _Clock()
        self._images: dict[str, tuple[str, int, int, str]] = {}
        self._last = monotonic()

    def begin(self, total: int, cached: int, work: float) -> None:
        """Print how much there is to do."""
        self._clock.total, self._clock.work = total - cached, work
        self._say(f"{total} tasks, {cached} of them in the cache, {total - cached} to run")

    def started(self, task: Task, work: float) -> None:
        """Remember the task's share of the work."""
        self._clock.sizes[task.key] = work
        self._clock.parts[task.key] = 0.0

    def progress(self, task: Task, done: int, total: int, unit: str) -> None:
        """Print a line now and then."""
        self._clock.parts[task.key] = done / max(total, 1)
        self._images[task.key] = (task.label, done, total, unit)
        if monotonic() - self._last > HEARTBEAT_SECONDS:
            for label, at, of, what in self._images.values():
                self._say(f"  … {label}: {at} of {of} {what}, {self._clock.left()}")
            self._last = monotonic()

    def finished(self, record: TaskRecord) -> None:
        """Print a line per task that was run."""
        if record.status == "cached":
            return
        clock = self._clock
        clock.done += 1
        clock.finished_work += clock.sizes.pop(record.key, 0.0)
        clock.parts.pop(record.key, None)
        self._images.pop(record.key, None)
        self._last = monotonic()
        if record.status == "failed":
            self._say(f"[{clock.done}/{clock.total}] FAILED {record.label}: {record.reason}")
        else:
            seconds = seconds_text(record.meta.get("seconds", 0.0))
            self._say(f"[{clock.done}/{clock.total}] {record.label} ({seconds}), {clock.left()}")

    def warning(self, text: str) -> None:
        """Print a warning."""
        self._say(f"warning: {text}")

    def close(self) -> None:
        """Nothing to tidy up."""

    def _say(self, text: str) -> None:
        print(text, file=self._stream, flush=True)


class TerminalDisplay(Display):
    """Bars for the whole run and for every running task, with the time left."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        self._console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[note]}", markup=False),
            console=self._console,
            transient=True,
        )
        self._clock = _Clock()
        self._bars: dict[str, int] = {}
        self._progress.start()

    def begin(self, total: int, cached: int, work: float) -> None:
        """Show the bar of the whole run."""
        self._clock.total, self._clock.work = total - cached, work
        self._console.print(f"{total} tasks, {cached} of them in the cache, {total - cached} to run", highlight=False)
        self._whole = self._progress.add_task("all tasks", total=max(work, 1.0), note="")

    def started(self, task: Task, work: float) -> None:
        """Show the bar of a task."""
        self._clock.sizes[task.key] = work
        self._clock.parts[task.key] = 0.0
        self._bars[task.key] = self._progress.add_task(_shortened(task.label), total=1.0, note="")

    def progress(self, task: Task, done: int, total: int, unit: str) -> None:
        """Move the bars."""
        self._clock.parts[task.key] = done / max(total, 1)
        self._progress.update(self._bars[task.key], completed=done / max(total, 1), note=f"{done}/{total} {unit}")  # type: ignore[arg-type]
        self._move()

    def finished(self, record: TaskRecord) -> None:
        """Take the task's bar away; print failures, which stay."""
        clock = self._clock
        if record.status != "cached":
            clock.done += 1
            clock.finished_work += clock.sizes.pop(record.key, 0.0)
            clock.parts.pop(record.key, None)
            bar = self._bars.pop(record.key, None)
            if bar is not None:
                self._progress.remove_task(bar)  # type: ignore[arg-type]
            if record.status == "failed":
                self._console.print(
                    f"FAILED {record.label}: {record.reason}", style="red", markup=False, highlight=False
                )
            self._move()

    def _move(self) -> None:
        clock = self._clock
        note = f"{clock.done}/{clock.total} tasks, {clock.left()}"
        self._progress.update(self._whole, completed=clock.worked(), note=note)

    def warning(self, text: str) -> None:
        """Print a warning above the bars."""
        self._console.print(f"warning: {text}", style="yellow", markup=False, highlight=False)

    def close(self) -> None:
        """Take the bars off the screen."""
        self._progress.stop()


def make_display() -> LineDisplay | TerminalDisplay:
    """Return the display that fits standard error."""
    return TerminalDisplay() if sys.stderr.isatty() else LineDisplay()


def _shortened(label: str, width: int = 56) -> str:
    return label if len(label) <= width else label[: width - 1] + "…"
