"""Probes: checks of attacks, and for masked gradients, that always run or are asked for by `probes`: what they are.

Those of defenses say of a defense under one attacker what the signs of Athalye, Carlini and Wagner (2018,
arXiv:1802.00420, section 3.1) and Carlini et al. (2019, arXiv:1902.06705) say of attacks in general; PCL (Mustafa et
al. 2019, arXiv:1904.00887, section 5.5) claims the first three of itself. `defense_probes` decides them by
the cells of the grid: none is run for them.

Those of attacks look at one crafting each: the indicators of attack failure of Pintor et al. (2022, arXiv:2106.09947,
and their released code), more steps and restarts, and random draws (Carlini et al. 2019). A task of its own (`examine`)
runs the attack again on a few images, or looks around them; `attack_probes` decides by what it saw.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from benchmark.names import Asks, CellName, ProbeName
from benchmark.trust.alarms import ATHALYE, CARLINI, LEAST_DIFFERENCE, PINTOR

Verdict = Literal["pass", "fail", "not run"]
PCL = "Mustafa et al. 2019, arXiv:1904.00887, section 5.5"
RERUN = 64
"""Images that an attack with more steps and restarts is run on; `benchmark.trust.looks.SHOWN` for all else."""
DRAWN = 8
"""Images that withstand an attack around which is drawn at random, at most."""
DRAWS = 10_000
"""Uniform draws around each of them."""
JUDGED = 256
"""Of those that turn the class, how many the deployed system is asked about where it does more than name a class: the
first, which are as random as all."""
NOISE, NOISES = 4 / 255, 100
"""Largest change of a pixel, and draws of it per image, for unstable predictions: those of the released code."""
MOST_FAILING = 0.1
"""A share of images in which an attack failed for a reason of its own fails a probe where its interval lies above this:
4 of 16."""
LAST, IMPROVED = 10, 0.05
"""A path has not converged where its last so many points, or the last quarter of a short one, bring more than this
share of its range: the released code's, which takes all of a short one."""


@dataclass(frozen=True)
class ProbeKind:
    """What a probe is, in the words that docs and report show.

    Attributes:
        title: what should be, as a heading.
        value: what its number is.
        fails: when it fails.
        needs: the rows that it compares, or the attack that it looks at.
        most: largest share (or mean) that passes; None where its number is a difference of two accuracies.
        asks: what it asks about each crafting; None where it compares attacks on a defense.
        always: whether it runs in every suite: it costs no passes, or two per image at most, of those that are attacked
            as a whole. Where it has nothing to look at, only a suite that names it is told.
    """

    name: ProbeName
    title: str
    value: str
    fails: str
    needs: str
    source: str
    most: float | None = None
    asks: Asks | None = None
    always: bool = False

    @property
    def is_share(self) -> bool:
        """Whether its number is a share of images that should be 0, rather than a difference of two accuracies."""
        return self.most is not None


