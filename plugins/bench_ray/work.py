"""What happens in the processes that Ray starts."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import ray

from benchmark import Event, ExecutorError, Server, Setup, Task

KEPT = 4
"""Servers that a process keeps: of as many devices, or runs that share a cluster."""
LAST_WORD_SECONDS = 0.2
"""A process that must do no more work lets Ray fetch its answer first."""


@dataclass(frozen=True)
class Run:
    """What a worker has to know before its first task.

    Attributes:
        name: of the run, unlike that of any other.
        setup: what the host says.
        plugins: modules of the plugins on the machine of the command; a node may have them as code alone.
        mark: a file in the cache folder, None where that is no folder.
        every: seconds between two words of progress of a task.
    """

    name: str
    setup: Setup
    plugins: Sequence[str]
    mark: Path | None
    every: float


class Ear:
    """Keeps what workers say until the command asks for it: an actor."""

    def __init__(self) -> None:
        self._events: list[Event] = []

    def hear(self, event: Event) -> None:
        """Take note of an event."""
        self._events.append(event)

    def take(self) -> list[Event]:
        """Return the events since the last call."""
        events, self._events = self._events, []
        return events


_servers: OrderedDict[tuple[str, str], Server] = OrderedDict()


def work(run: str, known: Sequence[Any], ear: Any, task: Task) -> Event:
    """Run a task and return its last event, after all others have been heard.

    Args:
        run: name of the run.
        known: reference to the `Run`, fetched once per process.
        ear: actor that hears the other events.
        task: what is to be done.
    """
    try:
        server = _server(run, known[0])
    except ExecutorError as error:
        return Event("failed", task.key, {"reason": str(error), "traceback": "", "unfit": True})
    heard = []

    def tell(event: Event) -> None:
        reference = ear.hear.remote(event)
        if event.kind != "progress":
            heard.append(reference)

    event = server.run(task, tell)
    ray.get(heard)
    if event.data.pop("lasting", False):  # what it cannot put back must reach no other task
        threading.Timer(LAST_WORD_SECONDS, os._exit, (1,)).start()
    return event


def _server(name: str, known: Any) -> Server:
    gpus = ray.get_gpu_ids()
    device = f"cuda:{gpus[0]}" if gpus else "cpu"
    if (name, device) not in _servers:
        run: Run = ray.get(known)
        if run.mark is not None and not run.mark.exists():
            raise ExecutorError(
                f"the Ray node {ray.util.get_node_ip_address()} does not see the cache folder {run.setup.cache!r} of "
                "the machine that the command runs on. Give --cache a folder that all nodes share."
            )
        has = {point.value for point in entry_points(group="bench")}
        modules = [*(module for module in run.plugins if module not in has), *run.setup.modules]
        setup = replace(run.setup, modules=list(dict.fromkeys(modules)))
        _servers[name, device] = Server(setup, device, run.every)
        while len(_servers) > KEPT:
            _servers.popitem(last=False)
    return _servers[name, device]
