"""What detectors that look at the classifier's hidden states have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from torch import Tensor

from benchmark.defense import Batch, Defense, FitContext, Observation, Verdict
from benchmark.errors import InputError, unknown_name
from benchmark.model import Classifier, Passes
from benchmark.options import StateOptions, TrainOptions

LOGITS = "logits"
"""Name of the observation that holds the logits."""
STATES = "states"
"""Name of the observation that holds the hidden states."""


def flat_state(state: Tensor, positions: Literal["mean", "flatten"] = "mean") -> Tensor:
    """Return a hidden state (N, ...) as (N, D); `positions` says what becomes of one with positions (N, C, H, W)."""
    return state.mean(dim=(2, 3)) if state.dim() == 4 and positions == "mean" else state.flatten(1)


class StateDetector(Defense):
    """Suspects images by the classifier's hidden states; the label stays the classifier's.

    The author writes `name`, `fit`, `save`, `load` and `suspicion`. The states are extracted once per model and set of
    images for all detectors that name the same layers.
    """

    family = "detector"
    Options: ClassVar[type[StateOptions]] = StateOptions
    name: ClassVar[str]
    """What messages call the detector: the name that suites use."""

    @abstractmethod
    def suspicion(self, states: list[Tensor], logits: Tensor) -> Tensor:
        """Return the score (N,), differentiable where the method is.

        Args:
            states: (N, D) per layer, in the order of the option.
            logits: (N, num_classes) of the classifier.
        """

    def observations(self) -> dict[str, Observation]:
        """Ask for the states of clean training and validation images too; the logits come with them."""
        return {STATES: Observation(layers=self._named_layers, fit_splits=("train", "val"))}

    def passes(self, train: int, val: int, recipe: TrainOptions | None) -> Passes | None:
        """Return none: the states are extracted before, for all detectors that ask for them."""
        return Passes()

    def judge(self, batch: Batch) -> Verdict:
        """Score the states; the host flags."""
        score = self.suspicion(self.states(batch.observed(STATES)), batch.logits)
        return Verdict(label=batch.logits.argmax(1), score=score)

    def detector_loss(self, x: Tensor) -> Tensor:
        """Return the score (N,) of images (N, C, H, W), differentiable: it falls when the detector is evaded.

        The predicted class, where the score depends on it, is constant to the gradient.
        """
        seen = self.classifier.features(x, self._named_layers)
        return self.suspicion(self.states(seen), seen[LOGITS]).to(x.dtype)

    @property
    def _named_layers(self) -> tuple[str, ...]:
        return tuple(layer for layer in self.options.layers if layer != LOGITS)

    def check_layers(self, classifier: Classifier) -> None:
        """Refuse a layer that the classifier lacks.

        Raises:
            InputError: unknown name; near matches are listed.
        """
        for layer in self._named_layers:
            if layer not in classifier.layers:
                raise InputError(f"{self.name}: {unknown_name('layer', layer, [*classifier.layers, LOGITS])}")

    def states(self, observed: Mapping[str, Tensor]) -> list[Tensor]:
        """Return the states (N, D) per layer of observed ones (N, ...), in the order of the option."""

        return [flat_state(observed[layer], self.options.positions) for layer in self.options.layers]

    def pooled(
        self, context: FitContext, split: Literal["train", "val"], attack: str | None = None
    ) -> dict[str, Tensor]:
        """Return the states (N, D) of each layer, and the logits, of a split's images, in its order, on the CPU.

        States with positions are pooled as they are read: all of them at once would be gigabytes.
        """
        parts: dict[str, list[Tensor]] = {}
        for observed in context.observed_parts(STATES, split, attack):
            for layer in dict.fromkeys([*self.options.layers, LOGITS]):
                state = flat_state(torch.from_numpy(observed[layer]), self.options.positions)
                parts.setdefault(layer, []).append(state)
        return {layer: torch.cat(states) for layer, states in parts.items()}

    def clean_states(self, context: FitContext, split: Literal["train", "val"]) -> list[Tensor]:
        """Return the states (N, D) per layer of a clean split's images, in its order, on the CPU.

        Raises:
            InputError: a layer does not exist, or states are not finite.
        """
        assert context.classifier is not None
        self.check_layers(context.classifier)
        states = self.states(self.pooled(context, split))
        for layer, state in zip(self.options.layers, states):
            broken = int((~torch.isfinite(state)).any(1).sum())
            if broken:
                raise InputError(
                    f"{self.name}: the hidden states of {broken} of {len(state)} {split} images at layer {layer!r} are "
                    "not finite. The network has diverged: lower its learning rate, or name another layer."
                )
        return states
