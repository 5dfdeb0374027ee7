"""What a few images show of a network: a task of its own, whose answers alarms read."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from benchmark.cells import Look
from benchmark.randomness import Rng

if TYPE_CHECKING:
    from torch import Tensor, nn

    from benchmark.gradient import Loss
    from benchmark.training import MicroBatches


SHOWN = 16
"""Images that a network is looked at with."""
ALONE = 4
"""Those of them that are shown to it one by one, too."""
STEPS, DIRECTIONS = (4 / 255, 16 / 255), 4
"""Sizes in linf of a step along the gradient, and how many in random directions each is held against. Two sizes: a
stand-in for rounding or compression is sound and may still say nothing of a small step."""
ROUNDING = 1e-3
"""Margins that differ by less than this share are equal."""
SUM_TOLERANCE = 1e-3
"""How far probabilities may sum up to something else than 1."""


def evenly(count: int, most: int) -> list[int]:
    """Return at most `most` of `count` images, spread evenly, since images often lie in the order of their class."""
    return sorted({int(index) for index in np.linspace(0, count - 1, min(most, count))})


def look(
    network: nn.Module,
    x: Tensor,
    y: Tensor,
    memory: MicroBatches,
    detector_loss: Callable[[Tensor], Tensor] | None = None,
) -> Look:
    """Look at a network, frozen and in eval mode, as an attack would.

    Args:
        network: maps images to logits (N, num_classes).
        x: images (N, C, H, W) in [0, 1].
        y: their classes (N,).
        memory: shows so many of them at once as fit.
        detector_loss: images to one suspicion per image (N,), where the attacker lowers it too.
    """
    import torch  # whoever reads tables need not wait for it

    from benchmark.gradient import classification_loss, input_gradient, margins
    from benchmark.training import is_out_of_memory

    def differs(these: Tensor, those: Tensor) -> float:
        if not these.isfinite().all() or not those.isfinite().all():
            return 0.0  # the task that predicts says so
        spread = float(logits.max() - logits.min())
        return float((these - those).abs().max()) / spread if spread else 0.0

    def answers(images: Tensor) -> Tensor:
        with torch.no_grad():
            return torch.cat(memory.run(len(images), lambda part: network(images[part].clone())))

    def gradients(loss_of: Callable[[slice], Loss]) -> Tensor:
        return torch.cat(memory.run(len(x), lambda part: input_gradient(loss_of(part), x[part].clone()).flatten(1)))

    logits, again = answers(x), answers(x)
    with torch.no_grad():
        try:
            single = torch.cat([network(image[None].clone()) for image in x[:ALONE]])
        except Exception:  # batch statistics of one image may be refused
            single = None
        alone = None if single is None or single.shape != logits[:ALONE].shape else differs(single, logits[:ALONE])

    def margin(images: Tensor) -> Tensor:
        return margins(answers(images.clamp(0, 1)), y)

    losses: list[Callable[[slice], Loss]] = [lambda part: classification_loss(network, y[part])]
    if detector_loss is not None:
        losses.append(lambda part: detector_loss)
    blind = broken = asked = astray = torch.zeros(len(x), dtype=torch.bool, device=x.device)
    for number, loss_of in enumerate(losses):
        try:
            gradient = gradients(loss_of)
        except RuntimeError as error:  # torch's word for a loss that the image is not connected to
            if is_out_of_memory(error):
                raise
            gradient = torch.zeros_like(x).flatten(1)
        broken = broken | ~gradient.isfinite().all(1)
        if not number:  # a suspicion may well be flat where nothing is suspicious
            blind = (gradient == 0).all(1)
            asked = astray = ~blind & (margins(logits, y) > 0)
            chance = Rng(0).spawn("directions").numpy.choice([-1, 1], (DIRECTIONS, *x.shape)).astype(np.float32)
            for size in STEPS:
                led = margin(x + size * gradient.sign().view_as(x))
                least = torch.stack([margin(x + size * torch.from_numpy(one).to(x.device)) for one in chance]).amin(0)
                astray = astray & (led - least > ROUNDING * led.abs())
    return Look(
        images=len(x),
        in_unit=bool(((logits >= 0) & (logits <= 1)).all()),
        sum_to_one=bool(((logits.sum(1) - 1).abs() <= SUM_TOLERANCE).all()),
        spread=float(logits.max() - logits.min()) if logits.isfinite().all() else 0.0,
        blind=int(blind.sum()),
        broken=int(broken.sum()),
        asked=int(asked.sum()),
        astray=int(astray.sum()),
        twice=differs(logits, again),
        alone=alone,
    )
