"""A generator of natural images, trained as a Wasserstein GAN with gradient penalty.

Arjovsky, Chintala, Bottou, "Wasserstein GAN", ICML 2017; Gulrajani, Ahmed, Arjovsky, Dumoulin, Courville, "Improved
Training of Wasserstein GANs", NeurIPS 2017, Algorithm 1. Networks and training options as in the code that
Samangouei, Kabkab, Chellappa released with "Defense-GAN", ICLR 2018.
"""

from __future__ import annotations

import json
import math
from itertools import chain, pairwise
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from bench_defensegan.options import GeneratorOptions
from benchmark import (
    FitContext,
    InputError,
    Progress,
    Rng,
    SharedArtifact,
    Split,
    TaskError,
    TrainingCheckpoint,
    passes,
)

SMALLEST, LARGEST = 8, 64
"""Sides of images in pixels that the networks are made for."""


class Generator(nn.Module):
    """Latent vectors (N, latent) to images (N, C, H, W) in [0, 1]: a linear layer, then transposed convolutions.

    For MNIST these are the released layers: 4x4, 7x7, 14x14, 28x28 positions with 4, 2 and 1 times `width` channels.

    Raises:
        InputError: a side of the images is not within 8 to 64 pixels.
    """

    def __init__(self, latent: int, width: int, image_shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.latent = latent
        self.sizes = image_sizes(image_shape)
        channels = [*_widths(width, len(self.sizes) - 1), image_shape[0]]
        self.first = nn.Linear(latent, channels[0] * math.prod(self.sizes[0]))
        self.layers = nn.ModuleList(
            nn.ConvTranspose2d(before, after, 5, stride=2, padding=2, output_padding=1)
            for before, after in pairwise(channels)
        )
        _initialise(self)

    def forward(self, z: Tensor) -> Tensor:
        """Return images (N, C, H, W) in [0, 1] of latent vectors (N, latent)."""
        x = self.first(z).view(len(z), -1, *self.sizes[0])
        for layer, (height, width) in zip(self.layers, self.sizes[1:]):
            # A transposed convolution doubles each side; 28 is 4 * 2 cut to 7, then doubled twice.
            x = layer(x.relu())[:, :, :height, :width]
        passes.count(len(z), x)
        return x.sigmoid()


class Critic(nn.Module):
    """Images (N, C, H, W) to one number (N,), higher for natural ones: strided convolutions, then a linear layer."""

    def __init__(self, width: int, image_shape: tuple[int, int, int]) -> None:
        super().__init__()
        sizes = image_sizes(image_shape)
        channels = [image_shape[0], *reversed(_widths(width, len(sizes) - 1))]
        convolutions = [nn.Conv2d(before, after, 5, stride=2, padding=2) for before, after in pairwise(channels)]
        activations = [nn.LeakyReLU(0.2) for _ in convolutions]
        last = nn.Linear(channels[-1] * math.prod(sizes[0]), 1)
        self.network = nn.Sequential(*chain(*zip(convolutions, activations)), nn.Flatten(), last)
        _initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N,)."""
        score: Tensor = self.network(x).squeeze(1)
        passes.count(len(x), score)
        return score


def image_sizes(image_shape: tuple[int, int, int]) -> list[tuple[int, int]]:
    """Return (height, width) from at most 4x4 positions to the image, each twice the one before but for rounding."""
    _, height, width = image_shape
    if min(height, width) < SMALLEST or max(height, width) > LARGEST:
        raise InputError(
            f"defense-gan: its generator draws images of {SMALLEST} to {LARGEST} pixels a side, these are "
            f"{height}x{width}. Resize the images in the data set's options, or leave this defense out."
        )
    sizes = [(height, width)]
    while max(sizes[0]) > 4:
        sizes.insert(0, (math.ceil(sizes[0][0] / 2), math.ceil(sizes[0][1] / 2)))
    return sizes


def _widths(width: int, count: int) -> list[int]:
    """Return the channels of `count` layers, from the smallest positions to those beside the image."""
    return [max(4 * width // 2**number, width) for number in range(count)]


def _initialise(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            nn.init.xavier_uniform_(module.weight, gain=math.sqrt(2))
            assert module.bias is not None
            nn.init.zeros_(module.bias)


class NaturalImages(SharedArtifact):
    """A trained generator: built once per data set, options and seed."""

    Options = GeneratorOptions
    generator: Generator
    image_shape: tuple[int, int, int]

    def build(self, context: FitContext) -> None:
        """Train generator and critic on the training images; an interrupted training goes on.

        Raises:
            InputError: the images are too small or too large.
            TaskError: training diverged.
        """
        self.image_shape = context.train.image_shape
        self.generator = train_generator(
            context.train, self.options, context.rng, context.device, context.progress, context.checkpoint
        )

    def save(self, folder: Path) -> None:
        """Write the generator; the critic is not needed any more."""
        state = {name: tensor.cpu().contiguous() for name, tensor in self.generator.state_dict().items()}
        save_file(state, folder / "generator.safetensors")
        (folder / "generator.json").write_text(json.dumps({"image_shape": self.image_shape}))

    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""
        channels, height, width = json.loads((folder / "generator.json").read_text())["image_shape"]
        self.image_shape = (channels, height, width)
        self.generator = Generator(self.options.latent, self.options.width, self.image_shape)
        self.generator.load_state_dict(load_file(folder / "generator.safetensors"))
        self.generator.to(self.device).eval().requires_grad_(False)


def train_generator(
    images: Split, options: GeneratorOptions, rng: Rng, device: torch.device, progress: Progress, checkpoint: Path
) -> Generator:
    """Return a generator of images like `images` (labels are not looked at), frozen.

    The draws of a step depend on `rng` and the step's number alone, so a training that was interrupted and resumed from
    `checkpoint` (a folder) ends with the same weights as one that was not.

    Raises:
        InputError: the images are too small or too large.
        TaskError: a loss became NaN or infinite.
    """
    with rng.spawn("weights").seeded_globals():
        generator = Generator(options.latent, options.width, images.image_shape)
        critic = Critic(options.width, images.image_shape)
    networks = {"generator": generator.to(device), "critic": critic.to(device)}
    optimizers: dict[str, torch.optim.Optimizer] = {
        name: torch.optim.Adam(network.parameters(), lr=options.lr, betas=(options.beta1, options.beta2))
        for name, network in networks.items()
    }
    kept = TrainingCheckpoint(checkpoint / "gan.pt", progress)
    first, state = 0, kept.read(device)
    if state is not None:
        first = state["done"]
        for name, network in networks.items():
            network.load_state_dict(state[name])
            optimizers[name].load_state_dict(state[f"{name} optimizer"])
    for step in range(first, options.iterations):
        draws = rng.spawn("step", step).torch

        def latents(draws: torch.Generator = draws) -> Tensor:
            return torch.randn(options.batch_size, options.latent, generator=draws).to(device)

        for _ in range(options.critic_steps):
            chosen = torch.randint(len(images), (options.batch_size,), generator=draws)
            natural = images.images(chosen.tolist()).to(device)
            with torch.no_grad():
                drawn = generator(latents())
            share = torch.rand(options.batch_size, 1, 1, 1, generator=draws).to(device)
            between = (natural + share * (drawn - natural)).requires_grad_()
            (slope,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
            penalty = (slope.flatten(1).norm(dim=1) - 1).square().mean()
            loss = critic(drawn).mean() - critic(natural).mean() + options.penalty * penalty
            _step(optimizers["critic"], loss, step)
        _step(optimizers["generator"], -critic(generator(latents())).mean(), step)
        progress.update(step + 1, options.iterations, "generator steps")
        if kept.due and step + 1 < options.iterations:
            kept.write(
                {
                    "done": step + 1,
                    **{name: network.state_dict() for name, network in networks.items()},
                    **{f"{name} optimizer": optimizer.state_dict() for name, optimizer in optimizers.items()},
                }
            )
    return generator.eval().requires_grad_(False)


def _step(optimizer: torch.optim.Optimizer, loss: Tensor, number: int) -> None:
    if not math.isfinite(loss.item()):
        raise TaskError(
            f"defense-gan: the generator's training diverged: the loss is {loss.item()} in step {number + 1}. "
            "Lower generator.lr, or look whether the images hold NaN."
        )
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
