"""Another process, in which no plugin has worked."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from benchmark.errors import TaskError
from benchmark.wording import signal_name

ANSWER_SECONDS = 600


class UnansweredError(TaskError):
    """Another process has not answered, for a reason that is not the plugin's."""


class Bystander:
    """A process forked from this one before any plugin worked here; it knows nothing of what they left behind.

    Each question is answered in a fork of it, which ends then: about 10 ms. It ends itself with this process.

    On macOS there is none, and every question stays unanswered: the system's own libraries, Accelerate among them, may
    crash in a fork of a process that has used them.

    Args:
        answer: called with a question, there; question and answer are plain data.
    """

    def __init__(self, answer: Callable[[Any], Any]) -> None:
        self._forks = sys.platform != "darwin"
        if not self._forks:
            return
        self._connection, theirs = multiprocessing.Pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # threads of this process that it does not use
            child = os.fork()
            if child == 0:
                # Forked twice, so that nobody here has to wait for its end.
                if os.fork() == 0:
                    with contextlib.suppress(BaseException):
                        _stand_by(theirs, answer)
                os._exit(0)
        os.waitpid(child, 0)
        theirs.close()

    def ask(self, question: Any) -> Any:
        """Return the answer.

        Raises:
            UnansweredError: it took too long, or there is no other process.
            TaskError: what went wrong there.
        """
        if not self._forks:
            raise UnansweredError("this system has no process to ask that is safe to fork")
        try:
            self._connection.send(question)
            answer, problem = self._connection.recv()
        except (EOFError, OSError):
            raise TaskError("the process that loads what was saved has ended") from None
        if problem:
            raise problem
        return answer


def _stand_by(connection: Connection, answer: Callable[[Any], Any]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    mine = connection.fileno()
    os.closerange(3, mine)
    os.closerange(mine + 1, os.sysconf("SC_OPEN_MAX") if os.sysconf("SC_OPEN_MAX") < 2**16 else 2**16)
    while True:
        question = connection.recv()
        child = os.fork()
        if child == 0:
            signal.alarm(ANSWER_SECONDS)
            try:
                connection.send((answer(question), None))
            except BaseException as error:
                text = str(error) if isinstance(error, TaskError) else f"{type(error).__name__}: {error}"
                connection.send((None, TaskError(text)))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if status:
            number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else None
            if number == signal.SIGALRM:
                problem: TaskError = UnansweredError(f"one thread of the CPU takes more than {ANSWER_SECONDS} s for it")
            else:
                how = "with an error" if number is None else f"by {signal_name(number)}"
                problem = TaskError(f"the process that loaded it ended {how}")
            connection.send((None, problem))
