"""Imported by the process that workers are forked from, so that heavy libraries are loaded once for all of them."""

from __future__ import annotations

import contextlib
import importlib
import os

from benchmark.executors.local import PRELOAD, ignore_interruptions

ignore_interruptions()
# The first optimizer imports torch._dynamo, which takes seconds.
for _name in ["benchmark.tasks", "torch._dynamo"]:
    importlib.import_module(_name)

from benchmark.isolation import importing  # noqa: E402 - it imports torch, as the above do

for _name in filter(None, os.environ.get(PRELOAD, "").split(",")):
    # A module that fails here fails again in the worker, with a message.
    with contextlib.suppress(Exception), importing():
        importlib.import_module(_name)
