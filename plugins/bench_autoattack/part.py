"""What the parts of AutoAttack share: a batch of images, of which each part attacks those that still stand."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from benchmark import Attack, InputError, Rng, Setting, Victim


class Standing:
    """A batch of images and what attacks have made of it; costs one forward pass.

    Attributes:
        victim: what the attacker holds.
        x: (N, C, H, W) the images.
        y: (N,) their true labels.
        logits: (N, K) of the images.
        x_adv: (N, C, H, W) what was found: the images themselves where they are classified wrongly already.
        rows: (n,) the images that still stand, in order.
    """

    def __init__(self, victim: Victim, x: Tensor, y: Tensor) -> None:
        self.victim, self.x, self.y = victim, x.detach(), y
        with torch.no_grad():
            self.logits = victim.classifier(self.x)
        self.x_adv = self.x.clone()
        self.rows = (~self.fooled(self.logits, slice(None))).nonzero().flatten()

    def fooled(self, logits: Tensor, rows: Tensor | slice) -> Tensor:
        """Return which answers (n, K) to points of the images `rows` end their search, (n,).

        An answer that is not a number does too: the host must see a network that answers so.
        """
        return (logits.argmax(1) != self.y[rows]) | logits.isnan().any(1)

    def ranked(self) -> Tensor:
        """Return the wrong classes of each image, (N, K - 1), the one that its clean version scores highest first."""
        order = self.logits.scatter(1, self.y[:, None], -torch.inf).argsort(1, descending=True)
        return order[order != self.y[:, None]].view(len(self.y), -1)

    def settle(self, rows: Tensor, points: Tensor, fooled: Tensor) -> None:
        """Take `points` (n, C, H, W) for the images `rows`, of which those that are `fooled` (n,) stand no longer."""
        self.x_adv[rows] = points
        self.rows = self.rows[~torch.isin(self.rows, rows[fooled])]

    def look_again(self, rows: Tensor) -> None:
        """Let those of the images `rows` stand that one more pass answers rightly; costs that pass.

        It is handed what was found, and the image itself where nothing was.
        """
        self.x_adv[self.rows] = self.x[self.rows]
        with torch.no_grad():
            logits = self.victim.classifier(self.x_adv[rows])
        self.rows = rows[~self.fooled(logits, rows)]


class Part(Attack):
    """An attack that can be one of several on the same images. The author writes `attack`.

    All that it draws is drawn for the whole batch, so that what one image gets does not depend on when others fall.
    """

    least_classes: ClassVar[int] = 2
    """Classes that its loss compares."""

    @abstractmethod
    def attack(self, standing: Standing, rng: Rng) -> None:
        """Attack the images that stand, and settle what is found."""

    def craft(self, victim: Victim, x: Tensor, y: Tensor, rng: Rng) -> Tensor:
        """Return adversarial examples (N, C, H, W) in [0, 1]."""
        standing = Standing(victim, x, y)
        if len(standing.rows):
            self.attack(standing, rng)
        return standing.x_adv

    def check_setting(self, setting: Setting) -> None:
        """Look whether the loss has the classes that it compares.

        Raises:
            InputError: it has not.
        """
        count = len(setting.data.class_names)
        if count < self.least_classes:
            others = "apgd-ce, fab-t or square" if count < 3 else "apgd-ce, apgd-dlr, fab-t or square"
            raise InputError(
                f"it compares the logits of {self.least_classes} classes, the data set has {count}. Take {others}."
            )
