"""For all tests."""

import os
import time
from types import SimpleNamespace

import pytest
from hypothesis import settings

# Before anything computes: tests run beside others, and threads that wait for others cost more than they give.
for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")

# No test pulls a plug, and to wait for the disk is a third of what a small run takes.
os.fsync = lambda descriptor: None

# How long an example takes is the machine's affair; timing is measured in perf/. `nox -s examples` draws more.
settings.register_profile("unmask-bench", deadline=None, max_examples=40)
settings.register_profile("many", deadline=None, max_examples=1000)
settings.load_profile("unmask-bench")


@pytest.fixture(scope="session")
def stop_clock():
    """Return a function that stops the clock of this process: it goes on by `seconds` of what is returned, and by
    `time.sleep`, which takes no time."""

    def stop(patch):
        clock = SimpleNamespace(seconds=time.monotonic())
        patch.setattr(time, "monotonic", lambda: clock.seconds)
        patch.setattr(time, "sleep", lambda seconds: vars(clock).update(seconds=clock.seconds + seconds))
        return clock

    return stop


@pytest.fixture
def clock(stop_clock, monkeypatch):
    """Stop the clock, and return it."""
    return stop_clock(monkeypatch)


def pytest_xdist_auto_num_workers(config):
    """Run all tests in a process per core, of which each takes a gigabyte or two; those that are named in this one."""
    named = config.args_source is not config.ArgsSource.TESTPATHS or config.option.keyword
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return 0 if named else min(cores, 4)
