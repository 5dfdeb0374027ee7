"""Where suites are found, their schema and their documentation, and any text at all in one."""

import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from imagined import (
    REGISTRY,
    SUITE,
    plain,
    replaced,
    with_grid,
)

from benchmark.document import dump
from benchmark.errors import InputError
from benchmark.options import Budget
from benchmark.plugins import Registry
from benchmark.schema import suite_schema
from benchmark.suite import find_suite, load_suite, shipped_suites

ROOT = Path(__file__).resolve().parents[2]


# Names of suites


def test_a_name_finds_the_suite_that_a_plugin_distribution_ships(tmp_path, monkeypatch):
    info = tmp_path / "my_plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[bench]\nmine = my_plugin\n")
    (info / "RECORD").write_text("share/my-plugin/suites/mine.yaml,,\nshare/other/suites/not_mine.yaml,,\n")
    folder = tmp_path / "share" / "my-plugin" / "suites"
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text(SUITE)
    monkeypatch.syspath_prepend(tmp_path)
    assert shipped_suites()["mine"] == (folder / "mine.yaml",)
    assert load_suite("mine", registry=REGISTRY).name == "demo"
    assert find_suite("mine") == folder / "mine.yaml"
    with pytest.raises(InputError, match=r"unknown suite 'mini'. Did you mean 'mine'\?"):
        find_suite("mini")
    assert "not_mine" not in shipped_suites()
    with pytest.raises(InputError, match=r"no such file. A suite of that name ships .*: write 'mine' instead"):
        find_suite(str(tmp_path / "mine.yaml"))


def test_a_name_finds_the_suites_of_a_checkout(tmp_path):
    shutil.copytree(ROOT / "benchmark", tmp_path / "benchmark", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "suites").mkdir()
    (tmp_path / "suites" / "local.yaml").write_text(SUITE)
    code = "import benchmark.suite; print(benchmark.suite.shipped_suites().get('local'))"

    def shipped() -> str:
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60
        )
        return done.stdout

    assert "local.yaml" not in shipped()  # a folder `suites` beside an installed package is somebody else's
    (tmp_path / "pyproject.toml").touch()
    assert str(tmp_path / "suites" / "local.yaml") in shipped()


@pytest.mark.parametrize("name", ["", "x\0y", "a/b", "x" * 5000, "../../etc/passwd", "nowhere.yaml"])
def test_a_name_that_leads_nowhere_is_refused(name):
    with pytest.raises(InputError):
        load_suite(name, registry=REGISTRY)


def test_validating_a_suite_imports_no_torch(tmp_path):
    (tmp_path / "s.yaml").write_text(SUITE)
    (tmp_path / "light.py").write_text(
        "from benchmark import hookimpl\n"
        "from benchmark.options import *\n"
        "class O(AttackOptions):\n    norm: str = 'l2'\n    eps: Budget | None = Budget('0.5')\n"
        "    confidence: float = 0\n"
        "class F(DatasetOptions):\n    path: str = ''\n"
        "class M(ModelOptions):\n    width: int = 1\n"
        "class D(Options):\n    eps: Budget | tuple[Budget, Budget] | None = None\n"
        "def reg(options, *names):\n"
        "    def hook(register):\n"
        "        for name in names:\n"
        "            register(name, 'nowhere:X', options=options, version='1')\n"
        "    return hookimpl(hook)\n"
        "register_datasets = reg(F, 'digits', 'image_folder')\n"
        "register_models = reg(M, 'small_cnn')\n"
        "register_attacks = reg(O, 'pgd', 'cw')\n"
        "register_defenses = reg('light:D', 'none', 'adversarial_training')\n"
    )
    code = (
        "import sys, light\n"
        "from benchmark.plugins import Registry, Provenance\n"
        "from benchmark.schema import suite_schema\n"
        "from benchmark.suite import load_suite\n"
        "registry = Registry()\n"
        "registry.add_module('light', light, Provenance('light', 'light', '1'))\n"
        "assert load_suite('s.yaml', registry=registry).name == 'demo'\n"
        "assert suite_schema(registry)\n"
        "assert not {'torch', 'pandas', 'art', 'sklearn'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, timeout=60)


def test_the_schema_takes_good_suites(validator, load):
    assert not list(validator.iter_errors(plain(SUITE)))
    assert not list(validator.iter_errors(load(SUITE).resolved))
    assert not list(validator.iter_errors(plain(with_grid("{knowledge: [white-box], exclude: [{models: wide}]}"))))
    tree = SUITE.replace("{use: none}", "{use: tree, children: [{name: a, children: [{name: b}]}]}")
    assert not list(validator.iter_errors(plain(tree)))


@pytest.mark.parametrize(
    ("old", "new", "where"),
    [
        ("suite: demo", "suite: a b", ["suite"]),
        ("seeds: [0, 1]", "seed: [0, 1]", []),
        ("  digits: {use: digits}", "  digits: {use: digitz}", ["datasets", "digits", "use"]),
        ("path: data/photos, ", "", ["datasets", "photos"]),
        ("path: data/photos, ", "path: a, pth: b, ", ["datasets", "photos"]),
        ("width: 64, ", "width: 0, ", ["models", "wide", "width"]),
        ("train: {epochs: 3}", "train: {epochs: three}", ["models", "wide", "train"]),
        ("eps: 8/255}", "eps: eight}", ["attacks", "pgd", "eps"]),
        ("eps: [2/255, 8/255]", "eps: [2/255]", ["defenses", "at", "eps"]),
        ("  cw: {use: cw, confidence: 1}", "  none: {use: cw}", ["attacks"]),
        ("defenses: [none, at]}", "knowledge: whitebox}", ["grid", 0, "knowledge"]),
        ("defenses: [none, at]}", "defences: [none, at]}", ["grid", 0]),
        ("    seeds: [7]", "    seed: [7]", ["profiles", "embedded"]),
        ("  cw: {use: cw, confidence: 1}", "  cw: {use: broken}", ["attacks", "cw", "use"]),
        (
            "  none: {use: none}",
            "  none: {use: tree, children: [{nam: b}]}",
            ["defenses", "none", "children", 0],
        ),
    ],
)
def test_the_schema_refuses_bad_suites_at_the_same_place(validator, refusal, old, new, where):
    text = replaced(old, new)
    assert where in [list(error.absolute_path) for error in validator.iter_errors(plain(text))]
    assert refusal(text)


def test_the_schema_describes_options_by_their_docstrings():
    definitions = suite_schema(REGISTRY)["$defs"]
    folder = definitions["dataset:image_folder"]
    assert folder["description"] == "The fake image_folder."
    assert folder["properties"]["path"]["description"] == "Folder with the images."
    assert "attack:broken" not in definitions
    assert "attack:odd.name" in definitions


def test_a_schema_without_plugins_is_a_schema():
    import jsonschema

    jsonschema.Draft202012Validator.check_schema(suite_schema(Registry()))


# Properties

labels = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1, max_size=300).filter(str.strip)


