"""Detectors fitted on states that the test makes up, as the host fits them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from benchmark import ArraySplit, Batch, Classifier, FitContext, Rng, Setting, Verdict
from benchmark.progress import Progress
from benchmark.setting import facts_of

NAMES = ("left", "right", "up")
CENTRES = 0.5 + 0.15 * np.array([[-1.0, 0, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0], [0, 1, 0, 0, 0, 0]])


def _clouds(per_class: int = 100, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return three flat clouds of states (N, 6) float32 in [0, 1] around CENTRES, and their classes (N,).

    They hardly spread in the first and in the last coordinate.
    """
    generator = np.random.RandomState(seed)
    labels = np.repeat(np.arange(3), per_class)
    spread = generator.randn(3 * per_class, 6) * [0.003, 0.015, 0.06, 0.06, 0.06, 0.003]
    return (CENTRES[labels] + spread).clip(0, 1).astype(np.float32), labels


def nearest_centre() -> Classifier:
    """Return a network of images (6, 1, 1) whose states are the image and whose class is the nearest centre.

    Modules: `same` and `flatten` give the image, `glimpse.first` its first three values, `glimpse.wide` 9,000 values,
    `penultimate` the image.
    """
    network = nn.Sequential()
    network.add_module("same", nn.Identity())
    network.add_module("flatten", nn.Flatten())
    network.add_module("glimpse", Glimpse())
    network.add_module("head", head := nn.Linear(6, 3))
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(40 * CENTRES))
        head.bias.copy_(torch.from_numpy(-20 * (CENTRES**2).sum(1)))
    return Classifier(network, 3, (6, 1, 1)).frozen()


class Glimpse(nn.Module):
    """Passes on what it gets; its submodules show other states."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.wide = First(), Wide()

    def forward(self, x: Tensor) -> Tensor:
        self.first(x)
        self.wide(x)
        return x


class First(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[:, :3].clone()


class Wide(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[:, :1].expand(-1, 9000)


def images(states: np.ndarray) -> Tensor:
    """Return states (N, 6) as images (N, 6, 1, 1)."""
    return torch.from_numpy(np.float32(states)).reshape(-1, 6, 1, 1)


@pytest.fixture
def clouds() -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    """Return the function that makes up states."""
    return _clouds


@pytest.fixture
def check() -> Callable[..., None]:
    """Return a function that asks a detector, while planning, whether it suits training images (states, labels)."""

    def ask(kind, clouds: tuple[np.ndarray, np.ndarray], **options) -> None:
        split = ArraySplit(np.float32(clouds[0]).reshape(-1, 6, 1, 1), clouds[1], NAMES)
        data = facts_of({"train": split, "val": split})
        kind(kind.Options(**options)).check_setting(Setting(data, {}, None, nearest_centre()))

    return ask


@pytest.fixture
def judged() -> Callable[..., Verdict]:
    """Return a function that judges states (N, 6)."""
    return lambda detector, states: detector.judge(Batch(images(states), detector, Rng(0)))


@pytest.fixture
def loss_is_the_score(judged) -> Callable:
    """Return a function that compares `detector_loss` at states (N, 6) with the score, and its gradient with slopes.

    Where the score is not `smooth`, a step down the gradient must lower it.
    """

    def compare(detector, states: np.ndarray, smooth: bool = True) -> None:
        start = images(states).requires_grad_()
        loss = detector.detector_loss(start)
        assert loss.dtype == torch.float32
        torch.testing.assert_close(loss.detach(), judged(detector, states).score.float())
        (gradient,) = torch.autograd.grad(loss.sum(), start)
        length = gradient.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
        assert (detector.detector_loss(start - 1e-4 * gradient / length) < loss).all()
        assert detector.surrogate() is None
        if not smooth:
            return
        for axis in range(6):
            step = torch.zeros(1, 6, 1, 1)
            step[0, axis] = 5e-4
            rise = (detector.detector_loss(start + step) - detector.detector_loss(start - step)).detach() / 1e-3
            torch.testing.assert_close(
                rise, gradient[:, axis, 0, 0], rtol=0.05, atol=0.02 * float(gradient.abs().max())
            )

    return compare


@pytest.fixture
def attached() -> Callable:
    """Return a function that sets a detector up as the host does, not fitted."""

    def attach(detector_class, classifier: Classifier | None = None, names=NAMES, **options):
        detector = detector_class(detector_class.Options(**options))
        detector.classifier, detector.class_names = classifier or nearest_centre(), names
        detector.device, detector.shared = torch.device("cpu"), {}
        return detector

    return attach


@pytest.fixture
def fit(attached, tmp_path) -> Callable:
    """Return a function that fits a detector on states (N, 6) and their classes, as the host does."""

    def fit(
        detector_class,
        train: tuple[np.ndarray, np.ndarray] | None = None,
        val: tuple[np.ndarray, np.ndarray] | None = None,
        attacked: dict[str, np.ndarray] | None = None,
        warnings: list[str] | None = None,
        **options,
    ):
        """`attacked`: adversarial states (N, 6) of the validation images, per attack."""
        detector = attached(detector_class, **options)
        clean = {"train": train or _clouds(), "val": val or _clouds(seed=9)}
        splits = {
            (name, None): ArraySplit(images(states).numpy(), labels, NAMES) for name, (states, labels) in clean.items()
        }
        splits |= {
            ("val", attack): ArraySplit(images(states).numpy(), clean["val"][1], NAMES)
            for attack, states in (attacked or {}).items()
        }

        def observe(split: ArraySplit) -> dict[str, np.ndarray]:
            layers = detector.observations()["states"].layers
            seen = detector.classifier.features(split.images(range(len(split))), layers)
            return {name: state.numpy() for name, state in seen.items()}

        def hear(kind: str, *message: object) -> None:
            if kind == "warning" and warnings is not None:
                warnings.append(str(message[0]))

        detector.fit(
            FitContext(
                classifier=detector.classifier,
                new_classifier=lambda rng: nearest_centre(),
                recipe=None,
                train=splits["train", None],
                val=splits["val", None],
                rng=Rng(0),
                device=detector.device,
                progress=Progress(hear),
                checkpoint=tmp_path,
                observations={
                    ("states", name, attack): (lambda split=split: observe(split))
                    for (name, attack), split in splits.items()
                },
                adversaries={(attack, name): split for (name, attack), split in splits.items() if attack is not None},
            )
        )
        return detector

    return fit


@pytest.fixture
def reloaded(attached, tmp_path) -> Callable:
    """Return a function that saves a fitted detector and loads it into a new object."""

    def reload(detector):
        folder = tmp_path / "learned"
        folder.mkdir()
        detector.save(folder)
        assert all(path.suffix == ".safetensors" for path in folder.iterdir())
        again = attached(type(detector), **detector.options.model_dump())
        again.load(folder)
        return again

    return reload
