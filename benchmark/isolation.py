"""What plugins are handed stays as it was: the state of the process, networks and other objects that are shared.

docs/decisions/006-isolation.md says what is copied, what is compared, and why.
"""

from __future__ import annotations

import contextlib
import itertools
import locale
import multiprocessing
import operator
import os
import resource
import signal
import socket
import sys
import threading
import time
import types
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.modules.module as torch_module
from torch import Tensor, nn

from benchmark.errors import TaskError
from benchmark.wording import signal_name


class IsolationError(TaskError):
    """A plugin changed what belongs to all: nothing of what its task made is kept.

    Attributes:
        lasting: it cannot be put back, so that this process must run no other task.
    """

    def __init__(self, message: str, lasting: bool = False) -> None:
        super().__init__(message)
        self.lasting = lasting


# -- the process ------------------------------------------------------------------------------------------------------


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


def _backends() -> dict[str, Any]:
    """Return the switches that choose the code and the precision of operations, as far as this torch has them."""
    found = {f"cuda.{name}": getattr(torch.backends.cuda, f"{name}_enabled")() for name in _ATTENTION}
    found["fp32_precision"] = getattr(torch.backends, "fp32_precision", None)
    for backend, flags in _BACKENDS.items():
        try:
            owner = operator.attrgetter(backend)(torch.backends)
        except AttributeError:
            continue
        for flag in flags:
            try:
                found[f"{backend}.{flag}"] = getattr(owner, flag, None)
            except RuntimeError:  # flags of torch's older and newer interface that contradict each other
                found[f"{backend}.{flag}"] = None
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


_DENORMAL = torch.tensor([1e-42])


def _flushes_denormals() -> bool:
    return not bool((_DENORMAL * 1).item())


MODULE_HOOKS = "torch's hooks of all modules"
_MODULE_HOOKS = tuple(name for name, value in vars(torch_module).items() if name.startswith("_global_"))


def _module_hooks() -> dict[str, Any]:
    found = {name: getattr(torch_module, name) for name in _MODULE_HOOKS}
    return {name: dict(value) if isinstance(value, Mapping) else value for name, value in found.items()}


