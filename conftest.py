"""For all tests."""

import os

from hypothesis import settings

# Before anything computes: tests run beside others, and threads that wait for others cost more than they give.
for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")

# No test pulls a plug, and to wait for the disk is a third of what a small run takes.
os.fsync = lambda descriptor: None

# How long an example takes is the machine's affair; timing is measured in perf/.
settings.register_profile("unmask-bench", deadline=None)
settings.load_profile("unmask-bench")


def pytest_xdist_auto_num_workers(config):
    """Run all tests in a process per core, of which each takes a gigabyte or two; those that are named in this one."""
    named = config.args_source is not config.ArgsSource.TESTPATHS or config.option.keyword
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return 0 if named else min(cores, 4)
