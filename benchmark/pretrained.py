"""Weights that installed packages bring, under names: `weights: package:NAME`.

A distribution offers some by an entry point of the group `bench.weights`: the entry point's name is the one that users
write after `package:`, and its value leads to a `PackagedWeights`. The package with the file itself may be another one,
which the user installs; nothing of it is imported or executed, the file is read as `benchmark.weights` reads any.
"""

from __future__ import annotations

import importlib.metadata
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from benchmark.errors import InputError, MissingError, first_line, unknown_name
from benchmark.files import known_digest
from benchmark.options import PACKAGE, looks_like_file
from benchmark.store.artifact import digest
from benchmark.weights import Checkpoint, check_weights_file, in_order

GROUP = "bench.weights"


@dataclass(frozen=True)
class PackagedWeights:
    """A weights file inside a package of the package index.

    Attributes:
        distribution: the package's name there.
        file: its path as the package's list of files has it.
        sha256: of the file, in hexadecimal digits; another file is refused.
        network: which network they are of, in words: "tf_efficientnet_lite0 of timm".
        licence: of the weights, as the package states it.
        origin: where the package says that they come from: an address.
        install: the command that brings them.
        in_order: the file names its tensors otherwise than the network, and lists them in the same order.
        timm: timm's name of the network, where it is timm's: another of the same tensors, with another padding, is
            refused.
        mean: of each channel, in [0, 1] units, that was subtracted from the images it was trained on; () where the
            source does not say.
        std: by which these were divided then.
    """

    distribution: str
    file: str
    sha256: str
    network: str
    licence: str
    origin: str
    install: str
    in_order: bool = False
    timm: str = ""
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def check_timm(self, name: str) -> None:
        """Refuse a network of timm's that these weights are not of; `name` may have a tag.

        Raises:
            InputError: it is another one.
        """
        if name.partition(".")[0] != self.timm:
            of = f"are of timm's {self.timm!r}" if self.timm else f"are of {self.network}"
            raise InputError(f"weights: those of {self.distribution} {of}, not of {name!r}.")

    def path(self) -> Path:
        """Return the file, whole and as declared.

        Raises:
            MissingError: the package is not installed, with the command that installs it.
            InputError: it lacks the file, or the file is another one.
        """
        try:
            files = importlib.metadata.files(self.distribution) or ()
        except importlib.metadata.PackageNotFoundError:
            raise MissingError(
                f"weights: the package {self.distribution}, which brings the weights of {self.network}, is not "
                f"installed: {self.install}. Or give a file as `weights`, or leave it out to train from the start."
            ) from None
        path = next((Path(str(one.locate())) for one in files if str(one) == self.file), None)
        again = f"Install it again: {self.install}."
        if path is None or not path.is_file():
            raise InputError(f"weights: the package {self.distribution} lacks its file {self.file!r}. {again}")
        found = known_digest(path)
        if found != self.sha256:
            raise InputError(
                f"weights: {str(path)!r} is damaged, or of another release of {self.distribution}: its SHA-256 is "
                f"{found[:16]}…, expected {self.sha256[:16]}…. {again}"
            )
        return path

    def check(self) -> None:
        """Refuse a file that is missing or another one.

        Raises:
            MissingError, InputError: as `path`.
        """
        self.path()

    def digest(self) -> str:
        """Return a digest of the file that is allowed and of how it is used: networks differ where either does."""
        return digest(self.sha256, self.mean, self.std, self.in_order)

    def read(self, network: nn.Module) -> Checkpoint:
        """Return the tensors, by the names of `network` where the file has others.

        Raises:
            MissingError, InputError: as `path`; a number of tensors that is not the network's.
        """
        checkpoint = Checkpoint.read(self.path())
        return in_order(checkpoint, network) if self.in_order else checkpoint

    def facts(self) -> dict[str, str]:
        """Return what a manifest keeps of the source."""
        return {
            "network": self.network,
            "package": f"{self.distribution} {importlib.metadata.version(self.distribution)}",
            "file": self.file,
            "sha256": self.sha256,
            **({"mean": str(self.mean), "std": str(self.std)} if self.mean else {}),
            "licence": self.licence,
            "origin": self.origin,
        }


@dataclass(frozen=True)
class WeightsFile:
    """A weights file of the user's, asked in the same way."""

    path: str

    def check(self) -> None:
        """Refuse a file that is missing or that holds no tensors by name.

        Raises:
            MissingError, InputError: as `check_weights_file`.
        """
        check_weights_file(self.path)

    def digest(self) -> str:
        """Return the SHA-256 of the file."""
        return known_digest(Path(self.path))

    def read(self, network: nn.Module) -> Checkpoint:
        """Return the tensors, by the names that the file gives them.

        Raises:
            InputError: as `Checkpoint.read`.
        """
        return Checkpoint.read(self.path)

    def facts(self) -> dict[str, str]:
        """Return what a manifest keeps of the source."""
        return {"file": Path(self.path).name, "sha256": self.digest()}


def weights_source(weights: str | None) -> PackagedWeights | WeightsFile | None:
    """Return where the host reads `weights` from; None without any, and for a name that the model itself knows.

    Raises:
        InputError: as `packaged_weights`.
    """
    if weights is not None and weights.startswith(PACKAGE):
        return packaged_weights(weights)
    return WeightsFile(weights) if weights is not None and looks_like_file(weights) else None


def packaged_weights(weights: str) -> PackagedWeights:
    """Return the source that `weights` names, with or without `package:` before it.

    Raises:
        InputError: no installed plugin offers such a source, two offer different ones, or it cannot be loaded.
    """
    name = weights.removeprefix(PACKAGE)
    offered = importlib.metadata.entry_points(group=GROUP)
    found = {entry.value: entry for entry in offered.select(name=name)}
    if not found:
        raise InputError(f"weights: {unknown_name('source', name, sorted(offered.names))}")
    if len(found) > 1:
        raise InputError(f"weights: {name!r} is offered twice, by {' and by '.join(sorted(found))}: uninstall one.")
    (entry,) = found.values()
    try:
        source = entry.load()
    except Exception as error:
        raise InputError(f"weights: {name!r}, from {entry.value}, cannot be loaded: {first_line(error)}") from error
    if not isinstance(source, PackagedWeights):
        raise InputError(f"weights: {name!r}, from {entry.value}, is no benchmark.PackagedWeights.")
    return source
