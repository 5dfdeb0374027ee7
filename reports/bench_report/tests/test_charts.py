"""Charts that answer: what they draw, what is said of them, and that they are told apart without colours."""

from __future__ import annotations

import itertools
import math
import re
import xml.etree.ElementTree as ET
from collections import Counter
from importlib.resources import files

import pandas as pd
import pytest

from bench_report.charts.specs import MOST_LINES
from bench_report.charts.vega import chart_svg, in_colours
from bench_report.render import HtmlReporter

pytestmark = pytest.mark.pictures


def shares(table):
    """Return `right` of `write_run`: by defense, clean and attacked, or by defense and attack."""
    return lambda model, attack, defense, knowledge: table.get(
        (defense, attack), table[defense][0 if attack == "none" else 1] if defense in table else 0.9
    )


def near(value):
    return pytest.approx(value, abs=1e-4)  # a chart has four digits


def charts(page, kind):
    return [figure for figure in page.all("figure") if figure.get("data-chart") == kind]


def caption(figure):
    return next(e.text for e in figure.all("span") if e.get("class") == "how")


def alt(figure):
    return next(e for e in figure.all("div") if e.get("role") == "img").get("aria-label")


# -- clean accuracy against worst case ---------------------------------------------------------------------------------

DEFENSES = ("none", "at", "weaker", "costly", "detector")
KEPT = {"none": (0.95, 0.05), "at": (0.85, 0.6), "weaker": (0.8, 0.5), "costly": (0.4, 0.39), "detector": (0.95, 0.2)}


@pytest.fixture
def traded(make_run, site_of):
    """Return the run and the chart of a gray-box setting in which one detector catches nearly all."""
    run = make_run(
        models=("mlp",), defenses=DEFENSES, detectors=("detector",), n=200, right=shares(KEPT),
        flags=lambda attack, defense, knowledge: 0.02 if attack == "none" else 0.9, taught={"detector": ("fgsm",)},
    )  # fmt: skip
    (page,) = site_of(run).settings
    (figure,) = charts(page, "tradeoff")
    return run, figure, page


def test_a_chart_has_joint_accuracies_with_intervals_and_its_front(traded):
    run, figure, page = traded
    drawn = {row["s"]: row for row in figure.drawn()["points"]}
    assert list(drawn) == list(DEFENSES)
    frame = run.metrics.set_index(["attack", "defense", "metric"])
    for defense, point in drawn.items():
        clean = frame.loc["none", defense, "joint_clean_accuracy" if defense == "detector" else "clean_accuracy"]
        worst = frame.loc["worst-of: all attacks", defense, "worst_case_joint_robust_accuracy"]
        assert [point[k] for k in ("x", "left", "right")] == near([clean.value, clean.ci_low, clean.ci_high])
        assert [point[k] for k in ("y", "low", "high")] == near([worst.value, worst.ci_low, worst.ci_high])
    # Nobody is ahead of `none` on clean images and of `at` under attack; what loses half is on no front, and an upper
    # bound is on it at most and pushes nobody off.
    assert {name: point["front"] for name, point in drawn.items()} == {
        "none": "yes", "at": "yes", "weaker": "no", "costly": "no", "detector": "at most",
    }  # fmt: skip
    assert {name for name, point in drawn.items() if point["open"]} == {"detector"}
    corners = [(row["x"], row["y"]) for row in figure.drawn()["front"]]
    ends = [(drawn[name]["x"], drawn[name]["y"]) for name in ("at", "none")]
    assert corners[1:-1] == ends
    assert (corners[0][1], corners[-1]) == (ends[0][1], (ends[1][0], 0))
    assert figure is next(e for e in page.all("figure") if e.get("data-chart"))


