"""TRADES, MART and ATDA: their losses against literal transcriptions, and what they do to PGD on digits."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hardened import CPU, RECIPE, digits, fit_context, robust_accuracy, trained, trained_without
from pydantic import ValidationError
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from bench_advtrain.adversarial_training import AdversarialTraining
from bench_advtrain.atda import Atda, _Centres, correlation_discrepancy, margin, mean_discrepancy
from bench_advtrain.options import AtdaOptions, MartOptions, TradesOptions
from bench_advtrain.trades import Mart, Trades, mart_loss, trades_loss
from benchmark import Classifier, DataFacts, InputError, Rng, Setting
from benchmark.model import passes
from benchmark.options import CraftingOptions
from benchmark.plugins import validate_options
from benchmark.training import validate


def logits(seed: int, count: int = 5, classes: int = 4) -> Tensor:
    return torch.randn(count, classes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


Y = torch.tensor([0, 3, 1, 2, 2])


def test_trades_loss_is_equation_5() -> None:
    clean, attacked = logits(1), logits(2)
    p, q = clean.softmax(1), attacked.softmax(1)
    expected = [
        -math.log(p[i, y]) + 6 * sum(float(p[i, k]) * math.log(p[i, k] / q[i, k]) for k in range(4))
        for i, y in enumerate(Y.tolist())
    ]
    assert trades_loss(clean, attacked, Y, 6.0).tolist() == pytest.approx(expected)


def test_mart_loss_is_equation_11() -> None:
    clean, attacked = logits(1), logits(2)
    p, q = clean.softmax(1), attacked.softmax(1)
    expected = []
    for i, y in enumerate(Y.tolist()):
        other = max(float(q[i, k]) for k in range(4) if k != y)
        divergence = sum(float(p[i, k]) * math.log(p[i, k] / q[i, k]) for k in range(4))
        expected.append(-math.log(q[i, y]) - math.log(1.0001 - other) + 5 * divergence * (1 - float(p[i, y])))
    assert mart_loss(clean, attacked, Y, 5.0).tolist() == pytest.approx(expected)


def test_atda_terms_are_equations_5_to_9() -> None:
    clean, attacked, centres = logits(1), logits(2), logits(3, 4)
    assert mean_discrepancy(clean, attacked).item() == pytest.approx(
        float((clean.mean(0) - attacked.mean(0)).abs().sum()) / 4
    )
    covariances = [np.cov(one.numpy(), rowvar=False) for one in (clean, attacked)]
    assert correlation_discrepancy(clean, attacked).item() == pytest.approx(
        np.abs(covariances[0] - covariances[1]).sum() / 16
    )
    terms = [
        math.log1p(math.exp(float((clean[i] - centres[y]).abs().sum() - (clean[i] - centres[k]).abs().sum())))
        for i, y in enumerate(Y.tolist())
        for k in range(4)
        if k != y
    ]
    assert margin(clean, Y, centres).item() == pytest.approx(sum(terms) / len(terms))
    followed = _Centres(4)
    followed.follow(clean.float(), Y, 0.1)
    expected = torch.zeros(4, 4)
    for y in range(4):
        own = clean.float()[y == Y]
        expected[y] = 0.1 * own.sum(0) / (1 + len(own))
    torch.testing.assert_close(followed.values, expected)


@pytest.mark.parametrize(
    ("defense", "options", "smoothed"),
    [(Trades, TradesOptions, 1.0), (Atda, AtdaOptions, 2.0), (Mart, MartOptions, 0.0)],
)
def test_label_smoothing_counts_in_each_cross_entropy(
    tmp_path: Path, defense: type, options: type, smoothed: float
) -> None:
    """`smoothed`: cross-entropies of the loss. On a network that answers all images alike, the rest of it is equal."""
    linear = nn.Linear(4, 3)
    nn.init.zeros_(linear.weight)
    with torch.no_grad():
        linear.bias.copy_(torch.tensor([1.0, 0.0, -1.0]))
    classifier = Classifier(nn.Sequential(nn.Flatten(), linear), 3, (1, 2, 2))
    x, y = torch.rand(6, 1, 2, 2), torch.tensor([0, 1, 2, 0, 0, 0])
    made = defense(validate_options(options, {"eps": 0.1}))
    made.class_names = ("a", "b", "c")
    plain, smooth = (
        made.objective(fit_context(tmp_path), classifier, RECIPE.model_copy(update={"label_smoothing": one})).loss(
            classifier, x, y, Rng(0)
        )
        for one in (0.0, 0.2)
    )
    logits = linear.bias.expand(6, 3)
    more = cross_entropy(logits, y, label_smoothing=0.2) - cross_entropy(logits, y)
    assert (smooth - plain).item() == pytest.approx(smoothed * more.item(), abs=1e-6)
    assert more.abs() > 1e-3


PGD = {"attack": "pgd", "eps": [0.05, 0.15], "steps": 4, "step_ratio": 0.4}


@pytest.mark.parametrize("validation", [{}, {"validation": {"eps": 0.1, "steps": 2}}])
def test_the_best_epoch_of_all_is_selected_alike(tmp_path: Path, validation: dict[str, object]) -> None:
    """By the mean of clean and attacked accuracy, or a comparison with adversarial training would be unfair."""
    val, scores = digits(1000, 1200), []
    for defense in (AdversarialTraining, Trades, Mart, Atda):
        made: Any = defense(validate_options(defense.Options, PGD | validation))
        made.class_names = tuple(map(str, range(10)))
        for select, judged in (("best", {"clean", "adversarial"}), ("last", {"accuracy"})):
            recipe = RECIPE.model_copy(update={"select": select})
            objective = made.objective(fit_context(tmp_path), trained_without(), recipe)
            found = validate(trained_without(), val, objective, Rng(0), 64, CPU)
            assert found.keys() == judged
            if select == "best":
                scores.append(found)
    assert scores == scores[:1] * 4
    assert scores[0]["adversarial"] < scores[0]["clean"] - 0.2
    far = Trades(validate_options(TradesOptions, PGD | {"validation": {"eps": 9.0, "norm": "l2"}}))
    with pytest.raises(InputError, match="between a black and a white"):
        far.check_setting(Setting(DataFacts(("a", "b"), (1, 8, 8), {}), {}, RECIPE, None))


def test_options_that_would_do_nothing_are_refused_and_fgsm_takes_one_step() -> None:
    with pytest.raises(ValidationError, match="random_start"):
        validate_options(TradesOptions, {"eps": 0.1, "random_start": True})
    for options in (TradesOptions, MartOptions):
        one_step: Any = validate_options(options, {"eps": 0.1, "attack": "fgsm"})
        several: Any = validate_options(options, {"eps": 0.1})
        assert (one_step.steps_taken, several.steps_taken) == (1, 10)


@pytest.mark.parametrize(
    ("defense", "options", "given"),
    [
        (Trades, TradesOptions, {"eps": 0.15, "steps": 4, "step_ratio": 0.4}),
        (Mart, MartOptions, {"eps": 0.15, "steps": 4, "step_ratio": 0.4}),
        (Atda, AtdaOptions, {"eps": 0.15, "attack": "pgd", "steps": 4, "step_ratio": 0.4}),
    ],
)
def test_pgd_takes_less(tmp_path: Path, defense: type, options: type, given: dict[str, object]) -> None:
    before = passes.copy()
    made = trained(tmp_path, defense, options, given)
    spent, foreseen = passes - before, made.passes(1000, 200, made.recipe)
    assert (spent.forward, spent.backward) == (foreseen.forward, foreseen.backward)
    assert robust_accuracy(made.classifier) > robust_accuracy(None) + 0.15


@pytest.mark.parametrize("options", [TradesOptions, MartOptions, AtdaOptions])
@pytest.mark.parametrize("attack", ["pgd", "fgsm"])
def test_options_are_what_they_were_after_a_task_has_read_them_again(
    options: type[CraftingOptions], attack: str
) -> None:
    given = validate_options(options, {"eps": 0.1, "attack": attack})
    assert isinstance(given, CraftingOptions)
    assert options.model_validate_json(given.model_dump_json()) == given
    assert given.steps_taken == (1 if attack == "fgsm" else 7 if options is AtdaOptions else 10)
