"""Options of components: frozen, strict types, validated before any work starts."""

from __future__ import annotations

import ast
import inspect
import itertools
import math
import textwrap
from dataclasses import dataclass
from fractions import Fraction
from pathlib import PurePath
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    ValidationInfo,
    field_serializer,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError, PydanticSerializationUnexpectedValue, core_schema

SPLITS = ("train", "val", "test")
"""The splits of every data set."""


def _attribute_docstrings(kind: type) -> dict[str, str]:
    """Return what stands under the attributes of a class; nothing where there is no source."""
    try:
        (defined,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    except (OSError, TypeError, SyntaxError, ValueError):
        return {}
    found = {}
    for attribute, below in itertools.pairwise(defined.body if isinstance(defined, ast.ClassDef) else ()):
        text = below.value.value if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant) else None
        if isinstance(attribute, ast.AnnAssign) and isinstance(attribute.target, ast.Name) and isinstance(text, str):
            found[attribute.target.id] = inspect.cleandoc(text)
    return found


class Explained:
    """A type whose schema says what its attributes mean, by the docstrings under them: they are read when needed."""

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        found = handler(schema)
        properties = handler.resolve_ref_schema(found).get("properties", {})
        for name, meaning in meanings(cls).items():
            if name in properties:
                properties[name]["description"] = meaning
        return found


def meanings(kind: type[Explained]) -> dict[str, str]:
    """Return what each attribute means: the docstring under it, in the class or in one that it extends."""
    told: dict[str, str] = {}
    for one in reversed(kind.__mro__):
        told |= _attribute_docstrings(one) if issubclass(one, Explained) else {}
    fields = kind.model_fields if issubclass(kind, BaseModel) else {}
    return told | {name: info.description for name, info in fields.items() if info.description}


class Options(Explained, BaseModel):
    """Base of every component's options: unknown keys are errors, nothing is coerced, nothing changes later.

    Write one attribute per option with a type, a default and a docstring under it; the docstring is what
    `bench show` prints.
    """

    # Built when first used: a suite uses few of the types that are defined.
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, defer_build=True)


@dataclass(frozen=True)
class SuiteLabel:
    """Marks an option that holds labels of the suite: `Annotated[str, SuiteLabel()]`.

    Keys hold what the labels lead to, so a suite may call its components otherwise.
    """


def _each_once(labels: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(labels)) < len(labels):
        raise PydanticCustomError("labels", "name each attack once, found {found}", {"found": str(list(labels))})
    return labels


AttackLabels = Annotated[tuple[str, ...], SuiteLabel(), AfterValidator(_each_once)]
"""Attacks of the suite, by label, each once: what a defense learns from. `Annotated[AttackLabels, Field(min_length=1)]`
for at least one."""


@dataclass(frozen=True)
class InputFile:
    """Marks an option that may name a file: `Annotated[str | None, InputFile()]`.

    Keys hold a digest of its content instead of its path, so it may be moved; a text that names no file stays.
    """


@dataclass(frozen=True)
class Function:
    """Marks an option that names code, as `package.module:function`: `Annotated[str, Function()]`.

    While that is being written, its source counts as the component's: an edit never answers from the cache.
    """


