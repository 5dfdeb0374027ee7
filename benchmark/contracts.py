"""What a registration must be: the contract of each kind, and one message for whatever does not keep it."""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Literal, get_args, get_origin

from benchmark.errors import PluginError, near_match
from benchmark.options import Options

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
TARGET = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
"""`"module:Class"`."""
CONTRACTS = {
    "dataset": "benchmark.dataset:Dataset",
    "model": "benchmark.model:Model",
    "attack": "benchmark.attack:Attack",
    "defense": "benchmark.defense:Defense",
    "artifact": "benchmark.defense:SharedArtifact",
    "metric": "benchmark.metrics.metric:Metric",
    "executor": "benchmark.executors:Executor",
    "reporter": "benchmark.reporter:Reporter",
    "panel": "benchmark.panel:Panel",
    "converter": "benchmark.converter:Converter",
}
"""Kind of plugin → the class that its components inherit from. Some import torch, so they are imported when needed."""
OPTIONS = {
    "dataset": "benchmark.options:DatasetOptions",
    "model": "benchmark.options:ModelOptions",
    "attack": "benchmark.options:AttackOptions",
    "executor": "benchmark.executors:ExecutorOptions",
}
"""Kind of plugin → the class that its options inherit from, where that is not `Options` itself."""


def resolve(target: str) -> Any:
    """Return what `"module:Class"` names."""
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)


def check_registration(kind: str, name: Any, target: Any, options: Any, version: Any, texts: dict[str, Any]) -> None:
    """Look at what `register` was called with; nothing is imported for it, save what a class given as such needs.

    Raises:
        PluginError: the first thing that is wrong, and what is allowed.
    """
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise PluginError(
            f"{kind}: the name {name!r} is none: write 1 to 100 of the letters A-Z, a-z, digits, _ . -, and begin with "
            "a letter or a digit"
        )
    for what, given in (("target", target), ("options", options)):
        if given is None and what == "options":
            continue
        if not isinstance(given, type) and not (isinstance(given, str) and TARGET.fullmatch(given)):
            raise PluginError(f"{kind} {name!r}: the {what} {given!r} is neither a class nor a text 'module:Class'")
    if version is not None and (not isinstance(version, str) or not version.strip()):
        raise PluginError(f"{kind} {name!r}: the version {version!r} is no text, such as '1'")
    for what, text in texts.items():
        if not isinstance(text, str):
            raise PluginError(f"{kind} {name!r}: the {what} {text!r} is no text")
    if isinstance(target, type):
        check_component(kind, target, f"{kind} {name!r}")
        options = getattr(target, "Options", None) if options is None else options
    if options is not None and not isinstance(options, str):
        check_options(kind, options, f"{kind} {name!r}")


def check_options(kind: str, options: Any, who: str) -> None:
    """Look whether `options` may be the options of a component of `kind`.

    Raises:
        PluginError: what is wrong, and what is allowed.
    """
    wanted: type[Options] = resolve(OPTIONS[kind]) if kind in OPTIONS else Options
    if not isinstance(options, type) or not issubclass(options, wanted):
        raise PluginError(f"{who}: its options, {_called(options)}, must be a subclass of benchmark.{wanted.__name__}")


def check_component(kind: str, component: Any, who: str) -> None:
    """Look whether `component` keeps the contract of `kind`: its base class, what it must declare, its signatures.

    Raises:
        PluginError: the first thing that is wrong, and what is allowed.
    """
    problem = _problem(kind, component) if isinstance(component, type) else f"{component!r} is no class"
    if problem:
        raise PluginError(f"{who}: {problem}")


@lru_cache(maxsize=1024)
def _problem(kind: str, component: type) -> str:
    contract = resolve(CONTRACTS[kind])
    if not issubclass(component, contract):
        return f"{_called(component)} must be a subclass of benchmark.{contract.__name__}"
    if missing := sorted(getattr(component, "__abstractmethods__", ())):
        return f"{_called(component)} lacks what it must define: {', '.join(missing)}"
    for name, allowed in _declared(contract).items():
        found = getattr(component, name, None)
        # What depends on the options is looked at when there are some: `check_declared`.
        if not isinstance(found, property | cached_property) and not _is(found, allowed):
            what = "is missing" if found is None else f"is {found!r}"
            return f"`{name}` of {_called(component)} {what}, allowed: {_words(found, allowed)}"
    return next(_wrong_signatures(contract, component), "")


