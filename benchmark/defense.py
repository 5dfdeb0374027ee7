"""Defenses: hardeners, preprocessors, detectors and rectifiers under one contract."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from benchmark.attack import ClassLikelihoods
from benchmark.dataset import Split
from benchmark.errors import TaskError
from benchmark.model import PENULTIMATE, Classifier, Passes, load_weights, save_weights
from benchmark.names import BARE, DETECTING
from benchmark.options import Options, TrainOptions
from benchmark.progress import Progress
from benchmark.published import PublishedAttack
from benchmark.randomness import Rng
from benchmark.setting import Setting

Family = Literal["none", "hardener", "preprocessor", "detector", "rectifier"]
"""What a defense does: nothing, another network, another image, a score, another label."""

OBSERVED_ROWS = 512
"""Images of a part of what was observed."""
NO_LABEL = -1
"""The label of a verdict that names no class. It is counted as wrong."""


@dataclass(frozen=True)
class Verdict:
    """What a defended system says about a batch.

    Attributes:
        label: (N,) int64, the class it answers with; NO_LABEL where it names none, which counts as wrong.
        score: (N,) float, how suspicious the input is, higher = more adversarial; None for a defense without one.
        flagged: (N,) bool, rejected as adversarial; None lets the host flag scores above the threshold that keeps
            the suite's false-positive rate on clean validation images.
        details: per-image arrays (N, ...) that explain the verdict, kept for the report.
        label_if_flagged: (N,) int64, the class it answers with instead where the image is flagged, by the verdict or by
            the host; None for the same one.
    """

    label: Tensor
    score: Tensor | None = None
    flagged: Tensor | None = None
    details: Mapping[str, Tensor] = field(default_factory=dict)
    label_if_flagged: Tensor | None = None


@dataclass(frozen=True)
class Measure:
    """A number about a shared artifact, such as the mean average precision of a part extractor.

    Attributes:
        value: finite.
        n: how many images it was measured on.
    """

    value: float
    n: int


@dataclass(frozen=True)
class ArtifactRequest:
    """A shared artifact that a defense asks for: built once for all that ask with equal options and inputs.

    Attributes:
        use: the name that the `SharedArtifact` is registered by.
        options: its options.
        dataset: label of the suite's data set that it learns from; None for the cell's own data set.
        per_classifier: it depends on the cell's trained model.
    """

    use: str
    options: Options
    dataset: str | None = None
    per_classifier: bool = False


@dataclass(frozen=True)
class Observation:
    """Arrays that the host extracts once per image set and hands to every defense that asks for them.

    Attributes:
        artifact: name of the requested artifact whose `observe` is called; None for hidden states of the classifier.
        layers: names of the hidden states, where it is the classifier.
        fit_splits: splits on which `fit` wants them too: clean, and attacked by each of `Defense.training_attacks`.
    """

    artifact: str | None = None
    layers: tuple[str, ...] = (PENULTIMATE,)
    fit_splits: tuple[Literal["train", "val"], ...] = ()


@dataclass
class FitContext:
    """All that `fit` may look at: training and validation data, never test data. Nothing of it is `fit`'s to change.

    Attributes:
        classifier: the trained model, frozen (train a `copy.deepcopy` of it); None for a hardener with
            `needs_classifier = False`.
        new_classifier: returns an untrained classifier of the same architecture, initialised from the generator.
        recipe: the model's own training recipe, None where it has none.
        train: training images.
        val: validation images, disjoint from the training images.
        rng: the source of all randomness.
        device: where networks and batches go.
        progress: tell it how far the work is.
        checkpoint: folder that survives an interruption of this very fit.
        artifacts: shared artifacts by the names of `Defense.artifacts`.
    """

    classifier: Classifier | None
    new_classifier: Callable[[Rng], Classifier]
    recipe: TrainOptions | None
    train: Split
    val: Split
    rng: Rng
    device: torch.device
    progress: Progress
    checkpoint: Path
    artifacts: Mapping[str, SharedArtifact] = field(default_factory=dict)
    observations: Mapping[tuple[str, str, str | None], Callable[[], Mapping[str, Any]]] = field(default_factory=dict)
    adversaries: Mapping[tuple[str, str], Split] = field(default_factory=dict)

    def observed(
        self, name: str, split: Literal["train", "val"], attack: str | None = None
    ) -> Mapping[str, np.ndarray]:
        """Return the arrays (N, ...) of the observation `name` on a split, clean or attacked, in the split's order.

        One is read when it is asked for. Where all of it may be too large, there is `observed_parts`.
        """
        return _Rows(self.observations[name, split, attack](), slice(None))

    def observed_parts(
        self, name: str, split: Literal["train", "val"], attack: str | None = None
    ) -> Iterator[Mapping[str, np.ndarray]]:
        """Yield what `observed` returns, some hundred images at a time: (n, ...), the last part with fewer."""
        found = self.observations[name, split, attack]()
        for start in range(0, len(next(iter(found.values()))), OBSERVED_ROWS):
            yield _Rows(found, slice(start, start + OBSERVED_ROWS))

    def attacked(self, attack: str, split: Literal["train", "val"]) -> Split:
        """Return a split, in its order and with its true labels, whose images are adversarial examples.

        They were crafted on the deployed classifier by the suite's attack `attack`, one of
        `Defense.training_attacks`; those that failed are among them.
        """
        return self.adversaries[attack, split]


class _Rows(Mapping[str, np.ndarray]):
    """Some rows of arrays, each read when it is asked for."""

    def __init__(self, arrays: Mapping[str, Any], rows: slice) -> None:
        self._arrays, self._rows = arrays, rows

    def __getitem__(self, name: str) -> np.ndarray:
        found: np.ndarray = self._arrays[name][self._rows]
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)


class Batch:
    """Images to judge, with everything about them that has been computed already; which ones share it is chance.

    Attributes:
        x: (N, C, H, W) in [0, 1], on the defense's device.
        rng: for randomised defenses.
    """

    def __init__(
        self,
        x: Tensor,
        defense: Defense,
        rng: Rng,
        logits: Tensor | None = None,
        observed: Mapping[str, Mapping[str, Tensor]] | None = None,
    ) -> None:
        self.x = x
        self.rng = rng
        self._defense = defense
        self._logits = logits
        self._observed = dict(observed or {})

    @cached_property
    def logits(self) -> Tensor:
        """(N, num_classes), the deployed classifier's answer: at no cost where the host has it already."""
        if self._logits is not None:
            return self._logits
        for name, request in self._defense.observations().items():
            if request.artifact is None:  # hidden states come with the logits of the same pass
                return self.observed(name)["logits"]
        return self._defense.classifier(self.x)

    def observed(self, name: str) -> Mapping[str, Tensor]:
        """Return the arrays (N, ...) of the observation `name` (see `Defense.observations`)."""
        if name not in self._observed:
            request = self._defense.observations()[name]
            self._observed[name] = (
                self._defense.classifier.features(self.x, request.layers)
                if request.artifact is None
                else self._defense.shared[request.artifact].observe(self.x)
            )
        return self._observed[name]


