"""Live progress: bars with time left on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TextIO

from benchmark.engine import Display, Work
from benchmark.plan.task import Task
from benchmark.progress import TaskRecord
from benchmark.wording import printable, seconds_text

HEARTBEAT_SECONDS = 30.0


@dataclass
class _Running:
    """A task at work; its pace counts from the first word of it, since reading, loading and resuming come before."""

    work: Work
    since: float
    share: float = 0.0
    first: tuple[float, float] | None = None  # when that word came, and what share was done then


class _Clock:
    """Estimates the time left from the time that work of the same sort has taken so far."""

    def __init__(self) -> None:
        self.total = self.done = 0
        self.since = time.monotonic()
        self.waiting: dict[str, Work] = {}
        self.ahead: defaultdict[str, float] = defaultdict(float)  # sort → passes of waiting tasks
        self.running: dict[str, _Running] = {}  # by key
        self.spent: dict[str, tuple[float, float]] = {}  # sort → passes of tasks that were done, seconds
        self.busy = 0.0  # seconds of all ended tasks
        self.doubts: dict[str, str] = {}  # sort → what is known of its passes, where that is not how many

    def begin(self, work: Mapping[str, Work]) -> None:
        self.total, self.waiting = len(work), dict(work)
        for one in work.values():
            self.ahead[one.sort] += one.passes
            if one.known != "exactly":
                self.doubts[one.sort] = one.known

    def again(self, work: Mapping[str, Work]) -> None:
        for key, one in work.items():
            if key in self.waiting:  # it ended before its work began
                continue
            if self.running.pop(key, None) is None:
                self.total += 1
            self.waiting[key] = one
            self.ahead[one.sort] += one.passes

    def _waits_no_more(self, key: str) -> None:
        work = self.waiting.pop(key, None)
        if work is not None:
            self.ahead[work.sort] -= work.passes

    def started(self, key: str, work: Work) -> None:
        self._waits_no_more(key)
        self.running[key] = _Running(work, time.monotonic())

    def progress(self, key: str, share: float) -> None:
        running = self.running[key]
        running.share = share
        running.first = running.first or (time.monotonic(), share)

    def finished(self, record: TaskRecord) -> None:
        self.done += 1
        self._waits_no_more(record.key)
        ended = self.running.pop(record.key, None)
        if ended is None:
            return
        took = time.monotonic() - ended.since
        self.busy += took
        if record.status == "done":
            passes, seconds = self.spent.get(ended.work.sort, (0.0, 0.0))
            self.spent[ended.work.sort] = (passes + ended.work.passes, seconds + took)

    def left(self) -> str:
        return self.left_and_share()[0]

    def left_and_share(self) -> tuple[str, float]:
        """Return the time left in words, and how much of the whole time is over."""
        found, over = self.seconds_left(), time.monotonic() - self.since
        if found is None:
            return "time left unknown yet", 0.0
        word, seconds = found
        return f"{word} {seconds_text(seconds)} left", over / (over + seconds)

    def seconds_left(self) -> tuple[str, float] | None:
        """Return `about`, `at most` or `at least`, and seconds; None while nothing is known.

        Work whose passes are no more than bounded, or not even that, counts as it is once some of its sort was done.
        """
        now = time.monotonic()
        spent = dict(self.spent)
        busy = self.busy
        ahead = list(self.ahead.items())
        for running in self.running.values():
            work = running.work
            ahead.append((work.sort, (1 - running.share) * work.passes))
            busy += now - running.since
            when, share = running.first or (now, 0.0)
            if now > when and running.share > share:
                passes, seconds = spent.get(work.sort, (0.0, 0.0))
                spent[work.sort] = (passes + (running.share - share) * work.passes, seconds + now - when)
        # The pace of what was never seen is that of work whose passes were known, where there was any.
        counted = [pace for sort, pace in spent.items() if sort not in self.doubts] or spent.values()
        passes, seconds = map(sum, zip((0.0, 0.0), *counted))
        if now - self.since < 3 or not passes or not busy:
            return None
        paces = {sort: took / of for sort, (of, took) in spent.items() if of}
        doubts = {self.doubts[sort] for sort, of in ahead if of > 0 and sort in self.doubts and sort not in paces}
        serial = sum(
            of * paces.get(sort, seconds / passes)
            for sort, of in ahead
            if "no" not in doubts or sort in paces or sort not in self.doubts
        )
        word = "at least" if "no" in doubts else "at most" if doubts else "about"
        return word, serial * (now - self.since) / busy


class LineDisplay(Display):
    """Plain lines, for logs and pipes."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._clock = _Clock()
        self._images: dict[str, tuple[str, int, int, str]] = {}
        self._last = time.monotonic()

    def begin(self, cached: int, work: Mapping[str, Work]) -> None:
        """Print how much there is to do."""
        self._clock.begin(work)
        self._say(_how_many(cached, len(work)))

    def started(self, task: Task, work: Work) -> None:
        """Look at the clock."""
        self._clock.started(task.key, work)

    def progress(self, task: Task, done: int, total: int, unit: str) -> None:
        """Print a line now and then."""
        self._clock.progress(task.key, done / max(total, 1))
        self._images[task.key] = (task.label, done, total, unit)
        if time.monotonic() - self._last > HEARTBEAT_SECONDS:
            for label, at, of, what in self._images.values():
                self._say(f"  … {label}: {at} of {of} {what}, {self._clock.left()}")
            self._last = time.monotonic()

    def finished(self, record: TaskRecord) -> None:
        """Print a line per task that was run."""
        clock = self._clock
        if record.key not in clock.running and record.status == "cached":
            return
        clock.finished(record)
        self._images.pop(record.key, None)
        self._last = time.monotonic()
        if record.status == "failed":
            self._say(f"[{clock.done}/{clock.total}] FAILED {record.label}: {record.reason}")
        elif record.status == "cached":
            self._say(f"[{clock.done}/{clock.total}] {record.label} (by another run), {clock.left()}")
        else:
            seconds = seconds_text(record.meta.get("seconds", 0.0))
            self._say(f"[{clock.done}/{clock.total}] {record.label} ({seconds}), {clock.left()}")

    def again(self, work: Mapping[str, Work]) -> None:
        """Count them as work to do."""
        self._clock.again(work)
        for key in work:
            self._images.pop(key, None)

    def warning(self, text: str) -> None:
        """Print a warning."""
        self._say(f"warning: {text}")

    def note(self, text: str) -> None:
        """Print a line."""
        self._say(text)

    def close(self) -> None:
        """Nothing to tidy up."""

    def _say(self, text: str) -> None:
        print(printable(text), file=self._stream, flush=True)


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

    def begin(self, cached: int, work: Mapping[str, Work]) -> None:
        """Show the bar of the whole run."""
        self._clock.begin(work)
        self._print(_how_many(cached, len(work)))
        self._whole = self._progress.add_task("all tasks", total=1.0, note="")

    def started(self, task: Task, work: Work) -> None:
        """Show the bar of a task."""
        self._clock.started(task.key, work)
        self._bars[task.key] = self._progress.add_task(printable(_shortened(task.label)), total=1.0, note="")

    def progress(self, task: Task, done: int, total: int, unit: str) -> None:
        """Move the bars."""
        self._clock.progress(task.key, done / max(total, 1))
        self._progress.update(self._bars[task.key], completed=done / max(total, 1), note=f"{done}/{total} {unit}")  # type: ignore[arg-type]
        self._move()

    def finished(self, record: TaskRecord) -> None:
        """Take the task's bar away; print failures, which stay."""
        clock = self._clock
        if record.key in clock.running or record.status != "cached":
            clock.finished(record)
            self._take_away(record.key)
            if record.status == "failed":
                self._print(f"FAILED {record.label}: {record.reason}", style="red")
            self._move()

    def _move(self) -> None:
        clock = self._clock
        left, share = clock.left_and_share()
        self._progress.update(self._whole, completed=share, note=f"{clock.done}/{clock.total} tasks, {left}")

    def again(self, work: Mapping[str, Work]) -> None:
        """Count them as work to do; take the bars of those away that had started."""
        self._clock.again(work)
        for key in work:
            self._take_away(key)

    def _take_away(self, key: str) -> None:
        bar = self._bars.pop(key, None)
        if bar is not None:
            self._progress.remove_task(bar)  # type: ignore[arg-type]

    def warning(self, text: str) -> None:
        """Print a warning above the bars."""
        self._print(f"warning: {text}", style="yellow")

    def note(self, text: str) -> None:
        """Print a line above the bars."""
        self._print(text)

    def _print(self, text: str, style: str | None = None) -> None:
        self._console.print(printable(text), style=style, markup=False, highlight=False, emoji=False)

    def close(self) -> None:
        """Take the bars off the screen."""
        self._progress.stop()


def make_display() -> LineDisplay | TerminalDisplay:
    """Return the display that fits standard error."""
    return TerminalDisplay() if sys.stderr.isatty() else LineDisplay()


def _how_many(cached: int, to_run: int) -> str:
    return f"{cached + to_run} tasks, {cached} of them in the cache, {to_run} to run"


def _shortened(label: str, width: int = 56) -> str:
    return label if len(label) <= width else label[: width - 1] + "…"