def check_declared(kind: str, instance: Any, who: str) -> None:
    """Look at what a component declares by a property, once it has its options.

    Raises:
        PluginError: what was found, and what is allowed.
    """
    for name, allowed in _declared(resolve(CONTRACTS[kind])).items():
        found = getattr(instance, name, None)
        if not _is(found, allowed):
            raise PluginError(f"{who}: `{name}` is {found!r}, allowed: {_words(found, allowed)}")


@lru_cache(maxsize=64)
def _declared(contract: type) -> dict[str, Any]:
    """Return what a component declares in class variables, by name.

    That is one of some literals, a `str` or a `bool`, or a tuple of a class.
    """
    found = {}
    for owner in reversed(contract.__mro__):
        for name, annotation in vars(owner).get("__annotations__", {}).items():
            if str(annotation).startswith("ClassVar["):
                (inner,) = get_args(eval(annotation, vars(sys.modules[owner.__module__])))
                literals = _literals(inner)
                if literals or inner in (str, bool):
                    found[name] = literals or inner
                elif get_origin(inner) is tuple and isinstance(item := get_args(inner)[0], type):
                    found[name] = _Tuple(item)
    return found


def _literals(hint: Any) -> tuple[Any, ...]:
    if hint is type(None):
        return (None,)
    if get_origin(hint) is Literal:
        return get_args(hint)
    parts = [_literals(part) for part in get_args(hint)]
    return tuple(value for part in parts for value in part) if parts and all(parts) else ()


@dataclass(frozen=True)
class _Tuple:
    """A tuple of any length whose items are of one class."""

    item: type


def _is(found: Any, allowed: Any) -> bool:
    if isinstance(allowed, _Tuple):
        return isinstance(found, tuple) and all(isinstance(one, allowed.item) for one in found)
    return found in allowed if isinstance(allowed, tuple) else isinstance(found, allowed)


def _words(found: Any, allowed: Any) -> str:
    if isinstance(allowed, _Tuple):
        what = "texts" if allowed.item is str else f"benchmark.{allowed.item.__name__}"
        return f"a tuple of {what}"
    if not isinstance(allowed, tuple):
        return {str: "a text", bool: "True or False"}[allowed]
    names = [str(value) for value in allowed]
    return ", ".join(names) + "." + (near_match(found, names) if isinstance(found, str) else "")


def _wrong_signatures(contract: type, component: type) -> Iterator[str]:
    """Yield methods that the host could not call as it calls those of the contract."""
    for name in dir(contract):
        promised, own = inspect.getattr_static(contract, name), inspect.getattr_static(component, name)
        if own is promised or (name.startswith("__") and name != "__init__"):
            continue
        if isinstance(promised, property | cached_property):
            if inspect.isfunction(own):
                yield f"`{name}` of {_called(component)} is a method: put @property above it"
            continue
        if not inspect.isfunction(promised):
            continue
        if not callable(getattr(component, name)):
            yield f"`{name}` of {_called(component)} is {own!r} where a method is needed"
            continue
        if (later := _answers_later(getattr(component, name))) and not _answers_later(promised):
            yield f"`{name}` of {_called(component)} is {later}, and must return its answer"
            continue
        bound = not isinstance(own, staticmethod | classmethod)
        try:
            signature = inspect.signature(getattr(component, name))
        except (TypeError, ValueError):  # written in C
            continue
        wanted = list(inspect.signature(promised).parameters.values())[1:]
        positional = [p for p in wanted if p.kind is p.POSITIONAL_OR_KEYWORD and p.default is p.empty]
        optional = [p for p in wanted if p.kind is p.POSITIONAL_OR_KEYWORD and p.default is not p.empty]
        keywords = {p.name: None for p in wanted if p.kind is p.KEYWORD_ONLY}
        handed: list[Any] = [None] * (bound + len(positional) + len(optional))
        try:
            signature.bind(*handed, **keywords)
        except TypeError as error:
            called = ", ".join(p.name for p in wanted)
            yield (
                f"`{name}` of {_called(component)} is defined as {name}{signature}, and is called as {name}({called}): "
                f"{error}"
            )


def _answers_later(function: Any) -> str:
    """Return what a function is that answers with something to wait for or to go through, "" for a plain one."""
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        return "a generator (it has `yield`)"
    return "a coroutine (`async def`)" if inspect.iscoroutinefunction(function) else ""


def _called(component: Any) -> str:
    return f"{component.__module__}.{component.__qualname__}" if isinstance(component, type) else repr(component)
