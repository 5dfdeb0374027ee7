"""Pages at work in a real browser: what the address says, where links land, tables that are taken along."""

from __future__ import annotations

import io
import re

import numpy as np
import pandas as pd
import pytest
from PIL import Image

pytestmark = pytest.mark.slow

ATTACKS = ("fgsm", "pgd-linf", "pgd-l2")


@pytest.fixture(scope="session")
def drawn(tmp_path_factory, run_writer):
    """Return a drawn run and the folder of its report."""
    from bench_report.render import HtmlReporter
    from benchmark import load_run

    place = tmp_path_factory.mktemp("drawn")
    run = load_run(
        run_writer(
            place / "run", models=("cnn", "mlp", "vit"), attacks=ATTACKS, knowledge=("gray-box", "white-box"), n=90,
            pictures=True,
        )
    )  # fmt: skip
    return run, HtmlReporter().write([run], place / "report").parent


def table_of(page, model="mlp", knowledge="gray-box"):
    return page.locator(f'table[data-table="robust"][data-model="{model}"][data-knowledge="{knowledge}"]')


def told(page):
    """Return what the first page's controls and its numbers say."""
    return page.evaluate(
        """() => ({
            controls: [...document.querySelectorAll("[data-tool]")].map((control) => control.value),
            titles: [...document.querySelectorAll(".matrix figcaption .title")].map((title) => title.textContent),
            sorted: [...document.querySelectorAll("th[aria-sort]")].map((head) => [head.dataset.attack, head.ariaSort]),
            shown: [...document.querySelectorAll(".matrix td.c")]
                .filter((cell) => cell.checkVisibility()).map((cell) => cell.textContent),
        })"""
    )


# -- the address -------------------------------------------------------------------------------------------------------


def set_all(page):
    """Move every control of the first page."""
    page.locator('[data-tool="measure"]').select_option("auroc")
    page.locator('[data-tool="knowledge"]').select_option("gray-box")
    page.locator('[data-tool="model"]').select_option("mlp")
    page.locator('[data-tool="attack"]').fill("pgd")
    table_of(page).locator('th[data-attack="pgd-l2"] button').click()


def test_the_address_says_what_the_controls_say(drawn, open_page):
    _, folder = drawn
    page = open_page(folder / "index.html")
    before = told(page)
    set_all(page)
    page.wait_for_url(re.compile("sort="))
    chosen = told(page)
    assert chosen != before
    assert chosen["sorted"] == [["pgd-l2", "descending"]]
    page.reload()
    page.wait_for_selector("html[data-ready]", state="attached")
    assert told(page) == chosen
    again = open_page(folder / "index.html", at="#" + page.url.partition("#")[2])
    assert told(again) == chosen
    page.locator('[data-tool="reset"]').click()
    table_of(page).locator('th[data-attack="pgd-l2"] button').click()
    table_of(page).locator('th[data-attack="pgd-l2"] button').click()
    page.wait_for_url(re.compile(r"^[^#]+#?$"))
    assert told(page) == before


def test_back_shows_what_was_left(drawn, open_page):
    _, folder = drawn
    page = open_page(folder / "index.html")
    set_all(page)
    chosen = told(page)
    table_of(page).locator("td:visible a").first.click()
    page.wait_for_url("**/cells/*.html*")
    page.go_back()
    page.wait_for_selector("html[data-ready]", state="attached")
    assert told(page) == chosen


