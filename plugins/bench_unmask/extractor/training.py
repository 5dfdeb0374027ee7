"""Training of K: annotated parts as targets, the schedule, checkpoints."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from bench_unmask.extractor.backend import Backend, Target, freeze
from bench_unmask.extractor.options import PartExtractorOptions, TrainingStage
from bench_unmask.extractor.shipped import metadata, weights_source
from benchmark import (
    InputError,
    MicroBatches,
    PartAnnotations,
    Progress,
    Rng,
    Split,
    TaskError,
    TrainingCheckpoint,
    batches,
    mask_of,
    passes,
)


class AnnotatedParts:
    """The part annotations of a split as training targets, without the regions that are to be ignored.

    Attributes:
        parts: names of the parts, in the order of the file's categories; a label is an index into them.
    """

    def __init__(self, annotations: PartAnnotations | None, parts: Sequence[str] | None = None) -> None:
        """Sort the annotations by image.

        Args:
            annotations: those of a split.
            parts: the parts that K knows; None takes the categories.

        Raises:
            InputError: there are none, or an annotation's category is not among the parts.
        """
        if annotations is None:
            raise InputError(
                "the part extractor learns from part annotations, and its data set has none. Name a data set that has "
                "them, such as coco_parts, unmask_parts or partshapes."
            )
        data = annotations.data
        names = {category["id"]: category["name"] for category in data["categories"]}
        self.parts: tuple[str, ...] = tuple(parts) if parts is not None else tuple(names.values())
        of_image: dict[Any, list[tuple[int, dict[str, Any]]]] = {image["id"]: [] for image in data["images"]}
        label_of = {name: label for label, name in enumerate(self.parts)}
        for annotation in annotations.parts:
            name = names.get(annotation["category_id"])
            if name not in label_of:
                raise InputError(
                    f"annotation {annotation['id']}: its category {annotation['category_id']!r} ({name}) is not among "
                    f"the {len(self.parts)} parts: {', '.join(self.parts)}."
                )
            of_image[annotation["image_id"]].append((label_of[name], annotation))
        if not any(of_image.values()):
            raise InputError("the part extractor cannot learn: the training images have no annotated part.")
        self._shapes = [(image["height"], image["width"]) for image in data["images"]]
        self._found = list(of_image.values())
        self._mirrored = np.array([_mirror_label(name, label_of) for name in self.parts])

    def can_be_mirrored(self, index: int) -> bool:
        """Tell whether the mirror image of image `index` has parts with names, too.

        A car's left side becomes a right side, for which there must be a name.
        """
        return all(self._mirrored[label] >= 0 for label, _ in self._found[index])

    def target(self, index: int, size: tuple[int, int], mirrored: bool, with_masks: bool) -> Target:
        """Return what is to be found in image `index` after it was resized to `size` (height, width), and mirrored.

        Raises:
            InputError: a mask is wanted that is not there, or is empty.
        """
        found = self._found[index]
        height, width = self._shapes[index]
        labels = np.array([label for label, _ in found], dtype=np.int64)
        corners = np.array([a["bbox"] for _, a in found], dtype=np.float32).reshape(-1, 4)
        corners[:, 2:] += corners[:, :2]
        boxes = corners * np.array([size[1] / width, size[0] / height] * 2, dtype=np.float32)
        stack = None
        if with_masks:
            pixels = np.zeros((len(found), height, width), dtype=bool)
            for row, (_, annotation) in enumerate(found):
                pixels[row] = mask_of(annotation, height, width)
            stack = torch.from_numpy(pixels)
            if (height, width) != size and len(found):
                stack = interpolate(stack[:, None].float(), size=size)[:, 0].bool()
            elif (height, width) != size:
                stack = torch.zeros((0, *size), dtype=torch.bool)
        if mirrored:
            labels = self._mirrored[labels]
            boxes[:, [0, 2]] = size[1] - boxes[:, [2, 0]]
            stack = stack.flip(2) if stack is not None else None
        return Target(torch.from_numpy(boxes), torch.from_numpy(labels), stack)


def _mirror_label(name: str, label_of: dict[str, int]) -> int:
    """Return the label of the part that the part `name` is in a mirror, -1 where it has no name."""
    swapped = {"left": "right", "right": "left"}
    other = re.sub(r"(?<![a-z])(left|right)(?![a-z])", lambda side: swapped[side[0]], name)
    return label_of.get(other, -1)


# -- images -----------------------------------------------------------------------------------------------------------


def resized_shape(height: int, width: int, size: int | None) -> tuple[int, int]:
    """Return height and width of an image whose shorter side is brought to `size`."""
    if size is None:
        return height, width
    scale = size / min(height, width)
    return int(height * scale), int(width * scale)


def for_network(x: Tensor, size: int | None) -> Tensor:
    """Return images (N, C, H, W) as the network takes them: three channels, the shorter side of `size` pixels.

    Raises:
        InputError: they have neither one nor three channels.
    """
    if x.shape[1] not in (1, 3):
        raise InputError(
            f"the part extractor looks at RGB or grey images; these have {x.shape[1]} channels (of {tuple(x.shape)})."
        )
    if x.shape[1] == 1:
        x = x.expand(-1, 3, -1, -1)
    shape = resized_shape(x.shape[2], x.shape[3], size)
    return x if shape == tuple(x.shape[-2:]) else interpolate(x, size=shape, mode="bilinear", align_corners=False)


# -- initial weights --------------------------------------------------------------------------------------------------


def load_initial_weights(backend: Backend, weights: str, parts: Sequence[str], progress: Progress) -> None:
    """Load what fits of a weights file: a whole detector, one of other parts, or a backbone; warn about the rest.

    Args:
        backend: with initial weights.
        weights: what the option says: a file, a shipped one's name, or `package:NAME`.
        parts: that are to be found.
        progress: hears what starts at random.

    Raises:
        MissingError: the package is not installed.
        InputError: nothing fits, a layer that does not depend on the parts has another shape, or the file is taken as
            it is and names other parts than `parts`.
    """
    source = weights_source(weights)
    found = source.read(backend.classifier())
    path = found.path
    if not backend.options.stages:
        _check_same_parts(path, parts)
    own = backend.network.state_dict()
    variants = [backend.translate(tensors) for tensors in found.variants()]
    tensors = max(variants, key=lambda names: len(names.keys() & own.keys()))
    fitting: dict[str, Tensor] = {}
    wrong: list[str] = []
    for name, tensor in tensors.items():
        if name in own and own[name].shape == tensor.shape:
            fitting[name] = tensor
        elif name in own and not backend.depends_on_parts(name):
            wrong.append(f"{name} is {tuple(tensor.shape)}, expected {tuple(own[name].shape)}")
    what = f"{backend.options.backend}'s {backend.options.network} with channels {backend.options.channels}"
    if wrong or not fitting:
        listed = "; ".join(wrong[:4]) + (f"; and {len(wrong) - 4} more" if len(wrong) > 4 else "")
        raise InputError(
            f"weights: {path!r} does not fit {what}: "
            + (listed or f"none of its {len(tensors)} names occurs in it, such as {next(iter(tensors), 'none')!r}")
        )
    missing = [name for name in own if name not in fitting and not name.endswith("num_batches_tracked")]
    body = [name for name in missing if backend.stage(name) != "heads"]
    if body:
        raise InputError(
            f"weights: {path!r} lacks {len(body)} of the backbone's tensors of {what}, such as {body[0]!r}. "
            "Choose the `network` and `normalization` that they were trained with."
        )
    if missing and not backend.options.stages:
        raise InputError(
            f"weights: {path!r} lacks {len(missing)} tensors, such as {missing[0]!r}, and would not get them: `stages` "
            "is empty."
        )
    if missing:
        progress.warn(
            f"weights: {path} has {len(fitting)} of {len(own)} tensors; {len(missing)} start at random: "
            + ", ".join(dict.fromkeys(".".join(name.split(".")[:2]) for name in missing))
        )
    backend.network.load_state_dict({**own, **fitting})


def _check_same_parts(path: str, parts: Sequence[str]) -> None:
    named = metadata(path).get("parts")
    known = json.loads(named) if named is not None else list(parts)
    if known != list(parts):
        other = sorted(set(known) ^ set(parts)) or ["their order"]
        raise InputError(
            f"weights: {path!r} knows {len(known)} parts, the part data has {len(parts)}, and nothing is learned: "
            f"`stages` is empty. They differ in {', '.join(other[:6])}{' and more' if len(other) > 6 else ''}. Take "
            "part data with the same parts (option `parts_from`), or train some epochs."
        )


# -- the training -----------------------------------------------------------------------------------------------------


def train(
    backend: Backend,
    split: Split,
    annotated: AnnotatedParts,
    options: PartExtractorOptions,
    *,
    rng: Rng,
    device: torch.device,
    progress: Progress,
    checkpoint: Path,
) -> list[dict[str, float]]:
    """Train the network in place, stage by stage; return the mean losses of every epoch.

    The draws of a step depend on `rng` and the step's number alone, and `checkpoint` (a folder) keeps the state between
    two steps, so an interrupted training ends with the same weights as one that was not.

    Raises:
        TaskError: the loss became NaN or infinite.
    """
    backend.network.to(device)
    stages = [stage for stage in options.stages for _ in range(stage.epochs)]
    per_epoch = len(range(0, len(split), options.batch_size))
    if per_epoch > 1 and len(split) % options.batch_size == 1 < options.batch_size:
        per_epoch -= 1  # `batches` lets a single image that is left over join the batch before it
    total = per_epoch * len(stages)
    kept = TrainingCheckpoint(checkpoint / "extractor.pt", progress)
    state = kept.read(device)
    step, history, sums = 0, [], {}
    if state is not None:
        step, history, sums = state["step"], state["history"], state["sums"]
        backend.network.load_state_dict(state["network"])
    optimizer: torch.optim.Optimizer | None = None
    memory = MicroBatches(progress)
    for epoch in range(step // per_epoch, len(stages)):
        stage, begun, seen = stages[epoch], time.monotonic(), 0
        if optimizer is None or stage is not stages[epoch - 1]:
            freeze(backend, stage.layers if options.weights is not None else "all")
            optimizer = _optimizer(backend, options, stage)
            if state is not None:
                if state["optimizer"] is not None:
                    optimizer.load_state_dict(state["optimizer"])
                state = None
        order = rng.spawn("order", epoch).numpy.permutation(len(split))
        first = (step - epoch * per_epoch) * options.batch_size
        for x, _ in batches(split, order[first:], options.batch_size, device):
            indices = order[first : first + len(x)]
            first += len(x)
            seen += len(x)
            _set_learning_rate(optimizer, options, stage, step, total)
            losses = _step(backend, optimizer, options, x, indices, annotated, rng.spawn("step", step), memory)
            if not all(map(math.isfinite, losses.values())):
                raise TaskError(
                    f"training of the part extractor diverged in step {step + 1} of {total}: {losses}. Lower the lr "
                    f"(now {stage.lr:g}) of the stage, or raise `warmup` (now {options.warmup})."
                )
            for name, loss in losses.items():
                sums[name] = sums.get(name, 0.0) + loss * len(x) / len(split)
            step += 1
            if step % per_epoch == 0:
                history.append({"epoch": epoch + 1, **sums})
                sums = {}
            if kept.due and step < total:
                kept.write(
                    {
                        "step": step,
                        "history": history,
                        "sums": sums,
                        "network": backend.network.state_dict(),
                        # A new stage begins with a new optimiser.
                        "optimizer": optimizer.state_dict() if stages[step // per_epoch] is stage else None,
                    }
                )
            progress.update(epoch * len(split) + first, len(stages) * len(split), "training images")
        speed = seen / max(time.monotonic() - begun, 1e-9)
        progress.note(f"part extractor, epoch {epoch + 1} of {len(stages)}: {speed:.1f} images a second")
    return history


def _step(
    backend: Backend,
    optimizer: torch.optim.Optimizer,
    options: PartExtractorOptions,
    x: Tensor,
    indices: np.ndarray,
    annotated: AnnotatedParts,
    rng: Rng,
    memory: MicroBatches,
) -> dict[str, float]:
    """Improve the network by one batch and return its losses by name."""
    shape = resized_shape(x.shape[2], x.shape[3], options.size)
    with rng.seeded_globals():
        mirrored = torch.rand(len(x)) < 0.5 if options.flip else torch.zeros(len(x), dtype=torch.bool)
        for row, index in enumerate(indices):
            mirrored[row] &= annotated.can_be_mirrored(index)
        targets = [
            _moved(annotated.target(index, shape, bool(flip), options.masks), x.device)
            for index, flip in zip(indices, mirrored)
        ]
        x = for_network(x, options.size)
        x = torch.where(mirrored.to(x.device).view(-1, 1, 1, 1), x.flip(3), x)

        def work(part: slice) -> dict[str, float]:
            share = len(x[part]) / len(x)
            with torch.autocast(x.device.type, torch.bfloat16, options.precision == "bfloat16"):
                losses = backend.losses(x[part], targets[part])
            loss = torch.stack(list(losses.values())).sum()
            passes.count(len(x[part]), loss)
            (loss * share).backward()
            return {name: loss.item() * share for name, loss in losses.items()}

        optimizer.zero_grad(set_to_none=True)
        parts = memory.run(len(x), work, undo=lambda: optimizer.zero_grad(set_to_none=True))
    if options.clip is not None:
        learning = [p for group in optimizer.param_groups for p in group["params"]]
        torch.nn.utils.clip_grad_norm_(learning, options.clip)
    optimizer.step()
    return {name: sum(part[name] for part in parts) for name in parts[0]}


def _moved(target: Target, device: torch.device) -> Target:
    return Target(
        target.boxes.to(device),
        target.labels.to(device),
        target.masks.to(device) if target.masks is not None else None,
    )


def _optimizer(backend: Backend, options: PartExtractorOptions, stage: TrainingStage) -> torch.optim.Optimizer:
    learning = [p for p in backend.network.parameters() if p.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in learning if p.dim() > 1], "weight_decay": options.weight_decay},
        {"params": [p for p in learning if p.dim() <= 1], "weight_decay": 0.0},
    ]
    if options.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=stage.lr)
    return torch.optim.SGD(groups, lr=stage.lr, momentum=options.momentum)


def _set_learning_rate(
    optimizer: torch.optim.Optimizer, options: PartExtractorOptions, stage: TrainingStage, step: int, total: int
) -> None:
    rate = stage.lr * min(1.0, (step + 1) / (options.warmup + 1))
    if options.schedule == "cosine":
        rate *= 0.5 * (1 + math.cos(math.pi * step / total))
    elif options.schedule == "onecycle":
        rate *= _one_cycle(step / total)
    for group in optimizer.param_groups:
        group["lr"] = rate


def _one_cycle(share: float) -> float:
    """Return the factor of the learning rate after a share of the steps: Smith and Topin's one-cycle policy (2019).

    With the constants of torch's `OneCycleLR`, which counts its steps itself, one per stage's optimiser.
    """
    first, last, top = 1 / 25, 1 / 25e4, 0.3
    low, way = (first, 1 - share / top) if share < top else (last, (share - top) / (1 - top))
    return low + (1 - low) * 0.5 * (1 + math.cos(math.pi * way))
