"""Thresholds, images, panels and published numbers on the pages of cells and on the first page."""

from __future__ import annotations

import io
import json
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from bench_report.charts.plots import plot_chart
from bench_report.links import Links, file_name
from bench_report.markup import script_data
from bench_report.threshold import Judged, threshold_view
from bench_report.words import difference_text
from benchmark.cells import Answers, Cell
from benchmark.panel import Bar, Bars, Box, Facts, Panel, Picture, Plot, Series
from benchmark.results.gallery import strata

HOSTILE = "</script><script>alert(1)</script>\u202e'\"&"


def table_of(page, name):
    return page.one("table", data_table=name)


# -- thresholds --------------------------------------------------------------------------------------------------------

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


# -- images ------------------------------------------------------------------------------------------------------------


def test_strata_share_the_successful_attacks():
    y = np.zeros(6, dtype=int)
    clean = Answers(y, y, np.zeros(6), np.array([1, 0, 0, 0, 0, 0], dtype=bool))
    attacked = Answers(
        base_label=np.array([1, 1, 1, 1, 0, 0]),
        label=np.array([1, 1, 0, 0, 0, 1]),
        score=np.zeros(6),
        flagged=np.array([0, 1, 0, 1, 0, 0], dtype=bool),
    )
    before = np.array([0, 0, 0, 0, 0, 1])  # the classifier needed no attack to be wrong on the last one
    clean_before = Answers(before, y, clean.score, clean.flagged)
    found = {name: np.flatnonzero(m).tolist() for name, m in strata(Cell(y, clean_before, attacked)).items()}
    assert found == {"missed": [0], "caught": [1], "rectified": [2, 3], "failed": [4], "wrong-before": [5],
                     "false-alarm": [0]}  # fmt: skip
    wrong = Answers(y, np.array([1, 1, 0, 0, 0, 0]), np.zeros(6), clean.flagged)
    found = {name: np.flatnonzero(member).tolist() for name, member in strata(Cell(y, wrong)).items()}
    assert found == {"false-alarm": [0], "wrong": [1]}


def test_the_gallery_shows_what_the_samples_say(make_run, site_of):
    run = make_run(models=("mlp",), attacks=("fgsm",), n=80, pictures=True)
    gallery = run.gallery
    samples = run.samples.set_index(["attack", "defense", "sample"])
    assert set(gallery.stratum) == {
        "missed",
        "caught",
        "rectified",
        "failed",
        "wrong-before",
        "false-alarm",
        "wrong",
    } & set(gallery.stratum)
    assert {"missed", "caught", "failed"} <= set(gallery[gallery.defense == "mahalanobis"].stratum)
    for row in gallery[gallery.attack == "fgsm"].itertuples():
        sample = samples.loc[("fgsm", row.defense, row.sample)]
        assert (row.y, row.label, row.base_label) == (sample.y, sample.label, sample.base_label)
        assert row.score is sample.score or row.score == sample.score
        assert row.size == sample.perturbation
        for name in (row.clean, row.adversarial, row.perturbation):
            assert (run.path / "images" / name).is_file()
        assert row.clean != row.adversarial
    site = site_of(run)
    cards = [card for page in site.cells for card in page.all("li") if card.get("class") == "card"]
    assert len(cards) == len(gallery)
    sections = [s for page in site.cells for s in page.all("section") if s.get("data-stratum")]
    counts = gallery.groupby(["attack", "defense", "stratum"]).stratum_n.first()
    assert sorted(int(s.get("data-count")) for s in sections) == sorted(counts.tolist())


def test_the_same_images_are_chosen_again(make_run):
    runs = [make_run(name, models=("mlp",), attacks=("fgsm",), n=60, pictures=True) for name in ("one", "two")]
    assert runs[0].gallery.equals(runs[1].gallery)


