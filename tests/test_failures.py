"""One cell's trouble stays in its cell, and summary and exit code are true."""

from __future__ import annotations

import os
import shutil

import pytest

LATE = """
suite: late
title: What shows late
seeds: [0]
batch_size: 16
datasets: {blobs: {use: blobs}, torn: {use: torn}}
models: {linear: {use: linear}}
attacks:
  step: {use: step, eps: 0.3}
  faint: {use: step, eps: 0.000001}
  refuses: {use: refuses, eps: 0.3}
defenses:
  none: {use: plain}
  other: {use: other}
  lid: {use: lid, neighbors: 5, attacks: [faint]}
grid:
  - {datasets: blobs, models: all, attacks: [step, refuses], defenses: all}
  - {datasets: torn, models: all, attacks: step, defenses: none}
"""


@pytest.fixture
def run_late(tmp_path, capsys):
    """Return a function that runs a suite of toy and unlucky components: code, run, standard output."""

    def run(text: str = LATE, **how):
        from inline import start_inline

        from benchmark import load_run
        from benchmark.plugins import load_plugins
        from benchmark.suite import load_suite

        (tmp_path / "late.yaml").write_text(text)
        registry = load_plugins(["toy", "unlucky", "inline"])
        suite = load_suite(str(tmp_path / "late.yaml"), registry=registry)
        code, _ = start_inline(suite, registry, tmp_path / "run", tmp_path / "cache", **how)
        return code, load_run(tmp_path / "run"), capsys.readouterr().out

    return run


def test_what_shows_late_fails_the_cells_that_need_it_and_names_the_cause(run_late):
    code, run, said = run_late()
    assert code == 1
    cells = run.metrics.drop_duplicates(["dataset", "attack", "defense"]).set_index(["dataset", "attack", "defense"])
    single = cells[~cells.index.get_level_values("attack").str.startswith("worst-of")]
    ok = {("blobs", "none", "none"), ("blobs", "step", "none")}
    assert set(single.index[single.status == "ok"]) == ok
    assert set(single.index[single.status == "failed"]) == set(single.index) - ok
    assert len(single) == 11
    assert f"2 of {len(single)} cells done" in said
    reasons = {failure["task"].split(" on ")[0]: failure["reason"] for failure in run.manifest["failures"]}
    assert len(reasons) == 5, reasons  # the torn image: once to craft on, once to classify
    assert "faint fooled the classifier on 0 of" in reasons["fit lid for linear"]
    assert "another architecture" in reasons["fit other for linear"]
    assert "(32, 16) instead of (2, 16)" in reasons["fit other for linear"]
    assert "refuses: needs a victim of another kind" in reasons["refuses against linear"]
    assert any("scan-40.png" in reason for reason in reasons.values())
    assert run.manifest["exit_code"] == 1


TROUBLED = """
suite: troubled
title: Every kind of trouble in a task
datasets: {blobs: {use: blobs}, torn: {use: torn}, few: {use: few, count: 12}}
models: {linear: {use: linear}}
attacks:
  step: {use: step, eps: 0.3}
  refuses: {use: refuses, eps: 0.3}
  hangs: {use: hangs, eps: 0.3}
  slow: {use: hangs, eps: 0.3, log: SLOW}
  dies: {use: dies, eps: 0.3}
  unlucky: {use: dies-once, eps: 0.3, log: UNLUCKY}
defenses:
  none: {use: plain}
  bright: {use: brightness}
  singular: {use: mahalanobis, regularization: 0.0}
grid:
  - {datasets: blobs, attacks: all, defenses: [none, bright]}
  - {datasets: torn, attacks: step, defenses: none}
  - {datasets: few, attacks: step, defenses: [none, singular]}
"""


@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_each_trouble_costs_the_cells_that_need_the_task_and_retries_spare_those_that_it_passes_by(
    run_late, tmp_path, workers
):
    text = TROUBLED.replace("SLOW", str(tmp_path / "slow")).replace("UNLUCKY", str(tmp_path / "unlucky"))
    code, run, _ = run_late(text, executor="local", workers=workers, task_timeout=8, retries=1)
    assert code == 1
    rows = run.metrics[~run.metrics.attack.str.startswith("worst-of")]
    failed = {(row.dataset, row.attack, row.defense) for row in rows[rows.status != "ok"].itertuples()}
    assert failed == {
        *(("blobs", attack, defense) for attack in ("refuses", "hangs", "dies") for defense in ("none", "bright")),
        *(("torn", attack, "none") for attack in ("none", "step")),
        *(("few", attack, "singular") for attack in ("none", "step")),
    }
    failures = {failure["task"]: failure for failure in run.manifest["failures"]}
    reasons = {task: failure["reason"] for task, failure in failures.items()}
    hung = next(task for task in reasons if task.startswith("hangs against"))
    assert reasons[hung] == (
        "it took longer than --task-timeout 8 (8 s) and was ended. With more time it goes on from what it has left in "
        "the cache, if anything."
    )
    assert "time.sleep(1)" in failures[hung]["traceback"]  # where it was
    assert any("singular (" in reason for reason in reasons.values())
    assert any("scan-40.png" in reason for reason in reasons.values())
    assert any("signal 9 (SIGKILL)" in reason for reason in reasons.values())
    again = [warning["task"] for warning in run.manifest["warnings"] if "tried again (1 of 1)" in warning["text"]]
    assert sorted(task.split(" against")[0] for task in again) == ["dies", "hangs", "slow", "unlucky"]


