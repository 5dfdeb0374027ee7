"""Charts that answer: what they draw, what is said of them, and that they are told apart without colours."""

from __future__ import annotations

import pytest


def shares(table):
    """Return `right` of `write_run`: by defense, clean and attacked, or by defense and attack."""
    return lambda model, attack, defense, knowledge: table.get(
        (defense, attack), table[defense][0 if attack == "none" else 1] if defense in table else 0.9
    )


def near(value):
    return pytest.approx(value, abs=1e-5)


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
        flags=lambda attack, defense, knowledge: 0.02 if attack == "none" else 0.9,
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
        assert [point[k] for k in ("x", "left", "right")] == pytest.approx(
            [clean.value, clean.ci_low, clean.ci_high], abs=1e-5
        )
        assert [point[k] for k in ("y", "low", "high")] == pytest.approx(
            [worst.value, worst.ci_low, worst.ci_high], abs=1e-5
        )
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
    assert "the worst case per image under all 4 attacks of a gray-box attacker" in said
    assert "n = 200. Bars: 95 % intervals." in said
    assert "no worse in the other: none and at." in said
    assert "At most on the front: detector. Open marks are upper bounds, since this attacker does not know" in said
    assert "Being on the front is no tested difference." in said
    assert "no better than guessing or half of the undefended: costly." in said
    seen = alt(figure)
    assert "at, yes: Right on clean, % 85.0 (79.4–89.3), Withstood at worst, % 60.0 (53.1–66.5)" in seen
    assert "detector, at most:" in seen
    assert "Withstood at worst, % ≤ " in seen
    rows = {row.get("data-label"): [c.text for c in row.all("th", "td")] for row in figure.one("tbody").all("tr")}
    assert rows["detector"][1] == "at most"
    assert rows["detector"][3].startswith("≤ ")
    assert rows["none"][4] == "–"
    assert rows["detector"][4] != "–"


def test_names_stand_at_their_marks_and_none_over_another(traded):
    _, figure, _ = traded
    names = figure.drawn()["names"]
    assert {row["s"] for row in names} == set(DEFENSES)
    assert {row["s"]: row["cost"] for row in names if row["cost"]}.keys() == {"detector"}
    assert next(row["cost"] for row in names if row["s"] == "detector").endswith(" % false alarms")


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
