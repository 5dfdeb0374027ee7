"""What the suite's probes ask about each crafting: tasks that run an attack again, or look around its images."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from benchmark.cells import Attacker
from benchmark.errors import InputError
from benchmark.names import Asks, ProbeName
from benchmark.options import Options
from benchmark.plan.asked import Asked
from benchmark.plan.graph import Graph
from benchmark.plan.once import once
from benchmark.plan.task import Craft, Examine
from benchmark.plugins import validate_options
from benchmark.trust.looks import SHOWN
from benchmark.trust.probe_kinds import DRAWN, DRAWS, JUDGED, NOISES, PROBES, RERUN, run_where


@dataclass(frozen=True)
class Doubled:
    """An attack's options with twice as many of `names`, of which there is one at least."""

    options: Options
    names: tuple[str, ...]


def doubled(options: Options) -> Doubled | None:
    """Return options with twice the steps and restarts, or what of these they allow; None where there is neither."""
    plain = options.model_dump(mode="json")
    for names in (("steps", "restarts"), ("steps",), ("restarts",)):
        more = {name: 2 * plain[name] for name in names if type(plain.get(name)) is int}
        if more:
            try:
                return Doubled(validate_options(type(options), plain | more), tuple(more))
            except ValidationError:  # such as restarts without a random start
                continue
    return None


