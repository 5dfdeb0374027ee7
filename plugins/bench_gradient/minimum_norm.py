"""Attacks that seek the smallest perturbation: DeepFool and the Carlini & Wagner attacks.

Sources: DeepFool, Moosavi-Dezfooli, Fawzi, Frossard, "DeepFool: a simple and accurate method to fool deep neural
networks", CVPR 2016, Algorithm 2; Carlini, Wagner, "Towards Evaluating the Robustness of Neural Networks", IEEE S&P
2017, sections V and VI (l2: VI-A, linf: VI-C) with objective f6.

They start from the true label: an image that the classifier gets wrong already is returned as it is. So is one for
which nothing was found, or nothing within `eps`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor

from bench_gradient import options
from benchmark import Attack, AttackOptions, Passes, Rng, Victim, per_image, perturbation_size

SMALLEST_BOUND = 1 / 256
"""The linf attack does not look below one grey level, as the authors' code does not."""

SMALLEST_WEIGHT = 1e-5
"""Nor at smaller weights of the margin than the one their code begins with."""


class MinimumNormAttack(Attack):
    """Host of the common frame; the author writes `search`."""

    Options: ClassVar[type[AttackOptions]] = options.MinimumNormOptions

    @property
    def minimum_norm(self) -> bool:
        """It does."""
        return True

    @abstractmethod
    def search(self, classifier: Callable[[Tensor], Tensor], x: Tensor, y: Tensor, logits: Tensor) -> Tensor:
        """Return for rightly classified images the nearest adversarial example found, or the image itself.

        Args:
            classifier: images to logits.
            x: (n, C, H, W) in [0, 1].
            y: (n,) true and predicted class.
            logits: (n, K) of `x`.
        """

    def craft(self, victim: Victim, x: Tensor, y: Tensor, rng: Rng) -> Tensor:
        """Return adversarial examples (N, C, H, W) in [0, 1]; the image itself where there is none within eps."""
        x = x.detach()
        with torch.no_grad():
            logits = victim.classifier(x)
        right = (logits.argmax(1) == y).nonzero().flatten()
        x_adv = x.clone()
        if len(right):
            found = self.search(victim.classifier, x[right], y[right], logits[right])
            if self.options.eps is not None:
                size = perturbation_size(found - x[right], self.options.norm)
                found = torch.where(per_image(size <= float(self.options.eps), x), found, x[right])
            x_adv[right] = found
        return x_adv


class DeepFool(MinimumNormAttack):
    """Steps to the nearest boundary of the classifier linearised at the current point, until it is crossed.

    As in the authors' code the overshoot is applied after every step, not only at the end, and only the classes that
    the clean image scores highest are considered.
    """

    Options = options.DeepFoolOptions

    def search(self, classifier: Callable[[Tensor], Tensor], x: Tensor, y: Tensor, logits: Tensor) -> Tensor:
        """Return the first point per image beyond a boundary, `overshoot` farther than the sum of the steps."""
        candidates = min(self.options.candidates, logits.shape[1])
        rivals = logits.scatter(1, y[:, None], -torch.inf).topk(candidates - 1, dim=1).indices  # (n, candidates - 1)
        x_adv, total = x.clone(), torch.zeros_like(x)
        pending = torch.arange(len(x), device=x.device)
        for _ in range(self.options.steps):
            total[pending] += self._step(classifier, x_adv[pending], y[pending], rivals[pending])
            x_adv[pending] = (x[pending] + (1 + self.options.overshoot) * total[pending]).clamp(0, 1)
            # A pass of its own, since the backward passes of images that are fooled now would cost more.
            with torch.no_grad():
                pending = pending[classifier(x_adv[pending]).argmax(1) == y[pending]]
            if not len(pending):
                break
        x_adv[pending] = x[pending]
        return x_adv

    @staticmethod
    def _step(classifier: Callable[[Tensor], Tensor], x: Tensor, y: Tensor, rivals: Tensor) -> Tensor:
        with torch.enable_grad():
            point = x.detach().requires_grad_()
            logits = classifier(point)
            gaps = logits.gather(1, rivals) - logits.gather(1, y[:, None])  # (n, candidates - 1), negative
            last = gaps.shape[1] - 1
            gradients = [
                torch.autograd.grad(gaps[:, k].sum(), point, retain_graph=k < last)[0] for k in range(last + 1)
            ]
        normals = torch.stack(gradients, dim=1).flatten(2)  # (n, candidates - 1, C*H*W)
        lengths = normals.norm(dim=2) + 1e-8
        distances = gaps.detach().abs() / lengths
        nearest = distances.argmin(1, keepdim=True)
        normal = normals.gather(1, nearest[:, :, None].expand(-1, 1, normals.shape[2])).squeeze(1)
        # The small constant is the authors': a point exactly on the boundary would never be left.
        reach = (distances.gather(1, nearest) + 1e-4) / lengths.gather(1, nearest)
        return (reach * normal).view_as(x)


