"""The components of a suite: made once, and as the parts that tasks are made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmark.keys import functions_of, key_of
from benchmark.options import Options
from benchmark.plan.asked import Asked
from benchmark.plan.once import once
from benchmark.plan.plan import DatasetFacts
from benchmark.plan.task import Part
from benchmark.plugins import Registry
from benchmark.suite import Component, Suite


class Components:
    """The components of a suite and what is known of its data.

    Attributes:
        datasets: what is known of each data set by its label, once `Checks` has read it.
    """

    def __init__(self, suite: Suite, registry: Registry) -> None:
        self.suite, self.registry = suite, registry
        self.datasets: dict[str, DatasetFacts] = {}
        self._instances: dict[tuple[str, str], Asked] = {}
        self._parts: dict[tuple[str, str], Part] = {}

    def named(self, kind: str, label: str) -> Component:
        """Return a component by its label."""
        table: Mapping[str, Component] = getattr(self.suite, f"{kind}s")
        return table[label]

    def attack(self, label: str) -> Any:
        """Return an attack by its label, as `instance` does."""
        return self.instance(self.suite.attacks[label])

    def defense(self, label: str) -> Any:
        """Return a defense by its label, as `instance` does."""
        return self.instance(self.suite.defenses[label])

    def instance(self, component: Component) -> Any:
        """Return the plugin with the component's options, an `Asked` that stands for any of its classes."""
        place = (component.kind, component.label)
        if place not in self._instances:
            registration = self.registry.get(component.kind, component.use)
            told = f"{component.where}: {component.kind}s.{component.label}"
            self._instances[place] = Asked.made(registration, component.options, told)
        return self._instances[place]

    def part(self, component: Component) -> Part:
        """Return a model or a defense as a part of tasks."""
        place = (component.kind, component.label)
        if place not in self._parts:
            instance = self.instance(component)
            self._parts[place] = self.plugin_part(
                component.kind, component.use, component.options, instance.fingerprint()
            )
        return self._parts[place]

    @once
    def attack_part(self, attack: str, bounded: bool) -> Part:
        """Return an attack as a part of tasks, with its budget or as one that serves every budget."""
        component = self.suite.attacks[attack]
        options = component.options if bounded else component.options.model_copy(update={"eps": None})
        return self.plugin_part("attack", component.use, options, "")

    def plugin_part(self, kind: str, use: str, options: Options, content: str) -> Part:
        """Return a plugin with options as a part of tasks; `content` is what its answers depend on beside them."""
        registration = self.registry.get(kind, use)
        named: dict[str, Any] = {"kind": kind, "use": use, "version": registration.version, "options": key_of(options)}
        if content:
            named["content"] = content
        source = registration.source(*functions_of(options))
        return Part(use, options.model_dump(mode="json"), named, source)

    @once
    def data(self, dataset: str, *splits: str) -> Part:
        """Return the splits of a data set that a task reads: in keys they are their content, wherever it lies."""
        component = self.suite.datasets[dataset]
        source = self.registry.get("dataset", component.use).source(*functions_of(component.options))
        content = self.datasets[dataset].fingerprint(*splits)
        return Part(component.use, component.plain(), content, source, dataset)
