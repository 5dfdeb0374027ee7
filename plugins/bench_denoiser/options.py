"""Options of the guided denoiser; imports no torch, so that suites are validated fast."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from benchmark import AttackLabels, Options, TrainOptions


class DenoiserTraining(TrainOptions):
    """The recipe of the authors' released code: Adam (AdamW without decay), 100 epochs, the last one is kept."""

    epochs: int = Field(100, ge=1)
    """Passes over the training images and their adversarial versions."""

    batch_size: int = Field(32, ge=2)
    """Images per step, clean and adversarial ones together."""

    optimizer: Literal["sgd", "adamw"] = "adamw"
    """sgd (with momentum) or adamw."""

    lr: float = Field(0.01, gt=0)
    """Learning rate at its highest."""

    weight_decay: float = Field(0.0, ge=0)
    """L2 penalty (sgd) or decoupled decay (adamw)."""

    schedule: Literal["constant", "cosine", "step", "onecycle"] = "step"
    """How the learning rate moves: `cosine` falls to 0, `step` multiplies by `gamma` at each of `milestones`."""

    milestones: tuple[int, ...] = (61, 91)
    """Epochs (from 1) before which `step` lowers the learning rate. The defaults belong to 100 epochs, after
    60 and 90 % of them: with fewer, give yours."""

    augment: tuple[Literal["flip", "crop"], ...] = ()
    """`flip`: left-right with probability one half; `crop`: random crop after padding by `crop_padding`. An image and
    its clean version alike."""

    label_smoothing: float = Field(0.0, ge=0, le=0)
    """None: no label is learned."""

    select: Literal["best", "last"] = "last"
    """Keep the epoch whose denoised validation images are right most often (the earliest of equals), or the last."""


class GuidedDenoiserOptions(Options):
    """Options of `guided-denoiser`."""

    attacks: Annotated[AttackLabels, Field(min_length=1)]
    """Attacks of the suite, by label, that it learns from: their examples on training and validation images, crafted on
    the deployed classifier. Of an attack at several budgets each is a label of its own: `pgd@4/255`."""

    layer: str = "logits"
    """What of the network guides it: `logits` (the paper's LGD), `penultimate` or the name of a module inside the
    network, whose output is taken (FGD), or `input` for the image itself, which no network guides (PGD)."""

    width: int = Field(64, ge=1)
    """Channels of the first level; the second has twice, the others four times as many."""

    levels: int = Field(5, ge=2)
    """Levels of the U-net, each at half the size of the one before."""

    train: DenoiserTraining = DenoiserTraining()
    """The training recipe."""
