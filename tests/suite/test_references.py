"""Published values in a suite: their tables, places and mistakes."""

from pathlib import Path

import pytest
from imagined import SUITE, make_registry

from benchmark.document import dump
from benchmark.errors import InputError
from benchmark.suite import Published, load_suite

# Published numbers


def test_reference_tables_are_read_relative_to_the_suite(write, load):
    Path("reference").mkdir()
    Path("reference/a.csv").write_text(
        "dataset,attack,defense,metric,value\n"
        "photos,pgd,at,robust_accuracy,0.5\n"
        ",none,none,clean_accuracy,0.95\n"
        "\n"
        "digits,both,at,worst_case_robust_accuracy,1e-2\n"
    )
    Path("reference/b.csv").write_text('\ufeffmetric,value,knowledge\n"auroc",0.5,white-box\n')
    text = SUITE + "reference: {table: [reference/a.csv, reference/b.csv]}\n"
    suite = load(text)
    assert suite.reference == (
        Published(dataset="photos", attack="pgd", defense="at", metric="robust_accuracy", value=0.5),
        Published(attack="none", defense="none", metric="clean_accuracy", value=0.95),
        Published(dataset="digits", attack="both", defense="at", metric="worst_case_robust_accuracy", value=0.01),
        Published(knowledge="white-box", metric="auroc", value=0.5),
    )
    # The profile drops `photos` and the group: what was published about them has no place to go.
    assert [row.metric for row in load(text, profile="embedded").reference] == ["clean_accuracy", "auroc"]
    assert suite.resolved["reference"]["rows"][1] == {
        "attack": "none",
        "defense": "none",
        "metric": "clean_accuracy",
        "value": 0.95,
    }


LAYOUT = """\
table,row,column,dataset,attack,defense,metric,value
Table 1,Photos | None,Clean,photos,none,none,clean_accuracy,0.9
Table 1,Photos | None,C&W,photos,cw,none,robust_accuracy,0.1
Table 1,Photos | Theirs,Clean,,,,clean_accuracy,0.8
Table 2,Digits,Clean,digits,none,at,clean_accuracy,0.7
"""


def placed(suite):
    return [(row.table, row.row, row.column, row.dataset, row.value) for row in suite.reference]


def test_published_numbers_may_say_where_in_their_table_they_stand(load):
    Path("t.csv").write_text(LAYOUT, encoding="utf-8")
    text = SUITE + "reference: {table: t.csv}\n"
    suite = load(text)
    assert placed(suite) == [
        ("Table 1", "Photos | None", "Clean", "photos", 0.9),
        ("Table 1", "Photos | None", "C&W", "photos", 0.1),
        ("Table 1", "Photos | Theirs", "Clean", "", 0.8),
        ("Table 2", "Digits", "Clean", "digits", 0.7),
    ]
    assert load(dump(suite.resolved)) == suite
    # What a profile drops keeps its place; a table of which nothing is left does not.
    few = load(text, "datasets.digits=null", "attacks.cw=null", "groups=null")
    assert placed(few) == [
        ("Table 1", "Photos | None", "Clean", "photos", 0.9),
        ("Table 1", "Photos | None", "C&W", "", 0.1),
        ("Table 1", "Photos | Theirs", "Clean", "", 0.8),
    ]
    assert load(dump(few.resolved)).reference == few.reference


def test_what_stands_in_has_the_place_and_not_the_number(load):
    Path("t.csv").write_text(LAYOUT, encoding="utf-8")
    stand_ins = "{datasets: {photos: digits}, attacks: {cw: pgd}, headings: {Photos: Here}}"
    suite = load(SUITE + f"reference: {{table: t.csv, stand_ins: {stand_ins}}}\n")
    assert placed(suite) == [
        ("Table 1", "Here | None", "Clean", "digits", None),
        ("Table 1", "Here | None", "C&W", "digits", None),
        ("Table 1", "Photos | Theirs", "Clean", "", None),
        ("Table 2", "Digits", "Clean", "digits", 0.7),
    ]
    assert suite.reference[1].attack == "pgd"
    assert load(dump(suite.resolved)).reference == suite.reference


