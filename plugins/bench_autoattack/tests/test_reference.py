"""Agreement with the authors' code, from the package `pyautoattack`: the same images, distances and verdicts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from bench_autoattack.apgd import ApgdCe, ApgdDlr, ApgdT
from bench_autoattack.autoattack import AutoAttack
from bench_autoattack.fab import FabT
from benchmark.attack import perturbation_size
from benchmark.model import passes
from benchmark.randomness import Rng

reference = pytest.importorskip("pyautoattack", reason="the authors' code is not installed: pip install pyautoattack")
from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted  # noqa: E402
from pyautoattack.fab_pt import FABAttack_PT  # noqa: E402

NORMS = {"linf": "Linf", "l2": "L2"}
EPS = {"linf": 0.12, "l2": 0.7}


class Quiet:
    """Where the reference's remarks go."""

    def log(self, text: str) -> None:
        pass


def make(kind, **chosen):
    return kind(kind.Options(**chosen))


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize(("kind", "loss"), [(ApgdCe, "ce"), (ApgdDlr, "dlr"), (ApgdT, "dlr-targeted")])
def test_apgd_gives_the_same_images(robust, norm, kind, loss):
    """From the same start: images fooled at their last step that fools; of the others the point of highest loss."""
    right = robust.is_right(robust.x)
    x, y, eps = robust.x[right][:80], robust.y[right][:80], EPS[norm] * 0.7
    common = {"n_iter": 40, "norm": NORMS[norm], "eps": eps, "device": torch.device("cpu"), "logger": Quiet()}
    seed = Rng(3).spawn(*((0, 0) if kind is ApgdT else (0,))).seed
    if kind is ApgdT:
        library = APGDAttack_targeted(robust.classifier, n_target_classes=1, **common)
        library.y_target = robust.classifier(x).argsort(1)[:, -2]
        chosen = {"targets": 1}
    else:
        library, chosen = APGDAttack(robust.classifier, loss=loss, **common), {}
    library.init_hyperparam(x)
    with Rng(seed).seeded_globals():
        peak, stands, _, fooling = library.attack_single_run(x.clone(), y)
    theirs = torch.where(stands.view(-1, 1, 1, 1), peak, fooling).detach()
    chosen = {"norm": norm, "eps": eps, "steps": 40, **chosen}
    ours = make(kind, **chosen).craft(robust.victim, x, y, Rng(3))
    assert 5 < stands.sum() < 75
    # A gradient of nearly zero may turn its sign by rounding, and from there on the search is another.
    same = (ours - theirs).abs().flatten(1).amax(1) < 1e-4
    assert same.float().mean() > 0.9
    assert torch.equal(robust.classifier(ours).argmax(1)[same] == y[same], stands[same])
    before = passes.copy()
    early = make(kind, **chosen, early_stop=True).craft(robust.victim, x, y, Rng(3))
    used = passes - before
    assert torch.equal(robust.classifier(early).argmax(1) == y, robust.classifier(ours).argmax(1) == y)
    assert used.forward < 0.9 * 80 * 41


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_fab_gives_the_same_distances(robust, norm):
    right = robust.is_right(robust.x)
    x, y = robust.x[right][:60], robust.y[right][:60]
    library = FABAttack_PT(
        robust.classifier, norm=NORMS[norm], n_iter=30, eps=1e3, targeted=True, device=torch.device("cpu")
    )
    with torch.no_grad():
        theirs = []
        for rank in (2, 3, 4):
            library.target_class = rank
            theirs.append(perturbation_size(library.attack_single_run(x, y, is_targeted=True) - x, norm))
    wanted = torch.stack(theirs).where(torch.stack(theirs) > 0, torch.inf).amin(0)
    attack = make(FabT, norm=norm, steps=30, targets=3)
    assert attack.minimum_norm
    x_adv = attack.craft(robust.victim, x, y, Rng(0))
    found = perturbation_size(x_adv - x, norm)
    assert (robust.classifier(x_adv).argmax(1) != y).all()
    assert ((found - wanted).abs() / wanted).median() < 1e-4
    assert ((found - wanted).abs() / wanted < 0.01).float().mean() > 0.9


class Scaled(nn.Module):
    """Logits times a factor, in float32."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, logits):
        return logits.float() * self.factor


def theirs(victim, x, y, norm, eps, version="standard"):
    """Return what the reference makes of the images."""
    library = reference.AutoAttack(victim.classifier, norm=NORMS[norm], eps=eps, seed=0, version=version, device="cpu")
    return library.run_standard_evaluation(x, y, batch_size=len(x))[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("case", "norm"),
    [
        ("plain", "linf"), ("plain", "l2"), ("robust", "linf"), ("robust", "l2"), ("saturated", "linf"),
        ("underflow", "linf"), ("underflow", "l2"),
    ],
)  # fmt: skip
def test_autoattack_leaves_the_same_robust_accuracy(digits, robust, norm, case):
    """Within one image of 200, for no more than 1.02 times the passes."""
    known = {
        "plain": digits,
        "robust": robust,
        "saturated": digits.behind(Scaled(1000.0)),
        "underflow": digits.behind(Scaled(1e-30)),
    }[case]
    eps, counts, used = EPS[norm], [], []
    for run in (
        lambda: theirs(known.victim, known.x, known.y, norm, eps),
        lambda: make(AutoAttack, norm=norm, eps=eps).craft(known.victim, known.x, known.y, Rng(0)),
    ):
        before = passes.copy()
        x_adv = run()
        used.append(passes - before)
        counts.append(int(known.is_right(x_adv).sum()))
    assert 20 < counts[1] <= counts[0] + 1 < 190
    # Where squares of gradients underflow, the authors' l2 steps are none.
    assert counts[1] >= counts[0] - 1 or (case, norm) == ("underflow", "l2")
    assert used[1].forward <= 1.02 * used[0].forward
    assert used[1].backward <= 1.02 * used[0].backward


class Noisy(nn.Module):
    """Logits of the image with fresh noise on it in each pass."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x):
        return self.network((x + 0.2 * torch.randn_like(x)).clamp(0, 1))


@pytest.mark.slow
def test_rand_leaves_as_much_of_a_randomised_network(robust):
    from dataclasses import replace

    victim = replace(robust.victim, classifier=Noisy(robust.classifier))
    x, y = robust.x[:60], robust.y[:60]

    def accuracy(x_adv):
        with torch.no_grad():
            return float(np.mean([(victim.classifier(x_adv).argmax(1) == y).float().mean() for _ in range(20)]))

    with Rng(0).seeded_globals():
        ours = make(AutoAttack, eps=0.1, version="rand").craft(victim, x, y, Rng(0))
        wanted = theirs(victim, x, y, "linf", 0.1, "rand")
        assert abs(accuracy(ours) - accuracy(wanted)) < 0.06
        assert max(accuracy(ours), accuracy(wanted)) < accuracy(x) - 0.05
