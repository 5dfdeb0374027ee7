"""AutoAttack: four attacks one after the other, each on the images that still stand.

Croce, Hein, "Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free attacks", ICML
2020, section 5, with the settings of the authors' code, from which published numbers come (`standard` and `rand`).
"""

from __future__ import annotations

from functools import cached_property

from bench_autoattack import options
from bench_autoattack.apgd import ApgdCe, ApgdDlr, ApgdT
from bench_autoattack.fab import FabT
from bench_autoattack.part import Part, Standing
from bench_autoattack.square import Square
from benchmark import Passes, Rng, Setting

DRAWS = 20
"""Passes per gradient of `rand`."""

QUERIES, HORIZON = 5000, 10_000
"""Queries of Square, and those over which its squares would shrink to their smallest."""


class AutoAttack(Part):
    """The ensemble. An image that none of its parts fools is returned as it is, as the authors' code does."""

    Options = options.AutoAttackOptions

    @cached_property
    def parts(self) -> list[Part]:
        """The attacks in their order."""
        norm, eps = self.options.norm, self.options.eps
        if self.options.version == "rand":
            apgd = options.ApgdOptions(norm=norm, eps=eps, draws=DRAWS, early_stop=False)
            return [ApgdCe(apgd), ApgdDlr(apgd)]
        stop = self.options.early_stop
        return [
            ApgdCe(options.ApgdOptions(norm=norm, eps=eps, early_stop=stop)),
            ApgdT(options.TargetedApgdOptions(norm=norm, eps=eps, early_stop=stop)),
            FabT(options.FabOptions(norm=norm, eps=eps)),
            Square(options.SquareOptions(norm=norm, eps=eps, steps=QUERIES, horizon=HORIZON)),
        ]

    def check_setting(self, setting: Setting) -> None:
        """Look whether the losses of the parts have the classes that they compare.

        Raises:
            InputError: they have not.
        """
        for part in self.parts:
            part.check_setting(setting)

    def attack(self, standing: Standing, rng: Rng) -> None:
        """Run the parts on what stands; of a randomised network, on what one more pass after each answers rightly."""
        for number, part in enumerate(self.parts):
            attacked = standing.rows
            if len(attacked):
                part.attack(standing, rng.spawn(number))
                if self.options.version == "rand":
                    standing.look_again(attacked)
        standing.x_adv[standing.rows] = standing.x[standing.rows]

    def passes(self) -> Passes:
        """Return the passes of all parts on an image that none of them fools: at most."""
        each = [passes for part in self.parts if (passes := part.passes()) is not None]
        looks = len(each) if self.options.version == "rand" else 0
        forward = 1 + looks + sum(passes.forward - 1 for passes in each)  # the clean pass is made once for all
        return Passes(forward, sum(passes.backward for passes in each), at_most=True)

    def iterations(self) -> int:
        """Return the steps of the longest search."""
        return max(part.iterations() or 0 for part in self.parts)
