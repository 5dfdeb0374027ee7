"""What plugins do to what they are handed reaches no other cell, and who does it is named."""

from __future__ import annotations

import json
import os
import sys

import pytest
from hostile import NETWORK, PROCESS

from benchmark.errors import InputError
from benchmark.isolation.process import IsolationError, isolated
from suites import write_suite

CLEAN = {"none": {"use": "plain"}, "bright": {"use": "brightness"}, "near": {"use": "nearest"}}
STEP = {"step": {"use": "step", "eps": 0.3}}


def vandals(plugin: str, options: list[dict[str, str]], **more: str) -> dict[str, dict[str, str]]:
    """Return components by labels such as `fit, weights`."""
    return {", ".join(one.values()): {"use": plugin, **one, **more} for one in options}


def blamed(finished, axis: str) -> dict[str, str]:
    """Return per label of the axis why its cells failed."""
    found: dict[str, str] = {}
    for failure in finished.run.manifest["failures"]:
        for cell in failure["cells"]:
            found[cell[axis]] = found.get(cell[axis], "") + failure["reason"]
    return found


def clean_rows(finished) -> dict[str, str]:
    """Return every number of the clean cells: of measures and of images."""
    tables = {"metrics": finished.run.metrics, "samples": finished.run.samples}
    return {
        name: table[
            table.defense.isin(list(CLEAN))
            & table.attack.isin(["none", "step"])
            & (table.model == "linear")
            & (table.dataset == "blobs")
        ].to_csv(index=False)
        for name, table in tables.items()
    }


def written(hostile: dict[str, dict[str, dict[str, str]]], knowledge: str = "gray-box") -> dict[str, str]:
    """Return the sections of a suite of the clean components, which come after the hostile ones."""
    sections = {
        "models": {"linear": {"use": "linear"}},
        "attacks": STEP,
        "defenses": CLEAN,
        "datasets": {"blobs": {"use": "blobs"}},
    }
    texts = {name: json.dumps({**hostile.get(name, {}), **section}) for name, section in sections.items()}
    grid = [{"defenses": list(CLEAN)}]
    if "defenses" in hostile:
        # Each such defense offers its classifier as a stand-in, so that the attack asks for it.
        grid.append({"defenses": list(hostile["defenses"]), "knowledge": knowledge})
    return {**texts, "grid": json.dumps(grid)}


@pytest.fixture
def run_hostile(run_toy):
    """Return a function that runs clean components after hostile ones, from an empty cache or one that they filled."""

    def run(out: str, *, fresh: bool = True, knowledge: str = "gray-box", **hostile: dict[str, dict[str, str]]):
        return run_toy(out=out, fresh=fresh, plugins=("hostile",), **written(hostile, knowledge))

    return run


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """What the clean components give where nobody else is."""
    from inline import toy_run

    folder = tmp_path_factory.mktemp("alone")
    finished = toy_run(write_suite(folder, **written({})), folder / "run", folder / "cache", plugins=("hostile",))
    assert finished.code == 0
    return finished


def test_defenses_that_change_what_they_are_handed_fail_alone(run_hostile, alone):
    defenses = vandals("vandal", [{"where": "fit", "what": what} for what in [*NETWORK, *PROCESS, "labels"]])
    in_judge = ["weights", "the mode", "a hook", "default dtype", "environment", "x", "logits"]
    defenses |= vandals("vandal", [{"where": "judge", "what": what} for what in in_judge])
    defenses |= vandals("vandal", [{"where": where, "what": "weights"} for where in ("save", "load")])
    defenses |= {"in place": {"use": "in-place"}}
    defenses |= vandals("observing", [{"where": "fit", "what": "artifact"}, {"where": "judge", "what": "observed"}])
    defenses |= vandals("observing", [{"where": "observe", "what": what} for what in ("x", "itself")])
    defenses |= vandals("observing", [{"where": "build", "what": what} for what in ("weights", "default dtype")])
    beside = run_hostile("beside", defenses=defenses)
    assert beside.code == 1
    assert clean_rows(beside) == clean_rows(alone)
    said = blamed(beside, "defense")
    assert set(said) == set(defenses)
    for label, reason in said.items():
        what = label.rpartition(", ")[2]
        shared = what in ("artifact", "itself")
        assert (what if what in PROCESS else "shared artifact" if shared else "handed") in reason, label
    assert "copy.deepcopy" in said["in place"]
    # What they left behind in the cache, half done, answers nothing: they fail again, and nobody else is touched.
    some = {label: defenses[label] for label in ("in place", "fit, weights", "judge, x", "observe, itself")}
    again = run_hostile("again", fresh=False, defenses=some)
    assert set(blamed(again, "defense")) == set(some)
    after = run_hostile("after", fresh=False)
    assert after.code == 0
    assert clean_rows(again) == clean_rows(after) == clean_rows(alone)


