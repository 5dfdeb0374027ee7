"""Objects that are handed from one plugin to the next, and what one has changed in them."""

from __future__ import annotations

import itertools
import types
import zlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmark.wording import shortened

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
    return shortened(list(dict.fromkeys(names)))


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
