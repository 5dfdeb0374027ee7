"""Measures and panels that change what is not theirs: who did it, and what it costs."""

from __future__ import annotations

import gc
import importlib
import os
import sys
import weakref

import numpy as np
import pytest
from tabulated import METRICS, Labels, result, tabulate

from benchmark.metrics.metric import Metric, MetricValue
from benchmark.panel import Panel


class Doing(Labels):
    """A panel that does something on its way, from a call on or at one alone."""

    def __init__(self, title: str, do=lambda: None, at: int | None = None) -> None:
        self.title, self.do, self.at, self.called = title, do, at, 0

    def points(self, use, cell):
        seen = float("SEEN" in os.environ)
        self.called += 1
        if self.at in (None, self.called):
            self.do()
        return {"seen": (np.arange(1), np.array([seen]))}


def shown_by_panels(*panels: Panel, cells: int = 3) -> tuple[dict[str, list[float]], tuple[str, ...]]:
    """Return what each panel kept of a clean cell and attacked ones, and the problems."""
    attacked = [result(attack=f"pgd{number}") for number in range(1, cells)]
    tables = tabulate([result(attack="none"), *attacked], METRICS, {}, (), panels=panels)
    curves = tables.curves[tables.curves.curve.str.endswith(": seen")]
    return {curve.partition(":")[0]: list(found.y) for curve, found in curves.groupby("curve")}, tables.problems


def see(name: str = "SEEN"):
    return lambda: os.environ.update({name: "1"})


def test_what_a_panel_changes_at_its_first_call_alone_costs_its_points_of_that_cell():
    kept, (problem,) = shown_by_panels(Doing("once", see(), at=1), Doing("innocent"))
    assert kept == {"once": 2 * [0.0], "innocent": 3 * [0.0]}
    assert problem.startswith("panel 'once' failed, first for")
    assert "the environment (SEEN)" in problem
    assert "SEEN" not in os.environ


def test_an_import_of_one_panel_excuses_no_other(tmp_path, monkeypatch):
    (tmp_path / "imported_by_a_panel.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    before = list(sys.path)
    kept, problems = shown_by_panels(
        Doing("imports", lambda: importlib.import_module("imported_by_a_panel")),
        Doing("path", lambda: sys.path.insert(0, "/hostile")),
        Doing("sets", see()),
        Doing("reads"),
    )
    assert kept == {"imports": 3 * [0.0], "reads": 3 * [0.0]}
    assert [problem.split(" failed")[0] for problem in problems] == ["panel 'path'", "panel 'sets'"]
    assert (sys.path, "SEEN" in os.environ) == (before, False)


def test_a_path_and_an_environment_that_were_exchanged_are_put_back():
    path, environment = list(sys.path), dict(os.environ)
    kept, problems = shown_by_panels(
        Doing("path", lambda: setattr(sys, "path", ["/hostile", *sys.path])),
        Doing("environment", lambda: setattr(os, "environ", {"SEEN": "1"})),
        Doing("inserts", lambda: sys.path.insert(0, "/hostile")),
        Doing("reads"),
    )
    assert kept == {"reads": 3 * [0.0]}
    assert len(problems) == 3
    assert (sys.path, dict(os.environ), os.getenv("SEEN")) == (path, environment, None)


def test_a_panel_that_ends_the_program_is_told_that_it_called_sys_exit():
    kept, (problem,) = shown_by_panels(Doing("leaves", lambda: sys.exit(3)), Doing("stays"))
    assert kept == {"stays": 3 * [0.0]}
    assert problem.endswith("it called sys.exit(3): raise an error instead")


@pytest.mark.parametrize(
    ("do", "told"),
    [(see(), "one of them changed the environment (SEEN)"), (lambda: sys.exit(3), "'later' called sys.exit(3)")],
)
def test_what_nobody_does_again_when_asked_alone_is_said_of_all_who_were_asked_together(do, told):
    kept, (problem,) = shown_by_panels(Doing("later", do, at=2), Doing("other"))
    assert kept == {"later": 3 * [0.0], "other": 3 * [0.0]}  # each by itself, in an environment that was put back
    assert problem.startswith("the panels 'later', 'other' were asked together for blobs / net / pgd1")
    assert f": {told}. Asked each by itself" in problem
    assert "SEEN" not in os.environ


@pytest.mark.parametrize(
    ("call", "told"), [(1, "panel 'once' failed"), (2, "the panels 'once', 'other' were asked together")]
)
def test_what_cannot_be_put_back_is_told_of(tmp_path, monkeypatch, call, told):
    folder = tmp_path / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    _, (problem,) = shown_by_panels(Doing("once", lambda: (os.chdir("/"), folder.rmdir()), at=call), Doing("other"))
    assert problem.startswith(told)
    assert "the current directory, which cannot be put back" in problem


class Setting(Metric):
    title, scope = "Setting", "attack"

    def compute(self, cells):
        os.environ["SEEN"] = "1"
        return None


class Disturbed(Metric):
    title, scope = "Disturbed", "attack"

    def compute(self, cells):
        if "SEEN" in os.environ:
            raise ValueError("disturbed")
        return MetricValue(0.5, 0.4, 0.6, 3)


def test_a_measure_that_another_disturbs_is_no_problem():
    tables = tabulate([result(), result(attack="fgsm")], {"a": Setting(), "b": Disturbed()}, {}, ())
    of_cells = tables.metrics[tables.metrics.metric == "b"]
    assert (of_cells.status == "ok").all()
    assert len(of_cells) == 2
    (problem,) = tables.problems
    assert problem.startswith("measure 'a' failed")
    assert "the environment (SEEN)" in problem


class Failing(Metric):
    title, scope = "Failing", "attack"

    def __init__(self, end) -> None:
        self.end, self.held = end, []

    def compute(self, cells):
        large = np.zeros(3)
        self.held.append(weakref.ref(large))
        self.end()


def test_what_a_measure_that_fails_leaves_behind_goes_without_a_look_for_garbage():
    failing = {"raises": Failing(lambda: 1 / 0), "quits": Failing(sys.exit)}
    gc.disable()
    try:
        tabulate([result(attack=f"pgd{number}") for number in range(3)], failing, {}, ())
        held = [one() for metric in failing.values() for one in metric.held]
    finally:
        gc.enable()
    assert held == 6 * [None]