def test_each_measure_shows_its_own_numbers_in_every_cell(drawn, open_page):
    run, folder = drawn
    page = open_page(folder / "index.html")
    known = run.metrics.set_index(["model", "attack", "defense", "knowledge", "metric"])
    known = known[known.status == "ok"]
    measures = page.locator('[data-tool="measure"] option').evaluate_all("(found) => found.map((one) => one.value)")
    seen = set()
    for measure in measures:
        page.locator('[data-tool="measure"]').select_option(measure)
        cells = page.evaluate(
            """() => [...document.querySelectorAll('.matrix table')].flatMap((table) => {
                const heads = [...table.querySelectorAll('thead th[data-attack]')];
                return [...table.tBodies[0].rows].flatMap((row) => [...row.cells].slice(1).map((cell, n) => [
                    table.dataset.model, heads[n].dataset.attack, row.dataset.defense,
                    heads[n].dataset.attack === 'none' ? '' : table.dataset.knowledge, heads[n].dataset.metric,
                    !('value' in cell.dataset) ? null
                        : ['value', 'low', 'high', 'n'].map((name) => cell.dataset[name] ?? table.dataset[name])]));
            })"""
        )
        for *key, said in cells:
            if tuple(key) in known.index:
                there = known.loc[tuple(key)]
                found = [float(number) for number in said]
                assert found == pytest.approx([there.value, there.ci_low, there.ci_high, there.n], abs=1e-4), key
                seen.add(key[-1])
            else:
                assert said is None, (measure, key)
    assert {"robust_accuracy", "joint_robust_accuracy", "base_attack_success_rate", "auroc", "fpr"} <= seen


def test_an_address_of_nonsense_shows_the_page_as_it_is(drawn, open_page):
    _, folder = drawn
    plain = told(open_page(folder / "index.html"))
    for at in ("#?measure=nonsense&model=nobody&sort=a:99d%20b", "#%E0%A4%A?measure", "#nowhere?sort="):
        assert told(open_page(folder / "index.html", at=at)) == plain, at


def test_the_threshold_is_in_the_address(drawn, open_page):
    _, folder = drawn
    page = open_page(next(folder.glob("cells/pgd-linf-mahalanobis-*.html")))
    slider = page.locator('input[type="range"]')
    first = slider.input_value()
    slider.fill("12")
    page.wait_for_url(re.compile("threshold="))
    read = page.locator(".readout").inner_text()
    page.reload()
    page.wait_for_selector("html[data-ready]", state="attached")
    assert slider.input_value() == "12"
    assert page.locator(".readout").inner_text() == read
    page.locator("[data-back]").click()
    assert slider.input_value() == first
    page.wait_for_url(re.compile(r"^[^#]+#?$"))


@pytest.mark.parametrize("how", ["mouse", "keyboard", "address"])
def test_contents_and_deep_links_land_on_their_block(drawn, open_page, how):
    _, folder = drawn
    page = open_page(folder / "index.html")
    targets = page.locator(".contents a").evaluate_all("(links) => links.map((link) => link.getAttribute('href'))")
    anchors = [target[1:] for target in targets if target.startswith("#")]
    assert [target for target in targets if not target.startswith("#")] == ["checklist.html"]
    for anchor in anchors[::-5] if how == "address" else anchors[::-1]:
        if how == "address":
            page = open_page(folder / "index.html", at=f"#{anchor}?measure=auroc")
        else:
            link = page.locator(f'.contents a[href="#{anchor}"]')
            link.click() if how == "mouse" else link.press("Enter")
        top, scrolled, lowest = page.evaluate(
            "(id) => [document.getElementById(id).getBoundingClientRect().top, scrollY,"
            " document.documentElement.scrollHeight - innerHeight]",
            anchor,
        )
        assert 0 <= top <= 20 or scrolled >= lowest - 1, (anchor, top)
        assert page.evaluate("document.activeElement.id") == anchor


def test_links_in_the_page_keep_what_was_chosen(drawn, open_page):
    _, folder = drawn
    page = open_page(folder / "index.html")
    page.locator('[data-tool="measure"]').select_option("auroc")
    chosen = told(page)
    page.locator('.contents a[href="#r1-costs"]').click()
    assert told(page) == chosen
    page.reload()
    page.wait_for_selector("html[data-ready]", state="attached")
    assert told(page) == chosen
    page.locator('.contents a[href="#measures"]').click()
    page.go_back()
    assert "#r1-costs" in page.url
    assert told(page) == chosen


def test_a_link_to_a_hidden_block_shows_it(drawn, open_page):
    _, folder = drawn
    page = open_page(folder / "index.html")
    page.locator('[data-tool="model"]').select_option("mlp")
    link = page.locator(".contents li li a", has_text="vit").first
    anchor = link.get_attribute("href")
    link.click()
    assert page.locator(anchor).is_visible()
    assert page.locator('[data-tool="model"]').input_value() == ""


