"""Measures asked over seeds what each image contributes: what one of them changes costs no other."""

from __future__ import annotations

import os
import sys

import numpy as np
import pytest
from tabulated import tabulate

from benchmark.cells import Answers, Cell, CellResult
from benchmark.metrics.attack import RobustAccuracy


def result(attack: str = "pgd", seed: int = 0) -> CellResult:
    """Return a cell of six images, of which half are right under attack."""
    y = np.arange(6) % 3
    clean, attacked = Answers(y, y, None, None), Answers(y, np.where(np.arange(6) < 3, y, (y + 1) % 3), None, None)
    return CellResult(
        dataset="blobs",
        model="net",
        attack=attack,
        defense="none",
        knowledge="gray-box",
        seed=seed,
        norm="linf",
        eps="8/255",
        status="ok",
        reason="",
        cell=Cell(y, clean, attacked, np.full(6, 0.01, dtype=np.float32), "linf", 8 / 255),
        sample_ids=[f"image-{i}" for i in range(6)],
        details={},
        sweep="",
    )


class Told(RobustAccuracy):
    """Does something when it is asked what each image contributes."""

    def __init__(self, do) -> None:
        self.do = do

    def contributions(self, cells):
        self.do()
        return super().contributions(cells)


class Reads(RobustAccuracy):
    def contributions(self, cells):
        if "SEEN" in os.environ:
            raise ValueError("disturbed")
        return super().contributions(cells)


@pytest.mark.parametrize(
    ("do", "reason"),
    [
        (lambda: os.environ.update(SEEN="1"), "it changed the environment (SEEN)"),
        (lambda: sys.exit(3), "it called sys.exit(3)"),
        (lambda: 1 / 0, "ZeroDivisionError"),
    ],
)
def test_what_a_measure_does_when_it_is_asked_over_seeds_costs_its_own_interval_alone(do, reason):
    tables = tabulate([result(seed=0), result(seed=1)], {"does": Told(do), "reads": Reads()}, {}, ())
    found = tables.metrics.set_index("metric").seed
    assert set(found["reads"]) == {"0", "1", "mean", "std", "crossed"}
    assert set(found["does"]) == {"0", "1", "mean", "std"}
    (problem,) = tables.problems
    assert "'does' failed" in problem
    assert reason in problem
    assert "SEEN" not in os.environ


def test_what_a_measure_writes_into_the_cells_that_it_is_asked_about_over_seeds_reaches_nobody():
    class Writes(RobustAccuracy):
        def contributions(self, cells):
            part = super().contributions(cells)
            cells[0].attacked.label.flags.writeable = True
            cells[0].attacked.label[:] = 0
            return part

    tables = tabulate([result(seed=0), result(seed=1)], {"writes": Writes(), "right": RobustAccuracy()}, {}, ())
    crossed = tables.metrics[tables.metrics.seed == "crossed"]
    assert list(crossed.metric) == ["right"]
    (problem,) = tables.problems
    assert "'writes'" in problem
