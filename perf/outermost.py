"""A plugin that counts and times model passes from outside the product (load it by `--plugin outermost`).

It hooks every torch module and counts only the outermost call on a batch of images, so it does not rely on the
product's own counters. Each process appends its sums to the file named by OUTERMOST_LOG when it ends a task.
"""

from __future__ import annotations

import json
import os
import threading
from time import perf_counter
from typing import Any

import torch
from torch import Tensor
from torch.nn.modules import module as torch_module

counts = {"forward": 0, "backward": 0, "forward_seconds": 0.0, "backward_seconds": 0.0}
_state = threading.local()


def _before(module: torch.nn.Module, inputs: tuple[Any, ...]) -> None:
    depth = getattr(_state, "depth", 0)
    if depth == 0:
        _state.started = perf_counter()
    _state.depth = depth + 1


def _after(module: torch.nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
    _state.depth -= 1
    if (
        _state.depth == 0
        and inputs
        and isinstance(inputs[0], Tensor)
        and inputs[0].dim() == 4
        and inputs[0].shape[1] < 4
    ):
        images = inputs[0].shape[0]
        counts["forward"] += images
        counts["forward_seconds"] += perf_counter() - _state.started
        last = output[-1] if isinstance(output, list | tuple) and output else output  # ART's wrapper gives a list
        if isinstance(last, Tensor) and last.requires_grad:

            def count(gradient: Tensor) -> None:
                counts["backward"] += images

            last.register_hook(count)


def _timed(function: Any) -> Any:
    def call(*args: Any, **kwargs: Any) -> Any:
        started = perf_counter()
        try:
            return function(*args, **kwargs)
        finally:
            counts["backward_seconds"] += perf_counter() - started

    return call


def write() -> None:
    path = os.environ.get("OUTERMOST_LOG")
    if path:
        with open(f"{path}.{os.getpid()}", "w") as file:
            json.dump(counts, file)


torch_module.register_module_forward_pre_hook(_before)
torch_module.register_module_forward_hook(_after)
torch.autograd.grad = _timed(torch.autograd.grad)
Tensor.backward = _timed(Tensor.backward)  # type: ignore[method-assign]

if os.environ.get("OUTERMOST_LOG"):
    from benchmark.tasks.worker import Worker

    _run = Worker.run

    def _run_and_write(self: Worker, *args: Any, **kwargs: Any) -> Any:
        try:
            return _run(self, *args, **kwargs)
        finally:
            write()

    Worker.run = _run_and_write  # type: ignore[method-assign]
