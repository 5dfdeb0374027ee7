"""UnMask under an attacker who aims at single classes: in which order, by which loss, and what is left of it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from bench_adaptive.evasion import JointPgd
from bench_adaptive.options import JointPgdOptions
from bench_unmask.options import UnMaskDefenseOptions
from bench_unmask.unmask import Explanation, UnMask
from benchmark import Batch, Rng, SharedArtifact, Victim

CLASSES = ("car", "van", "bird", "tree")
PARTS = ("wheel", "door", "light", "box", "wing", "beak", "trunk")
V = torch.tensor(
    [[1, 1, 1, 0, 0, 0, 0], [1, 1, 0, 1, 0, 0, 0], [0, 0, 0, 0, 1, 1, 0], [0, 0, 0, 0, 0, 0, 1]], dtype=torch.bool
)
"""Cars and vans share two of four parts, the others none."""


class Brightness(SharedArtifact):
    """A part is as likely as its pixel in the first row is bright."""

    parts = PARTS

    def build(self, context) -> None: ...

    def save(self, folder) -> None: ...

    def load(self, folder) -> None: ...

    def probabilities(self, x: Tensor) -> Tensor:
        return x[:, 0, 0, :]

    def candidates(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.probabilities(x), torch.arange(len(x))

    def observe(self, x: Tensor) -> dict[str, Tensor]:
        return {"scores": self.probabilities(x), "boxes": x.new_zeros(len(x), len(PARTS), 4)}


class SecondRow(nn.Module):
    """The class whose pixel in the second row is brightest."""

    def forward(self, x: Tensor) -> Tensor:
        return 20 * x[:, 0, 1, : len(CLASSES)]


@pytest.fixture
def unmask(tmp_path: Path) -> UnMask:
    options = UnMaskDefenseOptions(parts_from="parts", class_parts="learned", part_score=0.5, rectify="always")
    Explanation(PARTS, CLASSES, V, "drawn", 0.5, None, {}, []).save(tmp_path / "explanation.json")
    defense = UnMask(options)
    defense.class_names, defense.device = CLASSES, torch.device("cpu")
    defense.classifier, defense.shared = SecondRow(), {"extractor": Brightness({})}
    defense.load(tmp_path)
    return defense


def drawn(labels: list[int]) -> Tensor:
    """Return images (N, 1, 2, 7) on which the parts of each class are found and the classifier names it."""
    x = torch.full((len(labels), 1, 2, len(PARTS)), 0.3)
    x[:, 0, 0] = torch.where(V[labels], 0.7, 0.3)
    x[torch.arange(len(labels)), 0, 1, labels] = 0.6
    return x


def held(defense: UnMask, *, aimed: bool = True) -> Victim:
    """Return what an attacker of the whole defense holds."""

    def judge(x: Tensor, rng: Rng) -> tuple[Tensor, Tensor | None]:
        verdict = defense.judge(Batch(x, defense, rng))
        return verdict.label, verdict.score

    roads = {"aims": defense.aims, "aimed_loss": defense.aimed_loss} if aimed else {}
    return Victim(
        defense.surrogate(),
        len(CLASSES),
        (1, 2, len(PARTS)),
        torch.device("cpu"),
        detector_loss=defense.detector_loss,
        class_suspicions=defense.class_suspicions,
        judge=judge,
        **roads,
    )


def test_classes_that_share_most_parts_are_the_most_promising(unmask):
    x, y = drawn([0, 1, 2]), torch.tensor([0, 1, 2])
    promise = unmask.aims(x, y)
    assert promise[0].tolist() == [1, 0.5, 0, 0]
    assert promise[1].tolist() == [0.5, 1, 0, 0]
    assert promise[2].tolist() == [0, 0, 1, 0]


def test_nothing_is_missing_where_classifier_and_parts_say_the_class_and_each_lack_counts(unmask):
    sure = drawn([1, 1, 1]).clamp(0.2, 0.8)
    sure[:, 0, 0] = torch.where(V[[1, 1, 1]], 0.9, 0.1)
    sure[1, 0, 0, 3] = 0.4  # not found
    sure[2, 0, 1, 0] = 0.6  # named as well
    loss, logits = unmask.aimed_loss(sure, torch.tensor([1, 1, 1]))
    assert loss[0].item() == 0
    assert (loss[1:] > 0).all()
    torch.testing.assert_close(logits, unmask.surrogate()(sure))
    verdict = unmask.judge(Batch(sure[:1], unmask, Rng(0)))
    assert verdict.label.item() == 1
    assert verdict.score.item() == 0


@pytest.mark.parametrize("aimed", [True, False])
def test_an_attacker_who_aims_at_the_class_of_shared_parts_gets_where_the_likeliest_class_is_out_of_reach(
    unmask, aimed
):
    # A part is 0.2 from being found or lost. A car is a van with two of them and 0.3 of brightness, 0.35 away, a bird
    # with five and 0.1, 0.45 away; the classifier finds the bird likelier.
    x, y = drawn([0]), torch.tensor([0])
    x[0, 0, 1, 2] = 0.5
    attack = JointPgd(JointPgdOptions(norm="l2", eps=0.42, steps=40, targets=1))
    found = attack.craft(held(unmask, aimed=aimed), x, y, Rng(0))
    verdict = unmask.judge(Batch(found, unmask, Rng(0)))
    assert (verdict.label.item() == 1 and verdict.score.item() == 0) is aimed
