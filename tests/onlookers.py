"""Plugins of the parent process that change what they are handed: measures, panels, reporters, listeners, executors."""

from __future__ import annotations

import copy
import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from inline import InlineExecutor

from benchmark import Cell, GalleryImage, Metric, MetricValue, Panel, Reporter, Run, hookimpl
from benchmark.executors import Setup
from benchmark.panel import PanelPart
from benchmark.plan.task import Task


class VandalMetric(Metric):
    """Writes into its cell, by NumPy or through torch, or changes the process."""

    title, scope = "Vandal", "clean"

    def compute(self, cells: Sequence[Cell]) -> MetricValue | None:
        for cell in cells:
            self.spoil(cell)
        return MetricValue(0.5, 0.5, 0.5, 1)

    def spoil(self, cell: Cell) -> None:
        cell.clean.label[:] = cell.y


class ThroughTorch(VandalMetric):
    def spoil(self, cell: Cell) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.from_numpy(cell.clean.label).add_(1)


class ByReplacing(VandalMetric):
    scope = "attack"

    def spoil(self, cell: Cell) -> None:
        object.__setattr__(cell.attacked, "label", cell.y + 1)


class OfProcess(VandalMetric):
    def spoil(self, cell: Cell) -> None:
        np.seterr(all="raise")


class VandalPanel(Panel):
    title = "Vandal panel"

    def of_image(self, image: GalleryImage) -> Sequence[PanelPart]:
        return ()

    def points(self, use: str, cell: Cell) -> Mapping[str, tuple[np.ndarray, np.ndarray]]:
        cell.y[:] = 0
        return {}


class VandalReporter(Reporter):
    """Changes the tables that it reads, and the process, before others read them."""

    def write(self, runs: Sequence[Run], folder: Path, *, single_file: bool = False) -> Path:
        for run in runs:
            run.metrics["value"] = 1.0
            run.manifest.clear()
        os.chdir("/")
        return folder

    def clear(self, folder: Path) -> None:
        os.chdir("/")


class Copying(Reporter):
    """Writes down what it reads, after the other."""

    def write(self, runs: Sequence[Run], folder: Path, *, single_file: bool = False) -> Path:
        runs[0].metrics.to_csv(folder / "copy.csv", index=False)
        return folder / "copy.csv"

    def clear(self, folder: Path) -> None:
        (folder / "copy.csv").unlink(missing_ok=True)


class VandalExecutor(InlineExecutor):
    """Changes tasks that it was handed after they were done."""

    def submit(self, task: Task) -> None:
        super().submit(task)
        task.spec.dataset.options.clear()

    def stop(self) -> None:
        self.setup.tasks.clear()

    def start(self, setup: Setup) -> None:
        self.setup = setup
        super().start(replace(setup, tasks=copy.deepcopy(setup.tasks)))


HEARD = []


@hookimpl
def run_started(run):
    HEARD.append("started")
    run.path = None
    os.environ["HOSTILE"] = "1"


@hookimpl
def task_finished(record):
    HEARD.append(record.kind)
    record.meta.clear()
    sys.exit(5)


@hookimpl
def run_finished(run, exit_code):
    HEARD.append("finished")
    torch.set_default_dtype(torch.float64)


@hookimpl
def register_metrics(register):
    register("a_vandal", VandalMetric)
    register("a_through_torch", ThroughTorch)
    register("a_by_replacing", ByReplacing)
    register("a_of_process", OfProcess)


@hookimpl
def register_panels(register):
    register("a-vandal", VandalPanel)


@hookimpl
def register_reporters(register):
    register("a-vandal", VandalReporter)
    register("b-copying", Copying)


@hookimpl
def register_executors(register):
    register("vandal", VandalExecutor)
