"""Executors run tasks that are ready; which tasks these are, the engine decides.

Comes in: a `Setup` for all workers, then one `Task` after the other. Goes out: an `Event` for all that a worker says.
`serving` is what worker processes do, whoever started them. `local` has some on this machine, which `preload` starts
with heavy libraries in memory.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, ValidationError

from benchmark.errors import InputError, unknown_name
from benchmark.options import Options
from benchmark.plugins import validate_options

if TYPE_CHECKING:
    from benchmark.plan.task import Task
    from benchmark.plugins import Registry
    from benchmark.suite import Suite


class ExecutorOptions(Options):
    """What every executor is told by the command line."""

    workers: int | None = Field(None, ge=1)
    """Worker processes; by default one per GPU, or one per CPU core."""


@dataclass(frozen=True)
class Setup:
    """What a worker needs before its first task.

    Attributes:
        cache: the store's folder, absolute, or its address.
        modules: plugin modules given by `--plugin`.
        device: `cpu` or `cuda`.
        threads: torch threads per task.
        tasks: all tasks of the plan by key.
        fresh: make every artifact anew; the one that is there stays until then, since other runs may be reading it.
        task_timeout: seconds after which a task is `late`; None for never.
        versions: of the libraries that decide the numbers, where the command runs.
        mark: what is seen in the cache folder during the run, and in none that is called so on another machine; ""
            where none is at work, or the cache is at an address.
    """

    cache: str
    modules: Sequence[str]
    device: str
    threads: int
    tasks: dict[str, Task]
    fresh: bool = False
    task_timeout: float | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    mark: str = ""


@dataclass(frozen=True)
class Event:
    """What a worker says about a task.

    Attributes:
        kind: `started` (it is at work; again where it was begun anew elsewhere), `progress` (data: done, total, unit),
            `warning` and `note` (text), `late` (traceback: where it is, long after it was started), and as the last one
            `done` (meta: what the task cost), `failed` (reason, traceback; again: whether another try may end
            otherwise; lasting: whether the task has left in its process what cannot be put back), `damaged` (key of an
            artifact that must be made again, reason) or `storage` (message: nothing can be written, so the run ends).
            Executors may add data of their own.
        key: the task.
    """

    kind: Literal["started", "progress", "warning", "note", "late", "done", "failed", "damaged", "storage"]
    key: str
    data: dict[str, Any] = field(default_factory=dict)


class Executor(ABC):
    """Runs tasks. Results must not depend on which executor ran them, nor on how many workers it has.

    Lifecycle: `prepare` (optional, early), `start`, then `submit` up to `slots` tasks and `wait` for events, `cancel` a
    task that takes too long, `stop` at the end or on an interruption. Where artifacts are found damaged or gone after
    that, it begins with `start` again.

    A process in which a task has failed with something `lasting` does no other task: the executor ends it.
    """

    Options: ClassVar[type[ExecutorOptions]] = ExecutorOptions
    slots: int = 1
    """How many tasks may be submitted at the same time, waiting ones included; known after `start`."""
    elsewhere: bool = False
    """Whether tasks run on other machines, whose devices are not those of this one."""

    def __init__(self, options: ExecutorOptions) -> None:
        self.options: Any = options

    def prepare(self, targets: Sequence[str], threads: int) -> None:  # noqa: B027
        """Hear early which components (`module:Class`) the tasks will need, while the plan is still being made."""

    @abstractmethod
    def start(self, setup: Setup) -> None:
        """Start the workers.

        Raises:
            ExecutorError: they cannot be started.
        """

    @abstractmethod
    def submit(self, task: Task) -> None:
        """Give a ready task to a free worker."""

    @abstractmethod
    def wait(self, seconds: float) -> list[Event]:
        """Return the events since the last call; wait up to `seconds` for the first.

        Raises:
            ExecutorError: no task can be run any more.
        """

    def at_work(self, keys: Collection[str]) -> Collection[str]:
        """Return those of overdue tasks whose process is, or may be, still there; they are cancelled then.

        Of the others the executor promises to begin them anew by itself and to say `started` again: until then, and for
        ever if it never does, they have no time limit.
        """
        return keys

    @abstractmethod
    def cancel(self, key: str) -> None:
        """End the work on a task, in the middle of whatever it does; no event of it is given any more."""

    @abstractmethod
    def stop(self) -> None:
        """End all workers, in the middle of a task if need be."""


def prepared(name: str, options: Mapping[str, Any], suite: Suite, registry: Registry) -> Executor:
    """Return the executor `name` with options as plain data, told what the tasks of a suite will need.

    Imports no torch: its own processes import it while this one does.

    Raises:
        PluginError: it cannot be loaded.
        InputError: an option is wrong, or what it needs is not installed.
    """
    registered = registry.get("executor", name)
    kind = registered.options_type()
    for option in options:
        if option not in kind.model_fields:
            raise InputError(unknown_name(f"option of the executor {name!r}:", option, kind.model_fields))
    try:
        checked = validate_options(kind, dict(options))
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise InputError(
            f"options of the executor {name!r}: {wrong}. `bench show executor {name}` lists them."
        ) from None
    executor: Executor = registered.load()(checked)
    targets = set()
    for components in (suite.datasets, suite.models, suite.attacks, suite.defenses):
        for component in components.values():
            target = registry.get(component.kind, component.use).target
            targets.add(target if isinstance(target, str) else f"{target.__module__}:{target.__qualname__}")
    executor.prepare(sorted(targets), suite.threads)
    return executor
