"""Sweeps of budgets: judged at the budget that tells, and up to where each defense holds."""

from __future__ import annotations

import pytest

from bench_report.tests.first_screen import LINF, cell, findings, headline, lines, shares, verdict

SWEPT = (1, 2, 4, 8, 255)


SWEEP = {f"{a}@{k}": {"use": a, "norm": "linf", "eps": f"{k}/255"} for a in ("pgd", "fgsm") for k in SWEPT}


SWEEP_BUDGETS = tuple(("linf", f"{k}/255", k / 255) for k in SWEPT)


LEFT = {
    "none": (0.7, 0.3, 0.05, 0, 0),
    "at": (0.8, 0.75, 0.6, 0.2, 0),
    "small": (0.8, 0.6, 0.1, 0, 0),
    "weak": (0.5, 0.2, 0.05, 0, 0),
    "squeeze": (0.9, 0.85, 0.8, 0.7, 0),
}
"""What is left of each defense under PGD, by budget; the undefended system withstands the smallest."""


def swept(left, known=()):
    """Return `right` of `write_run` for a sweep; of `known`, who knows them leaves what is left of none."""

    def right(model, attack, defense, knowledge):
        if attack == "none":
            return 0.95
        name, _, budget = attack.partition("@")
        whose = "none" if defense in known and knowledge == "white-box" else defense
        return round(left[whose][SWEPT.index(int(budget))] + 0.03 * (name == "fgsm"), 6)

    return right


def sweep_of(make_run, left, name="sweep", **about):
    about = {"knowledge": ("gray-box", "white-box"), "models": ("mlp",), **about}
    return make_run(
        name,
        attacks=tuple(SWEEP),
        budgets=SWEEP_BUDGETS,
        defenses=tuple(left),
        detectors=(),
        n=400,
        right=swept(left, known=("squeeze",)),
        suite={"attacks": SWEEP, **about.pop("suite", {})},
        families={"squeeze": "preprocessor"} if "squeeze" in left else None,
        **about,
    )


def test_a_sweep_is_judged_at_the_budget_that_tells_and_says_how_far_each_defense_holds(make_run, site_of):
    """At eps = 1 nothing is left of anything: that every defense fails there says that the attacks work, no more."""
    site = site_of(sweep_of(make_run, LEFT))
    told = {name: verdict(row) for name, row in lines(site.index, knowledge="white-box").items()}
    assert told["at"] == ("holds to 4/255", "against these attacks; at 8/255 it does not hold: 20.0 %")
    assert told["small"] == ("does not hold", "pgd@4 alone leaves 10.0 %; holds to 2/255")
    assert told["weak"][1].endswith("undecided at 1/255 already")
    assert told["squeeze"][1].endswith("does not hold at 2/255 already")
    told = {name: verdict(row) for name, row in lines(site.index, knowledge="gray-box").items()}
    assert told["squeeze"] == (
        "holds to 8/255, at most",
        "this attacker does not know the defense; at 255/255 it does not hold: 0.0 %",
    )
    assert told["at"][1].endswith("; holds to 4/255")
    # Numbers of one table are of one budget, which its head names.
    abouts = [h.text for h in site.index.one("table", data_table="verdicts").all("th") if h.get("scope") == "rowgroup"]
    assert "linf 4/255, 2 attacks, of 5 budgets to 255/255 (the largest at which a defense holds)" in abouts[0]
    assert "linf 8/255, 2 attacks, of 5 budgets to 255/255" in abouts[1]
    assert headline(site.index).startswith(
        "at holds to 4/255 against every attacker that was run; small holds to 2/255 against every attacker that was "
        "run; weak and squeeze do not hold."
    )
    # Nor is a defense called broken at a budget that breaks all of them.
    broken = [said for said in findings(site.index) if " breaks " in said]
    assert not any("at" in said.split() or "@255" in said for said in broken)
    # The attackers are judged at budgets of their own: what lies beyond that of one, the other is told of.
    (small,) = (said for said in broken if "small" in said.split())
    assert "pgd@8" in small
    assert "gray-box" in small
    said = " ".join(p.text for page in site.settings for p in page.all("p") if p.get("class") == "finding")
    assert "at holds to 4/255: 60.0 % (" in said


