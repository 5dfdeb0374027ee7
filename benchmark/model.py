"""Models: a classifier that takes pixels in [0, 1] and answers with logits and named hidden states."""

from __future__ import annotations

import traceback
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from benchmark.errors import InputError, MissingError, TaskError, first_line, unknown_name
from benchmark.options import ModelOptions, Normalization
from benchmark.pretrained import PackagedWeights, weights_source
from benchmark.progress import Progress
from benchmark.randomness import Rng
from benchmark.weights import Checkpoint, Loaded, check_weights_file, read_tensors, save_weights

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

    def count(self, images: int, answer: Tensor) -> None:
        """Count images that a network has answered, and as many backward once a gradient comes back to its answer."""
        self.forward += images

        def came_back(gradient: Tensor) -> None:
            self.backward += images

        if answer.requires_grad:
            answer.register_hook(came_back)

    def copy(self) -> Passes:
        """Return the counts as they stand."""
        return Passes(self.forward, self.backward)

    @contextmanager
    def uncounted(self) -> Iterator[None]:
        """Leave out what the block pushes through networks: what the host looks at besides is no cost of a method."""
        before = self.copy()
        try:
            yield
        finally:
            self.forward, self.backward = before.forward, before.backward


passes = Passes()
"""Counts of this process: of all classifiers, and of networks of other kinds, which their plugins `count`."""


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
        self.normalization = normalization
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, num_classes) of images (N, C, H, W) in [0, 1].

        The network is handed a copy of its own, contiguous and in the dtype of its parameters, that it may write into;
        its logits come back as float32, or as float64 for images in float64.

        Raises:
            TaskError: it answers with anything but logits.
        """
        logits = self._logits(x)
        passes.count(len(x), logits)
        return logits

    def _logits(self, x: Tensor) -> Tensor:
        # The network gets a tensor of its own: many work in place, and `x` is somebody's images.
        own = (
            x.clone(memory_format=torch.contiguous_format)
            if self.normalization is None
            else ((x - self.mean) / self.std).contiguous()
        )
        answer = self.network(own.to(self._dtype))
        if not isinstance(answer, Tensor):  # what transformers and torchvision's networks with auxiliary heads return
            inner = answer.get("logits") if isinstance(answer, Mapping) else getattr(answer, "logits", None)
            if not isinstance(inner, Tensor):
                raise TaskError(
                    f"the network must answer with one tensor of logits, its answer is {_kind(answer)}. Wrap it in a "
                    "network that returns the logits alone."
                )
            answer = inner
        expected = (x.shape[0], self.num_classes)
        if answer.shape != expected or not answer.is_floating_point():
            lost = expected[0] == 1 and answer.shape == expected[1:]
            raise TaskError(
                f"the network must answer with float logits of shape {expected} for {expected[0]} images of "
                f"{shape_text(x.shape[1:])} and {expected[1]} classes, its answer is {answer.dtype} of shape "
                f"{tuple(answer.shape)}"
                + (
                    ". A batch of one image loses its first dimension by `.squeeze()`: say which one, as in "
                    "`.flatten(1)`."
                    if lost
                    else ""
                )
            )
        return answer.to(_precision(x))

    @property
    def _dtype(self) -> torch.dtype:
        """The floating-point type that the network computes in."""
        tensors = chain(self.network.parameters(), self.network.buffers())
        return next((tensor.dtype for tensor in tensors if tensor.is_floating_point()), torch.float32)

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
        the network and means its output, as it comes, but in the precision of the logits: (N, ...).

        Raises:
            InputError: a layer of that name does not exist.
            TaskError: a layer was not run, or its output is not a tensor with a row per image.
        """
        wanted = tuple(layers)
        self.check_layers(wanted)
        with capturing(self.network, wanted) as states:
            logits = self(x)
        return {**{layer: _state(layer, states, x) for layer in wanted}, "logits": logits}

    def frozen(self) -> Classifier:
        """Put the classifier in eval mode without parameter gradients, and return it."""
        self.eval()
        self.requires_grad_(False)
        return self


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