class Defense(ABC):
    """A defense. The constructor stores the options and does no work; `fit` learns; `judge` answers.

    Lifecycle: the host sets `classifier`, `shared`, `class_names` and `device`, calls `fit` once and `save`. For each
    set of images, perhaps in another process, it makes a new object, calls `load` and then `judge` per batch.
    Learned state is kept in attributes of your own and goes to disk without pickle.
    """

    Options: ClassVar[type[Options]] = Options
    family: ClassVar[Family]
    libraries: ClassVar[tuple[str, ...]] = ()
    """Modules that only its work imports: a plan does not wait for them, worker processes load them beforehand."""
    randomised: ClassVar[bool] = False
    """Judges differently each time: the host repeats judgements and reports the mean and the worst."""
    published_attacks: ClassVar[tuple[PublishedAttack, ...]] = ()
    """What attacks by others left of it, cited: what was broken in print is marked so wherever its numbers stand."""

    @property
    def replaces_classifier(self) -> bool:
        """Whether it makes a network of its own, which is deployed in place of the trained model."""
        return self.family == "hardener"

    @property
    def bare(self) -> bool:
        """Whether there is nothing beside the network, so that who knows the network knows all of it."""
        return self.family in BARE

    @property
    def detects(self) -> bool:
        """Whether it tells attacked images from clean ones."""
        return self.family in DETECTING

    @property
    def keeps_labels(self) -> bool:
        """Whether its label is that of the network, whatever it says of the image beside it."""
        return self.family == "detector"

    @property
    def needs_classifier(self) -> bool:
        """Whether `fit` or `judge` needs the cell's trained model (a hardener that trains anew does not)."""
        return True

    @property
    def ensemble_size(self) -> int:
        """How many networks of the model's architecture an image goes through in the deployed classifier."""
        return 1

    @property
    def gives_scores(self) -> bool:
        """Whether verdicts carry a score; the host then judges clean validation images too, for the threshold."""
        return self.detects

    def check(self) -> None:  # noqa: B027 - most defenses need nothing
        """Look, while the run is planned, whether options fit what is installed.

        Raises:
            InputError: what is wrong and what is allowed.
        """

    def check_setting(self, setting: Setting) -> None:  # noqa: B027
        """Look, while the run is planned, whether it suits a data set and a model that it is combined with.

        What can be told from numbers of images, classes, shapes and layers belongs here, so that nobody waits for it.

        Raises:
            InputError: what is wrong and what is allowed.
        """

    def fingerprint(self) -> str:
        """Return a digest of what the options only point to (the content of a file), or an empty text.

        It is part of every content key that the defense is in.
        """
        return ""

    def passes(self, train: int, val: int, recipe: TrainOptions | None) -> Passes | None:
        """Return the forward and backward passes that `fit` makes on so many images, or None where it is not known."""
        return None

    def passes_per_answer(self) -> Passes:
        """Return the most passes that one image takes through networks in `judge`, or in what attackers are offered.

        The classifier's own answer is one of them. Backward are those that are made where nobody asks for a gradient,
        as in a search. `bench plan` estimates by it what judgements and attacks cost.
        """
        return Passes(1)

    classifier: Classifier
    """The network that an attacker of the deployed system holds: the trained model, or the hardened network."""
    shared: Mapping[str, SharedArtifact]
    class_names: tuple[str, ...]
    device: torch.device

    def __init__(self, options: Any) -> None:
        self.options = options

    def artifacts(self) -> dict[str, ArtifactRequest]:
        """Return the shared artifacts that this defense needs, by the name it uses for them."""
        return {}

    def observations(self) -> dict[str, Observation]:
        """Return the observations that this defense judges by, by the name it uses for them."""
        return {}

    def layers(self) -> tuple[str, ...]:
        """Return the hidden states of the network that it asks for by name; the host looks for them while it plans."""
        asked = (request for request in self.observations().values() if request.artifact is None)
        return tuple(layer for request in asked for layer in request.layers)

    def training_attacks(self) -> tuple[str, ...]:
        """Return labels of the suite's attacks whose examples on train and val `fit` learns from (not a hardener)."""
        return ()

    def fit(self, context: FitContext) -> None:  # noqa: B027 - nothing to learn is a fair answer
        """Learn from clean training and validation images."""

    def save(self, folder: Path) -> None:  # noqa: B027
        """Write the learned state into an empty folder, without pickle."""

    def load(self, folder: Path) -> None:  # noqa: B027
        """Read what `save` wrote."""

    @abstractmethod
    def judge(self, batch: Batch) -> Verdict:
        """Return label, score and flag of every image of the batch."""

    def surrogate(self) -> nn.Module | None:
        """Return a differentiable stand-in of the whole pipeline (images to logits) for white-box attacks, or None."""
        return None

    def detector_loss(self, x: Tensor) -> Tensor | None:
        """Return a differentiable suspicion (N,) for adaptive attacks, or None."""
        return None

    def class_suspicions(self, x: Tensor) -> Tensor | None:
        """Return the suspicion (N, num_classes) that images would meet, were they given each class, or None.

        Differentiable, for adaptive attacks that make an image credible as the class that they aim at; at the class
        that the image is given it is `detector_loss`.
        """
        return None

    def aims(self, x: Tensor, y: Tensor) -> Tensor | None:
        """Return how promising each class is to aim at, for images with true labels `y` (N,), or None.

        (N, num_classes): adaptive attacks aim at the class of the largest value first. What stands at the true class
        is not looked at; between equal values the class goes first that the system finds likelier on the clean image,
        as all do where a defense offers no order.
        """
        return None

    def aimed_loss(self, x: Tensor, target: Tensor) -> tuple[Tensor, Tensor] | None:
        """Return one loss (N,) of the whole system, answer and score, for images that aim at classes (N,), or None.

        At least 0, and 0 where it sees nothing missing: the system answers the class and finds the image as credible
        as any; an attack stops there. Beside it the logits (N, num_classes) of the same pass, those of `surrogate`.

        Differentiable, for adaptive attacks that descend it instead of weighing `surrogate` against `class_suspicions`,
        each of which may take a pass of its own through what the defense looks at.
        """
        return None

    def training_loss(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor] | None:
        """Return the loss (N,) that the network was trained by, of images with true labels `y` (N,), or None.

        Beside it the logits (N, num_classes) of the same pass.

        Differentiable in the images, for adaptive attacks that ascend it instead of the cross-entropy.
        """
        return None

    def class_likelihoods(self, x: Tensor) -> ClassLikelihoods | None:
        """Return how likely the detector finds images for each class, differentiable, for adaptive attacks, or None."""
        return None