def test_a_sweep_that_nothing_withstands_is_judged_at_its_smallest_telling_budget(make_run, page_of):
    broken = {name: LEFT[name] for name in ("none", "weak")}
    rows = lines(page_of(sweep_of(make_run, broken, knowledge=("gray-box",))))
    assert verdict(rows["weak"])[0] == "does not hold"
    assert float(cell(rows["weak"], "joint_robust_accuracy").get("data-value")) == pytest.approx(0.2)  # at 2/255
    strong = {"none": (0.9,) * 5, "at": (0.9,) * 5}
    page = page_of(sweep_of(make_run, strong, "weak attacks", knowledge=("gray-box",)))
    assert verdict(lines(page)["at"])[0] == "undecided"
    assert headline(page) == "at is undecided."
    firm = {"none": (0.5, 0.3, 0.1, 0, 0), "at": (0.9,) * 5}
    page = page_of(sweep_of(make_run, firm, "firm", knowledge=("gray-box",)))
    assert verdict(lines(page)["at"]) == ("holds to 255/255", "against these attacks; the largest of 5 budgets")


def test_a_sweep_without_numbers_says_nothing_of_what_holds(make_run, page_of):
    """Nor that nothing does: its head has the budgets, and no reason why one of them speaks."""
    left = {name: LEFT[name] for name in ("none", "at")}
    page = page_of(
        sweep_of(make_run, left, knowledge=("gray-box",), failed=lambda d, m, a, x, s: "no luck" * (a != "none"))
    )
    about = next(h.text for h in page.one("table", data_table="verdicts").all("th") if h.get("scope") == "rowgroup")
    assert "of 5 budgets to 255/255" in about
    assert "holds" not in about
    assert "withstands" not in about
    assert headline(page) == "at is undecided."


@pytest.mark.parametrize(
    ("undecided", "beside", "over_all"),
    [
        (2, "undecided at 2/255 already", "at is undecided."),
        (4, "holds to 2/255, undecided at 4/255 already", "at holds to 2/255 against every attacker that was run."),
    ],
)
def test_nothing_holds_to_a_budget_over_a_smaller_one_that_is_undecided(make_run, site_of, undecided, beside, over_all):
    """At the line's budget it holds; an attack on it at a smaller one has failed."""
    left = {"none": LEFT["none"], "at": LEFT["squeeze"]}
    failed = lambda d, m, a, x, s: "no luck" if (a, x) == (f"pgd@{undecided}", "at") else ""  # noqa: E731
    site = site_of(sweep_of(make_run, left, knowledge=("gray-box",), failed=failed))
    assert verdict(lines(site.index)["at"]) == ("holds at 8/255", f"against these attacks; {beside}")
    assert headline(site.index) == over_all
    said = " ".join(p.text for page in site.settings for p in page.all("p") if p.get("class") == "finding")
    assert "at holds at 8/255: 70.0 % (" in said


def test_models_and_named_groups_share_the_budget_of_their_line(make_run, page_of):
    """The budget is one at which a defense holds with all its models; groups by budget are a sweep as well."""
    groups = {f"up to {k}": [f"pgd@{k}", f"fgsm@{k}"] for k in SWEPT}
    run = sweep_of(make_run, {x: LEFT[x] for x in ("none", "at")}, suite={"groups": groups}, knowledge=("gray-box",))
    rows = lines(page_of(run))
    assert verdict(rows["at"])[0] == "holds to 4/255"