def test_a_damaged_gallery_is_one_clear_message(make_run, site_of):
    from benchmark import InputError

    run = make_run(models=("mlp",), attacks=("fgsm",), n=60, pictures=True)
    run.gallery = run.gallery.assign(clean="../../secret.png")
    with pytest.raises(InputError, match=r"images' is damaged \(a table there names"):
        site_of(run)
    again = make_run("again", models=("mlp",), attacks=("fgsm",), n=60, pictures=True)
    (again.path / "images" / again.gallery.clean.iloc[0]).unlink()
    with pytest.raises(InputError, match="is missing"):
        site_of(again)


def test_a_run_without_images_has_no_gallery(make_run, site_of):
    site = site_of(make_run(models=("mlp",), attacks=("fgsm",), n=60))
    assert not any(page.get("data-stratum") for cell in site.cells for page in cell.all("section"))
    assert not (site.folder / "images").exists()


# -- panels ------------------------------------------------------------------------------------------------------------


class Hostile(Panel):
    title = HOSTILE

    def of_image(self, image):
        return [
            Picture("clean", HOSTILE, (Box(HOSTILE, 0.1, 0.2, 0.6, 0.7, "good"),)),
            Bars(HOSTILE, (Bar(HOSTILE, 0.5, HOSTILE, True), Bar("beyond", 7.0, "7"))),
            Facts(((HOSTILE, f"{image.use} {image.class_names[image.y]}"),)),
        ]


class Broken(Panel):
    title = "Broken"

    def of_image(self, image):
        raise RuntimeError("no parts today")


def test_panels_are_drawn_and_escaped(make_run, site_of):
    run = make_run(models=("mlp",), attacks=("fgsm",), defenses=("none",), detectors=(), n=60, pictures=True)
    site = site_of(run, panels=[Hostile(), Broken()])
    panels = [d for page in site.cells for d in page.all("details") if "panel" in d.get("class").split()]
    assert panels
    for first, second in zip(panels[::2], panels[1::2]):
        assert next(first.all("summary")).text == HOSTILE
        boxes = [r for r in first.all("rect") if r.get("class") == "good"]
        assert [boxes[0].get(a) for a in ("x", "y", "width", "height")] == ["0.1000", "0.2000", "0.5000", "0.5000"]
        assert not list(first.all("script"))
        assert "none " in first.text
        fills = [r.get("width") for r in first.all("rect") if r.get("class") == "fill"]
        assert fills == ["50.00", "100.00"]
        assert "RuntimeError: no parts today" in second.text


class Plotter(Panel):
    title = HOSTILE

    def of_image(self, image):
        return ()

    def points(self, use, cell):
        score = cell.clean.score
        return {} if score is None else {HOSTILE: (np.arange(4.0), score[:4])}

    def of_cell(self, points, class_names):
        x, y = points[HOSTILE]
        dots = Series(HOSTILE, x, y), Series("far", [1.0, math.nan, 2.0], [math.inf, 1.0, 3.0])
        steps = Series(class_names[0], x, [0.25] * len(x))
        return [
            Plot(HOSTILE, HOSTILE, "across", "up", dots),
            Plot("Histogram", "of four", HOSTILE, "share", (steps,), "steps"),
            Plot("Nothing", "to see", "x", "y", (Series("none", [], []),)),
        ]


class Torn(Plotter):
    title = "Torn"

    def of_cell(self, points, class_names):
        raise RuntimeError("no points today")


