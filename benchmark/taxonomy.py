"""What attacks and defenses are in the words of MITRE ATLAS and NIST AI 100-2, by what they declare of themselves.

One table, `TAGS`, for the components of all plugins alike: nobody names tags, they follow from an attack's `needs` and
from where its images are crafted, and from a defense's `family`, whether it gives scores, and how many networks it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from benchmark.names import DETECTING, KNOWLEDGE

if TYPE_CHECKING:
    from benchmark.plugins import Registration

ATLAS, NIST = "MITRE ATLAS 5.6.0", "NIST AI 100-2e2025"
HOLDING = ("white-box", "gray-box")
"""Attackers who craft on the deployed network, and not on one that stands in for it."""


@dataclass(frozen=True)
class AttackTraits:
    """What decides the tags of an attack.

    Attributes:
        needs: the most that it asks of its victim.
        knowledge: where its images are crafted, one of `benchmark.KNOWLEDGE`.
    """

    needs: Literal["gradient", "scores", "labels"]
    knowledge: str

    @property
    def transferred(self) -> bool:
        """Whether the images are crafted on another network than the one that is attacked."""
        return self.knowledge not in HOLDING


@dataclass(frozen=True)
class DefenseTraits:
    """What decides the tags of a defense.

    Attributes:
        networks: how many networks of the model's architecture an image goes through.
    """

    family: Literal["none", "hardener", "preprocessor", "detector", "rectifier"]
    gives_scores: bool
    networks: int


@dataclass(frozen=True)
class Tag:
    """A term of a framework.

    Attributes:
        name: its number there.
        given: to what, in the words that docs and report show.
    """

    name: str
    title: str
    framework: str
    kind: Literal["attack", "defense"]
    given: str
    holds: Callable[[Any], bool]


TAGS: tuple[Tag, ...] = (
    Tag("AML.T0015", "Evade AI Model", ATLAS, "attack", "every attack", lambda attack: True),
    Tag(
        "AML.T0043.000",
        "White-Box Optimization",
        ATLAS,
        "attack",
        "an attack that needs gradients, crafted on the deployed network (white-box, gray-box)",
        lambda attack: attack.needs == "gradient" and not attack.transferred,
    ),
    Tag(
        "AML.T0043.001",
        "Black-Box Optimization",
        ATLAS,
        "attack",
        "an attack that needs scores or labels alone, crafted on the deployed network (white-box, gray-box)",
        lambda attack: attack.needs != "gradient" and not attack.transferred,
    ),
    Tag(
        "AML.T0043.002",
        "Black-Box Transfer",
        ATLAS,
        "attack",
        "an attack crafted on a substitute or a copy (black-box, gray-box-retrained)",
        lambda attack: attack.transferred,
    ),
    Tag("NISTAML.022", "Evasion", NIST, "attack", "every attack", lambda attack: True),
    Tag(
        "NISTAML.025",
        "Black-box Evasion",
        NIST,
        "attack",
        "an attack that needs scores or labels alone, or is crafted on a substitute or a copy",
        lambda attack: attack.needs != "gradient" or attack.transferred,
    ),
    Tag("AML.M0003", "Model Hardening", ATLAS, "defense", "a hardener", lambda defense: defense.family == "hardener"),
    Tag(
        "AML.M0006",
        "Use Ensemble Methods",
        ATLAS,
        "defense",
        "a defense of several networks (`ensemble_size`)",
        lambda defense: defense.networks > 1,
    ),
    Tag(
        "AML.M0010",
        "Input Restoration",
        ATLAS,
        "defense",
        "a preprocessor, and a rectifier, which undoes what the perturbation did",
        lambda defense: defense.family in ("preprocessor", "rectifier"),
    ),
    Tag(
        "AML.M0015",
        "Adversarial Input Detection",
        ATLAS,
        "defense",
        "a detector, and whatever else gives scores (`gives_scores`)",
        lambda defense: defense.family == "detector" or defense.gives_scores,
    ),
)
"""The tags that attacks and defenses may have."""


def tags_of(traits: AttackTraits | DefenseTraits) -> tuple[Tag, ...]:
    """Return the tags of an attack on the deployed system, or of a defense, in the order of the table."""
    kind = "attack" if isinstance(traits, AttackTraits) else "defense"
    return tuple(tag for tag in TAGS if tag.kind == kind and tag.holds(traits))


def tags_of_registered(registration: Registration) -> list[tuple[Tag, tuple[str, ...]]]:
    """Return the tags of a registered attack or defense, as it is with its default options.

    Beside each tag of an attack the kinds of attackers with whom it has the tag, empty for all of them; where options
    are required that decide, what the class says.

    Raises:
        PluginError: it cannot be loaded.
    """
    component = registration.load()
    options = registration.options_type()
    if not any(info.is_required() for info in options.model_fields.values()):
        component = registration.create(options())
    if registration.kind == "defense":
        family = component.family
        scores, networks = component.gives_scores, component.ensemble_size
        if isinstance(component, type):  # these are properties of what has options
            scores, networks = family in DETECTING, 1
        return [(tag, ()) for tag in tags_of(DefenseTraits(family, scores, networks))]
    found: dict[Tag, tuple[str, ...]] = {}
    for knowledge in KNOWLEDGE:
        for tag in tags_of(AttackTraits(component.needs, knowledge)):
            found[tag] = (*found.get(tag, ()), knowledge)
    return [(tag, by if len(by) < len(KNOWLEDGE) else ()) for tag in TAGS if (by := found.get(tag))]
