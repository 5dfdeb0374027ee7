"""Charts as files, measures of other plugins, and thresholds that change labels, on the pages that readers get."""

from __future__ import annotations

import base64
import json
import re
import xml.etree.ElementTree as ET
from collections import Counter
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest

from bench_report import render
from bench_report.charts.specs import DESCRIPTIONS
from bench_report.values import ChartView
from benchmark import Reporter, hookimpl
from benchmark.metrics.metric import Metric

pytestmark = pytest.mark.pictures

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = "</title><script>alert(1)</script>\u202e'\"&\x01"


def pictured(page):
    """Return the addresses of the chart files that a page links."""
    return [link.get("href") for link in page.all("a") if "data-svg" in link.attributes]


def charts(page):
    return [figure for figure in page.all("figure") if figure.get("data-chart")]


# -- charts as files ---------------------------------------------------------------------------------------------------


@pytest.fixture
def small(make_run):
    return make_run(models=("mlp",), attacks=("fgsm",), defenses=("none", "mahalanobis"), n=60)


def test_charts_are_files_that_need_nothing_beside_them(small, site_of):
    site = site_of(small)
    files = sorted((site.folder / "charts").iterdir())
    linked = [path for page in site.pages for path in pictured(page)]
    assert sorted(path.removeprefix("../").removeprefix("charts/") for path in linked) == [path.name for path in files]
    assert len(linked) == sum(len(charts(page)) for page in site.pages)
    assert {"roc", "scores"} <= {path.stem.rpartition("-")[2] for path in files}
    for path in files:
        text = path.read_text(encoding="utf-8")
        assert "var(" not in text
        picture = ET.fromstring(text)
        assert picture.tag == f"{SVG}svg"
        assert not [e for e in picture.iter() if any(name.endswith("href") for name in e.attrib)]
        # Dark words on a page of its own colour, also where the viewer is dark.
        assert next(e for e in picture.iter(f"{SVG}rect")).get("fill") == "#ffffff"
        assert any(e.text for e in picture.iter(f"{SVG}text"))
    for page in site.pages:
        shown = [image.get("src") for figure in charts(page) for image in figure.one("noscript").all("img")]
        assert shown == pictured(page)


def test_the_drawn_curve_is_that_of_the_run(small, site_of):
    site = site_of(small)
    (path,) = (site.folder / "charts").glob("cells-*-roc.svg")
    picture = ET.parse(path)
    drawn = max((e.get("d", "") for e in picture.iter(f"{SVG}path")), key=lambda d: d.count("L"))
    corners = np.array([pair.split(",") for pair in drawn.removeprefix("M").split("L")], dtype=float)
    curve = small.curves[small.curves.curve == "roc"]
    width, height = (DESCRIPTIONS["roc"][side] for side in ("width", "height"))
    wanted = np.stack([curve.x * width, height - curve.y * height], axis=1)
    # Its corners are points of the run's, and the others lie on the way from one to the next, along an axis.
    assert np.abs(corners[:, None] - wanted[None]).max(2).min(1).max() < 0.05
    assert 2 < len(corners) < len(wanted)
    start, end = np.minimum(corners[:-1], corners[1:]), np.maximum(corners[:-1], corners[1:])
    inside = (wanted[:, None] >= start - 0.05) & (wanted[:, None] <= end + 0.05)
    assert inside.all(2).any(1).all()


def test_a_single_file_holds_its_charts(small, tmp_path, parse):
    page = parse(render.HtmlReporter().write([small], tmp_path / "x", single_file=True).read_text(encoding="utf-8"))
    links = pictured(page)
    assert len(links) == len(charts(page)) >= 2
    for link in links:
        kind, _, content = link.partition(",")
        assert kind == "data:image/svg+xml;base64"
        assert ET.fromstring(base64.b64decode(content)).tag == f"{SVG}svg"


