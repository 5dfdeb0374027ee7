"""Hendrycks and Gimpel, "A Baseline for Detecting Misclassified and Out-of-Distribution Examples", ICLR 2017."""

from benchmark import Batch, Defense, Verdict


class MaxSoftmax(Defense):
    """Suspects an image when the classifier is unsure; the host finds the threshold on clean images."""

    family = "detector"

    def judge(self, batch: Batch) -> Verdict:
        confidence, label = batch.logits.softmax(1).max(1)
        return Verdict(label=label, score=1 - confidence)
