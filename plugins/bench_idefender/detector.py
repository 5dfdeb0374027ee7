"""The detector of I-defender.

Zheng and Hong, "Robust Detection of Adversarial Attacks by Modeling the Intrinsic Properties of Deep Neural Networks",
NeurIPS 2018, section 3, Eq. 4 and 5.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from bench_idefender.mixtures import ClassMixtures, check_sizes
from bench_idefender.options import IDefenderOptions
from bench_idefender.projection import Projection
from benchmark import LOGITS, STATES, Batch, ClassLikelihoods, FitContext, Setting, StateDetector, Verdict, percent


class IDefender(StateDetector):
    """Suspects images whose hidden state is unlikely for the class that the classifier gives them.

    The score is log TH_c - log p(H(x) | c) for the predicted class c, in nats (or in standard deviations of the class's
    training log-likelihoods): above 0 where Eq. 5 rejects. The label is the classifier's.
    """

    name = "i-defender"
    Options = IDefenderOptions
    libraries = ("bench_idefender.fitting",)
    mixtures: ClassMixtures
    projection: Projection

    def check_setting(self, setting: Setting) -> None:
        """Look whether each class has enough training images, and whether the covariances are not too large.

        Raises:
            InputError: they do not suffice.
        """
        seen = setting.states(self._named_layers)
        dimensions = None if seen is None else self._states(seen).shape[1]
        check_sizes(setting.data.counts["train"], dimensions, setting.data.class_names, self.options)

    def fit(self, context: FitContext) -> None:
        """Fit a mixture and a threshold per class on the states of the training images.

        Raises:
            InputError: a layer does not exist, a class has too few images, states are not finite, a covariance is
                singular or too large.
        """
        from bench_idefender.fitting import fit_class_mixtures

        options: IDefenderOptions = self.options
        assert context.classifier is not None
        self.check_layers(context.classifier)
        observed = self.pooled(context, "train")
        modelled, labels = self._states(observed), context.train.labels
        states = modelled.numpy()
        if options.fit_on == "correct":
            right = observed[LOGITS].argmax(1).numpy() == labels
            states, labels = states[right], labels[right]
        # With `fpr` the host sets a threshold on the margin to the paper's own class thresholds.
        rejected = {"id-95": 0.05, "id-99": 0.01, "fpr": 0.05}[options.threshold]
        self.mixtures = fit_class_mixtures(
            states,
            labels,
            context.train.class_names,
            options,
            rejected=rejected,
            rng=context.rng,
            progress=context.progress,
        ).to(self.device)
        self.projection = Projection.of(modelled, context.rng.spawn("projection")).to(self.device)
        if options.threshold != "fpr":
            self._compare(rejected, context)

    def _compare(self, rejected: float, context: FitContext) -> None:
        """Warn where validation images are rejected far more often than the training images that set the thresholds."""
        observed = {name: state.to(self.device) for name, state in self.pooled(context, "val").items()}
        score = self.suspicion(self.states(observed), observed[LOGITS])
        found, count = float((score > 0).double().mean()), len(score)
        if found > 2 * rejected and found > rejected + 3 * (rejected * (1 - rejected) / count) ** 0.5:
            context.progress.warn(
                f"i-defender: thresholds that reject {percent(rejected)} of the training images reject "
                f"{percent(found)} of the validation images: the mixtures have learned single images. Give more images "
                "per class, a larger `regularization`, fewer `components`, `pca` or `covariance: diag`; or judge with "
                "`threshold: fpr`."
            )

    def save(self, folder: Path) -> None:
        """Write the mixtures with their thresholds, and the projection."""
        self.mixtures.save(folder)
        self.projection.save(folder)

    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""
        self.mixtures = ClassMixtures.load(folder).to(self.device)
        self.projection = Projection.load(folder).to(self.device)

    def judge(self, batch: Batch) -> Verdict:
        """Score the hidden states; flag them by Eq. 5 unless the host sets the threshold.

        Details: the log-likelihood, and what Figure 1 draws (`projection`, `unit`).
        """
        label, states = batch.logits.argmax(1), self._states(batch.observed(STATES))
        likelihood = self.mixtures.log_likelihood(states, label)
        score = self._score(likelihood, label)
        return Verdict(
            label=label,
            score=score,
            flagged=None if self.options.threshold == "fpr" else score > 0,
            details={"log_likelihood": likelihood, **self.projection.details(states)},
        )

    def suspicion(self, states: list[Tensor], logits: Tensor) -> Tensor:
        """Return the score (N,), differentiable in the states: the predicted class only chooses the mixture."""
        label = logits.detach().argmax(1)
        return self._score(self.mixtures.log_likelihood(torch.cat(states, 1), label), label)

    def class_suspicions(self, x: Tensor) -> Tensor:
        """Return the score (N, C) of images (N, C, H, W), were they given each class, differentiable."""
        seen = self.classifier.features(x, self._named_layers)
        margins = self.mixtures.thresholds - self.mixtures.log_likelihoods(self._states(seen))
        return margins if self.options.score == "margin" else margins / self.mixtures.spreads

    def class_likelihoods(self, x: Tensor) -> ClassLikelihoods:
        """Return log-likelihoods (N, C) and thresholds (C,) of Eq. 5 for images (N, C, H, W), differentiable."""
        seen = self.classifier.features(x, self._named_layers)
        likelihoods = self.mixtures.log_likelihoods(self._states(seen))
        return ClassLikelihoods(likelihoods, self.mixtures.thresholds, seen[LOGITS])

    def _score(self, likelihood: Tensor, label: Tensor) -> Tensor:
        margin = self.mixtures.thresholds[label] - likelihood
        return margin if self.options.score == "margin" else margin / self.mixtures.spreads[label]

    def _states(self, observed: Mapping[str, Tensor]) -> Tensor:
        """Return the modelled states (N, D) of observed ones (N, ...), joined in the order of the option."""
        return torch.cat(self.states(observed), 1)
