"""What an attacker attacks, by what he knows: networks of the system, copies, substitutes, or the whole of it."""

from __future__ import annotations

import math
from typing import Any, Literal

from benchmark.cells import Attacker
from benchmark.defense import Road, offers
from benchmark.errors import InputError
from benchmark.plan.asked import Asked
from benchmark.plan.graph import Graph
from benchmark.plan.once import once
from benchmark.plan.task import Craft, Held
from benchmark.randomness import Rng
from benchmark.store.artifact import digest
from benchmark.suite import GridEntry, Substitute


class Attackers:
    """Adds the crafting of adversarial images, as the knowledge of a grid entry has it."""

    def __init__(self, graph: Graph) -> None:
        self.graph, self.components = graph, graph.components
        self.suite, self.datasets = graph.suite, graph.datasets

    def craft(self, dataset: str, model: str, attack: str, defense: str, entry: GridEntry, seed: int) -> str:
        """Add the crafting of an attack on the split that is evaluated.

        Raises:
            InputError: this attacker cannot attack this system, or would be another kind of attacker.
        """
        instance = self.components.attack(attack)
        defended = self.components.defense(defense)
        hardened = defended.replaces_classifier
        held: Held = "classifier"
        self._check_knowledge(attack, defense, entry)
        informed = evades(instance, defended) or instance.needs_training_loss
        # A detector's label is the network's: who steps through a stand-in of it alone knows nothing of the detector.
        through = offers(defended.plugin, "surrogate") and not defended.keeps_labels
        if entry.knowledge == "black-box":
            deployed = self.graph.network(dataset, model, defense, seed)
            victims = tuple(self.graph.network(dataset, one.model, one.defense, seed) for one in entry.substitutes)
            if deployed in victims:
                named, attacked = (
                    entry.substitutes[victims.index(deployed)],
                    Substitute(model, defense if hardened else None),
                )
                raise InputError(
                    f"{entry.where}: knowledge black-box: the substitute {named} is the very network that is attacked "
                    f"as {attacked} (same plugins, options and seed), so these numbers would be gray-box. "
                    f"Name another network as `substitute`, exclude this one from this grid entry, or choose gray-box "
                    "(the network itself) or gray-box-retrained (a copy of it, trained from another seed)."
                )
        elif entry.knowledge == "white-box" and (through or informed):
            victims, held = (self.graph.fit(dataset, model, defense, seed),), "pipeline"
        elif entry.knowledge == "white-box" and not defended.bare:
            lacks = (
                "detector_loss"
                if defended.keeps_labels
                else "surrogate or detector_loss"
                if defended.detects
                else "surrogate"
            )
            what = (
                f"the attack {attack!r} does not try to evade a detector"
                if offers(defended.plugin, "detector_loss")
                else f"the defense {defense!r} offers no differentiable stand-in ({lacks})"
            )
            raise InputError(
                f"{entry.where}: knowledge white-box: {what}, so the attacker would know no more than under "
                f"gray-box. Choose gray-box for {defense!r}, or exclude it from this grid entry."
            )
        else:
            if entry.knowledge == "gray-box-retrained" and not hardened:
                self._check_retrained(model, defense, entry)
            # The copy's seed is drawn from the suite's seed, so that it is another one, and always the same one.
            copy = Rng(seed).spawn("retrained").seed if entry.knowledge == "gray-box-retrained" else seed
            if entry.knowledge == "gray-box-retrained" and informed:
                victims, held = (self.graph.fit(dataset, model, defense, copy),), "pipeline"
            else:
                victims = (self.graph.network(dataset, model, defense, copy),)
        split = self.suite.protocol.split
        draws = self.suite.protocol.draws if held == "pipeline" and defended.randomised else 1
        return self.graph.craft(
            dataset, split, attack, victims, held, seed, bounded=not instance.minimum_norm, draws=draws
        )

    def _check_retrained(self, model: str, defense: str, entry: GridEntry) -> None:
        component = self.suite.models[model]
        if component.options.train is None:  # type: ignore[attr-defined]
            raise InputError(
                f"{entry.where}: knowledge gray-box-retrained: the model {model!r} is used as it is (`train: null`, "
                f"{component.where}), so that no copy of it is trained from another seed and these numbers would be "
                f"gray-box. Give {model!r} a training recipe, choose gray-box, or black-box with another network as "
                f"`substitute`, or exclude {model!r} beside {defense!r} from this grid entry."
            )

    def _check_knowledge(self, attack: str, defense: str, entry: GridEntry) -> None:
        """Refuse an attack on what a defense does not have, or on what the attacker does not know."""
        instance, defended = (
            self.components.attack(attack),
            self.components.defense(defense),
        )
        needed: list[tuple[Road, str, str]] = []
        if instance.needs_likelihoods:
            needed.append(("class_likelihoods", "the detector's likelihoods per class", "them"))
        if instance.needs_training_loss:
            needed.append(("training_loss", "the loss that the defense was trained by", "it"))
        for method, what, pronoun in needed:
            if not offers(defended.plugin, method):
                problem = f"the defense {defense!r} has none. Exclude it from this grid entry"
            elif entry.knowledge in ("gray-box", "black-box"):
                problem = f"this attacker does not know {pronoun}. Choose white-box or gray-box-retrained"
            else:
                continue
            raise InputError(
                f"{entry.where}: knowledge {entry.knowledge}: the attack {attack!r} needs {what}, and {problem}, "
                "or take another attack."
            )

    def attacker(self, dataset: str, attack: str, defense: str, craft: str, classifier: str, fit: str) -> Attacker:
        """Return how the adversarial images of a crafting come to be, in a system of classifier and fitted defense."""
        instance, defended = (
            self.components.attack(attack),
            self.components.defense(defense),
        )
        crafting = self.graph.tasks[craft].of(Craft)
        pipeline = crafting.held == "pipeline"
        lowers = pipeline and (instance.needs_likelihoods or evades(instance, defended))
        aim: Literal["base", "label", "undetected"] | None = None
        if not pipeline and crafting.victim == (classifier,):
            aim = "base"
        elif pipeline and crafting.victim == (fit,):
            aim = "undetected" if lowers else "label"
        return Attacker(
            uses_gradient=instance.needs == "gradient",
            steps=instance.iterations(),
            aim=aim,
            evades=lowers,
            meets_noise=pipeline and defended.randomised,
            nearest=instance.minimum_norm,
            erases=_erases(instance.options, self.datasets[dataset].image_shape),
        )

    @once
    def sweep(self, attack: str) -> str:
        """Return what is equal for attacks that differ in nothing but eps."""
        component = self.suite.attacks[attack]
        return digest(component.use, {name: value for name, value in component.plain().items() if name != "eps"})


def _erases(options: Any, image_shape: tuple[int, int, int]) -> bool:
    """Tell whether every image lies within the budget of the same grey one, half the pixel range away in each pixel."""
    size = math.prod(image_shape)
    far = {"linf": 0.5, "l2": 0.5 * math.sqrt(size), "l1": 0.5 * size, "l0": size}.get(options.norm, math.inf)
    return options.eps is not None and float(options.eps) >= far


def evades(attack: Asked, defense: Asked) -> bool:
    """Tell whether an attack that knows the defense lowers its score."""
    return attack.evades_detector and offers(defense.plugin, "detector_loss")
