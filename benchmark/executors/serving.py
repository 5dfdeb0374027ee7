"""What every executor has its worker processes do: run a task, and say in events what comes of it."""

from __future__ import annotations

import socket
import sys
import threading
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from benchmark.errors import BenchError, ExecutorError, StorageError
from benchmark.executors import Event, Setup
from benchmark.isolation.process import is_lasting
from benchmark.memory import give_back
from benchmark.plugins import load_plugins
from benchmark.progress import Progress
from benchmark.store.artifact import DamagedArtifactError
from benchmark.store.store import Store
from benchmark.tasks.worker import Worker
from benchmark.versions import library_versions

if TYPE_CHECKING:
    from benchmark.plan.task import Task


class Server:
    """Runs tasks in this process.

    Args:
        setup: what the executor was told at its start.
        device: `cpu`, or a CUDA device.
        every: least number of seconds between two words of progress.

    Raises:
        PluginError: plugins that were given by hand cannot be loaded here.
        ExecutorError: this machine has other versions of libraries than the one that the command runs on, or does not
            see its cache folder.
    """

    def __init__(self, setup: Setup, device: str, every: float = 0.25) -> None:
        here = library_versions()
        other = {name: version for name, version in setup.versions.items() if here.get(name, version) != version}
        if other:
            told = ", ".join(f"{name} {here[name]} instead of {version}" for name, version in other.items())
            raise ExecutorError(
                f"the machine {socket.gethostname()} has {told}: numbers would depend on who has computed them. Give "
                "all machines the same packages."
            )
        store = Store(setup.cache)
        if setup.mark and not store.is_marked(setup.mark):
            raise ExecutorError(
                f"the machine {socket.gethostname()} does not see the cache folder {setup.cache!r} of the machine that "
                "the command runs on. Give --cache a folder that all machines share, or an address."
            )
        self._worker = Worker(
            store,
            load_plugins(setup.modules),
            torch.device(device),
            setup.threads,
            setup.tasks,
            setup.fresh,
        )
        self._timeout, self._every = setup.task_timeout, every
        self._spoiled = ""

    def run(self, task: Task, tell: Callable[[Event], None]) -> Event:
        """Run a task and return its last event.

        After one that is `lasting`, which asks whoever runs the process to end it, no task is run any more: each fails.

        Args:
            task: is run in this thread.
            tell: hears the events before; also from another thread.
        """

        if self._spoiled:
            reason = (
                f"an earlier task of this process has spoiled it for all others, and it was not ended: {self._spoiled}"
            )
            return Event("failed", task.key, {"reason": reason, "traceback": "", "lasting": True, "again": True})

        def send(kind: str, *values: Any) -> None:
            names = ("done", "total", "unit") if kind == "progress" else ("text",)
            tell(Event(kind, task.key, dict(zip(names, values, strict=True))))  # type: ignore[arg-type]

        clock = None if self._timeout is None else threading.Timer(self._timeout, _late, (task.key, tell, _here()))

        def started() -> None:
            tell(Event("started", task.key))
            if clock is not None:
                clock.daemon = True
                clock.start()

        try:
            meta = self._worker.run(task, Progress(send, self._every), started)
            return Event("done", task.key, {"meta": meta})
        except DamagedArtifactError as error:
            return Event("damaged", task.key, {"key": error.key, "reason": str(error)})
        except StorageError as error:
            return Event("storage", task.key, {"message": str(error)})
        except Exception as error:
            known, lasting = isinstance(error, BenchError), is_lasting(error)
            if lasting:
                self._spoiled = str(error)
            return Event(
                "failed",
                task.key,
                {
                    "reason": str(error) if known else f"{type(error).__name__}: {error}",
                    "traceback": traceback.format_exc(),
                    "lasting": lasting,
                    "again": not known,
                },
            )
        finally:
            if clock is not None:
                clock.cancel()
            give_back()


def _here() -> int:
    return threading.get_ident()


def _late(key: str, tell: Callable[[Event], None], thread: int) -> None:
    """Say where the thread of a task is."""
    frame = sys._current_frames().get(thread)
    tell(Event("late", key, {"traceback": "".join(traceback.format_stack(frame)) if frame is not None else ""}))
