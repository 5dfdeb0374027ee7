"""Robust feature alignment: parts that were found against parts that the classes have, and what follows from it.

Freitas, Chen, Wang, Chau: *UnMask: Adversarial Detection and Defense Through Robust Feature Alignment*, IEEE Big Data
2021, section III-B and Algorithm 1. Pure functions on tensors, no network, no loop over images.

Where the paper contradicts itself, this is what holds here:

- An image is flagged when its distance d = 1 - s reaches the threshold, d >= t, as Algorithm 1 has it and as the
  released code counts. The prose of step 3 calls d > t benign: that would flag the images whose parts fit best.
- The rectified class is the one whose parts are most similar to the parts *found*, argmax over c of JS(f_r, V[c]), as
  the prose of step 4 has it. Algorithm 1 prints argmin of JS(f_e, V[c]): f_e = V[prediction] is the expected set, whose
  most similar class is always the prediction itself and whose least similar class has nothing to do with the image.

What the paper leaves open:

- No part in common, an empty set of found parts included, is similarity 0 (not the 0 / 0 of two empty sets: a class
  has at least one part).
- Several classes equally similar (a *tie*): the class whose found parts have the greater sum of scores, which is what
  the extractor knows beyond the sets; then the class that the classifier itself finds most likely. The latter decides
  between classes of equal parts, such as the paper's bus and car, that no extractor can tell apart.
- An image *unmatched* by every class, since none of its found parts belongs to any: no class is more similar than
  another, so there is no answer (NO_LABEL), which counts as wrong, as the released code counts it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmark import NO_LABEL

_LEAST = 1e-6
"""Probabilities nearer to 0 or 1 count as this far from it: float32 would lose their gradient."""
PART_MARGIN = 1.0
"""Log odds by which a part that an attacker wants, or does not want, is to be on its side of the border."""
_NO_PROPOSAL = -60.0
"""Log odds of a part in an image without proposals: lower than any."""
_SCORE_STEPS = 2**20
"""Part scores are summed in steps of this fraction: sums of whole numbers do not depend on their order."""


@dataclass(frozen=True)
class Alignment:
    """How the parts found in N images fit the C classes.

    Attributes:
        similarity: (N, C) float64 in [0, 1], Jaccard similarity of the found parts and each class's parts.
        score: (N,) float64 in [0, 1], Algorithm 1's d: 1 - similarity with the parts of the classifier's class.
        rectified: (N,) int64, the most similar class, NO_LABEL where unmatched.
        found: (N, P) bool, the parts found.
        tied: (N,) bool, several classes are equally similar to the parts found, and more than 0.
        unmatched: (N,) bool, no part found belongs to any of the classes.
    """

    similarity: Tensor
    score: Tensor
    rectified: Tensor
    found: Tensor
    tied: Tensor
    unmatched: Tensor


def found_parts(part_scores: Tensor, part_score: float) -> Tensor:
    """Return which parts count as found: (N, P) bool, those with at least `part_score`.

    A score of 0 says that the part was not found, so it is not, whatever `part_score`.
    """
    return (part_scores >= part_score) & (part_scores > 0)


def jaccard(found: Tensor, matrix: Tensor) -> Tensor:
    """Return the Jaccard similarity (N, C) float64 of found parts (N, P) bool and class parts (C, P) bool.

    |found and class| / |found or class|; 0 where both are empty. Equal fractions are equal numbers: both counts are
    exact and the quotient is rounded once.
    """
    common, either = _overlap(found, matrix)
    return common / either.clamp(min=1)


def distance(found: Tensor, matrix: Tensor) -> Tensor:
    """Return 1 - Jaccard similarity (N, C) float64; 1 where both are empty.

    Counted, not subtracted: 1 of 10 parts that differ is 0.1, which a threshold of 0.1 meets, while 1 - 0.9 is less.
    """
    common, either = _overlap(found, matrix)
    return torch.where(either > 0, either - common, 1.0) / either.clamp(min=1)


def _overlap(found: Tensor, matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Return how many parts are in both and how many in either of found (N, P) and class parts (C, P): (N, C) each."""
    found, matrix = found.double(), matrix.double()
    common = found @ matrix.T
    return common, found.sum(1, keepdim=True) + matrix.sum(1) - common