def _precision(x: Tensor) -> torch.dtype:
    # What attackers and detectors compute with: half precision loses it, and who asks in float64 means it.
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def _state(layer: str, seen: Mapping[str, Any], x: Tensor) -> Tensor:
    if layer not in seen:
        raise TaskError(f"the layer {layer!r} takes no part in classifying these images. Name another layer.")
    state, count = seen[layer], x.shape[0]
    if not isinstance(state, Tensor) or state.dim() == 0 or state.shape[0] != count:
        found = f"of shape {tuple(state.shape)}" if isinstance(state, Tensor) else _kind(state)
        raise TaskError(
            f"the output of the layer {layer!r} is {found} and not a tensor with a row for each of {count} images. "
            "Name another layer."
        )
    return state.to(_precision(x)) if state.is_floating_point() else state


def _kind(answer: Any) -> str:
    inner = answer.values() if isinstance(answer, Mapping) else answer
    if not isinstance(answer, Mapping | tuple | list):
        return f"a {type(answer).__name__}"
    names = [f"{name!r}: " for name in answer] if isinstance(answer, Mapping) else [""] * len(answer)
    parts = [f"tensor {tuple(part.shape)}" if isinstance(part, Tensor) else type(part).__name__ for part in inner]
    return f"a {type(answer).__name__} of {len(parts)}: " + ", ".join(map("".join, zip(names[:4], parts[:4])))


def shape_text(shape: Sequence[int]) -> str:
    """Return "3x32x32"."""
    return "x".join(map(str, shape))


def try_out(classifier: Classifier, *, training: bool = False) -> None:
    """Push black images through a classifier, two and then one, in eval mode; parameters that are lazy come into being.

    Args:
        classifier: its mode is kept.
        training: push two in train mode instead, where a network may answer otherwise, and statistics move; the
            answer has to have a gradient then.

    Raises:
        InputError: the network fails on them, or answers with anything but logits; the reason.
    """
    was_training = classifier.training
    classifier.train(training)
    try:
        with torch.set_grad_enabled(training):
            for count in (2,) if training else (2, 1):
                logits = classifier._logits(torch.zeros(count, *classifier.image_shape))
    except TaskError as error:
        raise InputError(f"{error}{' This is its answer in train mode.' if training else ''}") from error
    except Exception as error:
        raise InputError(_why_it_fails(classifier, count, error)) from error
    finally:
        classifier.train(was_training)
    if training and not logits.requires_grad and any(weight.requires_grad for weight in classifier.parameters()):
        raise InputError(
            "the network's answer has no gradient, so it cannot be trained: take `torch.no_grad()`, `.detach()`, "
            "`.numpy()` or `.item()` out of its forward pass, or give `train: null`."
        )


_SIDES = (28, 32, 64, 96, 128, 224, 256, 299, 384)


def _why_it_fails(classifier: Classifier, count: int, error: Exception) -> str:
    """Return whether the images or the network itself are to blame: it is tried on other images."""
    shape, network = classifier.image_shape, classifier.network
    mode = " in train mode" if classifier.training else ""
    failed = f"{first_line(error)}{_place(error)}"
    if count == 1:
        return f"the network takes two images of {shape_text(shape)}, but not one alone{mode}: {failed}"
    for channels in dict.fromkeys((shape[0], 3, 1)):
        for side in _SIDES:
            try:
                with torch.set_grad_enabled(classifier.training):
                    network(torch.zeros(2, channels, side, side, dtype=classifier._dtype))
            except Exception:
                continue
            return (
                f"the network cannot take images of {shape_text(shape)} (channels x height x width){mode}: {failed}. "
                f"It takes {channels}x{side}x{side}: change the images in the data set's options, or the model."
            )
    return (
        f"the network cannot take images of {shape_text(shape)} (channels x height x width){mode}: {failed}. "
        "It fails on images of other sizes and with 1 or 3 channels too, so the reason is in the network."
    )


