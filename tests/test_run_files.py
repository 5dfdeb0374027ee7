"""Files of a finished run: read back as written, damage told in one message, exported to the last digit."""

from __future__ import annotations

import csv
import io
import json
import shutil

import numpy as np
import pandas as pd
import pytest
from tabulated import COLUMNS, result, table

from benchmark.cells import CellResult
from benchmark.errors import InputError
from benchmark.results.export import export
from benchmark.results.read import load_run
from benchmark.results.tables import TABLES, write_tables
from benchmark.rundir import Identity, RunDir


def grid() -> list[CellResult]:
    return [
        result(
            defense,
            attack,
            seed,
            scored=defense != "none",
            status="failed" if (defense, attack) == ("b", "bim") else "ok",
        )
        for defense in ("none", "a", "b")
        for attack in ("none", "pgd", "bim")
        for seed in (0, 1)
    ]


def written(folder, results) -> dict[str, bytes]:
    folder.mkdir()
    write_tables(table(*results), folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_equal_results_give_equal_bytes(tmp_path):
    first, second = written(tmp_path / "one", grid()), written(tmp_path / "two", grid())
    assert set(first) == {f"{name}.parquet" for name in set(TABLES) - {"costs"}}
    assert first == second


def test_no_results_give_empty_tables(tmp_path):
    assert len(written(tmp_path / "run", [])) == len(TABLES) - 1
    assert list(pd.read_parquet(tmp_path / "run" / "metrics.parquet").columns) == COLUMNS


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory):
    """Return a folder with all files of a run, to be copied."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    folder.mkdir()
    write_tables(table(*grid()), folder)
    (folder / "journal.jsonl").write_text(
        '{"event": "run started"}\n{"event": "task do\n{"event": "run finished"}\n{"ev'
    )
    pd.DataFrame(
        {
            "kind": ["train"],
            "key": ["k"],
            "label": ["l"],
            "status": ["done"],
            "cached": [False],
            "seconds": [1.5],
            "images": [3],
            "forward": [4],
            "backward": [5],
            "peak_memory_bytes": [6],
        }
    ).to_parquet(folder / "costs.parquet")
    sealed(folder)
    return folder


@pytest.fixture
def run_folder(whole_run, tmp_path):
    return shutil.copytree(whole_run, tmp_path / "run")


def sealed(folder):
    told = {"suite": "toy", "command": ["bench", "run", "it"]}
    RunDir(folder).finish(Identity({"suite": "toy", "seeds": [0, 1]}, None), told)


def test_a_run_is_read_back_as_it_was_written(run_folder):
    run, tables = load_run(str(run_folder)), table(*grid())
    for name in ("metrics", "samples", "curves", "comparisons", "artifacts"):
        pd.testing.assert_frame_equal(getattr(run, name), getattr(tables, name))
    assert run.metrics is run.metrics
    assert run.manifest["suite"] == "toy"
    assert run.suite == {"suite": "toy", "seeds": [0, 1]}
    assert [event["event"] for event in run.journal] == ["run started", "run finished"]
    assert run.costs.seconds.tolist() == [1.5]


def test_what_is_no_run_is_refused(run_folder, tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        load_run(tmp_path / "nowhere")
    with pytest.raises(InputError, match="is a file"):
        load_run(run_folder / "suite.yaml")
    with pytest.raises(InputError, match=r"no manifest\.json"):
        load_run(tmp_path)


@pytest.mark.parametrize("content", [b"", b"not parquet at all", None])
def test_a_damaged_or_missing_table_is_one_clear_message(run_folder, content):
    path = run_folder / "metrics.parquet"
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    with pytest.raises(InputError, match="bench run") as refused:
        _ = load_run(run_folder).metrics
    assert "metrics.parquet" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_torn_table_is_damaged(run_folder):
    path = run_folder / "samples.parquet"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match="is damaged"):
        _ = load_run(run_folder).samples


def test_a_table_that_lacks_columns_is_damaged(run_folder):
    pd.DataFrame({"value": [1.0]}).to_parquet(run_folder / "metrics.parquet")
    sealed(run_folder)
    with pytest.raises(InputError, match="lacks the columns dataset, model"):
        _ = load_run(run_folder).metrics


@pytest.mark.parametrize(
    ("name", "content", "attribute"),
    [
        ("manifest.json", "{", None),
        ("manifest.json", "[1]", None),
        ("suite.yaml", "a: [", "suite"),
        ("suite.yaml", "text", "suite"),
        ("suite.yaml", "!!python/object/apply:os.getcwd []", "suite"),
    ],
)
def test_damaged_texts_are_one_clear_message(run_folder, name, content, attribute):
    (run_folder / name).write_text(content)
    with pytest.raises(InputError, match=f"{name}.* is damaged"):
        getattr(load_run(run_folder), attribute or "path")


@pytest.mark.parametrize("what", ["metrics", "samples", "curves", "comparisons", "costs"])
def test_csv_keeps_every_digit(run_folder, capsys, what):
    run = load_run(run_folder)
    export(run, what, "csv", None)
    read = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    expected = run.table(what)
    assert len(read) == len(expected)
    assert list(read[0]) == list(expected.columns)
    for name in expected.columns:
        if pd.api.types.is_float_dtype(expected[name]):
            wanted = expected[name].to_numpy(dtype=float, na_value=np.nan)
            found = np.array([float(row[name] or "nan") for row in read])
            assert np.array_equal(found, wanted, equal_nan=True)


def test_json_is_a_list_of_rows_without_nan(run_folder, tmp_path):
    run = load_run(run_folder)
    export(run, "metrics", "json", tmp_path / "out.json")
    records = json.loads((tmp_path / "out.json").read_text())
    assert len(records) == len(run.metrics)
    assert list(records[0]) == COLUMNS
    assert [record["value"] for record in records] == [None if np.isnan(v) else v for v in run.metrics.value]
    export(run, "samples", "json", tmp_path / "samples.json")
    first = json.loads((tmp_path / "samples.json").read_text())[0]
    assert first["success"] is None
    assert first["y"] == 0
    export(run, "curves", "json", tmp_path / "curves.json")  # its last thresholds are -inf, which JSON does not have
    assert any(record["threshold"] is None for record in json.loads((tmp_path / "curves.json").read_text()))


def test_parquet_goes_to_files_and_pipes(run_folder, tmp_path, capsysbinary):
    run = load_run(run_folder)
    export(run, "metrics", "parquet", tmp_path / "out.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "out.parquet"), run.metrics)
    export(run, "metrics", "parquet", None)
    assert capsysbinary.readouterr().out == (tmp_path / "out.parquet").read_bytes()


@pytest.mark.parametrize("format", ["csv", "parquet", "json"])
def test_an_export_leaves_a_folder_alone_that_is_named_for_it(run_folder, tmp_path, format):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years")
    with pytest.raises(InputError, match=r"mine' cannot be written: Is a directory"):
        export(load_run(run_folder), "metrics", format, tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years"


def test_exports_that_cannot_be_are_refused(run_folder, tmp_path, monkeypatch):
    run = load_run(run_folder)
    with pytest.raises(InputError, match="Did you mean 'metrics'"):
        export(run, "metric", "csv", None)
    with pytest.raises(InputError, match="Known: csv, json, parquet"):
        export(run, "metrics", "xls", None)
    with pytest.raises(InputError, match="cannot be written"):
        export(run, "metrics", "csv", tmp_path / "no" / "such" / "folder.csv")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    with pytest.raises(InputError, match="no text for a terminal"):
        export(run, "metrics", "parquet", None)