def log_odds(probabilities: Tensor, part_score: float) -> Tensor:
    """Return the log odds (N, P) of probabilities over those of `part_score`: 0 where a part is just found.

    Differentiable. Their sigmoid is how present a part is, in (0, 1).
    """
    least, most = _LEAST, 1 - _LEAST
    border = min(max(part_score, least), most)
    return probabilities.clamp(least, most).logit() - math.log(border / (1 - border))


def best_proposals(values: Tensor, image: Tensor, images: int, least: float) -> Tensor:
    """Return the largest of each part's values (n, P) at the proposals of each image: (images, P), differentiable.

    Args:
        values: of all parts at every proposal.
        image: (n,) int64, the proposals' images.
        images: how many there are.
        least: no value is smaller; what an image without proposals gets.
    """
    best = values.new_full((images, values.shape[1]), least)
    return best.scatter_reduce(0, image[:, None].expand_as(values), values, "amax")


def missing_parts(odds: Tensor, image: Tensor, wanted: Tensor) -> Tensor:
    """Return how much is missing (N,) until the parts found are the parts wanted (N, P) bool, differentiable.

    The sum, over parts, of the log odds by which a wanted part is below the border at which it is found, or another one
    above it, each but for `PART_MARGIN`. Those of a part are the logarithm of the sum of its odds over all proposals of
    the image: a part is gone when all of them have lost it, and the best one alone would be followed by the next.
    Unlike the similarity's, the slope does not vanish at parts that are far from the border.

    Args:
        odds: (n, P), log odds of all parts at every proposal, 0 at the border.
        image: (n,) int64, the proposals' images.
        wanted: (N, P) bool.
    """
    largest = best_proposals(odds.detach(), image, len(wanted), _NO_PROPOSAL)
    total = odds.new_zeros(wanted.shape).scatter_add(0, image[:, None].expand_as(odds), (odds - largest[image]).exp())
    summed = largest + total.clamp_min(torch.finfo(odds.dtype).tiny).log()
    return (PART_MARGIN + torch.where(wanted, -summed, summed)).clamp_min(0).sum(1)


def soft_jaccard(presence: Tensor, matrix: Tensor) -> Tensor:
    """Return the Jaccard similarity (N, C) of parts present to degrees (N, P) and class parts (C, P), differentiable.

    Sum of minima over sum of maxima: `jaccard` where the degrees are 0 and 1.
    """
    matrix = matrix.to(presence.dtype)
    return presence @ matrix.T / (presence @ (1 - matrix).T + matrix.sum(1))


def align(part_scores: Tensor, matrix: Tensor, logits: Tensor, part_score: float) -> Alignment:
    """Compare what was found in N images with what C classes have, and with what the classifier says.

    Args:
        part_scores: (N, P) in [0, 1], best score of each part, 0 where it is not found.
        matrix: (C, P) bool, the class-part matrix V.
        logits: (N, C), the classifier's.
        part_score: a part counts as found at this score or more.
    """
    found = found_parts(part_scores, part_score)
    similarity = jaccard(found, matrix)
    largest = similarity.amax(1, keepdim=True)
    unmatched = largest.squeeze(1) == 0
    best = similarity == largest
    tied = (best.sum(1) > 1) & ~unmatched
    steps = (part_scores.double() * _SCORE_STEPS).round() * found
    support = (steps @ matrix.double().T).masked_fill(~best, -1)
    best = support == support.amax(1, keepdim=True)
    rectified = logits.masked_fill(~best, -torch.inf).argmax(1)
    return Alignment(
        similarity=similarity,
        score=distance(found, matrix).gather(1, logits.argmax(1, keepdim=True)).squeeze(1),
        rectified=rectified.masked_fill(unmatched, NO_LABEL),
        found=found,
        tied=tied,
        unmatched=unmatched,
    )


def flag(score: Tensor, threshold: float) -> Tensor:
    """Return which images Algorithm 1 calls adversarial (z = -1): (N,) bool, d >= t."""
    return score >= threshold