nasty = st.sampled_from(
    [
        "no",
        "1e-3",
        "~",
        "null",
        "<<",
        "../x",
        "<script>",
        "a.b",
        "\u202ertl",
        "🙂",
        "'",
        '"',
        "a: b",
        "- a",
        "#",
        "none",
        "=",
        "0",
    ]
)


def suite_of(label: str) -> dict[str, Any]:
    return {
        "suite": "p",
        "datasets": {"d": {"use": "digits"}},
        "models": {label: {"use": "small_cnn"}},
        "attacks": {"a" + label: {"use": "pgd", "norm": "linf", "eps": "8/255"}},
        "defenses": {label: {"use": "odd", "call": {label: [label, None, 1.5]}}, "z" + label: {"use": "none"}},
        "grid": [{"models": [label], "exclude": [{"defenses": label}]}],
        "groups": {"g": ["a" + label]},
        "reference": {"rows": [{"model": label, "metric": "m", "value": 0.25}]},
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("suites")


@given(label=labels | nasty)
def test_any_label_survives_being_resolved_written_and_read(folder, label):
    assume(label != "all" and len(label) < 300)
    first, second = folder / "first.yaml", folder / "second.yaml"
    first.write_text(dump(suite_of(label)), encoding="utf-8")
    suite = load_suite(str(first), registry=REGISTRY)
    assert list(suite.models) == [label]
    assert suite.grid[0].exclude == ({"defenses": (label,)},)
    defense: Any = suite.defenses[label].options
    assert defense.call == {label: [label, None, 1.5]}
    second.write_text(dump(suite.resolved), encoding="utf-8")
    again = load_suite(str(second), registry=REGISTRY)
    assert again == suite
    assert again.resolved == suite.resolved


@given(label=labels | nasty, width=st.integers(1, 10**6))
def test_set_reaches_any_label_and_survives_being_written(folder, label, width):
    assume(label != "all" and len(label) < 300)
    path = folder / "set.yaml"
    path.write_text(dump(suite_of(label)), encoding="utf-8")
    doubled = label.replace('"', '""')
    suite = load_suite(str(path), registry=REGISTRY, sets=[f'models."{doubled}".width={width}'])
    model: Any = suite.models[label].options
    assert model.width == width
    path.write_text(dump(suite.resolved), encoding="utf-8")
    assert load_suite(str(path), registry=REGISTRY) == suite


def test_a_suite_with_everything_is_equal_after_being_written_and_read(write, load):
    Path("t.csv").write_text("attack,metric,value\npgd,robust_accuracy,0.1\n")
    text = SUITE + textwrap.dedent("""\
        reference: {table: t.csv}
        cite: [A, B]
        title: "a: b"
        description: |
          two
          lines
        protocol: {success: any-wrong}
        """)
    text = text.replace("defenses: [none, at]}", "knowledge: [gray-box, black-box], substitute: wide}")
    for profile in (None, "embedded", "swapped"):
        suite = load(text, "batch_size=7", profile=profile)
        assert len(suite.grid) == 2
        assert load(dump(suite.resolved)) == suite
    assert load(text) != load(text, "batch_size=7")


def outcome(path: Path, **options: Any) -> str:
    try:
        load_suite(str(path), registry=REGISTRY, **options)
    except InputError as error:
        return str(error)
    return "loaded"


pieces = st.sampled_from(
    [*SUITE.splitlines(keepends=True), "  ", "\n", "{", "}", "[", "]", ": ", "null", "*a", "&a ", "<<: ", "use: ", "'"]
)


@given(text=st.lists(pieces, max_size=40).map("".join) | st.permutations(SUITE.splitlines(keepends=True)).map("".join))
def test_any_mixture_of_suite_text_is_read_or_refused_with_an_input_error(folder, text):
    path = folder / "mixed.yaml"
    path.write_text(text, encoding="utf-8")
    assert outcome(path).startswith(("loaded", str(path)))


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(["all", "pgd", "cw", "none"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*plain(SUITE), "use", "pgd"]), inner),
    max_leaves=6,
)