def _place(error: Exception) -> str:
    """Return the file and line of the network's own code that raised."""
    library = str(Path(torch.__file__).parent)
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith(library)]
    own = [frame for frame in frames if frame.filename != __file__]
    return f" ({own[-1].filename}:{own[-1].lineno})" if own else ""


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
            InputError: the weights file is none, is damaged, or is not the one that its source declares.
        """
        self._normalization()
        source = weights_source(self.options.weights)
        if source is not None:
            source.check()

    def fingerprint(self) -> str:
        """Return a digest of what the options only point to (the content of a weights file), or an empty text.

        It is part of every content key that the model is in.
        """
        source = weights_source(self.options.weights)
        return "" if source is None else source.digest()

    def weights_facts(self) -> dict[str, str] | None:
        """Return where the initial weights come from, for the manifest; None where they are drawn.

        Raises:
            MissingError, InputError: as `check`.
        """
        source, weights = weights_source(self.options.weights), self.options.weights
        if source is not None:
            return source.facts()
        return None if weights is None else {"name": weights}

    def build(
        self, num_classes: int, image_shape: tuple[int, int, int], rng: Rng, progress: Progress | None = None
    ) -> Classifier:
        """Return a classifier with initial weights: drawn from `rng`, or read from `options.weights`.

        Raises:
            InputError: the network does not take the images or does not answer with logits; a weights file does not
                fit it.
        """
        normalization = self._normalization()
        with rng.seeded_globals():
            classifier = Classifier(self.network(num_classes, image_shape), num_classes, image_shape, normalization)
            try_out(classifier)
            if self.options.memory_format == "channels_last":
                _lay_channels_last(classifier)
        source = weights_source(self.options.weights)
        if source is not None:
            _load_initial(classifier, source.read(classifier.network), self.options, progress)
        return classifier

    def _normalization(self) -> Normalization | None:
        normalize = self.options.normalize
        if normalize != "weights":
            return {"none": None, "imagenet": IMAGENET}[normalize] if isinstance(normalize, str) else normalize
        source = weights_source(self.options.weights)
        if isinstance(source, PackagedWeights) and source.mean:
            return Normalization(mean=source.mean, std=source.std)
        raise InputError(
            "normalize: `weights` is for those of a package that says how they were trained (weights: package:NAME). "
            "Write imagenet, or {mean: […], std: […]}."
        )


def _lay_channels_last(classifier: Classifier) -> None:
    for module in classifier.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            module.to(memory_format=torch.channels_last)
    try:
        try_out(classifier)
    except InputError as error:
        raise InputError(
            f"memory_format: with `channels_last` {error} Leave the option out, or write `.reshape` for `.view` in the "
            "network."
        ) from error


def _load_initial(
    classifier: Classifier, checkpoint: Checkpoint, options: ModelOptions, progress: Progress | None
) -> None:
    loaded = _load_checkpoint(classifier, checkpoint, new_head=True)
    said = []
    if checkpoint.others:
        said.append(
            f"holds several networks: {checkpoint.entry!r} is used, and not " + ", ".join(map(repr, checkpoint.others))
        )
    if loaded.other_classes:
        known = f"{loaded.other_classes} classes, and the data set {classifier.num_classes}"
        if options.train is None:
            raise InputError(
                f"weights: {checkpoint.path!r} is of a network with {known}: its last layer does not fit, and with "
                "`train: null` a new one would stay untrained. Give the model a training recipe."
            )
        said.append(f"is of a network with {known}: all but the last layer is used, which begins anew")
    if progress is not None:
        for text in said:
            progress.warn(f"weights: {checkpoint.path!r} {text}")


def load_weights(classifier: Classifier, path: str | Path) -> Loaded:
    """Load weights saved from a `Classifier`, or from the bare network inside it, and return what was read.

    Raises:
        InputError: the file holds no weights, or they do not fit: the first differences are listed; or they were saved
            with another normalisation around the network.
    """
    return _load_checkpoint(classifier, Checkpoint.read(path))


def _load_checkpoint(classifier: Classifier, checkpoint: Checkpoint, new_head: bool = False) -> Loaded:
    loaded = checkpoint.load(classifier.network, classifier, new_head=new_head)
    if loaded.network is classifier:
        found = [loaded.tensors[name].flatten().tolist() for name in ("mean", "std")]
        own = [getattr(classifier.normalization, "mean", [0.0]), getattr(classifier.normalization, "std", [1.0])]
        if not np.allclose(found, own, atol=1e-6):
            saved, given = ("mean {}, std {}".format(*np.round(pair, 4).tolist()) for pair in (found, own))
            raise InputError(
                f"weights: {checkpoint.path!r} was saved from a model that normalizes with {saved}; this one has "
                f"{given}. Give it the same `normalize`."
            )
    return loaded


__all__ = [
    "IMAGENET",
    "PENULTIMATE",
    "Classifier",
    "MissingError",
    "Model",
    "Passes",
    "check_weights_file",
    "load_weights",
    "passes",
    "read_tensors",
    "save_weights",
    "shape_text",
    "try_out",
]
