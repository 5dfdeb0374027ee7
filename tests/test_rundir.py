"""The run directory: it belongs to one run, and what is read of it is whole, of one try and as it was written."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Any

import pandas as pd
import pytest
from inline import toy_run

from benchmark import hookimpl, load_run
from benchmark.cli import main
from benchmark.errors import ExecutorError, InputError
from benchmark.store.artifact import digest
from benchmark.store.store import Store
from suites import write_suite

TABLES = ("metrics", "samples", "curves", "comparisons", "groups", "artifacts", "alarms", "probes", "trust", "costs")


RUN_OPTIONS = ("replace", "report", "part", "executor", "plugins")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run with its report, its suite and cache beside it. Copy it before you change it."""
    folder = tmp_path_factory.mktemp("finished")
    return toy_run(write_suite(folder), folder / "run", folder / "cache", report=True)


@pytest.fixture
def place(finished, tmp_path):
    """A copy of that folder: `toy.yaml`, `run` and `cache`."""
    shutil.copytree(finished.path.parent, tmp_path / "place")
    return tmp_path / "place"


def again(place: Path, out: str = "run", **options):
    """Run the suite in the folder, with the sections replaced that are no options of a run."""
    options = dict(options)
    sections = {name: options.pop(name) for name in list(options) if name not in RUN_OPTIONS}
    return toy_run(write_suite(place, **sections), place / out, place / "cache", **options)


def everything(folder: Path) -> list:
    """All that can be read of a run, in a form that can be compared."""
    run = load_run(folder)
    tables = [run.table(name).to_json() for name in TABLES]
    gallery = run.gallery
    names = {name for column in ("clean", "adversarial", "perturbation") for name in gallery[column] if name}
    names |= set(run.sheets.file)
    frames = [frame.to_json() for frame in (gallery, run.sheets, run.details)]
    return [run.manifest, run.suite, tables, frames, [run.image(name) for name in sorted(names)]]


@pytest.mark.slow
def test_a_flipped_bit_in_any_file_is_said_with_the_cure_and_changes_no_value(place):
    """Any file but the journal, which is no source of a number, and the report, which is none either."""
    run, random = place / "run", Random(0)
    expected = everything(run)
    files = [path for path in sorted(run.rglob("*")) if path.is_file() and "report" not in path.parts]
    files = [path for path in files if path.name not in ("journal.jsonl", ".lock")]
    assert {path.name for path in files} >= {"manifest.json", "suite.yaml", *(f"{name}.parquet" for name in TABLES)}
    for turn in range(150):
        file = files[turn % len(files)]
        whole = file.read_bytes()
        content = bytearray(whole)
        content[random.randrange(len(content))] ^= 1 << random.randrange(8)
        file.write_bytes(content)
        if file.name != "manifest.json":
            with pytest.raises(InputError, match=f"'{file}' is damaged .*bench run"):
                everything(run)
        else:  # its white space has no meaning
            with contextlib.suppress(InputError):
                assert everything(run) == expected
        file.write_bytes(whole)


@pytest.mark.parametrize("name", ["metrics.parquet", "suite.yaml", "manifest.json", "images"])
def test_the_same_command_makes_damaged_files_good_at_no_cost(place, name):
    expected = everything(place / "run")
    target = place / "run" / name
    for file in [target] if target.is_file() else list(target.iterdir()):
        file.write_bytes(file.read_bytes()[:-1] + b"?")
    with pytest.raises(InputError, match="is damaged"):
        everything(place / "run")
    done = again(place)
    assert done.code == 0
    assert " 0 to run" in done.said
    assert everything(place / "run")[1:2] + everything(place / "run")[3:] == expected[1:2] + expected[3:]


