"""Find plugins, refuse duplicates, keep their provenance.

pluggy's own entry-point loader skips the second of two equal names in silence and dies of the first broken
plugin; both are wrong in a benchmark, so the loop over the entry points is here.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache, cached_property
from types import ModuleType
from typing import Any

import pluggy

from benchmark import hookspecs
from benchmark.contracts import check_component, check_declared, check_options, check_registration, resolve
from benchmark.errors import InputError, PluginError, first_line, unknown_name
from benchmark.options import Options
from benchmark.source import docstring, source_digest

GROUP = "bench"


@dataclass(frozen=True)
class Provenance:
    """Where a plugin module comes from."""

    module: str
    distribution: str  # "" for a module given by --plugin
    version: str

    def __str__(self) -> str:
        return f"{self.distribution} {self.version}" if self.distribution else f"module {self.module}"


@dataclass(frozen=True)
class Registration:
    """One registered component, imported only when it is used."""

    kind: str
    name: str
    target: str | type
    options_target: str | type | None
    version: str  # of the method: part of every key
    said: str  # of what it is, at its registration
    provenance: Provenance
    cite: str = ""  # BibTeX

    @cached_property
    def summary(self) -> str:
        """What it is, in a sentence: as registered, else the first of its docstring, for which nothing is imported."""
        return self.said or re.split(r"(?<=\.) (?=[A-Z])", " ".join(docstring(self.target).split()), maxsplit=1)[0]

    def load(self) -> type[Any]:
        """Return the component's class.

        Raises:
            PluginError: its module cannot be imported or lacks the class; the class breaks the contract of its kind.
        """
        component = self._import(self.target)
        check_component(self.kind, component, self.who)
        return component

    def options_type(self) -> type[Options]:
        """Return the options class, without importing the component itself where it was named apart.

        Raises:
            PluginError: as `load`.
        """
        if self.options_target is not None:
            options = self._import(self.options_target)
        else:
            options = getattr(self.load(), "Options", Options)
        check_options(self.kind, options, self.who)
        try:
            options.model_rebuild()  # types of options are built when they are first used
        except Exception as error:
            raise PluginError(f"{self.who}: its options cannot be built: {first_line(error)}") from error
        return options

    def create(self, options: Options) -> Any:
        """Return the component with `options`.

        Raises:
            PluginError: as `load`; what it declares by these options is not allowed.
        """
        component = self.load()(options)
        check_declared(self.kind, component, self.who)
        return component

    def check(self) -> None:
        """Look at its options and, where its module is imported already, at the component: torch is slow to import.

        Raises:
            PluginError: as `load`.
        """
        if self.options_target is not None:
            self.options_type()
        if isinstance(self.target, type) or self.target.partition(":")[0] in sys.modules:
            self.load()
            self.options_type()

    def source(self, *functions: str) -> str:
        """Return a digest of the source that the component, and functions that its options name, are loaded from.

        Only of what is being written, "" where all is installed (`benchmark.source`).
        """
        targets = [target for target in (self.target, self.options_target, *functions) if target is not None]
        return source_digest(*(t.__module__ if isinstance(t, type) else t.partition(":")[0] for t in targets))

    @property
    def who(self) -> str:
        """What it is and where it comes from, for messages."""
        return f"{self.kind} {self.name!r} (from {self.provenance})"

    def _import(self, target: str | type) -> type[Any]:
        if isinstance(target, type):
            return target
        try:
            with _undisturbed(target.partition(":")[0]):
                found: type[Any] = resolve(target)
        except (Exception, SystemExit) as error:
            raise PluginError(
                f"{self.who} cannot be loaded from {target!r}: {type(error).__name__}: {error}"
            ) from error
        return found


@dataclass(frozen=True)
class BrokenPlugin:
    """A plugin that failed while it was imported or registered."""

    name: str
    provenance: Provenance
    reason: str
    details: str = field(repr=False)


class DuplicateError(PluginError):
    """Two plugins claim one name: which of them is meant cannot be guessed, so nothing runs."""


class Registry:
    """All components of all loaded plugins."""

    def __init__(self) -> None:
        self.manager = pluggy.PluginManager("bench")
        self.manager.add_hookspecs(hookspecs)
        self.broken: list[BrokenPlugin] = []
        self.loaded: list[Provenance] = []
        self.extra_modules: list[str] = []
        self._components: dict[str, dict[str, Registration]] = {kind: {} for kind in hookspecs.KINDS}

    def names(self, kind: str) -> list[str]:
        """Return the names registered for `kind`, sorted."""
        return sorted(self._components[kind])

    def all(self, kind: str) -> list[Registration]:
        """Return the registrations of `kind`, sorted by name."""
        return [self._components[kind][name] for name in self.names(kind)]

    def get(self, kind: str, name: str) -> Registration:
        """Return the registration of `name`.

        Raises:
            PluginError: nothing of that name; plugins that failed to load are named, since one of them may
                have been meant.
        """
        try:
            return self._components[kind][name]
        except KeyError:
            message = unknown_name(f"{kind} plugin", name, self.names(kind))
            for broken in self.broken:
                message += f"\n  The plugin {broken.name!r} ({broken.provenance}) failed to load: {broken.reason}"
            raise PluginError(message + "\n  `bench plugins` shows what is installed and from where.") from None

    def create(self, kind: str, name: str, options: dict[str, Any]) -> Any:
        """Return the component `name` with validated `options` (a JSON-like mapping)."""
        registration = self.get(kind, name)
        return registration.create(validate_options(registration.options_type(), options))

    def add_module(self, name: str, module: ModuleType, provenance: Provenance) -> None:
        """Register a plugin module and all that its hooks register.

        Raises:
            PluginError: a registration is none that the kind allows, or a hook fails; then nothing of it is registered.
            DuplicateError: it registers a name that another plugin has; both are named.
        """
        registrations: dict[tuple[str, str], Registration] = {}
        self.manager.register(module, name=name)
        try:
            for kind, hook in hookspecs.KINDS.items():
                implementation = getattr(module, hook, None)
                if implementation is not None:
                    implementation(register=self._collector(kind, provenance, registrations))
            self.manager.check_pending()
            for new in registrations.values():
                old = self._components[new.kind].get(new.name)
                if old is not None:
                    raise DuplicateError(
                        f"two plugins register the {new.kind} {new.name!r}: {old.provenance} ({old.provenance.module}) "
                        f"and {new.provenance} ({new.provenance.module}). Uninstall one of them, or rename it there."
                    )
        except BaseException:
            self.manager.unregister(module)
            raise
        for new in registrations.values():
            self._components[new.kind][new.name] = new
        self.loaded.append(provenance)

    @staticmethod
    def _collector(
        kind: str, provenance: Provenance, registrations: dict[tuple[str, str], Registration]
    ) -> Callable[..., None]:
        def register(
            name: str,
            target: str | type,
            *,
            options: str | type | None = None,
            version: str | None = None,
            summary: str = "",
            cite: str = "",
        ) -> None:
            check_registration(kind, name, target, options, version, {"summary": summary, "cite": cite})
            if (kind, name) in registrations:
                raise PluginError(f"{kind} {name!r} is registered twice. Rename one of the two, or leave it out.")
            registrations[kind, name] = Registration(
                kind, name, target, options, version or provenance.version, summary, provenance, cite
            )

        return register


def _undisturbed(module: str) -> contextlib.AbstractContextManager[None]:
    """Put back what a module changes of the process when it is first imported, such as torch's default dtype.

    Where torch is not loaded yet, nothing is computed yet.
    """
    if module in sys.modules or "torch" not in sys.modules:
        return contextlib.nullcontext()
    from benchmark.isolation.process import importing

    return importing()


def load_plugins(extra_modules: Iterable[str] = ()) -> Registry:
    """Return the registry of all installed plugins and of `extra_modules` (`--plugin MODULE`).

    `BENCH_PLUGINS=a,b` in the environment loads only those entry points (and `core`).

    Raises:
        PluginError: two distributions claim one name, or a module given by hand cannot be imported or registered.
    """
    registry = Registry()
    wanted = os.environ.get("BENCH_PLUGINS")
    only = None if wanted is None else {name.strip() for name in wanted.split(",") if name.strip()} | {"core"}
    seen: dict[str, Provenance] = {}

    @cache  # what a distribution says of itself is read and parsed each time that it is asked
    def about(distribution: importlib.metadata.Distribution | None) -> tuple[str, str]:
        return ("", "0") if distribution is None else (distribution.name, distribution.version)

    for entry_point in sorted(importlib.metadata.entry_points(group=GROUP), key=lambda e: (e.name != "core", e.name)):
        provenance = Provenance(entry_point.value, *about(entry_point.dist))
        if only is not None and entry_point.name not in only:
            continue
        other = seen.get(entry_point.name)
        if other == provenance:  # an editable install on a path that is listed twice
            continue
        if other is not None:
            raise DuplicateError(
                f"two distributions claim the plugin name {entry_point.name!r}: {other} ({other.module}) and "
                f"{provenance} ({provenance.module}). Uninstall one of them."
            )
        seen[entry_point.name] = provenance
        try:
            registry.add_module(entry_point.name, entry_point.load(), provenance)
        except DuplicateError:
            raise
        except (Exception, SystemExit) as error:
            registry.broken.append(BrokenPlugin(entry_point.name, provenance, _reason(error), traceback.format_exc()))
    if only is not None and (unknown := only - set(seen)):
        raise PluginError(
            f"BENCH_PLUGINS names plugins that are not installed: {', '.join(sorted(unknown))}. "
            f"Installed: {', '.join(sorted(e.name for e in importlib.metadata.entry_points(group=GROUP)))}."
        )
    for module_name in extra_modules:
        try:
            with _undisturbed(module_name):
                module = importlib.import_module(module_name)
        except (Exception, SystemExit) as error:
            raise PluginError(
                f"--plugin {module_name}: cannot be imported: {type(error).__name__}: {error}. "
                "It must be a module on the Python path (PYTHONPATH, or the current folder)."
            ) from error
        try:
            registry.add_module(module_name, module, Provenance(module_name, "", "0"))
        except DuplicateError:
            raise
        except (Exception, SystemExit) as error:
            raise PluginError(f"--plugin {module_name}: cannot be registered: {_reason(error)}") from error
        registry.extra_modules.append(module_name)
    return registry


def _reason(error: BaseException) -> str:
    return str(error) if isinstance(error, PluginError) else f"{type(error).__name__}: {error}"


def validate_options(options_type: type[Options], options: dict[str, Any]) -> Options:
    """Return `options` as an instance of `options_type`.

    Raises:
        pydantic.ValidationError: an option is unknown, missing, or of the wrong type or value.
    """
    import json

    # JSON mode, since strict Python mode would refuse the lists of YAML where a tuple is declared.
    try:
        text = json.dumps(options, allow_nan=False)
    except ValueError as error:
        raise InputError(f"options hold a number that is not finite: {error}") from None
    return options_type.model_validate_json(text)
