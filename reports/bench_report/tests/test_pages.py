"""Pages at work in a real browser: what the address says, where links land, words and layout."""

from __future__ import annotations

import re

import pytest

from bench_report.tests.at_work import DETECTED, table_of

pytestmark = [pytest.mark.slow, pytest.mark.pictures]


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
