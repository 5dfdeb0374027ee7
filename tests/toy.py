"""Tiny components for the tests, loaded by `--plugin toy`: data, a network, attacks that misbehave, defenses."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from benchmark import (
    ArraySplit,
    ArtifactRequest,
    Attack,
    AttackOptions,
    Batch,
    Dataset,
    DatasetOptions,
    Defense,
    FitContext,
    InputError,
    Measure,
    Model,
    ModelOptions,
    Observation,
    Options,
    Progress,
    Rng,
    SharedArtifact,
    Split,
    SuiteLabel,
    TrainOptions,
    Verdict,
    Victim,
    hookimpl,
)
from benchmark.gradient import ascend, classification_loss

begun: Counter[str] = Counter()
"""Batches of each phase since the module was loaded."""


def linger(phase: str, images: int = 0) -> None:
    """Sleep over each batch of the phases that the environment names, such as `crafting 0.1`, for so many seconds.

    Or be interrupted by Ctrl-C at the batch of that number (from 1) since the variable was set. A file that the
    environment names gets a line per batch begun: phase, process, images.
    """
    if told := os.environ.get("TOY_TELLS"):
        with open(told, "a") as log:
            log.write(f"{phase} {os.getpid()} {images}\n")
    words = os.environ.get("TOY_LINGERS_IN", "").split()
    if phase in words[:-1]:
        time.sleep(float(words[-1]))
    at = os.environ.get("TOY_INTERRUPTED_IN", "")
    begun[phase] = begun[phase] + 1 if at else 0
    if at == f"{phase} {begun[phase]}":
        raise KeyboardInterrupt


class BlobOptions(DatasetOptions):
    count: int = 60
    """Images per split."""
    eight_bit: bool = False
    """Of 8 bits, as files have them."""


class Blobs(Dataset):
    """Two classes of 1x4x4 images: dark top or dark bottom, with noise."""

    Options = BlobOptions

    def check(self) -> None:
        pass

    def fingerprint(self) -> str:
        return "blobs of 8 bits" if self.options.eight_bit else "blobs"

    def load(self, split: str) -> Split:
        generator = Rng(7).spawn(split).numpy
        labels = np.arange(self.options.count) % 2
        images = generator.uniform(0, 0.35, (self.options.count, 1, 4, 4)).astype(np.float32)
        images[labels == 0, :, :2] += 0.5
        images[labels == 1, :, 2:] += 0.5
        images = images.clip(0, 1)
        if self.options.eight_bit:
            images = np.rint(images * 255).astype(np.uint8)
        return ArraySplit(images, labels, ["top", "bottom"])


class LinearOptions(ModelOptions):
    train: TrainOptions | None = TrainOptions(epochs=3, batch_size=20, lr=0.5)


class Flatten(nn.Flatten):
    """Could hold a bias, a running mean and a mask, and holds none, like layers built without."""

    def __init__(self) -> None:
        super().__init__()
        self.register_parameter("bias", None)
        self.register_buffer("running_mean", None)
        self.mask: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            linger("training", len(x))
        flat = super().forward(x)
        for shift in (self.bias, self.running_mean):
            flat = flat if shift is None else flat + shift
        return flat if self.mask is None else flat * self.mask


class Linear(Model):
    """Logistic regression."""

    Options = LinearOptions

    def network(self, num_classes: int, image_shape: tuple[int, int, int]) -> nn.Module:
        channels, height, width = image_shape
        return nn.Sequential(Flatten(), nn.Linear(channels * height * width, num_classes))


class Picky(Linear):
    """Takes large images only."""

    def network(self, num_classes: int, image_shape: tuple[int, int, int]) -> nn.Module:
        raise InputError(f"needs images of at least 16x16, these are {image_shape[1]}x{image_shape[2]}")


class ToyAttackOptions(AttackOptions):
    norm: str = "linf"
    log: str = ""
    """File that gets a line per batch begun."""


class Step(Attack):
    """A signed gradient step with a random start."""

    Options = ToyAttackOptions

    def craft(self, victim: Victim, x: Tensor, y: Tensor, rng: Rng) -> Tensor:
        if self.options.log:
            with open(self.options.log, "a") as log:
                log.write(f"{os.getpid()} {len(x)}\n")
        linger("crafting", len(x))
        eps = float(self.options.eps)
        start = (x + eps * (2 * torch.rand(x.shape, generator=rng.torch) - 1)).clamp(0, 1)
        return ascend(
            classification_loss(victim.classifier, y), x, norm="linf", eps=eps, step=eps, steps=1, start=start
        )


class Telling(Attack):
    """Writes down how likely its victim finds the classes of each image, and leaves the images as they are."""

    Options = ToyAttackOptions

    def craft(self, victim: Victim, x: Tensor, y: Tensor, rng: Rng) -> Tensor:
        with open(self.options.log, "a") as log, torch.no_grad():
            log.writelines(f"{json.dumps(row)}\n" for row in victim.classifier(x).softmax(1).tolist())
        return x


class Sneaky(Step):
    """Steps that fool the classifier and please the detector."""

    evades_detector: ClassVar[bool] = True

    def craft(self, victim: Victim, x: Tensor, y: Tensor, rng: Rng) -> Tensor:
        fool = classification_loss(victim.classifier, y)

        def loss(images: Tensor) -> Tensor:
            wrong = fool(images)
            suspicion = victim.detector_loss(images) if victim.detector_loss is not None else 0 * wrong
            return torch.where(wrong < 1, wrong, -suspicion)

        eps = float(self.options.eps)
        return ascend(loss, x, norm="linf", eps=eps, step=eps / 20, steps=60)


class Nan(Step):
    def craft(self, victim: Victim, x: Tensor, y: Tensor, rng: Rng) -> Tensor:
        return torch.full_like(x, float("nan"))


class WrongShape(Step):
    def craft(self, victim: Victim, x: Tensor, y: Tensor, rng: Rng) -> Tensor:
        return x[:, :, :2]


class OutOfRange(Step):
    def craft(self, victim: Victim, x: Tensor, y: Tensor, rng: Rng) -> Tensor:
        return x - 1


class OverBudget(Step):
    def craft(self, victim: Victim, x: Tensor, y: Tensor, rng: Rng) -> Tensor:
        return (x + 2 * float(self.options.eps)).clamp(0, 1)


class Raises(Step):
    def craft(self, victim: Victim, x: Tensor, y: Tensor, rng: Rng) -> Tensor:
        raise ZeroDivisionError("a bug in the attack")


class Hungry(Step):
    """Runs out of memory with more than four images."""

    def craft(self, victim: Victim, x: Tensor, y: Tensor, rng: Rng) -> Tensor:
        if len(x) > 4:
            raise MemoryError("too many images")
        return x


class Dies(Step):
    """Kills the worker, once if `log` names a file that is not there yet."""

    def craft(self, victim: Victim, x: Tensor, y: Tensor, rng: Rng) -> Tensor:
        os.kill(os.getpid(), 9)
        return x


class Plain(Defense):
    family = "none"

    def judge(self, batch: Batch) -> Verdict:
        return Verdict(label=batch.logits.argmax(1))


class ThresholdOptions(Options):
    log: str = ""
    """File that gets a line per fit."""


class Brightness(Defense):
    """Suspects images whose mean differs from that of the training images."""

    family = "detector"
    Options = ThresholdOptions

    def fit(self, context: FitContext) -> None:
        if self.options.log:
            with open(self.options.log, "a") as log:
                log.write("fit\n")
        self.mean = context.train.images(range(len(context.train))).mean()

    def save(self, folder: Path) -> None:
        (folder / "mean.txt").write_text(repr(float(self.mean)))

    def load(self, folder: Path) -> None:
        self.mean = torch.tensor(float((folder / "mean.txt").read_text()))

    def judge(self, batch: Batch) -> Verdict:
        linger("judging", len(batch.x))
        return Verdict(label=batch.logits.argmax(1), score=(batch.x.mean(dim=(1, 2, 3)) - self.mean).abs())


class Aware(Brightness):
    """Has a detector that can be evaded, and a classifier that can be attacked through it."""

    def surrogate(self) -> nn.Module:
        return self.classifier

    def detector_loss(self, x: Tensor) -> Tensor:
        return (x.mean(dim=(1, 2, 3)) - self.mean.to(x.device)).abs()


class Overrules(Brightness):
    """Answers with the other class where the host flags."""

    family = "rectifier"

    def judge(self, batch: Batch) -> Verdict:
        seen = super().judge(batch)
        return Verdict(label=seen.label, score=seen.score, label_if_flagged=1 - seen.label)


class FlagsItself(Brightness):
    """Flags what is darker or brighter than it has seen by a fixed margin."""

    def judge(self, batch: Batch) -> Verdict:
        seen = super().judge(batch)
        assert seen.score is not None
        return Verdict(label=seen.label, score=seen.score, flagged=seen.score > 0.02)


class Shy(Plain):
    """Has another answer for flagged images, and nothing to flag them by."""

    family = "preprocessor"

    def judge(self, batch: Batch) -> Verdict:
        label = batch.logits.argmax(1)
        return Verdict(label=label, label_if_flagged=1 - label)


class Constant(Brightness):
    """Suspects all images alike."""

    def judge(self, batch: Batch) -> Verdict:
        return Verdict(label=batch.logits.argmax(1), score=torch.zeros(len(batch.x)))


class NanScore(Brightness):
    def judge(self, batch: Batch) -> Verdict:
        return Verdict(label=batch.logits.argmax(1), score=batch.x.mean(dim=(1, 2, 3)) * float("nan"))


class Noisy(Defense):
    """Adds noise before it classifies."""

    family = "preprocessor"
    randomised: ClassVar[bool] = True

    def judge(self, batch: Batch) -> Verdict:
        noise = torch.randn(batch.x.shape, generator=batch.rng.torch)
        return Verdict(label=self.classifier((batch.x + 0.3 * noise).clamp(0, 1)).argmax(1))


class NoisyStandIn(Noisy):
    """The same, and the attacker may look through it."""

    def surrogate(self) -> nn.Module:
        return self.classifier


class Centroids(SharedArtifact):
    """Mean image per class, built once for all defenses that ask."""

    Options = ThresholdOptions

    def build(self, context: FitContext) -> None:
        if self.options.log:
            with open(self.options.log, "a") as log:
                log.write("build\n")
        images, labels = context.train.images(range(len(context.train))), torch.from_numpy(context.train.labels)
        self.means = torch.stack([images[labels == c].mean(0) for c in range(len(context.train.class_names))])

    def save(self, folder: Path) -> None:
        np.save(folder / "means.npy", self.means.numpy(), allow_pickle=False)

    def load(self, folder: Path) -> None:
        self.means = torch.from_numpy(np.load(folder / "means.npy", allow_pickle=False))

    def observe(self, x: Tensor) -> dict[str, Tensor]:
        self.reference = self.means  # a name for what is there already: nothing that a plugin must not do
        distance = (x[:, None] - self.reference[None]).flatten(2).norm(dim=2)
        return {"distance": distance, "nearer": distance[:, 0] < distance[:, 1]}

    def assess(self, test: Split, progress: Progress) -> dict[str, Measure]:
        nearest = self.observe(test.images(range(len(test))))["distance"].argmin(1).numpy()
        return {"centroid_accuracy": Measure(float((nearest == test.labels).mean()), len(test))}


class Nearest(Defense):
    """Answers with the nearest centroid; suspects disagreement with the classifier's hidden state."""

    family = "rectifier"
    Options = ThresholdOptions

    def artifacts(self) -> dict[str, ArtifactRequest]:
        return {"centroids": ArtifactRequest("centroids", self.options)}

    def observations(self) -> dict[str, Observation]:
        return {"distances": Observation(artifact="centroids"), "states": Observation(fit_splits=("train",))}

    def fit(self, context: FitContext) -> None:
        states = context.observed("states", "train")
        assert states["penultimate"].shape == (len(context.train), 16)
        assert np.allclose(states["logits"].shape, (len(context.train), 2))
        self.scale = float(states["penultimate"].std())

    def save(self, folder: Path) -> None:
        (folder / "scale.txt").write_text(repr(self.scale))

    def load(self, folder: Path) -> None:
        self.scale = float((folder / "scale.txt").read_text())

    def judge(self, batch: Batch) -> Verdict:
        distance = batch.observed("distances")["distance"]
        state = batch.observed("states")["penultimate"]
        own = distance.gather(1, batch.logits.argmax(1, keepdim=True)).squeeze(1)
        return Verdict(
            label=distance.argmin(1),
            score=own / self.scale + 0 * state.sum(1),
            details={"distance": distance},
        )