def test_plots_of_a_cell_are_drawn_and_escaped(make_run, site_of):
    panels = [Plotter(), Torn(), Hostile()]
    run = make_run(models=("mlp",), attacks=("fgsm",), panels=panels)
    curves = run.curves[(run.curves.curve == f"{HOSTILE}: {HOSTILE}") & (run.curves.attack == "fgsm")]
    assert curves.defense.unique().tolist() == ["mahalanobis"]
    site = site_of(run, panels=panels)
    pages = [page for page in site.cells if any(f.get("data-chart") == "dots" for f in page.all("figure"))]
    assert len(pages) == 2  # of the clean and of the attacked images of the only defense with scores
    for page in pages:
        figures = [f for f in page.all("figure") if f.get("data-chart") in ("dots", "steps")]
        assert [f.get("data-chart") for f in figures] == ["dots", "steps"]
        dots, steps = (f.drawn()["points"] for f in figures)
        assert [point["y"] for point in dots[:4]] == pytest.approx(curves.y.tolist(), rel=5e-4)
        assert [(point["series"], point["x"], point["y"]) for point in dots[4:]] == [("far", 2.0, 3.0)]
        assert (dots[0]["xt"], dots[0]["yt"]) == ("across", "up")
        assert (steps[0]["xt"], steps[0]["series"], len(steps)) == (HOSTILE, "0", 4)
        rows = [[cell.text for cell in row.all("td")] for row in next(figures[0].all("tbody")).all("tr")]
        assert len(rows) == 2  # of dots, a line per series
        assert rows[0][:2] == [HOSTILE, "4"]
        assert rows[1] == ["far", "1", "2 ± 0", "3 ± 0"]
        assert HOSTILE in [heading.text for heading in page.all("h2")]
        assert "RuntimeError: no points today" in page.text
        assert any(script.get("src").endswith("vega.js") for script in page.all("script"))


def test_data_in_a_script_element_cannot_close_it():
    text = script_data({"name": HOSTILE, "comment": "<!-- -->"})
    assert not set("<>&") & set(text)
    assert json.loads(text)["name"] == HOSTILE


# -- pages -------------------------------------------------------------------------------------------------------------


@given(st.text(max_size=300), st.text(max_size=300))
def test_file_names_are_safe_and_apart(one, other):
    names = [file_name("cells", (text,), "r1", text) for text in (one, other)]
    for name in names:
        folder, _, rest = name.partition("/")
        assert folder == "cells"
        assert len(rest) < 80
        assert set(rest) <= set("abcdefghijklmnopqrstuvwxyz0123456789-.")
        assert rest.count(".") == 1
    assert (names[0] == names[1]) == (one == other)


def test_links_lead_from_page_to_page():
    assert Links("cells/a.html").to("cells/b.html") == "../cells/b.html"
    assert Links("cells/a.html").to("index.html", "x") == "../index.html#x"
    assert Links("index.html").to("index.html", "x") == "#x"
    assert Links("index.html", single=True).to("cells/b.html") == "#page-cells-b"


def test_a_cell_page_has_all_measures_of_the_cell(make_run, site_of):
    run = make_run(models=("mlp",))
    frame = run.metrics.set_index(["attack", "defense", "knowledge", "metric"])
    seen = 0
    for page in site_of(run).cells:
        table = table_of(page, "cell")
        where = tuple(table.get(f"data-{name}") for name in ("attack", "defense", "knowledge"))
        for row in table.all("tr"):
            if metric := row.get("data-metric"):
                wanted = frame.loc[(*where, metric)]
                assert float(row.get("data-value")) == pytest.approx(wanted.value, rel=1e-5)
                assert float(row.get("data-low")) == pytest.approx(wanted.ci_low, rel=1e-5, abs=1e-9)
                assert int(row.get("data-n")) == wanted.n
                seen += 1
    assert seen == len(frame)


def test_runs_are_paired_image_by_image(make_run, page_of):
    from benchmark.statistics import compare_paired

    runs = [make_run("first", models=("mlp",)), make_run("second", models=("mlp",), strength=0.2, draw=1)]
    page = page_of(*runs)
    (row,) = [
        row
        for row in table_of(page, "compare").all("tr")
        if (row.get("data-defense"), row.get("data-attack"), row.get("data-metric"))
        == ("none", "fgsm", "robust_accuracy")
    ]
    right = []
    for run in runs:
        mine = run.samples[(run.samples.defense == "none") & (run.samples.attack == "fgsm")].set_index("sample")
        right.append((mine.y == mine.label).astype(float).sort_index().to_numpy())
    wanted = compare_paired(right[1], right[0])
    (small,) = [s for s in row.all("small") if s.get("data-difference")]
    found = [float(small.get(f"data-{name}")) for name in ("difference", "low", "high", "p")]
    assert found == pytest.approx([wanted.difference, wanted.low, wanted.high, wanted.p_value], rel=1e-5, abs=1e-9)


