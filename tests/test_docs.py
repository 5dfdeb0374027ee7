"""Documents that are run or read by a test cannot rot."""

from __future__ import annotations

import inspect
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

import benchmark
from benchmark import hookspecs

ROOT = Path(__file__).resolve().parents[1]


def blocks(document: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / document).read_text(), re.S)


def test_the_defense_of_the_five_minutes_works(tmp_path, monkeypatch, capfd):
    (tmp_path / "bench_blur.py").write_text(blocks("CONTRIBUTING.md", "python")[0])
    project = tomllib.loads(blocks("CONTRIBUTING.md", "toml")[0])
    assert project["project"]["entry-points"]["bench"] == {"blur": "bench_blur"}
    monkeypatch.syspath_prepend(str(tmp_path))
    import torch

    from benchmark.defense import Batch
    from benchmark.plugins import load_plugins
    from benchmark.randomness import Rng

    registry = load_plugins(["bench_blur"])
    defense = registry.create("defense", "blur", {"sigma": 0.8})
    defense.classifier = lambda x: x.flatten(1)[:, :3]
    verdict = defense.judge(Batch(torch.rand(4, 1, 8, 8), defense, Rng(0)))
    assert verdict.label.shape == (4,)
    command = next(line for line in blocks("CONTRIBUTING.md", "console")[0].splitlines() if "bench run" in line)
    value = re.search(r"--set '([^']*)'", command).group(1)
    from benchmark.suite import load_suite

    suite = load_suite("quickstart", registry=registry, sets=[value])
    options: Any = suite.defenses["blur"].options
    assert options.sigma == 0.8
    assert "blur" in suite.grid[0].defenses


@pytest.mark.parametrize("hook", [name for name in vars(hookspecs) if name.startswith(("register_", "run_", "task_"))])
def test_every_hook_says_what_it_is_for(hook):
    documented = inspect.getdoc(getattr(hookspecs, hook))
    assert documented
    assert documented.endswith(".")


def test_every_plugin_folder_has_a_readme_tests_and_an_entry_point():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    named = set(project["project"]["entry-points"]["bench"].values())
    for folder in [*(ROOT / "plugins").glob("bench_*"), *(ROOT / "reports").glob("bench_*")]:
        assert (folder / "README.md").is_file(), folder
        assert list((folder / "tests").glob("test_*.py")), folder
        assert folder.name in named


def test_every_shipped_suite_is_valid_with_all_its_profiles_and_titles_say_which_data_ran():
    from benchmark.plugins import load_plugins
    from benchmark.suite import load_suite

    registry = load_plugins()
    for path in sorted((ROOT / "suites").glob("*.yaml")):
        suite = load_suite(str(path), registry=registry)
        assert suite.name == path.stem
        for profile in suite.profiles:
            chosen = load_suite(str(path), registry=registry, profile=profile)
            # The title of a paper's table does not stand over other data.
            if not set(chosen.datasets) <= set(suite.datasets):
                assert chosen.title != suite.title, (path.name, profile)


def test_what_documents_say_and_the_code_knows_is_as_it_would_be_generated(monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    import generated

    assert generated.run("--check", "--verbosity=1") == 0, f"run `nox -s generate`: {capsys.readouterr()}"


def test_every_name_for_authors_says_what_it_is(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    import generated

    for modules in benchmark.PAGE.values():
        for module, names in modules.items():
            for name in names:
                found = getattr(benchmark, name)
                function = inspect.isclass(found) or inspect.isroutine(found)
                said = found.__doc__ if function else generated.constants(module).get(name)
                assert said, f"{module}.{name}: a text below it, or a docstring, for docs/authors.md"


def test_the_readme_names_documents_that_exist():
    for target in re.findall(r"\]\(([^)#]+)\)", (ROOT / "README.md").read_text()):
        assert (ROOT / target).exists(), target


@pytest.mark.parametrize("name", sorted(path.name for path in (ROOT / "docs" / "scale").iterdir()))
def test_examples_for_clusters_are_of_their_language_and_their_commands_are_ours(name):
    import shlex
    import subprocess

    import click
    import yaml

    from benchmark.cli import cli

    text = (ROOT / "docs" / "scale" / name).read_text()
    if name.endswith(".sh"):
        subprocess.run(["bash", "-n", str(ROOT / "docs" / "scale" / name)], check=True)
    else:
        told = yaml.safe_load(text)
        text = told["run"] if "run" in told else told["spec"]["entrypoint"]
    lines = text.replace("\\\n", " ").splitlines()
    commands = [line.strip() for line in lines if line.strip().startswith("bench ")]
    assert commands
    for line in commands:
        _, command, *arguments = shlex.split(line)
        if "--shard" in arguments:
            arguments[arguments.index("--shard") + 1] = "1/8"
        found = cli.commands[command]
        assert isinstance(found, click.Command)
        found.make_context(command, arguments)