class _Written:
    """A value that a suite writes as a text, a number or a list: `_validate` reads it, `_write` gives it back."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls._validate, serialization=core_schema.plain_serializer_function_ser_schema(cls._write)
        )

    @classmethod
    def _validate(cls, value: Any) -> Any:
        raise NotImplementedError

    @staticmethod
    def _write(value: Any) -> Any:
        raise NotImplementedError


class Budget(_Written, float):
    """A positive size in pixel units of [0, 1] that remembers how it was written (`8/255`, `0.3`)."""

    text: str

    def __new__(cls, value: str | float) -> Budget:
        """Parse `value`: a number, or a fraction such as `"8/255"`.

        Raises:
            ValueError: it is neither, or not a finite number above 0.
        """
        text = str(value).strip()
        try:
            number = float(Fraction(text)) if "/" in text else float(text)
        except (ValueError, ZeroDivisionError):
            raise ValueError(f"{text!r} is not a number or a fraction such as 8/255") from None
        if not math.isfinite(number) or number <= 0:
            raise ValueError(f"{text!r} must be a finite number above 0")
        self = super().__new__(cls, number)
        self.text = text.replace(" ", "")
        return self

    def __str__(self) -> str:
        return self.text

    def __reduce__(self) -> tuple[Any, ...]:
        return (Budget, (self.text,))

    @classmethod
    def _validate(cls, value: Any) -> Budget:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise PydanticCustomError("budget", "write a number or a fraction such as 8/255")
        try:
            return cls(value)
        except ValueError as error:
            raise PydanticCustomError("budget", "{reason}", {"reason": str(error)}) from None

    @staticmethod
    def _write(value: Any) -> str:
        # In a union with another type, pydantic must hear that this is not a budget, or it writes str() of anything.
        if not isinstance(value, float | int | str):
            raise PydanticSerializationUnexpectedValue("not a budget")
        return str(value)

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        number = r"[0-9]+(\.[0-9]+)?"
        return {
            "anyOf": [
                {"type": "number", "exclusiveMinimum": 0},
                {"type": "string", "pattern": rf"^{number}\s*/\s*{number}$"},
            ],
            "description": "size in pixel units of [0, 1], for example 8/255",
        }


class AttackOptions(Options):
    """What every attack's options have: the norm it is measured in and the budget, if it has one."""

    norm: str
    """Norm of the budget: linf or l2."""

    eps: Budget | None = None
    """Largest perturbation in the norm, in pixel units of [0, 1], for example 8/255."""

    @model_validator(mode="after")
    def _budget_has_unit_sense(self) -> AttackOptions:
        if self.norm == "linf" and self.eps is not None and self.eps > 1:
            raise PydanticCustomError(
                "eps_unit",
                "eps {eps} makes no sense for linf on pixels in [0, 1]: the largest is 1.{hint}",
                {"eps": str(self.eps), "hint": "" if "/" in str(self.eps) else f" Did you mean '{self.eps}/255'?"},
            )
        return self


class DatasetOptions(Options):
    """What every data set's options have."""

    limit: dict[str, int] | None = None
    """At most this many images per split (`train`, `val`, `test`), drawn evenly over the classes."""

    note: str | None = None
    """A sentence about the data that every report must show."""

    @model_validator(mode="after")
    def _limit_names_splits(self) -> DatasetOptions:
        for split, count in (self.limit or {}).items():
            if split not in SPLITS:
                raise PydanticCustomError(
                    "limit_split", "limit: unknown split '{split}', allowed are train, val, test", {"split": split}
                )
            if count < 1:
                raise PydanticCustomError(
                    "limit_count", "limit: {split} is {count}, at least 1 is needed", {"split": split, "count": count}
                )
        return self


class StateOptions(Options):
    """What the options of every detector on hidden states have (`benchmark.states`)."""

    layer: str | tuple[str, ...] = "penultimate"
    """Hidden state that is looked at, or a list of them. `penultimate` is the input of the last fully connected layer:
    the last fully connected hidden layer, or the pooled features of a network without one. `logits`, or the name of a
    module inside the network, means that one's output."""

    positions: Literal["mean", "flatten"] = "mean"
    """What becomes of a state with positions (C, H, W): its mean per channel, or all its values. States of other shapes
    are flattened."""

    @property
    def layers(self) -> tuple[str, ...]:
        """The names of the states."""
        return (self.layer,) if isinstance(self.layer, str) else self.layer

    @field_validator("layer")
    @classmethod
    def _layers_differ(cls, layer: str | tuple[str, ...]) -> str | tuple[str, ...]:
        if isinstance(layer, tuple) and (not layer or len(set(layer)) < len(layer)):
            raise PydanticCustomError(
                "layers", "name at least one layer and each once, found {found}", {"found": str(list(layer))}
            )
        return layer


