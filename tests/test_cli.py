"""The command line: a contract."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from benchmark.cli import main
from benchmark.results.tables import TABLES


@pytest.fixture
def bench(capfd):
    def call(*arguments: str) -> str:
        capfd.readouterr()
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        captured = capfd.readouterr()
        assert stop.value.code == 0, captured.err
        return captured.out

    return call


@pytest.mark.parametrize(
    ("arguments", "libraries"),
    [
        *(
            (arguments, ("torch", "pandas", "art"))
            for arguments in (
                ["--help"],
                ["plugins"],
                ["plugins", "--json"],
                ["validate", "quickstart"],
                ["suites"],
                ["schema"],
                ["show", "attack", "pgd"],
            )
        ),
        (["cache", "ls"], ("pandas",)),
        (["plan", "quickstart"], ("art", "torchvision", "torch._dynamo", "sklearn", "scipy.stats")),
    ],
)
def test_these_commands_do_not_wait_for_libraries_that_they_do_not_need(arguments, libraries):
    program = (
        "import sys; from benchmark.cli import main\n"
        f"try: main({arguments!r})\n"
        "except SystemExit as stop: assert stop.code == 0, stop.code\n"
        f"assert not {set(libraries)!r} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_options_of_run_are_those_of_the_contract(bench):
    said = bench("run", "--help")
    for option in (
        *("--profile", "--set", "--output", "--cache", "--device", "--executor", "--workers"),
        *("--only", "--shard", "--fresh", "--no-report", "--plugin"),
    ):
        assert option in said


def test_the_commands_are_those_of_the_contract(bench):
    said = bench("--help")
    reads = ("report", "leaderboard", "export", "plugins", "show", "schema", "doctor")
    for command in ("run", "plan", "validate", "suites", *reads):
        assert f"\n  {command} " in said


def test_show_names_every_option_with_its_default(bench):
    said = bench("show", "attack", "pgd")
    assert "eps" in said
    assert "required" in said
    assert "random_start" in said
    assert "unmask-bench" in said


def test_plugins_tells_where_each_comes_from(bench):
    facts = json.loads(bench("plugins", "--kind", "attack", "--json"))
    assert {row["kind"] for row in facts["components"]} == {"attack"}
    assert all(row["distribution"] == "unmask-bench" for row in facts["components"])
    assert facts["failed"] == []


def test_plan_counts_what_is_cached(bench, tmp_path):
    facts = json.loads(bench("plan", "quickstart", "--cache", str(tmp_path), "--json"))
    assert facts["tasks"]["train"] == {"total": 3, "to_run": 3}
    assert not any(cell["cached"] for cell in facts["cells"])
    assert facts["forward"] > facts["backward"] > 0
    assert facts["seconds_on_one_core"] > 0
    assert list(tmp_path.iterdir()) == []


def test_plan_lists_tasks_and_counts_cells_where_it_is_asked_to(bench, toy_suite, tmp_path):
    arguments = ("plan", str(toy_suite()), "--plugin", "toy", "--cache", str(tmp_path / "cache"))
    plain, summary, tasks = (bench(*arguments, *more) for more in ((), ("--summary",), ("--tasks",)))
    assert "2 cells" in plain
    assert "train 1/1" in plain
    assert "train linear on blobs" not in plain
    assert "blobs  linear  none  0/2" in summary
    assert "train linear on blobs" in tasks


def test_suites_names_what_ships_a_line_each(bench):
    rows = {line.split()[0]: line for line in bench("suites").splitlines()}
    assert "98 cells" in rows["quickstart"]
    assert "data: digits, partshapes" in rows["quickstart"]
    assert "torchvision CIFAR10" in rows["cifar10"]
    assert "meant for a GPU" in rows["unmask_paper"]
    facts = {row["name"]: row for row in json.loads(bench("suites", "--json"))}
    assert set(facts) == set(rows)
    assert "embedded" in facts["unmask_paper"]["profiles"]


def test_doctor_tells_versions_and_devices(bench):
    said = bench("doctor")
    assert "torch" in said
    assert "digits: found" in said


@pytest.mark.parametrize(
    ("profile", "part", "only", "expected"),
    [
        (None, None, (), "runs/toy"),
        ("small", (2, 8), (), "runs/toy-small-2of8"),
        (None, None, ("attack=s*",), "runs/toy-only-attack_s_-09bcb6"),
        (None, None, ("attack=s?",), "runs/toy-only-attack_s_-8b7be9"),
    ],
)
def test_the_default_output_is_named_by_suite_profile_filter_and_shard(toy_suite, profile, part, only, expected):
    from benchmark.plugins import load_plugins
    from benchmark.run import default_output
    from benchmark.suite import load_suite

    path = toy_suite(profiles="{small: {seeds: [1]}}")
    suite = load_suite(str(path), registry=load_plugins(["toy"]), profile=profile)
    assert str(default_output(suite, part, only)) == expected


def test_export_writes_the_contract_columns(run_toy, bench):
    finished = run_toy()
    header = bench("export", str(finished.path)).splitlines()[0]
    assert header == (
        "dataset,model,attack,norm,eps,defense,knowledge,seed,metric,value,ci_low,ci_high,n,status,reference,trust"
    )
    rows = json.loads(bench("export", str(finished.path), "--what", "samples", "--format", "json"))
    assert len(rows) == 120
    assert all(bench("export", str(finished.path), "--what", name).count("\n") >= 1 for name in TABLES)


@pytest.mark.parametrize(
    "arguments",
    [
        "export {run} --what samples",  # much at once
        "validate quickstart cifar10 pcl_budget pcl_table2",  # line by line
    ],
)
def test_a_pipe_that_closes_is_no_error(arguments, run_toy):
    given = arguments.format(run=run_toy().path) if "{run}" in arguments else arguments
    command = f"set -o pipefail; {sys.executable} -m benchmark.cli {given} | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_report_is_rebuilt_from_the_tables(run_toy, bench, tmp_path):
    finished = run_toy()
    said = bench("report", str(finished.path), "-o", str(tmp_path / "out"), "--single-file")
    assert "report:" in said
    assert "Toy" in (tmp_path / "out" / "index.html").read_text()


RANKS = """
from benchmark import Reporter, hookimpl


