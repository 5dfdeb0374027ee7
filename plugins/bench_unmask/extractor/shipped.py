"""Weights of K that come with a package, by a name, and the command that makes them of a run.

A distribution offers some by an entry point of the group `bench_unmask.weights`: its name is the one that the option
`weights` takes, its value leads to the path of a .safetensors file, such as `bench_partshapes.extractor:WEIGHTS`.
"""

from __future__ import annotations

import importlib.metadata
import json
import math
from collections.abc import Mapping
from pathlib import Path

import click
from torch import Tensor

from bench_unmask.extractor.backend import IMAGENET, Scaling
from benchmark import (
    PACKAGE,
    BenchError,
    InputError,
    PackagedWeights,
    WeightsFile,
    first_line,
    packaged_weights,
    read_tensors,
    unknown_name,
)

GROUP = "bench_unmask.weights"


def weights_source(weights: str) -> PackagedWeights | WeightsFile:
    """Return what the option `weights` means: a package's, one that is shipped, or a file.

    Raises:
        InputError: no such source is installed; it looks like a name, and no such weights are shipped; two packages
            ship some of that name, or what one offers cannot be loaded.
    """
    if weights.startswith(PACKAGE):
        return packaged_weights(weights)
    shipped = importlib.metadata.entry_points(group=GROUP)
    if weights in shipped.names:
        offers = {entry.value: entry for entry in shipped.select(name=weights)}
        if len(offers) > 1:
            raise InputError(
                f"weights: {weights!r} is offered twice, by {' and by '.join(sorted(offers))}: name a file."
            )
        (entry,) = offers.values()
        try:
            return WeightsFile(str(entry.load()))
        except Exception as error:
            raise InputError(
                f"weights: {weights!r}, from {entry.value}, cannot be found: {first_line(error)}"
            ) from error
    path = Path(weights)
    if not path.suffix and len(path.parts) == 1 and not path.exists():
        raise InputError(
            f"weights: {unknown_name('name', weights, shipped.names)} A file ends in .safetensors, .pt or .pth."
        )
    return WeightsFile(weights)


def scaling_of(weights: str | None) -> Scaling:
    """Return how pixels were scaled where the weights were trained: as a package, K's file or the host's says.

    A file of somebody else's says nothing, and ImageNet's scaling is taken.

    Raises:
        InputError: as `weights_source`; the file says something else.
    """
    source = weights_source(weights) if weights is not None else None
    if isinstance(source, PackagedWeights):
        return Scaling(source.mean, source.std) if source.mean else IMAGENET
    if source is None:
        return IMAGENET
    told = metadata(source.path).get("scaling")
    if told is None:
        return _of_classifier(read_tensors(source.path)) or IMAGENET
    try:
        mean, std = ((float(one), float(two), float(three)) for one, two, three in json.loads(told))
        if not all(map(math.isfinite, (*mean, *std))) or min(std) <= 0:
            raise ValueError("no scaling has these")
    except (TypeError, ValueError):
        raise InputError(
            f"weights: {weights!r} says {told[:60]!r} of its scaling of pixels; expected a list of three means and one "
            "of three deviations above 0, such as [[0.5, 0.5, 0.5], [0.5, 0.5, 0.5]]."
        ) from None
    return Scaling(mean, std)


def _of_classifier(tensors: Mapping[str, Tensor]) -> Scaling | None:
    """Return the scaling of a classifier that the host saved, which has it among its tensors."""
    found = [tensors[name].flatten().tolist() for name in ("mean", "std") if name in tensors]
    if len(found) < 2 or any(len(values) != 3 for values in found):
        return None
    mean, std = ((one, two, three) for one, two, three in found)
    return Scaling(mean, std)


def metadata(path: str | Path) -> dict[str, str]:
    """Return what K's own files say beside the tensors: `parts` and `scaling`, as JSON; other files say nothing.

    Raises:
        InputError: the file is damaged, or none that holds weights.
    """
    from safetensors import safe_open

    try:
        with safe_open(path, "pt") as file:
            return file.metadata() or {}
    except Exception:  # another format, whatever its name says: the host's reader knows
        read_tensors(path)
        return {}


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--cache", help="Cache of the run [BENCH_CACHE].")
def main(run: Path, out: Path, cache: str | None) -> None:
    """Write the part extractor that RUN trained to OUT, in half precision and with the names of its parts."""
    from safetensors.torch import save_file

    from benchmark import load_run

    try:
        folder = load_run(run).artifact("extractor", cache)
        parts = json.loads((folder / "extractor.json").read_text())["parts"]
        tensors = read_tensors(folder / "weights.safetensors")
        told = metadata(folder / "weights.safetensors")
    except BenchError as error:
        raise click.ClickException(str(error)) from None
    half = {n: t.half() if t.is_floating_point() else t for n, t in tensors.items() if "num_batches" not in n}
    save_file(half, out, metadata=told)
    click.echo(f"{out}: {out.stat().st_size / 1e6:.1f} MB, {len(parts)} parts")


if __name__ == "__main__":
    main()
