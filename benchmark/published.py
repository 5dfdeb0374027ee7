"""What others have published against a defense: a fact of the defense, as its author cites it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PublishedAttack:
    """What somebody else's attack left of a defense: a fact of the defense, cited.

    Attributes:
        cite: authors, year and where: `Croce and Hein 2020, arXiv:2003.01690, table 2`.
        left: accuracy under the attack from 0 to 1, of a detector the share of images that do not get through; None
            where the source gives none.
        setting: budget and data: `CIFAR-10, linf 8/255`.
        breaks: whether it refutes what the defense claims. An attack that a defense stands is worth citing, too.

    Raises:
        ValueError: `cite` or `setting` is empty, or `left` is no share.
    """

    cite: str
    left: float | None
    setting: str
    breaks: bool = True

    def __post_init__(self) -> None:
        if not (self.cite.strip() and self.setting.strip()):
            raise ValueError("a published attack needs `cite` (who, when, where) and `setting` (budget and data)")
        if self.left is not None and not 0 <= self.left <= 1:
            raise ValueError(f"`left` is {self.left!r}, allowed: a share from 0 to 1, or None where none is given")

    def __str__(self) -> str:
        left = "" if self.left is None else f"{100 * self.left:.4g} % left, "
        return f"{self.cite}: {left}{self.setting}"
