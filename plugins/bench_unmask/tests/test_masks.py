from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from bench_unmask import masks

Masks = arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12)))


def test_runs_go_down_the_columns_and_begin_with_zeros() -> None:
    mask = np.array([[1, 0], [1, 1]], dtype=bool)
    assert masks.encode(mask) == [0, 2, 1, 1]
    assert masks.bounding_box(np.array([[0, 0, 0], [0, 1, 1]], dtype=bool)) == [1, 1, 2, 1]


@given(Masks)
def test_encoding_is_undone_by_decoding(mask: np.ndarray) -> None:
    counts = masks.encode(mask)
    assert np.array_equal(masks.decode(counts, *mask.shape), mask)
    assert masks.decompress(masks.compress(counts)) == counts
    assert np.array_equal(masks.decode_rle(masks.rle(mask, compressed=True)), mask)


@given(Masks)
def test_the_form_is_that_of_pycocotools(mask: np.ndarray) -> None:
    from pycocotools import mask as reference

    theirs = reference.encode(np.asfortranarray(mask.astype(np.uint8)))
    assert masks.compress(masks.encode(mask)).encode() == theirs["counts"]
    read = reference.frPyObjects(masks.rle(mask), *mask.shape)
    assert np.array_equal(reference.decode(read).astype(bool), mask)
    if mask.any():
        assert reference.toBbox(theirs).tolist() == masks.bounding_box(mask)


def test_a_known_string_is_read() -> None:
    # 10 zeros, 3 ones, 40 zeros, 3 ones, 44 zeros: the last two are differences to the last but one.
    assert masks.compress([10, 3, 40, 3, 44]) == ":3X104"
    assert masks.decompress(":3X104") == [10, 3, 40, 3, 44]


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
        masks.decode_rle(segmentation)
