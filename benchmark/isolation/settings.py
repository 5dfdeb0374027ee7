"""The parts of a process's state that one plugin could change for all others."""

from __future__ import annotations

import locale
import operator
import os
import resource
import signal
import socket
import sys
import threading
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.modules.module as torch_module


@dataclass(frozen=True)
class _Setting:
    """A part of the process's state that one plugin could change for all others.

    Attributes:
        name: what people read.
        read: returns the value as it stands.
        write: puts a value back.
        by_imports: what becomes of it where modules were imported, since libraries change it while they are: an
            offence nevertheless, `put back` without a word, or `kept`, since they may import more by it later.
    """

    name: str
    read: Callable[[], Any]
    write: Callable[[Any], object]
    by_imports: Literal["offence", "put back", "kept"] = "offence"


def _default_device() -> str:
    return str(torch.get_default_device())


def _deterministic() -> tuple[bool, bool]:
    return torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()


_BACKENDS = {
    "": ("fp32_precision",),
    "opt_einsum": ("enabled", "strategy"),
    "quantized": ("engine",),
    "miopen": ("immediate",),
    "mkldnn": ("enabled", "deterministic", "fp32_precision"),
    "mkldnn.matmul": ("fp32_precision",),
    "mkldnn.conv": ("fp32_precision",),
    "mkldnn.rnn": ("fp32_precision",),
    "cudnn": ("enabled", "benchmark", "benchmark_limit", "deterministic", "allow_tf32", "fp32_precision"),
    "cudnn.conv": ("fp32_precision",),
    "cudnn.rnn": ("fp32_precision",),
    "cuda.matmul": (
        "allow_tf32",
        "allow_fp16_accumulation",
        "allow_fp16_reduced_precision_reduction",
        "allow_bf16_reduced_precision_reduction",
        "fp32_precision",
    ),
}
_ATTENTION = ("flash_sdp", "mem_efficient_sdp", "math_sdp", "cudnn_sdp")


def _read_flag(name: str) -> Callable[[], Any] | None:
    """Return what reads a flag, None where this torch has none of the name."""
    place, _, flag = name.rpartition(".")
    try:
        owner = operator.attrgetter(place)(torch.backends) if place else torch.backends
    except AttributeError:
        return None
    # What the attribute does, without torch's ways of finding attributes, which take most of the time.
    getter: Callable[[], Any] | None = getattr(vars(type(owner)).get(flag), "getter", None)
    return getter or (lambda: getattr(owner, flag, None))


def _readers() -> dict[str, Callable[[], Any]]:
    found = {f"cuda.{name}": getattr(torch.backends.cuda, f"{name}_enabled") for name in _ATTENTION}
    for backend, flags in _BACKENDS.items():
        for flag in flags:
            name = f"{backend}.{flag}".lstrip(".")
            if reader := _read_flag(name):
                found[name] = reader
    return found


_READERS = tuple(_readers().items())


def _backends() -> dict[str, Any]:
    """Return the switches that choose the code and the precision of operations, as far as this torch has them."""
    found = {}
    for name, read in _READERS:
        try:
            found[name] = read()
        except RuntimeError:  # flags of torch's older and newer interface that contradict each other
            found[name] = None
    return found