@pytest.mark.parametrize("lacks", ["a table", "a column"])
def test_a_run_of_another_version_is_called_that_and_made_anew_by_its_command(place, lacks, capfd):
    """What it lacks was never written: it is neither at work nor damaged."""
    run = load_run(place / "run")
    manifest, name = dict(run.manifest), "trust.parquet"
    if lacks == "a table":
        del manifest["files"][name]
    else:
        run.trust.drop(columns="because").to_parquet(place / "run" / name)
        manifest["files"][name] = hashlib.sha256((place / "run" / name).read_bytes()).hexdigest()
    (place / "run" / "manifest.json").write_text(json.dumps({**manifest, "checksum": digest(manifest)}))
    with pytest.raises(InputError) as refused:
        load_run(place / "run").trust  # noqa: B018
    said = str(refused.value)
    assert "another version of this program wrote it" in said
    assert ("has no trust.parquet" if lacks == "a table" else "lacks the columns because") in said
    assert "writes it anew, from the cache: `" in said
    assert "at work" not in said
    assert "damaged" not in said
    with pytest.raises(SystemExit, match="2"):
        main(["report", str(place / "run")])
    assert "another version" in capfd.readouterr().err
    again(place)
    assert "because" in load_run(place / "run").trust.columns


def test_export_and_report_name_the_damaged_file(place, capfd):
    table = place / "run" / "metrics.parquet"
    table.write_bytes(table.read_bytes()[:-1] + b"?")
    for command in (["export", str(place / "run")], ["report", str(place / "run")]):
        with pytest.raises(SystemExit) as stop:
            main(command)
        assert stop.value.code == 2
        assert f"error: '{table}' is damaged (its checksum differs). The same command" in capfd.readouterr().err


SEVERAL = {
    "attacks": "{step: {use: step, eps: 0.3}, far: {use: step, eps: 0.6}, raises: {use: raises, eps: 0.3}}",
    "defenses": "{none: {use: plain}, brightness: {use: brightness}, noisy: {use: noisy}}",
}


def test_what_belongs_to_a_cell_is_made_while_tasks_are_at_work_and_is_the_same_as_of_the_cache_alone(
    place, monkeypatch
):
    at_work: list[int] = []  # images that are there when a task ends
    counting: Any = ModuleType("counting")

    @hookimpl
    def task_finished(run):
        at_work.append(len(list((run.path / "images").glob("*.png"))))

    counting.task_finished = task_finished
    monkeypatch.setitem(sys.modules, "counting", counting)
    shutil.rmtree(place / "cache")
    assert again(place, out="meanwhile", executor="leisurely", plugins=("counting",), **SEVERAL).code == 1
    assert again(place, out="cached", **SEVERAL).code == 1
    assert any(0 < count < len(list((place / "meanwhile" / "images").glob("*.png"))) for count in at_work), at_work
    names = {path.relative_to(place / "cached") for path in (place / "cached").rglob("*.p*") if path.is_file()}
    assert sum(name.suffix == ".png" for name in names) > 8
    for name in names - {Path("costs.parquet")}:
        assert (place / "meanwhile" / name).read_bytes() == (place / "cached" / name).read_bytes(), name
    manifests = [load_run(place / out).manifest for out in ("meanwhile", "cached")]
    for fact in ("ended", "thresholds", "warnings", "alarms"):
        assert manifests[0][fact] == manifests[1][fact]
    assert manifests[0]["ended"] == {"ok": 9, "failed": 3}


def test_a_folder_that_was_moved_is_mended_where_it_lies_now(place, tmp_path):
    moved = tmp_path / "moved here"
    shutil.move(place / "run", moved)
    manifest = json.loads((moved / "manifest.json").read_text())
    for written in (["--output", "elsewhere"], ["--output=elsewhere"], []):
        facts = {name: value for name, value in manifest.items() if name != "checksum"}
        facts["command"] = ["bench", "run", "toy.yaml", *written, "--plugin", "toy"]
        (moved / "manifest.json").write_text(json.dumps({**facts, "checksum": digest(facts)}))
        (moved / "metrics.parquet").write_bytes(b"?")
        with pytest.raises(InputError) as refused:
            print(load_run(moved).metrics)
        assert str(refused.value).endswith(f": `bench run toy.yaml --plugin toy --output '{moved}'`.")
    (moved / "manifest.json").write_text("?")
    with pytest.raises(InputError, match=f"--output '{moved}'`"):
        load_run(moved)