class TrainOptions(Options):
    """A training recipe."""

    epochs: int = Field(20, ge=1)
    """Passes over the training images."""

    batch_size: int = Field(128, ge=1)
    """Images per step."""

    optimizer: Literal["sgd", "adamw"] = "sgd"
    """sgd (with momentum) or adamw."""

    lr: float = Field(0.05, gt=0)
    """Learning rate at its highest."""

    momentum: float = Field(0.9, ge=0, lt=1)
    """Momentum of sgd."""

    weight_decay: float = Field(5e-4, ge=0)
    """L2 penalty (sgd) or decoupled decay (adamw)."""

    schedule: Literal["constant", "cosine", "step", "onecycle"] = "cosine"
    """How the learning rate moves: `cosine` falls to 0, `step` multiplies by `gamma` at each of `milestones`."""

    milestones: tuple[int, ...] = ()
    """Epochs (from 1) before which `step` lowers the learning rate."""

    gamma: float = Field(0.1, gt=0, le=1)
    """Factor of `step`."""

    augment: tuple[Literal["flip", "crop"], ...] = ()
    """`flip`: left-right with probability one half; `crop`: random crop after padding by `crop_padding`."""

    crop_padding: int = Field(4, ge=1)
    """Pixels of zero padding before a random crop."""

    label_smoothing: float = Field(0.0, ge=0, lt=1)
    """Share of the target spread evenly over the classes."""

    select: Literal["best", "last"] = "best"
    """Keep the epoch with the best validation score (the earliest of equals), or the last."""

    precision: Literal["float32", "bfloat16"] = "float32"
    """bfloat16: mixed precision by PyTorch's autocast in the steps of training, what is crafted in them included;
    weights, validation and all that follows stay in float32. Up to three times faster where the hardware has it."""


class Normalization(Options):
    """Per-channel standardisation inside the model: (x - mean) / std."""

    mean: tuple[float, ...]
    """Mean per channel, in [0, 1] units."""

    std: tuple[float, ...]
    """Standard deviation per channel, in [0, 1] units."""


WEIGHTS_SUFFIXES = (".safetensors", ".pt", ".pth", ".tar", ".ckpt", ".bin", ".th")


PACKAGE = "package:"
"""What stands before the name of weights that an installed package brings (`benchmark.pretrained`)."""


def looks_like_file(weights: str) -> bool:
    """Tell a weights file from the name of a weights set."""
    return not weights.startswith(PACKAGE) and (PurePath(weights).suffix in WEIGHTS_SUFFIXES or "/" in weights)


def read_by_host(weights: str | None) -> bool:
    """Tell weights that the host reads, of a file or of an installed package, from a name that the model knows."""
    return weights is not None and (weights.startswith(PACKAGE) or looks_like_file(weights))


class ModelOptions(Options):
    """What every model's options have."""

    normalize: Literal["none", "imagenet", "weights"] | Normalization = "none"
    """Standardisation inside the model, so that attacks and budgets stay in pixel units of [0, 1]. `weights`: as the
    weights of an installed package were trained."""

    train: TrainOptions | None = TrainOptions()
    """The training recipe; null uses the network with its initial weights as they are."""

    weights: Annotated[str | None, InputFile()] = None
    """Initial weights: a file (.safetensors, or of tensors by torch.save: .pt, .pth, .pth.tar, .ckpt, .bin), those of
    an installed package (package:efficientnet-lite0), or a name that the model knows. Where only the number of classes
    differs, the last layer is new."""

    memory_format: Literal["contiguous", "channels_last"] = "contiguous"
    """How weights of two-dimensional convolutions lie in memory. With `channels_last` four of five networks took less
    time on a CPU (docs/scale.md); numbers differ in their last digits."""


def in_255ths(size: Budget) -> str:
    """Return the question whether `size` was meant in steps of 8-bit pixels, or nothing where it was not."""
    return f" Did you mean '{size}/255'?" if size >= 1 and "/" not in str(size) else ""


@dataclass(frozen=True)
class BudgetRange(_Written):
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

    @staticmethod
    def _write(value: Any) -> str | list[str]:
        return str(value.low) if value.low == value.high else [str(value.low), str(value.high)]

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

    default_steps: ClassVar[int] = 7

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
        return 1 if self.attack == "fgsm" else self.steps or self.default_steps

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


class AdversarialOptions(CraftingOptions):
    """How a network learns from adversarial examples, and by which attack its best epoch is selected."""

    validation: CraftingOptions | None = None
    """Attack on the validation images where the recipe selects the best epoch; unless given it is the attack above, on
    the cross-entropy, at the upper end of its interval."""

    @property
    def attacks(self) -> tuple[CraftingOptions, ...]:
        """The attack that is learned from, and that of validation where it is another."""
        return (self,) if self.validation is None else (self, self.validation)


class HardenerOptions(Options):
    """What the options of every defense that trains a network have."""

    init: Literal["scratch", "model"] = "scratch"
    """Begin with the weights that the model's own training begins with (`scratch`) or ends with (`model`)."""

    train: TrainOptions | None = None
    """What differs from the model's own training recipe, for example `{epochs: 30}`; the rest stays as there.
    `select: best` keeps the epoch with the best mean of the defense's validation accuracies."""

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
