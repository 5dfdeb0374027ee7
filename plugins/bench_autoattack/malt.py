"""MALT: targeted Auto-PGD towards the classes whose boundaries are nearest, were the network linear.

Melamed, Yehudai, Shamir, "MALT Powers Up Adversarial Attacks", NeurIPS 2024; the released code
(odeliamel/MALT, `targeting.py`) ranks the 100 likeliest wrong classes by the difference of logits over the norm of its
gradient, and aims at the first nine. There an image has fallen where the class that is aimed at is answered; here, as
for `apgd-t`, where any wrong one is.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bench_autoattack import options
from bench_autoattack.apgd import ApgdT
from bench_autoattack.part import Standing
from benchmark import Passes


class Malt(ApgdT):
    """Auto-PGD towards wrong classes, the one whose boundary a linear network would have nearest first."""

    Options = options.MaltOptions

    def passes(self) -> Passes:
        """Return those of `apgd-t`, and a pass forward and one back per class that is compared: at most."""
        searches = super().passes()
        return Passes(searches.forward + 1, searches.backward + self.options.candidates, at_most=True)

    def _targets(self, standing: Standing) -> Tensor:
        ranked = standing.ranked()[:, : self.options.candidates]
        rows = standing.rows
        x, y = standing.x[rows].requires_grad_(), standing.y[rows]
        with torch.enable_grad():
            logits = standing.victim.classifier(x)
            distances = []
            for target in ranked[rows].T:
                lead = logits.gather(1, y[:, None]) - logits.gather(1, target[:, None])
                (gradient,) = torch.autograd.grad(lead.sum(), x, retain_graph=True)
                # A step within a budget changes the lead by its dual norm at most.
                slope = gradient.flatten(1).norm(p=1 if self.options.norm == "linf" else 2, dim=1)
                distances.append(lead.detach().squeeze(1) / slope)
        nearest = torch.stack(distances, 1).nan_to_num(nan=torch.inf).argsort(dim=1, stable=True)
        ordered = ranked.clone()
        ordered[rows] = ranked[rows].gather(1, nearest)
        return ordered
