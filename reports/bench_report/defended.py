"""What a run's manifest says of its defenses: what is done with an image depends on these alone, never on a name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bench_report.table import as_count, as_text
from benchmark import BARE, DefenseTraits


@dataclass(frozen=True)
class Defended:
    """A defense of a run; of one that the manifest does not describe nothing is known.

    Attributes:
        taught: attacks that it learns from.
        networks: how many an image goes through.
    """

    family: str = ""
    taught: tuple[str, ...] = ()
    randomised: bool = False
    gives_scores: bool = False
    networks: int = 1

    @property
    def undefended(self) -> bool:
        """Whether it is the network as it was trained."""
        return self.family == "none"

    @property
    def bare(self) -> bool:
        """Whether there is nothing beside the network: whoever knows that knows all of it."""
        return self.family in BARE

    @property
    def hardens(self) -> bool:
        """Whether it is another network in place of the trained one."""
        return self.family == "hardener"

    @property
    def detects(self) -> bool:
        """Whether it tells attacked images from clean ones, which an attacker has to get past."""
        return self.family in ("detector", "rectifier")

    @property
    def has_parts(self) -> bool:
        """Whether something stands beside the network, which gradients may not get through."""
        return bool(self.family) and not self.bare

    @property
    def traits(self) -> DefenseTraits | None:
        """What its tags follow from; None where it is no defense, or nothing is known of it."""
        if not self.family or self.undefended:
            return None
        return DefenseTraits(self.family, self.gives_scores, self.networks)  # type: ignore[arg-type]


def read_defenses(manifest: Mapping[str, Any]) -> dict[str, Defended]:
    """Return the defenses of a run by label."""
    return {
        label: Defended(
            as_text(known.get("family")),
            tuple(map(as_text, known.get("attacks") or ())),
            bool(known.get("randomised")),
            bool(known.get("gives_scores")),
            as_count(known.get("networks")) or 1,
        )
        for label, known in (manifest.get("defenses") or {}).items()
    }
