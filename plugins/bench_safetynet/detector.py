"""The SafetyNet detector.

Lu, Issaranon, Forsyth, "SafetyNet: Detecting and Rejecting Adversarial Examples Robustly", ICCV 2017
(arXiv:1704.00103). The multi-class variant: row mSVM of Table 6 in Zheng and Hong, "Robust Detection of Adversarial
Attacks by Modeling the Intrinsic Properties of Deep Neural Networks" (I-defender), NeurIPS 2018.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bench_safetynet import machines
from bench_safetynet.machines import Machines, Quantiser
from bench_safetynet.options import SafetyNetOptions
from benchmark import LOGITS, STATES, FitContext, InputError, Observation, Rng, Setting, StateDetector

LEAST_EXAMPLES = 20
"""Fewest adversarial images that a machine is trained on."""


class SafetyNet(StateDetector):
    """Suspects images whose quantised activations lie on the adversarial side of a kernel machine.

    The score is the machine's decision function: above 0 on the adversarial side.
    """

    name = "safetynet"
    Options = SafetyNetOptions
    libraries = ("sklearn.svm",)
    options: SafetyNetOptions
    quantiser: Quantiser
    machines: Machines

    def training_attacks(self) -> tuple[str, ...]:
        """Return the attacks that are learned from."""
        return self.options.attacks

    def observations(self) -> dict[str, Observation]:
        """Ask for the states of training images, clean and attacked; the logits come with them."""
        return {STATES: Observation(layers=self._named_layers, fit_splits=("train",))}

    def fit(self, context: FitContext) -> None:
        """Set the thresholds on natural training images, and train on these and their adversarial versions.

        Raises:
            InputError: a layer does not exist, states are not finite or all the same, a class has no images, or the
                attacks have too few examples.
        """
        options, rng = self.options, context.rng
        natural = torch.cat(self.clean_states(context, "train"), 1)
        labels = torch.from_numpy(context.train.labels)
        self.quantiser = Quantiser.of(natural, options.levels, options.thresholds)
        adversarial = self._adversarial(context, labels)
        kept = _drawn(len(natural), options.images, rng.spawn("natural"))
        natural, labels = natural[kept], labels[kept]
        adversarial = adversarial[_drawn(len(adversarial), options.images, rng.spawn("adversarial"))]
        codes = self.quantiser(torch.cat([natural, adversarial])).numpy()
        spread = float(codes.var())
        if not spread:
            raise InputError(
                f"{self.name}: all codes of all {len(codes)} training images are the same: the units of "
                f"{', '.join(options.layers)} say nothing. Choose another layer, or other `thresholds`."
            )
        gamma = 1 / (codes.shape[1] * spread) if options.gamma == "scale" else options.gamma
        targets = self.targets(labels.numpy(), len(adversarial), context.train.class_names)
        self.machines = Machines.fit(codes, targets, c=options.c, gamma=gamma)
        self._to_device()

    def check_setting(self, setting: Setting) -> None:
        """Look whether the attacks could give enough examples to learn from.

        Raises:
            InputError: not even if each image gave one.
        """
        images = setting.data.size("train")
        self._check_examples(len(self.options.attacks) * images, images)

    def targets(self, labels: np.ndarray, adversarial: int, class_names: Sequence[str]) -> np.ndarray:
        """Return what each machine is to find among natural, then adversarial images: (N, K) bool."""
        return np.repeat([False, True], [len(labels), adversarial])[:, None]

    def suspicion(self, states: list[Tensor], logits: Tensor) -> Tensor:
        """Return the decision function (N,); backward, sigmoids stand for the thresholds."""
        return self.decisions(states)[:, 0]

    def decisions(self, states: list[Tensor]) -> Tensor:
        """Return the decision functions (N, K) of states (N, D) per layer."""
        return self.machines(self.quantiser(torch.cat(states, 1)))

    def _adversarial(self, context: FitContext, labels: Tensor) -> Tensor:
        """Return the states (M, D) of the adversarial training images that are learned from."""
        found, count = [], 0
        right = torch.from_numpy(context.observed(STATES, "train")[LOGITS]).argmax(1) == labels
        for attack in self.options.attacks:
            observed = self.pooled(context, "train", attack)
            chosen = torch.ones_like(right)
            if self.options.learn_from == "successful":
                chosen = right & (observed[LOGITS].argmax(1) != labels)
            count += int(chosen.sum())
            found.append(torch.cat(self.states(observed), 1)[chosen])
        self._check_examples(count, len(labels))
        return torch.cat(found)

    def _check_examples(self, count: int, images: int) -> None:
        if count < LEAST_EXAMPLES:
            raise InputError(
                f"{self.name}: attacks: {', '.join(self.options.attacks)} give {count} {self.options.learn_from} "
                f"examples on {images} training images, at least {LEAST_EXAMPLES} are needed to learn from. Name "
                "stronger attacks, give more training images, or set `learn_from: all`."
            )

    def save(self, folder: Path) -> None:
        """Write thresholds and machines."""
        machines.save(folder, self.quantiser, self.machines)

    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""
        self.quantiser, self.machines = machines.load(folder, self.device)

    def _to_device(self) -> None:
        quantiser, found = self.quantiser, self.machines
        self.quantiser = Quantiser(quantiser.thresholds.to(self.device), quantiser.widths.to(self.device))
        self.machines = Machines(
            found.vectors.to(self.device),
            found.weights.to(self.device),
            found.intercepts.to(self.device),
            found.gamma,
        )


class SafetyNetMulticlass(SafetyNet):
    """The same with a machine per natural class and one for adversarial images, each against all others.

    The score is the adversarial machine's decision function minus the largest of the natural classes': above 0 where
    the adversarial class wins.
    """

    name = "safetynet-msvm"

    def check_setting(self, setting: Setting) -> None:
        """Look whether each class has training images, too.

        Raises:
            InputError: a class has none, or there are too few examples to learn from.
        """
        super().check_setting(setting)
        if few := setting.data.few("train", 1):
            raise InputError(f"{self.name}: no training image to learn from: {few}. Give each class one at least.")

    def targets(self, labels: np.ndarray, adversarial: int, class_names: Sequence[str]) -> np.ndarray:
        """Return what each machine is to find: the adversarial images, then each natural class.

        Raises:
            InputError: a class has no images.
        """
        empty = [name for c, name in enumerate(class_names) if not (labels == c).any()]
        if empty:
            raise InputError(
                f"{self.name}: no training image to learn from of the classes {', '.join(map(repr, empty))}. Give each "
                "class one at least, or raise `images`."
            )
        natural = np.concatenate([labels, np.full(adversarial, -1)])
        return np.stack([natural == c for c in (-1, *range(len(class_names)))], 1)

    def suspicion(self, states: list[Tensor], logits: Tensor) -> Tensor:
        """Return by how much the adversarial class wins (N,)."""
        decisions = self.decisions(states)
        return decisions[:, 0] - decisions[:, 1:].amax(1)


def _drawn(count: int, most: int | None, rng: Rng) -> np.ndarray:
    """Return which of `count` images are learned from, at most `most`, in their order."""
    if most is None or count <= most:
        return np.arange(count)
    return np.sort(rng.numpy.permutation(count)[:most])
