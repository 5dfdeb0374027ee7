"""Options of PCL; imports no torch, so that suites are validated fast."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from benchmark import AdversarialOptions, AttackOptions, Budget, HardenerOptions


class AdversarialPartOptions(AdversarialOptions):
    """How the attacked half of a batch is made."""

    loss: Literal["cross-entropy", "joint"] | None = None
    """What is ascended: the joint loss, as Algorithm 1 is written, or the cross-entropy, as the released code does; by
    the defense's `form` unless given."""

    crafting_mode: Literal["eval", "train"] = "eval"
    """Mode of the network while examples are crafted; neither moves the statistics of batch normalisation."""


class PclOptions(HardenerOptions):
    """Options of the prototype conformity loss."""

    form: Literal["as-published", "as-released"] = "as-published"
    """`as-published`: Eq. 5, Euclidean distances, one set of prototypes. `as-released`: squared distances, one set of
    prototypes to be near to and another to be far from, and no distance between prototypes."""

    layers: dict[str, int | None] = {"penultimate": None}
    """Hidden states that the loss is applied to, by name, and the outputs of the auxiliary branch there: a fully
    connected layer of so many outputs, or null for none (Table 1). Positions of a state are averaged first."""

    attract: float = Field(1.0, ge=0)
    """Weight of the distance to the own class's prototype."""

    repel: float | None = Field(None, ge=0)
    """Weight of the distances to be large; 1 as published, 1e-4 as released, unless given."""

    prototype_lr: float | None = Field(None, gt=0)
    """Learning rate of the prototypes; the recipe's as published (the paper gives none), 0.5 as released, unless given.
    The recipe's schedule scales it."""

    repelling_lr: float = Field(1e-4, gt=0)
    """Learning rate of the second set of prototypes, of the form `as-released` alone."""

    branch_cross_entropy: bool = False
    """Add a cross-entropy at each layer (Eq. 8). Algorithm 1 has only the one at the network's end."""

    adversarial: AdversarialPartOptions | None = None
    """Learn from clean and attacked images together (`+ AdvTrain`); null learns from clean images alone."""

    classify: Literal["softmax", "nearest-prototype"] = "softmax"
    """Answer by the network's logits, or by the nearest prototype at the last of `layers` (Eq. 6)."""

    init: Literal["scratch", "model"] = "model"
    """Begin with the weights of the model's own softmax training (`model`: the two phases of Algorithm 1), or anew."""

    @field_validator("layers")
    @classmethod
    def _some_layer(cls, layers: dict[str, int | None]) -> dict[str, int | None]:
        if not layers:
            raise PydanticCustomError("layers", "name at least one layer, for example penultimate: null")
        for name, outputs in layers.items():
            if outputs is not None and outputs < 1:
                raise PydanticCustomError(
                    "branch",
                    "the branch at {name} has {outputs} outputs; at least 1 is needed, or null for no branch",
                    {"name": name, "outputs": outputs},
                )
        return layers

    @model_validator(mode="after")
    def _released_weights_divide(self) -> PclOptions:
        if self.form == "as-released" and 0 in (self.attract, self.repel_weight):
            raise PydanticCustomError(
                "weights",
                "attract {attract} and repel {repel}: as-released needs both above 0, since its code divides the "
                "prototypes' gradients by them",
                {"attract": self.attract, "repel": self.repel_weight},
            )
        return self

    @property
    def ascended(self) -> Literal["cross-entropy", "joint"]:
        """What is ascended to make the attacked half of a batch."""
        given = None if self.adversarial is None else self.adversarial.loss
        return given or ("joint" if self.form == "as-published" else "cross-entropy")

    @property
    def repel_weight(self) -> float:
        """The weight of the distances to be large."""
        return self.repel if self.repel is not None else {"as-published": 1.0, "as-released": 1e-4}[self.form]


class JointOptions(AttackOptions):
    """Options of the attack on PCL's own loss."""

    norm: Literal["linf", "l2"] = "linf"
    """Norm of the budget and of the steps."""

    eps: Budget
    """Largest perturbation in the norm, in pixel units of [0, 1], for example 8/255."""

    steps: int = Field(10, ge=1)
    """Number of steps; each costs one forward and one backward pass."""

    step: Budget | None = None
    """Size of one step in the norm; eps / steps unless given, as in the paper."""

    decay: float | None = Field(None, ge=0)
    """Share of the accumulated gradient that is kept from one step to the next (MIM); null for no momentum."""

    random_start: bool = False
    """Start at a point drawn uniformly from the ball (PGD) instead of the image itself (FGSM, BIM, MIM)."""

    keep: Literal["best", "last"] = "best"
    """Per image the best point on the way, for one more forward pass: one that is classified wrongly, of those the one
    with the highest loss. Or the last point, as the paper has it."""

    @property
    def step_size(self) -> float:
        """Size of one step in pixel units of [0, 1]."""
        return float(self.step) if self.step is not None else self.eps / self.steps


class ReleasedOptions(AttackOptions):
    """Options of the attacks of PCL's released evaluation script."""

    norm: Literal["linf"] = "linf"
    """Norm of the budget."""

    eps: Budget
    """Largest perturbation of a pixel, in units of [0, 1]; of normalised pixels where `std` is given."""

    method: Literal["fgsm", "bim", "mim", "pgd"] = "pgd"
    """fgsm: one step of eps. bim, mim: steps of eps / steps. pgd: steps of 2/255 whatever eps, and no random start."""

    steps: int | None = Field(None, ge=1)
    """Number of steps, 10 unless given; each costs one forward and one backward pass. fgsm takes one."""

    std: tuple[float, ...] | None = None
    """Standard deviation per channel by which pixels were divided before they were attacked: a pixel may then move by
    std * eps only. The script's for CIFAR-10 is [0.2023, 0.1994, 0.2010]. Null attacks pixels in [0, 1]."""

    @field_validator("steps")
    @classmethod
    def _fgsm_takes_one_step(cls, steps: int | None, info: ValidationInfo) -> int | None:
        if info.data.get("method") == "fgsm" and steps not in (None, 1):
            raise PydanticCustomError(
                "fgsm_steps",
                "fgsm takes one step, not {steps}: leave steps out, or use another method",
                {"steps": steps},
            )
        return steps

    @field_validator("std")
    @classmethod
    def _deviations_shrink(cls, std: tuple[float, ...] | None) -> tuple[float, ...] | None:
        if std is not None and (not std or not all(0 < value <= 1 for value in std)):
            raise PydanticCustomError(
                "std", "std {found}: give one value above 0 and at most 1 per channel", {"found": str(list(std))}
            )
        return std
