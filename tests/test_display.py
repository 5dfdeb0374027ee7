"""The time left that a person reads on a long run."""

from __future__ import annotations

import io
from types import SimpleNamespace

import pytest

from benchmark import display
from benchmark.engine import Work
from benchmark.progress import TaskRecord


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


def heard(shown, clock, key, done, seconds, said=None):
    """Report images of 100 done, let time pass, and return the last line."""
    shown.progress(SimpleNamespace(key=key, label=key), done, 100, "images")
    clock.seconds += seconds
    return said.getvalue().splitlines()[-1] if said else None


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
    start(shown, clock, "d", slow, 0)
    heard(shown, clock, "d", 0, 60)
    # 120 s for 150 of the slow passes: 80 s for another 100, and 40 s for the rest of this task.
    assert heard(shown, clock, "d", 50, 0, said) == "  … d: 50 of 100 images, about 2 min 0 s left"


def test_a_slow_start_is_not_taken_for_a_slow_pace(clock, said):
    training = Work("train network", 100)
    shown = begun(said, {"a": training})
    start(shown, clock, "a", training, 40)  # a process starts, a folder of images is listed
    assert heard(shown, clock, "a", 1, 31, said) == "  … a: 1 of 100 images, time left unknown yet"
    assert heard(shown, clock, "a", 11, 0, said) == "  … a: 11 of 100 images, about 4 min 36 s left"


def test_what_an_earlier_run_has_done_is_not_taken_for_a_fast_pace(clock, said):
    training = Work("train network", 100)
    shown = begun(said, {"a": training})
    start(shown, clock, "a", training, 1)
    heard(shown, clock, "a", 80, 40)  # a checkpoint held 79 of them
    assert heard(shown, clock, "a", 90, 0, said) == "  … a: 90 of 100 images, about 40 s left"


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


def test_work_of_unknown_length_is_no_time_left_until_some_of_it_was_seen(clock, said):
    """An attack of hours must not be told as minutes: a bound is told as one, and a guess is left out."""
    quick, hours, art = Work("judge", 10), Work("craft auto", 10_000, "at most"), Work("craft art", 60, "no")
    shown = begun(said, {"a": quick, "b": quick, "c": hours, "d": art, "e": art})
    assert told(shown, said, clock, "a", quick, 10).endswith("at least 10 s left")
    assert told(shown, said, clock, "d", art, 600).endswith("at most 2 h 56 min left")
    assert told(shown, said, clock, "c", hours, 3600).endswith("about 10 min 10 s left")
