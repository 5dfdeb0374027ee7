"""Options of adversarial training; imports no torch, so that suites are validated fast."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import (
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    ValidationInfo,
    field_serializer,
    field_validator,
)
from pydantic_core import PydanticCustomError, core_schema

from benchmark.options import Budget, Options, TrainOptions


def in_255ths(size: Budget) -> str:
    """Return the question whether `size` was meant in steps of 8-bit pixels, or nothing where it was not."""
    return f" Did you mean '{size}/255'?" if size >= 1 and "/" not in str(size) else ""


@dataclass(frozen=True)
class BudgetRange:
    """A fixed budget (`8/255`), or an interval (`[0.02, 0.05]`) from which budgets are drawn uniformly."""

    low: Budget
    high: Budget

    @classmethod
    def _validate(cls, value: Any) -> BudgetRange:
        if isinstance(value, cls):
            return value
        ends = value if isinstance(value, list | tuple) else (value, value)
        if len(ends) != 2 or any(type(end) not in (int, float, str, Budget) for end in ends):
            raise PydanticCustomError(
                "budget_range", "write a budget such as 8/255, or an interval such as [0.02, 0.05]"
            )
        try:
            low, high = Budget(ends[0]), Budget(ends[1])
        except ValueError as error:
            raise PydanticCustomError("budget_range", "{reason}", {"reason": str(error)}) from None
        if low > high:
            raise PydanticCustomError(
                "budget_range",
                "the interval [{low}, {high}] is upside down: write the smaller end first",
                {"low": str(low), "high": str(high)},
            )
        return cls(low, high)

    def _serialize(self) -> str | list[str]:
        return str(self.low) if self.low == self.high else [str(self.low), str(self.high)]

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls._validate, serialization=core_schema.plain_serializer_function_ser_schema(cls._serialize)
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        budget = Budget.__get_pydantic_json_schema__(schema, handler)["anyOf"]
        interval = {"type": "array", "items": {"anyOf": budget}, "minItems": 2, "maxItems": 2}
        return {
            "anyOf": [*budget, interval],
            "description": "size in pixel units of [0, 1] such as 8/255, or an interval such as [0.02, 0.05]",
        }


class CraftingOptions(Options):
    """How adversarial examples are made while a network is trained or validated."""

    attack: Literal["pgd", "fgsm"] = "pgd"
    """pgd (Madry et al. 2018), or fgsm (Goodfellow et al. 2015): one step."""

    norm: Literal["linf", "l2"] = "linf"
    """Norm of the budget and of the steps."""

    eps: BudgetRange
    """Budget in pixel units of [0, 1], `8/255`, or an interval, `[0.02, 0.05]`: a uniform draw per batch."""

    steps: int | None = Field(None, ge=1)
    """Steps of pgd, 7 unless given; fgsm takes one."""

    step: Budget | None = None
    """Size of a step in pixel units of [0, 1], the same for every eps."""

    step_ratio: float | None = Field(None, gt=0)
    """Size of a step as a share of eps, which a drawn eps takes along: 2.5/steps unless given, 1 for fgsm."""

    random_start: bool | None = None
    """Begin at a uniform draw from the ball: true for pgd and false for fgsm, unless given."""

    @field_validator("eps")
    @classmethod
    def _eps_has_unit_sense(cls, eps: BudgetRange, info: ValidationInfo) -> BudgetRange:
        if info.data.get("norm") == "linf" and eps.high > 1:
            raise PydanticCustomError(
                "eps_unit",
                "eps {eps} makes no sense for linf on pixels in [0, 1]: the largest is 1.{hint}",
                {"eps": str(eps.high), "hint": in_255ths(eps.high)},
            )
        return eps

    @field_validator("steps")
    @classmethod
    def _fgsm_takes_one_step(cls, steps: int | None, info: ValidationInfo) -> int | None:
        if info.data.get("attack") == "fgsm" and steps not in (None, 1):
            raise PydanticCustomError(
                "fgsm_steps",
                "fgsm takes one step, not {steps}: leave steps out, or use attack: pgd",
                {"steps": steps},
            )
        return steps

    @field_validator("step_ratio")
    @classmethod
    def _one_step_size(cls, ratio: float | None, info: ValidationInfo) -> float | None:
        if ratio is not None and info.data.get("step") is not None:
            raise PydanticCustomError("step_sizes", "give step (in pixel units) or step_ratio (share of eps), not both")
        return ratio

    @property
    def steps_taken(self) -> int:
        """Number of steps: each costs one forward and one backward pass."""
        return self.steps or (1 if self.attack == "fgsm" else 7)

    @property
    def starts_at_random(self) -> bool:
        """Whether the first point is drawn from the ball."""
        return self.attack == "pgd" if self.random_start is None else self.random_start

    def step_size(self, eps: float) -> float:
        """Return the size of a step in pixel units of [0, 1] for a budget of `eps`."""
        if self.step is not None:
            return float(self.step)
        default = 1.0 if self.attack == "fgsm" else 2.5 / self.steps_taken
        return eps * (default if self.step_ratio is None else self.step_ratio)


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