class Ranks(Reporter):
    def write(self, runs, folder, *, single_file=False):
        (folder / "report.txt").write_text("")
        return folder / "report.txt"

    def clear(self, folder):
        pass

    def rank(self, runs, folder):
        (folder / "ranks.txt").write_text(" ".join(str(len(run.metrics)) for run in runs))
        return folder / "ranks.txt"


@hookimpl
def register_reporters(register):
    register("ranks", Ranks)
"""


def test_a_leaderboard_of_runs(run_toy, bench, tmp_path, monkeypatch, capfd):
    (tmp_path / "ranks.py").write_text(RANKS)
    monkeypatch.syspath_prepend(tmp_path)
    defenses = "{none: {use: plain}, bright: {use: brightness}}"
    runs = [
        str(run_toy(out=name, defenses=defenses, protocol=f"{{false_positive_rate: {rate}}}").path)
        for name, rate in (("low", 0.05), ("high", 0.4))
    ]
    board = tmp_path / "board"
    said = bench("leaderboard", *runs, "-o", str(board), "--plugin", "toy", "--plugin", "ranks")
    assert said.splitlines() == [f"leaderboard: {board / 'index.html'}", f"leaderboard: {board / 'ranks.txt'}"]
    table = pd.read_csv(board / "leaderboard.csv")
    # Undefended images do not depend on the rate: they stand beside the detector of either.
    found = {rate: sorted(zip(of.run, of.defense)) for rate, of in table.groupby("threshold_false_positive_rate")}
    bare = [("high", "none"), ("low", "none")]
    assert found == {0.05: sorted([*bare, ("low", "bright")]), 0.4: sorted([*bare, ("high", "bright")])}
    assert (table[table.defense == "none"].groupby("condition").value.nunique() == 1).all()

    before = (board / "index.html").read_bytes()
    metrics = tmp_path / "high" / "metrics.parquet"
    metrics.write_bytes(metrics.read_bytes()[:-1] + b"?")
    twice, new = [runs[0], f"{runs[0]}/../low"], ["-o", str(tmp_path / "new")]
    for arguments, wanted in (
        (["leaderboard", *runs, "-o", str(board)], f"'{metrics}' is damaged"),
        (["leaderboard", *twice, *new], "low' is given twice. Give each run once."),
        (["report", *twice, *new], "low' is given twice. Give each run once."),
        (["leaderboard", runs[0]], "Missing option '-o'"),
        (["leaderboard", str(tmp_path / "nowhere"), *new], "does not exist"),
    ):
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        assert stop.value.code == 2
        assert wanted in capfd.readouterr().err
    assert (board / "index.html").read_bytes() == before
    assert not (tmp_path / "new").exists()


def test_tags_follow_from_what_a_component_declares_and_are_documented(bench):
    from benchmark.taxonomy import TAGS

    said = bench("show", "attack", "square", "--tags")
    assert "AML.T0043.001 Black-Box Optimization (MITRE ATLAS 5.6.0), in white-box and gray-box rows" in said
    assert "AML.T0043.000" not in said
    listed = json.loads(bench("plugins", "--tags", "--json", "--plugin", "toy"))["components"]
    found = {(row["kind"], row["name"]): {tag["tag"] for tag in row.get("tags", ())} for row in listed}
    assert found["attack", "step"] == {"AML.T0015", "AML.T0043.000", "AML.T0043.002", "NISTAML.022", "NISTAML.025"}
    assert found["defense", "adp"] == {"AML.M0003", "AML.M0006"}
    assert found["defense", "unmask"] == {"AML.M0010", "AML.M0015"}
    assert found["defense", "none"] == set()
    assert not any(tags for (kind, _), tags in found.items() if kind not in ("attack", "defense"))
    assert found["defense", "brightness"] == {"AML.M0015"}
    text = (Path(__file__).parents[1] / "docs" / "measures.md").read_text()
    for tag in TAGS:
        assert f"| `{tag.name}` | {tag.title} | {tag.framework} | {tag.given} |" in text


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "quickstart", "--executor", "local", "--executor-set", f"memory={'1' * 5000}"],
        ["submit", "quickstart", "--shards", "2", "--job-set", f"timeout_min={'1' * 5000}"],
    ],
)
def test_a_number_of_too_many_digits_is_told(arguments, capfd, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    said = capfd.readouterr().err
    assert (stop.value.code, said.count("\n")) == (2, 1)
    assert f"{arguments[-2]} {arguments[-1].partition('=')[0]}: a number of 5000 characters is too long" in said


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["run", "quickstart", "--output", ""], "--output"),
        (["run", "quickstart", "--output="], "--output"),
        (["run", "quickstart", "--executor", "ray", "--ray-address", ""], "--ray-address"),
        (["submit", "quickstart", "--shards", "2", "--output", ""], "--output"),
        (["submit", "quickstart", "--shards", "2", "--logs", ""], "--logs"),
        (["verify-attack", "quickstart", "-o", ""], "--output"),
        (["merge", "a", "b", "-o", ""], "--output"),
        (["report", ""], "RUN..."),
        (["report", "a", "-o", ""], "--output"),
        (["leaderboard", "a", "-o", ""], "--output"),
        (["export", ""], "RUN"),
        (["export", "a", "-o", ""], "--output"),
    ],
)
def test_a_place_without_a_name_is_not_the_current_folder(arguments, named, capfd, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert capfd.readouterr().err == f"error: {named}: it is empty. Name a place, or leave it out.\n"
    assert not list(tmp_path.iterdir())