def test_a_caption_says_who_is_on_the_front_and_what_that_is_not(traded):
    _, figure, _ = traded
    said = caption(figure)
    assert "Under all 4 attacks of a gray-box attacker, who knows the network, n = 200. Bars: 95 % intervals." in said
    assert "On the front: none and at." in said
    assert "At most on the front: detector. Open marks are upper bounds, since this attacker does not know" in said
    assert "being on it is no tested difference." in said
    assert "no better than guessing or half of the undefended: costly." in said
    assert "Taught by attacks: detector." in said
    seen = alt(figure)
    assert "at, yes: Right on clean, % 85.0 (79.4–89.3), Withstood at worst, % 60.0 (53.1–66.5)" in seen
    assert "detector, at most:" in seen
    assert "Withstood at worst, % ≤ " in seen
    rows = {row.get("data-label"): [c.text for c in row.all("th", "td")] for row in figure.one("tbody").all("tr")}
    assert rows["detector"][1] == "at most"
    assert rows["detector"][3].startswith("≤ ")
    assert rows["none"][4] == "–"
    assert rows["detector"][4] != "–"


def test_the_table_beside_a_chart_has_the_time_per_image_where_it_was_measured(make_run, site_of):
    run = make_run(models=("mlp",), attacks=("fgsm",), defenses=("none", "at"), detectors=(), n=60, right=shares(KEPT))
    tasks = [("judge", "at", 1.5, 100), ("judge", "at", 0.5, 300), ("fit", "at", 9.0, 50), ("judge", "", 9.0, 10)]
    costs = [dict(zip(("kind", "defense", "seconds", "images"), task)) for task in tasks]
    run.costs = pd.DataFrame([{**run.costs.iloc[0].to_dict(), **cost} for cost in costs])
    (figure,) = charts(site_of(run).settings[0], "tradeoff")
    assert [head.text for head in next(figure.all("thead")).all("th")][-1] == "Judging, ms per image, over the run"
    rows = {row.get("data-label"): [cell.text for cell in row.all("td")] for row in next(figure.all("tbody")).all("tr")}
    assert rows["at"][-1].startswith("5n = 400")
    assert rows["none"][-1] == "–"


def test_names_stand_at_their_marks_and_none_over_another(traded):
    _, figure, _ = traded
    names = figure.drawn()["names"]
    assert {row["s"] for row in names} == set(DEFENSES)
    assert {row["s"]: row["cost"] for row in names if row["cost"]}.keys() == {"detector"}
    assert next(row["cost"] for row in names if row["s"] == "detector").endswith(" % false alarms")


def test_marks_without_room_for_a_name_are_told(make_run, site_of):
    names = [f"defense-{n:02}-of-many" for n in range(24)]
    run = make_run(
        models=("mlp",), attacks=("fgsm",), defenses=("none", *names), detectors=(), n=100,
        right=lambda model, attack, defense, knowledge: 0.9 if attack == "none" else
        0.1 if defense == "none" else round(0.5 + names.index(defense) % 4 / 100, 6),
    )  # fmt: skip
    (figure,) = charts(site_of(run).settings[0], "tradeoff")
    written = {row["s"] for row in figure.drawn()["names"]}
    assert "none" in written
    assert len(written) < len(names)
    assert f"Drawn without a name, for want of room: {next(x for x in names if x not in written)}" in caption(figure)


def test_what_lacks_an_attack_is_not_drawn_and_named(make_run, site_of):
    run = make_run(
        models=("mlp",), defenses=("none", "at", "half"), detectors=(), n=100, right=shares(KEPT),
        failed=lambda d, m, attack, defense, s: "x" if (attack, defense) == ("pgd-l2", "half") else "",
    )  # fmt: skip
    (page,) = site_of(run).settings
    (figure,) = charts(page, "tradeoff")
    assert [row["s"] for row in figure.drawn()["points"]] == ["none", "at"]
    assert "Not drawn, without a sure number under all of these attacks: half." in caption(figure)


def test_no_chart_where_all_withstand_the_same_and_none_over_settings(make_run, site_of):
    alike = make_run("alike", models=("mlp",), defenses=("none", "at"), detectors=(), n=60,
                     right=lambda model, attack, defense, knowledge: 0.9 if attack == "none" else 0.3)  # fmt: skip
    assert not charts(site_of(alike).settings[0], "tradeoff")


