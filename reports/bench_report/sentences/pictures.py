"""Titles, captions and texts that stand for pictures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from bench_report.facts import RunFacts
from bench_report.sentences.phrases import ALT_COLUMNS, ALT_ROWS, BOUNDS, attacker, attacks_text, listed
from bench_report.table import Place
from bench_report.values import ChartView, Estimate, FigureView, Word
from bench_report.verdicts import Bound, TradeOff, Verdict


def charts_heading(kinds: Iterable[str]) -> str:
    """Return the heading of a cell's charts: what they show, and nothing of a score where there is none."""
    found = {*kinds}
    if found & {"roc", "scores"}:
        return "Score and threshold"
    return (
        "Success against budget"
        if "budget" in found
        else "Success against distance"
        if "distance" in found
        else "Along the way of the attack"
        if "path" in found
        else "Charts"
    )


def _text(words: Iterable[Word]) -> str:
    return "".join(word.text for word in words)


def bars(estimates: Iterable[Estimate | None]) -> str:
    """Return what the bars of a chart are, "" where it has none."""
    spans = {estimate.spans for estimate in estimates if estimate is not None and estimate.interval}
    if not spans:
        return ""
    over = "" if spans == {"images"} else ", over " + " or ".join(sorted(spans))
    return f" Bars: 95 % intervals{over}."


def on_front(trade: TradeOff, verdict: Verdict) -> str:
    """Return whether a defense is on the front: yes, at most, or no."""
    if verdict.defense not in trade.front:
        return "no"
    return "at most" if verdict.bound else "yes"


PRICE = (
    "Across: clean images labelled rightly and not rejected. Up: attacked images labelled rightly or rejected, the "
    "worst case per image. On the front no other is better in one and no worse in the other; being on it is no tested "
    "difference."
)
"""How the chart of clean accuracy against worst case is read."""
BUDGETS = (
    "Attacked images labelled rightly or rejected, by budget, a line per defense. At 0 stand the clean images, "
    "labelled rightly and not rejected."
)
"""How lines over the budget are read."""
CENTRAL = (("budget", "As the budget grows", BUDGETS), ("price", "At what price?", PRICE))
"""Kinds of figures of the first page: what they are about, heading, and how they are read."""


def trade_off(trade: TradeOff) -> str:
    """Return how the chart of clean accuracy against worst case is to be read, and who is on its front."""
    return f"{PRICE} {trade_off_brief(trade)}"


def trade_off_brief(trade: TradeOff) -> str:
    """Return who is on the front of clean accuracy against worst case, and what cannot be."""
    scope, points = trade.scope, trade.points
    n = {v.robust.n for v in points if v.robust and v.robust.n is not None}
    counted = f", n = {min(n):,}" + (f" to {max(n):,}" if len(n) > 1 else "") if n else ""
    by: dict[str, list[str]] = {"yes": [], "at most": [], "no": []}
    for verdict in points:
        by[on_front(trade, verdict)].append(verdict.defense)
    text = (
        f"Under {attacks_text(scope.attack, scope.attacks)} of {_text(attacker(scope.knowledge))}{counted}."
        f"{bars(e for v in points for e in (v.clean, v.robust))}"
    )
    if by["yes"]:
        text += f" On the front: {_text(listed(by['yes']))}."
    bounds = dict.fromkeys(v.bound for v in points if v.bound)
    if bounds:
        why = " or ".join(BOUNDS[bound] for bound in bounds)
        most = f" At most on the front: {_text(listed(by['at most']))}." if by["at most"] else ""
        text += f"{most} Open marks are upper bounds, since {why}."
    if trade.loses:
        text += " On no front, since on clean images no better than guessing or half of the undefended: "
        text += f"{_text(listed(trade.loses))}."
    if trade.taught:
        text += f" Taught by attacks: {_text(listed(trade.taught))}."
    if trade.left_out:
        text += f" Not drawn, without a sure number under all of these attacks: {_text(listed(trade.left_out))}."
    return text


def unnamed(names: Sequence[str]) -> str:
    """Return which marks of a chart had no room for their names."""
    return f" Drawn without a name, for want of room: {_text(listed(names))}." if names else ""


def over_budgets(facts: RunFacts, knowledge: str, lines: Mapping[str, Sequence[Place]], attacks: str) -> str:
    """Return how lines over the budget are to be read; see `budgets_brief`."""
    return f"{BUDGETS} {budgets_brief(facts, knowledge, lines, attacks)}"


def budgets_brief(facts: RunFacts, knowledge: str, lines: Mapping[str, Sequence[Place]], attacks: str) -> str:
    """Return whose budgets they are, and which lines are upper bounds.

    Args:
        lines: defenses, with the cells or groups of their lines.
        attacks: what the budgets are of.
    """
    bounds: dict[Bound, list[str]] = {}
    for name, places in lines.items():
        if bound := next(filter(None, map(facts.bound, places)), ""):
            bounds.setdefault(bound, []).append(name)
    at_most = "".join(f" At most, since {BOUNDS[bound]}: {_text(listed(found))}." for bound, found in bounds.items())
    return f"Of {_text(attacker(knowledge))}: {attacks}.{at_most}"


def figure_alt(view: FigureView) -> str:
    """Return what a figure shows, for who does not see it, in numbers of its table."""
    rows = []
    for row in view.rows:
        texts = [
            "" if e is None else f"{'≤ ' * (n in row.bounds)}{e.text}" + (f" ({e.interval})" if e.interval else "")
            for n, e in enumerate(row.cells)
        ]
        rows.append((", ".join(row.heads), texts))
    return _alt(view.title + (", in percent" if view.percent else ""), view.columns, rows)


def chart_alt(view: ChartView) -> str:
    """Return what a chart of a cell shows, for who does not see it, in numbers of its table."""
    return _alt(view.title, view.headings[1:], [(f"{view.headings[0]} {row[0]}", row[1:]) for row in view.rows])


def _alt(title: str, columns: Sequence[str], rows: Sequence[tuple[str, Sequence[str]]]) -> str:
    """Return a title and some of the numbers of a table, evenly chosen; `rows` have a label and a text per column."""
    step = -(-len(rows) // ALT_ROWS) if rows else 1
    told = []
    for label, numbers in (*rows[:-1:step], *rows[-1:]):
        found = [f"{column} {number}" for column, number in zip(columns, numbers) if number]
        rest = len(found) - ALT_COLUMNS
        if found:
            told.append(f"{label}: {', '.join(found[:ALT_COLUMNS])}" + (f" and {rest} more" if rest > 0 else ""))
    return f"{title}. {'; '.join(told)}. All numbers follow." if told else f"{title}."


def clean_alt(truth: str) -> str:
    """Return what a clean image shows, for who does not see it."""
    return f"Clean image of class {truth}"


def attacked_alt(truth: str) -> str:
    """Return what an attacked image shows."""
    return f"Attacked image of class {truth}"


def perturbation_alt(scale: float) -> str:
    """Return what the picture of a perturbation shows."""
    return f"Perturbation × {scale:g}, grey is none"
