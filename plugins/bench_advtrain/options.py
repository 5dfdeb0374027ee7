"""Options of adversarial training; imports no torch, so that suites are validated fast."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_serializer

from benchmark.options import CraftingOptions, TrainOptions


class AdversarialTrainingOptions(CraftingOptions):
    """Options of adversarial training."""

    mix: float = Field(0.0, ge=0, le=1)
    """Share of the clean loss: 0 trains on adversarial examples alone, 0.5 on clean and adversarial alike."""

    crafting_mode: Literal["eval", "train"] = "eval"
    """Mode of the network while examples are crafted; neither moves the statistics of batch normalisation."""

    validation: CraftingOptions | None = None
    """Attack on the validation images where the recipe selects the best epoch; unless given it is the
    training attack, at the upper end of its interval."""

    init: Literal["scratch", "model"] = "scratch"
    """Begin with the weights that the model's own training begins with (`scratch`) or ends with (`model`)."""

    train: TrainOptions | None = None
    """What differs from the model's own training recipe, for example `{epochs: 30}`; the rest stays as there.
    `select: best` keeps the epoch with the best mean of clean and adversarial validation accuracy."""

    @field_serializer("train")
    def _only_what_was_given(self, train: TrainOptions | None) -> dict[str, Any] | None:
        # A default of TrainOptions written out here would override the model's recipe when it is read again.
        return None if train is None else train.model_dump(mode="json", exclude_unset=True)

    def recipe(self, own: TrainOptions | None) -> TrainOptions | None:
        """Return the model's `own` recipe with what `train` changes; None where there is neither."""
        if self.train is None or own is None:
            return own if self.train is None else self.train
        changes = {name: getattr(self.train, name) for name in self.train.model_fields_set}
        return own.model_copy(update=changes)