def _set_backends(values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        if _backends()[name] == value:
            continue
        place, _, flag = name.rpartition(".")
        if flag in _ATTENTION:
            getattr(torch.backends.cuda, f"enable_{flag}")(value)
        else:
            setattr(operator.attrgetter(place)(torch.backends) if place else torch.backends, flag, value)


def _matmul_precision() -> str:
    try:
        return torch.get_float32_matmul_precision()
    except RuntimeError:  # as above
        return "contradictory"


_entered: list[Any] = []


def _inference_mode(wanted: bool) -> None:
    # A block that a plugin entered and never left cannot be left from here: one inside it, kept open, undoes it.
    _entered.append(torch.inference_mode(wanted))
    _entered[-1].__enter__()


def _anomaly() -> tuple[bool, bool]:
    return torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()


def _autocast() -> tuple[bool, bool]:
    return torch.is_autocast_enabled("cpu"), torch.is_autocast_enabled("cuda")


def _set_autocast(values: tuple[bool, bool]) -> None:
    for device, value in zip(("cpu", "cuda"), values):
        torch.set_autocast_enabled(device, value)


SavedTensorHooks = tuple[str | None, tuple[Any, ...]]
"""Why hooks of saved tensors are disabled, if they are, and those that were entered, innermost first."""


def _saved_tensor_hooks() -> SavedTensorHooks:
    reason = torch._C._autograd._saved_tensors_hooks_get_disabled_error_message()
    torch._C._autograd._saved_tensors_hooks_enable()
    hooks = _pop_saved_tensor_hooks()
    _set_saved_tensor_hooks((reason, hooks))
    return reason, hooks


def _pop_saved_tensor_hooks() -> tuple[Any, ...]:
    hooks = []
    while (top := torch._C._autograd._top_saved_tensors_default_hooks(True)) is not None:
        hooks.append(top)
        torch._C._autograd._pop_saved_tensors_default_hooks()
    return tuple(hooks)


def _set_saved_tensor_hooks(state: SavedTensorHooks) -> None:
    reason, hooks = state
    torch._C._autograd._saved_tensors_hooks_enable()
    _pop_saved_tensor_hooks()
    for pack, unpack in reversed(hooks):
        torch._C._autograd._push_saved_tensors_default_hooks(pack, unpack)
    if reason is not None:
        torch._C._autograd._saved_tensors_hooks_disable(reason, False)


def _torch_modes() -> tuple[Any, ...]:
    return tuple(torch.overrides._get_current_function_mode_stack())


def _set_torch_modes(modes: tuple[Any, ...]) -> None:
    while torch._C._len_torch_function_stack():
        torch._C._pop_torch_function_stack()
    for mode in modes:
        torch._C._push_on_torch_function_stack(mode)


_DENORMAL, _ONE = 5e-324, 1.0


def _flushes_denormals() -> bool:
    # The processor's switch, which is that of all numbers and not of torch's alone.
    return _DENORMAL * _ONE == 0


MODULE_HOOKS = "torch's hooks of all modules"
_MODULE_HOOKS = tuple(name for name, value in vars(torch_module).items() if name.startswith("_global_"))


def _module_hooks() -> dict[str, Any]:
    here = vars(torch_module)
    return {name: dict(value) if isinstance(value := here[name], dict) else value for name in _MODULE_HOOKS}


def _set_module_hooks(values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        hooks = getattr(torch_module, name)
        if isinstance(hooks, dict):
            hooks.clear()
            hooks.update(value)
        else:
            setattr(torch_module, name, value)


_ENVIRON = os.environ


def _environment() -> dict[Any, Any]:
    if os.environ is not _ENVIRON:
        return {}
    # As the system holds it: to decode it each time would be a sixth of what all these settings take to read.
    return dict(_ENVIRON._data)  # type: ignore[attr-defined]


def _set_environment(values: Mapping[Any, Any]) -> None:
    os.environ = _ENVIRON  # noqa: B003 - the object that it was, whose content is put back below
    names, texts = os.environ.decodekey, os.environ.decodevalue
    wanted = {names(name): texts(value) for name, value in values.items()}
    for name in set(os.environ) - set(wanted):
        del os.environ[name]
    for name, value in wanted.items():
        if os.environ.get(name) != value:
            os.environ[name] = value


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _current_directory() -> str:
    try:
        return os.getcwd()
    except FileNotFoundError:
        return ""


_SIGNALS = tuple(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGALRM", "SIGCHLD", "SIGPIPE", "SIGFPE", "SIGUSR1", "SIGUSR2")
    if hasattr(signal, name)
)


# Without the enumerations around it: to make those takes most of the time.
_handler: Callable[[int], Any] = getattr(signal.getsignal, "__wrapped__", signal.getsignal)


def _signals() -> tuple[Any, ...]:
    return tuple(map(_handler, _SIGNALS))


def _set_signals(handlers: tuple[Any, ...]) -> None:
    if threading.current_thread() is threading.main_thread():
        for number, handler, now in zip(_SIGNALS, handlers, _signals()):
            if handler is not None and now is not handler:
                signal.signal(number, handler)


_TIMERS = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)


@dataclass(frozen=True)
class _Timer:
    """A timer of the process; how long it has to go is no part of what is compared.

    Attributes:
        pending: whether it will go off.
        interval: seconds between two times; 0 where it goes off once.
        left: seconds until it goes off.
    """

    pending: bool
    interval: float
    left: float = field(compare=False)


def _timers() -> tuple[_Timer, ...]:
    return tuple(_Timer(left > 0, interval, left) for left, interval in map(signal.getitimer, _TIMERS))


def _set_timers(timers: tuple[_Timer, ...]) -> None:
    for which, timer, now in zip(_TIMERS, timers, _timers()):
        if timer != now:
            signal.setitimer(which, timer.left, timer.interval)


_LIMITS = {name: number for name, number in vars(resource).items() if name.startswith("RLIMIT_")}


def _limits() -> dict[str, tuple[int, int]]:
    return {name: resource.getrlimit(number) for name, number in _LIMITS.items()}


def _set_limits(limits: Mapping[str, tuple[int, int]]) -> None:
    for name, limit in limits.items():
        if resource.getrlimit(_LIMITS[name]) != limit:
            resource.setrlimit(_LIMITS[name], limit)


def _set_streams(streams: tuple[Any, Any]) -> None:
    sys.stdout, sys.stderr = streams


def _set_path(entries: tuple[str, ...]) -> None:
    sys.path = list(entries)  # another list may stand there by now


def _set_filters(filters: tuple[Any, ...]) -> None:
    warnings.filters[:] = filters  # type: ignore[index]
    getattr(warnings, "_filters_mutated", lambda: None)()


SETTINGS = (
    _Setting("torch's default dtype", torch.get_default_dtype, torch.set_default_dtype),
    _Setting(
        "torch's default device",
        _default_device,
        lambda device: torch.set_default_device(None if device == "cpu" else device),
    ),
    _Setting("torch's inference mode", torch.is_inference_mode_enabled, _inference_mode),
    _Setting("torch's gradient mode", torch.is_grad_enabled, torch.set_grad_enabled),
    _Setting("torch's number of threads", torch.get_num_threads, torch.set_num_threads),
    _Setting(
        "torch's deterministic algorithms",
        _deterministic,
        lambda flags: torch.use_deterministic_algorithms(flags[0], warn_only=flags[1]),
    ),
    _Setting("torch's matmul precision", _matmul_precision, torch.set_float32_matmul_precision),
    _Setting("torch's backends", _backends, _set_backends),
    _Setting(
        "torch's anomaly detection", _anomaly, lambda flags: torch.autograd.set_detect_anomaly(flags[0], flags[1])
    ),
    _Setting("torch's autocast", _autocast, _set_autocast),
    _Setting("torch's flushing of denormal numbers", _flushes_denormals, torch.set_flush_denormal),
    _Setting(MODULE_HOOKS, _module_hooks, _set_module_hooks),
    _Setting("torch's hooks of saved tensors", _saved_tensor_hooks, _set_saved_tensor_hooks),
    _Setting("torch's modes of functions", _torch_modes, _set_torch_modes),
    _Setting("NumPy's error handling", np.geterr, lambda modes: np.seterr(**modes), by_imports="put back"),
    _Setting("the current directory", _current_directory, os.chdir),
    _Setting("the environment", _environment, _set_environment, by_imports="put back"),
    _Setting("Python's path", lambda: tuple(sys.path), _set_path, by_imports="kept"),
    _Setting("Python's warning filters", lambda: tuple(warnings.filters), _set_filters, by_imports="put back"),
    _Setting("Python's recursion limit", sys.getrecursionlimit, sys.setrecursionlimit, by_imports="put back"),
    _Setting("the standard streams", lambda: (sys.stdout, sys.stderr), _set_streams),
    _Setting("the locale", lambda: locale.setlocale(locale.LC_ALL), lambda name: locale.setlocale(locale.LC_ALL, name)),
    _Setting("the umask", _umask, lambda mask: os.umask(mask)),
    _Setting("signal handlers", _signals, _set_signals, by_imports="put back"),
    _Setting("timers", _timers, _set_timers),
    _Setting("limits of resources", _limits, _set_limits),
    _Setting("the sockets' time limit", socket.getdefaulttimeout, socket.setdefaulttimeout, by_imports="put back"),
)
