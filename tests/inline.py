"""Runs in this process, for tests that need no second one: an executor, and the call that uses it."""

from __future__ import annotations

import io
from functools import cache
from pathlib import Path

from benchmark import hookimpl
from benchmark.executors import Event, Executor, Setup
from benchmark.executors.serving import Server
from benchmark.plugins import Registry, load_plugins
from benchmark.store.store import Store
from suites import Finished


class InlineExecutor(Executor):
    slots = 1

    def start(self, setup: Setup) -> None:
        self.setup = setup
        self.events: list[Event] = []
        self.server = Server(setup, setup.device)
        self.store = Store(setup.cache)

    def submit(self, task) -> None:
        event = self.server.run(task, self.events.append)
        if event.data.get("lasting"):
            self.replace()
        self.events.append(event)

    def replace(self) -> None:
        """Go on as if in another process: this one is the tests'."""
        self.server = Server(self.setup, self.setup.device)

    def cancel(self, key: str) -> None:
        pass

    def wait(self, seconds: float) -> list[Event]:
        events, self.events = self.events, []
        return events

    def stop(self) -> None:
        pass


class LeisurelyExecutor(InlineExecutor):
    """Tells of a task when it is waited for, after all that can be done meanwhile."""

    def wait(self, seconds: float) -> list[Event]:
        return super().wait(seconds) if seconds else []


@hookimpl
def register_executors(register):
    register("inline", InlineExecutor)
    register("leisurely", LeisurelyExecutor)


def run_inline(suite, registry, folder: Path):
    """Run a suite into `folder / "run"`, the cache beside it: exit code, the run, what was said."""
    from benchmark import load_run

    code, said = start_inline(suite, registry, folder / "run", folder / "cache", replace=True)
    return code, load_run(folder / "run"), said


def start_inline(
    suite,
    registry,
    output: Path,
    cache: Path | str,
    *,
    part=None,
    fresh: bool = False,
    executor: str = "inline",
    **request,
):
    """Run a suite: exit code and what was said."""
    from benchmark.display import LineDisplay
    from benchmark.executors import prepared
    from benchmark.run import RunRequest, run_suite

    said = io.StringIO()
    asked = RunRequest(
        output=output,
        cache=cache,
        device="cpu",
        executor=executor,
        part=part,
        fresh=fresh,
        command=["bench", "run"],
        **{"workers": None, "report": False, **request},
    )
    executing = prepared(executor, {} if asked.workers is None else {"workers": asked.workers}, suite, registry)
    code = run_suite(suite, registry, asked, executing, LineDisplay(said))
    return code, said.getvalue()


@cache
def _registry(plugins: tuple[str, ...]) -> Registry:
    return load_plugins(["toy", "inline", *plugins])


def toy_run(suite: Path, output: Path, cache: Path, *, plugins: tuple[str, ...] = (), **options) -> Finished:
    """Run a suite file of toy components, and of those in `plugins`."""
    from benchmark.suite import load_suite

    registry = _registry(plugins)
    code, said = start_inline(load_suite(str(suite), registry=registry), registry, output, cache, **options)
    return Finished(code, output, said)