def test_another_suite_is_refused_with_what_differs_and_the_ways_out(place):
    before = {path: path.read_bytes() for path in (place / "run").rglob("*") if path.is_file()}
    other = {"attacks": "{step: {use: step, eps: 0.2}}", "batch_size": "8"}
    with pytest.raises(InputError) as refused:
        again(place, **other)
    said = str(refused.value)
    assert "belongs to another run" in said
    assert "attacks.step.eps: 0.3 → 0.2" in said
    assert "batch_size: 16 → 8" in said
    assert "--output" in said
    assert "--replace" in said
    after = {path: path.read_bytes() for path in (place / "run").rglob("*") if path.is_file()}
    assert {path for path in before if before[path] != after.get(path)} <= {place / "run" / ".lock"}
    with pytest.raises(InputError, match=r"shard: null → .1/2."):
        again(place, part=(1, 2))
    replaced = again(place, replace=True, **other)
    assert replaced.code == 0
    assert set(load_run(place / "run").metrics.eps) == {"", "0.2"}
    assert load_run(place / "run").suite["batch_size"] == 8
    assert not (place / "run" / "report" / "index.html").exists()
    assert sum(line.startswith('{"event": "run started"') for line in journal(place / "run")) == 1


@pytest.mark.parametrize("cache", ["out/cache", "out/kept/cache", "out"])
def test_the_cache_may_lie_in_the_output_folder(place, cache):
    """A first try that ended before it wrote a manifest leaves the folder of the cache behind."""
    suite = write_suite(place)
    shutil.copytree(place / "cache", place / cache)
    for _ in range(2):
        done = toy_run(suite, place / "out", place / cache)
        assert done.code == 0
        assert " 0 to run" in done.said
    load_run(place / "out").table("metrics")
    with pytest.raises(InputError, match="images', which each run writes anew"):
        toy_run(suite, place / "new", place / "new" / "images" / "cache")
    assert not (place / "new").exists()
    (place / "yours").mkdir()
    (place / "yours" / "diary.txt").write_text("")
    with pytest.raises(InputError, match=r"no run wrote.*'diary.txt'"):
        toy_run(suite, place / "yours", place / "yours" / "cache")
    assert not (place / "yours" / "cache").exists()


def journal(folder: Path) -> list[str]:
    return (folder / "journal.jsonl").read_text().splitlines()


def test_words_may_change(place):
    before = load_run(place / "run")
    done = again(place, title="Another title")
    assert done.code == 0
    assert load_run(place / "run").suite["title"] == "Another title"
    pd.testing.assert_frame_equal(load_run(place / "run").metrics, before.metrics)


def test_an_interrupted_try_leaves_no_old_numbers_to_be_read(place, monkeypatch, capfd):
    shutil.rmtree(place / "cache")
    monkeypatch.setenv("TOY_INTERRUPTED_IN", "starting 1")
    with pytest.raises(KeyboardInterrupt):
        again(place)
    for command in (["export", str(place / "run")], ["report", str(place / "run")]):
        with pytest.raises(SystemExit) as stop:
            main(command)
        assert stop.value.code == 2
        said = capfd.readouterr().err
        assert "has no metrics.parquet: it was started 20" in said
        assert f"The same command goes on with it: `bench run --output {place / 'run'}`." in said
    monkeypatch.undo()
    assert again(place).code == 0
    assert len(load_run(place / "run").metrics)


def test_without_a_new_report_the_old_one_is_gone(place):
    assert (place / "run" / "report" / "index.html").exists()
    (place / "run" / "report" / "notes.txt").write_text("mine")
    again(place, report=False)
    assert [path.name for path in (place / "run" / "report").iterdir()] == ["notes.txt"]