def test_attacks_that_change_what_they_are_handed_fail_alone(run_hostile, alone):
    attacks = vandals("vandal", [{"what": what} for what in [*NETWORK, "gradient mode", "threads", "x", "y"]], eps=0.3)
    beside = run_hostile("beside", attacks=attacks)
    assert clean_rows(beside) == clean_rows(alone)
    said = blamed(beside, "attack")
    assert set(said) == set(attacks)
    for label, reason in said.items():
        assert "the attack" in reason
        assert (label if label in PROCESS else "handed") in reason, label
    assert "images or labels" in said["x"]
    some = {label: attacks[label] for label in ("weights", "x")}
    assert set(blamed(run_hostile("again", fresh=False, attacks=some), "attack")) == set(some)


@pytest.mark.parametrize("what", ["hooks of all modules", "denormal", "environment"])
def test_a_network_that_changes_the_process_is_named_while_planning(run_hostile, what):
    with pytest.raises(InputError, match=rf"models\.bad.*{what}"):
        run_hostile("run", models={"bad": {"use": "vandal-linear", "what": what}})


def test_what_cannot_be_put_back_is_told_and_the_rest_is_put_back(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    limit = sys.getrecursionlimit()

    def vandalise():
        with isolated("it"):
            os.rmdir(tmp_path / "here")
            sys.setrecursionlimit(limit + 1)

    with pytest.raises(IsolationError, match=r"current directory, which cannot be put back.*recursion"):
        vandalise()
    assert sys.getrecursionlimit() == limit


def test_a_thread_that_goes_on_costs_its_own_cells_and_the_worker(alone, toy_suite, tmp_path):
    from inline import toy_run

    haunted = {"haunted": {"use": "vandal", "where": "fit", "what": "ghost"}, **CLEAN}
    suite = toy_suite(attacks=json.dumps(STEP), defenses=json.dumps(haunted), grid="[{defenses: all}]")
    beside = toy_run(
        suite, tmp_path / "beside", tmp_path / "other", plugins=("hostile",), executor="local", workers=1, replace=True
    )
    said = blamed(beside, "defense")
    assert set(said) == {"haunted"}
    assert "threads go on (ghost)" in said["haunted"]
    assert clean_rows(beside) == clean_rows(alone)


@pytest.mark.parametrize("what", ["threads go on", "a thread and the end"])
def test_a_spoiled_process_that_its_executor_does_not_end_does_no_other_task(run_toy, what):
    bad = {"bad": {"use": "vandal", "where": "fit", "what": what}, **CLEAN}
    finished = run_toy(
        plugins=("hostile", "unlucky"), executor="heedless", attacks=json.dumps(STEP), defenses=json.dumps(bad)
    )
    reasons = [failure["reason"] for failure in finished.run.manifest["failures"]]
    assert len(reasons) > 1
    assert len([reason for reason in reasons if "has spoiled it for all others" in reason]) == len(reasons) - 1


def test_a_network_may_work_in_place_on_its_input_and_an_artifact_may_fill_its_cache(run_hostile):
    observing = vandals("observing", [{"where": "nowhere", "what": "nothing"}])
    beside = run_hostile("beside", models={"in place": {"use": "vandal-linear", "what": "nothing"}}, defenses=observing)
    assert beside.code == 0
    metrics = beside.run.metrics
    robust = metrics[(metrics.model == "in place") & (metrics.metric == "robust_accuracy")]
    assert (robust.value < 0.9).all()


@pytest.mark.parametrize("what", ["default dtype", "current directory"])
def test_a_data_set_that_changes_the_process_is_named(run_toy, what):
    import torch

    before = os.getcwd(), torch.get_default_dtype()
    with pytest.raises(InputError, match=f"datasets.blobs.*{what}"):
        run_toy(plugins=("hostile",), datasets=json.dumps({"blobs": {"use": "vandal-blobs", "what": what}}))
    assert (os.getcwd(), torch.get_default_dtype()) == before


def test_a_verdict_that_depends_on_its_neighbours_fails_its_cells(run_hostile):
    names = ["batch-mean", "noisy-batch-mean", "batch-label", "growing"]
    defenses = {name: {"use": name} for name in [*names, "noisy", "noisy-brightness"]}
    defenses |= vandals("observing", [{"where": "observe", "what": "neighbours"}])
    finished = run_hostile("run", defenses=defenses)
    said = blamed(finished, "defense")
    assert set(said) == {*names, "observe, neighbours"}
    for reason in said.values():
        assert "depends on" in reason
        assert "neighbours in the batch" in reason
    assert (finished.run.metrics.query("defense == 'batch-mean'").status == "failed").all()


def test_a_fit_that_is_not_saved_whole_and_a_verdict_that_depends_on_the_order_of_tasks_fail_their_cells(run_hostile):
    names = ["rounding", "forgetful", "hoarding", "reminiscent", "reminiscent-unfitted"]
    said = blamed(run_hostile("run", defenses={name: {"use": name} for name in names}), "defense")
    assert set(said) == set(names)
    assert "not saved whole" in said["rounding"]
    assert "AttributeError" in said["forgetful"]
    assert "not saved whole" in said["hoarding"]
    for name in ("reminiscent", "reminiscent-unfitted"):
        assert "the verdict depends on what was judged before: another score for " in said[name]


@pytest.mark.parametrize("system", [sys.platform, "darwin"])
def test_a_fit_that_no_other_process_judges_in_time_stands_with_a_warning(run_toy, monkeypatch, system):
    monkeypatch.setattr(sys, "platform", system)
    finished = run_toy(plugins=("hostile",), defenses="{slow: {use: slow}}")
    assert finished.code == 0
    (warning,) = (one for one in finished.run.manifest["warnings"] if "fit slow" in one["task"])
    assert warning["text"].startswith("not checked whether another process judges alike")


def test_what_is_spoilt_in_the_parent_process_costs_its_own_output_only(run_hostile, alone, run_toy, tmp_path):

    import onlookers
    import torch

    from benchmark import load_run
    from benchmark.plugins import load_plugins
    from benchmark.reporting import write_reports

    before = os.getcwd(), torch.get_default_dtype(), dict(os.environ)
    beside = run_toy(out="beside", fresh=True, plugins=("onlookers",), executor="vandal", defenses=json.dumps(CLEAN))
    assert beside.code == 1
    metrics = beside.run.metrics
    theirs = metrics.metric.str.startswith("a_")
    assert (metrics[theirs].status == "failed").all()
    assert metrics[~theirs].to_csv(index=False) == alone.run.metrics.to_csv(index=False)
    assert beside.run.samples.equals(alone.run.samples)
    told = " ".join(warning["text"] for warning in beside.run.manifest["warnings"])
    for name in ("a_vandal", "a_through_torch", "a_by_replacing", "a_of_process", "Vandal panel"):
        assert name in told
    assert "NumPy's error handling" in told
    assert "the environment (HOSTILE)" in beside.said
    assert "called sys.exit(5)" in beside.said
    assert "torch's default dtype" in beside.said
    assert {"started", "train", "judge", "finished"} <= set(onlookers.HEARD)

    written, problems = write_reports(load_plugins(["onlookers"]), [beside.path], tmp_path / "report")
    assert any("'a-vandal'" in problem and "current directory" in problem for problem in problems)
    assert len(problems) == 1
    copied = next(path for path in written if path.name == "copy.csv")
    assert copied.read_text() == load_run(beside.path).metrics.to_csv(index=False)
    assert (os.getcwd(), torch.get_default_dtype(), dict(os.environ)) == before


def test_what_a_plugin_changes_while_it_is_imported_is_put_back(run_toy, run_hostile, alone, tmp_path, monkeypatch):
    import torch

    (tmp_path / "loud.py").write_text(
        "import torch\ntorch.set_default_dtype(torch.float64)\ntorch.set_grad_enabled(False)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    beside = run_toy(out="beside", plugins=("loud",), defenses=json.dumps(CLEAN))
    assert (torch.get_default_dtype(), torch.is_grad_enabled()) == (torch.float32, True)
    assert clean_rows(beside) == clean_rows(alone)


@pytest.mark.slow
@pytest.mark.parametrize("where", ["fit", "save", "load", "judge", "surrogate"])
def test_every_change_in_every_hook_of_a_defense_fails_alone(run_hostile, alone, where):
    changes = [*NETWORK, *PROCESS]
    if where == "judge":
        changes.remove("gradient mode")  # its block without gradients puts that mode back
    elif where == "surrogate":
        changes = [what for what in changes if what not in ("the mode", "gradients")]  # the host sets these anyway
    knowledge = "white-box" if where == "surrogate" else "gray-box"
    defenses = vandals("vandal", [{"where": where, "what": what} for what in changes])
    beside = run_hostile("beside", knowledge=knowledge, defenses=defenses)
    assert set(blamed(beside, "defense")) == set(defenses)
    assert clean_rows(beside) == clean_rows(alone)


@pytest.mark.slow
@pytest.mark.parametrize("where", ["fit", "build", "observe"])
def test_every_change_by_a_shared_artifact_fails_alone(run_hostile, alone, where):
    changes = {"fit": ["artifact"], "build": [*NETWORK, *PROCESS], "observe": ["x", "itself", "neighbours"]}[where]
    defenses = vandals("observing", [{"where": where, "what": what} for what in changes])
    beside = run_hostile("beside", defenses=defenses)
    assert set(blamed(beside, "defense")) == set(defenses)
    assert clean_rows(beside) == clean_rows(alone)
