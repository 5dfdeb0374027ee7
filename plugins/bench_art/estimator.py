"""A victim as an ART classifier."""

from __future__ import annotations

import contextlib
import hashlib
from typing import Any

import numpy as np
import torch
from art.estimators.classification import PyTorchClassifier
from torch import Tensor, nn

from benchmark import Best, Victim

REMEMBERED = 20_000
"""Images whose scores are kept; a few dozen bytes and one row of scores each."""


class Estimator(PyTorchClassifier):
    """ART's classifier around a victim, without the passes that ART makes twice.

    The loss is summed over the batch, not averaged: the steps of an image must not depend on how many are attacked
    beside it.

    Args:
        victim: what the attacker holds.
        loss: with a `reduction`, as torch's losses have it; cross-entropy unless given.
    """

    def __init__(self, victim: Victim, loss: nn.Module | None = None) -> None:
        on_gpu = victim.device.type == "cuda"
        # ART moves the model to the current CUDA device.
        with torch.cuda.device(victim.device) if on_gpu else contextlib.nullcontext():
            super().__init__(
                victim.classifier,
                loss or nn.CrossEntropyLoss(reduction="sum"),
                victim.image_shape,
                victim.num_classes,
                clip_values=(0.0, 1.0),
                preprocessing=None,
                device_type="gpu" if on_gpu else "cpu",
            )
        self._scores: dict[bytes, np.ndarray] = {}

    def predict(self, x: np.ndarray, batch_size: int = 128, training_mode: bool = False, **kwargs: Any) -> np.ndarray:
        """Return logits (N, K) of images (N, C, H, W); images seen before cost no pass.

        Query attacks ask for the scores of the same images several times per step.
        """
        x = np.ascontiguousarray(x, dtype=np.float32)
        if len(self._scores) > REMEMBERED:
            self._scores.clear()
        keys = [hashlib.blake2b(image, digest_size=16).digest() for image in x]
        new = list({key: index for index, key in enumerate(keys) if key not in self._scores}.items())
        for start in range(0, len(new), batch_size):
            part = new[start : start + batch_size]
            with torch.no_grad():
                images = torch.from_numpy(x[[index for _, index in part]]).to(self.device)
                scores = self.model(images).float().cpu().numpy()
            self._scores.update(zip((key for key, _ in part), scores, strict=True))
        return np.stack([self._scores[key] for key in keys])

    def class_gradient(
        self, x: np.ndarray, label: Any = None, training_mode: bool = False, **kwargs: Any
    ) -> np.ndarray:
        """Return gradients of logits, (N, K, C, H, W), or (N, 1, C, H, W) for one `label` for all or for each image."""
        x = np.ascontiguousarray(x, dtype=np.float32)
        if label is None or np.ndim(label) == 0:
            gradients: np.ndarray = super().class_gradient(x, label, training_mode, **kwargs)
            return gradients
        # One backward pass for all labels, where ART makes one over the whole batch for each class among them.
        chosen = torch.as_tensor(np.asarray(label), dtype=torch.int64, device=self.device)
        point = torch.from_numpy(x).to(self.device).requires_grad_()
        (gradient,) = torch.autograd.grad(self.model(point).gather(1, chosen[:, None]).sum(), point)
        return gradient.unsqueeze(1).cpu().numpy()


class Watched(Estimator):
    """An estimator that offers every point whose loss ART asks for to the best of its image; no pass more.

    Args:
        victim: what the attacker holds.
        loss: as for `Estimator`.
        best: receives the points.
        rows: (n,) which of its images stand in ART's batches, all of them in each.
    """

    def __init__(self, victim: Victim, loss: nn.Module | None, best: Best, rows: Tensor) -> None:
        super().__init__(victim, loss)
        self._best, self._rows = best, rows

    def compute_loss(self, x: np.ndarray, y: np.ndarray, reduction: str = "none", **kwargs: Any) -> np.ndarray:
        """Return the loss of each image (n,) for one-hot labels (n, K)."""
        images, labels = (torch.from_numpy(np.asarray(a, dtype=np.float32)).to(self.device) for a in (x, y))
        true = labels.argmax(1)
        with torch.no_grad():
            logits = self.model(images)
            self._loss.reduction, before = "none", self._loss.reduction
            loss = self._loss(logits, labels if isinstance(self._loss, DifferenceOfLogitsRatio) else true)
            self._loss.reduction = before
        self._best.offer(images, loss, logits.argmax(1) != true, self._rows)
        return loss.float().cpu().numpy()


class DifferenceOfLogitsRatio(nn.Module):
    """The negative DLR loss of Croce & Hein (2020), Eq. 6, to be increased; labels are one-hot (N, K).

    ART's own builds an (N, N) matrix to read its diagonal.
    """

    def __init__(self) -> None:
        super().__init__()
        self.reduction = "sum"

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the loss, reduced as `reduction` says (none, sum or mean)."""
        ordered = logits.sort(dim=1, descending=True).values
        true = labels.argmax(1, keepdim=True)
        rival = logits.scatter(1, true, -torch.inf).amax(1)
        loss = (rival - logits.gather(1, true).squeeze(1)) / (ordered[:, 0] - ordered[:, 2] + 1e-12)
        return loss if self.reduction == "none" else getattr(loss, self.reduction)()