def test_tables_and_report_carry_the_key_of_what_they_were_made_from(place):
    run = load_run(place / "run")
    assert len(run.key) == 64
    for name in TABLES:
        assert pd.read_parquet(place / "run" / f"{name}.parquet").attrs["key"] == run.key
    page = (place / "run" / "report" / "index.html").read_text()
    assert f'<meta name="run-key" content="{run.key}">' in page
    # The same work in another folder has the same key; other work has another.
    assert load_run(again(place, out="same").path).key == run.key
    assert load_run(again(place, out="other", seeds="[1]").path).key != run.key


@pytest.mark.parametrize("left", [[".lock"], [".lock", ".manifest.json.0123456789abcdef.aside"], []])
def test_a_start_that_was_killed_at_once_leaves_a_folder_that_can_be_used(place, left):
    folder = place / "new"
    folder.mkdir()
    for name in left:
        (folder / name).touch()
        os.utime(folder / name, (0, 0))
    exported = folder / ".metrics.csv.0123456789abcdef.aside"  # by a command that is just writing it
    if left:
        exported.touch()
    assert again(place, out="new").code == 0
    assert list(folder.glob(".*.aside")) == [exported] * bool(left)


def test_a_run_whose_manifest_is_lost_goes_on(place):
    (place / "run" / "manifest.json").unlink()
    assert again(place).code == 0
    assert len(load_run(place / "run").metrics)


