"""Images of a run on its pages, and what panels of plugins show beside them."""

from __future__ import annotations

import io
import json
import math

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from benchmark.cells import Answers, Cell
from benchmark.panel import Bar, Bars, Box, Facts, Panel, Picture, Plot, Series
from benchmark.results.gallery import strata

HOSTILE = "</script><script>alert(1)</script>\u202e'\"&"


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
    assert found == {"missed": [0], "caught": [1], "rectified": [2, 3], "misled": [], "failed": [4],
                     "wrong-before": [5], "false-alarm": [0]}  # fmt: skip
    wrong = Answers(y, np.array([1, 1, 0, 0, 0, 0]), np.zeros(6), clean.flagged)
    found = {name: np.flatnonzero(member).tolist() for name, member in strata(Cell(y, wrong)).items()}
    assert found == {"false-alarm": [0], "wrong": [1]}


def test_an_attack_on_the_whole_system_has_not_failed_where_the_classifier_alone_withstands_it():
    y = np.zeros(5, dtype=int)
    clean = Answers(y, y, np.zeros(5), np.zeros(5, dtype=bool))
    attacked = Answers(
        base_label=np.array([0, 0, 0, 1, 0]),
        label=np.array([1, 1, 0, 1, 0]),
        score=np.zeros(5),
        flagged=np.array([0, 1, 0, 0, 1], dtype=bool),
    )
    found = {name: np.flatnonzero(member).tolist() for name, member in strata(Cell(y, clean, attacked)).items()}
    assert found == {"missed": [3], "caught": [], "rectified": [], "misled": [0], "failed": [1, 2, 4],
                     "wrong-before": [], "false-alarm": []}  # fmt: skip
    needed_none = Answers(np.array([1, 0, 0, 0, 0]), y, np.zeros(5), np.zeros(5, dtype=bool))
    found = {name: np.flatnonzero(member).tolist() for name, member in strata(Cell(y, needed_none, attacked)).items()}
    assert (found["misled"], found["wrong-before"]) == ([], [0])


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
