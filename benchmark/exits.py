"""How a command ends: signals that ask it to, what is said of errors, and its exit code."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import click

from benchmark.errors import BenchError, Stopped
from benchmark.wording import say


def code_of(error: Exception | SystemExit, stops: Sequence[Stopped]) -> int:
    """Say what went wrong in one sentence, and return the exit code; a bug of ours is raised again."""
    if stops:  # whatever else the error says: libraries answer a signal while they are imported in words of their own
        with contextlib.suppress(OSError):  # the terminal may have gone
            say(stops[0] if _resumes() else f"{stops[0].word}: give the command again", err=True)
        return stops[0].code
    from traceback import walk_tb

    *_, (frame, line) = walk_tb(error.__traceback__)
    by_click = isinstance(error, SystemExit) and frame.f_globals.get("__name__") == "click.core"
    if isinstance(error, BrokenPipeError) or by_click:  # which exits by itself for that alone
        # The reader of standard output has gone (`bench export … | head`): not an error of ours.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
        return 0
    if isinstance(error, click.ClickException):
        shown = io.StringIO()
        error.show(shown)
        say(shown.getvalue().rstrip("\n"), err=True)
        return 2
    if isinstance(error, BenchError):
        say(f"error: {error}", err=True)
        return 2
    if isinstance(error, SystemExit):  # nothing of ours raises it under `cli.main`
        code = frame.f_code
        say(
            f"error: {code.co_filename}, line {line} ({code.co_name}), called sys.exit({error.code!r}) and would have "
            "ended the command without a word. A plugin raises an error instead.",
            err=True,
        )
        return 2
    # click takes an end of file, wherever it was met, for a person who gives up.
    raise (error.__cause__ or error) if isinstance(error, click.Abort) else error


def _resumes() -> bool:
    """Tell whether the command that was given goes on where it was stopped."""
    return sys.argv[1:2] == ["run"] or sys.argv[1:3] == ["data", "prepare"]


@contextlib.contextmanager
def listening(stops: list[Stopped]) -> Iterator[None]:
    """Raise `Stopped`, and note it, when a signal asks this process to end; those that are ignored stay ignored."""

    def stop(number: int, frame: Any) -> None:
        stops.append(Stopped(number))
        raise stops[-1]

    before = {}
    if threading.current_thread() is threading.main_thread():
        for number in Stopped.words:
            if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                before[number] = signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