def test_a_second_run_in_the_folder_hears_who_is_there(place):
    program = (
        "import sys; from pathlib import Path; from benchmark.rundir import RunDir\n"
        "with RunDir(Path(sys.argv[1])).locked(): print('here', flush=True); sys.stdin.readline()"
    )
    command = [sys.executable, "-c", program, str(place / "run")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "here\n"
        with pytest.raises(InputError, match=rf"another run is writing to .* \(process {process.pid} on "):
            again(place)
        process.communicate("\n")


def test_what_set_changes_has_a_folder_of_its_own(place, monkeypatch):
    from benchmark.plugins import load_plugins
    from benchmark.run import default_output
    from benchmark.suite import load_suite

    suite = load_suite(str(write_suite(place)), registry=load_plugins(["toy"]))
    one, other = (str(default_output(suite, sets=[f"attacks.step.eps={eps}"])) for eps in (0.1, 0.2))
    assert one != other
    assert one.startswith("runs/toy-set-attacks_step_eps_0_1-")
    assert default_output(suite) == Path("runs/toy")


FRAIL = """
from benchmark import Reporter, hookimpl
from benchmark.errors import ExecutorError
from benchmark.executors import Event
from inline import InlineExecutor

class Broken(Reporter):
    def write(self, runs, folder, *, single_file=False):
        raise RuntimeError("out of ink")

    def clear(self, folder):
        pass

class Blind(InlineExecutor):
    def submit(self, task):
        super().submit(task)
        if task.kind == "look":
            self.events[-1] = Event("failed", task.key, {"reason": "it was dark", "traceback": ""})

class Mortal(InlineExecutor):
    def wait(self, seconds):
        raise ExecutorError("no worker can be started")

@hookimpl
def register_reporters(register):
    register("z-broken", Broken)

@hookimpl
def register_executors(register):
    register("mortal", Mortal)
    register("blind", Blind)
"""


def test_the_manifest_says_what_the_process_exits_with_and_what_ended_it(place, monkeypatch, capsys):
    (place / "frail.py").write_text(FRAIL)
    monkeypatch.syspath_prepend(str(place))
    asked = (place / "toy.yaml", place / "run", place / "cache")
    assert toy_run(*asked, report=True, plugins=("frail",)).code == 1
    assert load_run(place / "run").manifest["exit_code"] == 1
    with pytest.raises(ExecutorError):
        toy_run(*asked, fresh=True, plugins=("frail",), executor="mortal")
    ended = load_run(place / "run")
    assert (ended.manifest["exit_code"], ended.manifest["ended_by"]) == (2, "no worker can be started")
    assert (ended.journal[-1]["event"], ended.journal[-1]["exit_code"]) == ("run ended early", 2)
    with pytest.raises(SystemExit) as left:
        main(["export", str(place / "run")])
    assert left.value.code == 2
    assert "ended early: no worker can be started. The same command goes on with it" in capsys.readouterr().err
    assert again(place).code == 0
    assert load_run(place / "run").manifest.keys() & {"exit_code", "ended_by"} == {"exit_code"}
    # A look for alarms that fails costs no numbers, and is told by the cells that it concerns.
    assert toy_run(*asked, fresh=True, plugins=("frail",), executor="blind", report=True).code == 1
    failures = load_run(place / "run").manifest["failures"]
    assert {len(failure["cells"]) for failure in failures} == {0}
    assert {cell["attack"] for failure in failures for cell in failure["unseen"]} == {"none", "step"}
    out = capsys.readouterr().out
    assert "2 of 2 cells done" in out
    assert "  no alarms or probes looked for (2 cells): look at " in out
    report = (place / "run" / "report" / "index.html").read_text()
    assert "2 cells in which alarms or probes were not looked for" in report
    assert "0 cells failed" not in report


def test_what_another_version_of_the_host_saw_of_a_network_is_seen_anew(place):
    store = Store(place / "cache")
    probes = list((place / "cache").rglob("probe.json"))
    before = [path.read_text() for path in probes]
    for path in probes:
        key = path.parent.name
        meta, seen = store.meta(key), json.loads(path.read_text())
        with store.building(key, anew=True) as building:
            (building.out / "probe.json").write_text(json.dumps({**seen, "smell": 1}))
            building.publish(meta)
    assert again(place).code == 0
    assert before
    assert [path.read_text() for path in probes] == before


@pytest.mark.slow
def test_a_limit_on_file_sizes_is_one_message_wherever_it_is_noticed(place):
    """At the manifest, at the tables, at the report: writing fails there as it does where the disk is full."""
    arguments = ["run", str(write_suite(place)), "--output", str(place / "new"), "--cache", str(place / "cache")]
    program = (
        "import resource, shutil, sys; from benchmark.cli import main\n"
        "import torch, pandas  # what they write at their import is not meant\n"
        "place, limits, *command = sys.argv[1:]\n"
        "for limit in limits.split():\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), resource.RLIM_INFINITY))\n"
        "    try: main(command)\n"
        "    except SystemExit as stop: code = stop.code\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))\n"
        "    print('exit code', code, 'under', limit, file=sys.stderr)\n"
        "    shutil.copytree(place + '/new', place + '/under ' + limit)\n"
    )
    command = [*arguments, "--plugin", "toy", "--plugin", "inline", "--executor", "inline", "--device", "cpu"]
    # Python would leave half a file of byte code, and take it for whole from then on.
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent), "PYTHONDONTWRITEBYTECODE": "1"}
    limits = (100, (place / "run" / "manifest.json").stat().st_size - 1, 20_000)
    done = subprocess.run(
        [sys.executable, "-c", program, str(place), " ".join(map(str, limits)), *command],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    left = done.stderr
    for limit in limits:
        said, _, left = left.partition(f"exit code 2 under {limit}\n")
        assert said.count("error: a file would grow beyond the largest that may be written under") == 1, done.stderr
        assert f"({limit:,} bytes by `ulimit -f`). Finished work is kept. Raise that limit, then" in said
        if limit > 100:
            told = load_run(place / f"under {limit}").manifest
            assert (told["exit_code"], told["ended_by"][:12]) == (2, "a file would"), limit
    assert not left
    assert again(place, out="new", report=True).code == 0
    assert (place / "new" / "report" / "index.html").exists()
    assert json.loads((place / "new" / "manifest.json").read_text())["exit_code"] == 0