# -- tables that travel ------------------------------------------------------------------------------------------------


def taken(page, table, button):
    """Return the name and the content of what a button under a table saves."""
    box = (
        page.locator(".take")
        .filter(has=page.locator("summary"))
        .nth(table.evaluate("(table) => [...document.querySelectorAll('.scroll > table')].indexOf(table)"))
    )
    if box.get_attribute("open") is None:
        box.locator("summary").press("Enter")
    with page.expect_download() as download:
        box.get_by_role("button", name=button).click()
    return download.value.suggested_filename, download.value.path().read_text(encoding="utf-8")


def test_a_table_is_saved_with_numbers_and_what_they_are_of(drawn, open_page):
    run, folder = drawn
    page = open_page(folder / "index.html")
    name, text = taken(page, table_of(page), "Save CSV")
    assert name == "robust_digits_mlp_gray-box.csv"
    frame = pd.read_csv(io.StringIO(text), keep_default_na=False)
    assert list(frame) == [
        "dataset", "model", "attack", "defense", "knowledge", "metric", "value", "ci_low", "ci_high", "n", "trust",
    ]  # fmt: skip
    keys = ["model", "attack", "defense", "metric"]
    marks = run.trust[run.trust.knowledge == "gray-box"].set_index(["model", "attack", "defense"]).trust
    assert {"adaptive", "static only"} <= set(frame.trust)  # what is an upper bound says so wherever it goes
    assert frame.trust.tolist() == [
        marks.get((row.model, row.attack, row.defense), "") if row.attack != "none" else ""
        for row in frame.itertuples()
    ]
    wanted = run.metrics[run.metrics.knowledge.isin(["", "gray-box"])].set_index(keys)
    for row in frame.itertuples():
        there = wanted.loc[(row.model, row.attack, row.defense, row.metric)]
        assert (row.value, row.ci_low, row.ci_high) == pytest.approx(
            (there.value, there.ci_low, there.ci_high), abs=1e-5
        )
        assert row.n == there.n
    assert len(frame) == 3 * (len(ATTACKS) + 3)  # clean, and two groups
    page.locator('[data-tool="measure"]').select_option("auroc")
    name, text = taken(page, table_of(page), "Save CSV")
    assert name == "robust_auroc_digits_mlp_gray-box.csv"
    frame = pd.read_csv(io.StringIO(text))
    assert {(row.metric, row.attack.startswith("worst-of")) for row in frame.itertuples()} == {
        ("auroc", False),
        ("worst_case_auroc", True),
    }
    assert set(frame.defense) == {"mahalanobis"}
    for row in frame.itertuples():
        assert row.value == pytest.approx(wanted.loc[(row.model, row.attack, row.defense, row.metric)].value, abs=1e-5)


def test_a_table_is_copied_as_markdown_and_latex(drawn, open_page):
    _, folder = drawn
    page = open_page(folder / "index.html")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    table = table_of(page, knowledge="white-box")  # an upper bound is never best
    best = table.locator("td.best b").first.text_content()
    shown = table.locator("tbody tr").count()

    def copied(name):
        box = page.locator(".block", has=table).locator(".take")
        if box.get_attribute("open") is None:
            box.locator("summary").click()
        box.get_by_role("button", name=f"Copy {name}").click()
        box.get_by_text(f"{name} copied").wait_for()
        return page.evaluate("navigator.clipboard.readText()")

    lines = copied("Markdown").splitlines()
    assert len(lines) == 2 + shown
    assert len({line.replace("\\|", "").count("|") for line in lines}) == 1
    assert lines[1].startswith("| --- | ---: |")
    assert f"**{best} " in "\n".join(lines)
    latex = copied("LaTeX")
    assert [rule for rule in ("toprule", "midrule", "bottomrule") if f"\\{rule}" in latex] == [
        "toprule",
        "midrule",
        "bottomrule",
    ]
    assert r"\multicolumn{2}{c}{L$\infty$, $\varepsilon$ = 8/255}" in latex
    assert r"\cmidrule(lr){3-4}" in latex
    assert rf"\textbf{{{best} $\bullet$ [" in latex
    assert latex.count(r"\\") == shown + 2
    # Read alone, it says what it is of.
    caption = latex.partition(r"\caption{")[2].partition("\n")[0]
    assert caption.startswith("Accuracy under attack: mlp on digits, white-box attacker. Share of images")
    assert "n = 90 images in every cell." in caption
    assert "Measures: clean accuracy, robust accuracy, worst case robust accuracy." in caption
    assert "Bold: best of the column, ahead of the second in the paired test" in caption
    # The signs of trust stand apart from the numbers, in LaTeX's own macros, and are explained.
    assert not set("◆◇†") & set(latex)
    assert "$\\bullet$ adaptive: " in caption
    assert r"\label{tab:robust_digits_mlp_white-box}" in latex
    columns = latex.partition(r"\begin{tabular}{")[2].partition("}")[0]
    body = [line for line in latex.splitlines() if line.endswith(r"\\") and "multicolumn" not in line]
    assert {line.count(" & ") for line in body} == {len(columns) - 1}


