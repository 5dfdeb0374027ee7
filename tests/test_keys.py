"""What a result is known by: a change that changes no answer keeps its key, and every other one does not."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Annotated

import pytest

from benchmark import InputError, Options, load_run
from benchmark.keys import key_of
from benchmark.options import InputFile, SuiteLabel
from benchmark.plan.planner import make_plan
from benchmark.plan.task import VERSIONS, Craft
from benchmark.plugins import load_plugins
from benchmark.suite import load_suite
from suites import write_suite

TESTS = Path(__file__).parent


# -- the shipped suites ------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_keys_of_all_shipped_suites_are_pinned():
    from pinned_keys import PINNED, shipped_keys

    pinned, found = json.loads(PINNED.read_text()), shipped_keys()
    changed = sorted(name for name in pinned.keys() | found.keys() if pinned.get(name) != found.get(name))
    assert not changed, (
        f"other keys than those that are pinned: {', '.join(changed)}. What has been run of these suites will be run "
        "again, with other random draws. Where that is meant (a version was raised, a suite changed): "
        "python tests/pinned_keys.py"
    )


# -- options -----------------------------------------------------------------------------------------------------------


class Inner(Options):
    rate: float = 0.5
    deep: tuple[int, ...] = (1, 2)


class Two(Options):
    rate: float = 0.5


class Before(Options):
    steps: int = 10
    inner: Inner = Inner()


class After(Before):
    restarts: int = 1
    either: Inner | Two | None = None


class Ambiguous(Options):
    either: Inner | Two = Inner()
    flag: int | bool = 1


class Places(Options):
    weights: Annotated[str | None, InputFile()] = None
    learn_from: Annotated[tuple[str, ...], SuiteLabel()] = ()
    nested: Before = Before()


def test_a_default_is_not_in_the_key_on_any_level():
    assert key_of(Before()) == key_of(After()) == {}
    assert key_of(Before(steps=10, inner=Inner(rate=0.5))) == {}
    assert key_of(Before(steps=3)) == key_of(After(steps=3, restarts=1)) == {"steps": 3}
    assert key_of(Before(inner=Inner(deep=(2,)))) == {"inner": {"deep": [2]}}
    assert key_of(After(restarts=2)) != key_of(After())


def test_options_that_differ_have_keys_that_differ():
    """Also where their differences from the defaults look alike."""
    several = [
        Ambiguous(),
        Ambiguous(either=Two()),
        Ambiguous(either=Inner(rate=0.1)),
        Ambiguous(either=Two(rate=0.1)),
        Ambiguous(flag=True),
        Ambiguous(flag=2),
    ]
    assert len({json.dumps(key_of(one)) for one in several}) == len(several)


def test_places_and_labels_are_not_in_the_key_and_contents_are(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("here.pt").write_bytes(b"weights")
    shutil.copy("here.pt", "there.pt")
    Path("other.pt").write_bytes(b"others")
    here, there, other = (key_of(Places(weights=f"{name}.pt")) for name in ("here", "there", "other"))
    assert here == there != other
    assert key_of(Places(weights="a-name")) == {"weights": "a-name"}
    assert key_of(Places(learn_from=("fgsm",))) == key_of(Places(learn_from=("pgd",))) == {}


# -- plans -------------------------------------------------------------------------------------------------------------

TAUGHT = """
suite: taught
datasets: {blobs: {use: blobs}}
models: {linear: {use: linear}}
attacks: {ATTACK: {use: step, eps: 0.3}}
defenses: {DEFENSE: {use: taught, attacks: [ATTACK]}, near: {use: nearest}}
grid: [{datasets: all}]
THREADS
"""


def test_labels_and_threads_are_in_no_key(tmp_path):
    def keys(**names: str) -> set[str]:
        text = TAUGHT
        for old, new in {"ATTACK": "step", "DEFENSE": "taught", "THREADS": "", **names}.items():
            text = text.replace(old, new)
        path = tmp_path / "suite.yaml"
        path.write_text(text)
        registry = load_plugins(["toy"])
        plan = make_plan(load_suite(str(path), registry=registry), registry)
        return {task.key for task in plan.tasks.values()}

    assert keys() == keys(ATTACK="an attack", DEFENSE="a pupil") == keys(THREADS="threads: 2\ntitle: Another")
    assert keys() != keys(THREADS="batch_size: 7")


def test_a_kind_of_task_has_a_version_in_its_keys(tmp_path, monkeypatch):
    registry = load_plugins(["toy"])
    suite = load_suite(str(write_suite(tmp_path)), registry=registry)

    def keys() -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for task in make_plan(suite, registry).tasks.values():
            found.setdefault(task.kind, set()).add(task.key)
        return found

    before = keys()
    for kind in before:
        with monkeypatch.context() as patch:
            patch.setitem(VERSIONS, kind, f"{VERSIONS.get(kind)} and another")
            raised = keys()
        assert not raised[kind] & before[kind]
        if kind == "look":  # which nothing else reads
            assert _without(raised, kind) == _without(before, kind)
    assert keys() == before


def _without(keys: dict[str, set[str]], kind: str) -> dict[str, set[str]]:
    return {other: found for other, found in keys.items() if other != kind}


def test_a_minimum_norm_attack_is_learned_from_within_its_budget_and_judged_at_all_of_them(tmp_path):
    def crafts(defenses: str) -> dict[str, str | None]:
        path = tmp_path / "suite.yaml"
        path.write_text(
            TAUGHT.replace("use: step", "use: deepfool")
            .replace("ATTACK", "near")
            .replace("DEFENSE", "taught")
            .replace("THREADS", "")
            .replace("datasets: all", f"defenses: {defenses}")
        )
        registry = load_plugins(["toy"])
        tasks = make_plan(load_suite(str(path), registry=registry), registry).tasks.values()
        return {task.label: task.of(Craft).attack.options["eps"] for task in tasks if task.kind == "craft"}

    test, train = "near against linear on blobs", "near against linear on blobs, train images"
    for defenses in ("[taught, near]", "[near, taught]"):
        found = crafts(defenses)
        assert (found[test], found[train]) == (None, "0.3")


def test_a_shared_artifact_that_nobody_registered_is_told(tmp_path, monkeypatch):
    (tmp_path / "lost.py").write_text(
        textwrap.dedent("""
        from benchmark import ArtifactRequest, Defense, Options, Verdict, hookimpl
        class Lost(Defense):
            family = "detector"
            def artifacts(self):
                return {"map": ArtifactRequest("centroid", Options())}
            def judge(self, batch):
                return Verdict(label=batch.logits.argmax(1))
        @hookimpl
        def register_defenses(register):
            register("lost", Lost)
        """)
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    suite = tmp_path / "suite.yaml"
    suite.write_text(TAUGHT.replace("{use: taught, attacks: [ATTACK]}", "{use: lost}").replace("THREADS", ""))
    registry = load_plugins(["toy", "lost"])

    with pytest.raises(
        InputError, match=r"yaml:\d+: defenses.DEFENSE asks for a shared artifact: .*Did you mean 'cent"
    ):
        make_plan(load_suite(str(suite), registry=registry), registry)


# -- source that is being written --------------------------------------------------------------------------------------

PLUGIN = """
import torch

