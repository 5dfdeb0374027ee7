"""The part extractor K as a shared artifact: trained once, then asked by every defense that wants parts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from bench_unmask.alignment import best_proposals
from bench_unmask.class_parts import part_presence
from bench_unmask.extractor.backend import Backend, Detections
from bench_unmask.extractor.evaluation import MeanAveragePrecision
from bench_unmask.extractor.options import TIMM, PartExtractorOptions
from bench_unmask.extractor.shipped import scaling_of, weights_source
from bench_unmask.extractor.training import AnnotatedParts, for_network, load_initial_weights, resized_shape, train
from benchmark import (
    PACKAGE,
    FitContext,
    InputError,
    Measure,
    Progress,
    SharedArtifact,
    Split,
    batches,
    packaged_weights,
    passes,
    read_tensors,
)

PIXELS_PER_PASS = {"cpu": 2**19, "cuda": 2**24}
"""Images go through the network in batches of at most so many pixels, so memory does not grow with their number."""

FILE = "weights.safetensors"

ASSESS_BATCH = 64
"""Images that are read together."""


def check_library(options: PartExtractorOptions) -> None:
    """Look whether the backend's library is installed, and whether a network of timm can stand under the pyramid.

    Raises:
        MissingError: it is not; the message says how to install it.
        InputError: timm has no such network, it gives other features, or the weights of a package are of another one.
    """
    if options.backend == "detectron2":
        from bench_unmask.extractor.detectron2_backend import check_installed

        check_installed()
    if options.network.startswith(TIMM):
        from bench_unmask.extractor import timm_pyramid

        timm_pyramid.check(options.network)
        if options.weights is not None and options.weights.startswith(PACKAGE):
            packaged_weights(options.weights).check_timm(options.network.removeprefix(TIMM))


def backend_class(options: PartExtractorOptions) -> type[Backend]:
    """Return the backend that the options name; nothing of another library is imported."""
    if options.backend == "detectron2":
        from bench_unmask.extractor.detectron2_backend import Detectron2Backend

        return Detectron2Backend
    from bench_unmask.extractor.torchvision_backend import TorchvisionBackend

    return TorchvisionBackend


class PartExtractor(SharedArtifact):
    """K: finds the parts of objects in images (paper, section III-B).

    Attributes:
        parts: names of the parts it knows, in the order of the arrays that `observe` returns.
        presence: class → part → share of the class's training images in which the part is annotated; None where the
            part data has no class per image.
    """

    Options: ClassVar = PartExtractorOptions

    parts: tuple[str, ...]
    presence: dict[str, dict[str, float]] | None

    def fingerprint(self) -> str:
        """Return a digest of the file of initial weights, "" without one.

        Raises:
            MissingError, InputError: the file is missing or not one of weights, or no weights of that name are shipped.
        """
        if self.options.weights is None:
            return ""
        source = weights_source(self.options.weights)
        source.check()
        return source.digest()

    def weights_facts(self) -> dict[str, str] | None:
        """Return where the initial weights come from; None where all are drawn."""
        return None if self.options.weights is None else weights_source(self.options.weights).facts()

    def build(self, context: FitContext) -> None:
        """Learn from the part annotations of the training images.

        Raises:
            MissingError: the backend's library, or the file of initial weights, is not there.
            InputError: the data has no usable part annotations, or initial weights do not fit.
            TaskError: the training diverged.
        """
        options: PartExtractorOptions = self.options
        check_library(options)
        library = backend_class(options)
        annotations = context.train.part_annotations()
        annotated = AnnotatedParts(annotations)
        if annotations is not None and annotations.without_parts:
            context.progress.warn(
                f"the part extractor: {annotations.without_parts} of {len(context.train)} training images have no "
                "annotated part: it learns that there is none on them."
            )
        self.parts = annotated.parts
        self.presence = part_presence(context.train) if len(context.train.class_names) > 1 else None
        with context.rng.spawn("weights").seeded_globals():
            self._backend = library(options, len(self.parts), scaling_of(options.weights))
        if options.weights is not None:
            load_initial_weights(self._backend, options.weights, self.parts, context.progress)
        elif any(stage.layers != "all" for stage in options.stages):
            context.progress.warn("the part extractor has no initial weights: all of its layers learn in every stage")
        self._history = train(
            self._backend,
            context.train,
            annotated,
            options,
            rng=context.rng,
            device=context.device,
            progress=context.progress,
            checkpoint=context.checkpoint,
        )
        self._set_still()

    def save(self, folder: Path) -> None:
        """Write weights as safetensors, and the parts as JSON."""
        from safetensors.torch import save_file

        state = {
            name: tensor.detach().cpu().clone().contiguous()
            for name, tensor in self._backend.network.state_dict().items()
        }
        scaling = [self._backend.scaling.mean, self._backend.scaling.std]
        told = {"parts": json.dumps(self.parts), "scaling": json.dumps(scaling)}
        save_file(state, folder / FILE, metadata=told)
        known = {"parts": self.parts, "presence": self.presence, "history": self._history}
        (folder / "extractor.json").write_text(json.dumps(known, indent=1))

    def load(self, folder: Path) -> None:
        """Read what `save` wrote.

        Raises:
            MissingError: the backend's library is not installed here.
        """
        known: dict[str, Any] = json.loads((folder / "extractor.json").read_text())
        self.parts = tuple(known["parts"])
        self.presence = known["presence"]
        self._history = known["history"]
        check_library(self.options)
        library = backend_class(self.options)
        with torch.random.fork_rng(devices=[]):
            scaling = scaling_of(str(folder / FILE))
            self._backend = library(self.options, len(self.parts), scaling)
        self._backend.network.load_state_dict(read_tensors(folder / FILE))
        self._set_still()

    def _set_still(self) -> None:
        self._backend.network.to(self.device).eval().requires_grad_(False)

    def observe(self, x: Tensor) -> dict[str, Tensor]:
        """Return the best detection of every part in every image.

        Args:
            x: (N, C, H, W) in [0, 1], RGB or grey.

        Returns:
            `scores`: (N, P) float32 in [0, 1], the best score of each part, 0 where it was not found;
            `boxes`: (N, P, 4) float32, x0, y0, x1, y1 of that detection as shares of width and height, zeros where
            there is none.

        Raises:
            InputError: the images have neither one nor three channels.
        """
        found = []
        for images in self._in_passes(x):
            seen = self._backend.detect(images)
            passes.count(len(images), seen.scores)
            found.append(_best_of_parts(seen, len(images), len(self.parts), (images.shape[2], images.shape[3])))
        return {"scores": torch.cat([f[0] for f in found]), "boxes": torch.cat([f[1] for f in found])}

    def probabilities(self, x: Tensor) -> Tensor:
        """Return the probability (N, P) of every part at its best proposal, differentiable in the images.

        Where `observe` reports a part it reports this score; parts beyond the most detections it leaves out.
        """
        probabilities, image = self.candidates(x)
        return best_proposals(probabilities, image, len(x), 0.0)

    def candidates(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the probability (n, P) of every part at every proposal, and the images (n,) of the proposals.

        Differentiable in the images, but for the places of the proposals.
        """
        found, places, before = [], [], 0
        for images in self._in_passes(x):
            probabilities, image = self._backend.candidates(images)
            passes.count(len(images), probabilities)
            found.append(probabilities)
            places.append(image + before)
            before += len(images)
        return torch.cat(found), torch.cat(places)

    def assess(self, test: Split, progress: Progress) -> dict[str, Measure]:
        """Return mean average precisions on test images: `box_map`, `box_map_50`, `class_map`, and those of masks.

        What they mean stands in `evaluation.MeanAveragePrecision.measures`.

        Raises:
            InputError: the images have no part annotations.
        """
        annotations = test.part_annotations()
        if annotations is None:
            raise InputError("the part extractor cannot be assessed: its test images have no part annotations.")
        with_masks = self.options.masks and all(a.get("segmentation") for a in annotations.parts)
        scored = MeanAveragePrecision(annotations.data, self.parts, with_masks=with_masks)
        height, width = test.image_shape[1:]
        done = 0
        for x, _ in batches(test, np.arange(len(test)), ASSESS_BATCH, self.device):
            for images in self._in_passes(x):
                found = self._backend.detect(images, masks=with_masks)
                passes.count(len(images), found.scores)
                scored.add(done, found, (width / images.shape[3], height / images.shape[2]))
                done += len(images)
                progress.update(done, len(test))
        return {name: Measure(value, len(test)) for name, value in scored.measures().items()}

    def _in_passes(self, x: Tensor) -> Iterator[Tensor]:
        """Yield images as the network takes them, as many at a time as one pass should have."""
        height, width = resized_shape(x.shape[2], x.shape[3], self.options.size)
        pixels = PIXELS_PER_PASS.get(self.device.type, PIXELS_PER_PASS["cpu"])
        for part in x.split(max(1, pixels // (height * width))):
            yield for_network(part.to(self.device), self.options.size)


def _best_of_parts(found: Detections, images: int, parts: int, shape: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Return the best score (images, parts) of each part and its box (images, parts, 4) as shares of the sides."""
    scores = torch.zeros(images, parts, device=found.scores.device)
    boxes = torch.zeros(images, parts, 4, device=found.scores.device)
    place = found.image * parts + found.labels
    first = torch.full((images * parts,), -1, dtype=torch.int64, device=place.device)
    rows = torch.arange(len(place), device=place.device)
    first.scatter_reduce_(0, place, rows, "amin", include_self=False)  # best first within an image
    known = first >= 0
    scores.view(-1)[known] = found.scores[first[known]]
    height, width = shape
    sides = torch.tensor([width, height, width, height], device=boxes.device)
    boxes.view(-1, 4)[known] = found.boxes[first[known]] / sides
    return scores, boxes