def test_every_table_sorts_and_can_be_taken_along(drawn, open_page):
    _, folder = drawn
    for pattern in ("index.html", "settings/cnn-*.html", "cells/fgsm-mahalanobis-*.html"):
        page = open_page(sorted(folder.glob(pattern))[0])
        faults = page.evaluate(
            """() => [...document.querySelectorAll(".scroll > table")].flatMap((table) => {
                const name = table.dataset.table || "(a table without a name)";
                const next = table.closest(".scroll").nextElementSibling;
                const taken = next && (next.matches(".take") || next.querySelector(".take"));
                const faults = taken ? [] : [name + " is not taken"];
                if (!table.dataset.table) faults.push("no name");
                if (table.tBodies[0].rows.length < 2) return faults;
                const sorts = [...table.querySelectorAll("button.sort")];
                if (!sorts.length) return [...faults, name + " has nothing to sort by"];
                const rows = () => [...table.tBodies[0].rows];
                const first = rows();
                for (const button of sorts) {
                    const column = () => rows().map((row) => row.cells[button.closest("th").cellIndex]);
                    button.click();
                    if (!button.closest("th").ariaSort) faults.push(name + " does not say how it is sorted");
                    if (new Set(rows()).size !== first.length) faults.push(name + " lost rows");
                    button.click();
                    button.click();
                    if (rows().some((row, n) => row !== first[n])) faults.push(name + " did not come back");
                }
                return faults;
            })"""
        )
        assert not faults, (pattern, faults)


def test_on_paper_no_box_is_cut_and_headings_stay_with_what_they_head(drawn, open_page):
    _, folder = drawn
    for pattern in ("index.html", "settings/cnn-*.html", "cells/fgsm-mahalanobis-*.html"):
        page = open_page(sorted(folder.glob(pattern))[0])
        page.emulate_media(media="print")
        faults = page.evaluate(
            """() => {
                const style = (element) => getComputedStyle(element);
                const named = (element) => [element.localName, element.className, element.textContent.slice(0, 30)];
                const all = (selector) => [...document.querySelectorAll(selector)].filter((e) => e.checkVisibility());
                const parted = all("h2, h3, figcaption").filter((head) => style(head).breakAfter !== "avoid");
                // Only what stands in lines is never cut: a browser cuts cells of grids and of flex boxes.
                const cut = all(".card, .chart").filter((box) =>
                    style(box).breakInside !== "avoid" || !["inline-block", "block"].includes(style(box).display)
                    || style(box.parentElement).display !== "block");
                const controls = all("button:not(.sort):not(.zoom), select, input");
                return [...parted, ...cut, ...controls].map(named);
            }"""
        )
        assert not faults, (pattern, faults)