@given(
    key=st.sampled_from([*plain(SUITE), "protocol", "reference", "cite", "batch_size"]), value=values, data=st.data()
)
def test_any_value_anywhere_is_read_or_refused_with_an_input_error(folder, key, value, data):
    tree = plain(SUITE)
    holder = tree
    while isinstance(holder.get(key), dict) and holder[key] and data.draw(st.booleans()):
        holder, key = holder[key], data.draw(st.sampled_from(sorted(holder[key])))
    holder[key] = value
    path = folder / "value.yaml"
    path.write_text(dump(tree), encoding="utf-8")
    for profile in (None, "embedded", "swapped"):
        assert outcome(path, profile=profile).startswith(("loaded", str(path)))


@given(change=st.text(max_size=30) | st.from_regex(r"(attacks|grid|seeds|models)(\.(pgd|0|small|use|train|x))*=.*"))
def test_any_set_is_taken_or_refused_with_an_input_error(folder, change):
    path = folder / "any_set.yaml"
    path.write_text(SUITE, encoding="utf-8")
    message = outcome(path, sets=[change])
    assert message.startswith(("loaded", "--set", str(path)))
    assert all(line.isprintable() for line in message.split("\n"))


# Documentation

DOCUMENT = (ROOT / "docs" / "suites.md").read_text(encoding="utf-8")


def test_the_suite_in_the_documentation_works_with_each_of_its_profiles_and_sets(load):
    example, alike, swept, grid = re.findall(r"```yaml\n(.*?)```", DOCUMENT, re.DOTALL)[:4]
    suite = load(example)
    assert suite.groups == {"worst of both": ("pgd-8", "pgd-2")}
    assert list(load(example, profile="embedded").attacks) == ["pgd-8"]
    other = next(line for line in alike.splitlines() if "like: pgd-8" in line)
    added = load(example.replace("  pgd-2:", f"{other}\n  pgd-2:")).attacks
    assert added["pgd-16"].options == added["pgd-8"].options.model_copy(update={"eps": Budget("16/255")})
    assert len(load(re.sub(r"grid:\n.*\n", grid, example)).grid) == 2
    listed = swept.partition("grid:")[0].replace("use: deepfool", "use: pgd, norm: l2").replace("cw-l2", "cw")
    listed = re.sub(r"attacks:\n.*?(?=defenses:)", listed, example, count=1, flags=re.DOTALL)
    budgets = [f"{label}@{eps}/255" for label in ("pgd", "deepfool") for eps in (64, 128)]
    assert list(load(listed, "groups=null").attacks) == [*budgets, "cw"]
    changes = re.findall(r"^--set '?(.*?)'?  +", DOCUMENT, re.MULTILINE)
    assert len(changes) == 7
    for change in changes:
        change = change.replace("use: blur", "use: none").replace('"v1.0"', '"pgd-8"')
        ungrouped = ["groups=null"] if change.endswith("=null") else []
        load(example, change, *ungrouped)


def test_every_key_and_value_is_documented():
    schema = suite_schema(REGISTRY)
    for key in schema["properties"]:
        assert f"`{key}`" in DOCUMENT
    entry = schema["$defs"]["suite:Entry"]["properties"]
    for key in [*entry, *entry["knowledge"]["anyOf"][0]["enum"], *schema["$defs"]["suite:Protocol"]["properties"]]:
        assert f"`{key}`" in DOCUMENT