def test_each_setting_has_its_own_chart_of_its_own_attackers(make_run, site_of):
    withstood = {"none": 0.1, ("squeeze", "white-box"): 0.2, ("squeeze", "gray-box"): 0.6}

    def right(model, attack, defense, knowledge):
        share = withstood.get(defense) or withstood.get((defense, knowledge), 0.9)
        return 0.9 if attack == "none" else round(share + (model == "cnn") / 10, 6)

    run = make_run(
        models=("mlp", "cnn"), defenses=("none", "squeeze"), detectors=(), families={"squeeze": "preprocessor"},
        knowledge=("gray-box", "white-box"), n=80, right=right,
    )  # fmt: skip
    found = {}
    for page in site_of(run).settings:
        (figure,) = charts(page, "tradeoff")
        points = {row["s"]: (row["y"], row["open"]) for row in figure.drawn()["points"]}
        words = next(p.text for p in page.all("p") if "Attacker" in p.text)
        found[next(page.all("h1")).text.partition(" ")[0], "white-box" in words] = points
    assert found == {
        (model, white): {
            "none": (near(0.1 + more), False),
            "squeeze": (near((0.2 if white else 0.6) + more), not white),
        }
        for model, more in (("mlp", 0), ("cnn", 0.1))
        for white in (True, False)
    }


# -- accuracy over the budget ------------------------------------------------------------------------------------------

EPS = (2, 4, 8)
SWEEPS = {f"{a}@{k}": {"use": a, "norm": "linf", "eps": f"{k}/255"} for a in ("pgd", "fgsm") for k in EPS}


def swept(model, attack, defense, knowledge):
    """Return less the larger the budget, and less under PGD."""
    lost = 0 if attack == "none" else int(attack.partition("@")[2]) / (10 if attack.startswith("pgd") else 20)
    return round((0.9 if defense == "none" else 0.8) - lost * (0.9 if defense == "none" else 0.3), 6)


BUDGETS = tuple(("linf", f"{k}/255", k / 255) for k in EPS)
"""Of the attacks above, in their order."""


def test_a_suite_with_sweeps_begins_with_the_worst_case_over_the_budget(make_run, site_of):
    run = make_run(
        models=("mlp",), defenses=("none", "at", "detector"), detectors=("detector",), attacks=tuple(SWEEPS), n=100,
        budgets=BUDGETS, right=swept, flags=lambda attack, defense, knowledge: 0.04 if attack == "none" else 0.5,
        suite={"attacks": SWEEPS},
    )  # fmt: skip
    (page,) = site_of(run).settings
    figure = next(e for e in page.all("figure") if e.get("data-chart"))
    assert next(e.text for e in figure.all("span") if e.get("class") == "title") == "Worst case over the budget, L∞"
    assert "the worst case per image over pgd@…, fgsm@…" in caption(figure)
    assert "At most, since this attacker does not know the defense: detector. Bars: 95 % intervals." in caption(figure)
    frame = run.metrics.set_index(["attack", "defense", "metric"])
    drawn = figure.drawn()
    for defense, joint in (("none", ""), ("at", ""), ("detector", "joint_")):
        cells = [frame.loc["none", defense, f"{joint}clean_accuracy"]]
        cells += [frame.loc[f"worst-of: linf {k}/255", defense, f"worst_case_{joint}robust_accuracy"] for k in EPS]
        rows = [row for row in drawn["lines"] if row["s"] == defense]
        assert [row["x"] for row in rows] == [0, *EPS]
        for row, cell in zip(rows, cells, strict=True):
            assert [row[k] for k in ("y", "low", "high")] == near([cell.value, cell.ci_low, cell.ci_high])
    assert [row["s"] for row in drawn["names"]] == ["detector", "at", "none"]
    heights = [row["y"] for row in drawn["names"]]
    assert all(a - b > 0.06 for a, b in itertools.pairwise(heights))
    assert alt(figure).startswith("Worst case over the budget, L∞, in percent. 0: none 90.0 (82.6–94.5), at 80.0 ")
    assert "8/255: none 18.0 (11.7–26.7), at " in alt(figure)


