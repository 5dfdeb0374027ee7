"""UnMask: images whose parts do not fit the class that the classifier gives them are flagged, and classified by parts.

Freitas, Chen, Wang, Chau: *UnMask: Adversarial Detection and Defense Through Robust Feature Alignment*, IEEE Big Data
2021, Algorithm 1. `alignment.py` says how the paper's contradictions are resolved and what it leaves open.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bench_unmask.alignment import (
    Alignment,
    align,
    best_proposals,
    flag,
    jaccard,
    log_odds,
    missing_parts,
    soft_jaccard,
)
from bench_unmask.class_parts import PAPER, ClassParts, class_parts_of, part_presence, read_class_parts
from bench_unmask.extractor.artifact import check_library
from bench_unmask.options import UnMaskDefenseOptions
from benchmark import (
    ArtifactRequest,
    Batch,
    Defense,
    FitContext,
    InputError,
    MicroBatches,
    Observation,
    Passes,
    Setting,
    TrainOptions,
    Verdict,
    batches,
)

STATE = "explanation.json"
SENSITIVITY_SCORES = tuple(round(0.05 * step, 2) for step in range(1, 20))
"""Part scores that `part_score_sensitivity` tries."""
SIMILARITY_SCALE = 10.0
"""Similarities lead by at most 1, logits by some ten: in the surrogate neither is to drown the other."""
M_MARGIN = 1.0
"""Logits by which the class that an attacker aims at is to win."""
_BATCH = 256


class UnMask(Defense):
    """Compares the parts that an extractor finds with those of the class that the classifier says.

    The score is Algorithm 1's distance d = 1 - JS(parts found, parts of the classifier's class), in [0, 1]. The label
    is the class whose parts are most similar to those found, for every image or for flagged ones.
    """

    family = "rectifier"
    Options = UnMaskDefenseOptions
    explanation: Explanation

    def artifacts(self) -> dict[str, ArtifactRequest]:
        """Ask for the part extractor K, trained once for all cells with the same part data."""
        options: UnMaskDefenseOptions = self.options
        return {"extractor": ArtifactRequest("part-extractor", options.extractor, dataset=options.parts_from)}

    def observations(self) -> dict[str, Observation]:
        """Ask for the parts that K finds; on validation images they set the threshold."""
        return {"parts": Observation(artifact="extractor", fit_splits=("val",))}

    def passes(self, train: int, val: int, recipe: TrainOptions | None) -> Passes | None:
        """Return the classification of the validation images; K has looked at them before."""
        return Passes(forward=val)

    def passes_per_answer(self) -> Passes:
        """Return one pass through M and one through K."""
        return Passes(2)

    def check(self) -> None:
        """Look whether the part extractor's library is installed, and read the class-part table, where one is named.

        Raises:
            MissingError: the library is not installed; the message says how to install it.
            InputError: the table is missing or no such table.
        """
        check_library(self.options.extractor)
        self._given_class_parts()

    def check_setting(self, setting: Setting) -> None:
        """Look whether V has all classes; a V that is learned is looked at when there is something to learn it from.

        Raises:
            InputError: V lacks a class; the message has the nearest name.
        """
        if (given := self._given_class_parts()) is not None:
            _select(given, setting.data.class_names)

    def fingerprint(self) -> str:
        """Return a digest of the class-part table, where the options name one."""
        given = self._given_class_parts()
        if given is None or given is PAPER:
            return ""
        return sha256(
            json.dumps({name: sorted(given[name]) for name in given.classes}, sort_keys=True).encode()
        ).hexdigest()

    def fit(self, context: FitContext) -> None:
        """Settle V, and measure how the part score matters, all on clean validation images.

        Raises:
            InputError: V lacks a class, or a class has no part that K knows.
        """
        options: UnMaskDefenseOptions = self.options
        parts: tuple[str, ...] = context.artifacts["extractor"].parts  # type: ignore[attr-defined]
        class_parts = self._class_parts(context)
        self._warn_of_unknown_parts(class_parts, parts, context)
        matrix = torch.from_numpy(class_parts.matrix(parts))
        scores, logits = torch.from_numpy(context.observed("parts", "val")["scores"]), _logits(context)
        labels = torch.from_numpy(context.val.labels)
        clean = align(scores, matrix, logits, options.part_score)
        threshold = None if options.threshold == "fpr" else float(options.threshold)
        self.explanation = Explanation(
            parts=parts,
            classes=self.class_names,
            matrix=matrix,
            source=class_parts.source,
            part_score=options.part_score,
            threshold=threshold,
            validation=self._measured(clean, logits, labels, threshold),
            part_score_sensitivity=[
                {"part_score": tried, **self._measured(align(scores, matrix, logits, tried), logits, labels)}
                for tried in SENSITIVITY_SCORES
            ],
        ).to(self.device)

    def save(self, folder: Path) -> None:
        """Write `explanation.json`."""
        self.explanation.save(folder / STATE)

    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""
        self.explanation = Explanation.load(folder / STATE).to(self.device)

    def judge(self, batch: Batch) -> Verdict:
        """Score and flag by the parts of the classifier's class, label by the most similar parts.

        With `threshold: fpr` the host flags.
        """
        about, seen = self.explanation, batch.observed("parts")
        aligned = align(seen["scores"], about.matrix, batch.logits, about.part_score)
        rectified = self._rectified(aligned, batch.logits)
        return Verdict(
            label=rectified if self.options.rectify == "always" else batch.logits.argmax(1),
            label_if_flagged=None if self.options.rectify == "always" else rectified,
            score=aligned.score,
            flagged=None if about.threshold is None else flag(aligned.score, about.threshold),
            details={
                "similarity": aligned.similarity.float(),
                "part_scores": seen["scores"],
                "part_boxes": seen["boxes"],
                "parts_tied": aligned.tied,
                "parts_unmatched": aligned.unmatched,
                "parts_none": ~aligned.found.any(1),
            },
        )

    def detector_loss(self, x: Tensor) -> Tensor:
        """Return 1 - similarity (N,) of the parts found with those of M's class, differentiable in the images."""
        label = self.classifier(x).argmax(1)
        return self.class_suspicions(x).gather(1, label[:, None]).squeeze(1)

    def class_suspicions(self, x: Tensor) -> Tensor:
        """Return 1 - similarity (N, C) of the parts found with those of each class, differentiable in the images.

        Jaccard's sets become degrees of presence (`alignment.log_odds`, `alignment.soft_jaccard`).
        """
        return 1 - self._soft_similarity(x)

    def aims(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the Jaccard similarity (N, C) of each class's parts with those of the true class `y` (N,)."""
        matrix = self.explanation.matrix
        return jaccard(matrix[y], matrix)

    def aimed_loss(self, x: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return what parts and M's logits lack (N,) for a class, and the logits of `surrogate`: one pass through K.

        Of the parts it is `alignment.missing_parts`, of M by how much the logit of another class is above that of the
        class, but for `M_MARGIN`.
        """
        extractor: Any = self.shared["extractor"]
        about, logits, (probabilities, image) = self.explanation, self.classifier(x), extractor.candidates(x)
        odds, wanted = log_odds(probabilities, about.part_score), about.matrix[target]
        best = best_proposals(odds, image, len(x), -torch.inf)
        others = logits.scatter(1, target[:, None], -torch.inf).amax(1)
        ahead = (others - logits.gather(1, target[:, None]).squeeze(1) + M_MARGIN).clamp_min(0)
        similarity = soft_jaccard(best.sigmoid(), about.matrix)
        return missing_parts(odds, image, wanted) + ahead, both_say(logits, similarity)

    def surrogate(self) -> nn.Module:
        """Return images to logits that are large for a class when classifier and parts both say it."""
        return _BothSay(self)

    def _soft_similarity(self, x: Tensor) -> Tensor:
        probabilities = self.shared["extractor"].probabilities(x)  # type: ignore[attr-defined]
        return soft_jaccard(log_odds(probabilities, self.explanation.part_score).sigmoid(), self.explanation.matrix)

    def _rectified(self, aligned: Alignment, logits: Tensor) -> Tensor:
        if self.options.unmatched == "classifier":
            return torch.where(aligned.unmatched, logits.argmax(1), aligned.rectified)
        return aligned.rectified

    # -- the class-part matrix ----------------------------------------------------------------------------------------

    def _given_class_parts(self) -> ClassParts | None:
        """Return the V that the options give, whole; None where it is learned."""
        name: str = self.options.class_parts
        if name == "learned":
            return None
        return PAPER if name == "paper" else read_class_parts(name)

    def _class_parts(self, context: FitContext) -> ClassParts:
        """Return V, a row per class of the classifier.

        A learned V comes from the images that K has learned from, or from the cell's own training images where those
        have no class per image or lack one of the classes.
        """
        given = self._given_class_parts()
        if given is not None:
            return _select(given, self.class_names)
        presence = context.artifacts["extractor"].presence  # type: ignore[attr-defined]
        if presence is None or not set(self.class_names) <= set(presence):
            presence = part_presence(context.train)
        return class_parts_of({name: presence[name] for name in self.class_names}, self.options.share)

    def _warn_of_unknown_parts(self, class_parts: ClassParts, parts: Sequence[str], context: FitContext) -> None:
        """Tell which parts of V are left out because K does not know them.

        Raises:
            InputError: a class has no other part.
        """
        unknown = [part for part in class_parts.vocabulary if part not in parts]
        for name in class_parts.classes:
            if class_parts[name].isdisjoint(parts):
                raise InputError(
                    f"unmask: class {name!r} has the parts {', '.join(sorted(class_parts[name]))} "
                    f"({class_parts.source}), and the extractor learned none of them, so that no image could ever "
                    f"match the class. The extractor knows: {', '.join(parts)}. Choose `parts_from` or `class_parts` "
                    "so that they share part names."
                )
        if unknown:
            context.progress.warn(
                f"unmask: parts of the class-part matrix ({class_parts.source}) that the extractor has not learned are "
                f"left out: {', '.join(unknown)}."
            )

    def _measured(
        self, aligned: Alignment, logits: Tensor, labels: Tensor, threshold: float | None = None
    ) -> dict[str, float]:
        """Return shares and means over clean images."""
        found = {
            "rectified_accuracy": self._rectified(aligned, logits) == labels,
            "similarity": 1 - aligned.score,
            "parts_found": aligned.found.sum(1),
            "parts_tied": aligned.tied,
            "parts_unmatched": aligned.unmatched,
            "parts_none": ~aligned.found.any(1),
        }
        if threshold is not None:
            found["flagged"] = flag(aligned.score, threshold)
        return {name: float(values.double().mean()) for name, values in found.items()}


class _BothSay(nn.Module):
    """The smaller of two margins, softly: by which M's logit of a class leads, and by which its similarity does."""

    def __init__(self, defense: UnMask) -> None:
        super().__init__()
        self.classifier = defense.classifier
        self._similarity = defense._soft_similarity

    def forward(self, x: Tensor) -> Tensor:
        return both_say(self.classifier(x), self._similarity(x))


def both_say(logits: Tensor, similarity: Tensor) -> Tensor:
    """Return logits (N, C) that are large for a class when M's logits (N, C) and the similarities (N, C) both are."""
    margins = torch.stack([_margins(logits), SIMILARITY_SCALE * _margins(similarity)])
    return -(-margins).logsumexp(0)


def _margins(values: Tensor) -> Tensor:
    """Return by how much each class's value (N, C) exceeds the largest of the others."""
    first, second = values.topk(2).values.unbind(1)
    leads = values == first[:, None]
    return values - torch.where(leads, second[:, None], first[:, None])


@dataclass(frozen=True)
class Explanation:
    """All that judging needs, and what the report shows beside it.

    Attributes:
        parts: (P) names of the parts that K looks for.
        classes: (C) names of the classes.
        matrix: (C, P) bool, V restricted to these parts.
        source: where V comes from.
        part_score: a part counts as found at this score or more.
        threshold: images are flagged at this score or more; None where the host flags.
        validation: means over the clean validation images: accuracy of the labels by parts, similarity with the
            classifier's class, parts found per image, shares of tied, unmatched, partless and (with a threshold)
            flagged images.
        part_score_sensitivity: the same at other part scores.
    """

    parts: tuple[str, ...]
    classes: tuple[str, ...]
    matrix: Tensor
    source: str
    part_score: float
    threshold: float | None
    validation: dict[str, float]
    part_score_sensitivity: list[dict[str, float]]

    def to(self, device: torch.device) -> Explanation:
        """Return it with the matrix on `device`."""
        return Explanation(**{**vars(self), "matrix": self.matrix.to(device)})

    def class_parts(self) -> ClassParts:
        """Return V."""
        rows = self.matrix.tolist()
        return ClassParts(
            {
                name: tuple(part for part, has in zip(self.parts, row, strict=True) if has)
                for name, row in zip(self.classes, rows, strict=True)
            },
            self.source,
        )

    def save(self, path: Path) -> None:
        """Write it as JSON, with V as rows of 0 and 1 and its overlap (the paper's Table II) beside it."""
        overlap = self.class_parts().overlap()
        written: dict[str, Any] = {
            **vars(self),
            "matrix": self.matrix.int().tolist(),
            "overlap": {"shared": overlap.shared, "unique": overlap.unique, "share": overlap.share},
        }
        path.write_text(json.dumps(written, indent=1), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Explanation:
        """Read what `save` wrote."""
        read = json.loads(path.read_text(encoding="utf-8"))
        del read["overlap"]
        return cls(
            **{
                **read,
                "parts": tuple(read["parts"]),
                "classes": tuple(read["classes"]),
                "matrix": torch.tensor(read["matrix"], dtype=torch.bool),
            }
        )


def _select(class_parts: ClassParts, class_names: Sequence[str]) -> ClassParts:
    try:
        return class_parts.select(class_names)
    except InputError as error:
        raise InputError(f"{error} Give a table that has it, or learn the parts by `class_parts: learned`.") from None


def _logits(context: FitContext) -> Tensor:
    """Return the classifier's logits (N, C) of the validation images."""
    assert context.classifier is not None
    classifier, memory, found = context.classifier, MicroBatches(context.progress), []
    with torch.no_grad():
        for x, _ in batches(context.val, np.arange(len(context.val)), _BATCH, context.device):

            def logits(part: slice, x: Tensor = x) -> Tensor:
                return classifier(x[part]).cpu()

            found += memory.run(len(x), logits)
    return torch.cat(found)