def test_a_table_wider_than_a_sheet_is_printed_in_parts_that_fit_it(make_run, open_page, tmp_path):
    from bench_report.render import HtmlReporter

    attacks = [f"attack-{number}" for number in range(30)]
    run = make_run(models=("mlp",), attacks=attacks, budgets=[("linf", "8/255", 8 / 255)], n=90)
    folder = HtmlReporter().write([run], tmp_path / "report").parent
    for pattern in ("index.html", "settings/*.html"):
        page = open_page(next(folder.glob(pattern)), width=688)  # A4 between its margins
        numbers = """(tables) => tables.map((table) => [...table.tBodies[0].rows].map((row) =>
            [row.cells[0].innerText, ...[...row.cells].slice(1).map((cell) => cell.textContent)]))"""
        (whole,) = page.locator('table[data-table="robust"]').evaluate_all(numbers)
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        page.emulate_media(media="print")
        parts = page.locator('table[data-table="robust"]:visible')
        assert parts.count() > 2
        in_parts = parts.evaluate_all(numbers)
        for row, *pieces in zip(whole, *in_parts, strict=True):
            assert {piece[0].strip() for piece in pieces} == {row[0].strip()}
            assert [number for piece in pieces for number in piece[1:]] == row[1:]
        for part in range(parts.count()):
            spans = parts.nth(part).evaluate(
                """(table) => [...table.tHead.rows, table.tBodies[0].rows[0]].map((row) =>
                    [...row.cells].reduce((sum, cell) => sum + cell.colSpan, 0))"""
            )
            assert spans[0] == spans[1] + 1 == spans[2]  # the corner stands in the first row of heads
        outside = page.evaluate(
            """() => [...document.querySelectorAll("table")].filter((table) =>
                table.checkVisibility() && table.getBoundingClientRect().right > innerWidth + 1)
                .map((table) => [table.dataset.table, table.getBoundingClientRect().width])"""
        )
        assert not outside, pattern
        page.emulate_media(media="screen")
        page.evaluate("dispatchEvent(new Event('afterprint'))")
        assert page.locator('table[data-table="robust"]').evaluate_all(numbers) == [whole]


# -- the browser of images ---------------------------------------------------------------------------------------------

DETECTED = "cells/pgd-linf-mahalanobis-*.html"


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


# -- words -------------------------------------------------------------------------------------------------------------


def test_terms_are_explained_to_the_pointer_and_to_the_keyboard(drawn, open_page):
    _, folder = drawn
    page = open_page(folder / "index.html")
    tip = page.locator("#term")
    head = table_of(page).locator('th[data-attack="fgsm"]')
    head.hover()
    assert "Robust accuracy" in tip.inner_text()
    assert "out of all attacked test images" in tip.inner_text()
    page.keyboard.press("Escape")
    assert not tip.is_visible()
    head.locator("button").focus()
    assert tip.is_visible()
    assert head.locator("button").get_attribute("aria-describedby") == "term"
    page.locator('.block .badge[data-term="white-box"]').first.focus()
    assert "knows the whole defense" in tip.inner_text()
    page.locator('[data-tool="measure"]').select_option("auroc")
    head.locator("button").focus()
    assert "AUROC" in tip.inner_text()
    page.keyboard.press("Escape")
    page.locator('td[data-metric] [data-term^="trust:"]').first.hover()
    assert re.fullmatch("adaptive\\s*attacked through all that it does; no probe was run", tip.inner_text())
    page = open_page(next(folder.glob(DETECTED)))
    page.locator(".tiles [data-term]").first.focus()
    assert page.locator("#term").is_visible()


def test_no_term_is_explained_because_the_page_moved_under_the_pointer(drawn, open_page):
    _, folder = drawn
    page = open_page(folder / "index.html")
    tip = page.locator("#term")
    mark = page.locator('td[data-metric] [data-term^="trust:"]').first
    mark.hover()
    assert tip.is_visible()
    # The pointer stays where it is: what it was on has gone, and then comes back.
    for way in (200, -200):
        page.evaluate("(way) => scrollBy(0, way)", way)
        page.wait_for_timeout(500)
        assert not tip.is_visible(), way
    box = mark.bounding_box()
    page.mouse.move(box["x"] + 2, box["y"] + 3)
    assert tip.is_visible()


