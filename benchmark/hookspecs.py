"""The map of the system: everything that a plugin can add, and every event it can hear.

A plugin is a module named by an entry point of the group `bench`. It implements any of these hooks::

    from benchmark import hookimpl

    @hookimpl
    def register_defenses(register):
        register("blur", "my_package.blur:Blur")

`register(name, target, *, options=None, version=None, summary="", cite="")` takes the name that users type after
`use:`, and the class or the string `"module:Class"` that is imported when a suite uses it. `options` names
the options class where it is not `target.Options` (give it as a string to a module that does not import torch,
and `bench validate` stays fast). `version` goes into every content key: raise it when the component's answers or the
defaults of its options change; without one the distribution's version is taken. Of a plugin that is not installed into
`site-packages` the source goes into the key too, helper modules included (`benchmark.source`), so that an edit never
answers from the cache; random draws depend on the version alone. `cite` is a BibTeX entry of the paper; reports list
those of all components that a run used.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from benchmark.progress import TaskRecord
    from benchmark.rundir import RunDir

hookspec = pluggy.HookspecMarker("bench")
hookimpl = pluggy.HookimplMarker("bench")
"""Marks a function of a plugin's module as one of the hooks of `benchmark.hookspecs`, by its name."""

Register = Callable[..., None]
"""What hooks are handed to register with: `(name, target, *, options=None, version=None, summary="", cite="")`."""


@hookspec
def register_datasets(register: Register) -> None:
    """Register data sets: subclasses of `benchmark.Dataset`."""


@hookspec
def register_models(register: Register) -> None:
    """Register model architectures: subclasses of `benchmark.Model`."""


@hookspec
def register_attacks(register: Register) -> None:
    """Register attacks: subclasses of `benchmark.Attack`."""


@hookspec
def register_defenses(register: Register) -> None:
    """Register defenses: subclasses of `benchmark.Defense`."""


@hookspec
def register_artifacts(register: Register) -> None:
    """Register shared artifacts: subclasses of `benchmark.SharedArtifact`, which defenses ask for by these names."""


@hookspec
def register_metrics(register: Register) -> None:
    """Register metrics: subclasses of `benchmark.Metric`. All registered metrics are computed for every cell."""


@hookspec
def register_executors(register: Register) -> None:
    """Register executors: subclasses of `benchmark.Executor`, chosen by `--executor`."""


@hookspec
def register_reporters(register: Register) -> None:
    """Register reporters: subclasses of `benchmark.Reporter`. All registered reporters write after a run."""


@hookspec
def register_panels(register: Register) -> None:
    """Register panels: subclasses of `benchmark.Panel`, which add to the images of a cell's page."""


@hookspec
def register_converters(register: Register) -> None:
    """Register converters: subclasses of `benchmark.Converter`, run by `bench data prepare NAME`."""


@hookspec
def run_started(run: RunDir) -> None:
    """Hear that a run has started: its directory, suite and manifest exist. An exception is shown, not fatal."""


@hookspec
def task_finished(run: RunDir, record: TaskRecord) -> None:
    """Hear that a task has finished, came from the cache, or failed. An exception is shown, not fatal."""


@hookspec
def run_finished(run: RunDir, exit_code: int) -> None:
    """Hear that a run is over: tables and report are written, unless the manifest says why not (`ended_by`).

    An exception is shown, not fatal.
    """


KINDS: dict[str, str] = {
    "dataset": "register_datasets",
    "model": "register_models",
    "attack": "register_attacks",
    "defense": "register_defenses",
    "artifact": "register_artifacts",
    "metric": "register_metrics",
    "executor": "register_executors",
    "reporter": "register_reporters",
    "panel": "register_panels",
    "converter": "register_converters",
}
"""Plugin kind → the hook that registers it."""
