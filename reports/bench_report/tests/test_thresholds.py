"""Counts at every threshold are those of the definition."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench_report.threshold import Judged, threshold_view

N = 30


SCORES = st.lists(st.sampled_from([-2.0, -0.5, 0.0, 0.25, 1.0, 3.5]), min_size=N, max_size=N)


FLAGS = st.lists(st.booleans(), min_size=N, max_size=N)


def judged(score, flagged, right=None, base_right=None, changed=None):
    none = np.zeros(len(score), dtype=bool)
    right = none if right is None else right
    return Judged(
        score, flagged, right, right if base_right is None else base_right, none if changed is None else changed
    )


@given(SCORES, SCORES, FLAGS, FLAGS, FLAGS, st.sampled_from([-1.0, 0.1, 0.25]))
def test_counts_at_every_threshold_are_those_of_the_definition(attacked, clean, success, right, clean_right, at):
    attacked, clean = np.array(attacked), np.array(clean)
    success, right, clean_right = map(np.array, (success, right, clean_right))
    view = threshold_view(judged(attacked, attacked > at, right), judged(clean, clean > at, clean_right), success)
    for number, threshold in enumerate(view.thresholds):
        assert view.caught[number] == (attacked[success] > threshold).sum()
        assert view.alarms[number] == (clean[success] > threshold).sum()
        assert view.withstood[number] == (right | (attacked > threshold)).sum()
        assert view.kept[number] == (clean_right & ~(clean > threshold)).sum()
    assert (view.successful, view.images) == (success.sum(), N)
    if view.operating is not None:
        threshold = view.thresholds[view.operating]
        assert ((attacked > threshold) == (attacked > at)).all()
        assert ((clean > threshold) == (clean > at)).all()


@given(SCORES, SCORES, FLAGS, FLAGS, FLAGS, FLAGS, st.sampled_from([-1.0, 0.1, 0.25]))
def test_labels_that_may_hang_on_the_flag_are_never_counted_wrongly(
    attacked, clean, base, rectified, clean_base, clean_rectified, at
):
    """Of two classes: `base` and `rectified` say whether the classifier and the rectifier are right."""
    attacked, clean = np.array(attacked), np.array(clean)
    base, rectified, clean_base, clean_rectified = map(np.array, (base, rectified, clean_base, clean_rectified))

    def answers(threshold, flagged_only):
        """Return (withstood, kept) of a defense with this threshold that rectifies flagged images or all."""
        flagged, alarm = attacked > threshold, clean > threshold
        right = np.where(flagged | (not flagged_only), rectified, base)
        clean_right = np.where(alarm | (not flagged_only), clean_rectified, clean_base)
        return (right, clean_right), ((right | flagged).sum(), (clean_right & ~alarm).sum())

    for flagged_only in (True, False):
        (right, clean_right), _ = answers(at, flagged_only)
        view = threshold_view(
            judged(attacked, attacked > at, right, base, right != base),
            judged(clean, clean > at, clean_right, clean_base, clean_right != clean_base),
            np.ones(N, dtype=bool),
        )
        for number, threshold in enumerate(view.thresholds):
            _, truth = answers(threshold, flagged_only)
            told = view.withstood[number], view.kept[number]
            assert all(mine in (None, real) for mine, real in zip(told, truth))
            if threshold <= at:
                assert None not in told
        passed = np.concatenate([right != base, clean_right != clean_base])[np.concatenate([attacked, clean]) <= at]
        assert view.told or not passed.any()


def test_flags_that_no_threshold_gives_have_no_operating_point():
    scores, flags = np.array([0.0, 1.0]), np.array([True, False])
    every = np.ones(2, dtype=bool)
    assert threshold_view(judged(scores, flags), judged(scores, flags), every).operating is None


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_the_lowest_number_there_is_may_be_a_score(kind):
    """As a detector says that it found nothing."""
    scores, flags = np.array([np.finfo(kind).min, 0.5, 1.0], dtype=kind), np.array([False, False, True])
    view = threshold_view(judged(scores, flags), judged(scores, flags), np.ones(3, dtype=bool))
    assert np.isfinite(view.thresholds).all()
    assert view.caught == tuple((scores > threshold).sum() for threshold in view.thresholds)
    assert view.caught[view.operating] == 1
    assert view.caught[-3:] == (2, 1, 0)
    assert (3 in view.caught) == (kind == np.float32)  # below the other there is no number left


def test_scores_that_are_not_finite_have_no_slider():
    scores, none = np.array([math.inf, -math.inf]), np.zeros(2, dtype=bool)
    assert threshold_view(judged(scores, none), judged(scores, none), ~none) is None


def test_many_scores_are_thinned_and_the_operating_point_stays():
    scores = np.random.default_rng(0).normal(size=5000)
    flags = scores > 1.2345
    view = threshold_view(judged(scores, flags), judged(scores, flags), np.ones(5000, dtype=bool))
    assert len(view.thresholds) < 260
    assert view.caught[view.operating] == flags.sum()
    # As short as the counts allow: no page shows all digits of a score.
    assert np.mean([len(repr(threshold).strip("-0.")) for threshold in view.thresholds]) < 7
