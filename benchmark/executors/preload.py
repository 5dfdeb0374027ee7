"""Imported by the process that workers are forked from, so that heavy libraries are loaded once for all of them."""

from __future__ import annotations

import contextlib
import gc
import importlib
import os

from benchmark.executors.local import PRELOAD, ignore_interruptions

ignore_interruptions()
# What is imported stays, as what a command makes does (`benchmark.cli.main`).
gc.disable()
# The first optimizer imports torch._dynamo, which takes seconds.
for _name in ["benchmark.tasks.worker", "torch._dynamo"]:
    importlib.import_module(_name)

from benchmark.contracts import resolve  # noqa: E402 - the first import of torch is the one above
from benchmark.isolation.process import importing  # noqa: E402 - it imports torch, as the above do

for _target in filter(None, os.environ.get(PRELOAD, "").split(",")):
    # A module that fails here fails again in the worker, with a message.
    with contextlib.suppress(Exception, SystemExit), importing():
        for _name in getattr(resolve(_target), "libraries", ()):
            importlib.import_module(_name)
gc.enable()