PROBES: dict[ProbeName, ProbeKind] = {
    kind.name: kind
    for kind in (
        ProbeKind(
            "one-step",
            "Iterative attacks are stronger than one step",
            "Share of images right under all attacks of one step, less the share right under all iterative ones.",
            "One step is stronger for sure.",
            "An attack of one step and an iterative one, of equal norm and budget.",
            f"{ATHALYE}; {CARLINI}; {PCL}",
            always=True,
        ),
        ProbeKind(
            "knowledge",
            "White-box attacks are stronger than black-box ones",
            "Share of images right where the attacker knows less, less the share right under the same attacks of one "
            "who knows more.",
            "Who knows less is stronger for sure.",
            "The same attack under two kinds of knowledge, such as gray-box and black-box.",
            f"{ATHALYE}; {CARLINI}; {PCL}",
            always=True,
        ),
        ProbeKind(
            "large-budget",
            "Accuracy goes to zero as the budget grows",
            "Share of images right under every attack whose budget lets all images become the same grey.",
            "The share is above 1 % for sure.",
            "An attack with eps of at least half the pixel range: 0.5 in linf, 0.5 times the root of the number of "
            "pixels and channels in l2.",
            f"{ATHALYE}; {CARLINI}; {PCL}",
            most=LEAST_DIFFERENCE,
            always=True,
        ),
        ProbeKind(
            "random-search",
            "Random search finds nothing that gradients miss",
            "Share of images that an attack without gradients turns wrong and no attack with gradients does, within "
            "the same budget.",
            "The share is above 1 % for sure.",
            "An attack without gradients, such as `square`, and one with gradients, of equal norm and budget.",
            f"{ATHALYE}; {CARLINI}",
            most=LEAST_DIFFERENCE,
            always=True,
        ),
        ProbeKind(
            "unavailable-gradients",
            "The attack gets gradients",
            "Share of images for which most gradients that the attack got while the image was still classified rightly "
            "were exactly zero or not finite, or which withstand it without that it got any.",
            "The share is above 10 % for sure.",
            "An attack with gradients.",
            f"{PINTOR}",
            most=MOST_FAILING,
            asks="path",
        ),
        ProbeKind(
            "unstable-predictions",
            "The loss is smooth around the images",
            "Mean relative change of the logit margin under 100 draws of uniform noise of up to 4/255 per pixel, at "
            "most 1 per image.",
            "The mean is above 10 % for sure.",
            "Any attack.",
            f"{PINTOR}",
            most=MOST_FAILING,
            asks="neighbours",
        ),
        ProbeKind(
            "silent-success",
            "The attack returns what it finds",
            "Share of images that were classified wrongly at a point on the attack's way, within its budget, and "
            "withstand it at the point that it returns.",
            "The share is above 10 % for sure.",
            "Any attack on what is not random.",
            f"{PINTOR}",
            most=MOST_FAILING,
            asks="path",
        ),
        ProbeKind(
            "incomplete-optimisation",
            "The attack has converged",
            "Share of images that withstand the attack while its loss still fell at the end, by more than 5 % of its "
            "range over the last ten points (a quarter of fewer than 40).",
            "The share is above 10 % for sure.",
            "Any attack.",
            f"{PINTOR}",
            most=MOST_FAILING,
            asks="path",
        ),
        ProbeKind(
            "transfer-failure",
            "What fools the attacked network fools the deployed system",
            "Share of the images that fool the network that was attacked and are answered rightly, or flagged, by the "
            "deployed system; of a system that was attacked as a whole, answered rightly.",
            "The share is above 10 % for sure.",
            "Any attack.",
            f"{PINTOR}",
            most=MOST_FAILING,
            asks="labels",
            always=True,
        ),
        ProbeKind(
            "unconstrained-failure",
            "Without a budget the attack always succeeds",
            "Share of images that withstand the attack with a budget that reaches every image.",
            "The share is above 10 % for sure.",
            "Any attack.",
            f"{PINTOR}",
            most=MOST_FAILING,
            asks="unconstrained",
        ),
        ProbeKind(
            "more-steps",
            "More steps and restarts change nothing",
            "Share of images that withstand the attack with twice its steps and restarts, less the share that "
            "withstand it as it is.",
            "Fewer withstand more steps for sure.",
            "An attack with an option `steps` or `restarts`.",
            f"{CARLINI}",
            asks="doubled",
        ),
        ProbeKind(
            "random-draws",
            "Random draws find nothing that the attack misses",
            f"Share of up to {DRAWN} images that withstand the attack, flagged ones among them, of which one of "
            f"{DRAWS:,} uniform draws from the ball is classified wrongly. Where there is more than the network, of "
            f"the first {JUDGED} draws that turn its class one that the deployed system answers wrongly and does not "
            "flag.",
            "The share is above 1 % for sure.",
            "An attack with a budget in linf or l2.",
            f"{ATHALYE}; {CARLINI}",
            most=LEAST_DIFFERENCE,
            asks="draws",
        ),
    )
}
"""All probes by name, in the order in which they are shown."""


def run_where(named: Sequence[ProbeName]) -> tuple[ProbeName, ...]:
    """Return the probes that run in a suite that names some: these, and those that always do."""
    return tuple(name for name, kind in PROBES.items() if kind.always or name in named)


@dataclass(frozen=True)
class Probed(CellName):
    """What a probe says of an attack, or of a defense under one kind of attacker.

    Attributes:
        attack: the suite's label, of a probe of one attack; "" of one that compares several on a defense.
        norm, eps: where the comparison that decides was made, as the suite writes them; "" where there is none.
        knowledge: of the attacker who should be the stronger one; "" where nobody attacks the defense itself.
        value, ci_low, ci_high: NaN where it was not run.
        p_value: exact McNemar test of no difference; NaN where a share decides.
        finding: the numbers in words, or what is lacking.
    """

    probe: ProbeName
    verdict: Verdict
    value: float
    ci_low: float
    ci_high: float
    p_value: float
    n: int
    finding: str