SMALL = "\n".join(line for line in LATE.splitlines() if "torn, models" not in line).replace(
    "attacks: [step, refuses], defenses: all", "attacks: [step], defenses: none"
)


def test_no_space_where_a_plugin_writes_costs_its_own_cells_only(run_late):
    text = SMALL.replace("use: refuses", "use: crowded").replace("use: step, eps: 0.000001", "use: quoting, eps: 0.1")
    code, run, _ = run_late(text.replace("[step]", "[step, refuses, faint]"), executor="local", workers=1)
    assert code == 1
    cells = run.metrics[~run.metrics.attack.str.startswith("worst-of")].groupby("attack").status.unique().map(list)
    assert cells.to_dict() == {"none": ["ok"], "step": ["ok"], "refuses": ["failed"], "faint": ["failed"]}
    assert {failure["reason"] for failure in run.manifest["failures"]} == {
        "OSError: [Errno 28] No space left on device: '/dev/shm/scratch'",
        "RuntimeError: the licence server said: No space left on device (os error 28)",
    }


UNTRAINED = SMALL.replace("{use: linear}", "{use: linear, train: null}")


def test_time_in_which_nobody_is_at_work_is_no_time_of_the_task(run_late, clock):
    code, run, said = run_late(UNTRAINED, executor="bereaved", task_timeout=60)
    assert code == 0, said
    assert (run.metrics.status == "ok").all()


def test_a_machine_that_does_not_see_the_cache_folder_is_refused(run_late, tmp_path):
    from benchmark.errors import ExecutorError

    refused = pytest.raises(
        ExecutorError, match=r"does not see the cache folder '.*machine'.*Give --cache a folder that all"
    )
    with refused:
        run_late(UNTRAINED, executor="apart")
    assert run_late(UNTRAINED, executor="beside")[0] == 0
    # Nodes that are clones of one image have all that was there before.
    shutil.rmtree(tmp_path / "cache-of-another-machine", ignore_errors=True)
    shutil.copytree(tmp_path / "cache", tmp_path / "cache-of-another-machine")
    with refused:
        run_late(UNTRAINED, executor="apart", fresh=True)


def test_a_run_that_other_machines_see_leaves_no_mark_in_the_cache_nor_does_one_that_was_killed(run_late, tmp_path):
    locks = tmp_path / "cache" / "locks"
    locks.mkdir(parents=True)
    (locks / "run-of-a-dead-one").touch()
    os.utime(locks / "run-of-a-dead-one", (0, 0))
    (locks / "run-that-begins").touch()
    assert run_late(UNTRAINED, executor="beside")[0] == 0
    assert [file.name for file in locks.glob("run-*")] == ["run-that-begins"]


def test_what_vanishes_from_the_cache_under_a_run_is_made_again(run_late):
    code, run, said = run_late(SMALL, executor="forgets-once")
    assert code == 0
    assert "2 of 2 cells done" in said
    assert (run.metrics.status == "ok").all()


def test_missing_cells_count_in_summary_and_exit_code(run_late):
    code, run, said = run_late(SMALL, executor="forgetful")
    assert code == 1
    assert "0 of 2 cells done" in said
    assert "missing (2): lost from the cache" in said
    assert set(run.metrics.status) == {"missing"}
    assert run.manifest["exit_code"] == 1


def test_fresh_replaces_artifacts_when_they_are_made_and_discards_none_before(run_late):
    _, before, _ = run_late(SMALL)
    code, run, said = run_late(SMALL, executor="watchful", fresh=True)
    assert code == 0
    assert "2 of 2 cells done" in said
    assert run.metrics.equals(before.metrics)


EARLY = """
suite: early
title: What is known before any work
datasets: {few: {use: blobs, count: 20}, some: {use: blobs}}
models: {linear: {use: linear}, untrained: {use: linear, train: null}, picky: {use: picky}}
attacks:
  dlr: {use: apgd, eps: 0.1, loss: dlr}
  step: {use: step, eps: 0.3}
defenses:
  ten: {use: i-defender, components: 1}
  many: {use: i-defender, components: 301}
  wide: {use: i-defender, pca: 17}
  lid: {use: lid, neighbors: 20}
  bare: {use: adversarial_training, eps: 0.1}
grid:
  - {datasets: few, models: linear, defenses: [ten, many, lid]}
  - {datasets: some, models: linear, attacks: step, defenses: wide}
  - {datasets: few, models: untrained, attacks: step, defenses: bare}
  - {datasets: some, models: picky, attacks: step, defenses: wide}
"""


