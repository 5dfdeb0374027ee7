"""Cells of the grid: the arrays of one, what is asked of every image, and how a cell ended.

`Cell` is what measures are computed of; `CellResult` adds its name and all that alarms, probes and marks judge it by.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from types import MappingProxyType
from typing import Any, Literal

import numpy as np

from benchmark.names import BARE, Asks, CellName, ProbeName
from benchmark.published import PublishedAttack


@dataclass(frozen=True)
class Answers:
    """What a defended system and its classifier answered on a set of N images.

    Attributes:
        base_label: (N,) class by the deployed classifier alone, without the defense.
        label: (N,) class by the defended system, -1 where it names none; (R, N) for a randomised defense judged R
            times.
        score: (N,) or (R, N) suspicion, higher = more adversarial; None for a defense without one.
        flagged: (N,) or (R, N) bool, rejected; None for a defense that rejects nothing.
        details: (N, ...) arrays beside the verdicts of the first judgement, by the defense's names; measures of scope
            `group` do not get them.
    """

    base_label: np.ndarray
    label: np.ndarray
    score: np.ndarray | None = None
    flagged: np.ndarray | None = None
    details: Mapping[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class Plane:
    """Hidden states in the plane of their two largest variances.

    Attributes:
        points: (N, 2).
        shares: (2,) of all variance.
    """

    points: np.ndarray
    shares: np.ndarray


@dataclass(frozen=True)
class Cell:
    """All per-image arrays of one cell, in the same order of images.

    Attributes:
        y: (N,) true class.
        clean: answers on the clean images.
        attacked: answers on the adversarial versions of the same images; None in the clean cell.
        perturbation: (N,) size of the perturbation in `norm`; None in the clean cell.
        norm: norm that the attack is measured in, "" in the clean cell.
        eps: budget, None for an unbounded attack and in the clean cell.
        success: which attacks count as successful for the detector measures: `initially-correct` (the clean image is
            classified rightly and the attacked one wrongly) or `any-wrong` (the attacked one is classified wrongly),
            both by the deployed classifier alone.
        separation: layer → per image (N,) what the separation of classes is the mean of (`class_separation`), in the
            clean cell, of the layers that the suite names; a layer at which it is not defined is left out.
        planes: layer → the states of the clean images in a plane, of the same layers.
    """

    y: np.ndarray
    clean: Answers
    attacked: Answers | None = None
    perturbation: np.ndarray | None = None
    norm: str = ""
    eps: float | None = None
    success: Literal["initially-correct", "any-wrong"] = "initially-correct"
    separation: Mapping[str, np.ndarray] = field(default_factory=dict)
    planes: Mapping[str, Plane] = field(default_factory=dict)


def handed(value: Any) -> Any:
    """Return a copy of a cell, or of a part of it, as plugins get it: its arrays and mappings cannot be written to."""
    if isinstance(value, np.ndarray):
        # A view of bytes: unlike a copy that is only marked, it cannot be made writable again.
        return np.frombuffer(value.tobytes(), value.dtype).reshape(value.shape) if value.size else value.copy()
    if isinstance(value, Mapping):
        return MappingProxyType({name: handed(inner) for name, inner in value.items()})
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{part.name: handed(getattr(value, part.name)) for part in fields(value)})
    return value


def spoilt(given: Any, own: Any) -> bool:
    """Tell whether somebody found a way to write into what `handed` made of `own`."""
    if isinstance(own, np.ndarray):
        return not (
            isinstance(given, np.ndarray)
            and (given.dtype, given.shape) == (own.dtype, own.shape)
            and given.tobytes() == own.tobytes()
        )
    if isinstance(own, Mapping):
        return set(given) != set(own) or any(spoilt(given[name], own[name]) for name in own)
    if is_dataclass(own) and not isinstance(own, type):
        return any(spoilt(getattr(given, part.name), getattr(own, part.name)) for part in fields(own))
    return bool(given != own)


def right(answers: Answers, y: np.ndarray) -> np.ndarray:
    """Return whether the defended label is right: (R, N) bool."""
    return np.atleast_2d(answers.label) == y


def rejected(answers: Answers) -> np.ndarray:
    """Return whether the image is flagged: (R, N) bool, False everywhere for a defense that rejects nothing."""
    if answers.flagged is None:
        return np.zeros(np.atleast_2d(answers.label).shape, dtype=bool)
    return np.atleast_2d(answers.flagged)


def scores(answers: Answers) -> np.ndarray | None:
    """Return the scores (R, N), or None for a defense without one.

    Raises:
        ValueError: a score is NaN; comparing with it would count as a detection missed.
    """
    if answers.score is None:
        return None
    score = np.atleast_2d(answers.score)
    if np.isnan(score).any():
        raise ValueError(
            f"{int(np.isnan(score).any(axis=0).sum())} of {score.shape[1]} images have a score that is NaN"
        )
    return score


def attacked(cell: Cell) -> Answers:
    """Return the answers on the adversarial images.

    Raises:
        ValueError: it is a clean cell.
    """
    if cell.attacked is None:
        raise ValueError("a measure of scope 'attack' or 'group' was asked of a clean cell")
    return cell.attacked


def initially_right(cell: Cell) -> np.ndarray:
    """Return which clean images the deployed classifier alone labels rightly: (N,) bool. The others need no attack."""
    found: np.ndarray = cell.clean.base_label == cell.y
    return found


def successful(cell: Cell) -> np.ndarray:
    """Return which attacks succeed against the deployed classifier alone, as `cell.success` says: (N,) bool."""
    wrong = attacked(cell).base_label != cell.y
    return wrong if cell.success == "any-wrong" else wrong & initially_right(cell)


@dataclass(frozen=True)
class Pairs:
    """Scores of m adversarial images and of the clean versions of the same images, (R, m) each."""

    adversarial: np.ndarray
    clean: np.ndarray


def score_pairs(cell: Cell, *, all_attacks: bool = False) -> Pairs | None:
    """Return the detector protocol's images: successful attacks (or all of them) and their clean versions.

    None where there is no score or no such image.
    """
    adversarial, clean = scores(attacked(cell)), scores(cell.clean)
    if adversarial is None or clean is None:
        return None
    chosen = np.ones(len(cell.y), dtype=bool) if all_attacks else successful(cell)
    return Pairs(adversarial[:, chosen], clean[:, chosen]) if chosen.any() else None


def withstood(cell: Cell) -> np.ndarray:
    """Return whether the defense with rejection does what it should: (R, N) bool.

    Attacked images: the label is right or the image is flagged. In a clean cell: right and not flagged.
    """
    if cell.attacked is None:
        return right(cell.clean, cell.y) & ~rejected(cell.clean)
    return right(cell.attacked, cell.y) | rejected(cell.attacked)


def near(sizes: np.ndarray, eps: float) -> np.ndarray:
    """Return which perturbations (N,) lie within a budget, in the float32 that they are measured in.

    All of 1/255 to 63/255 are smaller than what they are as float32: a perturbation of just the budget is within it.
    """
    found: np.ndarray = np.asarray(sizes, dtype=np.float32) <= np.float32(eps)
    return found


def within_budget(cell: Cell, eps: float) -> Cell:
    """Return an attacked cell as it is at a budget: where the example lies beyond it, the clean image stands in.

    So fares an attacker who sought the nearest adversarial example and may go no farther than `eps`.
    """
    answers, sizes = attacked(cell), cell.perturbation
    if sizes is None:
        raise ValueError("a cell without sizes of perturbations cannot be taken at a budget")
    inside = near(sizes, eps)

    def chosen(adversarial: np.ndarray | None, clean: np.ndarray | None) -> np.ndarray | None:
        return None if adversarial is None or clean is None else np.where(inside, adversarial, clean)

    def chosen_detail(name: str) -> np.ndarray:
        adversarial, clean = answers.details[name], cell.clean.details[name]
        return np.where(inside.reshape(-1, *[1] * (adversarial.ndim - 1)), adversarial, clean)

    shared = [name for name, array in answers.details.items() if name in cell.clean.details]
    return replace(
        cell,
        eps=eps,
        perturbation=np.where(inside, sizes, 0.0),
        attacked=Answers(
            np.where(inside, answers.base_label, cell.clean.base_label),
            np.where(inside, answers.label, cell.clean.label),
            chosen(answers.score, cell.clean.score),
            chosen(answers.flagged, cell.clean.flagged),
            {name: chosen_detail(name) for name in shared},
        ),
    )


def success_by_distance(cell: Cell) -> tuple[np.ndarray, np.ndarray] | None:
    """Return distances (m,), rising, and the share of initially right images that are wrong within each of them.

    By the defended label; of a randomised defense shares of repeats are counted, as in the attack success rate. None
    where no image is initially right, or nothing is known of distances.
    """
    sizes = sizes_of(cell)
    initially = right(cell.clean, cell.y).mean(0)
    if sizes is None or initially.sum() == 0:
        return None
    wrong = initially * (~right(attacked(cell), cell.y)).mean(0)
    distances, place = np.unique(sizes[wrong > 0], return_inverse=True)
    share = np.cumsum(np.bincount(place, wrong[wrong > 0], minlength=len(distances))) / initially.sum()
    return distances, share


def sizes_of(cell: Cell) -> np.ndarray | None:
    """Return the sizes of the perturbations (N,), None where nothing is known of them.

    Raises:
        ValueError: one is NaN or infinite.
    """
    if cell.perturbation is None or cell.perturbation.size == 0:
        return None
    if not np.isfinite(cell.perturbation).all():
        raise ValueError("a perturbation is NaN or infinite")
    return cell.perturbation


@dataclass(frozen=True)
class Look:
    """What a few images show of a network, counted in images unless said otherwise.

    Attributes:
        images: number of images.
        in_unit: whether all outputs lie in [0, 1].
        sum_to_one: whether the outputs of every image sum to 1.
        spread: largest output less the smallest, over all images.
        blind: the gradient of the cross-entropy in the image is exactly zero.
        broken: it is NaN or infinite, or that of the detector's loss is.
        asked: the image is answered rightly and has a gradient, so that steps are tried.
        astray: of these, one of a few steps in random directions lowers the margin of the true class by more than a
            step of the same size along the gradient, whichever size of several.
        twice: largest difference of a logit between two passes of the same batch, as a share of the logits' spread.
        alone: the same between an image alone and in the batch; None where the network refuses a single image.
    """

    images: int
    in_unit: bool
    sum_to_one: bool
    spread: float
    blind: int
    broken: int
    asked: int
    astray: int
    twice: float
    alone: float | None

    def plain(self) -> dict[str, Any]:
        """Return it as JSON keeps it."""
        return asdict(self)

    @classmethod
    def of(cls, plain: dict[str, Any]) -> Look | None:
        """Return what `plain` gave, or None where another version of this class gave it."""
        return cls(**plain) if plain.keys() == {field.name for field in fields(cls)} else None


@dataclass(frozen=True)
class Seen:
    """A look and what was looked at.

    Attributes:
        key: of the task, equal for cells that share it.
        who: the network in words.
        look: what it showed.
    """

    key: str
    who: str
    look: Look


@dataclass(frozen=True)
class Attacker:
    """How the adversarial examples of a cell came to be.

    Attributes:
        uses_gradient: whether the attack differentiates its victim.
        steps: gradients in a row that the attack follows (`Attack.iterations`), None where it does not say.
        aim: what the attack works on directly: the label of the classifier alone (`base`), of the defended system
            (`label`), or that and the detector's score (`undetected`); None where it is transferred from a copy or
            a substitute.
        evades: whether it lowers a detector's score, be it that of a copy.
        meets_noise: whether what it attacks is random by design.
        nearest: whether it stops at the nearest adversarial example instead of spending its budget.
        erases: whether its budget lets it turn every image into the same grey one, so that no right label need be left.
    """

    uses_gradient: bool
    steps: int | None
    aim: Literal["base", "label", "undetected"] | None
    evades: bool = False
    meets_noise: bool = False
    nearest: bool = False
    erases: bool = False


Status = Literal["ok", "failed", "missing"]


@dataclass(frozen=True)
class CellResult(CellName):
    """One cell of the grid, done or not.

    Attributes:
        status: `missing` is a cell that has not been run.
        reason: one sentence, where it is not ok.
        cell: the arrays, where it is ok.
        sample_ids: name per image.
        details: per-image arrays that explain the verdicts; no table holds them.
        sweep: equal for attacks that differ in nothing but eps, "" where that is not known.
        use: name of the defense's plugin.
        family: of the defense, "" where it is not known.
        attacker: how the adversarial images came to be or would; None in the clean cell, and where it is not known.
        examined: what was asked about the crafting for probes, by what was asked: arrays with a row per image.
        examinations: keys of the tasks that asked, equal for cells that share the answer.
        unasked: probes that have nothing to ask about the attack, and why.
        deployed, victim: what a few images show of the deployed classifier, and of what the attacker held.
        published: attacks by others on the defense.
    """

    status: Status
    reason: str
    cell: Cell | None
    sample_ids: Sequence[str]
    details: Mapping[str, np.ndarray]
    sweep: str = ""
    use: str = ""
    family: str = ""
    attacker: Attacker | None = None
    deployed: Seen | None = None
    victim: Seen | None = None
    published: tuple[PublishedAttack, ...] = ()
    examined: Mapping[Asks, Mapping[str, np.ndarray]] = field(default_factory=dict)
    examinations: Mapping[Asks, str] = field(default_factory=dict)
    unasked: Mapping[ProbeName, str] = field(default_factory=dict)

    @property
    def bare(self) -> bool:
        """Whether the defense is nothing beside the network, so that who knows the network knows all of it."""
        return self.family in BARE

    @property
    def aim(self) -> str | None:
        """What the attack works on directly, as `Attacker.aim`."""
        return None if self.attacker is None else self.attacker.aim


@dataclass(frozen=True)
class ArtifactResult:
    """How good a shared artifact is on the test images of its data set.

    Attributes:
        artifact: the name that a defense uses for it.
        measures: measure -> value and number of images; empty where it has not been measured.
    """

    artifact: str
    dataset: str
    seed: int
    status: Status
    measures: Mapping[str, tuple[float, int]]
