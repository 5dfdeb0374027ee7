"""Looks at whole pages: every number of the tables stands there, every link leads somewhere, nothing is fetched."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from itertools import pairwise

import pytest

from bench_report import measures, words

IDENTITY = ("dataset", "model", "attack", "defense", "knowledge", "metric")

MATRICES = {family.key for family in measures.FAMILIES}


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


def verdicts(page):
    return [table for table in page.all("table") if table.get("data-table") == "verdicts"]


def lined_up(page):
    tables = [table for table in page.all("table") if table.get("data-table") == "compare"]
    return [row for table in tables for row in table.all("tr") if row.get("data-metric")]
