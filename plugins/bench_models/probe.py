"""One trial forward pass: whether a network written elsewhere takes the images and answers with logits."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from benchmark.errors import InputError


def probe(network: nn.Module, name: str, num_classes: int, image_shape: tuple[int, int, int]) -> None:
    """Push two black images (2, C, H, W) through `network` in eval mode; parameters that are lazy come into being.

    Raises:
        InputError: the network fails on them, or answers with anything but logits (2, num_classes).
    """
    was_training = network.training
    network.eval()
    images = torch.zeros(2, *image_shape)
    try:
        with torch.no_grad():
            answer = network(images)
    except Exception as error:
        raise InputError(
            f"{name} cannot take images of {in_words(image_shape)} (channels x height x width): {first_line(error)}. "
            "Resize the images in the data set's options, or choose another model."
        ) from error
    network.train(was_training)
    if not isinstance(answer, Tensor):
        raise InputError(f"{name} must answer with one tensor of logits, its answer is a {type(answer).__name__}")
    if answer.shape != (2, num_classes) or not answer.is_floating_point():
        raise InputError(
            f"{name} must answer with float logits of shape (2, {num_classes}) for 2 images of {in_words(image_shape)} "
            f"and {num_classes} classes, its answer is {answer.dtype} of shape {tuple(answer.shape)}"
        )


def in_words(shape: tuple[int, ...]) -> str:
    """Return "3x32x32"."""
    return "x".join(map(str, shape))


def first_line(error: BaseException) -> str:
    """Return the kind of an error and the first line of its message."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