def test_pages_say_where_no_more_charts_are_files(make_run, site_of):
    site, most = site_of(make_run()), render.MOST_PICTURES
    assert len(list((site.folder / "charts").iterdir())) == most
    assert sum(len(pictured(page)) for page in site.pages) == most
    said = [p for page in site.pages for p in page.all("p") if f"only the first {most} charts" in p.text]
    assert len(said) + most == sum(len(charts(page)) for page in site.pages)
    assert said
    assert f"The first {most} charts are files" in site.index.text


def test_the_same_run_gives_the_same_charts(small, tmp_path):
    folders = [render.HtmlReporter().write([small], tmp_path / name).parent / "charts" for name in ("one", "two")]
    for one, two in zip(*(sorted(folder.iterdir()) for folder in folders), strict=True):
        assert (one.name, one.read_bytes()) == (two.name, two.read_bytes())


def test_names_in_a_chart_are_text():
    def view(end):
        rows = [{"series": name, "x": x, "y": x, "xt": "", "yt": ""} for name in ("clean", HOSTILE) for x in (0.0, end)]
        return ChartView("dots", "", "", {"points": rows}, (), ())

    drawing = render._Pictures()
    first, second, again = (drawing.draw(view(end), "page-cells-x-s1") for end in (1.0, 2.0, 1.0))
    assert first is not None
    assert second is not None
    assert again == first
    assert (first[0], second[0]) == ("cells-x-s1-dots.svg", "cells-x-s1-dots-2.svg")
    picture = ET.fromstring(first[1])
    assert not list(picture.iter(f"{SVG}script"))
    assert any("<script>" in (e.text or "") for e in picture.iter(f"{SVG}text"))


# -- measures of other plugins -----------------------------------------------------------------------------------------


class Stubborn(Metric):
    """Share of images that are <b>stubborn</b>
    all along.

    Not said."""

    title: ClassVar[str] = "Stubborn <i>images</i>"
    scope = "attack"
    better = "low"

    def compute(self, cells):
        return None


class Undescribed(Stubborn):
    title = "Undescribed"
    unit = "count"


def test_a_measure_of_a_plugin_has_its_unit_title_and_meaning(make_run, tmp_path, parse):
    run = make_run(models=("mlp",), attacks=("fgsm",), defenses=("none",), detectors=(), n=60)
    frame = run.metrics
    rows = frame[(frame.metric == "robust_accuracy") & (frame.attack == "fgsm")]
    extra = [rows.assign(metric=name, value=0.25, ci_low=0.2, ci_high=0.3) for name in ("stubborn", "unknown")]
    extra.append(rows.assign(metric="undescribed", value=3.0, ci_low=3.0, ci_high=3.0))
    run.metrics = pd.concat([frame, *extra], ignore_index=True)
    reporter = render.HtmlReporter()
    reporter.measures = {"stubborn": Stubborn, "undescribed": Undescribed}
    folder = reporter.write([run], tmp_path / "report").parent
    page = parse(next(folder.glob("cells/fgsm-none-*.html")).read_text(encoding="utf-8"))
    rows_of = {row.get("data-metric"): row.text for row in page.one("table", data_table="cell").all("tr")}
    assert "Stubborn <i>images</i>25.0 %20.0–30.0" in rows_of["stubborn"]
    assert "unknown0.250.2–0.3" in rows_of["unknown"]
    assert rows_of["undescribed"].startswith("Undescribed3")
    setting = parse(next(folder.glob("settings/*.html")).read_text(encoding="utf-8"))
    heads = {head.get("data-metric"): head.text for head in setting.one("table", data_table="others").all("th")}
    assert heads["stubborn"] == "Stubborn <i>images</i>, %"
    assert heads["unknown"] == "unknown"
    glossary = parse((folder / "index.html").read_text(encoding="utf-8")).one("section", id="measures")
    assert "are <b>stubborn</b> all along." in glossary.text
    assert "Not said" not in glossary.text


