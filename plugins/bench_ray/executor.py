"""The executor `ray`: Ray decides where a task runs, and gives it to another node where one dies."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import signal
import socket
import time
import uuid
from collections.abc import Collection, Iterable, Iterator, Sequence
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from bench_ray.options import RayOptions
from benchmark import Event, Executor, ExecutorError, InputError, first_line, source_places

if TYPE_CHECKING:
    from bench_ray.work import Run, Word
    from benchmark import Setup, Task

STARTS = 2
"""So often a Ray of our own is tried to be started: it gives a busy machine half a minute."""
CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 30.0
"""So long a node may take to say whether a process is alive."""
POLL_SECONDS = 0.2
"""So often the command asks what workers have said while no task ends."""
RESOURCE_SECONDS = 5.0
"""So often it looks how large the cluster is."""
AHEAD = 64
"""Tasks that are given to Ray beyond twice what fits, so that no worker waits and an autoscaler sees what is wanted."""
EVENTS_PER_SECOND = 500
"""So many words of progress all workers may say together."""
STORE_BYTES = 128 * 1024**2
"""Ray's own memory for objects where we start it: tasks, events and little else goes through it."""
RETOLD = "|".join(
    (
        "^A worker died or was killed while executing a task",
        # Not of memory that runs out: Ray tries that again for ever, and nobody else says so.
        "^(?!.*failed due to oom).*so the task will be retried",
        "failed due to node preemption",
        "has been marked dead because the detector",
        "^Raylet is terminated",
    )
)
"""What Ray would print in colour on standard output of deaths that it mends, or that we tell of as failed tasks."""
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class RayExecutor(Executor):
    """Runs each task as a task of Ray, in processes that go on to the next."""

    Options = RayOptions
    options: RayOptions

    def __init__(self, options: RayOptions) -> None:
        super().__init__(options)
        self._address = options.address or os.environ.get("RAY_ADDRESS") or None
        self.elsewhere = self._address is not None
        self._tasks: dict[Any, tuple[int, Task]] = {}  # reference to the answer → number of the submission, task
        self._places: dict[str, tuple[str, int]] = {}  # task → node and process that have started it
        self._heard: dict[int, set[str]] = {}  # submission → names of the words that were heard
        self._submitted = 0
        self._looked = 0.0

    def prepare(self, targets: Sequence[str], threads: int) -> None:
        """Look whether Ray is installed.

        Raises:
            InputError: it is not.
        """
        if importlib.util.find_spec("ray") is None:
            raise InputError(
                "--executor ray: the package ray is not installed. Install it (`pip install 'unmask-bench[ray]'`), or "
                "use --executor local."
            )

    def start(self, setup: Setup) -> None:
        """Join the cluster, or start one on this machine.

        Raises:
            ExecutorError: there is none at the address, or it cannot be started.
        """
        os.environ.setdefault("RAY_SCHEDULER_EVENTS", "0")  # its lines about resources would run through ours
        os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", RETOLD)  # read when Ray is imported
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        import ray

        from bench_ray.work import Ear, Run, work

        for left in reversed(range(1 if self.elsewhere else STARTS)):
            try:
                self._join(setup)
                break
            except Exception as error:  # Ray raises many kinds
                ray.shutdown()
                if not left:
                    raise ExecutorError(self._nobody(error)) from error
        self._claims = {
            "num_cpus": setup.threads,
            "num_gpus": self.options.gpus if setup.device == "cuda" else 0,
            "memory": int(self.options.memory * 1024**3),
        }
        self._look_around(first=True)
        here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
            ray.get_runtime_context().get_node_id(), soft=True
        )
        # What it had heard when it is killed is lost: progress. All else comes with a task's answer, if not before, and
        # what a time limit hangs on is said again and again.
        lives_on = {"max_restarts": -1, "max_task_retries": -1}
        self._ear = ray.remote(Ear).options(num_cpus=0, scheduling_strategy=here, **lives_on).remote()
        # Without `max_calls` a process with a GPU would end after each task.
        self._work = ray.remote(max_calls=0, max_retries=self.options.attempts, **self._claims)(work)
        self._run = self._known(setup, Run)
        self._reference = ray.put(self._run)

    def _join(self, setup: Setup) -> None:
        import ray

        _look_for(self._address)
        with _signals_kept():
            ray.init(
                self._address or "local",
                runtime_env=_runtime_environment(setup, carried=self.elsewhere),
                logging_level=logging.ERROR,
                ignore_reinit_error=True,
                **({} if self.elsewhere else self._own_cluster(setup)),
            )

    def _nobody(self, error: Exception) -> str:
        what = f"no Ray cluster can be joined at {self._address!r}" if self.elsewhere else "Ray cannot be started"
        cure = (
            "Look at --ray-address and RAY_ADDRESS, whether the cluster runs (`ray status`) and whether its versions "
            "of Ray and Python are those of this machine."
        )
        return f"--executor ray: {what} ({first_line(error)}). {cure if self.elsewhere else 'Try --executor local.'}"

    def _own_cluster(self, setup: Setup) -> dict[str, Any]:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        count = max(cores, (self.options.workers or 1) * setup.threads)
        return {"num_cpus": count, "include_dashboard": False, "object_store_memory": STORE_BYTES}

    def _known(self, setup: Setup, kind: type[Run]) -> Run:
        plugins = [point.value for point in entry_points(group="bench") if _loaded(point.name)]
        return kind(uuid.uuid4().hex, setup, plugins, max(0.25, self.slots / EVENTS_PER_SECOND))

    def _look_around(self, first: bool = False) -> None:
        """Find out how many tasks fit.

        Raises:
            ExecutorError: none fits, and no node is on its way.
        """
        import ray

        self._looked = time.monotonic()
        names = {"num_cpus": "CPU", "num_gpus": "GPU", "memory": "memory"}
        wanted = {names[name]: value for name, value in self._claims.items() if value}
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        room = sum(min(int(node.get(name, 0) / value) for name, value in wanted.items()) for node in nodes)
        if first and not room and not self.elsewhere:
            there = ", ".join(f"{name} {nodes[0].get(name, 0):g}" for name in wanted) if nodes else "nothing"
            asked = ", ".join(f"{name} {value:g}" for name, value in wanted.items())
            raise ExecutorError(
                f"--executor ray: no task fits on this machine: it claims {asked}, there is {there}. Claim less by "
                "`threads` in the suite, --executor-set gpus=SHARE or --executor-set memory=GIB."
            )
        self.slots = self.options.workers or 2 * room + AHEAD

    def submit(self, task: Task) -> None:
        """Give the task to Ray, which waits for a place for it."""
        self._submitted += 1
        self._heard[self._submitted] = set()
        reference = self._work.remote(self._run.name, [self._reference], self._ear, self._submitted, task)
        self._tasks[reference] = self._submitted, task

    def wait(self, seconds: float) -> list[Event]:
        """Return what workers have said, and how tasks ended.

        Raises:
            ExecutorError: a node is not fit for the run, or the cluster has gone.
        """
        import ray

        waiting, ended = list(self._tasks), []
        try:
            if time.monotonic() - self._looked > RESOURCE_SECONDS:
                self._look_around()
            if waiting:
                ended, _ = ray.wait(waiting, num_returns=1, timeout=min(seconds, POLL_SECONDS))
                if ended:
                    ended, _ = ray.wait(waiting, num_returns=len(waiting), timeout=0)
            said: list[Word] = ray.get(self._ear.take.remote())
        except ray.exceptions.RayError as error:
            raise ExecutorError(
                f"the Ray cluster has gone ({first_line(error)}). Finished work is kept; the same command goes on from "
                "here."
            ) from error
        events = self._new(said)
        for reference in ended:
            if reference in self._tasks:
                events += self._last_words(reference)
        return events

    def _new(self, said: Iterable[Word]) -> list[Event]:
        """Return the events that were not heard before, of what is waited for: a try that was ended may still speak."""
        import ray

        waited_for = {number: reference for reference, (number, _) in self._tasks.items()}
        events = []
        for word in said:
            heard, event = self._heard.get(word.number), word.event
            if heard is None or word.name in heard:
                continue
            if word.name:
                heard.add(word.name)
            events.append(event)
            if event.kind == "started":
                self._places[event.key] = event.data["place"]
            if event.data.get("lasting"):  # what the process cannot put back must reach no other task
                ray.cancel(self._forget(waited_for.pop(word.number)), force=True)
        return events

    def _forget(self, reference: Any) -> Any:
        number, task = self._tasks.pop(reference)
        self._heard.pop(number)
        self._places.pop(task.key, None)
        return reference

    def _last_words(self, reference: Any) -> list[Event]:
        import ray

        task = self._tasks[reference][1]
        try:
            events = self._new(ray.get(reference))
        except ray.exceptions.RuntimeEnvSetupError as error:
            raise ExecutorError(f"a Ray node cannot make the runtime environment: {error}") from error
        except ray.exceptions.OutOfMemoryError as error:
            reason = f"Ray ended it since its node had run out of memory ({first_line(error)})."
            cure = " Claim more for each task by --executor-set memory=GIB."
            return [Event("failed", task.key, {"reason": reason + cure, "traceback": str(error), "again": True})]
        except (ray.exceptions.WorkerCrashedError, ray.exceptions.NodeDiedError) as error:
            tries = self.options.attempts + 1
            reason = f"the worker process or its node died, {tries} times where it was tried ({first_line(error)})"
            return [Event("failed", task.key, {"reason": reason, "traceback": "", "again": True})]
        except ray.exceptions.RayError as error:
            reason, cause = first_line(error), getattr(error, "cause", None)
            reason = reason if cause is None else first_line(cause)
            return [Event("failed", task.key, {"reason": reason, "traceback": str(error), "again": True})]
        finally:
            self._forget(reference)
        if events[-1].data.get("unfit"):
            raise ExecutorError(events[-1].data["reason"])
        return events

    def at_work(self, keys: Collection[str]) -> set[str]:
        """Ask the nodes of the processes that have started the tasks whether they are alive, all at once."""
        import ray

        from bench_ray.work import which_are_there

        places = {key: self._places[key] for key in keys if key in self._places}
        asked: dict[Any, str] = {}
        dead: set[tuple[str, int]] = set()
        try:
            alive = {node["NodeID"] for node in ray.nodes() if node["Alive"]}
            for node in {node for node, _ in places.values()} & alive:
                there = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(node, soft=False)
                ask = ray.remote(which_are_there).options(num_cpus=0, max_retries=0, scheduling_strategy=there)
                asked[ask.remote([process for at, process in places.values() if at == node])] = node
            answers, silent = (
                ray.wait(list(asked), num_returns=len(asked), timeout=ANSWER_SECONDS) if asked else ([], [])
            )
            for late in silent:
                ray.cancel(late)
            for answer in answers:
                with contextlib.suppress(ray.exceptions.RayError):  # it says nothing of the process
                    living, node = ray.get(answer), asked[answer]
                    dead |= {place for place in places.values() if place[0] == node and place[1] not in living}
            alive = {node["NodeID"] for node in ray.nodes() if node["Alive"]}
        except ray.exceptions.RayError:  # of a cluster that has gone `wait` tells
            return set(keys)
        return {key for key in keys if key not in places or (places[key][0] in alive and places[key] not in dead)}

    def cancel(self, key: str) -> None:
        """Have Ray kill the process that is at work on the task."""
        import ray

        for reference in [reference for reference, (_, task) in self._tasks.items() if task.key == key]:
            ray.cancel(self._forget(reference), force=True)

    def stop(self) -> None:
        """Leave the cluster, which ends this run's tasks there, or stop the one that was started here."""
        import ray

        self._tasks, self._places, self._heard = {}, {}, {}
        with _signals_kept():
            ray.shutdown()


