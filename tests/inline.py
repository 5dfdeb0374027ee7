"""An executor that runs tasks in this process, for tests that need no second one."""

from __future__ import annotations

import traceback
from pathlib import Path

import torch

from benchmark import hookimpl
from benchmark.errors import InputError, TaskError
from benchmark.executors import Event, Executor, Setup
from benchmark.plugins import load_plugins
from benchmark.progress import Progress
from benchmark.store import DamagedArtifactError, Store
from benchmark.tasks import Worker


class InlineExecutor(Executor):
    slots = 1

    def start(self, setup: Setup) -> None:
        self.events: list[Event] = []
        self.ran: list[str] = []
        self.worker = Worker(
            Store(Path(setup.cache)),
            load_plugins(setup.modules),
            torch.device(setup.device),
            setup.threads,
            setup.tasks,
        )

    def submit(self, task) -> None:
        def send(kind, *values):
            if kind == "warning":
                self.events.append(Event("warning", task.key, {"text": values[0]}))

        try:
            meta = self.worker.run(task, Progress(send))
            self.events.append(Event("done", task.key, {"meta": meta}))
        except DamagedArtifactError as error:
            self.events.append(Event("damaged", task.key, {"key": error.key, "reason": str(error)}))
        except InputError as error:
            self.events.append(Event("input", task.key, {"message": str(error)}))
        except Exception as error:
            reason = str(error) if isinstance(error, TaskError) else f"{type(error).__name__}: {error}"
            self.events.append(Event("failed", task.key, {"reason": reason, "traceback": traceback.format_exc()}))

    def wait(self, seconds: float) -> list[Event]:
        events, self.events = self.events, []
        return events

    def stop(self) -> None:
        pass


@hookimpl
def register_executors(register):
    register("inline", InlineExecutor)
