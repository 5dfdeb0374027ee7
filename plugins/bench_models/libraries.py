"""Networks of torchvision and timm by name, with a last layer for the data set's classes.

Published weights are read with torch's `weights_only` loader or from safetensors: a pickle is never executed.
"""

from __future__ import annotations

import importlib
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor, nn

from bench_models import options
from benchmark import (
    PACKAGE,
    Checkpoint,
    InputError,
    MissingError,
    Model,
    first_line,
    known_digest,
    near_match,
    packaged_weights,
    read_by_host,
    read_tensors,
    required,
    shape_text,
    unknown_name,
)


class Torchvision(Model):
    """A torchvision classifier. Grey images are repeated to three channels."""

    Options = options.TorchvisionOptions

    def check(self) -> None:
        """Look whether torchvision knows the architecture and the weights, and whether these are on this machine.

        Raises:
            InputError: unknown architecture or weights; a damaged weights file.
            MissingError: the weights are not here, or cannot be fetched where `download` is set.
        """
        super().check()
        arch, weights = self.options.arch, self.options.weights
        known = torchvision.models.list_models(module=torchvision.models)
        if arch not in known:
            raise InputError(_unknown_architecture("torchvision", torchvision.__version__, arch, known))
        if weights is not None and not read_by_host(weights):
            self._weights_file(check_digest=True)

    def network(self, num_classes: int, image_shape: tuple[int, int, int]) -> nn.Module:
        """Return the network with its published weights and a new last layer, or with initial weights.

        Raises:
            InputError: the architecture does not take images of that shape.
            MissingError: the weights file has gone since `check`.
        """
        arch, weights = self.options.arch, self.options.weights
        name = f"{arch} of torchvision"
        channels, height, width = image_shape
        if channels not in (1, 3):
            raise InputError(f"{name} takes images of 3 channels, or grey ones, these have {channels}")
        pretrained = weights is not None and not read_by_host(weights)
        arguments: dict[str, Any] = {}
        if arch.startswith("vit_"):
            if height != width:
                raise InputError(f"{name} takes square images, these are {height}x{width}")
            arguments["image_size"] = height
        elif arch == "maxvit_t":
            arguments["input_size"] = (height, width)
        elif arch in ("googlenet", "inception_v3"):
            # Without the auxiliary heads of training, which answer with more than logits.
            arguments.update(aux_logits=False, init_weights=not pretrained)
        if pretrained:
            arguments["num_classes"] = len(self._weights().meta["categories"])
            if arch in ("googlenet", "inception_v3"):
                arguments["transform_input"] = True
        else:
            arguments["num_classes"] = num_classes
        try:
            network: nn.Module = torchvision.models.get_model(arch, weights=None, **arguments)
        except (AssertionError, ValueError) as error:
            raise InputError(f"{name} cannot take images of {shape_text(image_shape)}: {first_line(error)}") from error
        if pretrained:
            self._load(network, image_shape)
            _replace_head(network, num_classes)
        if self.options.stem == "cifar":
            _use_cifar_stem(network)
        if self.options.norm_momentum is not None:
            for module in network.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.momentum = self.options.norm_momentum
        if channels == 1:
            network.register_forward_pre_hook(_repeat_grey)
        return network

    def _load(self, network: nn.Module, image_shape: tuple[int, int, int]) -> None:
        arch, weights = self.options.arch, self.options.weights
        try:
            _renamed(Checkpoint.read(self._weights_file())).load(network)
        except InputError as error:
            sized = arch.startswith(("vit_", "maxvit_"))  # their tensors depend on the size of the images
            raise InputError(
                f"{weights} of {arch} do not fit the network for images of {shape_text(image_shape)}: {error}"
                + (" Resize the images to the size that the weights were trained on." if sized else "")
            ) from None

    def _weights(self) -> Any:
        """Return torchvision's record of the named weights."""
        known = {weights.name: weights for weights in torchvision.models.get_model_weights(self.options.arch)}
        if self.options.weights not in known:
            raise InputError(
                unknown_name(f"weights of {self.options.arch}", self.options.weights, known)
                + " Or give a file that ends in .safetensors, .pt or .pth."
            )
        return known[self.options.weights]

    def _weights_file(self, check_digest: bool = False) -> Path:
        url = self._weights().url
        path = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1]
        match = re.search(r"-([0-9a-f]{8,64})\.", path.name)
        expected = match.group(1) if match else ""
        if not path.is_file():
            if not self.options.download:
                raise MissingError(_missing(f"{self.options.weights} of {self.options.arch}", path, url, "TORCH_HOME"))
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                torch.hub.download_url_to_file(url, str(path), hash_prefix=expected or None, progress=False)
            except (OSError, RuntimeError) as error:
                raise MissingError(
                    f"weights: {self.options.weights} of {self.options.arch} could not be fetched "
                    f"({first_line(error)}): put the file from {url} at {str(path)!r} by hand, or leave `weights` out."
                ) from None
        elif check_digest and not known_digest(path).startswith(expected):
            raise InputError(
                f"weights: {str(path)!r} is damaged: its SHA-256 does not begin with {expected}. Delete it and get it "
                f"again from {url}."
            )
        return path


