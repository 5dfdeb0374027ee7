"""What happens in the processes that Ray starts."""

from __future__ import annotations

import os
import socket
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import entry_points
from typing import Any

import ray

from benchmark import Event, ExecutorError, Server, Setup, Task

AGAIN_SECONDS = 1.0
"""So often a process that must do no more work says so, until it is ended."""
INSIST_SECONDS = 30.0
"""So often a task says again what its time limit hangs on."""
KEPT = 4
"""Servers that a process keeps: of as many devices, or runs that share a cluster."""


@dataclass(frozen=True)
class Run:
    """What a worker has to know before its first task.

    Attributes:
        name: of the run, unlike that of any other.
        setup: what the host says.
        plugins: modules of the plugins on the machine of the command; a node may have them as code alone.
        every: seconds between two words of progress of a task.
    """

    name: str
    setup: Setup
    plugins: Sequence[str]
    every: float


@dataclass(frozen=True)
class Word:
    """An event on its way to the command.

    Attributes:
        number: of the submission of the command for which it was said.
        name: of the word, by which one that comes twice is known; "" of progress, which may be lost.
        event: what was said.
    """

    number: int
    name: str
    event: Event


class Ear:
    """Keeps what workers say until the command asks for it: an actor. What it has kept when it dies is lost."""

    def __init__(self) -> None:
        self._said: list[Word] = []

    def hear(self, *words: Word) -> None:
        """Take note of events."""
        self._said += words

    def take(self) -> list[Word]:
        """Return what was said since the last call."""
        said, self._said = self._said, []
        return said


_servers: OrderedDict[tuple[str, str], Server] = OrderedDict()


def work(run: str, known: Sequence[Any], ear: Any, number: int, task: Task) -> list[Word]:
    """Run a task and return all that was said of it but progress, its last event at the end.

    Where the process must do no other task, the last event is heard, too, and this does not return: the command has Ray
    end the process. If it returned and ended by itself, Ray might give it a task meanwhile, which would be lost.

    Args:
        run: name of the run.
        known: reference to the `Run`, fetched once per process.
        ear: actor that hears the other events while the task is at work.
        number: of the submission.
        task: what is to be done.
    """
    words: list[Word] = []
    this_try = uuid.uuid4().hex

    def named(event: Event) -> Word:
        return Word(number, f"{this_try}-{len(words)}", event)

    def tell(event: Event) -> None:
        if event.kind == "started":
            event = replace(event, data={"place": (ray.get_runtime_context().get_node_id(), os.getpid())})
        if event.kind == "progress":
            ear.hear.remote(Word(number, "", event))
        else:
            words.append(named(event))
            ear.hear.remote(words[-1])

    try:
        server = _server(run, known[0])
    except ExecutorError as error:
        return [named(Event("failed", task.key, {"reason": str(error), "traceback": "", "unfit": True}))]
    ended = threading.Event()

    def insist() -> None:
        while not ended.wait(INSIST_SECONDS):
            ear.hear.remote(*(word for word in words if word.event.kind in ("started", "late")))

    threading.Thread(target=insist, name="insist", daemon=True).start()  # before the task, which may leave no thread
    try:
        words.append(named(server.run(task, tell)))
    finally:
        ended.set()
    while words[-1].event.data.get("lasting", False):
        ray.get(ear.hear.remote(*words))
        time.sleep(AGAIN_SECONDS)
    return words


def which_are_there(processes: Sequence[int]) -> list[int]:
    """Return those processes of this node that are alive."""
    return [process for process in processes if _is_there(process)]


def _is_there(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def device_of(gpus: Sequence[int | str], visible: str | None) -> str:
    """Return the device by torch's name.

    Args:
        gpus: of the task as Ray calls them, which are the node's.
        visible: CUDA_VISIBLE_DEVICES of the process, by whose order torch counts.

    Raises:
        ExecutorError: the process does not see the GPU, or its number is not known.
    """
    if not gpus:
        return "cpu"
    gpu, names = str(gpus[0]), [name.strip() for name in (visible or "").split(",")]
    if gpu in names:
        return f"cuda:{names.index(gpu)}"
    if visible is None and gpu.isdecimal():
        return f"cuda:{gpu}"
    raise ExecutorError(
        f"the machine {socket.gethostname()}: Ray gives the task GPU {gpu}, and its process has CUDA_VISIBLE_DEVICES "
        f"{visible!r}, which does not name it. Set it where Ray is started on the machine."
    )


def _server(name: str, known: Any) -> Server:
    device = device_of(ray.get_gpu_ids(), os.environ.get("CUDA_VISIBLE_DEVICES"))
    if (name, device) not in _servers:
        run: Run = ray.get(known)
        has = {point.value for point in entry_points(group="bench")}
        modules = [*(module for module in run.plugins if module not in has), *run.setup.modules]
        setup = replace(run.setup, modules=list(dict.fromkeys(modules)))
        _servers[name, device] = Server(setup, device, run.every)
        while len(_servers) > KEPT:
            _servers.popitem(last=False)
    return _servers[name, device]
