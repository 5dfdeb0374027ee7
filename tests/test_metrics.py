"""The measures: by hand on ten images, and the relations that must hold on any."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import roc_auc_score

from benchmark.builtin import measures
from benchmark.cells import Answers, Cell, within_budget
from benchmark.metrics.metric import Metric
from benchmark.plugins import load_plugins
from benchmark.statistics import wilson

METRICS: dict[str, Metric] = {name: kind() for name, kind in measures().items()}
Y = np.zeros(10, dtype=int)
CLEAN = Answers(
    base_label=np.array([0, 0, 0, 0, 0, 0, 0, 0, 1, 1]),
    label=np.array([0, 0, 0, 0, 0, 0, 0, 1, 0, 1]),
    score=np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]),
    flagged=np.array([0, 0, 0, 0, 0, 0, 0, 0, 0, 1], dtype=bool),
)
ATTACKED = Answers(
    base_label=np.array([1, 1, 1, 1, 1, 1, 0, 0, 1, 1]),
    label=np.array([0, 0, 1, 1, 1, 1, 0, 0, 1, 1]),
    score=np.array([0.55, 1.5, 0.35, 1.5, 1.5, 1.5, 0.7, 0.8, 0.05, 0.05]),
    flagged=np.array([0, 1, 0, 1, 1, 1, 0, 0, 0, 0], dtype=bool),
)
CELL = Cell(
    y=Y,
    clean=CLEAN,
    attacked=ATTACKED,
    perturbation=np.array([0.1] * 8 + [0.0, 0.2]),
    norm="linf",
    eps=0.1,
)
CLEAN_CELL = Cell(y=Y, clean=CLEAN)


def measure(name: str, *cells: Cell):
    return METRICS[name].compute(cells or (CLEAN_CELL if METRICS[name].scope == "clean" else CELL,))


@pytest.mark.parametrize(
    ("name", "successes", "n"),
    [
        ("clean_accuracy", 8, 10),
        ("base_clean_accuracy", 8, 10),
        ("joint_clean_accuracy", 8, 10),
        ("clean_fpr", 1, 10),
        ("robust_accuracy", 4, 10),
        ("base_robust_accuracy", 2, 10),
        # Right on the clean image by the defended label: 0 to 6 and 8; of them 2, 3, 4, 5 and 8 end wrong.
        ("attack_success_rate", 5, 8),
        # By the classifier alone: 0 to 7; of them 0 to 5 end wrong.
        ("base_attack_success_rate", 6, 8),
        # Images 0 to 5 are attacked with success (classifier alone, initially right): 1, 3, 4 and 5 are flagged.
        ("tpr", 4, 6),
        ("fpr", 0, 6),
        # Right or flagged: 0, 1, 3, 4, 5, 6, 7.
        ("joint_robust_accuracy", 7, 10),
        ("worst_case_robust_accuracy", 4, 10),
        ("worst_case_joint_robust_accuracy", 7, 10),
        ("worst_case_base_robust_accuracy", 2, 10),
    ],
)
def test_rates_by_hand(name, successes, n):
    answer = measure(name)
    interval = wilson(successes, n)
    assert (answer.value, answer.ci_low, answer.ci_high, answer.n) == (
        pytest.approx(successes / n),
        pytest.approx(interval.low),
        pytest.approx(interval.high),
        n,
    )


def test_detector_measures_use_successful_images_against_their_own_clean_versions():
    adversarial, clean = ATTACKED.score[:6], CLEAN.score[:6]
    labels = np.r_[np.ones(6), np.zeros(6)]
    assert measure("auroc").value == pytest.approx(roc_auc_score(labels, np.r_[adversarial, clean]))
    assert measure("auroc").n == 6
    labels = np.r_[np.ones(10), np.zeros(10)]
    assert measure("auroc_all").value == pytest.approx(roc_auc_score(labels, np.r_[ATTACKED.score, CLEAN.score]))
    assert measure("auroc_all").n == 10
    # At 5 % of six clean scores (0.1 to 0.6) none may be flagged: above 0.6 lie four of six.
    assert measure("tpr_at_5fpr").value == pytest.approx(4 / 6)
    # To flag 95 % of six, all six must be: the lowest is 0.35, and three clean scores reach it.
    assert measure("fpr_at_95tpr").value == pytest.approx(3 / 6)


def test_the_success_protocol_decides_which_attacks_count():
    # UnMask's released code also counts images that were wrong before: 8 and 9 join in.
    loose = replace(CELL, success="any-wrong")
    assert measure("tpr", loose).n == 8
    assert measure("auroc", loose).n == 8
    assert measure("auroc_all", loose).value == measure("auroc_all").value
    assert measure("attack_success_rate", loose) == measure("attack_success_rate")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_perturbation_of_just_the_budget_is_within_it(dtype):
    """As float32, in which it is measured, 8/255 is larger than 8/255; tables hold it as float64."""
    for levels in range(1, 64):
        sizes = np.full(10, levels / 255, dtype=np.float32).astype(dtype)
        for eps, answered in ((levels / 255, ATTACKED), ((levels - 0.01) / 255, CLEAN)):
            counted = within_budget(replace(CELL, eps=None, perturbation=sizes), eps)
            assert counted.attacked is not None
            assert (counted.attacked.label == answered.label).all()


def test_success_at_a_false_positive_rate_is_success_against_classifier_and_detector_together():
    # Half of the clean scores lie above 0.5. Initially right: 0 to 6 and 8. Wrong and not above 0.5: images 2 and 8.
    half = measure("success_at_50fpr")
    assert (half.value, half.n) == (pytest.approx(2 / 8), 8)
    # A score at the threshold is not above it, so it is not flagged.
    level = replace(CELL, attacked=replace(ATTACKED, score=np.where(np.arange(10) == 2, 0.5, ATTACKED.score)))
    assert measure("success_at_50fpr", level).value == pytest.approx(2 / 8)
    # At 5 % none of ten may be flagged: the threshold is 1.0. 3, 4 and 5 are flagged, 2 and 8 get through.
    assert measure("success_at_5fpr").value == pytest.approx(2 / 8)
    # A detector that sees nothing leaves the attack success rate, up to the images flagged by chance.
    blind = replace(CELL, attacked=replace(ATTACKED, score=np.full(10, -1.0)))
    assert measure("success_at_5fpr", blind).value == measure("attack_success_rate").value


def test_perturbation_counts_all_attacked_images():
    average, largest = measure("perturbation_mean"), measure("perturbation_max")
    assert (average.value, average.n) == (pytest.approx(0.1), 10)
    assert average.ci_low < 0.1 < average.ci_high
    assert (largest.value, largest.ci_low, largest.ci_high, largest.n) == (0.2, 0.2, 0.2, 10)
    assert measure("budget_violations").value == 1
    slack = replace(CELL, perturbation=np.full(10, 0.1 + 5e-6))
    assert measure("budget_violations", slack).value == 0
    assert measure("budget_violations", replace(CELL, eps=None)) is None


SCORED = ("auroc", "auroc_all", "tpr_at_5fpr", "fpr_at_95tpr", "success_at_5fpr", "success_at_50fpr")


def test_what_is_not_defined_is_none():
    plain = replace(
        CELL, clean=replace(CLEAN, score=None, flagged=None), attacked=replace(ATTACKED, score=None, flagged=None)
    )
    for name in (*SCORED, "tpr", "fpr", "robust_accuracy_worst_repeat"):
        assert measure(name, plain) is None
    assert measure("clean_fpr", Cell(y=Y, clean=plain.clean)) is None
    # Nothing is flagged: with and without rejection are the same.
    assert measure("joint_robust_accuracy", plain) == measure("robust_accuracy", plain)
    unharmed = replace(CELL, attacked=replace(ATTACKED, base_label=CLEAN.base_label))
    for name in ("auroc", "tpr", "fpr", "tpr_at_5fpr", "fpr_at_95tpr"):
        assert measure(name, unharmed) is None
    assert measure("auroc_all", unharmed) is not None
    hopeless = replace(CELL, clean=replace(CLEAN, label=np.ones(10, dtype=int)))
    assert measure("attack_success_rate", hopeless) is None


@pytest.mark.parametrize("name", SCORED)
@pytest.mark.parametrize("where", ["clean", "attacked"])
def test_a_score_that_is_nan_is_refused(name, where):
    answers = getattr(CELL, where)
    bad = replace(CELL, **{where: replace(answers, score=np.where(np.arange(10) == 3, np.nan, answers.score))})
    with pytest.raises(ValueError, match="1 of 10 images have a score that is NaN"):
        measure(name, bad)


def test_a_perturbation_that_is_nan_is_refused():
    with pytest.raises(ValueError, match="NaN or infinite"):
        measure("perturbation_max", replace(CELL, perturbation=np.full(10, np.nan)))


@pytest.mark.parametrize("name", [name for name, metric in METRICS.items() if metric.scope != "clean"])
def test_a_clean_cell_has_no_attack_measures(name):
    if METRICS[name].unit in ("distance", "count"):
        assert measure(name, CLEAN_CELL) is None
        return
    with pytest.raises(ValueError, match="clean cell"):
        measure(name, CLEAN_CELL)


def test_an_image_counts_in_the_worst_case_only_if_it_withstands_every_attack():
    other = replace(CELL, attacked=replace(ATTACKED, label=1 - ATTACKED.label, flagged=~ATTACKED.flagged))
    assert measure("worst_case_robust_accuracy", CELL, other).value == 0
    # Right or flagged under the first: 0, 1, 3 to 7. Under the other: 0, 2 to 9 (1 is wrong and not flagged there).
    assert measure("worst_case_joint_robust_accuracy", CELL, other).value == pytest.approx(6 / 10)
    assert measure("worst_case_base_robust_accuracy", CELL, other).value == pytest.approx(2 / 10)


def test_a_group_detects_an_image_only_where_every_attack_that_turns_it_wrong_is_detected():
    """Granese et al. 2022, arXiv:2206.15415: attacks that failed do not count."""
    # Turns image 6 wrong too and fails on 5; of those that both turn wrong, 1 and 3 are flagged by this one no more.
    second = replace(
        ATTACKED,
        base_label=np.array([1, 1, 1, 1, 1, 0, 1, 0, 1, 1]),
        score=np.array([0.55, 0.15, 0.35, 0.25, 1.6, 0.0, 0.0, 0.0, 0.0, 0.0]),
        flagged=np.array([0, 0, 0, 0, 1, 0, 1, 0, 0, 0], dtype=bool),
    )
    group = (CELL, replace(CELL, attacked=second))
    caught = measure("worst_case_tpr", *group)
    assert (caught.value, caught.n) == (pytest.approx(3 / 7), 7)  # 4, 5 and 6 of 0 to 6
    assert (measure("worst_case_fpr", *group).value, measure("worst_case_fpr", *group).n) == (0, 7)
    lowest = np.array([0.55, 0.15, 0.35, 0.25, 1.5, 1.5, 0.0])
    labels = np.r_[np.ones(7), np.zeros(7)]
    area = measure("worst_case_auroc", *group)
    assert (area.value, area.n) == (pytest.approx(roc_auc_score(labels, np.r_[lowest, CLEAN.score[:7]])), 7)
    assert measure("worst_case_tpr_at_5fpr", *group).value == pytest.approx(2 / 7)
    assert measure("worst_case_fpr_at_95tpr", *group).value == 1
    # Initially right: 0 to 6 and 8. Wrong by the defended label and not above 0.5: 2 and 8, here 3 and 5 too.
    assert measure("worst_case_success_at_50fpr", *group).value == pytest.approx(4 / 8)
    nobody = replace(CELL, attacked=replace(ATTACKED, base_label=Y))
    for name in ("worst_case_auroc", "worst_case_tpr", "worst_case_fpr_at_95tpr"):
        assert measure(name, nobody, nobody) is None
        # An attack that turns nothing wrong is no part of it; nor does the order of attacks matter.
        assert measure(name, *group, nobody) == measure(name, *group) == measure(name, *group[::-1])
        scoreless = replace(CELL, attacked=replace(ATTACKED, score=None, flagged=None))
        assert measure(name, CELL, scoreless) is None


def test_a_claim_implies_what_is_right_on_clean_images_too_at_one_budget_and_norm():
    # Right and not flagged when clean: 0 to 6 and 8; withstood under attack: 0, 1 and 3 to 7.
    assert measure("implied_robust_accuracy").value == pytest.approx(6 / 10)
    other = replace(CELL, eps=0.2, attacked=replace(ATTACKED, label=1 - ATTACKED.label, flagged=~ATTACKED.flagged))
    assert measure("worst_case_implied_robust_accuracy", CELL, other).value == pytest.approx(5 / 10)
    assert measure("worst_case_implied_robust_accuracy", CELL, replace(other, norm="l2")) is None
    for cell in (
        replace(CELL, eps=None),
        replace(CELL, clean=replace(CLEAN, flagged=None), attacked=replace(ATTACKED, flagged=None)),
        replace(CELL, attacked=replace(ATTACKED, label=np.stack([Y, Y]), flagged=np.zeros((2, 10), dtype=bool))),
    ):
        assert measure("implied_robust_accuracy", cell) is None
        assert measure("worst_case_implied_robust_accuracy", CELL, cell) is None


def test_a_randomised_defense_is_averaged_over_repeats():
    labels = np.stack([ATTACKED.label, 1 - ATTACKED.label, ATTACKED.label])  # right in 2/3, or 1/3, of the repeats
    noisy = replace(CELL, attacked=replace(ATTACKED, label=labels, score=None, flagged=None))
    answer = measure("robust_accuracy", noisy)
    assert answer.value == pytest.approx((4 * 2 + 6 * 1) / 30)
    assert answer.n == 10
    assert answer.ci_low < answer.value < answer.ci_high
    worst = measure("robust_accuracy_worst_repeat", noisy)
    assert (worst.value, worst.n) == (0, 10)
    steady = replace(CELL, attacked=replace(ATTACKED, label=np.stack([ATTACKED.label] * 3)))
    assert measure("robust_accuracy_worst_repeat", steady).value == measure("robust_accuracy").value
    once, again = measure("robust_accuracy"), measure("robust_accuracy", steady)
    assert (again.value, again.ci_low, again.ci_high) == pytest.approx((once.value, once.ci_low, once.ci_high))


def test_repeats_of_a_randomised_detector_are_pooled():
    twice = replace(
        CELL,
        clean=replace(
            CLEAN,
            label=np.stack([CLEAN.label] * 2),
            score=np.stack([CLEAN.score] * 2),
            flagged=np.stack([CLEAN.flagged] * 2),
        ),
        attacked=replace(
            ATTACKED,
            label=np.stack([ATTACKED.label] * 2),
            score=np.stack([ATTACKED.score] * 2),
            flagged=np.stack([ATTACKED.flagged] * 2),
        ),
    )
    for name in (*SCORED, "tpr", "fpr", "joint_robust_accuracy", "attack_success_rate"):
        once, again = measure(name), measure(name, twice)
        assert (again.value, again.ci_low, again.ci_high, again.n) == pytest.approx(
            (once.value, once.ci_low, once.ci_high, once.n)
        )


# -- relations --------------------------------------------------------------------------------------------------------


@st.composite
def cells(draw, repeats=(None, 3)):
    count, times = draw(st.integers(2, 25)), draw(st.sampled_from(repeats))
    shape = (count,) if times is None else (times, count)
    labels = st.integers(0, 2)

    def answers() -> Answers:
        return Answers(
            draw(arrays(np.int64, count, elements=labels)),
            draw(arrays(np.int64, shape, elements=labels)),
            draw(arrays(np.float64, shape, elements=st.integers(0, 6).map(float))),
            draw(arrays(bool, shape)),
        )

    return Cell(
        y=draw(arrays(np.int64, count, elements=labels)),
        clean=answers(),
        attacked=answers(),
        perturbation=draw(arrays(np.float64, count, elements=st.floats(0, 1))),
        norm="l2",
        eps=0.5,
        success=draw(st.sampled_from(["initially-correct", "any-wrong"])),
    )


@given(cells())
def test_every_interval_holds_its_value(cell):
    for metric in METRICS.values():
        answer = metric.compute([replace(cell, attacked=None) if metric.scope == "clean" else cell])
        if answer is None:
            continue
        slack = 1e-9
        assert answer.ci_low - slack <= answer.value <= answer.ci_high + slack
        assert 0 < answer.n <= len(cell.y)
        if metric.unit in ("rate", "area"):
            assert 0 <= answer.ci_low <= answer.ci_high <= 1


@given(cells())
def test_rejection_helps_under_attack_and_costs_on_clean_images(cell):
    assert measure("joint_robust_accuracy", cell).value >= measure("robust_accuracy", cell).value - 1e-12
    clean = replace(cell, attacked=None)
    assert measure("joint_clean_accuracy", clean).value <= measure("clean_accuracy", clean).value + 1e-12


@given(cells(), st.data())
def test_the_worst_case_is_at_most_every_single_one(cell, data):
    count = len(cell.y)
    other = replace(
        cell,
        attacked=replace(
            cell.attacked,
            base_label=data.draw(arrays(np.int64, count, elements=st.integers(0, 2))),
            label=data.draw(arrays(np.int64, cell.attacked.label.shape, elements=st.integers(0, 2))),
        ),
    )
    for kind in ("robust_accuracy", "joint_robust_accuracy", "base_robust_accuracy"):
        worst = measure(f"worst_case_{kind}", cell, other).value
        assert worst <= min(measure(kind, cell).value, measure(kind, other).value) + 1e-12
        assert measure(f"worst_case_{kind}", cell).value == pytest.approx(measure(kind, cell).value)


@given(st.integers(0, 10_000), st.integers(1, 3))
def test_a_detector_implies_a_classifier_of_half_the_budget(seed, half):
    """The reduction of Tramèr 2022, arXiv:2107.11630, carried out where every perturbation can be tried: on a line."""
    rng = np.random.default_rng(seed)
    places = np.arange(30)
    label, flag = np.repeat(rng.integers(0, 2, 10), 3), rng.random(30) < 0.3
    y = np.where(rng.random(30) < 0.9, label, 1 - label)

    def at(shift: int) -> Answers:
        moved = (places + shift).clip(0, 29)
        return Answers(label[moved], label[moved], flag[moved].astype(float), flag[moved])

    attacks = [
        Cell(y=y, clean=at(0), attacked=at(shift), norm="linf", eps=2.0 * half)
        for shift in range(-2 * half, 2 * half + 1)
    ]
    claimed = measure("worst_case_implied_robust_accuracy", *attacks).value

    def classifier(place: int) -> int:
        around = [p for p in range(place - half, place + half + 1) if 0 <= p < 30 and not flag[p]]
        return int(label[rng.choice(around)]) if around else 0

    built = [all(classifier(p) == y[x] for p in range(max(x - half, 0), min(x + half, 29) + 1)) for x in places]
    assert np.mean(built) >= claimed - 1e-12


@given(st.lists(cells(repeats=[None]), min_size=2, max_size=4))
def test_the_worst_case_of_detection_is_that_of_its_authors(several):
    """Their released code counts at each threshold the successful attacks of an image, and those that are flagged."""
    n = min(len(cell.y) for cell in several)

    def first(answers: Answers) -> Answers:
        return Answers(*(getattr(answers, name)[:n] for name in ("base_label", "label", "score", "flagged")))

    y, clean = several[0].y[:n], first(several[0].clean)
    group = [
        replace(several[0], y=y, clean=clean, attacked=first(cell.attacked), success="any-wrong") for cell in several
    ]
    wrong = np.stack([cell.attacked.base_label != y for cell in group])
    scores = np.stack([cell.attacked.score for cell in group])
    counts = wrong.any(0)
    if not counts.any():
        assert measure("worst_case_auroc", *group) is None
        return
    thresholds = np.unique(np.r_[-np.inf, scores.ravel(), clean.score])
    caught = [((scores > t) & wrong).sum(0)[counts] == wrong.sum(0)[counts] for t in thresholds]
    alarms = [(clean.score > t)[counts] for t in thresholds]
    tpr, fpr = np.mean(caught, axis=1)[::-1], np.mean(alarms, axis=1)[::-1]
    assert measure("worst_case_auroc", *group).value == pytest.approx(np.trapezoid(tpr, fpr))
    for name in ("auroc", "tpr"):
        alone = [
            found.value for cell in group if (found := measure(name, cell)) is not None and found.n == counts.sum()
        ]
        assert measure(f"worst_case_{name}", *group).value <= min(alone, default=1.0) + 1e-12


@given(cells(repeats=[3]))
def test_right_in_every_repeat_is_rarer_than_right_on_average(cell):
    assert measure("robust_accuracy_worst_repeat", cell).value <= measure("robust_accuracy", cell).value + 1e-12


@given(cells(repeats=[None]))
def test_success_against_the_detector_too_is_rarer(cell):
    plain = measure("attack_success_rate", cell)
    if plain is None:
        assert measure("success_at_5fpr", cell) is None
        return
    five, fifty = measure("success_at_5fpr", cell), measure("success_at_50fpr", cell)
    assert fifty.value <= five.value <= plain.value
    assert five.n == fifty.n == plain.n


@given(cells())
def test_a_score_turned_round_turns_the_area_round(cell):
    turned = replace(
        cell,
        clean=replace(cell.clean, score=-cell.clean.score),
        attacked=replace(cell.attacked, score=-cell.attacked.score),
    )
    assert measure("auroc_all", turned).value == pytest.approx(1 - measure("auroc_all", cell).value)


@given(cells(repeats=[None]))
def test_without_initially_wrong_images_success_and_accuracy_add_up(cell):
    right_before = replace(cell, clean=replace(cell.clean, label=cell.y, base_label=cell.y))
    total = measure("attack_success_rate", right_before).value + measure("robust_accuracy", right_before).value
    assert total == pytest.approx(1)


# -- registration -----------------------------------------------------------------------------------------------------


def test_every_measure_is_registered_under_its_name_with_a_summary():
    registry = load_plugins()
    registered = {r.name: r for r in registry.all("metric") if r.provenance.module == "benchmark.builtin"}
    assert set(registered) == set(METRICS)
    for registration in registered.values():
        assert registration.version == "1"
        assert registration.summary.endswith(".")
        assert registration.summary.count("\n") == 0
        assert registration.load().title
    local = registry.get("executor", "local")
    assert local.load().__name__ == "LocalExecutor"
    assert "workers" in local.options_type().model_fields


def test_every_measure_is_documented_with_an_interval_that_the_page_explains():
    from pathlib import Path

    text = (Path(__file__).resolve().parents[1] / "docs" / "measures.md").read_text()
    for name, metric in METRICS.items():
        assert f"\n| `{name}` | {metric.title} |" in text  # in a table that is generated
        assert f"\n| {metric.interval} | " in text
