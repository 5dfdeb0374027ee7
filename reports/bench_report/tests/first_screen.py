"""Runs whose shares of right labels are given, and readers of what the first screen says of them."""

from __future__ import annotations

GROUP = "worst-of: all attacks"

LINF = ("fgsm", "pgd-linf")
"""Two attacks of one norm and budget, as conftest gives them."""


def shares(table, default=0.95):
    """Return `right` of `write_run`: by defense, or by defense and attack, or by defense and knowledge."""

    def right(model, attack, defense, knowledge):
        for key in ((defense, attack, knowledge), (defense, attack), (defense, knowledge), (model, defense, attack)):
            if key in table:
                return table[key]
        return default if attack == "none" else table[defense]

    return right


def lines(page, **where):
    """Return the rows of the table of verdicts by defense; of one body of it where there are several."""
    table = page.one("table", data_table="verdicts")
    bodies = [b for b in table.all("tbody") if all(b.get(f"data-{k}") == v for k, v in where.items())]
    return {row.get("data-defense"): row for body in bodies for row in body.all("tr") if row.get("data-defense")}


def verdict(row):
    """Return the verdict and what is said beside it."""
    said = next(cell for cell in row.all("td") if "said" in cell.get("class").split())
    return next(said.all("b")).text, next(said.all("span")).text


def cell(row, metric):
    (found,) = (c for c in row.all("td") if c.get("data-metric").endswith(metric))
    return found


def findings(page):
    return [item.text for listed in page.all("ul") if listed.get("class") == "findings" for item in listed.all("li")]


def headline(page):
    return next(p.text for p in page.all("p") if p.get("class") == "lede")