@pytest.mark.parametrize("command", ["plan", "run"])
def test_what_is_known_at_planning_is_told_then_all_at_once_with_its_place(tmp_path, monkeypatch, capfd, command):
    from benchmark.cli import main

    monkeypatch.chdir(tmp_path)
    (tmp_path / "early.yaml").write_text(EARLY)
    with pytest.raises(SystemExit) as stop:
        main([command, "early.yaml", "--plugin", "toy", "--cache", str(tmp_path / "cache")])
    said = capfd.readouterr().err
    assert stop.value.code == 2, said
    told = {line.removeprefix("error: ").split(": ", 1)[0]: line for line in said.splitlines()}
    assert set(told) == {f"early.yaml:{line}" for line in (5, 7, 10, 11, 12, 13, 14)}
    for line, expected in {
        5: "models.picky on datasets.some: needs images of at least 16x16",
        7: "attacks.dlr on datasets.few: apgd: loss dlr compares three classes, the data set has 2",
        10: "defenses.ten on datasets.few: i-defender: too few training images: 'top' 10, 'bottom' 10",
        11: "(components: 301), so 602",
        12: "pca: 17 components of 60 states with 16 dimensions",
        13: "lid: 20 training images have no 20 nearest",
        14: "no training recipe",
    }.items():
        assert expected in told[f"early.yaml:{line}"]
    assert not (tmp_path / "runs").exists()


TORN = """
from toy import Blobs
from benchmark import InputError, hookimpl

class Seen(Blobs):
    # Its fingerprint looks at nothing.
    def load(self, split):
        if split != "val":
            raise InputError(f"{split}: 3 mistakes")
        return super().load(split)

class Read(Blobs):
    # Its fingerprint looks at everything.
    def fingerprint(self):
        raise InputError("val: 5 mistakes; test: 7 mistakes")
    def load(self, split):
        raise InputError("told twice")

@hookimpl
def register_datasets(register):
    register("seen", Seen)
    register("read", Read)
"""
SPLITS = """
suite: f
datasets:
  one: {use: seen}
  two: {use: read}
models: {m: {use: linear}}
attacks: {a: {use: step, eps: 0.3}}
defenses: {x: {use: plain}}
grid: [{datasets: all}]
"""


def test_what_is_wrong_with_one_split_hides_no_other_and_no_other_data_set(tmp_path, monkeypatch, capfd):
    from benchmark.cli import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "torn_splits.py").write_text(TORN)
    (tmp_path / "f.yaml").write_text(SPLITS)
    with pytest.raises(SystemExit) as stop:
        main(["plan", "f.yaml", "--plugin", "toy", "--plugin", "torn_splits", "--cache", str(tmp_path / "cache")])
    assert stop.value.code == 2
    assert capfd.readouterr().err.removeprefix("error: ").splitlines() == [
        "f.yaml:4: datasets.one: train: 3 mistakes",
        "f.yaml:4: datasets.one: test: 3 mistakes",
        "f.yaml:5: datasets.two: val: 5 mistakes; test: 7 mistakes",
    ]


FAILS = """
from toy import Blobs, Linear, Step, Plain
from benchmark import hookimpl

def failing(base, hook, kind=None):
    def fails(self, *arguments):
        raise KeyError("a bug\\nand more of it")
    fails.__name__ = hook
    return type("Fails", (base,), {hook: kind(fails) if kind else fails, "__doc__": "Fails.", "__module__": __name__})

def answering(hook, answer):
    return type("Answers", (Plain,), {hook: lambda self, *a: answer, "__doc__": "Answers.", "__module__": __name__})

@hookimpl
def register_datasets(register):
    for hook in ("check", "load", "fingerprint", "remarks"):
        register(hook, failing(Blobs, hook))

@hookimpl
def register_models(register):
    for hook in ("check", "fingerprint", "network"):
        register(hook, failing(Linear, hook))

@hookimpl
def register_attacks(register):
    for hook in ("check", "check_setting", "passes"):
        register(hook, failing(Step, hook))
    register("minimum_norm", failing(Step, "minimum_norm", property))

@hookimpl
def register_defenses(register):
    hooks = "check check_setting artifacts observations layers training_attacks passes fingerprint"
    for hook in hooks.split():
        register(hook, failing(Plain, hook))
    register("gives_scores", failing(Plain, "gives_scores", property))
    register("constructor", failing(Plain, "__init__"))
    for hook, answer in {
        "artifacts": None, "training_attacks": "step", "passes": (1, 2),
        "fingerprint": 7,
    }.items():
        register(f"wrong_{hook}", answering(hook, answer))
"""
ASKED = """
suite: f
datasets: {d: {use: %s}}
models: {m: {use: %s}}
attacks: {a: {use: %s, eps: 0.3}}
defenses: {x: {use: %s}}
grid: [{}]
"""