def paired_of(page, defense, attack, metric):
    """Return the numbers of the pairing in a row of the comparison, and the text of the row."""
    (row,) = [
        row
        for row in table_of(page, "compare").all("tr")
        if (row.get("data-defense"), row.get("data-attack"), row.get("data-metric")) == (defense, attack, metric)
    ]
    found = [
        {name: float(small.get(f"data-{name}")) for name in ("difference", "low", "high", "p", "n", "seeds")}
        for small in row.all("small")
        if small.get("data-difference")
    ]
    return (found[0] if found else None), row.text


def test_runs_of_several_seeds_are_compared_over_seeds_and_images(make_run, page_of):
    from benchmark.statistics import compare_over_seeds

    about = {"models": ("mlp",), "attacks": ("fgsm", "pgd-l2"), "seeds": (0, 1, 2), "n": 90}
    runs = [make_run("first", **about), make_run("second", **about, strength=0.2, draw=1)]
    page = page_of(*runs)

    def held(run, attacks, joint):
        mine = run.samples[(run.samples.defense == "mahalanobis") & run.samples.attack.isin(attacks)]
        good = (mine.y == mine.label) | (mine.flagged.astype(bool) if joint else False)
        return good.astype(float).groupby([mine["sample"], mine.seed]).min().unstack()  # (image, seed)

    for attack, attacks, metric in (
        ("fgsm", ["fgsm"], "robust_accuracy"),
        ("fgsm", ["fgsm"], "joint_robust_accuracy"),
        ("worst-of: all attacks", ["fgsm", "pgd-l2"], "worst_case_robust_accuracy"),
    ):
        one, two = (held(run, attacks, "joint" in metric) for run in runs)
        wanted = compare_over_seeds(two.to_numpy().T, one.to_numpy().T)
        found, text = paired_of(page, "mahalanobis", attack, metric)
        assert found == pytest.approx(
            {
                "difference": wanted.difference, "low": wanted.low, "high": wanted.high, "p": wanted.p_value,
                "n": 90, "seeds": 3,
            },
            rel=1e-5, abs=1e-9,
        )  # fmt: skip
        by_seed = (two - one).mean()
        assert "90 images under 3 seeds each: 270 pairs, of 90 different images" in text
        ends = [difference_text(value, "rate") for value in (by_seed.min(), by_seed.max())]
        assert f"by seed {ends[0]} to {ends[1]}" in text


def test_runs_of_other_seeds_are_not_paired_and_say_so(make_run, page_of):
    about = {"models": ("mlp",), "attacks": ("fgsm",), "n": 60}
    page = page_of(make_run("first", **about, seeds=(0, 1)), make_run("second", **about, seeds=(0, 2), draw=1))
    found, text = paired_of(page, "none", "fgsm", "robust_accuracy")
    assert found is None
    assert "not paired: seeds 0, 1 and 0, 2" in text