def _look_for(address: str | None) -> None:
    """Look whether anybody listens at an address: Ray itself would try for many minutes.

    Raises:
        OSError: nobody does.
        ValueError: it is no address.
    """
    if address is None or address in ("auto", "local"):
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        raise ValueError("write HOST:PORT, ray://HOST:PORT or auto")
    socket.create_connection((host, int(port)), CONNECT_SECONDS).close()


def _loaded(name: str) -> bool:
    """Tell whether the command has loaded an installed plugin."""
    only = os.environ.get("BENCH_PLUGINS")
    return only is None or name in {"core", *(part.strip() for part in only.split(","))}


def _runtime_environment(setup: Setup, carried: bool) -> dict[str, Any]:
    """Return what Ray gives to the processes of this run.

    Args:
        setup: what the host says.
        carried: whether the code goes along; a Ray that was started here finds it where it is.
    """
    variables = dict.fromkeys(THREAD_VARIABLES, str(setup.threads))
    # A process may get another GPU for its next task, and torch looks at these variables once.
    variables["RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES"] = "1"
    if (only := os.environ.get("BENCH_PLUGINS")) is not None:
        variables["BENCH_PLUGINS"] = only
    environment: dict[str, Any] = {"env_vars": variables}
    if carried:
        names = (*(point.value for point in entry_points(group="bench") if _loaded(point.name)), *setup.modules)
        environment["py_modules"] = [str(place) for place in source_places(*names)]
        environment["excludes"] = ["tests/", "__pycache__/", "*.pyc"]
    return environment


@contextlib.contextmanager
def _signals_kept() -> Iterator[None]:
    """Put back what Ray makes of the signals that the command listens to."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:
                signal.signal(number, handler)