def test_what_was_run_beside_a_sweep_counts_at_its_own_budget(make_run, page_of):
    """At a budget of the sweep it is one of the attacks there; elsewhere it has verdicts of its own."""
    some = {name: SWEEP[name] for name in ("pgd@1", "pgd@2", "pgd@4", "pgd@8", "fgsm@255")}
    some["bim@2"] = {**SWEEP["pgd@2"], "use": "bim"}
    some["other@4"] = {"use": "other", "norm": "l2", "eps": "0.5"}
    budgets = (*SWEEP_BUDGETS[:4], SWEEP_BUDGETS[-1], SWEEP_BUDGETS[1], ("l2", "0.5", 0.5))
    run = make_run(
        models=("mlp",), attacks=tuple(some), defenses=("none", "at"), detectors=(), n=400, budgets=budgets,
        right=swept(LEFT), suite={"attacks": some},
    )  # fmt: skip
    page = page_of(run)
    bodies = {b.get("data-attack"): b for b in page.one("table", data_table="verdicts").all("tbody")}
    assert set(bodies) == {"pgd@4", "fgsm@255", "other@4"}
    told = {name: verdict(lines(page, attack=name)["at"])[0] for name in bodies}
    assert told == {"pgd@4": "holds to 4/255", "fgsm@255": "does not hold", "other@4": "holds"}
    assert "of 4 budgets to 8/255" in bodies["pgd@4"].text
    assert headline(page).startswith("at does not hold.")
    # An attack on it at a budget of the sweep is one more that it has to withstand there.
    hard = lambda m, a, x, k: 0.05 if (a, x) == ("bim@2", "at") else swept(LEFT)(m, a, x, k)  # noqa: E731
    run = make_run(
        "hard", models=("mlp",), attacks=tuple(some), defenses=("none", "at"), detectors=(), n=400, budgets=budgets,
        right=hard, suite={"attacks": some},
    )  # fmt: skip
    page = page_of(run)
    bodies = [body.get("data-attack") for body in page.one("table", data_table="verdicts").all("tbody")]
    assert "pgd@4" not in bodies  # 2/255 lies within it
    row = lines(page, attack="worst-of: linf 2/255")["at"]
    assert verdict(row) == ("does not hold", "bim@2 alone leaves 5.0 %")
    # Named groups that hold attacks of several budgets are taken as they are.
    groups = {"mild": ["pgd@1", "pgd@2"], "strong": ["pgd@4", "pgd@8", "bim@2", "fgsm@255"]}
    run = make_run(
        "named", models=("mlp",), attacks=tuple(some), defenses=("none", "at"), detectors=(), n=400, budgets=budgets,
        right=swept(LEFT), suite={"attacks": some, "groups": groups},
    )  # fmt: skip
    assert "strong, 4 attacks" in page_of(run).one("table", data_table="verdicts").text


def test_a_number_never_parts_from_its_percent_sign(make_run, page_of):
    right = shares({"none": 0.0, "near": 0.5})
    page = page_of(make_run(models=("mlp",), attacks=LINF, defenses=("none", "near"), detectors=(), n=60, right=right))
    said = next(c for c in lines(page)["near"].all("td") if "said" in c.get("class").split())
    assert "n = 60 cannot tell: the interval holds 47.5 %, the level to reach" in said.text
    for sentence in (said, *page.all("p"), *page.all("li")):
        kept = [span.text for span in sentence.all("span") if span.get("class") == "number"]
        assert "47.5 %" not in sentence.text or "47.5 %" in kept


def test_what_breaks_a_defense_within_a_budget_breaks_it_there(make_run, page_of):
    """A strong attack at 4/255 alone, weak ones to 8/255: who falls to it does not hold at 8/255, and is not best."""
    some = {name: SWEEP[name] for name in ("pgd@1", "pgd@2", "pgd@4", "pgd@8")}
    some["strong@4"] = {**SWEEP["pgd@4"], "use": "strong"}
    left = {"none": (0.7, 0.3, 0.05, 0, 0), "at": (0.9, 0.9, 0.9, 0.9, 0), "sq": (0.8, 0.75, 0.7, 0.6, 0)}
    right = lambda m, a, x, k: 0.0 if (a, x) == ("strong@4", "at") else swept(left)(m, a, x, k)  # noqa: E731
    run = make_run(
        models=("mlp",), attacks=tuple(some), defenses=("none", "at", "sq"), detectors=(), n=400,
        budgets=(*SWEEP_BUDGETS[:4], SWEEP_BUDGETS[2]), right=right, suite={"attacks": some},
    )  # fmt: skip
    page = page_of(run)
    rows = lines(page, attack="pgd@8")
    assert verdict(rows["sq"])[0] == "holds to 8/255"
    said, why = verdict(rows["at"])
    assert said == "does not hold"
    assert why.startswith("4/255 lies within it, and leaves 0.0 %")
    assert "holds to 2/255" in why
    assert "at is best" not in page.text
    assert "at" in headline(page).partition("to 8/255")[2] or "at holds" in headline(page)