def test_published_numbers_stand_in_the_layout_of_their_table(make_run, page_of):
    published = {
        ("none", "fgsm"): 0.05,
        ("none", "pgd-linf"): 0.9,
        ("mahalanobis", "fgsm"): 0.1,
        ("mahalanobis", "pgd-linf"): 0.2,
    }
    rows = [
        {"defense": d, "attack": a, "knowledge": "gray-box", "metric": "robust_accuracy", "value": value}
        for (d, a), value in published.items()
    ] + [{"defense": "none", "attack": "none", "metric": "clean_accuracy", "value": 0.99}]
    run = make_run(
        models=("mlp",),
        reference={(d, a, "robust_accuracy"): v for (d, a), v in published.items()},
        suite={"reference": {"rows": rows}},
    )
    page = page_of(run)
    table = table_of(page, "published")
    assert [head.get("data-label") for head in table.all("th") if head.get("data-label")] == [
        "fgsm",
        "pgd-linf",
        "clean",
    ]
    assert [head.text for head in table.all("th") if head.get("scope") == "row"] == ["none", "mahalanobis"]
    frame = run.metrics[run.metrics.metric == "robust_accuracy"].set_index(["defense", "attack"])
    cells = [cell for cell in table.all("td") if cell.get("data-published")]
    for cell, ((defense, attack), value) in zip([cells[0], cells[1], *cells[3:]], published.items()):
        row = frame.loc[(defense, attack)]
        assert float(cell.get("data-published")) == value
        assert float(cell.get("data-value")) == pytest.approx(row.value, rel=1e-5)
        told = row.ci_low <= value <= row.ci_high and row.ci_high - row.ci_low <= 0.1
        assert ("inside" in cell.get("class").split()) == told
    said = page.one("ul", **{"class": "findings"}).text
    assert "Published 90.0, measured" in said
    assert "Of 4 published values, each counted once: " in said


def test_what_the_network_does_alone_is_one_published_value_whatever_the_defenses(make_run, page_of):
    defenses = ("none", "mahalanobis")
    reference = {(defense, "fgsm", "base_robust_accuracy"): 2.0 for defense in defenses}
    run = make_run(models=("mlp",), defenses=defenses, reference=reference)
    run.metrics.loc[run.metrics.metric == "base_robust_accuracy", "value"] = 0.5
    rows = [{"attack": "fgsm", "metric": "base_robust_accuracy", "value": 2.0}]
    run.suite["reference"] = {"rows": rows}
    said = page_of(run).one("ul", **{"class": "findings"}).text
    assert "Of 1 published value, each counted once: 1 lie outside the 95 % interval." in said
    assert said.count("Published 200.0, measured") == 1


def test_papers_are_cited(make_run, page_of):
    entries = ["@article{one, title = {<b>}}", "@article{two}\n@article{one, title = {<b>}}", "@article{two}"]
    page = page_of(make_run(models=("mlp",), attacks=("fgsm",), manifest={"citations": entries}))
    (pre,) = [element for element in page.all("pre") if element.get("class") == "bibtex"]
    assert pre.text == "@article{one, title = {<b>}}\n\n@article{two}"


def sheet_images(run, row):
    """Return the images of a sheet in their order, (n, height, width)."""
    pixels = np.asarray(Image.open(io.BytesIO(run.image(row.file))))
    rows = pixels.reshape(-1, row.height, row.columns, row.width).swapaxes(1, 2)
    return rows.reshape(-1, row.height, row.width)


def test_all_images_lie_in_sheets(make_run):
    run = make_run(models=("mlp",), attacks=("fgsm", "pgd-l2"), n=300, pictures=True)
    clean = run.sheets[run.sheets.attack == ""]
    names = [name for listed in clean.samples for name in json.loads(listed)]
    assert names == run.samples[run.samples.attack == "none"]["sample"].unique().tolist()
    assert len(clean) == 2  # no more than 256 on one
    before = np.concatenate([sheet_images(run, row) for row in clean.itertuples()])[:300]
    for (attack, defense), rows in run.sheets[run.sheets.attack != ""].groupby(["attack", "defense"]):
        after = np.concatenate([sheet_images(run, row) for row in rows.itertuples()])[:300]
        change = np.abs(after.astype(int) - before).max((1, 2))
        assert 0 < change.max() <= 26, (attack, defense)  # the drawn change is a tenth of the range
        for row in run.gallery[(run.gallery.attack == attack) & (run.gallery.defense == defense)].itertuples():
            alone = np.asarray(Image.open(io.BytesIO(run.image(row.adversarial))))
            assert (after[names.index(row.sample)] == alone).all()


