"""Components that change what they are handed, each in one way: `where` names the hook, `what` the change."""

from __future__ import annotations

import itertools
import os
import resource
import signal
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from toy import BlobOptions, Blobs, Brightness, Centroids, Flatten, Linear, LinearOptions, Plain, Step, ToyAttackOptions

from benchmark import (
    ArtifactRequest,
    Batch,
    Classifier,
    FitContext,
    Hardener,
    Observation,
    Options,
    Rng,
    Split,
    Verdict,
    Victim,
    hookimpl,
)


def _last(network: nn.Module) -> nn.Linear:
    return [module for module in network.modules() if isinstance(module, nn.Linear)][-1]


def _replace(network: nn.Module) -> None:
    inner = network.network
    inner[-1] = nn.Linear(16, 2)


class _Negated(nn.Parameter):
    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        answer = super().__torch_function__(function, types, args, kwargs or {})
        return -answer if function is nn.functional.linear else answer


def _folded(network: nn.Module) -> nn.Module:
    """Return the layer that could hold a bias and others, and holds none."""
    return next(module for module in network.modules() if isinstance(module, Flatten))


NETWORK = {
    "weights": lambda network: _last(network).weight.data.mul_(-2),
    "a weight by its array": lambda network: _last(network).bias.detach().numpy().fill(9),
    "a buffer": lambda network: network.mean.add_(1),
    "the mode": lambda network: network.train(),
    "a hook": lambda network: network.register_forward_hook(lambda module, x, logits: -logits),
    "gradients": lambda network: network.requires_grad_(True),
    "the forward": lambda network: setattr(network, "forward", lambda x: torch.zeros(len(x), 2)),
    "a layer": _replace,
    "an attribute": lambda network: setattr(network, "num_classes", 1),
    "a bias where none was": lambda network: setattr(_folded(network), "bias", nn.Parameter(torch.ones(1), False)),
    "a buffer where none was": lambda network: setattr(_folded(network), "running_mean", torch.ones(1)),
    "a mask where none was": lambda network: setattr(_folded(network), "mask", torch.zeros(1)),
    "compiled": lambda network: setattr(network, "_compiled_call_impl", lambda x: torch.zeros(len(x), 2)),
    "a weight's class": lambda network: setattr(_last(network).weight, "__class__", _Negated),
    "code of the class": lambda network: setattr(type(_folded(network)), "forward", lambda self, x: 0 * x),
}


def _one_less(limit: int) -> tuple[int, int]:
    soft, hard = resource.getrlimit(limit)
    return soft - 1, hard


PROCESS = {
    "default dtype": lambda: torch.set_default_dtype(torch.float64),
    "gradient mode": lambda: torch.set_grad_enabled(False),
    "deterministic": lambda: torch.use_deterministic_algorithms(True),
    "cudnn.deterministic": lambda: setattr(torch.backends.cudnn, "deterministic", True),
    "mkldnn.enabled": lambda: torch._C._set_mkldnn_enabled(False),
    "cudnn.allow_tf32": lambda: setattr(torch.backends.cudnn, "allow_tf32", not torch.backends.cudnn.allow_tf32),
    "math_sdp": lambda: torch.backends.cuda.enable_math_sdp(False),
    "matmul precision": lambda: torch.set_float32_matmul_precision("medium"),
    "denormal": lambda: torch.set_flush_denormal(True),
    "hooks of all modules": lambda: nn.modules.module.register_module_forward_hook(lambda module, x, y: -y),
    "hooks of saved tensors": lambda: torch.autograd.graph.saved_tensors_hooks(
        torch.zeros_like, lambda x: x
    ).__enter__(),
    "modes of functions": lambda: torch.overrides.BaseTorchFunctionMode().__enter__(),
    "timers": lambda: signal.alarm(60),
    "limits of resources": lambda: resource.setrlimit(resource.RLIMIT_NOFILE, _one_less(resource.RLIMIT_NOFILE)),
    "threads go on": lambda: threading.Thread(target=lambda: time.sleep(2), daemon=True).start(),
    "threads": lambda: torch.set_num_threads(torch.get_num_threads() + 1),
    "NumPy's error": lambda: np.seterr(all="raise"),
    "current directory": lambda: os.chdir("/"),
    "environment": lambda: os.environ.update(HOSTILE="1"),
    "Python's path": lambda: __import__("sys").path.insert(0, "/hostile"),
    "warning filters": lambda: warnings.simplefilter("error"),
    "umask": lambda: os.umask(0o777),
}


def _haunt() -> None:
    def work() -> None:
        for number in itertools.count():
            os.environ["HAUNTED"] = str(number)
            time.sleep(0.0001)

    threading.Thread(target=work, name="ghost", daemon=True).start()


def _go() -> None:
    PROCESS["threads go on"]()
    raise SystemExit(3)


