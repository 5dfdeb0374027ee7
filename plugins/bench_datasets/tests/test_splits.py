"""Drawn splits, and the digits that every machine has."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from bench_datasets.splitting import draw_splits
from benchmark.dataset import SPLITS
from benchmark.errors import InputError

SHARES = st.fixed_dictionaries({"val": st.floats(0.01, 0.4)}, optional={"test": st.floats(0.01, 0.4)})


@st.composite
def labelled(draw: st.DrawFn) -> np.ndarray:
    counts = draw(st.lists(st.integers(10, 60), min_size=2, max_size=6))
    labels = np.repeat(np.arange(len(counts)), counts)
    return np.random.RandomState(draw(st.integers(0, 99))).permutation(labels)


@given(labelled(), SHARES, st.integers(0, 2**40))
def test_drawn_splits_are_disjoint_complete_and_stratified(
    labels: np.ndarray, shares: dict[str, float], seed: int
) -> None:
    names = [str(label) for label in range(labels.max() + 1)]
    parts = draw_splits(labels, names, shares, seed, "here")
    assert sorted(np.concatenate(list(parts.values()))) == list(range(len(labels)))
    totals = np.bincount(labels)
    for split, share in shares.items():
        counts = np.bincount(labels[parts[split]], minlength=len(names))
        assert np.all(np.abs(counts - share * totals) <= np.where(share * totals < 0.5, 1, 0.5))
        assert np.all(counts >= 1)
        assert np.all(np.diff(parts[split]) > 0)


@given(labelled(), SHARES, st.integers(0, 2**40), st.integers(0, 2**32 - 1))
def test_only_the_seed_decides(labels: np.ndarray, shares: dict[str, float], seed: int, elsewhere: int) -> None:
    names = [str(label) for label in range(labels.max() + 1)]
    first = draw_splits(labels, names, shares, seed, "here")
    random.seed(elsewhere), np.random.seed(elsewhere), torch.manual_seed(elsewhere)
    state = np.random.get_state()[1].copy()
    other_names = [name + "x" for name in names]
    second = draw_splits(labels.astype(np.int32), other_names, shares, seed, "there")
    assert np.array_equal(np.random.get_state()[1], state)
    for split in first:
        assert np.array_equal(first[split], second[split])


@given(labelled(), st.integers(0, 2**40))
def test_a_further_class_moves_no_image_of_the_others(labels: np.ndarray, seed: int) -> None:
    names = [str(label) for label in range(labels.max() + 2)]
    more = np.concatenate([labels, np.full(20, labels.max() + 1)])
    before = draw_splits(labels, names[:-1], {"val": 0.2}, seed, "here")["val"]
    after = draw_splits(more, names, {"val": 0.2}, seed, "here")["val"]
    assert np.array_equal(after[after < len(labels)], before)


def test_too_few_images_of_a_class_are_refused() -> None:
    with pytest.raises(InputError, match="'rare' has 2 images, too few to draw 1 for val and 1 for test"):
        draw_splits(np.array([0] * 9 + [1] * 2), ["common", "rare"], {"val": 0.1, "test": 0.1}, 0, "here")
    with pytest.raises(InputError, match="sum must be below 1"):
        draw_splits(np.zeros(50, dtype=int), ["a"], {"val": 0.85, "test": 0.2}, 0, "here")


def test_digits_are_scikit_learns(make) -> None:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    digits = make("digits")
    digits.check()
    seen: list[int] = []
    for name in SPLITS:
        split = digits.split(name)
        ids = [int(i) for i in split.sample_ids(range(len(split)))]
        seen += ids
        assert split.image_shape == (1, 8, 8)
        assert split.class_names == tuple("0123456789")
        x = split.images(range(len(split)))
        assert x.dtype == torch.float32
        assert np.array_equal(x[:, 0].numpy() * 16, bunch.images[ids])
        assert np.array_equal(split.labels, bunch.target[ids])
    assert sorted(seen) == list(range(1797))


def test_size_and_limit_of_digits_move_no_image(make) -> None:
    plain, large = make("digits"), make("digits", size=28, limit={"test": 100})
    test = large.load("test")
    assert test.image_shape == (1, 28, 28)
    x = test.images([0, 1, 2])
    assert x.shape == (3, 1, 28, 28)
    assert 0 <= x.min() < x.max() <= 1
    assert test.sample_ids(range(len(test))) == plain.load("test").sample_ids(range(len(test)))
    assert np.bincount(large.split("test").labels).tolist() == [10] * 10


def test_fingerprint_of_digits_follows_the_splits_and_the_size(make) -> None:
    base = make("digits").fingerprint()
    assert make("digits", limit={"train": 50}, val_share=0.15).fingerprint() == base
    others = [{"split_seed": 1}, {"val_share": 0.2}, {"test_share": 0.3}, {"size": 16}]
    assert len({base, *(make("digits", **options).fingerprint() for options in others)}) == 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"val_share": 0.5, "test_share": 0.5}, "their sum must be below 1"),
        ({"val_share": 0}, "greater than 0"),
        ({"test_share": 1}, "less than 1"),
        ({"size": 7}, "greater than or equal to 8"),
        ({"split_seed": -1}, "greater than or equal to 0"),
        ({"path": "x"}, "not permitted"),
    ],
)
def test_bad_options_of_digits(make, options: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        make("digits", **options)
