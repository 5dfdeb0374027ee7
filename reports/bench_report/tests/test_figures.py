"""The papers' figures, drawn of what a run has."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench_report.charts.ladders import ladders, shared_name
from bench_report.tests.plots import HOSTILE, near, numbers, values

pytestmark = pytest.mark.pictures


def figures(page):
    """Return the figures of a page: kind, title, what is said of it, data and table."""
    found = []
    for figure in page.all("figure"):
        tables = [table for table in figure.all("table") if table.get("data-table").startswith("figure-")]
        if tables:
            title, how = (
                next(e for e in figure.all("span") if e.get("class") == name).text for name in ("title", "how")
            )
            found.append((figure.get("data-chart"), title, how, figure.drawn(), tables[0]))
    return found


def drawn_near(*numbers):
    """Numbers of charts have four digits."""
    return pytest.approx(numbers[0] if len(numbers) == 1 else list(numbers), rel=5e-4, abs=1e-9)


OPTIONS = st.fixed_dictionaries(
    {
        "use": st.sampled_from(["pgd", "bim"]),
        "eps": st.sampled_from(["1/255", "2/255", "0.5", 4, 0.25, "huge"]),
        "train": st.fixed_dictionaries({"epochs": st.integers(1, 4)}),
    }
)


@given(st.dictionaries(st.text(min_size=1, max_size=6), OPTIONS, max_size=12))
def test_members_of_a_ladder_differ_in_one_number_alone(components):
    def flat(component):
        return {"use": component["use"], "eps": component["eps"], "train.epochs": component["train"]["epochs"]}

    found = ladders(components)
    for ladder in found:
        assert [value for _, value, _ in ladder.rungs] == sorted({value for _, value, _ in ladder.rungs})
        assert len(ladder.rungs) >= 3
        others = [{k: v for k, v in flat(components[x]).items() if k != ladder.option} for x in ladder.labels]
        assert all(other == others[0] for other in others)
    for label, component in components.items():
        epochs = {c["train"]["epochs"] for c in components.values() if {**c, "train": component["train"]} == component}
        mine = [x for x in found if x.option == "train.epochs" and x.labels and
                {**components[x.labels[0]], "train": component["train"]} == component]  # fmt: skip
        assert [[value for _, value, _ in x.rungs] for x in mine] == ([sorted(epochs)] if len(epochs) > 2 else []), (
            label
        )


@pytest.mark.parametrize(
    ("labels", "name"),
    [
        (["at-1", "at-2", "at-16"], "at-…"),
        (["fgsm-0.1", "fgsm-0.15"], "fgsm-…"),
        (["pgd-linf-8-as-published", "pgd-linf-16-as-published"], "pgd-linf-…-as-published"),
        (["defense-gan-10x100", "defense-gan-5x100"], "defense-gan-…x100"),
        (["one", "two"], "one, two"),
    ],
)
def test_attacks_of_a_ladder_are_named_by_what_they_share(labels, name):
    assert shared_name(labels) == name


def test_roc_curves_are_those_of_the_run(make_run, site_of):
    attacks = ("pgd-linf", HOSTILE, "deepfool")
    rows = [
        {"table": "Figure 5, steps as published", "model": "mlp", "attack": "pgd-linf", "defense": "mahalanobis",
         "metric": "auroc", "value": 0.95}
    ]  # fmt: skip
    run = make_run(
        attacks=attacks,
        n=60,
        reference={("mahalanobis", "pgd-linf", "auroc"): 0.95},
        suite={"reference": {"rows": rows}},
    )
    areas = values(run, "auroc")
    curves = run.curves[run.curves.curve == "roc"]
    for page in site_of(run).settings:
        model = next(page.all("h1")).text.partition(" ")[0]
        ((_, title, how, data, table),) = [figure for figure in figures(page) if figure[0] == "rocs"]
        assert title == "ROC curves of mahalanobis"
        assert ("As the paper's Figure 5" in how) == (model == "mlp")
        mine = [areas["digits", model, attack, "mahalanobis"] for attack in attacks]
        assert [row["s"] for row in data["names"]] == [f"{a} · {area:.3f}" for a, area in zip(attacks, mine)]
        for number, attack in enumerate(attacks):
            wanted = curves[(curves.model == model) & (curves.attack == attack)]
            points = list(zip(wanted.x, wanted.y))
            # Along an axis a line needs its ends alone.
            turns = [
                now for before, now, after in zip([None, *points], points, [*points[1:], None])
                if before is None or after is None or not any(a == b == c for a, b, c in zip(before, now, after))
            ]  # fmt: skip
            drawn = [row for row in data["curves"] if row["n"] == number]
            assert 2 < len(drawn) < len(wanted)
            assert [row["x"] for row in drawn] == drawn_near(*(x for x, _ in turns))
            assert [row["y"] for row in drawn] == drawn_near(*(y for _, y in turns))
        assert [row[0] for row in numbers(table).values()] == near(*mine)
        assert numbers(table)["pgd-linf"][1] == 0.95
        assert numbers(table)[HOSTILE][1] is None


def test_attacks_that_the_suite_parts_have_plots_of_their_own(make_run, site_of):
    groups = {"published": ["a-1", "b-1"], "released": ["a-2", "b-2"]}
    run = make_run(models=("mlp",), attacks=("a-1", "b-1", "a-2", "b-2"), n=40, suite={"groups": groups})
    (page,) = site_of(run).settings
    rocs = {title: [row["s"].partition(" ")[0] for row in data["names"]] for kind, title, _, data, _ in figures(page)
            if kind == "rocs"}  # fmt: skip
    assert rocs == {f"ROC curves of mahalanobis, {group}": members for group, members in groups.items()}


def test_means_stand_beside_the_worst_case(make_run, site_of):
    groups = {"published": ["a-1", "b-1"], "released": ["a-2", "b-2"]}
    run = make_run(
        attacks=("a-1", "b-1", "a-2", "unbounded", "b-2"),
        n=40,
        suite={"groups": groups},
        failed=lambda dataset, model, attack, defense, seed: (
            "broken" if (model, attack, defense) == ("mlp", "b-1", "mahalanobis") else ""
        ),
    )
    robust, worst = values(run, "robust_accuracy"), values(run, "worst_case_robust_accuracy")
    site = site_of(run)
    defenses = ("none", "adversarial-training", "mahalanobis")

    def mean(model, group, defense):
        found = [robust.get(("digits", model, attack, defense)) for attack in groups[group]]
        return None if None in found else sum(found) / 2

    for page in site.settings:
        model = next(page.all("h1")).text.partition(" ")[0]
        found = {
            title: (data["bars"], numbers(table)) for kind, title, _, data, table in figures(page) if kind == "means"
        }
        assert list(found) == [f"Mean over {group}" for group in groups]
        for group, (bars, table) in zip(groups, found.values()):
            for defense in defenses:
                wanted = mean(model, group, defense)
                assert table[defense][0] == (None if wanted is None else near(wanted))
                assert (defense in {bar["defense"] for bar in bars}) == (wanted is not None)
            for bar in bars:
                assert bar["mean"] == drawn_near(mean(model, group, bar["defense"]))
                assert bar["worst"] == drawn_near(worst["digits", model, f"worst-of: {group}", bar["defense"]])
    tables = [table for table in site.index.all("table") if table.get("data-table") == "means"]
    assert [table.get("data-group") for table in tables] == list(groups)
    for group, table in zip(groups, tables):
        for defense, cell in zip(defenses, table.all("td")):
            both = [mean(model, group, defense) for model in ("small-cnn", "mlp")]
            if None in both:
                assert "data-value" not in cell.attributes
                assert "1 of 4 cells without a number" in cell.text
            else:
                assert float(cell.get("data-value")) == near(sum(both) / 2)
                lowest = min(worst["digits", m, f"worst-of: {group}", defense] for m in ("small-cnn", "mlp"))
                assert float(cell.get("data-worst")) == near(lowest)


def sweep(**changes):
    """Return what a suite says of three attacks of one kind at three budgets, and three of another."""
    options = {"use": "pgd", "steps": 20, "norm": "linf"} | changes
    return {
        **{f"pgd-{k}": {**options, "eps": f"{k}/255"} for k in (8, 2, 4)},
        **{f"bim-{k}": {**options, "use": "bim", "eps": f"{k}/255"} for k in (2, 4, 8)},
    }


def test_lines_over_the_budget_start_at_the_clean_images(make_run, site_of):
    attacks = sweep()
    run = make_run(models=("mlp",), attacks=tuple(attacks), n=40, suite={"attacks": attacks})
    robust, clean, areas = (values(run, metric) for metric in ("robust_accuracy", "clean_accuracy", "auroc"))
    (page,) = site_of(run).settings
    found = {title.partition(",")[0]: (kind, data, table) for kind, title, _, data, table in figures(page)}
    kind, data, table = found["Robust accuracy over eps of pgd-…"]
    assert kind == "lines"
    assert (data["lines"][0]["xt"], data["lines"][0]["yt"]) == ("eps, in 1/255", "Robust accuracy")
    for defense in ("none", "adversarial-training", "mahalanobis"):
        drawn = [(row["x"], row["y"]) for row in data["lines"] if row["s"] == defense]
        assert [x for x, _ in drawn] == [0, 2, 4, 8]
        wanted = [clean["digits", "mlp", "none", defense]]
        wanted += [robust["digits", "mlp", f"pgd-{k}", defense] for k in (2, 4, 8)]
        assert [y for _, y in drawn] == drawn_near(*wanted)
    assert list(numbers(table)) == ["0", "2/255", "4/255", "8/255"]
    spans = run.metrics[run.metrics.metric == "robust_accuracy"].set_index(["attack", "defense"])
    for row in data["lines"][1:]:
        if row["at"] != "0":
            span = spans.loc[f"pgd-{row['at'].partition('/')[0]}", row["s"]]
            assert (row["low"], row["high"]) == (drawn_near(span.ci_low), drawn_near(span.ci_high))
    _, data, table = found["AUROC over eps of bim-…"]
    assert numbers(table) == {f"{k}/255": [near(areas["digits", "mlp", f"bim-{k}", "mahalanobis"])] for k in (2, 4, 8)}
    _, data, table = found["Attacks on none over eps"]
    assert {row["s"] for row in data["lines"]} == {"pgd-…", "bim-…"}
    assert numbers(table)["4/255"] == near(*(robust["digits", "mlp", f"{a}-4", "none"] for a in ("pgd", "bim")))


def test_a_budget_chart_names_its_lines_and_has_the_published_points_of_a_papers_figure(make_run, site_of):
    budgets = (0.01, 0.02, 0.1, 1.0)
    attacks = {
        f"{name}@{eps}": {"use": name, "norm": "linf", "eps": eps} for name in ("fgsm", "pgd") for eps in budgets
    }
    figure = {"model": "mlp", "defense": "none", "metric": "robust_accuracy"}
    rows = [
        {**figure, "table": "Figure 4", "row": f"ε = {eps}", "column": "PGD", "attack": f"pgd@{eps}"} for eps in budgets
    ]
    run = make_run(
        models=("mlp",), attacks=tuple(attacks), defenses=("none", "at"), detectors=(), n=40,
        reference={("none", "pgd@0.02", "robust_accuracy"): 0.875},
        suite={"attacks": attacks, "reference": {"rows": rows}},
    )  # fmt: skip
    heights = {(a, eps): 0.9 - eps / 2 if a == "fgsm" else 0.6 - eps / 2 for a in ("fgsm", "pgd") for eps in budgets}
    frame = run.metrics
    for (name, eps), value in heights.items():
        mine = (frame.metric == "robust_accuracy") & (frame.attack == f"{name}@{eps}")
        frame = frame.assign(value=frame.value.mask(mine, value), ci_high=frame.ci_high.mask(mine, value + 0.02))
    run.metrics = frame
    (page,) = site_of(run).settings
    found = {title.partition(",")[0]: (kind, how, data) for kind, title, how, data, _ in figures(page)}
    kind, how, data = found["Attacks on none over eps"]
    # 0 and 1.0 on one axis, and the small budgets still apart.
    assert kind == "lines-root"
    assert "As the paper's Figure 4, as far as this setting goes." in how
    assert "Squares: what was published." in how
    assert [(row["s"], row["x"], row["y"]) for row in data["published"]] == [("pgd@…", 0.02, 0.875)]
    # Right of the last points, in their order.
    first, second = data["names"]
    assert (first["s"], second["s"]) == ("fgsm@…", "pgd@…")
    assert [(row["x"], row["end"]) for row in (first, second)] == [(1.0, drawn_near(0.4)), (1.0, drawn_near(0.1))]
    assert first["y"] > second["y"] > 0
    assert "As the paper's" not in found["Attacks on at over eps"][1]


def test_lines_that_coincide_are_one_and_a_missing_point_is_none(make_run, site_of):
    attacks = {f"pgd-{k}": {"use": "pgd", "eps": k} for k in (1, 10, 100)}
    run = make_run(models=("mlp",), attacks=tuple(attacks), n=40, suite={"attacks": {
        name: {"use": "pgd", "steps": options["eps"]} for name, options in attacks.items()
    }})  # fmt: skip
    frame = run.metrics[~((run.metrics.defense == "none") & (run.metrics.attack == "pgd-10"))]
    mine = frame.metric == "robust_accuracy"
    run.metrics = frame.assign(
        value=frame.value.mask(mine, frame.attack.map({"pgd-1": 0.5, "pgd-10": 0.25, "pgd-100": 0}))
    )
    (page,) = site_of(run).settings
    ((kind, _, how, data, table),) = [
        x for x in figures(page) if x[1].partition(",")[0] == "Robust accuracy over steps of pgd-…"
    ]
    assert kind == "lines-log"
    assert "coincide" in how
    assert {row["s"] for row in data["lines"]} == {"none", "adversarial-training, mahalanobis"}
    assert [row["x"] for row in data["lines"] if row["s"] == "none"] == [1, 100]
    assert numbers(table)["10"] == [None, 0.25, 0.25]


def test_a_line_search_shows_every_attack_and_the_means_of_every_data_set(make_run, site_of):
    labels = ("at-4", "at-1", "at-2")
    at = {name: {"use": "adversarial_training", "steps": 7, "eps": f"{name[3:]}/255"} for name in labels}
    run = make_run(
        datasets=("CS3a", "CS3b"), models=("m",), attacks=("pgd", "mia"), defenses=labels, detectors=(), n=40,
        suite={"defenses": at},
    )  # fmt: skip
    robust, clean, worst = (
        values(run, metric) for metric in ("robust_accuracy", "clean_accuracy", "worst_case_robust_accuracy")
    )
    order = ("at-1", "at-2", "at-4")
    for dataset, page in zip(("CS3a", "CS3b"), site_of(run).settings):
        found = {title: (data, table) for _, title, _, data, table in figures(page)}
        data, table = found["Mean over all attacks, by eps of at-…"]
        for name in ("CS3a", "CS3b"):
            mean = [(robust[name, "m", "pgd", x] + robust[name, "m", "mia", x]) / 2 for x in order]
            assert [row["y"] for row in data["lines"] if row["s"] == name] == drawn_near(*mean)
            low = [worst[name, "m", "worst-of: all attacks", x] for x in order]
            assert [row["y"] for row in data["worst"] if row["s"] == name] == drawn_near(*low)
        data, table = found["Robust accuracy over eps of at-…"]
        assert [row["x"] for row in data["lines"] if row["s"] == "clean"] == [1, 2, 4]
        for row, label in zip(numbers(table).values(), order):
            assert row == near(
                clean[dataset, "m", "none", label], *(robust[dataset, "m", a, label] for a in ("pgd", "mia"))
            )


def test_features_of_each_network_stand_beside_each_other_by_class(make_run, site_of):
    import pandas as pd

    run = make_run(models=("mlp",), attacks=("fgsm",), defenses=("none", "pcl"), detectors=(), n=40)
    places = {
        "plane:penultimate: class 0": ([0.5, 1.5], [2.0, 3.0]),
        "plane:penultimate: class 7": ([-1.0], [-2.0]),
        "plane:penultimate: shares": ([1.0, 2.0], [0.75, 0.125]),
    }
    cell = {"dataset": "digits", "model": "mlp", "attack": "none", "norm": "", "eps": "", "knowledge": "", "seed": "0"}
    rows = [
        {**cell, "defense": defense, "curve": curve, "x": x + shift, "y": y, "threshold": math.nan}
        for shift, defense in enumerate(("none", "pcl"))
        for curve, points in places.items()
        for x, y in zip(*points)
    ]
    run.curves = pd.concat([run.curves, pd.DataFrame(rows)], ignore_index=True)
    run.metrics = pd.concat(
        [run.metrics, pd.DataFrame([
            {**cell, "defense": "pcl", "metric": "feature_separation", "value": 3.25, "ci_low": 3.0, "ci_high": 3.5,
             "n": 40, "status": "ok", "reference": math.nan},
        ])], ignore_index=True
    )  # fmt: skip
    (page,) = site_of(run).settings
    found = {title: (how, data, table) for kind, title, how, data, table in figures(page) if kind == "plane"}
    assert list(found) == [f"Features of {defense}, layer penultimate" for defense in ("none", "pcl")]
    for shift, (_, data, _) in enumerate(found.values()):
        points = [(row["x"], row["y"], row["s"]) for row in data["points"]]
        assert points == [(0.5 + shift, 2.0, "0"), (1.5 + shift, 3.0, "0"), (shift - 1.0, -2.0, "7")]
        assert (data["points"][0]["xt"], data["points"][0]["yt"]) == ("75 % of the variance", "12 % of the variance")
    how, _, table = found["Features of pcl, layer penultimate"]
    assert "Distance between classes over that within: 3.25." in how
    assert numbers(table) == {"pcl": [3.25]}


def test_one_cell_has_no_figures_and_no_charts_are_loaded(make_run, site_of):
    run = make_run(models=("mlp",), attacks=("fgsm",), defenses=("none",), detectors=(), n=40)
    site = site_of(run)
    (page,) = site.settings
    assert not figures(page)
    assert "Figures" not in [heading.text for heading in page.all("h2")]
    assert not any("vega" in script.get("src") for script in page.all("script"))
    assert not [table for table in site.index.all("table") if table.get("data-table") == "means"]


@pytest.mark.parametrize("status", ["failed", "missing"])
def test_cells_without_numbers_leave_no_figures(make_run, site_of, status):
    if status == "failed":
        run = make_run(models=("mlp",), attacks=tuple(sweep()), n=40, failed=lambda *cell: "out of memory")
    else:
        run = make_run(models=("mlp",), attacks=tuple(sweep()), n=40, missing=lambda *cell: True)
    for page in site_of(run).settings:
        assert not figures(page)


def test_without_curves_the_other_figures_are_drawn(make_run, site_of):
    run = make_run(models=("mlp",), n=40)
    run.curves = run.curves.iloc[:0]
    (page,) = site_of(run).settings
    assert {kind for kind, *_ in figures(page)} == {"tradeoff", "means"}


def test_hostile_names_are_text_in_every_figure(make_run, site_of):
    labels = [f"{HOSTILE}-{k}" for k in (1, 2, 3)]
    run = make_run(
        models=("mlp",), attacks=labels, defenses=("none", HOSTILE), detectors=(HOSTILE,), n=40,
        suite={
            "attacks": {label: {"use": "pgd", "eps": k} for k, label in enumerate(labels, 1)},
            "groups": {HOSTILE: labels},
        },
    )  # fmt: skip
    (page,) = site_of(run).settings
    found = figures(page)
    assert {kind for kind, *_ in found} == {"tradeoff", "rocs", "means", "lines"}
    assert any(title == f"ROC curves of {HOSTILE}" for _, title, *_ in found)
    assert any(title == f"Mean over {HOSTILE}" for _, title, *_ in found)
    assert any(
        title == f"Robust accuracy over eps of {HOSTILE}-…, L∞" or f"eps of {HOSTILE}-…" in title
        for _, title, *_ in found
    )
    assert {script.get("type") or script.get("src") for script in page.all("script")} <= {
        "application/json", "../assets/vega.js", "../assets/charts.js", "../assets/report.js", "../assets/tables.js",
        "../assets/samples.js", "../assets/terms.js"
    }  # fmt: skip


def test_several_seeds_have_the_curves_of_one_and_the_means_of_all(make_run, site_of):
    run = make_run(models=("mlp",), attacks=("fgsm", "pgd-linf"), seeds=(0, 1), n=40)
    (page,) = site_of(run).settings
    ((_, _, how, data, _),) = [figure for figure in figures(page) if figure[0] == "rocs"]
    assert "Seed 0 alone." in how
    area = run.metrics[(run.metrics.metric == "auroc") & (run.metrics.seed == "0")].set_index("attack").value
    assert [row["s"] for row in data["names"]] == [f"{attack} · {area[attack]:.3f}" for attack in ("fgsm", "pgd-linf")]
    ((_, _, _, data, _),) = [figure for figure in figures(page) if figure[0] == "means"]
    robust = run.metrics[(run.metrics.metric == "robust_accuracy") & (run.metrics.seed == "mean")]
    wanted = math.fsum(robust[robust.defense == "none"].value) / 2
    assert next(bar["mean"] for bar in data["bars"] if bar["defense"] == "none") == drawn_near(wanted)


def test_each_attack_has_the_curve_over_its_own_budgets(make_run, site_of):
    import pandas as pd

    run = make_run(models=("mlp",), attacks=("fgsm", "pgd-linf"), defenses=("none",), detectors=(), n=40)
    sweeps = {"fgsm": (1.0, 0.7, 0.6), "pgd-linf": (1.0, 0.7, 0.1)}  # which agree at a budget
    about = {"dataset": "digits", "model": "mlp", "norm": "linf", "eps": "8/255", "defense": "none",
             "knowledge": "gray-box", "seed": "0", "threshold": math.nan, "curve": "accuracy_vs_eps"}  # fmt: skip
    run.curves = pd.DataFrame(
        [about | {"attack": name, "x": x / 255, "y": y} for name, ys in sweeps.items() for x, y in zip((0, 8, 16), ys)]
    )
    drawn = {
        next(page.all("h1")).text.split()[-1]: [row["value"] for row in figure.drawn()["sweep"]]
        for page in site_of(run).cells
        for figure in page.all("figure")
        if figure.get("data-chart") == "budget"
    }
    assert drawn == {name: drawn_near(list(ys)) for name, ys in sweeps.items()}
