"""Weights files: what a checkpoint holds, read without unpickling, and how it fits a network.

What is read is told by the content, not by the name: safetensors, or what `torch.save` writes. A pickle is never
executed: torch's `weights_only` reader rebuilds tensors and plain values and calls nothing that the file names.
"""

from __future__ import annotations

import argparse
import pickletools
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmark.errors import InputError, MissingError

ENTRIES = ("state_dict", "model_state_dict", "model", "net", "network", "ema", "model_ema", "state_dict_ema")
"""Entries of a checkpoint under which a network's tensors stand; the first of these that is there is read."""

PREFIXES = ("module.", "_orig_mod.", "model.", "network.")
"""What wrappers put before every name: DataParallel, torch.compile, a training class, the host's `Classifier`."""

_LISTED = 4
_AVERAGED = "n_averaged"  # a counter that torch's AveragedModel keeps beside `module.`
_COUNTER = "num_batches_tracked"  # batch normalisation's; torch takes a checkpoint without it too
_FOREIGN = {
    b"\x1f\x8b": "a gzip archive: unpack it",
    b"BZh": "a bzip2 archive: unpack it",
    b"\xfd7zXZ": "an xz archive: unpack it",
    b"\x89HDF": "an HDF5 file, as Keras writes them: convert it to safetensors",
    b"\x93NUMPY": "a NumPy array: save the tensors by name as safetensors",
}
_SAVE = "safetensors.torch.save_file(model.state_dict(), 'weights.safetensors')"
# What `torch.save` writes of tensors and of plain numbers; whatever else is named would have to be executed.
_PLAIN = re.compile(
    r"torch\.(\w+|_utils\.\w+|_tensor\.\w+|storage\.\w+|serialization\.\w+|nn\.parameter\.\w+)"
    r"|collections\.(OrderedDict|Counter)|_codecs\.encode|(__builtin__|builtins)\.(set|bytearray|complex)"
    r"|numpy\.(core|_core)\.multiarray\.(scalar|_reconstruct)|numpy\.(dtype|ndarray)|numpy\.dtypes\.\w+"
    r"|argparse\.Namespace"
)


def _plain_values() -> list[Any]:
    """Return what the reader may make beside tensors: the numbers and arguments that training scripts keep."""
    made: dict[str, Any] = {
        "scalar": np.float64(0).__reduce__()[0],
        "_reconstruct": np.array(0).__reduce__()[0],
    }
    return [
        *(
            (function, f"numpy.{core}.multiarray.{name}")
            for name, function in made.items()
            for core in ("core", "_core")
        ),
        np.dtype,
        np.ndarray,
        *{type(np.dtype(code)) for code in "?bhilqBHILQefdgFD"},
        argparse.Namespace,
    ]