@pytest.mark.parametrize(
    ("line", "stand_ins", "message"),
    [
        ("Table 1,A |,B,,,,auroc,1", "", "t.csv:6: row: found the text 'A |': say what the paper calls it"),
        ("Table 1,A,,,,,auroc,1", "", "t.csv:6: column: found the text '': give both"),
        ("Table 2,Digits,Clean,,,,auroc,1", "", "t.csv:6: a second number in the same row and column: the first"),
        (",,,,,at,auroc,", "", "t.csv:6: value: found the text '': a number"),
        ("", "{datasets: {photo: digits}}", "stand_ins.datasets.photo: unknown dataset label 'photo'. Did you"),
        ("", "{datasets: {photos: digit}}", "stand_ins.datasets.photos: unknown dataset label 'digit'. Did"),
        ("", "{headings: {Photo: Here}}", "stand_ins.headings.Photo: unknown heading 'Photo'. Did you mean 'Photos'?"),
        ("", "{dataset: {}}", "stand_ins.dataset: unknown key 'dataset' of `reference`. Did you mean 'datasets'?"),
    ],
)  # fmt: skip
def test_mistakes_in_layouts_have_their_line(refusal, line, stand_ins, message):
    Path("t.csv").write_text(LAYOUT + line, encoding="utf-8")
    assert message in refusal(SUITE + f"reference: {{table: t.csv{stand_ins and ', stand_ins: ' + stand_ins}}}\n")


def test_mistakes_in_reference_tables_have_their_line(write, refusal):
    Path("t.csv").write_text(
        "dataset,atack,metric,value\n"
        "digts,,auroc,0.5\n"
        "digits,,,0.5\n"
        '"digits",,auroc,93 %\n'
        "digits,,auroc,nan\n"
        "digits,,auroc\n"
        "digits,,tpr,0.5\n"
        "digits,,tpr,0.6\n"
    )
    Path("empty.csv").touch()
    assert "reference.tabel: unknown key 'tabel' of `reference`. Did you mean 'table'? Allowed: rows, sta" in refusal(
        SUITE + "reference: {tabel: x}\n"
    )
    assert refusal(SUITE + "reference: {table: [t.csv, empty.csv, tt.csv]}\n").splitlines() == [
        "s.yaml:31: reference.table.2: tt.csv: no such file. Did you mean 't.csv'? Files of that kind there: "
        "empty.csv, t.csv.",
        "empty.csv: empty, a header is needed: table,row,column,artifact,dataset,model,attack,defense,knowledge,"
        "metric,value.",
        "t.csv:1: unknown column 'atack'. Did you mean 'attack'? Allowed: artifact, attack, column, dataset, "
        "defense, knowledge, metric, model, row, table, value.",
        "t.csv:2: dataset: unknown dataset label 'digts'. Did you mean 'digits'? Known: digits, photos.",
        "t.csv:3: metric: found the text '': the name of a measure is needed.",
        "t.csv:4: value: found the text '93 %': not a number such as 0.93.",
        "t.csv:5: value: found the text 'nan': not a number such as 0.93.",
        "t.csv:6: 3 columns, the header has 4.",
        "t.csv:8: a second value for the same cell and metric: the first is at t.csv:7.",
    ]
    Path("t.csv").write_text("metric,value\nrobust_acuracy,0.1\n")
    with pytest.raises(InputError) as caught:
        load_suite(write(SUITE + "reference: {table: t.csv}\n"), registry=make_registry(metrics=True))
    assert str(caught.value) == (
        "t.csv:2: metric: unknown metric 'robust_acuracy'. Did you mean 'robust_accuracy'? "
        "Known: auroc, robust_accuracy."
    )
    Path("t.csv").write_text("dataset,metric\ndigits,auroc\n")
    assert refusal(SUITE + "reference: {table: t.csv}\n") == "t.csv:1: the column 'value' is missing."
    Path("t.csv").write_text('metric,value\n"auroc,0.5\n')
    assert refusal(SUITE + "reference: {table: t.csv}\n") == "t.csv:2: broken CSV: unexpected end of data."
