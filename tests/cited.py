"""Toy defenses of which something was published, and one that answers by a label and a score at once."""

from __future__ import annotations

from toy import Aware, Plain, Step

from benchmark import PublishedAttack, hookimpl
from benchmark.model import Passes


class Refuted(Plain):
    """Broken by somebody."""

    published_attacks = (
        PublishedAttack("Weak 2001, table 1", 0.4, "blobs, linf 0.1"),
        PublishedAttack("Doe 2002, table 3", 0.05, "blobs, linf 0.3"),
    )


class Confirmed(Plain):
    """Attacked by somebody, and still standing."""

    published_attacks = (PublishedAttack("Doe 2002, table 4", 0.6, "blobs, linf 0.1", breaks=False),)


class Corrects(Aware):
    """Has another label for suspicious images."""

    family = "rectifier"


class Restarts(Step):
    """One step from each of ten starts: ten gradients, none of which follows from another."""

    def passes(self) -> Passes:
        return Passes(10, 10)


@hookimpl
def register_attacks(register):
    register("restarts", Restarts)


@hookimpl
def register_defenses(register):
    register("refuted", Refuted)
    register("confirmed", Confirmed)
    register("corrects", Corrects)