def test_of_too_many_images_the_same_ones_are_kept_for_each_attack(tmp_path):
    from benchmark.cells import CellResult
    from benchmark.results.gallery import FEWEST, Gallery

    images = np.random.default_rng(0).random((40, 1, 8, 8)).astype(np.float32)
    y = np.zeros(40, dtype=int)
    names = [f"{number}.png" for number in range(40)]
    gallery = Gallery(tmp_path, cells=1, crafted=10**9)
    about = {"dataset": "d", "model": "m", "attack": "none", "defense": "none", "knowledge": "", "seed": 0}
    cell = Cell(y, Answers(y, y, None, None, {"why": np.arange(40.0)}))
    result = CellResult(**about, norm="", eps="", status="ok", reason="", cell=cell, sample_ids=names, details={})
    gallery.add(0, result, images.__getitem__, None, None)
    gallery.close()
    (row,) = pd.read_parquet(tmp_path / "images" / "sheets.parquet").itertuples()
    kept = json.loads(row.samples)
    assert len(kept) == FEWEST
    assert kept == [name for name in names if name in kept]
    told = pd.read_parquet(tmp_path / "images" / "details.parquet")
    assert told["sample"].tolist() == kept
    assert [json.loads(text)["why"] for text in told.details] == [float(name.removesuffix(".png")) for name in kept]
    pixels = np.asarray(Image.open(tmp_path / "images" / row.file))
    tile = pixels[: row.height, row.width : 2 * row.width]
    assert (tile == np.rint(images[names.index(kept[1]), 0] * 255)).all()


def test_which_images_are_kept_does_not_hang_on_the_order_of_cells(tmp_path):
    """Where one can be read no more, it is left out of the sheets of all cells; the cells that would show it say so."""
    from benchmark.cells import CellResult
    from benchmark.errors import InputError
    from benchmark.results.gallery import Gallery

    pixels, lost = np.random.default_rng(0).random((12, 1, 8, 8)).astype(np.float32), 3
    names = [f"{number}.png" for number in range(12)]

    def images(indices):
        if lost in indices:
            raise InputError("3.png is gone.")
        return pixels[indices]

    y, results = np.zeros(12, dtype=int), []
    for model, wrong in (("shows-it", lost), ("does-not", 5)):
        labels = y.copy()
        labels[wrong] = 1
        about = {"dataset": "d", "model": model, "attack": "none", "defense": "none", "knowledge": "", "seed": 0}
        cell = Cell(y, Answers(labels, labels, None, None, {}))
        results.append(
            CellResult(**about, norm="", eps="", status="ok", reason="", cell=cell, sample_ids=names, details={})
        )
    found = []
    for order in ((0, 1), (1, 0)):
        folder = tmp_path / f"{order}"
        gallery, told = Gallery(folder, cells=2, crafted=1), []
        for number in order:
            try:
                gallery.add(number, results[number], images, None, None)
            except InputError as error:
                told.append((results[number].model, str(error)))
        gallery.close()
        assert told == [("shows-it", "3.png is gone.")]
        found.append({path.name: path.read_bytes() for path in (folder / "images").iterdir()})
    assert found[0] == found[1]
    (row,) = pd.read_parquet(tmp_path / "(0, 1)" / "images" / "sheets.parquet").itertuples()
    assert json.loads(row.samples) == [name for name in names if name != "3.png"]


# -- detectors ---------------------------------------------------------------------------------------------------------


