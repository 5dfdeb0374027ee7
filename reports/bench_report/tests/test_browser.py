"""The report in a real browser: the system's Chromium, without a window and without network."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
from filelock import FileLock

SHORT = (
    "models.small-cnn.train.epochs=4",
    "models.mlp.train.epochs=4",
    "models.shapes-cnn.train.epochs=6",
    "defenses.adversarial-training.steps=1",
    "datasets.digits.limit.train=600",
    "datasets.shapes.train=40",
    "datasets.parts.test=4",
    *(
        f"attacks.{attack}.steps=5"
        for attack in ("pgd-linf", "mi-fgsm", "pgd-l2", "pgd-linf-8", "mi-fgsm-8", "pgd-l2-300")
    ),
)
"""Makes the quickstart's report in half a minute, on the same test images: as large as the whole one's."""

pytestmark = [pytest.mark.slow, pytest.mark.pictures]


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory):
    """Return the quickstart's run and the folder of its report, made once for all processes that test."""
    from benchmark import load_run

    side_by_side = "PYTEST_XDIST_WORKER" in os.environ
    place = tmp_path_factory.getbasetemp().parent / "quickstart" if side_by_side else tmp_path_factory.mktemp("one")
    with FileLock(f"{place}.lock"):
        if not (place / "run").exists():
            place.mkdir(exist_ok=True)
            sets = [word for one in SHORT for word in ("--set", one)]
            command = [sys.executable, "-m", "benchmark.cli", "run", "quickstart", *sets]
            command += ["--cache", "cache", "--output", "run"]
            subprocess.run(command, cwd=place, check=True, capture_output=True, timeout=900)
    return load_run(place / "run"), place / "run" / "report"


LOOKED_AT = (
    "index.html",
    "settings/*.html",
    "cells/pgd-linf-i-defender-*.html",
    "cells/pgd-linf-8-unmask-*.html",
)


def gray_box(table):
    """Return the rows of a run's table that are clean or of attackers who do not know the defense."""
    return table[table.knowledge.isin(["", "gray-box"])]


def matrix(page, model):
    """Return the first page's matrix of robust accuracy under attackers who do not know the defense."""
    return page.locator(f'table[data-table="robust"][data-model="{model}"][data-knowledge="gray-box"]')


def cell_link(page, defense, attack, model="small-cnn"):
    """Return the link in a cell of the first page's matrix."""
    table = matrix(page, model)
    column = table.locator("thead th[data-attack]").evaluate_all(
        "(heads, attack) => heads.findIndex((head) => head.dataset.attack === attack)", attack
    )
    return table.locator(f'tr[data-defense="{defense}"] td').nth(column).locator("a")


def test_the_folder_is_small_without_images(quickstart):
    _, folder = quickstart
    files = [path for path in folder.rglob("*") if path.is_file() and path.parent.name != "images"]
    assert sum(path.stat().st_size for path in files) < 4.85e6  # of 5, as the short run is .13 smaller


def test_from_the_matrix_to_the_parts_of_an_image(quickstart, open_page):
    _, folder = quickstart
    page = open_page(folder / "index.html")
    cell_link(page, "unmask", "pgd-linf-8", model="shapes-cnn").press("Enter")
    page.wait_for_url("**/cells/pgd-linf-8-unmask-*.html")
    page.wait_for_selector("figure[data-drawn] svg")
    assert page.locator("h1").inner_text() == "unmask against pgd-linf-8"
    page.locator("button.zoom").first.click()
    shown = page.locator("dialog[open] .pictures canvas[data-painted]")
    shown.nth(2).wait_for()
    assert shown.evaluate_all("(images) => images.map((image) => image.width)") == [64, 64, 64]
    parts = page.locator("dialog[open] .panel").first
    parts.locator(".stage canvas[data-painted]").nth(1).wait_for()  # clean and attacked, with boxes
    assert "Jaccard" in parts.inner_text()


def test_from_the_matrix_to_an_image_by_mouse(quickstart, open_page):
    _, folder = quickstart
    page = open_page(folder / "index.html")
    cell_link(page, "i-defender", "pgd-linf").click()
    page.wait_for_url("**/cells/pgd-linf-i-defender-*.html")
    page.wait_for_selector("figure[data-drawn] svg")
    assert page.locator("h1").inner_text() == "i-defender against pgd-linf"
    page.wait_for_function("!document.querySelector('figure.chart:not([data-drawn])')")
    page.locator("button.zoom").first.click()
    dialog = page.locator("dialog[open]")
    assert dialog.locator(".pictures canvas").count() == 3
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog", state="detached")