LASTING = {"ghost": _haunt, "a thread and the end": _go}
"""What cannot be put back: for processes that are replaced only."""


def vandalise(what: str, network: nn.Module) -> None:
    """Do what is asked, and draw from the global generators after seeding them, which must hurt nobody."""
    torch.manual_seed(1)
    np.random.seed(1)
    if what in NETWORK:
        NETWORK[what](network)
    elif what in {*PROCESS, *LASTING}:
        {**PROCESS, **LASTING}[what]()


class VandalOptions(Options):
    where: str
    what: str


class Vandal(Plain):
    """A defense that lets everything pass, and changes something on the way."""

    Options = VandalOptions

    def _at(self, where: str, split: Split | None = None) -> None:
        if self.options.where == where:
            vandalise(self.options.what, self.classifier)
            if split is not None and self.options.what == "labels":
                split.labels[:] = 0

    def fit(self, context: FitContext) -> None:
        context.train.images(range(4)).zero_()
        context.val.images(range(4)).zero_()
        self._at("fit", context.train)

    def save(self, folder: Path) -> None:
        self._at("save")

    def load(self, folder: Path) -> None:
        self._at("load")

    def judge(self, batch: Batch) -> Verdict:
        self._at("judge")
        verdict = Verdict(label=batch.logits.argmax(1))
        if self.options.where == "judge" and self.options.what == "x":
            batch.x.add_(0.1).clamp_(0, 1)
        if self.options.where == "judge" and self.options.what == "logits":
            batch.logits.neg_()
        return verdict

    def surrogate(self) -> nn.Module:
        self._at("surrogate")
        return self.classifier


class InPlace(Hardener):
    """Hardens the very network that it was handed."""

    needs_classifier = True

    def harden(self, context: FitContext) -> Classifier:
        with torch.no_grad():
            _last(context.classifier).weight.neg_()
        return context.classifier


class VandalAttackOptions(ToyAttackOptions):
    what: str


class VandalAttack(Step):
    Options = VandalAttackOptions

    def craft(self, victim: Victim, x: Tensor, y: Tensor, rng: Rng) -> Tensor:
        crafted = super().craft(victim, x, y, rng)
        vandalise(self.options.what, victim.classifier)
        if self.options.what == "x":
            return x.add_(0.5).clamp_(0, 1)
        if self.options.what == "y":
            y.zero_()
        return crafted


class _Pool(nn.Module):
    """Keeps what it computed once, like torchvision's pooling of regions."""

    def __init__(self) -> None:
        super().__init__()
        self.scales: list[float] | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.scales is None:
            self.scales = [1 / x.shape[-1]]
        return x


class VandalArtifact(Centroids):
    Options = VandalOptions

    def __init__(self, options: VandalOptions) -> None:
        super().__init__(options)
        self.pool = nn.Sequential(_Pool())

    def build(self, context: FitContext) -> None:
        images, labels = context.train.images(range(len(context.train))), torch.from_numpy(context.train.labels)
        self.means = torch.stack([images[labels == c].mean(0) for c in range(2)])
        if self.options.where == "build":
            vandalise(self.options.what, context.classifier)

    def observe(self, x: Tensor) -> dict[str, Tensor]:
        seen = super().observe(x)
        self.pool(x)
        if self.options.where == "observe" and self.options.what == "x":
            x.zero_()
        if self.options.where == "observe" and self.options.what == "itself":
            self.means.add_(1)
        if self.options.where == "observe" and self.options.what == "neighbours":
            seen["distance"] = seen["distance"].mean(0, keepdim=True).expand(len(x), -1)
        return seen


class Observing(Brightness):
    """Judges by a shared artifact that changes things."""

    Options = VandalOptions

    def artifacts(self) -> dict[str, ArtifactRequest]:
        return {"centroids": ArtifactRequest("vandal", self.options, per_classifier=True)}

    def observations(self) -> dict[str, Observation]:
        return {"distances": Observation(artifact="centroids")}

    def fit(self, context: FitContext) -> None:
        self.mean = torch.tensor(0.5)
        if self.options.what == "artifact":
            centroids: Any = context.artifacts["centroids"]
            centroids.means.zero_()

    def judge(self, batch: Batch) -> Verdict:
        distance = batch.observed("distances")["distance"]
        verdict = Verdict(label=distance.argmin(1), score=distance.amin(1) + 0)
        if self.options.where == "judge" and self.options.what == "observed":
            distance.zero_()
        return verdict


class VandalBlobOptions(BlobOptions):
    what: str


class VandalBlobs(Blobs):
    """Changes something while it is loaded."""

    Options = VandalBlobOptions

    def load(self, split: str) -> Split:
        vandalise(self.options.what, nn.Linear(2, 2))
        return super().load(split)


class VandalModelOptions(LinearOptions):
    what: str


