"""Options of Defense-GAN; imports no torch, so that suites are validated fast."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from benchmark import Options, SuiteLabel


class GeneratorOptions(Options):
    """Options of the generator and its training (WGAN-GP); the defaults are those of the released MNIST set-up."""

    latent: int = Field(128, ge=1)
    """Dimensions of the latent space that the generator draws from."""

    width: int = Field(64, ge=1)
    """Channels of the layer beside the image; the layer beside the latent space has four times as many."""

    iterations: int = Field(200_000, ge=1)
    """Steps of the generator."""

    critic_steps: int = Field(5, ge=1)
    """Steps of the critic per step of the generator."""

    batch_size: int = Field(50, ge=2)
    """Images per step."""

    lr: float = Field(1e-4, gt=0)
    """Learning rate of Adam, for both networks."""

    beta1: float = Field(0.5, ge=0, lt=1)
    """Adam's decay of the mean gradient."""

    beta2: float = Field(0.9, ge=0, lt=1)
    """Adam's decay of the mean squared gradient."""

    penalty: float = Field(10.0, ge=0)
    """Weight of the gradient penalty."""


class DefenseGanOptions(Options):
    """Options of `defense-gan` and `defense-gan-rectifier`."""

    generator: GeneratorOptions = GeneratorOptions()
    """The generator, trained once per data set and seed for all defenses that give the same options."""

    generator_data: Annotated[str | None, SuiteLabel()] = None
    """Label of the suite's data set that the generator learns natural images from; null takes the cell's own. Its
    images must have the same shape."""

    restarts: int = Field(10, ge=1)
    """R: starting points of the search in the latent space; the nearest result counts."""

    steps: int = Field(200, ge=1)
    """L: gradient steps from each starting point."""

    lr: float = Field(10.0, gt=0)
    """Size of a gradient step on the mean squared error; a tenth of it in the last fifth of the steps."""

    momentum: float = Field(0.7, ge=0, lt=1)
    """Momentum of the gradient steps."""