def test_a_detector_is_shown_by_its_worst_case_and_by_what_its_claim_implies(make_run, site_of):
    run = make_run(
        models=("mlp",), attacks=("fgsm", "pgd", "small"), defenses=("adversarial-training", "mahalanobis"), n=200,
        budgets=(("linf", "8/255", 8 / 255), ("linf", "8/255", 8 / 255), ("linf", "4/255", 4 / 255)),
        flags=lambda attack, defense, knowledge: 0.05 if attack == "none" else 0.9,
    )  # fmt: skip
    site = site_of(run)
    frame = run.metrics.set_index(["attack", "defense", "metric"]).value
    (setting,) = site.settings
    group = "worst-of: linf 8/255"
    table = table_of(setting, "worst-detector")
    names = [head.get("data-metric") for head in table.all("th") if head.get("data-metric")]
    assert names == [f"worst_case_{name}" for name in ("auroc", "tpr", "fpr", "tpr_at_5fpr", "fpr_at_95tpr")]
    (row,) = (row for row in table.all("tr") if row.get("data-attack") == group)
    shown = [float(cell.get("data-value")) for cell in row.all("td") if "data-value" in cell.attributes]
    assert shown == pytest.approx([frame[group, "mahalanobis", name] for name in names], rel=1e-5)
    implied = table_of(setting, "implied")
    assert "mahalanobis" in implied.text
    assert "adversarial-training" not in implied.text
    # On its page what the claim amounts to, beside what a hardened network of the run keeps at half the budget.
    tables = [(table_of(page, "cell"), page) for page in site.cells]
    pages = {(table.get("data-attack"), table.get("data-defense")): page for table, page in tables}
    text = " ".join(pages[group, "mahalanobis"].one("main").text.split())
    claimed = 100 * frame[group, "mahalanobis", "worst_case_implied_robust_accuracy"]
    kept = 100 * frame["small", "adversarial-training", "robust_accuracy"]
    assert f"implies a classifier that keeps {claimed:.1f} %" in text
    assert "half of that budget (L∞, ε = 8/255 / 2)" in text
    assert f"adversarial-training, keeps there ≤ {kept:.1f} %" in text
    # At other budgets the run has no such number, and nothing is compared; a hardened network claims nothing.
    other = pages["small", "mahalanobis"].one("main").text
    assert "implies a classifier" in other
    assert "hardened network" not in other
    assert "implies a classifier" not in pages[group, "adversarial-training"].one("main").text


@pytest.mark.parametrize(
    ("least", "most"), [(50_000, 50_200), (1234, 1236), (0.9999, 0.99999), (-10_003, -10_001), (0, 1)]
)
def test_a_chart_tells_points_apart_however_far_from_zero_they_lie(least, most):
    places = np.linspace(least, most, 401)
    series = Series("a", places[:200], places[:200]), Series("b", places[200:], places[200:])
    for mark in ("dots", "steps"):
        drawn = plot_chart(Plot("title", "how", "across", "up", series, mark=mark)).data["points"]
        for axis in ("x", "y"):
            found = np.array([row[axis] for row in drawn])
            assert np.abs(found - places).max() <= (most - least) / 1000
            assert max(len(repr(place)) for place in found.tolist()) < 12


def test_steps_with_several_points_at_one_x_lose_none_in_the_table_of_numbers():
    series = Series("a", [1.0, 1.0, 2.0], [0.25, 0.5, 0.75]), Series("b", [2.0], [1.0])
    chart = plot_chart(Plot("title", "how", "across", "up", series, mark="steps"))
    assert chart is not None
    assert len(chart.data["points"]) == 4
    assert [[cell.count("0.") for cell in row[1:]] for row in chart.rows] == [[2, 0], [1, 0]]
    assert chart.rows[1][2]


def test_of_a_large_grid_the_first_kind_alone_has_an_image_without_scripts(make_run, site_of):
    """Others are a line: where a page has an image per kind, those of 160 cells are a megabyte."""

    def most(attacks):
        """Return of how many kinds a page shows images, at most."""
        run = make_run(f"{attacks}", models=("mlp",), attacks=[f"a{n}" for n in range(attacks)], n=50, pictures=True)
        return max(len([s for s in page.all("section") if s.get("data-stratum")]) for page in site_of(run).cells)

    assert most(2) > 2  # of 9 cells
    assert most(40) == 1  # of 123
