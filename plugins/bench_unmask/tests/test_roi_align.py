"""Boxes pooled from a pyramid: torchvision's numbers and gradients, by other means."""

from __future__ import annotations

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torchvision.ops import MultiScaleRoIAlign

from bench_unmask.extractor.roi_align import BagRoIAlign

MAPS = ["0", "1", "2"]
SHAPE = (96, 64)
PLACES = st.floats(-40, 140, width=32)
ASIDE = 2**0.5 / 100
"""Of a box: the samples of a round one may lie exactly a pixel beyond a border, the last place that counts."""
BOXES = st.lists(st.tuples(PLACES, PLACES, st.floats(0, 150, width=32), st.floats(0, 150, width=32)), max_size=4)


def pyramid() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return {
        name: torch.randn(2, 3, SHAPE[0] // stride, SHAPE[1] // stride, dtype=torch.float64, requires_grad=True)
        for name, stride in zip((*MAPS, "pool"), (4, 8, 16, 32))
    }


def corners(boxes) -> torch.Tensor:
    return torch.tensor([(x, y, x + w, y + h) for x, y, w, h in boxes], dtype=torch.float64).reshape(-1, 4) + ASIDE


@given(first=BOXES, second=BOXES, side=st.sampled_from([1, 3]), samples=st.sampled_from([1, 2]))
@example(first=[(-16, 5, 16, 20)], second=[], side=3, samples=2)
@example(first=[(-39, 5, 70, 20)], second=[], side=3, samples=1)
@example(first=[(5, -16, 20, 16)], second=[], side=3, samples=2)
def test_values_and_gradients_are_torchvisions(first, second, side, samples):
    """Boxes may be empty, larger than the image, and lie beyond its borders; an image may have none."""
    boxes = [corners(first), corners(second)]
    found = []
    for kind in (BagRoIAlign, MultiScaleRoIAlign):
        maps = pyramid()
        pooled = kind(MAPS, side, samples)(maps, boxes, [SHAPE, SHAPE])
        weights = torch.arange(pooled.numel(), dtype=torch.float64).view_as(pooled).sin()
        found.append([pooled, *torch.autograd.grad((pooled * weights).sum(), [maps[name] for name in MAPS])])
    for ours, theirs in zip(*found):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


def test_maps_in_half_precision_give_boxes_precision():
    """As mixed precision has them: torchvision's own kernel is not told of bfloat16 either."""
    boxes = [corners([(3, 5, 40, 30)]).float()] * 2
    maps = {name: one.detach().bfloat16() for name, one in pyramid().items()}
    pooled = BagRoIAlign(MAPS, 7, 2)(maps, boxes, [SHAPE, SHAPE])
    exact = BagRoIAlign(MAPS, 7, 2)({name: one.float() for name, one in maps.items()}, boxes, [SHAPE, SHAPE])
    assert pooled.dtype == torch.float32
    assert pooled == pytest.approx(exact)