def test_from_the_matrix_to_an_image_by_keyboard(quickstart, open_page):
    _, folder = quickstart
    page = open_page(folder / "index.html")
    for _ in range(200):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.matches('.matrix table.heat a')"):
            break
    assert cell_link(page, "none", "none").evaluate("(link) => link === document.activeElement")
    for key in ("ArrowRight", "ArrowDown", "ArrowDown", "ArrowDown"):
        page.keyboard.press(key)
    assert cell_link(page, "i-defender", "fgsm").evaluate("(link) => link === document.activeElement")
    page.keyboard.press("Enter")
    page.wait_for_selector("figure[data-drawn]")
    assert page.locator("h1").inner_text() == "i-defender against fgsm"
    page.wait_for_selector("button.zoom")
    for _ in range(100):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.matches('button.zoom')"):
            break
    page.keyboard.press("Enter")
    assert page.locator("dialog[open] .pictures canvas").count() == 3
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog", state="detached")
    assert page.evaluate("document.activeElement.matches('button.zoom')")


def test_columns_are_sorted_and_rows_filtered(quickstart, open_page):
    _, folder = quickstart
    page = open_page(folder / "index.html")
    table = matrix(page, "mlp")
    head = table.locator('th[data-attack="fgsm"]')

    def values():
        cells = table.locator("tbody tr").evaluate_all(
            "(rows) => rows.map((row) => Number(row.cells[2].dataset.value))"
        )
        return cells

    before = values()
    for direction, wanted in (("descending", sorted(before, reverse=True)), ("ascending", sorted(before))):
        head.locator("button").click()
        assert head.get_attribute("aria-sort") == direction
        assert values() == wanted
    page.locator('[data-tool="defense"]').fill("I-DEF")
    assert table.locator("tbody tr:visible").count() == 1
    page.locator('[data-tool="attack"]').fill("pgd-l2")
    assert table.locator("thead th[data-attack]:visible").evaluate_all("(h) => h.map((x) => x.dataset.attack)") == [
        "pgd-l2"
    ]
    page.locator('[data-tool="model"]').select_option("mlp")
    page.locator('[data-tool="knowledge"]').select_option("gray-box")
    assert page.locator(".matrix .block:visible").count() == 1
    assert page.locator('[data-tool="status"]').inner_text() == "1 cell shown"
    page.locator('[data-tool="reset"]').click()
    assert page.locator(".matrix .block:visible").count() == 6
    assert table.locator("tbody tr:visible").count() == 5


def test_the_measure_is_switched(quickstart, open_page):
    run, folder = quickstart
    page = open_page(folder / "index.html")
    original = page.locator(".matrix").text_content()
    frame = gray_box(run.metrics).set_index(["model", "attack", "defense", "metric"]).value
    for option, metric in (("auroc", "auroc"), ("success", "attack_success_rate")):
        page.locator('[data-tool="measure"]').select_option(option)
        cell = cell_link(page, "i-defender", "pgd-linf").locator("..")
        value = frame["small-cnn", "pgd-linf", "i-defender", metric]
        assert float(cell.get_attribute("data-value")) == pytest.approx(value, rel=1e-4)
        text = f"{value:.3f}" if metric == "auroc" else f"{100 * value:.1f}"
        assert cell.locator("b").text_content() == text
    page.locator('[data-tool="measure"]').select_option("")
    assert page.locator(".matrix").text_content() == original