def _set_module_hooks(values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        hooks = getattr(torch_module, name)
        if isinstance(hooks, dict):
            hooks.clear()
            hooks.update(value)
        else:
            setattr(torch_module, name, value)


def _environment() -> dict[Any, Any]:
    # As the system holds it: to decode it each time would be a sixth of what all these settings take to read.
    return dict(os.environ._data)  # type: ignore[attr-defined]


def _set_environment(values: Mapping[Any, Any]) -> None:
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


def _set_signals(handlers: tuple[Any, ...]) -> None:
    if threading.current_thread() is threading.main_thread():
        for number, handler in zip(_SIGNALS, handlers):
            if handler is not None and signal.getsignal(number) is not handler:
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


def _set_list(target: list[Any]) -> Callable[[Iterable[Any]], None]:
    def write(values: Iterable[Any]) -> None:
        target[:] = values

    return write


def _set_filters(filters: tuple[Any, ...]) -> None:
    warnings.filters[:] = filters  # type: ignore[index]
    getattr(warnings, "_filters_mutated", lambda: None)()


_SETTINGS = (
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
    _Setting("Python's path", lambda: tuple(sys.path), _set_list(sys.path), by_imports="kept"),
    _Setting("Python's warning filters", lambda: tuple(warnings.filters), _set_filters, by_imports="put back"),
    _Setting("Python's recursion limit", sys.getrecursionlimit, sys.setrecursionlimit, by_imports="put back"),
    _Setting("the standard streams", lambda: (sys.stdout, sys.stderr), _set_streams),
    _Setting("the locale", lambda: locale.setlocale(locale.LC_ALL), lambda name: locale.setlocale(locale.LC_ALL, name)),
    _Setting("the umask", _umask, lambda mask: os.umask(mask)),
    _Setting("signal handlers", lambda: tuple(map(signal.getsignal, _SIGNALS)), _set_signals, by_imports="put back"),
    _Setting("timers", _timers, _set_timers),
    _Setting("limits of resources", _limits, _set_limits),
    _Setting("the sockets' time limit", socket.getdefaulttimeout, socket.setdefaulttimeout, by_imports="put back"),
)


class Process:
    """The state of this process that plugins share, as it stands when the object is made.

    The global generators are not part of it: `Rng.seeded_globals` seeds and restores them.

    Args:
        threads: whether no thread may be left running either. The process of a run has those of listeners.
    """

    def __init__(self, threads: bool = False) -> None:
        self._threads = frozenset(sys._current_frames()) if threads else None
        self.lasting = False
        """Whether `restore` left something as it found it."""
        self._values = [setting.read() for setting in _SETTINGS]
        self._modules = len(sys.modules)

    def restore(self) -> str:
        """Put back what has changed, and return it in words: `torch's default dtype (torch.float32 to …)`."""
        changed, imported = [], len(sys.modules) > self._modules
        for setting, before in zip(_SETTINGS, self._values):
            now = setting.read()
            if now == before or (imported and setting.by_imports == "kept"):
                continue
            try:
                setting.write(before)
            except Exception as error:  # such as a folder that was removed; the rest is put back nevertheless
                changed.append(f"{setting.name}, which cannot be put back ({type(error).__name__}: {error})")
                self.lasting = True
                continue
            if not imported or setting.by_imports == "offence":
                changed.append(f"{setting.name}{_from_to(before, now)}")
        if self._threads is not None and (left := _left_running(self._threads)):
            changed.append(f"what runs beside it: threads go on ({_shortened(left)}), join them,")
            self.lasting = True
        return ", ".join(changed)

    def restore_after_import(self) -> None:
        """Put back what no import has to change; instruments that count passes stay hooked."""
        for setting, before in zip(_SETTINGS, self._values):
            if setting.by_imports == "offence" and setting.name != MODULE_HOOKS and setting.read() != before:
                setting.write(before)


_WAITING = frozenset({"concurrent", "joblib", "multiprocessing", "queue", "selectors", "threading", "torch", "tqdm"})
"""Packages whose threads may stay: where nothing else is at work in a thread, it waits in a pool."""
THREAD_SECONDS = 0.2


def _left_running(before: frozenset[int]) -> list[str]:
    """Return the names of threads begun since that do not end by themselves in a moment."""
    deadline = time.monotonic() + THREAD_SECONDS
    while True:
        named = {thread.ident: thread for thread in threading.enumerate()}
        left = []
        for ident, frame in sys._current_frames().items():
            if ident not in before and (isinstance(named.get(ident), threading.Timer) or not _waits(frame)):
                left.append(named[ident].name if ident in named else f"thread {ident}")
        if not left or time.monotonic() > deadline:
            return sorted(left)
        time.sleep(0.005)


def _waits(frame: types.FrameType | None) -> bool:
    while frame is not None:
        if str(frame.f_globals.get("__name__")).partition(".")[0] not in _WAITING:
            return False
        frame = frame.f_back
    return True


def _from_to(before: Any, now: Any) -> str:
    if isinstance(before, dict) and isinstance(now, dict):
        names = sorted(os.fsdecode(n) for n in {*before, *now} if before.get(n) != now.get(n))
        return f" ({_shortened(names)})"
    if isinstance(before, str | int | float | bool | torch.dtype):
        return f" ({before} to {now})"
    return ""


@contextlib.contextmanager
def isolated(who: str, threads: bool = False) -> Iterator[None]:
    """Put the state of the process back after the block, and say who changed it.

    Args:
        who: for messages.
        threads: whether a thread that goes on is a change, too.

    Raises:
        IsolationError: `who` changed something, or wanted to end the program; where the block raised an error too, that
            error stands behind it.
    """
    before = Process(threads)
    try:
        yield
    except SystemExit as error:
        before.restore()
        raise IsolationError(f"{who} called sys.exit({error.code!r}): raise an error instead") from error
    except Exception as error:
        changed = before.restore()
        if changed:
            text = f"{_blame(who, changed)} (and then {type(error).__name__}: {error})"
            raise IsolationError(text, before.lasting or is_lasting(error)) from error
        raise
    except BaseException:
        before.restore()
        raise
    changed = before.restore()
    if changed:
        raise IsolationError(_blame(who, changed), before.lasting)


def is_lasting(error: BaseException) -> bool:
    """Tell whether an error says that this process must run no other task."""
    return isinstance(error, IsolationError) and error.lasting


@contextlib.contextmanager
def importing() -> Iterator[None]:
    """Put the state of the process back after a plugin was imported."""
    before = Process()
    try:
        yield
    finally:
        before.restore_after_import()


def _blame(who: str, changed: str) -> str:
    return f"{who} changed {changed} for everything that runs after it: it must be as it was when the call returns"


# -- objects ----------------------------------------------------------------------------------------------------------

Fingerprint = dict[str, Any]
"""Place inside an object → what stands there: a value, or type, shape and checksum of an array."""

_MODULE_PARTS = frozenset(vars(nn.Module()))
_SLOTS = ("._parameters", "._buffers", "._modules")
_LEAVES = (str, bytes, int, float, complex, bool, type(None), torch.dtype, torch.device, type, types.ModuleType)
_FUNCTIONS = (types.FunctionType, types.BuiltinFunctionType)
_CODE = (*_FUNCTIONS, property, classmethod, staticmethod)


def fingerprint(root: object, before: Fingerprint | None = None) -> Fingerprint:
    """Return what an object is made of, so deep that a change of any weight, buffer, mode, hook or option shows.

    What stands at several places is found at one of them: at that of `before`, an earlier fingerprint, where it is
    there still. Reads all bytes of all arrays: about a second for 1.5 GB.
    """
    found: Fingerprint = {}
    seen: dict[int, object] = {}
    pending: list[tuple[str, object]] = [("", root)]
    new: list[tuple[str, object]] = []
    while pending or new:
        known = bool(pending)
        place, value = (pending or new).pop()
        if isinstance(value, _LEAVES):
            found[place] = value
            continue
        if known and before is not None and before.get(place) is None:
            new.append((place, value))
            continue
        if id(value) in seen:
            continue
        seen[id(value)] = value
        if isinstance(value, Tensor):
            found[place] = _tensor(value)
        elif isinstance(value, np.ndarray):
            found[place] = (value.dtype.str, value.shape, _checksum(value))
        elif isinstance(value, Mapping):
            found.setdefault(place, type(value))
            pending += [(f"{place}.{key}", inner) for key, inner in value.items()]
        elif isinstance(value, list | tuple | set | frozenset):
            found[place] = len(value)
            pending += [(f"{place}.{number}", inner) for number, inner in enumerate(value)]
        elif isinstance(value, _FUNCTIONS):
            found[place] = value
        elif isinstance(value, types.MethodType):
            found[place] = value.__func__
        elif hasattr(value, "__dict__"):
            found[place] = type(value)
            module = isinstance(value, nn.Module)
            for name, inner in vars(value).items():
                if module and name in _MODULE_PARTS:
                    if isinstance(inner, dict):
                        found[f"{place}.{name}"] = tuple(inner)
                        if not inner:
                            continue
                elif (module and hasattr(nn.Module, name)) or callable(getattr(type(value), name, None)):
                    # Hides a method, or what torch calls instead of one, such as `_compiled_call_impl`.
                    found[f"{place}.{name}()"] = inner if isinstance(inner, _FUNCTIONS) else type(inner)
                pending.append((f"{place}.{name}", inner))
        else:
            found[place] = type(value)
    return found


def _tensor(value: Tensor) -> tuple[Any, ...]:
    with torch._C.DisableTorchFunctionSubclass():  # what a subclass does instead is none of this
        about: tuple[Any, ...] = (type(value), value.dtype, tuple(value.shape), str(value.device))
        about += (value.requires_grad, bool(value._backward_hooks))
        if value.is_meta or value.layout is not torch.strided or value.is_quantized:
            return about
        data = value.detach().contiguous().cpu()
        return (*about, _checksum(data.reshape(-1).view(torch.uint8).numpy()) if data.numel() else 0)


def _checksum(array: np.ndarray) -> int:
    if array.dtype.hasobject:
        return zlib.crc32(repr(array.tolist()).encode())
    return zlib.crc32(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)


def differences(before: Fingerprint, after: Fingerprint) -> tuple[list[str], list[str]]:
    """Return the places that changed, and those that were filled: plain attributes that were None or missing.

    A parameter, buffer or module where none was is a change, and so is what hides a method.
    """
    changed: list[str] = []
    filled: list[str] = []
    for place, value in before.items():
        if value is not None and (place not in after or not _same(after[place], value)):
            changed.append(place)
    for place, value in after.items():
        if value is not None and before.get(place) is None:
            structural = place.endswith("()") or place.rpartition(".")[0].endswith(_SLOTS)
            (changed if structural and not _within(place, filled) else filled).append(place)
    return changed, filled


def _within(place: str, others: Iterable[str]) -> bool:
    """Tell whether a place is one of the others, or lies inside one."""
    return any(place == other or place.startswith(f"{other}.") for other in others)


def _same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and (one == other or one != one)


def _in_words(places: Iterable[str]) -> str:
    names = []
    for place in places:
        for part in ("_parameters", "_buffers", "_modules"):
            place = place.replace(f".{part}.", ".").replace(f".{part}", f" ({part[1:]})")
        names.append(place.removeprefix("."))
    return _shortened(list(dict.fromkeys(names)))


def _shortened(names: list[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def _classes(found: Fingerprint) -> dict[type, dict[str, Any]]:
    """Return the classes of everything inside an object, and their bases, each with what it holds by name."""
    classes = {base for value in found.values() if isinstance(value, type) for base in value.__mro__}
    return {one: dict(vars(one)) for one in classes if one.__module__ != "builtins"}


def _restore_code(classes: Mapping[type, Mapping[str, Any]]) -> list[str]:
    """Put back the functions that classes had, and return which were others."""
    changed = []
    for one, before in classes.items():
        now = dict(vars(one))
        for name in {*before, *now}:
            value, other = before.get(name), now.get(name)
            if value is other or not (isinstance(value, _CODE) or isinstance(other, _CODE)):
                continue
            if name in before:
                setattr(one, name, value)
            else:
                delattr(one, name)
            changed.append(f"{one.__qualname__}.{name}, code of its class")
    return sorted(changed)


class Lent:
    """An object that a worker keeps, and hands to one plugin after another.

    Args:
        value: the object.
        what: for messages, such as `the classifier that it was handed`.
        cure: what a plugin does instead of changing it.
        use: uses it once; what changes by that, such as the attention that a network keeps, is its own affair. Without
            it, attributes that a task fills may be its own caches: no offence, but nobody else gets it.
    """

    def __init__(self, value: Any, what: str, cure: str, use: Callable[[], object] | None = None) -> None:
        self.value, self.what, self.cure = value, what, cure
        self._before = fingerprint(value)
        self._own: tuple[str, ...] = ()
        self._used = use is not None
        if use is not None:
            fresh = self._before
            use()
            self._before = fingerprint(value, fresh)
            self._own = tuple(itertools.chain(*differences(fresh, self._before)))
        self._classes = _classes(self._before)
        self.keep = not self._own
        """Whether a second task may get it: neither use alone nor a task has changed it."""

    def changed(self) -> str:
        """Return what is not as it was, in words; an empty text where all is. Functions of classes are put back."""
        code = _restore_code(self._classes)
        try:
            changed, filled = differences(self._before, fingerprint(self.value, self._before))
        except Exception as error:  # something inside it answers no longer
            changed, filled = [f"what cannot be read any more ({type(error).__name__}: {error})"], []
        if changed or filled:
            self.keep = False
        if self._used:
            changed += filled
        places = code + [place for place in changed if not _within(place, self._own)]
        return f"{self.what}: {_in_words(places)}. {self.cure}" if places else ""


def unchanged(handed: Tensor, own: Tensor) -> bool:
    """Tell whether a tensor that was handed out still holds what the host's own copy holds."""
    if handed.shape != own.shape or handed.dtype != own.dtype:
        return False
    return torch.equal(handed, own) or bool(((handed == own) | ((handed != handed) & (own != own))).all())


# -- another process --------------------------------------------------------------------------------------------------

ANSWER_SECONDS = 600
FORKS = sys.platform != "darwin"
"""macOS's own libraries, Accelerate among them, may crash in a fork of a process that has used them."""


class UnansweredError(TaskError):
    """Another process has not answered, for a reason that is not the plugin's."""


class Bystander:
    """A process forked from this one before any plugin worked here; it knows nothing of what they left behind.

    Each question is answered in a fork of it, which ends then: about 10 ms. It ends itself with this process.

    Where `FORKS` is false there is none, and every question stays unanswered.

    Args:
        answer: called with a question, there; question and answer are plain data.
    """

    def __init__(self, answer: Callable[[Any], Any]) -> None:
        if not FORKS:
            return
        self._connection, theirs = multiprocessing.Pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # threads of this process that it does not use
            child = os.fork()
            if child == 0:
                # Forked twice, so that nobody here has to wait for its end.
                if os.fork() == 0:
                    with contextlib.suppress(BaseException):
                        _stand_by(theirs, answer)
                os._exit(0)
        os.waitpid(child, 0)
        theirs.close()

    def ask(self, question: Any) -> Any:
        """Return the answer.

        Raises:
            UnansweredError: it took too long, or there is no other process.
            TaskError: what went wrong there.
        """
        if not FORKS:
            raise UnansweredError("this system has no process to ask that is safe to fork")
        try:
            self._connection.send(question)
            answer, problem = self._connection.recv()
        except (EOFError, OSError):
            raise TaskError("the process that loads what was saved has ended") from None
        if problem:
            raise problem
        return answer


def _stand_by(connection: Connection, answer: Callable[[Any], Any]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    mine = connection.fileno()
    os.closerange(3, mine)
    os.closerange(mine + 1, os.sysconf("SC_OPEN_MAX") if os.sysconf("SC_OPEN_MAX") < 2**16 else 2**16)
    while True:
        question = connection.recv()
        child = os.fork()
        if child == 0:
            signal.alarm(ANSWER_SECONDS)
            try:
                connection.send((answer(question), None))
            except BaseException as error:
                text = str(error) if isinstance(error, TaskError) else f"{type(error).__name__}: {error}"
                connection.send((None, TaskError(text)))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if status:
            number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else None
            if number == signal.SIGALRM:
                problem: TaskError = UnansweredError(f"one thread of the CPU takes more than {ANSWER_SECONDS} s for it")
            else:
                how = "with an error" if number is None else f"by {signal_name(number)}"
                problem = TaskError(f"the process that loaded it ended {how}")
            connection.send((None, problem))


__all__ = [
    "Bystander",
    "IsolationError",
    "Lent",
    "Process",
    "UnansweredError",
    "importing",
    "is_lasting",
    "isolated",
    "unchanged",
]