Road = Literal[
    "surrogate", "detector_loss", "class_suspicions", "aims", "aimed_loss", "class_likelihoods", "training_loss"
]
"""What a defense may offer to an attacker who knows it."""


def offers(defense: Defense, road: Road) -> bool:
    """Tell whether a defense offers something to an attacker who knows it."""
    return getattr(type(defense), road) is not getattr(Defense, road)


class Hardener(Defense):
    """A defense that is a new network. The author writes `harden`."""

    family = "hardener"

    @property
    def needs_classifier(self) -> bool:
        """A hardener trains its own network from the start, unless it says otherwise."""
        return False

    @abstractmethod
    def harden(self, context: FitContext) -> Classifier:
        """Return the hardened classifier."""

    def fit(self, context: FitContext) -> None:
        """Train the hardened network and deploy it.

        Raises:
            TaskError: it is no network of the model's architecture, which `load` would read it back into.
        """
        hardened = self.harden(context)
        if type(self).load is Hardener.load:
            _check_architecture(hardened, context)
        self.classifier = hardened.frozen()

    def save(self, folder: Path) -> None:
        """Write the weights as safetensors."""
        save_weights(self.classifier, folder / "weights.safetensors")

    def load(self, folder: Path) -> None:
        """Read the weights into the untrained network that the host has set."""
        load_weights(self.classifier, folder / "weights.safetensors")
        self.classifier.frozen()

    def judge(self, batch: Batch) -> Verdict:
        """Answer with the hardened network's class."""
        return Verdict(label=batch.logits.argmax(1))


