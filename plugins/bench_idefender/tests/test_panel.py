"""What the report draws of hidden states: Figure 1, from verdicts to the page."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from bench_idefender.panel import CLEAN, DRAWN, OTHERS, SUCCESSFUL, StatesPanel
from benchmark.cells import Answers, Cell
from benchmark.panel import Facts, GalleryImage, ImageVerdict
from benchmark.plugins import load_plugins

NAMES = ("left", "right", "up")


def answers(label: np.ndarray, states: np.ndarray) -> Answers:
    return Answers(label, label, details={"projection": states[:, :2], "unit": states[:, 2]})


def attacked_cell(count: int = 400, seed: int = 0) -> tuple[Cell, np.ndarray]:
    """Return a cell whose attacks turn two thirds of class 0 into class 2 and a few of class 1, and who succeeded."""
    generator = np.random.RandomState(seed)
    y = np.arange(count) % 3
    success = np.where(y == 0, np.arange(count) % 9 > 2, y == 1) & (np.arange(count) % 2 == 0)
    label = np.where(success, np.where(y == 0, 2, 0), y)
    clean, attacked = generator.randn(count, 3), generator.randn(count, 3) + 5
    return Cell(y, answers(y, clean), answers(label, attacked), np.zeros(count), "linf", 0.1), success


def plots(cell: Cell):
    return StatesPanel().of_cell(StatesPanel().points("i-defender", cell), NAMES)


def test_states_of_a_clean_cell_are_drawn_by_class():
    cell, _ = attacked_cell(DRAWN)
    (plot,) = plots(Cell(cell.y, cell.clean))
    assert [series.name for series in plot.series] == list(NAMES)
    for c, series in enumerate(plot.series):
        own = cell.clean.details["projection"][cell.y == c]
        assert np.array_equal(np.stack([series.x, series.y], 1), own)


def test_states_of_an_attacked_cell_are_drawn_by_success():
    cell, success = attacked_cell()
    states, histogram = plots(cell)
    assert (states.mark, histogram.mark) == ("dots", "steps")
    assert [series.name for series in states.series] == [CLEAN, SUCCESSFUL, OTHERS]
    members = (np.ones(len(success), bool), success, ~success)
    found = (cell.clean, cell.attacked, cell.attacked)
    for series, member, version in zip(states.series, members, found):
        known = {tuple(state) for state in version.details["projection"][member]}
        drawn = [tuple(state) for state in np.stack([series.x, series.y], 1)]
        assert len(set(drawn)) == len(drawn) == min(DRAWN // 3, member.sum())
        assert set(drawn) <= known


def test_the_unit_is_that_of_images_taken_for_the_same_class():
    cell, success = attacked_cell()
    target = np.bincount(cell.attacked.base_label[success]).argmax()
    _, histogram = plots(cell)
    assert NAMES[target] in histogram.title
    clean, attacked = histogram.series
    assert (clean.name, attacked.name) == (CLEAN, SUCCESSFUL)
    assert np.array_equal(clean.x, attacked.x)
    for series, version, member in (
        (clean, cell.clean, cell.clean.base_label == target),
        (attacked, cell.attacked, success & (cell.attacked.base_label == target)),
    ):
        values = version.details["unit"][member]
        assert float(np.sum(series.y)) == pytest.approx(1)
        width = series.x[1] - series.x[0]
        middle = len(series.x) // 2
        inside = np.abs(values - series.x[middle]) <= width / 2
        assert series.y[middle] == pytest.approx(inside.mean())


def test_a_cell_without_success_has_no_histogram():
    cell, _ = attacked_cell()
    kept = Cell(cell.y, cell.clean, answers(cell.y, np.zeros((400, 3))), cell.perturbation, "linf", 0.1)
    (plot,) = plots(kept)
    assert [series.name for series in plot.series] == [CLEAN, OTHERS]


def test_states_of_one_dimension_are_drawn_on_a_line():
    cell, _ = attacked_cell()
    one = Answers(cell.y, cell.y, details={"projection": np.ones((400, 1)), "unit": np.ones(400)})
    (plot,) = plots(Cell(cell.y, one))
    assert not np.any(plot.series[0].y)


def test_other_defenses_keep_nothing():
    cell, _ = attacked_cell()
    assert not StatesPanel().points("mahalanobis", cell)
    assert not StatesPanel().points("i-defender", Cell(cell.y, Answers(cell.y, cell.y)))


def test_an_image_has_its_likelihoods():
    clean, attacked = (ImageVerdict(c, c, 0.0, False, {"log_likelihood": -12.5 * c}) for c in (1, 2))
    (facts,) = StatesPanel().of_image(GalleryImage("i-defender", NAMES, 1, clean, attacked, None))
    assert facts == Facts((("log p(state | right), clean", "-12.5 nats"), ("log p(state | up), attacked", "-25 nats")))
    assert not StatesPanel().of_image(GalleryImage("lid", NAMES, 1, clean, attacked, None))
    assert not StatesPanel().of_image(GalleryImage("i-defender", NAMES, 1, ImageVerdict(1, 1, 0.0, None), None, None))


SUITE = """
suite: figure
title: Figure 1 through the host
seeds: [0]
datasets: {blobs: {use: blobs, count: 120}}
models: {linear: {use: linear}}
attacks: {step: {use: step, eps: 0.9}}
defenses: {states: {use: i-defender, components: 1, covariance: diag}}
grid: [{datasets: all, models: all, attacks: all, defenses: all}]
"""


def test_from_the_suite_to_the_page(run_suite_file, tmp_path, monkeypatch):
    code, run, said = run_suite_file(SUITE)
    assert code == 0, said
    curves = run.curves[run.curves.curve.str.startswith("Hidden states: ")]
    clean = run.samples[run.samples.attack == "none"]
    by_class = curves[curves.attack == "none"].groupby("curve").size()
    classes = clean.groupby("y").size()
    assert by_class.tolist() == [min(DRAWN // len(classes), n) for n in classes]
    by_kind = curves[curves.attack == "step"].groupby("curve").size()
    assert by_kind[f"Hidden states: states, {CLEAN}"] == min(DRAWN // 3, len(clean))
    monkeypatch.delenv("BENCH_PLUGINS", raising=False)
    reporter = load_plugins().get("reporter", "html").load()()
    reporter.panels = [StatesPanel()]
    pages = [path.read_text() for path in (reporter.write([run], tmp_path / "report").parent / "cells").glob("*.html")]
    page = next(page for page in pages if "<h2" in page and "States of clean and attacked images" in page)
    assert re.search(r"<h2[^>]*><bdi>Hidden states</bdi></h2>", page)
    charts = re.findall(
        r'<figure class="chart" data-chart="(\w+)".*?<script type="application/json">(.*?)</script>', page, re.S
    )
    dots = json.loads(next(data for kind, data in charts if kind == "dots"))["points"]
    wanted = curves[(curves.attack == "step") & curves.curve.str.contains("states, ")]
    width = wanted.x.max() - wanted.x.min()  # a chart holds a thousandth of its axis
    assert sorted(dots["x"]) == pytest.approx(sorted(wanted.x), abs=width / 1000)
    assert "chart-dots" in page  # the table that is read without scripts
    assert any("States of clean images by class" in page for page in pages)
