"""Verdicts: asked for on copies, checked against the contract, and compared with others on the same images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from benchmark.defense import (
    NO_LABEL,
    Batch,
    Defense,
    Verdict,
)
from benchmark.errors import TaskError
from benchmark.isolation.objects import unchanged
from benchmark.isolation.process import IsolationError
from benchmark.randomness import Rng
from benchmark.store.arrays import ArrayReader
from benchmark.tasks.checks import finite, which
from benchmark.tasks.workshop import JUDGE_BATCH

AGAIN = 8
"""Images that are judged again, or before and after `save`."""
AGAIN_ALONE = 4
"""Of these, how many are judged alone; so many are observed alone."""
VERDICT = ("label", "score", "flagged", "label_if_flagged")
SCORE_TOLERANCE = 1e-2
"""Scores that differ by less than this share of their spread are equal: sums in another order and TF32 convolutions
stay below it in deep networks; a score that borrows less from others moves an area by as little."""


def verdict_on(
    defense: Defense,
    x: Tensor,
    logits: Tensor | None,
    observed: dict[str, dict[str, Tensor]],
    rng: Rng,
    first: int,
) -> Verdict:
    """Return what the defense says about a batch that it cannot spoil for the next judgement."""
    handed = Batch(
        x.clone(),
        defense,
        rng,
        None if logits is None else logits.clone(),
        {name: {part: array.clone() for part, array in arrays.items()} for name, arrays in observed.items()},
    )
    own = {"x": (handed.x, x)}
    if logits is not None:
        own["logits"] = (handed.logits, logits)
    for name, arrays in observed.items():
        own |= {f"observed {name!r} {part}": (handed.observed(name)[part], array) for part, array in arrays.items()}
    rng.spawn("globals").seed_globals()
    with torch.no_grad():
        verdict = checked(defense.judge(handed), x, defense, first)
    spoilt = [name for name, (theirs, ours) in own.items() if not unchanged(theirs, ours)]
    if spoilt:
        raise IsolationError(f"judge wrote into the batch that it was handed ({', '.join(spoilt)}): clone() first")
    return verdict


def checked(verdict: Any, x: Tensor, defense: Defense, first: int) -> Verdict:
    """Refuse a verdict that is not what the contract asks for.

    Raises:
        TaskError: what is wrong.
    """
    if not isinstance(verdict, Verdict):
        raise TaskError(f"judge returned {type(verdict).__name__} instead of a Verdict")
    count = x.shape[0]
    for name in ("label", "score", "flagged", "label_if_flagged"):
        value = getattr(verdict, name)
        if value is not None and (not isinstance(value, Tensor) or value.shape != (count,)):
            found = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise TaskError(f"judge returned a {name} of {found} instead of a tensor of shape ({count},)")
    for label in (verdict.label, verdict.label_if_flagged):
        if label is None:
            continue
        if label.is_floating_point() or label.dtype == torch.bool:
            raise TaskError(f"judge returned {label.dtype} labels instead of class indices")
        classes = len(defense.class_names)
        wrong = ((label < 0) & (label != NO_LABEL)) | (label >= classes)
        if wrong.any():
            raise TaskError(
                f"judge returned a label outside 0 to {classes - 1} (or {NO_LABEL}, no answer) for "
                f"{which(wrong, first)}"
            )
    if verdict.label_if_flagged is not None and verdict.flagged is None and verdict.score is None:
        raise TaskError("judge returned label_if_flagged, and neither flags nor a score by which the host could flag")
    if verdict.score is not None:
        if not defense.gives_scores:
            raise TaskError("judge returned a score, but `gives_scores` is False: set it True in the defense")
        finite(verdict.score, "the score", first)
    if verdict.flagged is not None and verdict.flagged.dtype != torch.bool:
        raise TaskError(f"judge returned {verdict.flagged.dtype} flags instead of booleans")
    return verdict


def answers_of(verdicts: Sequence[Verdict]) -> dict[str, Tensor]:
    """Return what R verdicts say on N images: label, and the rest where there is any, (N, R)."""
    found = {name: [getattr(verdict, name) for verdict in verdicts] for name in VERDICT}
    return {name: torch.stack(values, 1) for name, values in found.items() if values[0] is not None}


def disagreements(
    before: dict[str, Tensor], after: dict[str, Tensor], spread: float | None = None, randomised: bool = False
) -> str:
    """Return how many answers (N, R) on the same images differ, in words; an empty text where they agree.

    One label (or flag) of eight may differ: an image on the very boundary goes either way with the last bit of a sum.
    Of randomised defenses only the mean score is compared, with six standard errors of slack.
    """
    if set(before) != set(after):
        return f"{', '.join(sorted(set(before) ^ set(after)))} given for one and not for the other"
    count = len(before["label"])
    found = []
    for name in before:
        one, other = before[name].cpu().double(), after[name].cpu().double()
        if name == "score":
            slack = SCORE_TOLERANCE * (float(one.max() - one.min()) if spread is None else spread) + 1e-5 * one.abs()
            if randomised and one.shape[1] > 1:
                slack = slack.mean(1) + 6 * ((one.var(1) + other.var(1)) / one.shape[1]).sqrt()
                one, other = one.mean(1), other.mean(1)
            wrong, allowed = int((((one - other).abs() > slack).reshape(count, -1)).any(1).sum()), 0
            if randomised:
                wrong, allowed = wrong if one.dim() == 1 else 0, count // 2
        elif randomised:
            continue
        else:
            wrong, allowed = int((one != other).any(1).sum()), count // 8
        if wrong > allowed:
            found.append(f"another {name} for {wrong}")
    return ", ".join(found)


def spread_of(reader: ArrayReader, name: str) -> float:
    """Return how far the highest value of an array lies above its lowest; it may be larger than the memory."""
    ends: list[float] = []
    for start in range(0, len(reader), JUDGE_BATCH):
        part = reader.read(start, start + JUDGE_BATCH, [name])[name]
        if part.size:
            ends += [float(part.min()), float(part.max())]
    return max(ends) - min(ends) if ends else 0.0
