"""What an attacker is handed: a network, several as one, or a whole defense with all that it offers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, get_args

import torch
from torch import Tensor, nn

from benchmark.attack import ClassLikelihoods, Victim
from benchmark.dataset import Split
from benchmark.defense import Batch, Defense, Road, offers
from benchmark.errors import TaskError
from benchmark.plan.task import Held, Key
from benchmark.randomness import Rng
from benchmark.tasks.verdicts import checked
from benchmark.tasks.workshop import Workshop

ROADS: tuple[Road, ...] = tuple(road for road in get_args(Road) if road != "surrogate")
"""What is handed over as the victim's attribute of the same name; the surrogate is its classifier."""
LEAVE_OUT = "A defense that has none leaves the method out, and its white-box rows are refused while planning."


def victim_of(shop: Workshop, keys: tuple[Key, ...], held: Held, split: Split, draws: int = 1) -> Victim:
    """Return what an attacker is handed.

    Args:
        keys: of the task that makes the network or fits the defense; several networks are attacked as one.
        held: `classifier`, or `pipeline` for the whole defense.
        split: whose images are attacked.
        draws: of a random defense, over which its answers are averaged.
    """
    roads: dict[str, Callable[..., Any]] = {}
    network: nn.Module
    if len(keys) > 1:
        network = _Ensemble([shop.classifier(one) for one in keys])
    elif held == "pipeline":
        defense = shop.fitted(keys[0])
        surrogate = defense.surrogate()
        if offers(defense, "surrogate") and not isinstance(surrogate, nn.Module):
            raise TaskError(f"surrogate returned {_found(surrogate)} instead of a network. {LEAVE_OUT}")
        network = defense.classifier if surrogate is None else surrogate
        if network is not defense.classifier:
            classes = len(split.class_names)
            network.register_forward_hook(
                lambda network, given, logits: _check_offer("surrogate", logits, len(given[0]), classes)
            )
        if draws > 1 and (surrogate is not None or defense.bare):  # else it draws nothing
            network = _Expected(network, draws)
        for road in ROADS:
            if offers(defense, road):
                roads[road] = _road(defense, road, draws)
        if not defense.bare:
            # All calls with one `rng` meet the same draws, so that an attacker compares candidates in pairs.
            def judge(x: Tensor, rng: Rng) -> tuple[Tensor, Tensor | None]:
                with torch.no_grad():
                    verdicts = [
                        checked(defense.judge(Batch(x.clone(), defense, rng.spawn(draw))), x, defense, 0)
                        for draw in range(draws)
                    ]
                label = torch.stack([verdict.label for verdict in verdicts]).mode(0).values
                scores = [verdict.score for verdict in verdicts if verdict.score is not None]
                return label, torch.stack(scores).mean(0) if scores else None

            roads["judge"] = judge
        network.eval().requires_grad_(False)
    else:
        network = shop.classifier(keys[0])
    return Victim(network, len(split.class_names), split.image_shape, shop.device, **roads)


def _road(defense: Defense, name: str, draws: int) -> Callable[..., Any]:
    """Return what a defense offers to attackers, averaged over draws, so that it cannot write into their tensors."""
    method = getattr(defense, name)

    def told(*tensors: Tensor) -> Any:
        answers = [method(*(tensor.clone() for tensor in tensors)) for _ in range(draws)]
        for answer in answers:
            _check_offer(name, answer, len(tensors[0]), len(defense.class_names))
        return _mean(answers)

    return told


def _check_offer(name: str, answer: Any, count: int, classes: int) -> None:
    """Refuse what a defense offers to attackers of `count` images where it is not what the contract asks for.

    Raises:
        TaskError: what was found.
    """
    if answer is None:
        raise TaskError(f"{name} returned None. {LEAVE_OUT}")
    if name in ("training_loss", "aimed_loss"):
        if not isinstance(answer, tuple) or len(answer) != 2:
            raise TaskError(f"{name} returned {_found(answer)} instead of a pair of tensors, loss and logits")
        parts = {" a loss of": (answer[0], (count,)), " logits of": (answer[1], (count, classes))}
    elif name == "class_likelihoods":
        if not isinstance(answer, ClassLikelihoods):
            raise TaskError(f"{name} returned {_found(answer)} instead of ClassLikelihoods")
        parts = {
            " a log_likelihood of": (answer.log_likelihood, (count, classes)),
            " a log_threshold of": (answer.log_threshold, (classes,)),
            " logits of": (answer.logits, (count, classes)),
        }
    else:
        parts = {"": (answer, (count,) if name == "detector_loss" else (count, classes))}
    for part, (value, wanted) in parts.items():
        if not isinstance(value, Tensor) or value.shape != wanted:
            raise TaskError(f"{name} returned{part} {_found(value)} instead of a tensor of shape {wanted}")


def _found(value: Any) -> Any:
    """Return what stands for a value in a message: a tensor's shape, None, or a type's name."""
    return tuple(value.shape) if isinstance(value, Tensor) else None if value is None else type(value).__name__


def _mean(answers: Sequence[Any]) -> Any:
    """Return the mean of tensors, or of each of those that a tuple or `ClassLikelihoods` holds."""
    first = answers[0]
    if len(answers) == 1:
        return first
    if isinstance(first, Tensor):
        return torch.stack(list(answers)).mean(0)
    if isinstance(first, tuple):
        return tuple(_mean(parts) for parts in zip(*answers, strict=True))
    return replace(first, **{name: _mean([getattr(answer, name) for answer in answers]) for name in vars(first)})


class _Ensemble(nn.Module):
    """Logs of the mean probabilities of several networks, in place of logits.

    Their cross-entropy is the objective of Liu, Chen, Liu, Song, "Delving into Transferable Adversarial Examples and
    Black-box Attacks", ICLR 2017, Eq. 4, with equal weights.
    """

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, x: Tensor) -> Tensor:
        """Return log-probabilities (N, classes) of images (N, C, H, W)."""
        said = torch.stack([network(x).log_softmax(1) for network in self.networks])
        return said.logsumexp(0) - math.log(len(said))


class _Expected(_Ensemble):
    """Logs of the mean probabilities over draws of a random network, in place of its logits.

    Their cross-entropy is that of the expected answer (Salman et al. 2019, arXiv:1906.04584, section 2.2).
    """

    def __init__(self, network: nn.Module, draws: int) -> None:
        super().__init__([network] * draws)
