"""Worker processes on this machine, one per device or CPU core."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any

from benchmark.errors import ExecutorError
from benchmark.executors import Event, Executor, ExecutorOptions, Setup
from benchmark.wording import signal_name

if TYPE_CHECKING:
    from benchmark.plan.task import Task

PRELOAD = "BENCH_PRELOAD"
"""The environment variable that names the components to load in the process that workers are forked from."""
UNKNOWN_CODE = 255
"""What `multiprocessing` gives as exit code of a worker where the process that forked it has died."""
STARTS = 3
"""How often a worker is tried to be started before the run gives up."""
RESTART_SECONDS = 0.5
"""A process that was killed takes a moment to be gone."""
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class LocalExecutor(Executor):
    """Runs each task in a process of its own pool; a worker that dies fails its task and is replaced."""

    def __init__(self, options: ExecutorOptions) -> None:
        super().__init__(options)
        self._workers: list[_Worker] = []
        method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
        self._processes: Any = multiprocessing.get_context(method)
        self._forks = method == "forkserver"

    def prepare(self, targets: Sequence[str], threads: int) -> None:
        """Start the process that workers are forked from; it imports torch and `targets` meanwhile."""
        os.environ[PRELOAD] = ",".join(targets)
        for name in THREAD_VARIABLES:
            os.environ[name] = str(threads)
        if self._forks:
            from multiprocessing import forkserver

            self._processes.set_forkserver_preload(["benchmark.executors.preload"])
            with _interruptions_held():
                forkserver.ensure_running()

    def start(self, setup: Setup) -> None:
        """Start `workers` processes."""
        devices = [setup.device]
        if setup.device == "cuda":
            import torch

            devices = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
        default = len(devices) if setup.device == "cuda" else max(1, _cores() // setup.threads)
        self.slots = self.options.workers or default
        self._workers = [
            _Worker(self._processes, setup, devices[number % len(devices)]) for number in range(self.slots)
        ]

    def submit(self, task: Task) -> None:
        """Give the task to a worker that has none."""
        next(worker for worker in self._workers if worker.task is None).submit(task)

    def wait(self, seconds: float) -> list[Event]:
        """Return what the workers have said."""
        ready = wait([worker.connection for worker in self._workers], seconds)
        events = []
        for worker in self._workers:
            if worker.connection in ready:
                events += worker.receive()
        return events

    def cancel(self, key: str) -> None:
        """Kill the worker that has the task; another one takes its place."""
        for worker in self._workers:
            if worker.task is not None and worker.task.key == key:
                worker.replace()

    def stop(self) -> None:
        """Terminate the workers; tasks that were not finished go on from their last checkpoint next time."""
        for worker in self._workers:
            worker.end()
        self._workers = []


class _Worker:
    """One process and the task that it has."""

    def __init__(self, processes: Any, setup: Setup, device: str) -> None:
        self._start = (processes, setup, device)
        self.task: Task | None = None
        self._launch()

    def _launch(self) -> None:
        processes, setup, device = self._start
        for _ in range(STARTS):
            self.connection, theirs = processes.Pipe()
            self.process = processes.Process(target=_serve, args=(theirs, setup, device), daemon=True)
            try:
                with _interruptions_held():
                    self.process.start()
                return
            except (EOFError, OSError) as error:  # who starts workers has died; the next try starts it anew
                reason = f"{type(error).__name__}: {error}".rstrip(": ")
                time.sleep(RESTART_SECONDS)
            finally:
                theirs.close()
        raise ExecutorError(
            f"no worker process can be started: the process that starts them ended {STARTS} times ({reason}). "
            "Something kills it, or the system has run out of memory: try fewer --workers. Finished work is kept; the "
            "same command goes on from here."
        )

    def submit(self, task: Task) -> None:
        self.task = task
        with contextlib.suppress(OSError):  # a worker that has died meanwhile is heard of by `receive`
            self.connection.send(task)

    def receive(self) -> list[Event]:
        try:
            event: Event = self.connection.recv()
        except (EOFError, OSError):
            return self._died()
        if event.kind in ("done", "failed", "damaged", "storage"):
            self.task = None
        if event.data.pop("lasting", False):  # what it cannot put back must reach no other task
            self.replace()
        return [event]

    def _died(self) -> list[Event]:
        self.process.join()
        code = self.process.exitcode
        task, self.task = self.task, None
        self._launch()
        if task is None:
            return []
        if code is None or code == UNKNOWN_CODE:
            how = "together with the process that had started it, so that nobody knows how"
        else:
            how = f"by {signal_name(-code)}" if code < 0 else f"with code {code}"
        hint = " The system may have run out of memory: try fewer --workers." if code == -signal.SIGKILL else ""
        reason = f"the worker process ended {how}.{hint}"
        return [Event("failed", task.key, {"reason": reason, "traceback": "", "again": True})]

    def replace(self) -> None:
        """End the process, whatever it is doing, and start another."""
        self.task = None
        self.connection.close()
        self.process.kill()
        self.process.join()
        self._launch()

    def end(self) -> None:
        self.connection.close()
        self.process.terminate()
        self.process.join(5)
        if self.process.is_alive():
            self.process.kill()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def _interruptions_held() -> Iterator[None]:
    """Let no Ctrl-C reach a process that is started here before it ignores them; ours comes a moment later."""
    resource_tracker.ensure_running()  # it would let them through again once it has started
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def ignore_interruptions() -> None:
    """Take no notice of Ctrl-C from now on: the parent decides what it means."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def _serve(connection: Connection, setup: Setup, device: str) -> None:
    """Run tasks until the other side hangs up."""
    ignore_interruptions()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    from benchmark.executors.serving import Server

    server, talking = Server(setup, device), threading.Lock()

    def tell(event: Event) -> None:
        try:
            with talking:
                connection.send(event)
        except OSError:
            os._exit(0)  # nobody listens any more

    while True:
        try:
            task = connection.recv()
        except (EOFError, OSError):
            return
        tell(server.run(task, tell))