class Probing:
    """Adds what probes of attacks ask."""

    def __init__(self, graph: Graph) -> None:
        self.graph, self.components = graph, graph.components
        self.suite, self.datasets = graph.suite, graph.datasets

    def check(self) -> None:
        """Refuse a probe of attacks that no attack of the suite has anything for."""
        for name in self.suite.probes:
            kind = PROBES[name]
            reasons = {label: self._nowhere(name, label) for label in self.suite.attacks} if kind.asks else {"": ""}
            if all(reasons.values()):
                found = "; ".join(f"{label}: {why}" for label, why in list(reasons.items())[:4]) or "it has none"
                raise InputError(
                    f"{self.suite.path}: probes: {name}: no attack of this suite has what it needs ({found}). Needed: "
                    f"{kind.needs} Add one, or leave the probe out."
                )

    def _nowhere(self, probe: ProbeName, attack: str) -> str:
        """Return why a probe of attacks has nothing to ask about one on any data set, "" where it has on some."""
        return min((self._unasked(probe, attack, dataset) for dataset in self.datasets), default="")

    @once
    def _unasked(self, probe: ProbeName, attack: str, dataset: str) -> str:
        """Return why a probe of attacks has nothing to ask about one, "" where it has."""
        component = self.suite.attacks[attack]
        instance, options = self.components.instance(component), component.options
        if probe == "unavailable-gradients" and instance.needs != "gradient":
            return "it asks for no gradients"
        if probe == "more-steps" and not self._doubled(attack):
            return "it has no option `steps` or `restarts` that could be doubled"
        if probe == "unconstrained-failure" and self._unconstrained(attack, dataset) is None:
            return "its eps may not grow until it reaches every image"
        if probe == "random-draws" and options.eps is None:  # type: ignore[attr-defined]
            return "it has no budget"
        if probe == "random-draws" and options.norm not in ("linf", "l2"):  # type: ignore[attr-defined]
            return f"its norm is {options.norm}, and only balls in linf and l2 are drawn from"  # type: ignore[attr-defined]
        return ""

    @once
    def _doubled(self, attack: str) -> Doubled | None:
        return doubled(self._options(attack))

    @once
    def _unconstrained(self, attack: str, dataset: str) -> Options | None:
        """Return an attack's options with a budget that reaches every image, and a step that grows with it.

        None where the options allow none.
        """
        options = self._options(attack)
        if options.eps is None:  # type: ignore[attr-defined]
            return options
        plain, size = options.model_dump(mode="json"), math.prod(self.datasets[dataset].image_shape)
        whole = {"linf": 1.0, "l2": math.sqrt(size)}.get(options.norm, float(size))  # type: ignore[attr-defined]
        step = getattr(options, "step", None)
        if isinstance(step, float):
            plain["step"] = step * whole / float(options.eps)  # type: ignore[attr-defined]
        try:
            return validate_options(type(options), plain | {"eps": whole})
        except ValidationError:
            return None

    def _options(self, attack: str) -> Options:
        """Return the options that an attack crafts with."""
        component = self.suite.attacks[attack]
        bounded = not self.components.instance(component).minimum_norm
        return component.options if bounded else component.options.model_copy(update={"eps": None})

    def examinations(
        self, dataset: str, attack: str, defense: str, craft: str, attacker: Attacker
    ) -> tuple[dict[Asks, str], dict[ProbeName, str]]:
        """Return what probes ask about a crafting, and which have nothing to ask."""
        asked: dict[Asks, str] = {}
        unasked: dict[ProbeName, str] = {}
        bare = self.components.defense(defense).bare
        for name in run_where(self.suite.probes):
            asks = PROBES[name].asks
            if asks is None:
                continue
            why = self._unasked(name, attack, dataset)
            if name == "silent-success" and attacker.meets_noise:
                why = "what it attacks answers at random, so that a success on the way may be chance"
            if why:
                unasked[name] = why
            elif asks != "labels" or attacker.aim != "base":  # there the deployed classifier has answered already
                judged = self.graph.tasks[craft].of(Craft).held == "pipeline" and not bare
                repeats = self.suite.protocol.repeats if attacker.meets_noise else 1
                asked[asks] = self._examine(dataset, attack, craft, asks, repeats, judged)
        return asked, unasked

    @once
    def _examine(self, dataset: str, attack: str, craft: str, asks: Asks, repeats: int, judged: bool) -> str:
        crafting, component = self.graph.tasks[craft].of(Craft), self.suite.attacks[attack]
        budget: Any = component.options
        more = self._doubled(attack) if asks == "doubled" else None
        options = self._options(attack) if asks == "path" else None if more is None else more.options
        if asks == "unconstrained":
            options = self._unconstrained(attack, dataset)
        count, part = self.datasets[dataset].sizes[crafting.split], None
        forward, backward, at_most, images, judging = 0, 0, False, 0, 0
        if options is not None:
            part = self.components.plugin_part("attack", component.use, options, "")
            passes = Asked.made(
                self.components.registry.get("attack", component.use), options, component.where
            ).passes()
            images = min(RERUN if asks == "doubled" else SHOWN, count)
            forward = (3 if asks == "path" else 2) * images
            if passes is not None:
                forward, backward = forward + passes.forward * images, passes.backward * images
                at_most = passes.at_most
        elif asks == "draws":
            images = min(DRAWN, count)
            forward, at_most = 2 * count + images * (DRAWS + 2), True
            judging = count + images * JUDGED
        else:
            forward = NOISES * min(SHOWN, count) if asks == "neighbours" else 2 * count
        judging = repeats * (judging + 2 * images) if judged else 0  # two versions of the images are judged
        work = self.graph.passes(
            crafting.victim,
            crafting.draws * forward + judging,
            crafting.draws * backward,
            at_most,
            held=crafting.held,
        )
        what = {
            "path": "its path", "doubled": "with more steps and restarts", "unconstrained": "without a budget",
            "draws": "random draws beside it", "neighbours": "noise", "labels": "what it attacked",
        }[asks]  # fmt: skip
        whom = self.graph.who(crafting.victim) if asks == "neighbours" else self.graph.tasks[craft].label
        spec = Examine(
            dataset=self.components.data(dataset, crafting.split),
            split=crafting.split,
            victim=crafting.victim,
            held=crafting.held,
            batch_size=crafting.batch_size,
            seed=crafting.seed,
            draws=crafting.draws,
            asks=asks,
            norm=budget.norm,
            repeats=repeats,
            # An attack's way is held against its end as the attack made it.
            rounded=crafting.rounded and asks in ("doubled", "unconstrained", "draws"),
            eps=float(budget.eps) if asks == "draws" else None,
            # What looks at no adversarial image is the same for all budgets of a sweep.
            craft=None if asks in ("neighbours", "unconstrained") else craft,
            doubled=None if more is None else more.names,
            attack=part,
        )
        return self.graph.add(f"examine {whom}: {what}", spec, work)
