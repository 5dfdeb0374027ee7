"""Published tables in their own layout, and where a number was published."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from bench_report.tests.plots import MARKUP, near, published, values
from benchmark.errors import InputError

REFERENCE = Path(__file__).resolve().parents[3] / "suites" / "reference"


def published_rows(name):
    """Return the rows of a reference table as a resolved suite has them."""
    with open(REFERENCE / name, encoding="utf-8", newline="") as file:
        return [
            {key: float(text) if key == "value" else text for key, text in row.items() if text}
            for row in csv.DictReader(file)
        ]


def columns(table):
    """Return the headings above each column, by level."""
    levels = []
    for row in table.all("tr"):
        labels = [
            head.get("data-label")
            for head in row.all("th", "td")  # one without a text is no heading
            if "data-label" in head.attributes and (head.tag == "td" or head.get("scope") in ("col", "colgroup"))
            for _ in range(int(head.get("colspan") or 1))
        ]
        if labels:
            levels.append(labels)
    return list(zip(*levels))


def cells(table):
    """Return the cells by row heads and lowest column label, or all its labels where it has several."""
    labels = [column if len(column) > 1 else column[0] for column in columns(table)]
    found = {}
    above: list[tuple[int, str]] = []
    for row in table.all("tr"):
        begun = [
            (int(head.get("rowspan") or 1), head.text)
            for head in row.all("th")
            if head.get("scope") in ("row", "rowgroup")
        ]
        above = [*((left - 1, text) for left, text in above if left > 1), *begun]
        cells = [cell for cell in row.all("td") if "c" in (cell.get("class") or "").split()]
        for label, cell in zip(labels, cells):
            found[tuple(text for _, text in above), label] = cell
    return found


SUITE = """
suite: t
datasets: {digits: {use: digits}}
models: {m: {use: small_cnn}}
attacks: {fgsm: {use: fgsm, norm: linf, eps: 0.1}}
defenses: {none: {use: none}}
grid: [{datasets: all, models: all, attacks: all, defenses: all, knowledge: gray-box}]
reference: {table: t.csv}
"""


@pytest.fixture(scope="module")
def registry():
    from benchmark.plugins import load_plugins

    return load_plugins([])


@pytest.fixture
def load(tmp_path, registry):
    def read(*lines):
        from benchmark.suite import load_suite

        (tmp_path / "t.csv").write_text("table,attack,metric,value\n" + "\n".join(lines), encoding="utf-8")
        (tmp_path / "s.yaml").write_text(SUITE)
        return load_suite(str(tmp_path / "s.yaml"), registry=registry)

    return read


def test_the_host_reads_where_a_number_was_published(load):
    suite = load("Table 2; Table 3,fgsm,auroc,1.0", ",none,clean_accuracy,0.5")
    assert [row.table for row in suite.reference] == ["Table 2; Table 3", ""]
    assert [row.get("table") for row in suite.resolved["reference"]["rows"]] == ["Table 2; Table 3", None]


def test_a_paper_may_print_two_values_of_a_cell_but_not_in_one_table(load):
    assert len(load("Table 2,fgsm,auroc,1.0", "Table 3,fgsm,auroc,0.999").reference) == 2
    with pytest.raises(InputError, match=r"t\.csv:3: a second value for the same cell and metric"):
        load("Table 2; Table 3,fgsm,auroc,1.0", "Table 3,fgsm,auroc,0.999")


@pytest.mark.parametrize("table", ["Table 2;", "Table 2; Table 2", "x" * 301, "Table\u202e2"])
def test_a_place_that_is_none_is_refused_with_its_line(load, table):
    with pytest.raises(InputError, match=r"t\.csv:2: table: found .* such as 'Table IV'"):
        load(f"{table},fgsm,auroc,1.0")


def test_every_published_number_that_ships_says_where_it_stands():
    for path in REFERENCE.glob("*.csv"):
        rows = published_rows(path.name)
        assert "value" not in rows[0] or all(row["table"] for row in rows), path
    # The paper has 1.0 in Table 2 and 0.999 in Table 3 for the same cell.
    found = {
        row["table"]: row["value"]
        for row in published_rows("idefender_blackbox_defensegan.csv")
        if (row["dataset"], row["attack"], row["defense"]) == ("mnist", "fgsm-0.3", "defense-gan-10x400")
    }
    assert found == {"Table 2": 1.0, "Table 3": 0.999}


VECTORS = [f"{attack}-{size}" for attack in ("pgd", "mia") for size in ("linf-8", "linf-16", "l2-300", "l2-600")]


def test_table_4_has_the_papers_layout_for_both_variants(make_run, page_of):
    attacks = ("pgd-linf-8-as-published", "pgd-linf-8-as-released")
    run = make_run(
        datasets=("CS3b",),
        models=("resnet50",),
        attacks=attacks,
        defenses=("none", "at", "unmask"),
        detectors=("unmask",),
        n=40,
        suite={"reference": {"rows": published_rows("unmask_table4.csv") + published_rows("unmask_figure5.csv")}},
    )
    tables = published(page_of(run))
    variants = ("as published", "as released")
    assert list(tables)[:2] == [f"Table IV, steps {variant}" for variant in variants]
    measured = values(run, "robust_accuracy") | values(run, "clean_accuracy")
    for variant in variants:
        table = tables[f"Table IV, steps {variant}"]
        suffix = variant.replace(" ", "-")
        found = cells(table)
        heads = list(dict.fromkeys(head for head, _ in found))
        sets = ("CS3a", "CS3b", "CS5a", "CS5b")
        assert heads == [
            (model, name, defense)
            for model in ("resnet50", "densenet121")
            for name in sets
            for defense in ("none", "at", "unmask")
        ]
        assert list(dict.fromkeys(label for _, label in found)) == ["clean", *(f"{v}-{suffix}" for v in VECTORS)]
        assert len(found) == 24 * 9
        assert found[("densenet121", "CS5b", "at"), f"mia-l2-600-{suffix}"].get("data-published") == "0.6"
        for (heads, label), cell in found.items():
            attack = "none" if label == "clean" else label
            here = measured.get((heads[1], heads[0], attack, heads[2]))
            assert ("data-value" in cell.attributes) == (here is not None)
            if here is not None:
                assert float(cell.get("data-value")) == near(here)
        assert sum("data-value" in cell.attributes for cell in found.values()) == 6


def test_a_number_in_which_attacks_differ_is_an_axis_as_in_table_7(make_run, page_of):
    rows = published_rows("idefender_tables7_8.csv")
    attacks = list(dict.fromkeys(row["attack"] for row in rows))
    options = {
        label: {
            "use": "idefender-graybox",
            "norm": label.split("-")[1],
            "eps": label.split("-alpha-")[0],
            "alpha": alpha,
        }
        for label in attacks
        for alpha in [float(label.rpartition("-")[2])]
    }
    run = make_run(
        datasets=("cifar10",),
        models=("network",),
        attacks=attacks[:2],
        defenses=("i-defender",),
        detectors=("i-defender",),
        knowledge=("white-box", "gray-box-retrained"),
        n=40,
        suite={"attacks": options, "reference": {"rows": rows}},
    )
    tables = published(page_of(run))
    assert list(tables) == ["Table 7", "Table 8"]
    heads = [head.text for head in tables["Table 7"].all("th") if head.get("scope") == "row"]
    assert heads == ["0.001", "0.01", "0.1", "1.0"]
    names = [f"{start}-alpha-…" for start in ("iter-linf-0.013", "iter-l2-0.47", "iter-linf-0.0085", "fgsm-0.075")]
    assert columns(tables["Table 7"]) == [
        (attacker, name) for attacker in ("gray-box-retrained", "white-box") for name in names
    ]
    first = next(cell for cell in tables["Table 7"].all("td"))
    assert first.get("data-published") == "0.85203"
    area = run.metrics.set_index(["attack", "knowledge", "metric"]).value[attacks[0], "gray-box-retrained", "auroc"]
    assert float(first.get("data-value")) == near(area)
    assert [model for model, _ in columns(tables["Table 8"])] == ["network"] * 4 + ["deeper-network"] * 4


def test_what_the_classifier_does_alone_is_one_row_whatever_the_defense(make_run, page_of):
    rows = [
        {"table": "Table 6", "attack": attack, "metric": "base_robust_accuracy", "value": 0.1}
        for attack in ("fgsm", "pgd-linf")
    ]
    run = make_run(models=("mlp",), attacks=("fgsm", "pgd-linf"), n=40, suite={"reference": {"rows": rows}})
    # Drawn for each defense of its own; a real run has one classifier.
    frame = run.metrics
    mine = frame.metric == "base_robust_accuracy"
    same = frame.value.mask(mine, frame.attack.map({"fgsm": 0.25, "pgd-linf": 0.5}))
    run.metrics = frame.assign(value=same)
    found = cells(published(page_of(run))["Table 6"])
    assert [(key, float(cell.get("data-value"))) for key, cell in found.items()] == [
        (((), "fgsm"), 0.25),
        (((), "pgd-linf"), 0.5),
    ]
    run.metrics = frame.assign(value=same.where(~mine | (frame.defense != "none"), 0.75))
    assert len(cells(published(page_of(run))["Table 6"])) == 6


def test_tables_are_apart_and_a_number_of_several_stands_in_each(make_run, page_of):
    rows = [
        {"attack": "fgsm", "defense": "none", "metric": "robust_accuracy", "value": 0.1, "table": "Table 2; Table 1"},
        {"attack": "pgd-linf", "defense": "none", "metric": "robust_accuracy", "value": 0.2, "table": "Table 1"},
        {"attack": "fgsm", "defense": "none", "metric": "robust_accuracy", "value": 0.3},
        {"attack": "fgsm", "defense": "none", "metric": "robust_accuracy", "value": 0.4, "table": MARKUP},
    ]
    run = make_run(models=("mlp",), attacks=("fgsm", "pgd-linf"), n=40, suite={"reference": {"rows": rows}})
    page = page_of(run)
    tables = published(page)
    assert list(tables) == ["Table 2", "Table 1", "", MARKUP]
    found = [[cell.get("data-published") for cell in table.all("td")] for table in tables.values()]
    assert found == [["0.1"], ["0.1", "0.2"], ["0.3"], ["0.4"]]
    titles = {e.text for e in page.all("span") if e.get("class") == "title"}
    assert {f"{name}: Accuracy under attack" for name in ("Table 2", "Table 1", MARKUP)} <= titles
    assert "Accuracy under attack" in titles


def test_a_table_whose_rows_say_their_place_has_the_papers_layout(make_run, page_of):
    attacks = ("fgsm-0.3", "bim-0.3", "pgd-0.3")
    defenses = ("none", "pcl-cnn6", "pcl-cnn6-at-pgd")
    rows = published_rows("pcl_table2.csv")
    run = make_run(
        datasets=("mnist",),
        models=("cnn6",),
        attacks=attacks,
        defenses=defenses,
        detectors=(),
        knowledge=("gray-box", "black-box"),
        missing=lambda dataset, model, attack, defense, seed: (attack, defense) == ("pgd-0.3", "pcl-cnn6"),
        n=40,
        suite={"reference": {"rows": rows}},
    )
    page = page_of(run)
    (table,) = published(page).values()
    names = ("FGSM", "BIM", "C&W", "MIM", "PGD")
    assert columns(table) == [
        ("No Attack", ""),
        *((f"{setting} Setting", name) for setting in ("White-Box", "Black-Box") for name in names),
    ]
    found = cells(table)
    mnist = "MNIST (ε = 0.3, c = 10)"
    assert list(dict.fromkeys(head for head, _ in found)) == [
        (mnist, "Softmax"), (mnist, "Ours"), (mnist, "Ours + AdvTrain PGD")
    ]  # fmt: skip
    measured = {
        (row.defense, row.attack, row.knowledge): (row.value, row.n)
        for row in run.metrics[run.metrics.metric == "robust_accuracy"].itertuples()
    }
    cell = found[(mnist, "Ours + AdvTrain PGD"), ("Black-Box Setting", "BIM")]
    value, n = measured["pcl-cnn6-at-pgd", "bim-0.3", "black-box"]
    assert (cell.get("data-published"), float(cell.get("data-value"))) == ("0.819", near(value))
    assert n == 40
    (figure,) = (one for one in page.all("figure") if table in list(one.all("table")))
    assert "n = 40 images in every cell." in figure.text
    # Not run: an attack that the run lacks, and a cell that it has lost. Both keep their published number.
    for name in ("C&W", "PGD"):
        absent = found[(mnist, "Ours"), ("White-Box Setting", name)]
        assert "not run" in absent.text
        assert (absent.get("data-published"), absent.get("data-value")) == ({"C&W": "0.291", "PGD": "0.199"}[name], "")
    assert (
        f"not run here and left out: {mnist}, Ours + AdvTrain FGSM; CIFAR-10 (ε = 0.03, c = 0.1); "
        "CIFAR-100 (ε = 0.03, c = 0.1); F-MNIST (ε = 0.3, c = 10); SVHN (ε = 0.03, c = 0.1)."
    ) in figure.text


def test_what_stands_in_has_the_papers_layout_and_no_published_number(make_run, page_of):
    rows = [{key: text for key, text in row.items() if key != "value"} for row in published_rows("pcl_table6.csv")]
    rows += [{"table": "Table 6", "row": "Source: <b>", "column": "Target: VGG-19", "metric": "robust_accuracy"}]
    rows += [{"table": "Table 60", "row": MARKUP, "column": "a", "metric": "robust_accuracy", "value": 0.5}]
    run = make_run(
        datasets=("cifar10",),
        models=("vgg19", "resnet"),
        attacks=("pgd", "pgd-from-vgg19"),
        defenses=("none", "kurakin", "madry", "pcl-at-pgd"),
        detectors=(),
        knowledge=("gray-box", "black-box"),
        n=40,
        suite={"reference": {"rows": rows}},
    )
    page = page_of(run)
    # Nothing of Table 60 was run.
    (table,) = published(page).values()
    found = cells(table)
    networks = ("VGG-19", "AdvTrain", "Madry et al.", "Ours")
    assert list(found) == [((f"Source: {x}",), f"Target: {y}") for x in networks for y in networks]
    assert not any("data-published" in cell.attributes for cell in found.values())
    names = ["model", "attack", "defense", "knowledge"]
    measured = run.metrics[run.metrics.metric == "robust_accuracy"].set_index(names).value
    transferred = found[("Source: VGG-19",), "Target: Ours"]
    value = measured["resnet", "pgd-from-vgg19", "pcl-at-pgd", "black-box"]
    assert float(transferred.get("data-value")) == near(value)
    assert "published" not in transferred.text
    assert "not run" in found[("Source: Ours",), "Target: VGG-19"].text
    (figure,) = (one for one in page.all("figure") if table in list(one.all("table")))
    assert "The paper's layout with the numbers of another experiment." in figure.text
    assert "not run here and left out: Source: <b>." in figure.text
