"""Models: a classifier that takes pixels in [0, 1] and answers with logits and named hidden states."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from benchmark.errors import InputError, MissingError, unknown_name
from benchmark.options import ModelOptions, Normalization
from benchmark.randomness import Rng
from benchmark.store import file_digest

PENULTIMATE = "penultimate"
IMAGENET = Normalization(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


@dataclass
class Passes:
    """Images pushed through networks: the unit in which the host counts and estimates work.

    Attributes:
        at_most: as an estimate, that it may be fewer: the data decides.
    """

    forward: int = 0
    backward: int = 0
    at_most: bool = False

    def __sub__(self, other: Passes) -> Passes:
        return Passes(self.forward - other.forward, self.backward - other.backward)

    def copy(self) -> Passes:
        """Return the counts as they stand."""
        return Passes(self.forward, self.backward)


passes = Passes()
"""Counts of this process, over all classifiers."""


class Classifier(nn.Module):
    """A network with its normalisation and its hidden states.

    Args:
        network: maps (N, C, H, W) to logits (N, num_classes).
        num_classes: number of classes.
        image_shape: (C, H, W) of the images.
        normalization: applied before the network.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        network: nn.Module,
        num_classes: int,
        image_shape: tuple[int, int, int],
        normalization: Normalization | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.num_classes = num_classes
        self.image_shape = image_shape
        channels = image_shape[0]
        mean, std = (normalization.mean, normalization.std) if normalization else ((0.0,), (1.0,))
        if not len(mean) == len(std) or len(mean) not in (1, channels):
            raise InputError(
                f"normalize: mean has {len(mean)} and std {len(std)} values, the images have {channels} channels"
            )
        self._normalizes = normalization is not None
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, num_classes) of images (N, C, H, W) in [0, 1]."""
        count = x.shape[0]
        passes.forward += count
        # The network gets a tensor of its own: many work in place, and `x` is somebody's images.
        logits: Tensor = self.network((x - self.mean) / self.std if self._normalizes else x.clone())
        if logits.requires_grad:
            logits.register_hook(lambda gradient: _count_backward(count))
        return logits

    @property
    def layers(self) -> list[str]:
        """Names of the hidden states that `features` knows."""
        return [PENULTIMATE, *(name for name, _ in self.network.named_modules() if name)]

    def check_layers(self, layers: Iterable[str]) -> None:
        """Refuse a name that is not in `layers`.

        Raises:
            InputError: unknown name; near matches are listed.
        """
        for layer in layers:
            if layer not in self.layers:
                raise InputError(unknown_name("layer", layer, self.layers))

    def features(self, x: Tensor, layers: Iterable[str] = (PENULTIMATE,)) -> dict[str, Tensor]:
        """Return hidden states by name, and the logits under `"logits"`, in one forward pass.

        `"penultimate"` is the input of the last fully connected layer; any other name is that of a module inside
        the network and means its output, as it comes: (N, ...).

        Raises:
            InputError: a layer of that name does not exist.
        """
        wanted = tuple(layers)
        self.check_layers(wanted)
        with capturing(self.network, wanted) as states:
            logits = self(x)
        return {**states, "logits": logits}

    def frozen(self) -> Classifier:
        """Put the classifier in eval mode without parameter gradients, and return it."""
        self.eval()
        self.requires_grad_(False)
        return self


def _count_backward(count: int) -> None:
    passes.backward += count


@contextmanager
def capturing(network: nn.Module, layers: Iterable[str]) -> Iterator[dict[str, Tensor]]:
    """Give a dictionary that a forward pass of `network` inside the block fills with hidden states, by their names.

    Names are those of `Classifier.features`.

    Raises:
        InputError: the network has no fully connected layer, and so no penultimate state.
    """
    modules = dict(network.named_modules())
    states: dict[str, Tensor] = {}
    handles = []
    for layer in layers:
        if layer == PENULTIMATE:

            def keep_input(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
                states[PENULTIMATE] = inputs[0]

            handles.append(_last_linear(network).register_forward_pre_hook(keep_input))
        else:

            def keep_output(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor, layer: str = layer) -> None:
                # A copy, since the next module may work in place, as most ReLUs of torchvision do.
                states[layer] = output.clone() if isinstance(output, Tensor) else output

            handles.append(modules[layer].register_forward_hook(keep_output))
    try:
        yield states
    finally:
        for handle in handles:
            handle.remove()


def _last_linear(network: nn.Module) -> nn.Linear:
    linear = [module for module in network.modules() if isinstance(module, nn.Linear)]
    if not linear:
        raise InputError(
            f"the network has no fully connected layer, so no {PENULTIMATE!r} state; name a module: "
            + ", ".join(name for name, _ in network.named_modules() if name)
        )
    return linear[-1]


class Model(ABC):
    """A model architecture. The constructor stores the options and does no work."""

    Options: ClassVar[type[ModelOptions]] = ModelOptions

    def __init__(self, options: ModelOptions) -> None:
        self.options: Any = options

    @abstractmethod
    def network(self, num_classes: int, image_shape: tuple[int, int, int]) -> nn.Module:
        """Return the untrained network: (N, C, H, W) in [0, 1], after normalisation, to logits (N, num_classes).

        Draw initial weights from torch's global generator: the host has seeded it.

        Raises:
            InputError: the architecture cannot take images of that shape.
        """

    def check(self) -> None:
        """Look whether weights and optional packages are there, without building anything.

        Raises:
            MissingError: what is missing, where it was looked for, what to do.
        """
        if self.options.weights is not None and looks_like_file(self.options.weights):
            check_weights_file(self.options.weights)

    def fingerprint(self) -> str:
        """Return a digest of what the options only point to (the content of a weights file), or an empty text.

        It is part of every content key that the model is in.
        """
        weights = self.options.weights
        return file_digest(Path(weights)) if weights is not None and looks_like_file(weights) else ""

    def build(self, num_classes: int, image_shape: tuple[int, int, int], rng: Rng) -> Classifier:
        """Return a classifier with initial weights: drawn from `rng`, or read from `options.weights`."""
        with rng.seeded_globals():
            network = self.network(num_classes, image_shape)
        normalize = self.options.normalize
        normalization = {"none": None, "imagenet": IMAGENET}[normalize] if isinstance(normalize, str) else normalize
        classifier = Classifier(network, num_classes, image_shape, normalization)
        if self.options.weights is not None and looks_like_file(self.options.weights):
            load_weights(classifier, self.options.weights)
        return classifier


def looks_like_file(weights: str) -> bool:
    """Tell a weights file from the name of a weights set."""
    return Path(weights).suffix in (".safetensors", ".pt", ".pth") or "/" in weights


def check_weights_file(path: str) -> None:
    """Refuse a weights file that is missing or that is not a tensor file.

    Raises:
        MissingError: the file is not there.
        InputError: its suffix is not one of those that are read.
    """
    if not Path(path).is_file():
        raise MissingError(
            f"weights: no file {str(Path(path).absolute())!r}. Put the weights there, or leave `weights` out to train "
            "from the start."
        )
    if Path(path).suffix not in (".safetensors", ".pt", ".pth"):
        raise InputError(f"weights: {path!r} must end in .safetensors, .pt or .pth")
    tensors = read_tensors(path)
    if not tensors:
        raise InputError(f"weights: {path!r} holds no tensors")


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """Read named tensors from a .safetensors file, or from a .pt file by torch's `weights_only` loader.

    Raises:
        InputError: the file is damaged or holds something else than tensors; nothing in it is executed.
    """
    try:
        if Path(path).suffix == ".safetensors":
            from safetensors.torch import load_file

            return dict(load_file(path))
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        first_line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"weights: {str(path)!r} is not a file of plain tensors ({first_line}). A pickle is never executed here: "
            "save the state dict with safetensors.torch.save_file(model.state_dict(), 'weights.safetensors')."
        ) from None
    state = state.get("state_dict", state) if isinstance(state, dict) else state
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise InputError(f"weights: {str(path)!r} must hold a dictionary of named tensors (a state dict)")
    return {str(name): value for name, value in state.items()}


def load_weights(classifier: Classifier, path: str | Path) -> None:
    """Load weights saved from a `Classifier`, or from the bare network inside it.

    Raises:
        InputError: names or shapes do not fit; the first differences are listed.
    """
    tensors = read_tensors(path)
    own = classifier.state_dict()
    target: nn.Module = classifier if any(name.startswith("network.") for name in tensors) else classifier.network
    expected = own if target is classifier else classifier.network.state_dict()
    differences = list(_differences(expected, tensors))
    if differences:
        shown = "; ".join(differences[:4]) + (f"; and {len(differences) - 4} more" if len(differences) > 4 else "")
        raise InputError(f"weights: {str(path)!r} does not fit the architecture: {shown}")
    target.load_state_dict(tensors)


def _differences(expected: dict[str, Tensor], found: dict[str, Tensor]) -> Iterator[str]:
    for name, tensor in expected.items():
        if name not in found:
            yield f"{name} is missing"
        elif found[name].shape != tensor.shape:
            yield f"{name} is {tuple(found[name].shape)}, expected {tuple(tensor.shape)}"
    for name in found:
        if name not in expected:
            yield f"{name} is unknown"


def save_weights(classifier: nn.Module, path: str | Path) -> None:
    """Write the weights as safetensors."""
    from safetensors.torch import save_file

    # Clones, since safetensors refuses tensors that share memory.
    save_file(
        {name: tensor.detach().cpu().clone().contiguous() for name, tensor in classifier.state_dict().items()}, path
    )


__all__ = [
    "IMAGENET",
    "PENULTIMATE",
    "Classifier",
    "MissingError",
    "Model",
    "Passes",
    "check_weights_file",
    "load_weights",
    "looks_like_file",
    "passes",
    "read_tensors",
    "save_weights",
]