@dataclass(frozen=True)
class Checkpoint:
    """What a weights file holds.

    Attributes:
        path: of the file.
        tensors: by the names that the file gives them.
        entry: where in the file they stand, such as "state_dict"; "" at its top.
        beside: what else is there and is not read, in words: "epoch (int)".
        others: entries that hold weights too.
    """

    path: str
    tensors: dict[str, Tensor]
    entry: str
    beside: tuple[str, ...]
    others: tuple[str, ...]

    @classmethod
    def read(cls, path: str | Path) -> Checkpoint:
        """Read the named tensors of a file: a state dict, or one inside a checkpoint under one of `ENTRIES`.

        Raises:
            InputError: the file holds something else (it is named), or is damaged. Nothing in it is executed.
        """
        content = _content(Path(path))
        where = f"weights: {str(path)!r}"
        entry: list[str] = []
        beside: list[str] = []
        others: list[str] = []
        while isinstance(content, Mapping):
            named = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
            inner = [name for name in ENTRIES if isinstance(content.get(name), Mapping) and content[name]]
            rest = [name for name in content if str(name) not in named and name not in inner[:1]]
            if inner:
                rest += list(named)
            beside += [f"{_shown(str(name))} ({type(content[name]).__name__})" for name in rest]
            if not inner:
                break
            others += inner[1:]
            entry.append(inner[0])
            content = content[inner[0]]
        if not isinstance(content, Mapping) or not named:
            listed = f": {_listed(beside, 10)}" if beside else f" but a {type(content).__name__}"
            raise InputError(
                f"{where} holds no tensors by name{listed}. Save the state dict of the network, as such or under one "
                f"of the entries {', '.join(ENTRIES)}: {_SAVE}."
            )
        if _AVERAGED in named and any(name.startswith("module.") for name in named):
            del named[_AVERAGED]
            beside.append(f"{_AVERAGED} (Tensor)")
        return cls(str(path), named, ".".join(entry), tuple(beside), tuple(others))

    def load(self, *networks: nn.Module, new_head: bool = False) -> Loaded:
        """Load the tensors into the one of `networks` that they fit.

        Prefixes of wrappers that all names share are left out as far as it takes. Parameters keep their dtype and
        device.

        Args:
            networks: candidates, the likeliest first.
            new_head: where nothing but the number of classes differs, the network keeps its own last layer.

        Raises:
            InputError: names, shapes or kinds of numbers do not fit; the first differences, and what was found.
        """
        tries = []
        for tensors in self.variants():
            for network in networks:
                classes, body = _without_head(network, tensors) if new_head else (0, tensors)
                tries.append(
                    (Loaded(network, body, classes), _differences(network, {**_kept(network, classes), **body}))
                )
        loaded, wrong = min(tries, key=lambda one: len(one[1]))
        if wrong:
            raise InputError(
                f"weights: {self.path!r} does not fit the architecture: {_listed(wrong, _LISTED, '; ')}. "
                f"{self.describe()}"
            )
        counters = {name: tensor for name, tensor in loaded.network.state_dict().items() if name.endswith(_COUNTER)}
        loaded.network.load_state_dict({**counters, **_kept(loaded.network, loaded.other_classes), **loaded.tensors})
        return loaded

    def variants(self) -> Iterator[dict[str, Tensor]]:
        """Yield the tensors by their names, then without each prefix of a wrapper that all of them share."""
        tensors = self.tensors
        while tensors:
            yield tensors
            prefix = next((p for p in PREFIXES if all(name.startswith(p) for name in tensors)), None)
            if prefix is None:
                return
            tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}

    def describe(self) -> str:
        """Return what was found, in a sentence."""
        names = list(self.tensors)
        said = f"The file holds {len(names)} tensors, from {_shown(names[0])} to {_shown(names[-1])}"
        if self.entry:
            said += f", in its entry {self.entry!r}"
        return said + (f"; not read: {', '.join(self.beside)}." if self.beside else ".")


def check_weights_file(path: str | Path) -> None:
    """Refuse a weights file that is missing or that holds no tensors by name.

    Raises:
        MissingError: the file is not there.
        InputError: what is there instead.
    """
    if not Path(path).exists():
        raise MissingError(
            f"weights: no file {str(Path(path).absolute())!r}. Put the weights there, or leave `weights` out to train "
            "from the start."
        )
    Checkpoint.read(path)


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """Return the named tensors of a weights file, by the names that it gives them.

    Raises:
        InputError: as `Checkpoint.read`.
    """
    return Checkpoint.read(path).tensors


@dataclass(frozen=True)
class Loaded:
    """What was loaded, and where.

    Attributes:
        network: that took the tensors.
        tensors: by its names, those of a head of other classes left out.
        other_classes: how many classes the file's head has where the network keeps a head of its own; 0 where the
            file's is used.
    """

    network: nn.Module
    tensors: dict[str, Tensor]
    other_classes: int = 0


