"""The detector of I-defender.

Zheng and Hong, "Robust Detection of Adversarial Attacks by Modeling the Intrinsic Properties of Deep Neural Networks",
NeurIPS 2018, section 3, Eq. 4 and 5.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bench_idefender.mixtures import ClassMixtures, fit_class_mixtures
from bench_idefender.options import IDefenderOptions
from benchmark.defense import Batch, Defense, FitContext, Observation, Verdict
from benchmark.errors import InputError, unknown_name
from benchmark.model import Classifier, Passes
from benchmark.options import TrainOptions

LOGITS = "logits"


class IDefender(Defense):
    """Suspects images whose hidden state is unlikely for the class that the classifier gives them.

    The score is log TH_c - log p(H(x) | c) for the predicted class c, in nats (or in standard deviations of the class's
    training log-likelihoods): above 0 where Eq. 5 rejects. The label is the classifier's.
    """

    family = "detector"
    Options = IDefenderOptions
    mixtures: ClassMixtures

    def observations(self) -> dict[str, Observation]:
        """Ask for the hidden states; the classifier's logits come with them. Validation images only give a warning."""
        return {"states": Observation(layers=self._named_layers, fit_splits=("train", "val"))}

    def passes(self, train: int, val: int, recipe: TrainOptions | None) -> Passes | None:
        """Return none: the states are extracted before, for all detectors that ask for them."""
        return Passes()

    def fit(self, context: FitContext) -> None:
        """Fit a mixture and a threshold per class on the states of the training images.

        Raises:
            InputError: a layer does not exist, a class has too few images, states are not finite, a covariance is
                singular or too large.
        """
        options: IDefenderOptions = self.options
        assert context.classifier is not None
        self._check_layers(context.classifier)
        observed = _tensors(context.observed("states", "train"))
        states, labels = self._states(observed).numpy(), context.train.labels
        if options.fit_on == "correct":
            right = observed[LOGITS].argmax(1).numpy() == labels
            states, labels = states[right], labels[right]
        rejected = {"id-95": 0.05, "id-99": 0.01, "fpr": context.false_positive_rate}[options.threshold]
        self.mixtures = fit_class_mixtures(
            states,
            labels,
            context.train.class_names,
            options,
            rejected=rejected,
            rng=context.rng,
            progress=context.progress,
        ).to(self.device)
        self._compare(rejected, context)

    def _compare(self, rejected: float, context: FitContext) -> None:
        """Warn where validation images are rejected far more often than the training images that set the thresholds."""
        observed = _tensors(context.observed("states", "val"), self.device)
        label = observed[LOGITS].argmax(1)
        score = self._score(self.mixtures.log_likelihood(self._states(observed), label), label)
        found, count = float((score > 0).double().mean()), len(score)
        if found > 2 * rejected and found > rejected + 3 * (rejected * (1 - rejected) / count) ** 0.5:
            context.progress.warn(
                f"i-defender: thresholds that reject {rejected:.0%} of the training images reject {found:.0%} of the "
                "validation images: the mixtures have learned single images. Give more images per class, a larger "
                "`regularization`, fewer `components`, `pca` or `covariance: diag`; or judge with `threshold: fpr`."
            )

    def save(self, folder: Path) -> None:
        """Write the mixtures and thresholds."""
        self.mixtures.save(folder)

    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""
        self.mixtures = ClassMixtures.load(folder).to(self.device)

    def judge(self, batch: Batch) -> Verdict:
        """Score the hidden states; flag them by Eq. 5 unless the host sets the threshold."""
        label = batch.logits.argmax(1)
        likelihood = self.mixtures.log_likelihood(self._states(batch.observed("states")), label)
        score = self._score(likelihood, label)
        return Verdict(
            label=label,
            score=score,
            flagged=None if self.options.threshold == "fpr" else score > 0,
            details={"log_likelihood": likelihood},
        )

    def detector_loss(self, x: Tensor) -> Tensor:
        """Return the score (N,) of images (N, C, H, W), differentiable: it falls when the detector is evaded.

        The predicted class chooses the mixture and is constant to the gradient.
        """
        seen = self.classifier.features(x, self._named_layers)
        label = seen[LOGITS].detach().argmax(1)
        return self._score(self.mixtures.log_likelihood(self._states(seen), label), label).to(x.dtype)

    def _score(self, likelihood: Tensor, label: Tensor) -> Tensor:
        margin = self.mixtures.thresholds[label] - likelihood
        return margin if self.options.score == "margin" else margin / self.mixtures.spreads[label]

    @property
    def _named_layers(self) -> tuple[str, ...]:
        return tuple(layer for layer in self.options.layers if layer != LOGITS)

    def _check_layers(self, classifier: Classifier) -> None:
        for layer in self._named_layers:
            if layer not in classifier.layers:
                raise InputError(f"i-defender: {unknown_name('layer', layer, [*classifier.layers, LOGITS])}")

    def _states(self, observed: Mapping[str, Tensor]) -> Tensor:
        """Return the modelled states (N, D) of observed ones (N, ...), joined in the order of the option."""

        def flat(state: Tensor) -> Tensor:
            pooled = state.dim() == 4 and self.options.positions == "mean"
            return state.mean(dim=(2, 3)) if pooled else state.flatten(1)

        return torch.cat([flat(observed[layer]) for layer in self.options.layers], 1)


def _tensors(observed: Mapping[str, np.ndarray], device: torch.device | None = None) -> dict[str, Tensor]:
    return {name: torch.from_numpy(array).to(device) for name, array in observed.items()}