@pytest.mark.parametrize(
    ("defense", "attack", "model"),
    [("i-defender", "pgd-linf", "small-cnn"), ("unmask", "pgd-linf-8", "shapes-cnn")],
)
def test_the_slider_says_what_the_samples_say(quickstart, open_page, defense, attack, model):
    run, folder = quickstart
    page = open_page(folder / "index.html")
    cell_link(page, defense, attack, model).click()
    page.wait_for_selector("figure[data-drawn]")
    samples = gray_box(run.samples)
    samples = samples[(samples.model == model) & (samples.defense == defense)]
    attacked = samples[samples.attack == attack].set_index("sample")
    clean = samples[samples.attack == "none"].set_index("sample").loc[attacked.index]
    success = attacked.success.astype(bool).to_numpy()
    slider = page.locator('input[type="range"]')
    thresholds = page.evaluate("JSON.parse(document.querySelector('[data-threshold]').textContent).t")

    def read(name):
        return page.locator(f'[data-out="{name}"]').inner_text()

    def expected(threshold):
        caught = (attacked.score > threshold).to_numpy(bool)
        alarm = (clean.score > threshold).to_numpy(bool)
        shares = {
            "caught": caught[success].mean(),
            "alarms": alarm[success].mean(),
            "withstood": (caught | (attacked.label == attacked.y).to_numpy(bool)).mean(),
            "kept": (~alarm & (clean.label == clean.y).to_numpy(bool)).mean(),
        }
        return {name: f"{100 * share:.1f} %" for name, share in shares.items()}

    operating = int(slider.input_value())
    metrics = gray_box(run.metrics).set_index(["model", "attack", "defense", "metric"]).value
    assert read("caught") == f"{100 * metrics[model, attack, defense, 'tpr']:.1f} %"
    assert read("alarms") == f"{100 * metrics[model, attack, defense, 'fpr']:.1f} %"
    point = page.locator("figure[data-chart=roc] .plot svg").inner_html()
    slider.fill("0")
    assert page.locator("figure[data-chart=roc] .plot svg").inner_html() != point
    for at in (0, 7, len(thresholds) // 2, operating, len(thresholds) - 1):
        slider.fill(str(at))
        assert {name: read(name) for name in expected(0)} == expected(thresholds[at]), at
    slider.press("ArrowLeft")
    assert {name: read(name) for name in expected(0)} == expected(thresholds[-2])
    page.locator("[data-back]").click()
    assert int(slider.input_value()) == operating


def test_charts_are_saved(quickstart, open_page):
    _, folder = quickstart
    page = open_page(folder / "index.html")

    def saved(button):
        with page.expect_download() as download:
            button.click()
        return download.value.suggested_filename, download.value.path().read_text(encoding="utf-8")

    cell_link(page, "i-defender", "pgd-linf").click()
    page.wait_for_selector("figure[data-chart=roc][data-drawn]")
    name, text = saved(page.get_by_role("link", name="ROC curve as SVG"))
    assert name == "roc.svg"
    assert text.startswith("<svg")
    assert "var(" not in text


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_barrier(quickstart, open_page, barriers, scheme):
    _, folder = quickstart
    for pattern in (*LOOKED_AT, "cells/clean-none-*.html"):
        page = open_page(sorted(folder.glob(pattern))[0], scheme=scheme)
        if "pgd" in pattern:
            page.wait_for_selector("figure[data-chart=scores][data-drawn]")
        found = barriers(page)
        assert not found, pattern


def test_pages_fit_a_phone(quickstart, open_page):
    _, folder = quickstart
    for pattern in LOOKED_AT:
        page = open_page(sorted(folder.glob(pattern))[0], width=390)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, pattern


def test_everything_can_be_read_without_scripts(quickstart, open_page):
    _, folder = quickstart
    page = open_page(folder / "index.html", script=False)
    assert not page.locator(".tools").is_visible()
    page.locator(".block td.c > a >> nth=1").click()
    assert page.locator("h1").is_visible()
    page = open_page(next(folder.glob("settings/small-cnn-digits-gray-box-*.html")), script=False)
    picture = page.locator('figure img[alt^="ROC curves of i-defender. fgsm: AUROC "]')
    picture.scroll_into_view_if_needed()
    page.wait_for_function("(image) => image.naturalWidth > 100", arg=picture.element_handle())
    page = open_page(next(folder.glob("cells/pgd-linf-i-defender-*.html")), script=False)
    assert not page.locator('input[type="range"]').is_visible()
    assert re.fullmatch(r"\d+\.\d %", page.locator('[data-out="caught"]').inner_text())
    page.locator("summary").first.click()
    assert page.locator('table[data-table="chart-roc"]').is_visible()
    kinds = page.locator(".stratum:visible").evaluate_all("(kinds) => kinds.map((kind) => kind.dataset.stratum)")
    assert {"missed", "caught", "failed"} <= set(kinds)
    assert page.locator(".card").count() == page.locator(".card:visible").count() == len(kinds)  # one of each


def test_a_single_file_turns_its_pages(quickstart, open_page, tmp_path):
    from bench_report.render import HtmlReporter

    run, _ = quickstart
    page = open_page(HtmlReporter().write([run], tmp_path, single_file=True))
    assert page.locator(".sheet:visible").count() == 1
    cell_link(page, "i-defender", "pgd-linf").click()
    page.wait_for_selector("figure[data-drawn]:visible")
    assert page.locator(".sheet:visible h1").inner_text() == "i-defender against pgd-linf"
    page.locator(".sheet:visible .trail a").first.click()
    assert page.locator(".matrix").is_visible()
