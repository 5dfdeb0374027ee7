"""The attack on I-defender and other detectors that reject by likelihoods per class.

Zheng and Hong, "Robust Detection of Adversarial Attacks by Modeling the Intrinsic Properties of Deep Neural Networks",
NeurIPS 2018, section 4.3, Eq. 6.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

from bench_idefender.options import GrayBoxOptions
from benchmark import Attack, ClassLikelihoods, Passes, Rng, Victim, ascend


def objective(seen: ClassLikelihoods, y: Tensor, alpha: float) -> Tensor:
    """Return what Eq. 6 maximises, (N,) float64, differentiable: J + alpha prod Reject(x, k) max log P(H(x) | k).

    Product and maximum go over all classes k but the true ones `y` (N,). Reject is 0 or 1, so the second term is there
    until any of them accepts the image.
    """
    own = one_hot(y, seen.log_likelihood.shape[1]).bool()
    rejected = ((seen.log_likelihood < seen.log_threshold) | own).all(1)
    likeliest = seen.log_likelihood.masked_fill(own, -torch.inf).amax(1)
    loss = cross_entropy(seen.logits, y, reduction="none")
    return loss + alpha * torch.where(rejected, likeliest, 0.0)


class IDefenderGrayBox(Attack):
    """Steps up Eq. 6 inside the ball around the image: FGSM with one step, the iterative methods with more."""

    Options = GrayBoxOptions
    evades_detector = True
    needs_likelihoods = True

    def craft(self, victim: Victim, x: Tensor, y: Tensor, rng: Rng) -> Tensor:
        """Return adversarial examples (N, C, H, W) in [0, 1] within eps of `x`."""
        likelihoods = victim.class_likelihoods
        assert likelihoods is not None

        def goal(images: Tensor) -> tuple[Tensor, Tensor]:
            seen = likelihoods(images)
            label = seen.logits.argmax(1)
            own = seen.log_likelihood.gather(1, label[:, None]).squeeze(1)
            return objective(seen, y, self.options.alpha), (label != y) & (own >= seen.log_threshold[label])

        return ascend(
            goal,
            x,
            norm=self.options.norm,
            eps=float(self.options.eps),
            step=self.options.step_size,
            steps=self.options.steps,
            keep=self.options.keep,
        )

    def passes(self) -> Passes:
        """Return one forward and one backward pass per image and step, and a look at the last one to keep the best."""
        return Passes(self.options.steps + (self.options.keep == "best"), self.options.steps)
