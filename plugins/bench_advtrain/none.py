"""No defense: the classifier answers for itself."""

from __future__ import annotations

from benchmark import Batch, Defense, Passes, TrainOptions, Verdict


class NoDefense(Defense):
    """The undefended classifier, what every defense is compared with."""

    family = "none"

    def passes(self, train: int, val: int, recipe: TrainOptions | None) -> Passes:
        """Return no passes: there is nothing to fit."""
        return Passes()

    def judge(self, batch: Batch) -> Verdict:
        """Answer with the classifier's class."""
        return Verdict(label=batch.logits.argmax(1))