from benchmark import ArtifactRequest, Attack, AttackOptions, Defense, Options, SharedArtifact, Verdict, hookimpl

from strange.tools.helper import answer


class Strange(Defense):
    family = "preprocessor"
    randomised = True

    def artifacts(self):
        return {"map": ArtifactRequest("map", Options())}

    def judge(self, batch):
        return Verdict(label=answer(batch))


class Map(SharedArtifact):
    def build(self, context): ...
    def save(self, folder): (folder / "map.txt").write_text("map")
    def load(self, folder): ...


class NoiseOptions(AttackOptions):
    norm: str = "linf"


class Noise(Attack):
    Options = NoiseOptions
    needs = "labels"

    def craft(self, victim, x, y, rng):
        return (x + float(self.options.eps) * (2 * torch.rand(x.shape) - 1)).clamp(0, 1)  # of the global generator
"""
HOOKS = """
from benchmark import hookimpl

@hookimpl
def register_defenses(register):
    register("strange", "strange.MODULE:Strange", version="1")

@hookimpl
def register_attacks(register):
    register("noise", "strange.MODULE:Noise", version="1")

@hookimpl
def register_artifacts(register):
    register("map", "strange.MODULE:Map", version="1")
"""
NOISY = """
import torch

def answer(batch):
    return torch.randint(2, (len(batch.x),), generator=batch.rng.torch)
"""
SUITE = """
suite: strange
batch_size: 30
protocol: {repeats: 1}
datasets: {blobs: {use: blobs}}
models: {linear: {use: linear, train: null}}
attacks: {noise: {use: noise, eps: 8/255}}
defenses: {strange: {use: strange}}
grid: [{datasets: all}]
"""


# Each command is to be a process of its own, as an author's are; forked, it need not import torch anew.
FORKS = """
import json, os, sys
import torch, pandas, benchmark.run, benchmark.tasks.worker
from benchmark.cli import main
for line in sys.stdin:
    command = json.loads(line)
    child = os.fork()
    if child == 0:
        os.chdir(command["folder"])
        os.environ.update(command["environment"])
        sys.path[:0] = command["path"]
        sys.stdout = sys.stderr = open("said.txt", "w")
        try:
            main(command["arguments"])
        finally:
            sys.stdout.flush()
            os._exit(sys.exc_info()[1].code)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.fixture(scope="module")