class VandalLinear(Linear):
    Options = VandalModelOptions

    def network(self, num_classes: int, image_shape: tuple[int, int, int]) -> nn.Module:
        return nn.Sequential(_Vandal(self.options.what), super().network(num_classes, image_shape))


class _Vandal(nn.Module):
    def __init__(self, what: str) -> None:
        super().__init__()
        self.what = what

    def forward(self, x: Tensor) -> Tensor:
        if not x.is_meta:
            vandalise(self.what, self)
        return x.sub_(0.5).div_(0.5)


class BatchMean(Brightness):
    """Suspects batches: clean and attacked images come in batches of their own."""

    def judge(self, batch: Batch) -> Verdict:
        own = super().judge(batch)
        return Verdict(label=own.label, score=own.score.mean().expand(len(own.score)))


class NoisyBatchMean(BatchMean):
    randomised = True

    def judge(self, batch: Batch) -> Verdict:
        own = super().judge(batch)
        return Verdict(
            label=own.label, score=own.score + 1e-3 * torch.randn(own.score.shape, generator=batch.rng.torch)
        )


class NoisyBrightness(Brightness):
    randomised = True

    def judge(self, batch: Batch) -> Verdict:
        own = super().judge(batch)
        noise = torch.randn(own.score.shape, generator=batch.rng.torch)
        return Verdict(label=own.label, score=own.score + 0.1 * noise)


class BatchLabel(Plain):
    """Answers with the class that is the most frequent in the batch."""

    def judge(self, batch: Batch) -> Verdict:
        return Verdict(label=batch.logits.argmax(1).mode().values.expand(len(batch.x)))


class Growing(Brightness):
    """Suspects what comes late."""

    def judge(self, batch: Batch) -> Verdict:
        self.seen = getattr(self, "seen", 0) + len(batch.x)
        own = super().judge(batch)
        return Verdict(label=own.label, score=own.score + self.seen)


class Reminiscent(Brightness):
    """Suspects what differs from the first images that any object of it has judged in this process."""

    first: Tensor | None = None

    def judge(self, batch: Batch) -> Verdict:
        if Reminiscent.first is None:
            Reminiscent.first = batch.x.mean(0)
        return Verdict(label=batch.logits.argmax(1), score=(batch.x - Reminiscent.first).abs().mean(dim=(1, 2, 3)))


class ReminiscentUnfitted(Plain):
    """The same, and learns nothing."""

    family = "detector"
    first: Tensor | None = None

    def judge(self, batch: Batch) -> Verdict:
        if ReminiscentUnfitted.first is None:
            ReminiscentUnfitted.first = batch.x.mean(0)
        far = (batch.x - ReminiscentUnfitted.first).abs().mean(dim=(1, 2, 3))
        return Verdict(label=batch.logits.argmax(1), score=far)


class Rounding(Brightness):
    """Saves less than it has learnt."""

    def save(self, folder: Path) -> None:
        (folder / "mean.txt").write_text("0.9")


class Forgetful(Brightness):
    def save(self, folder: Path) -> None:
        pass

    def load(self, folder: Path) -> None:
        pass


HOME = os.getpid()


class Slow(Brightness):
    """Takes longer, in another process than this one, than it is waited for there: the time that is left is cut."""

    def load(self, folder: Path) -> None:
        super().load(folder)
        if os.getpid() != HOME and signal.alarm(0):
            signal.alarm(1)
            time.sleep(60)


LEARNT = {}


class Hoarding(Brightness):
    """Keeps what it learnt in a global of its module, where the same process finds it."""

    def fit(self, context: FitContext) -> None:
        super().fit(context)
        LEARNT["mean"] = self.mean

    def save(self, folder: Path) -> None:
        pass

    def load(self, folder: Path) -> None:
        self.mean = LEARNT.get("mean", torch.tensor(0.9))


@hookimpl
def register_datasets(register):
    register("vandal-blobs", VandalBlobs)


@hookimpl
def register_models(register):
    register("vandal-linear", VandalLinear)


@hookimpl
def register_attacks(register):
    register("vandal", VandalAttack)


@hookimpl
def register_artifacts(register):
    register("vandal", VandalArtifact, options=VandalOptions)


@hookimpl
def register_defenses(register):
    register("vandal", Vandal)
    register("in-place", InPlace)
    register("observing", Observing)
    for name, defense in {
        "batch-mean": BatchMean,
        "noisy-batch-mean": NoisyBatchMean,
        "noisy-brightness": NoisyBrightness,
        "batch-label": BatchLabel,
        "growing": Growing,
        "reminiscent": Reminiscent,
        "reminiscent-unfitted": ReminiscentUnfitted,
        "rounding": Rounding,
        "forgetful": Forgetful,
        "hoarding": Hoarding,
        "slow": Slow,
    }.items():
        register(name, defense)
