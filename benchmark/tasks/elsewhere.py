"""Judgements by a process in which no plugin has worked: they show what one has left behind in this one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmark.dataset import Split
from benchmark.isolation.process import IsolationError
from benchmark.plan.task import Fit
from benchmark.randomness import Rng
from benchmark.tasks.verdicts import answers_of, verdict_on
from benchmark.tasks.workshop import Workshop


@dataclass(frozen=True)
class Question:
    """What another process is asked to judge.

    Attributes:
        fit: key of the task that fitted the defense.
        folder: what the fit saved.
        data: of the data set that it learnt from.
        x: (N, C, H, W), the images.
        logits: (N, K) of the deployed classifier, where they are known.
        observed: arrays (N, ...) by name and part, as far as they are known.
        rng: spawned for each repeat.
        repeats: how often.
    """

    fit: str
    folder: Path
    data: NamesOnly
    x: np.ndarray
    logits: np.ndarray | None
    observed: dict[str, dict[str, np.ndarray]]
    rng: Rng
    repeats: int


class NamesOnly(Split):
    """What is needed of a data set to load what was learnt from it."""

    def __init__(self, class_names: tuple[str, ...], image_shape: tuple[int, int, int]) -> None:
        self.class_names, self.image_shape = class_names, image_shape
        self.labels = np.empty(0, dtype=np.int64)

    def images(self, indices: Sequence[int]) -> Tensor:
        """Refuse: there are none."""
        raise IndexError("load and judge have no access to the data set")


def ask_elsewhere(
    shop: Workshop,
    fit: str,
    folder: Path,
    data: Split,
    x: Tensor,
    logits: Tensor | None,
    observed: dict[str, dict[str, Tensor]],
    rng: Rng,
    repeats: int,
) -> dict[str, Tensor]:
    """Return what a process in which no plugin has worked says about images, by what a fit saved in `folder`.

    Raises:
        UnansweredError: there is none, or it took too long.
        TaskError: what went wrong there.
    """
    rows = {name: {part: array.cpu().numpy() for part, array in rows.items()} for name, rows in observed.items()}
    names = NamesOnly(data.class_names, data.image_shape)
    known = None if logits is None else logits.cpu().numpy()
    answers = shop.bystander.ask(Question(fit, folder, names, x.cpu().numpy(), known, rows, rng, repeats))
    return {name: torch.from_numpy(array) for name, array in answers.items()}


def judged_elsewhere(shop: Workshop, question: Question) -> dict[str, np.ndarray]:
    """Load what a fit has saved so far, and judge; on the CPU, since a fork may not use a GPU."""
    shop.device = torch.device("cpu")
    torch.set_num_threads(1)
    spec = shop.tasks[question.fit].of(Fit)
    shop.put(spec.dataset.label, "train", question.data)
    defense = shop.loaded(spec, question.folder)
    x = torch.from_numpy(question.x)
    logits = None if question.logits is None else torch.from_numpy(question.logits)
    observed = {
        name: {part: torch.from_numpy(array) for part, array in rows.items()}
        for name, rows in question.observed.items()
    }
    verdicts = [
        verdict_on(defense, x, logits, observed, question.rng.spawn(repeat), 0) for repeat in range(question.repeats)
    ]
    changed = shop.take_back()
    if changed:
        raise IsolationError(f"the defense changed {changed}")
    return {name: array.numpy() for name, array in answers_of(verdicts).items()}