class Timm(Model):
    """A timm classifier. It takes any number of channels; timm adapts published weights to them."""

    Options = options.TimmOptions

    def check(self) -> None:
        """Look whether timm is installed and knows the name, and whether published weights are on this machine.

        Raises:
            MissingError: timm is not installed; the weights are not here, or cannot be fetched where `download` is set.
            InputError: unknown name or tag.
        """
        super().check()
        timm = _timm()
        arch, _, tag = self.options.arch.partition(".")
        known = timm.list_models()
        if arch not in known:
            raise InputError(_unknown_architecture("timm", timm.__version__, arch, known))
        tags = [name.partition(".")[2] for name in timm.list_pretrained(f"{arch}.*")]
        if tag and tag not in tags:
            raise InputError(f"arch: timm has no {self.options.arch!r}. " + unknown_name(f"tag of {arch}", tag, tags))
        if self.options.pretrained:
            self._weights_file(timm)
        weights = self.options.weights
        if weights is not None and weights.startswith(PACKAGE):
            packaged_weights(weights).check_timm(self.options.arch)

    def weights_facts(self) -> dict[str, str] | None:
        """Return where the initial weights come from: a file, a package, or those published for the name and tag."""
        return {"name": f"{self.options.arch} of timm"} if self.options.pretrained else super().weights_facts()

    def network(self, num_classes: int, image_shape: tuple[int, int, int]) -> nn.Module:
        """Return the network with its published weights and a new last layer, or with initial weights.

        Raises:
            InputError: the architecture does not take images of that shape.
            MissingError: timm or the weights have gone since `check`.
        """
        timm = _timm()
        name = f"{self.options.arch} of timm"
        published = timm.models.get_pretrained_cfg(self.options.arch)
        arguments: dict[str, Any] = {}
        if published is not None and published.fixed_input_size:
            arguments["img_size"] = image_shape[1:]
        if self.options.pretrained:
            # Tensors that were read here: timm then neither asks the network nor reads a pickle.
            tensors = read_tensors(self._weights_file(timm))
            arguments["pretrained_cfg_overlay"] = {"state_dict": tensors, "custom_load": False}
        try:
            network: nn.Module = timm.create_model(
                self.options.arch,
                pretrained=self.options.pretrained,
                num_classes=num_classes,
                in_chans=image_shape[0],
                **arguments,
            )
        except (AssertionError, RuntimeError, TypeError, ValueError) as error:
            raise InputError(
                f"{name} cannot be built for images of {shape_text(image_shape)}: {first_line(error)}"
            ) from error
        return network

    def _weights_file(self, timm: Any) -> Path:
        arch = self.options.arch
        published = timm.models.get_pretrained_cfg(arch)
        if published is None or not published.hf_hub_id:
            raise InputError(f"pretrained: timm publishes no weights for {arch!r}; give a file as `weights`, or a tag")
        hub = importlib.import_module("huggingface_hub")
        repository, _, revision = published.hf_hub_id.partition("@")
        file = published.hf_hub_filename or "model.safetensors"
        found = hub.try_to_load_from_cache(repository, file, revision=revision or None)
        if not isinstance(found, str) and self.options.download:
            try:
                found = hub.hf_hub_download(repository, file, revision=revision or None)
            except Exception as error:
                raise MissingError(
                    f"pretrained: the weights of {arch!r} could not be fetched ({first_line(error)}): leave "
                    "`pretrained` out, or give a file as `weights`."
                ) from None
        if not isinstance(found, str):
            folder = Path(hub.constants.HF_HUB_CACHE) / f"models--{repository.replace('/', '--')}"
            source = f"{hub.constants.ENDPOINT}/{repository}"
            path = folder / "snapshots" / "*" / file
            raise MissingError(_missing(f"the weights of {arch!r}", path, source, "HF_HOME"))
        return Path(found)


def _timm() -> Any:
    return required("timm", "the model timm", "unmask-bench[timm]")


def _unknown_architecture(library: str, version: str, arch: str, known: list[str]) -> str:
    place = f"{library}.models" if library == "torchvision" else library
    return (
        f"arch: {library} {version} has no {arch!r} among its {len(known)} classifiers.{near_match(arch, known)} "
        f"{place}.list_models() lists them."
    )


def _missing(weights: str, path: Path, source: str, variable: str) -> str:
    return (
        f"weights: {weights} are not on this machine: no file {str(path)!r} (the environment variable {variable} moves "
        f"the folder). Set `download: true` to fetch them from {source}, put the file there by hand, or leave the "
        "weights out to train from the start."
    )


def _renamed(published: Checkpoint) -> Checkpoint:
    """Return published tensors by their names in today's networks, without those of auxiliary heads."""
    tensors = {
        # DenseNet's were published when a module's name could contain a dot.
        re.sub(r"(\.denselayer\d+\.(?:norm|conv))\.([12]\.)", r"\1\2", name): tensor
        for name, tensor in published.tensors.items()
        if not name.startswith(("aux1.", "aux2.", "AuxLogits."))
    }
    return replace(published, tensors=tensors)


def _replace_head(network: nn.Module, num_classes: int) -> None:
    """Put a new last layer, with initial weights, in the place of the published one."""
    name, old = [(n, m) for n, m in network.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)][-1]
    new = (
        nn.Linear(old.in_features, num_classes)
        if isinstance(old, nn.Linear)
        else nn.Conv2d(old.in_channels, num_classes, kernel_size=1)  # SqueezeNet's
    )
    parent, _, child = name.rpartition(".")
    setattr(network.get_submodule(parent), child, new)


def _use_cifar_stem(network: Any) -> None:
    network.conv1 = nn.Conv2d(3, network.conv1.out_channels, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out", nonlinearity="relu")
    network.maxpool = nn.Identity()


def _repeat_grey(network: nn.Module, inputs: tuple[Tensor]) -> Tensor:
    return inputs[0].expand(-1, 3, -1, -1)
