"""Pages at work in a real browser: what the address says, where links land, tables that are taken along."""

from __future__ import annotations

import io
import re

import pandas as pd
import pytest

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
    anchors = page.locator(".contents a").evaluate_all("(links) => links.map((link) => link.hash.slice(1))")
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
        "dataset", "model", "attack", "defense", "knowledge", "metric", "value", "ci_low", "ci_high", "n",
    ]  # fmt: skip
    keys = ["model", "attack", "defense", "metric"]
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
    assert set(frame.metric) == {"auroc"}
    assert set(frame.defense) == {"mahalanobis"}
    for row in frame.itertuples():
        assert row.value == pytest.approx(wanted.loc[(row.model, row.attack, row.defense, "auroc")].value, abs=1e-5)


def test_a_table_is_copied_as_markdown_and_latex(drawn, open_page):
    _, folder = drawn
    page = open_page(folder / "index.html")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    table = table_of(page)
    best = table.locator("td.best b").first.inner_text()
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
    assert rf"\textbf{{{best} [" in latex
    assert latex.count(r"\\") == shown + 2
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