def test_nothing_moves_once_a_reader_has_come_to_it(drawn, open_page):
    """On a slow machine too: what would be laid out late would not be where it is clicked."""
    _, folder = drawn
    page = open_page(folder / "index.html")
    places = page.evaluate(
        """async () => {
            const found = [];
            for (const block of [...document.querySelectorAll(".matrix .block")].reverse()) {
                block.scrollIntoView();
                const before = block.querySelector("table").getBoundingClientRect().y;
                for (let frame = 0; frame < 3; frame++) await new Promise(requestAnimationFrame);
                found.push([before, block.querySelector("table").getBoundingClientRect().y]);
            }
            return found;
        }"""
    )
    assert len(places) == 6
    assert all(before == pytest.approx(after, abs=1) for before, after in places), places


def test_a_reader_who_moves_before_all_is_laid_out_stays_there(drawn, open_page):
    """On a machine so slow that nothing follows the first page yet, in a browser that holds no place by itself."""
    _, folder = drawn
    page = open_page(
        folder / "index.html",
        whole=False,
        first="""window.late = [];
        const soon = window.setTimeout;
        window.setTimeout = (task, after, ...more) => (after ? soon(task, after, ...more) : late.push(task));""",
    )
    assert page.evaluate("late.length > 0 && !('whole' in document.documentElement.dataset)")
    page.add_style_tag(content="* { overflow-anchor: none; }")
    page.evaluate("document.querySelectorAll('.matrix .block')[3].scrollIntoView()")
    places = []
    for _ in range(2):
        page.wait_for_timeout(300)
        places.append(page.evaluate("[...document.querySelectorAll('.matrix table')][3].getBoundingClientRect().y"))
        page.evaluate("while (late.length) late.shift()()")
    page.wait_for_timeout(300)
    places.append(page.evaluate("[...document.querySelectorAll('.matrix table')][3].getBoundingClientRect().y"))
    assert page.evaluate("scrollY > 0")
    assert places == pytest.approx([places[0]] * 3, abs=1)


def test_marks_stay_on_the_line_of_the_name_that_they_follow(make_run, open_page, tmp_path):
    """No line begins with the comma after a name, or ends with the bracket before it, however narrow the page."""
    from bench_report.render import HtmlReporter

    right = {"none": 0.0, "adversarial-training": 0.8, "mahalanobis": 0.3}
    run = make_run(
        models=("cnn",), attacks=("fgsm", "pgd-linf"), knowledge=("gray-box", "white-box"), n=300,
        right=lambda model, attack, defense, knowledge: 0.95 if attack == "none" else right[defense],
        manifest={"only": ["attack=*"]},
    )  # fmt: skip
    folder = HtmlReporter().write([run], tmp_path / "report").parent
    page = open_page(folder / "index.html", width=320)
    parted, ties = page.evaluate(
        """() => {
            const top = (node, at) => {
                const range = document.createRange();
                range.setStart(node, at);
                range.setEnd(node, at + 1);
                const box = range.getBoundingClientRect();
                return box.height ? box.top + box.height / 2 : null;
            };
            const found = [];
            let seen = 0;
            for (const name of document.querySelectorAll(".lede bdi, .findings bdi")) {
                const holder = name.closest("strong") || name;
                const [before, after] = [holder.previousSibling, holder.nextSibling];
                const text = name.firstChild, last = text.length - 1;
                if (before?.nodeType === 3 && /[(“]$/.test(before.data) && ++seen)
                    if (Math.abs(top(before, before.length - 1) - top(text, 0)) > 6) found.push("(" + name.textContent);
                if (after?.nodeType === 3 && /^[),.:;]/.test(after.data) && ++seen)
                    if (Math.abs(top(after, 0) - top(text, last)) > 6) found.push(name.textContent + after.data);
            }
            return [found, seen];
        }"""
    )
    assert ties > 8
    assert not parted


