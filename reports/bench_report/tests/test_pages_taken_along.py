"""In a real browser: tables that are sorted, saved, copied and printed."""

from __future__ import annotations

import io

import pandas as pd
import pytest

from bench_report.tests.at_work import ATTACKS, table_of

pytestmark = [pytest.mark.slow, pytest.mark.pictures]


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
