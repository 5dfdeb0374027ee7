"""The report, read back from its HTML."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from importlib.resources import files
from itertools import pairwise, product
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench_report import measures, render, words
from bench_report.charts.vega import chart_svg
from bench_report.markup import printable
from benchmark import load_run
from benchmark.statistics import holm

IDENTITY = ("dataset", "model", "attack", "defense", "knowledge", "metric")
MATRICES = {family.key for family in measures.FAMILIES}

HOSTILE = [
    "<script>alert(1)</script>",
    "\"quoted\" 'twice' &amp; <b>",
    "../../etc/passwd",
    "\u202eright to left\u2066",
    "x" * 300,
    "🦔🏳️‍🌈",
    "'\" onmouseover=alert(1) x='",
    "]]><!--{{ 7 * 7 }}{% raw %}",
    "</title></style></table>",
    "javascript:alert(1)",
]


def shown(page, seed=""):
    """Yield (identity, cell) of every number in the tables of a page: those over all seeds, or those of one seed."""
    for table in page.all("table"):
        kind = table.get("data-table")
        if kind not in MATRICES | {"detector", "worst-detector", "others"} or table.get("data-seed") != seed:
            continue
        where = {name: table.get(f"data-{name}") for name in ("dataset", "model", "knowledge")}
        heads = [head for head in table.all("th") if head.get("data-metric")]
        for row in table.all("tr"):
            cells = [
                cell for cell in row.all("td") if "data-value" in cell.attributes or "data-status" in cell.attributes
            ]
            if not cells:
                continue
            assert len(cells) == len(heads)
            for head, cell in zip(heads, cells):
                if "data-value" in cell.attributes:
                    identity = where | {
                        "attack": head.get("data-attack") or row.get("data-attack"),
                        "defense": row.get("data-defense"),
                        "metric": head.get("data-metric"),
                    }
                    yield identity, cell


def n_of(cell):
    """Return the n of a cell, which stands on its row or its table where it is the same for all."""
    return next(int(element.get("data-n")) for element in (cell, *cell.ancestors()) if element.get("data-n"))


def seeds_of(page):
    return {table.get("data-seed") for table in page.all("table") if table.get("data-table") == "robust"}


def expected(frame, seed):
    rows = frame[(frame.status == "ok") & (frame.seed == seed)]
    return {tuple(getattr(row, name) for name in IDENTITY): row for row in rows.itertuples()}


def check_numbers(site, frame, seed="0"):
    """Every number on the pages of the settings is one of the tables, with its interval and n; so on the first page."""
    found = Counter()
    for page in site.settings:
        found += check_page(page, frame, seed)
    if frame.seed.nunique() <= 1:  # the first page shows means of several seeds
        for key, count in check_page(site.index, frame, seed).items():
            assert count == 1 or key[2] == "none", key
    return expected(frame, seed), found


def check_page(page, frame, seed):
    wanted = expected(frame, seed)
    found = Counter()
    for identity, cell in shown(page, seed if seed in seeds_of(page) else ""):
        key = tuple(identity[name] for name in IDENTITY)
        if key not in wanted and identity["attack"] == "none":
            key = tuple("" if name == "knowledge" else identity[name] for name in IDENTITY)
        row = wanted[key]
        found[key] += 1
        assert float(cell.get("data-value")) == pytest.approx(row.value, rel=1e-5)
        if not math.isnan(row.ci_low):
            assert float(cell.get("data-low")) == pytest.approx(row.ci_low, rel=1e-5, abs=1e-12)
            assert float(cell.get("data-high")) == pytest.approx(row.ci_high, rel=1e-5)
        assert n_of(cell) == row.n
        unit = measures.measure(row.metric).unit
        if unit in ("rate", "area"):
            scale, digits = (100, 1) if unit == "rate" else (1, 3)
            value, low, high = (f"{scale * number:.{digits}f}" for number in (row.value, row.ci_low, row.ci_high))
            assert cell.text.startswith(value)
            assert f"{low}–{high}" in cell.text
        assert words.number_text(row.value, unit) in cell.text
        if not math.isnan(row.reference):
            assert f"published {words.number_text(row.reference, unit)}" in cell.text
    return found


def check_document(page):
    """What every page keeps: only our own scripts, no requests, links that lead somewhere, tables to be read aloud."""
    tags = Counter(element.tag for element in page.all())
    assert not set(tags) & {"iframe", "object", "embed", "form", "base", "video", "dialog"}
    assert [tags[name] for name in ("html", "head", "body", "title", "header", "main", "footer", "h1")] == [1] * 8
    assert page.one("html").get("lang") == "en"
    for script in page.all("script"):
        assert re.fullmatch(r"(\.\./)?assets/(report|tables|samples|terms|vega|charts)\.js", script.get("src")) or (
            script.get("type") == "application/json" and json.loads(script.text) is not None
        )
    for image in page.all("img"):
        assert re.fullmatch(r"(\.\./)?(images/[0-9a-f]{20}\.png|charts/[a-z0-9-]{12,99}\.svg)", image.get("src"))
        assert image.get("alt")
    ids = Counter(element.get("id") for element in page.all() if "id" in element.attributes)
    assert max(ids.values()) == 1
    for element in page.all():
        assert not [
            name for name in element.attributes if name.startswith("on") or name in ("style", "srcset", "action")
        ]
        assert element.tag in ("script", "img") or "src" not in element.attributes
        assert element.tag in ("a", "link") or "href" not in element.attributes
        for name in ("aria-labelledby", "aria-describedby"):
            assert set(element.get(name).split()) <= set(ids)
    for link in page.all("a"):
        assert ADDRESS.fullmatch(link.get("href")), link.get("href")
        if link.get("href").startswith("#"):
            assert link.get("href")[1:] in ids
        assert link.text.strip() or any(link.all("img"))
    first = next(page.one("body").all("a"))
    assert first.get("href") == "#main"
    for table in page.all("table"):
        if table.get("class") != "verdicts":
            region = next(parent for parent in table.ancestors() if parent.get("role") == "region")
            assert region.get("tabindex") == "0"
            assert region.get("aria-label") or region.get("aria-labelledby")
        assert all(head.get("scope") in ("col", "row", "colgroup", "rowgroup") for head in table.all("th"))
    levels = [int(element.tag[1]) for element in page.all("h1", "h2", "h3", "h4")]
    assert all(after <= before + 1 for before, after in pairwise(levels))


def check_site(site):
    """Every page is a sound document, and every link leads to a file of the report."""
    for page in site.pages:
        check_document(page)
    for folder, pages in (("", [site.index]), ("settings", site.settings), ("cells", site.cells)):
        for page in pages:
            for link in page.all("a", "link", "script", "img"):
                address = (link.get("href") or link.get("src")).partition("#")[0]
                if address:
                    assert (site.folder / folder / address).is_file(), address


ADDRESS = re.compile(
    r"#[a-z0-9-]+|(\.\./)?(index\.html(#[a-z0-9-]+)?|(cells|settings)/[a-z0-9-]{12,64}\.html"
    r"|checklist\.(html|md)|images/[0-9a-f]{20}\.png|charts/[a-z0-9-]{12,99}\.svg|downloads/(run\d+-)?metrics\.(csv|parquet))"
)


def notices(page):
    return [item.text for item in page.all("li") if "notice" in item.get("class").split()]


def cell_at(page, table, defense, attack, model="small-cnn"):
    """Return the cell of a defense × attack table."""
    found = page.one("table", data_table=table, data_model=model, data_seed="")
    column = [head.get("data-attack") for head in found.all("th") if head.get("data-attack")].index(attack)
    return list(found.one("tr", data_defense=defense).all("td"))[column]


# -- numbers -----------------------------------------------------------------------------------------------------------


def test_every_number_of_the_tables_stands_on_the_page(make_run, site_of):
    run = make_run(reference={("none", "pgd-linf", "robust_accuracy"): 0.41})
    site = site_of(run)
    wanted, found = check_numbers(site, run.metrics)
    # The classifier alone is shown where it differs from the defended system.
    assert {key for key in wanted if key not in found} == {
        key for key in wanted if "base_" in key[-1] and key[3] != "mahalanobis"
    }
    assert max(found.values()) == 1
    check_site(site)


def test_the_published_value_stands_beside_the_measured_one(make_run, page_of):
    run = make_run(reference={("none", "pgd-linf", "robust_accuracy"): 0.41})
    cell = cell_at(page_of(run), "robust", "none", "pgd-linf")
    value = float(cell.get("data-value"))
    assert value < 0.41
    assert f"published 41.0 (−{100 * (0.41 - value):.1f})" in cell.text
    assert [float(e.get("data-reference")) for e in cell.all("small") if e.get("data-reference")] == [0.41]


def test_several_seeds_show_mean_and_spread(make_run, site_of):
    run = make_run(models=("mlp",), seeds=(0, 1, 2))
    site = site_of(run)
    frame = run.metrics
    names = ["dataset", "model", "attack", "defense", "metric"]
    by_seed = {key: rows.set_index("seed").value for key, rows in frame[frame.status == "ok"].groupby(names)}
    for identity, cell in (pair for page in site.settings for pair in shown(page)):
        rows = by_seed[tuple(identity[name] for name in names)]
        assert float(cell.get("data-value")) == pytest.approx(rows[["0", "1", "2"]].mean(), rel=1e-5)
        unit = measures.measure(identity["metric"]).unit
        if math.isinf(rows["mean"]):  # a median distance: in some seed most images were never wrong
            assert "∞" in cell.text
        else:
            assert f"sd {words.number_text(rows['std'], unit)}" in cell.text
    assert "sd: standard deviation between seeds" in site.index.one("main").text
    both = frame[frame.seed == "crossed"].set_index(["model", "attack", "defense", "metric"])
    table = next(t for page in site.cells for t in page.all("table") if t.get("data-attack") == "pgd-linf")
    about = tuple(table.get(f"data-{name}") for name in ("model", "attack", "defense"))
    crossed = {row.get("data-metric"): row for row in table.all("tr") if row.get("data-metric")}
    for metric, row in crossed.items():
        said = list(row.all("td"))[1].text
        unit = measures.measure(metric).unit
        known = both.loc[(*about, metric)] if (*about, metric) in both.index else None
        ends = () if known is None else (words.number_text(end, unit) for end in (known.ci_low, known.ci_high))
        assert said == "–".join(ends) if known is not None else said.endswith(" over seeds alone") or not said, metric
    assert crossed.keys() & set(frame[frame.seed == "crossed"].metric)
    for seed in ("0", "1", "2"):
        wanted, found = check_numbers(site, frame, seed)
        names = {"clean_accuracy", "robust_accuracy", "worst_case_robust_accuracy"}
        assert set(found) == {key for key in wanted if key[-1] in names}


def test_the_best_of_a_column_is_marked_in_words_where_the_test_tells_it_from_the_second(make_run, page_of):
    run = make_run()
    page = page_of(run)
    table = page.one("table", data_table="robust", data_model="small-cnn")
    columns = [
        (head.get("data-attack"), head.get("data-metric")) for head in table.all("th") if head.get("data-attack")
    ]
    pairs = run.comparisons[run.comparisons.model == "small-cnn"].set_index(
        ["attack", "metric", "defense_a", "defense_b"]
    )
    told = []
    for number, (attack, metric) in enumerate(columns):
        cells = {
            row.get("data-defense"): list(row.all("td"))[number] for row in table.all("tr") if row.get("data-defense")
        }
        first, second, _ = sorted(cells, key=lambda name: -float(cells[name].get("data-value")))
        if attack != "none" and first == "mahalanobis":  # nobody who knows it attacked it: an upper bound is never best
            assert not any("best" in cell.text for cell in cells.values())
            continue
        key = (attack, metric, first, second)
        told.append((cells, first, pairs.p_value[key if key in pairs.index else (attack, metric, second, first)]))
    for (cells, first, _), p in zip(told, holm([p for _, _, p in told])):
        for name, cell in cells.items():
            assert ("best" in cell.text) == (name == first and p <= 0.05)
    assert 0 < len(told) < len(columns)


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [(0.41249, "rate", "41.2"), (1.0, "rate", "100.0"), (0.98765, "area", "0.988"), (0.0301234, "distance", "0.03012"),
     (1234.0, "count", "1,234"), (-0.5, "number", "−0.5"), (1e-9, "number", "1e−09")],
)  # fmt: skip
def test_numbers_for_people(value, unit, text):
    assert words.number_text(value, unit) == text


def test_differences_carry_a_sign_unless_they_round_to_nothing():
    assert words.difference_text(-0.0204, "rate") == "−2.0"
    assert words.difference_text(0.0204, "rate") == "+2.0"
    assert words.difference_text(-0.0001, "rate") == "0.0"


def test_measures_that_are_shown_are_explained_and_no_others(make_run, page_of):
    run = make_run(defenses=("none", "adversarial-training"), detectors=())
    text = page_of(run).one("section", id="measures").text
    assert "robust_accuracy" in text
    assert "auroc" not in text


def test_a_measure_of_another_plugin_is_shown_under_its_name(make_run, site_of):
    run = make_run()
    frame = run.metrics
    extra = frame[frame.metric == "robust_accuracy"].assign(
        metric="my_measure", value=12.5, ci_low=math.nan, ci_high=math.nan
    )
    run.metrics = pd.concat([frame, extra], ignore_index=True)
    site = site_of(run)
    cells = [cell for page in site.settings for identity, cell in shown(page) if identity["metric"] == "my_measure"]
    assert len(cells) == len(extra)
    assert all(cell.text.startswith("12.5") for cell in cells)


# -- what is said first ------------------------------------------------------------------------------------------------


def test_the_header_says_what_was_run(make_run, page_of):
    page = page_of(make_run())
    header = page.one("main").text
    assert "3 defenses against 4 attacks on 2 models and 1 data set with 360 test images, 1 seed: 30 cells." in header
    assert "21 November 2025, 08:24 UTC, 1 min 22 s" in header
    assert "cpu: A processor, 2 cores" in header
    assert "Scans of handwritten digits" in header
    assert page.one("title").text == "Synthetic — which defense holds?"


def test_few_images_are_said_aloud(make_run, page_of):
    run = make_run(n=60)
    frame = run.metrics
    accuracies = frame[frame.metric.isin(["clean_accuracy", "robust_accuracy"])]
    widest = 100 * ((accuracies.ci_high - accuracies.ci_low) / 2).max()
    said, *again = [text for text in notices(page_of(run)) if "Few images" in text]
    assert again == [said] * 2  # beside the verdicts, and beside the table of each network
    assert "rest on 60" in said
    assert f"± {widest:.1f} points" in said


def test_enough_images_need_no_warning(make_run, page_of):
    assert not notices(page_of(make_run(n=1200)))


def test_failed_cells_are_said_first_and_lead_to_their_reason(make_run, site_of):
    reason = "adversarial images left the budget: 0.0341 in linf where 0.0314 is allowed"
    run = make_run(failed=lambda d, m, a, x, s: reason if (m, a, x) == ("mlp", "pgd-l2", "mahalanobis") else "")
    site = site_of(run)
    page = site.index
    check_site(site)
    check_numbers(site, run.metrics)
    assert notices(page)[0].startswith("1 cell failed.")
    cell = cell_at(page, "robust", "mahalanobis", "pgd-l2", model="mlp")
    assert "failed" in cell.text
    name = next(cell.all("a")).get("href")
    own = site.read(name)
    assert "This cell failed." in own.one("header").text
    link = next(a for a in own.one("header").all("a"))
    target = link.get("href").removeprefix("../index.html#")
    (article,) = [element for element in page.all() if element.get("id") == target]
    assert reason in article.text
    assert "ValueError" in article.one("pre").text
    assert all(pre.get("tabindex") == "0" for pre in page.all("pre"))  # what scrolls can be scrolled by keyboard
    assert [td.text for td in article.all("td")] == ["digits", "mlp", "pgd-l2", "mahalanobis", "gray-box", "0"]


def test_one_failed_seed_does_not_hide_the_others(make_run, page_of):
    run = make_run(
        models=("mlp",),
        seeds=(0, 1, 2),
        failed=lambda d, m, a, x, s: "no luck" if (a, x, s) == ("fgsm", "none", 1) else "",
    )
    cell = cell_at(page_of(run), "robust", "none", "fgsm", model="mlp")
    rows = run.metrics.query(
        "model == 'mlp' and attack == 'fgsm' and defense == 'none' and metric == 'robust_accuracy'"
    )
    assert float(cell.get("data-value")) == pytest.approx(rows.set_index("seed").value[["0", "2"]].mean(), rel=1e-5)
    assert "1 of 3 seeds failed" in cell.text
    assert next(cell.all("a")).get("href").startswith("cells/")


def test_an_interrupted_run_says_so(make_run, site_of):
    run = make_run(
        missing=lambda d, m, a, x, s: m == "mlp" and a in ("pgd-l2", "deepfool"), manifest={"exit_code": 130}
    )
    site = site_of(run)
    page = site.index
    assert any(text.startswith("6 cells not run.") for text in notices(page))
    assert "not run" in cell_at(page, "robust", "none", "deepfool", model="mlp").text


def test_a_part_of_the_suite_is_called_so(make_run, site_of):
    page = site_of(make_run(manifest={"only": ["attack=pgd*", "seed=<0>"]})).index
    assert any("Only a part of the suite was run: attack=pgd* or seed=<0>." in text for text in notices(page))


def test_a_run_with_only_failed_cells_gives_a_report(make_run, site_of):
    site = site_of(make_run(failed=lambda *cell: "no luck"))
    check_site(site)
    page = site.index
    assert not list(shown(page))
    assert notices(page)[0].startswith("30 cells failed.")


def test_a_run_with_one_cell_gives_a_report(make_run, site_of):
    run = make_run(models=("mlp",), attacks=(), defenses=("none",), detectors=())
    site = site_of(run)
    page = site.index
    check_site(site)
    _, found = check_numbers(site, run.metrics)
    assert [key[-1] for key in found] == ["clean_accuracy"]
    assert "1 defense against 0 attacks on 1 model and 1 data set" in page.one("main").text


def test_a_defense_without_scores_leaves_out_the_detector_tables(make_run, site_of):
    run = make_run(defenses=("none", "adversarial-training"), detectors=())
    kinds = {table.get("data-table") for page in site_of(run).pages for table in page.all("table")}
    assert not kinds & {"detector", "joint", "chart-roc"}


def test_tables_without_a_row_still_give_a_report(make_run, site_of):
    run = make_run()
    run.metrics = run.metrics.iloc[:0]
    run.costs = run.costs.iloc[:0]
    check_site(site_of(run))


# -- text --------------------------------------------------------------------------------------------------------------


def test_hostile_names_change_nothing_but_text(make_run, site_of):
    first, second = HOSTILE[:5], HOSTILE[5:]
    # Marks that would turn around what follows, as far as the end of a block.
    bidi = {"\u202e", "\u2066"}
    reason = " ".join(HOSTILE)
    run = make_run(
        datasets=HOSTILE[:2],
        models=HOSTILE[2:4],
        attacks=first,
        defenses=second,
        detectors=second[:1],
        knowledge=HOSTILE[:1],
        failed=lambda d, m, a, x, s: reason if (a, x) == (first[0], second[0]) else "",
        manifest={
            "title": HOSTILE[0],
            "profile": HOSTILE[3],
            "device": HOSTILE[1],
            "warnings": [{"task": HOSTILE[0], "text": HOSTILE[8]}],
        },
        n=20,
        pictures=True,
    )
    site = site_of(run)
    page = site.index
    check_site(site)
    check_numbers(site, run.metrics)
    for element in (element for page in site.pages for element in page.all()):
        own = "".join(child for child in element.children if isinstance(child, str))
        if bidi & set(own):
            assert element.tag in ("bdi", "pre", "title", "script") or element.get("dir"), element
    assert page.one("title").text == HOSTILE[0]
    assert page.one("h1").text == HOSTILE[0]
    headings = {heading.text for heading in page.all("h3")}
    for model, dataset in product(HOSTILE[2:4], HOSTILE[:2]):
        assert any(heading.startswith(f"{model} on {dataset}") for heading in headings)
    assert reason in {paragraph.text for paragraph in page.all("p")}
    for table in page.all("table"):
        if table.get("data-table") == "robust":
            names = [head.text for head in table.all("th") if head.get("scope") == "row"]
            assert names == second
            # A name with a direction of its own must not turn the numbers around.
            assert all(
                next(head.all("bdi")).text == head.text for head in table.all("th") if head.get("scope") == "row"
            )


def test_control_characters_and_lone_surrogates_become_visible(make_run, page_of):
    run = make_run(manifest={"title": "a\x00b\x1b[31mc\ud800d\x85e"})
    page = page_of(run)
    assert page.one("h1").text == "a␀b␛[31mc\ufffdd\ufffde"


@pytest.fixture(scope="module")
def one_name():
    """Return a template that shows a name as all templates do, and an attribute."""
    return render._environment().from_string('<p title="{{ text }}">{{ name(text) }}</p>')


@given(text=st.text(max_size=400))
def test_any_text_comes_back_as_it_was(parse, one_name, text):
    page = parse(one_name.render(text=text))
    paragraph = page.one("p")
    clean = printable(text)
    assert paragraph.text == clean
    assert paragraph.get("title") == clean
    assert {element.tag for element in page.all()} == {"p", "bdi"}
    if text.isprintable():
        assert clean == text


def test_the_host_finds_the_reporter():
    import bench_report
    from benchmark.plugins import Provenance, Registry

    registry = Registry()
    registry.add_module("report", bench_report, Provenance("bench_report", "unmask-bench", "0"))
    assert registry.get("reporter", "html").load() is render.HtmlReporter
    assert registry.get("reporter", "html").summary


# -- the page ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_same_run_gives_the_same_bytes_in_every_process(make_run, tmp_path, monkeypatch):
    """Pages, pictures, downloads: in another folder, order of hashes and time zone, with another history."""
    monkeypatch.setattr(render, "chart_svg", chart_svg)  # each time anew
    kinds = {"models": ("mlp",), "attacks": ("fgsm", "pgd-linf"), "defenses": ("none", "mahalanobis")}
    run = make_run(**kinds, seeds=(0, 1), pictures=True)
    here = render.HtmlReporter().write([run], tmp_path / "here").parent
    build = (
        "import sys; from pathlib import Path; from bench_report.render import HtmlReporter;"
        "from benchmark import load_run; HtmlReporter().write([load_run(sys.argv[1])], Path(sys.argv[2]))"
    )
    elsewhere = {**os.environ, "PYTHONHASHSEED": "7", "TZ": "Asia/Kolkata", "LC_ALL": "C", "COLUMNS": "20"}
    subprocess.run([sys.executable, "-c", build, ".", str(tmp_path / "there")], env=elsewhere, cwd=run.path, check=True)
    render.HtmlReporter().write([load_run(run.path)], tmp_path / "again")
    written = {path.relative_to(here): path.read_bytes() for path in sorted(here.rglob("*")) if path.is_file()}
    assert sum(path.suffix == ".svg" for path in written) > 3
    for other in (tmp_path / "there", tmp_path / "again"):
        assert {p.relative_to(other): p.read_bytes() for p in sorted(other.rglob("*")) if p.is_file()} == written


def test_a_folder_holds_pages_and_assets_and_a_single_file_everything(make_run, tmp_path, parse):
    run = make_run(models=("mlp",), pictures=True)
    folder = render.HtmlReporter().write([run], tmp_path / "folder").parent
    assert sorted(path.name for path in folder.iterdir()) == [
        "assets", "cells", "charts", "checklist.html", "checklist.md", "downloads", "images", "index.html", "samples",
        "settings",
    ]  # fmt: skip
    assert sorted(path.name for path in (folder / "assets").iterdir()) == [
        "charts.js", "report.css", "report.js", "samples.js", "tables.js", "terms.js", "vega.js"
    ]  # fmt: skip
    single = render.HtmlReporter().write([run], tmp_path / "single", single_file=True)
    assert [path.name for path in single.parent.iterdir()] == ["index.html"]
    text = single.read_text(encoding="utf-8")
    assert (folder / "assets" / "report.css").read_text(encoding="utf-8").strip() in text
    assert "<link" not in text
    page = parse(text)
    ids = Counter(element.get("id") for element in page.all() if element.get("id"))
    assert max(ids.values()) == 1
    for link in page.all("a"):
        assert link.get("href").startswith("data:") or link.get("href")[1:] in ids
    sheets = [path for path in folder.rglob("*.html") if path.parent.name in ("cells", "settings", "folder")]
    assert sum(element.get("class") == "sheet" for element in page.all()) == len(sheets)


def test_an_earlier_report_is_replaced_and_folders_of_others_are_not(make_run, tmp_path):
    from benchmark import InputError

    folder = tmp_path / "report"
    render.HtmlReporter().write([make_run("one", models=("mlp",))], folder)
    first = set(folder.glob("cells/*"))
    render.HtmlReporter().write([make_run("two", models=("other",))], folder)
    assert not first & set(folder.glob("cells/*"))
    mine = tmp_path / "mine"
    (mine / "images").mkdir(parents=True)
    (mine / "images" / "holiday.png").touch()
    with pytest.raises(InputError, match="images"):
        render.HtmlReporter().write([make_run("three", models=("mlp",))], mine)
    assert (mine / "images" / "holiday.png").exists()
    site = tmp_path / "site"
    site.mkdir()
    (site / "index.html").write_text("my page")
    with pytest.raises(InputError, match=r"index\.html"):
        render.HtmlReporter().write([make_run("four", models=("mlp",))], site)
    assert (site / "index.html").read_text() == "my page"


@pytest.mark.slow
def test_a_report_that_was_killed_is_never_taken_for_whole(make_run, tmp_path):
    """`kill -9` at some of the steps of replacing an older report; then written again: the same bytes."""
    run, whole = make_run(models=("mlp",), pictures=True), tmp_path / "whole"
    render.HtmlReporter().write([run], whole)
    steps = ("shutil.rmtree 1", "os.rmdir 1", "os.mkdir 2", "os.rename 3")
    for step in steps:
        shutil.copytree(whole, tmp_path / step)
    program = (
        "import os, signal, sys; from pathlib import Path; from benchmark import load_run\n"
        "from bench_report.render import HtmlReporter\n"
        "left = {}\n"
        "def kill(event, arguments):\n"
        "    if event in left:\n"
        "        left[event] -= 1\n"
        "        if left[event] == 0: os.kill(os.getpid(), signal.SIGKILL)\n"
        "sys.addaudithook(kill)\n"
        "run, folder, *steps = sys.argv[1:]\n"
        "for step in steps:\n"
        "    event, count = step.split()\n"
        "    if os.fork() == 0:\n"
        "        left[event] = int(count)\n"
        "        HtmlReporter().write([load_run(run)], Path(folder, step))\n"
        "        os._exit(0)\n"
        "    assert os.wait()[1] == signal.SIGKILL, step\n"
        "for step in steps[1:3]: HtmlReporter().write([load_run(run)], Path(folder, step))\n"
    )
    command = [sys.executable, "-c", program, str(run.path), str(tmp_path), *steps]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    there = [
        {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        for folder in (whole, *(tmp_path / step for step in steps))
    ]
    assert there[2] == there[3] == there[0]
    for killed in (there[1], there[4]):
        assert b"Unfinished report" in killed[Path("index.html")]


def test_nothing_is_fetched(make_run, tmp_path):
    run = make_run(models=("mlp",), pictures=True)
    folder = render.HtmlReporter().write([run], tmp_path / "folder").parent
    for path in folder.rglob("*.html"):
        page = path.read_text(encoding="utf-8")
        assert not re.findall(r"(?:https?:)?//[\w.]", page), path
        assert "default-src 'none'" in page
        assert "unsafe-eval" not in page
    style = (folder / "assets" / "report.css").read_text(encoding="utf-8")
    assert "url(" not in style
    assert "@import" not in style


def test_a_small_run_gives_a_small_page(make_run, tmp_path):
    run = make_run(models=("small-cnn",), attacks=tuple("abcde"))
    cells = run.metrics[["attack", "defense"]].drop_duplicates()
    assert (~cells.attack.str.startswith("worst-of: ")).sum() == 18
    page = render.HtmlReporter().write([run], tmp_path / "report", single_file=False)
    assert page.stat().st_size < 300_000


def _luminance(colour):
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear))


def _contrast(one, other):
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_can_be_read_on_every_colour(theme):
    style = files("bench_report").joinpath("assets", "report.css").read_text(encoding="utf-8")
    themes = [
        dict(re.findall(r"--([\w-]+):\s*(#[0-9a-f]{6})", block))
        for block in re.findall(r":root \{(.*?)\n\s*\}", style, re.S)
    ]
    colours = themes[0] | (themes[1] if theme == "dark" else {})
    assert len(themes[1]) == len(themes[0])
    for step in range(11):
        assert _contrast(colours[f"q{step}"], colours[f"on{step}"]) >= 4.5
    steps = [_luminance(colours[f"q{step}"]) for step in range(11)]
    assert steps == sorted(steps, reverse=theme == "light")
    for text in ("text", "muted", "link"):
        for ground in ("page", "panel", "warn-bg", "fail-bg", "note-bg"):
            assert _contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
    assert _contrast(colours["fail-text"], colours["fail-bg"]) >= 4.5
    assert _contrast(colours["focus"], colours["page"]) >= 3


def test_costs_are_summed_by_kind(make_run, page_of):
    page = page_of(make_run())
    row = page.one("table", data_table="costs").one("tr", data_kind="craft")
    cells = [cell.text for cell in row.all("td")]
    # Three tasks of 1.5, 2.5 and 3.5 seconds and 360 images each, the last two from the cache.
    assert cells == ["3", "67 %", "1.5 s", "6.0 s", "144", "3,000", "1,500", "300 MiB"]


def test_the_run_can_be_repeated_from_the_page(make_run, page_of):
    run = make_run(manifest={"command": ["bench", "run", "my suites/a.yaml", "--set", "seeds=[1]"]})
    text = page_of(run).one("section", id="r1-provenance").text
    assert "bench run 'my suites/a.yaml' --set 'seeds=[1]'" in text
    for fact in ("0123456789abcdef", "3.11.9", "03f9ab", "1,077", "unmask-bench", "5 % of clean validation images"):
        assert fact in text
    assert "suite: synthetic" in text


# -- comparisons -------------------------------------------------------------------------------------------------------


def test_every_defense_is_paired_with_the_undefended_one(make_run, site_of):
    run = make_run(models=("small-cnn",), defenses=("adversarial-training", "none", "mahalanobis"))
    (page,) = site_of(run).settings
    frame = run.comparisons[
        run.comparisons.metric.isin(["clean_accuracy", "robust_accuracy", "worst_case_robust_accuracy"])
    ]
    table = page.one("table", data_table="paired-robust")
    assert table.get("data-baseline") == "none"
    columns = [head.get("data-attack") for head in table.all("th") if head.get("data-attack")]
    assert columns[0] == "none"
    assert len(columns) == 1 + 4 + 3
    for defense, sign in (("mahalanobis", -1), ("adversarial-training", 1)):
        for attack, cell in zip(columns, table.one("tr", data_defense=defense).all("td")):
            (row,) = frame[
                (frame.attack == attack)
                & frame.defense_a.isin(["none", defense])
                & frame.defense_b.isin(["none", defense])
            ].itertuples()
            assert (row.defense_a == "none") == (sign == -1)
            assert float(cell.get("data-value")) == pytest.approx(sign * row.difference, rel=1e-5, abs=1e-12)
            ends = sorted([sign * row.ci_low, sign * row.ci_high])
            assert [float(cell.get("data-low")), float(cell.get("data-high"))] == pytest.approx(
                ends, rel=1e-5, abs=1e-12
            )
            assert float(cell.get("data-p")) == pytest.approx(row.p_value, rel=1e-5)
            assert n_of(cell) == row.n
            assert ("higher" in cell.get("class").split()) == (ends[0] > 0)


def test_each_seed_has_its_own_paired_table(make_run, site_of):
    run = make_run(models=("small-cnn",), seeds=(3, 4))
    (page,) = site_of(run).settings
    seeds = [table.get("data-seed") for table in page.all("table") if table.get("data-table") == "paired-robust"]
    assert seeds == ["", "3", "4"]
    pairs = run.comparisons.set_index(["seed", "attack", "metric", "defense_a", "defense_b"])
    together = page.one("table", data_table="paired-robust", data_seed="")
    cell = next(together.one("tr", data_defense="adversarial-training").all("td"))
    known = pairs.loc[("crossed", "none", "clean_accuracy", "none", "adversarial-training")]
    assert float(cell.get("data-value")) == pytest.approx(-known.difference, rel=1e-5)
    assert float(cell.get("data-p")) == pytest.approx(known.p_value, rel=1e-5)


@pytest.mark.parametrize(
    ("defenses", "metric"),
    [
        (("none", "adversarial-training", "mahalanobis"), "worst_case_joint_robust_accuracy"),
        (("none", "adversarial-training"), "worst_case_robust_accuracy"),
    ],
)
def test_the_overview_shows_the_worst_case_of_all_attacks(make_run, page_of, defenses, metric):
    """As the verdicts have it: what a detector rejects counts for it, where there is one."""
    run = make_run(defenses=defenses)
    page = page_of(run)
    table = page.one("table", data_table="overview")
    assert table.get("data-attack") == "worst-of: all attacks"
    assert table.get("data-metric") == metric
    values = run.metrics[(run.metrics.metric == metric) & (run.metrics.attack == "worst-of: all attacks")]
    values = values.set_index(["model", "defense"]).value
    defenses = [head.get("data-defense") for head in table.all("th") if head.get("data-defense")]
    shown_values = {
        (row.get("data-model"), defense): float(cell.get("data-value"))
        for row in table.all("tr")
        if row.get("data-model")
        for defense, cell in zip(defenses, row.all("td"))
    }
    assert shown_values == pytest.approx(values.to_dict(), rel=1e-5)
    # The tables of plain accuracy beside it say that it is another number.
    captions = [c.text for c in page.one("section", **{"class": "matrix"}).all("figcaption")]
    assert all(("Rejecting an image counts for nothing" in text) == ("joint" in metric) for text in captions)


def test_what_a_network_is_stands_beside_its_label(make_run, page_of):
    network = {"use": "small_cnn", "width": 8, "norm": None, "train": {"epochs": 3, "lr": 0.1}}
    page = page_of(make_run(models=("wrn-34-8",), suite={"models": {"wrn-34-8": network}}))
    cards = [card.text for card in page.one("ul", **{"class": "subjects"}).all("li")]
    assert cards[-1].split() == ["wrn-34-8", "Network", "small_cnn,", "width", "8,", "trained", "for", "3", "epochs"]


def test_budgets_that_are_equal_numbers_stand_together(make_run, site_of):
    run = make_run(models=("mlp",), attacks=("fgsm", "pgd-linf"))
    rows = run.metrics
    rows["eps"] = rows.eps.astype("str").mask(rows.attack == "pgd-linf", "16/510")
    site = site_of(run)
    heads = [head.text for head in site.index.one("table", data_table="robust").all("th") if "ε =" in head.text]
    assert heads[0] == "L∞, ε = 8/255"
    assert not any("16/510" in head for head in heads)
    group = next(page.text for page in site.cells if "8/255" in page.one("h1").text)
    assert all(attack in group for attack in ("fgsm", "pgd-linf"))


def verdicts(page):
    return [table for table in page.all("table") if table.get("data-table") == "verdicts"]


def test_defenses_that_met_different_attacks_stand_in_different_lines(make_run, page_of):
    def absent(dataset, model, attack, defense, knowledge):
        of_photos = attack == "fgsm" or defense == "adversarial-training"
        return of_photos if dataset == "photos" else defense == "mahalanobis"

    page = page_of(make_run(datasets=("digits", "photos"), models=("mlp",), absent=absent))
    (table,) = verdicts(page)
    met = {
        body.get("data-dataset"): {row.get("data-defense") for row in body.all("tr") if row.get("data-defense")}
        for body in table.all("tbody")
    }
    assert met == {"digits": {"none", "adversarial-training"}, "photos": {"none", "mahalanobis"}}
    abouts = [head.text for head in table.all("th") if head.get("scope") == "rowgroup"]
    assert [re.search(r"all \d attacks", text)[0] for text in abouts] == ["all 4 attacks", "all 3 attacks"]


def test_an_attack_without_a_budget_decides_nothing_alone(make_run, page_of):
    """Where the unbounded attack would turn the order round, verdicts are by the others at their budgets."""
    run = make_run(models=("mlp",))
    unbounded = set(run.metrics[(run.metrics.norm != "") & (run.metrics.eps == "")].attack)
    assert unbounded == {"deepfool"}
    rows = run.metrics.copy()
    of_deepfool = (rows.attack == "deepfool") & rows.metric.str.endswith("robust_accuracy")
    rows.loc[of_deepfool, ["value", "ci_low", "ci_high"]] = [0.001, 0.0, 0.002]
    run.metrics = rows
    page = page_of(run)
    (table,) = verdicts(page)
    assert "deepfool" not in table.text + " ".join(item.text for item in page.all("li"))
    worst = rows[(rows.metric == "worst_case_joint_robust_accuracy") & (rows.attack == "worst-of: all attacks")]
    shown_values = {
        row.get("data-defense"): float(next(c for c in row.all("td") if c.get("data-value")).get("data-value"))
        for row in table.all("tr")
        if row.get("data-defense")
    }
    assert shown_values == pytest.approx(worst.set_index("defense").value.to_dict(), rel=1e-5)
    # Without a group and with one bounded attack, that one decides.
    run.metrics = rows[rows.attack.isin(["none", "fgsm", "deepfool"])]
    run.groups = run.groups.iloc[:0]
    (table,) = verdicts(page_of(run))
    assert {body.get("data-attack") for body in table.all("tbody")} == {"fgsm"}


def test_a_defense_that_met_fewer_models_says_so(make_run, page_of):
    run = make_run(models=("small-cnn", "mlp"), absent=lambda d, m, a, x, k: (m, x) == ("mlp", "adversarial-training"))
    (table,) = verdicts(page_of(run))
    assert "only small-cnn" in table.one("tr", data_defense="adversarial-training").text
    assert "hardest of 2 models" in table.text
    assert "small-cnn" in table.one("tr", data_defense="none").text


def test_what_the_attacker_knows_has_tables_of_its_own(make_run, site_of):
    run = make_run(models=("mlp",), knowledge=("gray-box", "white-box"))
    site = site_of(run)
    page = site.index
    _, found = check_numbers(site, run.metrics)
    tables = [table.get("data-knowledge") for table in page.all("table") if table.get("data-table") == "robust"]
    assert tables == ["gray-box", "white-box"]
    # Clean images know no attacker: they stand in both.
    assert found["digits", "mlp", "none", "mahalanobis", "", "clean_accuracy"] == 2


def lined_up(page):
    tables = [table for table in page.all("table") if table.get("data-table") == "compare"]
    return [row for table in tables for row in table.all("tr") if row.get("data-metric")]


def test_equal_cells_of_two_runs_stand_beside_each_other(make_run, page_of):
    first, second = make_run("first"), make_run("second", strength=0.2, draw=1)
    page = page_of(first, second)
    check_document(page)
    rows = lined_up(page)
    wanted = [expected(run.metrics, "0") for run in (first, second)]
    names = {"clean_accuracy", "robust_accuracy", "worst_case_robust_accuracy", "auroc"}
    names |= {"joint_clean_accuracy", "joint_robust_accuracy", "worst_case_joint_robust_accuracy"}
    assert len(rows) == sum(key[-1] in names for key in wanted[0])
    for row in rows:
        key = tuple(row.get(f"data-{name}") for name in IDENTITY)
        cells = [cell for cell in row.all("td") if "data-value" in cell.attributes]
        for cell, run in zip(cells, wanted):
            assert float(cell.get("data-value")) == pytest.approx(run[key].value, rel=1e-5)
        difference = wanted[1][key].value - wanted[0][key].value
        assert words.difference_text(difference, measures.measure(key[-1]).unit) in cells[1].text
    assert "Not lined up" not in page.one("main").text


def test_other_images_are_not_lined_up(make_run, page_of):
    first = make_run("first", models=("mlp",), datasets=("digits", "letters"))
    second = make_run("second", models=("mlp",), datasets=("letters", "digits"))
    other = second.manifest["datasets"]
    other["digits"]["fingerprint"] = first.manifest["datasets"]["digits"]["fingerprint"]
    page = page_of(first, second)
    assert {row.get("data-dataset") for row in lined_up(page)} == {"digits"}
    assert any("data set letters" in text and "fingerprints" in text for text in notices(page))
    assert "must not be compared between runs: other images." in page.one("main").text


def test_runs_that_agree_are_lined_up_past_one_that_does_not(make_run, page_of):
    runs = [make_run(name, models=("mlp",)) for name in ("one", "two", "three")]
    runs[0].manifest["datasets"]["digits"]["fingerprint"] = "other images"
    rows = lined_up(page_of(*runs))
    assert rows
    for row in rows:
        cells = list(row.all("td"))[-5:-2]
        assert [("data-value" in cell.attributes) for cell in cells] == [False, True, True]


def test_what_another_protocol_does_not_move_is_lined_up(make_run, page_of):
    protocol = {"false_positive_rate": 0.05, "success": "any-wrong", "repeats": 5}
    page = page_of(make_run("first"), make_run("second", manifest={"protocol": protocol}))
    metrics = {row.get("data-metric") for row in lined_up(page)}
    assert {"clean_accuracy", "robust_accuracy", "worst_case_joint_robust_accuracy"} < metrics
    assert "auroc" not in metrics  # over successful attacks
    assert any("protocol, success" in text and "A: initially-correct; B: any-wrong" in text for text in notices(page))


@pytest.mark.parametrize(("randomised", "lined"), [(True, False), (False, True)])
def test_repeats_matter_to_randomised_defenses_alone(make_run, lined, randomised):
    from bench_report.build import build_report

    runs = [make_run(name, models=("mlp",), attacks=("fgsm",)) for name in ("first", "second")]
    for run, repeats in zip(runs, (5, 10)):
        run.manifest["protocol"] = {"false_positive_rate": 0.05, "success": "any-wrong", "repeats": repeats}
        for about in run.manifest["defenses"].values():
            about["randomised"] = randomised
    assert bool(build_report(runs).view.compare.rows) == lined


@pytest.mark.parametrize(
    ("knowledge", "randomised", "lined"),
    [("white-box", True, False), ("white-box", False, True), ("gray-box", True, True)],
)
def test_draws_matter_to_attackers_who_hold_a_randomised_defense_alone(make_run, knowledge, randomised, lined):
    from bench_report.build import build_report

    about = {"models": ("mlp",), "attacks": ("fgsm",), "defenses": ("none", "jpeg"), "detectors": ()}
    about |= {"families": {"jpeg": "preprocessor"}, "knowledge": (knowledge,)}
    runs = [make_run(name, **about) for name in ("first", "second")]
    for run, draws in zip(runs, (10, 20)):
        run.manifest["protocol"] = {"false_positive_rate": 0.05, "success": "any-wrong", "repeats": 5, "draws": draws}
        run.manifest["defenses"]["jpeg"]["randomised"] = randomised
    report = build_report(runs).view
    assert [dict(one.provenance.facts)["Draws"].split()[0] for one in report.runs] == ["10", "20"]
    view = report.compare
    attacked = {row.defense for row in view.rows if row.attack != "none"}
    assert attacked == ({"none", "jpeg"} if lined else {"none"})
    assert {row.defense for row in view.rows if row.attack == "none"} == {"none", "jpeg"}  # no one draws for these


def test_rounded_adversarial_examples_are_told_and_move_no_clean_number(make_run):
    from bench_report.build import build_report

    runs = [make_run(name, models=("mlp",), attacks=("fgsm",)) for name in ("exact", "rounded")]
    runs[1].manifest["protocol"] = runs[1].manifest["protocol"] | {"adversarial": "8-bit"}
    report = build_report(runs).view
    told = [dict(one.provenance.facts)["Adversarial examples"] for one in report.runs]
    assert told[0] == "as the attack made them"
    assert told[1].startswith("rounded to images of 8 bits")
    metrics = {(row.attack, row.metric) for row in report.compare.rows}
    assert ("none", "clean_accuracy") in metrics
    assert {attack for attack, _ in metrics} == {"none"}  # what was attacked is not the same


@pytest.mark.parametrize("told", [True, None])
def test_one_judgement_of_a_randomised_defense_is_not_paired(make_run, page_of, told):
    runs = [make_run(name, models=("mlp",), attacks=("fgsm",), draw=n) for n, name in enumerate(("first", "second"))]
    for run in runs:
        for about in run.manifest["defenses"].values():
            about.pop("randomised")
            about |= {} if told is None else {"randomised": told}
    page = page_of(*runs)
    rows = lined_up(page)
    assert rows
    assert all("only the first judgement is kept" in row.text for row in rows if row.get("data-metric") != "auroc")
    assert "only the first judgement is kept image by image" in page.one("main").text


def test_other_options_under_the_same_label_are_remarked(make_run, page_of):
    first = make_run("first", models=("mlp",))
    attacks = {**first.suite["attacks"], "fgsm": {"use": "pgd", "steps": 40}}
    page = page_of(first, make_run("second", models=("mlp",), suite={"attacks": attacks}))
    for row in lined_up(page):
        concerned = ("fgsm", "worst-of: linf 8/255", "worst-of: all attacks")
        assert ("other options or version: attack" in row.text) == (row.get("data-attack") in concerned)
    assert "attack fgsm, steps" in page.one("main").text


def test_worst_cases_over_other_attacks_are_not_lined_up(make_run, page_of):
    first = make_run("first", models=("mlp",), attacks=("fgsm", "pgd-linf", "pgd-l2"))
    page = page_of(first, make_run("second", models=("mlp",), attacks=("fgsm", "pgd-linf", "pgd-l2", "deepfool")))
    groups = {row.get("data-attack") for row in lined_up(page) if row.get("data-attack").startswith("worst-of: ")}
    assert groups == {"worst-of: linf 8/255"}
    assert any("worst-of: all attacks" in text and "deepfool" in text for text in notices(page))


def test_three_runs_with_nothing_in_common_are_still_shown(make_run, page_of):
    runs = [make_run(name, models=(name,)) for name in ("one", "two", "three")]
    page = page_of(*runs)
    check_document(page)
    assert not lined_up(page)
    assert next(page.all("h2")).text == "What changed"
    assert len(list(shown(page))) == 3 * len(list(shown(page_of(runs[0]))))


def test_a_cell_of_the_first_page_is_a_few_elements(make_run, page_of):
    """Ten thousand open in a second or two by that; perf/report.py measures it."""
    few, many = (page_of(make_run(f"{n}", models=("a", "b"), attacks=[f"a{k}" for k in range(n)])) for n in (4, 24))

    def cells(page):
        return sum(len([*table.all("td")]) for table in page.all("table") if table.get("data-table") == "robust")

    more = cells(many) - cells(few)
    assert more == 2 * 3 * 20
    assert len([*many.all()]) - len([*few.all()]) < 6 * more


@pytest.mark.slow
def test_five_thousand_cells_are_written_within_a_gibibyte(make_run, tmp_path):
    names = [f"name-{number}" for number in range(20)]
    run = make_run(datasets=names[:5], models=names[:5], attacks=names[:9], defenses=names, detectors=names[15:], n=200)
    assert len(run.metrics[["dataset", "model", "attack", "defense"]].drop_duplicates()) >= 5000
    # In a process of its own, whose memory is the report's alone.
    build = (
        "import sys; from pathlib import Path; from bench_report.render import HtmlReporter;"
        "from benchmark import load_run; HtmlReporter().write([load_run(sys.argv[1])], Path(sys.argv[2]));"
        # Not ru_maxrss: it begins with what the process had that started this one.
        "print(Path('/proc/self/status').read_text().partition('VmHWM:')[2].split()[0])"
    )
    kibibytes = subprocess.run(
        [sys.executable, "-c", build, str(run.path), str(tmp_path / "report")],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ).stdout
    assert int(kibibytes) < 2**20
    assert (tmp_path / "report" / "index.html").stat().st_size < 3e6
    assert len(list((tmp_path / "report" / "cells").iterdir())) >= 5000


def test_a_data_set_without_cells_says_why_it_is_there(make_run, page_of):
    run = make_run(models=("mlp",))
    run.manifest["datasets"]["parts"] = dict(run.manifest["datasets"]["digits"])
    (cards,) = (e for e in page_of(run).all("ul") if e.get("aria-label") == "Data sets and networks")
    assert ["Not attacked" in card.text for card in cards.all("li")] == [False, True, False]


def test_what_guesses_on_clean_images_is_named(make_run, page_of):
    run = make_run(models=("mlp",), defenses=("none", "adversarial-training"))
    assert not [text for text in notices(page_of(run)) if "guessing" in text]
    rows = (run.metrics.metric == "clean_accuracy") & (run.metrics.defense == "adversarial-training")
    run.metrics.loc[rows, ["value", "ci_low", "ci_high"]] = [0.12, 0.09, 0.16]  # ten classes
    (text,) = [text for text in notices(page_of(run)) if "guessing" in text]
    assert "clean images: adversarial-training." in text