def in_order(checkpoint: Checkpoint, network: nn.Module) -> Checkpoint:
    """Return the checkpoint with the names of `network`'s tensors, paired in order.

    For sources that are known to hold the same tensors in the same order under other names.

    Raises:
        InputError: there are more of them, or fewer.
    """
    names = list(network.state_dict())
    if len(names) != len(checkpoint.tensors):
        raise InputError(
            f"weights: {checkpoint.path!r} does not fit the architecture: it holds {len(checkpoint.tensors)} tensors, "
            f"and the network {len(names)}."
        )
    return replace(checkpoint, tensors=dict(zip(names, checkpoint.tensors.values(), strict=True)))


def _head(network: nn.Module) -> dict[str, Tensor]:
    """Return the tensors of the last linear or convolutional layer, by their names in `network`."""
    layers = [(name, one) for name, one in network.named_modules() if isinstance(one, nn.Linear | nn.Conv2d)]
    if not layers:
        return {}
    name, layer = layers[-1]
    return {f"{name}.{own}" if name else own: tensor for own, tensor in layer.state_dict().items()}


def _kept(network: nn.Module, other_classes: int) -> dict[str, Tensor]:
    return _head(network) if other_classes else {}


def _without_head(network: nn.Module, found: dict[str, Tensor]) -> tuple[int, dict[str, Tensor]]:
    """Return how many classes the file's head has, and the other tensors, where it differs in the classes alone.

    Else 0, and all tensors.
    """
    head = _head(network)
    classes = {found[name].shape[0] for name in head if name in found and found[name].dim()}
    alike = all(name in found and found[name].shape[1:] == own.shape[1:] for name, own in head.items())
    if not alike or len(classes) != 1 or any(found[name].shape[0] == own.shape[0] for name, own in head.items()):
        return 0, found
    return classes.pop(), {name: tensor for name, tensor in found.items() if name not in head}


def _differences(network: nn.Module, found: Mapping[str, Tensor]) -> list[str]:
    """Return in words where the tensors `found` differ from those of `network`, in names, shapes, kinds of numbers."""
    expected = network.state_dict()
    missing = [f"{name} is missing" for name in expected if name not in found and not name.endswith(_COUNTER)]
    unknown = [f"{_shown(name)} is unknown" for name in found if name not in expected]
    wrong = []
    for name in expected.keys() & found.keys():
        tensor, own = found[name], expected[name]
        if tensor.shape != own.shape:
            wrong.append(f"{name} is {tuple(tensor.shape)}, expected {tuple(own.shape)}")
        elif tensor.is_floating_point() != own.is_floating_point():
            wrong.append(f"{name} holds {tensor.dtype} numbers, expected {own.dtype}")
    return sorted(wrong) + [said for pair in zip_longest(missing, unknown) for said in pair if said]


def save_weights(network: nn.Module, path: str | Path) -> None:
    """Write the weights as safetensors."""
    from safetensors.torch import save_file

    # Clones, since safetensors refuses tensors that share memory.
    save_file({name: tensor.detach().cpu().clone().contiguous() for name, tensor in network.state_dict().items()}, path)


# -- what a file is ---------------------------------------------------------------------------------------------------


def _content(path: Path) -> Any:
    """Return what `torch.load` or safetensors makes of a file, or say what it is instead."""
    where = f"weights: {str(path)!r}"
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(1024)
    except OSError as error:
        raise InputError(f"{where} cannot be read: {error.strerror}") from None
    if _is_safetensors(head):
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except Exception as error:
            raise InputError(_damaged(where, size, error)) from None
    instead = _instead(path, head)
    if instead:
        raise InputError(f"{where} is {instead}")
    try:
        with torch.serialization.safe_globals(_plain_values()), warnings.catch_warnings(action="ignore"):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=head.startswith(b"PK"))
    except Exception as error:  # torch's own message advises to execute the file
        needs = _classes(path)
        if needs:
            raise InputError(
                f"{where} needs more than tensors to be read: {_listed(needs, 6)}. A pickle is never executed here: "
                f"where these are known, save the state dict alone, by {_SAVE}."
            ) from None
        if not head.startswith(b"PK") and not _written_by_torch(head):
            raise InputError(
                f"{where} is a pickle that torch did not write. A pickle is never executed here: save the state dict "
                f"by {_SAVE}."
            ) from None
        raise InputError(_damaged(where, size, error)) from None