def test_two_budgets_of_one_attack_and_the_clean_images_make_a_line(make_run, site_of):
    attacks = {name: SWEEPS[name] for name in ("pgd@2", "pgd@4")}
    run = make_run(
        models=("mlp",), defenses=("none", "at"), detectors=(), attacks=tuple(attacks), n=60, right=swept,
        budgets=BUDGETS, suite={"attacks": attacks},
    )  # fmt: skip
    (page,) = site_of(run).settings
    (figure,) = charts(page, "lines")
    assert figure is next(e for e in page.all("figure") if e.get("data-chart"))
    assert "attacks that differ in the budget alone (pgd@…)" in caption(figure)
    assert [(row["s"], row["x"]) for row in figure.drawn()["lines"]] == [
        (s, x) for s in ("none", "at") for x in (0, 2, 4)
    ]


def test_attacks_that_share_no_group_have_a_figure_each_and_the_first_page_the_hardest(make_run, site_of):
    run = make_run(
        models=("mlp",), defenses=("none", "at"), detectors=(), attacks=tuple(SWEEPS), budgets=BUDGETS, n=60,
        right=swept, suite={"attacks": dict(reversed(SWEEPS.items())), "groups": {"all": list(SWEEPS)}},
    )  # fmt: skip
    site = site_of(run)
    titles = [next(figure.all("span")).text for figure in charts(site.settings[0], "lines")]
    assert titles[:2] == ["pgd@… over the budget, L∞", "fgsm@… over the budget, L∞"]
    (figure,) = central(site.index, "budget")
    assert "(pgd@…)" in caption(figure)


def test_budgets_of_different_attacks_share_no_line(make_run, site_of):
    attacks = {name: SWEEPS[name] for name in ("pgd@2", "pgd@4", "pgd@8", "fgsm@2")}
    run = make_run(
        models=("mlp",), defenses=("none", "at"), detectors=(), attacks=tuple(attacks), n=60, right=swept,
        budgets=BUDGETS, suite={"attacks": attacks},
    )  # fmt: skip
    titles = [next(figure.all("span")).text for figure in charts(site_of(run).settings[0], "lines")]
    assert titles == ["pgd@… over the budget, L∞"]


# -- the first page ----------------------------------------------------------------------------------------------------


def central(page, about):
    """Return the figures of a kind on the first page."""
    found = [e for e in page.all("section") if e.get("aria-labelledby") == f"r1-{about}"]
    return [figure for section in found for figure in section.all("figure")]


def test_the_first_page_answers_in_pictures_that_need_no_script(make_run, site_of):
    run = make_run(
        models=("mlp", "cnn"), defenses=("none", "at", "detector"), detectors=("detector",), attacks=tuple(SWEEPS),
        budgets=BUDGETS, n=80, right=swept, suite={"attacks": SWEEPS},
    )  # fmt: skip
    site = site_of(run)
    links = [link.get("href") for link in site.index.one("nav", aria_label="Contents").all("a")]
    assert links.index("#r1-verdicts") < links.index("#r1-budget") < links.index("#r1-price")
    pages = {next(page.all("h1")).text: page for page in site.settings}
    for about, kind in (("budget", "lines"), ("price", "tradeoff")):
        figures = central(site.index, about)
        assert [next(figure.all("a")).text for figure in figures] == ["mlp on digits", "cnn on digits"]
        for figure in figures:
            (theirs,) = (one for one in charts(pages[next(figure.all("a")).text], kind)[:1])
            # The same words, the same picture; the page's own colours, so that it is dark on a dark page.
            assert alt(figure) == alt(theirs)
            assert caption(figure) in caption(theirs)
            (picture,) = figure.all("svg")
            assert picture.get("aria-hidden") == "true"  # its place says it all; Vega gives its groups roles
            assert any(e.get("stroke").startswith("var(--") for e in picture.all("path"))
            words = {e.text for e in picture.all("text")}
            assert {"none", "at", "detector"} <= words
            (drawn,) = (e.get("href") for e in theirs.all("a") if "data-svg" in e.attributes)
            text = (site.folder / drawn.removeprefix("../")).read_text("utf-8")
            assert words == {e.text or "" for e in ET.fromstring(text).iter("{http://www.w3.org/2000/svg}text")}
    assert not any("vega" in script.get("src") for script in site.index.all("script"))


