from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from bench_unmask import masks
from benchmark import decode_mask

Masks = arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12)))


def test_runs_go_down_the_columns_and_begin_with_zeros() -> None:
    mask = np.array([[1, 0], [1, 1]], dtype=bool)
    assert np.array_equal(decode_mask({"size": [2, 2], "counts": [0, 2, 1, 1]}), mask)


@given(Masks)
def test_what_pycocotools_writes_is_read(mask: np.ndarray) -> None:
    assert np.array_equal(decode_mask(masks.encode(mask)), mask)


def test_an_annotation_has_the_box_and_the_area_of_its_mask() -> None:
    found = masks.measured(np.array([[0, 0, 0], [0, 1, 1]], dtype=bool))
    assert (found["bbox"], found["area"]) == ([1, 1, 2, 1], 2)
    assert json.loads(json.dumps(found)) == found


def test_a_known_string_is_read() -> None:
    # 10 zeros, 3 ones, 40 zeros, 3 ones, 44 zeros: the last two are differences to the last but one.
    runs = [10, 3, 40, 3, 44]
    expected = decode_mask({"size": [10, 10], "counts": runs})
    assert np.array_equal(decode_mask({"size": [10, 10], "counts": ":3X104"}), expected)


@pytest.mark.parametrize(
    "segmentation",
    [
        {"size": [2, 2], "counts": [1, 2]},
        {"size": [2, 2], "counts": [5, -1]},
        {"size": [2, 2], "counts": "~"},
        {"size": [2, 2], "counts": "X"},
        {"size": [2, 2]},
        {"size": [2], "counts": [4]},
        {"size": [2, 2], "counts": None},
    ],
)
def test_damaged_run_lengths_are_refused(segmentation: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"run.length|character|number|unpack|lengths"):
        decode_mask(segmentation)