def test_long_labels_stay_in_their_cells(make_run, open_page, tmp_path):
    from bench_report.render import HtmlReporter

    attacks = ("mi_fgsm_linf_8_255_ten_steps_targeted", "pgd_with_forty_steps_and_ten_restarts_on_the_margin_loss_linf")
    run = make_run(models=("cnn",), attacks=attacks, defenses=("none", "a_defense_whose_name_is_long"), n=30)
    folder = HtmlReporter().write([run], tmp_path / "report").parent
    for pattern in ("index.html", "settings/*.html", "cells/mi-*.html"):
        page = open_page(next(folder.glob(pattern)), width=1000)
        outside = page.evaluate(
            """() => [...document.querySelectorAll("th bdi, td bdi")].filter((name) => {
                const [own, box] = [name.closest("th, td"), name].map((element) => element.getBoundingClientRect());
                return name.checkVisibility() && (box.left < own.left - 1 || box.right > own.right + 1);
            }).map((name) => name.textContent)"""
        )
        assert not outside, pattern


SEEN = """() => [...document.querySelectorAll("table.standing:not(.others *) tr[data-defense]")].map((row) => {
    const box = (part) => part.getBoundingClientRect();
    const inside = (part) => box(part).left >= 0 && box(part).right <= innerWidth && box(part).bottom <= innerHeight;
    const [name, said, ...numbers] = [...row.cells];
    const sign = getComputedStyle(said.querySelector("b"), "::before").content;
    return [row.dataset.defense, inside(row), sign.length > 2, numbers.every((one) => inside(one) || !one.innerText)];
})"""
"""Per line of the verdicts: its defense, whether it is on the screen, has a sign, and has its numbers on the screen."""


@pytest.mark.parametrize(("width", "height", "lines"), [(1400, 900, 12), (390, 844, 12)])
def test_the_first_screen_has_the_verdicts(make_run, open_page, tmp_path, width, height, lines):
    """Of two data sets and two attackers: with numbers, and what may not be concluded before them."""
    from bench_report.render import HtmlReporter

    run = make_run(datasets=("digits", "letters"), knowledge=("white-box", "gray-box"), n=90)
    folder = HtmlReporter().write([run], tmp_path / "report").parent
    page = open_page(folder / "index.html", width=width, height=height)
    seen = page.evaluate(SEEN)
    assert len(seen) == 12
    assert all(all(facts) for _, *facts in seen[:lines]), seen
    said = page.locator(".limits").bounding_box()
    assert said["y"] < page.locator("table.standing").first.bounding_box()["y"]
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for wanted in ("mlp", "knows the whole defense"):  # on a phone on demand
        where = page.locator("table.standing").first.get_by_text(wanted, exact=wanted == "mlp").first
        assert where.is_visible() == (width > 1000)
        if width < 1000:
            page.locator(".unfold input").check()
            assert where.is_visible()
            page.locator(".unfold input").uncheck()
    best = page.locator("td.known").first  # a column that a wide screen has room for
    assert best.is_visible() is False
    page.locator(".unfold input").check()
    assert best.is_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= width


# -- a single file -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def single(drawn, tmp_path_factory):
    from bench_report.render import HtmlReporter

    return HtmlReporter().write([drawn[0]], tmp_path_factory.mktemp("single"), single_file=True)


def test_a_single_file_builds_its_pages_when_they_are_turned_to(drawn, single, open_page, barriers):
    page = open_page(single)
    count = "document.getElementsByTagName('*').length"
    first = page.evaluate(count)
    assert page.locator(".sheet").count() == 1
    page.locator('[data-tool="measure"]').select_option("auroc")
    page.locator('[data-tool="measure"]').select_option("")
    link = table_of(page).locator('tr[data-defense="mahalanobis"] td').nth(2).locator("a")
    link.click()
    page.locator(".sheet:visible .cards.many canvas[data-painted]").first.wait_for()
    assert page.locator(".sheet:visible h1").text_content() == "mahalanobis against pgd-linf"
    assert page.title() == "mahalanobis · pgd-linf"
    page.locator(".sheet:visible button.zoom").first.click()
    page.locator("dialog table.same td a").nth(3).click()
    page.locator("dialog[open]").wait_for()
    assert page.locator(".sheet:visible h1").text_content() == "none against fgsm"
    page.reload()
    page.locator("dialog[open]").wait_for()
    assert page.locator(".sheet:visible h1").text_content() == "none against fgsm"
    assert page.locator(".sheet").count() == 2  # the first page, and the one that is looked at
    page.keyboard.press("Escape")
    page.locator(".sheet:visible .trail a").first.click()
    assert page.locator(".matrix").is_visible()
    assert not barriers(page)
    assert first < 0.2 * open_page(single, script=False).evaluate(count)


