"""Tasks: pieces of work whose answers are artifacts, and the specification of each kind."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields, is_dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar, get_args

from benchmark.names import Asks

if TYPE_CHECKING:  # it imports torch, which executors need not wait for
    from benchmark.model import Passes

S = TypeVar("S", bound="Spec")

TaskKind = Literal[
    "train",
    "artifact",
    "assess",
    "fit",
    "craft",
    "predict",
    "observe",
    "judge",
    "threshold",
    "look",
    "separate",
    "examine",
    "verify",
]
Held = Literal["classifier", "pipeline"]
"""What an attacker holds of a task's answer: its network, or the whole fitted defense."""

VERSIONS: dict[TaskKind, str] = {
    **dict.fromkeys(get_args(TaskKind), "1"),
    "look": "3",
    "separate": "2",
    "examine": "4",
    "verify": "2",
}
"""What the host itself does in a task, by its kind: raised when its answers change. "1" is not in keys."""
KEYED: dict[TaskKind, str] = {"look": "probe"}
"""What keys call a kind that has got another name: a word moves no result."""


@dataclass(frozen=True)
class Task:
    """A piece of work whose answer is an artifact.

    Attributes:
        key: digest of all that changes the answer: the identity, and the source of plugins that are being written.
        identity: digest of what the suite says and of the versions of what it names. Random draws come from it, so they
            are the same whether a plugin is installed or edited, and after an edit that changes nothing.
        label: what people read.
        spec: what is to be done, as plain data from which any process can do it.
        needs: keys of the tasks that must be finished before: those that `spec` names.
        work: estimated passes, None where they depend on the data.
    """

    key: str
    identity: str
    label: str
    spec: Spec
    needs: tuple[str, ...] = ()
    work: Passes | None = None

    @property
    def kind(self) -> TaskKind:
        """What `benchmark.tasks` does."""
        return self.spec.kind

    def of(self, kind: type[S]) -> S:
        """Return what is to be done, in a task that is known to be of a kind."""
        assert isinstance(self.spec, kind), self.label
        return self.spec


@dataclass(frozen=True)
class Part:
    """A component, or the data, that a task is made of.

    Attributes:
        use: name of the plugin.
        options: all of them, as plain data.
        named: what keys hold of it.
        source: digest of its source while that is being written, "" once it is installed.
        label: of a data set, the suite's.
    """

    use: str
    options: dict[str, Any]
    named: Any
    source: str
    label: str = ""


# -- specifications ---------------------------------------------------------------------------------------------------


_ALONE = {"alone": True}
"""Of keys of tasks: content keys hold the only one as a text, several as a list."""
_SPARSE = {"sparse": True}
"""Of what content keys hold only where it is not the default."""
_BESIDE = {"beside": True}
"""Of what a worker has to know and content keys do not hold."""


@dataclass(frozen=True, kw_only=True)
class Spec:
    """What is to be done in a task of one kind.

    A text that is the key of another task names that task; the types say `Key` for these.

    Attributes:
        runs: the field that names the tasks that made the network it runs, "" where there is none.
        method: the field whose code most of its time goes into, likewise.
        dataset: whose images the task is about.
    """

    kind: ClassVar[TaskKind]
    runs: ClassVar[str] = ""
    method: ClassVar[str] = ""
    dataset: Part

    def keyed(self) -> dict[str, Any]:
        """Return what content keys hold of it, as plain JSON data."""
        plain: dict[str, Any] = _plain(self)
        return plain

    def sources(self) -> list[str]:
        """Return the digests of source that is being written, of all parts, each once."""
        held = (getattr(self, part.name) for part in fields(self))
        return sorted({part.source for part in held if isinstance(part, Part)})

    def origin(self) -> Key | None:
        """Return the task that made the network it runs, the first of several; None for one that makes it itself."""
        held = getattr(self, self.runs) if self.runs else None
        return held[0] if isinstance(held, tuple) else held

    def code(self) -> str:
        """Return whose code most of its time goes into: a plugin's name, or the task that made what works."""
        held = getattr(self, self.method) if self.method else ""
        return held.use if isinstance(held, Part) else held or ""


Key = str
"""The content key of a task."""


def _plain(value: Any) -> Any:
    if isinstance(value, Part):
        return value.named
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, tuple):
        return [_plain(inner) for inner in value]
    return dict(_held(value)) if is_dataclass(value) else value


def _held(value: Any) -> Iterator[tuple[str, Any]]:
    for part in fields(value):
        held = getattr(value, part.name)
        if "beside" in part.metadata or ("sparse" in part.metadata and held == part.default):
            continue
        yield part.name, _plain(held[0] if "alone" in part.metadata and len(held) == 1 else held)


@dataclass(frozen=True, kw_only=True)
class OfSplit(Spec):
    """A task about the images of one split."""

    split: str


@dataclass(frozen=True, kw_only=True)
class Train(Spec):
    """Train a model's network."""

    kind = "train"
    method = "model"
    seed: int
    model: Part


@dataclass(frozen=True, kw_only=True)
class Build(Spec):
    """Build a shared artifact, around the network of `train` where there is one."""

    kind = "artifact"
    runs = "train"
    seed: int
    train: Key | None
    builder: Part