class TaughtOptions(Options):
    attacks: Annotated[tuple[str, ...], SuiteLabel()] = ("step",)


class Taught(Defense):
    """Suspects images that are nearer to the mean of the adversarial training images than to that of the clean ones."""

    family = "detector"
    Options = TaughtOptions

    def training_attacks(self) -> tuple[str, ...]:
        return self.options.attacks

    def observations(self) -> dict[str, Observation]:
        return {"states": Observation(fit_splits=("train",))}

    def fit(self, context: FitContext) -> None:
        clean = context.train.images(range(len(context.train)))
        crafted = []
        for attack in self.options.attacks:
            attacked = context.attacked(attack, "train")
            assert (attacked.labels == context.train.labels).all()
            order = list(reversed(range(len(attacked))))
            crafted.append(attacked.images(order).flip(0))
            assert len(context.attacked(attack, "val")) == len(context.val)
            states = torch.from_numpy(context.observed("states", "train", attack)["penultimate"])
            assert torch.allclose(context.classifier.features(crafted[-1], ("penultimate",))["penultimate"], states)
        self.direction = torch.cat(crafted).mean(0) - clean.mean(0)

    def save(self, folder: Path) -> None:
        np.save(folder / "direction.npy", self.direction.numpy(), allow_pickle=False)

    def load(self, folder: Path) -> None:
        self.direction = torch.from_numpy(np.load(folder / "direction.npy", allow_pickle=False))

    def judge(self, batch: Batch) -> Verdict:
        return Verdict(label=batch.logits.argmax(1), score=(batch.x * self.direction).flatten(1).sum(1))


@hookimpl
def run_started(run):
    linger("starting")


@hookimpl
def register_datasets(register):
    register("blobs", Blobs, summary="Two classes of tiny images")


@hookimpl
def register_models(register):
    register("linear", Linear, summary="Logistic regression")
    register("picky", Picky)


@hookimpl
def register_attacks(register):
    for name, attack in {
        "step": Step,
        "sneaky": Sneaky,
        "telling": Telling,
        "nan": Nan,
        "wrong-shape": WrongShape,
        "out-of-range": OutOfRange,
        "over-budget": OverBudget,
        "raises": Raises,
        "hungry": Hungry,
        "dies": Dies,
    }.items():
        register(name, attack)


@hookimpl
def register_artifacts(register):
    register("centroids", Centroids)


@hookimpl
def register_defenses(register):
    for name, defense in {
        "plain": Plain,
        "brightness": Brightness,
        "nan-score": NanScore,
        "overrules": Overrules,
        "flags-itself": FlagsItself,
        "constant": Constant,
        "shy": Shy,
        "noisy": Noisy,
        "noisy-stand-in": NoisyStandIn,
        "aware": Aware,
        "nearest": Nearest,
        "taught": Taught,
    }.items():
        register(name, defense)