def _check_architecture(hardened: Any, context: FitContext) -> None:
    if not isinstance(hardened, Classifier):
        raise TaskError(f"harden returned {type(hardened).__name__} instead of a Classifier")
    expected = {
        name: tuple(tensor.shape)
        for name, tensor in context.new_classifier(context.rng.spawn("architecture")).state_dict().items()
    }
    found = {name: tuple(tensor.shape) for name, tensor in hardened.state_dict().items()}
    differences = [
        f"{name} {found.get(name, 'missing')} instead of {shape}"
        for name, shape in expected.items()
        if found.get(name) != shape
    ] + [f"{name} {shape} that the model lacks" for name, shape in found.items() if name not in expected]
    if differences:
        more = f" and {len(differences) - 3} more" if len(differences) > 3 else ""
        raise TaskError(
            f"harden returned a network of another architecture than the model's: {'; '.join(differences[:3])}{more}. "
            "Train what context.new_classifier returns, or give the defense a save and a load of its own."
        )


class SharedArtifact(ABC):
    """Something expensive that several cells use, such as a part extractor: a task with a key of its own."""

    Options: ClassVar[type[Options]] = Options

    device: torch.device

    def __init__(self, options: Any) -> None:
        self.options = options

    @abstractmethod
    def build(self, context: FitContext) -> None:
        """Make it from training and validation data."""

    def fingerprint(self) -> str:
        """Return a digest of the files that the options name (initial weights), "" where they name none.

        Raises:
            InputError: a file is missing or unreadable.
        """
        return ""

    def weights_facts(self) -> dict[str, str] | None:
        """Return where its initial weights come from, for the manifest (`PackagedWeights.facts`); None without any.

        Raises:
            MissingError, InputError: a package or a file is missing, or another one.
        """
        return None

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write it into an empty folder, without pickle."""

    @abstractmethod
    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""

    def observe(self, x: Tensor) -> dict[str, Tensor]:
        """Return what it sees in images (N, C, H, W): named arrays (N, ...)."""
        raise NotImplementedError(f"{type(self).__name__} observes nothing")

    def assess(self, test: Split, progress: Progress) -> dict[str, Measure]:
        """Return how good it is on the test images of the data that it was built from, by the name of the measure.

        A task of its own, after `load`: what it finds goes into the report and into nothing that is built or judged.
        """
        raise NotImplementedError(f"{type(self).__name__} is not assessed")
