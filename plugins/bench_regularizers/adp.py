"""ADP: an ensemble whose members err in different directions.

Pang, Xu, Du, Chen, Zhu, "Improving Adversarial Robustness via Promoting Ensemble Diversity", ICML 2019: Eq. 2 (the
diversity), Eq. 3 (the regulariser), Eq. 5 (the loss).
"""

from __future__ import annotations

import copy
import math
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from bench_regularizers.options import AdpOptions
from benchmark import (
    Classifier,
    FitContext,
    InputError,
    Objective,
    Passes,
    PublishedAttack,
    Rng,
    Setting,
    TrainedHardener,
    TrainOptions,
    passes,
)

TINY = 1e-6
"""Added to the diagonal before the determinant is taken, as in the authors' code: equal members would have log 0."""


class Ensemble(nn.Module):
    """The mean of the members' probabilities, as logarithms."""

    def __init__(self, members: list[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logarithm (N, K) of the mean probability: logits whose softmax is the ensemble's answer."""
        log_probabilities = torch.stack([member(x).log_softmax(1) for member in self.members])
        answer = log_probabilities.logsumexp(0) - math.log(len(self.members))
        passes.count(len(x) * (len(self.members) - 1), answer)  # the classifier around counts the first
        return answer


def log_diversity(probabilities: Tensor, y: Tensor) -> Tensor:
    """Return log ED (N,): the log determinant of the Gram matrix of the members' answers without the true class, Eq. 2.

    Args:
        probabilities: (M, N, K) of M members.
        y: (N,) true classes.
    """
    members, count, classes = probabilities.shape
    others = torch.ones(count, classes, dtype=torch.bool, device=y.device).scatter(1, y[:, None], False)
    wrong = probabilities[:, others].view(members, count, classes - 1).transpose(0, 1)
    unit = normalize(wrong, dim=2)
    gram = unit @ unit.transpose(1, 2) + TINY * torch.eye(members, device=y.device)
    return torch.logdet(gram)


class AdpObjective(Objective):
    """The members' cross-entropies, less the entropy of the ensemble's answer and the logarithm of the diversity."""

    def __init__(self, options: AdpOptions, recipe: TrainOptions) -> None:
        super().__init__(recipe.label_smoothing)
        self._options = options

    def loss(self, classifier: Classifier, x: Tensor, y: Tensor, rng: Rng) -> Tensor:
        """Return the mean loss of a batch (Eq. 5)."""
        names = [f"members.{number}" for number in range(self._options.members)]
        states = classifier.features(x, names)
        logits = torch.stack([states[name] for name in names])
        fit = sum(cross_entropy(one, y, label_smoothing=self.label_smoothing) for one in logits)
        together = states["logits"]  # logarithms of the mean probability
        entropy = -(together.exp() * together).sum(1).mean()
        diversity = log_diversity(logits.softmax(2), y).mean()
        return fit - self._options.entropy * entropy - self._options.diversity * diversity


class Adp(TrainedHardener):
    """An ensemble trained by `AdpObjective`."""

    Options = AdpOptions
    published_attacks = (PublishedAttack("Tramèr et al. 2020, arXiv:2002.08347", None, "CIFAR-10, linf 0.01"),)

    @property
    def ensemble_size(self) -> int:
        """The members."""
        members: int = self.options.members
        return members

    def check_setting(self, setting: Setting) -> None:
        """Refuse fewer wrong classes than members: their answers would be linearly dependent."""
        super().check_setting(setting)
        members, classes = self.options.members, len(setting.data.class_names)
        if classes <= members:
            raise InputError(
                f"adp: {members} members can err differently among at least {members + 1} classes; this data set has "
                f"{classes}. Set fewer `members`."
            )

    def check(self) -> None:
        """Refuse to begin with the trained model: the members would all be the same."""
        if self.options.init == "model":
            raise InputError("adp: init: model would begin with equal members; use init: scratch.")

    def initial(self, context: FitContext) -> Classifier:
        """Return the ensemble of untrained networks."""
        rng = context.rng.spawn("initial weights")
        made = [context.new_classifier(rng.spawn(number)) for number in range(self.options.members)]
        made[0].network = Ensemble([one.network for one in made])
        return made[0]

    def objective(self, context: FitContext, classifier: Classifier, recipe: TrainOptions) -> Objective:
        """Return the loss."""
        return AdpObjective(self.options, recipe)

    def load(self, folder: Path) -> None:
        """Read the weights into copies of the untrained network that the host has set."""
        network = self.classifier.network
        self.classifier.network = Ensemble([copy.deepcopy(network) for _ in range(self.options.members)])
        super().load(folder)

    def passes(self, train: int, val: int, recipe: TrainOptions | None) -> Passes | None:
        """Return the passes of all epochs, through every member."""
        recipe = self.options.recipe(recipe)
        if recipe is None:
            return None
        epochs = recipe.epochs * self.options.members
        return Passes(epochs * (train + val), epochs * train)
