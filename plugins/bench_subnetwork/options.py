"""Options of the detector subnetwork; imports no torch, so that suites are validated fast."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from benchmark import AttackLabels, Options, TrainOptions


class SubnetworkTraining(TrainOptions):
    """The paper's recipe: Adam (AdamW without decay), learning rate 0.0001, 20 epochs."""

    epochs: int = Field(20, ge=1)
    """Passes over the training images and their adversarial versions."""

    optimizer: Literal["sgd", "adamw"] = "adamw"
    """sgd (with momentum) or adamw."""

    lr: float = Field(1e-4, gt=0)
    """Learning rate at its highest."""

    weight_decay: float = Field(0.0, ge=0)
    """L2 penalty (sgd) or decoupled decay (adamw)."""

    schedule: Literal["constant", "cosine", "step", "onecycle"] = "constant"
    """How the learning rate moves: `cosine` falls to 0, `step` multiplies by `gamma` at each of `milestones`."""

    augment: tuple[Literal["flip", "crop"], ...] = Field((), max_length=0)
    """None: an adversarial perturbation fits its pixels."""


class DetectorSubnetworkOptions(Options):
    """Options of `detector-subnetwork`."""

    attacks: Annotated[AttackLabels, Field(min_length=1)]
    """Attacks of the suite, by label, that the detector learns from: their examples on training and validation images,
    crafted on the deployed classifier."""

    layer: str
    """Where the subnetwork is attached: the name of a module inside the network, whose output it takes, `penultimate`,
    or `input` for the image. The paper prefers the output of the first residual stage."""

    learn_from: Literal["all", "successful"] = "all"
    """Adversarial images to learn from, each beside its clean version: all, or those that turned a right answer into a
    wrong one."""

    width: int = Field(96, ge=1)
    """Channels of the first convolution; the others have twice as many."""

    train: SubnetworkTraining = SubnetworkTraining()
    """The training recipe."""