@dataclass(frozen=True, kw_only=True)
class Assess(OfSplit):
    """Measure a shared artifact."""

    kind = "assess"
    artifact: Key


@dataclass(frozen=True, kw_only=True)
class Attacked:
    """Adversarial images that a defense learns from; `attack` is the suite's label."""

    attack: str = field(metadata=_BESIDE)
    split: str
    key: Key


@dataclass(frozen=True, kw_only=True)
class Observed:
    """What a defense learns from, by the name that it gives it: of clean images where `attack` is None."""

    name: str
    split: str
    attack: str | None = field(metadata=_BESIDE)
    key: Key


@dataclass(frozen=True, kw_only=True)
class Fit(Spec):
    """Fit a defense.

    Attributes:
        train: makes the network that it is around, None for a hardener that needs none.
        artifacts: shared ones, by the defense's names.
        model: the architecture, and its recipe; a hardener trains it by that.
    """

    kind = "fit"
    method = "defense"
    train: Key | None
    artifacts: dict[str, Key]
    attacked: tuple[Attacked, ...]
    observed: tuple[Observed, ...]
    seed: int
    defense: Part
    model: Part


@dataclass(frozen=True, kw_only=True)
class Craft(OfSplit):
    """Craft adversarial images.

    Attributes:
        victim: what is attacked; several networks as one.
        draws: of a randomised defense, over which the attacker averages.
        rounded: to images of 8 bits.
    """

    kind = "craft"
    runs = "victim"
    method = "attack"
    victim: tuple[Key, ...] = field(metadata=_ALONE)
    held: Held
    batch_size: int
    seed: int
    draws: int = field(default=1, metadata=_SPARSE)
    rounded: bool = field(default=False, metadata=_SPARSE)
    attack: Part


@dataclass(frozen=True, kw_only=True)
class Predict(OfSplit):
    """Classify clean images, or those of a crafting."""

    kind = "predict"
    runs = "classifier"
    classifier: Key
    craft: Key | None


@dataclass(frozen=True, kw_only=True)
class Observe(OfSplit):
    """Keep what is observed of clean images, or of those of a crafting.

    Attributes:
        observer: a shared artifact; where there are `layers`, a network with these hidden states.
    """

    kind = "observe"
    runs = "observer"
    method = "observer"
    observer: Key
    layers: tuple[str, ...] | None
    craft: Key | None


@dataclass(frozen=True, kw_only=True)
class Judge(OfSplit):
    """Let a fitted defense judge clean images, or those of a crafting.

    Attributes:
        predict: has the deployed classifier's logits, None where they are not known before.
        observed: what was observed of the images, by the defense's names.
        repeats: of a randomised defense.
    """

    kind = "judge"
    runs = "fit"
    fit: Key
    craft: Key | None
    predict: Key | None
    observed: dict[str, Key]
    repeats: int
    batch_size: int
    seed: int


@dataclass(frozen=True, kw_only=True)
class Threshold(OfSplit):
    """Set the threshold of a defense with scores, by its judgements of clean images."""

    kind = "threshold"
    judge: Key
    false_positive_rate: float


@dataclass(frozen=True, kw_only=True)
class Look(OfSplit):
    """Look at a network, or several as one, or a whole defense, with a few images."""

    kind = "look"
    runs = "network"
    network: tuple[Key, ...] = field(metadata=_ALONE)
    held: Held


@dataclass(frozen=True, kw_only=True)
class Separate(OfSplit):
    """Measure how far apart the classes lie in hidden states of a network."""

    kind = "separate"
    runs = "classifier"
    classifier: Key
    layers: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Examine(OfSplit):
    """Ask about a crafting what probes want to know.

    Attributes:
        victim, held, batch_size, seed, draws: those of the crafting.
        repeats: judgements of a randomised defense.
        rounded: what is found to images of 8 bits, where it is held against such.
        eps: of the ball that is drawn from.
        craft: the crafting, None for what is asked of the victim alone.
        doubled: options of which the attack has twice as many.
        attack: what is run again, None where nothing is.
    """

    kind = "examine"
    runs = "victim"
    method = "attack"
    victim: tuple[Key, ...] = field(metadata=_ALONE)
    held: Held
    batch_size: int
    seed: int
    draws: int = field(default=1, metadata=_SPARSE)
    asks: Asks
    norm: str
    repeats: int = field(default=1, metadata=_SPARSE)
    rounded: bool = field(default=False, metadata=_SPARSE)
    eps: float | None = field(default=None, metadata=_SPARSE)
    craft: Key | None = field(default=None, metadata=_SPARSE)
    doubled: tuple[str, ...] | None = field(default=None, metadata=_SPARSE)
    attack: Part | None = field(default=None, metadata=_SPARSE)


@dataclass(frozen=True, kw_only=True)
class Verify(OfSplit):
    """Set an attack problems with a known solution on the features of a network, or of one behind a defense.

    Attributes:
        threshold: sets that of the detector, None where the problem is one of classes alone.
        inverted: whether the solution is flagged, and not the contrary.
    """

    kind = "verify"
    runs = "victim"
    method = "attack"
    victim: Key
    held: Held
    eps: str
    images: int
    seed: int
    attack: Part
    threshold: Key | None = field(default=None, metadata=_SPARSE)
    inverted: bool = field(default=False, metadata=_SPARSE)
