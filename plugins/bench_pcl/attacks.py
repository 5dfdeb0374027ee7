"""Attacks of PCL's paper that only PCL needs: on its own loss, and those of its released evaluation script.

Mustafa, Khan, Hayat, Goecke, Shen, Shao, "Adversarial Defense by Restricting the Hidden Space of Deep Neural Networks",
ICCV 2019, section 5.1, "Adaptive White-box Settings" (Table 3).
"""

from __future__ import annotations

import torch
from torch import Tensor

from bench_pcl.options import JointOptions, ReleasedOptions
from benchmark import (
    Attack,
    InputError,
    Passes,
    Rng,
    Setting,
    Victim,
    ascend,
    classification_loss,
    input_gradient,
    random_start,
)


class PclJoint(Attack):
    """Steps up the loss that the defense was trained by: FGSM, BIM, MIM or PGD on PC + CE, prototypes known."""

    Options = JointOptions
    needs_training_loss = True

    def craft(self, victim: Victim, x: Tensor, y: Tensor, rng: Rng) -> Tensor:
        """Return adversarial examples (N, C, H, W) in [0, 1] within eps of `x`."""
        options: JointOptions = self.options
        loss = victim.training_loss
        assert loss is not None
        eps = float(options.eps)

        def goal(images: Tensor) -> tuple[Tensor, Tensor]:
            value, logits = loss(images, y)
            return value, logits.argmax(1) != y

        return ascend(
            goal,
            x,
            norm=options.norm,
            eps=eps,
            step=options.step_size,
            steps=options.steps,
            start=random_start(x, options.norm, eps, rng.numpy) if options.random_start else None,
            decay=options.decay,
            keep=options.keep,
        )

    def passes(self) -> Passes:
        """Return one forward and one backward pass per image and step, and one forward pass to keep the best."""
        return Passes(self.options.steps + (self.options.keep == "best"), self.options.steps)


class PclReleased(Attack):
    """The attacks of the authors' `robustness.py`: ten steps, no random start, the last iterate."""

    Options = ReleasedOptions

    def check_setting(self, setting: Setting) -> None:
        """Look whether `std` has a value per channel, or one.

        Raises:
            InputError: it has another number.
        """
        std, channels = self.options.std, setting.data.image_shape[0]
        if std is not None and len(std) not in (1, channels):
            raise InputError(f"pcl-released: std has {len(std)} values, the images have {channels} channels.")

    def craft(self, victim: Victim, x: Tensor, y: Tensor, rng: Rng) -> Tensor:
        """Return adversarial examples (N, C, H, W) in [0, 1]."""
        options: ReleasedOptions = self.options
        scale = torch.ones(1, device=x.device)
        if options.std is not None:
            scale = torch.tensor(options.std, device=x.device).view(1, -1, 1, 1)
        eps, steps = float(options.eps), self._steps
        step = 2 / 255 if options.method == "pgd" else eps / steps
        loss = classification_loss(victim.classifier, y)
        x_adv, accumulated = x, torch.zeros_like(x)
        for _ in range(steps):
            direction = input_gradient(loss, x_adv)
            if options.method == "mim":
                mean = direction.abs().flatten(1).mean(1).clamp_min(torch.finfo(x.dtype).tiny)
                accumulated = accumulated + direction / mean.view(-1, 1, 1, 1)
                direction = accumulated
            moved = x_adv + step * scale * direction.sign()
            x_adv = (x + (moved - x).clamp(-eps * scale, eps * scale)).clamp(0, 1)
        return x_adv

    @property
    def _steps(self) -> int:
        return 1 if self.options.method == "fgsm" else self.options.steps or 10

    def passes(self) -> Passes:
        """Return one forward and one backward pass per image and step."""
        return Passes(self._steps, self._steps)

    def iterations(self) -> int:
        """Return the steps; of `fgsm` one."""
        return self._steps