def test_the_first_page_has_a_few_figures_however_many_settings(make_run, site_of):
    models = tuple(f"m{n}" for n in range(9))
    run = make_run(models=models, attacks=("fgsm",), defenses=("none", "at"), detectors=(), n=40)
    site = site_of(run)
    assert len(central(site.index, "price")) == 6
    assert sum(len(charts(page, "tradeoff")) for page in site.settings) == len(models)


# -- told apart without colours ----------------------------------------------------------------------------------------

# Machado, Oliveira, Fernandes 2009, IEEE TVCG 15:1291-1298, severity 1, on linear sRGB.
EYES = {
    "all cones": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "no red": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "no green": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.01182, 0.04294, 0.968881)),
}
ENOUGH = 20.0
"""CIEDE2000; below 10 two thin lines are told apart by who knows that they differ."""


def colours(theme):
    """Return the colours of the style sheet by their names."""
    light, _, dark = files("bench_report").joinpath("assets", "report.css").read_text("utf-8").partition("@media")
    found = dict(re.findall(r"(--[\w-]+):\s*([^;]+);", light))
    return found if theme == "light" else found | dict(re.findall(r"(--[\w-]+):\s*(#\w+);", dark.partition("\n}\n")[0]))


def lab(colour, eyes):
    """Return CIELAB (D65) of a colour as these eyes see it."""
    values = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in values]
    seen = [min(1.0, max(0.0, sum(a * b for a, b in zip(row, linear)))) for row in eyes]
    to_xyz = ((0.433891, 0.376235, 0.189906), (0.2126729, 0.7151522, 0.072175), (0.0177566, 0.109468, 0.8729557))
    x, y, z = (sum(a * b for a, b in zip(row, seen)) for row in to_xyz)
    x, y, z = (t ** (1 / 3) if t > 216 / 24389 else (24389 / 27 * t + 16) / 116 for t in (x, y, z))
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def ciede2000(one, other):
    """Return the difference of two colours (Sharma, Wu, Dalal 2005, Color Res. Appl. 30:21-30)."""
    (l1, a1, b1), (l2, a2, b2) = one, other
    c = ((math.hypot(a1, b1) + math.hypot(a2, b2)) / 2) ** 7
    g = 1.5 - math.sqrt(c / (c + 25**7)) / 2
    c1, c2 = math.hypot(a1 * g, b1), math.hypot(a2 * g, b2)
    h1, h2 = math.degrees(math.atan2(b1, a1 * g)), math.degrees(math.atan2(b2, a2 * g))
    turn = (h2 - h1 + 180) % 360 - 180 if c1 * c2 else 0.0
    hue = math.radians(h1 + turn / 2 if c1 * c2 else h1 + h2) % math.tau
    light, chroma = (l1 + l2) / 2 - 50, (c1 + c2) / 2
    t = 1 - 0.17 * math.cos(hue - math.radians(30)) + 0.24 * math.cos(2 * hue)
    t += 0.32 * math.cos(3 * hue + math.radians(6)) - 0.2 * math.cos(4 * hue - math.radians(63))
    dl = (l2 - l1) / (1 + 0.015 * light**2 / math.sqrt(20 + light**2))
    dc = (c2 - c1) / (1 + 0.045 * chroma)
    dh = 2 * math.sqrt(c1 * c2) * math.sin(math.radians(turn / 2)) / (1 + 0.015 * chroma * t)
    bend = math.radians(60 * math.exp(-(((math.degrees(hue) - 275) / 25) ** 2)))
    return math.sqrt(dl**2 + dc**2 + dh**2 - math.sin(bend) * 2 * math.sqrt(chroma**7 / (chroma**7 + 25**7)) * dc * dh)


def test_the_difference_of_colours_is_that_of_its_authors():
    # Sharma et al., Table 1, pairs 1, 7, 17, 25.
    for one, other, wanted in (
        ((50, 2.6772, -79.7751), (50, 0, -82.7485), 2.0425),
        ((50, 0, 0), (50, -1, 2), 2.3669),
        ((50, 2.5, 0), (73, 25, -18), 27.1492),
        ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
    ):
        assert ciede2000(one, other) == pytest.approx(wanted, abs=1e-4)