def test_a_plugin_that_fails_or_answers_with_nonsense_while_planning_is_told_in_one_message(
    tmp_path, monkeypatch, capfd
):
    from benchmark.cli import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "fails.py").write_text(FAILS)
    whole = {"dataset": "blobs", "model": "linear", "attack": "step", "defense": "plain"}
    hooks = {
        "dataset": ("check", "load", "fingerprint", "remarks"),
        "model": ("check", "fingerprint", "network"),
        "attack": ("check", "check_setting", "passes", "minimum_norm"),
        "defense": (
            *("check", "check_setting", "artifacts", "observations", "layers", "training_attacks", "passes"),
            *("fingerprint", "gives_scores", "constructor"),
            *("wrong_artifacts", "wrong_training_attacks", "wrong_passes", "wrong_fingerprint"),
        ),
    }
    for line, (kind, uses) in enumerate(hooks.items(), 3):
        for use in uses:
            (tmp_path / "f.yaml").write_text(ASKED % tuple({**whole, kind: use}.values()))
            with pytest.raises(SystemExit) as stop:
                main(["plan", "f.yaml", "--plugin", "toy", "--plugin", "fails", "--cache", str(tmp_path / "cache")])
            said = capfd.readouterr().err
            assert stop.value.code == 2, (use, said)
            assert said.startswith(f"error: f.yaml:{line}: {kind}s."), said
            assert f"of the {kind} '{use}' (from module fails)" in said
            assert said.count("\n") == 1
            if use.startswith("wrong_"):
                assert f"`{use.removeprefix('wrong_')}` of the defense" in said
                assert ", which must be " in said
            else:
                assert "raised KeyError: 'a bug" in said
                assert str(tmp_path / "fails.py:7") in said


QUITS = """
import sys
from toy import Blobs, Linear
from benchmark import Converter, hookimpl
from torch import nn

class Checked(Blobs):
    def check(self): sys.exit(3)

class Loaded(Blobs):
    def load(self, split): sys.exit(3)

class Made(Linear):
    def __init__(self, options): sys.exit(3)

class Quits(nn.Flatten):
    def forward(self, x): sys.exit(3)

class Run(Linear):
    def network(self, num_classes, image_shape): return nn.Sequential(Quits(), nn.Linear(16, 2))

class Converted(Converter):
    def convert(self, progress): sys.exit(3)

@hookimpl
def register_datasets(register):
    register("checked", Checked)
    register("loaded", Loaded)

@hookimpl
def register_models(register):
    register("made", Made)
    register("run", Run)
    register("gone", "quits_at_import:Model")

@hookimpl
def register_converters(register):
    register("converted", Converted)
"""
PLANNED = "suite: q\ndatasets: {d: {use: %s}}\nmodels: {m: {use: %s}}\ndefenses: {none: {use: plain}}\n"


def test_a_plugin_that_would_end_the_program_is_named_instead(tmp_path, monkeypatch, capfd):
    from benchmark.cli import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "quits.py").write_text(QUITS)
    (tmp_path / "quits_at_import.py").write_text("import sys; sys.exit(3)")
    plugins = ("--plugin", "toy", "--plugin", "quits")
    for command, expected in {
        ("plan", "checked", "linear"): "q.yaml:2: datasets.d: the plugin called sys.exit(3)",
        ("plan", "loaded", "linear"): "q.yaml:2: datasets.d: the plugin called sys.exit(3)",
        ("plan", "blobs", "made"): "q.yaml:3: models.m: the plugin called sys.exit(3)",
        ("plan", "blobs", "run"): "q.yaml:3: models.m on datasets.d: the plugin called sys.exit(3)",
        ("data", "prepare", "converted"): "quits.py, line 23 (convert), called sys.exit(3)",
        ("show", "model", "gone"): "'quits_at_import:Model': SystemExit: 3",
        ("plugins", "--plugin", "quits_at_import"): "quits_at_import: cannot be imported: SystemExit: 3",
    }.items():
        if command[0] == "plan":
            (tmp_path / "q.yaml").write_text(PLANNED % command[1:] + "grid: [{}]\n")
            command = ("plan", "q.yaml", "--cache", str(tmp_path / "cache"))
        with pytest.raises(SystemExit) as stop:
            main([*command, *plugins])
        said = capfd.readouterr().err
        assert stop.value.code == 2, (command, said)
        assert said.startswith("error: "), said
        assert expected in said, said