class CarliniWagnerL2(MinimumNormAttack):
    """Minimises squared l2 distance plus c times the margin of the true class by Adam in tanh space, searching c."""

    Options = options.CarliniWagnerL2Options

    def passes(self) -> Passes:
        """Return the Adam steps of all weights, and a look at the image: at most, wrong images are not attacked."""
        steps = self.options.binary_search_steps * self.options.steps
        return Passes(1 + steps, steps, at_most=True)

    def search(self, classifier: Callable[[Tensor], Tensor], x: Tensor, y: Tensor, logits: Tensor) -> Tensor:
        """Return the nearest adversarial point that any descent passed through."""
        best, best_size = x.clone(), x.new_full((len(x),), torch.inf)
        weight = x.new_full((len(x),), self.options.initial_const)
        lower, upper = torch.zeros_like(weight), torch.full_like(weight, torch.inf)
        start = _to_tanh_space(x)
        centre = _from_tanh_space(start)  # not quite x, which is out of reach where it is black or white
        for _ in range(self.options.binary_search_steps):
            w, adam = start.clone(), _Adam(start)
            fooled = torch.zeros_like(y, dtype=torch.bool)
            for _ in range(self.options.steps):
                with torch.enable_grad():
                    point = w.detach().requires_grad_()
                    candidate = _from_tanh_space(point)
                    margin = _margin(classifier(candidate), y) + self.options.confidence
                    distance = (candidate - centre).flatten(1).square().sum(1)
                    loss = distance + weight * margin.clamp_min(0)
                    (gradient,) = torch.autograd.grad(loss.sum(), point)
                candidate = candidate.detach()
                size = perturbation_size(candidate - x, "l2")
                better = (margin.detach() < 0) & (size < best_size)
                best[better], best_size[better] = candidate[better], size[better]
                fooled |= margin.detach() < 0
                w = w - adam.step(gradient, slice(None), self.options.learning_rate)
            upper = torch.where(fooled, weight, upper)
            lower = torch.where(fooled, lower, weight)
            weight = torch.where(upper.isinf(), weight * 10, (lower + upper) / 2)
        return best