def test_the_host_tells_the_report_the_measures(make_run, tmp_path):
    from benchmark.plugins import Provenance, load_plugins
    from benchmark.reporting import write_reports

    told = []

    class Listening(Reporter):
        """Writes nothing, and keeps what it was told."""

        def write(self, runs, folder, *, single_file=False):
            told.append(self.measures)
            return folder

        def clear(self, folder):
            pass

    class Listener:
        @hookimpl
        def register_reporters(self, register):
            register("listening", Listening)

    registry = load_plugins()
    registry.add_module("listener", Listener(), Provenance("listener", "", "0"))
    run = make_run(models=("mlp",), attacks=("fgsm",), n=40)
    write_reports(registry, [run.path], tmp_path / "report")
    assert told[0]["robust_accuracy"].title == "Robust accuracy"
    assert told[0]["parts_tied"].unit == "rate"


# -- thresholds that change labels -------------------------------------------------------------------------------------


def test_a_defense_that_relabels_what_it_flags_gives_no_wrong_number(make_run, site_of):
    run = make_run(models=("mlp",), attacks=("fgsm",), defenses=("none", "mahalanobis"), n=80)
    samples = run.samples
    flagged = (samples.defense == "mahalanobis") & samples.flagged.fillna(False).astype(bool)
    wrong = (samples.y + 1) % 10
    # Flagged images get the right label of another class than the classifier gave; the others keep the classifier's.
    run.samples = samples.assign(
        label=samples.base_label.where(~flagged, samples.y), base_label=samples.base_label.where(~flagged, wrong)
    )
    page = next(page for page in site_of(run).cells if "mahalanobis against fgsm" in page.one("h1").text)
    numbers = json.loads(next(e.text for e in page.all("script") if "data-threshold" in e.attributes))
    at = numbers["operating"]
    assert None not in numbers["withstood"][: at + 1] + numbers["kept"][: at + 1]
    assert numbers["withstood"][-1] is None
    assert None not in numbers["caught"] + numbers["alarms"]
    assert "the joint accuracies are not known" in page.text


# -- landmarks ---------------------------------------------------------------------------------------------------------


def landmarks(page):
    """Yield role and name of the landmarks of a page, as a screen reader lists them once all is opened."""
    named = {e.get("id"): e for e in page.all() if e.get("id")}
    for e in page.all():
        own = e.get("aria-label")
        labels = [own if named[one] is e else named[one].text for one in e.get("aria-labelledby").split()] or [own]
        name = " ".join(" ".join(labels).split())
        role = "region" if e.tag == "section" and name else e.get("role") or e.tag
        if role in ("region", "nav", "main"):
            yield role, name


def test_no_two_landmarks_of_a_page_have_one_name(make_run, site_of):
    def some(dataset, model, attack, defense, seed):
        return "out of luck" if (attack, defense) == ("fgsm", "mahalanobis") else ""

    about = {"attacks": ("fgsm", "pgd-l2"), "seeds": (0, 1), "n": 24, "failed": some}
    runs = [make_run("one", **about, pictures=True), make_run("two", **about, draw=1)]
    for chosen in (runs[:1], runs):
        for page in site_of(*chosen).pages:
            found = Counter(landmarks(page))
            assert len(found) > 2
            assert max(found.values()) == 1, [landmark for landmark, count in found.items() if count > 1]


# -- papers ------------------------------------------------------------------------------------------------------------


def test_built_in_parts_cite_papers_in_bibtex_and_the_same_paper_in_the_same_words():
    from benchmark.plugins import load_plugins

    registry = load_plugins()
    entries = {}
    for kind in ("dataset", "model", "attack", "defense"):
        for part in registry.all(kind):
            for entry in filter(None, re.split(r"^(?=@)", part.cite, flags=re.M)):
                head = re.match(r"@(inproceedings|article|misc)\{([a-z]+\d{4}[a-z]+),\n", entry)
                assert head, (part.name, entry)
                fields = re.findall(r"^  (\w+) = \{", entry, flags=re.M)
                assert {"title", "author", "year"} <= set(fields), part.name
                assert entry.count("{") == entry.count("}")
                assert entries.setdefault(head[2], entry.strip()) == entry.strip(), head[2]
            # What names a paper by authors and year in its summary has its reference.
            assert part.cite or not re.search(r"\w+ (et al\.|and \w+),? \d{4}", part.summary), part.name
    assert len(entries) >= 20
