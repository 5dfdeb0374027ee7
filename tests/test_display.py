"""The time left that a person reads on a long run."""

from __future__ import annotations

import io
from types import SimpleNamespace

import pytest

from benchmark import display
from benchmark.engine import TaskRecord, Work


@pytest.fixture
def clock(monkeypatch):
    """Return a clock that is put on by hand."""
    now = SimpleNamespace(seconds=0.0)
    monkeypatch.setattr(display, "monotonic", lambda: now.seconds)
    return now


@pytest.fixture
def said():
    return io.StringIO()


def begun(said, work, cached=0):
    """Return a display that has been told of the work."""
    shown = display.LineDisplay(said)
    shown.begin(cached, work)
    return shown


def start(shown, clock, key, work, seconds):
    """Start a task and let time pass."""
    shown.started(SimpleNamespace(key=key, label=key), work)
    clock.seconds += seconds


def told(shown, said, clock, key, work, seconds):
    """Return the line after a task of so many seconds."""
    start(shown, clock, key, work, seconds)
    shown.finished(TaskRecord(key, "judge", key, "done", meta={"seconds": seconds}))
    return said.getvalue().splitlines()[-1]


def test_slow_work_that_has_been_seen_once_is_expected_to_be_slow_again(clock, said):
    quick, slow = Work("judge quick", 100), Work("judge slow", 100)
    shown = begun(said, {"a": quick, "b": quick, "c": slow, "d": slow, "e": slow}, cached=3)
    assert said.getvalue() == "8 tasks, 3 of them in the cache, 5 to run\n"
    assert told(shown, said, clock, "a", quick, 1) == "[1/5] a (1 s), time left unknown yet"
    assert told(shown, said, clock, "b", quick, 3).endswith("about 6 s left")  # nothing slow was seen
    assert told(shown, said, clock, "c", slow, 60) == "[3/5] c (1 min 0 s), about 2 min 0 s left"
    start(shown, clock, "d", slow, 60)
    shown.progress(SimpleNamespace(key="d", label="d"), 50, 100, "images")
    # 120 s for 150 of the slow passes: 80 s for another 100, and 40 s for the rest of this task.
    assert said.getvalue().splitlines()[-1] == "  … d: 50 of 100 images, about 2 min 0 s left"


def test_tasks_that_run_side_by_side_are_over_sooner(clock, said):
    work = {key: Work("craft pgd", 10) for key in "abcdef"}
    shown = begun(said, work)
    start(shown, clock, "a", work["a"], 0)
    start(shown, clock, "b", work["b"], 30)
    for key in "ab":
        shown.finished(TaskRecord(key, "craft", key, "done", meta={"seconds": 30}))
    assert said.getvalue().splitlines()[-1] == "[2/6] b (30 s), about 1 min 0 s left"


def test_what_fails_with_another_task_is_not_waited_for(clock, said):
    work = {key: Work("fit unmask", 10) for key in "abcde"}
    shown = begun(said, work)
    assert told(shown, said, clock, "a", work["a"], 30) == "[1/5] a (30 s), about 2 min 0 s left"
    start(shown, clock, "b", work["b"], 30)
    for key in "bc":
        shown.finished(TaskRecord(key, "fit", key, "failed", reason="it broke"))
    assert said.getvalue().splitlines()[-1] == "[3/5] FAILED c: it broke"
    assert told(shown, said, clock, "d", work["d"], 30) == "[4/5] d (30 s), about 30 s left"