class CarliniWagnerLinf(MinimumNormAttack):
    """Seeks an adversarial example none of whose pixels moves farther than a bound, and shrinks the bound by turns.

    Every image has its own bound and weight of the margin, so that all are attacked side by side. Where a bound cannot
    be kept, the weight was too small if the image was not fooled, and is raised; it was too large if the image was
    fooled beyond the bound, and is lowered: section V's smallest weight that works, from wherever the search begins.
    The paper and the authors' code only raise it, from a very low one.
    """

    Options = options.CarliniWagnerLinfOptions

    def search(self, classifier: Callable[[Tensor], Tensor], x: Tensor, y: Tensor, logits: Tensor) -> Tensor:
        """Return per image the nearest adversarial point that any descent passed through."""
        best, best_size = x.clone(), x.new_full((len(x),), torch.inf)
        bound = x.new_ones(len(x))
        weight = x.new_full((len(x),), self.options.initial_const)
        smallest = min(SMALLEST_WEIGHT, self.options.initial_const)
        # Weights that were too small and too large for the present bound.
        lower, upper = torch.zeros_like(weight), torch.full_like(weight, torch.inf)
        w = _to_tanh_space(x)
        active = torch.arange(len(x), device=x.device)
        while len(active):
            kept, beyond = self._descend(classifier, x, y, w, bound, weight, active, best, best_size)
            bound[kept] = self.options.decrease_factor * torch.minimum(bound[kept], best_size[kept])
            lower[kept], upper[kept] = 0, torch.inf
            short = active[~torch.isin(active, torch.cat([kept, beyond]))]
            lower[short], upper[beyond] = weight[short], weight[beyond]
            weight[short] = (weight[short] * self.options.const_factor).clamp_max(self.options.largest_const)
            weight[beyond] = (weight[beyond] / self.options.const_factor).clamp_min(smallest)
            untried = (weight[active] > 1.001 * lower[active]) & (
                1.001 * weight[active] < upper[active]
            )  # but for rounding
            active = active[(bound[active] > SMALLEST_BOUND) & untried]
        return best

    def _descend(
        self,
        classifier: Callable[[Tensor], Tensor],
        x: Tensor,
        y: Tensor,
        w: Tensor,
        bound: Tensor,
        weight: Tensor,
        active: Tensor,
        best: Tensor,
        best_size: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Move `w` in place and keep what was found in `best`.

        Returns:
            The indices that kept their bound, and those that were fooled in the second half, but only beyond it.
        """
        adam = _Adam(w)
        kept = []
        late = torch.zeros(len(x), dtype=torch.bool, device=x.device)
        for step in range(self.options.steps):
            with torch.enable_grad():
                point = w[active].requires_grad_()
                candidate = _from_tanh_space(point)
                margin = _margin(classifier(candidate), y[active]) + self.options.confidence
                excess = ((candidate - x[active]).abs().flatten(1) - bound[active, None]).clamp_min(0).sum(1)
                loss = weight[active] * margin.clamp_min(0) + excess
                (gradient,) = torch.autograd.grad(loss.sum(), point)
            candidate, fooled = candidate.detach(), margin.detach() < 0
            size = perturbation_size(candidate - x[active], "linf")
            better = fooled & (size < best_size[active])
            best[active[better]], best_size[active[better]] = candidate[better], size[better]
            if 2 * step >= self.options.steps - 1:
                late[active[fooled]] = True
            # The authors' test that the bound was kept, with their tolerance.
            done = fooled & (excess.detach() < 1e-4 * weight[active])
            kept.append(active[done])
            active, gradient = active[~done], gradient[~done]
            if not len(active):
                break
            w[active] -= adam.step(gradient, active, self.options.learning_rate)
        return torch.cat(kept), active[late[active]]


class _Adam:
    """Adam (Kingma & Ba 2015) whose rows (images) may leave one after the other."""

    def __init__(self, like: Tensor) -> None:
        self._mean = torch.zeros_like(like)
        self._square = torch.zeros_like(like)
        self._count = 0

    def step(self, gradient: Tensor, rows: Tensor | slice, learning_rate: float) -> Tensor:
        """Return what to subtract from the rows."""
        self._count += 1
        mean = 0.9 * self._mean[rows] + 0.1 * gradient
        square = 0.999 * self._square[rows] + 0.001 * gradient**2
        self._mean[rows], self._square[rows] = mean, square
        root = (square / (1 - 0.999**self._count)).sqrt()
        return learning_rate * (mean / (1 - 0.9**self._count)) / (root + 1e-8)


def _margin(logits: Tensor, y: Tensor) -> Tensor:
    """Return by how much the true class leads the best other one, (n,)."""
    others = logits.scatter(1, y[:, None], -torch.inf)
    return logits.gather(1, y[:, None]).squeeze(1) - others.amax(1)


def _to_tanh_space(x: Tensor) -> Tensor:
    # Short of 1, where arctanh is infinite.
    return ((2 * x - 1) * 0.999999).arctanh()


def _from_tanh_space(w: Tensor) -> Tensor:
    return (w.tanh() + 1) / 2