def _is_safetensors(head: bytes) -> bool:
    return len(head) > 9 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 1 << 32


def _instead(path: Path, head: bytes) -> str:
    """Return what a file is that is neither safetensors nor a pickle, and what to do; "" where it may be read."""
    again = "Get the file itself again."
    if not head:
        return f"empty. {again}"
    if head.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer that stands for the weights: run `git lfs pull` in its repository."
    if head[257:262] == b"ustar":
        return "a tar archive: unpack it and name the file inside."
    for magic, name in _FOREIGN.items():
        if head.startswith(magic):
            return name + "."
    text = _text(head)
    if text is not None and re.match(r"<!doctype\s+html|<html|<head", text, re.IGNORECASE):
        return f"an HTML page: what was saved is the page around the download, or one that asks to sign in. {again}"
    if text is not None:
        return f"a text that begins with {text[:60]!r}. {again}"
    if head.startswith(b"PK"):
        try:
            with zipfile.ZipFile(path) as archive:
                names = {name.rpartition("/")[2] for name in archive.namelist()}
        except (zipfile.BadZipFile, OSError):
            return f"cut off after {path.stat().st_size:,} bytes, or damaged. {again}"
        if "constants.pkl" in names:
            return f"a TorchScript archive, which holds a program: save the state dict of the network, by {_SAVE}."
        return "" if "data.pkl" in names else f"a zip archive that torch did not write: save the state dict by {_SAVE}."
    return "" if head.startswith(b"\x80") else f"no weights file: it begins with the bytes {head[:8].hex(' ')}."


def _text(head: bytes) -> str | None:
    """Return the beginning of a file as text, None where it is none."""
    try:
        text = head.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 4:  # else a character that the 1024 bytes cut
            return None
        text = head[: error.start].decode("utf-8-sig")
    text = text.strip()
    return text if text and all(c.isprintable() or c.isspace() for c in text) else None


def _classes(path: Path) -> list[str]:
    """Return what a pickle names that is neither a tensor nor a plain value, in order, without executing it."""
    found: dict[str, None] = {}
    texts: list[str] = []
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                (name,) = (name for name in archive.namelist() if name.endswith("data.pkl"))
                file: Any = archive.open(name)
        else:
            file = path.open("rb")
        with file:
            for _ in range(5):  # the older format of torch is five pickles, one after the other
                for code, value, _position in pickletools.genops(file):
                    if code.name == "GLOBAL":
                        found[str(value).replace(" ", ".")] = None
                    elif code.name == "STACK_GLOBAL":
                        found[".".join(texts[-2:])] = None
                    elif "UNICODE" in code.name:
                        texts.append(str(value))
                if zipfile.is_zipfile(path):
                    break
    except Exception:  # the pickles end, or are damaged: what was named up to there was named
        pass
    return [_shown(name) for name in found if not _PLAIN.fullmatch(name)]


def _written_by_torch(head: bytes) -> bool:
    return (0x1950A86A20F9469CFC6C).to_bytes(10, "little") in head[:32]  # the magic number of the older format


def _damaged(where: str, size: int, error: Exception) -> str:
    return f"{where} is cut off or damaged: its {size:,} bytes end in {type(error).__name__}. Get the file again."


def _shown(name: str) -> str:
    """Return a name that stood in a file, fit for a message."""
    return name if name.isprintable() and len(name) <= 100 else repr(name[:100])


def _listed(parts: list[str], most: int, between: str = ", ") -> str:
    more = f"{between}and {len(parts) - most} more" if len(parts) > most else ""
    return between.join(parts[:most]) + more
