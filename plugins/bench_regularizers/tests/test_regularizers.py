"""The regularised networks: their terms against literal transcriptions, and what they do to PGD on digits."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hardened import fit_context, held_out, new_classifier, robust_accuracy, trained, trained_without
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from bench_regularizers.adp import Adp, AdpObjective, Ensemble, log_diversity
from bench_regularizers.distillation import Distillation
from bench_regularizers.input_gradient import InputGradient, InputGradientObjective
from bench_regularizers.options import AdpOptions, DistillationOptions, InputGradientOptions
from benchmark import Classifier, DataFacts, InputError, Rng, Setting
from benchmark.gradient import classification_loss, input_gradient
from benchmark.inspection import plan_facts
from benchmark.model import passes
from benchmark.options import TrainOptions
from benchmark.plan.planner import make_plan
from benchmark.plugins import load_plugins
from benchmark.store.store import Store
from benchmark.suite import load_suite


def test_the_gradients_norm_is_that_of_finite_differences() -> None:
    classifier = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2)), 2, (1, 2, 2))
    x, y = torch.rand(1, 1, 2, 2, generator=torch.Generator().manual_seed(0)), torch.tensor([1])

    def loss(image: Tensor) -> float:
        return cross_entropy(classifier(image), y).item()

    squared = 0.0
    for pixel in range(4):
        step = torch.zeros(4)
        step[pixel] = 1e-2
        squared += ((loss(x + step.view_as(x)) - loss(x - step.view_as(x))) / 2e-2) ** 2
    found = InputGradientObjective(3.0, TrainOptions()).loss(classifier, x, y, Rng(0))
    assert found.item() == pytest.approx(loss(x) + 3.0 * squared, rel=1e-3)


def test_diversity_is_the_squared_volume_of_the_wrong_answers() -> None:
    probabilities = torch.rand(3, 2, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    y = torch.tensor([4, 0])
    expected = []
    for image, own in enumerate(y.tolist()):
        wrong = np.delete(probabilities[:, image].numpy(), own, axis=1)
        unit = wrong / np.linalg.norm(wrong, axis=1, keepdims=True)
        expected.append(math.log(np.linalg.det(unit @ unit.T)))
    assert log_diversity(probabilities, y).tolist() == pytest.approx(expected, abs=1e-3)


def test_an_ensemble_answers_with_the_mean_probability() -> None:
    members: list[nn.Module] = [nn.Sequential(nn.Flatten(), nn.Linear(4, 3)) for _ in range(3)]
    x = torch.rand(5, 1, 2, 2)
    mean = torch.stack([member(x).softmax(1) for member in members]).mean(0)
    torch.testing.assert_close(Ensemble(members)(x).exp(), mean)


def test_each_member_of_an_ensemble_counts_as_a_pass() -> None:
    members: list[nn.Module] = [nn.Sequential(nn.Flatten(), nn.Linear(4, 3)) for _ in range(3)]
    before = passes.copy()
    Classifier(Ensemble(members), 3, (1, 2, 2))(torch.rand(5, 1, 2, 2)).sum().backward()
    spent = passes - before
    assert (spent.forward, spent.backward) == (15, 15)
    foreseen = Adp(AdpOptions(members=3)).passes(10, 4, TrainOptions(epochs=2))
    assert foreseen is not None
    assert (foreseen.forward, foreseen.backward) == (2 * 3 * 14, 2 * 3 * 10)


def test_what_runs_through_an_ensemble_is_foreseen_as_that_many_passes(tmp_path: Path) -> None:
    (tmp_path / "suite.yaml").write_text(
        """
        suite: ensemble
        datasets: {digits: {use: digits}}
        models: {small: {use: small_cnn}}
        attacks: {pgd: {use: pgd, eps: 0.1, steps: 4}}
        defenses: {none: {use: none}, adp: {use: adp, members: 3}}
        grid: [{datasets: all, models: all, attacks: all, defenses: all, knowledge: gray-box}]
        """
    )
    registry = load_plugins()
    plan = make_plan(load_suite(str(tmp_path / "suite.yaml"), registry=registry), registry)
    foreseen: dict[str, dict[str, tuple[int, int]]] = {"train": {}, "fit": {}}
    for task in plan_facts(plan, Store(tmp_path / "cache"), registry)["to_run"]:
        if task["kind"] in (
            "craft",
            "predict",
            "look",
        ):  # `pgd against small on digits`, hardened: `fit adp for small …`
            kind = "fit" if "adp for small" in task["label"] else "train"
            name = task["label"].replace("adp for small", "small").replace("fit ", "").replace("train ", "")
            foreseen[kind][name] = (task["forward"], task["backward"])
    assert len(foreseen["train"]) == 4
    assert foreseen["fit"] == {name: (3 * f, 3 * b) for name, (f, b) in foreseen["train"].items()}


def test_the_loss_of_adp_is_equation_5() -> None:
    members: list[nn.Module] = [nn.Sequential(nn.Flatten(), nn.Linear(4, 5)) for _ in range(3)]
    x, y = torch.rand(6, 1, 2, 2), torch.tensor([0, 1, 2, 3, 4, 0])
    probabilities = torch.stack([member(x).softmax(1) for member in members]).detach()
    mean = probabilities.mean(0)
    expected = 0.0
    for image, own in enumerate(y.tolist()):
        fit = -sum(math.log(one[image, own]) for one in probabilities)
        entropy = -sum(p * math.log(p) for p in mean[image].tolist())
        expected += (fit - 2 * entropy - 0.5 * log_diversity(probabilities, y)[image].item()) / len(y)
    classifier = Classifier(Ensemble(members), 5, (1, 2, 2))
    loss = AdpObjective(AdpOptions(entropy=2.0, diversity=0.5), TrainOptions()).loss(classifier, x, y, Rng(0))
    assert loss.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("defense", "options", "given", "gain"),
    [
        (InputGradient, InputGradientOptions, {"weight": 10.0}, 0.1),
        (Adp, AdpOptions, {}, 0.1),
        (Distillation, DistillationOptions, {"temperature": 20.0}, None),
    ],
)
def test_on_digits(tmp_path: Path, defense: type, options: type, given: dict[str, object], gain: float | None) -> None:
    before = passes.copy()
    made = trained(tmp_path, defense, options, given)
    spent, foreseen = passes - before, made.passes(1000, 200, made.recipe)
    assert (spent.forward, spent.backward) == (foreseen.forward, foreseen.backward)
    (tmp_path / "saved").mkdir()
    made.save(tmp_path / "saved")
    again = defense(made.options)
    again.class_names, again.device, again.classifier = made.class_names, made.device, new_classifier(Rng(9))
    again.load(tmp_path / "saved")
    x = torch.rand(8, 1, 8, 8)
    torch.testing.assert_close(again.classifier(x), made.classifier(x))
    if gain is not None:
        assert robust_accuracy(made.classifier) > robust_accuracy(None) + gain


def test_distillation_hides_its_gradients(tmp_path: Path) -> None:
    """Carlini and Wagner 2017: what looks like robustness is a softmax without a gradient."""
    made = trained(tmp_path, Distillation, DistillationOptions, {"temperature": 100.0})
    x, _ = held_out()
    sizes = [
        float(input_gradient(classification_loss(c, c(x).argmax(1)), x).flatten(1).norm(dim=1).median())
        for c in (trained_without(), made.classifier)
    ]
    assert sizes[1] < 0.1 * sizes[0]


def test_a_student_learns_the_teachers_answers_as_they_are(tmp_path: Path) -> None:
    recipe = TrainOptions(epochs=1, batch_size=64, lr=0.05, label_smoothing=0.2)
    made = Distillation(DistillationOptions(temperature=20.0))
    student, teacher = new_classifier(Rng(5)), []

    def new(rng: Rng) -> Classifier:
        teacher.append(new_classifier(rng))
        return teacher[-1]

    objective = made.objective(replace(fit_context(tmp_path), new_classifier=new), student, recipe)
    x, y = (part[:20] for part in held_out())
    expected = -((teacher[0](x) / 20).softmax(1) * (student(x) / 20).log_softmax(1)).sum(1).mean() * 20
    assert objective.loss(student, x, y, Rng(0)).item() == pytest.approx(expected.item(), rel=1e-5)


def test_more_members_than_wrong_classes_are_refused() -> None:
    with pytest.raises(InputError, match="at least 4 classes; this data set has 3"):
        Adp(AdpOptions()).check_setting(Setting(DataFacts(("a", "b", "c"), (1, 8, 8), {}), {}, TrainOptions(), None))
    with pytest.raises(InputError, match="equal members"):
        Adp(AdpOptions(init="model")).check()
