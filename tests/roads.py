"""Attacks that look at what a defense offers to an attacker who knows it, and give the images back as they are.

A cell in which something is wrong fails with what it was.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook

from benchmark import Attack, Batch, Classifier, Defense, Options, Rng, Verdict, Victim, hookimpl
from benchmark.attack import ClassLikelihoods
from benchmark.model import passes
from benchmark.options import AttackOptions, Budget


class LookOptions(AttackOptions):
    norm: Literal["linf"] = "linf"
    eps: Budget = Budget(1.0)


class WrongOptions(Options):
    what: Literal["network", "logits", "score", "shape", "loss", "likelihoods", "threshold", "nothing"]


class Look(Attack):
    """The suspicion that is offered falls along its own gradient, and the deployed system's score falls with it."""

    Options = LookOptions
    evades_detector = True
    equal = False
    """Whether the suspicion is the deployed system's score, not merely near it."""

    def craft(self, victim: Victim, x: Tensor, y: Tensor, rng: Rng) -> Tensor:
        assert victim.detector_loss is not None
        assert victim.judge is not None
        _, score = victim.judge(x, rng)
        assert score is not None
        offered, gradient = told(victim, x)
        assert offered.shape == (len(x),)
        assert gradient.isfinite().all(), "a gradient that is not finite"
        steep = gradient.flatten(1).norm(dim=1)
        assert (steep > 0).double().mean() >= 0.9, f"no gradient at {int((steep == 0).sum())} of {len(x)} images"
        if self.equal:
            torch.testing.assert_close(offered.double(), score.double(), rtol=1e-4, atol=1e-5)
            rise, slope = self.slopes(victim, x, gradient, steep)
            near = (rise - slope).abs() <= 0.1 * slope
            # Maxima and ReLUs have edges: an image may lie on one.
            assert near.double().mean() >= 0.8, f"slopes {slope.tolist()}, differences {rise.tolist()}"
        if victim.class_suspicions is not None and self.equal:
            of_label = victim.class_suspicions(x).gather(1, victim.classifier(x).argmax(1)[:, None]).squeeze(1)
            torch.testing.assert_close(of_label.double(), score.double(), rtol=1e-4, atol=1e-5)
        lower = x
        for _ in range(10):
            lower = (lower - 0.005 * told(victim, lower)[1].sign()).clamp(0, 1)
        _, after = victim.judge(lower, rng)
        assert after is not None
        fallen = float((after < score).double().mean())
        assert fallen >= 0.7, f"the score fell for {fallen:.0%} of the images along the gradient that is offered"
        return x

    def slopes(self, victim: Victim, x: Tensor, gradient: Tensor, steep: Tensor) -> tuple[Tensor, Tensor]:
        """Return the rise (N,) of the deployed system's score along the gradient, per length, and the gradient's."""
        assert victim.judge is not None
        length = 3e-4  # shorter, and rounding tells; longer, and more images meet an edge: at 1e-3 five of 24 did
        step = length * gradient / steep.clamp_min(1e-30).view(-1, 1, 1, 1)
        (_, ahead), (_, behind) = (victim.judge(x + sign * step, Rng(0)) for sign in (1, -1))
        assert ahead is not None
        assert behind is not None
        return (ahead - behind).double() / (2 * length), steep.double()


class LookCloser(Look):
    """The same, and the suspicion is the score, its gradient the slope."""

    equal = True


