"""Intervals and tests: against published values, reference implementations, brute force, and their own promise."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats
from scipy.special import expit
from sklearn.metrics import roc_auc_score
from sklearn.metrics import roc_curve as sklearn_roc_curve

from benchmark.statistics import (
    auroc,
    auroc_influence,
    compare_over_seeds,
    compare_paired,
    crossed,
    fpr_at_tpr,
    holm,
    mcnemar,
    mean,
    rate,
    roc_curve,
    spread,
    thin,
    threshold_at_fpr,
    tpr_at_fpr,
    wilson,
)

# Few distinct values, so that ties are common.
SCORES = arrays(np.float64, st.integers(1, 40), elements=st.integers(-5, 5).map(float))


def covers(estimate, truth: float) -> bool:
    return estimate.low <= truth <= estimate.high


def coverage(draw, truth: float, tries: int = 400, seed: int = 0) -> float:
    generator = np.random.default_rng(seed)
    return float(np.mean([covers(draw(generator), truth) for _ in range(tries)]))


def test_importing_the_numbers_does_not_import_torch():
    modules = ", ".join(
        f"benchmark.{name}"
        for name in ("statistics", "metrics.group", "results.tabulation", "results.read", "results.export", "builtin")
    )
    code = f"import sys, {modules}; print([m for m in ('torch', 'sklearn', 'scipy.stats') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# -- rates ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [
        # Newcombe 1998 (Statist. Med. 17:857-872), Table I, method 3.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_gives_the_published_values(successes, n, low, high):
    interval = wilson(successes, n)
    assert (round(interval.low, 4), round(interval.high, 4)) == (low, high)


@given(st.integers(1, 5000), st.data())
def test_wilson_agrees_with_scipy(n, data):
    successes = data.draw(st.integers(0, n))
    expected = stats.binomtest(successes, n).proportion_ci(method="wilson")
    interval = wilson(successes, n)
    assert interval.low == pytest.approx(expected.low, abs=1e-12)
    assert interval.high == pytest.approx(expected.high, abs=1e-12)


def test_a_rate_counts_images_and_says_how_many():
    estimate = rate(np.array([1, 1, 0, 1]))
    assert (estimate.value, estimate.n) == (0.75, 4)
    assert (estimate.low, estimate.high) == (wilson(3, 4).low, wilson(3, 4).high)
    half = rate(np.array([1, 0, 0, 0]), np.array([1, 1, 0, 0]))
    assert (half.value, half.n) == (0.5, 2)
    assert (half.low, half.high) == (wilson(1, 2).low, wilson(1, 2).high)
    assert rate(np.zeros(3), np.zeros(3)) is None


def test_repeats_that_always_agree_add_no_information():
    judged = np.array([1.0, 0.0, 1.0, 1.0, 0.0, 1.0])
    once, often = rate(judged), rate(judged, repeats=10)
    assert (often.low, often.high) == pytest.approx((once.low, once.high))
    assert rate(np.ones(6), repeats=10) == rate(np.ones(6))


def test_repeats_that_are_independent_add_what_they_are_worth():
    generator = np.random.default_rng(3)
    shares = generator.binomial(8, 0.6, size=2000) / 8
    estimate = rate(shares, repeats=8)
    independent = wilson(shares.sum() * 8, 16000)
    assert estimate.high - estimate.low == pytest.approx(independent.high - independent.low, rel=0.05)


@pytest.mark.parametrize("weights", [False, True])
def test_the_interval_of_a_randomised_rate_covers(weights):
    def draw(generator):
        shares = generator.binomial(5, generator.beta(2, 1, size=100)) / 5
        belongs = generator.binomial(5, 0.8, size=100) / 5 if weights else np.ones(100)
        return rate(belongs * shares, belongs, repeats=5)

    # 400 tries: two standard errors are 2.2 points.
    assert coverage(draw, 2 / 3) > 0.925


@given(
    arrays(np.float64, st.integers(1, 30), elements=st.floats(0, 1)),
    st.integers(1, 5),
)
@example(np.full(17, np.nextafter(1, 0)), 4)
def test_the_interval_of_a_rate_holds_the_rate(shares, repeats):
    estimate = rate(shares if repeats > 1 else shares.round(), repeats=repeats)
    assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1
    assert estimate.low < estimate.high


# -- AUROC ------------------------------------------------------------------------------------------------------------


def brute_force_auroc(positive, negative, paired=False):
    """DeLong et al. 1988, equations 3 to 7, by a full table of comparisons."""
    wins = (positive[:, None] > negative[None]) + 0.5 * (positive[:, None] == negative[None])
    of_positive, of_negative = wins.mean(1), wins.mean(0)
    m, n = len(positive), len(negative)
    variance = of_positive.var(ddof=1) / m + of_negative.var(ddof=1) / n
    if paired:
        variance += 2 * np.cov(of_positive, of_negative)[0, 1] / m
    return wins.mean(), variance


@given(SCORES, SCORES)
def test_auroc_agrees_with_scikit_learn(positive, negative):
    labels = np.r_[np.ones(len(positive)), np.zeros(len(negative))]
    expected = roc_auc_score(labels, np.r_[positive, negative])
    assert auroc(positive, negative).value == pytest.approx(expected, abs=1e-12)


@given(SCORES, SCORES)
def test_auroc_of_the_opposite_score_is_the_complement(positive, negative):
    one, other = auroc(positive, negative), auroc(-positive, -negative)
    assert one.value == pytest.approx(1 - other.value, abs=1e-12)
    assert one.low == pytest.approx(1 - other.high, abs=1e-6)
    assert one.high == pytest.approx(1 - other.low, abs=1e-6)


@given(SCORES, SCORES)
def test_the_interval_of_auroc_holds_it_and_has_a_width(positive, negative):
    estimate = auroc(positive, negative)
    assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1
    assert estimate.high - estimate.low > 1e-3


@pytest.mark.parametrize("paired", [False, True])
@pytest.mark.parametrize("decimals", [0, 9])
def test_the_variance_is_that_of_delong_by_brute_force(paired, decimals):
    generator = np.random.default_rng(5)
    image = generator.normal(size=80)
    positive = (image + generator.normal(size=80) + 1).round(decimals)
    negative = (image + generator.normal(size=80)).round(decimals)
    value, variance = brute_force_auroc(positive, negative, paired)
    estimate = auroc(positive, negative, paired=paired)
    assert estimate.value == pytest.approx(value)
    # The interval is symmetric on the logit scale, where its half width is 1.96 standard errors.
    half_width = (stats.logistic.ppf(estimate.high) - stats.logistic.ppf(estimate.low)) / 2
    assert (half_width / stats.norm.ppf(0.975) * value * (1 - value)) ** 2 == pytest.approx(variance, rel=1e-6)


def test_the_paired_interval_agrees_with_a_bootstrap_over_images():
    generator = np.random.default_rng(8)
    image = 2 * generator.normal(size=150)
    positive, negative = image + generator.normal(size=150) + 1.5, image + generator.normal(size=150)
    resampled = []
    for _ in range(600):
        chosen = generator.integers(0, 150, 150)
        resampled.append(auroc(positive[chosen], negative[chosen]).value)
    low, high = np.quantile(resampled, [0.025, 0.975])
    paired, unpaired = auroc(positive, negative, paired=True), auroc(positive, negative)
    assert paired.high - paired.low == pytest.approx(high - low, rel=0.15)
    assert (paired.low, paired.high) == pytest.approx((low, high), abs=0.012)
    # Ignoring that both scores belong to one image would make the interval of correlated scores too wide.
    assert unpaired.high - unpaired.low > 1.3 * (paired.high - paired.low)


@pytest.mark.parametrize(("shift", "images"), [(0.5, 30), (1.5, 100), (2.5, 30), (3.5, 100)])
def test_the_interval_of_auroc_covers(shift, images):
    def draw(generator):
        image = generator.normal(size=images)
        noise = generator.normal(size=(2, images))
        return auroc(image + noise[0] + shift * np.sqrt(2), image + noise[1], paired=True)

    assert coverage(draw, stats.norm.cdf(shift / np.sqrt(2))) > 0.92


def test_perfect_separation_has_newcombes_interval():
    # Every positive above every negative, 10 each: the lower end solves Newcombe's method 5 at area 1.
    estimate = auroc(np.arange(10) + 20.0, np.arange(10.0))
    assert (estimate.value, estimate.high) == (1.0, 1.0)
    low, size = estimate.low, 9
    error = np.sqrt(low * (1 - low) * (1 + size * (1 - low) / (2 - low) + size * low / (1 + low)) / 100)
    assert 1 - low == pytest.approx(stats.norm.ppf(0.975) * error, rel=1e-6)
    assert auroc(np.arange(500) + 600.0, np.arange(500.0)).low > 0.99
    flat = auroc(np.zeros(5), np.zeros(5))
    assert flat.value == 0.5
    assert flat.low < 0.3 < 0.7 < flat.high


def test_repeated_judgements_are_pooled_but_count_as_one_image():
    generator = np.random.default_rng(1)
    positive, negative = generator.normal(1, 1, 60), generator.normal(0, 1, 60)
    once = auroc(positive, negative, paired=True)
    again = auroc(np.stack([positive] * 4), np.stack([negative] * 4), paired=True)
    assert (again.value, again.low, again.high, again.n) == pytest.approx((once.value, once.low, once.high, 60))


def test_auroc_without_images_is_undefined_and_nan_is_refused():
    assert auroc(np.array([]), np.array([1.0])) is None
    with pytest.raises(ValueError, match="1 of 2 scores are NaN"):
        auroc(np.array([1.0, np.nan]), np.array([0.0]))


def test_infinite_scores_are_ranked():
    assert auroc(np.array([np.inf, 1.0]), np.array([0.0, -np.inf])).value == 1.0
    assert auroc(np.array([np.inf]), np.array([np.inf])).value == 0.5


# -- curves and operating points --------------------------------------------------------------------------------------


@given(SCORES, SCORES)
def test_the_roc_curve_agrees_with_scikit_learn(positive, negative):
    labels = np.r_[np.ones(len(positive)), np.zeros(len(negative))]
    fpr, tpr, threshold = sklearn_roc_curve(labels, np.r_[positive, negative], drop_intermediate=False)
    curve = roc_curve(positive, negative)
    assert np.allclose(curve.fpr, fpr)
    assert np.allclose(curve.tpr, tpr)
    # scikit-learn flags at the threshold and above, this package above it: its thresholds are shifted by one.
    assert np.array_equal(curve.threshold[:-1], threshold[1:])
    assert curve.area == pytest.approx(auroc(positive, negative).value)
    for x, y, cut in zip(curve.fpr, curve.tpr, curve.threshold, strict=True):
        assert x == pytest.approx((negative > cut).mean())
        assert y == pytest.approx((positive > cut).mean())


@given(st.integers(2, 800), st.floats(-2, 4), st.integers(0, 3), st.integers(0, 10**6))
def test_a_thinned_curve_keeps_its_area(images, shift, decimals, seed):
    generator = np.random.default_rng(seed)
    positive = generator.normal(shift, 1, images).round(decimals)
    curve = roc_curve(positive, generator.normal(0, 1, images).round(decimals))
    thinned = thin(curve)
    assert abs(thinned.area - curve.area) <= 1e-3
    assert len(thinned.fpr) <= 202
    assert (thinned.fpr[0], thinned.tpr[0], thinned.fpr[-1], thinned.tpr[-1]) == (0, 0, 1, 1)
    assert (np.diff(thinned.fpr) >= 0).all()
    assert set(thinned.threshold) <= set(curve.threshold)


def test_a_staircase_that_needs_more_points_gets_them():
    curve = roc_curve(np.arange(1000) * 2.0 + 1, np.arange(1000) * 2.0)
    thinned = thin(curve, points=5, tolerance=1e-4)
    assert len(thinned.fpr) > 5
    assert abs(thinned.area - curve.area) <= 1e-4


@given(SCORES, st.floats(0, 1))
def test_the_threshold_is_the_smallest_that_keeps_the_rate(scores, fpr):
    cut = threshold_at_fpr(scores, fpr)
    assert (scores > cut).mean() <= fpr
    assert cut == -np.inf or cut in scores
    for lower in [*scores[scores < cut], cut - 1e-9]:
        assert (scores > lower).mean() > fpr or cut == -np.inf


def test_the_threshold_by_hand():
    scores = np.arange(100.0)
    assert threshold_at_fpr(scores, 0.05) == 94  # 95 to 99 are flagged
    assert threshold_at_fpr(scores, 0.29) == 70  # 0.29 * 100 is 28.999999999999996 in floating point
    assert threshold_at_fpr(scores, 0) == 99
    assert threshold_at_fpr(scores, 1) == -np.inf
    # Ten equal scores at the top: flagging any flags all ten, so none may be at 5 %.
    assert threshold_at_fpr(np.r_[np.zeros(90), np.ones(10)], 0.05) == 1
    assert threshold_at_fpr(np.r_[np.zeros(90), np.ones(10)], 0.1) == 0
    with pytest.raises(ValueError, match="NaN"):
        threshold_at_fpr(np.array([np.nan]), 0.05)
    with pytest.raises(ValueError, match="at least one"):
        threshold_at_fpr(np.array([]), 0.05)
    with pytest.raises(ValueError, match=r"1\.5"):
        threshold_at_fpr(scores, 1.5)


@given(SCORES, SCORES)
def test_operating_points_are_points_of_the_roc_curve(positive, negative):
    curve = roc_curve(positive, negative)
    best = tpr_at_fpr(positive, negative, 0.05)
    assert best.value == pytest.approx(curve.tpr[curve.fpr <= 0.05 + 1e-12].max())
    least = fpr_at_tpr(positive, negative, 0.95)
    assert least.value == pytest.approx(curve.fpr[curve.tpr >= 0.95 - 1e-12].min())
    for estimate in (best, least):
        assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1


@pytest.mark.parametrize(("shift", "images"), [(1.5, 30), (1.5, 200), (3.5, 100)])
def test_the_interval_at_an_operating_point_knows_that_the_threshold_is_estimated(shift, images):
    def draw(generator):
        return tpr_at_fpr(generator.normal(shift, 1, images), generator.normal(0, 1, images), 0.05)

    def draw_mirrored(generator):
        return fpr_at_tpr(generator.normal(shift, 1, images), generator.normal(0, 1, images), 0.95)

    truth = 1 - stats.norm.cdf(stats.norm.ppf(0.95) - shift)
    assert coverage(draw, truth) > 0.925
    assert coverage(draw_mirrored, 1 - truth) > 0.925


def test_with_few_clean_images_the_operating_point_is_open():
    # The highest of 20 clean scores is flagged less than 5 % of the time with probability 0.64 only.
    assert tpr_at_fpr(np.full(20, 9.0), np.arange(20.0) / 20, 0.05).low == 0
    assert tpr_at_fpr(np.full(200, 9.0), np.arange(200.0) / 200, 0.05).low > 0.97


# -- comparisons ------------------------------------------------------------------------------------------------------


def outcomes(only_first: int, only_second: int, rest: int) -> tuple[np.ndarray, np.ndarray]:
    first = np.r_[np.ones(only_first), np.zeros(only_second), np.ones(rest)]
    return first, np.r_[np.zeros(only_first), np.ones(only_second), np.ones(rest)]


def test_the_paired_interval_gives_the_published_example():
    # Airway hyper-responsiveness, 21 children, 1 and 7 discordant: Fagerland, Lydersen and Laake 2014, Bonett-Price.
    compared = compare_paired(*outcomes(1, 7, 13))
    assert (round(compared.low, 3), round(compared.high, 3)) == (-0.508, -0.013)
    assert compared.difference == pytest.approx(-6 / 21)
    assert (compared.only_first, compared.only_second, compared.n) == (1, 7, 21)
    assert compared.p_value == pytest.approx(0.0703, abs=1e-4)


@given(st.integers(0, 200), st.integers(0, 200))
def test_mcnemar_is_the_exact_binomial_test(only_first, only_second):
    total = only_first + only_second
    expected = stats.binomtest(only_first, total).pvalue if total else 1.0
    assert mcnemar(only_first, only_second) == pytest.approx(expected, rel=1e-9)


@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 30))
def test_the_paired_interval_holds_the_difference_and_mirrors(only_first, only_second, rest):
    if only_first + only_second + rest == 0:
        return
    first, second = outcomes(only_first, only_second, rest)
    one, other = compare_paired(first, second), compare_paired(second, first)
    assert -1 <= one.low <= one.difference <= one.high <= 1
    assert one.low < one.high
    assert (one.difference, one.low, one.high) == pytest.approx((-other.difference, -other.high, -other.low))
    assert one.p_value == other.p_value


@pytest.mark.parametrize("repeats", [1, 4])
def test_the_paired_interval_covers(repeats):
    def draw(generator):
        image = generator.normal(size=120)
        better, worse = (1 / (1 + np.exp(-(image + shift))) for shift in (1.0, 0.0))
        first = generator.binomial(repeats, better) / repeats
        return compare_paired(first, generator.binomial(repeats, worse) / repeats)

    many = np.random.default_rng(0).normal(size=10**6)
    truth = float((1 / (1 + np.exp(-(many + 1))) - 1 / (1 + np.exp(-many))).mean())
    assert coverage(draw, truth) > 0.925


def test_comparing_unlike_things_is_refused():
    with pytest.raises(ValueError, match="shapes"):
        compare_paired(np.ones(3), np.ones(1))
    with pytest.raises(ValueError, match="N > 0"):
        compare_paired(np.array([]), np.array([]))


# -- means ------------------------------------------------------------------------------------------------------------


def test_the_mean_has_students_interval():
    values = [0.5, 0.6, 0.55, 0.71]
    expected = stats.t.interval(0.95, 3, loc=np.mean(values), scale=stats.sem(values))
    estimate = mean(values)
    assert (estimate.value, estimate.low, estimate.high, estimate.n) == pytest.approx((np.mean(values), *expected, 4))
    assert mean([3.0]).low == mean([3.0]).high == 3.0


def test_the_deviation_has_the_chi_square_interval():
    values = [0.5, 0.6, 0.55, 0.71]
    deviation = np.std(values, ddof=1)
    ends = deviation * np.sqrt(3 / stats.chi2.ppf([0.975, 0.025], 3))
    estimate = spread(values)
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx((deviation, *ends))


# -- several seeds ----------------------------------------------------------------------------------------------------


def rates_of_seeds(seeds: int, images: int, mean_logit: float, between_seeds: float, between_images: float):
    """Return a way to draw outcomes (S, N) of random seeds on images of random difficulty, and the true rate."""

    def draw(generator):
        of_seed = generator.normal(0, between_seeds, (seeds, 1))
        of_image = generator.normal(0, between_images, (1, images))
        return (generator.random((seeds, images)) < expit(mean_logit + of_seed + of_image)).astype(float)

    spread = np.hypot(between_seeds, between_images)
    many = np.random.default_rng(1).normal(0, spread, 400_000)
    return draw, float(expit(mean_logit + many).mean())


def areas_of_seeds(seeds: int, images: int, shift: float, between_seeds: float, between_images: float):
    """Return a way to draw contributions (S, N) to the area of binormal scores, and the true mean area."""

    def draw(generator):
        of_seed = generator.normal(0, between_seeds, (seeds, 1))
        of_image = generator.normal(0, between_images, (2, 1, images))
        clean = of_image[0] + generator.normal(size=(seeds, images))
        attacked = of_image[1] + generator.normal(size=(seeds, images)) + shift + of_seed
        parts = [auroc_influence(a, c) for a, c in zip(attacked, clean, strict=True)]
        return np.stack([area + influence for area, influence in parts])

    scale = np.sqrt(2 * (1 + between_images**2))
    many = np.random.default_rng(1).normal(shift, between_seeds, 400_000)
    return draw, float(stats.norm.cdf(many / scale).mean())


def crossed_coverage(make, unit: str, tries: int, *setting) -> float:
    draw, truth = make(*setting)
    return coverage(lambda generator: crossed(draw(generator), unit, setting[1]), truth, tries)


def test_the_interval_over_seeds_and_images_covers_where_that_over_seeds_does_not():
    setting = (5, 80, 0.0, 0.2, 3.0)
    draw, truth = rates_of_seeds(*setting)
    assert coverage(lambda generator: mean(draw(generator).mean(1)), truth) < 0.8
    assert crossed_coverage(rates_of_seeds, "rate", 400, *setting) > 0.925
    assert crossed_coverage(rates_of_seeds, "rate", 300, 3, 60, 2.5, 0.6, 1.0) > 0.925
    assert crossed_coverage(areas_of_seeds, "area", 300, 3, 60, 1.5, 0.3, 1.0) > 0.925


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [2, 3, 5])
@pytest.mark.parametrize("images", [50, 200, 500])
@pytest.mark.parametrize(
    ("make", "unit", "centre", "between_seeds"),
    [
        *((rates_of_seeds, "rate", centre, between) for centre in (0.0, 2.5) for between in (0.0, 0.2, 0.6)),
        *((areas_of_seeds, "area", centre, between) for centre in (0.5, 2.0) for between in (0.0, 0.1, 0.3)),
    ],
)
@pytest.mark.parametrize("between_images", [0.0, 1.0, 3.0])
def test_the_interval_over_seeds_and_images_covers(seeds, images, make, unit, centre, between_seeds, between_images):
    found = crossed_coverage(make, unit, 400, seeds, images, centre, between_seeds, between_images)
    print("coverage", seeds, images, unit, centre, between_seeds, between_images, found)
    assert found > {2: 0.87, 3: 0.91, 5: 0.91}[seeds]


@pytest.mark.parametrize("unit", ["rate", "area"])
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_seeds_that_all_agree_leave_a_width(unit, value):
    found = crossed(np.full((3, 40), value), unit, 40)
    assert found.value == value
    assert found.high - found.low > 0.02
    assert found.n == 40


def test_equal_seeds_bring_no_more_than_one():
    outcomes = (np.arange(100) < 30).astype(float)
    found, one = crossed(np.stack([outcomes] * 4), "rate", 100), rate(outcomes)
    assert (found.value, found.low, found.high) == pytest.approx((one.value, one.low, one.high), abs=2e-3)


@pytest.mark.parametrize(("seeds", "images", "between"), [(2, 60, 0.6), (3, 90, 0.6), (5, 200, 0.0)])
def test_two_systems_that_are_alike_seldom_differ_over_seeds(seeds, images, between):
    draw, _ = rates_of_seeds(seeds, images, 1.0, between, 1.0)
    generator = np.random.default_rng(5)
    found = [compare_over_seeds(draw(generator), draw(generator)) for _ in range(300)]
    assert np.mean([pair.p_value <= 0.05 for pair in found]) < 0.08
    assert np.mean([pair.low <= 0 <= pair.high for pair in found]) > 0.92


def test_what_holds_in_every_seed_differs_over_seeds():
    generator = np.random.default_rng(0)
    weak, strong = (generator.random((3, 100)) < share for share in (0.3, 0.7))
    found = compare_over_seeds(strong, weak)
    assert found.p_value < 1e-3
    assert 0.2 < found.low < found.difference < found.high < 0.6
    # Seeds that go against each other are no evidence, however many images agree within each.
    torn = np.stack([np.ones(100), np.zeros(100)])
    assert compare_over_seeds(torn, 1 - torn).p_value == 1.0
    assert compare_over_seeds(weak, weak).p_value == 1.0


def test_holm_by_hand():
    # Sorted .005, .01, .03, .04 times 4, 3, 2, 1; a later one is never below an earlier one.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []
