"""In a real browser: every image of a cell is found, looked at, and followed across cells."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest
from PIL import Image

from bench_report.tests.at_work import ATTACKS, DETECTED

pytestmark = [pytest.mark.slow, pytest.mark.pictures]


def open_cell(drawn, open_page, at="", pattern=DETECTED):
    """Open the page of a cell of the detector, and return it with the cell's samples."""
    run, folder = drawn
    path = sorted(folder.glob(pattern))[0]
    page = open_page(path, at=at)
    page.wait_for_selector(".cards.many")
    table = page.locator('table[data-table="cell"]')
    model, knowledge = (table.get_attribute(f"data-{name}") for name in ("model", "knowledge"))
    samples = run.samples[(run.samples.model == model) & (run.samples.defense == "mahalanobis")].set_index("sample")
    attacked = samples[(samples.attack == "pgd-linf") & (samples.knowledge == knowledge)]
    return page, attacked, samples[samples.attack == "none"]


def listed(page):
    return page.locator(".cards.many .card").evaluate_all("(cards) => cards.map((card) => card.dataset.sample)")


def test_every_image_of_a_cell_is_there_by_its_kind(drawn, open_page, barriers):
    page, attacked, clean = open_cell(drawn, open_page)
    right = attacked.label == attacked.y
    success, before = attacked.success.astype(bool), clean.base_label == clean.y
    flagged = attacked.flagged.astype(bool)
    wanted = {
        "": len(attacked),
        "missed": int((success & ~right & ~flagged).sum()),
        "caught": int((success & ~right & flagged).sum()),
        "rectified": int((success & right).sum()),
        "failed": int((~success & before).sum()),
        "wrong-before": int((~success & ~before).sum()),
        "false-alarm": int(clean.flagged.sum()),
    }
    tabs = page.locator(".tabs button")
    counts = tabs.evaluate_all("(tabs) => tabs.map((tab) => [tab.dataset.kind, Number(tab.lastChild.textContent)])")
    assert dict(counts) == {kind: n for kind, n in wanted.items() if n}
    assert sum(n for kind, n in wanted.items() if kind not in ("", "false-alarm")) == len(attacked) == 90
    seen = set()
    for kind, n in counts:
        page.locator(f'.tabs [data-kind="{kind}"]').click()
        found = listed(page)
        onward = page.get_by_role("button", name="next →")
        while onward.is_visible() and onward.is_enabled():
            onward.click()
            found += listed(page)
        assert len(found) == len(set(found)) == n, kind
        seen |= set(found)
    assert seen == set(attacked.index)
    page.wait_for_selector(".cards.many canvas[data-painted]")
    assert not barriers(page)


def test_images_are_searched_and_filtered(drawn, open_page):
    page, attacked, _ = open_cell(drawn, open_page)
    page.locator('[data-filter="class"]').select_option("3")
    page.locator('[data-filter="min"]').fill("1.5")
    page.locator('[data-filter="order"]').select_option("-score")
    wanted = attacked[(attacked.y == 3) & (attacked.score >= 1.5)].sort_values("score")
    assert listed(page) == wanted.index.tolist()[:24]
    assert page.locator("[data-gallery] .status").inner_text() == f"{len(wanted)} of 90 images"
    page.wait_for_url(re.compile("order="))
    page.reload()
    page.wait_for_selector(".cards.many .card")
    assert listed(page) == wanted.index.tolist()[:24]
    page.locator("[data-gallery] .tools button").click()
    page.locator('[data-filter="find"]').fill("1.PNG")
    assert listed(page) == [name for name in attacked.index if "1.png" in name][:24]


def test_images_are_turned_over_in_pages(drawn, open_page):
    page, attacked, _ = open_cell(drawn, open_page)
    assert listed(page) == attacked.index.tolist()[:24]
    page.get_by_role("button", name="next →").press("Enter")
    assert listed(page) == attacked.index.tolist()[24:48]
    page.wait_for_url(re.compile("page=2"))
    page.reload()
    page.wait_for_selector(".cards.many .card")
    assert listed(page) == attacked.index.tolist()[24:48]


def test_an_image_is_looked_at_by_keyboard(drawn, open_page, barriers):
    page, attacked, _ = open_cell(drawn, open_page)
    first, second = attacked.index[:2]
    page.locator(".tabs button").first.focus()
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.matches('button.zoom')"):
            break
    page.keyboard.press("Enter")
    dialog = page.locator("dialog[open]")
    assert dialog.get_attribute("data-sample") == first
    assert f"image={first}" in page.url
    page.keyboard.press("ArrowRight")
    dialog = page.locator(f'dialog[open][data-sample="{second}"]')
    dialog.locator("table.same canvas[data-painted]").first.wait_for()
    assert not barriers(page)
    before = dialog.locator("output").inner_text()
    page.keyboard.press("+")
    assert dialog.locator("output").inner_text() != before
    page.keyboard.press("f")
    figures = dialog.locator(".pictures figure")
    assert figures.nth(0).is_visible()
    assert not figures.nth(1).is_visible()
    figures.nth(1).wait_for(state="visible")
    assert not figures.nth(0).is_visible()
    figures.nth(0).wait_for(state="visible")
    page.keyboard.press("f")
    assert figures.nth(0).is_visible()
    assert figures.nth(1).is_visible()
    page.wait_for_url(re.compile(f"image={second}"))
    page.reload()
    dialog = page.locator(f'dialog[open][data-sample="{second}"]')
    dialog.wait_for()
    page.keyboard.press("Escape")
    dialog.wait_for(state="detached")
    assert page.evaluate("document.activeElement.closest('.card').dataset.sample") == second


def test_back_closes_an_image_that_was_opened_by_mouse(drawn, open_page):
    page, attacked, _ = open_cell(drawn, open_page)
    page.locator("button.zoom").nth(3).click()
    page.locator(f'dialog[open][data-sample="{attacked.index[3]}"]').wait_for()
    page.go_back()
    page.locator("dialog").wait_for(state="detached")
    page.go_forward()
    page.locator(f'dialog[open][data-sample="{attacked.index[3]}"]').wait_for()
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy link").click()
    page.get_by_text("Link copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == page.url


def test_an_image_is_followed_across_defenses_and_attacks(drawn, open_page):
    page, _, _ = open_cell(drawn, open_page, at="#?image=7.png")
    same = page.locator("dialog table.same")
    same.wait_for()
    assert same.locator("thead th").all_inner_texts()[1:] == ["none", "adversarial-training", "mahalanobis"]
    assert same.locator("tbody th").all_inner_texts() == ["clean", *ATTACKS]
    link = same.locator("tbody tr").nth(1).locator("td").nth(0).locator("a")
    link.click()
    page.wait_for_url("**/cells/fgsm-none-*")
    page.locator('dialog[open][data-sample="7.png"]').wait_for()
    assert page.locator("h1").text_content() == "none against fgsm"
    page.go_back()
    page.locator('dialog[open][data-sample="7.png"]').wait_for()
    assert page.locator("h1").text_content() == "mahalanobis against pgd-linf"


def test_the_pictures_are_those_of_the_run(drawn, open_page):
    run, _ = drawn
    page, _, _ = open_cell(drawn, open_page, at="#?image=12.png")
    table = page.locator('table[data-table="cell"]')
    model, knowledge = (table.get_attribute(f"data-{name}") for name in ("model", "knowledge"))
    sheets = run.sheets
    own = (sheets.model == model) & (sheets.attack == "pgd-linf") & (sheets.defense == "mahalanobis")
    rows = [sheets[sheets.attack == ""].iloc[0], sheets[own & (sheets.knowledge == knowledge)].iloc[0]]
    figures = page.locator("dialog .pictures canvas[data-painted]")
    figures.nth(2).wait_for()
    for figure, row in zip(figures.all(), rows):
        sheet = np.asarray(Image.open(io.BytesIO(run.image(row.file))))
        x, y = 12 % row.columns * row.width, 12 // row.columns * row.height
        wanted = sheet[y : y + row.height, x : x + row.width]
        shown = np.asarray(Image.open(io.BytesIO(figure.screenshot())).convert("L"))
        middles = ((np.arange(8) + 0.5) * shown.shape[0] / 8).astype(int)
        assert np.abs(shown[np.ix_(middles, middles)].astype(int) - wanted).max() <= 1


def test_without_scripts_some_images_of_each_kind_are_there(drawn, open_page):
    _, folder = drawn
    page = open_page(sorted(folder.glob(DETECTED))[0], script=False)
    kinds = page.locator(".stratum:visible").evaluate_all("(kinds) => kinds.map((kind) => kind.dataset.stratum)")
    assert {"missed", "caught", "failed", "wrong-before"} <= set(kinds)
    image = page.locator(".card:visible img").first
    image.scroll_into_view_if_needed()
    assert image.evaluate("(image) => image.decode().then(() => image.naturalWidth)") == 8