def told_apart(svg, role="mark-line"):
    """Return colour, dash and mark of the lines of a picture."""
    picture = ET.fromstring(svg)
    lines, marks = {}, {}
    for group in picture.iter("{http://www.w3.org/2000/svg}g"):
        kind = group.get("class", "").split()
        for path in group.findall("{http://www.w3.org/2000/svg}path") if kind else ():
            if "role-mark" in kind and role in kind and path.get("stroke", "none").startswith("#"):
                lines.setdefault((path.get("stroke"), path.get("stroke-dasharray", "")), None)
            if "role-mark" in kind and "mark-symbol" in kind and path.get("fill", "none").startswith("#"):
                marks.setdefault(path.get("fill"), {}).setdefault(path.get("d"), None)
    return list(lines), marks


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_lines_that_some_eyes_take_for_one_colour_have_other_dashes_and_marks(theme):
    rows = [
        {"s": f"line {n:02}", "x": x, "y": n / 20, "at": "", "xt": "", "yt": ""}
        for n in range(MOST_LINES)
        for x in (0, 1)
    ]
    dashed, marks = told_apart(in_colours(chart_svg("lines", {"lines": rows}), colours(theme)))
    assert len(dashed) == MOST_LINES
    # Of one colour the lines come in their order, and so do their marks.
    again: dict[str, int] = {}
    styles = []
    for colour, dash in dashed:
        styles.append((colour, dash, list(marks[colour])[again.get(colour, 0)]))
        again[colour] = again.get(colour, 0) + 1
    for one, other in itertools.combinations(styles, 2):
        nearest = min(ciede2000(lab(one[0], eyes), lab(other[0], eyes)) for eyes in EYES.values())
        if nearest < ENOUGH:
            assert one[1] != other[1], (one, other, nearest)
            assert one[2] != other[2], (one, other, nearest)


@pytest.mark.parametrize("name", ["var(--x)", "var(--page)", 'fill="var(--page)">'])
def test_a_label_called_like_a_colour_of_the_page_keeps_its_name(make_run, tmp_path, name):
    run = make_run(models=("mlp",), attacks=("fgsm", "pgd"), defenses=("none", name), detectors=())
    HtmlReporter().write([run], tmp_path / "report")
    drawn = [ET.parse(path) for path in (tmp_path / "report").rglob("*.svg")]
    words = {"".join(text.itertext()) for one in drawn for text in one.iter("{http://www.w3.org/2000/svg}text")}
    assert name in words
    painted = {part.get(how, "") for one in drawn for part in one.iter() for how in ("fill", "stroke")}
    assert not [paint for paint in painted if "var(" in paint]


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize(("kind", "names", "more"), [
    ("scores", ["clean", "attack successful", "attack failed", "wrong before the attack"], {"cut": []}),
    ("budget", ["robust accuracy", "attack success"], {}),
    ("steps", ["clean", "attack successful", "attack failed", "wrong before the attack", "a", "b"], {}),
])  # fmt: skip
def test_kinds_of_images_are_told_apart_by_dashes_too(theme, kind, names, more):
    field, value, data = {
        "scores": ("kind", "share", "bins"), "budget": ("kind", "value", "sweep"), "steps": ("series", "y", "points")
    }[kind]  # fmt: skip
    rows = [
        {field: name, value: 0.1 + n / 10, ("eps" if kind == "budget" else "x"): x, "xt": "", "yt": ""}
        for n, name in enumerate(names)
        for x in (0.0, 1.0)
    ]
    svg = chart_svg(kind, {data: rows, **more})
    words = Counter("".join(text.itertext()) for text in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text"))
    assert {words[name] for name in names} == {1}  # one legend has colour and dash
    styles, _ = told_apart(in_colours(svg, colours(theme)))
    assert len(styles) == len(names)
    for one, other in itertools.combinations(styles, 2):
        nearest = min(ciede2000(lab(one[0], eyes), lab(other[0], eyes)) for eyes in EYES.values())
        assert nearest >= ENOUGH or one[1] != other[1], (one, other, nearest)