def test_a_single_file_is_read_without_scripts(drawn, single, open_page):
    page = open_page(single, script=False)
    assert page.locator(".sheet").count() == page.locator(".sheet:visible").count() > 20
    table_of(page).first.locator('tr[data-defense="mahalanobis"] td').nth(2).locator("a").click()
    heading = page.locator("h1", has_text="mahalanobis against pgd-linf").nth(2)
    assert heading.is_visible()


# -- several runs ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def many(tmp_path_factory, run_writer):
    """Return the pages of two drawn runs: their comparison, and a leaderboard of them."""
    from bench_report.render import HtmlReporter
    from benchmark import load_run

    place = tmp_path_factory.mktemp("many")
    about = {"models": ("cnn", "mlp"), "attacks": ("fgsm", "pgd-linf"), "n": 90}
    suite = {"models": {"cnn": {"use": "small_cnn"}, "mlp": {"use": "mlp"}}}
    runs = [
        load_run(run_writer(place / name, **about, knowledge=knowledge, suite=suite, draw=draw, manifest={"key": name}))
        for draw, (name, knowledge) in enumerate((("first", ("gray-box",)), ("second", ("gray-box", "white-box"))))
    ]
    HtmlReporter().write(runs[:1], runs[0].path / "report")
    compared = HtmlReporter().write(runs, place / "compared")
    return compared, HtmlReporter().rank(runs, place / "board")


def board_rows(page):
    return page.locator('table[data-table="leaderboard"] tr[data-defense]:visible').evaluate_all(
        "(rows) => rows.map((row) => [row.dataset.model, row.dataset.knowledge, row.dataset.run, row.dataset.defense])"
    )


def test_a_leaderboard_is_filtered_and_sorted_and_its_address_says_how(many, open_page):
    _, board = many
    page = open_page(board)
    every = board_rows(page)
    assert {row[0] for row in every} == {"cnn", "mlp"}
    page.locator('[data-tool="model"]').select_option("cnn")
    page.locator('[data-tool="knowledge"]').select_option("white-box")
    page.locator('[data-tool="defense"]').fill("ADV")
    wanted = [row for row in every if row[:2] == ["cnn", "white-box"] and row[3].startswith("adv")]
    assert board_rows(page) == wanted
    assert page.locator('[data-tool="status"]').inner_text() == f"{len(wanted)} row{'s' * (len(wanted) != 1)} shown"
    page.locator('[data-tool="defense"]').fill("")
    page.locator('th[data-metric="worst_case_joint_robust_accuracy"] button').click()
    page.wait_for_url(re.compile("sort="))
    chosen = board_rows(page)
    values = page.locator('td[data-metric^="worst_case"]:visible').evaluate_all(
        "(cells) => cells.map((cell) => Number(cell.dataset.value))"
    )
    assert values == sorted(values, reverse=True)
    page.reload()
    page.wait_for_selector("html[data-ready]", state="attached")
    assert board_rows(page) == chosen
    assert board_rows(open_page(board, at="#" + page.url.partition("#")[2])) == chosen
    page.locator('[data-tool="reset"]').click()
    assert len(board_rows(page)) == len(every)
    assert board_rows(open_page(board, at="#?model=nobody&sort=x")) == every
    page.locator("tbody a", has_text="first").first.click()
    page.wait_for_url("**/first/report/index.html*")
    assert page.locator("h1").is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_of_many_runs_have_no_barrier_and_fit_a_phone(many, open_page, barriers, scheme):
    for path in many:
        page = open_page(path, scheme=scheme)
        page.locator("[data-chart]:not([data-drawn])").first.wait_for(state="detached")
        assert not barriers(page), path
        page = open_page(path, scheme=scheme, width=390, script=scheme == "light")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, path
    assert not page.locator(".tools").is_visible() or scheme == "light"
