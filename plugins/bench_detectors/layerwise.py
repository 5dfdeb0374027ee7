"""Detectors that take one number per layer, and how the numbers become one score."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from bench_detectors.options import LayerwiseOptions
from benchmark import (
    LOGITS,
    STATES,
    Batch,
    FitContext,
    InputError,
    Passes,
    Setting,
    StateDetector,
    TrainOptions,
    Verdict,
)

CHUNK = 512
"""States that are measured at a time while fitting."""
LEAST_EXAMPLES = 20
"""Fewest successful adversarial examples that a logistic regression is trained on."""


@dataclass(frozen=True)
class Combination:
    """A weighted sum of standardised numbers (N, L), one per layer. All tensors are float64 (L,).

    Attributes:
        centre: mean over clean validation images.
        spread: standard deviation over clean validation images.
        weights: per layer.
    """

    centre: Tensor
    spread: Tensor
    weights: Tensor

    @classmethod
    def equal(cls, clean: Tensor) -> Combination:
        """Return the mean of the numbers, standardised on those (N, L) of clean images."""
        spread = clean.std(0, correction=0)
        # A number that is the same for all clean images says nothing about them, and keeps its own unit.
        return cls(clean.mean(0), torch.where(spread > 0, spread, 1.0), torch.full_like(spread, 1 / len(spread)))

    def taught(self, negative: Tensor, positive: Tensor, seed: int) -> Combination:
        """Return it with the weights of a logistic regression, regularised by cross-validation.

        Args:
            negative: numbers (N, L) of natural images.
            positive: numbers (M, L) of adversarial images.
            seed: of the folds.
        """
        from sklearn.linear_model import LogisticRegression
        from sklearn.model_selection import GridSearchCV, StratifiedKFold

        numbers = self._standardized(torch.cat([negative, positive])).numpy()
        labels = np.repeat([0, 1], [len(negative), len(positive)])
        search = GridSearchCV(
            LogisticRegression(class_weight="balanced", max_iter=1000),
            {"C": np.logspace(-4, 4, 10)},
            scoring="neg_log_loss",
            cv=StratifiedKFold(5, shuffle=True, random_state=seed),
        )
        fitted = search.fit(numbers, labels).best_estimator_
        return Combination(self.centre, self.spread, torch.from_numpy(np.float64(fitted.coef_[0])))

    def __call__(self, numbers: Tensor) -> Tensor:
        """Return the sums (N,) of numbers (N, L)."""
        return self._standardized(numbers) @ self.weights

    def _standardized(self, numbers: Tensor) -> Tensor:
        return (numbers - self.centre) / self.spread

    def tensors(self) -> dict[str, Tensor]:
        """Return what it consists of, by name."""
        return {"centre": self.centre, "spread": self.spread, "weights": self.weights}

    def to(self, device: torch.device) -> Combination:
        """Return it on `device`."""
        return Combination(self.centre.to(device), self.spread.to(device), self.weights.to(device))


class LayerwiseDetector(StateDetector):
    """Takes one number per layer that rises with suspicion, and adds them up. The author writes `learn` and `measure`.

    The numbers are standardised on clean validation images, which `learn` has not seen: on the training images, whose
    states it has fitted, layers with many dimensions for their images would look calmer than they are.
    """

    libraries = ("sklearn.linear_model", "sklearn.model_selection")
    options: LayerwiseOptions
    combination: Combination
    learned: dict[str, Tensor]
    """What `learn` returned: it is saved and loaded."""

    @abstractmethod
    def learn(self, states: list[Tensor], context: FitContext) -> dict[str, Tensor]:
        """Return what `measure` needs, from the states (N, D) per layer of all training images.

        Raises:
            InputError: the states or classes do not suffice.
        """

    @abstractmethod
    def measure(self, states: list[Tensor]) -> Tensor:
        """Return the numbers (N, L) in float64 of states (N, D) per layer, differentiable in them."""

    @property
    def treats_images(self) -> bool:
        """Whether images are changed before they are measured, so that their own states are no use."""
        return False

    def measure_images(self, x: Tensor) -> Tensor:
        """Return the numbers (N, L) in float64 of images (N, C, H, W), differentiable in them."""
        return self.measure(self.states(self.classifier.features(x, self._named_layers)))

    def judge(self, batch: Batch) -> Verdict:
        """Score the images; the host flags."""
        if not self.treats_images:
            return super().judge(batch)
        return Verdict(label=batch.logits.argmax(1), score=self.combination(self.measure_images(batch.x)))

    def detector_loss(self, x: Tensor) -> Tensor:
        """Return the score (N,) of images (N, C, H, W), differentiable: it falls when the detector is evaded."""
        return self.combination(self.measure_images(x)).to(x.dtype)

    def suspicion(self, states: list[Tensor], logits: Tensor) -> Tensor:
        """Return the weighted sum (N,)."""
        return self.combination(self.measure(states))

    def training_attacks(self) -> tuple[str, ...]:
        """Return the attacks that teach the weights."""
        return self.options.attacks

    def check_setting(self, setting: Setting) -> None:
        """Look whether the attacks could give enough examples to learn from.

        Raises:
            InputError: not even if each of them fooled the classifier on every validation image.
        """
        found = len(self.options.attacks) * setting.data.size("val")
        if self.options.attacks and found < LEAST_EXAMPLES:
            raise InputError(
                f"{self.name}: attacks: {', '.join(self.options.attacks)} give at most {found} examples on "
                f"{setting.data.size('val')} validation images, at least {LEAST_EXAMPLES} are needed to learn from. "
                "Give more validation images, or leave `attacks` out."
            )

    def passes(self, train: int, val: int, recipe: TrainOptions | None) -> Passes | None:
        """Return the passes of noisy validation images, per attack that teaches the weights.

        Where images are treated, those of the clean and the attacked ones too, and of the treatment.
        """
        noisy = val * len(self.options.attacks)
        if not self.treats_images:
            return Passes(noisy, at_most=True)
        seen = (val + 2 * noisy) * len(self.options.layers)
        return Passes(2 * seen, seen, at_most=True)

    def passes_per_answer(self) -> Passes:
        """Return one pass, and where images are treated two forward and one backward per layer beside it."""
        treated = len(self.options.layers) if self.treats_images else 0
        return Passes(1 + 2 * treated, treated)

    def fit(self, context: FitContext) -> None:
        """Learn from training images, and how to combine the layers from validation images.

        Raises:
            InputError: a layer does not exist, states are not finite, a class has too few images, or the attacks have
                too few successful examples.
        """
        self.learned = {
            name: tensor.to(self.device)
            for name, tensor in self.learn(self.clean_states(context, "train"), context).items()
        }
        clean = self._measured(context)
        combination = Combination.equal(clean)
        if self.options.attacks:
            combination = combination.taught(*self._lessons(clean, context), context.rng.spawn("folds").seed)
        self.combination = combination.to(self.device)

    def _measured(self, context: FitContext, attack: str | None = None, chosen: Tensor | None = None) -> Tensor:
        """Return the numbers (n, L) of validation images, clean or attacked, all or the `chosen` ones, on the CPU."""
        chosen = torch.arange(len(context.val)) if chosen is None else chosen
        if self.treats_images:
            images = context.val if attack is None else context.attacked(attack, "val")
            parts = [
                self.measure_images(images.images(part.tolist()).to(self.device)).detach()
                for part in chosen.split(CHUNK)
            ]
        else:
            if attack is None:
                states = self.clean_states(context, "val")
            else:
                states = self.states(self.pooled(context, "val", attack))
            parts = [self.measure([state[part].to(self.device) for state in states]) for part in chosen.split(CHUNK)]
        return torch.cat(parts).cpu()

    def _lessons(self, clean: Tensor, context: FitContext) -> tuple[Tensor, Tensor]:
        """Return the numbers of natural and of adversarial images (Ma et al., section 4; Lee et al., section 3.1).

        Adversarial are those that turned a right answer into a wrong one. Natural are the clean images that they were
        made from, and these with Gaussian noise of the adversarial perturbation's L2 size, so that noise is no alarm.
        """
        labels = torch.from_numpy(context.val.labels)
        right = torch.from_numpy(context.observed(STATES, "val")[LOGITS]).argmax(1) == labels
        natural, adversarial = [], []
        for attack in self.options.attacks:
            label = torch.from_numpy(context.observed(STATES, "val", attack)[LOGITS]).argmax(1)
            chosen = (right & (label != labels)).nonzero().squeeze(1)
            if not len(chosen):
                continue
            adversarial.append(self._measured(context, attack, chosen))
            natural += [clean[chosen], self._noisy(attack, chosen, context)]
        found = sum(map(len, adversarial))
        if found < LEAST_EXAMPLES:
            raise InputError(
                f"{self.name}: attacks: {', '.join(self.options.attacks)} fooled the classifier on {found} of "
                f"{int(right.sum())} validation images that it gets right, at least {LEAST_EXAMPLES} are needed to "
                "learn from. Name stronger attacks, give more validation images, or leave `attacks` out."
            )
        return torch.cat(natural), torch.cat(adversarial)

    def _noisy(self, attack: str, chosen: Tensor, context: FitContext) -> Tensor:
        """Return the numbers (n, L) of the `chosen` validation images with noise of the attack's size."""
        attacked, rng = context.attacked(attack, "val"), context.rng.spawn("noise", attack)
        parts = []
        for part in chosen.split(CHUNK):
            images = context.val.images(part.tolist())
            size = (attacked.images(part.tolist()) - images).flatten(1).norm(dim=1)
            noise = torch.randn(images.shape, generator=rng.torch)
            noise *= (size / noise.flatten(1).norm(dim=1)).view(-1, 1, 1, 1)
            with torch.no_grad():
                parts.append(self.measure_images((images + noise).clamp(0, 1).to(self.device)).cpu())
        return torch.cat(parts)

    def save(self, folder: Path) -> None:
        """Write what was learned."""
        tensors = {**self.learned, **{f"combination.{name}": t for name, t in self.combination.tensors().items()}}
        save_file({name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, folder / "learned.safetensors")

    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""
        tensors = load_file(folder / "learned.safetensors", device=str(self.device))
        self.combination = Combination(
            *(tensors.pop(f"combination.{name}") for name in ("centre", "spread", "weights"))
        )
        self.learned = tensors