def told(victim: Victim, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the suspicion (N,) of images and its gradient (N, C, H, W)."""
    assert victim.detector_loss is not None
    with torch.enable_grad():
        point = x.detach().requires_grad_()
        suspicion = victim.detector_loss(point)
        (gradient,) = torch.autograd.grad(suspicion.sum(), point)
    return suspicion.detach(), gradient


class LookCounted(Look):
    """What is pushed through networks on any road counts, whatever holds the networks."""

    def craft(self, victim: Victim, x: Tensor, y: Tensor, rng: Rng) -> Tensor:
        # A pipeline holds the deployed network, and may hold one of its own before it.
        deployed = [module for module in victim.classifier.modules() if isinstance(module, Classifier)]
        classifier = {module for one in deployed for module in one.modules() if _learned(module)}
        roads = {"classifier": victim.classifier, "detector_loss": victim.detector_loss}
        if victim.judge is not None:
            roads["judge"] = lambda x: victim.judge(x, rng)
        for road, look in roads.items():
            if look is None:
                continue
            images: dict[nn.Module, int] = {}

            def seen(module: nn.Module, given: tuple[Any, ...], answer: Any, images=images) -> None:
                if _learned(module):
                    images[module] = images.get(module, 0) + len(given[0])

            before, hook = passes.copy(), register_module_forward_hook(seen)
            try:
                look(x)
            finally:
                hook.remove()
            # The first layer of each network, in the order in which they ran, sees what goes through it.
            first = [
                next((n for module, n in images.items() if (module in classifier) == own), 0) for own in (True, False)
            ]
            assert (passes - before).forward == sum(first), f"{road}: {passes - before}, through networks went {first}"
        return x


def _learned(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear | nn.Conv2d)


class Blurry(nn.Module):
    """A network behind noise that is drawn anew in each pass."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x + torch.randn_like(x))


class Random(Defense):
    """Adds noise before it classifies and scores; an attacker may look through both."""

    family = "rectifier"
    randomised = True

    def judge(self, batch: Batch) -> Verdict:
        noise = torch.randn(batch.x.shape, generator=batch.rng.torch)
        return Verdict(label=self.classifier(batch.x + noise).argmax(1), score=(batch.x + noise).mean((1, 2, 3)))

    def surrogate(self) -> nn.Module:
        return Blurry(self.classifier)

    def detector_loss(self, x: Tensor) -> Tensor:
        return (x + torch.randn_like(x)).mean((1, 2, 3))


class Unroaded(Defense):
    """Offers what is none, by `what` is wrong with it."""

    family = "rectifier"
    Options = WrongOptions

    def judge(self, batch: Batch) -> Verdict:
        return Verdict(label=batch.logits.argmax(1), score=batch.x.mean((1, 2, 3)))

    def surrogate(self) -> nn.Module | None:
        if self.options.what == "logits":
            return nn.Sequential(self.classifier, nn.Flatten(0))
        return None if self.options.what == "network" else self.classifier

    def detector_loss(self, x: Tensor) -> Tensor | None:
        if self.options.what == "score":
            return None
        return x.mean((2, 3)) if self.options.what == "shape" else x.mean((1, 2, 3))


class Unknown(Unroaded):
    """The same, of what few attacks look at; random, so that answers are averaged."""

    randomised = True

    def surrogate(self) -> nn.Module | None:
        return self.classifier

    def training_loss(self, x: Tensor, y: Tensor) -> Any:
        return [x.mean((1, 2, 3)), self.classifier(x)] if self.options.what == "loss" else (x, x)

    def class_likelihoods(self, x: Tensor) -> Any:
        logits = self.classifier(x)
        if self.options.what == "likelihoods":
            return {"logits": logits}
        return ClassLikelihoods(logits, logits[:, 0], logits)


class Noticing(Defense):
    """A detector whose score alone is random."""

    family = "detector"
    randomised = True

    def judge(self, batch: Batch) -> Verdict:
        noise = torch.randn(batch.x.shape, generator=batch.rng.torch)
        return Verdict(label=batch.logits.argmax(1), score=(batch.x + noise).mean((1, 2, 3)))

    def detector_loss(self, x: Tensor) -> Tensor:
        return (x + torch.randn_like(x)).mean((1, 2, 3))


class UnroadedPerClass(Unroaded):
    def class_suspicions(self, x: Tensor) -> Tensor:
        return self.classifier(x)[:, :1]


class UnroadedAims(Unroaded):
    def aims(self, x: Tensor, y: Tensor) -> Tensor:
        return y


class UnroadedAimed(Unroaded):
    def aimed_loss(self, x: Tensor, target: Tensor) -> Any:
        return x.mean((1, 2, 3))


class LookSteady(Look):
    """What a random defense offers is its mean over many draws."""

    def craft(self, victim: Victim, x: Tensor, y: Tensor, rng: Rng) -> Tensor:
        assert victim.detector_loss is not None
        assert victim.judge is not None
        with torch.no_grad():
            answers = torch.stack([victim.classifier(x).softmax(1) for _ in range(4)])
            scores = torch.stack([victim.detector_loss(x) for _ in range(4)])
            judged = [victim.judge(x, rng.spawn(look)) for look in range(4)]
        sure = answers.mean(0).amax(1) > 0.8
        for name, drawn in {
            "answer": answers.std(0).mean(),
            "suspicion": scores.std(0).mean(),
            "score": torch.stack([score for _, score in judged if score is not None]).std(0).mean(),
            "label": (torch.stack([label for label, _ in judged])[:, sure].double().std(0)).mean(),
        }.items():
            assert drawn < 0.08, f"another {name} each time, by {drawn:.3f}"
        return x


class LookOnce(Look):
    """A network that draws nothing is asked once, whatever its detector draws."""

    def craft(self, victim: Victim, x: Tensor, y: Tensor, rng: Rng) -> Tensor:
        before = passes.copy()
        victim.classifier(x)
        assert (passes - before).forward == len(x)
        return x


class LookAtLoss(Look):
    needs_training_loss = True

    def craft(self, victim: Victim, x: Tensor, y: Tensor, rng: Rng) -> Tensor:
        assert victim.training_loss is not None
        victim.training_loss(x, y)
        return x


class LookAtLikelihoods(Look):
    needs_likelihoods = True

    def craft(self, victim: Victim, x: Tensor, y: Tensor, rng: Rng) -> Tensor:
        assert victim.class_likelihoods is not None
        victim.class_likelihoods(x)
        return x


@hookimpl
def register_attacks(register):
    register("look-once", LookOnce)
    register("look-at-loss", LookAtLoss)
    register("look-at-likelihoods", LookAtLikelihoods)
    register("look", Look)
    register("look-closer", LookCloser)
    register("look-counted", LookCounted)
    register("look-steady", LookSteady)


@hookimpl
def register_defenses(register):
    register("random", Random)
    register("unroaded", Unroaded)
    register("unknown", Unknown)
    register("noticing", Noticing)
    register("unroaded-per-class", UnroadedPerClass)
    register("unroaded-aims", UnroadedAims)
    register("unroaded-aimed", UnroadedAimed)