def bench():
    """Return a function that runs `bench` in a process of its own."""
    process = subprocess.Popen([sys.executable, "-c", FORKS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def call(folder: Path, path: list[Path], environment: dict[str, str], *arguments: str) -> None:
        command = {"folder": str(folder), "path": [str(place) for place in path], "environment": environment}
        process.stdin.write(json.dumps({**command, "arguments": arguments}) + "\n")
        process.stdin.flush()
        code = int(process.stdout.readline())
        assert code == 0, (folder / "said.txt").read_text()

    yield call
    process.stdin.close()
    process.wait()


class Author:
    """Somebody who writes a plugin and runs it."""

    def __init__(self, bench, folder: Path, *options: str, plugins: str = "core") -> None:
        self.bench, self.folder, self.options, self.plugins = bench, folder, options, plugins
        self.package = folder / "source" / "strange"
        (self.package / "tools").mkdir(parents=True)
        self.write("tools/helper.py", NOISY)
        self.write("defense.py", PLUGIN)
        self.write("__init__.py", HOOKS.replace("MODULE", "defense"))
        (folder / "suite.yaml").write_text(SUITE)

    def write(self, name: str, text: str) -> None:
        file = self.package / name
        later = file.stat().st_mtime + 2 if file.exists() else None
        file.write_text(text)
        # Python takes bytecode for that of a file of the same size that was written in the same second.
        if later is not None:
            os.utime(file, (later, later))

    def install(self, place: Path) -> None:
        """Leave what an installation leaves beside the package: the editable one in `source`, where it is written."""
        info = place / "strange-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: strange\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text("[bench]\nstrange = strange\n")

    def run(self) -> tuple[list[str], list[int]]:
        """Run the suite; return the kinds of the tasks that were done, and the labels answered."""
        log = self.folder / "run" / "journal.jsonl"
        before = len(log.read_text().splitlines()) if log.exists() else 0
        self.bench(
            self.folder,
            [self.folder / "site-packages", self.folder / "source", TESTS],
            {"BENCH_CACHE": "cache", "BENCH_PLUGINS": self.plugins},
            *("run", "suite.yaml", "--executor", "inline", "--plugin", "toy", "--plugin", "inline", *self.options),
            *("--no-report", "--output", "run"),
        )
        lines = [json.loads(line) for line in log.read_text().splitlines()[before:]]
        done = sorted(line["kind"] for line in lines if line["event"] == "task done")
        samples = load_run(self.folder / "run").samples
        self.sizes = samples.perturbation.dropna().tolist()
        return done, samples.label.tolist()


@pytest.mark.parametrize("how", ["editable", "--plugin"])
def test_an_edit_of_a_helper_never_answers_from_the_cache(bench, tmp_path, how):
    author = Author(bench, tmp_path, *(["--plugin", "strange"] if how == "--plugin" else []))
    if how == "editable":
        author.install(tmp_path / "source")
        author.plugins = "core,strange"
    _, first = author.run()
    sizes = author.sizes
    assert author.run() == ([], first)

    # An edit that changes nothing runs again what is made of this source, to the same numbers.
    author.write("tools/helper.py", NOISY + "# a remark\n")
    done, same = author.run()
    assert done == ["artifact", "craft", "fit", "judge", "judge", "predict"]
    assert (same, author.sizes) == (first, sizes)

    author.write("tools/helper.py", NOISY.replace("return ", "return 1 - "))
    done, turned = author.run()
    assert done == ["artifact", "craft", "fit", "judge", "judge", "predict"]
    assert turned == [1 - label for label in first]


NETWORK = """
import torch
from torch import nn

from strange.tools.helper import ANSWER

def make(num_classes, image_shape):
    linear = nn.Linear(16, num_classes)
    with torch.no_grad():
        linear.bias.fill_(0)[ANSWER] = 9
    return nn.Sequential(nn.Flatten(), linear)
"""


def test_an_edit_of_what_a_network_of_the_users_is_made_of_never_answers_from_the_cache(bench, tmp_path):
    author = Author(bench, tmp_path, plugins="core,models")
    network = SUITE.replace("use: linear", "use: python, factory: 'strange.network:make'")
    (tmp_path / "suite.yaml").write_text(
        network.replace("use: noise", "use: step").replace("use: strange", "use: plain")
    )
    author.write("network.py", NETWORK)
    author.write("tools/helper.py", "ANSWER = 0\n")
    _, first = author.run()
    assert set(first) == {0}
    author.write("tools/helper.py", "ANSWER = 1\n")
    assert set(author.run()[1]) == {1}
    done, same = author.run()
    assert (done, set(same)) == ([], {1})


@pytest.mark.slow
def test_a_moved_file_and_an_installation_keep_the_numbers(bench, tmp_path):
    author = Author(bench, tmp_path, plugins="core,strange")
    author.install(tmp_path / "source")
    _, first = author.run()

    author.write("elsewhere.py", PLUGIN)
    (author.package / "defense.py").unlink()
    author.write("__init__.py", HOOKS.replace("MODULE", "elsewhere"))
    assert author.run()[1] == first

    # Installed, the registered version is what counts.
    place = tmp_path / "site-packages"
    shutil.copytree(author.package, place / "strange", ignore=shutil.ignore_patterns("__pycache__"))
    author.install(place)
    shutil.rmtree(tmp_path / "source")
    assert author.run()[1] == first
    author.package = place / "strange"
    author.write("tools/helper.py", NOISY.replace("return ", "return 1 - "))
    assert author.run() == ([], first)
    author.write("__init__.py", HOOKS.replace("MODULE", "elsewhere").replace('version="1"', 'version="2"'))
    assert author.run()[1] != first
